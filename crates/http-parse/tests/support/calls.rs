//! Calls on one connection, right and wrong: no panic, every byte and message accounted for after each, and nothing held
//! in the end. Used by a test and by the fuzz target `http1`.
//!
//! An input is a byte of settings and then calls: a byte that says which, one for the acknowledgement, two for a length,
//! and the bytes.

use http_parse::{ClientHello, Connection, Context, Exchange, ExchangeSink, Position, Protocol, Settings, Side};

#[derive(Default)]
struct Sink {
    exchanges: u64,
    recognized: u64,
}

impl ExchangeSink for Sink {
    fn exchange(&mut self, exchange: &Exchange<'_>) {
        self.exchanges += 1;
        for message in [exchange.request, exchange.response].into_iter().flatten() {
            let body = message.body();
            assert!(body.captured.len() as u64 + body.missing <= body.bytes);
            assert!(message.head().len() <= 4096);
            // Every span must lie in the head.
            let read = message.headers().chain(message.trailers()).map(|header| header.name.len() + header.value.len());
            assert!(read.sum::<usize>() <= 2 * 4096);
            assert!(!message.is_complete() || message.end_at() >= message.start().at);
        }
    }

    fn recognized(&mut self, _: Protocol, _: Option<&ClientHello>) {
        self.recognized += 1;
    }
}

/// Makes the calls that `input` says.
pub(crate) fn check_bytes(input: &[u8]) {
    let Some((first, mut rest)) = input.split_first() else { return };
    let settings = Settings {
        body_limit: if first & 4 == 0 { 64 } else { 0 },
        max_head: 4096,
        max_headers: 16,
        max_pending: 4,
        max_detect: 1 << 12,
        max_resync: 1 << 14,
        memory: if first & 8 == 0 { 1 << 20 } else { 3000 },
        ..Settings::default()
    };
    let initiator = match first & 3 {
        0 => None,
        1 => Some(Side::Right),
        _ => Some(Side::Left),
    };
    let mut cx = Context::new(settings);
    let mut sink = Sink::default();
    let mut connection = Connection::new(initiator);
    let mut next = [(5u64 << 32) - 100, 1000];
    let mut stream_bytes = 0;
    let mut at = 0;
    while let [kind, ack, high, low, behind @ ..] = rest {
        at += 1;
        let side = if kind & 1 == 0 { Side::Left } else { Side::Right };
        let (own, other) = (side.index(), side.opposite().index());
        // Mostly what a peer would say, now and then less, more or nothing.
        let acked = match ack {
            0..200 => Some(next[other]),
            200..220 => None,
            _ => Some(next[other].saturating_add_signed(i64::from(*ack) - 238)),
        };
        let position = Position { at, offset: next[own], acked };
        let len = u64::from(u16::from_be_bytes([high & 0x1f, *low]));
        rest = behind;
        let taken = match kind >> 1 & 7 {
            5 => {
                connection.gap(side, position, len, &mut cx, &mut sink);
                len
            }
            6 => {
                connection.skipped(side, position, len, &mut cx, &mut sink);
                len
            }
            7 => {
                connection.end(side, position, &mut cx, &mut sink);
                0
            }
            _ => {
                let (bytes, behind) = rest.split_at(rest.len().min(len as usize));
                rest = behind;
                connection.data(side, position, bytes, &mut cx, &mut sink);
                bytes.len() as u64
            }
        };
        next[own] += taken;
        stream_bytes += taken;
        assert_eq!(cx.stats().stream_bytes, stream_bytes);
        assert!(cx.stats().is_balanced(), "{:?}", cx.stats());
    }
    connection.close(at, 0, &mut cx, &mut sink);
    let stats = cx.stats();
    assert!(stats.is_balanced(), "{stats:?}");
    assert_eq!((stats.pending_messages, stats.undecided_bytes), (0, 0));
    assert_eq!(stats.paired + stats.unanswered + stats.orphans, sink.exchanges);
    assert_eq!(stats.recognized.iter().sum::<u64>(), sink.recognized);
    assert!(sink.recognized <= 1, "a connection is given up once");
}
