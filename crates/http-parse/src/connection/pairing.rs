//! Which response answers which request.
//!
//! A response *p* may answer a request *r* only if the server had received the start of *r* (`a(p) > s(r)`) and *p* was
//! sent after the client sent *r* (`s(p) ≥ a(r)`). While nothing was lost since the last certain pair, responses answer
//! requests in order (RFC 9112, section 9.3). Behind a loss these two conditions must leave exactly one request.

use std::collections::VecDeque;

use super::counting::{Opening, Responses};
use super::forerunners::Forerunners;
use super::heads::SHORTEST;
use super::surplus::Surplus;
use super::turns::Turns;
use super::waiting::Point;
use crate::message::{MatchState, Message};

/// Complete messages that wait, oldest first. The usual case is one: it lies in the connection itself.
#[derive(Debug, Default)]
pub(super) struct Queue {
    first: Option<Box<Message>>,
    // Only ever filled while `first` is.
    rest: VecDeque<Box<Message>>,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(super) fn get(&self, index: usize) -> Option<&Message> {
        match index.checked_sub(1) {
            None => self.first.as_deref(),
            Some(index) => self.rest.get(index).map(Box::as_ref),
        }
    }

    pub(super) fn front_mut(&mut self) -> Option<&mut Message> {
        self.first.as_deref_mut()
    }

    pub(super) fn last(&self) -> Option<&Message> {
        match self.rest.back() {
            Some(last) => Some(last),
            None => self.first.as_deref(),
        }
    }

    pub(super) fn last_mut(&mut self) -> Option<&mut Message> {
        match self.rest.back_mut() {
            Some(last) => Some(last),
            None => self.first.as_deref_mut(),
        }
    }

    pub(super) fn push(&mut self, message: Box<Message>) {
        if self.first.is_none() {
            self.first = Some(message);
        } else {
            self.rest.push_back(message);
        }
    }

    pub(super) fn pop(&mut self) -> Option<Box<Message>> {
        std::mem::replace(&mut self.first, self.rest.pop_front())
    }

    /// Puts a message back that was the first.
    pub(super) fn push_front(&mut self, message: Box<Message>) {
        if let Some(second) = self.first.replace(message) {
            self.rest.push_front(second);
        }
    }

    pub(super) fn second_mut(&mut self) -> Option<&mut Message> {
        self.rest.front_mut().map(Box::as_mut)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Message> {
        self.first.iter_mut().chain(&mut self.rest).map(Box::as_mut)
    }

    pub(super) fn pop_last(&mut self) -> Option<Box<Message>> {
        self.rest.pop_back().or_else(|| self.first.take())
    }

    /// Takes the message behind the first.
    pub(super) fn pop_second(&mut self) -> Option<Box<Message>> {
        self.rest.pop_front()
    }

    /// The first message that starts at `offset` or behind.
    pub(super) fn first_from(&self, offset: u64) -> Option<&Message> {
        match self.first.as_deref() {
            Some(first) if first.start.offset < offset => {
                let index = self.rest.partition_point(|message| message.start.offset < offset);
                self.rest.get(index).map(Box::as_ref)
            }
            first => first,
        }
    }

    /// Requests were sent before one that acknowledges up to `acked`: those that acknowledge more are late copies.
    pub(super) fn lower_acked(&mut self, acked: u64) {
        let rest = self.rest.iter_mut().rev().map(Box::as_mut);
        for request in rest.chain(self.first.as_deref_mut()) {
            match &mut request.start.acked {
                Some(heard) if *heard <= acked => return,
                Some(heard) => (*heard, request.opens_turn) = (acked, false),
                None => {}
            }
        }
    }

    /// Allocated bytes of the queue itself.
    pub(super) fn allocated(&self) -> usize {
        self.rest.capacity() * size_of::<Box<Message>>()
    }
}

/// What is known of the order of messages on a connection.
#[derive(Debug)]
pub(super) struct Order {
    /// Everything taken from the queues so far was certain: the next messages, if nothing was lost before them, belong
    /// together.
    pub(super) linked: bool,
    /// A request was once sent before the response to its predecessor had been received.
    pub(super) pipelined: bool,
    /// The end of the last paired response; 0: it was not seen.
    pub(super) last_response_end: u64,
    /// The last response that is done with, whatever it answers: what [`extent`] says of it; 0: there was none.
    pub(super) last_response: (u64, u64),
    /// The furthest point of what is done with that a client which waits comes by.
    pub(super) last_point: Point,
    /// The `acked` of the last request; `u64::MAX`: it is not known.
    pub(super) last_request_acked: u64,
    /// Whether the client works in turns.
    pub(super) turns: Turns,
    /// Requests so far.
    pub(super) index: u32,
    /// Whether a response was decided already.
    pub(super) answered: bool,
    /// A hole may have held more requests than a client that waits had sent, and nothing has shown yet that it did not.
    pub(super) roomy: bool,
    /// Bytes of the shortest head of a request.
    pub(super) shortest: u32,
    /// Bytes of the shortest response.
    pub(super) shortest_response: u32,
    /// Up to where the server's bytes are a body that was read as something else before its request was known.
    pub(super) body_until: u64,
    /// Requests that were given up because too many wait, and are not answered yet.
    pub(super) surplus: Option<Box<Surplus>>,
    /// Responses that were given up because too many wait, and whose requests have not come yet.
    pub(super) forerunners: Option<Box<Forerunners>>,
}

/// What is to be done with the oldest undecided response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Not decidable before more of the client's side is known.
    Wait,
    /// It answers the request with this index; those before it were not answered.
    Pair(usize),
    /// The same on the assumption that the client does not pipeline, of which too little has been seen: requests that
    /// were lost may have been sent with this one. The next message will tell ([`Order::confirm`]).
    Tentative(usize),
    /// It answers the next of the requests that were given up because too many wait.
    Surplus,
    /// It answers no request that is known; nothing else is unclear.
    Orphan,
    /// Its request has not been captured yet, and it can wait no longer.
    Ahead,
    /// It answers one that is not known, sent before those that are and together with the first of them.
    Unknown,
    /// Its request cannot be named with certainty: this many requests might be, and are not to be paired with another.
    Unsure(usize),
}

/// The client's side as pairing sees it: the unanswered requests in order, the last of which may be still on its way.
pub(super) struct Requests<'a> {
    pub(super) complete: &'a Queue,
    pub(super) reading: Option<&'a Message>,
    /// Up to which offset every request start is known.
    pub(super) settled: Option<u64>,
    /// A request may hide behind the last one known, or before the next.
    pub(super) lossy: bool,
}

impl<'a> Requests<'a> {
    pub(super) fn get(&self, index: usize) -> Option<&'a Message> {
        if index == self.complete.len() { self.reading } else { self.complete.get(index) }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &'a Message> {
        (0..=self.complete.len()).filter_map(|index| self.get(index))
    }
}

impl Order {
    /// Decides what `response` answers. `force`: nothing more will become known.
    pub(super) fn decide(
        &self,
        response: &Message,
        requests: &Requests<'_>,
        responses: &Responses<'_>,
        force: bool,
    ) -> Decision {
        let start = response.start.offset;
        if start < self.body_until {
            return Decision::Orphan;
        }
        // How far the client's side matters.
        let known = match (response.start.acked, requests.settled) {
            (Some(acked), Some(settled)) => settled >= acked,
            (Some(_), None) => false,
            (None, _) => !requests.complete.is_empty() || requests.reading.is_some(),
        };
        if self.goes_on(response, requests) {
            match requests.get(0) {
                // The first requests are those of the responses given up: this one's has been seen if all have.
                _ if self.forerunners.is_some() => {
                    return match response.start.acked {
                        Some(_) if known => Decision::Orphan,
                        _ if force => Decision::Ahead,
                        _ => Decision::Wait,
                    };
                }
                _ if self.surplus.is_some() && self.next_surplus(requests).is_some() => return Decision::Surplus,
                Some(request) if !(request.after_loss || request.after_hidden) => {
                    // What it acknowledges may be that of a late copy, what it is acknowledged by not.
                    let received = response.start.acked.is_none_or(|acked| acked > request.start.offset);
                    let fits = received || self.acknowledges_nothing(response, request);
                    return if fits { Decision::Pair(0) } else { Decision::Orphan };
                }
                Some(request) if request.is_sent_with_unknown(start) => return Decision::Unknown,
                None if known && !requests.lossy => return Decision::Orphan,
                None if force && !requests.lossy => return Decision::Ahead,
                _ => {}
            }
        }
        if !known && !force {
            return Decision::Wait;
        }
        let Some(acked) = response.start.acked else { return Decision::Unsure(0) };
        if requests.get(0).is_some_and(|request| self.acknowledges_nothing(response, request)) {
            return Decision::Pair(0);
        }
        let is_before = |request: &Message| acked <= request.start.offset && request.start.acked <= Some(start);
        if requests.get(0).is_some_and(|request| request.start.acked.is_some() && is_before(request)) {
            // The two were sent past each other: it answers another one, which was under way with this one.
            return Decision::Unknown;
        }
        if self.pipelined
            && let Some(decision) = self
                .decide_by_turn(response, acked, requests, responses, force)
                .or_else(|| self.decide_by_count(response, requests, responses, force))
        {
            return decision;
        }
        // Requests that the server had received; both offsets only grow, so these are the first few.
        let end = |request: &Message| if request.complete { request.end } else { request.head_end };
        let received = requests.iter().take_while(|request| end(request) <= acked).count();
        let mut candidates = 0;
        let mut latest = None;
        for (index, request) in requests.iter().take(received).enumerate() {
            // What is not known speaks for none, but against none either.
            if request.start.acked.is_none_or(|acked| acked <= start) {
                candidates += 1;
                latest = Some((index, request));
            }
        }
        let Some((index, request)) = latest else { return Decision::Unsure(0) };
        if request.start.acked.is_none() {
            return Decision::Unsure(if self.pipelined { index + 1 } else { 0 });
        }
        if response.after_hole && !self.pipelined && request.start.acked < Some(response.answer_start) {
            // A client that waits had heard all that was sent before its request: what was lost behind that is the head of
            // the answer, and this is a part of its body; or there was an interim response.
            return Decision::Unsure(0);
        }
        // Only bytes that the server had received can hide the request it answered.
        let hidden_behind = request.hole_after < acked || requests.settled.is_none_or(|settled| settled < acked);
        if hidden_behind {
            // Where the request itself was cut and nothing of the server stands between it and the response, a hidden one
            // would have to be pipelined.
            let follows = !request.complete && request.start.acked == Some(response.answer_start);
            return match (self.pipelined, follows) {
                (false, true) => Decision::Tentative(index),
                (false, false) => Decision::Unsure(0),
                (true, _) => Decision::Unsure(index + 1),
            };
        }
        let hidden_before = requests.iter().take(index + 1).any(|request| request.after_loss || request.after_hidden);
        if index + 1 < received && request.start.acked != Some(response.answer_start) {
            // The server had received a later one, which says that it was sent when this response had been heard: one of
            // the two is a late copy.
            return Decision::Unsure(if self.pipelined { index + 1 } else { 0 });
        }
        match (self.pipelined, hidden_before) {
            (false, false) => Decision::Pair(index),
            (false, true) if request.start.acked == Some(response.answer_start) => Decision::Tentative(index),
            (false, true) => Decision::Unsure(0),
            (true, false) if candidates == 1 => Decision::Pair(index),
            (true, _) => Decision::Unsure(index + 1),
        }
    }

    /// Whether `response` is the next one behind the last that is certain.
    pub(super) fn goes_on(&self, response: &Message, requests: &Requests<'_>) -> bool {
        self.linked && !response.after_loss && !self.is_behind_lost_start(response, requests)
    }

    /// Whether it is certain that `response` answers the next request, be it one that was given up.
    pub(super) fn is_in_order(&self, response: &Message, requests: &Requests<'_>) -> bool {
        let is_next_known = || requests.get(0).is_some_and(|next| !(next.after_loss || next.after_hidden));
        self.goes_on(response, requests) && (self.next_surplus(requests).is_some() || is_next_known())
    }

    /// Whether bytes were lost between what the connection's first request acknowledges and the response: a stream whose first
    /// bytes were lost with its SYN begins with what came behind them. Empty lines that were seen there are no loss.
    fn is_behind_lost_start(&self, response: &Message, requests: &Requests<'_>) -> bool {
        let first = requests.get(0).filter(|request| request.index == 1);
        let heard = first.and_then(|request| request.start.acked);
        heard.is_some_and(|heard| heard < response.answer_start && self.last_point.is_server_behind(heard))
    }

    /// Whether `response` comes from a server whose acknowledgements say nothing: those of crafted packets may stand still.
    /// It is the first one, it was captured behind the first request, it is sent at the offset that the request
    /// acknowledges, and its status is not one that a server sends of its own accord. And nothing is before that request: the
    /// first response may else be to one sent together with it, which the server received first. Where both sides' numbers
    /// begin at zero, which a join meets once in 2^64, they were made up.
    fn acknowledges_nothing(&self, response: &Message, request: &Message) -> bool {
        !self.answered
            && request.index == 1
            && (!request.after_loss || (request.start.offset as u32, response.start.offset as u32) == (0, 0))
            && response.start.acked == Some(request.start.offset)
            && request.start.acked == Some(response.start.offset)
            && response.start.at >= request.end_at
            && response.status < 400
    }

    /// The first response behind all that a turn's first request acknowledges answers that request, if the client is
    /// known to send turns of one size and this turn is seen whole: everything before it was answered by then.
    fn decide_by_turn(
        &self,
        response: &Message,
        acked: u64,
        requests: &Requests<'_>,
        responses: &Responses<'_>,
        force: bool,
    ) -> Option<Decision> {
        let size = self.turns.size()?;
        let heard = Some(response.answer_start);
        let (index, first) = requests.iter().enumerate().find(|(_, request)| request.start.acked >= heard)?;
        if first.start.acked != heard || first.head_end > acked {
            return None;
        }
        // What the server sent before that cannot have known of the request, or the request is a late copy of itself. If
        // it knew of everything before the request, no other of the same turn was lost there.
        let opens = match response.acked_before.cmp(&first.start.offset) {
            std::cmp::Ordering::Less => first.opens_turn,
            std::cmp::Ordering::Equal => true,
            std::cmp::Ordering::Greater => false,
        };
        if !opens {
            return None;
        }
        match requests.opening(index, size, force) {
            Opening::Whole => {
                let next = index.saturating_add(usize::try_from(size).unwrap_or(usize::MAX));
                let turn = (response, response.answer_start);
                self.closes(turn, requests.get(next), size, responses, force).map(|closes| match closes {
                    true => Decision::Pair(index),
                    false => Decision::Wait,
                })
            }
            Opening::Unfinished => Some(Decision::Wait),
            Opening::No => None,
        }
    }

    /// Whether what comes behind a tentative pair bears it out; `None`: nothing has come yet that tells.
    ///
    /// A client that does not pipeline sends its next request when it has received this response and nothing else. Had
    /// the request been one of several, the next thing would be another response, or a request that acknowledges more.
    pub(super) fn confirm(
        &self,
        response: &Message,
        request: &Message,
        next_request: Option<&Message>,
        next_response: Option<&Message>,
        settled: Option<u64>,
        force: bool,
    ) -> Option<bool> {
        if self.has_no_room_for_answers(request) {
            return Some(false);
        }
        let hidden_behind = response.start.acked.is_some_and(|acked| request.hole_after < acked);
        if let Some(next) = next_request {
            let heard = next.start.acked;
            let as_expected = || heard == Some(response.end);
            let is_usual = self.turns.alternates() && !self.pipelined;
            let may_be_usual = self.turns.may_alternate() && !self.pipelined && !force;
            if request.complete && response.start.acked.is_some_and(|acked| acked < request.end) {
                return Some(false);
            }
            if next.after_hole && request.complete && as_expected() {
                // What was lost between the two was sent before the response had been heard, or together with the next.
                return Some(false);
            }
            if !is_usual && response.complete && as_expected() {
                // Where a lost request shifts all that follows, the next response shows it: it has not seen this request.
                let acked = next_response?.start.acked;
                return Some(acked.is_none_or(|acked| acked > next.start.offset));
            }
            if !hidden_behind && response.complete && next.after_loss && !is_usual && may_be_usual {
                // Whether this client waits for its responses may be seen yet.
                return None;
            }
            return Some(match (hidden_behind, response.complete) {
                (false, true) => (next.after_loss && is_usual) || as_expected(),
                (false, false) => is_usual,
                (true, true) => as_expected(),
                (true, false) => is_usual && heard > Some(response.start.offset),
            });
        }
        let acked = next_response?.start.acked?;
        if hidden_behind {
            // A request that was lost behind this one may be answered next, if it was sent after this response.
            return (Some(acked) <= response.start.acked).then_some(false);
        }
        if request.hole_after < acked {
            return self.turns.alternates().then_some(true);
        }
        (settled? >= acked).then_some(false)
    }

    /// Whether a request is known to be lost before `request`, and the client had heard too little since the one before that
    /// to have waited for the answers to both.
    pub(super) fn has_no_room_for_answers(&self, request: &Message) -> bool {
        let least = u64::from(self.shortest_response).saturating_add(SHORTEST);
        request.after_unknown && request.heard_since.is_some_and(|heard| heard < least)
    }

    /// Whether two requests or more may have been lost before `request` that were under way together: there was room for them,
    /// and the client had not heard enough since to have waited for all; or they were the connection's first. The same holds
    /// for what comes behind it up to the next loss.
    pub(super) fn may_hide_two(&self, request: &Message, response: &Message) -> bool {
        let (room, lost) = request.hole_before;
        let shortest = u64::from(self.shortest);
        // Of each one at least the start line was lost.
        let holds_two = room >= shortest * 2 && u64::from(lost) >= shortest + SHORTEST;
        // One that waits has heard three responses: to both, and to the request before.
        let least = u64::from(self.shortest_response).saturating_mul(2).saturating_add(SHORTEST);
        let heard_few = || request.index == 1 || request.heard_since.is_some_and(|heard| heard < least);
        (holds_two && heard_few()) || (self.roomy && !request.after_loss && !response.after_loss)
    }

    /// Notes that a request starts, and whether it opens a turn; `previous_waits` tells whether an unanswered one is
    /// before it, and `crossed` whether one that waits was sent past it.
    pub(super) fn note_request(&mut self, request: &mut Message, previous_waits: bool, crossed: bool) {
        let last = std::mem::replace(&mut self.last_request_acked, request.start.acked.unwrap_or(u64::MAX));
        let last = (last != u64::MAX).then_some(last);
        if let Some(acked) = request.start.acked {
            request.heard_since = last.map(|last| acked.saturating_sub(last));
            // Sent when nothing of the other side had been received since the request before was sent, or in the middle
            // of the response to it.
            let nothing_between = previous_waits && last.is_some_and(|last| acked <= last);
            let in_the_middle = acked < self.last_response_end;
            self.pipelined |= nothing_between || in_the_middle || crossed;
            let is_first = request.index == 1;
            request.opens_turn = !request.after_loss && (is_first || last.is_some_and(|last| acked > last));
            if crossed && request.opens_turn {
                // Whatever that response answers, it is of an earlier turn.
                self.turns.broke();
            }
        }
        let len = request.head_end.saturating_sub(request.start.offset);
        self.shortest = self.shortest.min(u32::try_from(len).unwrap_or(u32::MAX));
        self.turns.sent(request.start.acked, request.opens_turn, request.after_loss, request.index == 1);
    }

    /// Notes that `response` answers `request`, behind which `next` was sent.
    pub(super) fn note_pair(&mut self, request: &Message, response: &Message, next: Option<&Message>) {
        self.last_response_end = if response.complete { response.end } else { 0 };
        if request.complete && response.start.acked.is_some_and(|acked| acked >= request.end.saturating_add(SHORTEST)) {
            // The server had received more than the request that it answers, be it known or lost: the client did not wait.
            self.pipelined = true;
        }
        if let Some(acked) = next.and_then(|next| next.start.acked)
            && acked < self.last_response_end
        {
            self.pipelined = true;
            if request.start.acked.is_some_and(|before| before < acked) {
                self.turns.broke();
            }
        }
    }
}

/// How far the sender of `response` had received the client, and up to where it is sure to reach.
pub(super) fn extent(response: &Message) -> Option<(u64, u64)> {
    // Where it ends is not known for certain before its request is.
    let is_certain = response.complete && response.match_state == MatchState::Matched;
    let end = if is_certain { response.end } else { response.start.offset.saturating_add(1) };
    Some((response.start.acked?, end))
}

/// Whether `request` and a response of this extent were sent past each other: the response answers an earlier request, and
/// the client did not wait for it.
pub(super) fn crosses((acked, end): (u64, u64), request: &Message) -> bool {
    acked <= request.start.offset && request.start.acked.is_some_and(|heard| heard < end)
}
