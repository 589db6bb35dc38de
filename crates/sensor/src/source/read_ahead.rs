//! Decompression on a thread of its own.

use std::io::{self, Read};
use std::{mem, thread};

use crossbeam_channel::{Receiver, Sender, bounded};

/// Bytes of a chunk, and how many chunks there are in all.
const CHUNK: usize = 512 * 1024;
const CHUNKS: usize = 4;

/// A reader whose input is read on another thread, up to 2 MiB ahead.
///
/// Decompression costs more than everything behind it, so the two are worth running beside each other; a plain file is
/// read with one copy from the page cache, which a thread would only double. The thread ends with its input, with the
/// first error, or soon after the reader is dropped.
pub(super) struct ReadAhead {
    full: Receiver<io::Result<Chunk>>,
    empty: Sender<Vec<u8>>,
    chunk: Chunk,
    at: usize,
    ended: bool,
}

/// A buffer, and how much of it was read into. An empty one is the end of the input.
#[derive(Default)]
struct Chunk {
    bytes: Vec<u8>,
    len: usize,
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
            let _ = empty.try_send(vec![0; CHUNK]);
        }
        thread::Builder::new().name("decompress".into()).spawn(move || {
            for mut chunk in from_reader {
                let read = loop {
                    match input.read(&mut chunk) {
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        other => break other,
                    }
                };
                let ended = !matches!(read, Ok(1..));
                let read = read.map(|len| Chunk { bytes: chunk, len });
                // A reader that is gone wants no more.
                if to_reader.send(read).is_err() || ended {
                    return;
                }
            }
        })?;
        Ok(Self { full, empty, chunk: Chunk::default(), at: 0, ended: false })
    }
}

impl Read for ReadAhead {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at == self.chunk.len {
            if self.ended {
                return Ok(0);
            }
            let next = match self.full.recv() {
                Ok(Ok(next)) => next,
                Ok(Err(error)) => {
                    self.ended = true;
                    return Err(error);
                }
                // The thread tells its end before it goes: without that, it did not go by itself.
                Err(_) => return Err(io::Error::new(io::ErrorKind::InvalidData, "the decompressor failed")),
            };
            self.ended = next.len == 0;
            self.at = 0;
            let used = mem::replace(&mut self.chunk, next);
            if !used.bytes.is_empty() {
                // Refused only by a thread that has ended, which needs no more.
                let _ = self.empty.try_send(used.bytes);
            }
        }
        let count = (self.chunk.len - self.at).min(into.len());
        into[..count].copy_from_slice(&self.chunk.bytes[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_bytes_and_the_same_end() {
        let content: Vec<u8> = (0..5_000_000_u32).map(|n| (n >> 3) as u8).collect();
        let mut read = Vec::new();
        ReadAhead::start(io::Cursor::new(content.clone())).unwrap().read_to_end(&mut read).unwrap();
        assert!(read == content);

        struct Cut;
        impl Read for Cut {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::UnexpectedEof.into())
            }
        }
        let mut reader = ReadAhead::start(io::Cursor::new(content.clone()).chain(Cut)).unwrap();
        let mut read = Vec::new();
        assert_eq!(reader.read_to_end(&mut read).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(read == content);
        assert_eq!(reader.read(&mut [0; 10]).unwrap(), 0);
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
        let mut reader = ReadAhead::start(io::Cursor::new(vec![1; 100]).chain(Dying)).unwrap();
        assert_eq!(reader.read_to_end(&mut Vec::new()).unwrap_err().kind(), io::ErrorKind::InvalidData);
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
        reader.read_exact(&mut vec![0; 3_000_000]).unwrap();
        drop(reader);
        // The thread's input is dropped with it, which closes the channel.
        assert_eq!(
            receiver.recv_timeout(std::time::Duration::from_secs(10)),
            Err(crossbeam_channel::RecvTimeoutError::Disconnected)
        );
    }
}
