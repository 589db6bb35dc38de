//! Room at the end of a byte buffer, filled by copies of fixed length.

use core::mem::MaybeUninit;

/// Spare capacity of a buffer, filled from the front.
///
/// Appending to a `Vec` keeps its length in memory and looks at the capacity for each piece; writing here keeps both in
/// registers, which halves the cost of strings as short as header fields are.
///
/// Invariant: the first `at` bytes of `spare` are initialized.
#[derive(Debug)]
pub(super) struct Room<'a> {
    spare: &'a mut [MaybeUninit<u8>],
    at: usize,
}

impl Room<'_> {
    /// Lets `fill` append up to `len` bytes to `out`.
    ///
    /// # Panics
    ///
    /// When `fill` puts more than `len` bytes and the buffer has no capacity for them.
    #[inline(always)]
    pub(super) fn append<T>(out: &mut Vec<u8>, len: usize, fill: impl FnOnce(&mut Room<'_>) -> T) -> T {
        out.reserve(len);
        let mut room = Room { spare: out.spare_capacity_mut(), at: 0 };
        let result = fill(&mut room);
        let filled = room.at;
        let end = out.len() + filled;
        // SAFETY: the invariant says that `filled` bytes behind the length are initialized, and as `put` found them in
        // the spare capacity, `end` is within it.
        unsafe { out.set_len(end) };
        result
    }

    /// Lets `fill` work on this room through a local name: what is behind a reference is loaded and stored for each byte,
    /// as the compiler cannot know that the bytes are not the room itself.
    #[inline(always)]
    pub(super) fn locally(&mut self, fill: impl FnOnce(&mut Room<'_>)) {
        let mut local = Room { spare: self.spare, at: self.at };
        fill(&mut local);
        self.at = local.at;
    }

    /// How many bytes have been put.
    #[inline(always)]
    pub(super) const fn len(&self) -> usize {
        self.at
    }

    /// Puts `bytes`.
    #[inline(always)]
    pub(super) fn put<const N: usize>(&mut self, bytes: &[u8; N]) {
        self.spare[self.at..self.at + N].write_copy_of_slice(bytes);
        self.at += N;
    }

    /// Puts the first `keep` of `bytes`; all of them when there are no more.
    #[inline(always)]
    pub(super) fn put_part<const N: usize>(&mut self, bytes: &[u8; N], keep: usize) {
        self.spare[self.at..self.at + N].write_copy_of_slice(bytes);
        self.at += keep.min(N);
    }

    /// Forgets what was put behind the first `len` bytes; nothing when there are no more than those.
    #[inline(always)]
    pub(super) fn take_back_to(&mut self, len: usize) {
        self.at = self.at.min(len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_kept_is_appended() {
        let mut out = b"before ".to_vec();
        let len = Room::append(&mut out, 8, |room| {
            room.put(b"abcd");
            room.take_back_to(2);
            room.take_back_to(3);
            room.put_part(b"xyz", 1);
            room.len()
        });
        assert_eq!((len, out.as_slice()), (3, b"before abx".as_slice()));
    }

    #[test]
    #[should_panic(expected = "out of range")]
    fn the_capacity_is_never_exceeded() {
        let mut out = Vec::new();
        Room::append(&mut out, 1, |room| (0..100).for_each(|_| room.put(b"abcd")));
    }
}
