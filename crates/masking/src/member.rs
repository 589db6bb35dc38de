//! Members that say what another holds: `{"name":"password","value":"…"}`, `<entry key="password" value="…"/>`.

use crate::json::next_quote;
use crate::layer::{Layer, View};
use crate::marks;
use crate::names::Meaning;
use crate::policy::{KindId, Policy};

/// The longest word, with what is between its letters.
const MAX_WORD: usize = 32;
/// The most bytes of an escape.
const MAX_ESCAPED: usize = 6;
/// The most bytes of a typeset quote.
const MAX_MARK: usize = 3;
/// Longer values name nothing.
pub(crate) const MAX_NAME: usize = 256;

/// What a member is to its neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Its value may be the name of what the others hold.
    Names,
    /// Its value may be that of the name.
    Holds,
}

/// Words that end what holds a value. Nothing else may: the quick look stops at no other.
pub(crate) const HOLDING_ENDS: [&str; 7] = ["value", "values", "val", "content", "default", "data", "text"];

/// The last three letters of the words that name.
const NAMING_TAILS: [&[u8; 3]; 12] =
    [b"ame", b"key", b"ype", b"eld", b"rty", b"der", b"ram", b"ter", b"ute", b"ble", b"var", b"bel"];

/// What a member (an attribute, in XML) called `key` is to its neighbours. Case and the signs between words do not matter.
#[inline]
pub(crate) fn role(key: &[u8]) -> Option<Role> {
    let mut word = [0; MAX_WORD];
    let mut len = 0;
    if key.len() > MAX_WORD {
        return None;
    }
    // Most are dismissed by their last letter.
    if let [front @ .., last] = key
        && last.is_ascii_alphabetic()
        && !match front {
            [] => b"nkv".contains(&(last | 0x20)),
            _ => b"aedklmnrstvy".contains(&(last | 0x20)),
        }
    {
        return None;
    }
    for byte in key {
        // A no-break blank among them.
        if !matches!(byte, b'_' | b'-' | b'.' | b' ' | b'@' | b'#' | b'$' | 0xc2 | 0xa0) {
            word[len] = byte.to_ascii_lowercase();
            len += 1;
        }
    }
    match &word[..len] {
        b"name" | b"key" | b"id" | b"type" | b"field" | b"property" | b"n" | b"k" | b"header" | b"param"
        | b"parameter" | b"attribute" | b"variable" | b"var" | b"label" | b"fieldname" | b"keyname" | b"headername"
        | b"paramname" | b"parametername" | b"parameterkey" | b"attributename" | b"propertyname" | b"variablename" => {
            Some(Role::Names)
        }
        b"value" | b"v" | b"val" | b"content" | b"default" | b"data" | b"text" => Some(Role::Holds),
        // `stringValue`, `ParameterValue`, `newValue`.
        word if word.ends_with(b"value") || word.ends_with(b"values") => Some(Role::Holds),
        _ => None,
    }
}

/// What a member of JSON is to its neighbours, as its key is written.
pub(crate) fn json_role(key: &[u8], scratch: &mut View) -> Option<Role> {
    if !key.contains(&b'\\') {
        return role(key);
    }
    if key.len() > MAX_ESCAPED * MAX_WORD {
        return None;
    }
    Layer::Json.decode(key, |i| i as u32, scratch);
    role(&scratch.text)
}

/// Whether the member whose colon is at `at` may be one that holds a value: with escapes in its key it may.
#[inline]
pub(crate) fn may_hold(text: &[u8], at: usize) -> bool {
    // Nearly all are dismissed by their last letter, or the last three. Escapes end in no such.
    let Some([first, second, third, before]) = text[..at].last_chunk() else { return may_hold_slowly(text, at) };
    match before {
        b'"' if third.is_ascii_alphanumeric() => {}
        b'"' | b' ' | b'\t' | b'\r' | b'\n' | 12 | 0x80.. => return may_hold_slowly(text, at),
        _ => return false,
    }
    match third | 0x20 {
        b'v' => {}
        b'e' | b's' | b'l' | b't' | b'a' => {
            let second = second | 0x20;
            let may_be = match third | 0x20 {
                b'e' => second == b'u',
                b's' => second == b'e',
                b'l' => second == b'a',
                b'a' => second == b't',
                _ => matches!(second, b'l' | b'n' | b'x'),
            };
            let is_first = |first: u8| {
                matches!(
                    &[first | 0x20, second, third | 0x20],
                    b"lue" | b"ues" | b"val" | b"ent" | b"ult" | b"ata" | b"ext"
                )
            };
            // What is no letter may be between two, in front of the last or the one before.
            if second.is_ascii_alphabetic() && (!may_be || first.is_ascii_alphabetic() && !is_first(*first)) {
                return false;
            }
        }
        _ => return false,
    }
    may_hold_slowly(text, at)
}

#[inline(never)]
fn may_hold_slowly(text: &[u8], at: usize) -> bool {
    key(text, at, MAX_ESCAPED * MAX_WORD).is_some_and(|key| key.contains(&b'\\') || role(key) == Some(Role::Holds))
}

/// Where the value starts of a key whose closing quote is in front of `at`; none, if no colon says that it is a key.
#[inline]
pub(crate) fn value(text: &[u8], at: usize) -> Option<usize> {
    let blanks = |from: usize| text[from..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let colon = at + blanks(at);
    (text.get(colon) == Some(&b':')).then(|| colon + 1 + blanks(colon + 1))
}

/// The key in front of the colon at `at`, if it has at most so many bytes. Of one with a quote in it, what is behind that.
fn key(text: &[u8], at: usize, most: usize) -> Option<&[u8]> {
    let front = text[..at].trim_ascii_end();
    if let Some(len) = marks::len_at_end(front) {
        let key = &front[..front.len() - len];
        let key = &key[key.len().saturating_sub(most + MAX_MARK)..];
        return Some(&key[marks::last_end(key)?..]);
    }
    let key = front.strip_suffix(b"\"")?;
    let key = &key[key.len().saturating_sub(most + 1)..];
    Some(&key[memchr::memrchr(b'"', key)? + 1..])
}

/// Whether the key in front of the colon at `at` is in typeset quotes.
#[inline]
pub(crate) fn is_typeset(text: &[u8], at: usize) -> bool {
    // Of nearly all keys, the straight quote is in front of it.
    !text[..at].ends_with(b"\"") && marks::len_at_end(text[..at].trim_ascii_end()).is_some()
}

/// Whether that key, if it is, may say something of a neighbour.
pub(crate) fn is_typeset_role(text: &[u8], at: usize) -> bool {
    is_typeset(text, at)
        && key(text, at, MAX_ESCAPED * MAX_WORD).is_some_and(|key| key.contains(&b'\\') || role(key).is_some())
}

/// What a neighbour says of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Named {
    /// It is a secret of this kind.
    pub(crate) kind: Option<KindId>,
    /// Nine digits are a social security number.
    pub(crate) may_be_ssn: bool,
}

impl Named {
    /// What a value of JSON says as a name: that of a field, or of a header.
    pub(crate) fn by(policy: &Policy, name: &[u8], scratch: &mut View) -> Self {
        if name.len() > MAX_NAME {
            return Self::default();
        }
        let name = if name.contains(&b'\\') {
            Layer::Json.decode(name, |i| i as u32, scratch);
            &scratch.text
        } else {
            name
        };
        match policy.fields.meaning(name).or_else(|| policy.headers.meaning(name)) {
            Some(Meaning::Secret(kind)) => Self { kind: Some(kind), may_be_ssn: false },
            Some(Meaning::Ssn) => Self { kind: None, may_be_ssn: true },
            Some(Meaning::Harmless) | None => Self::default(),
        }
    }

    pub(crate) fn is_some(self) -> bool {
        self.kind.is_some() || self.may_be_ssn
    }
}

/// Whether a member of `text` may name another as secrets are: the quick look in front of [`objects`].
pub(crate) fn has_names(policy: &Policy, text: &[u8], scratch: &mut View) -> bool {
    memchr::memchr_iter(b':', text).any(|at| {
        // Nearly all are dismissed by the key's last three letters, or by what they hold: no string, or one that ends as no
        // name does.
        if let Some([first, second, third, b'"']) = text[..at].last_chunk()
            && first.is_ascii_alphabetic()
            && second.is_ascii_alphabetic()
            && third.is_ascii_alphabetic()
            && !NAMING_TAILS.contains(&&[first | 0x20, second | 0x20, third | 0x20])
        {
            // Of an escape, they may be anything's.
            let escape = text[..at - 1].last_chunk::<6>().is_some_and(|tail| tail.contains(&b'\\'));
            if !escape {
                return false;
            }
        }
        let value = text[at + 1..].trim_ascii_start();
        let key = || key(text, at, MAX_ESCAPED * MAX_WORD);
        // In typeset quotes either may be, as they are or in escapes; and those of the other have backslashes in a string.
        if is_typeset(text, at) || starts_typeset(value) {
            let key = key().map(|key| &key[..key.iter().rposition(|byte| *byte != b'\\').map_or(0, |last| last + 1)]);
            return key.is_some_and(|key| json_role(key, scratch) == Some(Role::Names));
        }
        if value.first() == Some(&b'\\') {
            return names_in_string(policy, text, at);
        }
        let Some(value) = value.strip_prefix(b"\"") else { return false };
        let Some(len) = string_len(value, MAX_NAME) else { return false };
        let value = &value[..len];
        (policy.fields.may_end(value) || policy.headers.may_end(value) || value.contains(&b'\\'))
            && key().is_some_and(|key| json_role(key, scratch) == Some(Role::Names))
            && Named::by(policy, value, scratch).is_some()
    })
}

/// Whether a value starts with a typeset quote, perhaps in an escape, which may be of its first byte only.
#[inline]
fn starts_typeset(value: &[u8]) -> bool {
    match value.first() {
        Some(b'\\' | b'%' | b'&') => Layer::nested_escape(value).is_some_and(|(_, bytes, count)| {
            marks::len(&bytes[..count]).is_some() || count == 1 && !bytes[0].is_ascii()
        }),
        Some(0x80..) => marks::len(value).is_some(),
        _ => false,
    }
}

/// Whether the member whose colon is at `at` names another, in JSON that stands in a string: its quotes have backslashes in
/// front, and what says more than letters would (an escape within) is taken for a name.
fn names_in_string(policy: &Policy, text: &[u8], at: usize) -> bool {
    let is_between = |byte: &&u8| matches!(**byte, b'\\' | b'"') || byte.is_ascii_whitespace();
    let is_inside = |byte: &&u8| !matches!(**byte, b'\\' | b'"');
    let skipped = text[..at].iter().rev().take(MAX_WORD).take_while(is_between).count();
    let front = &text[..at - skipped];
    let len = front.iter().rev().take(MAX_WORD + 1).take_while(is_inside).count();
    if role(&front[front.len() - len..]) != Some(Role::Names) {
        return false;
    }
    let behind = &text[at + 1..];
    let skipped = behind.iter().take(MAX_WORD).take_while(is_between).count();
    let value = &behind[skipped..];
    let value = &value[..value.iter().take(MAX_NAME).take_while(is_inside).count()];
    policy.fields.meaning(value).or_else(|| policy.headers.meaning(value)).is_some()
}

/// How long the string is whose content starts `text`, if a quote ends it within so many bytes.
fn string_len(text: &[u8], most: usize) -> Option<usize> {
    let text = text.get(..=most).unwrap_or(text);
    let mut from = 0;
    loop {
        let len = next_quote(text.get(from..)?)?;
        if text[from + len] == b'"' {
            return Some(from + len);
        }
        from += len + 2;
    }
}

/// Levels that are told apart; deeper ones count as one with the last of them.
const MAX_LEVELS: usize = 1024;
/// Objects that room is kept for from body to body.
const MAX_KEPT: usize = 1024;

/// An object or array that is open.
#[derive(Debug, Clone, Copy, Default)]
struct Level {
    start: usize,
    named: Named,
    /// Where the value of the latest key starts, if its member names.
    name_at: Option<usize>,
    holds: bool,
}

/// The objects of JSON in which one member names what another holds, each by where it starts.
#[derive(Default)]
pub(crate) struct Objects {
    found: Vec<(usize, Named)>,
    levels: Vec<Level>,
    /// How far they have been asked for.
    next: usize,
}

impl Objects {
    /// There are none.
    pub(crate) fn clear(&mut self) {
        self.found.clear();
        self.found.shrink_to(MAX_KEPT);
        self.levels.clear();
        self.next = 0;
    }

    /// Looks for them in `text[start..end]`. In time and memory linear in it, whatever order the members have, for all
    /// is told only when an object ends: of one that the text is cut in, what is known by then.
    pub(crate) fn find(&mut self, policy: &Policy, text: &[u8], (start, end): (usize, usize), scratch: &mut View) {
        self.clear();
        let text = &text[..end];
        let mut beyond = 0_usize;
        let mut at = start;
        while let Some(byte) = text.get(at) {
            match byte {
                b'"' => {
                    let from = at + 1;
                    let mut to = from;
                    loop {
                        match text.get(to..).and_then(next_quote) {
                            // Cut off: neither a key nor a name.
                            None => to = usize::MAX,
                            Some(len) if text[to + len] == b'\\' => {
                                to += len + 2;
                                continue;
                            }
                            Some(len) => to += len,
                        }
                        break;
                    }
                    if to == usize::MAX {
                        break;
                    }
                    at = to + 1;
                    let Some(level) = self.levels.last_mut() else { continue };
                    if let Some(value) = value(text, at) {
                        let role = json_role(&text[from..to], scratch);
                        level.name_at = (role == Some(Role::Names)).then_some(value);
                        level.holds |= role == Some(Role::Holds);
                    } else if level.name_at == Some(from - 1) && !level.named.is_some() {
                        level.named = Named::by(policy, &text[from..to], scratch);
                    }
                    continue;
                }
                b'{' | b'[' => {
                    if self.levels.len() < MAX_LEVELS {
                        self.levels.push(Level { start: at, ..Level::default() });
                    } else {
                        beyond += 1;
                        if let Some(level) = self.levels.last_mut() {
                            level.name_at = None;
                        }
                    }
                }
                b'}' | b']' if beyond > 0 => beyond -= 1,
                b'}' | b']' => {
                    if let Some(level) = self.levels.pop() {
                        self.found.extend(level.told());
                    }
                }
                _ => {}
            }
            at += 1;
        }
        self.found.extend(self.levels.iter().filter_map(|level| level.told()));
        self.found.sort_unstable_by_key(|(start, _)| *start);
    }

    /// What the members of the object that starts at `start` say of those that hold values. To be asked in order.
    pub(crate) fn named(&mut self, start: usize) -> Option<Named> {
        while self.found.get(self.next).is_some_and(|found| found.0 < start) {
            self.next += 1;
        }
        self.found.get(self.next).filter(|found| found.0 == start).map(|found| found.1)
    }
}

impl Level {
    fn told(&self) -> Option<(usize, Named)> {
        (self.holds && self.named.is_some()).then_some((self.start, self.named))
    }
}
