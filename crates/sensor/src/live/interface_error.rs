//! Why an interface cannot be captured from, and what to do about it.

use crate::source::LinkName;

/// Why an interface cannot be captured from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InterfaceError {
    /// There is none of this name. It may come.
    #[error("there is no interface {name}: 'sensor interfaces' lists those there are")]
    Missing {
        /// The name.
        name: String,
    },
    /// It is not up. It may come up.
    #[error("interface {name} is down: bring it up with 'ip link set {name} up'")]
    Down {
        /// The name.
        name: String,
    },
    /// The process may not capture.
    #[error(
        "no right to capture from {name}: run 'setcap cap_net_raw,cap_net_admin=eip {program}', or give the systemd unit AmbientCapabilities=CAP_NET_RAW CAP_NET_ADMIN"
    )]
    Forbidden {
        /// The name.
        name: String,
        /// This program's path.
        program: String,
    },
    /// Its frames begin with something that cannot be read.
    #[error(
        "interface {name} has link type {link}, which cannot be read; Ethernet, Linux cooked, raw IP and loopback can"
    )]
    Link {
        /// The name.
        name: String,
        /// Its link type.
        link: LinkName,
    },
    /// It is of another kind than the one whose ring is there.
    #[error(
        "interface {name} is of another kind than the ring that is kept for it: restart the sensor, or keep the right to open interfaces (privileges.reopen = true)"
    )]
    OtherKind {
        /// The name.
        name: String,
    },
    /// The filter is wrong.
    #[error(
        "the filter '{filter}' cannot be compiled for {name}: {reason}; the syntax is that of tcpdump (man 7 pcap-filter)"
    )]
    Filter {
        /// The name.
        name: String,
        /// The expression.
        filter: String,
        /// libpcap's words.
        reason: String,
    },
    /// Something else.
    #[error("cannot capture from {name}: {reason}")]
    Other {
        /// The name.
        name: String,
        /// libpcap's words.
        reason: String,
    },
}

impl InterfaceError {
    /// Whether waiting may mend it: the interface is missing, down, or not what it is to be.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::Down { .. } | Self::OtherKind { .. } | Self::Other { .. })
    }
}

/// Nothing is known of the interface: the kernel does not list any.
pub(super) fn unlisted(name: &str, error: &std::io::Error) -> InterfaceError {
    InterfaceError::Other { name: name.to_owned(), reason: format!("the interfaces cannot be listed: {error}") }
}

/// What libpcap says, told apart.
pub(super) fn classify(name: &str, error: &pcap::Error) -> InterfaceError {
    let (name, reason) = (name.to_owned(), words(error));
    let lower = reason.to_ascii_lowercase();
    if lower.contains("permission") || lower.contains("operation not permitted") {
        let program = std::env::current_exe().map_or_else(|_| "sensor".to_owned(), |path| path.display().to_string());
        return InterfaceError::Forbidden { name, program };
    }
    if lower.contains("no such device") {
        return InterfaceError::Missing { name };
    }
    if lower.contains("is not up") || lower.contains("network is down") {
        return InterfaceError::Down { name };
    }
    InterfaceError::Other { name, reason }
}

/// libpcap's own words, without the binding's frame around them.
pub(super) fn words(error: &pcap::Error) -> String {
    match error {
        pcap::Error::PcapError(words) => words.clone(),
        other => other.to_string(),
    }
}
