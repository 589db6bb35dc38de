//! TCP sequence numbers (RFC 9293, section 3.4).

use core::cmp::Ordering;

/// A TCP sequence or acknowledgement number: 32 bits, arithmetic modulo 2³².
///
/// There is deliberately no `Ord`: the order of two sequence numbers is only meaningful within half the number space,
/// so comparisons go through [`SeqNum::cmp_wrapping`] and [`SeqNum::offset_from`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SeqNum(pub u32);

impl SeqNum {
    /// This number advanced by `n`, modulo 2³². Not the operator `+`, which would hide that the arithmetic wraps.
    #[must_use]
    pub const fn add(self, n: u32) -> Self {
        Self(self.0.wrapping_add(n))
    }

    /// How far `self` lies after `other`, as a signed distance (negative: before it).
    #[must_use]
    pub const fn offset_from(self, other: Self) -> i32 {
        self.0.wrapping_sub(other.0).cast_signed()
    }

    /// Serial-number order (RFC 1982): exact while the two are within 2³¹ of each other.
    #[must_use]
    pub fn cmp_wrapping(self, other: Self) -> Ordering {
        self.offset_from(other).cmp(&0)
    }

    /// The 64-bit position congruent to this number that lies closest to `near`.
    ///
    /// Positions unwrap sequence numbers over the life of a stream; their low 32 bits stay the number on the wire.
    #[must_use]
    pub const fn unwrap_near(self, near: u64) -> u64 {
        #[expect(clippy::cast_possible_truncation, reason = "the number on the wire is the low 32 bits")]
        let distance = self.0.wrapping_sub(near as u32).cast_signed();
        near.wrapping_add_signed(distance as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_survives_the_wrap() {
        let before = SeqNum(u32::MAX - 1);
        let after = before.add(4);
        assert_eq!(after, SeqNum(2));
        assert_eq!(after.offset_from(before), 4);
        assert_eq!(before.cmp_wrapping(after), Ordering::Less);
    }

    #[test]
    fn positions_unwrap_to_the_nearest() {
        let near = (7_u64 << 32) + 0xffff_fff0;
        assert_eq!(SeqNum(0xffff_fff8).unwrap_near(near), near + 8);
        assert_eq!(SeqNum(0x10).unwrap_near(near), (8_u64 << 32) + 0x10);
        assert_eq!(SeqNum(0xffff_0000).unwrap_near(8_u64 << 32), (7_u64 << 32) + 0xffff_0000);
    }
}
