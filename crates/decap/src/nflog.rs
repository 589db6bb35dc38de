//! Linux netfilter log (LINKTYPE_NFLOG, <https://www.tcpdump.org/linktypes/LINKTYPE_NFLOG.html>): address family, version
//! and group, then attributes, one of which is the packet.

use crate::reason::SkipReason;
use crate::step::{Next, Step, Stepped};
use crate::view::View;

const REASON: SkipReason = SkipReason::MalformedLink;

/// Reads everything in front of the packet's network layer.
pub(crate) fn nflog(view: View<'_>) -> Stepped {
    // Linux' numbers, whatever host reads them.
    const AF_INET: u8 = 2;
    const AF_INET6: u8 = 10;
    const HEADER: usize = 4;
    const ATTRIBUTE: usize = 4;
    const PAYLOAD: u16 = 9;
    // The upper bits say how an attribute's content is to be read.
    const TYPE: u16 = 0x3fff;
    let [family, version, ..] = view.array::<HEADER>(0, REASON)?;
    match (family, version) {
        (AF_INET | AF_INET6, 0) => {}
        (_, 0) => return Err(SkipReason::NotIp),
        _ => return Err(REASON),
    }
    let mut at = HEADER;
    // Lengths and types are in the capturing host's byte order. Types are few, so the first one shows which.
    let [_, _, low, high] = view.array::<ATTRIBUTE>(at, REASON)?;
    let is_little = u16::from_le_bytes([low, high]) & TYPE < 0x100;
    let number = |bytes| if is_little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) };
    loop {
        let [a, b, c, d] = view.array::<ATTRIBUTE>(at, REASON)?;
        let len = usize::from(number([a, b]));
        if len < ATTRIBUTE {
            return Err(REASON);
        }
        if number([c, d]) & TYPE == PAYLOAD {
            // The packet's own length says where it ends.
            return Ok(Step::to(Next::Ip, at + ATTRIBUTE));
        }
        at += len.next_multiple_of(4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Stepped {
        nflog(View { bytes, wire_len: bytes.len() })
    }

    fn log(family: u8, order: fn(u16) -> [u8; 2], attributes: &[(u16, u16, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![family, 0, 0, 40];
        for (len, number, content) in attributes {
            bytes.extend(order(*len).into_iter().chain(order(*number)).chain(content.iter().copied()));
        }
        bytes
    }

    #[test]
    fn the_packet_is_found_among_attributes_of_either_byte_order() {
        for order in [u16::to_le_bytes, u16::to_be_bytes] {
            for family in [2, 10] {
                let bytes = log(family, order, &[(8, 1, &[8, 0, 3, 0]), (5, 10, &[0, 0, 0, 0]), (24, 9, &[0x45; 20])]);
                assert_eq!(read(&bytes), Ok(Step::to(Next::Ip, 4 + 8 + 8 + 4)));
            }
            let flagged = log(2, order, &[(24, 0x4009, &[0x45; 20])]);
            assert_eq!(read(&flagged), Ok(Step::to(Next::Ip, 8)));
        }
    }

    #[test]
    fn what_has_no_packet_is_named() {
        let le = u16::to_le_bytes;
        assert_eq!(read(&log(7, le, &[(24, 9, &[0; 20])])), Err(SkipReason::NotIp), "bridge");
        assert_eq!(read(&log(2, le, &[(8, 1, &[0; 4])])), Err(REASON), "no packet");
        assert_eq!(read(&log(2, le, &[(3, 1, &[])])), Err(REASON), "an attribute shorter than its header");
        assert_eq!(read(&[2, 1, 0, 0, 8, 0, 9, 0]), Err(REASON), "another version");
        assert_eq!(read(&[2, 0, 0]), Err(REASON));
        let cut = log(2, le, &[(8, 1, &[0; 4])]);
        assert_eq!(nflog(View { bytes: &cut, wire_len: 200 }), Err(SkipReason::HeadersNotCaptured));
    }
}
