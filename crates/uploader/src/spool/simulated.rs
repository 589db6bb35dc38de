//! A disk that fails, fills up, and loses power, for tests.
//!
//! Two views are kept: what a running process sees, and what is surely on the disk. Between them lie the contents of files
//! that were not synced and the entries of folders that were not. At a power loss each entry change may or may not have
//! reached the disk (a rename whole or not at all), and a file that was not synced holds any beginning of what was written.

use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::disk::Disk;

#[derive(Clone, Default)]
pub(crate) struct SimulatedDisk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    contents: Vec<Content>,
    seen: BTreeMap<PathBuf, usize>,
    durable: BTreeMap<PathBuf, usize>,
    /// Changes of entries that no folder sync has covered, in order.
    pending: Vec<Change>,
    operations: u64,
    /// The process is killed during this operation.
    kill_at: Option<u64>,
    killed: bool,
    /// These operations fail with this.
    failing: Option<(std::ops::Range<u64>, io::ErrorKind)>,
    /// Bytes that fit.
    capacity: Option<u64>,
    /// Writes take a while, so that threads meet.
    slow: bool,
}

#[derive(Default)]
struct Content {
    bytes: Vec<u8>,
    synced: bool,
}

#[derive(Clone)]
enum Change {
    Link(PathBuf, usize),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf, usize),
}

impl Change {
    fn folder(&self) -> &Path {
        let (Self::Link(path, _) | Self::Unlink(path) | Self::Rename(path, ..)) = self;
        path.parent().unwrap()
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Link(path, content) => {
                names.insert(path.clone(), *content);
            }
            Self::Unlink(path) => {
                names.remove(path);
            }
            Self::Rename(from, to, content) => {
                names.remove(from);
                names.insert(to.clone(), *content);
            }
        }
    }
}

impl SimulatedDisk {
    /// Kills the process during the `after`-th operation from now.
    pub(crate) fn kill_after(&self, after: u64) {
        let mut state = self.0.lock().unwrap();
        state.kill_at = Some(state.operations + after);
    }

    /// Has the operations from the `first`-th to the `last`-th from now fail.
    pub(crate) fn fail(&self, first: u64, last: u64, kind: io::ErrorKind) {
        let mut state = self.0.lock().unwrap();
        let now = state.operations;
        state.failing = Some((now + first..now + last, kind));
    }

    pub(crate) fn set_capacity(&self, bytes: Option<u64>) {
        self.0.lock().unwrap().capacity = bytes;
    }

    pub(crate) fn set_slow(&self) {
        self.0.lock().unwrap().slow = true;
    }

    pub(crate) fn files(&self) -> Vec<PathBuf> {
        self.0.lock().unwrap().seen.keys().cloned().collect()
    }

    /// Changes one byte of a file behind everybody's back.
    pub(crate) fn damage(&self, path: &Path) {
        let mut state = self.0.lock().unwrap();
        let content = state.seen[path];
        let bytes = &mut state.contents[content].bytes;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    }

    /// The machine starts again: after a power loss if `power_lost`, else only the process does.
    pub(crate) fn restart(&self, power_lost: bool, seed: u64) {
        let mut state = self.0.lock().unwrap();
        let state = &mut *state;
        state.kill_at = None;
        state.killed = false;
        state.failing = None;
        if !power_lost {
            return;
        }
        let mut random = StdRng::seed_from_u64(seed);
        for change in std::mem::take(&mut state.pending) {
            if random.random() {
                change.apply(&mut state.durable);
            }
        }
        for content in state.contents.iter_mut().filter(|content| !content.synced) {
            let kept = random.random_range(0..=content.bytes.len());
            content.bytes.truncate(kept);
            content.synced = true;
        }
        state.seen = state.durable.clone();
    }
}

impl State {
    /// Counts an operation. True if the process dies during it.
    fn begin(&mut self) -> io::Result<bool> {
        if self.killed {
            return Err(io::Error::other("killed"));
        }
        self.operations += 1;
        if self.kill_at == Some(self.operations) {
            self.killed = true;
            return Ok(true);
        }
        match &self.failing {
            Some((range, kind)) if range.contains(&self.operations) => Err((*kind).into()),
            _ => Ok(false),
        }
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.seen);
        self.pending.push(change);
    }

    fn used(&self) -> u64 {
        self.seen.values().map(|content| self.contents[*content].bytes.len() as u64).sum()
    }
}

impl Disk for SimulatedDisk {
    fn make_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, _: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        Ok(Box::new(()))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<(String, u64)>> {
        let state = self.0.lock().unwrap();
        let inside = state.seen.iter().filter(|(path, _)| path.parent() == Some(folder));
        Ok(inside
            .map(|(path, content)| {
                (path.file_name().unwrap().to_str().unwrap().to_owned(), state.contents[*content].bytes.len() as u64)
            })
            .collect())
    }

    fn write(&self, path: &Path, parts: &[&[u8]], sync: bool) -> io::Result<()> {
        let slow = self.0.lock().unwrap().slow;
        if slow {
            std::thread::sleep(std::time::Duration::from_micros(100));
        }
        let mut state = self.0.lock().unwrap();
        let dies = state.begin();
        let mut bytes = parts.concat();
        let room = state.capacity.map(|capacity| capacity.saturating_sub(state.used()) as usize);
        let full = room.is_some_and(|room| bytes.len() > room);
        // A write that fails, or is cut short by death, leaves a part of it behind.
        if !matches!(dies, Ok(false)) {
            bytes.truncate(bytes.len() / 2);
        }
        bytes.truncate(room.unwrap_or(usize::MAX));
        if !(dies.is_err() && state.killed) {
            let number = state.contents.len();
            state.contents.push(Content { bytes, synced: false });
            state.change(Change::Link(path.to_owned(), number));
        }
        if dies? {
            return Err(io::Error::other("killed"));
        }
        if full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let number = state.contents.len() - 1;
        state.contents[number].synced = sync;
        Ok(())
    }

    fn read(&self, path: &Path, _: u64) -> io::Result<Vec<u8>> {
        let mut state = self.0.lock().unwrap();
        if state.begin()? {
            return Err(io::Error::other("killed"));
        }
        let content = state.seen.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(state.contents[*content].bytes.clone())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        let dies = state.begin()?;
        let content = *state.seen.get(from).ok_or(io::ErrorKind::NotFound)?;
        state.change(Change::Rename(from.to_owned(), to.to_owned(), content));
        if dies { Err(io::Error::other("killed")) } else { Ok(()) }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        let dies = state.begin()?;
        if !state.seen.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change(Change::Unlink(path.to_owned()));
        if dies { Err(io::Error::other("killed")) } else { Ok(()) }
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        if state.begin()? {
            return Err(io::Error::other("killed"));
        }
        let state = &mut *state;
        let (covered, rest) =
            std::mem::take(&mut state.pending).into_iter().partition(|one: &Change| one.folder() == folder);
        state.pending = rest;
        let covered: Vec<Change> = covered;
        covered.iter().for_each(|change| change.apply(&mut state.durable));
        Ok(())
    }
}
