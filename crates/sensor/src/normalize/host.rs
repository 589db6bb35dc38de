//! The host that a request is for (RFC 9110, section 7.1).

use core::net::Ipv6Addr;
use std::io::Write as _;

/// Where a request's host was taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HostSource {
    /// The request target: its absolute form, or the authority form of CONNECT.
    Target,
    /// The `:authority` of HTTP/2 and later, which stands for the target's authority there.
    Authority,
    /// The Host header.
    Host,
}

/// A host, and the port that stood behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// The host in lower case, without port and without the dot of a fully qualified name; an IPv6 address in brackets, in
    /// its canonical form (RFC 5952). What is no host is here as it was sent, in lower case.
    pub host: &'a [u8],
    /// The port, if there is one.
    pub port: Option<u16>,
    /// Where it was taken from.
    pub source: HostSource,
}

/// The host of a request: of its target if that has one (a server must then ignore Host, RFC 9112, section 3.2.2), else of
/// `:authority`, else of the Host header. Empty ones say nothing. `scratch` is used, and overwritten, where the host does
/// not stand as it is wanted.
#[must_use]
pub fn host<'a>(
    target: Option<&'a [u8]>,
    authority: Option<&'a [u8]>,
    host: Option<&'a [u8]>,
    scratch: &'a mut Vec<u8>,
) -> Option<Authority<'a>> {
    if let (None, None, Some(host)) = (target, authority, host)
        && is_plain(host)
    {
        return Some(Authority { host, port: None, source: HostSource::Host });
    }
    let candidates = [(target, HostSource::Target), (authority, HostSource::Authority), (host, HostSource::Host)];
    let mut said = candidates.into_iter().filter_map(|(text, source)| Some((text?.trim_ascii(), source)));
    let (text, source) = said.find(|(text, _)| !text.is_empty())?;
    let (host, port) = split_port(text);
    Some(Authority { host: canonical(host, scratch), port, source })
}

/// Whether it is a host as it is wanted, and nothing else: most are.
#[inline]
fn is_plain(host: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b'_');
    host.last().is_some_and(|last| *last != b'.') && host.iter().all(is_plain)
}

/// Host and port. Where what follows the last colon is no port, nothing is split.
fn split_port(text: &[u8]) -> (&[u8], Option<u16>) {
    let Some(colon) = memchr::memrchr(b':', text) else { return (text, None) };
    let (host, port) = text.split_at(colon);
    let port = port.get(1..).unwrap_or_default();
    // More colons without brackets: an IPv6 address without a port.
    if host.is_empty() || (memchr::memchr(b':', host).is_some() && host.last() != Some(&b']')) {
        return (text, None);
    }
    if port.is_empty() {
        return (host, None);
    }
    if !port.iter().all(u8::is_ascii_digit) {
        return (text, None);
    }
    match core::str::from_utf8(port).ok().and_then(|port| port.parse().ok()) {
        Some(port) => (host, Some(port)),
        None => (text, None),
    }
}

fn canonical<'a>(host: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
    let host = match host {
        [name @ .., b'.'] if !name.is_empty() && name.last() != Some(&b'.') => name,
        host => host,
    };
    if let Some(ip) = ipv6(host) {
        scratch.clear();
        // Writing to a Vec cannot fail.
        _ = write!(scratch, "[{ip}]");
        return scratch;
    }
    if !host.iter().any(u8::is_ascii_uppercase) {
        return host;
    }
    scratch.clear();
    scratch.extend(host.iter().map(u8::to_ascii_lowercase));
    scratch
}

/// An IPv6 address, in brackets as it has to be or without.
fn ipv6(host: &[u8]) -> Option<Ipv6Addr> {
    let inner = match host {
        [b'[', inner @ .., b']'] => inner,
        _ if memchr::memchr(b':', host).is_some() => host,
        _ => return None,
    };
    core::str::from_utf8(inner).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> (String, Option<u16>) {
        let mut scratch = Vec::new();
        let authority = host(None, None, Some(text.as_bytes()), &mut scratch).unwrap();
        (String::from_utf8(authority.host.to_vec()).unwrap(), authority.port)
    }

    #[test]
    fn forms_of_a_host() {
        for (text, expected, port) in [
            ("api.example", "api.example", None),
            ("API.Example:8080", "api.example", Some(8080)),
            ("api.example:", "api.example", None),
            ("api.example.", "api.example", None),
            ("api.example.:443", "api.example", Some(443)),
            (" api.example ", "api.example", None),
            ("xn--Bcher-KVA.example", "xn--bcher-kva.example", None),
            ("B\u{dc}cher.example", "b\u{dc}cher.example", None),
            ("192.0.2.1:80", "192.0.2.1", Some(80)),
            ("[2001:DB8:0::1]:443", "[2001:db8::1]", Some(443)),
            ("[::1]", "[::1]", None),
            ("::1", "[::1]", None),
            ("[::1]:", "[::1]", None),
            ("[fe80::1%25eth0]", "[fe80::1%25eth0]", None),
            // No ports, so nothing that could be split off.
            ("api.example:65536", "api.example:65536", None),
            ("api.example:80-shadow", "api.example:80-shadow", None),
            ("api.example:+80", "api.example:+80", None),
            ("a:b:c", "a:b:c", None),
            (":80", ":80", None),
            (".", ".", None),
            ("..", "..", None),
        ] {
            assert_eq!(read(text), (expected.to_owned(), port), "{text}");
        }
    }

    #[test]
    fn the_order_of_sources() {
        let (target, authority, header) = (Some(&b"T"[..]), Some(&b"a"[..]), Some(&b"h"[..]));
        let won = |target, authority, header| {
            let mut scratch = Vec::new();
            host(target, authority, header, &mut scratch).map(|found| (found.host.to_vec(), found.source))
        };
        assert_eq!(won(target, authority, header), Some((b"t".to_vec(), HostSource::Target)));
        assert_eq!(won(None, authority, header), Some((b"a".to_vec(), HostSource::Authority)));
        assert_eq!(won(None, None, header), Some((b"h".to_vec(), HostSource::Host)));
        assert_eq!(won(Some(b""), Some(b" "), header), Some((b"h".to_vec(), HostSource::Host)));
        assert_eq!(won(None, None, Some(b"")), None);
        assert_eq!(won(None, None, None), None);
    }

    #[test]
    fn what_stands_right_is_borrowed() {
        let mut scratch = Vec::new();
        assert_eq!(host(None, None, Some(b"api.example.:80"), &mut scratch).unwrap().host, b"api.example");
        assert_eq!(scratch.capacity(), 0);
    }

    proptest! {
        #[test]
        fn a_host_is_a_fixed_point(text in "[ -~]{1,30}") {
            let (mut one, mut two) = (Vec::new(), Vec::new());
            if let Some(first) = host(None, None, Some(text.as_bytes()), &mut one).filter(|first| first.port.is_none()) {
                let second = host(None, None, Some(first.host), &mut two);
                // A dot or colon at the end goes away one at a time.
                if !matches!(first.host.last(), Some(b'.' | b':' | b' ')) && second.is_some_and(|second| second.port.is_none()) {
                    prop_assert_eq!(second.map(|second| second.host), Some(first.host));
                }
            }
        }
    }
}
