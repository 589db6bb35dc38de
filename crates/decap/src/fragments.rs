//! IP fragments waiting for their datagram (RFC 791, section 3.2; RFC 8200, section 4.5).
//!
//! Bounded in memory (allocated capacity and bookkeeping) and in packet time. When memory is full, whole datagrams are
//! given up, the oldest first. Datagrams are also kept for a moment after they were joined, as long as there is room:
//! a mirror that copies twice delivers the last fragment once more, and left over it would wait for the next datagram
//! with the same id and be joined into it.
//!
//! Time is a clock that only the frames drive and that never runs backwards. Deadlines are looked at before a fragment
//! is, so when `expire` is called besides makes no difference to what is joined.

use core::hash::BuildHasher;
use core::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::datagram::{Addition, Datagram, Fragment};
use crate::flow::{AddressPair, Domain};
use crate::reason::SkipReason;
use crate::stats::Stats;
use crate::time::Timestamp;

/// How long a joined datagram is remembered, in packet time. Second copies follow within milliseconds; ids of a busy
/// host come round in seconds.
const REMEMBERED: Duration = Duration::from_millis(100);

/// How much of the budget a slot stands for: bookkeeping is allocated for so many datagrams at once.
const BYTES_PER_SLOT: usize = 2048;

/// No slot.
const NONE: u32 = u32::MAX;

/// What fragments of one datagram have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FragmentKey {
    /// Where it comes from and goes.
    pub(crate) addresses: AddressPair,
    /// The address space of the addresses.
    pub(crate) domain: Domain,
    /// Identification.
    pub(crate) id: u32,
    /// Protocol of an IPv4 datagram; 0 for IPv6, where it does not count.
    pub(crate) protocol: u8,
}

/// What became of a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It waits.
    Held,
    /// It completed a datagram, which was written to the buffer.
    Joined {
        /// The datagram's protocol.
        protocol: u8,
        /// The datagram's length on the wire.
        wire_len: usize,
    },
    /// It is of no use.
    Skipped(SkipReason),
}

/// Where a datagram stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    Waiting,
    /// Joined; kept to recognize further copies of its fragments.
    Remembered,
}

#[derive(Debug)]
struct Slot {
    key: FragmentKey,
    hash: u64,
    state: State,
    /// Capture time of its first fragment.
    first_at: Timestamp,
    /// The clock when its state began.
    since: Timestamp,
    /// Frames whose fate it is to wait in it.
    frames: u64,
    datagram: Datagram,
    /// Neighbours in the queue of its state; the next free slot for free ones.
    previous: u32,
    next: u32,
}

/// Slots in order of age.
#[derive(Clone, Copy, Debug)]
struct Queue {
    oldest: u32,
    newest: u32,
}

impl Queue {
    const EMPTY: Self = Self { oldest: NONE, newest: NONE };
}

/// All fragments that wait.
#[derive(Debug)]
pub(crate) struct Fragments {
    limit: usize,
    timeout: Duration,
    clock: Timestamp,
    hasher: RandomState,
    /// Key to slot.
    table: HashTable<u32>,
    /// Allocated with the first fragment, never grown.
    slots: Vec<Slot>,
    free: u32,
    waiting: Queue,
    remembered: Queue,
    /// Bytes allocated: bookkeeping, datagrams and the buffer that they are joined in.
    used: usize,
    /// Capacity of that buffer, which the caller holds.
    buffer: usize,
}

impl Fragments {
    /// None waiting. `limit` is in bytes.
    pub(crate) fn new(limit: usize, timeout: Duration) -> Self {
        Self {
            limit,
            timeout,
            clock: Timestamp::ZERO,
            hasher: RandomState::default(),
            table: HashTable::new(),
            slots: Vec::new(),
            free: NONE,
            waiting: Queue::EMPTY,
            remembered: Queue::EMPTY,
            used: 0,
            buffer: 0,
        }
    }

    /// Bytes allocated; at most the limit.
    pub(crate) const fn memory(&self) -> usize {
        self.used
    }

    /// Notes the time of a frame, or of a tick.
    #[inline]
    pub(crate) fn advance(&mut self, at: Timestamp) {
        self.clock = self.clock.max(at);
    }

    /// Gives up what has waited too long by the clock, and forgets joined datagrams.
    pub(crate) fn expire(&mut self, stats: &mut Stats) {
        while let Some(slot) = self.slots.get(self.waiting.oldest as usize)
            && self.clock.since(slot.since) > self.timeout
        {
            self.give_up(self.waiting.oldest, SkipReason::FragmentTimeout, stats);
        }
        while let Some(slot) = self.slots.get(self.remembered.oldest as usize)
            && self.clock.since(slot.since) > REMEMBERED
        {
            self.release(self.remembered.oldest);
        }
    }

    /// Gives up everything that waits: the input has ended.
    pub(crate) fn finish(&mut self, stats: &mut Stats) {
        while self.waiting.oldest != NONE {
            self.give_up(self.waiting.oldest, SkipReason::FragmentTimeout, stats);
        }
        while self.remembered.oldest != NONE {
            self.release(self.remembered.oldest);
        }
    }

    /// Takes in a fragment. Keeps `stats.held`, `joined` and `datagrams`, and counts the fragments given up; the fate
    /// of the frame itself is the caller's to count, but for [`Fate::Held`].
    ///
    /// When it completes its datagram, [`Fragments::join`] has to follow: `Ok` holds the slot.
    pub(crate) fn push(
        &mut self,
        at: Timestamp,
        key: FragmentKey,
        fragment: &Fragment<'_>,
        stats: &mut Stats,
    ) -> Result<u32, Fate> {
        if !fragment.is_possible() {
            return Err(Fate::Skipped(Fragment::IMPOSSIBLE));
        }
        self.expire(stats);
        let hash = self.hasher.hash_one(key);
        if let Some(slot) = self.find(hash, &key)
            && let Some(result) = self.extend(slot, at, fragment, stats)
        {
            return result;
        }
        let slot = self.claim(hash, key, at, stats).ok_or(Fate::Skipped(SkipReason::FragmentMemory))?;
        self.add(slot, fragment, 1, true, stats)
    }

    /// Adds to the datagram of this key. `None`: it is another, earlier one, and has been given up.
    fn extend(
        &mut self,
        slot: u32,
        at: Timestamp,
        fragment: &Fragment<'_>,
        stats: &mut Stats,
    ) -> Option<Result<u32, Fate>> {
        let found = self.slots.get(slot as usize)?;
        let addition = found.datagram.weigh(fragment);
        if found.state == State::Remembered {
            if addition == (Addition::Nothing { agrees: true }) {
                return Some(Err(Fate::Skipped(SkipReason::DuplicateFragment)));
            }
            // The id is in use again.
            self.release(slot);
            return None;
        }
        // Packet time may jump, between files for one; by the frames' own times the two may be far apart.
        if at.since(found.first_at).max(found.first_at.since(at)) > self.timeout {
            self.give_up(slot, SkipReason::FragmentTimeout, stats);
            return None;
        }
        Some(match addition {
            Addition::Impossible | Addition::Nothing { agrees: false } => Err(Fate::Skipped(Fragment::IMPOSSIBLE)),
            Addition::Nothing { agrees: true } => Err(Fate::Skipped(SkipReason::DuplicateFragment)),
            Addition::New { agrees, pieces } => self.add(slot, fragment, pieces, agrees, stats),
        })
    }

    fn add(
        &mut self,
        slot: u32,
        fragment: &Fragment<'_>,
        pieces: usize,
        agrees: bool,
        stats: &mut Stats,
    ) -> Result<u32, Fate> {
        let full = Err(Fate::Skipped(SkipReason::FragmentMemory));
        let Some(growth) = self.slots.get(slot as usize).map(|slot| slot.datagram.growth(fragment.bytes.len(), pieces))
        else {
            return full;
        };
        if !self.make_room(growth, slot, stats) {
            // Everything else has been given up already: this datagram alone is more than there is room for.
            self.give_up(slot, SkipReason::FragmentMemory, stats);
            return full;
        }
        let Some(found) = self.slots.get_mut(slot as usize) else {
            return full;
        };
        let before = found.datagram.memory();
        found.datagram.reserve(fragment.bytes.len(), pieces);
        found.datagram.add(fragment);
        self.used += found.datagram.memory() - before;
        if found.datagram.content().is_some() {
            return Ok(slot);
        }
        if agrees {
            found.frames += 1;
            stats.held += 1;
            return Err(Fate::Held);
        }
        // First copy wins: what was new in it stays, yet its frame contradicts the others, and that is its fate.
        Err(Fate::Skipped(SkipReason::MalformedFragment))
    }

    /// Writes the whole datagram in `slot` to `buffer`, in place of what is there. `buffer` has to be the same each
    /// time: its capacity is part of the budget.
    pub(crate) fn join(&mut self, slot: u32, buffer: &mut Vec<u8>, stats: &mut Stats) -> Fate {
        let full = Fate::Skipped(SkipReason::FragmentMemory);
        let Some((needed, (wire_len, protocol))) = self
            .slots
            .get(slot as usize)
            .and_then(|slot| Some((slot.datagram.captured_len(), slot.datagram.content()?)))
        else {
            return full;
        };
        let growth = needed.saturating_sub(buffer.capacity());
        if !self.make_room(growth, slot, stats) {
            self.give_up(slot, SkipReason::FragmentMemory, stats);
            return full;
        }
        buffer.clear();
        buffer.reserve_exact(needed);
        self.used = self.used - self.buffer + buffer.capacity();
        self.buffer = buffer.capacity();
        let clock = self.clock;
        self.unlink(slot);
        if let Some(found) = self.slots.get_mut(slot as usize) {
            found.datagram.write(buffer);
            found.state = State::Remembered;
            found.since = clock;
            stats.held -= found.frames;
            stats.joined += found.frames;
            stats.datagrams += 1;
            found.frames = 0;
        }
        self.link(slot);
        Fate::Joined { protocol, wire_len: wire_len as usize }
    }

    fn find(&self, hash: u64, key: &FragmentKey) -> Option<u32> {
        self.table.find(hash, |slot| self.slots.get(*slot as usize).is_some_and(|slot| slot.key == *key)).copied()
    }

    /// A slot for a new datagram; the oldest one is given up if there is none. `None` if the budget is too small for
    /// the bookkeeping alone.
    fn claim(&mut self, hash: u64, key: FragmentKey, at: Timestamp, stats: &mut Stats) -> Option<u32> {
        if self.slots.is_empty() {
            self.allocate();
        }
        if self.free == NONE {
            match (self.remembered.oldest, self.waiting.oldest) {
                (NONE, NONE) => return None,
                (NONE, oldest) => self.give_up(oldest, SkipReason::FragmentMemory, stats),
                (oldest, _) => self.release(oldest),
            }
        }
        let index = self.free;
        let clock = self.clock;
        let slot = self.slots.get_mut(index as usize)?;
        self.free = slot.next;
        slot.key = key;
        slot.hash = hash;
        slot.state = State::Waiting;
        slot.first_at = at;
        slot.since = clock;
        self.link(index);
        let slots = &self.slots;
        self.table.insert_unique(hash, index, |other| slots.get(*other as usize).map_or(0, |slot| slot.hash));
        Some(index)
    }

    /// Allocates the bookkeeping, once, for as many datagrams as there can be.
    fn allocate(&mut self) {
        let count = (self.limit / BYTES_PER_SLOT).clamp(4, 1 << 16);
        let table = HashTable::with_capacity(count);
        let cost = table.allocation_size() + count * size_of::<Slot>();
        if self.used + cost > self.limit {
            return;
        }
        self.table = table;
        let key = FragmentKey { addresses: AddressPair::UNSPECIFIED, domain: Domain::GLOBAL, id: 0, protocol: 0 };
        self.slots.reserve_exact(count);
        self.slots.extend((0..count as u32).map(|index| Slot {
            key,
            hash: 0,
            state: State::Free,
            first_at: Timestamp::ZERO,
            since: Timestamp::ZERO,
            frames: 0,
            datagram: Datagram::default(),
            previous: NONE,
            next: if index + 1 < count as u32 { index + 1 } else { NONE },
        }));
        self.free = 0;
        self.used += self.table.allocation_size() + self.slots.capacity() * size_of::<Slot>();
    }

    /// Gives up old datagrams other than `keep` until `growth` bytes fit. Whether they do.
    fn make_room(&mut self, growth: usize, keep: u32, stats: &mut Stats) -> bool {
        while self.used + growth > self.limit {
            if let Some(oldest) = self.oldest_but(self.remembered, keep) {
                self.release(oldest);
            } else if let Some(oldest) = self.oldest_but(self.waiting, keep) {
                self.give_up(oldest, SkipReason::FragmentMemory, stats);
            } else {
                return false;
            }
        }
        true
    }

    fn oldest_but(&self, queue: Queue, keep: u32) -> Option<u32> {
        let oldest = if queue.oldest == keep { self.slots.get(keep as usize)?.next } else { queue.oldest };
        (oldest != NONE).then_some(oldest)
    }

    /// Drops a waiting datagram, and counts its frames.
    fn give_up(&mut self, slot: u32, reason: SkipReason, stats: &mut Stats) {
        if let Some(found) = self.slots.get_mut(slot as usize) {
            stats.held -= found.frames;
            stats.skip(reason, found.frames);
            found.frames = 0;
        }
        self.release(slot);
    }

    /// Frees a slot that no frame waits in.
    fn release(&mut self, slot: u32) {
        self.unlink(slot);
        let free = self.free;
        let Some(found) = self.slots.get_mut(slot as usize) else {
            return;
        };
        self.used -= found.datagram.memory();
        found.datagram = Datagram::default();
        found.state = State::Free;
        found.next = free;
        self.free = slot;
        if let Ok(entry) = self.table.find_entry(found.hash, |other| *other == slot) {
            entry.remove();
        }
    }

    /// Appends a slot to the queue of its state.
    fn link(&mut self, index: u32) {
        let Some(slot) = self.slots.get_mut(index as usize) else {
            return;
        };
        let queue = match slot.state {
            State::Waiting => &mut self.waiting,
            State::Remembered => &mut self.remembered,
            State::Free => return,
        };
        let previous = queue.newest;
        slot.previous = previous;
        slot.next = NONE;
        queue.newest = index;
        if previous == NONE {
            queue.oldest = index;
        }
        if let Some(previous) = self.slots.get_mut(previous as usize) {
            previous.next = index;
        }
    }

    /// Takes a slot out of the queue of its state.
    fn unlink(&mut self, index: u32) {
        let Some(slot) = self.slots.get(index as usize) else {
            return;
        };
        let (previous, next) = (slot.previous, slot.next);
        let queue = match slot.state {
            State::Waiting => &mut self.waiting,
            State::Remembered => &mut self.remembered,
            State::Free => return,
        };
        if queue.oldest == index {
            queue.oldest = next;
        }
        if queue.newest == index {
            queue.newest = previous;
        }
        if let Some(previous) = self.slots.get_mut(previous as usize) {
            previous.next = next;
        }
        if let Some(next) = self.slots.get_mut(next as usize) {
            next.previous = previous;
        }
    }
}
