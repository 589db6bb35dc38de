//! What became of flows and transactions, by the name of the rule: what a worker counts for the ledger.
//!
//! Names, and not places, because a running sensor can be given other rules: what the earlier ones did stays counted.

use std::sync::Arc;

use super::counts::NO_INCLUDE_RULE;
use super::rules::Rules;
use super::verdict::Cause;

/// Where a rule's counts stand in an [`Outcomes`]: for good, whatever rules come later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot(u32);

/// What one rule did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The rule's name, or [`NO_INCLUDE_RULE`].
    pub name: Arc<str>,
    /// Whether it can filter: an ignore or exclude rule, or none at all.
    pub filters: bool,
    /// Whether it samples.
    pub samples: bool,
    /// Transactions that it filtered, but for those of the flows.
    pub exchanges: u64,
    /// Transactions that it let through and its sampling left out.
    pub sampled_out: u64,
    /// Flows of which nothing was read, because of it.
    pub flows: u64,
    /// The bytes of their streams, gaps included.
    pub flow_bytes: u64,
}

/// What each rule did. Added up over workers, and over the rules that were in force one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    each: Vec<Outcome>,
}

impl Outcomes {
    /// Takes in rules that come into force. Gives each one's slot, in their order, and behind them that of
    /// [`NO_INCLUDE_RULE`].
    #[must_use]
    pub fn admit(&mut self, rules: &Rules) -> Vec<Slot> {
        let mut slots = Vec::with_capacity(rules.len() + 1);
        for rule in rules.iter() {
            slots.push(self.slot(rules.name(rule), !rules.kind(rule).records(), rules.samples(rule)));
        }
        slots.push(self.slot(NO_INCLUDE_RULE, true, false));
        slots
    }

    /// What a rule did, to be added to.
    pub fn at(&mut self, slot: Slot) -> Option<&mut Outcome> {
        self.each.get_mut(slot.0 as usize)
    }

    /// What each rule did, in the order in which they came into force.
    #[must_use]
    pub fn each(&self) -> &[Outcome] {
        &self.each
    }

    /// Adds what another worker counted.
    pub fn add(&mut self, other: &Self) {
        for (place, theirs) in other.each.iter().enumerate() {
            // Workers get the same rules in the same order, so the place is the same but for the moment of a change.
            let place = match self.each.get(place) {
                Some(mine) if mine.name == theirs.name => place,
                _ => self.slot(&theirs.name, theirs.filters, theirs.samples).0 as usize,
            };
            if let Some(mine) = self.each.get_mut(place) {
                mine.filters |= theirs.filters;
                mine.samples |= theirs.samples;
                mine.exchanges += theirs.exchanges;
                mine.sampled_out += theirs.sampled_out;
                mine.flows += theirs.flows;
                mine.flow_bytes += theirs.flow_bytes;
            }
        }
    }

    /// The sum of a count over all rules.
    #[must_use]
    pub fn sum(&self, count: impl Fn(&Outcome) -> u64) -> u64 {
        self.each.iter().map(count).sum()
    }

    fn slot(&mut self, name: &str, filters: bool, samples: bool) -> Slot {
        let place = match self.each.iter().position(|outcome| &*outcome.name == name) {
            Some(place) => place,
            None => {
                self.each.push(Outcome {
                    name: name.into(),
                    filters: false,
                    samples: false,
                    exchanges: 0,
                    sampled_out: 0,
                    flows: 0,
                    flow_bytes: 0,
                });
                self.each.len() - 1
            }
        };
        if let Some(outcome) = self.each.get_mut(place) {
            outcome.filters |= filters;
            outcome.samples |= samples;
        }
        Slot(u32::try_from(place).unwrap_or(u32::MAX))
    }
}

impl Rules {
    /// The place of a cause among the slots that [`Outcomes::admit`] gave.
    pub(crate) fn place_of(&self, cause: Cause) -> usize {
        match cause {
            Cause::Rule(rule) => rule.place(),
            Cause::NoIncludeRule => self.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::{Conditions, Kind, RuleSettings, Settings};

    fn rules(names: &[&str]) -> Rules {
        let rule = |name: &&str| RuleSettings {
            name: (*name).to_owned(),
            kind: Kind::Exclude,
            conditions: Conditions::default(),
            sampling: None,
        };
        Rules::compile(&Settings { rules: names.iter().map(rule).collect(), ..Settings::default() }).unwrap()
    }

    #[test]
    fn counts_outlive_their_rules() {
        let mut outcomes = Outcomes::default();
        let first = outcomes.admit(&rules(&["a", "b"]));
        outcomes.at(first[0]).unwrap().exchanges += 1;
        outcomes.at(first[2]).unwrap().exchanges += 10;
        let second = outcomes.admit(&rules(&["c", "b"]));
        assert_eq!(second[1..], first[1..], "the same name is the same slot");
        outcomes.at(second[0]).unwrap().exchanges += 100;
        let found: Vec<_> = outcomes.each().iter().map(|it| (&*it.name, it.exchanges)).collect();
        assert_eq!(found, [("a", 1), ("b", 0), (NO_INCLUDE_RULE, 10), ("c", 100)]);
    }

    #[test]
    fn workers_add_up_by_name() {
        let (mut one, mut two) = (Outcomes::default(), Outcomes::default());
        let slots = one.admit(&rules(&["a"]));
        one.at(slots[0]).unwrap().flows = 1;
        // A worker that saw other rules first.
        let slots = two.admit(&rules(&["b", "a"]));
        two.at(slots[1]).unwrap().flows = 2;
        two.at(slots[0]).unwrap().sampled_out = 5;
        let mut sum = one.clone();
        sum.add(&two);
        let found: Vec<_> = sum.each().iter().map(|it| (&*it.name, it.flows, it.sampled_out)).collect();
        assert_eq!(found, [("a", 3, 0), (NO_INCLUDE_RULE, 0, 0), ("b", 0, 5)]);
        assert_eq!(sum.sum(|it| it.flows), 3);
    }
}
