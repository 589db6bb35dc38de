//! LISP data packets (RFC 9300, section 5).

use crate::reason::SkipReason;
use crate::step::{Next, Step};
use crate::tunnel::{TunnelId, TunnelKind};
use crate::udp::{Tried, header};
use crate::view::View;

/// Reads LISP: flags N, L, E, V, I, R, KK; nonce or versions; instance id, when I is set; IP.
pub(crate) fn lisp(payload: View<'_>) -> Tried {
    const LEN: usize = 8;
    let Some([flags, _, _, _, a, b, c, _]) = header::<LEN>(payload)? else {
        return Ok(None);
    };
    let inner = payload.skip(LEN);
    // A key id: the payload is encrypted (RFC 8061).
    if flags & 0x03 != 0 {
        return Err(SkipReason::UnknownTunnelPayload);
    }
    let id = if flags & 0x08 != 0 { TunnelId::Vni(u32::from_be_bytes([0, *a, *b, *c])) } else { TunnelId::None };
    match inner.nibble() {
        Some(4 | 6) => Ok(Some(Step::tunnel(TunnelKind::Lisp, id, Next::Ip, LEN))),
        Some(_) => Ok(None),
        None if inner.wire_len == 0 => Ok(None),
        None => Err(SkipReason::HeadersNotCaptured),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Tried {
        lisp(View { bytes, wire_len: bytes.len() })
    }

    #[test]
    fn instance_ids_count_when_flagged() {
        let step = |id| Ok(Some(Step::tunnel(TunnelKind::Lisp, id, Next::Ip, 8)));
        assert_eq!(read(&[0xc8, 1, 2, 3, 0, 1, 0, 0xff, 0x45]), step(TunnelId::Vni(256)));
        assert_eq!(read(&[0xc0, 1, 2, 3, 0, 1, 0, 0xff, 0x60]), step(TunnelId::None));
    }

    #[test]
    fn other_content_is_not_lisp() {
        assert_eq!(read(&[0xc0, 1, 2, 3, 0, 1, 0, 0xff, 0x10]), Ok(None));
        assert_eq!(read(&[0xc0, 1, 2, 3, 0, 1, 0, 0xff]), Ok(None));
        assert_eq!(read(&[0xc0]), Ok(None));
        assert_eq!(read(&[0xc1, 1, 2, 3, 0, 1, 0, 0xff, 0x45]), Err(SkipReason::UnknownTunnelPayload));
        let cut = View { bytes: &[0xc0, 1, 2, 3, 0, 1, 0, 0xff], wire_len: 60 };
        assert_eq!(lisp(cut), Err(SkipReason::HeadersNotCaptured));
    }
}
