//! Bytes held back until the request is known that says whether they are a response's body.
//!
//! A mirror may put a response before its request. If that was HEAD, the next response stands right behind the response's
//! head; if not, its body does, and may begin with a status line. Of a client that waits, no other response can come without
//! a request; of one that pipelines it can, and only the request tells. It is a few packets away.

use super::Connection;
use crate::context::Context;
use crate::exchange::ExchangeSink;
use crate::message::{MatchState, MessageKind};
use crate::{Position, Side};

/// Pieces that are held at most: mirrors reorder by a few packets.
const MOST_PIECES: usize = 64;

/// Bytes behind a response's head, in the pieces in which they came.
#[derive(Debug, Default)]
pub(super) struct Held {
    bytes: Vec<u8>,
    /// Where the pieces begin, in order and without a gap.
    pieces: Vec<Position>,
}

impl Held {
    fn allocated(&self) -> usize {
        size_of::<Self>() + self.bytes.capacity() + self.pieces.capacity() * size_of::<Position>()
    }

    /// The pieces, each with where it stands.
    fn iter(&self) -> impl Iterator<Item = (Position, &[u8])> {
        let first = self.pieces.first().map_or(0, |first| first.offset);
        let index = move |offset: u64| usize::try_from(offset - first).unwrap_or(usize::MAX);
        self.pieces.iter().enumerate().map(move |(number, piece)| {
            let end = self.pieces.get(number + 1).map_or(self.bytes.len(), |next| index(next.offset));
            (*piece, self.bytes.get(index(piece.offset)..end).unwrap_or_default())
        })
    }
}

impl Connection {
    /// Whether bytes behind the head of the response in hand, which look like the next one, are to be held back: its request
    /// is on its way.
    pub(super) fn may_hold(&self, side: Side, len: usize, cx: &Context) -> bool {
        let stream = self.stream(side);
        let held = self.held.as_deref().map_or((0, 0), |held| (held.bytes.len(), held.pieces.len()));
        self.kind_of(side) == Some(MessageKind::Response)
            && self.order.linked
            && !cx.releases
            && !cx.is_short()
            && held.0.saturating_add(len) <= cx.settings().max_head
            && held.1 < MOST_PIECES
            && stream.reading().is_some_and(|response| response.match_state == MatchState::Undecided)
            && !self.may_hide_request(side.opposite())
            && !self.stream(side.opposite()).ended
    }

    /// Holds `bytes` back. The stream stands where the first of them does.
    pub(super) fn hold_back(&mut self, side: Side, position: Position, bytes: &[u8], cx: &mut Context) {
        let before = self.held.as_deref().map_or(0, Held::allocated);
        let held = self.held.get_or_insert_default();
        held.pieces.push(position);
        held.bytes.extend_from_slice(bytes);
        let next = held.pieces.first().map_or(position.offset, |first| first.offset);
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
        // What was said of the peer when each piece came, and not when the last one did.
        let mut acked = self.stream(side).reading().and_then(|response| response.start.acked).unwrap_or_default();
        for (position, bytes) in held.iter() {
            let stream = self.stream_mut(side);
            stream.acked_before = acked;
            acked = acked.max(position.acked.unwrap_or_default());
            stream.next = position.offset;
            stream.at = position.at;
            self.take(side, position, bytes, cx, sink);
        }
    }

    /// Nothing more will be known of the request: what is held back on `side`, if anything is, is read for what it looks like.
    pub(super) fn let_go(&mut self, side: Side, cx: &mut Context, sink: &mut impl ExchangeSink) {
        if self.held.is_none() || self.kind_of(side) != Some(MessageKind::Response) {
            return;
        }
        if let Some(held) = self.take_held(cx) {
            let before = std::mem::replace(&mut cx.releases, true);
            self.release(side, &held, cx, sink);
            cx.releases = before;
        }
    }
}
