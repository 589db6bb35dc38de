//! What a capture makes of what was sent, and whether the pairs that come of it are right.

use http_parse::{Flag, Position, Side};

use super::dialogue::side_of;
use super::{CLIENT, Op, Outcome, Record, SERVER, STARTS, story};

/// What a reassembler makes of segments, each with whether it was lost: holes in their places, but for those at the end of
/// a side that nothing speaks of. `closes`: the connection is closed in order, which speaks of everything.
pub fn captured<'a>(sent: impl IntoIterator<Item = (&'a Op, bool)>, closes: bool) -> Vec<Op> {
    let mut ops = Vec::new();
    let mut next = STARTS;
    for (op, lost) in sent {
        let Op::Data(side, position, bytes) = op else { continue };
        next[side.index()] = position.offset + bytes.len() as u64;
        ops.push(if lost {
            Op::Gap(*side, Position { acked: None, ..*position }, bytes.len() as u64)
        } else {
            op.clone()
        });
    }
    for side in [CLIENT, SERVER] {
        if closes {
            let (offset, acked) = (next[side.index()], Some(next[side.opposite().index()]));
            ops.push(Op::End(side, Position { at: 1 << 20, offset, acked }));
        } else {
            forget_unspoken(&mut ops, side);
        }
    }
    ops
}

/// Takes the holes at the end of `side` away that the other side does not speak of.
fn forget_unspoken(ops: &mut Vec<Op>, side: Side) {
    let told = ops.iter().filter_map(|op| match op {
        Op::Data(by, position, _) if *by != side => position.acked,
        _ => None,
    });
    let told = told.max().unwrap_or_default();
    while let Some(last) = ops.iter().rposition(|op| side_of(op) == side) {
        let Op::Gap(_, position, _) = ops[last] else { break };
        if position.offset < told {
            break;
        }
        ops.remove(last);
    }
}

/// Whether a response is paired with another request than the one that its `X-Target` names.
pub fn is_wrong(record: &Record) -> bool {
    let (Some(request), Some(response)) = (&record.request, &record.response) else { return false };
    let target = response.headers.iter().find(|(name, _)| name == "X-Target").map(|(_, target)| target.as_str());
    let asked = request.start.split(' ').nth(1);
    target.is_some() && !record.has(Flag::HeadGap) && asked != target
}

/// The shortest story with a wrong pair in it, of those that were looked at.
#[derive(Debug, Default)]
pub struct Wrong {
    /// Stories with one.
    pub count: usize,
    pub shortest: Option<String>,
}

impl Wrong {
    /// Looks at what came of `ops`; `what` says of what they were made.
    pub fn look(&mut self, what: &dyn std::fmt::Debug, ops: &[Op], outcome: &Outcome) {
        if !outcome.records.iter().any(is_wrong) {
            return;
        }
        self.count += 1;
        if self.shortest.as_ref().is_none_or(|known| ops.len() < known.lines().count()) {
            self.shortest = Some(format!("{what:?}\n{}\n{:#?}", story(ops), outcome.lines()));
        }
    }

    /// Fails with the story, if there is one.
    pub fn assert_none(&self) {
        assert!(self.count == 0, "{} stories, such as\n{}", self.count, self.shortest.as_deref().unwrap_or_default());
    }
}
