//! A SYN that is not of the flow it meets.
//!
//! It may open a new connection between the same endpoints, or be forged to end the one that goes on. RFC 5961,
//! section 4.2, has a receiver ask back; a sensor waits for evidence instead: the SYN-ACK that answers it, another
//! segment of the peer that acknowledges it, or its sender going on behind it while nothing of the old connection is
//! seen. Until then the old flow goes on, if it has something to lose.

use decap::{Direction, Segment, SeqNum, Timestamp};

use crate::flow::{Flow, Marks, NEAR, Phase};
use crate::handler::StreamHandler;
use crate::slab::NONE;
use crate::streams::Streams;

/// What is known of a connection that may take a flow's place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rival {
    /// Capture time of its first segment.
    pub(crate) at: Timestamp,
    /// Its initiator's first byte.
    first: SeqNum,
    /// The byte behind the payload of its SYN.
    top: SeqNum,
    /// The acceptor's first byte, if a SYN-ACK was seen.
    answer: SeqNum,
    /// From its initiator.
    direction: Direction,
    has_syn: bool,
    has_answer: bool,
    /// The old connection was heard since.
    is_doubted: bool,
}

impl Rival {
    const EMPTY: Self = Self {
        at: Timestamp::ZERO,
        first: SeqNum(0),
        top: SeqNum(0),
        answer: SeqNum(0),
        direction: Direction::Forward,
        has_syn: false,
        has_answer: false,
        is_doubted: false,
    };

    /// The connection that a SYN or SYN-ACK speaks of.
    fn new(segment: &Segment<'_>) -> Self {
        let first_byte = segment.seq.add(1);
        if segment.flags.ack() {
            let (first, direction) = (segment.ack, segment.direction.opposite());
            Self { at: segment.at, first, top: first, answer: first_byte, direction, has_answer: true, ..Self::EMPTY }
        } else {
            let top = first_byte.add(segment.payload.len() as u32);
            Self { at: segment.at, first: first_byte, top, direction: segment.direction, has_syn: true, ..Self::EMPTY }
        }
    }

    /// Whether this SYN and the other SYN-ACK belong together.
    fn is_answered_by(&self, other: &Self) -> bool {
        let acked = other.first.offset_from(self.first);
        let is_acked = acked >= 0 && acked <= self.top.offset_from(self.first);
        self.has_syn && other.has_answer && !other.has_syn && self.direction == other.direction && is_acked
    }
}

/// Whose a segment is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Contest {
    /// The flow's.
    Own,
    /// A connection's that may be forged.
    Foreign,
    /// A new connection's, which takes the flow's place.
    Won(Rival),
}

impl Flow {
    /// Makes a fresh slot that of a connection whose opening was seen before.
    pub(crate) fn adopt(&mut self, rival: &Rival) {
        self.edge = self.edge.min(rival.at);
        self.initiator = Some(rival.direction);
        let start = self.lift(rival.direction, rival.first);
        self.anchor(rival.direction, start);
        if rival.has_syn {
            self.marks[rival.direction].set(Marks::SYN);
        }
        if rival.has_answer {
            let acceptor = rival.direction.opposite();
            let start = self.lift(acceptor, rival.answer);
            self.anchor(acceptor, start);
            self.marks[acceptor].set(Marks::SYN);
        }
    }
}

impl<H: StreamHandler> Streams<H> {
    /// Whose a segment is: asked of every SYN, and of all segments while there is a rival.
    #[inline(never)]
    pub(crate) fn contest(&mut self, flow: &mut Flow, segment: &Segment<'_>, now: Timestamp) -> Contest {
        let mut known = self.rivals.get(flow.rival).copied();
        if known.is_some_and(|known| known.at + self.limits.idle_without_payload < now) {
            self.forget_rival(flow);
            known = None;
        }
        if segment.flags.rst() {
            return Contest::Own;
        }
        if !segment.flags.syn() {
            return known.map_or(Contest::Own, |known| self.contest_further(flow, &known, segment));
        }
        if flow.is_own_syn(segment.direction, segment.seq.add(1)) {
            return Contest::Own;
        }
        let rival = Rival::new(segment);
        let Some(known) = known else {
            if !self.is_defended(flow, now) {
                return Contest::Won(rival);
            }
            flow.rival = self.rivals.insert(rival);
            flow.is_contested = true;
            return Contest::Foreign;
        };
        if known.is_answered_by(&rival) || rival.is_answered_by(&known) {
            // The other half of the handshake is this segment.
            return Contest::Won(known);
        }
        if !self.is_defended(flow, now) {
            return Contest::Won(rival);
        }
        // A SYN-ACK that answers nothing must not make the SYN forgotten that the next one answers.
        if rival.has_syn || !known.has_syn {
            let is_again = known.direction == rival.direction && known.first == rival.first;
            let at = if is_again { known.at } else { rival.at };
            if let Some(slot) = self.rivals.get_mut(flow.rival) {
                *slot = Rival { at, ..rival };
            }
        }
        Contest::Foreign
    }

    /// A segment without SYN while there is a rival.
    fn contest_further(&mut self, flow: &Flow, rival: &Rival, segment: &Segment<'_>) -> Contest {
        let is_initiators = segment.direction == rival.direction;
        if !is_initiators && !segment.flags.ack() {
            return Contest::Own;
        }
        let is_ahead = |number: SeqNum, of: SeqNum| (0..=NEAR as i64).contains(&i64::from(number.offset_from(of)));
        let number = if is_initiators { segment.seq } else { segment.ack };
        let half = flow.half[rival.direction];
        let is_old = flow.is_next(rival.direction, number) || number == SeqNum(half.acked as u32);
        let is_near_old = number.unwrap_near(half.next).abs_diff(half.next) <= NEAR;
        // The peer of the old stream may acknowledge the same number.
        let is_first = is_initiators && (number == rival.first || number == rival.top);
        let is_its = !is_old && (is_first || (is_ahead(number, rival.first) && !is_near_old));
        let is_credible = if !is_initiators {
            // Who pretends to be the initiator cannot say this.
            rival.has_syn
        } else if rival.has_syn {
            !rival.is_doubted
        } else {
            !rival.is_doubted && segment.flags.ack() && is_ahead(segment.ack, rival.answer)
        };
        if is_its && is_credible {
            return Contest::Won(*rival);
        }
        if let Some(slot) = self.rivals.get_mut(flow.rival) {
            // If the rival goes on, perhaps something of the old connection was only late.
            slot.is_doubted = !is_its;
        }
        if is_its { Contest::Foreign } else { Contest::Own }
    }

    /// Nothing takes the flow's place for now.
    pub(crate) fn forget_rival(&mut self, flow: &mut Flow) {
        self.rivals.remove(flow.rival);
        (flow.rival, flow.is_contested) = (NONE, false);
    }

    /// Whether a flow has something to lose and may go on, so that a SYN alone does not end it.
    fn is_defended(&self, flow: &Flow, now: Timestamp) -> bool {
        let is_resetting = self.holds.get(flow.hold).and_then(|hold| hold.reset).is_some_and(|reset| reset.is_exact);
        let is_ending = flow.marks.forward.has(Marks::ENDED) || flow.marks.reverse.has(Marks::ENDED);
        let is_silent = flow.last + self.limits.idle_without_payload < now;
        flow.phase == Phase::Active && !is_resetting && !is_ending && !is_silent
    }
}
