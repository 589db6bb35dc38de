//! Steady state allocates nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

use allocation_counter::measure;
use http_parse::{ClientHello, Connection, Context, Exchange, ExchangeSink, Position, Protocol, Settings, Side};

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: h\r\nAccept: */*\r\nUser-Agent: x\r\n\r\n";
const TWO: &[u8] = b"GET /c HTTP/1.1\r\nHost: h\r\n\r\nGET /d HTTP/1.1\r\nHost: h\r\n\r\n";

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
        let (left, right) = (Side::Left, Side::Right);
        self.send(left, GET, cx, sink);
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
        self.send(left, TWO, cx, sink);
        self.send(right, b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 304 Not Modified\r\n\r\n", cx, sink);
    }
}

#[test]
fn steady_state_allocates_nothing() {
    let mut cx = Context::new(Settings::default());
    let mut sink = Count::default();
    let mut peers = Peers::new();
    for _ in 0..10 {
        peers.talk(&mut cx, &mut sink);
    }
    let memory = cx.memory();
    let info = measure(|| {
        for _ in 0..100 {
            peers.talk(&mut cx, &mut sink);
        }
    });
    assert_eq!(info.count_total, 0, "{info:?}");
    assert_eq!(cx.memory(), memory);
    assert_eq!(cx.stats().paired, 110 * 4);

    // Nor do connections that come and go, once the pool holds what they need.
    let info = measure(|| {
        for _ in 0..100 {
            let mut peers = Peers::new();
            peers.send(Side::Left, GET, &mut cx, &mut sink);
            peers.send(Side::Right, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", &mut cx, &mut sink);
            peers.connection.close(2, 0, &mut cx, &mut sink);
        }
    });
    assert_eq!(info.count_total, 0, "{info:?}");
    assert!(cx.stats().is_balanced());
}

#[test]
fn what_is_counted_is_what_is_allocated() {
    const CONNECTIONS: usize = 100_000;
    let mut cx = Context::new(Settings::default());
    let mut sink = Count::default();
    let mut waiting = Vec::with_capacity(CONNECTIONS);
    let info = measure(|| {
        for _ in 0..CONNECTIONS {
            let mut peers = Peers::new();
            peers.send(Side::Left, GET, &mut cx, &mut sink);
            waiting.push(peers.connection);
        }
    });
    let allocated = usize::try_from(info.bytes_current).unwrap();
    let each = allocated / CONNECTIONS + size_of::<Connection>();
    assert!(each < 1024 + GET.len(), "{each} bytes a connection that waits for its response");
    let counted = cx.memory();
    assert!(counted.abs_diff(allocated) < allocated / 100, "counted {counted}, allocated {allocated}");
    for connection in waiting {
        connection.close(3, 0, &mut cx, &mut sink);
    }
    assert!(cx.stats().is_balanced());
    assert!(cx.memory() < 1 << 20, "{} bytes in the pool", cx.memory());
}
