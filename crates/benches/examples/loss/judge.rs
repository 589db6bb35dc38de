//! Holds records against the truth as they are written.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::{ControlFlow, Range};

use sensor::outlet::Outlet;
use sensor::record::Sealed;
use serde::Deserialize;

use crate::truth::{self, Truth};

/// A record whose request and response do not belong together.
#[derive(Debug)]
pub(crate) struct WrongPair {
    /// The request's target.
    pub(crate) target: String,
    /// The response that it was given.
    pub(crate) answer: String,
}

/// What became of a request that is not in a right pair.
#[derive(Debug)]
#[expect(dead_code, reason = "read by Debug, for the report")]
pub(crate) struct Unpaired {
    /// The record's outcome.
    pub(crate) outcome: String,
    /// Its flags.
    pub(crate) flags: Vec<String>,
}

/// Takes lines; counts what is right and keeps what is not.
#[derive(Debug)]
pub(crate) struct Judge<'a> {
    truth: &'a Truth,
    header: &'a str,
    /// By transaction: how many right pairs there were (one is right).
    pub(crate) found: Vec<u8>,
    /// Pairs that are not in the truth.
    pub(crate) wrong: Vec<WrongPair>,
    /// Records of requests without a response, by target.
    pub(crate) unpaired: HashMap<String, Unpaired>,
    /// Records of responses without a request, by the answer that names them.
    pub(crate) orphans: HashMap<String, Unpaired>,
    /// Pairs of which the truth says nothing: an ambiguous target.
    pub(crate) unjudged: usize,
    /// All records.
    pub(crate) records: usize,
}

#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    outcome: Cow<'a, str>,
    request: Option<Request<'a>>,
    response: Option<Response<'a>>,
    flags: Vec<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    target: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Response<'a> {
    time: Cow<'a, str>,
    #[serde(borrow)]
    headers: Vec<Vec<Cow<'a, str>>>,
}

impl<'a> Judge<'a> {
    /// A judge who has seen nothing.
    pub(crate) fn new(truth: &'a Truth, header: &'a str) -> Self {
        Self {
            truth,
            header,
            found: vec![0; truth.transactions.len()],
            wrong: Vec::new(),
            unpaired: HashMap::new(),
            orphans: HashMap::new(),
            unjudged: 0,
            records: 0,
        }
    }

    fn record(&mut self, line: &[u8]) {
        let record: Record<'_> = serde_json::from_slice(line).expect("a record is JSON");
        self.records += 1;
        let answer = record.response.as_ref().map(|response| {
            let mut headers = response.headers.iter();
            let header = headers.find(|header| header.first().is_some_and(|n| n.eq_ignore_ascii_case(self.header)));
            truth::answer(header.and_then(|header| header.get(1)).map(AsRef::as_ref), nanos(&response.time))
        });
        let rest = || Unpaired {
            outcome: record.outcome.clone().into_owned(),
            flags: record.flags.iter().map(|flag| flag.clone().into_owned()).collect(),
        };
        match (&record.request, &record.response) {
            (Some(request), Some(_)) => match self.truth.by_target.get(&*request.target) {
                Some(index) if self.truth.transactions[*index].answer == answer => {
                    self.found[*index] += 1;
                }
                None if self.truth.transactions.iter().any(|t| t.target == request.target) => self.unjudged += 1,
                _ => self.wrong.push(WrongPair {
                    target: request.target.clone().into_owned(),
                    answer: answer.unwrap_or_default(),
                }),
            },
            (Some(request), None) => {
                self.unpaired.insert(request.target.clone().into_owned(), rest());
            }
            (None, _) => {
                self.orphans.insert(answer.unwrap_or_default(), rest());
            }
        }
    }
}

/// Nanoseconds since the epoch of a record's time, which is always `YYYY-MM-DDThh:mm:ss.nnnnnnnnnZ`.
fn nanos(time: &str) -> u64 {
    let part = |range: Range<usize>| -> u64 { time.get(range).and_then(|part| part.parse().ok()).expect("a time") };
    let (year, month, day) = (part(0..4), part(5..7), part(8..10));
    // Years that begin in March have their odd day at the end.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1 - 719_468;
    let seconds = ((days * 24 + part(11..13)) * 60 + part(14..16)) * 60 + part(17..19);
    seconds * 1_000_000_000 + part(20..29)
}

impl Outlet for Judge<'_> {
    fn accept(&mut self, records: &Sealed<'_>) -> ControlFlow<()> {
        for (_, record) in records.iter() {
            self.record(record);
        }
        ControlFlow::Continue(())
    }
}
