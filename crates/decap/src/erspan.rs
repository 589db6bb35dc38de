//! ERSPAN: mirrored frames in GRE (draft-foschiano-erspan).

use crate::ethernet;
use crate::reason::SkipReason;
use crate::step::{Next, Step, Stepped};
use crate::tunnel::{TunnelId, TunnelKind};
use crate::view::View;

const REASON: SkipReason = SkipReason::MalformedTunnel;

/// Reads what GRE announces as 0x88BE: type I without a GRE sequence number, else type II, by its version field.
pub(crate) fn with_gre_sequence(view: View<'_>, has_sequence: bool) -> Stepped {
    const LEN: usize = 8;
    let plain = Step::tunnel(TunnelKind::Erspan1, TunnelId::None, Next::Ethernet, 0);
    if !has_sequence {
        return Ok(plain);
    }
    match view.nibble() {
        Some(1) => {
            view.require(LEN, REASON)?;
            Ok(Step::tunnel(TunnelKind::Erspan2, session(view)?, Next::Ethernet, LEN))
        }
        Some(2) => version_3(view),
        // Type I from a sender that numbers its packets all the same.
        Some(_) if ethernet::is_plausible(view) => Ok(plain),
        Some(_) => Err(REASON),
        None => Err(view.lacking(LEN, REASON)),
    }
}

/// Reads type III: 12 bytes, the last bit of which says that 8 bytes of platform data follow.
pub(crate) fn version_3(view: View<'_>) -> Stepped {
    let flags = view.u16(10, REASON)?;
    if view.nibble() != Some(2) {
        return Err(REASON);
    }
    let len = if flags & 1 == 1 { 20 } else { 12 };
    view.require(len, REASON)?;
    // Frame type: 0 is Ethernet, 2 is IP.
    let next = match (flags >> 10) & 0x1f {
        0 => Next::Ethernet,
        2 => Next::Ip,
        _ => return Err(SkipReason::UnknownTunnelPayload),
    };
    Ok(Step::tunnel(TunnelKind::Erspan3, session(view)?, next, len))
}

/// The session id: the lower ten bits of the second 16.
fn session(view: View<'_>) -> Result<TunnelId, SkipReason> {
    Ok(TunnelId::Session(view.u16(2, REASON)? & 0x03ff))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8]) -> View<'_> {
        View { bytes, wire_len: bytes.len() }
    }

    #[test]
    fn types_one_and_two_by_sequence_and_version() {
        let one = Step::tunnel(TunnelKind::Erspan1, TunnelId::None, Next::Ethernet, 0);
        let two = Step::tunnel(TunnelKind::Erspan2, TunnelId::Session(0x2a5), Next::Ethernet, 8);
        let bytes = [0x10, 0x64, 0xfa, 0xa5, 0, 0, 0, 7];
        assert_eq!(with_gre_sequence(whole(&bytes), false), Ok(one));
        assert_eq!(with_gre_sequence(whole(&bytes), true), Ok(two));
        assert_eq!(with_gre_sequence(whole(&bytes[..7]), true), Err(REASON));
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 6];
        assert_eq!(with_gre_sequence(whole(&frame), true), Ok(one));
        frame[12] = 0x77;
        assert_eq!(with_gre_sequence(whole(&frame), true), Err(REASON));
    }

    #[test]
    fn type_three_with_and_without_platform_data() {
        let mut bytes = vec![0x20, 0x64, 0x00, 0x05, 1, 2, 3, 4, 0, 0, 0x00, 0x00];
        bytes.resize(20, 0);
        let step = |next, len| Ok(Step::tunnel(TunnelKind::Erspan3, TunnelId::Session(5), next, len));
        assert_eq!(version_3(whole(&bytes)), step(Next::Ethernet, 12));
        assert_eq!(with_gre_sequence(whole(&bytes), true), step(Next::Ethernet, 12), "under type II's number");
        bytes[11] = 1;
        assert_eq!(version_3(whole(&bytes)), step(Next::Ethernet, 20));
        assert_eq!(version_3(whole(&bytes[..19])), Err(REASON));
        bytes[10] = 2 << 2;
        assert_eq!(version_3(whole(&bytes)), step(Next::Ip, 20));
        bytes[10] = 3 << 2;
        assert_eq!(version_3(whole(&bytes)), Err(SkipReason::UnknownTunnelPayload));
        bytes[0] = 0x10;
        assert_eq!(version_3(whole(&bytes)), Err(REASON));
    }
}
