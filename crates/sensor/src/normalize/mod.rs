//! What a transaction is called, whichever way it came: client address, scheme, host, path and endpoint template.
//!
//! Pure functions of a connection's addresses and a request's head: no IO, no clock, and nothing is rewritten, since the
//! record keeps what was sent beside what is made of it. Two rules hold throughout. What a header says of the client is
//! believed only as far as trusted proxies vouch for it. And every form is a fixed point: to normalize what is normalized
//! changes nothing.

mod client;
mod forwarded;
mod hop;
mod host;
mod networks;
mod path;
mod proxy;
mod template;

use core::net::IpAddr;
use std::collections::BTreeMap;

use ipnet::IpNet;

pub use client::{ClientAddress, ClientSource, Origin, Scheme, WonBy};
pub use host::{Authority, HostSource, host, hosts};
pub(crate) use networks::{Bounds, bounds};
pub use networks::{NETWORK_FORM, Networks, parse_network};
pub(crate) use path::escaped_byte;
pub use path::normalize_path;
pub use proxy::{Preface, ProxyHeader, ProxyVersion, Tlvs, V1_LONGEST, read_preface};
pub use template::{MAX_TEMPLATE, PLACEHOLDERS, endpoint_template};

/// What an operator can choose about normalization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The proxies whose word on their clients is believed. Empty: nobody's, and the client is the connection's peer.
    pub trusted_proxies: Vec<IpNet>,
    /// The headers that may name the client, the most believed first; one that is not in the list is never believed.
    pub client_sources: Vec<ClientSource>,
    /// Whether a PROXY protocol header at the start of a connection is read and taken out.
    pub proxy_protocol: bool,
    /// Whether what it says of the client is believed of a trusted proxy.
    pub believes_proxy_protocol: bool,
    /// Whether records carry the endpoint template of their path.
    pub template: bool,
    /// What virtual networks are called, by VNI.
    pub vni_names: BTreeMap<u32, String>,
    /// What VLANs are called, by id.
    pub vlan_names: BTreeMap<u16, String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            trusted_proxies: Vec::new(),
            client_sources: ClientSource::ALL.to_vec(),
            proxy_protocol: true,
            believes_proxy_protocol: true,
            template: true,
            vni_names: BTreeMap::new(),
            vlan_names: BTreeMap::new(),
        }
    }
}

/// The settings, made ready for use. It is never changed, so workers share one.
#[derive(Clone, Debug)]
pub struct Normalizer {
    trusted: Networks,
    /// The place of each source in the operator's order, by [`ClientSource::index`]; `None`: never believed.
    ranks: [Option<u8>; ClientSource::ALL.len()],
    proxy_protocol: bool,
    believes_proxy_protocol: bool,
    template: bool,
    vni_names: BTreeMap<u32, String>,
    vlan_names: BTreeMap<u16, String>,
}

impl Normalizer {
    /// A normalizer that does what `settings` say. A source that is listed twice counts at its first place.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let Settings {
            trusted_proxies,
            client_sources,
            proxy_protocol,
            believes_proxy_protocol,
            template,
            vni_names,
            vlan_names,
        } = settings;
        let mut ranks = [None; ClientSource::ALL.len()];
        for (rank, source) in (0_u8..).zip(client_sources) {
            if let Some(place) = ranks.get_mut(source.index()) {
                place.get_or_insert(rank);
            }
        }
        Self {
            trusted: Networks::new(&trusted_proxies),
            ranks,
            proxy_protocol,
            believes_proxy_protocol,
            template,
            vni_names,
            vlan_names,
        }
    }

    /// Whether the word of the proxy at this address is believed.
    #[must_use]
    pub fn trusts(&self, ip: IpAddr) -> bool {
        self.trusted.contains(ip)
    }

    /// Whether the client of this peer's connections can be anyone but the peer: what its requests say may be believed.
    /// False means that the client's address is known before the first request.
    #[must_use]
    pub fn may_forward(&self, peer: IpAddr) -> bool {
        self.trusts(peer)
    }

    /// Whether a PROXY protocol header at the start of a connection is read and taken out.
    #[must_use]
    pub fn reads_proxy_protocol(&self) -> bool {
        self.proxy_protocol
    }

    /// Whether records carry endpoint templates.
    #[must_use]
    #[inline]
    pub fn has_template(&self) -> bool {
        self.template
    }

    /// The endpoint template of a normalized path, where the settings ask for it. See [`endpoint_template`].
    #[must_use]
    #[inline]
    pub fn template<'a>(&self, path: &'a [u8], scratch: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        self.template.then(|| endpoint_template(path, scratch))
    }

    /// Whether networks have names.
    #[must_use]
    #[inline]
    pub fn has_names(&self) -> bool {
        !(self.vni_names.is_empty() && self.vlan_names.is_empty())
    }

    /// What the operator calls a virtual network.
    #[must_use]
    pub fn vni_name(&self, vni: u32) -> Option<&str> {
        self.vni_names.get(&vni).map(String::as_str)
    }

    /// What the operator calls a VLAN.
    #[must_use]
    pub fn vlan_name(&self, vlan: u16) -> Option<&str> {
        self.vlan_names.get(&vlan).map(String::as_str)
    }
}

impl Default for Normalizer {
    fn default() -> Self {
        Self::new(Settings::default())
    }
}
