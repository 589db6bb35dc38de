//! The writer of records.

use core::net::IpAddr;
use std::io::Write as _;

use decap::{Endpoint, TunnelHop, TunnelId};
use http_parse::{Exchange, Flag, Flags, Header, Message, Version};

use super::body::BodyWriter;
use super::connection::ConnectionMeta;
use super::id::{DIGITS, TransactionId, append_input};
use super::json::{
    append_base64, append_field, append_hex, append_ipv4, append_lossy, append_number, append_str, append_utf8,
};
use super::seal::Unsealed;
use super::target::Target;
use super::time::TimeWriter;

/// What an operator can choose about records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordOptions {
    /// The sensor's name, which each record carries.
    pub sensor: String,
    /// The most bytes that a body is decoded to when it has a content coding.
    pub decode_limit: usize,
    /// The most bytes that the bodies of one record may take in its line, together. What is beyond it is left out, and
    /// the record flagged `body_not_captured`.
    pub content_limit: usize,
}

/// Whether request and response found each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Request and response.
    Paired,
    /// A request without a response.
    Unanswered,
    /// A response without a request.
    Orphan,
}

impl Outcome {
    /// Every outcome, in declaration order.
    pub const ALL: &'static [Self] = &[Self::Paired, Self::Unanswered, Self::Orphan];

    /// The stable `snake_case` name used in records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Paired => "paired",
            Self::Unanswered => "unanswered",
            Self::Orphan => "orphan",
        }
    }

    /// The outcome of an exchange.
    #[must_use]
    pub const fn of(exchange: &Exchange<'_>) -> Self {
        match (exchange.request, exchange.response) {
            (Some(_), Some(_)) => Self::Paired,
            (Some(_), None) => Self::Unanswered,
            (None, _) => Self::Orphan,
        }
    }
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Whether it is a pair.
    pub outcome: Outcome,
    /// The flags on the record: the exchange's and those of content decoding.
    pub flags: Flags,
}

/// Writes exchanges as native records (docs/output-format.md): one JSON object a line.
///
/// A record is written once, where it is wanted: no value tree, no string between the parser's buffers and `out`, and no
/// allocation once the buffers have found their size. The same exchange always gives the same bytes.
#[derive(Debug)]
pub struct RecordWriter {
    /// `,"sensor":"…"` up to the next field's value.
    sensor: Vec<u8>,
    time: TimeWriter,
    body: BodyWriter,
    id_input: Vec<u8>,
}

impl RecordWriter {
    /// A writer with empty buffers.
    #[must_use]
    pub fn new(options: RecordOptions) -> Self {
        let mut sensor = b",\"sensor\":".to_vec();
        append_str(&options.sensor, &mut sensor);
        sensor.extend_from_slice(b",\"client\":");
        let body = BodyWriter::new(options.decode_limit, options.content_limit);
        Self { sensor, time: TimeWriter::new(), body, id_input: Vec::new() }
    }

    /// Appends the record of an exchange, its id still open.
    #[inline]
    pub fn append(&mut self, meta: &ConnectionMeta, exchange: &Exchange<'_>, out: &mut Unsealed) -> Written {
        let (bytes, inputs) = out.ends();
        let (id, written) = self.compose(meta, exchange, bytes);
        append_input(meta, exchange, inputs);
        out.note(id);
        written
    }

    /// Appends the record of an exchange and a line feed to `out`, and computes its id at once.
    pub fn write(
        &mut self,
        meta: &ConnectionMeta,
        exchange: &Exchange<'_>,
        out: &mut Vec<u8>,
    ) -> (TransactionId, Written) {
        self.id_input.clear();
        append_input(meta, exchange, &mut self.id_input);
        let id = TransactionId::hash(&self.id_input);
        let (place, written) = self.compose(meta, exchange, out);
        if let Some(digits) = out.get_mut(place..).and_then(<[u8]>::first_chunk_mut) {
            *digits = id.digits();
        }
        (id, written)
    }

    /// Appends the record of an exchange and a line feed to `out`, but for its id; and says where in `out` that belongs.
    fn compose(&mut self, meta: &ConnectionMeta, exchange: &Exchange<'_>, out: &mut Vec<u8>) -> (usize, Written) {
        let outcome = Outcome::of(exchange);
        let (client, server) = (meta.endpoint(exchange.client), meta.endpoint(exchange.client.opposite()));
        let first = exchange.request.or(exchange.response);
        let start = first.map(Message::start).unwrap_or_default();

        out.extend_from_slice(b"{\"id\":\"");
        let id = out.len();
        out.extend_from_slice(&[b'0'; DIGITS]);
        out.extend_from_slice(b"\",\"time\":");
        self.time.append(start.at, out);
        out.extend_from_slice(&self.sensor);
        append_endpoint(client, out);
        out.extend_from_slice(b",\"server\":");
        append_endpoint(server, out);
        append_path(meta, out);
        append_connection(meta, exchange.index, out);
        out.extend_from_slice(b",\"outcome\":\"");
        out.extend_from_slice(outcome.name().as_bytes());
        out.extend_from_slice(b"\",\"request\":");
        let mut flags = exchange.flags;
        self.body.begin_record();
        match exchange.request {
            Some(request) => flags = flags.union(self.append_request(request, out)),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"response\":");
        match exchange.response {
            Some(response) => flags = flags.union(self.append_response(response, out)),
            None => out.extend_from_slice(b"null"),
        }
        append_flags(flags, out);
        out.extend_from_slice(b"}\n");
        (id, Written { outcome, flags })
    }

    fn append_request(&mut self, request: &Message, out: &mut Vec<u8>) -> Flags {
        self.append_times(request, out);
        let method = request.method();
        out.extend_from_slice(b",\"method\":");
        let mut is_utf8 = append_start_line_part(method, out);
        let target = Target::new(method, request.target());
        match target.scheme {
            // Schemes are compared without case (RFC 9110, section 4.2.3); `Target` let only ASCII through.
            Some(scheme) => {
                out.extend_from_slice(b",\"scheme\":\"");
                out.extend(scheme.iter().map(u8::to_ascii_lowercase));
                out.push(b'"');
            }
            None => out.extend_from_slice(b",\"scheme\":\"http\""),
        }
        out.extend_from_slice(b",\"host\":");
        append_optional(target.host.or_else(|| request.header("host")), out);
        out.extend_from_slice(b",\"target\":");
        is_utf8 &= append_start_line_part(request.target(), out);
        out.extend_from_slice(b",\"path\":");
        append_optional(target.path, out);
        out.extend_from_slice(b",\"query\":");
        append_optional(target.query, out);
        self.append_rest(request, is_utf8, out)
    }

    fn append_response(&mut self, response: &Message, out: &mut Vec<u8>) -> Flags {
        self.append_times(response, out);
        out.extend_from_slice(b",\"status\":");
        append_number(response.status().into(), out);
        out.extend_from_slice(b",\"reason\":");
        let is_utf8 = append_start_line_part(response.reason(), out);
        self.append_rest(response, is_utf8, out)
    }

    fn append_times(&mut self, message: &Message, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"time\":");
        self.time.append(message.start().at, out);
        out.extend_from_slice(b",\"end_time\":");
        self.time.append(message.end_at(), out);
    }

    /// What requests and responses have in common: version, fields and body.
    fn append_rest(&mut self, message: &Message, start_line_is_utf8: bool, out: &mut Vec<u8>) -> Flags {
        append_version(message.version(), out);
        if !start_line_is_utf8 || message.flags().contains(Flag::InvalidStartLine) {
            out.extend_from_slice(b",\"start_line_base64\":");
            append_base64(start_line(message.head()), out);
        }
        out.extend_from_slice(b",\"headers\":");
        append_fields(message.headers(), out);
        out.extend_from_slice(b",\"trailers\":");
        append_fields(message.trailers(), out);
        out.extend_from_slice(b",\"body\":");
        let flags = self.body.append(message, out);
        out.push(b'}');
        flags
    }
}

/// Appends a part of the start line as a string, whatever it holds; false when it is not UTF-8 and was not kept as it is.
fn append_start_line_part(part: &[u8], out: &mut Vec<u8>) -> bool {
    let is_utf8 = append_utf8(part, out);
    if !is_utf8 {
        append_lossy(part, out);
    }
    is_utf8
}

fn append_optional(part: Option<&[u8]>, out: &mut Vec<u8>) {
    match part {
        Some(part) => append_lossy(part, out),
        None => out.extend_from_slice(b"null"),
    }
}

/// The start line as sent, without its line end and without what empty lines and white space stand before it.
fn start_line(head: &[u8]) -> &[u8] {
    let begin = head.iter().position(|byte| !matches!(byte, b'\r' | b'\n' | b' ' | b'\t')).unwrap_or(head.len());
    let line = head.get(begin..).unwrap_or_default();
    let line = memchr::memchr(b'\n', line).and_then(|end| line.get(..end)).unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn append_version(version: Version, out: &mut Vec<u8>) {
    if version == (Version { major: 1, minor: 1 }) {
        out.extend_from_slice(b",\"version\":\"1.1\"");
        return;
    }
    out.extend_from_slice(b",\"version\":\"");
    append_number(version.major.into(), out);
    out.push(b'.');
    append_number(version.minor.into(), out);
    out.push(b'"');
}

#[inline]
fn append_fields<'a>(fields: impl Iterator<Item = Header<'a>>, out: &mut Vec<u8>) {
    out.push(b'[');
    let mut is_first = true;
    for field in fields {
        if !is_first {
            out.push(b',');
        }
        is_first = false;
        append_field(field.name, field.value, out);
    }
    out.push(b']');
}

fn append_endpoint(endpoint: Endpoint, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"ip\":\"");
    append_ip(endpoint.ip, out);
    out.extend_from_slice(b"\",\"port\":");
    append_number(endpoint.port.into(), out);
    out.push(b'}');
}

fn append_ip(ip: IpAddr, out: &mut Vec<u8>) {
    match ip {
        IpAddr::V4(ip) => append_ipv4(ip.octets(), out),
        // The canonical form (RFC 5952). Writing to a Vec cannot fail.
        IpAddr::V6(ip) => _ = write!(out, "{ip}"),
    }
}

fn append_path(meta: &ConnectionMeta, out: &mut Vec<u8>) {
    let Some(path) = &meta.path else {
        out.extend_from_slice(b",\"tunnels\":[],\"vlans\":[]");
        return;
    };
    out.extend_from_slice(b",\"tunnels\":[");
    for (index, hop) in path.hops.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        append_hop(hop, out);
    }
    out.extend_from_slice(b"],\"vlans\":[");
    for (index, vlan) in path.vlans.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        append_number((*vlan).into(), out);
    }
    out.push(b']');
}

fn append_hop(hop: &TunnelHop, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"kind\":");
    append_str(hop.kind.name(), out);
    out.extend_from_slice(b",\"source\":");
    append_outer_ip(hop.source, out);
    out.extend_from_slice(b",\"destination\":");
    append_outer_ip(hop.destination, out);
    let (name, number): (&[u8], u32) = match hop.id {
        TunnelId::None => (b"", 0),
        TunnelId::Vni(vni) => (b",\"vni\":", vni),
        TunnelId::Key(key) => (b",\"key\":", key),
        TunnelId::Session(session) => (b",\"session\":", session.into()),
        TunnelId::Teid(teid) => (b",\"teid\":", teid),
    };
    if !name.is_empty() {
        out.extend_from_slice(name);
        append_number(number.into(), out);
    }
    out.push(b'}');
}

/// An encapsulation without addresses of its own has unspecified ones.
fn append_outer_ip(ip: IpAddr, out: &mut Vec<u8>) {
    if ip.is_unspecified() {
        out.extend_from_slice(b"null");
        return;
    }
    out.push(b'"');
    append_ip(ip, out);
    out.push(b'"');
}

fn append_connection(meta: &ConnectionMeta, index: Option<u32>, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"connection\":{\"id\":\"");
    append_hex(meta.id, out);
    out.extend_from_slice(b"\",\"transaction\":");
    match index {
        Some(index) => append_number(index.into(), out),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(match meta.initiator {
        Some(_) => b",\"start\":\"handshake\"}",
        None => b",\"start\":\"mid_stream\"}",
    });
}

fn append_flags(flags: Flags, out: &mut Vec<u8>) {
    if flags.is_empty() {
        out.extend_from_slice(b",\"flags\":[]");
        return;
    }
    out.extend_from_slice(b",\"flags\":[");
    for (index, flag) in flags.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        append_str(flag.name(), out);
    }
    out.push(b']');
}
