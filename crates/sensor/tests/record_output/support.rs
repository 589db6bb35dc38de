//! Exchanges made from parts, and their records.

use std::sync::Arc;

use decap::{Direction, Domain, Endpoint, FlowKey, Timestamp, TunnelHop, TunnelId, TunnelKind, TunnelPath};
use http_parse::testing::Parts;
use http_parse::{Exchange, Flag, Flags, MessageKind, Position, Side, Version};
use reassembly::FlowInfo;
use sensor::record::{ConnectionMeta, Masking, RecordOptions, RecordWriter, Shape, TransactionId, Written};

/// 2026-11-20T22:13:17Z, from `date -u`.
pub(crate) const SECOND: u64 = 1_795_212_797_000_000_000;

/// An exchange and the connection it came from, in parts that a test can change.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) client: Endpoint,
    pub(crate) server: Endpoint,
    pub(crate) domain: Domain,
    pub(crate) opened_at: u64,
    pub(crate) handshake: bool,
    pub(crate) path: TunnelPath,
    pub(crate) index: Option<u32>,
    pub(crate) request: Option<Parts>,
    pub(crate) response: Option<Parts>,
    pub(crate) flags: Flags,
    pub(crate) sensor: String,
}

impl Sample {
    /// A pair: GET and 200, with bodies of no bytes.
    pub(crate) fn pair() -> Self {
        Self {
            client: endpoint("192.0.2.7", 51_234),
            server: endpoint("198.51.100.20", 8080),
            domain: Domain::GLOBAL,
            opened_at: SECOND,
            handshake: true,
            path: TunnelPath::default(),
            index: Some(1),
            request: Some(request("GET", "/v1/orders/17?expand=items", &[("Host", "api.example"), ("Accept", "*/*")])),
            response: Some(response(200, "OK", &[("Content-Type", "application/json"), ("Content-Length", "0")])),
            flags: Flags::NONE,
            sensor: "edge-1".to_owned(),
        }
    }

    /// The response alone.
    pub(crate) fn orphan() -> Self {
        Self { request: None, index: None, handshake: false, ..Self::pair() }
    }

    /// The request alone.
    pub(crate) fn unanswered() -> Self {
        Self { response: None, ..Self::pair() }
    }

    /// The flow's name, and the client's side of it.
    pub(crate) fn key(&self) -> (FlowKey, Side) {
        let (key, direction) = FlowKey::new(self.client, self.server, self.domain);
        (key, if direction == Direction::Forward { Side::Left } else { Side::Right })
    }

    pub(crate) fn meta(&self) -> ConnectionMeta {
        let (key, direction) = FlowKey::new(self.client, self.server, self.domain);
        let info = FlowInfo {
            key: &key,
            at: Timestamp::from_nanos(self.opened_at),
            initiator: self.handshake.then_some(direction),
            path: &self.path,
        };
        let is_empty = self.path.hops.is_empty() && self.path.vlans.is_empty();
        ConnectionMeta::new(&info, (!is_empty).then(|| Arc::new(self.path.clone())))
    }

    /// The record's line, its line feed included, and what the writer said of it.
    pub(crate) fn write(&self) -> (Vec<u8>, TransactionId, Written) {
        let mut out = Vec::new();
        let (id, written) = self.write_with(&mut RecordWriter::new(self.options(Shape::Native)), &mut out);
        (out, id, written)
    }

    pub(crate) fn write_with<M: Masking>(
        &self,
        writer: &mut RecordWriter<M>,
        out: &mut Vec<u8>,
    ) -> (TransactionId, Written) {
        self.exchange(|meta, exchange| writer.write(meta, exchange, out))
    }

    /// Gives the exchange, and what is known of its connection, to `see`.
    pub(crate) fn exchange<T>(&self, see: impl FnOnce(&ConnectionMeta, &Exchange<'_>) -> T) -> T {
        let (request, response) = (self.request.as_ref().map(Parts::build), self.response.as_ref().map(Parts::build));
        let exchange = Exchange {
            request: request.as_ref(),
            response: response.as_ref(),
            client: self.key().1,
            index: self.index,
            flags: self.flags,
        };
        see(&self.meta(), &exchange)
    }

    /// The options of a writer of this sample.
    pub(crate) fn options(&self, shape: Shape) -> RecordOptions {
        RecordOptions { sensor: self.sensor.clone(), decode_limit: 1 << 20, content_limit: usize::MAX, shape }
    }

    /// The record as `serde_json` reads it.
    pub(crate) fn record(&self) -> serde_json::Value {
        serde_json::from_slice(&self.write().0).expect("a record is JSON")
    }
}

pub(crate) fn endpoint(ip: &str, port: u16) -> Endpoint {
    Endpoint { ip: ip.parse().expect("an address"), port }
}

pub(crate) fn hop(kind: TunnelKind, source: &str, destination: &str, id: TunnelId) -> TunnelHop {
    let ip = |text: &str| text.parse().expect("an address");
    TunnelHop { kind, source: ip(source), destination: ip(destination), id }
}

pub(crate) fn request(method: &str, target: &str, headers: &[(&str, &str)]) -> Parts {
    Parts {
        kind: MessageKind::Request,
        start: Position { at: SECOND + 123_456_789, offset: (3 << 32) + 1_000, acked: None },
        end_at: SECOND + 123_500_000,
        complete: true,
        method_or_reason: method.into(),
        target: target.into(),
        version: Version { major: 1, minor: 1 },
        headers: fields(headers),
        ..Parts::default()
    }
}

pub(crate) fn response(status: u16, reason: &str, headers: &[(&str, &str)]) -> Parts {
    Parts {
        kind: MessageKind::Response,
        start: Position { at: SECOND + 999_999_999, offset: 77, acked: None },
        end_at: SECOND + 1_000_000_000,
        complete: true,
        method_or_reason: reason.into(),
        version: Version { major: 1, minor: 1 },
        status,
        headers: fields(headers),
        ..Parts::default()
    }
}

pub(crate) fn with_body(mut parts: Parts, body: &[u8]) -> Parts {
    parts.body = body.to_vec();
    parts.body_bytes = body.len() as u64;
    parts
}

fn fields(fields: &[(&str, &str)]) -> Vec<(Vec<u8>, Vec<u8>)> {
    fields.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

pub(crate) fn flags(flags: &[Flag]) -> Flags {
    let mut set = Flags::NONE;
    flags.iter().for_each(|flag| set.insert(*flag));
    set
}

/// Every shape that a record can have, named.
pub(crate) fn shapes() -> Vec<(&'static str, Sample)> {
    let mut posted = Sample::pair();
    posted.request = Some(with_body(
        request("POST", "/v1/orders", &[("Host", "api.example:8080"), ("Content-Type", "application/json")]),
        br#"{"item":"caf\u00e9","note":"line\none"}"#,
    ));
    let mut answer = with_body(
        response(201, "Created", &[("Transfer-Encoding", "chunked"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]),
        "{\"id\":17,\"text\":\"äöü €\"}\r\n".as_bytes(),
    );
    answer.trailers = vec![(b"X-Checksum".to_vec(), b"abc".to_vec())];
    posted.response = Some(answer);
    posted.index = Some(12);

    let mut tunnelled = Sample::pair();
    tunnelled.client = endpoint("2001:db8::1", 40_000);
    tunnelled.server = endpoint("::ffff:198.51.100.20", 80);
    for hop in [
        hop(TunnelKind::Geneve, "203.0.113.1", "203.0.113.2", TunnelId::Vni(4711)),
        hop(TunnelKind::Vxlan, "2001:db8:1::1", "2001:db8:1::2", TunnelId::Vni(0xff_ffff)),
        hop(TunnelKind::Gre, "10.9.0.1", "10.9.0.2", TunnelId::Key(u32::MAX)),
        hop(TunnelKind::Erspan2, "10.9.0.1", "10.9.0.2", TunnelId::Session(1023)),
        hop(TunnelKind::GtpU, "10.9.0.1", "10.9.0.2", TunnelId::Teid(7)),
        hop(TunnelKind::Ip4InIp6, "2001:db8::8", "2001:db8::9", TunnelId::None),
        hop(TunnelKind::MplsPseudowire, "0.0.0.0", "0.0.0.0", TunnelId::None),
    ] {
        tunnelled.path.hops.push(hop);
    }
    tunnelled.path.vlans.push(100);
    tunnelled.path.vlans.push(4094);
    tunnelled.handshake = false;

    let mut odd = Sample::pair();
    let mut bytes = request("GET", "http://user:secret@proxy.example:81?q=1", &[("X-Plain", "a\"b\\c\r\n folded")]);
    bytes.method_or_reason = b"G\xffT".to_vec();
    bytes.version = Version { major: 1, minor: 0 };
    bytes.headers.push((b"X-Latin".to_vec(), b"caf\xe9".to_vec()));
    bytes.headers.push((b"\xfe\x00".to_vec(), b"\x7f\x01".to_vec()));
    bytes.headers.push((Vec::new(), Vec::new()));
    odd.request = Some(bytes);
    let mut binary =
        with_body(response(404, "Not\u{a0}Found", &[("content-type", "image/png")]), b"\x89PNG\r\n\x1a\n\0");
    binary.method_or_reason.push(0xe9);
    odd.response = Some(binary);
    odd.flags = flags(&[Flag::ObsFold, Flag::InvalidHeaderName, Flag::InvalidStartLine]);
    odd.sensor = "sensor \"é\"".to_owned();

    let mut coded = Sample::pair();
    // `printf hello | gzip -n9`
    const HELLO: &[u8] = b"\x1f\x8b\x08\0\0\0\0\0\x02\x03\xcb\x48\xcd\xc9\xc9\x07\0\x86\xa6\x10\x36\x05\0\0\0";
    coded.response = Some(with_body(response(200, "OK", &[("Content-Encoding", "gzip")]), HELLO));

    let mut cut = Sample::pair();
    let mut lossy = with_body(response(200, "", &[("Content-Type", "text/plain")]), "so far: €".as_bytes());
    lossy.body.pop();
    lossy.body_bytes = 1_000_000;
    lossy.body_missing = 4_380;
    cut.response = Some(lossy);
    let mut uncaptured = request("PUT", "/upload", &[("Host", "")]);
    uncaptured.body_bytes = u64::MAX;
    cut.request = Some(uncaptured);
    cut.flags = flags(&[Flag::MissingBytes, Flag::BodyNotCaptured]);

    let mut connect = Sample::unanswered();
    connect.request = Some(request("CONNECT", "db.example:5432", &[]));
    let mut asterisk = Sample::unanswered();
    asterisk.request = Some(request("OPTIONS", "*", &[("Host", "a.example")]));

    let mut flagged = Sample::orphan();
    flagged.flags = flags(Flag::ALL);

    vec![
        ("pair", Sample::pair()),
        ("bodies_and_trailers", posted),
        ("tunnels", tunnelled),
        ("bytes_that_are_not_utf8", odd),
        ("coded_body", coded),
        ("cut_bodies", cut),
        ("unanswered", Sample::unanswered()),
        ("connect", connect),
        ("asterisk", asterisk),
        ("orphan", Sample::orphan()),
        ("every_flag", flagged),
    ]
}
