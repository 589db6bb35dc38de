//! Header values that came a moment ago: what was masked in them, and what is to be said of it.
//!
//! A client sends the same cookies and the same bearer token with each of its requests. What stands in their place, and the
//! entries of the record that tell of it, depend on the header alone: so both are kept, as they are written. Found by
//! content, never by hash alone; of fixed size, a few of the latest for each hash.

use std::hash::BuildHasher as _;

use foldhash::fast::RandomState;
use http_parse::MessageKind;
use zeroize::Zeroize as _;

/// Sets of two values; a power of two.
const SETS: usize = 256;
/// The most bytes of one entry, so that all of them take no more than 2 MiB.
const MOST: usize = 4 << 10;

/// The latest header values.
#[derive(Debug, Default)]
pub(super) struct Repeated {
    /// Seeded by chance: nobody can choose values that drive out all others.
    hasher: RandomState,
    /// Empty until something is kept.
    entries: Vec<Entry>,
}

/// A header value and what becomes of it.
#[derive(Clone, Default)]
pub(super) struct Entry {
    /// Name and value, one behind the other.
    key: Vec<u8>,
    name_len: usize,
    is_response: bool,
    /// What stands in the value's place.
    pub(super) masked: Vec<u8>,
    /// What the record says of it, as it is written.
    pub(super) told: Vec<u8>,
    /// How many findings that is.
    pub(super) found: u64,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("found", &self.found).finish_non_exhaustive()
    }
}

impl Repeated {
    /// The set that a header belongs to.
    #[inline]
    pub(super) fn set_of(&self, value: &[u8]) -> usize {
        self.hasher.hash_one(value) as usize & (SETS - 1)
    }

    /// Where it is kept what became of the header the last time.
    #[inline]
    pub(super) fn find(&self, set: usize, kind: MessageKind, name: &[u8], value: &[u8]) -> Option<usize> {
        let places = self.entries.get(2 * set..2 * set + 2)?;
        Some(2 * set + places.iter().position(|entry| entry.is_of(kind, name, value))?)
    }

    /// What is kept at a place that [`Repeated::find`] gave.
    #[inline]
    pub(super) fn entry(&self, place: usize) -> &Entry {
        &self.entries[place]
    }

    /// Keeps what becomes of a header, in the place of the older of two.
    pub(super) fn keep(
        &mut self,
        set: usize,
        (kind, name, value): (MessageKind, &[u8], &[u8]),
        (masked, told, found): (&[u8], &[u8], u64),
    ) {
        if name.len() + value.len() + masked.len() + told.len() > MOST {
            return;
        }
        if self.entries.is_empty() {
            self.entries = vec![Entry::default(); 2 * SETS];
        }
        let Some([newest, older]) = self.entries.get_mut(2 * set..2 * set + 2) else { return };
        std::mem::swap(newest, older);
        newest.key.clear();
        newest.key.extend_from_slice(name);
        newest.key.extend_from_slice(value);
        newest.name_len = name.len();
        newest.is_response = kind == MessageKind::Response;
        newest.masked.clear();
        newest.masked.extend_from_slice(masked);
        newest.told.clear();
        newest.told.extend_from_slice(told);
        newest.found = found;
    }
}

/// The secrets and what tells of them do not outlive the masker.
impl Drop for Entry {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl Entry {
    #[inline]
    fn is_of(&self, kind: MessageKind, name: &[u8], value: &[u8]) -> bool {
        let (known_name, known_value) = self.key.split_at(self.name_len.min(self.key.len()));
        known_value == value && known_name == name && self.is_response == (kind == MessageKind::Response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever is kept and driven out: what is found is what was kept of the same header, side and name included.
    #[test]
    fn headers_are_told_apart() {
        let mut repeated = Repeated::default();
        let headers = (0..3_000).flat_map(|n| {
            [
                (MessageKind::Request, "Cookie", format!("id={n}")),
                (MessageKind::Response, "Cookie", format!("id={n}")),
                (MessageKind::Request, "cookie", format!("id={n}")),
                (MessageKind::Request, "Cooki", format!("eid={n}")),
            ]
        });
        let mut found = 0;
        for (kind, name, value) in headers.clone().chain(headers.clone().rev()) {
            let set = repeated.set_of(value.as_bytes());
            let masked = format!("{kind:?} {name} {value}");
            match repeated.find(set, kind, name.as_bytes(), value.as_bytes()) {
                Some(place) => {
                    let entry = repeated.entry(place);
                    assert_eq!(entry.masked, masked.as_bytes());
                    assert_eq!((&*entry.told, entry.found), (&b"told"[..], 7));
                    found += 1;
                }
                None => {
                    let header = (kind, name.as_bytes(), value.as_bytes());
                    repeated.keep(set, header, (masked.as_bytes(), b"told", 7));
                    assert!(repeated.find(set, kind, name.as_bytes(), value.as_bytes()).is_some());
                }
            }
        }
        assert!(found > 100, "the latest ones are there");
        assert_eq!(repeated.entries.len(), 2 * SETS);
    }

    #[test]
    fn long_ones_are_not_kept_and_nothing_is_found_by_chance() {
        let mut repeated = Repeated::default();
        assert!(repeated.find(0, MessageKind::Request, b"", b"").is_none());
        let value = vec![b'v'; MOST];
        let set = repeated.set_of(&value);
        repeated.keep(set, (MessageKind::Request, b"Cookie", &value), (b"", b"", 1));
        assert!(repeated.entries.is_empty());
        let set = repeated.set_of(b"a");
        repeated.keep(set, (MessageKind::Request, b"Cookie", b"a"), (b"tok", b"", 1));
        assert!(repeated.find(set, MessageKind::Request, b"Cookie", b"").is_none());
    }
}
