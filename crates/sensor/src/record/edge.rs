//! The edge shape: what the platform's ingestion API takes, one JSON object a line.
//!
//! A body stands before its message's header fields, because what became of the body shows in them: `cq-body-truncated` is
//! added where it was cut and nowhere else, and Content-Encoding is left out where that was undone. Both for the same reason:
//! what the platform reads must agree with itself.

use http_parse::{Exchange, Flags, Header, Message};

use super::connection::ConnectionMeta;
use super::id::DIGITS;
use super::json::{
    append_base64, append_lossy_inside, append_str, put_base64, put_bool, put_lossy, put_number, put_three_digits,
};
use super::masking::{Findings, Masked, Masking};
use super::options::{EdgeOptions, HeaderValues, Unanswered};
use super::pieces::{append_flags, append_path, put_connection, put_ip, put_version};
use super::room::Room;
use super::target::Target;
use super::writer::{Admission, Outcome, Tools};
use crate::normalize::Scheme;

/// What all edge records have in common.
#[derive(Debug)]
pub(super) struct Edge {
    /// Up to the value of `transaction-id`.
    version: Vec<u8>,
    /// `"http-scheme"`'s value where the request does not tell it.
    scheme: Vec<u8>,
    /// From `txn-meta-data` to the end of `source_info`.
    source: Vec<u8>,
    /// `filter_info` where no rule has let a transaction through.
    filter: Vec<u8>,
    /// The value of `sensor`.
    sensor: Vec<u8>,
    header_values: HeaderValues,
    body_limit: usize,
    unanswered: Unanswered,
}

/// What of a message is told in `data_extractions`, found when its body was written.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    flags: Flags,
    is_decoded: bool,
    /// A field has the name of the one that only the sensor writes.
    is_withheld: bool,
}

/// The field that says that a body was cut, as it stands in `headers`.
pub(super) const fn truncated(values: HeaderValues) -> &'static [u8] {
    match values {
        HeaderValues::Base64 => b"\"cq-body-truncated:dHJ1ZQ==\"",
        HeaderValues::Text => b"\"cq-body-truncated:true\"",
    }
}

/// The largest number that the API takes for a transaction's place in its connection.
const MAX_DEPTH: u32 = u16::MAX as u32;

impl Edge {
    pub(super) fn new(sensor: &str, options: &EdgeOptions) -> Self {
        let string = |text: &str| {
            let mut json = Vec::new();
            append_str(text, &mut json);
            json
        };
        let mut source = b",\"txn-meta-data\":{\"source_info\":{\"version\":".to_vec();
        source.extend_from_slice(&string(&options.source_version));
        source.extend_from_slice(b",\"type\":\"sensor\",\"pool_id\":");
        source.extend_from_slice(&string(&options.pool_id));
        source.extend_from_slice(b",\"instance_id\":");
        source.extend_from_slice(&string(&options.instance_id));
        source.extend_from_slice(b"}");
        let mut filter = Vec::new();
        if let Some(name) = &options.filter_name {
            append_filter_info(name, &mut filter);
        }
        Self {
            version: [b",\"version\":", &*string(&options.version), b",\"transaction-id\":\""].concat(),
            scheme: string(&options.scheme),
            source,
            filter,
            sensor: string(sensor),
            header_values: options.header_values,
            body_limit: options.body_limit,
            unanswered: options.unanswered,
        }
    }

    /// Appends the record of an exchange and a line feed to `out`, but for its id. Gives where in `out` that belongs, and
    /// the record's flags; `None`, and nothing is appended, where the platform could not take it.
    pub(super) fn compose<M: Masking>(
        &self,
        tools: &mut Tools<M>,
        meta: &ConnectionMeta,
        exchange: &Exchange<'_>,
        admission: Admission<'_>,
        out: &mut Vec<u8>,
    ) -> Option<(usize, Flags)> {
        // Without a request there is neither a method nor a target, and the platform demands both.
        let request = exchange.request?;
        if exchange.response.is_none() && self.unanswered == Unanswered::Left {
            return None;
        }
        let from = tools.names.client(&mut tools.masking, meta, exchange);
        let mut room = Room::at_end_of(out);
        let room = &mut room;
        room.put(b"{\"timestamp\":");
        put_seconds(request.start().at, room);
        room.put_slice(&self.version);
        let id = room.len();
        room.put(&[b'0'; DIGITS]);
        room.put(b"\",\"request\":{\"client-ip\":\"");
        put_ip(from.ip, room);
        let asked = self.put_request(tools, meta, exchange, request, from.scheme, room);
        let mut flags = exchange.flags.union(asked.flags);
        let mut answered = Told::default();
        match (exchange.response, self.unanswered) {
            (Some(response), _) => {
                room.put(b",\"response\":{\"status-code\":\"");
                put_number(response.status().into(), room);
                room.put(b"\"");
                answered = self.put_message(tools, response, room);
                flags = flags.union(answered.flags);
            }
            (None, Unanswered::Status(status)) => {
                room.put(b",\"response\":{\"status-code\":\"");
                put_number(status.into(), room);
                room.put(b"\",\"body\":{\"length\":0,\"data\":\"\"},\"headers\":[]}");
            }
            (None, _) => {}
        }
        room.put_slice(&self.source);
        match admission.rule {
            Some(rule) => room.with_vec(|out| append_filter_info(rule, out)),
            None => room.put_slice(&self.filter),
        }
        room.put(b",\"sdp_info\":{\"skipped\":");
        room.with_vec(|out| append_findings(&tools.masking, out));
        room.put(b",\"data_extractions\":{\"sensor\":");
        room.put_slice(&self.sensor);
        match Outcome::of(exchange) {
            Outcome::Paired => room.put(b",\"outcome\":\"paired\""),
            Outcome::Unanswered | Outcome::Orphan => room.put(b",\"outcome\":\"unanswered\""),
        }
        put_connection(meta, exchange.index, room);
        match &meta.path {
            None => room.put(b",\"tunnels\":[],\"vlans\":[]"),
            Some(path) => room.with_vec(|out| append_path(path, tools.names.normalizer(), out)),
        }
        room.put(b",\"client_source\":\"");
        room.put_slice(from.source.name().as_bytes());
        room.put(b"\"");
        room.put_slice(tools.names.noted());
        if admission.weight != 1 {
            room.put(b",\"weight\":");
            put_number(admission.weight.into(), room);
        }
        room.put(b",\"flags\":");
        room.with_vec(|out| append_flags(flags, out));
        room.put(b",\"request\":");
        self.put_provenance(tools, request, asked, room);
        if let Some(response) = exchange.response {
            room.put(b",\"response\":");
            self.put_provenance(tools, response, answered, room);
        }
        room.put(b"}}}\n");
        Some((id, flags))
    }

    /// From the client's address, which is open, to the end of the request.
    #[inline(always)]
    fn put_request<M: Masking>(
        &self,
        tools: &mut Tools<M>,
        meta: &ConnectionMeta,
        exchange: &Exchange<'_>,
        request: &Message,
        scheme: Option<Scheme>,
        room: &mut Room<'_>,
    ) -> Told {
        let (head, method) = (request.head(), request.method());
        let target = match tools.masking.target(request.target()) {
            Masked::Kept => request.target(),
            Masked::Replaced(target) => {
                tools.scratch.clear();
                tools.scratch.extend_from_slice(target);
                &tools.scratch
            }
        };
        let parts = Target::new(method, target);
        room.put(b"\",\"http-scheme\":");
        match (scheme, parts.scheme) {
            (Some(scheme), _) => {
                room.put(b"\"");
                room.put_slice(scheme.name().as_bytes());
                room.put(b"\"");
            }
            // Schemes are compared without case (RFC 9110, section 4.2.3); `Target` let only ASCII through.
            (None, Some(scheme)) => room.with_vec(|out| {
                out.push(b'"');
                out.extend(scheme.iter().map(u8::to_ascii_lowercase));
                out.push(b'"');
            }),
            (None, None) => room.put_slice(&self.scheme),
        }
        room.put(b",\"http-version\":");
        put_version(request.version(), room);
        room.put(b",\"http-method\":");
        put_lossy(tools.masking.start_line(request.kind(), method).or(method), head, room);
        room.put(b",\"uri-query-fragment\":");
        match (parts.scheme, parts.path) {
            (Some(_), Some(path)) => room.with_vec(|out| {
                out.push(b'"');
                append_lossy_inside(path, out);
                if let Some(query) = parts.query {
                    out.push(b'?');
                    append_lossy_inside(query, out);
                }
                out.push(b'"');
            }),
            // Path and query, `*`, or the authority that CONNECT asks for: as sent.
            _ => _ = put_lossy(target, head, room),
        }
        room.put(b",\"host\":");
        let field = match parts.host {
            Some(_) => None,
            None => request.header("host").map(|host| tools.masking.header(request.kind(), b"Host", host).or(host)),
        };
        match tools.names.host(parts.host, field) {
            Some(authority) => _ = put_lossy(authority.host, head, room),
            None => room.put(b"\"\""),
        }
        tools.names.note_path(parts.path);
        let (client, server) = (meta.endpoint(exchange.client), meta.endpoint(exchange.client.opposite()));
        room.put(b",\"connection\":{\"connection-ip\":\"");
        put_ip(client.ip, room);
        room.put(b"\",\"connection-port\":");
        put_number(client.port.into(), room);
        room.put(b",\"server-ip\":\"");
        put_ip(server.ip, room);
        room.put(b"\",\"server-port\":");
        put_number(server.port.into(), room);
        if let Some(index) = exchange.index {
            room.put(b",\"transaction-depth\":");
            put_number(index.min(MAX_DEPTH).into(), room);
        }
        room.put(b"}");
        self.put_message(tools, request, room)
    }

    /// What requests and responses have in common, behind something: body and fields, and the end of the object.
    #[inline(always)]
    fn put_message<M: Masking>(&self, tools: &mut Tools<M>, message: &Message, room: &mut Room<'_>) -> Told {
        let mut told = Told::default();
        let mut is_truncated = false;
        room.put(b",\"body\":{\"length\":");
        put_number(message.body().bytes, room);
        room.put(b",\"data\":");
        let left = tools.bodies.left() / 4 * 3;
        let before = room.len();
        match tools.bodies.content(message, &mut tools.masking) {
            Some(content) => {
                let content = content.cut(self.body_limit).cut_for_memory(left);
                room.with_vec(|out| append_base64(content.bytes, out));
                is_truncated = content.is_truncated;
                told = Told { flags: content.flags, is_decoded: content.is_decoded, is_withheld: false };
            }
            None => room.put(b"\"\""),
        }
        tools.bodies.spend(room.len() - before);
        room.put(b"},\"headers\":[");
        let start = room.len();
        if is_truncated {
            room.put_slice(truncated(self.header_values));
            room.put(b",");
        }
        let (kind, head) = (message.kind(), message.head());
        for Header { name, value } in message.headers() {
            if told.is_decoded && is_content_encoding(name) {
                continue;
            }
            if is_truncation(name) {
                told.is_withheld = true;
                continue;
            }
            self.put_field(name, tools.masking.field(kind, name, value).or(value), head, room);
        }
        end_list(start, room);
        room.put(b"}");
        told
    }

    /// A field as the API has it, and a comma.
    #[inline(always)]
    fn put_field(&self, name: &[u8], value: &[u8], head: &[u8], room: &mut Room<'_>) {
        put_lossy(name, head, room);
        // The name's closing quotation mark.
        room.take_back_to(room.len() - 1);
        room.put(b":");
        match self.header_values {
            HeaderValues::Base64 => put_base64(value, room),
            HeaderValues::Text => room.with_vec(|out| append_lossy_inside(value, out)),
        }
        room.put(b"\",");
    }

    /// What is known of a message beside what the API has a place for.
    #[inline(always)]
    fn put_provenance<M: Masking>(&self, tools: &mut Tools<M>, message: &Message, told: Told, room: &mut Room<'_>) {
        room.put(b"{\"time\":");
        tools.time.put(message.start().at, room);
        room.put(b",\"end_time\":");
        tools.time.put(message.end_at(), room);
        room.put(b",\"missing\":");
        put_number(message.body().missing, room);
        room.put(b",\"decoded\":");
        put_bool(told.is_decoded, room);
        let (kind, head) = (message.kind(), message.head());
        if told.is_decoded {
            room.put(b",\"content_encoding\":[");
            let start = room.len();
            for Header { name, value } in message.headers().filter(|header| is_content_encoding(header.name)) {
                put_lossy(tools.masking.field(kind, name, value).or(value), head, room);
                room.put(b",");
            }
            end_list(start, room);
        }
        if told.is_withheld {
            room.put(b",\"withheld\":[");
            let start = room.len();
            for Header { name, value } in message.headers().filter(|header| is_truncation(header.name)) {
                self.put_field(name, tools.masking.field(kind, name, value).or(value), head, room);
            }
            end_list(start, room);
        }
        if message.trailers().len() > 0 {
            room.put(b",\"trailers\":[");
            let start = room.len();
            for Header { name, value } in message.trailers() {
                self.put_field(name, tools.masking.field(kind, name, value).or(value), head, room);
            }
            end_list(start, room);
        }
        room.put(b"}");
    }
}

/// Ends a list whose items, from `start` on, are each followed by a comma.
#[inline(always)]
fn end_list(start: usize, room: &mut Room<'_>) {
    if room.len() > start {
        room.take_back_to(room.len() - 1);
    }
    room.put(b"]");
}

fn is_content_encoding(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"content-encoding")
}

/// Whether a field that was captured would be read as the sensor's word on the body. Only the sensor knows: a client that
/// sends it could pass off a cut body as whole, or the other way round.
fn is_truncation(name: &[u8]) -> bool {
    const NAME: &[u8] = b"cq-body-truncated";
    name.len() >= NAME.len() && name.trim_ascii().eq_ignore_ascii_case(NAME)
}

/// Seconds since the Unix epoch with milliseconds, as a string.
#[inline(always)]
fn put_seconds(nanos: u64, room: &mut Room<'_>) {
    room.put(b"\"");
    put_number(nanos / 1_000_000_000, room);
    room.put(b".");
    put_three_digits((nanos / 1_000_000 % 1_000) as u32, room);
    room.put(b"\"");
}

/// Appends `filter_info` as a member, with a comma before it.
fn append_filter_info(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"filter_info\":{\"filter_name\":");
    append_str(name, out);
    out.push(b'}');
}

/// The rest of `sdp_info`, from the value of `skipped` on.
fn append_findings(masking: &impl Masking, out: &mut Vec<u8>) {
    let Findings { skipped, found, transformed } = masking.findings();
    let mut room = Room::at_end_of(out);
    put_bool(skipped, &mut room);
    room.put(b",\"found\":");
    put_number(found, &mut room);
    room.put(b",\"transformed\":");
    put_number(transformed, &mut room);
    room.put(b",\"locations\":[");
    let start = room.len();
    room.with_vec(|out| _ = masking.append_list(out));
    end_list(start, &mut room);
    room.put(b"}");
}
