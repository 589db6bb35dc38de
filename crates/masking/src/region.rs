//! Parts of a text that are secrets for what stands around them, not in front of them.

use crate::policy::KindId;

/// A part of a text in which every value is a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Region {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) kind: KindId,
}

/// Puts regions in order and joins those that overlap, so that going through all of them is linear in the text.
pub(crate) fn merge(regions: &mut Vec<Region>) {
    regions.sort_unstable_by_key(|region| (region.start, std::cmp::Reverse(region.end)));
    regions.dedup_by(|next, kept| {
        let joins = next.start < kept.end;
        kept.end = if joins { kept.end.max(next.end) } else { kept.end };
        joins
    });
}

/// Values that a level of nesting holds, until it is known whether they are secrets: all levels share one list, and each
/// knows where its own begin.
#[derive(Default)]
pub(crate) struct Held {
    parts: Vec<(usize, usize)>,
}

impl Held {
    /// Where those of a level that starts now will begin.
    pub(crate) fn mark(&self) -> usize {
        self.parts.len()
    }

    /// The level that is open holds a value.
    pub(crate) fn push(&mut self, start: usize, end: usize) {
        if start < end {
            self.parts.push((start, end));
        }
    }

    /// A level ends: what it holds are secrets of this kind, if it is one.
    pub(crate) fn close(&mut self, mark: usize, kind: Option<KindId>, regions: &mut Vec<Region>) {
        let parts = self.parts.drain(mark.min(self.parts.len())..);
        match kind {
            Some(kind) => regions.extend(parts.map(|(start, end)| Region { start, end, kind })),
            None => drop(parts),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_regions_become_one() {
        let region = |start, end| Region { start, end, kind: KindId(0) };
        let mut regions = vec![region(9, 12), region(0, 5), region(2, 3), region(5, 6), region(4, 5), region(11, 20)];
        merge(&mut regions);
        assert_eq!(regions, [region(0, 5), region(5, 6), region(9, 20)]);
    }
}
