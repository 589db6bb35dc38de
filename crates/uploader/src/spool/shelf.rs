//! A folder for what nobody waits for any more but somebody may want to look at: damaged files, rejected batches.
//! It has a size; the oldest files, by name, go first.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::disk::Disk;

pub(crate) struct Shelf {
    folder: PathBuf,
    /// Lengths by name; names start with what orders them by age.
    files: BTreeMap<String, u64>,
    bytes: u64,
    most: u64,
}

impl Shelf {
    /// Makes the folder, and counts what is in it.
    pub(crate) fn open(disk: &dyn Disk, folder: PathBuf, most: u64) -> io::Result<Self> {
        disk.make_folder(&folder)?;
        let files: BTreeMap<String, u64> = disk.list(&folder)?.into_iter().collect();
        let bytes = files.values().sum();
        let mut shelf = Self { folder, files, bytes, most };
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
    fn make_room(&mut self, disk: &dyn Disk, length: u64) -> bool {
        if length > self.most {
            return false;
        }
        while self.bytes + length > self.most {
            let Some((name, freed)) = self.files.pop_first() else { break };
            self.bytes -= freed;
            // One that cannot be removed is forgotten: it is found again at the next start.
            let _ = disk.remove(&self.folder.join(name));
        }
        true
    }
}
