//! Builds capture files in memory, of every kind there is.

#![allow(dead_code, reason = "each test program uses its part of it")]

use std::io::Write;

/// A packet to write, and to expect back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) nanos: u64,
    pub(crate) link: u32,
    pub(crate) interface: u32,
    pub(crate) wire_len: u32,
    pub(crate) data: Vec<u8>,
}

impl Packet {
    pub(crate) fn new(nanos: u64, data: &[u8]) -> Self {
        Self { nanos, link: 1, interface: 0, wire_len: u32::try_from(data.len()).unwrap(), data: data.to_vec() }
    }

    pub(crate) fn cut_from(self, wire_len: u32) -> Self {
        Self { wire_len, ..self }
    }
}

/// Writes pcap files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pcap {
    pub(crate) big_endian: bool,
    pub(crate) magic: u32,
    pub(crate) version: (u16, u16),
    pub(crate) snaplen: u32,
    pub(crate) network: u32,
}

pub(crate) const MICRO: u32 = 0xa1b2_c3d4;
pub(crate) const NANO: u32 = 0xa1b2_3c4d;
pub(crate) const MODIFIED: u32 = 0xa1b2_cd34;

impl Default for Pcap {
    fn default() -> Self {
        Self { big_endian: false, magic: MICRO, version: (2, 4), snaplen: 262_144, network: 1 }
    }
}

impl Pcap {
    pub(crate) fn u16(&self, number: u16) -> [u8; 2] {
        if self.big_endian { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    pub(crate) fn u32(&self, number: u32) -> [u8; 4] {
        if self.big_endian { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    pub(crate) fn header(&self) -> Vec<u8> {
        let mut file = Vec::new();
        file.extend(self.u32(self.magic));
        file.extend(self.u16(self.version.0));
        file.extend(self.u16(self.version.1));
        file.extend([0; 8]);
        file.extend(self.u32(self.snaplen));
        file.extend(self.u32(self.network));
        file
    }

    pub(crate) fn record_with(&self, nanos: u64, lengths: (u32, u32), data: &[u8]) -> Vec<u8> {
        let unit = if self.magic == NANO { 1 } else { 1000 };
        let mut record = Vec::new();
        record.extend(self.u32(u32::try_from(nanos / 1_000_000_000).unwrap()));
        record.extend(self.u32(u32::try_from(nanos % 1_000_000_000 / unit).unwrap()));
        record.extend(self.u32(lengths.0));
        record.extend(self.u32(lengths.1));
        if self.magic == MODIFIED {
            record.extend([9, 9, 9, 9, 8, 8, 7, 0]);
        }
        record.extend(data);
        record
    }

    pub(crate) fn record(&self, packet: &Packet) -> Vec<u8> {
        let len = u32::try_from(packet.data.len()).unwrap();
        self.record_with(packet.nanos, (len, packet.wire_len), &packet.data)
    }

    pub(crate) fn file(&self, packets: &[Packet]) -> Vec<u8> {
        let mut file = self.header();
        for packet in packets {
            file.extend(self.record(packet));
        }
        file
    }
}

/// Writes the blocks of pcapng files.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ng {
    pub(crate) big_endian: bool,
}

impl Ng {
    pub(crate) fn u16(&self, number: u16) -> [u8; 2] {
        if self.big_endian { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    pub(crate) fn u32(&self, number: u32) -> [u8; 4] {
        if self.big_endian { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    pub(crate) fn u64(&self, number: u64) -> [u8; 8] {
        if self.big_endian { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    pub(crate) fn block(&self, kind: u32, body: &[u8]) -> Vec<u8> {
        let padded = body.len().next_multiple_of(4);
        let total = u32::try_from(padded + 12).unwrap();
        let mut block = Vec::new();
        block.extend(self.u32(kind));
        block.extend(self.u32(total));
        block.extend(body);
        block.resize(8 + padded, 0);
        block.extend(self.u32(total));
        block
    }

    pub(crate) fn option(&self, code: u16, value: &[u8]) -> Vec<u8> {
        let mut option = Vec::new();
        option.extend(self.u16(code));
        option.extend(self.u16(u16::try_from(value.len()).unwrap()));
        option.extend(value);
        option.resize(option.len().next_multiple_of(4), 0);
        option
    }

    pub(crate) fn section(&self) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend(self.u32(0x1a2b_3c4d));
        body.extend(self.u16(1));
        body.extend(self.u16(0));
        body.extend([0xff; 8]);
        body.extend(self.option(4, b"sensor's tests"));
        body.extend(self.option(0, b""));
        self.block(0x0a0d_0d0a, &body)
    }

    pub(crate) fn interface(&self, link: u16, snaplen: u32, options: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend(self.u16(link));
        body.extend([0; 2]);
        body.extend(self.u32(snaplen));
        body.extend(options);
        self.block(1, &body)
    }

    /// An interface with a clock.
    pub(crate) fn interface_with(&self, link: u16, resolution: u8, offset: i64) -> Vec<u8> {
        let options = [
            self.option(2, b"eth0"),
            self.option(9, &[resolution]),
            self.option(14, &self.u64(offset.cast_unsigned())),
            self.option(0, b""),
        ];
        self.interface(link, 0, &options.concat())
    }

    pub(crate) fn enhanced(&self, interface: u32, units: u64, wire_len: u32, data: &[u8], options: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend(self.u32(interface));
        body.extend(self.u32((units >> 32) as u32));
        body.extend(self.u32(units as u32));
        body.extend(self.u32(u32::try_from(data.len()).unwrap()));
        body.extend(self.u32(wire_len));
        body.extend(data);
        body.resize(body.len().next_multiple_of(4), 0);
        body.extend(options);
        self.block(6, &body)
    }

    pub(crate) fn old(&self, interface: u16, drops: u16, units: u64, wire_len: u32, data: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend(self.u16(interface));
        body.extend(self.u16(drops));
        body.extend(self.u32((units >> 32) as u32));
        body.extend(self.u32(units as u32));
        body.extend(self.u32(u32::try_from(data.len()).unwrap()));
        body.extend(self.u32(wire_len));
        body.extend(data);
        self.block(2, &body)
    }

    pub(crate) fn simple(&self, wire_len: u32, data: &[u8]) -> Vec<u8> {
        self.block(3, &[&self.u32(wire_len)[..], data].concat())
    }

    pub(crate) fn statistics(&self, interface: u32, options: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend(self.u32(interface));
        body.extend([0; 8]);
        body.extend(options);
        self.block(5, &body)
    }

    /// A file of one section, Ethernet, nanoseconds.
    pub(crate) fn file(&self, packets: &[Packet]) -> Vec<u8> {
        let mut file = self.section();
        file.extend(self.interface_with(1, 9, 0));
        for packet in packets {
            file.extend(self.enhanced(0, packet.nanos, packet.wire_len, &packet.data, &[]));
        }
        file
    }
}

pub(crate) fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(content: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(content, ruzstd::encoding::CompressionLevel::Fastest)
}
