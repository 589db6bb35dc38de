//! `sensor run` on a real kernel: client and server in network namespaces, what they say to each other mirrored to a third,
//! where the sensor captures. Every request that the server logged must be recorded, once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Requests of each test.
const REQUESTS: usize = 60;

/// Client and server, each in a namespace, on a veth; and a namespace for the sensor, on another from the server's.
struct Topology {
    name: &'static str,
    folder: TempDir,
    nginx: Option<Child>,
}

impl Topology {
    /// `None`, said aloud, where this process may not make namespaces or there is no nginx.
    fn new(name: &'static str) -> Option<Self> {
        let topology = Self { name, folder: tempfile::tempdir().unwrap(), nginx: None };
        if !run("ip", &["netns", "add", &topology.namespace("c")]) {
            eprintln!("skipped: no right to make network namespaces here (run as root)");
            return None;
        }
        if !["nginx", "curl", "tc"].iter().all(|tool| run("sh", &["-c", &format!("command -v {tool}")])) {
            eprintln!("skipped: nginx, curl and tc are needed");
            return None;
        }
        let (c, s, m) = (topology.namespace("c"), topology.namespace("s"), topology.namespace("m"));
        for namespace in [&s, &m] {
            assert!(run("ip", &["netns", "add", namespace]));
        }
        for namespace in [&c, &s, &m] {
            topology
                .within(namespace, "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1");
            topology.within(namespace, "ip link set lo up");
        }
        topology.within(&s, &format!("ip link add srv type veth peer name cli netns {c}"));
        topology.within(&s, &format!("ip link add out type veth peer name mir netns {m}"));
        topology.within(&s, &format!("ip link add out2 type veth peer name mir2 netns {m}"));
        topology.within(&c, "ip addr add 10.77.0.1/24 dev cli");
        topology.within(&s, "ip addr add 10.77.0.2/24 dev srv");
        topology.within(&s, "ip addr add 10.78.0.1/24 dev out");
        topology.within(&m, "ip addr add 10.78.0.2/24 dev mir");
        topology.within(&c, "ip link set cli up");
        for device in ["srv", "out", "out2"] {
            topology.within(&s, &format!("ip link set {device} up"));
        }
        for device in ["mir", "mir2"] {
            topology.within(&m, &format!("ip link set {device} up"));
        }
        // No address resolution: whatever the sensor's side sends is then an answer to a mirror, which is not to be.
        topology.within(&m, "ip link set mir address 02:00:00:00:00:09");
        topology.within(&s, "ip neigh replace 10.78.0.2 lladdr 02:00:00:00:00:09 dev out nud permanent");
        Some(topology.serve())
    }

    fn namespace(&self, part: &str) -> String {
        format!("sntrun-{}-{part}", self.name)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn within(&self, namespace: &str, line: &str) {
        let words: Vec<&str> = ["netns", "exec", namespace].into_iter().chain(line.split(' ')).collect();
        assert!(run("ip", &words), "{line} in {namespace}");
    }

    fn serve(mut self) -> Self {
        let at = self.folder.path().display();
        let text = format!(
            "user root; daemon off; worker_processes 1; pid {at}/nginx.pid; error_log {at}/error.log;\n\
             events {{}}\nhttp {{ log_format one '$request_uri'; access_log {at}/access.log one;\n\
             client_body_temp_path {at}; proxy_temp_path {at}; fastcgi_temp_path {at}; uwsgi_temp_path {at}; scgi_temp_path {at};\n\
             server {{ listen 10.77.0.2:80; location / {{ return 200 'hello'; }} }} }}\n"
        );
        fs::write(self.path("nginx.conf"), text).unwrap();
        let nginx = Command::new("ip")
            .args(["netns", "exec", &self.namespace("s"), "nginx", "-c"])
            .arg(self.path("nginx.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.nginx = Some(nginx.unwrap());
        let end = Instant::now() + Duration::from_secs(10);
        while !self.path("nginx.pid").exists() {
            assert!(Instant::now() < end, "nginx does not start");
            sleep(Duration::from_millis(20));
        }
        self
    }

    /// Mirrors a direction of the server's interface to `to`.
    fn mirror(&self, direction: &str, to: &str) {
        let s = self.namespace("s");
        self.within(
            &s,
            &format!(
                "tc filter add dev srv {direction} protocol ip prio 1 u32 match u32 0 0 action mirred egress mirror dev {to}"
            ),
        );
    }

    fn mirror_ready(&self) {
        self.within(&self.namespace("s"), "tc qdisc add dev srv clsact");
    }

    /// A VXLAN device of the server's kernel, toward the sensor's address.
    fn tunnel(&self) {
        let s = self.namespace("s");
        self.within(&s, "ip link add vx type vxlan id 4711 remote 10.78.0.2 dstport 4789 dev out");
        self.within(&s, "ip link set vx up");
        self.mirror_ready();
        self.mirror("ingress", "vx");
        self.mirror("egress", "vx");
    }

    fn sent(&self, device: &str) -> u64 {
        let file = format!("/sys/class/net/{device}/statistics/tx_packets");
        // A namespace's own view of sysfs comes with `ip netns exec`.
        let line = Command::new("ip").args(["netns", "exec", &self.namespace("m"), "cat", &file]).output().unwrap();
        String::from_utf8(line.stdout).unwrap().trim().parse().unwrap()
    }

    fn request(&self) {
        // Half of them on one connection, half on one each.
        let half = REQUESTS / 2;
        let curl = |url: &str| {
            let line = format!("curl -sS -m 20 -o /dev/null {url}");
            self.within(&self.namespace("c"), &line);
        };
        curl(&format!("http://10.77.0.2/kept/[1-{half}]"));
        for number in 0..half {
            curl(&format!("http://10.77.0.2/alone/{number}"));
        }
    }

    /// Runs the sensor in `part`'s namespace while requests are made; gives what it recorded after all is checked.
    fn check(&self, part: &str, captures: &str, quiet_device: Option<&str>) {
        let records = self.path("records.ndjson");
        let text = format!(
            "output = '{}'\nworkers = 1\nledger = 'json'\n[status]\nlisten = '127.0.0.1:9600'\n{captures}",
            records.display()
        );
        fs::write(self.path("sensor.toml"), text).unwrap();
        let before = quiet_device.map(|device| self.sent(device));
        let said = fs::File::create(self.path("said")).unwrap();
        let mut sensor = Command::new("ip")
            .args(["netns", "exec", &self.namespace(part), env!("CARGO_BIN_EXE_sensor"), "run", "--config"])
            .arg(self.path("sensor.toml"))
            .stderr(said)
            .spawn()
            .unwrap();
        let end = Instant::now() + Duration::from_secs(15);
        while !self.said().contains("\"capturing\"") {
            assert!(Instant::now() < end && sensor.try_wait().unwrap().is_none(), "{}", self.said());
            sleep(Duration::from_millis(20));
        }
        self.request();
        self.within(&self.namespace(part), "curl -sSf -m 5 -o /dev/null http://127.0.0.1:9600/healthz");
        self.within(&self.namespace(part), "curl -sSf -m 5 -o /dev/null http://127.0.0.1:9600/readyz");
        if let (Some(device), Some(before)) = (quiet_device, before) {
            assert_eq!(self.sent(device), before, "a capture interface transmits nothing");
        }
        // `ip netns exec` becomes the program: this is the sensor's own id.
        let asked = Instant::now();
        assert!(run("kill", &["-TERM", &sensor.id().to_string()]));
        let status = sensor.wait().unwrap();
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        assert_eq!(status.code(), Some(0), "{}", self.said());
        self.check_ledger();
        assert_eq!(recorded(&records), logged(&self.path("access.log")), "{}", self.said());
    }

    fn check_ledger(&self) {
        let said = self.said();
        let ledger = said.lines().find(|line| line.starts_with('{') && line.contains("\"balanced\"")).unwrap();
        let ledger: serde_json::Value = serde_json::from_str(ledger).unwrap();
        assert_eq!(ledger["balanced"], true, "{said}");
        assert_eq!(ledger["received"]["total"], ledger["received"]["frames"], "nothing dropped or left: {said}");
    }

    fn said(&self) -> String {
        fs::read_to_string(self.path("said")).unwrap_or_default()
    }
}

impl Drop for Topology {
    fn drop(&mut self) {
        if let Some(mut nginx) = self.nginx.take() {
            run("kill", &["-QUIT", &nginx.id().to_string()]);
            let _ = nginx.wait();
        }
        for part in ["c", "s", "m"] {
            run("ip", &["netns", "del", &self.namespace(part)]);
        }
    }
}

fn run(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

/// The paths that nginx logged, sorted.
fn logged(file: &Path) -> Vec<String> {
    let mut paths: Vec<String> = fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect();
    paths.sort();
    assert_eq!(paths.len(), REQUESTS);
    paths
}

/// The paths of the records, sorted.
fn recorded(file: &Path) -> Vec<String> {
    let path = |line: &str| {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        record.pointer("/request/target").and_then(|target| target.as_str()).unwrap_or(line).to_owned()
    };
    let mut paths: Vec<String> = fs::read_to_string(file).unwrap().lines().map(path).collect();
    paths.sort();
    paths
}

#[test]
fn plain_frames_on_the_servers_interface() {
    let Some(topology) = Topology::new("spn") else { return };
    topology.check("s", "[[capture]]\ninterface = 'srv'\nrequired = true\n", None);
}

#[test]
fn a_vxlan_mirror_onto_an_interface() {
    let Some(topology) = Topology::new("vxl") else { return };
    topology.tunnel();
    topology.check("m", "[[capture]]\ninterface = 'mir'\nfilter = 'udp port 4789'\n", Some("mir"));
}

#[test]
fn a_vxlan_mirror_to_a_socket() {
    let Some(topology) = Topology::new("udp") else { return };
    topology.tunnel();
    topology.check("m", "[[capture]]\nlisten = '0.0.0.0:4789'\nencapsulation = 'vxlan'\n", None);
}

#[test]
fn a_breakout_tap_of_two_interfaces() {
    let Some(topology) = Topology::new("tap") else { return };
    topology.mirror_ready();
    topology.mirror("ingress", "out");
    topology.mirror("egress", "out2");
    topology.check("m", "[[capture]]\ninterface = 'mir'\n[[capture]]\ninterface = 'mir2'\n", Some("mir2"));
}
