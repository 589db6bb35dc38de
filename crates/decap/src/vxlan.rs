//! VXLAN (RFC 7348, section 5) and its generic protocol extension (draft-ietf-nvo3-vxlan-gpe, section 3).

use crate::ethernet;
use crate::reason::SkipReason;
use crate::step::{Next, Step};
use crate::tunnel::{TunnelId, TunnelKind};
use crate::udp::{Tried, header};
use crate::view::View;

/// Length of either header.
const LEN: usize = 8;

/// The network id is valid.
const HAS_ID: u8 = 0x08;

/// Reads VXLAN. Reserved fields are ignored, as the RFC asks; vendors use them (group policy, for one).
pub(crate) fn vxlan(payload: View<'_>) -> Tried {
    let Some([flags, _, _, _, id @ .., _]) = header::<LEN>(payload)? else {
        return Ok(None);
    };
    if flags & HAS_ID != 0 {
        return Ok(Some(Step::tunnel(TunnelKind::Vxlan, vni(*id), Next::Ethernet, LEN)));
    }
    // The flag is mandatory; without it only a frame that cannot be mistaken counts.
    Ok(ethernet::is_plausible(payload.skip(LEN)).then_some(Step::tunnel(
        TunnelKind::Vxlan,
        TunnelId::None,
        Next::Ethernet,
        LEN,
    )))
}

/// Reads VXLAN-GPE: two bits of version, flags I, P (next protocol) and O (operation and maintenance).
pub(crate) fn gpe(payload: View<'_>) -> Tried {
    let Some([flags, _, _, protocol, id @ .., _]) = header::<LEN>(payload)? else {
        return Ok(None);
    };
    let id = if flags & HAS_ID != 0 { vni(*id) } else { TunnelId::None };
    if flags & 0x30 != 0 || flags & 0x0c == 0 {
        return Ok(None);
    }
    if flags & 0x01 != 0 {
        return Err(SkipReason::TunnelControl);
    }
    let next = match protocol {
        _ if flags & 0x04 == 0 => Next::Ethernet,
        1 | 2 => Next::Ip,
        3 => Next::Ethernet,
        4 => Next::Nsh,
        5 => Next::Mpls,
        _ => return Err(SkipReason::UnknownTunnelPayload),
    };
    Ok(Some(Step::tunnel(TunnelKind::VxlanGpe, id, next, LEN)))
}

fn vni([a, b, c]: [u8; 3]) -> TunnelId {
    TunnelId::Vni(u32::from_be_bytes([0, a, b, c]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8]) -> View<'_> {
        View { bytes, wire_len: bytes.len() }
    }

    #[test]
    fn reserved_fields_do_not_matter() {
        let step = Step::tunnel(TunnelKind::Vxlan, TunnelId::Vni(0x0001_0203), Next::Ethernet, 8);
        assert_eq!(vxlan(whole(&[0x08, 0, 0, 0, 1, 2, 3, 0])), Ok(Some(step)));
        assert_eq!(vxlan(whole(&[0x88, 0xff, 0xff, 0xff, 1, 2, 3, 0xff])), Ok(Some(step)));
    }

    #[test]
    fn without_the_flag_the_frame_has_to_prove_itself() {
        let mut bytes = vec![0; 8];
        assert_eq!(vxlan(whole(&bytes)), Ok(None));
        bytes.extend([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 6]);
        let step = Step::tunnel(TunnelKind::Vxlan, TunnelId::None, Next::Ethernet, 8);
        assert_eq!(vxlan(whole(&bytes)), Ok(Some(step)));
    }

    #[test]
    fn short_is_no_tunnel_and_cut_is_not_captured() {
        assert_eq!(vxlan(whole(&[8, 0, 0])), Ok(None));
        assert_eq!(vxlan(View { bytes: &[8, 0, 0], wire_len: 90 }), Err(SkipReason::HeadersNotCaptured));
    }

    #[test]
    fn gpe_names_its_next_protocol() {
        let next = |protocol| gpe(whole(&[0x0c, 0, 0, protocol, 0, 0, 5, 0]));
        let step = |next| Ok(Some(Step::tunnel(TunnelKind::VxlanGpe, TunnelId::Vni(5), next, 8)));
        assert_eq!(next(1), step(Next::Ip));
        assert_eq!(next(2), step(Next::Ip));
        assert_eq!(next(3), step(Next::Ethernet));
        assert_eq!(next(4), step(Next::Nsh));
        assert_eq!(next(5), step(Next::Mpls));
        assert_eq!(next(77), Err(SkipReason::UnknownTunnelPayload));
        assert_eq!(gpe(whole(&[0x08, 0, 0, 1, 0, 0, 5, 0])), step(Next::Ethernet), "no next protocol");
        assert_eq!(gpe(whole(&[0x0d, 0, 0, 1, 0, 0, 5, 0])), Err(SkipReason::TunnelControl));
        assert_eq!(gpe(whole(&[0x3c, 0, 0, 1, 0, 0, 5, 0])), Ok(None), "another version");
    }
}
