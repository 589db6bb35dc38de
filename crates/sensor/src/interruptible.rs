//! Pipes that a signal can end.
//!
//! A read from a pipe that nothing comes through waits for ever, signal or not: the handlers of the standard library's
//! world restart it. So the pipe is polled first, which a signal does interrupt, and after one it is at its end. To write into
//! one that nobody reads from is the same; and to open one that nobody writes to, which is why that is not waited for.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal as _, Read, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

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
                if kind.is_fifo() {
                    // Else it would be waited here for whoever writes to it. Polled, it is silent until somebody does.
                    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).ok()?
                } else {
                    kind.is_char_device().then(|| File::open(path).ok())??
                }
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
                Ok(_) => match self.pipe.read(buffer) {
                    // Another reader of the pipe was faster.
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    read => return read,
                },
                Err(error) => return Err(error.into()),
            }
        }
        Ok(0)
    }
}

/// After a signal, whoever takes nothing for so long is waited for no longer.
const LAST_WAIT: Duration = Duration::from_secs(1);
/// After a signal, what is on its way out has so long in all.
const MOST_WAIT: Duration = Duration::from_secs(4);
/// How often it is looked whether a pipe has a reader now: nothing tells.
const LOOK: Duration = Duration::from_millis(50);
/// What a pipe takes that is said to take anything (PIPE_BUF).
const PIECE: usize = 4 << 10;

/// A pipe to write into. Once the flag is set it is at its end when nobody takes anything.
#[derive(Debug)]
pub struct Stallable {
    pipe: File,
    /// Whether a write that finds no room waits, as it does where the pipe's mode is shared with other processes.
    blocks: bool,
    /// Whether nobody has read from it yet.
    is_awaiting: bool,
    interrupted: Arc<AtomicBool>,
    /// When waiting ends in any case.
    end: Option<Instant>,
}

/// How a write into a [`Stallable`] ended early.
#[derive(Debug)]
pub enum Unwritten {
    /// The flag is set, and nobody takes anything.
    Stalled {
        /// Bytes that were taken before.
        taken: usize,
    },
    /// The system refuses.
    Failed {
        /// What it says.
        error: io::Error,
        /// Bytes that were taken before.
        taken: usize,
    },
}

impl Stallable {
    /// A way to write into what `output` leads to that does not wait, where that can keep its writer waiting: a pipe, a
    /// terminal, a socket. `None` for files, and for devices such as `/dev/null`.
    #[must_use]
    pub fn of(output: BorrowedFd<'_>, interrupted: &Arc<AtomicBool>) -> Option<Self> {
        let same = File::from(output.try_clone_to_owned().ok()?);
        let kind = same.metadata().ok()?.file_type();
        if !(kind.is_fifo() || kind.is_socket() || same.is_terminal()) {
            return None;
        }
        // Opened once more it has a mode of its own: that of the one that was inherited is its other holders', too. A socket
        // cannot be opened, nor what belongs to another user.
        let name = format!("/proc/self/fd/{}", same.as_raw_fd());
        let own = OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(name);
        let (pipe, blocks) = own.map_or((same, true), |own| (own, false));
        Some(Self { pipe, blocks, is_awaiting: false, interrupted: Arc::clone(interrupted), end: None })
    }

    /// A named pipe, which need not have a reader yet: the first write waits for one. What sets the flag is to be told by
    /// [`Self::heed`].
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let open = |reads| OpenOptions::new().read(reads).write(true).custom_flags(libc::O_NONBLOCK).open(path);
        let (pipe, is_awaiting) = match open(false) {
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => {
                // Only for as long as it takes to open it: later the right to may be gone.
                let _reader = open(true).map_err(|error| {
                    let words = format!(
                        "nobody reads from this pipe yet, and to wait for a reader takes the right to read from it: {error}; start the reader first, or give the sensor's user that right"
                    );
                    io::Error::new(error.kind(), words)
                })?;
                (open(false)?, true)
            }
            opened => (opened?, false),
        };
        Ok(Self { pipe, blocks: false, is_awaiting, interrupted: Arc::default(), end: None })
    }

    /// Ends what it waits for once `interrupted` is set.
    pub fn heed(&mut self, interrupted: &Arc<AtomicBool>) {
        self.interrupted = Arc::clone(interrupted);
    }

    /// Whether nobody has read from it since it was opened.
    #[must_use]
    pub const fn is_awaiting(&self) -> bool {
        self.is_awaiting
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// When it cannot be written, or the flag is set and nobody takes it.
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<(), Unwritten> {
        let mut taken = 0;
        while let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
            if self.blocks {
                self.wait(taken)?;
            }
            let piece = if self.blocks { rest.len().min(PIECE) } else { rest.len() };
            match self.pipe.write(&rest[..piece]) {
                Ok(0) => return Err(Unwritten::Failed { error: io::ErrorKind::WriteZero.into(), taken }),
                Ok(count) => {
                    taken += count;
                    self.is_awaiting = false;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Of one that was never read from that is no end.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe && self.is_awaiting => self.wait(taken)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait(taken)?,
                Err(error) => return Err(Unwritten::Failed { error, taken }),
            }
        }
        Ok(())
    }

    /// Bytes in the pipe that nobody has read; of what is no pipe nobody knows.
    #[must_use]
    pub fn unread(&self) -> u64 {
        let is_pipe = self.pipe.metadata().is_ok_and(|metadata| metadata.file_type().is_fifo());
        if is_pipe { rustix::io::ioctl_fionread(&self.pipe).unwrap_or(0) } else { 0 }
    }

    /// Waits until something can be written, when `taken` bytes were.
    fn wait(&mut self, taken: usize) -> Result<(), Unwritten> {
        let mut gives_up = None;
        loop {
            if self.interrupted.load(Ordering::Relaxed) {
                let now = Instant::now();
                let end = *self.end.get_or_insert(now + MOST_WAIT);
                if now >= end.min(*gives_up.get_or_insert(now + LAST_WAIT)) {
                    return Err(Unwritten::Stalled { taken });
                }
            }
            let mut pipe = [PollFd::new(&self.pipe, PollFlags::OUT)];
            match poll(&mut pipe, Some(&PATIENCE)) {
                Ok(0) | Err(Errno::INTR) => {}
                // Nobody is at the other end, which polling does not wait for.
                Ok(_) if self.is_awaiting && pipe[0].revents().contains(PollFlags::ERR) => thread::sleep(LOOK),
                Ok(_) => return Ok(()),
                Err(error) => return Err(Unwritten::Failed { error: error.into(), taken }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::fd::OwnedFd;
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

    /// A pipe opened once more, a socket, which cannot be, and what becomes of either when its reader stands still or goes.
    #[test]
    fn a_reader_that_takes_nothing_is_waited_for_until_the_flag_is_set() {
        let sent: Vec<u8> = (0..3_000_000_u32).map(|n| (n >> 3) as u8).collect();
        for is_socket in [false, true] {
            let (from, to) = if is_socket {
                let (from, to) = std::os::unix::net::UnixStream::pair().unwrap();
                (OwnedFd::from(from), OwnedFd::from(to))
            } else {
                let (from, to) = io::pipe().unwrap();
                (OwnedFd::from(from), OwnedFd::from(to))
            };
            let interrupted = Arc::new(AtomicBool::new(false));
            let mut output = Stallable::of(to.as_fd(), &interrupted).unwrap();
            assert_eq!(output.blocks, is_socket);
            let mut from = File::from(from);
            let all = sent.clone();
            let reader = thread::spawn(move || {
                let mut got = vec![0; all.len()];
                thread::sleep(Duration::from_millis(300));
                from.read_exact(&mut got).unwrap();
                assert!(got == all);
                from
            });
            output.write_all(&sent).unwrap();
            let from = reader.join().unwrap();
            let setter = thread::spawn({
                let interrupted = Arc::clone(&interrupted);
                move || {
                    thread::sleep(Duration::from_millis(300));
                    interrupted.store(true, Ordering::Relaxed);
                }
            });
            let start = Instant::now();
            let unwritten = output.write_all(&sent).unwrap_err();
            setter.join().unwrap();
            assert!(matches!(unwritten, Unwritten::Stalled { taken } if (1..sent.len()).contains(&taken)));
            assert!(start.elapsed() > LAST_WAIT);
            drop(from);
            let gone = output.write_all(b"more").unwrap_err();
            assert!(matches!(gone, Unwritten::Failed { error, taken: 0 } if error.kind() == io::ErrorKind::BrokenPipe));
        }
    }

    /// Whoever takes a little now and then does not keep it for ever.
    #[test]
    fn a_reader_that_dawdles_has_a_few_seconds_after_the_flag() {
        let (mut from, to) = io::pipe().unwrap();
        let interrupted = Arc::new(AtomicBool::new(true));
        let mut output = Stallable::of(to.as_fd(), &interrupted).unwrap();
        let reader = thread::spawn(move || {
            let mut bytes = vec![0; 8 << 10];
            while from.read(&mut bytes).unwrap() > 0 {
                thread::sleep(Duration::from_millis(100));
            }
        });
        let start = Instant::now();
        assert!(matches!(output.write_all(&vec![b'x'; 64 << 20]), Err(Unwritten::Stalled { .. })));
        assert!(start.elapsed() >= MOST_WAIT);
        drop((output, to));
        reader.join().unwrap();
    }

    #[test]
    fn a_named_pipe_that_nobody_writes_to_is_opened_and_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        for is_interrupted in [true, false] {
            let interrupted = Arc::new(AtomicBool::new(false));
            let mut pipe = Interruptible::open(&Input::File(path.clone()), &interrupted).unwrap();
            let path = path.clone();
            let later = thread::spawn(move || {
                thread::sleep(Duration::from_millis(300));
                interrupted.store(is_interrupted, Ordering::Relaxed);
                if !is_interrupted {
                    fs::write(path, "some").unwrap();
                }
            });
            let mut got = Vec::new();
            pipe.read_to_end(&mut got).unwrap();
            assert_eq!(got, if is_interrupted { &b""[..] } else { b"some" });
            later.join().unwrap();
        }
    }

    #[test]
    fn files_are_left_to_the_reader() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let interrupted = Arc::new(AtomicBool::new(false));
        assert!(Interruptible::open(&Input::File(file.path().to_owned()), &interrupted).is_none());
        assert!(Interruptible::open(&Input::File("/no/such/file".into()), &interrupted).is_none());
    }
}
