//! Bodies: counted whole, kept as a prefix; and what a loss, a skip or an end means where it falls.

use memchr::{memchr, memrchr};

use super::Connection;
use super::chunked::{Chunked, Step};
use super::doubt::is_start;
use super::side::State;
use crate::context::Context;
use crate::exchange::ExchangeSink;
use crate::flags::{Flag, Flags};
use crate::head::{parse_head, parse_trailers};
use crate::message::{Message, MessageKind};
use crate::protocol::Protocol;
use crate::stats::Unparsable;
use crate::{Position, Side};

impl Connection {
    /// Reads on in a body; returns how many bytes were dealt with.
    pub(super) fn read_body(
        &mut self,
        side: Side,
        position: Position,
        bytes: &[u8],
        segment_start: bool,
        cx: &mut Context,
        sink: &mut impl ExchangeSink,
    ) -> usize {
        if self.stream(side).doubtful {
            let may_be_next = self.held.is_some() || self.looks_like_next(side, position, bytes);
            if may_be_next && self.held.is_none() {
                // The head may be what the pairs before it waited for: its request is certain then, or it is not, and that
                // must not depend on whether head and body came together.
                self.settle(false, cx, sink);
                if !self.stream(side).doubtful {
                    return 0;
                }
            }
            let is_body = may_be_next && self.is_response_body(side, position);
            if may_be_next && !is_body && self.waits_to_tell(side, bytes, cx) {
                self.hold_back(side, position, bytes, cx);
                return bytes.len();
            }
            if self.held.is_some() {
                // What waits is read, and then these bytes are.
                let at = self.stream(side).at;
                self.let_go(side, bytes, cx, sink);
                self.stream_mut(side).at = at;
                return 0;
            }
            if !is_body && self.is_next_message(side, position, bytes) {
                self.end_without_body(side, cx, sink);
                return 0;
            }
            self.stream_mut(side).doubtful = false;
        }
        match self.stream(side).state {
            State::Length(left) => {
                let used = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                self.take_data(side, bytes.get(..used).unwrap_or_default(), cx);
                let stream = self.stream_mut(side);
                let left = left - used as u64;
                stream.state = State::Length(left);
                stream.next = position.offset + used as u64;
                if left == 0 {
                    self.complete(side, cx, sink);
                }
                used
            }
            State::UntilClose => {
                // Whatever it looks like: such a body runs to the close (RFC 9112, section 6.3).
                self.take_data(side, bytes, cx);
                self.stream_mut(side).next = position.offset + bytes.len() as u64;
                bytes.len()
            }
            State::Chunked(chunked) => self.read_chunked(side, chunked, position, bytes, segment_start, cx, sink),
            State::Boundary | State::Search | State::Head => 0,
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one call site")]
    fn read_chunked(
        &mut self,
        side: Side,
        mut chunked: Chunked,
        position: Position,
        bytes: &[u8],
        segment_start: bool,
        cx: &mut Context,
        sink: &mut impl ExchangeSink,
    ) -> usize {
        if let Chunked::Trailer { from, line } = chunked {
            return self.read_trailer(side, (from, line), position, bytes, segment_start, cx, sink);
        }
        let step = chunked.step(bytes);
        let used = match step {
            Step::Framing(used) => {
                cx.stats.parsed_bytes += used as u64;
                used
            }
            Step::Data(used) => {
                self.take_data(side, bytes.get(..used).unwrap_or_default(), cx);
                used
            }
            Step::Trailer => 0,
            Step::Invalid => {
                self.mark_loss(side, position.offset);
                if let Some(message) = self.stream_mut(side).reading_mut() {
                    message.flags.insert(Flag::InvalidChunk);
                }
                self.cut(side, cx, sink);
                return 0;
            }
        };
        let stream = self.stream_mut(side);
        if let (Chunked::Trailer { from, .. }, Some(message)) = (&mut chunked, stream.message.as_deref()) {
            *from = u32::try_from(message.head.len()).unwrap_or(u32::MAX);
        }
        stream.state = State::Chunked(chunked);
        stream.next = position.offset + used as u64;
        used
    }

    /// The trailer section (RFC 9112, section 7.1.2): lines until an empty one, kept behind the head.
    #[expect(clippy::too_many_arguments, reason = "one call site")]
    fn read_trailer(
        &mut self,
        side: Side,
        (from, mut line): (u32, u32),
        position: Position,
        bytes: &[u8],
        segment_start: bool,
        cx: &mut Context,
        sink: &mut impl ExchangeSink,
    ) -> usize {
        let limits = (cx.settings().max_head, cx.settings().max_headers);
        let expected = self.kind_of(side);
        let stream = self.stream_mut(side);
        let Some(message) = stream.message.as_deref_mut() else { return 0 };
        let ends = matches!(bytes.first(), Some(b'\r' | b'\n'));
        let starts = line == 0 && message.head.len() == from as usize && !ends;
        if starts && segment_start && is_start(bytes, expected) {
            // Some senders forget the empty line.
            message.flags.insert(Flag::InvalidChunk);
            self.complete(side, cx, sink);
            return 0;
        }
        let mut used = 0;
        let mut ended = false;
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            let piece = memchr(b'\n', rest).map_or(rest, |lf| rest.get(..=lf).unwrap_or(rest));
            used += piece.len();
            let content = piece.iter().filter(|byte| !matches!(byte, b'\r' | b'\n')).count();
            line = line.saturating_add(u32::try_from(content).unwrap_or(u32::MAX));
            let line_ended = piece.ends_with(b"\n");
            if line == 0 && line_ended {
                ended = true;
                break;
            }
            let is_within = message.head.len() + piece.len() <= limits.0.saturating_add(from as usize);
            if is_within && cx.make_head_room(message, piece.len()) {
                message.head.extend_from_slice(piece);
            } else {
                message.flags.insert(Flag::TooManyHeaders);
            }
            if line_ended {
                line = 0;
            }
        }
        cx.stats.parsed_bytes += used as u64;
        stream.state = State::Chunked(Chunked::Trailer { from, line });
        stream.next = position.offset + used as u64;
        if ended {
            if message.head.len() > from as usize {
                parse_trailers(message, from as usize, limits.1);
                cx.charge(message);
            }
            self.complete(side, cx, sink);
        }
        used
    }

    /// Counts body bytes and keeps those within the limit.
    fn take_data(&mut self, side: Side, bytes: &[u8], cx: &mut Context) {
        cx.stats.parsed_bytes += bytes.len() as u64;
        let stream = self.stream_mut(side);
        let Some(message) = stream.message.as_deref_mut() else { return };
        message.body_bytes = message.body_bytes.saturating_add(bytes.len() as u64);
        if stream.capturing && !bytes.is_empty() {
            if message.body.capacity() == 0 && !begin_capture(message, stream.state, cx) {
                stream.capturing = false;
                return;
            }
            let room = cx.settings().body_limit.saturating_sub(message.body.len());
            let kept = bytes.get(..bytes.len().min(room)).unwrap_or_default();
            if !cx.make_body_room(message, kept.len()) {
                message.flags.insert(Flag::BodyNotCaptured);
                stream.capturing = false;
                return;
            }
            message.body.extend_from_slice(kept);
            stream.capturing = message.body.len() < cx.settings().body_limit;
        }
    }

    /// Counts body bytes that were seen but not kept; returns how many of `len` the body could have.
    pub(super) fn pass_body(
        &mut self,
        side: Side,
        position: Position,
        len: u64,
        cx: &mut Context,
        sink: &mut impl ExchangeSink,
    ) -> u64 {
        let stream = self.stream_mut(side);
        let used = match stream.state {
            State::Length(left) | State::Chunked(Chunked::Data(left)) => left.min(len),
            State::UntilClose => len,
            _ => 0,
        };
        let Some(message) = stream.reading_mut().filter(|_| used > 0) else { return 0 };
        message.body_bytes = message.body_bytes.saturating_add(used);
        stream.capturing = false;
        stream.doubtful = false;
        stream.next = position.offset.saturating_add(used);
        cx.stats.parsed_bytes += used;
        self.advance(side, used, cx, sink);
        used
    }

    /// Moves on in a body of known length or a chunk by bytes that are accounted for already.
    fn advance(&mut self, side: Side, used: u64, cx: &mut Context, sink: &mut impl ExchangeSink) {
        let stream = self.stream_mut(side);
        match &mut stream.state {
            State::Length(left) => {
                *left = left.saturating_sub(used);
                if *left == 0 {
                    self.complete(side, cx, sink);
                }
            }
            State::Chunked(chunked) => {
                if let Chunked::Data(left) = chunked {
                    *left = left.saturating_sub(used);
                    if *left == 0 {
                        *chunked = Chunked::DataEnd;
                    }
                }
            }
            State::Boundary | State::Search | State::Head | State::UntilClose => {}
        }
    }

    /// The next `len` bytes of a side were lost.
    pub(super) fn lose(
        &mut self,
        side: Side,
        position: Position,
        len: u64,
        cx: &mut Context,
        sink: &mut impl ExchangeSink,
    ) {
        let is_client = self.client == Some(side);
        if self.is_known_to_end(side, position.offset) {
            // What was lost came behind it.
            if let Some(response) = self.stream_mut(side).reading_mut() {
                response.unfinished = true;
            }
            self.complete(side, cx, sink);
        }
        let stream = self.stream_mut(side);
        let within = match stream.state {
            // Perhaps there is no body, and messages were lost.
            _ if stream.doubtful && stream.in_body() && !is_client => 0,
            State::Length(left) => left.min(len),
            // A loss that reaches behind the chunk hides where the next one starts.
            State::Chunked(Chunked::Data(left)) if len <= left => len,
            State::UntilClose => len,
            _ => 0,
        };
        if within > 0
            && let Some(message) = stream.reading_mut()
        {
            message.body_bytes = message.body_bytes.saturating_add(within);
            message.body_missing = message.body_missing.saturating_add(within);
            message.flags.insert(Flag::MissingBytes);
            stream.capturing = false;
            stream.next = position.offset.saturating_add(within);
            self.advance(side, within, cx, sink);
        }
        if within < len {
            let hole = Position { offset: position.offset.saturating_add(within), ..position };
            self.note_hole(side, hole, len - within);
            if is_client && position.acked.is_some() && self.initiator.is_some() {
                self.note_cut_off(side, position.offset.saturating_add(len));
            }
            self.mark_loss(side, position.offset.saturating_add(within));
            self.abandon(side, position.offset.saturating_add(within), cx, sink);
        }
    }

    /// Takes note of how far a segment reaches that the head of a request, or what came behind that, was cut off from.
    fn note_cut_off(&mut self, client: Side, end: u64) {
        let stream = self.stream(client);
        let (index, request) = match (stream.state, stream.message.as_deref()) {
            // It is not numbered yet.
            (State::Head, Some(request)) => (self.order.index.saturating_add(1), request),
            // Another segment of one whose head was cut off: another request may begin in it.
            (State::Search, None) => match self.requests.last() {
                Some(last) if !last.complete && self.cut_off.is_met() => (last.index, last),
                _ => return,
            },
            _ => return,
        };
        // A client that waits sends bodies, which are long. Without one, it is rather two requests for once.
        let may_have_body = !(request.head.starts_with(b"GET ") || request.head.starts_with(b"HEAD "));
        let is_alone = may_have_body && self.order.turns.alternates() && !self.order.pipelined;
        self.cut_off.note_cut(index, end.saturating_sub(request.start.offset), is_alone);
    }

    /// Whether a response whose body may not exist had none: its client, which waits, sent the next request when it had heard
    /// up to `offset`, where the body would begin.
    fn is_known_to_end(&self, side: Side, offset: u64) -> bool {
        let (Some(client), stream) = (self.client.filter(|client| *client != side), self.stream(side)) else {
            return false;
        };
        let heard_all = |request: &Message| request.start.acked == Some(offset);
        stream.doubtful
            && !self.order.pipelined
            && stream.reading().is_some_and(|response| response.body_bytes == 0)
            && (self.requests.last().is_some_and(heard_all) || self.stream(client).reading().is_some_and(heard_all))
    }

    /// Takes note of where lost bytes may have held another message, or are known to have.
    fn note_hole(&mut self, side: Side, position: Position, len: u64) {
        let is_http = self.fallback.is_none();
        let stream = self.stream_mut(side);
        if position.acked.is_none() {
            // No segment is known that they were cut off from.
            stream.hole = stream.hole.min(position.offset);
            stream.hole_bytes = stream.hole_bytes.saturating_add(u32::try_from(len).unwrap_or(u32::MAX));
        }
        if is_http && stream.state == State::Boundary {
            let begun = stream.message.as_deref().map(|begun| begun.start.offset);
            stream.due = stream.due.min(begun.unwrap_or(position.offset));
        }
    }

    /// What a side is in the middle of ends in lost bytes: emits or counts it, and searches for the next message.
    pub(super) fn abandon(&mut self, side: Side, offset: u64, cx: &mut Context, sink: &mut impl ExchangeSink) {
        match self.stream(side).state {
            State::Boundary | State::Search => {
                self.drop_begun(side, Unparsable::HeadLost, cx);
                self.drop_candidate(side, Protocol::Unsynchronized, cx);
                self.stream_mut(side).lose_sync();
            }
            State::Head => {
                let mut flags = Flags::NONE;
                flags.insert(Flag::HeadGap);
                flags.insert(Flag::MissingBytes);
                self.abandon_head(side, offset, (Unparsable::HeadLost, flags), cx, sink);
            }
            State::Length(_) | State::Chunked(_) | State::UntilClose => {
                if let Some(message) = self.stream_mut(side).reading_mut() {
                    message.flags.insert(Flag::MissingBytes);
                }
                self.cut(side, cx, sink);
            }
        }
    }

    /// A head is cut by a loss or by the end. Its start line, if whole, is worth a record, with `flags`; else it is counted
    /// for `reason`.
    fn abandon_head(
        &mut self,
        side: Side,
        offset: u64,
        (reason, flags): (Unparsable, Flags),
        cx: &mut Context,
        sink: &mut impl ExchangeSink,
    ) {
        let stream = self.stream_mut(side);
        let Some(mut message) = stream.message.take() else {
            stream.lose_sync();
            return;
        };
        // A line that is cut is worse than none: half a value would pass for a whole one.
        let lines = memrchr(b'\n', &message.head).map_or(0, |last| last + 1);
        message.head.truncate(lines);
        let readable = lines > 0;
        message.head_end = message.start.offset + message.head.len() as u64;
        if !readable || parse_head(message.kind, &mut message, cx.settings().max_headers).is_err() {
            stream.hold(message);
            self.drop_message(side, reason, cx);
            return;
        }
        cx.charge(&mut message);
        message.flags = message.flags.union(flags);
        match message.kind {
            MessageKind::Request => {
                self.note_request(&mut message, cx);
                // The loss is behind this request now, not behind the one before.
                message.hole_after = offset;
            }
            MessageKind::Response if matches!(message.status, 100 | 102..=199) => {
                cx.stats.interim += 1;
                let stream = self.stream_mut(side);
                stream.interim = true;
                stream.lose_sync();
                cx.give_back(message);
                return;
            }
            MessageKind::Response => {
                cx.stats.messages += 1;
                cx.stats.pending_messages += 1;
                self.stream_mut(side).end_answer(&mut message);
            }
        }
        let stream = self.stream_mut(side);
        stream.state = State::UntilClose;
        stream.hold(message);
        self.cut(side, cx, sink);
    }

    /// Where a message was due, the few bytes of it that came are a message that was begun.
    fn drop_begun(&mut self, side: Side, reason: Unparsable, cx: &mut Context) {
        let due = self.client.is_some() && self.fallback.is_none() && self.stream(side).state == State::Boundary;
        if let Some(candidate) = self.stream(side).message.as_deref().filter(|_| due) {
            let len = candidate.head.len() as u64;
            cx.stats.undecided_bytes -= len;
            cx.stats.parsed_bytes += len;
            self.drop_message(side, reason, cx);
        }
    }

    /// Nothing more comes of a side.
    pub(super) fn end_side(&mut self, side: Side, cx: &mut Context, sink: &mut impl ExchangeSink) {
        self.let_go(side, &[], cx, sink);
        if self.stream(side).state == State::Head {
            // Nor may what is behind the line be held back: no request will tell.
            let before = std::mem::replace(&mut cx.releases, true);
            self.end_at_blank_line(side, true, cx, sink);
            cx.releases = before;
        }
        match self.stream(side).state {
            State::Boundary | State::Search => {
                self.drop_begun(side, Unparsable::HeadCut, cx);
                let protocol = match (self.fallback, self.client, self.initiator) {
                    (Some(protocol), ..) => protocol,
                    (None, None, Some(_)) => Protocol::Unknown,
                    _ => Protocol::Unsynchronized,
                };
                self.drop_candidate(side, protocol, cx);
            }
            State::Head => {
                let next = self.stream(side).next;
                self.mark_loss(side, next);
                let mut flags = Flags::NONE;
                flags.insert(Flag::CutByClose);
                self.abandon_head(side, next, (Unparsable::HeadCut, flags), cx, sink);
            }
            State::UntilClose => self.complete(side, cx, sink),
            State::Length(_) | State::Chunked(_) => {
                if let Some(message) = self.stream_mut(side).reading_mut() {
                    message.flags.insert(Flag::CutByClose);
                    message.unfinished = true;
                }
                self.cut(side, cx, sink);
            }
        }
    }

    /// Whether a request of `client` may have been lost that the next response answers.
    pub(super) fn may_hide_request(&self, client: Side) -> bool {
        self.stream(client).lossy || self.front_request().is_some_and(|request| request.after_loss)
    }
}

/// Finds a buffer for a body whose first bytes came; false, and it is flagged, when memory for bodies is full.
fn begin_capture(message: &mut Message, state: State, cx: &mut Context) -> bool {
    if cx.is_full() {
        message.flags.insert(Flag::BodyNotCaptured);
        return false;
    }
    let limit = cx.settings().body_limit;
    let expected = match state {
        State::Length(length) => Some(usize::try_from(length).unwrap_or(usize::MAX).min(limit)),
        _ => None,
    };
    cx.lend_body(message, expected);
    true
}
