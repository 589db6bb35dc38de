//! AYIYA: IPv6 in signed UDP, once used by tunnel brokers (draft-massar-v6ops-ayiya, section 3).

use crate::reason::SkipReason;
use crate::step::{Next, Step, protocol};
use crate::tunnel::{TunnelId, TunnelKind};
use crate::udp::{Tried, header};
use crate::view::View;

/// Reads AYIYA: lengths of identity and signature, methods, opcode, next header, time; identity; signature.
pub(crate) fn ayiya(payload: View<'_>) -> Tried {
    let Some([identity, signature, method, next, ..]) = header::<8>(payload)? else {
        return Ok(None);
    };
    let len = 8 + (1_usize << (identity >> 4)) + usize::from(signature >> 4) * 4;
    if len > payload.wire_len {
        return Ok(None);
    }
    payload.require(len, SkipReason::MalformedTunnel)?;
    match (method & 0x0f, *next) {
        (1, protocol::IPV4 | protocol::IPV6) => {
            Ok(Some(Step::tunnel(TunnelKind::Ayiya, TunnelId::None, Next::Ip, len)))
        }
        // No operation, echo, query, …
        (0..=7, _) => Err(SkipReason::TunnelControl),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Tried {
        ayiya(View { bytes, wire_len: bytes.len() })
    }

    #[test]
    fn identity_and_signature_are_stepped_over() {
        // Identity of 2^4 bytes, signature of 5 words (SHA-1).
        let mut bytes = vec![0x41, 0x52, 0x11, 41, 0, 0, 0, 0];
        bytes.resize(8 + 16 + 20, 0);
        let step = Step::tunnel(TunnelKind::Ayiya, TunnelId::None, Next::Ip, 44);
        assert_eq!(read(&bytes), Ok(Some(step)));
        assert_eq!(ayiya(View { bytes: &bytes[..20], wire_len: 44 }), Err(SkipReason::HeadersNotCaptured));
        assert_eq!(read(&bytes[..20]), Ok(None));
        bytes[2] = 0x10;
        assert_eq!(read(&bytes), Err(SkipReason::TunnelControl));
        bytes[2] = 0x19;
        assert_eq!(read(&bytes), Ok(None));
    }
}
