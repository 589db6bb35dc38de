//! One hop of a forwarding header: the forms that an address is written in (RFC 7239, section 6, and what
//! X-Forwarded-For carries in practice).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest text that can be an address with a port.
const LONGEST: usize = 64;

/// What a hop names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) ip: IpAddr,
    /// The port, where it is given in digits.
    pub(super) port: Option<u16>,
}

/// The address that a hop names: IPv4, IPv6 with or without brackets, either with a port. `None`: it names none: `unknown`,
/// an obfuscated identifier (`_hidden`), or nothing of the kind.
#[inline]
pub(super) fn named(hop: &[u8]) -> Option<Named> {
    let hop = hop.trim_ascii();
    if hop.len() > LONGEST {
        return None;
    }
    let text = core::str::from_utf8(hop).ok()?;
    // Some proxies quote IPv6 addresses in X-Forwarded-For as Forwarded demands.
    let text = match text.strip_prefix('"') {
        Some(quoted) => quoted.strip_suffix('"')?,
        None => text,
    };
    let (ip, port) = if let Some(bracketed) = text.strip_prefix('[') {
        let (ip, rest) = bracketed.split_once(']')?;
        let port = if rest.is_empty() { None } else { port(rest.strip_prefix(':')?)? };
        (IpAddr::V6(v6(ip)?), port)
    } else {
        match text.split_once(':') {
            None => (IpAddr::V4(text.parse().ok()?), None),
            Some((_, rest)) if rest.contains(':') => (IpAddr::V6(v6(text)?), None),
            Some((ip, rest)) => (IpAddr::V4(ip.parse::<Ipv4Addr>().ok()?), port(rest)?),
        }
    };
    Some(Named { ip: ip.to_canonical(), port })
}

/// An IPv6 address; a zone (RFC 6874) means something on the proxy only and is left out.
fn v6(text: &str) -> Option<Ipv6Addr> {
    text.split_once('%').map_or(text, |(ip, _)| ip).parse().ok()
}

/// A port in digits, or an obfuscated one, which is none to record; neither is 0.
fn port(text: &str) -> Option<Option<u16>> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().map(|port: u16| (port > 0).then_some(port));
    }
    let is_obfuscated = text.len() > 1
        && text.starts_with('_')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    is_obfuscated.then_some(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_an_address() {
        for (hop, ip, port) in [
            ("192.0.2.1", "192.0.2.1", None),
            (" 192.0.2.1\t", "192.0.2.1", None),
            ("192.0.2.1:8080", "192.0.2.1", Some(8080)),
            ("192.0.2.1:00443", "192.0.2.1", Some(443)),
            ("192.0.2.1:_p0", "192.0.2.1", None),
            ("192.0.2.1:0", "192.0.2.1", None),
            ("2001:db8::1", "2001:db8::1", None),
            ("[2001:db8::1]", "2001:db8::1", None),
            ("[2001:DB8::1]:443", "2001:db8::1", Some(443)),
            ("\"[2001:db8::1]:443\"", "2001:db8::1", Some(443)),
            ("fe80::1%eth0", "fe80::1", None),
            ("::ffff:192.0.2.1", "192.0.2.1", None),
            ("::", "::", None),
        ] {
            assert_eq!(named(hop.as_bytes()), Some(Named { ip: ip.parse().unwrap(), port }), "{hop}");
        }
    }

    #[test]
    fn what_names_no_address() {
        for hop in [
            "",
            " ",
            "unknown",
            "UNKNOWN",
            "_hidden",
            "_",
            "192.0.2",
            "192.0.2.256",
            "192.0.2.01",
            "192.0.2.1:",
            "192.0.2.1:65536",
            "192.0.2.1:+80",
            "192.0.2.1:80:",
            "[192.0.2.1]",
            "[2001:db8::1",
            "2001:db8::1]",
            "[2001:db8::1]80",
            "[2001:db8::1]:",
            "\"192.0.2.1",
            "192.0.2.1\"",
            "192.0.2.1 192.0.2.2",
            "0x7f.1",
            "2130706433",
            "1.2.3.4\0",
            "::1::",
            "%",
            "[%]",
            "localhost",
        ] {
            assert_eq!(named(hop.as_bytes()), None, "{hop}");
        }
        assert_eq!(named(b"\xff\xfe"), None);
        assert_eq!(named(&b"1".repeat(100_000)), None);
    }
}
