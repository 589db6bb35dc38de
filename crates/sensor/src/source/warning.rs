//! What an operator should know about an input that was read nevertheless.

use std::fmt;

use super::link::LinkName;

/// Something odd about an input that did not stop it from being read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The input.
    pub name: String,
    /// What is odd.
    pub kind: WarningKind,
}

/// What is odd.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WarningKind {
    /// The input ends inside its last record: that record is lost, all before it is good.
    Cut {
        /// Where the record starts, in decompressed bytes.
        offset: u64,
        /// How many bytes of it there are.
        present: u64,
    },
    /// The packets of a pcapng interface are left out, and counted.
    LinkType {
        /// The interface, counted over the whole file from 0.
        interface: u32,
        /// Its link type.
        link: LinkName,
    },
    /// A pcapng block of a kind that is not known is stepped over.
    UnknownBlock {
        /// The block's type.
        block: u32,
        /// Where the first of them starts, in decompressed bytes.
        offset: u64,
    },
    /// A file of a directory is left out.
    NotACapture {
        /// Why.
        reason: String,
    },
    /// There was more to warn about than is kept.
    More,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.kind {
            WarningKind::Cut { offset, present: 0 } => {
                write!(f, "{name} is cut short: its compressed data ends early, at offset {offset}")
            }
            WarningKind::Cut { offset, present } => {
                write!(f, "{name} is cut short: the last record, at offset {offset}, breaks off after {present} bytes")
            }
            WarningKind::LinkType { interface, link } => write!(
                f,
                "{name}: packets of interface {interface} are left out: its link type {link} is not supported"
            ),
            WarningKind::UnknownBlock { block, offset } => {
                write!(f, "{name}: blocks of unknown type {block:#010x} are stepped over, the first at offset {offset}")
            }
            WarningKind::NotACapture { reason } => write!(f, "{reason}: left out"),
            WarningKind::More => write!(f, "{name}: further warnings are left out"),
        }
    }
}

/// The warnings of one input, bounded.
#[derive(Debug, Default)]
pub(super) struct Warnings {
    name: String,
    kept: Vec<Warning>,
    given: usize,
}

impl Warnings {
    /// More than this many about one file tell nothing new, and a hostile file must not fill memory with them.
    const MOST: usize = 64;

    pub(super) fn new(name: String) -> Self {
        Self { name, kept: Vec::new(), given: 0 }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn push(&mut self, kind: WarningKind) {
        self.given += 1;
        let kind = match self.given {
            ..=Self::MOST => kind,
            n if n == Self::MOST + 1 => WarningKind::More,
            // A cut is the last there is to say, and the one that matters.
            _ if matches!(kind, WarningKind::Cut { .. }) => kind,
            _ => return,
        };
        self.kept.push(Warning { name: self.name.clone(), kind });
    }

    pub(super) fn take(&mut self) -> Vec<Warning> {
        std::mem::take(&mut self.kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_off_but_the_end_is_told() {
        let mut warnings = Warnings::new("a.pcap".into());
        for block in 0..1000 {
            warnings.push(WarningKind::UnknownBlock { block, offset: 0 });
        }
        warnings.push(WarningKind::Cut { offset: 7, present: 3 });
        let kept = warnings.take();
        assert_eq!(kept.len(), Warnings::MOST + 2);
        assert_eq!(kept[Warnings::MOST].kind, WarningKind::More);
        assert_eq!(
            kept.last().unwrap().to_string(),
            "a.pcap is cut short: the last record, at offset 7, breaks off after 3 bytes"
        );
        assert!(warnings.take().is_empty());
    }
}
