//! The null store's way with a body: looked at as it streams by, never collected, never parsed.
//!
//! Records are counted by their ids: `"transaction-id"` of the edge shape, line feeds of the native one. Both are searched
//! for in wide steps. In what the sensor sends, the count is exact, since its bodies are in base64 and its strings escape
//! quotes; a hostile sender can make it wrong, and harms nobody. A body in a content coding is not undone and counts no records.

use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use memchr::memmem::Finder;
use tokio::time::Instant;

use crate::body::{Coding, piece};
use crate::record::Shape;
use crate::refusal::Refusal;

/// What stands before every id in an edge record, and in no other place of it. Without the closing quote, so that two
/// finds cannot overlap and it does not matter where a piece begins.
const ID_FIELD: &[u8] = b"\"transaction-id";

/// What went by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) bytes: u64,
    pub(crate) records: u64,
}

/// Reads a body to its end.
pub(crate) async fn drain(
    body: &mut Body,
    shape: Shape,
    coding: Coding,
    limit: usize,
    time: Duration,
) -> Result<Seen, Refusal> {
    let deadline = Instant::now() + time;
    let mut counter = Counter::new(shape);
    let mut bytes = 0usize;
    while let Some(data) = piece(body, deadline).await? {
        if bytes == 0
            && coding == Coding::Identity
            && data.first().is_some_and(|first| !first.is_ascii_whitespace() && *first != b'{')
        {
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "bad_json", "this is no JSON object"));
        }
        if data.len() > limit - bytes {
            return Err(Refusal::too_large(limit));
        }
        bytes += data.len();
        if coding == Coding::Identity {
            counter.push(&data);
        }
    }
    if bytes == 0 && shape == Shape::Edge {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "bad_json", "the body is empty"));
    }
    Ok(Seen { bytes: bytes as u64, records: counter.finish() })
}

/// Counts records over any cutting into pieces.
struct Counter {
    shape: Shape,
    finder: Finder<'static>,
    count: u64,
    /// The end of the piece before, as much of it as the beginning of an id field can be.
    tail: Vec<u8>,
    /// Whether the last byte was within a line.
    in_line: bool,
}

impl Counter {
    fn new(shape: Shape) -> Self {
        Self { shape, finder: Finder::new(ID_FIELD), count: 0, tail: Vec::new(), in_line: false }
    }

    fn push(&mut self, piece: &[u8]) {
        let Some(&last) = piece.last() else { return };
        match self.shape {
            Shape::Native => {
                self.count += memchr::memchr_iter(b'\n', piece).count() as u64;
                self.in_line = last != b'\n';
            }
            Shape::Edge => {
                const OVERLAP: usize = ID_FIELD.len() - 1;
                // Across the border: what is found there ends in this piece and began in the one before.
                self.tail.extend_from_slice(&piece[..piece.len().min(OVERLAP)]);
                self.count += self.finder.find_iter(&self.tail).count() as u64;
                self.count += self.finder.find_iter(piece).count() as u64;
                if piece.len() >= OVERLAP {
                    self.tail.clear();
                    self.tail.extend_from_slice(&piece[piece.len() - OVERLAP..]);
                } else {
                    let surplus = self.tail.len().saturating_sub(OVERLAP);
                    self.tail.drain(..surplus);
                }
            }
        }
    }

    fn finish(self) -> u64 {
        self.count + u64::from(self.in_line)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counted(shape: Shape, pieces: &[&[u8]]) -> u64 {
        let mut counter = Counter::new(shape);
        for piece in pieces {
            counter.push(piece);
        }
        counter.finish()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// However a body is cut, the same number is found.
        #[test]
        fn cuts_do_not_matter(gaps in proptest::collection::vec(0usize..40, 0..8), mut cuts in proptest::collection::vec(0usize..400, 0..40)) {
            let mut text = String::new();
            for gap in &gaps {
                text.push_str(&"transaction-id\"\"".repeat(2)[..(*gap).min(32)]);
                text.push_str("\"transaction-id\":1\n");
            }
            cuts.retain(|cut| *cut < text.len());
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &text.as_bytes()[pair[0]..pair[1]]).collect();
            let whole = text.matches("\"transaction-id").count() as u64;
            prop_assert_eq!(counted(Shape::Edge, &pieces), whole);
            prop_assert_eq!(counted(Shape::Native, &pieces), text.lines().count() as u64);
        }
    }

    #[test]
    fn a_last_line_needs_no_line_feed() {
        assert_eq!(counted(Shape::Native, &[b"{}\n{}"]), 2);
        assert_eq!(counted(Shape::Native, &[b"{}\n{}\n"]), 2);
        assert_eq!(counted(Shape::Native, &[]), 0);
    }
}
