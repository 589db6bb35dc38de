//! The pool of pages that out-of-order bytes are copied into: the memory budget.
//!
//! Pages are allocated one at a time up to the limit and never given back, so the pool's size is its high-water mark.
//! A range longer than a page is a chain of them.

use core::mem::size_of;

use crate::slab::NONE;

/// Bytes in a page: one segment of an ordinary Ethernet fits.
pub(crate) const PAGE: usize = 2048;

#[derive(Debug)]
struct Page {
    bytes: Box<[u8; PAGE]>,
    /// The next page of the chain, or of the free list.
    next: u32,
}

/// The pages of all flows.
#[derive(Debug)]
pub(crate) struct Pages {
    pages: Vec<Page>,
    free: u32,
    free_count: usize,
    /// The most pages there may be; also the most ranges, so that ranges without content are bounded too.
    limit: usize,
    ranges: usize,
}

impl Pages {
    /// A pool that allocates at most `budget` bytes.
    pub(crate) fn new(budget: usize) -> Self {
        // The vector may hold twice the entries it needs while it grows.
        let each = PAGE + 2 * size_of::<Page>();
        Self { pages: Vec::new(), free: NONE, free_count: 0, limit: (budget / each).min(NONE as usize), ranges: 0 }
    }

    /// Whether one more range may be kept.
    pub(crate) const fn has_room_for_range(&self) -> bool {
        self.ranges < self.limit
    }

    /// Counts a range in.
    pub(crate) const fn add_range(&mut self) {
        self.ranges += 1;
    }

    /// Copies `bytes` into pages; `None` when there are not enough.
    pub(crate) fn store(&mut self, bytes: &[u8]) -> Option<u32> {
        let needed = bytes.len().div_ceil(PAGE);
        if needed > self.free_count + (self.limit - self.pages.len()) {
            return None;
        }
        let mut head = NONE;
        // From the last piece to the first, so that each page is chained to one that is there already.
        for piece in bytes.chunks(PAGE).rev() {
            let id = self.take_page();
            let page = self.pages.get_mut(id as usize)?;
            page.bytes.get_mut(..piece.len())?.copy_from_slice(piece);
            page.next = head;
            head = id;
        }
        Some(head)
    }

    /// Frees a range with its chain of pages (which may be [`NONE`]).
    pub(crate) fn release(&mut self, mut head: u32) {
        self.ranges = self.ranges.saturating_sub(1);
        while let Some(page) = self.pages.get_mut(head as usize) {
            let next = page.next;
            page.next = self.free;
            self.free = head;
            self.free_count += 1;
            head = next;
        }
    }

    /// The stored bytes of the chain at `head`, `len` in all, as slices in order.
    pub(crate) fn slices(&self, head: u32, len: usize) -> Slices<'_> {
        Slices { pages: self, head, left: len }
    }

    /// Bytes allocated.
    pub(crate) fn allocated(&self) -> usize {
        self.pages.len() * PAGE + self.pages.capacity() * size_of::<Page>()
    }

    fn take_page(&mut self) -> u32 {
        if let Some(page) = self.pages.get(self.free as usize) {
            let id = self.free;
            self.free = page.next;
            self.free_count -= 1;
            return id;
        }
        self.pages.push(Page { bytes: Box::new([0; PAGE]), next: NONE });
        (self.pages.len() - 1) as u32
    }
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
        if self.left == 0 {
            return None;
        }
        let page = self.pages.pages.get(self.head as usize)?;
        let here = self.left.min(PAGE);
        self.head = page.next;
        self.left -= here;
        page.bytes.get(..here)
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
        assert!(heads.len() >= 8);
        assert_eq!(pages.store(&[1]), None);
        pages.release(heads.pop().unwrap());
        assert_eq!(pages.store(&[1; PAGE + 1]), None);
        assert!(pages.store(&[2; PAGE]).is_some());
        assert!(pages.allocated() <= budget);
        assert_eq!(Pages::new(0).store(&[1]), None);
    }
}
