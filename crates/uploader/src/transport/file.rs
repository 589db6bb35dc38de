//! A file, one record a line, rotated by size and age.
//!
//! A batch is written whole or taken back: after a failed write the file is cut to where it stood, so that it always ends
//! with a whole line. A file found with half a line at its end (after a crash) is cut likewise.
//!
//! Somebody else may rename or remove the file at any time: before each batch its path is compared with what is open, and
//! where it leads elsewhere, or nowhere, it is opened anew. So a rotation that fails half way is made good, too. What is
//! written is appended, wherever the end is by then: a file that is cut to nothing while it is open gets no holes.
//!
//! With [`FileSettings::sync`] a batch is on the disk before it counts as accepted, and so is the name of the file it is in.
//!
//! The file is locked (`flock`) for as long as it is open, so that no second sensor writes to it; the lock is the file's
//! own, and goes away with it when it is rotated.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;

use super::{Apply, Transport, TransportError};
use crate::outcome::{Outcome, RetryReason};
use crate::sealed::{SealError, SealedBatch};
use crate::seldom::Seldom;
use crate::settings::{Destination, FileSettings};
use crate::stats::Stats;

/// Appends records to a file.
pub struct FileTransport {
    inner: Arc<Mutex<Rotating>>,
    /// What is to count from the next batch on. Apart from the file, which a disk that stands still may hold for long.
    next: Arc<Mutex<Option<FileSettings>>>,
    path: PathBuf,
    log: Arc<Seldom>,
    /// The uploader's, once it attends.
    stats: ArcSwap<Stats>,
}

impl FileTransport {
    /// Opens the file, or makes it (mode 0600); its folder must exist.
    ///
    /// # Errors
    ///
    /// If it cannot be opened for writing, or another process writes to it.
    pub fn open(settings: FileSettings) -> Result<Self, TransportError> {
        let path = settings.path.clone();
        let rotating = Rotating::open(settings).map_err(|error| TransportError::File {
            what: "cannot write to",
            path: path.clone(),
            advice: match error.kind() {
                io::ErrorKind::WouldBlock => "give each sensor a file of its own, or end the other one",
                _ => "check that the folder exists and may be written to",
            },
            error,
        })?;
        Ok(Self {
            inner: Arc::new(Mutex::new(rotating)),
            next: Arc::default(),
            path,
            log: Arc::new(Seldom::new(Duration::from_secs(30))),
            stats: ArcSwap::default(),
        })
    }
}

impl Transport for FileTransport {
    async fn send(&self, batch: &SealedBatch) -> Outcome {
        let (batch, inner, log) = (batch.clone(), Arc::clone(&self.inner), Arc::clone(&self.log));
        let (next, stats) = (Arc::clone(&self.next), self.stats.load_full());
        let written = tokio::task::spawn_blocking(move || {
            let mut inner = inner.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(next) = next.lock().unwrap_or_else(PoisonError::into_inner).take() {
                inner.settings = FileSettings { sync: inner.settings.sync, ..next };
            }
            let written = stats.disk.watch(|| inner.append(&batch, Instant::now()));
            if let Err(error) = &written
                && let Some(left_out) = log.admit(Instant::now())
            {
                let path = inner.settings.path.display();
                tracing::warn!(%path, %error, left_out, "records could not be written; check the disk and the folder's rights");
            }
            written
        });
        match written.await {
            Ok(Ok(())) => Outcome::Accepted,
            _ => Outcome::retry(RetryReason::Local),
        }
    }

    async fn attend(&self, stats: Arc<Stats>) {
        self.stats.store(stats);
        std::future::pending().await
    }

    fn prepare(self: &Arc<Self>, destination: &Destination) -> Result<Option<Apply>, TransportError> {
        let Destination::File(settings) = destination else { return Ok(None) };
        if settings.path != self.path {
            return Ok(None);
        }
        let (next, settings) = (Arc::clone(&self.next), settings.clone());
        Ok(Some(Box::new(move || *next.lock().unwrap_or_else(PoisonError::into_inner) = Some(settings))))
    }

    fn takes_any_envelope(&self) -> bool {
        true
    }
}

impl std::fmt::Debug for FileTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileTransport").finish_non_exhaustive()
    }
}

impl Drop for Rotating {
    fn drop(&mut self) {
        let _ = self.file.sync_all();
    }
}

struct Rotating {
    settings: FileSettings,
    file: File,
    /// Where the file is to be cut to before anything is appended: a batch was written in part, and could not be taken back.
    torn: Option<u64>,
    opened: Instant,
    lines: Vec<u8>,
    /// Has what was written on the disk; another one in tests.
    sync_data: fn(&File) -> io::Result<()>,
}

impl Rotating {
    fn open(settings: FileSettings) -> io::Result<Self> {
        let file = open(&settings)?;
        let opened = Instant::now();
        Ok(Self { settings, file, torn: None, opened, lines: Vec::new(), sync_data: File::sync_data })
    }

    /// Goes on in whatever is at the path now; what was open is closed.
    fn reopen(&mut self, now: Instant) -> io::Result<()> {
        (self.file, self.torn, self.opened) = (open(&self.settings)?, None, now);
        Ok(())
    }

    /// Whether the path still leads to what is open. Where that cannot be said, it is taken to: what is open can be written.
    fn is_in_place(&self) -> io::Result<bool> {
        match std::fs::metadata(&self.settings.path) {
            Ok(found) => {
                let open = self.file.metadata()?;
                Ok((found.dev(), found.ino()) == (open.dev(), open.ino()))
            }
            Err(error) => Ok(error.kind() != io::ErrorKind::NotFound),
        }
    }

    /// Has what follows go to the path, even if the file was rotated or removed by somebody else.
    fn follow(&mut self, now: Instant) -> io::Result<()> {
        if self.is_in_place()? {
            return Ok(());
        }
        // As far as that goes: what is away must not hold up what comes.
        let _ = self.file.sync_all();
        self.reopen(now)
    }

    fn append(&mut self, batch: &SealedBatch, now: Instant) -> io::Result<()> {
        let mut lines = std::mem::take(&mut self.lines);
        lines.clear();
        let done = write_lines(batch, &mut lines).and_then(|()| self.write(&lines, now));
        // A buffer that one large batch made large is not kept.
        if lines.capacity() <= 4 << 20 {
            self.lines = lines;
        }
        done
    }

    /// Appends all of `lines` or nothing of them.
    fn write(&mut self, lines: &[u8], now: Instant) -> io::Result<()> {
        self.follow(now)?;
        self.mend()?;
        let mut length = self.file.metadata()?.len();
        let too_large = length + lines.len() as u64 > self.settings.rotate_bytes;
        let too_old = self.settings.rotate_age.is_some_and(|age| now.saturating_duration_since(self.opened) >= age);
        if length > 0 && (too_large || too_old) {
            self.rotate(now)?;
            length = self.file.metadata()?.len();
        }
        let mut written = self.file.write_all(lines);
        if self.settings.sync && written.is_ok() {
            written = (self.sync_data)(&self.file);
        }
        if written.is_err() {
            // Half a batch must not stay: it will be written again.
            self.torn = Some(length);
            let _ = self.mend();
        }
        written
    }

    /// Cuts off what is there of a batch that was written in part.
    fn mend(&mut self) -> io::Result<()> {
        let Some(length) = self.torn else { return Ok(()) };
        // It may have been cut shorter meanwhile: then some of the batch's lines stay, but no half one, and no hole is made.
        let end = whole_lines(&self.file)?.min(length);
        self.file.set_len(end)?;
        self.torn = None;
        Ok(())
    }

    fn rotate(&mut self, now: Instant) -> io::Result<()> {
        self.file.sync_all()?;
        let path = self.settings.path.clone();
        let stamp = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        // Two rotations within a millisecond must not overwrite each other.
        let target = (0..1000)
            .map(|more| with_suffix(&path, &format!(".{}", stamp + more)))
            .find(|target| !target.exists())
            .ok_or(io::ErrorKind::AlreadyExists)?;
        match std::fs::rename(&path, target) {
            // Somebody else was faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed?,
        }
        self.reopen(now)?;
        if let Some(folder) = path.parent() {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            File::open(folder)?.sync_all()?;
            self.remove_oldest(folder)?;
        }
        Ok(())
    }

    fn remove_oldest(&self, folder: &Path) -> io::Result<()> {
        let (Some(keep), Some(name)) = (self.settings.keep, self.settings.path.file_name()) else { return Ok(()) };
        let prefix = format!("{}.", name.to_string_lossy());
        let mut rotated: Vec<(u128, PathBuf)> = std::fs::read_dir(folder)?
            .filter_map(Result::ok)
            .filter_map(|entry| {
                let stamp = entry.file_name().to_str()?.strip_prefix(&prefix)?.parse().ok()?;
                Some((stamp, entry.path()))
            })
            .collect();
        rotated.sort();
        let surplus = rotated.len().saturating_sub(keep);
        rotated.into_iter().take(surplus).try_for_each(|(_, path)| std::fs::remove_file(path))
    }
}

/// The records of `batch`, each with a line feed behind it, whatever envelope it has.
pub(super) fn write_lines(batch: &SealedBatch, lines: &mut Vec<u8>) -> io::Result<()> {
    let damaged = |error: SealError| io::Error::new(io::ErrorKind::InvalidData, error);
    let plain = batch.plain().map_err(damaged)?;
    lines.reserve(plain.len() + batch.records());
    for number in 0..batch.records() {
        let record = batch.span(number).and_then(|span| plain.get(span)).ok_or_else(|| damaged(SealError::Damaged))?;
        lines.extend_from_slice(record);
        lines.push(b'\n');
    }
    Ok(())
}

/// Opens a file to go on behind its last whole line, or makes it, and keeps everybody else from doing so.
fn open(settings: &FileSettings) -> io::Result<File> {
    let path = &settings.path;
    let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    // Before it is cut: what looks like half a line may be one that another process is writing.
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => io::Error::new(io::ErrorKind::WouldBlock, "another process writes to it"),
        TryLockError::Error(error) => error,
    })?;
    file.set_len(whole_lines(&file)?)?;
    if settings.sync {
        // Of a file that is new the name, too; until it is on the disk nothing is written to it.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()?;
    }
    Ok(file)
}

/// Where the last whole line ends.
fn whole_lines(file: &File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut block = vec![0; 64 << 10];
    while end > 0 {
        let length = (end.min(block.len() as u64)) as usize;
        let start = end - length as u64;
        let block = block.get_mut(..length).unwrap_or_default();
        file.read_exact_at(block, start)?;
        if let Some(at) = block.iter().rposition(|&byte| byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::Envelope;
    use crate::sealed::tests::sealed;
    use crate::settings::Coding;

    fn batch(number: usize) -> SealedBatch {
        let records = vec![format!("{{\"n\":{number}}}").into_bytes(), b"{}".to_vec()];
        sealed(number as u128, &records, Coding::Gzip, &Envelope::edge_batch())
    }

    fn all_lines(folder: &Path) -> (usize, Vec<String>) {
        let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        // The current file has no number behind its name and comes last.
        paths.sort_by_key(|path| (path.extension().is_some_and(|extension| extension == "ndjson"), path.clone()));
        let text: String = paths.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
        (paths.len(), text.lines().map(str::to_owned).collect())
    }

    /// A file with three batches in it, after which it is due to be rotated.
    fn due(path: &Path) -> Rotating {
        let mut rotating = Rotating::open(FileSettings { rotate_bytes: 40, ..FileSettings::new(path) }).unwrap();
        for number in 0..3 {
            rotating.append(&batch(number), Instant::now()).unwrap();
        }
        rotating
    }

    #[test]
    fn rotates_by_size_with_whole_batches_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let settings = FileSettings { rotate_bytes: 40, ..FileSettings::new(folder.path().join("out.ndjson")) };
        let mut rotating = Rotating::open(settings.clone()).unwrap();
        for number in 0..10 {
            rotating.append(&batch(number), Instant::now()).unwrap();
        }
        let (files, lines) = all_lines(folder.path());
        assert_eq!(files, 4, "three batches of 11 bytes a file");
        let expected: Vec<String> = (0..10).flat_map(|number| [format!("{{\"n\":{number}}}"), "{}".into()]).collect();
        assert_eq!(lines, expected);
        drop(rotating);
        let mut rotating = Rotating::open(FileSettings { keep: Some(1), ..settings }).unwrap();
        for number in 10..14 {
            rotating.append(&batch(number), Instant::now()).unwrap();
        }
        assert_eq!(all_lines(folder.path()).0, 2);
    }

    #[test]
    fn rotates_by_age() {
        let folder = tempfile::tempdir().unwrap();
        let age = Duration::from_secs(60);
        let settings = FileSettings { rotate_age: Some(age), ..FileSettings::new(folder.path().join("out.ndjson")) };
        let mut rotating = Rotating::open(settings).unwrap();
        let start = rotating.opened;
        rotating.append(&batch(0), start).unwrap();
        rotating.append(&batch(1), start + age / 2).unwrap();
        assert_eq!(all_lines(folder.path()).0, 1);
        rotating.append(&batch(2), start + age).unwrap();
        assert_eq!(all_lines(folder.path()).0, 2);
        rotating.append(&batch(3), start + age + age / 2).unwrap();
        assert_eq!(all_lines(folder.path()).0, 2);
    }

    fn lines_of(numbers: std::ops::Range<usize>) -> String {
        numbers.map(|number| format!("{{\"n\":{number}}}\n{{}}\n")).collect()
    }

    /// Once, every batch after it went into a file without a name, or none was written any more.
    #[test]
    fn a_file_that_was_removed_or_renamed_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (path, away) = (folder.path().join("out.ndjson"), folder.path().join("away"));
        let mut rotating = due(&path);
        // It is due to be rotated, and gone.
        std::fs::rename(&path, &away).unwrap();
        rotating.append(&batch(3), Instant::now()).unwrap();
        assert_eq!(std::fs::read_to_string(&away).unwrap(), lines_of(0..3));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), lines_of(3..4));
        std::fs::remove_file(&path).unwrap();
        rotating.append(&batch(4), Instant::now()).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), lines_of(4..5));
        // Another one in its place is gone on with.
        std::fs::rename(&away, &path).unwrap();
        rotating.append(&batch(5), Instant::now()).unwrap();
        let (_, lines) = all_lines(folder.path());
        assert_eq!(lines.join("\n") + "\n", lines_of(0..3) + &lines_of(5..6), "rotated, and then written");
    }

    /// Once, the file was renamed and no new one made, and from then on there was nothing to rename.
    #[test]
    fn a_rotation_that_fails_half_way_is_made_good() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.ndjson");
        let mut rotating = due(&path);
        // What a failure between the two leaves: renamed, and something in the way of the new one.
        std::fs::rename(&path, folder.path().join("out.ndjson.1")).unwrap();
        std::fs::create_dir(&path).unwrap();
        for _ in 0..3 {
            assert!(rotating.append(&batch(3), Instant::now()).is_err());
        }
        std::fs::remove_dir(&path).unwrap();
        for number in 3..8 {
            rotating.append(&batch(number), Instant::now()).unwrap();
        }
        let (files, lines) = all_lines(folder.path());
        assert_eq!((files, lines.join("\n") + "\n"), (3, lines_of(0..8)));
    }

    /// Once, what was written next went to where the end had been, behind a hole.
    #[test]
    fn a_file_that_is_cut_to_nothing_gets_no_holes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.ndjson");
        let mut rotating = due(&path);
        OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
        for number in 3..6 {
            rotating.append(&batch(number), Instant::now()).unwrap();
        }
        // Its length is what it has: there was no reason to rotate.
        assert_eq!(all_lines(folder.path()).0, 1);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), lines_of(3..6));
    }

    /// Two sensors once wrote over each other's records.
    #[test]
    fn two_do_not_write_to_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.ndjson");
        let settings = FileSettings { rotate_bytes: 40, ..FileSettings::new(&path) };
        let mut rotating = Rotating::open(settings.clone()).unwrap();
        for number in 0..5 {
            let error = FileTransport::open(settings.clone()).unwrap_err().to_string();
            assert!(error.contains("another process writes to it; give each sensor"), "{error}");
            // Rotated or not.
            rotating.append(&batch(number), Instant::now()).unwrap();
        }
        drop(rotating);
        let mut rotating = Rotating::open(settings).unwrap();
        rotating.append(&batch(5), Instant::now()).unwrap();
        assert_eq!(all_lines(folder.path()).1.join("\n") + "\n", lines_of(0..6));
    }

    #[test]
    fn half_a_batch_is_cut_off_before_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.ndjson");
        let mut rotating = Rotating::open(FileSettings::new(&path)).unwrap();
        rotating.append(&batch(0), Instant::now()).unwrap();
        let length = std::fs::metadata(&path).unwrap().len();
        let whole = lines_of(0..1);
        // The last two: cut by somebody else behind the failed write.
        for (found, kept) in [
            (format!("{whole}{{\"n\":9}}\n{{"), &*whole),
            (whole.clone(), &*whole),
            ("{}\n{\"n\"".to_owned(), "{}\n"),
            ("{\"n\"".to_owned(), ""),
        ] {
            std::fs::write(&path, found).unwrap();
            rotating.torn = Some(length);
            rotating.append(&batch(1), Instant::now()).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), kept.to_owned() + &lines_of(1..2));
        }
    }

    /// Once, the spool's file went when the kernel had the batch: a loss of power took it.
    #[test]
    fn what_is_accepted_is_on_the_disk_where_that_is_asked_for() {
        static SYNCED: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.ndjson");
        let settings = FileSettings { sync: true, ..FileSettings::new(&path) };
        let mut rotating = Rotating::open(settings).unwrap();
        rotating.sync_data = |file| {
            SYNCED.store(file.metadata()?.len(), std::sync::atomic::Ordering::SeqCst);
            Ok(())
        };
        rotating.append(&batch(0), Instant::now()).unwrap();
        assert_eq!(
            SYNCED.load(std::sync::atomic::Ordering::SeqCst),
            lines_of(0..1).len() as u64,
            "all of it was written"
        );
        // What the disk did not take is not there, and so not twice when it is written again.
        rotating.sync_data = |_| Err(io::ErrorKind::StorageFull.into());
        assert!(rotating.append(&batch(1), Instant::now()).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), lines_of(0..1));
        rotating.sync_data = File::sync_data;
        rotating.append(&batch(1), Instant::now()).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), lines_of(0..2));
        // Where it is not asked for it is not done.
        rotating.settings.sync = false;
        rotating.sync_data = |_| Err(io::ErrorKind::StorageFull.into());
        rotating.append(&batch(2), Instant::now()).unwrap();
    }

    #[test]
    fn half_a_line_left_by_a_crash_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.ndjson");
        let long = "x".repeat(200_000);
        for (found, kept) in [(format!("{{}}\n{long}"), "{}\n"), (long.clone(), ""), ("{}\n".into(), "{}\n")] {
            std::fs::write(&path, found).unwrap();
            let mut rotating = Rotating::open(FileSettings::new(&path)).unwrap();
            rotating.append(&batch(7), Instant::now()).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{kept}{{\"n\":7}}\n{{}}\n"));
        }
    }

    #[tokio::test]
    async fn a_full_disk_is_a_retry_and_leaves_whole_lines() {
        let folder = tempfile::tempdir().unwrap();
        assert!(FileTransport::open(FileSettings::new(folder.path().join("absent/out.ndjson"))).is_err());
        let settings = FileSettings { rotate_bytes: 1 << 30, ..FileSettings::new("/dev/full") };
        if Path::new("/dev/full").exists()
            && let Ok(transport) = FileTransport::open(settings)
        {
            assert_eq!(transport.send(&batch(0)).await, Outcome::retry(RetryReason::Local));
        }
    }
}
