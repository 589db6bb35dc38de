//! Between reassembly and HTTP: a flow's bytes to its connection, a connection's exchanges to who takes them.

use std::sync::Arc;

use decap::{Direction, FlowKey, TunnelPath};
use http_parse::{ClientHello, Connection, Context, Exchange, ExchangeSink, Heads, Protocol, Side};
use reassembly::{Ending, FlowInfo, Position, StreamHandler, Want};

use crate::filter::Slot;
use crate::gate::{Gate, Memo};
use crate::guard::Forgetful;
use crate::masker::MaskPolicy;
use crate::normalize::Normalizer;
use crate::outlet::{CHUNK, Handoff, empty_buffer};
use crate::preface::{Kept, Opening, Taken};
use crate::record::{ConnectionMeta, RecordOptions, Unsealed, side};
use crate::scribe::Scribe;
use crate::tally::{NameMasker, Tally};

/// Takes what is found in the flows of one worker.
pub trait Finds {
    /// A flow is about to give its first bytes. `Some`: nothing of it is read.
    fn open(&mut self, meta: &ConnectionMeta) -> Option<Slot>;

    /// Bytes of a flow of which nothing is read, gaps included.
    fn unread(&mut self, slot: Slot, len: u64);

    /// Whether the body that begins is of use.
    fn wants_body(&mut self, meta: &ConnectionMeta, memo: &mut Memo, heads: &Heads<'_>) -> bool;

    /// An exchange is complete.
    fn exchange(&mut self, meta: &ConnectionMeta, memo: &mut Memo, exchange: &Exchange<'_>);

    /// A connection is TLS, and said hello.
    fn client_hello(&mut self, hello: &ClientHello);

    /// How transactions are called.
    fn normalizer(&self) -> &Normalizer;
}

/// What a flow's slot holds of us.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all flows are read, and a slot is as large as it has to be")]
pub enum Conn {
    /// It is read.
    Read(Reading),
    /// It is left out by a filter, whole.
    Out(Slot),
}

/// A flow that is read.
#[derive(Debug)]
pub struct Reading {
    http: Connection,
    meta: ConnectionMeta,
    opening: Opening,
    memo: Memo,
}

/// What was found of the PROXY protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProxyCounts {
    /// Connections that begin with a header of it.
    pub connections: u64,
    /// Bytes of those headers, lost ones included.
    pub bytes: u64,
}

/// Reads the flows of one worker as HTTP and hands on what it finds.
#[derive(Debug)]
pub struct HttpHandler<F> {
    context: Context,
    finds: F,
    paths: Paths,
    flows_read: u64,
    proxy: ProxyCounts,
}

impl<F: Finds> HttpHandler<F> {
    /// A handler that has seen nothing.
    #[must_use]
    pub fn new(http: http_parse::Settings, finds: F) -> Self {
        Self {
            context: Context::new(http),
            finds,
            paths: Paths::default(),
            flows_read: 0,
            proxy: ProxyCounts::default(),
        }
    }

    /// Flows that were opened and not left out by a filter.
    #[must_use]
    pub fn flows_read(&self) -> u64 {
        self.flows_read
    }

    /// The HTTP side's counts and memory.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// What was found of the PROXY protocol.
    #[must_use]
    pub fn proxy(&self) -> ProxyCounts {
        self.proxy
    }

    /// Who takes what is found.
    #[must_use]
    pub fn finds(&self) -> &F {
        &self.finds
    }

    /// Who takes what is found, to change.
    pub fn finds_mut(&mut self) -> &mut F {
        &mut self.finds
    }

    /// The first bytes of a client that may begin with a PROXY protocol header.
    #[cold]
    fn begin(&mut self, reading: &mut Reading, direction: Direction, at: Position, bytes: &[u8]) -> Want {
        match reading.opening.data(direction, at, bytes) {
            Taken::Kept => Want::More,
            Taken::Torn(len) => {
                let (torn, rest) = bytes.split_at(len.min(bytes.len()));
                // What is wanted is said again behind it, if there is anything.
                let wanted = self.read(reading, direction, at, torn);
                if rest.is_empty() {
                    return wanted;
                }
                self.read(reading, direction, Position { offset: at.offset + torn.len() as u64, ..at }, rest)
            }
            Taken::Passed(kept) => {
                self.pass(reading, direction, kept);
                self.read(reading, direction, at, bytes)
            }
            Taken::Header { found, len, before } => {
                if let Some(found) = found {
                    self.proxy.connections += 1;
                    reading.meta.note_proxied(direction, found.addresses);
                }
                self.proxy.bytes += (before + len) as u64;
                match bytes.get(len..).filter(|rest| !rest.is_empty()) {
                    Some(rest) => {
                        self.read(reading, direction, Position { offset: at.offset + len as u64, ..at }, rest)
                    }
                    None => Want::More,
                }
            }
        }
    }

    /// The next `len` bytes of a client that may begin with a header are not there: how many of them are none of that.
    fn miss(&mut self, reading: &mut Reading, direction: Direction, len: u64) -> u64 {
        let (of_header, kept) = reading.opening.missing(direction, len);
        self.proxy.bytes += of_header;
        self.pass(reading, direction, kept);
        len - of_header
    }

    /// The next `len` bytes of a direction are not there; `tell` says to a connection that is read in which way.
    fn without(
        &mut self,
        conn: &mut Conn,
        direction: Direction,
        at: Position,
        len: u64,
        tell: impl FnOnce(
            &mut Connection,
            Side,
            http_parse::Position,
            u64,
            &mut Context,
            &mut ConnSink<'_, F>,
        ) -> http_parse::Want,
    ) -> Want {
        let reading = match conn {
            Conn::Read(reading) => reading,
            Conn::Out(slot) => {
                self.finds.unread(*slot, len);
                return Want::Nothing;
            }
        };
        let left = if reading.opening.is_over(direction) { len } else { self.miss(reading, direction, len) };
        if left == 0 {
            return Want::More;
        }
        let at = Position { offset: at.offset + (len - left), ..at };
        let Reading { http, meta, memo, .. } = reading;
        let mut sink = ConnSink { meta, memo, finds: &mut self.finds };
        want(tell(http, side(direction), position(at), left, &mut self.context, &mut sink))
    }

    fn pass(&mut self, reading: &mut Reading, direction: Direction, kept: Option<Box<Kept>>) {
        for (at, bytes) in kept.iter().flat_map(|kept| kept.pieces()) {
            // What is wanted is said again behind it.
            let _ = self.read(reading, direction, at, bytes);
        }
    }

    #[inline]
    fn read(&mut self, reading: &mut Reading, direction: Direction, at: Position, bytes: &[u8]) -> Want {
        let Reading { http, meta, memo, .. } = reading;
        let mut sink = ConnSink { meta, memo, finds: &mut self.finds };
        want(http.data(side(direction), position(at), bytes, &mut self.context, &mut sink))
    }
}

impl<F: Finds> StreamHandler for HttpHandler<F> {
    type Conn = Conn;

    fn open(&mut self, flow: &FlowInfo<'_>) -> Conn {
        let meta = ConnectionMeta::new(flow, self.paths.shared(flow.path));
        match self.finds.open(&meta) {
            Some(slot) => Conn::Out(slot),
            None => {
                self.flows_read += 1;
                let opening = match self.finds.normalizer().reads_proxy_protocol() {
                    true => Opening::new(flow.initiator),
                    false => Opening::NONE,
                };
                Conn::Read(Reading {
                    http: Connection::new(flow.initiator.map(side)),
                    meta,
                    opening,
                    memo: Memo::default(),
                })
            }
        }
    }

    #[inline]
    fn data(&mut self, conn: &mut Conn, direction: Direction, at: Position, bytes: &[u8]) -> Want {
        // There is no other way to a defect on purpose. No program that is built for use has this.
        #[cfg(test)]
        assert!(!bytes.ends_with(tests::DEFECT), "a defect");
        match conn {
            Conn::Read(reading) if reading.opening.is_over(direction) => self.read(reading, direction, at, bytes),
            Conn::Read(reading) => self.begin(reading, direction, at, bytes),
            Conn::Out(slot) => {
                self.finds.unread(*slot, bytes.len() as u64);
                Want::Nothing
            }
        }
    }

    fn gap(&mut self, conn: &mut Conn, direction: Direction, at: Position, len: u64) -> Want {
        self.without(conn, direction, at, len, |http, side, at, len, cx, sink| http.gap(side, at, len, cx, sink))
    }

    fn skipped(&mut self, conn: &mut Conn, direction: Direction, at: Position, len: u64) -> Want {
        self.without(conn, direction, at, len, |http, side, at, len, cx, sink| http.skipped(side, at, len, cx, sink))
    }

    fn end(&mut self, conn: &mut Conn, direction: Direction, at: Position) -> Want {
        let Conn::Read(reading) = conn else { return Want::Nothing };
        let kept = reading.opening.end(direction);
        self.pass(reading, direction, kept);
        let Reading { http, meta, memo, .. } = reading;
        let mut sink = ConnSink { meta, memo, finds: &mut self.finds };
        want(http.end(side(direction), position(at), &mut self.context, &mut sink))
    }

    fn close(&mut self, conn: Conn, ending: Ending) {
        let shunted = ending.shunted.iter().sum();
        let mut reading = match conn {
            Conn::Read(reading) => reading,
            Conn::Out(slot) => return self.finds.unread(slot, shunted),
        };
        for direction in [Direction::Forward, Direction::Reverse] {
            let kept = reading.opening.end(direction);
            self.pass(&mut reading, direction, kept);
        }
        let Reading { http, meta, mut memo, .. } = reading;
        let mut sink = ConnSink { meta: &meta, memo: &mut memo, finds: &mut self.finds };
        http.close(ending.at.as_nanos(), shunted, &mut self.context, &mut sink);
    }
}

impl<O: Handoff> Forgetful for HttpHandler<Records<O>> {
    fn name(conn: &Self::Conn) -> Option<FlowKey> {
        match conn {
            Conn::Read(reading) => Some(reading.meta.key),
            Conn::Out(_) => None,
        }
    }

    fn forget(&mut self, conn: Conn) {
        self.finds.buffer.drop_unfinished();
        let Conn::Read(reading) = conn else { return };
        // So that its memory is given back. What it still has to say is not to be trusted.
        reading.http.close(0, 0, &mut self.context, &mut Unheard);
    }
}

/// Takes exchanges that nobody is to see.
struct Unheard;

impl ExchangeSink for Unheard {
    fn exchange(&mut self, _: &Exchange<'_>) {}

    fn recognized(&mut self, _: Protocol, _: Option<&ClientHello>) {}
}

/// Bytes of heads and bodies up to which an exchange is copied for another thread to write.
const MOST_DRAFTED: usize = 64 << 10;
/// The most that a body may be decoded to where bodies with a content coding are copied too: on the other side the same is
/// taken once more, which nothing but [`memory::PER_WORKER_BATCHES`](crate::memory::PER_WORKER_BATCHES) has room for.
const MOST_DECODED: usize = 1 << 20;

/// The records of one worker: a reused buffer of finished ones, or of drafts, and what was counted on the way.
#[derive(Debug)]
pub struct Records<O> {
    gate: Gate,
    scribe: Scribe,
    buffer: Unsealed,
    /// Whether the buffer is one of drafts.
    is_drafting: bool,
    /// Whether bodies with a content coding can be copied.
    drafts_coded: bool,
    outlet: O,
    tally: Tally,
    /// Masks what is counted by name, as the scribe does what is recorded.
    names: Option<NameMasker>,
    is_stopped: bool,
}

impl<O: Handoff> Records<O> {
    /// No records yet. `mask`: what is taken out of them; `None` leaves all in.
    #[must_use]
    pub fn new(options: RecordOptions, mask: Option<&MaskPolicy>, gate: Gate, outlet: O) -> Self {
        Self {
            drafts_coded: options.decode_limit <= MOST_DECODED,
            scribe: Scribe::new(options, mask, gate.normalizer()),
            gate,
            buffer: empty_buffer(),
            is_drafting: false,
            outlet,
            tally: Tally::default(),
            names: mask.map(NameMasker::new),
            is_stopped: false,
        }
    }

    /// The filters in front of them.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// The filters in front of them, to change.
    pub fn gate_mut(&mut self) -> &mut Gate {
        &mut self.gate
    }

    /// Records written here so far, whether or not they have left the buffer.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.scribe.written()
    }

    /// Exchanges of which no record was written, because the records' shape has no place for them.
    #[must_use]
    pub fn unsendable(&self) -> u64 {
        self.scribe.unsendable()
    }

    /// What was counted over the exchanges, and over the records that were written here.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let mut tally = self.tally.clone();
        tally.merge(self.scribe.tally());
        tally
    }

    /// Whether the outlet takes nothing further.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// From the next record on, `mask` is what is taken out.
    pub fn remask(&mut self, mask: Option<&MaskPolicy>) {
        self.scribe.remask(mask);
        self.names = mask.map(NameMasker::new);
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
}

impl<O: Handoff> Finds for Records<O> {
    fn open(&mut self, meta: &ConnectionMeta) -> Option<Slot> {
        self.gate.flow(meta)
    }

    fn unread(&mut self, slot: Slot, len: u64) {
        self.gate.count_flow_bytes(slot, len);
    }

    #[inline]
    fn wants_body(&mut self, meta: &ConnectionMeta, memo: &mut Memo, heads: &Heads<'_>) -> bool {
        self.gate.wants_body(meta, memo, heads)
    }

    fn exchange(&mut self, meta: &ConnectionMeta, memo: &mut Memo, exchange: &Exchange<'_>) {
        let Some(admission) = self.gate.admit(meta, memo, exchange) else { return };
        self.tally.exchange(exchange, self.names.as_mut());
        if self.buffer.is_empty() {
            if self.outlet.refuses() {
                // To write what is dropped would only cost what comes in as well.
                self.scribe.leave_out();
                return;
            }
            self.is_drafting = self.outlet.takes_drafts();
        }
        if self.is_drafting && (size(exchange) > MOST_DRAFTED || !self.drafts_coded && is_coded(exchange)) {
            // A buffer is of one kind, and such a copy would cost more memory than it saves time.
            if !self.buffer.is_empty() {
                self.is_stopped |= self.outlet.hand_on(&mut self.buffer).is_break();
            }
            self.is_drafting = false;
        }
        if self.is_drafting {
            self.buffer.draft(meta, exchange, admission);
        } else {
            self.scribe.write(meta, exchange, admission, &mut self.buffer);
        }
        // Here, not after each packet: the end of the input can complete a hundred thousand exchanges at once.
        if self.buffer.size() >= CHUNK {
            self.flush();
        }
    }

    fn client_hello(&mut self, hello: &ClientHello) {
        self.tally.client_hello(hello, self.names.as_mut());
    }

    fn normalizer(&self) -> &Normalizer {
        self.gate.normalizer()
    }
}

/// Bytes of heads and bodies.
#[inline]
fn size(exchange: &Exchange<'_>) -> usize {
    let messages = [exchange.request, exchange.response].into_iter().flatten();
    messages.map(|message| message.head().len() + message.body().captured.len()).sum()
}

/// Whether a body was kept that has a coding.
fn is_coded(exchange: &Exchange<'_>) -> bool {
    let mut messages = [exchange.request, exchange.response].into_iter().flatten();
    messages.any(|message| !message.body().captured.is_empty() && crate::record::is_coded(message))
}

/// The sink of one call: which connection's exchanges these are.
struct ConnSink<'a, F> {
    meta: &'a ConnectionMeta,
    memo: &'a mut Memo,
    finds: &'a mut F,
}

impl<F: Finds> ExchangeSink for ConnSink<'_, F> {
    fn exchange(&mut self, exchange: &Exchange<'_>) {
        self.finds.exchange(self.meta, self.memo, exchange);
    }

    fn wants_body(&mut self, heads: &Heads<'_>) -> bool {
        self.finds.wants_body(self.meta, self.memo, heads)
    }

    fn recognized(&mut self, _: Protocol, hello: Option<&ClientHello>) {
        if let Some(hello) = hello {
            self.finds.client_hello(hello);
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
