//! One value for each direction of a flow.

use core::ops::{Index, IndexMut};

use decap::Direction;

/// Both directions, in the order in which they are always worked through.
pub(crate) const BOTH: [Direction; 2] = [Direction::Forward, Direction::Reverse];

/// One value for each direction.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pair<T> {
    pub(crate) forward: T,
    pub(crate) reverse: T,
}

impl<T> Index<Direction> for Pair<T> {
    type Output = T;

    #[inline]
    fn index(&self, direction: Direction) -> &T {
        match direction {
            Direction::Forward => &self.forward,
            Direction::Reverse => &self.reverse,
        }
    }
}

impl<T> IndexMut<Direction> for Pair<T> {
    #[inline]
    fn index_mut(&mut self, direction: Direction) -> &mut T {
        match direction {
            Direction::Forward => &mut self.forward,
            Direction::Reverse => &mut self.reverse,
        }
    }
}
