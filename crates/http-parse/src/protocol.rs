//! What a connection turned out to carry.

/// Why bytes were not parsed as HTTP/1. A closed list: each is a label in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// TLS (RFC 8446 and before).
    Tls,
    /// HTTP/2 in cleartext (RFC 9113): by preface, by upgrade, or by its frames mid-stream.
    Http2,
    /// SSH.
    Ssh,
    /// After a 101: WebSocket and other upgrades.
    Upgraded,
    /// Inside a CONNECT tunnel, not recognized further.
    Tunnel,
    /// Bytes before the next plausible start line, after a gap or a mid-stream pick-up.
    Unsynchronized,
    /// Anything else.
    Unknown,
}

impl Protocol {
    /// Every protocol, in declaration order.
    pub const ALL: &'static [Self] =
        &[Self::Tls, Self::Http2, Self::Ssh, Self::Upgraded, Self::Tunnel, Self::Unsynchronized, Self::Unknown];

    /// The stable `snake_case` name used in the ledger and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Http2 => "http2",
            Self::Ssh => "ssh",
            Self::Upgraded => "upgraded",
            Self::Tunnel => "tunnel",
            Self::Unsynchronized => "unsynchronized",
            Self::Unknown => "unknown",
        }
    }
}

/// What a TLS client said in its first message (RFC 8446, section 4.1.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// The server name it asked for (RFC 6066, section 3), when it is valid ASCII.
    pub server_name: Option<String>,
    /// The application protocols it offered (RFC 7301), in its order; non-UTF-8 names are left out.
    pub alpn: Vec<String>,
}
