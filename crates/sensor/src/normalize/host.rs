//! The host that a request is for (RFC 9110, section 7.1).

use core::net::Ipv6Addr;
use std::io::Write as _;

use super::path::escaped_byte;

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

/// Hands over every host that a text may be read as, where a Host field, or an authority, has more than one host in it: a list,
/// a URL, user and password in front, escapes, what is no port. Servers differ in what they make of these, so that what keeps
/// a host out has to be held against each. Each comes as [`host`] has it, and whether servers are sure to read it so where
/// they read that part at all; one that is neither has a port that is none behind it. `text` is in lower case.
///
/// No host has a sign in it that is of none (`@`, `/`), but where that is all there is: then it is handed over as it is.
pub fn hosts(text: &[u8], mut each: impl FnMut(&[u8], bool)) {
    if is_plain(text) {
        return each(text, true);
    }
    let mut is_any = false;
    let mut scratch = Vec::new();
    let mut read = |text: &[u8]| {
        let is_joint =
            |byte: &u8| *byte <= b' ' || matches!(byte, b',' | b';' | b'"' | b'\'' | b'<' | b'>' | b'(' | b')' | 127);
        for piece in text.split(is_joint) {
            let url = behind_scheme(piece);
            let end = url.iter().position(is_end).unwrap_or(url.len());
            let (authority, rest) = url.split_at(end);
            // Behind a slash that is part of a password.
            let has_user = memchr::memchr(b'@', authority).is_some();
            let behind = rest.split(is_end).filter(|part| !has_user && memchr::memchr(b'@', part).is_some());
            for authority in core::iter::once(authority).chain(behind) {
                let host = memchr::memrchr(b'@', authority).map_or(authority, |at| &authority[at + 1..]);
                let name = without_port(host);
                if !name.is_empty() {
                    is_any = true;
                    each(canonical(name, &mut scratch), true);
                }
                let whole = split_port(host).0;
                if without_dots(whole).len() > name.len() {
                    each(canonical(whole, &mut scratch), false);
                }
            }
        }
    };
    read(text);
    if let Some(decoded) = decoded(text) {
        read(&decoded);
    }
    if !is_any {
        each(text, true);
    }
}

/// A URL without its scheme, and the slashes in front of a host.
fn behind_scheme(mut url: &[u8]) -> &[u8] {
    loop {
        let slashes = url.iter().take_while(|byte| matches!(byte, b'/' | b'\\')).count();
        url = &url[slashes..];
        let Some(colon) = memchr::memchr(b':', url) else { return url };
        let (word, rest) = (&url[..colon], &url[colon + 1..]);
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        let is_web = || [&b"http"[..], b"https", b"ws", b"wss"].iter().any(|known| word.eq_ignore_ascii_case(known));
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let is_scheme = match rest {
            [b'/', b'/', ..] | [b'\\', b'\\', ..] => true,
            // A host may be called so, too, with a port behind it.
            _ => {
                is_web() && matches!(rest.get(digits), Some(byte) if digits == 0 || !matches!(byte, b'/' | b'?' | b'#'))
            }
        };
        if word.is_empty() || !word.iter().all(is_word) || !is_scheme {
            return url;
        }
        url = rest;
    }
}

/// Whether a byte ends an authority.
fn is_end(byte: &u8) -> bool {
    matches!(byte, b'/' | b'\\' | b'?' | b'#')
}

/// A host without the port behind it, or what stands in place of one, and without the dots at its end.
fn without_port(host: &[u8]) -> &[u8] {
    let end = match (ipv6(host), host.first()) {
        (Some(_), _) => host.len(),
        (None, Some(b'[')) => memchr::memchr(b']', host).map_or(host.len(), |at| at + 1),
        (None, _) => memchr::memchr(b':', host).unwrap_or(host.len()),
    };
    without_dots(&host[..end])
}

fn without_dots(name: &[u8]) -> &[u8] {
    &name[..name.iter().rposition(|byte| *byte != b'.').map_or(0, |last| last + 1)]
}

/// A text with its percent-encoded bytes decoded, if it has any; in lower case.
fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'%', rest) {
        let byte = escaped_byte(&rest[at..]);
        let len = if byte.is_some() { 3 } else { 1 };
        out.extend_from_slice(&rest[..at]);
        out.push(byte.unwrap_or(b'%').to_ascii_lowercase());
        rest = &rest[at + len..];
    }
    out.extend_from_slice(rest);
    (out.len() < text.len()).then_some(out)
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
    fn every_host_in_a_text_is_told() {
        let told = |text: &str| {
            let mut told = Vec::new();
            hosts(text.as_bytes(), |host, is_sure| {
                told.push(format!("{}{}", String::from_utf8_lossy(host), if is_sure { "" } else { "?" }));
            });
            told.join(" ")
        };
        for (text, expected) in [
            ("a.example", "a.example"),
            ("u@a.example", "a.example"),
            ("u:p@w@a.example.:80", "a.example"),
            ("b, u:pw@a.example", "b a.example"),
            ("b,a.example;c d", "b a.example c d"),
            ("http://a.example/", "a.example"),
            ("//a.example/b@c", "a.example c"),
            ("\\\\a.example\\b", "a.example"),
            ("https:a.example", "a.example"),
            ("http:/u:p@a.example?x", "a.example"),
            ("http://https://a.example#x", "a.example"),
            ("http:80", "http"),
            ("wss:80/x", "wss"),
            ("x-y.z://a.example", "a.example"),
            ("\"a.example\" <a.example>\t(a.example)", "a.example a.example a.example"),
            ("u:p/w@a.example/x@y", "u u:p? a.example y"),
            ("u%3ap%40a.example", "u%3ap%40a.example a.example"),
            ("%61.%45xample", "%61.%45xample a.example"),
            ("a.example..", "a.example"),
            ("a.example:99999", "a.example a.example:99999?"),
            ("a.example:80-shadow", "a.example a.example:80-shadow?"),
            ("[2001:db8:0::1]:443, ::1", "[2001:db8::1] [::1]"),
            ("u@[::1]x", "[::1] [::1]x?"),
            ("[fe80::1%25eth0]", "[fe80::1%25eth0] [fe80::1%eth0]"),
            ("50%", "50%"),
            (":80", ":80? :80"),
            (".", "."),
            ("@", "@"),
            (", ", ", "),
            ("", ""),
        ] {
            assert_eq!(told(text), expected, "{text}");
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
        /// However it is written, a host is among those that a text is read as, and without anything that is of none.
        #[test]
        fn no_spelling_hides_a_host(
            front in "(|a, |x;|\"|http://|HTTPS:|//|b\t|/)",
            user in "(|u@|u:p@|u:p@w@|u:p/w@|%75:p%40)",
            host in "(secret\\.example|SECRET\\.example|%53ecret%2Eexample|\\[2001:DB8::0:1\\])",
            behind in "(|\\.)(|:|:8443|:x|:99999)(|/|/x@y|\\?q|, b|\"|  | b)",
            noise in "[ -~]{0,40}",
        ) {
            let read = |text: &str| {
                let mut told = Vec::new();
                let mut scratch = Vec::new();
                if let Some(authority) = super::host(None, None, Some(text.as_bytes()), &mut scratch) {
                    hosts(authority.host, |host, is_sure| told.push((String::from_utf8_lossy(host).into_owned(), is_sure)));
                }
                told
            };
            let told = read(&format!("{front}{user}{host}{behind}"));
            prop_assert!(told.iter().any(|told| matches!(told.0.as_str(), "secret.example" | "[2001:db8::1]") && told.1), "{:?}", told);
            let told = read(&noise);
            let has_sign = |text: &str| text.contains(['@', '/', '\\', ',', ' ']);
            let is_sole = told.iter().filter(|told| told.1).count() == 1;
            prop_assert!(told.iter().all(|told| !has_sign(&told.0) || told.1 && is_sole), "{:?}", told);
        }

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
