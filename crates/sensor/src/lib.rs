//! The appliance: sources, workers, records, ledger, command line.

pub mod appliance;
pub mod cli;
pub mod config;
pub mod destination;
pub mod dispatch;
pub mod filter;
pub mod handler;
pub mod interruptible;
pub mod ledger;
pub mod live;
pub mod memory;
pub mod normalize;
pub mod outlet;
pub mod pipeline;
pub mod progress;
pub mod record;
pub mod replay;
pub mod sealing;
pub mod source;
pub mod status;
pub mod summary;
pub mod tally;
pub mod top;
pub mod units;
pub mod upload;
pub mod workers;
