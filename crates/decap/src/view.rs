//! The bytes from one header on.

use crate::reason::SkipReason;

/// What is left of the enclosing layer, from the header being read on.
///
/// Invariant: `wire_len >= bytes.len()`. The difference is what the capture cut off, so a header that does not fit is
/// either not captured or contradicts the lengths around it, and [`View::lacking`] tells which.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    /// The captured bytes.
    pub(crate) bytes: &'a [u8],
    /// How many bytes there were on the wire.
    pub(crate) wire_len: usize,
}

impl<'a> View<'a> {
    /// Why `needed` bytes cannot be had: cut by the capture, or `malformed`.
    #[cold]
    pub(crate) fn lacking(self, needed: usize, malformed: SkipReason) -> SkipReason {
        if needed <= self.wire_len { SkipReason::HeadersNotCaptured } else { malformed }
    }

    /// Requires the first `needed` bytes to have been captured.
    pub(crate) fn require(self, needed: usize, malformed: SkipReason) -> Result<(), SkipReason> {
        if self.bytes.len() >= needed { Ok(()) } else { Err(self.lacking(needed, malformed)) }
    }

    /// The `N` bytes at `at`.
    #[inline]
    pub(crate) fn array<const N: usize>(self, at: usize, malformed: SkipReason) -> Result<[u8; N], SkipReason> {
        match self.bytes.get(at..).and_then(<[u8]>::first_chunk::<N>) {
            Some(chunk) => Ok(*chunk),
            None => Err(self.lacking(at.saturating_add(N), malformed)),
        }
    }

    /// The byte at `at`.
    #[inline]
    pub(crate) fn u8(self, at: usize, malformed: SkipReason) -> Result<u8, SkipReason> {
        self.bytes.get(at).copied().ok_or_else(|| self.lacking(at.saturating_add(1), malformed))
    }

    /// The 16-bit number at `at`, in network order.
    #[inline]
    pub(crate) fn u16(self, at: usize, malformed: SkipReason) -> Result<u16, SkipReason> {
        self.array(at, malformed).map(u16::from_be_bytes)
    }

    /// The 32-bit number at `at`, in network order.
    #[inline]
    pub(crate) fn u32(self, at: usize, malformed: SkipReason) -> Result<u32, SkipReason> {
        self.array(at, malformed).map(u32::from_be_bytes)
    }

    /// The view `by` bytes further on. Past the end it is empty.
    #[inline]
    pub(crate) fn skip(self, by: usize) -> Self {
        View { bytes: self.bytes.get(by..).unwrap_or_default(), wire_len: self.wire_len.saturating_sub(by) }
    }

    /// The first byte's upper half: an IP header's version. `None` when there is no byte.
    #[inline]
    pub(crate) fn nibble(self) -> Option<u8> {
        self.bytes.first().map(|first| first >> 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_header_is_told_from_a_contradictory_one() {
        let view = View { bytes: &[1, 2, 3], wire_len: 4 };
        assert_eq!(view.u16(0, SkipReason::MalformedIp), Ok(0x0102));
        assert_eq!(view.u16(2, SkipReason::MalformedIp), Err(SkipReason::HeadersNotCaptured));
        assert_eq!(view.u16(3, SkipReason::MalformedIp), Err(SkipReason::MalformedIp));
        assert_eq!(view.u8(usize::MAX, SkipReason::MalformedIp), Err(SkipReason::MalformedIp));
        assert_eq!(view.skip(2).bytes, &[3]);
        assert_eq!(view.skip(9).wire_len, 0);
        assert_eq!(view.skip(9).bytes, &[] as &[u8]);
        assert_eq!(view.require(4, SkipReason::MalformedIp), Err(SkipReason::HeadersNotCaptured));
    }
}
