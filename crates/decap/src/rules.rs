//! The configuration, compiled for use on every frame.

use crate::config::Config;
use crate::flow::Domain;
use crate::tunnel::{MAX_HOPS, TunnelHop, TunnelId};

/// What a UDP port stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UdpTunnel {
    /// VXLAN.
    Vxlan,
    /// VXLAN-GPE.
    VxlanGpe,
    /// Geneve.
    Geneve,
    /// GTP-U.
    GtpU,
    /// Teredo.
    Teredo,
    /// LISP.
    Lisp,
    /// MPLS.
    Mpls,
    /// AYIYA.
    Ayiya,
}

/// AYIYA's only port.
pub(crate) const AYIYA_PORT: u16 = 5072;

/// The tags that keep kinds of network id apart in a [`Domain`], beside those of [`Domain::inside`].
const ALIAS_SPACE: u64 = 3 << 32;
const VLAN_SPACE: u64 = 4 << 32;

/// The configuration, compiled.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// How many tunnels may be nested.
    pub(crate) max_depth: usize,
    /// The address space around everything.
    pub(crate) base_domain: Domain,
    separate_virtual_networks: bool,
    separate_vlans: bool,
    /// Sorted by port. Half a dozen entries: a scan beats a search.
    ports: Vec<Port>,
    /// Sorted by id.
    aliases: Vec<(u32, u32)>,
}

#[derive(Clone, Copy, Debug)]
struct Port {
    number: u16,
    tunnel: UdpTunnel,
    /// Whether the port counts as a source port, too.
    either: bool,
}

impl Rules {
    /// Compiles a configuration. A port listed for two tunnels goes to the first in the order of [`Config`]'s fields,
    /// an id listed in two alias groups to the first listed.
    pub(crate) fn new(config: &Config) -> Self {
        let ayiya = [AYIYA_PORT];
        let lists = [
            (&config.vxlan_ports[..], UdpTunnel::Vxlan, false),
            (&config.vxlan_gpe_ports, UdpTunnel::VxlanGpe, false),
            (&config.geneve_ports, UdpTunnel::Geneve, false),
            (&config.gtpu_ports, UdpTunnel::GtpU, true),
            (&config.teredo_ports, UdpTunnel::Teredo, true),
            (&config.lisp_ports, UdpTunnel::Lisp, true),
            (&config.mpls_in_udp_ports, UdpTunnel::Mpls, false),
            (&ayiya, UdpTunnel::Ayiya, true),
        ];
        let mut ports: Vec<Port> = lists
            .into_iter()
            .flat_map(|(numbers, tunnel, either)| {
                numbers.iter().map(move |number| Port { number: *number, tunnel, either })
            })
            .collect();
        // Stable, so that the first of two claims on a port stays first.
        ports.sort_by_key(|port| port.number);
        ports.dedup_by_key(|port| port.number);
        let mut aliases = config.aliases.clone();
        aliases.sort_by_key(|(id, _)| *id);
        aliases.dedup_by_key(|(id, _)| *id);
        Self {
            max_depth: config.max_depth.min(MAX_HOPS),
            base_domain: config.base_domain,
            separate_virtual_networks: config.separate_virtual_networks,
            separate_vlans: config.separate_vlans,
            ports,
            aliases,
        }
    }

    /// The tunnel that a UDP datagram may carry: by its destination port, else by its source port.
    pub(crate) fn udp_tunnel(&self, source: u16, destination: u16) -> Option<UdpTunnel> {
        let mut by_source = None;
        for port in &self.ports {
            if port.number == destination {
                return Some(port.tunnel);
            }
            if port.number == source && port.either {
                by_source = Some(port.tunnel);
            }
        }
        by_source
    }

    /// The address space inside `hop`, which stands in `domain`.
    pub(crate) fn inside(&self, domain: Domain, hop: &TunnelHop) -> Domain {
        if !self.separate_virtual_networks {
            return domain;
        }
        match hop.id {
            TunnelId::Vni(id) | TunnelId::Key(id) if !self.aliases.is_empty() => match self.alias(id) {
                Some(group) => domain.nested(ALIAS_SPACE | u64::from(group)),
                None => domain.inside(hop),
            },
            _ => domain.inside(hop),
        }
    }

    /// The address space behind a VLAN tag.
    pub(crate) fn behind_vlan(&self, domain: Domain, id: u16) -> Domain {
        if self.separate_vlans { domain.nested(VLAN_SPACE | u64::from(id)) } else { domain }
    }

    fn alias(&self, id: u32) -> Option<u32> {
        let at = self.aliases.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.aliases.get(at).map(|(_, group)| *group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(id: TunnelId) -> TunnelHop {
        TunnelHop { id, ..TunnelHop::default() }
    }

    #[test]
    fn destination_ports_go_before_source_ports() {
        let rules = Rules::new(&Config::default());
        assert_eq!(rules.udp_tunnel(2152, 4789), Some(UdpTunnel::Vxlan));
        assert_eq!(rules.udp_tunnel(2152, 1), Some(UdpTunnel::GtpU));
        assert_eq!(rules.udp_tunnel(4789, 1), None);
        assert_eq!(rules.udp_tunnel(1, 5072), Some(UdpTunnel::Ayiya));
    }

    #[test]
    fn the_first_claim_on_a_port_counts() {
        let config = Config { geneve_ports: vec![4789, 7000], gtpu_ports: vec![], ..Config::default() };
        let rules = Rules::new(&config);
        assert_eq!(rules.udp_tunnel(1, 4789), Some(UdpTunnel::Vxlan));
        assert_eq!(rules.udp_tunnel(1, 7000), Some(UdpTunnel::Geneve));
        assert_eq!(rules.udp_tunnel(1, 6081), None);
        assert_eq!(rules.udp_tunnel(2152, 2152), None);
    }

    #[test]
    fn aliases_join_address_spaces() {
        let rules = Rules::new(&Config { aliases: vec![(5, 1), (6, 1), (7, 2)], ..Config::default() });
        let inside = |id| rules.inside(Domain::GLOBAL, &hop(id));
        assert_eq!(inside(TunnelId::Vni(5)), inside(TunnelId::Vni(6)));
        assert_eq!(inside(TunnelId::Vni(5)), inside(TunnelId::Key(6)));
        assert_ne!(inside(TunnelId::Vni(5)), inside(TunnelId::Vni(7)));
        assert_ne!(inside(TunnelId::Vni(1)), inside(TunnelId::Vni(5)), "an id is not its namesake group");
        assert_ne!(inside(TunnelId::Vni(8)), Domain::GLOBAL);
    }

    #[test]
    fn separation_can_be_switched() {
        let rules = Rules::new(&Config { separate_virtual_networks: false, ..Config::default() });
        assert_eq!(rules.inside(Domain::GLOBAL, &hop(TunnelId::Vni(5))), Domain::GLOBAL);
        assert_eq!(rules.behind_vlan(Domain::GLOBAL, 5), Domain::GLOBAL);
        let rules = Rules::new(&Config { separate_vlans: true, ..Config::default() });
        assert_ne!(rules.behind_vlan(Domain::GLOBAL, 5), rules.behind_vlan(Domain::GLOBAL, 6));
    }
}
