//! Interfaces by a pattern, as they come and go.
//!
//! A `[[capture]]` section with a pattern has so many capture threads as interfaces matched at the start, and some more
//! (`spare`). None of them belongs to an interface: each takes one that is up, matches and is nobody's, and gives it back
//! when that is gone.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::links::{Link, links};

/// What the threads of one section share.
#[derive(Debug)]
pub struct Pattern {
    glob: String,
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
}

impl Pattern {
    /// For all interfaces that match `glob`, in which `*` is any run of characters and `?` is one.
    #[must_use]
    pub fn new(glob: &str, prefix: Option<&str>) -> Self {
        Self { glob: glob.to_owned(), prefix: prefix.map(str::to_owned), shares: Mutex::default() }
    }

    /// Whether `name` holds what makes it a pattern.
    #[must_use]
    pub fn is_one(name: &str) -> bool {
        name.contains(['*', '?'])
    }

    /// Whether an interface of this name is meant. `any` is none.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        name != "any" && matches(&self.glob, name)
    }

    /// The pattern itself.
    #[must_use]
    pub fn glob(&self) -> &str {
        &self.glob
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
        let index = links().into_iter().find(|link| link.name == name).map(|link| link.index);
        self.shares().taken.insert(name.to_owned(), index);
    }

    /// Takes an interface that is up and nobody's: the one called `last` if there is one.
    pub(super) fn claim(&self, last: Option<&str>) -> Option<String> {
        self.claim_of(links(), last)
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

/// Whether `name` matches a pattern of `*` and `?`. Steps back to the last star only: never worse than quadratic.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(byte) if *byte == b'?' || *byte == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    n = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::super::links::Hardware;
    use super::*;

    fn link(name: &str, index: u32, is_up: bool) -> Link {
        Link { name: name.to_owned(), index, hardware: Hardware::ETHERNET, is_up }
    }

    #[test]
    fn an_interface_is_taken_once_and_can_be_taken_again_when_given_back() {
        let pattern = Pattern::new("eth*", Some("tap"));
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
        let pattern = Pattern::new("tun*", None);
        assert!(pattern.claim_of(vec![link("tun0", 7, true)], None).is_some());
        pattern.refuse("tun0");
        assert!(pattern.claim_of(vec![link("tun0", 7, true)], None).is_none());
        assert!(pattern.claim_of(vec![link("tun0", 8, true)], None).is_some());
        assert!(pattern.shares().refused.is_empty());
    }

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, name, expected) in [
            ("eth*", "eth0", true),
            ("*", "x", true),
            ("*", "any", false),
            ("e?h*1", "eth01", true),
            ("e?h", "eth0", false),
            ("a*b", "ac", false),
        ] {
            assert_eq!(Pattern::new(pattern, None).matches(name), expected, "{pattern} {name}");
        }
    }
}
