//! What else than HTTP/1 a stream may carry, told from its bytes.

use crate::hello::{HelloStatus, parse_client_hello};
use crate::protocol::{ClientHello, Protocol};

/// The HTTP/2 connection preface (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The largest TLS record that implementations accept: 2^14 bytes and room for expansion (RFC 5246, section 6.2.3).
const MAX_RECORD: usize = (1 << 14) + 2048;

/// What the bytes at the start of a stream or of a segment say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Recognized {
    /// Nothing of what is known here.
    No,
    /// Perhaps something; more bytes will tell.
    NeedMore,
    /// This protocol, beyond doubt.
    Certain(Protocol, Option<ClientHello>),
    /// Probably this protocol: a header that fits, with nothing to check it against.
    Likely(Protocol),
}

/// Judges bytes that stand at a stream's or a segment's start.
pub(crate) fn recognize(bytes: &[u8]) -> Recognized {
    match bytes.first() {
        Some(b'P') => by_prefix(bytes, HTTP2_PREFACE, Protocol::Http2),
        Some(b'S') => by_prefix(bytes, b"SSH-", Protocol::Ssh),
        Some(0x14..=0x17) => tls(bytes),
        Some(_) if is_http2_frames(bytes) => Recognized::Certain(Protocol::Http2, None),
        Some(_) => Recognized::No,
        None => Recognized::NeedMore,
    }
}

fn by_prefix(bytes: &[u8], prefix: &[u8], protocol: Protocol) -> Recognized {
    if bytes.starts_with(prefix) {
        Recognized::Certain(protocol, None)
    } else if prefix.starts_with(bytes) {
        Recognized::NeedMore
    } else {
        Recognized::No
    }
}

/// TLS records (RFC 8446, section 5.1): a ClientHello, or record headers that chain.
fn tls(bytes: &[u8]) -> Recognized {
    let Some(len) = record_len(bytes) else {
        return match bytes {
            [_] | [_, 3] | [_, 3, 0..=4] | [_, 3, 0..=4, _] => Recognized::NeedMore,
            _ => Recognized::No,
        };
    };
    if bytes.first() == Some(&0x16) {
        match parse_client_hello(bytes) {
            HelloStatus::Hello(hello) => return Recognized::Certain(Protocol::Tls, Some(hello)),
            HelloStatus::NeedMore => return Recognized::NeedMore,
            HelloStatus::NotTls => return Recognized::No,
            HelloStatus::Tls => {}
        }
    }
    // The next record's header, or the end of the segment, where the length says: no chance hit.
    match bytes.get(len..) {
        Some([]) => Recognized::Certain(Protocol::Tls, None),
        Some(next) if record_len(next).is_some() => Recognized::Certain(Protocol::Tls, None),
        Some([0x14..=0x17] | [0x14..=0x17, 3] | [0x14..=0x17, 3, 0..=4, ..]) => Recognized::Likely(Protocol::Tls),
        Some(_) => Recognized::No,
        None => Recognized::Likely(Protocol::Tls),
    }
}

/// The length of the TLS record whose header stands at the start, header included.
fn record_len(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [0x14..=0x17, 3, 0..=4, high, low, ..] => {
            let len = usize::from(u16::from_be_bytes([*high, *low]));
            (1..=MAX_RECORD).contains(&len).then_some(len + 5)
        }
        _ => None,
    }
}

/// Whether the bytes are whole HTTP/2 frames (RFC 9113, section 4.1), each as its type demands, and at least one of them
/// of a kind whose form leaves no doubt.
fn is_http2_frames(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    let mut strict = false;
    while let [len @ .., _, _, _, _, _, _] = rest.get(..9).unwrap_or_default() {
        let len = len.iter().fold(0usize, |len, byte| len << 8 | usize::from(*byte));
        let (Some(&kind), Some(&flags), Some(stream)) = (rest.get(3), rest.get(4), rest.get(5..9)) else {
            return false;
        };
        let stream = stream.iter().fold(0u32, |stream, byte| stream << 8 | u32::from(*byte));
        let fits = match kind {
            0 => stream != 0 && flags & !0x9 == 0 && len <= 1 << 14,
            1 => stream != 0 && flags & !0x2d == 0 && len <= 1 << 14,
            2 => stream != 0 && flags == 0 && len == 5,
            3 => stream != 0 && flags == 0 && len == 4,
            4 => stream == 0 && ((flags == 1 && len == 0) || (flags == 0 && len % 6 == 0 && len <= 60)),
            6 => stream == 0 && flags & !1 == 0 && len == 8,
            7 => stream == 0 && flags == 0 && len >= 8,
            8 => flags == 0 && len == 4,
            9 => stream != 0 && flags & !4 == 0,
            _ => false,
        };
        if !fits || stream > i32::MAX as u32 {
            return false;
        }
        strict |= matches!(kind, 3 | 4 | 6 | 8);
        match rest.get(9 + len..) {
            Some(next) => rest = next,
            None => return false,
        }
    }
    rest.is_empty() && strict
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_decide_as_soon_as_they_can() {
        assert_eq!(recognize(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Recognized::Certain(Protocol::Http2, None));
        assert_eq!(recognize(b"PRI * HT"), Recognized::NeedMore);
        assert_eq!(recognize(b"POST"), Recognized::No);
        assert_eq!(recognize(b"SSH-2.0-OpenSSH_9.2\r\n"), Recognized::Certain(Protocol::Ssh, None));
        assert_eq!(recognize(b"SEARCH /"), Recognized::No);
        assert_eq!(recognize(b"GET / HTTP/1.1\r\n"), Recognized::No);
    }

    #[test]
    fn tls_records_must_chain() {
        let record = [&[0x17, 3, 3, 0, 4][..], b"abcd"].concat();
        assert_eq!(recognize(&record), Recognized::Certain(Protocol::Tls, None));
        assert_eq!(
            recognize(&[&record[..], &[0x17, 3, 3, 0, 9, 1]].concat()),
            Recognized::Certain(Protocol::Tls, None)
        );
        assert_eq!(recognize(&record[..7]), Recognized::Likely(Protocol::Tls));
        assert_eq!(recognize(&[&record[..], b"junk!"].concat()), Recognized::No);
        assert_eq!(recognize(&[0x17, 3]), Recognized::NeedMore);
        assert_eq!(recognize(&[0x17, 9, 1, 1, 1]), Recognized::No);
    }

    #[test]
    fn http2_frames_must_be_whole_and_in_form() {
        let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(recognize(&ping), Recognized::Certain(Protocol::Http2, None));
        assert_eq!(recognize(&ping[..16]), Recognized::No);
        let data = [0, 0, 1, 0, 0, 0, 0, 0, 1, b'x'];
        assert_eq!(recognize(&data), Recognized::No, "a DATA frame alone may be chance");
        assert_eq!(recognize(&[&data[..], &ping].concat()), Recognized::Certain(Protocol::Http2, None));
    }
}
