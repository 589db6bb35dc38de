//! Live sources: what a running sensor captures from.
//!
//! Two kinds: an [`Interface`], whose frames libpcap gives from a ring that the kernel fills, and a [`Listener`], a plain
//! UDP socket that a mirror sends its tunnel to. Neither ever sends anything: an interface's port of a UDP tunnel is held
//! by [`HeldPorts`], so that the host does not answer the mirror with "port unreachable" either.

mod capture;
mod hold;
mod interface;
mod interface_error;
mod lanes;
mod links;
mod list;
mod listener;
mod membership;
mod merge;
mod offload;
mod own;
mod pattern;
mod pinning;
mod plan;
mod renewal;
mod repetition;
mod right;
mod run;
mod source;

pub use capture::{CaptureReport, SourceState};
pub use hold::{HeldPorts, HeldProtocols, Keeping};
pub use interface::{Interface, InterfaceOptions};
pub use interface_error::InterfaceError;
pub use list::{Listed, heading, interfaces};
pub use listener::{Listener, ListenerError, ListenerOptions, Share};
pub use offload::Offloads;
pub use own::OwnTraffic;
pub use pattern::Pattern;
pub use pinning::{Pinning, PinningError, barred};
pub use plan::{SourceError, SourceKind, SourcePlan};
pub use renewal::Renewal;
pub use right::{Opener, give_up, give_up_inheritance, has_right};
pub use run::{Run, Running, Snapshot, SourceStatus, Sources, StartError, Witness};
pub use source::{LiveSource, Lost, SourceCounts};
