//! What detectors find in files of JSON lines: `cargo run --release -p masking --example alarms FILE...`.
//!
//! For judging false alarms: each finding by line, kind, place in the record and place in the value; never the value.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "an example reads files and prints"
)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::sync::Arc;

use masking::{Action, Detector, Masker, Policy, Settings, Side};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let settings = Settings {
        key: vec![7; 32],
        credentials: false,
        detectors: Detector::ALL.into_iter().map(|detector| (detector, Action::Redact)).collect(),
        ..Settings::default()
    };
    let mut masker = Masker::new(Arc::new(Policy::new(&settings)?));
    let mut counts = BTreeMap::<String, u64>::new();
    for file in std::env::args().skip(1) {
        for (number, line) in BufReader::new(std::fs::File::open(&file)?).split(b'\n').enumerate() {
            masker.begin();
            masker.body(Side::Request, Some(b"application/json"), &line?, false);
            for finding in masker.findings() {
                let count = counts.entry(finding.kind.to_owned()).or_default();
                *count += 1;
                if *count <= 40 {
                    println!(
                        "{file}:{} {} {} {}-{}",
                        number + 1,
                        finding.kind,
                        finding.field,
                        finding.start,
                        finding.end
                    );
                }
            }
        }
    }
    for (kind, count) in counts {
        println!("{count:8} {kind}");
    }
    Ok(())
}
