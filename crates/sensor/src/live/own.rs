//! The sensor's own connections: where it captures on the interface that it also sends through, on `lo` or on `any`, what it
//! says to the platform and what is asked of its status port are no transactions of the network that it watches.
//!
//! A connection is its own when one end is an address of this host and the other a peer of its own (the platform, a proxy,
//! where tokens come from), or when one end is its status port. A mirrored copy of traffic between others never is, whatever
//! its ports: only what comes outside of any tunnel is looked at.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use decap::{Direction, FlowKey, Segment, Timestamp};

use super::lanes::LiveSegments;
use crate::dispatch::Refused;
use crate::pipeline::Segments;

/// How often addresses are looked up again.
const REFRESH: Duration = Duration::from_secs(60);
/// How long an address counts that a name no longer has: connections to it may live on.
const REMEMBERED: Duration = Duration::from_secs(60 * 60);
/// The most addresses that count; a name that has a new one at every look does not fill the memory.
const MOST_PEERS: usize = 1_024;

/// What tells the sensor's own connections.
#[derive(Debug)]
pub struct OwnTraffic {
    /// Names or addresses, and ports, of those that the sensor connects to.
    peers: Mutex<Vec<(String, u16)>>,
    /// Where it listens.
    listens: Option<SocketAddr>,
    /// Every port that an own connection can have, a bit for each: most segments are told by these.
    ports: Box<[AtomicU64]>,
    known: RwLock<Addresses>,
    /// To the thread that looks names up, which ends with this.
    wake: OnceLock<Sender<()>>,
}

#[derive(Debug, Default)]
struct Addresses {
    local: HashSet<IpAddr>,
    /// With the time at which a name was last known to have it; those given as addresses have none.
    peers: HashMap<SocketAddr, Option<Instant>>,
}

impl OwnTraffic {
    /// For a sensor that connects to `peers` and listens at `listens`. Names are not looked up yet.
    #[must_use]
    pub fn new(peers: Vec<(String, u16)>, listens: Option<SocketAddr>) -> Self {
        let known = Addresses { local: local_addresses(), peers: HashMap::new() };
        let own = Self {
            peers: Mutex::default(),
            listens,
            ports: (0..=usize::from(u16::MAX) / 64).map(|_| AtomicU64::new(0)).collect(),
            known: RwLock::new(known),
            wake: OnceLock::new(),
        };
        listens.into_iter().for_each(|at| own.add_port(at.port()));
        own.connect_to(peers, Instant::now());
        own
    }

    /// From `now` on the sensor connects to these `peers`. Those before them count for a while: connections to them live on.
    pub fn connect_to(&self, peers: Vec<(String, u16)>, now: Instant) {
        let literal = |(host, port): &(String, u16)| Some(SocketAddr::new(host.parse().ok()?, *port));
        peers.iter().for_each(|(_, port)| self.add_port(*port));
        if let Ok(mut known) = self.known.write() {
            known.peers.values_mut().for_each(|last| _ = last.get_or_insert(now));
            known.peers.extend(peers.iter().filter_map(literal).map(|peer| (peer, None)));
        }
        *self.peers.lock().unwrap_or_else(PoisonError::into_inner) = peers;
        self.look_again();
    }

    fn add_port(&self, port: u16) {
        if let Some(ports) = self.ports.get(usize::from(port) / 64) {
            ports.fetch_or(1 << (port % 64), Ordering::Relaxed);
        }
    }

    #[inline]
    fn may_be_at(&self, port: u16) -> bool {
        self.ports
            .get(usize::from(port) / 64)
            .is_some_and(|ports| ports.load(Ordering::Relaxed) >> (port % 64) & 1 != 0)
    }

    /// Looks names up, now, every minute and when it is asked to, on a thread of its own that ends with this.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn keep_fresh(self: &Arc<Self>) -> std::io::Result<()> {
        let weak = Arc::downgrade(self);
        let (wake, asked) = bounded(1);
        thread::Builder::new().name("own-addresses".to_owned()).spawn(move || refresh(&weak, &asked))?;
        // A second thread would only look things up twice as often; its end is that of the sender.
        let _ = self.wake.set(wake);
        Ok(())
    }

    /// Has names looked up soon, without waiting for it: something has changed.
    pub fn look_again(&self) {
        if let Some(wake) = self.wake.get() {
            // Full: it was asked to already.
            let _ = wake.try_send(());
        }
    }

    fn refresh(&self) {
        self.refresh_with(Instant::now(), |host, port| Some((host, port).to_socket_addrs().ok()?.collect()));
    }

    /// Takes in what names `resolve` to at `now`.
    fn refresh_with(&self, now: Instant, resolve: impl Fn(&str, u16) -> Option<Vec<SocketAddr>>) {
        // An address needs no looking up, and is known already.
        let peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let names = peers.iter().filter(|(host, _)| host.parse::<IpAddr>().is_err());
        let resolved: Vec<SocketAddr> = names.filter_map(|(host, port)| resolve(host, *port)).flatten().collect();
        let local = local_addresses();
        if let Ok(mut known) = self.known.write() {
            known.peers.retain(|_, last| last.is_none_or(|last| now.saturating_duration_since(last) < REMEMBERED));
            for peer in resolved {
                if known.peers.len() >= MOST_PEERS && !known.peers.contains_key(&peer) {
                    known.forget_oldest();
                }
                known.peers.insert(peer, Some(now));
            }
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
        if !self.may_be_at(one.port) && !self.may_be_at(other.port) {
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
            || (known.peers.contains_key(&one) && known.local.contains(&other.ip()))
            || (known.peers.contains_key(&other) && known.local.contains(&one.ip()))
    }
}

impl Addresses {
    fn forget_oldest(&mut self) {
        let named = self.peers.iter().filter_map(|(peer, last)| Some((last.as_ref()?, peer)));
        if let Some(oldest) = named.min().map(|(_, peer)| *peer) {
            self.peers.remove(&oldest);
        }
    }
}

fn refresh(own: &Weak<OwnTraffic>, asked: &Receiver<()>) {
    while let Some(own) = own.upgrade() {
        own.refresh();
        drop(own);
        if asked.recv_timeout(REFRESH) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
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

    #[test]
    fn another_peer_is_known_at_once_and_the_one_before_for_a_while() {
        let own = OwnTraffic::new(vec![("192.0.2.7".to_owned(), 443), ("192.0.2.9".to_owned(), 443)], None);
        let is_own = |peer: &str| own.has(&key("127.0.0.1:40000", peer));
        assert!(is_own("192.0.2.7:443") && !is_own("192.0.2.8:9443"));
        let begin = Instant::now();
        own.connect_to(vec![("192.0.2.8".to_owned(), 9_443), ("192.0.2.9".to_owned(), 443)], begin);
        assert!(is_own("192.0.2.7:443") && is_own("192.0.2.8:9443"));
        own.refresh_with(begin + REMEMBERED, |_, _| None);
        assert!(!is_own("192.0.2.7:443") && is_own("192.0.2.8:9443") && is_own("192.0.2.9:443"));
    }

    #[test]
    fn a_name_that_moves_is_followed_and_where_it_was_is_forgotten_later() {
        let own = OwnTraffic::new(vec![("platform.test".to_owned(), 443), ("192.0.2.7".to_owned(), 443)], None);
        let to = |last: u8| {
            move |host: &str, port| {
                assert_eq!(host, "platform.test", "addresses need no looking up");
                Some(vec![SocketAddr::new(std::net::Ipv4Addr::new(198, 51, 100, last).into(), port)])
            }
        };
        let is_own = |peer: &str| own.has(&key("127.0.0.1:40000", peer));
        let begin = Instant::now();
        own.refresh_with(begin, to(1));
        assert!(is_own("198.51.100.1:443") && !is_own("198.51.100.2:443"));
        let minute = Duration::from_secs(60);
        own.refresh_with(begin + minute, to(2));
        assert!(is_own("198.51.100.1:443") && is_own("198.51.100.2:443"), "connections may live on");
        // No answer is no news.
        own.refresh_with(begin + 59 * minute, |_, _| None);
        assert!(is_own("198.51.100.1:443"));
        own.refresh_with(begin + 60 * minute, to(2));
        assert!(!is_own("198.51.100.1:443") && is_own("198.51.100.2:443") && is_own("192.0.2.7:443"));
        // One that has another address every time.
        for number in 0..3_000_u32 {
            let ip = IpAddr::from(std::net::Ipv4Addr::from(number));
            own.refresh_with(begin + 61 * minute + Duration::from_millis(number.into()), |_, port| {
                Some(vec![SocketAddr::new(ip, port)])
            });
        }
        assert_eq!(own.known.read().unwrap().peers.len(), MOST_PEERS);
        assert!(is_own("192.0.2.7:443") && is_own(&format!("{}:443", std::net::Ipv4Addr::from(2_999))));
    }

    #[test]
    fn who_asks_need_not_wait_for_the_minute_and_the_thread_ends() {
        let own = Arc::new(OwnTraffic::new(vec![("localhost".to_owned(), 3_128)], None));
        own.look_again();
        own.keep_fresh().unwrap();
        let wait_for = |what: &dyn Fn() -> bool| {
            let end = Instant::now() + Duration::from_secs(10);
            while !what() {
                assert!(Instant::now() < end);
                thread::sleep(Duration::from_millis(10));
            }
        };
        let knows = || own.has(&key("127.0.0.1:40000", "127.0.0.1:3128"));
        wait_for(&knows);
        own.known.write().unwrap().peers.clear();
        own.look_again();
        wait_for(&knows);
        let weak = Arc::downgrade(&own);
        drop(own);
        wait_for(&|| weak.strong_count() == 0);
    }
}
