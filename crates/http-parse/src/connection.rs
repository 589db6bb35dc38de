//! The state machine of one connection.

use crate::context::Context;
use crate::exchange::ExchangeSink;
use crate::{Position, Side, Want};

/// One connection: two sides, what they are in the middle of, and the messages that wait for their partners.
#[derive(Debug)]
pub struct Connection {
    initiator: Option<Side>,
}

impl Connection {
    /// A connection that `initiator` opened; `None`: picked up mid-stream, the sides may stand anywhere.
    #[must_use]
    pub fn new(initiator: Option<Side>) -> Self {
        Self { initiator }
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
        let _ = (side, position, bytes, cx, sink, self.initiator);
        Want::More
    }

    /// The next `len` bytes of a side were lost.
    pub fn gap(
        &mut self,
        side: Side,
        position: Position,
        len: u64,
        cx: &mut Context,
        sink: &mut impl ExchangeSink,
    ) -> Want {
        let _ = (side, position, len, cx, sink);
        Want::More
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
        let _ = (side, position, len, cx, sink);
        Want::More
    }

    /// A side has ended in order.
    pub fn end(&mut self, side: Side, position: Position, cx: &mut Context, sink: &mut impl ExchangeSink) -> Want {
        let _ = (side, position, cx, sink);
        Want::More
    }

    /// The connection is over: emits what is left. `shunted` bytes of it were never looked at, after [`Want::Nothing`].
    pub fn close(self, at: u64, shunted: u64, cx: &mut Context, sink: &mut impl ExchangeSink) {
        let _ = (at, shunted, cx, sink);
    }
}
