//! The appliance: sources, workers, records, ledger, command line.

pub mod record;
pub mod source;
