//! What became of transactions, by rule: the filters' part of the ledger.

use super::rules::Rules;
use super::verdict::{Cause, Decision, RuleIndex};

/// The name under which transactions are counted that no include rule matched.
pub const NO_INCLUDE_RULE: &str = "no_include_rule";

/// What one worker's transactions became. Plain numbers, to be added up over workers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Recorded because no rule said otherwise.
    pub recorded_by_default: u64,
    /// Filtered because no include rule matched.
    pub no_include_rule: u64,
    by_rule: Vec<RuleCounts>,
}

/// What a rule decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleCounts {
    /// Recorded by it.
    pub recorded: u64,
    /// Filtered by it.
    pub filtered: u64,
    /// Let through by it and left out by its sampling.
    pub sampled_out: u64,
}

impl Counts {
    /// Zeros.
    #[must_use]
    pub fn new(rules: &Rules) -> Self {
        Self { by_rule: vec![RuleCounts::default(); rules.len()], ..Self::default() }
    }

    /// Counts what became of a transaction.
    pub fn count(&mut self, decision: Decision) {
        match decision {
            Decision::Record { rule: None, .. } => self.recorded_by_default += 1,
            Decision::Record { rule: Some(rule), .. } => self.of(rule).recorded += 1,
            Decision::Filtered(Cause::Rule(rule)) => self.of(rule).filtered += 1,
            Decision::Filtered(Cause::NoIncludeRule) => self.no_include_rule += 1,
            Decision::SampledOut(rule) => self.of(rule).sampled_out += 1,
        }
    }

    /// Adds what another worker counted.
    pub fn add(&mut self, other: &Self) {
        self.recorded_by_default += other.recorded_by_default;
        self.no_include_rule += other.no_include_rule;
        if self.by_rule.len() < other.by_rule.len() {
            self.by_rule.resize(other.by_rule.len(), RuleCounts::default());
        }
        for (mine, theirs) in self.by_rule.iter_mut().zip(&other.by_rule) {
            mine.recorded += theirs.recorded;
            mine.filtered += theirs.filtered;
            mine.sampled_out += theirs.sampled_out;
        }
    }

    /// What a rule decided.
    #[must_use]
    pub fn rule(&self, rule: RuleIndex) -> RuleCounts {
        self.by_rule.get(rule.place()).copied().unwrap_or_default()
    }

    /// Transactions recorded.
    #[must_use]
    pub fn recorded(&self) -> u64 {
        self.recorded_by_default + self.by_rule.iter().map(|counts| counts.recorded).sum::<u64>()
    }

    /// Transactions filtered.
    #[must_use]
    pub fn filtered(&self) -> u64 {
        self.no_include_rule + self.by_rule.iter().map(|counts| counts.filtered).sum::<u64>()
    }

    /// Transactions left out by sampling.
    #[must_use]
    pub fn sampled_out(&self) -> u64 {
        self.by_rule.iter().map(|counts| counts.sampled_out).sum()
    }

    /// The filtered ones by the name of what filtered them, zero or not: every rule that may filter, in the order of the
    /// configuration, and [`NO_INCLUDE_RULE`].
    pub fn filtered_by<'a>(&'a self, rules: &'a Rules) -> impl Iterator<Item = (&'a str, u64)> {
        let filtering = rules.iter().filter(|rule| !rules.kind(*rule).records());
        filtering
            .map(|rule| (rules.name(rule), self.rule(rule).filtered))
            .chain(core::iter::once((NO_INCLUDE_RULE, self.no_include_rule)))
    }

    /// The ones left out by sampling, by the name of the rule: every rule that samples, zero or not.
    pub fn sampled_out_by<'a>(&'a self, rules: &'a Rules) -> impl Iterator<Item = (&'a str, u64)> {
        let sampling = rules.iter().filter(|rule| rules.samples(*rule));
        sampling.map(|rule| (rules.name(rule), self.rule(rule).sampled_out))
    }

    fn of(&mut self, rule: RuleIndex) -> &mut RuleCounts {
        let place = rule.place();
        if self.by_rule.len() <= place {
            self.by_rule.resize(place + 1, RuleCounts::default());
        }
        &mut self.by_rule[place]
    }
}
