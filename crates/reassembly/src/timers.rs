//! Deadlines of the flows that wait for something, soonest first.
//!
//! A binary heap that knows where each entry stands, so that an entry can be moved and taken out: nothing stale is ever
//! left in it, and its size is the number of flows that wait now.

use core::mem::size_of;

use decap::Timestamp;

use crate::slab::NONE;

/// The heap.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: Vec<(Timestamp, u32)>,
    /// Where each number stands in the heap; [`NONE`] where it does not.
    places: Vec<u32>,
}

impl Timers {
    /// The soonest deadline and whose it is.
    #[inline]
    pub(crate) fn soonest(&self) -> Option<(Timestamp, u32)> {
        self.heap.first().copied()
    }

    /// Sets the deadline of `id`, which may have one already.
    pub(crate) fn set(&mut self, id: u32, deadline: Timestamp) {
        if self.places.len() <= id as usize {
            self.places.resize(id as usize + 1, NONE);
        }
        match self.place(id) {
            Some(at) => {
                if let Some(entry) = self.heap.get_mut(at) {
                    if entry.0 == deadline {
                        return;
                    }
                    entry.0 = deadline;
                }
                self.settle(at);
            }
            None => {
                self.heap.push((deadline, id));
                self.settle(self.heap.len() - 1);
            }
        }
    }

    /// Takes out the deadline of `id`, if it has one.
    pub(crate) fn remove(&mut self, id: u32) {
        let Some(at) = self.place(id) else { return };
        self.heap.swap_remove(at);
        if let Some(place) = self.places.get_mut(id as usize) {
            *place = NONE;
        }
        if at < self.heap.len() {
            self.settle(at);
        }
    }

    /// Bytes allocated.
    pub(crate) fn allocated(&self) -> usize {
        self.heap.capacity() * size_of::<(Timestamp, u32)>() + self.places.capacity() * size_of::<u32>()
    }

    fn place(&self, id: u32) -> Option<usize> {
        self.places.get(id as usize).copied().filter(|&at| at != NONE).map(|at| at as usize)
    }

    /// Moves the entry at `at` to where it belongs.
    fn settle(&mut self, mut at: usize) {
        while at > 0 && self.is_before(at, (at - 1) / 2) {
            self.heap.swap(at, (at - 1) / 2);
            self.note(at);
            at = (at - 1) / 2;
        }
        loop {
            let left = 2 * at + 1;
            if left >= self.heap.len() {
                break;
            }
            let least = if self.is_before(left + 1, left) { left + 1 } else { left };
            if !self.is_before(least, at) {
                break;
            }
            self.heap.swap(at, least);
            self.note(at);
            at = least;
        }
        self.note(at);
    }

    /// Whether the entry at `a` comes before the one at `b`; false when there is none at `a`.
    fn is_before(&self, a: usize, b: usize) -> bool {
        // Ties go by number, so that the order does not depend on how the heap was built.
        matches!((self.heap.get(a), self.heap.get(b)), (Some(a), Some(b)) if a < b)
    }

    fn note(&mut self, at: usize) {
        if let Some(&(_, id)) = self.heap.get(at)
            && let Some(place) = self.places.get_mut(id as usize)
        {
            *place = at as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_as_a_sorted_map(ops in prop::collection::vec((0_u32..16, prop::option::of(0_u64..100)), 0..200)) {
            let mut timers = Timers::default();
            let mut model = BTreeMap::new();
            for (id, deadline) in ops {
                match deadline {
                    Some(nanos) => {
                        timers.set(id, Timestamp::from_nanos(nanos));
                        model.insert(id, Timestamp::from_nanos(nanos));
                    }
                    None => {
                        timers.remove(id);
                        model.remove(&id);
                    }
                }
                prop_assert_eq!(timers.soonest(), model.iter().map(|(&id, &at)| (at, id)).min());
                prop_assert_eq!(timers.heap.len(), model.len());
            }
        }
    }
}
