//! The network service header (RFC 8300, section 2).

use crate::reason::SkipReason;
use crate::step::{Next, Step, Stepped};
use crate::tunnel::{TunnelId, TunnelKind};
use crate::view::View;

/// Reads a network service header: version, O bit, length in words, metadata type, next protocol; service path; metadata.
pub(crate) fn nsh(view: View<'_>) -> Stepped {
    const REASON: SkipReason = SkipReason::MalformedTunnel;
    let [high, low, _, protocol] = view.array(0, REASON)?;
    let len = usize::from(low & 0x3f) * 4;
    if high >> 6 != 0 || len < 8 {
        return Err(REASON);
    }
    if high & 0x20 != 0 {
        return Err(SkipReason::TunnelControl);
    }
    view.require(len, REASON)?;
    let next = match protocol {
        1 | 2 => Next::Ip,
        3 => Next::Ethernet,
        4 => Next::Nsh,
        5 => Next::Mpls,
        _ => return Err(SkipReason::UnknownTunnelPayload),
    };
    Ok(Step::tunnel(TunnelKind::Nsh, TunnelId::None, next, len))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Stepped {
        nsh(View { bytes, wire_len: bytes.len() })
    }

    #[test]
    fn next_protocols_and_lengths() {
        for (protocol, next) in [(1, Next::Ip), (2, Next::Ip), (3, Next::Ethernet), (4, Next::Nsh), (5, Next::Mpls)] {
            let step = |len| Ok(Step::tunnel(TunnelKind::Nsh, TunnelId::None, next, len));
            assert_eq!(read(&[&[0x0f, 0xc2, 2, protocol][..], &[0; 4]].concat()), step(8));
            assert_eq!(read(&[&[0x0f, 0xc6, 1, protocol][..], &[0; 20]].concat()), step(24));
        }
    }

    #[test]
    fn faults_are_named() {
        assert_eq!(read(&[0x0f, 0xc1, 1, 1, 0, 0, 0, 0]), Err(SkipReason::MalformedTunnel), "shorter than its base");
        assert_eq!(read(&[0x4f, 0xc2, 1, 1, 0, 0, 0, 0]), Err(SkipReason::MalformedTunnel), "another version");
        assert_eq!(read(&[0x0f, 0xc6, 1, 1, 0, 0, 0, 0]), Err(SkipReason::MalformedTunnel), "cut");
        assert_eq!(read(&[0x2f, 0xc2, 1, 1, 0, 0, 0, 0]), Err(SkipReason::TunnelControl));
        assert_eq!(read(&[0x0f, 0xc2, 1, 9, 0, 0, 0, 0]), Err(SkipReason::UnknownTunnelPayload));
    }
}
