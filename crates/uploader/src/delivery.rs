//! When to send what: pure retry state. It sends nothing, starts nothing and reads no clock; time is an argument.
//!
//! What is sent is known by a key whose order is the order of age. The caller shows the oldest key that this state has
//! not seen yet and is told to send it, to send one that waits for its next attempt, or to wait.
//!
//! # Invariants
//!
//! - *No loss*: a key that was taken is in flight or waits, until its answer is final.
//! - *Order of age*: of all that may be sent now, the oldest is. While the platform is down that is the oldest of all: it
//!   alone is tried, again and again. Since it may itself be what the platform fails at, after every few failures another
//!   one is tried once; if that is accepted, the older one is *suspect*, and its failures are held against it alone.
//! - *Bounded*: never more than `in_flight` at once, and never more than [`Delivery::open_limit`] keys held. What a receiver
//!   before still has under way is counted apart, up to as many as that one was allowed.
//! - *No storm*: while the platform is down one request at a time probes it, at growing distances. When it answers, the
//!   number in flight doubles with each success, and what waited because of the outage goes in order of age.
//! - *Patience*: nothing at all is sent before the time that the platform asked for.
//! - *No hearsay*: each attempt is of a generation, the number of renewals before it. What an older one ends with decides about
//!   its key at most, and says nothing of the receiver that there is now. Those of two renewals before are called off by the
//!   caller, so that no more hang than one receiver was allowed.
//!
//! Delays are drawn evenly from zero to a bound that doubles with each failure ("full jitter"), so that many sensors do
//! not come back in step; a small floor keeps an unlucky draw from becoming a burst.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::outcome::{Outcome, RetryReason};
use crate::settings::RetrySettings;

/// After so many failures of one key in an outage another one is tried, once.
const SUSPICION: u32 = 8;

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next<K> {
    /// Send this; it counts as in flight from now on.
    Send(K),
    /// Nothing until this time, or until an answer comes or something new is there.
    Wait(Option<Instant>),
}

/// What an answer means for its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Done: the receiver has it.
    Accepted,
    /// It will be sent again, and waits in here.
    Again(Option<RetryReason>),
    /// Too large: the caller divides it and hands the parts to [`Delivery::add`], or gives it up.
    Split,
    /// Done: refused for good.
    Rejected,
}

pub(crate) struct Delivery<K> {
    settings: RetrySettings,
    random: StdRng,
    in_flight: BTreeMap<K, Attempt>,
    /// How often it was renewed.
    generation: u64,
    /// Attempts of older generations that may be under way beside those of this one: what the one before was allowed. The
    /// receiver before may be left just because it keeps what it is given under way for ever.
    spared: usize,
    waiting: BTreeMap<K, Waiting>,
    platform: Platform<K>,
    /// Until when the platform asked to be left alone (`Retry-After`). What was under way then may still be accepted, which
    /// takes nothing of it back.
    quiet_until: Option<Instant>,
}

/// One under way.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    tries: Tries,
    generation: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Tries {
    failures: u32,
    /// A 401 was answered with a fresh token already.
    refreshed: bool,
    /// It failed again and again where a younger one was accepted.
    suspect: bool,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    tries: Tries,
    /// `None`: at once.
    not_before: Option<Instant>,
    /// It waits because the platform was down, not for a fault of its own.
    outage: bool,
}

impl Waiting {
    fn is_due(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|not_before| not_before <= now)
    }
}

#[derive(Clone, Copy, Debug)]
enum Platform<K> {
    Up {
        /// How many may be in flight: doubles with each success.
        window: usize,
        /// Failures since the last answer.
        failures: usize,
    },
    Down {
        /// Probes that failed.
        probes: u32,
        until: Instant,
        probe: Option<K>,
    },
}

impl<K: Ord + Copy> Delivery<K> {
    pub(crate) fn new(settings: RetrySettings, seed: u64) -> Self {
        Self {
            settings,
            random: StdRng::seed_from_u64(seed),
            in_flight: BTreeMap::new(),
            generation: 0,
            spared: 0,
            waiting: BTreeMap::new(),
            platform: Platform::Up { window: settings.in_flight, failures: 0 },
            quiet_until: None,
        }
    }

    /// Keys held at most before new ones are left where they are: one that fails for a reason of its own must not hold up
    /// the others, but many that wait are no reason to take more. Parts of split keys may come on top.
    pub(crate) fn open_limit(&self) -> usize {
        self.settings.in_flight * 16
    }

    /// What to do at `now`, when `oldest` is the oldest key that this does not hold.
    pub(crate) fn next(&mut self, now: Instant, oldest: Option<K>) -> Next<K> {
        match self.quiet_until {
            Some(until) if now < until => return Next::Wait(Some(until)),
            _ => self.quiet_until = None,
        }
        match self.platform {
            Platform::Up { window, .. } if self.counted() >= window => return Next::Wait(None),
            Platform::Down { probe: Some(_), .. } => return Next::Wait(None),
            Platform::Down { .. } if self.counted() >= self.settings.in_flight => return Next::Wait(None),
            Platform::Down { until, .. } if now < until => return Next::Wait(Some(until)),
            _ => {}
        }
        let due = self.waiting.iter().find(|(_, waiting)| waiting.is_due(now)).map(|(key, _)| *key);
        let room = self.waiting.len() + self.in_flight.len() < self.open_limit();
        let key = match (due, oldest.filter(|_| room)) {
            (Some(due), Some(oldest)) => due.min(oldest),
            (Some(key), None) | (None, Some(key)) => key,
            (None, None) => return Next::Wait(self.waiting.values().filter_map(|waiting| waiting.not_before).min()),
        };
        let tries = self.waiting.remove(&key).map(|waiting| waiting.tries).unwrap_or_default();
        self.in_flight.insert(key, Attempt { tries, generation: self.generation });
        if let Platform::Down { probe, .. } = &mut self.platform {
            *probe = Some(key);
        }
        Next::Send(key)
    }

    /// Takes the answer for `key`, which is in flight.
    pub(crate) fn answer(&mut self, key: K, outcome: &Outcome, now: Instant) -> Verdict {
        let Some(Attempt { mut tries, generation }) = self.in_flight.remove(&key) else {
            debug_assert!(false, "an answer for what was not sent");
            return Verdict::Again(None);
        };
        if generation != self.generation {
            return match outcome {
                Outcome::Accepted => Verdict::Accepted,
                Outcome::Reject { .. } => Verdict::Rejected,
                // What was too large for that one, too, may not be for this one.
                Outcome::Split | Outcome::Refresh | Outcome::Retry { .. } => {
                    self.add(key);
                    Verdict::Again(None)
                }
            };
        }
        match outcome {
            Outcome::Accepted => {
                self.succeed(key);
                Verdict::Accepted
            }
            Outcome::Reject { .. } => {
                self.succeed(key);
                Verdict::Rejected
            }
            Outcome::Split => {
                self.succeed(key);
                Verdict::Split
            }
            Outcome::Refresh if !tries.refreshed => {
                tries.refreshed = true;
                self.release_probe(key, now);
                self.waiting.insert(key, Waiting { tries, not_before: None, outage: false });
                Verdict::Again(None)
            }
            Outcome::Refresh => self.fail(key, tries, RetryReason::Unauthorized, None, now),
            Outcome::Retry { reason, after } => self.fail(key, tries, *reason, *after, now),
        }
    }

    /// Adds a key of the caller's own making: a part of a split one.
    pub(crate) fn add(&mut self, key: K) {
        self.waiting.insert(key, Waiting { tries: Tries::default(), not_before: None, outage: false });
    }

    /// Gives a key in flight another name in the same place of the order.
    pub(crate) fn rename(&mut self, from: K, to: K) {
        if let Some(attempt) = self.in_flight.remove(&from) {
            self.in_flight.insert(to, attempt);
        }
        if let Platform::Down { probe, .. } = &mut self.platform
            && probe.is_some_and(|probe| probe == from)
        {
            *probe = Some(to);
        }
    }

    /// Takes `key` back, whose attempt was given up: it is sent again as if it had not been.
    pub(crate) fn call_off(&mut self, key: K, now: Instant) {
        if self.in_flight.remove(&key).is_some() {
            self.release_probe(key, now);
            self.add(key);
        }
    }

    /// Forgets `key`: it was dropped elsewhere.
    pub(crate) fn forget(&mut self, key: K, now: Instant) {
        self.waiting.remove(&key);
        self.in_flight.remove(&key);
        self.release_probe(key, now);
    }

    /// Goes by other settings, for what may be another receiver: what the one before asked for or failed with is forgotten, what
    /// it still ends with says nothing, and what waits is tried at once, one first where it seemed to be away.
    pub(crate) fn renew(&mut self, settings: RetrySettings, now: Instant) {
        self.spared = self.settings.in_flight;
        self.generation += 1;
        self.settings = settings;
        self.quiet_until = None;
        for waiting in self.waiting.values_mut() {
            waiting.not_before = None;
            waiting.tries = Tries::default();
        }
        match &mut self.platform {
            Platform::Up { window, failures } => (*window, *failures) = (settings.in_flight, 0),
            Platform::Down { probes, until, probe } => (*probes, *until, *probe) = (1, now, None),
        }
    }

    /// How often it was renewed: attempts that are begun now are of this generation.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether `key` is under way to the receiver that there is now, as far as this knows.
    pub(crate) fn is_current(&self, key: K) -> bool {
        self.in_flight.get(&key).is_some_and(|attempt| attempt.generation == self.generation)
    }

    /// How many under way count against the limit.
    fn counted(&self) -> usize {
        let current = self.in_flight.values().filter(|attempt| attempt.generation == self.generation).count();
        current + (self.in_flight.len() - current).saturating_sub(self.spared)
    }

    /// Whether nothing is held.
    pub(crate) fn is_empty(&self) -> bool {
        self.in_flight.is_empty() && self.waiting.is_empty()
    }

    /// Until when the platform asked for nothing to be sent, if it did.
    pub(crate) fn quiet_until(&self) -> Option<Instant> {
        self.quiet_until
    }

    /// Whether only probes are made.
    pub(crate) fn is_down(&self) -> bool {
        matches!(self.platform, Platform::Down { .. })
    }

    /// The platform answered `key` as a platform does.
    fn succeed(&mut self, key: K) {
        match &mut self.platform {
            Platform::Up { window, failures } => {
                *window = window.saturating_mul(2).min(self.settings.in_flight);
                *failures = 0;
            }
            Platform::Down { .. } => {
                self.platform = Platform::Up { window: 2.min(self.settings.in_flight), failures: 0 };
                for (waits, waiting) in self.waiting.iter_mut().filter(|(_, waiting)| waiting.outage) {
                    waiting.not_before = None;
                    waiting.outage = false;
                    // Failures while younger ones are accepted add up.
                    if *waits > key {
                        waiting.tries.failures = 0;
                    } else if waiting.tries.failures >= SUSPICION {
                        waiting.tries.suspect = true;
                    }
                }
            }
        }
    }

    fn fail(
        &mut self,
        key: K,
        mut tries: Tries,
        reason: RetryReason,
        after: Option<Duration>,
        now: Instant,
    ) -> Verdict {
        tries.failures = tries.failures.saturating_add(1);
        tries.refreshed = false;
        let after = after.map(|after| after.min(self.settings.retry_after_cap));
        let own = self.delay(tries.failures).max(after.unwrap_or_default());
        // What a suspect fails with says something of the platform only if the batch had no part in it.
        let is_own_fault = tries.suspect && !reason.is_before_the_batch();
        let mut outage = reason.concerns_all() && !is_own_fault;
        if let Some(after) = after.filter(|_| outage) {
            self.quiet_until = self.quiet_until.max(Some(now + after));
        }
        match self.platform {
            Platform::Up { .. } if is_own_fault => {}
            Platform::Up { window, failures } => {
                // Whatever the reason: when as many as may be in flight fail in a row, it is not the batches.
                outage |= failures + 1 >= self.settings.in_flight.max(2);
                self.platform = if outage {
                    // What failed just before it had no part in its failure either.
                    for waiting in self.waiting.values_mut().filter(|waiting| !waiting.tries.suspect) {
                        waiting.outage = true;
                        waiting.not_before = None;
                    }
                    let until = now + self.delay(1).max(after.unwrap_or_default());
                    Platform::Down { probes: 1, until, probe: None }
                } else {
                    Platform::Up { window, failures: failures + 1 }
                };
            }
            Platform::Down { probes, until, probe } => {
                outage = true;
                let asked = now + after.unwrap_or_default();
                self.platform = if probe.is_some_and(|probe| probe == key) {
                    let probes = probes.saturating_add(1);
                    Platform::Down { probes, until: asked.max(now + self.delay(probes)), probe: None }
                } else {
                    // One that was sent before the others failed: it says nothing new.
                    Platform::Down { probes, until: until.max(asked), probe }
                };
            }
        }
        let not_before = match self.platform {
            // The next probe is the oldest, at the time that the outage sets: one that cannot be the cause keeps its place.
            Platform::Down { .. } if outage && reason.is_before_the_batch() => None,
            // One that can keeps it, too, but for a probe now and then that shows whether it is.
            Platform::Down { until, .. } if outage && reason != RetryReason::Local && !tries.suspect => {
                tries.failures.is_multiple_of(SUSPICION).then(|| until + Duration::from_millis(1))
            }
            _ => Some(now + own),
        };
        self.waiting.insert(key, Waiting { tries, not_before, outage });
        Verdict::Again(Some(reason))
    }

    /// A probe that ended without saying anything about the platform.
    fn release_probe(&mut self, key: K, now: Instant) {
        if let Platform::Down { probe, until, .. } = &mut self.platform
            && probe.is_some_and(|probe| probe == key)
        {
            *probe = None;
            *until = (*until).min(now);
        }
    }

    /// A random delay for the `failures`-th failure.
    fn delay(&mut self, failures: u32) -> Duration {
        let factor = 1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        let bound = self.settings.backoff_base.saturating_mul(factor).min(self.settings.backoff_cap);
        let floor = self.settings.backoff_base / 10;
        bound.mul_f64(self.random.random::<f64>()).max(floor)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::outcome::Answer;

    const SECOND: Duration = Duration::from_secs(1);

    fn settings(in_flight: usize) -> RetrySettings {
        RetrySettings { in_flight, ..RetrySettings::default() }
    }

    fn outcome() -> impl Strategy<Value = Outcome> {
        prop_oneof![
            6 => Just(Outcome::Accepted),
            3 => proptest::sample::select(RetryReason::ALL).prop_map(Outcome::retry),
            1 => (0u64..2000).prop_map(|seconds| Outcome::Retry {
                reason: RetryReason::TooManyRequests,
                after: Some(Duration::from_secs(seconds)),
            }),
            1 => Just(Outcome::Refresh),
            1 => Just(Outcome::Reject { status: 400, answer: Answer::default() }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// With any answers in any order, and other settings now and then: everything taken is decided in the end, nothing twice
        /// at once, never more than `in_flight` beside what older settings allowed, bounded state, and what is sent is older than
        /// everything else that could have been. What comes late of a receiver before changes nothing but its own key.
        #[test]
        fn all_is_decided_in_order_within_bounds(
            outcomes in proptest::collection::vec((outcome(), any::<proptest::sample::Index>(), 0u64..3000), 1..120),
            renewals in proptest::collection::vec(proptest::option::weighted(0.1, 1usize..6), 0..120),
            mut in_flight in 1usize..6,
            count in 1u64..60,
            seed in any::<u64>(),
        ) {
            let mut now = Instant::now();
            let mut delivery = Delivery::new(settings(in_flight), seed);
            let mut unseen: BTreeSet<u64> = (0..count).collect();
            let mut sent: Vec<u64> = Vec::new();
            let (mut stale, mut before): (BTreeSet<u64>, usize) = (BTreeSet::new(), 0);
            let mut decided = BTreeSet::new();
            let mut last_index = outcomes[0].1;
            let (mut outcomes, mut renewals) = (outcomes.into_iter(), renewals.into_iter().flatten());
            for round in 0.. {
                prop_assert!(round < 20_000, "delivery does not end");
                let mut must_send = false;
                if round % 8 == 7
                    && let Some(other) = renewals.next()
                {
                    (before, in_flight) = (in_flight, other);
                    stale = sent.iter().copied().collect();
                    delivery.renew(settings(other), now);
                    prop_assert!(delivery.quiet_until().is_none());
                    // Whatever is still under way, up to what was allowed, the first goes at once.
                    let room = delivery.waiting.len() + delivery.in_flight.len() < delivery.open_limit();
                    let has_work = !delivery.waiting.is_empty() || (!unseen.is_empty() && room);
                    must_send = has_work && stale.len() <= before;
                    prop_assert!(delivery.waiting.values().all(|waiting| waiting.is_due(now)));
                }
                let oldest = unseen.first().copied();
                let due: Option<u64> = delivery.waiting.iter().find(|(_, w)| w.is_due(now)).map(|(k, _)| *k);
                match delivery.next(now, oldest) {
                    Next::Send(key) => {
                        prop_assert!(!sent.contains(&key));
                        prop_assert!(due.is_none_or(|due| key <= due));
                        if unseen.remove(&key) {
                            prop_assert_eq!(Some(key), oldest);
                            prop_assert!(delivery.waiting.len() + delivery.in_flight.len() <= delivery.open_limit());
                        }
                        prop_assert!(!stale.contains(&key) && delivery.is_current(key));
                        sent.push(key);
                        prop_assert!(sent.len() - stale.len() <= in_flight && sent.len() <= in_flight + before);
                    }
                    Next::Wait(until) => {
                        prop_assert!(!must_send);
                        if sent.is_empty() {
                            match until {
                                Some(until) => {
                                    prop_assert!(until > now, "asked to wait for what is due");
                                    prop_assert!(until - now <= settings(1).retry_after_cap);
                                    now = until;
                                }
                                None => {
                                    // Nothing held, nothing unseen: the end.
                                    prop_assert!(delivery.is_empty() && unseen.is_empty());
                                    break;
                                }
                            }
                            continue;
                        }
                        let (outcome, which, millis) = outcomes.next().unwrap_or((Outcome::Accepted, last_index, 1));
                        last_index = which;
                        now += Duration::from_millis(millis);
                        let key = sent.remove(which.index(sent.len()));
                        let is_stale = stale.remove(&key);
                        prop_assert_eq!(is_stale, !delivery.is_current(key));
                        let known = (format!("{:?}", delivery.platform), delivery.quiet_until);
                        let verdict = delivery.answer(key, &outcome, now);
                        if is_stale {
                            prop_assert_eq!((format!("{:?}", delivery.platform), delivery.quiet_until), known);
                            prop_assert!(!matches!(verdict, Verdict::Again(Some(_))));
                            prop_assert!(delivery.waiting.get(&key).is_none_or(|waiting| waiting.is_due(now)));
                        }
                        match verdict {
                            Verdict::Accepted | Verdict::Rejected => {
                                prop_assert!(decided.insert(key));
                            }
                            Verdict::Again(_) => prop_assert!(delivery.waiting.contains_key(&key)),
                            Verdict::Split => prop_assert!(false, "nothing was too large"),
                        }
                    }
                }
            }
            prop_assert_eq!(decided.len() as u64, count);
        }

        /// While nothing gets through, requests are few: one at a time, and after the first minutes about two a minute.
        #[test]
        fn an_outage_is_probed_by_few_requests(seed in any::<u64>(), reason in proptest::sample::select(RetryReason::ALL)) {
            let start = Instant::now();
            let mut now = start;
            let mut delivery = Delivery::new(settings(4), seed);
            let mut next_unseen = 0u64;
            let mut requests = 0;
            let hour = start + Duration::from_secs(3600);
            while now < hour {
                match delivery.next(now, Some(next_unseen)) {
                    Next::Send(key) => {
                        next_unseen = next_unseen.max(key + 1);
                        requests += 1;
                        now += Duration::from_millis(1);
                        delivery.answer(key, &Outcome::retry(reason), now);
                        if requests > 8 {
                            prop_assert!(delivery.is_down());
                        }
                    }
                    Next::Wait(until) => now = until.expect("nothing is in flight"),
                }
            }
            // The mean delay is half the cap of a minute.
            prop_assert!((60..=260).contains(&requests), "{requests} requests in an hour");
        }

        /// After an outage everything goes in order of age, and the first requests do not come all at once.
        #[test]
        fn recovery_is_in_order_and_ramps_up(seed in any::<u64>(), failures in 1usize..40) {
            let mut now = Instant::now();
            let mut delivery = Delivery::new(settings(4), seed);
            let mut next_unseen = 0u64;
            for _ in 0..failures {
                let key = loop {
                    match delivery.next(now, Some(next_unseen)) {
                        Next::Send(key) => break key,
                        Next::Wait(until) => now = until.unwrap(),
                    }
                };
                next_unseen = next_unseen.max(key + 1);
                delivery.answer(key, &Outcome::retry(RetryReason::Connect), now);
            }
            // Up again.
            let probe = loop {
                match delivery.next(now, Some(next_unseen)) {
                    Next::Send(key) => break key,
                    Next::Wait(until) => now = until.unwrap(),
                }
            };
            next_unseen = next_unseen.max(probe + 1);
            delivery.answer(probe, &Outcome::Accepted, now);
            prop_assert!(!delivery.is_down());
            let mut sent = Vec::new();
            while let Next::Send(key) = delivery.next(now, Some(next_unseen)) {
                next_unseen = next_unseen.max(key + 1);
                sent.push(key);
            }
            prop_assert_eq!(sent.len(), 2, "two at first");
            delivery.answer(sent[0], &Outcome::Accepted, now);
            let mut more = Vec::new();
            while let Next::Send(key) = delivery.next(now, Some(next_unseen)) {
                next_unseen = next_unseen.max(key + 1);
                more.push(key);
            }
            prop_assert_eq!(more.len(), 3, "then four");
            sent.extend(more);
            prop_assert!(sent.is_sorted(), "{:?}", sent);
            let expected: Vec<u64> = (0..).filter(|key| *key != probe).take(sent.len()).collect();
            prop_assert_eq!(sent, expected);
        }
    }

    /// What cannot be the batch's fault is not held against it: each probe is the oldest, and nothing overtakes it.
    #[test]
    fn an_outage_on_the_way_keeps_the_order() {
        for reason in RetryReason::ALL.iter().filter(|reason| reason.is_before_the_batch()) {
            let mut now = Instant::now();
            let mut delivery = Delivery::new(settings(1), 5);
            for failures in 0..50 {
                let key = loop {
                    match delivery.next(now, Some(u64::from(failures > 0))) {
                        Next::Send(key) => break key,
                        Next::Wait(until) => now = until.unwrap(),
                    }
                };
                assert_eq!(key, 0, "{reason:?} after {failures} failures");
                delivery.answer(key, &Outcome::retry(*reason), now);
            }
        }
    }

    /// What may be the batch's fault: the oldest is tried again and again, and another one only now and then. Whichever is
    /// accepted first, all the others follow in order of age.
    #[test]
    fn an_outage_that_a_batch_may_have_caused_is_probed_with_the_oldest() {
        let may_be = |reason: &&RetryReason| !reason.is_before_the_batch() && **reason != RetryReason::Local;
        for (reason, in_flight) in
            RetryReason::ALL.iter().filter(may_be).flat_map(|reason| [(*reason, 1), (*reason, 4)])
        {
            for failures in 4..60 {
                let mut now = Instant::now();
                let mut delivery = Delivery::new(settings(in_flight), failures);
                let (mut unseen, mut sent, mut probes) = (0, Vec::new(), Vec::new());
                let mut accepted = Vec::new();
                while probes.len() < failures as usize || accepted.len() < 20 {
                    match delivery.next(now, Some(unseen)) {
                        Next::Send(key) => {
                            unseen = unseen.max(key + 1);
                            sent.push(key);
                            if delivery.is_down() {
                                probes.push(key);
                            }
                        }
                        Next::Wait(until) if sent.is_empty() => now = until.unwrap(),
                        Next::Wait(_) => {
                            let key = sent.remove(0);
                            if probes.len() < failures as usize {
                                delivery.answer(key, &Outcome::retry(reason), now);
                            } else {
                                delivery.answer(key, &Outcome::Accepted, now);
                                accepted.push(key);
                            }
                        }
                    }
                }
                let strangers = probes[..failures as usize].iter().filter(|key| **key != 0).count();
                assert!(strangers <= failures as usize / SUSPICION as usize, "{reason:?}: {probes:?}");
                assert!(failures < 16 || strangers > 0, "{reason:?}: {probes:?}");
                // The one that found the platform to be back is the oldest, unless it was to show whose fault it is.
                let from = usize::from(accepted[0] != 0);
                assert!(accepted[from..].is_sorted(), "{reason:?} after {failures}: {accepted:?}");
                assert!(
                    from == 0 || (failures + 1) % u64::from(SUSPICION + 1) <= u64::from(SUSPICION) / 2,
                    "{failures}"
                );
            }
        }
    }

    /// A batch at which the platform's front says that nobody is there: in the end it alone waits.
    #[test]
    fn a_batch_that_brings_the_platform_down_is_found_out() {
        for reason in [RetryReason::Unavailable, RetryReason::Timeout, RetryReason::Broken] {
            let start = Instant::now();
            let mut now = start;
            let mut delivery = Delivery::new(settings(4), 3);
            let (mut unseen, mut accepted, mut poison, mut sent) = (0u64, 0, 0, Vec::new());
            while now < start + Duration::from_secs(1200) {
                match delivery.next(now, Some(unseen)) {
                    Next::Send(key) => {
                        unseen = unseen.max(key + 1);
                        sent.push(key);
                    }
                    Next::Wait(until) if sent.is_empty() => now = until.unwrap(),
                    Next::Wait(_) => {
                        now += Duration::from_millis(10);
                        let key = sent.remove(0);
                        let outcome = if key == 5 {
                            poison += 1;
                            Outcome::retry(reason)
                        } else {
                            accepted += 1;
                            Outcome::Accepted
                        };
                        delivery.answer(key, &outcome, now);
                    }
                }
            }
            // All but the first few minutes are at full speed, ten milliseconds each.
            assert!(accepted > 80_000 && (10..100).contains(&poison), "{reason:?}: {accepted} {poison}");
        }
    }

    #[test]
    fn an_expired_token_is_refreshed_once_and_then_patience_helps() {
        let now = Instant::now();
        let mut delivery = Delivery::new(settings(4), 1);
        assert_eq!(delivery.next(now, Some(1)), Next::Send(1));
        assert_eq!(delivery.answer(1, &Outcome::Refresh, now), Verdict::Again(None));
        assert_eq!(delivery.next(now, None), Next::Send(1));
        assert_eq!(delivery.answer(1, &Outcome::Refresh, now), Verdict::Again(Some(RetryReason::Unauthorized)));
        assert!(delivery.is_down());
        let Next::Wait(Some(until)) = delivery.next(now, Some(2)) else { panic!("must wait") };
        let Next::Send(key) = delivery.next(until + 60 * SECOND, Some(2)) else { panic!("must probe") };
        // The probe may have its token refreshed, too, and stays the only one meanwhile.
        assert_eq!(delivery.answer(key, &Outcome::Refresh, until + 60 * SECOND), Verdict::Again(None));
        assert!(matches!(delivery.next(until + 60 * SECOND, Some(2)), Next::Send(_)));
        assert_eq!(delivery.next(until + 60 * SECOND, Some(2)), Next::Wait(None));
    }

    #[test]
    fn the_receivers_wish_is_honoured_and_cut() {
        let now = Instant::now();
        for (asked, granted) in [(30, 30), (100_000, 900)] {
            let mut delivery = Delivery::new(settings(4), 1);
            assert_eq!(delivery.next(now, Some(1)), Next::Send(1));
            let after = Some(Duration::from_secs(asked));
            delivery.answer(1, &Outcome::Retry { reason: RetryReason::TooManyRequests, after }, now);
            assert_eq!(delivery.next(now, Some(2)), Next::Wait(Some(now + Duration::from_secs(granted))));
        }
    }

    #[test]
    fn a_batch_that_always_fails_does_not_hold_up_the_others() {
        let mut now = Instant::now();
        let mut delivery = Delivery::new(settings(4), 3);
        let (mut unseen, mut accepted, mut poison) = (0u64, 0, 0);
        for _ in 0..1000 {
            match delivery.next(now, Some(unseen)) {
                Next::Send(key) => {
                    unseen = unseen.max(key + 1);
                    now += Duration::from_millis(10);
                    let outcome = if key == 0 {
                        poison += 1;
                        Outcome::retry(RetryReason::ServerError)
                    } else {
                        accepted += 1;
                        Outcome::Accepted
                    };
                    delivery.answer(key, &outcome, now);
                }
                Next::Wait(until) => now = until.unwrap(),
            }
        }
        assert!(accepted > 980 && poison > 2 && !delivery.is_down(), "{accepted} {poison}");
    }

    /// One of several in flight is told to wait; that the others are accepted is no reason not to.
    #[test]
    fn patience_is_asked_of_all() {
        let mut now = Instant::now();
        let mut delivery = Delivery::new(settings(4), 1);
        for key in 0..4 {
            assert_eq!(delivery.next(now, Some(key)), Next::Send(key));
        }
        let wait = |seconds| Outcome::Retry { reason: RetryReason::TooManyRequests, after: Some(seconds * SECOND) };
        delivery.answer(1, &wait(30), now);
        delivery.answer(0, &Outcome::Accepted, now);
        delivery.answer(2, &wait(10), now);
        delivery.answer(3, &Outcome::Accepted, now);
        let until = now + 30 * SECOND;
        for _ in 0..30 {
            assert_eq!(delivery.next(now, Some(4)), Next::Wait(Some(until)));
            now += SECOND;
        }
        assert_eq!(delivery.next(now, Some(4)), Next::Send(1));
        // A batch that alone makes the platform fail asks for itself only.
        let poison = Outcome::Retry { reason: RetryReason::ServerError, after: Some(30 * SECOND) };
        delivery.answer(1, &Outcome::Accepted, now);
        assert_eq!(delivery.next(now, Some(4)), Next::Send(2));
        delivery.answer(2, &poison, now);
        assert_eq!(delivery.next(now, Some(4)), Next::Send(4));
    }

    #[test]
    fn another_receiver_is_asked_at_once() {
        let now = Instant::now();
        let mut delivery = Delivery::new(settings(4), 1);
        for key in 0..4 {
            assert_eq!(delivery.next(now, Some(key)), Next::Send(key));
        }
        let after = Some(600 * SECOND);
        delivery.answer(1, &Outcome::Retry { reason: RetryReason::TooManyRequests, after }, now);
        delivery.answer(0, &Outcome::retry(RetryReason::Connect), now);
        delivery.answer(2, &Outcome::retry(RetryReason::Connect), now);
        assert!(delivery.is_down());
        assert_eq!(delivery.next(now, Some(4)), Next::Wait(Some(now + 600 * SECOND)));
        delivery.renew(settings(2), now);
        // One asks, though one that asks the receiver before is still under way.
        assert_eq!(delivery.next(now, Some(4)), Next::Send(0));
        assert_eq!(delivery.next(now, Some(4)), Next::Wait(None));
        delivery.answer(3, &Outcome::retry(RetryReason::Connect), now);
        delivery.answer(0, &Outcome::Accepted, now);
        assert!(!delivery.is_down());
        assert_eq!(delivery.next(now, Some(4)), Next::Send(1));
        assert_eq!(delivery.next(now, Some(4)), Next::Send(2));
        assert_eq!(delivery.next(now, Some(4)), Next::Wait(None), "two at a time from now on");
        delivery.answer(2, &Outcome::Accepted, now);
        assert_eq!(delivery.next(now, Some(4)), Next::Send(3));
    }

    /// Once what the platform before was asked before a reload answered after it, and the one that is asked now was left alone for
    /// as long as that one wished.
    #[test]
    fn what_the_receiver_before_still_says_is_not_held_against_this_one() {
        let now = Instant::now();
        let after = Some(600 * SECOND);
        let late = [
            Outcome::Retry { reason: RetryReason::Unavailable, after },
            Outcome::Retry { reason: RetryReason::TooManyRequests, after },
            Outcome::retry(RetryReason::Timeout),
            Outcome::retry(RetryReason::Connect),
            Outcome::Refresh,
            Outcome::Split,
        ];
        for outcome in late {
            let mut delivery = Delivery::new(settings(2), 1);
            assert_eq!(delivery.next(now, Some(0)), Next::Send(0));
            assert_eq!(delivery.next(now, Some(1)), Next::Send(1));
            assert_eq!(delivery.next(now, Some(2)), Next::Wait(None));
            delivery.renew(settings(2), now);
            // What hangs there does not keep this one from being asked.
            assert_eq!(delivery.next(now, Some(2)), Next::Send(2), "{outcome:?}");
            assert_eq!(delivery.answer(0, &outcome, now), Verdict::Again(None));
            assert!(!delivery.is_down() && delivery.quiet_until().is_none());
            assert_eq!(delivery.next(now, Some(3)), Next::Send(0), "the oldest first, at once");
            assert_eq!(delivery.next(now, Some(3)), Next::Wait(None), "two at a time, beside the one that hangs");
            // What it took it has.
            assert_eq!(delivery.answer(1, &Outcome::Accepted, now), Verdict::Accepted);
            assert_eq!(delivery.in_flight(), 2);
            // Of two receivers before, only as many as one was allowed are left out.
            delivery.renew(settings(2), now);
            assert_eq!(delivery.next(now, Some(3)), Next::Send(3));
            assert_eq!(delivery.next(now, Some(4)), Next::Send(4));
            delivery.renew(settings(2), now);
            assert_eq!(delivery.next(now, Some(5)), Next::Wait(None));
            assert_eq!(delivery.answer(2, &Outcome::retry(RetryReason::Timeout), now), Verdict::Again(None));
            assert_eq!(delivery.next(now, Some(5)), Next::Send(2));
        }
    }

    #[test]
    fn parts_go_before_what_is_younger() {
        let now = Instant::now();
        let mut delivery = Delivery::new(settings(1), 1);
        assert_eq!(delivery.next(now, Some((1, 0))), Next::Send((1, 0)));
        assert_eq!(delivery.answer((1, 0), &Outcome::Split, now), Verdict::Split);
        delivery.add((1, 5));
        delivery.add((1, 0));
        assert_eq!(delivery.next(now, Some((2, 0))), Next::Send((1, 0)));
        delivery.forget((1, 0), now);
        assert_eq!(delivery.next(now, Some((2, 0))), Next::Send((1, 5)));
    }
}
