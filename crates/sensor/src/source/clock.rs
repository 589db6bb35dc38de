//! From a file's time units to nanoseconds since the epoch.

use decap::Timestamp;

const NANOS: i128 = 1_000_000_000;

/// The clock of a pcapng interface: what one unit is, and where it starts.
///
/// Instants before the epoch become the epoch, instants after the year 2554 (where 64 bits of nanoseconds end) become
/// that end; neither wraps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clock {
    unit: Unit,
    /// Nanoseconds to add (if_tsoffset).
    offset: i128,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// So many nanoseconds.
    Times(u64),
    /// One nanosecond divided by so much.
    Divided(u128),
    /// Two to the minus so many seconds.
    Binary(u32),
}

impl Clock {
    /// Microseconds since the epoch: what an interface has that says nothing else.
    pub(super) const MICROSECONDS: Self = Self { unit: Unit::Times(1000), offset: 0 };

    /// The clock of the options if_tsresol (a negative power of ten, or of two when the top bit is set) and if_tsoffset
    /// (seconds).
    pub(super) fn new(resolution: u8, offset_seconds: i64) -> Self {
        let exponent = u32::from(resolution & 0x7f);
        let unit = if resolution & 0x80 != 0 {
            Unit::Binary(exponent)
        } else if exponent <= 9 {
            Unit::Times(10_u64.pow(9 - exponent))
        } else {
            // A unit below 10^-38 of a nanosecond is nothing in 64 bits of them.
            Unit::Divided(10_u128.checked_pow(exponent - 9).unwrap_or(u128::MAX))
        };
        Self { unit, offset: i128::from(offset_seconds) * NANOS }
    }

    /// The instant `units` after the clock's start.
    #[inline]
    pub(super) fn instant(&self, units: u64) -> Timestamp {
        if let Self { unit: Unit::Times(nanos), offset: 0 } = *self {
            return Timestamp::from_nanos(units.saturating_mul(nanos));
        }
        self.instant_slow(units)
    }

    fn instant_slow(&self, units: u64) -> Timestamp {
        // 64 bits times 30 bits: no overflow in 128, and none by adding 63 + 30 bits more.
        let nanos = match self.unit {
            Unit::Times(nanos) => i128::from(units) * i128::from(nanos),
            Unit::Divided(parts) => i128::try_from(u128::from(units) / parts).unwrap_or(0),
            Unit::Binary(bits) => (i128::from(units) * NANOS) >> bits,
        };
        let nanos = nanos.saturating_add(self.offset).max(0);
        Timestamp::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nanos(resolution: u8, offset: i64, units: u64) -> u64 {
        Clock::new(resolution, offset).instant(units).as_nanos()
    }

    #[test]
    fn powers_of_ten() {
        assert_eq!(nanos(0, 0, 7), 7_000_000_000);
        assert_eq!(nanos(3, 0, 7), 7_000_000);
        assert_eq!(nanos(6, 0, 1_340_954_905_298_858), 1_340_954_905_298_858_000);
        assert_eq!(Clock::new(6, 0), Clock::MICROSECONDS);
        assert_eq!(nanos(9, 0, 7), 7);
        assert_eq!(nanos(12, 0, 7_999), 7);
        assert_eq!(nanos(127, 0, u64::MAX), 0);
    }

    #[test]
    fn powers_of_two() {
        assert_eq!(nanos(0x80, 0, 3), 3_000_000_000);
        assert_eq!(nanos(0x80 | 20, 0, (5 << 20) + (1 << 19)), 5_500_000_000);
        assert_eq!(nanos(0x80 | 32, 0, 1 << 31), 500_000_000);
        assert_eq!(nanos(0xff, 0, u64::MAX), 0);
    }

    #[test]
    fn offsets_shift_and_saturate() {
        assert_eq!(nanos(6, 2, 5), 2_000_005_000);
        assert_eq!(nanos(9, -2, 5_000_000_000), 3_000_000_000);
        assert_eq!(nanos(9, -6, 5_000_000_000), 0);
        assert_eq!(nanos(0, i64::MIN, u64::MAX), u64::MAX);
        assert_eq!(nanos(0x80 | 4, i64::MAX, u64::MAX), u64::MAX);
        assert_eq!(nanos(0, 0, u64::MAX), u64::MAX);
        assert_eq!(nanos(6, i64::MIN, 0), 0);
    }
}
