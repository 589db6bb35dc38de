//! Masking of hostile values: no panic, output bounded, the same again with a used masker, and no planted secret left.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use masking::{Action, Detector, Masked, MaskedBody, Masker, PathRule, Pattern, Policy, Settings, Side};

const TYPES: [&[u8]; 10] = [
    b"application/json",
    b"text/xml",
    b"application/x-www-form-urlencoded",
    b"multipart/form-data; boundary=b",
    b"text/plain",
    b"application/json; charset=utf-16",
    b"text/plain; charset=shift_jis",
    b"text/plain; charset=gbk",
    b"text/plain; charset=iso-2022-jp",
    b"application/octet-stream",
];
const ACTIONS: [Action; 4] = [Action::Redact, Action::KeepLast(4), Action::Hash, Action::Fpe];
const HEADERS: [&[u8]; 6] = [b"authorization", b"cookie", b"set-cookie", b"location", b"x-api-key", b"x-any"];

/// A secret that is found in plain text whatever surrounds it, but for letters and digits.
const CARD: &[u8] = b"4111 1111 1111 1111";

static POLICIES: LazyLock<Vec<Arc<Policy>>> = LazyLock::new(|| {
    let policy = |action| {
        let settings = Settings {
            key: vec![7; 32],
            detectors: Detector::ALL.into_iter().map(|detector| (detector, action)).collect(),
            patterns: [("OWN", r"EMP-\d{6}"), ("WHOLE", "^[a-z]{5}$"), ("FAR", ".*[^A-Z]|[A-Z]{3}")]
                .map(|(name, regex)| Pattern { name: name.into(), regex: regex.into(), action })
                .into(),
            paths: ["$.a[*].b", "$..c"].map(|path| PathRule { name: "PATH".into(), path: path.into(), action }).into(),
            ..Settings::default()
        };
        Arc::new(Policy::new(&settings).expect("settings that are valid"))
    };
    ACTIONS.map(policy).into()
});

fuzz_target!(|input: (u8, u8, bool, &[u8])| {
    let (action, content_type, cut, bytes) = input;
    let policy = &POLICIES[usize::from(action) % ACTIONS.len()];
    let content_type = TYPES[usize::from(content_type) % TYPES.len()];
    let mut masker = Masker::new(policy.clone());
    let first = match masker.body(Side::Request, Some(content_type), bytes, cut) {
        MaskedBody::Kept => None,
        MaskedBody::Replaced(out) => Some(out.to_vec()),
        MaskedBody::Dropped => panic!("no rule drops"),
    };
    if let Some(out) = &first {
        assert!(out.len() <= 64 * bytes.len().max(8));
        assert!(masker.found() > 0 || cut);
    }
    for name in HEADERS {
        let _ = masker.header(Side::Response, name, bytes);
    }
    let _ = masker.target(bytes);
    masker.begin();
    let again = match masker.body(Side::Request, Some(content_type), bytes, cut) {
        MaskedBody::Replaced(out) => Some(out.to_vec()),
        _ => None,
    };
    assert_eq!(first, again, "the same again");
    assert!(masker.findings().all(|finding| finding.start <= finding.end && finding.field.len() <= 256));

    // In plain text, at a place of the fuzzer's choice.
    let at = bytes.len() / 2;
    let planted = [&bytes[..at], b" ", CARD, b" ", &bytes[at..]].concat();
    let Masked::Replaced(out) = masker.header(Side::Request, b"x-any", &planted) else { panic!("not found") };
    assert!(!out.windows(CARD.len()).any(|window| window == CARD));
});
