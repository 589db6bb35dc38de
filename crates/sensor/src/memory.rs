//! One number of bytes, split over workers and parts.
//!
//! The process holds, beside what is listed here, its program text and the reader's buffers; those are [`FIXED`].
//!
//! | part | share | grows with |
//! |---|---|---|
//! | reader, output, tables of the summary | [`FIXED`] | nothing |
//! | batches between threads | [`PER_WORKER_BATCHES`] a worker | nothing |
//! | IP fragments | 1/32, at most 64 MiB | fragmented datagrams under way |
//! | flow slots | 27 % of a worker's rest | connections |
//! | pages for out-of-order data | 12 % | loss and reordering |
//! | heads, bodies, pending exchanges | 38 %, of which 1/9 is the parser's own reserve | requests without answer yet |
//! | records in the making and on their way out | 18 % | the largest bodies, decoded and escaped |
//! | slack of the allocator | 5 % | |
//!
//! Of a record's share, an eighth is what one body may decode to, and two layers in between of a stacked coding take as
//! much and an eighth more each. 55 % is for the bodies of lines as they are written: half of it for those of the line that is
//! being made, half for all that are on their way out, whose bytes are counted ([`crate::sealing`]).

use std::fmt;

use crate::units::ByteSize;

/// What the process needs whatever it is given.
pub const FIXED: u64 = 8 << 20;
/// Batches of copied segments and buffers of finished lines that are on their way to and from one worker; where there is but
/// one, of copied exchanges, and what the sealing thread writes them with.
pub const PER_WORKER_BATCHES: u64 = 6 << 20;
/// The least that a worker can do its work with.
pub const LEAST_PER_WORKER: u64 = 16 << 20;

/// Lines whose bodies may be as large as the limit allows: the one that a worker makes, and for each worker as much on its way
/// out, see [`crate::sealing::most_waiting`].
const LINES: u64 = 2;

/// What a flow's slot takes beside the handler's part of it: addresses, two directions, its place in the tables.
const SLOT: u64 = 384;

/// The sizes that a total comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// For [`decap::Config::fragment_memory`]: one for the process, since one thread decapsulates.
    pub fragments: usize,
    /// For [`reassembly::Limits::max_flows`] of each worker.
    pub max_flows: usize,
    /// For [`reassembly::Limits::page_memory`] of each worker.
    pub pages: usize,
    /// For [`http_parse::Settings::memory`] of each worker.
    pub messages: usize,
    /// The most for [`crate::record::RecordOptions::decode_limit`].
    pub decoded: usize,
    /// For [`crate::record::RecordOptions::content_limit`].
    pub content: usize,
}

/// The total cannot be split so that each worker gets what it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLittle {
    given: u64,
    workers: usize,
    least: u64,
}

impl TooLittle {
    /// What is wrong, and what to do.
    #[must_use]
    pub fn found_and_advice(&self) -> (String, String) {
        let Self { given, workers, least } = *self;
        let (given, least) = (ByteSize(given), ByteSize(least));
        (format!("{given} is too little for {workers} worker(s)"), format!("give at least {least}, or fewer workers"))
    }
}

impl fmt::Display for TooLittle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (found, advice) = self.found_and_advice();
        write!(f, "memory {found}: {advice}")
    }
}

impl std::error::Error for TooLittle {}

/// Splits `total` bytes over `workers` workers (0 counts as 1), each of whose flows takes `conn` bytes in the handler.
///
/// # Errors
/// When a worker would get less than [`LEAST_PER_WORKER`].
pub fn split(total: u64, workers: usize, conn: usize) -> Result<Shares, TooLittle> {
    let workers = workers.max(1);
    let count = workers as u64;
    let batches = count * PER_WORKER_BATCHES;
    let fragments = (total / 32).min(64 << 20);
    let rest = total.saturating_sub(FIXED + batches + fragments) / count;
    if rest < LEAST_PER_WORKER {
        // total × 31/32 must cover the rest of the parts.
        let least = (FIXED + batches + count * LEAST_PER_WORKER).div_ceil(31) * 32;
        return Err(TooLittle { given: total, workers, least: least.next_multiple_of(1 << 20) });
    }
    let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let record = rest / 100 * 18;
    Ok(Shares {
        fragments: size(fragments),
        max_flows: size(rest / 100 * 27 / (SLOT + conn as u64)).max(1_024),
        pages: size(rest / 100 * 12),
        messages: size(rest / 100 * 38 / 9 * 8),
        decoded: size(record / 8),
        content: size(record / 100 * 55 / LINES),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All that the parts may take, the parser's reserve of an eighth included.
    fn sum(shares: &Shares, workers: usize, conn: usize) -> u64 {
        let worker =
            shares.max_flows as u64 * (SLOT + conn as u64) + shares.pages as u64 + shares.messages as u64 * 9 / 8;
        let worker = worker + shares.content as u64 * LINES + shares.decoded as u64 * 13 / 4;
        FIXED + workers as u64 * PER_WORKER_BATCHES + shares.fragments as u64 + workers as u64 * worker
    }

    proptest! {
        #[test]
        fn parts_never_exceed_the_total(total in 0_u64..1 << 40, workers in 1_usize..128, conn in 0_usize..4_096) {
            match split(total, workers, conn) {
                Ok(shares) => prop_assert!(sum(&shares, workers, conn) <= total),
                Err(refusal) => {
                    prop_assert!(total < refusal.least);
                    prop_assert!(split(refusal.least, workers, conn).is_ok());
                }
            }
        }
    }

    #[test]
    fn the_default_holds_hundreds_of_thousands_of_flows() {
        let shares = split(1 << 30, 1, 512).unwrap();
        assert!(shares.max_flows > 300_000, "{shares:?}");
        assert!(shares.pages > 100 << 20 && shares.messages > 300 << 20, "{shares:?}");
        assert_eq!(shares.fragments, 32 << 20);
        assert!(sum(&shares, 1, 512) > (1 << 30) / 10 * 9, "what is given is used");
        assert!(shares.decoded > 20 << 20 && shares.content > 45 << 20, "{shares:?}");
    }

    #[test]
    fn refusal_says_what_would_do() {
        let refusal = split(10 << 20, 4, 512).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "memory 10MiB is too little for 4 worker(s): give at least 100MiB, or fewer workers"
        );
        assert!(split(0, 0, 0).is_err());
    }
}
