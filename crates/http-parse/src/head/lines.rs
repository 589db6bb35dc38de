//! The lenient reader: heads that break the grammar, line by line.
//!
//! It reads what common servers and clients make of such heads, and loses nothing: a line that is no header field is
//! kept as a value without a name. Where a bare CR stands it is white space (RFC 9112, section 2.2).

use super::{Fields, Start, end, span_of};
use crate::flags::{Flag, Flags};
use crate::message::{HeaderSpan, MessageKind, Version};

/// Fields that framing needs, which are kept beyond the limit, and how many of them.
const FRAMING_FIELDS: [&[u8]; 4] = [b"content-length", b"transfer-encoding", b"connection", b"upgrade"];
const MAX_FRAMING_FIELDS: usize = 32;

/// A request line, read leniently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RequestLine<'a> {
    pub(super) method: &'a [u8],
    pub(super) target: &'a [u8],
    pub(super) version: VersionWord,
    /// Words between the target and the version: they are part of neither.
    pub(super) extra_words: bool,
    /// Whether it keeps to the grammar, apart from its version.
    pub(super) is_regular: bool,
}

/// A status line, read leniently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StatusLine<'a> {
    pub(super) version: VersionWord,
    pub(super) status: u16,
    pub(super) reason: &'a [u8],
    pub(super) is_regular: bool,
}

/// A word that names an HTTP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct VersionWord {
    pub(super) version: Version,
    /// Whether it is `HTTP/`, a digit, a dot and a digit, and nothing else.
    pub(super) is_regular: bool,
}

/// A line of a head, without its end.
struct Line {
    start: usize,
    end: usize,
    /// Where the next line starts.
    next: usize,
    /// Whether its end is there.
    is_ended: bool,
}

/// Reads a head; `None` if its start line is none.
pub(super) fn read_head(kind: MessageKind, head: &[u8], fields: &mut Fields<'_>) -> Option<Start> {
    u32::try_from(head.len()).ok()?;
    let lead = end::leading(head);
    if lead > 0 {
        fields.flags.insert(Flag::LeadingEmptyLines);
    }
    let line = next_line(head, lead, &mut fields.flags).filter(|line| line.is_ended)?;
    let text = head.get(line.start..line.end)?;
    let (start, version, is_regular) = match kind {
        MessageKind::Request => {
            let RequestLine { method, target, version, is_regular, .. } = request_line(text)?;
            let start = Start { text: span_of(head, method)?, target: span_of(head, target)?, ..Start::default() };
            (start, version, is_regular)
        }
        MessageKind::Response => {
            let StatusLine { version, status, reason, is_regular } = status_line(text)?;
            (Start { text: span_of(head, reason)?, status, ..Start::default() }, version, is_regular)
        }
    };
    let start = Start { version: version.version, ..start };
    if !is_regular || !version.is_regular {
        fields.flags.insert(Flag::InvalidStartLine);
    }
    if !matches!(version.version, Version { major: 1, minor: 0 | 1 }) {
        fields.flags.insert(Flag::UnusualVersion);
    }
    let is_complete = read_fields(head, line.next, fields);
    fields.conclude(kind, start.version, is_complete);
    Some(start)
}

/// Reads the field lines from `from` on, to the empty line or the end of the bytes. Whether the empty line was there.
pub(super) fn read_fields(head: &[u8], from: usize, fields: &mut Fields<'_>) -> bool {
    if u32::try_from(head.len()).is_err() {
        return false;
    }
    if memchr::memchr(0, head.get(from..).unwrap_or_default()).is_some() {
        fields.flags.insert(Flag::NulInHead);
    }
    let mut at = from;
    while let Some(mut line) = next_line(head, at, &mut fields.flags) {
        if line.start == line.end && line.is_ended {
            return true;
        }
        let first_end = line.end;
        // A line that begins with white space continues the one before it (RFC 9112, section 5.2).
        while line.is_ended
            && matches!(head.get(line.next), Some(b' ' | b'\t'))
            && let Some(fold) = next_line(head, line.next, &mut fields.flags)
        {
            fields.flags.insert(Flag::ObsFold);
            line = Line { start: line.start, ..fold };
        }
        at = line.next;
        read_field(head, &line, first_end, fields);
    }
    false
}

/// Reads one field; its first line ends at `first_end`, the fields's folds at the end of `line`.
fn read_field(head: &[u8], line: &Line, first_end: usize, fields: &mut Fields<'_>) {
    let text = head.get(line.start..line.end).unwrap_or_default();
    let colon = memchr::memchr(b':', text).filter(|colon| {
        // A colon on a further line counts only if nothing else stands before it there.
        let on_first_line = first_end.saturating_sub(line.start);
        text.get(on_first_line..*colon).is_none_or(|between| between.iter().all(|byte| is_space(*byte)))
    });
    let parts = match colon {
        Some(colon) => {
            let raw = text.get(..colon).unwrap_or_default();
            let value = trim(text.get(colon + 1..).unwrap_or_default());
            Some((check_name(raw, &mut fields.flags), value))
        }
        // Of a line that was cut before its colon nothing can be said.
        None if !line.is_ended => None,
        None => {
            fields.flags.insert(Flag::HeaderWithoutColon);
            let value = trim(text);
            value.get(..0).filter(|_| !value.is_empty()).map(|name| (name, value))
        }
    };
    let Some((name, value)) = parts else { return };
    if name.eq_ignore_ascii_case(b"host") {
        fields.hosts += 1;
    }
    if fields.spans.len() >= fields.max {
        fields.flags.insert(Flag::TooManyHeaders);
        let framing = FRAMING_FIELDS.iter().any(|field| name.eq_ignore_ascii_case(field));
        if !framing || fields.spans.len() >= fields.max.saturating_add(MAX_FRAMING_FIELDS) {
            return;
        }
    }
    if let (Some(name), Some(value)) = (span_of(head, name), span_of(head, value)) {
        fields.spans.push(HeaderSpan { name, value });
    }
}

/// The name in what stands before a colon, and what is odd about it.
fn check_name<'a>(raw: &'a [u8], flags: &mut Flags) -> &'a [u8] {
    let until = raw.iter().rposition(|byte| !is_space(*byte)).map_or(0, |last| last + 1);
    let name = raw.get(..until).unwrap_or_default();
    if name.len() < raw.len() {
        flags.insert(Flag::SpaceBeforeColon);
    }
    // Only the first line of a section can begin with white space: there is nothing that it could continue.
    let name = match name.first() {
        Some(b' ' | b'\t') => {
            flags.insert(Flag::InvalidHeaderName);
            trim(name)
        }
        _ => name,
    };
    if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
        flags.insert(Flag::InvalidHeaderName);
    }
    name
}

/// The line at `at`; `None` at the end of the bytes.
fn next_line(head: &[u8], at: usize, flags: &mut Flags) -> Option<Line> {
    let rest = head.get(at..).filter(|rest| !rest.is_empty())?;
    let feed = memchr::memchr(b'\n', rest);
    let raw = rest.get(..feed.unwrap_or(rest.len()))?;
    let content = raw.strip_suffix(b"\r").unwrap_or(raw);
    if feed.is_some() && content.len() == raw.len() {
        flags.insert(Flag::BareLf);
    }
    if memchr::memchr(b'\r', content).is_some() {
        flags.insert(Flag::BareCr);
    }
    let next = feed.map_or(head.len(), |feed| at + feed + 1);
    Some(Line { start: at, end: at + content.len(), next, is_ended: feed.is_some() })
}

/// Reads `method SP target SP version`, with more or other white space than that and words behind the target; `None`
/// without all three, which is no request line of HTTP/1.
pub(super) fn request_line(line: &[u8]) -> Option<RequestLine<'_>> {
    let (method, rest) = split_word(line);
    let (target, rest) = split_word(trim_blanks(rest));
    let words = trim(rest);
    let last = words.iter().rposition(|byte| is_blank(*byte)).map_or(0, |blank| blank + 1);
    let word = words.get(last..)?;
    if method.is_empty() || target.is_empty() || !method.iter().all(|byte| is_token(*byte)) {
        return None;
    }
    let version = version_word(word)?;
    let is_regular = line.len() == method.len() + target.len() + word.len() + 2
        && !line.contains(&b'\t')
        && !target.iter().any(u8::is_ascii_control);
    Some(RequestLine { method, target, version, extra_words: last > 0, is_regular })
}

/// Reads `version SP status [SP reason]`, with more or other white space than that; `None` without version or status.
pub(super) fn status_line(line: &[u8]) -> Option<StatusLine<'_>> {
    let (word, rest) = split_word(line);
    let version = version_word(word)?;
    let skipped = rest.iter().position(|byte| !is_blank(*byte))?;
    let (digits, rest_of_line) = rest.get(skipped..)?.split_at_checked(3)?;
    let status =
        digits.iter().try_fold(0, |sum: u16, byte| byte.is_ascii_digit().then(|| sum * 10 + u16::from(byte - b'0')))?;
    if rest_of_line.first().is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let reason = trim(rest_of_line);
    let is_regular = rest.get(..skipped) == Some(b" ")
        && matches!(rest_of_line.first(), None | Some(b' '))
        && !rest_of_line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t');
    Some(StatusLine { version, status, reason, is_regular })
}

/// Reads `HTTP/`, in any case, digits, and a dot with further digits.
pub(super) fn version_word(word: &[u8]) -> Option<VersionWord> {
    let (name, number) = word.split_at_checked(5).filter(|(name, _)| name.eq_ignore_ascii_case(b"HTTP/"))?;
    let (major, minor) = match memchr::memchr(b'.', number) {
        Some(dot) => (number.get(..dot)?, number.get(dot + 1..)?),
        None => (number, &b"0"[..]),
    };
    let is_regular = name == b"HTTP/" && word.len() == 8 && major.len() == 1;
    Some(VersionWord { version: Version { major: decimal(major)?, minor: decimal(minor)? }, is_regular })
}

/// The value of one to three digits, at most 255.
fn decimal(digits: &[u8]) -> Option<u8> {
    if digits.is_empty() || digits.len() > 3 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |sum: u8, digit| sum.saturating_mul(10).saturating_add(digit - b'0')))
}

/// The bytes before the first blank, and those from it on.
fn split_word(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| is_blank(*byte)).unwrap_or(bytes.len());
    bytes.split_at_checked(end).unwrap_or((bytes, &[]))
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// A byte of a token (RFC 9110, section 5.6.2).
pub(super) const fn is_token(byte: u8) -> bool {
    matches!(byte,
        b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z'
        | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
}

fn trim_blanks(bytes: &[u8]) -> &[u8] {
    trim_by(bytes, is_blank)
}

/// Without the white space around: space, tab, CR and LF, as folds and bare CRs leave them.
pub(super) fn trim(bytes: &[u8]) -> &[u8] {
    trim_by(bytes, is_space)
}

fn trim_by(bytes: &[u8], is_trimmed: fn(u8) -> bool) -> &[u8] {
    let start = bytes.iter().position(|byte| !is_trimmed(*byte)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|byte| !is_trimmed(*byte)).map_or(start, |last| last + 1);
    bytes.get(start..end).unwrap_or_default()
}
