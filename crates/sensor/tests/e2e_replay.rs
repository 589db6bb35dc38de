//! The whole program on tiny captures: records, workers, pipes, signals. Needs every stage.

mod cli_capture;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cli_capture::{Capture, ledger, replay, run, run_with, sensor, sorted_lines};
use serde_json::Value;

fn records(bytes: &[u8]) -> Vec<Value> {
    bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).expect("a record is JSON"))
        .collect()
}

#[test]
fn every_transaction_is_a_record() {
    let folder = tempfile::tempdir().unwrap();
    let path = Capture::of_http(3, 20).write(folder.path().join("a.pcap"));
    let (run, ledger) = replay(&path, &["--sensor", "lab-7"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    let records = records(&run.stdout);
    assert_eq!(records.len(), 60);
    assert_eq!(ledger["exchanges"]["recorded"], 60);
    assert_eq!(ledger["messages"]["paired"], 120);
    let first = &records[0];
    assert_eq!(first["sensor"], "lab-7");
    assert_eq!(first["outcome"], "paired");
    assert_eq!(first["request"]["target"], "/c0/t0");
    assert_eq!(first["response"]["status"], 200);
    assert_eq!(first["response"]["body"]["content"], "hello");
    assert_eq!(first["connection"]["transaction"], 1);
    let not_found = records.iter().filter(|record| record["response"]["status"] == 404).count();
    assert_eq!(not_found, 6);
}

#[test]
fn the_summary_says_what_was_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = Capture::of_http(3, 20).write(folder.path().join("a.pcap"));
    let run = run(&["replay", path.to_str().unwrap()]);
    for part in ["60 · paired 60", "2xx 54 · 4xx 6", "api.example 60", "transactions/s"] {
        assert!(run.stderr.contains(part), "{} does not say {part}", run.stderr);
    }
}

#[test]
fn one_worker_gives_the_same_bytes_and_several_the_same_records() {
    let folder = tempfile::tempdir().unwrap();
    let path = Capture::of_http(40, 30).write(folder.path().join("a.pcap"));
    let (once, account) = replay(&path, &[]);
    let (again, _) = replay(&path, &[]);
    assert_eq!(once.stdout, again.stdout);
    assert_eq!(sorted_lines(&once.stdout).len(), 1_200);
    for workers in ["2", "5", "0"] {
        let (several, their_account) = replay(&path, &["--workers", workers]);
        assert_eq!(several.code, Some(0), "{several:?}");
        assert_eq!(sorted_lines(&several.stdout), sorted_lines(&once.stdout), "{workers} workers");
        assert_eq!(their_account, account, "{workers} workers");
    }
}

#[test]
fn a_connection_goes_on_in_the_next_file() {
    let folder = tempfile::tempdir().unwrap();
    let whole = Capture::of_http(1, 10);
    let expected = replay(&whole.write(folder.path().join("whole.pcap")), &[]).0;
    let (first, second) = whole.packets.split_at(9);
    let parts = tempfile::tempdir().unwrap();
    Capture { packets: first.to_vec() }.write(parts.path().join("1.pcap"));
    Capture { packets: second.to_vec() }.write(parts.path().join("2.pcap"));
    let (run, account) = replay(parts.path(), &[]);
    assert_eq!(run.code, Some(0));
    assert_eq!(account["messages"]["paired"], 20);
    // Times differ, since each part starts at the same second; what was said does not.
    let targets = |bytes: &[u8]| -> Vec<_> {
        records(bytes).iter().map(|r| (r["request"]["target"].clone(), r["response"]["status"].clone())).collect()
    };
    assert_eq!(targets(&run.stdout), targets(&expected.stdout));
}

#[test]
fn frames_that_the_filter_refuses_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let mut capture = Capture::of_http(2, 5);
    capture.udp();
    let path = capture.write(folder.path().join("a.pcap"));
    let (run, account) = replay(&path, &["--filter", "tcp port 20001"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_eq!(records(&run.stdout).len(), 5);
    assert_eq!(account["frames"]["filtered"], (capture.packets.len() - 1) / 2 + 1);
}

#[test]
fn body_flags_reach_the_parser() {
    let folder = tempfile::tempdir().unwrap();
    let path = Capture::of_http(1, 1).write(folder.path().join("a.pcap"));
    for (flags, captured) in [
        (&["--body-limit", "0"][..], 0),
        (&["--body-limit", "3"], 3),
        (&["--body-types", "application/json"], 0),
        (&["--body-types", "text/*"], 5),
        (&[], 5),
    ] {
        let record = records(&replay(&path, flags).0.stdout).remove(0);
        let body = &record["response"]["body"];
        assert_eq!((&body["bytes"], &body["captured"]), (&5.into(), &captured.into()), "{flags:?}");
    }
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let folder = tempfile::tempdir().unwrap();
    let path = Capture::of_http(60, 300).write(folder.path().join("a.pcap"));
    for workers in ["1", "3"] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sensor"))
            .args(["replay", path.to_str().unwrap(), "--workers", workers])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.ends_with("}\n"), "{line}");
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{stderr}");
        let said: Vec<&str> = stderr.lines().filter(|line| !line.contains("random key")).collect();
        assert!(said.is_empty(), "{workers} workers: {stderr}");
    }
}

#[test]
fn a_full_disk_exits_1_with_the_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = Capture::of_http(1, 3).write(folder.path().join("a.pcap"));
    for workers in ["1", "2"] {
        let run = run(&["replay", path.to_str().unwrap(), "-o", "/dev/full", "--workers", workers]);
        assert_eq!(run.code, Some(1), "{run:?}");
        assert!(run.stderr.contains("/dev/full"), "{}", run.stderr);
    }
}

#[test]
fn an_output_file_holds_what_standard_output_would() {
    let folder = tempfile::tempdir().unwrap();
    let path = Capture::of_http(2, 3).write(folder.path().join("a.pcap"));
    let output = folder.path().join("out.ndjson");
    fs::write(&output, "what stood here before").unwrap();
    let (to_file, _) = replay(&path, &["-o", output.to_str().unwrap()]);
    assert_eq!(to_file.code, Some(0));
    assert!(to_file.stdout.is_empty());
    assert_eq!(fs::read(&output).unwrap(), replay(&path, &["-o", "-"]).0.stdout);
}

#[test]
fn an_interrupt_writes_what_is_complete() {
    for workers in ["1", "3"] {
        interrupt(workers);
    }
}

fn interrupt(workers: &str) {
    let capture = Capture::of_http(1, 4).to_bytes();
    let mut child = Command::new(env!("CARGO_BIN_EXE_sensor"))
        .args(["replay", "-", "--workers", workers])
        // Any file that is long enough: else there is a warning about the key.
        .env("SENSOR_MASK__KEY_FILE", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // The pipe stays open and nothing more comes: the program waits for the rest of the last packet.
    stdin.write_all(&capture[..capture.len() - 10]).unwrap();
    stdin.flush().unwrap();
    // A signal that comes before the handlers stand would just kill it.
    std::thread::sleep(Duration::from_millis(500));
    fixtures::signal(child.id(), "SIGINT");
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < Duration::from_secs(20), "it does not stop");
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(stdin);
    let (mut stdout, mut stderr) = (Vec::new(), String::new());
    child.stdout.take().unwrap().read_to_end(&mut stdout).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{stderr}");
    assert!(stderr.contains("stopped before the end"), "{stderr}");
    assert!(!stderr.contains("WARN"), "it was stopped, not cut: {stderr}");
    assert_eq!(records(&stdout).len(), 4, "{stderr}");
}

#[test]
fn a_named_pipe_is_an_input_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let capture = Capture::of_http(1, 4).to_bytes();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let writer = {
        let pipe = pipe.clone();
        std::thread::spawn(move || fs::write(pipe, capture).unwrap())
    };
    let (run, _) = replay(&pipe, &[]);
    writer.join().unwrap();
    assert_eq!((run.code, records(&run.stdout).len()), (Some(0), 4), "{}", run.stderr);
}

#[test]
fn nothing_but_tls_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut capture = Capture::default();
    let mut conversation = capture.open(([10, 0, 0, 1], 4_000), ([10, 0, 0, 2], 443));
    conversation.client_says(&client_hello("shop.example"));
    conversation.server_says(&[0x17, 3, 3, 0, 4, 1, 2, 3, 4]);
    conversation.close();
    let path = capture.write(folder.path().join("tls.pcap"));
    let run = run_with(sensor().arg("replay").arg(&path).args(["--ledger", "json"]));
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.stdout.is_empty());
    assert_eq!(ledger(&run)["recognized"]["tls"], 1);
    for part in ["shop.example 1", "the mirror is TLS"] {
        assert!(run.stderr.contains(part), "{}", run.stderr);
    }
}

/// A ClientHello with a server name and nothing else of note (RFC 8446, section 4.1.2).
fn client_hello(name: &str) -> Vec<u8> {
    fn with_len16(bytes: &[u8]) -> Vec<u8> {
        [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
    }
    let server_name = with_len16(&[&[0][..], &with_len16(name.as_bytes())].concat());
    let extensions = with_len16(&[&[0, 0][..], &with_len16(&server_name)].concat());
    let body = [&[3, 3][..], &[7; 32], &[0], &with_len16(&[0x13, 0x01]), &[1, 0], &extensions].concat();
    let handshake = [&[1, 0][..], &with_len16(&body)].concat();
    [&[0x16, 3, 1][..], &with_len16(&handshake)].concat()
}
