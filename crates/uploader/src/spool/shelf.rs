//! A folder for what nobody waits for any more but somebody may want to look at: damaged files, rejected batches.
//! It has a size; the oldest files, by name, go first, each with those beside it: of its name but for the extension.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::disk::Disk;
use super::format;

pub(crate) struct Shelf {
    folder: PathBuf,
    /// Lengths by name; names start with what orders them by age.
    files: BTreeMap<String, u64>,
    bytes: u64,
    most: u64,
    /// Records in the batches that went for room.
    evicted: u64,
}

impl Shelf {
    /// Makes the folder, and counts what is in it.
    pub(crate) fn open(disk: &dyn Disk, folder: PathBuf, most: u64) -> io::Result<Self> {
        disk.make_folder(&folder)?;
        let files: BTreeMap<String, u64> = disk.list(&folder)?.into_iter().collect();
        let bytes = files.values().sum();
        let mut shelf = Self { folder, files, bytes, most, evicted: 0 };
        shelf.make_room(disk, 0);
        Ok(shelf)
    }

    /// Writes a new file; with `sync` its content is on the disk afterwards.
    pub(crate) fn write(&mut self, disk: &dyn Disk, name: &str, parts: &[&[u8]], sync: bool) -> io::Result<()> {
        let length = parts.iter().map(|part| part.len() as u64).sum();
        if !self.make_room(disk, length) {
            return Ok(());
        }
        let path = self.folder.join(name);
        if let Err(error) = disk.write(&path, parts, sync) {
            // What it left behind would be counted by nobody.
            let _ = disk.remove(&path);
            return Err(error);
        }
        self.note(name, length);
        Ok(())
    }

    /// Moves a file here from elsewhere in the spool; one that is larger than the whole folder is removed.
    pub(crate) fn take(&mut self, disk: &dyn Disk, from: &Path, name: &str, length: u64) -> io::Result<()> {
        if !self.make_room(disk, length) {
            return disk.remove(from);
        }
        disk.rename(from, &self.folder.join(name))?;
        self.note(name, length);
        Ok(())
    }

    /// Has the names of what was written on the disk.
    pub(crate) fn sync(&self, disk: &dyn Disk) -> io::Result<()> {
        disk.sync_folder(&self.folder)
    }

    fn note(&mut self, name: &str, length: u64) {
        let before = self.files.insert(name.to_owned(), length).unwrap_or(0);
        self.bytes = self.bytes - before + length;
    }

    /// Removes the oldest until `length` more bytes fit. False if they never will.
    pub(crate) fn make_room(&mut self, disk: &dyn Disk, length: u64) -> bool {
        if length > self.most {
            return false;
        }
        while self.bytes + length > self.most {
            let Some(oldest) = self.files.keys().next().cloned() else { break };
            self.evicted += self.remove_all(disk, stem(&oldest));
        }
        true
    }

    /// Removes every file `<stem>.<extension>`. Returns how many records their names say that were in them.
    pub(crate) fn remove_all(&mut self, disk: &dyn Disk, stem: &str) -> u64 {
        let from = (std::ops::Bound::Included(stem), std::ops::Bound::Unbounded);
        let beside = self.files.range::<str, _>(from).take_while(|(name, _)| name.starts_with(stem));
        let names: Vec<String> =
            beside.map(|(name, _)| name).filter(|name| self::stem(name) == stem).cloned().collect();
        let mut records = 0;
        for name in names {
            let length = self.files.remove(&name).unwrap_or(0);
            self.bytes -= length;
            records += records_in(&name, length);
            // One that cannot be removed is forgotten: it is found again at the next start.
            let _ = disk.remove(&self.folder.join(name));
        }
        records
    }

    /// How many records went for room since this was asked last.
    pub(crate) fn take_evicted(&mut self) -> u64 {
        std::mem::take(&mut self.evicted)
    }
}

fn stem(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

/// How many records a file holds as its name says; none if it cannot.
fn records_in(name: &str, length: u64) -> u64 {
    let records = name.strip_suffix(".batch").and_then(|stem| stem.rsplit_once('-')?.1.parse().ok());
    records.filter(|&records| format::may_hold(length, records)).map_or(0, u64::from)
}
