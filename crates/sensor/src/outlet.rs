//! Where finished lines go.

use std::fs::File;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// How many bytes of finished lines are gathered before they are handed on: large enough that the system calls do not
/// show, small enough to stay in the cache.
pub const CHUNK: usize = 128 << 10;

/// The largest buffer of lines that is used again. A line can be far longer; what it took must not stay.
pub const KEPT_LINES: usize = 4 * CHUNK;

/// Takes whole lines, many at a time.
pub trait Outlet {
    /// Takes what is in `lines` (whole lines only) and leaves it empty, or swapped for another empty buffer. `Break`
    /// says that nothing further will be taken.
    fn accept(&mut self, lines: &mut Vec<u8>) -> ControlFlow<()>;
}

/// Collects.
impl Outlet for Vec<u8> {
    fn accept(&mut self, lines: &mut Vec<u8>) -> ControlFlow<()> {
        self.append(lines);
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
    fn accept(&mut self, lines: &mut Vec<u8>) -> ControlFlow<()> {
        self.bytes += lines.len() as u64;
        lines.clear();
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
}

impl Output {
    /// The process's standard output.
    #[must_use]
    pub fn stdout() -> Self {
        Self { sink: Sink::Stdout(io::stdout()), name: "standard output".to_owned(), failure: None }
    }

    /// A file, created or emptied.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn create(path: &Path) -> Result<Self, CreateError> {
        let name = path.display().to_string();
        match File::create(path) {
            Ok(file) => Ok(Self { sink: Sink::File(file), name, failure: None }),
            Err(source) => Err(CreateError { path: path.to_owned(), source }),
        }
    }

    /// Why nothing further was taken, once.
    pub fn take_failure(&mut self) -> Option<OutputFailure> {
        self.failure.take()
    }

    /// Hands everything to the operating system.
    pub fn flush(&mut self) {
        if self.failure.is_none() {
            let flushed = match &mut self.sink {
                Sink::Stdout(stdout) => stdout.flush(),
                Sink::File(file) => file.flush(),
            };
            let _ = self.note(flushed);
        }
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
    fn accept(&mut self, lines: &mut Vec<u8>) -> ControlFlow<()> {
        if self.failure.is_some() {
            lines.clear();
            return ControlFlow::Break(());
        }
        let written = match &mut self.sink {
            Sink::Stdout(stdout) => stdout.write_all(lines),
            Sink::File(file) => file.write_all(lines),
        };
        lines.clear();
        self.note(written)
    }
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
        assert_eq!(output.accept(&mut b"line\n".to_vec()), ControlFlow::Break(()));
        // Later lines are refused without another attempt.
        assert_eq!(output.accept(&mut b"line\n".to_vec()), ControlFlow::Break(()));
        match output.take_failure() {
            Some(OutputFailure::Failed { name, source }) => {
                assert_eq!(name, "/dev/full");
                assert_eq!(source.kind(), io::ErrorKind::StorageFull);
            }
            other => panic!("{other:?}"),
        }
        assert!(output.take_failure().is_none());
    }

    #[test]
    fn a_file_that_cannot_be_created_is_named() {
        let error = Output::create(Path::new("/nowhere/at/all.ndjson")).unwrap_err();
        assert!(error.to_string().contains("/nowhere/at/all.ndjson"), "{error}");
    }
}
