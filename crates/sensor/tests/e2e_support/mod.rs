//! What the end-to-end tests share: the pipeline and the program on packets, the ledger added up by the tests themselves,
//! and records compared as what was said.
//!
//! Nothing here asks the program whether its ledger balances without adding it up once more.
// Each test binary uses its part of it, and nothing else can reach it.
#![allow(dead_code, unused_imports, missing_docs, unreachable_pub)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fixtures::Packet;
use fixtures::capture::{Format, write};
use sensor::ledger::{Captures, Ledger};
use sensor::pipeline::{Pipeline, Settings};
use sensor::record::{RecordOptions, Shape};
use serde_json::Value;

mod cut;
mod reading;
mod traced;

pub use cut::into_segments;
pub use reading::{Read, read};
pub use traced::{Traced, Wanted};

/// What a run gave.
#[derive(Debug)]
pub struct Replayed {
    /// The output as written.
    pub lines: Vec<u8>,
    /// Its records, in order.
    pub records: Vec<Value>,
    /// The ledger, added up.
    pub ledger: Value,
}

impl Replayed {
    fn new(lines: Vec<u8>, ledger: Value) -> Self {
        let records = records(&lines);
        add_up(&ledger);
        assert_eq!(ledger["exchanges"]["recorded"], records.len(), "records against the ledger");
        let with = |outcome: &str| records.iter().filter(|record| record["outcome"] == outcome).count();
        assert_eq!(ledger["messages"]["paired"], 2 * with("paired"));
        assert_eq!(ledger["messages"]["unanswered"], with("unanswered"));
        assert_eq!(ledger["messages"]["orphans"], with("orphan"));
        Self { lines, records, ledger }
    }

    /// What was said, without where and when it was seen, sorted.
    pub fn said(&self) -> Vec<String> {
        sorted(self.records.iter().map(said))
    }

    /// A number of the ledger, by its path.
    pub fn count(&self, path: &str) -> u64 {
        self.ledger.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {path} in {:#}", self.ledger))
    }
}

/// The settings that the program has without flags.
pub fn settings() -> Settings {
    let http = http_parse::Settings::default();
    let record = RecordOptions {
        sensor: "sensor".to_owned(),
        decode_limit: http.body_limit * 4,
        content_limit: usize::MAX,
        shape: Shape::Native,
    };
    let (decap, reassembly) = (decap::Config::default(), reassembly::Limits::default());
    let settings =
        Settings { decap, reassembly, http, record, mask: None, normalize: Arc::default(), filters: Arc::default() };
    settings.with_memory(1 << 30, 1).unwrap()
}

/// The packets through every stage, on this thread: as the program does with one worker, which a test holds it to.
pub fn replay(packets: &[Packet]) -> Replayed {
    let mut pipeline = Pipeline::inline(&settings(), Vec::new());
    for packet in packets {
        pipeline.push(packet.frame());
    }
    pipeline.finish();
    let (decap, payload_bytes) = (pipeline.decap_stats().clone(), pipeline.payload_bytes());
    let mut lane = pipeline.into_segments();
    lane.finish();
    let report = lane.report();
    let captures = Captures { opened: 1, frames: packets.len() as u64, ..Captures::default() };
    let ledger = Ledger::gather(captures, &decap, payload_bytes, [&report]);
    ledger.check().unwrap();
    let replayed = Replayed::new(core::mem::take(lane.records_mut().outlet_mut()), ledger.to_json());
    assert_eq!(replayed.ledger["frames"]["total"], packets.len());
    replayed
}

/// What the program said.
#[derive(Debug)]
pub struct Run {
    pub code: Option<i32>,
    pub stderr: String,
    pub replayed: Replayed,
}

/// `sensor replay` with the ledger asked for, and these arguments and standard input. Nothing is masked: what was sent is
/// compared with what is recorded, and tokens differ from run to run.
pub fn run_with_stdin(args: &[&str], stdin: Vec<u8>) -> Run {
    let mut command = assert_cmd::Command::cargo_bin("sensor").unwrap();
    command
        .env_remove("SENSOR_LOG")
        .env("SENSOR_MASK__ENABLED", "false")
        .args(["replay", "--ledger", "json"])
        .args(args)
        .write_stdin(stdin);
    let output = command.output().unwrap();
    let stderr = String::from_utf8(output.stderr).expect("standard error is text");
    assert_ne!(output.status.code(), Some(70), "a defect of the program: {stderr}");
    Run { code: output.status.code(), replayed: Replayed::new(output.stdout, ledger_of(&stderr)), stderr }
}

/// `sensor replay` with the ledger asked for, and these arguments.
pub fn run(args: &[&str]) -> Run {
    run_with_stdin(args, Vec::new())
}

/// `sensor replay` on a file; it must succeed, and have nothing to say.
pub fn run_well(path: &Path, args: &[&str]) -> Replayed {
    let run = run(&[&[path.to_str().unwrap(), "--quiet"], args].concat());
    assert_eq!(run.code, Some(0), "{}: {}", path.display(), run.stderr);
    assert_eq!(run.stderr.lines().count(), 1, "nothing but the ledger: {}", run.stderr);
    run.replayed
}

/// The ledger among what the program said.
pub fn ledger_of(stderr: &str) -> Value {
    let line = stderr.lines().rfind(|line| line.starts_with('{')).unwrap_or_else(|| panic!("no ledger in {stderr}"));
    serde_json::from_str(line).unwrap()
}

/// Adds up every line of a ledger and what two lines share, on the numbers as printed.
pub fn add_up(ledger: &Value) {
    let number = |path: &str| ledger.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {path}"));
    for name in ["frames", "payload_bytes", "opened_flows", "stream_bytes", "messages", "exchanges"] {
        let line = ledger[name].as_object().unwrap();
        let fates = line.iter().filter(|(fate, _)| *fate != "total").map(|(_, fate)| match fate {
            Value::Object(reasons) => reasons.values().map(|count| count.as_u64().unwrap()).sum(),
            count => count.as_u64().unwrap(),
        });
        assert_eq!(line["total"], fates.sum::<u64>(), "{name} in {ledger:#}");
    }
    assert_eq!(
        number("/stream_bytes/total"),
        number("/payload_bytes/delivered")
            + number("/payload_bytes/skipped")
            + number("/payload_bytes/shunted")
            + number("/beside/gap_bytes"),
        "{ledger:#}"
    );
    assert_eq!(number("/messages/paired") % 2, 0);
    assert_eq!(
        number("/exchanges/total"),
        number("/messages/paired") / 2 + number("/messages/unanswered") + number("/messages/orphans"),
        "{ledger:#}"
    );
    for nothing in ["/frames/held", "/payload_bytes/held", "/stream_bytes/undecided", "/messages/pending"] {
        assert_eq!(number(nothing), 0, "{nothing} after the end");
    }
    assert_eq!(ledger["balanced"], true, "the program's own opinion: {ledger:#}");
}

/// The records of NDJSON output; every line is whole.
pub fn records(lines: &[u8]) -> Vec<Value> {
    assert!(lines.is_empty() || lines.ends_with(b"\n"), "the last line is cut");
    let lines = lines.split_inclusive(|byte| *byte == b'\n');
    lines.map(|line| serde_json::from_slice(line).expect("a record is JSON")).collect()
}

/// A record without where (tunnels, VLANs) and when it was seen. The transaction's id stays: it depends on neither.
pub fn without_place_and_time(record: &Value) -> Value {
    let mut record = record.clone();
    let object = record.as_object_mut().unwrap();
    for name in ["time", "tunnels", "vlans"] {
        object.remove(name);
    }
    object["connection"].as_object_mut().unwrap().remove("id");
    for name in ["request", "response"] {
        if let Some(message) = object[name].as_object_mut() {
            message.remove("time");
            message.remove("end_time");
        }
    }
    record
}

/// [`without_place_and_time`], as a text to compare.
pub fn said(record: &Value) -> String {
    without_place_and_time(record).to_string()
}

pub fn sorted<T: Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut items: Vec<_> = items.collect();
    items.sort_unstable();
    items
}

/// Compares multisets and names what differs, briefly.
#[track_caller]
pub fn assert_same(found: &[String], expected: &[String], what: &str) {
    if found == expected {
        return;
    }
    let mut balance: BTreeMap<&str, i64> = BTreeMap::new();
    for text in found {
        *balance.entry(text).or_default() += 1;
    }
    for text in expected {
        *balance.entry(text).or_default() -= 1;
    }
    let differing = balance.iter().filter(|(_, count)| **count != 0);
    let shown: Vec<_> = differing.take(6).map(|(text, count)| format!("{count:+} {}", brief(text, 900))).collect();
    panic!("{what}: {} found, {} expected; + too many, - missing:\n{}", found.len(), expected.len(), shown.join("\n"));
}

/// The text's beginning and end.
pub fn brief(text: &str, len: usize) -> String {
    if text.len() <= len {
        return text.to_owned();
    }
    let at = |wanted: usize| (0..=wanted).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{} … {}", &text[..at(len * 2 / 3)], &text[at(text.len() - len / 3)..])
}

/// A field of a message, by its name in lower case.
pub fn header<'a>(message: &'a Value, name: &str) -> Option<&'a str> {
    let fields = message["headers"].as_array()?;
    fields.iter().find(|field| field[0].as_str().is_some_and(|n| n.eq_ignore_ascii_case(name)))?[1].as_str()
}

/// A record's time.
pub fn time(text: &Value) -> decap::Timestamp {
    let text = text.as_str().unwrap();
    let number = |range: core::ops::Range<usize>| -> u64 { text[range].parse().unwrap() };
    let (mut days, year) = (number(8..10) - 1, number(0..4));
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    days += (1970..year).map(|year| 365 + u64::from(is_leap(year))).sum::<u64>();
    let months = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    days += months.iter().take(number(5..7) as usize - 1).sum::<u64>();
    let seconds = ((days * 24 + number(11..13)) * 60 + number(14..16)) * 60 + number(17..19);
    decap::Timestamp::from_nanos(seconds * 1_000_000_000 + number(20..29))
}

/// How many seeds a test tries: `SENSOR_TEST_SEEDS`, or so few that the tests stay quick.
pub fn seeds(usually: u64) -> u64 {
    std::env::var("SENSOR_TEST_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(usually)
}

/// The packets of a real capture.
pub fn packets_of(capture: &fixtures::Capture) -> Vec<Packet> {
    fixtures::capture::read_file(&capture.path).unwrap()
}

/// Writes packets as a capture file.
pub fn write_file(folder: &Path, name: &str, packets: &[Packet], format: Format) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, write(packets, format)).unwrap();
    path
}
