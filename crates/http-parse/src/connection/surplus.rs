//! Requests given up because too many wait for their responses.
//!
//! Those that have waited longest are answered next, so it is the newest that go. While nothing is lost, responses answer
//! requests in order: those to requests given up are known by their number, and the ones behind are paired again.

use std::collections::VecDeque;

use super::Connection;
use super::pairing::{Order, Requests};
use crate::Side;
use crate::context::Context;
use crate::exchange::ExchangeSink;
use crate::flags::Flags;
use crate::framing::Asked;
use crate::message::{MatchState, Message};

/// Runs that are kept: of requests given up one behind the other, whose responses have bodies by the same rule. A client that
/// mixes methods has a new run every few requests.
const MOST_RUNS: usize = 4096;
/// The same where memory is full.
const FEW_RUNS: usize = 64;

/// Requests one behind the other that were given up and may still be answered.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// Their numbers on the connection: [`Message::index`].
    first: u32,
    last: u32,
    /// Where the first of them starts.
    start: u64,
    asked: Asked,
}

/// Requests given up, oldest first.
#[derive(Debug, Default)]
pub(super) struct Surplus {
    runs: VecDeque<Run>,
}

impl Surplus {
    fn allocated(&self) -> usize {
        size_of::<Self>() + self.runs.capacity() * size_of::<Run>()
    }

    /// Takes note of a request that is behind all the others; false: of no more than so many runs.
    fn add(&mut self, request: &Message, most: usize) -> bool {
        if request.index == u32::MAX {
            // That is where numbering ends.
            return false;
        }
        let asked = Asked::by(request);
        if let Some(run) = self.runs.back_mut().filter(|run| run.last + 1 == request.index && run.asked == asked) {
            run.last = request.index;
            return true;
        }
        let has_room = self.runs.len() < most;
        if has_room {
            let (index, start) = (request.index, request.start.offset);
            self.runs.push_back(Run { first: index, last: index, start, asked });
        }
        has_room
    }

    /// What the next one asked, if it is before `front`, the first request that waits.
    fn next(&self, front: Option<&Message>) -> Option<Asked> {
        let run = self.runs.front()?;
        front.is_none_or(|front| run.first < front.index).then_some(run.asked)
    }

    /// The next one is answered.
    fn answer(&mut self) {
        if let Some(run) = self.runs.front_mut() {
            run.first += 1;
            if run.first > run.last {
                self.runs.pop_front();
            }
        }
    }
}

impl Order {
    /// What the next request to be answered asked, if it is one that was given up.
    pub(super) fn next_surplus(&self, requests: &Requests<'_>) -> Option<Asked> {
        self.surplus.as_deref()?.next(requests.get(0))
    }
}

impl Connection {
    /// Gives the newest request up that waits; false: it is not known that the ones before it are answered first.
    pub(super) fn give_up_newest(&mut self, alone: bool, cx: &mut Context, sink: &mut impl ExchangeSink) -> bool {
        let (Some(first), Some(last)) = (self.requests.get(0), self.requests.last()) else { return false };
        // What the client has heard of a side that is not mirrored may have been the answers.
        let may_be_answered = alone && first.start.acked < last.start.acked;
        let is_doubted = self.responses.get(0).is_some_and(|response| response.match_state == MatchState::Tentative);
        let hides_one_before = last.after_loss || last.after_hidden;
        if !self.order.linked || may_be_answered || is_doubted || hides_one_before || self.requests.len() < 2 {
            return false;
        }
        let before = self.order.surplus.as_deref().map_or(0, Surplus::allocated);
        let surplus = self.order.surplus.get_or_insert_default();
        let is_added = surplus.add(last, if cx.is_full() { FEW_RUNS } else { MOST_RUNS });
        cx.charge_queue(before, surplus.allocated());
        if !is_added {
            return false;
        }
        let request = self.requests.pop_last();
        self.emit(request, None, cx, sink);
        true
    }

    /// The response in hand answers the next of the requests given up; returns what that asked.
    pub(super) fn answer_surplus(&mut self, response: &Message, cx: &mut Context) -> Option<Asked> {
        let surplus = self.order.surplus.as_deref_mut()?;
        let asked = surplus.runs.front()?.asked;
        surplus.answer();
        if surplus.runs.is_empty() {
            self.drop_surplus(cx);
        }
        if response.body_bytes > 0 && asked == Asked::Head {
            // Read before its request was known: what was taken for its body were other responses.
            self.order.linked = false;
        }
        Some(asked)
    }

    /// Something was lost: which responses answer the requests given up is not known any more.
    #[cold]
    pub(super) fn doubt_surplus(&mut self, client: Side, cx: &mut Context) {
        let Some(surplus) = self.drop_surplus(cx) else { return };
        let runs = &surplus.runs;
        // Runs that are behind none of the requests so far.
        let mut passed = 0;
        for request in self.requests.iter_mut() {
            let before = runs.partition_point(|run| run.last < request.index);
            request.after_hidden |= before > passed;
            passed = before;
            if let Some(next) = runs.get(runs.partition_point(|run| run.first <= request.index)) {
                request.hole_after = request.hole_after.min(next.start);
            }
        }
        if passed < runs.len() {
            let stream = self.stream_mut(client);
            match stream.begun_mut() {
                Some(next) => next.after_hidden = true,
                None => stream.hidden = true,
            }
        }
    }

    /// Forgets the requests given up.
    pub(super) fn drop_surplus(&mut self, cx: &mut Context) -> Option<Box<Surplus>> {
        let surplus = self.order.surplus.take()?;
        cx.charge_queue(surplus.allocated(), 0);
        Some(surplus)
    }

    /// Gives the oldest request up, or the second oldest where that one is being answered; false: there is none left.
    pub(super) fn give_up_oldest(&mut self, answering: bool, cx: &mut Context, sink: &mut impl ExchangeSink) -> bool {
        if !answering {
            self.give_up_requests(1, Flags::NONE, cx, sink);
            self.hide_request();
            return true;
        }
        let second = self.requests.pop_second();
        let is_there = second.is_some();
        if is_there {
            self.emit(second, None, cx, sink);
            if let Some(next) = self.requests.second_mut() {
                next.after_hidden = true;
            }
        }
        is_there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(index: u32, head: bool) -> Message {
        let method = if head { "HEAD" } else { "GET" };
        let mut message = Message { index, ..Message::default() };
        message.head.extend_from_slice(method.as_bytes());
        message.method_or_reason.end = u32::try_from(method.len()).unwrap_or_default();
        message
    }

    #[test]
    fn requests_given_up_are_answered_in_their_place() {
        let mut surplus = Surplus::default();
        for (index, head) in [(4, false), (5, false), (6, true), (9, true)] {
            assert!(surplus.add(&request(index, head), MOST_RUNS));
        }
        assert_eq!(surplus.runs.len(), 3);
        let mut asked = Vec::new();
        for front in [1, 3, 7, 7, 7, 7, 8, 10] {
            let next = surplus.next(Some(&request(front, false)));
            asked.extend(next);
            if next.is_some() {
                surplus.answer();
            }
        }
        assert_eq!(asked, [Asked::Other, Asked::Other, Asked::Head, Asked::Head]);
        assert!(surplus.runs.is_empty() && surplus.next(None).is_none());
    }

    #[test]
    fn a_run_takes_any_number_of_requests_and_there_are_a_few_of_them() {
        let mut surplus = Surplus::default();
        assert!((1..100_000).all(|index| surplus.add(&request(index, false), FEW_RUNS)));
        let added =
            (100_000..200_000).take_while(|index| surplus.add(&request(*index, index % 2 == 0), FEW_RUNS)).count();
        assert_eq!(added, FEW_RUNS - 1);
        let added =
            (200_000..300_000).take_while(|index| surplus.add(&request(*index, index % 2 == 0), MOST_RUNS)).count();
        assert_eq!(added, MOST_RUNS - FEW_RUNS);
        let mut last = Surplus::default();
        assert!(last.add(&request(u32::MAX - 1, false), 2) && !last.add(&request(u32::MAX, false), 2));
        last.answer();
        assert!(last.runs.is_empty());
    }
}
