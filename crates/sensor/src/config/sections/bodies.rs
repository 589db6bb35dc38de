//! `[bodies]`

use super::prelude::*;
use crate::config::value::media_type;

section! {
    Restart;
    /// What is kept of bodies.
    pub struct Bodies {
        /// Bytes kept of each body, after transfer decoding and before content decoding; 0 keeps none (--body-limit).
        pub limit: ByteSize = any_size().or(bytes(http_parse::Settings::default().body_limit as u64)),
        /// Media types whose bodies are kept: "type/subtype", "type/*", "+suffix", or "all" (--body-types).
        pub types: Vec<String> = list(media_type()).or(["all".to_owned()]),
        /// Bytes of a body recorded after content decoding. Default: four times the limit, or what memory allows if that is
        /// less.
        pub decoded_limit: Option<ByteSize> = any_size().optional(kib(128)),
    }
}
