//! Tiny captures, built byte by byte: Ethernet, IPv4, TCP, and a classic pcap file around them.
// Each test binary uses its part of it, and nothing else can reach it.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::Value;

/// Length of a pcap file's header.
pub const FILE_HEADER: usize = 24;
/// Length of a packet's header in it.
pub const PACKET_HEADER: usize = 16;

/// A capture under construction: packets in order, a millisecond apart.
#[derive(Clone, Default)]
pub struct Capture {
    pub packets: Vec<Vec<u8>>,
}

/// One TCP connection, from its handshake.
pub struct Conversation<'a> {
    capture: &'a mut Capture,
    client: ([u8; 4], u16),
    server: ([u8; 4], u16),
    client_seq: u32,
    server_seq: u32,
    ip_id: u16,
}

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const FIN_ACK: u8 = 0x11;

impl Capture {
    /// `connections` connections with `transactions` each, every tenth answered with 404.
    pub fn of_http(connections: u16, transactions: u32) -> Self {
        let mut capture = Self::default();
        for connection in 0..connections {
            let mut conversation = capture.open(([10, 0, 0, 1], 20_000 + connection), ([10, 0, 0, 2], 80));
            for n in 0..transactions {
                conversation.transaction(&format!("/c{connection}/t{n}"), n);
            }
            conversation.close();
        }
        capture
    }

    pub fn open(&mut self, client: ([u8; 4], u16), server: ([u8; 4], u16)) -> Conversation<'_> {
        let mut conversation =
            Conversation { capture: self, client, server, client_seq: 1_000, server_seq: 9_000_000, ip_id: 1 };
        conversation.packet(true, SYN, b"");
        conversation.client_seq += 1;
        conversation.packet(false, SYN | ACK, b"");
        conversation.server_seq += 1;
        conversation.packet(true, ACK, b"");
        conversation
    }

    /// A datagram that is no tunnel.
    pub fn udp(&mut self) {
        let mut datagram = vec![0x14, 0xe9, 0x14, 0xe9, 0, 12, 0, 0];
        datagram.extend_from_slice(b"mdns");
        self.packets.push(ethernet_ipv4(17, [10, 0, 0, 1], [224, 0, 0, 251], 7, &datagram));
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut file = Vec::new();
        file.extend_from_slice(&0xa1b2_c3d4_u32.to_le_bytes());
        file.extend_from_slice(&2_u16.to_le_bytes());
        file.extend_from_slice(&4_u16.to_le_bytes());
        file.extend_from_slice(&[0; 8]);
        file.extend_from_slice(&65_535_u32.to_le_bytes());
        file.extend_from_slice(&1_u32.to_le_bytes());
        for (n, packet) in self.packets.iter().enumerate() {
            let n = n as u32;
            let len = packet.len() as u32;
            for word in [1_700_000_000 + n / 1_000, n % 1_000 * 1_000, len, len] {
                file.extend_from_slice(&word.to_le_bytes());
            }
            file.extend_from_slice(packet);
        }
        file
    }

    pub fn write(&self, path: PathBuf) -> PathBuf {
        fs::write(&path, self.to_bytes()).unwrap();
        path
    }
}

impl Conversation<'_> {
    pub fn transaction(&mut self, target: &str, n: u32) {
        self.client_says(format!("GET {target} HTTP/1.1\r\nHost: api.example\r\nUser-Agent: test\r\n\r\n").as_bytes());
        let status = if n % 10 == 9 { "404 Not Found" } else { "200 OK" };
        self.server_says(
            format!("HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello").as_bytes(),
        );
    }

    pub fn client_says(&mut self, bytes: &[u8]) {
        self.packet(true, ACK, bytes);
        self.client_seq += bytes.len() as u32;
    }

    pub fn server_says(&mut self, bytes: &[u8]) {
        self.packet(false, ACK, bytes);
        self.server_seq += bytes.len() as u32;
    }

    pub fn close(&mut self) {
        self.packet(true, FIN_ACK, b"");
        self.client_seq += 1;
        self.packet(false, FIN_ACK, b"");
        self.server_seq += 1;
        self.packet(true, ACK, b"");
    }

    fn packet(&mut self, from_client: bool, flags: u8, payload: &[u8]) {
        let (source, destination, seq, ack) = if from_client {
            (self.client, self.server, self.client_seq, self.server_seq)
        } else {
            (self.server, self.client, self.server_seq, self.client_seq)
        };
        let mut tcp = Vec::new();
        tcp.extend_from_slice(&source.1.to_be_bytes());
        tcp.extend_from_slice(&destination.1.to_be_bytes());
        tcp.extend_from_slice(&seq.to_be_bytes());
        tcp.extend_from_slice(&if flags & ACK == 0 { 0 } else { ack }.to_be_bytes());
        tcp.extend_from_slice(&[0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        tcp.extend_from_slice(payload);
        self.ip_id = self.ip_id.wrapping_add(1);
        self.capture.packets.push(ethernet_ipv4(6, source.0, destination.0, self.ip_id, &tcp));
    }
}

fn ethernet_ipv4(protocol: u8, source: [u8; 4], destination: [u8; 4], id: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    frame.extend_from_slice(&[0x45, 0]);
    frame.extend_from_slice(&(20 + payload.len() as u16).to_be_bytes());
    frame.extend_from_slice(&id.to_be_bytes());
    frame.extend_from_slice(&[0x40, 0, 64, protocol, 0, 0]);
    frame.extend_from_slice(&source);
    frame.extend_from_slice(&destination);
    frame.extend_from_slice(payload);
    frame
}

/// What a run of the program gave.
#[derive(Debug)]
pub struct Run {
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

pub fn sensor() -> Command {
    let mut command = Command::cargo_bin("sensor").unwrap();
    command.env_remove("SENSOR_LOG");
    command
}

/// Runs `sensor` with these arguments.
pub fn run(args: &[&str]) -> Run {
    run_with(sensor().args(args))
}

/// Runs `sensor replay` on one capture, checks its ledger, and gives what it said.
pub fn replay(capture: &Path, args: &[&str]) -> (Run, Value) {
    let run = run_with(sensor().args(["replay", capture.to_str().unwrap(), "--ledger", "json", "--quiet"]).args(args));
    let ledger = ledger(&run);
    (run, ledger)
}

pub fn run_with(command: &mut Command) -> Run {
    let output = command.output().unwrap();
    Run {
        code: output.status.code(),
        stdout: output.stdout,
        stderr: String::from_utf8(output.stderr).expect("standard error is text"),
    }
}

/// The ledger that a run printed as JSON, after checking that every line adds up.
pub fn ledger(run: &Run) -> Value {
    let line = run.stderr.lines().rfind(|line| line.starts_with('{')).unwrap_or_else(|| panic!("no ledger in {run:?}"));
    let ledger: Value = serde_json::from_str(line).unwrap();
    assert_eq!(ledger["balanced"], true, "{ledger:#}");
    for name in ["frames", "payload_bytes", "stream_bytes", "messages", "exchanges"] {
        let line = ledger[name].as_object().unwrap();
        let fates = line.iter().filter(|(fate, _)| *fate != "total");
        let sum: u64 = fates
            .map(|(_, fate)| match fate {
                Value::Object(reasons) => reasons.values().map(|count| count.as_u64().unwrap()).sum(),
                count => count.as_u64().unwrap(),
            })
            .sum();
        assert_eq!(line["total"], sum, "{name} in {ledger:#}");
    }
    ledger
}

/// Output lines, sorted: what several workers agree on.
pub fn sorted_lines(bytes: &[u8]) -> Vec<&[u8]> {
    let mut lines: Vec<_> = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    lines.sort_unstable();
    lines
}
