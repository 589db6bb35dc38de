//! Each stage alone: what it is given in the pipeline, written down beforehand, and a loop that gives it that again.

use std::fs;
use std::hint::black_box;
use std::io::{self, Cursor};
use std::sync::Arc;

use decap::{Decapsulator, Direction, Domain, Endpoint, FlowKey, Segment, Timestamp, TunnelPath, Verdict};
use fixtures::Packet;
use http_parse::testing::Parts;
use http_parse::{
    ClientHello, Connection, Context, Exchange, ExchangeSink, Flags, Message, MessageKind, Protocol, Side,
};
use reassembly::{Ending, FlowInfo, Limits, Position, Reassembler, StreamHandler, Want};
use sensor::config::{Detector, Mask, MaskAction};
use sensor::masker::MaskPolicy;
use sensor::outlet::Outlet;
use sensor::pipeline::{LaneReport, Pipeline, Settings};
use sensor::record::{ConnectionMeta, RecordOptions, RecordWriter, Shape};
use sensor::source::{CaptureReader, ReadOptions};

use crate::traffic;

/// The settings of `sensor replay`, with this many bytes of each body.
///
/// # Panics
/// Never: a gigabyte is enough.
#[must_use]
pub fn settings(body_limit: usize) -> Settings {
    Settings {
        decap: decap::Config::default(),
        reassembly: Limits::default(),
        http: http_parse::Settings { body_limit, ..http_parse::Settings::default() },
        record: RecordOptions {
            sensor: "sensor".to_owned(),
            decode_limit: body_limit * 4,
            content_limit: usize::MAX,
            shape: Shape::Native,
        },
        mask: None,
        normalize: Arc::default(),
        filters: Arc::default(),
    }
    .with_memory(1 << 30, 1)
    .expect("a gigabyte is enough")
}

/// The same with what `sensor replay` masks by itself, and what these detectors find.
///
/// # Errors
/// When a key cannot be written to the folder of temporary files, or read there.
pub fn masked(settings: Settings, detectors: &[Detector]) -> io::Result<Settings> {
    // One that is the same each time, so that tokens are.
    let key = std::env::temp_dir().join(format!("sensor-benches-{}.key", std::process::id()));
    fs::write(&key, [7; 32])?;
    let detectors = detectors.iter().map(|detector| (*detector, MaskAction::Redact)).collect();
    let mask = MaskPolicy::from_config(&Mask { key_file: Some(key.clone()), detectors, ..Mask::default() });
    fs::remove_file(key)?;
    Ok(Settings { mask: mask.map_err(io::Error::other)?, ..settings })
}

/// Takes every packet apart; the payload bytes found.
pub fn take_apart(decap: &mut Decapsulator, packets: &[Packet]) -> u64 {
    let mut bytes = 0;
    for packet in packets {
        if let Verdict::Segment(segment) = decap.push(packet.frame()) {
            // All of it: inlined, what nobody looks at would not be made.
            let segment = black_box(&segment);
            bytes += segment.payload.len() as u64;
        }
    }
    bytes
}

/// Segments as decapsulation gives them, kept.
#[derive(Debug)]
pub struct Segments {
    kept: Vec<Kept>,
    path: TunnelPath,
}

#[derive(Debug)]
struct Kept {
    at: Timestamp,
    key: FlowKey,
    direction: Direction,
    seq: decap::SeqNum,
    ack: decap::SeqNum,
    flags: decap::TcpFlags,
    window: u16,
    ip_id: u16,
    payload: Vec<u8>,
}

impl Segments {
    /// The segments of plain packets.
    #[must_use]
    pub fn of(packets: &[Packet]) -> Self {
        let mut decap = Decapsulator::new(decap::Config::default());
        let mut kept = Vec::with_capacity(packets.len());
        for packet in packets {
            if let Verdict::Segment(Segment { at, key, direction, seq, ack, flags, window, ip_id, payload, .. }) =
                decap.push(packet.frame())
            {
                kept.push(Kept { at, key, direction, seq, ack, flags, window, ip_id, payload: payload.to_vec() });
            }
        }
        Self { kept, path: TunnelPath::default() }
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Payload bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.kept.iter().map(|kept| kept.payload.len() as u64).sum()
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = Segment<'_>> {
        self.kept.iter().map(|kept| Segment {
            at: kept.at,
            key: kept.key,
            direction: kept.direction,
            seq: kept.seq,
            ack: kept.ack,
            flags: kept.flags,
            window: kept.window,
            ip_id: kept.ip_id,
            payload: &kept.payload,
            missing: 0,
            path: &self.path,
        })
    }
}

/// Puts segments in order; the bytes that came out.
pub fn put_in_order(reassembler: &mut Reassembler<Count>, segments: &Segments) -> u64 {
    for segment in segments.iter() {
        reassembler.push(&segment);
    }
    reassembler.finish();
    reassembler.handler().bytes
}

/// Counts the bytes of streams.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    /// Delivered, lost ones included.
    pub bytes: u64,
}

impl StreamHandler for Count {
    type Conn = ();

    fn open(&mut self, _: &FlowInfo<'_>) {}

    fn data(&mut self, (): &mut (), _: Direction, _: Position, bytes: &[u8]) -> Want {
        self.bytes += bytes.len() as u64;
        Want::More
    }

    fn gap(&mut self, (): &mut (), _: Direction, _: Position, len: u64) -> Want {
        self.bytes += len;
        Want::More
    }

    fn skipped(&mut self, (): &mut (), _: Direction, _: Position, _: u64) -> Want {
        Want::More
    }

    fn end(&mut self, (): &mut (), _: Direction, _: Position) -> Want {
        Want::More
    }

    fn close(&mut self, (): (), _: Ending) {}
}

/// What reassembly tells HTTP, kept.
#[derive(Debug, Default)]
pub struct Calls {
    calls: Vec<Call>,
    connections: usize,
    bytes: u64,
}

#[derive(Debug)]
struct Call {
    connection: usize,
    what: What,
}

#[derive(Debug)]
enum What {
    Open(Option<Side>),
    Data(Side, http_parse::Position, Vec<u8>),
    Gap(Side, http_parse::Position, u64),
    End(Side, http_parse::Position),
    Close(u64),
}

impl Calls {
    /// The calls for these segments.
    #[must_use]
    pub fn of(segments: &Segments) -> Self {
        let mut reassembler = Reassembler::new(Limits::default(), Self::default());
        for segment in segments.iter() {
            reassembler.push(&segment);
        }
        reassembler.finish();
        std::mem::take(reassembler.handler_mut())
    }

    /// Stream bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn keep(&mut self, connection: usize, what: What) -> Want {
        self.calls.push(Call { connection, what });
        Want::More
    }
}

impl StreamHandler for Calls {
    type Conn = usize;

    fn open(&mut self, flow: &FlowInfo<'_>) -> usize {
        let connection = self.connections;
        self.connections += 1;
        self.keep(connection, What::Open(flow.initiator.map(side)));
        connection
    }

    fn data(&mut self, conn: &mut usize, direction: Direction, at: Position, bytes: &[u8]) -> Want {
        self.bytes += bytes.len() as u64;
        self.keep(*conn, What::Data(side(direction), position(at), bytes.to_vec()))
    }

    fn gap(&mut self, conn: &mut usize, direction: Direction, at: Position, len: u64) -> Want {
        self.keep(*conn, What::Gap(side(direction), position(at), len))
    }

    /// Never comes, because nothing is ever skipped here.
    fn skipped(&mut self, _: &mut usize, _: Direction, _: Position, _: u64) -> Want {
        Want::More
    }

    fn end(&mut self, conn: &mut usize, direction: Direction, at: Position) -> Want {
        self.keep(*conn, What::End(side(direction), position(at)))
    }

    fn close(&mut self, conn: usize, ending: Ending) {
        self.keep(conn, What::Close(ending.at.as_nanos()));
    }
}

const fn side(direction: Direction) -> Side {
    match direction {
        Direction::Forward => Side::Left,
        Direction::Reverse => Side::Right,
    }
}

const fn position(at: Position) -> http_parse::Position {
    http_parse::Position { at: at.at.as_nanos(), offset: at.offset, acked: at.acked }
}

/// Parses and pairs; the exchanges that came out.
pub fn parse(calls: &Calls, context: &mut Context) -> Exchanges {
    let mut exchanges = Exchanges::default();
    let mut connections: Vec<Option<Connection>> = (0..calls.connections).map(|_| None).collect();
    for Call { connection, what } in &calls.calls {
        let slot = &mut connections[*connection];
        if let What::Open(initiator) = what {
            *slot = Some(Connection::new(*initiator));
        }
        let Some(http) = slot else { continue };
        match what {
            What::Open(_) => {}
            What::Data(side, at, bytes) => _ = http.data(*side, *at, bytes, context, &mut exchanges),
            What::Gap(side, at, len) => _ = http.gap(*side, *at, *len, context, &mut exchanges),
            What::End(side, at) => _ = http.end(*side, *at, context, &mut exchanges),
            What::Close(at) => {
                if let Some(http) = slot.take() {
                    http.close(*at, 0, context, &mut exchanges);
                }
            }
        }
    }
    exchanges
}

/// Counts exchanges.
#[derive(Clone, Copy, Debug, Default)]
pub struct Exchanges {
    /// Request and response.
    pub paired: u64,
    /// One of them alone.
    pub alone: u64,
}

impl ExchangeSink for Exchanges {
    fn exchange(&mut self, exchange: &Exchange<'_>) {
        if exchange.request.is_some() && exchange.response.is_some() {
            self.paired += 1;
        } else {
            self.alone += 1;
        }
    }

    fn recognized(&mut self, _: Protocol, _: Option<&ClientHello>) {}
}

/// Exchanges to write, with what is known of their connection.
#[derive(Debug)]
pub struct Written {
    meta: ConnectionMeta,
    messages: Vec<(Message, Message)>,
}

impl Written {
    /// `transactions` of a browser's, with response bodies of `body` bytes of JSON.
    #[must_use]
    pub fn new(transactions: usize, body: usize) -> Self {
        let client = Endpoint { ip: [10, 1, 0, 12].into(), port: 40_000 };
        let server = Endpoint { ip: [10, 200, 0, 80].into(), port: 80 };
        let (key, direction) = FlowKey::new(client, server, Domain::default());
        let path = Some(Arc::new(TunnelPath::default()));
        let meta = ConnectionMeta { key, initiator: Some(direction), path, id: 0x1234_5678_9abc_def0, proxied: None };
        let body = br#"{"sku":"A-1000","qty":3,"note":"leave at the \"door\""}"#.iter().copied().cycle().take(body);
        let body: Vec<u8> = body.collect();
        let messages = (0..transactions).map(|n| {
            let at = |offset| http_parse::Position {
                at: 1_750_000_000_000_000_000 + n as u64 * 1_234_567,
                offset: (n as u64 + 1) * 5_000 + offset,
                acked: None,
            };
            let request = message(MessageKind::Request, at(0), &traffic::request_head(n), &[]);
            let response = message(MessageKind::Response, at(2_500), &traffic::response_head(n), &body);
            (request, response)
        });
        Self { meta, messages: messages.collect() }
    }
}

/// A message from its head.
fn message(kind: MessageKind, start: http_parse::Position, head: &[u8], body: &[u8]) -> Message {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.split("\r\n");
    let mut words = lines.next().unwrap_or_default().splitn(3, ' ');
    let (first, second, third) = (words.next(), words.next().unwrap_or_default(), words.next());
    let headers = lines.filter_map(|line| line.split_once(": "));
    let parts = Parts {
        kind,
        start,
        end_at: start.at + 1_000,
        complete: true,
        method_or_reason: if kind == MessageKind::Request { first } else { third }.unwrap_or_default().into(),
        target: second.into(),
        version: http_parse::Version { major: 1, minor: 1 },
        status: second.parse().unwrap_or_default(),
        headers: headers.map(|(name, value)| (name.into(), value.into())).collect(),
        body: body.to_vec(),
        body_bytes: body.len() as u64,
        ..Parts::default()
    };
    parts.build()
}

/// Writes records, each over the one before it; the bytes written.
pub fn write_records(writer: &mut RecordWriter, written: &Written, out: &mut Vec<u8>) -> u64 {
    let mut bytes = 0;
    for (n, (request, response)) in written.messages.iter().enumerate() {
        out.clear();
        let exchange = Exchange {
            request: Some(request),
            response: Some(response),
            client: Side::Left,
            index: u32::try_from(n).ok(),
            flags: Flags::default(),
        };
        writer.write(&written.meta, &exchange, out);
        bytes += out.len() as u64;
    }
    bytes
}

/// A reader over a capture file in memory.
///
/// # Panics
/// When the bytes are no capture file.
#[must_use]
pub fn reader(file: Vec<u8>) -> CaptureReader {
    CaptureReader::from_read(Box::new(Cursor::new(file)), "memory".to_owned(), &ReadOptions::default())
        .expect("a capture file")
}

/// Reads a capture to its end; its frames and their bytes.
///
/// # Panics
/// When the capture is damaged.
pub fn read(reader: &mut CaptureReader) -> (u64, u64) {
    let (mut frames, mut bytes) = (0, 0);
    while let Some(captured) = reader.next().expect("a whole capture") {
        frames += 1;
        bytes += captured.frame.data.len() as u64;
    }
    (frames, bytes)
}

/// The whole pipeline: what was read of `reader`, as records to `outlet`.
///
/// # Panics
/// When the capture is damaged.
pub fn replay(reader: &mut CaptureReader, settings: &Settings, outlet: impl Outlet) -> LaneReport {
    let mut pipeline = Pipeline::inline(settings, outlet);
    while let Some(captured) = reader.next().expect("a whole capture") {
        pipeline.push(captured.frame);
    }
    pipeline.finish();
    let mut lane = pipeline.into_segments();
    lane.finish();
    lane.report()
}

#[cfg(test)]
mod tests {
    use sensor::outlet::Discard;

    use super::*;

    /// A bench of a stage that does nothing is a fast bench.
    #[test]
    fn stages_do_their_work() {
        let packets = traffic::api(4, 25, 3_000);
        let mut decap = Decapsulator::new(decap::Config::default());
        let payload = take_apart(&mut decap, &packets);
        for tunnelled in [
            traffic::in_vxlan(packets.clone()),
            traffic::nested(packets.clone()),
            traffic::in_fragments(packets.clone()),
        ] {
            assert_eq!(take_apart(&mut decap, &tunnelled), payload);
        }
        let segments = Segments::of(&packets);
        assert_eq!((segments.len(), segments.bytes()), (packets.len(), payload));
        assert_eq!(put_in_order(&mut Reassembler::new(Limits::default(), Count::default()), &segments), payload);
        let calls = Calls::of(&segments);
        assert_eq!(calls.bytes(), payload);
        let exchanges = parse(&calls, &mut Context::new(http_parse::Settings::default()));
        assert_eq!((exchanges.paired, exchanges.alone), (100, 0));
        let report = replay(&mut reader(traffic::file(&packets)), &settings(0), Discard::default());
        assert_eq!(report.recorded, 100);
        let (frames, _) = read(&mut reader(traffic::file(&packets)));
        assert_eq!(frames, packets.len() as u64);
    }

    #[test]
    fn the_bad_mirror_is_bad_and_the_browser_is_understood() {
        let packets = traffic::api(4, 25, 3_000);
        let bad = Segments::of(&traffic::through_a_bad_mirror(packets.clone()));
        assert!(bad.len() < packets.len());
        let calls = Calls::of(&bad);
        assert!(calls.calls.iter().any(|call| matches!(call.what, What::Gap(..))));
        let exchanges = parse(&Calls::of(&Segments::of(&traffic::browser(50))), &mut Context::new(settings(0).http));
        assert_eq!((exchanges.paired, exchanges.alone), (50, 0));
    }

    #[test]
    fn records_hold_what_they_are_made_of() {
        let mut out = Vec::new();
        let mut writer = RecordWriter::new(settings(0).record);
        write_records(&mut writer, &Written::new(1, 600), &mut out);
        let line = String::from_utf8(out).unwrap();
        for part in ["/static/bundle-000000.js", "304", "If-None-Match", "X-Request-Id", "leave at the"] {
            assert!(line.contains(part), "{part} in {line}");
        }
    }
}
