//! Between reassembly and HTTP: a flow's bytes to its connection, a connection's exchanges to records.

use std::sync::Arc;

use decap::{Direction, FlowKey, TunnelPath};
use http_parse::{ClientHello, Connection, Context, Exchange, ExchangeSink, Protocol, Side};
use reassembly::{Ending, FlowInfo, Position, StreamHandler, Want};

use crate::guard::Forgetful;
use crate::masker::{MaskPolicy, RecordMasker};
use crate::outlet::{CHUNK, Handoff, empty_buffer};
use crate::record::{ConnectionMeta, RecordOptions, RecordWriter, Unsealed, Written};
use crate::tally::Tally;

/// What a flow's slot holds of us.
#[derive(Debug)]
pub struct Conn {
    http: Connection,
    meta: ConnectionMeta,
}

/// Reads the flows of one worker as HTTP and writes what it finds.
#[derive(Debug)]
pub struct HttpHandler<O> {
    context: Context,
    records: Records<O>,
    paths: Paths,
}

impl<O: Handoff> HttpHandler<O> {
    /// A handler that has seen nothing. `mask`: what is taken out of records; `None` leaves all in.
    #[must_use]
    pub fn new(http: http_parse::Settings, record: RecordOptions, mask: Option<&MaskPolicy>, outlet: O) -> Self {
        Self { context: Context::new(http), records: Records::new(record, mask, outlet), paths: Paths::default() }
    }

    /// The HTTP side's counts and memory.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// What was written.
    #[must_use]
    pub fn records(&self) -> &Records<O> {
        &self.records
    }

    /// What was written, to flush or to take apart.
    pub fn records_mut(&mut self) -> &mut Records<O> {
        &mut self.records
    }
}

impl<O: Handoff> StreamHandler for HttpHandler<O> {
    type Conn = Conn;

    fn open(&mut self, flow: &FlowInfo<'_>) -> Conn {
        Conn {
            http: Connection::new(flow.initiator.map(side)),
            meta: ConnectionMeta::new(flow, self.paths.shared(flow.path)),
        }
    }

    fn data(&mut self, conn: &mut Conn, direction: Direction, at: Position, bytes: &[u8]) -> Want {
        // There is no other way to a defect on purpose. No program that is built for use has this.
        #[cfg(test)]
        assert!(!bytes.ends_with(tests::DEFECT), "a defect");
        let mut sink = ConnSink { meta: &conn.meta, records: &mut self.records };
        want(conn.http.data(side(direction), position(at), bytes, &mut self.context, &mut sink))
    }

    fn gap(&mut self, conn: &mut Conn, direction: Direction, at: Position, len: u64) -> Want {
        let mut sink = ConnSink { meta: &conn.meta, records: &mut self.records };
        want(conn.http.gap(side(direction), position(at), len, &mut self.context, &mut sink))
    }

    fn skipped(&mut self, conn: &mut Conn, direction: Direction, at: Position, len: u64) -> Want {
        let mut sink = ConnSink { meta: &conn.meta, records: &mut self.records };
        want(conn.http.skipped(side(direction), position(at), len, &mut self.context, &mut sink))
    }

    fn end(&mut self, conn: &mut Conn, direction: Direction, at: Position) -> Want {
        let mut sink = ConnSink { meta: &conn.meta, records: &mut self.records };
        want(conn.http.end(side(direction), position(at), &mut self.context, &mut sink))
    }

    fn close(&mut self, conn: Conn, ending: Ending) {
        let Conn { http, meta } = conn;
        let mut sink = ConnSink { meta: &meta, records: &mut self.records };
        http.close(ending.at.as_nanos(), ending.shunted.iter().sum(), &mut self.context, &mut sink);
    }
}

impl<O: Handoff> Forgetful for HttpHandler<O> {
    fn name(conn: &Conn) -> FlowKey {
        conn.meta.key
    }

    fn forget(&mut self, conn: Conn) {
        self.records.buffer.drop_unfinished();
        // So that its memory is given back. What it still has to say is not to be trusted.
        conn.http.close(0, 0, &mut self.context, &mut Unheard);
    }
}

/// Takes exchanges that nobody is to see.
struct Unheard;

impl ExchangeSink for Unheard {
    fn exchange(&mut self, _: &Exchange<'_>) {}

    fn recognized(&mut self, _: Protocol, _: Option<&ClientHello>) {}
}

/// The records of one worker: a reused buffer of finished ones, and what was counted on the way.
#[derive(Debug)]
pub struct Records<O> {
    writer: Writer,
    buffer: Unsealed,
    outlet: O,
    written: u64,
    unsendable: u64,
    tally: Tally,
    is_stopped: bool,
}

impl<O: Handoff> Records<O> {
    fn new(options: RecordOptions, mask: Option<&MaskPolicy>, outlet: O) -> Self {
        Self {
            writer: Writer::new(options, mask),
            buffer: empty_buffer(),
            outlet,
            written: 0,
            unsendable: 0,
            tally: Tally::default(),
            is_stopped: false,
        }
    }

    /// Records written so far, whether or not they have left the buffer.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Exchanges of which no record was written, because the records' shape has no place for them.
    #[must_use]
    pub fn unsendable(&self) -> u64 {
        self.unsendable
    }

    /// What was counted over the records.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Whether the outlet takes nothing further.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// Hands on what is in the buffer.
    pub fn flush(&mut self) {
        if !self.buffer.is_empty() {
            self.is_stopped |= self.outlet.hand_on(&mut self.buffer).is_break();
        }
    }

    /// Where the records go.
    pub fn outlet_mut(&mut self) -> &mut O {
        &mut self.outlet
    }

    fn exchange(&mut self, meta: &ConnectionMeta, exchange: &Exchange<'_>) {
        let written = self.writer.append(meta, exchange, &mut self.buffer);
        self.written += u64::from(written.is_recorded);
        self.unsendable += u64::from(!written.is_recorded);
        self.tally.exchange(exchange, written.flags);
        // Here, not after each packet: the end of the input can complete a hundred thousand exchanges at once.
        if self.buffer.size() >= CHUNK {
            self.flush();
        }
    }
}

/// A writer with or without masking: two, each compiled for itself, so that one that does not mask pays nothing for what
/// it could.
#[derive(Debug)]
enum Writer {
    Plain(Box<RecordWriter>),
    Masking(Box<RecordWriter<RecordMasker>>),
}

impl Writer {
    fn new(options: RecordOptions, mask: Option<&MaskPolicy>) -> Self {
        match mask {
            None => Self::Plain(Box::new(RecordWriter::new(options))),
            Some(policy) => Self::Masking(Box::new(RecordWriter::with_masking(options, RecordMasker::new(policy)))),
        }
    }

    #[inline]
    fn append(&mut self, meta: &ConnectionMeta, exchange: &Exchange<'_>, out: &mut Unsealed) -> Written {
        match self {
            Self::Plain(writer) => writer.append(meta, exchange, out),
            Self::Masking(writer) => writer.append(meta, exchange, out),
        }
    }
}

/// The sink of one call: which connection's exchanges these are.
struct ConnSink<'a, O> {
    meta: &'a ConnectionMeta,
    records: &'a mut Records<O>,
}

impl<O: Handoff> ExchangeSink for ConnSink<'_, O> {
    fn exchange(&mut self, exchange: &Exchange<'_>) {
        self.records.exchange(self.meta, exchange);
    }

    fn recognized(&mut self, _: Protocol, hello: Option<&ClientHello>) {
        if let Some(hello) = hello {
            self.records.tally.client_hello(hello);
        }
    }
}

/// Shares equal tunnel paths between flows: a mirror has few of them, and a path is large.
#[derive(Debug, Default)]
struct Paths {
    /// The most recently used first.
    recent: Vec<Arc<TunnelPath>>,
}

impl Paths {
    /// Enough for both directions of a few mirror sessions.
    const RECENT: usize = 8;

    /// `path`, shared with other flows where one of them had it lately; `None` when nothing was around the segment.
    fn shared(&mut self, path: &TunnelPath) -> Option<Arc<TunnelPath>> {
        if path.hops.is_empty() && path.vlans.is_empty() {
            return None;
        }
        match self.recent.iter().position(|known| **known == *path) {
            Some(place) => self.recent[..=place].rotate_right(1),
            None => {
                self.recent.truncate(Self::RECENT - 1);
                self.recent.insert(0, Arc::new(path.clone()));
            }
        }
        self.recent.first().cloned()
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

const fn want(want: http_parse::Want) -> Want {
    match want {
        http_parse::Want::More => Want::More,
        http_parse::Want::Skip(n) => Want::Skip(n),
        http_parse::Want::Nothing => Want::Nothing,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A segment that ends so makes the handler panic, in the tests of this crate.
    pub(crate) const DEFECT: &[u8] = b"\x00defect\x00";

    fn path(vlan: u16) -> TunnelPath {
        let mut path = TunnelPath::default();
        path.vlans.push(vlan);
        path
    }

    #[test]
    fn equal_paths_are_shared_while_recent() {
        let mut paths = Paths::default();
        assert!(paths.shared(&TunnelPath::default()).is_none());
        let first = paths.shared(&path(1)).unwrap();
        for vlan in 2..8 {
            paths.shared(&path(vlan));
            assert!(Arc::ptr_eq(&first, &paths.shared(&path(1)).unwrap()));
        }
        for vlan in 100..200 {
            assert_eq!(*paths.shared(&path(vlan)).unwrap(), path(vlan));
        }
        assert_eq!(paths.recent.len(), Paths::RECENT);
        assert!(!Arc::ptr_eq(&first, &paths.shared(&path(1)).unwrap()));
    }
}
