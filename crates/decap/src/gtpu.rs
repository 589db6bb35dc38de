//! GTP-U version 1 (3GPP TS 29.281, section 5).

use crate::ethernet;
use crate::reason::SkipReason;
use crate::step::{Next, Step};
use crate::tunnel::{TunnelId, TunnelKind};
use crate::udp::{Tried, header};
use crate::view::View;

/// The message type of user data.
const USER_DATA: u8 = 255;

/// Reads GTP-U: version 1, protocol type 1, flags E, S and PN; message type, length, endpoint id; then, when any of the
/// flags is set, sequence, N-PDU number and the type of the first extension header.
pub(crate) fn gtpu(payload: View<'_>) -> Tried {
    const REASON: SkipReason = SkipReason::MalformedTunnel;
    let Some([flags, message, length @ .., t0, t1, t2, t3]) = header::<8>(payload)? else {
        return Ok(None);
    };
    if flags >> 4 != 3 || 8 + usize::from(u16::from_be_bytes(*length)) > payload.wire_len {
        return Ok(None);
    }
    match *message {
        USER_DATA => {}
        // Echo, error indication, supported extensions, tunnel status, end marker.
        1 | 2 | 26 | 31 | 253 | 254 => return Err(SkipReason::TunnelControl),
        _ => return Ok(None),
    }
    let mut len = 8;
    if flags & 0x07 != 0 {
        let [.., mut extension] = payload.array::<4>(len, REASON)?;
        len += 4;
        // The field is always there; it only means something with E.
        while flags & 0x04 != 0 && extension != 0 {
            let words = usize::from(payload.u8(len, REASON)?);
            if words == 0 {
                return Err(REASON);
            }
            len += words * 4;
            extension = payload.u8(len - 1, REASON)?;
        }
    }
    let inner = payload.skip(len);
    let next = match inner.nibble() {
        Some(4 | 6) => Next::Ip,
        // A session of type Ethernet (TS 23.501, section 5.6.10.2).
        Some(_) if ethernet::is_plausible(inner) => Next::Ethernet,
        Some(_) => return Err(SkipReason::UnknownTunnelPayload),
        None => return Err(inner.lacking(1, REASON)),
    };
    let id = TunnelId::Teid(u32::from_be_bytes([*t0, *t1, *t2, *t3]));
    Ok(Some(Step::tunnel(TunnelKind::GtpU, id, next, len)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(flags: u8, message: u8, rest: &[u8]) -> Tried {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        let bytes = [&[flags, message][..], &length, &[0, 0, 1, 2], rest].concat();
        gtpu(View { bytes: &bytes, wire_len: bytes.len() })
    }

    fn step(next: Next, len: usize) -> Tried {
        Ok(Some(Step::tunnel(TunnelKind::GtpU, TunnelId::Teid(0x102), next, len)))
    }

    #[test]
    fn optional_fields_and_extension_headers() {
        assert_eq!(read(0x30, 255, &[0x45]), step(Next::Ip, 8));
        assert_eq!(read(0x32, 255, &[0, 1, 0, 0, 0x60]), step(Next::Ip, 12), "S");
        assert_eq!(read(0x31, 255, &[0, 1, 0, 0x85, 0x60]), step(Next::Ip, 12), "PN, type without meaning");
        assert_eq!(read(0x34, 255, &[0, 0, 0, 0, 0x45]), step(Next::Ip, 12), "E without extensions");
        let chain = [0, 0, 0, 0x85, 1, 0x10, 9, 0x40, 2, 0, 0, 0, 0, 0, 0, 0, 0x45];
        assert_eq!(read(0x36, 255, &chain), step(Next::Ip, 24));
    }

    #[test]
    fn ethernet_sessions() {
        let frame = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 6];
        assert_eq!(read(0x30, 255, &frame), step(Next::Ethernet, 8));
    }

    #[test]
    fn other_messages_and_faults() {
        assert_eq!(read(0x32, 1, &[0, 0, 0, 0]), Err(SkipReason::TunnelControl), "echo");
        assert_eq!(read(0x30, 254, &[]), Err(SkipReason::TunnelControl), "end marker");
        assert_eq!(read(0x30, 77, &[]), Ok(None));
        assert_eq!(read(0x50, 255, &[0x45]), Ok(None), "another version");
        assert_eq!(read(0x30, 255, &[0x10]), Err(SkipReason::UnknownTunnelPayload));
        assert_eq!(read(0x30, 255, &[]), Err(SkipReason::MalformedTunnel));
        assert_eq!(read(0x34, 255, &[0, 0, 0, 0x85, 0]), Err(SkipReason::MalformedTunnel), "extension of no length");
        assert_eq!(read(0x34, 255, &[0, 0, 0, 0x85, 9]), Err(SkipReason::MalformedTunnel), "extension past the end");
        let long = [0x30, 255, 1, 0, 0, 0, 0, 1, 0x45];
        assert_eq!(gtpu(View { bytes: &long, wire_len: 9 }), Ok(None), "longer than its datagram");
        assert!(matches!(gtpu(View { bytes: &long, wire_len: 264 }), Ok(Some(_))), "cut by the capture");
    }
}
