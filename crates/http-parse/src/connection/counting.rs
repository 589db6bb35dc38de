//! Counting back: which requests the responses behind a loss answer, on a connection that pipelines.
//!
//! Where a client that sends in turns opens a whole one, everything before it was answered (see [`super::turns`]): the last
//! response that it had received answers the last request before. From there on backwards, responses seen one behind
//! the other answer requests seen one behind the other. So a lost response costs its own exchange, not the rest of its turn.

use super::pairing::{Decision, Order, Queue, Requests};
use crate::framing::{Asked, Framing, frame};
use crate::message::Message;

/// Responses that may wait behind one for the turn that will tell. Behind a hole that reassembly kept open, one side comes
/// many turns after the other.
const MAX_BEHIND: usize = 192;

/// The server's side behind the response to be decided.
pub(super) struct Responses<'a> {
    pub(super) complete: &'a Queue,
    pub(super) reading: Option<&'a Message>,
    /// Up to which offset every response start is known.
    pub(super) settled: Option<u64>,
}

/// Whether a whole turn begins at a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    Whole,
    /// More of it may come.
    Unfinished,
    No,
}

impl Order {
    /// Decides by the turn that comes behind. `None`: it will not tell.
    pub(super) fn decide_by_count(
        &self,
        response: &Message,
        requests: &Requests<'_>,
        responses: &Responses<'_>,
        force: bool,
    ) -> Option<Decision> {
        if !self.turns.may_tell() {
            return None;
        }
        let may_wait = !force && responses.complete.len() < MAX_BEHIND;
        let wait = may_wait.then_some(Decision::Wait);
        // The first request whose sender had received some of the response, if not all.
        let start = Some(response.start.offset);
        let Some((turn, first)) = requests.iter().enumerate().find(|(_, request)| request.start.acked > start) else {
            // One behind a loss does not tell.
            return wait.filter(|_| !requests.lossy);
        };
        let heard = first.start.acked?;
        if !first.opens_turn {
            return None;
        }
        let Some(size) = self.turns.size() else { return wait };
        match requests.opening(turn, size, force) {
            Opening::Whole => {}
            Opening::Unfinished => return wait,
            Opening::No => return None,
        }
        let next = turn.saturating_add(usize::try_from(size).unwrap_or(usize::MAX));
        if !self.closes((response, heard), requests.get(next), size, responses, force)? {
            return wait;
        }
        let run = Run::from(response, responses, heard);
        if !run.reaches && may_wait && responses.settled.is_none_or(|settled| settled < heard) {
            return wait;
        }
        if !run.iter(response, responses).all(is_sound) {
            return None;
        }
        let index = turn.checked_sub(run.behind + 1);
        let hides_one_before = |at: &usize| requests.get(*at).is_some_and(|next| next.after_loss || next.after_hidden);
        let hidden = (0..=turn).rev().find(hides_one_before);
        if let Some(behind) = hidden.filter(|behind| index.is_none_or(|index| index < *behind)) {
            // More responses are to come before the turn than requests are known behind the hidden one.
            return Some(Decision::Unsure(behind));
        }
        let index = index?;
        if run.is_unbroken && run.reaches {
            let asked = requests.iter().skip(index).map(Asked::by);
            return run.fits(response, responses, asked).then_some(Decision::Pair(index));
        }
        // Others were lost between it and the turn: it answers that request, or one before.
        Some(Decision::Unsure(index + 1))
    }
}

impl Order {
    /// Whether a turn of `size`, sent when the server had been heard up to `from`, closes as one before `next` is sent; false:
    /// that is not known yet. `None`: more responses came than the turn has requests, so it was not sent when all was
    /// answered; or nothing more comes that would show that. `response` is the one that is being decided.
    pub(super) fn closes(
        &self,
        (response, from): (&Message, u64),
        next: Option<&Message>,
        size: u32,
        responses: &Responses<'_>,
        force: bool,
    ) -> Option<bool> {
        // Behind a loss it may be of a later turn.
        let heard = next.and_then(|next| next.start.acked);
        let until = heard.unwrap_or(if next.is_some() { 0 } else { u64::MAX });
        let all = std::iter::once(response).chain(responses.iter());
        let answers = all.skip_while(|response| response.answer_start < from);
        let count = answers.take_while(|response| response.start.offset < until).count();
        if u32::try_from(count).unwrap_or(u32::MAX) > size {
            return None;
        }
        let may_wait = !force && responses.complete.len() < MAX_BEHIND;
        let is_known = match heard {
            Some(heard) => responses.settled.is_some_and(|settled| settled >= heard),
            None => next.is_some(),
        };
        if is_known { Some(true) } else { may_wait.then_some(false) }
    }
}

impl Requests<'_> {
    /// Whether the request at `index` and those behind it are a whole turn of `size`.
    pub(super) fn opening(&self, index: usize, size: u32, force: bool) -> Opening {
        let Some(first) = self.get(index) else { return Opening::No };
        let mut count: u32 = 1;
        let mut ended = false;
        for request in self.iter().skip(index + 1) {
            if request.after_loss || request.start.acked != first.start.acked {
                ended = true;
                break;
            }
            count = count.saturating_add(1);
        }
        if count == size {
            Opening::Whole
        } else if count < size && !ended && !self.lossy && !force {
            Opening::Unfinished
        } else {
            Opening::No
        }
    }
}

/// The responses from one to the end of what the next turn's client had received.
struct Run {
    /// Responses behind the first.
    behind: usize,
    /// No other was lost between them.
    is_unbroken: bool,
    /// The last one ends where the client had received up to.
    reaches: bool,
}

impl Run {
    fn from(response: &Message, responses: &Responses<'_>, heard: u64) -> Self {
        let mut run = Self { behind: 0, is_unbroken: true, reaches: false };
        let mut last = response;
        for next in responses.iter().take_while(|next| next.start.offset < heard) {
            run.behind += 1;
            run.is_unbroken &= !next.after_loss;
            last = next;
        }
        run.is_unbroken &= last.complete;
        run.reaches = last.complete && last.end == heard;
        run
    }

    /// Whether none that was read with a body answers a request whose response has none.
    fn fits(&self, response: &Message, responses: &Responses<'_>, mut asked: impl Iterator<Item = Asked>) -> bool {
        self.iter(response, responses).all(|response| asked.next() == Some(Asked::Other) || response.body_bytes == 0)
    }

    fn iter<'a>(&self, response: &'a Message, responses: &Responses<'a>) -> impl Iterator<Item = &'a Message> {
        std::iter::once(response).chain(responses.iter()).take(self.behind + 1)
    }
}

impl<'a> Responses<'a> {
    pub(super) fn iter(&self) -> impl Iterator<Item = &'a Message> + use<'a> {
        let (complete, reading) = (self.complete, self.reading);
        (0..complete.len()).filter_map(move |index| complete.get(index)).chain(reading)
    }
}

/// Whether a response was read by its own framing and not ended by what looked like the next one: then it is one and not
/// two, and no other was taken for its body.
fn is_sound(response: &Message) -> bool {
    !response.unfinished && frame(response, Asked::Other).0 != Framing::UntilClose
}
