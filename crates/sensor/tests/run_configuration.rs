//! The configuration of a live sensor: what a start refuses a reload refuses, too, and so do the commands that check; and what
//! goes to standard error has one form.

use std::fs;
use std::io::Read as _;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

fn sensor(args: &[&str], config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sensor"));
    command.args(args).arg(config).env_remove("SENSOR_LOG").stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// A listener, which takes no rights.
fn capture() -> String {
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    format!("[[capture]]\nlisten = '127.0.0.1:{port}'\nencapsulation = 'vxlan'\n")
}

/// A live sensor, and what it has logged.
struct Live {
    child: Child,
    log: PathBuf,
}

impl Live {
    fn start(config: &Path) -> Self {
        let log = config.with_extension("log");
        let child = sensor(&["run", "--config"], config).stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
        let live = Self { child, log };
        live.says("capturing", 1);
        live
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until something was said so often.
    fn says(&self, what: &str, times: usize) {
        let start = Instant::now();
        while self.log().matches(what).count() < times {
            assert!(start.elapsed() < Duration::from_secs(10), "never said {what}: {}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn signal(&self, name: &str) {
        fixtures::signal(self.child.id(), name);
    }

    fn stop(mut self) -> (Option<i32>, String) {
        self.signal("SIGTERM");
        let code = self.child.wait().unwrap().code();
        (code, fs::read_to_string(&self.log).unwrap())
    }
}

/// Files that are allowed in each value and that no sensor can start with here.
fn refused(capture: &str) -> [(&'static str, String); 6] {
    [
        ("too little for", format!("memory = '1KiB'\n{capture}")),
        ("no such user on this host", format!("{capture}[privileges]\nuser = 'no-such-user-here'\n")),
        ("names CPU 1023", format!("{capture}[cpus]\nworkers = [1023]\n")),
        ("capture: nothing is set", "sensor = 'x'\n".to_owned()),
        ("cannot be compiled", format!("filter = 'tcp prt 80'\n{capture}")),
        ("does not fit in memory", format!("memory = '64MiB'\n{capture}[bodies]\nlimit = '1GiB'\n")),
    ]
}

#[test]
fn a_reload_refuses_what_a_start_refuses_and_keeps_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let (config, bad) = (folder.path().join("sensor.toml"), folder.path().join("bad.toml"));
    let capture = capture();
    let good = format!("output = '/dev/null'\n{capture}[status]\nenabled = false\n");
    fs::write(&config, &good).unwrap();
    let live = Live::start(&config);
    for (times, (reason, text)) in (1..).zip(refused(&capture)) {
        fs::write(&bad, &text).unwrap();
        let start = sensor(&["run", "--config"], &bad).output().unwrap();
        let said = String::from_utf8(start.stderr).unwrap();
        assert_eq!(start.status.code(), Some(2), "{said}");
        assert!(said.contains(reason) && said.contains("bad.toml"), "{said}");
        // Not reloaded either, whole: the level of the log stays.
        fs::write(&config, format!("{text}[log]\nlevel = 'error'\n")).unwrap();
        live.signal("SIGHUP");
        live.says("goes on with what it has", times);
        live.says(reason, 1);
    }
    fs::write(&config, &good).unwrap();
    live.signal("SIGHUP");
    live.says("the configuration was read again", 1);
    let (code, log) = live.stop();
    assert_eq!(code, Some(0), "{log}");
}

/// What only this machine can tell is not the matter of `config --check`, which is for files of any.
#[test]
fn what_is_refused_is_known_to_the_commands_that_check() {
    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("bad.toml");
    for (reason, text) in refused(&capture()) {
        fs::write(&bad, text).unwrap();
        let is_of_this_machine = reason.contains("user") || reason.contains("CPU");
        let is_of_a_sensor = reason.contains("capture");
        for (args, is_refused) in [
            (&["config", "--check"][..], !is_of_this_machine && !is_of_a_sensor),
            (&["check", "--config"], !is_of_a_sensor),
        ] {
            let checked = sensor(args, &bad).output().unwrap();
            let said = String::from_utf8(checked.stderr).unwrap();
            assert_eq!(checked.status.code(), Some(if is_refused { 2 } else { 0 }), "{args:?} of {reason}: {said}");
            assert_eq!(said.contains(reason), is_refused, "{args:?}: {said}");
            assert_eq!(said.contains("line "), is_refused, "{args:?}: {said}");
        }
    }
}

fn objects(log: &str) -> Vec<Value> {
    log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line} in\n{log}"))).collect()
}

/// Where logs are JSON, whoever reads them need not expect anything else: neither of a refusal, nor of the ledger.
#[test]
fn standard_error_is_an_object_a_line_where_the_log_is() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("sensor.toml");
    let capture = capture();
    for ledger in ["", "ledger = 'text'\n", "ledger = 'json'\n"] {
        fs::write(&config, format!("output = '/dev/null'\n{ledger}{capture}[status]\nenabled = false\n")).unwrap();
        let (code, log) = Live::start(&config).stop();
        assert_eq!(code, Some(0), "{log}");
        let said = objects(&log);
        assert!(said.iter().any(|line| line["balanced"] == true), "{log}");
    }
    for (text, parts) in [
        ("sensr = 'x'\nmemory = 'lots'\n", ["line 1", "line 2"]),
        ("memory = '1KiB'\n", ["line 1", "too little"]),
        ("memory = [\n", ["line 1", "not TOML"]),
    ] {
        fs::write(&config, text).unwrap();
        let output = sensor(&["run", "--config"], &config).output().unwrap();
        let said = objects(&String::from_utf8(output.stderr).unwrap());
        assert_eq!((output.status.code(), said.len()), (Some(2), 1));
        let message = said[0]["message"].as_str().unwrap();
        assert!(said[0]["level"] == "ERROR" && parts.iter().all(|part| message.contains(part)), "{message}");
    }
}

#[test]
fn it_is_text_where_the_configuration_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("sensor.toml");
    fs::write(
        &config,
        format!("output = '/dev/null'\n{}[status]\nenabled = false\n[log]\nformat = 'text'\n", capture()),
    )
    .unwrap();
    let (code, log) = Live::start(&config).stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.lines().any(|line| line.starts_with("frames")), "{log}");
    assert!(!log.lines().any(|line| line.starts_with('{')), "{log}");
    // As far as the rest can be understood.
    fs::write(&config, "sensr = 'x'\n[log]\nformat = 'text'\n").unwrap();
    let mut child = sensor(&["run", "--config"], &config).spawn().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(2));
    assert!(said.starts_with("error: the configuration has 2 problems\n"), "{said}");
}
