//! Transfer encodings of parts: base64 and quoted-printable, read as leniently as mail programs do.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Takes what it is given: no padding, any bits at the end.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What `content` says if it is packed as `encoding`, the value of Content-Transfer-Encoding, tells; `None` if it is not packed.
pub(crate) fn unpack(encoding: &[u8], content: &[u8]) -> Option<Vec<u8>> {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    let encoding = encoding.trim_ascii_start();
    let word = &encoding[..encoding.iter().position(|byte| !is_word(byte)).unwrap_or(encoding.len())];
    if word.eq_ignore_ascii_case(b"base64") {
        Some(base64(content))
    } else if word.eq_ignore_ascii_case(b"quoted-printable") {
        Some(quoted_printable(content))
    } else {
        None
    }
}

/// Bytes that do not belong there are passed over; padding ends a group, but not the text.
fn base64(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() / 4 * 3);
    let mut group = Vec::with_capacity(content.len());
    for run in content.split(|byte| *byte == b'=') {
        group.clear();
        group.extend(run.iter().filter_map(|byte| match byte {
            b'-' => Some(b'+'),
            b'_' => Some(b'/'),
            byte if byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/') => Some(*byte),
            _ => None,
        }));
        // One letter alone is no byte.
        if group.len() % 4 == 1 {
            group.pop();
        }
        // It is of letters of the alphabet alone, and of a length that says something.
        let _ = LENIENT.decode_vec(&group, &mut out);
    }
    out
}

fn quoted_printable(content: &[u8]) -> Vec<u8> {
    let hex = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut out = Vec::with_capacity(content.len());
    let mut at = 0;
    while let Some(byte) = content.get(at) {
        at += 1;
        if *byte != b'=' {
            out.push(*byte);
            continue;
        }
        if let (Some(high), Some(low)) = (hex(content.get(at)), hex(content.get(at + 1))) {
            out.push((high << 4 | low) as u8);
            at += 2;
            continue;
        }
        // A soft line break, perhaps with blanks in front of it; or a sign for itself.
        let blanks = content[at..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        match &content[at + blanks..] {
            [b'\r', b'\n', ..] => at += blanks + 2,
            [b'\r' | b'\n', ..] => at += blanks + 1,
            _ => {
                out.push(b'=');
                // They are not counted again.
                out.extend_from_slice(&content[at..at + blanks]);
                at += blanks;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_texts_are_read() {
        for (encoding, content, expected) in [
            ("base64", "cGFzcw==", "pass"),
            ("BASE64 ; x", "cGF\r\nzcw", "pass"),
            ("Base64", "cGF!zcw==d29yZA==", "password"),
            (" base64", "cGFzc", "pas"),
            ("quoted-printable", "p=61ss=3D1 =\r\nx=\nz=  \r\ny =  q=4", "pass=1 xzy =  q=4"),
        ] {
            let unpacked = unpack(encoding.as_bytes(), content.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(unpacked).unwrap(), expected, "{content}");
        }
        for encoding in ["", "7bit", "binary", "base64x"] {
            assert_eq!(unpack(encoding.as_bytes(), b"cGFzcw=="), None, "{encoding}");
        }
    }
}
