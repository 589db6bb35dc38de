//! Pipes that a signal can end.
//!
//! A read from a pipe that nothing comes through waits for ever, signal or not: the handlers of the standard library's
//! world restart it. So the pipe is polled first, which a signal does interrupt, and after one it is at its end.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileTypeExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::source::Input;

/// A signal that comes between looking at the flag and polling is seen this much later.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// A pipe, until it ends or the flag is set.
#[derive(Debug)]
pub struct Interruptible {
    pipe: File,
    interrupted: Arc<AtomicBool>,
}

impl Interruptible {
    /// The input, where it is one that can keep its reader waiting: a pipe, a terminal, a socket. `None` for files on a
    /// disk, and for what cannot be opened, which whoever opens it next can say better.
    #[must_use]
    pub fn open(input: &Input, interrupted: &Arc<AtomicBool>) -> Option<Self> {
        let pipe = match input {
            Input::Stdin => File::from(io::stdin().as_fd().try_clone_to_owned().ok()?),
            // Looked at before it is opened: opening a pipe may have effects.
            Input::File(path) => {
                let kind = fs::metadata(path).ok()?.file_type();
                (kind.is_fifo() || kind.is_char_device()).then(|| File::open(path).ok())??
            }
        };
        let is_disk = pipe.metadata().is_ok_and(|metadata| metadata.is_file() || metadata.is_dir());
        (!is_disk).then(|| Self { pipe, interrupted: Arc::clone(interrupted) })
    }
}

impl Read for Interruptible {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !self.interrupted.load(Ordering::Relaxed) {
            match poll(&mut [PollFd::new(&self.pipe, PollFlags::IN)], Some(&PATIENCE)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return self.pipe.read(buffer),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::fd::OwnedFd;
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_comes_is_read_and_the_flag_ends_it() {
        let (from, mut to) = io::pipe().unwrap();
        let interrupted = Arc::new(AtomicBool::new(false));
        let mut pipe = Interruptible { pipe: File::from(OwnedFd::from(from)), interrupted: Arc::clone(&interrupted) };
        to.write_all(b"some").unwrap();
        let mut buffer = [0; 16];
        assert_eq!(pipe.read(&mut buffer).unwrap(), 4);
        let setter = thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            interrupted.store(true, Ordering::Relaxed);
        });
        // The writer is still there, so only the flag can end this.
        assert_eq!(pipe.read(&mut buffer).unwrap(), 0);
        setter.join().unwrap();
        drop(to);
    }

    #[test]
    fn files_are_left_to_the_reader() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let interrupted = Arc::new(AtomicBool::new(false));
        assert!(Interruptible::open(&Input::File(file.path().to_owned()), &interrupted).is_none());
        assert!(Interruptible::open(&Input::File("/no/such/file".into()), &interrupted).is_none());
    }
}
