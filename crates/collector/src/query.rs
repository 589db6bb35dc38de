//! Questions to the store: which transactions, and which page of them.
//!
//! A page ends at a [`Cursor`], the number of its last transaction in order of arrival. Numbers are never used again and new
//! transactions get higher ones, so what is stored meanwhile neither shifts a later page nor shows up twice.

use std::fmt;
use std::str::FromStr;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params_from_iter};
use serde::ser::{Serialize, SerializeStruct, Serializer};
use serde_json::value::RawValue;

use crate::record::{Shape, write_time};

/// The most transactions on a page.
pub const MAX_PAGE: usize = 1000;

/// Where a page with records ends early, in bytes of records.
const PAGE_BYTES: usize = 8 << 20;

/// Which transactions; all conditions must hold, and those that are `None` always do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The host, in any letter case; without a port it stands for all ports.
    pub host: Option<String>,
    /// What the path begins with.
    pub path: Option<String>,
    /// The method as sent.
    pub method: Option<String>,
    /// The response.
    pub status: Option<StatusFilter>,
    /// The earliest time of the request, in nanoseconds since 1970.
    pub since: Option<i64>,
    /// The time, in nanoseconds since 1970, that the request was before.
    pub until: Option<i64>,
}

/// Which responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusFilter {
    /// This status.
    Code(u16),
    /// A class, by its first digit.
    Class(u8),
    /// No response was seen.
    Unanswered,
}

impl FromStr for StatusFilter {
    type Err = String;

    /// `404`, `4xx` or `none`.
    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.as_bytes() {
            b"none" => Ok(Self::Unanswered),
            [class @ b'1'..=b'9', b'x' | b'X', b'x' | b'X'] => Ok(Self::Class(class - b'0')),
            _ if digits => text.parse().map(Self::Code).map_err(|_| String::new()),
            _ => Err("write a status as in 404, a class as in 4xx, or none".to_owned()),
        }
    }
}

/// Which part of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// At most so many transactions, and never more than [`MAX_PAGE`].
    pub limit: usize,
    /// In which order of arrival.
    pub order: Order,
    /// Where the page before ended.
    pub after: Option<Cursor>,
    /// With the records themselves; such a page also ends at about 8 MiB of them.
    pub records: bool,
}

impl Default for Page {
    fn default() -> Self {
        Self { limit: 100, order: Order::Oldest, after: None, records: false }
    }
}

/// The order of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// What arrived first comes first. Reading on to the end shows everything, also what arrives meanwhile.
    Oldest,
    /// What arrived last comes first.
    Newest,
}

impl FromStr for Order {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "oldest" => Ok(Self::Oldest),
            "newest" => Ok(Self::Newest),
            _ => Err("write oldest or newest".to_owned()),
        }
    }
}

/// A place between two pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor(i64);

impl Cursor {
    pub(crate) fn sequence(sequence: i64) -> Self {
        Self(sequence)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Cursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| "a cursor is the `next` of the page before".to_owned())
    }
}

/// A page of transactions.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Listing {
    /// In the order that was asked for.
    pub transactions: Vec<Stored>,
    /// Where the next page begins; `None`: nothing more is stored now.
    #[serde(serialize_with = "as_text")]
    pub next: Option<Cursor>,
}

/// What the collector finds a transaction by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Its place in order of arrival.
    pub sequence: Cursor,
    /// Its id, as sent.
    pub id: String,
    /// The shape it was sent in.
    pub shape: Shape,
    /// When the request began, in nanoseconds since 1970.
    pub time: i64,
    /// When the collector took it, in nanoseconds since 1970.
    pub received: i64,
    /// How often it was sent again.
    pub repeats: u64,
    /// The response's status; `None`: no response.
    pub status: Option<u16>,
    /// The method; `None`: no request.
    pub method: Option<String>,
    /// The host in lower case, with its port if it was sent with one.
    pub host: Option<String>,
    /// The path without the query.
    pub path: Option<String>,
    /// Address and, if known, port of the client.
    pub client: String,
    /// Address and, if known, port of the server.
    pub server: String,
}

/// A transaction of the store.
#[derive(Clone, Debug)]
pub struct Stored {
    /// What it is found by.
    pub summary: Summary,
    /// The record as it was sent; empty in a listing without records.
    pub record: String,
}

impl Summary {
    /// [`Summary::time`] in RFC 3339.
    #[must_use]
    pub fn time_text(&self) -> String {
        write_time(self.time)
    }
}

impl Serialize for Stored {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Summary { id, shape, time, received, repeats, status, method, host, path, client, server, .. } =
            &self.summary;
        let mut fields = serializer.serialize_struct("Stored", 12)?;
        fields.serialize_field("id", id)?;
        fields.serialize_field("shape", shape)?;
        fields.serialize_field("time", &write_time(*time))?;
        fields.serialize_field("received", &write_time(*received))?;
        fields.serialize_field("client", client)?;
        fields.serialize_field("server", server)?;
        fields.serialize_field("method", method)?;
        fields.serialize_field("host", host)?;
        fields.serialize_field("path", path)?;
        fields.serialize_field("status", status)?;
        fields.serialize_field("repeats", repeats)?;
        if !self.record.is_empty() {
            let record: &RawValue = serde_json::from_str(&self.record).map_err(serde::ser::Error::custom)?;
            fields.serialize_field("record", record)?;
        }
        fields.end()
    }
}

fn as_text<S: Serializer>(cursor: &Option<Cursor>, serializer: S) -> Result<S::Ok, S::Error> {
    cursor.map(|cursor| cursor.to_string()).serialize(serializer)
}

/// Answers for [`crate::Store::transactions`].
pub(crate) fn list(connection: &Connection, filter: &Filter, page: &Page) -> rusqlite::Result<Listing> {
    let limit = page.limit.clamp(1, MAX_PAGE);
    let (conditions, mut values) = conditions(filter, page);
    // One more than asked for tells whether there is a next page.
    values.push(Value::Integer(i64::try_from(limit + 1).unwrap_or(i64::MAX)));
    let sql = format!(
        "SELECT {}, {} FROM transactions WHERE {conditions} ORDER BY sequence {} LIMIT ?",
        Summary::COLUMNS,
        if page.records { "record" } else { "''" },
        if page.order == Order::Oldest { "ASC" } else { "DESC" },
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut transactions: Vec<Stored> = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        if transactions.len() == limit || bytes >= PAGE_BYTES {
            let next = transactions.last().map(|last| last.summary.sequence);
            return Ok(Listing { transactions, next });
        }
        let stored = Stored { summary: Summary::from_row(row)?, record: row.get(12)? };
        bytes += stored.record.len();
        transactions.push(stored);
    }
    Ok(Listing { transactions, next: None })
}

/// Answers for [`crate::Store::transaction`].
pub(crate) fn one(connection: &Connection, id: &str) -> rusqlite::Result<Option<Stored>> {
    let sql = format!("SELECT {}, record FROM transactions WHERE id = ?1", Summary::COLUMNS);
    connection
        .prepare_cached(&sql)?
        .query_row([id], |row| Ok(Stored { summary: Summary::from_row(row)?, record: row.get(12)? }))
        .optional()
}

/// The WHERE clause. No value of the filter becomes SQL text.
fn conditions(filter: &Filter, page: &Page) -> (String, Vec<Value>) {
    let mut sql = String::from("1");
    let mut values = Vec::new();
    let mut and = |condition: &str, given: &[Value]| {
        sql.push_str(" AND ");
        sql.push_str(condition);
        values.extend_from_slice(given);
    };
    if let Some(host) = &filter.host {
        let host = host.to_ascii_lowercase();
        let name = crate::store::without_port(&host).to_owned();
        if name == host {
            and("host_name = ?", &[Value::Text(name)]);
        } else {
            and("host_name = ? AND host = ?", &[Value::Text(name), Value::Text(host)]);
        }
    }
    if let Some(path) = &filter.path {
        and("substr(path, 1, length(?)) = ?", &[Value::Text(path.clone()), Value::Text(path.clone())]);
    }
    if let Some(method) = &filter.method {
        and("method = ?", &[Value::Text(method.clone())]);
    }
    match filter.status {
        Some(StatusFilter::Code(code)) => and("status = ?", &[Value::Integer(code.into())]),
        Some(StatusFilter::Class(class)) => {
            let first = i64::from(class) * 100;
            and("status BETWEEN ? AND ?", &[Value::Integer(first), Value::Integer(first + 99)]);
        }
        Some(StatusFilter::Unanswered) => and("status IS NULL", &[]),
        None => {}
    }
    if let Some(since) = filter.since {
        and("time >= ?", &[Value::Integer(since)]);
    }
    if let Some(until) = filter.until {
        and("time < ?", &[Value::Integer(until)]);
    }
    match (page.after, page.order) {
        (Some(Cursor(after)), Order::Oldest) => and("sequence > ?", &[Value::Integer(after)]),
        (Some(Cursor(after)), Order::Newest) => and("sequence < ?", &[Value::Integer(after)]),
        (None, _) => {}
    }
    (sql, values)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::Record;
    use crate::store::Store;

    #[derive(Clone, Debug)]
    struct Row {
        host: Option<&'static str>,
        path: &'static str,
        method: &'static str,
        status: Option<u16>,
        time: i64,
    }

    fn row() -> impl Strategy<Value = Row> {
        (
            prop_oneof![Just(None), Just(Some("a.example")), Just(Some("A.example:8080")), Just(Some("b.example"))],
            prop_oneof![Just("/"), Just("/v1/a"), Just("/v1/%_"), Just("/v2")],
            prop_oneof![Just("GET"), Just("POST")],
            prop_oneof![Just(None), Just(Some(200)), Just(Some(204)), Just(Some(404))],
            0i64..5,
        )
            .prop_map(|(host, path, method, status, time)| Row { host, path, method, status, time })
    }

    fn filter() -> impl Strategy<Value = Filter> {
        (
            proptest::option::of(prop_oneof![Just("a.EXAMPLE"), Just("a.example:8080"), Just("c' OR 1")]),
            proptest::option::of(prop_oneof![Just("/v1"), Just("/v1/%"), Just("/v2"), Just("")]),
            proptest::option::of(Just("GET")),
            proptest::option::of(prop_oneof![
                Just(StatusFilter::Code(404)),
                Just(StatusFilter::Class(2)),
                Just(StatusFilter::Unanswered)
            ]),
            proptest::option::of(0i64..5),
            proptest::option::of(0i64..5),
        )
            .prop_map(|(host, path, method, status, since, until)| Filter {
                host: host.map(str::to_owned),
                path: path.map(str::to_owned),
                method: method.map(str::to_owned),
                status,
                since,
                until,
            })
    }

    fn passes(row: &Row, filter: &Filter) -> bool {
        let host = row.host.map(str::to_ascii_lowercase);
        let wanted = filter.host.as_ref().map(|host| host.to_ascii_lowercase());
        wanted.is_none_or(|wanted| {
            host.as_ref().is_some_and(|host| *host == wanted || host.split(':').next() == Some(wanted.as_str()))
        }) && filter.path.as_ref().is_none_or(|path| row.path.starts_with(path.as_str()))
            && filter.method.as_ref().is_none_or(|method| row.method == method)
            && filter.since.is_none_or(|since| row.time >= since)
            && filter.until.is_none_or(|until| row.time < until)
            && match filter.status {
                None => true,
                Some(StatusFilter::Code(code)) => row.status == Some(code),
                Some(StatusFilter::Class(class)) => row.status.is_some_and(|status| status / 100 == u16::from(class)),
                Some(StatusFilter::Unanswered) => row.status.is_none(),
            }
    }

    fn insert(store: &Store, number: usize, row: &Row) {
        let record = Record {
            id: number.to_string(),
            shape: Shape::Native,
            time: row.time,
            client: String::new(),
            server: String::new(),
            method: Some(row.method.to_owned()),
            host: row.host.map(str::to_owned),
            path: Some(row.path.to_owned()),
            status: row.status,
            text: "{}",
        };
        store.insert(&[record]).unwrap();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        /// Pages show what the filter lets through, each once and in order, whatever arrives between them.
        #[test]
        fn pages_are_what_a_plain_search_finds(
            rows in proptest::collection::vec(row(), 0..20), filter in filter(), limit in 1usize..6, newest in any::<bool>(), more in row(),
        ) {
            let store = Store::in_memory().unwrap();
            for (number, row) in rows.iter().enumerate() {
                insert(&store, number, row);
            }
            let mut expected: Vec<usize> = (0..rows.len()).filter(|&number| passes(&rows[number], &filter)).collect();
            if newest {
                expected.reverse();
            }
            let order = if newest { Order::Newest } else { Order::Oldest };
            let mut page = Page { limit, order, ..Page::default() };
            let mut found = Vec::new();
            let mut arrived = rows.len();
            loop {
                let listing = store.transactions(&filter, &page).unwrap();
                prop_assert!(listing.transactions.len() <= limit);
                found.extend(listing.transactions.iter().map(|stored| stored.summary.id.parse::<usize>().unwrap()));
                let Some(next) = listing.next else { break };
                page.after = Some(next);
                insert(&store, arrived, &more);
                if !newest && passes(&more, &filter) {
                    expected.push(arrived);
                }
                arrived += 1;
                if arrived > 100 {
                    break;
                }
            }
            // Read from the oldest on, what arrives meanwhile comes at the end: the reader may stop before it.
            prop_assert_eq!(&found[..], &expected[..found.len()]);
            prop_assert!(newest || arrived > 100 || found.len() == expected.len());
            prop_assert!(!newest || found.len() == expected.len());
        }
    }

    #[test]
    fn a_page_with_records_ends_by_their_size() {
        let store = Store::in_memory().unwrap();
        let text = format!("{{\"a\":\"{}\"}}", "x".repeat(3 << 20));
        for number in 0..6 {
            let record = Record { text: &text, ..sample(number) };
            store.insert(&[record]).unwrap();
        }
        let page = Page { records: true, ..Page::default() };
        let listing = store.transactions(&Filter::default(), &page).unwrap();
        assert_eq!(listing.transactions.len(), 3);
        let rest = store.transactions(&Filter::default(), &Page { after: listing.next, ..page }).unwrap();
        assert_eq!((rest.transactions.len(), rest.next), (3, None));
        assert!(serde_json::to_string(&rest.transactions[0]).unwrap().contains("\"record\":{\"a\":\"xxx"));
    }

    fn sample(number: usize) -> Record<'static> {
        Record {
            id: number.to_string(),
            shape: Shape::Native,
            time: 0,
            client: String::new(),
            server: String::new(),
            method: None,
            host: None,
            path: None,
            status: None,
            text: "{}",
        }
    }

    #[test]
    fn status_filters_are_read() {
        assert_eq!("404".parse(), Ok(StatusFilter::Code(404)));
        assert_eq!("4XX".parse(), Ok(StatusFilter::Class(4)));
        assert_eq!("none".parse(), Ok(StatusFilter::Unanswered));
        for bad in ["", "4", "0xx", "40x", "-40", "+40", "4000"] {
            assert!(bad.parse::<StatusFilter>().is_err(), "{bad}");
        }
    }
}
