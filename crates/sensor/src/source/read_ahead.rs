//! Reading and decompression on a thread of its own.

use std::io::{self, Read};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

/// Bytes of a chunk, and how many chunks there are in all.
const CHUNK: usize = 512 * 1024;
const CHUNKS: usize = 4;

/// Bytes left free in front of what is read, for the beginning of a record that ends in it.
pub(super) const HEADROOM: usize = 96 * 1024;

/// An input that is read on another thread, up to 2 MiB ahead.
///
/// Decompression costs more than everything behind it; the kernel's copy of a plain file costs a fifth of it. The thread
/// ends with its input, with the first error, or soon after the reader is dropped.
pub(super) struct ReadAhead {
    full: Receiver<io::Result<Chunk>>,
    empty: Sender<Vec<u8>>,
    ended: bool,
    pauses: Option<Pauses>,
}

/// When [`ReadAhead::next`] says that it would block.
struct Pauses {
    /// After so long without saying so.
    patience: Duration,
    /// When it last did.
    last: Instant,
}

/// A buffer that was read into, from [`HEADROOM`] on, `len` bytes. An empty one is the end of the input.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) bytes: Vec<u8>,
    pub(super) len: usize,
}

impl ReadAhead {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub(super) fn start(mut input: impl Read + Send + 'static) -> io::Result<Self> {
        let (to_reader, full) = bounded(CHUNKS);
        let (empty, from_reader) = bounded::<Vec<u8>>(CHUNKS);
        for _ in 0..CHUNKS {
            // The channel has room for all of them.
            let _ = empty.try_send(vec![0; HEADROOM + CHUNK]);
        }
        thread::Builder::new().name("reader".into()).spawn(move || {
            for mut bytes in from_reader {
                let read = loop {
                    match input.read(&mut bytes[HEADROOM..]) {
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        other => break other,
                    }
                };
                let ended = !matches!(read, Ok(1..));
                let read = read.map(|len| Chunk { bytes, len });
                // A reader that is gone wants no more.
                if to_reader.send(read).is_err() || ended {
                    return;
                }
            }
        })?;
        Ok(Self { full, empty, ended: false, pauses: None })
    }

    /// Takes a buffer to read into again. Each chunk's must come back, or the thread waits for it for ever.
    pub(super) fn give_back(&self, mut bytes: Vec<u8>) {
        // It may have grown for a long record, or be of another length altogether.
        bytes.resize(HEADROOM + CHUNK, 0);
        bytes.shrink_to(HEADROOM + CHUNK);
        // Refused when there are enough, and by a thread that has ended, which needs no more.
        let _ = self.empty.try_send(bytes);
    }

    /// From now on, [`Self::next`] says that it would block when nothing comes for so long; and as often where something comes
    /// all the time, before what comes next: whoever asks does not get to anything else for longer. The clock is read once a
    /// chunk.
    pub(super) fn wait_at_most(&mut self, patience: Option<Duration>) {
        self.pauses = patience.map(|patience| Pauses { patience, last: Instant::now() });
    }

    /// What comes next, never nothing; `None` at the end of the input.
    ///
    /// # Errors
    ///
    /// Whatever the input reports; after that, there is no more.
    pub(super) fn next(&mut self) -> io::Result<Option<Chunk>> {
        if self.ended {
            return Ok(None);
        }
        let next = match &mut self.pauses {
            None => self.full.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(Pauses { patience, last }) => {
                let next = match patience.checked_sub(last.elapsed()) {
                    Some(rest) if !rest.is_zero() => self.full.recv_timeout(rest),
                    _ => Err(RecvTimeoutError::Timeout),
                };
                if matches!(next, Err(RecvTimeoutError::Timeout)) {
                    *last = Instant::now();
                }
                next
            }
        };
        match next {
            Ok(Ok(chunk)) if chunk.len > 0 => Ok(Some(chunk)),
            Ok(end) => {
                self.ended = true;
                end.map(|_| None)
            }
            Err(RecvTimeoutError::Timeout) => Err(io::ErrorKind::WouldBlock.into()),
            // The thread tells its end before it goes: without that, it did not go by itself.
            Err(RecvTimeoutError::Disconnected) => {
                self.ended = true;
                Err(io::Error::new(io::ErrorKind::InvalidData, "the reading thread failed"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All there is, and how it ended.
    fn read_all(mut reader: ReadAhead) -> (Vec<u8>, io::Result<()>) {
        let mut read = Vec::new();
        loop {
            match reader.next() {
                Ok(Some(chunk)) => {
                    read.extend_from_slice(&chunk.bytes[HEADROOM..HEADROOM + chunk.len]);
                    reader.give_back(chunk.bytes);
                }
                Ok(None) => return (read, Ok(())),
                Err(error) => {
                    assert!(reader.next().unwrap().is_none(), "there is nothing behind an error");
                    return (read, Err(error));
                }
            }
        }
    }

    #[test]
    fn the_same_bytes_and_the_same_end() {
        let content: Vec<u8> = (0..5_000_000_u32).map(|n| (n >> 3) as u8).collect();
        let (read, end) = read_all(ReadAhead::start(io::Cursor::new(content.clone())).unwrap());
        assert!(read == content && end.is_ok());

        struct Cut;
        impl Read for Cut {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::UnexpectedEof.into())
            }
        }
        let (read, end) = read_all(ReadAhead::start(io::Cursor::new(content.clone()).chain(Cut)).unwrap());
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(read == content);
    }

    #[test]
    fn who_asks_is_told_of_the_time_however_much_comes() {
        struct Steady;
        impl Read for Steady {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                thread::sleep(Duration::from_millis(5));
                into[0] = 1;
                Ok(1)
            }
        }
        let mut reader = ReadAhead::start(Steady.take(100)).unwrap();
        reader.wait_at_most(Some(Duration::from_millis(100)));
        let (mut read, mut pauses) = (0, 0);
        loop {
            match reader.next() {
                Ok(Some(chunk)) => {
                    read += chunk.len;
                    reader.give_back(chunk.bytes);
                }
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    pauses += 1;
                }
            }
        }
        assert_eq!(read, 100);
        assert!(pauses >= 4, "{pauses} in half a second");
    }

    #[test]
    fn a_thread_that_dies_is_not_an_end() {
        struct Dying;
        impl Read for Dying {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                // Unwinds like a panic, without its message.
                std::panic::resume_unwind(Box::new("a fault in a decompressor"))
            }
        }
        let (read, end) = read_all(ReadAhead::start(io::Cursor::new(vec![1; 100]).chain(Dying)).unwrap());
        assert_eq!((read.len(), end.unwrap_err().kind()), (100, io::ErrorKind::InvalidData));
    }

    #[test]
    fn a_dropped_reader_lets_the_thread_go() {
        struct Endless {
            _open: Sender<()>,
        }
        impl Read for Endless {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                Ok(into.len())
            }
        }
        let (sender, receiver) = bounded(1);
        let mut reader = ReadAhead::start(Endless { _open: sender }).unwrap();
        for _ in 0..6 {
            assert_eq!(reader.next().unwrap().unwrap().len, CHUNK);
            reader.give_back(vec![0; 5_000_000]);
        }
        drop(reader);
        // The thread's input is dropped with it, which closes the channel.
        assert_eq!(receiver.recv_timeout(Duration::from_secs(10)), Err(RecvTimeoutError::Disconnected));
    }
}
