//! What records call clients, paths and networks, and which rule let them through.

use std::sync::Arc;

use decap::{TunnelHop, TunnelId, TunnelKind};
use sensor::normalize::{Normalizer, Settings};
use sensor::record::{Admission, EdgeOptions, RecordWriter, Shape, Unsealed};
use serde_json::{Value, json};

use super::schema::{schema, violations};
use super::support::Sample;

fn record(sample: &Sample, shape: Shape, settings: Settings, admission: Admission<'_>) -> Value {
    let mut writer = RecordWriter::new(sample.options(shape)).normalizing(Arc::new(Normalizer::new(settings)));
    let mut records = Unsealed::default();
    sample.exchange(|meta, exchange| writer.append(meta, exchange, admission, &mut records));
    serde_json::from_slice(records.seal().bytes).expect("JSON")
}

fn assert_valid(record: &Value) {
    let validator = jsonschema::draft202012::new(&schema()).expect("a schema");
    assert_eq!(violations(&validator, record), Vec::<String>::new());
}

fn trusting(sample: &Sample) -> Settings {
    Settings { trusted_proxies: vec![sample.client.ip.into()], ..Settings::default() }
}

#[test]
fn networks_have_the_operator_s_names() {
    let mut sample = Sample::pair();
    for (kind, id) in [
        (TunnelKind::Vxlan, TunnelId::Vni(4711)),
        (TunnelKind::Gre, TunnelId::Key(9)),
        (TunnelKind::GtpU, TunnelId::Teid(4711)),
    ] {
        let source = sample.server.ip;
        sample.path.hops.push(TunnelHop { kind, source, destination: source, id });
    }
    sample.path.vlans.extend([100, 101, 102]);
    let settings = Settings {
        vni_names: [(4711, "prod \"eu\" 1".to_owned()), (9, "gre".to_owned())].into(),
        vlan_names: [(100, "dmz".to_owned()), (102, "back".to_owned())].into(),
        ..Settings::default()
    };
    let native = record(&sample, Shape::Native, settings.clone(), Admission::UNFILTERED);
    assert_valid(&native);
    let edge = record(&sample, Shape::Edge(EdgeOptions::default()), settings, Admission::UNFILTERED);
    for record in [&native, &edge["txn-meta-data"]["data_extractions"]] {
        let names: Vec<_> = record["tunnels"].as_array().expect("tunnels").iter().map(|hop| &hop["name"]).collect();
        assert_eq!(names, [&json!("prod \"eu\" 1"), &json!("gre"), &Value::Null]);
        assert_eq!(record["vlan_names"], json!({"100": "dmz", "102": "back"}));
    }
    // No name fits: no member.
    let settings = Settings { vlan_names: [(7, "other".to_owned())].into(), ..Settings::default() };
    let native = record(&sample, Shape::Native, settings, Admission::UNFILTERED);
    assert!(native.get("vlan_names").is_none() && native["tunnels"][0].get("name").is_none());
}

#[test]
fn a_forwarded_client_stands_beside_its_proxy() {
    let mut sample = Sample::pair();
    let request = sample.request.as_mut().expect("a request");
    request.headers.push((b"X-Forwarded-For".to_vec(), b"2001:DB8::7".to_vec()));
    request.headers.push((b"X-Forwarded-Proto".to_vec(), b"https".to_vec()));
    request.target = b"/v1/%7eorders/../17?x=1".to_vec();
    let native = record(&sample, Shape::Native, trusting(&sample), Admission::UNFILTERED);
    assert_valid(&native);
    assert_eq!(native["client"], json!({"ip": "2001:db8::7", "port": null, "source": "x_forwarded_for"}));
    assert_eq!(native["peer"], json!({"ip": sample.client.ip.to_string(), "port": sample.client.port}));
    let asked = &native["request"];
    assert_eq!((&asked["scheme"], &asked["path"]), (&json!("https"), &json!("/v1/%7eorders/../17")));
    assert_eq!((&asked["normalized_path"], &asked["template"]), (&json!("/v1/17"), &json!("/v1/{id}")));
    let edge = record(&sample, Shape::Edge(EdgeOptions::default()), trusting(&sample), Admission::UNFILTERED);
    assert_eq!(
        (&edge["request"]["client-ip"], &edge["request"]["http-scheme"]),
        (&json!("2001:db8::7"), &json!("https"))
    );
    assert_eq!(edge["request"]["connection"]["connection-ip"], sample.client.ip.to_string());
    let told = &edge["txn-meta-data"]["data_extractions"];
    assert_eq!((&told["client_source"], &told["template"]), (&json!("x_forwarded_for"), &json!("/v1/{id}")));
    assert_eq!(told["normalized_path"], "/v1/17");
    // Nobody is trusted.
    let native = record(&sample, Shape::Native, Settings::default(), Admission::UNFILTERED);
    assert_eq!((&native["client"]["source"], &native["request"]["scheme"]), (&json!("connection"), &json!("http")));
    assert!(native.get("peer").is_none());
    // Without templates.
    let settings = Settings { template: false, ..Settings::default() };
    let native = record(&sample, Shape::Native, settings, Admission::UNFILTERED);
    assert_valid(&native);
    assert!(native["request"].get("template").is_none());
}

#[test]
fn a_port_is_that_of_the_source_that_won() {
    for (fields, client) in [
        (
            &[("X-Forwarded-For", "203.0.113.5:4711")][..],
            json!({"ip": "203.0.113.5", "port": 4711, "source": "x_forwarded_for"}),
        ),
        (
            &[("Forwarded", "for=\"203.0.113.5:47011\"")],
            json!({"ip": "203.0.113.5", "port": 47011, "source": "forwarded"}),
        ),
        (
            &[("Forwarded", "for=\"[2001:db9::17]:4711\"")],
            json!({"ip": "2001:db9::17", "port": 4711, "source": "forwarded"}),
        ),
        (&[("X-Real-IP", "203.0.113.5:80")], json!({"ip": "203.0.113.5", "port": 80, "source": "x_real_ip"})),
        (
            &[("X-Forwarded-For", "203.0.113.5"), ("Forwarded", "for=\"203.0.113.5:47011\"")],
            json!({"ip": "203.0.113.5", "port": null, "source": "x_forwarded_for"}),
        ),
    ] {
        let mut sample = Sample::pair();
        let request = sample.request.as_mut().expect("a request");
        let fields = fields.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        request.headers.extend(fields);
        let native = record(&sample, Shape::Native, trusting(&sample), Admission::UNFILTERED);
        assert_valid(&native);
        assert_eq!(native["client"], client);
        // To the platform a client has no port; the connection's is that of who connected.
        let edge = record(&sample, Shape::Edge(EdgeOptions::default()), trusting(&sample), Admission::UNFILTERED);
        assert_eq!(edge["request"]["client-ip"], client["ip"]);
        assert_eq!(edge["request"]["connection"]["connection-port"], sample.client.port);
    }
}

#[test]
fn the_rule_and_the_weight_are_on_the_record() {
    let sample = Sample::pair();
    let admission = Admission { rule: Some("a.sample"), weight: 12 };
    let native = record(&sample, Shape::Native, Settings::default(), admission);
    assert_valid(&native);
    assert_eq!(native["filter"], json!({"rule": "a.sample", "weight": 12}));
    let options = EdgeOptions { filter_name: Some("all".to_owned()), ..EdgeOptions::default() };
    let edge = record(&sample, Shape::Edge(options.clone()), Settings::default(), admission);
    assert_eq!(edge["txn-meta-data"]["filter_info"], json!({"filter_name": "a.sample"}));
    assert_eq!(edge["txn-meta-data"]["data_extractions"]["weight"], 12);
    let edge = record(&sample, Shape::Edge(options), Settings::default(), Admission::UNFILTERED);
    assert_eq!(edge["txn-meta-data"]["filter_info"], json!({"filter_name": "all"}));
    assert!(edge["txn-meta-data"]["data_extractions"].get("weight").is_none());
}
