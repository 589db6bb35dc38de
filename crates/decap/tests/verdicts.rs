//! What the ledger says of frames that carry no segment, and of odd ones that do.

// Helpers of tests are tests.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod build;

use std::net::IpAddr;

use build::{Packet, endpoints, ip, outer, tcp};
use decap::{Config, Decapsulator, Frame, LinkType, SkipReason, Timestamp, TunnelKind, Verdict};

const PAYLOAD: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

fn skipped(link: LinkType, data: &[u8]) -> SkipReason {
    let mut decapsulator = Decapsulator::new(Config::default());
    let reason = match decapsulator.push(build::frame(link, data, 0)) {
        Verdict::Skipped(reason) => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(decapsulator.stats().skipped(reason), 1);
    assert!(decapsulator.stats().is_balanced());
    reason
}

fn protocol(number: u8, payload: &[u8]) -> SkipReason {
    let (source, destination) = endpoints(false);
    skipped(LinkType::RawIp, &ip(source, destination, number, payload).bytes)
}

/// The payload and what is missing of it.
fn payload(frame: Frame<'_>) -> (Vec<u8>, u32) {
    let mut decapsulator = Decapsulator::new(Config::default());
    match decapsulator.push(frame) {
        Verdict::Segment(segment) => (segment.payload.to_vec(), segment.missing),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_reason_has_a_frame() {
    let ethernet = |number: u16, payload: &[u8]| [&[2; 12][..], &number.to_be_bytes(), payload].concat();
    assert_eq!(skipped(LinkType::Ethernet, &ethernet(0x0806, &[0; 28])), SkipReason::NotIp);
    assert_eq!(skipped(LinkType::Ethernet, &ethernet(3, &[0x42, 0x42, 3])), SkipReason::NotIp);
    assert_eq!(skipped(LinkType::Ethernet, &[0; 9]), SkipReason::MalformedLink);
    assert_eq!(skipped(LinkType::Ethernet, &[]), SkipReason::MalformedLink);
    assert_eq!(skipped(LinkType::RawIp, &[]), SkipReason::MalformedIp);
    assert_eq!(skipped(LinkType::RawIp, &[0x55; 40]), SkipReason::MalformedIp);
    assert_eq!(protocol(17, &[0; 8]), SkipReason::Udp);
    assert_eq!(protocol(1, &[0; 8]), SkipReason::Icmp);
    assert_eq!(protocol(58, &[0; 8]), SkipReason::Icmp);
    assert_eq!(protocol(132, &[0; 8]), SkipReason::Sctp);
    assert_eq!(protocol(50, &[0; 8]), SkipReason::Esp);
    assert_eq!(protocol(89, &[0; 8]), SkipReason::OtherIpProtocol);
    assert_eq!(protocol(0, &[6, 0, 0, 0, 0, 0, 0, 0]), SkipReason::OtherIpProtocol, "an IPv6 header in IPv4");
    assert_eq!(protocol(6, &[0; 19]), SkipReason::MalformedTcp);
    assert_eq!(protocol(6, &[0; 20]), SkipReason::MalformedTcp, "data offset 0");
    assert_eq!(protocol(47, &[0, 0]), SkipReason::MalformedTunnel);
    assert_eq!(protocol(47, &[0, 0, 0x12, 0x34]), SkipReason::UnknownTunnelPayload);
    assert_eq!(protocol(4, &[0x60; 40]), SkipReason::MalformedTunnel, "IPv6 where IPv4 is announced");
    let echo = [0x9c, 0x40, 0x08, 0x68, 0, 0, 0, 0, 0x32, 1, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(protocol(17, &echo), SkipReason::TunnelControl);
}

#[test]
fn a_captured_header_is_told_from_a_cut_one() {
    let packet = tcp(false, PAYLOAD).in_ethernet(&[]).in_vxlan(false, 1).in_ethernet(&[]);
    let headers = packet.bytes.len() - PAYLOAD.len();
    let mut decapsulator = Decapsulator::new(Config::default());
    for len in 0..packet.bytes.len() {
        let frame = Frame { data: &packet.bytes[..len], ..packet.frame(0) };
        let verdict = decapsulator.push(frame);
        match verdict {
            Verdict::Segment(segment) => {
                assert!(len >= headers);
                assert_eq!(segment.missing as usize, packet.bytes.len() - len);
            }
            Verdict::Skipped(SkipReason::HeadersNotCaptured) => assert!(len < headers),
            other => panic!("{other:?} at {len}"),
        }
    }
    assert_eq!(decapsulator.stats().truncated_frames, packet.bytes.len() as u64);
}

/// A mirror that cuts (AWS `PacketLength`) sends the rest in whole outer packets: only the inner length tells.
#[test]
fn a_mirrors_cut_shows_in_the_inner_length() {
    let mut inner = tcp(false, &[7; 1000]).in_ethernet(&[]);
    inner.bytes.truncate(14 + 20 + 32 + 100);
    let packet = inner.in_vxlan(false, 1).in_ethernet(&[]);
    assert_eq!(payload(packet.frame(0)), (vec![7; 100], 900));
    // A trailer of the outer frame is not taken for the rest.
    let longer = [&packet.bytes[..], &[9; 30]].concat();
    assert_eq!(payload(build::frame(LinkType::Ethernet, &longer, 0)), (vec![7; 100], 900));
}

#[test]
fn padding_and_trailers_are_left_out() {
    let mut bytes = tcp(false, b"").in_ethernet(&[]).bytes;
    bytes.extend([0; 30]);
    assert_eq!(payload(build::frame(LinkType::Ethernet, &bytes, 0)), (vec![], 0));
    let mut bytes = tcp(true, b"x").in_ethernet(&[]).bytes;
    bytes.extend([0xfc; 4]);
    assert_eq!(payload(build::frame(LinkType::Ethernet, &bytes, 0)), (b"x".to_vec(), 0));
}

#[test]
fn packets_without_a_length_are_as_long_as_their_frame() {
    for v6 in [false, true] {
        let big = vec![7; 64_000];
        let mut packet = tcp(v6, &big);
        let field = if v6 { 4..6 } else { 2..4 };
        packet.bytes[field].fill(0);
        assert_eq!(payload(packet.frame(0)), (big.clone(), 0));
        // Cut by the capture.
        let headers = packet.bytes.len() - big.len();
        let frame = Frame { data: &packet.bytes[..headers + 50], ..packet.frame(0) };
        assert_eq!(payload(frame), (vec![7; 50], 63_950));
        // Within a tunnel that tells its length.
        let packet = Packet { bytes: packet.bytes[..headers + 50].to_vec(), ..packet }.in_ethernet(&[]).in_vxlan(v6, 3);
        let bytes = [&packet.bytes[..], &[0; 40]].concat();
        assert_eq!(payload(build::frame(LinkType::RawIp, &bytes, 0)), (vec![7; 50], 0));
    }
}

#[test]
fn a_length_that_no_offload_has_is_not_believed() {
    let mut packet = tcp(false, PAYLOAD);
    packet.bytes[2..4].fill(0);
    let mut decapsulator = Decapsulator::new(Config::default());
    let frame = Frame { wire_len: u32::MAX, ..packet.frame(0) };
    assert!(matches!(decapsulator.push(frame), Verdict::Skipped(SkipReason::MalformedIp)));
}

#[test]
fn a_wire_length_below_the_captured_one_does_not_matter() {
    let packet = tcp(false, PAYLOAD);
    assert_eq!(payload(Frame { wire_len: 0, ..packet.frame(0) }), (PAYLOAD.to_vec(), 0));
}

#[test]
fn contradicting_lengths() {
    let with = |at: usize, value: &[u8]| {
        let mut packet = tcp(false, PAYLOAD);
        packet.bytes[at..at + value.len()].copy_from_slice(value);
        skipped(LinkType::RawIp, &packet.bytes)
    };
    assert_eq!(with(2, &[0, 19]), SkipReason::MalformedIp, "total shorter than the header");
    assert_eq!(with(0, &[0x44]), SkipReason::MalformedIp, "header shorter than the least");
    assert_eq!(with(2, &[0, 20 + 31]), SkipReason::MalformedTcp, "header longer than the packet");
    assert_eq!(with(20 + 12, &[0x40]), SkipReason::MalformedTcp, "header shorter than the least");
    assert_eq!(with(20 + 12, &[0xf0]), SkipReason::MalformedTcp, "header longer than the packet");
}

#[test]
fn checksums_do_not_matter() {
    let mut packet = tcp(false, PAYLOAD);
    for field in [10, 11, 20 + 16, 20 + 17] {
        packet.bytes[field] ^= 0xff;
    }
    assert_eq!(payload(packet.frame(0)).0, PAYLOAD);
}

#[test]
fn tunnels_over_ip_that_the_builder_leaves_out() {
    let (source, destination) = outer(false);
    let mut decapsulator = Decapsulator::new(Config::default());
    let mut kinds = |packet: Packet| -> Vec<TunnelKind> {
        match decapsulator.push(packet.frame(0)) {
            Verdict::Segment(segment) => {
                assert_eq!(segment.payload, PAYLOAD);
                segment.path.hops.iter().map(|hop| hop.kind).collect()
            }
            other => panic!("{other:?}"),
        }
    };
    let inner = tcp(false, PAYLOAD).bytes;
    let around = |protocol, header: &[u8]| ip(source, destination, protocol, &[header, &inner].concat());
    let length = (inner.len() as u16 + 4).to_be_bytes();
    let pptp =
        [&[0x30, 0x81, 0x88, 0x0b][..], &length, &[0, 7, 0, 0, 0, 1, 0, 0, 0, 1, 0xff, 0x03, 0x00, 0x21]].concat();
    assert_eq!(kinds(around(47, &pptp)), [TunnelKind::Pptp]);
    assert_eq!(kinds(around(47, &[0, 0, 0x88, 0x3e, 0, 1, 0, 0])), [TunnelKind::Gre], "WCCP");
    assert_eq!(kinds(around(47, &[0, 0, 0x88, 0x47, 0, 1, 0x31, 64])), [TunnelKind::Gre], "MPLS");
    assert_eq!(kinds(around(137, &[0, 1, 0x31, 64])), [TunnelKind::MplsInIp]);
    let ayiya = [&[0x9c, 0x40, 0x13, 0xd0, 0, 0, 0, 0, 0x41, 0x52, 0x11, 4, 0, 0, 0, 0][..], &[7; 36]].concat();
    assert_eq!(kinds(around(17, &ayiya)), [TunnelKind::Ayiya]);
    let wlan = [&[0, 0, 0x82, 0, 0x88, 0x01][..], &[0; 24], &[0xaa, 0xaa, 3, 0, 0, 0, 8, 0]].concat();
    assert_eq!(kinds(around(47, &wlan)), [TunnelKind::Gre], "802.11");
}

/// Ports are shared: what does not read as the tunnel is plain UDP, and leaves no trace of a tunnel.
#[test]
fn other_protocols_on_tunnel_ports() {
    let (source, destination) = endpoints(false);
    let mut decapsulator = Decapsulator::new(Config::default());
    for port in [4789_u16, 8472, 4790, 6081, 2152, 3544, 4341, 6635, 5072] {
        for payload in [&b""[..], b"\xff", b"\xf5\xff\xff\xff\xff\xff\xff\xfe other content \xf0", &[0xf0; 60]] {
            let udp = [&51_000_u16.to_be_bytes()[..], &port.to_be_bytes(), &[0, 0, 0, 0], payload].concat();
            let packet = ip(source, destination, 17, &udp);
            // Geneve has nothing to tell it by but its version and lengths.
            let verdict = decapsulator.push(packet.frame(0));
            assert!(matches!(verdict, Verdict::Skipped(SkipReason::Udp)), "{port} {verdict:?}");
        }
    }
    assert_eq!(decapsulator.stats().tunnels.iter().sum::<u64>(), 0);
}

#[test]
fn counts_of_frames_and_bytes() {
    let mut decapsulator = Decapsulator::new(Config::default());
    let packet = tcp(false, PAYLOAD).in_ethernet(&[(0x8100, &[0, 5])]).in_vxlan(false, 1).in_gre(false, 0, 0);
    for _ in 0..3 {
        assert!(matches!(decapsulator.push(packet.frame(0)), Verdict::Segment(_)));
    }
    let stats = decapsulator.stats();
    assert_eq!((stats.frames, stats.segments, stats.vlan_tagged), (3, 3, 3));
    assert_eq!(stats.bytes, 3 * packet.bytes.len() as u64);
    assert_eq!(stats.tunnels[TunnelKind::Vxlan as usize], 3);
    assert_eq!(stats.tunnels[TunnelKind::Gre as usize], 3);
    assert_eq!(decapsulator.memory(), 0, "nothing is allocated before there are fragments");
}

#[test]
fn time_of_capture_is_the_segments_time() {
    let packet = tcp(false, PAYLOAD);
    let mut decapsulator = Decapsulator::new(Config::default());
    match decapsulator.push(packet.frame(123_456_789)) {
        Verdict::Segment(segment) => {
            assert_eq!(segment.at, Timestamp::from_nanos(123_456_789));
            assert!(segment.path.hops.is_empty() && segment.path.vlans.is_empty());
            assert_eq!(segment.key.source(segment.direction).ip, IpAddr::V4(build::CLIENT));
        }
        other => panic!("{other:?}"),
    }
}
