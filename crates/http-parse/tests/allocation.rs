//! Steady state allocates nothing.

use std::alloc::System;

use http_parse::{ClientHello, Connection, Context, Exchange, ExchangeSink, Position, Protocol, Settings, Side};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// A sink that keeps a number only.
#[derive(Default)]
struct Count(u64);

impl ExchangeSink for Count {
    fn exchange(&mut self, exchange: &Exchange<'_>) {
        self.0 += exchange.response.map_or(0, |response| response.body().bytes);
    }

    fn recognized(&mut self, _: Protocol, _: Option<&ClientHello>) {}
}

struct Peers {
    connection: Connection,
    next: [u64; 2],
}

impl Peers {
    fn new() -> Self {
        Self { connection: Connection::new(Some(Side::Left)), next: [1, 1] }
    }

    fn send(&mut self, side: Side, bytes: &[u8], cx: &mut Context, sink: &mut Count) {
        let offset = self.next[side.index()];
        let acked = Some(self.next[side.opposite().index()]);
        self.next[side.index()] += bytes.len() as u64;
        self.connection.data(side, Position { at: 1, offset, acked }, bytes, cx, sink);
    }

    /// Four exchanges: plain, with a body in pieces, chunked with a trailer, and two pipelined.
    fn talk(&mut self, cx: &mut Context, sink: &mut Count) {
        let get = b"GET /a HTTP/1.1\r\nHost: h\r\nAccept: */*\r\nUser-Agent: x\r\n\r\n";
        let (left, right) = (Side::Left, Side::Right);
        self.send(left, get, cx, sink);
        self.send(right, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", cx, sink);
        self.send(left, b"POST /b HTTP/1.1\r\nHost: h\r\nContent-", cx, sink);
        self.send(left, b"Length: 8192\r\n\r\n", cx, sink);
        for _ in 0..8 {
            self.send(left, &[b'x'; 1024], cx, sink);
        }
        self.send(right, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2000\r\n", cx, sink);
        for _ in 0..8 {
            self.send(right, &[b'y'; 1024], cx, sink);
        }
        self.send(right, b"\r\n0\r\nX-Sum: 1\r\n\r\n", cx, sink);
        self.send(left, &[&get[..], &get[..]].concat(), cx, sink);
        self.send(right, b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 304 Not Modified\r\n\r\n", cx, sink);
    }
}

// One test only: the allocator's counts are the process's.
#[test]
fn steady_state_allocates_nothing() {
    let mut cx = Context::new(Settings::default());
    let mut sink = Count::default();
    let mut peers = Peers::new();
    for _ in 0..10 {
        peers.talk(&mut cx, &mut sink);
    }
    let memory = cx.memory();
    let region = Region::new(GLOBAL);
    // The one allocation of a turn is the test's own `concat`.
    for _ in 0..100 {
        peers.talk(&mut cx, &mut sink);
    }
    let change = region.change();
    assert_eq!((change.allocations, change.reallocations), (100, 0), "{change:?}");
    assert_eq!(cx.memory(), memory);

    // Nor do connections that come and go, once the pool holds what they need.
    let get = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
    let region = Region::new(GLOBAL);
    for _ in 0..100 {
        let mut peers = Peers::new();
        peers.send(Side::Left, get, &mut cx, &mut sink);
        peers.send(Side::Right, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", &mut cx, &mut sink);
        peers.connection.close(2, 0, &mut cx, &mut sink);
    }
    let change = region.change();
    assert_eq!((change.allocations, change.reallocations), (0, 0), "{change:?}");
    assert!(cx.stats().is_balanced());
    assert_eq!(cx.stats().paired, 110 * 4 + 100);

    // What is counted is what is allocated: a hundred thousand connections that wait for a response.
    let before = cx.memory();
    let region = Region::new(GLOBAL);
    let mut waiting = Vec::with_capacity(100_000);
    for _ in 0..100_000 {
        let mut peers = Peers::new();
        peers.send(Side::Left, get, &mut cx, &mut sink);
        waiting.push(peers.connection);
    }
    let change = region.change();
    let allocated = change.bytes_allocated + usize::try_from(change.bytes_reallocated.max(0)).unwrap();
    let slots = waiting.capacity() * size_of::<Connection>();
    let held = cx.memory() - before;
    println!("{} bytes a connection, {} in its slot", allocated / 100_000, slots / 100_000);
    assert!(allocated / 100_000 < 1024 + get.len());
    assert!(held.abs_diff(allocated - slots) < allocated / 20, "counted {held}, allocated {}", allocated - slots);
    for connection in waiting {
        connection.close(3, 0, &mut cx, &mut sink);
    }
    assert!(cx.stats().is_balanced());
    assert!(cx.memory() < before + (1 << 20));
}
