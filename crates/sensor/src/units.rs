//! Quantities as people write them: `32KiB`, `200ms`. One parser for flags and for the configuration file.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A number of bytes. Written as a whole number with an optional suffix: `K`, `M`, `G` and `KiB`, `MiB`, `GiB` count in
/// powers of 1024, `KB`, `MB`, `GB` in powers of 1000; `B` or nothing is bytes. Case does not matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// As an in-memory size; more than the machine can address becomes all that it can.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = split_unit(text);
        let scale = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kib" => 1 << 10,
            "m" | "mib" => 1 << 20,
            "g" | "gib" => 1 << 30,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            _ => {
                return Err(format!(
                    "`{text}` is not a size: `{unit}` is no unit; write a whole number and B, K, M, G, KiB, MiB, GiB, KB, MB or GB"
                ));
            }
        };
        let number: u64 = number
            .parse()
            .map_err(|_| format!("`{text}` is not a size: write a whole number and a unit, as in 32KiB"))?;
        number.checked_mul(scale).map(Self).ok_or_else(|| format!("`{text}` is more bytes than can be counted"))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (scale, unit) in [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
            if self.0 >= scale && self.0.is_multiple_of(scale) {
                return write!(f, "{}{unit}", self.0 / scale);
            }
        }
        write!(f, "{}", self.0)
    }
}

/// A stretch of packet time. Written as a whole number and a unit: `ms`, `s`, `min`, `h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeSpan(pub Duration);

impl FromStr for TimeSpan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = split_unit(text);
        let wrong = || format!("`{text}` is not a time: write a whole number and ms, s, min or h, as in 200ms");
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let millis = match unit {
            "ms" => Some(number),
            "s" => number.checked_mul(1_000),
            "min" => number.checked_mul(60_000),
            "h" => number.checked_mul(3_600_000),
            _ => return Err(wrong()),
        };
        // A year is longer than any capture's silence and keeps sums far from overflow.
        match millis {
            Some(millis) if millis <= 366 * 24 * 3_600_000 => Ok(Self(Duration::from_millis(millis))),
            _ => Err(format!("`{text}` is too long: at most a year")),
        }
    }
}

impl fmt::Display for TimeSpan {
    /// As it is written, in the largest unit that leaves nothing over; less than a millisecond is dropped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        for (scale, unit) in [(3_600_000, "h"), (60_000, "min"), (1_000, "s")] {
            if millis >= scale && millis.is_multiple_of(scale) {
                return write!(f, "{}{unit}", millis / scale);
            }
        }
        if millis == 0 { f.write_str("0s") } else { write!(f, "{millis}ms") }
    }
}

fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    (number, unit.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("17", 17),
            ("17B", 17),
            ("32K", 32 << 10),
            ("32KiB", 32 << 10),
            ("32kib", 32 << 10),
            ("2 M", 2 << 20),
            ("1GiB", 1 << 30),
            ("5KB", 5_000),
            ("3mb", 3_000_000),
            ("1GB", 1_000_000_000),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for text in ["", "K", "-1", "1.5M", "12X", "0x10", "99999999999999999999", "99999999999G", "1 2"] {
            let error = text.parse::<ByteSize>().unwrap_err();
            assert!(error.contains(text), "{error}");
        }
    }

    #[test]
    fn sizes_print_as_they_are_written() {
        for text in ["0", "17", "32KiB", "3MiB", "1GiB", "1025"] {
            assert_eq!(text.parse::<ByteSize>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn times() {
        for (text, millis) in [("0s", 0), ("200ms", 200), ("5s", 5_000), ("2min", 120_000), ("1h", 3_600_000)] {
            assert_eq!(text.parse(), Ok(TimeSpan(Duration::from_millis(millis))), "{text}");
        }
        for text in ["0s", "200ms", "90s", "2min", "1h", "24h"] {
            assert_eq!(text.parse::<TimeSpan>().unwrap().to_string(), text);
        }
        for text in ["", "5", "5 days", "1.5s", "-1s", "99999999999999999h", "9000h"] {
            assert!(text.parse::<TimeSpan>().unwrap_err().contains(text));
        }
    }
}
