//! One walk over a text for everything that starts from a single byte: digits, `:`, `=`, `@`, `<`, and the signs of escapes.

use wide::u8x16;

use crate::detect::{Detector, Hit, email, ipv6, is_ssn, number};
use crate::escapes::Escapes;
use crate::layer::Layer;
use crate::names::Meaning;
use crate::policy::Policy;
use crate::{markup, member, objects, pairs};

/// Bytes that are looked at together.
const BLOCK: usize = 64;

/// A bit for each byte of a block: digits, and other bytes that a walk stops at. Those that nothing is looked for at are
/// dismissed there: bytes known to the compiler are found faster than a choice of them.
#[inline(always)]
fn stops_in(block: &[u8; BLOCK]) -> (u64, u64) {
    let (mut digits, mut others) = (0, 0);
    for (i, lane) in block.as_chunks::<16>().0.iter().enumerate() {
        let bytes = u8x16::from(*lane);
        let is = |byte| bytes.simd_eq(u8x16::splat(byte));
        let numbers = bytes - u8x16::splat(b'0');
        let is_digit = numbers.min(u8x16::splat(9)).simd_eq(numbers);
        // `<` and `=` differ in their last bit.
        let is_tag_or_equals = (bytes & u8x16::splat(!1)).simd_eq(u8x16::splat(b'<'));
        let is_other = is(b':') | is_tag_or_equals | is(b'@') | is(b'\\') | is(b'%') | is(b'&');
        digits |= u64::from(is_digit.to_bitmask()) << (16 * i);
        others |= u64::from(is_other.to_bitmask()) << (16 * i);
    }
    (digits, others)
}

/// What a survey wants to know of a text besides hits.
#[derive(Default)]
pub(crate) struct Notes {
    /// Secret keys beside what names them, which may be in another value.
    pub(crate) beside: Vec<Hit>,
    /// There are names of fields that make a secret of their value.
    pub(crate) has_names: bool,
    /// There are escapes that may hide something.
    pub(crate) has_escapes: bool,
    /// There are members of JSON that may hold what others name.
    pub(crate) may_hold: bool,
    /// There are tags that may say what others hold.
    pub(crate) has_tags: bool,
    /// Every escape counts as one that may hide something.
    pub(crate) is_thorough: bool,
    pub(crate) escapes: Escapes,
    /// Where something was seen: a hit, or an escape.
    pub(crate) seen: Vec<(usize, usize)>,
}

impl Notes {
    /// Something was seen at one place, which the value that has it is looked at for.
    fn see(&mut self, at: usize) {
        match self.seen.last_mut() {
            Some(last) if last.1 == at => last.1 = at + 1,
            _ => self.seen.push((at, at + 1)),
        }
    }

    /// Nothing is known of a text.
    pub(crate) fn clear(&mut self) {
        self.seen.clear();
        (self.has_names, self.has_escapes, self.may_hold, self.has_tags) = (false, false, false, false);
    }
}

/// Walks over `text` and appends what is found.
pub(crate) fn walk(policy: &Policy, text: &[u8], notes: Option<&mut Notes>, hits: &mut Vec<Hit>) {
    let mut walk = Walk { policy, text, notes, hits, number_done: 0, pair_done: 0, email_done: 0, ipv6_done: 0 };
    let mut in_digits = 0;
    let (blocks, rest) = text.as_chunks::<BLOCK>();
    let mut last = [0; BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    for (i, block) in blocks.iter().chain((!rest.is_empty()).then_some(&last)).enumerate() {
        let (digits, mut others) = stops_in(block);
        if policy.has_numbers {
            let mut starts = digits & !(digits << 1 | in_digits);
            in_digits = digits >> 63;
            while starts != 0 {
                let from = starts.trailing_zeros();
                let to = from + (!(digits >> from)).trailing_zeros();
                walk.digits(BLOCK * i + from as usize, BLOCK * i + to as usize, (to as usize) < BLOCK);
                starts &= starts - 1;
            }
        }
        while others != 0 {
            walk.stop(BLOCK * i + others.trailing_zeros() as usize);
            others &= others - 1;
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
    /// A run of digits; of one that reaches the end of its block, the end is not known.
    #[inline(always)]
    fn digits(&mut self, start: usize, end: usize, is_known: bool) {
        let rest = if is_known { 0 } else { self.text[end..].iter().take_while(|byte| byte.is_ascii_digit()).count() };
        number::at(self.policy, self.text, (start, end + rest), &mut self.number_done, self.hits);
    }

    #[inline]
    fn stop(&mut self, at: usize) {
        match self.text[at] {
            sign @ (b':' | b'=') => {
                if !pairs::is_dismissed(&self.policy.fields, self.text, at) {
                    self.separator(at);
                }
                if sign == b':'
                    && let Some(kind) = self.policy.detector(Detector::Ipv6)
                {
                    ipv6::at(self.text, at, &mut self.ipv6_done, kind, self.hits);
                }
            }
            b'@' => {
                if let Some(kind) = self.policy.detector(Detector::Email) {
                    let count = self.hits.len();
                    email::at(self.text, at, &mut self.email_done, kind, self.hits);
                    if let Some(notes) = &mut self.notes
                        && self.hits.len() == count
                        && notes.escapes.address(self.text, at)
                    {
                        notes.see(at);
                    }
                }
            }
            b'<' => self.tag(at),
            _ => self.sign(at),
        }
    }

    /// A separator that what is in front of it does not dismiss.
    fn separator(&mut self, at: usize) {
        let Self { policy, text, .. } = *self;
        let Policy { fields, credentials, .. } = policy;
        if text[at] == b':' && pairs::is_time(text, at) {
            return;
        }
        let may_be_url = text[at] == b':' && matches!(text.get(at + 1), Some(b'/' | b'\\'));
        let has_userinfo = may_be_url && pairs::may_have_userinfo(text, at);
        if !has_userinfo && pairs::is_dismissed_afar(fields, text, at) {
            return;
        }
        if let Some(notes) = &mut self.notes
            && text[at] == b':'
            && member::may_hold(text, at)
        {
            notes.may_hold = true;
            // In a string of JSON, where the reader of the whole does not look for neighbours.
            if text[..at].trim_ascii_end().ends_with(b"\\\"") {
                notes.see(at);
            }
        }
        if let Some(found) = pairs::at(fields, *credentials, text, at, &mut self.pair_done) {
            self.pair(at, found);
        } else if let Some(notes) = &mut self.notes
            && (has_userinfo || notes.escapes.name(policy, text, at))
        {
            notes.has_names = true;
            notes.see(at);
        }
    }

    fn pair(&mut self, at: usize, found: pairs::Pair) {
        if let Some(notes) = &mut self.notes {
            notes.has_names = true;
            notes.seen.push((at, found.end.max(at + 1)));
        }
        if found.is_container {
            if let Meaning::Secret(kind) = found.meaning {
                self.pair_done = objects::container(self.text, found.start, kind, self.hits);
                // Its keys are no secrets here; where only a part of the text is looked at, what is in one may be.
                self.notes.iter_mut().for_each(|notes| notes.seen.push((at, self.pair_done)));
            }
            return;
        }
        let value = &self.text[found.start..found.end];
        let kind = match found.meaning {
            Meaning::Secret(kind) => (pairs::is_secret(value) && !self.policy.spares(kind, value)).then_some(kind),
            Meaning::Ssn if is_ssn(value.trim_ascii()) => self.policy.detector(Detector::UsSsn),
            Meaning::Ssn | Meaning::Harmless => None,
        };
        self.hits.extend(kind.map(|kind| Hit::new(found.start, found.end, kind)));
    }

    /// A tag. What it says of others is told where a value is looked at, not where a text is surveyed.
    fn tag(&mut self, at: usize) {
        if let Some(notes) = &mut self.notes
            && (markup::may_name(self.policy, self.text, at) || notes.escapes.tag(self.policy, self.text, at))
        {
            notes.has_tags = true;
            notes.see(at);
        }
    }

    /// The sign that escapes start with.
    fn sign(&mut self, at: usize) {
        let Some(notes) = &mut self.notes else { return };
        let hides = match notes.is_thorough {
            true => Layer::Any.escape(&self.text[at..]).is_some(),
            false => notes.escapes.hides(self.policy, self.text, at),
        };
        if hides {
            notes.has_escapes = true;
            notes.see(at);
        }
    }
}
