//! What begins with digits: payment cards, IBANs, social security numbers, IPv4 addresses; and phone
//! numbers ([`super::phone`]).
//!
//! One walk over the runs of digits; most are dismissed by their length and the byte behind them ([`super::runs`] does so for
//! many at once).

use super::{Detector, Hit, ends_word, phone, starts_word};
use crate::policy::{KindId, Policy};

/// Looks at the run of digits that is `start..end`. `done` is how far numbers have been found: what is
/// within one is not looked at again.
pub(crate) fn at(policy: &Policy, text: &[u8], run: (usize, usize), done: &mut usize, hits: &mut Vec<Hit>) {
    if run.0 >= *done && may_be(text, run) {
        look(policy, text, run, done, hits);
    }
}

/// Whether a run of digits may be part of anything that is looked for.
pub(super) fn may_be(text: &[u8], (start, end): (usize, usize)) -> bool {
    let len = end - start;
    let is_digit = |n: usize| text.get(end + n).is_some_and(u8::is_ascii_digit);
    let is = |n: usize, byte: u8| text.get(end + n) == Some(&byte);
    // The short runs of dates, prices and ids, which most are, go on with nothing that is looked for: groups of four or six
    // digits, two digits and a dash, three more numbers behind points.
    let may_go_on = match text.get(end) {
        Some(b' ') => len == 4 && is_digit(3) && (is_digit(4) || is(1, b' ')),
        Some(b'-') => len == 4 && is_digit(3) && is_digit(4) || len == 3 && is(3, b'-'),
        Some(b'.') if len <= 3 => is(2, b'.') || is(3, b'.') || is(4, b'.'),
        Some(b'.' | b'/') => len == 4 && is_digit(3) && is_digit(4),
        // Blanks and dashes outside of ASCII.
        Some(0xc2 | 0xe2) => len == 4 && (is_digit(5) || is_digit(6)),
        _ => false,
    };
    let may_be_inside = match start.checked_sub(1).map(|at| text[at]) {
        Some(b'+' | b'(') => true,
        // Two letters that are a country, with nothing in front.
        Some(letter) if letter.is_ascii_alphabetic() => {
            len >= 2 && start >= 2 && has_iban([text[start - 2], letter]) && starts_iban(text, start - 2)
        }
        _ => false,
    };
    len >= 12 || may_go_on || may_be_inside
}

fn look(policy: &Policy, text: &[u8], (start, end): (usize, usize), done: &mut usize, hits: &mut Vec<Hit>) {
    let on = |detector| policy.detector(detector);
    let (len, next) = (end - start, text.get(end).copied());
    let before = |n: usize| start.checked_sub(n).map(|at| text[at]);
    let mut hit = |range: Option<(usize, usize)>, kind: KindId| {
        if let Some((start, end)) = range {
            hits.push(Hit::new(start, end, kind));
            *done = end;
        }
        range.is_some()
    };
    if len >= 12 {
        if on(Detector::CreditCard).is_some_and(|kind| hit(card_plain(text, start, end), kind)) {
            return;
        }
    } else if len == 4 || text.get(end + 1).is_some_and(u8::is_ascii_digit) {
        let is_found = match (len, next) {
            (4, Some(b' ' | b'-' | b'.' | b'/' | 0xc2 | 0xe2)) => {
                on(Detector::CreditCard).is_some_and(|kind| hit(card_grouped(text, start), kind))
            }
            (3, Some(b'-')) => on(Detector::UsSsn).is_some_and(|kind| hit(ssn_dashed(text, start), kind)),
            (1..=3, Some(b'.')) => on(Detector::Ipv4).is_some_and(|kind| hit(ipv4_at(text, start), kind)),
            _ => false,
        };
        if is_found {
            return;
        }
    }
    match before(1) {
        Some(letter) if letter.is_ascii_alphabetic() && len >= 2 => {
            let _ = on(Detector::Iban).is_some_and(|kind| hit(iban_at(text, start), kind));
        }
        Some(b'+') => {
            let _ = on(Detector::Phone).is_some_and(|kind| hit(phone::at(text, start - 1), kind));
        }
        Some(b'(') if before(2) == Some(b'+') => {
            let _ = on(Detector::Phone).is_some_and(|kind| hit(phone::at(text, start - 2), kind));
        }
        _ => {}
    }
}

pub(super) fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// A separator of groups that a text goes on with: a dash, one blank or two, or one of those outside of ASCII that programs
/// put between digits.
pub(super) fn separator(text: &[u8]) -> &[u8] {
    let len = match text {
        [b' ', b' ', ..] | [0xc2, 0xa0, ..] => 2,
        [b' ' | b'-', ..] => 1,
        // Figure, punctuation, thin, hair and narrow blanks; hyphens, figure and en dashes.
        [0xe2, 0x80, 0x87..=0x8a | 0x90..=0x93 | 0xaf, ..] => 3,
        _ => 0,
    };
    &text[..len]
}

/// Whether a text goes on with a point and zeros only, as whole numbers that went through floating point do.
fn is_zero_fraction(text: &[u8]) -> bool {
    let zeros = text.iter().skip(1).take(20).take_while(|byte| **byte == b'0').count();
    text.first() == Some(&b'.') && zeros > 0 && ends_word(text, 1 + zeros)
}

/// Whether a text goes on as the data of a chip or a stripe do behind the number: the separator, then when the card expires,
/// and three digits.
fn is_track(text: &[u8]) -> bool {
    let data = text.get(1..8).unwrap_or_default();
    matches!(text.first(), Some(b'D' | b'd'))
        && data.len() == 7
        && data.iter().all(u8::is_ascii_digit)
        && matches!(&data[2..4], [b'0', b'1'..=b'9'] | [b'1', b'0'..=b'2'])
}

/// A card in one run of digits that is no fraction.
fn card_plain(text: &[u8], start: usize, end: usize) -> Option<(usize, usize)> {
    let (run, behind) = (&text[start..end], &text[end..]);
    let fraction_before = start >= 2 && text[start - 1] == b'.' && text[start - 2].is_ascii_digit();
    let fraction_behind = behind.first() == Some(&b'.') && behind.get(1).is_some_and(u8::is_ascii_digit);
    // Of a stripe's first track, which a letter is in front of.
    let on_stripe =
        behind.first() == Some(&b'^') && start > 0 && text[start - 1] == b'B' && starts_word(text, start - 1);
    let on_chip = is_track(behind);
    // Zeros that fill it up; and the tag and length that a chip's data stand behind.
    let filled = run.iter().take_while(|digit| **digit == b'0').count();
    let skipped = if on_chip && run.len() > 19 && run.starts_with(b"571") { 4 } else { filled };
    let number = &run[skipped..];
    let fine = number.len() <= 19
        && (on_stripe || starts_word(text, start))
        && (on_chip || ends_word(text, end))
        && !fraction_before
        && (!fraction_behind || is_zero_fraction(behind))
        && (skipped == 0 || number.len() >= 15 && run.len() <= 24)
        && is_card(number)
        // Visa has given out none of thirteen digits for decades, while one in ten of all numbers of so many that begin
        // with a four would pass for one; an article number is no Maestro card.
        && !(number.len() == 13 && (number[0] == b'4' || is_ean(number)));
    fine.then_some((start + skipped, end))
}

/// A card in groups, of which the one at `start` is the first: four digits each, the last fewer, or 4-6-5 and 4-6-4; with
/// the same separator between all.
pub(super) fn card_grouped(text: &[u8], start: usize) -> Option<(usize, usize)> {
    if !starts_word(text, start) {
        return None;
    }
    let separator = match text[start + 4] {
        b'.' | b'/' => &text[start + 4..start + 5],
        _ => separator(&text[start + 4..]),
    };
    // What blanks separate are words; what dashes, points and slashes join is one.
    let joins = matches!(separator, b"-" | b"." | b"/");
    if separator.is_empty() || joins && follows_group(&text[..start], separator[0]) {
        return None;
    }
    let mut number = [0; 19];
    number[..4].copy_from_slice(&text[start..start + 4]);
    let (mut count, mut at, mut groups, mut last) = (4, start + 4, 1, 4);
    let mut found = None;
    while let Some(rest) = text[at..].strip_prefix(separator) {
        let group = digits(rest.get(..20).unwrap_or(rest));
        let fine = match groups {
            1 => group == 4 || group == 6,
            2 if last == 6 => group == 5 || group == 4,
            _ => last == 4 && (1..=4).contains(&group),
        };
        if !fine || count + group > 19 || (groups > 2 && count == 14 || count == 15 && last == 5) {
            break;
        }
        number[count..count + group].copy_from_slice(&rest[..group]);
        count += group;
        groups += 1;
        last = group;
        at += separator.len() + group;
        // A date or a check number may be joined to it, but no further group of its kind.
        let more = joins
            && text[at..]
                .strip_prefix(separator)
                .map(digits)
                .is_some_and(|len| len > 3 || len > 0 && separator != b"-");
        if count >= 13 && ends_word(text, at) && is_card(&number[..count]) && !more {
            found = Some((start, at));
        }
    }
    found
}

/// Whether a text ends with digits and what joins them to a group: of a dash, as many as a group has.
fn follows_group(text: &[u8], joint: u8) -> bool {
    let Some(front) = text.strip_suffix(&[joint]) else { return false };
    let len = front.iter().rev().take(4).take_while(|byte| byte.is_ascii_digit()).count();
    len > 3 || len > 0 && joint != b'-'
}

/// Whether digits are a card number: issuer, its lengths, and Luhn's check digit.
pub(super) fn is_card(number: &[u8]) -> bool {
    has_issuer(number, number.len()) && luhn(number)
}

/// Whether an issuer gives out numbers of `len` digits that start so. At least six digits decide it; with fewer, what is
/// missing counts as zeros.
pub(super) fn has_issuer(number: &[u8], len: usize) -> bool {
    let prefix =
        |n: usize| (0..n).fold(0_u32, |sum, i| sum * 10 + number.get(i).map_or(0, |digit| u32::from(digit - b'0')));
    let (one, two, three, four, six) = (prefix(1), prefix(2), prefix(3), prefix(4), prefix(6));
    match one {
        // Mastercard, Mir.
        2 => match four {
            2221..=2720 => len == 16,
            2200..=2204 => (16..=19).contains(&len),
            _ => false,
        },
        // American Express, Diners Club, JCB.
        3 => match two {
            34 | 37 => len == 15,
            30 => len == 14 && matches!(three, 300..=305 | 309),
            36 | 38 | 39 => len == 14,
            35 => (16..=19).contains(&len) && (3528..=3589).contains(&four),
            _ => false,
        },
        // Visa.
        4 => matches!(len, 13 | 16 | 19),
        // Mastercard, Maestro, Verve, RuPay, Elo.
        5 => match two {
            51..=55 => len == 16,
            50 | 56..=58 => match four {
                5018 | 5020 | 5038 | 5612 | 5893 => (12..=19).contains(&len),
                5060 | 5061 | 5066 | 5067 | 5090 | 5080..=5089 => (16..=19).contains(&len),
                _ => false,
            },
            _ => false,
        },
        // Discover, UnionPay, Maestro, RuPay, Hipercard.
        6 => match two {
            60 => len == 16 && matches!(four, 6011 | 6060..=6099),
            62 => (16..=19).contains(&len),
            64 => (16..=19).contains(&len) && (644..=649).contains(&three),
            65 => (16..=19).contains(&len),
            63 | 67 => {
                matches!(four, 6304 | 6759 | 6761..=6763) && (12..=19).contains(&len) || six == 637_095 && len == 16
            }
            _ => false,
        },
        // RuPay.
        8 => len == 16 && matches!(three, 817 | 820..=829),
        // Troy.
        9 => len == 16 && four == 9792,
        _ => false,
    }
}

fn luhn(number: &[u8]) -> bool {
    let sum: u32 = number
        .iter()
        .rev()
        .enumerate()
        .map(|(i, digit)| {
            let digit = u32::from(digit - b'0');
            if i % 2 == 0 { digit } else { digit * 2 / 10 + digit * 2 % 10 }
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Whether thirteen digits are an article number, GS1's check digit included.
fn is_ean(number: &[u8]) -> bool {
    let sum: u32 = number.iter().enumerate().map(|(i, digit)| u32::from(digit - b'0') * [1, 3][i % 2]).sum();
    sum.is_multiple_of(10)
}

/// Countries and the length of their IBANs, as SWIFT's registry has them.
const IBAN_LENGTHS: &[(&[u8; 2], u8)] = &[
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BG", 22),
    (b"BH", 22),
    (b"BI", 27),
    (b"BR", 29),
    (b"BY", 28),
    (b"CH", 21),
    (b"CR", 22),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DJ", 27),
    (b"DK", 18),
    (b"DO", 28),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FK", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GR", 27),
    (b"GT", 28),
    (b"HN", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"LY", 25),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MK", 19),
    (b"MN", 20),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"NI", 28),
    (b"NL", 18),
    (b"NO", 15),
    (b"OM", 23),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"RU", 33),
    (b"SA", 24),
    (b"SC", 31),
    (b"SD", 18),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"SO", 23),
    (b"ST", 25),
    (b"SV", 28),
    (b"TL", 23),
    (b"TN", 24),
    (b"TR", 26),
    (b"UA", 29),
    (b"VA", 22),
    (b"VG", 24),
    (b"XK", 20),
    (b"YE", 30),
];

/// Countries whose account numbers have no letters.
const NUMERIC_IBANS: &[[u8; 2]] = &[
    *b"AE", *b"AT", *b"BA", *b"BE", *b"CZ", *b"DE", *b"DK", *b"EE", *b"ES", *b"FI", *b"FO", *b"GL", *b"HR", *b"HU",
    *b"IL", *b"IS", *b"LT", *b"ME", *b"NO", *b"PL", *b"PT", *b"RS", *b"SE", *b"SI", *b"SK", *b"TN", *b"XK",
];

/// For each first letter the second ones of the countries that have IBANs.
const IBAN_COUNTRIES: [u32; 32] = {
    let mut seconds = [0; 32];
    let mut i = 0;
    while i < IBAN_LENGTHS.len() {
        let [first, second] = *IBAN_LENGTHS[i].0;
        seconds[first as usize & 31] |= 1 << (second & 31);
        i += 1;
    }
    seconds
};

/// Whether two bytes can be a country with IBANs, in either case.
#[inline]
fn has_iban([first, second]: [u8; 2]) -> bool {
    first.is_ascii_alphabetic() && IBAN_COUNTRIES[usize::from(first & 31)] & 1 << (second & 31) != 0
}

/// Whether an IBAN can start at `at`: as a word does, or behind what it is called.
fn starts_iban(text: &[u8], at: usize) -> bool {
    starts_word(text, at)
        || text[..at].last_chunk().is_some_and(|front: &[u8; 4]| front.eq_ignore_ascii_case(b"IBAN"))
            && starts_word(text, at - 4)
}

/// How long an IBAN of the country is.
pub(super) fn iban_len(country: [u8; 2]) -> Option<usize> {
    let country = country.map(|byte| byte.to_ascii_uppercase());
    let at = IBAN_LENGTHS.binary_search_by(|(known, _)| known.as_slice().cmp(&country)).ok()?;
    Some(usize::from(IBAN_LENGTHS[at].1))
}

/// An IBAN whose check digits are at `digits`: in one piece, or with single separators.
fn iban_at(text: &[u8], digits: usize) -> Option<(usize, usize)> {
    let start = digits.checked_sub(2)?;
    if !has_iban([text[start], text[start + 1]]) {
        return None;
    }
    let len = iban_len([text[start], text[start + 1]])?;
    if !starts_iban(text, start) {
        return None;
    }
    let mut number = [0; 34];
    let (mut count, mut at) = (0, start);
    while count < len {
        let byte = *text.get(at)?;
        if byte.is_ascii_alphanumeric() {
            number[count] = byte.to_ascii_uppercase();
            count += 1;
            at += 1;
            continue;
        }
        let separator = separator(&text[at..]);
        if separator.is_empty() || separator == b"  " || count < 4 || !text[at - 1].is_ascii_alphanumeric() {
            return None;
        }
        at += separator.len();
    }
    // Letters of one case, as they are written; text in base64 has both.
    let spelled = &text[start..at];
    let is_mixed = spelled.iter().any(u8::is_ascii_uppercase) && spelled.iter().any(u8::is_ascii_lowercase);
    let digits_only = NUMERIC_IBANS.contains(&[number[0], number[1]]);
    let fine = ends_word(text, at)
        && !is_mixed
        && (!digits_only || number[2..len].iter().all(u8::is_ascii_digit))
        && is_iban(&number[..len]);
    fine.then_some((start, at))
}

/// ISO 7064 MOD 97-10: the first four characters moved to the end, letters as two digits, remainder 1.
fn is_iban(number: &[u8]) -> bool {
    if !number[2..4].iter().all(u8::is_ascii_digit) {
        return false;
    }
    let rotated = number[4..].iter().chain(&number[..4]);
    let remainder = rotated.fold(0_u32, |sum, byte| match byte {
        b'0'..=b'9' => (sum * 10 + u32::from(byte - b'0')) % 97,
        letter => (sum * 100 + u32::from(letter - b'A') + 10) % 97,
    });
    remainder == 1
}

pub(super) fn ssn_dashed(text: &[u8], start: usize) -> Option<(usize, usize)> {
    let end = start + 11;
    let number = text.get(start..end)?;
    // A dash joins it to more of a longer number, a point to another number; a path, a file's name and words do not.
    let is_joined = |joint: Option<&u8>, other: Option<&u8>| match joint {
        Some(b'-') => other.is_some_and(u8::is_ascii_alphanumeric),
        Some(b'.') => other.is_some_and(u8::is_ascii_digit),
        _ => false,
    };
    let before = |n: usize| start.checked_sub(n).map(|at| &text[at]);
    let fine = starts_word(text, start)
        && ends_word(text, end)
        && (before(1) != Some(&b'-') || text[..start].ends_with(b"<!--"))
        && !is_joined(before(1), before(2))
        && !is_joined(text.get(end), text.get(end + 1))
        && number[3] == b'-'
        && number[6] == b'-'
        && is_ssn(number);
    fine.then_some((start, end))
}

/// Whether a whole text is a social security number: nine digits, plain, or 3-2-4 with dashes, points, blanks or the like.
pub(super) fn is_ssn(text: &[u8]) -> bool {
    let joint = match text.get(3) {
        Some(b'.') => b".",
        Some(_) => separator(&text[3..]),
        None => return false,
    };
    let mut number = [0; 9];
    let end = 5 + joint.len();
    if text.len() != 9 + 2 * joint.len() || joint == b"  " || text.get(end..end + joint.len()) != Some(joint) {
        return false;
    }
    number[..3].copy_from_slice(&text[..3]);
    number[3..5].copy_from_slice(&text[end - 2..end]);
    number[5..].copy_from_slice(&text[end + joint.len()..]);
    number.iter().all(u8::is_ascii_digit)
        && is_ssn_area(&number[..3])
        && number[3..5] != *b"00"
        && number[5..] != *b"0000"
}

/// Area numbers that are given out: not 000, 666 or 900 to 999.
pub(super) fn is_ssn_area(area: &[u8]) -> bool {
    area != b"000" && area != b"666" && area.first() != Some(&b'9')
}

pub(super) fn ipv4_at(text: &[u8], start: usize) -> Option<(usize, usize)> {
    let before = |n: usize| start.checked_sub(n).map(|at| text[at]);
    if !starts_word(text, start)
        || before(1) == Some(b'.') && before(2).is_some_and(|byte| byte.is_ascii_alphanumeric())
    {
        return None;
    }
    let (mut at, mut octets) = (start, [0_u16; 4]);
    for (i, octet) in octets.iter_mut().enumerate() {
        let len = digits(text[at..].get(..4).unwrap_or(&text[at..]));
        if !(1..=3).contains(&len) {
            return None;
        }
        *octet = text[at..at + len].iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
        at += len;
        if *octet > 255 || i < 3 && text.get(at) != Some(&b'.') {
            return None;
        }
        at += usize::from(i < 3);
    }
    let more = text.get(at) == Some(&b'.') && text.get(at + 1).is_some_and(u8::is_ascii_digit);
    // A product's version (`Chrome/120.0.0.0`), or the unspecified address.
    let version =
        octets[2..] == [0, 0] && before(1) == Some(b'/') && before(2).is_some_and(|byte| byte.is_ascii_alphabetic());
    (ends_word(text, at) && !more && !version && octets != [0; 4]).then_some((start, at))
}
