//! What `sensor run` gives up once its sources are open, on a real kernel; and what it still can.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A user without a name or rights.
const NOBODY: u32 = 65_534;

fn run(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

/// A sensor in a namespace of its own.
struct Confined {
    namespace: String,
    folder: TempDir,
    sensor: Option<Child>,
}

impl Confined {
    /// `None`, said aloud, where this process may not make namespaces.
    fn new(name: &str) -> Option<Self> {
        let namespace = format!("sntprv-{name}");
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        if !run("ip", &["netns", "add", &namespace]) {
            eprintln!("skipped: no right to make network namespaces here (run as root)");
            return None;
        }
        let confined = Self { namespace, folder, sensor: None };
        confined.within("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1");
        confined.within("ip link set lo up");
        confined.pair("one", "two");
        Some(confined)
    }

    /// A pair of interfaces, both up.
    fn pair(&self, one: &str, other: &str) {
        self.within(&format!("ip link add {one} type veth peer name {other}"));
        for device in [one, other] {
            self.within(&format!("ip link set {device} up"));
        }
    }

    /// Sends frames for somebody else.
    fn send(&self, device: &str, count: u32) {
        let program = format!(
            "import socket\ns = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\ns.bind(('{device}', 0))\n\
             for _ in range({count}): s.send(bytes([2, 0, 0, 0, 0, 9]) + bytes(6) + b'\\x88\\xb5' + bytes(46))"
        );
        assert!(run("ip", &["netns", "exec", &self.namespace, "python3", "-c", &program]), "{program}");
    }

    /// What the status port answers.
    fn ask(&self, path: &str) -> String {
        let url = format!("http://127.0.0.1:9600{path}");
        let answer = Command::new("ip")
            .args(["netns", "exec", &self.namespace, "curl", "-s", "-m", "5", &url])
            .output()
            .unwrap();
        String::from_utf8(answer.stdout).unwrap()
    }

    /// The source that has this interface now, as the status shows it.
    fn source_at(&self, interface: &str) -> String {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let metrics = self.ask("/metrics");
            let found = metrics.lines().find_map(|line| {
                let rest = line.strip_prefix("sensor_source_interface{source=\"")?;
                rest.split_once(&format!("\",interface=\"{interface}\"}}")).map(|(source, _)| source.to_owned())
            });
            if let Some(source) = found {
                return source;
            }
            assert!(Instant::now() < end, "nobody has {interface}:\n{metrics}{}", self.said());
            sleep(Duration::from_millis(50));
        }
    }

    /// What `/readyz` says of a source.
    fn readiness(&self, source: &str) -> String {
        let ready = self.ask("/readyz");
        let name = format!("source {source}: ");
        let line = ready.lines().find(|line| line.get(2..).is_some_and(|rest| rest.starts_with(&name)));
        line.map_or_else(|| panic!("{source} is not in {ready}"), str::to_owned)
    }

    fn wait_for_readiness(&self, source: &str, expected: &str) {
        let end = Instant::now() + Duration::from_secs(10);
        while self.readiness(source) != expected {
            assert!(Instant::now() < end, "{} rather than {expected}:\n{}", self.readiness(source), self.said());
            sleep(Duration::from_millis(50));
        }
    }

    /// Frames that the source has given.
    fn frames(&self, source: &str) -> u64 {
        let line = format!("sensor_source_frames_total{{source=\"{source}\"}} ");
        let value = self.ask("/metrics").lines().find_map(|found| found.strip_prefix(&line)?.parse::<f64>().ok());
        value.map_or(0, |frames| frames as u64)
    }

    fn wait_for_frames(&self, source: &str, count: u64) {
        let end = Instant::now() + Duration::from_secs(10);
        while self.frames(source) < count {
            assert!(Instant::now() < end, "{source} has {} of {count}:\n{}", self.frames(source), self.said());
            sleep(Duration::from_millis(100));
        }
        assert_eq!(self.frames(source), count, "{source}");
    }

    fn within(&self, line: &str) {
        let words: Vec<&str> = ["netns", "exec", &self.namespace].into_iter().chain(line.split(' ')).collect();
        assert!(run("ip", &words), "{line}");
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// Runs a program in the namespace, until what is given back is dropped.
    fn spawn(&self, line: &str) -> Killed {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace]).args(line.split(' '));
        Killed(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    fn start(&mut self, config: &str) {
        self.start_after("true", config);
    }

    /// The sensor, in a mount namespace where `before` was done.
    fn start_after(&mut self, before: &str, config: &str) {
        fs::create_dir_all(self.path("etc")).unwrap();
        fs::write(self.path("etc/sensor.toml"), config).unwrap();
        let said = fs::File::create(self.path("said")).unwrap();
        let sensor = Command::new("ip")
            .args(["netns", "exec", &self.namespace, "sh", "-c"])
            .arg(format!("{before} && exec \"$0\" run --config \"$1\""))
            .arg(env!("CARGO_BIN_EXE_sensor"))
            .arg(self.path("etc/sensor.toml"))
            .stdout(Stdio::null())
            .stderr(said)
            .spawn();
        self.sensor = Some(sensor.unwrap());
        self.wait_for("\"capturing\"");
    }

    fn said(&self) -> String {
        fs::read_to_string(self.path("said")).unwrap_or_default()
    }

    fn wait_for(&self, words: &str) {
        self.wait_for_times(words, 1);
    }

    fn wait_for_times(&self, words: &str, times: usize) {
        let end = Instant::now() + Duration::from_secs(15);
        while self.said().matches(words).count() < times {
            assert!(Instant::now() < end, "{words} is not said {times} times:\n{}", self.said());
            sleep(Duration::from_millis(20));
        }
    }

    fn signal(&self, signal: &str) {
        // `ip netns exec` and the shell become the program: this is the sensor's own id.
        fixtures::signal(self.sensor.as_ref().unwrap().id(), signal);
    }

    /// Of each thread: its name, and the values of a line of its status.
    fn threads(&self, line: &str) -> Vec<(String, String)> {
        let tasks = format!("/proc/{}/task", self.sensor.as_ref().unwrap().id());
        let read = |task: fs::DirEntry| {
            let status = fs::read_to_string(task.path().join("status")).unwrap();
            let value = |name: &str| {
                let found = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
                found.unwrap().to_owned()
            };
            (value("Name"), value(line))
        };
        fs::read_dir(tasks).unwrap().map(|task| read(task.unwrap())).collect()
    }

    fn stop(mut self) -> String {
        self.signal("SIGTERM");
        let status = self.sensor.take().unwrap().wait().unwrap();
        assert_eq!(status.code(), Some(0), "{}", self.said());
        self.said()
    }
}

impl Drop for Confined {
    fn drop(&mut self) {
        if let Some(mut sensor) = self.sensor.take() {
            let _ = sensor.kill();
            let _ = sensor.wait();
        }
        run("ip", &["netns", "del", &self.namespace]);
    }
}

/// A program that ends with this.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn is_without_rights(value: &str) -> bool {
    value.bytes().all(|digit| digit == b'0')
}

#[test]
fn every_thread_is_another_user_without_rights() {
    for (name, reopen) in [("all", Some(true)), ("non", None)] {
        let Some(mut confined) = Confined::new(name) else { return };
        let spool = confined.path("spool");
        confined.start(&format!(
            "[[capture]]\ninterface = 'lo'\n[privileges]\nuser = '{NOBODY}'\n\
             {}[upload]\nurl = 'https://127.0.0.1:9'\n[upload.spool]\nfolder = '{}'\n",
            reopen.map_or(String::new(), |reopen| format!("reopen = {reopen}\n")),
            spool.display()
        ));
        for (thread, ids) in confined.threads("Uid") {
            assert!(ids.split('\t').all(|id| id == NOBODY.to_string()), "{thread}: {ids}");
        }
        for set in ["CapEff", "CapInh", "CapAmb", "CapBnd"] {
            for (thread, value) in confined.threads(set) {
                assert!(is_without_rights(&value), "{thread}: {set} {value}");
            }
        }
        let keeping: Vec<String> = confined
            .threads("CapPrm")
            .into_iter()
            .filter(|(_, value)| !is_without_rights(value))
            .map(|(thread, _)| thread)
            .collect();
        assert_eq!(
            keeping,
            if reopen.is_some() { vec!["opener"] } else { vec![] },
            "no thread has any unless one is to"
        );
        assert!(confined.threads("NoNewPrivs").iter().all(|(_, value)| value == "1"));
        // The folder was made for the user, who keeps its spool there.

        assert_eq!(fs::metadata(&spool).unwrap().uid(), NOBODY);
        assert!(fs::read_dir(&spool).unwrap().next().is_some(), "{}", confined.said());
        confined.stop();
    }
}

#[test]
fn what_is_not_named_cannot_be_reached_and_what_is_can_be_reloaded() {
    let Some(mut confined) = Confined::new("rch") else { return };
    let text = "output = '/dev/null'\n[[capture]]\ninterface = 'lo'\n";
    confined.start(text);
    if confined.said().contains("no landlock") {
        eprintln!("skipped: this kernel has no landlock");
        return;
    }
    // Renewed as a packet manager or an editor does it: another file of the same name.
    fs::write(confined.path("etc/new"), format!("{text}[log]\nlevel = 'debug'\n")).unwrap();
    fs::rename(confined.path("etc/new"), confined.path("etc/sensor.toml")).unwrap();
    confined.signal("SIGHUP");
    confined.wait_for("the configuration was read again");
    // A file that everybody may read, in a folder that everybody may look into, but none that was named.
    fs::create_dir(confined.path("elsewhere")).unwrap();
    fs::write(confined.path("elsewhere/sensor.toml"), text).unwrap();
    fs::remove_file(confined.path("etc/sensor.toml")).unwrap();
    symlink(confined.path("elsewhere/sensor.toml"), confined.path("etc/sensor.toml")).unwrap();
    confined.signal("SIGHUP");
    confined.wait_for("the configuration is refused");
    confined.wait_for("ermission denied");
    confined.stop();
}

/// Certificates are renewed by leading a link to the folder of the new ones, which is beside that of the old ones.
#[test]
fn certificates_behind_a_link_to_another_folder_can_be_renewed() {
    let Some(mut confined) = Confined::new("lnk") else { return };
    for release in ["1", "2"] {
        let folder = confined.path("tls/releases").join(release);
        fs::create_dir_all(&folder).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        // So that it is said when it is taken.
        let left = Duration::from_secs(if release == "1" { 200 } else { 5 } * 86_400);
        parameters.not_after = (std::time::SystemTime::now() + left).into();
        fs::write(folder.join("client.pem"), parameters.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(folder.join("client.key"), key.serialize_pem()).unwrap();
    }
    symlink("releases/1", confined.path("tls/current")).unwrap();
    let (tls, spool) = (confined.path("tls/current"), confined.path("spool"));
    confined.start(&format!(
        "[[capture]]\ninterface = 'lo'\n[upload]\nurl = 'https://127.0.0.1:9'\n\
         [upload.tls]\ncertificate = '{0}/client.pem'\nkey = '{0}/client.key'\n[upload.spool]\nfolder = '{1}'\n",
        tls.display(),
        spool.display()
    ));
    assert!(!confined.said().contains("expires soon"), "{}", confined.said());
    symlink("releases/2", confined.path("tls/next")).unwrap();
    fs::rename(confined.path("tls/next"), confined.path("tls/current")).unwrap();
    confined.signal("SIGHUP");
    confined.wait_for("expires soon");
    let said = confined.stop();
    assert!(!said.contains("ermission denied") && !said.contains("the old ones stay"), "{said}");
}

#[test]
fn an_interface_that_comes_back_or_comes_late_is_captured_by_a_sensor_without_rights() {
    let Some(mut confined) = Confined::new("bck") else { return };
    confined.pair("three", "four");
    confined.within("ip link set four down");
    let sections = ["two", "four", "six"].map(|name| format!("[[capture]]\ninterface = '{name}'\nring = '1MiB'\n"));
    confined.start(&format!(
        "output = '/dev/null'\nledger = 'json'\n{}[privileges]\nuser = '{NOBODY}'\n",
        sections.concat()
    ));
    let said = confined.said();
    assert!(said.contains("interface four is down") && said.contains("no interface six"), "{said}");
    assert_eq!(confined.frames("two"), 0);
    confined.send("one", 10);
    confined.wait_for_frames("two", 10);
    // It goes down, and is up again; it goes, and another of its name comes; one is there late, and one comes late.
    confined.within("ip link set two down");
    confined.wait_for("two is gone: it is down");
    confined.within("ip link set two up");
    confined.wait_for_times("\"capturing\"", 2);
    confined.send("one", 10);
    confined.wait_for_frames("two", 20);
    confined.within("ip link del one");
    confined.wait_for_times("trying again every second", 4);
    // With the capture on `two` also its promiscuous mode: what is sent is for somebody else.
    confined.pair("one", "two");
    confined.within("ip link set four up");
    confined.pair("five", "six");
    confined.wait_for_times("\"capturing\"", 5);
    for (from, to, count) in [("one", "two", 30), ("three", "four", 10), ("five", "six", 10)] {
        confined.send(from, 10);
        confined.wait_for_frames(to, count);
    }
    for set in ["CapPrm", "CapEff"] {
        assert!(confined.threads(set).iter().all(|(_, value)| is_without_rights(value)), "{set}");
    }
    let said = confined.stop();
    let ledger: serde_json::Value =
        serde_json::from_str(said.lines().find(|line| line.contains("balanced")).unwrap()).unwrap();
    assert_eq!(ledger["received"]["total"], 50, "{said}");
    assert_eq!(ledger["received"]["frames"], 50, "{said}");
    assert!(!said.contains("interface lo"), "{said}");
}

#[test]
fn interfaces_that_match_a_pattern_are_captured_as_they_come_and_go() {
    let Some(mut confined) = Confined::new("pat") else { return };
    confined.start(&format!(
        "output = '/dev/null'\nledger = 'json'\n[[capture]]\ninterface = 'tap*'\nspare = 2\nring = '1MiB'\nfilter = 'ether proto 0x88b5'\n\
         [[capture]]\ninterface = 'two'\n[privileges]\nuser = '{NOBODY}'\n"
    ));
    confined.send("one", 5);
    confined.wait_for_frames("two", 5);
    // Whichever of the two it is that takes an interface up.
    let mut sources = Vec::new();
    for (number, name) in ["tap1", "tap2"].into_iter().enumerate() {
        let far = format!("far{number}");
        confined.pair(&far, name);
        confined.wait_for(&format!("\"source\":\"{name}\""));
        let source = confined.source_at(name);
        confined.send(&far, 10);
        confined.wait_for_frames(&source, 10);
        sources.push(source);
    }
    let [first, second] = [sources[0].as_str(), sources[1].as_str()];
    assert_ne!(first, second);
    // More than there are rings for waits until one is free.
    confined.pair("far3", "tap3");
    sleep(Duration::from_millis(2_500));
    assert!(!confined.said().contains("tap3"), "{}", confined.said());
    confined.within("ip link del far0");
    confined.wait_for("tap1 is gone");
    confined.wait_for("\"source\":\"tap3\"");
    confined.send("far3", 10);
    // Its ring had ten of the other's.
    confined.wait_for_frames(first, 20);
    assert_eq!(confined.source_at("tap3"), first);
    // One that goes for good is said once; what waits for another says nothing.
    confined.within("ip link del far1");
    confined.wait_for("tap2 is gone");
    let before = confined.said();
    sleep(Duration::from_millis(3_500));
    assert_eq!(confined.said(), before);
    assert_eq!(confined.readiness(second), format!("+ source {second}: waiting, tap2 was removed"));
    let up = format!("sensor_source_up{{source=\"{second}\"}} 0");
    assert!(confined.ask("/metrics").contains(&up), "{}", confined.ask("/metrics"));
    // One that is there and down is another thing: somebody has to look after it.
    confined.within("ip link set tap3 down");
    confined.wait_for_readiness(first, &format!("- source {first}: down, it had tap3"));
    confined.within("ip link set tap3 up");
    confined.wait_for("\"source\":\"tap3\"");
    let source = confined.source_at("tap3");
    confined.wait_for_readiness(&source, &format!("+ source {source}: up, tap3"));
    let said = confined.stop();
    let ledger: serde_json::Value =
        serde_json::from_str(said.lines().find(|line| line.contains("balanced")).unwrap()).unwrap();
    assert_eq!((&ledger["received"]["total"], &ledger["received"]["frames"]), (&35.into(), &35.into()), "{said}");
}

#[test]
fn an_interface_of_another_kind_takes_the_right_to_open_it() {
    for (name, reopen) in [("kno", false), ("kye", true)] {
        let Some(mut confined) = Confined::new(name) else { return };
        confined.start(&format!(
            "output = '/dev/null'\nledger = 'json'\n[[capture]]\ninterface = 'raw*'\nring = '1MiB'\n\
             [privileges]\nuser = '{NOBODY}'\nreopen = {reopen}\n"
        ));
        for device in ["raw1", "raw2"] {
            let words = ["netns", "exec", &confined.namespace, "ip", "tuntap", "add", "dev", device, "mode", "tun"];
            if !run("ip", &words) {
                eprintln!("skipped: no tun devices here");
                return;
            }
            confined.within(&format!("ip link set {device} up"));
            if reopen {
                confined.wait_for(&format!("\"capturing\",\"source\":\"{device}\""));
            } else {
                // Said once: it is the same interface at every look.
                confined.wait_for(&format!("interface {device} is of another kind"));
                sleep(Duration::from_millis(2_500));
                assert_eq!(
                    confined.said().matches(&format!("interface {device} is")).count(),
                    1,
                    "{}",
                    confined.said()
                );
            }
            confined.within(&format!("ip link del {device}"));
            if reopen {
                confined.wait_for(&format!("{device} is gone"));
            }
        }
        assert!(confined.threads("CapEff").iter().all(|(_, value)| is_without_rights(value)), "only at that moment");
        confined.stop();
    }
}

#[test]
fn threads_stay_on_the_cpus_that_they_are_given_and_others_anywhere() {
    let Some(mut confined) = Confined::new("cpu") else { return };
    let anywhere = fs::read_to_string("/proc/self/status").unwrap();
    let anywhere = anywhere.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:\t")).unwrap().to_owned();
    // The first and the last that this process may use: on most machines two.
    let ends: Vec<&str> = anywhere.split(['-', ',']).collect();
    let (first, last) = (ends[0], ends[ends.len() - 1]);
    confined.start(&format!(
        "output = '/dev/null'\nworkers = 3\n[cpus]\ncapture = [{first}]\nworkers = [{last}, {first}]\n\
         [[capture]]\ninterface = 'one'\n[[capture]]\ninterface = 'two'\n"
    ));
    // A thread takes its name, and then its place, when it first runs.
    let is_named = |(thread, _): &(String, String)| thread.starts_with("capture") || thread.starts_with("worker");
    let end = Instant::now() + Duration::from_secs(10);
    while confined.threads("Name").iter().filter(|thread| is_named(thread)).count() < 5 {
        assert!(Instant::now() < end, "{:?}", confined.threads("Name"));
        sleep(Duration::from_millis(20));
    }
    sleep(Duration::from_millis(100));
    let mut pinned = 0;
    for (thread, cpus) in confined.threads("Cpus_allowed_list") {
        let expected = match thread.as_str() {
            "capture-0" | "capture-1" | "worker-1" => first,
            "worker-0" | "worker-2" => last,
            _ => anywhere.as_str(),
        };
        assert_eq!(cpus, expected, "{thread}");
        pinned += u32::from(thread.starts_with("capture") || thread.starts_with("worker"));
    }
    assert_eq!(pinned, 5);
    confined.stop();
}

#[test]
fn a_cpu_that_is_not_there_is_refused_by_run_and_by_check() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("sensor.toml");
    fs::write(&config, "output = '-'\n[cpus]\nworkers = [1023]\n[[capture]]\ninterface = 'lo'\n").unwrap();
    for command in ["run", "check"] {
        let output =
            Command::new(env!("CARGO_BIN_EXE_sensor")).args([command, "--config"]).arg(&config).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("line 3: cpus.workers: names CPU 1023"), "{said}");
    }
}

#[test]
fn the_platforms_new_address_is_told_after_a_signal_though_its_file_was_replaced() {
    let Some(mut confined) = Confined::new("own") else { return };
    let hosts = confined.path("etc-of-it/hosts");
    fs::create_dir_all(hosts.parent().unwrap()).unwrap();
    fs::write(&hosts, "127.0.0.2 platform.test\n").unwrap();
    fs::write(confined.path("etc-of-it/nsswitch.conf"), "hosts: files\n").unwrap();
    fs::create_dir_all(confined.path("etc-of-it/ssl/certs")).unwrap();
    let authorities = "/etc/ssl/certs/ca-certificates.crt";
    if fs::copy(authorities, confined.path("etc-of-it/ssl/certs/ca-certificates.crt")).is_err() {
        eprintln!("skipped: there is no {authorities}");
        return;
    }
    let _server = confined.spawn("python3 -u -m http.server --bind 127.0.0.3 8099 -d /var/empty");
    let mount = format!("mount --bind {} /etc", confined.path("etc-of-it").display());
    let spool = confined.path("spool");
    confined.start_after(
        &mount,
        &format!(
            "ledger = 'json'\n[[capture]]\ninterface = 'lo'\n[privileges]\nuser = '{NOBODY}'\n\
             [upload]\nurl = 'https://platform.test:8099'\n[upload.spool]\nfolder = '{}'\n",
            spool.display()
        ),
    );
    let ask = || {
        let url = "http://127.0.0.3:8099/no-such-file";
        assert!(run(
            "ip",
            &[
                "netns",
                "exec",
                &confined.namespace,
                "curl",
                "-s",
                "-m",
                "5",
                "--retry-connrefused",
                "--retry",
                "20",
                "--retry-delay",
                "1",
                url
            ]
        ));
    };
    let recorded = || {
        let line = "sensor_exchanges_total{fate=\"recorded\",reason=\"\"} ";
        let value = confined.ask("/metrics").lines().find_map(|found| found.strip_prefix(line)?.parse::<f64>().ok());
        value.unwrap_or(0.0)
    };
    ask();
    let end = Instant::now() + Duration::from_secs(10);
    while recorded() < 1.0 {
        assert!(Instant::now() < end, "somebody else's is recorded:\n{}", confined.said());
        sleep(Duration::from_millis(100));
    }
    fs::write(confined.path("etc-of-it/new"), "127.0.0.3 platform.test\n").unwrap();
    fs::rename(confined.path("etc-of-it/new"), &hosts).unwrap();
    confined.signal("SIGHUP");
    confined.wait_for("the configuration was read again");
    sleep(Duration::from_millis(500));
    ask();
    let said = confined.stop();
    let ledger: serde_json::Value =
        serde_json::from_str(said.lines().find(|line| line.contains("balanced")).unwrap()).unwrap();
    assert_eq!(ledger["exchanges"]["recorded"], 1, "{said}");
}

#[test]
fn without_the_right_one_line_says_what_gives_it() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can become a user without rights");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // A copy that this user can reach, wherever the build is.
    let program = folder.path().join("sensor");
    fs::copy(env!("CARGO_BIN_EXE_sensor"), &program).unwrap();
    let config = folder.path().join("sensor.toml");
    fs::write(&config, "output = '-'\n[[capture]]\ninterface = 'lo'\n").unwrap();
    let output = Command::new(&program)
        .args(["run", "--config"])
        .arg(&config)
        .current_dir(folder.path())
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains(&format!("setcap cap_net_raw,cap_net_admin=eip {}", program.display())), "{said}");
    assert!(said.contains("AmbientCapabilities=CAP_NET_RAW CAP_NET_ADMIN"), "{said}");
}

#[test]
fn a_user_that_is_not_there_or_not_to_be_had_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let start = |user: &str| {
        let config = folder.path().join("sensor.toml");
        let text = "output = '-'\n[status]\nenabled = false\n[[capture]]\nlisten = '127.0.0.1:47891'\nencapsulation = 'vxlan'\n";
        fs::write(&config, format!("{text}[privileges]\nuser = '{user}'\n")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_sensor"));
        command.args(["run", "--config"]).arg(&config);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = start("no-such-user-here");
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("privileges.user") && said.contains("no-such-user-here"), "{said}");
}

/// As root it once said that all is well where the service's user cannot write, and left a spool behind that only root can.
#[test]
fn check_tries_as_the_user_that_the_sensor_goes_on_as() {
    let Some(confined) = Confined::new("chk") else { return };
    let spool = confined.path("state/of/spool");
    let check = |privileges: &str| {
        let config = confined.path("check.toml");
        let text = format!(
            "{privileges}\n[[capture]]\ninterface = 'two'\n[upload]\nurl = 'https://127.0.0.1:9'\n[upload.spool]\nfolder = '{}'\n",
            spool.display()
        );
        fs::write(&config, text).unwrap();
        let output =
            Command::new(env!("CARGO_BIN_EXE_sensor")).args(["check", "--config"]).arg(config).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    // Nobody else can write what root has made: so nothing is left.
    let said = check("");
    assert!(said.contains("ok    spool") && !confined.path("state").exists(), "{said}");
    let nobody = "[privileges]\nuser = '65534'";
    let said = check(nobody);
    assert!(said.contains("ok    spool") && said.contains("tried as privileges.user = \"65534\""), "{said}");
    assert!(!confined.path("state").exists(), "what was made for its user is gone, too");
    // One that is root's.
    let _ = fs::remove_dir_all(confined.path("state"));
    fs::create_dir_all(&spool).unwrap();
    fs::set_permissions(&spool, fs::Permissions::from_mode(0o700)).unwrap();
    let said = check(nobody);
    assert!(said.contains("FAIL  spool") && said.contains("Permission denied"), "{said}");
}

/// The folders above the spool were root's alone: its user could not get to what had been made for it.
#[test]
fn folders_that_are_made_for_a_user_are_that_users() {
    let Some(mut confined) = Confined::new("fol") else { return };
    let spool = confined.path("state/of/spool");
    confined.start(&format!(
        "[privileges]\nuser = '65534'\n[[capture]]\ninterface = 'two'\n[upload]\nurl = 'https://127.0.0.1:9'\n[upload.spool]\nfolder = '{}'\n",
        spool.display()
    ));
    assert!(spool.ancestors().take(3).all(|folder| fs::metadata(folder).unwrap().uid() == NOBODY));
    confined.stop();
}

/// It ended with status 0 and without a word, so nothing started it again.
#[test]
fn a_reader_of_the_records_that_goes_ends_it_with_a_word() {
    let Some(mut confined) = Confined::new("rdr") else { return };
    // A pipe whose reader is not there from the start.
    let before = "mkfifo \"$1.pipe\" && { sleep 1 <\"$1.pipe\" & exec >\"$1.pipe\"; }";
    confined.start_after(before, "output = '-'\n[[capture]]\ninterface = 'lo'\n");
    let _server = confined.spawn("python3 -m http.server 8000 --bind 127.0.0.1");
    let mut sensor = confined.sensor.take().unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    let status = loop {
        run("ip", &["netns", "exec", &confined.namespace, "curl", "-s", "-m", "2", "http://127.0.0.1:8000/"]);
        if let Some(status) = sensor.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < end, "{}", confined.said());
        sleep(Duration::from_millis(100));
    };
    assert_eq!(status.code(), Some(1), "{}", confined.said());
    assert!(confined.said().contains("whoever read the records"), "{}", confined.said());
}

#[test]
fn an_interface_that_is_missing_from_the_start_is_told_once() {
    let Some(mut confined) = Confined::new("mis") else { return };
    confined.start("output = '/dev/null'\n[[capture]]\ninterface = 'late'\n[[capture]]\ninterface = 'two'\n");
    sleep(Duration::from_millis(2_500));
    assert_eq!(confined.said().matches("there is no interface late").count(), 1, "{}", confined.said());
    confined.pair("late", "other");
    confined.wait_for_readiness("late", "+ source late: up");
    confined.stop();
}

/// Without the right, libpcap misses that first: it was said to be there.
#[test]
fn an_interface_that_is_not_there_is_not_said_to_be() {
    let Some(mut confined) = Confined::new("nth") else { return };
    for device in ["one", "lo"] {
        confined.within(&format!("ip link set {device} down"));
    }
    confined.within("ip link del one");
    // Nothing is up that a ring could be made on.
    confined.start("output = '/dev/null'\n[status]\nenabled = false\n[[capture]]\ninterface = 'late'\n");
    sleep(Duration::from_millis(2_500));
    let said = confined.said();
    assert!(said.contains("no ring can be made ready"), "{said}");
    assert!(said.matches("there is no interface late").count() == 1 && !said.contains("is there, but"), "{said}");
    confined.pair("late", "other");
    confined.wait_for("interface late is there, but the right to open it was given up");
    confined.stop();
}

#[test]
fn a_source_that_is_away_is_not_taken_up_after_the_end() {
    let Some(mut confined) = Confined::new("aft") else { return };
    confined.start("output = '/dev/null'\n[[capture]]\ninterface = 'two'\n");
    confined.within("ip link set two down");
    confined.wait_for("two is gone");
    confined.within("ip link set two up");
    let said = confined.stop();
    let (_, after) = said.split_once("\"stopping\"").unwrap();
    assert!(!after.contains("\"capturing\""), "{said}");
}

/// A reader that stands still had the stop end late, without a ledger: what was handed on and not written had no count.
#[test]
fn what_an_output_that_nobody_reads_did_not_take_is_counted() {
    for (name, workers) in [("st1", 1), ("st2", 2)] {
        let Some(mut confined) = Confined::new(name) else { return };
        let before = "mkfifo \"$1.pipe\" && { sleep 60 <\"$1.pipe\" & exec >\"$1.pipe\"; }";
        confined.start_after(
            before,
            &format!("workers = {workers}\nledger = 'json'\noutput = '-'\n[[capture]]\ninterface = 'lo'\n"),
        );
        fs::write(confined.path("small"), b"x").unwrap();
        fs::write(confined.path("large"), vec![b'x'; 600_000]).unwrap();
        let at = confined.folder.path().display().to_string();
        let _server = confined.spawn(&format!("python3 -m http.server 8000 --bind 127.0.0.1 --directory {at}"));
        let end = Instant::now() + Duration::from_secs(20);
        let fetch = |file: &str, times: u32| {
            let url = format!("http://127.0.0.1:8000/{file}");
            let mut fetched = 0;
            while fetched < times {
                assert!(Instant::now() < end, "the server does not answer");
                fetched +=
                    u32::from(run("ip", &["netns", "exec", &confined.namespace, "curl", "-sf", "-m", "2", &url]));
            }
        };
        let count = |sample: &str| {
            let metrics = confined.ask("/metrics");
            let found = metrics.lines().find_map(|line| line.strip_prefix(sample)?.trim().parse::<f64>().ok());
            found.map_or(0, |count| count as u64)
        };
        let written = || count("sensor_records_total{fate=\"written\",reason=\"\"}");
        fetch("small", 5);
        while written() < 5 {
            assert!(Instant::now() < end, "{}", confined.ask("/metrics"));
            sleep(Duration::from_millis(50));
        }
        // The pipe has room for one of these, or for a part of it, and no more.
        fetch("large", 3);
        while count("sensor_records_waiting") < 2 || count("sensor_records_waiting") + written() < 8 {
            assert!(Instant::now() < end, "{}", confined.ask("/metrics"));
            sleep(Duration::from_millis(50));
        }
        confined.signal("SIGTERM");
        let status = confined.sensor.take().unwrap().wait().unwrap();
        let said = confined.said();
        assert_eq!(status.code(), Some(1), "{said}");
        let ledger = said.lines().find(|line| line.contains("\"balanced\"")).unwrap();
        let ledger: serde_json::Value = serde_json::from_str(ledger).unwrap();
        assert_eq!(ledger["balanced"], true, "{ledger}");
        assert_eq!(ledger["exchanges"]["recorded"], 8, "{ledger}");
        // Of a buffer that was taken in part, the records that are whole.
        // There is no writer any more, for whom opening it would wait.
        let mut pipe = Vec::new();
        let mut reader = fs::OpenOptions::new();
        reader.read(true).custom_flags(libc::O_NONBLOCK);
        let mut reader = reader.open(confined.path("etc/sensor.toml.pipe")).unwrap();
        std::io::Read::read_to_end(&mut reader, &mut pipe).unwrap();
        let in_it = pipe.iter().filter(|byte| **byte == b'\n').count();
        let stalled = 8 - in_it;
        assert!(in_it >= 5 && stalled > 0, "{in_it}");
        let expected = serde_json::json!({
            "total": 8, "written": in_it, "dropped": { "sealing_full": 0, "output_stalled": stalled }
        });
        assert_eq!(ledger["records"], expected, "{ledger}");
        assert!(said.contains(&format!("{stalled} records that were complete are not in it")), "{said}");
    }
}

#[test]
fn a_section_means_the_interface_that_has_the_name_now() {
    let Some(mut confined) = Confined::new("ren") else { return };
    confined.pair("far", "tap1");
    confined.start(&format!(
        "output = '/dev/null'\nledger = 'json'\n[[capture]]\ninterface = 'two'\nfilter = 'ether proto 0x88b5'\n\
         [[capture]]\ninterface = 'tap*'\nspare = 0\nfilter = 'ether proto 0x88b5'\n[privileges]\nuser = '{NOBODY}'\n"
    ));
    confined.send("far", 10);
    confined.send("one", 10);
    confined.wait_for_frames("two", 10);
    confined.wait_for_frames("tap* #1", 10);
    // Of a pattern it is the same as long as it matches.
    if !run("ip", &["netns", "exec", &confined.namespace, "ip", "link", "set", "dev", "tap1", "name", "tap9"]) {
        eprintln!("skipped: this kernel does not rename an interface that is up");
        return;
    }
    assert_eq!(confined.source_at("tap9"), "tap* #1");
    confined.send("far", 10);
    confined.wait_for_frames("tap* #1", 20);
    // By a name it is the one that has it.
    confined.within("ip link set dev two name other");
    confined.wait_for("it is called other now");
    confined.wait_for_readiness("two", "- source two: down");
    confined.send("one", 10);
    confined.pair("three", "two");
    confined.wait_for_readiness("two", "+ source two: up");
    confined.send("three", 10);
    confined.wait_for_frames("two", 20);
    // A pattern gives up what it does not mean any more.
    confined.within("ip link set dev tap9 name none");
    confined.wait_for("it is called none now");
    let said = confined.stop();
    let ledger: serde_json::Value =
        serde_json::from_str(said.lines().find(|line| line.contains("balanced")).unwrap()).unwrap();
    assert_eq!((&ledger["received"]["total"], &ledger["received"]["frames"]), (&40.into(), &40.into()), "{said}");
}

#[test]
fn an_interface_in_two_sections_is_two_series_of_every_metric() {
    let Some(mut confined) = Confined::new("dup") else { return };
    let section = "[[capture]]\ninterface = 'two'\n";
    confined.start(&format!(
        "output = '/dev/null'\n{section}filter = 'ether proto 0x88b5'\n{section}filter = 'tcp'\n[[capture]]\ninterface = 't*'\n"
    ));
    confined.send("one", 10);
    confined.wait_for_frames("two", 10);
    confined.wait_for_frames("two (2)", 0);
    confined.wait_for_frames("t* #1", 10);
    let metrics = confined.ask("/metrics");
    let mut series: Vec<&str> =
        metrics.lines().filter(|line| !line.starts_with('#')).map(|line| line.rsplit_once(' ').unwrap().0).collect();
    let count = series.len();
    series.sort_unstable();
    series.dedup();
    assert_eq!(series.len(), count, "a series that is there twice has the whole scrape refused:\n{metrics}");
    confined.stop();
}

#[test]
fn an_interface_that_flaps_does_not_fill_the_log() {
    let Some(mut confined) = Confined::new("flp") else { return };
    confined.start("output = '/dev/null'\nledger = 'json'\n[[capture]]\ninterface = 'two'\n");
    for round in 1..=8_u64 {
        confined.within("ip link set two down");
        confined.wait_for_readiness("two", "- source two: down");
        confined.within("ip link set two up");
        confined.wait_for_readiness("two", "+ source two: up");
        confined.send("one", 1);
        confined.wait_for_frames("two", round);
    }
    assert_eq!(confined.said().matches("two is gone").count(), 4, "{}", confined.said());
    assert_eq!(confined.said().matches("\"capturing\",\"source\"").count(), 4, "{}", confined.said());
    assert!(confined.ask("/metrics").contains("sensor_source_reopened_total{source=\"two\"} 8"), "all are counted");
    confined.stop();
}

#[test]
fn a_required_pattern_asks_for_one_interface_that_can_be_captured_from() {
    let Some(mut confined) = Confined::new("req") else { return };
    confined.pair("three", "twoo");
    confined.within("ip link set twoo down");
    let config = "output = '/dev/null'\nledger = 'json'\n[[capture]]\ninterface = 'tw*'\nrequired = true\nspare = 0\n";
    confined.start(config);
    assert!(confined.said().contains("interface twoo is down"), "{}", confined.said());
    confined.wait_for_readiness("tw* #1", "+ source tw* #1: up, two");
    confined.wait_for_readiness("tw* #2", "+ source tw* #2: waiting");
    // As many as at the start have to be there.
    confined.within("ip link del one");
    confined.wait_for_readiness("tw* #1", "- source tw* #1: down, it had two");
    confined.within("ip link set twoo up");
    let end = Instant::now() + Duration::from_secs(10);
    while !confined.ask("/readyz").starts_with("ok") {
        assert!(Instant::now() < end, "{}", confined.ask("/readyz"));
        sleep(Duration::from_millis(50));
    }
    confined.signal("SIGTERM");
    confined.sensor.take().unwrap().wait().unwrap();
    // None of them: that ends the start.
    confined.within("ip link set twoo down");
    let output = Command::new("ip")
        .args(["netns", "exec", &confined.namespace, env!("CARGO_BIN_EXE_sensor"), "run", "--config"])
        .arg(confined.path("etc/sensor.toml"))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("none of the interfaces that match tw*"), "{said}");
}

/// Idle clients must not take the descriptors of what is captured.
#[test]
fn idle_clients_of_the_status_port_do_not_end_the_capture() {
    let Some(mut confined) = Confined::new("idl") else { return };
    confined.start_after("ulimit -n 128", "output = '/dev/null'\nledger = 'json'\n[[capture]]\ninterface = 'two'\n");
    let program = "import socket, time\nall = [socket.create_connection(('127.0.0.1', 9600)) for _ in range(400)]\n\
                   print('there', flush=True)\ntime.sleep(60)";
    let mut clients = Command::new("ip")
        .args(["netns", "exec", &confined.namespace, "python3", "-c", program])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut word = [0; 5];
    std::io::Read::read_exact(clients.stdout.as_mut().unwrap(), &mut word).unwrap();
    let _clients = Killed(clients);
    assert!(confined.readiness("two").starts_with('+'));
    for round in 1..=2 {
        confined.within("ip link set two down");
        confined.wait_for_readiness("two", "- source two: down");
        confined.within("ip link set two up");
        confined.wait_for_readiness("two", "+ source two: up");
        confined.send("one", 10);
        confined.wait_for_frames("two", 10 * round);
    }
    confined.stop();
}

/// A log that nobody takes, as of a journal whose disk stands still, is not to stop the capture.
#[test]
fn a_log_that_stands_still_does_not_stop_the_capture() {
    let Some(mut confined) = Confined::new("log") else { return };
    let config = "output = '/dev/null'\n[[capture]]\ninterface = 'two'\nring = '4MiB'\n";
    fs::create_dir_all(confined.path("etc")).unwrap();
    fs::write(confined.path("etc/sensor.toml"), config).unwrap();
    let (mut log, into) = std::io::pipe().unwrap();
    let mut filling = into.try_clone().unwrap();
    let sensor = Command::new("ip")
        .args(["netns", "exec", &confined.namespace, env!("CARGO_BIN_EXE_sensor"), "run", "--config"])
        .arg(confined.path("etc/sensor.toml"))
        .stdout(Stdio::null())
        .stderr(into)
        .spawn();
    confined.sensor = Some(sensor.unwrap());
    let mut said = Vec::new();
    while !String::from_utf8_lossy(&said).contains("\"capturing\"") {
        let mut part = [0; 4_096];
        let len = std::io::Read::read(&mut log, &mut part).unwrap();
        said.extend_from_slice(&part[..len]);
    }
    // From here on there is no room in it; this end must not wait for any either.
    let full = std::thread::spawn(move || {
        let _ = std::io::Write::write_all(&mut filling, &[b'.'; 1 << 20]);
    });
    sleep(Duration::from_millis(300));
    confined.within("ip link set two down");
    sleep(Duration::from_millis(1_000));
    confined.within("ip link set two up");
    sleep(Duration::from_millis(2_500));
    // Far more than the ring has room for.
    for _ in 0..4 {
        confined.send("one", 15_000);
    }
    // Somebody takes the log again, and the status is told again.
    let reader = std::thread::spawn(move || {
        let mut rest = String::new();
        let _ = std::io::Read::read_to_string(&mut log, &mut rest);
        rest
    });
    confined.wait_for_frames("two", 60_000);
    let metrics = confined.ask("/metrics");
    assert!(metrics.contains("sensor_source_kernel_drops_total{source=\"two\"} 0"), "{metrics}");
    confined.signal("SIGTERM");
    confined.sensor.take().unwrap().wait().unwrap();
    full.join().unwrap();
    let rest = reader.join().unwrap();
    assert!(rest.contains("two is gone: it is down") && rest.contains("\"capturing\",\"source\":\"two\""), "{rest}");
}

/// A start once emptied the file: a sensor that was started again after a failure deleted all that was written before.
#[test]
fn a_file_of_records_is_gone_on_with_and_left_when_it_was_moved() {
    let Some(mut confined) = Confined::new("app") else { return };
    let (folder, served) = (confined.path("out"), confined.path("served"));
    for folder in [&folder, &served] {
        fs::create_dir(folder).unwrap();
    }
    std::os::unix::fs::chown(&folder, Some(NOBODY), Some(NOBODY)).unwrap();
    let (file, moved) = (folder.join("records.ndjson"), folder.join("records.ndjson.1"));
    let config = format!(
        "output = '{}'\n[[capture]]\ninterface = 'lo'\n[privileges]\nuser = '{NOBODY}'\n[status]\nenabled = false\n",
        file.display()
    );
    let _server =
        confined.spawn(&format!("python3 -m http.server 8000 --bind 127.0.0.1 --directory {}", served.display()));
    let end = Instant::now() + Duration::from_secs(40);
    let lines = |file: &PathBuf| -> Vec<String> {
        let text = fs::read_to_string(file).unwrap_or_default();
        text.lines().map(|line| line.split("\"target\":\"/").nth(1).unwrap()[..3].to_owned()).collect()
    };
    let ask = |confined: &Confined, name: &str| {
        let url = format!("http://127.0.0.1:8000/{name}");
        while !run("ip", &["netns", "exec", &confined.namespace, "curl", "-s", "-m", "2", "-o", "/dev/null", &url]) {
            assert!(Instant::now() < end, "the server does not answer");
        }
        while lines(&file).last().is_none_or(|last| last != name) {
            assert!(Instant::now() < end, "{name} is not in {:?}\n{}", lines(&file), confined.said());
            sleep(Duration::from_millis(50));
        }
    };
    confined.start(&config);
    ask(&confined, "one");
    // As a crash leaves it.
    let mut killed = confined.sensor.take().unwrap();
    killed.kill().unwrap();
    killed.wait().unwrap();
    let mut text = fs::read_to_string(&file).unwrap();
    text.push_str("{\"id\":\"half");
    fs::write(&file, text).unwrap();
    confined.start(&config);
    ask(&confined, "two");
    assert_eq!(lines(&file), ["one", "two"]);
    assert!(confined.said().contains("11 bytes are taken off"), "{}", confined.said());
    // The user may make a file in the folder, which is open to it.
    fs::rename(&file, &moved).unwrap();
    confined.signal("SIGHUP");
    confined.wait_for("records go to a new file of that name");
    ask(&confined, "six");
    assert_eq!((lines(&moved), lines(&file)), (vec!["one".to_owned(), "two".to_owned()], vec!["six".to_owned()]));
    assert_eq!(fs::metadata(&file).unwrap().uid(), NOBODY);
    confined.stop();
}

/// It ended without a word of what it cost.
#[test]
fn a_second_signal_ends_it_at_once_and_says_so() {
    let Some(mut confined) = Confined::new("sec") else { return };
    // More than the pipe has room for, on its way to a reader.
    let before = "mkfifo \"$1.pipe\" && { sleep 60 <\"$1.pipe\" & exec >\"$1.pipe\"; }";
    confined.start_after(before, "output = '-'\n[[capture]]\ninterface = 'lo'\n[status]\nenabled = false\n");
    let served = confined.path("served");
    fs::create_dir(&served).unwrap();
    fs::write(served.join("large"), vec![b'x'; 600_000]).unwrap();
    let _server =
        confined.spawn(&format!("python3 -m http.server 8000 --bind 127.0.0.1 --directory {}", served.display()));
    let end = Instant::now() + Duration::from_secs(20);
    let mut fetched = 0;
    while fetched < 3 {
        assert!(Instant::now() < end, "the server does not answer");
        let url = "http://127.0.0.1:8000/large";
        fetched += u32::from(run("ip", &["netns", "exec", &confined.namespace, "curl", "-sf", "-m", "2", url]));
    }
    // A reader who takes a little now and then: the stop takes its time.
    let pipe = confined.path("etc/sensor.toml.pipe").display().to_string();
    let slow = format!("import os, time\nf = os.open('{pipe}', os.O_RDONLY)\nwhile os.read(f, 4096): time.sleep(.4)");
    let _slow = Killed(Command::new("python3").args(["-c", &slow]).spawn().unwrap());
    sleep(Duration::from_millis(500));
    confined.signal("SIGTERM");
    sleep(Duration::from_millis(1_300));
    confined.signal("SIGTERM");
    let status = confined.sensor.take().unwrap().wait().unwrap();
    let said = confined.said();
    assert_eq!(status.code(), Some(130), "{said}");
    assert!(said.contains("a second signal ends it at once, without the ledger"), "{said}");
    assert!(!said.contains("\"balanced\""), "{said}");
}

/// An interface that was up for less than the second until the next try left its frames in the ring, uncounted, for as long as
/// it was down then.
#[test]
fn frames_of_a_moment_between_two_losses_are_taken_at_once() {
    for (name, section, up) in [("mom", "interface = 'two'", "up"), ("mop", "interface = 'tw*'\nspare = 0", "up, two")]
    {
        let Some(mut confined) = Confined::new(name) else { return };
        confined.start(&format!("output = '/dev/null'\n[[capture]]\n{section}\nfilter = 'ether proto 0x88b5'\n"));
        let source = confined.source_at("two");
        for round in 1..=2 {
            confined.within("ip link set two down");
            confined.wait_for_times("two is gone: it is down", round);
            confined.within("ip link set two up");
            confined.send("one", 300);
            confined.within("ip link set two down");
            confined.wait_for_frames(&source, 300 * round as u64);
            confined.within("ip link set two up");
            confined.wait_for_readiness(&source, &format!("+ source {source}: {up}"));
        }
        let said = confined.stop();
        assert!(said.contains("\"received\":{\"dropped\":{\"abandoned\":0,\"kernel\":0},\"frames\":600"), "{said}");
    }
}

/// `check` was content with files that a start can read, as root, and no reload.
#[test]
fn check_tells_of_files_that_only_a_start_can_read() {
    let Some(confined) = Confined::new("hup") else { return };
    let (config, key) = (confined.path("check.toml"), confined.path("mask.key"));
    let text = format!(
        "mask.key_file = '{}'\n[privileges]\nuser = '{NOBODY}'\n[[capture]]\ninterface = 'two'\n",
        key.display()
    );
    fs::write(&config, text).unwrap();
    fs::write(&key, [7; 32]).unwrap();
    let check = |config_mode: u32, key_mode: u32| {
        fs::set_permissions(&config, fs::Permissions::from_mode(config_mode)).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(key_mode)).unwrap();
        let output =
            Command::new(env!("CARGO_BIN_EXE_sensor")).args(["check", "--config"]).arg(&config).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let said = check(0o644, 0o604);
    assert!(!said.contains("SIGHUP") && said.contains("tried as privileges.user"), "{said}");
    for (modes, file) in [((0o600, 0o604), "check.toml"), ((0o644, 0o600), "mask.key")] {
        let said = check(modes.0, modes.1);
        let warning = said.split("warn  ").nth(1).unwrap_or_default();
        assert!(warning.contains("every SIGHUP") && warning.contains(file), "{said}");
    }
}

/// A listener on a group's address never joined it, and waited for ever.
#[test]
fn a_listener_on_a_group_joins_it() {
    let Some(mut confined) = Confined::new("grp") else { return };
    let config = "output = '/dev/null'\n[[capture]]\nlisten = '239.7.7.7:4789'\nencapsulation = 'vxlan'\n";
    fs::write(confined.path("group.toml"), config).unwrap();
    let output = Command::new("ip")
        .args(["netns", "exec", &confined.namespace, env!("CARGO_BIN_EXE_sensor"), "run", "--config"])
        .arg(confined.path("group.toml"))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("239.7.7.7:4789") && said.contains("ip route add GROUP dev INTERFACE"), "{said}");
    confined.within("ip link set lo multicast on");
    confined.within("ip route add 239.0.0.0/8 dev lo");
    confined.start(config);
    let program = "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
                   for _ in range(3): s.sendto(bytes(64), ('239.7.7.7', 4789))";
    assert!(run("ip", &["netns", "exec", &confined.namespace, "python3", "-c", program]));
    confined.wait_for_frames("239.7.7.7:4789", 3);
    confined.stop();
}

/// Of an interface that was made again nothing came any more, and nobody said so.
#[test]
fn a_group_is_joined_again_when_its_interface_is_made_again() {
    let Some(mut confined) = Confined::new("grq") else { return };
    let source = "239.7.7.7:4789";
    let make = |confined: &Confined| {
        for line in [
            "ip link add name grp0 type veth peer name grp1",
            "ip addr add 10.77.0.1/24 dev grp0",
            "ip link set grp0 up",
            "ip link set grp1 up",
            "ip route add 239.7.7.7/32 dev grp0",
        ] {
            confined.within(line);
        }
    };
    let send_until_it_comes = |confined: &Confined| {
        // What came before is told within half a second.
        sleep(Duration::from_millis(1_200));
        let (before, end) = (confined.frames(source), Instant::now() + Duration::from_secs(15));
        let program =
            "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(bytes(64), ('239.7.7.7', 4789))";
        while confined.frames(source) == before {
            assert!(Instant::now() < end, "nothing comes:\n{}", confined.said());
            assert!(run("ip", &["netns", "exec", &confined.namespace, "python3", "-c", program]));
            sleep(Duration::from_millis(200));
        }
    };
    make(&confined);
    confined.start(&format!(
        "output = '/dev/null'\n[[capture]]\nlisten = '{source}'\nencapsulation = 'vxlan'\n[privileges]\nuser = '{NOBODY}'\n"
    ));
    send_until_it_comes(&confined);
    // As soon as it went.
    confined.within("ip link del grp0");
    make(&confined);
    send_until_it_comes(&confined);
    // Away for longer it is a source that is down.
    confined.within("ip link del grp0");
    confined.wait_for("UDP 239.7.7.7:4789 is gone: no interface is there any more on which its group can be joined");
    confined.wait_for_readiness(source, &format!("- source {source}: down"));
    make(&confined);
    confined.wait_for_readiness(source, &format!("+ source {source}: up"));
    send_until_it_comes(&confined);
    confined.stop();
}

/// Moved by its target, the file was never made anew.
#[test]
fn a_file_of_records_behind_a_link_is_left_when_it_was_moved() {
    let Some(mut confined) = Confined::new("lnk") else { return };
    let (data, links) = (confined.path("data"), confined.path("links"));
    for folder in [&data, &links] {
        fs::create_dir(folder).unwrap();
    }
    let (file, link) = (data.join("r.ndjson"), links.join("r.ndjson"));
    fs::write(&file, "").unwrap();
    symlink("../data/r.ndjson", &link).unwrap();
    confined.start(&format!("output = '{}'\n[[capture]]\ninterface = 'lo'\n", link.display()));
    fs::rename(&file, data.join("r.ndjson.1")).unwrap();
    confined.signal("SIGHUP");
    confined.wait_for("records go to a new file of that name");
    assert!(file.exists());
    confined.stop();
}

/// The start was refused for what only a file that is moved would need.
#[test]
fn a_file_of_records_that_its_user_cannot_get_to_is_written() {
    let Some(mut confined) = Confined::new("dee") else { return };
    let folder = confined.path("root/logs");
    fs::create_dir_all(&folder).unwrap();
    fs::set_permissions(confined.path("root"), fs::Permissions::from_mode(0o700)).unwrap();
    let file = folder.join("r.ndjson");
    confined.start(&format!(
        "output = '{}'\n[[capture]]\ninterface = 'lo'\n[privileges]\nuser = '{NOBODY}'\n",
        file.display()
    ));
    let said = confined.stop();
    assert!(said.contains("the sensor's user cannot get to") && said.contains("root/logs"), "{said}");
}

/// Deaf to SIGTERM, it waited for whoever reads from the pipe.
#[test]
fn a_pipe_that_nobody_reads_keeps_neither_the_start_nor_the_stop() {
    let Some(mut confined) = Confined::new("ffo") else { return };
    let pipe = confined.path("pipe");
    assert!(run("mkfifo", &[pipe.to_str().unwrap()]));
    confined.start(&format!(
        "output = '{}'\n[[capture]]\ninterface = 'lo'\n[privileges]\nuser = '{NOBODY}'\n",
        pipe.display()
    ));
    confined.wait_for_readiness("lo", "+ source lo: up");
    assert!(confined.stop().contains("is a pipe that nobody reads from yet"));
}

/// Without a right the kernel gives a socket the buffer that the system allows, and says nothing.
#[test]
fn a_buffer_that_is_smaller_than_asked_for_is_told() {
    for (name, is_told, wrap) in [
        ("buf", true, "exec setpriv --inh-caps=-net_admin --bounding-set=-net_admin \"$0\" run --config \"$1\""),
        ("bug", false, "true"),
    ] {
        let Some(mut confined) = Confined::new(name) else { return };
        let config = "output = '/dev/null'\n[[capture]]\nlisten = '127.0.0.1:4789'\nencapsulation = 'vxlan'\nring = '1GiB'\nthreads = 2\n";
        confined.start_after(wrap, config);
        let said = confined.stop();
        assert_eq!(said.matches("and not 1G").count(), usize::from(is_told), "{said}");
        assert_eq!(said.contains("sysctl -w net.core.rmem_max=1073741824"), is_told, "{said}");
    }
}
