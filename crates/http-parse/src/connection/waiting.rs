//! Whether what was seen of a connection can be of a client that waits for each response before its next request.
//!
//! Such a connection is a staircase: a request takes the client's stream further, its response the server's, in turns. Of
//! each message two points of it are known, whatever lies between them: where a request starts and ends, with what its
//! sender had heard; and where a response starts and ends, with how much of the client the server had received. No two
//! points of a staircase may lie so that too few messages, or messages of one side only, lead from one to the other. That
//! holds over any loss, and it is what a client that keeps several requests under way runs into sooner or later.

use super::counting::Responses;
use super::heads::SHORTEST;
use super::pairing::{Order, Requests};
use crate::framing::{Asked, Framing, frame};
use crate::message::Message;

/// Messages of each side that are looked at together.
const MOST: usize = 10;

/// Who speaks next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Next {
    #[default]
    Client,
    Server,
}

/// A point of the staircase: how far both streams are, and whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Point {
    client: u64,
    server: u64,
    next: Next,
}

/// The fewest bytes that two messages of a side take.
#[derive(Clone, Copy, Debug)]
struct Two {
    requests: u64,
    responses: u64,
}

impl Point {
    /// Where nothing is known of either stream.
    pub(super) const UNKNOWN: Self = Self { client: u64::MAX, server: u64::MAX, next: Next::Client };

    /// The connection begins with this byte of a side.
    pub(super) const fn begin(&mut self, is_client: bool, offset: u64) {
        *(if is_client { &mut self.client } else { &mut self.server }) = offset;
    }

    /// Whether the server's stream is further than `offset` here, as far as is known.
    pub(super) const fn is_server_behind(self, offset: u64) -> bool {
        self.server > offset
    }

    const fn is_known(self) -> bool {
        self.client != u64::MAX && self.server != u64::MAX
    }

    /// Behind a response that is known whole, to a request that was received whole.
    pub(super) const fn behind(acked: u64, end: u64) -> Self {
        Self { client: acked, server: end, next: Next::Client }
    }

    /// Whether turns lead from here to `later`.
    fn leads_to(self, later: Self, two: Two) -> bool {
        let (Some(asked), Some(answered)) =
            (later.client.checked_sub(self.client), later.server.checked_sub(self.server))
        else {
            return false;
        };
        // What is shorter than a message is none: empty lines.
        let (asks, answers) = (asked >= SHORTEST, answered >= SHORTEST);
        match (self.next, later.next) {
            (Next::Client, Next::Client) | (Next::Server, Next::Server) => asks == answers,
            (Next::Client, Next::Server) => asks && (!answers || asked >= two.requests),
            (Next::Server, Next::Client) => answers && (!asks || answered >= two.responses),
        }
    }

    /// Whether turns lead from one of the two to the other.
    fn is_with(self, other: Self, two: Two) -> bool {
        if self <= other { self.leads_to(other, two) } else { other.leads_to(self, two) }
    }
}

/// The points of a request: its start, and its end if that is known.
fn of_request(request: &Message) -> [Option<Point>; 2] {
    let Some(server) = request.start.acked else { return [None; 2] };
    let start = Point { client: request.start.offset, server, next: Next::Client };
    let end = request.complete.then_some(Point { client: request.end, server, next: Next::Server });
    [Some(start), end]
}

/// The points of a response: its start, or that of the interim responses before it, and its end, as far as they are known.
/// `asked`: whether a request was sent when exactly what is before the response had been heard.
fn of_response(response: &Message, client: u64, asked: bool) -> [Option<Point>; 2] {
    // Behind a loss, interim responses may be missing.
    let is_start = !response.after_loss || asked;
    let start = is_start.then_some(Point { client, server: response.answer_start, next: Next::Server });
    let end = has_sure_end(response).then_some(Point::behind(client, response.end));
    [start, end]
}

/// Whether a response ends where it seems to, whatever it answers.
pub(super) fn has_sure_end(response: &Message) -> bool {
    response.complete && frame(response, Asked::Other).0 != Framing::UntilClose
}

impl Order {
    fn two(&self) -> Two {
        // Of two of which none was seen, one may be shorter than all that were.
        let least = |shortest: u32| if shortest == u32::MAX { SHORTEST } else { u64::from(shortest) };
        Two { requests: least(self.shortest) + SHORTEST, responses: least(self.shortest_response) + SHORTEST }
    }

    /// Whether `response`, the first of `requests` and the messages behind them can be of a client that waits.
    pub(super) fn may_wait(&self, response: &Message, requests: &Requests<'_>, responses: &Responses<'_>) -> bool {
        let mut points = [Point::UNKNOWN; 4 * MOST + 1];
        let mut len = 0;
        let mut add = |point: Option<Point>| {
            if let (Some(point), Some(free)) = (point, points.get_mut(len)) {
                *free = point;
                len += 1;
            }
        };
        add(self.last_point.is_known().then_some(self.last_point));
        requests.iter().take(MOST).flat_map(of_request).for_each(&mut add);
        for response in std::iter::once(response).chain(responses.iter()).take(MOST) {
            let Some(acked) = response.start.acked else { continue };
            let mut client = Some(acked);
            let mut asked = false;
            for request in requests.iter().take(MOST) {
                asked |= request.start.acked == Some(response.answer_start);
                if request.start.offset < acked && acked < request.end {
                    // It was answered before it was received whole.
                    client = request.complete.then_some(request.end);
                }
            }
            client.into_iter().flat_map(|client| of_response(response, client, asked)).for_each(&mut add);
        }
        let points = points.get_mut(..len).unwrap_or_default();
        points.sort_unstable();
        let two = self.two();
        points.windows(2).all(|two_points| matches!(two_points, [one, other] if one.leads_to(*other, two)))
    }

    /// Takes note of a message that is done with, on a connection of which something was lost.
    pub(super) fn note_points(&mut self, request: Option<&Message>, response: Option<&Message>) {
        let two = self.two();
        let [start, end] = request.map_or([None; 2], of_request);
        let answer = response.and_then(|response| {
            let acked = response.start.acked?;
            // Of one that may have been answered before it was received whole, the end is not known.
            let client = request.map_or(acked, |request| request.end.max(acked));
            Some(of_response(response, client, false))
        });
        let [answer_start, answer_end] = answer.unwrap_or([None; 2]);
        for point in [start, end, answer_start, answer_end].into_iter().flatten() {
            let last = self.last_point;
            if last.is_known() {
                self.pipelined |= !point.is_with(last, two);
                self.last_point = last.max(point);
            } else {
                self.last_point = point;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: Two = Two { requests: 56, responses: 66 };

    fn point(client: u64, server: u64, next: Next) -> Point {
        Point { client, server, next }
    }

    #[test]
    fn turns_lead_up_the_staircase() {
        let start = point(0, 0, Next::Client);
        let asked = point(40, 0, Next::Server);
        let answered = point(40, 50, Next::Client);
        let again = point(80, 50, Next::Server);
        for (from, to) in [(start, asked), (asked, answered), (start, answered), (start, again), (asked, again)] {
            assert!(from.leads_to(to, TWO), "{from:?} {to:?}");
            assert!(!to.leads_to(from, TWO), "{from:?} {to:?}");
            assert!(from.is_with(to, TWO) && to.is_with(from, TWO));
        }
        assert!(start.leads_to(point(2, 0, Next::Client), TWO), "an empty line is no message");
    }

    #[test]
    fn nothing_else_is_a_turn() {
        let start = point(0, 0, Next::Client);
        let asked = point(40, 0, Next::Server);
        for (from, to, why) in [
            (start, point(40, 0, Next::Client), "asked twice"),
            (start, point(40, 50, Next::Server), "two requests have no room"),
            (asked, point(40, 50, Next::Server), "answered twice"),
            (asked, point(80, 0, Next::Server), "asked twice"),
            (asked, point(80, 50, Next::Client), "two responses have no room"),
            (asked, point(20, 50, Next::Client), "sent past each other"),
        ] {
            assert!(!from.is_with(to, TWO), "{why}");
        }
    }
}
