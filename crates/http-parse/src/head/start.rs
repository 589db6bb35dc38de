//! Whether bytes look like the start of a message.
//!
//! Called for every stream that is not known to be HTTP yet, so most calls end at the first byte or word. Text protocols
//! share much of HTTP's look (RTSP, SIP, NATS, STOMP, SMTP, IMAP, log lines): what decides is the version word at the end
//! of a request line, and `HTTP/` with a three-digit status at the start of a response.

use super::end::{self, MAX_LEAD};
use super::lines::{self, RequestLine};

/// The longest method and the longest request line that are recognized, bytes.
const MAX_METHOD: usize = 32;
const MAX_LINE: usize = 64 << 10;

/// The longest status line up to and including its status.
const MAX_STATUS: usize = 64;

/// How much of an unfinished line is looked at for bytes that no request line has.
const GLANCE: usize = 256;

/// Methods after which any target is believed.
const METHODS: [&[u8]; 9] = [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH"];

/// Could a message start at these bytes?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartLine {
    /// A request line stands here.
    Request,
    /// A status line stands here, at least up to its status.
    Response,
    /// It cannot be told yet.
    NeedMore,
    /// None.
    No,
}

/// Could a message start at these bytes? Up to 64 bytes of empty lines and white space may come first.
pub(crate) fn looks_like_start(bytes: &[u8]) -> StartLine {
    let lead = end::leading(bytes);
    let line = bytes.get(lead..).unwrap_or_default();
    match line.first() {
        None if lead < MAX_LEAD => StartLine::NeedMore,
        Some(b'H' | b'h') => match looks_like_status(line) {
            StartLine::No => looks_like_request(line),
            told => told,
        },
        Some(byte) if byte.is_ascii_alphabetic() => looks_like_request(line),
        _ => StartLine::No,
    }
}

fn looks_like_status(line: &[u8]) -> StartLine {
    let protocol = line.get(..5).unwrap_or(line);
    if !protocol.eq_ignore_ascii_case(b"HTTP/".get(..protocol.len()).unwrap_or_default()) {
        return StartLine::No;
    }
    let Some(rest) = line.get(5..) else { return StartLine::NeedMore };
    // Version, blanks, three digits and what is behind them: where one ends, the next begins or nothing is there yet.
    let version = run(rest, |byte| byte.is_ascii_digit() || byte == b'.');
    let rest = rest.get(version..).unwrap_or_default();
    let blanks = run(rest, |byte| matches!(byte, b' ' | b'\t'));
    let rest = rest.get(blanks..).unwrap_or_default();
    let digits = run(rest, |byte| byte.is_ascii_digit());
    let is_version = || lines::version_word(line.get(..5 + version).unwrap_or_default()).is_some();
    match (rest.get(digits), digits) {
        (Some(_), 3) if blanks > 0 && is_version() => StartLine::Response,
        (None, 0..=3) if line.len() <= MAX_STATUS && (blanks == 0 || is_version()) => StartLine::NeedMore,
        _ => StartLine::No,
    }
}

/// How many of the first bytes satisfy the condition.
fn run(bytes: &[u8], is_part: fn(u8) -> bool) -> usize {
    bytes.iter().take(MAX_STATUS).take_while(|byte| is_part(**byte)).count()
}

fn looks_like_request(line: &[u8]) -> StartLine {
    let word = line.get(..=MAX_METHOD).unwrap_or(line);
    let Some(end) = word.iter().position(|byte| !lines::is_token(*byte)) else {
        return if word.len() > MAX_METHOD { StartLine::No } else { StartLine::NeedMore };
    };
    let (method, rest) = line.split_at_checked(end).unwrap_or((line, &[]));
    if !matches!(rest.first(), Some(b' ' | b'\t')) {
        return StartLine::No;
    }
    let within = line.get(..MAX_LINE).unwrap_or(line);
    let Some(feed) = memchr::memchr(b'\n', within) else {
        let target = rest.get(run(rest, |byte| matches!(byte, b' ' | b'\t'))..).unwrap_or_default();
        let is_plausible = target.first().is_none_or(|byte| is_target_start(method, *byte));
        let glance = rest.get(..GLANCE).unwrap_or(rest);
        let glance = glance.strip_suffix(b"\r").unwrap_or(glance);
        return if is_plausible && line.len() < MAX_LINE && !has_control(glance) {
            StartLine::NeedMore
        } else {
            StartLine::No
        };
    };
    let whole = line.get(..feed).unwrap_or_default();
    let whole = whole.strip_suffix(b"\r").unwrap_or(whole);
    match lines::request_line(whole) {
        Some(request) if is_believable(&request) && !has_control(whole) => StartLine::Request,
        _ => StartLine::No,
    }
}

/// A known method is believed with any target; others only with a target of a form that RFC 9112, section 3.2 knows, so
/// that a sentence which ends in a version is no request. The preface of HTTP/2 has the form of a request line.
fn is_believable(request: &RequestLine<'_>) -> bool {
    if request.method == b"PRI" && request.target == b"*" && request.version.version.major == 2 {
        return false;
    }
    let is_known = METHODS.contains(&request.method);
    let has_form = || request.target.starts_with(b"/") || request.target == b"*" || request.target.contains(&b':');
    is_known || (!request.extra_words && has_form())
}

fn is_target_start(method: &[u8], byte: u8) -> bool {
    match byte {
        b'/' | b'*' | b'[' => true,
        b'{' => false,
        _ => byte.is_ascii_alphanumeric() || METHODS.contains(&method),
    }
}

/// Whether a byte stands here that no request line has. DEL is met in the targets of scanners, and servers answer them.
fn has_control(bytes: &[u8]) -> bool {
    lines::has_control(bytes) && bytes.iter().any(|byte| byte.is_ascii_control() && !matches!(byte, b'\t' | 0x7f))
}
