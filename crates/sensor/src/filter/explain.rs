//! Which rule decided on a transaction, and why no other did.

use core::fmt;

use super::facts::Facts;
use super::rules::Rules;
use super::sets::Bits;
use super::verdict::{Attribute, Cause, RuleIndex, Stage, Verdict};

/// What a rule says of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Each of its conditions holds.
    Matches,
    /// This condition does not hold; the first of them, in the order of [`Attribute::ALL`].
    Fails(Attribute),
}

/// Which rule decides on a transaction, and what the others say. Sampling is not asked, so nothing is counted.
#[derive(Clone, Debug)]
pub struct Explanation<'a> {
    rules: &'a Rules,
    /// What the rules say together.
    pub verdict: Verdict,
    /// When that is certain.
    pub stage: Stage,
    /// What each rule says, in the order of the configuration. All facts are used, also those of later stages.
    pub judgements: Vec<(RuleIndex, Judgement)>,
}

impl Rules {
    /// Which rule decides on a transaction, and why.
    #[must_use]
    pub fn explain(&self, facts: &Facts<'_>) -> Explanation<'_> {
        let (verdict, stage) = self.staged(facts);
        let mut failing: Vec<(Bits, Attribute)> = Vec::new();
        for (attribute, asking) in Attribute::ALL.iter().zip(&self.asking) {
            let mut found = Bits::NONE;
            match attribute {
                Attribute::Client => {
                    let client = facts.flow.client.or_else(|| facts.request.map(|request| request.client));
                    if let Some(rules) = self.clients.find(client.unwrap_or(facts.flow.peer.ip)) {
                        found.add(rules);
                    }
                }
                _ => {
                    self.find_in_flow(*attribute, &facts.flow, &mut found);
                    if let Some(request) = &facts.request {
                        self.find_in_request(*attribute, request, &self.all, &mut found);
                    }
                    if let Some(response) = &facts.response {
                        self.find_in_response(*attribute, response, &self.all, &mut found);
                    }
                }
            }
            failing.push((asking.minus(&found), *attribute));
        }
        let mut judgements: Vec<_> = self
            .by_bit
            .iter()
            .enumerate()
            .map(|(bit, rule)| {
                let failed = failing.iter().find(|(rules, _)| rules.contains(bit));
                (*rule, failed.map_or(Judgement::Matches, |(_, attribute)| Judgement::Fails(*attribute)))
            })
            .collect();
        judgements.sort_unstable_by_key(|(rule, _)| *rule);
        Explanation { rules: self, verdict, stage, judgements }
    }
}

impl Explanation<'_> {
    /// The name of the rule that decides; `None`: none does, and the transaction is recorded.
    #[must_use]
    pub fn rule(&self) -> Option<&str> {
        match self.verdict {
            Verdict::Out(cause) => Some(self.rules.cause(cause)),
            Verdict::In(rule) => rule.map(|rule| self.rules.name(rule)),
        }
    }
}

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = |rule| format!("{} rule `{}`", self.rules.kind(rule).name(), self.rules.name(rule));
        match self.verdict {
            Verdict::Out(Cause::Rule(rule)) => write!(f, "filtered by {}", by(rule))?,
            Verdict::Out(Cause::NoIncludeRule) => f.write_str("filtered: no include rule matches")?,
            Verdict::In(Some(rule)) if self.rules.samples(rule) => write!(f, "recorded by {}, sampled", by(rule))?,
            Verdict::In(Some(rule)) => write!(f, "recorded by {}", by(rule))?,
            Verdict::In(None) => f.write_str("recorded: no rule matches")?,
        }
        write!(f, " (certain with the {})", self.stage.name())?;
        let decided = match self.verdict {
            Verdict::Out(Cause::Rule(rule)) | Verdict::In(Some(rule)) => Some(rule),
            _ => None,
        };
        let others = self
            .judgements
            .iter()
            .filter(|(rule, judgement)| *judgement == Judgement::Matches && Some(*rule) != decided);
        let others: Vec<_> = others.map(|(rule, _)| by(*rule)).collect();
        if others.is_empty() { Ok(()) } else { write!(f, "; {} would match, too", others.join(", ")) }
    }
}
