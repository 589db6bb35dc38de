//! The sensor's own connections: where it captures on the interface that it also sends through, on `lo` or on `any`, what it
//! says to the platform and what is asked of its status port are no transactions of the network that it watches.
//!
//! A connection is its own when one end is an address of this host and the other a peer of its own (the platform, a proxy,
//! where tokens come from), or when one end is its status port. A mirrored copy of traffic between others never is, whatever
//! its ports: only what comes outside of any tunnel is looked at.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, RwLock, Weak};
use std::thread;
use std::time::Duration;

use decap::{Direction, FlowKey, Segment, Timestamp};

use super::lanes::LiveSegments;
use crate::dispatch::Refused;
use crate::pipeline::Segments;

/// How often addresses are looked up again.
const REFRESH: Duration = Duration::from_secs(60);

/// What tells the sensor's own connections.
#[derive(Debug)]
pub struct OwnTraffic {
    /// Names or addresses, and ports, of those that the sensor connects to.
    peers: Vec<(String, u16)>,
    /// Where it listens.
    listens: Option<SocketAddr>,
    /// Every port that an own connection can have: most segments are told by these.
    ports: Vec<u16>,
    known: RwLock<Addresses>,
}

#[derive(Debug, Default)]
struct Addresses {
    local: HashSet<IpAddr>,
    peers: HashSet<SocketAddr>,
}

impl OwnTraffic {
    /// For a sensor that connects to `peers` and listens at `listens`. Names are not looked up yet.
    #[must_use]
    pub fn new(peers: Vec<(String, u16)>, listens: Option<SocketAddr>) -> Self {
        let mut ports: Vec<u16> = peers.iter().map(|(_, port)| *port).chain(listens.map(|at| at.port())).collect();
        ports.sort_unstable();
        ports.dedup();
        let literal = |(host, port): &(String, u16)| Some(SocketAddr::new(host.parse().ok()?, *port));
        let known = Addresses { local: local_addresses(), peers: peers.iter().filter_map(literal).collect() };
        Self { peers, listens, ports, known: RwLock::new(known) }
    }

    /// Looks names up, now and every minute, on a thread of its own that ends with the last of the others.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn keep_fresh(self: &Arc<Self>) -> std::io::Result<()> {
        let weak = Arc::downgrade(self);
        thread::Builder::new().name("own-addresses".to_owned()).spawn(move || refresh(&weak)).map(drop)
    }

    fn refresh(&self) {
        let resolved: Vec<Option<Vec<SocketAddr>>> = self
            .peers
            .iter()
            .map(|(host, port)| Some((host.as_str(), *port).to_socket_addrs().ok()?.collect()))
            .collect();
        let local = local_addresses();
        if let Ok(mut known) = self.known.write() {
            // Connections to an address that the name no longer has may live on; a name has few.
            known.peers.extend(resolved.into_iter().flatten().flatten());
            if !local.is_empty() {
                known.local = local;
            }
        }
    }

    /// Whether a flow that came in no tunnel is the sensor's own.
    #[inline]
    #[must_use]
    pub fn has(&self, key: &FlowKey) -> bool {
        let (one, other) = (key.source(Direction::Forward), key.source(Direction::Reverse));
        if !self.ports.contains(&one.port) && !self.ports.contains(&other.port) {
            return false;
        }
        self.is_between(SocketAddr::new(one.ip, one.port), SocketAddr::new(other.ip, other.port))
    }

    #[cold]
    fn is_between(&self, one: SocketAddr, other: SocketAddr) -> bool {
        // A capture thread waits for no lock: it is held for writing for a moment, once a minute.
        let Ok(known) = self.known.try_read() else { return false };
        let listens = |at: &SocketAddr| {
            self.listens.is_some_and(|own| {
                own.port() == at.port()
                    && (own.ip() == at.ip() || (own.ip().is_unspecified() && known.local.contains(&at.ip())))
            })
        };
        listens(&one)
            || listens(&other)
            || (known.peers.contains(&one) && known.local.contains(&other.ip()))
            || (known.peers.contains(&other) && known.local.contains(&one.ip()))
    }
}

fn refresh(own: &Weak<OwnTraffic>) {
    while let Some(own) = own.upgrade() {
        own.refresh();
        drop(own);
        thread::sleep(REFRESH);
    }
}

/// The addresses of every interface.
fn local_addresses() -> HashSet<IpAddr> {
    let address = |interface: nix::ifaddrs::InterfaceAddress| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    };
    nix::ifaddrs::getifaddrs().map(|all| all.filter_map(address).collect()).unwrap_or_default()
}

/// Leaves the sensor's own segments out of what it hands on, and counts them.
#[derive(Debug)]
pub(super) struct WithoutOwn<S> {
    segments: S,
    own: Option<Arc<OwnTraffic>>,
    left_out: Refused,
}

impl<S> WithoutOwn<S> {
    pub(super) const fn new(segments: S, own: Option<Arc<OwnTraffic>>) -> Self {
        Self { segments, own, left_out: Refused { segments: 0, payload_bytes: 0 } }
    }

    pub(super) const fn left_out(&self) -> Refused {
        self.left_out
    }

    pub(super) fn into_inner(self) -> S {
        self.segments
    }
}

impl<S: Segments> Segments for WithoutOwn<S> {
    #[inline]
    fn push(&mut self, segment: &Segment<'_>) {
        if let Some(own) = &self.own
            && segment.path.hops.is_empty()
            && own.has(&segment.key)
        {
            self.left_out.segments += 1;
            self.left_out.payload_bytes += segment.payload.len() as u64;
            return;
        }
        self.segments.push(segment);
    }

    fn tick(&mut self, now: Timestamp) {
        self.segments.tick(now);
    }

    #[inline]
    fn is_stopped(&self) -> bool {
        self.segments.is_stopped()
    }
}

impl<S: LiveSegments> LiveSegments for WithoutOwn<S> {
    fn pulse(&mut self, now: Timestamp, idle: bool) {
        self.segments.pulse(now, idle);
    }

    fn absent(&mut self, now: Timestamp) {
        self.segments.absent(now);
    }

    fn patience(&self) -> Duration {
        self.segments.patience()
    }
}

#[cfg(test)]
mod tests {
    use decap::{Domain, Endpoint};

    use super::*;

    fn key(one: &str, other: &str) -> FlowKey {
        let endpoint = |text: &str| {
            let address: SocketAddr = text.parse().unwrap();
            Endpoint { ip: address.ip(), port: address.port() }
        };
        FlowKey::new(endpoint(one), endpoint(other), Domain::GLOBAL).0
    }

    #[test]
    fn own_is_what_this_host_says_to_its_peers_and_nobody_elses() {
        let peers = vec![("192.0.2.7".to_owned(), 443), ("localhost".to_owned(), 3_128)];
        let own = OwnTraffic::new(peers, Some("0.0.0.0:9600".parse().unwrap()));
        assert!(own.has(&key("127.0.0.1:40000", "192.0.2.7:443")) && own.has(&key("192.0.2.7:443", "127.0.0.1:40000")));
        assert!(!own.has(&key("10.99.99.1:40000", "192.0.2.7:443")), "another host's");
        assert!(!own.has(&key("127.0.0.1:40000", "192.0.2.8:443")), "to somebody else");
        assert!(own.has(&key("127.0.0.1:9600", "192.0.2.1:5000")), "its status port");
        assert!(!own.has(&key("192.0.2.9:9600", "192.0.2.1:5000")), "another host's port of that number");
        assert!(!own.has(&key("127.0.0.1:40000", "127.0.0.1:3128")), "not looked up yet");
        own.refresh();
        assert!(own.has(&key("127.0.0.1:40000", "127.0.0.1:3128")));
        assert!(!own.has(&key("127.0.0.1:40000", "127.0.0.1:3129")));
    }
}
