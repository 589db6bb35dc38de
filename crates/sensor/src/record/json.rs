//! JSON text (RFC 8259), appended to a byte buffer.
//!
//! Strings are copied and checked in the same pass, eight bytes at a step; only one that holds a byte to be escaped, or
//! one outside of ASCII, is looked at again. The escapes are those of `serde_json`: the two-letter forms where JSON has
//! them, `\u00xx` for other control characters, everything else as it is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// The high bit of the lowest byte of `word` that cannot stand in a JSON string as it is, or lies outside of ASCII; above
/// it, bits may be set for bytes that could. Zero: every byte can.
///
/// Flipping bit 1 moves `"` (0x22) to 0x20 and leaves what is below 0x20 below it, so one comparison finds both.
const fn special(word: u64) -> u64 {
    let control_or_quote = (word ^ (ONES * 0x02)).wrapping_sub(ONES * 0x21);
    let backslash = (word ^ (ONES * 0x5c)).wrapping_sub(ONES);
    (word | control_or_quote | backslash) & HIGH
}

/// As [`special`], for bytes that have to be escaped alone.
const fn escapable(word: u64) -> u64 {
    special(word & !HIGH) & !word
}

/// Appends `bytes` as they are; true when any of them is [`special`].
///
/// What the steps leave over is taken as a step that overlaps the one before, so that no copy has a variable length: such
/// a copy is a call, and costs more than all the rest for strings as short as header fields are.
#[inline]
fn append_checked(bytes: &[u8], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let mut found = 0;
    let (steps, rest) = bytes.as_chunks::<8>();
    for step in steps {
        found |= special(u64::from_le_bytes(*step));
        out.extend_from_slice(step);
    }
    if rest.is_empty() {
        return found != 0;
    }
    if let Some(last) = bytes.last_chunk::<8>() {
        found |= special(u64::from_le_bytes(*last));
        out.truncate(start + bytes.len() - 8);
        out.extend_from_slice(last);
    } else if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        let word = u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32;
        found |= special(word);
        out.extend_from_slice(first);
        out.truncate(start + bytes.len() - 4);
        out.extend_from_slice(last);
    } else {
        for byte in bytes {
            found |= special(u64::from(*byte) | (ONES * 0x20) << 8);
            out.push(*byte);
        }
    }
    found != 0
}

/// Appends what stands between the quotes of a JSON string. `bytes` are UTF-8.
#[inline(never)]
fn append_escaped(bytes: &[u8], out: &mut Vec<u8>) {
    let mut rest = bytes;
    while let Some(step) = rest.first_chunk::<8>() {
        let mask = escapable(u64::from_le_bytes(*step));
        out.extend_from_slice(step);
        if mask == 0 {
            rest = &rest[8..];
        } else {
            let clean = mask.trailing_zeros() as usize / 8;
            out.truncate(out.len() - 8 + clean);
            append_escape(step[clean], out);
            rest = &rest[clean + 1..];
        }
    }
    for byte in rest {
        if matches!(byte, 0..0x20 | b'"' | b'\\') {
            append_escape(*byte, out);
        } else {
            out.push(*byte);
        }
    }
}

fn append_escape(byte: u8, out: &mut Vec<u8>) {
    let letter = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        b'\t' => b't',
        b'\n' => b'n',
        0x0c => b'f',
        b'\r' => b'r',
        _ => {
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex_digit(byte >> 4), hex_digit(byte & 15)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', letter]);
}

/// The lower-case hexadecimal digit of a number below 16.
pub(super) const fn hex_digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}

/// Appends `bytes` as a JSON string where they are UTF-8; else nothing, and says so.
#[inline]
pub(super) fn append_utf8(bytes: &[u8], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    out.push(b'"');
    if append_checked(bytes, out) {
        out.truncate(start + 1);
        if !append_utf8_slowly(bytes, out) {
            out.truncate(start);
            return false;
        }
    }
    out.push(b'"');
    true
}

#[cold]
fn append_utf8_slowly(bytes: &[u8], out: &mut Vec<u8>) -> bool {
    let valid = core::str::from_utf8(bytes).is_ok();
    if valid {
        append_escaped(bytes, out);
    }
    valid
}

/// Appends `text` as a JSON string.
pub(super) fn append_str(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    append_escaped(text.as_bytes(), out);
    out.push(b'"');
}

/// Appends `bytes` as a JSON string, each invalid sequence in them replaced by U+FFFD, as `String::from_utf8_lossy` does.
pub(super) fn append_lossy(bytes: &[u8], out: &mut Vec<u8>) {
    if append_utf8(bytes, out) {
        return;
    }
    out.push(b'"');
    for chunk in bytes.utf8_chunks() {
        append_escaped(chunk.valid().as_bytes(), out);
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.push(b'"');
}

/// Appends `bytes` losslessly: as a JSON string where they are UTF-8, else as `{"base64":"…"}`.
#[inline]
pub(super) fn append_lossless(bytes: &[u8], out: &mut Vec<u8>) {
    if !append_utf8(bytes, out) {
        out.extend_from_slice(b"{\"base64\":");
        append_base64(bytes, out);
        out.push(b'}');
    }
}

/// Appends `bytes` as a JSON string in base64 (RFC 4648, section 4, with padding).
pub(super) fn append_base64(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let start = out.len();
    // A multiple of three bytes needs no padding, so pieces can stand one behind the other.
    const PIECE: usize = 3 << 10;
    for piece in bytes.chunks(PIECE) {
        let at = out.len();
        out.resize(at + piece.len().div_ceil(3) * 4, 0);
        // The room is exactly what the encoding needs.
        let written = STANDARD.encode_slice(piece, &mut out[at..]).unwrap_or_default();
        out.truncate(at + written);
    }
    debug_assert_eq!(out.len() - start, bytes.len().div_ceil(3) * 4);
    out.push(b'"');
}

/// Appends a number in decimal.
#[inline]
pub(super) fn append_number(number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends a number as 16 lower-case hexadecimal digits.
pub(super) fn append_hex(number: u64, out: &mut Vec<u8>) {
    for byte in number.to_be_bytes() {
        out.extend_from_slice(&[hex_digit(byte >> 4), hex_digit(byte & 15)]);
    }
}
