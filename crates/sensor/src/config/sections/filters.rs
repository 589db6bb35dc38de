//! `[filters]`

use std::collections::{BTreeMap, HashMap};

use super::prelude::*;
use crate::config::value::ports as port_ranges;
use crate::config::value::{
    HeaderTest, HeaderTests, Network, NumberRange, Pattern, host_pattern, media_type, network, path_pattern, statuses,
    virtual_networks, vlans,
};

choices! {
    /// What a rule does with the transactions that it is true of. `ignore` and `allow` win over everything, then
    /// `exclude`, then `include`.
    pub enum RuleKind {
        /// Not recorded, whatever others say.
        Ignore = "ignore",
        /// Recorded, whatever others say.
        Allow = "allow",
        /// Not recorded.
        Exclude = "exclude",
        /// Recorded; where there is any such rule, what none of them is true of is not.
        Include = "include",
    }
}

choices! {
    /// Rules that come with the program.
    pub enum RuleSet {
        /// Images, fonts, style sheets, scripts.
        StaticAssets = "static_assets",
        /// Probes of load balancers and orchestrators, and successful reads of /healthz and the like.
        HealthChecks = "health_checks",
        /// Probes of service meshes.
        MeshProbes = "mesh_probes",
        /// Copies that a mesh sends to hosts called `…-shadow`.
        ShadowTraffic = "shadow_traffic",
    }
}

section! {
    Live;
    /// Which transactions are recorded. `filter`, above all sections, is about frames; these rules are about what was found
    /// in them.
    pub struct Filters {
        /// Sets of rules that come with the program and leave out what is seldom wanted: "static_assets", "health_checks",
        /// "mesh_probes", "shadow_traffic". But for the last, each asks for more than a path or a User-Agent, which anybody can
        /// choose: a request without a body, and the media type that the path says, a success, or a port that sidecars have for
        /// themselves. What is told by its User-Agent (kubelets, Envoy, load balancers) has to ask for "/" or a path that is
        /// usual for health, without credentials, and to be answered with a Content-Length below 1000: probes of other paths
        /// take a rule of one's own. A query is not looked at.
        pub sets: Vec<RuleSet> = list(choice()).or([]),
        /// Rules, up to 480 of them.
        pub rule: Vec<Rule> = tables(),
    }
    check(this, reader) {
        let mut names: HashMap<&str, usize> = HashMap::new();
        if this.rule.len() > MOST_RULES {
            reader.fault_found("rule", format!("{} rules", this.rule.len()), format!("allowed: at most {MOST_RULES}; one rule takes lists of hosts, paths and others"));
        }
        for (index, rule) in this.rule.iter().enumerate() {
            if rule.name == NO_INCLUDE_RULE || RuleSet::NAMES.iter().any(|set| rule.name.split('.').next() == Some(set)) {
                reader.fault_in("rule", index, "name", "the ledger has another use for this name: give it another one");
            }
            match names.get(rule.name.as_str()) {
                Some(first) => {
                    let place = reader.place_in("rule", *first, "name");
                    reader.fault_in("rule", index, "name", format!("{place} has a rule of this name: give each its own"));
                }
                None => {
                    names.insert(&rule.name, index);
                }
            }
        }
    }
}

section! {
    Live;
    /// A rule. It is true of a transaction of which each of its conditions is; a condition with a list, of which one item is.
    /// Texts are compared as they are, or as "glob:…" or "regex:…" say.
    pub struct Rule {
        /// What it is called in the ledger.
        pub name: String = label().required("partners"),
        /// "ignore" and "allow" win over everything, then "exclude", then "include". Where there is an "include", what none
        /// is true of is left out.
        pub kind: RuleKind = choice().required(RuleKind::Include),
        /// The host, without its port.
        pub host: Vec<Pattern> = list(host_pattern()).or([]),
        /// The path, without its query, in its normalized form: dot segments taken out, escapes of letters, digits and -._~ undone,
        /// and the others in capitals. What is not ASCII is true of both forms that clients send, "/café" of /caf%C3%A9, too; a
        /// regex, which is about bytes, only of the one that it names.
        pub path: Vec<Pattern> = list(path_pattern()).or([]),
        /// The method, such as ["GET", "HEAD"].
        pub method: Vec<String> = list(method()).or([]),
        /// The status of the response: codes, ranges and classes, such as [404, "500-503", "2xx"].
        pub status: Vec<NumberRange> = list(statuses()).or([]),
        /// The media type of the response, such as ["image/*"].
        pub content_type: Vec<String> = list(media_type()).or([]),
        /// The client's address, such as ["10.0.0.0/8"].
        pub client: Vec<Network> = list(network()).or([]),
        /// The address at the connection's client end, which may be a proxy's.
        pub peer: Vec<Network> = list(network()).or([]),
        /// The server's address.
        pub server: Vec<Network> = list(network()).or([]),
        /// The server's port: ports and ranges, such as [8080, "9000-9099"].
        pub port: Vec<NumberRange> = list(port_ranges()).or([]),
        /// The virtual network (VNI, GRE key) of any tunnel around it.
        pub vni: Vec<NumberRange> = list(virtual_networks()).or([]),
        /// The VLAN.
        pub vlan: Vec<NumberRange> = list(vlans()).or([]),
        /// Request headers, by name: true (it is there), false (it is not), or what a value is like. All of them have to
        /// hold: { x-debug = true, user-agent = "glob:kube-probe/*" }.
        pub header: BTreeMap<String, HeaderTest> = map("the name of a header", header_name, HeaderTests).or([]),
        /// The same of the response's headers.
        pub response_header: BTreeMap<String, HeaderTest> = map("the name of a header", header_name, HeaderTests).or([]),
        /// Record only some of the transactions that it is true of.
        pub sample: Option<Sample> = optional_table(),
    }
    check(this, reader) {
        let has_condition = CONDITIONS.iter().any(|key| reader.says(key));
        let leaves_out = matches!(this.kind, RuleKind::Ignore | RuleKind::Exclude);
        if leaves_out && !has_condition && reader.has("kind") {
            reader.fault("kind", "it has no condition and would leave out everything: add one, such as path = [\"/health\"]");
        }
        if this.path.iter().any(asks_for_a_query) {
            reader.note("path", "a path has no query, and a ? in a glob is any one character: what is asked for behind it is hardly ever in a path");
        }
        if leaves_out && reader.has("sample") {
            reader.fault("sample", "a sample is taken of what is recorded: it goes with kind \"include\" or \"allow\"");
        }
    }
}

/// The keys of a rule that are conditions.
const CONDITIONS: [&str; 13] = [
    "host",
    "path",
    "method",
    "status",
    "content_type",
    "client",
    "peer",
    "server",
    "port",
    "vni",
    "vlan",
    "header",
    "response_header",
];

/// The most rules of one's own: with those of the sets, as many as can be looked for at once.
const MOST_RULES: usize = 480;

/// What the ledger calls what no rule of kind "include" is true of.
const NO_INCLUDE_RULE: &str = "no_include_rule";

/// Whether a glob looks for `?name=`.
fn asks_for_a_query(pattern: &Pattern) -> bool {
    let Pattern::Glob(glob) = pattern else { return false };
    glob.split('?').skip(1).any(|behind| {
        let name = behind.find(|c: char| !(c.is_ascii_alphanumeric() || "_-.".contains(c))).unwrap_or(behind.len());
        name > 0 && behind[name..].starts_with('=')
    })
}

fn method() -> Parsed<String> {
    parsed("a method, as in \"GET\"", |text| {
        let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        match text {
            "" => Err("it is empty: write a method, as in \"GET\"".to_owned()),
            _ if !text.bytes().all(is_token) => Err("allowed: a method, as in \"GET\"".to_owned()),
            _ if text.bytes().any(|b| b.is_ascii_lowercase()) => {
                Err(format!("methods are told apart by case; did you mean \"{}\"?", text.to_ascii_uppercase()))
            }
            _ if text.contains('*') => {
                Err("a method is compared as it is, without wildcards: name each, or leave the key out".to_owned())
            }
            _ => Ok(text.to_owned()),
        }
    })
}

fn header_name(name: &str) -> Result<String, String> {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err("allowed as key: the name of a header, as in x-debug".to_owned());
    }
    Ok(name.to_ascii_lowercase())
}

section! {
    Live;
    /// How many are recorded of the transactions that a rule is true of. Records carry how many they stand for.
    pub struct Sample {
        /// The share that is recorded, chosen by the transaction's id: the same ones whenever they are seen.
        pub rate: Option<f64> = ratio().optional(0.1),
        /// The first so many of each endpoint template in each minute, which is that in which a transaction began. Excludes
        /// `rate`. They are the first that any worker came to: another run may record others, but as many; `rate` always
        /// records the same. Those left out are in the weight of the next one of their template that is recorded. Other rules
        /// at a reload begin to count anew. Up to 65,536 counts are kept: of more templates in a minute, the rest shares some, and
        /// what began before the oldest minute that is kept is left out.
        pub first_per_minute: Option<u32> = whole(1..=1_000_000).optional(10_u32).alternative(),
    }
    check(this, reader) {
        match (reader.has("rate"), reader.has("first_per_minute")) {
            (true, true) => reader.fault("first_per_minute", "a sample is by `rate` or by `first_per_minute`: take one out"),
            (false, false) => reader.absence("rate", "set `rate` or `first_per_minute`"),
            _ => {}
        }
    }
}
