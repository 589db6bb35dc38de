//! TCP segments in, ordered bytes and honest gaps out, per flow.
//!
//! `reassembly` is a sans-IO state machine: it takes [`decap::Segment`]s in the order in which they were captured and
//! drives a [`StreamHandler`] with each direction's bytes in stream order. It opens nothing, starts nothing and reads no
//! clock: time is the segment's timestamp. It knows nothing of what the bytes mean.
//!
//! # Invariants
//!
//! - *Gap honesty*: between a direction's first and last position, every byte is handed over exactly once, as
//!   [`StreamHandler::data`], [`StreamHandler::gap`] or [`StreamHandler::skipped`], in order and without overlap.
//! - *No copy in order*: a segment that starts where the stream stands is handed over as it lies in the frame.
//! - *Nothing stalls*: a hole is given up after bounded time, memory or evidence, and the stream goes on behind it.
//! - *Budget*: pages, flows and held ranges never exceed [`Limits`].
//! - *Time invariance*: what a handler sees does not depend on how often [`Reassembler::tick`] is called, nor on other
//!   flows, as long as no limit is reached.

mod early;
mod flow;
mod handler;
mod hold;
mod intake;
mod limits;
mod order;
mod pages;
mod pair;
mod patience;
mod reassembler;
mod recent;
mod rival;
mod slab;
mod stats;
mod streams;
mod table;
mod timers;

pub use handler::{CloseReason, Ending, FlowInfo, Position, StreamHandler, Want};
pub use limits::Limits;
pub use reassembler::Reassembler;
pub use stats::{DropReason, Stats};
