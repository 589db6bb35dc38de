//! Records as they are written, held against `serde_json`, the schema, the documentation and committed snapshots.

mod allocations;
mod conversations;
mod documents;
mod edge;
mod ids;
mod masking;
mod names;
mod reading;
mod schema;
mod snapshots;
mod support;
