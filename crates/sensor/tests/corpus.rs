//! Captures made by others, compared with the transactions expected in them.
//!
//! `SENSOR_CORPUS` names a folder with `pcaps/`, `truth/` and `lists.json`; without it these tests say so and pass. The
//! comparison is of multisets of (method, host without port, target, status), as the corpus defines it: optional
//! transactions are neither asked for nor punished, alternative statuses are accepted, wildcards not compared.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

fn corpus() -> Option<PathBuf> {
    let folder = std::env::var_os("SENSOR_CORPUS").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: SENSOR_CORPUS is not set");
    }
    folder
}

fn list(root: &Path, name: &str) -> Vec<String> {
    let lists: Value = serde_json::from_slice(&std::fs::read(root.join("lists.json")).unwrap()).unwrap();
    lists[name].as_array().unwrap().iter().map(|file| file.as_str().unwrap().to_owned()).collect()
}

struct Run {
    records: Vec<Value>,
    exit: Option<i32>,
    stderr: String,
}

/// Replays one capture with the real binary; every line must be JSON, and the ledger must add up (exit 70 otherwise).
fn replay(capture: &Path, workers: &str) -> Run {
    let output = Command::new(env!("CARGO_BIN_EXE_sensor"))
        .args(["replay", "--quiet", "--workers", workers, "--ledger", "json"])
        .arg(capture)
        // What was sent is compared with what is recorded, credentials included.
        .env("SENSOR_MASK__ENABLED", "false")
        .output()
        .unwrap();
    let records = output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap_or_else(|error| panic!("{}: {error}", capture.display())))
        .collect();
    Run { records, exit: output.status.code(), stderr: String::from_utf8_lossy(&output.stderr).into_owned() }
}

type Key = (String, String, String, Option<i64>);

fn host(raw: &str) -> String {
    let host = raw.trim().to_ascii_lowercase();
    let host = host.trim_end_matches('.');
    if host.starts_with('[') {
        return host.split(']').next().unwrap().to_owned() + "]";
    }
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name.to_owned(),
        _ => host.to_owned(),
    }
}

/// Everything that is not visible ASCII, and its escapes, becomes one question mark: oracles print it differently.
fn target(raw: &str) -> String {
    let raw = raw.trim_matches([' ', '\t']).split([' ', '\t']).next().unwrap_or_default();
    let bytes = raw.as_bytes();
    let is_hex = |from: usize, n: usize| bytes.get(from..from + n).is_some_and(|s| s.iter().all(u8::is_ascii_hexdigit));
    let mut out = String::new();
    let mut at = 0;
    while at < bytes.len() {
        let (step, odd) = match bytes[at] {
            b'\\' if bytes.get(at + 1) == Some(&b'x') && is_hex(at + 2, 2) => (4, true),
            b'\\' if bytes.get(at + 1) == Some(&b'u') && is_hex(at + 2, 4) => (6, true),
            b'?' => (1, true),
            byte => (1, !byte.is_ascii_graphic()),
        };
        if odd && !out.ends_with('?') {
            out.push('?');
        } else if !odd {
            out.push(char::from(bytes[at]));
        }
        at += step;
    }
    out
}

fn truth_key(transaction: &Value) -> Key {
    let text = |name: &str| transaction[name].as_str().unwrap_or_default().to_owned();
    (text("method"), host(&text("host")), target(&text("target")), transaction["status"].as_i64())
}

fn record_key(record: &Value) -> Option<Key> {
    let request = record.get("request").filter(|request| request.is_object())?;
    let text = |name: &str| request[name].as_str().unwrap_or_default().to_owned();
    Some((text("method"), host(&text("host")), target(&text("target")), record["response"]["status"].as_i64()))
}

#[derive(Default, Clone)]
struct Score {
    files: usize,
    perfect: usize,
    required: usize,
    found: usize,
    emitted: usize,
    wrong: usize,
}

impl Score {
    fn add(&mut self, other: &Self) {
        self.files += other.files;
        self.perfect += other.perfect;
        self.required += other.required;
        self.found += other.found;
        self.emitted += other.emitted;
        self.wrong += other.wrong;
    }
}

fn score(truth: &Value, records: &[Value]) -> (Score, Vec<Key>, Vec<Key>) {
    let required: Vec<&Value> = truth["transactions"].as_array().unwrap().iter().collect();
    let mut emitted: Vec<Key> = records.iter().filter_map(record_key).collect();
    let total = emitted.len();
    let mut missing: Vec<&Value> = Vec::new();
    for transaction in &required {
        match emitted.iter().position(|key| *key == truth_key(transaction)) {
            Some(at) => drop(emitted.swap_remove(at)),
            None => missing.push(transaction),
        }
    }
    missing.retain(|transaction| {
        let key = truth_key(transaction);
        let wild = |name: &str| {
            transaction["wildcard"].as_array().is_some_and(|fields| fields.iter().any(|field| field == name))
        };
        let alternatives: Vec<Option<i64>> = transaction["alt_status"]
            .as_array()
            .map(|list| list.iter().map(Value::as_i64).collect())
            .unwrap_or_default();
        let full = transaction["target_full"].as_str().map(target);
        let found = emitted.iter().position(|other| {
            other.0 == key.0
                && (other.1 == key.1 || wild("host"))
                && (other.2 == key.2 || wild("target") || full.as_ref() == Some(&other.2))
                && (other.3 == key.3 || alternatives.contains(&other.3))
        });
        found.map(|at| emitted.swap_remove(at)).is_none()
    });
    for optional in truth["optional_transactions"].as_array().into_iter().flatten() {
        let key = truth_key(optional);
        let same = |other: &Key| other.0 == key.0 && other.2 == key.2 && (other.1 == key.1 || key.1.is_empty());
        if let Some(at) = emitted.iter().position(same) {
            emitted.swap_remove(at);
        }
    }
    let score = Score {
        files: 1,
        perfect: usize::from(missing.is_empty() && emitted.is_empty()),
        required: required.len(),
        found: required.len() - missing.len(),
        emitted: total,
        wrong: emitted.len(),
    };
    (score, missing.into_iter().map(truth_key).collect(), emitted)
}

/// Runs `work` over the files on a few threads, in any order.
fn for_each(files: &[String], work: impl Fn(&str) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(file);
                }
            });
        }
    });
}

/// Files that are read otherwise than the truth has it, each looked at, with the reason.
const DIFFERENCES: &[(&str, &str)] = &[
    (
        "ndpi/1kxun.pcap",
        "four pairs of the truth are off by one: the first response's head was not captured, the next one acknowledges the \
         second request and its body is of that one's type",
    ),
    (
        "pcapplusplus/4KHttpRequests.pcap",
        "two requests more: heads that a gap or the capture's end cut, whose start line is whole (`cut_by_close`)",
    ),
    (
        "vxlan-overlapping-http-get.pcap",
        "one connection under two virtual network ids is two, whose transactions have the same id",
    ),
    (
        "zeek/erspan.pcap",
        "the mirror puts the direction into the GRE key, so each direction is a network of its own until `decap.aliases` \
         joins them, which the summary points out",
    ),
];

/// Compares every file of a list; also gives those that differ, without HTTP/2, which is not decoded yet.
fn compare(name: &str, root: &Path) -> (BTreeMap<(String, String), Score>, Vec<String>) {
    let scores: Mutex<BTreeMap<(String, String), Score>> = Mutex::default();
    let notes: Mutex<Vec<String>> = Mutex::default();
    let differing: Mutex<Vec<String>> = Mutex::default();
    for_each(&list(root, name), |file| {
        let truth: Value =
            serde_json::from_slice(&std::fs::read(root.join("truth").join(format!("{file}.json"))).unwrap()).unwrap();
        let run = replay(&root.join("pcaps").join(file), "1");
        assert!(matches!(run.exit, Some(0 | 1)), "{file}: exit {:?}\n{}", run.exit, run.stderr);
        let (score, missing, extra) = score(&truth, &run.records);
        let text = |name: &str| truth[name].as_str().unwrap().to_owned();
        if score.perfect == 0 {
            if text("category") != "http2" {
                differing.lock().unwrap_or_else(PoisonError::into_inner).push(file.to_owned());
            }
            notes.lock().unwrap_or_else(PoisonError::into_inner).push(format!(
                "{file} ({}, {}): missing {:?}, extra {:?}",
                text("category"),
                text("confidence"),
                &missing[..missing.len().min(2)],
                &extra[..extra.len().min(2)]
            ));
        }
        let mut scores = scores.lock().unwrap_or_else(PoisonError::into_inner);
        scores.entry((text("category"), text("confidence"))).or_default().add(&score);
    });
    let mut notes = notes.into_inner().unwrap_or_else(PoisonError::into_inner);
    notes.sort();
    eprintln!("{}", notes.join("\n"));
    (
        scores.into_inner().unwrap_or_else(PoisonError::into_inner),
        differing.into_inner().unwrap_or_else(PoisonError::into_inner),
    )
}

fn percent(part: usize, whole: usize) -> f64 {
    #[allow(clippy::cast_precision_loss)]
    if whole == 0 { 100.0 } else { 100.0 * part as f64 / whole as f64 }
}

#[test]
fn high_confidence_files_are_read_as_the_truth_says() {
    let Some(root) = corpus() else { return };
    let mut total = Score::default();
    let (scores, differing) = compare("main", &root);
    for ((category, confidence), score) in scores {
        eprintln!(
            "{category:<20} {confidence:<7} files {:>4} perfect {:>4} required {:>5} found {:>5} wrong {:>4}",
            score.files, score.perfect, score.required, score.found, score.wrong
        );
        if confidence == "high" && category != "http2" {
            total.add(&score);
        }
    }
    let recall = percent(total.found, total.required);
    let precision = percent(total.emitted - total.wrong, total.emitted);
    let perfect = percent(total.perfect, total.files);
    eprintln!(
        "high confidence without http2: recall {recall:.2} %, precision {precision:.2} %, perfect {perfect:.2} %"
    );
    assert!(recall >= 99.0, "recall {recall:.2} %");
    assert!(precision >= 99.5, "precision {precision:.2} %");
    assert!(perfect >= 98.0, "perfect files {perfect:.2} %");
    let is_known = |file: &String| DIFFERENCES.iter().any(|(known, _)| file.ends_with(known));
    let unknown: Vec<_> = differing.iter().filter(|file| !is_known(file)).collect();
    assert!(unknown.is_empty(), "read otherwise than before, and not looked at: {unknown:?}");
}

#[test]
fn rewrapped_captures_give_what_the_plain_ones_give() {
    let Some(root) = corpus() else { return };
    for ((category, confidence), score) in compare("derived", &root).0 {
        assert_eq!(score.perfect, score.files, "{category} {confidence}");
    }
}

#[test]
fn odd_captures_have_a_clear_outcome() {
    let Some(root) = corpus() else { return };
    for_each(&list(&root, "robustness"), |file| {
        let run = replay(&root.join("pcaps").join(file), "1");
        assert!(matches!(run.exit, Some(0 | 1)), "{file}: exit {:?}\n{}", run.exit, run.stderr);
        assert!(
            run.exit == Some(0) || run.stderr.to_lowercase().contains("error"),
            "{file}: exit 1 without a reason\n{}",
            run.stderr
        );
    });
}

#[test]
fn any_number_of_workers_gives_the_same_records() {
    let Some(root) = corpus() else { return };
    let files: Vec<String> =
        list(&root, "derived").into_iter().chain(list(&root, "main").into_iter().step_by(7)).collect();
    for_each(&files, |file| {
        let capture = root.join("pcaps").join(file);
        let sorted = |workers| {
            let mut lines: Vec<String> = replay(&capture, workers).records.iter().map(Value::to_string).collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted("1"), sorted("3"), "{file}");
    });
}
