//! The folder in which sealed batches wait: one file for each, removed when its records have their fate.
//!
//! There is no journal and no cursor, so there is nothing to reconcile after a crash: a file is whole (temporary name,
//! fsync, rename, fsync of the folder) or it is not there. A file's name is `<number>-<records>.batch`; the number grows
//! from batch to batch, across restarts too, and is the time at which the batch was stored, so names are in order of age.
//!
//! ```text
//! folder/                             locked itself while a process uses it
//! folder/lock                         the same for file systems that lock files only
//! folder/0006....-250.batch           a waiting batch
//! folder/0006....-250.tmp             one being written; what a crash leaves of them is removed at the next start
//! folder/corrupt/                     damaged files
//! folder/dead-letter/                 rejected batches, and beside each the answer
//! ```
//!
//! This module knows files only; which of them to write, drop or send is [`crate::store`]'s business.

pub(crate) mod disk;
pub(crate) mod format;
mod shelf;
#[cfg(test)]
pub(crate) mod simulated;

use std::any::Any;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use self::disk::Disk;
use self::format::Corrupt;
use self::shelf::Shelf;
use crate::outcome::Answer;
use crate::sealed::{MAX_RECORDS, SealedBatch};
use crate::settings::{SpoolSettings, SpoolSync};

/// Files that are looked at to learn what waits: damaged ones do not say.
const FILES_ASKED: usize = 64;

/// A batch's number: its place in the order of age, and microseconds since 1970 unless the clock was put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Number(pub(crate) u64);

impl Number {
    /// The largest that is given or taken: a time that no clock says, and far from where there is no next one.
    pub(crate) const MOST: Self = Self(1 << 62);
}

/// A batch found when the spool was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) number: Number,
    pub(crate) records: u32,
    pub(crate) bytes: u64,
}

/// A spool that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Another process uses the folder.
    #[error("the spool folder {} is in use by another process; give each its own folder", .folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// What waits in the folder was made for another receiver than what is to be sent now.
    #[error(
        "the spool folder {} holds batches of {holds}, and {wanted} is to be sent: go back to what was configured until they are delivered, or name another folder",
        .folder.display()
    )]
    OtherShape {
        /// The folder.
        folder: PathBuf,
        /// The content type of what waits.
        holds: String,
        /// That of what is to be sent.
        wanted: String,
    },
    /// The folder cannot be made, locked, read or written.
    #[error("the spool folder {} cannot be used: {error}; check its rights and the disk", .folder.display())]
    Io {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// The content type of the batches that wait in a spool's folder; `None` if none do. Nothing is locked, moved or removed.
///
/// # Errors
///
/// What the system says.
pub fn spooled_as(folder: &Path) -> io::Result<Option<String>> {
    let mut names: Vec<(Number, String)> = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let Ok(name) = entry?.file_name().into_string() else { continue };
        if let Some((number, _, "batch")) = parse_name(&name) {
            names.push((number, name));
        }
    }
    names.sort_unstable();
    let states = |path: &Path| -> io::Result<Option<String>> {
        let mut start = Vec::new();
        std::fs::File::open(path)?.take(format::TYPE_BYTES as u64).read_to_end(&mut start)?;
        Ok(format::content_type(&start).map(str::to_owned))
    };
    // A spool never holds two kinds: one that can be read will do.
    Ok(names.iter().take(FILES_ASKED).find_map(|(_, name)| states(&folder.join(name)).ok().flatten()))
}

/// What became of a rejected batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Burial {
    /// It is in `dead-letter/`, the answer beside it.
    Kept,
    /// It is there, but there was no room for the answer.
    WithoutAnswer,
    /// It is larger than all that may be kept.
    TooLarge,
    /// There is no folder for it.
    NoFolder,
    /// The disk failed.
    Disk,
}

impl Burial {
    pub(crate) fn is_kept(self) -> bool {
        matches!(self, Self::Kept | Self::WithoutAnswer)
    }

    /// What it means for the batch, for the log.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::Kept => "it is kept in dead-letter/ with the answer",
            Self::WithoutAnswer => "it is kept in dead-letter/, but there was no room for the answer",
            Self::TooLarge => "it is lost: it is larger than the dead letters may be; raise their size",
            Self::NoFolder => "it is lost: without a spool folder nothing is kept",
            Self::Disk => "it is lost: the disk did not take it; check its space and the folder's rights",
        }
    }
}

/// Why a waiting batch could not be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// Its file is gone.
    Missing,
    /// Its file is not what was written.
    Corrupt(Corrupt),
    /// The disk failed.
    Io(io::Error),
}

pub(crate) struct Spool {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    sync: bool,
    corrupt: Mutex<Shelf>,
    dead_letter: Mutex<Shelf>,
    /// Files set aside when the folder was opened: they are named like batches and cannot be any.
    pub(crate) misnamed: u64,
    _lock: Box<dyn Any + Send + Sync>,
}

impl Spool {
    /// Opens the folder: locks it, removes what a crash left half written, and lists what waits, oldest first.
    pub(crate) fn open(settings: &SpoolSettings, disk: Arc<dyn Disk>) -> Result<(Self, Vec<Found>), SpoolError> {
        let folder = &settings.folder;
        let failed = |error: io::Error| SpoolError::Io { folder: folder.clone(), error };
        disk.make_folder(folder).map_err(failed)?;
        let lock = disk.lock(folder).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => SpoolError::InUse { folder: folder.clone() },
            _ => failed(error),
        })?;
        let mut corrupt = Shelf::open(&*disk, folder.join("corrupt"), settings.corrupt_bytes).map_err(failed)?;
        let (mut found, mut half_written, mut misnamed) = (Vec::new(), 0u64, 0u64);
        for (name, bytes) in disk.list(folder).map_err(failed)? {
            match parse_name(&name) {
                // One that is too short, or empty, is what a loss of power leaves where nothing is synced: its name says what
                // is lost with it, which is counted when it is read.
                Some((number, records, "batch")) if number <= Number::MOST && records as usize <= MAX_RECORDS => {
                    found.push(Found { number, records, bytes });
                }
                Some((.., "batch")) => {
                    // What its name says is no count of records: it is counted as a file only. Where it cannot be moved
                    // it is in nobody's way.
                    let moved = corrupt.take(&*disk, &folder.join(&name), &name, bytes);
                    misnamed += 1;
                    tracing::warn!(
                        folder = %folder.display(), file = name, bytes, is_set_aside = moved.is_ok(),
                        "a spool file's name says what cannot be; it is not sent, and is set aside in corrupt/"
                    );
                }
                Some((.., "tmp")) => {
                    disk.remove(&folder.join(name)).map_err(failed)?;
                    half_written += 1;
                }
                _ => {} // Not ours: left alone.
            }
        }
        if settings.sync == SpoolSync::Batch {
            // A process that was killed right behind a rename has left a file whose name is not on the disk yet.
            disk.sync_folder(folder).map_err(failed)?;
        }
        found.sort_unstable_by_key(|found| found.number);
        if half_written > 0 {
            tracing::info!(files = half_written, "removed spool files that a crash left half written");
        }
        let dead_letter =
            Shelf::open(&*disk, folder.join("dead-letter"), settings.dead_letter_bytes).map_err(failed)?;
        let spool = Self {
            disk,
            folder: folder.clone(),
            sync: settings.sync == SpoolSync::Batch,
            corrupt: Mutex::new(corrupt),
            dead_letter: Mutex::new(dead_letter),
            misnamed,
            _lock: lock,
        };
        Ok((spool, found))
    }

    /// Stores batches. What this says is stored is whole and, with `sync`, on the disk; of the others nothing is left.
    /// The folder is synced once for all of them.
    pub(crate) fn write(&self, batches: &[(Number, &SealedBatch)]) -> Vec<io::Result<()>> {
        let mut results: Vec<io::Result<()>> =
            batches.iter().map(|(number, batch)| self.write_one(*number, batch)).collect();
        if self.sync
            && results.iter().any(Result::is_ok)
            && let Err(error) = self.disk.sync_folder(&self.folder)
        {
            for ((number, batch), result) in batches.iter().zip(&mut results).filter(|(_, result)| result.is_ok()) {
                let _ = self.disk.remove(&self.path(*number, batch.records() as u32, "batch"));
                *result = Err(io::Error::new(error.kind(), error.to_string()));
            }
        }
        results
    }

    fn write_one(&self, number: Number, batch: &SealedBatch) -> io::Result<()> {
        let records = batch.records() as u32;
        let temporary = self.path(number, records, "tmp");
        let head = format::encode_head(batch);
        let written = self
            .disk
            .write(&temporary, &[&head, batch.body()], self.sync)
            .and_then(|()| self.disk.rename(&temporary, &self.path(number, records, "batch")));
        if written.is_err() {
            // What was written of it takes room that the next one needs.
            let _ = self.disk.remove(&temporary);
        }
        written
    }

    /// Reads a batch back.
    pub(crate) fn read(&self, number: Number, records: u32) -> Result<SealedBatch, ReadError> {
        let bytes =
            self.disk.read(&self.path(number, records, "batch"), format::MAX_FILE_BYTES).map_err(
                |error| match error.kind() {
                    io::ErrorKind::NotFound => ReadError::Missing,
                    io::ErrorKind::FileTooLarge => ReadError::Corrupt(Corrupt::Long),
                    _ => ReadError::Io(error),
                },
            )?;
        let batch = format::decode(&bytes.into()).map_err(ReadError::Corrupt)?;
        if batch.records() != records as usize {
            return Err(ReadError::Corrupt(Corrupt::Name));
        }
        Ok(batch)
    }

    /// Removes a batch whose records have their fate. After a power loss it may be there again: the receiver drops
    /// repeats, so the folder need not be synced.
    pub(crate) fn remove(&self, number: Number, records: u32) -> io::Result<()> {
        match self.disk.remove(&self.path(number, records, "batch")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Puts a damaged file aside, so that it is not tried again.
    pub(crate) fn set_aside(&self, number: Number, records: u32, bytes: u64) -> io::Result<()> {
        let from = self.path(number, records, "batch");
        let mut corrupt = self.corrupt.lock().unwrap_or_else(PoisonError::into_inner);
        let moved = corrupt.take(&*self.disk, &from, &file_name(number, records, "batch"), bytes);
        if moved.is_err() {
            // One that cannot be moved must not come back at every start.
            return self.disk.remove(&from);
        }
        moved
    }

    /// Keeps a rejected batch, or part of one that starts at record `from`, with the answer beside it. `file` is the length
    /// of the spool's own file, if there is one and it holds the same records: on a disk that is full it is moved.
    pub(crate) fn bury(
        &self,
        number: Number,
        from: u32,
        batch: &SealedBatch,
        file: Option<u64>,
        status: u16,
        answer: &Answer,
    ) -> io::Result<Burial> {
        let records = batch.records() as u32;
        let name = format!("{:016x}-{from}-{records}", number.0);
        let (batch_name, answer_name) = (format!("{name}.batch"), format!("{name}.answer"));
        let head = format::encode_head(batch);
        let status = format!("status {status}\n\n");
        let (length, answer_length) = (format::file_len(batch), (status.len() + answer.0.len()) as u64);
        let disk = &*self.disk;
        let mut shelf = self.dead_letter.lock().unwrap_or_else(PoisonError::into_inner);
        // For both at once: the one must not have the other removed.
        let has_room = shelf.make_room(disk, length + answer_length);
        if !has_room && !shelf.make_room(disk, length) {
            return Ok(Burial::TooLarge);
        }
        // The spool's own file goes when this one is written: it must not be the weaker of the two.
        if let Err(error) = shelf.write(disk, &batch_name, &[&head, batch.body()], self.sync) {
            let Some(bytes) = file else { return Err(error) };
            shelf.take(disk, &self.path(number, records, "batch"), &batch_name, bytes)?;
        }
        let has_answer =
            has_room && shelf.write(disk, &answer_name, &[status.as_bytes(), &answer.0], self.sync).is_ok();
        if self.sync
            && let Err(error) = shelf.sync(disk)
        {
            shelf.remove_all(disk, &name);
            return Err(error);
        }
        Ok(if has_answer { Burial::Kept } else { Burial::WithoutAnswer })
    }

    /// How many records in `dead-letter/` went for room since this was asked last.
    pub(crate) fn take_evicted(&self) -> u64 {
        self.dead_letter.lock().unwrap_or_else(PoisonError::into_inner).take_evicted()
    }

    /// The content type of what was found, by the first file that says it.
    pub(crate) fn content_type_of(&self, found: &[Found]) -> Option<String> {
        found.iter().take(FILES_ASKED).find_map(|one| {
            let batch = self.read(one.number, one.records).ok()?;
            Some(batch.content_type().to_owned())
        })
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    fn path(&self, number: Number, records: u32, extension: &str) -> PathBuf {
        self.folder.join(file_name(number, records, extension))
    }
}

fn file_name(number: Number, records: u32, extension: &str) -> String {
    format!("{:016x}-{records}.{extension}", number.0)
}

/// Number, records and extension of a name that [`file_name`] made, and of no other.
fn parse_name(name: &str) -> Option<(Number, u32, &str)> {
    let (stem, extension) = name.rsplit_once('.')?;
    let (number, records) = stem.split_once('-')?;
    let number = Number(u64::from_str_radix(number, 16).ok()?);
    let records = records.parse().ok().filter(|&records| records > 0)?;
    (file_name(number, records, extension) == name).then_some((number, records, extension))
}

#[cfg(test)]
mod tests {
    use super::disk::RealDisk;
    use super::*;
    use crate::envelope::Envelope;
    use crate::sealed::tests::{contents, sealed};
    use crate::settings::Coding;

    fn batch(first: u128) -> SealedBatch {
        sealed(first, &[b"one".to_vec(), b"two".to_vec()], Coding::Identity, &Envelope::lines())
    }

    fn open(folder: &Path) -> Result<(Spool, Vec<Found>), SpoolError> {
        Spool::open(&SpoolSettings::new(folder), Arc::new(RealDisk))
    }

    #[test]
    fn what_is_stored_is_found_in_order_of_age_and_read_as_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        let (spool, found) = open(&path).unwrap();
        assert_eq!(found, []);
        let (old, new) = (batch(0), batch(10));
        let results = spool.write(&[(Number(0x200), &new), (Number(0x1ff), &old)]);
        assert!(results.iter().all(Result::is_ok));
        assert!(matches!(open(&path), Err(SpoolError::InUse { .. })));
        drop(spool);
        std::fs::write(path.join("0000000000000300-2.tmp"), b"half").unwrap();
        std::fs::write(path.join("notes.txt"), b"somebody else's").unwrap();
        let (spool, found) = open(&path).unwrap();
        assert_eq!(
            found.iter().map(|found| (found.number.0, found.records)).collect::<Vec<_>>(),
            [(0x1ff, 2), (0x200, 2)]
        );
        assert_eq!(contents(&spool.read(Number(0x1ff), 2).unwrap()), contents(&old));
        assert_eq!(found[0].bytes, format::file_len(&old));
        assert!(!path.join("0000000000000300-2.tmp").exists());
        assert!(path.join("notes.txt").exists());
        spool.remove(Number(0x1ff), 2).unwrap();
        spool.remove(Number(0x1ff), 2).unwrap();
        assert!(matches!(spool.read(Number(0x1ff), 2), Err(ReadError::Missing)));
    }

    #[test]
    fn nobody_else_can_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spool");
        let (spool, _) = open(&path).unwrap();
        assert!(spool.write(&[(Number(1), &batch(0))])[0].is_ok());
        let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(path.clone()), 0o700);
        assert_eq!(mode(path.join("0000000000000001-2.batch")), 0o600);
    }

    #[test]
    fn damaged_and_rejected_batches_are_kept_within_their_sizes() {
        let folder = tempfile::tempdir().unwrap();
        let one = format::file_len(&batch(0));
        let settings = SpoolSettings {
            corrupt_bytes: 2 * one,
            dead_letter_bytes: 2 * one + 60,
            ..SpoolSettings::new(folder.path())
        };
        let (spool, _) = Spool::open(&settings, Arc::new(RealDisk)).unwrap();
        for number in 1..=5 {
            assert!(spool.write(&[(Number(number), &batch(0))])[0].is_ok());
            spool.set_aside(Number(number), 2, one).unwrap();
            let buried = spool.bury(Number(number), 0, &batch(0), None, 400, &Answer(b"no".to_vec()));
            assert_eq!(buried.unwrap(), Burial::Kept);
        }
        let names = |name: &str| {
            let mut names: Vec<_> = std::fs::read_dir(folder.path().join(name))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        assert_eq!(names("corrupt"), ["0000000000000004-2.batch", "0000000000000005-2.batch"]);
        assert_eq!(names("dead-letter").last().unwrap(), "0000000000000005-0-2.batch");
        // Each batch has its answer beside it, and what went is counted.
        assert_eq!(names("dead-letter").len(), 4);
        assert_eq!((spool.take_evicted(), spool.take_evicted()), (6, 0));
        let large = sealed(0, &[vec![b'x'; 1000]], Coding::Identity, &Envelope::lines());
        assert_eq!(spool.bury(Number(9), 0, &large, None, 400, &Answer::default()).unwrap(), Burial::TooLarge);
        let long = Answer(vec![b'x'; 1000]);
        assert_eq!(spool.bury(Number(9), 0, &batch(0), None, 400, &long).unwrap(), Burial::WithoutAnswer);
        assert_eq!(names("dead-letter").len(), 3);
        assert_eq!(spool.take_evicted(), 2);
        let total: u64 = RealDisk.list(&folder.path().join("dead-letter")).unwrap().iter().map(|(_, len)| len).sum();
        assert!(total <= settings.dead_letter_bytes, "{total}");
        let answer = std::fs::read(folder.path().join("dead-letter/0000000000000005-0-2.answer")).unwrap();
        assert_eq!(answer, b"status 400\n\nno");
    }

    /// A name at the end of the range once left no next number: every later batch took the same one. One with too large a
    /// count once put it into the records line.
    #[test]
    fn a_name_that_cannot_be_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let (spool, _) = open(folder.path()).unwrap();
        assert!(spool.write(&[(Number(7), &batch(0)), (Number::MOST, &batch(10))]).iter().all(Result::is_ok));
        drop(spool);
        let names = ["ffffffffffffffff-2.batch", "4000000000000001-2.batch"];
        for name in names {
            std::fs::copy(folder.path().join("0000000000000007-2.batch"), folder.path().join(name)).unwrap();
        }
        let (huge, larger) = ("0000000000000008-4000000000.batch", "0000000000000009-1048577.batch");
        std::fs::write(folder.path().join(huge), [b'x'; 1000]).unwrap();
        std::fs::write(folder.path().join(larger), b"").unwrap();
        let (spool, found) = open(folder.path()).unwrap();
        assert_eq!(found.iter().map(|found| found.number).collect::<Vec<_>>(), [Number(7), Number::MOST]);
        assert_eq!(spool.misnamed, 4);
        for name in [names[0], names[1], huge, larger] {
            assert!(folder.path().join("corrupt").join(name).exists(), "{name}");
            assert!(!folder.path().join(name).exists(), "{name}");
        }
    }

    #[test]
    fn only_names_of_our_own_are_taken_for_batches() {
        assert_eq!(parse_name("00000000000001ff-250.batch"), Some((Number(0x1ff), 250, "batch")));
        for name in [
            "1ff-250.batch",
            "00000000000001FF-250.batch",
            "00000000000001ff-0.batch",
            "00000000000001ff-+2.batch",
            "x",
            "",
        ] {
            assert_eq!(parse_name(name), None, "{name}");
        }
    }
}
