//! Rules as an operator writes them.

use core::fmt;
use std::collections::BTreeMap;

use ipnet::IpNet;

use super::built_in::BuiltIn;
use super::text_index;

/// Everything that an operator can choose about filters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// The rules, in the order of the configuration.
    pub rules: Vec<RuleSettings>,
    /// The built-in sets that are switched on. Their rules stand behind the operator's own of their kind.
    pub built_in: Vec<BuiltIn>,
    /// What virtual networks are called, so that conditions may use the names.
    pub vni_names: BTreeMap<u32, String>,
    /// What VLANs are called, likewise.
    pub vlan_names: BTreeMap<u16, String>,
}

/// A rule.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleSettings {
    /// Its name in the ledger and in records: unique, letters, digits, `_`, `-`, `.`.
    pub name: String,
    /// What it does.
    pub kind: Kind,
    /// When it matches. Without any condition it always does.
    pub conditions: Conditions,
    /// Which of what it lets through is recorded; `None`: all. Of no use for rules that let nothing through.
    pub sampling: Option<Sampling>,
}

/// What a rule does, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Filters, whatever other rules say.
    Ignore,
    /// Records, whatever exclude and include rules say.
    Allow,
    /// Filters.
    Exclude,
    /// Records; and what no include rule matches is filtered.
    Include,
}

impl Kind {
    /// Every kind, the strongest first.
    pub const ALL: &'static [Self; 4] = &[Self::Ignore, Self::Allow, Self::Exclude, Self::Include];

    /// The stable `snake_case` name used in configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ignore => "ignore",
            Self::Allow => "allow",
            Self::Exclude => "exclude",
            Self::Include => "include",
        }
    }

    /// Whether what such a rule decides on is recorded.
    #[must_use]
    pub const fn records(self) -> bool {
        matches!(self, Self::Allow | Self::Include)
    }
}

/// The conditions of a rule. An empty list is no condition; of a list, one value has to match, but of `headers` each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// The normalized host: lower case, without a port.
    pub host: Vec<Pattern>,
    /// The normalized path, without the query.
    pub path: Vec<Pattern>,
    /// The method; case counts (RFC 9110, section 9.1).
    pub method: Vec<Pattern>,
    /// Status codes: `404`, `5xx`, `500-503`.
    pub status: Vec<String>,
    /// The media type of the response, in lower case and without parameters.
    pub content_type: Vec<Pattern>,
    /// The client's address, as normalization found it.
    pub client: Vec<IpNet>,
    /// The address at the connection's client end, which may be a proxy's.
    pub peer: Vec<IpNet>,
    /// The address at the connection's server end.
    pub server: Vec<IpNet>,
    /// The server's port: `443`, `8000-8999`.
    pub port: Vec<String>,
    /// A virtual network id of any tunnel around the connection: a number, a range, or a name.
    pub vni: Vec<String>,
    /// A VLAN id around the connection: a number, a range, or a name.
    pub vlan: Vec<String>,
    /// Header fields of the request. Each has to be as it says.
    pub request_headers: Vec<HeaderCondition>,
    /// Header fields of the response. Each has to be as it says.
    pub response_headers: Vec<HeaderCondition>,
}

/// How a text has to be. Never backtracks: matching takes time linear in the text, for any pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// The whole text: `*` is any run of bytes, `?` is any one, `{a,b}` either of the two, and `\` takes the meaning of what
    /// is behind it.
    Glob(String),
    /// A regular expression that is found anywhere in the text, unless `^` and `$` say otherwise. Of the syntax of the
    /// `regex` crate, over bytes: classes such as `\w` are ASCII, and `.` is any byte.
    Regex(String),
}

impl Pattern {
    /// The pattern as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Glob(text) | Self::Regex(text) => text,
        }
    }

    /// Whether it is one. What only shows when rules are made ready: whether it fits what it is asked of, and is not too large.
    ///
    /// # Errors
    /// With what is wrong, and what is allowed.
    pub fn check(&self) -> Result<(), String> {
        text_index::check(self)
    }
}

/// What a header field has to be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderCondition {
    /// Its name, in any case.
    pub name: String,
    /// What is asked of it.
    pub test: HeaderTest,
}

/// What is asked of a header field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderTest {
    /// There is such a field.
    Present,
    /// There is none.
    Absent,
    /// There is one whose value matches one of these.
    Value(Vec<Pattern>),
    /// There is one, no second one that could say otherwise, and its value matches one of these.
    Sole(Vec<Pattern>),
}

/// Which of the transactions that a rule lets through are recorded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sampling {
    /// This part of them, from 0 to 1, chosen by transaction id: so every sensor, and every replay, chooses the same.
    Rate(f64),
    /// The first so many of each endpoint template in each minute of packet time.
    PerMinute(u32),
}

/// What is wrong with the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The place of the rule in [`Settings::rules`]; `None`: it is about all of them.
    pub rule: Option<usize>,
    /// Its name.
    pub name: String,
    /// Which part of it, as in the configuration: `path`, `request_headers`, …
    pub field: &'static str,
    /// What was found there.
    pub found: String,
    /// What is wrong with it and what is allowed.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rule.is_some() {
            write!(f, "rule `{}`, {}: {}", self.name, self.field, self.message)
        } else {
            write!(f, "{}: {}", self.field, self.message)
        }
    }
}

impl std::error::Error for Problem {}
