//! The Forwarded header (RFC 7239, section 4).
//!
//! Read from the left, because only so can a quoted string be told from what is around it. Where the text breaks the
//! grammar, nothing behind it in the same field line is read: a quote that a client leaves open must not lend its words to the
//! proxy behind it. More lenient than the grammar in one point, which proxies in use need: an address with a port or in
//! brackets stands without quotes.

use super::client::Scheme;
use super::hop::{self, Named};

/// One element: what one proxy says of whom it spoke for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    /// The address in `for`; `None`: not given, unknown, obfuscated, given twice, or the element is malformed.
    pub(super) address: Option<Named>,
    /// The scheme in `proto`.
    pub(super) scheme: Option<Scheme>,
}

/// The elements of one field line, from the left. Empty ones are passed over; a malformed one is the last.
#[derive(Clone, Debug)]
pub(super) struct Elements<'a> {
    rest: &'a [u8],
}

impl<'a> Elements<'a> {
    pub(super) const fn new(line: &'a [u8]) -> Self {
        Self { rest: line }
    }
}

impl Iterator for Elements<'_> {
    type Item = Element;

    fn next(&mut self) -> Option<Element> {
        loop {
            self.rest = self.rest.trim_ascii_start();
            match self.rest {
                [] => return None,
                [b',', rest @ ..] => self.rest = rest,
                _ => break,
            }
        }
        match element(self.rest) {
            Some((element, rest)) => {
                self.rest = rest;
                Some(element)
            }
            None => {
                self.rest = &[];
                Some(Element::default())
            }
        }
    }
}

/// An element and what is behind it; `None` when it breaks the grammar.
fn element(mut rest: &[u8]) -> Option<(Element, &[u8])> {
    let mut element = Element::default();
    let (mut has_for, mut has_proto, mut is_ambiguous) = (false, false, false);
    loop {
        rest = rest.trim_ascii_start();
        if !matches!(rest, [] | [b',' | b';', ..]) {
            let end = rest.iter().position(|byte| !is_token(*byte))?;
            let (name, behind) = rest.split_at(end);
            let mut text = [0; VALUE];
            let (value, behind) = value(behind.strip_prefix(b"=")?, &mut text)?;
            if name.eq_ignore_ascii_case(b"for") {
                is_ambiguous |= core::mem::replace(&mut has_for, true);
                element.address = hop::named(value);
            } else if name.eq_ignore_ascii_case(b"proto") {
                is_ambiguous |= core::mem::replace(&mut has_proto, true);
                element.scheme = Scheme::named(value);
            } else if name.is_empty() {
                return None;
            }
            rest = behind.trim_ascii_start();
        }
        match rest {
            [b';', behind @ ..] => rest = behind,
            [] | [b',', ..] => {
                // "Each parameter MUST NOT occur more than once": whoever reads such an element may read either value.
                return Some((if is_ambiguous { Element::default() } else { element }, rest));
            }
            _ => return None,
        }
    }
}

/// The most bytes of a value that are looked at: no address and no scheme is longer.
const VALUE: usize = 64;

/// A value and what is behind it. A quoted string is taken out of its quotes and escapes; what is longer than any value of
/// use comes out empty.
fn value<'a: 't, 't>(rest: &'a [u8], text: &'t mut [u8; VALUE]) -> Option<(&'t [u8], &'a [u8])> {
    let Some(quoted) = rest.strip_prefix(b"\"") else {
        let end = rest.iter().position(|byte| !is_token(*byte) && !matches!(byte, b':' | b'[' | b']'));
        let (value, rest) = rest.split_at(end.unwrap_or(rest.len()));
        return (!value.is_empty()).then_some((value, rest));
    };
    let mut len = 0;
    let mut bytes = quoted.iter().enumerate();
    while let Some((at, byte)) = bytes.next() {
        let byte = match byte {
            b'"' => {
                let value = text.get(..len).unwrap_or_default();
                return Some((value, quoted.get(at + 1..).unwrap_or_default()));
            }
            b'\\' => bytes.next()?.1,
            byte => byte,
        };
        if let Some(place) = text.get_mut(len) {
            *place = *byte;
        }
        len += 1;
    }
    None
}

/// RFC 9110, section 5.6.2.
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Vec<String> {
        let text = |element: Element| {
            let address = element.address.map_or("-".to_owned(), |named| match named.port {
                Some(port) => format!("{} {port}", named.ip),
                None => named.ip.to_string(),
            });
            match element.scheme {
                Some(scheme) => format!("{address} {}", scheme.name()),
                None => address,
            }
        };
        Elements::new(line.as_bytes()).map(text).collect()
    }

    #[test]
    fn the_examples_of_the_rfc() {
        // Section 4.
        assert_eq!(read("for=\"_gazonk\""), ["-"]);
        assert_eq!(read("For=\"[2001:db8:cafe::17]:4711\""), ["2001:db8:cafe::17 4711"]);
        assert_eq!(read("for=192.0.2.60;proto=http;by=203.0.113.43"), ["192.0.2.60 http"]);
        assert_eq!(read("for=192.0.2.43, for=198.51.100.17"), ["192.0.2.43", "198.51.100.17"]);
        // Sections 6.3, 7.1 and 7.4.
        assert_eq!(read("for=_hidden, for=_SEVKISEK"), ["-", "-"]);
        assert_eq!(read("for=192.0.2.43, for=\"[2001:db8:cafe::17]\""), ["192.0.2.43", "2001:db8:cafe::17"]);
        assert_eq!(
            read("for=192.0.2.43,for=\"[2001:db8:cafe::17]\",for=unknown"),
            ["192.0.2.43", "2001:db8:cafe::17", "-"]
        );
        assert_eq!(
            read("for=_hidden;proto=https;by=_x, for=192.0.2.1;host=\"a;b, for=6.6.6.6\";PROTO=HTTPS"),
            ["- https", "192.0.2.1 https"]
        );
    }

    #[test]
    fn quotes_and_escapes() {
        assert_eq!(read(r#"for="\1\9\2.0.2.1""#), ["192.0.2.1"]);
        assert_eq!(read(r#"host="a\"b, for=6.6.6.6";for=192.0.2.1"#), ["192.0.2.1"]);
        assert_eq!(read("for=192.0.2.1:80"), ["192.0.2.1 80"]);
        assert_eq!(read("for=[2001:db8::1]:80"), ["2001:db8::1 80"]);
        assert_eq!(read(" , ,for=192.0.2.1 ; proto=https ,, for=192.0.2.2;"), ["192.0.2.1 https", "192.0.2.2"]);
        assert_eq!(read(";;for=192.0.2.1;;"), ["192.0.2.1"]);
    }

    #[test]
    fn what_breaks_the_grammar_ends_the_line() {
        for line in [
            "for",
            "for=",
            "=192.0.2.1",
            "for =192.0.2.1",
            "for= 192.0.2.1",
            "for=\"192.0.2.1",
            "for=\"192.0.2.1\\",
            "for=\"192.0.2.1\"x",
            "for=192.0.2.1 for=192.0.2.2",
            "for=(192.0.2.1)",
            "\"",
            "@",
            "for=\x01",
        ] {
            assert_eq!(read(line), ["-"], "{line}");
            assert_eq!(read(&format!("{line}, for=192.0.2.9")).last().map(String::as_str), Some("-"), "{line}");
        }
        assert_eq!(read("for=192.0.2.1;for=192.0.2.2"), ["-"]);
        assert_eq!(read("for=192.0.2.1;proto=http;proto=https"), ["-"]);
        assert!(read("").is_empty() && read(" , ").is_empty());
        // A value of a megabyte is read once and belongs to nothing.
        assert_eq!(read(&format!("for=\"{}\"", "1".repeat(1 << 20))), ["-"]);
        assert_eq!(read(&";".repeat(1 << 20)), ["-"]);
    }
}
