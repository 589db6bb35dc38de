//! The network interfaces there are now, and which of them a capture's socket is bound to.
//!
//! All of this needs no right: the kernel lists interfaces for everybody, and whoever has a packet socket may bind it to
//! another interface. It is the opening of one that takes CAP_NET_RAW (packet(7)).

use std::fs;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd as _};

use nix::net::if_::{InterfaceFlags, if_nametoindex};

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
pub(super) fn links() -> Vec<Link> {
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
        Some(Link { index, hardware: Hardware::new(kind), is_up: entry.flags.contains(InterfaceFlags::IFF_UP), name })
    };
    nix::ifaddrs::getifaddrs().map(|all| all.filter_map(link).collect()).unwrap_or_default()
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

/// From now on the packet socket gives what interface `index` carries, and nothing of the one it was bound to.
pub(super) fn bind(socket: &impl AsFd, index: u32) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
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
        let all = links();
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
