//! What stands between an Ethernet header and IP: tags, shims and the session header of PPPoE.
//!
//! All of them are walked over. VLAN ids are provenance; the others leave no trace, for none changes what the
//! addresses behind it mean.

use crate::ethernet;
use crate::reason::SkipReason;
use crate::step::{Mark, Next, Step, Stepped, ether_type};
use crate::view::View;

const REASON: SkipReason = SkipReason::MalformedLink;

/// Reads what an EtherType announces, except what [`Next::of_ether_type`] gives a variant of its own.
pub(crate) fn tag(number: u16, view: View<'_>) -> Stepped {
    match number {
        ether_type::VLAN | ether_type::SERVICE_VLAN | ether_type::QINQ_9100 | ether_type::QINQ_9200 => vlan(view),
        ether_type::PPPOE_SESSION => pppoe(view),
        // Source and destination interfaces, four bytes, then the EtherType.
        ether_type::VN_TAG => shim(view, 4),
        // Ingress and egress channels of a port extender, six bytes, then the EtherType (IEEE 802.1BR).
        ether_type::E_TAG => shim(view, 6),
        // 48 bits of nanoseconds, then the EtherType.
        ether_type::TTAG => shim(view, 6),
        // Reserved and sequence number, four bytes, then the EtherType (IEEE 802.1CB).
        ether_type::R_TAG => shim(view, 4),
        ether_type::ARISTA => arista(view),
        ether_type::BACKBONE_SERVICE => framed(view, 4),
        ether_type::FABRIC_PATH => framed(view, 2),
        ether_type::TRILL => trill(view),
        ether_type::JUMBO_LLC => ethernet::llc(view),
        length if ethernet::is_length(length) => ethernet::llc(view),
        _ => Err(SkipReason::NotIp),
    }
}

/// Whether [`tag`] reads what this EtherType announces. For tunnels that carry EtherTypes.
pub(crate) const fn is_tag(number: u16) -> bool {
    matches!(
        number,
        ether_type::VLAN
            | ether_type::SERVICE_VLAN
            | ether_type::QINQ_9100
            | ether_type::QINQ_9200
            | ether_type::PPPOE_SESSION
            | ether_type::VN_TAG
            | ether_type::E_TAG
            | ether_type::TTAG
            | ether_type::R_TAG
            | ether_type::ARISTA
    )
}

/// IEEE 802.1Q: priority, drop eligibility and 12 bits of VLAN id, then the EtherType.
fn vlan(view: View<'_>) -> Stepped {
    let Ok(header) = etherparse::SingleVlanHeaderSlice::from_slice(view.bytes) else {
        return Err(view.lacking(4, REASON));
    };
    let next = Next::of_ether_type(header.ether_type().0);
    Ok(Step { next, len: 4, mark: Mark::Vlan(header.vlan_identifier().value()) })
}

/// `len` bytes that do not matter, then an EtherType.
fn shim(view: View<'_>, len: usize) -> Stepped {
    Ok(Step::to(Next::of_ether_type(view.u16(len, REASON)?), len + 2))
}

/// `len` bytes that do not matter, then an Ethernet header.
fn framed(view: View<'_>, len: usize) -> Stepped {
    view.require(len, REASON)?;
    Ok(Step::to(Next::Ethernet, len))
}

/// Arista's timestamp: sub-type, version (whose second half says how long the timestamp is), timestamp, EtherType.
fn arista(view: View<'_>) -> Stepped {
    let [sub_type_high, sub_type, _, format] = view.array(0, REASON)?;
    match (sub_type_high, sub_type, format >> 4) {
        (0, 1, 1) => shim(view, 4 + 8),
        (0, 1, 2) => shim(view, 4 + 6),
        _ => Err(SkipReason::NotIp),
    }
}

/// TRILL (RFC 6325, section 3): version, flags, length of options in words, hops, two nicknames; then Ethernet.
fn trill(view: View<'_>) -> Stepped {
    let flags = view.u16(0, REASON)?;
    let options = usize::from((flags >> 6) & 0x1f) * 4;
    framed(view, 6 + options)
}

/// PPPoE (RFC 2516, section 4): version and type 1, code 0 for session data, session id, length; then PPP.
fn pppoe(view: View<'_>) -> Stepped {
    let [version, code, ..] = view.array::<6>(0, REASON)?;
    match (version, code) {
        (0x11, 0) => Ok(Step::to(Next::Ppp, 6)),
        _ => Err(REASON),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(number: u16, bytes: &[u8]) -> Stepped {
        tag(number, View { bytes, wire_len: bytes.len() })
    }

    #[test]
    fn vlan_tags_of_every_type() {
        for number in [0x8100, 0x88a8, 0x9100, 0x9200] {
            let expected = Step { next: Next::Ip, len: 4, mark: Mark::Vlan(0x123) };
            assert_eq!(read(number, &[0xe1, 0x23, 0x08, 0x00]), Ok(expected));
            assert_eq!(read(number, &[0xe1, 0x23, 0x08]), Err(SkipReason::MalformedLink));
        }
    }

    #[test]
    fn shims_are_stepped_over() {
        let mut bytes = [0; 16];
        bytes[4..6].copy_from_slice(&[0x08, 0x00]);
        assert_eq!(read(ether_type::VN_TAG, &bytes), Ok(Step::to(Next::Ip, 6)));
        assert_eq!(read(ether_type::R_TAG, &bytes), Ok(Step::to(Next::Ip, 6)));
        bytes[6..8].copy_from_slice(&[0x81, 0x00]);
        assert_eq!(read(ether_type::E_TAG, &bytes), Ok(Step::to(Next::EtherType(0x8100), 8)));
        assert_eq!(read(ether_type::TTAG, &bytes), Ok(Step::to(Next::EtherType(0x8100), 8)));
        assert_eq!(read(ether_type::TTAG, &bytes[..7]), Err(SkipReason::MalformedLink));
    }

    #[test]
    fn arista_timestamps_come_in_two_lengths() {
        let mut bytes = vec![0, 1, 0, 0x10];
        bytes.extend([0xff; 8]);
        bytes.extend([0x08, 0x00]);
        assert_eq!(read(ether_type::ARISTA, &bytes), Ok(Step::to(Next::Ip, 14)));
        bytes[3] = 0x21;
        bytes.drain(4..6);
        assert_eq!(read(ether_type::ARISTA, &bytes), Ok(Step::to(Next::Ip, 12)));
        bytes[3] = 0x31;
        assert_eq!(read(ether_type::ARISTA, &bytes), Err(SkipReason::NotIp));
    }

    #[test]
    fn headers_that_carry_ethernet_again() {
        assert_eq!(read(ether_type::BACKBONE_SERVICE, &[0; 4]), Ok(Step::to(Next::Ethernet, 4)));
        assert_eq!(read(ether_type::FABRIC_PATH, &[0; 2]), Ok(Step::to(Next::Ethernet, 2)));
        assert_eq!(read(ether_type::TRILL, &[0, 0x40, 0, 1, 0, 2, 0, 0, 0, 0]), Ok(Step::to(Next::Ethernet, 10)));
        assert_eq!(read(ether_type::TRILL, &[0, 0x40, 0, 1, 0, 2]), Err(SkipReason::MalformedLink));
    }

    #[test]
    fn only_session_data_of_pppoe() {
        assert_eq!(read(ether_type::PPPOE_SESSION, &[0x11, 0, 0, 1, 0, 22]), Ok(Step::to(Next::Ppp, 6)));
        assert_eq!(read(ether_type::PPPOE_SESSION, &[0x11, 9, 0, 1, 0, 22]), Err(SkipReason::MalformedLink));
        assert_eq!(read(0x8863, &[0x11, 9, 0, 0, 0, 4]), Err(SkipReason::NotIp), "discovery");
    }
}
