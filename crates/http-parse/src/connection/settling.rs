//! Messages out of the queues: pairs, unanswered requests and orphans, as soon as nothing can change them.

use super::Connection;
use super::ahead::{Ahead, BEHIND_LOSS, ENOUGH, ENOUGH_JOINED, PATIENCE, look_ahead};
use super::counting::Responses;
use super::forerunners::unread_body_end;
use super::heads::{SHORTEST, switches_protocol};
use super::pairing::{Decision, Queue, Requests, crosses, extent};
use super::waiting::Point;
use crate::Side;
use crate::context::Context;
use crate::exchange::{Exchange, ExchangeSink};
use crate::flags::{Flag, Flags};
use crate::framing::{Asked, Framing, frame};
use crate::message::{MatchState, Message};
use crate::protocol::Protocol;

/// Messages that wait for a side of which nothing has been seen, once it must have spoken: it may be late by a few
/// packets, more likely it is not mirrored at all.
const MAX_WAITING_ALONE: usize = 8;
/// How much later than a message its partner may be captured, nanoseconds. Mirrors reorder by far less.
const LATE: u64 = 1_000_000_000;

impl Connection {
    /// The message in hand has ended: it goes into its queue, and a new one may start.
    pub(super) fn complete(&mut self, side: Side, cx: &mut Context, sink: &mut impl ExchangeSink) {
        self.enqueue(side, true, cx, sink);
    }

    /// The message in hand ends without its end being known; the next one has to be searched.
    pub(super) fn cut(&mut self, side: Side, cx: &mut Context, sink: &mut impl ExchangeSink) {
        self.enqueue(side, false, cx, sink);
    }

    fn enqueue(&mut self, side: Side, complete: bool, cx: &mut Context, sink: &mut impl ExchangeSink) {
        let is_client = self.client == Some(side);
        let stream = self.stream_mut(side);
        let Some(mut message) = stream.message.take() else {
            stream.lose_sync();
            return;
        };
        message.end = stream.next;
        message.end_at = stream.at;
        message.complete = complete;
        stream.doubtful = false;
        if complete {
            stream.state = super::State::Boundary;
        } else {
            stream.lose_sync();
        }
        if !is_client {
            if complete {
                let len = u32::try_from(message.end.saturating_sub(message.answer_start)).unwrap_or(u32::MAX);
                self.order.shortest_response = self.order.shortest_response.min(len);
                self.order.turns.responded(message.answer_start, message.end);
            }
            if self.has_lost() {
                self.note_response(&message);
            }
        } else if self.cut_off.is_met() && complete {
            self.cut_off.note_length(message.end.saturating_sub(message.start.offset));
        }
        let queue = if is_client { &mut self.requests } else { &mut self.responses };
        let before = queue.allocated();
        queue.push(message);
        cx.charge_queue(before, queue.allocated());
        self.settle(false, cx, sink);
    }

    /// Takes note of a response that has ended, before it is known what it answers.
    fn note_response(&mut self, response: &Message) {
        let Some(extent) = extent(response) else { return };
        let reading = self.client.and_then(|client| self.stream(client).reading());
        // More than two wait only of a client that is known to pipeline, or behind a pair that is looked at itself.
        let waiting = [self.requests.get(0), self.requests.get(1), reading];
        let crossed = waiting.into_iter().flatten().find(|request| crosses(extent, request));
        if let Some(opens_turn) = crossed.map(|request| request.opens_turn) {
            self.order.pipelined = true;
            if opens_turn {
                self.order.turns.broke();
            }
        }
    }

    /// Whether this capture of the connection is known to miss something.
    pub(super) const fn has_lost(&self) -> bool {
        self.initiator.is_none() || self.left.gapped || self.right.gapped
    }

    /// Whether the last response, or one that waits to be decided or is being read, was sent past `request`.
    pub(super) fn crosses(&self, request: &Message) -> bool {
        if crosses(self.order.last_response, request) {
            return true;
        }
        let Some(heard) = request.start.acked else { return false };
        let reading = || self.client.and_then(|client| self.stream(client.opposite()).reading());
        let response = self.responses.first_from(heard).or_else(reading);
        response.and_then(extent).is_some_and(|extent| crosses(extent, request))
    }

    /// Takes note that bytes of `side` from `offset` on may hide messages.
    pub(super) fn mark_loss(&mut self, side: Side, offset: u64) {
        let is_client = self.client == Some(side);
        let stream = self.stream_mut(side);
        stream.lossy = true;
        if is_client {
            let last = match stream.reading_mut() {
                Some(reading) => Some(reading),
                None => self.requests.last_mut(),
            };
            if let Some(last) = last {
                last.hole_after = last.hole_after.min(offset);
            }
        }
    }

    /// The oldest unanswered request, complete or not.
    pub(super) fn front_request(&self) -> Option<&Message> {
        self.requests.get(0).or_else(|| self.stream(self.client?).reading())
    }

    /// A side has advanced: responses that waited for that may be decided now.
    pub(super) fn note_progress(&mut self, side: Side, cx: &mut Context, sink: &mut impl ExchangeSink) {
        if self.client == Some(side) {
            let waits = !self.responses.is_empty()
                || self
                    .stream(side.opposite())
                    .reading()
                    .is_some_and(|response| response.match_state == MatchState::Undecided);
            if waits {
                self.settle(false, cx, sink);
            }
        } else if self.requests.len() > 1 {
            self.settle(false, cx, sink);
        }
    }

    /// Decides the response whose head was just read, which no other is before.
    /// Returns what its request asked, if that was given up.
    pub(super) fn decide_early(
        &mut self,
        response: &mut Message,
        cx: &mut Context,
        sink: &mut impl ExchangeSink,
    ) -> Option<Asked> {
        if self.order.forerunners.is_some() {
            self.meet_forerunners(cx, sink);
        }
        let decision = self.decide(response, false, cx);
        self.apply(decision, response, cx, sink)
    }

    fn decide(&mut self, response: &Message, force: bool, cx: &mut Context) -> Decision {
        let Some(client) = self.client else { return Decision::Orphan };
        if self.order.surplus.is_some() && !self.order.is_in_order(response, &self.seen_by(client).0) {
            self.doubt_surplus(client, cx);
        }
        if self.order.forerunners.is_some() && !self.follows_forerunners(response, client) {
            self.doubt_forerunners(cx);
        }
        let (requests, responses) = self.seen_by(client);
        self.order.decide(response, &requests, &responses, force)
    }

    /// Whether nothing was lost between the responses given up and `response`, nor of the client behind their requests.
    fn follows_forerunners(&self, response: &Message, client: Side) -> bool {
        let requests = self.seen_by(client).0;
        self.order.goes_on(response, &requests) && !requests.lossy
    }

    /// Both sides as pairing sees them.
    pub(super) fn seen_by(&self, client: Side) -> (Requests<'_>, Responses<'_>) {
        let stream = self.stream(client);
        let requests = Requests {
            complete: &self.requests,
            reading: stream.reading(),
            settled: stream.settled(),
            lossy: stream.may_hide_before_next(),
        };
        let server = self.stream(client.opposite());
        let responses = Responses { complete: &self.responses, reading: server.reading(), settled: server.settled() };
        (requests, responses)
    }

    /// Carries a decision out. `response` is not in the queue. Returns what its request asked, if that was given up.
    fn apply(
        &mut self,
        decision: Decision,
        response: &mut Message,
        cx: &mut Context,
        sink: &mut impl ExchangeSink,
    ) -> Option<Asked> {
        self.order.answered |= decision != Decision::Wait;
        if matches!(decision, Decision::Orphan | Decision::Ahead | Decision::Unknown | Decision::Unsure(_))
            && self.has_lost()
        {
            self.note_waiting(response);
        }
        match decision {
            Decision::Wait => {}
            Decision::Pair(index) => {
                self.give_up_requests(index, Flags::NONE, cx, sink);
                self.order.linked = true;
                response.match_state = MatchState::Matched;
            }
            Decision::Tentative(index) => {
                self.give_up_requests(index, Flags::NONE, cx, sink);
                self.order.linked = true;
                response.match_state = MatchState::Tentative;
            }
            Decision::Orphan => response.match_state = MatchState::Orphan,
            Decision::Ahead => {
                response.match_state = MatchState::Orphan;
                self.note_forerunner(response, cx);
            }
            Decision::Surplus => {
                response.match_state = MatchState::Orphan;
                return self.answer_surplus(response, cx);
            }
            Decision::Unknown => {
                // The client did not wait for it.
                (self.order.linked, self.order.pipelined) = (false, true);
                if let Some(request) = self.first_request_mut() {
                    request.doubted = true;
                }
                response.match_state = MatchState::Orphan;
                response.flags.insert(Flag::UncertainPairing);
            }
            Decision::Unsure(candidates) => {
                let mut uncertain = Flags::NONE;
                uncertain.insert(Flag::UncertainPairing);
                self.give_up_requests(candidates, uncertain, cx, sink);
                if candidates > 0 {
                    // One of them may still be answered by a later response.
                    self.hide_request();
                }
                self.order.linked = false;
                response.match_state = MatchState::Orphan;
                response.flags.insert(Flag::UncertainPairing);
            }
        }
        None
    }

    /// Takes note of a response that is not paired, and of whether a client that waits could have been given it.
    #[cold]
    fn note_waiting(&mut self, response: &Message) {
        let Some(client) = self.client else { return };
        let (requests, responses) = self.seen_by(client);
        self.order.pipelined |= !self.order.may_wait(response, &requests, &responses);
    }

    /// The oldest unanswered request, complete or not.
    pub(super) fn first_request_mut(&mut self) -> Option<&mut Message> {
        match self.requests.front_mut() {
            Some(_) => self.requests.front_mut(),
            None => self.stream_mut(self.client?).reading_mut(),
        }
    }

    /// A request that may still be answered is not in the queue any more: the next one is not the only candidate.
    pub(super) fn hide_request(&mut self) {
        if let Some(next) = self.requests.front_mut() {
            next.after_hidden = true;
            return;
        }
        if let Some(client) = self.client {
            let stream = self.stream_mut(client);
            match stream.begun_mut() {
                Some(next) => next.after_hidden = true,
                None => stream.hidden = true,
            }
        }
    }

    /// Emits the oldest complete requests as unanswered.
    pub(super) fn give_up_requests(
        &mut self,
        count: usize,
        flags: Flags,
        cx: &mut Context,
        sink: &mut impl ExchangeSink,
    ) {
        for _ in 0..count {
            let Some(mut request) = self.requests.pop() else { return };
            request.flags = request.flags.union(flags);
            self.emit(Some(request), None, cx, sink);
        }
    }

    /// Emits what is decided. `force`: nothing more will come, so everything is.
    pub(super) fn settle(&mut self, force: bool, cx: &mut Context, sink: &mut impl ExchangeSink) {
        let Some(client) = self.client else { return };
        let server = client.opposite();
        if self.order.forerunners.is_some() {
            self.meet_forerunners(cx, sink);
        }
        loop {
            let is_over = force;
            let force = force || self.responses.len() > patience(&self.responses, !self.stream(client).seen, cx);
            if let Some(mut response) = self.responses.pop() {
                // Out of the queue while it is looked at; back at its front if it has to wait.
                if response.match_state == MatchState::Undecided {
                    let decision = self.decide(&response, force, cx);
                    self.apply(decision, &mut response, cx, sink);
                    self.note_late_switch(&response);
                }
                match response.match_state {
                    MatchState::Orphan => self.emit(None, Some(response), cx, sink),
                    MatchState::Tentative if !self.requests.is_empty() => {
                        match self.confirm(client, &response, force, cx.is_short()) {
                            Some(true) => {
                                self.order.roomy = false;
                                response.match_state = MatchState::Matched;
                            }
                            Some(false) => self.part(&mut response, cx, sink),
                            None if force && self.is_last(client, &response) => {
                                response.match_state = MatchState::Matched;
                            }
                            None if force => self.part(&mut response, cx, sink),
                            None => {
                                self.responses.push_front(response);
                                break;
                            }
                        }
                        self.responses.push_front(response);
                    }
                    MatchState::Matched if !self.requests.is_empty() => {
                        let request = self.requests.pop();
                        self.note_pair(client, request.as_deref(), &response);
                        self.note_late_tunnel(request.as_deref(), &mut response);
                        self.emit(request, Some(response), cx, sink);
                    }
                    // Its request is still being read.
                    MatchState::Matched | MatchState::Tentative if !force => {
                        self.responses.push_front(response);
                        break;
                    }
                    state @ (MatchState::Matched | MatchState::Tentative) => {
                        if !is_over {
                            self.give_up_answer(&response, state == MatchState::Matched, cx);
                        }
                        self.emit(None, Some(response), cx, sink);
                    }
                    MatchState::Undecided => {
                        self.responses.push_front(response);
                        break;
                    }
                }
                continue;
            }
            let stream = self.stream_mut(server);
            let undecided = stream.reading().is_some_and(|response| response.match_state == MatchState::Undecided);
            if undecided && let Some(mut response) = stream.message.take() {
                let decision = self.decide(&response, force, cx);
                let given_up = self.apply(decision, &mut response, cx, sink);
                let asked = if response.match_state.has_request() {
                    Some(self.front_request().map_or(Asked::Other, Asked::by))
                } else {
                    given_up
                };
                // A request that may yet turn out to be another's does not say that there is a body.
                let is_open = response.match_state == MatchState::Tentative
                    && asked.is_some_and(|asked| frame(&response, asked).0 != Framing::Empty);
                let held = if asked.is_some() && !is_open { self.take_held(cx) } else { None };
                self.stream_mut(server).hold(response);
                if let Some(asked) = asked {
                    // This may complete it, and settle again.
                    self.reframe(server, asked, cx, sink);
                }
                if let Some(held) = held {
                    self.stream_mut(server).doubtful = false;
                    self.release(server, &held, cx, sink);
                } else if is_open && self.can_tell_held() {
                    self.let_go(server, &[], cx, sink);
                }
            }
            break;
        }
        self.give_up_passed(force, client, cx, sink);
    }

    /// Emits requests that will not be answered.
    fn give_up_passed(&mut self, force: bool, client: Side, cx: &mut Context, sink: &mut impl ExchangeSink) {
        let server = self.stream(client.opposite());
        let reading = server.reading();
        let answering = reading.is_some_and(|response| response.match_state.has_request())
            || self.responses.get(0).is_some_and(|response| response.match_state.has_request());
        let quiet = self.responses.is_empty() && reading.is_none();
        let settled = server.settled();
        // Where the latest bytes of the server begin that hold no final response.
        let interim = if server.answer_begun { server.answer.0 } else { u64::MAX };
        // On a connection that does not pipeline, a request sent after something of the server was received ends the
        // turn of the one before. Once the server's side is known up to there, no answer to that can come.
        while quiet
            && !self.order.pipelined
            && let (Some(first), Some(second)) = (self.requests.get(0), self.requests.get(1))
            && let (Some(before), Some(after)) = (first.start.acked, second.start.acked)
            && after > before
            && settled.is_some_and(|settled| settled >= after)
        {
            if interim.min(after) < before.saturating_add(SHORTEST) {
                // Nothing that was received in between is an answer: the client did not wait for it.
                self.order.pipelined = true;
                break;
            }
            self.order.linked = false;
            self.give_up_requests(1, Flags::NONE, cx, sink);
            // What comes next has to bear that out.
            self.hide_request();
        }
        let limit = if force { 0 } else { patience(&self.requests, settled.is_none(), cx) };
        while self.requests.len() > limit {
            if !force && self.give_up_newest(settled.is_none(), cx, sink) {
                continue;
            }
            if !self.give_up_oldest(answering && !force, cx, sink) {
                return;
            }
        }
    }

    /// Whether the tentative pair of the front request with `response`, which is out of the queue, is borne out. `is_short`:
    /// memory is, so what is there has to do.
    fn confirm(&self, client: Side, response: &Message, force: bool, is_short: bool) -> Option<bool> {
        let (requests, responses) = self.seen_by(client);
        let (client, server) = (self.stream(client), self.stream(client.opposite()));
        let next_request = requests.get(1).or(requests.reading);
        let next_response = responses.iter().next();
        if response.body_bytes > 0
            && (next_request.is_some() || next_response.is_some())
            && frame(response, Asked::Other).0 == Framing::UntilClose
        {
            // More was said on the connection, so its end is not where its framing would put it, and shows nothing.
            return Some(false);
        }
        let request = requests.get(0)?;
        let verdict = self.order.confirm(response, request, next_request, next_response, client.settled(), force);
        if verdict != Some(true) {
            return verdict;
        }
        if self.order.pipelined {
            return Some(false);
        }
        let enough = self.enough_ahead(response);
        let may_wait = !force && !is_short;
        let stands = match look_ahead(response, &requests, &responses, enough) {
            Ahead::Waits => true,
            Ahead::Unfinished if may_wait => return None,
            // What comes behind it may still show that the client does not wait.
            Ahead::Interrupted if may_wait && responses.complete.len() < enough.min(BEHIND_LOSS) => return None,
            Ahead::Unfinished if self.has_lost_answer(response) => false,
            // All was answered in the end: no response was one too many.
            Ahead::Unfinished if server.ended && client.ended => true,
            // Where the beginning is missing anyway, nothing is known of how many there were.
            Ahead::Unfinished | Ahead::Interrupted if self.initiator.is_none() => true,
            Ahead::Unfinished | Ahead::Interrupted => {
                !self.order.may_hide_two(request, response) && !self.cut_off.hides_one_before(request)
            }
            Ahead::Pipelines => false,
        };
        Some(stands && self.order.may_wait(response, &requests, &responses))
    }

    /// Whether something of the server was lost at the end, behind responses to all requests, of which `response` is the first.
    fn has_lost_answer(&self, response: &Message) -> bool {
        let Some(client) = self.client else { return false };
        let (requests, server) = (self.stream(client), self.stream(client.opposite()));
        let last = self.responses.last().unwrap_or(response);
        self.requests.len() == self.responses.len() + 1
            && requests.reading().is_none()
            && !requests.may_hide_before_next()
            && server.gapped
            && last.complete
            && server.next > last.end
    }

    /// Whether what comes behind `response`, which is out of the queue, shows a client that pipelines.
    fn looks_pipelined(&self, response: &Message) -> bool {
        let Some(client) = self.client else { return false };
        let (requests, responses) = self.seen_by(client);
        look_ahead(response, &requests, &responses, self.enough_ahead(response)) == Ahead::Pipelines
            || !self.order.may_wait(response, &requests, &responses)
    }

    /// How far ahead it is looked before a pair with `response` is believed.
    fn enough_ahead(&self, response: &Message) -> usize {
        if !(self.left.gapped || self.right.gapped) {
            return ENOUGH_JOINED;
        }
        let is_late = self.left.at.max(self.right.at) >= response.end_at.saturating_add(PATIENCE);
        // A client that keeps two requests under way may be slow as well.
        let is_doubted = || self.requests.get(0).is_some_and(|request| self.order.may_hide_two(request, response));
        if is_late && !is_doubted() { ENOUGH_JOINED } else { ENOUGH }
    }

    /// Whether the tentative pair of the front request with `response` stands though nothing came behind it that tells.
    fn is_last(&self, client: Side, response: &Message) -> bool {
        let server = self.stream(client.opposite());
        if self.stream(client).gapped && response.complete && server.next > response.end {
            // Something did come, and was lost: that may have answered this request.
            return false;
        }
        if self.has_lost_answer(response) {
            return false;
        }
        // Behind a hole, only a client that is known to wait had no other request under way with this one.
        let Some(request) = self.requests.get(0) else { return true };
        let is_usual = || self.order.turns.alternates() && !self.order.pipelined;
        (!request.after_hole || is_usual())
            && !self.order.may_hide_two(request, response)
            && !self.cut_off.hides_one_before(request)
    }

    /// A tentative pair was none: what was lost shifted the responses.
    fn part(&mut self, response: &mut Message, cx: &mut Context, sink: &mut impl ExchangeSink) {
        let order = &self.order;
        let doubted =
            |request: &Message| order.may_hide_two(request, response) || order.has_no_room_for_answers(request);
        self.order.roomy = self.requests.get(0).is_some_and(doubted);
        // Sent past each other: it answers another request, which was under way with this one.
        let acked = response.start.acked;
        let crossed =
            self.requests.get(0).is_some_and(|request| acked.is_some_and(|acked| acked <= request.start.offset));
        self.order.pipelined |= crossed || self.looks_pipelined(response);
        self.apply(Decision::Unsure(1), response, cx, sink);
    }

    /// Takes note of what a pair says about the connection.
    fn note_pair(&mut self, client: Side, request: Option<&Message>, response: &Message) {
        let Some(request) = request else { return };
        let reading = if client == Side::Left { self.left.reading() } else { self.right.reading() };
        self.order.note_pair(request, response, self.requests.get(0).or(reading));
        if response.body_bytes > 0 && Asked::by(request) == Asked::Head {
            // Read before its request was known: what was taken for its body were other responses.
            self.order.linked = false;
        }
        // The same the other way round: what was taken for other responses is its body.
        if let Some(end) = unread_body_end(response, Asked::by(request)) {
            self.order.body_until = end;
        }
    }

    /// A request that was overtaken by its 101 (Switching Protocols) was read as HTTP anew: it ends here.
    fn note_late_switch(&mut self, response: &Message) {
        let is_last = self.responses.is_empty() && self.requests.len() <= 1;
        if response.match_state.has_request() && is_last {
            let certain = response.match_state == MatchState::Matched;
            let protocol = switches_protocol(response, Asked::Other);
            protocol.into_iter().for_each(|protocol| self.switch_to(protocol, certain));
        }
    }

    /// A CONNECT that was overtaken by its response opens its tunnel when the two have met.
    fn note_late_tunnel(&mut self, request: Option<&Message>, response: &mut Message) {
        if (200..=299).contains(&response.status)
            && !response.flags.contains(Flag::Upgraded)
            && request.is_some_and(|request| Asked::by(request) == Asked::Connect)
            && self.stream(self.client.unwrap_or(Side::Left).opposite()).message.is_none()
        {
            response.flags.insert(Flag::Upgraded);
            self.switch_to(Protocol::Tunnel, true);
        }
    }

    pub(super) fn emit(
        &mut self,
        request: Option<Box<Message>>,
        response: Option<Box<Message>>,
        cx: &mut Context,
        sink: &mut impl ExchangeSink,
    ) {
        let Some(client) = self.client else { return };
        if request.is_none() || response.is_none() {
            let in_the_middle = |response: &Message| {
                let heard = self.front_request().and_then(|next| next.start.acked);
                heard.is_some_and(|heard| response.start.offset < heard && heard < response.end)
            };
            if response.as_deref().is_some_and(in_the_middle) {
                self.order.turns.broke();
            }
        }
        if self.has_lost() {
            self.order.note_points(request.as_deref(), response.as_deref());
            self.order.last_response = response.as_deref().and_then(extent).unwrap_or(self.order.last_response);
        }
        let mut flags = Flags::NONE;
        for message in [&request, &response].into_iter().flatten() {
            flags = flags.union(message.flags);
        }
        match (&request, &response) {
            (Some(request), Some(response)) => {
                if let (true, Some(acked)) = (response.complete, response.start.acked) {
                    self.order.last_point = Point::behind(acked.max(request.end), response.end);
                }
                cx.stats.paired += 1;
                cx.stats.pending_messages -= 2;
                if request.unfinished || response.start.acked.is_some_and(|acked| acked < request.end) {
                    flags.insert(Flag::EarlyResponse);
                }
            }
            (Some(request), None) => {
                if request.doubted {
                    flags.insert(Flag::UncertainPairing);
                }
                cx.stats.unanswered += 1;
                cx.stats.pending_messages -= 1;
            }
            (None, Some(_)) => {
                cx.stats.orphans += 1;
                cx.stats.pending_messages -= 1;
            }
            (None, None) => return,
        }
        sink.exchange(&Exchange {
            request: request.as_deref(),
            response: response.as_deref(),
            client,
            index: request.as_ref().map(|request| request.index),
            flags,
        });
        for message in [request, response].into_iter().flatten() {
            cx.give_back(message);
        }
    }
}

/// How many messages of a queue may wait for their partners; `alone`: nothing of the other side has been seen.
fn patience(queue: &Queue, alone: bool, cx: &Context) -> usize {
    let limit = cx.settings().max_pending;
    let too_late = || match (queue.get(0), queue.last()) {
        (Some(first), Some(last)) => {
            let spoken = first.start.acked.zip(last.start.acked).is_none_or(|(first, last)| last > first);
            spoken && last.start.at > first.end_at.saturating_add(LATE)
        }
        _ => false,
    };
    if alone && queue.len() > MAX_WAITING_ALONE && (cx.is_full() || too_late()) {
        limit.min(MAX_WAITING_ALONE)
    } else {
        limit
    }
}
