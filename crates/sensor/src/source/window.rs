//! A refillable view of an input.

use std::io::{self, Cursor, ErrorKind, Read};
use std::time::Duration;

use super::read_ahead::{HEADROOM, ReadAhead};

/// The bytes of an input that are at hand: a buffer that is read into at one end and consumed at the other.
///
/// A record is handed on as a slice of the buffer. When the next record is not complete, what there is of it moves to
/// the front, once per buffer, and the input is read into the rest of the buffer in one go. Where another thread reads,
/// it moves in front of what that thread read, whose buffer takes the place of this one.
pub(super) struct Window {
    input: Source,
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// Where the buffer's first byte is in the input, modulo 2^64: headroom lies before the input's first byte.
    base: u64,
    state: State,
}

enum Source {
    Here(Box<dyn Read + Send>),
    /// On another thread.
    Ahead(ReadAhead),
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
        let input = Source::Here(input);
        Self { input, bytes: vec![0; capacity.max(64)], start: 0, end: 0, base: 0, state: State::Open }
    }

    /// A window on what another thread reads.
    pub(super) fn ahead(input: ReadAhead) -> Self {
        Self { input: Source::Ahead(input), bytes: Vec::new(), start: 0, end: 0, base: 0, state: State::Open }
    }

    /// Lets another thread read what was not read yet. With some `patience`, [`Self::fill`] says that it would block when
    /// nothing comes for so long.
    ///
    /// # Errors
    ///
    /// When the system gives no thread; the window then ends with what is at hand.
    pub(super) fn read_ahead(&mut self, patience: Option<Duration>) -> io::Result<()> {
        let mut input = match std::mem::replace(&mut self.input, Source::Here(Box::new(io::empty()))) {
            Source::Here(input) => ReadAhead::start(input)?,
            Source::Ahead(input) => input,
        };
        input.wait_at_most(patience);
        self.input = Source::Ahead(input);
        Ok(())
    }

    /// The input from its first byte on, none of which may have been consumed, and which this thread must still read.
    pub(super) fn into_read(self) -> impl Read + Send + 'static {
        debug_assert_eq!(self.offset(), 0, "part of the input is gone");
        let Self { input, mut bytes, end, .. } = self;
        bytes.truncate(end);
        let input = match input {
            Source::Here(input) => input,
            Source::Ahead(_) => {
                debug_assert!(false, "another thread has part of the input");
                Box::new(io::empty())
            }
        };
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
        self.base.wrapping_add(self.start as u64)
    }

    /// Whether another thread reads.
    pub(super) fn is_ahead(&self) -> bool {
        matches!(self.input, Source::Ahead(_))
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
        match &mut self.input {
            Source::Here(_) => self.fill_here(need),
            Source::Ahead(_) => self.fill_ahead(need),
        }
    }

    fn fill_here(&mut self, need: usize) -> io::Result<Fill> {
        let Source::Here(input) = &mut self.input else { return Ok(Fill::Short) };
        self.bytes.copy_within(self.start..self.end, 0);
        self.base = self.base.wrapping_add(self.start as u64);
        self.end -= self.start;
        self.start = 0;
        if need > self.bytes.len() {
            // With room for as much again, so that the next large record does not move this one's neighbour each time.
            self.bytes.resize(need.saturating_mul(2), 0);
        }
        while self.end < need {
            match input.read(&mut self.bytes[self.end..]) {
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

    fn fill_ahead(&mut self, need: usize) -> io::Result<Fill> {
        let Source::Ahead(input) = &mut self.input else { return Ok(Fill::Short) };
        loop {
            let rest = self.end - self.start;
            if rest >= need {
                return Ok(Fill::Enough);
            }
            let mut chunk = match input.next() {
                Ok(Some(chunk)) => chunk,
                Ok(None) => {
                    self.state = State::Ended;
                    return Ok(Fill::Short);
                }
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    self.state = State::Cut;
                    return Ok(Fill::Short);
                }
                Err(error) => return Err(error),
            };
            let offset = self.base.wrapping_add(self.start as u64);
            if let Some(start) = HEADROOM.checked_sub(rest) {
                chunk.bytes[start..HEADROOM].copy_from_slice(&self.bytes[self.start..self.end]);
                (self.start, self.end) = (start, HEADROOM + chunk.len);
                input.give_back(std::mem::replace(&mut self.bytes, chunk.bytes));
            } else {
                // A record that is longer than that is put together here.
                self.bytes.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, rest + chunk.len);
                if self.end > self.bytes.len() {
                    self.bytes.resize(self.end.max(need.saturating_mul(2)), 0);
                }
                self.bytes[rest..self.end].copy_from_slice(&chunk.bytes[HEADROOM..HEADROOM + chunk.len]);
                input.give_back(chunk.bytes);
            }
            self.base = offset.wrapping_sub(self.start as u64);
        }
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
        for is_ahead in [false, true] {
            every_byte_of(&content, is_ahead);
        }
    }

    fn every_byte_of(content: &[u8], is_ahead: bool) {
        let mut window = Window::new(Box::new(Dribble(content.to_vec(), 0)), 0);
        if is_ahead {
            window.fill(5).unwrap();
            window.read_ahead(None).unwrap();
        }
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
    fn records_of_any_length_come_from_another_thread() {
        let content: Vec<u8> = (0..6_000_000_u32).map(|n| (n ^ (n >> 8)) as u8).collect();
        let mut window = Window::ahead(ReadAhead::start(Cursor::new(content.clone())).unwrap());
        let mut at = 0;
        for len in [1, 95 << 10, 97 << 10, 1_400, 1 << 20, 600_000, 3, 2 << 20, 96 << 10, 70_000, 512 << 10] {
            assert_eq!(window.fill(len).unwrap(), Fill::Enough);
            assert_eq!(window.offset(), at as u64);
            window.consume(len);
            assert!(window.behind(0, len) == &content[at..at + len], "{len} bytes at {at}");
            at += len;
        }
        assert_eq!(window.fill(content.len()).unwrap(), Fill::Short);
        assert!(window.available() == &content[at..]);
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
