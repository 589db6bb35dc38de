//! A fault of ours costs one flow.
//!
//! What is read out of a flow was written by strangers. Should any of it lead the program into a panic, that is a defect;
//! but a sensor that watches a hundred thousand flows must not stop because of one. So each call for a flow is guarded:
//! the flow is counted and given up, the log says which one it was (and nothing of what it carried), and all others go on.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use decap::{Direction, FlowKey};
use reassembly::{Ending, FlowInfo, Position, StreamHandler, Want};

/// Between two lines of the log about the same kind of trouble, at least.
const QUIET: Duration = Duration::from_secs(1);

/// A handler whose flows can be given up one by one.
pub trait Forgetful: StreamHandler {
    /// The flow's name.
    fn name(conn: &Self::Conn) -> FlowKey;

    /// Frees what the flow holds, and takes back what was left half done; in the middle of whatever went wrong.
    fn forget(&mut self, conn: Self::Conn);
}

/// Counts faults, and says them, but not each of a thousand.
#[derive(Debug, Default)]
pub struct Faults {
    count: u64,
    said: Option<Instant>,
    unsaid: u64,
}

impl Faults {
    /// How many there were.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Runs `work`; a panic is counted and logged as one of `flow`, where that is known.
    #[inline]
    pub fn guard<T>(&mut self, flow: Option<FlowKey>, work: impl FnOnce() -> T) -> Option<T> {
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(done) => Some(done),
            Err(cause) => {
                // What it says may quote what was read; and to drop it may panic again.
                std::mem::forget(cause);
                self.note(flow);
                None
            }
        }
    }

    #[cold]
    fn note(&mut self, flow: Option<FlowKey>) {
        self.count += 1;
        if self.said.is_some_and(|said| said.elapsed() < QUIET) {
            self.unsaid += 1;
            return;
        }
        self.said = Some(Instant::now());
        let before = std::mem::take(&mut self.unsaid);
        match flow {
            Some(flow) => tracing::error!(
                one = %address(flow, Direction::Forward),
                other = %address(flow, Direction::Reverse),
                unsaid = before,
                "a flow is given up because of a defect of the program; please report it with the lines before"
            ),
            None => tracing::error!(
                unsaid = before,
                "a frame is given up because of a defect of the program; please report it with the lines before"
            ),
        }
    }
}

/// A handler that gives up the flow in whose work it panics, and goes on.
#[derive(Debug)]
pub struct Guarded<H> {
    handler: H,
    faults: Faults,
}

impl<H: Forgetful> Guarded<H> {
    /// Guards `handler`.
    #[must_use]
    pub fn new(handler: H) -> Self {
        Self { handler, faults: Faults::default() }
    }

    /// The handler itself.
    #[must_use]
    pub const fn inner(&self) -> &H {
        &self.handler
    }

    /// The handler itself, to change.
    pub const fn inner_mut(&mut self) -> &mut H {
        &mut self.handler
    }

    /// Flows given up.
    #[must_use]
    pub const fn given_up(&self) -> u64 {
        self.faults.count()
    }

    /// Works for a flow that is not given up.
    #[inline]
    fn attend(&mut self, conn: &mut Option<H::Conn>, work: impl FnOnce(&mut H, &mut H::Conn) -> Want) -> Want {
        let Some(open) = conn.as_mut() else { return Want::Nothing };
        let handler = &mut self.handler;
        let done = catch_unwind(AssertUnwindSafe(|| work(handler, open)));
        match done {
            Ok(want) => want,
            Err(cause) => {
                std::mem::forget(cause);
                self.give_up(conn.take());
                Want::Nothing
            }
        }
    }

    #[cold]
    fn give_up(&mut self, conn: Option<H::Conn>) {
        let Some(conn) = conn else { return };
        self.faults.note(Some(H::name(&conn)));
        let handler = &mut self.handler;
        if let Err(cause) = catch_unwind(AssertUnwindSafe(|| handler.forget(conn))) {
            std::mem::forget(cause);
        }
    }
}

impl<H: Forgetful> StreamHandler for Guarded<H> {
    /// `None`: given up.
    type Conn = Option<H::Conn>;

    fn open(&mut self, flow: &FlowInfo<'_>) -> Self::Conn {
        let handler = &mut self.handler;
        self.faults.guard(Some(*flow.key), || handler.open(flow))
    }

    #[inline]
    fn data(&mut self, conn: &mut Self::Conn, direction: Direction, at: Position, bytes: &[u8]) -> Want {
        self.attend(conn, |handler, conn| handler.data(conn, direction, at, bytes))
    }

    fn gap(&mut self, conn: &mut Self::Conn, direction: Direction, at: Position, len: u64) -> Want {
        self.attend(conn, |handler, conn| handler.gap(conn, direction, at, len))
    }

    fn skipped(&mut self, conn: &mut Self::Conn, direction: Direction, at: Position, len: u64) -> Want {
        self.attend(conn, |handler, conn| handler.skipped(conn, direction, at, len))
    }

    fn end(&mut self, conn: &mut Self::Conn, direction: Direction, at: Position) -> Want {
        self.attend(conn, |handler, conn| handler.end(conn, direction, at))
    }

    fn close(&mut self, conn: Self::Conn, ending: Ending) {
        let Some(conn) = conn else { return };
        let (handler, name) = (&mut self.handler, H::name(&conn));
        self.faults.guard(Some(name), || handler.close(conn, ending));
    }
}

fn address(flow: FlowKey, direction: Direction) -> SocketAddr {
    let endpoint = flow.source(direction);
    SocketAddr::new(endpoint.ip, endpoint.port)
}

/// Lets panics say where they happened and nothing else: what they say themselves may quote what was read.
pub fn quiet_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        tracing::error!(thread = thread.name().unwrap_or("?"), "panic at {place}");
    }));
}

#[cfg(test)]
mod tests {
    use decap::{Domain, Endpoint, Segment, SeqNum, TcpFlags, Timestamp, TunnelPath};
    use reassembly::{Limits, Reassembler};

    use super::*;

    /// Notes bytes by flow; panics where it is told to, by what it reads.
    #[derive(Default)]
    struct Touchy {
        seen: Vec<(u16, Vec<u8>)>,
        forgotten: Vec<u16>,
    }

    impl StreamHandler for Touchy {
        type Conn = FlowKey;

        fn open(&mut self, flow: &FlowInfo<'_>) -> FlowKey {
            *flow.key
        }

        fn data(&mut self, conn: &mut FlowKey, _: Direction, _: Position, bytes: &[u8]) -> Want {
            assert_ne!(bytes, b"panic");
            self.seen.push((port(conn), bytes.to_vec()));
            Want::More
        }

        fn gap(&mut self, _: &mut FlowKey, _: Direction, _: Position, _: u64) -> Want {
            panic!("gap")
        }

        fn skipped(&mut self, _: &mut FlowKey, _: Direction, _: Position, _: u64) -> Want {
            Want::More
        }

        fn end(&mut self, _: &mut FlowKey, _: Direction, _: Position) -> Want {
            Want::More
        }

        fn close(&mut self, conn: FlowKey, _: Ending) {
            assert_ne!(port(&conn), 4);
        }
    }

    impl Forgetful for Touchy {
        fn name(conn: &FlowKey) -> FlowKey {
            *conn
        }

        fn forget(&mut self, conn: FlowKey) {
            self.forgotten.push(port(&conn));
            assert_ne!(port(&conn), 3, "while it forgets, too");
        }
    }

    fn port(key: &FlowKey) -> u16 {
        key.source(Direction::Forward).port.min(key.source(Direction::Reverse).port)
    }

    #[test]
    fn a_panic_costs_its_flow_and_the_counts_stay_whole() {
        let mut reassembler = Reassembler::new(Limits::default(), Guarded::new(Touchy::default()));
        let mut push = |flow: u16, seq: u32, payload: &[u8]| {
            let endpoint = |port| Endpoint { ip: std::net::Ipv4Addr::LOCALHOST.into(), port };
            let (key, direction) = FlowKey::new(endpoint(flow), endpoint(60_000), Domain::GLOBAL);
            let syn = if payload.is_empty() { TcpFlags::SYN } else { TcpFlags::ACK };
            reassembler.push(&Segment {
                at: Timestamp::from_nanos(u64::from(seq)),
                key,
                direction,
                seq: SeqNum(seq),
                ack: SeqNum(0),
                flags: TcpFlags(syn),
                window: 1_000,
                ip_id: 0,
                payload,
                missing: 0,
                path: &TunnelPath::default(),
            });
        };
        for flow in 1..=4 {
            push(flow, 99, b"");
            push(flow, 100, b"good1");
        }
        for (flow, payload) in [(1, b"whole"), (2, b"panic"), (3, b"panic"), (4, b"whole")] {
            push(flow, 105, payload);
        }
        for flow in 1..=4 {
            push(flow, 110, b"good2");
        }
        // A hole that the end gives up: the gap of flow 1 panics. Of flow 4 it is the close.
        push(1, 200, b"good3");
        reassembler.finish();
        let guarded = reassembler.handler();
        assert_eq!(guarded.given_up(), 4);
        assert_eq!(guarded.inner().forgotten, [2, 3, 1], "what panics at its close is gone already");
        let seen = |flow| guarded.inner().seen.iter().filter(|(port, _)| *port == flow).count();
        assert_eq!((seen(2), seen(3)), (1, 1), "nothing of a flow that was given up");
        assert!(reassembler.stats().is_balanced());
        assert_eq!(reassembler.stats().opened, reassembler.stats().closed.iter().sum::<u64>());
    }
}
