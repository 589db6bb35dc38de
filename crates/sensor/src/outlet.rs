//! Where finished records go.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::interruptible::{Stallable, Unwritten};
use crate::record::{Sealed, Unsealed};

/// How many bytes of records are gathered before they are handed on: large enough that system calls and the waking of
/// threads do not show, small enough to stay in the cache.
pub const CHUNK: usize = 256 << 10;

/// The largest buffer of records that is used again. A record can be far longer; what it took must not stay.
pub const KEPT: usize = 2 * CHUNK;

/// A buffer as [`Handoff::hand_on`] leaves it: records are handed on when there is a chunk of them, and the last may stand
/// out.
#[must_use]
pub fn empty_buffer() -> Unsealed {
    Unsealed::with_capacity(CHUNK + (64 << 10))
}

/// Takes sealed records, many at a time: the end of the pipeline.
pub trait Outlet {
    /// Takes the records. `Break` says that nothing further will be taken.
    fn accept(&mut self, records: &Sealed<'_>) -> ControlFlow<()>;

    /// Time has passed, with or without records: hands on what has waited long enough. Called several times a second where
    /// records come from a live source.
    fn pulse(&mut self) {}

    /// There are no more: hands on what is held.
    fn flush(&mut self) {}
}

/// Takes records as they leave their worker, to have them sealed.
///
/// Every [`Outlet`] is one, which seals on the worker's thread; [`crate::sealing::Queue`] leaves it to another.
pub trait Handoff {
    /// Takes what is in `records` and leaves it empty, or swapped for another empty buffer. `Break` says that nothing
    /// further will be taken.
    fn hand_on(&mut self, records: &mut Unsealed) -> ControlFlow<()>;

    /// Whether the next buffer is better filled with drafts, as there is time to write them on the other side. Asked once
    /// for each buffer; only where it said so are there drafts in one.
    fn takes_drafts(&self) -> bool {
        false
    }

    /// Whether a buffer would be dropped now, so that a record need not be made: it is counted as dropped then. Asked for each
    /// record that would be the first one of a buffer.
    fn refuses(&mut self) -> bool {
        false
    }
}

impl<O: Outlet> Handoff for O {
    fn hand_on(&mut self, records: &mut Unsealed) -> ControlFlow<()> {
        let flow = self.accept(&records.seal());
        records.clear(KEPT);
        flow
    }
}

/// Collects the lines.
impl Outlet for Vec<u8> {
    fn accept(&mut self, records: &Sealed<'_>) -> ControlFlow<()> {
        self.extend_from_slice(records.bytes);
        ControlFlow::Continue(())
    }
}

/// Discards, counting the bytes: for benches, and where only the counts are asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Discard {
    /// Bytes discarded.
    pub bytes: u64,
}

impl Outlet for Discard {
    fn accept(&mut self, records: &Sealed<'_>) -> ControlFlow<()> {
        self.bytes += records.bytes.len() as u64;
        ControlFlow::Continue(())
    }
}

/// Why the output ended early.
#[derive(Debug)]
pub enum OutputFailure {
    /// The reader of the pipe went away, as `head` does: nothing is wrong.
    Closed,
    /// It could not be written.
    Failed {
        /// Where to.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// A signal ended the wait for a reader who took nothing.
    Stalled {
        /// What was written to.
        name: String,
        /// Of the records that it was given last, those that were not taken whole.
        cut_off: u64,
    },
}

/// Standard output or a file.
#[derive(Debug)]
pub struct Output {
    sink: Sink,
    name: String,
    failure: Option<OutputFailure>,
}

#[derive(Debug)]
enum Sink {
    Stdout(io::Stdout),
    File(File),
    Pipe(Stallable),
}

impl Output {
    /// The process's standard output.
    #[must_use]
    pub fn stdout() -> Self {
        Self { sink: Sink::Stdout(io::stdout()), name: "standard output".to_owned(), failure: None }
    }

    /// A file, created or emptied. It is locked (flock) for as long as it is open: what two write at the same places is lost.
    ///
    /// # Errors
    /// When it cannot be created, or another process writes to it.
    pub fn create(path: &Path) -> Result<Self, CreateError> {
        let name = path.display().to_string();
        match create_alone(path) {
            Ok(file) => Ok(Self { sink: Sink::File(file), name, failure: None }),
            Err(source) => Err(CreateError { path: path.to_owned(), source }),
        }
    }

    /// The same; but once `interrupted` is set, a reader who takes nothing is waited for a second longer, and a slow one for a
    /// few seconds.
    pub fn heed(&mut self, interrupted: &Arc<AtomicBool>) {
        let pipe = match &self.sink {
            Sink::Stdout(stdout) => Stallable::of(stdout.as_fd(), interrupted),
            Sink::File(file) => Stallable::of(file.as_fd(), interrupted),
            Sink::Pipe(_) => None,
        };
        if let Some(pipe) = pipe {
            self.sink = Sink::Pipe(pipe);
        }
    }

    /// Why nothing further was taken, once.
    pub fn take_failure(&mut self) -> Option<OutputFailure> {
        self.failure.take()
    }

    fn note(&mut self, result: io::Result<()>) -> ControlFlow<()> {
        match result {
            Ok(()) => return ControlFlow::Continue(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.failure = Some(OutputFailure::Closed),
            Err(source) => self.failure = Some(OutputFailure::Failed { name: self.name.clone(), source }),
        }
        ControlFlow::Break(())
    }
}

impl Outlet for Output {
    fn accept(&mut self, records: &Sealed<'_>) -> ControlFlow<()> {
        if self.failure.is_some() {
            return ControlFlow::Break(());
        }
        let written = match &mut self.sink {
            Sink::Stdout(stdout) => stdout.write_all(records.bytes),
            Sink::File(file) => file.write_all(records.bytes),
            Sink::Pipe(pipe) => match pipe.write_all(records.bytes) {
                Ok(()) => Ok(()),
                Err(Unwritten::Failed(error)) => Err(error),
                Err(Unwritten::Stalled { taken }) => {
                    // A record is whole with the line feed behind it.
                    let cut_off = records.records.iter().filter(|record| record.range.end >= taken).count() as u64;
                    self.failure = Some(OutputFailure::Stalled { name: self.name.clone(), cut_off });
                    return ControlFlow::Break(());
                }
            },
        };
        self.note(written)
    }

    /// Hands everything to the operating system.
    fn flush(&mut self) {
        if self.failure.is_none() {
            let flushed = match &mut self.sink {
                Sink::Stdout(stdout) => stdout.flush(),
                Sink::File(file) => file.flush(),
                Sink::Pipe(_) => Ok(()),
            };
            let _ = self.note(flushed);
        }
    }
}

/// What is in it goes once nobody else writes to it.
fn create_alone(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    // Pipes and devices are for as many as like.
    if file.metadata()?.is_file() {
        // A file system without locks is no reason to refuse it.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            let words = "another process writes its records to it; name another file";
            return Err(io::Error::new(io::ErrorKind::WouldBlock, words));
        }
        file.set_len(0)?;
    }
    Ok(file)
}

/// The output file could not be created.
#[derive(Debug, thiserror::Error)]
#[error("cannot create the output file {}: {source}", path.display())]
pub struct CreateError {
    path: PathBuf,
    source: io::Error,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_reported_once_with_the_name() {
        let mut output = Output::create(Path::new("/dev/full")).unwrap();
        let lines = Sealed { bytes: b"line\n", records: &[] };
        assert_eq!(output.accept(&lines), ControlFlow::Break(()));
        // Later lines are refused without another attempt.
        assert_eq!(output.accept(&lines), ControlFlow::Break(()));
        match output.take_failure() {
            Some(OutputFailure::Failed { name, source }) => {
                assert_eq!(name, "/dev/full");
                assert_eq!(source.kind(), io::ErrorKind::StorageFull);
            }
            other => panic!("{other:?}"),
        }
        assert!(output.take_failure().is_none());
    }

    /// Two sensors once wrote to one file, and each counted as written what the other wrote over.
    #[test]
    fn a_file_that_is_being_written_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.ndjson");
        std::fs::write(&path, "of an earlier run\n").unwrap();
        let mut first = Output::create(&path).unwrap();
        assert!(first.accept(&Sealed { bytes: b"line\n", records: &[] }).is_continue());
        let error = Output::create(&path).unwrap_err().to_string();
        assert!(error.contains("records.ndjson") && error.contains("another process writes"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"line\n");
        drop(first);
        Output::create(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"");
    }

    #[test]
    fn a_file_that_cannot_be_created_is_named() {
        let error = Output::create(Path::new("/nowhere/at/all.ndjson")).unwrap_err();
        assert!(error.to_string().contains("/nowhere/at/all.ndjson"), "{error}");
    }
}
