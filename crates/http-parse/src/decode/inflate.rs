//! `gzip` (RFC 1952) and `deflate`, which is zlib (RFC 1950) by the standard and bare deflate (RFC 1951) from some servers.

use flate2::{Crc, Decompress, FlushDecompress, Status};

use super::output::Output;
use super::{DecodeOutcome, ended};

/// The first bytes of every gzip member: magic and the one compression method.
const GZIP_MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
const GZIP_TRAILER: usize = 8;

/// Header flags of gzip.
const HEADER_CRC: u8 = 1 << 1;
const EXTRA: u8 = 1 << 2;
const NAME: u8 = 1 << 3;
const COMMENT: u8 = 1 << 4;

/// How far one compressed stream got, and how much of the input it took.
struct Progress {
    taken: usize,
    outcome: DecodeOutcome,
}

/// Undoes deflate in its three wrappings.
#[derive(Debug)]
pub(super) struct Inflater {
    stream: Decompress,
}

impl Default for Inflater {
    fn default() -> Self {
        Self { stream: Decompress::new(false) }
    }
}

impl Inflater {
    /// Undoes `deflate`, of either kind.
    pub(super) fn inflate(&mut self, input: &[u8], out: &mut Output<'_>) -> DecodeOutcome {
        let has_header = matches!(input, [first, second, ..] if is_zlib_header(*first, *second));
        let mut progress = self.run(has_header, input, out);
        if has_header && progress.outcome == DecodeOutcome::Failed && out.len() == 0 {
            progress = self.run(false, input, out);
        }
        match progress.outcome {
            DecodeOutcome::Complete => ended(input.get(progress.taken..).unwrap_or_default()),
            outcome => outcome,
        }
    }

    /// Undoes `gzip`, member after member, with zeros between them or not.
    pub(super) fn gunzip(&mut self, input: &[u8], out: &mut Output<'_>) -> DecodeOutcome {
        let mut rest = input;
        loop {
            let begins_member = rest.iter().zip(GZIP_MAGIC).all(|(byte, magic)| *byte == magic);
            if rest.is_empty() || !begins_member {
                let is_first = rest.len() == input.len();
                return if is_first { DecodeOutcome::Failed } else { ended(rest) };
            }
            let Some(header) = gzip_header(rest) else { return DecodeOutcome::Partial };
            let before = out.len();
            let Progress { taken, outcome } = self.run(false, header, out);
            if outcome != DecodeOutcome::Complete {
                return outcome;
            }
            let Some((trailer, behind)) = header.get(taken..).and_then(<[u8]>::split_first_chunk::<GZIP_TRAILER>)
            else {
                return DecodeOutcome::Partial;
            };
            let mut sum = Crc::new();
            sum.update(out.written(before));
            let [a, b, c, d, e, f, g, h] = *trailer;
            if u32::from_le_bytes([a, b, c, d]) != sum.sum() || u32::from_le_bytes([e, f, g, h]) != sum.amount() {
                return DecodeOutcome::Failed;
            }
            // Zeros are padding, behind which another member may stand.
            let padding = behind.iter().take_while(|byte| **byte == 0).count();
            rest = behind.get(padding..).unwrap_or_default();
        }
    }

    /// Decompresses one stream.
    fn run(&mut self, has_header: bool, input: &[u8], out: &mut Output<'_>) -> Progress {
        self.stream.reset(has_header);
        let mut taken = 0;
        let outcome = loop {
            // At the limit one more byte is asked for: there may be none, and the stream may end right here.
            let is_full = out.left() == 0;
            let mut probe = [0; 1];
            let room = if is_full { &mut probe } else { out.room() };
            let asked = room.len();
            let (in_before, out_before) = (self.stream.total_in(), self.stream.total_out());
            let status = self.stream.decompress(input.get(taken..).unwrap_or_default(), room, FlushDecompress::None);
            let consumed = usize::try_from(self.stream.total_in() - in_before).unwrap_or(0);
            let produced = usize::try_from(self.stream.total_out() - out_before).unwrap_or(0);
            taken += consumed;
            if is_full && produced > 0 {
                break DecodeOutcome::Limited;
            }
            out.advance(produced);
            match status {
                Err(_) => break DecodeOutcome::Failed,
                Ok(Status::StreamEnd) => break DecodeOutcome::Complete,
                Ok(_) if consumed == 0 && produced == 0 || produced < asked && taken >= input.len() => {
                    break DecodeOutcome::Partial;
                }
                Ok(_) => {}
            }
        };
        Progress { taken, outcome }
    }
}

/// Whether these two bytes start a zlib stream: method 8, a window of at most 32 KiB, a check that holds. Bare deflate
/// never starts so: it would be a stored block with padding that is not zero.
fn is_zlib_header(first: u8, second: u8) -> bool {
    first & 0x0f == 8 && first >> 4 <= 7 && u16::from_be_bytes([first, second]).is_multiple_of(31)
}

/// What follows the header of a gzip member; `None` if the header is cut.
fn gzip_header(member: &[u8]) -> Option<&[u8]> {
    let flags = *member.get(3)?;
    let mut rest = member.get(10..)?;
    if flags & EXTRA != 0 {
        let (len, behind) = rest.split_first_chunk()?;
        rest = behind.get(usize::from(u16::from_le_bytes(*len))..)?;
    }
    for text in [NAME, COMMENT] {
        if flags & text != 0 {
            rest = rest.get(memchr::memchr(0, rest)? + 1..)?;
        }
    }
    if flags & HEADER_CRC != 0 { rest.get(2..) } else { Some(rest) }
}
