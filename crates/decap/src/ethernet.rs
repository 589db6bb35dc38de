//! Ethernet II, 802.3 with LLC and SNAP, Cisco ISL.
//!
//! Lengths of 802.3 and ISL are not trusted: the IP header behind them has its own.

use crate::reason::SkipReason;
use crate::step::{Mark, Next, Step, Stepped, ether_type};
use crate::view::View;

/// Length of an Ethernet header.
pub(crate) const HEADER_LEN: usize = 14;

/// The highest value of the type field that is an 802.3 length.
const MAX_LENGTH: u16 = 1500;

/// Length of an ISL header: two addresses, length, SNAP, source, VLAN, index, reserved.
const ISL_LEN: usize = 26;

/// Reads an Ethernet header.
#[inline]
pub(crate) fn ethernet(view: View<'_>) -> Stepped {
    let Ok(header) = etherparse::Ethernet2HeaderSlice::from_slice(view.bytes) else {
        return Err(view.lacking(HEADER_LEN, SkipReason::MalformedLink));
    };
    let number = header.ether_type().0;
    if number <= MAX_LENGTH
        && let Some(step) = isl(view)
    {
        return Ok(step);
    }
    Ok(Step::to(Next::of_ether_type(number), HEADER_LEN))
}

/// Whether the EtherType position holds an 802.3 length.
pub(crate) const fn is_length(number: u16) -> bool {
    number <= MAX_LENGTH
}

/// Reads an LLC header, with SNAP where there is one (IEEE 802.2, RFC 1042).
pub(crate) fn llc(view: View<'_>) -> Stepped {
    const REASON: SkipReason = SkipReason::MalformedLink;
    match view.array::<2>(0, REASON)? {
        // SNAP: an organization's code, zero for EtherTypes (or 0000f8, an 802.1H bridge-tunnel).
        [0xaa | 0xab, 0xaa | 0xab] => match view.array::<5>(3, REASON)? {
            [0, 0, 0 | 0xf8, high, low] => Ok(Step::to(Next::of_ether_type(u16::from_be_bytes([high, low])), 8)),
            _ => Err(SkipReason::NotIp),
        },
        // The SAP of IP itself (RFC 1042 names it, few use it).
        [0x06, 0x06] => Ok(Step::to(Next::Ip, 3)),
        _ => Err(SkipReason::NotIp),
    }
}

/// Reads a Cisco ISL header, told by its multicast address and the SNAP bytes in its middle.
#[cold]
fn isl(view: View<'_>) -> Option<Step> {
    let header: &[u8; ISL_LEN] = view.bytes.first_chunk()?;
    let [a0, a1, a2, a3, a4, kind, ..] = *header;
    let [.., s0, s1, s2, _, _, _, v0, v1, _, _, _, _] = *header;
    let is_isl = matches!(a0, 0x01 | 0x03) && [a1, a2, a3, a4] == [0, 0x0c, 0, 0] && [s0, s1, s2] == [0xaa, 0xaa, 3];
    // The type's upper half is zero for Ethernet (others: token ring, FDDI, ATM).
    if !is_isl || kind >> 4 != 0 {
        return None;
    }
    // 15 bits of VLAN, of which 802.1Q knows 12, and a bit for bridge protocol data units.
    let vlan = (u16::from_be_bytes([v0, v1]) >> 1) & 0x0fff;
    Some(Step { next: Next::Ethernet, len: ISL_LEN, mark: Mark::Vlan(vlan) })
}

/// Whether the bytes can only be an Ethernet frame: its type announces something that the bytes behind it agree with.
///
/// Decides where nothing else says what a tunnel carries. Bytes that were not captured are given the benefit.
pub(crate) fn is_plausible(view: View<'_>) -> bool {
    let Ok(number) = view.u16(12, SkipReason::MalformedLink) else {
        return false;
    };
    let inner = view.skip(HEADER_LEN);
    match number {
        ether_type::IPV4 => crate::ip::is_plausible_v4(inner),
        ether_type::IPV6 => crate::ip::is_plausible_v6(inner),
        ether_type::ARP | ether_type::MPLS | ether_type::MPLS_MULTICAST | ether_type::NSH => true,
        number if crate::tags::is_tag(number) => true,
        length if is_length(length) => {
            // Spanning tree and its like: an LLC header of a frame that is as long as it says (or padded).
            usize::from(length) <= inner.wire_len
                && matches!(inner.bytes.first_chunk(), Some([0x42, 0x42] | [0xaa, 0xaa] | [0xfe, 0xfe]))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8]) -> View<'_> {
        View { bytes, wire_len: bytes.len() }
    }

    fn frame(number: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        frame.extend(number.to_be_bytes());
        frame.extend(payload);
        frame
    }

    #[test]
    fn types_and_lengths_are_told_apart() {
        assert_eq!(ethernet(whole(&frame(0x0800, &[]))), Ok(Step::to(Next::Ip, 14)));
        assert_eq!(ethernet(whole(&frame(0x86dd, &[]))), Ok(Step::to(Next::Ip, 14)));
        assert_eq!(ethernet(whole(&frame(60, &[]))), Ok(Step::to(Next::EtherType(60), 14)));
        assert_eq!(ethernet(whole(&[0; 13])), Err(SkipReason::MalformedLink));
        assert_eq!(ethernet(View { bytes: &[0; 13], wire_len: 60 }), Err(SkipReason::HeadersNotCaptured));
    }

    #[test]
    fn llc_leads_to_ip_by_snap_or_sap() {
        assert_eq!(llc(whole(&[0xaa, 0xaa, 3, 0, 0, 0, 0x08, 0])), Ok(Step::to(Next::Ip, 8)));
        assert_eq!(llc(whole(&[0xaa, 0xaa, 3, 0, 0, 0xf8, 0x81, 0])), Ok(Step::to(Next::EtherType(0x8100), 8)));
        assert_eq!(llc(whole(&[6, 6, 3, 0x45])), Ok(Step::to(Next::Ip, 3)));
        assert_eq!(llc(whole(&[0xaa, 0xaa, 3, 0, 0, 0x0c, 0x20, 0])), Err(SkipReason::NotIp), "Cisco discovery");
        assert_eq!(llc(whole(&[0x42, 0x42, 3])), Err(SkipReason::NotIp), "spanning tree");
        assert_eq!(llc(whole(&[0xaa, 0xaa, 3, 0])), Err(SkipReason::MalformedLink));
        assert_eq!(llc(whole(&[0xaa])), Err(SkipReason::MalformedLink));
    }

    #[test]
    fn isl_is_told_by_address_and_snap() {
        let mut bytes = vec![1, 0, 0x0c, 0, 0, 0x00];
        bytes.extend([2, 0, 0, 0, 0, 1, 0, 60, 0xaa, 0xaa, 3, 0, 0, 0x0c]);
        bytes.extend(((100_u16 << 1) | 1).to_be_bytes());
        bytes.extend([0, 0, 0, 0]);
        assert_eq!(ethernet(whole(&bytes)), Ok(Step { next: Next::Ethernet, len: 26, mark: Mark::Vlan(100) }));
        bytes[5] = 0x10;
        assert_eq!(ethernet(whole(&bytes)), Ok(Step::to(Next::EtherType(60), 14)), "token ring");
    }

    #[test]
    fn plausibility_needs_agreement() {
        let mut ip = vec![0; 40];
        ip[0] = 0x45;
        ip[3] = 40;
        assert!(is_plausible(whole(&frame(0x0800, &ip))));
        ip[0] = 0x55;
        assert!(!is_plausible(whole(&frame(0x0800, &ip))));
        assert!(is_plausible(whole(&frame(0x0806, &[]))));
        assert!(is_plausible(whole(&frame(3, &[0x42, 0x42, 3]))));
        assert!(!is_plausible(whole(&frame(9, &[0x42, 0x42, 3]))));
        assert!(!is_plausible(whole(&frame(0x1234, &ip))));
        assert!(!is_plausible(whole(&[0; 13])));
    }
}
