//! A port that is held so that the host stays silent.
//!
//! A host answers a datagram to a port without a listener with ICMP "port unreachable" (RFC 1122, section 4.1.3.1): a
//! mirror target would answer every copy. A socket bound to the port prevents it; a filter that accepts nothing makes the
//! kernel drop the copies at once instead of queueing them for nobody. The same goes for a tunnel that is an IP protocol of its
//! own, and "protocol unreachable" (RFC 1122, section 3.2.2.1).

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, SockFilter, Socket, Type};

/// `BPF_RET | BPF_K` with 0: keep no byte of any datagram.
pub(super) const REJECT_ALL: SockFilter = SockFilter::new(0x06, 0, 0, 0);

/// A UDP port, on every address of the host, whose datagrams the kernel throws away. Released when dropped.
#[derive(Debug)]
pub struct HeldPort {
    port: u16,
    _sockets: Vec<Socket>,
}

/// A port that could not be held.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot hold UDP port {port}: {source}; the host may answer mirrored packets with ICMP port unreachable (drop those in the firewall, or switch this off with hold_port = false)"
)]
pub struct HoldError {
    /// The port.
    pub port: u16,
    /// What the system said.
    pub source: io::Error,
}

impl HeldPort {
    /// Holds `port`. Where another socket or a tunnel device has it already there is nothing to hold, and nothing to
    /// fear: `Ok(None)`.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn hold(port: u16) -> Result<Option<Self>, HoldError> {
        let failed = |source| HoldError { port, source };
        let mut sockets = Vec::with_capacity(2);
        let addresses: [SocketAddr; 2] = [(Ipv4Addr::UNSPECIFIED, port).into(), (Ipv6Addr::UNSPECIFIED, port).into()];
        for address in addresses {
            match bind(address) {
                Ok(socket) => sockets.push(socket),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                // A host without IPv6.
                Err(error) if address.is_ipv6() && error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok((!sockets.is_empty()).then_some(Self { port, _sockets: sockets }))
    }

    /// The port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }
}

/// IP protocols that a mirror may be carried in and a host answers with ICMP "protocol unreachable" where it has no such
/// tunnel itself: IP in IP, IPv6 in IP, GRE, MPLS in IP.
const PROTOCOLS: [i32; 4] = [4, 41, 47, 137];

/// The tunnels' IP protocols on every IPv4 address of the host, whose packets the kernel throws away. Released when dropped.
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
        let held = |protocol: i32| {
            let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(protocol)))?;
            socket.attach_filter(&[REJECT_ALL])?;
            Ok(socket)
        };
        Ok(Self { _sockets: PROTOCOLS.into_iter().map(held).collect::<io::Result<_>>()? })
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
    use std::time::Duration;

    use super::*;

    /// A port that was free a moment ago.
    fn free_port() -> u16 {
        UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    }

    #[test]
    fn a_held_port_answers_nothing_and_a_free_one_does() {
        let port = free_port();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        sender.connect(("127.0.0.1", port)).unwrap();
        // The ICMP error of a port without a listener comes back as the socket's error.
        sender.send(b"copy").unwrap();
        assert_eq!(sender.recv(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);

        let held = HeldPort::hold(port).unwrap().unwrap();
        assert_eq!(held.port(), port);
        sender.send(b"copy").unwrap();
        assert_eq!(sender.recv(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::WouldBlock);

        drop(held);
        sender.send(b"copy").unwrap();
        assert_eq!(sender.recv(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_port_that_somebody_has_needs_no_holding() {
        let port = free_port();
        let _first = HeldPort::hold(port).unwrap().unwrap();
        assert!(HeldPort::hold(port).unwrap().is_none());
    }
}
