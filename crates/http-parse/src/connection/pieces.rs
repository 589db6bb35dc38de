//! The pieces in which bytes came that might become a start line and did not.
//!
//! Such bytes wait together. Where they turn out to be none, a message may still start where a later piece of them does: what is
//! behind a broken message must be found however the stream was cut.

use super::Connection;
use super::side::State;
use crate::context::Context;
use crate::exchange::ExchangeSink;
use crate::message::Message;
use crate::{Position, Side};

/// Pieces behind the first that are remembered. Words longer than this are no methods.
const MOST: usize = 64;

/// Where the pieces of a candidate begin, but the first.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    starts: Vec<Position>,
}

impl Pieces {
    fn allocated(&self) -> usize {
        size_of::<Self>() + self.starts.capacity() * size_of::<Position>()
    }

    /// How long the first piece of `len` bytes from `start` on is.
    fn first_len(&self, start: u64, len: usize) -> usize {
        self.starts.first().map_or(len, |next| index(start, *next, len))
    }
}

/// Where `position` is in `len` bytes from `start` on.
fn index(start: u64, position: Position, len: usize) -> usize {
    usize::try_from(position.offset.saturating_sub(start)).unwrap_or(usize::MAX).min(len)
}

impl Context {
    /// A piece at `position` goes on with `candidate`.
    pub(super) fn note_piece(&mut self, candidate: &mut Message, position: Position) {
        let before = candidate.pieces.as_deref().map_or(0, Pieces::allocated);
        let pieces = candidate.pieces.get_or_insert_default();
        if pieces.starts.len() < MOST {
            pieces.starts.push(position);
        }
        self.charge_queue(before, pieces.allocated());
    }

    /// Forgets in which pieces a candidate came.
    pub(crate) fn drop_pieces(&mut self, candidate: &mut Message) -> Option<Box<Pieces>> {
        let pieces = candidate.pieces.take()?;
        self.charge_queue(pieces.allocated(), 0);
        Some(pieces)
    }
}

impl Connection {
    /// The candidate in hand, which ends in front of the bytes that come now, is no message: passes its first piece over and
    /// looks for a start in the others.
    pub(super) fn retry(&mut self, side: Side, cx: &mut Context, sink: &mut impl ExchangeSink) {
        let Some(mut candidate) = self.stream_mut(side).message.take() else { return };
        let pieces = cx.drop_pieces(&mut candidate).unwrap_or_default();
        let (start, len) = (candidate.start, candidate.head.len());
        let first = pieces.first_len(start.offset, len);
        cx.stats.undecided_bytes -= len as u64;
        self.stream_mut(side).pass(start.acked, candidate.head.get(..first).unwrap_or_default());
        self.skip(side, first as u64, cx, sink);
        if self.shunted.is_none() && self.stream(side).state == State::Boundary {
            self.mark_loss(side, start.offset);
            self.stream_mut(side).lose_sync();
        }
        let stream = self.stream(side);
        let (now, mut acked_before) = ((stream.next, stream.at, stream.acked_before), start.acked.unwrap_or_default());
        let ends = pieces.starts.iter().skip(1).map(|next| index(start.offset, *next, len)).chain([len]);
        for (position, end) in pieces.starts.iter().zip(ends) {
            let bytes = candidate.head.get(index(start.offset, *position, len)..end).unwrap_or_default();
            self.take_piece(side, (*position, acked_before), bytes, cx, sink);
            acked_before = acked_before.max(position.acked.unwrap_or_default());
        }
        let stream = self.stream_mut(side);
        (stream.next, stream.at, stream.acked_before) = now;
        cx.give_back(candidate);
    }
}
