//! A mirror is never answered: what a sensor's namespace sends is read on the other end of the wire, whoever else has the
//! tunnels' ports.

use std::fs;
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The MAC addresses of the mirror and of the sensor.
const MIRROR: [u8; 6] = [2, 0, 0, 0, 0, 8];
const SENSOR: [u8; 6] = [2, 0, 0, 0, 0, 9];
/// VXLAN, VXLAN-GPE, Geneve, GTP-U, AYIYA.
const PORTS: [u16; 5] = [4789, 4790, 6081, 2152, 5072];
/// IP in IP, IPv6 in IP, GRE, MPLS in IP.
const PROTOCOLS: [u8; 4] = [4, 41, 47, 137];

fn run(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

/// The sensor's namespace and the mirror's, with a wire between them.
struct Wire {
    name: String,
    folder: TempDir,
    sensor: Option<Child>,
}

impl Wire {
    /// `None`, said aloud, where this process may not make namespaces.
    fn new(name: &str) -> Option<Self> {
        let wire = Self { name: format!("sntsil-{name}"), folder: tempfile::tempdir().unwrap(), sensor: None };
        if !run("ip", &["netns", "add", &wire.name]) {
            eprintln!("skipped: no right to make network namespaces here (run as root)");
            return None;
        }
        let far = wire.far();
        assert!(run("ip", &["netns", "add", &far]));
        wire.within("ip link set lo up");
        wire.within(&format!("ip link add mir type veth peer name far netns {far}"));
        // Each answer is to be seen, not one a second.
        wire.within("sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0 net.ipv4.icmp_msgs_per_sec=100000");
        wire.within("ip link set mir address 02:00:00:00:00:09 up");
        wire.within("ip addr add 10.98.0.3/24 dev mir");
        wire.within("ip addr add fd00::3/64 dev mir nodad");
        assert!(run("ip", &["-n", &far, "link", "set", "far", "address", "02:00:00:00:00:08", "up"]));
        wire.within("ip neigh replace 10.98.0.2 lladdr 02:00:00:00:00:08 dev mir nud permanent");
        wire.within("ip neigh replace fd00::2 lladdr 02:00:00:00:00:08 dev mir nud permanent");
        Some(wire)
    }

    fn far(&self) -> String {
        format!("{}-far", self.name)
    }

    fn within(&self, line: &str) {
        let words: Vec<&str> = ["netns", "exec", &self.name].into_iter().chain(line.split(' ')).collect();
        assert!(run("ip", &words), "{line}");
    }

    /// What `work` gives in a namespace, on a thread of its own.
    fn inside<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = || {
                let file = fs::File::open(format!("/run/netns/{namespace}")).unwrap();
                nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
                work()
            };
            scope.spawn(inside).join().unwrap()
        })
    }

    /// A program of somebody else's that has a port of the sensor's host.
    fn somebody(&self, address: &str) -> UdpSocket {
        Self::inside(&self.name, || UdpSocket::bind(address).unwrap())
    }

    fn start(&mut self, sections: &str) {
        let config = self.folder.path().join("sensor.toml");
        fs::write(&config, format!("output = '/dev/null'\n[status]\nenabled = false\n{sections}")).unwrap();
        let said = fs::File::create(self.folder.path().join("said")).unwrap();
        let sensor = Command::new("ip")
            .args(["netns", "exec", &self.name, env!("CARGO_BIN_EXE_sensor"), "run", "--config"])
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(said)
            .spawn();
        self.sensor = Some(sensor.unwrap());
        let end = Instant::now() + Duration::from_secs(15);
        while !self.said().contains("\"capturing\"") {
            assert!(Instant::now() < end, "{}", self.said());
            sleep(Duration::from_millis(20));
        }
    }

    fn said(&self) -> String {
        fs::read_to_string(self.folder.path().join("said")).unwrap_or_default()
    }

    fn stop(&mut self) {
        if let Some(mut sensor) = self.sensor.take() {
            fixtures::signal(sensor.id(), "SIGTERM");
            let _ = sensor.wait();
        }
    }

    /// Sends one packet of every tunnel in both families; gives what was answered, as `6 udp 4789` and the like.
    fn answers(&self) -> Vec<String> {
        Self::inside(&self.far(), || {
            let capture = pcap::Capture::from_device("far").unwrap().immediate_mode(true).timeout(10).open().unwrap();
            let mut wire = capture.setnonblock().unwrap();
            let mut answered = Vec::new();
            for (name, frame) in tunnels() {
                wire.sendpacket(frame).unwrap();
                let end = Instant::now() + Duration::from_millis(40);
                while Instant::now() < end {
                    match wire.next_packet() {
                        Ok(packet) if is_error(packet.data) => answered.push(name.clone()),
                        Ok(_) => {}
                        Err(_) => sleep(Duration::from_millis(2)),
                    }
                }
            }
            answered
        })
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.stop();
        run("ip", &["netns", "del", &self.far()]);
        run("ip", &["netns", "del", &self.name]);
    }
}

/// A frame of each tunnel, with its name.
fn tunnels() -> Vec<(String, Vec<u8>)> {
    let builder = |version| {
        let ethernet = etherparse::PacketBuilder::ethernet2(MIRROR, SENSOR);
        match version {
            4 => ethernet.ipv4([10, 98, 0, 2], [10, 98, 0, 3], 64),
            _ => {
                let end = |last: u8| [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
                ethernet.ipv6(end(2), end(3), 64)
            }
        }
    };
    let mut all = Vec::new();
    for version in [4, 6] {
        for port in PORTS {
            let mut frame = Vec::new();
            builder(version).udp(40_000, port).write(&mut frame, &[0; 60]).unwrap();
            all.push((format!("{version} udp {port}"), frame));
        }
        for protocol in PROTOCOLS {
            let mut frame = Vec::new();
            builder(version).write(&mut frame, etherparse::IpNumber(protocol), &[0; 60]).unwrap();
            all.push((format!("{version} protocol {protocol}"), frame));
        }
    }
    all
}

/// Whether it is an error message of ICMP or ICMPv6 from the sensor's host.
fn is_error(frame: &[u8]) -> bool {
    if frame[6..12] != SENSOR {
        return false;
    }
    match (frame[12], frame[13]) {
        (0x08, 0x00) => frame[23] == 1,
        // Informational ones have the highest bit set, neighbour discovery among them.
        (0x86, 0xdd) => frame[20] == 58 && frame[54] < 128,
        _ => false,
    }
}

const INTERFACE: &str = "[[capture]]\ninterface = 'mir'\n";

fn listener(address: &str) -> String {
    format!("[[capture]]\nlisten = '{address}'\nencapsulation = 'vxlan'\n")
}

#[test]
fn a_host_answers_every_tunnel_and_a_sensor_none() {
    let Some(mut wire) = Wire::new("all") else { return };
    let all: Vec<String> = tunnels().into_iter().map(|(name, _)| name).collect();
    assert_eq!(wire.answers(), all, "a host without a sensor answers each");
    for listened in [None, Some("127.0.0.1:4789"), Some("0.0.0.0:4789"), Some("[::1]:4789"), Some("[::]:4789")] {
        let sections = listened.map(listener).unwrap_or_default();
        wire.start(&format!("{INTERFACE}{sections}"));
        assert_eq!(wire.answers(), Vec::<String>::new(), "{listened:?}: {}", wire.said());
        wire.stop();
    }
    wire.start(&format!("{INTERFACE}hold_port = false\n"));
    assert_eq!(wire.answers(), all, "it was switched off");
}

#[test]
fn another_programs_port_is_left_to_it_and_held_when_it_goes() {
    let Some(mut wire) = Wire::new("oth") else { return };
    for theirs in ["127.0.0.1:4789", "10.98.0.3:4789", "0.0.0.0:4789", "[::]:4789"] {
        let socket = wire.somebody(theirs);
        wire.start(INTERFACE);
        assert_eq!(wire.answers(), Vec::<String>::new(), "{theirs} is there: {}", wire.said());
        let is_told = wire.said().contains("UDP port 4789 is another program's");
        assert!(is_told, "{theirs}: {}", wire.said());
        drop(socket);
        sleep(Duration::from_millis(1_500));
        assert_eq!(wire.answers(), Vec::<String>::new(), "{theirs} is gone: {}", wire.said());
        // An address that comes later is one of the host's, too.
        wire.within("ip addr del 10.98.0.3/24 dev mir");
        wire.within("ip addr add 10.98.0.3/24 dev mir");
        wire.within("ip neigh replace 10.98.0.2 lladdr 02:00:00:00:00:08 dev mir nud permanent");
        sleep(Duration::from_millis(1_500));
        assert_eq!(wire.answers(), Vec::<String>::new(), "{theirs} was there: {}", wire.said());
        wire.stop();
    }
}

/// Every port is the first one's then: it was said in eighteen lines.
#[test]
fn a_second_sensor_says_once_that_another_has_the_ports() {
    let Some(mut wire) = Wire::new("two") else { return };
    wire.start(INTERFACE);
    let config = wire.folder.path().join("second.toml");
    fs::write(&config, format!("output = '-'\n[status]\nenabled = false\n{INTERFACE}")).unwrap();
    let output = Command::new("ip")
        .args(["netns", "exec", &wire.name, "timeout", "3", env!("CARGO_BIN_EXE_sensor"), "run", "--config"])
        .arg(&config)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let told: Vec<&str> = said.lines().filter(|line| line.contains("another program's")).collect();
    assert!(told.len() == 1 && told[0].contains("4789") && told[0].contains("6081"), "{said}");
    wire.stop();
}

#[test]
fn a_second_sensor_takes_no_port_of_the_first() {
    let Some(mut wire) = Wire::new("sec") else { return };
    for threads in [1, 2] {
        let section = format!("{}threads = {threads}\n", listener("0.0.0.0:4789"));
        wire.start(&section);
        for threads in [1, 2] {
            let config = wire.folder.path().join("second.toml");
            let section = format!("{}threads = {threads}\n", listener("0.0.0.0:4789"));
            fs::write(&config, format!("output = '-'\n[status]\nenabled = false\n{section}")).unwrap();
            let output = Command::new("ip")
                .args(["netns", "exec", &wire.name, "timeout", "5", env!("CARGO_BIN_EXE_sensor"), "run", "--config"])
                .arg(&config)
                .output()
                .unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(said.contains("0.0.0.0:4789") && said.contains("another sensor"), "{said}");
        }
        wire.stop();
    }
}
