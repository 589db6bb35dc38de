//! IPv4 and IPv6 headers (RFC 791, RFC 8200).
//!
//! The IP length is the truth: what the frame holds beyond it is padding, checksum or a vendor's trailer, and what the
//! frame lacks of it was cut by the capture. Length 0 means that the sender's network card was to split the packet
//! (TSO, and jumbograms): then the enclosing layer's length counts.

use crate::flow::AddressPair;
use crate::reason::SkipReason;
use crate::view::View;

const REASON: SkipReason = SkipReason::MalformedIp;

/// The longest packet of length 0 that is believed. Segmentation offload hands down at most 512 KiB.
const MAX_UNSIZED: usize = 1 << 20;

/// An IP header, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IpHeader {
    /// Where it comes from and goes.
    pub(crate) addresses: AddressPair,
    /// IPv4 identification; 0 for IPv6, whose fragment header has it.
    pub(crate) id: u16,
    /// What follows.
    pub(crate) protocol: u8,
    /// Length of the header.
    pub(crate) len: usize,
    /// Length of header and payload on the wire; at least `len`.
    pub(crate) packet_len: usize,
    /// IPv4's flags and fragment offset, as they stand in the header; 0 for IPv6.
    pub(crate) fragment: u16,
}

impl IpHeader {
    /// Which part of a datagram it carries, when it does not carry all of it (IPv4 only).
    pub(crate) fn part(&self) -> Option<Part> {
        // "More fragments" and the offset; not the reserved bit and "don't fragment".
        let more = self.fragment & 0x2000 != 0;
        let offset = self.fragment & 0x1fff;
        (more || offset != 0).then(|| Part { offset: u32::from(offset) * 8, more, id: u32::from(self.id) })
    }
}

/// Which part of a datagram a fragment carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Part {
    /// Where in the datagram it starts, in bytes.
    pub(crate) offset: u32,
    /// Whether there are parts behind it.
    pub(crate) more: bool,
    /// The datagram's identification.
    pub(crate) id: u32,
}

/// Reads an IPv4 header, its options included.
#[inline]
pub(crate) fn v4(view: View<'_>) -> Result<IpHeader, SkipReason> {
    let Ok(header) = etherparse::Ipv4HeaderSlice::from_slice(view.bytes) else {
        return Err(v4_fault(view));
    };
    let len = header.slice().len();
    let mut packet_len = usize::from(header.total_len());
    if packet_len < len {
        if packet_len != 0 {
            return Err(REASON);
        }
        packet_len = unsized_len(view)?;
    }
    let fragment = header.fragments_offset().value() | u16::from(header.more_fragments()) << 13;
    Ok(IpHeader {
        addresses: AddressPair::v4(u32::from_be_bytes(header.source()), u32::from_be_bytes(header.destination())),
        id: header.identification(),
        protocol: header.protocol().0,
        len,
        packet_len,
        fragment,
    })
}

/// Why there is no IPv4 header.
#[cold]
fn v4_fault(view: View<'_>) -> SkipReason {
    match view.bytes.first() {
        Some(first) if first >> 4 == 4 && first & 0xf >= 5 => {
            view.lacking((usize::from(first & 0xf) * 4).max(20), REASON)
        }
        Some(_) => REASON,
        None => view.lacking(20, REASON),
    }
}

/// Reads an IPv6 header, without its extension headers.
#[inline]
pub(crate) fn v6(view: View<'_>) -> Result<IpHeader, SkipReason> {
    const LEN: usize = 40;
    let Ok(header) = etherparse::Ipv6HeaderSlice::from_slice(view.bytes) else {
        return Err(if view.nibble() == Some(6) { view.lacking(LEN, REASON) } else { REASON });
    };
    let packet_len = match usize::from(header.payload_length()) {
        0 => unsized_len(view)?,
        payload => LEN + payload,
    };
    Ok(IpHeader {
        addresses: AddressPair {
            source: u128::from_be_bytes(header.source()),
            destination: u128::from_be_bytes(header.destination()),
            is_v4: false,
        },
        id: 0,
        protocol: header.next_header().0,
        len: LEN,
        packet_len,
        fragment: 0,
    })
}

/// The length of a packet that does not tell its own.
#[cold]
fn unsized_len(view: View<'_>) -> Result<usize, SkipReason> {
    if view.wire_len > MAX_UNSIZED { Err(REASON) } else { Ok(view.wire_len) }
}

/// Whether the bytes agree with being an IPv4 packet. For deciding where nothing else does.
pub(crate) fn is_plausible_v4(view: View<'_>) -> bool {
    let Some([first, _, high, low]) = view.bytes.first_chunk() else {
        return false;
    };
    let total = usize::from(u16::from_be_bytes([*high, *low]));
    let len = usize::from(first & 0xf) * 4;
    first >> 4 == 4 && len >= 20 && (total == 0 || total >= len)
}

/// Whether the bytes agree with being an IPv6 packet. For deciding where nothing else does.
pub(crate) fn is_plausible_v6(view: View<'_>) -> bool {
    let Some([first, _, _, _, high, low]) = view.bytes.first_chunk() else {
        return false;
    };
    first >> 4 == 6 && 40 + usize::from(u16::from_be_bytes([*high, *low])) <= view.wire_len
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8]) -> View<'_> {
        View { bytes, wire_len: bytes.len() }
    }

    fn v4_bytes(total: u16) -> Vec<u8> {
        let mut bytes = vec![0x45, 0];
        bytes.extend(total.to_be_bytes());
        bytes.extend([0x12, 0x34, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        bytes.resize(60, 0);
        bytes
    }

    #[test]
    fn lengths_come_from_the_header() {
        let header = v4(whole(&v4_bytes(40))).unwrap();
        assert_eq!((header.len, header.packet_len, header.id, header.protocol), (20, 40, 0x1234, 6));
        assert_eq!(header.part(), None, "don't fragment is no fragment");
        assert_eq!(v4(whole(&v4_bytes(4000))).unwrap().packet_len, 4000, "longer than what was captured");
        assert_eq!(v4(whole(&v4_bytes(19))), Err(REASON));
        assert_eq!(v4(View { bytes: &v4_bytes(0), wire_len: 3000 }).unwrap().packet_len, 3000, "split by the card");
        assert_eq!(v4(View { bytes: &v4_bytes(0), wire_len: 2 << 20 }), Err(REASON));
    }

    #[test]
    fn options_are_part_of_the_header() {
        let mut bytes = v4_bytes(44);
        bytes[0] = 0x46;
        assert_eq!(v4(whole(&bytes)).unwrap().len, 24);
        bytes[0] = 0x4f;
        assert_eq!(v4(whole(&bytes)), Err(REASON), "the header is longer than the packet");
        assert_eq!(v4(View { bytes: &bytes[..59], wire_len: 60 }), Err(SkipReason::HeadersNotCaptured));
        bytes[0] = 0x44;
        assert_eq!(v4(whole(&bytes)), Err(REASON));
        assert_eq!(v4(whole(&[])), Err(REASON));
        assert_eq!(v4(View { bytes: &[0x45], wire_len: 60 }), Err(SkipReason::HeadersNotCaptured));
    }

    #[test]
    fn fragments_say_so() {
        let mut bytes = v4_bytes(60);
        bytes[6..8].copy_from_slice(&[0x20, 0x02]);
        assert_eq!(v4(whole(&bytes)).unwrap().part(), Some(Part { offset: 16, more: true, id: 0x1234 }));
        bytes[6..8].copy_from_slice(&[0x1f, 0xff]);
        assert_eq!(v4(whole(&bytes)).unwrap().part(), Some(Part { offset: 65528, more: false, id: 0x1234 }));
    }

    #[test]
    fn ipv6_without_a_length_is_as_long_as_its_frame() {
        let mut bytes = vec![0; 48];
        bytes[0] = 0x60;
        bytes[5] = 8;
        bytes[6] = 17;
        let header = v6(whole(&bytes)).unwrap();
        assert_eq!((header.len, header.packet_len, header.protocol), (40, 48, 17));
        bytes[5] = 0;
        assert_eq!(v6(View { bytes: &bytes, wire_len: 70_000 }).unwrap().packet_len, 70_000);
        assert_eq!(v6(whole(&bytes[..39])), Err(REASON));
        assert_eq!(v6(View { bytes: &bytes[..39], wire_len: 48 }), Err(SkipReason::HeadersNotCaptured));
    }

    #[test]
    fn plausibility_needs_agreeing_lengths() {
        assert!(is_plausible_v4(whole(&v4_bytes(40))));
        assert!(!is_plausible_v4(whole(&v4_bytes(10))));
        assert!(!is_plausible_v4(whole(&[0x45, 0, 0])));
        assert!(is_plausible_v6(whole(&[&[0x60, 0, 0, 0, 0, 4][..], &[0; 38]].concat())));
        assert!(!is_plausible_v6(whole(&[&[0x60, 0, 0, 0, 0, 5][..], &[0; 38]].concat())));
    }
}
