//! GRE: version 0 with all its options (RFC 1701, RFC 2784, RFC 2890), version 1 (PPTP, RFC 2637), NVGRE (RFC 7637)
//! and WCCP redirection. ERSPAN has a file of its own.

use crate::erspan;
use crate::reason::SkipReason;
use crate::step::{Next, Step, Stepped, ether_type};
use crate::tags;
use crate::tunnel::{TunnelId, TunnelKind};
use crate::view::View;

const REASON: SkipReason = SkipReason::MalformedTunnel;

const CHECKSUM: u16 = 0x8000;
const ROUTING: u16 = 0x4000;
const KEY: u16 = 0x2000;
const SEQUENCE: u16 = 0x1000;
const ACKNOWLEDGMENT: u16 = 0x0080;
const VERSION: u16 = 0x0007;

/// GRE's protocol types that are no EtherTypes of their own.
mod payload {
    pub(super) const ERSPAN: u16 = 0x88be;
    pub(super) const ERSPAN_3: u16 = 0x22eb;
    pub(super) const WCCP: u16 = 0x883e;
}

/// The lowest virtual subnet id that NVGRE may use, and the first one that it may not (RFC 7637, section 3.3).
const VIRTUAL_SUBNETS: core::ops::Range<u32> = 0x1000..0x00ff_ffff;

/// Reads a GRE header.
pub(crate) fn gre(view: View<'_>) -> Stepped {
    let flags = view.u16(0, REASON)?;
    let kind = view.u16(2, REASON)?;
    match flags & VERSION {
        0 => version_0(view, flags, kind),
        1 => pptp(view, flags, kind),
        _ => Err(REASON),
    }
}

fn version_0(view: View<'_>, flags: u16, kind: u16) -> Stepped {
    let mut len = 4;
    // Checksum and offset come together as soon as either is there (RFC 1701).
    if flags & (CHECKSUM | ROUTING) != 0 {
        len += 4;
    }
    let mut id = TunnelId::None;
    if flags & KEY != 0 {
        id = TunnelId::Key(view.u32(len, REASON)?);
        len += 4;
    }
    if flags & SEQUENCE != 0 {
        len += 4;
    }
    if flags & ROUTING != 0 {
        len = skip_routes(view, len)?;
    }
    view.require(len, REASON)?;
    let payload = view.skip(len);
    let ip = |len| Ok(Step::tunnel(TunnelKind::Gre, id, Next::Ip, len));
    match kind {
        ether_type::IPV4 | ether_type::IPV6 => ip(len),
        ether_type::TEB => Ok(bridged(flags, id, len)),
        payload::ERSPAN => Ok(erspan::with_gre_sequence(payload, flags & SEQUENCE != 0)?.after(len)),
        payload::ERSPAN_3 => Ok(erspan::version_3(payload)?.after(len)),
        // WCCP version 2 puts four bytes before the redirected packet, version 1 does not.
        payload::WCCP => ip(if payload.nibble() == Some(4) { len } else { len + 4 }),
        ether_type::MPLS | ether_type::MPLS_MULTICAST | ether_type::NSH | ether_type::PPP => {
            Ok(Step::tunnel(TunnelKind::Gre, id, Next::of_ether_type(kind), len))
        }
        tag if tags::is_tag(tag) => Ok(Step::tunnel(TunnelKind::Gre, id, Next::EtherType(tag), len)),
        // A keepalive carries no protocol.
        0 => Err(SkipReason::TunnelControl),
        _ => Err(SkipReason::UnknownTunnelPayload),
    }
}

/// Bridged Ethernet: NVGRE where the header has NVGRE's form and a subnet id of its range, else plain.
///
/// NVGRE's key is 24 bits of subnet and 8 bits of flow entropy, which differ between a connection's directions.
fn bridged(flags: u16, id: TunnelId, len: usize) -> Step {
    let has_form = flags & (CHECKSUM | ROUTING | SEQUENCE) == 0;
    match id {
        TunnelId::Key(key) if has_form && VIRTUAL_SUBNETS.contains(&(key >> 8)) => {
            Step::tunnel(TunnelKind::Nvgre, TunnelId::Vni(key >> 8), Next::Ethernet, len)
        }
        id => Step::tunnel(TunnelKind::GreTeb, id, Next::Ethernet, len),
    }
}

/// Steps over source route entries: family, offset, length, addresses; the last one is empty (RFC 1701).
fn skip_routes(view: View<'_>, mut at: usize) -> Result<usize, SkipReason> {
    loop {
        let [family_high, family_low, _, len] = view.array(at, REASON)?;
        at += 4;
        if [family_high, family_low, len] == [0, 0, 0] {
            return Ok(at);
        }
        at += usize::from(len);
    }
}

/// GRE version 1 (RFC 2637, section 4.1): the key holds the payload's length and a call id that differs by direction.
fn pptp(view: View<'_>, flags: u16, kind: u16) -> Stepped {
    if kind != ether_type::PPP || flags & KEY == 0 || flags & (CHECKSUM | ROUTING) != 0 {
        return Err(REASON);
    }
    let payload_len = view.u16(4, REASON)?;
    let mut len = 8;
    if flags & SEQUENCE != 0 {
        len += 4;
    }
    if flags & ACKNOWLEDGMENT != 0 {
        len += 4;
    }
    view.require(len, REASON)?;
    // Without a sequence number there is no payload, only an acknowledgement.
    if flags & SEQUENCE == 0 || payload_len == 0 {
        return Err(SkipReason::TunnelControl);
    }
    Ok(Step::tunnel(TunnelKind::Pptp, TunnelId::None, Next::Ppp, len))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Stepped {
        gre(View { bytes, wire_len: bytes.len() })
    }

    fn header(flags: u16, kind: u16, rest: &[u8]) -> Vec<u8> {
        [&flags.to_be_bytes()[..], &kind.to_be_bytes(), rest].concat()
    }

    #[test]
    fn every_combination_of_flags() {
        for bits in 0..32_u16 {
            // C, R, K, S, s from the top.
            let flags = bits << 11;
            let mut rest = Vec::new();
            if flags & (CHECKSUM | ROUTING) != 0 {
                rest.extend([1, 2, 3, 4]);
            }
            let mut id = TunnelId::None;
            if flags & KEY != 0 {
                rest.extend([0, 0, 0, 7]);
                id = TunnelId::Key(7);
            }
            if flags & SEQUENCE != 0 {
                rest.extend([9, 9, 9, 9]);
            }
            if flags & ROUTING != 0 {
                rest.extend([0x08, 0x00, 0, 4, 10, 0, 0, 1]);
                rest.extend([0, 0, 0, 0]);
            }
            let len = rest.len() + 4;
            let bytes = header(flags, 0x0800, &rest);
            let expected = Step::tunnel(TunnelKind::Gre, id, Next::Ip, len);
            assert_eq!(read(&[&bytes[..], &[0x45]].concat()), Ok(expected), "{flags:#x}");
            if len > 4 {
                assert_eq!(read(&bytes[..len - 1]), Err(REASON), "{flags:#x}");
            }
        }
    }

    #[test]
    fn bridging_with_and_without_a_virtual_subnet() {
        let teb = |id, len| Ok(Step::tunnel(TunnelKind::GreTeb, id, Next::Ethernet, len));
        assert_eq!(read(&header(0, 0x6558, &[])), teb(TunnelId::None, 4));
        assert_eq!(read(&header(KEY, 0x6558, &[0, 0, 0, 7])), teb(TunnelId::Key(7), 8), "too low for a subnet");
        assert_eq!(
            read(&header(KEY | SEQUENCE, 0x6558, &[0, 0x12, 0x34, 7, 0, 0, 0, 1])),
            teb(TunnelId::Key(0x0012_3407), 12)
        );
        let nvgre = Step::tunnel(TunnelKind::Nvgre, TunnelId::Vni(0x1234), Next::Ethernet, 8);
        for flow in [0, 7] {
            assert_eq!(read(&header(KEY, 0x6558, &[0, 0x12, 0x34, flow])), Ok(nvgre), "flow entropy is left out");
        }
    }

    #[test]
    fn wccp_with_and_without_a_redirect_header() {
        let step = |len| Ok(Step::tunnel(TunnelKind::Gre, TunnelId::None, Next::Ip, len));
        assert_eq!(read(&header(0, 0x883e, &[0x45, 0])), step(4));
        assert_eq!(read(&header(0, 0x883e, &[0, 0, 0, 0, 0x45, 0])), step(8));
    }

    #[test]
    fn pptp_carries_ppp_when_it_has_a_sequence_number() {
        let step = |len| Ok(Step::tunnel(TunnelKind::Pptp, TunnelId::None, Next::Ppp, len));
        assert_eq!(read(&header(0x3001, 0x880b, &[0, 9, 0, 1, 0, 0, 0, 1])), step(12));
        assert_eq!(read(&header(0x3081, 0x880b, &[0, 9, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1])), step(16));
        assert_eq!(read(&header(0x2081, 0x880b, &[0, 0, 0, 1, 0, 0, 0, 1])), Err(SkipReason::TunnelControl));
        assert_eq!(read(&header(0x3001, 0x0800, &[0, 9, 0, 1, 0, 0, 0, 1])), Err(REASON));
        assert_eq!(read(&header(0x3081, 0x880b, &[0, 9, 0, 1, 0, 0, 0, 1])), Err(REASON), "cut");
    }

    #[test]
    fn other_payloads_are_named() {
        assert_eq!(read(&header(0, 0x8847, &[])).unwrap().next, Next::Mpls);
        assert_eq!(read(&header(0, 0x894f, &[])).unwrap().next, Next::Nsh);
        assert_eq!(read(&header(0, 0x8100, &[])).unwrap().next, Next::EtherType(0x8100));
        assert_eq!(read(&header(0, 0x880b, &[])).unwrap().next, Next::Ppp);
        assert_eq!(read(&header(0, 0, &[])), Err(SkipReason::TunnelControl));
        assert_eq!(read(&header(0, 0x8200, &[])), Err(SkipReason::UnknownTunnelPayload));
        assert_eq!(read(&header(2, 0x0800, &[])), Err(REASON), "version 2");
        assert_eq!(read(&[0, 0, 8]), Err(REASON));
        assert_eq!(read(&header(ROUTING, 0x0800, &[0, 0, 0, 0, 8, 0, 0, 200])), Err(REASON), "routes without an end");
    }
}
