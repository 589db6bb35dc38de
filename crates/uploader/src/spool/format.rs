//! A spool file: header, index, body.
//!
//! Little-endian. The checksum (CRC-32, IEEE) covers everything in the file but itself.
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 8 | magic `UPLBATCH` |
//! | 8 | 2 | version, 1 |
//! | 10 | 1 | coding: 0 none, 1 gzip, 2 Zstandard |
//! | 11 | 1 | zero |
//! | 12 | 4 | number of records |
//! | 16 | 8 | lengths of content type, prefix, separator, suffix, two bytes each |
//! | 24 | 4 | length of the body before compression |
//! | 28 | 4 | length of the body |
//! | 32 | 4 | checksum |
//! | 36 | | content type; then for each record its id (16) and its end in the uncompressed body (4); then the body |

use bytes::Bytes;

use crate::batch::RecordId;
use crate::envelope::{MAX_PART, is_header_value};
use crate::sealed::{MAX_BODY_BYTES, MAX_RECORDS, SealedBatch, Shape};
use crate::settings::Coding;

const MAGIC: &[u8; 8] = b"UPLBATCH";
const VERSION: u16 = 1;
const HEADER: usize = 36;
const CHECKSUM_AT: usize = 32;
const INDEX_ENTRY: usize = 20;

/// The largest file that can be a spool file.
pub(crate) const MAX_FILE_BYTES: u64 = (HEADER + MAX_PART + MAX_RECORDS * INDEX_ENTRY + MAX_BODY_BYTES) as u64;

/// Why a file is not a whole spool file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Corrupt {
    /// Shorter than its header, or than its header says.
    #[error("the file ends too early")]
    Short,
    /// Longer than its header says, or than any spool file.
    #[error("the file is longer than its header says")]
    Long,
    /// It does not start as a spool file does.
    #[error("this is not a spool file")]
    Magic,
    /// Written by a version that is not known here.
    #[error("the file has a version that is not known here")]
    Version,
    /// The checksum is wrong: bytes have changed.
    #[error("the checksum is wrong")]
    Checksum,
    /// The header or the index contradicts itself.
    #[error("the header contradicts itself")]
    Header,
    /// The file's name says another number of records.
    #[error("the file holds another number of records than its name says")]
    Name,
}

/// Everything of the file but the body, which follows as it is.
pub(crate) fn encode_head(batch: &SealedBatch) -> Vec<u8> {
    let content_type = batch.shape.content_type.as_bytes();
    let mut head = Vec::with_capacity(HEADER + content_type.len() + batch.index.len() * INDEX_ENTRY);
    head.extend_from_slice(MAGIC);
    head.extend_from_slice(&VERSION.to_le_bytes());
    head.push(match batch.coding {
        Coding::Identity => 0,
        Coding::Gzip => 1,
        Coding::Zstd => 2,
    });
    head.push(0);
    head.extend_from_slice(&(batch.index.len() as u32).to_le_bytes());
    let shape = &batch.shape;
    for length in [content_type.len() as u16, shape.prefix_len, shape.separator_len, shape.suffix_len] {
        head.extend_from_slice(&length.to_le_bytes());
    }
    head.extend_from_slice(&batch.plain_len.to_le_bytes());
    head.extend_from_slice(&(batch.body.len() as u32).to_le_bytes());
    head.extend_from_slice(&[0; 4]);
    head.extend_from_slice(content_type);
    for (id, end) in batch.index.iter() {
        head.extend_from_slice(&id.0);
        head.extend_from_slice(&end.to_le_bytes());
    }
    let checksum = checksum(&head, &batch.body);
    head[CHECKSUM_AT..HEADER].copy_from_slice(&checksum.to_le_bytes());
    head
}

/// Length of the file that holds `batch`.
pub(crate) fn file_len(batch: &SealedBatch) -> u64 {
    (HEADER + batch.shape.content_type.len() + batch.index.len() * INDEX_ENTRY + batch.body.len()) as u64
}

/// Whether a file of `bytes` can hold `records`: their index has to fit. For counts that a mere name states.
pub(crate) fn may_hold(bytes: u64, records: u32) -> bool {
    records as usize <= MAX_RECORDS && (HEADER + records as usize * INDEX_ENTRY) as u64 <= bytes
}

/// Reads a spool file. The body is not copied, and nothing is allocated beyond an index as long as the file's own.
///
/// # Errors
///
/// If it is not exactly what was written: any damage, any missing or additional byte. Never panics.
pub fn decode(file: &Bytes) -> Result<SealedBatch, Corrupt> {
    if file.len() as u64 > MAX_FILE_BYTES {
        return Err(Corrupt::Long);
    }
    let head: &[u8; HEADER] = file.first_chunk().ok_or(Corrupt::Short)?;
    if &head[..8] != MAGIC {
        return Err(Corrupt::Magic);
    }
    let short = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
    let long = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    if short(8) != VERSION {
        return Err(Corrupt::Version);
    }
    let (records, plain_len, body_len) = (long(12) as usize, long(24), long(28) as usize);
    let type_len = usize::from(short(16));
    if records > MAX_RECORDS || body_len > MAX_BODY_BYTES || plain_len as usize > MAX_BODY_BYTES {
        return Err(Corrupt::Header);
    }
    let index_at = HEADER + type_len;
    let body_at = index_at + records * INDEX_ENTRY;
    match file.len().cmp(&(body_at + body_len)) {
        std::cmp::Ordering::Less => return Err(Corrupt::Short),
        std::cmp::Ordering::Greater => return Err(Corrupt::Long),
        std::cmp::Ordering::Equal => {}
    }
    if checksum(&file[..body_at], &file[body_at..]) != long(CHECKSUM_AT) {
        return Err(Corrupt::Checksum);
    }
    let coding = match head[10] {
        0 => Coding::Identity,
        1 => Coding::Gzip,
        2 => Coding::Zstd,
        _ => return Err(Corrupt::Header),
    };
    let content_type = std::str::from_utf8(&file[HEADER..index_at]).map_err(|_| Corrupt::Header)?;
    let shape = Shape {
        prefix_len: short(18),
        separator_len: short(20),
        suffix_len: short(22),
        content_type: content_type.into(),
    };
    let parts = [shape.prefix_len, shape.separator_len, shape.suffix_len];
    if head[11] != 0
        || records == 0
        || !is_header_value(content_type)
        || content_type.len() > MAX_PART
        || parts.iter().any(|&length| usize::from(length) > MAX_PART)
        || (coding == Coding::Identity && plain_len as usize != body_len)
    {
        return Err(Corrupt::Header);
    }
    let mut index = Vec::with_capacity(records);
    let mut least = u64::from(shape.prefix_len);
    for entry in file[index_at..body_at].chunks_exact(INDEX_ENTRY) {
        let (id, end) = entry.split_at(16);
        let (Ok(id), Ok(end)) = (<[u8; 16]>::try_from(id), <[u8; 4]>::try_from(end)) else {
            return Err(Corrupt::Header);
        };
        let end = u32::from_le_bytes(end);
        if u64::from(end) < least {
            return Err(Corrupt::Header);
        }
        least = u64::from(end) + u64::from(shape.separator_len);
        index.push((RecordId(id), end));
    }
    let last = index.last().map_or(0, |&(_, end)| u64::from(end));
    if last + u64::from(shape.suffix_len) != u64::from(plain_len) {
        return Err(Corrupt::Header);
    }
    Ok(SealedBatch {
        body: file.slice(body_at..),
        coding,
        plain_len,
        shape,
        index: index.into(),
        slack: body_at as u32,
    })
}

/// Bytes at the beginning of a spool file that hold its content type.
pub(crate) const TYPE_BYTES: usize = HEADER + MAX_PART;

/// The content type that the beginning of a spool file states; nothing else of it is looked at. `None` where it is none.
pub(crate) fn content_type(start: &[u8]) -> Option<&str> {
    let head: &[u8; HEADER] = start.first_chunk()?;
    let length = usize::from(u16::from_le_bytes([head[16], head[17]]));
    let is_ours = &head[..8] == MAGIC && head[8..10] == VERSION.to_le_bytes() && length <= MAX_PART;
    let text = std::str::from_utf8(start.get(HEADER..HEADER + length)?).ok()?;
    (is_ours && is_header_value(text)).then_some(text)
}

/// Over head and body, leaving out the checksum's own place.
fn checksum(head: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&head[..CHECKSUM_AT]);
    hasher.update(&head[HEADER..]);
    hasher.update(body);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::envelope::Envelope;
    use crate::sealed::tests::{coding, contents, sealed};

    fn file(batch: &SealedBatch) -> Vec<u8> {
        [&encode_head(batch)[..], batch.body()].concat()
    }

    fn batch() -> impl Strategy<Value = SealedBatch> {
        let records = proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..12);
        (records, coding(), any::<bool>(), any::<u64>()).prop_map(|(records, coding, lines, first)| {
            let envelope = if lines { Envelope::lines() } else { Envelope::edge_batch() };
            sealed(first.into(), &records, coding, &envelope)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn what_was_written_is_read(batch in batch()) {
            let file = file(&batch);
            prop_assert_eq!(file.len() as u64, file_len(&batch));
            let read = decode(&file.into()).unwrap();
            prop_assert_eq!(contents(&read), contents(&batch));
            prop_assert_eq!(read.body(), batch.body());
            prop_assert_eq!(read.content_type(), batch.content_type());
            prop_assert_eq!(&read.shape, &batch.shape);
        }

        #[test]
        fn any_cut_or_changed_byte_is_noticed(
            batch in batch(),
            at in any::<proptest::sample::Index>(),
            with in 1u8..,
            more in proptest::collection::vec(any::<u8>(), 1..5),
        ) {
            let whole = file(&batch);
            let at = at.index(whole.len());
            prop_assert!(decode(&whole[..at].to_vec().into()).is_err());
            let mut changed = whole.clone();
            changed[at] ^= with;
            prop_assert!(decode(&changed.into()).is_err());
            prop_assert!(decode(&[whole, more].concat().into()).is_err());
        }

        /// What a fuzzer would find first: random headers with a right checksum.
        #[test]
        fn hostile_headers_never_panic(
            head in proptest::collection::vec(prop_oneof![Just(0u8), Just(1), any::<u8>()], 24..25),
            rest in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut file = [&MAGIC[..], &[1, 0], &head[..22], &[0; 4], &rest].concat();
            // Plausible lengths, so that more than the first check is reached.
            file[12..16].copy_from_slice(&(u32::from(head[4]) % 4).to_le_bytes());
            file[16..18].copy_from_slice(&(u16::from(head[6]) % 8).to_le_bytes());
            let taken = HEADER + usize::from(file[16]) + usize::from(file[12]) * INDEX_ENTRY;
            let body = file.len().saturating_sub(taken) as u32;
            file[28..32].copy_from_slice(&body.to_le_bytes());
            let sum = checksum(&file, &[]);
            file[CHECKSUM_AT..HEADER].copy_from_slice(&sum.to_le_bytes());
            if let Ok(batch) = decode(&file.into()) {
                let _ = batch.plain();
                for cut in 0..=batch.records() {
                    let _ = batch.part(0, cut);
                    let _ = batch.part(cut, batch.records());
                }
            }
        }
    }

    #[test]
    fn each_fault_has_its_name() {
        let batch = sealed(0, &[b"one".to_vec()], Coding::Identity, &Envelope::lines());
        let whole = file(&batch);
        let with = |at: usize, byte: u8| {
            let mut file = whole.clone();
            file[at] = byte;
            decode(&file.into()).unwrap_err()
        };
        assert_eq!(decode(&Bytes::new()).unwrap_err(), Corrupt::Short);
        assert_eq!(with(0, b'X'), Corrupt::Magic);
        assert_eq!(with(8, 2), Corrupt::Version);
        assert_eq!(with(HEADER, b'x'), Corrupt::Checksum);
        assert_eq!(with(15, 0xff), Corrupt::Header);
        assert_eq!(with(28, 0xff), Corrupt::Short);
        assert_eq!(with(28, 0), Corrupt::Long);
    }
}
