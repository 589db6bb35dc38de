//! Which of the transactions that a rule lets through are recorded, and for how many each stands.
//!
//! By rate, the transaction's id alone decides: the same transaction is chosen by every sensor that sees it and in every
//! replay, by any number of workers.
//!
//! By number in a minute, the order decides in which the workers come to them, but only which ones are chosen: each is counted
//! in the minute in which it began, in whatever order and by whichever worker it is seen. So no minute ever has more than its
//! number, and each has as many as there are, up to that number. What cannot be known any more counts as recorded already:
//! minutes older than the oldest one that there is room for.
//!
//! Either way the weights of the recorded ones add up, on average, to the number of those that were let through.

use core::cmp::Ordering;
use core::fmt;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
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

/// The counts that are kept at a time, each of a rule, an endpoint and a minute.
const MOST_COUNTS: usize = 1 << 16;
const SHARDS: usize = 16;
const MOST_IN_SHARD: usize = MOST_COUNTS / SHARDS;
const NANOS_A_MINUTE: u64 = 60_000_000_000;

/// How many were recorded in each minute, for each rule and endpoint, shared by the workers. Its memory is bounded: a few MB.
pub(super) struct Minutes {
    /// Unpredictable, so that nobody can choose a path that is counted with another one.
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

/// The counts of some endpoints, all their minutes together.
///
/// What is taken out is a minute as a whole, the oldest first, and never comes back: a count that was forgotten would start
/// anew. Where a single minute fills the shard, endpoints that are new in it share a count for each rule.
#[derive(Default)]
struct Shard {
    /// How many were recorded, by minute, then by rule and endpoint.
    minutes: BTreeMap<u64, HashMap<Counted, u32, FixedState>>,
    /// The counts in all of `minutes`.
    kept: usize,
    /// Of the minutes before this one some count was taken out.
    first_open: u64,
    /// How many were left out since the last recorded one, where any was.
    left_out: HashMap<Counted, u32, FixedState>,
}

/// What has a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Counted {
    /// A rule and an endpoint: the rule's place, and the hash of both.
    Endpoint(u32, u64),
    /// A rule's endpoints that there is no room for.
    Others(u32),
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
        let hash = self.hasher.hash_one((rule, sighting.template));
        let shard = self.shards.get(hash as usize % SHARDS)?;
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        // Rules are few.
        shard.weigh(u32::try_from(rule).ok()?, hash, most, sighting.at / NANOS_A_MINUTE)
    }
}

impl Shard {
    fn weigh(&mut self, rule: u32, hash: u64, most: u32, minute: u64) -> Option<u32> {
        let (endpoint, others) = (Counted::Endpoint(rule, hash), Counted::Others(rule));
        let recorded = self.count(endpoint, others, minute).filter(|recorded| **recorded < most);
        if let Some(recorded) = recorded {
            *recorded += 1;
            let mut left_out = |counted| self.left_out.remove(&counted).unwrap_or(0);
            Some(left_out(endpoint).saturating_add(left_out(others)).saturating_add(1))
        } else {
            self.leave_out(endpoint);
            None
        }
    }

    /// The count that an endpoint goes by in a minute; `None`: it is not known any more.
    fn count(&mut self, endpoint: Counted, others: Counted, minute: u64) -> Option<&mut u32> {
        if minute < self.first_open {
            return None;
        }
        // Where endpoints had to share a count in this minute, this one may have been among them.
        let has = |counted| self.minutes.get(&minute).is_some_and(|counts| counts.contains_key(&counted));
        let mut counted = if !has(endpoint) && has(others) { others } else { endpoint };
        let is_new = !has(counted);
        while is_new && counted == endpoint && self.kept >= MOST_IN_SHARD {
            let oldest = self.minutes.first_entry()?;
            match minute.cmp(oldest.key()) {
                Ordering::Less => {
                    self.first_open = minute + 1;
                    return None;
                }
                // It comes on top of the limit, but only in the oldest minute, and rules are few.
                Ordering::Equal => counted = others,
                Ordering::Greater => {
                    self.first_open = *oldest.key() + 1;
                    self.kept -= oldest.remove().len();
                }
            }
        }
        match self.minutes.entry(minute).or_default().entry(counted) {
            Entry::Occupied(count) => Some(count.into_mut()),
            Entry::Vacant(place) => {
                self.kept += 1;
                Some(place.insert(0))
            }
        }
    }

    /// The next one of this endpoint that is recorded will stand for one more; of the rule, where there is no room to keep
    /// that for each endpoint.
    fn leave_out(&mut self, endpoint: Counted) {
        if self.left_out.len() >= MOST_IN_SHARD && !self.left_out.contains_key(&endpoint) {
            for (counted, number) in core::mem::take(&mut self.left_out) {
                let (Counted::Endpoint(rule, _) | Counted::Others(rule)) = counted;
                let sum = self.left_out.entry(Counted::Others(rule)).or_default();
                *sum = sum.saturating_add(number);
            }
        }
        let number = self.left_out.entry(endpoint).or_default();
        *number = number.saturating_add(1);
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
    use proptest::prelude::*;

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
        // What began in a minute counts there, however late it is seen.
        assert_eq!([see("/a", 119), see("/a", 123), see("/b", 61), see("/b", 61)], [None, None, Some(1), None]);
        // A capture of last year has minutes of its own.
        assert_eq!(see("/a", 0), Some(4));
    }

    /// Long polls that end while short ones begin, and each sets the clock back for the other.
    #[test]
    fn late_ones_do_not_begin_a_minute_anew() {
        let minutes = Minutes::default();
        let one = Sampler::new(Sampling::PerMinute(1)).unwrap();
        let mut recorded = [0_u32; 8];
        for n in 0..200_u64 {
            for second in [n, n + 150] {
                let weight = weigh(&one, 0, "/poll/{id}", second * 1_000_000_000, &minutes);
                recorded[second as usize / 60] += u32::from(weight.is_some());
            }
        }
        assert_eq!(recorded, [1, 1, 1, 1, 1, 1, 0, 0]);
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

    fn held(minutes: &Minutes) -> (usize, usize) {
        minutes.shards.iter().fold((0, 0), |(counts, left_out), shard| {
            let shard = shard.lock().unwrap();
            let held: usize = shard.minutes.values().map(HashMap::len).sum();
            assert_eq!(held, shard.kept);
            (counts + held, left_out + shard.left_out.len())
        })
    }

    #[test]
    fn a_flood_of_endpoints_takes_bounded_space() {
        let minutes = Minutes::default();
        let one = Sampler::new(Sampling::PerMinute(1)).unwrap();
        let (mut recorded, mut weights) = (0, 0);
        for n in 0..MOST_COUNTS * 2 {
            if let Some(weight) = weigh(&one, 0, &format!("/{n}"), 0, &minutes) {
                recorded += 1;
                weights += weight as usize;
            }
        }
        let (counts, left_out) = held(&minutes);
        assert!(counts <= MOST_COUNTS + SHARDS && left_out <= MOST_COUNTS, "{counts}, {left_out}");
        assert!(recorded <= MOST_COUNTS + SHARDS, "{recorded}");
        // Those of before are known all the same, and so is who shared a count.
        for n in 0..MOST_COUNTS * 2 {
            assert_eq!(weigh(&one, 0, &format!("/{n}"), 1, &minutes), None);
        }
        // In the next minute there is room again, for the endpoints and for what they stand for.
        for n in 0..MOST_COUNTS * 2 {
            weights += weigh(&one, 0, &format!("/{n}"), NANOS_A_MINUTE, &minutes).unwrap_or(0) as usize;
        }
        let waiting: u32 =
            minutes.shards.iter().map(|shard| shard.lock().unwrap().left_out.values().sum::<u32>()).sum();
        assert_eq!(weights + waiting as usize, MOST_COUNTS * 6);
        // The minute that was taken out for it is full for good.
        assert_eq!(weigh(&one, 0, "/new", 0, &minutes), None);
    }

    #[test]
    fn a_flood_of_minutes_takes_bounded_space() {
        let mut rng = Rng::new(5);
        for order in 0..3 {
            let minutes = Minutes::default();
            let one = Sampler::new(Sampling::PerMinute(1)).unwrap();
            let mut seen = std::collections::HashSet::new();
            let most = 4 * MOST_COUNTS as u64;
            for n in 0..most {
                let minute = match order {
                    0 => n,
                    1 => most - n,
                    _ => rng.bits() % most,
                };
                let template = if n % 8 == 0 { "/a" } else { "/b" };
                if weigh(&one, 0, template, minute * NANOS_A_MINUTE, &minutes).is_some() {
                    assert!(seen.insert((template, minute)));
                }
            }
            let (counts, _) = held(&minutes);
            assert!(counts <= MOST_COUNTS + SHARDS, "{counts}");
        }
    }

    #[test]
    fn workers_share_a_minute() {
        let minutes = Minutes::default();
        let three = Sampler::new(Sampling::PerMinute(3)).unwrap();
        let mut recorded: Vec<(u64, u32)> = std::thread::scope(|scope| {
            // Each is somewhere else in the capture.
            let worker = |first: u64| {
                let (minutes, three) = (&minutes, &three);
                scope.spawn(move || {
                    let seen = (0..900).map(|n| (n * 7 + first * 311) % 900);
                    seen.filter_map(|second| {
                        let weight = weigh(three, 0, "/x", second * 1_000_000_000, minutes)?;
                        Some((second / 60, weight))
                    })
                    .collect::<Vec<_>>()
                })
            };
            let workers: Vec<_> = (0..4).map(worker).collect();
            workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
        });
        recorded.sort_unstable();
        let by_minute: Vec<u64> = recorded.iter().map(|(minute, _)| *minute).collect();
        assert_eq!(by_minute, (0..15).flat_map(|minute| [minute; 3]).collect::<Vec<_>>());
        let weights: u32 = recorded.iter().map(|(_, weight)| weight).sum();
        let waiting: u32 =
            minutes.shards.iter().map(|shard| shard.lock().unwrap().left_out.values().sum::<u32>()).sum();
        assert_eq!(weights + waiting, 3_600);
    }

    proptest! {
        /// Whatever the order: each minute has as many as there are of each endpoint, up to the number; and each stands for itself
        /// and those of its endpoint that were left out since the last one.
        #[test]
        fn each_minute_has_its_number(
            most in 1_u32..5,
            seen in prop::collection::vec((0_u64..6, 0_u64..60, 0_u8..3), 0..200),
        ) {
            let minutes = Minutes::default();
            let sampler = Sampler::new(Sampling::PerMinute(most)).unwrap();
            let (mut there, mut recorded) = (BTreeMap::new(), BTreeMap::new());
            let mut left_out = [0; 3];
            for (minute, second, endpoint) in seen {
                let at = (minute * 60 + second) * 1_000_000_000;
                let there: &mut u32 = there.entry((minute, endpoint)).or_default();
                *there += 1;
                let waiting = left_out.get_mut(usize::from(endpoint)).unwrap();
                let weight = weigh(&sampler, 0, &format!("/{endpoint}"), at, &minutes);
                prop_assert_eq!(weight.is_some(), *there <= most);
                match weight {
                    Some(weight) => {
                        prop_assert_eq!(weight, core::mem::take(waiting) + 1);
                        *recorded.entry((minute, endpoint)).or_default() += 1;
                    }
                    None => *waiting += 1,
                }
            }
            let expected: BTreeMap<_, u32> = there.into_iter().map(|(of, there)| (of, there.min(most))).collect();
            prop_assert_eq!(recorded, expected);
        }
    }
}
