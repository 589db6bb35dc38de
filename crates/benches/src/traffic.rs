//! The inputs: made up by seed, the same bytes on every machine.

use fixtures::conversation::Api;
use fixtures::{Conversation, Encapsulation, Nest, Outer, Packet, Segmentation, Side, Wire, capture, faults};

/// Keep-alive API traffic: `connections` at the same time, with `transactions` each and bodies of up to `max_body` bytes.
#[must_use]
pub fn api(connections: usize, transactions: usize, max_body: usize) -> Vec<Packet> {
    let conversations: Vec<Conversation> = (0..connections)
        .map(|n| Api { seed: n as u64 + 1, transactions, depth: 1, max_body, traps: false }.build().0)
        .collect();
    Wire::new(1).run_all(&conversations)
}

/// One connection on which a browser revalidates what it has: long request heads, short responses, no bodies.
#[must_use]
pub fn browser(transactions: usize) -> Vec<Packet> {
    let mut conversation = Conversation::new();
    for n in 0..transactions {
        conversation.say(Side::Client, request_head(n)).say(Side::Server, response_head(n));
    }
    Wire::new(2).segmentation(Segmentation::Fixed(1448)).run(&conversation)
}

/// A request head of a browser.
#[must_use]
pub fn request_head(n: usize) -> Vec<u8> {
    format!(
        "GET /static/bundle-{n:06}.js?v=8f14e45f HTTP/1.1\r\nHost: www.shop.example\r\nConnection: keep-alive\r\n\
         Cache-Control: max-age=0\r\nsec-ch-ua: \"Chromium\";v=\"126\", \"Not.A/Brand\";v=\"24\"\r\n\
         sec-ch-ua-mobile: ?0\r\nsec-ch-ua-platform: \"Linux\"\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) \
         AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36\r\nAccept: */*\r\n\
         Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: script\r\n\
         Referer: https://www.shop.example/checkout/step/2\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
         Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\nCookie: session=4f2a9d1c77b04e7f; theme=dark; consent=1; \
         _ab=checkout-7; basket=9f86d081884c7d659a2feaa0c55ad015\r\nIf-None-Match: \"{n:08x}-8f14e45f\"\r\n\
         If-Modified-Since: Tue, 01 Jul 2025 10:00:00 GMT\r\n\r\n"
    )
    .into_bytes()
}

/// The head of a response to it.
#[must_use]
pub fn response_head(n: usize) -> Vec<u8> {
    format!(
        "HTTP/1.1 304 Not Modified\r\nServer: nginx\r\nDate: Thu, 03 Jul 2025 09:41:07 GMT\r\n\
         Last-Modified: Tue, 01 Jul 2025 10:00:00 GMT\r\nConnection: keep-alive\r\nETag: \"{n:08x}-8f14e45f\"\r\n\
         Cache-Control: public, max-age=31536000, immutable\r\nX-Content-Type-Options: nosniff\r\n\
         Strict-Transport-Security: max-age=31536000; includeSubDomains\r\nVary: Accept-Encoding, Origin\r\n\
         X-Request-Id: {n:032x}\r\n\r\n"
    )
    .into_bytes()
}

/// The packets, each in VXLAN.
#[must_use]
pub fn in_vxlan(mut packets: Vec<Packet>) -> Vec<Packet> {
    faults::encapsulate(&mut packets, &Nest::one(Encapsulation::Vxlan { vni: 42 }));
    packets
}

/// The packets, each in VXLAN in Geneve with options in a VLAN.
#[must_use]
pub fn nested(mut packets: Vec<Packet>) -> Vec<Packet> {
    let nest = Nest::aws_gateway_load_balancer(42).within(Encapsulation::Vlan { tpid: 0x8100, id: 100 }, Outer::v4(3));
    faults::encapsulate(&mut packets, &nest);
    packets
}

/// The packets in VXLAN over links too narrow for it: each large one in two fragments.
#[must_use]
pub fn in_fragments(packets: Vec<Packet>) -> Vec<Packet> {
    let mut packets = in_vxlan(packets);
    faults::fragment(&mut packets, 1500);
    packets
}

/// The packets as a bad mirror gives them: one in fifty lost, one in twenty late.
#[must_use]
pub fn through_a_bad_mirror(mut packets: Vec<Packet>) -> Vec<Packet> {
    faults::lose(&mut packets, 0.02, 7);
    faults::reorder(&mut packets, 4, 0.05, 7);
    packets
}

/// A capture file of the packets.
#[must_use]
pub fn file(packets: &[Packet]) -> Vec<u8> {
    capture::write(packets, capture::Format::PCAP)
}

/// Bytes of the packets on the wire.
#[must_use]
pub fn bytes(packets: &[Packet]) -> u64 {
    packets.iter().map(|packet| u64::from(packet.wire_len)).sum()
}
