//! What must hold though any call of the handler may panic: a flow is lost, and nothing else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use common::key;
use common::ops::{Op, parse};
use decap::{Direction, FlowKey, Timestamp, TunnelPath};
use proptest::prelude::*;
use reassembly::{Ending, FlowInfo, Position, Reassembler, StreamHandler, Want};

/// Panics at calls drawn by a seed, every `rarity`-th on the average.
struct Frail {
    state: u64,
    rarity: u64,
    opened: u64,
    closed: u64,
}

impl Frail {
    fn risk(&mut self) {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if (self.state >> 33).is_multiple_of(self.rarity) {
            // Without the hook's many words.
            resume_unwind(Box::new(()));
        }
    }
}

impl StreamHandler for Frail {
    type Conn = ();

    fn open(&mut self, _: &FlowInfo<'_>) {
        self.risk();
        self.opened += 1;
    }

    fn data(&mut self, (): &mut (), _: Direction, _: Position, bytes: &[u8]) -> Want {
        self.risk();
        if bytes.len() % 5 == 4 { Want::Skip(100) } else { Want::More }
    }

    fn gap(&mut self, (): &mut (), _: Direction, _: Position, _: u64) -> Want {
        self.risk();
        Want::More
    }

    fn skipped(&mut self, (): &mut (), _: Direction, _: Position, _: u64) -> Want {
        self.risk();
        Want::More
    }

    fn end(&mut self, (): &mut (), _: Direction, _: Position) -> Want {
        self.risk();
        Want::More
    }

    fn close(&mut self, (): (), _: Ending) {
        self.closed += 1;
        self.risk();
    }
}

/// Runs `work` and gives up the flow at which it panics; whether it did.
fn survive(
    reassembler: &mut Reassembler<Frail>,
    key: Option<FlowKey>,
    work: impl FnOnce(&mut Reassembler<Frail>),
) -> bool {
    if catch_unwind(AssertUnwindSafe(|| work(reassembler))).is_ok() {
        return false;
    }
    let _ = catch_unwind(AssertUnwindSafe(|| reassembler.give_up(key.as_ref())));
    true
}

/// Takes up again what panicked: it must come to an end.
fn persist(reassembler: &mut Reassembler<Frail>, work: impl Fn(&mut Reassembler<Frail>)) {
    let mut times = 0;
    while survive(reassembler, None, &work) {
        times += 1;
        assert!(times < 10_000, "the same panic again and again");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn a_panic_anywhere_costs_its_flow_and_nothing_else(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        state in any::<u64>(),
        rarity in 2_u64..40,
    ) {
        let Some((setup, ops)) = parse(&bytes) else { return Ok(()) };
        let frail = Frail { state, rarity, opened: 0, closed: 0 };
        let mut reassembler = Reassembler::new(setup.limits.clone(), frail);
        let path = TunnelPath::default();
        let mut now = Timestamp::ZERO;
        for op in &ops {
            match op {
                Op::Push(packet) => {
                    now = packet.at;
                    survive(&mut reassembler, Some(key(packet.port)), |reassembler| {
                        reassembler.push(&packet.segment(&path));
                    });
                }
                Op::Wait(until) => {
                    now = *until;
                    persist(&mut reassembler, |reassembler| reassembler.tick(now));
                }
            }
            let stats = reassembler.stats();
            prop_assert!(stats.is_balanced(), "{:?}", stats);
            prop_assert!(stats.active_flows <= setup.limits.max_flows as u64);
        }
        persist(&mut reassembler, |reassembler| reassembler.tick(now));
        persist(&mut reassembler, Reassembler::finish);
        let (stats, handler) = (reassembler.stats(), reassembler.handler());
        prop_assert!(stats.is_balanced(), "{:?}", stats);
        prop_assert_eq!((stats.active_flows, stats.held_bytes), (0, 0));
        prop_assert_eq!(stats.opened, stats.closed.iter().sum::<u64>());
        prop_assert_eq!((stats.opened, stats.opened), (handler.opened, handler.closed), "each is told of its end, once");
    }
}
