//! What the reassembler drives.

use decap::{Direction, FlowKey, Timestamp, TunnelPath};

/// A place in one direction's byte stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// When the segment that carried the bytes was captured; for a gap, when it was declared.
    pub at: Timestamp,
    /// The stream offset of the first byte: monotonic over the life of the stream, starting anywhere, its low 32 bits
    /// equal to the TCP sequence number.
    pub offset: u64,
    /// How far the sender of these bytes had acknowledged the other direction when it sent them, as an offset of that
    /// direction; `None` when its segment carried no acknowledgement.
    pub acked: Option<u64>,
}

/// What a handler wants to see next of a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// The next bytes.
    More,
    /// The content of the next `n` bytes of this direction is not needed: in-order bytes may still be handed over as
    /// data, but out-of-order ones are not kept and come as [`StreamHandler::skipped`].
    Skip(u64),
    /// Nothing more of this flow, in either direction. The flow is shunted: its bytes are counted, nothing else.
    Nothing,
}

/// What is known of a flow when it is opened.
#[derive(Clone, Copy, Debug)]
pub struct FlowInfo<'a> {
    /// The flow's name.
    pub key: &'a FlowKey,
    /// When its first segment was captured.
    pub at: Timestamp,
    /// The direction in which the connection was opened, where a SYN or SYN-ACK was seen; `None`: picked up mid-stream.
    pub initiator: Option<Direction>,
    /// The encapsulations of the segment that opened it.
    pub path: &'a TunnelPath,
}

/// Why a flow ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// Both directions ended with FIN.
    Finished,
    /// A reset in the window.
    Reset,
    /// No segment for the idle timeout.
    Idle,
    /// A new connection took the same endpoints.
    Reused,
    /// Given up to make room.
    Evicted,
    /// The input ended.
    EndOfInput,
}

/// How a flow ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// When: packet time of the segment or deadline that ended it.
    pub at: Timestamp,
    /// Why.
    pub why: CloseReason,
    /// Payload bytes counted after the flow was shunted, by `Direction::index`.
    pub shunted: [u64; 2],
}

/// The receiver of reassembled streams. Its per-flow state lives in the flow's slot: one look-up a packet.
pub trait StreamHandler {
    /// State of one flow.
    type Conn;

    /// A flow is about to deliver its first bytes (flows without payload are never opened).
    fn open(&mut self, flow: &FlowInfo<'_>) -> Self::Conn;

    /// The next bytes of a direction. `bytes` is never empty. A call's bytes come from one segment, so that a segment's
    /// start shows as a call's start.
    fn data(&mut self, conn: &mut Self::Conn, direction: Direction, position: Position, bytes: &[u8]) -> Want;

    /// The next `len` bytes of a direction were lost: never captured, cut off by the capture, or dropped for a limit.
    fn gap(&mut self, conn: &mut Self::Conn, direction: Direction, position: Position, len: u64) -> Want;

    /// The next `len` bytes of a direction were seen but not kept, because the handler said [`Want::Skip`].
    fn skipped(&mut self, conn: &mut Self::Conn, direction: Direction, position: Position, len: u64) -> Want;

    /// A direction ended in order with FIN; nothing more comes in it.
    fn end(&mut self, conn: &mut Self::Conn, direction: Direction, position: Position) -> Want;

    /// The flow ended. Called exactly once for each opened flow.
    fn close(&mut self, conn: Self::Conn, ending: Ending);
}
