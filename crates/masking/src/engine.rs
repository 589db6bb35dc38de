//! What all kinds of text share: finding secrets in one value, and collecting what replaces them.
//!
//! The readers of bodies, headers and targets cut a text into values and hand each over once, in order. A value is
//! decoded where it has escapes, looked through, and each secret becomes an edit of the original text. At the end the
//! edits are applied in one copy. Nothing is allocated for a text without secrets.

use std::ops::Range;
use std::sync::Arc;

use regex_automata::meta;

use crate::action::Action;
use crate::detect::{self, Detector, Hit};
use crate::finding::{CUT, FindingList, Location};
use crate::layer::{Layer, View};
use crate::policy::{KindId, Policy};
use crate::quiet::{self, Look};
use crate::script::ToldList;
use crate::token::TokenCache;
use crate::walk::{Notes, walk};
use crate::{markup, member, objects, pairs};

/// What replaces a redacted value. Of letters only, so that it can stand in every syntax.
pub(crate) const REDACTED: &[u8] = b"REDACTED";
/// How many texts within texts are decoded (percent-encoded JSON in a string of JSON is two).
const MAX_NESTING: usize = 3;
/// The level at which a plus in a query or form is not a blank, but itself, as clients write that do not escape it.
const PLUS_LEVEL: usize = MAX_NESTING + 2;
/// The last level of texts within that one.
const LAST_LEVEL: usize = PLUS_LEVEL + MAX_NESTING;

/// No shorter name of letters alone holds a secret, in bytes.
const LONG_NAME: usize = 12;

/// One value within a text.
pub(crate) struct Value {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) layer: Layer,
    pub(crate) location: Location,
    /// Its field's name says what it is: all of it is the secret.
    pub(crate) forced: Option<KindId>,
    /// Its field's name says that nine digits are a social security number.
    pub(crate) may_be_ssn: bool,
    /// It is a number of JSON: what replaces it is a number or a string in quotes.
    pub(crate) is_number: bool,
    /// It is the name of something: names stay distinct, so they are hashed rather than redacted.
    pub(crate) is_name: bool,
    /// The text is cut at the value's end.
    pub(crate) at_cut: bool,
    /// A survey of the whole text has been made ([`Engine::survey`]), so values it saw nothing in need no look.
    pub(crate) surveyed: bool,
}

impl Value {
    pub(crate) fn new(start: usize, end: usize, layer: Layer, location: Location) -> Self {
        Self {
            start,
            end,
            layer,
            location,
            forced: None,
            may_be_ssn: false,
            is_number: false,
            is_name: false,
            at_cut: false,
            surveyed: false,
        }
    }
}

/// Part of the original that is to be replaced.
#[derive(Debug, Clone, Copy)]
struct Edit {
    start: usize,
    end: usize,
    /// The replacement, in the arena.
    from: usize,
    to: usize,
}

/// A hit, in the coordinates of the original.
#[derive(Debug, Clone, Copy)]
struct Place {
    start: usize,
    end: usize,
    /// 0 for the original, `n` for view `n - 1`.
    level: usize,
    hit: Hit,
    /// Which of those that its reader told it is.
    told: Option<usize>,
}

pub(crate) struct Engine {
    pub(crate) policy: Arc<Policy>,
    pub(crate) findings: FindingList,
    cache: TokenCache,
    regex_caches: Vec<meta::Cache>,
    edits: Vec<Edit>,
    arena: Vec<u8>,
    out: Vec<u8>,
    hits: Vec<Hit>,
    places: Vec<Place>,
    plain: Vec<u8>,
    views: [View; LAST_LEVEL],
    /// What a survey saw; and how far values have come in it.
    notes: Notes,
    seen_next: usize,
    /// What the reader of the next value tells of it.
    pub(crate) told: ToldList,
    /// A secret whose action is to drop the body was found.
    pub(crate) drop: bool,
    /// Every text is looked at in full: what quick looks are held against.
    pub(crate) is_thorough: bool,
}

impl Engine {
    pub(crate) fn new(policy: Arc<Policy>) -> Self {
        let regex_caches = policy.patterns.iter().map(|pattern| pattern.regex.create_cache()).collect();
        Self {
            policy,
            findings: FindingList::default(),
            cache: TokenCache::new(),
            regex_caches,
            edits: Vec::new(),
            arena: Vec::new(),
            out: Vec::new(),
            hits: Vec::new(),
            places: Vec::new(),
            plain: Vec::new(),
            views: Default::default(),
            notes: Notes::default(),
            seen_next: 0,
            told: ToldList::default(),
            drop: false,
            is_thorough: false,
        }
    }

    /// A new text: no edits yet.
    pub(crate) fn start(&mut self) {
        self.edits.clear();
        self.arena.clear();
        self.notes.seen.clear();
        self.seen_next = 0;
        self.drop = false;
    }

    /// How many parts of the text are replaced so far.
    pub(crate) fn edits(&self) -> usize {
        self.edits.len()
    }

    pub(crate) fn has_edits(&self) -> bool {
        !self.edits.is_empty()
    }

    /// Which parts of the text are replaced, in order, and by what.
    pub(crate) fn replacements(&self) -> impl Iterator<Item = (Range<usize>, &[u8])> {
        self.edits.iter().map(|edit| (edit.start..edit.end, &self.arena[edit.from..edit.to]))
    }

    /// The text with its edits applied.
    pub(crate) fn finish(&mut self, text: &[u8]) -> &[u8] {
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        let mut at = 0;
        for (range, replacement) in self.replacements() {
            out.extend_from_slice(&text[at..range.start]);
            out.extend_from_slice(replacement);
            at = range.end;
        }
        out.extend_from_slice(&text[at..]);
        self.out = out;
        &self.out
    }

    /// What [`Engine::finish`] gave.
    pub(crate) fn finished(&self) -> &[u8] {
        &self.out
    }

    pub(crate) fn token(&mut self, value: &[u8]) -> crate::token::Token {
        self.cache.token(&self.policy.token_key, value)
    }

    /// Looks over a whole text of many values, so that [`Engine::value`] can pass over those in which nothing was seen.
    /// True if nothing was seen at all: no secret, no name of one, no escape that may hide one.
    #[inline]
    pub(crate) fn survey(&mut self, text: &[u8], at_cut: bool) -> bool {
        if !(at_cut && pairs::cut_userinfo(text).is_some()) && self.is_quiet(text) {
            return true;
        }
        let is_clean = self.survey_in_full(text, at_cut);
        if self.has_neighbours(text) {
            self.see_all(text.len());
            return false;
        }
        is_clean
    }

    /// Whether a member of JSON in the text, which was looked over, names what another holds.
    pub(crate) fn has_neighbours(&mut self, text: &[u8]) -> bool {
        self.is_thorough || self.may_hold() && member::has_names(&self.policy, text, &mut self.views[0])
    }

    /// Whether a member of JSON may hold what another names, as far as a survey can tell.
    pub(crate) fn may_hold(&self) -> bool {
        self.notes.may_hold || self.notes.has_escapes
    }

    /// Whether the survey saw tags that may say what others hold.
    pub(crate) fn has_tags(&self) -> bool {
        self.notes.has_tags || self.is_thorough
    }

    /// Whether parts that the surveyed text has between ampersands may say more than it does as a whole.
    pub(crate) fn is_more_in_parts(&self) -> bool {
        self.notes.escapes.has_numeric()
    }

    /// No part of a text of so many bytes is passed over, and every name counts.
    pub(crate) fn distrust(&mut self, len: usize) {
        (self.notes.has_names, self.notes.has_escapes) = (true, true);
        self.see_all(len);
    }

    /// No part of a text of so many bytes is passed over.
    pub(crate) fn see_all(&mut self, len: usize) {
        self.notes.seen.clear();
        self.notes.seen.push((0, len));
        self.seen_next = 0;
    }

    /// Values come from this place on again.
    pub(crate) fn go_back(&mut self, start: usize) {
        self.seen_next = self.notes.seen.partition_point(|seen| seen.1 <= start);
    }

    /// The quick look, which is a survey if it finds the text quiet.
    #[inline]
    pub(crate) fn look(&mut self, text: &[u8]) -> Look {
        if self.policy.has_text || self.is_thorough {
            return Look { is_quiet: false, has_zeros: false, may_hold: true };
        }
        let look = quiet::look(&self.policy, text, &mut self.notes.escapes);
        if look.is_quiet {
            self.notes.clear();
            self.notes.may_hold = look.may_hold;
            self.seen_next = 0;
        }
        look
    }

    /// The survey without the quick look.
    pub(crate) fn survey_in_full(&mut self, text: &[u8], at_cut: bool) -> bool {
        let mut hits = std::mem::take(&mut self.hits);
        let mut notes = std::mem::take(&mut self.notes);
        hits.clear();
        notes.clear();
        notes.is_thorough = self.is_thorough;
        notes.escapes.start(at_cut);
        self.scan(text, at_cut, Some(&mut notes), &mut hits);
        notes.beside.clear();
        notes.beside.extend(hits.iter().filter(|hit| hit.beside));
        notes.beside.sort_unstable_by_key(|hit| hit.start);
        notes.beside.dedup();
        notes.seen.extend(hits.iter().map(|hit| (hit.start, hit.end)));
        // Half an escape hides the end of what is in front of it.
        let half = if at_cut { Layer::Any.half_escape(text) } else { 0 };
        notes.seen.extend((half > 0).then_some((text.len() - half, text.len())));
        notes.seen.sort_unstable();
        // Merged, so that their ends are in order, too.
        notes.seen.dedup_by(|next, kept| {
            let joins = next.0 < kept.1;
            kept.1 = if joins { kept.1.max(next.1) } else { kept.1 };
            joins
        });
        self.seen_next = 0;
        (self.hits, self.notes) = (hits, notes);
        if self.is_thorough {
            self.distrust(text.len());
        }
        self.notes.seen.is_empty() && !self.notes.has_names
    }

    /// Whether the survey saw names of fields that make secrets of their values; or escapes, which may hide some.
    pub(crate) fn names_matter(&self) -> bool {
        self.notes.has_names || self.notes.has_escapes
    }

    /// What kind of secret comes first in a text that is decoded from another and replaced as a whole.
    pub(crate) fn first_kind(&mut self, text: &[u8], at_cut: bool) -> Option<KindId> {
        let mut hits = std::mem::take(&mut self.hits);
        hits.clear();
        self.scan(text, at_cut, None, &mut hits);
        let first = hits.iter().min_by_key(|hit| (hit.start, hit.kind)).map(|hit| hit.kind);
        self.hits = hits;
        first
    }

    /// The same as `mask` tells, which is given this engine for it: what it found is forgotten but for its kind.
    pub(crate) fn probe(&mut self, mask: impl FnOnce(&mut Self)) -> Option<KindId> {
        let (edits, arena) = (std::mem::take(&mut self.edits), std::mem::take(&mut self.arena));
        let (notes, seen_next, drop) = (std::mem::take(&mut self.notes), self.seen_next, self.drop);
        let before = self.findings.mark();
        self.start();
        mask(self);
        // Where the list is full, nothing tells which it was.
        let kind = (self.has_edits() || self.drop).then(|| {
            self.findings
                .kind_since(before)
                .filter(|kind| *kind != CUT)
                .map(KindId)
                .or(self.policy.credentials)
                .unwrap_or(KindId(0))
        });
        self.findings.rewind(before);
        (self.edits, self.arena) = (edits, arena);
        (self.notes, self.seen_next, self.drop) = (notes, seen_next, drop);
        kind
    }

    /// Whether the survey saw something in the range. Ranges come in order.
    #[inline]
    fn was_seen(&mut self, start: usize, end: usize) -> bool {
        while self.notes.seen.get(self.seen_next).is_some_and(|seen| seen.1 <= start) {
            self.seen_next += 1;
        }
        self.notes.seen.get(self.seen_next).is_some_and(|seen| seen.0 < end)
    }

    /// Whether a value of a surveyed text, of no name that matters and without blanks written as a plus, needs no look. Values
    /// come in order.
    #[inline]
    pub(crate) fn passes_over(&mut self, start: usize, end: usize) -> bool {
        self.policy.whole_patterns == 0 && !self.was_seen(start, end)
    }

    /// Whether a text by itself holds nothing, as a quick look tells.
    pub(crate) fn is_quiet(&mut self, text: &[u8]) -> bool {
        self.look(text).is_quiet && !self.has_neighbours(text)
    }

    /// Looks through one value; true if anything in it is replaced. `field` appends the value's name to a finding.
    pub(crate) fn value(&mut self, text: &[u8], value: &Value, field: &dyn Fn(&mut String)) -> bool {
        let raw = &text[value.start..value.end];
        if raw.is_empty() {
            return false;
        }
        if let Some(kind) = value.forced {
            return self.whole(text, value, kind, field);
        }
        let mut was_seen = true;
        if value.surveyed && !value.may_be_ssn && self.policy.whole_patterns == 0 {
            // A blank written as a plus separates the groups of numbers, the words of what announces a secret, and
            // whatever own expressions want.
            let may_hide = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'-' | b':' | b'=');
            let has_blanks = value.layer == Layer::Percent { plus: true }
                && raw.contains(&b'+')
                && (!self.policy.patterns.is_empty() || raw.iter().any(may_hide));
            was_seen = self.was_seen(value.start, value.end);
            if !was_seen && !has_blanks && self.told.values.is_empty() {
                return false;
            }
        }
        let mut views = std::mem::take(&mut self.views);
        let mut hits = std::mem::take(&mut self.hits);
        let mut places = std::mem::take(&mut self.places);
        places.clear();
        places.extend(self.told.values.iter().enumerate().map(|(i, told)| {
            let hit =
                Hit { partial: value.at_cut && told.end == value.end, ..Hit::new(told.start, told.end, told.kind) };
            Place { start: told.start, end: told.end, level: 0, hit, told: Some(i) }
        }));
        if value.surveyed {
            let beside = &self.notes.beside;
            let within = beside[beside.partition_point(|hit| hit.start < value.start)..]
                .iter()
                .take_while(|hit| hit.end <= value.end);
            places.extend(within.map(|hit| Place { start: hit.start, end: hit.end, level: 0, hit: *hit, told: None }));
        }
        let mut level = 0;
        let is_decoded = value.layer.has_escapes(raw);
        if is_decoded {
            decode(value.layer, value.at_cut, raw, |i| (value.start + i) as u32, &mut views[0]);
            level = 1;
        }
        loop {
            let seen = if level == 0 { raw } else { &views[level - 1].text };
            hits.clear();
            self.scan(seen, value.at_cut, None, &mut hits);
            if value.may_be_ssn
                && let Some(kind) = self.policy.detector(Detector::UsSsn)
                && detect::is_ssn(seen.trim_ascii())
            {
                hits.push(Hit::new(0, seen.len(), kind));
            }
            for hit in &hits {
                let (start, end) = match level {
                    0 => (value.start + hit.start, value.start + hit.end),
                    _ => views[level - 1].source(hit.start, hit.end),
                };
                places.push(Place { start, end, level, hit: *hit, told: None });
            }
            let has_escapes = Layer::Any.has_escapes(seen) || value.at_cut && Layer::Any.half_escape(seen) > 0;
            if level > MAX_NESTING || !has_escapes {
                break;
            }
            let (before, after) = views.split_at_mut(level);
            let Some(next) = after.first_mut() else { break };
            match before.last() {
                None => decode(Layer::Any, value.at_cut, raw, |i| (value.start + i) as u32, next),
                Some(view) => decode(Layer::Any, value.at_cut, &view.text, |i| view.origin[i], next),
            }
            level += 1;
        }
        if value.layer == (Layer::Percent { plus: true }) && raw.contains(&b'+') {
            // A survey reads it as itself, so that names are found here only if it saw one; but what another reading found may
            // go on behind it.
            let goes_on = |place: &Place| place.hit.is_named && raw.get(place.end - value.start) == Some(&b'+');
            if was_seen || self.policy.has_text || places.iter().any(goes_on) {
                self.value_with_plus(raw, value, &mut views, &mut hits, &mut places);
            }
        }
        let found = self.replace(text, value, is_decoded, &views, &mut places, field);
        (self.views, self.hits, self.places) = (views, hits, places);
        self.told.clear();
        found
    }

    /// Looks through a value of a query or form once more in which a plus is not a blank, but itself; and takes what a blank
    /// ended that was one as far as it goes.
    fn value_with_plus(
        &mut self,
        raw: &[u8],
        value: &Value,
        views: &mut [View; LAST_LEVEL],
        hits: &mut Vec<Hit>,
        places: &mut Vec<Place>,
    ) {
        let blanks = places.len();
        let (view, layer) = (&mut views[PLUS_LEVEL - 1], Layer::Percent { plus: false });
        decode(layer, value.at_cut, raw, |i| (value.start + i) as u32, view);
        // How far what has a name goes is told before the next changes the text. Texts within it may end it earlier, which they
        // do not tell here.
        let mut done = 0..0;
        for place in &mut places[..blanks] {
            // What another goes on to is masked with it, and looked at once.
            let is_done = done.contains(&place.end);
            if place.hit.is_named && !is_done && raw.get(place.end - value.start) == Some(&b'+') {
                done.start = place.end;
                let from = view.origin.partition_point(|origin| (*origin as usize) < place.end);
                let rest = view.text.get(from..).unwrap_or_default();
                place.end = view.source(from, from + pairs::bare_len(rest, false)).1;
                done.end = place.end;
            }
        }
        // In an address it is one wherever it stands, in a number only in front.
        if self.policy.has_text && !view.text.contains(&b'@') {
            for at in memchr::memchr_iter(b'+', raw) {
                let at = view.origin.partition_point(|origin| (*origin as usize) < value.start + at);
                if let Some([front, plus, behind]) =
                    at.checked_sub(1).and_then(|from| view.text.get_mut(from..from + 3))
                    && front.is_ascii_digit()
                    && behind.is_ascii_digit()
                {
                    *plus = b' ';
                }
            }
        }
        for level in PLUS_LEVEL..=LAST_LEVEL {
            let (before, after) = views.split_at_mut(level);
            let Some(view) = before.last() else { break };
            hits.clear();
            self.scan(&view.text, value.at_cut, None, hits);
            places.extend(hits.iter().map(|hit| {
                let (start, end) = view.source(hit.start, hit.end);
                Place { start, end, level, hit: *hit, told: None }
            }));
            let has_escapes =
                Layer::Any.has_escapes(&view.text) || value.at_cut && Layer::Any.half_escape(&view.text) > 0;
            let Some(next) = after.first_mut().filter(|_| has_escapes) else { break };
            decode(Layer::Any, value.at_cut, &view.text, |i| view.origin[i], next);
        }
    }

    /// Replaces a value that is a secret as a whole.
    fn whole(&mut self, text: &[u8], value: &Value, kind: KindId, field: &dyn Fn(&mut String)) -> bool {
        let raw = &text[value.start..value.end];
        let hit = Hit { partial: value.at_cut, ..Hit::new(0, raw.len(), kind) };
        let is_secret = |engine: &Self, seen: &[u8]| pairs::is_secret(seen) && !engine.policy.spares(kind, seen);
        if value.layer.has_escapes(raw) {
            let mut views = std::mem::take(&mut self.views);
            value.layer.decode(raw, |i| (value.start + i) as u32, &mut views[0]);
            let seen = &views[0].text;
            let found =
                is_secret(self, seen) && self.edit(value, (value.start, value.end), seen, value.layer, &hit, field);
            self.views = views;
            found
        } else {
            is_secret(self, raw) && self.edit(value, (value.start, value.end), raw, value.layer, &hit, field)
        }
    }

    /// Replaces what was found, each byte once: of hits that overlap the first and longest counts, and what another
    /// adds to it is redacted with it.
    fn replace(
        &mut self,
        text: &[u8],
        value: &Value,
        is_decoded: bool,
        views: &[View],
        places: &mut [Place],
        field: &dyn Fn(&mut String),
    ) -> bool {
        places.sort_unstable_by_key(|place| {
            (place.start, std::cmp::Reverse(place.end), place.level, place.told.is_none(), place.hit.kind)
        });
        let mut next = 0;
        while let Some(first) = places.get(next).copied() {
            let (mut hit, mut end) = (first.hit, first.end);
            next += 1;
            while let Some(other) = places.get(next).filter(|other| other.start < end || other.start == first.start) {
                end = end.max(other.end);
                if hit.quiet && !other.hit.quiet {
                    (hit.kind, hit.quiet) = (other.hit.kind, false);
                }
                next += 1;
            }
            let mut place = (first.start, end);
            if value.is_number {
                place = (value.start, value.end);
            }
            let layer = match first.level {
                0 | PLUS_LEVEL => value.layer,
                1 if is_decoded => value.layer,
                _ => Layer::Any,
            };
            let secret = if place != (first.start, first.end) {
                // Of a number or of several hits, as it stands in the text.
                hit.partial |= !value.is_number;
                &text[place.0..place.1]
            } else if first.level == 0 {
                &text[first.start..first.end]
            } else {
                &views[first.level - 1].text[first.hit.start..first.hit.end]
            };
            let is_one = place == (first.start, first.end);
            // Where the quote in front of it is written.
            let quote = match first.level {
                _ if !is_one => None,
                0 => {
                    let from = value.start;
                    quote_of_number(&text[from..], first.start - from, first.end - from)
                        .map(|(start, end)| (from + start, from + end))
                }
                level => quote_of_number(&views[level - 1].text, first.hit.start, first.hit.end)
                    .map(|(start, end)| views[level - 1].source(start, end)),
            };
            match first.told.filter(|_| is_one) {
                Some(told) => self.edit_told(value, secret, told, &hit),
                None => {
                    let quote = match quote {
                        _ if value.is_number => b"\"",
                        Some((start, end)) => &text[start..end],
                        None => &b""[..],
                    };
                    self.edit_quoted(value, place, secret, layer, &hit, quote, field)
                }
            };
            if value.is_number {
                break;
            }
        }
        !places.is_empty()
    }

    /// Replaces a value that its reader told, as the reader of JSON does.
    fn edit_told(&mut self, value: &Value, secret: &[u8], told: usize, hit: &Hit) -> bool {
        let list = std::mem::take(&mut self.told);
        let found = list.values.get(told).is_some_and(|told| {
            let layer = if told.is_number { Layer::Plain } else { Layer::Json };
            let inner = Value { is_number: told.is_number, layer, ..*value };
            let mut view = View::default();
            let is_decoded = layer.has_escapes(secret);
            if is_decoded {
                decode(layer, hit.partial, secret, |i| i as u32, &mut view);
            }
            let secret = if is_decoded { &view.text } else { secret };
            let name = |out: &mut String| out.push_str(list.field(told));
            self.edit(&inner, (told.start, told.end), secret, layer, hit, &name)
        });
        self.told = list;
        found
    }

    /// Adds one edit and its finding.
    fn edit(
        &mut self,
        value: &Value,
        place: (usize, usize),
        secret: &[u8],
        layer: Layer,
        hit: &Hit,
        field: &dyn Fn(&mut String),
    ) -> bool {
        let quote: &[u8] = if value.is_number { b"\"" } else { b"" };
        self.edit_quoted(value, place, secret, layer, hit, quote, field)
    }

    /// The same of what is to be quoted unless it is a number again.
    #[expect(clippy::too_many_arguments, reason = "what is said of a hit, and where it is written")]
    fn edit_quoted(
        &mut self,
        value: &Value,
        place: (usize, usize),
        secret: &[u8],
        layer: Layer,
        hit: &Hit,
        quote: &[u8],
        field: &dyn Fn(&mut String),
    ) -> bool {
        let wanted = match self.policy.action(hit.kind) {
            Action::DropBody if value.location.is_body() && !hit.quiet => {
                self.drop = true;
                Action::DropBody
            }
            Action::DropBody => Action::Redact,
            // Of part of a value other digits would be the last, and another number its cipher.
            Action::KeepLast(_) | Action::Fpe if hit.partial => Action::Redact,
            _ if hit.quiet => Action::Redact,
            Action::Redact | Action::KeepLast(_) if value.is_name => Action::Hash,
            action => action,
        };
        let mut plain = std::mem::take(&mut self.plain);
        plain.clear();
        let action = match wanted {
            Action::Redact | Action::DropBody => {
                plain.extend_from_slice(REDACTED);
                wanted
            }
            Action::KeepLast(keep) => {
                keep_last(secret, usize::from(keep), &mut plain);
                wanted
            }
            Action::Fpe if self.policy.fpe.encrypt(secret, value.is_number, &mut plain) => wanted,
            Action::Hash | Action::Fpe => {
                plain.extend_from_slice(&self.token(secret));
                Action::Hash
            }
        };
        let from = self.arena.len();
        let quote = if is_json_number(&plain) { b"" } else { quote };
        self.arena.extend_from_slice(quote);
        layer.encode(&plain, &mut self.arena);
        self.arena.extend_from_slice(quote);
        self.plain = plain;
        self.edits.push(Edit { start: place.0, end: place.1, from, to: self.arena.len() });
        self.findings.found += 1;
        if self.findings.has_room() {
            let within = (place.0 - value.start, place.1 - value.start);
            let kind = if hit.quiet { CUT } else { hit.kind.0 };
            let mut findings = std::mem::take(&mut self.findings);
            findings.push(kind, value.location, action, within, |out| {
                let from = out.len();
                field(out);
                self.hide(out, from);
            });
            self.findings = findings;
        }
        true
    }

    /// Takes secrets out of the name of a field, which starts at `from`: each becomes a star.
    fn hide(&mut self, names: &mut String, from: usize) {
        let Some(name) = names.get(from..) else { return };
        // Most are words, in which nothing is but what announces itself by length or to an own expression.
        let is_sign =
            |byte: u8| byte.is_ascii_digit() || matches!(byte, b'@' | b':' | b'=' | b'%' | b'\\' | b'&' | b' ');
        let is_long = self.policy.has_text && name.len() >= LONG_NAME || !self.policy.patterns.is_empty();
        if !is_long && !name.bytes().any(is_sign) {
            return;
        }
        let mut hits = Vec::new();
        self.scan(name.as_bytes(), false, None, &mut hits);
        let mut view = View::default();
        let mut inner = Layer::Any.has_escapes(name.as_bytes()).then(|| name.as_bytes().to_vec());
        for _ in 0..=MAX_NESTING {
            let Some(text) = inner.filter(|text| Layer::Any.has_escapes(text)) else { break };
            Layer::Any.decode(&text, |i| i as u32, &mut view);
            let count = hits.len();
            self.scan(&view.text, false, None, &mut hits);
            if hits.len() > count {
                // Not where it is written: all of it.
                names.truncate(from);
                names.push('*');
                return;
            }
            inner = Some(std::mem::take(&mut view.text));
        }
        if hits.is_empty() {
            return;
        }
        hits.sort_unstable_by_key(|hit| hit.start);
        let mut hidden = String::new();
        let mut at = 0;
        for hit in &hits {
            // Of a character of several bytes nothing is left.
            hidden.push_str(name.get(at..hit.start).unwrap_or_default());
            if hit.start >= at {
                hidden.push('*');
            }
            // What joins names may be part of what is found, so that more of it is behind: an address has one sign.
            let is_joined = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'@' | b'.' | b'_' | b'-');
            let behind = name.as_bytes().get(hit.end..).unwrap_or_default();
            at = at.max(hit.end + behind.iter().take_while(|byte| is_joined(byte)).count());
        }
        hidden.push_str(name.get(at..).unwrap_or_default());
        names.truncate(from);
        names.push_str(&hidden);
    }

    /// Everything that is looked for in a text, appended to `hits` in no particular order. A survey, which takes notes,
    /// leaves out own regexes that say where a value starts or ends.
    fn scan(&mut self, text: &[u8], at_cut: bool, notes: Option<&mut Notes>, hits: &mut Vec<Hit>) {
        let policy = &*self.policy;
        let mut notes = notes;
        let is_survey = notes.is_some();
        walk(policy, text, notes.as_deref_mut(), hits);
        if !is_survey && policy.has_names() {
            objects::find(policy, text, self.is_thorough, hits);
            markup::find(policy, text, at_cut, self.is_thorough, hits);
        }
        if at_cut {
            if let Some(kind) = policy.credentials
                && let Some(start) = pairs::cut_userinfo(text)
            {
                hits.push(Hit::new(start, text.len(), kind));
            }
            for hit in hits.iter_mut() {
                hit.partial |= hit.end == text.len();
            }
        }
        if !policy.has_text {
            return;
        }
        policy.literals.find(text, at_cut, hits, notes.map(|notes| &mut notes.seen));
        if at_cut {
            detect::tail::find(policy, text, hits);
        }
        for (pattern, cache) in policy.patterns.iter().zip(&mut self.regex_caches) {
            if !(is_survey && pattern.is_whole) {
                pattern.find(text, cache, hits);
            }
            if at_cut && let Some(start) = pattern.tail(text) {
                hits.push(Hit { partial: true, quiet: true, ..Hit::new(start, text.len(), pattern.kind) });
            }
        }
    }
}

/// Decodes a text, which a cut may end.
fn decode(layer: Layer, at_cut: bool, text: &[u8], origin: impl Fn(usize) -> u32, view: &mut View) {
    if at_cut { layer.decode_cut(text, origin, view) } else { layer.decode(text, origin, view) }
}

/// Letters and digits become `*` but for the last `keep`, or half of them if that is fewer. Other printable ASCII stays.
fn keep_last(secret: &[u8], keep: usize, out: &mut Vec<u8>) {
    let is_counted = |byte: &u8| byte.is_ascii_alphanumeric();
    let count = secret.iter().filter(|byte| is_counted(byte)).count();
    let mut hidden = count - keep.min(count / 2);
    for byte in secret.iter().copied() {
        match byte {
            // Of a character of several bytes only the first counts.
            0x80..0xc0 => {}
            b' ' | b'-' | b'.' | b'_' | b'/' | b':' | b'@' | b'+' | b'(' | b')' => out.push(byte),
            _ if is_counted(&byte) && hidden == 0 => out.push(byte),
            _ => {
                hidden -= usize::from(is_counted(&byte));
                out.push(b'*');
            }
        }
    }
}

/// The quote of JSON within another text in which a number is `text[start..end]`, with the backslashes in front of it: that of its
/// key, or of what is in front of the list that it is in. What stands in the number's place is to have the same.
fn quote_of_number(text: &[u8], start: usize, end: usize) -> Option<(usize, usize)> {
    /// The most bytes of a list that are looked through.
    const MAX_LIST: usize = 256;
    let is_number = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E');
    let number = text.get(start..end)?;
    if !number.iter().all(is_number) || !number.iter().any(u8::is_ascii_digit) {
        return None;
    }
    let front = text.get(..start)?.trim_ascii_end();
    let quote = match front {
        [key @ .., b':'] => key.trim_ascii_end().strip_suffix(b"\"")?.len(),
        [.., b'[' | b','] => {
            let from = front.len().saturating_sub(MAX_LIST);
            from + memchr::memrchr(b'"', &front[from..])?
        }
        _ => return None,
    };
    let backslashes = front[..quote].iter().rev().take_while(|byte| **byte == b'\\').count();
    Some((quote - backslashes, quote + 1))
}

/// Whether text is an integer of JSON, as far as replacements go.
fn is_json_number(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) && (digits.len() == 1 || digits[0] != b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_characters_stay() {
        let kept = |text: &str, keep| {
            let mut out = Vec::new();
            keep_last(text.as_bytes(), keep, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(kept("4111-1111-1111-1234", 4), "****-****-****-1234");
        assert_eq!(kept("1234", 4), "**34");
        assert_eq!(kept("a", 4), "*");
        assert_eq!(kept("grün\"<x>", 2), "***n**x*");
        assert_eq!(kept("", 4), "");
    }

    #[test]
    fn numbers_are_told() {
        for text in ["0", "12", "-5"] {
            assert!(is_json_number(text.as_bytes()));
        }
        for text in ["", "-", "012", "REDACTED", "1 2", "**12"] {
            assert!(!is_json_number(text.as_bytes()));
        }
    }
}
