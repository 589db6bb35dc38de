//! What a source hands in.

use crate::time::Timestamp;

/// A link-layer type that the decapsulator can start from.
///
/// Numbers are the LINKTYPE_ values of capture files (<https://www.tcpdump.org/linktypes.html>).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LinkType {
    /// Ethernet (1).
    Ethernet,
    /// Linux cooked capture, version 1 (113).
    LinuxSll,
    /// Linux cooked capture, version 2 (276).
    LinuxSll2,
    /// IPv4 or IPv6 by the version nibble (101; also 12 and 14, the DLT_RAW values of some systems).
    RawIp,
    /// IPv4 only (228).
    RawIpv4,
    /// IPv6 only (229).
    RawIpv6,
    /// BSD loopback (0): address family in the capturing host's byte order.
    BsdNull,
    /// OpenBSD loopback (108): address family in network byte order.
    BsdLoop,
    /// PPP, bare or in HDLC-like framing, and Cisco HDLC, told apart by their first byte (9, 50, 104).
    Ppp,
    /// PPPoE session data without an Ethernet header (51).
    PppEther,
    /// Linux netfilter log (239).
    Nflog,
}

impl LinkType {
    /// The link type of a LINKTYPE_ number, if it is one that can be read.
    #[must_use]
    pub const fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::BsdNull,
            1 => Self::Ethernet,
            9 | 50 | 104 => Self::Ppp,
            12 | 14 | 101 => Self::RawIp,
            51 => Self::PppEther,
            108 => Self::BsdLoop,
            113 => Self::LinuxSll,
            228 => Self::RawIpv4,
            229 => Self::RawIpv6,
            239 => Self::Nflog,
            276 => Self::LinuxSll2,
            _ => return None,
        })
    }
}

/// One captured frame. Borrowed: the source keeps the bytes.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// When it was captured.
    pub at: Timestamp,
    /// What its first byte belongs to.
    pub link: LinkType,
    /// The captured bytes.
    pub data: &'a [u8],
    /// Its length on the wire in bytes; more than `data.len()` when the capture cut it.
    pub wire_len: u32,
}
