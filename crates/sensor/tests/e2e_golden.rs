//! Whole output, byte for byte, of a few conversations: what changes here changes for everyone who reads records.
//!
//! `cargo insta review` shows and accepts what is meant to change.

mod e2e_support;

use e2e_support::{replay, run_well, write_file};
use fixtures::capture::Format;
use fixtures::{Encapsulation, Nest, Outer, Packet, Start, Wire, conversation, faults};

/// The program's records of these packets, and what its ledger has beside zeros.
fn golden(name: &str, packets: &[Packet]) {
    let folder = tempfile::tempdir().unwrap();
    let path = write_file(folder.path(), "golden.pcap", packets, Format::PCAP_NANOS);
    let replayed = run_well(&path, &["--sensor", "golden"]);
    let library = replay(packets);
    assert_eq!(library.ledger, replayed.ledger);
    let mut text = String::from_utf8(replayed.lines).unwrap();
    for line in ["frames", "payload_bytes", "stream_bytes", "messages", "exchanges", "recognized"] {
        text.push_str(&format!("{line}:{}\n", numbers(&replayed.ledger[line])));
    }
    insta::assert_snapshot!(name, text);
}

/// The counts that are not zero.
fn numbers(counts: &serde_json::Value) -> String {
    let counts = counts.as_object().unwrap().iter().map(|(name, count)| match count {
        serde_json::Value::Object(_) => {
            let reasons = numbers(count);
            if reasons.is_empty() { reasons } else { format!(" {name} {{{reasons} }}") }
        }
        _ if *count == 0 => String::new(),
        _ => format!(" {name} {count}"),
    });
    counts.collect()
}

fn file(name: &str) -> fixtures::Conversation {
    conversation::conversation(name).conversation
}

#[test]
fn conversations() {
    for name in [
        "keep-alive",
        "pipelined",
        "chunked-extensions-and-trailers",
        "continue",
        "connect-tls",
        "content-codings-stacked",
        "cut-by-reset",
        "head-and-not-modified",
        "http2-preface",
        "non-utf8",
        "obs-fold",
        "timeout-orphan",
        "unanswered",
        "upgrade-websocket",
    ] {
        golden(name, &Wire::new(1).run(&file(name)));
    }
}

#[test]
fn wrapped() {
    let mut packets = Wire::new(2).ipv6(true).start(Start::MidStream).run(&file("keep-alive"));
    let nest = Nest::one(Encapsulation::Vlan { tpid: 0x8100, id: 12 })
        .within(Encapsulation::Vxlan { vni: 7 }, Outer::v4(1))
        .within(Encapsulation::Geneve { vni: 9, ethernet: true, options: Vec::new() }, Outer::v6(2))
        .within(Encapsulation::Vlan { tpid: 0x88a8, id: 3 }, Outer::v4(3));
    assert_eq!(faults::encapsulate(&mut packets, &nest), 0);
    golden("wrapped", &packets);
}

#[test]
fn lossy() {
    let (talk, _) = conversation::api(3, 6, false);
    let mut packets = Wire::new(3).run(&talk);
    let dropped = faults::lose(&mut packets, 0.12, 4);
    assert!(!dropped.packets.is_empty());
    golden("lossy", &packets);
}
