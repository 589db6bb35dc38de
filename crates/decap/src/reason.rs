//! Why a frame gave no segment.

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Why a frame gave no TCP segment. A closed list: each is a label in the ledger.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum SkipReason {
            $($(#[$doc])* $variant,)*
        }

        impl SkipReason {
            /// Every reason, in declaration order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stable `snake_case` name used in the ledger and in metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

reasons! {
    /// A link-layer protocol other than IP: ARP, spanning tree, LLDP, …
    NotIp = "not_ip",
    /// UDP that is no tunnel.
    Udp = "udp",
    /// ICMP or ICMPv6.
    Icmp = "icmp",
    /// SCTP.
    Sctp = "sctp",
    /// IPsec ESP: encrypted (RFC 4303).
    Esp = "esp",
    /// Another IP protocol.
    OtherIpProtocol = "other_ip_protocol",
    /// A tunnel's control message: GTP-U echo, VXLAN OAM, LISP control, …
    TunnelControl = "tunnel_control",
    /// A tunnel whose payload is encrypted, compressed or of an unknown type.
    UnknownTunnelPayload = "unknown_tunnel_payload",
    /// More tunnels than [`crate::Config::max_depth`].
    TooDeep = "too_deep",
    /// A link-layer header is cut or contradicts itself.
    MalformedLink = "malformed_link",
    /// An IP header is cut or contradicts itself.
    MalformedIp = "malformed_ip",
    /// A tunnel header is cut or contradicts itself.
    MalformedTunnel = "malformed_tunnel",
    /// A TCP header is cut or contradicts itself.
    MalformedTcp = "malformed_tcp",
    /// The capture cut the frame before the end of its headers.
    HeadersNotCaptured = "headers_not_captured",
    /// An IP fragment whose content contradicts fragments already held, or that cannot belong to a datagram.
    MalformedFragment = "malformed_fragment",
    /// Fragments given up because their datagram was not complete in time.
    FragmentTimeout = "fragment_timeout",
    /// Fragments given up because the memory for fragments was full.
    FragmentMemory = "fragment_memory",
    /// A further copy of a fragment that is held, or whose datagram has just been joined: the mirror copies twice.
    DuplicateFragment = "duplicate_fragment",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_snake_case() {
        let mut names: Vec<_> = SkipReason::ALL.iter().map(|reason| reason.name()).collect();
        assert!(
            names.iter().all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'))
        );
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SkipReason::ALL.len());
    }
}
