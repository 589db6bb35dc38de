//! The state machine of one connection.

mod ahead;
mod body;
mod chunked;
mod counting;
mod cut_off;
mod doubt;
mod forerunners;
mod heads;
mod held;
mod hunt;
mod pairing;
pub(crate) mod pieces;
mod settling;
mod side;
mod surplus;
mod turns;
mod waiting;

use crate::context::Context;
use crate::exchange::ExchangeSink;
use crate::message::MessageKind;
use crate::protocol::{ClientHello, Protocol};
use crate::{Position, Side, Want};
use cut_off::CutOff;
use held::Held;
use pairing::{Order, Queue};
use side::{State, Stream};
use turns::Turns;
use waiting::Point;

/// Steps in a row that may take no byte. Each changes the state for one that will, and none needs more than three of them;
/// beyond this the bytes are passed over, so that no mistake in a state and no setting makes a call go on for ever.
const MAX_IDLE_STEPS: u32 = 16;

/// One connection: two sides, what they are in the middle of, and the messages that wait for their partners.
///
/// It must be given to [`Connection::close`] in the end: what is dropped instead stays in the context's counts.
#[derive(Debug)]
pub struct Connection {
    left: Stream,
    right: Stream,
    requests: Queue,
    responses: Queue,
    order: Order,
    initiator: Option<Side>,
    /// Which side sends requests, once a start line was found.
    client: Option<Side>,
    /// The other side or the handshake agrees with `client`.
    roles_agree: bool,
    /// What the bytes behind a 101 or a CONNECT are, if they turn out to be nothing else.
    fallback: Option<Protocol>,
    /// What the connection was recognized as: nothing more of it is parsed.
    shunted: Option<Protocol>,
    /// Weak signs of TLS so far.
    tls_signs: u8,
    /// What a snap length cut off from requests.
    cut_off: CutOff,
    /// Bytes of the server that wait for a request to say what they are.
    held: Option<Box<Held>>,
}

impl Connection {
    /// A connection that `initiator` opened; `None`: picked up mid-stream, the sides may stand anywhere.
    #[must_use]
    pub fn new(initiator: Option<Side>) -> Self {
        let from_start = initiator.is_some();
        Self {
            left: Stream::new(from_start),
            right: Stream::new(from_start),
            requests: Queue::default(),
            responses: Queue::default(),
            order: Order {
                linked: from_start,
                pipelined: false,
                last_response_end: 0,
                last_response: (0, 0),
                last_point: Point::UNKNOWN,
                last_request_acked: u64::MAX,
                turns: Turns::default(),
                index: 0,
                answered: false,
                roomy: false,
                shortest: u32::MAX,
                shortest_response: u32::MAX,
                surplus: None,
                forerunners: None,
                body_until: 0,
            },
            initiator,
            client: None,
            roles_agree: false,
            fallback: None,
            shunted: None,
            tls_signs: 0,
            cut_off: CutOff::default(),
            held: None,
        }
    }

    /// The next bytes of a side. `bytes` is what one segment brought; that a call starts at `bytes` is a hint where
    /// messages start, used only when searching for a start line.
    pub fn data(
        &mut self,
        side: Side,
        position: Position,
        bytes: &[u8],
        cx: &mut Context,
        sink: &mut impl ExchangeSink,
    ) -> Want {
        cx.stats.stream_bytes += bytes.len() as u64;
        self.note_seen(side, position.offset);
        let stream = self.stream_mut(side);
        stream.next = position.offset;
        stream.at = position.at;
        stream.acked_before = stream.acked;
        stream.acked = stream.acked.max(position.acked.unwrap_or_default());
        self.take(side, position, bytes, cx, sink);
        if self.shunted.is_some() {
            return Want::Nothing;
        }
        self.note_progress(side, cx, sink);
        self.want(side)
    }

    /// Takes note that a side is at `offset`.
    fn note_seen(&mut self, side: Side, offset: u64) {
        let stream = self.stream_mut(side);
        if !std::mem::replace(&mut stream.seen, true)
            && let Some(initiator) = self.initiator
        {
            // The first byte of its stream.
            self.order.last_point.begin(side == initiator, offset);
        }
    }

    /// Takes a piece of a stream that came before, as of then: what was said of the peer by then is what counts.
    fn take_piece(
        &mut self,
        side: Side,
        (position, acked_before): (Position, u64),
        bytes: &[u8],
        cx: &mut Context,
        sink: &mut impl ExchangeSink,
    ) {
        let stream = self.stream_mut(side);
        (stream.next, stream.at, stream.acked_before) = (position.offset, position.at, acked_before);
        self.take(side, position, bytes, cx, sink);
    }

    /// Reads bytes of a side.
    fn take(
        &mut self,
        side: Side,
        mut position: Position,
        bytes: &[u8],
        cx: &mut Context,
        sink: &mut impl ExchangeSink,
    ) {
        let (mut rest, mut segment_start) = (bytes, true);
        let mut idle_steps = 0;
        while !rest.is_empty() {
            if let Some(protocol) = self.shunted {
                self.count_other(protocol, rest.len() as u64, cx);
                return;
            }
            let used = match self.stream(side).state {
                State::Boundary | State::Search => self.hunt(side, position, rest, segment_start, cx, sink),
                State::Head => self.gather(side, position, rest, cx, sink),
                State::Length(_) | State::UntilClose | State::Chunked(_) => {
                    self.read_body(side, position, rest, segment_start, cx, sink)
                }
            };
            idle_steps = if used == 0 { idle_steps + 1 } else { 0 };
            if idle_steps > MAX_IDLE_STEPS {
                self.pass_over(side, position, rest.len() as u64, cx, sink);
                break;
            }
            rest = rest.get(used..).unwrap_or_default();
            position.offset += used as u64;
            // A step that takes nothing has changed the state for one that will.
            segment_start &= used == 0;
        }
    }

    /// No state takes the next `len` bytes, so none will. What was begun ends here, and they are searched no further.
    #[cold]
    fn pass_over(&mut self, side: Side, position: Position, len: u64, cx: &mut Context, sink: &mut impl ExchangeSink) {
        self.mark_loss(side, position.offset);
        self.abandon(side, position.offset, cx, sink);
        match self.shunted {
            Some(protocol) => self.count_other(protocol, len, cx),
            None => self.skip(side, len, cx, sink),
        }
    }

    /// The next `len` bytes of a side were lost. `position.acked` is known where they were cut off from a segment of which
    /// the beginning was captured, and `None` where whole segments were lost.
    pub fn gap(
        &mut self,
        side: Side,
        position: Position,
        len: u64,
        cx: &mut Context,
        sink: &mut impl ExchangeSink,
    ) -> Want {
        cx.stats.stream_bytes += len;
        cx.stats.gap_bytes += len;
        if self.shunted.is_some() {
            return Want::Nothing;
        }
        self.let_go(side, &[], cx, sink);
        self.note_seen(side, position.offset);
        let stream = self.stream_mut(side);
        stream.gapped = true;
        stream.next = position.offset;
        self.lose(side, position, len, cx, sink);
        self.stream_mut(side).next = position.offset.saturating_add(len);
        self.note_progress(side, cx, sink);
        self.want(side)
    }

    /// The next `len` bytes of a side were seen but not kept, after [`Want::Skip`].
    pub fn skipped(
        &mut self,
        side: Side,
        position: Position,
        len: u64,
        cx: &mut Context,
        sink: &mut impl ExchangeSink,
    ) -> Want {
        cx.stats.stream_bytes += len;
        if let Some(protocol) = self.shunted {
            self.count_other(protocol, len, cx);
            return Want::Nothing;
        }
        self.let_go(side, &[], cx, sink);
        self.note_seen(side, position.offset);
        let stream = self.stream_mut(side);
        stream.next = position.offset;
        stream.at = position.at;
        let used = self.pass_body(side, position, len, cx, sink);
        if used < len {
            // More than was said not to be needed: what it held is lost for framing.
            self.mark_loss(side, position.offset.saturating_add(used));
            self.abandon(side, position.offset.saturating_add(used), cx, sink);
            self.skip(side, len - used, cx, sink);
        }
        self.stream_mut(side).next = position.offset.saturating_add(len);
        self.note_progress(side, cx, sink);
        self.want(side)
    }

    /// A side has ended in order.
    pub fn end(&mut self, side: Side, position: Position, cx: &mut Context, sink: &mut impl ExchangeSink) -> Want {
        if self.shunted.is_some() {
            return Want::Nothing;
        }
        let _ = position;
        self.end_side(side, cx, sink);
        self.stream_mut(side).ended = true;
        self.settle(false, cx, sink);
        self.want(side)
    }

    /// The connection is over: emits what is left. `shunted` bytes of it were never looked at, after [`Want::Nothing`].
    pub fn close(mut self, at: u64, shunted: u64, cx: &mut Context, sink: &mut impl ExchangeSink) {
        // Messages end when their last bytes were captured, not when the connection was found to be over.
        let _ = at;
        if self.shunted.is_none() {
            match self.fallback {
                Some(protocol) => self.shunt(protocol, None, cx, sink),
                None if self.client.is_none() && (self.left.seen || self.right.seen) => {
                    self.shunt(Protocol::Unknown, None, cx, sink);
                }
                None => self.finish(cx, sink),
            }
        }
        cx.stats.stream_bytes += shunted;
        self.count_other(self.shunted.unwrap_or(Protocol::Unknown), shunted, cx);
        cx.charge_queue(self.requests.allocated() + self.responses.allocated(), 0);
        self.drop_surplus(cx);
        self.drop_forerunners(cx);
    }

    /// Gives the connection up as `protocol`: emits what is left and parses no more.
    fn shunt(
        &mut self,
        protocol: Protocol,
        hello: Option<&ClientHello>,
        cx: &mut Context,
        sink: &mut impl ExchangeSink,
    ) {
        // First of all: to end a side may be to read what it has left, and nothing of that may start a message that no
        // one would end, or give the connection up again.
        self.shunted = Some(protocol);
        self.drop_candidate(Side::Left, protocol, cx);
        self.drop_candidate(Side::Right, protocol, cx);
        self.finish(cx, sink);
        if let Some(count) = cx.stats.recognized.get_mut(protocol as usize) {
            *count += 1;
        }
        sink.recognized(protocol, hello);
    }

    /// Ends both sides and emits everything that waits.
    fn finish(&mut self, cx: &mut Context, sink: &mut impl ExchangeSink) {
        for side in [Side::Left, Side::Right] {
            self.end_side(side, cx, sink);
        }
        self.settle(true, cx, sink);
    }

    /// What is wanted next of a side.
    fn want(&self, side: Side) -> Want {
        if self.shunted.is_some() {
            return Want::Nothing;
        }
        let stream = self.stream(side);
        match stream.state {
            State::Length(left) | State::Chunked(chunked::Chunked::Data(left))
                if !stream.capturing && !stream.doubtful =>
            {
                Want::Skip(left)
            }
            _ => Want::More,
        }
    }

    /// Counts bytes that are not HTTP/1.
    fn count_other(&self, protocol: Protocol, len: u64, cx: &mut Context) {
        if let Some(count) = cx.stats.not_http_bytes.get_mut(protocol as usize) {
            *count += len;
        }
    }

    fn stream(&self, side: Side) -> &Stream {
        match side {
            Side::Left => &self.left,
            Side::Right => &self.right,
        }
    }

    fn stream_mut(&mut self, side: Side) -> &mut Stream {
        match side {
            Side::Left => &mut self.left,
            Side::Right => &mut self.right,
        }
    }

    /// What `side` sends, once that is known.
    fn kind_of(&self, side: Side) -> Option<MessageKind> {
        self.client.map(|client| if client == side { MessageKind::Request } else { MessageKind::Response })
    }
}

// A hundred thousand of these lie in flow slots.
const _: () = assert!(size_of::<Connection>() <= 512);
