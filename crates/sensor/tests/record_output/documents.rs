//! docs/output-format.md against the program.

use std::fmt::Write as _;

use decap::TunnelKind;
use http_parse::Flag;
use serde_json::Value;

use super::support::shapes;

const PAGE: &str = include_str!("../../../../docs/output-format.md");

/// What stands under a heading, up to the next.
fn section(heading: &str) -> &'static str {
    let (_, behind) = PAGE.split_once(&format!("\n{heading}\n")).expect("the heading is there");
    behind.split("\n#").next().expect("a first part").trim()
}

#[test]
fn the_table_of_flags_is_the_programs() {
    let mut table = "| flag | meaning |\n|---|---|".to_owned();
    for flag in Flag::ALL {
        let _ = write!(table, "\n| `{}` | {} |", flag.name(), flag.meaning());
    }
    assert_eq!(section("## Flags"), table, "the page should hold:\n{table}\n");
}

#[test]
fn the_table_of_tunnel_kinds_is_the_programs() {
    let documented: Vec<&str> = section("## Tunnel kinds")
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .map(|(name, meaning)| {
            assert!(meaning.len() > 5, "{name} has no meaning");
            name
        })
        .collect();
    assert_eq!(documented, TunnelKind::ALL.iter().map(|kind| kind.name()).collect::<Vec<_>>());
}

#[test]
fn the_example_is_a_record() {
    let example =
        section("## Example").split("```").nth(1).and_then(|code| code.strip_prefix("json")).expect("a block");
    let example: Value = serde_json::from_str(example).expect("the example is JSON");
    let (_, sample) = shapes().into_iter().find(|(name, _)| *name == "bodies_and_trailers").expect("the shape");
    let record = sample.record();
    assert_eq!(example, record, "the record is now:\n{record:#}\n");
}

#[test]
fn the_edge_example_is_a_record() {
    let example =
        section("## Edge example").split("```").nth(1).and_then(|code| code.strip_prefix("json")).expect("a block");
    let example: Value = serde_json::from_str(example).expect("the example is JSON");
    let (_, sample) = shapes().into_iter().find(|(name, _)| *name == "bodies_and_trailers").expect("the shape");
    let record = super::edge::record(&sample);
    assert_eq!(example, record, "the record is now:\n{record:#}\n");
}

/// Each member of an edge record, of whatever shape, has a row or is named in its object's.
#[test]
fn every_member_of_an_edge_record_is_explained() {
    fn members<'a>(value: &'a Value, names: &mut Vec<&'a str>) {
        for (name, value) in value.as_object().into_iter().flatten() {
            names.push(name);
            members(value, names);
        }
    }
    let explained = section("## Edge fields").to_owned() + section("## Edge bodies") + section("## Provenance");
    for (_, sample) in shapes().into_iter().filter(|(_, sample)| sample.request.is_some()) {
        let record = super::edge::record(&sample);
        let mut names = Vec::new();
        members(&record, &mut names);
        for name in names {
            let is_named = [("`", "`"), (".", "`"), ("`", ".")]
                .iter()
                .any(|(before, behind)| explained.contains(&format!("{before}{name}{behind}")));
            assert!(is_named, "{name}");
        }
    }
}

/// Each field of each object is explained by a row of the section about that object.
#[test]
fn every_field_of_the_schema_is_explained() {
    let schema: Value = serde_json::from_str(include_str!("../../../../docs/record.schema.json")).expect("JSON");
    for (heading, place) in [
        ("## Record", "/properties"),
        ("### Client", "/properties/client/properties"),
        ("### Endpoint", "/$defs/endpoint/properties"),
        ("### Tunnel", "/$defs/tunnel/properties"),
        ("### Connection", "/properties/connection/properties"),
        ("## Request", "/$defs/request/properties"),
        ("## Response", "/$defs/response/properties"),
        ("## Body", "/$defs/body/anyOf/1/properties"),
    ] {
        let fields = schema.pointer(place).and_then(Value::as_object).expect("an object's fields");
        let mut explained: Vec<&str> = section(heading)
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
            .map(|(name, _)| name)
            .collect();
        if heading == "## Body" {
            // A second table there has a column of field names' values.
            explained.retain(|name| fields.contains_key(*name));
        }
        explained.sort_unstable();
        let mut names: Vec<&str> = fields.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(explained, names, "{heading}");
    }
}
