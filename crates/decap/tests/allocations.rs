//! Nothing is allocated for a frame, once the decapsulator stands. (Fragments are held in memory, of course.)

// Helpers of tests are tests.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod build;

use build::{WRAPS, tcp, wrap};
use decap::{Config, Decapsulator, Verdict};

#[test]
fn frames_cost_no_allocation() {
    let mut packets = vec![tcp(false, &[7; 1000]).in_ethernet(&[]), tcp(true, &[7; 1000]).in_ethernet(&[])];
    for choice in 0..WRAPS {
        for ethernet in [false, true] {
            let mut packet = tcp(false, &[7; 1000]);
            if ethernet {
                packet = packet.in_ethernet(&[(0x8100, &[0, 5])]);
            }
            packets.push(wrap(packet, choice, ethernet, 0x1234_5678).in_vxlan_if_framed());
        }
    }
    let mut decapsulator = Decapsulator::new(Config::default());
    let mut segments = 0;
    let allocations = allocation_counter::measure(|| {
        for packet in &packets {
            for cut in [0, 500, packet.bytes.len() - 3] {
                let whole = packet.frame(0);
                let frame = decap::Frame { data: &whole.data[..whole.data.len() - cut], ..whole };
                if let Verdict::Segment(_) = decapsulator.push(frame) {
                    segments += 1;
                }
            }
        }
    });
    assert_eq!(allocations.count_total, 0);
    assert_eq!(segments, packets.len() * 2);
}

impl build::Packet {
    /// One more tunnel around what can be put into it.
    fn in_vxlan_if_framed(self) -> Self {
        if self.kind == build::Kind::Ethernet { self.in_vxlan(false, 9).in_ethernet(&[]) } else { self }
    }
}
