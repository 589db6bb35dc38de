//! What a running sensor tells: `/healthz`, `/readyz` and `/metrics` over HTTP, on an address of the operator's choice.
//!
//! Nothing here is on the way of a packet: answers are made from what the threads told last.

mod meaning;
mod metrics;
mod server;

pub use metrics::{Kind, Metric, Sample, ledger_metrics, render, source_metrics};
pub use server::{StatusError, StatusServer};

/// One condition of being healthy or ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What is asked, such as `source eth0`.
    pub name: String,
    /// Whether it holds.
    pub holds: bool,
    /// What was found.
    pub detail: String,
}

/// What the endpoints are answered from.
pub trait Condition: Send + Sync + 'static {
    /// Whether the process does its work: every thread makes progress. A process that does not is to be restarted.
    fn health(&self) -> Vec<Check>;
    /// Whether it has work and can pass it on: sources are up, the platform is reachable or the spool has room.
    fn readiness(&self) -> Vec<Check>;
    /// Every metric.
    fn metrics(&self) -> Vec<Metric>;
}
