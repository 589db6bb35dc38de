//! What values of the sections mean beyond a number or a name: networks, patterns, ranges, media types, actions.

use std::fmt;

use http_parse::BodyTypes;
/// Addresses that share their first bits.
pub use ipnet::IpNet as Network;
use regex::RegexBuilder;
use regex_syntax::hir::{Hir, HirKind};

use super::describe::Shape;
use super::kind::{Kind, Parsed, parsed, quoted};
use super::problem::Problems;
use super::secret;
use super::suggest;
use super::tree::{Node, Value};
use crate::filter;
use crate::normalize::{NETWORK_FORM, parse_network};

/// The most memory that a compiled expression may take, and the longest that is looked at.
const PATTERN_BYTES: usize = 1 << 20;
const LONGEST_PATTERN: usize = 4_096;

pub(super) fn network() -> Parsed<Network> {
    parsed(NETWORK_FORM, parse_network)
}

/// How a text is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// As it is.
    Exact(String),
    /// `*` for any run of bytes, `?` for one, `{a,b}` for alternatives; `\` before one that stands for itself. As a whole.
    Glob(String),
    /// A regular expression, of linear time; anywhere, unless it is anchored.
    Regex(String),
}

impl Pattern {
    /// Without its form.
    fn text(&self) -> &str {
        match self {
            Self::Exact(text) | Self::Glob(text) | Self::Regex(text) => text,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) if has_form(text) || has_wildcard(text) => write!(f, "exact:{text}"),
            Self::Exact(text) => f.write_str(text),
            Self::Glob(text) => write!(f, "glob:{text}"),
            Self::Regex(text) => write!(f, "regex:{text}"),
        }
    }
}

fn has_form(text: &str) -> bool {
    ["exact:", "glob:", "regex:"].iter().any(|form| text.starts_with(form))
}

fn has_wildcard(text: &str) -> bool {
    text.contains(['*', '?'])
}

pub(super) fn pattern() -> Parsed<Pattern> {
    parsed("a text, or \"glob:…\" or \"regex:…\"", |text| {
        if text.len() > LONGEST_PATTERN {
            return Err(format!("allowed: a pattern of at most {LONGEST_PATTERN} bytes"));
        }
        // What globs and expressions are is the matter of the rules.
        if let Some(glob) = text.strip_prefix("glob:") {
            not_empty(glob)?;
            return filter::Pattern::Glob(glob.to_owned()).check().map(|()| Pattern::Glob(glob.to_owned()));
        }
        if let Some(expression) = text.strip_prefix("regex:") {
            not_empty(expression)?;
            return filter::Pattern::Regex(expression.to_owned())
                .check()
                .map(|()| Pattern::Regex(expression.to_owned()));
        }
        if let Some(exact) = text.strip_prefix("exact:") {
            return Ok(Pattern::Exact(exact.to_owned()));
        }
        if text.is_empty() {
            return Err("it is empty: write what to look for, or leave the key out".to_owned());
        }
        if has_wildcard(text) {
            // What its braces mean as a glob is not what they are as a text.
            let glob = filter::Pattern::Glob(text.to_owned()).check().map(|()| format!("\"glob:{text}\", or "));
            let glob = glob.unwrap_or_default();
            return Err(format!("a wildcard needs its form: write {glob}\"exact:{text}\" for itself"));
        }
        Ok(Pattern::Exact(text.to_owned()))
    })
    .hidden()
}

/// A pattern of hosts, which are compared without user, password, scheme and path.
pub(super) fn host_pattern() -> Parsed<Pattern> {
    let mut parsed = pattern();
    parsed.parse = |text| {
        let read = (pattern().parse)(text)?;
        let has_user = match &read {
            Pattern::Exact(host) | Pattern::Glob(host) => host.contains('@'),
            Pattern::Regex(expression) => regex_syntax::ParserBuilder::new()
                .utf8(false)
                .build()
                .parse(expression)
                .is_ok_and(|hir| needs(&hir, b'@')),
        };
        match has_user {
            true => {
                Err("a host has neither user nor password in front of it: write what is behind the @; and change the password, if it was one, as it was readable here".to_owned())
            }
            false => Ok(read),
        }
    };
    // An expression may well say that there is none.
    parsed.private(|text| {
        let text = text.replace("[^@]", "");
        text.contains('@') || text.contains("\\x40")
    })
}

/// Whether nothing without the byte matches an expression.
fn needs(expression: &Hir, byte: u8) -> bool {
    match expression.kind() {
        HirKind::Literal(literal) => literal.0.contains(&byte),
        HirKind::Repetition(repetition) => repetition.min > 0 && needs(&repetition.sub, byte),
        HirKind::Capture(capture) => needs(&capture.sub, byte),
        HirKind::Concat(parts) => parts.iter().any(|part| needs(part, byte)),
        HirKind::Alternation(parts) => parts.iter().all(|part| needs(part, byte)),
        HirKind::Empty | HirKind::Class(_) | HirKind::Look(_) => false,
    }
}

/// A pattern of paths, in which a `?` is rarely meant as a wildcard.
pub(super) fn path_pattern() -> Parsed<Pattern> {
    let mut parsed = pattern();
    parsed.parse = |text| {
        if !has_form(text) && text.contains('?') {
            return Err("a path ends before the ?, as it has no query: leave that out; for any one character write \"glob:\" before it".to_owned());
        }
        if !has_form(text) && text.contains('*') && !text.starts_with(['/', '*']) {
            return (pattern().parse)(&format!("/{text}"));
        }
        (pattern().parse)(text)
    };
    // What a path leads to may be named by a key.
    parsed.private(|text| text.split('/').any(secret::may_be_in))
}

fn not_empty(text: &str) -> Result<(), String> {
    if text.is_empty() { Err("it is empty: write what to look for".to_owned()) } else { Ok(()) }
}

fn check_regex(expression: &str) -> Result<(), String> {
    not_empty(expression)?;
    if expression.len() > LONGEST_PATTERN {
        return Err(format!("allowed: a pattern of at most {LONGEST_PATTERN} bytes"));
    }
    match RegexBuilder::new(expression).size_limit(PATTERN_BYTES).dfa_size_limit(PATTERN_BYTES).build() {
        Ok(_) => Ok(()),
        Err(regex::Error::CompiledTooBig(_)) => {
            Err("the expression needs more than 1 MiB: use smaller repetitions, or several expressions".to_owned())
        }
        Err(error) => {
            // The error draws the expression over several lines; its last says what is wrong.
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or_default().trim();
            let reason = reason.strip_prefix("error: ").unwrap_or(reason);
            Err(format!("this is no regular expression: {reason}; look-around and back references are not known"))
        }
    }
}

/// A regular expression, without a form before it, that finds something and not nothing.
pub(super) fn regex() -> Parsed<String> {
    parsed("a regular expression that needs at least one character", |text| {
        check_regex(text)?;
        if regex::Regex::new(text).is_ok_and(|regex| regex.is_match("")) {
            return Err("it is true of the empty text, and so of every place: make it need a character".to_owned());
        }
        Ok(text.to_owned())
    })
    // It tells how secrets look, and is none; but for those that are written out in it.
    .hidden()
    .unless(|_| true)
    .private(|expression| literals(expression).split('\n').any(secret::may_be_in))
}

/// What an expression says literally, a line for each part of it.
fn literals(expression: &str) -> String {
    let mut parts = String::new();
    let mut signs = expression.chars().peekable();
    while let Some(sign) = signs.next() {
        match sign {
            '\\' => {
                // More than one, where it is shown in quotes.
                while signs.next_if_eq(&'\\').is_some() {}
                let escaped = signs.next().filter(|sign| !sign.is_ascii_alphanumeric());
                parts.push(escaped.unwrap_or('\n'));
            }
            '[' | ']' | '(' | ')' | '{' | '}' | '*' | '+' | '?' | '|' | '^' | '$' => parts.push('\n'),
            sign => parts.push(sign),
        }
    }
    parts
}

/// Numbers from one to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumberRange {
    /// The first.
    pub first: u32,
    /// The last.
    pub last: u32,
}

impl NumberRange {
    /// One number.
    #[must_use]
    pub const fn one(number: u32) -> Self {
        Self { first: number, last: number }
    }
}

/// A number, a range of them as `"8000-8099"`, or where that is usual a class as `"5xx"`.
pub(super) struct Numbers {
    least: u32,
    most: u32,
    has_classes: bool,
    form: &'static str,
}

pub(super) fn ports() -> Numbers {
    Numbers { least: 1, most: 65_535, has_classes: false, form: "a port, 1 to 65535, or a range, as in \"8000-8099\"" }
}

pub(super) fn statuses() -> Numbers {
    let form = "a status code, 100 to 599, a range, as in \"200-299\", or a class, as in \"5xx\"";
    Numbers { least: 100, most: 599, has_classes: true, form }
}

pub(super) fn vlans() -> Numbers {
    Numbers { least: 0, most: 4_095, has_classes: false, form: "a VLAN, 0 to 4095, or a range, as in \"100-199\"" }
}

pub(super) fn virtual_networks() -> Numbers {
    let form = "a virtual network id or GRE key, 0 to 4294967295, or a range, as in \"4000-4999\"";
    Numbers { least: 0, most: u32::MAX, has_classes: false, form }
}

impl Numbers {
    fn parse(&self, text: &str) -> Option<NumberRange> {
        let text = text.trim();
        if let Some(class) = text.strip_suffix("xx").filter(|_| self.has_classes) {
            let class: u32 = class.parse().ok().filter(|class| (1..=5).contains(class))?;
            return Some(NumberRange { first: class * 100, last: class * 100 + 99 });
        }
        let number = |text: &str| text.trim().parse::<u32>().ok();
        match text.split_once('-') {
            None => number(text).map(NumberRange::one),
            Some((first, last)) => Some(NumberRange { first: number(first)?, last: number(last)? }),
        }
    }
}

impl Kind for Numbers {
    type Value = NumberRange;

    fn shape(&self) -> Shape {
        let whole = Shape::Whole { least: self.least.into(), most: self.most.into() };
        Shape::Either(vec![whole, Shape::Text(self.form)])
    }

    fn read(&self, node: &Node, key: &str, problems: &mut Problems) -> Option<NumberRange> {
        let range = match &node.value {
            Value::Integer(number) => u32::try_from(*number).ok().map(NumberRange::one),
            Value::String(text) | Value::Raw(text) => self.parse(text),
            _ => None,
        };
        let range =
            range.filter(|range| self.least <= range.first && range.first <= range.last && range.last <= self.most);
        if range.is_none() {
            problems.value(node, key, format!("allowed: {}", self.form));
        }
        range
    }

    fn show(&self, value: &NumberRange) -> String {
        if value.first == value.last {
            value.first.to_string()
        } else {
            quoted(&format!("{}-{}", value.first, value.last))
        }
    }
}

/// What a header is looked at for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderTest {
    /// It is there.
    Present,
    /// It is not there.
    Absent,
    /// One of its values is like this.
    Like(Pattern),
}

/// `true`, `false` or a pattern.
pub(super) struct HeaderTests;

impl Kind for HeaderTests {
    type Value = HeaderTest;

    fn shape(&self) -> Shape {
        Shape::Either(vec![Shape::Flag, pattern().shape()])
    }

    fn read(&self, node: &Node, key: &str, problems: &mut Problems) -> Option<HeaderTest> {
        let name = key.rsplit_once("header.").map_or(key, |(_, name)| name);
        match &node.value {
            Value::Boolean(is_present) => Some(if *is_present { HeaderTest::Present } else { HeaderTest::Absent }),
            Value::String(text) | Value::Raw(text) => {
                let read = (pattern().parse)(text).and_then(header_value);
                match read {
                    Ok(like) => {
                        if is_hidden(name, &like) {
                            problems.keep_unsaid(like.text());
                        }
                        Some(HeaderTest::Like(like))
                    }
                    Err(advice) => {
                        if secret::is_in_header(name, text) || secret::may_be_in(text) {
                            let allowed = || "allowed: a text, \"glob:…\" or \"regex:…\"".to_owned();
                            problems.unshown(node, key, secret::advice(text, &advice, allowed));
                        } else {
                            problems.value(node, key, advice);
                        }
                        None
                    }
                }
            }
            _ => {
                let advice = "allowed: true (it is there), false (it is not), or a text, \"glob:…\" or \"regex:…\" for its value";
                match secret::is_in_header(name, "") {
                    true => problems.unshown(node, key, advice),
                    false => problems.value(node, key, advice),
                }
                None
            }
        }
    }

    fn show(&self, value: &HeaderTest) -> String {
        match value {
            HeaderTest::Present => "true".to_owned(),
            HeaderTest::Absent => "false".to_owned(),
            HeaderTest::Like(like) => pattern().show(like),
        }
    }

    fn show_openly(&self, name: &str, value: &HeaderTest) -> String {
        match value {
            HeaderTest::Like(like) if is_hidden(name, like) => quoted(&secret::hidden(like.text())),
            HeaderTest::Like(like) => pattern().show_openly(name, like),
            value => self.show(value),
        }
    }
}

/// Whether what a header is compared with is not shown, as it may hold credentials.
fn is_hidden(name: &str, like: &Pattern) -> bool {
    !is_scheme(like) && (secret::is_in_header(name, like.text()) || secret::may_be_in(like.text()))
}

/// Whether it only asks for how credentials begin, as in `glob:Basic *`.
fn is_scheme(pattern: &Pattern) -> bool {
    const LONGEST_SCHEME: usize = 16;
    let Pattern::Glob(glob) = pattern else { return false };
    let Some(scheme) = glob.strip_suffix('*') else { return false };
    let scheme = scheme.strip_suffix(' ').unwrap_or(scheme);
    scheme.len() <= LONGEST_SCHEME && scheme.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-')
}

/// What a value of a header is asked for, if any can be like it.
fn header_value(pattern: Pattern) -> Result<Pattern, String> {
    match &pattern {
        Pattern::Exact(text) if text.trim_ascii() != text => {
            Err(format!("no value has blanks at its ends, as they are taken off: write \"{}\"", text.trim_ascii()))
        }
        _ => Ok(pattern),
    }
}

/// What is done to a value that is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaskAction {
    /// It is replaced by a fixed text.
    Redact,
    /// All but its last characters are replaced.
    KeepLast(u8),
    /// It becomes a keyed-hash token: the same for the same value, and nobody can tell which.
    Hash,
    /// It is encrypted with its format preserved (NIST SP 800-38G FF1), by the operator's key.
    Fpe,
    /// The whole body that it is in is left out.
    DropBody,
}

impl fmt::Display for MaskAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redact => f.write_str("redact"),
            Self::KeepLast(count) => write!(f, "keep_last={count}"),
            Self::Hash => f.write_str("hash"),
            Self::Fpe => f.write_str("fpe"),
            Self::DropBody => f.write_str("drop_body"),
        }
    }
}

/// What is done to a value that is found, by name; `keep_last` with its number of characters.
pub(super) struct Actions;

impl Actions {
    const FORM: &'static str = "\"redact\", \"keep_last=4\" (1 to 16), \"hash\", \"fpe\" or \"drop_body\"";

    fn keep_last(count: i64) -> Option<MaskAction> {
        u8::try_from(count).ok().filter(|count| (1..=16).contains(count)).map(MaskAction::KeepLast)
    }

    /// Whether a text that is no action may be what a field of this name holds, as in `fields.password = "hunter2"`.
    fn may_be_a_value(key: &str, text: &str) -> bool {
        let (word, name) = (text.split('=').next().unwrap_or(text), key.rsplit('.').next().unwrap_or(key));
        let is_near = suggest::nearest(word, ["redact", "keep_last", "hash", "fpe", "drop_body"]).is_some();
        !is_near && secret::is_in_text(&format!("{name}={text}"))
    }
}

impl Kind for Actions {
    type Value = MaskAction;

    fn shape(&self) -> Shape {
        Shape::Text(Self::FORM)
    }

    fn read(&self, node: &Node, key: &str, problems: &mut Problems) -> Option<MaskAction> {
        let action = node.as_str().and_then(|text| match text.trim() {
            "redact" => Some(MaskAction::Redact),
            "hash" => Some(MaskAction::Hash),
            "fpe" => Some(MaskAction::Fpe),
            "drop_body" => Some(MaskAction::DropBody),
            text => {
                let (name, count) = text.split_once('=')?;
                let count = count.trim().parse().ok()?;
                (name.trim() == "keep_last").then(|| Self::keep_last(count)).flatten()
            }
        });
        if action.is_none() {
            let advice = format!("allowed: {}", Self::FORM);
            match node.as_str().is_some_and(|text| Self::may_be_a_value(key, text)) {
                true => {
                    problems.unshown(node, key, format!("{advice}, which is what is done to a value, not the value"))
                }
                false => problems.value(node, key, advice),
            }
        }
        action
    }

    fn show(&self, value: &MaskAction) -> String {
        quoted(&value.to_string())
    }
}

/// Media types: `type/subtype`, `type/*`, `+suffix`; or `all`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaTypes(pub BodyTypes);

impl TryFrom<Vec<String>> for MediaTypes {
    type Error = String;

    fn try_from(list: Vec<String>) -> Result<Self, String> {
        let mut types = Vec::with_capacity(list.len());
        for entry in list {
            let entry = parse_media_type(&entry).map_err(|advice| format!("`{entry}` is no media type: {advice}"))?;
            if entry == "all" || entry == "*/*" {
                return Ok(Self(BodyTypes::All));
            }
            types.push(entry);
        }
        Ok(Self(BodyTypes::Only(types)))
    }
}

/// One of [`MediaTypes`], in lower case.
pub(super) fn media_type() -> Parsed<String> {
    parsed("a media type, as in \"application/json\", \"text/*\", \"+json\" or \"all\"", parse_media_type)
}

fn parse_media_type(text: &str) -> Result<String, String> {
    let text = text.trim().to_ascii_lowercase();
    if text == "all" || text == "*/*" || is_media_type(&text) {
        return Ok(text);
    }
    Err("write type/subtype (application/json), type/* (text/*), +suffix (+json), or all".to_owned())
}

/// Whether it is `type/subtype`, `type/*` or `+suffix`.
fn is_media_type(text: &str) -> bool {
    let is_token =
        |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b));
    match (text.strip_prefix('+'), text.split_once('/')) {
        (Some(suffix), None) => is_token(suffix),
        (None, Some((kind, subtype))) => is_token(kind) && (subtype == "*" || is_token(subtype)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::place::Place;

    fn read<K: Kind>(kind: &K, text: &str) -> Result<K::Value, String> {
        let node = Node { place: Place::nowhere(), value: Value::Raw(text.to_owned()) };
        let mut problems = Problems::default();
        kind.read(&node, "key", &mut problems)
            .ok_or_else(|| problems.into_error(super::super::LogFormat::Auto).to_string())
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

    #[test]
    fn patterns_are_written_as_they_are_read() {
        for text in ["a.example", "glob:*.example.com", "regex:^/v[0-9]+/", "exact:*", "exact:glob:x"] {
            assert_eq!(read(&pattern(), text).unwrap().to_string(), text);
        }
        for (text, advice) in [
            ("", "empty"),
            ("*.example.com", "glob:*.example.com"),
            ("glob:{a", "does not close"),
            ("glob:a}", "does not open"),
            ("glob:{a,{b,c}}", "braces in braces"),
            ("glob:a\\", "ends in"),
            (&format!("glob:{}", "{a,b}".repeat(9)), "256"),
            ("regex:(", "no regular expression"),
            ("regex:(?=x)", "look-around"),
            ("regex:\\p{Greek}", "no regular expression"),
        ] {
            let fault = read(&pattern(), text).unwrap_err();
            assert!(fault.contains(advice), "{fault}");
        }
    }

    #[test]
    fn hosts_have_no_user() {
        let host = host_pattern();
        for text in ["me:pw@h", "glob:*@h", "regex:^me:pw@h$", "regex:(a@b|@c)+$", "regex:a[@]", "regex:a\\x40"] {
            let fault = read(&host, text).unwrap_err();
            assert!(fault.contains("neither user nor password") && !fault.contains(text), "{text}: {fault}");
        }
        for text in ["a.example", "regex:^[^@]+$", "regex:a|b@c", "regex:^(.*@)?a$"] {
            assert_eq!(read(&host, text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn ranges() {
        let range = |first, last| Ok(NumberRange { first, last });
        assert_eq!(read(&statuses(), "5xx"), range(500, 599));
        assert_eq!(read(&statuses(), "204"), range(204, 204));
        assert_eq!(read(&ports(), "8000-8099"), range(8_000, 8_099));
        for text in ["99", "600", "6xx", "xx", "300-200", "a-b", "-5", ""] {
            assert!(read(&statuses(), text).is_err(), "{text}");
        }
        assert!(read(&ports(), "0").is_err() && read(&ports(), "5xx").is_err());
    }

    #[test]
    fn actions() {
        for (text, action) in [
            ("redact", MaskAction::Redact),
            ("keep_last=4", MaskAction::KeepLast(4)),
            ("keep_last = 4", MaskAction::KeepLast(4)),
            ("hash", MaskAction::Hash),
            ("fpe", MaskAction::Fpe),
            ("drop_body", MaskAction::DropBody),
        ] {
            assert_eq!(read(&Actions, text), Ok(action));
        }
        for text in ["", "keep_last", "keep_last=0", "keep_last=17", "keep=4", "mask"] {
            assert!(read(&Actions, text).is_err(), "{text}");
        }
    }
}
