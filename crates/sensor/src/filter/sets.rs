//! Sets of rules, as bits.

use std::collections::HashMap;

/// The most rules, those of built-in sets included; and the most conditions on headers.
pub const MAX_RULES: usize = 512;

const WORDS: usize = MAX_RULES / 64;

/// A set of numbers below [`MAX_RULES`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Bits([u64; WORDS]);

impl Bits {
    pub(super) const NONE: Self = Self([0; WORDS]);

    /// The numbers below `end`.
    pub(super) fn below(end: usize) -> Self {
        let mut bits = Self::NONE;
        for number in 0..end.min(MAX_RULES) {
            bits.insert(number);
        }
        bits
    }

    pub(super) fn insert(&mut self, number: usize) {
        if let Some(word) = self.0.get_mut(number / 64) {
            *word |= 1 << (number % 64);
        }
    }

    pub(super) fn remove(&mut self, number: usize) {
        if let Some(word) = self.0.get_mut(number / 64) {
            *word &= !(1 << (number % 64));
        }
    }

    pub(super) fn contains(&self, number: usize) -> bool {
        self.0.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// The lowest number in it.
    #[inline]
    pub(super) fn first(&self) -> Option<usize> {
        let (place, word) = self.0.iter().enumerate().find(|(_, word)| **word != 0)?;
        Some(place * 64 + word.trailing_zeros() as usize)
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().fold(0, |all, word| all | word) == 0
    }

    /// Whether the two have a number in common.
    #[inline]
    pub(super) fn meets(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).fold(0, |all, (one, two)| all | (one & two)) != 0
    }

    #[inline]
    pub(super) fn and(mut self, other: &Self) -> Self {
        self.0.iter_mut().zip(&other.0).for_each(|(one, two)| *one &= two);
        self
    }

    #[inline]
    pub(super) fn minus(mut self, other: &Self) -> Self {
        self.0.iter_mut().zip(&other.0).for_each(|(one, two)| *one &= !two);
        self
    }

    #[inline]
    pub(super) fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(one, two)| *one |= two);
    }

    #[inline]
    pub(super) fn holds(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).fold(0, |all, (one, two)| all | (two & !one)) == 0
    }
}

/// Equal sets kept once.
#[derive(Debug, Default)]
pub(super) struct Interned {
    sets: Vec<Bits>,
    places: HashMap<Bits, u32>,
}

impl Interned {
    /// The place of a set among those kept.
    pub(super) fn place(&mut self, bits: &Bits) -> u32 {
        let next = u32::try_from(self.sets.len()).unwrap_or(u32::MAX);
        *self.places.entry(*bits).or_insert_with(|| {
            self.sets.push(*bits);
            next
        })
    }

    /// The sets, each at its place.
    pub(super) fn into_sets(self) -> Vec<Bits> {
        self.sets
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn bits(numbers: &BTreeSet<usize>) -> Bits {
        let mut bits = Bits::NONE;
        numbers.iter().for_each(|number| bits.insert(*number));
        bits
    }

    proptest! {
        #[test]
        fn bits_are_a_set(
            one in prop::collection::btree_set(0..MAX_RULES, 0..20),
            two in prop::collection::btree_set(0..MAX_RULES, 0..20),
        ) {
            let (first, second) = (bits(&one), bits(&two));
            prop_assert_eq!(first.first(), one.first().copied());
            prop_assert_eq!(first.is_empty(), one.is_empty());
            prop_assert_eq!(first.meets(&second), !one.is_disjoint(&two));
            prop_assert_eq!(first.holds(&second), one.is_superset(&two));
            prop_assert_eq!(first.and(&second), bits(&one.intersection(&two).copied().collect()));
            prop_assert_eq!(first.minus(&second), bits(&one.difference(&two).copied().collect()));
            let mut union = first;
            union.add(&second);
            prop_assert_eq!(union, bits(&one.union(&two).copied().collect()));
            for number in 0..MAX_RULES {
                prop_assert_eq!(first.contains(number), one.contains(&number));
            }
        }
    }

    #[test]
    fn numbers_beyond_the_end_are_in_no_set() {
        let mut bits = Bits::below(MAX_RULES + 1);
        bits.insert(MAX_RULES);
        assert!(!bits.contains(MAX_RULES) && bits.contains(MAX_RULES - 1));
        assert_eq!(Bits::below(0), Bits::NONE);
    }
}
