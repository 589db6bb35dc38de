//! Charsets: bodies in other than supersets of ASCII are masked in UTF-8 and written back.

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

#[cfg(test)]
mod tests {
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
}
