//! The network interfaces there are now, and which of them a capture's socket is bound to.
//!
//! All of this needs no right: the kernel lists interfaces for everybody, and whoever has a packet socket may bind it to
//! another interface. It is the opening of one that takes CAP_NET_RAW (packet(7)).

use std::fs;
use std::io;
use std::mem::size_of;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd as _};

use nix::errno::Errno;
use nix::net::if_::{InterfaceFlags, if_indextoname, if_nametoindex};
use socket2::SockFilter;

/// An interface as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// Its name.
    pub(super) name: String,
    /// Its number, which no later interface of the name has.
    pub(super) index: u32,
    /// What it is made for.
    pub(super) hardware: Hardware,
    /// Whether it is up.
    pub(super) is_up: bool,
    /// Whether what it sends it receives itself.
    pub(super) is_loopback: bool,
}

/// The kernel's hardware type (linux/if_arp.h), those that libpcap takes for Ethernet as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hardware(u16);

impl Hardware {
    /// What most interfaces are, the loopback's among them.
    pub(super) const ETHERNET: Self = Self(libc::ARPHRD_ETHER);

    const fn new(kind: u16) -> Self {
        Self(if kind == libc::ARPHRD_LOOPBACK { libc::ARPHRD_ETHER } else { kind })
    }
}

/// Every interface, in the kernel's order.
///
/// # Errors
/// When the kernel does not say, for want of a descriptor for example. Then nothing is known: no interface has gone.
pub(super) fn links() -> io::Result<Vec<Link>> {
    let link = |entry: nix::ifaddrs::InterfaceAddress| {
        let name = entry.interface_name;
        let (index, kind) = match entry.address {
            Some(address) => {
                let address = address.as_link_addr()?;
                (u32::try_from(address.ifindex()).ok()?, address.hatype())
            }
            // One without an address of its own on the link, as those of raw IP are.
            None => (if_nametoindex(name.as_str()).ok()?, kind_of(&name)),
        };
        Some(Link {
            index,
            hardware: Hardware::new(kind),
            is_up: entry.flags.contains(InterfaceFlags::IFF_UP),
            is_loopback: entry.flags.contains(InterfaceFlags::IFF_LOOPBACK),
            name,
        })
    };
    Ok(nix::ifaddrs::getifaddrs()?.filter_map(link).collect())
}

/// The interface called `name`, if there is one.
///
/// # Errors
/// As [`links`].
pub(super) fn link_called(name: &str) -> io::Result<Option<Link>> {
    Ok(links()?.into_iter().find(|link| link.name == name))
}

/// The IP addresses of this host, those of a link with its number; without a port.
///
/// # Errors
/// As [`links`].
pub(super) fn addresses() -> io::Result<Vec<SocketAddr>> {
    let address = |entry: nix::ifaddrs::InterfaceAddress| {
        let address = entry.address?;
        if let Some(v4) = address.as_sockaddr_in() {
            return Some(SocketAddr::new(IpAddr::V4(v4.ip()), 0));
        }
        let v6 = address.as_sockaddr_in6()?;
        Some(SocketAddrV6::new(v6.ip(), 0, 0, v6.scope_id()).into())
    };
    Ok(nix::ifaddrs::getifaddrs()?.filter_map(address).collect())
}

fn kind_of(name: &str) -> u16 {
    let text = fs::read_to_string(format!("/sys/class/net/{name}/type")).unwrap_or_default();
    text.trim().parse().unwrap_or(libc::ARPHRD_VOID)
}

/// What the interface's driver dropped for want of room before anybody saw it, since it came up.
pub(super) fn drops_of(name: &str) -> u64 {
    let count = |file: &str| -> u64 {
        let text = fs::read_to_string(format!("/sys/class/net/{name}/statistics/{file}")).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    };
    count("rx_missed_errors") + count("rx_fifo_errors")
}

/// What the interface of this number is called now; `None` when there is none.
///
/// # Errors
/// As [`links`].
pub(super) fn name_of(index: u32) -> io::Result<Option<String>> {
    match if_indextoname(index) {
        Ok(name) => Ok(Some(name.to_string_lossy().into_owned())),
        Err(Errno::ENXIO | Errno::ENODEV) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What a packet socket is to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intake {
    /// Every frame.
    All,
    /// Next to none: those of a protocol that is nobody's, "local experimental 2" (IEEE 802).
    Foreign,
}

/// From now on the packet socket gives what interface `index` carries, and nothing of the one it was bound to; 0 is all of
/// them.
pub(super) fn bind(socket: &impl AsFd, index: u32, intake: Intake) -> io::Result<()> {
    let protocol = match intake {
        Intake::All => libc::ETH_P_ALL as u16,
        Intake::Foreign => 0x88b6,
    };
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol.to_be(),
        sll_ifindex: index as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the address is a `sockaddr_ll` of `len` bytes that outlives the call, and the descriptor is open.
    let result = unsafe { libc::bind(socket.as_fd().as_raw_fd(), (&raw const address).cast(), len) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Whether the packet socket is to leave out what this host sends. Since Linux 4.20.
pub(super) fn leave_out_sent(socket: &impl AsFd, is_on: bool) -> io::Result<()> {
    let value = libc::c_int::from(is_on);
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the call reads `len` bytes of `value`, which is that long and outlives it; the descriptor is open.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_IGNORE_OUTGOING,
            (&raw const value).cast(),
            len,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The socket's filter as it is now; empty where there is none.
pub(super) fn filter_of(socket: &impl AsFd) -> io::Result<Vec<SockFilter>> {
    let ask = |at: *mut SockFilter, count: usize| {
        // Of filters the length is their count (sk_get_filter).
        let mut len = count as libc::socklen_t;
        // SAFETY: the call writes at most `len` instructions to `at`, where there is room for so many, and their count to
        // `len`; with no room it only says the count. The descriptor is open.
        let result = unsafe {
            libc::getsockopt(socket.as_fd().as_raw_fd(), libc::SOL_SOCKET, libc::SO_GET_FILTER, at.cast(), &raw mut len)
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(len as usize) }
    };
    let count = ask(std::ptr::null_mut(), 0)?;
    let mut filter: Vec<SockFilter> = (0..count).map(|_| SockFilter::new(0, 0, 0, 0)).collect();
    if count > 0 {
        let count = ask(filter.as_mut_ptr(), count)?;
        filter.truncate(count);
    }
    Ok(filter)
}

/// Whether the interface is to hand over frames for other hosts, as long as the socket is there.
pub(super) fn set_promiscuous(socket: &impl AsFd, index: u32, is_on: bool) -> io::Result<()> {
    let option = if is_on { libc::PACKET_ADD_MEMBERSHIP } else { libc::PACKET_DROP_MEMBERSHIP };
    let request = libc::packet_mreq {
        mr_ifindex: index as i32,
        mr_type: libc::PACKET_MR_PROMISC as u16,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    let len = size_of::<libc::packet_mreq>() as libc::socklen_t;
    // SAFETY: the call reads `len` bytes of `request`, which is that long and outlives it; the descriptor is open.
    let result = unsafe {
        libc::setsockopt(socket.as_fd().as_raw_fd(), libc::SOL_PACKET, option, (&raw const request).cast(), len)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_an_ethernet_among_the_links() {
        let all = links().unwrap();
        assert!(link_called("lo").unwrap() == all.iter().find(|link| link.name == "lo").cloned());
        assert_eq!(link_called("no-such").unwrap(), None);
        assert!(addresses().unwrap().iter().any(|address| address.ip().is_loopback()));
        let lo = all.iter().find(|link| link.name == "lo").unwrap();
        assert_eq!((lo.hardware, lo.index > 0), (Hardware::ETHERNET, true));
        assert_eq!(
            all.iter().filter(|link| link.name == "lo").count(),
            1,
            "each is there once, however many addresses"
        );
        assert_ne!(Hardware::new(libc::ARPHRD_NONE), Hardware::ETHERNET);
        assert_eq!((drops_of("lo"), drops_of("no-such")), (0, 0));
    }
}
