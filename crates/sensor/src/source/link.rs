//! Link types by number and by name.

use std::fmt;

/// What can be read, as messages list it.
pub(super) const READABLE: &str =
    "Ethernet, Linux cooked (SLL, SLL2), raw IP, BSD null and BSD loop, PPP, PPPoE, Cisco HDLC and NFLOG";

/// A link type as a person knows it: its LINKTYPE_ number and what it is called.
///
/// ```
/// assert_eq!(sensor::source::LinkName(127).to_string(), "127 (802.11 plus radiotap header)");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkName(pub u32);

impl LinkName {
    /// The number that libpcap's functions know the type by (a DLT_ value).
    ///
    /// Files carry LINKTYPE_ numbers; for a few old types the two differ, on Linux by the table of libpcap's
    /// `pcap-common.c`: raw IP and the types that were renumbered because systems disagreed on them.
    pub(super) fn dlt(self) -> i32 {
        match self.0 {
            14 | 101 => 12, // raw IP
            100 => 11,      // ATM, RFC 1483
            102 => 15,      // SLIP of BSD/OS
            103 => 16,      // PPP of BSD/OS
            106 => 19,      // classical IP over ATM
            number => i32::try_from(number).unwrap_or(i32::MAX),
        }
    }
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = pcap::Linktype(self.dlt());
        match name.get_description().or_else(|_| name.get_name()) {
            Ok(name) => write!(f, "{} ({name})", self.0),
            Err(_) => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_named() {
        assert_eq!(LinkName(1).to_string(), "1 (Ethernet)");
        assert!(LinkName(105).to_string().contains("802.11"), "{}", LinkName(105));
        assert!(LinkName(101).to_string().contains("Raw IP"), "{}", LinkName(101));
        assert_eq!(LinkName(64_999).to_string(), "64999");
        assert_eq!(LinkName(u32::MAX).to_string(), u32::MAX.to_string());
    }
}
