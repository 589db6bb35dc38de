//! What the service manager is told, without ever waiting for it.
//!
//! Its socket takes some hundred messages, and whoever is to read them may stand still. Whoever waited for that would neither
//! stop nor watch over anything. A change of state that finds no room is kept and told later; a sign of life that finds none
//! is not missed by somebody who reads nothing.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use sd_notify::NotifyState;

/// Changes of state that may wait; of more the oldest go.
const KEPT: usize = 16;

/// The way to the service manager, if there is one.
#[derive(Debug, Default)]
pub(super) struct Notifier {
    way: Option<(UnixDatagram, SocketAddr)>,
    waiting: VecDeque<String>,
}

impl Notifier {
    /// To who started the process, as the environment names it.
    pub(super) fn from_environment() -> Self {
        Self::to(std::env::var_os("NOTIFY_SOCKET"))
    }

    /// To the socket of this name: a path, or one that begins with "@" for a name without a file.
    fn to(name: Option<OsString>) -> Self {
        let Some(name) = name else { return Self::default() };
        match open(&name) {
            Ok(way) => Self { way: Some(way), waiting: VecDeque::new() },
            Err(error) => {
                tracing::warn!("cannot tell the service manager at {}: {error}", name.display());
                Self::default()
            }
        }
    }

    /// Tells of a change.
    pub(super) fn tell(&mut self, states: &[NotifyState<'_>]) {
        if self.way.is_none() {
            return;
        }
        if self.waiting.len() >= KEPT {
            self.waiting.pop_front();
        }
        self.waiting.push_back(message(states));
        self.catch_up();
    }

    /// Tells what could not be told before, as far as there is room, and says whether all is.
    pub(super) fn catch_up(&mut self) -> bool {
        while let Some(message) = self.waiting.front() {
            if !self.send(message) {
                return false;
            }
            self.waiting.pop_front();
        }
        true
    }

    /// Gives a sign of life.
    pub(super) fn beat(&mut self) {
        if self.catch_up() {
            self.send(&message(&[NotifyState::Watchdog]));
        }
    }

    /// Whether it is done with: sent, or not to be sent by any means.
    fn send(&self, message: &str) -> bool {
        let Some((socket, address)) = &self.way else { return true };
        match socket.send_to_addr(message.as_bytes(), address) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(error) => tracing::debug!("cannot tell the service manager: {error}"),
            Ok(_) => {}
        }
        true
    }
}

fn open(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

fn message(states: &[NotifyState<'_>]) -> String {
    states.iter().map(|state| format!("{state}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(manager: &UnixDatagram) -> Vec<String> {
        let mut said = Vec::new();
        let mut buffer = [0; 256];
        while let Ok(length) = manager.recv(&mut buffer) {
            said.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
        }
        said
    }

    /// The main thread once stood still for as long as the manager did.
    #[test]
    fn a_manager_that_reads_nothing_is_not_waited_for_and_told_later() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let without_file = format!("@sensor-test-{}", std::process::id());
        for name in [path.as_os_str(), OsStr::new(&without_file)] {
            let address = open(name).unwrap().1;
            let manager = UnixDatagram::bind_addr(&address).unwrap();
            manager.set_nonblocking(true).unwrap();
            let mut notifier = Notifier::to(Some(name.to_owned()));
            notifier.tell(&[NotifyState::Ready]);
            for _ in 0..2_000 {
                notifier.beat();
            }
            notifier.tell(&[NotifyState::Reloading, NotifyState::MonotonicUsec(7)]);
            notifier.tell(&[NotifyState::Stopping]);
            let said = read(&manager);
            assert_eq!(said[0], "READY=1\n");
            assert!(said.len() > 1 && said[1..].iter().all(|said| said == "WATCHDOG=1\n"), "{said:?}");
            assert!(notifier.catch_up());
            assert_eq!(read(&manager), ["RELOADING=1\nMONOTONIC_USEC=7\n", "STOPPING=1\n"]);
        }
    }

    #[test]
    fn without_a_manager_nothing_is_kept() {
        for name in [None, Some("/nowhere/at/all".into()), Some("".into())] {
            let mut notifier = Notifier::to(name);
            for _ in 0..100 {
                notifier.tell(&[NotifyState::Ready]);
                notifier.beat();
            }
            assert!(notifier.waiting.is_empty());
        }
    }
}
