//! A disk that is really full beside a capture that goes on: the capture loses nothing, the oldest batches go, counted, and
//! once the platform is back all recovers by itself. In a network and a mount of its own; passes without doing anything
//! where neither can be made (that takes root).

mod upload_support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use upload_support::{Site, closed_records, sensor, wait_until};

const FOLDER: &str = "SENSOR_TEST_FULL_DISK";
const PORT: u16 = 8080;
/// Transactions of some 12 KB each as records: ten times what disk and memory hold.
const REQUESTS: u64 = 4_000;

/// Answers each request on each connection with some kilobytes.
fn serve() {
    let listener = TcpListener::bind(("127.0.0.1", PORT)).unwrap();
    let body = "0123456789abcdef".repeat(512);
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, answer) = (stream.unwrap(), answer.clone());
            std::thread::spawn(move || {
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                while let Some(Ok(line)) = lines.next() {
                    if line.is_empty() && stream.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
}

fn ask(numbers: std::ops::Range<u64>) {
    let mut stream = TcpStream::connect(("127.0.0.1", PORT)).unwrap();
    let mut answer = vec![0; 1 << 16];
    for number in numbers {
        let request = format!("GET /transaction/{number} HTTP/1.1\r\nHost: full.test\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut got = 0;
        while got < 16 * 512 {
            got += stream.read(&mut answer).unwrap();
        }
        // Hundreds a second: a capture that loses something under this loses it to the disk.
        std::thread::sleep(Duration::from_micros(300));
    }
}

/// What runs with the small disk; without its variable, nothing.
#[test]
fn child() {
    let Ok(disk) = std::env::var(FOLDER) else { return };
    let site = Site::new();
    serve();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = site.configuration("live", port, |text| {
        let text = text.replace(
            &format!("{}/spool", site.at("").display().to_string().trim_end_matches('/')),
            &format!("{disk}/spool"),
        );
        assert!(text.contains(&disk));
        let text = text.replace("[upload]\n", "[upload]\nqueue_bytes = \"2MiB\"\n");
        format!(
            "workers = 1\nledger = \"json\"\n[bodies]\nlimit = \"32KiB\"\n[[capture]]\ninterface = \"lo\"\n\
             filter = \"tcp port {PORT}\"\nrequired = true\n{text}"
        )
    });
    let said = site.at("said");
    let mut child = sensor()
        .args(["run", "--config"])
        .arg(&config)
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&said).unwrap())
        .spawn()
        .unwrap();
    let read = || std::fs::read_to_string(&said).unwrap_or_default();
    wait_until("the capture", || {
        assert!(child.try_wait().unwrap().is_none(), "{}", read());
        read().contains("\"capturing\"")
    });
    for quarter in 0..4 {
        ask(quarter * REQUESTS / 4..(quarter + 1) * REQUESTS / 4);
    }
    wait_until("a full disk", || read().contains("disk_full"));
    // Everything is in by now: what still waits is in the spool or in memory.
    std::thread::sleep(Duration::from_secs(2));
    assert!(child.try_wait().unwrap().is_none(), "{}", read());
    let collector = site.collector_at(port);
    let store = collector.store().unwrap();
    let mut last = (0, std::time::Instant::now());
    wait_until("the rest", || {
        let count = store.count().unwrap();
        if count != last.0 {
            last = (count, std::time::Instant::now());
        }
        count > 0 && last.1.elapsed() > Duration::from_secs(2)
    });
    // And it goes on as if nothing had been.
    ask(REQUESTS..REQUESTS + 200);
    wait_until("what comes afterwards", || store.count().unwrap() >= last.0 + 200);
    fixtures::signal(child.id(), "SIGTERM");
    let status = child.wait().unwrap();
    let said = read();
    assert_eq!(status.code(), Some(0), "{status} {said}");

    let line = said.lines().find(|line| line.starts_with('{') && line.contains("\"balanced\"")).unwrap();
    let ledger: serde_json::Value = serde_json::from_str(line).unwrap();
    let (total, accepted) = closed_records(&ledger);
    // The capture took no harm: every transaction was seen, whole.
    assert_eq!(total, REQUESTS + 200, "{ledger}");
    assert_eq!(ledger["messages"]["paired"].as_u64(), Some(2 * (REQUESTS + 200)), "{ledger}");
    assert_eq!(ledger["received"]["total"], ledger["received"]["frames"], "nothing dropped or left: {ledger}");
    // What is gone is gone for the disk, and the oldest.
    let dropped = ledger["records"]["dropped"].as_object().unwrap();
    let of_disk: u64 = ["disk_full", "memory_full"].iter().map(|name| dropped[*name].as_u64().unwrap()).sum();
    assert_eq!(accepted + of_disk, total, "{ledger}");
    assert!(dropped["disk_full"].as_u64().unwrap() > REQUESTS / 4, "{ledger}");
    assert_eq!(store.count().unwrap(), accepted);
    // Disk and memory were full of the youngest.
    assert!(accepted > 200 + 100, "{ledger}");
    // It was said, and not for each batch.
    let drops = said.lines().filter(|line| line.contains("dropped the oldest records")).count();
    assert!((1..=10).contains(&drops), "{drops} lines in\n{said}");
    collector.shutdown();
    std::io::stdout().write_all(b"passed").unwrap();
}

#[test]
fn a_full_disk_leaves_the_capture_alone() {
    let folder = tempfile::tempdir().unwrap();
    let run = |command: &[&str], folder: &Path| {
        let mount = "mount -t tmpfs -o size=3m none \"$1\" && ip link set lo up && shift && exec \"$@\"";
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--net", "sh", "-c", mount, "sh"]).arg(folder).args(command);
        unshare.env(FOLDER, folder).output()
    };
    if !run(&["true"], folder.path()).is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: no right to make a network and a mount here (run as root)");
        return;
    }
    let program = std::env::current_exe().unwrap();
    let output = run(&[program.to_str().unwrap(), "--exact", "child", "--nocapture"], folder.path()).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}
