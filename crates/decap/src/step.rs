//! What reading one header yields.

use crate::frame::LinkType;
use crate::reason::SkipReason;
use crate::tunnel::{TunnelId, TunnelKind};

/// What the next header is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The captured frame's link layer.
    Link(LinkType),
    /// An Ethernet header.
    Ethernet,
    /// What an EtherType (or an 802.3 length) announces, other than the ones that have a variant of their own.
    EtherType(u16),
    /// IPv4 or IPv6, by the version nibble.
    Ip,
    /// What an IP protocol number announces.
    Protocol(u8),
    /// PPP, from the protocol field on.
    Ppp,
    /// An MPLS label stack.
    Mpls,
    /// A network service header.
    Nsh,
    /// An IEEE 802.11 header.
    Wlan,
}

impl Next {
    /// What an EtherType announces.
    #[inline]
    pub(crate) const fn of_ether_type(number: u16) -> Self {
        match number {
            ether_type::IPV4 | ether_type::IPV6 => Self::Ip,
            ether_type::MPLS | ether_type::MPLS_MULTICAST => Self::Mpls,
            ether_type::NSH => Self::Nsh,
            ether_type::TEB => Self::Ethernet,
            ether_type::PPP => Self::Ppp,
            other => Self::EtherType(other),
        }
    }
}

/// What there is to note down about a header that was taken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Nothing.
    None,
    /// It was a VLAN tag.
    Vlan(u16),
    /// It was an encapsulation.
    Hop(TunnelKind, TunnelId),
    /// It was a routing header that names the final destination.
    Destination([u8; 16]),
}

/// One header taken off: how long it was and what follows.
///
/// Reading a header has no side effects, so a tunnel can be tried and given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// What follows.
    pub(crate) next: Next,
    /// The header's length in bytes. May exceed what was captured; the next header then has no bytes.
    pub(crate) len: usize,
    /// What to note down.
    pub(crate) mark: Mark,
}

impl Step {
    /// A header of `len` bytes that leaves no trace.
    #[inline]
    pub(crate) const fn to(next: Next, len: usize) -> Self {
        Self { next, len, mark: Mark::None }
    }

    /// An encapsulation whose headers are `len` bytes long.
    #[inline]
    pub(crate) const fn tunnel(kind: TunnelKind, id: TunnelId, next: Next, len: usize) -> Self {
        Self { next, len, mark: Mark::Hop(kind, id) }
    }

    /// This step behind `len` further bytes of header.
    #[inline]
    pub(crate) const fn after(mut self, len: usize) -> Self {
        self.len += len;
        self
    }
}

/// A step, or the reason why there is none.
pub(crate) type Stepped = Result<Step, SkipReason>;

/// The EtherTypes that are read (IEEE 802 numbers; GRE and Geneve use them too).
pub(crate) mod ether_type {
    /// IPv4.
    pub(crate) const IPV4: u16 = 0x0800;
    /// ARP: never leads to a segment, but says that an Ethernet header is one.
    pub(crate) const ARP: u16 = 0x0806;
    /// TRILL (RFC 6325).
    pub(crate) const TRILL: u16 = 0x22f3;
    /// Transparent Ethernet bridging (RFC 1701).
    pub(crate) const TEB: u16 = 0x6558;
    /// IEEE 802.1Q.
    pub(crate) const VLAN: u16 = 0x8100;
    /// IPv6.
    pub(crate) const IPV6: u16 = 0x86dd;
    /// PPP (RFC 2637, RFC 2784 tunnels).
    pub(crate) const PPP: u16 = 0x880b;
    /// MPLS (RFC 3032).
    pub(crate) const MPLS: u16 = 0x8847;
    /// MPLS, multicast or upstream-assigned labels (RFC 5332).
    pub(crate) const MPLS_MULTICAST: u16 = 0x8848;
    /// PPPoE session stage (RFC 2516).
    pub(crate) const PPPOE_SESSION: u16 = 0x8864;
    /// A jumbo frame's LLC header (draft-ietf-isis-ext-eth).
    pub(crate) const JUMBO_LLC: u16 = 0x8870;
    /// IEEE 802.1ad.
    pub(crate) const SERVICE_VLAN: u16 = 0x88a8;
    /// IEEE 802.1ah, provider backbone bridges.
    pub(crate) const BACKBONE_SERVICE: u16 = 0x88e7;
    /// Cisco FabricPath.
    pub(crate) const FABRIC_PATH: u16 = 0x8903;
    /// Cisco VN-Tag.
    pub(crate) const VN_TAG: u16 = 0x8926;
    /// IEEE 802.1BR E-Tag.
    pub(crate) const E_TAG: u16 = 0x893f;
    /// Network service header (RFC 8300).
    pub(crate) const NSH: u16 = 0x894f;
    /// Cisco TTag, a timestamp.
    pub(crate) const TTAG: u16 = 0x8988;
    /// QinQ before 802.1ad.
    pub(crate) const QINQ_9100: u16 = 0x9100;
    /// QinQ before 802.1ad.
    pub(crate) const QINQ_9200: u16 = 0x9200;
    /// Arista's vendor-specific header; sub-type 1 is a timestamp.
    pub(crate) const ARISTA: u16 = 0xd28b;
    /// IEEE 802.1CB redundancy tag.
    pub(crate) const R_TAG: u16 = 0xf1c1;
}

/// The IP protocol numbers that are read (IANA).
pub(crate) mod protocol {
    /// IPv6 hop-by-hop options.
    pub(crate) const HOP_BY_HOP: u8 = 0;
    /// ICMP.
    pub(crate) const ICMP: u8 = 1;
    /// IPv4 encapsulation.
    pub(crate) const IPV4: u8 = 4;
    /// TCP.
    pub(crate) const TCP: u8 = 6;
    /// UDP.
    pub(crate) const UDP: u8 = 17;
    /// IPv6 encapsulation.
    pub(crate) const IPV6: u8 = 41;
    /// IPv6 routing header.
    pub(crate) const ROUTING: u8 = 43;
    /// IPv6 fragment header.
    pub(crate) const FRAGMENT: u8 = 44;
    /// GRE.
    pub(crate) const GRE: u8 = 47;
    /// IPsec ESP.
    pub(crate) const ESP: u8 = 50;
    /// IPsec AH.
    pub(crate) const AUTHENTICATION: u8 = 51;
    /// ICMPv6.
    pub(crate) const ICMPV6: u8 = 58;
    /// IPv6 destination options.
    pub(crate) const DESTINATION_OPTIONS: u8 = 60;
    /// Ethernet in IP (RFC 3378).
    pub(crate) const ETHER_IP: u8 = 97;
    /// SCTP.
    pub(crate) const SCTP: u8 = 132;
    /// IPv6 mobility header.
    pub(crate) const MOBILITY: u8 = 135;
    /// MPLS in IP (RFC 4023).
    pub(crate) const MPLS: u8 = 137;
    /// Host identity protocol.
    pub(crate) const HIP: u8 = 139;
    /// Shim6.
    pub(crate) const SHIM6: u8 = 140;
    /// Ethernet (RFC 8986).
    pub(crate) const ETHERNET: u8 = 143;
}
