//! What rules can say, when, and about what.

/// A rule's place: that of [`super::Settings::rules`], and behind them the rules of built-in sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleIndex(pub(super) u16);

impl RuleIndex {
    /// The place as a number, from 0.
    #[must_use]
    pub const fn place(self) -> usize {
        self.0 as usize
    }
}

/// Why something is filtered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// By this ignore or exclude rule.
    Rule(RuleIndex),
    /// There are include rules, and none matches.
    NoIncludeRule,
}

/// What is certain of a flow, by its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowVerdict {
    /// Every transaction on it is filtered.
    Out(Cause),
    /// That depends on its transactions.
    Undecided,
}

/// What is certain of a transaction, by its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Early {
    /// It is filtered.
    Out(Cause),
    /// It is let through by this rule, or by none; its sampling is still to be asked.
    In(Option<RuleIndex>),
    /// That depends on its response.
    NeedsResponse,
}

/// What the rules say of a transaction, sampling apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is filtered.
    Out(Cause),
    /// It is let through by this rule, or by none.
    In(Option<RuleIndex>),
}

/// What becomes of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is recorded.
    Record {
        /// The rule that let it through; `None`: no rule said otherwise.
        rule: Option<RuleIndex>,
        /// For how many transactions the record stands: 1 without sampling.
        weight: u32,
    },
    /// It is filtered.
    Filtered(Cause),
    /// This rule let it through, and its sampling left it out.
    SampledOut(RuleIndex),
}

/// When a decision is certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// By the flow's addresses.
    Flow,
    /// By the request's head.
    Request,
    /// By the response's head, or because there is none.
    Response,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: &'static [Self; 3] = &[Self::Flow, Self::Request, Self::Response];

    /// The stable `snake_case` name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flow => "flow",
            Self::Request => "request",
            Self::Response => "response",
        }
    }
}

/// What a condition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Attribute {
    /// The address at the connection's client end.
    Peer,
    /// The address at the connection's server end.
    Server,
    /// The server's port.
    Port,
    /// Virtual network ids.
    Vni,
    /// VLAN ids.
    Vlan,
    /// The client's address.
    Client,
    /// The method.
    Method,
    /// The host.
    Host,
    /// The path.
    Path,
    /// Header fields of the request.
    RequestHeaders,
    /// The status code.
    Status,
    /// The media type of the response.
    ContentType,
    /// Header fields of the response.
    ResponseHeaders,
}

impl Attribute {
    /// Every attribute, in the order in which they are asked about.
    pub const ALL: &'static [Self; 13] = &[
        Self::Peer,
        Self::Server,
        Self::Port,
        Self::Vni,
        Self::Vlan,
        Self::Client,
        Self::Method,
        Self::Host,
        Self::Path,
        Self::RequestHeaders,
        Self::Status,
        Self::ContentType,
        Self::ResponseHeaders,
    ];

    /// The stable `snake_case` name used in configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Server => "server",
            Self::Port => "port",
            Self::Vni => "vni",
            Self::Vlan => "vlan",
            Self::Client => "client",
            Self::Method => "method",
            Self::Host => "host",
            Self::Path => "path",
            Self::RequestHeaders => "request_headers",
            Self::Status => "status",
            Self::ContentType => "content_type",
            Self::ResponseHeaders => "response_headers",
        }
    }

    /// When it is known. The client's address is known with the flow where no request can say otherwise.
    #[must_use]
    pub const fn stage(self) -> Stage {
        match self {
            Self::Peer | Self::Server | Self::Port | Self::Vni | Self::Vlan => Stage::Flow,
            Self::Client | Self::Method | Self::Host | Self::Path | Self::RequestHeaders => Stage::Request,
            Self::Status | Self::ContentType | Self::ResponseHeaders => Stage::Response,
        }
    }
}
