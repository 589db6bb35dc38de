//! The sensor as an appliance: it captures for months, answers for its state, and ends in good order.

mod allocator;
mod attended;
mod confine;
mod log;
mod notify;
mod reloading;
mod sources;
mod state;
mod watch;

pub use allocator::give_back_large_buffers;
pub use attended::{Attended, Turns};
pub use confine::{ConfineError, FileSystem, Reach, become_user_of, confine, return_to, unknown_identities};
pub use log::Log;
pub use reloading::Reload;
pub use sources::{SourcesError, sources};
pub use state::{Room, State};
pub use watch::{Appliance, ApplianceError, DEADLINE, End};
