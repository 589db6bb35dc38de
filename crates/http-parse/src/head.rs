//! Temporary stand-in for the head reader (replaced at the merge).

use crate::flags::Flag;
use crate::message::{HeaderSpan, Message, MessageKind, Span, Version};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MalformedHead;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartLine {
    Request,
    Response,
    NeedMore,
    No,
}

pub(crate) fn find_head_end(buf: &[u8], scanned: &mut usize) -> Option<usize> {
    let from = scanned.saturating_sub(2);
    for lf in memchr::memchr_iter(b'\n', buf.get(from..)?) {
        let lf = lf + from;
        match buf.get(lf + 1..)? {
            [b'\n', ..] => return Some(lf + 2),
            [b'\r', b'\n', ..] => return Some(lf + 3),
            [] | [b'\r'] => break,
            _ => {}
        }
    }
    *scanned = buf.len();
    None
}

fn span(buf: &[u8], part: &[u8]) -> Span {
    if part.is_empty() {
        return Span::default();
    }
    let start = part.as_ptr() as usize - buf.as_ptr() as usize;
    Span { start: start as u32, end: (start + part.len()) as u32 }
}

fn lines(buf: &[u8], from: usize) -> impl Iterator<Item = &[u8]> {
    buf.get(from..).unwrap_or_default().split(|b| *b == b'\n').map(|l| l.strip_suffix(b"\r").unwrap_or(l))
}

fn header_line(head: &[u8], line: &[u8]) -> Option<HeaderSpan> {
    let colon = memchr::memchr(b':', line)?;
    let (name, value) = line.split_at(colon);
    let value = value.get(1..)?.trim_ascii();
    Some(HeaderSpan { name: span(head, name.trim_ascii()), value: span(head, value) })
}

pub(crate) fn parse_head(kind: MessageKind, message: &mut Message, max_headers: usize) -> Result<(), MalformedHead> {
    let head = std::mem::take(&mut message.head);
    let result = (|| {
        let mut all = lines(&head, 0);
        let line = all.next().ok_or(MalformedHead)?;
        let mut parts = line.splitn(3, |b| *b == b' ');
        let (a, b, c) = (parts.next().ok_or(MalformedHead)?, parts.next().ok_or(MalformedHead)?, parts.next());
        let version = match kind {
            MessageKind::Request => {
                message.method_or_reason = span(&head, a);
                message.target = span(&head, b);
                c.ok_or(MalformedHead)?
            }
            MessageKind::Response => {
                message.status = std::str::from_utf8(b).ok().and_then(|s| s.parse().ok()).ok_or(MalformedHead)?;
                message.method_or_reason = span(&head, c.unwrap_or_default());
                a
            }
        };
        message.version =
            if version == b"HTTP/1.0" { Version { major: 1, minor: 0 } } else { Version { major: 1, minor: 1 } };
        for line in all.take_while(|l| !l.is_empty()) {
            match header_line(&head, line) {
                Some(header) if message.headers.len() < max_headers => message.headers.push(header),
                Some(_) => message.flags.insert(Flag::TooManyHeaders),
                None => message.flags.insert(Flag::HeaderWithoutColon),
            }
        }
        Ok(())
    })();
    message.head = head;
    result
}

pub(crate) fn parse_trailers(message: &mut Message, from: usize, max_headers: usize) {
    for line in lines(&message.head, from) {
        if let Some(header) = header_line(&message.head, line)
            && message.trailers.len() < max_headers
        {
            message.trailers.push(header);
        }
    }
}

pub(crate) fn looks_like_start(bytes: &[u8]) -> StartLine {
    if bytes.starts_with(b"HTTP/1.") {
        return match bytes {
            [_, _, _, _, _, _, _, _, b' ', a, b, c, ..] if [a, b, c].iter().all(|d| d.is_ascii_digit()) => {
                StartLine::Response
            }
            [_, _, _, _, _, _, _, _, _, _, _, _, ..] => StartLine::No,
            _ => StartLine::NeedMore,
        };
    }
    if b"HTTP/1.".starts_with(bytes) {
        return StartLine::NeedMore;
    }
    let token = bytes.iter().take_while(|b| b.is_ascii_alphabetic() || **b == b'-').count();
    if token > 24 || bytes.get(..1).is_some_and(|b| !b.iter().all(u8::is_ascii_uppercase)) {
        return StartLine::No;
    }
    match bytes.get(token) {
        None => StartLine::NeedMore,
        Some(b' ') if token > 0 => match memchr::memchr(b'\n', bytes) {
            None => StartLine::NeedMore,
            Some(lf) => {
                let line = bytes.get(..lf).unwrap_or_default();
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                if line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0") {
                    StartLine::Request
                } else {
                    StartLine::No
                }
            }
        },
        Some(_) => StartLine::No,
    }
}
