//! XML and HTML: text, attributes, CDATA, comments. Lenient, without recursion; what is no markup is text.

use crate::engine::{Engine, Value};
use crate::finding::{Location, MAX_FIELD_BYTES};
use crate::form::{named, push_name};
use crate::layer::{Layer, View};
use crate::markup::{self, local, name_len};
use crate::policy::KindId;
use crate::region::Region;

/// Elements whose names are kept.
const MAX_DEPTH: usize = 128;
/// How many open elements a closing tag may pass over to find its own (HTML leaves many open).
const MAX_UNCLOSED: usize = 16;

/// The reader's memory, kept from body to body.
#[derive(Default)]
pub(crate) struct Reader {
    open: Vec<Element>,
    scratch: View,
    /// Parts of the text that are secrets, in order, and how far values have come in them.
    regions: Vec<Region>,
    next_region: usize,
}

#[derive(Debug, Clone, Copy)]
struct Element {
    name: (usize, usize),
    may_be_ssn: bool,
}

struct Lexer<'a> {
    engine: &'a mut Engine,
    reader: &'a mut Reader,
    text: &'a [u8],
    end: usize,
    location: Location,
    at_cut: bool,
    /// Elements beyond the stack.
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
    reader.open.clear();
    reader.next_region = 0;
    reader.regions = match engine.has_tags() {
        true => markup::regions(&engine.policy, text, (start, end), at_cut),
        false => Vec::new(),
    };
    Lexer { engine, reader, text, end, location, at_cut, beyond: 0 }.run(start);
}

impl Lexer<'_> {
    fn run(&mut self, mut at: usize) {
        let mut text_from = at;
        while at < self.end {
            let Some(tag) = memchr::memchr(b'<', &self.text[at..self.end]).map(|len| at + len) else { break };
            let rest = &self.text[tag..self.end];
            let is_name_start = |byte: &u8| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b':') || *byte >= 0x80;
            let is_tag = match rest.get(1) {
                Some(b'!' | b'?') => true,
                Some(b'/') => rest.get(2).is_some_and(is_name_start),
                Some(byte) => is_name_start(byte),
                None => false,
            };
            if !is_tag {
                at = tag + 1;
                continue;
            }
            self.content(text_from, tag, Layer::Xml, false);
            at = if rest.starts_with(b"<!--") {
                self.enclosed(tag + 4, b"-->", Layer::Plain, false)
            } else if rest.starts_with(b"<![CDATA[") {
                self.enclosed(tag + 9, b"]]>", Layer::Plain, true)
            } else if rest.starts_with(b"<?") {
                self.enclosed(tag + 2, b"?>", Layer::Plain, false)
            } else if rest.starts_with(b"<!") {
                self.enclosed(tag + 2, b">", Layer::Plain, false)
            } else if rest.starts_with(b"</") {
                self.close(tag + 2)
            } else {
                self.open(tag + 1)
            };
            text_from = at;
        }
        self.content(text_from, self.end, Layer::Xml, true);
    }

    /// Character data between tags, without the blanks around it.
    fn content(&mut self, start: usize, end: usize, layer: Layer, is_last: bool) {
        let content = &self.text[start..end];
        let blanks = content.len() - content.trim_ascii_start().len();
        if blanks == content.len() {
            return;
        }
        // Blanks at a cut may belong to what goes on behind it.
        let at_cut = self.at_cut && is_last;
        let (start, end) = (start + blanks, if at_cut { end } else { start + content.trim_ascii_end().len() });
        let forced = self.forced(start);
        let may_be_ssn = self.reader.open.last().is_some_and(|top| top.may_be_ssn);
        let value =
            Value { forced, may_be_ssn, at_cut, surveyed: true, ..Value::new(start, end, layer, self.location) };
        let open = &self.reader.open;
        self.engine.value(self.text, &value, &|field| push_path(field, open, self.text, None));
    }

    /// What stands between `from` and `terminator`; where it ends.
    fn enclosed(&mut self, from: usize, terminator: &[u8], layer: Layer, is_content: bool) -> usize {
        let from = from.min(self.end);
        let found = memchr::memmem::find(&self.text[from..self.end], terminator);
        let end = found.map_or(self.end, |len| from + len);
        if is_content {
            self.content(from, end, layer, found.is_none());
        } else {
            let value = Value {
                forced: self.forced(from),
                at_cut: self.at_cut && found.is_none(),
                surveyed: true,
                ..Value::new(from, end, layer, self.location)
            };
            let open = &self.reader.open;
            self.engine.value(self.text, &value, &|field| push_path(field, open, self.text, None));
        }
        (end + found.map_or(0, |_| terminator.len())).min(self.end)
    }

    /// A closing tag whose name starts at `from`.
    fn close(&mut self, from: usize) -> usize {
        let name_end = from + name_len(&self.text[from..self.end]);
        let end = memchr::memchr(b'>', &self.text[name_end..self.end]).map_or(self.end, |len| name_end + len + 1);
        if self.beyond > 0 {
            self.beyond -= 1;
        } else {
            let name = &self.text[from..name_end];
            let open = &self.reader.open;
            let own = open
                .iter()
                .rev()
                .take(MAX_UNCLOSED)
                .position(|element| self.text[element.name.0..element.name.1].eq_ignore_ascii_case(name));
            if let Some(own) = own {
                self.reader.open.truncate(open.len() - own - 1);
            }
        }
        self.markup(from, end);
        end
    }

    /// An opening tag whose name starts at `from`: its attributes, and what its name says of its content.
    fn open(&mut self, from: usize) -> usize {
        let name = (from, from + name_len(&self.text[from..self.end]));
        self.markup(name.0, name.1);
        let above = self.reader.open.last().copied();
        let (_, is_ssn) = self.named(name);
        let element = Element { name, may_be_ssn: is_ssn || above.is_some_and(|above| above.may_be_ssn) };
        let end = self.attributes(name.1, |lexer, attribute, value| {
            // A name is no secret for being one.
            let is_keyboard = || {
                let name = &lexer.text[attribute.0..attribute.1];
                value.1 - value.0 == 1 && name.eq_ignore_ascii_case(b"accesskey")
            };
            let (own_rule, is_ssn) =
                if attribute == value || is_keyboard() { (None, false) } else { lexer.named(attribute) };
            let by_others = if attribute == value { None } else { lexer.forced(value.0) };
            let value = Value {
                forced: own_rule.or(by_others),
                may_be_ssn: is_ssn,
                at_cut: lexer.at_cut && value.1 == lexer.end,
                surveyed: true,
                ..Value::new(value.0, value.1, Layer::Xml, lexer.location)
            };
            let open = &lexer.reader.open;
            lexer
                .engine
                .value(lexer.text, &value, &|field| push_path(field, open, lexer.text, Some((name, attribute))));
        });
        let is_empty = end >= 2 && self.text[end - 1] == b'>' && self.text[end - 2] == b'/';
        if !is_empty {
            if self.reader.open.len() < MAX_DEPTH {
                self.reader.open.push(element);
            } else {
                self.beyond += 1;
            }
        }
        end
    }

    /// What tags around or in front of a value that starts at `at` say of it. To be asked in order.
    fn forced(&mut self, at: usize) -> Option<KindId> {
        let Reader { regions, next_region, .. } = &mut *self.reader;
        while regions.get(*next_region).is_some_and(|region| region.end <= at) {
            *next_region += 1;
        }
        regions.get(*next_region).filter(|region| region.start <= at).map(|region| region.kind)
    }

    /// Names, and what stands where nothing should.
    fn markup(&mut self, start: usize, end: usize) {
        let value = Value {
            at_cut: self.at_cut && end == self.end,
            surveyed: true,
            ..Value::new(start, end, Layer::Xml, self.location)
        };
        let open = &self.reader.open;
        self.engine.value(self.text, &value, &|field| push_path(field, open, self.text, None));
    }

    fn named(&mut self, name: (usize, usize)) -> (Option<KindId>, bool) {
        named(self.engine, local(&self.text[name.0..name.1]), Layer::Xml, &mut self.reader.scratch)
    }

    /// Calls `found` with the ranges of the name and the value of each attribute; where the tag ends. What stands where
    /// an attribute should is its own value.
    fn attributes(&mut self, from: usize, mut found: impl FnMut(&mut Self, (usize, usize), (usize, usize))) -> usize {
        let text = &self.text[..self.end];
        let blanks = |at: usize| at + text[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let mut at = from;
        loop {
            at = blanks(at);
            match text.get(at) {
                None => return self.end,
                Some(b'>') => return at + 1,
                Some(b'/') => {
                    at += 1;
                    continue;
                }
                Some(_) => {}
            }
            let ends = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'=' | b'>' | b'/');
            let name = (at, at + text[at..].iter().position(ends).unwrap_or(text.len() - at));
            let equals = blanks(name.1);
            if name.1 > name.0 {
                found(self, name, name);
            }
            if text.get(equals) != Some(&b'=') {
                at = equals.max(at + 1);
                continue;
            }
            let start = blanks(equals + 1);
            let (start, end, next) = match text.get(start) {
                Some(quote @ (b'"' | b'\'')) => {
                    let len = memchr::memchr(*quote, &text[start + 1..]).unwrap_or(text.len() - start - 1);
                    (start + 1, start + 1 + len, (start + 2 + len).min(text.len()))
                }
                _ => {
                    let ends = |byte: &u8| byte.is_ascii_whitespace() || *byte == b'>';
                    let len = text[start..].iter().position(ends).unwrap_or(text.len() - start);
                    (start, start + len, start + len)
                }
            };
            found(self, name, (start, end));
            at = next;
        }
    }
}

/// The place of a value: `order.card.number`, `order.card.@number`.
fn push_path(field: &mut String, open: &[Element], text: &[u8], attribute: Option<((usize, usize), (usize, usize))>) {
    let from = field.len();
    let inner = attribute.map(|(element, _)| element);
    for (i, name) in open.iter().map(|element| element.name).chain(inner).enumerate() {
        if i > 0 {
            field.push('.');
        }
        push_name(field, &text[name.0..name.1], false);
        if field.len() - from > MAX_FIELD_BYTES {
            return;
        }
    }
    if let Some((_, name)) = attribute {
        field.push_str(".@");
        push_name(field, &text[name.0..name.1], false);
    }
}
