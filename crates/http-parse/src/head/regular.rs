//! The reader for regular heads, which nearly all are: one pass over the bytes of a segment finds the head's end, splits
//! it into fields and checks the grammar (RFC 9112, sections 2.1 to 5).
//!
//! It never says anything of a head that it does not understand whole. Where a byte is rare, though allowed (tabs,
//! obs-text, symbols in names), it gives up too, and `httparse` reads the head once it is gathered. What it does read
//! it reads exactly as `httparse` does; a property test holds the two equal.

use super::{Fields, Start, lines};
use crate::message::{FramingFields, HeaderSpan, MessageKind, Span, Version};

/// Bytes that are looked at together.
const BLOCK: usize = 64;
/// Bytes of a field's name that are looked at together; few names are longer.
const NAME: usize = 16;
/// The most digits of a Content-Length that is taken for a plain one: no such number overflows.
const MAX_DIGITS: usize = 18;

/// Reads the head at the start of `bytes` and says how long it is; `None` when it does not end in them or is not
/// regular, with `fields` in any state.
pub(super) fn read_head(kind: MessageKind, bytes: &[u8], fields: &mut Fields<'_>) -> Option<(Start, usize)> {
    u32::try_from(bytes.len()).ok()?;
    let mut start: Option<Start> = None;
    fields.framing = FramingFields::None;
    // Where the line in hand starts; everything before it has been read.
    let mut line = 0_usize;
    let mut base = 0;
    loop {
        let (block, at) = block(bytes, base)?;
        // A line feed of the block before may be its first byte; the last block may begin inside the one before.
        let mut found = controls(&block) & u64::MAX.checked_shl(line.saturating_sub(at) as u32).unwrap_or(0);
        while found != 0 {
            let bit = found.trailing_zeros();
            let end = at + bit as usize;
            // Any other control, and any half of this pair alone, is not regular.
            let next = end + 2;
            if bytes.get(end..next) != Some(b"\r\n") {
                return None;
            }
            found &= !(0b11 << bit);
            match start {
                Some(start) if end == line => {
                    fields.conclude(kind, start.version, true);
                    return Some((start, next));
                }
                Some(_) => read_field(bytes, line, end, fields)?,
                None => start = Some(read_start(kind, bytes.get(..end)?)?),
            }
            line = next;
        }
        base = at + BLOCK;
    }
}

/// The block at `base` and where it starts, which is earlier where fewer bytes than a block are left; `None` when none
/// are.
#[inline]
fn block(bytes: &[u8], base: usize) -> Option<([u8; BLOCK], usize)> {
    let rest = bytes.get(base..).filter(|rest| !rest.is_empty())?;
    if let Some(block) = rest.first_chunk() {
        return Some((*block, base));
    }
    if let Some(block) = bytes.last_chunk() {
        return Some((*block, bytes.len() - BLOCK));
    }
    let mut block = [b' '; BLOCK];
    block.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some((block, 0))
}

/// Reads the field whose line is `start..end`, without its end.
#[inline]
fn read_field(bytes: &[u8], start: usize, end: usize, fields: &mut Fields<'_>) -> Option<()> {
    let colon = start + name_len(bytes, start);
    if colon == start || bytes.get(colon) != Some(&b':') || fields.spans.len() >= fields.max {
        return None;
    }
    let mut from = colon + 1;
    while from < end && bytes.get(from) == Some(&b' ') {
        from += 1;
    }
    let mut to = end;
    while to > from && bytes.get(to - 1) == Some(&b' ') {
        to -= 1;
    }
    match colon - start {
        4 => fields.hosts += usize::from(bytes.get(start..colon)?.eq_ignore_ascii_case(b"host")),
        super::FRAMING_SHORT if bytes.get(start..colon)?.eq_ignore_ascii_case(b"content-length") => {
            fields.framing = match (fields.framing, plain_number(bytes.get(from..to)?)) {
                (FramingFields::None, Some(length)) => FramingFields::Length(length),
                _ => FramingFields::Some,
            };
        }
        super::FRAMING_LONG if bytes.get(start..colon)?.eq_ignore_ascii_case(b"transfer-encoding") => {
            fields.framing = FramingFields::Some;
        }
        _ => {}
    }
    fields.spans.push(HeaderSpan { name: span(start, colon), value: span(from, to) });
    Some(())
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

/// How many bytes from `start` on a usual name has.
#[inline]
fn name_len(bytes: &[u8], start: usize) -> usize {
    let rest = bytes.get(start..).unwrap_or_default();
    let len = match rest.first_chunk::<NAME>() {
        Some(first) => {
            let mut others = [0; NAME];
            for (other, byte) in others.iter_mut().zip(first) {
                *other = u8::from(!is_name(*byte));
            }
            match bits(&others) {
                0 => NAME,
                others => return others.trailing_zeros() as usize,
            }
        }
        None => 0,
    };
    len + rest.get(len..).unwrap_or_default().iter().take_while(|byte| is_name(**byte)).count()
}

/// Whether the names in common use have this byte: all but the symbols of a token.
#[inline]
const fn is_name(byte: u8) -> bool {
    ((byte | 0x20).wrapping_sub(b'a') < 26) | (byte.wrapping_sub(b'0') < 10) | (byte == b'-') | (byte == b'_')
}

/// The bytes of the block that are controls or not ASCII, as bits.
#[inline]
fn controls(block: &[u8; BLOCK]) -> u64 {
    let mut found = [0; BLOCK];
    for (found, byte) in found.iter_mut().zip(block) {
        // With one added, DEL is among the negative numbers, too.
        *found = u8::from((byte.wrapping_add(1) as i8) <= b' ' as i8);
    }
    bits(&found)
}

/// Zeros and ones as the bits of a number, the first as the lowest. Written so that a compiler sees sums of eight bytes
/// in it, for which every x86-64 has an instruction: one that gathers the bits at once is not in every processor's reach.
#[inline]
fn bits<const N: usize>(flags: &[u8; N]) -> u64 {
    let mut weighed = [0; N];
    for ((weighed, flag), place) in weighed.iter_mut().zip(flags).zip(0_u32..) {
        *weighed = flag.wrapping_neg() & (1 << (place % 8));
    }
    let mut bytes = [0; 8];
    for (byte, eight) in bytes.iter_mut().zip(weighed.as_chunks::<8>().0) {
        *byte = eight.iter().fold(0_u8, |sum, bit| sum.wrapping_add(*bit));
    }
    u64::from_le_bytes(bytes)
}
