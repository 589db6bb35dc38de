//! What names a flow.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::tunnel::{TunnelHop, TunnelId};

/// Which way a segment runs within its flow's [`FlowKey`].
///
/// Says nothing about client and server: those are decided later, by the handshake or by content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// From the key's lower endpoint to its upper one.
    Forward,
    /// From the key's upper endpoint to its lower one.
    Reverse,
}

impl Direction {
    /// The other way.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Forward => Self::Reverse,
            Self::Reverse => Self::Forward,
        }
    }

    /// 0 for [`Direction::Forward`], 1 for [`Direction::Reverse`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// An IP address and a TCP port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// The address.
    pub ip: IpAddr,
    /// The TCP port.
    pub port: u16,
}

/// The address space that a flow's addresses belong to: the chain of virtual network ids around it.
///
/// Overlapping private addresses behind two VNIs are different hosts. The chain is folded into 64 bits; one level is
/// represented exactly, deeper ones are mixed. Ids come from the operator's network, not from an attacker, so the mix
/// needs to be well spread, not unpredictable, and it must be the same in every worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Domain(u64);

impl Domain {
    /// Addresses that stand in no virtual network.
    pub const GLOBAL: Self = Self(0);

    /// The domain one level further in, inside the virtual network `space` (tag of the id's kind in the upper half, the
    /// id in the lower).
    #[must_use]
    pub const fn nested(self, space: u64) -> Self {
        Self((self.0.rotate_left(23).wrapping_mul(0x9e37_79b9_7f4a_7c15)) ^ space)
    }

    /// The domain inside `hop`. Ids that differ by direction (GTP-U TEID) or name a mirror session rather than an
    /// address space (ERSPAN) do not separate flows.
    #[must_use]
    pub fn inside(self, hop: &TunnelHop) -> Self {
        match hop.id {
            TunnelId::Vni(vni) => self.nested((1 << 32) | u64::from(vni)),
            TunnelId::Key(key) => self.nested((2 << 32) | u64::from(key)),
            TunnelId::None | TunnelId::Session(_) | TunnelId::Teid(_) => self,
        }
    }

    /// The folded value, for hashing and display.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

/// The name of a TCP connection, the same for both directions.
///
/// Endpoints are kept in address order, so both directions build the same key. IPv4 addresses are kept in their
/// IPv4-mapped form with a mark, so that a real `::ffff:0:0/96` address stays distinct.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowKey {
    lower: u128,
    upper: u128,
    domain: Domain,
    lower_port: u16,
    upper_port: u16,
    is_v4: bool,
}

impl FlowKey {
    /// The key of a segment from `source` to `destination`, and which way the segment runs in it.
    #[must_use]
    pub fn new(source: Endpoint, destination: Endpoint, domain: Domain) -> (Self, Direction) {
        let (from, is_v4) = widen(source.ip);
        let (to, _) = widen(destination.ip);
        Self::of(AddressPair { source: from, destination: to, is_v4 }, source.port, destination.port, domain)
    }

    /// The same, from addresses as they are kept here.
    #[inline]
    pub(crate) fn of(
        addresses: AddressPair,
        source_port: u16,
        destination_port: u16,
        domain: Domain,
    ) -> (Self, Direction) {
        let AddressPair { source: from, destination: to, is_v4 } = addresses;
        if (from, source_port) <= (to, destination_port) {
            let key =
                Self { lower: from, upper: to, domain, lower_port: source_port, upper_port: destination_port, is_v4 };
            (key, Direction::Forward)
        } else {
            let key =
                Self { lower: to, upper: from, domain, lower_port: destination_port, upper_port: source_port, is_v4 };
            (key, Direction::Reverse)
        }
    }

    /// The endpoint that segments in `direction` come from.
    #[must_use]
    pub fn source(&self, direction: Direction) -> Endpoint {
        match direction {
            Direction::Forward => Endpoint { ip: narrow(self.lower, self.is_v4), port: self.lower_port },
            Direction::Reverse => Endpoint { ip: narrow(self.upper, self.is_v4), port: self.upper_port },
        }
    }

    /// The endpoint that segments in `direction` go to.
    #[must_use]
    pub fn destination(&self, direction: Direction) -> Endpoint {
        self.source(direction.opposite())
    }

    /// A few bits that tell the keys of most connections apart, for a place in a small cache. No hash: whoever chooses the
    /// ports chooses them.
    #[inline]
    #[must_use]
    pub const fn glance(&self) -> u16 {
        self.lower_port ^ self.upper_port.rotate_left(5) ^ (self.lower as u16) ^ (self.upper as u16)
    }

    /// The address space that the endpoints belong to.
    #[must_use]
    pub const fn domain(&self) -> Domain {
        self.domain
    }
}

/// The addresses of an IP header, IPv4 ones in their IPv4-mapped form: two registers each, where an [`IpAddr`] is
/// seventeen bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct AddressPair {
    /// Where the packet comes from.
    pub(crate) source: u128,
    /// Where it goes.
    pub(crate) destination: u128,
    /// Whether they are IPv4 addresses.
    pub(crate) is_v4: bool,
}

impl AddressPair {
    /// No addresses: 0.0.0.0 twice.
    pub(crate) const UNSPECIFIED: Self = Self::v4(0, 0);

    /// Two IPv4 addresses.
    #[inline]
    pub(crate) const fn v4(source: u32, destination: u32) -> Self {
        Self { source: MAPPED | source as u128, destination: MAPPED | destination as u128, is_v4: true }
    }

    /// Both as the rest of the world writes them.
    pub(crate) fn to_ip(self) -> (IpAddr, IpAddr) {
        (narrow(self.source, self.is_v4), narrow(self.destination, self.is_v4))
    }
}

/// The prefix of IPv4-mapped addresses (RFC 4291, section 2.5.5.2).
const MAPPED: u128 = 0xffff << 32;

fn widen(ip: IpAddr) -> (u128, bool) {
    match ip {
        IpAddr::V4(ip) => (u128::from(ip.to_ipv6_mapped()), true),
        IpAddr::V6(ip) => (u128::from(ip), false),
    }
}

#[inline]
fn narrow(bits: u128, is_v4: bool) -> IpAddr {
    // The lower half of a mapped address is the address.
    if is_v4 { IpAddr::V4(Ipv4Addr::from_bits(bits as u32)) } else { IpAddr::V6(Ipv6Addr::from_bits(bits)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(ip: &str, port: u16) -> Endpoint {
        Endpoint { ip: ip.parse().unwrap(), port }
    }

    #[test]
    fn both_directions_share_a_key() {
        for (a, b) in [("10.0.0.1", "10.0.0.2"), ("2001:db8::1", "2001:db8::2"), ("10.0.0.1", "10.0.0.1")] {
            let (client, server) = (endpoint(a, 40000), endpoint(b, 80));
            let (there, forth) = FlowKey::new(client, server, Domain::GLOBAL);
            let (back, reverse) = FlowKey::new(server, client, Domain::GLOBAL);
            assert_eq!(there, back);
            assert_eq!(forth, reverse.opposite());
            assert_eq!(there.source(forth), client);
            assert_eq!(there.destination(forth), server);
        }
    }

    #[test]
    fn mapped_addresses_stay_ipv6() {
        let (mapped, plain) = (endpoint("::ffff:10.0.0.1", 1), endpoint("10.0.0.1", 1));
        let (six, way) = FlowKey::new(mapped, mapped, Domain::GLOBAL);
        let (four, _) = FlowKey::new(plain, plain, Domain::GLOBAL);
        assert_ne!(six, four);
        assert_eq!(six.source(way), mapped);
    }

    #[test]
    fn virtual_networks_separate_equal_addresses() {
        let hop = |id| TunnelHop { id, ..TunnelHop::default() };
        let one = Domain::GLOBAL.inside(&hop(TunnelId::Vni(1)));
        assert_ne!(one, Domain::GLOBAL.inside(&hop(TunnelId::Vni(2))));
        assert_ne!(one, Domain::GLOBAL.inside(&hop(TunnelId::Key(1))));
        assert_ne!(one, one.inside(&hop(TunnelId::Vni(1))));
        assert_eq!(one, one.inside(&hop(TunnelId::Teid(7))));
    }
}
