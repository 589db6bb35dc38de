//! Live sources: what a running sensor captures from.
//!
//! Two kinds: an [`Interface`], whose frames libpcap gives from a ring that the kernel fills, and a [`Listener`], a plain
//! UDP socket that a mirror sends its tunnel to. Neither ever sends anything: an interface's port of a UDP tunnel is held
//! by a [`HeldPort`], so that the host does not answer the mirror with "port unreachable" either.

mod capture;
mod hold;
mod interface;
mod lanes;
mod list;
mod listener;
mod merge;
mod offload;
mod run;
mod source;

pub use capture::{CaptureReport, SourceError, SourceKind, SourcePlan, SourceState};
pub use hold::{HeldPort, HoldError};
pub use interface::{Interface, InterfaceError, InterfaceOptions};
pub use list::{Listed, heading, interfaces};
pub use listener::{Listener, ListenerError, ListenerOptions};
pub use offload::Offloads;
pub use run::{Run, Running, Snapshot, SourceStatus, StartError};
pub use source::{LiveSource, Lost, SourceCounts};
