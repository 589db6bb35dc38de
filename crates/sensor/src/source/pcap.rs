//! pcap files (draft-ietf-opsawg-pcap).
//!
//! The record headers are read right here, over the reader's own window: sixteen bytes, of which a fault must be found
//! before anything is made of them. The `pcap-parser` crate stands beside this in the tests, as the second opinion.

use decap::{LinkType, Timestamp};

use super::content::PcapKind;
use super::link::LinkName;
use super::record::{Fault, Order, Record, Step, USUAL_SNAPLEN, end, longest_packet};
use super::window::{Fill, Window};

/// Bytes of the file header.
pub(super) const FILE_HEADER: usize = 24;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// A pcap file whose header has been read.
#[derive(Debug)]
pub(super) struct Pcap {
    order: Order,
    unit: u64,
    record_header: usize,
    lengths: Lengths,
    snaplen: u32,
    longest: u32,
    link: LinkType,
    number: u32,
}

/// In which order a record's two lengths are: early versions did not agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lengths {
    CapturedFirst,
    WireFirst,
    /// Some writers one way, some the other: what was captured is never the larger.
    SmallerIsCaptured,
}

/// Why a file header cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Version,
    Link(LinkName),
}

impl Pcap {
    /// Reads the file header, whose kind `kind` is.
    pub(super) fn new(kind: PcapKind, header: &[u8; FILE_HEADER]) -> Result<Self, Refusal> {
        let order = Order { big_endian: kind.big_endian };
        let lengths = match (order.half(header, 4), order.half(header, 6)) {
            (2, 0..=2) | (543, _) => Lengths::WireFirst,
            (2, 3) => Lengths::SmallerIsCaptured,
            (2, _) => Lengths::CapturedFirst,
            _ => return Err(Refusal::Version),
        };
        let snaplen = order.word(header, 16);
        // The upper half says whether frames end with their check sequence, which decapsulation leaves behind anyway.
        let number = order.word(header, 20) & 0xffff;
        let link = LinkType::from_number(number).ok_or(Refusal::Link(LinkName(number)))?;
        let (unit, record_header) = (kind.unit, kind.record_header);
        Ok(Self { order, unit, record_header, lengths, snaplen, longest: longest_packet(snaplen), link, number })
    }

    /// Consumes the next record.
    #[inline(always)]
    pub(super) fn next(&self, window: &mut Window) -> Result<Step, Fault> {
        let available = window.available();
        if let Some(header) = available.first_chunk::<16>() {
            let (captured, wire) = self.lengths_of(header);
            let len = captured as usize;
            if captured <= self.longest && available.len() >= self.record_header + len && *header != [0; 16] {
                let seconds = u64::from(self.order.word(header, 0));
                let parts = u64::from(self.order.word(header, 4));
                // At most 2^32 seconds and 2^32 microseconds: below 2^64 nanoseconds.
                let at = Timestamp::from_nanos(seconds * NANOS_PER_SECOND + parts * self.unit);
                window.consume(self.record_header + len);
                let wire_len = wire.max(captured);
                let Self { link, number, .. } = *self;
                return Ok(Step::Packet(Record { at, link, number, interface: 0, wire_len, back: 0, len }));
            }
        }
        self.next_slow(window)
    }

    /// The record at the front is not complete, or is none.
    #[cold]
    #[inline(never)]
    fn next_slow(&self, window: &mut Window) -> Result<Step, Fault> {
        if window.fill(self.record_header)? == Fill::Short {
            return Ok(end(window));
        }
        let Some(header) = window.available().first_chunk::<16>() else {
            return Ok(end(window));
        };
        if *header == [0; 16] {
            // Left by a crash before the data was on the disk. A packet of no bytes from 1970 is less likely.
            return Fault::corrupt("zeros where a record header should be");
        }
        let (captured, wire) = self.lengths_of(header);
        if captured > self.longest {
            let most = self.longest;
            return Fault::corrupt(format!("a record claims {captured} bytes of packet; at most {most} are possible"));
        }
        if window.fill(self.record_header + captured as usize)? == Fill::Short {
            // Only a record that could be one is taken for the last, cut short: a length that no writer of this file
            // would have written tells of damage further up.
            let most = if self.snaplen == 0 { USUAL_SNAPLEN } else { self.snaplen };
            if !window.is_cut() && (captured > most || captured > wire) {
                return Fault::corrupt(format!(
                    "a record claims {captured} bytes of a packet of {wire}, with a snapshot length of {}, and the file ends before",
                    self.snaplen
                ));
            }
            return Ok(Step::Cut);
        }
        self.next(window)
    }

    /// How many bytes of a packet were captured, and how many it had on the wire.
    #[inline]
    fn lengths_of(&self, header: &[u8; 16]) -> (u32, u32) {
        let (first, second) = (self.order.word(header, 8), self.order.word(header, 12));
        match self.lengths {
            Lengths::CapturedFirst => (first, second),
            Lengths::WireFirst => (second, first),
            Lengths::SmallerIsCaptured => (first.min(second), first.max(second)),
        }
    }
}
