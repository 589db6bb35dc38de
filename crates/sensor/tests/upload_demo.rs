//! `sensor demo`, `sensor check`, and `replay --upload` as they are typed.

mod upload_support;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use upload_support::{Site, arrived, closed_records, leaves_no_core, ledger, sensor, sum, text, upload, wait_until};

/// The number before `word`.
fn number_before(text: &str, word: &str) -> u64 {
    let at = text.find(word).unwrap_or_else(|| panic!("no `{word}` in\n{text}"));
    let number = text[..at].split_whitespace().last().unwrap_or_default();
    number.parse().unwrap_or_else(|_| panic!("`{number}` before `{word}` in\n{text}"))
}

#[test]
fn the_demonstration_stores_each_transaction_once() {
    // Whoever sits behind a proxy has no other way out; this is not for out.
    let run = sensor().arg("demo").env("HTTPS_PROXY", "http://127.0.0.1:1").output().unwrap();
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

/// There are keys in its folder, and secrets in its memory: both are closed to others, and gone at the end.
#[test]
fn the_demonstration_keeps_its_keys_to_itself() {
    let place = tempfile::tempdir().unwrap();
    // Whatever the user's mask lets through.
    let mut child = Command::new("sh")
        .args(["-c", "umask 000; exec \"$0\" demo --keep", env!("CARGO_BIN_EXE_sensor")])
        .env("TMPDIR", place.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().contains("Ctrl-C")), "it does not stay");
    let folder = || std::fs::read_dir(place.path()).unwrap().next().map(|entry| entry.unwrap().path());
    let mode = std::fs::metadata(folder().unwrap()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "{mode:o}");
    leaves_no_core(child.id());
    fixtures::signal(child.id(), "SIGTERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(folder(), None, "it leaves its keys behind");
}

/// A signal ends it at any time, and nothing of it stays.
#[test]
fn a_demonstration_that_is_stopped_leaves_nothing() {
    let place = tempfile::tempdir().unwrap();
    let mut demo = sensor();
    demo.args(["demo", "--keep"]).env("TMPDIR", place.path()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = demo.spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().starts_with("captures:")));
    // It may not listen to signals yet: then it ends at once, as it would without a folder to remove.
    std::thread::sleep(Duration::from_millis(100));
    fixtures::signal(child.id(), "SIGTERM");
    let rest: Vec<String> = said.map(Result::unwrap).collect();
    let status = child.wait().unwrap();
    assert!([Some(0), Some(130)].contains(&status.code()), "{status}: {rest:?}");
    assert!(std::fs::read_dir(place.path()).unwrap().next().is_none(), "it leaves its keys behind");
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

/// `--shape` asks to see records: they are printed, and nothing is sent although there is where to.
#[test]
fn a_shape_without_an_output_prints_and_sends_nothing() {
    let site = Site::new();
    let collector = site.collector();
    let config = site.configuration("sensor", collector.address().port(), |text| text);
    let capture = site.capture(1);
    let count = site.ids(&capture).len();
    for (shape, field) in [("edge", "transaction-id"), ("native", "id")] {
        let mut replay = sensor();
        replay.arg("replay").arg(&capture).args(["--shape", shape, "--config"]).arg(&config);
        let run = replay.output().unwrap();
        assert_eq!(run.status.code(), Some(0), "{}", text(&run.stderr));
        let records: Vec<serde_json::Value> =
            text(&run.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(records.len(), count);
        assert!(records.iter().all(|record| record[field].is_string()), "{shape}");
    }
    assert_eq!(collector.stats().connections, 0);
    assert!(!site.at("spool").exists());
    collector.shutdown();
}

/// A spool of which something cannot be read any more: all else is delivered, and the exit code says that it was not all.
#[test]
fn dropped_records_are_no_success() {
    let site = Site::new();
    let collector = site.collector();
    let port = collector.address().port();
    collector.faults().add("status=503,count=all".parse().unwrap()).unwrap();
    let config = site.configuration("sensor", port, |text| text);
    let capture = site.capture(1);
    let mut away = upload(&config, &capture).stderr(Stdio::null()).spawn().unwrap();
    let batches = || {
        let files = std::fs::read_dir(site.at("spool")).into_iter().flatten().map(|entry| entry.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|end| end == "batch")).collect::<Vec<_>>()
    };
    wait_until("the spool", || batches().len() > 3);
    away.kill().unwrap();
    away.wait().unwrap();
    collector.faults().clear();
    let damaged = batches().into_iter().min().unwrap();
    let lost: u64 = damaged.file_stem().unwrap().to_str().unwrap().rsplit('-').next().unwrap().parse().unwrap();
    let bytes = std::fs::read(&damaged).unwrap();
    std::fs::write(&damaged, &bytes[..bytes.len() / 2]).unwrap();
    let run = upload(&config, &capture).output().unwrap();
    let said = text(&run.stderr);
    assert_eq!(run.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("{lost} records were dropped")), "{said}");
    let ledger = ledger(&run);
    let (total, accepted) = closed_records(&ledger);
    assert_eq!((sum(&ledger["records"]["dropped"]), total - accepted), (lost, lost), "{ledger}");
    // The same once more: what was lost is lost, but this run lost nothing.
    let run = upload(&config, &capture).output().unwrap();
    assert_eq!(run.status.code(), Some(0), "{}", text(&run.stderr));
    collector.shutdown();
}

/// From thirty days ahead `check` and the log say that a certificate ends; it is no failure yet.
#[test]
fn a_certificate_that_ends_soon_is_a_warning() {
    let site = Site::new();
    let collector = site.collector();
    let config = site.configuration("sensor", collector.address().port(), |text| text);
    let capture = site.capture(1);
    for (days, is_near) in [(31, false), (20, true)] {
        site.renew_client(Duration::from_secs(days * 86_400 + 3600));
        let check = sensor().args(["check", "--config"]).arg(&config).output().unwrap();
        let out = text(&check.stdout);
        assert_eq!(check.status.code(), Some(0), "{out}");
        let lines: Vec<&str> = out.lines().filter(|line| line.contains("client certificate for")).collect();
        assert_eq!(lines.len(), 2, "for the platform, and for the token endpoint:\n{out}");
        for line in lines {
            assert_eq!(line.starts_with("warn  "), is_near, "{line}");
            assert!(line.contains(&format!("{days} more days")), "{line}");
            assert_eq!(line.contains("put a new one in its place"), is_near, "{line}");
        }
        let run = upload(&config, &capture).output().unwrap();
        let said = text(&run.stderr);
        assert_eq!(run.status.code(), Some(0), "{said}");
        let warned = said.lines().filter(|line| line.contains("expires soon") && line.contains("client.pem")).count();
        assert_eq!(warned, if is_near { 2 } else { 0 }, "{said}");
    }
    collector.shutdown();
}

/// A live sensor says it as a metric, too, and takes a new pair on SIGHUP, or keeps the old one.
#[test]
fn a_running_sensor_tells_when_its_certificate_ends() {
    let site = Site::new();
    let collector = site.collector();
    site.renew_client(Duration::from_secs(20 * 86_400));
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (status, mirror) = (free(), free());
    let live = format!(
        "workers = 1\n[status]\nlisten = \"127.0.0.1:{status}\"\n\
         [[capture]]\nlisten = \"127.0.0.1:{mirror}\"\nencapsulation = \"vxlan\"\n"
    );
    let config = site.configuration("live", collector.address().port(), |text| live + &text);
    let log = std::fs::File::create(site.at("log")).unwrap();
    let mut child = sensor().args(["run", "--config"]).arg(&config).stdout(Stdio::null()).stderr(log).spawn().unwrap();
    let said = || std::fs::read_to_string(site.at("log")).unwrap();
    // The days left, as an alert would compute them.
    let days = || {
        let mut stream = TcpStream::connect(("127.0.0.1", status)).ok()?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let line =
            answer.lines().find(|line| line.starts_with("sensor_upload_certificate_expiry_timestamp_seconds"))?;
        let at: f64 = line.split(' ').nth(1)?.parse().ok()?;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        Some(((at - now) / 86_400.0).round())
    };
    wait_until("the metric", || days() == Some(20.0));
    wait_until("the warning", || said().contains("expires soon"));
    let hang_up = |id: u32| fixtures::signal(id, "SIGHUP");
    let good = std::fs::read(site.at("client.pem")).unwrap();
    std::fs::write(site.at("client.pem"), "no certificate").unwrap();
    hang_up(child.id());
    wait_until("the refusal", || said().contains("the old ones stay in use"));
    assert_eq!(days(), Some(20.0));
    std::fs::write(site.at("client.pem"), good).unwrap();
    site.renew_client(Duration::from_secs(200 * 86_400));
    hang_up(child.id());
    wait_until("the new pair", || days() == Some(200.0));
    fixtures::signal(child.id(), "SIGTERM");
    assert_eq!(child.wait().unwrap().code(), Some(0), "{}", said());
    collector.shutdown();
}

/// A proxy that cannot be used is said in one line at the start, and not passed over; its password is not.
#[test]
fn a_proxy_of_another_kind_is_refused_at_the_start() {
    let site = Site::new();
    let collector = site.collector();
    let config = site.configuration("sensor", collector.address().port(), |text| text);
    let capture = site.capture(1);
    for (variable, value) in [
        ("HTTPS_PROXY", "socks5://me:hunter2@127.0.0.1:1080"),
        ("https_proxy", "ftp://me:hunter2@127.0.0.1"),
        ("ALL_PROXY", "http://me:hunter2@"),
    ] {
        let mut check = sensor();
        check.args(["check", "--config"]).arg(&config).env(variable, value);
        let mut replay = upload(&config, &capture);
        replay.env(variable, value);
        for (command, code, what) in [(&mut check, 1, "FAIL  way to the platform"), (&mut replay, 2, "error")] {
            let run = command.output().unwrap();
            let said = text(&run.stdout) + &text(&run.stderr);
            assert_eq!(run.status.code(), Some(code), "{said}");
            let line = said.lines().find(|line| line.contains(variable)).unwrap_or_else(|| panic!("{said}"));
            assert!(line.starts_with(what) && line.contains("http://host:port"), "{line}");
            assert!(!said.contains("hunter2"), "{said}");
            // Where it is not wanted it does no harm.
            let run = command.env("NO_PROXY", "127.0.0.1").output().unwrap();
            assert_eq!(run.status.code(), Some(0), "{}", text(&run.stderr));
        }
    }
    collector.shutdown();
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
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
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
