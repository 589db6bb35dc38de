//! `[status]`

use std::net::SocketAddr;

use super::prelude::*;

section! {
    Restart;
    /// Health and metrics over HTTP: /healthz, /readyz, /metrics. A thread that is stuck makes it unhealthy, which is a reason to
    /// restart it, as a watchdog of the service manager does. A disk or a reader of the output that stands still, sources that are
    /// down, and a platform that is away while there is no room for batches make it unready only.
    pub struct Status {
        /// Whether a live sensor answers at all.
        pub enabled: bool = flag().or(true),
        /// Where it listens. Whoever can reach it can read how much traffic there is, and of which networks. It keeps 32
        /// connections at a time; the next one has the oldest closed.
        pub listen: SocketAddr = socket_address().or(([127, 0, 0, 1], 9_600)),
    }
}
