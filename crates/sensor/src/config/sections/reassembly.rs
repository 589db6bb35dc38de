//! `[reassembly]`

use std::time::Duration;

use reassembly::Limits;

use super::prelude::*;

section! {
    Restart;
    /// Time-outs and caps of TCP reassembly. Times are packet time.
    pub struct Reassembly {
        /// How long lost bytes hold a stream up once the receiver has acknowledged them.
        pub acknowledged_hole: Duration = any_time().or(Limits::default().acknowledged_hole),
        /// The same without an acknowledgement.
        pub hole: Duration = any_time().or(Limits::default().hole),
        /// Silence after which a connection is over.
        pub idle: Duration = any_time().or(Limits::default().idle),
        /// The same for a connection that never carried data.
        pub idle_without_payload: Duration = any_time().or(Limits::default().idle_without_payload),
        /// How long a connection is remembered after its end, to recognize late copies.
        pub linger: Duration = any_time().or(Limits::default().linger),
        /// Bytes of out-of-order data that one direction of a connection may hold.
        pub max_held_per_direction: ByteSize = any_size().or(bytes(Limits::default().max_held_per_direction as u64)),
        /// Separate pieces of the same.
        pub max_ranges_per_direction: usize = whole(1..=1 << 20).or(Limits::default().max_ranges_per_direction),
    }
}
