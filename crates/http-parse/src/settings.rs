//! Limits of parsing and capture.

/// Which bodies are captured, by media type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum BodyTypes {
    /// Every body.
    #[default]
    All,
    /// Bodies whose media type matches one of these: `type/subtype`, `type/*`, or `+suffix`; lower case.
    Only(Vec<String>),
}

/// Settings of a [`crate::Context`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Bytes of each body that are kept, after transfer decoding and before content decoding. 0 keeps none.
    pub body_limit: usize,
    /// Which bodies are kept at all.
    pub body_types: BodyTypes,
    /// The longest head (start line and header fields, bytes) that is parsed. Default 64 KiB.
    pub max_head: usize,
    /// The most header fields of a head or trailer section. Default 512.
    pub max_headers: usize,
    /// The most messages that a connection may keep waiting for their partner, each way. Default 256.
    pub max_pending: usize,
    /// Bytes that a side may send without looking like HTTP before the connection is given up. Default 64 KiB where the
    /// start of the stream was seen; picked up mid-stream the search goes on for [`Settings::max_resync`].
    pub max_detect: usize,
    /// Bytes that a side may be searched for the next start line after a gap or a pick-up. Default 64 MiB.
    pub max_resync: u64,
    /// Bytes of heads, bodies and bookkeeping that all connections of the context may hold, allocated capacity.
    /// Default 256 MiB. Beyond it bodies are no longer captured; beyond 1⅛ times, new messages are not parsed.
    pub memory: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            body_limit: 32 << 10,
            body_types: BodyTypes::All,
            max_head: 64 << 10,
            max_headers: 512,
            max_pending: 256,
            max_detect: 64 << 10,
            max_resync: 64 << 20,
            memory: 256 << 20,
        }
    }
}
