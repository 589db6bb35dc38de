//! Which response answers which request.
//!
//! A response *p* may answer a request *r* only if the server had received the start of *r* (`a(p) > s(r)`) and *p* was
//! sent after the client sent *r* (`s(p) ≥ a(r)`). While nothing was lost since the last certain pair, responses answer
//! requests in order (RFC 9112, section 9.3). Behind a loss these two conditions must leave exactly one request.

use std::collections::VecDeque;

use crate::message::Message;

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

    /// Takes the message behind the first.
    pub(super) fn pop_second(&mut self) -> Option<Box<Message>> {
        self.rest.pop_front()
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
    /// The end of the last paired response, where it was seen.
    pub(super) last_response_end: Option<u64>,
    /// The `acked` of the last request.
    pub(super) last_request_acked: Option<u64>,
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
    /// It answers no request that is known; nothing else is unclear.
    Orphan,
    /// Its request cannot be named with certainty: this many requests might be, and are not to be paired with another.
    Unsure(usize),
}

/// The client's side as pairing sees it: the unanswered requests in order, the last of which may be still on its way.
pub(super) struct Requests<'a> {
    pub(super) complete: &'a Queue,
    pub(super) reading: Option<&'a Message>,
    /// Up to which offset every request start is known.
    pub(super) settled: Option<u64>,
    /// A request may hide behind the last one known.
    pub(super) lossy: bool,
}

impl<'a> Requests<'a> {
    fn get(&self, index: usize) -> Option<&'a Message> {
        if index == self.complete.len() { self.reading } else { self.complete.get(index) }
    }

    fn iter(&self) -> impl Iterator<Item = &'a Message> {
        (0..=self.complete.len()).filter_map(|index| self.get(index))
    }
}

impl Order {
    /// Decides what `response` answers. `force`: nothing more will become known.
    pub(super) fn decide(&self, response: &Message, requests: &Requests<'_>, force: bool) -> Decision {
        let start = response.start.offset;
        // How far the client's side matters.
        let known = match (response.start.acked, requests.settled) {
            (Some(acked), Some(settled)) => settled >= acked,
            (Some(_), None) => false,
            (None, _) => !requests.complete.is_empty() || requests.reading.is_some(),
        };
        if self.linked && !response.after_loss {
            match requests.get(0) {
                Some(request) if !request.after_loss => {
                    return if may_answer(response, request) != Some(false) {
                        Decision::Pair(0)
                    } else {
                        Decision::Orphan
                    };
                }
                None if (known || force) && !requests.lossy => return Decision::Orphan,
                _ => {}
            }
        }
        if !known && !force {
            return Decision::Wait;
        }
        let Some(acked) = response.start.acked else { return Decision::Unsure(0) };
        // Requests that the server had begun to receive; both offsets only grow, so these are the first few.
        let received = requests.iter().take_while(|request| request.start.offset < acked).count();
        let mut candidates = 0;
        let mut latest = None;
        for (index, request) in requests.iter().take(received).enumerate() {
            if request.start.acked.is_some_and(|acked| acked <= start) {
                candidates += 1;
                latest = Some((index, request));
            }
        }
        let Some((index, request)) = latest else { return Decision::Unsure(0) };
        // Only bytes that the server had received can hide the request it answered.
        let hidden_behind = request.hole_after < acked;
        if hidden_behind || requests.settled.is_none_or(|settled| settled < acked) {
            return Decision::Unsure(if self.pipelined { index + 1 } else { 0 });
        }
        let hidden_before = requests.iter().take(index + 1).any(|request| request.after_loss);
        match (self.pipelined, hidden_before) {
            (false, false) => Decision::Pair(index),
            (false, true) => Decision::Tentative(index),
            (true, false) if candidates == 1 => Decision::Pair(index),
            (true, _) => Decision::Unsure(index + 1),
        }
    }

    /// Whether what comes behind a tentative pair bears it out; `None`: nothing has come yet that tells.
    ///
    /// A client that does not pipeline sends its next request when it has received this response and nothing else. Had
    /// the request been one of several, the next thing would be another response, or a request that acknowledges more.
    pub(super) fn confirm(
        response: &Message,
        request: &Message,
        next_request: Option<&Message>,
        next_response: Option<&Message>,
        settled: Option<u64>,
    ) -> Option<bool> {
        if let Some(next) = next_request {
            // A loss before it may have been a whole turn.
            let as_expected = || next.start.acked.is_some_and(|acked| acked == response.end);
            return Some(next.after_loss || !response.complete || as_expected());
        }
        let acked = next_response?.start.acked?;
        if request.hole_after < acked {
            return Some(true);
        }
        (settled? >= acked).then_some(false)
    }

    /// Notes that a request starts, of which `previous` tells whether an unanswered one is before it.
    pub(super) fn note_request(&mut self, acked: Option<u64>, previous_waits: bool) {
        if let Some(acked) = acked {
            // Sent when nothing of the other side had been received since the request before was sent, or in the middle
            // of the response to it.
            let nothing_between = previous_waits && self.last_request_acked.is_some_and(|last| acked <= last);
            let in_the_middle = self.last_response_end.is_some_and(|end| acked < end);
            self.pipelined |= nothing_between || in_the_middle;
        }
        self.last_request_acked = acked;
    }
}

/// Whether both conditions hold; `None`: an offset that would tell is not known.
fn may_answer(response: &Message, request: &Message) -> Option<bool> {
    let received = response.start.acked.map(|acked| acked > request.start.offset);
    let sent_after = request.start.acked.map(|acked| response.start.offset >= acked);
    match (received, sent_after) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}
