//! The file system as the spool uses it: few operations, so that tests can put a failing one in its place.

use std::any::Any;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use crate::stats::Stats;

/// What the spool asks of a file system.
pub(crate) trait Disk: Send + Sync + 'static {
    /// Makes `folder`, and what is above it, if it is not there; it is on the disk afterwards.
    fn make_folder(&self, folder: &Path) -> io::Result<()>;
    /// Keeps everybody else out of `folder` until the result is dropped; `WouldBlock` if somebody is in it.
    fn lock(&self, folder: &Path) -> io::Result<Box<dyn Any + Send + Sync>>;
    /// The files in `folder` with their lengths. Names that are not UTF-8 are none of ours.
    fn list(&self, folder: &Path) -> io::Result<Vec<(String, u64)>>;
    /// Writes a new file, in place of one of that name; with `sync` it is on the disk afterwards.
    fn write(&self, path: &Path, parts: &[&[u8]], sync: bool) -> io::Result<()>;
    /// Reads a file of at most `most` bytes.
    fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>>;
    /// Renames within the spool.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Has the folder's entries on the disk.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
}

/// In a spool's folder, held while a process uses it.
const LOCK: &str = "lock";

/// Makes a folder, and what is above it, where nobody else can read; it is on the disk afterwards. One that is there stays as
/// it is.
///
/// # Errors
/// What the system says.
pub fn make_folder(folder: &Path) -> io::Result<()> {
    RealDisk.make_folder(folder)
}

/// Who uses a spool's folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpoolUse {
    /// Nobody.
    Free,
    /// Another process, or this one.
    InUse,
}

/// Does in a spool's folder what delivery does there, and takes nothing that lies in it.
///
/// # Errors
/// What the system says to the first thing that is refused.
pub fn try_spool(folder: &Path) -> io::Result<SpoolUse> {
    make_folder(folder)?;
    let probe = folder.join(format!(".check-{}", std::process::id()));
    let written = RealDisk.write(&probe, &[], true);
    let removed = RealDisk.remove(&probe);
    written.and(removed)?;
    RealDisk.sync_folder(folder)?;
    let locked = match folder.join(LOCK).try_exists()? {
        true => RealDisk.lock(folder).map(drop),
        false => lock_folder(folder).map(drop),
    };
    match locked {
        Ok(()) => Ok(SpoolUse::Free),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(SpoolUse::InUse),
        Err(error) => Err(error),
    }
}

/// Locks the folder itself, which nobody removes by mistake as they do the file in it. `None` where the file system has locks for
/// files only, as NFS does.
fn lock_folder(folder: &Path) -> io::Result<Option<File>> {
    let itself = File::open(folder)?;
    match itself.try_lock() {
        Ok(()) => Ok(Some(itself)),
        Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
        Err(TryLockError::Error(_)) => Ok(None),
    }
}

/// The real one.
pub(crate) struct RealDisk;

impl Disk for RealDisk {
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        // Records are other people's traffic: nobody else reads them.
        let absent: Vec<&Path> = folder.ancestors().take_while(|above| !above.exists()).collect();
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        // A file that is synced is lost all the same with a folder whose own entry is not.
        for made in absent {
            let above = made.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
            self.sync_folder(above)?;
        }
        Ok(())
    }

    fn lock(&self, folder: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        let itself = lock_folder(folder)?;
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(folder.join(LOCK))?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new((itself, file))),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<(String, u64)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let metadata = entry.metadata()?;
            if metadata.is_file() {
                found.push((name, metadata.len()));
            }
        }
        Ok(found)
    }

    fn write(&self, path: &Path, parts: &[&[u8]], sync: bool) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        for part in parts {
            file.write_all(part)?;
        }
        if sync { file.sync_all() } else { Ok(()) }
    }

    fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        if length > most {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "longer than any spool file"));
        }
        let mut bytes = Vec::with_capacity(length as usize + 1);
        file.take(most).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }
}

/// Another one, whose operations are seen while they are under way.
pub(crate) struct WatchedDisk<D> {
    pub(crate) disk: D,
    pub(crate) stats: Arc<Stats>,
}

impl<D: Disk> Disk for WatchedDisk<D> {
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        self.stats.disk.watch(|| self.disk.make_folder(folder))
    }

    fn lock(&self, folder: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        self.stats.disk.watch(|| self.disk.lock(folder))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<(String, u64)>> {
        self.stats.disk.watch(|| self.disk.list(folder))
    }

    fn write(&self, path: &Path, parts: &[&[u8]], sync: bool) -> io::Result<()> {
        self.stats.disk.watch(|| self.disk.write(path, parts, sync))
    }

    fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        self.stats.disk.watch(|| self.disk.read(path, most))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.stats.disk.watch(|| self.disk.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.stats.disk.watch(|| self.disk.remove(path))
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.stats.disk.watch(|| self.disk.sync_folder(folder))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_spool_is_tried_where_it_is() {
        let at = tempfile::tempdir().unwrap();
        let folder = at.path().join("new/spool");
        assert_eq!(try_spool(&folder).unwrap(), SpoolUse::Free);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "nothing is left behind");
        // As delivery makes it: whoever tries first must not leave it open to others.
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        let lock = File::create(folder.join("lock")).unwrap();
        assert_eq!(try_spool(&folder).unwrap(), SpoolUse::Free);
        lock.lock().unwrap();
        assert_eq!(try_spool(&folder).unwrap(), SpoolUse::InUse);
        drop(lock);
        // Whoever tidies up must not let a second one in.
        let held = RealDisk.lock(&folder).unwrap();
        fs::remove_file(folder.join("lock")).unwrap();
        assert_eq!(RealDisk.lock(&folder).err().unwrap().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(try_spool(&folder).unwrap(), SpoolUse::InUse);
        drop(held);
        assert!(RealDisk.lock(&folder).is_ok());
        fs::write(at.path().join("file"), b"").unwrap();
        assert!(try_spool(&at.path().join("file")).is_err());
        assert!(try_spool(Path::new("/proc/none")).is_err());
    }
}
