//! A sealed batch: what is stored and sent. It never changes, so its body is shared, not copied.
//!
//! The index (ids and end offsets in the uncompressed body) travels with it, so that a batch can be split without knowing
//! what a record is.

use std::fmt;
use std::io::{Read, Write};
use std::sync::Arc;

use bytes::Bytes;

use crate::batch::{Batch, RecordId};
use crate::envelope::MAX_PART;
use crate::settings::Coding;

/// The largest body, compressed or not: what a reader of spool files is ready to hold.
pub const MAX_BODY_BYTES: usize = 256 << 20;

/// The most records in a batch.
pub(crate) const MAX_RECORDS: usize = 1 << 20;

/// A batch ready to be stored and sent.
#[derive(Clone)]
pub struct SealedBatch {
    pub(crate) body: Bytes,
    pub(crate) coding: Coding,
    /// Length of the uncompressed body.
    pub(crate) plain_len: u32,
    pub(crate) shape: Shape,
    pub(crate) index: Arc<[(RecordId, u32)]>,
    /// Memory beyond the body's length that holding it takes: the rest of the buffer in which it was gathered.
    pub(crate) slack: u32,
}

/// What is known of the envelope that a body was written with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) prefix_len: u16,
    pub(crate) separator_len: u16,
    pub(crate) suffix_len: u16,
    pub(crate) content_type: Arc<str>,
}

/// A batch whose body is not what its index says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Over [`MAX_BODY_BYTES`] or the number of records.
    #[error("the batch is too large to be stored")]
    TooLarge,
    /// The compressed body cannot be read, or has another length than its header says.
    #[error("the compressed body is damaged")]
    Damaged,
}

impl SealedBatch {
    /// Seals a batch. Without compression the body is taken over as it is.
    ///
    /// # Errors
    ///
    /// If it is larger than what a spool file may hold.
    pub(crate) fn seal(batch: Batch, coding: Coding) -> Result<Self, SealError> {
        let Batch { buffer, records, envelope, .. } = batch;
        let plain_len = buffer.bytes.len();
        if plain_len > MAX_BODY_BYTES || records.len() > MAX_RECORDS {
            return Err(SealError::TooLarge);
        }
        let part = |length: usize| length.min(MAX_PART) as u16;
        let shape = Shape {
            prefix_len: part(envelope.prefix.len()),
            separator_len: part(envelope.separator.len()),
            suffix_len: part(envelope.suffix.len()),
            content_type: Arc::from(&*envelope.content_type),
        };
        let spare = buffer.bytes.capacity() - plain_len;
        let (body, slack) = match coding {
            // A short body must not hold a long buffer. One that has grown by doubling, as they do, may stay in it.
            Coding::Identity if spare > plain_len + 4096 => (Bytes::copy_from_slice(&buffer.bytes), 0),
            Coding::Identity => (Bytes::from_owner(buffer), spare as u32),
            _ => (compress(&buffer.bytes, coding), 0),
        };
        Ok(Self { body, coding, plain_len: plain_len as u32, shape, index: records.into(), slack })
    }

    /// The body as it goes over the wire, compressed as [`SealedBatch::coding`] says.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// How the body is compressed.
    #[must_use]
    pub fn coding(&self) -> Coding {
        self.coding
    }

    /// The value of `Content-Type`.
    #[must_use]
    pub fn content_type(&self) -> &str {
        &self.shape.content_type
    }

    /// Number of records; at least one.
    #[must_use]
    pub fn records(&self) -> usize {
        self.index.len()
    }

    /// The records' ids, in order.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = RecordId> + '_ {
        self.index.iter().map(|(id, _)| *id)
    }

    /// The body without compression.
    ///
    /// # Errors
    ///
    /// If it cannot be decompressed to exactly the length that was sealed.
    pub fn plain(&self) -> Result<Bytes, SealError> {
        decompress(&self.body, self.coding, self.plain_len as usize)
    }

    /// Where record `number` lies in [`SealedBatch::plain`].
    #[must_use]
    pub fn span(&self, number: usize) -> Option<std::ops::Range<usize>> {
        let end = self.index.get(number)?.1 as usize;
        let start = match number.checked_sub(1) {
            Some(before) => self.index.get(before)?.1 as usize + usize::from(self.shape.separator_len),
            None => usize::from(self.shape.prefix_len),
        };
        (start <= end).then_some(start..end)
    }

    /// The records `from..to` as a batch of their own, in the same envelope.
    ///
    /// # Errors
    ///
    /// If the body is damaged.
    pub(crate) fn part(&self, from: usize, to: usize) -> Result<Self, SealError> {
        if from == 0 && to == self.records() {
            return Ok(self.clone());
        }
        let plain = self.plain()?;
        let (first, last) = (self.span(from), to.checked_sub(1).and_then(|last| self.span(last)));
        let (Some(first), Some(last)) = (first, last) else { return Err(SealError::Damaged) };
        let content = plain.get(first.start..last.end).ok_or(SealError::Damaged)?;
        let prefix_len = usize::from(self.shape.prefix_len);
        let index = self.index.get(from..to).ok_or(SealError::Damaged)?;
        let index = index.iter().map(|&(id, end)| (id, (end as usize - first.start + prefix_len) as u32)).collect();
        self.around(&plain, content, index)
    }

    /// The only record of this batch replaced by `record`.
    pub(crate) fn replaced(&self, record: &[u8]) -> Result<Self, SealError> {
        let (&[(id, _)], plain) = (&self.index[..], self.plain()?) else { return Err(SealError::Damaged) };
        let end = usize::from(self.shape.prefix_len) + record.len();
        self.around(&plain, record, Arc::new([(id, u32::try_from(end).map_err(|_| SealError::TooLarge)?)]))
    }

    /// A body of `content` in the envelope of `plain`.
    fn around(&self, plain: &[u8], content: &[u8], index: Arc<[(RecordId, u32)]>) -> Result<Self, SealError> {
        let prefix = plain.get(..usize::from(self.shape.prefix_len)).ok_or(SealError::Damaged)?;
        let suffix_at = plain.len().checked_sub(usize::from(self.shape.suffix_len)).ok_or(SealError::Damaged)?;
        let body = [prefix, content, &plain[suffix_at..]].concat();
        if body.len() > MAX_BODY_BYTES {
            return Err(SealError::TooLarge);
        }
        let plain_len = body.len() as u32;
        let body = if self.coding == Coding::Identity { body.into() } else { compress(&body, self.coding) };
        Ok(Self { body, coding: self.coding, plain_len, shape: self.shape.clone(), index, slack: 0 })
    }

    /// Memory that holding it takes.
    pub(crate) fn cost(&self) -> u64 {
        (self.body.len() + self.slack as usize + self.index.len() * size_of::<(RecordId, u32)>() + 256) as u64
    }
}

impl fmt::Debug for SealedBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedBatch")
            .field("records", &self.records())
            .field("bytes", &self.body.len())
            .field("coding", &self.coding)
            .finish_non_exhaustive()
    }
}

/// Compresses `plain`; writing to memory does not fail.
fn compress(plain: &[u8], coding: Coding) -> Bytes {
    // Text of this kind shrinks to a fifth or better; a quarter rarely has to grow.
    let mut out = Vec::with_capacity(plain.len() / 4 + 64);
    let done = match coding {
        Coding::Identity => return Bytes::copy_from_slice(plain),
        Coding::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(&mut out, flate2::Compression::fast());
            encoder.write_all(plain).and_then(|()| encoder.finish().map(|_| ()))
        }
        Coding::Zstd => zstd::stream::Encoder::new(&mut out, 1).and_then(|mut encoder| {
            encoder.write_all(plain)?;
            encoder.finish().map(|_| ())
        }),
    };
    debug_assert!(done.is_ok(), "writing to memory failed");
    out.shrink_to_fit();
    out.into()
}

/// Decompresses `body` to exactly `plain_len` bytes. Takes no more memory than that, whatever `body` holds.
fn decompress(body: &Bytes, coding: Coding, plain_len: usize) -> Result<Bytes, SealError> {
    if plain_len > MAX_BODY_BYTES {
        return Err(SealError::TooLarge);
    }
    let limit = plain_len as u64 + 1;
    let mut out = Vec::new();
    let read = match coding {
        Coding::Identity => {
            return if body.len() == plain_len { Ok(body.clone()) } else { Err(SealError::Damaged) };
        }
        Coding::Gzip => flate2::read::GzDecoder::new(&body[..]).take(limit).read_to_end(&mut out),
        Coding::Zstd => zstd::stream::Decoder::new(&body[..]).and_then(|mut decoder| {
            // The memory that a frame may ask for: what level 1 writes needs 2^19 bytes.
            decoder.window_log_max(22)?;
            decoder.take(limit).read_to_end(&mut out)
        }),
    };
    match read {
        Ok(length) if length == plain_len => Ok(out.into()),
        _ => Err(SealError::Damaged),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;
    use crate::batcher::Batcher;
    use crate::envelope::Envelope;
    use crate::settings::BatchLimits;

    /// A sealed batch of `records`, with ids counted from `first`.
    pub(crate) fn sealed(first: u128, records: &[Vec<u8>], coding: Coding, envelope: &Envelope) -> SealedBatch {
        let limits = BatchLimits { records: usize::MAX, bytes: usize::MAX, age: Duration::from_secs(1) };
        let mut batcher = Batcher::new(limits, envelope);
        for (number, record) in records.iter().enumerate() {
            batcher.push(RecordId((first + number as u128).to_be_bytes()), record, Instant::now());
        }
        SealedBatch::seal(batcher.flush().unwrap(), coding).unwrap()
    }

    pub(crate) fn coding() -> impl Strategy<Value = Coding> {
        prop_oneof![Just(Coding::Identity), Just(Coding::Gzip), Just(Coding::Zstd)]
    }

    /// What a receiver would read: ids and records.
    pub(crate) fn contents(batch: &SealedBatch) -> Vec<(RecordId, Vec<u8>)> {
        let plain = batch.plain().unwrap();
        batch.ids().enumerate().map(|(n, id)| (id, plain[batch.span(n).unwrap()].to_vec())).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        /// Any cut gives the same records, and each part is exactly what a batcher would have made of its records.
        #[test]
        fn parts_are_batches_of_their_own(
            records in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 1..20),
            cut in any::<proptest::sample::Index>(),
            coding in coding(),
            lines in any::<bool>(),
        ) {
            let envelope = if lines { Envelope::lines() } else { Envelope::edge_batch() };
            let whole = sealed(0, &records, coding, &envelope);
            let cut = cut.index(records.len() + 1);
            let mut joined = Vec::new();
            for (from, to) in [(0, cut), (cut, records.len())] {
                if from == to {
                    continue;
                }
                let part = whole.part(from, to).unwrap();
                let expected = sealed(from as u128, &records[from..to], coding, &envelope);
                prop_assert_eq!(part.plain().unwrap(), expected.plain().unwrap());
                prop_assert_eq!(&part.index, &expected.index);
                joined.extend(contents(&part));
            }
            prop_assert_eq!(joined, contents(&whole));
        }

        /// Damage in a compressed body is an error or goes unseen, never a panic or a body of another length.
        #[test]
        fn damage_never_panics(
            records in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 1..5),
            flips in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
            coding in coding(),
        ) {
            let mut batch = sealed(0, &records, coding, &Envelope::lines());
            let mut body = batch.body.to_vec();
            for (at, with) in flips {
                let at = at.index(body.len());
                body[at] ^= with;
            }
            batch.body = body.into();
            if let Ok(plain) = batch.plain() {
                prop_assert_eq!(plain.len(), batch.plain_len as usize);
            }
        }
    }

    #[test]
    fn a_replaced_record_keeps_its_id_and_envelope() {
        let batch = sealed(7, &[b"{\"long\":1}".to_vec()], Coding::Gzip, &Envelope::edge_batch());
        let short = batch.replaced(b"{}").unwrap();
        assert_eq!(&short.plain().unwrap()[..], b"{\"data\":[{}]}");
        assert_eq!(contents(&short), [(RecordId(7u128.to_be_bytes()), b"{}".to_vec())]);
    }

    #[test]
    fn a_bomb_is_read_up_to_the_length_that_was_sealed() {
        let mut batch = sealed(0, &[vec![b'x'; 100_000]], Coding::Zstd, &Envelope::lines());
        batch.plain_len = 10;
        assert_eq!(batch.plain(), Err(SealError::Damaged));
    }
}
