//! One datagram in parts: which bytes are there, which copy of them counts, when it is whole.
//!
//! Bytes are kept in order of arrival and a list of pieces says where they belong, so that a fragment at a high offset
//! costs no more memory than its bytes. The first copy of a byte counts; a later one that differs is noticed.

use crate::reason::SkipReason;

/// The longest datagram that both IP versions can fragment, in bytes.
const MAX_LEN: u32 = 65_535;

/// One fragment, without its headers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fragment<'a> {
    /// Where in the datagram it starts, in bytes.
    pub(crate) offset: u32,
    /// Whether there are fragments behind it.
    pub(crate) more: bool,
    /// The protocol it says the datagram carries. Only the first fragment's counts.
    pub(crate) protocol: u8,
    /// How long it was on the wire; at least `bytes.len()`.
    pub(crate) wire_len: u32,
    /// What was captured of it.
    pub(crate) bytes: &'a [u8],
}

impl Fragment<'_> {
    const fn end(&self) -> u32 {
        self.offset + self.wire_len
    }

    /// Whether a fragment like this can be part of any datagram (RFC 791, section 3.2; RFC 8200, section 4.5).
    pub(crate) const fn is_possible(&self) -> bool {
        self.wire_len > 0
            && self.wire_len <= MAX_LEN
            && self.end() <= MAX_LEN
            && (!self.more || self.wire_len.is_multiple_of(8))
    }

    /// The captured bytes from `from` to `to`, positions in the datagram.
    fn between(&self, from: u32, to: u32) -> &[u8] {
        let at = |position: u32| (position.saturating_sub(self.offset) as usize).min(self.bytes.len());
        self.bytes.get(at(from)..at(to)).unwrap_or_default()
    }
}

/// A run of the datagram that is known.
#[derive(Clone, Copy, Debug)]
struct Piece {
    /// Where in the datagram it starts.
    offset: u32,
    /// How long it was on the wire.
    wire_len: u32,
    /// Where in the store its captured bytes start.
    start: u32,
    /// How many of its bytes were captured, from its start on.
    captured: u32,
}

impl Piece {
    const fn end(&self) -> u32 {
        self.offset + self.wire_len
    }
}

/// What a fragment would add to a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Addition {
    /// It cannot belong to it.
    Impossible,
    /// It says nothing new; `agrees` unless its bytes differ from those held.
    Nothing {
        /// Whether all its bytes are the same as those held.
        agrees: bool,
    },
    /// It has new bytes.
    New {
        /// Whether the bytes that are not new are the same as those held.
        agrees: bool,
        /// How many pieces it may add.
        pieces: usize,
    },
}

/// A datagram in parts.
#[derive(Debug, Default)]
pub(crate) struct Datagram {
    /// Sorted, disjoint.
    pieces: Vec<Piece>,
    bytes: Vec<u8>,
    /// Bytes on the wire that the pieces cover.
    covered: u32,
    /// Its length, once its last fragment is known.
    len: Option<u32>,
    /// What it carries, once its first fragment is known.
    protocol: Option<u8>,
}

impl Datagram {
    /// What `fragment`, which is possible by itself, would add. Changes nothing.
    pub(crate) fn weigh(&self, fragment: &Fragment<'_>) -> Addition {
        let end = fragment.end();
        let known_end = self.pieces.last().map_or(0, Piece::end);
        let fits = match self.len {
            Some(len) => end <= len && (fragment.more || end == len),
            None => fragment.more || known_end <= end,
        };
        if !fits {
            return Addition::Impossible;
        }
        let mut agrees = true;
        let mut overlapped = 0;
        let mut new = fragment.wire_len;
        for piece in self.overlapping(fragment.offset, end) {
            overlapped += 1;
            let from = piece.offset.max(fragment.offset);
            let to = piece.end().min(end);
            new -= to - from;
            // What one of the copies lacks cannot contradict the other.
            let theirs = fragment.between(from, to);
            let ours = self.captured(piece, from);
            let both = theirs.len().min(ours.len());
            agrees &= theirs.get(..both) == ours.get(..both);
        }
        // A last fragment that brings the length is news even where its bytes are known.
        if new == 0 && (fragment.more || self.len.is_some()) {
            Addition::Nothing { agrees }
        } else {
            Addition::New { agrees, pieces: overlapped + 1 }
        }
    }

    /// Takes in what is new of `fragment`, which [`Datagram::weigh`] found to be an addition.
    pub(crate) fn add(&mut self, fragment: &Fragment<'_>) {
        let end = fragment.end();
        if !fragment.more {
            self.len = Some(end);
        }
        if fragment.offset == 0 {
            self.protocol.get_or_insert(fragment.protocol);
        }
        let mut at = self.first_overlapping(fragment.offset);
        let mut cursor = fragment.offset;
        while cursor < end {
            match self.pieces.get(at) {
                Some(piece) if piece.offset <= cursor => {
                    cursor = piece.end();
                    at += 1;
                }
                following => {
                    let stop = following.map_or(end, |piece| piece.offset.min(end));
                    if self.insert(at, cursor, stop, fragment.between(cursor, stop)) {
                        at += 1;
                    }
                    cursor = stop;
                }
            }
        }
    }

    /// Inserts a run before piece `at`; whether that took a piece of its own rather than prolong the one before.
    fn insert(&mut self, at: usize, from: u32, to: u32, bytes: &[u8]) -> bool {
        let start = self.bytes.len() as u32;
        let (wire_len, captured) = (to - from, bytes.len() as u32);
        self.bytes.extend_from_slice(bytes);
        self.covered += wire_len;
        if let Some(before) = at.checked_sub(1).and_then(|before| self.pieces.get_mut(before))
            && before.end() == from
            && before.captured == before.wire_len
            && before.start + before.captured == start
        {
            before.wire_len += wire_len;
            before.captured += captured;
            return false;
        }
        self.pieces.insert(at, Piece { offset: from, wire_len, start, captured });
        true
    }

    /// Whether every byte on the wire is accounted for.
    pub(crate) fn is_whole(&self) -> bool {
        self.len == Some(self.covered)
    }

    /// Length on the wire and protocol of a whole datagram.
    pub(crate) fn content(&self) -> Option<(u32, u8)> {
        self.len.filter(|_| self.is_whole()).zip(self.protocol)
    }

    /// How many bytes were captured before the first one that was not.
    pub(crate) fn captured_len(&self) -> usize {
        let mut len = 0;
        for piece in &self.pieces {
            len += piece.captured as usize;
            if piece.captured < piece.wire_len {
                break;
            }
        }
        len
    }

    /// Writes the captured bytes before the first one that was not, in order, to the end of `to`.
    pub(crate) fn write(&self, to: &mut Vec<u8>) {
        for piece in &self.pieces {
            to.extend_from_slice(self.captured(piece, piece.offset));
            if piece.captured < piece.wire_len {
                break;
            }
        }
    }

    /// Room for `bytes` and `pieces` more, and what it costs: the capacity, in bytes, that [`Datagram::reserve`] would
    /// add. Grows by doubling, so that small fragments do not copy the datagram again and again.
    pub(crate) fn growth(&self, bytes: usize, pieces: usize) -> usize {
        let more = |now: usize, needed: usize| grown(now, needed).saturating_sub(now);
        more(self.bytes.capacity(), self.bytes.len() + bytes)
            + more(self.pieces.capacity(), self.pieces.len() + pieces) * size_of::<Piece>()
    }

    /// Makes the room that [`Datagram::growth`] spoke of.
    pub(crate) fn reserve(&mut self, bytes: usize, pieces: usize) {
        let target = grown(self.bytes.capacity(), self.bytes.len() + bytes);
        self.bytes.reserve_exact(target - self.bytes.len());
        let target = grown(self.pieces.capacity(), self.pieces.len() + pieces);
        self.pieces.reserve_exact(target - self.pieces.len());
    }

    /// Bytes allocated.
    pub(crate) fn memory(&self) -> usize {
        self.bytes.capacity() + self.pieces.capacity() * size_of::<Piece>()
    }

    /// The captured bytes of `piece` from `from` on, a position in the datagram.
    fn captured(&self, piece: &Piece, from: u32) -> &[u8] {
        let start = piece.start as usize;
        let end = start + piece.captured as usize;
        let skip = (from.saturating_sub(piece.offset) as usize).min(piece.captured as usize);
        self.bytes.get(start + skip..end).unwrap_or_default()
    }

    fn first_overlapping(&self, from: u32) -> usize {
        self.pieces.partition_point(|piece| piece.end() <= from)
    }

    fn overlapping(&self, from: u32, to: u32) -> impl Iterator<Item = &Piece> {
        let first = self.first_overlapping(from);
        self.pieces.iter().skip(first).take_while(move |piece| piece.offset < to)
    }
}

/// The capacity to have for `needed` elements, when there is room for `now`.
fn grown(now: usize, needed: usize) -> usize {
    if needed <= now { now } else { needed.max(now * 2) }
}

impl Fragment<'_> {
    /// Why a fragment that is an [`Addition::Impossible`] one, or not even possible, is skipped.
    pub(crate) const IMPOSSIBLE: SkipReason = SkipReason::MalformedFragment;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fragment(offset: u32, more: bool, bytes: &[u8]) -> Fragment<'_> {
        Fragment { offset, more, protocol: 6, wire_len: bytes.len() as u32, bytes }
    }

    fn put(datagram: &mut Datagram, fragment: &Fragment<'_>) -> Addition {
        let addition = datagram.weigh(fragment);
        if let Addition::New { pieces, .. } = addition {
            let growth = datagram.growth(fragment.bytes.len(), pieces);
            let before = datagram.memory();
            datagram.reserve(fragment.bytes.len(), pieces);
            assert_eq!(datagram.memory(), before + growth);
            datagram.add(fragment);
            assert_eq!(datagram.memory(), before + growth, "the reserve was enough");
        }
        addition
    }

    fn joined(datagram: &Datagram) -> Vec<u8> {
        let mut bytes = Vec::new();
        datagram.write(&mut bytes);
        assert_eq!(bytes.len(), datagram.captured_len());
        bytes
    }

    #[test]
    fn impossible_fragments() {
        assert!(!fragment(0, false, &[]).is_possible(), "of no length");
        assert!(!fragment(0, true, &[0; 9]).is_possible(), "no multiple of 8 and not the last");
        assert!(!fragment(65_528, false, &[0; 8]).is_possible(), "past the longest datagram");
        assert!(fragment(65_528, false, &[0; 7]).is_possible());
        assert!(!Fragment { wire_len: u32::MAX, ..fragment(8, false, &[0; 8]) }.is_possible());
    }

    #[test]
    fn the_first_copy_wins() {
        let mut datagram = Datagram::default();
        put(&mut datagram, &fragment(8, true, &[1; 8]));
        let clash = put(&mut datagram, &fragment(0, true, &[2; 24]));
        assert_eq!(clash, Addition::New { agrees: false, pieces: 2 });
        assert_eq!(put(&mut datagram, &fragment(8, true, &[1; 8])), Addition::Nothing { agrees: true });
        assert_eq!(put(&mut datagram, &fragment(8, true, &[3; 8])), Addition::Nothing { agrees: false });
        put(&mut datagram, &fragment(24, false, &[4; 3]));
        assert_eq!(datagram.content(), Some((27, 6)));
        assert_eq!(joined(&datagram), [&[2; 8][..], &[1; 8], &[2; 8], &[4; 3]].concat());
    }

    #[test]
    fn two_ends_contradict_each_other() {
        let mut datagram = Datagram::default();
        put(&mut datagram, &fragment(16, false, &[0; 8]));
        assert_eq!(put(&mut datagram, &fragment(16, false, &[0; 4])), Addition::Impossible);
        assert_eq!(put(&mut datagram, &fragment(24, true, &[0; 8])), Addition::Impossible);
        let mut datagram = Datagram::default();
        put(&mut datagram, &fragment(16, true, &[0; 8]));
        assert_eq!(put(&mut datagram, &fragment(8, false, &[0; 8])), Addition::Impossible);
    }

    #[test]
    fn the_first_fragments_protocol_counts() {
        let mut datagram = Datagram::default();
        put(&mut datagram, &Fragment { protocol: 17, ..fragment(8, false, &[0; 8]) });
        put(&mut datagram, &Fragment { protocol: 47, ..fragment(0, true, &[0; 8]) });
        assert_eq!(datagram.content(), Some((16, 47)));
    }

    #[test]
    fn what_was_not_captured_ends_the_bytes_but_not_the_datagram() {
        let mut datagram = Datagram::default();
        put(&mut datagram, &Fragment { wire_len: 16, ..fragment(0, true, &[1; 10]) });
        put(&mut datagram, &fragment(16, false, &[2; 8]));
        assert_eq!(datagram.content(), Some((24, 6)));
        assert_eq!(joined(&datagram), [1; 10]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn any_cut_and_order_with_repeats_joins_to_the_same(
            len in 1_usize..600,
            runs in proptest::collection::vec((0_usize..80, 1_usize..20), 0..40),
        ) {
            let whole: Vec<u8> = (0..len).map(|at| (at * 7) as u8).collect();
            let mut datagram = Datagram::default();
            // Random overlapping runs first, then every eight bytes in order: whatever is missing.
            let rest = (0..len.div_ceil(8)).map(|word| (word, 1));
            for (word, words) in runs.into_iter().chain(rest) {
                let (from, to) = (word * 8, ((word + words) * 8).min(len));
                if from >= to {
                    continue;
                }
                let piece = fragment(from as u32, to < len, &whole[from..to]);
                let addition = put(&mut datagram, &piece);
                let agrees =
                    matches!(addition, Addition::New { agrees: true, .. } | Addition::Nothing { agrees: true });
                prop_assert!(agrees);
            }
            prop_assert_eq!(datagram.content(), Some((len as u32, 6)));
            prop_assert_eq!(joined(&datagram), whole);
        }
    }
}
