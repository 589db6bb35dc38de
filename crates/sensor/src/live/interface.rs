//! A network interface, through libpcap.
//!
//! libpcap maps the kernel's ring (TPACKET v3) and hands out its frames in place: no copy and no system call per frame.

use std::fmt;
use std::time::Duration;

use decap::{Frame, LinkType, Timestamp};
use pcap::{Active, Capture, Precision};

use super::hold::REJECT_ALL;
use super::source::{LiveSource, Lost, SourceCounts, Wrapping, wait};
use crate::source::LinkName;

/// The largest frame there is: a super-frame of receive offload and its headers.
const SNAPLEN: i32 = 256 << 10;
/// Frames handed on by one call, at most: under overload the ring is never empty, and the caller has other things to see to.
const TURN: usize = 4_096;
/// How long the kernel may fill a block of the ring before it hands it over, in milliseconds.
const BLOCK_TIMEOUT_MS: i32 = 20;

/// How to capture from an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceOptions {
    /// Its name; `any` is all of them, cooked.
    pub name: String,
    /// Whether to take frames for other addresses, too.
    pub promiscuous: bool,
    /// The ring's size in bytes.
    pub ring_bytes: usize,
    /// A filter expression of libpcap (pcap-filter(7)), run by the kernel.
    pub filter: Option<String>,
}

impl InterfaceOptions {
    /// Promiscuous, whole frames, with a ring of 64 MiB: at 10 Gbit/s about 50 ms.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), promiscuous: true, ring_bytes: 64 << 20, filter: None }
    }
}

/// An open interface.
pub struct Interface {
    name: String,
    capture: Capture<Active>,
    link: LinkType,
    /// The last call ended before the ring was empty: what is left of a block does not make its socket readable.
    has_more: bool,
    received: Wrapping,
    /// Frames handed on.
    taken: u64,
    kernel_drops: Wrapping,
    interface_drops: Wrapping,
}

impl fmt::Debug for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interface").field("name", &self.name).field("link", &self.link).finish_non_exhaustive()
    }
}

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
    /// Whether waiting may mend it: the interface is missing or down.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::Down { .. } | Self::Other { .. })
    }
}

impl Interface {
    /// Opens an interface.
    ///
    /// # Errors
    /// When it is missing, down, cannot be read or may not be.
    pub fn open(options: &InterfaceOptions) -> Result<Self, InterfaceError> {
        let name = options.name.clone();
        let failed = |error: pcap::Error| classify(&name, &error);
        let capture = Capture::from_device(name.as_str())
            .map_err(failed)?
            .promisc(options.promiscuous)
            .snaplen(SNAPLEN)
            .buffer_size(i32::try_from(options.ring_bytes).unwrap_or(i32::MAX))
            .timeout(BLOCK_TIMEOUT_MS)
            .precision(Precision::Nano)
            .open()
            .map_err(failed)?;
        // A quiet ring would block `dispatch` for ever: waiting is done here, where there is an end to it.
        let mut capture = capture.setnonblock().map_err(failed)?;
        let number = capture.get_datalink().0;
        let link_number = u32::try_from(number).unwrap_or(u32::MAX);
        let Some(link) = LinkType::from_number(link_number) else {
            return Err(InterfaceError::Link { name, link: LinkName(link_number) });
        };
        if let Some(filter) = &options.filter {
            capture.filter(filter, true).map_err(|error| InterfaceError::Filter {
                name: name.clone(),
                filter: filter.clone(),
                reason: words(&error),
            })?;
        }
        Ok(Self {
            name,
            capture,
            link,
            has_more: false,
            received: Wrapping::default(),
            taken: 0,
            kernel_drops: Wrapping::default(),
            interface_drops: Wrapping::default(),
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its frames begin with.
    #[must_use]
    pub const fn link(&self) -> LinkType {
        self.link
    }

    /// Whether frames of the loopback are among those captured: the kernel counts each of them twice, on its way out and
    /// in, and libpcap leaves one out. What was received is then what was handed on.
    pub(super) fn sees_loopback(&self) -> bool {
        matches!(self.name.as_str(), "lo" | "any")
    }

    /// Lets nothing further into the ring. What is in it stays: libpcap's own change of filter would apply to that, too.
    pub(super) fn close_intake(&self) -> std::io::Result<()> {
        socket2::SockRef::from(&self.capture).attach_filter(&[REJECT_ALL])
    }

    fn lost(&self, reason: impl fmt::Display) -> Lost {
        Lost { name: self.name.clone(), reason: reason.to_string() }
    }
}

impl LiveSource for Interface {
    fn poll(&mut self, patience: Duration, take: &mut impl FnMut(Frame<'_>)) -> Result<usize, Lost> {
        if !self.has_more && !wait(&self.capture, patience).map_err(|error| self.lost(error))? {
            return Ok(0);
        }
        let link = self.link;
        let taken = self
            .capture
            .dispatch(Some(TURN), |packet| {
                let at = packet.header.ts;
                // The microseconds' field holds nanoseconds: that is what `Precision::Nano` asks for.
                let nanos = (at.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(at.tv_usec as u64);
                take(Frame { at: Timestamp::from_nanos(nanos), link, data: packet.data, wire_len: packet.header.len });
            })
            .map_err(|error| self.lost(words(&error)))?;
        self.has_more = taken >= TURN;
        self.taken += taken as u64;
        Ok(taken)
    }

    fn counts(&mut self) -> SourceCounts {
        if let Ok(stats) = self.capture.stats() {
            self.received.follow(stats.received);
            self.kernel_drops.follow(stats.dropped);
            self.interface_drops.follow(stats.if_dropped);
        }
        SourceCounts {
            received: if self.sees_loopback() { self.taken + self.kernel_drops.total() } else { self.received.total() },
            kernel_drops: self.kernel_drops.total(),
            interface_drops: self.interface_drops.total(),
        }
    }
}

fn classify(name: &str, error: &pcap::Error) -> InterfaceError {
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
fn words(error: &pcap::Error) -> String {
    match error {
        pcap::Error::PcapError(words) => words.clone(),
        other => other.to_string(),
    }
}
