//! Where finished records go.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;

use crate::interruptible::{Stallable, Unwritten};
use crate::record::{Sealed, SealedRecord, Unsealed};

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

/// Where records ended in an output that ended early.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remains {
    /// Of the records that it was given last, those that it took whole.
    pub taken: u64,
    /// Of all that it took before, those that nobody can read any more: they were in the pipe when its reader went.
    pub unread: u64,
}

/// Why the output ended early.
#[derive(Debug)]
pub enum OutputFailure {
    /// The reader of the pipe went away, as `head` does: nothing is wrong.
    Closed(Remains),
    /// It could not be written.
    Failed {
        /// Where to.
        name: String,
        /// What the system said.
        source: io::Error,
        /// How much of it is there.
        remains: Remains,
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
    /// Of a file that is gone on with: the file, and whether it is to be looked for under its name again.
    again: Option<(PathBuf, Arc<AtomicBool>)>,
    /// Of a pipe: what may be in it yet.
    latest: Latest,
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
        Self::of(Sink::Stdout(io::stdout()), "standard output".to_owned())
    }

    fn of(sink: Sink, name: String) -> Self {
        Self { sink, name, failure: None, again: None, latest: Latest::default() }
    }

    /// A file, created or emptied. It is locked (flock) for as long as it is open: what two write at the same places is lost.
    ///
    /// # Errors
    /// When it cannot be created, or another process writes to it.
    pub fn create(path: &Path) -> Result<Self, CreateError> {
        let file = create_alone(path).map_err(|source| CreateError::new(path, source))?;
        Ok(Self::of(Sink::File(file), path.display().to_string()))
    }

    /// A file, created or gone on with: behind its last whole line, since half a line at the end is what a crash or a full disk
    /// left of a record. Locked as by [`Self::create`]; every write goes to the end that the file has then. A pipe need not have
    /// a reader yet: the first write waits for it.
    ///
    /// # Errors
    /// When it cannot be opened for reading and writing, or another process writes to it.
    pub fn append(path: &Path) -> Result<Self, CreateError> {
        let opened = append_alone(path).map_err(|source| CreateError::new(path, source))?;
        let again = matches!(opened, Opened::Regular(_)).then(|| (path.to_owned(), Arc::default()));
        let sink = match opened {
            Opened::Regular(file) | Opened::Device(file) => Sink::File(file),
            Opened::Pipe(pipe) => Sink::Pipe(pipe),
        };
        Ok(Self { again, ..Self::of(sink, path.display().to_string()) })
    }

    /// Where an [appended](Self::append) file is: set, it has the file looked for under its name soon, and another one that has the
    /// name by then, or a new one, gone on with. Whoever keeps files of a day moves them, and then sets this.
    #[must_use]
    pub fn again(&self) -> Option<Arc<AtomicBool>> {
        self.again.as_ref().map(|(_, is_asked)| Arc::clone(is_asked))
    }

    /// Goes on in the file that has the name now. What cannot be opened leaves all as it is.
    fn look_again(&mut self) {
        let Some((path, is_asked)) = &self.again else { return };
        if !is_asked.swap(false, Ordering::Relaxed) || self.failure.is_some() {
            return;
        }
        let Sink::File(file) = &mut self.sink else { return };
        let place = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
        if file.metadata().map(place).ok().is_some_and(|own| std::fs::metadata(path).map(place).ok() == Some(own)) {
            return;
        }
        let is_other = || tracing::warn!("{} is no file any more: records go where they went before", path.display());
        // To open a pipe or a device may have effects.
        if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            return is_other();
        }
        match append_alone(path) {
            Ok(Opened::Regular(next)) => {
                *file = next;
                tracing::info!("{} was moved or removed: records go to a new file of that name", path.display());
            }
            Ok(Opened::Device(_) | Opened::Pipe(_)) => is_other(),
            Err(error) => tracing::warn!(
                "{} was moved or removed, and cannot be opened again: {error}; records go where they went before (the sensor's user needs the right to make files in the folder, or the file made for it)",
                path.display()
            ),
        }
    }

    /// The same; but once `interrupted` is set, a reader who takes nothing is waited for a second longer, and a slow one for a
    /// few seconds.
    pub fn heed(&mut self, interrupted: &Arc<AtomicBool>) {
        let pipe = match &mut self.sink {
            Sink::Stdout(stdout) => Stallable::of(stdout.as_fd(), interrupted),
            Sink::File(file) => Stallable::of(file.as_fd(), interrupted),
            Sink::Pipe(pipe) => {
                pipe.heed(interrupted);
                None
            }
        };
        if let Some(pipe) = pipe {
            self.sink = Sink::Pipe(pipe);
        }
    }

    /// Why nothing further was taken, once.
    pub fn take_failure(&mut self) -> Option<OutputFailure> {
        self.failure.take()
    }

    /// Why it ends, when `taken` bytes of `records` were.
    fn fail(&mut self, error: io::Error, records: &[SealedRecord], taken: usize) -> ControlFlow<()> {
        let whole = whole_within(records, taken);
        let mut remains = Remains { taken: whole as u64, unread: 0 };
        self.failure = Some(if error.kind() == io::ErrorKind::BrokenPipe {
            if let Sink::Pipe(pipe) = &self.sink {
                let (whole, rest) = records.split_at(whole);
                self.latest.note(whole);
                let begun = rest.first().map_or(0, |record| taken.saturating_sub(record.range.start));
                remains.unread = self.latest.within(pipe.unread().saturating_sub(begun as u64));
            }
            OutputFailure::Closed(remains)
        } else {
            OutputFailure::Failed { name: self.name.clone(), source: error, remains }
        });
        ControlFlow::Break(())
    }
}

/// How many of the records are whole in the first `taken` bytes: each with the line feed behind it.
fn whole_within(records: &[SealedRecord], taken: usize) -> usize {
    records.partition_point(|record| record.range.end < taken)
}

/// The lengths of the records that went into a pipe last.
#[derive(Debug, Default)]
struct Latest {
    lengths: VecDeque<u64>,
    bytes: u64,
}

impl Latest {
    /// As much as a pipe holds, at most, unless somebody with the right to gave it more.
    const MOST: u64 = 1 << 20;

    fn note(&mut self, records: &[SealedRecord]) {
        for record in records {
            let length = record.range.len() as u64 + 1;
            self.lengths.push_back(length);
            self.bytes += length;
        }
        while let Some(first) = self.lengths.front().filter(|first| self.bytes - **first >= Self::MOST) {
            self.bytes -= first;
            self.lengths.pop_front();
        }
    }

    /// How many of them the last `bytes` are of.
    fn within(&self, bytes: u64) -> u64 {
        let mut left = bytes;
        let is_within = |length: &&u64| {
            let is_within = left > 0;
            left = left.saturating_sub(**length);
            is_within
        };
        self.lengths.iter().rev().take_while(is_within).count() as u64
    }
}

impl Outlet for Output {
    fn accept(&mut self, records: &Sealed<'_>) -> ControlFlow<()> {
        if self.failure.is_some() {
            return ControlFlow::Break(());
        }
        let written = match &mut self.sink {
            Sink::Stdout(stdout) => write_all(stdout, records.bytes),
            Sink::File(file) => write_all(file, records.bytes),
            Sink::Pipe(pipe) => match pipe.write_all(records.bytes) {
                Ok(()) => {
                    self.latest.note(records.records);
                    Ok(())
                }
                Err(Unwritten::Failed { error, taken }) => Err((error, taken)),
                Err(Unwritten::Stalled { taken }) => {
                    let cut_off = (records.records.len() - whole_within(records.records, taken)) as u64;
                    self.failure = Some(OutputFailure::Stalled { name: self.name.clone(), cut_off });
                    return ControlFlow::Break(());
                }
            },
        };
        match written {
            Ok(()) => ControlFlow::Continue(()),
            Err((error, taken)) => self.fail(error, records.records, taken),
        }
    }

    fn pulse(&mut self) {
        self.look_again();
    }

    /// All that was accepted is the operating system's already.
    fn flush(&mut self) {
        self.look_again();
    }
}

/// Writes all of it; or says how many bytes of it were written, and why no more.
fn write_all(output: &impl AsFd, bytes: &[u8]) -> Result<(), (io::Error, usize)> {
    let mut taken = 0;
    while let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
        match rustix::io::write(output, rest) {
            Ok(0) => return Err((io::ErrorKind::WriteZero.into(), taken)),
            Ok(count) => taken += count,
            Err(Errno::INTR) => {}
            Err(error) => return Err((error.into(), taken)),
        }
    }
    Ok(())
}

/// What is in it goes once nobody else writes to it.
fn create_alone(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    if lock(&file)? {
        file.set_len(0)?;
    }
    Ok(file)
}

/// What a record begins with.
const RECORD: &[u8] = b"{\"id\":\"";

/// What records can be appended to.
#[derive(Debug)]
enum Opened {
    /// Behind its last whole line.
    Regular(File),
    /// A device, a terminal.
    Device(File),
    /// A named pipe, with a reader or without.
    Pipe(Stallable),
}

/// Half a record at the end goes once nobody else writes to it: until then it may be one that is being written. Waits for nobody.
fn append_alone(path: &Path) -> io::Result<Opened> {
    let found = std::fs::metadata(path).ok();
    if found.as_ref().is_some_and(|found| found.file_type().is_fifo()) {
        return open_pipe(path);
    }
    // To open a device for reading, too, may have effects; one that waits for a line to be up does not say so.
    let is_regular = found.is_none_or(|found| found.is_file());
    let flags = if is_regular { 0 } else { libc::O_NONBLOCK | libc::O_NOCTTY };
    let file = OpenOptions::new().read(is_regular).append(true).create(true).custom_flags(flags).open(path)?;
    if !lock(&file)? {
        // It was put there just now, and this would be its reader.
        if file.metadata()?.file_type().is_fifo() {
            drop(file);
            return open_pipe(path);
        }
        rustix::io::ioctl_fionbio(&file, false)?;
        return Ok(Opened::Device(file));
    }
    let length = file.metadata()?.len();
    let whole = whole_lines(&file, length)?;
    if whole < length {
        if !is_torn(&file, whole, length)? {
            let words = "its last line has no end and is no record, so this is no file of records; name another one";
            return Err(io::Error::new(io::ErrorKind::InvalidData, words));
        }
        file.set_len(whole).map_err(|error| {
            let words = format!(
                "it ends within a record, as a crash or a full disk leaves it, and the half of it cannot be taken off: {error}; cut the file to {whole} bytes, or move it away (one that can only be appended to, as by 'chattr +a', cannot be cut)"
            );
            io::Error::new(error.kind(), words)
        })?;
        tracing::warn!(
            "{} ended within a line, as a crash or a full disk leaves it: {} bytes are taken off",
            path.display(),
            length - whole
        );
    }
    Ok(Opened::Regular(file))
}

fn open_pipe(path: &Path) -> io::Result<Opened> {
    let pipe = Stallable::open(path)?;
    if pipe.is_awaiting() {
        tracing::warn!(
            "{} is a pipe that nobody reads from yet: records wait for a reader, and those that find no room are dropped",
            path.display()
        );
    }
    Ok(Opened::Pipe(pipe))
}

/// Whether what is in a file from `start` to its `end` is what is left of a record: its beginning, or zeros, which is what there
/// is where data never reached the disk.
fn is_torn(file: &File, start: u64, end: u64) -> io::Result<bool> {
    let (mut at, mut block) = (start, vec![0; 64 << 10]);
    while at < end {
        let part = block.get_mut(..(end - at).min(64 << 10) as usize).unwrap_or_default();
        file.read_exact_at(part, at)?;
        if let Some(zeros) = part.iter().position(|byte| *byte != 0) {
            at += zeros as u64;
            let mut front = [0; RECORD.len()];
            let front = &mut front[..RECORD.len().min((end - at) as usize)];
            file.read_exact_at(front, at)?;
            let written = front.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            return Ok(RECORD.starts_with(&front[..written]));
        }
        at += part.len() as u64;
    }
    Ok(true)
}

/// Keeps other processes from writing to a regular file, and says whether it is one: pipes and devices are for as many as like.
fn lock(file: &File) -> io::Result<bool> {
    if !file.metadata()?.is_file() {
        return Ok(false);
    }
    // A file system without locks is no reason to refuse it.
    if let Err(TryLockError::WouldBlock) = file.try_lock() {
        let words = "another process writes its records to it; name another file";
        return Err(io::Error::new(io::ErrorKind::WouldBlock, words));
    }
    Ok(true)
}

/// Where the last whole line of a file of `length` bytes ends.
fn whole_lines(file: &File, length: u64) -> io::Result<u64> {
    let (mut end, mut block) = (length, vec![0; 64 << 10]);
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let block = block.get_mut(..(end - start) as usize).unwrap_or_default();
        file.read_exact_at(block, start)?;
        if let Some(at) = block.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// The output file could not be created or opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot {} the output file {}: {source}", if *.exists { "open" } else { "create" }, path.display())]
pub struct CreateError {
    path: PathBuf,
    /// Whether there is one.
    exists: bool,
    source: io::Error,
}

impl CreateError {
    fn new(path: &Path, source: io::Error) -> Self {
        Self { path: path.to_owned(), exists: path.symlink_metadata().is_ok(), source }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::fd::OwnedFd;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_full_disk_is_reported_once_with_the_name() {
        let mut output = Output::create(Path::new("/dev/full")).unwrap();
        let lines = Sealed { bytes: b"line\n", records: &[] };
        assert_eq!(output.accept(&lines), ControlFlow::Break(()));
        // Later lines are refused without another attempt.
        assert_eq!(output.accept(&lines), ControlFlow::Break(()));
        match output.take_failure() {
            Some(OutputFailure::Failed { name, source, remains }) => {
                assert_eq!(name, "/dev/full");
                assert_eq!(source.kind(), io::ErrorKind::StorageFull);
                assert_eq!(remains, Remains::default());
            }
            other => panic!("{other:?}"),
        }
        assert!(output.take_failure().is_none());
    }

    /// Records of different lengths.
    fn lines(numbers: std::ops::Range<usize>) -> Unsealed {
        let mut records = Unsealed::default();
        for number in numbers {
            let text = records.ends().0;
            let start = text.len();
            text.extend_from_slice(&[b'0'; 32]);
            text.extend_from_slice(&vec![b'x'; number % 700]);
            text.push(b'\n');
            records.note(start);
        }
        records
    }

    /// Of the last buffer nothing was counted as written, or all of it.
    #[test]
    fn what_a_failed_output_took_is_told_to_the_record() {
        for wanted in [0, 1, 100, 70_000] {
            // It takes what there is room for, and refuses.
            let (mut from, to) = io::pipe().unwrap();
            let to = File::from(OwnedFd::from(to));
            rustix::io::ioctl_fionbio(&to, true).unwrap();
            let mut output = Output { sink: Sink::File(to), ..Output::stdout() };
            let flow = output.accept(&lines(0..wanted).seal());
            let failure = output.take_failure();
            drop(output);
            let mut read = String::new();
            from.read_to_string(&mut read).unwrap();
            let there = read.matches('\n').count() as u64;
            match failure {
                None => assert!(flow.is_continue() && there == wanted as u64),
                Some(OutputFailure::Failed { remains, .. }) => {
                    assert!(flow.is_break() && wanted == 70_000 && there > 0);
                    assert_eq!(remains, Remains { taken: there, unread: 0 });
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// What was in the pipe when its reader went counted as written.
    #[test]
    fn what_a_reader_left_in_the_pipe_is_told_to_the_record() {
        let ends: Vec<usize> = lines(0..100).seal().records.iter().map(|record| record.range.end + 1).collect();
        // Of the bytes of a hundred lines it reads so many.
        for read in [0, 1, ends[0] - 1, ends[0], ends[40], ends[40] + 1, ends[98] + 3, ends[99]] {
            let (mut from, to) = io::pipe().unwrap();
            let interrupted = Arc::default();
            let pipe = Stallable::of(to.as_fd(), &interrupted).unwrap();
            drop(to);
            let mut output = Output { sink: Sink::Pipe(pipe), ..Output::stdout() };
            for numbers in [0..30, 30..99, 99..100] {
                assert!(output.accept(&lines(numbers).seal()).is_continue());
            }
            let mut got = vec![0; read];
            from.read_exact(&mut got).unwrap();
            drop(from);
            assert!(output.accept(&lines(100..200).seal()).is_break());
            let whole = got.iter().filter(|byte| **byte == b'\n').count() as u64;
            match output.take_failure() {
                Some(OutputFailure::Closed(remains)) => {
                    assert_eq!(remains, Remains { taken: 0, unread: 100 - whole }, "{read}");
                }
                other => panic!("{other:?}"),
            }
        }
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

    /// A start once emptied the file, so that a restart after a failure took all that was written with it.
    #[test]
    fn a_file_is_gone_on_with_behind_its_last_whole_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.ndjson");
        let half = format!("{{\"id\":\"{}", "h".repeat(200_000));
        for (before, kept) in [
            (None, String::new()),
            (Some(String::new()), String::new()),
            (Some("one\ntwo\n".to_owned()), "one\ntwo\n".to_owned()),
            (Some("one\n{\"id\":\"half".to_owned()), "one\n".to_owned()),
            (Some("one\n{".to_owned()), "one\n".to_owned()),
            (Some(format!("one\n{half}")), "one\n".to_owned()),
            (Some(half.clone()), String::new()),
        ] {
            let _ = std::fs::remove_file(&path);
            before.iter().for_each(|before| std::fs::write(&path, before).unwrap());
            let mut output = Output::append(&path).unwrap();
            assert!(output.accept(&Sealed { bytes: b"line\n", records: &[] }).is_continue());
            // It is locked before it is looked at.
            assert!(Output::append(&path).unwrap_err().to_string().contains("another process writes"));
            // Emptied by whoever copied it, it has no hole.
            OpenOptions::new().write(true).open(&path).unwrap().set_len(kept.len() as u64).unwrap();
            assert!(output.accept(&Sealed { bytes: b"next\n", records: &[] }).is_continue());
            assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{kept}next\n"));
        }
    }

    /// Whoever names the wrong file loses nothing of it.
    #[test]
    fn what_is_no_file_of_records_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        for text in ["one\ntwo", "one\n\0\0two", "one\n{\"half", "{\"name\":\"config\",\"keep\":\"me\"}", "{\"id\":7,"]
        {
            std::fs::write(&path, text).unwrap();
            let error = Output::append(&path).unwrap_err().to_string();
            assert!(error.contains("no file of records") && error.contains("cannot open the output file"), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }

    /// A crash of the host, or of who holds the disk, can leave zeros where data was to be.
    #[test]
    fn zeros_at_the_end_are_taken_off_as_half_a_record_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.ndjson");
        let many = "\0".repeat(200_000);
        for (whole, rest) in
            [("one\n", "\0"), ("one\n", &many), ("", "\0\0"), ("one\n", "{\"id\":\"0\0\0"), ("one\n", "\0\0{\"id")]
        {
            std::fs::write(&path, format!("{whole}{rest}")).unwrap();
            let mut output = Output::append(&path).unwrap();
            assert!(output.accept(&Sealed { bytes: b"next\n", records: &[] }).is_continue());
            assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{whole}next\n"));
        }
    }

    fn make_pipe(path: &Path) {
        assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    }

    /// What must not wait for ever does so on a thread that is left behind.
    fn unless_it_hangs<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = std::sync::mpsc::channel();
        std::thread::spawn(move || done.send(work()));
        result.recv_timeout(Duration::from_secs(60)).expect("it waits for a reader")
    }

    /// The start once stood still there, whatever signal came.
    #[test]
    fn a_pipe_that_nobody_reads_yet_is_opened_and_written_once_somebody_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        make_pipe(&path);
        let named = path.clone();
        let interrupted = Arc::new(AtomicBool::new(false));
        let is_set = Arc::clone(&interrupted);
        let mut output = unless_it_hangs(move || {
            let mut output = Output::append(&named).unwrap();
            output.heed(&is_set);
            output
        });
        assert!(output.again().is_none());
        let named = path.clone();
        let reader = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            let mut got = [0; 4];
            File::open(named).unwrap().read_exact(&mut got).unwrap();
            got
        });
        assert!(output.accept(&Sealed { bytes: b"one\n", records: &[] }).is_continue());
        assert_eq!(&reader.join().unwrap(), b"one\n");
        // One who was there and went has gone.
        assert!(output.accept(&Sealed { bytes: b"two\n", records: &[] }).is_break());
        assert!(matches!(output.take_failure(), Some(OutputFailure::Closed(_))));
        // A signal ends the wait for the first one.
        let named = path.clone();
        let is_set = Arc::clone(&interrupted);
        let failure = unless_it_hangs(move || {
            let mut output = Output::append(&named).unwrap();
            output.heed(&is_set);
            is_set.store(true, Ordering::Relaxed);
            assert!(output.accept(&lines(0..7).seal()).is_break());
            output.take_failure()
        });
        assert!(matches!(failure, Some(OutputFailure::Stalled { cut_off: 7, .. })), "{failure:?}");
    }

    /// The thread that writes once stood still there for good.
    #[test]
    fn a_pipe_in_the_place_of_the_file_leaves_all_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("records.ndjson"), folder.path().join("records.ndjson.1"));
        let mut output = Output::append(&path).unwrap();
        std::fs::rename(&path, &moved).unwrap();
        make_pipe(&path);
        output.again().unwrap().store(true, Ordering::Relaxed);
        let flow = unless_it_hangs(move || {
            output.pulse();
            output.accept(&Sealed { bytes: b"one\n", records: &[] })
        });
        assert!(flow.is_continue());
        assert_eq!(std::fs::read_to_string(&moved).unwrap(), "one\n");
    }

    #[test]
    fn a_file_that_was_moved_is_left_when_it_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("records.ndjson"), folder.path().join("records.ndjson.1"));
        let mut output = Output::append(&path).unwrap();
        let again = output.again().unwrap();
        let mut write = |bytes: &[u8], is_asked| {
            again.store(is_asked, Ordering::Relaxed);
            output.pulse();
            assert!(output.accept(&Sealed { bytes, records: &[] }).is_continue());
        };
        write(b"one\n", false);
        // It is where it was.
        write(b"two\n", true);
        std::fs::rename(&path, &moved).unwrap();
        write(b"three\n", false);
        write(b"four\n", true);
        assert_eq!(std::fs::read_to_string(&moved).unwrap(), "one\ntwo\nthree\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "four\n");
        assert!(Output::append(&moved).is_ok(), "what was left is nobody's");
        // What is made for it is gone on with; what cannot be opened leaves all as it is.
        std::fs::rename(&path, &moved).unwrap();
        std::fs::create_dir(&path).unwrap();
        write(b"five\n", true);
        std::fs::remove_dir(&path).unwrap();
        std::fs::write(&path, "made\n{\"id\":\"half").unwrap();
        write(b"six\n", true);
        assert_eq!(std::fs::read_to_string(&moved).unwrap(), "four\nfive\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "made\nsix\n");
        // Of what is no file there is none to look for.
        assert!(Output::append(Path::new("/dev/null")).unwrap().again().is_none());
    }

    #[test]
    fn a_file_that_cannot_be_created_is_named() {
        let error = Output::create(Path::new("/nowhere/at/all.ndjson")).unwrap_err();
        assert!(error.to_string().contains("/nowhere/at/all.ndjson"), "{error}");
    }
}
