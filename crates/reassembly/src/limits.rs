//! Caps and time-outs.

use core::time::Duration;

/// Limits of a [`crate::Reassembler`]. All times are packet time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Flows tracked at once, connections that linger after their end included. The least recently seen is evicted,
    /// flows that never carried payload first. Default 1 Mi.
    pub max_flows: usize,
    /// Bytes for out-of-order data, over all flows, allocated capacity: of their content, and of
    /// what is known of them. Default 64 MiB.
    pub page_memory: usize,
    /// Bytes of out-of-order data that one direction of a flow may hold. Default 4 MiB.
    pub max_held_per_direction: usize,
    /// Out-of-order ranges that one direction of a flow may hold. Default 512.
    pub max_ranges_per_direction: usize,
    /// How long a hole may hold its direction up once the peer has acknowledged beyond it. Default 200 ms.
    pub acknowledged_hole: Duration,
    /// How long a hole may hold its direction up without an acknowledgement. Default 5 s.
    pub hole: Duration,
    /// Silence after which a flow is over. Default 300 s.
    pub idle: Duration,
    /// Silence after which a flow that never carried payload is forgotten. Default 30 s.
    pub idle_without_payload: Duration,
    /// How long a flow lingers after its end, to absorb late copies. Default 5 s. One whose bytes are still sent again
    /// lingers until it is silent for [`Limits::idle_without_payload`].
    pub linger: Duration,
    /// Seed of the flow table's hash; a live sensor takes a random one.
    pub seed: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_flows: 1 << 20,
            page_memory: 64 << 20,
            max_held_per_direction: 4 << 20,
            max_ranges_per_direction: 512,
            acknowledged_hole: Duration::from_millis(200),
            hole: Duration::from_secs(5),
            idle: Duration::from_secs(300),
            idle_without_payload: Duration::from_secs(30),
            linger: Duration::from_secs(5),
            seed: 0,
        }
    }
}
