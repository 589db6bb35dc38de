//! Binary data: text within it, also where each character stands with zeros, as in UTF-16 and UTF-32.

use crate::engine::{Engine, Value};
use crate::finding::Location;
use crate::layer::Layer;

/// Shorter runs of wide characters hold no secret.
const MIN_CHARS: usize = 6;

/// Masks `text[start..end]`, which has zeros in it. A survey of the text has to have been made.
pub(crate) fn mask(engine: &mut Engine, text: &[u8], (start, end): (usize, usize), location: Location, at_cut: bool) {
    let mut at = start;
    let mut narrow_from = start;
    while let Some(zero) = memchr::memchr(0, &text[at..end]).map(|len| at + len) {
        at = zero + 1;
        if zero == narrow_from {
            continue;
        }
        let first = zero - 1;
        let (stride, chars) = wide_run(&text[..end], first);
        if chars < MIN_CHARS || first < narrow_from {
            continue;
        }
        // From the first character to a byte behind the start of the last.
        let run_end = first + (chars - 1) * stride + 1;
        narrow(engine, text, (narrow_from, first), location, false);
        let value = Value {
            at_cut: at_cut && run_end + stride > end,
            ..Value::new(first, run_end, Layer::Wide { stride: stride as u8 }, location)
        };
        engine.value(text, &value, &|_| {});
        narrow_from = run_end;
        at = run_end;
    }
    narrow(engine, text, (narrow_from, end), location, at_cut);
}

fn narrow(engine: &mut Engine, text: &[u8], (start, end): (usize, usize), location: Location, at_cut: bool) {
    let value = Value { at_cut, surveyed: true, ..Value::new(start, end, Layer::Plain, location) };
    engine.value(text, &value, &|_| {});
}

/// The distance of the wide characters that start at `first`, and how many there are.
fn wide_run(text: &[u8], first: usize) -> (usize, usize) {
    let is_char = |at: usize| text.get(at).is_some_and(|byte| matches!(byte, b' '..=b'~' | b'\t' | b'\r' | b'\n'));
    let stride = if is_char(first + 2) { 2 } else { 4 };
    let mut at = first;
    let mut chars = 0;
    while is_char(at) {
        chars += 1;
        // The zeros behind the last may be missing.
        if text.get(at + 1..at + stride).is_none_or(|zeros| zeros.iter().any(|byte| *byte != 0)) {
            break;
        }
        at += stride;
    }
    (stride, chars)
}
