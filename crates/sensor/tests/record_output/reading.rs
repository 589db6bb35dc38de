//! What `serde_json` reads from a record is what went into it, for any bytes in any place.
//!
//! The expected value is made from the same parts by other means: `json!`, strings of Latin-1 letters for the target, a
//! calendar counted year by year.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use decap::{Domain, Endpoint, MAX_HOPS, MAX_VLANS, TunnelHop, TunnelId, TunnelKind, TunnelPath};
use http_parse::testing::Parts;
use http_parse::{Flag, Flags, MessageKind, Position, Version};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use sensor::normalize;
use serde_json::{Value, json};

use super::support::{Sample, flags, shapes};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_exchange_is_read_as_it_was(sample in sample()) {
        check(&sample);
    }
}

#[test]
fn every_shape_is_read_as_it_was() {
    // What content decoding does is another test's matter.
    shapes().iter().filter(|(name, _)| *name != "coded_body").for_each(|(_, sample)| check(sample));
}

/// One writer, one buffer, many records: none is changed by those before it.
#[test]
fn records_follow_one_another() {
    let options = sensor::record::RecordOptions {
        sensor: "edge-1".to_owned(),
        decode_limit: 1 << 20,
        content_limit: usize::MAX,
        shape: sensor::record::Shape::Native,
    };
    let mut writer = sensor::record::RecordWriter::new(options);
    let (mut together, mut apart) = (Vec::new(), Vec::new());
    for (_, mut sample) in shapes() {
        sample.sensor = "edge-1".to_owned();
        sample.write_with(&mut writer, &mut together);
        apart.extend_from_slice(&sample.write().0);
    }
    assert_eq!(together, apart);
    assert_eq!(together.split_inclusive(|byte| *byte == b'\n').count(), shapes().len());
}

fn check(sample: &Sample) {
    let (line, ..) = sample.write();
    let (end, line) = line.split_last().expect("a line");
    assert_eq!(*end, b'\n');
    assert!(line.iter().all(|byte| *byte >= b' '), "no control character, so no line feed, stands in a record");
    let mut record: Value = serde_json::from_slice(line).expect("a record is JSON");
    // The ids have tests of their own.
    let id = record["id"].take();
    assert_eq!(id.as_str().map(str::len), Some(32));
    let connection = record["connection"]["id"].take();
    assert_eq!(connection.as_str().map(str::len), Some(16));
    assert_eq!(record, expected(sample));
}

fn expected(sample: &Sample) -> Value {
    let first = sample.request.as_ref().or(sample.response.as_ref()).expect("a message");
    let outcome = match (&sample.request, &sample.response) {
        (Some(_), Some(_)) => "paired",
        (Some(_), None) => "unanswered",
        _ => "orphan",
    };
    json!({
        "id": null,
        "time": time(first.start.at),
        "sensor": sample.sensor,
        "client": {"ip": sample.client.ip.to_string(), "port": sample.client.port, "source": "connection"},
        "server": {"ip": sample.server.ip.to_string(), "port": sample.server.port},
        "tunnels": sample.path.hops.iter().map(tunnel).collect::<Vec<_>>(),
        "vlans": sample.path.vlans.to_vec(),
        "connection": {
            "id": null,
            "transaction": sample.index,
            "start": if sample.handshake { "handshake" } else { "mid_stream" },
        },
        "outcome": outcome,
        "request": sample.request.as_ref().map(request),
        "response": sample.response.as_ref().map(response),
        "flags": Flag::ALL.iter().filter(|flag| sample.flags.contains(**flag)).map(|flag| flag.name()).collect::<Vec<_>>(),
    })
}

pub(crate) fn tunnel(hop: &TunnelHop) -> Value {
    let ip = |ip: core::net::IpAddr| if ip.is_unspecified() { Value::Null } else { ip.to_string().into() };
    let mut tunnel = json!({"kind": hop.kind.name(), "source": ip(hop.source), "destination": ip(hop.destination)});
    match hop.id {
        TunnelId::None => {}
        TunnelId::Vni(number) => tunnel["vni"] = number.into(),
        TunnelId::Key(number) => tunnel["key"] = number.into(),
        TunnelId::Session(number) => tunnel["session"] = number.into(),
        TunnelId::Teid(number) => tunnel["teid"] = number.into(),
    }
    tunnel
}

pub(crate) fn request(parts: &Parts) -> Value {
    let target = latin1(&parts.target);
    let lossy = |letters: &str| String::from_utf8_lossy(&from_latin1(letters)).into_owned();
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.chars().all(|letter| letter.is_ascii_alphanumeric() || "+-.".contains(letter))
    };
    let (mut scheme, mut authority, mut local) = ("http".to_owned(), None, Some(target.clone()));
    match target.split_once("://") {
        Some((before, behind)) if is_scheme(before) => {
            scheme = before.to_lowercase();
            let end = behind.find(['/', '?', '#']).unwrap_or(behind.len());
            authority = behind[..end].rsplit('@').next().filter(|host| !host.is_empty()).map(str::to_owned);
            local = Some(behind[end..].to_owned());
            if behind.len() == end || behind[end..].starts_with('?') {
                local = Some(format!("/{}", &behind[end..]));
            }
        }
        _ if parts.method_or_reason == b"CONNECT" && !target.starts_with('/') => local = None,
        _ => {}
    }
    let host_field = parts.headers.iter().find(|(name, _)| latin1(name).eq_ignore_ascii_case("host"));
    // How names are made of what was sent is tested beside where that is done.
    let (host_bytes, field) = (authority.as_deref().map(from_latin1), host_field.map(|(_, value)| value.as_slice()));
    let mut scratch = Vec::new();
    let host = normalize::host(host_bytes.as_deref(), None, field.filter(|_| authority.is_none()), &mut scratch);
    let path_bytes = local.as_deref().map(|local| from_latin1(local.split('?').next().unwrap_or_default()));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let path = path_bytes.as_deref().map(text);
    let query = local.as_deref().and_then(|local| local.split_once('?')).map(|(_, query)| lossy(query));
    let mut value = json!({
        "method": String::from_utf8_lossy(&parts.method_or_reason),
        "scheme": scheme,
        "host": host.map(|host| text(host.host)),
        "target": String::from_utf8_lossy(&parts.target),
        "path": path,
        "template": null,
        "query": query,
    });
    if let Some(port) = host.and_then(|host| host.port) {
        value["port"] = port.into();
    }
    if let Some(path) = &path_bytes {
        let (mut scratch, mut template) = (Vec::new(), Vec::new());
        let normalized = normalize::normalize_path(path, &mut scratch);
        if normalized != path {
            value["normalized_path"] = text(normalized).into();
        }
        value["template"] = text(normalize::endpoint_template(normalized, &mut template)).into();
    }
    let line = [
        parts.method_or_reason.as_slice(),
        b" ",
        &parts.target,
        format!(" HTTP/{}.{}", parts.version.major, parts.version.minor).as_bytes(),
    ]
    .concat();
    let is_odd = parts.flags.contains(Flag::InvalidStartLine);
    if is_odd || core::str::from_utf8(&parts.method_or_reason).is_err() || core::str::from_utf8(&parts.target).is_err()
    {
        value["start_line_base64"] = STANDARD.encode(latin1_trim_start(&line)).into();
    }
    complete(value, parts)
}

fn response(parts: &Parts) -> Value {
    let mut value = json!({
        "status": parts.status,
        "reason": String::from_utf8_lossy(&parts.method_or_reason),
    });
    if parts.flags.contains(Flag::InvalidStartLine) || core::str::from_utf8(&parts.method_or_reason).is_err() {
        let line = format!("HTTP/{}.{} {:03} ", parts.version.major, parts.version.minor, parts.status);
        value["start_line_base64"] = STANDARD.encode([line.as_bytes(), &parts.method_or_reason].concat()).into();
    }
    complete(value, parts)
}

/// Adds what requests and responses have in common.
fn complete(mut value: Value, parts: &Parts) -> Value {
    let bytes = |bytes: &[u8]| match core::str::from_utf8(bytes) {
        Ok(text) => Value::from(text),
        Err(_) => json!({"base64": STANDARD.encode(bytes)}),
    };
    let fields = |fields: &[(Vec<u8>, Vec<u8>)]| -> Value {
        fields.iter().map(|(name, value)| json!([bytes(name), bytes(value)])).collect()
    };
    value["time"] = time(parts.start.at).into();
    value["end_time"] = time(parts.end_at).into();
    value["version"] = format!("{}.{}", parts.version.major, parts.version.minor).into();
    value["headers"] = fields(&parts.headers);
    value["trailers"] = fields(&parts.trailers);
    value["body"] = body(parts);
    value
}

fn body(parts: &Parts) -> Value {
    if parts.body_bytes == 0 && parts.body_missing == 0 {
        return Value::Null;
    }
    let truncated = parts.body.len() as u64 != parts.body_bytes || parts.body_missing > 0;
    let cuts = if truncated { 0..4.min(parts.body.len()) } else { 0..parts.body.len().min(1) };
    let text = cuts
        .map(|cut| parts.body.split_at(parts.body.len() - cut))
        .filter(|(_, rest)| rest.is_empty() || begins_a_character(rest))
        .find_map(|(whole, _)| core::str::from_utf8(whole).ok());
    let (captured, encoding, content) = match text {
        _ if parts.body.is_empty() => (0, "utf8", if truncated { Value::Null } else { "".into() }),
        Some(text) => (text.len(), "utf8", text.into()),
        None => (parts.body.len(), "base64", STANDARD.encode(&parts.body).into()),
    };
    json!({
        "bytes": parts.body_bytes,
        "decoded_bytes": null,
        "captured": captured,
        "truncated": truncated,
        "missing": parts.body_missing,
        "decoded": false,
        "encoding": encoding,
        "content": content,
    })
}

/// Whether some bytes behind `rest` would make it one character.
fn begins_a_character(rest: &[u8]) -> bool {
    const NEXT: [u8; 4] = [0x80, 0x8f, 0x9f, 0xbf];
    let mut candidates = vec![rest.to_vec()];
    for _ in rest.len()..4 {
        candidates = candidates
            .iter()
            .flat_map(|bytes| NEXT.iter().map(move |next| [bytes.as_slice(), &[*next]].concat()))
            .collect();
        if candidates.iter().any(|bytes| core::str::from_utf8(bytes).is_ok_and(|text| text.chars().count() == 1)) {
            return true;
        }
    }
    false
}

/// Each byte as the letter of its number.
fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// Without the white space before a start line.
fn latin1_trim_start(line: &[u8]) -> Vec<u8> {
    from_latin1(latin1(line).trim_start_matches([' ', '\t']))
}

fn from_latin1(letters: &str) -> Vec<u8> {
    letters.chars().map(|letter| u8::try_from(u32::from(letter)).expect("a Latin-1 letter")).collect()
}

pub(crate) fn time(nanos: u64) -> String {
    let (mut days, rest) = (nanos / 86_400_000_000_000, nanos % 86_400_000_000_000);
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let seconds = rest / 1_000_000_000;
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{:09}Z", days + 1, rest % 1_000_000_000)
}

/// Bytes that strain a writer of JSON: short and long, clean and dirty, text and not.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => vec(0x20..0x7f_u8, 0..40),
        2 => vec(any::<u8>(), 0..40),
        2 => vec(select(b"\"\\\r\n\t\0\x08\x0c\x1f\x7f ax/".as_slice()), 0..200),
        2 => any::<String>().prop_map(String::into_bytes),
        1 => vec(select(b"a\"\xc3\xa9\xe2\x82\xac\xf0\x9f".as_slice()), 0..24),
        1 => vec(any::<u8>(), 60..300),
    ]
}

/// Bytes of a start line, which holds no line end.
fn line_bytes() -> impl Strategy<Value = Vec<u8>> {
    bytes().prop_map(|mut bytes| {
        bytes.retain(|byte| !matches!(byte, b'\r' | b'\n'));
        bytes
    })
}

fn target() -> impl Strategy<Value = Vec<u8>> {
    let pieces =
        vec(select(vec!["http", "HTTPS", "://", ":", "/", "?", "#", "@", "a.b:80", "x", "é", "1", "+", "*"]), 0..9);
    prop_oneof![
        pieces.prop_map(|pieces| pieces.concat().into_bytes()),
        line_bytes().prop_map(|rest| [b"/".as_slice(), &rest].concat()),
        line_bytes(),
    ]
}

fn fields() -> impl Strategy<Value = Vec<(Vec<u8>, Vec<u8>)>> {
    let name =
        prop_oneof![bytes(), select(vec!["Host", "hOST", "Accept", "X-A"]).prop_map(|name| name.as_bytes().to_vec())];
    vec((name, bytes()), 0..6)
}

prop_compose! {
    fn message(kind: MessageKind)(
        at in any::<u64>(),
        end_at in any::<u64>(),
        offset in 0..u64::MAX / 2,
        method_or_reason in prop_oneof![line_bytes(), select(vec![b"GET".to_vec(), b"CONNECT".to_vec()])],
        target in target(),
        version in select(vec![(1, 1), (1, 0), (0, 9), (255, 10)]),
        status in 0..1000_u16,
        headers in fields(),
        trailers in fields(),
        body in prop_oneof![Just(Vec::new()), bytes(), vec(any::<u8>(), 0..4000)],
        lost in prop_oneof![Just((0, 0)), (0..5_u64, 0..5_u64), (any::<u32>(), any::<u32>()).prop_map(|(a, b)| (a.into(), b.into()))],
    ) -> Parts {
        let is_request = kind == MessageKind::Request;
        Parts {
            kind,
            start: Position { at, offset, acked: None },
            end_at,
            complete: true,
            method_or_reason,
            target: if is_request { target } else { Vec::new() },
            version: Version { major: version.0, minor: version.1 },
            status: if is_request { 0 } else { status },
            headers,
            trailers,
            body_bytes: body.len() as u64 + lost.0,
            body,
            body_missing: lost.1,
            flags: Flags::NONE,
        }
    }
}

fn path() -> impl Strategy<Value = TunnelPath> {
    let ip = prop_oneof![any::<core::net::IpAddr>(), Just("0.0.0.0".parse().expect("an address"))];
    let id = prop_oneof![
        Just(TunnelId::None),
        (0..1_u32 << 24).prop_map(TunnelId::Vni),
        any::<u32>().prop_map(TunnelId::Key),
        (0..1024_u16).prop_map(TunnelId::Session),
        any::<u32>().prop_map(TunnelId::Teid),
    ];
    let hop = (select(TunnelKind::ALL), ip.clone(), ip, id).prop_map(|(kind, source, destination, id)| TunnelHop {
        kind,
        source,
        destination,
        id,
    });
    (vec(hop, 0..=MAX_HOPS), vec(1..4096_u16, 0..=MAX_VLANS)).prop_map(|(hops, vlans)| {
        let mut path = TunnelPath::default();
        path.hops.extend(hops);
        path.vlans.extend(vlans);
        path
    })
}

fn ends() -> impl Strategy<Value = (Endpoint, Endpoint)> {
    let ips = prop_oneof![
        (any::<core::net::Ipv4Addr>(), any::<core::net::Ipv4Addr>()).prop_map(|(a, b)| (a.into(), b.into())),
        (any::<core::net::Ipv6Addr>(), any::<core::net::Ipv6Addr>()).prop_map(|(a, b)| (a.into(), b.into())),
    ];
    (ips, any::<u16>(), any::<u16>()).prop_map(|((client, server), client_port, server_port)| {
        (Endpoint { ip: client, port: client_port }, Endpoint { ip: server, port: server_port })
    })
}

prop_compose! {
    /// Any exchange.
    pub(crate) fn sample()(
        ends in ends(),
        domain in any::<u64>(),
        opened_at in any::<u64>(),
        handshake in any::<bool>(),
        path in path(),
        index in 1..=u32::MAX,
        messages in (message(MessageKind::Request), message(MessageKind::Response)),
        outcome in 0..3,
        set in vec(select(Flag::ALL), 0..5),
        sensor in any::<String>(),
    ) -> Sample {
        Sample {
            client: ends.0,
            server: ends.1,
            domain: Domain::GLOBAL.nested(domain),
            opened_at,
            handshake,
            path,
            index: (outcome != 2).then_some(index),
            request: (outcome != 2).then_some(messages.0),
            response: (outcome != 1).then_some(messages.1),
            flags: flags(&set),
            sensor,
        }
    }
}
