//! `sensor demo`, `sensor check`, and `replay --upload` as they are typed.

mod upload_support;

use upload_support::{Site, arrived, closed_records, ledger, sensor, sum, text, upload};

/// The number before `word`.
fn number_before(text: &str, word: &str) -> u64 {
    let at = text.find(word).unwrap_or_else(|| panic!("no `{word}` in\n{text}"));
    let number = text[..at].split_whitespace().last().unwrap_or_default();
    number.parse().unwrap_or_else(|_| panic!("`{number}` before `{word}` in\n{text}"))
}

#[test]
fn the_demonstration_stores_each_transaction_once() {
    let run = sensor().arg("demo").output().unwrap();
    let (out, said) = (text(&run.stdout), text(&run.stderr));
    assert_eq!(run.status.code(), Some(0), "{said}");
    let stored = number_before(&said, " transactions stored");
    let repeats = number_before(&said, " came a second time");
    assert_eq!(repeats, 28, "{said}");
    let line = said.lines().find(|line| line.starts_with("records ")).unwrap();
    let total: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert_eq!(number_before(line, " accepted"), total, "{line}");
    assert_eq!(stored + repeats, total, "{said}");
    for fate in [" rejected", " waiting", " dropped"] {
        assert_eq!(number_before(line, fate), 0, "{line}");
    }
    for mirror in ["plain", "vxlan", "ip4_in_ip4"] {
        assert!(out.lines().any(|row| row.split_whitespace().nth(1) == Some(mirror)), "{mirror}:\n{out}");
    }
}

#[test]
fn an_upload_to_nowhere_is_wrong_usage_with_a_hint() {
    let capture = fixtures::captures().remove(0).path;
    let run = sensor().args(["replay", "--upload"]).arg(&capture).output().unwrap();
    assert_eq!(run.status.code(), Some(2));
    let said = text(&run.stderr);
    assert!(said.contains("hint:") && said.contains("[upload]") && said.contains("sensor demo"), "{said}");
    assert!(run.stdout.is_empty());
}

#[test]
fn an_upload_stores_what_is_in_the_capture() {
    let site = Site::new();
    let collector = site.collector();
    let config = site.configuration("good", collector.address().port(), |text| text);
    let capture = site.capture(1);
    let ids = site.ids(&capture);
    let run = upload(&config, &capture).output().unwrap();
    assert_eq!(run.status.code(), Some(0), "{}", text(&run.stderr));
    assert!(run.stdout.is_empty(), "records are sent, not printed");
    let count = ids.len() as u64;
    assert_eq!(closed_records(&ledger(&run)), (count, count));
    let store = collector.store().unwrap();
    assert_eq!(store.ids().unwrap(), ids.iter().cloned().collect());
    assert_eq!(arrived(&collector).len(), ids.len());
    // Once more: recognized, and nothing of it differs.
    let run = upload(&config, &capture).output().unwrap();
    assert_eq!(run.status.code(), Some(0));
    assert_eq!(sum(&ledger(&run)["records"]["accepted"]), count);
    let totals = store.totals().unwrap();
    assert_eq!((totals.stored, totals.duplicates, totals.differing), (count, count, 0));
    collector.shutdown();
}

/// What `--shape edge` writes is what would be sent: the same lines as those that a file gets as batches.
#[test]
fn a_record_is_written_as_it_would_be_sent() {
    let site = Site::new();
    let capture = site.capture(1);
    let (sent, written) = (site.at("sent.ndjson"), site.at("written.ndjson"));
    let config = site.at("file.toml");
    let text = format!("[upload]\npool_id = \"p\"\nshape = \"edge\"\n[upload.file]\npath = \"{}\"\n", sent.display());
    std::fs::write(&config, text).unwrap();
    assert!(upload(&config, &capture).status().unwrap().success());
    let replay = |shape: &str, output: &std::path::Path| {
        let mut run = sensor();
        run.arg("replay").arg(&capture).args(["--shape", shape, "--config"]).arg(&config).arg("--output").arg(output);
        run.output().unwrap()
    };
    assert!(replay("edge", &written).status.success());
    let (sent, written) = (std::fs::read(sent).unwrap(), std::fs::read(written).unwrap());
    assert!(sent.len() > 100_000);
    assert_eq!(sent, written);
    assert!(replay("native", &site.at("native.ndjson")).status.success());
    assert_ne!(std::fs::read(site.at("native.ndjson")).unwrap(), written);
}

#[test]
fn a_check_finds_what_is_right_and_what_is_wrong() {
    let site = Site::new();
    let collector = site.collector();
    let port = collector.address().port();
    let check = |name: &str, changed: &dyn Fn(String) -> String| {
        let config = site.configuration(name, port, changed);
        let run = sensor().args(["check", "--config"]).arg(config).output().unwrap();
        (run.status.code(), text(&run.stdout), text(&run.stderr))
    };
    let (code, out, said) = check("good", &|text| text);
    assert_eq!(code, Some(0), "{out}{said}");
    assert!(!out.contains("FAIL"), "{out}");
    for step in ["configuration", "client certificate", "more days", "connection to", "token from", "empty batch"] {
        assert!(out.contains(step), "{step} is missing in\n{out}");
    }
    assert!(collector.store().unwrap().ids().unwrap().is_empty(), "a check sends no records");

    std::fs::write(site.at("wrong-secret"), "a-guess").unwrap();
    std::fs::write(site.at("wrong.key"), std::fs::read(site.at("other-client.key")).unwrap()).unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    // What is wrong, where it shows, and the advice.
    type Case<'a> = (&'a str, &'a dyn Fn(String) -> String, &'a str, &'a [&'a str]);
    let cases: [Case<'_>; 6] = [
        ("wrong-ca", &|text| text.replace("/ca.pem", "/other-ca.pem"), "TLS", &["ca", "CA", "authorit"]),
        ("secret", &|text| text.replace("/client-secret", "/wrong-secret"), "token from", &["secret"]),
        (
            "port",
            &|text| text.replace(&format!(":{port}"), &format!(":{free}")),
            "connection to",
            &["check the address"],
        ),
        ("key", &|text| text.replace("/client.key", "/wrong.key"), "client certificate", &["key"]),
        ("no-file", &|text| text.replace("/client.pem", "/nowhere.pem"), "client certificate", &["nowhere.pem"]),
        (
            "path",
            &|text| text.replace("[upload]\n", "[upload]\npath = \"/elsewhere\"\n"),
            "empty batch",
            &["check the address's path"],
        ),
    ];
    for (name, changed, step, advice) in cases {
        let (code, out, said) = check(name, changed);
        assert_eq!(code, Some(1), "{name}: {out}{said}");
        let failing: Vec<&str> = out.lines().filter(|line| line.starts_with("FAIL")).collect();
        assert!(failing.iter().any(|line| line.contains(step)), "{name}: {step} does not fail in\n{out}");
        assert!(
            failing.iter().any(|line| advice.iter().any(|advice| line.contains(advice))),
            "{name}: {failing:?} do not say what to do about it"
        );
        assert!(!out.contains("a-guess") && !said.contains("a-guess"), "{out}{said}");
    }
    let (code, out, said) = check("broken", &|text| text.replace("in_flight = 4", "in_flight = 0"));
    assert_eq!(code, Some(2), "{out}{said}");
    assert!(said.contains("in_flight") && said.contains("broken.toml, line 5"), "{said}");
    collector.shutdown();
}
