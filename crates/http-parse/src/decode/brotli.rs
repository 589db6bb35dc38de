//! `br` (RFC 7932). The large-window extension, which is no content coding, is refused.

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};

use super::output::Output;
use super::{DecodeOutcome, ended};

/// Input is given in pieces of this many bytes, because output is handed over between them: what came before a break is
/// then kept up to the last piece.
const PIECE: usize = 512;

/// Undoes `br`. The window grows with the output, to 16 MiB at most.
pub(super) fn decode(input: &[u8], out: &mut Output<'_>) -> DecodeOutcome {
    let alloc = StandardAlloc::default;
    let mut state = BrotliState::new_strict(alloc(), alloc(), alloc());
    let mut total = 0;
    for (number, piece) in input.chunks(PIECE).enumerate() {
        let (mut taken, mut available) = (0, piece.len());
        loop {
            // At the limit one more byte is asked for: there may be none, and the stream may end right here.
            let is_full = out.left() == 0;
            let mut probe = [0; 1];
            let room = if is_full { &mut probe } else { out.room() };
            let (mut produced, mut asked) = (0, room.len());
            let result = BrotliDecompressStream(
                &mut available,
                &mut taken,
                piece,
                &mut asked,
                &mut produced,
                room,
                &mut total,
                &mut state,
            );
            if is_full && produced > 0 {
                return DecodeOutcome::Limited;
            }
            out.advance(produced);
            match result {
                BrotliResult::ResultSuccess => return ended(input.get(number * PIECE + taken..).unwrap_or_default()),
                BrotliResult::ResultFailure => return DecodeOutcome::Failed,
                BrotliResult::NeedsMoreInput => break,
                BrotliResult::NeedsMoreOutput if produced == 0 => return DecodeOutcome::Failed,
                BrotliResult::NeedsMoreOutput => {}
            }
        }
    }
    DecodeOutcome::Partial
}
