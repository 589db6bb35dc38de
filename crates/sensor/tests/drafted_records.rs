//! Whoever writes a record, the thread that reads or another one, by a copy of the exchange: it is the same.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use sensor::config::Loaded;
use sensor::filter::RuleSwitch;
use sensor::ledger::{Captures, Ledger};
use sensor::masker::MaskPolicy;
use sensor::outlet::{CHUNK, Handoff, KEPT, Outlet as _};
use sensor::pipeline::{LaneReport, Pipeline, Settings};
use sensor::policy;
use sensor::record::{EdgeOptions, RecordOptions, Shape, Unsealed};
use sensor::scribe::Copyist;
use sensor::source::{CaptureReader, Input, ReadOptions};

/// Asks for drafts in turns, as a thread does that is now busy and now not; and has records of both kinds sealed.
struct Turns {
    /// Which of eight buffers are to be drafts, a bit each.
    pattern: u8,
    handed_on: u32,
    drafted: u64,
    copyist: Copyist,
    lines: Vec<u8>,
}

impl Handoff for Turns {
    fn hand_on(&mut self, records: &mut Unsealed) -> ControlFlow<()> {
        let is_drafts = !records.drafts().is_empty();
        assert!(!is_drafts || self.takes_drafts(), "drafts come only where they are taken");
        assert!(records.size() < 2 * CHUNK || !is_drafts, "what is large is not copied");
        self.handed_on += 1;
        let flow = if is_drafts {
            self.drafted += records.count() as u64;
            self.copyist.write(records.drafts(), &mut self.lines)
        } else {
            self.lines.accept(&records.seal())
        };
        records.clear(KEPT);
        assert!(records.is_empty() && records.size() == 0);
        flow
    }

    fn takes_drafts(&self) -> bool {
        self.pattern >> (self.handed_on % 8) & 1 == 1
    }
}

fn settings(config: &str, key: &Path, shape: Shape, body_limit: usize) -> Settings {
    let mut config = Loaded::parse(config, Path::new("test.toml")).unwrap().config;
    config.mask.key_file = Some(key.to_owned());
    let settings = Settings {
        decap: decap::Config::default(),
        reassembly: reassembly::Limits::default(),
        http: http_parse::Settings { body_limit, ..http_parse::Settings::default() },
        record: RecordOptions {
            sensor: "test".to_owned(),
            decode_limit: 4 * body_limit,
            content_limit: usize::MAX,
            shape,
        },
        mask: MaskPolicy::from_config(&config.mask).unwrap(),
        normalize: Arc::new(policy::normalizer(&config.normalize)),
        filters: Arc::new(RuleSwitch::new(policy::rules(&config).unwrap())),
    };
    settings.with_memory(1 << 30, 1).unwrap()
}

/// The lines of all bundled captures, one after the other, as one replay; the ledger, and how many records were drafts.
fn replay(settings: &Settings, pattern: u8) -> (Vec<u8>, Ledger, LaneReport, u64) {
    let copyist = Copyist::new(settings);
    let turns = Turns { pattern, handed_on: 0, drafted: 0, copyist, lines: Vec::new() };
    let mut pipeline = Pipeline::new(settings.decap.clone(), sensor::pipeline::Lane::new(settings, turns));
    let mut captures = Captures::default();
    for capture in fixtures::captures() {
        let mut reader = CaptureReader::open(&Input::File(capture.path), &ReadOptions::default()).unwrap();
        captures.opened += 1;
        while let Some(captured) = reader.next().unwrap() {
            captures.frames += 1;
            pipeline.push(captured.frame);
        }
        captures.unsupported += reader.counts().unsupported;
    }
    pipeline.finish();
    let (decap, payload_bytes) = (pipeline.decap_stats().clone(), pipeline.payload_bytes());
    let mut lane = pipeline.into_segments();
    lane.finish();
    let report = lane.report();
    let turns = lane.records_mut().outlet_mut();
    let copied = turns.copyist.report();
    let ledger = Ledger::gather(captures, &decap, payload_bytes, [&report, &copied]);
    ledger.check().unwrap();
    let mut all = report;
    all.recorded += copied.recorded;
    all.unsendable += copied.unsendable;
    all.tally.merge(&copied.tally);
    (core::mem::take(&mut turns.lines), ledger, all, turns.drafted)
}

#[test]
fn records_do_not_show_who_wrote_them() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    fs::write(&key, [7; 32]).unwrap();
    let rules = r#"
        [normalize]
        trusted_proxies = ["10.0.0.0/8", "127.0.0.0/8"]
        [[filters.rule]]
        name = "some"
        kind = "include"
        method = ["GET"]
        sample = { rate = 0.5 }
        [[filters.rule]]
        name = "others"
        kind = "include"
        host = ["glob:*"]
    "#;
    let edge = || Shape::Edge(EdgeOptions::default());
    let mut compared = 0;
    for (config, shape, body_limit) in [
        ("", Shape::Native, 0),
        ("", Shape::Native, 32 << 10),
        ("mask.enabled = false", Shape::Native, 1 << 20),
        ("", edge(), 32 << 10),
        (rules, Shape::Native, 32 << 10),
    ] {
        let settings = settings(config, &key, shape, body_limit);
        let (lines, ledger, counted, drafted) = replay(&settings, 0);
        assert_eq!(drafted, 0);
        assert!(lines.len() > 2 * CHUNK, "there is something to compare: {}", lines.len());
        for pattern in [0xff, 0b0101_0101, 0b0011_0110] {
            let (others, other_ledger, other_counted, drafted) = replay(&settings, pattern);
            assert!(drafted > 0);
            assert!(lines == others, "lines differ: {config} {body_limit} {pattern:b}");
            assert_eq!(other_ledger.to_json(), ledger.to_json());
            assert_eq!(other_counted.tally.flags, counted.tally.flags);
            assert_eq!(other_counted.tally.status_classes, counted.tally.status_classes);
            assert_eq!(other_counted.recorded, counted.recorded);
            compared += drafted;
        }
    }
    assert!(compared > 1_000, "{compared}");
}
