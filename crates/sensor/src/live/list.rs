//! What can be captured from.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use pcap::Device;

use super::offload::Offloads;

/// An interface as `sensor interfaces` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Whether it is up.
    pub is_up: bool,
    /// What its frames begin with, by the kernel's hardware type.
    pub link: &'static str,
    /// The largest packet it carries, in bytes.
    pub mtu: Option<u32>,
    /// What it merges on the way in, where its driver says.
    pub offloads: Option<Offloads>,
    /// Packets it received since it came up.
    pub received: u64,
    /// Packets it dropped or missed since it came up.
    pub dropped: u64,
}

/// The interfaces there are, by name; `any` last.
///
/// # Errors
/// When libpcap cannot say.
pub fn interfaces() -> Result<Vec<Listed>, pcap::Error> {
    let mut found: Vec<Listed> = Device::list()?
        .into_iter()
        // libpcap lists more than interfaces: USB and netfilter pseudo-devices.
        .filter(|device| device.name == "any" || sysfs(&device.name).exists())
        .map(|device| Listed::read(device.name, &sysfs("")))
        .collect();
    found.sort_by(|one, other| (one.name == "any", &one.name).cmp(&(other.name == "any", &other.name)));
    Ok(found)
}

fn sysfs(name: &str) -> PathBuf {
    Path::new("/sys/class/net").join(name)
}

impl Listed {
    fn read(name: String, root: &Path) -> Self {
        if name == "any" {
            return Self {
                name,
                is_up: true,
                link: "Linux cooked",
                mtu: None,
                offloads: None,
                received: 0,
                dropped: 0,
            };
        }
        let folder = root.join(&name);
        let text = |file: &str| fs::read_to_string(folder.join(file)).unwrap_or_default().trim().to_owned();
        let number = |file: &str| text(file).parse::<u64>().unwrap_or(0);
        let flags = u32::from_str_radix(text("flags").trim_start_matches("0x"), 16).unwrap_or(0);
        Self {
            is_up: flags & 1 != 0,
            link: link_name(number("type")),
            mtu: text("mtu").parse().ok(),
            offloads: Offloads::of(&name).ok(),
            received: number("statistics/rx_packets"),
            dropped: number("statistics/rx_dropped") + number("statistics/rx_missed_errors"),
            name,
        }
    }
}

/// The kernel's hardware type (linux/if_arp.h) in words.
const fn link_name(kind: u64) -> &'static str {
    match kind {
        1 | 772 => "Ethernet",
        512 => "PPP",
        768 | 776 | 769 | 778 | 823 | 65534 => "raw IP",
        801..=803 => "802.11",
        824 => "netlink",
        _ => "other",
    }
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.is_up { "up" } else { "down" };
        let mtu = self.mtu.map_or_else(|| "-".to_owned(), |mtu| mtu.to_string());
        let offloads = match self.offloads {
            None => "-",
            Some(Offloads { gro: false, lro: false }) => "none",
            Some(Offloads { gro: true, lro: false }) => "GRO",
            Some(Offloads { gro: false, lro: true }) => "LRO",
            Some(Offloads { gro: true, lro: true }) => "GRO, LRO",
        };
        write!(
            f,
            "{:<15} {:<5} {:<13} {:>6} {:<9} {:>14} {:>10}",
            self.name, state, self.link, mtu, offloads, self.received, self.dropped
        )
    }
}

/// The heading above [`Listed`] lines.
#[must_use]
pub fn heading() -> String {
    format!(
        "{:<15} {:<5} {:<13} {:>6} {:<9} {:>14} {:>10}",
        "NAME", "STATE", "LINK", "MTU", "OFFLOADS", "RECEIVED", "DROPPED"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_listed_and_any_comes_last() {
        let found = interfaces().unwrap();
        let lo = found.iter().find(|listed| listed.name == "lo").unwrap();
        assert_eq!((lo.is_up, lo.link), (true, "Ethernet"));
        assert!(lo.mtu.unwrap() >= 1_500 && lo.offloads.is_some());
        assert_eq!(found.last().map(|listed| listed.name.as_str()), Some("any"));
        assert!(lo.to_string().starts_with("lo "));
        assert_eq!(heading().split_whitespace().count(), 7);
    }

    #[test]
    fn the_kernels_own_numbers_are_shown() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("nosuch0");
        fs::create_dir_all(folder.join("statistics")).unwrap();
        for (file, text) in [
            ("flags", "0x1002\n"),
            ("type", "65534\n"),
            ("mtu", "9001\n"),
            ("statistics/rx_packets", "12\n"),
            ("statistics/rx_dropped", "3\n"),
            ("statistics/rx_missed_errors", "4\n"),
        ] {
            fs::write(folder.join(file), text).unwrap();
        }
        let listed = Listed::read("nosuch0".to_owned(), root.path());
        assert_eq!((listed.is_up, listed.link, listed.mtu), (false, "raw IP", Some(9_001)));
        assert_eq!((listed.received, listed.dropped, listed.offloads), (12, 7, None));
    }
}
