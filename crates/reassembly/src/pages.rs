//! The pool of pages that out-of-order bytes are copied into: the memory budget.
//!
//! Pages are allocated one at a time up to the budget and kept for use, unless ranges need the room: what those take is
//! of the same budget. A range longer than a page is a chain of them; short ranges share a page, divided into slots of one
//! size, for else a stream cut into tiny segments would take a thousand times its length.

use core::mem::size_of;

use crate::slab::NONE;

/// Bytes in a page: one segment of an ordinary Ethernet fits.
pub(crate) const PAGE: usize = 2048;

/// What the slots of a divided page hold, by class.
const SLOTS: [usize; 3] = [64, 256, 512];
/// Marks the handle of a slot: beside it, the page and, in the low bits, which of its slots.
const SLOT: u32 = 1 << 31;
/// Bits that tell the slot.
const SLOT_BITS: u32 = (PAGE / SLOTS[0]).trailing_zeros();
/// The most pages, so that each slot of each has a handle that is not [`NONE`].
const MOST_PAGES: usize = (1 << (31 - SLOT_BITS)) - 1;
/// What a page takes beside its bytes, in a vector that may hold twice the entries it needs while it grows.
const ENTRY: usize = 2 * size_of::<Page>();

#[derive(Debug)]
struct Page {
    /// `None` in one whose memory was given back.
    bytes: Option<Box<[u8; PAGE]>>,
    /// The next page of the chain, of its class's list of pages with free slots, or of the list of free or empty ones.
    next: u32,
    /// In that last list, the page before.
    previous: u32,
    /// Of a divided page, the slots in use, one bit each. 0 in any other.
    used: u32,
    /// Of a divided page, its class.
    class: u8,
}

/// The pages of all flows.
#[derive(Debug)]
pub(crate) struct Pages {
    pages: Vec<Page>,
    free: u32,
    free_count: usize,
    /// Those without memory.
    empty: u32,
    empty_count: usize,
    /// By class, the first divided page that has free slots.
    partial: [u32; SLOTS.len()],
    /// Bytes allocated for ranges.
    range_bytes: usize,
    /// The most bytes, for pages and ranges.
    budget: usize,
}

impl Pages {
    /// A pool that allocates at most `budget` bytes.
    pub(crate) const fn new(budget: usize) -> Self {
        Self {
            pages: Vec::new(),
            free: NONE,
            free_count: 0,
            empty: NONE,
            empty_count: 0,
            partial: [NONE; SLOTS.len()],
            range_bytes: 0,
            budget,
        }
    }

    /// Whether `bytes` more may be allocated for ranges. Pages that are free give way.
    pub(crate) fn has_room_for_ranges(&mut self, bytes: usize) -> bool {
        while self.used() + bytes > self.budget {
            let id = self.free;
            let Some(page) = self.pages.get_mut(id as usize) else { return false };
            page.bytes = None;
            (self.free, page.next) = (page.next, self.empty);
            self.empty = id;
            self.free_count -= 1;
            self.empty_count += 1;
        }
        true
    }

    /// Counts a change of what is allocated for ranges, from `before` bytes to `after`.
    pub(crate) const fn resize_ranges(&mut self, before: usize, after: usize) {
        self.range_bytes = (self.range_bytes + after).saturating_sub(before);
    }

    /// What counts as allocated.
    const fn used(&self) -> usize {
        (self.pages.len() - self.empty_count) * PAGE + self.pages.len() * ENTRY + self.range_bytes
    }

    /// Whether so many pages are free or may be allocated.
    const fn has_room_for_pages(&self, count: usize) -> bool {
        let fresh = count.saturating_sub(self.free_count);
        let entries = fresh.saturating_sub(self.empty_count);
        fresh == 0
            || self.used() + fresh * PAGE + entries * ENTRY <= self.budget && self.pages.len() + entries <= MOST_PAGES
    }

    /// Copies `bytes` into a slot or into pages; `None` when there are not enough.
    pub(crate) fn store(&mut self, bytes: &[u8]) -> Option<u32> {
        if let Some(class) = SLOTS.iter().position(|size| bytes.len() <= *size) {
            return self.store_short(bytes, class);
        }
        if !self.has_room_for_pages(bytes.len().div_ceil(PAGE)) {
            return None;
        }
        let mut head = NONE;
        // From the last piece to the first, so that each page is chained to one that is there already.
        for piece in bytes.chunks(PAGE).rev() {
            let id = self.take_page();
            let page = self.pages.get_mut(id as usize)?;
            page.bytes.as_mut()?.get_mut(..piece.len())?.copy_from_slice(piece);
            page.next = head;
            head = id;
        }
        Some(head)
    }

    /// Copies `bytes` into a free slot of `class`.
    fn store_short(&mut self, bytes: &[u8], class: usize) -> Option<u32> {
        let size = *SLOTS.get(class)?;
        let mut id = *self.partial.get(class)?;
        if id == NONE {
            if !self.has_room_for_pages(1) {
                return None;
            }
            id = self.take_page();
            let page = self.pages.get_mut(id as usize)?;
            (page.used, page.class) = (0, class as u8);
            self.link(id, class);
        }
        let page = self.pages.get_mut(id as usize)?;
        let slot = page.used.trailing_ones();
        let from = slot as usize * size;
        page.bytes.as_mut()?.get_mut(from..from + bytes.len())?.copy_from_slice(bytes);
        page.used |= 1 << slot;
        if page.used.count_ones() as usize == PAGE / size {
            self.unlink(id, class);
        }
        Some(SLOT | id << SLOT_BITS | slot)
    }

    /// Frees the bytes at `head`: a slot, a chain of pages, or [`NONE`].
    pub(crate) fn release(&mut self, mut head: u32) {
        if head != NONE && head & SLOT != 0 {
            self.release_slot(head);
            return;
        }
        while let Some(page) = self.pages.get_mut(head as usize) {
            let next = page.next;
            page.next = self.free;
            self.free = head;
            self.free_count += 1;
            head = next;
        }
    }

    fn release_slot(&mut self, handle: u32) {
        let (id, slot) = split(handle);
        let Some(page) = self.pages.get_mut(id as usize) else { return };
        let class = usize::from(page.class);
        let slots = SLOTS.get(class).map_or(0, |size| PAGE / size);
        let was_full = page.used.count_ones() as usize == slots;
        page.used &= !(1 << slot);
        if page.used != 0 {
            if was_full {
                self.link(id, class);
            }
            return;
        }
        if !was_full {
            self.unlink(id, class);
        }
        if let Some(page) = self.pages.get_mut(id as usize) {
            page.next = self.free;
            self.free = id;
            self.free_count += 1;
        }
    }

    /// Puts a divided page at the front of those of its class that have free slots.
    fn link(&mut self, id: u32, class: usize) {
        let Some(first) = self.partial.get_mut(class) else { return };
        let second = core::mem::replace(first, id);
        if let Some(page) = self.pages.get_mut(id as usize) {
            (page.previous, page.next) = (NONE, second);
        }
        if let Some(page) = self.pages.get_mut(second as usize) {
            page.previous = id;
        }
    }

    /// Takes a divided page out of those of its class that have free slots.
    fn unlink(&mut self, id: u32, class: usize) {
        let Some((previous, next)) = self.pages.get(id as usize).map(|page| (page.previous, page.next)) else { return };
        if let Some(page) = self.pages.get_mut(next as usize) {
            page.previous = previous;
        }
        if let Some(page) = self.pages.get_mut(previous as usize) {
            page.next = next;
        } else if let Some(first) = self.partial.get_mut(class) {
            *first = next;
        }
    }

    /// The bytes stored at `head`, `len` in all, as slices in order.
    pub(crate) fn slices(&self, head: u32, len: usize) -> Slices<'_> {
        Slices { pages: self, head, left: len }
    }

    /// Bytes allocated, those for ranges left out.
    pub(crate) fn allocated(&self) -> usize {
        (self.pages.len() - self.empty_count) * PAGE + self.pages.capacity() * size_of::<Page>()
    }

    /// A page with memory: a free one, or a fresh one, for which there is room.
    fn take_page(&mut self) -> u32 {
        if let Some(page) = self.pages.get(self.free as usize) {
            let id = self.free;
            self.free = page.next;
            self.free_count -= 1;
            return id;
        }
        let bytes = Some(Box::new([0; PAGE]));
        if let Some(page) = self.pages.get_mut(self.empty as usize) {
            let id = self.empty;
            (self.empty, page.bytes) = (page.next, bytes);
            self.empty_count -= 1;
            return id;
        }
        self.pages.push(Page { bytes, next: NONE, previous: NONE, used: 0, class: 0 });
        (self.pages.len() - 1) as u32
    }
}

/// The page and the slot that a slot's handle means.
const fn split(handle: u32) -> (u32, u32) {
    let bits = handle & !SLOT;
    (bits >> SLOT_BITS, bits & ((1 << SLOT_BITS) - 1))
}

/// See [`Pages::slices`].
pub(crate) struct Slices<'a> {
    pages: &'a Pages,
    head: u32,
    left: usize,
}

impl<'a> Iterator for Slices<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.left == 0 || self.head == NONE {
            return None;
        }
        if self.head & SLOT != 0 {
            let (id, slot) = split(self.head);
            let page = self.pages.pages.get(id as usize)?;
            let from = slot as usize * SLOTS.get(usize::from(page.class))?;
            let len = core::mem::take(&mut self.left);
            return page.bytes.as_ref()?.get(from..from + len);
        }
        let page = self.pages.pages.get(self.head as usize)?;
        let here = self.left.min(PAGE);
        self.head = page.next;
        self.left -= here;
        page.bytes.as_ref()?.get(..here)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pages: &Pages, head: u32, len: usize) -> Vec<u8> {
        pages.slices(head, len).flatten().copied().collect()
    }

    #[test]
    fn chains_give_back_what_was_stored() {
        let mut pages = Pages::new(1 << 20);
        for len in [1, PAGE - 1, PAGE, PAGE + 1, 65_535] {
            let bytes: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
            let head = pages.store(&bytes).unwrap();
            assert_eq!(read(&pages, head, len), bytes);
            pages.release(head);
        }
    }

    #[test]
    fn never_more_than_the_budget_and_pages_are_used_again() {
        let budget = 20_000;
        let mut pages = Pages::new(budget);
        let mut heads = Vec::new();
        while let Some(head) = pages.store(&[1; PAGE]) {
            heads.push(head);
            assert!(pages.allocated() <= budget);
        }
        assert_eq!(heads.len(), 9);
        assert_eq!(pages.store(&[1]), None);
        pages.release(heads.pop().unwrap());
        assert_eq!(pages.store(&[1; PAGE + 1]), None);
        assert!(pages.store(&[2; PAGE]).is_some());
        assert!(pages.allocated() <= budget);
        assert_eq!(Pages::new(0).store(&[1]), None);
    }

    #[test]
    fn free_pages_give_way_to_ranges_and_come_again() {
        let mut pages = Pages::new(20_000);
        let chain = pages.store(&[1; 9 * PAGE]).unwrap();
        assert!(!pages.has_room_for_ranges(2_000), "all are in use");
        pages.release(chain);
        assert!(pages.has_room_for_ranges(10_000));
        pages.resize_ranges(0, 10_000);
        assert!(pages.allocated() + 10_000 <= 20_000);
        assert!(pages.store(&[1; 9 * PAGE]).is_none());
        let chain = pages.store(&[2; 4 * PAGE]).unwrap();
        assert!(!pages.has_room_for_ranges(2_000));
        pages.resize_ranges(10_000, 0);
        let second = pages.store(&[3; 5 * PAGE]).unwrap();
        assert_eq!(read(&pages, chain, 4 * PAGE), [2; 4 * PAGE]);
        assert_eq!(read(&pages, second, 5 * PAGE), [3; 5 * PAGE]);
        assert_eq!((pages.pages.len(), pages.empty_count), (9, 0));
    }

    #[test]
    fn short_ranges_share_pages_and_give_them_back() {
        let mut pages = Pages::new(20_000);
        let mut heads = Vec::new();
        while let Some(head) = pages.store(&[heads.len() as u8]) {
            heads.push(head);
        }
        assert_eq!(heads.len(), 9 * PAGE / SLOTS[0]);
        for (n, head) in heads.iter().enumerate() {
            assert_eq!(read(&pages, *head, 1), [n as u8]);
        }
        assert_eq!(pages.store(&[1; PAGE]), None);
        // Every other one first, so that all pages have free slots, in lists that are then taken apart in the middle.
        for head in heads.iter().step_by(2).chain(heads.iter().skip(1).step_by(2)) {
            pages.release(*head);
        }
        assert_eq!((pages.free_count, pages.partial), (9, [NONE; SLOTS.len()]));
        for _ in 0..9 {
            assert!(pages.store(&[1; PAGE]).is_some());
        }
        assert!(pages.allocated() <= 20_000);
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(128))]
        #[test]
        fn whatever_is_stored_is_there_until_it_is_released(
            ops in proptest::collection::vec((0_usize..5_000, proptest::bool::ANY, 0_usize..64), 1..400),
            budget in 0_usize..200_000,
        ) {
            let mut pages = Pages::new(budget);
            let mut kept: Vec<(u32, Vec<u8>)> = Vec::new();
            for (n, (len, shrinks, which)) in ops.into_iter().enumerate() {
                let len = if shrinks { len % 600 } else { len } + 1;
                let bytes: Vec<u8> = (0..len).map(|at| (at + n) as u8).collect();
                match pages.store(&bytes) {
                    Some(head) => kept.push((head, bytes)),
                    None if kept.is_empty() => {
                        proptest::prop_assert!(len.div_ceil(PAGE) * (PAGE + ENTRY) > budget, "an empty pool refuses");
                    }
                    None => {}
                }
                if which < kept.len() {
                    let (head, bytes) = kept.swap_remove(which);
                    proptest::prop_assert_eq!(read(&pages, head, bytes.len()), bytes);
                    pages.release(head);
                }
                proptest::prop_assert!(pages.allocated() <= budget);
            }
            for (head, bytes) in kept {
                proptest::prop_assert_eq!(read(&pages, head, bytes.len()), bytes);
                pages.release(head);
            }
            proptest::prop_assert_eq!(pages.free_count, pages.pages.len());
        }
    }
}
