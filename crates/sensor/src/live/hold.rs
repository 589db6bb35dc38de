//! Ports and protocols that are held so that the host stays silent.
//!
//! A host answers a datagram to a port without a listener with ICMP "port unreachable" (RFC 1122, section 4.1.3.1; RFC 4443,
//! section 3.1): a mirror target would answer every copy. A socket bound to the port prevents it; a filter that accepts
//! nothing makes the kernel drop the copies at once instead of queueing them for nobody. The same goes for a tunnel that is an
//! IP protocol of its own, and "protocol unreachable" (RFC 1122, section 3.2.2.1) or "unrecognized next header" (RFC 4443,
//! section 3.4).
//!
//! Somebody else may have the port, or have it on one address only, and may go: so it is held on the addresses that are
//! left, and tried again.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use super::links::addresses;

/// `BPF_RET | BPF_K` with 0: keep no byte of any datagram.
pub(super) const REJECT_ALL: SockFilter = SockFilter::new(0x06, 0, 0, 0);
/// How often what could not be held is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// The most addresses on which one port is held one by one.
const MOST_ADDRESSES: usize = 256;

/// UDP ports whose datagrams the kernel throws away, on every address of the host where nobody receives them. Released when
/// dropped.
#[derive(Debug, Default)]
pub struct HeldPorts {
    ports: Vec<HeldPort>,
}

/// A port of one of the two families of addresses.
#[derive(Debug)]
struct HeldPort {
    port: u16,
    everywhere: SocketAddr,
    /// Those of them that a source of this sensor listens on.
    listened: Vec<IpAddr>,
    sockets: Sockets,
    /// What was said of it last.
    trouble: Option<Trouble>,
}

/// Why a port is not held on every address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Trouble {
    /// Somebody has it on all of them, or on one.
    Taken,
    /// What the system said.
    Refused(String),
}

#[derive(Debug)]
enum Sockets {
    /// One, for every address there is and will be.
    Everywhere(#[expect(dead_code, reason = "it is held, not used")] Socket),
    /// Somebody has the port on some address: one for each of the others.
    Addresses(BTreeMap<SocketAddr, Socket>),
}

impl HeldPorts {
    /// Holds `ports`, but for where sources listen on them: at `listened`. What is somebody else's now is tried again by
    /// [`HeldPorts::retry`].
    #[must_use]
    pub fn hold(ports: &BTreeSet<u16>, listened: &[SocketAddr]) -> Self {
        let mut held = Self::default();
        for port in ports {
            let own = |everywhere: IpAddr| {
                let own = listened.iter().filter(|address| address.port() == *port);
                let of_family = own.filter_map(|address| match address.ip() {
                    // A socket of both families, which listeners on it are.
                    IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Some(everywhere),
                    ip => Some(ip.to_canonical()).filter(|ip| ip.is_ipv4() == everywhere.is_ipv4()),
                });
                of_family.collect::<Vec<_>>()
            };
            for everywhere in [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)] {
                let listened = own(everywhere);
                // Every address is listened on.
                if listened.contains(&everywhere) {
                    continue;
                }
                let everywhere = SocketAddr::new(everywhere, *port);
                let sockets = Sockets::Addresses(BTreeMap::new());
                held.ports.push(HeldPort { port: *port, everywhere, listened, sockets, trouble: None });
            }
        }
        held.retry();
        held
    }

    /// Whether there is nothing left to hold, now or when addresses are given to the host.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.ports.iter().all(|port| matches!(port.sockets, Sockets::Everywhere(_)))
    }

    /// Holds what could not be held before. Says what cannot, once, and in one line: another sensor has them all.
    pub fn retry(&mut self) {
        let mut troubles: BTreeMap<Trouble, BTreeMap<u16, Vec<IpAddr>>> = BTreeMap::new();
        self.ports.retain_mut(|port| {
            let trouble = match port.retry() {
                Ok(trouble) => trouble,
                // A host without addresses of the family.
                Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => return false,
                Err(error) => Some(Trouble::Refused(error.to_string())),
            };
            if let Some(trouble) = trouble
                && port.trouble.as_ref() != Some(&trouble)
            {
                let ports = troubles.entry(trouble.clone()).or_default();
                ports.entry(port.port).or_default().push(port.everywhere.ip());
                port.trouble = Some(trouble);
            }
            true
        });
        for (trouble, ports) in troubles {
            tracing::warn!("{}", trouble.words(&ports));
        }
    }

    /// Tries again every second, on a thread of its own, until what is given back is dropped. There is none where
    /// everything is held.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn keep(mut self) -> io::Result<Keeping> {
        if self.is_complete() {
            return Ok(Keeping { _held: Some(self), _stop: None });
        }
        let (stop, stopped) = mpsc::channel::<()>();
        let keep = move || {
            while stopped.recv_timeout(RETRY) == Err(RecvTimeoutError::Timeout) {
                self.retry();
            }
        };
        thread::Builder::new().name("ports".to_owned()).spawn(keep)?;
        Ok(Keeping { _held: None, _stop: Some(stop) })
    }
}

/// Ports that stay held until this is dropped.
#[derive(Debug)]
pub struct Keeping {
    _held: Option<HeldPorts>,
    _stop: Option<Sender<()>>,
}

impl Trouble {
    /// A line of the log about `ports`, each with the addresses on which it has this trouble.
    fn words(&self, ports: &BTreeMap<u16, Vec<IpAddr>>) -> String {
        let list = |numbers: &mut dyn Iterator<Item = String>| numbers.collect::<Vec<_>>().join(", ");
        let (plural, verb) = if ports.len() == 1 { ("", "is") } else { ("s", "are") };
        let numbers = list(&mut ports.keys().map(u16::to_string));
        let addresses: BTreeSet<&IpAddr> = ports.values().flatten().collect();
        let addresses = list(&mut addresses.into_iter().map(IpAddr::to_string));
        match self {
            Self::Taken => format!(
                "UDP port{plural} {numbers} {verb} another program's or a tunnel device's, on {addresses} or on an address of it: that is left alone, and held once it is free ('ss -ulnp' lists them)"
            ),
            Self::Refused(reason) => format!(
                "cannot hold UDP port{plural} {numbers} on {addresses}: {reason}; the host may answer mirrored packets with ICMP port unreachable (drop those in the firewall, or switch this off with hold_port = false)"
            ),
        }
    }
}

impl HeldPort {
    /// Holds it where that can be had now. Gives why it is not held everywhere.
    fn retry(&mut self) -> io::Result<Option<Trouble>> {
        let Sockets::Addresses(sockets) = &mut self.sockets else { return Ok(None) };
        // Not beside one's own on single addresses: what is left of the host's is held as well.
        if sockets.is_empty() {
            match bind(self.everywhere) {
                Ok(socket) => {
                    self.sockets = Sockets::Everywhere(socket);
                    return Ok(None);
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(error),
            }
        }
        let there: Vec<SocketAddr> = addresses()?
            .into_iter()
            .filter(|address| address.is_ipv4() == self.everywhere.is_ipv4() && !self.listened.contains(&address.ip()))
            .take(MOST_ADDRESSES)
            .map(|mut address| {
                address.set_port(self.port);
                address
            })
            .collect();
        sockets.retain(|address, _| there.contains(address));
        let mut is_elsewhere = false;
        for address in there {
            if sockets.contains_key(&address) {
                continue;
            }
            match bind(address) {
                Ok(socket) => drop(sockets.insert(address, socket)),
                // Of an address that is only just there nothing can be had yet.
                Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {}
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => is_elsewhere = true,
                Err(error) => return Err(error),
            }
        }
        Ok(is_elsewhere.then_some(Trouble::Taken))
    }
}

/// IP protocols that a mirror may be carried in and a host answers with ICMP "protocol unreachable" where it has no such
/// tunnel itself: IP in IP, IPv6 in IP, GRE, MPLS in IP.
const PROTOCOLS: [i32; 4] = [4, 41, 47, 137];

/// The tunnels' IP protocols on every address of the host, whose packets the kernel throws away. Released when dropped.
#[derive(Debug)]
pub struct HeldProtocols {
    _sockets: Vec<Socket>,
}

impl HeldProtocols {
    /// Holds them all. A raw socket takes nothing away from a tunnel device: it gets copies.
    ///
    /// # Errors
    /// When the system refuses: it takes the right to capture.
    pub fn hold() -> io::Result<Self> {
        let mut sockets = Vec::with_capacity(2 * PROTOCOLS.len());
        for (domain, protocol) in
            [Domain::IPV4, Domain::IPV6].into_iter().flat_map(|domain| PROTOCOLS.map(|protocol| (domain, protocol)))
        {
            let socket = match Socket::new(domain, Type::RAW, Some(Protocol::from(protocol))) {
                Ok(socket) => socket,
                // A host without IPv6 does not answer in it.
                Err(error) if domain == Domain::IPV6 && error.raw_os_error() == Some(libc::EAFNOSUPPORT) => continue,
                Err(error) => return Err(error),
            };
            socket.attach_filter(&[REJECT_ALL])?;
            sockets.push(socket);
        }
        Ok(Self { _sockets: sockets })
    }
}

fn bind(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Before binding, so that not one datagram is queued.
    socket.attach_filter(&[REJECT_ALL])?;
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    /// A port that was free a moment ago.
    fn free_port() -> u16 {
        UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    }

    /// Whether the host answers what is sent to the address with an ICMP error, which comes back as the socket's.
    fn is_answered(address: SocketAddr) -> bool {
        let any = if address.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
        let sender = UdpSocket::bind(any).unwrap();
        sender.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        sender.connect(address).unwrap();
        sender.send(b"copy").unwrap();
        match sender.recv(&mut [0; 8]).unwrap_err().kind() {
            io::ErrorKind::ConnectionRefused => true,
            io::ErrorKind::WouldBlock => false,
            other => panic!("{other}"),
        }
    }

    fn at(ip: &str, port: u16) -> SocketAddr {
        SocketAddr::new(ip.parse().unwrap(), port)
    }

    /// Those of this host; without IPv6 the first alone.
    fn loopbacks(port: u16) -> Vec<SocketAddr> {
        let all = [at("127.0.0.1", port), at("::1", port)];
        all.into_iter().filter(|address| UdpSocket::bind((address.ip(), 0)).is_ok()).collect()
    }

    #[test]
    fn a_held_port_answers_nothing_and_a_free_one_does() {
        let port = free_port();
        let all = loopbacks(port);
        assert!(all.iter().all(|address| is_answered(*address)));
        let held = HeldPorts::hold(&[port].into(), &[]);
        assert!(held.is_complete());
        assert!(!all.iter().any(|address| is_answered(*address)));
        drop(held);
        assert!(all.iter().all(|address| is_answered(*address)));
    }

    #[test]
    fn what_somebody_else_has_is_left_and_held_when_it_is_free() {
        let port = free_port();
        // On all addresses of a family; on one.
        for ip in ["0.0.0.0", "127.0.0.1"] {
            let theirs = UdpSocket::bind(at(ip, port)).unwrap();
            let mut held = HeldPorts::hold(&[port].into(), &[]);
            assert!(!held.is_complete());
            drop(theirs);
            assert!(is_answered(at("127.0.0.1", port)));
            held.retry();
            assert!(!is_answered(at("127.0.0.1", port)), "{ip}: {held:?}");
        }
    }

    #[test]
    fn ports_that_somebody_has_are_told_in_one_line() {
        let (v4, v6) = (IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        let words = Trouble::Taken.words(&[(4_789, vec![v4, v6]), (6_081, vec![v4, v6])].into());
        assert!(words.starts_with("UDP ports 4789, 6081 are another program's") && words.contains("on 0.0.0.0, :: or"));
        let words = Trouble::Refused("no".to_owned()).words(&[(4_789, vec![v6])].into());
        assert!(words.starts_with("cannot hold UDP port 4789 on ::: no; "), "{words}");
    }

    #[test]
    fn a_port_that_is_listened_on_is_held_where_it_is_not() {
        let port = free_port();
        let (v4, v6) = (IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        let held = |listened: &[&str]| {
            let listened: Vec<SocketAddr> = listened.iter().map(|ip| at(ip, port)).collect();
            let _sockets: Vec<UdpSocket> = listened.iter().map(|address| UdpSocket::bind(address).unwrap()).collect();
            let held = HeldPorts::hold(&[port].into(), &listened);
            held.ports
                .iter()
                .map(|port| (port.everywhere.ip(), matches!(port.sockets, Sockets::Everywhere(_))))
                .collect::<Vec<_>>()
        };
        if loopbacks(port).len() < 2 {
            eprintln!("skipped: there is no IPv6 here");
            return;
        }
        assert_eq!(held(&[]), [(v4, true), (v6, true)]);
        assert_eq!(held(&["0.0.0.0"]), [(v6, true)]);
        assert_eq!(held(&["::"]), []);
        assert_eq!(held(&["127.0.0.1"]), [(v4, false), (v6, true)]);
        assert_eq!(held(&["::1"]), [(v4, true), (v6, false)]);
        let other = HeldPorts::hold(&[port].into(), &[at("0.0.0.0", port.wrapping_add(1))]);
        assert!(other.is_complete() && other.ports.len() == 2, "another port is another matter");
    }
}
