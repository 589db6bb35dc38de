//! What is wrong with a configuration: every problem with its place, what was found there and what is allowed.

use std::fmt;

use super::place::Place;
use super::tree::{Node, shortened};

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
            write!(f, "{}: ", shortened_key(&self.key))?;
        }
        write!(f, "{}; {}", self.found, self.advice)
    }
}

/// A key as it can be shown: the names of sections are ours, the rest is the writer's and may be anything.
fn shortened_key(key: &str) -> String {
    shortened(key)
}

/// Problems as they are found.
#[derive(Debug, Default)]
pub(super) struct Problems {
    found: Vec<Problem>,
    beyond: usize,
}

impl Problems {
    pub(super) fn add(&mut self, problem: Problem) {
        if self.found.len() < MOST_KEPT {
            self.found.push(problem);
        } else {
            self.beyond += 1;
        }
    }

    /// A value that may not stand there.
    pub(super) fn value(&mut self, node: &Node, key: &str, advice: impl Into<String>) {
        self.at(&node.place, key, format!("found {}", node.shown()), advice);
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

    pub(super) fn into_error(mut self) -> ConfigError {
        self.found.sort_by(|one, other| one.place.cmp(&other.place));
        self.found.dedup();
        ConfigError { problems: self.found, beyond: self.beyond }
    }
}

/// A configuration cannot be used: all that is wrong with it, in the order of the files and lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<Problem>,
    beyond: usize,
}

impl ConfigError {
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
