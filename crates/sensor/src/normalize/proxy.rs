//! The PROXY protocol, versions 1 and 2: who a load balancer speaks for, said before anything else on the connection.
//!
//! What is read is bounded: 107 bytes tell version 1, and 52 tell version 2 all that is of use, however long its block of
//! extensions is. What breaks the specification is no PROXY header, as a receiver of it would have closed the connection.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use decap::Endpoint;

/// The longest header of version 1, its line end included.
pub const V1_LONGEST: usize = 107;
const V1_START: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_FIXED: usize = 16;

/// What the first bytes of a connection's client side are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preface {
    /// Not the PROXY protocol: they belong to what the connection carries.
    NotProxy,
    /// It may be, and more of the stream is needed to tell. Never said of 107 bytes or more.
    NeedMore,
    /// It is.
    Found(ProxyHeader),
}

/// The version of a PROXY protocol header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProxyVersion {
    /// Text.
    V1,
    /// Binary.
    V2,
}

/// A PROXY protocol header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Its version.
    pub version: ProxyVersion,
    /// Its length in bytes, extensions included: what is to be taken off the stream, which may be more than was given.
    pub len: usize,
    /// The ends of the connection that the sender speaks for, its client first; `None`: it speaks for itself (`LOCAL`), or
    /// does not say (`UNKNOWN`, UNSPEC), or it is a connection without IP addresses (UNIX sockets).
    pub addresses: Option<(Endpoint, Endpoint)>,
    /// Where extensions of version 2 begin within the header; equal to `len` without them.
    extensions: usize,
}

impl ProxyHeader {
    /// The extensions in `bytes`, the stream from its first byte; those that are whole in it.
    #[must_use]
    pub fn tlvs<'a>(&self, bytes: &'a [u8]) -> Tlvs<'a> {
        let end = self.len.min(bytes.len());
        Tlvs { rest: bytes.get(self.extensions..end).unwrap_or_default() }
    }
}

/// The extensions of a version 2 header: type and value of each.
#[derive(Clone, Debug)]
pub struct Tlvs<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Tlvs<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let ([kind, high, low], rest) = self.rest.split_first_chunk()?;
        let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([*high, *low])))?;
        self.rest = rest;
        Some((*kind, value))
    }
}

/// Tells what the first bytes of a connection's client side are.
#[must_use]
pub fn read_preface(bytes: &[u8]) -> Preface {
    match bytes.first() {
        None => Preface::NeedMore,
        Some(b'P') => v1(bytes),
        Some(b'\r') => v2(bytes),
        Some(_) => Preface::NotProxy,
    }
}

fn v1(bytes: &[u8]) -> Preface {
    let shared = bytes.len().min(V1_START.len());
    if bytes.get(..shared) != V1_START.get(..shared) {
        return Preface::NotProxy;
    }
    let window = bytes.get(..bytes.len().min(V1_LONGEST)).unwrap_or_default();
    let end = match memchr::memchr2(b'\r', b'\n', window) {
        Some(end) if window.get(end) == Some(&b'\r') => end,
        None if window.len() < V1_LONGEST - 1 => return Preface::NeedMore,
        _ => return Preface::NotProxy,
    };
    match window.get(end + 1) {
        Some(b'\n') => {}
        None if window.len() < V1_LONGEST => return Preface::NeedMore,
        _ => return Preface::NotProxy,
    }
    let line = window.get(V1_START.len()..end).unwrap_or_default();
    let Some(addresses) = core::str::from_utf8(line).ok().and_then(v1_addresses) else { return Preface::NotProxy };
    let len = end + 2;
    Preface::Found(ProxyHeader { version: ProxyVersion::V1, len, addresses, extensions: len })
}

/// What stands behind `PROXY `; the outer `None`: it breaks the specification.
fn v1_addresses(line: &str) -> Option<Option<(Endpoint, Endpoint)>> {
    let mut parts = line.split(' ');
    let parse: fn(&str) -> Option<IpAddr> = match parts.next()? {
        // "The receiver must ignore anything presented before the CRLF".
        "UNKNOWN" => return Some(None),
        "TCP4" => |text| text.parse().ok().map(IpAddr::V4),
        "TCP6" => |text| text.parse().ok().map(IpAddr::V6),
        _ => return None,
    };
    let (source, destination) = (parse(parts.next()?)?, parse(parts.next()?)?);
    let (source_port, destination_port) = (v1_port(parts.next()?)?, v1_port(parts.next()?)?);
    if parts.next().is_some() {
        return None;
    }
    Some(Some((Endpoint { ip: source, port: source_port }, Endpoint { ip: destination, port: destination_port })))
}

/// Decimal digits without leading zeros, up to 65535.
fn v1_port(text: &str) -> Option<u16> {
    let is_plain = text == "0" || (!text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit()));
    text.parse().ok().filter(|_| is_plain)
}

fn v2(bytes: &[u8]) -> Preface {
    let shared = bytes.len().min(V2_SIGNATURE.len());
    if bytes.get(..shared) != V2_SIGNATURE.get(..shared) {
        return Preface::NotProxy;
    }
    let Some((fixed, rest)) = bytes.split_first_chunk::<V2_FIXED>() else {
        // What is wrong already will not become right.
        return match (bytes.get(12), bytes.get(13)) {
            (Some(version), _) if !matches!(version, 0x20 | 0x21) => Preface::NotProxy,
            (Some(0x21), Some(family)) if block_len(*family).is_none() => Preface::NotProxy,
            _ => Preface::NeedMore,
        };
    };
    let [.., version_and_command, family, high, low] = *fixed;
    let announced = usize::from(u16::from_be_bytes([high, low]));
    let found = |addresses, extensions| {
        Preface::Found(ProxyHeader { version: ProxyVersion::V2, len: V2_FIXED + announced, addresses, extensions })
    };
    match version_and_command {
        // LOCAL: the family and what follows it are to be ignored.
        0x20 => return found(None, V2_FIXED + announced),
        0x21 => {}
        _ => return Preface::NotProxy,
    }
    let Some(needed) = block_len(family).filter(|needed| *needed <= announced) else { return Preface::NotProxy };
    match family >> 4 {
        1 => match rest.split_first_chunk::<12>() {
            Some((block, _)) => {
                let [a, b, c, d, e, f, g, h, ports @ ..] = *block;
                let ips = (Ipv4Addr::new(a, b, c, d).into(), Ipv4Addr::new(e, f, g, h).into());
                found(Some(endpoints(ips, ports)), V2_FIXED + needed)
            }
            None => Preface::NeedMore,
        },
        2 => match (rest.first_chunk::<16>(), rest.get(16..).and_then(<[u8]>::first_chunk::<16>), rest.get(32..36)) {
            (Some(source), Some(destination), Some(&[a, b, c, d])) => {
                let ips = (Ipv6Addr::from(*source).into(), Ipv6Addr::from(*destination).into());
                found(Some(endpoints(ips, [a, b, c, d])), V2_FIXED + needed)
            }
            _ => Preface::NeedMore,
        },
        _ => found(None, V2_FIXED + needed),
    }
}

/// The length of the address block of a family and transport; `None`: a value that the specification refuses.
const fn block_len(family: u8) -> Option<usize> {
    match family {
        // UNSPEC: what follows is to be ignored, and the connection's own addresses hold.
        0x00 => Some(0),
        0x11 | 0x12 => Some(12),
        0x21 | 0x22 => Some(36),
        0x31 | 0x32 => Some(216),
        _ => None,
    }
}

fn endpoints(ips: (IpAddr, IpAddr), ports: [u8; 4]) -> (Endpoint, Endpoint) {
    let [a, b, c, d] = ports;
    let (source, destination) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    (Endpoint { ip: ips.0, port: source }, Endpoint { ip: ips.1, port: destination })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(bytes: &[u8]) -> (usize, Option<String>) {
        match read_preface(bytes) {
            Preface::Found(header) => {
                let text = |(source, destination): (Endpoint, Endpoint)| {
                    format!("{} {} {} {}", source.ip, source.port, destination.ip, destination.port)
                };
                (header.len, header.addresses.map(text))
            }
            other => panic!("{other:?} for {bytes:?}"),
        }
    }

    fn v2_header(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let mut bytes = V2_SIGNATURE.to_vec();
        bytes.extend([0x20 | command, family]);
        bytes.extend(u16::try_from(block.len()).unwrap().to_be_bytes());
        bytes.extend(block);
        bytes
    }

    #[test]
    fn text_headers() {
        for (line, expected) in [
            ("PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n", Some("192.0.2.1 56324 198.51.100.7 443")),
            (
                "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
                Some("255.255.255.255 65535 255.255.255.255 65535"),
            ),
            ("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", Some("0.0.0.0 0 0.0.0.0 0")),
            ("PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n", Some("2001:db8::1 1 2001:db8::2 2")),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", None),
        ] {
            let stream = format!("{line}GET / HTTP/1.1\r\n");
            assert_eq!(found(stream.as_bytes()), (line.len(), expected.map(str::to_owned)), "{line}");
            for cut in 0..line.len() {
                assert_eq!(read_preface(&line.as_bytes()[..cut]), Preface::NeedMore, "{cut} of {line}");
            }
        }
        // The longest that there can be.
        let full = "f".repeat(4) + &":ffff".repeat(7);
        let line = format!("PROXY UNKNOWN {full} {full} 65535 65535\r\n");
        assert_eq!(line.len(), V1_LONGEST);
        assert_eq!(found(line.as_bytes()), (V1_LONGEST, None));
    }

    #[test]
    fn text_that_breaks_the_specification() {
        for line in [
            "POST / HTTP/1.1\r\n",
            "PROXY\r\n",
            "PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n",
            "proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\rx",
            "PROXY UNKNOWNX\r\n",
            "PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY UNKNOWN\n\r\n",
            "PROXY UNKNOWN \n\r",
        ] {
            assert_eq!(read_preface(line.as_bytes()), Preface::NotProxy, "{line}");
        }
        // A line without an end is given up where no header can still end.
        let endless = "PROXY UNKNOWN ".to_owned() + &"x".repeat(200);
        assert_eq!(read_preface(&endless.as_bytes()[..V1_LONGEST - 2]), Preface::NeedMore);
        assert_eq!(read_preface(&endless.as_bytes()[..V1_LONGEST - 1]), Preface::NotProxy);
        let late = "PROXY UNKNOWN ".to_owned() + &"x".repeat(V1_LONGEST - 15) + "\r\n";
        assert_eq!(late.len(), V1_LONGEST + 1);
        assert_eq!(read_preface(late.as_bytes()), Preface::NotProxy);
    }

    #[test]
    fn binary_headers() {
        let v4 = [192, 0, 2, 1, 198, 51, 100, 7, 0xdc, 0x04, 0x01, 0xbb];
        let expected = Some("192.0.2.1 56324 198.51.100.7 443".to_owned());
        assert_eq!(found(&v2_header(1, 0x11, &v4)), (28, expected.clone()));
        assert_eq!(found(&v2_header(1, 0x12, &v4)), (28, expected.clone()));
        let mut v6 = [0; 36];
        v6[..16].copy_from_slice(&"2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        v6[16..32].copy_from_slice(&"2001:db8::2".parse::<Ipv6Addr>().unwrap().octets());
        v6[33] = 1;
        v6[35] = 2;
        assert_eq!(found(&v2_header(1, 0x21, &v6)), (52, Some("2001:db8::1 1 2001:db8::2 2".to_owned())));
        assert_eq!(found(&v2_header(1, 0x31, &[0; 216])), (232, None));
        assert_eq!(found(&v2_header(1, 0x00, b"whatever")), (24, None));
        assert_eq!(found(&v2_header(0, 0x00, b"")), (16, None));
        // LOCAL: neither the family nor the addresses are looked at.
        assert_eq!(found(&v2_header(0, 0x11, &v4)), (28, None));
        assert_eq!(found(&v2_header(0, 0xff, &v4)), (28, None));

        for cut in 0..28 {
            assert_eq!(read_preface(&v2_header(1, 0x11, &v4)[..cut]), Preface::NeedMore, "{cut}");
        }
        // Extensions need not be there for the addresses to be known.
        let mut announced = v2_header(1, 0x11, &v4);
        announced[14..16].copy_from_slice(&[0xff, 0xff]);
        assert_eq!(found(&announced), (65551, expected));
    }

    #[test]
    fn extensions() {
        let mut block = vec![0; 12];
        block.extend(b"\x02\x00\x0bapi.example\xea\x00\x01\x07\x04\x00\x00");
        let mut stream = v2_header(1, 0x11, &block);
        let Preface::Found(header) = read_preface(&stream) else { panic!("{stream:?}") };
        stream.extend(b"\x01\x00\x01x");
        let tlvs: Vec<_> = header.tlvs(&stream).collect();
        assert_eq!(tlvs, [(2, &b"api.example"[..]), (0xea, b"\x07"), (4, b"")]);
        // One that runs over the end is not there.
        assert_eq!(header.tlvs(&stream[..header.len - 5]).count(), 1);
        assert_eq!(header.tlvs(&[]).count(), 0);
    }

    #[test]
    fn binary_that_breaks_the_specification() {
        let block = [0; 216];
        for (version_and_command, family) in [
            (0x10, 0x11),
            (0x31, 0x11),
            (0x22, 0x11),
            (0x2f, 0x11),
            (0x21, 0x10),
            (0x21, 0x13),
            (0x21, 0x41),
            (0x21, 0x01),
        ] {
            let mut bytes = v2_header(0, family, &block);
            bytes[12] = version_and_command;
            assert_eq!(read_preface(&bytes), Preface::NotProxy, "{version_and_command:x} {family:x}");
            assert_eq!(read_preface(&bytes[..14]), Preface::NotProxy, "{version_and_command:x} {family:x}");
        }
        // Too short for its addresses.
        assert_eq!(read_preface(&v2_header(1, 0x11, &[0; 11])), Preface::NotProxy);
        assert_eq!(read_preface(&v2_header(1, 0x21, &[0; 35])), Preface::NotProxy);
        assert_eq!(read_preface(b"\r\n\r\nGET / HTTP/1.1"), Preface::NotProxy);
    }

    proptest! {
        #[test]
        fn any_bytes_are_told_in_bounded_space(
            start in prop_oneof![Just(V1_START.to_vec()), Just(V2_SIGNATURE.to_vec()), Just(Vec::new())],
            rest in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let bytes = [start, rest].concat();
            let whole = read_preface(&bytes);
            if bytes.len() >= V1_LONGEST {
                prop_assert_ne!(whole, Preface::NeedMore);
            }
            // What was told of a prefix is not taken back.
            for cut in 0..bytes.len() {
                let part = read_preface(&bytes[..cut]);
                prop_assert!(part == Preface::NeedMore || part == whole, "{cut}: {part:?}, then {whole:?}");
            }
            if let Preface::Found(header) = whole {
                prop_assert!(header.tlvs(&bytes).count() <= 200);
            }
        }
    }
}
