//! `zstd` (RFC 8878), with the window limit of RFC 9659.

use std::fmt;
use std::io::Read;

use ruzstd::decoding::errors::FrameDecoderError;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::output::Output;
use super::{DecodeOutcome, ended};

const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The largest window that a sender may use in this coding (RFC 9659, section 3), bytes.
const MAX_WINDOW: u64 = 8 << 20;

/// An empty last block and room for a checksum, which make the decoder give out the window it holds back.
const EMPTY_LAST_BLOCK: [u8; 7] = [1, 0, 0, 0, 0, 0, 0];

const BLOCK_HEADER: usize = 3;

/// How much is decoded before output is taken, bytes.
const STEP: usize = 256 << 10;

/// The longest block, and the block types that matter here (RFC 8878, section 3.1.1.2).
const MAX_BLOCK: usize = 128 << 10;
const RAW: u32 = 0;
const RLE: u32 = 1;
const RESERVED: u32 = 3;

/// Undoes Zstandard. Keeps its tables and its window.
#[derive(Default)]
pub(super) struct ZstdDecoder {
    frames: Option<FrameDecoder>,
}

impl fmt::Debug for ZstdDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ZstdDecoder").finish_non_exhaustive()
    }
}

/// How the blocks of a frame stand in the input.
struct Blocks<'a> {
    /// The blocks that are all there, and the checksum behind the last one.
    whole: &'a [u8],
    behind: &'a [u8],
    is_cut: bool,
    /// The first bytes of a block that is cut and not compressed.
    raw: &'a [u8],
}

impl ZstdDecoder {
    /// Undoes `zstd`, frame after frame.
    pub(super) fn decode(&mut self, input: &[u8], out: &mut Output<'_>) -> DecodeOutcome {
        let mut rest = input;
        let mut is_first = true;
        while !rest.is_empty() {
            if let Some(behind) = skippable_frame(rest) {
                let Some(behind) = behind else { return DecodeOutcome::Partial };
                rest = behind;
                continue;
            }
            if !rest.iter().zip(MAGIC).all(|(byte, magic)| *byte == magic) {
                return if is_first { DecodeOutcome::Failed } else { ended(rest) };
            }
            is_first = false;
            match self.decode_frame(rest, out) {
                Ok(behind) => rest = behind,
                Err(outcome) => return outcome,
            }
        }
        DecodeOutcome::Complete
    }

    /// Decodes the frame at the start of `input` and gives what is behind it.
    fn decode_frame<'a>(&mut self, input: &'a [u8], out: &mut Output<'_>) -> Result<&'a [u8], DecodeOutcome> {
        let (behind_header, has_checksum) = frame_header(input).ok_or(DecodeOutcome::Partial)?;
        let decoder = self.frames.get_or_insert_with(|| {
            let mut decoder = FrameDecoder::new();
            decoder.set_max_window_size(MAX_WINDOW);
            decoder
        });
        let mut header = input;
        decoder.reset(&mut header).map_err(|_| DecodeOutcome::Failed)?;
        let blocks = walk_blocks(behind_header, has_checksum);

        // One byte more than fits is enough to know that there is more. In steps, so that the decoder holds little beyond
        // its window; a step ends with the block that reaches it.
        let mut source = blocks.whole;
        let mut wanted = out.left().saturating_add(1);
        let outcome = loop {
            let step = wanted.min(STEP);
            match decoder.decode_blocks(&mut source, BlockDecodingStrategy::UptoBytes(step)) {
                Ok(true) => break DecodeOutcome::Complete,
                Ok(false) => {
                    drain(decoder, out);
                    wanted -= step;
                    // With the window held back, a full output means that there was more too.
                    if wanted == 0 || out.left() == 0 {
                        break DecodeOutcome::Limited;
                    }
                }
                Err(FrameDecoderError::FailedToReadBlockBody(_)) => break DecodeOutcome::Failed,
                Err(_) if blocks.is_cut && source.is_empty() => break DecodeOutcome::Partial,
                Err(_) => break DecodeOutcome::Failed,
            }
        };
        if outcome != DecodeOutcome::Complete {
            let flush = decoder.decode_blocks(&EMPTY_LAST_BLOCK[..], BlockDecodingStrategy::All);
            flush.map_err(|_| DecodeOutcome::Failed)?;
        }
        drain(decoder, out);
        if decoder.can_collect() > 0 {
            return Err(DecodeOutcome::Limited);
        }
        match outcome {
            DecodeOutcome::Complete => {}
            DecodeOutcome::Partial => {
                let is_limited = blocks.raw.len() > out.left();
                out.write(blocks.raw);
                return Err(if is_limited { DecodeOutcome::Limited } else { outcome });
            }
            _ => return Err(outcome),
        }
        match decoder.get_checksum_from_data() {
            Some(sum) if Some(sum) != decoder.get_calculated_checksum() => Err(DecodeOutcome::Failed),
            _ => Ok(blocks.behind),
        }
    }
}

fn drain(decoder: &mut FrameDecoder, out: &mut Output<'_>) {
    while decoder.can_collect() > 0 {
        let Ok(len @ 1..) = decoder.read(out.room()) else { return };
        out.advance(len);
    }
}

/// What follows a skippable frame (RFC 8878, section 3.1.2): `None` if this is none, `Some(None)` if it is cut.
fn skippable_frame(input: &[u8]) -> Option<Option<&[u8]>> {
    let magic = input.first()?;
    if magic & 0xf0 != 0x50 || !input.iter().skip(1).zip([0x2a, 0x4d, 0x18]).all(|(byte, magic)| *byte == magic) {
        return None;
    }
    let behind = || {
        let (len, behind) = input.get(4..)?.split_first_chunk()?;
        behind.get(usize::try_from(u32::from_le_bytes(*len)).ok()?..)
    };
    Some(behind())
}

/// What follows the header of a frame, and whether a checksum ends the frame (RFC 8878, section 3.1.1.1); `None` if the
/// header is cut.
fn frame_header(input: &[u8]) -> Option<(&[u8], bool)> {
    let descriptor = *input.get(MAGIC.len())?;
    let is_single_segment = descriptor & 0x20 != 0;
    let content_size = match descriptor >> 6 {
        0 => usize::from(is_single_segment),
        1 => 2,
        2 => 4,
        _ => 8,
    };
    let dictionary_id = match descriptor & 3 {
        3 => 4,
        len => usize::from(len),
    };
    let len = MAGIC.len() + 1 + usize::from(!is_single_segment) + dictionary_id + content_size;
    Some((input.get(len..)?, descriptor & 4 != 0))
}

/// Finds how many of the blocks at the start of `input` are whole (RFC 8878, section 3.1.1.2).
fn walk_blocks(input: &[u8], has_checksum: bool) -> Blocks<'_> {
    let mut end = 0;
    loop {
        let rest = input.get(end..).unwrap_or_default();
        let cut = |raw| Blocks { whole: input.get(..end).unwrap_or_default(), behind: &[], is_cut: true, raw };
        let Some((&[low, middle, high], content)) = rest.split_first_chunk::<BLOCK_HEADER>() else { return cut(&[]) };
        let header = u32::from_le_bytes([low, middle, high, 0]);
        let (is_last, kind, size) = (header & 1 != 0, (header >> 1) & 3, (header >> 3) as usize);
        let size = if kind == RLE { 1 } else { size };
        let trailer = if is_last && has_checksum { 4 } else { 0 };
        if kind == RESERVED {
            return Blocks { whole: input, behind: &[], is_cut: false, raw: &[] };
        }
        if content.len() < size {
            return cut(if kind == RAW && size <= MAX_BLOCK { content } else { &[] });
        }
        if content.len() < size + trailer {
            let whole = input.get(..end + BLOCK_HEADER + size).unwrap_or(input);
            return Blocks { whole, behind: &[], is_cut: true, raw: &[] };
        }
        end += BLOCK_HEADER + size + trailer;
        if is_last {
            let (whole, behind) = input.split_at_checked(end).unwrap_or((input, &[]));
            return Blocks { whole, behind, is_cut: false, raw: &[] };
        }
    }
}
