//! Responses given up because too many wait for requests that were not captured yet.
//!
//! A mirror may bring the server's side of a burst ahead of the client's. While nothing is lost, responses answer requests
//! in order: the next requests are those that the responses given up answer, and the ones behind are paired again.

use std::collections::VecDeque;

use super::Connection;
use super::heads::SHORTEST;
use crate::context::Context;
use crate::exchange::ExchangeSink;
use crate::flags::Flags;
use crate::framing::{Asked, Framing, frame};
use crate::message::Message;
use crate::protocol::Protocol;

/// Responses that are remembered; of more, it is not known any more which requests they answer.
const MOST: usize = 4096;

/// What a response given up says of its request.
#[derive(Clone, Copy, Debug)]
struct Forerunner {
    start: u64,
    end: u64,
    acked: Option<u64>,
    /// Where the body ends that it has unless it answers HEAD, of which nothing was read; 0: it has none, or it was read.
    body_until: u64,
    has_body: bool,
    /// The status is one that opens a tunnel, if CONNECT asked for it.
    accepts: bool,
}

impl Forerunner {
    fn new(response: &Message) -> Self {
        Self {
            start: response.start.offset,
            end: response.end,
            acked: response.start.acked,
            body_until: unread_body_end(response, Asked::Other).unwrap_or(0),
            has_body: response.body_bytes > 0,
            accepts: (200..=299).contains(&response.status),
        }
    }
}

/// Where the body of `response` ends, to a request that asked so, if there is one of which nothing was read: what came
/// behind its head was taken for other responses. `u64::MAX`: with the stream.
pub(super) fn unread_body_end(response: &Message, asked: Asked) -> Option<u64> {
    if !response.unfinished || response.body_bytes > 0 {
        return None;
    }
    match frame(response, asked).0 {
        Framing::Length(length) => Some(response.end.saturating_add(length)),
        Framing::UntilClose => Some(u64::MAX),
        Framing::Empty | Framing::Chunked => None,
    }
}

/// Responses given up whose requests are still to come, oldest first.
#[derive(Debug, Default)]
pub(super) struct Forerunners {
    known: VecDeque<Forerunner>,
    /// There were others that are not remembered.
    is_uncounted: bool,
}

impl Forerunners {
    fn allocated(&self) -> usize {
        size_of::<Self>() + self.known.capacity() * size_of::<Forerunner>()
    }
}

impl Connection {
    /// Takes note that `response`, which is out of the queue, is given up before its request has been captured.
    #[cold]
    pub(super) fn note_forerunner(&mut self, response: &Message, cx: &mut Context) {
        let before = self.order.forerunners.as_deref().map_or(0, Forerunners::allocated);
        // Where a side is not mirrored, or late beyond all measure, fewer have to wait: its requests are not expected.
        let is_expected = self.responses.len() >= cx.settings().max_pending && !cx.is_full();
        let forerunners = self.order.forerunners.get_or_insert_default();
        if is_expected && !forerunners.is_uncounted && forerunners.known.len() < MOST {
            forerunners.known.push_back(Forerunner::new(response));
        } else {
            **forerunners = Forerunners { known: VecDeque::new(), is_uncounted: true };
        }
        cx.charge_queue(before, forerunners.allocated());
    }

    /// A response that the request being read had is given up before that is whole.
    #[cold]
    pub(super) fn give_up_answer(&mut self, response: &Message, is_certain: bool, cx: &mut Context) {
        if is_certain && self.order.linked {
            self.note_forerunner(response, cx);
            return;
        }
        self.order.linked = false;
        if let Some(request) = self.first_request_mut() {
            request.after_hidden = true;
        }
    }

    /// Emits the requests as unanswered that have come and whose responses were given up.
    #[cold]
    pub(super) fn meet_forerunners(&mut self, cx: &mut Context, sink: &mut impl ExchangeSink) {
        while let Some(forerunners) = self.order.forerunners.as_deref_mut() {
            if forerunners.known.is_empty() && !forerunners.is_uncounted {
                self.drop_forerunners(cx);
                return;
            }
            let first = forerunners.known.front().copied();
            let Some(request) = self.front_request() else { return };
            let hides_one_before = request.after_loss || request.after_hidden;
            let (start, end, asked) = (request.start.offset, request.end, Asked::by(request));
            let Some(first) = first.filter(|_| self.order.linked && !hides_one_before) else {
                self.doubt_forerunners(cx);
                return;
            };
            let is_received = first.acked.is_none_or(|acked| acked > start);
            if is_received && self.requests.is_empty() {
                // It is still being read.
                return;
            }
            if let Some(forerunners) = self.order.forerunners.as_deref_mut() {
                forerunners.known.pop_front();
            }
            if !is_received {
                // The server sent it of its own accord: it answers nothing.
                continue;
            }
            // The server had received more than the request that it answers: the client did not wait.
            self.order.pipelined |= first.acked.is_some_and(|acked| acked >= end.saturating_add(SHORTEST));
            self.give_up_requests(1, Flags::NONE, cx, sink);
            match asked {
                // Read before its request was known: what was taken for its body were other responses.
                Asked::Head if first.has_body => self.doubt_forerunners(cx),
                Asked::Head => {}
                Asked::Connect if first.accepts => self.switch_to(Protocol::Tunnel, true),
                // The same the other way round: what was taken for other responses is its body.
                _ if first.body_until > 0 => self.take_for_body(first.body_until, cx),
                _ => {}
            }
        }
    }

    /// The server's bytes up to `until` are a body: the responses that were read there are none.
    fn take_for_body(&mut self, until: u64, cx: &mut Context) {
        self.order.body_until = until;
        let Some(forerunners) = self.order.forerunners.as_deref_mut() else { return };
        while let Some(next) = forerunners.known.front().copied().filter(|next| next.start < until) {
            forerunners.known.pop_front();
            if next.end > until {
                // A response that begins behind the body was taken for a part of it.
                self.doubt_forerunners(cx);
                return;
            }
        }
    }

    /// Which requests were answered by the responses given up is not known any more.
    #[cold]
    pub(super) fn doubt_forerunners(&mut self, cx: &mut Context) {
        self.order.linked = false;
        self.drop_forerunners(cx);
    }

    /// Forgets the responses given up.
    pub(super) fn drop_forerunners(&mut self, cx: &mut Context) {
        if let Some(forerunners) = self.order.forerunners.take() {
            cx.charge_queue(forerunners.allocated(), 0);
        }
    }
}
