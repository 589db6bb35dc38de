//! JSON, and lines of it: every key, string and number is looked at, at any depth.
//!
//! A lexer without recursion: it knows where it is by a stack of at most [`MAX_DEPTH`] levels; deeper values are masked
//! all the same, only that findings and paths do not see the levels beyond. What stops being JSON is text from there on.

use std::sync::Arc;

use crate::engine::{Engine, Value};
use crate::finding::Location;
use crate::form::{named, push_name};
use crate::json_path::{Level, Origin, Trail};
use crate::layer::{Layer, View};
use crate::member::{self, Named, Objects, Role};
use crate::policy::KindId;
use crate::script::{Bracket, Open, Script};

/// Levels whose keys and indices are kept.
const MAX_DEPTH: usize = 128;

/// The reader's memory, kept from body to body.
#[derive(Default)]
pub(crate) struct Reader {
    levels: Vec<Nesting>,
    scratch: View,
    /// What paths say of the levels.
    trail: Trail,
    /// Objects with a member that names another.
    objects: Objects,
    /// Whether there are any in the whole text.
    pub(crate) has_neighbours: bool,
}

/// An object or array that is open.
#[derive(Debug, Clone, Copy, Default)]
struct Nesting {
    is_array: bool,
    /// Where it starts; and how much of the text was replaced by then.
    start: usize,
    edits: usize,
    /// Of an array: which element comes.
    index: u32,
    /// Of an object: its latest key, and what that says of its value.
    key: (usize, usize),
    key_is_hidden: bool,
    key_rule: Option<KindId>,
    /// What paths say of it.
    path_rule: Option<KindId>,
    key_is_ssn: bool,
    /// Of an object: what one member says of those that hold values; and whether the latest is one of these.
    named: Option<Named>,
    key_holds: bool,
    /// All within is a secret of this kind.
    forced: Option<KindId>,
    /// Nine digits within are a social security number.
    may_be_ssn: bool,
}

/// What the latest token allows to come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// A value; after an opening bracket or a comma also a closing bracket or a key.
    Value { or_key: bool },
    /// A colon.
    Colon,
    /// A comma or a closing bracket; at the top also another value.
    Separator,
}

/// How what is no JSON goes on with what was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goes {
    /// In the member or element that was begun: with its value, or behind that or in front of its key.
    On { is_value: bool },
    /// With another member.
    Afresh,
}

struct Lexer<'a> {
    engine: &'a mut Engine,
    reader: &'a mut Reader,
    text: &'a [u8],
    end: usize,
    location: Location,
    at_cut: bool,
    /// Levels beyond the stack.
    beyond: usize,
}

/// Masks `text[start..end]`. A survey of the text has to have been made.
pub(crate) fn mask(
    engine: &mut Engine,
    reader: &mut Reader,
    text: &[u8],
    (start, end): (usize, usize),
    location: Location,
    at_cut: bool,
) {
    reader.levels.clear();
    reader.objects.clear();
    reader.trail.clear();
    if reader.has_neighbours {
        reader.objects.find(&engine.policy, text, (start, end), &mut reader.scratch);
    }
    Lexer { engine, reader, text, end, location, at_cut, beyond: 0 }.run(start);
}

impl Lexer<'_> {
    fn run(&mut self, mut at: usize) {
        let mut next = Next::Value { or_key: false };
        // The latest string, if nothing of it was replaced: it may turn out to be a name.
        let mut latest = None;
        loop {
            at +=
                // A record separator begins each text of a sequence (RFC 7464).
                self.text[at..self.end].iter().take_while(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | b'\x1e')).count();
            if at >= self.end {
                return;
            }
            let is_top = self.reader.levels.is_empty();
            let can_be_value = matches!(next, Next::Value { .. }) || is_top && next == Next::Separator;
            let start = at;
            match self.text[at] {
                b'"' if can_be_value => {
                    let content = at + 1;
                    let (content_end, is_closed) = self.string_end(content);
                    at = content_end + usize::from(is_closed);
                    let behind =
                        at + self.text[at..self.end].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
                    if self.text[..self.end].get(behind) == Some(&b':') && next == (Next::Value { or_key: true }) {
                        self.key(content, content_end);
                        next = Next::Colon;
                        continue;
                    }
                    // A key with a comment behind it.
                    let is_key = next == (Next::Value { or_key: true })
                        && matches!(self.text[..self.end].get(behind), Some(b'/' | b'#'))
                        && self.beyond == 0
                        && self.reader.levels.last().is_some_and(|level| !level.is_array);
                    if !is_key {
                        let edits = self.engine.edits();
                        self.scalar(content, content_end, Layer::Json, !is_closed);
                        latest = (self.engine.edits() == edits).then_some((start, at));
                        next = Next::Separator;
                        continue;
                    }
                }
                open @ (b'{' | b'[') if can_be_value => {
                    self.open(at, open == b'[');
                    at += 1;
                    next = Next::Value { or_key: true };
                    continue;
                }
                b'}' | b']' if next != Next::Colon && !is_top => {
                    self.close();
                    at += 1;
                    next = Next::Separator;
                    continue;
                }
                b',' if next == Next::Separator && !is_top => {
                    at += 1;
                    if let Some(level) = self.reader.levels.last_mut().filter(|_| self.beyond == 0) {
                        level.index = level.index.saturating_add(1);
                    }
                    next = Next::Value { or_key: true };
                    continue;
                }
                b':' if next == Next::Colon => {
                    at += 1;
                    next = Next::Value { or_key: false };
                    continue;
                }
                b'-' | b'0'..=b'9' | b't' | b'f' | b'n' if can_be_value => {
                    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
                    at += self.text[at..self.end].iter().take_while(|byte| is_part(byte)).count();
                    let word = &self.text[start..at];
                    // What goes on as names do is none: without its beginning, it may be another one.
                    let is_whole = !matches!(self.text[..self.end].get(at), Some(b'_' | b'$' | b'[' | 0x80..));
                    let is_number =
                        is_whole && !word.iter().any(|byte| byte.is_ascii_alphabetic() && !matches!(byte, b'e' | b'E'));
                    if is_number {
                        self.scalar(start, at, Layer::Plain, at == self.end);
                        next = Next::Separator;
                        continue;
                    }
                    if matches!(word, b"true" | b"false" | b"null") {
                        next = Next::Separator;
                        continue;
                    }
                }
                _ => {}
            }
            // From the bracket on, where nothing was replaced since: what is within is read together.
            if self.beyond == 0
                && let Some(level) = self.reader.levels.pop_if(|level| level.edits == self.engine.edits())
            {
                self.engine.go_back(level.start);
                self.reader.trail.pop(&self.engine.policy.paths);
                self.rest(level.start, level.forced, Goes::On { is_value: true });
                return;
            }
            // Not JSON, from here on; of a member that was begun, from its key on.
            let key = self.reader.levels.last().filter(|level| {
                // `"""…"""` begins with what is a value of JSON, too.
                let is_begun = next == Next::Colon
                    || next == Next::Value { or_key: false }
                    || next == Next::Separator
                        && self.text[start..].starts_with(b"\"")
                        && latest == Some((start.wrapping_sub(2), start))
                        // Of a member in front of it, the value may have been replaced.
                        && self.text[..start - 2].trim_ascii_end().ends_with(b":");
                is_begun && !level.is_array && !level.key_is_hidden && self.beyond == 0 && level.key.0 > 0
            });
            let is_name =
                |end: usize| matches!(self.text[start], b':' | b'=') && self.text[end..start].trim_ascii().is_empty();
            let name = latest.filter(|(_, end)| next == Next::Separator && is_name(*end)).map(|(name, _)| name);
            let begins = key.map(|level| level.key.0 - 1).or(name);
            let is_object = self.reader.levels.last().is_some_and(|level| !level.is_array);
            let goes_on = match next {
                _ if begins.is_some() => Goes::On { is_value: key.is_none() },
                Next::Value { or_key: true } if is_object => Goes::Afresh,
                next => Goes::On { is_value: matches!(next, Next::Value { .. }) },
            };
            let forced = self.reader.levels.last().and_then(|level| level.forced);
            self.rest(begins.unwrap_or(start), forced, goes_on);
            return;
        }
    }

    /// Where the string's content ends that starts at `from`, and whether a quote ends it.
    fn string_end(&self, mut from: usize) -> (usize, bool) {
        let text = &self.text[..self.end];
        loop {
            match text.get(from..).and_then(next_quote) {
                None => return (self.end, false),
                Some(len) if text[from + len] == b'"' => return (from + len, true),
                Some(len) => from += len + 2,
            }
        }
    }

    fn open(&mut self, at: usize, is_array: bool) {
        let (forced, may_be_ssn) = self.rules();
        let named = self.reader.objects.named(at);
        if self.reader.levels.len() < MAX_DEPTH {
            let edits = self.engine.edits();
            let origin = if self.reader.levels.is_empty() { Origin::Root } else { Origin::Inner };
            self.reader.trail.push(&self.engine.policy.paths, origin);
            let level = Nesting { is_array, start: at, edits, forced, may_be_ssn, named, ..Nesting::default() };
            self.reader.levels.push(level);
        } else {
            self.beyond += 1;
            // Beyond the stack the deepest level stands for all: what was said of one counts for those that follow, too.
            if let Some(level) = self.reader.levels.last_mut() {
                level.forced = level.forced.or(forced);
                level.may_be_ssn |= may_be_ssn;
                level.named = named.or(level.named);
            }
        }
    }

    fn close(&mut self) {
        if self.beyond > 0 {
            self.beyond -= 1;
        } else {
            self.reader.levels.pop();
            self.reader.trail.pop(&self.engine.policy.paths);
        }
    }

    /// What the place of a value says of it.
    fn rules(&mut self) -> (Option<KindId>, bool) {
        let Some(level) = self.reader.levels.last() else { return (None, false) };
        let forced = match level.is_array {
            _ if level.forced.is_some() => level.forced,
            true => None,
            false => level.key_rule.or(level.named.filter(|_| level.key_holds).and_then(|named| named.kind)),
        };
        let by_key = || level.key_is_ssn || level.key_holds && level.named.is_some_and(|named| named.may_be_ssn);
        let may_be_ssn = level.may_be_ssn || !level.is_array && by_key();
        (forced.or_else(|| self.path_rule()), may_be_ssn)
    }

    fn path_rule(&mut self) -> Option<KindId> {
        if self.engine.policy.paths.is_empty() || self.beyond > 0 {
            return None;
        }
        let Reader { levels, trail, .. } = &mut *self.reader;
        let level = levels.last()?;
        match level.is_array {
            true => trail.enter(&self.engine.policy.paths, Level::Index(level.index)),
            false => level.path_rule,
        }
    }

    /// A key: its own text is looked at as a value's is.
    fn key(&mut self, start: usize, end: usize) {
        let is_hidden = !self.engine.passes_over(start, end) && {
            let mut value = Value::new(start, end, Layer::Json, self.location);
            value.surveyed = true;
            value.is_name = true;
            let levels = &self.reader.levels;
            let outer = levels.len().saturating_sub(1);
            self.engine.value(self.text, &value, &|field| push_path(field, &levels[..outer], self.text))
        };
        let (key_rule, key_is_ssn) = match self.engine.names_matter() {
            true => named(self.engine, &self.text[start..end], Layer::Json, &mut self.reader.scratch),
            false => (None, false),
        };
        let Reader { levels, scratch, trail, .. } = &mut *self.reader;
        let paths = &self.engine.policy.paths;
        let path_rule = match paths.is_empty() || self.beyond > 0 {
            true => None,
            false => trail.enter(paths, Level::Key(decoded(&self.text[start..end], scratch))),
        };
        if let Some(level) = levels.last_mut() {
            let key_holds =
                level.named.is_some() && member::json_role(&self.text[start..end], scratch) == Some(Role::Holds);
            // Beyond the stack the deepest level stands for all.
            *level = Nesting {
                key: (start, end),
                key_is_hidden: is_hidden,
                key_rule,
                path_rule,
                key_is_ssn,
                key_holds,
                is_array: false,
                ..*level
            };
        }
    }

    /// A string's content or a number.
    fn scalar(&mut self, start: usize, end: usize, layer: Layer, is_open: bool) {
        let (forced, may_be_ssn) = self.rules();
        if forced.is_none() && !may_be_ssn && self.engine.passes_over(start, end) {
            return;
        }
        let levels = &self.reader.levels;
        let value = Value {
            forced,
            may_be_ssn,
            is_number: layer == Layer::Plain,
            at_cut: self.at_cut && is_open,
            surveyed: true,
            ..Value::new(start, end, layer, self.location)
        };
        self.engine.value(self.text, &value, &|field| push_path(field, levels, self.text));
    }

    /// What is no JSON from `start` on, of a value that is a secret of this kind.
    fn rest(&mut self, start: usize, forced: Option<KindId>, goes_on: Goes) {
        let policy = Arc::clone(&self.engine.policy);
        if !policy.paths.is_empty() || forced.is_some() {
            let Reader { levels, scratch, trail, .. } = &mut *self.reader;
            // Beyond the stack no path is known.
            let is_known = self.beyond == 0 || forced.is_some();
            let mut list = std::mem::take(&mut self.engine.told);
            let mut script = Script::new(&policy, &self.text[..self.end], (trail, scratch), &mut list);
            match is_known {
                true => script.resume(levels.iter().map(|level| {
                    let bracket = if level.is_array { Bracket::Square } else { Bracket::Brace };
                    Open { index: level.index, key: level.key, ..Open::new(bracket, 0, level.forced) }
                })),
                false => script.start(),
            }
            if let Some(level) = script.open.back_mut() {
                level.value = forced;
            }
            script.beyond = if is_known { self.beyond } else { 0 };
            script.expects = goes_on == Goes::On { is_value: true };
            if matches!(goes_on, Goes::On { .. }) {
                script.judge();
            }
            script.run(start);
            self.engine.told = list;
        }
        let levels = &self.reader.levels;
        let value = Value {
            at_cut: self.at_cut,
            // Neighbours are looked for where a value is looked at.
            surveyed: !self.reader.has_neighbours,
            ..Value::new(start, self.end, Layer::Plain, self.location)
        };
        self.engine.value(self.text, &value, &|field| push_path(field, levels, self.text));
    }
}

/// A key as it reads.
pub(crate) fn decoded<'a>(key: &'a [u8], scratch: &'a mut View) -> &'a [u8] {
    if memchr::memchr(b'\\', key).is_none() {
        return key;
    }
    Layer::Json.decode(key, |i| i as u32, scratch);
    &scratch.text
}

/// Where the first quote or backslash is. Most strings are short, so that a vectorized search would not pay off before
/// the first few words.
#[inline]
pub(crate) fn next_quote(text: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHS: u64 = ONES << 7;
    let mut at = 0;
    while let Some(bytes) = text.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*bytes);
        let (quotes, backslashes) = (word ^ (ONES * b'"' as u64), word ^ (ONES * b'\\' as u64));
        // The lowest bit set is exact; those above it may not be.
        let found = (quotes.wrapping_sub(ONES) & !quotes | backslashes.wrapping_sub(ONES) & !backslashes) & HIGHS;
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
        if at == 64 {
            break;
        }
    }
    memchr::memchr2(b'"', b'\\', text.get(at..)?).map(|len| at + len)
}

/// The place of a value: `accounts.0.number`.
fn push_path(field: &mut String, levels: &[Nesting], text: &[u8]) {
    let from = field.len();
    for (i, level) in levels.iter().enumerate() {
        if i > 0 {
            field.push('.');
        }
        if level.is_array {
            field.push_str(&level.index.to_string());
        } else {
            push_name(field, &text[level.key.0..level.key.1], level.key_is_hidden);
        }
        if field.len() - from > crate::finding::MAX_FIELD_BYTES {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::finding::Side;
    use crate::masker::{MaskedBody, Masker};
    use crate::policy::{Policy, Settings};

    fn masked(text: &str, at_cut: bool) -> String {
        let policy = Policy::new(&Settings { key: vec![7; 32], ..Settings::default() }).unwrap();
        let mut masker = Masker::new(Arc::new(policy));
        let body = masker.body(Side::Request, Some(b"application/json"), text.as_bytes(), at_cut);
        match body {
            MaskedBody::Replaced(out) => String::from_utf8_lossy(out).into_owned(),
            _ => text.to_owned(),
        }
    }

    #[test]
    fn members_named_by_others_are_masked() {
        for text in [
            r#"[{"name":"password","value":"hunter22"}]"#,
            r#"{"key":"api_key","value":"hunter22"}"#,
            r#"{"value":"hunter22","name":"password"}"#,
            r#"{"value" : "hunter22" , "enabled":true, "name" : "password" }"#,
            r#"{"field":"token","content":"hunter22"}"#,
            r#"{"header":"X-Auth-Key","text":"hunter22"}"#,
            r#"{"log":{"entries":[{"request":{"headers":[{"name":"Authorization","value":"Bearer hunter22"}]}}]}}"#,
            r#"{"ParameterKey":"DbPassword","ParameterValue":"hunter22"}"#,
            r#"{"key":"http.request.header.access_token","value":{"stringValue":"hunter22"}}"#,
            r#"{"k":"pin","v":hunter22}"#.replace("hunter22", "5550122").as_str(),
            r#"{"id":7,"param":"client-secret","data":["hunter22",{"x":"hunter22"}]}"#,
            r#"{"data":{"a":{"b":"hunter22"}},"id":"session_id"}"#,
            r#"{"n\u0061me":"p\u0061ssword","v\u0061lue":"hunter22"}"#,
            r#"{"v\u0061lue":"hunter22","name":"password"}"#,
            r#"{"x":"caf\u00e9\n","value":"hunter22","name":"password"}"#,
            r#"{"\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9value":"hunter22","name":"password"}"#,
            r#"{"name":"password","value":"a","values":["hunter22"],"value":"hunter22"}"#,
            r#"{"name":"x","type":"password","value":"hunter22"}"#,
            r#"{"name":{"name":"x","value":1},"key":"password","value":"hunter22"}"#,
            r#"{"value":{"name":"page","value":"hunter22"},"name":"password"}"#,
            "\u{feff}{\"a\":1}\n{\"name\":\"password\",\"value\":\"hunter22\"}",
        ] {
            let out = masked(text, false);
            assert!(!out.contains("hunter22") && !out.contains("5550122"), "{out}");
            assert!(out.contains("tok_"), "{out}");
            // The names stay, and the shape.
            assert_eq!(out.matches([':', ',', '{', '[']).count(), text.matches([':', ',', '{', '[']).count(), "{out}");
        }
    }

    #[test]
    fn others_stay() {
        for text in [
            r#"{"name":"page","value":"7a"}"#,
            r#"{"name":"password","rank":"7a"}"#,
            r#"[{"name":"password"},{"value":"7a"}]"#,
            r#"{"name":["password"],"value":"7a"}"#,
            r#"{"name":"password","inner":{"value":"7a"}}"#,
            r#"{"inner":{"name":"password"},"value":"7a"}"#,
            r#"{"title":"password","value":"7a"}"#,
            r#"{"name":"password","value":true}"#,
            r#"["name","password","value","7a"]"#,
        ] {
            assert_eq!(masked(text, false), text);
        }
    }

    /// What begins as a string of several lines does is not the value of the member in front of it, which was replaced.
    #[test]
    fn a_member_is_masked_once() {
        for text in [
            r#"{"password":"hunter22",""""#,
            r#"{"password":"hunter22","""""",""""#,
            r#"{"a":{"password":"hunter22", """x""":1}}"#,
            r#"{"password":"hunter22","x":"""password: hunter22"""}"#,
        ] {
            for at_cut in [false, true] {
                assert!(!masked(text, at_cut).contains("hunter"), "{text}");
            }
        }
    }

    /// Of an object that the text is cut in, what came by then counts, in either order.
    #[test]
    fn objects_may_be_cut() {
        for text in [
            r#"[{"name":"password","value":"hunter22"#,
            r#"[{"name":"password","value":["hunter22"#,
            r#"[{"value":"hunter22","name":"password""#,
            r#"[{"value":"hunter22","name":"password","x":"y"#,
        ] {
            assert!(!masked(text, true).contains("hunter"), "{text}");
        }
        let unnamed = r#"[{"value":"hunter22","name":"pass"#;
        assert_eq!(masked(unnamed, true), unnamed);
    }

    /// Beyond the levels that are told apart everything that may be meant is masked.
    #[test]
    fn depth_hides_nothing() {
        for depth in [100, 127, 128, 129, 1000, 1023, 1024, 1025, 100_000] {
            for pair in [
                r#"{"name":"password","value":"hunter22"}"#,
                r#"{"value":"hunter22","x":{"value":1},"name":"password"}"#,
                r#"{"value":{"a":[{"b":"hunter22"}]},"name":"password"}"#,
            ] {
                for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
                    let text = format!("{}{pair}{}", open.repeat(depth), close.repeat(depth));
                    assert!(!masked(&text, false).contains("hunter22"), "{depth} {pair}");
                }
            }
        }
    }
}
