//! Phone numbers as ITU-T E.164 has them: a plus, the code of a country, and groups of digits.

use super::number::{card_grouped, digits, ipv4_at, separator, ssn_dashed};
use super::{ends_word, starts_word};

/// The fewest digits of a phone number, and the most, with the country's code.
const MIN_DIGITS: usize = 8;
const MAX_DIGITS: usize = 15;

/// A phone number with the `+` at `start`: its groups, as far as they are of one number. What is behind them may be digits, too:
/// it ends where something else is told, and else with the last group that E.164 leaves room for.
pub(super) fn at(text: &[u8], start: usize) -> Option<(usize, usize)> {
    // A plus behind a bracket adds (`getTime()+604800000`).
    if !starts_word(text, start) || start > 0 && matches!(text[start - 1], b')' | b']') {
        return None;
    }
    let is_segment = start > 0 && text[start - 1] == b'/';
    let mut number = [0; MAX_DIGITS];
    let (mut count, mut end) = (0, start);
    let mut at = start + 1 + usize::from(text.get(start + 1) == Some(&b'('));
    loop {
        let rest = &text[at..];
        let group = digits(rest.get(..=MAX_DIGITS).unwrap_or(rest));
        // Of these countries all numbers are of one length.
        let is_complete =
            count + group == 11 && matches!(text[start + 1..], [b'1' | b'7', ..] | [b'(', b'1' | b'7', ..]);
        let is_part = group > 0
            && count + group <= MAX_DIGITS
            && ends_word(text, at + group)
            && (count == 0 || is_complete || !is_no_group(text, at, count));
        if !is_part {
            break;
        }
        number[count..count + group].copy_from_slice(&rest[..group]);
        count += group;
        end = at + group;
        let gap = gap_len(&text[end..]);
        // In a path the slash behind a number begins the next segment.
        if gap == 0 || is_complete || is_segment && count >= MIN_DIGITS && text[end] == b'/' {
            break;
        }
        at = end + gap;
    }
    (count >= MIN_DIGITS && has_country_code(&number[..count])).then_some((start, end))
}

/// How long what separates the groups of a phone number is: up to two signs, or one that is not ASCII.
fn gap_len(text: &[u8]) -> usize {
    let is_sign = |byte: &&u8| matches!(**byte, b' ' | b'-' | b'.' | b'(' | b')' | b'/');
    match text.first() {
        Some(0xc2 | 0xe2) => separator(text).len(),
        _ => text.iter().take(2).take_while(is_sign).count(),
    }
}

/// Whether the digits at `at`, with `count` of a phone number in front of them, are of something else: a card or a social
/// security number, of which the phone number would be left only a part; and behind a whole number a date, a time, an address.
fn is_no_group(text: &[u8], at: usize, count: usize) -> bool {
    let is_card = || text.get(at + 4).is_some() && digits(&text[at..at + 5]) == 4 && card_grouped(text, at).is_some();
    let is_other = || is_date(&text[at..]) || is_time(&text[at..]) || ipv4_at(text, at).is_some();
    is_card() || count + 9 > MAX_DIGITS && ssn_dashed(text, at).is_some() || count >= MIN_DIGITS && is_other()
}

/// Whether a text begins with a date in numbers: of the year first or last, with the same sign between all three.
fn is_date(text: &[u8]) -> bool {
    let window = text.get(..11).unwrap_or(text);
    let first = digits(window);
    let Some(joint @ (b'-' | b'.' | b'/')) = window.get(first).copied() else { return false };
    let mut parts = window
        .split(|byte| *byte == joint)
        .map(|part| (digits(part), part))
        .map(|(len, part)| (len, part[..len].iter().take(4).fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'))));
    let (Some(first), Some(second), Some(third)) = (parts.next(), parts.next(), parts.next()) else { return false };
    let is_year = |(len, year): (usize, u32)| len == 4 && (1900..2100).contains(&year);
    let is_up_to = |(len, number): (usize, u32), most| (1..=2).contains(&len) && (1..=most).contains(&number);
    let is_month_and_day = |month, day| is_up_to(month, 12) && is_up_to(day, 31);
    match first.0 {
        4 => is_year(first) && is_month_and_day(second, third),
        _ => is_year(third) && (is_month_and_day(first, second) || is_month_and_day(second, first)),
    }
}

/// Whether a text begins with a time of the day: hours, a colon, minutes.
fn is_time(text: &[u8]) -> bool {
    let hours = digits(text.get(..3).unwrap_or(text));
    let is_hour = match text[..hours] {
        [_] | [b'0' | b'1', _] => true,
        [b'2', second] => second < b'4',
        _ => false,
    };
    is_hour && matches!(text[hours..], [b':', b'0'..=b'5', b'0'..=b'9', ..])
}

/// Whether a number starts with a country code that is assigned (ITU-T E.164).
pub(super) fn has_country_code(number: &[u8]) -> bool {
    let code =
        |n: usize| (0..n).fold(0_u32, |sum, i| sum * 10 + number.get(i).map_or(0, |digit| u32::from(digit - b'0')));
    match code(1) {
        1 | 7 => true,
        _ => match code(2) {
            20 | 27 | 30..=34 | 36 | 39..=41 | 43..=49 | 51..=58 | 60..=66 | 81 | 82 | 84 | 86 | 90..=95 | 98 => true,
            _ => matches!(
                code(3),
                211..=213 | 216 | 218 | 220..=258 | 260..=269 | 290 | 291 | 297..=299 | 350..=359 | 370..=383 | 385..=387
                | 389 | 420 | 421 | 423 | 500..=509 | 590..=599 | 670 | 672..=683 | 685..=692 | 800 | 808 | 850 | 852
                | 853 | 855 | 856 | 870 | 878 | 880..=883 | 886 | 888 | 960..=968 | 970..=977 | 979 | 992..=996 | 998
            ),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use crate::finding::Side;
    use crate::masker::{MaskedBody, Masker};
    use crate::policy::{Policy, Settings};
    use crate::{Action, Detector, Masked};

    fn masker(detectors: &[Detector], is_thorough: bool) -> Masker {
        let detectors = detectors.iter().map(|detector| (*detector, Action::Redact)).collect();
        let policy = Policy::new(&Settings { key: vec![7; 32], detectors, ..Settings::default() }).unwrap();
        let mut masker = Masker::new(Arc::new(policy));
        masker.engine.is_thorough = is_thorough;
        masker.begin();
        masker
    }

    fn told(masked: Masked<'_>, text: &str) -> String {
        match masked {
            Masked::Kept => text.to_owned(),
            Masked::Replaced(text) => String::from_utf8_lossy(text).into_owned(),
        }
    }

    fn body(masker: &mut Masker, text: &str, content_type: &str) -> String {
        match masker.body(Side::Request, Some(content_type.as_bytes()), text.as_bytes(), false) {
            MaskedBody::Kept => text.to_owned(),
            MaskedBody::Replaced(text) => String::from_utf8_lossy(text).into_owned(),
            MaskedBody::Dropped => panic!("dropped"),
        }
    }

    const PHONE: &[Detector] = &[Detector::Phone];

    #[test]
    fn a_phone_number_ends_where_something_else_begins() {
        for (text, expected) in [
            ("+491701234567 2024-11-21", "# 2024-11-21"),
            ("+491701234567 1234567", "# 1234567"),
            ("+491701234567/1234567", "#/1234567"),
            ("+12125550142 1700000000", "# 1700000000"),
            ("+12125550142 2024-11-21T10:00", "# 2024-11-21T10:00"),
            ("+12125550142 2024/11", "# 2024/11"),
            ("+12125550142 17 Main St", "# 17 Main St"),
            ("+1 212-555-0142 12/25", "# 12/25"),
            ("+7 495 123-45-67 10", "# 10"),
            ("+41 44 668 18 00 3.5.2024", "# 3.5.2024"),
            ("+41 44 668 18 00 12/31/2024, x", "# 12/31/2024, x"),
            ("+41 44 668 18 00 (1999.1.2)", "# (1999.1.2)"),
            ("+4144668180-2024-11-21.json", "#-2024-11-21.json"),
            ("+49 170 1234567 9:30 Uhr", "# 9:30 Uhr"),
            ("+49 170 1234567 23:59", "# 23:59"),
            ("+49 170 1234567 24", "#"),
            ("+4917012345 10.11.12.13", "# 10.11.12.13"),
            ("+491701234567 12th", "# 12th"),
            ("+49\u{a0}170\u{2009}1234567 12345", "# 12345"),
            ("+(49) 170 1234567 20241121", "# 20241121"),
            // No other date, and what may belong to it.
            ("+49 89 1234567-12", "#"),
            ("+49 89/1234567/12", "#"),
            ("+4144668180 99-99-2024", "#-2024"),
            ("+41 44 2024-11-21", "#"),
            ("+1 (0) 212 555-0142", "#"),
            // In a path the slash is none of its own; in front of the number as written in text, only if it would be.
            ("GET /u/+491701234567/12 HTTP/1.1", "GET /u/#/12 HTTP/1.1"),
            ("tel/+49/170/1234567/12", "tel/#/12"),
            // Too long, too short, of no country.
            ("+4917012345678901", "+4917012345678901"),
            ("+49 12345678901234", "+49 12345678901234"),
            ("+4917012 12345678901", "+4917012 12345678901"),
            ("+99912345678 12345678", "+99912345678 12345678"),
        ] {
            for is_thorough in [false, true] {
                let out = body(&mut masker(PHONE, is_thorough), text, "text/plain");
                assert_eq!(out, expected.replace('#', "REDACTED"), "{text}");
                let json = |text: &str| format!("{{\"p\":[{}]}}", serde_json::to_string(text).unwrap());
                let out = body(&mut masker(PHONE, is_thorough), &json(text), "application/json");
                assert_eq!(out, json(expected).replace('#', "REDACTED"), "{text}");
            }
        }
    }

    /// What is behind a phone number is found whole, though some of its groups would have room in the number.
    #[test]
    fn what_is_behind_a_phone_number_is_found() {
        let detectors = [Detector::Phone, Detector::CreditCard, Detector::UsSsn];
        for (text, expected) in [
            ("+12125550142 4111 1111 1111 1111", "# #"),
            ("+49170123456 4111 1111 1111 1111", "# #"),
            ("+49 4111 1111 1111 1111", "+49 #"),
            ("+49 8912 4111-1111-1111-1111", "+49 8912 #"),
            ("+49170123456 4111111111111111", "# #"),
            ("+4917012345 3782 822463 10005", "# #"),
            ("+12125550142 536-22-1234", "# #"),
            ("+49 8912345 536-22-1234", "# #"),
            ("+49 89123 536-22-1234", "+49 89123 #"),
            ("+491701234567 +12125550142 7", "# # 7"),
            // With the last group of the number in front, the first three would be a card, too.
            ("+1-200-000-2556 4111 1111 1111 1111", "# #"),
        ] {
            for is_thorough in [false, true] {
                let out = body(&mut masker(&detectors, is_thorough), text, "text/plain");
                assert_eq!(out, expected.replace('#', "REDACTED"), "{text}");
            }
        }
    }

    #[test]
    fn a_segment_of_a_path_is_a_number() {
        for (text, expected) in [
            ("/u/+491701234567/1234567", "/u/#/1234567"),
            ("/u/%2B491701234567/12?x=1", "/u/#/12?x=1"),
            ("/u/+12125550142/2024/11", "/u/#/2024/11"),
            ("/u/tel:+12125550142/7", "/u/tel:#/7"),
            ("/u/tel:+491701234567/1234567", "/u/tel:#/1234567"),
            ("/u/+1-212-555-0142/7", "/u/#/7"),
            ("/u/+491701234567/12th", "/u/#/12th"),
            ("/u/+491701234567/12:x", "/u/#/12:x"),
            ("/u/+49/170/1234567", "/u/+49/170/1234567"),
            ("/u/+491701234567%202024-11-21/x", "/u/#%202024-11-21/x"),
            ("/x?to=%2B491701234567/1234567", "/x?to=#/1234567"),
            ("/x?to=+491701234567+2024-11-21&b=12", "/x?to=#+2024-11-21&b=12"),
            ("/x?to=%2B12125550142+1700000000", "/x?to=#+1700000000"),
            ("/x?u=/u/%2B491701234567/12", "/x?u=/u/#/12"),
        ] {
            for is_thorough in [false, true] {
                let out = told(masker(PHONE, is_thorough).target(text.as_bytes()), text);
                assert_eq!(out, expected.replace('#', "REDACTED"), "{text}");
                let url = format!("https://h{text}");
                let out = told(masker(PHONE, is_thorough).header(Side::Request, b"Referer", url.as_bytes()), &url);
                assert_eq!(out, format!("https://h{}", expected.replace('#', "REDACTED")), "{text}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// Whatever groups are behind a phone number, and whatever is between them: no part of the number stays, whether looked
        /// at quickly or in full, as a segment, in a query, in text or in JSON.
        #[test]
        fn no_digits_behind_a_phone_number_hide_it(
            front in "(|x |/u/|tel:|\\(|=)",
            phone in "\\+(1[2-9][0-9]{9}|49[0-9]{8,12}|49 [1-9][0-9]{2} [0-9]{5,7}|1-[2-9][0-9]{2}-[0-9]{3}-[0-9]{4}|33 [1-9]( [0-9]{2}){4})",
            behind in "([ ./-]([0-9]{1,10}|2024-11-21|10:30|[0-9]{2}th|4111 1111 1111 1111|536-22-1234|10.1.2.3|x|\u{a0}12)){0,4}",
            all: bool,
        ) {
            let detectors = if all { &Detector::ALL[..] } else { PHONE };
            let text = format!("{front}{phone}{behind}");
            let json = format!("{{\"p\":{}}}", serde_json::to_string(&text).unwrap());
            let target = format!("/a/{}", text.replace(' ', "%20"));
            let query = format!("/a?p={}&x=1", text.replace('+', "%2B").replace(' ', "+"));
            let look = |is_thorough| {
                let mut masker = masker(detectors, is_thorough);
                let mut out = vec![body(&mut masker, &text, "text/plain"), body(&mut masker, &json, "application/json")];
                out.push(told(masker.target(target.as_bytes()), &target));
                out.push(told(masker.target(query.as_bytes()), &query));
                out.push(told(masker.header(Side::Request, b"X-Any", text.as_bytes()), &text));
                let findings: Vec<_> = masker.findings().map(|finding| format!("{finding:?}")).collect();
                (out, findings)
            };
            let (quick, full) = (look(false), look(true));
            prop_assert_eq!(&quick, &full);
            for out in quick.0 {
                prop_assert!(out.contains("REDACTED"), "{}", out);
                for spelled in [phone.clone(), phone.replace(' ', "%20"), phone.replace('+', "%2B").replace(' ', "+")] {
                    prop_assert!(!out.contains(&spelled[4..]), "{} {}", out, spelled);
                }
            }
        }
    }
}
