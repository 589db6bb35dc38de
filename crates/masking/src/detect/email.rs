//! E-mail addresses: what stands around an `@`. Letters outside of ASCII count as such on both sides.

use super::Hit;
use crate::policy::KindId;

/// RFC 5321, section 4.5.3.1: octets of a local part and of a domain.
const MAX_LOCAL: usize = 64;
const MAX_DOMAIN: usize = 255;

/// Looks around the `@` at `at`. `done` is how far addresses have been found.
pub(crate) fn at(text: &[u8], at: usize, done: &mut usize, kind: KindId, hits: &mut Vec<Hit>) {
    if at < *done {
        return;
    }
    let start = at - local_len(&text[*done..at]);
    if start < at
        && let Some(len) = domain_len(&text[at + 1..])
    {
        *done = at + 1 + len;
        hits.push(Hit::new(start, *done, kind));
    }
}

/// How many of the last bytes of `text` can be a local part.
pub(super) fn local_len(text: &[u8]) -> usize {
    let run = text.iter().rev().take(MAX_LOCAL).take_while(|byte| is_local(**byte)).count();
    // A dot or a quote of the sentence in front of it does not belong to it.
    let local = &text[text.len() - run..];
    run - local.iter().take_while(|byte| matches!(byte, b'.' | b'\'')).count()
}

pub(super) fn is_local(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || byte >= 0x80
        || matches!(byte, b'.' | b'_' | b'%' | b'+' | b'-' | b'\'' | b'!' | b'*' | b'^' | b'~')
}

fn is_domain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80 || byte == b'-'
}

/// How many of the first bytes are a domain of at least two labels, the last of them letters.
fn domain_len(text: &[u8]) -> Option<usize> {
    let run = text.iter().take(MAX_DOMAIN).take_while(|byte| is_domain(**byte) || **byte == b'.').count();
    let mut end = run;
    while end > 0 && !(text[end - 1].is_ascii_alphanumeric() || text[end - 1] >= 0x80) {
        end -= 1;
    }
    let domain = &text[..end];
    let dot = memchr::memrchr(b'.', domain)?;
    let top = &domain[dot + 1..];
    let fine = dot > 0 && domain[0] != b'.' && top.len() >= 2 && (top[0].is_ascii_alphabetic() || top[0] >= 0x80);
    fine.then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let mut hits = Vec::new();
        let mut done = 0;
        for (sign, _) in text.match_indices('@') {
            at(text.as_bytes(), sign, &mut done, KindId(0), &mut hits);
        }
        hits.iter().map(|hit| String::from_utf8_lossy(&text.as_bytes()[hit.start..hit.end]).into_owned()).collect()
    }

    #[test]
    fn addresses_are_found() {
        assert_eq!(found("write to jane.doe+x@mail.example.org."), ["jane.doe+x@mail.example.org"]);
        assert_eq!(found("a@b.co,c_d@e-f.io;<g@h.de>"), ["a@b.co", "c_d@e-f.io", "g@h.de"]);
        assert_eq!(found("mailto:jürgen@grüße.de"), ["jürgen@grüße.de"]);
        assert_eq!(found("user=a@b.co&x=1"), ["a@b.co"]);
    }

    #[test]
    fn handles_and_other_uses_of_the_sign_are_not() {
        for text in ["@scope/package", "user@host", "a @ b.co", "3@4.5", "@", "@@@@", "a@.com", "x@y."] {
            assert!(found(text).is_empty(), "{text}");
        }
    }
}
