//! Delivery of a live sensor: what SIGHUP changes of it and what it does not, what its endpoints say, and that it ends in time.

mod upload_support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use collector::Collector;
use serde_json::Value;
use upload_support::{Site, closed_records, ledger, sensor, text, upload, wait_until};

/// A sensor that listens for a mirror.
struct Live {
    child: Child,
    log: PathBuf,
    status: u16,
    mirror: u16,
}

fn free() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Live {
    /// What stands above `[upload]` in its configuration, and the ports of that.
    fn sections() -> (String, u16, u16) {
        let (status, mirror) = (free(), free());
        let text = format!(
            "workers = 1\nledger = \"json\"\n[status]\nlisten = \"127.0.0.1:{status}\"\n\
             [[capture]]\nlisten = \"127.0.0.1:{mirror}\"\nencapsulation = \"vxlan\"\n"
        );
        (text, status, mirror)
    }

    fn start(site: &Site, config: &Path, status: u16, mirror: u16) -> Self {
        let log = site.at("log");
        let file = fs::File::create(&log).unwrap();
        let mut run = sensor();
        run.args(["run", "--config"]).arg(config).stdout(Stdio::null()).stderr(file);
        let live = Self { child: run.spawn().unwrap(), log, status, mirror };
        wait_until("the start", || live.said().contains("capturing"));
        live
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Waits for words that were not said before.
    fn hang_up(&self, words: &str) -> String {
        let before = self.said().len();
        fixtures::signal(self.child.id(), "SIGHUP");
        wait_until(words, || self.said()[before..].contains(words));
        self.said()[before..].to_owned()
    }

    /// Every frame of a capture, mirrored.
    fn mirror(&self, capture: &Path) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for packet in fixtures::capture::read_file(capture).unwrap() {
            let copy = [&[8, 0, 0, 0, 0, 0, 7, 0][..], &packet.data].concat();
            socket.send_to(&copy, ("127.0.0.1", self.mirror)).unwrap();
            std::thread::sleep(Duration::from_micros(20));
        }
    }

    fn ask(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.status)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
    }

    fn end(mut self) -> (Option<i32>, Value) {
        fixtures::signal(self.child.id(), "SIGTERM");
        let code = self.child.wait().unwrap().code();
        let said = self.said();
        let run = Output { status: Default::default(), stdout: Vec::new(), stderr: said.into_bytes() };
        (code, ledger(&run))
    }
}

fn count(collector: &Collector) -> usize {
    collector.store().unwrap().ids().unwrap().len()
}

/// The platform moves, and its certificates with it; what cannot change is named, and a broken file changes nothing.
#[test]
fn what_is_sent_goes_elsewhere_when_told_to() {
    let site = Site::new();
    let (old, new) = (site.collector(), Site::new());
    // Of another authority, so that everything about the way there differs.
    let elsewhere = new.collector();
    let (sections, status, mirror) = Live::sections();
    let quick = |text: String| text.replace("age = \"5s\"", "age = \"200ms\"");
    let config = site.configuration("live", old.address().port(), |text| sections.clone() + &quick(text));
    let live = Live::start(&site, &config, status, mirror);
    wait_until("the source", || live.ask("/readyz").0 == 200);
    assert!(live.ask("/readyz").1.contains("not asked yet"), "{}", live.ask("/readyz").1);
    let count_of = |capture: &Path| site.ids(capture).len();
    let (first, second) = (site.capture_of("first.pcap", 0..1), site.capture_of("second.pcap", 1..2));
    live.mirror(&first);
    wait_until("what was sent first", || count(&old) == count_of(&first));
    assert!(live.ask("/readyz").1.contains("reachable"));
    let health = live.ask("/healthz").1;
    assert!(["sealing", "deliver", "seal:"].iter().all(|thread| health.contains(thread)), "{health}");

    // A broken file: nothing changes, but a certificate that was renewed is read all the same.
    let good = fs::read_to_string(&config).unwrap();
    fs::write(&config, good.replace("in_flight = 4", "in_flight = 0")).unwrap();
    let certificate = fs::read(site.at("client.pem")).unwrap();
    fs::write(site.at("client.pem"), "no certificate").unwrap();
    let said = live.hang_up("the old ones stay in use");
    assert!(said.contains("the configuration is refused"), "{said}");
    fs::write(site.at("client.pem"), certificate).unwrap();
    // An address with certificates that are not there is refused whole.
    let moved = new.configuration("moved", elsewhere.address().port(), |text| sections.clone() + &quick(text));
    // The file system is shut off but for what was named at the start: the new files are put beside the old ones.
    let mut moved = fs::read_to_string(moved).unwrap();
    for name in ["ca.pem", "client.pem", "client.key", "client-secret"] {
        fs::copy(new.at(name), site.at(&format!("new-{name}"))).unwrap();
        let (from, to) = (new.at(name).display().to_string(), site.at(&format!("new-{name}")).display().to_string());
        moved = moved.replace(&from, &to);
    }
    let moved = moved.replace(&new.at("spool").display().to_string(), &site.at("spool").display().to_string());
    let missing = moved.replace("ca.pem", "nowhere.pem");
    fs::write(&config, missing).unwrap();
    let said = live.hang_up("the configuration is refused");
    assert!(said.contains("nowhere.pem"), "{said}");
    // Records of another shape are made after a restart: until then nothing goes where those are taken.
    fs::write(&config, moved.replace("[upload]\n", "[upload]\nshape = \"native\"\npath = \"/native\"\n")).unwrap();
    let said = live.hang_up("the configuration was read again");
    assert!(["upload.shape", "upload.path", "upload.url"].iter().all(|key| said.contains(key)), "{said}");

    fs::write(&config, moved.replace("[upload.spool]\n", "[upload.spool]\nmax_bytes = \"1GiB\"\n")).unwrap();
    let said = live.hang_up("the configuration was read again");
    let waiting = said.lines().find(|line| line.contains("was read again")).unwrap();
    assert!(waiting.contains("next start: upload.spool.max_bytes"), "{waiting}");
    assert!(!waiting.contains("upload.url") && !waiting.contains("upload.tls"), "{waiting}");
    // What would start, but not go on: it waits for a start, in the file's own words, and all else of the file is taken.
    let larger = moved
        .replace("[upload]\n", "[upload]\nqueue_bytes = \"256MiB\"\n")
        .replace("[upload.batch]\n", "[upload.batch]\nbytes = \"48MiB\"\n");
    fs::write(&config, larger).unwrap();
    let said = live.hang_up("the configuration was read again");
    assert!(["upload.queue_bytes", "upload.batch.bytes"].iter().all(|key| said.contains(key)), "{said}");
    assert!(!said.contains("refused") && !said.contains("memory_bytes"), "{said}");
    live.mirror(&second);
    wait_until("what was sent then", || count(&elsewhere) == count_of(&second));
    assert_eq!(count(&old), count_of(&first));
    let (code, ledger) = live.end();
    assert_eq!(code, Some(0));
    let all = (count_of(&first) + count_of(&second)) as u64;
    assert_eq!(closed_records(&ledger), (all, all));
    old.shutdown();
    elsewhere.shutdown();
}

/// What waits in a spool was made for another path: `check` says so, and neither a replay nor a run sends it there.
#[test]
fn another_shape_waits_for_the_spool_to_be_empty() {
    let site = Site::new();
    let collector = site.collector();
    let capture = site.capture(1);
    let away = site.configuration("away", free(), |text| text);
    let child = upload(&away, &capture).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let waits = || fs::read_dir(site.at("spool")).into_iter().flatten().count() > 3;
    wait_until("the spool", waits);
    fixtures::signal(child.id(), "SIGTERM");
    let total = closed_records(&ledger(&child.wait_with_output().unwrap())).0;
    let port = collector.address().port();
    let native = site.configuration("native", port, |text| {
        text.replace("[upload]\n", "[upload]\nshape = \"native\"\npath = \"/native\"\n")
    });
    let check = sensor().args(["check", "--config"]).arg(&native).output().unwrap();
    let out = text(&check.stdout);
    assert!(check.status.code() == Some(1) && out.contains("FAIL  spool"), "{out}");
    assert!(out.contains("holds batches of application/json"), "{out}");
    let run = upload(&native, &capture).output().unwrap();
    let said = text(&run.stderr);
    assert!(run.status.code() != Some(0) && said.contains("go back to what was configured"), "{said}");
    assert_eq!(count(&collector), 0);
    // As it is said.
    let edge = site.configuration("edge", port, |text| text);
    let run = upload(&edge, &capture).output().unwrap();
    assert_eq!(run.status.code(), Some(0), "{}", text(&run.stderr));
    assert!(total > 0 && count(&collector) == site.ids(&capture).len());
    let run = sensor().args(["check", "--config"]).arg(&native).output().unwrap();
    assert_eq!(run.status.code(), Some(0), "{}", text(&run.stdout));
    collector.shutdown();
}

/// Names are looked up at a server that does not answer: the stop takes no longer for it, and has its ledger.
#[test]
fn a_stop_does_not_wait_for_name_resolution() {
    let site = Site::new();
    let away = site.configuration("away", free(), |text| text);
    let child = upload(&away, &site.capture(1)).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("the spool", || fs::read_dir(site.at("spool")).into_iter().flatten().count() > 3);
    fixtures::signal(child.id(), "SIGTERM");
    let records = &ledger(&child.wait_with_output().unwrap())["records"];
    let waiting = records["waiting"]["spool"].as_u64().unwrap();
    let (sections, ..) = Live::sections();
    let config = site.configuration("live", 443, |text| {
        sections
            + &text.replace("https://127.0.0.1:", "https://platform.test:").replace("connect_timeout = \"1s\"\n", "")
    });
    fs::write(site.at("resolv.conf"), "nameserver 10.9.9.9\n").unwrap();
    // Whoever has the server's address has no ear for it.
    let network = "ip link set lo up && ip link add a type veth peer name b && ip addr add 10.9.9.1/24 dev a && \
                   ip link set a up && ip link set b up && ip neigh add 10.9.9.9 lladdr 02:00:00:00:00:01 dev a && \
                   mount --bind \"$0\" /etc/resolv.conf || exit 77; exec \"$@\"";
    let log = fs::File::create(site.at("log")).unwrap();
    let mut run = Command::new("unshare");
    run.args(["-nm", "sh", "-c", network]).arg(site.at("resolv.conf"));
    run.arg(env!("CARGO_BIN_EXE_sensor")).args(["run", "--config"]).arg(&config);
    let mut child = run.stdout(Stdio::null()).stderr(log).spawn().unwrap();
    let said = || fs::read_to_string(site.at("log")).unwrap();
    while !said().contains("capturing") {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(matches!(status.code(), Some(1 | 77)) && !said().contains("level"), "{}", said());
            eprintln!("skipped: no network and mount of its own can be had (that takes root)");
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    // It is in the midst of the first look-up, which takes ten seconds.
    std::thread::sleep(Duration::from_millis(800));
    fixtures::signal(child.id(), "SIGTERM");
    let status = child.wait().unwrap();
    // In time, or it would have ended with 1 and without a ledger.
    assert_eq!(status.code(), Some(0), "{}", said());
    let run = Output { status, stdout: Vec::new(), stderr: said().into_bytes() };
    let ledger = ledger(&run);
    closed_records(&ledger);
    assert_eq!(ledger["records"]["waiting"]["spool"], waiting, "{ledger}");
}

/// The log goes to a pipe that is full and that nobody reads: the sensor reloads, is watched over and ends all the same.
#[test]
fn a_log_that_nobody_reads_holds_up_nothing() {
    const O_NONBLOCK: i32 = 0o4000;
    let site = Site::new();
    let collector = site.collector();
    let (sections, status, mirror) = Live::sections();
    let config = site.configuration("live", collector.address().port(), |text| sections + &text);
    let log = site.at("log");
    assert!(Command::new("mkfifo").arg(&log).status().unwrap().success());
    let mut pipe = fs::OpenOptions::new().read(true).write(true).custom_flags(O_NONBLOCK).open(&log).unwrap();
    let stderr = fs::OpenOptions::new().write(true).open(&log).unwrap();
    let mut run = sensor();
    let child = run.args(["run", "--config"]).arg(&config).stdout(Stdio::null()).stderr(stderr).spawn().unwrap();
    let mut live = Live { child, log, status, mirror };
    let mut said = Vec::new();
    wait_until("the start", || {
        let _ = (&pipe).read_to_end(&mut said);
        text(&said).contains("capturing")
    });
    // So that not even a byte more goes into it.
    for size in [4096, 1] {
        while pipe.write(&vec![b'x'; size]).is_ok() {}
    }
    fixtures::signal(live.child.id(), "SIGHUP");
    std::thread::sleep(Duration::from_secs(4));
    let health = live.ask("/healthz").1;
    let capture = health.lines().find(|line| line.contains("capture of")).unwrap();
    assert!(["moved 0.", "moved 1."].iter().any(|moved| capture.contains(moved)), "{health}");
    let begun = std::time::Instant::now();
    fixtures::signal(live.child.id(), "SIGTERM");
    let code = loop {
        if let Some(status) = live.child.try_wait().unwrap() {
            break status.code();
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "it does not end");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(code, Some(0));
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    collector.shutdown();
}

/// The system's limit of a file's size stands for any disk that takes no more.
#[test]
fn what_a_file_does_not_take_is_lost_in_the_exit_status_too() {
    let site = Site::new();
    let (sections, status, mirror) = Live::sections();
    let (config, records) = (site.at("live.toml"), site.at("records.ndjson"));
    let upload =
        format!("[upload.file]\npath = \"{}\"\n[upload.batch]\nrecords = 50\nage = \"100ms\"\n", records.display());
    fs::write(&config, format!("{sections}{upload}")).unwrap();
    let live = Live::start(&site, &config, status, mirror);
    let limit = ["--fsize=100000", "--pid", &live.child.id().to_string()].map(str::to_owned);
    assert!(Command::new("prlimit").args(limit).status().unwrap().success());
    live.mirror(&site.capture(1));
    wait_until("the limit", || live.said().contains("could not be written"));
    assert!(live.ask("/healthz").1.contains("200"), "it goes on");
    let (log, mut child) = (live.log.clone(), live.child);
    fixtures::signal(child.id(), "SIGTERM");
    let status = child.wait().unwrap();
    let said = fs::read_to_string(log).unwrap();
    assert_eq!(status.code(), Some(1), "{status} {said}");
    let ledger = said.lines().find(|line| line.contains("\"balanced\"")).unwrap();
    let ledger: Value = serde_json::from_str(ledger).unwrap();
    assert!(said.contains("records could not be written to [upload.file]"), "{said}");
    let (total, accepted) = closed_records(&ledger);
    let lines = fs::read_to_string(&records).unwrap();
    assert_eq!(accepted, lines.lines().count() as u64, "{ledger}");
    assert!(lines.ends_with('\n') && lines.len() < 100_001 && accepted > 0);
    assert_eq!(ledger["records"]["dropped"]["shutdown"].as_u64().unwrap(), total - accepted, "{ledger}");
}
