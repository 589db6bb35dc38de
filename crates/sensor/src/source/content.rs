//! What an input is, told by its first bytes.

/// What the first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// A pcap file.
    Pcap(PcapKind),
    /// A pcapng file.
    Pcapng,
    /// RFC 1952.
    Gzip,
    /// RFC 8878, maybe with a skippable frame first.
    Zstd,
    /// Known, but not read.
    Unsupported { format: &'static str, hint: &'static str },
    /// Nothing known.
    Unknown,
}

/// Which of the pcap formats, from the four bytes that open the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PcapKind {
    /// The writer's byte order.
    pub(super) big_endian: bool,
    /// Nanoseconds in one unit of a record's second time field.
    pub(super) unit: u64,
    /// Bytes of a record header: 16, or 24 in the modified format, which adds interface, protocol and packet type.
    pub(super) record_header: usize,
}

/// How many bytes [`Content::of`] wants to see at most.
pub(super) const ENOUGH: usize = 8;

const DECOMPRESS: &str = "decompress it first, and hand it in with - (standard input) or as a file";
const CONVERT: &str = "convert it to pcapng first, for example with editcap";

impl Content {
    pub(super) fn of(start: &[u8]) -> Self {
        if let Some(&magic) = start.first_chunk::<4>() {
            if let Some(kind) = PcapKind::of(magic) {
                return Self::Pcap(kind);
            }
            match magic {
                [0x0a, 0x0d, 0x0d, 0x0a] => return Self::Pcapng,
                [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => return Self::Zstd,
                _ => {}
            }
        }
        let unsupported = |format, hint| Self::Unsupported { format, hint };
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => unsupported("compressed with bzip2", DECOMPRESS),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => unsupported("compressed with xz", DECOMPRESS),
            [0x04, 0x22, 0x4d, 0x18, ..] => unsupported("compressed with lz4", DECOMPRESS),
            [0x1f, 0x9d, ..] => unsupported("compressed with compress", DECOMPRESS),
            [b'L', b'Z', b'I', b'P', ..] => unsupported("compressed with lzip", DECOMPRESS),
            [b'P', b'K', 3 | 5, 4 | 6, ..] => unsupported("a zip archive", "unpack it first"),
            [b'7', b'z', 0xbc, 0xaf, 0x27, 0x1c, ..] => unsupported("a 7z archive", "unpack it first"),
            [b's', b'n', b'o', b'o', b'p', 0, 0, 0, ..] => unsupported("a snoop capture", CONVERT),
            [b'G', b'M', b'B', b'U', ..] | [b'R', b'T', b'S', b'S', ..] => {
                unsupported("a Microsoft Network Monitor capture", CONVERT)
            }
            [b'T', b'R', b'S', b'N', ..] | [b'X', b'C', b'P', 0, ..] => {
                unsupported("a Network Associates Sniffer capture", CONVERT)
            }
            _ => Self::Unknown,
        }
    }
}

impl PcapKind {
    fn of(magic: [u8; 4]) -> Option<Self> {
        let of = |magic| {
            Some(match magic {
                0xa1b2_c3d4 => (1000, 16),
                0xa1b2_3c4d => (1, 16),
                0xa1b2_cd34 => (1000, 24),
                _ => return None,
            })
        };
        let little = of(u32::from_le_bytes(magic)).map(|found| (false, found));
        let big = || of(u32::from_be_bytes(magic)).map(|found| (true, found));
        let (big_endian, (unit, record_header)) = little.or_else(big)?;
        Some(Self { big_endian, unit, record_header })
    }
}

/// The first bytes of an input for a message: printable ones as text, others as hexadecimal.
pub(super) fn readable(start: &[u8]) -> String {
    let start = &start[..start.len().min(ENOUGH)];
    if start.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        return format!("'{}'", String::from_utf8_lossy(start));
    }
    let hex: Vec<String> = start.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("the bytes {}", hex.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pcap_magic_in_both_orders() {
        for (magic, unit, record_header) in [(0xa1b2_c3d4_u32, 1000, 16), (0xa1b2_3c4d, 1, 16), (0xa1b2_cd34, 1000, 24)]
        {
            for (big_endian, bytes) in [(false, magic.to_le_bytes()), (true, magic.to_be_bytes())] {
                let kind = PcapKind { big_endian, unit, record_header };
                assert_eq!(Content::of(&bytes), Content::Pcap(kind));
            }
        }
    }

    #[test]
    fn others_are_told_by_name() {
        let named = |start: &[u8]| match Content::of(start) {
            Content::Unsupported { format, .. } => format,
            other => panic!("{other:?}"),
        };
        assert_eq!(named(b"BZh91AY&"), "compressed with bzip2");
        assert_eq!(named(b"\xfd7zXZ\0\0\x04"), "compressed with xz");
        assert_eq!(named(b"PK\x03\x04\x14\0\0\0"), "a zip archive");
        assert_eq!(named(b"snoop\0\0\0"), "a snoop capture");
        assert_eq!(Content::of(b"\x1f\x8b\x08"), Content::Gzip);
        assert_eq!(Content::of(b"\x52\x2a\x4d\x18"), Content::Zstd);
        assert_eq!(Content::of(b"\x28\xb5\x2f\xfd"), Content::Zstd);
        assert_eq!(Content::of(b"\x0a\x0d\x0d\x0a"), Content::Pcapng);
        for start in [&b""[..], b"\xa1", b"\xa1\xb2\xc3", b"hello", b"BZhello", b"\x0a\x0d"] {
            assert_eq!(Content::of(start), Content::Unknown, "{start:?}");
        }
    }

    #[test]
    fn first_bytes_are_readable() {
        assert_eq!(readable(b"<!DOCTYPE html>"), "'<!DOCTYP'");
        assert_eq!(readable(b"\x7fELF"), "the bytes 7f 45 4c 46");
    }
}
