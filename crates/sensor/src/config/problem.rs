//! What is wrong with a configuration: every problem with its place, what was found there and what is allowed.

use std::fmt;

use super::LogFormat;
use super::place::Place;
use super::secret::{self, Unsaid};
use super::tree::{self, Node, Table};

/// The most problems that are kept; more are counted. A file of nothing but faults must not cost memory without end.
const MOST_KEPT: usize = 200;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// The setting, as `section.key`; empty where the fault is not of one setting.
    pub key: String,
    /// What stands there. Never a secret.
    pub found: String,
    /// What may stand there, or what to do.
    pub advice: String,
    /// Whether it is that something is missing: no fault of its own where the file could not be read whole.
    pub(super) is_absence: bool,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", secret::word(&self.key))?;
        }
        write!(f, "{}; {}", self.found, self.advice)
    }
}

/// What speaks against a configuration each of whose values is allowed: it cannot be used for what it is to be used for, on
/// this machine or at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// The setting to change, as in `upload.batch.records` or `capture[0].filter`; or a section.
    pub key: String,
    /// What is wrong; `None`: the value that stands there, or that none does.
    pub found: Option<String>,
    /// What to do.
    pub advice: String,
    /// The settings that it goes by, each with what is below it. Where one of them has a problem of its own, nothing can be
    /// said of the rest.
    pub by: &'static [&'static str],
}

impl Misfit {
    /// Whether one of the settings that it goes by is, or is above or below, the one of this problem.
    fn follows_from(&self, problem: &Problem) -> bool {
        let is_within = |one: &str, other: &str| {
            one.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        self.by.iter().any(|key| is_within(&problem.key, key) || is_within(key, &problem.key))
    }
}

/// Problems as they are found.
#[derive(Debug, Default)]
pub(super) struct Problems {
    found: Vec<Problem>,
    beyond: usize,
    unsaid: Unsaid,
}

impl Problems {
    /// Nothing that is said may quote this text, which may be a secret.
    pub(super) fn keep_unsaid(&mut self, text: &str) {
        self.unsaid.add(text);
    }

    /// What else is said of the configuration, without secrets.
    pub(super) fn clean(&self, notes: &mut [String]) {
        notes.iter_mut().for_each(|note| self.unsaid.strike_from(note));
    }

    pub(super) fn add(&mut self, problem: Problem) {
        if self.found.len() < MOST_KEPT {
            self.found.push(problem);
        } else {
            self.beyond += 1;
        }
    }

    /// A value that may not stand there.
    pub(super) fn value(&mut self, node: &Node, key: &str, advice: impl Into<String>) {
        if let Some(text) = node.as_str().filter(|text| secret::may_be_in(text)) {
            self.keep_unsaid(text);
        }
        self.at(&node.place, key, format!("found {}", node.shown()), advice);
    }

    /// A value where a section's keys are to stand. A text may be all that belongs there, secrets included.
    pub(super) fn no_table(&mut self, node: &Node, key: &str, advice: impl Into<String>) {
        match node.as_str() {
            Some(_) => self.unshown(node, key, advice),
            None => self.value(node, key, advice),
        }
    }

    /// A value that may not stand there and may be a secret, whatever it looks like.
    pub(super) fn unshown(&mut self, node: &Node, key: &str, advice: impl Into<String>) {
        self.at(&node.place, key, format!("found {}", node.hidden()), advice);
    }

    /// Anything else.
    pub(super) fn at(&mut self, place: &Place, key: &str, found: impl Into<String>, advice: impl Into<String>) {
        self.add(Problem {
            place: place.clone(),
            key: key.to_owned(),
            found: found.into(),
            advice: advice.into(),
            is_absence: false,
        });
    }

    /// Something has to be there and is not.
    pub(super) fn absence(&mut self, place: &Place, key: &str, found: impl Into<String>, advice: impl Into<String>) {
        self.add(Problem {
            place: place.clone(),
            key: key.to_owned(),
            found: found.into(),
            advice: advice.into(),
            is_absence: true,
        });
    }

    /// What a [`Misfit`] says, unless it follows from one of the first `known` problems, or one of them is at its place.
    pub(super) fn misfit(&mut self, misfit: Misfit, known: usize, table: &Table, start: &Place) {
        let (node, place) = tree::find(table, &misfit.key);
        let place = place.unwrap_or(start);
        let known = self.found.get(..known).unwrap_or(&self.found);
        if known.iter().any(|problem| misfit.follows_from(problem) || node.is_some() && problem.place == *place) {
            return;
        }
        let Misfit { key, mut found, mut advice, .. } = misfit;
        // Whoever found it may have quoted the text, in whole or in part.
        if let Some(text) = node.and_then(Node::as_str) {
            found =
                found.map(|found| secret::discreet(text, &found, || format!("found a text {}", secret::hidden(text))));
            advice = secret::discreet(text, &advice, || "see docs/configuration.md".to_owned());
        }
        match (found, node) {
            (Some(found), _) => self.at(place, &key, found, advice),
            (None, Some(node)) => self.value(node, &key, advice),
            (None, None) => self.absence(place, &key, "nothing is set", advice),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.found.len() >= MOST_KEPT
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// How many there are, also of those that are not kept.
    pub(super) fn count(&self) -> usize {
        self.found.len() + self.beyond
    }

    /// How many are kept.
    pub(super) fn len(&self) -> usize {
        self.found.len()
    }

    /// Keeps what the predicate allows, of those found after the first `from`.
    pub(super) fn retain_from(&mut self, from: usize, keep: impl Fn(&Problem) -> bool) {
        let later: Vec<_> = self.found.drain(from.min(self.found.len())..).filter(keep).collect();
        self.found.extend(later);
    }

    /// The error of them all; `log` is how it is to be told, as far as that was understood.
    pub(super) fn into_error(mut self, log: LogFormat) -> ConfigError {
        for problem in &mut self.found {
            for said in [&mut problem.key, &mut problem.found, &mut problem.advice] {
                self.unsaid.strike_from(said);
            }
        }
        self.found.sort_by(|one, other| one.place.cmp(&other.place));
        self.found.dedup();
        ConfigError { problems: self.found, beyond: self.beyond, log }
    }
}

/// A configuration cannot be used: all that is wrong with it, in the order of the files and lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<Problem>,
    beyond: usize,
    log: LogFormat,
}

impl ConfigError {
    /// What the configuration says of the log's format, as far as it was understood.
    #[must_use]
    pub fn log_format(&self) -> LogFormat {
        self.log
    }

    /// All of them, at least one.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len() + self.beyond;
        match count {
            1 => f.write_str("the configuration has a problem")?,
            _ => write!(f, "the configuration has {count} problems")?,
        }
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        if self.beyond > 0 {
            write!(f, "\n  and {} more", self.beyond)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
