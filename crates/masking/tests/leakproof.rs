//! Secrets of each kind are planted at random places, nestings, charsets, encodings and cuts: none leaves, and what is
//! not secret keeps its shape.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::*;
use masking::{Action, Leaks, Location, Masked, MaskedBody, Masker, Settings, Side};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::Value;

const ACTIONS: [Action; 4] = [Action::Redact, Action::KeepLast(4), Action::Hash, Action::Fpe];

/// Fails if a secret is in what leaves, in any form.
fn no_leak(secrets: &[String], out: &[u8], seed: u64, input: &[u8]) {
    let leaks = Leaks::new(secrets).unwrap();
    if let Some(leak) = leaks.find(out).first() {
        panic!(
            "seed {seed}: {:?} leaves as {}\n--- in\n{}\n--- out\n{}",
            secrets[leak.secret],
            leak.form,
            String::from_utf8_lossy(input),
            String::from_utf8_lossy(out)
        );
    }
}

fn body(masker: &mut Masker, content_type: &str, bytes: &[u8], cut: bool) -> Vec<u8> {
    masker.begin();
    match masker.body(Side::Request, Some(content_type.as_bytes()), bytes, cut) {
        MaskedBody::Kept => bytes.to_vec(),
        MaskedBody::Replaced(out) => out.to_vec(),
        MaskedBody::Dropped => Vec::new(),
    }
}

/// A value of JSON with secrets in it, at any depth, as values, keys, numbers, and JSON or queries in strings.
fn json(rng: &mut StdRng, depth: usize, secrets: &mut Vec<String>) -> String {
    nested_json(rng, depth, 2, secrets)
}

/// The same, with JSON in strings of JSON so many times.
fn nested_json(rng: &mut StdRng, depth: usize, strings: usize, secrets: &mut Vec<String>) -> String {
    match below(rng, if depth == 0 { 6 } else { 9 }) {
        0 => {
            let (_, secret) = secret(rng);
            let text = sentence(rng, &secret);
            secrets.push(secret);
            json_string(rng, &text)
        }
        1 => {
            let number: String = card(rng).chars().filter(char::is_ascii_digit).collect();
            secrets.push(number.clone());
            number
        }
        2 => ["true", "null", "1.5e3", "-7", "[]", "{}"][below(rng, 6)].to_owned(),
        3 if strings == 0 => "7".to_owned(),
        3 => {
            let inner = nested_json(rng, 0, strings - 1, secrets);
            json_string(rng, &format!("{{\"inner\": {inner}}}"))
        }
        4 => {
            let (_, secret) = secret(rng);
            let text = format!("https://example.org/a?x=1&q={}", percent(rng, &secret).replace('+', "%20"));
            secrets.push(secret);
            json_string(rng, &text)
        }
        5 => {
            let word = word(rng);
            json_string(rng, &word)
        }
        6 => {
            let items: Vec<String> =
                (0..below(rng, 4)).map(|_| nested_json(rng, depth - 1, strings, secrets)).collect();
            format!("[{}]", items.join(" , "))
        }
        _ => {
            let mut members = Vec::new();
            for i in 0..below(rng, 5) {
                if coin(rng, 0.2) {
                    let pair = named_pair(rng, secrets);
                    members.push(format!("{} : {pair}", json_string(rng, &format!("pair{i}"))));
                } else if coin(rng, 0.2) {
                    let (name, secret) = named_secret(rng);
                    let value = json_string(rng, &secret);
                    secrets.push(secret);
                    members.push(format!("{} : {value}", json_string(rng, &format!("{name}{i}"))));
                } else {
                    let key = if coin(rng, 0.1) {
                        let (_, secret) = secret(rng);
                        secrets.push(secret.clone());
                        secret
                    } else {
                        format!("{}{i}", word(rng))
                    };
                    let value = nested_json(rng, depth - 1, strings, secrets);
                    members.push(format!("{}:{value}", json_string(rng, &key)));
                }
            }
            format!("{{{}}}", members.join(",\n"))
        }
    }
}

/// An object in which one member names what others hold, in any order, with more around them.
fn named_pair(rng: &mut StdRng, secrets: &mut Vec<String>) -> String {
    let (name, secret) = named_secret(rng);
    let naming = ["name", "key", "id", "field", "Header", "ParameterName", "@name"][below(rng, 7)];
    let holding = ["value", "content", "data", "Text", "stringValue", "new_value", "#text", "v"][below(rng, 8)];
    let value = json_string(rng, &secret);
    let value = match below(rng, 4) {
        0 => format!("[7, {value}]"),
        1 => format!("{{\"deep\" : [{{\"x\": {value}}}]}}"),
        _ => value,
    };
    secrets.push(secret);
    let mut members = vec![
        format!("{} : {}", json_string(rng, naming), json_string(rng, &name)),
        format!("{}:{value}", json_string(rng, holding)),
    ];
    if coin(rng, 0.5) {
        members.swap(0, 1);
    }
    for _ in 0..below(rng, 3) {
        let other = ["\"enabled\": true", "\"n\":{\"value\":5}", "\"type\":\"caf\\u00e9\"", "\"x\":[]"][below(rng, 4)];
        members.insert(below(rng, members.len() + 1), other.to_owned());
    }
    format!("{{{}}}", members.join([",", " ,\n"][below(rng, 2)]))
}

/// Whether two values differ in scalars and keys only.
fn same_shape(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_shape(a, b)),
        (Value::Object(a), Value::Object(b)) => a.len() == b.len(),
        (Value::String(_), Value::String(_)) => true,
        (Value::Number(_), Value::Number(_) | Value::String(_)) => true,
        (a, b) => a == b,
    }
}

#[test]
fn json_of_any_nesting() {
    let mut planted = 0;
    for seed in 0..600 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut masker = masker(&all(ACTIONS[below(&mut rng, 4)]));
        let mut secrets = Vec::new();
        let text = json(&mut rng, 5, &mut secrets);
        let content_type = ["application/json", "text/plain", "application/vnd.x+json", "application/octet-stream"]
            [below(&mut rng, 4)];
        let out = body(&mut masker, content_type, text.as_bytes(), false);
        no_leak(&secrets, &out, seed, text.as_bytes());
        planted += secrets.len();
        let before: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("seed {seed}: {error}: {text}"));
        if before.is_object() || before.is_array() || content_type.contains("json") {
            let after: Value = serde_json::from_slice(&out)
                .unwrap_or_else(|error| panic!("seed {seed}: {error}\n{text}\n{}", String::from_utf8_lossy(&out)));
            assert!(same_shape(&before, &after), "seed {seed}\n{text}\n{after}");
        }
        assert!(masker.found() >= u64::from(!secrets.is_empty()), "seed {seed} {secrets:?}\n{text}");
        assert_eq!(body(&mut masker, content_type, text.as_bytes(), false), out, "seed {seed}: the same again");
    }
    assert!(planted > 500, "{planted}");
}

#[test]
fn a_fixed_point_is_reached() {
    for seed in 0..400 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut masker = masker(&Settings {
            credentials: false,
            fields: Vec::new(),
            ..all([Action::Redact, Action::Hash][below(&mut rng, 2)])
        });
        let text = json(&mut rng, 4, &mut Vec::new());
        let once = body(&mut masker, "application/json", text.as_bytes(), false);
        let twice = body(&mut masker, "application/json", &once, false);
        assert_eq!(String::from_utf8_lossy(&twice), String::from_utf8_lossy(&once), "seed {seed}");
    }
}

#[test]
fn forms_queries_paths_headers_and_cookies() {
    for seed in 0..400 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut masker = masker(&all(ACTIONS[below(&mut rng, 4)]));
        let mut secrets = Vec::new();
        let mut pairs = Vec::new();
        for i in 0..1 + below(&mut rng, 4) {
            if coin(&mut rng, 0.3) {
                let (name, secret) = named_secret(&mut rng);
                pairs.push(format!("{name}{i}={}", percent(&mut rng, &secret)));
                secrets.push(secret);
            } else {
                let (_, secret) = secret(&mut rng);
                let text = sentence(&mut rng, &secret);
                pairs.push(format!("q{i}={}", percent(&mut rng, &text)));
                secrets.push(secret);
            }
        }
        let form = pairs.join("&");
        let out = body(&mut masker, "application/x-www-form-urlencoded", form.as_bytes(), false);
        no_leak(&secrets, &out, seed, form.as_bytes());
        assert_eq!(out.iter().filter(|byte| **byte == b'&').count(), pairs.len() - 1, "seed {seed}");
        for target in [format!("/a/b?{form}"), format!("https://h.example/a#{form}")] {
            let out = masker.target(target.as_bytes()).or(target.as_bytes()).to_vec();
            no_leak(&secrets, &out, seed, target.as_bytes());
            let out = masker.header(Side::Request, b"Referer", target.as_bytes()).or(target.as_bytes()).to_vec();
            no_leak(&secrets, &out, seed, target.as_bytes());
        }

        let (_, secret) = secret(&mut rng);
        let secret = secret.replace('\n', " ");
        let text = sentence(&mut rng, &secret);
        let secrets = [secret];
        let path = format!("/v1/{}/x", percent(&mut rng, &text).replace('+', "%20"));
        let out = masker.target(path.as_bytes()).or(path.as_bytes()).to_vec();
        no_leak(&secrets, &out, seed, path.as_bytes());
        assert_eq!(out.iter().filter(|byte| **byte == b'/').count(), path.matches('/').count(), "seed {seed}");
        let out = masker.header(Side::Response, b"X-Anything", text.as_bytes()).or(text.as_bytes()).to_vec();
        no_leak(&secrets, &out, seed, text.as_bytes());
        let out = masker.text(Location::Other, "reason", text.as_bytes()).or(text.as_bytes()).to_vec();
        no_leak(&secrets, &out, seed, text.as_bytes());
        let cookies = format!("a=b; c=\"{}\"; d={}", text.replace(';', ","), percent(&mut rng, &text));
        let out = masker.header(Side::Request, b"Cookie", cookies.as_bytes()).or(cookies.as_bytes()).to_vec();
        no_leak(&secrets, &out, seed, cookies.as_bytes());
        assert!(!String::from_utf8_lossy(&out).contains("a=b;"), "each cookie's value goes");
    }
}

fn xml_document(rng: &mut StdRng, depth: usize, secrets: &mut Vec<String>) -> String {
    let (_, one) = secret(rng);
    let (_, two) = secret(rng);
    let (_, three) = secret(rng);
    let (_, four) = secret(rng);
    let (name, five) = named_secret(rng);
    let inner = if depth > 0 { xml_document(rng, depth - 1, secrets) } else { String::new() };
    let text = sentence(rng, &one);
    let attribute = xml(rng, &two).replace('\n', " ");
    let out = format!(
        "<e:item a=\"{attribute}\" b='1'>{} <{name}>{}</{name}>{inner}<![CDATA[{three}]]><!-- {} --></e:item>",
        xml(rng, &text),
        xml(rng, &five),
        four.replace("--", "=="),
    );
    secrets.extend([one, two.replace('\n', " "), three, four.replace("--", "=="), five]);
    // A PEM block without its dashes is none.
    secrets.retain(|secret| !secret.contains("BEGIN") || !secret.contains("=="));
    out
}

#[test]
fn xml_and_multipart() {
    for seed in 0..150 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut masker = masker(&all(ACTIONS[below(&mut rng, 4)]));
        let mut secrets = Vec::new();
        let document =
            format!("<?xml version=\"1.0\"?>\n<!DOCTYPE a>\n<a>{}</a>", xml_document(&mut rng, 3, &mut secrets));
        let out = body(&mut masker, "text/xml", document.as_bytes(), false);
        no_leak(&secrets, &out, seed, document.as_bytes());
        let count = |bytes: &[u8], what: u8| bytes.iter().filter(|byte| **byte == what).count();
        for what in [b'<', b'>', b'"'] {
            assert_eq!(count(&out, what), count(document.as_bytes(), what), "seed {seed}");
        }

        let json = json(&mut rng, 3, &mut secrets);
        let (name, named) = named_secret(&mut rng);
        let (_, plain) = secret(&mut rng);
        let multipart = format!(
            "preamble\r\n--b x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{named}\r\n--b x\r\nContent-Type: application/json\r\n\
             Content-Disposition: form-data; name=\"j\"\r\n\r\n{json}\r\n--b x\r\nContent-Disposition: form-data; name=f; \
             filename=\"a.txt\"\r\nContent-Type: application/octet-stream\r\n\r\n\u{1}{plain}\u{2}\r\n--b x\r\nContent-Type: text/xml\r\n\r\n\
             {document}\r\n--b x--\r\n"
        );
        secrets.extend([named, plain]);
        let out = body(&mut masker, "multipart/form-data; boundary=\"b x\"", multipart.as_bytes(), false);
        no_leak(&secrets, &out, seed, multipart.as_bytes());
        assert_eq!(String::from_utf8_lossy(&out).matches("--b x").count(), 5, "seed {seed}");
    }
}

#[test]
fn charsets_and_binary() {
    for seed in 0..500 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut masker = masker(&all(ACTIONS[below(&mut rng, 4)]));
        let (_, first) = secret(&mut rng);
        let case = below(&mut rng, 9);
        // Of wide characters in binary data, only those of ASCII are read.
        let first = if (5..8).contains(&case) { first.replace(['\u{a0}', '\u{2009}'], " ") } else { first };
        let (name, second) = named_secret(&mut rng);
        let secrets = [first.clone(), second.clone()];
        let filler = ["größe", "価格", "价格"][below(&mut rng, 3)];
        let text = format!(
            "{{\"{filler}\": {}, \"{name}\": {}}}",
            json_string(&mut rng, &first),
            json_string(&mut rng, &second)
        );
        let wide = |big: bool| -> Vec<u8> {
            text.encode_utf16().flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
        };
        let encoded: (String, Vec<u8>) = match case {
            0 => ("application/json; charset=utf-16le".into(), wide(false)),
            1 => ("application/json; charset=UTF-16BE".into(), wide(true)),
            2 => ("application/json".into(), [&[0xff, 0xfe], &wide(false)[..]].concat()),
            3 => ("application/json".into(), [&[0xfe, 0xff], &wide(true)[..]].concat()),
            4 => ("application/json".into(), wide(coin(&mut rng, 0.5))),
            5 => {
                let noise: Vec<u8> = (0..200).map(|_| below(&mut rng, 256) as u8).collect();
                let ascii: Vec<u16> = first.encode_utf16().collect();
                let big = coin(&mut rng, 0.5);
                let bytes = ascii.iter().flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() });
                (
                    "application/octet-stream".into(),
                    [&noise[..], &[0, 0, 0], &bytes.collect::<Vec<u8>>(), &[0, 0, 255], &noise].concat(),
                )
            }
            6 => ("application/octet-stream".into(), [&[0, 1, 0, 200], first.as_bytes(), &[0, 0, 3, b'x']].concat()),
            7 => ("application/octet-stream".into(), text.chars().flat_map(|c| u32::from(c).to_le_bytes()).collect()),
            _ => {
                let label = [["iso-8859-1", "windows-1252"], ["shift_jis", "euc-jp"], ["gbk", "gb18030"]]
                    [["größe", "価格", "价格"].iter().position(|known| *known == filler).unwrap()][below(&mut rng, 2)];
                let encoding = encoding_rs::Encoding::for_label(label.as_bytes()).unwrap();
                (format!("application/json; charset={label}"), encoding.encode(&text).0.into_owned())
            }
        };
        let (content_type, bytes) = encoded;
        let secrets = if content_type.contains("octet") { &secrets[..1] } else { &secrets[..] };
        let out = body(&mut masker, &content_type, &bytes, false);
        no_leak(secrets, &out, seed, &bytes);
        if content_type.contains("json") {
            let declared =
                content_type.split('=').nth(1).and_then(|label| encoding_rs::Encoding::for_label(label.as_bytes()));
            let declared = declared.or(encoding_rs::Encoding::for_bom(&out).map(|(encoding, _)| encoding));
            let encoding = declared.unwrap_or(if out[0] == 0 { encoding_rs::UTF_16BE } else { encoding_rs::UTF_16LE });
            let (decoded, _, broken) = encoding.decode(&out);
            assert!(!broken && decoded.contains(filler), "seed {seed} {content_type} {decoded}");
            assert!(serde_json::from_str::<Value>(&decoded).is_ok(), "seed {seed} {decoded}");
        }
    }
}

/// What one member of an object names and another holds goes, with detectors or without, whatever is around the object and
/// wherever a cut behind both is.
#[test]
fn members_that_name_others() {
    for seed in 0..1000 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut masker = match coin(&mut rng, 0.5) {
            true => masker(&all(ACTIONS[below(&mut rng, 4)])),
            false => masker(&Settings { detectors: Vec::new(), patterns: Vec::new(), ..all(Action::Hash) }),
        };
        let mut secrets = Vec::new();
        let mut objects: Vec<String> =
            (0..1 + below(&mut rng, 3)).map(|_| named_pair(&mut rng, &mut secrets)).collect();
        objects.push("{\"name\":\"page\",\"value\":\"kept\"}".into());
        let depth = [0, 1, 20, 130, 1100][below(&mut rng, 5)];
        let is_cut = coin(&mut rng, 0.3);
        let close = if is_cut { String::new() } else { "]".repeat(depth + 1) };
        let text = format!("{}[{}{close}", "[".repeat(depth), objects.join(", "));
        let out = body(&mut masker, "application/json", text.as_bytes(), is_cut);
        no_leak(&secrets, &out, seed, text.as_bytes());
        assert!(depth > 20 || out.ends_with(format!("\"kept\"}}{close}").as_bytes()), "seed {seed}");
    }
}

/// Of a secret that a cut goes through, hardly anything is left.
#[test]
fn cuts_through_secrets() {
    for seed in 0..1200 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut masker = masker(&all(ACTIONS[below(&mut rng, 4)]));
        let (kind, secret) = secret(&mut rng);
        let secret = if kind == "PRIVATE_KEY" { secret.replace('\n', " ") } else { secret };
        let filler = word(&mut rng).replace(['"', '\\', '<', '&'], "");
        let (content_type, before) = match below(&mut rng, 5) {
            0 => ("application/json", format!("{{\"a\": [1, \"{filler} ")),
            1 => ("application/json", format!("{{\"b\": {{\"{filler}x\": \"")),
            2 => ("text/xml", format!("<a><b c=\"1\">{filler} ")),
            3 => ("text/plain", format!("{filler}: ")),
            _ => ("application/x-www-form-urlencoded", "a=b&c=".to_owned()),
        };
        let cut = secret.floor_char_boundary(1 + below(&mut rng, secret.len())).max(1);
        let text = format!("{before}{}", &secret[..cut]);
        let out = body(&mut masker, content_type, text.as_bytes(), true);
        // What may be left: a prefix that many secrets share, or fewer digits than name an issuer.
        let least = match kind {
            "CREDIT_CARD" => 8,
            "IBAN" | "US_SSN" => 7,
            "PHONE" => 8,
            "IPV4" => 10,
            "IPV6" => 10,
            "PRIVATE_KEY" => 28,
            "EMAIL" | "EMPLOYEE" => 3,
            "API_KEY" => 10,
            _ => 6,
        };
        if cut > least {
            no_leak(&[secret[..cut].to_owned()], &out, seed, text.as_bytes());
        }
        let (name, secret) = named_secret(&mut rng);
        let text = match below(&mut rng, 3) {
            0 => format!("{{\"{name}\":\"{secret}"),
            1 => format!("{{\"x\":1}}\n{{\"y\":{{\"{name}\":[\"{secret}"),
            _ => format!("a=1&{name}={secret}"),
        };
        let out = body(&mut masker, "application/x-www-form-urlencoded", text.as_bytes(), true);
        no_leak(&[secret], &out, seed, text.as_bytes());
    }
}

/// A text in each way that clients escape characters.
fn spelled(rng: &mut StdRng, how: usize, text: &str) -> String {
    let units = |each: &dyn Fn(u16) -> String| text.encode_utf16().map(each).collect::<String>();
    let bytes = |each: &dyn Fn(u8) -> String| text.bytes().map(each).collect::<String>();
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    match how {
        0 => text.to_owned(),
        1 => units(&|unit| format!("\\u{unit:04x}")),
        2 => bytes(&|byte| format!("\\x{byte:02X}")),
        3 => bytes(&|byte| format!("%{byte:02X}")),
        4 => bytes(&|byte| if is_word(byte) { char::from(byte).into() } else { format!("%{byte:02x}") }),
        5 => bytes(&|byte| format!("%25{byte:02X}")),
        6 => units(&|unit| format!("&#{unit};")),
        7 => units(&|unit| format!("&#x{unit:04X};")),
        8 => bytes(&|byte| if byte == b' ' { "+".into() } else { format!("%{byte:02X}") }),
        _ => xml(rng, text),
    }
}

/// Wherever a cut goes through the escapes of a secret, in whatever it stands: what is in front of it is not left, neither as it
/// is written nor decoded.
#[test]
fn cuts_through_escapes() {
    const KINDS: [(&str, usize); 12] = [
        ("CREDIT_CARD", 8),
        ("IBAN", 7),
        ("US_SSN", 7),
        ("PHONE", 8),
        ("IPV4", 10),
        ("IPV6", 10),
        ("EMAIL", 3),
        ("JWT", 6),
        ("AWS_KEY", 6),
        ("API_KEY", 10),
        ("EMPLOYEE", 3),
        ("PRIVATE_KEY", 28),
    ];
    let mut rng = StdRng::seed_from_u64(7);
    let mut masker = masker(&all(Action::Redact));
    for (kind, least) in KINDS {
        let secret = loop {
            let (other, secret) = secret(&mut rng);
            if other == kind {
                break secret.replace('\n', " ");
            }
        };
        for (content_type, before, ways) in [
            ("application/json", "{\"a\":[1,\"", &[0, 1, 4, 3, 5][..]),
            ("application/json", "{\"a\":1,\"", &[0, 1]),
            ("application/x-www-form-urlencoded", "a=1&b=", &[0, 3, 4, 5, 8]),
            ("application/x-www-form-urlencoded", "a=1&", &[3, 4]),
            ("text/xml", "<a><b c=\"1\">", &[0, 6, 7, 9]),
            ("text/xml", "<a><b c=\"", &[6, 7, 9]),
            ("text/plain", "to ", &[0, 1, 2, 3, 4, 5, 6, 7, 9]),
            (
                "multipart/form-data; boundary=b",
                "--b\r\nContent-Disposition: form-data; name=x\r\n\r\n",
                &[0, 1, 3, 4, 6],
            ),
        ] {
            for how in ways {
                let text = format!("{before}{}", spelled(&mut rng, *how, &secret));
                for cut in before.len()..=text.len().min(before.len() + 240) {
                    let Some(text) = text.get(..cut) else { continue };
                    let out = body(&mut masker, content_type, text.as_bytes(), true);
                    let out = String::from_utf8_lossy(&out);
                    // As much of it as is certain to be one, in the way it is written or none.
                    let piece = &secret[..least + 1];
                    let whole = text[before.len()..].starts_with(&spelled(&mut rng, *how, piece)) || *how == 9;
                    let left = [0, *how].into_iter().any(|way| out.contains(&spelled(&mut rng, way, piece)));
                    assert!(!(whole && left), "{kind} {how} cut at {cut}: {text}\n{out}");
                }
            }
        }
    }
}

/// Clients forget to escape a plus, which a form reads as a blank.
#[test]
fn a_plus_that_is_no_blank() {
    for seed in 0..60 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut masker = masker(&all(ACTIONS[below(&mut rng, 4)]));
        let tagged = format!("jane{seed}+tag@mail.example.org");
        for secret in [&tagged, "+14155552671", "+49 89 1234567", "+49-89-1234567"] {
            let value = secret.replace(' ', ["+", "%20"][below(&mut rng, 2)]);
            let value = if coin(&mut rng, 0.5) { value.replace('@', "%40") } else { value };
            let value = format!(
                "{}{value}{}",
                ["", "to%3A+", "%28"][below(&mut rng, 3)],
                ["", "+%29", ".+x"][below(&mut rng, 3)]
            );
            let form = format!("a=b+c&{}={value}&d", ["v", "to", "phone"][below(&mut rng, 3)]);
            let number = secret.trim_start_matches('+').to_owned();
            let secrets = [number.clone(), number.replace(' ', "+"), number.replace('@', "%40"), "jane".into()];
            let out = body(&mut masker, "application/x-www-form-urlencoded", form.as_bytes(), false);
            no_leak(&secrets, &out, seed, form.as_bytes());
            assert!(String::from_utf8_lossy(&out).starts_with("a=b+c&") && out.ends_with(b"&d"), "seed {seed}");
            for target in [format!("/a?{form}"), format!("https://h.example/a#{form}")] {
                let out = masker.target(target.as_bytes()).or(target.as_bytes()).to_vec();
                no_leak(&secrets, &out, seed, target.as_bytes());
                let out = masker.header(Side::Request, b"Referer", target.as_bytes()).or(target.as_bytes()).to_vec();
                no_leak(&secrets, &out, seed, target.as_bytes());
            }
        }
    }
}

/// What stands around secrets in the wild, and how their parts are set apart.
#[test]
fn shapes_of_the_wild() {
    let random = "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1dE3fG5hI7k";
    let pem = "MIIEowIBAAKCAQEAsecretsecretsecret";
    let texts = [
        // Social security numbers in paths, names of files and words.
        ("/p/536-22-1234", "536-22-1234"),
        ("/p/536-22-1234/x", "536-22-1234"),
        ("536-22-1234.txt", "536-22-1234"),
        ("report.536-22-1234.pdf", "536-22-1234"),
        ("_536-22-1234_", "536-22-1234"),
        ("see https://h.example/p/536-22-1234/5", "536-22-1234"),
        // Cards: of stripes and chips, through floating point, filled up, within orders and in front of dates.
        ("%B4111111111111111^DOE/JOHN^25121011000?", "4111111111111111"),
        (";4111111111111111=25121011000?", "4111111111111111"),
        ("4111111111111111D25121011000", "4111111111111111"),
        ("57134111111111111111D25121010000000000F", "4111111111111111"),
        ("4111111111111111.0", "4111111111111111"),
        ("{\"v\":4111111111111111.00}", "4111111111111111"),
        ("0004111111111111111", "4111111111111111"),
        ("4111.1111.1111.1111", "4111.1111.1111.1111"),
        ("4111/1111/1111/1111", "4111/1111/1111/1111"),
        ("4111  1111  1111  1111", "4111  1111  1111  1111"),
        ("4111\u{a0}1111\u{a0}1111\u{a0}1111", "1111\u{a0}1111"),
        ("4111\u{2009}1111\u{2009}1111\u{2009}1111", "1111\u{2009}1111"),
        ("4111\u{2013}1111\u{2013}1111\u{2013}1111", "1111\u{2013}1111"),
        ("3782\u{a0}822463\u{a0}10005", "822463"),
        ("12-4111-1111-1111-1111", "4111-1111-1111-1111"),
        ("4111-1111-1111-1111-12", "4111-1111-1111-1111"),
        ("4111 1111 1111 1111 1225", "4111 1111 1111 1111"),
        ("DE89\u{a0}3704\u{a0}0044\u{a0}0532\u{a0}0130\u{a0}00", "3704"),
        ("IBANDE89370400440532013000", "DE89370400440532013000"),
        ("+49\u{a0}89\u{a0}1234567", "1234567"),
        ("+49\u{2009}89 1234567", "1234567"),
        ("{\"ssn\":\"536.22.1234\"}", "536.22.1234"),
        ("{\"ssn\":\"536\u{2013}22\u{2013}1234\"}", "536"),
        (
            "{\"id\":\"AKIAIOSFODNN7EXAMPLE\",\"s\":\"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\"}",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        ),
        (
            "{\"s\":\"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\",\"id\":\"AKIAIOSFODNN7EXAMPLE\"}",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        ),
        // Keys.
        (&format!("x-----BEGIN RSA PRIVATE KEY-----\n{pem}\n-----END RSA PRIVATE KEY-----"), pem),
        (
            "eyAiYWxnIjoiSFMyNTYiIH0.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFU",
            "dozjgNryP4J3jVmNHl0w5N",
        ),
        (
            "ewogICJhbGciOiJIUzI1NiIKfQ.ewogInN1YiI6IjEyMyIKfQ.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0",
            "ewogInN1YiI6IjEyMyIKfQ",
        ),
        (
            "ew0KICJhbGciOiJIUzI1NiINCn0.eyJzdWIiOiIxMjMifQ.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THs",
            "eyJzdWIiOiIxMjMifQ",
        ),
        (&format!("sk-{random}{random}"), random),
        (&format!("glcbt-64_{random}"), random),
    ];
    for action in ACTIONS {
        let mut masker = masker(&all(action));
        for (text, secret) in &texts {
            let mut rng = StdRng::seed_from_u64(1);
            let secrets = [(*secret).to_owned()];
            let json = match text.starts_with('{') {
                true => (*text).to_owned(),
                false => format!("{{\"v\":[{}]}}", serde_json::to_string(text).unwrap()),
            };
            let xml = format!("<a>{}</a>", xml(&mut rng, text));
            let form = format!("v={}", percent(&mut rng, text));
            for (content_type, text) in [
                ("text/plain", *text),
                ("application/json", &json),
                ("text/xml", &xml),
                ("application/x-www-form-urlencoded", &form),
            ] {
                let out = body(&mut masker, content_type, text.as_bytes(), false);
                no_leak(&secrets, &out, 0, text.as_bytes());
            }
            let target = format!("/p/{}?{form}", percent(&mut rng, text).replace('+', "%20"));
            let out = masker.target(target.as_bytes()).or(target.as_bytes()).to_vec();
            no_leak(&secrets, &out, 0, target.as_bytes());
            let line = text.replace('\n', " ");
            let out = masker.header(Side::Request, b"X-Any", line.as_bytes()).or(line.as_bytes()).to_vec();
            no_leak(&secrets, &out, 0, line.as_bytes());
        }
    }
}

/// What tells of secrets tells none, wherever a name holds one: of members, pairs, cookies, headers, elements, attributes,
/// parts.
#[test]
fn findings_tell_no_secret() {
    for seed in 0..300 {
        let mut rng = StdRng::seed_from_u64(seed);
        let (mut masker, first, secret) = if coin(&mut rng, 0.7) {
            let (_, secret) = secret(&mut rng);
            let secret = secret.replace('\n', " ");
            (masker(&all(ACTIONS[below(&mut rng, 4)])), secret.clone(), secret)
        } else {
            let (_, secret) = named_secret(&mut rng);
            (credentials(), format!("password={secret}"), secret)
        };
        let (field, value) = named_secret(&mut rng);
        let leaks = Leaks::new(&[secret, value.clone()]).unwrap();
        let spaced = first.replace([' ', '/'], "-");
        let quoted = serde_json::to_string(&first).unwrap();
        let part = |name: &str| {
            format!("--b\r\nContent-Disposition: form-data; name={name}\r\n\r\npassword={value} {first}\r\n--b--")
        };
        let bodies = [
            ("application/json", format!("{{{quoted}:{{{field:?}:{value:?}}}}}")),
            ("application/json", format!("{{{quoted}:[{quoted}]}}")),
            ("application/x-www-form-urlencoded", format!("{0}={0}&{0}.password={value}", percent(&mut rng, &first))),
            (
                "text/xml",
                format!(
                    "<a><{spaced} {spaced}=\"password={value}\">{value}<password>{value}</password></{spaced}></a>"
                ),
            ),
            ("multipart/form-data; boundary=b", part(&quoted)),
            ("multipart/form-data; boundary=b", part(&format!("\"x password={value} token\""))),
            (
                "multipart/form-data; boundary=b",
                part(&format!("\"{}\"", percent(&mut rng, &first).replace('+', "%20"))),
            ),
        ];
        masker.begin();
        for (content_type, text) in &bodies {
            masker.body(Side::Request, Some(content_type.as_bytes()), text.as_bytes(), false);
        }
        masker.target(format!("/x?{}={value}", percent(&mut rng, &first)).as_bytes());
        masker.header(Side::Request, b"Cookie", format!("{spaced}={value}; a={value}").as_bytes());
        masker.header(Side::Response, spaced.as_bytes(), format!("password={value}").as_bytes());
        assert!(masker.findings().count() > 7, "seed {seed}");
        for finding in masker.findings() {
            assert_eq!(leaks.find(finding.field.as_bytes()), [], "seed {seed}: {finding:?}\n{bodies:?}");
        }
    }
}

/// The same value is the same token wherever it stands.
#[test]
fn tokens_correlate() {
    let mut masker = credentials();
    let value = "s3cr3t/of=a user";
    let Masked::Replaced(bearer) = masker.header(Side::Request, b"authorization", format!("Bearer {value}").as_bytes())
    else {
        panic!()
    };
    let token = String::from_utf8(bearer["Bearer ".len()..].to_vec()).unwrap();
    assert!(token.starts_with("tok_"));
    for (content_type, text) in [
        ("application/json", r#"{"access_token":"s3cr3t\/of=a\u0020user"}"#),
        ("application/x-www-form-urlencoded", "a=b&access_token=s3cr3t%2Fof%3Da+user"),
        ("text/xml", "<a><access_token> s3cr3t/of=&#97; user </access_token></a>"),
        (
            "multipart/form-data; boundary=b",
            "--b\r\nContent-Disposition: form-data; name=access_token\r\n\r\ns3cr3t/of=a user\r\n--b--",
        ),
        ("text/plain", "access_token='s3cr3t/of=a user'"),
    ] {
        let out = String::from_utf8(body(&mut masker, content_type, text.as_bytes(), false)).unwrap();
        assert!(out.contains(&token), "{out}");
    }
    let cookie = masker.header(Side::Request, b"Cookie", b"lang=en; sid=s3cr3t/of=a%20user").or(b"").to_vec();
    assert!(String::from_utf8(cookie).unwrap().ends_with(&format!("; sid={token}")));
    let set =
        masker.header(Side::Response, b"Set-Cookie", b"sid=\"s3cr3t/of=a user\"; Path=/; HttpOnly").or(b"").to_vec();
    assert_eq!(String::from_utf8(set).unwrap(), format!("sid=\"{token}\"; Path=/; HttpOnly"));
    let target = masker.target(b"/x?token=s3cr3t%2fof%3da+user&y=1").or(b"").to_vec();
    assert_eq!(String::from_utf8(target).unwrap(), format!("/x?token={token}&y=1"));
}

/// Names of several words name secrets as others do, however the blank is written, with escapes in the text or without.
#[test]
fn names_of_several_words() {
    let mut masker = credentials();
    for (content_type, text) in [
        ("application/json", r#"{"api key":"s3cr3t-of-a-user"}"#),
        ("application/json", r#"{"note":"caf\u00e9\n","api key":"s3cr3t-of-a-user"}"#),
        ("application/json", r#"{"note":"line\npin: s3cr3t-of-a-user"}"#),
        ("application/x-www-form-urlencoded", "a=b&api+key=s3cr3t-of-a-user&c=d"),
        ("application/x-www-form-urlencoded", "a=b&api%20key=s3cr3t-of-a-user&c=d"),
        ("text/plain", "Your verification code: s3cr3t-of-a-user"),
        ("text/plain", "Secret Key : \"s3cr3t-of-a-user\""),
        ("text/xml", "<a><f name=\"api key\">s3cr3t-of-a-user</f></a>"),
    ] {
        let out = String::from_utf8(body(&mut masker, content_type, text.as_bytes(), false)).unwrap();
        assert!(out.contains("tok_") && !out.contains("s3cr3t"), "{out}");
    }
    let target = masker.target(b"/x?api+key=s3cr3t-of-a-user").or(b"").to_vec();
    assert!(String::from_utf8(target).unwrap().contains("tok_"));
}
