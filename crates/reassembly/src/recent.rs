//! A short memory of a flow's latest segments, to tell the mirror's second copies from TCP's own retransmissions.
//!
//! A copy has the same direction, IPv4 identification, sequence and acknowledgement number, flags, window and length as
//! one of the flow's last [`KEPT`] segments, captured at most about a second before. Where the identification is 0 (IPv6,
//! and IPv4 with DF on some systems) it tells nothing, and only a segment right behind its twin counts as a copy.
//!
//! Kept are 24 bits of a hash and 8 bits of time. The result is a count and keeps copies out of the "further segments"
//! of the waiting rules; no byte is ever judged by it, so a collision costs nothing.

use decap::Segment;

/// How many segments are remembered.
pub(crate) const KEPT: usize = 5;

/// Bits of nanoseconds in a unit of the remembered time: about 134 ms.
const UNIT_BITS: u32 = 27;
/// Units that may lie between two copies.
const NEAR: u8 = 7;

/// The memory.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    /// A ring.
    entries: [u32; KEPT],
    /// Where the next entry goes.
    cursor: u8,
}

impl Recent {
    /// Notes a segment; true when it is a copy of a remembered one.
    #[inline]
    pub(crate) fn note(&mut self, segment: &Segment<'_>) -> bool {
        let entry = entry(segment);
        let is_copy = if segment.ip_id == 0 {
            let latest = self.cursor.checked_sub(1).map_or(KEPT - 1, usize::from);
            self.entries.get(latest).is_some_and(|&seen| matches(seen, entry))
        } else {
            self.entries.iter().fold(false, |found, &seen| found | matches(seen, entry))
        };
        self.put(entry);
        is_copy
    }

    /// Notes a segment that cannot be a copy.
    #[inline]
    pub(crate) fn remember(&mut self, segment: &Segment<'_>) {
        self.put(entry(segment));
    }

    #[inline]
    fn put(&mut self, entry: u32) {
        if let Some(slot) = self.entries.get_mut(usize::from(self.cursor)) {
            *slot = entry;
        }
        self.cursor = if usize::from(self.cursor) + 1 >= KEPT { 0 } else { self.cursor + 1 };
    }
}

#[inline]
const fn matches(seen: u32, entry: u32) -> bool {
    (seen ^ entry) >> 8 == 0 && (entry as u8).wrapping_sub(seen as u8) <= NEAR
}

#[inline]
fn entry(segment: &Segment<'_>) -> u32 {
    let numbers = (u64::from(segment.seq.0) << 32) | u64::from(segment.ack.0);
    let rest = (u64::from(segment.ip_id) << 48)
        | (u64::from(segment.window) << 32)
        | (u64::from(segment.flags.0) << 24)
        | ((segment.direction as u64) << 23)
        | ((segment.payload.len() as u64 + u64::from(segment.missing)) & 0x7f_ffff);
    let product = u128::from(numbers ^ 0x9e37_79b9_7f4a_7c15) * u128::from(rest ^ 0xd1b5_4a32_d192_ed03);
    let folded = (product as u64) ^ ((product >> 64) as u64);
    // Never 0 above the time, which is what an empty memory holds.
    let hash = ((folded >> 32) as u32) | 0x100;
    (hash & !0xff) | u32::from((segment.at.as_nanos() >> UNIT_BITS) as u8)
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use decap::{Domain, Endpoint, FlowKey, SeqNum, TcpFlags, Timestamp, TunnelPath};

    use super::*;

    fn segment(path: &TunnelPath, seq: u32, ip_id: u16, millis: u64) -> Segment<'_> {
        let endpoint = |port| Endpoint { ip: Ipv4Addr::new(10, 0, 0, 1).into(), port };
        let (key, direction) = FlowKey::new(endpoint(1), endpoint(2), Domain::GLOBAL);
        Segment {
            at: Timestamp::from_nanos(millis * 1_000_000),
            key,
            direction,
            seq: SeqNum(seq),
            ack: SeqNum(1),
            flags: TcpFlags(TcpFlags::ACK),
            window: 1,
            ip_id,
            payload: &[],
            missing: 0,
            path,
        }
    }

    #[test]
    fn a_copy_is_near_and_equal() {
        let path = TunnelPath::default();
        let mut recent = Recent::default();
        assert!(!recent.note(&segment(&path, 1, 7, 5000)));
        assert!(!recent.note(&segment(&path, 2, 8, 5000)));
        assert!(recent.note(&segment(&path, 1, 7, 5001)), "same id");
        assert!(!recent.note(&segment(&path, 1, 9, 5001)), "a retransmission has another id");
        assert!(!recent.note(&segment(&path, 2, 8, 9000)), "too late");
    }

    #[test]
    fn without_an_id_only_the_latest_counts() {
        let path = TunnelPath::default();
        let mut recent = Recent::default();
        assert!(!recent.note(&segment(&path, 1, 0, 1)));
        assert!(recent.note(&segment(&path, 1, 0, 1)));
        assert!(!recent.note(&segment(&path, 2, 0, 1)));
        assert!(!recent.note(&segment(&path, 1, 0, 1)));
    }

    #[test]
    fn the_memory_is_short() {
        let path = TunnelPath::default();
        let mut recent = Recent::default();
        recent.note(&segment(&path, 0, 1, 1));
        for seq in 1..KEPT as u32 {
            recent.note(&segment(&path, seq, 1, 1));
        }
        assert!(recent.note(&segment(&path, 0, 1, 1)));
        for seq in 1..=KEPT as u32 {
            recent.note(&segment(&path, seq + 100, 1, 1));
        }
        assert!(!recent.note(&segment(&path, 0, 1, 1)));
    }
}
