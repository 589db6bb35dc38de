//! Native records: an exchange and its connection in, one line of JSON out.
//!
//! The format is documented in docs/output-format.md and, as a JSON Schema, in docs/record.schema.json; tests hold the
//! three together. [`RecordWriter`] appends to the caller's buffer and does nothing else: it opens nothing, sends nothing
//! and reads no clock. Whatever a head or body holds, the line is valid JSON in valid UTF-8 without a line feed inside.

mod body;
mod connection;
mod id;
mod json;
mod room;
mod seal;
mod target;
mod time;
mod writer;

pub use connection::ConnectionMeta;
pub use id::TransactionId;
pub use seal::{Sealed, SealedRecord, Unsealed};
pub use writer::{Outcome, RecordOptions, RecordWriter, Written};
