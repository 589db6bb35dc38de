//! One walk over a text for everything that starts from a single byte: digits, `:`, `=`, `@`, and the signs of escapes.

use crate::detect::{Detector, Hit, email, ipv6, is_ssn, number};
use crate::layer::Layer;
use crate::names::Meaning;
use crate::pairs;
use crate::policy::Policy;

/// Which bytes a walk stops at.
pub(crate) struct Stops([bool; 256]);

impl Stops {
    /// Of a policy's detectors; with `escapes` also at the signs of escapes.
    pub(crate) fn new(is_on: impl Fn(Detector) -> bool, has_fields: bool, escapes: bool) -> Self {
        let mut stops = [false; 256];
        let mut set = |bytes: &[u8], on: bool| bytes.iter().for_each(|byte| stops[usize::from(*byte)] |= on);
        let numbers = [Detector::CreditCard, Detector::Iban, Detector::UsSsn, Detector::Phone, Detector::Ipv4];
        set(b"0123456789", numbers.into_iter().any(&is_on));
        set(b":=", has_fields || is_on(Detector::UsSsn));
        set(b":", is_on(Detector::Ipv6));
        set(b"@", is_on(Detector::Email));
        set(b"\\%&", escapes);
        Self(stops)
    }

    /// The next stop from `at` on.
    #[inline]
    fn next(&self, text: &[u8], mut at: usize) -> Option<usize> {
        let is_stop = |byte: u8| self.0[usize::from(byte)];
        // Eight bytes at a time: most of a text is letters.
        while let Some(block) = text.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
            let any = block.iter().fold(false, |any, byte| any | is_stop(*byte));
            if any {
                break;
            }
            at += 8;
        }
        text.get(at..)?.iter().position(|byte| is_stop(*byte)).map(|len| at + len)
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
pub(crate) fn walk(policy: &Policy, text: &[u8], mut notes: Option<&mut Notes>, hits: &mut Vec<Hit>) {
    let stops = if notes.is_some() { &policy.survey_stops } else { &policy.stops };
    let (mut number_done, mut pair_done, mut email_done, mut ipv6_done) = (0, 0, 0, 0);
    let mut at = 0;
    while let Some(stop) = stops.next(text, at) {
        at = stop + 1;
        match text[stop] {
            b'0'..=b'9' => at = number::at(policy, text, stop, &mut number_done, hits),
            b'@' => {
                if let Some(kind) = policy.detector(Detector::Email) {
                    email::at(text, stop, &mut email_done, kind, hits);
                }
            }
            sign @ (b':' | b'=') => {
                if let Some(found) = pairs::at(&policy.fields, policy.credentials, text, stop, &mut pair_done) {
                    if let Some(notes) = &mut notes {
                        notes.has_names = true;
                        notes.seen.push((found.start, found.end));
                    }
                    let value = &text[found.start..found.end];
                    match found.meaning {
                        Meaning::Secret(kind) if pairs::is_secret(value) => {
                            hits.push(Hit::new(found.start, found.end, kind))
                        }
                        Meaning::Ssn if is_ssn(value.trim_ascii()) => {
                            hits.extend(
                                policy.detector(Detector::UsSsn).map(|kind| Hit::new(found.start, found.end, kind)),
                            );
                        }
                        _ => {}
                    }
                }
                if sign == b':'
                    && let Some(kind) = policy.detector(Detector::Ipv6)
                {
                    ipv6::at(text, stop, &mut ipv6_done, kind, hits);
                }
            }
            _ => {
                if let Some(notes) = &mut notes
                    && Layer::Any.escape(&text[stop..]).is_some()
                {
                    notes.has_escapes = true;
                    match notes.seen.last_mut() {
                        Some(last) if last.1 == stop => last.1 = stop + 1,
                        _ => notes.seen.push((stop, stop + 1)),
                    }
                }
            }
        }
    }
}
