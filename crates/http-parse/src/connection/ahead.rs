//! Looking ahead: whether what comes behind a tentative pair still looks like a client that waits.
//!
//! Where a request was lost, a client that keeps two under way may look for a while like one that waits: each of its requests
//! is sent when a response has come, and every pair is one off. As soon as the server is quicker than the client's next
//! request, or slower than two of them, it shows. So a pair behind a loss is kept until some more have come.

use super::counting::Responses;
use super::pairing::Requests;
use super::waiting::has_sure_end;
use crate::framing::Asked;
use crate::message::Message;

/// Exchanges behind a tentative pair that must look like those of a client that waits, if nothing of them was lost.
pub(super) const ENOUGH: usize = 8;
/// The same where nothing of the connection is known to be lost but its beginning: a sensor that starts meets nothing but such
/// connections, and all of them hold records back.
pub(super) const ENOUGH_JOINED: usize = 2;

/// From so much later on than the response, by what was captured since, [`ENOUGH_JOINED`] exchanges do: a client that has
/// little to ask for must not have its records wait for eight. Nanoseconds.
pub(super) const PATIENCE: u64 = 10_000_000_000;
/// Responses that wait behind a tentative pair where another loss ends the look ahead: they may still show a client that
/// does not wait.
pub(super) const BEHIND_LOSS: usize = 6;

/// What the messages behind a tentative pair show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ahead {
    /// The client goes on waiting for its responses.
    Waits,
    /// The same up to where something was lost: nothing further can be seen.
    Interrupted,
    /// More is to come that will tell.
    Unfinished,
    /// A request was sent before the response to the one before it had been heard, or a response comes without one.
    Pipelines,
}

/// What the next `enough` exchanges behind `response` show, which is taken to answer the first of `requests`; `responses` are
/// behind it.
pub(super) fn look_ahead(
    response: &Message,
    requests: &Requests<'_>,
    responses: &Responses<'_>,
    enough: usize,
) -> Ahead {
    let mut last = response;
    let mut behind = responses.iter();
    for index in 1..=enough {
        let next_response = behind.next();
        let Some(request) = requests.get(index) else {
            let Some(acked) = next_response.and_then(|next| next.start.acked) else { return Ahead::Unfinished };
            if requests.lossy {
                return Ahead::Interrupted;
            }
            // Of a client that waits, nothing more would come before its next request.
            let known = requests.settled.is_some_and(|settled| settled >= acked);
            return if known { Ahead::Pipelines } else { Ahead::Unfinished };
        };
        if request.after_loss || request.after_hidden || !has_sure_end(last) {
            return Ahead::Interrupted;
        }
        let Some(heard) = request.start.acked else { return Ahead::Interrupted };
        if heard < last.end {
            return Ahead::Pipelines;
        }
        let Some(next) = next_response else { return Ahead::Unfinished };
        let (false, Some(acked)) = (next.after_loss, next.start.acked) else { return Ahead::Interrupted };
        if heard > last.end || acked <= request.start.offset {
            return Ahead::Pipelines;
        }
        let asked = Asked::by(request);
        if next.complete && (asked == Asked::Head && next.body_bytes > 0 || asked == Asked::Other && next.unfinished) {
            // It has a body where none may be, or none where one was announced: it answers another one.
            return Ahead::Pipelines;
        }
        last = next;
    }
    Ahead::Waits
}
