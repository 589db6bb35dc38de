//! Reads capture files, for tests and for the example that compares with other decoders.

use pcap_parser::{Block, PcapBlockOwned, PcapError, create_reader};

/// One packet of a capture file.
pub struct Packet {
    /// Nanoseconds since the epoch; microsecond files are read as they are, which is enough for tests.
    pub nanos: u64,
    /// Its LINKTYPE_ number.
    pub link: u32,
    /// The captured bytes.
    pub data: Vec<u8>,
    /// The length on the wire.
    pub wire_len: u32,
}

/// The packets of a capture file, up to where it is broken.
pub fn read(path: &std::path::Path) -> Vec<Packet> {
    #[allow(clippy::disallowed_methods)] // Tests read files; the crate does not.
    let bytes = std::fs::read(path).unwrap();
    let mut packets = Vec::new();
    let Ok(mut reader) = create_reader(1 << 20, &bytes[..]) else {
        return packets;
    };
    let mut link = 1;
    let mut links: Vec<u32> = Vec::new();
    let mut fruitless = 0;
    loop {
        match reader.next() {
            Ok((consumed, block)) => {
                fruitless = 0;
                match block {
                    PcapBlockOwned::LegacyHeader(header) => link = header.network.0 as u32,
                    PcapBlockOwned::Legacy(packet) => packets.push(Packet {
                        nanos: u64::from(packet.ts_sec) * 1_000_000_000 + u64::from(packet.ts_usec) * 1000,
                        link,
                        data: packet.data[..(packet.caplen as usize).min(packet.data.len())].to_vec(),
                        wire_len: packet.origlen,
                    }),
                    PcapBlockOwned::NG(Block::SectionHeader(_)) => links.clear(),
                    PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
                        links.push(interface.linktype.0 as u32);
                    }
                    PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                        let link = links.get(packet.if_id as usize).copied().unwrap_or(1);
                        let data = packet.data[..(packet.caplen as usize).min(packet.data.len())].to_vec();
                        let nanos = ((u64::from(packet.ts_high) << 32) | u64::from(packet.ts_low)).wrapping_mul(1000);
                        packets.push(Packet { nanos, link, data, wire_len: packet.origlen });
                    }
                    PcapBlockOwned::NG(Block::SimplePacket(packet)) => packets.push(Packet {
                        nanos: 0,
                        link: links.first().copied().unwrap_or(1),
                        data: packet.data.to_vec(),
                        wire_len: packet.origlen,
                    }),
                    PcapBlockOwned::NG(_) => {}
                }
                reader.consume(consumed);
            }
            Err(PcapError::Incomplete(_)) if fruitless < 2 => {
                fruitless += 1;
                if reader.refill().is_err() {
                    return packets;
                }
            }
            Err(_) => return packets,
        }
    }
}
