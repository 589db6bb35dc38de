//! Trouble that repeats itself: the first few times are said, the others are counted.

use std::time::{Duration, Instant};

/// Times that are said within [`PERIOD`].
const SAID: u32 = 4;
/// How long it takes until it is said again.
const PERIOD: Duration = Duration::from_secs(60);

/// What is said of something that may happen again and again.
#[derive(Debug, Default)]
pub(super) struct Repetition {
    /// When the first time of the period was.
    begun: Option<Instant>,
    times: u32,
    left_out: u64,
}

impl Repetition {
    /// It has happened: whether that is to be said.
    pub(super) fn may_say(&mut self, now: Instant) -> bool {
        if self.is_over(now) && self.left_out == 0 {
            self.begun = None;
        }
        if self.begun.is_none() {
            (self.begun, self.times) = (Some(now), 0);
        }
        self.times = self.times.saturating_add(1);
        let may_say = self.times <= SAID;
        self.left_out += u64::from(!may_say);
        may_say
    }

    /// How often it happened without being said, once the period is over; it begins anew then.
    pub(super) fn left_out(&mut self, now: Instant) -> Option<u64> {
        if !self.is_over(now) {
            return None;
        }
        self.begun = None;
        Some(std::mem::take(&mut self.left_out)).filter(|count| *count > 0)
    }

    fn is_over(&self, now: Instant) -> bool {
        self.begun.is_some_and(|begun| now.duration_since(begun) >= PERIOD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_are_said_in_a_minute_and_the_others_summed_up_behind_it() {
        let (mut trouble, begin) = (Repetition::default(), Instant::now());
        let said = |trouble: &mut Repetition, second: u64| trouble.may_say(begin + Duration::from_secs(second));
        let told: Vec<bool> = (0..10).map(|second| said(&mut trouble, second)).collect();
        assert_eq!(told, [true, true, true, true, false, false, false, false, false, false]);
        assert_eq!(trouble.left_out(begin + Duration::from_secs(59)), None);
        assert!(!said(&mut trouble, 61), "before it is summed up");
        assert_eq!(trouble.left_out(begin + Duration::from_secs(62)), Some(7));
        assert_eq!(trouble.left_out(begin + Duration::from_secs(200)), None);
        assert!(said(&mut trouble, 201));
        assert_eq!(trouble.left_out(begin + Duration::from_secs(300)), None, "nothing was left out");
        assert!((400..404).all(|second| said(&mut trouble, second)) && !said(&mut trouble, 404));
    }
}
