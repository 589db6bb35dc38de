//! Secrets that a cut goes through: what the text ends with and what could go on to be one.
//!
//! Literals' secrets are told in their own file. All here look at a bounded number of the last bytes.

use super::number::{has_issuer, iban_len, is_ssn_area};
use super::phone::has_country_code;
use super::{Detector, Hit, email, starts_word};
use crate::policy::Policy;

/// Fewer digits of a card are not worth hiding: they name its issuer.
const MIN_CARD: usize = 6;
/// No secret of numbers is longer, separators counted.
const LONGEST: usize = 48;

pub(crate) fn find(policy: &Policy, text: &[u8], hits: &mut Vec<Hit>) {
    let end = text.len();
    let mut add = |detector, start: Option<usize>, quiet| {
        if let (Some(kind), Some(start)) = (policy.detector(detector), start) {
            hits.push(Hit { partial: true, quiet, ..Hit::new(start, end, kind) });
        }
    };
    add(Detector::CreditCard, card(text), false);
    add(Detector::Iban, iban(text), false);
    add(Detector::UsSsn, ssn(text), false);
    add(Detector::Phone, phone(text), false);
    add(Detector::Ipv4, ipv4(text), false);
    add(Detector::Ipv6, ipv6(text), false);
    let (start, certain) = address(text);
    add(Detector::Email, start, !certain);
}

/// Where the run of bytes starts that the text ends with.
fn run(text: &[u8], most: usize, is: impl Fn(u8) -> bool) -> usize {
    text.len() - text.iter().rev().take(most).take_while(|byte| is(**byte)).count()
}

fn card(text: &[u8]) -> Option<usize> {
    let from =
        run(text, LONGEST, |byte| byte.is_ascii_digit() || is_part_of_separator(byte) || matches!(byte, b'.' | b'/'));
    // The first place at which so many digits could be the beginning of a card.
    (from..text.len()).find(|start| {
        let mut number = [0; 19];
        let mut count = 0;
        for digit in text[*start..].iter().filter(|byte| byte.is_ascii_digit()) {
            if count == 19 {
                return false;
            }
            number[count] = *digit;
            count += 1;
        }
        let first = text[*start].is_ascii_digit()
            && (*start == from && starts_word(text, from) || *start > from && !text[*start - 1].is_ascii_digit());
        first
            && count >= MIN_CARD
            && has_groups(&text[*start..])
            && (count.max(12)..=19).any(|len| has_issuer(&number[..count], len))
    })
}

/// Of what separates groups, also the beginning of a character.
fn is_part_of_separator(byte: u8) -> bool {
    matches!(byte, b' ' | b'-' | 0xc2 | 0xa0 | 0xe2 | 0x80 | 0x87..=0x8a | 0x90..=0x93 | 0xaf)
}

/// Whether points and slashes, if there are any, stand between groups of a card: fractions, dates and paths have them, too.
fn has_groups(text: &[u8]) -> bool {
    let mut groups = text.split(|byte| matches!(byte, b'.' | b'/'));
    let last = groups.next_back().unwrap_or_default();
    let is_group = |group: &[u8]| matches!(group.len(), 4 | 6) && group.iter().all(u8::is_ascii_digit);
    let (has_joints, fine) = groups.fold((false, true), |(_, fine), group| (true, fine && is_group(group)));
    !has_joints || fine && last.iter().all(u8::is_ascii_digit)
}

fn iban(text: &[u8]) -> Option<usize> {
    let from = run(text, LONGEST, |byte| byte.is_ascii_alphanumeric() || is_part_of_separator(byte));
    (from..text.len()).find(|start| {
        let rest = &text[*start..];
        let count = rest.iter().filter(|byte| byte.is_ascii_alphanumeric()).count();
        rest.len() >= 6
            && rest[2..4].iter().all(u8::is_ascii_digit)
            && starts_word(text, *start)
            && iban_len([rest[0], rest[1]]).is_some_and(|len| count <= len)
    })
}

fn ssn(text: &[u8]) -> Option<usize> {
    let from = run(text, 12, |byte| byte.is_ascii_digit() || byte == b'-');
    let tail = &text[from..];
    let shape = |i: usize, byte: u8| if i == 3 || i == 6 { byte == b'-' } else { byte.is_ascii_digit() };
    let fine = (5..11).contains(&tail.len())
        && tail.iter().enumerate().all(|(i, byte)| shape(i, *byte))
        && is_ssn_area(&tail[..3])
        && starts_word(text, from);
    fine.then_some(from)
}

fn phone(text: &[u8]) -> Option<usize> {
    let from =
        run(text, 32, |byte| byte.is_ascii_digit() || matches!(byte, b'+' | b' ' | b'-' | b'.' | b'(' | b')' | b'/'));
    let start = from + memchr::memrchr(b'+', &text[from..])?;
    let mut number = [b'0'; 15];
    let mut count = 0;
    for digit in text[start..].iter().filter(|byte| byte.is_ascii_digit()) {
        *number.get_mut(count)? = *digit;
        count += 1;
    }
    (count >= 4 && starts_word(text, start) && has_country_code(&number[..count])).then_some(start)
}

fn ipv4(text: &[u8]) -> Option<usize> {
    let from = run(text, 16, |byte| byte.is_ascii_digit() || byte == b'.');
    let tail = &text[from..];
    let fine = tail.len() < 15
        && tail.iter().filter(|byte| **byte == b'.').count() >= 2
        && tail.split(|byte| *byte == b'.').all(|octet| octet.len() <= 3)
        && tail[0] != b'.'
        && starts_word(text, from);
    fine.then_some(from)
}

fn ipv6(text: &[u8]) -> Option<usize> {
    let from = run(text, LONGEST, |byte| byte.is_ascii_hexdigit() || byte == b':');
    let tail = &text[from..];
    let fine = tail.len() <= 39
        && tail.iter().filter(|byte| **byte == b':').count() >= 2
        && tail.split(|byte| *byte == b':').all(|group| group.len() <= 4)
        && tail.split(|byte| *byte == b':').any(|group| group.len() > 2)
        && starts_word(text, from);
    fine.then_some(from)
}

/// An address that is cut in its domain; or whatever could be a local part, of which nothing is certain.
fn address(text: &[u8]) -> (Option<usize>, bool) {
    let is_domain = |byte: u8| byte.is_ascii_alphanumeric() || byte >= 0x80 || matches!(byte, b'-' | b'.');
    let domain = run(text, 256, is_domain);
    if domain > 0 && text[domain - 1] == b'@' {
        let local = email::local_len(&text[..domain - 1]);
        if local > 0 {
            return (Some(domain - 1 - local), true);
        }
    }
    let local = email::local_len(text);
    ((local > 0).then(|| text.len() - local), false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(find: fn(&[u8]) -> Option<usize>, text: &str) -> Option<&str> {
        find(text.as_bytes()).map(|start| &text[start..])
    }

    #[test]
    fn beginnings_at_the_end_are_found() {
        assert_eq!(tail(card, "no 4111 1111 1"), Some("4111 1111 1"));
        assert_eq!(tail(card, "2024 4111-1111-"), Some("4111-1111-"));
        assert_eq!(tail(card, "at 4111.1111.1"), Some("4111.1111.1"));
        assert_eq!(tail(card, "at 4111/1111/"), Some("4111/1111/"));
        assert_eq!(tail(card, "at 4111\u{a0}1111\u{a0}"), Some("4111\u{a0}1111\u{a0}"));
        assert_eq!(tail(card, "on 4.11.1111"), None);
        assert_eq!(tail(card, "at 411.11111"), None);
        assert_eq!(tail(iban, "to DE89\u{2009}3704\u{2009}00"), Some("DE89\u{2009}3704\u{2009}00"));
        assert_eq!(tail(card, "at 170000000000"), None);
        assert_eq!(tail(card, "x 12345"), None);
        assert_eq!(tail(iban, "to DE89 3704 00"), Some("DE89 3704 00"));
        assert_eq!(tail(iban, "to XX89 3704 00"), None);
        assert_eq!(tail(ssn, "is 123-45-67"), Some("123-45-67"));
        assert_eq!(tail(ssn, "is 2024-11-2"), None);
        assert_eq!(tail(phone, "call +49 89 12"), Some("+49 89 12"));
        assert_eq!(tail(ipv4, "from 10.1.2"), Some("10.1.2"));
        assert_eq!(tail(ipv4, "pi 3.14"), None);
        assert_eq!(tail(ipv6, "from 2001:db8:"), Some("2001:db8:"));
        assert_eq!(tail(ipv6, "at 12:30:4"), None);
        assert_eq!(address(b"to jane@exam"), (Some(3), true));
        assert_eq!(address(b"to jane"), (Some(3), false));
        assert_eq!(address(b"to "), (None, false));
    }
}
