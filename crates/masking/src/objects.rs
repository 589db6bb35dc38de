//! JSON in any text: objects in which one member names what another holds, and containers that are secrets, wherever they
//! stand: in a string, behind a comment, in a line of a log.
//!
//! Nothing is validated. A walk over strings and brackets finds regions; what in them is a value is told at the end, once for
//! each byte.

use crate::detect::Hit;
use crate::json::next_quote;
use crate::layer::View;
use crate::marks;
use crate::member::{self, Named, Role, json_role};
use crate::pairs::{bare_len, is_secret, scheme_len};
use crate::policy::{KindId, Policy};
use crate::region::{Held, Region, merge};

/// Objects that are known to be open. Of more, the outermost are forgotten.
const MAX_OPEN: usize = 128;

/// Finds the values that a neighbour names. `is_thorough` leaves out the quick look at whether any does.
pub(crate) fn find(policy: &Policy, text: &[u8], is_thorough: bool, hits: &mut Vec<Hit>) {
    if memchr::memchr(b'{', text).is_none() {
        return;
    }
    let mut scratch = View::default();
    if !is_thorough && !member::has_names(policy, text, &mut scratch) {
        return;
    }
    let mut regions = regions(policy, text, false, &mut scratch);
    if marks::is_any(text) {
        // Once more with typeset quotes, which are no quotes of JSON.
        regions.extend(self::regions(policy, text, true, &mut scratch));
        merge(&mut regions);
    }
    for region in regions {
        container(&text[..region.end], region.start, region.kind, hits);
    }
}

/// An object or array that is open.
#[derive(Default)]
struct Open {
    start: usize,
    mark: usize,
    named: Named,
    role: Option<Role>,
    /// Where the value of the latest key starts. Nothing behind it in the same member is the name of another.
    value: usize,
}

impl Open {
    /// A string at `start..at`, which holds what is at `from..end`: a key, what a key names, or what it holds.
    fn string(
        &mut self,
        policy: &Policy,
        text: &[u8],
        (start, at): (usize, usize),
        (from, end): (usize, usize),
        scratch: &mut View,
        held: &mut Held,
    ) {
        if let Some(value) = member::value(text, at) {
            (self.role, self.value) = (json_role(&text[from..end], scratch), value);
            return;
        }
        match self.role {
            Some(Role::Names) if start == self.value && !self.named.is_some() => {
                self.named = Named::by(policy, &text[from..end], scratch);
            }
            Some(Role::Holds) => held.push(start, at),
            _ => {}
        }
    }
}

fn regions(policy: &Policy, text: &[u8], is_typeset: bool, scratch: &mut View) -> Vec<Region> {
    let (mut open, mut held, mut regions) = (Vec::<Open>::new(), Held::default(), Vec::new());
    let mut in_vain = Vec::new();
    // Where the string ends that is walked into, and up to where its quotes are none.
    let (mut entered, mut within) = (0, 0);
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' if at < within => at += 1,
            // An escaped quote starts no string in it: that would be walked into once more, as would be each behind it.
            b'\\' if at < entered => at += 2,
            b'"' => {
                let from = at + 1;
                let end = match string_end(text, from) {
                    Ok(end) => end,
                    Err(resume) => {
                        // What ends within a value.
                        if resume >= text.len() && open.last().is_some_and(|level| level.role == Some(Role::Holds)) {
                            held.push(at, text.len());
                        }
                        at = resume;
                        continue;
                    }
                };
                // The quote of a string that all of it stood in: `"{"name":…}"`.
                if from < end && text[from..end].iter().all(|byte| matches!(byte, b'{' | b'[')) {
                    at = from;
                    continue;
                }
                let start = at;
                at = end + 1;
                if let Some(level) = open.last_mut() {
                    level.string(policy, text, (start, at), (from, end), scratch, &mut held);
                }
                // An object in typeset quotes needs no escapes in a string.
                let string = &text[from..end];
                if is_typeset && memchr::memchr(b'{', string).is_some() && marks::is_any(string) {
                    (at, entered) = (from, end);
                    // Of one that is all of it, straight quotes may be part.
                    within = if string[0] == b'{' { within } else { end + 1 };
                }
            }
            0x80..
                if is_typeset
                    && let Some(level) = open.last_mut()
                    && let Some((front, len, behind)) = marks::closed(&text[at..], &mut in_vain) =>
            {
                let (start, from) = (at, at + front);
                at = from + len + behind;
                level.string(policy, text, (start, at), (from, from + len), scratch, &mut held);
            }
            b'{' | b'[' => {
                if open.len() == MAX_OPEN {
                    open.remove(0);
                }
                open.push(Open { start: at, mark: held.mark(), ..Open::default() });
                at += 1;
            }
            b'}' | b']' => {
                at += 1;
                if let Some(level) = open.pop() {
                    held.close(level.mark, level.named.kind, &mut regions);
                    if open.last().is_some_and(|outer| outer.role == Some(Role::Holds)) {
                        held.push(level.start, at);
                    }
                }
            }
            b',' => {
                if let Some(level) = open.last_mut() {
                    level.role = None;
                }
                at += 1;
            }
            byte if is_word(byte) => {
                let from = at;
                at += text[at..].iter().take_while(|byte| is_word(byte)).count();
                if open.last().is_some_and(|level| level.role == Some(Role::Holds)) {
                    held.push(from, at);
                }
            }
            _ => at += 1,
        }
    }
    // What the text is cut in: what is known by then.
    while let Some(level) = open.pop() {
        held.close(level.mark, level.named.kind, &mut regions);
        if open.last().is_some_and(|outer| outer.role == Some(Role::Holds)) {
            held.push(level.start, text.len());
        }
    }
    merge(&mut regions);
    regions
}

/// Tells every string, number and word of the value that starts at `at`, but for keys, as secrets of this kind; where it
/// ends. What stops being JSON ends it, or the like as programs print it: `{key=value}`, `["key" => "value"]`, `{ key = "value" }`.
pub(crate) fn container(text: &[u8], mut at: usize, kind: KindId, hits: &mut Vec<Hit>) -> usize {
    if let Some(len) = printed_len(&text[at..]) {
        let (from, end) = (at + 1, at + 1 + len);
        hits.push(Hit::new(from + scheme_len(&text[from..end]), end, kind));
        return end + 1;
    }
    at += type_len(&text[at..]);
    let mut depth = 0_usize;
    let mut printed = Printed::default();
    while let Some(byte) = text.get(at) {
        let (from, end, next) = match byte {
            b'{' | b'[' => {
                depth += 1;
                printed.start();
                at += 1;
                continue;
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                at += 1;
                if depth == 0 {
                    return at;
                }
                continue;
            }
            b',' | b':' | b'=' | b' ' | b'\t' | b'\r' | b'\n' => {
                if matches!(byte, b',' | b'\n') {
                    printed.start();
                }
                at += 1;
                continue;
            }
            b';' if printed.is_any => {
                printed.start();
                at += 1;
                continue;
            }
            quote @ (b'"' | b'\'') => {
                let end = quoted_end(text, at + 1, *quote);
                (at + 1, end, (end + 1).min(text.len()))
            }
            0x80.. if let Some((front, len, behind)) = marks::quoted(&text[at..]) => {
                let end = at + front + len;
                (at + front, end, end + behind)
            }
            byte if is_word(byte) || printed.is_any => {
                let word = text[at..].iter().take_while(|byte| is_word(byte)).count();
                let bare = if printed.is_value || word == 0 { bare_len(&text[at..], false) } else { 0 };
                let end = at + word.max(bare);
                (at, end, end)
            }
            _ => return at,
        };
        if next == at {
            return at;
        }
        at = next;
        if member::value(text, next).is_none() {
            match printed.value(text, next) {
                Some(value) => at = value,
                None if is_secret(&text[from..end]) => hits.push(Hit::new(from, end, kind)),
                None => {}
            }
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// What is known of a container whose keys may be joined to their values by a sign of equality, or an arrow.
#[derive(Default)]
struct Printed {
    /// One of its keys was.
    is_any: bool,
    /// What comes is the value of one.
    is_value: bool,
    /// What comes is the first of a member, which may be a key: behind it, base64 ends with the same sign.
    is_first: bool,
}

impl Printed {
    /// Another member starts.
    fn start(&mut self) {
        (self.is_value, self.is_first) = (false, true);
    }

    /// Where the value starts of what ends at `at`, if that is such a key.
    fn value(&mut self, text: &[u8], at: usize) -> Option<usize> {
        let is_key = std::mem::take(&mut self.is_first);
        self.is_value = false;
        let len = equals_len(&text[at..]).filter(|_| is_key)?;
        (self.is_any, self.is_value) = (true, true);
        Some(at + len)
    }
}

/// How long the sign of equality, or the arrow, is between a key that a text is behind and its value, with the blanks around it.
fn equals_len(text: &[u8]) -> Option<usize> {
    let rest = text.trim_ascii_start().strip_prefix(b"=")?;
    let rest = rest.strip_prefix(b">").unwrap_or(rest);
    let blanks = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let rest = &rest[blanks..];
    // Base64 ends with such signs, and with a line.
    let is_end = |byte: &u8| matches!(byte, b'=' | b'}' | b']' | b')' | b',' | b';' | b'\r' | b'\n');
    rest.first().is_some_and(|byte| !is_end(byte)).then_some(text.len() - rest.len())
}

/// How long the type is that Go prints in front of a list: `[]string{"a"}`.
fn type_len(text: &[u8]) -> usize {
    let Some(name) = text.strip_prefix(b"[]") else { return 0 };
    let len = name.iter().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_')).count();
    if name.get(len) == Some(&b'{') { 2 + len } else { 0 }
}

/// How long the values are that a text has in brackets as programs print lists: without quotes, and with signs that no word of
/// JSON has, as in `Cookie:[a=b; c=d]` and `Authorization=[Basic dXNlcjpw/w==]`.
fn printed_len(text: &[u8]) -> Option<usize> {
    const LONGEST: usize = 4096;
    let inner = text.strip_prefix(b"[")?;
    let window = inner.get(..LONGEST).unwrap_or(inner);
    let len = memchr::memchr2(b']', b'\n', window).filter(|len| window[*len] == b']')?;
    let inner = &inner[..len];
    let is_json = |byte: &u8| is_word(byte) || matches!(byte, b',' | b':' | b' ' | b'\t');
    let has_others = |byte: &u8| matches!(byte, b'"' | b'\'' | b'\\' | b'{' | b'[');
    (!inner.iter().all(is_json) && !inner.iter().any(has_others)).then_some(len)
}

pub(crate) fn is_word(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'+' | b'.' | b'$') || *byte >= 0x80
}

/// Where a string ends whose content starts at `from`. None of JSON goes over the end of a line: of what does, that end, from
/// which on strings may start again.
fn string_end(text: &[u8], from: usize) -> Result<usize, usize> {
    let mut at = from;
    loop {
        let len = text.get(at..).and_then(next_quote).ok_or(text.len())?;
        if let Some(line) = memchr::memchr(b'\n', &text[at..at + len]) {
            return Err(at + line);
        }
        if text[at + len] == b'"' {
            return Ok(at + len);
        }
        at += len + 2;
    }
}

/// Where a quoted text ends, at the latest with the whole.
fn quoted_end(text: &[u8], mut from: usize, quote: u8) -> usize {
    while let Some(len) = text.get(from..).and_then(|rest| memchr::memchr2(quote, b'\\', rest)) {
        if text[from + len] == quote {
            return from + len;
        }
        from += len + 2;
    }
    text.len()
}
