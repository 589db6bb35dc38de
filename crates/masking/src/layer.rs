//! Escapes: what a text says, decoded for looking, and how a replacement is written back.
//!
//! Decoding keeps, for each byte, where it came from. So only what is replaced changes; every other byte of the original
//! stays as it was written.

/// The entities that are decoded by name; those of HTML that secrets are written with among them.
const ENTITIES: &[(&[u8], &str)] = &[
    (b"lt", "<"),
    (b"gt", ">"),
    (b"amp", "&"),
    (b"quot", "\""),
    (b"apos", "'"),
    (b"nbsp", " "),
    (b"commat", "@"),
    (b"period", "."),
    (b"colon", ":"),
    (b"hyphen", "-"),
    (b"dash", "-"),
    (b"plus", "+"),
    (b"equals", "="),
    (b"sol", "/"),
    (b"lowbar", "_"),
    (b"ldquo", "“"),
    (b"rdquo", "”"),
    (b"bdquo", "„"),
    (b"lsquo", "‘"),
    (b"rsquo", "’"),
    (b"sbquo", "‚"),
    (b"laquo", "«"),
    (b"raquo", "»"),
    (b"lsaquo", "‹"),
    (b"rsaquo", "›"),
];
/// Backslashes in a row that are understood: as texts within texts have them.
pub(crate) const MAX_BACKSLASHES: usize = 15;
/// Bytes of the longest beginning of an escape that is told as one, but of an entity of a number.
const MAX_HALF: usize = 12;
/// Digits of such an entity behind zeros.
const MAX_DIGITS: usize = 10;

/// How a text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layer {
    /// As it is.
    Plain,
    /// A JSON string, between its quotes.
    Json,
    /// Percent-encoded; the flag says whether `+` is a space, as in forms and queries.
    Percent { plus: bool },
    /// XML character data or an attribute's value.
    Xml,
    /// A character of ASCII every so many bytes, with zeros between: UTF-16 or UTF-32 within binary data.
    Wide { stride: u8 },
    /// Any of the escapes above, where it is not known which apply: a text within a text.
    Any,
}

/// A decoded text and where each byte of it came from.
#[derive(Default)]
pub(crate) struct View {
    pub(crate) text: Vec<u8>,
    /// For each byte its first source byte; and one more for the end.
    pub(crate) origin: Vec<u32>,
    /// A character ends a byte behind its start, whatever its distance from the next.
    is_wide: bool,
}

/// The place in the source of a decoded range.
impl View {
    pub(crate) fn source(&self, start: usize, end: usize) -> (usize, usize) {
        let at = |i: usize| self.origin.get(i).or(self.origin.last()).map_or(0, |at| *at as usize);
        match self.is_wide && end > start {
            true => (at(start), at(end - 1) + 1),
            false => (at(start), at(end)),
        }
    }
}

impl Layer {
    /// Whether `text` holds anything that this layer might decode.
    pub(crate) fn has_escapes(self, text: &[u8]) -> bool {
        match self {
            Self::Plain => false,
            Self::Wide { .. } => true,
            Self::Json => memchr::memchr(b'\\', text).is_some(),
            Self::Percent { plus: false } => memchr::memchr(b'%', text).is_some(),
            Self::Percent { plus: true } => memchr::memchr2(b'%', b'+', text).is_some(),
            Self::Xml => memchr::memchr(b'&', text).is_some(),
            Self::Any => {
                let mut from = 0;
                while let Some(at) = text.get(from..).and_then(|rest| memchr::memchr3(b'%', b'\\', b'&', rest)) {
                    from += at + 1;
                    if self.escape(&text[from - 1..]).is_some() {
                        return true;
                    }
                }
                false
            }
        }
    }

    /// How many of the last bytes of `text` may be the beginning of an escape whose rest a cut took away.
    pub(crate) fn half_escape(self, text: &[u8]) -> usize {
        let (json, percent, xml) = match self {
            Self::Plain | Self::Wide { .. } => return 0,
            Self::Json => (true, false, false),
            Self::Percent { .. } => (false, true, false),
            Self::Xml => (false, false, true),
            Self::Any => (true, true, true),
        };
        let tail = &text[text.len().saturating_sub(MAX_HALF)..];
        let behind = |sign: u8| memchr::memrchr(sign, tail).map(|at| &tail[at + 1..]);
        let half_json = behind(b'\\').filter(|_| json).and_then(|behind| {
            // A backslash that another one escapes begins nothing.
            let front = &text[..text.len() - behind.len()];
            let backslashes = front.iter().rev().take_while(|byte| **byte == b'\\').count();
            let is_half = match behind {
                [] => true,
                [b'u', digits @ ..] => digits.len() < 4 && digits.iter().all(u8::is_ascii_hexdigit),
                [b'x', digits @ ..] => digits.len() < 2 && digits.iter().all(u8::is_ascii_hexdigit),
                _ => false,
            };
            (is_half && backslashes % 2 == 1).then_some(behind)
        });
        let half_percent = behind(b'%').filter(|behind| {
            percent && (behind.is_empty() || behind.len() == 1 && behind.iter().all(u8::is_ascii_hexdigit))
        });
        let half_xml =
            behind(b'&').filter(|behind| xml && ENTITIES.iter().any(|(entity, _)| entity.starts_with(behind)));
        let half_xml = half_xml.or_else(|| half_entity(text).filter(|_| xml).map(|len| &text[text.len() - len + 1..]));
        [half_json, half_percent, half_xml].into_iter().flatten().map(|behind| behind.len() + 1).max().unwrap_or(0)
    }

    /// Decodes `text`, which a cut ends, into `view`: half an escape at its end stands for nothing, but belongs to what is
    /// in front of it.
    pub(crate) fn decode_cut(self, text: &[u8], origin: impl Fn(usize) -> u32, view: &mut View) {
        let end = origin(text.len());
        self.decode(&text[..text.len() - self.half_escape(text)], origin, view);
        if let Some(last) = view.origin.last_mut() {
            *last = end;
        }
    }

    /// Decodes `text` into `view`. `origin(i)` says where byte `i` of the text came from, `origin(len)` where it ends.
    pub(crate) fn decode(self, text: &[u8], origin: impl Fn(usize) -> u32, view: &mut View) {
        view.text.clear();
        view.origin.clear();
        view.is_wide = false;
        if let Self::Wide { stride } = self {
            view.is_wide = true;
            view.text.extend(text.iter().step_by(usize::from(stride)));
            view.origin.extend((0..text.len()).step_by(usize::from(stride)).map(&origin));
            view.origin.push(origin(text.len()));
            return;
        }
        let mut at = 0;
        while at < text.len() {
            let rest = &text[at..];
            let plain = match self {
                Self::Plain | Self::Wide { .. } => None,
                Self::Json => memchr::memchr(b'\\', rest),
                Self::Percent { plus: false } => memchr::memchr(b'%', rest),
                Self::Percent { plus: true } => memchr::memchr2(b'%', b'+', rest),
                Self::Xml => memchr::memchr(b'&', rest),
                Self::Any => memchr::memchr3(b'%', b'\\', b'&', rest),
            }
            .unwrap_or(rest.len());
            view.text.extend_from_slice(&rest[..plain]);
            view.origin.extend((at..at + plain).map(&origin));
            at += plain;
            let Some(&byte) = text.get(at) else { break };
            let (len, bytes, count) = self.escape(&text[at..]).unwrap_or((1, [byte, 0, 0, 0], 1));
            for decoded in &bytes[..count] {
                view.text.push(*decoded);
                view.origin.push(origin(at));
            }
            at += len;
        }
        view.origin.push(origin(text.len()));
    }

    /// The escape that `text` starts with: its length, what it stands for, and the length of that.
    #[inline]
    pub(crate) fn escape(self, text: &[u8]) -> Option<(usize, [u8; 4], usize)> {
        match (self, *text.first()?) {
            (Self::Json | Self::Any, b'\\') => json_escape(text),
            (Self::Percent { plus: true }, b'+') => Some((1, [b' ', 0, 0, 0], 1)),
            (Self::Percent { .. } | Self::Any, b'%') => {
                let byte = hex(*text.get(1)?)? << 4 | hex(*text.get(2)?)?;
                Some((3, [byte as u8, 0, 0, 0], 1))
            }
            (Self::Xml | Self::Any, b'&') => xml_entity(text),
            _ => None,
        }
    }

    /// The escape that `text` starts with, perhaps behind backslashes that texts within texts put in front of it: its length with
    /// them, what it stands for in the innermost, and the length of that.
    pub(crate) fn nested_escape(text: &[u8]) -> Option<(usize, [u8; 4], usize)> {
        let more = match text {
            [b'\\', rest @ ..] => rest.iter().take(MAX_BACKSLASHES).take_while(|byte| **byte == b'\\').count(),
            _ => 0,
        };
        let (len, bytes, count) = Self::Any.escape(&text[more..])?;
        Some((more + len, bytes, count))
    }

    /// The first byte that `text` says, as it is or in an escape, perhaps behind backslashes of texts within texts; and how long
    /// that is as it is written. None of what looks like an escape and is none.
    #[inline]
    pub(crate) fn sign(text: &[u8]) -> Option<(usize, u8)> {
        match *text.first()? {
            b'\\' | b'%' | b'&' => Self::nested_escape(text).map(|(len, bytes, _)| (len, bytes[0])),
            byte => Some((1, byte)),
        }
    }

    /// Writes a replacement, which is ASCII, so that it reads as itself in this layer.
    pub(crate) fn encode(self, replacement: &[u8], out: &mut Vec<u8>) {
        const HEX: &[u8; 16] = b"0123456789ABCDEF";
        if let Self::Wide { stride } = self {
            for (i, byte) in replacement.iter().enumerate() {
                if i > 0 {
                    out.extend(std::iter::repeat_n(0, usize::from(stride) - 1));
                }
                out.push(*byte);
            }
            return;
        }
        // Tokens and the like. All bytes are asked, whatever the first ones say: so many are at once.
        if replacement.iter().fold(true, |is_word, byte| is_word & (byte.is_ascii_alphanumeric() | (*byte == b'_'))) {
            out.extend_from_slice(replacement);
            return;
        }
        for byte in replacement.iter().copied() {
            let safe = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'*');
            match self {
                _ if safe => out.push(byte),
                Self::Plain => out.push(if byte.is_ascii_control() && byte != b'\t' { b'*' } else { byte }),
                Self::Json => match byte {
                    b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
                    0..0x20 | 0x7f.. => out.push(b'*'),
                    _ => out.push(byte),
                },
                Self::Percent { .. } => {
                    out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
                }
                Self::Xml => match byte {
                    b'<' => out.extend_from_slice(b"&lt;"),
                    b'>' => out.extend_from_slice(b"&gt;"),
                    b'&' => out.extend_from_slice(b"&amp;"),
                    b'"' => out.extend_from_slice(b"&quot;"),
                    b'\'' => out.extend_from_slice(b"&apos;"),
                    0..0x20 | 0x7f.. => out.push(b'*'),
                    _ => out.push(byte),
                },
                // Not known how it would have to be written.
                Self::Any | Self::Wide { .. } => out.push(b'*'),
            }
        }
    }
}

/// Bytes of an escape of JSON by number.
pub(crate) const UNIT: usize = 6;

/// Whether a text starts with an escape of JSON that is a whole character beyond ASCII.
#[inline]
pub(crate) fn starts_foreign(text: &[u8]) -> bool {
    let is_foreign = |unit| unit >= 0x80 && !(0xd800..0xe000).contains(&unit);
    text.starts_with(b"\\u") && hex4(&text[2..]).is_some_and(is_foreign)
}

fn hex(byte: u8) -> Option<u32> {
    char::from(byte).to_digit(16)
}

fn hex4(text: &[u8]) -> Option<u32> {
    text.get(..4)?.iter().try_fold(0, |sum, byte| Some(sum << 4 | hex(*byte)?))
}

fn json_escape(text: &[u8]) -> Option<(usize, [u8; 4], usize)> {
    let one = |byte: u8| Some((2, [byte, 0, 0, 0], 1));
    match *text.get(1)? {
        b'n' => one(b'\n'),
        b't' => one(b'\t'),
        b'r' => one(b'\r'),
        b'b' => one(8),
        b'f' => one(12),
        byte @ (b'"' | b'\\' | b'/' | b'\'') => one(byte),
        b'u' => {
            let unit = hex4(text.get(2..)?)?;
            if (0xd800..0xdc00).contains(&unit)
                && text.get(6..8) == Some(b"\\u")
                && let Some(low @ 0xdc00..0xe000) = text.get(8..).and_then(hex4)
            {
                return Some(utf8(12, 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00)));
            }
            Some(utf8(6, unit))
        }
        b'x' => {
            let unit = hex(*text.get(2)?)? << 4 | hex(*text.get(3)?)?;
            Some(utf8(4, unit))
        }
        _ => None,
    }
}

fn xml_entity(text: &[u8]) -> Option<(usize, [u8; 4], usize)> {
    if text.get(1) == Some(&b'#') {
        return numeric_entity(text);
    }
    // In queries and code it is no entity, as is soon seen.
    let name = text.get(1..text.len().min(12))?;
    let name_len = 1 + name.iter().position(|byte| !byte.is_ascii_alphanumeric()).filter(|len| name[*len] == b';')?;
    let name = &text[1..name_len];
    let (_, sign) = ENTITIES.iter().find(|(known, _)| *known == name)?;
    let mut bytes = [0; 4];
    bytes[..sign.len()].copy_from_slice(sign.as_bytes());
    Some((name_len + 1, bytes, sign.len()))
}

/// `&#61;`, `&#x3d;`, with as many zeros in front as there are.
fn numeric_entity(text: &[u8]) -> Option<(usize, [u8; 4], usize)> {
    let front = entity_front(text)?;
    let (radix, digits) = (if front == 3 { 16 } else { 10 }, &text[front..]);
    let zeros = digits.iter().take_while(|byte| **byte == b'0').count();
    let count = digits[zeros..].iter().take(MAX_DIGITS + 1).take_while(|byte| byte.is_ascii_hexdigit()).count();
    let len = zeros + count;
    if len == 0 || digits.get(len) != Some(&b';') {
        return None;
    }
    let add = |sum: u32, byte: &u8| sum.checked_mul(radix)?.checked_add(char::from(*byte).to_digit(radix)?);
    let code = digits[zeros..len].iter().try_fold(0, add)?;
    Some(utf8(front + len + 1, code))
}

/// How long what is in front of the digits of an entity is.
fn entity_front(text: &[u8]) -> Option<usize> {
    match text {
        [b'&', b'#', b'x' | b'X', ..] => Some(3),
        [b'&', b'#', ..] => Some(2),
        _ => None,
    }
}

/// How many of the last bytes of `text` may be the beginning of an entity of a number.
fn half_entity(text: &[u8]) -> Option<usize> {
    let digits = text.iter().rev().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (start, front) = [3, 2].into_iter().find_map(|front| {
        let start = text.len().checked_sub(digits + front)?;
        (entity_front(&text[start..]) == Some(front)).then_some((start, front))
    })?;
    let digits = &text[start + front..];
    let zeros = digits.iter().take_while(|byte| **byte == b'0').count();
    let is_half = digits.len() - zeros <= MAX_DIGITS && (front == 3 || digits.iter().all(u8::is_ascii_digit));
    is_half.then_some(text.len() - start)
}

/// A code point, or the replacement character for what is none.
fn utf8(len: usize, code: u32) -> (usize, [u8; 4], usize) {
    let mut bytes = [0; 4];
    let count = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER).encode_utf8(&mut bytes).len();
    (len, bytes, count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(layer: Layer, text: &str) -> String {
        let mut view = View::default();
        layer.decode(text.as_bytes(), |i| i as u32, &mut view);
        assert_eq!(view.origin.len(), view.text.len() + 1);
        assert!(view.origin.is_sorted());
        String::from_utf8(view.text).unwrap()
    }

    #[test]
    fn escapes_are_decoded() {
        assert_eq!(decoded(Layer::Json, r#"a\u0031\"\/\n\ud83d\ude00\ud800x\q\"#), "a1\"/\n😀\u{fffd}x\\q\\");
        assert_eq!(decoded(Layer::Percent { plus: false }, "a%20b+%zz%4"), "a b+%zz%4");
        assert_eq!(decoded(Layer::Percent { plus: true }, "a%2Bb+c"), "a+b c");
        assert_eq!(decoded(Layer::Xml, "&lt;&#49;&#x32;&amp;&nope;&&#xfffffffff;"), "<12&&nope;&&#xfffffffff;");
        assert_eq!(decoded(Layer::Xml, "&#0000000061;&#x000000000000003D;&#;&#x;&#6a;&#0"), "==&#;&#x;&#6a;&#0");
        assert_eq!(decoded(Layer::Xml, &format!("&#{}61;&#{}61", "0".repeat(1000), "0".repeat(9))), "=&#00000000061");
        assert_eq!(decoded(Layer::Any, r"%41\u0042&#67;"), "ABC");
        assert_eq!(decoded(Layer::Plain, r"%41"), "%41");
    }

    #[test]
    fn half_an_escape_at_a_cut_is_told() {
        let half = |layer: Layer, text: &str| &text[text.len() - layer.half_escape(text.as_bytes())..] == text;
        for text in ["\\", "\\u", "\\u0", "\\u003", "\\x", "\\x4"] {
            assert!(half(Layer::Json, text) && half(Layer::Any, text), "{text}");
            let escaped = format!("\\{text}");
            assert!(text == "\\" || Layer::Json.half_escape(escaped.as_bytes()) == 0, "{escaped}");
        }
        for text in ["%", "%3"] {
            assert!(half(Layer::Percent { plus: true }, text) && half(Layer::Any, text), "{text}");
        }
        for text in ["&", "&a", "&comma", "&amp", "&#", "&#5", "&#x", "&#x00034", "&#000000000000000000000000006"] {
            assert!(half(Layer::Xml, text) && half(Layer::Any, text), "{text}");
        }
        for text in ["", "a", "\\u0034", "\\n", "\\uz", "%34", "%z", "&nope", "&amp;", "&4111", "&#52;"] {
            assert_eq!(Layer::Any.half_escape(text.as_bytes()), 0, "{text}");
        }
        let mut view = View::default();
        Layer::Json.decode_cut(br"1\u00342\u00", |i| 7 + i as u32, &mut view);
        assert_eq!((&view.text[..], view.source(0, 3)), (&b"142"[..], (7, 19)));
    }

    #[test]
    fn what_is_encoded_decodes_to_itself() {
        let text = "a b-*\"\\<>&'@:/%+=_~";
        for layer in [Layer::Json, Layer::Percent { plus: false }, Layer::Percent { plus: true }, Layer::Xml] {
            let mut out = Vec::new();
            layer.encode(text.as_bytes(), &mut out);
            assert_eq!(decoded(layer, std::str::from_utf8(&out).unwrap()), text);
        }
    }
}
