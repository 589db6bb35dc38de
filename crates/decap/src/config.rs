//! What an operator can choose.

use core::time::Duration;

use crate::flow::Domain;
use crate::rules::AYIYA_PORT;

/// Settings of a [`crate::Decapsulator`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How many tunnels may be nested before a frame is counted as too deep. At most [`crate::MAX_HOPS`].
    pub max_depth: usize,
    /// UDP destination ports that carry VXLAN. Default 4789 (IANA) and 8472 (Linux, before the assignment).
    pub vxlan_ports: Vec<u16>,
    /// UDP destination ports that carry VXLAN-GPE. Default 4790.
    pub vxlan_gpe_ports: Vec<u16>,
    /// UDP destination ports that carry Geneve. Default 6081.
    pub geneve_ports: Vec<u16>,
    /// UDP ports that carry GTP-U. Default 2152.
    pub gtpu_ports: Vec<u16>,
    /// UDP ports that carry Teredo. Default 3544.
    pub teredo_ports: Vec<u16>,
    /// UDP ports that carry LISP data. Default 4341.
    pub lisp_ports: Vec<u16>,
    /// UDP destination ports that carry MPLS. Default 6635.
    pub mpls_in_udp_ports: Vec<u16>,
    /// Whether virtual network ids (VNI, GRE key) separate flows with equal addresses. Default true.
    pub separate_virtual_networks: bool,
    /// Whether VLAN ids separate flows with equal addresses. Default false: the two directions of a connection are
    /// often tagged differently.
    pub separate_vlans: bool,
    /// Groups of virtual network ids that are one address space: `(id, group)`, by the raw 24- or 32-bit id.
    pub aliases: Vec<(u32, u32)>,
    /// The address space of segments in no tunnel. Lets a source keep its flows apart from another's.
    pub base_domain: Domain,
    /// Bytes that IP fragments waiting for their datagram may hold, allocated capacity and bookkeeping. Default 4 MiB.
    pub fragment_memory: usize,
    /// Packet time after which an incomplete datagram is given up. Default 30 s.
    pub fragment_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_depth: 8,
            vxlan_ports: vec![4789, 8472],
            vxlan_gpe_ports: vec![4790],
            geneve_ports: vec![6081],
            gtpu_ports: vec![2152],
            teredo_ports: vec![3544],
            lisp_ports: vec![4341],
            mpls_in_udp_ports: vec![6635],
            separate_virtual_networks: true,
            separate_vlans: false,
            aliases: Vec::new(),
            base_domain: Domain::GLOBAL,
            fragment_memory: 4 << 20,
            fragment_timeout: Duration::from_secs(30),
        }
    }
}

impl Config {
    /// The lists of UDP ports, each with its field's name, in the order of the fields.
    #[must_use]
    pub fn udp_port_lists(&self) -> [(&'static str, &[u16]); 7] {
        [
            ("vxlan_ports", &self.vxlan_ports),
            ("vxlan_gpe_ports", &self.vxlan_gpe_ports),
            ("geneve_ports", &self.geneve_ports),
            ("gtpu_ports", &self.gtpu_ports),
            ("teredo_ports", &self.teredo_ports),
            ("lisp_ports", &self.lisp_ports),
            ("mpls_in_udp_ports", &self.mpls_in_udp_ports),
        ]
    }

    /// The same, to be changed.
    pub const fn udp_port_lists_mut(&mut self) -> [(&'static str, &mut Vec<u16>); 7] {
        [
            ("vxlan_ports", &mut self.vxlan_ports),
            ("vxlan_gpe_ports", &mut self.vxlan_gpe_ports),
            ("geneve_ports", &mut self.geneve_ports),
            ("gtpu_ports", &mut self.gtpu_ports),
            ("teredo_ports", &mut self.teredo_ports),
            ("lisp_ports", &mut self.lisp_ports),
            ("mpls_in_udp_ports", &mut self.mpls_in_udp_ports),
        ]
    }

    /// Every UDP port that a tunnel may come to, that of AYIYA, which is fixed, included.
    #[must_use]
    pub fn udp_ports(&self) -> Vec<u16> {
        let lists = self.udp_port_lists();
        lists.into_iter().flat_map(|(_, ports)| ports).copied().chain([AYIYA_PORT]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_list_is_there_to_be_read_and_changed() {
        let mut config = Config::default();
        assert_eq!(config.udp_ports(), [4789, 8472, 4790, 6081, 2152, 3544, 4341, 6635, 5072]);
        let names = config.udp_port_lists().map(|(name, _)| name);
        for (number, (name, list)) in (1..).zip(config.udp_port_lists_mut()) {
            assert_eq!(name, names[usize::from(number) - 1]);
            *list = vec![number];
        }
        assert_eq!(config.udp_ports(), [1, 2, 3, 4, 5, 6, 7, 5072]);
        assert_eq!((config.vxlan_ports, config.mpls_in_udp_ports), (vec![1], vec![7]));
    }
}
