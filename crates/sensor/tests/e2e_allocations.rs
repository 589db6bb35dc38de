//! From frame to record on one thread, nothing is allocated for a packet or a transaction once buffers have their size.

mod cli_capture;

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use cli_capture::Capture;
use decap::{Frame, LinkType, Timestamp};
use sensor::config::Loaded;
use sensor::filter::RuleSwitch;
use sensor::outlet::{Discard, Handoff, KEPT};
use sensor::pipeline::{Lane, Pipeline, Segments as _, Settings};
use sensor::policy;
use sensor::record::{RecordOptions, Shape, Unsealed};
use sensor::scribe::Copyist;

#[test]
fn steady_state_allocates_nothing() {
    allocates_nothing("", 4_000);
}

/// Rules on everything but what sampling needs, clients behind proxies: neither names nor filters allocate.
#[test]
fn nor_do_names_and_filters() {
    let config = r#"
        [normalize]
        trusted_proxies = ["10.0.0.0/8"]
        names = { vlan = { 7 = "seven" } }
        [filters]
        sets = ["static_assets", "health_checks", "mesh_probes", "shadow_traffic"]
        [[filters.rule]]
        name = "three"
        kind = "exclude"
        path = ["/things/3", "regex:^/never"]
        [[filters.rule]]
        name = "kept"
        kind = "allow"
        server = ["10.0.0.2"]
        header = { host = "glob:*" }
        status = ["2xx"]
        path = ["glob:/things/?"]
    "#;
    allocates_nothing(config, 4_000);
}

/// Records that are written by a copy of their exchange.
#[test]
fn nor_do_drafts() {
    allocates_nothing_to("", 4_000, |settings| Copying { copyist: Copyist::new(settings), bytes: Discard::default() });
}

struct Copying {
    copyist: Copyist,
    bytes: Discard,
}

impl Handoff for Copying {
    fn hand_on(&mut self, records: &mut Unsealed) -> ControlFlow<()> {
        let flow = self.copyist.write(records.drafts(), &mut self.bytes);
        records.clear(KEPT);
        flow
    }

    fn takes_drafts(&self) -> bool {
        true
    }
}

/// Where lines went, and how many were written there.
trait Written {
    fn bytes(&self) -> u64;
    fn records(&self) -> u64;
}

impl Written for Discard {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn records(&self) -> u64 {
        0
    }
}

impl Written for Copying {
    fn bytes(&self) -> u64 {
        self.bytes.bytes
    }

    fn records(&self) -> u64 {
        self.copyist.report().recorded
    }
}

fn allocates_nothing(config: &str, recorded: u64) {
    allocates_nothing_to(config, recorded, |_| Discard::default());
}

fn allocates_nothing_to<H: Handoff + Written>(config: &str, recorded: u64, handoff: impl FnOnce(&Settings) -> H) {
    let config = Loaded::parse(config, Path::new("test.toml")).unwrap().config;
    // Four connections that never end, each a thousand transactions long, interleaved: more frames than a tick's window.
    let mut connections = Vec::new();
    for n in 0..4 {
        let mut capture = Capture::default();
        let mut conversation = capture.open(([10, 0, 0, 1], 20_000 + n), ([10, 0, 0, 2], 80));
        for transaction in 0..1_000 {
            conversation.transaction(&format!("/things/{}", transaction % 7), transaction);
        }
        connections.push(capture.packets);
    }
    let frames: Vec<Vec<u8>> =
        (0..connections[0].len()).flat_map(|n| connections.iter().map(move |packets| packets[n].clone())).collect();
    let settings = Settings {
        decap: decap::Config::default(),
        reassembly: reassembly::Limits::default(),
        http: http_parse::Settings::default(),
        record: RecordOptions {
            sensor: "test".to_owned(),
            decode_limit: 128 << 10,
            content_limit: usize::MAX,
            shape: Shape::Native,
        },
        mask: None,
        normalize: Arc::new(policy::normalizer(&config.normalize)),
        filters: Arc::new(RuleSwitch::new(policy::rules(&config).unwrap())),
    };
    let settings = settings.with_memory(256 << 20, 1).unwrap();
    let handoff = handoff(&settings);
    let mut pipeline = Pipeline::new(settings.decap.clone(), Lane::new(&settings, handoff));
    let mut push = |range: std::ops::Range<usize>| {
        for n in range {
            let data = &frames[n];
            pipeline.push(Frame {
                at: Timestamp::from_nanos(1_700_000_000_000_000_000 + n as u64 * 50_000),
                link: LinkType::Ethernet,
                data,
                wire_len: data.len() as u32,
            });
        }
    };
    let half = frames.len() / 2;
    push(0..half);
    let measured = allocation_counter::measure(|| push(half..frames.len()));
    assert_eq!(measured.count_total, 0, "{measured:?}");
    let lane = pipeline.segments_mut();
    assert!(!lane.is_stopped());
    let report = lane.report();
    let filtered = report.filtered.sum(|rule| rule.exchanges);
    lane.flush();
    let written = lane.records_mut().outlet_mut().records();
    assert_eq!(report.recorded + filtered + written, recorded);
    assert!(config.filters.rule.is_empty() || (filtered > 0 && report.recorded > filtered), "{filtered}");
    assert!(lane.records_mut().outlet_mut().bytes() > 0, "chunks left while it was measured");
}
