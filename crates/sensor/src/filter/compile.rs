//! From rules as they are written to rules at work; everything that is wrong is told at once.

use core::net::Ipv6Addr;
use std::collections::{BTreeMap, HashSet};

use ipnet::IpNet;

use super::header_index::HeaderIndexBuilder;
use super::rules::Rules;
use super::sampling::{Minutes, Sampler};
use super::sets::{Bits, MAX_RULES};
use super::settings::{Conditions, Kind, Pattern, Problem, RuleSettings, Settings};
use super::spans::{Addresses, Spans};
use super::text_index::{Budget, TextIndexBuilder, TooMuch};
use super::verdict::{Attribute, RuleIndex, Stage};
use crate::normalize::{escaped_byte, normalize_path};

impl Rules {
    /// Makes rules ready.
    ///
    /// # Errors
    /// Everything that is wrong with them, in their order.
    pub fn compile(settings: &Settings) -> Result<Self, Vec<Problem>> {
        let mut built_in = settings.built_in.clone();
        built_in.sort_unstable();
        built_in.dedup();
        let own = settings.rules.len();
        let added: Vec<RuleSettings> = built_in.iter().flat_map(|set| set.rules()).collect();
        let rules: Vec<&RuleSettings> = settings.rules.iter().chain(&added).collect();
        if rules.len() > MAX_RULES {
            return Err(vec![Problem {
                rule: None,
                name: String::new(),
                field: "rules",
                found: rules.len().to_string(),
                message: format!("{} rules, those of built-in sets included: the most is {MAX_RULES}", rules.len()),
            }]);
        }
        let mut compiler = Compiler::new(settings);
        let mut order: Vec<usize> = (0..rules.len()).collect();
        order.sort_by_key(|place| rules.get(*place).map(|rule| rule.kind));
        let mut samplers = Vec::new();
        let mut names = HashSet::new();
        for (place, rule) in rules.iter().enumerate() {
            compiler.rule = (place < own).then_some(place);
            compiler.name.clone_from(&rule.name);
            compiler.check_name(&rule.name, !names.insert(rule.name.as_str()));
            let bit = order.iter().position(|other| *other == place).unwrap_or(0);
            compiler.add(&rule.conditions, bit);
            samplers.push(compiler.sampler(rule));
        }
        if !compiler.problems.is_empty() {
            return Err(compiler.problems);
        }
        let by_bit = order.iter().filter_map(|place| u16::try_from(*place).ok()).map(RuleIndex).collect();
        let too_much = |attribute: Attribute, much: TooMuch| {
            let place = order.get(much.rule).copied().unwrap_or(usize::MAX);
            vec![Problem {
                rule: Some(place).filter(|place| *place < own),
                name: rules.get(place).map(|rule| rule.name.clone()).unwrap_or_default(),
                field: attribute.name(),
                found: String::new(),
                message: "the expressions of all rules are too large together: ask for less repetition in this and others, or for less of them".to_owned(),
            }]
        };
        let mut budget = Budget::default();
        let mut texts = |attribute: Attribute, patterns: TextIndexBuilder| {
            patterns.build(&mut budget).map_err(|much| too_much(attribute, much))
        };
        let hosts = texts(Attribute::Host, compiler.hosts)?;
        let paths = texts(Attribute::Path, compiler.paths)?;
        let methods = texts(Attribute::Method, compiler.methods)?;
        let content_types = texts(Attribute::ContentType, compiler.content_types)?;
        let mut fields = |attribute: Attribute, conditions: HeaderIndexBuilder| {
            conditions.build(&mut budget).map_err(|much| too_much(attribute, much))
        };
        let request_headers = fields(Attribute::RequestHeaders, compiler.request_headers)?;
        let response_headers = fields(Attribute::ResponseHeaders, compiler.response_headers)?;
        let of_kind = |kind: Kind| {
            let mut bits = Bits::NONE;
            let places = order.iter().enumerate();
            let with_kind = places.filter(|(_, place)| rules.get(**place).is_some_and(|rule| rule.kind == kind));
            with_kind.for_each(|(bit, _)| bits.insert(bit));
            bits
        };
        let all = Bits::below(rules.len());
        let told_by = |stage: Stage, client: bool| {
            let asking_more = Attribute::ALL
                .iter()
                .zip(&compiler.asking)
                .filter(|(attribute, _)| attribute.stage() > stage && !(client && **attribute == Attribute::Client));
            asking_more.fold(all, |told, (_, asking)| told.minus(asking))
        };
        Ok(Self {
            names: rules.iter().map(|rule| rule.name.clone()).collect(),
            kinds: rules.iter().map(|rule| rule.kind).collect(),
            samplers,
            by_bit,
            all,
            ignore: of_kind(Kind::Ignore),
            allow: of_kind(Kind::Allow),
            exclude: of_kind(Kind::Exclude),
            include: of_kind(Kind::Include),
            told_by_flow: [told_by(Stage::Flow, false), told_by(Stage::Flow, true)],
            told_by_request: told_by(Stage::Request, false),
            asked: (0_u16..)
                .zip(&compiler.asking)
                .fold(0, |asked, (attribute, asking)| asked | u16::from(!asking.is_empty()) << attribute),
            asking: compiler.asking,
            peers: Addresses::new(&compiler.peers),
            servers: Addresses::new(&compiler.servers),
            clients: Addresses::new(&compiler.clients),
            ports: Spans::new(&compiler.ports),
            vnis: Spans::new(&compiler.vnis),
            vlans: Spans::new(&compiler.vlans),
            methods,
            hosts,
            paths,
            request_headers,
            statuses: Spans::new(&compiler.statuses),
            content_types,
            response_headers,
            minutes: Minutes::default(),
        })
    }
}

impl Default for Rules {
    /// No rules: everything is recorded.
    fn default() -> Self {
        Self::compile(&Settings::default()).unwrap_or_else(|_| unreachable!("nothing is wrong with no rules"))
    }
}

struct Compiler<'a> {
    settings: &'a Settings,
    /// The rule at hand.
    rule: Option<usize>,
    name: String,
    problems: Vec<Problem>,
    asking: [Bits; Attribute::ALL.len()],
    peers: Vec<(IpNet, usize)>,
    servers: Vec<(IpNet, usize)>,
    clients: Vec<(IpNet, usize)>,
    ports: Vec<(u16, u16, usize)>,
    vnis: Vec<(u32, u32, usize)>,
    vlans: Vec<(u16, u16, usize)>,
    statuses: Vec<(u16, u16, usize)>,
    methods: TextIndexBuilder,
    hosts: TextIndexBuilder,
    paths: TextIndexBuilder,
    content_types: TextIndexBuilder,
    request_headers: HeaderIndexBuilder,
    response_headers: HeaderIndexBuilder,
}

impl<'a> Compiler<'a> {
    fn new(settings: &'a Settings) -> Self {
        Self {
            settings,
            rule: None,
            name: String::new(),
            problems: Vec::new(),
            asking: [Bits::NONE; Attribute::ALL.len()],
            peers: Vec::new(),
            servers: Vec::new(),
            clients: Vec::new(),
            ports: Vec::new(),
            vnis: Vec::new(),
            vlans: Vec::new(),
            statuses: Vec::new(),
            methods: TextIndexBuilder::new(false),
            hosts: TextIndexBuilder::new(true),
            paths: TextIndexBuilder::new(false),
            content_types: TextIndexBuilder::new(true),
            request_headers: HeaderIndexBuilder::default(),
            response_headers: HeaderIndexBuilder::default(),
        }
    }

    fn check_name(&mut self, name: &str, is_taken: bool) {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        if name.is_empty() || name.len() > 64 || !name.bytes().all(is_plain) {
            self.problem("name", name, format!("`{name}`: a name is 1 to 64 letters, digits, `_`, `-` and `.`"));
        } else if name == super::NO_INCLUDE_RULE {
            self.problem("name", name, format!("`{name}` is what the ledger calls what no include rule matches"));
        } else if is_taken {
            self.problem("name", name, format!("another rule is called `{name}`: the ledger counts by name"));
        }
    }

    fn sampler(&mut self, rule: &RuleSettings) -> Option<Sampler> {
        let sampling = rule.sampling?;
        let found = format!("{sampling:?}");
        if !rule.kind.records() {
            let kind = rule.kind.name();
            self.problem("sampling", &found, format!("an {kind} rule records nothing that could be sampled"));
            return None;
        }
        match Sampler::new(sampling) {
            Ok(sampler) => Some(sampler),
            Err(message) => {
                self.problem("sampling", &found, message);
                None
            }
        }
    }

    fn add(&mut self, conditions: &Conditions, bit: usize) {
        let Conditions {
            host,
            path,
            method,
            status,
            content_type,
            client,
            peer,
            server,
            port,
            vni,
            vlan,
            request_headers,
            response_headers,
        } = conditions;
        let asked = [
            (Attribute::Host, host.len()),
            (Attribute::Path, path.len()),
            (Attribute::Method, method.len()),
            (Attribute::Status, status.len()),
            (Attribute::ContentType, content_type.len()),
            (Attribute::Client, client.len()),
            (Attribute::Peer, peer.len()),
            (Attribute::Server, server.len()),
            (Attribute::Port, port.len()),
            (Attribute::Vni, vni.len()),
            (Attribute::Vlan, vlan.len()),
            (Attribute::RequestHeaders, request_headers.len()),
            (Attribute::ResponseHeaders, response_headers.len()),
        ];
        for (attribute, _) in asked.into_iter().filter(|(_, values)| *values > 0) {
            if let Some(asking) = self.asking.get_mut(attribute as usize) {
                asking.insert(bit);
            }
        }
        self.patterns(Attribute::Host, host, bit, |compiler| &mut compiler.hosts, check_host);
        self.patterns(Attribute::Path, path, bit, |compiler| &mut compiler.paths, check_path);
        let other_forms: Vec<Pattern> = path.iter().flat_map(other_forms).collect();
        self.patterns(Attribute::Path, &other_forms, bit, |compiler| &mut compiler.paths, |_| Ok(()));
        self.patterns(Attribute::Method, method, bit, |compiler| &mut compiler.methods, check_method);
        self.patterns(
            Attribute::ContentType,
            content_type,
            bit,
            |compiler| &mut compiler.content_types,
            check_media_type,
        );
        self.clients.extend(client.iter().map(|network| (*network, bit)));
        self.peers.extend(peer.iter().map(|network| (*network, bit)));
        self.servers.extend(server.iter().map(|network| (*network, bit)));
        let none = BTreeMap::<u32, String>::new();
        let settings = self.settings;
        let vlan_names = settings.vlan_names.iter().map(|(vlan, name)| (u32::from(*vlan), name.clone())).collect();
        for (attribute, texts, names, most) in [
            (Attribute::Port, port, &none, 65_535),
            (Attribute::Status, status, &none, 999),
            // A VNI has 24 bits, a GRE key 32.
            (Attribute::Vni, vni, &settings.vni_names, u32::MAX),
            (Attribute::Vlan, vlan, &vlan_names, 4095),
        ] {
            for text in texts {
                match ranges(text, attribute, names, most) {
                    Ok(ranges) => ranges.into_iter().for_each(|range| self.range(attribute, range, bit)),
                    Err(message) => self.problem(attribute.name(), text, message),
                }
            }
        }
        for (attribute, conditions) in
            [(Attribute::RequestHeaders, request_headers), (Attribute::ResponseHeaders, response_headers)]
        {
            for condition in conditions {
                let index = if attribute == Attribute::RequestHeaders {
                    &mut self.request_headers
                } else {
                    &mut self.response_headers
                };
                if let Err(message) = index.add(condition, bit) {
                    self.problem(attribute.name(), &condition.name, message);
                }
            }
        }
    }

    fn patterns(
        &mut self,
        attribute: Attribute,
        patterns: &[Pattern],
        bit: usize,
        index: impl Fn(&mut Self) -> &mut TextIndexBuilder,
        check: fn(&str) -> Result<(), String>,
    ) {
        for pattern in patterns {
            // Only globs say what whole texts look like.
            let checked = if let Pattern::Glob(text) = pattern { check(text) } else { Ok(()) };
            if let Err(message) = checked.and_then(|()| index(self).add(pattern, bit)) {
                self.problem(attribute.name(), pattern.text(), message);
            }
        }
    }

    fn range(&mut self, attribute: Attribute, (first, last): (u32, u32), bit: usize) {
        let narrow = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
        match attribute {
            Attribute::Port => self.ports.push((narrow(first), narrow(last), bit)),
            Attribute::Status => self.statuses.push((narrow(first), narrow(last), bit)),
            Attribute::Vlan => self.vlans.push((narrow(first), narrow(last), bit)),
            _ => self.vnis.push((first, last, bit)),
        }
    }

    fn problem(&mut self, field: &'static str, found: &str, message: String) {
        let (rule, name) = (self.rule, self.name.clone());
        self.problems.push(Problem { rule, name, field, found: found.to_owned(), message });
    }
}

/// A number, a range, a class of statuses, or the name of numbers.
fn ranges(
    text: &str,
    attribute: Attribute,
    names: &BTreeMap<u32, String>,
    most: u32,
) -> Result<Vec<(u32, u32)>, String> {
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u32>().ok().filter(|number| is_number && *number <= most)
    };
    if attribute == Attribute::Status
        && let [class @ b'1'..=b'9', b'x' | b'X', b'x' | b'X'] = text.as_bytes()
    {
        let first = u32::from(class - b'0') * 100;
        return Ok(vec![(first, first + 99)]);
    }
    let named: Vec<_> = names.iter().filter(|(_, name)| *name == text).map(|(number, _)| (*number, *number)).collect();
    if !named.is_empty() {
        return Ok(named);
    }
    if let Some(number) = number(text) {
        return Ok(vec![(number, number)]);
    }
    if let Some((first, last)) = text.split_once('-')
        && let (Some(first), Some(last)) = (number(first), number(last))
    {
        if first > last {
            return Err(format!("`{text}` ends before it begins: write `{last}-{first}`"));
        }
        return Ok(vec![(first, last)]);
    }
    Err(match attribute {
        Attribute::Status => format!("`{text}` is no status: write `404`, `5xx` or `500-503`"),
        Attribute::Port => format!("`{text}` is no port: write `443` or `8000-8999`"),
        _ => {
            let names: Vec<&str> = names.values().take(8).map(String::as_str).collect();
            let known = if names.is_empty() { "there are none".to_owned() } else { names.join(", ") };
            format!("`{text}` is neither a number up to {most}, nor a range such as `1-99`, nor a name: {known}")
        }
    })
}

fn check_host(glob: &str) -> Result<(), String> {
    if glob.contains('/') {
        return Err(format!("`{glob}` has more than a host: neither scheme nor path is matched here"));
    }
    let address = glob.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(glob);
    if let Ok(ip) = address.parse::<Ipv6Addr>() {
        let written = format!("[{ip}]");
        return match glob.eq_ignore_ascii_case(&written) {
            true => Ok(()),
            false => Err(format!("`{glob}` is written otherwise in hosts: write `{written}`")),
        };
    }
    if let Some(name) = glob.strip_suffix('.').filter(|name| !name.is_empty() && !name.ends_with(['.', '\\'])) {
        return Err(format!(
            "`{glob}` matches no host, because the dot at a name's end is taken off: write `{}`",
            spelled(name)
        ));
    }
    let port = glob.rsplit_once(':').map(|(_, port)| port);
    if port.is_some_and(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
        && !glob.starts_with('[')
    {
        return Err(format!("`{glob}` has a port, which is no part of the host: use `port`"));
    }
    Ok(())
}

fn check_path(glob: &str) -> Result<(), String> {
    if glob.contains("\\?") {
        return Err(format!("`{glob}` matches no path, because a path ends before the `?`: leave the query out"));
    }
    if !glob.starts_with(['/', '*', '?', '{', '\\']) {
        let [rooted, anywhere] = [format!("/{glob}"), format!("*{glob}")].map(|glob| spelled(&normal(&glob)));
        return Err(format!(
            "`{glob}` matches no path, because paths begin with `/`: write `{rooted}` or `{anywhere}`"
        ));
    }
    let normal = normal(glob);
    if normal != glob {
        return Err(format!(
            "`{glob}` matches no path, because escapes are undone and dot segments resolved before: write `{}`",
            spelled(&normal)
        ));
    }
    Ok(())
}

/// A path's glob in the forms in which clients send what is not ASCII: escaped, as they should, and as it is.
fn other_forms(pattern: &Pattern) -> Vec<Pattern> {
    let Pattern::Glob(glob) = pattern else { return Vec::new() };
    let has_other = !glob.is_ascii() || glob.contains('%');
    if !has_other || pattern.check().is_err() || check_path(glob).is_err() {
        return Vec::new();
    }
    let mut escaped = String::with_capacity(glob.len());
    for byte in glob.bytes() {
        match byte {
            0x80.. => escaped.push_str(&format!("%{byte:02X}")),
            byte => escaped.push(char::from(byte)),
        }
    }
    // Bytes that are no characters stay escaped: a glob is text.
    let mut plain = String::with_capacity(glob.len());
    let mut rest = escaped.as_str();
    while let Some(at) = rest.find('%') {
        let (before, escapes) = rest.split_at(at);
        plain.push_str(before);
        let bytes: Vec<u8> = escapes
            .as_bytes()
            .chunks_exact(3)
            .map_while(escaped_byte)
            .take_while(|byte| !byte.is_ascii())
            .take(4)
            .collect();
        let character = bytes.utf8_chunks().next().and_then(|chunk| chunk.valid().chars().next());
        let (text, len) = match character {
            Some(character) => (character.to_string(), character.len_utf8() * 3),
            None => ("%".to_owned(), 1),
        };
        plain.push_str(&text);
        rest = escapes.get(len..).unwrap_or_default();
    }
    plain.push_str(rest);
    let mut forms = vec![escaped, plain];
    forms.retain(|form| form != glob);
    forms.into_iter().map(Pattern::Glob).collect()
}

fn normal(path: &str) -> String {
    String::from_utf8_lossy(normalize_path(path.as_bytes(), &mut Vec::new())).into_owned()
}

/// A glob as it is written in the configuration: a text as it is, unless something in it has a meaning.
fn spelled(glob: &str) -> String {
    let (mut text, mut rest) = (String::new(), glob.chars());
    while let Some(one) = rest.next() {
        match one {
            '\\' => text.extend(rest.next()),
            '*' | '?' | '{' | '}' => return format!("glob:{glob}"),
            one => text.push(one),
        }
    }
    if text.contains(['*', '?']) { format!("exact:{text}") } else { text }
}

fn check_method(glob: &str) -> Result<(), String> {
    if glob.bytes().any(|byte| byte.is_ascii_lowercase()) {
        let upper = glob.to_ascii_uppercase();
        return Err(format!(
            "`{glob}`: case counts in methods, and those in use are in capitals: write `{upper}`, or a regex"
        ));
    }
    Ok(())
}

fn check_media_type(glob: &str) -> Result<(), String> {
    if glob.contains(';') {
        return Err(format!("`{glob}` has parameters, which are not matched: write what is before `;`"));
    }
    Ok(())
}
