//! `[normalize]`

use std::collections::BTreeMap;

use super::prelude::*;
use crate::config::value::{Network, network};

choices! {
    /// Where a client's address can be read, besides the connection.
    pub enum AddressSource {
        /// `X-Forwarded-For`, from the right past trusted proxies.
        XForwardedFor = "x-forwarded-for",
        /// `Forwarded` (RFC 7239), the same way.
        Forwarded = "forwarded",
        /// `True-Client-IP`.
        TrueClientIp = "true-client-ip",
        /// `CF-Connecting-IP`.
        CfConnectingIp = "cf-connecting-ip",
        /// `X-Real-IP`.
        XRealIp = "x-real-ip",
        /// `X-Azure-ClientIP`.
        XAzureClientIp = "x-azure-clientip",
        /// The PROXY protocol's header.
        ProxyProtocol = "proxy-protocol",
    }
}

section! {
    Restart;
    /// What records say of clients, hosts, paths and networks.
    pub struct Normalize {
        /// Networks of the proxies whose headers are believed, such as ["10.0.0.0/8"]. Without any, the client is the peer
        /// of the connection, and headers are kept as headers only.
        pub trusted_proxies: Vec<Network> = list(network()).or([]),
        /// Where the client's address is looked for when the peer is trusted, the first that is there winning:
        /// "x-forwarded-for", "forwarded", "true-client-ip", "cf-connecting-ip", "x-real-ip", "x-azure-clientip",
        /// "proxy-protocol". The last speaks for the connection, before any request: wherever it stands in the list, headers
        /// are asked beyond it only where the client that it names is trusted, too.
        pub client_address: Vec<AddressSource> = list(choice()).or([
            AddressSource::XForwardedFor,
            AddressSource::Forwarded,
            AddressSource::TrueClientIp,
            AddressSource::CfConnectingIp,
            AddressSource::XRealIp,
            AddressSource::XAzureClientIp,
            AddressSource::ProxyProtocol,
        ]),
        /// Whether a PROXY protocol header (v1, v2) at the start of a connection is read and taken out.
        pub proxy_protocol: bool = flag().or(true),
        /// Whether records carry the endpoint's template, as in /v1/orders/{id}.
        pub template: bool = flag().or(true),
        /// What networks are called.
        pub names: Names = table(),
    }
    check(this, reader) {
        let mut seen = Vec::new();
        for source in &this.client_address {
            if seen.contains(&source) {
                reader.fault_found("client_address", format!("\"{}\" stands in the list twice", source.as_str()), "take it out once");
                break;
            }
            seen.push(source);
        }
    }
}

section! {
    Restart;
    /// What networks are called in records.
    pub struct Names {
        /// Names of virtual networks, by their id (vni, GRE key): { 4711 = "prod-eu-1" }.
        pub vni: BTreeMap<u32, String> = map("a virtual network id", virtual_network, text()).or([]),
        /// Names of VLANs, by their number: { 100 = "dmz" }.
        pub vlan: BTreeMap<u16, String> = map("a VLAN", vlan, text()).or([]),
    }
}

fn virtual_network(key: &str) -> Result<u32, String> {
    number(key).ok_or_else(|| "allowed as key: a virtual network id, 0 to 4294967295".to_owned())
}

fn vlan(key: &str) -> Result<u16, String> {
    let vlan = number(key).and_then(|number| u16::try_from(number).ok()).filter(|vlan| *vlan <= 4_095);
    vlan.ok_or_else(|| "allowed as key: a VLAN, 0 to 4095".to_owned())
}

/// Digits only: a sign would be a second way to write the same.
fn number(key: &str) -> Option<u32> {
    key.bytes().all(|b| b.is_ascii_digit()).then(|| key.parse().ok()).flatten()
}
