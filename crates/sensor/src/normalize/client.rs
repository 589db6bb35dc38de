//! Who the client is, as far as anyone who is trusted says so.
//!
//! X-Forwarded-For and Forwarded list hops, each written by the next one: the rightmost by the connection's peer. So they are
//! believed from the right for as long as the hop that wrote the entry is a trusted proxy, and the client is the first
//! address that is none. An entry that names no address ends the walk: what is left of it was written by nobody knows
//! whom, and the client is then the farthest proxy known. Where every hop is trusted, the client is the leftmost.
//!
//! The walk needs no list of hops. Read from the left, an untrusted address replaces whatever was thought before it, and a
//! trusted one only stands in where nothing better is known; what is left at the end is what the walk from the right would
//! have found.

use core::net::IpAddr;

use super::Normalizer;
use super::forwarded::Elements;
use super::hop::{self, Named};

/// A header that may name the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ClientSource {
    /// `X-Forwarded-For`.
    ForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// `True-Client-IP`.
    TrueClientIp,
    /// `CF-Connecting-IP`.
    CfConnectingIp,
    /// `X-Real-IP`.
    RealIp,
    /// `X-Azure-ClientIP`.
    AzureClientIp,
}

impl ClientSource {
    /// Every source, in declaration order, which is the default order of belief.
    ///
    /// A source that stands behind another one is asked only where that one is not there at all. So the default is as safe as
    /// X-Forwarded-For alone, unless a proxy removes that header instead of adding to it.
    pub const ALL: &'static [Self; 6] = &[
        Self::ForwardedFor,
        Self::Forwarded,
        Self::TrueClientIp,
        Self::CfConnectingIp,
        Self::RealIp,
        Self::AzureClientIp,
    ];

    /// The stable `snake_case` name used in configuration and records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ForwardedFor => "x_forwarded_for",
            Self::Forwarded => "forwarded",
            Self::TrueClientIp => "true_client_ip",
            Self::CfConnectingIp => "cf_connecting_ip",
            Self::RealIp => "x_real_ip",
            Self::AzureClientIp => "x_azure_clientip",
        }
    }

    /// The name of the header, in lower case.
    #[must_use]
    pub const fn header(self) -> &'static str {
        match self {
            Self::ForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
            Self::TrueClientIp => "true-client-ip",
            Self::CfConnectingIp => "cf-connecting-ip",
            Self::RealIp => "x-real-ip",
            Self::AzureClientIp => "x-azure-clientip",
        }
    }

    /// Its place in [`Self::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The source that a header of this name is, in any case.
    fn of(name: &[u8]) -> Option<Self> {
        // The length and the first letter tell nearly every other name apart.
        let source = match name.len() {
            9 => match name.first()? {
                b'f' | b'F' => Self::Forwarded,
                _ => Self::RealIp,
            },
            14 => Self::TrueClientIp,
            15 => Self::ForwardedFor,
            16 => match name.first()? {
                b'c' | b'C' => Self::CfConnectingIp,
                _ => Self::AzureClientIp,
            },
            _ => return None,
        };
        name.eq_ignore_ascii_case(source.header().as_bytes()).then_some(source)
    }
}

/// What the client's address was taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WonBy {
    /// The connection: its peer.
    Connection,
    /// The PROXY protocol header at the connection's start.
    ProxyProtocol,
    /// A header of the request.
    Header(ClientSource),
}

impl WonBy {
    /// The stable `snake_case` name used in records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::ProxyProtocol => "proxy_protocol",
            Self::Header(source) => source.name(),
        }
    }
}

/// The client's address and who said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddress {
    /// The address; an IPv4-mapped IPv6 address in a header stands here as IPv4.
    pub ip: IpAddr,
    /// Its port, where the header states it that the address was taken from.
    pub port: Option<u16>,
    /// What it was taken from.
    pub source: WonBy,
}

/// The scheme that a client used with a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `http`
    Http,
    /// `https`
    Https,
    /// `ws`
    Ws,
    /// `wss`
    Wss,
}

impl Scheme {
    /// The scheme in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }

    pub(super) fn named(name: &[u8]) -> Option<Self> {
        let known = [Self::Http, Self::Https, Self::Ws, Self::Wss];
        known.into_iter().find(|scheme| name.eq_ignore_ascii_case(scheme.name().as_bytes()))
    }
}

/// Where a request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The client.
    pub client: ClientAddress,
    /// The scheme that the client used, as the trusted proxy says that received its request (X-Forwarded-Proto, or `proto`
    /// in Forwarded); `None`: none says.
    pub scheme: Option<Scheme>,
}

impl Normalizer {
    /// Where a request came from. `peer` is the connection's client end, `proxied` the source address of the PROXY protocol
    /// header at its start, which counts if the peer is trusted; `headers` are the names and values of the request's fields
    /// in wire order. Linear in the headers, and without allocation.
    #[must_use]
    pub fn origin<'h>(
        &self,
        peer: IpAddr,
        proxied: Option<IpAddr>,
        headers: impl IntoIterator<Item = (&'h [u8], &'h [u8])>,
    ) -> Origin {
        let mut client = ClientAddress { ip: peer, port: None, source: WonBy::Connection };
        let is_trusted = self.trusts(peer);
        if let Some(ip) = proxied.filter(|_| is_trusted && self.believes_proxy_protocol) {
            client = ClientAddress { ip: ip.to_canonical(), port: None, source: WonBy::ProxyProtocol };
        }
        // Whoever sent these headers is no trusted proxy: nothing in them is believed.
        if !is_trusted || (client.source == WonBy::ProxyProtocol && !self.trusts(client.ip)) {
            return Origin { client, scheme: None };
        }
        let claims = self.claims(headers);
        let mut best: Option<(u8, ClientSource, Option<Named>)> = None;
        for source in *ClientSource::ALL {
            let (Some(rank), Some(claim)) = (self.rank(source), claims.of(source)) else { continue };
            if best.is_none_or(|(least, ..)| rank < least) {
                best = Some((rank, source, claim));
            }
        }
        // One that is there and cannot be read ends the search: whoever broke it may have written those behind it, too.
        if let Some((_, source, Some(Named { ip, port }))) = best {
            client = ClientAddress { ip, port, source: WonBy::Header(source) };
        }
        Origin { client, scheme: claims.scheme() }
    }

    fn rank(&self, source: ClientSource) -> Option<u8> {
        self.ranks.get(source.index()).copied().flatten()
    }

    fn claims<'h>(&self, headers: impl IntoIterator<Item = (&'h [u8], &'h [u8])>) -> Claims {
        let mut claims = Claims::default();
        for (name, value) in headers {
            match ClientSource::of(name) {
                None if name.len() == PROTO.len() && name.eq_ignore_ascii_case(PROTO) => claims.protos.line(value),
                None => {}
                Some(source) if self.rank(source).is_none() => {}
                Some(ClientSource::ForwardedFor) => {
                    for hop in value.split(|byte| *byte == b',').filter(|hop| !hop.trim_ascii().is_empty()) {
                        let address = hop::named(hop);
                        claims.forwarded_for.hop(address, address.is_some_and(|hop| self.trusts(hop.ip)), None);
                    }
                }
                Some(ClientSource::Forwarded) => {
                    for element in Elements::new(value) {
                        let is_trusted = element.address.is_some_and(|hop| self.trusts(hop.ip));
                        claims.forwarded.hop(element.address, is_trusted, element.scheme);
                    }
                }
                Some(source) => {
                    if let Some(single) = claims.singles.get_mut(source.index()) {
                        single.value(value);
                    }
                }
            }
        }
        claims
    }
}

const PROTO: &[u8] = b"x-forwarded-proto";

/// What a request's headers say, read once.
#[derive(Default)]
struct Claims {
    forwarded_for: Walk,
    forwarded: Walk,
    singles: [Single; ClientSource::ALL.len()],
    protos: Protos,
}

impl Claims {
    /// What this header says: `None`, it is not there; `Some(None)`, no address that could be read.
    fn of(&self, source: ClientSource) -> Option<Option<Named>> {
        let walk = match source {
            ClientSource::ForwardedFor => &self.forwarded_for,
            ClientSource::Forwarded => &self.forwarded,
            source => {
                return match self.singles.get(source.index()) {
                    None | Some(Single::Absent) => None,
                    Some(Single::One(named)) => Some(Some(*named)),
                    Some(Single::Unusable) => Some(None),
                };
            }
        };
        walk.is_there.then_some(walk.client)
    }

    /// Each trusted hop added one entry to each list, or the outermost one alone set a single value.
    fn scheme(&self) -> Option<Scheme> {
        self.protos.at_from_right(self.forwarded_for.depth.max(1)).or(self.forwarded.scheme)
    }
}

/// A walk along a list of hops, taken from the left.
#[derive(Default)]
struct Walk {
    /// Whether there was any entry.
    is_there: bool,
    /// The client, if the list ended here.
    client: Option<Named>,
    /// The place of the client's entry, counted from the right end, from 1; 0 without a client.
    depth: usize,
    /// The scheme in the client's entry; without a client, in the last one.
    scheme: Option<Scheme>,
}

impl Walk {
    fn hop(&mut self, address: Option<Named>, is_trusted: bool, scheme: Option<Scheme>) {
        match address {
            Some(_) if is_trusted && self.client.is_some() => self.depth += 1,
            Some(_) => *self = Self { is_there: true, client: address, depth: 1, scheme },
            None => *self = Self { is_there: true, client: None, depth: 0, scheme },
        }
    }
}

/// A header with a single value.
#[derive(Clone, Copy, Default)]
enum Single {
    #[default]
    Absent,
    One(Named),
    /// No address, or several: a proxy that sets the header leaves one.
    Unusable,
}

impl Single {
    fn value(&mut self, value: &[u8]) {
        *self = match (*self, hop::named(value)) {
            (Self::Absent, Some(named)) => Self::One(named),
            (Self::One(known), Some(named)) if known == named => Self::One(named),
            _ => Self::Unusable,
        };
    }
}

/// The last values of X-Forwarded-Proto.
#[derive(Default)]
struct Protos {
    recent: [Option<Scheme>; Protos::KEPT],
    count: usize,
}

impl Protos {
    /// More proxies in a row than anyone has.
    const KEPT: usize = 8;

    fn line(&mut self, line: &[u8]) {
        for value in line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|value| !value.is_empty()) {
            if let Some(place) = self.recent.get_mut(self.count % Self::KEPT) {
                *place = Scheme::named(value);
            }
            self.count += 1;
        }
    }

    /// The value at this place counted from the right, from 1; the leftmost where there are fewer.
    fn at_from_right(&self, place: usize) -> Option<Scheme> {
        let place = place.min(self.count).min(Self::KEPT);
        self.count.checked_sub(place).filter(|_| place > 0).and_then(|at| *self.recent.get(at % Self::KEPT)?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Settings, parse_network};
    use super::*;

    const PEER: &str = "10.0.0.1";

    fn normalizer() -> Normalizer {
        let trusted_proxies =
            ["10.0.0.0/8", "2001:db8:a::/48"].iter().map(|text| parse_network(text).unwrap()).collect();
        Normalizer::new(Settings { trusted_proxies, ..Settings::default() })
    }

    fn origin(
        normalizer: &Normalizer,
        peer: &str,
        proxied: Option<&str>,
        headers: &[(&str, &str)],
    ) -> (String, Option<&'static str>) {
        let headers = headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let origin = normalizer.origin(peer.parse().unwrap(), proxied.map(|ip| ip.parse().unwrap()), headers);
        let port = origin.client.port.map_or(String::new(), |port| format!(" port {port}"));
        let client = format!("{}{port} {}", origin.client.ip, origin.client.source.name());
        (client, origin.scheme.map(Scheme::name))
    }

    fn client(headers: &[(&str, &str)]) -> String {
        origin(&normalizer(), PEER, None, headers).0
    }

    #[test]
    fn forwarded_for_is_walked_at_from_right() {
        for (lines, expected) in [
            (&["192.0.2.1"][..], "192.0.2.1 x_forwarded_for"),
            (&["6.6.6.6, 192.0.2.1"], "192.0.2.1 x_forwarded_for"),
            (&["6.6.6.6,192.0.2.1,10.0.0.2"], "192.0.2.1 x_forwarded_for"),
            (&["6.6.6.6", "192.0.2.1, 10.0.0.2", "10.0.0.3"], "192.0.2.1 x_forwarded_for"),
            (&["192.0.2.1:5555, [2001:db8:a::1]:80"], "192.0.2.1 port 5555 x_forwarded_for"),
            (&["[2001:db8::1]:1234"], "2001:db8::1 port 1234 x_forwarded_for"),
            (&["203.0.113.5:4711, 10.0.0.2:80"], "203.0.113.5 port 4711 x_forwarded_for"),
            (&["203.0.113.5:_p, 10.0.0.2:80"], "203.0.113.5 x_forwarded_for"),
            (&["10.0.0.4:40, 10.0.0.3:30"], "10.0.0.4 port 40 x_forwarded_for"),
            (&["2001:db8::1, 10.0.0.2"], "2001:db8::1 x_forwarded_for"),
            // Only trusted ones: the farthest.
            (&["10.0.0.4, 10.0.0.3, 10.0.0.2"], "10.0.0.4 x_forwarded_for"),
            // What a hop could not name, nobody further left can.
            (&["6.6.6.6, unknown, 10.0.0.2"], "10.0.0.2 x_forwarded_for"),
            (&["6.6.6.6, _hidden, 10.0.0.3, 10.0.0.2"], "10.0.0.3 x_forwarded_for"),
            (&["6.6.6.6, unknown"], "10.0.0.1 connection"),
            (&["unknown"], "10.0.0.1 connection"),
            (&["6.6.6.6, <script>"], "10.0.0.1 connection"),
            (&["6.6.6.6, 300.1.1.1"], "10.0.0.1 connection"),
            (&["6.6.6.6 192.0.2.1"], "10.0.0.1 connection"),
            (&["", " , ,, "], "10.0.0.1 connection"),
            (&[", 192.0.2.1 ,, "], "192.0.2.1 x_forwarded_for"),
            (&["127.0.0.1"], "127.0.0.1 x_forwarded_for"),
            (&["::ffff:192.0.2.1, ::ffff:10.0.0.2"], "192.0.2.1 x_forwarded_for"),
        ] {
            let headers: Vec<_> = lines.iter().map(|line| ("X-Forwarded-For", *line)).collect();
            assert_eq!(client(&headers), expected, "{lines:?}");
        }
    }

    #[test]
    fn nobody_is_believed_unless_trusted() {
        let headers: Vec<_> = ClientSource::ALL.iter().map(|source| (source.header(), "6.6.6.6")).collect();
        let headers = [&headers[..], &[("x-forwarded-proto", "https")]].concat();
        assert_eq!(origin(&normalizer(), "192.0.2.9", None, &headers), ("192.0.2.9 connection".to_owned(), None));
        assert_eq!(origin(&Normalizer::default(), PEER, None, &headers), ("10.0.0.1 connection".to_owned(), None));
        // A PROXY header of someone who is not trusted counts for nothing.
        assert_eq!(origin(&normalizer(), "192.0.2.9", Some("6.6.6.6"), &headers).0, "192.0.2.9 connection");
    }

    #[test]
    fn the_proxy_protocol_comes_before_the_headers() {
        let headers = [("X-Forwarded-For", "192.0.2.7")];
        // What it names is the client itself, whose headers are its own.
        assert_eq!(origin(&normalizer(), PEER, Some("192.0.2.1"), &headers).0, "192.0.2.1 proxy_protocol");
        // What it names is another trusted proxy.
        assert_eq!(origin(&normalizer(), PEER, Some("10.0.0.9"), &headers).0, "192.0.2.7 x_forwarded_for");
        assert_eq!(origin(&normalizer(), PEER, Some("10.0.0.9"), &[]).0, "10.0.0.9 proxy_protocol");
        assert_eq!(origin(&normalizer(), PEER, Some("::ffff:192.0.2.1"), &[]).0, "192.0.2.1 proxy_protocol");
    }

    #[test]
    fn sources_win_in_the_configured_order() {
        let headers = [
            ("x-azure-clientip", "192.0.2.6"),
            ("x-real-ip", "192.0.2.5"),
            ("cf-connecting-ip", "192.0.2.4"),
            ("true-client-ip", "192.0.2.3"),
            ("forwarded", "for=192.0.2.2"),
            ("x-forwarded-for", "192.0.2.1"),
        ];
        for place in 0..headers.len() {
            let expected = ClientSource::ALL[headers.len() - 1 - place];
            let ip = headers[place].1.trim_start_matches("for=");
            assert_eq!(client(&headers[..=place]), format!("{ip} {}", expected.name()));
            let only = Normalizer::new(Settings {
                client_sources: vec![expected],
                trusted_proxies: vec![parse_network("10.0.0.0/8").unwrap()],
                ..Settings::default()
            });
            assert_eq!(origin(&only, PEER, None, &headers).0, format!("{ip} {}", expected.name()));
        }
        let none = Normalizer::new(Settings {
            client_sources: Vec::new(),
            trusted_proxies: vec![parse_network("10.0.0.0/8").unwrap()],
            ..Settings::default()
        });
        assert_eq!(origin(&none, PEER, None, &headers).0, "10.0.0.1 connection");
    }

    #[test]
    fn a_source_that_is_there_and_cannot_be_read_ends_the_search() {
        // The client opens a quote that swallows what the proxy adds, and names itself in a header that the proxy lets through.
        let open = ("forwarded", "for=\"6.6.6.6, for=192.0.2.9");
        assert_eq!(client(&[open, ("true-client-ip", "7.7.7.7")]), "10.0.0.1 connection");
        let unknown = ("x-forwarded-for", "192.0.2.9, unknown");
        assert_eq!(client(&[unknown, ("true-client-ip", "7.7.7.7")]), "10.0.0.1 connection");
        assert_eq!(client(&[("x-forwarded-for", "unknown"), ("forwarded", "for=192.0.2.2")]), "10.0.0.1 connection");
        assert_eq!(client(&[("forwarded", "for=_x"), ("x-real-ip", "192.0.2.5")]), "10.0.0.1 connection");
        assert_eq!(client(&[("x-real-ip", "a"), ("x-azure-clientip", "7.7.7.7")]), "10.0.0.1 connection");
        // Without an entry it is not there.
        assert_eq!(client(&[("x-forwarded-for", " , "), ("x-real-ip", "192.0.2.5")]), "192.0.2.5 x_real_ip");
        // Single values are single.
        for value in ["192.0.2.5, 192.0.2.6", "", "unknown", "a"] {
            assert_eq!(client(&[("X-Real-IP", value)]), "10.0.0.1 connection", "{value}");
        }
        assert_eq!(client(&[("X-Real-IP", "192.0.2.5"), ("X-Real-IP", "192.0.2.6")]), "10.0.0.1 connection");
        assert_eq!(client(&[("X-Real-IP", "192.0.2.5"), ("X-Real-IP", "192.0.2.5")]), "192.0.2.5 x_real_ip");
    }

    #[test]
    fn the_scheme_is_the_outermost_trusted_hops() {
        let scheme = |headers: &[(&str, &str)]| origin(&normalizer(), PEER, None, headers).1;
        assert_eq!(scheme(&[]), None);
        assert_eq!(scheme(&[("X-Forwarded-Proto", "HTTPS")]), Some("https"));
        assert_eq!(scheme(&[("X-Forwarded-Proto", "gopher")]), None);
        let two_hops = ("x-forwarded-for", "6.6.6.6, 192.0.2.1, 10.0.0.2");
        // The client's own entry is not asked for.
        assert_eq!(scheme(&[two_hops, ("x-forwarded-proto", "http, https, http")]), Some("https"));
        assert_eq!(scheme(&[("x-forwarded-proto", "https"), two_hops, ("x-forwarded-proto", "http")]), Some("https"));
        assert_eq!(scheme(&[two_hops, ("x-forwarded-proto", "https")]), Some("https"));
        assert_eq!(scheme(&[("x-forwarded-for", "192.0.2.1"), ("x-forwarded-proto", "http, https")]), Some("https"));
        assert_eq!(
            scheme(&[("forwarded", "for=6.6.6.6;proto=http, for=192.0.2.1;proto=https, for=10.0.0.2;proto=http")]),
            Some("https")
        );
        assert_eq!(scheme(&[("forwarded", "for=unknown;proto=wss")]), Some("wss"));
        assert_eq!(
            scheme(&[("x-forwarded-proto", &"http,".repeat(100_000)), ("x-forwarded-proto", "https")]),
            Some("https")
        );
    }

    /// The walk as it is told: a list of hops, from the right.
    fn slow_walk(normalizer: &Normalizer, hops: &[Option<IpAddr>]) -> Option<IpAddr> {
        let mut client = None;
        for hop in hops.iter().rev() {
            let Some(ip) = hop else { break };
            client = Some(*ip);
            if !normalizer.trusts(*ip) {
                break;
            }
        }
        client
    }

    proptest! {
        #[test]
        fn the_walk_is_the_one_at_from_right(
            hops in prop::collection::vec(prop_oneof![
                Just("unknown".to_owned()),
                (0..4_u8).prop_map(|n| format!("10.0.0.{n}")),
                (0..4_u8).prop_map(|n| format!("192.0.2.{n}:80")),
                Just("[2001:db8:a::1]".to_owned()),
            ], 0..8),
            breaks in prop::collection::vec(any::<bool>(), 8),
        ) {
            let normalizer = normalizer();
            let mut lines = vec![String::new()];
            for (hop, is_break) in hops.iter().zip(&breaks) {
                if *is_break {
                    lines.push(String::new());
                }
                let line = lines.last_mut().unwrap();
                line.push_str(hop);
                line.push_str(", ");
            }
            let addresses: Vec<_> = hops.iter().map(|hop| Some(hop::named(hop.as_bytes())?.ip)).collect();
            // Each port stands with one kind of address only.
            let end = |ip: IpAddr| if ip.to_string().starts_with("192.") { format!("{ip} port 80") } else { ip.to_string() };
            let expected = match slow_walk(&normalizer, &addresses) {
                Some(ip) => format!("{} x_forwarded_for", end(ip)),
                None => "10.0.0.1 connection".to_owned(),
            };
            let headers: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", line.as_str())).collect();
            prop_assert_eq!(client(&headers), expected);
            // The same in Forwarded.
            let lines: Vec<String> = lines.iter().map(|line| {
                line.split(',').map(str::trim).filter(|hop| !hop.is_empty()).map(|hop| format!("for=\"{hop}\"")).collect::<Vec<_>>().join(",")
            }).collect();
            let headers: Vec<_> = lines.iter().map(|line| ("forwarded", line.as_str())).collect();
            let expected = match slow_walk(&normalizer, &addresses) {
                Some(ip) => format!("{} forwarded", end(ip)),
                None => "10.0.0.1 connection".to_owned(),
            };
            prop_assert_eq!(client(&headers), expected);
        }

        /// What a client writes itself never makes it anyone else, whatever it is.
        #[test]
        fn a_client_cannot_choose_its_address(
            junk in prop::collection::vec((0_usize..3, "[ -~]{0,40}"), 0..6),
        ) {
            let names = ["x-forwarded-for", "forwarded", "x-real-ip"];
            let mut headers: Vec<_> = junk.iter().map(|(name, value)| (names[*name], value.as_str())).collect();
            // The proxy adds a line of its own, and says the same thing in each way it may.
            headers.push(("x-forwarded-for", "192.0.2.1"));
            prop_assert_eq!(client(&headers), "192.0.2.1 x_forwarded_for");
        }

        #[test]
        fn any_bytes_are_survived(line in prop::collection::vec(any::<u8>(), 0..80), place in 0_usize..6) {
            let name = ClientSource::ALL[place].header().as_bytes();
            let origin = normalizer().origin(PEER.parse().unwrap(), None, [(name, line.as_slice())]);
            prop_assert!(origin.scheme.is_none() || place == 1);
        }
    }
}
