//! The sensor's own record (docs/output-format.md), one a line.

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use crate::record::{Address, BadRecord, Id, Record, Shape, from_text, read, rfc3339};

/// Reads NDJSON: a record a line, with or without a line feed behind the last. Empty lines are passed over.
pub(crate) fn lines(text: &str) -> Result<Vec<Record<'_>>, BadRecord> {
    let mut records = Vec::new();
    for line in text.split('\n') {
        let line = line.strip_suffix('\r').unwrap_or(line);
        if !line.is_empty() {
            records.push(record(line).map_err(|bad| bad.at(records.len()))?);
        }
    }
    Ok(records)
}

fn record(text: &str) -> Result<Record<'_>, BadRecord> {
    let native: Native = read(text)?;
    let there = (native.request.is_some(), native.response.is_some());
    if there != native.outcome.parts() {
        let message = "`outcome` does not agree with which of request and response are there";
        return Err(BadRecord::new("invalid_field", message).in_field("outcome"));
    }
    let (method, host, path) = match native.request {
        Some(request) => {
            let path = request.path.unwrap_or(request.target);
            (Some(request.method), request.host, Some(path))
        }
        None => (None, None, None),
    };
    Ok(Record {
        id: native.id.0,
        shape: Shape::Native,
        time: native.time.0,
        client: native.client.to_string(),
        server: native.server.to_string(),
        method,
        host,
        path,
        status: native.response.map(|response| response.status),
        text,
    })
}

#[derive(Deserialize)]
#[serde(expecting = "a record object")]
struct Native {
    id: Id,
    time: Time,
    #[serde(rename = "sensor")]
    _sensor: String,
    client: Client,
    server: Endpoint,
    #[serde(rename = "connection")]
    _connection: IgnoredAny,
    outcome: Outcome,
    #[serde(deserialize_with = "present")]
    request: Option<Request>,
    #[serde(deserialize_with = "present")]
    response: Option<Response>,
    #[serde(rename = "flags")]
    _flags: Vec<String>,
}

#[derive(Deserialize)]
#[serde(expecting = "an endpoint object")]
struct Endpoint {
    ip: Address,
    port: u16,
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::net::SocketAddr::new(self.ip.0, self.port).fmt(f)
    }
}

/// Of a client that a proxy names, the port may be nobody's knowledge.
#[derive(Deserialize)]
#[serde(expecting = "a client object")]
struct Client {
    ip: Address,
    #[serde(deserialize_with = "present")]
    port: Option<u16>,
}

impl std::fmt::Display for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.port {
            Some(port) => std::net::SocketAddr::new(self.ip.0, port).fmt(f),
            None => self.ip.0.fmt(f),
        }
    }
}

#[derive(Deserialize)]
#[serde(expecting = "a request object or null")]
struct Request {
    method: String,
    target: String,
    #[serde(deserialize_with = "present")]
    host: Option<String>,
    #[serde(deserialize_with = "present")]
    path: Option<String>,
    #[serde(rename = "headers")]
    _headers: Vec<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(expecting = "a response object or null")]
struct Response {
    status: u16,
    #[serde(rename = "headers")]
    _headers: Vec<IgnoredAny>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Paired,
    Unanswered,
    Orphan,
}

impl Outcome {
    /// Whether there is a request, and a response.
    fn parts(self) -> (bool, bool) {
        match self {
            Self::Paired => (true, true),
            Self::Unanswered => (true, false),
            Self::Orphan => (false, true),
        }
    }
}

struct Time(i64);
from_text!(Time, "a time in RFC 3339", |text| rfc3339(text).map(Time));

/// May be null, but must be there.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = r#"{"id":"ff923a6d4a04bf9c3176af535d653ee5","time":"2026-11-20T22:13:17.123456789Z","sensor":"s","client":{"ip":"192.0.2.7","port":1},"server":{"ip":"198.51.100.20","port":80},"tunnels":[],"vlans":[],"connection":{},"outcome":"paired","request":{"method":"GET","host":null,"target":"/a?b","path":"/a","headers":[]},"response":{"status":201,"headers":[]},"flags":[]}"#;

    #[test]
    fn reads_lines() {
        let orphan = RECORD
            .replace("paired", "orphan")
            .replace(r#"{"method":"GET","host":null,"target":"/a?b","path":"/a","headers":[]}"#, "null");
        let text = format!("{RECORD}\n\n{orphan}\r\n");
        let records = lines(&text).unwrap();
        assert_eq!(records.len(), 2);
        assert_eq!((records[0].path.as_deref(), records[0].status), (Some("/a"), Some(201)));
        assert_eq!((records[1].method.as_deref(), records[1].text), (None, orphan.as_str()));
        assert_eq!(records[0].time % 1_000_000_000, 123_456_789);
        assert_eq!(lines("").unwrap().len(), 0);
    }

    #[test]
    fn names_line_and_field() {
        for (from, to, error, field) in [
            (r#""request":{"#, r#""requests":{"#, "missing_field", Some("request")),
            (r#""host":null,"#, "", "missing_field", Some("request.host")),
            (r#""status":201"#, r#""status":99999"#, "invalid_field", Some("response.status")),
            (r#""outcome":"paired""#, r#""outcome":"orphan""#, "invalid_field", Some("outcome")),
            (r#""outcome":"paired""#, r#""outcome":"odd""#, "invalid_field", Some("outcome")),
            ("2026-11-20T", "2026-11-20 at ", "invalid_field", Some("time")),
            (r#"{"id""#, r#"{id"#, "bad_json", None),
        ] {
            let text = format!("{RECORD}\n{}", RECORD.replacen(from, to, 1));
            let bad = lines(&text).unwrap_err();
            assert_eq!((bad.error, bad.index, bad.field.as_deref()), (error, Some(1), field), "{bad:?}");
        }
    }
}
