//! The same bytes in smaller segments.

use decap::TcpFlags;
use fixtures::packet::{self, Ip, Tcp};
use fixtures::{Packet, streams};

/// Cuts every segment of plain TCP into segments of `size` bytes, as a sender with a tiny segment size would have sent
/// them: SYN on the first, PSH and FIN on the last. What is no plain TCP stays as it is. Link layers become Ethernet.
pub fn into_segments(packets: &[Packet], size: usize) -> Vec<Packet> {
    let mut cut = Vec::new();
    let mut id = 0_u16;
    for packet in packets {
        let Some(segment) = streams::segment(packet) else {
            cut.push(packet.clone());
            continue;
        };
        let pieces: Vec<&[u8]> =
            if segment.payload.is_empty() { vec![&[]] } else { segment.payload.chunks(size).collect() };
        let last = pieces.len() - 1;
        let mut seq = segment.seq;
        for (number, piece) in pieces.into_iter().enumerate() {
            id = id.wrapping_add(1);
            let mut flags = segment.flags.0;
            if number > 0 {
                flags &= !TcpFlags::SYN;
            }
            if number < last {
                flags &= !(TcpFlags::PSH | TcpFlags::FIN);
            }
            let tcp = Tcp {
                source: segment.source.port(),
                destination: segment.destination.port(),
                seq,
                ack: segment.ack,
                flags,
                window: 512,
                ..Tcp::default()
            };
            let ip = Ip { id, ..Ip::new(segment.source.ip(), segment.destination.ip()) };
            let frame = packet::ethernet(
                packet::mac(ip.source),
                packet::mac(ip.destination),
                ip.ether_type(),
                &ip.build(packet::TCP, &tcp.build(&ip, piece)),
            );
            cut.push(Packet::ethernet(packet.at, frame));
            seq = seq.wrapping_add(piece.len() as u32 + u32::from(number == 0 && segment.flags.syn()));
        }
    }
    cut
}
