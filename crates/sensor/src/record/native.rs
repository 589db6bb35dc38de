//! The native shape: everything that is known, losslessly, one line of JSON.

use decap::Endpoint;
use http_parse::{Exchange, Flag, Flags, Header, Message};

use super::body::put_body;
use super::connection::ConnectionMeta;
use super::id::DIGITS;
use super::json::{append_base64, append_str, put_field, put_lossy, put_number};
use super::masking::{Masked, Masking};
use super::names::{Client, PathNames};
use super::pieces::{
    append_filter, append_flags, append_masked, append_path, put_connection, put_endpoint, put_ip, put_version,
    start_line,
};
use super::room::Room;
use super::target::Target;
use super::writer::{Admission, Outcome, Tools};
use crate::normalize::{Authority, Scheme, WonBy};

/// What all native records have in common.
#[derive(Debug)]
pub(super) struct Native {
    /// `,"sensor":"…"` up to the next field's value.
    sensor: Vec<u8>,
}

impl Native {
    pub(super) fn new(sensor: &str) -> Self {
        let mut piece = b",\"sensor\":".to_vec();
        append_str(sensor, &mut piece);
        piece.extend_from_slice(b",\"client\":");
        Self { sensor: piece }
    }

    /// Appends the record of an exchange and a line feed to `out`, but for its id. Gives where in `out` that belongs, and
    /// the record's flags.
    pub(super) fn compose<M: Masking>(
        &self,
        tools: &mut Tools<M>,
        meta: &ConnectionMeta,
        exchange: &Exchange<'_>,
        admission: Admission<'_>,
        out: &mut Vec<u8>,
    ) -> (usize, Flags) {
        let first = exchange.request.or(exchange.response);
        let client = tools.names.client(&mut tools.masking, meta, exchange);
        let mut room = Room::at_end_of(out);
        let room = &mut room;
        room.put(b"{\"id\":\"");
        let id = room.len();
        room.put(&[b'0'; DIGITS]);
        room.put(b"\",\"time\":");
        tools.time.put(first.map(Message::start).unwrap_or_default().at, room);
        room.put_slice(&self.sensor);
        put_client(&client, meta.endpoint(exchange.client), room);
        room.put(b",\"server\":");
        put_endpoint(meta.endpoint(exchange.client.opposite()), room);
        match &meta.path {
            None => room.put(b",\"tunnels\":[],\"vlans\":[]"),
            Some(path) => room.with_vec(|out| append_path(path, tools.names.normalizer(), out)),
        }
        put_connection(meta, exchange.index, room);
        match Outcome::of(exchange) {
            Outcome::Paired => room.put(b",\"outcome\":\"paired\",\"request\":"),
            Outcome::Unanswered => room.put(b",\"outcome\":\"unanswered\",\"request\":"),
            Outcome::Orphan => room.put(b",\"outcome\":\"orphan\",\"request\":"),
        }
        let mut flags = exchange.flags;
        match exchange.request {
            Some(request) => flags = flags.union(put_request(tools, request, client.scheme, room)),
            None => room.put(b"null"),
        }
        room.put(b",\"response\":");
        match exchange.response {
            Some(response) => flags = flags.union(put_response(tools, response, room)),
            None => room.put(b"null"),
        }
        if flags.is_empty() {
            room.put(b",\"flags\":[]}\n");
        } else {
            room.put(b",\"flags\":");
            room.with_vec(|out| append_flags(flags, out));
            room.put(b"}\n");
        }
        if admission != Admission::UNFILTERED {
            room.take_back_to(room.len() - 2);
            room.with_vec(|out| append_filter(admission, out));
            room.put(b"}\n");
        }
        if M::IS_ON && tools.masking.findings().found > 0 {
            room.take_back_to(room.len() - 2);
            room.with_vec(|out| append_masked(&tools.masking, out));
            room.put(b"}\n");
        }
        (id, flags)
    }
}

/// The client, who says so, and the connection's end where that is another.
#[inline(always)]
fn put_client(client: &Client, peer: Endpoint, room: &mut Room<'_>) {
    room.put(b"{\"ip\":\"");
    put_ip(client.ip, room);
    room.put(b"\",\"port\":");
    match client.port {
        Some(port) => put_number(port.into(), room),
        None => room.put(b"null"),
    }
    if client.source == WonBy::Connection {
        room.put(b",\"source\":\"connection\"}");
        return;
    }
    room.put(b",\"source\":\"");
    room.put_slice(client.source.name().as_bytes());
    room.put(b"\"},\"peer\":");
    put_endpoint(peer, room);
}

#[inline(always)]
fn put_request<M: Masking>(
    tools: &mut Tools<M>,
    request: &Message,
    scheme: Option<Scheme>,
    room: &mut Room<'_>,
) -> Flags {
    put_times(tools, request, room);
    let (head, method) = (request.head(), request.method());
    room.put(b",\"method\":");
    let mut is_utf8 = put_lossy(tools.masking.start_line(request.kind(), method).or(method), head, room);
    let target = match tools.masking.target(request.target()) {
        Masked::Kept => request.target(),
        Masked::Replaced(target) => {
            tools.scratch.clear();
            tools.scratch.extend_from_slice(target);
            &tools.scratch
        }
    };
    let parts = Target::new(method, target);
    match (scheme, parts.scheme) {
        (Some(scheme), _) => {
            room.put(b",\"scheme\":\"");
            room.put_slice(scheme.name().as_bytes());
            room.put(b"\",\"host\":");
        }
        // Schemes are compared without case (RFC 9110, section 4.2.3); `Target` let only ASCII through.
        (None, Some(scheme)) => room.with_vec(|out| {
            out.extend_from_slice(b",\"scheme\":\"");
            out.extend(scheme.iter().map(u8::to_ascii_lowercase));
            out.extend_from_slice(b"\",\"host\":");
        }),
        (None, None) => room.put(b",\"scheme\":\"http\",\"host\":"),
    }
    let field = match parts.host {
        Some(_) => None,
        None => request.header("host").map(|host| tools.masking.header(request.kind(), b"Host", host).or(host)),
    };
    match tools.names.host(parts.host, field) {
        Some(Authority { host, port, .. }) => {
            put_lossy(host, head, room);
            if let Some(port) = port {
                room.put(b",\"port\":");
                put_number(port.into(), room);
            }
        }
        None => room.put(b"null"),
    }
    room.put(b",\"target\":");
    is_utf8 &= put_lossy(target, head, room);
    room.put(b",\"path\":");
    put_optional(parts.path, head, room);
    if let Some(path) = parts.path {
        let PathNames { normalized, template } = tools.names.path(path);
        if let Some(normalized) = normalized {
            room.put(b",\"normalized_path\":");
            put_lossy(normalized, head, room);
        }
        if let Some(template) = template {
            room.put(b",\"template\":");
            put_lossy(template, head, room);
        }
    } else if tools.names.has_template() {
        room.put(b",\"template\":null");
    }
    room.put(b",\"query\":");
    put_optional(parts.query, head, room);
    put_rest(tools, request, is_utf8, room)
}

#[inline(always)]
fn put_response<M: Masking>(tools: &mut Tools<M>, response: &Message, room: &mut Room<'_>) -> Flags {
    put_times(tools, response, room);
    room.put(b",\"status\":");
    put_number(response.status().into(), room);
    room.put(b",\"reason\":");
    let reason = response.reason();
    let is_utf8 = put_lossy(tools.masking.start_line(response.kind(), reason).or(reason), response.head(), room);
    put_rest(tools, response, is_utf8, room)
}

#[inline(always)]
fn put_times<M>(tools: &mut Tools<M>, message: &Message, room: &mut Room<'_>) {
    room.put(b"{\"time\":");
    tools.time.put(message.start().at, room);
    room.put(b",\"end_time\":");
    tools.time.put(message.end_at(), room);
}

/// What requests and responses have in common: version, fields and body.
#[inline(always)]
fn put_rest<M: Masking>(
    tools: &mut Tools<M>,
    message: &Message,
    start_line_is_utf8: bool,
    room: &mut Room<'_>,
) -> Flags {
    room.put(b",\"version\":");
    put_version(message.version(), room);
    let head = message.head();
    if !start_line_is_utf8 || message.flags().contains(Flag::InvalidStartLine) {
        let line = start_line(head);
        let line = tools.masking.raw_start_line(message.kind(), line).or(line);
        room.with_vec(|out| {
            out.extend_from_slice(b",\"start_line_base64\":");
            append_base64(line, out);
        });
    }
    room.put(b",\"headers\":");
    put_fields(tools, message, message.headers(), room);
    room.put(b",\"trailers\":");
    put_fields(tools, message, message.trailers(), room);
    room.put(b",\"body\":");
    let left = tools.bodies.left();
    let before = room.len();
    let flags = match tools.bodies.content(message, &mut tools.masking) {
        Some(content) => {
            let content = content.within(left);
            put_body(&message.body(), &content, room);
            content.flags
        }
        None => {
            room.put(b"null");
            Flags::NONE
        }
    };
    tools.bodies.spend(room.len() - before);
    room.put(b"}");
    flags
}

#[inline(always)]
fn put_fields<'a, M: Masking>(
    tools: &mut Tools<M>,
    message: &Message,
    fields: impl ExactSizeIterator<Item = Header<'a>>,
    room: &mut Room<'_>,
) {
    if fields.len() == 0 {
        room.put(b"[]");
        return;
    }
    let (kind, head) = (message.kind(), message.head());
    room.put(b"[");
    for Header { name, value } in fields {
        put_field(name, tools.masking.field(kind, name, value).or(value), head, room);
    }
    // The last comma.
    room.take_back_to(room.len() - 1);
    room.put(b"]");
}

#[inline(always)]
fn put_optional(part: Option<&[u8]>, whole: &[u8], room: &mut Room<'_>) {
    match part {
        Some(part) => _ = put_lossy(part, whole, room),
        None => room.put(b"null"),
    }
}
