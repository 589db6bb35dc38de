//! The names seen most often, in fixed space.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;

/// Names kept in a list: enough that a capture with hundreds of hosts is counted exactly.
const SETS: usize = 64;
const WAYS: usize = 16;
/// Bytes of a name that are kept. Longer ones are told apart by their first [`HASHED`] bytes and shown cut.
const KEPT: usize = 80;
const HASHED: usize = 255;

/// Counts names in constant memory, without allocating per name (space-saving, Metwally et al. 2005, in sets of 16).
///
/// A count is exact until a set is full of names; then the rarest name of the set makes room and the newcomer takes over
/// its count, so a count may be too high by [`Counted::surplus`] and never too low. Names are compared in lower case.
#[derive(Clone, Debug, Default)]
pub struct TopList {
    /// Parallel arrays of `SETS * WAYS`, empty until the first name: a look-up touches hashes only.
    hashes: Vec<u64>,
    counts: Vec<u64>,
    surplus: Vec<u64>,
    names: Vec<Name>,
    is_exact: Exactness,
    /// The name counted last, as it came, and its place: names come in runs. No name while it is empty.
    latest: Vec<u8>,
    latest_place: usize,
}

/// One name of a [`TopList`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The name, with everything that is not printable ASCII replaced: it comes from the wire and goes to a terminal.
    pub name: String,
    /// How often it was seen, at most.
    pub count: u64,
    /// By how much `count` may be too high.
    pub surplus: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Exactness {
    #[default]
    Exact,
    Estimated,
}

#[derive(Clone, Copy, Debug)]
struct Name {
    len: u8,
    bytes: [u8; KEPT],
}

impl TopList {
    /// Counts one sighting of `name`. Empty names are not counted.
    pub fn add(&mut self, name: &[u8]) {
        if name.is_empty() {
            return;
        }
        if name == self.latest {
            // Still there: only another name could have displaced it, and none came since.
            self.counts[self.latest_place] += 1;
            return;
        }
        let mut lower = [0; HASHED];
        let len = name.len().min(HASHED);
        lower[..len].copy_from_slice(&name[..len]);
        lower[..len].make_ascii_lowercase();
        let lower = &lower[..len];
        // The low bit marks a place as taken.
        let hash = FixedState::default().hash_one(lower) | 1;
        self.latest_place = self.add_hashed(lower, hash, 1, 0);
        self.latest.clear();
        // Longer ones are not compared as a whole, so they are looked up each time.
        if name.len() <= HASHED {
            self.latest.extend_from_slice(name);
        }
    }

    /// Adds the counts of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.latest.clear();
        for place in 0..other.hashes.len() {
            if other.hashes[place] != 0 {
                let name = other.names[place];
                self.add_hashed(
                    &name.bytes[..usize::from(name.len)],
                    other.hashes[place],
                    other.counts[place],
                    other.surplus[place],
                );
            }
        }
        if other.is_exact == Exactness::Estimated {
            self.is_exact = Exactness::Estimated;
        }
    }

    /// The `n` names seen most often, the most frequent first; equal counts in the order of their names.
    #[must_use]
    pub fn top(&self, n: usize) -> Vec<Counted> {
        let mut places: Vec<usize> = (0..self.hashes.len()).filter(|place| self.hashes[*place] != 0).collect();
        let name = |place: usize| &self.names[place].bytes[..usize::from(self.names[place].len)];
        places.sort_by(|a, b| self.counts[*b].cmp(&self.counts[*a]).then_with(|| name(*a).cmp(name(*b))));
        places.truncate(n);
        places
            .into_iter()
            .map(|place| Counted {
                name: printable(name(place)),
                count: self.counts[place],
                surplus: self.surplus[place],
            })
            .collect()
    }

    /// How many names are in the list: all of them, when [`TopList::is_exact`].
    #[must_use]
    pub fn len(&self) -> usize {
        self.hashes.iter().filter(|hash| **hash != 0).count()
    }

    /// Whether no name was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Whether no name ever had to make room.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.is_exact == Exactness::Exact
    }

    fn add_hashed(&mut self, name: &[u8], hash: u64, count: u64, surplus: u64) -> usize {
        if self.hashes.is_empty() {
            self.hashes = vec![0; SETS * WAYS];
            self.counts = vec![0; SETS * WAYS];
            self.surplus = vec![0; SETS * WAYS];
            self.names = vec![Name { len: 0, bytes: [0; KEPT] }; SETS * WAYS];
        }
        let first = (hash >> 1) as usize % SETS * WAYS;
        let set = first..first + WAYS;
        let found = self.hashes[set.clone()].iter().position(|known| *known == hash || *known == 0);
        let place = match found {
            Some(way) => first + way,
            None => set.min_by_key(|place| self.counts[*place]).unwrap_or(first),
        };
        if self.hashes[place] != hash {
            if self.hashes[place] != 0 {
                self.is_exact = Exactness::Estimated;
            }
            // A newcomer takes over the count of the one it displaces: it may have been seen as often before.
            self.surplus[place] = self.counts[place];
            self.hashes[place] = hash;
            let len = name.len().min(KEPT);
            self.names[place].len = u8::try_from(len).unwrap_or(u8::MAX);
            self.names[place].bytes[..len].copy_from_slice(&name[..len]);
        }
        self.counts[place] += count;
        self.surplus[place] += surplus;
        place
    }
}

/// What of `bytes` may be shown on a terminal: other bytes could move its cursor or worse.
fn printable(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| if (0x21..0x7f).contains(byte) { char::from(*byte) } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_exactly_while_names_fit() {
        let mut list = TopList::default();
        for n in 0..200_u32 {
            for _ in 0..=n {
                list.add(format!("Host{n}.example").as_bytes());
            }
        }
        assert!(list.is_exact());
        assert_eq!(list.len(), 200);
        let top = list.top(3);
        assert_eq!(top[0], Counted { name: "host199.example".into(), count: 200, surplus: 0 });
        assert_eq!(top[2].count, 198);
    }

    #[test]
    fn a_frequent_name_survives_a_flood_of_rare_ones() {
        let mut list = TopList::default();
        for n in 0..100_000_u32 {
            list.add(&n.to_be_bytes());
            if n % 100 == 0 {
                list.add(b"api.example.com");
            }
        }
        assert!(!list.is_exact());
        assert!(list.len() <= SETS * WAYS);
        let top = list.top(1);
        assert_eq!(top[0].name, "api.example.com");
        // Never too low, and too high by no more than it says.
        assert!(top[0].count >= 1_000 && top[0].count - top[0].surplus <= 1_000, "{top:?}");
    }

    #[test]
    fn merging_equals_counting_together() {
        let (mut one, mut two, mut both) = (TopList::default(), TopList::default(), TopList::default());
        for n in 0..300_u32 {
            let name = format!("h{}", n % 37);
            if n % 2 == 0 {
                one.add(name.as_bytes())
            } else {
                two.add(name.as_bytes())
            }
            both.add(name.as_bytes());
        }
        one.merge(&two);
        assert_eq!(one.top(50), both.top(50));
    }

    #[test]
    fn names_are_harmless_on_a_terminal() {
        let mut list = TopList::default();
        list.add(b"\x1b[2Jevil\x07\xff");
        list.add(b"");
        list.add(&[b'x'; 10_000]);
        let names: Vec<_> = list.top(9).into_iter().map(|counted| counted.name).collect();
        assert_eq!(names, ["?[2jevil??".to_owned(), "x".repeat(KEPT)]);
    }
}
