//! Content codings (RFC 9110, section 8.4.1) undone, within limits.
//!
//! Bodies come truncated, corrupt, mislabelled or made to explode, and each gives what can be had of it. Output is bounded
//! by the caller's limit, layer by layer; memory by that and by the window of each format (32 KiB for deflate, 16 MiB for
//! Brotli, 8 MiB for Zstandard, as RFC 9659 demands); work by both. Decompressors are made when first needed and kept.

mod brotli;
mod inflate;
mod output;
mod zstd;

use self::inflate::Inflater;
use self::output::Output;
use self::zstd::ZstdDecoder;

/// The most codings that are undone one after the other.
const MAX_CODINGS: usize = 8;

/// Scratch memory that is kept from call to call.
const MAX_KEPT_SCRATCH: usize = 1 << 20;

/// How far a decoding got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeOutcome {
    /// No content coding was named (or `identity`): the bytes are what they were.
    Identity,
    /// Decoded to the end of its input, but for zeros behind it: they are padding.
    Complete,
    /// Decoded to the end of the coding, behind which the input has bytes that are none of it.
    Trailing,
    /// The input ended before the coding did, as a truncated body does.
    Partial,
    /// The output limit was reached.
    Limited,
    /// The input breaks the coding; what came before the break was decoded.
    Failed,
    /// A coding that is not known: nothing was decoded.
    Unknown,
}

/// A coding that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

/// Undoes content codings. Reusable; keeps its buffers.
#[derive(Debug, Default)]
pub struct Decoder {
    inflater: Option<Inflater>,
    zstd: Option<ZstdDecoder>,
    scratch: [Vec<u8>; 2],
}

impl Decoder {
    /// A decoder without buffers yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends to `out` what `body` decodes to under `codings` (the values of Content-Encoding in wire order, each a
    /// comma-separated list), at most `limit` bytes, with at most 8 codings stacked: more are [`DecodeOutcome::Failed`].
    /// Without a coding to undo the body itself is appended. An empty body is [`DecodeOutcome::Complete`]: responses to
    /// HEAD name a coding too.
    pub fn decode<'a>(
        &mut self,
        codings: impl Iterator<Item = &'a [u8]>,
        body: &[u8],
        limit: usize,
        out: &mut Vec<u8>,
    ) -> DecodeOutcome {
        let mut stack = [Coding::Gzip; MAX_CODINGS];
        let mut depth = 0;
        for name in codings.flat_map(|list| list.split(|byte| *byte == b',')) {
            match coding(name) {
                Ok(None) => {}
                Err(()) => return DecodeOutcome::Unknown,
                Ok(Some(known)) => {
                    let Some(slot) = stack.get_mut(depth) else { return DecodeOutcome::Failed };
                    *slot = known;
                    depth += 1;
                }
            }
        }
        let Some((first, others)) = stack.get(..depth).and_then(<[Coding]>::split_first) else {
            out.extend_from_slice(body.get(..limit).unwrap_or(body));
            return DecodeOutcome::Identity;
        };
        if body.is_empty() {
            return DecodeOutcome::Complete;
        }
        self.unstack(*first, others, body, limit, out)
    }

    /// Undoes the codings, the last one first; `first`, which was applied first, gives what is wanted.
    fn unstack(
        &mut self,
        first: Coding,
        others: &[Coding],
        body: &[u8],
        limit: usize,
        out: &mut Vec<u8>,
    ) -> DecodeOutcome {
        // What was compressed again can hardly be longer than what it decompresses to.
        let layer_limit = limit.saturating_add(limit / 8).saturating_add(4096);
        let [mut input, mut output] = std::mem::take(&mut self.scratch);
        let mut outcome = DecodeOutcome::Complete;
        let mut is_scratch = false;
        for coding in others.iter().rev() {
            output.clear();
            let source = if is_scratch { &input } else { body };
            outcome = worse(outcome, self.undo(*coding, source, layer_limit, &mut output));
            std::mem::swap(&mut input, &mut output);
            is_scratch = true;
        }
        let source = if is_scratch { &input } else { body };
        outcome = worse(outcome, self.undo(first, source, limit, out));
        for buffer in [&mut input, &mut output] {
            buffer.clear();
            buffer.shrink_to(MAX_KEPT_SCRATCH);
        }
        self.scratch = [input, output];
        outcome
    }

    fn undo(&mut self, coding: Coding, input: &[u8], limit: usize, out: &mut Vec<u8>) -> DecodeOutcome {
        if input.is_empty() {
            return DecodeOutcome::Partial;
        }
        let mut out = Output::new(out, limit);
        match coding {
            Coding::Gzip => self.inflater.get_or_insert_default().gunzip(input, &mut out),
            Coding::Deflate => self.inflater.get_or_insert_default().inflate(input, &mut out),
            Coding::Brotli => brotli::decode(input, &mut out),
            Coding::Zstd => self.zstd.get_or_insert_default().decode(input, &mut out),
        }
    }
}

/// The coding of this name in any case; `None` for none at all, `Err` for one that is not known.
fn coding(name: &[u8]) -> Result<Option<Coding>, ()> {
    let name = name.trim_ascii();
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    match () {
        () if name.is_empty() || is("identity") => Ok(None),
        () if is("gzip") || is("x-gzip") => Ok(Some(Coding::Gzip)),
        () if is("deflate") => Ok(Some(Coding::Deflate)),
        () if is("br") => Ok(Some(Coding::Brotli)),
        () if is("zstd") => Ok(Some(Coding::Zstd)),
        () => Err(()),
    }
}

/// The outcome that says more about what went wrong.
fn worse(one: DecodeOutcome, other: DecodeOutcome) -> DecodeOutcome {
    let rank = |outcome| match outcome {
        DecodeOutcome::Identity | DecodeOutcome::Unknown => 0,
        DecodeOutcome::Complete => 1,
        DecodeOutcome::Trailing => 2,
        DecodeOutcome::Partial => 3,
        DecodeOutcome::Limited => 4,
        DecodeOutcome::Failed => 5,
    };
    if rank(other) > rank(one) { other } else { one }
}

/// The outcome of a coding that has ended, with these bytes behind it.
fn ended(behind: &[u8]) -> DecodeOutcome {
    if behind.iter().all(|byte| *byte == 0) { DecodeOutcome::Complete } else { DecodeOutcome::Trailing }
}

#[cfg(test)]
mod tests;
