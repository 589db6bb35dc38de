//! Markup in any text: elements and attributes that say what others hold (`<password>…</password>`,
//! `<name>password</name><value>…</value>`, `<entry key="password">…</entry>`), wherever they stand.
//!
//! One walk over the tags with a stack of those that are open. It finds regions; what in them is a value is told at the end,
//! once for each byte, whatever is nested in what.

use crate::detect::Hit;
use crate::layer::{Layer, View};
use crate::member::{MAX_NAME, Role, role};
use crate::names::Meaning;
use crate::pairs::is_secret;
use crate::policy::{KindId, Policy};
use crate::region::{Held, Region, merge};

/// Elements that are known to be open. Of more, the outermost are forgotten.
const MAX_OPEN: usize = 128;
/// How many open elements a closing tag may pass over to find its own (HTML leaves many open).
const MAX_UNCLOSED: usize = 16;
/// The longest value of an attribute in quotes.
const MAX_QUOTED: usize = 16 << 10;
/// A tag whose quotes hide its end is looked at in full if it is longer.
const MAX_QUICK_TAG: usize = 512;
/// Backslashes in front of a quote, where markup stands in a string.
const MAX_BACKSLASHES: usize = 8;

/// Elements of HTML that have no content (HTML Living Standard, section 13.1.2), and so no closing tag.
const VOID: [&[u8]; 13] =
    [b"area", b"base", b"br", b"col", b"embed", b"hr", b"img", b"input", b"link", b"meta", b"source", b"track", b"wbr"];

/// Whether the tag whose `<` is at `at` may say that something is a secret: the quick look.
pub(crate) fn may_name(policy: &Policy, text: &[u8], at: usize) -> bool {
    let rest = &text[at + 1..];
    if !rest.first().is_some_and(is_name_start) {
        return false;
    }
    let len = name_len(rest);
    let name = local(&rest[..len]);
    // In a string of JSON, a backslash may be in front of the slash behind the name.
    let name = &name[..name.iter().rposition(|byte| *byte != b'\\').map_or(0, |at| at + 1)];
    if secret(policy, name).is_some() {
        return true;
    }
    let has_attributes = rest.get(len).is_some_and(|byte| !matches!(byte, b'<' | b'>'));
    let end = match has_attributes {
        true => match tag_end(&rest[len..]) {
            Some(end) => len + end,
            None => return true,
        },
        false => len,
    };
    if rest.get(end) == Some(&b'>') && role(name) == Some(Role::Names) {
        let content = rest[end + 1..].get(..MAX_NAME).unwrap_or(&rest[end + 1..]);
        let content = &content[..memchr::memchr(b'<', content).unwrap_or(content.len())];
        if names(policy, content).is_some() {
            return true;
        }
    }
    let mut found = false;
    // Nearly all attributes are dismissed by their last letter.
    let may_be_name = |before: &u8| !before.is_ascii_alphabetic() || b"edklmnry".contains(&(before | 0x20));
    if has_attributes
        && memchr::memchr_iter(b'=', &rest[..end]).any(|equals| rest[..equals].last().is_some_and(may_be_name))
    {
        attributes(text, (at + 1 + len, at + 1 + end), |name, value| {
            found |= role(local(&text[name.0..name.1])) == Some(Role::Names)
                && names(policy, &text[value.0..value.1]).is_some();
        });
    }
    found
}

/// Where the tag ends whose attributes `text` starts with: at a sign that is in no quotes, as [`attributes`] reads them; or
/// with the text. None if that is not certain: where quotes reach far, or over what may end the text that the tag is part of.
pub(crate) fn tag_end(text: &[u8]) -> Option<usize> {
    let end = memchr::memchr2(b'<', b'>', text).unwrap_or(text.len());
    let part = &text[..end];
    if text.get(end) == Some(&b'<') && is_bare_at_end(part) {
        return None;
    }
    if !is_open_at_end(part, b'"') && !is_open_at_end(part, b'\'') {
        return Some(end);
    }
    let limit = text.len().min(MAX_QUICK_TAG);
    let mut is_certain = true;
    let (end, is_closed) = attributes_of(&text[..limit], (0, limit), |_, (from, to)| {
        let value = &text[from..to];
        if memchr::memchr2(b'<', b'>', value).is_none() {
            return;
        }
        let slashes = |bytes: &mut dyn Iterator<Item = &u8>| bytes.take_while(|byte| **byte == b'\\').count();
        let behind = slashes(&mut text[to..].iter());
        let is_quoted =
            from > 0 && matches!(text[from - 1], b'"' | b'\'') && text.get(to + behind) == Some(&text[from - 1]);
        is_certain &= is_quoted
            && behind == slashes(&mut text[..from - 1].iter().rev())
            && !value.iter().any(|byte| matches!(byte, b'"' | b'\'' | b'&' | b'\r' | b'\n'));
    });
    let is_within = end < limit || limit == text.len() || text[..end].ends_with(b">");
    (is_certain && is_closed && is_within).then(|| end - usize::from(text[..end].ends_with(b">")))
}

/// Whether the latest such quote in the attributes of `part` may be open: no quote of the kind is behind one that is.
fn is_open_at_end(part: &[u8], quote: u8) -> bool {
    memchr::memrchr(quote, part).is_some_and(|at| {
        let slashes = part[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
        part[..at - slashes].trim_ascii_end().ends_with(b"=")
    })
}

/// Whether the attributes of `part` may end within a value that is not in quotes.
fn is_bare_at_end(part: &[u8]) -> bool {
    memchr::memrchr(b'=', part).is_some_and(|at| !part[at + 1..].trim_ascii_start().iter().any(u8::is_ascii_whitespace))
}

/// Whether any tag of `text` may say so.
pub(crate) fn has_names(policy: &Policy, text: &[u8]) -> bool {
    memchr::memchr_iter(b'<', text).any(|at| may_name(policy, text, at))
}

/// Finds what tags say is a secret. `is_thorough` leaves out the quick look at whether any does.
pub(crate) fn find(policy: &Policy, text: &[u8], at_cut: bool, is_thorough: bool, hits: &mut Vec<Hit>) {
    if !is_thorough && !has_names(policy, text) {
        return;
    }
    for region in regions(policy, text, (0, text.len()), at_cut) {
        values(text, region, hits);
    }
}

/// An element that is open.
#[derive(Default)]
struct Open {
    name: (usize, usize),
    content: usize,
    /// It says that its content is a secret.
    own: Option<KindId>,
    /// What one of its elements says of those that hold values.
    named: Option<KindId>,
    is_name: bool,
    holds: bool,
    /// The latest of its elements to end was a key.
    is_behind_key: bool,
    mark: usize,
}

/// Parts of `text[start..end]` that tags say are secrets, in order.
pub(crate) fn regions(policy: &Policy, text: &[u8], (start, end): (usize, usize), at_cut: bool) -> Vec<Region> {
    let text = &text[..end];
    // What stands in no element has neighbours, too: a fragment, or lines of a log.
    let whole = Open { name: (start, start), content: start, ..Open::default() };
    let (held, regions) = (Held::default(), Vec::new());
    let mut tree = Tree { policy, text, at_cut, open: vec![whole], last_ends: [None; VOID.len()], held, regions };
    let mut at = start;
    while let Some(tag) = memchr::memchr(b'<', &text[at..]).map(|len| at + len) {
        let rest = &text[tag + 1..];
        at = match rest {
            [b'/', name, ..] if is_name_start(name) => tree.close(tag),
            [b'!', b'-', b'-', ..] => skip(text, tag + 4, b"-->"),
            [b'!', b'[', ..] => skip(text, tag + 3, b"]]>"),
            [name, ..] if is_name_start(name) => tree.open(tag),
            _ => tag + 1,
        };
    }
    while !tree.open.is_empty() {
        tree.end(end, false);
    }
    merge(&mut tree.regions);
    tree.regions
}

struct Tree<'a> {
    policy: &'a Policy,
    text: &'a [u8],
    at_cut: bool,
    open: Vec<Open>,
    /// Where the last closing tag of each of [`VOID`] is, once it has been looked for.
    last_ends: [Option<usize>; VOID.len()],
    held: Held,
    regions: Vec<Region>,
}

impl Tree<'_> {
    /// An opening tag; where it ends.
    fn open(&mut self, tag: usize) -> usize {
        let Self { policy, text, .. } = *self;
        let name = (tag + 1, tag + 1 + name_len(&text[tag + 1..]));
        let local_name = local(&text[name.0..name.1]);
        let mut by_attribute = None;
        let end = attributes(text, (name.1, text.len()), |key, value| {
            if role(local(&text[key.0..key.1])) == Some(Role::Names) {
                by_attribute = by_attribute.or_else(|| names(policy, &text[value.0..value.1]));
            }
        });
        let own = secret(policy, local_name).or(by_attribute);
        if let Some(kind) = own {
            let regions = &mut self.regions;
            attributes(text, (name.1, end), |key, value| {
                if role(local(&text[key.0..key.1])) == Some(Role::Holds) && value.0 < value.1 {
                    regions.push(Region { start: value.0, end: value.1, kind });
                }
            });
        }
        if text[..end].ends_with(b"/>") || self.is_void(name, end) {
            return end;
        }
        if self.open.len() == MAX_OPEN {
            // What it may still hold is not known: with it goes all that it says is a secret.
            let outer = self.open.remove(0);
            if let Some(kind) = outer.own {
                self.regions.push(Region { start: outer.content, end: text.len(), kind });
            }
        }
        self.open.push(Open {
            name,
            content: end,
            own,
            named: None,
            is_name: role(local_name) == Some(Role::Names),
            holds: role(local_name) == Some(Role::Holds),
            is_behind_key: false,
            mark: self.held.mark(),
        });
        end
    }

    /// A closing tag; where it ends.
    fn close(&mut self, tag: usize) -> usize {
        let text = self.text;
        let name_end = tag + 2 + name_len(&text[tag + 2..]);
        let name = &text[tag + 2..name_end];
        let own = self
            .open
            .iter()
            .rev()
            .take(MAX_UNCLOSED)
            .position(|open| text[open.name.0..open.name.1].eq_ignore_ascii_case(name));
        for left in (0..own.map_or(0, |own| own + 1)).rev() {
            self.end(tag, left == 0);
        }
        memchr::memchr(b'>', &text[name_end..]).map_or(text.len(), |len| name_end + len + 1)
    }

    /// Whether an element has no content: one of those that HTML has without, unless it is closed further on, as in XML.
    fn is_void(&mut self, name: (usize, usize), end: usize) -> bool {
        let Self { text, .. } = *self;
        let name = &text[name.0..name.1];
        let Some(which) = VOID.iter().position(|void| name.eq_ignore_ascii_case(void)) else { return false };
        let last = *self.last_ends[which]
            .get_or_insert_with(|| memchr::memmem::rfind(text, &[b"</", name].concat()).unwrap_or(0));
        last < end
    }

    /// The innermost element ends at `at`, with its closing tag or without.
    fn end(&mut self, at: usize, is_closed: bool) {
        let Some(element) = self.open.pop() else { return };
        let content = (element.content.min(at), at);
        self.held.close(element.mark, element.named, &mut self.regions);
        if let Some(kind) = element.own {
            // What is cut may have been closed.
            let end = if is_closed || self.at_cut { at } else { content.0 + unclosed_len(&self.text[content.0..at]) };
            self.regions.push(Region { start: content.0, end, kind });
        }
        let Some(parent) = self.open.last_mut() else { return };
        // In property lists any element behind a key is its value.
        if element.holds || parent.is_behind_key {
            self.held.push(content.0, content.1);
        }
        parent.is_behind_key = local(&self.text[element.name.0..element.name.1]).eq_ignore_ascii_case(b"key");
        if element.is_name {
            parent.named = parent.named.or_else(|| names(self.policy, &self.text[content.0..content.1]));
        }
    }
}

/// How much of what is behind a tag that nothing closes is its content: the line, if it starts with a value, as in SGML. Elsewhere
/// the tag is none, but stands for something: `Bearer <token>`, `List<Token>`.
fn unclosed_len(text: &[u8]) -> usize {
    let is_behind_sign = |byte: &u8| byte.is_ascii_whitespace() || b"`'\"()[]{}<>,.;:|@/\\*&=?".contains(byte);
    match text.first() {
        Some(first) if !is_behind_sign(first) => memchr::memchr3(b'<', b'\r', b'\n', text).unwrap_or(text.len()),
        _ => 0,
    }
}

/// The values in a region: character data, comments and the like, attributes.
fn values(text: &[u8], region: Region, hits: &mut Vec<Hit>) {
    let text = &text[..region.end];
    let mut add = |start: usize, end: usize| {
        let part = &text[start..end];
        let start = start + part.len() - part.trim_ascii_start().len();
        if is_secret(part) {
            hits.push(Hit::new(start, start + part.trim_ascii().len(), region.kind));
        }
    };
    let mut at = region.start;
    while at < text.len() {
        let tag = memchr::memchr(b'<', &text[at..]).map_or(text.len(), |len| at + len);
        add(at, tag);
        let Some(rest) = text.get(tag + 1..) else { break };
        at = match rest {
            [b'!', b'-', b'-', ..] => within(text, tag + 4, b"-->", &mut add),
            [b'!', b'[', b'C', b'D', b'A', b'T', b'A', b'[', ..] => within(text, tag + 9, b"]]>", &mut add),
            [b'?', ..] => within(text, tag + 2, b"?>", &mut add),
            [b'/', ..] => memchr::memchr(b'>', rest).map_or(text.len(), |len| tag + len + 2),
            [name, ..] if is_name_start(name) => {
                attributes(text, (tag + 1 + name_len(rest), text.len()), |_, value| add(value.0, value.1))
            }
            _ => {
                add(tag, tag + 1);
                tag + 1
            }
        };
    }
}

fn within(text: &[u8], from: usize, terminator: &[u8], add: &mut impl FnMut(usize, usize)) -> usize {
    let from = from.min(text.len());
    let end = memchr::memmem::find(&text[from..], terminator).map_or(text.len(), |len| from + len);
    add(from, end);
    (end + terminator.len()).min(text.len())
}

fn skip(text: &[u8], from: usize, terminator: &[u8]) -> usize {
    within(text, from, terminator, &mut |_, _| {})
}

/// What the name of an element says of its content.
fn secret(policy: &Policy, name: &[u8]) -> Option<KindId> {
    match policy.fields.meaning(name) {
        Some(Meaning::Secret(kind)) => Some(kind),
        _ => None,
    }
}

/// What a value says as a name: that of a field, or of a header.
fn names(policy: &Policy, value: &[u8]) -> Option<KindId> {
    let value = value.trim_ascii();
    if value.len() > MAX_NAME || value.contains(&b'<') {
        return None;
    }
    let mut view = View::default();
    let value = if Layer::Any.has_escapes(value) {
        Layer::Any.decode(value, |i| i as u32, &mut view);
        &view.text
    } else {
        value
    };
    match policy.fields.meaning(value).or_else(|| policy.headers.meaning(value)) {
        Some(Meaning::Secret(kind)) => Some(kind),
        _ => None,
    }
}

/// Calls `found` with the name and the value of each attribute that has one; where the tag ends. Quotes may be escaped as in
/// strings.
fn attributes(text: &[u8], range: (usize, usize), found: impl FnMut((usize, usize), (usize, usize))) -> usize {
    attributes_of(text, range, found).0
}

/// The same; and whether all quotes are closed.
fn attributes_of(
    text: &[u8],
    (start, end): (usize, usize),
    mut found: impl FnMut((usize, usize), (usize, usize)),
) -> (usize, bool) {
    let text = &text[..end];
    let mut is_closed = true;
    let mut at = start;
    let mut name = start;
    while let Some(byte) = text.get(at) {
        match byte {
            b'>' => return (at + 1, is_closed),
            b'<' => return (at, is_closed),
            b'=' => {
                let key = (name, name + text[name..at].trim_ascii_end().len());
                let mut from = at + 1 + text[at + 1..].len() - text[at + 1..].trim_ascii_start().len();
                let escapes = text[from..].iter().take(MAX_BACKSLASHES).take_while(|byte| **byte == b'\\').count();
                from += escapes;
                let ends = |byte: &u8| byte.is_ascii_whitespace() || *byte == b'>';
                (from, at) = match text.get(from) {
                    Some(quote @ (b'"' | b'\'')) => {
                        let rest = &text[from + 1..];
                        let window = rest.get(..MAX_QUOTED).unwrap_or(rest);
                        let len = memchr::memchr(*quote, window).unwrap_or_else(|| {
                            // A quote that nothing closes hides nothing. What a cut ends is a value as far as it goes.
                            is_closed = false;
                            if role(local(&text[key.0..key.1])) == Some(Role::Holds) {
                                let len = memchr::memchr2(b'<', b'>', window).unwrap_or(window.len());
                                found(key, (from + 1, from + 1 + len));
                            }
                            rest.iter().position(ends).unwrap_or(rest.len())
                        });
                        (from + 1, from + 1 + len)
                    }
                    _ => (from, from + text[from..].iter().position(ends).unwrap_or(text.len() - from)),
                };
                let slashes = text[from..at].iter().rev().take(escapes).take_while(|byte| **byte == b'\\').count();
                found(key, (from, at - slashes));
                if matches!(text.get(at), Some(b'"' | b'\'')) {
                    at += 1;
                }
                name = at;
            }
            byte => {
                if byte.is_ascii_whitespace() && text.get(at + 1).is_some_and(|next| !matches!(next, b'=' | b' ')) {
                    name = at + 1;
                }
                at += 1;
            }
        }
    }
    (text.len(), is_closed)
}

pub(crate) fn is_name_start(byte: &u8) -> bool {
    byte.is_ascii_alphabetic() || matches!(byte, b'_' | b':') || *byte >= 0x80
}

/// How long the name of an element is that a text starts with.
pub(crate) fn name_len(text: &[u8]) -> usize {
    let ends = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'>' | b'/' | b'<');
    text.iter().position(ends).unwrap_or(text.len())
}

/// A name without its namespace's prefix.
pub(crate) fn local(name: &[u8]) -> &[u8] {
    &name[memchr::memrchr(b':', name).map_or(0, |at| at + 1)..]
}
