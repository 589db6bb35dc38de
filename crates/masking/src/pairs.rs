//! `name=value` and `name: value` in any text: logs, JSON within strings, URLs within values, what no parser understood.
//!
//! Also the user information of URLs (`scheme://user:password@host`).

use crate::header::is_one_of;
use crate::layer::Layer;
use crate::marks;
use crate::names::{Meaning, Names};
use crate::policy::KindId;

/// The longest name looked at.
const MAX_NAME: usize = 64;
/// Blanks allowed around the separator.
const MAX_BLANKS: usize = 16;
/// Quotes and backslashes allowed around the separator.
const MAX_QUOTES: usize = 8;
/// The longest user information of a URL.
const MAX_USERINFO: usize = 16 << 10;
/// In a longer value no other pairs are looked for.
const MAX_CALL: usize = 64;
/// Digits of a port.
const MAX_PORT: usize = 5;
/// Bytes of the longest quote.
const MAX_MARK: usize = 3;
/// Bytes of the longest escape.
const MAX_ESCAPED: usize = 12;
/// How far in front of a separator anything can count, however it is escaped; two more for what a window cuts.
const MAX_REACH: usize = MAX_ESCAPED * (MAX_BLANKS + MAX_QUOTES + MAX_NAME + 2);

/// A value whose name says what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pair {
    /// The value; empty if it is nothing.
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// It is an object or array, of which only the start is told.
    pub(crate) is_container: bool,
    pub(crate) meaning: Meaning,
}

/// Whether the byte at `at` separates a name from its value, and the name is that of no secret: the quick look at what bodies
/// and queries are made of, a name of letters in front, perhaps quoted, and no URL behind, nor an escape, which may hide one.
/// Escapes in front of it that are none of letters, digits and signs of names change nothing: a name would end in the same
/// three letters, or be one of two, which is never dismissed.
#[inline(always)]
pub(crate) fn is_dismissed(names: &Names, text: &[u8], at: usize) -> bool {
    let start = at.wrapping_sub(4);
    let Some(&[first, second, third, before, sign, behind]) = text.get(start..start.wrapping_add(6)) else {
        return false;
    };
    let front = u32::from_le_bytes([first, second, third, before]);
    let tail = if before == b'"' { front } else { front >> 8 };
    // Of all bytes that a walk stops at, those from `:` to `=` are the separators.
    sign.wrapping_sub(b':') <= b'=' - b':' && behind != b'/' && behind != b'\\' && names.dismisses(tail)
}

/// Whether no name that means something ends in front of a separator, by more than the last three letters: two more, as in
/// `description`; `_at`, where no name ends with these and the one in front of them. `front` ends at the separator.
#[inline]
pub(crate) fn is_dismissed_by_more(names: &Names, front: &[u8]) -> bool {
    let front = front.strip_suffix(b"\"").unwrap_or(front);
    front.last_chunk().is_some_and(|tail| names.dismisses_joined(u32::from_le_bytes(*tail)))
        || front.last_chunk().is_some_and(|tail| names.dismisses_five(tail))
}

/// [`is_dismissed`] where escapes of quotes, or more blanks, may be between the two. Other escapes there are for a full look.
pub(crate) fn is_dismissed_afar(names: &Names, text: &[u8], at: usize) -> bool {
    let between = |byte: &&u8| matches!(**byte, b'"' | b'\'' | b'`' | b'\\') || byte.is_ascii_whitespace();
    let skipped = text[..at].iter().rev().take(MAX_BLANKS + MAX_QUOTES).take_while(between).count();
    let name = &text[..at - skipped];
    !ends_escaped(name)
        && name.last_chunk().is_some_and(|[a, b, c]| names.dismisses(u32::from_le_bytes([*a, *b, *c, 0])))
}

/// Whether the last bytes are an escape, so that what they stand for comes behind the name.
fn ends_escaped(text: &[u8]) -> bool {
    matches!(
        text,
        [.., b'%', _, _] | [.., b';'] | [.., b'\\', _] | [.., b'\\', b'x', _, _] | [.., b'\\', b'u', _, _, _, _]
    )
}

/// Whether the colon at `at` is one of a time of the day, in front of which is no name however the text is written: no escape ends
/// with these bytes.
#[inline]
pub(crate) fn is_time(text: &[u8], at: usize) -> bool {
    text[..at].last_chunk().is_some_and(|front| is_behind_time(*front))
        && text.get(at + 1).is_some_and(u8::is_ascii_digit)
}

/// Whether a colon and a digit behind these bytes are of a time of the day.
#[inline(always)]
pub(crate) fn is_behind_time(front: [u8; 4]) -> bool {
    matches!(front, [_, b':' | b' ', b'0'..=b'9', b'0'..=b'9'] | [b'0'..=b'9', b'T', b'0'..=b'9', b'0'..=b'9'])
}

/// How far back a name in front of the separator at `at` reaches, with all that may be around and within it.
pub(crate) fn reach(text: &[u8], at: usize) -> usize {
    let most = MAX_MARK * (MAX_BLANKS + MAX_QUOTES) + MAX_NAME;
    at - text[..at].iter().rev().take(most).take_while(|byte| is_part(**byte)).count()
}

/// The same, with escapes in it and what is in front of all; as a length.
pub(crate) fn escaped_reach(text: &[u8], at: usize) -> usize {
    let is = |byte: &&u8| is_part(**byte) || matches!(**byte, b'%' | b'&' | b'#' | b';');
    (1 + text[..at].iter().rev().take(MAX_REACH).take_while(is).count()).min(at)
}

/// Whether a byte may be part of a name, or between it and its separator.
fn is_part(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'_' | b'-' | b'.' | b'$' | b'[' | b']' | 0x80..)
        || is_behind_name(byte)
}

/// Whether a URL may be behind the separator at `at` that has user information, in whatever escapes but of its own signs.
/// Separators come in order; `done` is how far those before it have been looked for what ends an authority, so that no byte
/// is looked at twice.
pub(crate) fn may_have_userinfo(text: &[u8], at: usize, done: &mut usize) -> bool {
    let behind = &text[at + 1..];
    let len = if behind.starts_with(b"//") { Some(2) } else { slashes_len(behind) };
    let Some(len) = len else { return false };
    let start = at + 1 + len;
    let limit = text.len().min(start + MAX_ESCAPED * MAX_USERINFO);
    let mut from = start.max(*done).min(limit);
    // But for the `#` of an entity.
    while let Some(len) = text[from..limit].iter().position(|byte| ENDS_AUTHORITY[usize::from(*byte)]) {
        from += len;
        if text[from] != b'#' || text[from - 1] != b'&' {
            *done = from;
            return text[from] == b'@';
        }
        from += 1;
    }
    *done = limit;
    false
}

/// What user information ends with, and what an authority ends with.
const ENDS_AUTHORITY: [bool; 256] = {
    let mut ends = [false; 256];
    let bytes = b"@/?\"<> #";
    let mut i = 0;
    while i < bytes.len() {
        ends[bytes[i] as usize] = true;
        i += 1;
    }
    ends
};

/// Whether the colon at `at` is one of a URL without user information, as [`may_have_userinfo`] told: it is behind no name
/// then, where there are no escapes.
#[inline]
pub(crate) fn is_plain_url(text: &[u8], at: usize) -> bool {
    text[at + 1..].starts_with(b"//") && text[..at].last().is_some_and(u8::is_ascii_alphanumeric)
}

/// Where the user information starts that a cut ends, so that it has no sign of one: of the last URL, if neither blank nor
/// quote is behind it. Half a port is none.
pub(crate) fn cut_userinfo(text: &[u8]) -> Option<usize> {
    let window = text.len().saturating_sub(MAX_ESCAPED * MAX_USERINFO);
    let ends = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'"' | b'<' | b'>');
    let from = text[window..].iter().rposition(ends).map_or(window, |last| window + last + 1);
    let start = memchr::memrchr_iter(b':', &text[from..])
        .find_map(|colon| slashes_len(&text[from + colon + 1..]).map(|len| from + colon + 1 + len))?;
    let authority = &text[start..];
    let ends = |(at, byte): (usize, &u8)| match byte {
        // Of an entity, which may be cut itself.
        b'#' => at == 0 || authority[at - 1] != b'&',
        byte => matches!(byte, b'/' | b'?' | b'@'),
    };
    let is_within = !authority.iter().enumerate().any(ends) && authority.first() != Some(&b'[');
    let password = &authority[memchr::memchr(b':', authority)? + 1..];
    let is_port = password.len() <= MAX_PORT && password.iter().all(u8::is_ascii_digit);
    (is_within && !is_port).then_some(start)
}

/// How long the two slashes are that a text starts with, in whatever escapes, and of texts within texts.
fn slashes_len(text: &[u8]) -> Option<usize> {
    let slash = |text: &[u8]| Layer::sign(text).filter(|(_, byte)| *byte == b'/').map(|(len, _)| len);
    let first = slash(text)?;
    Some(first + slash(&text[first..])?)
}

/// The pair whose separator, `:` or `=`, is at `at`. `credentials` is the kind of user information; `done` is how far
/// pairs have been found.
#[inline]
pub(crate) fn at(names: &Names, credentials: Option<KindId>, text: &[u8], at: usize, done: &mut usize) -> Option<Pair> {
    if at < *done {
        return None;
    }
    // Mostly a quote is in front of it, and the name in front of that; or the name alone.
    let near = match text[..at].last() {
        Some(b'"') if at > *done => at - 1,
        _ => at,
    };
    let is_url = text.get(at + 1) == Some(&b'/');
    match text[..near].last() {
        Some(letter) if letter.is_ascii_alphabetic() && !is_url && !names.may_end(&text[*done..near]) => return None,
        // A time of the day: numbers alone name nothing.
        Some(digit) if digit.is_ascii_digit() => {
            let run = text[*done..near].iter().rev().take(3).take_while(|byte| byte.is_ascii_digit()).count();
            if run == 2 && near >= *done + 4 {
                let [before, in_front] = [text[near - 4], text[near - 3]];
                if in_front == b':' || in_front == b' ' || in_front == b'T' && before.is_ascii_digit() {
                    return None;
                }
            }
        }
        _ => {}
    }
    slowly_at(names, credentials, text, at, done)
}

fn slowly_at(names: &Names, credentials: Option<KindId>, text: &[u8], at: usize, done: &mut usize) -> Option<Pair> {
    if text[at] == b':' && text.get(at + 1..at + 3) == Some(b"//") {
        let len = userinfo_len(&text[at + 3..])?;
        let meaning = Meaning::Secret(credentials?);
        *done = at + 3 + len;
        return Some(Pair { start: at + 3, end: *done, is_container: false, meaning });
    }
    let name_end = name_end(text, *done, at);
    // `user[pin][0]`: the last word alone says nothing.
    let is_path = name_end > *done && text[name_end - 1] == b']';
    if !is_path && !names.may_end(&text[*done..name_end]) {
        return None;
    }
    let is_name = |byte: &u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'$' | b'[' | b']') || *byte >= 0x80
    };
    let run = |is: &dyn Fn(&u8) -> bool| {
        name_end - text[*done..name_end].iter().rev().take(MAX_NAME).take_while(|byte| is(byte)).count()
    };
    // In brackets a blank may be one that nobody meant, and a word may be in quotes: `user["pin"][0]`.
    let mut start = run(&|byte| is_name(byte) || is_path && is_behind_name(*byte));
    if !text[start..name_end].is_ascii() {
        start += marks::last_end(&text[start..name_end]).unwrap_or(0);
        start += blank_end(&text[start..name_end]);
    }
    let mut meaning = names.meaning_of_path(&text[start..name_end]);
    if meaning.is_none() && matches!(text[*done..start], [.., b' '] | [.., 0xc2, 0xa0]) {
        // Of several words: `verification code: 1234`.
        let words = &text[run(&|byte| is_name(byte) || *byte == b' ')..name_end];
        meaning = names.meaning(&words[marks::last_end(words).unwrap_or(0)..]);
    }
    let meaning = meaning.filter(|meaning| *meaning != Meaning::Harmless)?;
    let name = &text[start..name_end];
    let (start, mut end) = value(text, at);
    if text[at] == b'=' && name.last_chunk().is_some_and(|last: &[u8; 6]| last.eq_ignore_ascii_case(b"cookie")) {
        end += cookies_len(&text[end..]);
    }
    let secret = &text[start..end];
    if secret.len() == 1 && name.eq_ignore_ascii_case(b"accesskey") {
        // The key of a keyboard, in HTML.
        return None;
    }
    if is_secret(secret) {
        // What is called may be given pairs: `dict(token="…")`.
        let called = secret.get(..MAX_CALL).unwrap_or(secret);
        *done = memchr::memchr(b'(', called).filter(|_| secret.len() < MAX_CALL).map_or(end, |len| start + len);
    }
    Some(Pair { start, end, is_container: start == end && matches!(text.get(start), Some(b'{' | b'[')), meaning })
}

/// Where the last no-break blank of a text ends.
fn blank_end(text: &[u8]) -> usize {
    memchr::memrchr_iter(0xa0, text).find(|at| text[..*at].ends_with(&[0xc2])).map_or(0, |at| at + 1)
}

/// Where the name ends whose separator is at `at`: in front of quotes and blanks, in whatever order mistakes put them.
fn name_end(text: &[u8], floor: usize, at: usize) -> usize {
    let floor = floor.min(at);
    let is_behind = |byte: &&u8| is_behind_name(**byte);
    let most = MAX_BLANKS + MAX_QUOTES;
    let skipped = text[floor..at].iter().rev().take(most).take_while(is_behind).count();
    let mut front = &text[floor..at - skipped];
    // Typeset quotes are rare.
    for _ in skipped..most {
        front = match front {
            [front @ .., last] if is_behind_name(*last) => front,
            [front @ .., 0xc2, 0xa0] => front,
            front => match marks::len_at_end(front) {
                Some(len) => &front[..front.len() - len],
                None => break,
            },
        };
    }
    floor + front.len()
}

/// Whether a byte may stand between a name and its separator by mistake: quotes, blanks, control characters.
pub(crate) fn is_behind_name(byte: u8) -> bool {
    byte <= b' ' || matches!(byte, b'"' | b'\'' | b'\\' | b'`')
}

/// What is between a separator and its value.
struct Front {
    /// Where the value, or the quote in front of it, starts.
    start: usize,
    has_blanks: bool,
    has_escapes: bool,
}

/// What is behind the separator at `at` that is no value yet.
fn value_front(text: &[u8], at: usize) -> Front {
    let mut start = at + 1;
    let mut skip = |most: usize, is: fn(u8) -> bool| {
        let count = text[start..].iter().take(most).take_while(|byte| is(**byte)).count();
        start += count;
        count
    };
    // `:=`, `=>`, `==`.
    skip(2, |byte| matches!(byte, b'=' | b'>' | b':'));
    let mut blanks = skip(MAX_BLANKS, |byte| byte.is_ascii_whitespace() || matches!(byte, 0xc2 | 0xa0));
    // The first byte of a character that is no blank.
    if blanks > 0 && text[start - 1] == 0xc2 {
        (start, blanks) = (start - 1, blanks - 1);
    }
    let escapes = text[start..].iter().take(MAX_QUOTES).take_while(|byte| **byte == b'\\').count();
    start += escapes;
    start += comment_len(&text[start..]);
    Front { start, has_blanks: blanks > 0, has_escapes: escapes > 0 }
}

/// The value behind the separator at `at`.
fn value(text: &[u8], at: usize) -> (usize, usize) {
    let Front { start, has_blanks, has_escapes } = value_front(text, at);
    let rest = &text[start..];
    if let Some(inner) = rest.strip_prefix(b"\"\"\"") {
        let len = memchr::memmem::find(inner, b"\"\"\"").unwrap_or(inner.len());
        return (start + 3, start + 3 + len);
    }
    match rest.first() {
        Some(quote @ (b'"' | b'\'' | b'`')) => (start + 1, start + 1 + quoted_len(&rest[1..], *quote, has_escapes)),
        // Brackets hold values of their own, unless they are part of one (`{SSHA}…`).
        Some(open @ (b'{' | b'[')) if !is_prefix(rest, *open) => (start, start),
        Some(0x80..) if let Some((front, len, _)) = marks::quoted(rest) => (start + front, start + front + len),
        _ => {
            let is_header = text[at] == b':' && has_blanks;
            let scheme = if is_header { 0 } else { scheme_len(rest) };
            let bare = &rest[..scheme + bare_len(&rest[scheme..], is_header)];
            let len = number_len(bare).unwrap_or(bare.trim_ascii_end().len());
            match rest.get(len) {
                // `u"…"`, `String("…")`.
                Some(quote @ (b'"' | b'\'')) if len == 1 || rest[..len].ends_with(b"(") => {
                    (start, start + len + 1 + quoted_len(&rest[len + 1..], *quote, has_escapes))
                }
                _ => (start, start + len),
            }
        }
    }
}

/// How long a number is that an escaped blank is behind, as in JSON of several lines within a string.
fn number_len(text: &[u8]) -> Option<usize> {
    let is_number = |byte: &&u8| byte.is_ascii_digit() || matches!(**byte, b'-' | b'.');
    let len = text.iter().take_while(is_number).count();
    let behind = &text[len..];
    let backslashes = behind.iter().take_while(|byte| **byte == b'\\').count();
    (len > 0 && backslashes > 0 && matches!(behind.get(backslashes), Some(b'n' | b'r' | b't'))).then_some(len)
}

/// How long the comments and blanks are that a value may be behind.
fn comment_len(text: &[u8]) -> usize {
    let window = text.get(..MAX_USERINFO).unwrap_or(text);
    let end = match window {
        [b'/', b'*', ..] => memchr::memmem::find(window, b"*/").map(|len| len + 2),
        [b'/', b'/', b' ' | b'\t', ..] => memchr::memchr(b'\n', window),
        _ => None,
    };
    end.map_or(0, |end| end + window[end..].len() - window[end..].trim_ascii_start().len())
}

/// Whether brackets around a word are the beginning of a value: `{noop}secret`.
fn is_prefix(text: &[u8], open: u8) -> bool {
    let close = if open == b'{' { b'}' } else { b']' };
    let is_word = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(**byte, b'_' | b'-');
    let len = text[1..].iter().take(MAX_NAME).take_while(is_word).count();
    let behind =
        text.get(len + 2).is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'$' | b'/' | b'+'));
    // Go prints types as `[]string`.
    (len > 0 || open == b'{') && text.get(len + 1) == Some(&close) && behind
}

/// How long a scheme of authentication is that a value starts with, and the blank behind it, where a credential follows: as
/// programs print header fields, `authorization=Bearer …`. Some of the schemes of header fields only: `key` is a word of any text.
pub(crate) fn scheme_len(text: &[u8]) -> usize {
    const SCHEMES: &[&str] =
        &["apikey", "basic", "bearer", "dpop", "jwt", "negotiate", "ntlm", "oauth", "ssws", "token"];
    const LEAST: usize = 4;
    let len = text.iter().take(MAX_NAME).take_while(|byte| byte.is_ascii_alphabetic()).count();
    let Some(b' ') = text.get(len) else { return 0 };
    if !is_one_of(&text[..len], SCHEMES) {
        return 0;
    }
    let behind = &text[len + 1..];
    let word = &behind[..bare_len(behind, false)];
    // Another pair is none, but base64 ends with signs of equality.
    let is_pair = word.iter().skip_while(|byte| !matches!(byte, b'=' | b':')).any(u8::is_ascii_alphanumeric);
    if word.len() >= LEAST && !is_pair { len + 1 } else { 0 }
}

/// How long the further cookies are behind one, as programs print maps of header fields: `{cookie=a=1; b=2, host=h}`.
fn cookies_len(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(rest) = text[at..].strip_prefix(b";") {
        let blanks = rest.len() - rest.trim_ascii_start().len();
        let len = bare_len(&rest[blanks..], false);
        let is_cookie = rest[blanks..blanks + len].contains(&b'=') || rest.get(blanks + len) == Some(&b';');
        if !is_cookie || blanks > MAX_BLANKS {
            break;
        }
        at += 1 + blanks + len;
    }
    at
}

/// How long a value is that is not in quotes. That of a header reaches to the end of its line; any other to a blank, or to a
/// sign that separates if what is behind it looks like that.
pub(crate) fn bare_len(text: &[u8], is_header: bool) -> usize {
    let mut at = 0;
    let mut is_quoted = false;
    while let Some(byte) = text.get(at) {
        match byte {
            b'\r' | b'\n' | b'<' | b'>' | 0 => break,
            // `Digest username="x", response="…"`.
            b'"' if is_header && at > 0 && text[at - 1] == b'=' => {
                let rest = &text[at + 1..];
                let window = rest.get(..MAX_USERINFO).unwrap_or(rest);
                match memchr::memchr3(b'"', b'\r', b'\n', window) {
                    Some(len) if rest[len] == b'"' => (at, is_quoted) = (at + len + 1, true),
                    _ => break,
                }
            }
            b'"' => break,
            b',' | b'}' | b']' if is_header && !is_quoted && separates(&text[at + 1..]) => break,
            _ if is_header => {}
            b' ' | b'\t' | b'&' | b'\\' => break,
            b',' | b';' | b')' | b'}' | b']' | b'\'' if separates(&text[at + 1..]) => break,
            _ => {}
        }
        at += 1;
    }
    at
}

/// Whether what is behind a sign lets it end a value: nothing, a blank, a quote, another sign, or another pair.
fn separates(behind: &[u8]) -> bool {
    let is_name =
        |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(**byte, b'_' | b'-' | b'.' | b'[' | b']' | b'$');
    // Those of what it stands in.
    let closing = behind.iter().take(MAX_NAME).take_while(|byte| matches!(byte, b'}' | b']')).count();
    let behind = &behind[closing..];
    let name = behind.iter().take(MAX_NAME).take_while(is_name).count();
    match behind.get(name) {
        None => name == 0,
        Some(b'=' | b':') => true,
        Some(byte) => {
            name == 0 && !matches!(byte, b'%' | b'/' | b'+' | b'!' | b'#' | b'*' | b'?' | b'~' | b'^' | b'(' | 0x80..)
        }
    }
}

/// How long a quoted text is. Within a text that is itself escaped, the first such quote ends it, with the backslashes
/// in front of it.
fn quoted_len(text: &[u8], quote: u8, is_escaped: bool) -> usize {
    let mut from = 0;
    while let Some(at) = text.get(from..).and_then(|rest| memchr::memchr2(quote, b'\\', rest)) {
        let at = from + at;
        if text[at] == quote || is_escaped {
            return at;
        }
        from = at + 2;
    }
    text.len()
}

/// Whether there is anything to hide.
pub(crate) fn is_secret(value: &[u8]) -> bool {
    !matches!(value.trim_ascii(), b"" | b"null" | b"true" | b"false" | b"None" | b"undefined")
}

/// How long the user information is that a URL's authority starts with.
pub(crate) fn userinfo_len(authority: &[u8]) -> Option<usize> {
    let window = authority.get(..MAX_USERINFO).unwrap_or(authority);
    let is_letter = |at: usize| window.get(at).is_some_and(u8::is_ascii_alphanumeric);
    let ends = |(at, byte): (usize, &u8)| match byte {
        // Within a word it is part of it; elsewhere it encloses the URL.
        b'\'' => at == 0 || !is_letter(at - 1) || !is_letter(at + 1),
        b'/' | b'?' | b'#' | b'"' | b'<' | b'>' | b'\\' => true,
        byte => byte.is_ascii_whitespace(),
    };
    let end = window.iter().enumerate().position(ends).unwrap_or(window.len());
    memchr::memrchr(b'@', &window[..end]).filter(|len| *len > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<&str> {
        let mut names = Names::new();
        for name in ["*password", "*token", "pin", "authorization"] {
            names.add(name, Meaning::Secret(KindId(1)));
        }
        let mut done = 0;
        let signs = text.match_indices([':', '=']).map(|(sign, _)| sign);
        let pairs = signs.filter_map(|sign| at(&names, Some(KindId(1)), text.as_bytes(), sign, &mut done));
        pairs.map(|pair| &text[pair.start..pair.end]).filter(|value| is_secret(value.as_bytes())).collect()
    }

    #[test]
    fn values_are_found_by_their_names() {
        assert_eq!(found("user=a password=b c"), ["b"]);
        assert_eq!(found("password: correct horse\nx"), ["correct horse"]);
        assert_eq!(found(r#"{"newPassword": "a\"b", "pin":1234}"#), [r#"a\"b"#, "1234"]);
        assert_eq!(found(r#"{\"password\":\"secret\",\"x\":1}"#), ["secret"]);
        assert_eq!(found("https://h/?token=abc&x=1#f"), ["abc"]);
        assert_eq!(found("Authorization: Bearer xyz\r\nA: b"), ["Bearer xyz"]);
        assert_eq!(found("postgres://me:hunter2@db/x"), ["me:hunter2"]);
        assert_eq!(found("https://me:o'hunter2@h/"), ["me:o'hunter2"]);
        assert_eq!(found("['https://h','me@x']"), [""; 0]);
        let long = format!("https://x:{}@h", "e".repeat(5000));
        assert_eq!(found(&long), [&long[8..5010]]);
        assert_eq!(found("a[pin]=1&b[password][0]=2&c.pin=3"), ["1", "2", "3"]);
        assert_eq!(found("password => 'x y'"), ["x y"]);
        assert_eq!(
            found("a[\"pin\"]=1&b['password'][0] = 2\nc[\\\"pin\\\"]=3 \"password\"]key]=4"),
            ["1", "2", "3", "4"]
        );
        assert_eq!(found("password='unclosed"), ["unclosed"]);
        assert_eq!(found("password: £ab, password=\u{a0}£c"), ["£ab", "£c"]);
        assert_eq!(found("password=\u{a0}£c d"), ["£c"]);
        // As programs for writing have it.
        assert_eq!(found("“user”: “a”, “password”: “x y”, “b”: “c”"), ["x y"]);
        assert_eq!(
            found("‘pin’=‘1’ «new password» : «2 3» „token“:„4“ {“pin”: \"5\"} “pin”: 6"),
            ["1", "2 3", "4", "5", "6"]
        );
        assert_eq!(found("“password”: “unclosed x\nnext line”"), ["unclosed x\nnext line"]);
        assert_eq!(found("“pin”: “it’s 1” ‘pin’: ‘don’t 2’ “pin”: “«3»”"), ["it’s 1", "don’t 2", "«3»"]);
        assert_eq!(found("“password” “x”, he said: “spin”: “y”, pass”: z, ”: w, “”: v"), [""; 0]);
    }

    /// A quote in front of a separator may be the end of what was found before.
    #[test]
    fn what_was_found_is_not_looked_at_again() {
        let mut names = Names::new();
        names.add("*password", Meaning::Secret(KindId(1)));
        let text = b"password\"=x";
        for mut done in 0..=text.len() {
            let found = at(&names, None, text, 9, &mut done);
            assert!(found.is_none_or(|pair| pair.start == 10), "{done}");
        }
    }

    #[test]
    fn others_are_left_alone() {
        for text in
            ["password=", "password: null", "spin=1", "http://h/a@b", "x:y=z", "password", "=", ":", "token: {}"]
        {
            assert!(found(text).is_empty(), "{text}");
        }
    }
}
