//! `[http]`

use http_parse::Settings;

use super::prelude::*;

section! {
    Restart;
    /// Caps of HTTP parsing.
    pub struct Http {
        /// The longest head that is parsed: from a few short lines to more than any server takes.
        pub max_head: ByteSize = size(bytes(256)..=mib(1)).or(bytes(Settings::default().max_head as u64)),
        /// The most header fields of a head that are kept.
        pub max_headers: usize = whole(1..=1 << 20).or(Settings::default().max_headers),
        /// Messages of a connection that may wait for their partner, each way.
        pub max_pending: usize = whole(1..=1 << 20).or(Settings::default().max_pending),
        /// Bytes that may look like nothing known before a connection is given up.
        pub max_detect: ByteSize = any_size().or(bytes(Settings::default().max_detect as u64)),
        /// Bytes searched for the next message after a loss or a mid-stream pick-up.
        pub max_resync: ByteSize = any_size().or(bytes(Settings::default().max_resync)),
    }
}
