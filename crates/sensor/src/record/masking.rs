//! Where secrets are taken out: one call for each value that a record is made of.
//!
//! The writer asks for each value as it comes to it, and writes what it is given. What it asks of [`Unmasked`] costs
//! nothing. Names of fields, addresses, times and lengths are not asked for; the id is made of what was sent.

use http_parse::MessageKind;

use super::json::{append_str, put_number};
use super::room::Room;

/// A value after masking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Masked<'a> {
    /// It stays as it is.
    Kept,
    /// What stands in its place.
    Replaced(&'a [u8]),
}

impl<'a> Masked<'a> {
    /// What is to be written for `value`.
    #[inline(always)]
    pub const fn or(self, value: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Kept => value,
            Self::Replaced(bytes) => bytes,
        }
    }
}

/// A body after masking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaskedBody<'a> {
    /// It stays as it is.
    Kept,
    /// What stands in its place.
    Replaced(&'a [u8]),
    /// Nothing of it may be recorded.
    Dropped,
}

/// What was found in a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Nothing was looked for.
    pub skipped: bool,
    /// How many secrets were found.
    pub found: u64,
    /// How many of them were replaced or dropped.
    pub transformed: u64,
}

/// One of the secrets found, without any of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding<'a> {
    /// What it is: `CREDIT_CARD`.
    pub name: &'a str,
    /// In which part of the exchange: `REQUEST_BODY`.
    pub location: &'a str,
    /// The header, parameter or path of keys whose value it was in.
    pub field: &'a str,
    /// What was done: `hash`.
    pub action: &'a str,
    /// Where in the value it started, in bytes.
    pub start: u64,
    /// Where it ended.
    pub end: u64,
}

/// How the findings of a record are written: once for all of a sensor's records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FindingForm {
    /// As in `masked` of native records.
    #[default]
    Native,
    /// As in `sdp_info` of edge records.
    Edge,
}

impl FindingForm {
    /// Appends a finding and a comma.
    pub fn append(self, finding: &Finding<'_>, out: &mut Vec<u8>) {
        let mut member = |key: &[u8], text: &str| {
            out.extend_from_slice(key);
            append_str(text, out);
        };
        member(b"{\"name\":", finding.name);
        match self {
            Self::Native => {
                member(b",\"location\":", finding.location);
                member(b",\"field\":", finding.field);
                member(b",\"action\":", finding.action);
            }
            Self::Edge => {
                member(b",\"type\":\"SDE\",\"location\":", finding.location);
                member(b",\"field\":", finding.field);
                let mut room = Room::at_end_of(out);
                room.put(b",\"start\":");
                put_number(finding.start, &mut room);
                room.put(b",\"end\":");
                put_number(finding.end, &mut room);
            }
        }
        out.extend_from_slice(b"},");
    }
}

/// Takes secrets out of the values of records, one record after the other.
pub trait Masking {
    /// Whether it looks for anything.
    const IS_ON: bool = true;

    /// A new record begins: what was found is forgotten. `form` is how its findings will be listed.
    fn begin(&mut self, form: FindingForm);

    /// Whether header fields of the record are on several lines. If none is, those that hold no secret need no look.
    #[inline(always)]
    fn folds(&mut self, _: bool) {}

    /// The target of a request.
    fn target(&mut self, target: &[u8]) -> Masked<'_>;

    /// The value of a header or trailer field, one after the other as they stand in a message.
    fn field(&mut self, kind: MessageKind, name: &[u8], value: &[u8]) -> Masked<'_>;

    /// The same of one that stands alone: what names a request's host or client.
    fn header(&mut self, kind: MessageKind, name: &[u8], value: &[u8]) -> Masked<'_>;

    /// Whether a body is left out whole that these media types are stated of, each as the value of a field.
    fn leaves_out<'a>(&mut self, _: MessageKind, _: impl Iterator<Item = &'a [u8]>) -> bool {
        false
    }

    /// A body, or as much of it as is recorded (`is_cut`), without its content coding where that could be undone.
    fn body(&mut self, kind: MessageKind, content_type: Option<&[u8]>, bytes: &[u8], is_cut: bool) -> MaskedBody<'_>;

    /// A method or a reason phrase.
    fn start_line(&mut self, kind: MessageKind, part: &[u8]) -> Masked<'_>;

    /// A whole start line, which is recorded beside its parts where they do not say all of it.
    fn raw_start_line(&mut self, kind: MessageKind, line: &[u8]) -> Masked<'_>;

    /// A body whose content coding could not be undone, and which so cannot be looked through: whether it may be recorded.
    fn keeps_coded(&mut self, kind: MessageKind, bytes: &[u8]) -> bool;

    /// What was found since [`Masking::begin`].
    fn findings(&self) -> Findings;

    /// Appends what was found, as far as it is listed, each finding with a comma behind it; says how many those are.
    fn append_list(&self, out: &mut Vec<u8>) -> u64;
}

/// Leaves everything as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unmasked;

impl Masking for Unmasked {
    const IS_ON: bool = false;

    #[inline(always)]
    fn begin(&mut self, _: FindingForm) {}

    #[inline(always)]
    fn target(&mut self, _: &[u8]) -> Masked<'_> {
        Masked::Kept
    }

    #[inline(always)]
    fn field(&mut self, _: MessageKind, _: &[u8], _: &[u8]) -> Masked<'_> {
        Masked::Kept
    }

    #[inline(always)]
    fn header(&mut self, _: MessageKind, _: &[u8], _: &[u8]) -> Masked<'_> {
        Masked::Kept
    }

    #[inline(always)]
    fn body(&mut self, _: MessageKind, _: Option<&[u8]>, _: &[u8], _: bool) -> MaskedBody<'_> {
        MaskedBody::Kept
    }

    #[inline(always)]
    fn start_line(&mut self, _: MessageKind, _: &[u8]) -> Masked<'_> {
        Masked::Kept
    }

    #[inline(always)]
    fn raw_start_line(&mut self, _: MessageKind, _: &[u8]) -> Masked<'_> {
        Masked::Kept
    }

    #[inline(always)]
    fn keeps_coded(&mut self, _: MessageKind, _: &[u8]) -> bool {
        true
    }

    #[inline(always)]
    fn findings(&self) -> Findings {
        Findings { skipped: true, found: 0, transformed: 0 }
    }

    #[inline(always)]
    fn append_list(&self, _: &mut Vec<u8>) -> u64 {
        0
    }
}
