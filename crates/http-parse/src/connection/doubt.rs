//! Whether what stands behind a head is its body, where that is in doubt: the request is not known that tells whether a response
//! has one, or the client waits for 100 (Continue) before it sends one.

use super::Connection;
use super::heads::SHORTEST;
use super::side::State;
use crate::context::Context;
use crate::exchange::ExchangeSink;
use crate::framing::Asked;
use crate::head::{StartLine, looks_like_start};
use crate::message::{Message, MessageKind};
use crate::{Position, Side};

impl Connection {
    /// There is no body after all: what would be its first bytes is the next message.
    pub(super) fn end_without_body(&mut self, side: Side, cx: &mut Context, sink: &mut impl ExchangeSink) {
        if let Some(message) = self.stream_mut(side).reading_mut() {
            message.unfinished = true;
        }
        self.complete(side, cx, sink);
    }

    /// Whether what comes at `position` is the body of the response in hand, whatever it looks like and whichever of the
    /// requests that wait is answered: all that the client sent is known, all of it that the response may answer asks for a
    /// body, and nothing more was received that another response could answer, unless the client pipelines.
    ///
    /// Where a request may be hidden, HEAD is not ruled out: behind such a request in front of the first one that was captured,
    /// or one that was lost, responses that are bodies would be lost without a trace.
    pub(super) fn is_response_body(&self, side: Side, position: Position) -> bool {
        let (Some(client), State::Length(_)) = (self.client.filter(|client| *client != side), self.stream(side).state)
        else {
            return false;
        };
        let Some(response) = self.stream(side).reading() else { return false };
        let Some(acked) = response.start.acked.filter(|_| position.acked == response.start.acked) else { return false };
        let asks = |request: &Message| match Asked::by(request) {
            Asked::Other => true,
            Asked::Connect => !(200..=299).contains(&response.status),
            Asked::Head => false,
        };
        let hides = |request: &Message| request.after_loss || request.after_hidden || request.hole_after < acked;
        let may_be_answered =
            |request: &&Message| request.start.acked.is_none_or(|heard| heard <= response.start.offset);
        let (requests, _) = self.seen_by(client);
        let has_given_up = self.order.surplus.is_some() || self.order.forerunners.is_some();
        if self.order.pipelined
            || self.initiator.is_none()
            || requests.lossy
            || has_given_up
            || requests.settled.is_none_or(|settled| settled < acked)
        {
            return false;
        }
        let mut candidates = requests.iter().take_while(|request| request.start.offset < acked).peekable();
        candidates.peek().is_some()
            && candidates.all(|request| !hides(request) && (asks(request) || !may_be_answered(&request)))
    }

    /// Whether `bytes`, where a body of doubtful existence would start, are the next message of the side.
    ///
    /// While nothing was lost and no request pipelined, the next response comes only after something more of the client: a
    /// request that is not there yet is merely captured late. Not so late that another response waits already.
    pub(super) fn is_next_message(&self, side: Side, position: Position, bytes: &[u8]) -> bool {
        if self.kind_of(side) == Some(MessageKind::Response)
            && self.order.linked
            && !self.order.pipelined
            && self.responses.is_empty()
            && !self.may_hide_request(side.opposite())
            && let Some(response) = self.stream(side).reading()
            && !response.after_loss
            && response.start.acked.is_some()
            && response.start.acked == position.acked
            && !self.may_come_two(side.opposite(), position)
        {
            return false;
        }
        self.looks_like_next(side, position, bytes)
    }

    /// Whether two requests may be on their way in what the server had received at `position`: they may have been sent together
    /// with what is not known yet to be lost.
    fn may_come_two(&self, client: Side, position: Position) -> bool {
        let stream = self.stream(client);
        let shortest = if self.order.shortest == u32::MAX { SHORTEST } else { u64::from(self.order.shortest) };
        let unknown = position.acked.zip(stream.settled()).map(|(acked, settled)| acked.saturating_sub(settled));
        unknown.is_none_or(|unknown| unknown >= shortest + SHORTEST)
    }

    /// Whether `bytes` there look like the next message of the side.
    ///
    /// A response's start line need not be whole: a body that begins like one is far rarer than one cut in two. The same holds
    /// for a request behind one that was refused, if it is not as short as the body that was announced.
    pub(super) fn looks_like_next(&self, side: Side, position: Position, bytes: &[u8]) -> bool {
        let kind = self.kind_of(side);
        if kind == Some(MessageKind::Request) && self.is_body_for_certain(side, position, bytes) {
            return false;
        }
        if kind == Some(MessageKind::Response)
            && let State::Length(left) = self.stream(side).state
            && let Some((body, behind)) = usize::try_from(left).ok().and_then(|left| bytes.split_at_checked(left))
            && is_begun(body)
            && (is_start(behind, kind) || (!behind.is_empty() && is_begun(behind)))
        {
            // Right behind what is as long as the body stands the next message.
            return false;
        }
        let may_be_cut = match kind {
            Some(MessageKind::Response) => is_begun(bytes),
            _ => {
                self.is_refused(side)
                    && !matches!(self.stream(side).state, State::Length(left) if left <= bytes.len() as u64)
                    && looks_like_start(bytes) == StartLine::NeedMore
            }
        };
        may_be_cut || is_start(bytes, kind)
    }

    /// Whether the request in hand, which expects 100 (Continue), has another answer.
    fn is_refused(&self, client: Side) -> bool {
        let refuses = |response: &Message| response.match_state.has_request() && response.status >= 300;
        let reading = self.stream(client.opposite()).reading();
        self.requests.is_empty() && self.responses.get(0).or(reading).is_some_and(refuses)
    }

    /// Whether `bytes` are the body of the request in hand, which expects 100 (Continue), whatever they look like: its client
    /// had received nothing since that could have refused it; or no refusal was seen, and they are as long as the body is.
    fn is_body_for_certain(&self, client: Side, position: Position, bytes: &[u8]) -> bool {
        let (stream, server) = (self.stream(client), self.stream(client.opposite()));
        let Some(request) = stream.reading() else { return false };
        if let (Some(before), Some(heard)) = (request.start.acked, position.acked)
            && heard <= before
        {
            return true;
        }
        let is_answered = !self.responses.is_empty() || server.reading().is_some();
        !is_answered && matches!(stream.state, State::Length(left) if left == bytes.len() as u64)
    }
}

/// Whether `bytes` are the beginning of a response's start line, and more of it is to come.
pub(super) fn is_begun(bytes: &[u8]) -> bool {
    let version = b"HTTP/1.";
    let begins = bytes.get(..bytes.len().min(version.len())).is_some_and(|begin| version.starts_with(begin));
    begins && looks_like_start(bytes) == StartLine::NeedMore
}

/// Whether a start line of `kind` stands at the beginning of `bytes`.
pub(super) fn is_start(bytes: &[u8], kind: Option<MessageKind>) -> bool {
    match looks_like_start(bytes) {
        StartLine::Request => kind == Some(MessageKind::Request),
        StartLine::Response => kind == Some(MessageKind::Response),
        StartLine::NeedMore | StartLine::No => false,
    }
}
