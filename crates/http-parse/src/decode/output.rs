//! Where decoded bytes go: behind what a buffer holds, up to a limit.

/// The smallest step by which room is made, bytes.
const STEP: usize = 4096;

/// The decoded bytes of one layer. The buffer is cut to what was written when this is dropped.
pub(super) struct Output<'a> {
    bytes: &'a mut Vec<u8>,
    start: usize,
    written: usize,
    limit: usize,
}

impl<'a> Output<'a> {
    /// Writes behind what `bytes` holds, at most `limit` bytes.
    pub(super) fn new(bytes: &'a mut Vec<u8>, limit: usize) -> Self {
        let start = bytes.len();
        Self { bytes, start, written: start, limit }
    }

    /// How many bytes may still come.
    pub(super) fn left(&self) -> usize {
        self.limit.saturating_sub(self.len())
    }

    /// How many bytes were written.
    pub(super) fn len(&self) -> usize {
        self.written - self.start
    }

    /// The bytes written from the `from`-th on.
    pub(super) fn written(&self, from: usize) -> &[u8] {
        self.bytes.get(self.start + from..self.written).unwrap_or_default()
    }

    /// Room for the next bytes; empty only at the limit. It doubles, so writing costs linear work.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.bytes.len() == self.written {
            let step = self.left().min(self.len().max(STEP));
            // Exactly: a vector left to itself would reserve up to twice the limit.
            self.bytes.reserve_exact(step);
            self.bytes.resize(self.written + step, 0);
        }
        self.bytes.get_mut(self.written..).unwrap_or_default()
    }

    /// Takes the first `len` bytes of the room as written.
    pub(super) fn advance(&mut self, len: usize) {
        self.written = (self.written + len).min(self.bytes.len());
    }

    /// Writes `bytes`, as many of them as fit.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        let fitting = bytes.get(..self.left()).unwrap_or(bytes);
        self.bytes.truncate(self.written);
        if self.bytes.capacity() - self.written < fitting.len() {
            self.bytes.reserve_exact(self.left().min(self.len().max(fitting.len())));
        }
        self.bytes.extend_from_slice(fitting);
        self.written += fitting.len();
    }
}

impl Drop for Output<'_> {
    fn drop(&mut self) {
        self.bytes.truncate(self.written);
    }
}
