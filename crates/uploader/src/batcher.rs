//! Records into batches: by count, by bytes, by age.
//!
//! A `Batcher` belongs to one worker. It starts nothing and reads no clock: time is an argument. Records are written
//! straight into the body that will be sent, with the envelope around them, so nothing is copied afterwards.
//!
//! Invariants: every committed record is in exactly one batch, in order; a batch exceeds [`BatchLimits::bytes`] only if
//! it holds a single record.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;

use crate::batch::{Batch, Buffer, Pool, RecordId};
use crate::envelope::Envelope;
use crate::settings::BatchLimits;

/// Collects one worker's records.
pub struct Batcher {
    limits: BatchLimits,
    /// What the next batch goes by.
    wanted: Arc<ArcSwap<BatchLimits>>,
    envelope: Arc<Envelope>,
    pool: Arc<Pool>,
    open: Buffer,
    records: Vec<(RecordId, u32)>,
    first_at: Option<Instant>,
    /// Where the open batch ends without a record that is being written.
    committed: usize,
}

impl Batcher {
    /// An empty batcher.
    #[must_use]
    pub fn new(limits: BatchLimits, envelope: &Envelope) -> Self {
        Self::following(Arc::new(ArcSwap::from_pointee(limits)), envelope)
    }

    /// One whose limits may be changed from outside: each batch keeps to those that held when it was opened.
    pub(crate) fn following(wanted: Arc<ArcSwap<BatchLimits>>, envelope: &Envelope) -> Self {
        let limits = **wanted.load();
        let pool = Pool::new(limits.bytes);
        let mut open = pool.take();
        open.bytes.extend_from_slice(&envelope.prefix);
        Self {
            limits,
            wanted,
            committed: open.bytes.len(),
            envelope: Arc::new(envelope.clone()),
            records: Vec::new(),
            first_at: None,
            open,
            pool,
        }
    }

    /// Adds a record. Returns the batch that this closed, if it closed one.
    pub fn push(&mut self, id: RecordId, bytes: &[u8], now: Instant) -> Option<Batch> {
        self.buffer().extend_from_slice(bytes);
        self.commit(id, now)
    }

    /// The buffer to append the next record to; [`Batcher::commit`] makes it one. What is in the buffer already must be
    /// left as it is. What an earlier call appended and nobody committed is taken back.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        self.open.bytes.truncate(self.committed);
        if !self.records.is_empty() {
            self.open.bytes.extend_from_slice(&self.envelope.separator);
        }
        &mut self.open.bytes
    }

    /// Makes what was appended since [`Batcher::buffer`] a record. Returns the batch that this closed, if it closed one.
    pub fn commit(&mut self, id: RecordId, now: Instant) -> Option<Batch> {
        let closed = if !self.records.is_empty() && self.closed_len() > self.limits.bytes {
            // It does not fit any more: it opens the next batch, and is copied there.
            let start = (self.committed + self.envelope.separator.len()).min(self.open.bytes.len());
            let mut next = self.fresh();
            next.bytes.extend_from_slice(&self.open.bytes[start..]);
            self.open.bytes.truncate(self.committed);
            self.close(next)
        } else {
            None
        };
        self.first_at.get_or_insert(now);
        self.committed = self.open.bytes.len();
        // A body beyond 4 GiB is refused when it is sealed, so its index is never used.
        self.records.push((id, u32::try_from(self.committed).unwrap_or(u32::MAX)));
        if closed.is_some() || !self.is_full() {
            return closed; // A full batch right behind a closed one goes with the next call.
        }
        self.flush()
    }

    /// Takes back what was appended since [`Batcher::buffer`].
    pub fn abandon(&mut self) {
        self.open.bytes.truncate(self.committed);
    }

    /// The open batch, if it is old enough at `now` (or full).
    pub fn due(&mut self, now: Instant) -> Option<Batch> {
        let first_at = self.first_at?;
        if self.is_full() || now.saturating_duration_since(first_at) >= self.limits.age { self.flush() } else { None }
    }

    /// When [`Batcher::due`] will have something, if nothing is pushed.
    #[must_use]
    pub fn due_at(&self) -> Option<Instant> {
        self.first_at.map(|first_at| first_at + self.limits.age)
    }

    /// The open batch, if it has records.
    pub fn flush(&mut self) -> Option<Batch> {
        self.open.bytes.truncate(self.committed);
        if self.records.is_empty() {
            return None;
        }
        let next = self.fresh();
        self.close(next)
    }

    /// Records in the open batch.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.records.len()
    }

    /// Whether nothing can be added to the open batch.
    fn is_full(&self) -> bool {
        self.records.len() >= self.limits.records || self.closed_len() >= self.limits.bytes
    }

    fn closed_len(&self) -> usize {
        self.open.bytes.len() + self.envelope.suffix.len()
    }

    /// An empty batch, by the limits that are wanted now.
    fn fresh(&mut self) -> Buffer {
        let wanted = **self.wanted.load();
        if wanted.bytes != self.limits.bytes {
            self.pool = Pool::new(wanted.bytes);
        }
        self.limits = wanted;
        let mut next = self.pool.take();
        next.bytes.extend_from_slice(&self.envelope.prefix);
        next
    }

    /// Closes the open batch and goes on in `next`.
    fn close(&mut self, next: Buffer) -> Option<Batch> {
        let first_at = self.first_at.take()?;
        let mut buffer = std::mem::replace(&mut self.open, next);
        buffer.bytes.extend_from_slice(&self.envelope.suffix);
        self.committed = self.envelope.prefix.len();
        let room = Vec::with_capacity(self.records.len().min(self.limits.records));
        let records = std::mem::replace(&mut self.records, room);
        Some(Batch { buffer, records, first_at, envelope: Arc::clone(&self.envelope) })
    }
}

impl std::fmt::Debug for Batcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batcher")
            .field("limits", &self.limits)
            .field("pending", &self.records.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn id(number: usize) -> RecordId {
        RecordId((number as u128).to_be_bytes())
    }

    /// The records of a batch, read by the index alone.
    fn records(batch: &Batch) -> Vec<(RecordId, Vec<u8>)> {
        let mut start = batch.envelope.prefix.len();
        let mut found = Vec::new();
        for &(id, end) in batch.records() {
            found.push((id, batch.bytes()[start..end as usize].to_vec()));
            start = end as usize + batch.envelope.separator.len();
        }
        found
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(Vec<u8>),
        Write(Vec<u8>),
        Abandon(Vec<u8>),
        Due(u64),
        Flush,
    }

    fn step() -> impl Strategy<Value = Step> {
        let record = || proptest::collection::vec(b'a'..=b'z', 0..60);
        prop_oneof![
            4 => record().prop_map(Step::Push),
            4 => record().prop_map(Step::Write),
            1 => record().prop_map(Step::Abandon),
            2 => (0u64..2000).prop_map(Step::Due),
            1 => Just(Step::Flush),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        /// Every committed record comes out once, in order, in a batch within its limits and inside the envelope.
        #[test]
        fn records_come_out_once_in_order_within_limits(
            steps in proptest::collection::vec(step(), 0..80),
            most in 1usize..6,
            bytes in 12usize..120,
            lines in any::<bool>(),
        ) {
            let envelope = if lines { Envelope::lines() } else { Envelope::edge_batch() };
            let limits = BatchLimits { records: most, bytes, age: Duration::from_secs(1) };
            let mut batcher = Batcher::new(limits, &envelope);
            let mut now = Instant::now();
            let mut pushed = Vec::new();
            let mut batches = Vec::new();
            for step in steps {
                let closed = match step {
                    Step::Push(record) => {
                        pushed.push((id(pushed.len()), record.clone()));
                        batcher.push(id(pushed.len() - 1), &record, now)
                    }
                    Step::Write(record) => {
                        pushed.push((id(pushed.len()), record.clone()));
                        batcher.buffer().extend_from_slice(&record);
                        batcher.commit(id(pushed.len() - 1), now)
                    }
                    Step::Abandon(record) => {
                        batcher.buffer().extend_from_slice(&record);
                        batcher.abandon();
                        None
                    }
                    Step::Due(millis) => {
                        now += Duration::from_millis(millis);
                        let overdue = batcher.due_at().is_some_and(|at| at <= now);
                        let batch = batcher.due(now);
                        prop_assert!(!overdue || batch.is_some());
                        batch
                    }
                    Step::Flush => batcher.flush(),
                };
                batches.extend(closed);
            }
            // A full batch may be left right behind a closed one; then nothing is.
            batches.extend(batcher.flush());
            prop_assert!(batcher.flush().is_none());
            prop_assert_eq!(batcher.pending(), 0);
            let mut found = Vec::new();
            for batch in &batches {
                let inside = records(batch);
                prop_assert!(!inside.is_empty() && inside.len() <= most);
                prop_assert!(inside.len() == 1 || batch.bytes().len() <= bytes);
                let bodies: Vec<_> = inside.iter().map(|(_, record)| record.as_slice()).collect();
                let body = [&envelope.prefix[..], &bodies.join(&envelope.separator[..]), &envelope.suffix[..]].concat();
                prop_assert_eq!(batch.bytes(), &body[..]);
                found.extend(inside);
            }
            prop_assert_eq!(found, pushed);
        }
    }

    #[test]
    fn buffers_are_used_again() {
        let limits = BatchLimits { records: 2, bytes: 4096, age: Duration::from_secs(1) };
        let mut batcher = Batcher::new(limits, &Envelope::lines());
        let now = Instant::now();
        let mut seen = std::collections::HashSet::new();
        for number in 0..100 {
            if let Some(batch) = batcher.push(id(number), &[b'x'; 1000], now) {
                seen.insert(batch.bytes().as_ptr());
            }
        }
        assert!(seen.len() <= 3, "{} buffers for one batch at a time", seen.len());
    }

    #[test]
    fn limits_that_change_hold_from_the_next_batch_on() {
        let limits = BatchLimits { records: 3, bytes: 1024, age: Duration::from_secs(1) };
        let wanted = Arc::new(ArcSwap::from_pointee(limits));
        let mut batcher = Batcher::following(Arc::clone(&wanted), &Envelope::lines());
        let now = Instant::now();
        assert!(batcher.push(id(0), b"a", now).is_none());
        wanted.store(Arc::new(BatchLimits { records: 2, bytes: 4096, age: Duration::from_secs(9) }));
        assert_eq!(batcher.due_at(), Some(now + Duration::from_secs(1)));
        let sizes: Vec<usize> = (1..9)
            .filter_map(|number| batcher.push(id(number), b"a", now))
            .map(|batch| batch.records().len())
            .collect();
        assert_eq!(sizes, [3, 2, 2, 2]);
        assert!(batcher.push(id(9), b"a", now).is_none());
        assert_eq!(batcher.due_at(), Some(now + Duration::from_secs(9)));
    }

    #[test]
    fn debug_shows_no_content() {
        let mut batcher = Batcher::new(BatchLimits::default(), &Envelope::lines());
        batcher.push(id(0), b"hunter2", Instant::now());
        let batch = batcher.flush().unwrap();
        assert_eq!(format!("{batch:?}"), "Batch { records: 1, bytes: 8, .. }");
    }
}
