//! What signals do to a replay that uploads: it ends in order, whatever it waits for, and says what became of its records.

mod upload_support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use collector::{Collector, Fault};
use upload_support::{Site, closed_records, ledger, sum, text, upload, wait_until};

fn signal(child: &Child, name: &str) {
    fixtures::signal(child.id(), name);
}

/// How it ended, which is to be within `most`.
fn ends_within(mut child: Child, most: Duration) -> Output {
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() >= most {
            child.kill().unwrap();
            panic!("still running after {most:?}: {}", text(&child.wait_with_output().unwrap().stderr));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().unwrap()
}

/// A platform that takes nothing.
fn away(site: &Site) -> Collector {
    let collector = site.collector();
    collector.faults().add("status=503,count=all".parse::<Fault>().unwrap()).unwrap();
    collector
}

fn is_asked(collector: &Collector) {
    wait_until("an attempt", || collector.stats().faults.values().sum::<u64>() > 0);
}

/// Memory, or the spool, is full and the platform takes nothing: a signal ends the wait for room.
#[test]
fn a_replay_that_waits_for_room_ends_when_told_to() {
    for (name, workers) in [("memory", "1"), ("memory", "2"), ("spool", "1")] {
        let site = Site::new();
        let collector = away(&site);
        let config = site.configuration("sensor", collector.address().port(), |text| {
            let text = text.replace("in_flight = 4", "in_flight = 1\nqueue_bytes = \"1MiB\"\ncompression = \"none\"");
            let text = text.replace("records = 50\n", "records = 50\nbytes = \"128KiB\"\n");
            match text.split_once("[upload.spool]") {
                Some((text, _)) if name == "memory" => text.to_owned(),
                _ => format!("{text}max_bytes = \"2MiB\"\n"),
            }
        });
        // Far more than there is room for on the way.
        let capture = site.capture(40);
        let mut replay = upload(&config, &capture);
        replay.args(["--workers", workers]).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = replay.spawn().unwrap();
        is_asked(&collector);
        std::thread::sleep(Duration::from_secs(3));
        signal(&child, "SIGTERM");
        let run = ends_within(child, Duration::from_secs(6));
        let said = text(&run.stderr);
        assert_eq!(run.status.code(), Some(130), "{name}: {said}");
        let ledger = ledger(&run);
        let (total, accepted) = closed_records(&ledger);
        let dropped = sum(&ledger["records"]["dropped"]);
        assert!(total > 0 && accepted == 0 && dropped > 0, "{name}: {ledger}");
        assert!(said.contains(&format!("{dropped} records were dropped")), "{name}: {said}");
        if name == "spool" {
            let waiting = total - dropped;
            assert!(waiting > 0 && said.contains(&format!("{waiting} records wait in the spool")), "{ledger}: {said}");
        }
        collector.shutdown();
    }
}

/// `timeout` signals the process and its group, one right after the other: that is one wish. A second one is another.
#[test]
fn two_signals_at_once_are_one_and_a_later_one_ends_it_at_once() {
    let site = Site::new();
    let collector = site.collector();
    collector.faults().add(Fault::delay(Duration::from_millis(700))).unwrap();
    let config = site.configuration("sensor", collector.address().port(), |text| text);
    let capture = site.capture(4);
    let start = || {
        let requests = collector.stats().requests;
        let child = upload(&config, &capture).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        wait_until("a request", || collector.stats().requests > requests);
        child
    };
    let child = start();
    for name in ["SIGTERM", "SIGTERM", "SIGINT"] {
        signal(&child, name);
        std::thread::sleep(Duration::from_millis(50));
    }
    let run = ends_within(child, Duration::from_secs(6));
    assert_eq!(run.status.code(), Some(130), "{}", text(&run.stderr));
    closed_records(&ledger(&run));
    collector.shutdown();

    // With a platform that answers nothing, the end takes its two seconds.
    let collector = site.collector_at(0);
    collector.faults().add("hang,count=all".parse().unwrap()).unwrap();
    let config = site.configuration("hanging", collector.address().port(), |text| text);
    let child = upload(&config, &capture).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("a request", || collector.stats().connections > 0);
    signal(&child, "SIGTERM");
    std::thread::sleep(Duration::from_millis(1_300));
    signal(&child, "SIGTERM");
    let run = ends_within(child, Duration::from_secs(6));
    assert_eq!(run.status.code(), Some(130));
    let said = text(&run.stderr);
    assert!(said.contains("a second signal ends it at once") && !said.contains("balanced"), "it ends at once: {said}");
    collector.kill();
}

/// SIGHUP has an upload read its certificates again, as `run` does, while it reads and while it waits at the end.
#[test]
fn an_upload_reads_its_certificates_again_when_the_terminal_hangs_up() {
    let site = Site::new();
    let collector = away(&site);
    let config = site.configuration("sensor", collector.address().port(), |text| text);
    let capture = std::fs::read(site.capture(1)).unwrap();
    let mut replay = upload(&config, std::path::Path::new("-"));
    let log = std::fs::File::create(site.at("log")).unwrap();
    let mut child = replay.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    pipe.write_all(&capture).unwrap();
    let said = || std::fs::read_to_string(site.at("log")).unwrap();
    is_asked(&collector);
    let good = std::fs::read(site.at("client.pem")).unwrap();
    std::fs::write(site.at("client.pem"), "no certificate").unwrap();
    signal(&child, "SIGHUP");
    wait_until("the refusal", || said().contains("the old ones stay in use"));
    let refusals = said().matches("the old ones stay in use").count();
    drop(pipe);
    // Now it waits for the platform.
    std::thread::sleep(Duration::from_millis(500));
    signal(&child, "SIGHUP");
    wait_until("another refusal", || said().matches("the old ones stay in use").count() > refusals);
    std::fs::write(site.at("client.pem"), good).unwrap();
    signal(&child, "SIGHUP");
    collector.faults().clear();
    let status = ends_within(child, Duration::from_secs(20)).status;
    assert_eq!(status.code(), Some(0), "{}", said());
    collector.shutdown();
}

/// Where there is nothing to read again it is the terminal that is closed: it ends in order. `nohup` keeps it.
#[test]
fn a_replay_and_a_demonstration_end_in_order_when_the_terminal_hangs_up() {
    let site = Site::new();
    let capture = std::fs::read(site.capture(1)).unwrap();
    // Where the tests run under `nohup` themselves, no shell can take that back.
    let heeded = if fixtures::is_ignored("SIGHUP") { 0 } else { 130 };
    for (program, code) in [("exec \"$0\"", heeded), ("trap '' HUP; exec \"$0\"", 0)] {
        let mut replay = Command::new("sh");
        replay.args(["-c", &format!("{program} replay --ledger json -"), env!("CARGO_BIN_EXE_sensor")]);
        let mut child = replay.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut pipe = child.stdin.take().unwrap();
        // More than a pipe holds: it has been reading for a while.
        pipe.write_all(&capture).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        signal(&child, "SIGHUP");
        std::thread::sleep(Duration::from_millis(500));
        drop(pipe);
        let run = ends_within(child, Duration::from_secs(6));
        assert_eq!(run.status.code(), Some(code), "{}", text(&run.stderr));
        assert_eq!(ledger(&run)["balanced"], true);
    }
    let place = tempfile::tempdir().unwrap();
    let mut demo = upload_support::sensor();
    demo.args(["demo", "--keep"]).env("TMPDIR", place.path()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = demo.spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().contains("Ctrl-C")), "it does not stay");
    signal(&child, "SIGHUP");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(std::fs::read_dir(place.path()).unwrap().next().is_none(), "it leaves its keys behind");
}
