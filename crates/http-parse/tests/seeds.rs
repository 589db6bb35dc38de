//! The steps of the fuzz target `http1`, on the seeds that it found worth keeping: every byte and message is accounted for
//! after each step, and nothing is held in the end.

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
        }
    }

    fn recognized(&mut self, _: Protocol, _: Option<&ClientHello>) {
        self.recognized += 1;
    }
}

/// What `fuzz/fuzz_targets/http1.rs` makes of an input.
fn check(input: &[u8]) {
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
    let (mut cx, mut sink) = (Context::new(settings), Sink::default());
    let mut connection = Connection::new(initiator);
    let (mut left, mut right) = ((5u64 << 32) - 100, 1000);
    let (mut stream_bytes, mut at) = (0, 0);
    while let [kind, ack, high, low, behind @ ..] = rest {
        at += 1;
        let (side, own, other) =
            if kind & 1 == 0 { (Side::Left, &mut left, right) } else { (Side::Right, &mut right, left) };
        let acked = match ack {
            0..200 => Some(other),
            200..220 => None,
            _ => Some(other.saturating_add_signed(i64::from(*ack) - 238)),
        };
        let position = Position { at, offset: *own, acked };
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
        *own += taken;
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

#[test]
#[allow(clippy::disallowed_methods, reason = "the test reads files, not what is tested")]
fn the_seeds_of_the_fuzz_target_keep_every_invariant() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/http1");
    let seeds: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(seeds.len() > 10, "{seeds:?}");
    for seed in seeds {
        check(&std::fs::read(&seed).unwrap());
    }
}
