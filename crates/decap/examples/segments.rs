//! Prints what became of each frame of a capture file, a line a frame: for comparing with other decoders.
//!
//!     cargo run -p decap --example segments -- FILE...

#![allow(clippy::disallowed_methods, reason = "a development tool beside the sans-IO crate")]
#![allow(clippy::print_stdout)] // That is what it is for.

use decap::{Config, Decapsulator, Frame, LinkType, Timestamp, Verdict};

#[path = "../tests/capture/mod.rs"]
mod capture;

fn main() {
    for file in std::env::args().skip(1) {
        let mut decapsulator = Decapsulator::new(Config::default());
        for (number, packet) in capture::read(std::path::Path::new(&file)).iter().enumerate() {
            let number = number + 1;
            let Some(link) = LinkType::from_number(packet.link) else {
                println!("{number}\tlink type {}", packet.link);
                continue;
            };
            let at = Timestamp::from_nanos(packet.nanos);
            match decapsulator.push(Frame { at, link, data: &packet.data, wire_len: packet.wire_len }) {
                Verdict::Segment(segment) => {
                    let (from, to) =
                        (segment.key.source(segment.direction), segment.key.destination(segment.direction));
                    let kinds: Vec<&str> = segment.path.hops.iter().map(|hop| hop.kind.name()).collect();
                    let len = segment.payload.len() as u64 + u64::from(segment.missing);
                    println!(
                        "{number}\tsegment\t{}\t{}\t{}\t{}\t{}\t{len}\t{}\t{:?}",
                        from.ip,
                        from.port,
                        to.ip,
                        to.port,
                        segment.seq.0,
                        kinds.join(","),
                        segment.path.vlans.as_slice(),
                    );
                }
                Verdict::Held => println!("{number}\theld"),
                Verdict::Skipped(reason) => println!("{number}\t{}", reason.name()),
            }
        }
        decapsulator.finish();
        assert!(decapsulator.stats().is_balanced());
    }
}
