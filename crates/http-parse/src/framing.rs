//! How long a message is (RFC 9112, section 6.3): what its header fields say of its body, and what is odd in what they say.

use crate::flags::{Flag, Flags};
use crate::head::{FRAMING_LONG, FRAMING_SHORT};
use crate::message::{FramingFields, Message, MessageKind};

/// How a message's body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is none.
    Empty,
    /// After this many bytes, at least one.
    Length(u64),
    /// By the chunked coding.
    Chunked,
    /// With the connection.
    UntilClose,
}

/// What is known of the request that a response answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// HEAD: the response has no body, whatever its header fields say.
    Head,
    /// CONNECT: a 2xx response has no body; a tunnel follows.
    Connect,
    /// Another method, or not known.
    Other,
}

impl Asked {
    /// What `request` asked for.
    pub(crate) fn by(request: &Message) -> Self {
        match request.method() {
            b"HEAD" => Self::Head,
            b"CONNECT" => Self::Connect,
            _ => Self::Other,
        }
    }
}

/// How the body of `message` ends, and the oddities of its framing fields. For a response, `asked` says what its request
/// was.
pub(crate) fn frame(message: &Message, asked: Asked) -> (Framing, Flags) {
    let (fields, flags) = read_fields(message);
    let is_response = message.kind == MessageKind::Response;
    if is_response && has_no_body(message.status, asked) {
        return (Framing::Empty, flags);
    }
    if fields.chunked {
        // RFC 9112, section 6.3, item 3: Transfer-Encoding overrides Content-Length. With HTTP/1.0 the framing is faulty by
        // the letter (section 6.1), but a sender that names the coding uses it.
        return (Framing::Chunked, flags);
    }
    if fields.other_coding && is_response && fields.length.is_none() {
        return (Framing::UntilClose, flags);
    }
    match fields.length {
        Some(0) => (Framing::Empty, flags),
        Some(length) => (Framing::Length(length), flags),
        None if is_response => (Framing::UntilClose, flags),
        None => (Framing::Empty, flags),
    }
}

/// Whether a response has no body for its status or its request (RFC 9110, section 6.4.1).
fn has_no_body(status: u16, asked: Asked) -> bool {
    matches!(status, 100..=199 | 204 | 304)
        || asked == Asked::Head
        || (asked == Asked::Connect && (200..=299).contains(&status))
}

#[derive(Default)]
struct Fields {
    length: Option<u64>,
    chunked: bool,
    other_coding: bool,
}

fn read_fields(message: &Message) -> (Fields, Flags) {
    let mut flags = Flags::NONE;
    let mut fields = Fields::default();
    let mut codings = Codings::default();
    let mut lengths = 0;
    match message.framing {
        FramingFields::Some => {}
        FramingFields::None => return (fields, flags),
        FramingFields::Length(length) => {
            fields.length = Some(length);
            return (fields, flags);
        }
    }
    for span in &message.headers {
        // The two lengths tell nearly every other field apart without a look at its bytes.
        let len = span.name.end.wrapping_sub(span.name.start) as usize;
        if len != FRAMING_SHORT && len != FRAMING_LONG {
            continue;
        }
        let header = message.header_at(*span);
        match header.name.len() {
            FRAMING_SHORT if header.name.eq_ignore_ascii_case(b"content-length") => {
                for value in header.value.split(|byte| *byte == b',') {
                    lengths += 1;
                    add_length(value, &mut fields.length, &mut flags);
                }
            }
            FRAMING_LONG if header.name.eq_ignore_ascii_case(b"transfer-encoding") => codings.add(header.value),
            _ => {}
        }
    }
    if codings.seen {
        fields.chunked = codings.chunked > 0;
        fields.other_coding = codings.other > 0;
        if codings.chunked != 1 || codings.odd || !codings.ends_in_chunked {
            flags.insert(Flag::InvalidTransferEncoding);
        }
        if lengths > 0 {
            flags.insert(Flag::ContentLengthWithTransferEncoding);
        }
    }
    (fields, flags)
}

/// Reads one Content-Length value. The first that can be read counts; most clients and proxies do the same, or refuse.
fn add_length(value: &[u8], length: &mut Option<u64>, flags: &mut Flags) {
    let value = value.trim_ascii();
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut number = Some(0u64);
    for digit in value.iter().take(digits) {
        number = number
            .and_then(|number| number.checked_mul(10))
            .and_then(|number| number.checked_add(u64::from(digit.wrapping_sub(b'0'))));
    }
    if digits == 0 || digits != value.len() || number.is_none() {
        flags.insert(Flag::InvalidContentLength);
    }
    let number = if digits == 0 { None } else { number };
    match (*length, number) {
        (Some(first), Some(second)) if first == second => flags.insert(Flag::DuplicateContentLength),
        (Some(_), _) => flags.insert(Flag::ConflictingContentLength),
        (None, number) => *length = number,
    }
}

#[derive(Default)]
struct Codings {
    seen: bool,
    chunked: u32,
    ends_in_chunked: bool,
    other: u32,
    odd: bool,
}

impl Codings {
    fn add(&mut self, value: &[u8]) {
        self.seen = true;
        for coding in value.split(|byte| *byte == b',') {
            let coding = coding.trim_ascii();
            let (name, has_parameter) = match coding.iter().position(|byte| *byte == b';') {
                Some(at) => (coding.get(..at).unwrap_or_default().trim_ascii_end(), true),
                None => (coding, false),
            };
            self.ends_in_chunked = name.eq_ignore_ascii_case(b"chunked");
            if self.ends_in_chunked {
                self.chunked = self.chunked.saturating_add(1);
                self.odd |= has_parameter;
            } else if [&b"gzip"[..], b"x-gzip", b"deflate", b"compress", b"x-compress"]
                .iter()
                .any(|known| name.eq_ignore_ascii_case(known))
            {
                self.other = self.other.saturating_add(1);
            } else {
                self.odd = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Position;
    use crate::head::parse_head;

    fn message(kind: MessageKind, head: &str) -> Message {
        let mut message = Message::default();
        message.reset(kind, Position::default());
        message.head.extend_from_slice(head.as_bytes());
        parse_head(kind, &mut message, 100).unwrap();
        message
    }

    fn response(fields: &str) -> (Framing, Vec<Flag>) {
        let (framing, flags) =
            frame(&message(MessageKind::Response, &format!("HTTP/1.1 200 OK\r\n{fields}\r\n")), Asked::Other);
        (framing, flags.iter().collect())
    }

    fn request(fields: &str) -> (Framing, Vec<Flag>) {
        let head = format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
        let (framing, flags) = frame(&message(MessageKind::Request, &head), Asked::Other);
        (framing, flags.iter().collect())
    }

    #[test]
    fn plain_fields_frame_as_the_rfc_says() {
        assert_eq!(response(""), (Framing::UntilClose, vec![]));
        assert_eq!(request(""), (Framing::Empty, vec![]));
        assert_eq!(response("Content-Length: 5\r\n"), (Framing::Length(5), vec![]));
        assert_eq!(request("content-LENGTH: 0\r\n"), (Framing::Empty, vec![]));
        assert_eq!(response("Transfer-Encoding: Chunked\r\n"), (Framing::Chunked, vec![]));
        assert_eq!(response("Transfer-Encoding: gzip, chunked\r\n"), (Framing::Chunked, vec![]));
        assert_eq!(request("Transfer-Encoding: chunked\r\n"), (Framing::Chunked, vec![]));
    }

    #[test]
    fn the_request_and_the_status_can_rule_a_body_out() {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        assert_eq!(frame(&message(MessageKind::Response, head), Asked::Head).0, Framing::Empty);
        assert_eq!(frame(&message(MessageKind::Response, head), Asked::Connect).0, Framing::Empty);
        for status in ["204", "304", "101"] {
            let head = format!("HTTP/1.1 {status} X\r\nContent-Length: 5\r\n\r\n");
            assert_eq!(frame(&message(MessageKind::Response, &head), Asked::Other).0, Framing::Empty);
        }
        let refused = "HTTP/1.1 403 No\r\nContent-Length: 5\r\n\r\n";
        assert_eq!(frame(&message(MessageKind::Response, refused), Asked::Connect).0, Framing::Length(5));
    }

    #[test]
    fn conflicts_are_flagged_and_resolved() {
        let both = response("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n");
        assert_eq!(both, (Framing::Chunked, vec![Flag::ContentLengthWithTransferEncoding]));
        let differing = response("Content-Length: 5\r\nContent-Length: 6\r\n");
        assert_eq!(differing, (Framing::Length(5), vec![Flag::ConflictingContentLength]));
        assert_eq!(response("Content-Length: 7, 7\r\n"), (Framing::Length(7), vec![Flag::DuplicateContentLength]));
        for odd in ["+5", "5x", "0x5", "", "-1", "99999999999999999999"] {
            let (framing, flags) = response(&format!("Content-Length: {odd}\r\n"));
            assert_eq!(flags, vec![Flag::InvalidContentLength], "{odd}: {framing:?}");
        }
    }

    #[test]
    fn odd_transfer_codings_are_flagged() {
        for (value, framing) in [
            ("chunked, identity", Framing::Chunked),
            ("chunked, chunked", Framing::Chunked),
            ("chunked;a=b", Framing::Chunked),
            ("xchunked", Framing::UntilClose),
            ("gzip", Framing::UntilClose),
            ("", Framing::UntilClose),
        ] {
            let found = response(&format!("Transfer-Encoding: {value}\r\n"));
            assert_eq!(found, (framing, vec![Flag::InvalidTransferEncoding]), "{value}");
        }
        assert_eq!(request("Transfer-Encoding: gzip\r\n"), (Framing::Empty, vec![Flag::InvalidTransferEncoding]));
    }
}
