//! Records: an exchange and its connection in, one line of JSON out, in one of two shapes.
//!
//! Both are documented in docs/output-format.md, the native one also as a JSON Schema, docs/record.schema.json; tests hold
//! them together. [`RecordWriter`] appends to the caller's buffer and does nothing else: it opens nothing, sends nothing
//! and reads no clock. Whatever a head or body holds, the line is valid JSON in valid UTF-8 without a line feed inside.

mod body;
mod connection;
mod drafts;
mod edge;
mod id;
mod json;
mod masking;
mod names;
mod native;
mod options;
mod pieces;
mod room;
mod seal;
mod shrink;
mod target;
mod time;
mod writer;

pub(crate) use body::is_coded;
pub use connection::ConnectionMeta;
pub(crate) use connection::side;
pub use drafts::{Desk, Drafts};
pub use id::TransactionId;
pub use masking::{Finding, FindingForm, Findings, Masked, MaskedBody, Masking, Unmasked};
pub use options::{EdgeOptions, HeaderValues, RecordOptions, Shape, Unanswered};
pub use seal::{Sealed, SealedRecord, Unsealed};
pub use shrink::without_bodies;
pub(crate) use target::Target;
pub use writer::{Admission, Outcome, RecordWriter, Written};
