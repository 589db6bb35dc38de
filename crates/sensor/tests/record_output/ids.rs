//! Ids against their definition in docs/output-format.md.

use decap::{Domain, TunnelId, TunnelKind};
use proptest::prelude::*;
use sensor::record::Outcome;

use super::reading::sample;
use super::support::{SECOND, Sample, endpoint, hop};

fn id(sample: &Sample) -> String {
    let (line, written, _) = sample.write();
    let record: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
    let id = record["id"].as_str().expect("a string").to_owned();
    assert_eq!(id, written.to_string());
    assert_eq!(id, written.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    id
}

fn connection_id(sample: &Sample) -> String {
    sample.record()["connection"]["id"].as_str().expect("a string").to_owned()
}

/// From the Python of docs/output-format.md.
#[test]
fn known_ids() {
    assert_eq!(id(&Sample::pair()), "e5f44156449eec07153c5963d24d2694");
    assert_eq!(id(&Sample::orphan()), "d794ae5fcd53d9ea8ade2a846d4ad2c1");
    let mut six = Sample::pair();
    (six.client, six.server) = (endpoint("2001:db8::1", 40_000), endpoint("2001:db8::2", 80));
    assert_eq!(id(&six), "867a53d478b04106306de6eba895abd5");
    assert_eq!(connection_id(&Sample::pair()), "ac3b3a9b58c0599b");
}

#[test]
fn time_tunnels_networks_bodies_and_answers_have_no_part_in_the_id() {
    let expected = id(&Sample::pair());
    let mut other = Sample::pair();
    other.opened_at += 1;
    other.domain = Domain::GLOBAL.nested(5);
    other.path.hops.push(hop(TunnelKind::Vxlan, "10.0.0.1", "10.0.0.2", TunnelId::Vni(5)));
    other.path.vlans.push(9);
    other.handshake = false;
    other.index = Some(99);
    other.sensor.push('2');
    other.response = None;
    let request = other.request.as_mut().expect("a request");
    request.start.at += 1;
    request.end_at += 1;
    request.start.offset += 5 << 32;
    request.body = b"body".to_vec();
    request.body_bytes = 4;
    request.trailers.push((b"T".to_vec(), b"1".to_vec()));
    assert_eq!(id(&other), expected);
    assert_ne!(connection_id(&other), connection_id(&Sample::pair()));
}

#[test]
fn endpoints_sequence_number_and_head_tell_transactions_apart() {
    let mut ids = vec![id(&Sample::pair()), id(&Sample::orphan())];
    let changes: [fn(&mut Sample); 8] = [
        |sample| sample.client.port += 1,
        |sample| sample.server.port += 1,
        |sample| sample.client.ip = "192.0.2.8".parse().expect("an address"),
        |sample| sample.server.ip = "198.51.100.21".parse().expect("an address"),
        |sample| (sample.client, sample.server) = (sample.server, sample.client),
        |sample| sample.request.as_mut().expect("a request").start.offset += 1,
        |sample| sample.request.as_mut().expect("a request").target.push(b'/'),
        |sample| sample.request.as_mut().expect("a request").headers.truncate(1),
    ];
    for change in changes {
        let mut sample = Sample::pair();
        change(&mut sample);
        ids.push(id(&sample));
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 10);
}

#[test]
fn a_connection_is_named_by_its_ends_its_network_and_its_opening() {
    let mut ids = vec![connection_id(&Sample::pair())];
    // The id names the connection, so who is the client does not matter.
    let mut reversed = Sample::pair();
    (reversed.client, reversed.server) = (reversed.server, reversed.client);
    assert_eq!(connection_id(&reversed), ids[0]);
    let changes: [fn(&mut Sample); 3] = [
        |sample| sample.opened_at = SECOND + 1,
        |sample| sample.domain = Domain::GLOBAL.nested(1),
        |sample| sample.client.port = 1,
    ];
    for change in changes {
        let mut sample = Sample::pair();
        change(&mut sample);
        ids.push(connection_id(&sample));
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 128, ..ProptestConfig::default() })]

    /// What the writer returns is what stands in the record.
    #[test]
    fn what_was_written_is_what_is_said(sample in sample()) {
        let (line, id, written) = sample.write();
        let record: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
        prop_assert_eq!(&record["id"], &id.to_string());
        prop_assert_eq!(&record["outcome"], written.outcome.name());
        prop_assert_eq!(written.outcome == Outcome::Orphan, sample.request.is_none());
        let flags: Vec<&str> = written.flags.iter().map(|flag| flag.name()).collect();
        prop_assert_eq!(&record["flags"], &serde_json::json!(flags));
    }
}
