//! Interfaces by a pattern, as they come and go.
//!
//! A pattern is a glob as in filters: `*` is any run of characters, `?` is one, and `{a,b}` is one of several.
//!
//! A `[[capture]]` section with a pattern has so many capture threads as interfaces matched at the start, and some more
//! (`spare`). None of them belongs to an interface: each takes one that is up, matches and is nobody's, and gives it back
//! when that is gone.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::links::{Link, link_called, links};
use crate::filter::Glob;

/// What the threads of one section share.
#[derive(Debug)]
pub struct Pattern {
    glob: Glob,
    /// How the section's sources are called, before the interface's name.
    prefix: Option<String>,
    shares: Mutex<Shares>,
}

#[derive(Debug, Default)]
struct Shares {
    /// Interfaces that some thread has, with their number where it is known: one that is given another name stays its own.
    taken: BTreeMap<String, Option<u32>>,
    /// Interfaces that cannot be captured from. A later one of the name has another number.
    refused: Vec<u32>,
    /// How many there were at the start.
    expected: usize,
}

/// Why a thread has none of the interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absence {
    /// It never had one.
    OfNone,
    /// The one that it had is another thread's now.
    OfAnother,
    /// The one that it had was removed, as those of containers are all the time.
    Removed,
    /// The one that it had is there and down; or it was removed, and there are to be as many as at the start.
    Missed,
}

impl Pattern {
    /// For all interfaces that match `glob`.
    ///
    /// # Errors
    /// What is wrong with the glob.
    pub fn new(glob: &str, prefix: Option<&str>) -> Result<Self, String> {
        let bracket = glob.char_indices().find(|(at, c)| *c == '[' && !glob[..*at].ends_with('\\'));
        if bracket.is_some() {
            return Err(format!("`{glob}` has brackets, which mean nothing here: write eth{{0,1}} for eth[01]"));
        }
        let glob = Glob::new(glob)?;
        Ok(Self { glob, prefix: prefix.map(str::to_owned), shares: Mutex::default() })
    }

    /// Whether `name` holds what makes it a pattern, or what is meant for one.
    #[must_use]
    pub fn is_one(name: &str) -> bool {
        name.contains(['*', '?', '{', '}', '[', '\\'])
    }

    /// Whether an interface of this name is meant. `any` is none.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        name != "any" && self.glob.matches(name.as_bytes())
    }

    /// The pattern itself.
    #[must_use]
    pub fn glob(&self) -> &str {
        self.glob.text()
    }

    /// What the source is called that captures from `interface`.
    #[must_use]
    pub fn source_name(&self, interface: &str) -> String {
        match &self.prefix {
            Some(prefix) => format!("{prefix} {interface}"),
            None => interface.to_owned(),
        }
    }

    /// Takes an interface that is known to be nobody's, at the start.
    pub fn take(&self, name: &str) {
        // Without a number it is known by its name alone.
        let index = link_called(name).ok().flatten().map(|link| link.index);
        self.shares().taken.insert(name.to_owned(), index);
    }

    /// Whether a thread has an interface of this name.
    pub(super) fn is_taken(&self, name: &str) -> bool {
        self.shares().taken.contains_key(name)
    }

    /// Those that are taken are how many there are to be. Gives how many that is.
    pub(super) fn expect_these(&self) -> usize {
        let mut shares = self.shares();
        shares.expected = shares.taken.len();
        shares.expected
    }

    /// Takes an interface that is up and nobody's: the one called `last` if there is one.
    ///
    /// # Errors
    /// When nobody knows what interfaces there are.
    pub(super) fn claim(&self, last: Option<&str>) -> io::Result<Option<String>> {
        Ok(self.claim_of(links()?, last))
    }

    /// Why a thread that had `last` has none.
    ///
    /// # Errors
    /// As [`Pattern::claim`].
    pub(super) fn absence(&self, last: Option<&str>, is_required: bool) -> io::Result<Absence> {
        let Some(last) = last else { return Ok(Absence::OfNone) };
        let link = link_called(last)?;
        let shares = self.shares();
        Ok(match link {
            _ if shares.taken.contains_key(last) => Absence::OfAnother,
            Some(link) if !link.is_up => Absence::Missed,
            _ if is_required && shares.taken.len() < shares.expected => Absence::Missed,
            _ => Absence::Removed,
        })
    }

    /// An interface that a thread has is called otherwise now.
    pub(super) fn rename(&self, before: &str, now: &str) {
        let mut shares = self.shares();
        let index = shares.taken.remove(before).flatten();
        shares.taken.insert(now.to_owned(), index);
    }

    fn claim_of(&self, links: Vec<Link>, last: Option<&str>) -> Option<String> {
        let mut shares = self.shares();
        // Numbers are not used again, but the list must not grow for ever.
        shares.refused.retain(|index| links.iter().any(|link| link.index == *index));
        let is_free = |link: &&Link| {
            link.is_up
                && self.matches(&link.name)
                && !shares.taken.iter().any(|(name, index)| *name == link.name || *index == Some(link.index))
                && !shares.refused.contains(&link.index)
        };
        let mut free = links.iter().filter(is_free);
        let first = free.next()?;
        let chosen = match last {
            Some(last) if first.name != last => free.find(|link| link.name == last).unwrap_or(first),
            _ => first,
        };
        let (name, index) = (chosen.name.clone(), chosen.index);
        shares.taken.insert(name.clone(), Some(index));
        Some(name)
    }

    /// Gives an interface back.
    pub(super) fn release(&self, name: &str) {
        self.shares().taken.remove(name);
    }

    /// Gives one back that cannot be captured from: it is not to be tried again and again.
    pub(super) fn refuse(&self, name: &str) {
        let mut shares = self.shares();
        let index = shares.taken.remove(name).flatten();
        shares.refused.extend(index);
    }

    fn shares(&self) -> MutexGuard<'_, Shares> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::links::Hardware;
    use super::*;

    fn link(name: &str, index: u32, is_up: bool) -> Link {
        Link { name: name.to_owned(), index, hardware: Hardware::ETHERNET, is_up, is_loopback: false }
    }

    #[test]
    fn an_interface_is_taken_once_and_can_be_taken_again_when_given_back() {
        let pattern = Pattern::new("eth*", Some("tap")).unwrap();
        let now = || vec![link("lo", 1, true), link("eth0", 2, true), link("eth1", 3, true), link("eth2", 4, false)];
        assert_eq!(pattern.claim_of(now(), Some("eth1")).as_deref(), Some("eth1"), "the one it had");
        assert_eq!(pattern.claim_of(now(), Some("eth1")).as_deref(), Some("eth0"));
        assert_eq!(pattern.claim_of(now(), None), None, "one is down, one does not match");
        let renamed = vec![link("eth8", 2, true)];
        assert_eq!(pattern.claim_of(renamed, None), None, "it is captured from under the name before");
        pattern.release("eth1");
        assert_eq!(pattern.claim_of(now(), None).as_deref(), Some("eth1"));
        assert_eq!(pattern.source_name("eth1"), "tap eth1");
    }

    #[test]
    fn what_was_refused_is_not_tried_again_before_it_is_another() {
        let pattern = Pattern::new("tun*", None).unwrap();
        assert!(pattern.claim_of(vec![link("tun0", 7, true)], None).is_some());
        pattern.refuse("tun0");
        assert!(pattern.claim_of(vec![link("tun0", 7, true)], None).is_none());
        assert!(pattern.claim_of(vec![link("tun0", 8, true)], None).is_some());
        assert!(pattern.shares().refused.is_empty());
    }

    #[test]
    fn why_there_is_none_is_told() {
        let pattern = Pattern::new("{lo,gone*}", None).unwrap();
        let absence = |last, is_required| pattern.absence(last, is_required).unwrap();
        pattern.take("lo");
        pattern.take("gone1");
        assert_eq!(pattern.expect_these(), 2);
        assert_eq!(absence(None, true), Absence::OfNone);
        assert_eq!(absence(Some("lo"), true), Absence::OfAnother);
        pattern.release("gone1");
        assert_eq!((absence(Some("gone1"), false), absence(Some("gone1"), true)), (Absence::Removed, Absence::Missed));
        // Another thread has another one instead.
        pattern.take("gone2");
        assert_eq!(absence(Some("gone1"), true), Absence::Removed);
        pattern.rename("gone2", "gone3");
        assert_eq!(
            (absence(Some("gone3"), true), absence(Some("gone2"), true)),
            (Absence::OfAnother, Absence::Removed)
        );
    }

    #[test]
    fn patterns_match_as_those_of_filters() {
        for (pattern, name, expected) in [
            ("eth*", "eth0", true),
            ("*", "x", true),
            ("*", "any", false),
            ("e?h*1", "eth01", true),
            ("e?h", "eth0", false),
            ("a*b", "ac", false),
            ("eth{0,2}", "eth2", true),
            ("eth{0,2}", "eth1", false),
            ("ETH*", "eth1", false),
            ("eth\\[*", "eth[0]", true),
        ] {
            assert_eq!(Pattern::new(pattern, None).unwrap().matches(name), expected, "{pattern} {name}");
        }
        // As in a shell, where it is another thing.
        let refused = Pattern::new("eth[01]", None).unwrap_err();
        assert!(Pattern::is_one("eth[01]") && refused.contains("eth{0,1}"), "{refused}");
        assert!(Pattern::new("eth{0", None).is_err());
    }
}
