//! Filters: the same verdicts as libpcap's own, and the length on the wire.

use decap::{Frame, LinkType, Timestamp};
use proptest::prelude::*;
use sensor::source::{Captured, Filter, LinkName};

fn captured(link_number: u32, wire_len: u32, data: &[u8]) -> Captured<'_> {
    let link = LinkType::from_number(link_number).unwrap();
    Captured { frame: Frame { at: Timestamp::ZERO, link, data, wire_len }, interface: 0, link_number }
}

/// An IPv4 packet with a TCP or UDP header, from 10.0.0.1:1024 to 10.0.0.2 and a port.
fn ipv4(protocol: u8, port: u16) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 40, 0, 1, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 4, 0];
    packet.extend(port.to_be_bytes());
    packet.resize(40, 0);
    packet[33] = 0x02;
    packet
}

fn ethernet(payload: &[u8]) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0], payload].concat()
}

fn matches(expression: &str, link: u32, data: &[u8]) -> bool {
    let wire_len = u32::try_from(data.len()).unwrap();
    Filter::new(expression).unwrap().matches(&captured(link, wire_len, data))
}

#[test]
fn an_expression_means_the_same_on_every_link_type() {
    let (web, name) = (ipv4(6, 80), ipv4(17, 53));
    let cooked = |packet: &[u8]| [&[0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0, 8, 0], packet].concat();
    let cooked2 = |packet: &[u8]| [&[8, 0, 0, 0, 0, 0, 0, 2, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0], packet].concat();
    let null = |packet: &[u8]| [&[2, 0, 0, 0], packet].concat();
    let looped = |packet: &[u8]| [&[0, 0, 0, 2], packet].concat();
    let mut filter = Filter::new("tcp dst port 80 and src host 10.0.0.1").unwrap();
    for _ in 0..2 {
        for (link, web, name) in [
            (1, ethernet(&web), ethernet(&name)),
            (101, web.clone(), name.clone()),
            (12, web.clone(), name.clone()),
            (228, web.clone(), name.clone()),
            (113, cooked(&web), cooked(&name)),
            (276, cooked2(&web), cooked2(&name)),
            (0, null(&web), null(&name)),
            (108, looped(&web), looped(&name)),
        ] {
            assert!(filter.matches(&captured(link, 60, &web)), "{link}");
            assert!(!filter.matches(&captured(link, 60, &name)), "{link}");
        }
    }
    assert_eq!(filter.problem(), None);
}

#[test]
fn lengths_are_those_on_the_wire() {
    let data = ethernet(&ipv4(6, 80));
    let mut filter = Filter::new("greater 1000").unwrap();
    assert!(filter.matches(&captured(1, 1000, &data)), "the capture cut it; it was long on the wire");
    assert!(!filter.matches(&captured(1, 999, &data)));
}

#[test]
fn an_expression_that_is_none_is_refused_with_libpcaps_reason() {
    let error = Filter::new("tcp prot 80").unwrap_err();
    assert_eq!((error.link, error.exit_code()), (LinkName(1), 2));
    assert!(error.reason.contains("syntax error"), "{error}");
    assert!(error.to_string().starts_with("the filter 'tcp prot 80' cannot be compiled for link type 1 (Ethernet): "));
    assert!(error.hint().contains("pcap-filter"));
    assert!(Filter::new("tcp\0port 80").is_err());
}

#[test]
fn an_expression_for_one_link_type_does_not_match_on_others_and_says_so() {
    let mut filter = Filter::new("inbound").unwrap();
    assert_eq!(filter.problem(), None);
    let data = [&[0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0, 8, 0], &ipv4(6, 80)[..]].concat();
    assert!(filter.matches(&captured(113, 60, &data)));
    assert_eq!(filter.problem(), None);
    assert!(!filter.matches(&captured(1, 60, &data)));
    assert_eq!(filter.problem().unwrap().link, LinkName(1));
    assert!(filter.matches(&captured(113, 60, &data)));
}

#[test]
fn no_expression_is_every_frame() {
    assert!(matches("", 1, b""));
    assert!(!matches("ip", 1, b""), "what is not there does not match");
}

/// Expressions that between them use every kind of instruction that libpcap writes.
const EXPRESSIONS: [&str; 16] = [
    "tcp port 80",
    "ip6 and udp",
    "vlan and host 10.0.0.1",
    "mpls 7 and tcp",
    "not (ip proto 6 or arp) and not multicast",
    "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
    "tcp[((tcp[12] & 0xf0) >> 2):4] = 0x47455420",
    "ip[2:2] - ((ip[0] & 0xf) << 2) > 20",
    "ether[0] & 1 = 1 and ether[6:4] * 3 / 2 % 7 != 5",
    "ip[8] * ip[9] > 300 or -ip[4:2] = 0xffffffff",
    "(ip[0] ^ ip[1]) | ip[8] = 0x45",
    "net 10.0.0.0/8 and portrange 1000-2000",
    "ip6 protochain 6",
    "len > 60 and len % 2 = 0",
    "ip[0] / ip[1] = 3 or ip[2] % ip[3] = 1",
    "ether[ip[0]] >> (ip[1] & 31) = 1 or ether[20] << (ip[0] & 255) = 0",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn libpcap_agrees(
        start in prop::sample::select(vec![
            ethernet(&ipv4(6, 80)), ethernet(&ipv4(17, 1500)), vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x86, 0xdd, 0x60],
            vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x81, 0, 0, 1, 8, 0, 0x45],
            vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x88, 0x47, 0, 0, 0x71, 64, 0x45], vec![],
        ]),
        more in prop::collection::vec(any::<u8>(), 0..80),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut frame = [start, more].concat();
        for (at, byte) in flips {
            if !frame.is_empty() {
                let at = at.index(frame.len());
                frame[at] = byte;
            }
        }
        for expression in EXPRESSIONS {
            let handle = pcap::Capture::dead(pcap::Linktype::ETHERNET).unwrap();
            let theirs = handle.compile(expression, true).unwrap().filter(&frame);
            prop_assert_eq!(matches(expression, 1, &frame), theirs, "{}: {:02x?}", expression, frame);
        }
    }
}
