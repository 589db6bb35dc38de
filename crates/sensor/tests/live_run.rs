//! `sensor run` on a real kernel: client and server in network namespaces, what they say to each other mirrored to a third,
//! where the sensor captures and a collector takes what it sends. Every request that client and server logged must be stored
//! there, once.

mod upload_support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use collector::{Collector, Filter, Order, Page};
use tempfile::TempDir;
use upload_support::Site;

/// Requests of each test.
const REQUESTS: usize = 60;

/// Client and server, each in a namespace, on a veth; and a namespace for the sensor, on another from the server's.
struct Topology {
    name: String,
    folder: TempDir,
    nginx: Option<Child>,
    site: Site,
    workers: usize,
    /// Who starts the sensor; root if it is nobody else.
    user: Option<u32>,
}

impl Topology {
    /// `None`, said aloud, where this process may not make namespaces or there is no nginx.
    fn new(name: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let topology = Self { name: name.to_owned(), folder, nginx: None, site: Site::new(), workers: 1, user: None };
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
        // Nothing larger than a frame: what re-encapsulates takes frames as they are on a wire.
        for (namespace, device) in [(&c, "cli"), (&s, "srv")] {
            topology.within(namespace, &format!("ip link set {device} gso_max_segs 1"));
        }
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
        let (at, hello) = (self.folder.path().display(), "hello ".repeat(150));
        let text = format!(
            "user root; daemon off; worker_processes 1; pid {at}/nginx.pid; error_log {at}/error.log;\n\
             events {{}}\nhttp {{ log_format one '$request_uri'; access_log {at}/access.log one;\n\
             client_body_temp_path {at}; proxy_temp_path {at}; fastcgi_temp_path {at}; uwsgi_temp_path {at}; scgi_temp_path {at};\n\
             server {{ listen 10.77.0.2:80; location / {{ return 200 '{hello}'; }} }}\n\
             server {{ listen 127.0.0.1:3128; access_log {at}/proxy.log one; location / {{ return 405; }} }} }}\n"
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
        self.tunnel_by("type vxlan id 4711 remote 10.78.0.2 dstport 4789 dev out");
    }

    /// The same of any kind.
    fn tunnel_by(&self, device: &str) {
        let s = self.namespace("s");
        self.within(&s, &format!("ip link add vx {device}"));
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

    /// As a load balancer does that has a server of its own behind it: with the client's address.
    fn request(&self, from: &str) {
        // Half of them on one connection, half on one each.
        let half = REQUESTS / 2;
        let mut said = String::new();
        let mut curl = |url: &str| {
            let output = Command::new("ip")
                .args(["netns", "exec", &self.namespace(from), "curl", "-sS", "-m", "20", "-o", "/dev/null"])
                .args(["-H", "X-Forwarded-For: 203.0.113.9", "-w", "%{http_code} %{url_effective}\n", url])
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            said += std::str::from_utf8(&output.stdout).unwrap();
        };
        curl(&format!("http://10.77.0.2/kept/[1-{half}]"));
        for number in 0..half {
            curl(&format!("http://10.77.0.2/alone/{number}"));
        }
        fs::write(self.path("client.log"), said.replace("200 http://10.77.0.2", "")).unwrap();
    }

    /// A collector beside the sensor, as the platform is.
    fn collector(&self, part: &str) -> Collector {
        let namespace = format!("/run/netns/{}", self.namespace(part));
        std::thread::scope(|scope| {
            // Its threads are in the namespace of the one that starts them.
            let start = || {
                nix::sched::setns(fs::File::open(namespace).unwrap(), nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
                self.site.collector()
            };
            scope.spawn(start).join().unwrap()
        })
    }

    /// Runs the sensor in `part`'s namespace while requests are made; compares what the collector stored with what curl and
    /// nginx logged.
    fn check(&self, part: &str, captures: &str, quiet_device: Option<&str>) -> Checked {
        self.check_from("c", part, captures, quiet_device)
    }

    fn check_from(&self, client: &str, part: &str, captures: &str, quiet_device: Option<&str>) -> Checked {
        let checked = self.compare(part, captures, quiet_device, || self.request(client));
        let server = logged(&self.path("access.log"));
        assert_eq!(server.len(), REQUESTS);
        assert_eq!(logged(&self.path("client.log")), server, "the client's log");
        checked
    }

    /// The same, while `work` is done.
    fn compare(&self, part: &str, captures: &str, quiet_device: Option<&str>, work: impl FnOnce()) -> Checked {
        let drops = backlog_drops();
        let collector = self.collector(part);
        let upload = self.site.configuration("platform", collector.address().port(), |text| {
            text.replace("records = 50\nage = \"5s\"", "records = 1000\nage = \"200ms\"")
        });
        let sections = format!("{captures}{}", fs::read_to_string(upload).unwrap());
        let stored = || collector.stats().records as usize;
        let ledger = self.observe(part, &sections, quiet_device, || {
            work();
            let end = Instant::now() + Duration::from_secs(20);
            while stored() < logged(&self.path("access.log")).len() && Instant::now() < end {
                sleep(Duration::from_millis(50));
            }
        });
        assert_eq!(
            ledger["received"]["total"],
            ledger["received"]["frames"],
            "nothing dropped or left: {}",
            self.said()
        );
        let mut page = Page { limit: 1_000, order: Order::Oldest, after: None, records: true };
        let (mut paths, mut records) = (Vec::new(), Vec::new());
        loop {
            let listing = collector.store().unwrap().transactions(&Filter::default(), &page).unwrap();
            for stored in listing.transactions {
                paths.push(stored.summary.path.unwrap_or_default());
                records.push(stored.record);
            }
            page.after = listing.next;
            if page.after.is_none() {
                break;
            }
        }
        paths.sort();
        let server = logged(&self.path("access.log"));
        // What the kernel drops between the interfaces, when this machine has too much else to do, nobody can capture.
        if paths != server && backlog_drops() > drops {
            eprintln!("not compared: the kernel's queue in front of the interfaces was full");
            return Checked { ledger, records };
        }
        let missing: Vec<_> = server.iter().filter(|path| paths.binary_search(path).is_err()).collect();
        assert!(missing.is_empty(), "{} of {} are missing: {ledger}, {missing:?}", missing.len(), server.len());
        assert_eq!(paths, server, "{}", self.said());
        let stats = collector.shutdown();
        assert_eq!((stats.duplicates, stats.records), (0, paths.len() as u64), "no record came twice");
        assert_eq!(ledger["records"]["accepted"], paths.len(), "{ledger}");
        Checked { ledger, records }
    }

    /// Runs the sensor in `part`'s namespace while `work` is done; gives its ledger.
    fn observe(
        &self,
        part: &str,
        settings: &str,
        quiet_device: Option<&str>,
        work: impl FnOnce(),
    ) -> serde_json::Value {
        let before = quiet_device.map(|device| self.sent(device));
        let sensor = self.start(part, settings);
        work();
        self.within(&self.namespace(part), "curl -sSf -m 5 -o /dev/null http://127.0.0.1:9600/healthz");
        self.within(&self.namespace(part), "curl -s -m 5 -o /dev/null http://127.0.0.1:9600/readyz");
        if let (Some(device), Some(before)) = (quiet_device, before) {
            assert_eq!(self.sent(device), before, "a capture interface transmits nothing");
        }
        // What stands in for a mirror is a program that takes its time.
        sleep(Duration::from_millis(100));
        self.end(sensor)
    }

    fn start(&self, part: &str, settings: &str) -> Killed {
        let general = format!("workers = {}\nledger = 'json'\n[status]\nlisten = '127.0.0.1:9600'\n", self.workers);
        // What is of no section comes first.
        let (top, sections) = settings.split_at(settings.find('[').unwrap());
        fs::write(self.path("sensor.toml"), format!("{top}{general}{sections}")).unwrap();
        let said = fs::File::create(self.path("said")).unwrap();
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(part)]);
        if let Some(user) = self.user {
            let user = user.to_string();
            command.args(["setpriv", "--reuid", &user, "--regid", &user, "--clear-groups", "--inh-caps=-all", "--"]);
        }
        let sensor = command
            .arg(self.program())
            .args(["run", "--config"])
            .arg(self.path("sensor.toml"))
            .stdout(Stdio::null())
            .stderr(said)
            .spawn();
        let mut sensor = Killed(sensor.unwrap());
        let end = Instant::now() + Duration::from_secs(15);
        while !self.said().contains("\"capturing\"") {
            assert!(Instant::now() < end && sensor.0.try_wait().unwrap().is_none(), "{}", self.said());
            sleep(Duration::from_millis(20));
        }
        sensor
    }

    /// The program, where whoever starts it can reach it.
    fn program(&self) -> PathBuf {
        let built = PathBuf::from(env!("CARGO_BIN_EXE_sensor"));
        if self.user.is_none() {
            return built;
        }
        let copy = self.path("sensor");
        fs::copy(built, &copy).unwrap();
        copy
    }

    /// Has the sensor end; gives its ledger.
    fn end(&self, mut sensor: Killed) -> serde_json::Value {
        // `ip netns exec` becomes the program: this is the sensor's own id.
        fixtures::signal(sensor.0.id(), "SIGTERM");
        let status = sensor.0.wait().unwrap();
        // 1, if it took longer than it may.
        assert_eq!(status.code(), Some(0), "{}", self.said());
        let said = self.said();
        let ledger = said.lines().find(|line| line.starts_with('{') && line.contains("\"balanced\"")).unwrap();
        let ledger: serde_json::Value = serde_json::from_str(ledger).unwrap();
        assert_eq!(ledger["balanced"], true, "{said}");
        ledger
    }

    fn said(&self) -> String {
        fs::read_to_string(self.path("said")).unwrap_or_default()
    }
}

impl Drop for Topology {
    fn drop(&mut self) {
        if let Some(mut nginx) = self.nginx.take() {
            fixtures::signal(nginx.id(), "SIGQUIT");
            let _ = nginx.wait();
        }
        for part in ["c", "s", "m"] {
            run("ip", &["netns", "del", &self.namespace(part)]);
        }
    }
}

/// A program that does not outlive a test that fails.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the sensor counted and the collector stored.
struct Checked {
    ledger: serde_json::Value,
    records: Vec<String>,
}

/// Copies the frames of the server's interface onto the mirror's, as something other than this kernel would send them.
struct Mirror {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Where the mirror's interface is.
const SENSOR: [u8; 6] = [2, 0, 0, 0, 0, 9];
/// The outer addresses.
const FROM: [u8; 4] = [10, 78, 0, 1];
const TO: [u8; 4] = [10, 78, 0, 2];

impl Mirror {
    /// `wrap` makes the frame that is sent of one that was seen.
    fn start(topology: &Topology, wrap: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let namespace = format!("/run/netns/{}", topology.namespace("s"));
        let (over, (ready, opened)) = (Arc::clone(&stop), mpsc::channel());
        let thread = std::thread::spawn(move || {
            // A socket stays in the namespace in which it was made, and a thread is in one of its own.
            nix::sched::setns(fs::File::open(namespace).unwrap(), nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            let open = |device: &str| {
                let inactive = pcap::Capture::from_device(device).unwrap().promisc(true);
                let inactive = inactive.snaplen(4_096).buffer_size(32 << 20);
                inactive.immediate_mode(true).timeout(10).open().unwrap()
            };
            let (mut seen, mut out) = (open("srv").setnonblock().unwrap(), open("out"));
            ready.send(()).unwrap();
            while !over.load(Ordering::Relaxed) {
                match seen.next_packet() {
                    Ok(packet) => out.sendpacket(wrap(packet.data)).unwrap(),
                    Err(_) => sleep(Duration::from_millis(1)),
                }
            }
        });
        opened.recv().unwrap();
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// An Ethernet frame to the sensor.
fn ethernet(protocol: u16, content: &[u8]) -> Vec<u8> {
    [&SENSOR[..], &[2, 0, 0, 0, 0, 8], &protocol.to_be_bytes(), content].concat()
}

/// The same with an IPv4 header, its checksum included, in front.
fn in_ip(protocol: u8, content: &[u8]) -> Vec<u8> {
    let builder = etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 8], SENSOR).ip(etherparse::IpHeaders::Ipv4(
        etherparse::Ipv4Header::new(content.len() as u16, 64, etherparse::IpNumber(protocol), FROM, TO).unwrap(),
        etherparse::Ipv4Extensions::default(),
    ));
    let mut frame = Vec::new();
    builder.write(&mut frame, etherparse::IpNumber(protocol), content).unwrap();
    frame
}

fn run(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

/// Frames that found no room in the queues between interfaces (the second column of each processor's line).
fn backlog_drops() -> u64 {
    let table = fs::read_to_string("/proc/net/softnet_stat").unwrap();
    let dropped = |line: &str| u64::from_str_radix(line.split(' ').nth(1)?, 16).ok();
    table.lines().filter_map(dropped).sum()
}

/// The paths of a log, sorted.
fn logged(file: &Path) -> Vec<String> {
    let mut paths: Vec<String> = fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect();
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
    let Checked { ledger, records } =
        topology.check("m", "[[capture]]\ninterface = 'mir'\nfilter = 'udp port 4789'\n", Some("mir"));
    assert!(ledger["tunnels"]["vxlan"].as_u64().unwrap() >= 4 * REQUESTS as u64, "{ledger}");
    assert!(records.iter().all(|record| record.contains("4711")), "the network's id: {}", records[0]);
}

/// Many connections at once, whose segments go to two workers.
#[test]
fn a_load_by_wrk_on_two_workers() {
    let Some(mut topology) = Topology::new("wrk") else { return };
    if !run("sh", &["-c", "command -v wrk"]) {
        eprintln!("skipped: wrk is needed");
        return;
    }
    topology.workers = 2;
    topology.tunnel();
    let script = topology.path("each.lua");
    // Every request has a path of its own; and a build without optimization is to be able to follow on a busy machine.
    let text = "local threads = 0\nfunction setup(thread) threads = threads + 1; thread:set('id', threads) end\n\
                local count = 0\nfunction request() count = count + 1\n\
                return wrk.format('GET', '/wrk/' .. id .. '/' .. count) end\n\
                function delay() return 4 end\n";
    fs::write(&script, text).unwrap();
    let checked = topology.compare("m", "[[capture]]\ninterface = 'mir'\n", Some("mir"), || {
        let line = format!("wrk -t 2 -c 8 -d 2s -s {} http://10.77.0.2", script.display());
        topology.within(&topology.namespace("c"), &line);
        // The last of them are logged when they are answered.
        sleep(Duration::from_millis(300));
    });
    assert!(checked.records.len() > 10 * REQUESTS, "{}", checked.ledger);
}

#[test]
fn a_span_port_that_copies_once() {
    let Some(topology) = Topology::new("spo") else { return };
    topology.mirror_ready();
    topology.mirror("ingress", "out");
    topology.mirror("egress", "out");
    let Checked { ledger, .. } = topology.check("m", "[[capture]]\ninterface = 'mir'\n", Some("mir"));
    assert_eq!(ledger["beside"]["duplicate_segments"], 0, "{ledger}");
}

/// The kernel joins the fragments of what a socket receives.
#[test]
fn a_vxlan_mirror_to_a_socket_whose_copies_do_not_fit() {
    let Some(topology) = Topology::new("udf") else { return };
    topology.tunnel();
    for (part, device) in [("s", "out"), ("m", "mir")] {
        topology.within(&topology.namespace(part), &format!("ip link set {device} mtu 600"));
    }
    let Checked { ledger, .. } =
        topology.check("m", "[[capture]]\nlisten = '0.0.0.0:4789'\nencapsulation = 'vxlan'\nthreads = 2\n", None);
    assert_eq!(ledger["beside"]["datagrams_joined"], 0, "{ledger}");
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

/// The outer packets are IPv6.
#[test]
fn a_vxlan_mirror_over_ipv6() {
    for (name, section) in [("x6i", "interface = 'mir'"), ("x6l", "listen = '[::]:4789'\nencapsulation = 'vxlan'")] {
        let Some(topology) = Topology::new(name) else { return };
        for (part, device, address) in [("s", "out", "fd78::1/64"), ("m", "mir", "fd78::2/64")] {
            let namespace = topology.namespace(part);
            topology.within(&namespace, "sysctl -qw net.ipv6.conf.all.disable_ipv6=0");
            topology.within(&namespace, &format!("sysctl -qw net.ipv6.conf.{device}.disable_ipv6=0"));
            topology.within(&namespace, &format!("ip addr add {address} dev {device} nodad"));
        }
        topology.tunnel_by("type vxlan id 4711 remote fd78::2 dstport 4789 dev out");
        let Checked { ledger, .. } = topology.check("m", &format!("[[capture]]\n{section}\n"), None);
        assert!(ledger["tunnels"]["vxlan"].as_u64().unwrap() >= 4 * REQUESTS as u64, "{ledger}");
    }
}

/// As behind a gateway load balancer: Geneve around the VXLAN of the mirror.
#[test]
fn geneve_around_vxlan_onto_an_interface_and_to_a_socket() {
    for (name, section) in [("gni", "interface = 'mir'"), ("gnl", "listen = '0.0.0.0:6081'\nencapsulation = 'geneve'")]
    {
        let Some(topology) = Topology::new(name) else { return };
        let _mirror = Mirror::start(&topology, |frame| {
            let vxlan = [&[8, 0, 0, 0, 0, 0x12, 0x67, 0], frame].concat();
            let builder = etherparse::PacketBuilder::ipv4([10, 99, 0, 1], [10, 99, 0, 2], 64).udp(40_000, 4_789);
            let mut inner = Vec::new();
            builder.write(&mut inner, &vxlan).unwrap();
            let geneve = [&[0, 0, 0x08, 0, 0, 0, 7, 0], &inner[..]].concat();
            let mut outer = Vec::new();
            let builder = etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 8], SENSOR);
            builder.ipv4(FROM, TO, 64).udp(40_001, 6_081).write(&mut outer, &geneve).unwrap();
            outer
        });
        let Checked { ledger, .. } = topology.check("m", &format!("[[capture]]\n{section}\n"), Some("mir"));
        for tunnel in ["geneve", "vxlan"] {
            assert!(ledger["tunnels"][tunnel].as_u64().unwrap() >= 4 * REQUESTS as u64, "{ledger}");
        }
    }
}

#[test]
fn a_required_interface_that_is_missing_ends_the_start_and_another_does_not() {
    let Some(topology) = Topology::new("mis") else { return };
    let start = |required: bool| {
        let text = format!(
            "output = '/dev/null'\n[status]\nenabled = false\n[[capture]]\ninterface = 'srv'\n\
             [[capture]]\ninterface = 'nowhere'\nrequired = {required}\n"
        );
        fs::write(topology.path("sensor.toml"), text).unwrap();
        let output = Command::new("ip")
            .args(["netns", "exec", &topology.namespace("s"), "timeout", "-s", "TERM", "2"])
            .args([env!("CARGO_BIN_EXE_sensor"), "run", "--config"])
            .arg(topology.path("sensor.toml"))
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = start(true);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("there is no interface nowhere") && said.contains("sensor interfaces"), "{said}");
    let (code, said) = start(false);
    // `timeout` says that it had to end it; the sensor says that it was running.
    assert_eq!(code, Some(124), "{said}");
    assert!(said.contains("\"capturing\"") && said.contains("trying again every second"), "{said}");
}

/// A socket takes no right at all.
#[test]
fn a_vxlan_mirror_to_a_socket_of_a_user_without_rights() {
    let Some(mut topology) = Topology::new("udn") else { return };
    topology.user = Some(65_534);
    // What the sensor is to read and write is this user's.
    for folder in [topology.folder.path(), topology.site.at("").as_path()] {
        assert!(run("chown", &["-R", "65534:65534", &folder.display().to_string()]));
    }
    topology.tunnel();
    topology.check("m", "[[capture]]\nlisten = '10.78.0.2:4789'\nencapsulation = 'vxlan'\n", None);
}

#[test]
fn a_breakout_tap_on_two_workers() {
    let Some(mut topology) = Topology::new("tw2") else { return };
    topology.workers = 2;
    topology.mirror_ready();
    topology.mirror("ingress", "out");
    topology.mirror("egress", "out2");
    topology.check("m", "[[capture]]\ninterface = 'mir*'\n", Some("mir"));
}

#[test]
fn a_vxlan_mirror_whose_copies_do_not_fit() {
    let Some(topology) = Topology::new("frg") else { return };
    topology.tunnel();
    for (part, device) in [("s", "out"), ("m", "mir")] {
        topology.within(&topology.namespace(part), &format!("ip link set {device} mtu 600"));
    }
    let Checked { ledger, .. } = topology.check("m", "[[capture]]\ninterface = 'mir'\n", Some("mir"));
    assert!(ledger["beside"]["datagrams_joined"].as_u64().unwrap() >= REQUESTS as u64, "{ledger}");
}

#[test]
fn gre_with_and_without_a_key_of_packets_and_of_frames() {
    for (name, flags, key) in [("gre", 0_u16, &[][..]), ("grk", 0x2000, &[0, 0, 0x12, 0x67])] {
        for (kind, tunnel, protocol, from) in [("p", "gre", 0x0800_u16, 14), ("f", "gre_teb", 0x6558, 0)] {
            let Some(topology) = Topology::new(&format!("{name}{kind}")) else { return };
            let mirror = Mirror::start(&topology, move |frame| {
                in_ip(47, &[&flags.to_be_bytes()[..], &protocol.to_be_bytes(), key, &frame[from..]].concat())
            });
            let Checked { ledger, .. } = topology.check("m", "[[capture]]\ninterface = 'mir'\n", Some("mir"));
            drop(mirror);
            assert!(ledger["tunnels"][tunnel].as_u64().unwrap() >= 4 * REQUESTS as u64, "{ledger}");
        }
    }
}

#[test]
fn ip_in_ip() {
    let Some(topology) = Topology::new("ipp") else { return };
    let _mirror = Mirror::start(&topology, |frame| match frame[12..14] {
        [8, 0] => in_ip(4, &frame[14..]),
        // What is no IP has no place in it.
        _ => ethernet(0x88b5, &frame[14..]),
    });
    let Checked { ledger, .. } = topology.check("m", "[[capture]]\ninterface = 'mir'\n", Some("mir"));
    assert!(ledger["frames"]["segments"].as_u64().unwrap() >= 4 * REQUESTS as u64, "{ledger}");
}

#[test]
fn a_clone_pool_foreign_addresses_and_the_sensors_mac() {
    let Some(topology) = Topology::new("f5c") else { return };
    let _mirror = Mirror::start(&topology, |frame| [&SENSOR[..], &frame[6..]].concat());
    let Checked { records, .. } = topology.check(
        "m",
        "[[capture]]\ninterface = 'mir'\npromiscuous = false\n[normalize]\ntrusted_proxies = ['10.77.0.0/24']\n",
        Some("mir"),
    );
    let is_known = |record: &String| record.contains("\"client-ip\":\"203.0.113.9\"");
    assert!(records.iter().all(is_known), "the client's address is in the header: {}", records[0]);
}

#[test]
fn a_span_port_that_copies_twice() {
    let Some(topology) = Topology::new("spt") else { return };
    topology.mirror_ready();
    for direction in ["ingress", "egress"] {
        let twice = "action mirred egress mirror dev out action mirred egress mirror dev out";
        let line = format!("tc filter add dev srv {direction} protocol ip prio 1 u32 match u32 0 0 {twice}");
        topology.within(&topology.namespace("s"), &line);
    }
    let Checked { ledger, .. } = topology.check("m", "[[capture]]\ninterface = 'mir'\n", Some("mir"));
    assert!(ledger["beside"]["duplicate_segments"].as_u64().unwrap() >= 2 * REQUESTS as u64, "{ledger}");
}

#[test]
fn the_loopback_and_the_sensors_own_status_port_on_it() {
    let Some(topology) = Topology::new("loo") else { return };
    let Checked { ledger, .. } = topology.check_from("s", "s", "[[capture]]\ninterface = 'lo'\n", None);
    assert!(ledger["segments"]["dropped"]["own_traffic"].as_u64().unwrap() > 0, "{ledger}");
}

#[test]
fn any_interface_cooked() {
    let Some(topology) = Topology::new("any") else { return };
    topology.check("s", "[[capture]]\ninterface = 'any'\n", None);
}

#[test]
fn own_uploads_are_not_recorded() {
    let Some(topology) = Topology::new("own") else { return };
    // Through a proxy that speaks plain HTTP, on the interface that is captured.
    let sections = "[[capture]]\ninterface = 'lo'\n[upload]\nurl = 'https://10.77.0.2:9443'\n\
                    proxy = 'http://127.0.0.1:3128'\n[upload.batch]\nage = '100ms'\n";
    let ledger = topology.observe("s", sections, None, || topology.request("s"));
    let tried = fs::read_to_string(topology.path("proxy.log")).unwrap();
    assert!(!tried.is_empty(), "the proxy was asked: {}", topology.said());
    assert_eq!(ledger["exchanges"]["recorded"], REQUESTS, "{ledger}");
    assert!(ledger["segments"]["dropped"]["own_traffic"].as_u64().unwrap() > 0, "{ledger}");
}

#[test]
fn masking_changes_while_it_runs() {
    let Some(topology) = Topology::new("msk") else { return };
    let records = topology.path("records.ndjson");
    let settings = |mask: &str| {
        format!(
            "output = '{}'\n{mask}[[capture]]\ninterface = 'srv'\n[privileges]\nuser = '65534'\n",
            records.display()
        )
    };
    let sensor = topology.start("s", &settings("mask.enabled = false\n"));
    let ask = |path: &str| {
        let line = format!("curl -sS -m 20 -o /dev/null -H Authorization:Bearer-s3cr3t-{path} http://10.77.0.2/{path}");
        topology.within(&topology.namespace("c"), &line);
        // The kernel hands frames over within 40 ms; a record is then written at once.
        sleep(Duration::from_millis(500));
    };
    ask("before");
    let text = fs::read_to_string(topology.path("sensor.toml")).unwrap();
    for (enabled, words) in [("broken", "the configuration is refused"), ("true", "the configuration was read again")] {
        let changed = text.replace("mask.enabled = false", &format!("mask.enabled = {enabled}"));
        fs::write(topology.path("sensor.toml"), changed).unwrap();
        fixtures::signal(sensor.0.id(), "SIGHUP");
        let end = Instant::now() + Duration::from_secs(10);
        while !topology.said().contains(words) {
            assert!(Instant::now() < end, "{}", topology.said());
            sleep(Duration::from_millis(20));
        }
    }
    // A worker looks around ten times a second.
    sleep(Duration::from_millis(500));
    ask("after");
    topology.end(sensor);
    let lines = fs::read_to_string(&records).unwrap();
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains("s3cr3t-before"), "{}", lines[0]);
    assert!(lines[1].contains("/after") && !lines[1].contains("s3cr3t"), "{}", lines[1]);
}
