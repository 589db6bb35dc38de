//! Capture files: the source of `sensor replay`.
//!
//! A [`CaptureReader`] gives the frames of one input, in file order, borrowed from its buffer: nothing is allocated or
//! copied for a frame, and there is no system call for a packet. It reads pcap (micro- and nanoseconds, both byte
//! orders, and the modified format of old Linux tools) and pcapng (several sections, interfaces, link types and clocks),
//! each plain or compressed with gzip or zstd. What a file is, its content tells; its name never matters.
//!
//! The reader is honest about broken input. A file that ends inside its last record (a capture tool was killed, a copy
//! was cut short) gives everything before it and a [`Warning`]. A record that cannot be one gives everything before it
//! and a [`ReadError`] with the offset and the reason. It never panics, never guesses where the next record might
//! start, and holds no more than one buffer of at most 32 MiB (and a decompressor's window), whatever a length field
//! says.
//!
//! Formats: draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng; gzip is RFC 1952, zstd RFC 8878. Link types:
//! <https://www.tcpdump.org/linktypes.html>.

mod clock;
mod content;
mod decompress;
mod error;
mod filter;
mod gzip;
mod input;
mod link;
mod pcap;
mod pcapng;
mod program;
mod read_ahead;
mod reader;
mod record;
mod warning;
mod window;

pub use error::{OpenError, ReadError};
pub use filter::{Filter, FilterError};
pub use input::{Input, expand, expand_with};
pub use link::LinkName;
pub use reader::{CaptureReader, Captured, Counts, Progress, ReadOptions};
pub use warning::{Warning, WarningKind};
