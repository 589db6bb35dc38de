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

fn mkfifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// How a command ends that must not wait for anybody, and what it says.
fn ended(mut command: Command) -> (Option<i32>, String) {
    let mut child = command.spawn().unwrap();
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > Duration::from_secs(30) {
            child.kill().unwrap();
            panic!("{command:?} waits");
        }
        thread::sleep(Duration::from_millis(10));
    }
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (child.wait().unwrap().code(), said)
}

/// Whoever opens a pipe waits for somebody who writes to it.
#[test]
fn a_pipe_in_the_place_of_a_file_is_refused_and_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let (config, snippets) = (folder.path().join("sensor.toml"), folder.path().join("conf.d"));
    let (snippet, key) = (snippets.join("a.toml"), folder.path().join("key"));
    fs::create_dir(&snippets).unwrap();
    mkfifo(&snippet);
    mkfifo(&key);
    let capture = capture();
    let good = format!("include = 'conf.d'\noutput = '/dev/null'\n{capture}[status]\nenabled = false\n");
    let with_key = format!("output = '/dev/null'\n{capture}[mask]\nkey_file = '{}'\n", key.display());
    for (text, named) in [(&good, "a.toml"), (&with_key, "key_file")] {
        fs::write(&config, text).unwrap();
        for args in [&["config", "--check"][..], &["run", "--config"], &["check", "--config"]] {
            let (code, said) = ended(sensor(args, &config));
            assert_eq!(code, Some(2), "{args:?}: {said}");
            assert!(said.contains(named) && said.contains("no regular file, but a pipe"), "{args:?}: {said}");
        }
    }
    let (code, said) = ended(sensor(&["config", "--check"], &key));
    assert!(code == Some(2) && said.contains("no regular file, but a pipe"), "{said}");

    // A sensor that runs goes on, with all that it has.
    fs::remove_file(&snippet).unwrap();
    fs::write(&config, &good).unwrap();
    let live = Live::start(&config);
    mkfifo(&snippet);
    for times in 1..=2 {
        live.signal("SIGHUP");
        live.says("goes on with what it has", times);
    }
    fs::remove_file(&snippet).unwrap();
    live.signal("SIGHUP");
    live.says("the configuration was read again", 1);
    let (code, log) = live.stop();
    assert_eq!(code, Some(0), "{log}");
}

/// A pipe that a command was handed has somebody who writes to it; but it can be read once only.
#[test]
fn a_configuration_comes_through_a_pipe_where_it_is_read_once() {
    let capture = capture();
    for (args, code, part) in [
        (&["config", "--print", "--config"][..], 0, ""),
        (&["config", "--check"], 0, ""),
        (&["run", "--config"], 2, "/dev/stdin: the file is a pipe, which can be read once only"),
        (&["check", "--config"], 2, "/dev/stdin: the file is a pipe, which can be read once only"),
    ] {
        let mut command = sensor(args, Path::new("/dev/stdin"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        thread::sleep(Duration::from_millis(100));
        let mut stdin = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut stdin, format!("output = '/dev/null'\n{capture}").as_bytes()).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.contains(part), "{args:?}: {said}");
        let printed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(printed.contains("[[capture]]"), args.contains(&"--print"), "{printed}");
    }
}

/// Rules that take long to be made ready: the others go on, and the stop does not wait.
#[test]
fn a_long_reload_holds_up_neither_the_others_nor_the_stop() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("sensor.toml");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let good = format!("output = '/dev/null'\n{}[status]\nlisten = '127.0.0.1:{port}'\n", capture());
    fs::write(&config, &good).unwrap();
    let live = Live::start(&config);
    let long: String = (0..480)
        .map(|n| {
            format!(
                "[[filters.rule]]\nname = 'r{n}'\nkind = 'exclude'\npath = ['regex:(a|b\\w{{1,90}})[a-f]{{1,90}}{n}']\n"
            )
        })
        .collect();
    fs::write(&config, good + &long).unwrap();
    live.signal("SIGHUP");
    live.signal("SIGHUP");
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(12) && !live.log().contains("goes on with what it has") {
        thread::sleep(Duration::from_millis(300));
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        std::io::Write::write_all(&mut stream, b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    live.signal("SIGHUP");
    thread::sleep(Duration::from_millis(300));
    let stop = Instant::now();
    let (code, log) = live.stop();
    assert_eq!(code, Some(0), "{log}");
    eprintln!("the stop took {:?}", stop.elapsed());
}
