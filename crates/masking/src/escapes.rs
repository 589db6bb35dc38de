//! Escapes that need not be decoded: what most of them stand for is no part of anything that is looked for.
//!
//! A text of JSON has escapes of quotes, line ends and letters beyond ASCII everywhere, and to decode whatever has one would cost
//! more than all else. A look over a text asks here, at each sign that escapes start with, whether it may hide something; and at
//! each separator or tag behind an escape, whether it says more when it is decoded. What is not certain is decoded.

use wide::u8x16;

use crate::layer::{Layer, MAX_BACKSLASHES, UNIT, View, starts_foreign};
use crate::member::Role;
use crate::policy::Policy;
use crate::{markup, member, pairs};

/// Bytes of the longest entity but for its first.
const MAX_ENTITY: usize = 12;
/// Longer names of elements are looked at in full.
const MAX_TAG: usize = 64;
/// Tags with escapes in them that are longer are looked at in full.
const MAX_DECODED_TAG: usize = 2048;
/// How often a place behind escapes is decoded, and for how many bytes of a text once more.
pub(crate) const MAX_DECODED: usize = 32;
pub(crate) const DECODED_EVERY: usize = 512;
/// How near to digits a blank or a dash may separate groups of theirs, in bytes.
const GROUPS: usize = 40;
/// No secret that a literal announces is shorter; nor is one of digits that begins with letters.
const MIN_WORD: usize = 12;
/// How near to a cut every escape counts.
const TAIL: usize = 64;

/// What is known of the escapes of a text that is looked over from its start to its end.
#[derive(Default)]
pub(crate) struct Escapes {
    /// Where the latest ends; zero if there was none.
    latest: usize,
    decoded: usize,
    at_cut: bool,
    has_numeric: bool,
    views: (View, View),
}

impl Escapes {
    /// Nothing was looked at yet.
    pub(crate) fn start(&mut self, at_cut: bool) {
        (self.latest, self.decoded, self.at_cut, self.has_numeric) = (0, 0, at_cut, false);
    }

    /// Whether there was an entity of a number (`&#112;`): what is split at ampersands says something else without it.
    pub(crate) fn has_numeric(&self) -> bool {
        self.has_numeric
    }

    /// Whether there was an escape.
    #[inline]
    pub(crate) fn is_any(&self) -> bool {
        self.latest > 0
    }

    /// Whether the sign at `at`, with what is behind it, is an escape that hides no name: of a quote, a slash or a line's end.
    #[inline]
    pub(crate) fn is_letter(&mut self, sign: [u8; 2], at: usize) -> bool {
        let is_letter = matches!(sign, [b'\\', b'"' | b'n' | b'/' | b't' | b'r' | b'\'']) && at >= self.latest;
        if is_letter {
            self.latest = at + 2;
        }
        is_letter
    }

    /// Whether the sign at `at` starts an escape that may hide something.
    pub(crate) fn hides(&mut self, policy: &Policy, text: &[u8], at: usize) -> bool {
        if at < self.latest {
            return false;
        }
        // Most are of these.
        if let Some(sign) = text[at..].first_chunk()
            && (!policy.has_text || sign[1] != b'/' && policy.patterns.is_empty() && !self.is_near_cut(text, at + 2))
            && self.is_letter(*sign, at)
        {
            return false;
        }
        if !policy.has_text && starts_foreign(&text[at..]) {
            self.latest = at + UNIT;
            return policy.fields.has_foreign;
        }
        let last = match text[at] {
            b'\\' => {
                let more = text[at + 1..].iter().take(MAX_BACKSLASHES + 1).take_while(|byte| **byte == b'\\').count();
                if more > MAX_BACKSLASHES {
                    return true;
                }
                at + more
            }
            // Of a query.
            b'&' if !is_entity(&text[at + 1..]) => return false,
            sign => {
                if sign == b'&' && text.get(at + 1) == Some(&b'#') {
                    self.has_numeric = true;
                    // With more zeros in front than a name is looked for behind.
                    if let Some((taken, ..)) = Layer::Any.escape(&text[at..]).filter(|(len, ..)| *len > 1 + MAX_ENTITY)
                    {
                        self.latest = at + taken;
                        return true;
                    }
                }
                at
            }
        };
        // Whatever the text is in, what is behind the last of several backslashes is as it is, or what that makes of it.
        let Some((taken, bytes, len)) = Layer::Any.escape(&text[last..]) else {
            // Of texts within texts a cut may go through an escape of the inner one.
            self.latest = if last > at { last + 1 } else { self.latest };
            return last > at && self.is_near_cut(text, last);
        };
        let end = last + taken;
        self.latest = end;
        let is_letter = text[last] == b'\\' && taken == 2;
        if taken == 4 && !bytes[0].is_ascii() {
            // `\xbb`, a quote, looks like letters in front of a separator.
            return true;
        }
        if policy.has_text {
            self.hides_text(policy, text, (at, end), &bytes[..len], is_letter)
        } else {
            !is_letter && hides_name(policy, text, end, &bytes[..len], text[at])
        }
    }

    /// Whether an escape may hide something that detectors look for.
    fn hides_text(
        &self,
        policy: &Policy,
        text: &[u8],
        (start, end): (usize, usize),
        bytes: &[u8],
        is_letter: bool,
    ) -> bool {
        // What an own expression looks for is not known, nor is what a cut took away.
        if !policy.patterns.is_empty() || self.is_near_cut(text, end) {
            return true;
        }
        let front = &text[start.saturating_sub(GROUPS)..start];
        let behind = &text[end..];
        let groups = || has_digits(front.iter().rev()) || has_digits(behind.iter().take(GROUPS));
        if is_letter {
            return match text[end - 1] {
                // Between the groups of a card, in a phone number; and in the address of a hook.
                b'/' => {
                    end - start > 2
                        || front.last_chunk::<4>().is_some_and(|group| group.iter().all(u8::is_ascii_digit))
                            && behind.first_chunk::<4>().is_some_and(|group| group.iter().all(u8::is_ascii_digit))
                        || front.last().is_some_and(is_in_phone) && front.contains(&b'+')
                        || front.ends_with(b"hooks.slack.com")
                }
                // They are digits of IPv6 addresses, too.
                b'b' | b'f' => starts_something(behind),
                // Words start behind these; quotes are no part of anything.
                b'n' | b't' | b'r' | b'"' | b'\'' => false,
                _ => true,
            };
        }
        if text[start] == b'%' || hides_name(policy, text, end, bytes, text[start]) {
            return true;
        }
        match bytes {
            b"<" | b">" | b"\n" | b"\t" | b"\r" | b"&" => starts_something(behind),
            // Blanks, dashes, and what is in phone numbers and addresses.
            [_] | [0xc2, 0xa0] | [0xe2, 0x80, _] => groups() || starts_something(behind),
            _ => starts_something(behind),
        }
    }

    fn is_near_cut(&self, text: &[u8], at: usize) -> bool {
        self.at_cut && at + TAIL > text.len()
    }

    /// Whether the latest escape ends within the last `len` bytes in front of `at`, or at the byte in front of them.
    fn is_within(&self, at: usize, len: usize) -> bool {
        self.latest > 0 && self.latest + len >= at
    }

    /// Whether the separator at `at`, in front of which is no name as it is written, has one when it is decoded.
    pub(crate) fn name(&mut self, policy: &Policy, text: &[u8], at: usize) -> bool {
        // What may be a name in front of it is written without escapes, and ends at something that is none.
        self.latest > 0
            && self.is_within(at, at - pairs::reach(text, at))
            && !pairs::is_dismissed_afar(&policy.fields, text, at)
            && self.decoded_name(policy, text, at)
    }

    fn decoded_name(&mut self, policy: &Policy, text: &[u8], at: usize) -> bool {
        if self.is_spent(text.len()) {
            return true;
        }
        let (view, next) = (&mut self.views.0, &mut self.views.1);
        let from = at - pairs::escaped_reach(text, at);
        view.text.clear();
        view.text.extend_from_slice(&text[from..at]);
        loop {
            let end = view.text.len();
            view.text.push(text[at]);
            if pairs::at(&policy.fields, policy.credentials, &view.text, end, &mut 0).is_some()
                || member::is_typeset_role(&view.text, end)
            {
                return true;
            }
            view.text.truncate(end);
            if !Layer::Any.has_escapes(&view.text) {
                return false;
            }
            Layer::Any.decode(&view.text, |i| i as u32, next);
            std::mem::swap(view, next);
        }
    }

    /// Whether the tag at `at`, which says nothing as it is written, may do so when it is decoded: with line ends in it.
    pub(crate) fn tag(&mut self, policy: &Policy, text: &[u8], at: usize) -> bool {
        let rest = &text[at + 1..];
        if !starts_name(rest) {
            return false;
        }
        let ends = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'>' | b'/' | b'<' | b'\\' | b'%' | b'&');
        let name_len = rest.iter().take(MAX_TAG).take_while(|byte| !ends(byte)).count();
        let Some(end) = markup::tag_end(&rest[name_len..]).map(|end| name_len + end) else { return true };
        let content = match rest.get(end) {
            Some(b'>') => end + 1 + memchr::memchr(b'<', &rest[end + 1..]).unwrap_or(rest.len() - end - 1),
            _ => end,
        };
        // Quotes are read as they are; other escapes in values do not change what a tag is.
        let is_written = |part: &[u8]| {
            memchr::memchr3_iter(b'\\', b'%', b'&', part).all(|at| {
                matches!(part[at..], [b'\\', b'"' | b'\'' | b'/' | b'\\', ..])
                    || Layer::Any.escape(&part[at..]).is_none_or(|(_, [byte, ..], _)| !byte.is_ascii() || byte == b'&')
            })
        };
        let names = member::role(markup::local(&rest[..name_len])) == Some(Role::Names);
        let is_tag_written = is_written(&rest[..end]);
        let content = if names || !is_tag_written { content.min(end + MAX_DECODED_TAG) } else { end };
        if is_tag_written && is_written(&rest[end..content]) {
            return false;
        }
        if content > 2 * MAX_DECODED_TAG || self.is_spent(text.len()) {
            return true;
        }
        let (view, next) = (&mut self.views.0, &mut self.views.1);
        Layer::Any.decode(&text[at..at + 1 + content], |i| i as u32, view);
        loop {
            if markup::may_name(policy, &view.text, 0) {
                return true;
            }
            if !Layer::Any.has_escapes(&view.text) {
                return false;
            }
            Layer::Any.decode(&view.text, |i| i as u32, next);
            std::mem::swap(view, next);
        }
    }

    /// Whether an address may be around the `@` at `at`, in which none is as it is written.
    pub(crate) fn address(&self, text: &[u8], at: usize) -> bool {
        let front = &text[..at];
        let front = &front[..front.iter().rposition(|byte| !matches!(byte, b'.' | b'\'')).map_or(0, |last| last + 1)];
        let is_domain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte >= 0x80 || matches!(byte, b'-' | b'.');
        let behind = text[at + 1..].iter().take(MAX_DECODED_TAG).find(|byte| !is_domain(byte));
        front.ends_with(b";")
            || self.latest > 0 && self.latest == front.len()
            || matches!(behind, Some(b'\\' | b'%' | b'&'))
    }

    /// Counts what is decoded: what is to be decoded again and again is looked at in full.
    fn is_spent(&mut self, len: usize) -> bool {
        self.decoded += 1;
        self.decoded > MAX_DECODED + len / DECODED_EVERY
    }

    #[cfg(test)]
    pub(crate) fn decoded(&self) -> usize {
        self.decoded
    }
}

/// Whether what an escape stands for may be part of a name, a separator, or a sign that another escape is made of. `end` is
/// where it ends, and `sign` what it starts with.
fn hides_name(policy: &Policy, text: &[u8], end: usize, bytes: &[u8], sign: u8) -> bool {
    match bytes {
        [b'<'] => may_be_tag(policy, &text[end..]),
        // A blank that is written as an entity separates words; in a name of several a word is behind it.
        [b' '] => {
            let word = &text[end..];
            let len = word.iter().take(MAX_TAG).take_while(|byte| byte.is_ascii_alphanumeric()).count();
            sign != b'&' || len > 0 && (len < 3 || fields_may_end(policy, &word[..len]))
        }
        [b'&'] => !text.get(end).is_some_and(u8::is_ascii_whitespace),
        // A quote may be that of a member which names another.
        [byte] if byte.is_ascii() => !matches!(
            byte,
            b'\''
                | b'`'
                | b'\n'
                | b'\r'
                | b'\t'
                | 8
                | 12
                | b'>'
                | b'('
                | b')'
                | b'{'
                | b'}'
                | b','
                | b'!'
                | b'?'
                | b'*'
        ),
        // Percent-encoded ones come byte by byte.
        [_, ..] => policy.fields.has_foreign,
        [] => true,
    }
}

/// Whether the name of a field or header may end so.
fn fields_may_end(policy: &Policy, word: &[u8]) -> bool {
    policy.fields.may_end(word) || policy.headers.may_end(word)
}

/// Whether a byte may be within a phone number.
fn is_in_phone(byte: &u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'+' | b' ' | b'-' | b'.' | b'(' | b')' | b'/' | b';' | 0x80..)
}

/// Whether there is a digit before anything that is not within a number of whatever groups.
fn has_digits<'a>(bytes: impl Iterator<Item = &'a u8>) -> bool {
    let within =
        |byte: &&u8| !matches!(**byte, 0..=0x1f | b'"' | b'<' | b'>' | b'=' | b':' | b',' | b'{' | b'}' | b'[' | b']');
    bytes.take_while(within).any(u8::is_ascii_digit)
}

/// Whether what is behind an ampersand may be an entity.
pub(crate) fn is_entity(rest: &[u8]) -> bool {
    let zeros = match rest {
        [b'#', b'x' | b'X', digits @ ..] | [b'#', digits @ ..] => {
            digits.iter().take_while(|byte| **byte == b'0').count()
        }
        _ => 0,
    };
    let rest = &rest[zeros..];
    // In queries, which most are of, nothing of the kind is near.
    let has_end = match (rest.first_chunk::<16>(), rest.first_chunk(), rest.last_chunk()) {
        (Some(near), ..) => u8x16::from(*near).simd_eq(u8x16::splat(b';')).to_bitmask() & ((1 << MAX_ENTITY) - 1) != 0,
        (None, Some(first), Some(last)) => has_semicolon(*first) || has_semicolon(*last),
        _ => rest.contains(&b';'),
    };
    if !has_end {
        return false;
    }
    rest.iter().take(MAX_ENTITY).find(|byte| !byte.is_ascii_alphanumeric() && **byte != b'#') == Some(&b';')
}

/// Whether one of eight bytes is a semicolon: made zero, it is what is less than one, and had no highest bit.
const fn has_semicolon(bytes: [u8; 8]) -> bool {
    const ONES: u64 = u64::MAX / 0xff;
    let zeroed = u64::from_ne_bytes(bytes) ^ (ONES * b';' as u64);
    zeroed.wrapping_sub(ONES) & !zeroed & ONES << 7 != 0
}

/// Whether what is behind a `<` that is written as an escape may be a tag that says something.
fn may_be_tag(policy: &Policy, rest: &[u8]) -> bool {
    let len = rest.iter().take(MAX_TAG).take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
    if len == 0 {
        return starts_name(rest);
    }
    !is_closed(&rest[len..]) || policy.fields.may_end(&rest[..len]) || member::role(&rest[..len]).is_some()
}

/// Whether what is behind a `<` may be the name of an element, perhaps in escapes.
fn starts_name(rest: &[u8]) -> bool {
    Layer::sign(rest).is_some_and(|(_, byte)| markup::is_name_start(&byte))
}

/// Whether a tag ends here: with a `>`, perhaps behind a slash, both perhaps in escapes. Other escapes may be of a blank, with
/// attributes behind it.
fn is_closed(rest: &[u8]) -> bool {
    let sign = |rest: &[u8]| match Layer::sign(rest)? {
        // Of an ampersand that is one itself: `&amp;gt;`.
        (len, b'&') if rest[len..].starts_with(b"gt;") => Some((len + 3, b'>')),
        sign => Some(sign),
    };
    match sign(rest) {
        Some((len, b'/')) => sign(&rest[len..]).is_some_and(|(_, byte)| byte == b'>'),
        Some((_, byte)) => byte == b'>',
        None => false,
    }
}

/// Whether what follows an escape directly may be the start of something that has to be that of a word, which an escape's last
/// letter conceals.
fn starts_something(behind: &[u8]) -> bool {
    let is_word =
        |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(**byte, b'_' | b'-' | b'.' | b'+' | b'/' | b'=' | b':');
    let len = behind.iter().take(MIN_WORD).take_while(is_word).count();
    let (run, rest) = behind.split_at(len);
    let is_part = |byte: &u8| byte.is_ascii_hexdigit() || *byte == b':';
    len == MIN_WORD
        || run.first() == Some(&b'+')
        || run.iter().any(u8::is_ascii_digit)
        || run.windows(2).any(|pair| pair[0] == b':' && is_part(&pair[1]))
        // With slashes that are escaped.
        || matches!(rest, [b'\\', b'/' | b'\\', ..])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use crate::Action;
    use crate::detect::Detector;
    use crate::finding::Side;
    use crate::masker::{MaskedBody, Masker};
    use crate::policy::{FieldRule, Policy, Settings};

    fn policy(has_detectors: bool) -> Arc<Policy> {
        let mut settings = Settings { key: vec![7; 32], ..Settings::default() };
        if has_detectors {
            settings.detectors = Detector::ALL.map(|detector| (detector, Action::Redact)).into();
        }
        Arc::new(Policy::new(&settings).unwrap())
    }

    fn masked(policy: &Arc<Policy>, text: &str, content_type: &str, at_cut: bool, is_thorough: bool) -> String {
        let mut masker = Masker::new(Arc::clone(policy));
        masker.engine.is_thorough = is_thorough;
        masker.begin();
        let body = match masker.body(Side::Request, Some(content_type.as_bytes()), text.as_bytes(), at_cut) {
            MaskedBody::Kept => "kept".to_owned(),
            MaskedBody::Replaced(text) => String::from_utf8_lossy(text).into_owned(),
            MaskedBody::Dropped => "dropped".to_owned(),
        };
        let findings: Vec<_> = masker.findings().map(|finding| format!("{finding:?}")).collect();
        format!("{body} {findings:?} {}", masker.found())
    }

    const JOINTS: &str =
        "( |-|/|\\\\/|\\\\u00a0|\\\\u2009|\\\\u2010|\\\\\\\\u00a0|\\\\\\\\/|\\\\u0020|&nbsp;|%20|%C2%A0|\u{a0})";
    const FRONTS: &str = "(\\\\n|\\\\r|\\\\t|\\\\b|\\\\f|\\\\\"|\\\\/|\\\\\\\\|\\\\\\\\n|\\\\\\\\\"|\\\\\\\\\\\\\"|\\\\u00e9|\\\\\\\\u00e4|\\\\u003c|\\\\x0b|&lt;|&gt;|&amp;|&amp; |&#39;|&#233;|é| |x|\\\\ud83d\\\\ude00|<b>)";

    fn numbers() -> impl Strategy<Value = String> {
        let groups = prop::sample::select(vec![
            "4111 1111 1111 1111",
            "3782 822463 10005",
            "DE89 3704 0044 0532 0130 00",
            "GB29 NWBK 6016 1331 9268 19",
            "MT84MALT MTLCAST001S",
            "+49 89 1234 5678",
            "+1 (212)5550100",
            "2024 11 21",
        ]);
        (groups, JOINTS, any::<bool>()).prop_map(|(groups, joint, is_joined)| match is_joined {
            true => groups.replace(' ', &joint),
            false => groups.replace(' ', ""),
        })
    }

    fn pieces() -> impl Strategy<Value = Vec<String>> {
        let words = prop::sample::select(vec![
            "jane@example.com",
            "j\\u00e4ne@ex\\u00e4mple.de",
            "jane@\\u00e4rzte.de",
            "jane\\n@example.com",
            "\\u00e9@example.com",
            "&#233;.@example.com",
            "@handle\\n",
            "10.1.2.3",
            "2001:db8::1",
            "face:b00c::1",
            "::1",
            "123-45-6789",
            "AKIAIOSFODNN7EXAMPLE",
            "wJalrXUtnFEMI\\/K7MDENG\\/bPxRfiCYEXAMPLEKEY",
            "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
            "xoxb-abcdefghijk",
            "SG.abc+defghijk/lmnopqrstuvwabcdefghijklmnopqrstuvwxyz",
            "whsec_abc\\/defghijk\\/lmnop\\/qrstuvw",
            "https:\\/\\/hooks.slack.com\\/services\\/T00000000\\/B00000000\\/XXXXXXXXXXXX",
            "https:\\\\/\\\\/hooks.slack.com\\\\/services\\\\/T00000000\\\\/B00000000\\\\/XXXXXXXXXXXX",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abcDEF123_-x",
            "-----BEGIN RSA PRIVATE KEY-----\\nMIIEow\\/x\\n-----END RSA PRIVATE KEY-----",
            "password: hunter2",
            "pin: 1234",
            "pin\\t=\\n1234",
            "\\\"pin\\\": 1234",
            "\\\"p\\u0069n\\\": 1234",
            "api key\\\\n: x1",
            "<input\\nname=\\\"password\\\"\\nvalue=\\\"x1\\\">",
            "<password\\n>x1</password>",
            "<name>\\npassword</name>",
            "<value>x1</value>",
            "<ns:name\\t>\\npassword</ns:name><value>x1</value>",
            "<p class=\\\"a\\\">",
            "\\u003cpassword\\u003ex1\\u003c/password\\u003e",
            "<password\\u003ex1</password>",
            "http:\\/\\/me:it@h\\/",
            "http://m\\u00e9:it@h/",
            "{\\\"name\\\":\\\"password\\\",\\\"value\\\":\\\"x1\\\"}",
            "{\\\"value\\\":\\\"x1\\\",\\\"key\\\":\\\"pin\\\"}",
            "{\\\\\\\"password\\\\\\\":\\\\\\\"x1\\\\\\\"}",
            "C:\\\\new\\\\bin",
            "caf\\u00e9 au lait, 12\\u00a0\\u20ac",
        ]);
        let piece = prop_oneof![
            3 => FRONTS.prop_map(|front| front.replace("\\\\\\\\", "\\\\")),
            3 => words.prop_map(String::from),
            2 => numbers(),
            3 => tags(),
            1 => addresses(),
            1 => "[a-z]{0,14}[ .,:;=]?",
            1 => "\",\"[a-z]{1,5}\":\"",
            1 => "\",\"(\\\\n|\\\\u00e9)?(pin|password|value|name|ssn)(\\\\n|\\\\\")?\":\"",
            1 => "\\\\u[0-9a-f]{4}|\\\\\\\\u[0-9a-f]{4}",
        ];
        proptest::collection::vec(piece, 1..7)
    }

    fn tags() -> impl Strategy<Value = String> {
        let signs = "(<|\\\\u003c|\\\\\\\\u003c|&lt;|&#60;|%3C)";
        let blanks = "( |\\\\n|\\\\t|\\\\r\\\\n  |\\\\\\\\n|&#10;|&#9;|%0a|\\\\u000a|\\\\u0020)";
        let attributes = proptest::collection::vec(
            prop::sample::select(vec![
                "a=Q1Q",
                "onclick=Qa=>bQ",
                "data-x=Q1>0Q",
                "if=Qa < 1Q",
                "c=x<y",
                "d=Q<b>Q",
                "e",
                "f=QQ",
                "g=Q=Q",
                "h=Qit",
                "i=Q&gt;Q",
                "a=Q'Q",
                "name=QpageQ",
                "name=QpasswordQ",
                "name=QpasswordQ",
                "name=QpasswordQ",
                "value=Qx1Q",
                "value=Qx1Q",
            ]),
            0..6,
        );
        let names = "(input|entry|e|br|password|ns:pin|name|value|é)";
        let ends = "(>|/>|\\\\/>|\\\\u003e|&gt;|&amp;gt;|%3E|)";
        (signs, names, blanks, attributes, "(\\\\\"|'|\\\\\\\\\\\\\"|&quot;|)", ends, "(x1|)(</[a-z]{1,5}>)?").prop_map(
            |(sign, name, blank, attributes, quote, end, content)| {
                let attributes: String = attributes.iter().map(|one| format!("{blank}{one}")).collect();
                format!("{sign}{name}{}{end}{content}", attributes.replace('Q', &quote))
            },
        )
    }

    fn addresses() -> impl Strategy<Value = String> {
        let slash = "(/|\\\\{1,5}/|\\\\u002f|\\\\\\\\u002f|&#47;|%2f)";
        ("(http|amqp|x)", slash, slash, "(me|m\\\\u00e9|)", "(it|i&#39;t|1)@", "(h/|mq:5672)").prop_map(
            |(scheme, first, second, user, password, host)| format!("{scheme}:{first}{second}{user}:{password}{host}"),
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// Where an escape is taken to hide nothing, all escapes decoded tell nothing else: with all detectors or none.
        #[test]
        fn harmless_escapes_hide_nothing(pieces in pieces(), at_cut: bool, has_detectors in prop::bool::weighted(0.8)) {
            let policy = policy(has_detectors);
            let text = pieces.concat();
            for text in [format!("{{\"a\":\"{text}\",\"b\":1}}"), format!("{{\"a\":\"{text}"), text] {
                for content_type in ["application/json", "text/plain", "text/html"] {
                    prop_assert_eq!(
                        masked(&policy, &text, content_type, at_cut, false),
                        masked(&policy, &text, content_type, at_cut, true),
                        "{} {} {}", text, content_type, has_detectors
                    );
                }
            }
        }
    }

    /// A cut may go through the escape of a text in a text.
    #[test]
    fn a_cut_between_backslashes_hides_nothing() {
        for backslashes in 1..5 {
            let text = format!("{{\"a\":\"jane{}", "\\".repeat(backslashes));
            for has_detectors in [false, true] {
                let masked = |is_thorough| masked(&policy(has_detectors), &text, "application/json", true, is_thorough);
                assert_eq!(masked(false), masked(true), "{text}");
            }
        }
    }

    /// Own names that end in letters which an escape's digits may be mistaken for.
    #[test]
    fn own_names_beyond_ascii_are_found_in_escapes() {
        let mut settings = Settings { key: vec![7; 32], ..Settings::default() };
        let names = ["größe", "naïab", "xя", "xeß", "xÌ"].map(String::from).into();
        settings.fields = vec![FieldRule { name: "OWN".into(), fields: names, action: Action::Redact }];
        let policy = Arc::new(Policy::new(&settings).unwrap());
        for name in [
            "größe",
            "GRÖßE",
            "gr\\u00f6\\u00dfe",
            "gr\\u00d6\\u00dfE",
            "gr\\u00f6\\xdfe",
            "gr\\u00f6\\u1e9ee",
            "na\\u00efab",
            "na\\u00cfAB",
            "x\\u044f",
            "x\\u042f",
            "xe\\xdf",
            "Xe\\u00df",
            "x\\u00cc",
            "x\\xcc",
            "x\\u00ec",
        ] {
            for (text, content_type) in [
                (format!("{{\"{name}\":\"hunter22\"}}"), "application/json"),
                (format!("x {name}=hunter22"), "text/plain"),
            ] {
                assert!(!masked(&policy, &text, content_type, false, false).contains("hunter22"), "{text}");
            }
        }
    }

    /// Tags with line ends in them, in a string.
    #[test]
    fn tags_over_several_lines_are_read() {
        for has_detectors in [false, true] {
            for text in [
                r#"<input\nname=\"password\"\nvalue=\"hunter22\">"#,
                r#"<input\r\n\tname='password'\r\n\tvalue='hunter22'\/>"#,
                r"<password\n>hunter22</password\n>",
                r"<a><name>\npassword\n</name>\n<value>\nhunter22\n</value></a>",
                r#"<entry\nkey=\"password\">hunter22</entry>"#,
            ] {
                let text = format!("{{\"page\":\"{text}\"}}");
                let out = masked(&policy(has_detectors), &text, "application/json", false, false);
                assert!(!out.contains("hunter22"), "{text}");
            }
        }
    }

    /// A tag's line ends and quotes, a URL's slashes: as texts within texts have them.
    #[test]
    fn what_escapes_and_quotes_are_within_is_seen() {
        for has_detectors in [false, true] {
            for (text, content_type) in [
                (r#"{"x":"\u003cinput\ntype=\"a\"\nname=\"password\"\nvalue=\"hunter22\"\u003e"}"#, "application/json"),
                (r#"{"x":"\u003centry\n key=\"password\"\u003ehunter22\u003c/entry\u003e"}"#, "application/json"),
                (r#"{"x":"\u003c\u00e9password\u003ehunter22\u003c/entry\u003e"}"#, "application/json"),
                ("<pre>&lt;input&#10;name=\"password\"&#10;value=\"hunter22\"&gt;</pre>", "text/html"),
                (r#"{"m":"{\"dsn\":\"amqp:\\/\\/guest:hunter22@mq:5672\"}"}"#, "application/json"),
                (r#"{"m":"http:\\\/\\\/me:hunter22@h\\\/"}"#, "application/json"),
                ("http://me:hunter&#39;22@h/", "text/html"),
                ("http://me:&#39;hunter22@h/", "text/plain"),
                (r#"<input onclick="a=>b" name="password" value="hunter22">"#, "text/html"),
                (r#"<input data-x="1>0" name="password" value="hunter22">"#, "text/html"),
                (r#"<input data-x="it's 1>0" name="password" value="hunter22">"#, "text/html"),
                (r#"<e a='"' b=">" name='password' value="hunter22">"#, "text/html"),
                (r#"<e if="a > 1" key="password">hunter22</e>"#, "text/xml"),
                (r#"<e if='a < 1' key="password" value="hunter22"/>"#, "text/xml"),
                (r#"<e a=1<2 name=password value=hunter22>"#, "text/html"),
                (r#"{"h":"<input data-x=\"1>0\" name=\"password\" value=\"hunter22\">"}"#, "application/json"),
                (r#"{"h":"<input data-x=\"1>0\"\nname=\"password\"\nvalue=\"hunter22\">"}"#, "application/json"),
                (r#"{"h":"<e a='b<c name=password value=hunter22>","i":"it's"}"#, "application/json"),
            ] {
                let out = masked(&policy(has_detectors), text, content_type, false, false);
                assert!(!out.contains("hunter") || out.contains("REDACTED22"), "{text} {out}");
            }
        }
    }

    /// The many escapes of most texts keep no text from being passed over.
    #[test]
    fn most_escapes_are_harmless() {
        for has_detectors in [false, true] {
            let policy = policy(has_detectors);
            for text in [
                r#"{"note":"she said \"hi\"\nand left\tthe caf\u00e9"}"#,
                r#"{"html":"<p class=\"note\">A &amp; B&nbsp;<a href=\"https://h/items\">more<\/a><\/p>\n"}"#,
                r#"{"inner":"{\"kind\":\"order\",\"lines\":[{\"title\":\"a \\\"b\\\"\\n\"}]}"}"#,
                r#"{"url":"https:\/\/shop.example\/items\/12345\/view?x=1","path":"C:\\new\\x"}"#,
                r#"{"html":"\u003cp\u003eone\u003cbr/\u003etwo\u003c/p\u003e &lt;b&gt;x"}"#,
                r#"{"html":"<a title=\"1 > 0\" href='#' onclick=\"go(1)\">x<\/a><e if='a < 1'>"}"#,
                r#"{"name":"\u30d1\u30b9 \u0430\u0431\u0432","smile":"\ud83d\ude00"}"#,
            ] {
                let mut engine = super::super::engine::Engine::new(Arc::clone(&policy));
                engine.start();
                assert!(engine.survey(text.as_bytes(), false), "{has_detectors} {text}");
            }
        }
    }
}
