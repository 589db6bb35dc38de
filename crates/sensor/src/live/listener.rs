//! A UDP port that a mirror sends its tunnel to.
//!
//! A plain socket needs no privilege, and the kernel joins fragments of the tunnel's datagrams before they get here. What
//! arrives is the inside of a UDP datagram; decapsulation begins at an IP header. So the socket's buffers leave room in
//! front, where the addresses that the kernel tells are written as the headers they were taken from: provenance then comes
//! from the same code as everywhere else.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use decap::{Frame, LinkType, Timestamp};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use super::hold::REJECT_ALL;
use super::lanes::wall_clock;
use super::membership::Membership;
use super::source::{LiveSource, Lost, SourceCounts, Wrapping, wait};
use crate::units::ByteSize;

/// Datagrams read with one system call.
const BATCH: usize = 64;
/// The largest UDP payload there is.
const DATAGRAM: usize = 65_536;
/// An IPv6 and a UDP header.
const HEADROOM: usize = 48;

/// How to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerOptions {
    /// Where to: an address of this host, the unspecified one, or that of a group, which is joined; and the tunnel's port.
    pub address: SocketAddr,
    /// The socket's receive buffer in bytes.
    pub buffer_bytes: usize,
    /// Whether it has the port for itself.
    pub share: Share,
}

/// Which of several sockets of this sensor it is, between which the kernel spreads the senders of one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// The only one.
    Alone,
    /// The first of several: as long as it is opened first, no other program has the port.
    First,
    /// A further one.
    Further,
}

impl ListenerOptions {
    /// With a buffer of 64 MiB.
    #[must_use]
    pub const fn new(address: SocketAddr) -> Self {
        Self { address, buffer_bytes: 64 << 20, share: Share::Alone }
    }
}

/// A bound socket and the buffers of one batch.
pub struct Listener {
    address: SocketAddr,
    socket: Socket,
    /// Of a group's address.
    membership: Option<Membership>,
    /// [`BATCH`] times [`HEADROOM`] and [`DATAGRAM`] bytes.
    buffers: Vec<u8>,
    arrived: Vec<Arrived>,
    received: u64,
    drops: Wrapping,
    is_closed: bool,
}

/// A datagram of the batch.
#[derive(Clone, Copy, Debug)]
struct Arrived {
    len: usize,
    source: SocketAddr,
    destination: Option<IpAddr>,
    at: u64,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Why it cannot be listened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on UDP {address}: {source}{hint}", hint = hint(.source))]
pub struct ListenerError {
    /// Where.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another program, another sensor or a tunnel device of the kernel has this port: end that, or choose another ('ss -ulnp' and 'ip -d link show type vxlan' list them)"
        }
        io::ErrorKind::AddrNotAvailable => "; no interface of this host has this address",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE",
        _ if error.raw_os_error() == Some(libc::ENODEV) => {
            "; no route says on which interface to join this group: 'ip route add GROUP dev INTERFACE' does"
        }
        _ => "",
    }
}

impl Listener {
    /// Binds the socket. Several of one address share its datagrams by flow (`SO_REUSEPORT`), but only of one sensor: a
    /// second one would take half of every mirror away from the first, and neither would know.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn open(options: &ListenerOptions) -> Result<Self, ListenerError> {
        let address = options.address;
        let failed = |source| ListenerError { address, source };
        let socket = bind(options).map_err(failed)?;
        let membership = Membership::join(address).map_err(failed)?;
        // The kernel doubles what it is asked for, and tells that.
        let room = socket.recv_buffer_size().map_or(options.buffer_bytes, |doubled| doubled / 2);
        if room < options.buffer_bytes.min(i32::MAX as usize / 2) && options.share != Share::Further {
            tracing::warn!(
                "the socket's buffer on UDP {address} is {} and not {}, as net.core.rmem_max says: 'sysctl -w net.core.rmem_max={}' allows it, or a smaller `ring` takes this line away",
                ByteSize(room as u64),
                ByteSize(options.buffer_bytes as u64),
                options.buffer_bytes
            );
        }
        Ok(Self {
            address: socket.local_addr().ok().and_then(|local| local.as_socket()).unwrap_or(address),
            socket,
            membership,
            buffers: vec![0; BATCH * (HEADROOM + DATAGRAM)],
            arrived: Vec::with_capacity(BATCH),
            received: 0,
            drops: Wrapping::default(),
            is_closed: false,
        })
    }

    /// The address it is bound to.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets nothing further into the socket's buffer.
    pub(super) fn close_intake(&mut self) -> io::Result<()> {
        // What the filter drops would count as what found no room.
        self.ask_drops();
        self.is_closed = true;
        self.socket.attach_filter(&[REJECT_ALL])
    }

    /// Asks for the drops: with datagrams they come only when another one is queued behind them.
    fn ask_drops(&mut self) {
        if !self.is_closed
            && let Ok(drops) = socket_drops(&self.socket)
        {
            self.note_drops(drops);
        }
    }

    /// Reads a batch into the buffers and `arrived`.
    fn receive(&mut self) -> Result<(), nix::Error> {
        self.arrived.clear();
        let mut slices: Vec<[IoSliceMut<'_>; 1]> = self
            .buffers
            .chunks_exact_mut(HEADROOM + DATAGRAM)
            .map(|buffer| [IoSliceMut::new(&mut buffer[HEADROOM..])])
            .collect();
        // New for each batch: the kernel writes into them how much it used, and a second call would find only that much
        // room. What is asked for is the time, the address it was sent to and the count of drops.
        let space = nix::cmsg_space!(nix::sys::time::TimeSpec, libc::in6_pktinfo, u32);
        let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(BATCH, Some(space));
        let messages =
            recvmmsg(self.socket.as_raw_fd(), &mut headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None)?;
        let mut drops = None;
        for message in messages {
            let (mut at, mut destination) = (None, None);
            for control in message.cmsgs().into_iter().flatten() {
                match control {
                    ControlMessageOwned::ScmTimestampns(time) => {
                        at = Some(
                            (time.tv_sec() as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec() as u64),
                        );
                    }
                    ControlMessageOwned::Ipv4PacketInfo(info) => {
                        destination = Some(IpAddr::V4(Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr))));
                    }
                    ControlMessageOwned::Ipv6PacketInfo(info) => {
                        destination = Some(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr)));
                    }
                    ControlMessageOwned::RxqOvfl(count) => drops = Some(count),
                    _ => {}
                }
            }
            let source = message.address.and_then(|address| socket_address(&address));
            self.arrived.push(Arrived {
                len: message.bytes,
                source: source.unwrap_or(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0)),
                destination,
                at: at.unwrap_or_else(|| wall_clock().as_nanos()),
            });
        }
        self.received += self.arrived.len() as u64;
        if let Some(drops) = drops {
            self.note_drops(drops);
        }
        Ok(())
    }

    /// The count that a datagram brings along is of when it was queued, and so may be behind one that was asked for.
    const fn note_drops(&mut self, now: u32) {
        if now.wrapping_sub(self.drops.last()) <= i32::MAX as u32 {
            self.drops.follow(now);
        }
    }
}

impl LiveSource for Listener {
    fn poll(&mut self, patience: Duration, take: &mut impl FnMut(Frame<'_>)) -> Result<usize, Lost> {
        let lost = |address: SocketAddr, reason: String| Lost { name: format!("UDP {address}"), reason };
        if wait(&self.socket, patience).map_err(|error| lost(self.address, error.to_string()))?.is_empty() {
            // What came before is taken first.
            return match self.membership.as_mut().and_then(Membership::look) {
                Some(end) => Err(lost(self.address, end.to_owned())),
                None => Ok(0),
            };
        }
        match self.receive() {
            Ok(()) => {}
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => return Ok(0),
            Err(error) => return Err(lost(self.address, error.to_string())),
        }
        let local = self.address;
        for (arrived, buffer) in self.arrived.iter().zip(self.buffers.chunks_exact_mut(HEADROOM + DATAGRAM)) {
            let destination = SocketAddr::new(arrived.destination.unwrap_or(local.ip()), local.port());
            let (link, start) = write_headers(arrived.source, destination, arrived.len, &mut buffer[..HEADROOM]);
            let data = &buffer[start..HEADROOM + arrived.len];
            take(Frame { at: Timestamp::from_nanos(arrived.at), link, data, wire_len: data.len() as u32 });
        }
        Ok(self.arrived.len())
    }

    fn counts(&mut self) -> SourceCounts {
        self.ask_drops();
        let drops = self.drops.total();
        // The kernel counts drops as received by nobody.
        SourceCounts { received: self.received + drops, kernel_drops: drops, interface_drops: 0 }
    }
}

/// How many datagrams the kernel has dropped for want of room: of nine counts the last (`SK_MEMINFO_DROPS`).
fn socket_drops(socket: &Socket) -> io::Result<u32> {
    const COUNTS: usize = 9;
    let mut counts = [0_u32; COUNTS];
    let mut len = size_of_val(&counts) as libc::socklen_t;
    // SAFETY: the call writes at most `len` bytes to `counts`, which is that long, and the length written to `len`; both
    // outlive it, and the descriptor is open.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            counts.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    if (len as usize) < size_of_val(&counts) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    Ok(counts[COUNTS - 1])
}

/// Writes the IP and UDP headers that a payload of `len` bytes had, right-aligned in `room`; gives where they begin.
fn write_headers(source: SocketAddr, destination: SocketAddr, len: usize, room: &mut [u8]) -> (LinkType, usize) {
    let (ip_len, link) = match (source.ip(), destination.ip()) {
        (IpAddr::V4(_), IpAddr::V4(_)) => (20, LinkType::RawIpv4),
        _ => (40, LinkType::RawIpv6),
    };
    let start = HEADROOM - 8 - ip_len;
    let udp_len = (len + 8) as u16;
    let header = &mut room[start..];
    header.fill(0);
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            header[0] = 0x45;
            header[2..4].copy_from_slice(&((len + 28).min(usize::from(u16::MAX)) as u16).to_be_bytes());
            header[8] = 64;
            header[9] = 17;
            header[12..16].copy_from_slice(&source.octets());
            header[16..20].copy_from_slice(&destination.octets());
        }
        (source, destination) => {
            header[0] = 0x60;
            header[4..6].copy_from_slice(&udp_len.to_be_bytes());
            header[6] = 17;
            header[7] = 64;
            header[8..24].copy_from_slice(&in_ipv6(source).octets());
            header[24..40].copy_from_slice(&in_ipv6(destination).octets());
        }
    }
    let udp = &mut header[ip_len..];
    udp[0..2].copy_from_slice(&source.port().to_be_bytes());
    udp[2..4].copy_from_slice(&destination.port().to_be_bytes());
    udp[4..6].copy_from_slice(&udp_len.to_be_bytes());
    (link, start)
}

const fn in_ipv6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddr::new(IpAddr::V4(v4.ip()), v4.port()));
    }
    let v6 = address.as_sockaddr_in6()?;
    // IPv4 on a socket of both families.
    Some(SocketAddr::new(v6.ip().to_canonical(), v6.port()))
}

fn bind(options: &ListenerOptions) -> io::Result<Socket> {
    let address = options.address;
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if options.share == Share::Further {
        socket.set_reuse_port(true)?;
    }
    let set = |result: nix::Result<()>| result.map_err(io::Error::from);
    set(setsockopt(&socket, sockopt::ReceiveTimestampns, &true))?;
    set(setsockopt(&socket, sockopt::RxqOvfl, &1))?;
    // Beyond the system's limit only with privilege; without it the limit is what there is.
    if setsockopt(&socket, sockopt::RcvBufForce, &options.buffer_bytes).is_err() {
        socket.set_recv_buffer_size(options.buffer_bytes)?;
    }
    if address.is_ipv4() {
        set(setsockopt(&socket, sockopt::Ipv4PacketInfo, &true))?;
    } else {
        set(setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true))?;
        // Whatever the system's default: `[::]` is all there is.
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    if options.share == Share::First {
        // Only now: bound before, it would have joined another program's.
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use decap::{Decapsulator, Verdict};

    use super::*;

    #[test]
    fn headers_are_those_the_datagram_had() {
        for (source, destination) in [
            ("10.1.2.3:777", "10.9.8.7:4789"),
            ("[2001:db8::1]:777", "[2001:db8::2]:4789"),
            ("10.1.2.3:777", "[::]:4789"),
        ] {
            let (source, destination): (SocketAddr, SocketAddr) =
                (source.parse().unwrap(), destination.parse().unwrap());
            let mut buffer = [0xff; HEADROOM + 5];
            let (link, start) = write_headers(source, destination, 5, &mut buffer[..HEADROOM]);
            let parsed = etherparse::SlicedPacket::from_ip(&buffer[start..]).unwrap();
            let Some(etherparse::TransportSlice::Udp(udp)) = parsed.transport else { panic!("{parsed:?}") };
            assert_eq!((udp.source_port(), udp.destination_port(), udp.payload()), (777, 4789, &[0xff; 5][..]));
            assert_eq!(link == LinkType::RawIpv4, source.is_ipv4() && destination.is_ipv4());
        }
    }

    #[test]
    fn a_tunnel_sent_to_the_port_is_taken_off_with_its_addresses() {
        let mut listener = Listener::open(&ListenerOptions::new("127.0.0.1:0".parse().unwrap())).unwrap();
        let port = listener.address().port();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        // VXLAN of VNI 4711 around Ethernet, IPv4 and TCP with three bytes.
        let mut inner = Vec::new();
        etherparse::PacketBuilder::ethernet2([1; 6], [2; 6])
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .tcp(1_000, 80, 5, 1_024)
            .write(&mut inner, b"GET")
            .unwrap();
        let mut datagram = vec![0x08, 0, 0, 0, 0, 0x12, 0x67, 0];
        datagram.extend_from_slice(&inner);
        for _ in 0..3 {
            sender.send_to(&datagram, ("127.0.0.1", port)).unwrap();
        }
        let mut decapsulator = Decapsulator::new(decap::Config { vxlan_ports: vec![port], ..decap::Config::default() });
        let mut seen = 0;
        let before = wall_clock().as_nanos();
        while seen < 3 {
            listener
                .poll(Duration::from_secs(5), &mut |frame: Frame<'_>| {
                    assert!(frame.at.as_nanos().abs_diff(before) < 60_000_000_000);
                    let Verdict::Segment(segment) = decapsulator.push(frame) else { panic!() };
                    assert_eq!(segment.payload, b"GET");
                    let hop = &segment.path.hops[0];
                    assert_eq!(hop.id, decap::TunnelId::Vni(4_711));
                    assert_eq!(hop.source, IpAddr::V4(Ipv4Addr::LOCALHOST));
                    assert_eq!(hop.destination, IpAddr::V4(Ipv4Addr::LOCALHOST));
                    seen += 1;
                })
                .unwrap();
        }
        assert_eq!(listener.counts(), SourceCounts { received: 3, kernel_drops: 0, interface_drops: 0 });
        assert_eq!(listener.poll(Duration::ZERO, &mut |_| panic!()), Ok(0));
    }

    #[test]
    fn several_sockets_share_a_port_and_no_second_sensor_does() {
        let one = ListenerOptions { share: Share::First, ..ListenerOptions::new("127.0.0.1:0".parse().unwrap()) };
        let first = Listener::open(&one).unwrap();
        let open = |share| Listener::open(&ListenerOptions { address: first.address(), share, ..one.clone() });
        let mut all = vec![open(Share::Further).unwrap(), open(Share::Further).unwrap()];
        // Another sensor of the same user, with one thread or with more.
        for share in [Share::Alone, Share::First] {
            let error = open(share).unwrap_err().to_string();
            assert!(error.contains(&first.address().to_string()) && error.contains("another sensor"), "{error}");
        }
        let alone = Listener::open(&ListenerOptions::new("127.0.0.1:0".parse().unwrap())).unwrap();
        let second = ListenerOptions { address: alone.address(), share: Share::First, ..one.clone() };
        assert!(Listener::open(&second).is_err());
        // The kernel spreads what comes by the sender.
        let to = first.address();
        all.push(first);
        for _ in 0..64 {
            UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"x", to).unwrap();
        }
        for listener in &mut all {
            while listener.poll(Duration::ZERO, &mut |_| {}).unwrap() > 0 {}
        }
        let counts: Vec<u64> = all.iter_mut().map(|listener| listener.counts().received).collect();
        assert_eq!(counts.iter().sum::<u64>(), 64);
        assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    }

    #[test]
    fn what_the_socket_drops_is_counted() {
        let options = ListenerOptions { buffer_bytes: 4_096, ..ListenerOptions::new("127.0.0.1:0".parse().unwrap()) };
        let mut listener = Listener::open(&options).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = listener.address();
        for _ in 0..200 {
            sender.send_to(&[0; 1_000], to).unwrap();
        }
        let mut taken = 0;
        while listener.poll(Duration::ZERO, &mut |_| taken += 1).unwrap() > 0 {}
        // With datagrams the count comes only when one is queued behind the drops.
        let counts = listener.counts();
        assert_eq!(counts.received, 200);
        assert!(counts.kernel_drops > 0);
        assert_eq!(taken, counts.received - counts.kernel_drops);
        sender.send_to(b"one more", to).unwrap();
        while listener.poll(Duration::ZERO, &mut |_| taken += 1).unwrap() > 0 {}
        assert_eq!(listener.counts(), SourceCounts { received: 201, ..counts });
        // What comes after the end is nobody's, and no drop.
        listener.close_intake().unwrap();
        sender.send_to(b"too late", to).unwrap();
        assert_eq!(listener.poll(Duration::ZERO, &mut |_| {}).unwrap(), 0);
        assert_eq!(listener.counts().received, 201);
    }
}
