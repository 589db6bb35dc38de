//! docs/record.schema.json against records as they are written.

use decap::TunnelKind;
use http_parse::Flag;
use proptest::prelude::*;
use sensor::record::Outcome;
use serde_json::Value;

use super::reading::sample;
use super::support::shapes;

pub(crate) fn schema() -> Value {
    serde_json::from_str(include_str!("../../../../docs/record.schema.json")).expect("the schema is JSON")
}

pub(crate) fn violations(validator: &jsonschema::Validator, record: &Value) -> Vec<String> {
    validator.iter_errors(record).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

#[test]
fn the_schema_is_a_schema() {
    jsonschema::draft202012::meta::validate(&schema()).expect("valid against its meta-schema");
}

#[test]
fn every_shape_is_valid() {
    let validator = jsonschema::draft202012::new(&schema()).expect("the schema compiles");
    for (name, sample) in shapes() {
        assert_eq!(violations(&validator, &sample.record()), Vec::<String>::new(), "{name}");
    }
}

/// The schema is closed: it notices a field too many, one too few, and a value that is not on a list.
#[test]
fn what_is_no_record_is_not_valid() {
    let validator = jsonschema::draft202012::new(&schema()).expect("the schema compiles");
    for (name, sample) in shapes() {
        let record = sample.record();
        for field in record.as_object().expect("an object").keys() {
            let mut less = record.clone();
            less.as_object_mut().expect("an object").remove(field);
            assert!(!validator.is_valid(&less), "{name} without {field}");
        }
        for (place, value) in [
            ("", Value::from("more")),
            ("/client", "more".into()),
            ("/connection", "more".into()),
            ("/request", "more".into()),
            ("/response", "more".into()),
            ("/response/body", "more".into()),
            ("/tunnels/0", "more".into()),
        ] {
            let mut more = record.clone();
            if let Some(Value::Object(object)) = more.pointer_mut(place) {
                object.insert("more".to_owned(), value);
                assert!(!validator.is_valid(&more), "{name} with more in {place:?}");
            }
        }
        for (field, value) in [
            ("flags", serde_json::json!(["no_such_flag"])),
            ("outcome", "lost".into()),
            ("id", "ABCDEF".into()),
            ("time", "2026-11-20T22:13:17Z".into()),
            ("tunnels", serde_json::json!([{"kind": "wormhole", "source": null, "destination": null}])),
            ("request", serde_json::json!({})),
        ] {
            let mut other = record.clone();
            other[field] = value;
            assert!(!validator.is_valid(&other), "{name} with another {field}");
        }
    }
}

#[test]
fn closed_lists_are_those_of_the_program() {
    let schema = schema();
    let list = |place: &str| -> Vec<String> {
        let list = schema.pointer(place).and_then(Value::as_array).expect("a list");
        list.iter().map(|name| name.as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(list("/$defs/flag/enum"), Flag::ALL.iter().map(|flag| flag.name()).collect::<Vec<_>>());
    assert_eq!(list("/$defs/tunnel_kind/enum"), TunnelKind::ALL.iter().map(|kind| kind.name()).collect::<Vec<_>>());
    assert_eq!(list("/properties/outcome/enum"), Outcome::ALL.iter().map(|outcome| outcome.name()).collect::<Vec<_>>());
    assert_eq!(schema["properties"]["tunnels"]["maxItems"], decap::MAX_HOPS);
    assert_eq!(schema["properties"]["vlans"]["maxItems"], decap::MAX_VLANS);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn any_record_is_valid(sample in sample()) {
        thread_local! {
            static VALIDATOR: jsonschema::Validator = jsonschema::draft202012::new(&schema()).expect("the schema compiles");
        }
        let record = sample.record();
        prop_assert_eq!(VALIDATOR.with(|validator| violations(validator, &record)), Vec::<String>::new());
    }
}
