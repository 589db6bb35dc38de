//! Why an input cannot be opened, and why it cannot be read to its end.

use std::io;
use std::path::PathBuf;

use super::link::{LinkName, READABLE};

/// An input that cannot be read at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no such file.
    #[error("cannot open {}: no such file or directory", path.display())]
    NotFound {
        /// As it was given.
        path: PathBuf,
    },
    /// The operating system refuses.
    #[error("cannot open {}: {source}", path.display())]
    Refused {
        /// As it was given.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A directory without a single capture in it.
    #[error("directory {} holds no capture file", path.display())]
    NoCaptures {
        /// As it was given.
        path: PathBuf,
    },
    /// Standard input was named twice; it can be read once.
    #[error("standard input (-) is named twice")]
    StdinTwice,
    /// Not one byte.
    #[error("{name} is empty (0 bytes)")]
    Empty {
        /// The input.
        name: String,
    },
    /// Neither pcap nor pcapng nor anything that could hold one.
    #[error("{name} is not a capture file: it starts with {start}, and neither pcap nor pcapng does")]
    NotACapture {
        /// The input.
        name: String,
        /// Its first bytes, readable.
        start: String,
    },
    /// A known format that is not read.
    #[error("{name} is {format}, which is not supported")]
    Unsupported {
        /// The input.
        name: String,
        /// What it is.
        format: &'static str,
        /// What to do about it.
        hint: &'static str,
    },
    /// It ends before its first record could start.
    #[error("{name} ends after {bytes} bytes, inside its file header")]
    CutHeader {
        /// The input.
        name: String,
        /// Its length, decompressed.
        bytes: u64,
    },
    /// Every packet of a pcap file has the same link type, and this one cannot be read.
    #[error("{name} cannot be read: link type {link} is not supported; Sensor reads {READABLE}")]
    LinkType {
        /// The input.
        name: String,
        /// The link type.
        link: LinkName,
    },
    /// It fails before the first record.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl OpenError {
    /// The exit code of a program that stops for this: 2 when what was asked for is not there, 1 when it is broken or
    /// of a kind that is not read.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::NotFound { .. } | Self::Refused { .. } | Self::NoCaptures { .. } | Self::StdinTwice => 2,
            Self::Empty { .. }
            | Self::NotACapture { .. }
            | Self::Unsupported { .. }
            | Self::CutHeader { .. }
            | Self::LinkType { .. }
            | Self::Read(_) => 1,
        }
    }

    /// What to do about it, where something can be said.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NotFound { .. } => "check the path; - reads standard input",
            Self::Refused { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "the file must be readable by the user that runs sensor"
            }
            Self::NoCaptures { .. } => {
                "a directory gives the captures directly in it, not those of its subdirectories or hidden ones"
            }
            Self::StdinTwice => "name - once",
            Self::NotACapture { .. } => "expected pcap or pcapng, plain or compressed with gzip or zstd",
            Self::Unsupported { hint, .. } => hint,
            Self::LinkType { .. } => "capture on an interface of one of these types, for example with tcpdump -i any",
            Self::Refused { .. } | Self::Empty { .. } | Self::CutHeader { .. } | Self::Read(_) => return None,
        })
    }
}

/// An input that cannot be read further. Everything before `offset` has been given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The file's content cannot be right.
    #[error("{name} is corrupt at offset {offset}: {reason}")]
    Corrupt {
        /// The input.
        name: String,
        /// Where the record that cannot be one starts, in decompressed bytes.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// The operating system fails.
    #[error("{name} cannot be read beyond offset {offset}: {source}")]
    Io {
        /// The input.
        name: String,
        /// How far reading came, in decompressed bytes.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// Nothing came for a while, or a while has passed, and more may come: this is the time for what waited, and then to ask
    /// again.
    #[error("{name} has given nothing for a while")]
    Waiting {
        /// The input.
        name: String,
    },
    /// A pcapng file of which no packet is of a link type that can be read.
    #[error(
        "{name} cannot be read: all its {packets} packets have link type {link}, which is not supported; Sensor reads {READABLE}"
    )]
    LinkType {
        /// The input.
        name: String,
        /// The link type of the first packet.
        link: LinkName,
        /// How many packets there are.
        packets: u64,
    },
}

impl ReadError {
    /// The exit code of a program that ends with this.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        1
    }

    /// How far the input was good, in decompressed bytes, where that is what the error is about.
    #[must_use]
    pub const fn offset(&self) -> Option<u64> {
        match self {
            Self::Corrupt { offset, .. } | Self::Io { offset, .. } => Some(*offset),
            Self::LinkType { .. } | Self::Waiting { .. } => None,
        }
    }
}
