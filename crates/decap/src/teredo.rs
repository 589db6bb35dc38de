//! Teredo: IPv6 in UDP, behind optional indicators (RFC 4380, section 5.1.1).

use crate::step::{Next, Step};
use crate::tunnel::{TunnelId, TunnelKind};
use crate::udp::Tried;
use crate::view::View;

/// The prefix of every address that Teredo hands out, 2001::/32.
const PREFIX: [u8; 4] = [0x20, 0x01, 0, 0];

/// Reads Teredo on its port: IPv6 of the datagram's very length, after an authentication and an origin indication.
#[expect(clippy::unnecessary_wraps, reason = "one form for all of UDP's tunnels")]
pub(crate) fn teredo(payload: View<'_>) -> Tried {
    let mut len = 0;
    if let Some([0, 1, id, value]) = payload.bytes.first_chunk() {
        // Client id, authentication value, nonce of 8 bytes, confirmation.
        len += 4 + usize::from(*id) + usize::from(*value) + 9;
    }
    if payload.skip(len).bytes.starts_with(&[0, 0]) {
        // Obfuscated port and IPv4 address.
        len += 8;
    }
    Ok(fills(payload.skip(len)).then_some(step(len)))
}

/// Reads Teredo on any other port, where nothing less than a Teredo address in a packet of the right length will do.
pub(crate) fn off_port(payload: View<'_>) -> Option<Step> {
    if payload.nibble() != Some(6) || !fills(payload) {
        return None;
    }
    let source = payload.bytes.get(8..12)?;
    let destination = payload.bytes.get(24..28)?;
    (source == PREFIX || destination == PREFIX).then_some(step(0))
}

const fn step(len: usize) -> Step {
    Step::tunnel(TunnelKind::Teredo, TunnelId::None, Next::Ip, len)
}

/// Whether the bytes are an IPv6 packet exactly as long as what is there.
fn fills(view: View<'_>) -> bool {
    match view.bytes.first_chunk() {
        Some([first, _, _, _, high, low]) => {
            first >> 4 == 6 && 40 + usize::from(u16::from_be_bytes([*high, *low])) == view.wire_len
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8]) -> View<'_> {
        View { bytes, wire_len: bytes.len() }
    }

    fn packet(source: [u8; 4]) -> Vec<u8> {
        let mut bytes = vec![0x60, 0, 0, 0, 0, 4, 59, 64];
        bytes.extend(source);
        bytes.resize(44, 0);
        bytes
    }

    #[test]
    fn indicators_are_stepped_over() {
        let packet = packet([0xfe, 0x80, 0, 0]);
        assert_eq!(teredo(whole(&packet)), Ok(Some(step(0))));
        let origin = [0, 0, 1, 2, 3, 4, 5, 6];
        assert_eq!(teredo(whole(&[&origin[..], &packet].concat())), Ok(Some(step(8))));
        let authentication = [&[0, 1, 2, 3][..], &[7; 5], &[9; 9]].concat();
        assert_eq!(teredo(whole(&[&authentication[..], &packet].concat())), Ok(Some(step(18))));
        let both = [&authentication[..], &origin, &packet].concat();
        assert_eq!(teredo(whole(&both)), Ok(Some(step(26))));
    }

    #[test]
    fn lengths_have_to_agree() {
        let mut packet = packet(PREFIX);
        packet.push(0);
        assert_eq!(teredo(whole(&packet)), Ok(None));
        assert_eq!(off_port(whole(&packet)), None);
        assert_eq!(teredo(whole(&[0, 1, 255, 255])), Ok(None));
        assert_eq!(teredo(whole(&[])), Ok(None));
    }

    #[test]
    fn off_its_port_only_with_its_prefix() {
        assert_eq!(off_port(whole(&packet(PREFIX))), Some(step(0)));
        assert_eq!(off_port(whole(&packet([0x20, 0x01, 0x0d, 0xb8]))), None);
        let mut towards = packet([0x20, 0x01, 0x0d, 0xb8]);
        towards[24..28].copy_from_slice(&PREFIX);
        assert_eq!(off_port(whole(&towards)), Some(step(0)));
    }
}
