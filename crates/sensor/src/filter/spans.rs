//! Which rules a number lies in the ranges of: ports, statuses, network ids, addresses.

use core::net::IpAddr;

use ipnet::IpNet;

use super::sets::{Bits, Interned, MAX_RULES};
use crate::normalize::{Bounds, bounds};

/// Ranges of numbers, each of a rule, cut where any of them begins or ends: a look-up is a binary search.
#[derive(Debug, Default)]
pub(super) struct Spans<T> {
    /// Where each piece begins; it ends before the next.
    starts: Vec<T>,
    /// The rules of each piece.
    places: Vec<u32>,
    sets: Vec<Bits>,
}

/// An unsigned number with a successor.
pub(super) trait Number: Copy + Ord {
    fn next(self) -> Option<Self>;
}

impl Number for u16 {
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl Number for u32 {
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl Number for u128 {
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl<T: Number> Spans<T> {
    /// From the first and last number of each range, both included, and its rule.
    pub(super) fn new(ranges: &[(T, T, usize)]) -> Self {
        // What begins and ends at each place.
        let mut events: Vec<(T, bool, usize)> = Vec::with_capacity(ranges.len() * 2);
        for (first, last, rule) in ranges {
            events.push((*first, true, *rule));
            if let Some(end) = last.next() {
                events.push((end, false, *rule));
            }
        }
        events.sort_unstable();
        let mut spans = Self { starts: Vec::new(), places: Vec::new(), sets: Vec::new() };
        let mut interned = Interned::default();
        let mut open = vec![0_u32; MAX_RULES];
        let mut active = Bits::NONE;
        let mut events = events.into_iter().peekable();
        while let Some((at, begins, rule)) = events.next() {
            if let Some(count) = open.get_mut(rule) {
                *count = if begins { *count + 1 } else { count.saturating_sub(1) };
                if *count == 0 {
                    active.remove(rule);
                } else {
                    active.insert(rule);
                }
            }
            if events.peek().is_none_or(|(next, ..)| *next != at) {
                let place = interned.place(&active);
                if spans.places.last() != Some(&place) {
                    spans.starts.push(at);
                    spans.places.push(place);
                }
            }
        }
        spans.sets = interned.into_sets();
        spans
    }

    /// The rules whose ranges hold the number.
    #[inline]
    pub(super) fn find(&self, number: T) -> Option<&Bits> {
        let behind = self.starts.partition_point(|start| *start <= number);
        let place = self.places.get(behind.checked_sub(1)?)?;
        self.sets.get(*place as usize)
    }
}

/// Networks, each of a rule.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    v4: Spans<u32>,
    v6: Spans<u128>,
}

impl Addresses {
    pub(super) fn new(networks: &[(IpNet, usize)]) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (network, rule) in networks {
            match bounds(*network) {
                Bounds::V4(first, last) => v4.push((first, last, *rule)),
                Bounds::V6(first, last) => v6.push((first, last, *rule)),
            }
        }
        Self { v4: Spans::new(&v4), v6: Spans::new(&v6) }
    }

    /// The rules whose networks hold the address.
    #[inline]
    pub(super) fn find(&self, ip: IpAddr) -> Option<&Bits> {
        match ip.to_canonical() {
            IpAddr::V4(ip) => self.v4.find(ip.to_bits()),
            IpAddr::V6(ip) => self.v6.find(ip.to_bits()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_number_has_the_rules_of_its_ranges(
            ranges in prop::collection::vec((any::<u16>(), any::<u16>(), 0_usize..70), 0..12),
            edge in prop::collection::vec(0_usize..12, 0..3),
            probes in prop::collection::vec(any::<u16>(), 0..20),
        ) {
            let mut ranges: Vec<_> = ranges.into_iter().map(|(a, b, rule)| (a.min(b), a.max(b), rule)).collect();
            for place in edge {
                if let Some((_, last, _)) = ranges.get_mut(place) {
                    *last = u16::MAX;
                }
            }
            let spans = Spans::new(&ranges);
            let edges = ranges.iter().flat_map(|(first, last, _)| {
                [*first, *last, first.saturating_sub(1), last.saturating_add(1)]
            });
            for number in probes.into_iter().chain(edges).chain([0, u16::MAX]) {
                let found = spans.find(number).copied().unwrap_or_default();
                for rule in 0..70 {
                    let expected = ranges.iter().any(|(first, last, of)| *of == rule && (*first..=*last).contains(&number));
                    prop_assert_eq!(found.contains(rule), expected, "{} in rule {}", number, rule);
                }
            }
        }
    }

    #[test]
    fn addresses_of_both_families() {
        let networks = [("10.0.0.0/8", 0), ("10.1.0.0/16", 1), ("2001:db8::/32", 2), ("::/0", 3), ("0.0.0.0/0", 4)];
        let networks: Vec<_> = networks.iter().map(|(text, rule)| (text.parse().unwrap(), *rule)).collect();
        let addresses = Addresses::new(&networks);
        let found = |ip: &str| {
            let bits = addresses.find(ip.parse().unwrap()).copied().unwrap_or_default();
            (0..5).filter(|rule| bits.contains(*rule)).collect::<Vec<_>>()
        };
        assert_eq!(found("10.1.2.3"), [0, 1, 4]);
        assert_eq!(found("10.2.2.3"), [0, 4]);
        assert_eq!(found("::ffff:10.1.2.3"), [0, 1, 4]);
        assert_eq!(found("2001:db8::7"), [2, 3]);
        assert_eq!(found("2001:db9::7"), [3]);
        assert_eq!(found("255.255.255.255"), [4]);
        assert!(Addresses::new(&[]).find("::".parse().unwrap()).is_none());
    }
}
