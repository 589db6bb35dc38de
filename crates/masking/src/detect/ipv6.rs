//! IPv6 addresses: runs of hexadecimal digits, colons and dots that the standard library reads as one.

use std::net::Ipv6Addr;

use super::{Hit, ends_word, starts_word};
use crate::policy::KindId;

/// Characters of the longest spelling: seven groups of four, and an IPv4 address behind them.
const MAX_LEN: usize = 45;

/// Looks around the `:` at `at`. `done` is how far has been looked.
#[inline]
pub(crate) fn at(text: &[u8], at: usize, done: &mut usize, kind: KindId, hits: &mut Vec<Hit>) {
    // Only where two parts meet: in JSON most colons stand behind a quote.
    if at > 0 && is_part(&text[at - 1]) && text.get(at + 1).is_some_and(is_part) && at >= *done {
        look(text, at, done, kind, hits);
    }
}

fn is_part(byte: &u8) -> bool {
    byte.is_ascii_hexdigit() || *byte == b':'
}

fn look(text: &[u8], at: usize, done: &mut usize, kind: KindId, hits: &mut Vec<Hit>) {
    let start = at - text[*done..at].iter().rev().take(MAX_LEN).take_while(|byte| is_part(byte)).count();
    // Either all eight groups or a gap; a time of the day has neither.
    let (mut run, mut colons, mut has_gap, mut last) = (0, 0, false, 0);
    for byte in &text[start..] {
        if *byte == b':' {
            colons += 1;
            has_gap |= last == b':';
        } else if !byte.is_ascii_hexdigit() && *byte != b'.' {
            break;
        }
        last = *byte;
        run += 1;
    }
    *done = start + run;
    if colons < 6 && !has_gap {
        return;
    }
    let mut candidate = &text[start..*done];
    while let [rest @ .., b'.'] = candidate {
        candidate = rest;
    }
    for (skip, trim) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
        // A colon of the sentence on either side (`ip:fe80::1`, `fe80::1: unreachable`).
        let Some(part) = candidate.get(skip..candidate.len().saturating_sub(trim)) else { break };
        let (from, to) = (start + skip, start + skip + part.len());
        let sides = (skip == 0 || candidate[0] == b':') && (trim == 0 || candidate.last() == Some(&b':'));
        if sides && starts_word(text, from) && ends_word(text, to) && is_address(part) {
            hits.push(Hit::new(from, to, kind));
            break;
        }
    }
}

fn is_address(text: &[u8]) -> bool {
    if text.len() > MAX_LEN || text.len() < 3 || text.iter().filter(|byte| **byte == b':').count() < 2 {
        return false;
    }
    // Eight groups of two are an EUI-64 or the beginning of a fingerprint.
    if text.len() == 23 && text.iter().skip(2).step_by(3).all(|byte| *byte == b':') {
        return false;
    }
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok_and(|address| !address.is_unspecified()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<&str> {
        let mut hits = Vec::new();
        let mut done = 0;
        for (sign, _) in text.match_indices(':') {
            at(text.as_bytes(), sign, &mut done, KindId(0), &mut hits);
        }
        hits.iter().map(|hit| &text[hit.start..hit.end]).collect()
    }

    #[test]
    fn addresses_are_found() {
        assert_eq!(found("from [2001:db8::1]:443, fe80::1."), ["2001:db8::1", "fe80::1"]);
        assert_eq!(found("ip:2001:db8:0:1:2:3:4:5: lost"), ["2001:db8:0:1:2:3:4:5"]);
        assert_eq!(found("::ffff:192.0.2.1"), ["::ffff:192.0.2.1"]);
        assert_eq!(found(r#"{"ip":"2001:db8::7"}"#), ["2001:db8::7"]);
    }

    #[test]
    fn times_and_fingerprints_are_not() {
        for text in [
            "12:30:45",
            "2024-01-02T12:30:45",
            "std::fmt",
            "00:11:22:33:44:55",
            "00:11:22:33:44:55:66:77",
            "::",
            "a:b",
            "1::2::3",
        ] {
            assert!(found(text).is_empty(), "{text}");
        }
        assert!(found(&"a:".repeat(100_000)).is_empty());
    }
}
