//! Bytes held back until the request is known that says whether they are a response's body.
//!
//! A mirror may put a response before its request. If that was HEAD, the next response stands right behind the response's
//! head; if not, its body does, and may begin with a status line. Of a client that waits, no other response can come without
//! a request; of one that pipelines it can, and only the request tells. It is a few packets away.
//!
//! Where the request does not tell, the bytes do; and so that it does not matter how they were cut, the first few of them that
//! may yet become a start line are held back, too.

use super::Connection;
use super::doubt::is_begun;
use crate::context::Context;
use crate::exchange::ExchangeSink;
use crate::message::{MatchState, MessageKind};
use crate::{Position, Side};

/// Pieces that are held at most: mirrors reorder by a few packets.
const MOST_PIECES: usize = 64;
/// More bytes than a response's start line is told by.
const LONGEST_BEGUN: usize = 72;

/// Bytes behind a response's head, in the pieces in which they came.
#[derive(Debug, Default)]
pub(super) struct Held {
    bytes: Vec<u8>,
    /// The pieces, in order and without a gap.
    pieces: Vec<Piece>,
}

/// What is known of bytes that came together.
#[derive(Clone, Copy, Debug)]
struct Piece {
    position: Position,
    /// What was said of the peer before they came, and not before the last ones did.
    acked_before: u64,
}

impl Held {
    fn allocated(&self) -> usize {
        size_of::<Self>() + self.bytes.capacity() + self.pieces.capacity() * size_of::<Piece>()
    }

    /// Where the first piece stands.
    fn start(&self) -> Option<Position> {
        self.pieces.first().map(|first| first.position)
    }

    /// The pieces, each with its bytes.
    fn iter(&self) -> impl Iterator<Item = (Piece, &[u8])> {
        let first = self.start().map_or(0, |first| first.offset);
        let index = move |offset: u64| usize::try_from(offset - first).unwrap_or(usize::MAX);
        self.pieces.iter().enumerate().map(move |(number, piece)| {
            let end = self.pieces.get(number + 1).map_or(self.bytes.len(), |next| index(next.position.offset));
            (*piece, self.bytes.get(index(piece.position.offset)..end).unwrap_or_default())
        })
    }
}

impl Connection {
    /// Whether bytes behind the head of the response in hand, which look like the next one, are to be held back: its request
    /// is on its way, or more of them will tell what they are.
    pub(super) fn waits_to_tell(&self, side: Side, bytes: &[u8], cx: &Context) -> bool {
        let (held, pieces) = self.held.as_deref().map_or((&[][..], 0), |held| (&held.bytes[..], held.pieces.len()));
        self.kind_of(side) == Some(MessageKind::Response)
            && !cx.releases
            && !cx.is_short()
            && held.len().saturating_add(bytes.len()) <= cx.settings().max_head
            && pieces < MOST_PIECES
            && (self.waits_for_request(side) || is_begun(Begin::new(held, bytes).bytes()))
    }

    /// Whether the request is on its way that says whether the response in hand has a body.
    fn waits_for_request(&self, side: Side) -> bool {
        let client = self.stream(side.opposite());
        // Of a joined connection, what is captured first of a side may wait for where that begins.
        let may_come = || match client.seen || self.initiator.is_some() {
            true => self.order.linked && !self.may_hide_request(side.opposite()),
            false => true,
        };
        let response = self.stream(side).reading();
        response.is_some_and(|response| response.match_state == MatchState::Undecided) && may_come() && !client.ended
    }

    /// Whether what is held back is enough to tell whether a start line stands there.
    pub(super) fn can_tell_held(&self) -> bool {
        self.held.as_deref().is_some_and(|held| !is_begun(Begin::new(&held.bytes, &[]).bytes()))
    }

    /// Holds `bytes` back. The stream stands where the first of them does.
    pub(super) fn hold_back(&mut self, side: Side, position: Position, bytes: &[u8], cx: &mut Context) {
        let before = self.held.as_deref().map_or(0, Held::allocated);
        let acked_before = self.stream(side).acked_before;
        let held = self.held.get_or_insert_default();
        held.pieces.push(Piece { position, acked_before });
        held.bytes.extend_from_slice(bytes);
        let next = held.start().map_or(position.offset, |first| first.offset);
        cx.charge_queue(before, held.allocated());
        cx.stats.undecided_bytes += bytes.len() as u64;
        self.stream_mut(side).next = next;
    }

    /// Takes what is held back out, to be read by [`Connection::release`].
    pub(super) fn take_held(&mut self, cx: &mut Context) -> Option<Box<Held>> {
        let held = self.held.take()?;
        cx.charge_queue(held.allocated(), 0);
        cx.stats.undecided_bytes -= held.bytes.len() as u64;
        Some(held)
    }

    /// Reads what was held back, as it came.
    pub(super) fn release(&mut self, side: Side, held: &Held, cx: &mut Context, sink: &mut impl ExchangeSink) {
        for (Piece { position, acked_before }, bytes) in held.iter() {
            self.take_piece(side, (position, acked_before), bytes, cx, sink);
        }
    }

    /// Nothing more will be known of the request: what is held back on `side`, if anything is, is read for what it looks like
    /// with `behind`, the bytes that come right behind it.
    pub(super) fn let_go(&mut self, side: Side, behind: &[u8], cx: &mut Context, sink: &mut impl ExchangeSink) {
        if self.held.is_none() || self.kind_of(side) != Some(MessageKind::Response) {
            return;
        }
        if let Some(held) = self.take_held(cx) {
            let before = std::mem::replace(&mut cx.releases, true);
            // Judged whole, or it would matter in which pieces it came.
            if let Some(position) = held.start().filter(|_| self.stream(side).doubtful) {
                let stream = self.stream_mut(side);
                (stream.next, stream.at) = (position.offset, position.at);
                let begin = Begin::new(&held.bytes, behind);
                if !self.is_response_body(side, position) && self.is_next_message(side, position, begin.bytes()) {
                    self.end_without_body(side, cx, sink);
                }
                self.stream_mut(side).doubtful = false;
            }
            self.release(side, &held, cx, sink);
            cx.releases = before;
        }
    }
}

/// The first bytes of two pieces, as many as a start line is told by.
struct Begin {
    bytes: [u8; LONGEST_BEGUN],
    len: usize,
}

impl Begin {
    fn new(held: &[u8], behind: &[u8]) -> Self {
        let mut begin = Self { bytes: [0; LONGEST_BEGUN], len: 0 };
        for (byte, from) in begin.bytes.iter_mut().zip(held.iter().chain(behind)) {
            *byte = *from;
            begin.len += 1;
        }
        begin
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}
