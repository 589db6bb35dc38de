//! What the tests share: policies, and secrets of every kind made from a seed.
#![allow(dead_code, reason = "each test file uses a part")]

use std::sync::Arc;

use masking::{Action, Detector, FieldRule, Masker, Pattern, Policy, Settings};
use rand::rngs::StdRng;
use rand::{Rng, RngExt as _};

pub(crate) fn all(action: Action) -> Settings {
    Settings {
        key: vec![7; 32],
        detectors: Detector::ALL.into_iter().map(|detector| (detector, action)).collect(),
        patterns: vec![Pattern { name: "EMPLOYEE".into(), regex: r"EMP-\d{6}".into(), action }],
        fields: vec![FieldRule { name: "MEDICAL".into(), fields: vec!["diagnosis".into(), "*_note".into()], action }],
        ..Settings::default()
    }
}

pub(crate) fn masker(settings: &Settings) -> Masker {
    Masker::new(Arc::new(Policy::new(settings).unwrap()))
}

pub(crate) fn credentials() -> Masker {
    masker(&Settings { key: vec![7; 32], ..Settings::default() })
}

fn from(rng: &mut StdRng, alphabet: &[u8], len: usize) -> String {
    (0..len).map(|_| char::from(alphabet[rng.random_range(0..alphabet.len())])).collect()
}

pub(crate) const ALNUM: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const UPPER: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const HEX: &[u8] = b"0123456789abcdef";
const DIGITS: &[u8] = b"0123456789";

pub(crate) fn card(rng: &mut StdRng) -> String {
    let (prefix, len) = [
        ("4", 16),
        ("51", 16),
        ("2221", 16),
        ("34", 15),
        ("37", 15),
        ("6011", 16),
        ("3528", 16),
        ("36", 14),
        ("62", 17),
        ("5018", 16),
    ][rng.random_range(0..10)];
    let mut number = prefix.to_owned() + &from(rng, DIGITS, len - prefix.len() - 1);
    let sum: u32 = number
        .bytes()
        .rev()
        .enumerate()
        .map(|(i, digit)| {
            let digit = u32::from(digit - b'0');
            if i % 2 == 1 { digit } else { digit * 2 / 10 + digit * 2 % 10 }
        })
        .sum();
    number.push_str(&((10 - sum % 10) % 10).to_string());
    let groups: &[usize] = match len {
        16 => &[4, 4, 4, 4],
        15 => &[4, 6, 5],
        14 => &[4, 6, 4],
        _ => &[],
    };
    let separator = ["", " ", "-", "", " ", "-", "  ", "\u{a0}", "\u{2009}", ".", "/"][rng.random_range(0..11)];
    if groups.is_empty() || separator.is_empty() {
        return number;
    }
    let mut rest = &number[..];
    let parts: Vec<&str> = groups
        .iter()
        .map(|len| {
            let (part, after) = rest.split_at(*len);
            rest = after;
            part
        })
        .collect();
    parts.join(separator)
}

pub(crate) fn iban(rng: &mut StdRng) -> String {
    let (country, len) = [("DE", 22), ("FR", 27), ("GB", 22), ("NO", 15), ("CH", 21)][rng.random_range(0..5)];
    let account = if country == "GB" {
        from(rng, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", 4) + &from(rng, DIGITS, 14)
    } else {
        from(rng, DIGITS, len - 4)
    };
    let remainder = format!("{account}{country}00").bytes().fold(0_u32, |sum, byte| match byte {
        b'0'..=b'9' => (sum * 10 + u32::from(byte - b'0')) % 97,
        letter => (sum * 100 + u32::from(letter - b'A') + 10) % 97,
    });
    let number = format!("{country}{:02}{account}", 98 - remainder);
    if rng.random_bool(0.5) {
        return number;
    }
    number.as_bytes().chunks(4).map(|group| std::str::from_utf8(group).unwrap()).collect::<Vec<_>>().join(" ")
}

/// A secret of a kind that text alone gives away, and what findings call it.
pub(crate) fn secret(rng: &mut StdRng) -> (&'static str, String) {
    match rng.random_range(0..14) {
        0..3 => ("CREDIT_CARD", card(rng)),
        3 => ("IBAN", iban(rng)),
        4 => (
            "US_SSN",
            format!(
                "{:03}-{:02}-{:04}",
                rng.random_range(1..666),
                rng.random_range(1..100),
                rng.random_range(1..10000)
            ),
        ),
        5 => (
            "EMAIL",
            format!(
                "{}.{}@{}.example.org",
                from(rng, &ALNUM[26..52], 5),
                from(rng, ALNUM, 6),
                from(rng, &ALNUM[26..52], 5)
            ),
        ),
        6 => ("PHONE", format!("+49{}{}", ["", " ", "-"][rng.random_range(0..3)], from(rng, b"123456789", 9))),
        7 => (
            "IPV4",
            format!(
                "{}.{}.{}.{}",
                rng.random_range(1..224),
                rng.random_range(0..256),
                rng.random_range(0..256),
                rng.random_range(1..255)
            ),
        ),
        8 => (
            "IPV6",
            format!("2001:db8:{}:{}::{}", from(rng, &HEX[1..], 4), from(rng, &HEX[1..], 3), from(rng, &HEX[1..], 4)),
        ),
        9 => ("JWT", format!("eyJ{}.eyJ{}.{}", from(rng, ALNUM, 20), from(rng, ALNUM, 40), from(rng, ALNUM, 43))),
        10 => ("AWS_KEY", format!("AKIA{}", from(rng, UPPER, 16))),
        11 => ("API_KEY", {
            let (prefix, len) =
                [("ghp_", 36), ("xoxb-", 30), ("sk_live_", 24), ("AIza", 35), ("glpat-", 20)][rng.random_range(0..5)];
            prefix.to_owned() + &from(rng, ALNUM, len)
        }),
        12 => ("EMPLOYEE", format!("EMP-{}", from(rng, DIGITS, 6))),
        _ => (
            "PRIVATE_KEY",
            format!(
                "-----BEGIN PRIVATE KEY-----\n{}\n{}\n-----END PRIVATE KEY-----",
                from(rng, ALNUM, 64),
                from(rng, ALNUM, 20)
            ),
        ),
    }
}

/// A value that only its field's name gives away, and such a name.
pub(crate) fn named_secret(rng: &mut StdRng) -> (String, String) {
    let names = [
        "password",
        "newPassword",
        "API_KEY",
        "client-secret",
        "access_token",
        "pin",
        "cvv",
        "Diagnosis",
        "free_note",
        "x-csrf-token",
        "sessionId",
    ];
    let len = rng.random_range(6..40);
    (names[rng.random_range(0..names.len())].to_owned(), from(rng, ALNUM, len) + "#" + &from(rng, ALNUM, 3))
}

pub(crate) fn word(rng: &mut StdRng) -> String {
    let words = [
        "order",
        "the quick",
        "größe",
        "items",
        "テスト",
        "2024-11-21",
        "ok",
        "12.50",
        "a/b",
        "x&y <z>",
        "\"quoted\"",
        "back\\slash",
        "",
    ];
    words[rng.random_range(0..words.len())].to_owned()
}

/// What a secret stands in.
pub(crate) fn sentence(rng: &mut StdRng, secret: &str) -> String {
    match rng.random_range(0..5) {
        0 | 1 => secret.to_owned(),
        2 => format!("{} {secret}", word(rng)),
        3 => format!("{secret}, {}", word(rng)),
        _ => format!("({}: {secret}; {})", word(rng), word(rng)),
    }
}

/// Text as a JSON string, with some of its characters escaped that need not be.
pub(crate) fn json_string(rng: &mut StdRng, text: &str) -> String {
    let mut out = String::from("\"");
    let often = [0.0, 0.2, 1.0][rng.random_range(0..3)];
    for c in text.chars() {
        match c {
            _ if rng.random_bool(often) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '/' if rng.random_bool(0.5) => out.push_str("\\/"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

pub(crate) fn percent(rng: &mut StdRng, text: &str) -> String {
    let all = rng.random_bool(0.3);
    text.bytes()
        .map(|byte| match byte {
            b' ' if rng.random_bool(0.5) => "+".to_owned(),
            byte if byte.is_ascii_alphanumeric() && !all => char::from(byte).to_string(),
            byte => format!("%{byte:02x}"),
        })
        .collect()
}

pub(crate) fn xml(rng: &mut StdRng, text: &str) -> String {
    let often = [0.0, 0.3, 1.0][rng.random_range(0..3)];
    text.chars()
        .map(|c| match c {
            '<' => "&lt;".to_owned(),
            '&' => "&amp;".to_owned(),
            '"' => "&quot;".to_owned(),
            c if rng.random_bool(often) => {
                if rng.random_bool(0.5) {
                    format!("&#{};", u32::from(c))
                } else {
                    format!("&#x{:X};", u32::from(c))
                }
            }
            c => c.to_string(),
        })
        .collect()
}

pub(crate) fn coin(rng: &mut StdRng, odds: f64) -> bool {
    rng.random_bool(odds)
}

pub(crate) fn below(rng: &mut StdRng, n: usize) -> usize {
    (rng.next_u64() % n as u64) as usize
}
