//! gzip and zstd, and the account of what was read of a file.

use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// Compressed bytes read at once.
const STEP: usize = 128 * 1024;

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

/// The members of a gzip file, decompressed.
///
/// Input that ends early is [`ErrorKind::UnexpectedEof`], input that is not gzip is [`ErrorKind::InvalidData`].
pub(super) struct Gzip<R: Read>(MultiGzDecoder<BufReader<R>>);

impl<R: Read> Gzip<R> {
    pub(super) fn new(input: R) -> Self {
        Self(MultiGzDecoder::new(BufReader::with_capacity(STEP, input)))
    }
}

impl<R: Read> Read for Gzip<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into).map_err(|error| match error.kind() {
            ErrorKind::InvalidInput | ErrorKind::InvalidData => {
                io::Error::new(ErrorKind::InvalidData, format!("the gzip data is corrupt ({error})"))
            }
            _ => error,
        })
    }
}

/// The frames of a zstd file, decompressed; skippable frames skipped, checksums held against the content.
///
/// Errors as [`Gzip`]'s.
pub(super) struct Zstd<R: Read> {
    input: Watched<R>,
    decoder: FrameDecoder,
    in_frame: bool,
}

impl<R: Read> Zstd<R> {
    pub(super) fn new(input: R) -> Self {
        let input = Watched { inner: BufReader::with_capacity(STEP, input), ended: false, failed: None };
        Self { input, decoder: FrameDecoder::new(), in_frame: false }
    }

    /// What a decoder's failure means: it has no way to say that its input ended or failed.
    fn judge(&mut self, error: &FrameDecoderError) -> io::Error {
        if let Some(failed) = self.input.failed.take() {
            return failed;
        }
        if self.input.ended {
            return io::Error::new(ErrorKind::UnexpectedEof, "the zstd data ends early");
        }
        io::Error::new(ErrorKind::InvalidData, format!("the zstd data is corrupt ({error})"))
    }

    /// Starts the next frame; false at the end of the input.
    fn open_frame(&mut self) -> io::Result<bool> {
        if self.input.inner.fill_buf()?.is_empty() {
            return Ok(false);
        }
        match self.decoder.reset(&mut self.input) {
            Ok(()) => self.in_frame = true,
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                let skipped = io::copy(&mut (&mut self.input).take(u64::from(length)), &mut io::sink())?;
                if skipped < u64::from(length) {
                    return Err(io::Error::new(ErrorKind::UnexpectedEof, "the zstd data ends early"));
                }
            }
            Err(error) => return Err(self.judge(&error)),
        }
        Ok(true)
    }

    fn close_frame(&mut self) -> io::Result<()> {
        self.in_frame = false;
        match (self.decoder.get_checksum_from_data(), self.decoder.get_calculated_checksum()) {
            (Some(said), Some(found)) if said != found => {
                Err(io::Error::new(ErrorKind::InvalidData, "the zstd data is corrupt (its checksum does not match)"))
            }
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
            if self.decoder.is_finished() {
                self.close_frame()?;
            } else if let Err(error) = self.decoder.decode_blocks(&mut self.input, BlockDecodingStrategy::UptoBlocks(1))
            {
                return Err(self.judge(&error));
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

    use super::*;

    fn content() -> Vec<u8> {
        (0..300_000_u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect()
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
        for part in 1..40 {
            let cut = &gz[..gz.len() * part / 40];
            let (all, end) = read(Gzip::new(cut));
            assert_eq!(end, Some(ErrorKind::UnexpectedEof), "{part}/40");
            assert_eq!(all, content[..all.len()]);
            let cut = &zst[..zst.len() * part / 40];
            let (all, end) = read(Zstd::new(cut));
            assert_eq!(end, Some(ErrorKind::UnexpectedEof), "{part}/40");
            assert_eq!(all, content[..all.len()]);
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
