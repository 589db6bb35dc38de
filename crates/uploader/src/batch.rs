//! A batch as a worker fills it, and the memory it is filled in.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::envelope::Envelope;

/// The key by which a receiver drops repeats: 128 bits that depend on the record alone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordId(pub [u8; 16]);

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A full batch: the body in one piece, and where each record ends in it.
///
/// `Debug` shows counts only. The body's memory goes back to its [`crate::Batcher`] when the last user lets go of it.
pub struct Batch {
    pub(crate) buffer: Buffer,
    pub(crate) records: Vec<(RecordId, u32)>,
    pub(crate) first_at: Instant,
    pub(crate) envelope: Arc<Envelope>,
}

impl Batch {
    /// The body, envelope included.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.buffer.bytes
    }

    /// Ids and end offsets in [`Batch::bytes`], in the order in which the records were pushed.
    #[must_use]
    pub fn records(&self) -> &[(RecordId, u32)] {
        &self.records
    }

    /// When its first record was pushed.
    #[must_use]
    pub fn first_at(&self) -> Instant {
        self.first_at
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("records", &self.records.len())
            .field("bytes", &self.buffer.bytes.len())
            .finish_non_exhaustive()
    }
}

/// Bytes that return to their pool on drop.
pub(crate) struct Buffer {
    pub(crate) bytes: Vec<u8>,
    pool: Arc<Pool>,
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.pool.take_back(std::mem::take(&mut self.bytes));
    }
}

/// Buffers that wait to be filled again.
pub(crate) struct Pool {
    free: Mutex<Vec<Vec<u8>>>,
    /// A buffer that one large record made larger than this is not kept.
    largest: usize,
}

impl Pool {
    /// Buffers kept; more are under way only while delivery is behind.
    const KEPT: usize = 16;

    pub(crate) fn new(batch_bytes: usize) -> Arc<Self> {
        Arc::new(Self { free: Mutex::default(), largest: batch_bytes.saturating_mul(2) })
    }

    /// An empty buffer.
    pub(crate) fn take(self: &Arc<Self>) -> Buffer {
        let bytes = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        Buffer { bytes, pool: Arc::clone(self) }
    }

    fn take_back(&self, mut bytes: Vec<u8>) {
        if bytes.capacity() == 0 || bytes.capacity() > self.largest {
            return;
        }
        bytes.clear();
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < Self::KEPT {
            free.push(bytes);
        }
    }
}
