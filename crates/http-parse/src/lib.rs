//! Ordered bytes and gaps of both directions in, paired HTTP exchanges out.
//!
//! `http-parse` is a sans-IO state machine: a [`Connection`] takes the bytes, gaps and ends of a connection's two sides
//! as they become known and hands finished [`Exchange`]s to an [`ExchangeSink`]. It knows nothing of packets: a side's
//! bytes carry a stream offset and how far their sender had acknowledged the other side, which is all that pairing needs.
//! It opens nothing, starts nothing and reads no clock, allocates nothing in steady state (buffers are pooled in
//! [`Context`]), and never panics on any input.
//!
//! # Invariants
//!
//! - *Segmentation invariance*: how bytes are split over calls does not change the exchanges.
//! - *Precision*: a response is never paired with a request that it may not answer; unsure is emitted unpaired.
//! - *Truncation never ends parsing*: bodies beyond the limit are counted, not kept; framing goes on.
//! - *Accounting*: every byte is parsed, lost in a gap, or skipped for a named protocol ([`Stats::is_balanced`]).

mod connection;
mod context;
mod copies;
mod decode;
mod exchange;
mod flags;
mod framing;
mod head;
mod hello;
mod message;
mod protocol;
mod recognize;
mod settings;
mod stats;
#[doc(hidden)]
pub mod testing;

pub use connection::Connection;
pub use context::Context;
pub use copies::Copies;
pub use decode::{DecodeOutcome, Decoder};
pub use exchange::{Exchange, ExchangeSink, Heads};
pub use flags::{Flag, Flags};
pub use message::{Body, Header, Message, MessageKind, Version};
pub use protocol::{ClientHello, Protocol};
pub use settings::{BodyTypes, Settings};
pub use stats::{Stats, Unparsable};

/// One of the two sides of a connection. Says nothing about client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// One side.
    Left,
    /// The other.
    Right,
}

impl Side {
    /// The other side.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }

    /// 0 for [`Side::Left`], 1 for [`Side::Right`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// A place in one side's byte stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// When the bytes were captured: nanoseconds since the Unix epoch.
    pub at: u64,
    /// The offset of the first byte: monotonic over the life of the side, starting anywhere.
    pub offset: u64,
    /// How far the sender of these bytes had received the other side when it sent them, as an offset of that side.
    pub acked: Option<u64>,
}

/// What a connection wants to see next of a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// The next bytes.
    More,
    /// The content of the next `n` bytes of this side is not needed; they may come as data or through
    /// [`Connection::skipped`].
    Skip(u64),
    /// Nothing more of this connection.
    Nothing,
}
