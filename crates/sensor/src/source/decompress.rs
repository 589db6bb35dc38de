//! zstd (RFC 8878), and the account of what was read of a file.

use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::gzip::skip;

/// Compressed bytes read at once.
pub(super) const STEP: usize = 128 * 1024;

/// A reader that tells, from another thread too, how far it came.
pub(super) struct Counted<R> {
    inner: R,
    count: Arc<AtomicU64>,
}

impl<R> Counted<R> {
    pub(super) fn new(inner: R, count: Arc<AtomicU64>) -> Self {
        Self { inner, count }
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        self.count.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// The error for compressed data that cannot be right.
pub(super) fn corrupt(format: &str, reason: impl std::fmt::Display) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("the {format} data is corrupt ({reason})"))
}

/// The frames of a zstd file, decompressed; skippable frames skipped, checksums held against the content.
///
/// Errors as [`super::gzip::Gzip`]'s, and as late.
pub(super) struct Zstd<R: Read> {
    input: Watched<R>,
    decoder: FrameDecoder,
    in_frame: bool,
    /// What will be reported once all that was decompressed before has been given.
    failed: Option<io::Error>,
}

impl<R: Read> Zstd<R> {
    pub(super) fn new(input: R) -> Self {
        let input = Watched { inner: BufReader::with_capacity(STEP, input), ended: false, failed: None };
        Self { input, decoder: FrameDecoder::new(), in_frame: false, failed: None }
    }

    /// What a decoder's failure means: it has no way to say that its input ended or failed.
    fn judge(&mut self, error: &FrameDecoderError) -> io::Error {
        if let Some(failed) = self.input.failed.take() {
            return failed;
        }
        if self.input.ended {
            return io::Error::new(ErrorKind::UnexpectedEof, "the zstd data ends early");
        }
        corrupt("zstd", error)
    }

    /// Starts the next frame; false at the end of the input.
    fn open_frame(&mut self) -> io::Result<bool> {
        if self.input.inner.fill_buf()?.is_empty() {
            return Ok(false);
        }
        match self.decoder.reset(&mut self.input) {
            Ok(()) => self.in_frame = true,
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                skip(&mut self.input, u64::from(length))?;
            }
            Err(error) => return Err(self.judge(&error)),
        }
        Ok(true)
    }

    fn close_frame(&mut self) -> io::Result<()> {
        self.in_frame = false;
        match (self.decoder.get_checksum_from_data(), self.decoder.get_calculated_checksum()) {
            (Some(said), Some(found)) if said != found => Err(corrupt("zstd", "its checksum does not match")),
            _ => Ok(()),
        }
    }
}

impl<R: Read> Read for Zstd<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.in_frame {
                if !self.open_frame()? {
                    return Ok(0);
                }
                continue;
            }
            let count = self.decoder.read(into)?;
            if count > 0 {
                return Ok(count);
            }
            if let Some(error) = self.failed.take() {
                self.in_frame = false;
                return Err(error);
            }
            if self.decoder.is_finished() {
                self.close_frame()?;
            } else if let Err(error) = self.decoder.decode_blocks(&mut self.input, BlockDecodingStrategy::UptoBlocks(1))
            {
                self.failed = Some(self.judge(&error));
                // The decoder keeps a window of up to 128 MiB back until its frame ends. So it ends: with an empty last
                // block, and what may be its checksum. Should even that fail, the window is lost, and nothing else.
                let end = [1, 0, 0, 0, 0, 0, 0];
                let _ = self.decoder.decode_blocks(&end[..], BlockDecodingStrategy::All);
            }
        }
    }
}

/// Remembers what its reader's caller will not pass on.
struct Watched<R: Read> {
    inner: BufReader<R>,
    ended: bool,
    failed: Option<io::Error>,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.inner.read(into) {
            Ok(0) if !into.is_empty() => {
                self.ended = true;
                Ok(0)
            }
            Err(error) if error.kind() != ErrorKind::Interrupted => {
                let kind = error.kind();
                self.failed = Some(error);
                Err(kind.into())
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::super::gzip::Gzip;
    use super::*;

    fn content() -> Vec<u8> {
        (0..600_000_u32).map(|n| (n.wrapping_mul(n.wrapping_mul(n)) >> 13) as u8).collect()
    }

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(content: &[u8]) -> Vec<u8> {
        compress_to_vec(content, CompressionLevel::Fastest)
    }

    fn read(mut from: impl Read) -> (Vec<u8>, Option<ErrorKind>) {
        let mut all = Vec::new();
        let end = from.read_to_end(&mut all).err().map(|error| error.kind());
        (all, end)
    }

    #[test]
    fn members_and_frames_are_joined() {
        let content = content();
        let (first, second) = content.split_at(100_000);
        let file = [gzip(first), gzip(b""), gzip(second)].concat();
        assert_eq!(read(Gzip::new(&file[..])), (content.clone(), None));

        let skippable = b"\x53\x2a\x4d\x18\x05\0\0\0abcde";
        let file = [&skippable[..], &zstd(first), skippable, &zstd(b""), &zstd(second), skippable].concat();
        assert_eq!(read(Zstd::new(&file[..])), (content, None));
    }

    #[test]
    fn an_early_end_gives_what_there_is() {
        let content = content();
        let (gz, zst) = (gzip(&content), zstd(&content));
        for part in 1..12 {
            let cut = &gz[..gz.len() * part / 12];
            let (all, end) = read(Gzip::new(cut));
            assert_eq!(end, Some(ErrorKind::UnexpectedEof), "{part}/12");
            assert_eq!(all, content[..all.len()]);
            assert!(all.len() + 100_000 > content.len() * part / 12, "{} at {part}/12", all.len());
            let cut = &zst[..zst.len() * part / 12];
            let (all, end) = read(Zstd::new(cut));
            assert_eq!(end, Some(ErrorKind::UnexpectedEof), "{part}/12");
            assert_eq!(all, content[..all.len()]);
            // Whole blocks, of 128 KiB of content at most.
            assert!(all.len() + 200_000 > content.len() * part / 12, "{} at {part}/12", all.len());
        }
        let skippable = b"\x53\x2a\x4d\x18\x05\0\0\0abcd";
        assert_eq!(read(Zstd::new(&skippable[..])).1, Some(ErrorKind::UnexpectedEof));
    }

    #[test]
    fn corruption_is_told_from_an_early_end() {
        let content = content();
        let (mut gz, mut zst) = (gzip(&content), zstd(&content));
        let (at, last) = (gz.len() / 2, gz.len() - 1);
        gz[last] ^= 1;
        assert_eq!(read(Gzip::new(&gz[..])), (content.clone(), Some(ErrorKind::InvalidData)));
        gz[at] ^= 0xff;
        assert_eq!(read(Gzip::new(&gz[..])).1, Some(ErrorKind::InvalidData));

        let last = zst.len() - 1;
        zst[last] ^= 1;
        assert_eq!(read(Zstd::new(&zst[..])), (content, Some(ErrorKind::InvalidData)));
        assert_eq!(read(Zstd::new(&b"\x28\xb5\x2f\xfe rubbish"[..])).1, Some(ErrorKind::InvalidData));
        let trailing = [&zstd(b"abc")[..], b"rubbish"].concat();
        assert_eq!(read(Zstd::new(&trailing[..])), (b"abc".to_vec(), Some(ErrorKind::InvalidData)));
    }

    #[test]
    fn a_failing_input_keeps_its_reason() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(ErrorKind::PermissionDenied.into())
            }
        }
        let start = zstd(&content());
        assert_eq!(read(Zstd::new((&start[..1000]).chain(Failing))).1, Some(ErrorKind::PermissionDenied));
        assert_eq!(read(Gzip::new((&gzip(&content())[..1000]).chain(Failing))).1, Some(ErrorKind::PermissionDenied));
    }
}
