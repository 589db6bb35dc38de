//! Multipart bodies, and messages of HTTP within bodies: what heads say of what is behind them.
//!
//! Parts are read flat, however they are nested: each line that is a delimiter starts a part. Which lines are is not for the
//! declared boundary alone to say, as it may be missing, wrong, or one of several: a line that starts with two dashes and has
//! a `Content-…` field behind it is one, too, and from then on so are others like it.

use std::borrow::Cow;

use crate::body::{self, Readers};
use crate::engine::{Engine, Value};
use crate::finding::Location;
use crate::form::{self, push_name};
use crate::header;
use crate::layer::{Layer, View};
use crate::media::{Kind, MediaType, parameters};
use crate::packed;
use crate::policy::KindId;

/// Boundaries known at once; of more, the oldest are forgotten.
const MAX_BOUNDARIES: usize = 16;
/// Messages within parts within messages; and packed bodies within those. Deeper ones are text.
const MAX_NESTED: usize = 4;

/// Masks the parts in `text[start..end]`. A survey of the text has to have been made.
pub(crate) fn mask(
    engine: &mut Engine,
    readers: &mut Readers,
    text: &[u8],
    (start, end): (usize, usize),
    boundary: Option<&[u8]>,
    location: Location,
    at_cut: bool,
) {
    readers.nested += 1;
    let mut delimiters = Delimiters::new(boundary);
    let mut next = delimiters.next(text, start, end);
    let preamble = next.map_or(end, |(line, _)| line);
    let value = Value {
        at_cut: at_cut && next.is_none(),
        surveyed: true,
        ..Value::new(start, preamble, Layer::Plain, location)
    };
    engine.value(text, &value, &|_| {});
    while let Some((line, at)) = next {
        // What is behind the boundary is no part of anything; and a boundary that nobody declared may be anything.
        let behind = line + delimiters.declared_len(&text[line..at]);
        let value = Value { surveyed: true, ..Value::new(behind, at, Layer::Plain, location) };
        engine.value(text, &value, &|_| {});
        let head = Head::read(engine, text, (at, end), location, at_cut, &|line| delimiters.knows(line));
        if let Some(boundary) = head.media.boundary() {
            delimiters.learn(boundary, true);
        }
        next = delimiters.next(text, head.end, end);
        let part_end = next.map_or(end, |(line, _)| line);
        content(engine, readers, text, &head, part_end, location, at_cut && next.is_none());
    }
    readers.nested -= 1;
}

/// Masks a message of HTTP in `text[start..end]`: its start line, its header fields, and its body by its own type.
pub(crate) fn message(
    engine: &mut Engine,
    readers: &mut Readers,
    text: &[u8],
    (mut start, end): (usize, usize),
    location: Location,
    at_cut: bool,
) {
    readers.nested += 1;
    loop {
        // Line breaks in front of it, and the start line.
        let (mut line_end, mut next) = line(text, start, end);
        while next < end && text[start..line_end].trim_ascii().is_empty() {
            start = next;
            (line_end, next) = line(text, start, end);
        }
        let value = Value {
            at_cut: at_cut && line_end == end,
            surveyed: true,
            ..Value::new(start, line_end, Layer::Plain, location)
        };
        engine.value(text, &value, &|_| {});
        let head = Head::read(engine, text, (next, end), location, at_cut, &|_| false);
        // One that looks like it need not be searched for anything else.
        let rest = &text[head.end..end];
        if rest.starts_with(b"HTTP/1.") || !rest.is_empty() && head.media.kind(rest) == Kind::Message {
            start = head.end;
            continue;
        }
        if readers.nested > MAX_NESTED {
            let value = Value { at_cut, surveyed: true, ..Value::new(head.end, end, Layer::Plain, location) };
            engine.value(text, &value, &|_| {});
        } else {
            body::read(engine, readers, text, (head.end, end), &head.media, location, at_cut);
        }
        break;
    }
    readers.nested -= 1;
}

/// Whether a body starts as parts do, whatever it is called.
pub(crate) fn look_like(body: &[u8]) -> bool {
    let body = body.trim_ascii_start();
    body.starts_with(b"--") && is_field_of_part(&body[line(body, 0, body.len()).1..])
}

/// Whether a line of `body` is a delimiter.
pub(crate) fn has_delimiter(body: &[u8], boundary: Option<&[u8]>) -> bool {
    Delimiters::new(boundary).next(body, 0, body.len()).is_some()
}

/// Where the line that starts at `at` ends, without and with its line break.
fn line(text: &[u8], at: usize, end: usize) -> (usize, usize) {
    let Some(len) = memchr::memchr2(b'\r', b'\n', &text[at..end]) else { return (end, end) };
    let both = text[at + len] == b'\r' && at + len + 1 < end && text[at + len + 1] == b'\n';
    (at + len, at + len + 1 + usize::from(both))
}

/// Whether a line starts as the field of a part's head does.
fn is_field_of_part(text: &[u8]) -> bool {
    text.first_chunk::<8>().is_some_and(|start| start.eq_ignore_ascii_case(b"content-"))
}

/// The boundaries that are known.
struct Delimiters<'a> {
    known: [&'a [u8]; MAX_BOUNDARIES],
    /// Whether a type named it.
    is_declared: [bool; MAX_BOUNDARIES],
    count: usize,
    dashes: memchr::memmem::Finder<'static>,
}

impl<'a> Delimiters<'a> {
    fn new(boundary: Option<&'a [u8]>) -> Self {
        let mut new = Self {
            known: [b""; MAX_BOUNDARIES],
            is_declared: [false; MAX_BOUNDARIES],
            count: 0,
            dashes: memchr::memmem::Finder::new(b"--"),
        };
        if let Some(boundary) = boundary {
            new.learn(boundary, true);
        }
        new
    }

    fn learn(&mut self, boundary: &'a [u8], is_declared: bool) {
        let boundary = boundary.trim_ascii_end();
        if !boundary.is_empty() && !self.known.contains(&boundary) {
            self.known[self.count % MAX_BOUNDARIES] = boundary;
            self.is_declared[self.count % MAX_BOUNDARIES] = is_declared;
            self.count += 1;
        }
    }

    /// How long the dashes and the declared boundary are that a delimiter starts with; 0 if nobody declared it.
    fn declared_len(&self, line: &[u8]) -> usize {
        let known = self.known.iter().zip(self.is_declared).filter(|(_, is_declared)| *is_declared);
        let lens = known.filter(|(known, _)| line.get(2..).is_some_and(|line| line.starts_with(known)));
        lens.map(|(known, _)| 2 + known.len()).max().unwrap_or(0)
    }

    /// Whether a line is a delimiter of a known boundary, or the last one of its parts.
    fn knows(&self, line: &[u8]) -> bool {
        let Some(line) = line.strip_prefix(b"--") else { return false };
        self.known.iter().any(|known| {
            !known.is_empty()
                && line.strip_prefix(*known).is_some_and(|rest| rest.starts_with(b"--") || rest.trim_ascii().is_empty())
        })
    }

    /// The next delimiter from the start of a line on: where its line starts, and the one behind it.
    fn next(&mut self, text: &'a [u8], from: usize, end: usize) -> Option<(usize, usize)> {
        let mut at = from;
        while let Some(dashes) = self.dashes.find(text.get(at..end)?).map(|len| at + len) {
            at = dashes + 1;
            if dashes > from && !matches!(text[dashes - 1], b'\r' | b'\n') {
                continue;
            }
            let (line_end, next) = line(text, dashes, end);
            if self.knows(&text[dashes..line_end]) {
                return Some((dashes, next));
            }
            if is_field_of_part(&text[next..end]) {
                self.learn(&text[dashes + 2..line_end], false);
                return Some((dashes, next));
            }
            at = next.max(at);
        }
        None
    }
}

/// The head of a part or message, read and masked.
struct Head<'a> {
    /// Where what is behind it starts.
    end: usize,
    media: MediaType<'a>,
    encoding: &'a [u8],
    /// The name of the field whose value is behind it; and what that says.
    name: &'a [u8],
    /// There is a secret in the field that has it.
    is_hidden: bool,
    forced: Option<KindId>,
    may_be_ssn: bool,
}

impl<'a> Head<'a> {
    /// Reads it up to an empty line, a line that is no field, or one that ends it.
    fn read(
        engine: &mut Engine,
        text: &'a [u8],
        (start, end): (usize, usize),
        location: Location,
        at_cut: bool,
        ends: &dyn Fn(&[u8]) -> bool,
    ) -> Self {
        let media = MediaType::default();
        let mut head =
            Self { end: start, media, encoding: b"", name: b"", is_hidden: false, forced: None, may_be_ssn: false };
        while head.end < end {
            let at = head.end;
            let (mut field_end, mut next) = line(text, at, end);
            let field = &text[at..field_end];
            if field.trim_ascii().is_empty() {
                head.end = next;
                break;
            }
            let colon = memchr::memchr(b':', field);
            let name = colon.map_or(&b""[..], |colon| field[..colon].trim_ascii_end());
            if !name.iter().all(u8::is_ascii_graphic) || name.is_empty() || ends(field) {
                break;
            }
            // Folded.
            while next < end && matches!(text[next], b' ' | b'\t') {
                let more = line(text, next, end);
                if text[next..more.0].trim_ascii().is_empty() {
                    break;
                }
                (field_end, next) = more;
            }
            head.end = next;
            let from = at + colon.map_or(0, |colon| colon + 1);
            let is_cut = at_cut && field_end == end;
            if !header::mask_within(engine, name, text, (from, field_end), location) {
                let value =
                    Value { at_cut: is_cut, surveyed: true, ..Value::new(at, field_end, Layer::Plain, location) };
                let found = engine.value(text, &value, &|_| {});
                head.is_hidden |= found && name.eq_ignore_ascii_case(b"content-disposition");
            }
            head.learn(engine, name, text[from..field_end].trim_ascii());
        }
        head
    }

    /// What one field says. Of several that say it the first counts, but for secrets: of these any.
    fn learn(&mut self, engine: &Engine, name: &[u8], value: &'a [u8]) {
        if name.eq_ignore_ascii_case(b"content-type") {
            self.media = MediaType::parse(value);
        } else if name.eq_ignore_ascii_case(b"content-transfer-encoding") {
            self.encoding = value;
        } else if name.eq_ignore_ascii_case(b"content-disposition") {
            let behind = memchr::memchr(b';', value).map_or(value.len(), |at| at + 1);
            // `name*0="pass"; name*1="word"`
            let mut joined: Cow<'_, [u8]> = Cow::Borrowed(b"");
            for (key, value) in parameters(&value[behind..]) {
                if let Some((word, rest)) = key.split_at_checked(4)
                    && word.eq_ignore_ascii_case(b"name")
                {
                    self.name_by(engine, rest, value, &mut joined);
                }
            }
            if matches!(joined, Cow::Owned(_)) {
                self.named(engine, &joined);
            }
        }
    }

    fn name_by(&mut self, engine: &Engine, rest: &[u8], value: &'a [u8], joined: &mut Cow<'_, [u8]>) {
        let value = match rest {
            [] => value,
            // `name*=UTF-8''password`
            [b'*', ..] if rest.ends_with(b"*") => &value[memchr::memrchr(b'\'', value).map_or(0, |at| at + 1)..],
            [b'*', ..] => value,
            _ => return,
        };
        if !rest.is_empty() && rest != b"*" {
            joined.to_mut().extend_from_slice(value);
        }
        if self.name.is_empty() {
            self.name = value;
        }
        self.named(engine, value);
    }

    fn named(&mut self, engine: &Engine, name: &[u8]) {
        let (forced, may_be_ssn) = form::named(engine, name, Layer::Any, &mut View::default());
        self.forced = self.forced.or(forced);
        self.may_be_ssn |= may_be_ssn;
    }
}

/// What is behind a part's head, up to the next delimiter.
fn content(
    engine: &mut Engine,
    readers: &mut Readers,
    text: &[u8],
    head: &Head<'_>,
    part_end: usize,
    location: Location,
    at_cut: bool,
) {
    let start = head.end.min(part_end);
    // The line break in front of the delimiter belongs to it.
    let end = match &text[start..part_end] {
        _ if at_cut => part_end,
        [.., b'\r', b'\n'] => part_end - 2,
        [.., b'\r' | b'\n'] => part_end - 1,
        _ => part_end,
    };
    let content = &text[start..end];
    let shown = |field: &mut String| push_name(field, head.name, head.is_hidden);
    let whole = Value { at_cut, surveyed: true, ..Value::new(start, end, Layer::Plain, location) };
    if head.forced.is_some() || head.may_be_ssn {
        engine.value(text, &Value { forced: head.forced, may_be_ssn: head.may_be_ssn, ..whole }, &shown);
        return;
    }
    // What is packed is redacted whole if anything is in it.
    if let Some(unpacked) = packed::unpack(head.encoding, content) {
        let kind = match readers.nested > MAX_NESTED {
            true => engine.first_kind(&unpacked, at_cut),
            false => body::probe(engine, readers, &unpacked, &head.media, location, at_cut),
        };
        if kind.is_some() {
            engine.value(text, &Value { forced: kind, ..whole }, &shown);
            return;
        }
    }
    let kind = head.media.kind(content);
    let is_text = matches!(kind, Kind::Text | Kind::Multipart { .. }) && memchr::memchr(0, content).is_none();
    if is_text || matches!(kind, Kind::Multipart { .. }) || kind == Kind::Message && readers.nested > MAX_NESTED {
        engine.value(text, &whole, &shown);
    } else {
        body::read(engine, readers, text, (start, end), &head.media, location, at_cut);
    }
}
