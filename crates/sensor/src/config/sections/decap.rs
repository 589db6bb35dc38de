//! `[decap]`

use std::time::Duration;

use decap::{Config, MAX_HOPS};

use super::prelude::*;
use crate::config::section::Reader;

section! {
    Restart;
    /// Tunnels and fragments.
    pub struct Decap {
        /// Tunnels that may be nested; frames with more are counted as too deep.
        pub max_depth: usize = whole(0..=MAX_HOPS as i64).or(Config::default().max_depth),
        /// UDP ports of VXLAN; a port stands in one list only.
        pub vxlan_ports: Vec<u16> = ports().or(Config::default().vxlan_ports),
        /// UDP ports of VXLAN-GPE.
        pub vxlan_gpe_ports: Vec<u16> = ports().or(Config::default().vxlan_gpe_ports),
        /// UDP ports of Geneve.
        pub geneve_ports: Vec<u16> = ports().or(Config::default().geneve_ports),
        /// UDP ports of GTP-U.
        pub gtpu_ports: Vec<u16> = ports().or(Config::default().gtpu_ports),
        /// UDP ports of Teredo.
        pub teredo_ports: Vec<u16> = ports().or(Config::default().teredo_ports),
        /// UDP ports of LISP.
        pub lisp_ports: Vec<u16> = ports().or(Config::default().lisp_ports),
        /// UDP ports of MPLS-in-UDP.
        pub mpls_in_udp_ports: Vec<u16> = ports().or(Config::default().mpls_in_udp_ports),
        /// Whether equal addresses in two virtual networks (VNI, GRE key) are different hosts.
        pub separate_virtual_networks: bool = flag().or(Config::default().separate_virtual_networks),
        /// Whether equal addresses on two VLANs are different hosts. The two directions of a connection are often tagged
        /// differently: leave this off unless the addresses of VLANs overlap.
        pub separate_vlans: bool = flag().or(Config::default().separate_vlans),
        /// Groups of virtual network ids that are one address space, as the records' tunnels show them (vni, key), such as
        /// [[1001, 1002], [2001, 2002]]. Also for mirrors that put the direction or the session into the GRE key, so that
        /// requests and responses come under different ids.
        pub aliases: Vec<Vec<u32>> = list(list(whole(0..=u32::MAX.into()))).or([]),
        /// How long an incomplete IP datagram waits for its fragments.
        pub fragment_timeout: Duration = any_time().or(Config::default().fragment_timeout),
    }
    check(this, reader) {
        check_ports(&this.tunnels().udp_port_lists(), reader);
        check_aliases(&this.aliases, reader);
    }
}

impl Decap {
    /// The aliases as decapsulation takes them: `(id, group)`. Groups are named by their first id, so that adding a group
    /// does not rename the others.
    #[must_use]
    pub fn alias_pairs(&self) -> Vec<(u32, u32)> {
        self.aliases.iter().flat_map(|group| group.iter().map(|id| (*id, group[0]))).collect()
    }

    /// The settings as decapsulation takes them.
    #[must_use]
    pub fn tunnels(&self) -> Config {
        let given = self.clone();
        Config {
            max_depth: given.max_depth,
            vxlan_ports: given.vxlan_ports,
            vxlan_gpe_ports: given.vxlan_gpe_ports,
            geneve_ports: given.geneve_ports,
            gtpu_ports: given.gtpu_ports,
            teredo_ports: given.teredo_ports,
            lisp_ports: given.lisp_ports,
            mpls_in_udp_ports: given.mpls_in_udp_ports,
            separate_virtual_networks: given.separate_virtual_networks,
            separate_vlans: given.separate_vlans,
            aliases: self.alias_pairs(),
            fragment_timeout: given.fragment_timeout,
            ..Config::default()
        }
    }
}

/// Ports of one protocol.
pub(super) fn ports() -> List<Whole<u16>> {
    list(whole(1..=65_535))
}

/// A port that stands in two lists would belong to whichever is looked at first.
pub(super) fn check_ports(lists: &[(&'static str, &[u16])], reader: &mut Reader<'_>) {
    let mut seen: Vec<Option<&str>> = vec![None; 1 << 16];
    for (name, ports) in lists {
        for port in *ports {
            let known = &mut seen[usize::from(*port)];
            match *known {
                Some(other) => {
                    let advice = if other == *name {
                        "take it out once".to_owned()
                    } else {
                        format!("it is in {other}, too, by default or as given: take it out of one of them")
                    };
                    // What was written is at fault, rather than the default that it meets.
                    let at = if reader.has(name) { name } else { other };
                    let twice = if other == *name { " twice" } else { "" };
                    reader.fault_found(at, format!("port {port} stands in {name}{twice}"), advice);
                }
                None => *known = Some(name),
            }
        }
    }
}

fn check_aliases(groups: &[Vec<u32>], reader: &mut Reader<'_>) {
    let mut ids: Vec<u32> = groups.iter().flatten().copied().collect();
    ids.sort_unstable();
    if let Some(twice) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
        let found = format!("virtual network id {} stands in the aliases twice", twice[0]);
        reader.fault_found("aliases", found, "an id belongs to one group, once");
    }
}
