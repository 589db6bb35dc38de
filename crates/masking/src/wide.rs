//! Binary data: text within it, also where each character stands with zeros, as in UTF-16 and UTF-32.

use crate::engine::{Engine, Value};
use crate::finding::Location;
use crate::layer::Layer;
use crate::script::ToldList;

/// Shorter runs of wide characters hold no secret.
const MIN_CHARS: usize = 6;

/// Masks `text[start..end]`, which has zeros in it. A survey of the text has to have been made; and what own paths lead to in it,
/// as one-byte text, been told.
pub(crate) fn mask(
    engine: &mut Engine,
    text: &[u8],
    (start, end): (usize, usize),
    told: &ToldList,
    location: Location,
    at_cut: bool,
) {
    let mut at = start;
    let mut narrow = Narrow { text, told, next: 0, from: start, location };
    // Of those told, which may reach into what comes.
    let mut next = 0;
    while let Some(zero) = memchr::memchr(0, &text[at..end]).map(|len| at + len) {
        at = zero + 1;
        if zero == narrow.from {
            continue;
        }
        let first = zero - 1;
        while told.values.get(next).is_some_and(|told| told.end <= first) {
            next += 1;
        }
        // What is told is masked as a whole.
        let told = told.values.get(next);
        if let Some(told) = told.filter(|told| told.start <= first) {
            at = at.max(told.end);
            continue;
        }
        let limit = told.map_or(end, |told| told.start);
        let (stride, chars) = wide_run(&text[..limit], first);
        if chars < MIN_CHARS || first < narrow.from {
            continue;
        }
        // From the first character to a byte behind the start of the last.
        let run_end = first + (chars - 1) * stride + 1;
        narrow.mask(engine, first, false);
        let value = Value {
            at_cut: at_cut && run_end + stride > end,
            ..Value::new(first, run_end, Layer::Wide { stride: stride as u8 }, location)
        };
        engine.value(text, &value, &|_| {});
        narrow.from = run_end;
        at = run_end;
    }
    narrow.mask(engine, end, at_cut);
}

/// What stands between wide characters.
struct Narrow<'a> {
    text: &'a [u8],
    told: &'a ToldList,
    /// Which of those told comes.
    next: usize,
    from: usize,
    location: Location,
}

impl Narrow<'_> {
    fn mask(&mut self, engine: &mut Engine, end: usize, at_cut: bool) {
        engine.told.take(self.told, &mut self.next, end);
        let value = Value { at_cut, surveyed: true, ..Value::new(self.from, end, Layer::Plain, self.location) };
        engine.value(self.text, &value, &|_| {});
    }
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
