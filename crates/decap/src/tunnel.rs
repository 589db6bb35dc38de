//! Where a segment came through: its provenance.

use core::net::{IpAddr, Ipv4Addr};

use arrayvec::ArrayVec;

/// The most tunnels that a path remembers; [`crate::Config::max_depth`] may be lower, never higher.
pub const MAX_HOPS: usize = 16;

/// The most VLAN tags that a path remembers; further tags are taken off and not recorded.
pub const MAX_VLANS: usize = 8;

/// The kind of an encapsulation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum TunnelKind {
    /// GRE version 0 around IP (RFC 2784, RFC 2890).
    #[default]
    Gre,
    /// GRE around Ethernet, without a virtual subnet (protocol 0x6558).
    GreTeb,
    /// NVGRE: GRE/TEB whose key is a virtual subnet and a flow id (RFC 7637).
    Nvgre,
    /// ERSPAN type I: GRE 0x88BE without a sequence number or header.
    Erspan1,
    /// ERSPAN type II: GRE 0x88BE with an 8-byte header.
    Erspan2,
    /// ERSPAN type III: GRE 0x22EB with a 12-byte header and optional subheader.
    Erspan3,
    /// IPv4 in IPv4 (RFC 2003).
    Ip4InIp4,
    /// IPv6 in IPv4 (RFC 4213).
    Ip6InIp4,
    /// IPv4 in IPv6 (RFC 2473).
    Ip4InIp6,
    /// IPv6 in IPv6 (RFC 2473).
    Ip6InIp6,
    /// VXLAN (RFC 7348).
    Vxlan,
    /// VXLAN with the generic protocol extension (draft-ietf-nvo3-vxlan-gpe).
    VxlanGpe,
    /// Geneve (RFC 8926).
    Geneve,
    /// GTP-U (3GPP TS 29.281).
    GtpU,
    /// Teredo (RFC 4380).
    Teredo,
    /// LISP data packets (RFC 9300).
    Lisp,
    /// Network service header (RFC 8300).
    Nsh,
    /// MPLS in UDP (RFC 7510).
    MplsInUdp,
    /// Ethernet pseudo-wire over MPLS (RFC 4448).
    MplsPseudowire,
    /// Ethernet in IP (RFC 3378) and the SRv6 Ethernet next header (143).
    EtherIp,
    /// PPTP: GRE version 1 around PPP (RFC 2637).
    Pptp,
    /// MPLS in IP (RFC 4023).
    MplsInIp,
    /// AYIYA (draft-massar-v6ops-ayiya).
    Ayiya,
}

impl TunnelKind {
    /// Every kind, in declaration order.
    pub const ALL: &'static [Self] = &[
        Self::Gre,
        Self::GreTeb,
        Self::Nvgre,
        Self::Erspan1,
        Self::Erspan2,
        Self::Erspan3,
        Self::Ip4InIp4,
        Self::Ip6InIp4,
        Self::Ip4InIp6,
        Self::Ip6InIp6,
        Self::Vxlan,
        Self::VxlanGpe,
        Self::Geneve,
        Self::GtpU,
        Self::Teredo,
        Self::Lisp,
        Self::Nsh,
        Self::MplsInUdp,
        Self::MplsPseudowire,
        Self::EtherIp,
        Self::Pptp,
        Self::MplsInIp,
        Self::Ayiya,
    ];

    /// The stable `snake_case` name used in records and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gre => "gre",
            Self::GreTeb => "gre_teb",
            Self::Nvgre => "nvgre",
            Self::Erspan1 => "erspan1",
            Self::Erspan2 => "erspan2",
            Self::Erspan3 => "erspan3",
            Self::Ip4InIp4 => "ip4_in_ip4",
            Self::Ip6InIp4 => "ip6_in_ip4",
            Self::Ip4InIp6 => "ip4_in_ip6",
            Self::Ip6InIp6 => "ip6_in_ip6",
            Self::Vxlan => "vxlan",
            Self::VxlanGpe => "vxlan_gpe",
            Self::Geneve => "geneve",
            Self::GtpU => "gtpu",
            Self::Teredo => "teredo",
            Self::Lisp => "lisp",
            Self::Nsh => "nsh",
            Self::MplsInUdp => "mpls_in_udp",
            Self::MplsPseudowire => "mpls_pseudowire",
            Self::EtherIp => "ether_ip",
            Self::Pptp => "pptp",
            Self::MplsInIp => "mpls_in_ip",
            Self::Ayiya => "ayiya",
        }
    }
}

/// The number by which a tunnel names what is inside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TunnelId {
    /// The tunnel carries none.
    #[default]
    None,
    /// VXLAN, VXLAN-GPE, Geneve: virtual network id; NVGRE: virtual subnet id; LISP: instance id. 24 bits.
    Vni(u32),
    /// GRE key, 32 bits.
    Key(u32),
    /// ERSPAN session, 10 bits.
    Session(u16),
    /// GTP-U tunnel endpoint id, 32 bits; differs by direction.
    Teid(u32),
}

/// One encapsulation that was taken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TunnelHop {
    /// What kind of encapsulation.
    pub kind: TunnelKind,
    /// The outer source address; unspecified when the encapsulation sits on a link layer alone.
    pub source: IpAddr,
    /// The outer destination address; unspecified when the encapsulation sits on a link layer alone.
    pub destination: IpAddr,
    /// The number it carried.
    pub id: TunnelId,
}

impl Default for TunnelHop {
    fn default() -> Self {
        Self {
            kind: TunnelKind::default(),
            source: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            destination: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            id: TunnelId::None,
        }
    }
}

/// All encapsulations of a segment, outermost first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TunnelPath {
    /// The tunnels, outermost first.
    pub hops: ArrayVec<TunnelHop, MAX_HOPS>,
    /// The VLAN ids (12 bits), outermost first, over all levels; priority tags (id 0) are left out.
    pub vlans: ArrayVec<u16, MAX_VLANS>,
}

impl TunnelPath {
    /// Forgets everything, keeping nothing allocated.
    pub fn clear(&mut self) {
        self.hops.clear();
        self.vlans.clear();
    }
}
