//! PPP, as PPPoE, PPTP and GRE carry it (RFC 1661, section 2).

use crate::reason::SkipReason;
use crate::step::{Next, Step, Stepped};
use crate::view::View;

/// Reads PPP from the protocol field on, or from the address and control fields where they were not compressed away.
pub(crate) fn ppp(view: View<'_>) -> Stepped {
    const REASON: SkipReason = SkipReason::MalformedTunnel;
    let framing = if view.bytes.starts_with(&[0xff, 0x03]) { 2 } else { 0 };
    let first = view.u8(framing, REASON)?;
    // Protocol numbers are odd in their last byte and even before it, so a field compressed to one byte shows.
    let (number, len) =
        if first & 1 == 1 { (u16::from(first), framing + 1) } else { (view.u16(framing, REASON)?, framing + 2) };
    match number {
        0x0021 | 0x0057 => Ok(Step::to(Next::Ip, len)),
        0x0281 | 0x0283 => Ok(Step::to(Next::Mpls, len)),
        // Network (8…) and link (c…) control protocols.
        0x8000.. => Err(SkipReason::TunnelControl),
        // Compressed headers, compressed or encrypted payload, bridging, …
        _ => Err(SkipReason::UnknownTunnelPayload),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Stepped {
        ppp(View { bytes, wire_len: bytes.len() })
    }

    #[test]
    fn protocol_fields_in_every_form() {
        assert_eq!(read(&[0x00, 0x21]), Ok(Step::to(Next::Ip, 2)));
        assert_eq!(read(&[0x00, 0x57]), Ok(Step::to(Next::Ip, 2)));
        assert_eq!(read(&[0x21]), Ok(Step::to(Next::Ip, 1)));
        assert_eq!(read(&[0xff, 0x03, 0x00, 0x21]), Ok(Step::to(Next::Ip, 4)));
        assert_eq!(read(&[0xff, 0x03, 0x57]), Ok(Step::to(Next::Ip, 3)));
        assert_eq!(read(&[0x02, 0x81]), Ok(Step::to(Next::Mpls, 2)));
    }

    #[test]
    fn control_and_compressed_protocols_are_named() {
        assert_eq!(read(&[0xc0, 0x21]), Err(SkipReason::TunnelControl));
        assert_eq!(read(&[0x80, 0x21]), Err(SkipReason::TunnelControl));
        assert_eq!(read(&[0x00, 0xfd]), Err(SkipReason::UnknownTunnelPayload));
        assert_eq!(read(&[0x2d]), Err(SkipReason::UnknownTunnelPayload));
        assert_eq!(read(&[0x00]), Err(SkipReason::MalformedTunnel));
        assert_eq!(read(&[]), Err(SkipReason::MalformedTunnel));
    }
}
