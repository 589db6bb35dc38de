//! What an independent library builds is read as it was meant, and what the readers say is what it reads.

// Helpers of tests are tests.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod build;

use std::net::Ipv4Addr;

use decap::{Config, Decapsulator, Frame, LinkType, Timestamp, Verdict};
use pnet_packet::Packet as _;
use pnet_packet::ethernet::{EtherTypes, EthernetPacket, MutableEthernetPacket};
use pnet_packet::ip::IpNextHeaderProtocols;
use pnet_packet::ipv4::{Ipv4Packet, MutableIpv4Packet};
use pnet_packet::tcp::{MutableTcpPacket, TcpPacket};
use pnet_packet::udp::MutableUdpPacket;
use pnet_packet::vlan::MutableVlanPacket;
use pnet_packet::vxlan::MutableVxlanPacket;
use proptest::prelude::*;

/// What a test wants of a segment.
#[derive(Clone, Debug)]
struct Wanted {
    source: Ipv4Addr,
    destination: Ipv4Addr,
    ports: (u16, u16),
    seq: u32,
    ack: u32,
    flags: u8,
    window: u16,
    id: u16,
    options: u8,
    payload: Vec<u8>,
}

fn wanted() -> impl Strategy<Value = Wanted> {
    let addresses = (any::<u32>(), any::<u32>(), any::<(u16, u16)>());
    let header = (any::<u32>(), any::<u32>(), any::<u8>(), any::<u16>(), any::<u16>(), 0_u8..=10);
    (addresses, header, proptest::collection::vec(any::<u8>(), 0..200)).prop_map(|(addresses, header, payload)| {
        Wanted {
            source: Ipv4Addr::from(addresses.0),
            destination: Ipv4Addr::from(addresses.1),
            ports: addresses.2,
            seq: header.0,
            ack: header.1,
            flags: header.2,
            window: header.3,
            id: header.4,
            options: header.5,
            payload,
        }
    })
}

fn tcp(wanted: &Wanted) -> Vec<u8> {
    let len = 20 + usize::from(wanted.options) * 4;
    let mut bytes = vec![1; len];
    bytes.extend(&wanted.payload);
    let mut packet = MutableTcpPacket::new(&mut bytes).unwrap();
    packet.set_source(wanted.ports.0);
    packet.set_destination(wanted.ports.1);
    packet.set_sequence(wanted.seq);
    packet.set_acknowledgement(wanted.ack);
    packet.set_data_offset(5 + wanted.options);
    packet.set_flags(wanted.flags);
    packet.set_window(wanted.window);
    bytes
}

fn ip(wanted: &Wanted, protocol: pnet_packet::ip::IpNextHeaderProtocol, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 20 + payload.len()];
    let total = u16::try_from(bytes.len()).unwrap();
    let mut packet = MutableIpv4Packet::new(&mut bytes).unwrap();
    packet.set_version(4);
    packet.set_header_length(5);
    packet.set_total_length(total);
    packet.set_identification(wanted.id);
    packet.set_next_level_protocol(protocol);
    packet.set_source(wanted.source);
    packet.set_destination(wanted.destination);
    packet.set_payload(payload);
    bytes
}

fn ethernet(vlan: Option<u16>, payload: &[u8]) -> Vec<u8> {
    let mut inner = payload.to_vec();
    if let Some(vlan) = vlan {
        inner = vec![0; 4 + payload.len()];
        let mut packet = MutableVlanPacket::new(&mut inner).unwrap();
        packet.set_vlan_identifier(vlan);
        packet.set_ethertype(EtherTypes::Ipv4);
        packet.set_payload(payload);
    }
    let mut bytes = vec![0; 14 + inner.len()];
    let mut packet = MutableEthernetPacket::new(&mut bytes).unwrap();
    packet.set_ethertype(if vlan.is_some() { EtherTypes::Vlan } else { EtherTypes::Ipv4 });
    packet.set_payload(&inner);
    bytes
}

fn vxlan(wanted: &Wanted, vni: u32, frame: &[u8]) -> Vec<u8> {
    let mut header = vec![0; 8 + frame.len()];
    let mut packet = MutableVxlanPacket::new(&mut header).unwrap();
    packet.set_flags(8);
    packet.set_vni(vni);
    packet.set_payload(frame);
    let mut udp = vec![0; 8 + header.len()];
    let length = u16::try_from(udp.len()).unwrap();
    let mut packet = MutableUdpPacket::new(&mut udp).unwrap();
    packet.set_source(wanted.ports.1);
    packet.set_destination(4789);
    packet.set_length(length);
    packet.set_payload(&header);
    ethernet(None, &ip(wanted, IpNextHeaderProtocols::Udp, &udp))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn built_by_another_library(
        wanted in wanted(),
        vlan in proptest::option::of(1_u16..4095),
        vni in proptest::option::of(0_u32..1 << 24),
    ) {
        let mut bytes = ethernet(vlan, &ip(&wanted, IpNextHeaderProtocols::Tcp, &tcp(&wanted)));
        if let Some(vni) = vni {
            bytes = vxlan(&wanted, vni, &bytes);
        }
        let mut decapsulator = Decapsulator::new(Config::default());
        let frame = Frame { at: Timestamp::ZERO, link: LinkType::Ethernet, data: &bytes, wire_len: bytes.len() as u32 };
        let verdict = decapsulator.push(frame);
        let Verdict::Segment(segment) = verdict else {
            panic!("{verdict:?}");
        };
        let (source, destination) = (segment.key.source(segment.direction), segment.key.destination(segment.direction));
        prop_assert_eq!((source.ip, source.port), (wanted.source.into(), wanted.ports.0));
        prop_assert_eq!((destination.ip, destination.port), (wanted.destination.into(), wanted.ports.1));
        prop_assert_eq!((segment.seq.0, segment.ack.0), (wanted.seq, wanted.ack));
        prop_assert_eq!((segment.flags.0, segment.window, segment.ip_id), (wanted.flags, wanted.window, wanted.id));
        prop_assert_eq!(segment.payload, &wanted.payload[..]);
        let vlans: Vec<u16> = vlan.into_iter().collect();
        prop_assert_eq!(segment.path.vlans.as_slice(), &vlans[..]);
    }

    #[test]
    fn read_by_another_library(
        payload in proptest::collection::vec(any::<u8>(), 0..200),
        damage in proptest::collection::vec((14_usize..80, any::<u8>()), 0..4),
    ) {
        let mut bytes = build::tcp(false, &payload).in_ethernet(&[]).bytes;
        for (at, value) in damage {
            // Not the fields that lead elsewhere: version, lengths, fragments, protocol, data offset.
            if at < bytes.len() && ![14, 16, 17, 20, 21, 23, 46].contains(&at) {
                bytes[at] = value;
            }
        }
        let mut decapsulator = Decapsulator::new(Config::default());
        let verdict = decapsulator.push(build::frame(LinkType::Ethernet, &bytes, 0));
        let Verdict::Segment(segment) = verdict else {
            panic!("{verdict:?}");
        };
        let ethernet = EthernetPacket::new(&bytes).unwrap();
        let ip = Ipv4Packet::new(ethernet.payload()).unwrap();
        let tcp = TcpPacket::new(ip.payload()).unwrap();
        prop_assert_eq!(segment.payload, tcp.payload());
        prop_assert_eq!((segment.seq.0, segment.ack.0), (tcp.get_sequence(), tcp.get_acknowledgement()));
        prop_assert_eq!((segment.flags.0, segment.window), (tcp.get_flags(), tcp.get_window()));
        prop_assert_eq!(segment.ip_id, ip.get_identification());
        prop_assert_eq!(segment.key.source(segment.direction).ip, std::net::IpAddr::from(ip.get_source()));
        prop_assert_eq!(segment.key.destination(segment.direction).port, tcp.get_destination());
    }
}
