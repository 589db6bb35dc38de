//! One walk over a text for everything that starts from a single byte: digits, `:`, `=`, `@`, and the signs of escapes.

use wide::u8x16;

use crate::detect::{Detector, Hit, email, ipv6, is_ssn, number};
use crate::layer::Layer;
use crate::names::Meaning;
use crate::pairs;
use crate::policy::Policy;

/// Bytes that are looked at together.
const BLOCK: usize = 64;

/// Which bytes a walk stops at.
pub(crate) struct Stops {
    /// The first digit of each run.
    digits: bool,
    others: Vec<u8x16>,
}

impl Stops {
    /// Of a policy's detectors; with `escapes` also at the signs of escapes.
    pub(crate) fn new(is_on: impl Fn(Detector) -> bool, has_fields: bool, escapes: bool) -> Self {
        let numbers = [Detector::CreditCard, Detector::Iban, Detector::UsSsn, Detector::Phone, Detector::Ipv4];
        let has_pairs = has_fields || is_on(Detector::UsSsn);
        let others = [
            (b':', has_pairs || is_on(Detector::Ipv6)),
            (b'=', has_pairs),
            (b'@', is_on(Detector::Email)),
            (b'\\', escapes),
            (b'%', escapes),
            (b'&', escapes),
        ];
        Self {
            digits: numbers.into_iter().any(&is_on),
            others: others.into_iter().filter(|(_, on)| *on).map(|(byte, _)| u8x16::splat(byte)).collect(),
        }
    }

    /// A bit for each byte of a block: digits, and other stops.
    #[inline]
    fn masks(&self, block: &[u8; BLOCK]) -> (u64, u64) {
        let (mut digits, mut others) = (0, 0);
        let (low, high) = (u8x16::splat(b'0'), u8x16::splat(b'9'));
        for (i, lane) in block.as_chunks::<16>().0.iter().enumerate() {
            let bytes = u8x16::from(*lane);
            if self.digits {
                let is_digit = bytes.max(low).simd_eq(bytes) & bytes.min(high).simd_eq(bytes);
                digits |= u64::from(is_digit.to_bitmask()) << (16 * i);
            }
            let is_other = self.others.iter().fold(u8x16::ZERO, |any, stop| any | bytes.simd_eq(*stop));
            others |= u64::from(is_other.to_bitmask()) << (16 * i);
        }
        (digits, others)
    }
}

/// What a survey wants to know of a text besides hits.
#[derive(Default)]
pub(crate) struct Notes {
    /// There are names of fields that make a secret of their value.
    pub(crate) has_names: bool,
    /// There are escapes.
    pub(crate) has_escapes: bool,
    /// Where something was seen: a hit, or an escape.
    pub(crate) seen: Vec<(usize, usize)>,
}

/// Walks over `text` and appends what is found.
pub(crate) fn walk(policy: &Policy, text: &[u8], notes: Option<&mut Notes>, hits: &mut Vec<Hit>) {
    let stops = if notes.is_some() { &policy.survey_stops } else { &policy.stops };
    let mut walk = Walk { policy, text, notes, hits, number_done: 0, pair_done: 0, email_done: 0, ipv6_done: 0 };
    let mut in_digits = 0;
    let (blocks, rest) = text.as_chunks::<BLOCK>();
    let mut last = [0; BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    for (i, block) in blocks.iter().chain((!rest.is_empty()).then_some(&last)).enumerate() {
        let (digits, others) = stops.masks(block);
        let starts = digits & !(digits << 1 | in_digits);
        in_digits = digits >> 63;
        let mut left = starts | others;
        while left != 0 {
            walk.stop(BLOCK * i + left.trailing_zeros() as usize);
            left &= left - 1;
        }
    }
}

struct Walk<'a> {
    policy: &'a Policy,
    text: &'a [u8],
    notes: Option<&'a mut Notes>,
    hits: &'a mut Vec<Hit>,
    number_done: usize,
    pair_done: usize,
    email_done: usize,
    ipv6_done: usize,
}

impl Walk<'_> {
    #[inline]
    fn stop(&mut self, at: usize) {
        match self.text[at] {
            b'0'..=b'9' => number::at(self.policy, self.text, at, &mut self.number_done, self.hits),
            b'@' => {
                if let Some(kind) = self.policy.detector(Detector::Email) {
                    email::at(self.text, at, &mut self.email_done, kind, self.hits);
                }
            }
            sign @ (b':' | b'=') => {
                let names = &self.policy.fields;
                if let Some(found) = pairs::at(names, self.policy.credentials, self.text, at, &mut self.pair_done) {
                    self.pair(found);
                }
                if sign == b':'
                    && let Some(kind) = self.policy.detector(Detector::Ipv6)
                {
                    ipv6::at(self.text, at, &mut self.ipv6_done, kind, self.hits);
                }
            }
            _ => self.sign(at),
        }
    }

    fn pair(&mut self, found: pairs::Pair) {
        if let Some(notes) = &mut self.notes {
            notes.has_names = true;
            notes.seen.push((found.start, found.end));
        }
        let value = &self.text[found.start..found.end];
        let kind = match found.meaning {
            Meaning::Secret(kind) => pairs::is_secret(value).then_some(kind),
            Meaning::Ssn if is_ssn(value.trim_ascii()) => self.policy.detector(Detector::UsSsn),
            Meaning::Ssn | Meaning::Harmless => None,
        };
        self.hits.extend(kind.map(|kind| Hit::new(found.start, found.end, kind)));
    }

    /// The sign that escapes start with.
    fn sign(&mut self, at: usize) {
        if let Some(notes) = &mut self.notes
            && Layer::Any.escape(&self.text[at..]).is_some()
        {
            notes.has_escapes = true;
            match notes.seen.last_mut() {
                Some(last) if last.1 == at => last.1 = at + 1,
                _ => notes.seen.push((at, at + 1)),
            }
        }
    }
}
