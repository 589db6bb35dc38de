//! A request's body in pieces, with a look at the connection between them.
//!
//! A platform may answer before it has read a large body (413 above all), and close at once: the rest of the body is then
//! answered with a reset. The HTTP client writes what it has in one go, meets the reset, and reports that in place of the answer,
//! though the answer is there to be read. It looks for an answer whenever it is woken, before it writes; so the body
//! comes in pieces, and each has itself waited for.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// One TLS record's worth: a peer that closes is noticed after as little as that.
const PIECE: usize = 16 << 10;

/// A body that is handed out in pieces.
pub(super) struct Pieces {
    left: Bytes,
    is_due: bool,
}

impl Pieces {
    /// A body as a request takes it; one that fits in a piece stays as it is.
    pub(super) fn body(whole: Bytes) -> reqwest::Body {
        if whole.len() <= PIECE { whole.into() } else { reqwest::Body::wrap(Self { left: whole, is_due: true }) }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        if self.is_due {
            // It wakes only after the runtime has asked the system what can be read: to be woken at once would not do.
            let turn = std::pin::pin!(tokio::task::yield_now());
            if turn.poll(context).is_pending() {
                self.is_due = false;
                return Poll::Pending;
            }
        }
        self.is_due = true;
        let length = self.left.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.left.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}
