//! What comes out: one TCP segment.

use crate::flow::{Direction, FlowKey};
use crate::seq::SeqNum;
use crate::time::Timestamp;
use crate::tunnel::TunnelPath;

/// The control bits of a TCP header (RFC 9293, section 3.1), as they stand in byte 13.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// FIN.
    pub const FIN: u8 = 0x01;
    /// SYN.
    pub const SYN: u8 = 0x02;
    /// RST.
    pub const RST: u8 = 0x04;
    /// PSH.
    pub const PSH: u8 = 0x08;
    /// ACK.
    pub const ACK: u8 = 0x10;
    /// URG.
    pub const URG: u8 = 0x20;

    /// FIN is set.
    #[must_use]
    pub const fn fin(self) -> bool {
        self.0 & Self::FIN != 0
    }

    /// SYN is set.
    #[must_use]
    pub const fn syn(self) -> bool {
        self.0 & Self::SYN != 0
    }

    /// RST is set.
    #[must_use]
    pub const fn rst(self) -> bool {
        self.0 & Self::RST != 0
    }

    /// ACK is set: the acknowledgement number means something.
    #[must_use]
    pub const fn ack(self) -> bool {
        self.0 & Self::ACK != 0
    }
}

/// One TCP segment, with all that was around it taken off.
///
/// The payload on the wire is `payload.len() + missing` bytes long: a capture that cut the frame (snaplen, AWS
/// `PacketLength`) leaves `missing` bytes that are known to have been sent after `payload` and cannot be had.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// When its frame was captured (of a fragmented datagram: the last fragment).
    pub at: Timestamp,
    /// The flow it belongs to.
    pub key: FlowKey,
    /// Which way it runs in `key`.
    pub direction: Direction,
    /// Sequence number of the first payload byte (of the SYN where it is set).
    pub seq: SeqNum,
    /// Acknowledgement number; only meaningful when `flags.ack()`.
    pub ack: SeqNum,
    /// Control bits.
    pub flags: TcpFlags,
    /// The window as it stands in the header, unscaled.
    pub window: u16,
    /// The IPv4 identification of the innermost header; 0 for IPv6.
    pub ip_id: u16,
    /// The captured payload.
    pub payload: &'a [u8],
    /// Payload bytes that were on the wire after `payload` but were not captured.
    pub missing: u32,
    /// The encapsulations it came in.
    pub path: &'a TunnelPath,
}
