//! What the tests of this crate share: a sink that keeps what it is given, and conversations as calls.
#![allow(dead_code, unreachable_pub, reason = "each test file is a crate of its own and uses its part")]

pub mod bursts;
pub mod dialogue;
pub mod mirror;
pub mod reference;

use http_parse::{
    ClientHello, Connection, Context, Exchange, ExchangeSink, Flag, Message, Position, Protocol, Settings, Side, Stats,
    Want,
};

/// A message, copied out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    pub start: String,
    pub headers: Vec<(String, String)>,
    pub trailers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub bytes: u64,
    pub missing: u64,
    pub complete: bool,
    pub offset: u64,
    pub head: Vec<u8>,
}

/// An exchange, copied out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub request: Option<Copy>,
    pub response: Option<Copy>,
    pub index: Option<u32>,
    pub client: Side,
    pub flags: Vec<Flag>,
}

impl Record {
    /// `GET /a -> 200`, with `-` for what is missing.
    pub fn line(&self) -> String {
        let request = self.request.as_ref().map_or("-", |request| request.start.as_str());
        let response = self.response.as_ref().map_or("-", |response| response.start.as_str());
        format!("{request} -> {response}")
    }

    pub fn has(&self, flag: Flag) -> bool {
        self.flags.contains(&flag)
    }
}

#[derive(Default, Debug)]
pub struct Recorder {
    pub records: Vec<Record>,
    pub recognized: Vec<(Protocol, Option<ClientHello>)>,
}

impl ExchangeSink for Recorder {
    fn exchange(&mut self, exchange: &Exchange<'_>) {
        assert!(exchange.request.is_some() || exchange.response.is_some());
        self.records.push(Record {
            request: exchange.request.map(copy),
            response: exchange.response.map(copy),
            index: exchange.index,
            client: exchange.client,
            flags: exchange.flags.iter().collect(),
        });
    }

    fn recognized(&mut self, protocol: Protocol, hello: Option<&ClientHello>) {
        self.recognized.push((protocol, hello.cloned()));
    }
}

fn copy(message: &Message) -> Copy {
    let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
    let start = if message.status() == 0 {
        format!("{} {}", text(message.method()), text(message.target()))
    } else {
        message.status().to_string()
    };
    let body = message.body();
    assert!(body.captured.len() as u64 + body.missing <= body.bytes, "captured and missing bytes exceed the body");
    Copy {
        start,
        headers: message.headers().map(|header| (text(header.name), text(header.value))).collect(),
        trailers: message.trailers().map(|header| (text(header.name), text(header.value))).collect(),
        body: body.captured.to_vec(),
        bytes: body.bytes,
        missing: body.missing,
        complete: message.is_complete(),
        offset: message.start().offset,
        head: message.head().to_vec(),
    }
}

/// One call on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Data(Side, Position, Vec<u8>),
    Gap(Side, Position, u64),
    Skipped(Side, Position, u64),
    End(Side, Position),
}

/// The client's and the server's side in these conversations.
pub const CLIENT: Side = Side::Left;
pub const SERVER: Side = Side::Right;
/// Where the two streams start: anywhere but at equal or small offsets.
pub const STARTS: [u64; 2] = [(7 << 32) - 50, 1_000_000];

/// A conversation: what each side sends, one segment an item, each acknowledging all that was sent before it.
#[derive(Clone, Debug)]
pub struct Talk {
    pub ops: Vec<Op>,
    pub next: [u64; 2],
    pub at: u64,
}

impl Default for Talk {
    fn default() -> Self {
        Self { ops: Vec::new(), next: STARTS, at: 1_000 }
    }
}

impl Talk {
    pub fn position(&mut self, side: Side) -> Position {
        self.at += 10;
        Position { at: self.at, offset: self.next[side.index()], acked: Some(self.next[side.opposite().index()]) }
    }

    pub fn segment(mut self, side: Side, bytes: impl AsRef<[u8]>) -> Self {
        let position = self.position(side);
        self.next[side.index()] += bytes.as_ref().len() as u64;
        self.ops.push(Op::Data(side, position, bytes.as_ref().to_vec()));
        self
    }

    pub fn client(self, bytes: impl AsRef<[u8]>) -> Self {
        self.segment(CLIENT, bytes)
    }

    pub fn server(self, bytes: impl AsRef<[u8]>) -> Self {
        self.segment(SERVER, bytes)
    }

    /// A segment that the mirror lost.
    /// Bytes that the capture cut off from the segment before.
    pub fn cut_off(mut self, side: Side, bytes: impl AsRef<[u8]>) -> Self {
        let position = self.position(side);
        self.next[side.index()] += bytes.as_ref().len() as u64;
        self.ops.push(Op::Gap(side, position, bytes.as_ref().len() as u64));
        self
    }

    /// A segment that was not captured.
    pub fn lost(mut self, side: Side, bytes: impl AsRef<[u8]>) -> Self {
        let position = Position { acked: None, ..self.position(side) };
        self.next[side.index()] += bytes.as_ref().len() as u64;
        self.ops.push(Op::Gap(side, position, bytes.as_ref().len() as u64));
        self
    }

    pub fn end(mut self, side: Side) -> Self {
        let position = self.position(side);
        self.ops.push(Op::End(side, position));
        // A FIN takes a number of the sequence, which the other side acknowledges.
        self.next[side.index()] += 1;
        self
    }

    /// Swaps the last two calls: the mirror's reordering.
    pub fn swap(mut self) -> Self {
        let len = self.ops.len();
        self.ops.swap(len - 1, len - 2);
        self
    }

    pub fn run(&self) -> Outcome {
        run(Some(CLIENT), &self.ops, &Settings::default())
    }

    pub fn run_mid_stream(&self) -> Outcome {
        run(None, &self.ops, &Settings::default())
    }

    pub fn run_with(&self, settings: &Settings) -> Outcome {
        run(Some(CLIENT), &self.ops, settings)
    }
}

/// What a run gave.
#[derive(Debug)]
pub struct Outcome {
    pub records: Vec<Record>,
    pub recognized: Vec<(Protocol, Option<ClientHello>)>,
    pub stats: Stats,
    pub wants: Vec<Want>,
}

impl Outcome {
    pub fn lines(&self) -> Vec<String> {
        self.records.iter().map(Record::line).collect()
    }

    pub fn protocols(&self) -> Vec<Protocol> {
        self.recognized.iter().map(|(protocol, _)| *protocol).collect()
    }
}

/// What was said, a line each, for whoever looks at what went wrong.
pub fn story(ops: &[Op]) -> String {
    let line = |op: &Op| match op {
        Op::Data(side, position, bytes) => format!(
            "{side:?} {}..{} acks {:?} {}",
            position.offset,
            position.offset + bytes.len() as u64,
            position.acked,
            String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).replace("\r\n", "|")
        ),
        Op::Gap(side, position, len) => format!("{side:?} {}..{} LOST", position.offset, position.offset + len),
        op => format!("{op:?}"),
    };
    ops.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Runs one connection, and holds the ledger to its word after every call.
pub fn run(initiator: Option<Side>, ops: &[Op], settings: &Settings) -> Outcome {
    let mut cx = Context::new(settings.clone());
    let mut sink = Recorder::default();
    let wants = run_in(initiator, ops, &mut cx, &mut sink);
    let stats = cx.stats().clone();
    assert_eq!(stats.pending_messages, 0, "{stats:?}");
    assert_eq!(stats.undecided_bytes, 0, "{stats:?}");
    assert!(sink.recognized.len() <= 1, "{:?}", sink.recognized);
    assert_eq!(stats.paired + stats.unanswered + stats.orphans, sink.records.len() as u64);
    Outcome { records: sink.records, recognized: sink.recognized, stats, wants }
}

pub fn run_in(initiator: Option<Side>, ops: &[Op], cx: &mut Context, sink: &mut Recorder) -> Vec<Want> {
    let mut connection = Connection::new(initiator);
    let mut wants = Vec::new();
    let mut expected = cx.stats().stream_bytes;
    for op in ops {
        wants.push(match op {
            Op::Data(side, position, bytes) => {
                expected += bytes.len() as u64;
                connection.data(*side, *position, bytes, cx, sink)
            }
            Op::Gap(side, position, len) => {
                expected += len;
                connection.gap(*side, *position, *len, cx, sink)
            }
            Op::Skipped(side, position, len) => {
                expected += len;
                connection.skipped(*side, *position, *len, cx, sink)
            }
            Op::End(side, position) => connection.end(*side, *position, cx, sink),
        });
        assert!(cx.stats().is_balanced(), "after {op:?}: {:?}", cx.stats());
        assert_eq!(cx.stats().stream_bytes, expected);
    }
    connection.close(u64::MAX, 0, cx, sink);
    assert!(cx.stats().is_balanced(), "after close: {:?}", cx.stats());
    wants
}
