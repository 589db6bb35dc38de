//! Numbered slots that keep their place.
//!
//! Slots live in chunks, so growing never moves what is there: a table of a million flows grows without a pause and
//! without needing its memory twice. Whoever holds a slot's number is unlinked before the slot is freed, so numbers need
//! no generation: the hash table, the lists and the timers all hold exactly the live ones.

use core::mem::size_of;

/// The number of no slot.
pub(crate) const NONE: u32 = u32::MAX;

const CHUNK_BITS: u32 = 8;
const CHUNK: usize = 1 << CHUNK_BITS;

/// Slots of `T`, numbered from 0. Freed slots are used again, last freed first.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    chunks: Vec<Vec<Option<T>>>,
    free: Vec<u32>,
    len: usize,
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self { chunks: Vec::new(), free: Vec::new(), len: 0 }
    }

    /// Puts `value` into a free slot.
    pub(crate) fn insert(&mut self, value: T) -> u32 {
        self.len += 1;
        if let Some(id) = self.free.pop() {
            if let Some(slot) = self.slot_mut(id) {
                *slot = Some(value);
            }
            return id;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let before = (self.chunks.len() - 1) << CHUNK_BITS;
        let Some(chunk) = self.chunks.last_mut() else { return NONE };
        chunk.push(Some(value));
        (before + chunk.len() - 1) as u32
    }

    #[inline]
    pub(crate) fn get(&self, id: u32) -> Option<&T> {
        self.chunks.get((id >> CHUNK_BITS) as usize)?.get(id as usize & (CHUNK - 1))?.as_ref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        self.slot_mut(id)?.as_mut()
    }

    /// Takes the value out and frees its slot.
    pub(crate) fn remove(&mut self, id: u32) -> Option<T> {
        let value = self.slot_mut(id)?.take()?;
        self.free.push(id);
        self.len -= 1;
        Some(value)
    }

    /// How many slots are taken.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten().flatten()
    }

    /// Bytes allocated, free slots included.
    pub(crate) fn allocated(&self) -> usize {
        self.chunks.len() * CHUNK * size_of::<Option<T>>()
            + self.chunks.capacity() * size_of::<Vec<Option<T>>>()
            + self.free.capacity() * size_of::<u32>()
    }

    #[inline]
    fn slot_mut(&mut self, id: u32) -> Option<&mut Option<T>> {
        self.chunks.get_mut((id >> CHUNK_BITS) as usize)?.get_mut(id as usize & (CHUNK - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_keep_their_numbers_and_are_used_again() {
        let mut slab = Slab::new();
        let ids: Vec<u32> = (0..1000).map(|n| slab.insert(n)).collect();
        assert_eq!(ids, (0..1000).collect::<Vec<_>>());
        assert_eq!(slab.remove(300), Some(300));
        assert_eq!(slab.remove(300), None);
        assert_eq!(slab.get(300), None);
        assert_eq!(slab.len(), 999);
        let allocated = slab.allocated();
        assert_eq!(slab.insert(7), 300);
        assert_eq!(slab.get_mut(300), Some(&mut 7));
        assert_eq!(slab.allocated(), allocated);
        assert_eq!(slab.iter().count(), 1000);
        assert_eq!(slab.get(NONE), None);
    }
}
