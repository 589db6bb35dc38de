//! The configuration file, as it is written. What is left out keeps its default; what is unknown is refused.
//!
//! Every key is shown, with its default, in docs/configuration.md; a test holds the two together.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use decap::MAX_HOPS;
use http_parse::BodyTypes;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use crate::units::{ByteSize, TimeSpan};

/// The shortest and the longest limit of a head that may be asked for: a few short lines, and more than any server takes.
const LEAST_HEAD: ByteSize = ByteSize(256);
const MOST_HEAD: ByteSize = ByteSize(1 << 20);
/// The most workers that may be asked for.
pub const MAX_WORKERS: usize = 256;

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigFile {
    /// The sensor's name in every record.
    #[serde(default, deserialize_with = "name")]
    pub sensor: Option<String>,
    /// Memory for everything that grows.
    pub memory: Option<ByteSize>,
    /// Threads that work on flows.
    #[serde(default, deserialize_with = "workers")]
    pub workers: Option<usize>,
    /// A BPF expression over frames as captured.
    pub filter: Option<String>,
    /// Where records go; `-` is standard output.
    pub output: Option<PathBuf>,
    /// How the ledger is printed, if at all.
    pub ledger: Option<LedgerFormat>,
    /// Whether to say nothing but errors.
    pub quiet: Option<bool>,
    /// What is kept of bodies.
    #[serde(default)]
    pub bodies: Bodies,
    /// Tunnels and fragments.
    #[serde(default)]
    pub decap: Decap,
    /// Time-outs and caps of TCP reassembly.
    #[serde(default)]
    pub reassembly: Reassembly,
    /// Caps of HTTP parsing.
    #[serde(default)]
    pub http: Http,
}

/// How the ledger is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LedgerFormat {
    /// A line of text for each line of the ledger.
    Text,
    /// One JSON object on one line.
    Json,
}

/// `[bodies]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bodies {
    /// Bytes kept of each body, before content decoding.
    pub limit: Option<ByteSize>,
    /// Media types whose bodies are kept.
    pub types: Option<MediaTypes>,
    /// Bytes of a body recorded after content decoding.
    pub decoded_limit: Option<ByteSize>,
}

/// `[decap]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decap {
    /// See [`decap::Config::max_depth`].
    #[serde(default, deserialize_with = "depth")]
    pub max_depth: Option<usize>,
    /// See [`decap::Config::vxlan_ports`].
    #[serde(default, deserialize_with = "ports")]
    pub vxlan_ports: Option<Vec<u16>>,
    /// See [`decap::Config::vxlan_gpe_ports`].
    #[serde(default, deserialize_with = "ports")]
    pub vxlan_gpe_ports: Option<Vec<u16>>,
    /// See [`decap::Config::geneve_ports`].
    #[serde(default, deserialize_with = "ports")]
    pub geneve_ports: Option<Vec<u16>>,
    /// See [`decap::Config::gtpu_ports`].
    #[serde(default, deserialize_with = "ports")]
    pub gtpu_ports: Option<Vec<u16>>,
    /// See [`decap::Config::teredo_ports`].
    #[serde(default, deserialize_with = "ports")]
    pub teredo_ports: Option<Vec<u16>>,
    /// See [`decap::Config::lisp_ports`].
    #[serde(default, deserialize_with = "ports")]
    pub lisp_ports: Option<Vec<u16>>,
    /// See [`decap::Config::mpls_in_udp_ports`].
    #[serde(default, deserialize_with = "ports")]
    pub mpls_in_udp_ports: Option<Vec<u16>>,
    /// See [`decap::Config::separate_virtual_networks`].
    pub separate_virtual_networks: Option<bool>,
    /// See [`decap::Config::separate_vlans`].
    pub separate_vlans: Option<bool>,
    /// Groups of virtual network ids that are one address space.
    #[serde(default)]
    pub aliases: Aliases,
    /// See [`decap::Config::fragment_timeout`].
    pub fragment_timeout: Option<TimeSpan>,
}

/// `[reassembly]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reassembly {
    /// See [`reassembly::Limits::acknowledged_hole`].
    pub acknowledged_hole: Option<TimeSpan>,
    /// See [`reassembly::Limits::hole`].
    pub hole: Option<TimeSpan>,
    /// See [`reassembly::Limits::idle`].
    pub idle: Option<TimeSpan>,
    /// See [`reassembly::Limits::idle_without_payload`].
    pub idle_without_payload: Option<TimeSpan>,
    /// See [`reassembly::Limits::linger`].
    pub linger: Option<TimeSpan>,
    /// See [`reassembly::Limits::max_held_per_direction`].
    pub max_held_per_direction: Option<ByteSize>,
    /// See [`reassembly::Limits::max_ranges_per_direction`].
    #[serde(default, deserialize_with = "at_least_one")]
    pub max_ranges_per_direction: Option<usize>,
}

/// `[http]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// See [`http_parse::Settings::max_head`].
    #[serde(default, deserialize_with = "head")]
    pub max_head: Option<ByteSize>,
    /// See [`http_parse::Settings::max_headers`].
    #[serde(default, deserialize_with = "at_least_one")]
    pub max_headers: Option<usize>,
    /// See [`http_parse::Settings::max_pending`].
    #[serde(default, deserialize_with = "at_least_one")]
    pub max_pending: Option<usize>,
    /// See [`http_parse::Settings::max_detect`].
    pub max_detect: Option<ByteSize>,
    /// See [`http_parse::Settings::max_resync`].
    pub max_resync: Option<ByteSize>,
}

/// Media types: `type/subtype`, `type/*`, `+suffix`; or `all`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct MediaTypes(pub BodyTypes);

impl TryFrom<Vec<String>> for MediaTypes {
    type Error = String;

    fn try_from(list: Vec<String>) -> Result<Self, String> {
        let mut types = Vec::with_capacity(list.len());
        for entry in list {
            let entry = entry.trim().to_ascii_lowercase();
            if entry == "all" || entry == "*/*" {
                return Ok(Self(BodyTypes::All));
            }
            if !is_media_type(&entry) {
                return Err(format!(
                    "`{entry}` is no media type: write type/subtype (application/json), type/* (text/*), +suffix (+json), or all"
                ));
            }
            types.push(entry);
        }
        Ok(Self(BodyTypes::Only(types)))
    }
}

fn is_media_type(text: &str) -> bool {
    let is_token =
        |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b));
    match (text.strip_prefix('+'), text.split_once('/')) {
        (Some(suffix), None) => is_token(suffix),
        (None, Some((kind, subtype))) => is_token(kind) && (subtype == "*" || is_token(subtype)),
        _ => false,
    }
}

/// Groups of virtual network ids, each one address space.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<Vec<u32>>")]
pub struct Aliases {
    groups: Vec<Vec<u32>>,
}

impl Aliases {
    /// As decapsulation takes them: `(id, group)`. Groups are named by their first id, so that adding a group does not
    /// rename the others.
    #[must_use]
    pub fn pairs(&self) -> Vec<(u32, u32)> {
        self.groups.iter().flat_map(|group| group.iter().map(|id| (*id, group[0]))).collect()
    }
}

impl TryFrom<Vec<Vec<u32>>> for Aliases {
    type Error = String;

    fn try_from(groups: Vec<Vec<u32>>) -> Result<Self, String> {
        let mut ids: Vec<u32> = groups.iter().flatten().copied().collect();
        ids.sort_unstable();
        if let Some(twice) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("virtual network id {} stands in the aliases twice", twice[0]));
        }
        Ok(Self { groups: groups.into_iter().filter(|group| !group.is_empty()).collect() })
    }
}

impl Decap {
    /// A port that stands in two lists would belong to whichever is looked at first.
    fn check_ports(&self) -> Result<(), String> {
        let defaults = decap::Config::default();
        let lists = [
            ("vxlan_ports", &self.vxlan_ports, &defaults.vxlan_ports),
            ("vxlan_gpe_ports", &self.vxlan_gpe_ports, &defaults.vxlan_gpe_ports),
            ("geneve_ports", &self.geneve_ports, &defaults.geneve_ports),
            ("gtpu_ports", &self.gtpu_ports, &defaults.gtpu_ports),
            ("teredo_ports", &self.teredo_ports, &defaults.teredo_ports),
            ("lisp_ports", &self.lisp_ports, &defaults.lisp_ports),
            ("mpls_in_udp_ports", &self.mpls_in_udp_ports, &defaults.mpls_in_udp_ports),
        ];
        let mut seen: Vec<(u16, &str)> = Vec::new();
        for (name, given, default) in lists {
            for port in given.as_ref().unwrap_or(default) {
                match seen.iter().find(|(known, _)| known == port) {
                    Some((_, other)) if *other == name => {
                        return Err(format!("port {port} stands in {name} twice"));
                    }
                    Some((_, other)) => {
                        return Err(format!(
                            "port {port} stands in both {other} and {name}, by default or as given: take it out of one of them"
                        ));
                    }
                    None => seen.push((*port, name)),
                }
            }
        }
        Ok(())
    }
}

impl ConfigFile {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, is not TOML, or says something that is not known or not allowed; the message names file
    /// and line, what stands there and what may stand there.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path)
            .map_err(|error| ConfigError { path: path.to_owned(), fault: format!("cannot be read: {error}") })?;
        Self::parse(&text).map_err(|fault| ConfigError { path: path.to_owned(), fault })
    }

    /// Reads a file's text.
    ///
    /// # Errors
    /// As [`ConfigFile::read`], without the file's name.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: Self = toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        file.decap.check_ports()?;
        Ok(file)
    }
}

/// The configuration file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    path: PathBuf,
    fault: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "configuration file {}: {}", self.path.display(), self.fault)
    }
}

impl std::error::Error for ConfigError {}

fn workers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    number_in(deserializer, 0, MAX_WORKERS)
}

fn depth<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    number_in(deserializer, 0, MAX_HOPS)
}

fn head<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ByteSize>, D::Error> {
    let size = ByteSize::deserialize(deserializer)?;
    if (LEAST_HEAD..=MOST_HEAD).contains(&size) {
        return Ok(Some(size));
    }
    Err(D::Error::custom(format!("{size} is out of range: {LEAST_HEAD}B to {MOST_HEAD}")))
}

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let name = String::deserialize(deserializer)?;
    check_name(&name).map_err(D::Error::custom)?;
    Ok(Some(name))
}

/// Whether a sensor can have this name.
///
/// # Errors
/// With what is wrong.
pub fn check_name(name: &str) -> Result<(), String> {
    if name.trim().is_empty() {
        return Err("the sensor's name is empty: give it one, such as edge-1, or leave it out".to_owned());
    }
    Ok(())
}

/// Ports of one protocol: 0 is none, and each stands for one protocol only.
fn ports<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u16>>, D::Error> {
    let ports = Vec::<u16>::deserialize(deserializer)?;
    if ports.contains(&0) {
        return Err(D::Error::custom("0 is no port: 1 to 65535"));
    }
    Ok(Some(ports))
}

fn at_least_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    number_in(deserializer, 1, 1 << 20)
}

fn number_in<'de, D: Deserializer<'de>>(deserializer: D, least: usize, most: usize) -> Result<Option<usize>, D::Error> {
    let number = i64::deserialize(deserializer)?;
    match usize::try_from(number) {
        Ok(number) if (least..=most).contains(&number) => Ok(Some(number)),
        _ => Err(D::Error::custom(format!("{number} is out of range: {least} to {most}"))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_documented_example_parses_and_shows_the_defaults() {
        let document = include_str!("../../../docs/configuration.md");
        let example = document.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
        let file = ConfigFile::parse(example).unwrap();
        // Every key is in the example: a default that changes must change there too.
        let decap = decap::Config::default();
        assert_eq!(file.decap.max_depth, Some(decap.max_depth));
        assert_eq!(file.decap.vxlan_ports, Some(decap.vxlan_ports));
        assert_eq!(file.decap.vxlan_gpe_ports, Some(decap.vxlan_gpe_ports));
        assert_eq!(file.decap.geneve_ports, Some(decap.geneve_ports));
        assert_eq!(file.decap.gtpu_ports, Some(decap.gtpu_ports));
        assert_eq!(file.decap.teredo_ports, Some(decap.teredo_ports));
        assert_eq!(file.decap.lisp_ports, Some(decap.lisp_ports));
        assert_eq!(file.decap.mpls_in_udp_ports, Some(decap.mpls_in_udp_ports));
        assert_eq!(file.decap.separate_virtual_networks, Some(decap.separate_virtual_networks));
        assert_eq!(file.decap.separate_vlans, Some(decap.separate_vlans));
        assert_eq!(file.decap.fragment_timeout, Some(TimeSpan(decap.fragment_timeout)));
        let limits = reassembly::Limits::default();
        assert_eq!(file.reassembly.acknowledged_hole, Some(TimeSpan(limits.acknowledged_hole)));
        assert_eq!(file.reassembly.hole, Some(TimeSpan(limits.hole)));
        assert_eq!(file.reassembly.idle, Some(TimeSpan(limits.idle)));
        assert_eq!(file.reassembly.idle_without_payload, Some(TimeSpan(limits.idle_without_payload)));
        assert_eq!(file.reassembly.linger, Some(TimeSpan(limits.linger)));
        assert_eq!(file.reassembly.max_held_per_direction.map(ByteSize::as_usize), Some(limits.max_held_per_direction));
        assert_eq!(file.reassembly.max_ranges_per_direction, Some(limits.max_ranges_per_direction));
        let http = http_parse::Settings::default();
        assert_eq!(file.http.max_head.map(ByteSize::as_usize), Some(http.max_head));
        assert_eq!(file.http.max_headers, Some(http.max_headers));
        assert_eq!(file.http.max_pending, Some(http.max_pending));
        assert_eq!(file.http.max_detect.map(ByteSize::as_usize), Some(http.max_detect));
        assert_eq!(file.http.max_resync, Some(ByteSize(http.max_resync)));
        assert_eq!(file.bodies.limit.map(ByteSize::as_usize), Some(http.body_limit));
        assert_eq!(file.bodies.types, Some(MediaTypes(http.body_types)));
        assert_eq!(file.decap.aliases.pairs(), [(1001, 1001), (1002, 1001), (2001, 2001), (2002, 2001)]);
        assert!(file.sensor.is_some() && file.memory.is_some() && file.workers.is_some() && file.filter.is_some());
        assert!(file.output.is_some() && file.ledger.is_some() && file.quiet.is_some());
        assert!(file.bodies.decoded_limit.is_some());
    }

    #[test]
    fn an_empty_file_changes_nothing() {
        assert_eq!(ConfigFile::parse(""), Ok(ConfigFile::default()));
    }

    #[test]
    fn faults_name_the_line_what_stands_there_and_what_may() {
        for (text, line, found, allowed) in [
            ("\nsensr = \"x\"", "line 2", "sensr", "sensor"),
            ("[decap]\nvxlan_ports = [4789, 70000]", "line 2", "70000", "u16"),
            ("[decap]\nmax_depth = 17", "line 2", "17", "0 to 16"),
            ("workers = -1", "line 1", "-1", "0 to 256"),
            ("\n\nmemory = \"lots\"", "line 3", "lots", "whole number"),
            ("[reassembly]\nhole = 5", "line 2", "5", "string"),
            ("[reassembly]\nhole = \"5 years\"", "line 2", "5 years", "ms, s, min or h"),
            ("[bodies]\ntypes = [\"json\"]", "line 2", "json", "application/json"),
            ("ledger = \"xml\"", "line 1", "xml", "text"),
            ("[decap]\naliases = [[1, 2], [2]]", "line 2", "2", "twice"),
            ("[http]\nmax_headers = 0", "line 2", "0", "1 to"),
            ("[http]\nmax_head = 0", "line 2", "0", "256B to 1MiB"),
            ("[http]\nmax_head = '2GiB'", "line 2", "2GiB", "256B to 1MiB"),
            ("[decap]\nvxlan_ports = [4789, 0]", "line 2", "0", "1 to 65535"),
            ("[decap]\nvxlan_ports = [1]\ngeneve_ports = [1]", "port 1", "vxlan_ports", "geneve_ports"),
            ("[decap]\nvxlan_ports = [6081]", "port 6081", "vxlan_ports", "geneve_ports"),
            ("[decap]\nlisp_ports = [7, 7]", "port 7", "lisp_ports", "twice"),
            ("sensor = \"\"", "line 1", "empty", "edge-1"),
            ("sensor = ", "line 1", "", ""),
        ] {
            let fault = ConfigFile::parse(text).unwrap_err();
            for part in [line, found, allowed] {
                assert!(fault.contains(part), "{fault}\ndoes not contain {part}");
            }
        }
    }

    #[test]
    fn media_types() {
        let types =
            |list: &[&str]| MediaTypes::try_from(list.iter().map(|entry| (*entry).to_owned()).collect::<Vec<_>>());
        assert_eq!(types(&["all"]), Ok(MediaTypes(BodyTypes::All)));
        assert_eq!(
            types(&["Application/JSON", "text/*", "+xml"]),
            Ok(MediaTypes(BodyTypes::Only(vec!["application/json".into(), "text/*".into(), "+xml".into()])))
        );
        for wrong in ["", "json", "a/b/c", "/", "text/", "te xt/*", "+"] {
            assert!(types(&[wrong]).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-z\\[\\]=\"0-9\n .,]{0,200}") {
            let _ = ConfigFile::parse(&text);
        }
    }
}
