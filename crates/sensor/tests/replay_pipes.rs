//! A replay between pipes: whoever writes into it and whoever reads from it may take as long as they like, and neither costs
//! memory, keeps records back or keeps it from ending when told to.

mod cli_capture;

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cli_capture::{Capture, FILE_HEADER, PACKET_HEADER, Run, ledger};

fn sensor() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sensor"));
    command.env_remove("SENSOR_LOG").stdin(Stdio::null()).stderr(Stdio::piped());
    command
}

fn interrupt(child: &Child) {
    fixtures::signal(child.id(), "SIGINT");
}

/// How it ended, which is to be within `most`. Nobody reads its output.
fn ends_within(mut child: Child, most: Duration) -> Run {
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() >= most {
            child.kill().unwrap();
            panic!("still running after {most:?}");
        }
        thread::sleep(Duration::from_millis(20));
    }
    let mut stdout = Vec::new();
    if let Some(mut pipe) = child.stdout.take() {
        pipe.read_to_end(&mut stdout).unwrap();
    }
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    Run { code: status.code(), stdout, stderr: String::from_utf8(stderr).unwrap() }
}

fn lines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

/// Ctrl-C, once, with an output that nobody reads: what was complete is dropped and counted.
#[test]
fn one_signal_ends_a_replay_whose_reader_stands_still() {
    let folder = tempfile::tempdir().unwrap();
    let capture = Capture::of_http(60, 200).write(folder.path().join("a.pcap"));
    for workers in ["1", "3"] {
        let mut replay = sensor();
        replay.arg("replay").arg(&capture).args(["--ledger", "json", "--workers", workers]).stdout(Stdio::piped());
        let child = replay.spawn().unwrap();
        thread::sleep(Duration::from_secs(2));
        interrupt(&child);
        let run = ends_within(child, Duration::from_secs(6));
        assert_eq!(run.code, Some(130), "{workers} workers: {}", run.stderr);
        let ledger = ledger(&run);
        let (recorded, records) = (ledger["exchanges"]["recorded"].as_u64().unwrap(), &ledger["records"]);
        let (written, dropped) = (&records["written"], &records["dropped"]["output_stalled"]);
        assert_eq!(records["total"], recorded);
        assert_eq!(lines(&run.stdout) as u64, written.as_u64().unwrap(), "{ledger:#}");
        assert_eq!(written.as_u64().unwrap() + dropped.as_u64().unwrap(), recorded);
        assert!(run.stderr.contains(&format!("{dropped} records that were complete are not in it")), "{}", run.stderr);
        assert!(run.stderr.contains("transactions"), "the summary: {}", run.stderr);
    }
}

/// Whoever reads, if slowly, gets all that is complete.
#[test]
fn a_reader_who_is_there_gets_what_is_complete_when_a_signal_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = Capture::of_http(10, 100).to_bytes();
    let fifo = folder.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let mut replay = sensor();
    replay.args(["replay", "--ledger", "json"]).arg(&fifo).stdout(Stdio::piped());
    let mut child = replay.spawn().unwrap();
    // It stays open, so that only the signal ends it.
    let mut input = fs::OpenOptions::new().write(true).open(&fifo).unwrap();
    input.write_all(&bytes).unwrap();
    thread::sleep(Duration::from_millis(500));
    interrupt(&child);
    let mut stdout = child.stdout.take().unwrap();
    let reader = thread::spawn(move || {
        let (mut all, mut some) = (Vec::new(), vec![0; 64 << 10]);
        while let Ok(count @ 1..) = stdout.read(&mut some) {
            all.extend_from_slice(&some[..count]);
            thread::sleep(Duration::from_millis(20));
        }
        all
    });
    let run = ends_within(child, Duration::from_secs(8));
    let got = reader.join().unwrap();
    assert_eq!(run.code, Some(130), "{}", run.stderr);
    assert_eq!(lines(&got), 1_000);
    assert!(got.ends_with(b"\n") && ledger(&run)["records"].is_null());
}

#[test]
fn one_signal_ends_a_replay_of_a_named_pipe_that_nobody_writes_to() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let child = sensor().args(["replay", "--ledger", "json"]).arg(&fifo).stdout(Stdio::piped()).spawn().unwrap();
    thread::sleep(Duration::from_millis(500));
    interrupt(&child);
    let run = ends_within(child, Duration::from_secs(3));
    assert_eq!(run.code, Some(130), "{}", run.stderr);
}

/// Records do not wait for company while traffic goes on that is none of theirs.
#[test]
fn foreign_traffic_keeps_no_record_back() {
    let whole = Capture::of_http(1, 3).to_bytes();
    let mut foreign = Capture::default();
    foreign.udp();
    let mut of_others = foreign.open(([10, 0, 0, 3], 40_000), ([10, 0, 0, 4], 22));
    of_others.client_says(b"SSH-2.0-whatever\r\n");
    let foreign = foreign.to_bytes()[FILE_HEADER..].to_vec();
    let folder = tempfile::tempdir().unwrap();
    for workers in ["1", "2"] {
        let output = folder.path().join("output");
        let mut replay = sensor();
        replay.args(["replay", "-q", "--workers", workers, "-", "-o"]).arg(&output).stdin(Stdio::piped());
        let mut child = replay.spawn().unwrap();
        let mut pipe = child.stdin.take().unwrap();
        pipe.write_all(&whole).unwrap();
        let is_enough = AtomicBool::new(false);
        let found = thread::scope(|scope| {
            scope.spawn(|| {
                while !is_enough.load(Ordering::Relaxed) {
                    pipe.write_all(&foreign).unwrap();
                    thread::sleep(Duration::from_millis(10));
                }
            });
            let start = Instant::now();
            let found = loop {
                thread::sleep(Duration::from_millis(50));
                let found = fs::read(&output).map_or(0, |written| lines(&written));
                if found == 3 || start.elapsed() > Duration::from_secs(10) {
                    break found;
                }
            };
            is_enough.store(true, Ordering::Relaxed);
            found
        });
        drop(pipe);
        child.wait().unwrap();
        assert_eq!(found, 3, "{workers} workers");
    }
}

/// Responses with bodies of `body` bytes that take six times as much in a record, each on a connection of its own.
fn large_bodies(path: PathBuf, count: u16, body: usize) -> PathBuf {
    let mut capture = Capture::default();
    for n in 0..count {
        let mut conversation = capture.open(([10, 0, 0, 1], 20_000 + n), ([10, 0, 0, 2], 80));
        conversation.client_says(format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        conversation.server_says(format!("HTTP/1.1 200 OK\r\nContent-Length: {body}\r\n\r\n").as_bytes());
        for piece in vec![1; body].chunks(60_000) {
            conversation.server_says(piece);
        }
        conversation.close();
    }
    assert!(capture.packets.iter().all(|packet| packet.len() + PACKET_HEADER < 65_535));
    capture.write(path)
}

/// The most memory that a process had, in bytes; 0 once it has ended.
fn peak(child: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB")?.trim().parse().ok());
    peak.map_or(0, |kib: u64| kib << 10)
}

/// More of them than buffers can be on their way.
const RECORDS: u16 = 16;

/// A reader that stands still while records are as large as they can be.
fn stays_within(memory: u64, capture: &Path, workers: &str) {
    let mut replay = sensor();
    replay.arg("replay").arg(capture).args(["--quiet", "--body-limit", "4MiB", "--workers", workers]);
    let mut child = replay.arg("--memory").arg(memory.to_string()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let (mut most, start) = (0, Instant::now());
    while start.elapsed() < Duration::from_secs(4) {
        most = most.max(peak(&child));
        thread::sleep(Duration::from_millis(20));
    }
    // Then it reads on: all of them come.
    let (mut got, mut some) = (0, vec![0; 1 << 20]);
    while let Ok(count @ 1..) = stdout.read(&mut some) {
        got += lines(&some[..count]);
        most = most.max(peak(&child));
    }
    let run = ends_within(child, Duration::from_secs(5));
    assert_eq!((run.code, got), (Some(0), usize::from(RECORDS)), "{}", run.stderr);
    // There is nothing else: what connections and messages get is not theirs to take.
    assert!(most > 0 && most <= memory / 2, "{} of {} MiB with {workers} workers", most >> 20, memory >> 20);
}

#[test]
fn large_records_that_nobody_reads_stay_within_the_memory() {
    let folder = tempfile::tempdir().unwrap();
    let capture = large_bodies(folder.path().join("a.pcap"), RECORDS, 4 << 20);
    for workers in ["1", "4"] {
        stays_within(256 << 20, &capture, workers);
    }
}
