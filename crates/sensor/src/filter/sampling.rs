//! Which of the transactions that a rule lets through are recorded, and for how many each stands.
//!
//! By rate, the transaction's id alone decides: the same transaction is chosen by every sensor that sees it and in every
//! replay, by any number of workers. By number in a minute, the order decides in which the workers see them; with one
//! worker that is the order of the capture. Either way the weights of the recorded ones add up, on average, to the number of
//! those that were let through.

use core::fmt;
use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::sync::{Mutex, PoisonError};

use foldhash::fast::FixedState;
use foldhash::quality::RandomState;

use super::settings::Sampling;

/// What sampling goes by.
#[derive(Clone, Copy, Debug)]
pub struct Sighting<'a> {
    /// The transaction's id.
    pub id: &'a [u8; 16],
    /// Its endpoint template; empty where there is none.
    pub template: &'a [u8],
    /// When it began: nanoseconds since the Unix epoch, in packet time.
    pub at: u64,
}

/// A rule's sampling, made ready.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Sampler {
    Rate {
        /// Those whose id's first half is below it are recorded; `None`: all are.
        threshold: Option<u64>,
        /// What one stands for: this, or one more where the id's second half is below `more`.
        weight: u32,
        more: u64,
    },
    PerMinute(u32),
}

/// The smallest rate: the weight of a record has 32 bits.
const LEAST_RATE: f64 = 1e-9;

impl Sampler {
    /// # Errors
    /// What is wrong with the setting.
    pub(super) fn new(sampling: Sampling) -> Result<Self, String> {
        match sampling {
            Sampling::PerMinute(0) => {
                Err("0 a minute records nothing: write an exclude rule, or 1 and more".to_owned())
            }
            Sampling::PerMinute(most) => Ok(Self::PerMinute(most)),
            Sampling::Rate(rate) if !(LEAST_RATE..=1.0).contains(&rate) => Err(format!(
                "a rate of {rate}: it is a part of 1, such as 0.01, and not less than {LEAST_RATE}; to record nothing, write \
                 an exclude rule"
            )),
            Sampling::Rate(rate) => {
                let stands_for = 1.0 / rate;
                Ok(Self::Rate {
                    threshold: (rate < 1.0).then(|| share(rate)),
                    weight: stands_for as u32,
                    more: share(stands_for.fract()),
                })
            }
        }
    }
}

/// This part of all 64-bit numbers.
fn share(part: f64) -> u64 {
    // From 0 to below 2^64; the conversion saturates.
    (part * 18_446_744_073_709_551_616.0) as u64
}

/// The windows that are counted at a time; endpoints beyond share one for each rule.
const MOST_WINDOWS: usize = 1 << 16;
const SHARDS: usize = 16;
const NANOS_A_MINUTE: u64 = 60_000_000_000;

/// Counts of the minute, for each rule and endpoint, shared by the workers. Its memory is bounded: about 3 MB.
pub(super) struct Minutes {
    /// Unpredictable, so that nobody can choose a path that is counted with another one.
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Default)]
struct Shard {
    windows: HashMap<u64, Window, FixedState>,
    /// The minute in which windows of other minutes were last taken out: once in a minute is enough, and a flood of
    /// endpoints must not make it more.
    swept: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    minute: u64,
    recorded: u32,
    /// Left out since the last recorded one.
    left_out: u32,
}

impl fmt::Debug for Minutes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Minutes")
    }
}

impl Default for Minutes {
    fn default() -> Self {
        Self { hasher: RandomState::default(), shards: core::array::from_fn(|_| Mutex::default()) }
    }
}

impl Minutes {
    /// The weight of the record; `None`: `most` have been recorded in this minute.
    fn weigh(&self, rule: usize, most: u32, sighting: &Sighting<'_>) -> Option<u32> {
        let key = self.hasher.hash_one((rule, sighting.template));
        let minute = sighting.at / NANOS_A_MINUTE;
        let shard = self.shards.get(key as usize % SHARDS)?;
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let Shard { windows, swept } = &mut *shard;
        let mut key = key;
        if windows.len() >= MOST_WINDOWS / SHARDS && !windows.contains_key(&key) {
            if swept.replace(minute) != Some(minute) {
                windows.retain(|_, window| window.minute == minute);
            }
            if windows.len() >= MOST_WINDOWS / SHARDS {
                // The rules are few, so these few windows come on top of the limit.
                key = rule as u64;
            }
        }
        let window = windows.entry(key).or_default();
        // A minute that is just over may still be seen, by packets out of order; one long gone is another capture.
        if minute > window.minute || minute + 1 < window.minute {
            window.minute = minute;
            window.recorded = 0;
        }
        if window.recorded < most {
            window.recorded += 1;
            Some(core::mem::take(&mut window.left_out).saturating_add(1))
        } else {
            window.left_out = window.left_out.saturating_add(1);
            None
        }
    }
}

impl Sampler {
    /// Whether the id of a transaction decides alone.
    pub(super) const fn is_by_id(&self) -> bool {
        matches!(self, Self::Rate { .. })
    }

    /// For how many transactions the record stands; `None`: this one is not recorded.
    pub(super) fn weigh(&self, rule: usize, sighting: &Sighting<'_>, minutes: &Minutes) -> Option<u32> {
        match self {
            Self::PerMinute(most) => minutes.weigh(rule, *most, sighting),
            Self::Rate { threshold, weight, more } => {
                let bits = u128::from_be_bytes(*sighting.id);
                let (first, second) = ((bits >> 64) as u64, bits as u64);
                let is_chosen = threshold.is_none_or(|threshold| first < threshold);
                is_chosen.then(|| weight + u32::from(second < *more))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use fixtures::Rng;

    use super::*;

    fn weigh(sampler: &Sampler, id: u128, template: &str, at: u64, minutes: &Minutes) -> Option<u32> {
        sampler.weigh(3, &Sighting { id: &id.to_be_bytes(), template: template.as_bytes(), at }, minutes)
    }

    #[test]
    fn a_rate_is_kept_and_its_weights_add_up() {
        let minutes = Minutes::default();
        let mut rng = Rng::new(7);
        for rate in [0.9, 0.5, 0.3, 0.1, 0.01] {
            let sampler = Sampler::new(Sampling::Rate(rate)).unwrap();
            let n = 200_000_u32;
            let (mut recorded, mut weights) = (0_u32, 0_u64);
            for _ in 0..n {
                let id = u128::from(rng.bits()) << 64 | u128::from(rng.bits());
                if let Some(weight) = weigh(&sampler, id, "", 0, &minutes) {
                    recorded += 1;
                    weights += u64::from(weight);
                    assert_eq!(weigh(&sampler, id, "other", 1 << 60, &minutes), Some(weight), "the id alone decides");
                }
            }
            // Five standard deviations.
            let expected = f64::from(n) * rate;
            let slack = 5.0 * (expected * (1.0 - rate)).sqrt();
            assert!((f64::from(recorded) - expected).abs() < slack, "{recorded} at {rate}");
            assert!(
                (weights as f64 - f64::from(n)).abs() < slack / rate + 5.0 * expected.sqrt(),
                "{weights} at {rate}"
            );
        }
    }

    #[test]
    fn the_edges_of_rates() {
        let minutes = Minutes::default();
        let all = Sampler::new(Sampling::Rate(1.0)).unwrap();
        assert_eq!(weigh(&all, u128::MAX, "", 0, &minutes), Some(1));
        assert_eq!(weigh(&all, 0, "", 0, &minutes), Some(1));
        let half = Sampler::new(Sampling::Rate(0.5)).unwrap();
        assert_eq!(weigh(&half, u128::MAX / 2, "", 0, &minutes), Some(2));
        assert_eq!(weigh(&half, u128::MAX / 2 + 1, "", 0, &minutes), None);
        let least = Sampler::new(Sampling::Rate(LEAST_RATE)).unwrap();
        assert!(matches!(weigh(&least, 0, "", 0, &minutes), Some(999_999_999..=1_000_000_001)));
        for rate in [0.0, -0.1, 1.1, f64::NAN, f64::INFINITY, 1e-10] {
            assert!(Sampler::new(Sampling::Rate(rate)).unwrap_err().contains("a part of 1"), "{rate}");
        }
        assert!(Sampler::new(Sampling::PerMinute(0)).unwrap_err().contains("exclude rule"));
    }

    #[test]
    fn the_first_of_a_minute_of_each_endpoint() {
        let minutes = Minutes::default();
        let two = Sampler::new(Sampling::PerMinute(2)).unwrap();
        let see = |template: &str, second: u64| weigh(&two, 0, template, second * 1_000_000_000, &minutes);
        assert_eq!(
            [see("/a", 60), see("/a", 61), see("/a", 62), see("/b", 62), see("/a", 119)],
            [Some(1), Some(1), None, Some(1), None]
        );
        // The next minute's first stands for those that were left out, too.
        assert_eq!([see("/a", 120), see("/a", 121), see("/a", 122)], [Some(3), Some(1), None]);
        // A packet of the minute before does not start it anew, nor does it count as another minute.
        assert_eq!([see("/a", 119), see("/a", 123)], [None, None]);
        // A capture of last year does.
        assert_eq!(see("/a", 0), Some(4));
    }

    #[test]
    fn weights_add_up_over_minutes() {
        let minutes = Minutes::default();
        let sampler = Sampler::new(Sampling::PerMinute(5)).unwrap();
        let mut rng = Rng::new(1);
        let (mut weights, mut last) = (0, 0);
        for n in 0..10_000_u64 {
            let at = n * 700_000_000;
            last = n + 1;
            if let Some(weight) = weigh(&sampler, rng.bits().into(), "/x", at, &minutes) {
                weights += u64::from(weight);
            }
        }
        // All but those left out since the last record, of which there are at most a minute's.
        assert!(weights <= last && last - weights < 86, "{weights} of {last}");
    }

    #[test]
    fn a_flood_of_endpoints_takes_bounded_space() {
        let minutes = Minutes::default();
        let one = Sampler::new(Sampling::PerMinute(1)).unwrap();
        let mut recorded = 0;
        for n in 0..MOST_WINDOWS * 2 {
            recorded += usize::from(weigh(&one, 0, &format!("/{n}"), 0, &minutes).is_some());
        }
        let held: usize = minutes.shards.iter().map(|shard| shard.lock().unwrap().windows.len()).sum();
        assert!(held <= MOST_WINDOWS + SHARDS, "{held}");
        assert!(recorded <= MOST_WINDOWS + SHARDS, "{recorded}");
        // In the next minute there is room again.
        assert_eq!(weigh(&one, 0, "/new", NANOS_A_MINUTE, &minutes), Some(1));
    }
}
