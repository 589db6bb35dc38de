//! What an interface merges before a capture sees it.
//!
//! Receive offloads join packets to super-frames: harmless here, but what a mirror sends and what is captured then differ
//! in count. The kernel tells by an ioctl that has no safe binding, hence this file.

use std::io;
use std::os::fd::AsRawFd;

use socket2::{Domain, Socket, Type};

/// Receive offloads of an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Generic receive offload: the kernel joins packets of a flow.
    pub gro: bool,
    /// Large receive offload: the adapter does, and may lose headers.
    pub lro: bool,
}

/// `ETHTOOL_GGRO` of linux/ethtool.h.
const GET_GRO: u32 = 0x2b;
/// `ETHTOOL_GFLAGS`.
const GET_FLAGS: u32 = 0x25;
/// `ETH_FLAG_LRO`.
const FLAG_LRO: u32 = 1 << 15;

/// `struct ethtool_value`.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

impl Offloads {
    /// Those of the interface `name`.
    ///
    /// # Errors
    /// When there is no such interface or its driver does not say.
    pub fn of(name: &str) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
        Ok(Self { gro: ask(&socket, name, GET_GRO)? != 0, lro: ask(&socket, name, GET_FLAGS)? & FLAG_LRO != 0 })
    }
}

fn ask(socket: &Socket, name: &str, command: u32) -> io::Result<u32> {
    let mut value = EthtoolValue { command, data: 0 };
    // SAFETY: `ifreq` is plain old data, for which zeroes are a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // One byte is left for the terminating zero.
    if name.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *place = byte as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the request names a terminated interface name and points to an `ethtool_value`, which is what these two
    // commands read and write; both outlive the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(value.data) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_says_and_a_missing_interface_fails() {
        // What it says is the host's business; that it can be asked is not.
        Offloads::of("lo").unwrap();
        assert_eq!(Offloads::of("nosuch0").unwrap_err().raw_os_error(), Some(libc::ENODEV));
        assert!(Offloads::of("a-name-longer-than-any-interface").is_err());
    }
}
