//! Texts without secrets: no card, IBAN, social security number or credential is found in what only looks like one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::*;
use masking::{Action, Detector, MaskedBody, Masker, Settings, Side};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

fn strict() -> Masker {
    let detectors = [
        Detector::CreditCard,
        Detector::Iban,
        Detector::UsSsn,
        Detector::Jwt,
        Detector::AwsKey,
        Detector::ApiKey,
        Detector::PrivateKey,
        Detector::Phone,
    ];
    masker(&Settings {
        key: vec![7; 32],
        detectors: detectors.into_iter().map(|detector| (detector, Action::Redact)).collect(),
        ..Settings::default()
    })
}

fn found(masker: &mut Masker, text: &str) -> Vec<String> {
    masker.begin();
    let json = format!(
        "{{\"value\":{},\"list\":[{}]}}",
        serde_json::to_string(text).unwrap(),
        serde_json::to_string(text).unwrap()
    );
    let mut out = Vec::new();
    for (content_type, body) in [("text/plain", text), ("application/json", &json)] {
        if let MaskedBody::Replaced(_) =
            masker.body(Side::Response, Some(content_type.as_bytes()), body.as_bytes(), false)
        {
            out.extend(masker.findings().map(|finding| format!("{} in {text}", finding.kind)));
        }
    }
    masker.target(format!("/v1/x/{}", text.replace(' ', "%20")).as_bytes());
    masker.header(Side::Request, b"x-anything", text.as_bytes());
    out.extend(masker.findings().map(|finding| format!("{} in {text}", finding.kind)));
    out
}

#[test]
fn what_only_looks_like_a_secret() {
    let mut masker = strict();
    let texts = [
        "1732150073123",
        "1732150073123456",
        "1732150073123456789",
        "2026-11-21T01:07:53.123456Z",
        "20261121010753123",
        "6a0c7d3e-6d0b-4d7b-9a52-0f5c7c1f4a11",
        "41111111-1111-4111-8111-111111111111",
        "00000000-0000-0000-0000-000000000000",
        "1Z999AA10123456784",
        "9400111899223197428490",
        "RR123456789DE",
        "JD014600003SE",
        "order 1000000000000000",
        "4.111111111111111",
        "0.4111111111111111",
        "3.141592653589793",
        "-122.419415512345, 37.774929512345",
        "978-3-16-148410-0",
        "9783161484100",
        "4006381333931",
        // Thirteen digits that begin with a four and pass Luhn's check: what sites number their requests with.
        "4222222222222",
        "?sequence=4500000000005&page=2",
        "123-45-67890",
        "1-123-45-6789",
        "000-12-3456",
        "666-12-3456",
        "912-34-5678",
        "123-00-4567",
        "123-45-0000",
        "2024-11-21",
        "12-34-5678",
        "10.0.0.1",
        "1.2.3.4.5",
        "v1.22.333",
        "192.168.100.100/24",
        "4111111111111112",
        "4111 1111 1111 1112",
        "1111 2222 3333 4444",
        "0000 0000 0000 0000",
        "4111-1111-1111-1111-1111",
        "a4111111111111111",
        "B4111111111111111",
        "4111111111111111D",
        "4111111111111111D2599101",
        "4111111111111111.5",
        "4111111111111111.01",
        "4111.1111.1111.1112",
        "4111.1111.1111.1111.1",
        "1.4111.1111.1111.1111",
        "2024/4111/1111/1111/1111",
        "4111/1111/1111/1111/2024",
        "4111.1111/1111.1111",
        "4111 1111-1111 1111",
        "0000000041111111111112",
        "2024-11-21 10:00 2025-12-22",
        "1536-22-1234",
        "1.536-22-1234",
        "536-22-1234.5",
        "536-22-1234-x",
        "x-536-22-1234",
        "sk-learn-the-very-long-name-of-a-class-of-some-style-sheet",
        "ewogICJhbGciOiJIUzI1NiIKfQ",
        "eyAiYWxnIjoiSFMyNTYiIH0.x",
        "4111111111111111b",
        "DE89370400440532013001",
        "DE00123",
        "XX89370400440532013000",
        "GB29NWBK601613319268190",
        "SE4550000000058398257466X",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "d41d8cd98f00b204e9800998ecf8427e",
        "W/\"5f0-2b\"",
        "+0200",
        "1e+10",
        "+1 2",
        "phone 5551234",
        "+999123456789",
        "eyJ",
        "eyJhbGciOiJIUzI1NiJ9",
        "eyeJay.eyeJay",
        "AKIA",
        "AKIAshort",
        "ghp_short",
        "sk_live_",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "-----BEGIN PUBLIC KEY-----",
        "Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0",
        "tok_aaaaaaaaaaaaaaaaaaaaaaaaaa",
        "max-age=31536000",
        "bytes=0-1023",
        "id=12345678901234567890123",
        "tokens: 17",
        "passenger: Jane",
        "compass=north",
        "spinning: true",
        "page=2&size=50&sort=name",
        "author: me",
        "new Date().getTime()+604800000",
        "[PR]+337959405",
        "tdPnw6/de65591q4bfarMMCVe3QHY/rY7",
        "sessions: 3",
        "secretary: Bob",
        "keyboard: qwertz",
        "monkey: 7",
        "primary_key: id",
        "foreign_key: order_id",
        "pinned: yes",
        "signed: 1",
    ];
    for text in texts {
        assert_eq!(found(&mut masker, text), Vec::<String>::new());
    }
}

/// Identifiers made at random are cards about as rarely as the check digit and the issuers' ranges promise, and never so
/// in the shapes that are no cards.
#[test]
fn random_identifiers() {
    let mut masker = strict();
    let mut rng = StdRng::seed_from_u64(5);
    for _ in 0..3000 {
        let r: u128 = rng.random();
        let hex = format!("{r:032x}");
        let uuid = format!("{}-{}-4{}-9{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..]);
        let millis = format!("{}", 1_500_000_000_000 + r as u64 % 500_000_000_000);
        let nanos = format!("{}", 1_500_000_000_000_000_000 + r as u64 % 500_000_000_000_000_000);
        let float = format!("{}", f64::from(r as u32) / 1e7 + 0.123_456_789_012);
        let date = format!("2026-{:02}-{:02} {:02}:{:02}:{:02}", r % 12 + 1, r % 28 + 1, r % 24, r % 60, (r >> 8) % 60);
        for text in [hex, uuid, millis, nanos, float, date] {
            assert_eq!(found(&mut masker, &text), Vec::<String>::new());
        }
    }
}

/// And the secrets next to them are found, each under its name and place.
#[test]
fn findings_say_what_and_where() {
    let mut masker = masker(&all(Action::KeepLast(4)));
    masker.begin();
    let body = r#"{"accounts":[{"cardNumber":"4111 1111 1111 1111","limit":5},{"cardNumber":5500005555555559}],"a@b.org":{"ssn":"078051121"}}"#;
    let MaskedBody::Replaced(out) = masker.body(Side::Request, Some(b"application/json"), body.as_bytes(), false)
    else {
        panic!()
    };
    let out: serde_json::Value = serde_json::from_slice(out).unwrap();
    assert_eq!(out["accounts"][0]["cardNumber"], "**** **** **** 1111");
    assert_eq!(out["accounts"][1]["cardNumber"], "************5559");
    masker.header(Side::Request, b"Cookie", b"lang=en; sid=abc");
    masker.target(b"/users/jane@example.org?ip=192.0.2.1");
    let list: Vec<String> = masker
        .findings()
        .map(|f| format!("{} {} {} {} {}-{}", f.kind, f.location, f.field, f.action, f.start, f.end))
        .collect();
    assert_eq!(
        list,
        [
            "CREDIT_CARD REQUEST_BODY accounts.0.cardNumber keep_last=4 0-19",
            "CREDIT_CARD REQUEST_BODY accounts.1.cardNumber keep_last=4 0-16",
            "EMAIL REQUEST_BODY  hash 0-7",
            "US_SSN REQUEST_BODY *.ssn keep_last=4 0-9",
            "CREDENTIAL REQUEST_HEADER Cookie.lang hash 0-2",
            "CREDENTIAL REQUEST_HEADER Cookie.sid hash 0-3",
            "EMAIL REQUEST_PATH path keep_last=4 0-16",
            "IPV4 REQUEST_QUERY ip keep_last=4 0-9",
        ]
    );
    assert_eq!(masker.found(), 8);
}

#[test]
fn actions_do_what_they_say() {
    let text = "card 4111 1111 1111 1111 of jane";
    for (action, expected) in [
        (Action::Redact, "card REDACTED of jane".to_owned()),
        (Action::KeepLast(4), "card **** **** **** 1111 of jane".to_owned()),
    ] {
        let mut masker = masker(&all(action));
        assert_eq!(masker.body(Side::Request, None, text.as_bytes(), false), MaskedBody::Replaced(expected.as_bytes()));
    }
    let mut fpe = masker(&all(Action::Fpe));
    let MaskedBody::Replaced(out) = fpe.body(Side::Request, None, text.as_bytes(), false) else { panic!() };
    let out = String::from_utf8(out.to_vec()).unwrap();
    assert_eq!(out.len(), text.len());
    assert!(out.chars().zip(text.chars()).all(|(a, b)| a.is_ascii_digit() == b.is_ascii_digit()), "{out}");
    let mut drop = masker(&Settings { detectors: vec![(Detector::CreditCard, Action::DropBody)], ..all(Action::Hash) });
    assert_eq!(drop.body(Side::Request, None, text.as_bytes(), false), MaskedBody::Dropped);
    assert_eq!(drop.header(Side::Request, b"x", text.as_bytes()).or(b""), b"card REDACTED of jane");
    assert_eq!(drop.body(Side::Request, None, b"nothing here", false), MaskedBody::Kept);
}

#[test]
fn paths_and_exceptions() {
    let mut settings = Settings { key: vec![1; 16], ..Settings::default() };
    settings.not_credentials.push("next_page_token".into());
    for (name, path) in [("A", "$.user.name"), ("B", "$.list[*].id"), ("C", "$..deep")] {
        settings.paths.push(masking::PathRule { name: name.into(), path: path.into(), action: Action::Redact });
    }
    let mut masker = masker(&settings);
    let body = r#"{"user":{"n\u0061me":"Jane","age":7},"list":[{"id":1},{"id":2,"deep":{"x":["y",3,true]}}],"nextPageToken":"abc","name":"kept"}"#;
    let MaskedBody::Replaced(out) = masker.body(Side::Request, None, body.as_bytes(), false) else { panic!() };
    assert_eq!(
        String::from_utf8_lossy(out),
        r#"{"user":{"n\u0061me":"REDACTED","age":7},"list":[{"id":"REDACTED"},{"id":"REDACTED","deep":{"x":["REDACTED","REDACTED",true]}}],"nextPageToken":"abc","name":"kept"}"#
    );
}

#[test]
fn every_problem_of_settings_is_told() {
    use masking::{FieldRule, PathRule, Pattern, Policy};
    let settings = Settings {
        key: vec![1; 3],
        detectors: vec![(Detector::Email, Action::Hash), (Detector::Email, Action::Redact)],
        patterns: vec![Pattern { name: "a\nb".into(), regex: "(".into(), action: Action::Hash }],
        fields: vec![
            FieldRule { name: "F".into(), fields: vec!["-".into()], action: Action::Hash },
            FieldRule { name: "G".into(), fields: vec![], action: Action::Hash },
        ],
        paths: vec![PathRule { name: "P".into(), path: "a".into(), action: Action::Hash }],
        not_credentials: vec!["*".into()],
        ..Settings::default()
    };
    let problems = Policy::new(&settings).unwrap_err();
    let named: Vec<&str> = problems.0.iter().map(|problem| problem.setting.as_str()).collect();
    assert_eq!(
        named,
        [
            "key",
            "fields[0].fields[0]",
            "fields[1].fields",
            "not_credentials[0]",
            "detectors.EMAIL",
            "patterns[0].name",
            "patterns[0].regex",
            "paths[0].path"
        ]
    );
    assert!(problems.to_string().lines().count() >= named.len());
}
