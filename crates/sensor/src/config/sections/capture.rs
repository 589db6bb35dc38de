//! `[[capture]]`

use std::net::SocketAddr;
use std::time::Duration;

use decap::{Config as Tunnels, MAX_HOPS};

use super::decap::{check_ports, ports};
use super::prelude::*;
use crate::live::Pattern;

choices! {
    /// What the datagrams of a UDP listener carry.
    pub enum Encapsulation {
        /// VXLAN (RFC 7348).
        Vxlan = "vxlan",
        /// VXLAN with the generic protocol extension.
        VxlanGpe = "vxlan-gpe",
        /// Geneve (RFC 8926).
        Geneve = "geneve",
        /// GTP-U.
        GtpU = "gtp-u",
    }
}

section! {
    Restart;
    /// A source of frames, live: an interface, or a UDP port that a mirror sends to. A breakout tap is two of them, one for
    /// each direction.
    pub struct Capture {
        /// What it is called in logs, metrics and records. Default: the interface, or the address.
        pub name: Option<String> = text().optional("mirror"),
        /// The interface to capture on: a name, "any", or a pattern as in "eth*" or "eth{0,2}" for all that match, those that come
        /// up later included (`spare`). One that is given another name is what the new name says: no longer meant, or meant now.
        pub interface: Option<String> = interface().optional("eth1"),
        /// The address and port to receive a tunnel's datagrams on, without any privilege. The address of a multicast group is
        /// joined where the host's routes lead to it. Needs `encapsulation`; excludes `interface`.
        pub listen: Option<SocketAddr> = socket_address().optional(([0, 0, 0, 0], 4_789)).alternative(),
        /// What the datagrams carry: "vxlan", "vxlan-gpe", "geneve" or "gtp-u". With `listen` only.
        pub encapsulation: Option<Encapsulation> = choice().optional(Encapsulation::Vxlan).alternative(),
        /// Sockets on the port, each with a thread of its own, between which the kernel spreads the senders. No other program or
        /// sensor can have the port. With `listen` only. Default: 1.
        pub threads: Option<u16> = whole(1..=64).optional(2_u16).alternative(),
        /// Whether to see frames that are for other hosts, as those of a mirror are.
        pub promiscuous: bool = flag().or(true),
        /// What the kernel holds for the sensor while it is busy: the ring of an interface, or the socket's buffer, which is 1 GiB at
        /// most.
        pub ring: ByteSize = size(mib(1)..=gib(2)).or(mib(64)),
        /// Only frames that match this pcap filter expression, as they are on the wire. Default: all. With `interface` only.
        pub filter: Option<String> = text().hidden().optional("udp port 4789"),
        /// Whether a source that is missing ends the start, or a pattern of whose interfaces none can be captured from; else it is
        /// waited for. Of a required pattern as many as at the start have to be there for /readyz to say so.
        pub required: bool = flag().or(false),
        /// How many interfaces that match a pattern may come up later, beyond those there are at the start, and be captured,
        /// too. For each a ring is kept ready, since the right to make one is given up. With a pattern only.
        pub spare: u16 = whole(0..=64).or(1_u16),
        /// Whether the ports of UDP tunnels, and the IP protocols of others, are held by sockets that drop all, so that the host
        /// does not answer a mirror with "port unreachable" or "protocol unreachable". What another program has is left to it, and
        /// held once that is gone.
        pub hold_port: bool = flag().or(true),
        /// Settings of [decap] that are other ones for this source.
        pub decap: CaptureDecap = table(),
    }
    refuse {
        "snaplen" => "frames are always captured whole: take it out",
        "device" => "it is called `interface`",
    }
    check(this, reader) {
        match (reader.has("interface"), reader.has("listen")) {
            (true, true) => reader.fault("listen", "a source is an interface or a UDP listener: write a [[capture]] for each"),
            (false, false) => reader.absence("interface", "set `interface` (to capture on one) or `listen` (to receive a tunnel's datagrams)"),
            (false, true) => {
                if !reader.has("encapsulation") {
                    reader.absence("encapsulation", "`listen` needs it: \"vxlan\", \"vxlan-gpe\", \"geneve\" or \"gtp-u\"");
                }
                if reader.has("spare") {
                    reader.fault("spare", "this goes with a pattern for `interface`, not with `listen`");
                }
                reader.leave_out("spare");
                if reader.has("filter") {
                    reader.fault("filter", "a BPF filter goes with `interface`, not with `listen`");
                }
                if this.ring > LARGEST_BUFFER {
                    reader.fault("ring", "a socket's buffer is 1GiB at most; where that is too little, more `threads` have one each");
                }
                if this.listen.is_some_and(|address| address.ip().is_multicast()) && this.threads.is_some_and(|threads| threads > 1) {
                    reader.fault("threads", "what is sent to a group goes to each of its sockets, and would be counted as often: take it out");
                }
                if this.listen.is_some_and(|address| address.port() == 0) {
                    reader.fault("listen", "allowed: the port that the mirror sends to, such as 4789");
                }
            }
            (true, false) => {
                for key in ["encapsulation", "threads"] {
                    if reader.has(key) {
                        reader.fault(key, "this goes with `listen`, not with `interface`, where tunnels are told by [decap]");
                    }
                }
            }
        }
    }
}

/// What the kernel takes for a socket's buffer, of which it doubles the size.
const LARGEST_BUFFER: ByteSize = gib(1);

/// An interface, or several by a pattern.
fn interface() -> Parsed<String> {
    parsed("the name of an interface, \"any\", or a pattern as in \"eth*\"", |name| {
        let is_name = |b: u8| b.is_ascii_graphic() && b != b'/';
        if name.is_empty() || name.len() > 64 || !name.bytes().all(is_name) {
            return Err("allowed: the name of an interface, \"any\", or a pattern as in \"eth*\"; `sensor interfaces` lists them".to_owned());
        }
        if Pattern::is_one(name) {
            Pattern::new(name, None)?;
        }
        Ok(name.to_owned())
    })
}

section! {
    Restart;
    /// Settings of [decap] that are other ones for this source. What is left out is as there.
    pub struct CaptureDecap {
        /// See [decap].
        pub max_depth: Option<usize> = whole(0..=MAX_HOPS as i64).optional(Tunnels::default().max_depth),
        /// See [decap].
        pub vxlan_ports: Option<Vec<u16>> = ports().optional(Tunnels::default().vxlan_ports),
        /// See [decap].
        pub vxlan_gpe_ports: Option<Vec<u16>> = ports().optional(Tunnels::default().vxlan_gpe_ports),
        /// See [decap].
        pub geneve_ports: Option<Vec<u16>> = ports().optional(Tunnels::default().geneve_ports),
        /// See [decap].
        pub gtpu_ports: Option<Vec<u16>> = ports().optional(Tunnels::default().gtpu_ports),
        /// See [decap].
        pub teredo_ports: Option<Vec<u16>> = ports().optional(Tunnels::default().teredo_ports),
        /// See [decap].
        pub lisp_ports: Option<Vec<u16>> = ports().optional(Tunnels::default().lisp_ports),
        /// See [decap].
        pub mpls_in_udp_ports: Option<Vec<u16>> = ports().optional(Tunnels::default().mpls_in_udp_ports),
        /// See [decap].
        pub separate_virtual_networks: Option<bool> = flag().optional(true),
        /// See [decap].
        pub separate_vlans: Option<bool> = flag().optional(false),
        /// See [decap].
        pub fragment_timeout: Option<Duration> = any_time().optional(Tunnels::default().fragment_timeout),
    }
    check(this, reader) {
        // What is not given stays empty.
        let mut tunnels = Tunnels::default();
        tunnels.udp_port_lists_mut().into_iter().for_each(|(_, ports)| ports.clear());
        this.apply_to(&mut tunnels);
        check_ports(&tunnels.udp_port_lists(), reader);
    }
}

impl CaptureDecap {
    /// Sets what is given.
    pub fn apply_to(&self, tunnels: &mut Tunnels) {
        fn set<T>(place: &mut T, given: Option<T>) {
            if let Some(value) = given {
                *place = value;
            }
        }
        let given = self.clone();
        set(&mut tunnels.max_depth, given.max_depth);
        set(&mut tunnels.vxlan_ports, given.vxlan_ports);
        set(&mut tunnels.vxlan_gpe_ports, given.vxlan_gpe_ports);
        set(&mut tunnels.geneve_ports, given.geneve_ports);
        set(&mut tunnels.gtpu_ports, given.gtpu_ports);
        set(&mut tunnels.teredo_ports, given.teredo_ports);
        set(&mut tunnels.lisp_ports, given.lisp_ports);
        set(&mut tunnels.mpls_in_udp_ports, given.mpls_in_udp_ports);
        set(&mut tunnels.separate_virtual_networks, given.separate_virtual_networks);
        set(&mut tunnels.separate_vlans, given.separate_vlans);
        set(&mut tunnels.fragment_timeout, given.fragment_timeout);
    }
}
