//! A set of networks that is asked whether an address is in it.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// A set of networks. A look-up is a binary search over ranges that neither overlap nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl Networks {
    /// The set of all addresses in any of `networks`. An IPv4-mapped IPv6 network is its IPv4 network.
    #[must_use]
    pub fn new(networks: &[IpNet]) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in networks {
            match bounds(*network) {
                Bounds::V4(first, last) => v4.push((first, last)),
                Bounds::V6(first, last) => v6.push((first, last)),
            }
        }
        Self {
            v4: merged(v4, |last, first| last.checked_add(1).is_none_or(|next| first <= next)),
            v6: merged(v6, |last, first| last.checked_add(1).is_none_or(|next| first <= next)),
        }
    }

    /// Whether the address is in the set. An IPv4-mapped IPv6 address is its IPv4 address.
    #[must_use]
    #[inline]
    pub fn contains(&self, ip: IpAddr) -> bool {
        match ip.to_canonical() {
            IpAddr::V4(ip) => holds(&self.v4, ip.to_bits()),
            IpAddr::V6(ip) => holds(&self.v6, ip.to_bits()),
        }
    }

    /// Whether no address at all is in the set.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

/// The first and the last address of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bounds {
    V4(u32, u32),
    V6(u128, u128),
}

/// The bounds of a network; those of an IPv4-mapped IPv6 network are IPv4's, as are its addresses when they are looked up.
pub(crate) fn bounds(network: IpNet) -> Bounds {
    match network {
        IpNet::V4(network) => Bounds::V4(network.network().to_bits(), network.broadcast().to_bits()),
        IpNet::V6(network) => {
            let (first, last) = (network.network(), network.broadcast());
            match (first.to_ipv4_mapped(), last.to_ipv4_mapped()) {
                (Some(first), Some(last)) => Bounds::V4(first.to_bits(), last.to_bits()),
                _ => Bounds::V6(first.to_bits(), last.to_bits()),
            }
        }
    }
}

/// How a network is written, in words.
pub const NETWORK_FORM: &str = "a network or address, as in \"10.0.0.0/8\", \"2001:db8::/32\" or \"192.0.2.7\"";

/// A network as operators write it: [`NETWORK_FORM`]. An address is a network of one.
///
/// # Errors
/// What is allowed. Bits behind the prefix are refused, since one of the two is a slip.
pub fn parse_network(text: &str) -> Result<IpNet, String> {
    let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    let address: IpAddr = address.parse().map_err(|_| format!("allowed: {NETWORK_FORM}"))?;
    let alone = IpNet::from(address);
    let Some(prefix) = prefix else { return Ok(alone) };
    // Digits only: a sign would be a second way to write the same.
    let is_number = !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_digit());
    let network = prefix.parse().ok().filter(|_| is_number).and_then(|prefix| IpNet::new(address, prefix).ok());
    match network {
        Some(network) if network.trunc() == network => Ok(network),
        Some(network) => Err(format!("the address has bits beyond the prefix; did you mean \"{}\"?", network.trunc())),
        None => Err(format!("allowed behind the slash: a prefix length, 0 to {}", alone.max_prefix_len())),
    }
}

fn holds<T: Copy + Ord>(ranges: &[(T, T)], value: T) -> bool {
    let behind = ranges.partition_point(|(first, _)| *first <= value);
    behind.checked_sub(1).and_then(|place| ranges.get(place)).is_some_and(|(_, last)| value <= *last)
}

fn merged<T: Copy + Ord>(mut ranges: Vec<(T, T)>, touches: impl Fn(T, T) -> bool) -> Vec<(T, T)> {
    ranges.sort_unstable();
    let mut merged: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some((_, end)) if touches(*end, first) => *end = last.max(*end),
            _ => merged.push((first, last)),
        }
    }
    merged
}

const _: () = assert!(size_of::<Ipv4Addr>() == 4 && size_of::<Ipv6Addr>() == 16);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn networks(texts: &[&str]) -> Networks {
        Networks::new(&texts.iter().map(|text| parse_network(text).unwrap()).collect::<Vec<_>>())
    }

    #[test]
    fn edges_belong_to_a_network() {
        let set =
            networks(&["10.1.0.0/16", "10.2.0.0/16", "192.0.2.7", "2001:db8::/32", "0.0.0.0/32", "255.255.255.255"]);
        for inside in
            ["10.1.0.0", "10.2.255.255", "192.0.2.7", "2001:db8::", "2001:db8:ffff::1", "::ffff:10.1.2.3", "0.0.0.0"]
        {
            assert!(set.contains(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["10.0.255.255", "10.3.0.0", "192.0.2.8", "2001:db9::", "2001:db7:ffff::", "::", "::a01:203"] {
            assert!(!set.contains(outside.parse().unwrap()), "{outside}");
        }
        assert_eq!(set.v4.len(), 4, "networks that touch are one range");
        assert!(networks(&["0.0.0.0/0"]).contains("255.255.255.255".parse().unwrap()));
        assert!(networks(&["::ffff:10.0.0.0/104"]).contains("10.9.9.9".parse().unwrap()));
        assert!(networks(&[]).is_empty() && !networks(&[]).contains("::".parse().unwrap()));
    }

    #[test]
    fn networks_are_written_as_they_are_read() {
        for text in ["0.0.0.0/0", "10.0.0.0/8", "192.0.2.7/32", "::/0", "2001:db8::/32", "::1/128"] {
            assert_eq!(parse_network(text).unwrap().to_string(), text);
        }
        assert_eq!(parse_network("192.0.2.7").unwrap().to_string(), "192.0.2.7/32");
        for (text, advice) in [
            ("10.1.2.3/8", "\"10.0.0.0/8\""),
            ("2001:db8::1/32", "\"2001:db8::/32\""),
            ("10.0.0.0/33", "0 to 32"),
            ("::/129", "0 to 128"),
            ("10.0.0.0/+8", "0 to 32"),
            ("10.0.0.0/-1", "0 to 32"),
            ("10.0.0.0/", "0 to 32"),
            ("10.0.0.0/8/8", "0 to 32"),
            ("10.0.0", "10.0.0.0/8"),
            ("host", "10.0.0.0/8"),
            ("", "10.0.0.0/8"),
        ] {
            let fault = parse_network(text).unwrap_err();
            assert!(fault.contains(advice), "{fault}");
        }
    }

    proptest! {
        #[test]
        fn the_set_is_the_union(
            parts in prop::collection::vec((any::<u32>(), 0_u8..=32), 0..12),
            probes in prop::collection::vec(any::<u32>(), 0..12),
        ) {
            let parts: Vec<IpNet> =
                parts.iter().map(|(ip, len)| IpNet::new(Ipv4Addr::from_bits(*ip).into(), *len).unwrap().trunc()).collect();
            let set = Networks::new(&parts);
            let edges = parts.iter().flat_map(|part| [part.network(), part.broadcast()]);
            for ip in probes.into_iter().map(|bits| Ipv4Addr::from_bits(bits).into()).chain(edges) {
                prop_assert_eq!(set.contains(ip), parts.iter().any(|part| part.contains(&ip)));
            }
        }
    }
}
