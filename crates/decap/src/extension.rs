//! IPv6 extension headers (RFC 8200, section 4) and the authentication header, which IPv4 has too (RFC 4302).
//!
//! The fragment header is read by the walk itself, which holds the fragments.

use crate::reason::SkipReason;
use crate::step::{Mark, Next, Step, Stepped};
use crate::view::View;

const REASON: SkipReason = SkipReason::MalformedIp;

/// Reads an extension header of the common form: next header, length in 8-byte words beyond the first.
pub(crate) fn options(view: View<'_>) -> Stepped {
    let (next, len) = common(view)?;
    Ok(Step::to(Next::Protocol(next), len))
}

/// Reads a routing header. Where segments are left, the final destination is in it and not in the IPv6 header.
pub(crate) fn routing(view: View<'_>) -> Stepped {
    let (next, len) = common(view)?;
    let [_, _, kind, left] = view.array(0, REASON)?;
    let last = match kind {
        // The list runs forwards (RFC 2460, section 4.4; deprecated, and seen nevertheless).
        0 => len.checked_sub(16).filter(|at| *at >= 8),
        // Mobile IPv6: one home address (RFC 6275, section 6.4).
        2 => Some(8),
        // Segment routing: the list runs backwards (RFC 8754, section 2).
        4 => Some(8),
        _ => None,
    };
    let mark = match last {
        Some(at) if left > 0 && at + 16 <= len => Mark::Destination(view.array(at, REASON)?),
        _ => Mark::None,
    };
    Ok(Step { next: Next::Protocol(next), len, mark })
}

/// Reads an authentication header: its length is in 4-byte words, less 2. What it protects is in the clear.
pub(crate) fn authentication(view: View<'_>) -> Stepped {
    let [next, words] = view.array(0, REASON)?;
    let len = (usize::from(words) + 2) * 4;
    if len < 12 {
        return Err(REASON);
    }
    view.require(len, REASON)?;
    Ok(Step::to(Next::Protocol(next), len))
}

fn common(view: View<'_>) -> Result<(u8, usize), SkipReason> {
    let [next, words] = view.array(0, REASON)?;
    let len = (usize::from(words) + 1) * 8;
    view.require(len, REASON)?;
    Ok((next, len))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8]) -> View<'_> {
        View { bytes, wire_len: bytes.len() }
    }

    #[test]
    fn options_are_as_long_as_they_say() {
        assert_eq!(
            options(whole(&[6, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
            Ok(Step::to(Next::Protocol(6), 16))
        );
        assert_eq!(options(whole(&[6, 1, 0, 0, 0, 0, 0, 0])), Err(REASON));
        assert_eq!(options(View { bytes: &[6, 1], wire_len: 99 }), Err(SkipReason::HeadersNotCaptured));
    }

    #[test]
    fn routing_headers_name_the_final_destination() {
        let (first, last) = ([0x11; 16], [0x22; 16]);
        let header = |kind, left| [&[6, 4, kind, left, 0, 0, 0, 0][..], &first, &last].concat();
        let step = |mark| Ok(Step { next: Next::Protocol(6), len: 40, mark });
        assert_eq!(routing(whole(&header(0, 1))), step(Mark::Destination(last)));
        assert_eq!(routing(whole(&header(4, 1))), step(Mark::Destination(first)));
        assert_eq!(routing(whole(&header(4, 0))), step(Mark::None));
        assert_eq!(routing(whole(&header(9, 1))), step(Mark::None));
        // No room for an address.
        assert_eq!(routing(whole(&[6, 0, 0, 1, 0, 0, 0, 0])), Ok(Step::to(Next::Protocol(6), 8)));
        assert_eq!(routing(whole(&[6, 0, 4, 1, 0, 0, 0, 0])), Ok(Step::to(Next::Protocol(6), 8)));
    }

    #[test]
    fn authentication_counts_words_its_own_way() {
        let mut bytes = vec![6, 4];
        bytes.resize(24, 0);
        assert_eq!(authentication(whole(&bytes)), Ok(Step::to(Next::Protocol(6), 24)));
        assert_eq!(authentication(whole(&bytes[..23])), Err(REASON));
        assert_eq!(authentication(whole(&[6, 0, 0, 0, 0, 0, 0, 0])), Err(REASON), "shorter than its fixed part");
    }
}
