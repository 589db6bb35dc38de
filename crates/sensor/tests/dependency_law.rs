//! The law of dependencies (ARCHITECTURE.md): which crate of ours may name which.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

/// Each crate of ours and the crates of ours that its code, not its tests, may depend on.
const LAW: [(&str, &[&str]); 10] = [
    ("decap", &[]),
    ("http-parse", &[]),
    ("masking", &["processor"]),
    ("processor", &[]),
    ("reassembly", &["decap"]),
    ("collector", &[]),
    ("uploader", &[]),
    ("sensor", &["collector", "decap", "http-parse", "masking", "reassembly", "uploader"]),
    // For development: they may use any of these, and one another and by others only for tests.
    ("fixtures", &["decap", "http-parse", "reassembly", "sensor"]),
    ("benches", &["decap", "fixtures", "http-parse", "reassembly", "sensor"]),
];

/// The workspace's members, each with its dependencies on members, other than for tests.
fn members() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let names: Vec<&str> = packages.iter().map(|package| package["name"].as_str().unwrap()).collect();
    let ours = |package: &Value| {
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        // `kind` is null for what is linked in, and "build" or "dev".
        let linked = dependencies.filter(|dependency| dependency["kind"] != "dev");
        let mut linked: Vec<String> = linked
            .map(|dependency| dependency["name"].as_str().unwrap().to_owned())
            .filter(|name| names.contains(&name.as_str()))
            .collect();
        linked.sort_unstable();
        linked.dedup();
        linked
    };
    packages.iter().map(|package| (package["name"].as_str().unwrap().to_owned(), ours(package))).collect()
}

#[test]
fn crates_name_only_what_the_law_allows() {
    let members = members();
    for (name, linked) in &members {
        let allowed = LAW.iter().find(|(crate_name, _)| crate_name == name).map(|(_, allowed)| *allowed);
        let allowed =
            allowed.unwrap_or_else(|| panic!("the law says nothing of `{name}`: add it here and to its page"));
        for dependency in linked {
            assert!(allowed.contains(&dependency.as_str()), "`{name}` must not depend on `{dependency}`");
        }
    }
    for (name, _) in LAW {
        assert!(members.contains_key(name), "`{name}` is gone: take it out of the law");
    }
    // The law would hold of nothing at all, too.
    assert_eq!(members["sensor"], ["collector", "decap", "http-parse", "masking", "reassembly", "uploader"]);
    assert_eq!(members["reassembly"], ["decap"]);
}

#[test]
fn the_page_names_every_crate() {
    let page = include_str!("../../../ARCHITECTURE.md");
    for (name, _) in LAW {
        assert!(page.contains(&format!("| `{name}`")), "{name}");
    }
}
