//! JSON in scripts and other text: what own paths lead to in it.
//!
//! Servers hand JSON to a function (JSONP), put in front of it what keeps a page of others from running it as a script, write
//! it in the syntax of scripts, behind `data:` or in lines of a log. All of it is read by one rule, and nothing is validated: a
//! bracket opens a value of the one it stands in where that expects a value (behind the colon of a key, or as an element);
//! anywhere else it opens one of its own, which paths are judged from. So the arguments of a function are, and what is behind a
//! guard or in a block of code. What is told is looked at as text all the same.
//!
//! A comment, or an expression in slashes, is an aside: it is read as what goes on, too, as it may be none; but what is open
//! behind it is what was in front of it.

use std::collections::VecDeque;

use crate::form::push_name;
use crate::json::decoded;
use crate::json_path::{Level, Origin, Trail};
use crate::layer::View;
use crate::objects::is_word;
use crate::pairs::is_secret;
use crate::policy::{KindId, Policy};

/// Bytes of an expression in slashes.
const MAX_EXPRESSION: usize = 128;
/// Levels that are told apart. Of more, the outermost are forgotten.
const MAX_DEPTH: usize = 128;

/// A value that an own path leads to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) kind: KindId,
    pub(crate) is_number: bool,
    /// Its place in the names of the list.
    field: (usize, usize),
}

/// Values that own paths lead to, in order, with their names.
#[derive(Default)]
pub(crate) struct ToldList {
    pub(crate) values: Vec<Told>,
    names: String,
}

impl ToldList {
    pub(crate) fn clear(&mut self) {
        self.values.clear();
        self.names.clear();
    }

    /// Takes the values of another list that start in front of `end`, from `next` on.
    pub(crate) fn take(&mut self, list: &Self, next: &mut usize, end: usize) {
        while let Some(told) = list.values.get(*next).filter(|told| told.start < end) {
            let from = self.names.len();
            self.names.push_str(list.field(told));
            self.values.push(Told { field: (from, self.names.len()), ..*told });
            *next += 1;
        }
    }

    /// The place of a value: `accounts.0.number`.
    pub(crate) fn field(&self, told: &Told) -> &str {
        self.names.get(told.field.0..told.field.1).unwrap_or_default()
    }
}

/// What encloses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bracket {
    /// An object, or a block of code.
    Brace,
    /// An array.
    Square,
    /// A function's arguments, or what else is in parentheses.
    Round,
}

/// What is open.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Open {
    pub(crate) bracket: Bracket,
    /// Of how many levels the first of its paths is: that which they are judged from.
    pub(crate) root: usize,
    /// Of an array: which element comes.
    pub(crate) index: u32,
    /// Of an object: its latest key.
    pub(crate) key: (usize, usize),
    /// What comes until the next comma is a secret of this kind; and so is all that is within.
    pub(crate) value: Option<KindId>,
    pub(crate) forced: Option<KindId>,
    /// A question mark is open: a colon may be that of a choice.
    pub(crate) is_choice: bool,
    /// Of an array: it stands where a key does, and may be a computed one; the key is its latest element. And how many there are.
    pub(crate) is_name: bool,
    pub(crate) elements: u8,
}

impl Open {
    /// A level in which nothing was read yet, and all that is in it is a secret of this kind.
    pub(crate) fn new(bracket: Bracket, root: usize, forced: Option<KindId>) -> Self {
        Self {
            bracket,
            root,
            index: 0,
            key: (0, 0),
            value: forced,
            forced,
            is_choice: false,
            is_name: false,
            elements: 0,
        }
    }
}

/// The walk over a text.
pub(crate) struct Script<'a> {
    policy: &'a Policy,
    text: &'a [u8],
    pub(crate) open: VecDeque<Open>,
    /// Levels that were forgotten.
    forgotten: usize,
    /// Levels within a secret that are not told apart.
    pub(crate) beyond: usize,
    /// What comes is a value of the innermost level.
    pub(crate) expects: bool,
    /// What is walked over is an aside.
    is_aside: bool,
    /// The line began as those of events do; and the one that the outermost level began in.
    is_event: bool,
    is_framed: bool,
    /// From where on was looked for the end of a comment, of a line, and where it is.
    comment_end: Option<(usize, usize)>,
    line_end: Option<(usize, usize)>,
    /// What paths say of what is open.
    trail: &'a mut Trail,
    scratch: &'a mut View,
    list: &'a mut ToldList,
}

/// Tells what own paths lead to in `text[start..end]`, in which no JSON is open.
pub(crate) fn find(
    policy: &Policy,
    text: &[u8],
    (start, end): (usize, usize),
    memory: (&mut Trail, &mut View),
    list: &mut ToldList,
) {
    list.clear();
    if !policy.paths.is_empty() && memchr::memchr2(b'{', b'[', &text[start..end]).is_some() {
        let mut script = Script::new(policy, &text[..end], memory, list);
        script.start();
        script.run(start);
    }
}

impl<'a> Script<'a> {
    /// To be followed by [`Self::start`] or [`Self::resume`].
    pub(crate) fn new(
        policy: &'a Policy,
        text: &'a [u8],
        (trail, scratch): (&'a mut Trail, &'a mut View),
        list: &'a mut ToldList,
    ) -> Self {
        list.clear();
        Self {
            policy,
            text,
            open: VecDeque::new(),
            forgotten: 0,
            beyond: 0,
            expects: false,
            is_aside: false,
            is_event: false,
            is_framed: false,
            comment_end: None,
            line_end: None,
            trail,
            scratch,
            list,
        }
    }

    /// Nothing is open yet.
    pub(crate) fn start(&mut self) {
        self.trail.clear();
    }

    /// These levels are, which the trail tells of.
    pub(crate) fn resume(&mut self, open: impl Iterator<Item = Open>) {
        self.open.extend(open);
    }

    /// Walks on from `at`.
    pub(crate) fn run(&mut self, mut at: usize) {
        // The latest byte, and the latest that is not blank, but for those of comments.
        let (mut before, mut latest) = (b' ', b';');
        while let Some(byte) = self.text.get(at).copied() {
            if let Some((content, next)) = self.aside(at, latest) {
                self.walk_aside(content);
                (at, before) = (next, b' ');
                continue;
            }
            match byte {
                quote @ (b'"' | b'\'' | b'`') if may_open(before) => {
                    at = match self.string_end(at, quote) {
                        Some((end, next)) => self.scalar((at + 1, end), next, false),
                        None => at + 1,
                    };
                }
                b'{' | b'[' | b'(' => {
                    self.push(match byte {
                        b'{' => Bracket::Brace,
                        b'[' => Bracket::Square,
                        _ => Bracket::Round,
                    });
                    at += 1;
                }
                b'}' | b']' | b')' => at = self.close(at + 1),
                b',' => {
                    self.comma();
                    at += 1;
                }
                b'?' | b';' => {
                    if let Some(level) = self.open.back_mut() {
                        level.is_choice = byte == b'?';
                    }
                    at += 1;
                }
                byte if is_word(&byte) => {
                    let end = at + self.text[at..].iter().take_while(|byte| is_word(byte)).count();
                    let word = &self.text[at..end];
                    if word == b"data" && self.is_data(at) {
                        (at, before) = (end + 1, b' ');
                        continue;
                    }
                    if matches!(word, b"case" | b"default")
                        && let Some(level) = self.open.back_mut()
                    {
                        level.is_choice = true;
                    }
                    let is_number = matches!(byte, b'-' | b'0'..=b'9')
                        && !word.iter().any(|byte| byte.is_ascii_alphabetic() && byte | 0x20 != b'e');
                    let is_operator = matches!(word, b"return" | b"typeof");
                    at = self.scalar((at, end), end, is_number);
                    (before, latest) = (self.text[at - 1], if is_operator { b';' } else { self.text[at - 1] });
                    continue;
                }
                byte if byte.is_ascii_whitespace() => {
                    self.is_event &= !matches!(byte, b'\r' | b'\n');
                    (at, before) = (at + 1, byte);
                    continue;
                }
                _ => at += 1,
            }
            before = self.text[at - 1];
            latest = before;
        }
    }

    /// Whether `data` at `at` says that its line is one of an event, and is no key: the first one within JSON is no sooner.
    fn is_data(&mut self, at: usize) -> bool {
        let is_first = at.checked_sub(1).is_none_or(|before| matches!(self.text[before], b'\r' | b'\n'));
        if !is_first || self.text.get(at + 4) != Some(&b':') {
            return false;
        }
        if self.open.is_empty() {
            self.is_event = true;
        }
        self.open.is_empty() || self.is_framed
    }

    /// What is at `at` if it is an aside, and where it goes on behind it. `latest` is in front of it.
    fn aside(&mut self, at: usize, latest: u8) -> Option<((usize, usize), usize)> {
        let text = self.text;
        let sign @ (b'/' | b'#') = text[at] else { return None };
        if self.is_aside {
            return None;
        }
        match (sign, text.get(at + 1)) {
            (b'/', Some(b'*')) => match self.comment_end(at + 2) {
                Some(end) => Some(((at + 2, end), end + 2)),
                None => self.value().map(|_| ((at + 2, text.len()), text.len())),
            },
            // Around JSON, as text; and that of a URL is none.
            (b'/', Some(b'/')) if !self.open.is_empty() && (latest != b':' || self.expects) => {
                match self.line_end(at + 2) {
                    Some(end) => Some(((at + 2, end), end)),
                    None => self.value().map(|_| ((at + 2, text.len()), text.len())),
                }
            }
            (b'#', _) if !self.open.is_empty() && at.checked_sub(1).is_none_or(|at| text[at].is_ascii_whitespace()) => {
                self.line_end(at + 1).map(|end| ((at + 1, end), end))
            }
            (b'/', Some(_)) if b"(,=:[!&|?{;+-*%<>~^".contains(&latest) => {
                expression_len(&text[at + 1..]).map(|len| ((at + 1, at + 1 + len), at + 2 + len))
            }
            _ => None,
        }
    }

    /// Where the comment ends whose content starts at `from`.
    fn comment_end(&mut self, from: usize) -> Option<usize> {
        let find = || memchr::memmem::find(self.text.get(from..)?, b"*/").map(|len| from + len);
        known(&mut self.comment_end, from, self.text.len(), find)
    }

    /// Where the line ends.
    fn line_end(&mut self, from: usize) -> Option<usize> {
        let find = || memchr::memchr2(b'\n', b'\r', self.text.get(from..)?).map(|len| from + len);
        known(&mut self.line_end, from, self.text.len(), find)
    }

    /// Walks over an aside as if it were none, with the innermost level.
    fn walk_aside(&mut self, (start, end): (usize, usize)) {
        let mut open = VecDeque::new();
        if let Some(level) = self.open.back() {
            // All of it is part of the value that it stands in.
            open.push_back(Open { root: 0, forced: level.value, ..*level });
        }
        let trail = self.trail.innermost(&self.policy.paths);
        let open = std::mem::replace(&mut self.open, open);
        let trail = std::mem::replace(self.trail, trail);
        let (text, state) = (self.text, (self.forgotten, self.beyond, self.expects));
        self.text = &text[..end];
        (self.forgotten, self.beyond, self.is_aside) = (0, 0, true);
        self.run(start);
        (self.text, self.open, *self.trail, self.is_aside) = (text, open, trail, false);
        (self.forgotten, self.beyond, self.expects) = state;
    }

    /// Where the value starts of a key that ends at `at`; none, if no colon says that it is one.
    fn colon(&mut self, at: usize) -> Option<usize> {
        let mut to = at;
        let mut asides = false;
        loop {
            to += self.text[to..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            match *self.text.get(to)? {
                b':' => break,
                // Behind a key in quotes, as hashes are printed.
                b'=' if self.text[..at].ends_with(b"\"") && self.text.get(to + 1) != Some(&b'=') => {
                    to += usize::from(self.text.get(to + 1) == Some(&b'>'));
                    break;
                }
                b'/' | b'#' => {
                    // No expression is in front of a colon.
                    to = self.aside(to, b'"')?.1;
                    asides = true;
                }
                _ => return None,
            }
        }
        let mut from = at;
        while asides && from < to {
            match self.aside(from, b'"') {
                Some((content, next)) => {
                    self.walk_aside(content);
                    from = next;
                }
                None => from += 1,
            }
        }
        Some(to + 1)
    }

    /// Where the string ends whose quote is at `at`, and where what is behind it starts; none if it is no string.
    fn string_end(&self, at: usize, quote: u8) -> Option<(usize, usize)> {
        let is_open = self.open.back().is_some_and(|open| open.bracket != Bracket::Round);
        // Of a value, more than one line: what is no JSON is not left half.
        let is_value = is_open && self.expects || self.value().is_some();
        let mut to = at + 1;
        while let Some(len) = self.text.get(to..).and_then(|rest| memchr::memchr2(quote, b'\\', rest)) {
            let part = &self.text[to..to + len];
            if !is_value && memchr::memchr(b'\n', part).is_some() {
                return None;
            }
            // Text around JSON has quotes, too.
            if self.open.is_empty() && memchr::memchr2(b'{', b'[', part).is_some() {
                return None;
            }
            to += len;
            if self.text[to] == quote {
                return Some((to, to + 1));
            }
            to += 2;
        }
        self.value().map(|_| (self.text.len(), self.text.len()))
    }

    /// What all that comes until the next comma is.
    fn value(&self) -> Option<KindId> {
        self.open.back().and_then(|open| open.value)
    }

    /// A string or word: a key, or a value. Where it goes on.
    fn scalar(&mut self, (start, end): (usize, usize), next: usize, is_number: bool) -> usize {
        if !self.expects
            && self.beyond == 0
            && self.open.back().is_some_and(|level| level.bracket == Bracket::Brace)
            && let Some(value) = self.colon(next)
        {
            self.key((start, end));
            return value;
        }
        self.expects = false;
        if let Some(level) = self.open.back_mut().filter(|level| level.is_name) {
            (level.key, level.elements) = ((start, end), level.elements.saturating_add(1));
        }
        if let Some(kind) = self.value() {
            let secret = &self.text[start..end];
            if is_secret(secret) && !self.policy.spares(kind, secret) {
                let field = self.field();
                self.list.values.push(Told { start, end, kind, is_number, field });
            }
        }
        next
    }

    /// The key of what comes.
    fn key(&mut self, key: (usize, usize)) {
        if let Some(level) = self.open.back_mut() {
            (level.key, level.value) = (key, level.forced);
            self.expects = true;
            self.judge();
        }
    }

    fn push(&mut self, bracket: Bracket) {
        let forced = self.value();
        let mut is_name = false;
        match self.open.back_mut() {
            None => self.is_framed = self.is_event,
            Some(outer) => {
                is_name = bracket == Bracket::Square && outer.bracket == Bracket::Brace && !self.expects;
                // It is no key that has one in it.
                outer.elements = u8::MAX;
            }
        }
        if self.open.len() == MAX_DEPTH {
            if forced.is_some() {
                self.beyond += 1;
                return;
            }
            self.open.pop_front();
            self.trail.forget(&self.policy.paths);
            self.forgotten += 1;
        }
        let depth = self.forgotten + self.open.len();
        let (root, origin) = match self.open.back() {
            // In a block of code, and not in an object.
            Some(outer) if self.expects && bracket != Bracket::Round && outer.is_choice => (depth, Origin::Both),
            Some(outer) if self.expects && bracket != Bracket::Round => (outer.root, Origin::Inner),
            _ => (depth, Origin::Root),
        };
        self.trail.push(&self.policy.paths, origin);
        self.open.push_back(Open { is_name, ..Open::new(bracket, root, forced) });
        self.expects = bracket == Bracket::Square;
        if self.expects {
            self.judge();
        }
    }

    /// A closing bracket in front of `at`. Where it goes on.
    fn close(&mut self, at: usize) -> usize {
        self.expects = false;
        if self.beyond > 0 {
            self.beyond -= 1;
            return at;
        }
        let Some(level) = self.open.pop_back() else { return at };
        self.trail.pop(&self.policy.paths);
        if level.is_name
            && level.elements == 1
            && let Some(value) = self.colon(at)
        {
            self.key(level.key);
            return value;
        }
        at
    }

    fn comma(&mut self) {
        self.expects = false;
        if self.beyond > 0 {
            return;
        }
        let Some(level) = self.open.back_mut() else { return };
        level.value = level.forced;
        level.is_choice = false;
        if level.bracket == Bracket::Square {
            level.index = level.index.saturating_add(1);
            self.expects = true;
            self.judge();
        }
    }

    /// Asks the paths for the value that comes.
    pub(crate) fn judge(&mut self) {
        let Self { policy, text, trail, scratch, .. } = self;
        let Some(level) = self.open.back_mut().filter(|level| level.forced.is_none()) else { return };
        let place = match level.bracket {
            Bracket::Square => Level::Index(level.index),
            _ => Level::Key(decoded(&text[level.key.0..level.key.1], scratch)),
        };
        level.value = level.value.or(trail.enter(&policy.paths, place));
    }

    /// Appends the name of what comes to those of the list, as many as findings may want.
    fn field(&mut self) -> (usize, usize) {
        let Self { open, text, list, forgotten, .. } = self;
        let names = &mut list.names;
        let from = names.len();
        if list.values.len() >= crate::finding::MAX_FINDINGS {
            return (from, from);
        }
        let root = open.back().map_or(0, |level| level.root.saturating_sub(*forgotten));
        for (i, level) in open.range(root.min(open.len())..).enumerate() {
            if i > 0 {
                names.push('.');
            }
            match level.bracket {
                Bracket::Square => names.push_str(&level.index.to_string()),
                _ => push_name(names, &text[level.key.0..level.key.1], false),
            }
            if names.len() - from > crate::finding::MAX_FIELD_BYTES {
                break;
            }
        }
        (from, names.len())
    }
}

/// Whether a quote behind this byte opens a string: behind a word it is an apostrophe, behind what ends something a stray one
/// (`)]}'`).
fn may_open(before: u8) -> bool {
    !is_word(&before) && !matches!(before, b')' | b']' | b'}' | b'"' | b'\'' | b'`' | b'\\' | b'/') || before == b'+'
}

/// What `find` finds from `from` on in a text of so many bytes, which is asked for once for all that is in front of it: places
/// come in order.
fn known(
    last: &mut Option<(usize, usize)>,
    from: usize,
    len: usize,
    find: impl FnOnce() -> Option<usize>,
) -> Option<usize> {
    let (_, end) = match *last {
        Some(last) if last.0 <= from && from <= last.1 => last,
        _ => *last.insert((from, find().unwrap_or(len))),
    };
    (end < len).then_some(end)
}

/// How long an expression is that a slash ends, on its line.
fn expression_len(text: &[u8]) -> Option<usize> {
    let (mut at, mut is_class) = (0, false);
    while at < MAX_EXPRESSION {
        match *text.get(at)? {
            b'\r' | b'\n' => return None,
            b'\\' => at += 1,
            b'[' => is_class = true,
            b']' => is_class = false,
            b'/' if !is_class => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}
