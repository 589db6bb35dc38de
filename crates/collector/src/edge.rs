//! The platform's transaction object, and the envelope that several come in.
//!
//! Stricter than the platform is known to be: what the wire contract gives a type is held to it, because the collector is
//! there to find a sender's mistakes. Fields that the contract does not name are let through.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::record::{Address, BadRecord, Id, Record, Shape, from_text, read, unix_seconds};

/// Reads one transaction object.
pub(crate) fn transaction(text: &str) -> Result<Record<'_>, BadRecord> {
    let text = text.trim_matches([' ', '\t', '\r', '\n']);
    let transaction: Transaction = read(text)?;
    let request = transaction.request;
    let connection = request.connection;
    let path = request.target.split(['?', '#']).next().unwrap_or_default().to_owned();
    Ok(Record {
        id: transaction.id.0,
        shape: Shape::Edge,
        time: transaction.timestamp.0,
        client: endpoint(&request.client_ip.unwrap_or(connection.ip), connection.port),
        server: endpoint(&connection.server_ip, connection.server_port),
        method: Some(request.method),
        host: request.host,
        path: Some(path),
        status: transaction.response.and_then(|response| response.status).map(|status| status.0),
        text,
    })
}

/// Reads `{"data": [transaction, …]}`. The first bad transaction ends it: a batch is taken whole or not at all.
pub(crate) fn batch(text: &str) -> Result<Vec<Record<'_>>, BadRecord> {
    let mut records = Vec::new();
    let mut bad = None;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = Envelope { records: &mut records, bad: &mut bad }.deserialize(&mut deserializer);
    match (read.and_then(|()| deserializer.end()), bad) {
        (_, Some(bad)) => Err(bad),
        (Err(error), None) => Err(BadRecord::from_json(&error, None)),
        (Ok(()), None) => Ok(records),
    }
}

struct Envelope<'r, 'a> {
    records: &'r mut Vec<Record<'a>>,
    bad: &'r mut Option<BadRecord>,
}

impl<'a> DeserializeSeed<'a> for Envelope<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for Envelope<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with an array `data`")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut fields: M) -> Result<(), M::Error> {
        let mut seen = false;
        while let Some(data) = fields.next_key_seed(IsData)? {
            if !data {
                fields.next_value::<IgnoredAny>()?;
            } else if std::mem::replace(&mut seen, true) {
                return Err(M::Error::duplicate_field("data"));
            } else {
                fields.next_value_seed(Items { records: &mut *self.records, bad: &mut *self.bad })?;
            }
        }
        if seen { Ok(()) } else { Err(M::Error::missing_field("data")) }
    }
}

/// Whether a field is `data`, without keeping its name.
struct IsData;

impl<'a> DeserializeSeed<'a> for IsData {
    type Value = bool;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for IsData {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<bool, E> {
        Ok(name == "data")
    }
}

struct Items<'r, 'a> {
    records: &'r mut Vec<Record<'a>>,
    bad: &'r mut Option<BadRecord>,
}

impl<'a> DeserializeSeed<'a> for Items<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'a> Visitor<'a> for Items<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`data` to be an array of transactions")
    }

    fn visit_seq<S: SeqAccess<'a>>(self, mut items: S) -> Result<(), S::Error> {
        while let Some(item) = items.next_element::<&'a RawValue>()? {
            match transaction(item.get()) {
                Ok(record) => self.records.push(record),
                Err(bad) => {
                    *self.bad = Some(bad.at(self.records.len()));
                    return Err(S::Error::custom("a transaction is wrong"));
                }
            }
        }
        Ok(())
    }
}

fn endpoint(address: &Address, port: Option<u16>) -> String {
    match port {
        Some(port) => std::net::SocketAddr::new(address.0, port).to_string(),
        None => address.0.to_string(),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", expecting = "a transaction object")]
struct Transaction {
    timestamp: Timestamp,
    #[serde(rename = "transaction-id")]
    id: Id,
    #[serde(rename = "version")]
    _version: Option<String>,
    request: Request,
    response: Option<Response>,
    #[serde(rename = "txn-meta-data")]
    _meta: Option<Meta>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", expecting = "a request object")]
struct Request {
    client_ip: Option<Address>,
    #[serde(rename = "http-scheme")]
    _scheme: Option<String>,
    #[serde(rename = "http-version")]
    _version: Option<String>,
    #[serde(rename = "http-method")]
    method: String,
    #[serde(rename = "uri-query-fragment")]
    target: String,
    host: Option<String>,
    connection: Connection,
    #[serde(rename = "headers")]
    _headers: Option<Vec<Header>>,
    #[serde(rename = "body")]
    _body: Option<Body>,
}

#[derive(Deserialize)]
#[serde(expecting = "a connection object")]
struct Connection {
    #[serde(rename = "connection-ip")]
    ip: Address,
    #[serde(rename = "connection-port")]
    port: Option<u16>,
    #[serde(rename = "server-ip")]
    server_ip: Address,
    #[serde(rename = "server-port")]
    server_port: Option<u16>,
    #[serde(rename = "transaction-depth")]
    _depth: Option<u16>,
}

#[derive(Deserialize)]
#[serde(expecting = "a response object")]
struct Response {
    #[serde(rename = "status-code")]
    status: Option<Status>,
    #[serde(rename = "http-version")]
    _version: Option<String>,
    #[serde(rename = "headers")]
    _headers: Option<Vec<Header>>,
    #[serde(rename = "body")]
    _body: Option<Body>,
}

#[derive(Deserialize)]
#[serde(expecting = "a body object")]
struct Body {
    #[serde(rename = "length")]
    _length: u64,
    #[serde(rename = "data")]
    _data: Option<Base64>,
}

#[derive(Deserialize)]
#[serde(expecting = "a meta data object")]
struct Meta {
    #[serde(rename = "source_info")]
    _source: Option<BTreeMap<String, String>>,
    #[serde(rename = "filter_info")]
    _filter: Option<FilterInfo>,
    #[serde(rename = "sdp_info")]
    _protection: Option<Protection>,
    #[serde(rename = "data_extractions")]
    _extractions: Option<AnyObject>,
}

#[derive(Deserialize)]
struct FilterInfo {
    #[serde(rename = "filter_name")]
    _name: Option<String>,
}

#[derive(Deserialize)]
struct Protection {
    #[serde(rename = "skipped")]
    _skipped: Option<bool>,
    #[serde(rename = "found")]
    _found: Option<u64>,
    #[serde(rename = "transformed")]
    _transformed: Option<u64>,
    #[serde(rename = "locations")]
    _locations: Option<Vec<AnyObject>>,
}

/// An object of whatever fields; none of them is kept.
struct AnyObject;

impl<'de> Deserialize<'de> for AnyObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = AnyObject;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut fields: M) -> Result<AnyObject, M::Error> {
                while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(AnyObject)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

struct Timestamp(i64);
from_text!(Timestamp, "Unix seconds with milliseconds as text, as in \"1690000000.123\"", |text| {
    unix_seconds(text).map(Timestamp)
});

struct Status(u16);
from_text!(Status, "a status of up to three digits as text, as in \"200\"", |text| {
    // Below 100, too: a server may send any, and the record says what was sent.
    let digits = (1..=3).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok().map(Status)).flatten()
});

struct Header;
from_text!(Header, "a header as \"<name>:<value in base64>\"", |text| {
    // Neither alphabet has the other's colon, but a broken name may hold one.
    let (_, value) = text.rsplit_once(':')?;
    is_base64(value).then_some(Header)
});

struct Base64;
from_text!(Base64, "base64 with padding (RFC 4648, section 4)", |text| is_base64(text).then_some(Base64));

fn is_base64(text: &str) -> bool {
    let digits = text.strip_suffix("==").or_else(|| text.strip_suffix('=')).unwrap_or(text);
    text.len().is_multiple_of(4)
        && digits.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = r#"{"timestamp":"1.5","transaction-id":"t1","request":{"http-method":"GET","uri-query-fragment":"/a?b#c",
        "connection":{"connection-ip":"192.0.2.1","server-ip":"2001:db8::1","server-port":80}}}"#;

    #[test]
    fn reads_what_it_finds_records_by() {
        let record = transaction(LEAST).unwrap();
        assert_eq!((record.id.as_str(), record.time, record.text), ("t1", 1_500_000_000, LEAST));
        assert_eq!((record.client.as_str(), record.server.as_str()), ("192.0.2.1", "[2001:db8::1]:80"));
        assert_eq!((record.path.as_deref(), record.status, record.host), (Some("/a"), None, None));
    }

    #[test]
    fn names_the_field_that_is_wrong() {
        let full = r#"{"timestamp":"1.5","version":"1.0","transaction-id":"t1","request":{"client-ip":"192.0.2.9","http-method":"GET",
            "uri-query-fragment":"/","host":"h","connection":{"connection-ip":"192.0.2.1","connection-port":1,"server-ip":"192.0.2.2",
            "transaction-depth":1},"headers":["a:YQ==","b:"],"body":{"length":1,"data":"YQ=="}},"response":{"status-code":"200",
            "headers":[],"body":{"length":0,"data":""}},"txn-meta-data":{"source_info":{"type":"sensor"},"filter_info":{"filter_name":"f"},
            "sdp_info":{"skipped":false,"found":0,"transformed":0,"locations":[{}]},"data_extractions":{"vni":7}}}"#;
        assert_eq!(transaction(full).unwrap().status, Some(200));
        for (from, to, error, field) in [
            (r#""timestamp":"1.5","#, "", "missing_field", "timestamp"),
            (r#""timestamp":"1.5""#, r#""timestamp":1.5"#, "invalid_field", "timestamp"),
            (r#""transaction-id":"t1""#, r#""transaction-id":"""#, "invalid_field", "transaction-id"),
            (r#""http-method":"GET","#, "", "missing_field", "request.http-method"),
            (
                r#""connection-ip":"192.0.2.1""#,
                r#""connection-ip":"here""#,
                "invalid_field",
                "request.connection.connection-ip",
            ),
            (
                r#""connection-port":1"#,
                r#""connection-port":65536"#,
                "invalid_field",
                "request.connection.connection-port",
            ),
            (r#""server-ip":"192.0.2.2","#, "", "missing_field", "request.connection.server-ip"),
            (r#""b:""#, r#""b""#, "invalid_field", "request.headers[1]"),
            (r#""a:YQ==""#, r#""a:Y=Q=""#, "invalid_field", "request.headers[0]"),
            (r#""data":"YQ==""#, r#""data":"YQ""#, "invalid_field", "request.body.data"),
            (r#""length":1"#, r#""length":-1"#, "invalid_field", "request.body.length"),
            (r#""status-code":"200""#, r#""status-code":200"#, "invalid_field", "response.status-code"),
            (r#""type":"sensor""#, r#""type":1"#, "invalid_field", "txn-meta-data.source_info.type"),
            (
                r#""data_extractions":{"vni":7}"#,
                r#""data_extractions":[]"#,
                "invalid_field",
                "txn-meta-data.data_extractions",
            ),
            (r#""host":"h","#, r#""host":"h","host":"i","#, "duplicate_field", "request.host"),
        ] {
            let text = full.replacen(from, to, 1);
            assert_ne!(text, full, "{from}");
            let bad = transaction(&text).unwrap_err();
            assert_eq!((bad.error, bad.field.as_deref()), (error, Some(field)), "{bad:?}");
        }
    }

    #[test]
    fn a_batch_is_read_whole_or_not() {
        let text = format!(r#" {{"more":[1],"data":[{LEAST}, {LEAST}]}} "#);
        assert_eq!(batch(&text).unwrap().len(), 2);
        assert_eq!(batch(r#"{"data":[]}"#).unwrap().len(), 0);
        for (text, error, index) in [
            (format!(r#"{{"data":[{LEAST},{{}}]}}"#), "missing_field", Some(1)),
            (format!(r#"{{"data":[{LEAST},0]}}"#), "invalid_field", Some(1)),
            (format!(r#"{{"data":[{LEAST},nonsense]}}"#), "bad_json", None),
            (format!(r#"{{"data":[{LEAST}]}} x"#), "bad_json", None),
            (format!(r#"{{"data":[{LEAST}"#), "bad_json", None),
            (format!(r#"{{"data":{LEAST}}}"#), "invalid_field", None),
            (format!("[{LEAST}]"), "invalid_field", None),
            (r#"{"data":[],"data":[]}"#.to_owned(), "duplicate_field", None),
            ("{}".to_owned(), "missing_field", None),
            (String::new(), "bad_json", None),
        ] {
            let bad = batch(&text).unwrap_err();
            assert_eq!((bad.error, bad.index), (error, index), "{text}: {bad:?}");
        }
    }
}
