//! Request bodies: read within limits, and rid of their content coding within limits.
//!
//! What all bodies hold together is bounded by one [`Budget`]; capacity is counted, not length.

use std::io::{ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

use crate::refusal::Refusal;

/// A Zstandard frame that asks for a larger window is refused, as RFC 8878 (section 3.1.1.1.2) allows above 8 MiB.
const MAX_ZSTD_WINDOW: u64 = 8 << 20;

/// How far a vector grows at a time, at most.
const LARGEST_STEP: usize = 4 << 20;

/// Bytes that bodies may hold together.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<Shares>);

#[derive(Debug)]
struct Shares {
    limit: usize,
    held: AtomicUsize,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Self {
        Self(Arc::new(Shares { limit, held: AtomicUsize::new(0) }))
    }

    /// What is held now.
    pub(crate) fn held(&self) -> usize {
        self.0.held.load(Ordering::Acquire)
    }

    fn take(&self, bytes: usize) -> Result<(), Refusal> {
        let limit = self.0.limit;
        let fits = |held: usize| held.checked_add(bytes).filter(|held| *held <= limit);
        match self.0.held.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits) {
            Ok(_) => Ok(()),
            Err(_) => Err(Refusal::busy()),
        }
    }
}

/// A buffer whose capacity the budget knows of.
pub(crate) struct Held {
    bytes: Vec<u8>,
    budget: Budget,
    counted: usize,
}

impl Held {
    fn new(budget: &Budget) -> Self {
        Self { bytes: Vec::new(), budget: budget.clone(), counted: 0 }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    fn reserve(&mut self, more: usize) -> Result<(), Refusal> {
        let needed = self.bytes.len().saturating_add(more);
        if needed > self.counted {
            let step = self.counted.clamp(16 << 10, LARGEST_STEP).max(needed - self.counted);
            self.budget.take(step)?;
            self.counted += step;
            self.bytes.try_reserve_exact(self.counted - self.bytes.len()).map_err(|_| Refusal::busy())?;
        }
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.0.held.fetch_sub(self.counted, Ordering::AcqRel);
    }
}

/// How a body was coded for its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Identity,
    Gzip,
    Zstd,
}

impl Coding {
    /// By the Content-Encoding field; more than one coding is not taken.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let mut fields = headers.get_all(header::CONTENT_ENCODING).iter();
        let (first, more) = (fields.next(), fields.next());
        let name = first.map_or(Some(""), |value| value.to_str().ok()).map(|name| name.trim().to_ascii_lowercase());
        match (name.as_deref(), more) {
            (Some("" | "identity"), None) => Ok(Self::Identity),
            (Some("gzip" | "x-gzip"), None) => Ok(Self::Gzip),
            (Some("zstd"), None) => Ok(Self::Zstd),
            _ => Err(Refusal::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_coding",
                "the body's content coding is not known; send it as it is, or with one of gzip and zstd",
            )
            .with_header(header::ACCEPT_ENCODING, "gzip, zstd")),
        }
    }
}

/// Refuses a body that says beforehand that it is too large.
pub(crate) fn check_length(headers: &HeaderMap, limit: usize) -> Result<(), Refusal> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    match length {
        Some(length) if length > limit as u64 => Err(Refusal::too_large(limit)),
        _ => Ok(()),
    }
}

/// The next piece of a body, if it comes in time; `None` at its end.
pub(crate) async fn piece(body: &mut Body, deadline: Instant) -> Result<Option<bytes::Bytes>, Refusal> {
    loop {
        match timeout_at(deadline, body.frame()).await {
            Err(_) => {
                let message = "the body did not arrive in time";
                return Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "slow_body", message).closing());
            }
            Ok(None) => return Ok(None),
            // Trailers carry nothing that counts here.
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => return Ok(Some(data)),
                Err(_) => continue,
            },
            Ok(Some(Err(_))) => {
                return Err(Refusal::new(
                    StatusCode::BAD_REQUEST,
                    "broken_body",
                    "the body ended early or was framed wrongly",
                ));
            }
        }
    }
}

/// Reads a whole body.
pub(crate) async fn collect(body: &mut Body, limit: usize, time: Duration, budget: &Budget) -> Result<Held, Refusal> {
    let deadline = Instant::now() + time;
    let mut held = Held::new(budget);
    while let Some(data) = piece(body, deadline).await? {
        if data.len() > limit - held.bytes.len() {
            return Err(Refusal::too_large(limit));
        }
        held.reserve(data.len())?;
        held.bytes.extend_from_slice(&data);
    }
    Ok(held)
}

/// Reads what is left of a body and forgets it, so that the sender comes to read the answer. Gives up (and the connection
/// with it) behind `limit` bytes.
pub(crate) async fn discard(body: &mut Body, limit: usize, time: Duration) {
    let deadline = Instant::now() + time;
    let mut left = limit;
    while let Ok(Some(data)) = piece(body, deadline).await {
        match left.checked_sub(data.len()) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

/// Undoes a content coding. Works on the thread it is called on.
pub(crate) fn decode(coded: Held, coding: Coding, limit: usize) -> Result<Held, Refusal> {
    let budget = coded.budget.clone();
    match coding {
        Coding::Identity if coded.bytes.len() > limit => Err(Refusal::too_large(limit)),
        Coding::Identity => Ok(coded),
        // An empty body is no gzip member and no frame.
        Coding::Gzip => read_all(flate2::read::MultiGzDecoder::new(coded.as_slice()), limit, &budget),
        Coding::Zstd => read_all(ZstdFrames { rest: coded.as_slice(), frame: None }, limit, &budget),
    }
}

fn read_all(mut source: impl Read, limit: usize, budget: &Budget) -> Result<Held, Refusal> {
    let mut held = Held::new(budget);
    let mut piece = [0; 16 << 10];
    loop {
        match source.read(&mut piece) {
            Ok(0) => return Ok(held),
            Ok(count) if count > limit - held.bytes.len() => return Err(Refusal::too_large(limit)),
            Ok(count) => {
                held.reserve(count)?;
                held.bytes.extend_from_slice(&piece[..count]);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => {
                let message = "the body is not in the content coding that its head names, or is cut";
                return Err(Refusal::new(StatusCode::BAD_REQUEST, "bad_coding", message));
            }
        }
    }
}

/// Zstandard frames one behind another.
struct ZstdFrames<'a> {
    rest: &'a [u8],
    frame: Option<ruzstd::decoding::StreamingDecoder<&'a [u8], ruzstd::decoding::FrameDecoder>>,
}

impl Read for ZstdFrames<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
        let broken = || std::io::Error::from(ErrorKind::InvalidData);
        loop {
            if let Some(frame) = &mut self.frame {
                let count = frame.read(buffer).map_err(|_| broken())?;
                if count > 0 || buffer.is_empty() {
                    return Ok(count);
                }
                self.rest = frame.get_ref();
                self.frame = None;
            }
            if self.rest.is_empty() {
                return Ok(0);
            }
            match ruzstd::decoding::StreamingDecoder::new_with_max_window_size(self.rest, MAX_ZSTD_WINDOW) {
                Ok(frame) => self.frame = Some(frame),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    // Behind the magic number and the length themselves.
                    let length = usize::try_from(length).unwrap_or(usize::MAX).saturating_add(8);
                    self.rest = self.rest.get(length..).ok_or_else(broken)?;
                }
                Err(_) => return Err(broken()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    fn held(bytes: &[u8], budget: &Budget) -> Held {
        let mut held = Held::new(budget);
        held.reserve(bytes.len()).unwrap();
        held.bytes.extend_from_slice(bytes);
        held
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        compress_to_vec(bytes, CompressionLevel::Fastest)
    }

    #[test]
    fn bombs_stop_at_the_limit() {
        let budget = Budget::new(64 << 20);
        let zeros = vec![0; 32 << 20];
        for (coding, bytes) in [(Coding::Gzip, gzip(&zeros)), (Coding::Zstd, zstd(&zeros))] {
            assert!(bytes.len() < 1 << 20);
            let refusal = decode(held(&bytes, &budget), coding, 1 << 20).err().unwrap();
            assert_eq!(refusal.status(), StatusCode::PAYLOAD_TOO_LARGE);
        }
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn a_spent_budget_refuses() {
        let budget = Budget::new(1 << 20);
        let first = held(&vec![1; 900 << 10], &budget);
        let refusal = decode(held(&gzip(&vec![0; 900 << 10]), &budget), Coding::Gzip, 10 << 20).err().unwrap();
        assert_eq!(refusal.status(), StatusCode::SERVICE_UNAVAILABLE);
        drop(first);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn broken_and_odd_codings_are_refused() {
        let budget = Budget::new(1 << 20);
        let whole = zstd(b"hello");
        // A window of 2^40 bytes.
        let huge = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xf0, 0x01, 0x00, 0x00];
        for (coding, bytes) in [
            (Coding::Gzip, b"no gzip".to_vec()),
            (Coding::Gzip, Vec::new()),
            (Coding::Gzip, gzip(b"hello")[..15].to_vec()),
            (Coding::Zstd, b"no zstd".to_vec()),
            (Coding::Zstd, whole[..whole.len() - 3].to_vec()),
            (Coding::Zstd, huge.to_vec()),
            (Coding::Zstd, [&whole[..], &[0x50, 0x2a, 0x4d, 0x18, 0xff, 0xff, 0xff, 0x7f]].concat()),
        ] {
            let refusal = decode(held(&bytes, &budget), coding, 1 << 20).err().unwrap();
            assert_eq!(refusal.status(), StatusCode::BAD_REQUEST, "{bytes:02x?}");
        }
        let skippable = [&whole[..], &[0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9], &whole[..]].concat();
        assert_eq!(decode(held(&skippable, &budget), Coding::Zstd, 100).unwrap().as_slice(), b"hellohello");
        let coding =
            |value: &str| Coding::of(&HeaderMap::from_iter([(header::CONTENT_ENCODING, value.parse().unwrap())]));
        assert_eq!(coding("GZIP").unwrap(), Coding::Gzip);
        assert_eq!(coding("identity").unwrap(), Coding::Identity);
        assert!(coding("gzip, gzip").is_err() && coding("br").is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_was_coded_comes_back(parts in proptest::collection::vec(proptest::collection::vec(0u8..4, 0..3000), 1..4)) {
            let budget = Budget::new(1 << 20);
            let whole = parts.concat();
            let gzipped: Vec<u8> = parts.iter().flat_map(|part| gzip(part)).collect();
            let zstandard: Vec<u8> = parts.iter().flat_map(|part| zstd(part)).collect();
            for (coding, bytes) in [(Coding::Identity, &whole), (Coding::Gzip, &gzipped), (Coding::Zstd, &zstandard)] {
                let decoded = decode(held(bytes, &budget), coding, whole.len()).unwrap();
                prop_assert_eq!(decoded.as_slice(), &whole[..]);
                prop_assert!(whole.is_empty() || decode(held(bytes, &budget), coding, whole.len() - 1).is_err());
            }
            prop_assert_eq!(budget.held(), 0);
        }
    }
}
