//! JSON text (RFC 8259), appended to a byte buffer.
//!
//! Strings are copied and checked in the same pass, sixteen bytes at a step; only one that holds a byte to be escaped, or
//! one outside of ASCII, is looked at again. The escapes are those of `serde_json`: the two-letter forms where JSON has
//! them, `\u00xx` for other control characters, everything else as it is.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub(super) use super::room::MAX_ESCAPED;
use super::room::{BLOCK, Mark, Room, STEP, Steps, WINDOW};

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// A bit for each byte of the block that has to be escaped, the first byte's lowest. Exact for any bytes.
#[inline(always)]
const fn escapes_in(window: &[u8; WINDOW]) -> u64 {
    let mut mask = 0;
    let (words, _) = window.as_chunks::<8>();
    let mut index = 0;
    while index < BLOCK / 8 {
        let word = u64::from_le_bytes(words[index]);
        // No sum of two numbers below 0x80 carries into the next byte, so each high bit speaks for its own byte.
        let no_control_or_quote = ((word ^ (ONES * 0x02)) & !HIGH) + ONES * (0x80 - 0x21);
        let no_backslash = ((word ^ (ONES * 0x5c)) & !HIGH) + ONES * 0x7f;
        let escapes = !(no_control_or_quote & no_backslash | word) & HIGH;
        // Gathers the eight high bits: each lands on its own bit of the topmost byte.
        mask |= ((escapes >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * index);
        index += 1;
    }
    mask
}

/// Marks of bytes that cannot stand in a JSON string as they are, or lie outside of ASCII.
#[derive(Clone, Copy)]
struct Special([u8; STEP]);

impl Special {
    const NONE: Self = Self([0; STEP]);

    #[inline(always)]
    const fn is_any(self) -> bool {
        u128::from_ne_bytes(self.0) != 0
    }

    /// One vector instruction for each operator, on any x86-64 or ARMv8.
    #[inline(always)]
    fn in_step(step: &[u8; STEP]) -> [u8; STEP] {
        let mut marks = [0; STEP];
        for (byte, mark) in step.iter().zip(&mut marks) {
            // As a signed number, a byte outside of ASCII is below a space too.
            *mark = u8::from(byte.cast_signed() < 0x20) | u8::from(*byte == b'"') | u8::from(*byte == b'\\');
        }
        marks
    }
}

impl Mark for Special {
    #[inline(always)]
    fn mark(&mut self, step: &[u8; STEP]) {
        for (mark, found) in self.0.iter_mut().zip(Self::in_step(step)) {
            *mark |= found;
        }
    }

    #[inline(always)]
    fn mark_first(&mut self, step: &[u8; STEP], count: usize) {
        for ((mark, found), keep) in self.0.iter_mut().zip(Self::in_step(step)).zip(first_of_step(count)) {
            *mark |= found & keep;
        }
    }
}

/// All bits of the first `count` bytes of a step.
#[inline(always)]
fn first_of_step(count: usize) -> &'static [u8; STEP] {
    const KEPT: [u8; 2 * STEP] = {
        let mut kept = [0; 2 * STEP];
        let mut at = 0;
        while at < STEP {
            kept[at] = 0xff;
            at += 1;
        }
        kept
    };
    const ALL: &[u8; STEP] = &[0xff; STEP];
    KEPT.get(STEP - count.min(STEP)..).and_then(<[u8]>::first_chunk).unwrap_or(ALL)
}

/// Puts what stands between the quotes of a JSON string. `bytes` are UTF-8.
#[inline(always)]
fn put_escaped(bytes: &[u8], room: &mut Room<'_>) {
    let mut rest = bytes;
    while let Some(window) = rest.first_chunk::<WINDOW>() {
        room.put_block(window, BLOCK, escapes_in(window), &ESCAPE_LETTERS);
        rest = &rest[BLOCK..];
    }
    for last in rest.chunks(BLOCK) {
        let mut window = [0; WINDOW];
        window[..last.len()].copy_from_slice(last);
        room.put_block(&window, last.len(), escapes_in(&window), &ESCAPE_LETTERS);
    }
}

/// The letter that escapes a byte; 0 where there is none.
const ESCAPE_LETTERS: [u8; 128] = {
    let mut letters = [0; 128];
    letters[b'"' as usize] = b'"';
    letters[b'\\' as usize] = b'\\';
    letters[0x08] = b'b';
    letters[b'\t' as usize] = b't';
    letters[b'\n' as usize] = b'n';
    letters[0x0c] = b'f';
    letters[b'\r' as usize] = b'r';
    letters
};

/// The sixteen lower-case hexadecimal digits of a number, side by side in two words.
pub(super) fn hex_digits(number: u64) -> [u8; 16] {
    // Each byte of `word` comes to lie in two bytes, its upper half in the lower one.
    let spread = |half: u32| {
        let mut word = u64::from(half.swap_bytes());
        word = (word | word << 16) & 0x0000_ffff_0000_ffff;
        word = (word | word << 8) & 0x00ff_00ff_00ff_00ff;
        let nibbles = (word >> 4 | word << 8) & (ONES * 0x0f);
        let letters = (nibbles + ONES * 6) >> 4 & ONES;
        (nibbles | ZEROS) + letters * u64::from(b'a' - b'0' - 10)
    };
    let mut digits = [0; 16];
    let (upper, lower) = digits.split_at_mut(8);
    upper.copy_from_slice(&spread((number >> 32) as u32).to_le_bytes());
    lower.copy_from_slice(&spread(number as u32).to_le_bytes());
    digits
}

/// What a byte of UTF-8 takes in a JSON string.
const fn escaped_byte(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' | 0x08 | b'\t' | b'\n' | 0x0c | b'\r' => 2,
        0..0x20 => MAX_ESCAPED,
        _ => 1,
    }
}

/// What `text` takes in a JSON string, without the quotes.
pub(super) fn escaped_len(text: &str) -> usize {
    text.bytes().map(escaped_byte).sum()
}

/// How many of the first bytes of `text`, whole characters, take no more than `limit` bytes in a JSON string.
pub(super) fn escaped_prefix(text: &str, limit: usize) -> usize {
    let mut left = limit;
    let fitting = text.bytes().take_while(|byte| {
        let cost = escaped_byte(*byte);
        let fits = cost <= left;
        left = left.saturating_sub(cost);
        fits
    });
    text.floor_char_boundary(fitting.count())
}

/// Appends `text` as a JSON string.
pub(super) fn append_str(text: &str, out: &mut Vec<u8>) {
    let mut room = Room::at_end_of(out);
    room.put(b"\"");
    put_escaped(text.as_bytes(), &mut room);
    room.put(b"\"");
}

/// Appends `bytes` as a JSON string where they are UTF-8; else nothing, and says so.
fn append_utf8(bytes: &[u8], out: &mut Vec<u8>) -> bool {
    let text = core::str::from_utf8(bytes);
    if let Ok(text) = text {
        append_str(text, out);
    }
    text.is_ok()
}

/// Appends `bytes` as a JSON string, each invalid sequence in them replaced by U+FFFD, as `String::from_utf8_lossy` does.
fn append_lossy(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    append_lossy_inside(bytes, out);
    out.push(b'"');
}

/// The same without the quotation marks.
pub(super) fn append_lossy_inside(bytes: &[u8], out: &mut Vec<u8>) {
    let mut room = Room::at_end_of(out);
    for chunk in bytes.utf8_chunks() {
        put_escaped(chunk.valid().as_bytes(), &mut room);
        if !chunk.invalid().is_empty() {
            room.put(b"\xef\xbf\xbd");
        }
    }
}

/// Puts `part`, best one that stands in `whole`, as a JSON string where it is UTF-8; else nothing, and says so.
///
/// It is copied and looked at in one pass; only where it holds anything special that is undone and it is written with care.
#[inline(always)]
pub(super) fn put_utf8(part: &[u8], whole: &[u8], room: &mut Room<'_>) -> bool {
    let start = room.len();
    if let Some(steps) = Steps::of(part, whole) {
        if !room.put_between(b"\"", steps, b"\"", Special::NONE).is_any() {
            return true;
        }
        room.take_back_to(start);
    }
    room.with_vec(|out| append_utf8(part, out))
}

/// Puts `part`, best one that stands in `whole`, as a JSON string, each invalid sequence in it replaced by U+FFFD. Says
/// whether there was none.
#[inline(always)]
pub(super) fn put_lossy(part: &[u8], whole: &[u8], room: &mut Room<'_>) -> bool {
    let is_utf8 = put_utf8(part, whole, room);
    if !is_utf8 {
        room.with_vec(|out| append_lossy(part, out));
    }
    is_utf8
}

/// Puts a header field losslessly, as an array of its name and value: each a JSON string where it is UTF-8, else
/// `{"base64":"…"}`; and a comma. Best, name and value stand in `whole`.
#[inline(always)]
pub(super) fn put_field(name: &[u8], value: &[u8], whole: &[u8], room: &mut Room<'_>) {
    let start = room.len();
    if let (Some(name), Some(value)) = (Steps::of(name, whole), Steps::of(value, whole)) {
        let marks = room.put_between(b"[\"", name, b"\",\"", Special::NONE);
        if !room.put_between(b"", value, b"\"],", marks).is_any() {
            return;
        }
        room.take_back_to(start);
    }
    room.with_vec(|out| append_field(name, value, out));
}

#[inline(never)]
fn append_field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    let append_lossless = |bytes, out: &mut Vec<u8>| {
        if !append_utf8(bytes, out) {
            out.extend_from_slice(b"{\"base64\":");
            append_base64(bytes, out);
            out.push(b'}');
        }
    };
    out.push(b'[');
    append_lossless(name, out);
    out.push(b',');
    append_lossless(value, out);
    out.extend_from_slice(b"],");
}

/// Appends `bytes` as a JSON string in base64 (RFC 4648, section 4, with padding).
pub(super) fn append_base64(bytes: &[u8], out: &mut Vec<u8>) {
    let mut room = Room::at_end_of(out);
    room.put(b"\"");
    put_base64(bytes, &mut room);
    room.put(b"\"");
}

/// Puts `bytes` in base64, without quotation marks.
#[inline(always)]
pub(super) fn put_base64(bytes: &[u8], room: &mut Room<'_>) {
    room.with_vec(|out| append_base64_inside(bytes, out));
}

fn append_base64_inside(bytes: &[u8], out: &mut Vec<u8>) {
    // A multiple of three bytes needs no padding, so pieces can stand one behind the other.
    const PIECE: usize = 3 << 10;
    for piece in bytes.chunks(PIECE) {
        let at = out.len();
        out.resize(at + piece.len().div_ceil(3) * 4, 0);
        // The room is exactly what the encoding needs.
        let written = STANDARD.encode_slice(piece, &mut out[at..]).unwrap_or_default();
        out.truncate(at + written);
    }
}

/// Puts a number below 1000 with its leading zeros.
#[inline(always)]
pub(super) fn put_three_digits(number: u32, room: &mut Room<'_>) {
    let [.., hundreds, tens, ones] = (eight_digits(number) | ZEROS).to_le_bytes();
    room.put(&[hundreds, tens, ones]);
}

/// The eight decimal digits of a number below 10⁸, the first in the lowest byte, each as a number.
///
/// Halves, quarters and digits are split side by side in one word; each multiplication by a rounded reciprocal is exact
/// over its range.
pub(super) const fn eight_digits(number: u32) -> u64 {
    let halves = (number / 10_000) as u64 | ((number % 10_000) as u64) << 32;
    let hundreds = ((halves * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let quarters = hundreds | (halves - hundreds * 100) << 16;
    let tens = ((quarters * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | (quarters - tens * 10) << 8
}

/// `0` in each byte: what makes digits characters.
pub(super) const ZEROS: u64 = ONES * b'0' as u64;

/// Puts a number in decimal.
#[inline(always)]
pub(super) fn put_number(number: u64, room: &mut Room<'_>) {
    if number < 100_000_000 {
        let digits = eight_digits(number as u32);
        // The last digit stands, be it zero.
        let leading = (digits | 1 << 56).trailing_zeros() / 8;
        room.put_part(&((digits | ZEROS) >> (8 * leading)).to_le_bytes(), 8 - leading as usize);
    } else {
        room.with_vec(|out| append_number(number, out));
    }
}

#[inline(never)]
fn append_number(number: u64, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{number}");
}

/// Each byte's decimal digits and a full stop, and how many characters that is.
const OCTETS: [([u8; 4], u8); 256] = {
    let mut octets = [([b'.'; 4], 0); 256];
    let mut number = 0;
    while number < 256 {
        let digits = [b'0' + (number / 100) as u8, b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8];
        let leading = if number >= 100 {
            0
        } else if number >= 10 {
            1
        } else {
            2
        };
        let mut at = leading;
        while at < 3 {
            octets[number].0[at - leading] = digits[at];
            at += 1;
        }
        octets[number].1 = (4 - leading) as u8;
        number += 1;
    }
    octets
};

/// Puts an IPv4 address.
#[inline(always)]
pub(super) fn put_ipv4(octets: [u8; 4], room: &mut Room<'_>) {
    for octet in octets {
        let (text, len) = &OCTETS[usize::from(octet)];
        room.put_part(text, usize::from(*len));
    }
    room.take_back_to(room.len() - 1);
}

/// Puts `true` or `false`.
#[inline(always)]
pub(super) fn put_bool(is: bool, room: &mut Room<'_>) {
    if is { room.put(b"true") } else { room.put(b"false") }
}

/// Puts a number as 16 lower-case hexadecimal digits.
#[inline(always)]
pub(super) fn put_hex(number: u64, room: &mut Room<'_>) {
    room.put(&hex_digits(number));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn as_string(bytes: &[u8]) -> Option<String> {
        let mut out = b"before".to_vec();
        let is_utf8 = put_utf8(bytes, bytes, &mut Room::at_end_of(&mut out));
        // What stands around it makes no difference.
        for around in ["", "\"\n", "a quite ordinary piece of text, long enough"] {
            let whole = [around.as_bytes(), bytes, around.as_bytes()].concat();
            let mut within = b"before".to_vec();
            let part = &whole[around.len()..][..bytes.len()];
            assert_eq!(put_utf8(part, &whole, &mut Room::at_end_of(&mut within)), is_utf8);
            assert_eq!(within, out);
        }
        let text = String::from_utf8(out).unwrap();
        let text = text.strip_prefix("before").unwrap();
        assert_eq!(is_utf8, !text.is_empty());
        is_utf8.then(|| text.to_owned())
    }

    #[test]
    fn numbers_and_addresses() {
        let mut numbers: Vec<u64> =
            (0..12_000).chain((12_000..100_000_000).step_by(9_973)).chain([u64::MAX, u64::MAX / 10]).collect();
        numbers.extend((0..20).flat_map(|power| [10_u64.pow(power), 10_u64.pow(power) - 1]));
        for number in numbers {
            let mut out = Vec::new();
            put_number(number, &mut Room::at_end_of(&mut out));
            assert_eq!(out, number.to_string().into_bytes());
        }
        for octet in 0..=255 {
            let mut out = Vec::new();
            put_ipv4([octet, 255 - octet, 7, octet], &mut Room::at_end_of(&mut out));
            assert_eq!(out, format!("{octet}.{}.7.{octet}", 255 - octet).into_bytes());
        }
        let mut out = Vec::new();
        put_hex(0x0123_4567_89ab_cdef, &mut Room::at_end_of(&mut out));
        assert_eq!(out, b"0123456789abcdef");
        for shift in 0..64 {
            let number = 0x0f1e_2d3c_4b5a_6978_u64.rotate_left(shift);
            assert_eq!(String::from_utf8(hex_digits(number).to_vec()).unwrap(), format!("{number:016x}"));
        }
    }

    /// Every byte at every place of a string of every length around the steps and blocks.
    #[test]
    fn each_byte_is_written_as_serde_json_does() {
        for len in [1_usize, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 79, 80, 81, 200] {
            for place in [0, 1, len / 2, len.saturating_sub(2), len - 1] {
                for byte in 0..=255 {
                    let mut bytes = vec![b'x'; len];
                    bytes[place.min(len - 1)] = byte;
                    let expected = core::str::from_utf8(&bytes).ok().map(|text| serde_json::to_string(text).unwrap());
                    assert_eq!(as_string(&bytes), expected, "{byte:#x} at {place} of {len}");
                }
            }
        }
    }

    /// Neighbours do not hide one another: each pair of bytes, in a block and in its remainder.
    #[test]
    fn the_length_of_what_is_written_is_known_before() {
        let text: String = ('\0'..'\u{120}').collect();
        for (at, char) in text.char_indices() {
            let mut out = Vec::new();
            append_str(&text[at..at + char.len_utf8()], &mut out);
            assert_eq!(escaped_len(&text[at..at + char.len_utf8()]), out.len() - 2, "{char:?}");
        }
        for limit in 0..escaped_len(&text) + 2 {
            let end = escaped_prefix(&text, limit);
            assert!(escaped_len(&text[..end]) <= limit);
            let next = text[end..].chars().next().map_or(0, char::len_utf8);
            assert!(next == 0 || escaped_len(&text[..end + next]) > limit, "{limit}");
        }
    }

    #[test]
    fn each_pair_of_bytes_is_written_as_serde_json_does() {
        for first in 0..=127_u8 {
            for second in 0..=127_u8 {
                let mut text = "é".repeat(60);
                for at in [0, 14, 62, 80, 118] {
                    text.insert(at, first.into());
                    text.insert(at, second.into());
                }
                let mut out = Vec::new();
                append_str(&text, &mut out);
                assert_eq!(String::from_utf8(out).unwrap(), serde_json::to_string(&text).unwrap());
            }
        }
    }

    #[test]
    fn text_longer_than_a_piece() {
        let text: String = (0..5000).map(|index| if index % 7 == 0 { '"' } else { 'ü' }).collect();
        let mut out = Vec::new();
        append_str(&text, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), serde_json::to_string(&text).unwrap());
    }

    #[test]
    fn invalid_sequences_are_replaced_as_the_standard_library_does() {
        for bytes in [b"\xff".as_slice(), b"a\xc3", b"\xf0\x9d\x84a\"\xed\xa0\x80", b"", b"plain"] {
            let mut out = Vec::new();
            put_lossy(bytes, bytes, &mut Room::at_end_of(&mut out));
            let expected = serde_json::to_string(&String::from_utf8_lossy(bytes)).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn base64_in_pieces_is_base64_of_the_whole() {
        for len in [0, 1, 2, 3, 3071, 3072, 3073, 10_000] {
            let bytes: Vec<u8> = (0..len).map(|index| (index * 7) as u8).collect();
            let mut out = Vec::new();
            append_base64(&bytes, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), format!("\"{}\"", STANDARD.encode(&bytes)));
        }
    }
}
