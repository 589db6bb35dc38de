//! Whatever is wrapped around a segment, the segment comes out.

// Helpers of tests are tests.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod build;

use build::{Kind, Packet, WRAPS, endpoints, outer, tcp, wrap};
use decap::{Config, Decapsulator, Domain, Endpoint, Frame, LinkType, SkipReason, TunnelKind, Verdict};
use proptest::prelude::*;

const PAYLOAD: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

/// Asserts that `frame` gives the segment of [`tcp`], by the way that `packet` tells of.
fn assert_segment(decapsulator: &mut Decapsulator, frame: Frame<'_>, packet: &Packet, v6: bool) -> Domain {
    let before = decapsulator.stats().segments;
    let domain = match decapsulator.push(frame) {
        Verdict::Segment(segment) => {
            assert_eq!(segment.payload, PAYLOAD);
            assert_eq!(segment.missing, 0);
            assert_eq!((segment.seq.0, segment.ack.0), (build::SEQ, 0x0102_0304));
            assert_eq!((segment.flags.0, segment.window), (0x18, 0x2000));
            assert_eq!(segment.ip_id, if v6 { 0 } else { 0x1234 });
            assert_eq!(segment.at, frame.at);
            let (source, destination) = endpoints(v6);
            assert_eq!(segment.key.source(segment.direction), Endpoint { ip: source, port: build::PORTS.0 });
            assert_eq!(segment.key.destination(segment.direction), Endpoint { ip: destination, port: build::PORTS.1 });
            let hops: Vec<_> = segment.path.hops.iter().map(|hop| (hop.kind, hop.id)).collect();
            assert_eq!(hops, packet.hops);
            assert!(packet.vlans.starts_with(&segment.path.vlans), "{:?}", segment.path.vlans);
            assert_eq!(segment.path.vlans.len(), packet.vlans.len().min(decap::MAX_VLANS));
            for hop in &segment.path.hops {
                let is_outer = [outer(false), outer(true)].contains(&(hop.source, hop.destination));
                assert!(is_outer || hop.source.is_unspecified() && hop.destination.is_unspecified(), "{hop:?}");
                assert!(is_outer || hop.kind == TunnelKind::MplsPseudowire, "{hop:?}");
            }
            segment.key.domain()
        }
        other => panic!("{other:?} for {packet:?}"),
    };
    assert!(decapsulator.stats().is_balanced());
    assert_eq!(decapsulator.stats().segments, before + 1);
    domain
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_nesting_gives_the_same_segment(
        v6 in any::<bool>(),
        wraps in proptest::collection::vec((0..WRAPS, any::<bool>(), any::<u32>()), 0..12),
        trailer in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut packet = tcp(v6, PAYLOAD);
        for (choice, outer_v6, number) in wraps {
            if packet.hops.len() < 7 {
                packet = wrap(packet, choice, outer_v6, number);
            }
        }
        let mut decapsulator = Decapsulator::new(Config::default());
        let plain = assert_segment(&mut decapsulator, packet.frame(5), &packet, v6);
        // What follows the outermost packet (padding, checksum, a vendor's trailer) does not matter; but a tunnel
        // whose inner packet tells no length of its own must not follow it, and none here does.
        let mut bytes = packet.bytes.clone();
        bytes.extend(trailer);
        let longer = build::frame(packet.link(), &bytes, 6);
        prop_assert_eq!(assert_segment(&mut decapsulator, longer, &packet, v6), plain);
    }

    #[test]
    fn a_cut_frame_misses_what_was_cut(
        v6 in any::<bool>(),
        wraps in proptest::collection::vec((0..WRAPS, any::<bool>(), any::<u32>()), 0..6),
        cut in 0_usize..200,
    ) {
        let payload = [7; 100];
        let mut packet = tcp(v6, &payload);
        for (choice, outer_v6, number) in wraps {
            packet = wrap(packet, choice, outer_v6, number);
        }
        let cut = cut.min(packet.bytes.len());
        let whole = packet.frame(0);
        let frame = Frame { data: &whole.data[..whole.data.len() - cut], ..whole };
        let mut decapsulator = Decapsulator::new(Config::default());
        match decapsulator.push(frame) {
            Verdict::Segment(segment) => {
                prop_assert!(cut <= 100);
                prop_assert_eq!(segment.missing as usize, cut);
                prop_assert_eq!(segment.payload, &payload[cut..]);
            }
            Verdict::Skipped(reason) => {
                prop_assert!(cut > 100, "{:?}", reason);
                // A header without its payload may read as something else; it is never called malformed.
                let known = [
                    SkipReason::HeadersNotCaptured,
                    SkipReason::Udp,
                    SkipReason::UnknownTunnelPayload,
                    SkipReason::NotIp,
                ];
                prop_assert!(known.contains(&reason), "{:?} {:?}", reason, packet);
            }
            Verdict::Held => prop_assert!(false, "held"),
        }
        prop_assert_eq!(decapsulator.stats().truncated_frames, u64::from(cut > 0));
        prop_assert!(decapsulator.stats().is_balanced());
    }

    #[test]
    fn both_directions_share_a_key(
        wraps in proptest::collection::vec((0..WRAPS, any::<bool>(), any::<u32>()), 0..6),
    ) {
        // The answer travels through the same tunnels; its inner addresses and ports are swapped.
        let wrapped = |packet: Packet| {
            wraps.iter().fold(packet, |packet, (choice, v6, number)| wrap(packet, *choice, *v6, *number))
        };
        let there = tcp(false, PAYLOAD);
        let mut back = there.clone();
        back.bytes[12..16].copy_from_slice(&there.bytes[16..20]);
        back.bytes[16..20].copy_from_slice(&there.bytes[12..16]);
        back.bytes[20..22].copy_from_slice(&there.bytes[22..24]);
        back.bytes[22..24].copy_from_slice(&there.bytes[20..22]);
        let mut decapsulator = Decapsulator::new(Config::default());
        let mut keys = Vec::new();
        for packet in [wrapped(there), wrapped(back)] {
            if let Verdict::Segment(segment) = decapsulator.push(packet.frame(0)) {
                keys.push((segment.key, segment.direction));
            }
        }
        prop_assert_eq!(keys.len(), 2);
        prop_assert_eq!(keys[0].0, keys[1].0);
        prop_assert_eq!(keys[0].1, keys[1].1.opposite());
    }
}

#[test]
fn every_encapsulation_is_reached() {
    let mut decapsulator = Decapsulator::new(Config::default());
    for choice in 0..WRAPS {
        for (v6, outer_v6, number) in [
            (false, false, 0x0234_5678),
            (false, true, 0x0000_0f01),
            (true, false, 0x0000_0001),
            (true, true, 0x00ff_ff00),
        ] {
            for ethernet in [false, true] {
                let mut packet = tcp(v6, PAYLOAD);
                if ethernet {
                    packet = packet.in_ethernet(&[]);
                }
                let packet = wrap(packet, choice, outer_v6, number);
                assert_segment(&mut decapsulator, packet.frame(0), &packet, v6);
            }
        }
    }
    let missing: Vec<_> = TunnelKind::ALL
        .iter()
        .filter(|kind| decapsulator.stats().tunnels[**kind as usize] == 0)
        .map(|kind| kind.name())
        .collect();
    // These have tests of their own.
    assert_eq!(missing, ["pptp", "mpls_in_ip", "ayiya"]);
}

#[test]
fn every_link_type() {
    for v6 in [false, true] {
        let packet = tcp(v6, PAYLOAD);
        let number: u16 = if v6 { 0x86dd } else { 0x0800 };
        let family: u32 = if v6 { 30 } else { 2 };
        let ppp = if v6 { 0x57 } else { 0x21 };
        let [high, low] = number.to_be_bytes();
        let headers: [(LinkType, Vec<u8>); 14] = [
            (LinkType::Ethernet, [&[2; 12][..], &[high, low]].concat()),
            (LinkType::LinuxSll, [&[0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0][..], &[high, low]].concat()),
            (LinkType::LinuxSll2, [&[high, low][..], &[0, 0, 0, 0, 0, 3, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0]].concat()),
            (LinkType::RawIp, vec![]),
            (if v6 { LinkType::RawIpv6 } else { LinkType::RawIpv4 }, vec![]),
            (LinkType::BsdNull, family.to_le_bytes().to_vec()),
            (LinkType::BsdNull, family.to_be_bytes().to_vec()),
            (LinkType::BsdLoop, family.to_be_bytes().to_vec()),
            (LinkType::Ethernet, [&[2; 12][..], &[0x81, 0, 0x20, 0, 0x81, 0, 0, 9, high, low]].concat()),
            (LinkType::Ppp, vec![0xff, 3, 0, ppp]),
            (LinkType::Ppp, vec![ppp]),
            (LinkType::Ppp, vec![0x0f, 0, high, low]),
            (
                LinkType::PppEther,
                [&[0x11, 0, 0, 7][..], &(packet.bytes.len() as u16 + 2).to_be_bytes(), &[0, ppp]].concat(),
            ),
            (LinkType::Nflog, vec![if v6 { 10 } else { 2 }, 0, 0, 1, 5, 0, 10, 0, 0, 0, 0, 0, 0xff, 0xff, 9, 0]),
        ];
        for (at, (link, header)) in headers.into_iter().enumerate() {
            let bytes = [&header[..], &packet.bytes].concat();
            let mut packet = packet.clone();
            if at == 8 {
                packet.vlans.push(9);
            }
            let mut decapsulator = Decapsulator::new(Config::default());
            assert_segment(&mut decapsulator, build::frame(link, &bytes, 1), &packet, v6);
            assert_eq!(decapsulator.stats().vlan_tagged, u64::from(at == 8));
        }
    }
}

#[test]
fn extension_headers_and_authentication_are_walked_over() {
    let packet = tcp(true, PAYLOAD).with_extensions(&[
        (0, vec![0, 0, 1, 4, 0, 0, 0, 0]),
        (60, vec![0, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        (43, [&[0, 2, 4, 0, 0, 0, 0, 0][..], &[9; 16]].concat()),
        (44, vec![0, 0, 0, 0, 0, 0, 0, 7]),
        (51, vec![0, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
        (135, vec![59, 0, 0, 0, 0, 0, 0, 0]),
    ]);
    let mut decapsulator = Decapsulator::new(Config::default());
    assert_segment(&mut decapsulator, packet.frame(0), &packet, true);
}

#[test]
fn a_routing_header_names_the_endpoint() {
    let (_, server) = endpoints(true);
    let std::net::IpAddr::V6(server) = server else { panic!() };
    let mut packet =
        tcp(true, PAYLOAD).with_extensions(&[(43, [&[0, 2, 4, 1, 0, 0, 0, 0][..], &server.octets()].concat())]);
    packet.bytes[24..40].fill(0x55);
    let mut decapsulator = Decapsulator::new(Config::default());
    assert_segment(&mut decapsulator, packet.frame(0), &packet, true);
}

#[test]
fn a_mirror_behind_a_load_balancer_is_two_tunnels_deep() {
    // AWS: Geneve of a Gateway Load Balancer around the mirror's VXLAN.
    let mirrored = tcp(false, PAYLOAD).in_ethernet(&[]).in_vxlan(false, 77).in_geneve(false, 0, 8).in_ethernet(&[]);
    assert_eq!(mirrored.hops.iter().map(|hop| hop.0).collect::<Vec<_>>(), [TunnelKind::Geneve, TunnelKind::Vxlan]);
    let mut decapsulator = Decapsulator::new(Config::default());
    assert_segment(&mut decapsulator, mirrored.frame(0), &mirrored, false);
}

#[test]
fn depth_is_limited_and_counted() {
    for depth in [0, 1, 8, 16] {
        let mut decapsulator = Decapsulator::new(Config { max_depth: depth, ..Config::default() });
        let mut packet = tcp(false, PAYLOAD);
        for _ in 0..depth {
            packet = packet.in_ip(false);
        }
        assert_segment(&mut decapsulator, packet.frame(0), &packet, false);
        let packet = packet.in_ip(false);
        let verdict = decapsulator.push(packet.frame(0));
        assert!(matches!(verdict, Verdict::Skipped(SkipReason::TooDeep)), "{verdict:?}");
        assert_eq!(decapsulator.stats().skipped(SkipReason::TooDeep), 1);
    }
    // A limit above what a path can remember is that of the path.
    let mut decapsulator = Decapsulator::new(Config { max_depth: 99, ..Config::default() });
    let packet = (0..17).fold(tcp(false, PAYLOAD), |packet, _| packet.in_ip(false));
    assert!(matches!(decapsulator.push(packet.frame(0)), Verdict::Skipped(SkipReason::TooDeep)));
}

#[test]
fn more_tags_than_are_remembered() {
    let tags: Vec<[u8; 2]> = (1..=300_u16).map(u16::to_be_bytes).collect();
    let tags: Vec<(u16, &[u8])> = tags.iter().map(|tag| (0x8100, &tag[..])).collect();
    let packet = tcp(false, PAYLOAD).in_ethernet(&tags);
    let mut decapsulator = Decapsulator::new(Config::default());
    assert_segment(&mut decapsulator, packet.frame(0), &packet, false);
    assert_eq!(decapsulator.stats().vlan_tagged, 1);
}

#[test]
fn address_spaces() {
    let domain = |config: Config, packet: &Packet| {
        assert_segment(&mut Decapsulator::new(config), packet.frame(0), packet, false)
    };
    let vni = |vni| tcp(false, PAYLOAD).in_ethernet(&[]).in_vxlan(false, vni);
    let key = |key| tcp(false, PAYLOAD).in_gre(false, 2, key);
    let vlan = |id: u16| tcp(false, PAYLOAD).in_ethernet(&[(0x8100, &id.to_be_bytes())]);
    let default = Config::default;

    assert_ne!(domain(default(), &vni(1)), domain(default(), &vni(2)));
    assert_ne!(domain(default(), &key(1)), domain(default(), &vni(1)));
    assert_eq!(domain(default(), &vlan(1)), Domain::GLOBAL);
    assert_eq!(domain(default(), &vlan(1)), domain(default(), &vlan(2)));
    // Ids that differ by direction or name a mirror's session.
    let gtpu = |teid| tcp(false, PAYLOAD).in_gtpu(false, teid, 0);
    assert_eq!(domain(default(), &gtpu(1)), Domain::GLOBAL);
    let erspan = tcp(false, PAYLOAD).in_ethernet(&[]).in_erspan(false, 2, 5);
    assert_eq!(domain(default(), &erspan), Domain::GLOBAL);

    let merged = || Config { separate_virtual_networks: false, ..default() };
    assert_eq!(domain(merged(), &vni(1)), Domain::GLOBAL);
    let aliased = || Config { aliases: vec![(1, 9), (2, 9)], ..default() };
    assert_eq!(domain(aliased(), &vni(1)), domain(aliased(), &vni(2)));
    assert_ne!(domain(aliased(), &vni(1)), domain(aliased(), &vni(3)));
    let tagged = || Config { separate_vlans: true, ..default() };
    assert_ne!(domain(tagged(), &vlan(1)), domain(tagged(), &vlan(2)));
    assert_eq!(domain(tagged(), &vlan(0)), Domain::GLOBAL, "a priority tag is no VLAN");

    let base = Domain::GLOBAL.nested(7);
    let based = || Config { base_domain: base, ..default() };
    assert_eq!(domain(based(), &vlan(1)), base);
    assert_ne!(domain(based(), &vni(1)), domain(default(), &vni(1)));
}

#[test]
fn a_teredo_packet_off_its_port() {
    let mut packet = tcp(true, PAYLOAD);
    packet.bytes[8..12].copy_from_slice(&[0x20, 1, 0, 0]);
    let mut packet = packet.in_teredo(false);
    assert_eq!(packet.kind, Kind::V4);
    packet.bytes[22..24].copy_from_slice(&9999_u16.to_be_bytes());
    let mut decapsulator = Decapsulator::new(Config::default());
    match decapsulator.push(packet.frame(0)) {
        Verdict::Segment(segment) => assert_eq!(segment.path.hops[0].kind, TunnelKind::Teredo),
        other => panic!("{other:?}"),
    };
}
