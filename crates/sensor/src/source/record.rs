//! What the readers of the two formats have in common.

use std::io;

use decap::{LinkType, Timestamp};

use super::window::Window;

/// The packet lengths that a file without a usable limit of its own may have: what libpcap captures at most.
pub(super) const USUAL_SNAPLEN: u32 = 256 * 1024;

/// No record is longer, whatever a file says; libpcap and Wireshark draw the line here too.
pub(super) const LONGEST: u32 = 16 * 1024 * 1024;

/// A packet that was just consumed from the window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub(super) at: Timestamp,
    pub(super) link: LinkType,
    pub(super) number: u32,
    pub(super) interface: u32,
    pub(super) wire_len: u32,
    /// The packet's bytes end so far behind the window's front.
    pub(super) back: usize,
    /// How many they are.
    pub(super) len: usize,
}

/// What reading came to.
#[derive(Debug)]
pub(super) enum Step {
    Packet(Record),
    End,
    /// The input ends inside the record that starts at the window's front.
    Cut,
}

/// Why reading cannot go on at the window's front.
#[derive(Debug)]
pub(super) enum Fault {
    Corrupt(String),
    Io(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData => Self::Corrupt(error.to_string()),
            _ => Self::Io(error),
        }
    }
}

impl Fault {
    pub(super) fn corrupt<T>(reason: impl Into<String>) -> Result<T, Self> {
        Err(Self::Corrupt(reason.into()))
    }
}

/// The longest packet that a file with this snapshot length may hold.
///
/// Writers have been seen to exceed the limit they declare, so a small one is not held against them.
pub(super) fn longest_packet(snaplen: u32) -> u32 {
    snaplen.clamp(USUAL_SNAPLEN, LONGEST)
}

/// The end of the input, between records or inside one.
pub(super) fn end(window: &Window) -> Step {
    if window.available().is_empty() && !window.is_cut() { Step::End } else { Step::Cut }
}

/// The byte order of a file or section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) big_endian: bool,
}

impl Order {
    #[inline]
    pub(super) fn u16(self, bytes: [u8; 2]) -> u16 {
        if self.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    }

    #[inline]
    pub(super) fn u32(self, bytes: [u8; 4]) -> u32 {
        if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }

    pub(super) fn u64(self, bytes: [u8; 8]) -> u64 {
        if self.big_endian { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) }
    }

    /// The 32-bit number at a multiple of four that is known to be inside `bytes`; zero were it not.
    #[inline]
    pub(super) fn word(self, bytes: &[u8], at: usize) -> u32 {
        bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |&word| self.u32(word))
    }

    /// As [`Self::word`], 16 bits.
    #[inline]
    pub(super) fn half(self, bytes: &[u8], at: usize) -> u16 {
        bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |&half| self.u16(half))
    }
}
