//! The ledger's first line, and what stands beside it.

use core::ops::AddAssign;

use crate::reason::SkipReason;
use crate::tunnel::TunnelKind;

/// Counts of frames since the start. The ledger's line: [`Stats::is_balanced`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Frames pushed.
    pub frames: u64,
    /// Captured bytes of those frames.
    pub bytes: u64,
    /// Frames that gave a segment (a datagram's last fragment included).
    pub segments: u64,
    /// Fragments that became part of a completed datagram, other than the frame that completed it.
    pub joined: u64,
    /// Fragments waiting now.
    pub held: u64,
    /// Frames that gave no segment, by reason; indexed by `SkipReason as usize`.
    pub skipped: [u64; SkipReason::ALL.len()],
    /// Frames shorter than on the wire.
    pub truncated_frames: u64,
    /// Payload bytes that were on the wire but not captured, over all segments.
    pub missing_bytes: u64,
    /// Encapsulations taken off, by kind; indexed by `TunnelKind as usize`.
    pub tunnels: [u64; TunnelKind::ALL.len()],
    /// Frames with at least one VLAN tag.
    pub vlan_tagged: u64,
    /// Datagrams completed from fragments.
    pub datagrams: u64,
}

impl Stats {
    /// Frames skipped for `reason`.
    #[must_use]
    pub fn skipped(&self, reason: SkipReason) -> u64 {
        self.skipped.get(reason as usize).copied().unwrap_or(0)
    }

    /// Counts `frames` as skipped for `reason`.
    pub(crate) fn skip(&mut self, reason: SkipReason, frames: u64) {
        if let Some(count) = self.skipped.get_mut(reason as usize) {
            *count += frames;
        }
    }

    /// Counts an encapsulation of this kind.
    pub(crate) fn tunnel(&mut self, kind: TunnelKind) {
        if let Some(count) = self.tunnels.get_mut(kind as usize) {
            *count += 1;
        }
    }

    /// Frames skipped for any reason.
    #[must_use]
    pub fn skipped_total(&self) -> u64 {
        self.skipped.iter().sum()
    }

    /// `frames = segments + joined + held + skipped`.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        self.frames == self.segments + self.joined + self.held + self.skipped_total()
    }
}

impl AddAssign<&Self> for Stats {
    /// Adds every count of another part of the same whole.
    fn add_assign(&mut self, part: &Self) {
        // Named one by one: a count that is new is not forgotten here.
        let Self {
            frames,
            bytes,
            segments,
            joined,
            held,
            skipped,
            truncated_frames,
            missing_bytes,
            tunnels,
            vlan_tagged,
            datagrams,
        } = part;
        self.frames += frames;
        self.bytes += bytes;
        self.segments += segments;
        self.joined += joined;
        self.held += held;
        for (sum, count) in self.skipped.iter_mut().zip(skipped) {
            *sum += count;
        }
        self.truncated_frames += truncated_frames;
        self.missing_bytes += missing_bytes;
        for (sum, count) in self.tunnels.iter_mut().zip(tunnels) {
            *sum += count;
        }
        self.vlan_tagged += vlan_tagged;
        self.datagrams += datagrams;
    }
}
