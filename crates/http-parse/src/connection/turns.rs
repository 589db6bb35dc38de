//! Whether a client sends its requests in turns: a group at once, and the next when all of them are answered.
//!
//! On a connection that pipelines, a loss leaves open which of the waiting requests the next response answers. A client
//! that has shown to work in turns of one size gives a way back: when a whole turn of that size is seen, sent in one go,
//! everything before it was answered by then. For a client that keeps as many requests under way and sends one for each
//! response has no room for a whole turn while others wait; and it shows itself by a request sent while responses to
//! earlier ones were still to come. One such request, ever, and nothing is concluded.

/// Turns that must have been seen whole, of the same size, before anything is concluded.
const ENOUGH: u8 = 3;
/// Turns of one request and one response that must have been seen whole before a client counts as one that waits. A client
/// that has little to ask for does so now and then.
const USUAL: u8 = 3;

/// What is known of a client's turns. A turn is a run of requests that acknowledge the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Turns {
    /// Requests of the connection's first turn, of which nothing was lost; 0: not known.
    first: u32,
    /// The turn being sent is the connection's first, and nothing of it was lost so far.
    in_first: bool,
    /// The most requests in a turn, lost ones not counted.
    longest: u32,
    /// Turns of the first one's size of which everything was seen: so many requests, and as many responses.
    seen: u8,
    /// Turns of one request and one response that were seen whole.
    alternations: u8,
    /// A request was sent while responses to requests of an earlier turn were still to come.
    broken: bool,
    /// The turn being sent began where a turn begins, and nothing of it was lost so far.
    whole: bool,
    /// Requests so far in the turn being sent.
    sent: u32,
    /// What they acknowledge.
    heard: u64,
    /// Responses one behind the other without a loss: how many, and where the first one starts and the last one ends.
    responses: u32,
    start: u64,
    end: u64,
}

impl Turns {
    /// How many requests make a turn, once that is beyond doubt.
    pub(super) const fn size(&self) -> Option<u32> {
        let alike = self.longest == self.first && self.first > 1;
        if self.seen >= ENOUGH && !self.broken && alike { Some(self.first) } else { None }
    }

    /// Whether there is a size, or may yet be.
    pub(super) const fn may_tell(&self) -> bool {
        let alike = self.in_first || (self.longest == self.first && self.first > 1);
        alike && !self.broken
    }

    /// Whether the client has been seen to wait for each response before its next request.
    pub(super) const fn alternates(&self) -> bool {
        self.alternations >= USUAL && self.may_alternate()
    }

    /// Whether nothing speaks against that yet.
    pub(super) const fn may_alternate(&self) -> bool {
        self.longest <= 1 && !self.broken
    }

    /// A request was sent that acknowledges up to `heard`. `opens`: it is known to open a turn; `lost`: requests may have
    /// been lost before it; `is_first`: it is the connection's first.
    pub(super) fn sent(&mut self, heard: Option<u64>, opens: bool, lost: bool, is_first: bool) {
        let Some(heard) = heard else {
            (self.whole, self.in_first) = (false, false);
            return;
        };
        if lost {
            // Whether the turn before went on is not known either.
            (self.whole, self.in_first) = (false, false);
        }
        if self.sent == 0 || heard > self.heard {
            self.close(heard);
            (self.sent, self.heard, self.whole, self.in_first) = (0, heard, opens, opens && is_first);
            (self.responses, self.start, self.end) = (0, heard, heard);
        }
        // A late copy of a request says nothing of its turn.
        self.whole &= heard == self.heard;
        self.sent = self.sent.saturating_add(1);
        self.longest = self.longest.max(self.sent);
    }

    /// The turn being sent is over, and what opens the next one acknowledges up to `heard`.
    fn close(&mut self, heard: u64) {
        if self.in_first {
            self.first = self.sent;
        }
        if self.start != self.heard || self.end != heard {
            return;
        }
        // Lost requests of the same turn would have had responses, too.
        self.alternations = self.alternations.saturating_add(u8::from(self.responses == 1));
        if self.whole && (self.responses != self.sent || (self.first > 0 && self.sent != self.first)) {
            // Only the last turn of all may be of another size, and none comes behind it.
            self.broken = true;
        } else if self.whole {
            self.seen = self.seen.saturating_add(1);
        }
    }

    /// A response was seen from `start` to `end`.
    pub(super) const fn responded(&mut self, start: u64, end: u64) {
        if start == self.end {
            self.responses = self.responses.saturating_add(1);
        } else {
            (self.responses, self.start) = (1, start);
        }
        self.end = end;
    }

    /// A request was sent while responses to others were still to come.
    pub(super) const fn broke(&mut self) {
        self.broken = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A turn of `size` requests, sent when `heard` was, and responses of ten bytes; returns where they end.
    fn turn(turns: &mut Turns, size: u32, heard: u64, responses: u32) -> u64 {
        for index in 0..size {
            turns.sent(Some(heard), index == 0, false, index == 0 && heard == 100);
        }
        for index in 0..u64::from(responses) {
            turns.responded(heard + index * 10, heard + index * 10 + 10);
        }
        heard + u64::from(responses) * 10
    }

    #[test]
    fn enough_whole_turns_of_the_first_ones_size_tell_it() {
        let mut turns = Turns::default();
        let mut heard = 100;
        for _ in 0..ENOUGH {
            heard = turn(&mut turns, 4, heard, 4);
            assert_eq!(turns.size(), None);
        }
        heard = turn(&mut turns, 3, heard, 3);
        assert_eq!(turns.size(), Some(4), "the last of the work may be less");
        turn(&mut turns, 4, heard, 4);
        assert_eq!(turns.size(), None, "it was not the last");
    }

    #[test]
    fn a_request_before_the_last_response_ends_it() {
        let mut turns = Turns::default();
        let mut heard = turn(&mut turns, 4, 100, 4);
        for responses in [4, 4, 4, 3, 4, 4, 4] {
            heard = turn(&mut turns, 4, heard, responses);
        }
        assert_eq!(turns.size(), None);
    }

    #[test]
    fn what_was_not_seen_whole_counts_for_nothing() {
        let mut turns = Turns::default();
        let heard = turn(&mut turns, 4, 100, 4);
        let heard = turn(&mut turns, 4, heard, 2) + 20;
        let heard = turn(&mut turns, 4, heard, 4);
        turns.sent(Some(heard), false, true, false);
        assert_eq!(turns.size(), None);
        let mut lossy = Turns::default();
        lossy.sent(Some(100), false, true, true);
        let mut heard = 140;
        for _ in 0..9 {
            heard = turn(&mut lossy, 4, heard, 4);
        }
        assert_eq!(lossy.size(), None, "how many the first turn had is not known");
    }
}
