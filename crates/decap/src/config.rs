//! What an operator can choose.

use core::time::Duration;

use crate::flow::Domain;

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
