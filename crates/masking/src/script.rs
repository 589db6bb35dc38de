//! JSON in scripts and other text: what own paths lead to in it.
//!
//! Servers hand JSON to a function (JSONP), put in front of it what keeps a page of others from running it as a script, write
//! it in the syntax of scripts, behind `data:` or in lines of a log. All of it is read by one rule, and nothing is validated: a
//! bracket opens a value of the one it stands in where that expects a value (behind the colon of a key, or as an element);
//! anywhere else it opens one of its own, which paths are judged from. So the arguments of a function are, and what is behind a
//! guard or in a block of code. What is told is looked at as text all the same.

use std::collections::VecDeque;

use crate::form::push_name;
use crate::json::decoded;
use crate::json_path::{Level, Origin, Trail};
use crate::layer::View;
use crate::member;
use crate::objects::is_word;
use crate::pairs::is_secret;
use crate::policy::{KindId, Policy};

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
        Self { policy, text, open: VecDeque::new(), forgotten: 0, beyond: 0, expects: false, trail, scratch, list }
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
        // The latest byte that is neither blank nor comment.
        let mut before = b' ';
        while let Some(byte) = self.text.get(at).copied() {
            match byte {
                quote @ (b'"' | b'\'' | b'`') if may_open(before) => {
                    let Some((end, next)) = self.string_end(at, quote) else {
                        at += 1;
                        before = quote;
                        continue;
                    };
                    at = self.scalar((at + 1, end), next, false);
                }
                b'/' if self.text.get(at + 1) == Some(&b'*') => {
                    at = comment_end(self.text, at + 2);
                    continue;
                }
                b'{' | b'[' | b'(' => {
                    self.push(match byte {
                        b'{' => Bracket::Brace,
                        b'[' => Bracket::Square,
                        _ => Bracket::Round,
                    });
                    at += 1;
                }
                b'}' | b']' | b')' => {
                    match self.beyond {
                        0 => self.pop(),
                        _ => self.beyond -= 1,
                    }
                    self.expects = false;
                    at += 1;
                }
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
                    let is_number = matches!(byte, b'-' | b'0'..=b'9')
                        && !self.text[at..end].iter().any(|byte| byte.is_ascii_alphabetic() && byte | 0x20 != b'e');
                    at = self.scalar((at, end), end, is_number);
                }
                byte if byte.is_ascii_whitespace() => {
                    at += 1;
                    continue;
                }
                _ => at += 1,
            }
            before = self.text[at - 1];
            if before.is_ascii_whitespace() {
                // Behind the colon of a key.
                before = b':';
            }
        }
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
            && let Some(level) = self.open.back_mut().filter(|level| level.bracket == Bracket::Brace)
            && let Some(value) = member::value(self.text, next)
        {
            (level.key, level.value) = ((start, end), level.forced);
            self.expects = true;
            self.judge();
            return value;
        }
        self.expects = false;
        if let Some(kind) = self.value() {
            let secret = &self.text[start..end];
            if is_secret(secret) && !self.policy.spares(kind, secret) {
                let field = self.field();
                self.list.values.push(Told { start, end, kind, is_number, field });
            }
        }
        next
    }

    fn push(&mut self, bracket: Bracket) {
        let forced = self.value();
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
        self.open.push_back(Open { bracket, root, index: 0, key: (0, 0), value: forced, forced, is_choice: false });
        self.expects = bracket == Bracket::Square;
        if self.expects {
            self.judge();
        }
    }

    fn pop(&mut self) {
        if self.open.pop_back().is_some() {
            self.trail.pop(&self.policy.paths);
        }
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

/// Where a comment ends whose content starts at `from`: at what may be JSON in it, too.
fn comment_end(text: &[u8], mut from: usize) -> usize {
    while let Some(len) = text.get(from..).and_then(|rest| memchr::memchr3(b'*', b'{', b'[', rest)) {
        from += len;
        if text[from] != b'*' {
            return from;
        }
        from += 1;
        if text.get(from) == Some(&b'/') {
            return from + 1;
        }
    }
    text.len()
}
