//! Records on their way from the writer to whoever takes them: first without their ids, then sealed.
//!
//! The id is a hash over the whole head, the one part of a record that costs as much as all the rest of it and that
//! nothing else in the record depends on. So a [`RecordWriter`](super::RecordWriter) leaves its 32 digits open and keeps
//! what they are the hash of; [`Unsealed::seal`] fills them in, on whichever thread the buffer has got to.
//!
//! Invariant: `places` are in the order of the records, each within its record, and each record ends where its `end` says;
//! what lies between two ends is one record and the line feed behind it.

use core::ops::Range;

use http_parse::Exchange;

use super::connection::ConnectionMeta;
use super::drafts::Drafts;
use super::id::TransactionId;
use super::writer::Admission;

/// Records that are whole but for their ids, in one buffer; or, where another thread writes, exchanges still to be written.
#[derive(Debug, Default)]
pub struct Unsealed {
    bytes: Vec<u8>,
    /// What the ids are the hashes of, one behind the other.
    inputs: Vec<u8>,
    places: Vec<Place>,
    sealed: Vec<SealedRecord>,
    drafts: Drafts,
}

/// Where in an [`Unsealed`] a record and its id stand.
#[derive(Clone, Copy, Debug)]
struct Place {
    id: usize,
    end: usize,
    input_end: usize,
}

/// A record in a sealed buffer: its id, and where its JSON stands, without the line feed behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedRecord {
    /// The transaction's id.
    pub id: TransactionId,
    /// Its place in [`Sealed::bytes`].
    pub range: Range<usize>,
}

/// Finished records, in the order in which they were written.
#[derive(Clone, Copy, Debug)]
pub struct Sealed<'a> {
    /// All of them, each followed by a line feed.
    pub bytes: &'a [u8],
    /// Each one's id and place.
    pub records: &'a [SealedRecord],
}

impl<'a> Sealed<'a> {
    /// Each record's id and JSON, without the line feed.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (TransactionId, &'a [u8])> {
        let bytes = self.bytes;
        self.records.iter().map(move |record| (record.id, bytes.get(record.range.clone()).unwrap_or_default()))
    }
}

impl Unsealed {
    /// An empty buffer with room for `bytes` bytes of records.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), ..Self::default() }
    }

    /// Whether it holds no record, written or not.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty() && self.drafts.is_empty()
    }

    /// How many records it holds, written or not.
    #[must_use]
    pub fn count(&self) -> usize {
        self.places.len() + self.drafts.count()
    }

    /// How many bytes its records take, or what their ids are made of, whichever is more: a head that was read for framing
    /// only is hashed as a whole. Or what the exchanges take that are still to be written.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len().max(self.inputs.len()).max(self.drafts.size())
    }

    /// How many bytes it holds of records, what their ids are made of, and exchanges still to be written.
    #[must_use]
    pub fn held(&self) -> usize {
        self.bytes.len() + self.inputs.len() + self.drafts.size()
    }

    /// The exchanges that are still to be written; where there are any, there are no records.
    #[must_use]
    pub fn drafts(&self) -> &Drafts {
        &self.drafts
    }

    /// Takes a copy of an exchange, for another thread to write.
    #[inline]
    pub fn draft(&mut self, meta: &ConnectionMeta, exchange: &Exchange<'_>, admission: Admission<'_>) {
        self.drafts.push(meta, exchange, admission);
    }

    /// Computes the ids and fills them in.
    pub fn seal(&mut self) -> Sealed<'_> {
        // Some may be sealed already.
        let done = self.sealed.len();
        let (mut start, mut input) = match done.checked_sub(1).and_then(|last| self.places.get(last)) {
            Some(last) => (last.end, last.input_end),
            None => (0, 0),
        };
        for place in self.places.get(done..).unwrap_or_default() {
            let id = TransactionId::hash(self.inputs.get(input..place.input_end).unwrap_or_default());
            if let Some(digits) = self.bytes.get_mut(place.id..).and_then(<[u8]>::first_chunk_mut) {
                *digits = id.digits();
            }
            self.sealed.push(SealedRecord { id, range: start..place.end.saturating_sub(1) });
            (start, input) = (place.end, place.input_end);
        }
        Sealed { bytes: &self.bytes, records: &self.sealed }
    }

    /// Forgets every record, written or not. Of the memory, about `kept` bytes stay.
    pub fn clear(&mut self, kept: usize) {
        self.bytes.clear();
        self.bytes.shrink_to(kept);
        self.inputs.clear();
        self.inputs.shrink_to(kept);
        self.places.clear();
        self.places.shrink_to(kept / size_of::<Place>());
        self.sealed.clear();
        self.sealed.shrink_to(kept / size_of::<SealedRecord>());
        self.drafts.clear(kept);
    }

    /// Takes away what was written of a record that did not come to its end.
    pub fn drop_unfinished(&mut self) {
        let (end, input_end) = self.places.last().map_or((0, 0), |last| (last.end, last.input_end));
        self.bytes.truncate(end);
        self.inputs.truncate(input_end);
        self.drafts.drop_unfinished();
    }

    /// Where a record and the input of its id are to be appended.
    pub(crate) fn ends(&mut self) -> (&mut Vec<u8>, &mut Vec<u8>) {
        (&mut self.bytes, &mut self.inputs)
    }

    /// Notes that a record was appended, line feed included, with its id at `id`, and the id's input.
    pub(crate) fn note(&mut self, id: usize) {
        self.places.push(Place { id, end: self.bytes.len(), input_end: self.inputs.len() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(records: &mut Unsealed, text: &str, input: &[u8]) {
        let (bytes, inputs) = records.ends();
        bytes.extend_from_slice(text.as_bytes());
        let id = bytes.len();
        bytes.extend_from_slice(&[b'0'; 32]);
        bytes.extend_from_slice(b"}\n");
        inputs.extend_from_slice(input);
        records.note(id);
    }

    fn id(input: &[u8]) -> TransactionId {
        TransactionId::hash(input)
    }

    #[test]
    fn half_a_record_leaves_nothing() {
        let mut records = Unsealed::default();
        for count in 0..3 {
            let (bytes, inputs) = records.ends();
            bytes.extend_from_slice(b"{half of");
            inputs.extend_from_slice(b"some");
            records.drop_unfinished();
            assert_eq!(records.count(), count);
            append(&mut records, "{one ", b"first");
        }
        let sealed = records.seal();
        assert!(sealed.records.iter().all(|record| record.id == id(b"first")));
        assert!(!sealed.bytes.windows(4).any(|bytes| bytes == b"half"));
    }

    /// The places and inputs of one record are never another's, whatever was sealed before.
    #[test]
    fn each_record_gets_its_own_id() {
        let mut records = Unsealed::with_capacity(10);
        assert!(records.is_empty() && records.seal().records.is_empty());
        for round in 0..3 {
            append(&mut records, "{one ", b"first");
            if round == 1 {
                records.seal();
            }
            append(&mut records, "{", b"");
            append(&mut records, "{the third: ", &[7; 1000]);
            assert_eq!((records.count(), records.size()), (3, 1005));
            let expected = [
                (id(b"first"), format!("{{one {}}}", id(b"first"))),
                (id(b""), format!("{{{}}}", id(b""))),
                (id(&[7; 1000]), format!("{{the third: {}}}", id(&[7; 1000]))),
            ];
            for _ in 0..2 {
                let sealed = records.seal();
                assert_eq!(sealed.records.len(), 3);
                let found: Vec<_> =
                    sealed.iter().map(|(id, json)| (id, String::from_utf8(json.to_vec()).unwrap())).collect();
                assert_eq!(found, expected);
                assert_eq!(sealed.bytes.iter().filter(|byte| **byte == b'\n').count(), 3);
            }
            records.clear(100);
            assert!(records.is_empty());
        }
    }

    #[test]
    fn what_a_long_record_took_is_given_back() {
        let mut records = Unsealed::with_capacity(1 << 10);
        append(&mut records, &"x".repeat(1 << 20), &[0; 1 << 20]);
        records.seal();
        records.clear(1 << 16);
        assert!(records.bytes.capacity() <= 1 << 16 && records.inputs.capacity() <= 1 << 16);
    }
}
