//! Captures made by others: the connections that other decoders found HTTP in are found, and odd files do no harm.
//!
//! The captures are no part of the project. `SENSOR_CORPUS` names their folder; without it these tests are skipped.

// Helpers of tests are tests; tests may read files and print.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, clippy::print_stdout)]

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use decap::{Config, Decapsulator, Frame, LinkType, Timestamp, Verdict};
use serde_json::Value;

mod capture;

const CATEGORIES: [&str; 4] = ["tunnel_http", "derived_tunnel_http", "vlan_http", "linktype_http"];

fn corpus() -> Option<PathBuf> {
    let folder = std::env::var_os("SENSOR_CORPUS").map(PathBuf::from).filter(|folder| folder.is_dir());
    if folder.is_none() {
        println!("skipped: SENSOR_CORPUS names no folder");
    }
    folder
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Every pair of endpoints that sent a segment, by sender and receiver. `None`: a link type that is not read.
fn connections(path: &Path) -> Option<HashSet<(SocketAddr, SocketAddr)>> {
    let mut decapsulator = Decapsulator::new(Config::default());
    let mut seen = HashSet::new();
    for packet in capture::read(path) {
        let link = LinkType::from_number(packet.link)?;
        let at = Timestamp::from_nanos(packet.nanos);
        if let Verdict::Segment(segment) =
            decapsulator.push(Frame { at, link, data: &packet.data, wire_len: packet.wire_len })
        {
            let (from, to) = (segment.key.source(segment.direction), segment.key.destination(segment.direction));
            seen.insert((SocketAddr::new(from.ip, from.port), SocketAddr::new(to.ip, to.port)));
        }
        assert!(decapsulator.stats().is_balanced(), "{}", path.display());
        assert!(decapsulator.memory() <= decapsulator.config().fragment_memory);
    }
    decapsulator.finish();
    assert!(decapsulator.stats().is_balanced());
    assert_eq!(decapsulator.stats().held, 0);
    Some(seen)
}

#[test]
fn connections_that_others_found_are_found() {
    let Some(corpus) = corpus() else { return };
    let (mut files, mut found, mut missing) = (0, 0, Vec::new());
    for source in std::fs::read_dir(corpus.join("truth")).unwrap() {
        for truth in std::fs::read_dir(source.unwrap().path()).unwrap() {
            let truth = json(&truth.unwrap().path());
            if !CATEGORIES.iter().any(|category| truth["category"] == *category) {
                continue;
            }
            let file = truth["file"].as_str().unwrap();
            let Some(seen) = connections(&corpus.join("pcaps").join(file)) else {
                println!("{file}: link type {} is not read", truth["linktype"]);
                continue;
            };
            files += 1;
            for transaction in truth["transactions"].as_array().unwrap() {
                let endpoint = |name: &str| transaction[name].as_str().and_then(|text| text.parse().ok());
                let (Some(client), Some(server)) = (endpoint("client"), endpoint("server")) else {
                    continue;
                };
                let pair: (SocketAddr, SocketAddr) = (client, server);
                let is_answered = transaction["status"].is_number();
                if seen.contains(&pair) && (!is_answered || seen.contains(&(server, client))) {
                    found += 1;
                } else {
                    missing.push(format!("{file}: {pair:?} ({})", transaction["confidence"]));
                }
            }
        }
    }
    println!("{files} files, {found} transactions' connections found, {} missing", missing.len());
    assert!(files > 0 && missing.is_empty(), "{missing:#?}");
}

#[test]
fn odd_files_do_no_harm() {
    let Some(corpus) = corpus() else { return };
    let lists = json(&corpus.join("lists.json"));
    let files = lists["robustness"].as_array().unwrap();
    for file in files {
        connections(&corpus.join("pcaps").join(file.as_str().unwrap()));
    }
    println!("{} files read", files.len());
}
