//! The writer of records.

use core::net::IpAddr;
use std::io::Write as _;

use decap::{Endpoint, TunnelHop, TunnelId, TunnelPath};
use http_parse::{Exchange, Flag, Flags, Header, Message, Version};

use super::body::BodyWriter;
use super::connection::ConnectionMeta;
use super::id::{DIGITS, TransactionId, append_input};
use super::json::{append_base64, append_str, put_field, put_hex, put_ipv4, put_lossy, put_number};
use super::room::Room;
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
        let first = exchange.request.or(exchange.response);
        let start = first.map(Message::start).unwrap_or_default();
        let mut room = Room::at_end_of(out);
        let room = &mut room;
        room.put(b"{\"id\":\"");
        let id = room.len();
        room.put(&[b'0'; DIGITS]);
        room.put(b"\",\"time\":");
        self.time.put(start.at, room);
        room.put_slice(&self.sensor);
        put_endpoint(meta.endpoint(exchange.client), room);
        room.put(b",\"server\":");
        put_endpoint(meta.endpoint(exchange.client.opposite()), room);
        match &meta.path {
            None => room.put(b",\"tunnels\":[],\"vlans\":[]"),
            Some(path) => room.with_vec(|out| append_path(path, out)),
        }
        put_connection(meta, exchange.index, room);
        match outcome {
            Outcome::Paired => room.put(b",\"outcome\":\"paired\",\"request\":"),
            Outcome::Unanswered => room.put(b",\"outcome\":\"unanswered\",\"request\":"),
            Outcome::Orphan => room.put(b",\"outcome\":\"orphan\",\"request\":"),
        }
        let mut flags = exchange.flags;
        self.body.begin_record();
        match exchange.request {
            Some(request) => flags = flags.union(self.put_request(request, room)),
            None => room.put(b"null"),
        }
        room.put(b",\"response\":");
        match exchange.response {
            Some(response) => flags = flags.union(self.put_response(response, room)),
            None => room.put(b"null"),
        }
        if flags.is_empty() {
            room.put(b",\"flags\":[]}\n");
        } else {
            room.put(b",\"flags\":");
            room.with_vec(|out| append_flags(flags, out));
            room.put(b"}\n");
        }
        (id, Written { outcome, flags })
    }

    #[inline(always)]
    fn put_request(&mut self, request: &Message, room: &mut Room<'_>) -> Flags {
        self.put_times(request, room);
        let (head, method) = (request.head(), request.method());
        room.put(b",\"method\":");
        let mut is_utf8 = put_lossy(method, head, room);
        let target = Target::new(method, request.target());
        match target.scheme {
            // Schemes are compared without case (RFC 9110, section 4.2.3); `Target` let only ASCII through.
            Some(scheme) => room.with_vec(|out| {
                out.extend_from_slice(b",\"scheme\":\"");
                out.extend(scheme.iter().map(u8::to_ascii_lowercase));
                out.extend_from_slice(b"\",\"host\":");
            }),
            None => room.put(b",\"scheme\":\"http\",\"host\":"),
        }
        put_optional(target.host.or_else(|| request.header("host")), head, room);
        room.put(b",\"target\":");
        is_utf8 &= put_lossy(request.target(), head, room);
        room.put(b",\"path\":");
        put_optional(target.path, head, room);
        room.put(b",\"query\":");
        put_optional(target.query, head, room);
        self.put_rest(request, is_utf8, room)
    }

    #[inline(always)]
    fn put_response(&mut self, response: &Message, room: &mut Room<'_>) -> Flags {
        self.put_times(response, room);
        room.put(b",\"status\":");
        put_number(response.status().into(), room);
        room.put(b",\"reason\":");
        let is_utf8 = put_lossy(response.reason(), response.head(), room);
        self.put_rest(response, is_utf8, room)
    }

    #[inline(always)]
    fn put_times(&mut self, message: &Message, room: &mut Room<'_>) {
        room.put(b"{\"time\":");
        self.time.put(message.start().at, room);
        room.put(b",\"end_time\":");
        self.time.put(message.end_at(), room);
    }

    /// What requests and responses have in common: version, fields and body.
    #[inline(always)]
    fn put_rest(&mut self, message: &Message, start_line_is_utf8: bool, room: &mut Room<'_>) -> Flags {
        put_version(message.version(), room);
        let head = message.head();
        if !start_line_is_utf8 || message.flags().contains(Flag::InvalidStartLine) {
            room.with_vec(|out| {
                out.extend_from_slice(b",\"start_line_base64\":");
                append_base64(start_line(head), out);
            });
        }
        room.put(b",\"headers\":");
        put_fields(message.headers(), head, room);
        room.put(b",\"trailers\":");
        put_fields(message.trailers(), head, room);
        room.put(b",\"body\":");
        let flags = self.body.put(message, room);
        room.put(b"}");
        flags
    }
}

#[inline(always)]
fn put_optional(part: Option<&[u8]>, whole: &[u8], room: &mut Room<'_>) {
    match part {
        Some(part) => _ = put_lossy(part, whole, room),
        None => room.put(b"null"),
    }
}

/// The start line as sent, without its line end and without what empty lines and white space stand before it.
fn start_line(head: &[u8]) -> &[u8] {
    let begin = head.iter().position(|byte| !matches!(byte, b'\r' | b'\n' | b' ' | b'\t')).unwrap_or(head.len());
    let line = head.get(begin..).unwrap_or_default();
    let line = memchr::memchr(b'\n', line).and_then(|end| line.get(..end)).unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[inline(always)]
fn put_version(version: Version, room: &mut Room<'_>) {
    if version == (Version { major: 1, minor: 1 }) {
        room.put(b",\"version\":\"1.1\"");
        return;
    }
    room.put(b",\"version\":\"");
    put_number(version.major.into(), room);
    room.put(b".");
    put_number(version.minor.into(), room);
    room.put(b"\"");
}

#[inline(always)]
fn put_fields<'a>(fields: impl ExactSizeIterator<Item = Header<'a>>, head: &[u8], room: &mut Room<'_>) {
    if fields.len() == 0 {
        room.put(b"[]");
        return;
    }
    room.put(b"[");
    for field in fields {
        put_field(field.name, field.value, head, room);
    }
    // The last comma.
    room.take_back_to(room.len() - 1);
    room.put(b"]");
}

#[inline(always)]
fn put_endpoint(endpoint: Endpoint, room: &mut Room<'_>) {
    room.put(b"{\"ip\":\"");
    put_ip(endpoint.ip, room);
    room.put(b"\",\"port\":");
    put_number(endpoint.port.into(), room);
    room.put(b"}");
}

#[inline(always)]
fn put_ip(ip: IpAddr, room: &mut Room<'_>) {
    match ip {
        IpAddr::V4(ip) => put_ipv4(ip.octets(), room),
        // The canonical form (RFC 5952). Writing to a Vec cannot fail.
        IpAddr::V6(ip) => room.with_vec(|out| _ = write!(out, "{ip}")),
    }
}

fn append_path(path: &TunnelPath, out: &mut Vec<u8>) {
    let mut room = Room::at_end_of(out);
    let room = &mut room;
    room.put(b",\"tunnels\":[");
    for (index, hop) in path.hops.iter().enumerate() {
        if index > 0 {
            room.put(b",");
        }
        put_hop(hop, room);
    }
    room.put(b"],\"vlans\":[");
    for (index, vlan) in path.vlans.iter().enumerate() {
        if index > 0 {
            room.put(b",");
        }
        put_number((*vlan).into(), room);
    }
    room.put(b"]");
}

#[inline(always)]
fn put_hop(hop: &TunnelHop, room: &mut Room<'_>) {
    room.put(b"{\"kind\":\"");
    room.put_slice(hop.kind.name().as_bytes());
    room.put(b"\",\"source\":");
    put_outer_ip(hop.source, room);
    room.put(b",\"destination\":");
    put_outer_ip(hop.destination, room);
    let number = match hop.id {
        TunnelId::None => None,
        TunnelId::Vni(vni) => {
            room.put(b",\"vni\":");
            Some(vni)
        }
        TunnelId::Key(key) => {
            room.put(b",\"key\":");
            Some(key)
        }
        TunnelId::Session(session) => {
            room.put(b",\"session\":");
            Some(session.into())
        }
        TunnelId::Teid(teid) => {
            room.put(b",\"teid\":");
            Some(teid)
        }
    };
    if let Some(number) = number {
        put_number(number.into(), room);
    }
    room.put(b"}");
}

/// An encapsulation without addresses of its own has unspecified ones.
#[inline(always)]
fn put_outer_ip(ip: IpAddr, room: &mut Room<'_>) {
    if ip.is_unspecified() {
        room.put(b"null");
        return;
    }
    room.put(b"\"");
    put_ip(ip, room);
    room.put(b"\"");
}

#[inline(always)]
fn put_connection(meta: &ConnectionMeta, index: Option<u32>, room: &mut Room<'_>) {
    room.put(b",\"connection\":{\"id\":\"");
    put_hex(meta.id, room);
    room.put(b"\",\"transaction\":");
    match index {
        Some(index) => put_number(index.into(), room),
        None => room.put(b"null"),
    }
    match meta.initiator {
        Some(_) => room.put(b",\"start\":\"handshake\"}"),
        None => room.put(b",\"start\":\"mid_stream\"}"),
    }
}

fn append_flags(flags: Flags, out: &mut Vec<u8>) {
    out.push(b'[');
    for (index, flag) in flags.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        append_str(flag.name(), out);
    }
    out.push(b']');
}
