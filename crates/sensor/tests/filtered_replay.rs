//! Filters and normalization in whole replays: what is recorded, what each rule left out, and a ledger that says so.

mod cli_capture;
mod e2e_support;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use decap::Decapsulator;
use e2e_support::add_up;
use fixtures::capture::Format;
use fixtures::{Conversation, Packet, Segmentation, Side, Wire};
use http_parse::{ClientHello, Exchange, Heads, Message};
use proptest::prelude::*;
use reassembly::Reassembler;
use sensor::config::Loaded;
use sensor::filter::{Decision, Slot};
use sensor::gate::{Gate, Memo};
use sensor::handler::{Finds, HttpHandler};
use sensor::ledger::{Captures, Ledger};
use sensor::normalize::Normalizer;
use sensor::pipeline::{Pipeline, Segments, Settings};
use sensor::policy;
use sensor::record::ConnectionMeta;
use sensor::workers::Workers;
use serde_json::{Value, json};

fn settings(config: &str) -> Settings {
    let config = Loaded::parse(config, Path::new("test.toml")).unwrap().config;
    Settings {
        normalize: Arc::new(policy::normalizer(&config.normalize)),
        filters: Arc::new(sensor::filter::RuleSwitch::new(policy::rules(&config).unwrap())),
        ..e2e_support::settings()
    }
}

/// Records, sorted, and the ledger.
fn replay(settings: &Settings, packets: &[Packet], workers: usize) -> (Vec<Value>, Value) {
    let captures = Captures { opened: 1, frames: packets.len() as u64, ..Captures::default() };
    let (lines, ledger) = if workers > 1 {
        let workers = Workers::start(settings, workers, Vec::new()).unwrap();
        let mut pipeline = Pipeline::new(settings.decap.clone(), workers);
        feed(&mut pipeline, packets);
        let (decap, payload_bytes) = (pipeline.decap_stats().clone(), pipeline.payload_bytes());
        let (lanes, lines) = pipeline.into_segments().finish().unwrap();
        (lines, Ledger::gather(captures, &decap, payload_bytes, &lanes))
    } else {
        let mut pipeline = Pipeline::inline(settings, Vec::new());
        feed(&mut pipeline, packets);
        let (decap, payload_bytes) = (pipeline.decap_stats().clone(), pipeline.payload_bytes());
        let mut lane = pipeline.into_segments();
        lane.finish();
        let ledger = Ledger::gather(captures, &decap, payload_bytes, [&lane.report()]);
        (std::mem::take(lane.records_mut().outlet_mut()), ledger)
    };
    ledger.check().unwrap();
    let ledger = ledger.to_json();
    add_up(&ledger);
    let mut records: Vec<Value> = lines
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    records.sort_by_key(|record| record["id"].as_str().unwrap().to_owned());
    assert_eq!(ledger["exchanges"]["recorded"], records.len());
    (records, ledger)
}

fn feed<S: Segments>(pipeline: &mut Pipeline<S>, packets: &[Packet]) {
    for packet in packets {
        pipeline.push(packet.frame());
    }
    pipeline.finish();
}

/// A connection of requests for these paths, each with a body; the answers say of what type they are.
fn conversation<'a>(paths: impl IntoIterator<Item = &'a str>) -> Conversation {
    let mut conversation = Conversation::new();
    for path in paths {
        let kind = if path.ends_with(".png") { "image/png" } else { "application/json; charset=utf-8" };
        let status = if path.contains("missing") { "404 Not Found" } else { "200 OK" };
        let request = format!("POST {path} HTTP/1.1\r\nHost: API.example:8080\r\nContent-Length: 5\r\n\r\nhello");
        let response = format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: 6\r\n\r\nanswer");
        conversation.say(Side::Client, request);
        conversation.say(Side::Server, response);
    }
    conversation
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Two connections to different servers, one behind the other.
fn two_servers() -> Vec<Packet> {
    let wire = |server| Wire::new(7).endpoints(address("10.0.0.1:40000"), address(server));
    let mut packets = wire("10.9.0.1:80").run(&conversation(["/a/1", "/a/2"]));
    packets.extend(wire("10.9.0.2:8443").run(&conversation(["/b/1", "/b/2", "/b/3"])));
    packets
}

#[test]
fn a_flow_that_is_out_by_its_addresses_is_never_read() {
    for (condition, workers) in [
        ("server = [\"10.9.0.2\"]", 1),
        ("port = [8443]", 3),
        ("server = [\"10.9.0.2\"]\nclient = [\"10.0.0.0/8\"]", 2),
    ] {
        let config = format!("[[filters.rule]]\nname = \"away\"\nkind = \"ignore\"\n{condition}\n");
        let (records, ledger) = replay(&settings(&config), &two_servers(), workers);
        assert_eq!(records.len(), 2);
        assert!(records.iter().all(|record| record["server"]["ip"] == "10.9.0.1"));
        assert_eq!(
            ledger["opened_flows"],
            json!({"total": 2, "read": 1, "filtered": {"away": 1, "no_include_rule": 0}})
        );
        // Not one of its messages was parsed, and all of its bytes are accounted for.
        assert_eq!(ledger["messages"]["total"], 4);
        assert_eq!(ledger["exchanges"]["total"], 2);
        let conversation = conversation(["/b/1", "/b/2", "/b/3"]);
        let bytes = conversation.stream_len(Side::Client) + conversation.stream_len(Side::Server);
        assert_eq!(ledger["stream_bytes"]["filtered"]["away"], bytes);
    }
}

#[test]
fn with_an_include_rule_on_addresses_all_others_are_out_whole() {
    let config = "[[filters.rule]]\nname = \"mine\"\nkind = \"include\"\nserver = [\"10.9.0.1\"]\n";
    let (records, ledger) = replay(&settings(config), &two_servers(), 1);
    assert_eq!(records.len(), 2);
    assert_eq!(ledger["opened_flows"]["filtered"], json!({"no_include_rule": 1}));
    assert!(records.iter().all(|record| record["filter"] == json!({"rule": "mine", "weight": 1})));
}

/// Rules on each kind of fact; every count by name.
#[test]
fn every_outcome_is_in_the_ledger_by_the_rule_s_name() {
    let config = r#"
        [[filters.rule]]
        name = "never"
        kind = "ignore"
        path = ["glob:/private/*"]
        [[filters.rule]]
        name = "pictures"
        kind = "exclude"
        content_type = ["image/*"]
        [[filters.rule]]
        name = "gone"
        kind = "exclude"
        status = [404]
        host = ["api.example"]
        [[filters.rule]]
        name = "kept"
        kind = "allow"
        path = ["glob:/keep/*"]
    "#;
    let paths =
        ["/private/1", "/%70rivate/2", "/x/../private/3", "/a.png", "/keep/a.png", "/missing", "/keep/missing", "/b"];
    let conversations: Vec<_> = (0..5).map(|_| conversation(paths)).collect();
    let packets = Wire::new(11).run_all(&conversations);
    for workers in [1, 2, 3] {
        let (records, ledger) = replay(&settings(config), &packets, workers);
        assert_eq!(
            ledger["exchanges"],
            json!({
                "total": 40, "recorded": 15, "unsendable": 0, "sampled_out": {},
                "filtered": {"never": 15, "pictures": 5, "gone": 5, "no_include_rule": 0},
            })
        );
        let mut by_path: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
        for record in &records {
            by_path.entry(record["request"]["path"].as_str().unwrap()).or_default().push(&record["filter"]);
        }
        let kept = json!({"rule": "kept", "weight": 1});
        assert_eq!(
            by_path,
            BTreeMap::from([
                ("/b", vec![&Value::Null; 5]),
                ("/keep/a.png", vec![&kept; 5]),
                ("/keep/missing", vec![&kept; 5])
            ])
        );
        // What is recorded is whole: the bodies of others were left out, not theirs.
        for record in &records {
            assert_eq!(
                (&record["request"]["body"]["content"], &record["response"]["body"]["content"]),
                (&json!("hello"), &json!("answer"))
            );
            assert_eq!(record["flags"], json!([]));
        }
    }
}

/// However a request writes the host that a rule leaves out; what the others say of theirs is as it was sent.
#[test]
fn a_host_is_out_however_it_is_written() {
    let config =
        "[[filters.rule]]\nname = \"secret\"\nkind = \"exclude\"\nhost = [\"secret.example\", \"[2001:db8::1]\"]\n";
    let out = [
        "secret.example",
        "SECRET.example.:8443",
        "u@secret.example",
        "a, u:hunter22@secret.example",
        "http://Secret.example/",
        "u%3Ahunter22%40secret.example",
        "[2001:DB8:0::1]:443",
        "a\r\nHost: secret.example",
        "secret.example\r\nX-A: b\r\nhost: a",
        "\r\nHost: a, b\r\nHost: u@secret.example:80",
    ];
    let kept = [
        ("a, b", "a, b"),
        ("u@A.example", "u@a.example"),
        ("a\r\nHost: b", "a"),
        ("secret.example@a", "secret.example@a"),
    ];
    let mut conversation = Conversation::new();
    for host in out.into_iter().chain(kept.map(|(host, _)| host)) {
        conversation.say(Side::Client, format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        conversation.say(Side::Server, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    }
    let targets = ["http://u:hunter22@secret.example/", "http://SECRET.example:80/x"];
    for target in targets {
        conversation.say(Side::Client, format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        conversation.say(Side::Server, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    }
    let (records, ledger) = replay(&settings(config), &Wire::new(3).run(&conversation), 1);
    assert_eq!(ledger["exchanges"]["filtered"]["secret"], out.len() + targets.len());
    let mut hosts: Vec<&str> = records.iter().map(|record| record["request"]["host"].as_str().unwrap()).collect();
    hosts.sort_unstable();
    let mut expected = kept.map(|(_, host)| host);
    expected.sort_unstable();
    assert_eq!(hosts, expected);
}

/// A fragment has no place in a request; servers leave it off.
#[test]
fn a_fragment_gets_round_no_rule() {
    let settings = settings("[[filters.rule]]\nname = \"admin\"\nkind = \"exclude\"\npath = [\"/admin\"]\n");
    let paths = ["/admin", "/admin#x", "/admin#", "/x/../admin#x?y", "http://api.example/admin#x", "/other#/admin"];
    let (records, ledger) = replay(&settings, &Wire::new(7).run(&conversation(paths)), 1);
    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["request"]["target"], "/other#/admin", "what is recorded is what was sent");
    assert_eq!(ledger["exchanges"]["filtered"]["admin"], 5);
}

#[test]
fn a_sample_is_the_same_for_any_number_of_workers_and_its_weights_add_up() {
    let config = "[[filters.rule]]\nname = \"some\"\nkind = \"include\"\nsample = { rate = 0.25 }\n";
    let paths: Vec<String> = (0..50).map(|n| format!("/v1/orders/{n}")).collect();
    let conversations: Vec<_> = (0..40).map(|_| conversation(paths.iter().map(String::as_str))).collect();
    let packets = Wire::new(13).run_all(&conversations);
    let (records, ledger) = replay(&settings(config), &packets, 1);
    let sampled_out = ledger["exchanges"]["sampled_out"]["some"].as_u64().unwrap();
    assert_eq!(sampled_out + records.len() as u64, 2_000);
    let weights: u64 = records.iter().map(|record| record["filter"]["weight"].as_u64().unwrap()).sum();
    assert_eq!(weights, 4 * records.len() as u64);
    // Five standard deviations.
    assert!(records.len().abs_diff(500) < 100, "{}", records.len());
    for workers in [2, 3] {
        assert_eq!(replay(&settings(config), &packets, workers), (records.clone(), ledger.clone()));
    }
}

#[test]
fn the_first_few_of_each_endpoint_in_a_minute_are_recorded() {
    let config = "[[filters.rule]]\nname = \"few\"\nkind = \"allow\"\nsample = { first_per_minute = 3 }\n";
    let paths: Vec<String> = (0..20).flat_map(|n| [format!("/v1/orders/{n}"), format!("/v1/users/{n}/face")]).collect();
    let packets = Wire::new(17).run(&conversation(paths.iter().map(String::as_str)));
    let (records, ledger) = replay(&settings(config), &packets, 1);
    let mut by_template: BTreeMap<&str, u32> = BTreeMap::new();
    for record in &records {
        *by_template.entry(record["request"]["template"].as_str().unwrap()).or_default() += 1;
    }
    assert_eq!(by_template, BTreeMap::from([("/v1/orders/{id}", 3), ("/v1/users/{id}/face", 3)]));
    assert_eq!(ledger["exchanges"]["sampled_out"], json!({"few": 34}));
}

#[test]
fn each_minute_has_its_number_whatever_worker_comes_to_it_when() {
    let few = "[[filters.rule]]\nname = \"few\"\nkind = \"include\"\nsample = { first_per_minute = 3 }\n";
    let paths: Vec<String> = (0..30).map(|n| format!("/v1/{}/{n}", ["orders", "users", "carts"][n % 3])).collect();
    let conversations: Vec<_> = (0..8).map(|_| conversation(paths.iter().map(String::as_str))).collect();
    // A transaction takes several seconds, so that a connection lasts for minutes; workers come to theirs at any time.
    let packets = Wire::new(19).round_trip(Duration::from_secs(5)).run_all(&conversations);
    let by_minute = |records: &[Value]| {
        let mut by_minute: BTreeMap<(String, String), u64> = BTreeMap::new();
        for record in records {
            let (template, time) = (&record["request"]["template"], &record["request"]["time"].as_str().unwrap()[..16]);
            *by_minute.entry((template.as_str().unwrap().to_owned(), time.to_owned())).or_default() += 1;
        }
        by_minute
    };
    let (all, _) = replay(&settings(""), &packets, 1);
    let mut expected = by_minute(&all);
    assert!(expected.len() > 6 && expected.values().any(|number| *number > 20), "{expected:?}");
    expected.values_mut().for_each(|number| *number = 3.min(*number));
    for workers in 1..=4 {
        let (records, ledger) = replay(&settings(few), &packets, workers);
        assert_eq!(by_minute(&records), expected, "with {workers} workers");
        assert_eq!(ledger["exchanges"]["sampled_out"]["few"], all.len() - records.len());
    }
}

/// Asks a gate as a worker does, and looks at which bodies were kept.
struct Watched {
    gate: Gate,
    recorded: u32,
    left_out: u32,
}

impl Finds for Watched {
    fn open(&mut self, meta: &ConnectionMeta) -> Option<Slot> {
        self.gate.flow(meta)
    }

    fn unread(&mut self, _: Slot, _: u64) {}

    fn wants_body(&mut self, meta: &ConnectionMeta, memo: &mut Memo, heads: &Heads<'_>) -> bool {
        self.gate.wants_body(meta, memo, heads)
    }

    fn exchange(&mut self, meta: &ConnectionMeta, memo: &mut Memo, exchange: &Exchange<'_>) {
        let kept = |message: Option<&Message>| message.map_or(0, |message| message.body().captured.len());
        let kept = (kept(exchange.request), kept(exchange.response));
        match self.gate.decide(meta, memo, exchange) {
            Decision::Record { .. } => {
                self.recorded += 1;
                assert_eq!(kept, (5, 6));
            }
            out => {
                self.left_out += 1;
                assert_eq!(kept, (0, 0), "{out:?}");
            }
        }
    }

    fn client_hello(&mut self, _: &ClientHello) {}

    fn normalizer(&self) -> &Normalizer {
        self.gate.normalizer()
    }
}

/// What a rule leaves out by the request, and what a sample leaves out by the transaction's id.
#[test]
fn no_body_is_kept_of_what_is_left_out() {
    for (rule, recorded) in [
        ("kind = \"exclude\"\npath = [\"glob:/v1/orders/*\"]", 0..1),
        ("kind = \"include\"\npath = [\"/v1/orders/7\"]", 1..2),
        ("kind = \"include\"\nsample = { rate = 0.25 }", 10..100),
        ("kind = \"allow\"\nsample = { rate = 1.0 }", 200..201),
    ] {
        let settings = settings(&format!("[[filters.rule]]\nname = \"some\"\n{rule}\n"));
        let gate = Gate::new(Arc::clone(&settings.normalize), Arc::clone(&settings.filters));
        let handler = HttpHandler::new(settings.http.clone(), Watched { gate, recorded: 0, left_out: 0 });
        let mut reassembler = Reassembler::new(settings.reassembly.clone(), handler);
        let mut decap = Decapsulator::new(settings.decap.clone());
        let paths: Vec<String> = (0..200).map(|n| format!("/v1/orders/{n}")).collect();
        for packet in Wire::new(5).run(&conversation(paths.iter().map(String::as_str))) {
            if let decap::Verdict::Segment(segment) = decap.push(packet.frame()) {
                reassembler.push(&segment);
            }
        }
        reassembler.finish();
        let watched = reassembler.handler().finds();
        assert_eq!(watched.recorded + watched.left_out, 200);
        assert!(recorded.contains(&watched.recorded), "{rule}: {}", watched.recorded);
    }
}

/// On real traffic: what is recorded and what is filtered is together what there is, and nobody's work changes it.
#[test]
fn bundled_captures_come_apart_by_rules_and_stay_whole() {
    let config = r#"
        [filters]
        sets = ["static_assets", "health_checks", "mesh_probes", "shadow_traffic"]
        [[filters.rule]]
        name = "posts"
        kind = "exclude"
        method = ["POST"]
        [[filters.rule]]
        name = "errors"
        kind = "exclude"
        status = ["4xx", "5xx"]
        [[filters.rule]]
        name = "json"
        kind = "allow"
        content_type = ["+json", "application/json"]
        sample = { rate = 0.5 }
    "#;
    let (mut filtered, mut sampled_out) = (0, 0);
    for capture in fixtures::captures() {
        let packets = fixtures::capture::read_file(&capture.path).unwrap();
        let (all, _) = replay(&settings(""), &packets, 1);
        let (records, ledger) = replay(&settings(config), &packets, 1);
        assert_eq!(ledger["exchanges"]["total"], all.len(), "{}", capture.name);
        // A record is what it is without filters, but for which of them let it through.
        for record in &records {
            let same = all.iter().find(|other| other["id"] == record["id"] && other["time"] == record["time"]);
            let mut bare = record.clone();
            bare.as_object_mut().unwrap().remove("filter");
            assert_eq!(Some(&bare), same, "{}", capture.name);
        }
        assert_eq!(replay(&settings(config), &packets, 3), (records, ledger.clone()), "{}", capture.name);
        let sum = |fate: &str| -> u64 {
            ledger["exchanges"][fate].as_object().unwrap().values().filter_map(Value::as_u64).sum()
        };
        filtered += sum("filtered");
        sampled_out += sum("sampled_out");
    }
    assert!(filtered > 10 && sampled_out > 50, "{filtered} filtered, {sampled_out} sampled out");
}

/// A connection behind a load balancer: a header, and then requests that name clients.
fn proxied(header: &[u8]) -> (Conversation, Conversation) {
    let bare = conversation(["/a/1", "/a/2"]);
    let mut with_header = bare.clone();
    with_header.turns[0].bytes.splice(0..0, header.iter().copied());
    // Turns wait for as many bytes of the other side as were sent; the client has sent more now.
    for turn in with_header.turns.iter_mut().filter(|turn| turn.side == Side::Server) {
        turn.after += header.len() as u64;
    }
    (bare, with_header)
}

fn v2(extensions: usize) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11".to_vec();
    header.extend_from_slice(&(12 + 3 + extensions as u16).to_be_bytes());
    header.extend_from_slice(&[192, 0, 2, 1, 198, 51, 100, 7, 0xdc, 4, 1, 0xbb]);
    header.push(0xea);
    header.extend_from_slice(&(extensions as u16).to_be_bytes());
    header.resize(header.len() + extensions, b'G');
    header
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// However the stream is cut, a PROXY protocol header is taken off, and all behind it is as without it.
    #[test]
    fn proxy_protocol_headers_are_taken_off(seed: u64, kind in 0..3_usize, cut in 1..60_usize) {
        let header = match kind {
            0 => b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n".to_vec(),
            1 => v2(0),
            _ => v2(3_000),
        };
        let (bare, with_header) = proxied(&header);
        let wire = |segmentation| Wire::new(seed).segmentation(segmentation).endpoints(address("10.0.0.1:40000"), address("10.9.0.1:80"));
        let config = "[normalize]\ntrusted_proxies = [\"10.0.0.0/8\"]\n";
        let (expected, _) = replay(&settings(config), &wire(Segmentation::Turns).run(&bare), 1);
        let packets = wire(Segmentation::Random { max: cut }).run(&with_header);
        let (records, ledger) = replay(&settings(config), &packets, 1);
        prop_assert_eq!(records.len(), 2);
        prop_assert_eq!(&ledger["beside"]["proxy_protocol_connections"], 1);
        prop_assert_eq!(&ledger["stream_bytes"]["proxy_protocol"], header.len());
        let said = |record: &Value| (record["request"]["target"].clone(), record["request"]["headers"].clone(), record["response"]["body"]["content"].clone(), record["flags"].clone(), record["connection"]["transaction"].clone());
        let sorted = |records: &[Value]| {
            let mut said: Vec<_> = records.iter().map(|record| format!("{:?}", said(record))).collect();
            said.sort();
            said
        };
        prop_assert_eq!(sorted(&records), sorted(&expected));
        for record in &records {
            prop_assert_eq!(&record["client"], &json!({"ip": "192.0.2.1", "port": 56324, "source": "proxy_protocol"}));
            prop_assert_eq!(&record["peer"], &json!({"ip": "10.0.0.1", "port": 40000}));
        }
        // Of someone who is not trusted it is taken off all the same, and not believed.
        let (records, _) = replay(&settings(""), &packets, 1);
        for record in &records {
            prop_assert_eq!(&record["client"], &json!({"ip": "10.0.0.1", "port": 40000, "source": "connection"}));
            prop_assert!(record.get("peer").is_none());
        }
        // Switched off, the stream is what it is.
        let (_, ledger) = replay(&settings("[normalize]\nproxy_protocol = false\n"), &packets, 1);
        prop_assert_eq!(&ledger["stream_bytes"]["proxy_protocol"], 0);
    }
}

#[test]
fn clients_are_who_trusted_proxies_say_and_rules_go_by_that() {
    let mut conversation = Conversation::new();
    for forwarded in ["203.0.113.9, 192.0.2.33, 10.0.0.7", "192.0.2.44"] {
        conversation.say(
            Side::Client,
            format!("GET /a HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {forwarded}\r\nX-Forwarded-Proto: https\r\n\r\n"),
        );
        conversation.say(Side::Server, "HTTP/1.1 204 No Content\r\n\r\n");
    }
    let packets = Wire::new(3).endpoints(address("10.0.0.1:40000"), address("10.9.0.1:80")).run(&conversation);
    let trusting = "[normalize]\ntrusted_proxies = [\"10.0.0.0/8\"]\n";
    let (records, _) = replay(&settings(trusting), &packets, 1);
    let mut clients: Vec<_> = records.iter().map(|record| record["client"]["ip"].as_str().unwrap()).collect();
    clients.sort_unstable();
    assert_eq!(clients, ["192.0.2.33", "192.0.2.44"]);
    for record in &records {
        assert_eq!((&record["client"]["source"], &record["client"]["port"]), (&json!("x_forwarded_for"), &Value::Null));
        assert_eq!((&record["peer"]["ip"], &record["request"]["scheme"]), (&json!("10.0.0.1"), &json!("https")));
    }
    let rule = "[[filters.rule]]\nname = \"guest\"\nkind = \"ignore\"\nclient = [\"192.0.2.33\"]\n";
    let (records, ledger) = replay(&settings(&format!("{trusting}{rule}")), &packets, 1);
    assert_eq!((records.len(), &ledger["exchanges"]["filtered"]["guest"]), (1, &json!(1)));
    // Nobody is trusted: the same rule finds nobody.
    let (records, _) = replay(&settings(rule), &packets, 1);
    assert!(records.iter().all(|record| record["client"]["ip"] == "10.0.0.1" && record["request"]["scheme"] == "http"));
    assert_eq!(records.len(), 2);
}

#[test]
fn rules_that_come_later_hold_from_then_on_and_earlier_counts_stay() {
    let rule = |name: &str, path: &str| {
        let config = format!("[[filters.rule]]\nname = \"{name}\"\nkind = \"ignore\"\npath = [\"{path}\"]\n");
        policy::rules(&Loaded::parse(&config, Path::new("test.toml")).unwrap().config).unwrap()
    };
    let settings = settings("");
    settings.filters.replace(rule("first", "/a"));
    let mut pipeline = Pipeline::inline(&settings, Vec::new());
    let packets = Wire::new(5).run(&conversation(["/a", "/b"].repeat(10)));
    let half = packets.len() / 2;
    packets[..half].iter().for_each(|packet| pipeline.push(packet.frame()));
    let before = pipeline.segments().report();
    settings.filters.replace(rule("second", "/b"));
    pipeline.segments_mut().refresh();
    packets[half..].iter().for_each(|packet| pipeline.push(packet.frame()));
    pipeline.finish();
    let mut lane = pipeline.into_segments();
    lane.finish();
    let report = lane.report();
    let count = |report: &sensor::pipeline::LaneReport, name: &str| {
        report.filtered.each().iter().find(|rule| &*rule.name == name).map_or(0, |rule| rule.exchanges)
    };
    assert!(count(&before, "first") > 2 && count(&before, "second") == 0);
    assert_eq!(count(&report, "first"), count(&before, "first"));
    assert!(count(&report, "second") > 2);
    assert_eq!(count(&report, "first") + count(&report, "second") + report.recorded, 20);
}

fn write(folder: &tempfile::TempDir, config: &str, packets: &[Packet]) -> (PathBuf, PathBuf) {
    let (file, capture) = (folder.path().join("sensor.toml"), folder.path().join("capture.pcap"));
    std::fs::write(&file, config).unwrap();
    std::fs::write(&capture, fixtures::capture::write(packets, Format::Pcap { nanos: true, big_endian: false }))
        .unwrap();
    (file, capture)
}

#[test]
fn filter_test_says_which_rule_decides_and_replay_does_that() {
    let config = r#"
        [[filters.rule]]
        name = "away"
        kind = "ignore"
        server = ["10.9.0.2"]
        [[filters.rule]]
        name = "second"
        kind = "exclude"
        path = ["/a/2"]
    "#;
    let folder = tempfile::tempdir().unwrap();
    let (file, capture) = write(&folder, config, &two_servers());
    let sensor = |args: &[&str]| {
        let mut command = assert_cmd::Command::cargo_bin("sensor").unwrap();
        command.args(args).arg("--config").arg(&file).arg(&capture).output().unwrap()
    };
    let output = sensor(&["filter", "test", "--format", "ndjson"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let mut listed: Vec<(String, String, String, String)> = Vec::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| line[name].as_str().unwrap_or("none").to_owned();
        listed.push((text("path"), text("outcome"), text("rule"), text("stage")));
    }
    let row = |path: &str, outcome: &str, rule: &str, stage: &str| {
        (path.to_owned(), outcome.to_owned(), rule.to_owned(), stage.to_owned())
    };
    assert_eq!(
        listed,
        [
            row("/a/1", "recorded", "none", "request"),
            row("/a/2", "filtered", "second", "request"),
            row("/b/1", "filtered", "away", "flow"),
            row("/b/2", "filtered", "away", "flow"),
            row("/b/3", "filtered", "away", "flow"),
        ]
    );
    let summary = String::from_utf8(output.stderr).unwrap();
    assert!(summary.contains("5 transactions") && summary.contains("3 filtered by away"), "{summary}");
    let table = String::from_utf8(sensor(&["filter", "test", "--only", "filtered"]).stdout).unwrap();
    assert!(table.lines().count() == 5 && table.contains("api.example/a/2"), "{table}");
    // And a replay does what was said.
    let output = sensor(&["replay", "--ledger", "json"]);
    let ledger = e2e_support::ledger_of(&String::from_utf8(output.stderr).unwrap());
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 1);
    assert_eq!(ledger["exchanges"]["filtered"]["second"], 1);
    assert_eq!(ledger["opened_flows"]["filtered"]["away"], 1);
    // What the capture filter leaves out, no rule is asked of: here as there.
    std::fs::write(&file, format!("filter = 'not host 10.9.0.2'\n{config}")).unwrap();
    let output = sensor(&["filter", "test", "--format", "ndjson"]);
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 2);
    let summary = String::from_utf8(output.stderr).unwrap();
    assert!(summary.contains("left out by the capture filter 'not host 10.9.0.2'"), "{summary}");
    assert!(!summary.contains(" 0 frames left out") && summary.contains("2 transactions"), "{summary}");
}
