//! The private folder of a command, which is not left behind: neither by a signal nor, beyond the next run, by a crash.
//!
//! Whoever has such a folder holds a lock on it, which the system takes away with the process. A run removes what it finds of
//! its own user's without one: ids of processes are used again, and mean nothing to another container that shares `/tmp`.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::geteuid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tempfile::TempDir;

use super::{exit, is_ignored, say};

/// What is in the folder: the lock is on the folder around it, as a spool locks its own.
const CONTENT: &str = "content";
/// How often a folder is made that somebody takes for an old one before it is locked.
const TRIES: usize = 16;
/// How long what still writes into the folder can keep it from being removed.
const PATIENCE: Duration = Duration::from_secs(2);

/// The folder, until it goes.
#[derive(Debug)]
pub(super) struct Scratch {
    folder: TempDir,
    /// `None` where the file system has none for folders: then nobody finds the folder unlocked either.
    _lock: Option<File>,
}

/// Whether a lock could be had.
enum Locked {
    Yes(File),
    /// It is somebody's.
    No,
    /// There are none here.
    Unknown,
}

impl Scratch {
    /// Makes one in the folder for temporary files, and removes those that were left there by the same name.
    fn new(prefix: &str) -> io::Result<Self> {
        let place = std::env::temp_dir();
        remove_left(&place, prefix);
        for _ in 0..TRIES {
            let mode = Permissions::from_mode(0o700);
            let folder = tempfile::Builder::new().prefix(prefix).permissions(mode).tempdir_in(&place)?;
            let lock = match lock(folder.path()) {
                Ok(Locked::Yes(lock)) => Some(lock),
                Ok(Locked::Unknown) => None,
                // Between the two moments another run took it for one that was left.
                Ok(Locked::No) | Err(_) => continue,
            };
            fs::create_dir(folder.path().join(CONTENT))?;
            return Ok(Self { folder, _lock: lock });
        }
        Err(io::Error::other("others remove each folder that is made"))
    }

    /// Where things can be put.
    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join(CONTENT)
    }
}

/// Locks a folder, which is not removed by then.
fn lock(folder: &Path) -> io::Result<Locked> {
    let itself = File::open(folder)?;
    match itself.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => return Ok(Locked::No),
        Err(fs::TryLockError::Error(_)) => return Ok(Locked::Unknown),
    }
    let (held, there) = (itself.metadata()?, fs::symlink_metadata(folder)?);
    Ok(if (held.dev(), held.ino()) == (there.dev(), there.ino()) { Locked::Yes(itself) } else { Locked::No })
}

/// Removes what processes that are gone have left. What cannot be removed is left to the next run.
fn remove_left(place: &Path, prefix: &str) {
    let Ok(entries) = fs::read_dir(place) else { return };
    for entry in entries.flatten() {
        let folder = entry.path();
        if entry.file_name().to_string_lossy().starts_with(prefix) && is_own(&folder) {
            // Locked while it goes, so that no two runs remove one.
            if let Ok(Locked::Yes(_lock)) = lock(&folder) {
                let _ = fs::remove_dir_all(&folder);
            }
        }
    }
}

/// Whether it is a folder of this user's, for nobody else, and made as they are here.
fn is_own(folder: &Path) -> bool {
    let is_private = fs::symlink_metadata(folder)
        .is_ok_and(|found| found.is_dir() && found.uid() == geteuid().as_raw() && found.mode() & 0o077 == 0);
    let has_nothing_else =
        || fs::read_dir(folder).is_ok_and(|entries| entries.flatten().all(|entry| entry.file_name() == CONTENT));
    is_private && has_nothing_else()
}

/// What ends the process on a signal, and removes the folder first.
#[derive(Clone, Debug, Default)]
pub(super) struct Cleaner(Arc<Mutex<Option<PathBuf>>>);

impl Cleaner {
    /// From now on SIGINT, SIGTERM and a SIGHUP that is not ignored end the process, as having been interrupted.
    ///
    /// # Errors
    /// When the system gives no thread or takes no handler.
    pub(super) fn start() -> io::Result<Self> {
        let cleaner = Self::default();
        let heeded = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| *signal != SIGHUP || !is_ignored(SIGHUP));
        let mut signals = Signals::new(heeded)?;
        let waiting = cleaner.clone();
        let wait = move || {
            if signals.forever().next().is_some() {
                // Whoever makes a folder, or concludes, waits until there is nobody any more.
                let folder = waiting.0.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(folder) = folder.as_deref() {
                    remove_in_use(folder);
                }
                say(format_args!("error: it was stopped by a signal, and nothing is verified\n"));
                signal_hook::low_level::exit(i32::from(exit::INTERRUPTED));
            }
        };
        thread::Builder::new().name("cleaner".to_owned()).spawn(wait)?;
        Ok(cleaner)
    }

    /// A folder that goes with the process, or before.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn scratch(&self, prefix: &str) -> io::Result<Scratch> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let scratch = Scratch::new(prefix)?;
        *known = Some(scratch.folder.path().to_owned());
        Ok(scratch)
    }

    /// From now on there is nothing to be stopped: where a signal came, this does not return.
    pub(super) fn conclude(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Removes a folder that somebody may write into: what is written behind the removal keeps it, so it is tried again.
fn remove_in_use(folder: &Path) {
    let begun = Instant::now();
    while fs::remove_dir_all(folder).is_err() && fs::symlink_metadata(folder).is_ok() && begun.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_what_nobody_has_is_removed() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        let make = |name: &str, mode: u32| {
            fs::create_dir_all(at(name).join(CONTENT)).unwrap();
            fs::write(at(name).join(CONTENT).join("0.batch"), "x").unwrap();
            fs::set_permissions(at(name), Permissions::from_mode(mode)).unwrap();
        };
        for name in ["a-left", "a-used", "b-other"] {
            make(name, 0o700);
        }
        make("a-open", 0o755);
        fs::create_dir(at("a-another")).unwrap();
        fs::set_permissions(at("a-another"), Permissions::from_mode(0o700)).unwrap();
        fs::write(at("a-another").join("thing"), "x").unwrap();
        fs::write(at("a-file"), "x").unwrap();
        symlink(at("b-other"), at("a-link")).unwrap();
        let Ok(Locked::Yes(held)) = lock(&at("a-used")) else { panic!("no lock") };
        assert!(matches!(lock(&at("a-used")), Ok(Locked::No)));
        remove_left(place.path(), "a-");
        let mut left: Vec<_> = fs::read_dir(place.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["a-another", "a-file", "a-link", "a-open", "a-used", "b-other"]);
        assert!(at("b-other").join(CONTENT).join("0.batch").exists());
        drop(held);
        remove_left(place.path(), "a-");
        assert!(!at("a-used").exists());
    }

    #[test]
    fn a_folder_that_was_removed_before_it_was_locked_is_none() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("a");
        fs::create_dir(&folder).unwrap();
        let Ok(Locked::Yes(_held)) = lock(&folder) else { panic!("no lock") };
        fs::remove_dir(&folder).unwrap();
        assert!(lock(&folder).is_err());
        fs::create_dir(&folder).unwrap();
        assert!(matches!(lock(&folder), Ok(Locked::Yes(_))), "another one by the name");
    }
}
