//! JSON text (RFC 8259), appended to a byte buffer.
//!
//! Strings are copied and checked in the same pass, sixteen bytes at a step; only one that holds a byte to be escaped, or
//! one outside of ASCII, is looked at again. The escapes are those of `serde_json`: the two-letter forms where JSON has
//! them, `\u00xx` for other control characters, everything else as it is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::room::Room;

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

/// A bit for each byte of `block` that has to be escaped, the first byte's lowest. Exact for any bytes.
#[inline(always)]
const fn escapes_in(block: &[u8; 64]) -> u64 {
    let mut mask = 0;
    let (words, _) = block.as_chunks::<8>();
    let mut index = 0;
    while index < words.len() {
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

/// Puts `bytes` as they are; true when any of them is [`special`].
///
/// What the steps leave over is taken as a step that overlaps the one before, so that no copy has a variable length: such
/// a copy is a call, and costs more than all the rest for strings as short as header fields are.
#[inline(always)]
fn put_checked(bytes: &[u8], room: &mut Room<'_>) -> bool {
    let start = room.len();
    let mut found = 0;
    if let Some(last) = bytes.last_chunk::<16>() {
        let mut marks = [0; 16];
        for step in bytes.as_chunks::<16>().0 {
            mark_special(step, &mut marks);
            room.put(step);
        }
        mark_special(last, &mut marks);
        found = u64::from(marks.iter().fold(0, |any, mark| any | mark));
        room.take_back_to(start + bytes.len() - 16);
        room.put(last);
    } else if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        found |= special(u64::from_le_bytes(*first)) | special(u64::from_le_bytes(*last));
        room.put(first);
        room.take_back_to(start + bytes.len() - 8);
        room.put(last);
    } else if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        let word = u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32;
        found |= special(word);
        room.put(first);
        room.take_back_to(start + bytes.len() - 4);
        room.put(last);
    } else {
        for byte in bytes {
            found |= special(u64::from(*byte) | (ONES * 0x20) << 8);
            room.put(&[*byte]);
        }
    }
    found != 0
}

/// Sets the mark of each byte that is [`special`]. One vector instruction for each operator, on any x86-64 or ARMv8.
#[inline(always)]
fn mark_special(step: &[u8; 16], marks: &mut [u8; 16]) {
    for (byte, mark) in step.iter().zip(marks) {
        // As a signed number, a byte outside of ASCII is below a space too.
        *mark |= u8::from(byte.cast_signed() < 0x20) | u8::from(*byte == b'"') | u8::from(*byte == b'\\');
    }
}

/// The most bytes that a byte takes in a JSON string.
pub(super) const MAX_ESCAPED: usize = 6;

/// Puts what stands between the quotes of a JSON string. `bytes` are UTF-8.
///
/// JSON in a body has a quotation mark every few bytes, at distances that no branch predictor foresees; so the places of
/// a block's escapes are found all at once, and what lies between two of them is put as a whole step, of which the next
/// one overwrites what was too much.
fn put_escaped(bytes: &[u8], room: &mut Room<'_>) {
    room.locally(|room| {
        let mut rest = bytes;
        // A step may begin at a block's last byte, so there must be another one behind it.
        while let Some(window) = rest.first_chunk::<{ 64 + STEP }>() {
            if let Some(block) = window.first_chunk::<64>() {
                put_block(block, window, room);
            }
            rest = &rest[64..];
        }
        for byte in rest {
            if matches!(byte, 0..0x20 | b'"' | b'\\') {
                put_escape(*byte, room);
            } else {
                room.put(&[*byte]);
            }
        }
    });
}

const STEP: usize = 16;

#[inline(always)]
fn put_block(block: &[u8; 64], window: &[u8; 64 + STEP], room: &mut Room<'_>) {
    let mut escapes = escapes_in(block);
    if escapes == 0 {
        room.put(block);
        return;
    }
    let mut from = 0;
    while escapes != 0 {
        let to = escapes.trailing_zeros() as usize;
        put_run(window, from, to, room);
        put_escape(block[to & 63], room);
        escapes &= escapes - 1;
        from = to + 1;
    }
    put_run(window, from, block.len(), room);
}

#[inline(always)]
fn put_run(window: &[u8; 64 + STEP], mut from: usize, to: usize, room: &mut Room<'_>) {
    while let Some(step) = window.get(from..).and_then(|rest| rest.first_chunk::<STEP>()) {
        if to - from <= STEP {
            room.put_part(step, to - from);
            return;
        }
        room.put(step);
        from += STEP;
    }
}

#[inline(always)]
fn put_escape(byte: u8, room: &mut Room<'_>) {
    let letter = ESCAPE_LETTERS[byte as usize & 127];
    if letter == 0 {
        room.put(&[b'\\', b'u', b'0', b'0', hex_digit(byte >> 4), hex_digit(byte & 15)]);
    } else {
        room.put(&[b'\\', letter]);
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

/// The lower-case hexadecimal digit of a number below 16.
pub(super) const fn hex_digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
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
    // Enough for the cache, and little enough that the room kept free for the worst case stays small.
    const PIECE: usize = 1 << 10;
    out.push(b'"');
    for piece in text.as_bytes().chunks(PIECE) {
        Room::append(out, room_for(piece), |room| put_escaped(piece, room));
    }
    out.push(b'"');
}

/// Appends `bytes` as a JSON string where they are UTF-8; else nothing, and says so.
pub(super) fn append_utf8(bytes: &[u8], out: &mut Vec<u8>) -> bool {
    Room::append(out, room_for(bytes), |room| put_utf8(bytes, room))
}

/// Appends `bytes` as a JSON string, each invalid sequence in them replaced by U+FFFD, as `String::from_utf8_lossy` does.
pub(super) fn append_lossy(bytes: &[u8], out: &mut Vec<u8>) {
    if append_utf8(bytes, out) {
        return;
    }
    out.push(b'"');
    for chunk in bytes.utf8_chunks() {
        let valid = chunk.valid().as_bytes();
        Room::append(out, room_for(valid), |room| put_escaped(valid, room));
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.push(b'"');
}

/// Appends a header field losslessly, as an array of its name and value: each a JSON string where it is UTF-8, else
/// `{"base64":"…"}`.
#[inline]
pub(super) fn append_field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let is_utf8 = Room::append(out, room_for(name) + room_for(value) + 3, |room| {
        room.put(b"[");
        let is_name_utf8 = put_utf8(name, room);
        room.put(b",");
        let is_value_utf8 = put_utf8(value, room);
        room.put(b"]");
        is_name_utf8 && is_value_utf8
    });
    if !is_utf8 {
        out.truncate(start);
        append_field_slowly(name, value, out);
    }
}

#[cold]
fn append_field_slowly(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
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
    out.push(b']');
}

/// What a JSON string takes at most.
///
/// A step may put more than is kept of it.
#[inline(always)]
const fn room_for(bytes: &[u8]) -> usize {
    bytes.len() * MAX_ESCAPED + 2 + STEP
}

/// Puts `bytes` as a JSON string where they are UTF-8; else nothing, and says so.
#[inline(always)]
fn put_utf8(bytes: &[u8], room: &mut Room<'_>) -> bool {
    let start = room.len();
    room.put(b"\"");
    if put_checked(bytes, room) {
        room.take_back_to(start + 1);
        if !put_utf8_slowly(bytes, room) {
            room.take_back_to(start);
            return false;
        }
    }
    room.put(b"\"");
    true
}

#[inline(never)]
fn put_utf8_slowly(bytes: &[u8], room: &mut Room<'_>) -> bool {
    let is_utf8 = core::str::from_utf8(bytes).is_ok();
    if is_utf8 {
        put_escaped(bytes, room);
    }
    is_utf8
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
    if number < 10 {
        out.push(b'0' + number as u8);
        return;
    }
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = number;
    while rest >= 10 {
        at -= 2;
        let pair = (rest % 100) as u8;
        rest /= 100;
        digits[at] = b'0' + pair / 10;
        digits[at + 1] = b'0' + pair % 10;
    }
    if rest > 0 {
        at -= 1;
        digits[at] = b'0' + rest as u8;
    }
    out.extend_from_slice(&digits[at..]);
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

/// Appends an IPv4 address.
#[inline]
pub(super) fn append_ipv4(octets: [u8; 4], out: &mut Vec<u8>) {
    Room::append(out, 16, |room| {
        for octet in octets {
            let (text, len) = &OCTETS[usize::from(octet)];
            room.put_part(text, usize::from(*len));
        }
        let len = room.len();
        room.take_back_to(len - 1);
    });
}

/// Appends a number as 16 lower-case hexadecimal digits.
pub(super) fn append_hex(number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 16];
    for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(number.to_be_bytes()) {
        *pair = [hex_digit(byte >> 4), hex_digit(byte & 15)];
    }
    out.extend_from_slice(&digits);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn as_string(bytes: &[u8]) -> Option<String> {
        let mut out = b"before".to_vec();
        let is_utf8 = append_utf8(bytes, &mut out);
        let text = String::from_utf8(out).unwrap();
        let text = text.strip_prefix("before").unwrap();
        assert_eq!(is_utf8, !text.is_empty());
        is_utf8.then(|| text.to_owned())
    }

    #[test]
    fn numbers_and_addresses() {
        let mut numbers: Vec<u64> = (0..1100).chain([u64::MAX, u64::MAX / 10]).collect();
        numbers.extend((0..20).flat_map(|power| [10_u64.pow(power), 10_u64.pow(power) - 1]));
        for number in numbers {
            let mut out = Vec::new();
            append_number(number, &mut out);
            assert_eq!(out, number.to_string().into_bytes());
        }
        for octet in 0..=255 {
            let mut out = Vec::new();
            append_ipv4([octet, 255 - octet, 7, octet], &mut out);
            assert_eq!(out, format!("{octet}.{}.7.{octet}", 255 - octet).into_bytes());
        }
        let mut out = Vec::new();
        append_hex(0x0123_4567_89ab_cdef, &mut out);
        assert_eq!(out, b"0123456789abcdef");
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
            append_lossy(bytes, &mut out);
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

    #[test]
    fn numbers() {
        for number in [0, 9, 10, 12_345, u64::from(u32::MAX), u64::MAX] {
            let (mut decimal, mut hex) = (Vec::new(), Vec::new());
            append_number(number, &mut decimal);
            append_hex(number, &mut hex);
            assert_eq!(String::from_utf8(decimal).unwrap(), number.to_string());
            assert_eq!(String::from_utf8(hex).unwrap(), format!("{number:016x}"));
        }
    }
}
