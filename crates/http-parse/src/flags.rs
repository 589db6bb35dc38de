//! What was odd about an exchange.

macro_rules! flags {
    ($($variant:ident = $name:literal, $meaning:literal;)*) => {
        /// One oddity of an exchange. A closed list; documented in docs/output-format.md.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Flag {
            $(#[doc = $meaning] $variant,)*
        }

        impl Flag {
            /// Every flag, in declaration order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stable `snake_case` name used in records.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it means, in one sentence.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
        }
    };
}

flags! {
    ConflictingContentLength = "conflicting_content_length", "Several Content-Length values that differ.";
    DuplicateContentLength = "duplicate_content_length", "Content-Length more than once, with equal values.";
    InvalidContentLength = "invalid_content_length", "A Content-Length that is not a plain decimal number.";
    ContentLengthWithTransferEncoding = "content_length_with_transfer_encoding", "Both Content-Length and Transfer-Encoding.";
    InvalidTransferEncoding = "invalid_transfer_encoding", "A Transfer-Encoding that is unknown, repeated, malformed, or does not end in chunked.";
    InvalidChunk = "invalid_chunk", "A chunk size or chunk end that breaks the chunked coding.";
    InvalidHeaderName = "invalid_header_name", "A header field name with bytes outside of the token characters.";
    SpaceBeforeColon = "space_before_colon", "White space between a header field name and its colon.";
    HeaderWithoutColon = "header_without_colon", "A line in the head that is no header field.";
    NulInHead = "nul_in_head", "A NUL byte in the head.";
    ObsFold = "obs_fold", "A header field value continued on the next line.";
    BareLf = "bare_lf", "A line of the head that ends in LF without CR.";
    BareCr = "bare_cr", "A CR in the head that no LF follows.";
    LeadingEmptyLines = "leading_empty_lines", "Empty lines or white space before the start line.";
    InvalidStartLine = "invalid_start_line", "A start line that breaks the grammar but could still be read.";
    UnusualVersion = "unusual_version", "A version other than HTTP/1.0 and HTTP/1.1.";
    MissingHost = "missing_host", "An HTTP/1.1 request without Host.";
    DuplicateHost = "duplicate_host", "Host more than once.";
    TooManyHeaders = "too_many_headers", "More header fields than are kept; the rest was read for framing only.";
    MissingBytes = "missing_bytes", "Bytes of a message were lost before capture.";
    HeadGap = "head_gap", "Bytes of a head were lost; what could be read of it is recorded.";
    CutByClose = "cut_by_close", "The connection ended before the message did.";
    Resynchronized = "resynchronized", "The message was found by searching for a start line, after a gap or a mid-stream pick-up.";
    UncertainPairing = "uncertain_pairing", "Request and response could not be matched with certainty and are recorded apart.";
    EarlyResponse = "early_response", "The response began before the request was complete.";
    BodyNotCaptured = "body_not_captured", "Memory for bodies was full: this one was counted, not kept, or only its beginning was.";
    Interim = "interim", "At least one interim (1xx) response came before the final one.";
    Upgraded = "upgraded", "The connection changed to another protocol with this exchange.";
    DecodeFailed = "decode_failed", "The content coding could not be undone; the body is recorded as far as it went.";
    DecodeLimit = "decode_limit", "Content decoding was stopped at its limit.";
    UnknownContentCoding = "unknown_content_coding", "A content coding that is not known; the body is recorded as sent.";
    UndeclaredContentCoding = "undeclared_content_coding", "A body that is packed, though no Content-Encoding says so; it is recorded unpacked.";
}

/// A set of [`Flag`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(u64);

const _: () = assert!(Flag::ALL.len() <= 64);

impl Flags {
    /// The empty set.
    pub const NONE: Self = Self(0);

    /// Adds a flag.
    pub const fn insert(&mut self, flag: Flag) {
        self.0 |= 1 << flag as u8;
    }

    /// Whether the flag is set.
    #[must_use]
    pub const fn contains(self, flag: Flag) -> bool {
        self.0 & (1 << flag as u8) != 0
    }

    /// Whether no flag is set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The flags of either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The flags that are set, in declaration order.
    pub fn iter(self) -> impl Iterator<Item = Flag> {
        Flag::ALL.iter().copied().filter(move |flag| self.contains(*flag))
    }
}
