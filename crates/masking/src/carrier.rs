//! What text is carried in: escapes, base64 and packings, undone one by one for looking at what they hold.
//!
//! Nothing of this is shared with what masks: a fault of the one would hide it from the other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::GeneralPurpose;
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};

/// Carriers within carriers: a batch's gzip, a record's JSON, base64, a body's gzip, its JSON, percent-encoded twice.
const MAX_DEPTH: usize = 7;
/// Texts that are looked at for one.
const MAX_TEXTS: usize = 512;
/// Bytes of them, besides as many times those of the first.
const MAX_BYTES: usize = 256 << 20;
const MAX_TIMES: usize = 16;
/// The most bytes unpacked of one packed member.
const MAX_UNPACKED: u64 = 64 << 20;
/// Shorter runs are words rather than base64, in characters.
const MIN_BASE64: usize = 8;
/// Fewer characters of UTF-16 in a row are numbers, in characters.
const FEWEST_WIDE: usize = 8;
/// Between what was carried side by side.
const BETWEEN: &[u8] = b"\xff\xff";

/// Something that text is carried in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Carrier {
    /// Strings of JSON: backslashes, `\uXXXX` among them.
    Json,
    /// Percent-encoding.
    Percent,
    /// Entities of HTML or XML.
    Html,
    /// Base64 or base64url, in lines, too.
    Base64,
    /// UTF-16, of which only ASCII is read.
    Utf16,
    /// A gzip member.
    Gzip,
    /// A zlib stream.
    Zlib,
}

impl Carrier {
    /// As reports write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::Percent => "percent-encoding",
            Self::Html => "HTML",
            Self::Base64 => "base64",
            Self::Utf16 => "UTF-16",
            Self::Gzip => "gzip",
            Self::Zlib => "zlib",
        }
    }

    /// Whether the text around what it carries stays.
    fn is_escape(self) -> bool {
        matches!(self, Self::Json | Self::Percent | Self::Html)
    }

    /// The text with all of this kind undone, if there is any.
    fn undo(self, text: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Json => unescape(text, b'\\', json_escape),
            Self::Percent => unescape(text, b'%', percent_escape),
            Self::Html => unescape(text, b'&', html_entity),
            Self::Base64 => base64_runs(text),
            Self::Utf16 => wide_runs(text),
            Self::Gzip | Self::Zlib => None,
        }
    }
}

/// What a text was carried in, from the outside inwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Carriers([Option<Carrier>; MAX_DEPTH]);

impl Carriers {
    /// Each, from the outside inwards.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Carrier> {
        self.0.into_iter().flatten()
    }

    /// Whether it is carried in nothing.
    pub fn is_empty(&self) -> bool {
        self.0[0].is_none()
    }

    fn within(mut self, carrier: Carrier) -> Option<Self> {
        *self.0.iter_mut().find(|place| place.is_none())? = Some(carrier);
        Some(self)
    }
}

impl fmt::Display for Carriers {
    /// From the inside outwards, each behind a "within": nothing for none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().rev().try_for_each(|carrier| write!(f, " within {}", carrier.name()))
    }
}

/// A text that was carried in another.
pub(crate) struct Carried<'a> {
    pub(crate) text: &'a [u8],
    pub(crate) carriers: Carriers,
    /// Texts of one group are the same but for escapes; the first group is 0.
    pub(crate) group: usize,
    /// The group of what is in base64 here; and in UTF-16.
    pub(crate) in_base64: usize,
    pub(crate) in_utf16: usize,
}

/// Hands over `bytes`, and every text that is carried in it, outer ones first, each once.
pub(crate) fn each(bytes: &[u8], mut look: impl FnMut(&Carried<'_>)) {
    let mut waiting = VecDeque::from([(bytes.to_vec(), Carriers::default(), 0)]);
    let mut known = BTreeSet::new();
    let mut groups = BTreeMap::new();
    let mut room = bytes.len().saturating_mul(MAX_TIMES).saturating_add(MAX_BYTES);
    while let Some((text, carriers, group)) = waiting.pop_front() {
        let mut group_in = |carrier: Carrier| {
            let next = groups.len() + 1;
            if carrier.is_escape() { group } else { *groups.entry((group, carrier)).or_insert(next) }
        };
        let (in_base64, in_utf16) = (group_in(Carrier::Base64), group_in(Carrier::Utf16));
        look(&Carried { text: &text, carriers, group, in_base64, in_utf16 });
        let mut add = |carrier: Carrier, inner: Vec<u8>| {
            let Some(carriers) = carriers.within(carrier) else { return };
            let mut hasher = DefaultHasher::new();
            (carrier.is_escape(), &inner).hash(&mut hasher);
            if known.len() < MAX_TEXTS && inner.len() <= room && known.insert(hasher.finish()) {
                room -= inner.len();
                waiting.push_back((inner, carriers, group_in(carrier)));
            }
        };
        if carriers.0[MAX_DEPTH - 1].is_some() {
            continue;
        }
        for carrier in [Carrier::Json, Carrier::Percent, Carrier::Html, Carrier::Base64, Carrier::Utf16] {
            if let Some(inner) = carrier.undo(&text) {
                add(carrier, inner);
            }
        }
        each_packed(&text, add);
    }
}

/// Every packed member in a text, unpacked as far as it goes.
fn each_packed(text: &[u8], mut add: impl FnMut(Carrier, Vec<u8>)) {
    for member in memchr::memmem::find_iter(text, b"\x1f\x8b\x08") {
        let mut unpacked = Vec::new();
        // What a cut or damaged member still holds counts.
        let _ = flate2::read::GzDecoder::new(&text[member..]).take(MAX_UNPACKED).read_to_end(&mut unpacked);
        if !unpacked.is_empty() {
            add(Carrier::Gzip, unpacked);
        }
    }
    for stream in memchr::memchr_iter(b'x', text) {
        if matches!(text.get(stream + 1), Some(0x01 | 0x5e | 0x9c | 0xda)) {
            let mut unpacked = Vec::new();
            let _ = flate2::read::ZlibDecoder::new(&text[stream..]).take(MAX_UNPACKED).read_to_end(&mut unpacked);
            if !unpacked.is_empty() {
                add(Carrier::Zlib, unpacked);
            }
        }
    }
}

/// An escape that a text starts with: how long it is, and what it stands for.
type Escape = fn(&[u8]) -> Option<(usize, char)>;

fn unescape(text: &[u8], sign: u8, escape: Escape) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let (mut from, mut at) = (0, 0);
    while let Some(next) = text.get(at..).and_then(|rest| memchr::memchr(sign, rest)).map(|next| at + next) {
        let Some((len, stands_for)) = escape(&text[next..]) else {
            at = next + 1;
            continue;
        };
        out.extend_from_slice(&text[from..next]);
        match (sign, u8::try_from(u32::from(stands_for))) {
            (b'%', Ok(byte)) => out.push(byte),
            _ => out.extend_from_slice(stands_for.encode_utf8(&mut [0; 4]).as_bytes()),
        }
        from = next + len;
        at = from;
    }
    (from > 0).then(|| {
        out.extend_from_slice(&text[from..]);
        out
    })
}

fn number(digits: &[u8], radix: u32) -> Option<u32> {
    let text = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_alphanumeric()))?;
    u32::from_str_radix(text, radix).ok()
}

fn json_escape(text: &[u8]) -> Option<(usize, char)> {
    let unit = |at: usize| {
        let escape = text.get(at..at + 6).filter(|escape| escape.starts_with(b"\\u"))?;
        number(&escape[2..], 16)
    };
    match *text.get(1)? {
        b'n' => Some((2, '\n')),
        b'r' => Some((2, '\r')),
        b't' => Some((2, '\t')),
        b'b' => Some((2, '\u{8}')),
        b'f' => Some((2, '\u{c}')),
        byte @ (b'"' | b'\\' | b'/' | b'\'') => Some((2, char::from(byte))),
        b'x' => Some((4, char::from_u32(number(text.get(2..4)?, 16)?)?)),
        b'u' => match (unit(0)?, unit(6)) {
            (high @ 0xd800..0xdc00, Some(low @ 0xdc00..0xe000)) => {
                Some((12, char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00))?))
            }
            (unit, _) => Some((6, char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER))),
        },
        _ => None,
    }
}

fn percent_escape(text: &[u8]) -> Option<(usize, char)> {
    Some((3, char::from_u32(number(text.get(1..3)?, 16)?)?))
}

/// The entities that HTML has for ASCII, and the blank that does not break.
const ENTITIES: &[(&str, char)] = &[
    ("Tab", '\t'),
    ("NewLine", '\n'),
    ("nbsp", ' '),
    ("excl", '!'),
    ("quot", '"'),
    ("num", '#'),
    ("dollar", '$'),
    ("percnt", '%'),
    ("amp", '&'),
    ("apos", '\''),
    ("lpar", '('),
    ("rpar", ')'),
    ("ast", '*'),
    ("midast", '*'),
    ("plus", '+'),
    ("comma", ','),
    ("hyphen", '-'),
    ("dash", '-'),
    ("period", '.'),
    ("sol", '/'),
    ("colon", ':'),
    ("semi", ';'),
    ("lt", '<'),
    ("equals", '='),
    ("gt", '>'),
    ("quest", '?'),
    ("commat", '@'),
    ("lsqb", '['),
    ("lbrack", '['),
    ("bsol", '\\'),
    ("rsqb", ']'),
    ("rbrack", ']'),
    ("Hat", '^'),
    ("lowbar", '_'),
    ("grave", '`'),
    ("lcub", '{'),
    ("lbrace", '{'),
    ("verbar", '|'),
    ("vert", '|'),
    ("rcub", '}'),
    ("rbrace", '}'),
];

fn html_entity(text: &[u8]) -> Option<(usize, char)> {
    let end = text.iter().take(16).position(|byte| *byte == b';')?;
    let stands_for = match &text[1..end] {
        [b'#', b'x' | b'X', digits @ ..] => char::from_u32(number(digits, 16)?)?,
        [b'#', digits @ ..] => char::from_u32(number(digits, 10)?)?,
        name => {
            let known = |(entity, _): &&(&str, char)| entity.as_bytes().eq_ignore_ascii_case(name);
            ENTITIES.iter().find(known)?.1
        }
    };
    Some((end + 1, stands_for))
}

/// What all runs of base64 hold that are no words; a line's end does not end one.
fn base64_runs(text: &[u8]) -> Option<Vec<u8>> {
    let lenient = GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_allow_trailing_bits(true)
            .with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let is_own = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_');
    let mut out = Vec::new();
    let mut run = Vec::new();
    let mut at = 0;
    while at < text.len() {
        run.clear();
        let mut is_word = [true; 3];
        while let Some(byte) = text.get(at) {
            if is_own(byte) {
                let classes = [u8::is_ascii_lowercase, u8::is_ascii_uppercase, u8::is_ascii_digit];
                is_word.iter_mut().zip(classes).for_each(|(all, is)| *all &= is(byte));
                run.push(match byte {
                    b'-' => b'+',
                    b'_' => b'/',
                    byte => *byte,
                });
            } else if !matches!(byte, b'\r' | b'\n') || run.is_empty() {
                break;
            }
            at += 1;
        }
        at += 1;
        if run.len() >= MIN_BASE64 && is_word == [false; 3] {
            // A single character behind the last group is none.
            run.truncate(if run.len() % 4 == 1 { run.len() - 1 } else { run.len() });
            if lenient.decode_vec(&run, &mut out).is_ok() {
                out.extend_from_slice(BETWEEN);
            }
        }
    }
    (!out.is_empty()).then_some(out)
}

/// What all runs of ASCII with a zero behind each character say, of either byte order.
fn wide_runs(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut at = memchr::memchr(0, text)?.saturating_sub(1);
    while at < text.len() {
        let pairs = text[at..].chunks_exact(2).take_while(|pair| pair[0] != 0 && pair[0].is_ascii() && pair[1] == 0);
        let len = pairs.clone().count();
        if len >= FEWEST_WIDE {
            out.extend(pairs.map(|pair| pair[0]));
            out.extend_from_slice(BETWEEN);
        }
        at += (2 * len).max(1);
    }
    (!out.is_empty()).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone() {
        let undone = |carrier: Carrier, text: &str| {
            carrier.undo(text.as_bytes()).map(|text| String::from_utf8_lossy(&text).into_owned())
        };
        for (carrier, text, expected) in [
            (Carrier::Json, r#"a\"b\\n\/\u00e4\ud83d\ude00\ud800\q\u00"#, Some("a\"b\\n/ä😀\u{fffd}\\q\\u00")),
            (Carrier::Json, r"\q", None),
            (Carrier::Percent, "%41%c3%a4%zz%2", Some("Aä%zz%2")),
            (Carrier::Html, "&lt;&#65;&#x42;&PLUS;&none;&", Some("<AB+&none;&")),
            (Carrier::Base64, "x: aGVsbG8gd29y\r\nbGQ= y", Some("hello world\u{fffd}\u{fffd}")),
            (Carrier::Base64, "justsomewords 20261121 ABCDEFGHIJ short1A", None),
            (Carrier::Utf16, "\0a\0\0p\0a\0s\0s\0w\0o\0r\0d\0", Some("password\u{fffd}\u{fffd}")),
            (Carrier::Utf16, "a\0b\0c\0\0\0", None),
        ] {
            assert_eq!(undone(carrier, text).as_deref(), expected, "{text}");
        }
    }

    /// Whatever a text holds, the number of texts that are looked at for it is bounded.
    #[test]
    fn hostile_text_is_bounded() {
        for text in ["\\\\", "%25", "&amp;", "eJwB", "\u{1f}", "x\u{1}", "QUFB\\n%41&lt;"] {
            let (mut texts, mut bytes) = (0, 0);
            each(text.repeat(5_000).as_bytes(), |carried| {
                texts += 1;
                bytes += carried.text.len();
            });
            assert!(texts <= MAX_TEXTS + 1 && bytes < 64 << 20, "{text}: {texts} of {bytes} bytes");
        }
    }
}
