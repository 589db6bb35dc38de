//! Masking as an operator gets it: what the program does by itself, with a key file, and with rules of one's own.

mod cli_capture;

use std::fs;
use std::path::{Path, PathBuf};

use cli_capture::{Capture, Run, run_with, sensor};
use serde_json::Value;
use tempfile::TempDir;

const BEARER: &str = "eyJzZXNzaW9uIjoiMTIzNDU2Nzg5MCJ9";
const SESSION: &str = "s3ss10n-of-somebody";
const PASSWORD: &str = "correct horse battery";

/// Twenty transactions of four clients, each with the same three secrets and one of its own.
fn capture(folder: &TempDir) -> PathBuf {
    let mut capture = Capture::default();
    for client in 0..4 {
        let mut conversation = capture.open(([10, 0, 0, 1 + client], 20_000), ([10, 0, 0, 9], 80));
        for n in 0..5 {
            let body = format!(
                "{{\"a\":[{{\"password\":\"{PASSWORD}\",\"n\":{n}}}],\"sku\":\"A-{client}\",\"born\":\"1970\"}}"
            );
            let head = format!(
                "POST /v1/{n}?api_key=key-of-{client}&page={n} HTTP/1.1\r\nHost: api.example\r\nAuthorization: Bearer {BEARER}\r\nCookie: session={SESSION}; own=own-{client}-{n}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            conversation.client_says(format!("{head}{body}").as_bytes());
            conversation.server_says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nok");
        }
        conversation.close();
    }
    capture.write(folder.path().join("a.pcap"))
}

fn key(folder: &TempDir, name: &str, bytes: &[u8]) -> String {
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Which of the clients asked.
fn client(record: &Value) -> u8 {
    record["client"]["ip"].as_str().unwrap().strip_prefix("10.0.0.").unwrap().parse::<u8>().unwrap() - 1
}

/// A replay under `[mask]` of this text.
fn replay(folder: &TempDir, capture: &Path, mask: &str, more: &[&str]) -> Run {
    let config = folder.path().join("sensor.toml");
    fs::write(&config, mask).unwrap();
    let args = ["replay", capture.to_str().unwrap(), "--config", config.to_str().unwrap()];
    run_with(sensor().args(args).args(more))
}

fn records(run: &Run) -> Vec<Value> {
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let lines = run.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

fn ids(records: &[Value]) -> Vec<&str> {
    records.iter().map(|record| record["id"].as_str().unwrap()).collect()
}

#[test]
fn credentials_are_masked_unless_that_is_turned_off() {
    let folder = tempfile::tempdir().unwrap();
    let capture = capture(&folder);
    let masked = replay(&folder, &capture, "", &[]);
    let off = replay(&folder, &capture, "[mask]\nenabled = false", &[]);
    let by_environment =
        run_with(sensor().env("SENSOR_MASK__ENABLED", "false").args(["replay", capture.to_str().unwrap()]));
    assert_eq!(by_environment.stdout, off.stdout);
    for secret in [BEARER, SESSION, PASSWORD, "key-of-2", "own-3-4"] {
        assert!(String::from_utf8_lossy(&off.stdout).contains(secret), "{secret}");
        assert!(!String::from_utf8_lossy(&masked.stdout).contains(secret), "{secret}");
    }
    let (masked_records, off_records) = (records(&masked), records(&off));
    assert_eq!(masked_records.len(), 20);
    assert_eq!(ids(&masked_records), ids(&off_records), "an id does not depend on masking");
    for record in &masked_records {
        assert_eq!(record["masked"].as_array().unwrap().len(), 5, "{record:#}");
        assert_eq!(record["request"]["headers"][1][1].as_str().unwrap().len(), "Bearer tok_".len() + 26);
    }
    assert!(masked.stderr.contains("random key") && masked.stderr.contains("mask.key_file"), "{}", masked.stderr);
    assert!(!off.stderr.contains("random key") && off.stderr.contains("nothing is masked"), "{}", off.stderr);
    assert_ne!(replay(&folder, &capture, "", &[]).stdout, masked.stdout, "a key of each run");
}

#[test]
fn a_key_file_makes_runs_comparable() {
    let folder = tempfile::tempdir().unwrap();
    let capture = capture(&folder);
    let [one, other] = [7, 8].map(|byte| key(&folder, &format!("{byte}.key"), &[byte; 32]));
    let under = |key: &str, more: &[&str]| replay(&folder, &capture, &format!("[mask]\nkey_file = '{key}'"), more);
    let first = under(&one, &[]);
    assert!(!first.stderr.contains("random key"), "{}", first.stderr);
    assert_eq!(first.stdout, under(&one, &[]).stdout);
    let (mine, others) = (records(&first), records(&under(&other, &[])));
    assert_eq!(ids(&mine), ids(&others));
    assert!(mine.iter().zip(&others).all(|(mine, other)| mine["request"]["headers"] != other["request"]["headers"]));
    // The same value is the same token, wherever and on whichever thread.
    let token = |record: &Value| record["request"]["headers"][1][1].as_str().unwrap().to_owned();
    assert!(mine.iter().all(|record| token(record) == token(&mine[0])));
    let mut sorted: Vec<String> = mine.iter().map(Value::to_string).collect();
    sorted.sort();
    for workers in ["2", "4"] {
        let mut on_several: Vec<String> =
            records(&under(&one, &["--workers", workers])).iter().map(Value::to_string).collect();
        on_several.sort();
        assert_eq!(on_several, sorted, "{workers} workers");
    }
}

#[test]
fn a_key_file_that_is_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let capture = capture(&folder);
    let short = key(&folder, "short.key", &[7; 31]);
    let long = key(&folder, "long.key", &[7; 4_097]);
    for (file, found) in [
        (short.as_str(), "31 bytes"),
        (&long, "more, allowed are 32 to 4096"),
        ("/nowhere/at.key", "/nowhere/at.key"),
        (folder.path().to_str().unwrap(), "cannot read the masking key"),
    ] {
        let run = replay(&folder, &capture, &format!("[mask]\nkey_file = '{file}'"), &[]);
        assert_eq!(run.code, Some(2), "{run:?}");
        assert!(run.stdout.is_empty());
        assert!(
            run.stderr.contains(found) && run.stderr.contains("sensor.toml, line 2: mask.key_file"),
            "{}",
            run.stderr
        );
    }
}

/// Names of fields and paths are names of rules, too; they were refused where they are not plain words.
#[test]
fn rules_of_ones_own_are_followed() {
    let folder = tempfile::tempdir().unwrap();
    let capture = capture(&folder);
    let rules = "[mask.json_paths]\n\"$.sku\" = 'keep_last=1'\n\"$.a[*].n\" = 'redact'\n[mask.fields]\n'*orn' = 'redact'\n'größe' = 'redact'\n";
    let found = records(&replay(&folder, &capture, rules, &["--quiet"]));
    assert_eq!(found.len(), 20);
    for record in &found {
        let body: Value = serde_json::from_str(record["request"]["body"]["content"].as_str().unwrap()).unwrap();
        assert_eq!(
            (&body["sku"], &body["born"]),
            (&Value::from(format!("*-{}", client(record))), &"REDACTED".into()),
            "{body}"
        );
        assert_eq!(body["a"][0]["n"], "REDACTED");
        let names: Vec<&str> =
            record["masked"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
        for name in ["$.sku", "$.a[*].n", "*orn"] {
            assert!(names.contains(&name), "{names:?}");
        }
    }
}

#[test]
fn bodies_are_left_out_by_type_and_by_what_is_in_them() {
    let folder = tempfile::tempdir().unwrap();
    let capture = capture(&folder);
    let by_type = records(&replay(&folder, &capture, "[mask]\ndrop_body = ['application/*']", &["--quiet"]));
    let by_secret = records(&replay(&folder, &capture, "[mask.fields]\nborn = 'drop_body'", &["--quiet"]));
    assert_eq!((by_type.len(), by_secret.len()), (20, 20));
    for (record, name) in
        by_type.iter().map(|record| (record, "MEDIA_TYPE")).chain(by_secret.iter().map(|record| (record, "born")))
    {
        let body = &record["request"]["body"];
        assert_eq!((&body["content"], &body["truncated"]), (&Value::Null, &true.into()), "{record:#}");
        assert!(body["bytes"].as_u64().unwrap() > 0);
        assert_eq!(record["response"]["body"]["content"], "ok", "the other side's is none");
        let listed = record["masked"].as_array().unwrap();
        assert!(listed.iter().any(|one| one["name"] == name && one["action"] == "drop_body"), "{listed:?}");
    }
}

/// Which of several types counts, and what quotes around one mean, is the receiver's to say.
#[test]
fn bodies_are_left_out_by_each_type_that_is_stated() {
    let folder = tempfile::tempdir().unwrap();
    let mut written = Capture::default();
    let fields = [
        "Content-Type: \"application/json\"",
        "Content-Type: text/plain\r\nContent-Type: application/json; charset=utf-8",
        "Content-Type: text/plain, 'Application/JSON'",
        "Content-Type: text/plain",
    ];
    let mut conversation = written.open(([10, 0, 0, 1], 20_000), ([10, 0, 0, 9], 80));
    for field in fields {
        conversation.client_says(
            format!("POST / HTTP/1.1\r\nHost: a\r\n{field}\r\nContent-Length: 6\r\n\r\nfamily").as_bytes(),
        );
        conversation.server_says(b"HTTP/1.1 204 No Content\r\n\r\n");
    }
    conversation.close();
    let capture = written.write(folder.path().join("b.pcap"));
    let records = records(&replay(&folder, &capture, "[mask]\ndrop_body = ['application/json']", &["--quiet"]));
    let contents: Vec<_> = records.iter().map(|record| record["request"]["body"]["content"].clone()).collect();
    assert_eq!(contents, [Value::Null, Value::Null, Value::Null, "family".into()]);
}

/// `sensor mask verify` under `[mask]` of this text, for these lines.
fn verify(folder: &TempDir, capture: &Path, mask: &str, secrets: &str) -> (Option<i32>, String, String) {
    let (config, list) = (folder.path().join("verify.toml"), folder.path().join("planted.txt"));
    fs::write(&config, mask).unwrap();
    fs::write(&list, secrets).unwrap();
    let [config, list, capture] = [&config, &list, capture].map(|path| path.to_str().unwrap());
    let run = run_with(sensor().args(["mask", "verify", "--config", config, capture, "--secrets", list]));
    (run.code, String::from_utf8(run.stdout).unwrap(), run.stderr)
}

#[test]
fn verifying_proves_what_masking_hides_and_what_it_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let capture = capture(&folder);
    let secrets = format!("{BEARER}\n\n{SESSION}\r\n{PASSWORD}\nkey-of-3\nown-2-2\n");
    let (code, said, errors) = verify(&folder, &capture, "", &secrets);
    assert_eq!((code, errors.as_str()), (Some(0), ""), "{said}");
    assert!(said.contains("looked at 20 native records, 20 edge records"), "{said}");
    assert!(said.contains("5 secrets, 5 of them in the records without masking\nnone found"), "{said}");
    assert!(!said.contains("looked at 20 native records, 20 edge records, 0 files"), "{said}");

    // One that nobody masks by default, and one that is not there: by line, and where.
    let (code, said, _) =
        verify(&folder, &capture, "", &format!("{SESSION}\n\nA-2\nnever-sent\napi.example\n\"born\"\n"));
    assert_eq!(code, Some(2), "three bytes: {said}");
    let (code, said, _) = verify(&folder, &capture, "", &format!("{SESSION}\n\n\"A-2\"\nnever-sent\napi.example\n"));
    assert_eq!(code, Some(1), "{said}");
    for line in [
        "line 4: not in the records without masking either",
        "line 5: found in native record ",
        " at request.headers[0][1], plain",
        "line 5: found in edge record ",
        "line 5: found in summary",
        "line 3: found in native record ",
        " at request.body.content, JSON-escaped",
        "2 secrets leave",
    ] {
        assert!(said.contains(line), "{line:?} is missing from\n{said}");
    }
    assert!(!said.contains("A-2") && !said.contains("line 1:"), "{said}");

    let (code, said, _) = verify(&folder, &capture, "[mask]\nenabled = false", &secrets);
    assert_eq!(code, Some(1));
    for line in ["5 secrets leave", "line 1: found in native record", "request.headers[1][1]", "line 3: found in"] {
        assert!(said.contains(line), "{line:?} is missing from\n{said}");
    }
    for secret in [BEARER, SESSION, PASSWORD] {
        assert!(!said.contains(secret), "what is printed tells no secret: {said}");
    }
}

/// Also what only the edge record's base64 and the packed files of the spool hold is found, at each alignment.
#[test]
fn verifying_sees_through_packing() {
    let folder = tempfile::tempdir().unwrap();
    let capture = capture(&folder);
    for n in 0..3 {
        let secret = &SESSION[n..];
        let (code, said, _) = verify(&folder, &capture, "[mask]\nenabled = false", secret);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("base64") || said.contains("times more"), "{said}");
    }
}

/// A secret that no record has without masking proves nothing: such a list passed.
#[test]
fn verifying_tells_a_list_that_proves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let capture = capture(&folder);
    let (code, said, _) = verify(&folder, &capture, "", &format!("{SESSION}\nnever-sent\n"));
    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.contains("line 2: not in the records without masking either") && said.ends_with("none found\n"),
        "{said}"
    );
    let (code, said, _) = verify(&folder, &capture, "[mask]\nenabled = false", &format!("{SESSION}\nnever-sent\n"));
    assert_eq!(code, Some(1), "what leaves is worse: {said}");
}

/// Whatever form a body brings a secret in, it is found in records of both shapes and in the spool.
#[test]
fn verifying_finds_each_form_in_each_shape() {
    let folder = tempfile::tempdir().unwrap();
    let secret = "hun\"ter2 secret/of&them";
    let json = serde_json::to_string(secret).unwrap();
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut encoder, bytes).unwrap();
        encoder.finish().unwrap()
    };
    let long = format!("{}{secret}{}", "front ".repeat(12), " behind".repeat(12));
    let base64 = |text: &[u8]| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text);
    let lines = base64(long.as_bytes()).as_bytes().chunks(76).collect::<Vec<_>>().join(&b"\r\n"[..]);
    let percent = |text: &str, kept: &str| -> String {
        let kept = |byte: u8| byte.is_ascii_alphanumeric() || kept.as_bytes().contains(&byte);
        text.bytes().map(|byte| if kept(byte) { char::from(byte).into() } else { format!("%{byte:02X}") }).collect()
    };
    let units: String = secret.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
    let html = secret.replace('&', "&amp;").replace('"', "&quot;");
    let bodies: [(&str, Vec<u8>); 11] = [
        ("plain", long.clone().into_bytes()),
        ("base64 in lines", lines),
        ("JSON", json.clone().into_bytes()),
        ("\\uXXXX", format!("{{\"v\":\"{units}\"}}").into_bytes()),
        ("JSON in JSON", serde_json::to_vec(&json).unwrap()),
        ("percent", format!("v={}", percent(secret, "")).into_bytes()),
        ("percent but for slashes", format!("v={}", percent(secret, "/")).into_bytes()),
        ("percent twice", format!("v={}", percent(&percent(secret, "/"), "/")).into_bytes()),
        ("HTML", html.into_bytes()),
        ("gzip", gzip(json.as_bytes())),
        ("UTF-16", json.encode_utf16().flat_map(u16::to_le_bytes).collect()),
    ];
    for (name, body) in bodies {
        let mut capture = Capture::default();
        let mut conversation = capture.open(([10, 0, 0, 1], 20_000), ([10, 0, 0, 9], 80));
        let head = format!(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        conversation.client_says(&[head.as_bytes(), &body].concat());
        conversation.server_says(b"HTTP/1.1 204 No Content\r\n\r\n");
        conversation.close();
        let capture = capture.write(folder.path().join("form.pcap"));
        let (code, said, _) = verify(&folder, &capture, "[mask]\nenabled = false", secret);
        assert_eq!(code, Some(1), "{name}: {said}");
        for place in ["native record", "edge record", "spool file"] {
            assert!(said.contains(&format!("line 1: found in {place}")), "{name}: {said}");
        }
        assert!(!said.contains("ter2"), "{said}");
    }
}

/// A client that puts a password in front of a host has it in the summary and among what rules decide on: as masked as in
/// the record.
#[test]
fn hosts_are_shown_as_masked() {
    let folder = tempfile::tempdir().unwrap();
    let mut capture = Capture::default();
    let mut conversation = capture.open(([10, 0, 0, 1], 20_000), ([10, 0, 0, 9], 80));
    for host in ["bob:hunter2secret@h.example", "bob:hunter2secret@h.example", "jane.doe@example.org", "h.example"] {
        conversation.client_says(format!("PAY-4111111111111111 / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
        conversation.server_says(b"HTTP/1.1 204 No Content\r\n\r\n");
    }
    conversation.close();
    let capture = capture.write(folder.path().join("hosts.pcap"));
    let mask = "[mask.detectors]\nemail = 'redact'\ncredit_card = 'redact'\n";
    let secrets = ["hunter2", "jane.doe", "411111111111"];
    let run = replay(&folder, &capture, mask, &[]);
    assert!(run.stderr.contains("h.example 2") || run.stderr.contains("@h.example"), "{}", run.stderr);
    assert_eq!(secrets.iter().find(|secret| run.stderr.contains(**secret)), None, "{}", run.stderr);
    let unmasked = replay(&folder, &capture, "[mask]\nenabled = false", &[]);
    assert!(unmasked.stderr.contains("bob:hunter2secret@h.example 2"), "{}", unmasked.stderr);
    let config = folder.path().join("sensor.toml");
    fs::write(&config, mask).unwrap();
    for format in ["table", "ndjson"] {
        let args = ["filter", "test", capture.to_str().unwrap(), "--format", format];
        let run = run_with(sensor().args(args).args(["--config", config.to_str().unwrap()]));
        let said = String::from_utf8(run.stdout).unwrap();
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        assert!(said.matches("h.example").count() >= 3, "{said}");
        assert_eq!(secrets.iter().find(|secret| said.contains(**secret)), None, "{said}");
    }
}

#[test]
fn verifying_refuses_what_proves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let capture = capture(&folder);
    for (secrets, wrong) in [("", "are none"), ("\n\n", "are none"), ("abcd\nabc\n", "3 bytes in line 2")] {
        let (code, said, errors) = verify(&folder, &capture, "", secrets);
        assert_eq!((code, said.as_str()), (Some(2), ""), "{errors}");
        assert!(errors.contains(wrong) && errors.contains("hint") && errors.contains("planted.txt"), "{errors}");
    }
    let (code, _, errors) = verify(&folder, &capture, "[mask]\nkeyfile = 'x'", "abcd");
    assert_eq!(code, Some(2), "{errors}");
    assert!(errors.contains("key_file"), "{errors}");
    let (code, _, errors) = verify(&folder, Path::new("-"), "", "abcd");
    assert_eq!(code, Some(2), "{errors}");
    assert!(errors.contains("standard input"), "{errors}");
    let (code, _, errors) = verify(&folder, Path::new("/no/such.pcap"), "", "abcd");
    assert_eq!(code, Some(2), "{errors}");
    assert!(errors.contains("/no/such.pcap"), "{errors}");
}
