//! One walk over a text for everything that starts from a single byte: digits, `:`, `=`, `@`, `<`, and the signs of escapes.

use processor::{BLOCK, Block, Work};

use crate::detect::runs::Runs;
use crate::detect::{Detector, Hit, email, ipv6, is_ssn, number};
use crate::escapes::Escapes;
use crate::layer::Layer;
use crate::names::Meaning;
use crate::policy::Policy;
use crate::{markup, member, objects, pairs};

/// A bit for each byte of a block that a walk stops at, but for digits. Those that nothing is looked for at are dismissed
/// there: bytes known to the compiler are found faster than a choice of them.
#[inline(always)]
fn stops_in<B: Block>(bytes: B) -> u64 {
    let is = |bytes: B, byte| bytes.equals(B::splat(byte));
    // Pairs that differ in one bit, or two.
    let is_tag_or_equals = is(bytes & B::splat(!1), b'<');
    let is_escape = is(bytes & B::splat(!3), b'%' & !3) | is(bytes, b'\\');
    (is(bytes, b':') | is_tag_or_equals | is(bytes, b'@') | is_escape).bits()
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
    let mut walk = Walk {
        policy,
        text,
        notes,
        hits,
        number_done: 0,
        pair_done: 0,
        authority_done: 0,
        email_done: 0,
        ipv6_done: 0,
    };
    processor::at_best(text.len(), &mut walk);
}

impl Work for &mut Walk<'_> {
    type Output = ();

    #[inline(always)]
    fn run<B: Block>(self) {
        let mut runs = Runs::default();
        let (blocks, rest) = self.text.as_chunks::<BLOCK>();
        let mut last = [0; BLOCK];
        last[..rest.len()].copy_from_slice(rest);
        for (i, block) in blocks.iter().chain((!rest.is_empty()).then_some(&last)).enumerate() {
            let bytes = B::load(block);
            if self.policy.has_numbers {
                let mut found = runs.in_block(bytes);
                while found != 0 {
                    self.digits(BLOCK * i + found.trailing_zeros() as usize);
                    found &= found - 1;
                }
            }
            let mut stops = stops_in(bytes);
            while stops != 0 {
                let at = BLOCK * i + stops.trailing_zeros() as usize;
                if !self.is_dismissed(at) {
                    self.stop(at);
                }
                stops &= stops - 1;
            }
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
    /// How far has been looked for what ends the authority of a URL.
    authority_done: usize,
    email_done: usize,
    ipv6_done: usize,
}

impl Walk<'_> {
    /// The run of digits that `at` is within, or directly behind.
    #[inline(never)]
    fn digits(&mut self, at: usize) {
        if at < self.number_done {
            return;
        }
        let is_digit = |byte: &&u8| byte.is_ascii_digit();
        let start = at - self.text[..at].iter().rev().take_while(is_digit).count();
        let end = at + self.text[at..].iter().take_while(is_digit).count();
        number::at(self.policy, self.text, (start, end), &mut self.number_done, self.hits);
    }

    /// Whether the byte at `at` is a separator that nothing is looked for at, as most are: [`pairs::is_dismissed`], and no
    /// colon within an address.
    #[inline(always)]
    fn is_dismissed(&self, at: usize) -> bool {
        let around = at.checked_sub(6).and_then(|from| self.text.get(from..)?.first_chunk());
        let Some(word) = around.map(|around| u64::from_le_bytes(*around)) else { return false };
        let [.., before, sign, behind] = word.to_le_bytes();
        let tail = if before == b'"' { word >> 16 } else { word >> 24 };
        (sign == b'=' || sign == b':' && before == b'"')
            && behind != b'/'
            && behind != b'\\'
            && self.policy.fields.dismisses(tail as u32)
    }

    #[inline(never)]
    fn stop(&mut self, at: usize) {
        match self.text[at] {
            sign @ (b':' | b'=') => {
                let Policy { fields, .. } = self.policy;
                let may_be_url = matches!(self.text.get(at + 1), Some(b'/' | b'\\'));
                let is_dismissed = pairs::is_dismissed(fields, self.text, at)
                    || !may_be_url && pairs::is_dismissed_by_more(fields, &self.text[..at]);
                if !is_dismissed {
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
        let has_userinfo = may_be_url && pairs::may_have_userinfo(text, at, &mut self.authority_done);
        let has_escapes = self.notes.as_ref().is_some_and(|notes| notes.escapes.is_any());
        if may_be_url && !has_userinfo && !has_escapes && pairs::is_plain_url(text, at) {
            return;
        }
        if !has_userinfo && pairs::is_dismissed_afar(fields, text, at) {
            return;
        }
        if let Some(notes) = &mut self.notes
            && text[at] == b':'
            && member::may_hold(text, at)
        {
            notes.may_hold = true;
            // In a string of JSON, where the reader of the whole does not look for neighbours.
            if text[..at].trim_ascii_end().ends_with(b"\\\"") || member::is_typeset(text, at) {
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
        self.hits.extend(kind.map(|kind| Hit { is_named: true, ..Hit::new(found.start, found.end, kind) }));
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
