//! Geneve (RFC 8926, section 3.4).

use crate::reason::SkipReason;
use crate::step::{Next, Step, ether_type};
use crate::tags;
use crate::tunnel::{TunnelId, TunnelKind};
use crate::udp::{Tried, header};
use crate::view::View;

/// Reads Geneve: version, length of the options in words, O bit, protocol type, network id; options.
///
/// Options are stepped over, critical ones too: this reader terminates nothing.
pub(crate) fn geneve(payload: View<'_>) -> Tried {
    let Some([version, flags, kind @ .., a, b, c, _]) = header::<8>(payload)? else {
        return Ok(None);
    };
    if version >> 6 != 0 {
        return Ok(None);
    }
    let len = 8 + usize::from(version & 0x3f) * 4;
    if len > payload.wire_len {
        return Err(SkipReason::MalformedTunnel);
    }
    if flags & 0x80 != 0 {
        return Err(SkipReason::TunnelControl);
    }
    payload.require(len, SkipReason::MalformedTunnel)?;
    let next = match u16::from_be_bytes(*kind) {
        number @ (ether_type::TEB
        | ether_type::IPV4
        | ether_type::IPV6
        | ether_type::MPLS
        | ether_type::MPLS_MULTICAST
        | ether_type::NSH) => Next::of_ether_type(number),
        number if tags::is_tag(number) => Next::EtherType(number),
        _ => return Err(SkipReason::UnknownTunnelPayload),
    };
    let id = TunnelId::Vni(u32::from_be_bytes([0, *a, *b, *c]));
    Ok(Some(Step::tunnel(TunnelKind::Geneve, id, next, len)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Tried {
        geneve(View { bytes, wire_len: bytes.len() })
    }

    #[test]
    fn options_are_stepped_over() {
        let step = |next, len| Ok(Some(Step::tunnel(TunnelKind::Geneve, TunnelId::Vni(0x0a_0b0c), next, len)));
        assert_eq!(read(&[0, 0, 0x65, 0x58, 10, 11, 12, 0]), step(Next::Ethernet, 8));
        assert_eq!(read(&[0, 0, 0x08, 0x00, 10, 11, 12, 0]), step(Next::Ip, 8));
        assert_eq!(read(&[&[2, 0x40, 0x86, 0xdd, 10, 11, 12, 0][..], &[0; 8]].concat()), step(Next::Ip, 16));
    }

    #[test]
    fn faults_are_named() {
        assert_eq!(read(&[2, 0, 0x86, 0xdd, 10, 11, 12, 0]), Err(SkipReason::MalformedTunnel));
        let cut = View { bytes: &[2, 0, 0x86, 0xdd, 10, 11, 12, 0], wire_len: 90 };
        assert_eq!(geneve(cut), Err(SkipReason::HeadersNotCaptured));
        assert_eq!(read(&[0, 0x80, 0x65, 0x58, 0, 0, 0, 0]), Err(SkipReason::TunnelControl));
        assert_eq!(read(&[0, 0, 0x12, 0x34, 0, 0, 0, 0]), Err(SkipReason::UnknownTunnelPayload));
        assert_eq!(read(&[0x40, 0, 0x65, 0x58, 0, 0, 0, 0]), Ok(None), "another version");
        assert_eq!(read(&[0; 7]), Ok(None));
    }
}
