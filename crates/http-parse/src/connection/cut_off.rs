//! Requests whose heads a snap length cuts off: whether there was room for two in what one segment held.
//!
//! Two requests may be sent in one segment. Where the second is cut off, and the client goes on with one request for each
//! response, every one behind them seems to be answered by the response to the one before, and nothing is lost that would
//! tell. What does is how long the segment was: as long as two.

use crate::message::Message;

/// What is known of the lengths of a connection's requests, those of which a part was cut off included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CutOff {
    /// Bytes of the longest one whose head was cut off, but for those with a body of a client that was seen to wait for its
    /// responses; 0: there was none.
    longest: u16,
    /// Bytes of the shortest, but for the last one that was cut off; 0: there is none.
    shortest: u16,
    /// Bytes of the last one that was cut off, in as many segments as came of it so far; 0: there is none.
    last: u16,
    /// Its number.
    last_index: u32,
    /// The number of the first that may have held two; while none may, of the first that was cut off.
    from: u32,
}

impl CutOff {
    /// Whether requests are cut off at all.
    pub(super) const fn is_met(self) -> bool {
        self.shortest > 0 || self.last > 0
    }

    /// The request of this number was `bytes` long with what was cut off from its head, in this segment or one behind it.
    /// `is_alone`: it may have a body, and its client had been seen to wait for its responses.
    pub(super) fn note_cut(&mut self, index: u32, bytes: u64, is_alone: bool) {
        let bytes = clamp(bytes);
        if self.last_index != index {
            let before = std::mem::take(&mut self.last);
            self.note(before);
            self.last_index = index;
        }
        if self.shortest > 0 && self.longest >= self.shortest.saturating_mul(2) {
            return;
        }
        if !is_alone && bytes > self.longest {
            if self.longest == 0 || (self.shortest > 0 && bytes >= self.shortest.saturating_mul(2)) {
                self.from = index;
            }
            self.longest = bytes;
        }
        self.last = bytes;
    }

    /// A request was `bytes` long.
    pub(super) fn note_length(&mut self, bytes: u64) {
        self.note(clamp(bytes));
    }

    fn note(&mut self, bytes: u16) {
        self.shortest = shorter(self.shortest, bytes);
    }

    /// Requests vary in length, but hardly by as much as that.
    fn may_hold_two(self) -> bool {
        self.longest > 0 && self.longest >= shorter(self.shortest, self.last).saturating_mul(2)
    }

    /// Whether another one may have been cut off, together with which one before `request` was sent.
    pub(super) fn hides_one_before(self, request: &Message) -> bool {
        (request.after_loss || request.after_hidden) && request.index > self.from && self.may_hold_two()
    }
}

/// The lesser of two lengths, of which 0 is none.
const fn shorter(one: u16, other: u16) -> u16 {
    if one == 0 || (other > 0 && other < one) { other } else { one }
}

fn clamp(bytes: u64) -> u16 {
    u16::try_from(bytes).unwrap_or(u16::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hides(cut: CutOff, index: u32) -> bool {
        cut.hides_one_before(&Message { index, after_loss: true, ..Message::default() })
    }

    #[test]
    fn one_twice_as_long_may_have_been_two() {
        let mut cut = CutOff::default();
        cut.note_cut(1, 70, false);
        cut.note_cut(2, 90, false);
        assert!(cut.is_met() && !hides(cut, 3));
        cut.note_cut(3, 140, false);
        assert!(!hides(cut, 3) && hides(cut, 4));
        let mut later = CutOff::default();
        later.note_cut(1, 140, false);
        assert!(!hides(later, 2));
        later.note_cut(2, 70, true);
        assert!(!hides(later, 1) && hides(later, 2), "the first was twice as long");
    }

    #[test]
    fn a_request_of_several_segments_is_as_long_as_all_of_them() {
        let mut cut = CutOff::default();
        for index in 1..9 {
            for bytes in [1448, 2896, 3000] {
                cut.note_cut(index, bytes, false);
            }
            assert!(!hides(cut, index + 1));
        }
        cut.note_cut(9, 900, false);
        assert!(hides(cut, 9), "those before it were twice as long");
        let whole = Message { index: 9, after_hidden: true, ..Message::default() };
        assert!(cut.hides_one_before(&whole));
    }

    #[test]
    fn a_client_that_was_seen_to_wait_sends_long_ones_too() {
        let mut cut = CutOff::default();
        cut.note_cut(1, 70, false);
        cut.note_cut(5, 1400, true);
        cut.note_length(u64::MAX);
        assert!(!hides(cut, 6));
        cut.note_length(30);
        assert!(hides(cut, 2), "the first may have held two of the shortest");
    }
}
