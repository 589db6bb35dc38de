//! Charsets: bodies in other than supersets of ASCII are masked in UTF-8 and written back.

use std::ops::Range;

use encoding_rs::{Encoding, ISO_2022_JP, UTF_8, UTF_16BE, UTF_16LE};

/// How many bytes a guess is made from.
const SNIFFED: usize = 1024;

/// What a body has to be decoded from before it can be read; `None` if it can be read as it is.
pub(crate) fn foreign(declared: Option<&[u8]>, body: &[u8]) -> Option<&'static Encoding> {
    if let Some((encoding, _)) = Encoding::for_bom(body) {
        return (encoding != UTF_8).then_some(encoding);
    }
    let declared = declared.and_then(Encoding::for_label);
    match declared {
        Some(encoding) if encoding == UTF_16LE || encoding == UTF_16BE => {
            // `utf-16` says nothing of the order of bytes; and some say it of what is ASCII.
            Some(utf16_by_zeros(body).unwrap_or(encoding))
        }
        Some(encoding) if encoding == ISO_2022_JP => memchr::memchr(0x1b, body).map(|_| encoding),
        Some(encoding) if encoding != UTF_8 && !body.is_ascii() => Some(encoding),
        _ => utf16_by_zeros(body),
    }
}

/// The UTF-16 that the zeros of a text without a mark speak for.
fn utf16_by_zeros(body: &[u8]) -> Option<&'static Encoding> {
    let (pairs, _) = body.get(..SNIFFED).unwrap_or(body).as_chunks::<2>();
    let start = &body[..body.len().min(64)];
    if pairs.len() < 2 || memchr::memchr(0, start).is_none() {
        return None;
    }
    let is_text = |byte: u8| matches!(byte, b' '..=b'~' | b'\t' | b'\r' | b'\n');
    let little = pairs.iter().filter(|pair| is_text(pair[0]) && pair[1] == 0).count();
    let big = pairs.iter().filter(|pair| pair[0] == 0 && is_text(pair[1])).count();
    let zeros = pairs.iter().filter(|pair| **pair == [0, 0]).count();
    match (little * 10 > pairs.len() * 6, big * 10 > pairs.len() * 6) {
        _ if zeros > 0 => None,
        (true, false) => Some(UTF_16LE),
        (false, true) => Some(UTF_16BE),
        _ => None,
    }
}

/// Decodes a body; bytes that are no text become U+FFFD. A byte order mark stays, as a character.
pub(crate) fn decode(encoding: &'static Encoding, body: &[u8], out: &mut String) {
    out.clear();
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let needed = decoder.max_utf8_buffer_length(body.len()).unwrap_or(body.len().saturating_mul(3));
    out.reserve(needed);
    let _ = decoder.decode_to_string(body, out, true);
}

/// Encodes a masked body; what the charset lacks becomes a numeric reference.
pub(crate) fn encode(encoding: &'static Encoding, text: &str, out: &mut Vec<u8>) {
    out.clear();
    if encoding == UTF_16LE {
        out.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
    } else if encoding == UTF_16BE {
        out.extend(text.encode_utf16().flat_map(u16::to_be_bytes));
    } else {
        let (encoded, _, _) = encoding.encode(text);
        out.extend_from_slice(&encoded);
    }
}

/// A masked body in its charset: as it was sent but for its edits, even where it is written as nobody else would, or is no
/// text. `text` is what [`decode`] made of it, `masked` the same with the edits: which parts of it, and what replaces each.
pub(crate) fn write_back<'a>(
    encoding: &'static Encoding,
    body: &[u8],
    (text, masked): (&str, &str),
    edits: impl Iterator<Item = (Range<usize>, &'a [u8])>,
    out: &mut Vec<u8>,
) {
    encode(encoding, text, out);
    // Mostly it is written as anybody would. In a charset with shifts nothing stands by itself.
    if *out != body && encoding != ISO_2022_JP && splice(encoding, body, edits, out).is_some() {
        // What stood beside an edit may have been half a character.
        let mut again = String::new();
        decode(encoding, out, &mut again);
        if again == masked {
            return;
        }
    }
    encode(encoding, masked, out);
}

/// The body with its edits; `None` if one of them begins or ends where no character does.
fn splice<'a>(
    encoding: &'static Encoding,
    body: &[u8],
    edits: impl Iterator<Item = (Range<usize>, &'a [u8])>,
    out: &mut Vec<u8>,
) -> Option<()> {
    out.clear();
    let mut decoder = encoding.new_decoder_without_bom_handling();
    // How far it is decoded: so many bytes of it give so many of the text.
    let (mut at, mut given) = (0, 0);
    let mut reach = |place: usize| {
        while given < place {
            // More than one byte can give, and those in front of it that gave nothing.
            let mut out = [0; 64];
            let rest = body.get(at..).filter(|rest| !rest.is_empty())?;
            given += decoder.decode_to_utf8(&rest[..1], &mut out, rest.len() == 1).2;
            at += 1;
        }
        (given == place).then_some(at)
    };
    let mut done = 0;
    let mut part = Vec::new();
    for (range, replacement) in edits {
        out.extend_from_slice(body.get(done..reach(range.start)?)?);
        encode(encoding, str::from_utf8(replacement).ok()?, &mut part);
        out.extend_from_slice(&part);
        done = reach(range.end)?;
    }
    out.extend_from_slice(&body[done..]);
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn charsets_are_told() {
        let wide: Vec<u8> = "{\"a\":1}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(foreign(None, &wide), Some(UTF_16LE));
        assert_eq!(foreign(Some(b"utf-16be"), &wide), Some(UTF_16LE), "as the bytes say");
        assert_eq!(foreign(Some(b"utf-16"), b"plain"), Some(UTF_16LE));
        assert_eq!(foreign(Some(b"iso-8859-1"), b"plain"), None);
        assert_eq!(foreign(Some(b"iso-8859-1"), b"gr\xfcn").map(Encoding::name), Some("windows-1252"));
        assert_eq!(foreign(None, b"\xef\xbb\xbfx"), None);
        assert_eq!(foreign(None, b"\xff\xfex\0"), Some(UTF_16LE));
        assert_eq!(foreign(None, &[0; 100]), None);
    }

    #[test]
    fn text_comes_back_as_it_was() {
        for label in ["utf-16le", "utf-16be", "shift_jis", "gbk", "iso-8859-1", "euc-kr", "big5"] {
            let encoding = Encoding::for_label(label.as_bytes()).unwrap();
            let text = if label == "iso-8859-1" { "grün 1" } else { "テ1" };
            let text = if matches!(label, "euc-kr" | "big5" | "gbk") { "中1" } else { text };
            let (mut bytes, mut again) = (Vec::new(), String::new());
            encode(encoding, text, &mut bytes);
            decode(encoding, &bytes, &mut again);
            assert_eq!(again, text, "{label}");
        }
    }
    /// Charsets without shifts.
    const LABELS: [&str; 9] =
        ["utf-16le", "utf-16be", "shift_jis", "gbk", "gb18030", "big5", "euc-kr", "euc-jp", "windows-1253"];

    fn written_back(encoding: &'static Encoding, body: &[u8], secret: &str) -> (Vec<u8>, String) {
        let (mut text, mut out) = (String::new(), Vec::new());
        decode(encoding, body, &mut text);
        let masked = text.replace(secret, "tok_1");
        let edits = text.match_indices(secret).map(|(at, found)| (at..at + found.len(), &b"tok_1"[..]));
        write_back(encoding, body, (&text, &masked), edits, &mut out);
        (out, masked)
    }

    /// Characters that are written in two ways, and bytes that are none.
    #[test]
    fn only_what_is_edited_changes() {
        for (label, odd) in [
            ("shift_jis", &b"\xed\x40 \x81\"\x87\x90\xa0"[..]),
            ("gbk", b"\x80 \xff\"\xa2\xe3 \x81"),
            ("big5", b"\xa1\xc3 \xff\"\x81\x20"),
            ("euc-jp", b"\xfc\xf1 \x8f\"\xa2\xaf"),
            ("euc-kr", b"\xff \x81\""),
            ("utf-16le", b"\x00\xd8 \x00\x00\xdc\"\x00"),
            ("utf-16be", b"\xd8\x00\x00 \xdc\x00\x00\""),
            ("windows-1253", b"\xaa \xd2\xff"),
        ] {
            let encoding = Encoding::for_label(label.as_bytes()).unwrap();
            let written = |text: &str| {
                let mut out = Vec::new();
                encode(encoding, text, &mut out);
                out
            };
            let body = |secret: &str| {
                let parts = [
                    odd,
                    &written("=\""),
                    &written(secret),
                    &written("\" "),
                    odd,
                    &written(" "),
                    &written(secret),
                    &written("\""),
                ];
                parts.concat()
            };
            let sent = body("hunter2");
            assert_eq!(written_back(encoding, &sent, "hunter2").0, body("tok_1"), "{label}");
            // An odd byte at the end belongs to nothing.
            let cut = [&sent[..], b"\x81"].concat();
            assert_eq!(written_back(encoding, &cut, "hunter2").0, [&body("tok_1")[..], b"\x81"].concat(), "{label}");
        }
    }

    /// A text with numeric references in the place of all that is not ASCII.
    fn referred(text: &str) -> String {
        let refer = |letter: char| match letter.is_ascii() {
            true => letter.to_string(),
            false => format!("&#{};", u32::from(letter)),
        };
        text.chars().map(refer).collect()
    }

    proptest! {
        /// Whatever is sent: what comes back says what it is to say.
        #[test]
        fn what_is_written_back_is_read_back(
            label in prop::sample::select(&LABELS[..]),
            parts in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..6), "[ -~]{0,3}"), 0..6),
        ) {
            let encoding = Encoding::for_label(label.as_bytes()).unwrap();
            let mut body = Vec::new();
            for (noise, text) in parts {
                let mut part = Vec::new();
                encode(encoding, &format!("{text}hunter2"), &mut part);
                body.extend([noise, part].concat());
            }
            let (out, masked) = written_back(encoding, &body, "hunter2");
            let mut again = String::new();
            decode(encoding, &out, &mut again);
            // Big5 has characters that can only be read.
            prop_assert_eq!(referred(&again), referred(&masked));
        }
    }
}
