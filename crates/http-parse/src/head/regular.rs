//! The reader for regular heads, which nearly all are: one pass over the bytes of a segment finds the head's end, splits
//! it into fields and checks the grammar (RFC 9112, sections 2.1 to 5).
//!
//! It never says anything of a head that it does not understand whole. Where a byte is rare, though allowed (tabs,
//! obs-text, symbols in names), it gives up too, and `httparse` reads the head once it is gathered. What it does read
//! it reads exactly as `httparse` does; a property test holds the two equal.

use super::{Fields, Start, lines};
use crate::message::{FramingFields, HeaderSpan, MessageKind, Span, Version};

/// Bytes of a head that are looked at together.
const BLOCK: usize = 64;
/// The most digits of a Content-Length that is taken for a plain one: no such number overflows.
const MAX_DIGITS: usize = 18;

/// Reads the head at the start of `bytes` and says how long it is; `None` when it does not end in them or is not
/// regular, with `fields` in any state.
pub(super) fn read_head(kind: MessageKind, bytes: &[u8], fields: &mut Fields<'_>) -> Option<(Start, usize)> {
    u32::try_from(bytes.len()).ok()?;
    fields.framing = FramingFields::None;
    let mut start: Option<Start> = None;
    // Where the line in hand starts. All before it has been read, and there are no controls from it to `base`.
    let mut line = 0_usize;
    let mut base = 0;
    loop {
        let rest = bytes.get(base..).filter(|rest| !rest.is_empty())?;
        let (mut found, at) = if let Some(block) = rest.first_chunk() {
            (controls(block), base)
        } else if let Some(block) = bytes.last_chunk() {
            (controls(block), bytes.len() - BLOCK)
        } else {
            let mut block = [b' '; BLOCK];
            block.get_mut(..bytes.len())?.copy_from_slice(bytes);
            (controls(&block), 0)
        };
        // The last block may begin inside the one before, and a line may have ended with this one's first byte.
        found &= u64::MAX.checked_shl(line.saturating_sub(at) as u32).unwrap_or(0);
        while found != 0 {
            let bit = found.trailing_zeros();
            let end = at + bit as usize;
            // Any other control, and either of these alone, is not regular.
            if bytes.get(end..).and_then(<[u8]>::first_chunk) != Some(b"\r\n") {
                return None;
            }
            found &= !(0b11 << bit);
            match start {
                Some(start) if end == line => {
                    fields.conclude(kind, start.version, true);
                    return Some((start, end + 2));
                }
                Some(_) => read_field(bytes, line, end, fields)?,
                None => start = Some(read_start(kind, bytes.get(..end)?)?),
            }
            line = end + 2;
        }
        base = at + BLOCK;
    }
}

/// Reads the field whose line is `start..end`, without its end; there are no controls in it.
#[inline]
fn read_field(bytes: &[u8], start: usize, end: usize, fields: &mut Fields<'_>) -> Option<()> {
    let len = usual_name(bytes.get(start..)?)?;
    let (name, value) = bytes.get(start..end)?.split_at_checked(len)?;
    if fields.spans.len() >= fields.max {
        return None;
    }
    // Nearly every value has one space in front.
    let (from, value) = match value {
        [b':', b' ', value @ ..] => (start + len + 2, value),
        [b':', value @ ..] => (start + len + 1, value),
        _ => return None,
    };
    let (from, to) = match value {
        [] | [b' ', ..] | [.., b' '] => trim(value, from),
        _ => (from, end),
    };
    match len {
        4 => fields.hosts += usize::from(name.eq_ignore_ascii_case(b"host")),
        super::FRAMING_SHORT if name.eq_ignore_ascii_case(b"content-length") => {
            fields.framing = match (fields.framing, plain_number(bytes.get(from..to)?)) {
                (FramingFields::None, Some(length)) => FramingFields::Length(length),
                _ => FramingFields::Some,
            };
        }
        super::FRAMING_LONG if name.eq_ignore_ascii_case(b"transfer-encoding") => {
            fields.framing = FramingFields::Some;
        }
        _ => {}
    }
    fields.spans.push(HeaderSpan { name: span(start, start + len), value: span(from, to) });
    Some(())
}

/// Where `value`, which starts at `from`, starts and ends without the spaces around it.
#[cold]
fn trim(value: &[u8], from: usize) -> (usize, usize) {
    let start = from + value.len() - value.trim_ascii_start().len();
    (start, start + value.trim_ascii().len())
}

/// The number that nothing but digits make.
fn plain_number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > MAX_DIGITS {
        return None;
    }
    digits.iter().try_fold(0, |number: u64, digit| {
        digit.is_ascii_digit().then(|| number * 10 + u64::from(digit.wrapping_sub(b'0')))
    })
}

/// Reads a start line, without its end. It starts the bytes.
fn read_start(kind: MessageKind, line: &[u8]) -> Option<Start> {
    match kind {
        MessageKind::Request => {
            let (words, version) = line.split_last_chunk::<9>()?;
            let (blank, version) = version.split_first()?;
            let method = words.iter().position(|byte| !lines::is_token(*byte))?;
            let target = words.get(method..)?.strip_prefix(b" ")?;
            if method == 0 || target.is_empty() || *blank != b' ' || memchr::memchr(b' ', target).is_some() {
                return None;
            }
            Some(Start {
                text: span(0, method),
                target: span(method + 1, words.len()),
                version: version_of(version)?,
                status: 0,
            })
        }
        MessageKind::Response => {
            let (version, rest) = line.split_first_chunk::<8>()?;
            let ([blank, digits @ ..], reason) = rest.split_first_chunk::<4>()?;
            if *blank != b' ' || !matches!(reason.first(), None | Some(b' ')) {
                return None;
            }
            let status = plain_number(digits)?;
            let (from, to) = (line.len() - reason.trim_ascii_start().len(), line.trim_ascii_end().len());
            Some(Start {
                text: span(from, to.max(from)),
                target: Span::default(),
                version: version_of(version)?,
                status: status as u16,
            })
        }
    }
}

fn version_of(word: &[u8]) -> Option<Version> {
    match word {
        b"HTTP/1.1" => Some(Version { major: 1, minor: 1 }),
        b"HTTP/1.0" => Some(Version { major: 1, minor: 0 }),
        _ => None,
    }
}

/// A span of bytes that are fewer than 2^32.
const fn span(start: usize, end: usize) -> Span {
    Span { start: start as u32, end: end as u32 }
}

/// The length of the name in common use that `bytes` begin with, and which ends before a control or whatever else is in
/// no name; none if that is nothing.
#[inline]
fn usual_name(bytes: &[u8]) -> Option<usize> {
    let mut len = 0;
    loop {
        // At the end of the segment, byte by byte.
        let others = bytes.get(len..)?.first_chunk().map_or(1, |word| others(u64::from_le_bytes(*word)));
        len += others.trailing_zeros() as usize / 8;
        if others != 0 {
            match *bytes.get(len)? {
                b':' if len > 0 => return Some(len),
                byte if !is_name(byte) => return None,
                _ => len += 1,
            }
        }
    }
}

/// Whether the names in common use have this byte: all of a token but most of the symbols.
const fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// The highest bit of each byte that is no letter and no hyphen, which are nearly all of names. Right up to the first
/// byte that is not ASCII: from there on, sums may have reached the next byte.
#[inline]
const fn others(word: u64) -> u64 {
    // In a sum, the highest bit is set from one byte's value on.
    let lower = word | each(0x20);
    let letters = lower.wrapping_add(each(0x80 - b'a')) & !lower.wrapping_add(each(0x7f - b'z'));
    let but_hyphens = (word ^ each(b'-')).wrapping_add(each(0x7f));
    but_hyphens & !letters & each(0x80)
}

const fn each(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// The bytes of the block that are controls or not ASCII, as bits, the first as the lowest.
///
/// Every x86-64 can compare sixteen bytes at once, but to have the answers as bits takes an instruction that no compiler
/// finds for itself. Here the answers for eight words are laid over each other, a bit apart: 64 bits in columns, which
/// [`transposed`] puts in order.
#[inline(never)]
fn controls(block: &[u8; BLOCK]) -> u64 {
    const PLACES: [u8; BLOCK] = {
        let mut places = [0; BLOCK];
        let mut left: &mut [u8] = &mut places;
        let mut at = 0_u32;
        while let Some((place, rest)) = left.split_first_mut() {
            *place = 1 << (at / 8);
            (left, at) = (rest, at + 1);
        }
        places
    };
    let mut answers = [0; BLOCK];
    for ((answer, byte), place) in answers.iter_mut().zip(block).zip(&PLACES) {
        // With one added, DEL is among the negative numbers, too.
        let is_control = (byte.wrapping_add(1) as i8) <= b' ' as i8;
        *answer = u8::from(is_control).wrapping_neg() & place;
    }
    transposed(answers.as_chunks().0.iter().fold(0, |columns, word| columns | u64::from_le_bytes(*word)))
}

/// The bits of eight bytes, rows for columns: bit *j* of byte *i* becomes bit *i* of byte *j*.
#[inline]
const fn transposed(mut bits: u64) -> u64 {
    let swapped = (bits ^ (bits >> 7)) & 0x00aa_00aa_00aa_00aa;
    bits ^= swapped ^ (swapped << 7);
    let swapped = (bits ^ (bits >> 14)) & 0x0000_cccc_0000_cccc;
    bits ^= swapped ^ (swapped << 14);
    let swapped = (bits ^ (bits >> 28)) & 0x0000_0000_f0f0_f0f0;
    bits ^ swapped ^ (swapped << 28)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_control_is_a_bit_of_its_own() {
        for byte in 0..=255_u8 {
            for at in 0..BLOCK {
                let mut block = [b'~'; BLOCK];
                block[at] = byte;
                let expected = u64::from(byte.is_ascii_control() || !byte.is_ascii()) << at;
                assert_eq!(controls(&block), expected, "{byte} at {at}");
            }
        }
        assert_eq!(controls(&[0; BLOCK]), u64::MAX);
        assert_eq!(controls(&[b' '; BLOCK]), 0);
    }
}
