//! What the configuration's `[normalize]` and `[filters]` mean.

use std::fmt;

use crate::config::{
    AddressSource, Config, Filters, HeaderTest, Misfit, Normalize, NumberRange, Pattern, Rule, RuleKind, RuleSet,
    Sample, discreet,
};
use crate::filter::{self, BuiltIn, Conditions, HeaderCondition, Kind, Problem, RuleSettings, Rules, Sampling};
use crate::normalize::{self, ClientSource, Normalizer};

/// The rules cannot be put to work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError(Vec<Problem>);

impl FilterError {
    /// The same, each with its setting.
    #[must_use]
    pub fn misfits(&self) -> Vec<Misfit> {
        let misfit = |problem: &Problem| {
            let field = match problem.field {
                "request_headers" => "header",
                "response_headers" => "response_header",
                "sampling" => "sample",
                field => field,
            };
            let key = match problem.rule {
                Some(rule) => format!("filters.rule[{rule}].{field}"),
                None => "filters.rule".to_owned(),
            };
            let advice = match problem.rule {
                Some(_) => format!("it is of rule `{}`", problem.name),
                None => "put several values into one rule's lists".to_owned(),
            };
            Misfit { key, found: Some(discreet(&problem.found, &problem.message)), advice, by: &[] }
        };
        self.0.iter().map(misfit).collect()
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the rules of [filters] cannot be put to work:")?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for FilterError {}

/// What `[normalize]` asks for.
#[must_use]
pub fn normalizer(normalize: &Normalize) -> Normalizer {
    let Normalize { trusted_proxies, client_address, proxy_protocol, template, names } = normalize;
    Normalizer::new(normalize::Settings {
        trusted_proxies: trusted_proxies.clone(),
        client_sources: client_address.iter().filter_map(|source| client_source(*source)).collect(),
        proxy_protocol: *proxy_protocol,
        believes_proxy_protocol: client_address.contains(&AddressSource::ProxyProtocol),
        template: *template,
        vni_names: names.vni.clone(),
        vlan_names: names.vlan.clone(),
    })
}

/// What `[filters]` asks for.
///
/// # Errors
/// What only shows when rules are made ready: expressions that are too large together.
pub fn rules(config: &Config) -> Result<Rules, FilterError> {
    Rules::compile(&settings(config)).map_err(FilterError)
}

fn settings(config: &Config) -> filter::Settings {
    let Filters { sets, rule } = &config.filters;
    filter::Settings {
        rules: rule.iter().map(rule_settings).collect(),
        built_in: sets.iter().map(|set| built_in(*set)).collect(),
        vni_names: config.normalize.names.vni.clone(),
        vlan_names: config.normalize.names.vlan.clone(),
    }
}

fn rule_settings(rule: &Rule) -> RuleSettings {
    let exact = |texts: &[String]| texts.iter().map(|text| filter::Pattern::Glob(escape(text))).collect();
    RuleSettings {
        name: rule.name.clone(),
        kind: kind(rule.kind),
        conditions: Conditions {
            host: patterns(&rule.host),
            path: patterns(&rule.path),
            method: exact(&rule.method),
            status: numbers(&rule.status),
            // Here a `*` stands for anything, and what is no letter of a media type was refused.
            content_type: rule.content_type.iter().map(|text| media_type(text)).collect(),
            client: rule.client.clone(),
            peer: rule.peer.clone(),
            server: rule.server.clone(),
            port: numbers(&rule.port),
            vni: numbers(&rule.vni),
            vlan: numbers(&rule.vlan),
            request_headers: rule.header.iter().map(header).collect(),
            response_headers: rule.response_header.iter().map(header).collect(),
        },
        sampling: rule.sample.as_ref().and_then(sampling),
    }
}

fn sampling(sample: &Sample) -> Option<Sampling> {
    let Sample { rate, first_per_minute } = sample;
    rate.map(Sampling::Rate).or_else(|| first_per_minute.map(Sampling::PerMinute))
}

fn header((name, test): (&String, &HeaderTest)) -> HeaderCondition {
    let test = match test {
        HeaderTest::Present => filter::HeaderTest::Present,
        HeaderTest::Absent => filter::HeaderTest::Absent,
        HeaderTest::Like(like) => filter::HeaderTest::Value(vec![pattern(like)]),
    };
    HeaderCondition { name: name.clone(), test }
}

fn patterns(patterns: &[Pattern]) -> Vec<filter::Pattern> {
    patterns.iter().map(pattern).collect()
}

fn pattern(pattern: &Pattern) -> filter::Pattern {
    match pattern {
        Pattern::Exact(text) => filter::Pattern::Glob(escape(text)),
        Pattern::Glob(glob) => filter::Pattern::Glob(glob.clone()),
        Pattern::Regex(regex) => filter::Pattern::Regex(regex.clone()),
    }
}

/// `+json` is any type with that suffix, `image/*` any of that kind, `all` any.
fn media_type(text: &str) -> filter::Pattern {
    let glob = match text {
        "all" | "*" => "*".to_owned(),
        text if text.starts_with('+') => format!("*{text}"),
        text => text.to_owned(),
    };
    filter::Pattern::Glob(glob)
}

/// The glob of a text as it is.
fn escape(text: &str) -> String {
    let mut glob = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '*' | '?' | '{' | '}' | '\\') {
            glob.push('\\');
        }
        glob.push(character);
    }
    glob
}

fn numbers(ranges: &[NumberRange]) -> Vec<String> {
    let text = |range: &NumberRange| match (range.first, range.last) {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}-{last}"),
    };
    ranges.iter().map(text).collect()
}

const fn kind(kind: RuleKind) -> Kind {
    match kind {
        RuleKind::Ignore => Kind::Ignore,
        RuleKind::Allow => Kind::Allow,
        RuleKind::Exclude => Kind::Exclude,
        RuleKind::Include => Kind::Include,
    }
}

const fn built_in(set: RuleSet) -> BuiltIn {
    match set {
        RuleSet::StaticAssets => BuiltIn::StaticAssets,
        RuleSet::HealthChecks => BuiltIn::HealthChecks,
        RuleSet::MeshProbes => BuiltIn::MeshProbes,
        RuleSet::ShadowTraffic => BuiltIn::ShadowTraffic,
    }
}

const fn client_source(source: AddressSource) -> Option<ClientSource> {
    match source {
        AddressSource::XForwardedFor => Some(ClientSource::ForwardedFor),
        AddressSource::Forwarded => Some(ClientSource::Forwarded),
        AddressSource::TrueClientIp => Some(ClientSource::TrueClientIp),
        AddressSource::CfConnectingIp => Some(ClientSource::CfConnectingIp),
        AddressSource::XRealIp => Some(ClientSource::RealIp),
        AddressSource::XAzureClientIp => Some(ClientSource::AzureClientIp),
        AddressSource::ProxyProtocol => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Loaded;

    fn config(text: &str) -> Config {
        Loaded::parse(text, Path::new("test.toml")).unwrap().config
    }

    #[test]
    fn every_condition_of_a_rule_gets_there() {
        let config = config(
            r#"
            [filters]
            sets = ["static_assets"]
            [[filters.rule]]
            name = "all"
            kind = "include"
            host = ["a{b}.example", "glob:*.example"]
            path = ["regex:^/v1/"]
            method = ["GET", "M-SEARCH"]
            status = [404, "500-503"]
            content_type = ["image/*", "+json"]
            client = ["10.0.0.0/8"]
            peer = ["192.0.2.7"]
            server = ["2001:db8::/32"]
            port = ["8000-8999"]
            vni = [4711]
            vlan = [100]
            header = { x-debug = true, x-none = false, user-agent = "glob:kube-probe/*" }
            response_header = { server = "nginx" }
            sample = { first_per_minute = 7 }
            "#,
        );
        let settings = settings(&config);
        assert_eq!(settings.built_in, [BuiltIn::StaticAssets]);
        let [rule] = settings.rules.as_slice() else { panic!("{:?}", settings.rules) };
        let glob = |text: &str| filter::Pattern::Glob(text.to_owned());
        let header = |name: &str, test| HeaderCondition { name: name.to_owned(), test };
        assert_eq!(
            rule.conditions,
            Conditions {
                host: vec![glob("a\\{b\\}.example"), glob("*.example")],
                path: vec![filter::Pattern::Regex("^/v1/".to_owned())],
                method: vec![glob("GET"), glob("M-SEARCH")],
                status: vec!["404".to_owned(), "500-503".to_owned()],
                content_type: vec![glob("image/*"), glob("*+json")],
                client: vec!["10.0.0.0/8".parse().unwrap()],
                peer: vec!["192.0.2.7/32".parse().unwrap()],
                server: vec!["2001:db8::/32".parse().unwrap()],
                port: vec!["8000-8999".to_owned()],
                vni: vec!["4711".to_owned()],
                vlan: vec!["100".to_owned()],
                request_headers: vec![
                    header("user-agent", filter::HeaderTest::Value(vec![glob("kube-probe/*")])),
                    header("x-debug", filter::HeaderTest::Present),
                    header("x-none", filter::HeaderTest::Absent),
                ],
                response_headers: vec![header("server", filter::HeaderTest::Value(vec![glob("nginx")]))],
            }
        );
        assert_eq!(rule.sampling, Some(Sampling::PerMinute(7)));
        assert_eq!(rules(&config).unwrap().len(), 1 + BuiltIn::StaticAssets.rules().len());
    }

    #[test]
    fn what_is_said_of_normalization_gets_there() {
        let config = config(
            r#"
            [normalize]
            trusted_proxies = ["10.0.0.0/8"]
            client_address = ["x-real-ip"]
            proxy_protocol = false
            template = false
            names = { vni = { 4711 = "prod-eu-1" }, vlan = { 100 = "dmz" } }
            "#,
        );
        let normalizer = normalizer(&config.normalize);
        let proxy = "10.1.2.3".parse().unwrap();
        assert!(normalizer.trusts(proxy) && !normalizer.trusts("11.1.2.3".parse().unwrap()));
        assert!(!normalizer.reads_proxy_protocol());
        assert_eq!(normalizer.template(b"/a/1", &mut Vec::new()), None);
        assert_eq!((normalizer.vni_name(4711), normalizer.vlan_name(100)), (Some("prod-eu-1"), Some("dmz")));
        let headers: [(&[u8], &[u8]); 2] = [(b"x-forwarded-for", b"192.0.2.1"), (b"x-real-ip", b"192.0.2.2")];
        let origin = normalizer.origin(proxy, Some("192.0.2.3".parse().unwrap()), headers);
        assert_eq!((origin.client.ip, origin.client.source.name()), ("192.0.2.2".parse().unwrap(), "x_real_ip"));
        assert!(super::normalizer(&Normalize::default()).reads_proxy_protocol());
    }
}
