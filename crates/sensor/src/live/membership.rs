//! That the group which a mirror is sent to stays joined.
//!
//! The kernel forgets a membership with the interface that it is on, tells nobody, and does not take it up again when the
//! interface is made again. So the group is joined anew every second, each time by a socket of its own, and only then left by
//! the one before: where all is as it was, nothing is sent and nothing missed, and where the routes lead elsewhere by now, the
//! membership follows. The socket that listens need not be a member itself: it gets what any membership of the host lets in
//! (`IP_MULTICAST_ALL`). Joining takes the kernel's lock on all interfaces, for which no capture thread is to wait.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock, Weak};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

/// How often it is joined anew.
const EVERY: Duration = Duration::from_secs(1);

/// A group that is joined, until it is dropped.
#[derive(Debug)]
pub(super) struct Membership {
    group: SocketAddr,
    /// The first member, until the thread has it.
    first: Option<Socket>,
    /// Why it cannot be joined any more.
    end: Arc<OnceLock<String>>,
}

impl Membership {
    /// Joins the group of an address: on the interface that the routes lead to, or, with IPv6, on the one that the address
    /// names. `None` where it is no group's.
    ///
    /// # Errors
    /// When it cannot be joined.
    pub(super) fn join(address: SocketAddr) -> io::Result<Option<Self>> {
        if !address.ip().is_multicast() {
            return Ok(None);
        }
        let first = socket(address)?;
        join(&first, address)?;
        Ok(Some(Self { group: address, first: Some(first), end: Arc::default() }))
    }

    /// Sees to it from the first call on, by a thread of its own, which is to have no more rights than this one. Says why the
    /// group cannot be joined any more, if it cannot.
    pub(super) fn look(&mut self) -> Option<&str> {
        if let Some(first) = self.first.take() {
            let (group, end) = (self.group, Arc::downgrade(&self.end));
            let spawned = thread::Builder::new().name("group".to_owned()).spawn(move || keep(group, first, &end));
            if let Err(error) = spawned {
                let words = format!("no thread can be had that keeps the group joined: {error}");
                let _ = self.end.set(words);
            }
        }
        self.end.get().map(String::as_str)
    }
}

/// Joins it every second, until nobody needs it, or it cannot be.
fn keep(group: SocketAddr, first: Socket, end: &Weak<OnceLock<String>>) {
    let mut member = first;
    loop {
        thread::sleep(EVERY);
        let Some(end) = end.upgrade() else { return };
        // Without a descriptor or memory for another one, the one there is stays.
        let Ok(next) = socket(group) else { continue };
        match join(&next, group) {
            Ok(()) => member = next,
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::ENOMEM)) => {}
            Err(error) => {
                drop(member);
                let _ = end.set(format!("no interface is there any more on which its group can be joined: {error}"));
                return;
            }
        }
    }
}

fn socket(group: SocketAddr) -> io::Result<Socket> {
    Socket::new(Domain::for_address(group), Type::DGRAM, Some(Protocol::UDP))
}

fn join(socket: &Socket, group: SocketAddr) -> io::Result<()> {
    match group {
        SocketAddr::V4(group) => socket.join_multicast_v4(group.ip(), &Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(group) => socket.join_multicast_v6(group.ip(), group.scope_id()),
    }
}
