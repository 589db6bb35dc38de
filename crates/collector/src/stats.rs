//! What the collector has seen since its start.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// Counters of one run. They only grow, but for `connections_open` and `bytes_held`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Connections that were accepted.
    pub connections: u64,
    /// Of these, those that are open now.
    pub connections_open: u64,
    /// Connections closed at once, because as many as are allowed were open.
    pub connections_refused: u64,
    /// TLS handshakes that failed: no or a wrong client certificate, an old version, no TLS at all, too slow.
    pub handshakes_failed: u64,
    /// Requests, of any kind.
    pub requests: u64,
    /// Of these, over HTTP/2.
    pub requests_http2: u64,
    /// Of these, over a connection whose client showed a certificate.
    pub requests_with_certificate: u64,
    /// Answers by status. One that was cut counts with the status it would have had.
    pub answers: BTreeMap<u16, u64>,
    /// Bytes of bodies that brought records, as they came over the wire, read to their end.
    pub body_bytes: u64,
    /// Batches that were taken.
    pub batches: u64,
    /// Records in them. With a null store: found by a search, exact for what the sensor sends uncompressed.
    pub records: u64,
    /// Records that were stored already and were not stored again.
    pub duplicates: u64,
    /// Tokens issued.
    pub tokens_issued: u64,
    /// Requests with a missing, invalid or expired token.
    pub tokens_refused: u64,
    /// Bytes that bodies hold now.
    pub bytes_held: u64,
    /// How often each fault has struck.
    pub faults: BTreeMap<&'static str, u64>,
}

/// The counters themselves.
#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) connections: AtomicU64,
    pub(crate) connections_open: AtomicU64,
    pub(crate) connections_refused: AtomicU64,
    pub(crate) handshakes_failed: AtomicU64,
    pub(crate) requests: AtomicU64,
    pub(crate) requests_http2: AtomicU64,
    pub(crate) requests_with_certificate: AtomicU64,
    pub(crate) body_bytes: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) records: AtomicU64,
    pub(crate) duplicates: AtomicU64,
    pub(crate) tokens_issued: AtomicU64,
    pub(crate) tokens_refused: AtomicU64,
    /// By status, from 100 on.
    answers: [AtomicU64; 500],
}

impl Counters {
    pub(crate) fn new() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            connections: zero(),
            connections_open: zero(),
            connections_refused: zero(),
            handshakes_failed: zero(),
            requests: zero(),
            requests_http2: zero(),
            requests_with_certificate: zero(),
            body_bytes: zero(),
            batches: zero(),
            records: zero(),
            duplicates: zero(),
            tokens_issued: zero(),
            tokens_refused: zero(),
            answers: std::array::from_fn(|_| zero()),
        }
    }

    pub(crate) fn answered(&self, status: u16) {
        if let Some(counter) = usize::from(status).checked_sub(100).and_then(|place| self.answers.get(place)) {
            add(counter, 1);
        }
    }

    pub(crate) fn snapshot(&self, bytes_held: usize, faults: BTreeMap<&'static str, u64>) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Acquire);
        Stats {
            connections: read(&self.connections),
            connections_open: read(&self.connections_open),
            connections_refused: read(&self.connections_refused),
            handshakes_failed: read(&self.handshakes_failed),
            requests: read(&self.requests),
            requests_http2: read(&self.requests_http2),
            requests_with_certificate: read(&self.requests_with_certificate),
            answers: (100..)
                .zip(&self.answers)
                .map(|(status, count)| (status, read(count)))
                .filter(|(_, count)| *count > 0)
                .collect(),
            body_bytes: read(&self.body_bytes),
            batches: read(&self.batches),
            records: read(&self.records),
            duplicates: read(&self.duplicates),
            tokens_issued: read(&self.tokens_issued),
            tokens_refused: read(&self.tokens_refused),
            bytes_held: bytes_held as u64,
            faults,
        }
    }
}

pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::AcqRel);
}
