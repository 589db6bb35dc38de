//! What the names of headers say of their values, kept by name: a transaction has a dozen headers, and they are the same ones
//! again and again.

use crate::header::Class;
use crate::policy::Policy;

/// Names that are kept, in sets of two.
const CLASSES: usize = 256;
const WAYS: u8 = 2;
/// Longer names are looked up each time.
const MAX_NAME: usize = 48;
/// Bytes of a name that its key holds.
const KEY_BYTES: usize = 32;
/// A length that no name has.
const NO_KEY: u64 = u64::MAX;

/// What the name of a header says of its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderKind {
    /// Nothing of it is masked, unless it is of several lines ([`Masker::plain_header`](crate::Masker::plain_header)).
    Plain,
    /// It is looked through.
    Text,
    /// It is a secret, or made of some: what becomes of it is worth keeping, as clients send the same one again and again.
    Secret,
}

/// Where what a name says is kept.
pub(crate) type Place = u8;

/// What is known of the latest names.
pub(crate) struct Classes {
    slots: Box<[Slot; CLASSES]>,
    /// Where the field before is known.
    last: Place,
}

/// What is known of a name.
pub(crate) struct Slot {
    key: NameKey,
    kind: HeaderKind,
    /// Where the name is known that came behind this one the last time.
    next: Place,
    pub(crate) class: Class,
    /// What is between the ends that the key holds.
    middle: [u8; MAX_NAME - KEY_BYTES],
    /// The latest value of this header in which nothing was found: clients send the same ones again and again.
    pub(crate) clean: Vec<u8>,
}

impl Classes {
    pub(crate) fn new() -> Self {
        let slots: Vec<_> = (0..CLASSES).map(|_| Slot::empty()).collect();
        #[expect(clippy::expect_used, reason = "it was made of this length")]
        let slots = slots.try_into().ok().expect("as long as it was made");
        Self { slots, last: 0 }
    }

    /// [`Classes::look_up`] of names that come one behind the other, mostly in the order in which they came before: clients and
    /// servers have their own, and keep it.
    #[inline(always)]
    pub(crate) fn look_up_next(&mut self, policy: &Policy, name: &[u8]) -> (HeaderKind, Option<Place>) {
        let next = self.at(self.last).next;
        let slot = self.at(next);
        if slot.is_of(name) {
            let kind = slot.kind;
            self.last = next;
            return (kind, Some(next));
        }
        self.look_up_other(policy, name)
    }

    /// One that is another than the last time.
    #[inline(never)]
    fn look_up_other(&mut self, policy: &Policy, name: &[u8]) -> (HeaderKind, Option<Place>) {
        let (kind, place) = self.look_up(policy, name);
        if let Some(place) = place {
            let last = self.last;
            self.at(last).next = place;
            self.last = place;
        }
        (kind, place)
    }

    /// What a name says of its value, and where that is kept: nowhere, if it is too long.
    #[inline(always)]
    pub(crate) fn look_up(&mut self, policy: &Policy, name: &[u8]) -> (HeaderKind, Option<Place>) {
        let key = NameKey::of(name);
        let first = key.set();
        for place in [first, first | 1] {
            let slot = &self.slots[usize::from(place)];
            if slot.is(key, name) {
                return (slot.kind, Some(place));
            }
        }
        self.learn(policy, name, key)
    }

    /// What is known of the name whose place [`Classes::look_up`] gave.
    pub(crate) fn at(&mut self, place: Place) -> &mut Slot {
        &mut self.slots[usize::from(place)]
    }

    /// The first of a set that came stays; there is a place for all others.
    #[cold]
    fn learn(&mut self, policy: &Policy, name: &[u8], key: NameKey) -> (HeaderKind, Option<Place>) {
        let class = Class::of(policy, name);
        let kind = HeaderKind::of(class);
        if name.is_empty() || name.len() > MAX_NAME {
            return (kind, None);
        }
        let first = key.set();
        let place = if self.at(first).key.len == NO_KEY { first } else { first | 1 };
        let slot = self.at(place);
        (slot.key, slot.kind, slot.class) = (key, kind, class);
        let middle = middle(name);
        slot.middle[..middle.len()].copy_from_slice(middle);
        slot.clean.clear();
        (kind, Some(place))
    }
}

impl HeaderKind {
    const fn of(class: Class) -> Self {
        match class {
            Class::Skipped => Self::Plain,
            Class::Text | Class::Ssn | Class::Url | Class::Authority(_) | Class::Challenge(_) | Class::Protocols(_) => {
                Self::Text
            }
            Class::Secret(_) | Class::Scheme(_) | Class::Cookies(_) | Class::SetCookie(_) => Self::Secret,
        }
    }
}

impl Slot {
    const fn empty() -> Self {
        Self {
            key: NameKey { words: [0; 4], len: NO_KEY },
            kind: HeaderKind::Plain,
            next: 0,
            class: Class::Skipped,
            middle: [0; MAX_NAME - KEY_BYTES],
            clean: Vec::new(),
        }
    }

    /// Whether it is of this name, by the two words that all of most names are in.
    #[inline(always)]
    fn is_of(&self, name: &[u8]) -> bool {
        let NameKey { words: [first, _, _, last], len } = self.key;
        if len != name.len() as u64 {
            return false;
        }
        match (name.first_chunk(), name.last_chunk()) {
            (Some(start), Some(end)) => {
                let differs = (u64::from_le_bytes(*start) ^ first) | (u64::from_le_bytes(*end) ^ last);
                differs == 0 && (name.len() <= KEY_BYTES / 2 || self.is(NameKey::of(name), name))
            }
            _ => self.is(NameKey::of(name), name),
        }
    }

    #[inline(always)]
    fn is(&self, key: NameKey, name: &[u8]) -> bool {
        self.key.is(key) && (name.len() <= KEY_BYTES || self.middle.get(..name.len() - KEY_BYTES) == Some(middle(name)))
    }
}

/// What of a name is between the ends that its key holds.
#[inline(always)]
fn middle(name: &[u8]) -> &[u8] {
    name.get(KEY_BYTES / 2..name.len().saturating_sub(KEY_BYTES / 2)).unwrap_or_default()
}

/// The ends of a name and its length: all there is to one of up to 32 bytes.
#[derive(Clone, Copy)]
struct NameKey {
    words: [u64; 4],
    /// [`NO_KEY`] for an empty slot.
    len: u64,
}

impl NameKey {
    #[inline(always)]
    fn of(name: &[u8]) -> Self {
        let words = match (name.first_chunk::<16>(), name.last_chunk::<16>()) {
            (Some(first), Some(last)) => {
                let (first, last) = (u128::from_le_bytes(*first), u128::from_le_bytes(*last));
                [first as u64, (first >> 64) as u64, last as u64, (last >> 64) as u64]
            }
            _ => match (name.first_chunk::<8>(), name.last_chunk::<8>()) {
                (Some(first), Some(last)) => [u64::from_le_bytes(*first), 0, 0, u64::from_le_bytes(*last)],
                _ => match (name.first_chunk::<4>(), name.last_chunk::<4>()) {
                    (Some(first), Some(last)) => {
                        [u32::from_le_bytes(*first).into(), 0, 0, u32::from_le_bytes(*last).into()]
                    }
                    _ => [name.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)), 0, 0, 0],
                },
            },
        };
        Self { words, len: name.len() as u64 }
    }

    /// The first place of the set that it belongs to.
    #[inline(always)]
    const fn set(self) -> Place {
        let mix = self.words[0] ^ self.words[3].rotate_left(29) ^ self.len;
        (mix.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - Place::BITS)) as Place / WAYS * WAYS
    }

    /// Without a branch for each word: nearly always it is the name that is looked for.
    #[inline(always)]
    const fn is(self, other: Self) -> bool {
        let ([a, b, c, d], [e, f, g, h]) = (self.words, other.words);
        (self.len ^ other.len) | (a ^ e) | (b ^ f) | (c ^ g) | (d ^ h) == 0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::policy::Settings;

    /// Whatever names came before and share a place: each gets its own class.
    #[test]
    fn names_that_share_a_slot_are_told_apart() {
        let policy = Policy::new(&Settings { key: vec![7; 32], ..Settings::default() }).unwrap();
        let mut known = Classes::new();
        let mut names: Vec<String> =
            ["Cookie", "Host", "a", "Authorization", "X-Api-Key", "Accept"].map(String::from).into();
        for n in 0..400 {
            names.push(format!("x-{n}-token"));
            names.push(format!("x-of-a-longer-sort-{n}-{:01$}-token", 0, n % 40));
            names.push(format!("x-of-a-longer-sort-{n}-{:01$}-taken", 0, n % 40));
            names.push(format!("{n}"));
        }
        let mut classes = HashSet::new();
        for name in names.iter().chain(names.iter().rev()).chain(&names) {
            let (kind, place) = known.look_up(&policy, name.as_bytes());
            assert_eq!(known.look_up_next(&policy, name.as_bytes()), (kind, place), "{name}");
            let expected = Class::of(&policy, name.as_bytes());
            let class = place.map(|place| known.at(place).class);
            assert_eq!((kind, class.unwrap_or(expected)), (HeaderKind::of(expected), expected), "{name}");
            assert_eq!(place.is_none(), name.len() > MAX_NAME, "{name}");
            classes.insert(format!("{class:?}"));
        }
        assert!(classes.len() >= 5, "{classes:?}");
        for mut classes in [known, Classes::new()] {
            assert!(classes.look_up(&policy, b"").1.is_none());
        }
    }
}
