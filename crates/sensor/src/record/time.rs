//! RFC 3339 in UTC with nanoseconds.

use super::json::{ZEROS, eight_digits};
use super::room::Room;

const SECONDS_A_DAY: u64 = 86_400;
const NANOS_A_SECOND: u64 = 1_000_000_000;

/// Length of `"2026-11-20T22:13:17.123456789Z"`, quotes included.
const QUOTED: usize = 32;

/// Writes times; keeps the last one's text, because times come in runs and one is often written twice.
#[derive(Debug)]
pub(super) struct TimeWriter {
    second: u64,
    /// The instant that `text` shows.
    nanos: u64,
    text: [u8; QUOTED],
}

impl TimeWriter {
    pub(super) fn new() -> Self {
        Self { second: 0, nanos: 0, text: *b"\"1970-01-01T00:00:00.000000000Z\"" }
    }

    /// Puts the JSON string of an instant, given in nanoseconds since the Unix epoch. 2⁶⁴ of them reach to the year
    /// 2554, so the year always has four digits.
    #[inline(always)]
    pub(super) fn put(&mut self, nanos: u64, room: &mut Room<'_>) {
        if nanos != self.nanos {
            self.set(nanos);
        }
        room.put(&self.text);
    }

    #[inline]
    fn set(&mut self, nanos: u64) {
        self.nanos = nanos;
        let second = nanos / NANOS_A_SECOND;
        if second != self.second {
            self.turn_to(second);
        }
        let fraction = (nanos - second * NANOS_A_SECOND) as u32;
        self.text[21] = digit(fraction / 100_000_000);
        let lower = (eight_digits(fraction % 100_000_000) | ZEROS).to_le_bytes();
        if let Some(place) = self.text.get_mut(22..).and_then(<[u8]>::first_chunk_mut) {
            *place = lower;
        }
    }

    #[cold]
    fn turn_to(&mut self, second: u64) {
        let (year, month, day) = date(second / SECONDS_A_DAY);
        let clock = (second % SECONDS_A_DAY) as u32;
        put_two(&mut self.text, 1, year / 100);
        put_two(&mut self.text, 3, year % 100);
        put_two(&mut self.text, 6, month);
        put_two(&mut self.text, 9, day);
        put_two(&mut self.text, 12, clock / 3600);
        put_two(&mut self.text, 15, clock / 60 % 60);
        put_two(&mut self.text, 18, clock % 60);
        self.second = second;
    }
}

const fn digit(number: u32) -> u8 {
    b'0' + (number % 10) as u8
}

fn put_two(text: &mut [u8; QUOTED], at: usize, number: u32) {
    text[at] = digit(number / 10);
    text[at + 1] = digit(number);
}

/// Year, month and day (both from 1) of a day since 1970-01-01, in the Gregorian calendar.
///
/// Counted in years that begin with March, so that the leap day is a year's last; 153 days are five months from March on.
const fn date(days: u64) -> (u32, u32, u32) {
    const DAYS_BEFORE_EPOCH: u64 = 719_468; // From 0000-03-01 to 1970-01-01.
    const DAYS_IN_400_YEARS: u64 = 146_097;
    let days = days + DAYS_BEFORE_EPOCH;
    let (cycle, day) = (days / DAYS_IN_400_YEARS, days % DAYS_IN_400_YEARS);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = 400 * cycle + year + (month <= 2) as u64;
    (year as u32, month as u32, day_of_month as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(nanos: u64) -> String {
        let mut out = Vec::new();
        TimeWriter::new().put(nanos, &mut Room::at_end_of(&mut out));
        String::from_utf8(out).unwrap()
    }

    /// Days counted one by one, by the calendar's own rule.
    #[test]
    fn every_day_up_to_the_year_9999_is_followed_by_the_next() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        let mut days = 0;
        while year <= 9999 {
            assert_eq!(date(days), (year, month, day), "day {days}");
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 if leap => 29,
                2 => 28,
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            days += 1;
            day += 1;
            if day > length {
                (day, month) = (1, month + 1);
            }
            if month > 12 {
                (month, year) = (1, year + 1);
            }
        }
        // 9999-12-31 is day 2932896 (from `date -ud 9999-12-31 +%s` / 86400).
        assert_eq!(days, 2_932_896 + 1);
    }

    /// Expected texts from GNU `date -u`.
    #[test]
    fn known_instants() {
        for (nanos, expected) in [
            (0, "\"1970-01-01T00:00:00.000000000Z\""),
            (1, "\"1970-01-01T00:00:00.000000001Z\""),
            (951_782_399_999_999_999, "\"2000-02-28T23:59:59.999999999Z\""),
            (951_868_799_123_456_789, "\"2000-02-29T23:59:59.123456789Z\""),
            (951_868_800_000_000_000, "\"2000-03-01T00:00:00.000000000Z\""),
            (1_709_164_800_000_001_000, "\"2024-02-29T00:00:00.000001000Z\""),
            (4_107_542_400_000_000_000, "\"2100-03-01T00:00:00.000000000Z\""),
            (u64::MAX, "\"2554-07-21T23:34:33.709551615Z\""),
        ] {
            assert_eq!(text(nanos), expected);
        }
    }

    #[test]
    fn the_kept_second_does_not_leak_into_another() {
        let mut writer = TimeWriter::new();
        for nanos in
            [0, 1_700_000_000_000_000_000, 1_700_000_000_999_999_999, 1_700_000_001_000_000_000, 5, 86_400_000_000_000]
        {
            let mut out = Vec::new();
            writer.put(nanos, &mut Room::at_end_of(&mut out));
            assert_eq!(String::from_utf8(out).unwrap(), text(nanos));
        }
    }
}
