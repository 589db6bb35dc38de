//! A refillable view of an input.

use std::io::{self, Cursor, ErrorKind, Read};

/// The bytes of an input that are at hand: a buffer that is read into at one end and consumed at the other.
///
/// A record is handed on as a slice of the buffer. When the next record is not complete, what there is of it moves to
/// the front, once per buffer, and the input is read into the rest of the buffer in one go.
pub(super) struct Window {
    input: Box<dyn Read + Send>,
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// Where the buffer's first byte is in the input.
    base: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// The input ended.
    Ended,
    /// A decompressor found its input to end early.
    Cut,
}

/// What came of asking for more bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fill {
    /// They are there.
    Enough,
    /// The input ends before.
    Short,
}

impl Window {
    pub(super) fn new(input: Box<dyn Read + Send>, capacity: usize) -> Self {
        Self { input, bytes: vec![0; capacity.max(64)], start: 0, end: 0, base: 0, state: State::Open }
    }

    /// The input from its first byte on. Nothing may have been consumed.
    pub(super) fn into_read(self) -> impl Read + Send + 'static {
        debug_assert_eq!(self.offset(), 0, "part of the input is gone");
        let Self { input, mut bytes, end, .. } = self;
        bytes.truncate(end);
        Cursor::new(bytes).chain(input)
    }

    /// The bytes at hand.
    #[inline]
    pub(super) fn available(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Where the first available byte is in the input.
    #[inline]
    pub(super) fn offset(&self) -> u64 {
        self.base + self.start as u64
    }

    /// Whether a decompressor gave up for want of input.
    pub(super) fn is_cut(&self) -> bool {
        self.state == State::Cut
    }

    /// Steps over `count` of the available bytes. They stay readable through [`Self::behind`] until the next `fill`.
    #[inline]
    pub(super) fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.end - self.start, "consumed more than there is");
        self.start = (self.start + count).min(self.end);
    }

    /// `count` bytes that end `back` bytes before the first available one, just consumed.
    #[inline]
    pub(super) fn behind(&self, back: usize, count: usize) -> &[u8] {
        let end = self.start - back;
        &self.bytes[end - count..end]
    }

    /// Reads until at least `need` bytes are available.
    ///
    /// The buffer grows to hold them; callers bound `need`.
    ///
    /// # Errors
    ///
    /// Whatever the input reports. An early end of compressed input is none: see [`Self::is_cut`].
    pub(super) fn fill(&mut self, need: usize) -> io::Result<Fill> {
        if self.end - self.start >= need {
            return Ok(Fill::Enough);
        }
        if self.state != State::Open {
            return Ok(Fill::Short);
        }
        self.bytes.copy_within(self.start..self.end, 0);
        self.base += self.start as u64;
        self.end -= self.start;
        self.start = 0;
        if need > self.bytes.len() {
            // With room for as much again, so that the next large record does not move this one's neighbour each time.
            self.bytes.resize(need.saturating_mul(2), 0);
        }
        while self.end < need {
            match self.input.read(&mut self.bytes[self.end..]) {
                Ok(0) => {
                    self.state = State::Ended;
                    return Ok(Fill::Short);
                }
                Ok(count) => self.end = (self.end + count).min(self.bytes.len()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    self.state = State::Cut;
                    return Ok(Fill::Short);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Fill::Enough)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its bytes in steps of a few, interrupted now and then.
    struct Dribble(Vec<u8>, usize);

    impl Read for Dribble {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.1 += 1;
            if self.1.is_multiple_of(3) {
                return Err(ErrorKind::Interrupted.into());
            }
            let count = into.len().min(self.0.len()).min(self.1 % 5 + 1);
            into[..count].copy_from_slice(&self.0[..count]);
            self.0.drain(..count);
            Ok(count)
        }
    }

    #[test]
    fn every_byte_arrives_once_and_in_order() {
        let content: Vec<u8> = (0..5000_u32).map(|n| n as u8).collect();
        let mut window = Window::new(Box::new(Dribble(content.clone(), 0)), 0);
        let mut seen = Vec::new();
        let mut want = 1;
        while window.fill(want).unwrap() == Fill::Enough {
            assert_eq!(window.offset(), seen.len() as u64);
            window.consume(want);
            seen.extend_from_slice(window.behind(0, want));
            want = want * 7 % 301;
        }
        seen.extend_from_slice(window.available());
        assert_eq!(seen, content);
        assert!(!window.is_cut());
    }

    #[test]
    fn large_needs_grow_the_buffer() {
        let content = vec![7; 100_000];
        let mut window = Window::new(Box::new(Cursor::new(content)), 64);
        assert_eq!(window.fill(90_000).unwrap(), Fill::Enough);
        assert_eq!(window.fill(100_001).unwrap(), Fill::Short);
        assert_eq!(window.available().len(), 100_000);
    }
}
