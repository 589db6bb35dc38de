//! A handler that writes down and checks everything it is told, and packets to feed a reassembler with.

#![allow(dead_code, unreachable_pub, reason = "each test, and the fuzz target, uses a part")]

pub mod ops;
pub mod sender;

use core::net::Ipv4Addr;
use core::time::Duration;

use decap::{Direction, Domain, Endpoint, FlowKey, Segment, SeqNum, TcpFlags, Timestamp, TunnelPath};
use reassembly::{Ending, FlowInfo, Limits, Position, Reassembler, StreamHandler, Want};

/// One call of a handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Data(Direction, Position, Vec<u8>),
    Gap(Direction, Position, u64),
    Skipped(Direction, Position, u64),
    End(Direction, Position),
}

/// All that was told of one flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowLog {
    pub key: FlowKey,
    pub at: Timestamp,
    pub initiator: Option<Direction>,
    pub path: TunnelPath,
    pub events: Vec<Event>,
    pub ending: Option<Ending>,
}

impl FlowLog {
    /// The bytes of a direction; each missing or skipped one is a `None`.
    pub fn stream(&self, direction: Direction) -> Vec<Option<u8>> {
        let mut bytes = Vec::new();
        for event in &self.events {
            match event {
                Event::Data(d, _, data) if *d == direction => bytes.extend(data.iter().map(|&b| Some(b))),
                Event::Gap(d, _, len) | Event::Skipped(d, _, len) if *d == direction => {
                    bytes.extend(std::iter::repeat_n(None, *len as usize));
                }
                _ => {}
            }
        }
        bytes
    }

    /// The bytes of a direction, which must be complete.
    pub fn whole(&self, direction: Direction) -> Vec<u8> {
        self.stream(direction).into_iter().map(|byte| byte.expect("no gap")).collect()
    }

    /// The offset of the direction's first byte.
    pub fn first(&self, direction: Direction) -> Option<u64> {
        self.events.iter().find_map(|event| match event {
            Event::Data(d, position, _)
            | Event::Gap(d, position, _)
            | Event::Skipped(d, position, _)
            | Event::End(d, position) => (*d == direction).then_some(position.offset),
        })
    }

    pub fn gaps(&self, direction: Direction) -> Vec<(u64, u64, Timestamp)> {
        let gap = |event: &Event| match event {
            Event::Gap(d, position, len) if *d == direction => Some((position.offset, *len, position.at)),
            _ => None,
        };
        self.events.iter().filter_map(gap).collect()
    }

    pub fn calls(&self, direction: Direction) -> Vec<Vec<u8>> {
        let call = |event: &Event| match event {
            Event::Data(d, _, bytes) if *d == direction => Some(bytes.clone()),
            _ => None,
        };
        self.events.iter().filter_map(call).collect()
    }

    pub fn has_end(&self, direction: Direction) -> bool {
        self.events.iter().any(|event| matches!(event, Event::End(d, _) if *d == direction))
    }
}

/// The state of a flow: which log it is, and what may come next.
#[derive(Debug)]
pub struct Conn {
    log: usize,
    next: [Option<u64>; 2],
    ended: [bool; 2],
    shunted: bool,
}

/// Writes everything down, and checks what must always hold.
#[derive(Debug, Default)]
pub struct Recorder {
    pub logs: Vec<FlowLog>,
    /// Answers, given in turn; `More` when empty.
    pub wants: Vec<Want>,
    /// Every byte must be [`content`] of its offset.
    pub checks_content: bool,
    pub asked: usize,
}

impl Recorder {
    fn note(&mut self, conn: &mut Conn, direction: Direction, position: Position, len: u64, event: Event) -> Want {
        let d = direction.index();
        assert!(!conn.shunted, "call after Nothing: {event:?}");
        assert!(!conn.ended[d], "call after the end: {event:?}");
        assert!(conn.next[d].is_none_or(|next| next == position.offset), "not contiguous: {event:?} {conn:?}");
        assert!(len > 0 || matches!(event, Event::End(..)), "empty: {event:?}");
        conn.next[d] = Some(position.offset + len);
        self.logs[conn.log].events.push(event);
        if self.wants.is_empty() {
            return Want::More;
        }
        self.asked += 1;
        let want = self.wants[(self.asked - 1) % self.wants.len()];
        conn.shunted = want == Want::Nothing;
        want
    }
}

impl StreamHandler for Recorder {
    type Conn = Conn;

    fn open(&mut self, flow: &FlowInfo<'_>) -> Conn {
        self.logs.push(FlowLog {
            key: *flow.key,
            at: flow.at,
            initiator: flow.initiator,
            path: flow.path.clone(),
            events: Vec::new(),
            ending: None,
        });
        Conn { log: self.logs.len() - 1, next: [None; 2], ended: [false; 2], shunted: false }
    }

    fn data(&mut self, conn: &mut Conn, direction: Direction, position: Position, bytes: &[u8]) -> Want {
        if self.checks_content {
            for (offset, &byte) in (position.offset..).zip(bytes) {
                assert_eq!(byte, content(offset as u32), "wrong byte at {offset:#x}");
            }
        }
        let event = Event::Data(direction, position, bytes.to_vec());
        self.note(conn, direction, position, bytes.len() as u64, event)
    }

    fn gap(&mut self, conn: &mut Conn, direction: Direction, position: Position, len: u64) -> Want {
        self.note(conn, direction, position, len, Event::Gap(direction, position, len))
    }

    fn skipped(&mut self, conn: &mut Conn, direction: Direction, position: Position, len: u64) -> Want {
        self.note(conn, direction, position, len, Event::Skipped(direction, position, len))
    }

    fn end(&mut self, conn: &mut Conn, direction: Direction, position: Position) -> Want {
        let want = self.note(conn, direction, position, 0, Event::End(direction, position));
        conn.ended[direction.index()] = true;
        want
    }

    fn close(&mut self, conn: Conn, ending: Ending) {
        let log = &mut self.logs[conn.log];
        assert_eq!(log.ending, None, "closed twice");
        assert!(conn.shunted || ending.shunted == [0; 2], "bytes shunted without being asked");
        log.ending = Some(ending);
    }
}

/// The byte at a sequence number, where a test checks every byte.
pub fn content(number: u32) -> u8 {
    (number.wrapping_mul(0x9e37_79b1) >> 24) as u8
}

/// A segment that owns its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    pub at: Timestamp,
    /// Which flow.
    pub port: u16,
    pub direction: Direction,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    pub ip_id: u16,
    pub payload: Vec<u8>,
    pub missing: u32,
}

/// The name of flow `port`. Forward is from the client.
pub fn key(port: u16) -> FlowKey {
    let client = Endpoint { ip: Ipv4Addr::new(10, 0, 0, 1).into(), port };
    let server = Endpoint { ip: Ipv4Addr::new(10, 0, 0, 2).into(), port: 80 };
    let (key, direction) = FlowKey::new(client, server, Domain::GLOBAL);
    assert_eq!(direction, Direction::Forward);
    key
}

impl Packet {
    pub fn segment<'a>(&'a self, path: &'a TunnelPath) -> Segment<'a> {
        Segment {
            at: self.at,
            key: key(self.port),
            direction: self.direction,
            seq: SeqNum(self.seq),
            ack: SeqNum(self.ack),
            flags: TcpFlags(self.flags),
            window: 1000,
            ip_id: self.ip_id,
            payload: &self.payload,
            missing: self.missing,
            path,
        }
    }

    pub fn at(mut self, micros: u64) -> Self {
        self.at = Timestamp::ZERO + Duration::from_micros(micros);
        self
    }

    pub fn fin(mut self) -> Self {
        self.flags |= TcpFlags::FIN;
        self
    }

    pub fn missing(mut self, missing: u32) -> Self {
        self.missing = missing;
        self
    }
}

/// What happens, in tests that spell it out: packets at 1 ms distance unless [`Packet::at`] says otherwise.
pub struct Scene {
    pub reassembler: Reassembler<Recorder>,
    micros: u64,
    ip_id: u16,
    path: TunnelPath,
}

impl Scene {
    pub fn new() -> Self {
        Self::with(Limits::default())
    }

    pub fn with(limits: Limits) -> Self {
        Self {
            reassembler: Reassembler::new(limits, Recorder::default()),
            micros: 1_000_000,
            ip_id: 0,
            path: TunnelPath::default(),
        }
    }

    /// A segment as it comes next, pushed.
    pub fn push(&mut self, direction: Direction, flags: u8, seq: u32, ack: u32, payload: &[u8]) -> &mut Self {
        let packet = self.packet(direction, flags, seq, ack, payload);
        self.push_packet(&packet)
    }

    /// A segment as it comes next.
    pub fn packet(&mut self, direction: Direction, flags: u8, seq: u32, ack: u32, payload: &[u8]) -> Packet {
        self.ip_id += 1;
        self.micros += 1000;
        let at = Timestamp::ZERO + Duration::from_micros(self.micros);
        let payload = payload.to_vec();
        Packet { at, port: 1000, direction, seq, ack, flags, ip_id: self.ip_id, payload, missing: 0 }
    }

    pub fn push_packet(&mut self, packet: &Packet) -> &mut Self {
        self.micros = packet.at.as_nanos() / 1000;
        let segment = packet.segment(&self.path);
        self.reassembler.push(&segment);
        assert!(self.reassembler.stats().is_balanced(), "{:?}", self.reassembler.stats());
        self
    }

    pub fn wait(&mut self, duration: Duration) -> &mut Self {
        self.micros += duration.as_micros() as u64;
        self
    }

    pub fn now(&self) -> Timestamp {
        Timestamp::ZERO + Duration::from_micros(self.micros)
    }

    pub fn finish(&mut self) -> &mut Self {
        self.reassembler.finish();
        check(&self.reassembler);
        assert_eq!((self.reassembler.stats().held_bytes, self.reassembler.stats().active_flows), (0, 0));
        self
    }

    /// The only flow.
    pub fn log(&self) -> &FlowLog {
        let logs = &self.reassembler.handler().logs;
        assert_eq!(logs.len(), 1, "{logs:#?}");
        &logs[0]
    }

    pub fn handshake(&mut self) -> &mut Self {
        use Direction::{Forward, Reverse};
        self.push(Forward, TcpFlags::SYN, 99, 0, b"");
        self.push(Reverse, TcpFlags::SYN | TcpFlags::ACK, 499, 100, b"");
        self.push(Forward, TcpFlags::ACK, 100, 500, b"")
    }

    /// A data segment of the client, whose stream starts at 100 (the server's at 500).
    pub fn client(&mut self, seq: u32, payload: &[u8]) -> &mut Self {
        self.push(Direction::Forward, TcpFlags::ACK, seq, 500, payload)
    }

    /// An acknowledgement by the server.
    pub fn server_ack(&mut self, ack: u32) -> &mut Self {
        self.push(Direction::Reverse, TcpFlags::ACK, 500, ack, b"")
    }
}

/// What holds after every step.
pub fn check(reassembler: &Reassembler<Recorder>) {
    let stats = reassembler.stats();
    assert!(stats.is_balanced(), "{stats:?}");
    let open = reassembler.handler().logs.iter().filter(|log| log.ending.is_none()).count() as u64;
    assert_eq!(stats.opened - stats.closed.iter().sum::<u64>(), open);
    assert!(open <= stats.active_flows);
    assert!(stats.mid_stream_flows <= stats.flows);
}
