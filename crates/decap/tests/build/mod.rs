//! Builds frames around a TCP segment, from the inside out.
//!
//! Written against the specifications and apart from the crate's readers, so that both have to make the same mistake
//! for a test to miss it.

#![allow(unreachable_pub, dead_code, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use decap::{Frame, LinkType, Timestamp, TunnelId, TunnelKind};

/// The inner endpoints of [`tcp`].
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
pub const PORTS: (u16, u16) = (40_000, 80);
pub const SEQ: u32 = 0xfeed_0001;

/// What bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    V4,
    V6,
    Ethernet,
}

/// A packet and what is known about the way it was wrapped.
#[derive(Clone, Debug)]
pub struct Packet {
    pub kind: Kind,
    pub bytes: Vec<u8>,
    /// Outermost first.
    pub hops: Vec<(TunnelKind, TunnelId)>,
    pub vlans: Vec<u16>,
}

/// A TCP header and payload.
pub fn tcp_bytes(payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(PORTS.0.to_be_bytes());
    bytes.extend(PORTS.1.to_be_bytes());
    bytes.extend(SEQ.to_be_bytes());
    bytes.extend(0x0102_0304_u32.to_be_bytes());
    // Twelve bytes of options: no operation twice, timestamps.
    bytes.extend([0x80, 0x18, 0x20, 0x00, 0xba, 0xad, 0, 0]);
    bytes.extend([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
    bytes.extend(payload);
    bytes
}

/// A TCP segment in IP of this version. IPv6 endpoints are the IPv4 ones in a documentation prefix.
pub fn tcp(v6: bool, payload: &[u8]) -> Packet {
    let segment = tcp_bytes(payload);
    let (source, destination) = endpoints(v6);
    Packet { hops: vec![], vlans: vec![], ..ip(source, destination, 6, &segment) }
}

/// The addresses of [`tcp`].
pub fn endpoints(v6: bool) -> (IpAddr, IpAddr) {
    let address = |v4: Ipv4Addr| {
        let [a, b, c, d] = v4.octets();
        if v6 { IpAddr::from([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d]) } else { IpAddr::V4(v4) }
    };
    (address(CLIENT), address(SERVER))
}

/// An IP packet of the addresses' version.
pub fn ip(source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8]) -> Packet {
    let mut bytes = Vec::new();
    let kind = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            bytes.extend([0x45, 0]);
            bytes.extend(u16::try_from(20 + payload.len()).unwrap().to_be_bytes());
            bytes.extend([0x12, 0x34, 0, 0, 64, protocol, 0, 0]);
            bytes.extend(source.octets());
            bytes.extend(destination.octets());
            Kind::V4
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            bytes.extend([0x60, 0, 0, 0]);
            bytes.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
            bytes.extend([protocol, 64]);
            bytes.extend(source.octets());
            bytes.extend(destination.octets());
            Kind::V6
        }
        _ => panic!("one version"),
    };
    bytes.extend(payload);
    Packet { kind, bytes, hops: vec![], vlans: vec![] }
}

/// The outer addresses of every tunnel.
pub fn outer(v6: bool) -> (IpAddr, IpAddr) {
    if v6 {
        (Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 1).into(), Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 2).into())
    } else {
        (Ipv4Addr::new(192, 0, 2, 1).into(), Ipv4Addr::new(192, 0, 2, 2).into())
    }
}

impl Packet {
    /// Around IP or Ethernet: outer IP with `protocol` and `header` before this packet.
    fn wrapped(self, v6: bool, protocol: u8, header: &[u8], hop: (TunnelKind, TunnelId)) -> Self {
        let (source, destination) = outer(v6);
        let payload = [header, &self.bytes].concat();
        let mut hops = vec![hop];
        hops.extend(self.hops);
        Self { hops, vlans: self.vlans, ..ip(source, destination, protocol, &payload) }
    }

    /// Around IP or Ethernet: outer IP, UDP to `port`, and `header`.
    fn in_udp(self, v6: bool, port: u16, header: &[u8], hop: (TunnelKind, TunnelId)) -> Self {
        let length = u16::try_from(8 + header.len() + self.bytes.len()).unwrap();
        let udp = [&51_234_u16.to_be_bytes()[..], &port.to_be_bytes(), &length.to_be_bytes(), &[0, 0], header].concat();
        self.wrapped(v6, 17, &udp, hop)
    }

    fn ether_type(&self) -> u16 {
        match self.kind {
            Kind::V4 => 0x0800,
            Kind::V6 => 0x86dd,
            Kind::Ethernet => 0x6558,
        }
    }

    /// Around IP: an Ethernet header and tags, outermost first, each an EtherType and what follows it.
    pub fn in_ethernet(self, tags: &[(u16, &[u8])]) -> Self {
        let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        let mut vlans = Vec::new();
        for (ether_type, tag) in tags {
            bytes.extend(ether_type.to_be_bytes());
            bytes.extend(*tag);
            if matches!(ether_type, 0x8100 | 0x88a8 | 0x9100 | 0x9200) {
                let id = u16::from_be_bytes([tag[0], tag[1]]) & 0xfff;
                vlans.extend((id != 0).then_some(id));
            }
        }
        bytes.extend(self.ether_type().to_be_bytes());
        bytes.extend(&self.bytes);
        vlans.extend(self.vlans);
        Self { kind: Kind::Ethernet, bytes, hops: self.hops, vlans }
    }

    /// Around IP: Ethernet, PPPoE and PPP.
    pub fn in_pppoe(self) -> Self {
        let protocol: u16 = if self.kind == Kind::V4 { 0x0021 } else { 0x0057 };
        let length = u16::try_from(2 + self.bytes.len()).unwrap();
        let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0x64, 0x11, 0, 0, 7];
        bytes.extend(length.to_be_bytes());
        bytes.extend(protocol.to_be_bytes());
        bytes.extend(&self.bytes);
        Self { kind: Kind::Ethernet, bytes, ..self }
    }

    /// Around IP or Ethernet: Ethernet and a stack of two MPLS labels; with a control word before Ethernet, if asked.
    pub fn in_mpls(self, control_word: bool) -> Self {
        let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0x47];
        bytes.extend([0, 1, 0x20, 64, 0, 1, 0x31, 64]);
        let mut hops = Vec::new();
        if self.kind == Kind::Ethernet {
            if control_word {
                bytes.extend([0, 0, 0, 9]);
            }
            hops.push((TunnelKind::MplsPseudowire, TunnelId::None));
        }
        bytes.extend(&self.bytes);
        hops.extend(self.hops);
        Self { kind: Kind::Ethernet, bytes, hops, vlans: self.vlans }
    }

    /// Around IP: LLC and SNAP in an 802.3 frame.
    pub fn in_snap(self) -> Self {
        let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        bytes.extend(u16::try_from((8 + self.bytes.len()).min(1500)).unwrap().to_be_bytes());
        bytes.extend([0xaa, 0xaa, 3, 0, 0, 0]);
        bytes.extend(self.ether_type().to_be_bytes());
        bytes.extend(&self.bytes);
        Self { kind: Kind::Ethernet, bytes, ..self }
    }

    /// Around IP or Ethernet: GRE version 0 with the options of `flags` (C, R, K, S: 8, 4, 2, 1).
    pub fn in_gre(self, v6: bool, flags: u8, key: u32) -> Self {
        let mut header = vec![flags << 4, 0];
        header.extend(self.ether_type().to_be_bytes());
        if flags & 0xc != 0 {
            header.extend([0xba, 0xad, 0, 0]);
        }
        let mut id = TunnelId::None;
        if flags & 2 != 0 {
            header.extend(key.to_be_bytes());
            id = TunnelId::Key(key);
        }
        if flags & 1 != 0 {
            header.extend([0, 0, 0, 99]);
        }
        if flags & 4 != 0 {
            header.extend([0x08, 0, 4, 8, 1, 1, 1, 1, 2, 2, 2, 2, 0, 0, 0, 0]);
        }
        let hop = if self.kind != Kind::Ethernet {
            (TunnelKind::Gre, id)
        } else if flags == 2 && (0x1000..0xff_ffff).contains(&(key >> 8)) {
            (TunnelKind::Nvgre, TunnelId::Vni(key >> 8))
        } else {
            (TunnelKind::GreTeb, id)
        };
        self.wrapped(v6, 47, &header, hop)
    }

    /// Around Ethernet: ERSPAN of type 1, 2 or 3; 4 is type 3 with platform data.
    pub fn in_erspan(self, v6: bool, kind: u8, session: u16) -> Self {
        let [high, low] = (session & 0x3ff).to_be_bytes();
        let id = TunnelId::Session(session & 0x3ff);
        match kind {
            1 => self.wrapped(v6, 47, &[0, 0, 0x88, 0xbe], (TunnelKind::Erspan1, TunnelId::None)),
            2 => {
                let header = [0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 0x64, 0x18 | high, low, 0, 0, 0, 3];
                self.wrapped(v6, 47, &header, (TunnelKind::Erspan2, id))
            }
            _ => {
                let mut header = vec![0x10, 0, 0x22, 0xeb, 0, 0, 0, 1, 0x20, 0x64, high, low, 1, 2, 3, 4, 0, 0];
                header.extend([0, u8::from(kind == 4)]);
                if kind == 4 {
                    header.extend([7; 8]);
                }
                self.wrapped(v6, 47, &header, (TunnelKind::Erspan3, id))
            }
        }
    }

    /// Around IP: IP.
    pub fn in_ip(self, v6: bool) -> Self {
        let kind = match (self.kind, v6) {
            (Kind::V4, false) => TunnelKind::Ip4InIp4,
            (Kind::V6, false) => TunnelKind::Ip6InIp4,
            (Kind::V4, true) => TunnelKind::Ip4InIp6,
            (Kind::V6, true) => TunnelKind::Ip6InIp6,
            (Kind::Ethernet, _) => panic!("IP in IP"),
        };
        let protocol = if self.kind == Kind::V4 { 4 } else { 41 };
        self.wrapped(v6, protocol, &[], (kind, TunnelId::None))
    }

    /// Around Ethernet: Ethernet in IP; as the IPv6 next header 143 if asked.
    pub fn in_ether_ip(self, v6: bool, bare: bool) -> Self {
        let hop = (TunnelKind::EtherIp, TunnelId::None);
        if bare { self.wrapped(v6, 143, &[], hop) } else { self.wrapped(v6, 97, &[0x30, 0], hop) }
    }

    /// Around Ethernet: VXLAN.
    pub fn in_vxlan(self, v6: bool, vni: u32) -> Self {
        let [_, a, b, c] = vni.to_be_bytes();
        self.in_udp(v6, 4789, &[8, 0, 0, 0, a, b, c, 0], (TunnelKind::Vxlan, TunnelId::Vni(vni & 0xff_ffff)))
    }

    /// Around anything: VXLAN-GPE, with a network service header between if asked.
    pub fn in_gpe(mut self, v6: bool, vni: u32, nsh: bool) -> Self {
        let [_, a, b, c] = vni.to_be_bytes();
        let next = match self.kind {
            Kind::V4 => 1,
            Kind::V6 => 2,
            Kind::Ethernet => 3,
        };
        let mut header = vec![0x0c, 0, 0, if nsh { 4 } else { next }, a, b, c, 0];
        if nsh {
            header.extend([0x0f, 0xc6, 1, next, 0, 0, 1, 255]);
            header.extend([7; 16]);
            self.hops.insert(0, (TunnelKind::Nsh, TunnelId::None));
        }
        self.in_udp(v6, 4790, &header, (TunnelKind::VxlanGpe, TunnelId::Vni(vni & 0xff_ffff)))
    }

    /// Around anything: Geneve with so many words of options.
    pub fn in_geneve(self, v6: bool, vni: u32, options: u8) -> Self {
        let [_, a, b, c] = vni.to_be_bytes();
        let options = options & 0x3f;
        let mut header = vec![options, 0x40];
        header.extend(self.ether_type().to_be_bytes());
        header.extend([a, b, c, 0]);
        header.extend(vec![0x55; usize::from(options) * 4]);
        self.in_udp(v6, 6081, &header, (TunnelKind::Geneve, TunnelId::Vni(vni & 0xff_ffff)))
    }

    /// Around IP: GTP-U, with E, S and PN (4, 2, 1) and, with E, two extension headers.
    pub fn in_gtpu(self, v6: bool, teid: u32, flags: u8) -> Self {
        let flags = flags & 7;
        let mut rest = Vec::new();
        if flags != 0 {
            rest.extend([0, 1, 0, if flags & 4 != 0 { 0x85 } else { 0 }]);
        }
        if flags & 4 != 0 {
            rest.extend([1, 0x10, 9, 0x40, 2, 0, 0, 0, 0, 0, 0, 0]);
        }
        let length = u16::try_from(rest.len() + self.bytes.len()).unwrap();
        let header = [&[0x30 | flags, 255][..], &length.to_be_bytes(), &teid.to_be_bytes(), &rest].concat();
        self.in_udp(v6, 2152, &header, (TunnelKind::GtpU, TunnelId::Teid(teid)))
    }

    /// Around IP: LISP with an instance id.
    pub fn in_lisp(self, v6: bool, instance: u32) -> Self {
        let [_, a, b, c] = instance.to_be_bytes();
        let hop = (TunnelKind::Lisp, TunnelId::Vni(instance & 0xff_ffff));
        self.in_udp(v6, 4341, &[0x08, 0, 0, 0, a, b, c, 0xff], hop)
    }

    /// Around IPv6: Teredo, with an origin indication if asked.
    pub fn in_teredo(self, origin: bool) -> Self {
        let indication: &[u8] = if origin { &[0, 0, 1, 2, 3, 4, 5, 6] } else { &[] };
        self.in_udp(false, 3544, indication, (TunnelKind::Teredo, TunnelId::None))
    }

    /// Around IP: MPLS in UDP.
    pub fn in_mpls_udp(self, v6: bool) -> Self {
        self.in_udp(v6, 6635, &[0, 1, 0x31, 64], (TunnelKind::MplsInUdp, TunnelId::None))
    }

    /// This IPv6 packet with extension headers before what it carries: each a protocol number and its bytes, whose
    /// first is set to the next number.
    pub fn with_extensions(mut self, headers: &[(u8, Vec<u8>)]) -> Self {
        assert_eq!(self.kind, Kind::V6);
        for (number, header) in headers.iter().rev() {
            let mut header = header.clone();
            header[0] = self.bytes[6];
            self.bytes[6] = *number;
            self.bytes.splice(40..40, header);
        }
        let length = u16::try_from(self.bytes.len() - 40).unwrap();
        self.bytes[4..6].copy_from_slice(&length.to_be_bytes());
        self
    }

    /// This IP packet cut into fragments that start at these offsets (multiples of 8, the first is 0).
    pub fn fragments(&self, id: u32, starts: &[usize]) -> Vec<Self> {
        let header_len = if self.kind == Kind::V4 { 20 } else { 40 };
        let (header, payload) = self.bytes.split_at(header_len);
        let ends = starts.iter().skip(1).copied().chain([payload.len()]);
        let pieces = starts
            .iter()
            .zip(ends)
            .map(|(start, end)| self.fragment(header, id, *start, &payload[*start..end], end < payload.len()));
        pieces.collect()
    }

    fn fragment(&self, header: &[u8], id: u32, offset: usize, payload: &[u8], more: bool) -> Self {
        let mut bytes = header.to_vec();
        if self.kind == Kind::V4 {
            bytes[2..4].copy_from_slice(&u16::try_from(20 + payload.len()).unwrap().to_be_bytes());
            bytes[4..6].copy_from_slice(&(id as u16).to_be_bytes());
            let field = u16::try_from(offset / 8).unwrap() | if more { 0x2000 } else { 0 };
            bytes[6..8].copy_from_slice(&field.to_be_bytes());
        } else {
            bytes[4..6].copy_from_slice(&u16::try_from(8 + payload.len()).unwrap().to_be_bytes());
            let field = u16::try_from(offset).unwrap() | u16::from(more);
            bytes.extend([bytes[6], 0]);
            bytes[6] = 44;
            bytes.extend(field.to_be_bytes());
            bytes.extend(id.to_be_bytes());
        }
        bytes.extend(payload);
        Self { bytes, ..self.clone() }
    }

    /// The link type to hand this packet in as.
    pub fn link(&self) -> LinkType {
        if self.kind == Kind::Ethernet { LinkType::Ethernet } else { LinkType::RawIp }
    }

    /// This packet as a frame, whole.
    pub fn frame(&self, nanos: u64) -> Frame<'_> {
        frame(self.link(), &self.bytes, nanos)
    }
}

/// A whole frame.
pub fn frame(link: LinkType, data: &[u8], nanos: u64) -> Frame<'_> {
    Frame { at: Timestamp::from_nanos(nanos), link, data, wire_len: data.len() as u32 }
}

/// How many encapsulations [`wrap`] knows.
pub const WRAPS: u8 = 24;

/// Wraps a packet in the `choice`th encapsulation, if it fits; `number` gives ids and options.
pub fn wrap(packet: Packet, choice: u8, v6: bool, number: u32) -> Packet {
    let is_ethernet = packet.kind == Kind::Ethernet;
    let flags = (number >> 8) as u8;
    let tag = |id: u32| (id as u16 & 0xfff).to_be_bytes();
    match choice % WRAPS {
        0 if !is_ethernet => packet.in_ethernet(&[]),
        1 if !is_ethernet => packet.in_ethernet(&[(0x8100, &tag(number))]),
        2 if !is_ethernet => packet.in_ethernet(&[(0x88a8, &tag(number)), (0x9100, &tag(5)), (0x9200, &tag(0))]),
        3 if !is_ethernet => packet.in_ethernet(&[(0x8926, &[0; 4]), (0x893f, &[0; 6]), (0x8988, &[0xff; 6])]),
        4 if !is_ethernet => packet.in_pppoe(),
        5 if !is_ethernet => packet.in_snap(),
        6 => packet.in_mpls(v6),
        7 => packet.in_gre(v6, flags & 0xf, number),
        8 if is_ethernet => packet.in_gre(v6, 2, number | 0x0010_0000),
        9 if is_ethernet => packet.in_erspan(v6, 1, number as u16),
        10 if is_ethernet => packet.in_erspan(v6, 2, number as u16),
        11 if is_ethernet => packet.in_erspan(v6, 3, number as u16),
        12 if is_ethernet => packet.in_erspan(v6, 4, number as u16),
        13 | 14 if !is_ethernet => packet.in_ip(v6),
        15 if is_ethernet => packet.in_ether_ip(v6, flags & 1 == 1),
        16 | 17 if is_ethernet => packet.in_vxlan(v6, number),
        18 => packet.in_gpe(v6, number, flags & 1 == 1),
        19 => packet.in_geneve(v6, number, flags),
        20 if !is_ethernet => packet.in_gtpu(v6, number, flags),
        21 if !is_ethernet => packet.in_lisp(v6, number),
        22 if packet.kind == Kind::V6 => packet.in_teredo(flags & 1 == 1),
        23 if !is_ethernet => packet.in_mpls_udp(v6),
        _ => packet,
    }
}
