//! MPLS label stacks and what is behind them (RFC 3032, RFC 4448).
//!
//! A label says nothing about its payload, so the payload's first bits decide, as in a router that balances load
//! (RFC 4928): 4 and 6 are IP, 0 is a pseudo-wire's control word, else Ethernet without one. Addresses of Ethernet
//! frames may start with the same bits; where the bytes contradict the first reading, the other one is tried.

use crate::ethernet;
use crate::ip;
use crate::reason::SkipReason;
use crate::step::{Next, Step, Stepped};
use crate::tunnel::{TunnelId, TunnelKind};
use crate::view::View;

/// Length of a label stack entry.
const ENTRY_LEN: usize = 4;

/// Length of a pseudo-wire's control word.
const CONTROL_WORD_LEN: usize = 4;

/// Reads a whole label stack.
pub(crate) fn mpls(view: View<'_>) -> Stepped {
    let mut len = 0;
    loop {
        let [.., bottom, _] = view.array::<ENTRY_LEN>(len, SkipReason::MalformedLink)?;
        len += ENTRY_LEN;
        if bottom & 1 == 1 {
            break;
        }
    }
    let payload = view.skip(len);
    let Some(nibble) = payload.nibble() else {
        return Err(payload.lacking(1, SkipReason::MalformedLink));
    };
    let ethernet = Step::tunnel(TunnelKind::MplsPseudowire, TunnelId::None, Next::Ethernet, len);
    let is_frame = ethernet::is_plausible(payload);
    // A length of 0 is how segmentation offload writes it, but also how an address goes on.
    let is_v4 = || ip::is_plausible_v4(payload) && payload.u16(2, SkipReason::MalformedIp) != Ok(0);
    match nibble {
        4 if !is_frame || is_v4() => Ok(Step::to(Next::Ip, len)),
        6 if !is_frame || ip::is_plausible_v6(payload) => Ok(Step::to(Next::Ip, len)),
        0 if ethernet::is_plausible(payload.skip(CONTROL_WORD_LEN)) || !is_frame => {
            Ok(ethernet.after(CONTROL_WORD_LEN))
        }
        // The associated channel: operation and maintenance (RFC 4385, section 5).
        1 if !is_frame => Err(SkipReason::TunnelControl),
        _ => Ok(ethernet),
    }
}

/// Whether the bytes start with a label stack that has an end.
pub(crate) fn is_plausible(view: View<'_>) -> bool {
    // Real stacks are a few entries deep; the longest known use is segment routing with about a dozen.
    let mut entries = view.bytes.chunks_exact(ENTRY_LEN).take(32);
    entries.any(|entry| matches!(entry, [_, _, bottom, _] if bottom & 1 == 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOP: [u8; 4] = [0x00, 0x01, 0x20, 64];
    const BOTTOM: [u8; 4] = [0x00, 0x01, 0x31, 64];

    fn read(payload: &[u8]) -> Stepped {
        let bytes = [&TOP[..], &BOTTOM[..], payload].concat();
        mpls(View { bytes: &bytes, wire_len: bytes.len() })
    }

    fn frame(first: u8) -> Vec<u8> {
        let mut frame = vec![first, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 20];
        frame.resize(14 + 20, 0);
        frame
    }

    #[test]
    fn ip_by_the_first_nibble() {
        let mut v4 = vec![0; 20];
        v4[0] = 0x45;
        v4[3] = 20;
        assert_eq!(read(&v4), Ok(Step::to(Next::Ip, 8)));
        let mut v6 = vec![0; 40];
        v6[0] = 0x60;
        assert_eq!(read(&v6), Ok(Step::to(Next::Ip, 8)));
    }

    #[test]
    fn pseudowires_with_and_without_control_word() {
        let wire = |len| Ok(Step::tunnel(TunnelKind::MplsPseudowire, TunnelId::None, Next::Ethernet, len));
        assert_eq!(read(&[&[0, 0, 0, 9][..], &frame(2)].concat()), wire(12));
        assert_eq!(read(&frame(0xfe)), wire(8));
        // Addresses that look like a control word or an IP header.
        for first in [0x00, 0x02, 0x10, 0x45, 0x60] {
            assert_eq!(read(&frame(first)), wire(8), "{first:#x}");
        }
        assert_eq!(read(&[0x10, 0, 0, 0x21]), Err(SkipReason::TunnelControl));
    }

    #[test]
    fn stacks_without_an_end() {
        let endless = TOP.repeat(100);
        let view = View { bytes: &endless, wire_len: endless.len() };
        assert_eq!(mpls(view), Err(SkipReason::MalformedLink));
        assert!(!is_plausible(view));
        assert_eq!(mpls(View { wire_len: 404, ..view }), Err(SkipReason::HeadersNotCaptured));
        assert_eq!(read(&[]), Err(SkipReason::MalformedLink));
    }
}
