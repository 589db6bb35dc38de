//! Where flows are found, and which goes first when there are too many.
//!
//! A hash table of numbers over a slab of slots. Beside each number stand 32 bits of its hash, so that growing the table
//! does not touch the slots. Each flow hangs in the list of its phase, least recently seen first; to spare the
//! neighbours' cache lines, a flow is moved to the back of its list not with every segment but once in about a second.

use core::hash::{Hash, Hasher};

use decap::{FlowKey, Timestamp};
use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;
use hashbrown::HashTable;

use crate::flow::{Flow, Phase};
use crate::slab::{NONE, Slab};

/// Bits of nanoseconds in the unit by which lists are ordered: about 1.07 s.
const UNIT_BITS: u32 = 30;

/// Flows that are found without a hash. Whoever makes keys meet at one place gains nothing: they are looked up then.
const RECENT: usize = 256;

#[derive(Clone, Copy, Debug)]
struct Entry {
    tag: u32,
    id: u32,
}

impl Entry {
    /// What the table takes for the hash: the top bits, which tell entries of a bucket apart, have to vary too.
    const fn hash(tag: u32) -> u64 {
        (tag as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

#[derive(Clone, Copy, Debug)]
struct List {
    head: u32,
    tail: u32,
}

/// The flows.
#[derive(Debug)]
pub(crate) struct FlowTable {
    entries: HashTable<Entry>,
    flows: Slab<Flow>,
    quiet: List,
    active: List,
    closed: List,
    late: List,
    /// Flows of late, each at the place that a few bits of its key name: most segments belong to one of them.
    recent: [u32; RECENT],
    seed: u64,
    shared_seed: Box<SharedSeed>,
    /// How often a flow was looked for.
    #[cfg(test)]
    pub(crate) look_ups: u64,
}

impl FlowTable {
    pub(crate) fn new(seed: u64) -> Self {
        let empty = List { head: NONE, tail: NONE };
        Self {
            entries: HashTable::new(),
            flows: Slab::new(),
            quiet: empty,
            active: empty,
            closed: empty,
            late: empty,
            recent: [NONE; RECENT],
            seed,
            shared_seed: Box::new(SharedSeed::from_u64(seed.rotate_left(32) ^ 0x5bd1_e995_9d1b_54a5)),
            #[cfg(test)]
            look_ups: 0,
        }
    }

    /// The number of the flow with this key.
    #[inline]
    pub(crate) fn find(&mut self, key: &FlowKey) -> Option<u32> {
        #[cfg(test)]
        {
            self.look_ups += 1;
        }
        let place = usize::from(key.glance()) % RECENT;
        if let Some(id) = self.recent.get(place).copied()
            && self.flows.get(id).is_some_and(|flow| flow.key == *key)
        {
            return Some(id);
        }
        self.search(key, place)
    }

    #[inline(never)]
    fn search(&mut self, key: &FlowKey, place: usize) -> Option<u32> {
        let tag = self.tag(key);
        let flows = &self.flows;
        let is_it = |entry: &Entry| entry.tag == tag && flows.get(entry.id).is_some_and(|flow| flow.key == *key);
        let id = self.entries.find(Entry::hash(tag), is_it)?.id;
        if let Some(recent) = self.recent.get_mut(place) {
            *recent = id;
        }
        Some(id)
    }

    /// Adds a flow whose key is not in the table.
    pub(crate) fn insert(&mut self, mut flow: Flow) -> u32 {
        let tag = self.tag(&flow.key);
        flow.tag = tag;
        let id = self.flows.insert(flow);
        self.entries.insert_unique(Entry::hash(tag), Entry { tag, id }, |entry| Entry::hash(entry.tag));
        if let Some(flow) = self.flows.get_mut(id) {
            flow.id = id;
        }
        self.enlist(id);
        id
    }

    pub(crate) fn remove(&mut self, id: u32) {
        self.delist(id);
        let Some(flow) = self.flows.remove(id) else { return };
        if let Ok(entry) = self.entries.find_entry(Entry::hash(flow.tag), |entry| entry.id == id) {
            entry.remove();
        }
    }

    #[inline]
    pub(crate) fn flow_mut(&mut self, id: u32) -> Option<&mut Flow> {
        self.flows.get_mut(id)
    }

    /// The least recently seen flow of a phase.
    pub(crate) fn oldest(&self, phase: Phase) -> Option<&Flow> {
        self.flows.get(match phase {
            Phase::Quiet => self.quiet.head,
            Phase::Active => self.active.head,
            Phase::Closed => self.closed.head,
            Phase::Late => self.late.head,
            Phase::Dead => NONE,
        })
    }

    pub(crate) const fn len(&self) -> usize {
        self.flows.len()
    }

    /// Whether a flow last seen at `before` has to be moved back in its list when it is seen at `now`.
    #[inline]
    pub(crate) const fn is_unit_over(before: Timestamp, now: Timestamp) -> bool {
        before.as_nanos() >> UNIT_BITS != now.as_nanos() >> UNIT_BITS
    }

    /// The earliest time at which a flow behind one last seen `at` in its list can have been seen last.
    pub(crate) const fn unit_start(at: Timestamp) -> Timestamp {
        Timestamp::from_nanos(at.as_nanos() >> UNIT_BITS << UNIT_BITS)
    }

    /// Moves a flow to the back of the list of its phase.
    pub(crate) fn relist(&mut self, id: u32) {
        self.delist(id);
        self.enlist(id);
    }

    /// Bytes allocated.
    pub(crate) fn allocated(&self) -> usize {
        self.flows.allocated() + self.entries.allocation_size()
    }

    fn list_mut(&mut self, phase: Phase) -> Option<&mut List> {
        match phase {
            Phase::Quiet => Some(&mut self.quiet),
            Phase::Active => Some(&mut self.active),
            Phase::Closed => Some(&mut self.closed),
            Phase::Late => Some(&mut self.late),
            Phase::Dead => None,
        }
    }

    fn enlist(&mut self, id: u32) {
        let Some(phase) = self.flows.get(id).map(|flow| flow.phase) else { return };
        let Some(list) = self.list_mut(phase) else { return };
        let tail = core::mem::replace(&mut list.tail, id);
        if list.head == NONE {
            list.head = id;
        }
        if let Some(before) = self.flows.get_mut(tail) {
            before.next_in_list = id;
        }
        if let Some(flow) = self.flows.get_mut(id) {
            flow.list = phase;
            flow.previous_in_list = tail;
            flow.next_in_list = NONE;
        }
    }

    fn delist(&mut self, id: u32) {
        let Some(flow) = self.flows.get_mut(id) else { return };
        let (phase, before, behind) = (flow.list, flow.previous_in_list, flow.next_in_list);
        flow.list = Phase::Dead;
        if let Some(flow) = self.flows.get_mut(before) {
            flow.next_in_list = behind;
        } else if let Some(list) = self.list_mut(phase) {
            list.head = behind;
        }
        if let Some(flow) = self.flows.get_mut(behind) {
            flow.previous_in_list = before;
        } else if let Some(list) = self.list_mut(phase) {
            list.tail = before;
        }
    }

    #[inline]
    fn tag(&self, key: &FlowKey) -> u32 {
        let mut hasher = FoldHasher::with_seed(self.seed, &self.shared_seed);
        key.hash(&mut hasher);
        let hash = hasher.finish();
        (hash ^ (hash >> 32)) as u32
    }
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use decap::{Domain, Endpoint};

    use super::*;

    fn key(n: u32) -> FlowKey {
        let endpoint = |ip: u32, port| Endpoint { ip: Ipv4Addr::from_bits(ip).into(), port };
        FlowKey::new(endpoint(n, 1000), endpoint(0xffff_ffff, 80), Domain::GLOBAL).0
    }

    fn order(table: &FlowTable, phase: Phase) -> Vec<u32> {
        let mut ids = Vec::new();
        let mut at = table.oldest(phase).map_or(NONE, |flow| flow.id);
        while let Some(flow) = table.flows.get(at) {
            assert_eq!(flow.previous_in_list, ids.last().copied().unwrap_or(NONE));
            ids.push(at);
            at = flow.next_in_list;
        }
        ids
    }

    #[test]
    fn flows_are_found_and_kept_in_order() {
        for seed in [0, 1, u64::MAX] {
            let mut table = FlowTable::new(seed);
            for n in 0..1000 {
                assert_eq!(table.find(&key(n)), None);
                assert_eq!(table.insert(Flow::new(key(n), Timestamp::ZERO)), n);
            }
            for n in (0..1000).rev() {
                assert_eq!(table.find(&key(n)), Some(n));
            }
            table.relist(0);
            table.flow_mut(1).unwrap().phase = Phase::Active;
            table.relist(1);
            table.remove(2);
            table.remove(999);
            assert_eq!(table.find(&key(2)), None);
            assert_eq!(order(&table, Phase::Quiet), (3..999).chain([0]).collect::<Vec<_>>());
            assert_eq!(order(&table, Phase::Active), [1]);
            assert_eq!(order(&table, Phase::Closed), [0; 0]);
            assert_eq!(table.len(), 998);
        }
    }
}
