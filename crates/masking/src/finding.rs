//! What was found where: the list that goes into the record, without a single value.

use std::fmt;

use crate::action::Action;

/// Findings listed for one record; more are counted only.
pub const MAX_FINDINGS: usize = 64;
/// Bytes of one finding's field; the rest of a longer one is cut off.
pub(crate) const MAX_FIELD_BYTES: usize = 256;

/// Which side of a transaction a value belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The client's.
    Request,
    /// The server's.
    Response,
}

/// Where in a transaction a secret was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Location {
    /// A request header, cookies among them.
    RequestHeader,
    /// The path of the request target.
    RequestPath,
    /// The query (or fragment) of the request target.
    RequestQuery,
    /// The user information of an absolute request target.
    RequestUserinfo,
    /// The request's body.
    RequestBody,
    /// A response header, cookies among them.
    ResponseHeader,
    /// The response's body.
    ResponseBody,
    /// Anything else of the transaction, such as a reason phrase.
    Other,
}

impl Location {
    /// As the edge record's `sdp_info` writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::RequestHeader => "REQUEST_HEADER",
            Self::RequestPath => "REQUEST_PATH",
            Self::RequestQuery => "REQUEST_QUERY",
            Self::RequestUserinfo => "REQUEST_USERINFO",
            Self::RequestBody => "REQUEST_BODY",
            Self::ResponseHeader => "RESPONSE_HEADER",
            Self::ResponseBody => "RESPONSE_BODY",
            Self::Other => "OTHER",
        }
    }

    pub(crate) fn header(side: Side) -> Self {
        match side {
            Side::Request => Self::RequestHeader,
            Side::Response => Self::ResponseHeader,
        }
    }

    pub(crate) fn body(side: Side) -> Self {
        match side {
            Side::Request => Self::RequestBody,
            Side::Response => Self::ResponseBody,
        }
    }

    pub(crate) fn is_body(self) -> bool {
        matches!(self, Self::RequestBody | Self::ResponseBody)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A secret that was found and replaced. Never holds any of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finding<'a> {
    /// What it is: `CREDIT_CARD`, `CREDENTIAL`, …, or the name of an own rule; or `CUT`, where a body that is cut ends with what
    /// may be the beginning of some secret, and nothing tells which.
    pub kind: &'a str,
    /// Where it was.
    pub location: Location,
    /// The header, cookie (`cookie.name`), parameter, or path of keys and indices (`accounts.0.number`) whose value it was
    /// in. A part that was itself a secret is `*`. Long ones are cut at 256 bytes.
    pub field: &'a str,
    /// What was done, which is not what was asked for where that was not possible: part of a value that a cut body ends
    /// with is redacted whatever the rule.
    pub action: Action,
    /// Where it started in the original value of the field (in bytes; of a text in UTF-16 or another charset, in bytes
    /// of its UTF-8 form). Where escapes were decoded to find it, the offsets are those of the escaped form.
    pub start: u32,
    /// Where it ended.
    pub end: u32,
}

/// In the place of a kind: what a cut left may be the beginning of a secret, or nothing.
pub(crate) const CUT: u16 = u16::MAX;

/// The findings of a record.
#[derive(Default)]
pub(crate) struct FindingList {
    entries: Vec<Entry>,
    fields: String,
    pub(crate) found: u64,
}

#[derive(Clone, Copy)]
struct Entry {
    kind: u16,
    location: Location,
    field: (u32, u32),
    action: Action,
    start: u32,
    end: u32,
}

impl FindingList {
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.fields.clear();
        self.found = 0;
    }

    /// Whether one more would be listed.
    pub(crate) fn has_room(&self) -> bool {
        self.entries.len() < MAX_FINDINGS
    }

    /// Lists a finding; `field` appends its field to the string. To be called with room only.
    pub(crate) fn push(
        &mut self,
        kind: u16,
        location: Location,
        action: Action,
        place: (usize, usize),
        field: impl FnOnce(&mut String),
    ) {
        let from = self.fields.len();
        field(&mut self.fields);
        if self.fields.len() - from > MAX_FIELD_BYTES {
            let end = (0..=from + MAX_FIELD_BYTES).rev().find(|at| self.fields.is_char_boundary(*at)).unwrap_or(from);
            self.fields.truncate(end);
        }
        let offset = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        self.entries.push(Entry {
            kind,
            location,
            field: (offset(from), offset(self.fields.len())),
            action,
            start: offset(place.0),
            end: offset(place.1),
        });
    }

    /// Where the list stands, to come back to.
    pub(crate) fn mark(&self) -> (usize, u64) {
        (self.entries.len(), self.found)
    }

    /// The kind of the first finding behind a mark, if that was listed.
    pub(crate) fn kind_since(&self, (entries, _): (usize, u64)) -> Option<u16> {
        self.entries.get(entries).map(|entry| entry.kind)
    }

    /// Forgets what came after a mark.
    pub(crate) fn rewind(&mut self, (entries, found): (usize, u64)) {
        if let Some(first) = self.entries.get(entries) {
            self.fields.truncate(first.field.0 as usize);
        }
        self.entries.truncate(entries);
        self.found = found;
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn iter<'a>(&'a self, kind_name: impl Fn(u16) -> &'a str) -> impl Iterator<Item = Finding<'a>> {
        self.entries.iter().map(move |entry| Finding {
            kind: kind_name(entry.kind),
            location: entry.location,
            field: self.fields.get(entry.field.0 as usize..entry.field.1 as usize).unwrap_or_default(),
            action: entry.action,
            start: entry.start,
            end: entry.end,
        })
    }
}
