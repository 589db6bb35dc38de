//! Writes a small seed corpus for the fuzz target `frame`: frames of every kind, and fragments.
//!
//!     cargo run -p decap --example seeds -- fuzz/corpus/frame

#![allow(clippy::disallowed_methods, clippy::expect_used)] // A tool for developers; the crate itself reads no files.

use build::{Packet, WRAPS, tcp, wrap};

#[path = "../tests/build/mod.rs"]
mod build;

/// A frame in the target's format.
fn frame(packet: &Packet) -> Vec<u8> {
    let len = u16::try_from(packet.bytes.len()).expect("small frames");
    let link = if packet.kind == build::Kind::Ethernet { 0 } else { 3 };
    let [high, low] = len.to_be_bytes();
    [&[link, 0, 1, high, low][..], &packet.bytes].concat()
}

fn main() {
    let folder = std::env::args().nth(1).expect("the folder to write to");
    let write = |name: String, input: &[u8]| {
        std::fs::write(std::path::Path::new(&folder).join(name), input).expect("the folder can be written to");
    };
    for choice in 0..WRAPS {
        let mut input = vec![3];
        for v6 in [false, true] {
            input.extend(frame(&wrap(tcp(v6, b"GET"), choice, v6, 0x1234_0507)));
            let framed = tcp(v6, b"GET").in_ethernet(&[(0x8100, &[0, 9])]);
            input.extend(frame(&wrap(framed, choice, !v6, 0x1234_0702)));
        }
        write(format!("wrap-{choice:02}"), &input);
    }
    for (name, v6) in [("fragments-4", false), ("fragments-6", true)] {
        let mut input = vec![3];
        let packet = tcp(v6, b"GET / HTTP/1.1").in_ethernet(&[]).in_vxlan(v6, 7);
        for fragment in packet.fragments(5, &[0, 48, 96]).iter().rev() {
            input.extend(frame(fragment));
        }
        write(name.into(), &input);
    }
}
