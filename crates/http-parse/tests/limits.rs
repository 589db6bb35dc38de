//! What hostile input, or settings nobody should choose, cannot do: take more memory than allowed, or never come back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod support;

use http_parse::{Connection, Context, Flag, Position, Protocol, Settings, Side, Unparsable};
use support::Recorder;

/// Gives the same pieces to `flows` connections, all open at once, and closes them; the most memory seen on the way.
fn flood(cx: &mut Context, sink: &mut Recorder, initiator: Option<Side>, flows: usize, pieces: &[&[u8]]) -> usize {
    let mut peak = 0;
    let mut connections: Vec<_> = (0..flows).map(|_| (Connection::new(initiator), 1)).collect();
    for piece in pieces {
        for (connection, next) in &mut connections {
            connection.data(Side::Left, Position { at: 1, offset: *next, acked: Some(1) }, piece, cx, sink);
            *next += piece.len() as u64;
            peak = peak.max(cx.memory());
            assert!(cx.stats().is_balanced(), "{:?}", cx.stats());
        }
    }
    for (connection, _) in connections {
        connection.close(2, 0, cx, sink);
        assert!(cx.stats().is_balanced(), "{:?}", cx.stats());
    }
    assert_eq!((cx.stats().undecided_bytes, cx.stats().pending_messages), (0, 0));
    peak
}

/// What messages take beside their buffers, which are refused before they are filled.
const SHELLS: usize = 1 << 10;

#[test]
fn no_kind_of_beginning_takes_more_memory_than_allowed() {
    let settings = Settings { memory: 1 << 20, ..Settings::default() };
    let long = [b"GET /".as_slice(), &[b'a'; 30_000]].concat();
    let field = [b"GET / HTTP/1.1\r\nA: ".as_slice(), &[b'a'; 30_000]].concat();
    let hello = [b"\x16\x03\x01\x3f\xff\x01\0\x3f\xf0".as_slice(), &[0; 9_000]].concat();
    let body = [b"POST / HTTP/1.1\r\nContent-Length: 100000\r\n\r\n".as_slice(), &[b'b'; 20_000]].concat();
    let trailer =
        [b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: ".as_slice(), &[b'a'; 30_000]].concat();
    for initiator in [Some(Side::Left), None] {
        for beginning in [&long, &field, &hello, &body, &trailer] {
            for split in [beginning.len(), 1_400] {
                let (mut cx, mut sink) = (Context::new(settings.clone()), Recorder::default());
                let pieces: Vec<&[u8]> = beginning.chunks(split).collect();
                let peak = flood(&mut cx, &mut sink, initiator, 400, &pieces);
                let case = beginning[..20].escape_ascii().to_string();
                let allowed = settings.memory / 8 * 9 + 400 * SHELLS;
                assert!(peak <= allowed, "{case} in {split}, {initiator:?}: {peak} of {allowed}");
            }
        }
    }
}

#[test]
fn a_start_line_refused_for_memory_is_counted_as_that() {
    let mut cx = Context::new(Settings { memory: 64 << 10, ..Settings::default() });
    let long = [b"GET /".as_slice(), &[b'a'; 30_000]].concat();
    flood(&mut cx, &mut Recorder::default(), Some(Side::Left), 50, &[&long]);
    assert!(cx.stats().unparsable[Unparsable::Memory as usize] >= 40, "{:?}", cx.stats());
    assert_eq!(cx.stats().not_http_bytes[Protocol::Unknown as usize], cx.stats().stream_bytes);
}

#[test]
fn a_length_that_is_only_claimed_takes_nothing() {
    let settings = Settings { body_limit: 64 << 30, ..Settings::default() };
    let (mut cx, mut sink) = (Context::new(settings), Recorder::default());
    let head = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 60000000000\r\n\r\nabc";
    let peak = flood(&mut cx, &mut sink, Some(Side::Left), 1, &[head]);
    assert!(peak < 128 << 10, "{peak}");
    assert_eq!(sink.records[0].request.as_ref().unwrap().body, b"abc");
}

#[test]
fn bodies_that_never_come_take_no_memory_from_those_that_do() {
    let mut cx = Context::new(Settings { memory: 4 << 20, ..Settings::default() });
    let mut sink = Recorder::default();
    let head = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 32768\r\n\r\n";
    let peak = flood(&mut cx, &mut sink, Some(Side::Left), 1_000, &[head]);
    assert!(peak < 2 << 20, "{peak}");
    assert!(sink.records.iter().all(|record| !record.has(Flag::BodyNotCaptured)));
}

#[test]
fn one_large_body_stays_within_the_memory() {
    let settings = Settings { body_limit: 1 << 30, memory: 1 << 20, ..Settings::default() };
    for head in [
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4000000\r\n\r\n".as_slice(),
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3d0900\r\n",
    ] {
        let (mut cx, mut sink) = (Context::new(settings.clone()), Recorder::default());
        let piece = [b'x'; 50_000];
        let pieces: Vec<&[u8]> = std::iter::once(head).chain((0..80).map(|_| piece.as_slice())).collect();
        let peak = flood(&mut cx, &mut sink, Some(Side::Left), 1, &pieces);
        assert!(peak <= settings.memory, "{peak}");
        let record = &sink.records[0];
        let kept = record.request.as_ref().unwrap().body.len();
        assert!((500_000..=1 << 20).contains(&kept), "a good part of what there was is kept: {kept}");
        assert!(record.has(Flag::BodyNotCaptured), "{:?}", record.flags);
        assert_eq!(record.request.as_ref().unwrap().bytes, 4_000_000);
    }
}

#[test]
fn no_setting_makes_a_call_go_on_for_ever() {
    let talk = b"\r\nGET /a HTTP/1.1\r\nHost: h\r\n\r\nPOST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\n\r\nG";
    for number in [0, 1, 2, 17, usize::MAX] {
        for which in 0..6 {
            let mut settings = Settings::default();
            match which {
                0 => settings.max_head = number,
                1 => settings.max_headers = number,
                2 => settings.max_pending = number,
                3 => settings.max_detect = number,
                4 => settings.max_resync = number as u64,
                _ => settings.memory = number,
            }
            for initiator in [Some(Side::Left), None] {
                for split in [1, 7, talk.len()] {
                    let (mut cx, mut sink) = (Context::new(settings.clone()), Recorder::default());
                    let pieces: Vec<&[u8]> = talk.chunks(split).collect();
                    flood(&mut cx, &mut sink, initiator, 1, &pieces);
                }
            }
        }
    }
}

/// A sensor that starts meets connections in their middle only. What waits to be surer of a first pair must neither wait for
/// long nor take the memory that others need.
#[test]
fn connections_joined_in_their_middle_are_read_whole_in_little_memory() {
    const FLOWS: usize = 300;
    for (memory, gapped) in [(1 << 20, false), (700 << 10, true)] {
        let mut cx = Context::new(Settings { memory, ..Settings::default() });
        let mut sink = Recorder::default();
        let mut flows: Vec<_> = (0..FLOWS).map(|_| (Connection::new(None), [1, 1_000])).collect();
        let mut say = |flow: usize, side: Side, bytes: &[u8], cx: &mut Context, sink: &mut Recorder| {
            let (connection, next) = &mut flows[flow];
            let acked = Some(next[side.opposite().index()]);
            let at = Position { at: 1, offset: next[side.index()], acked };
            next[side.index()] += bytes.len() as u64;
            if bytes == b"lost" {
                connection.gap(side, at, 4, cx, sink);
            } else {
                connection.data(side, at, bytes, cx, sink);
            }
        };
        let response = [b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n".as_slice(), &[b'b'; 400]].concat();
        for exchange in 0..12 {
            for flow in 0..FLOWS {
                if gapped && exchange == 0 {
                    // The tail of a response.
                    say(flow, Side::Right, b"lost", &mut cx, &mut sink);
                }
                say(
                    flow,
                    Side::Left,
                    format!("GET /{exchange} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes(),
                    &mut cx,
                    &mut sink,
                );
                say(flow, Side::Right, &response, &mut cx, &mut sink);
            }
            if exchange == 3 && !gapped {
                assert!(sink.records.len() >= 3 * FLOWS, "{} after four exchanges", sink.records.len());
            }
        }
        for (connection, _) in flows {
            connection.close(2, 0, &mut cx, &mut sink);
        }
        let unparsable: u64 = cx.stats().unparsable.iter().sum();
        assert_eq!((unparsable, cx.stats().paired), (0, 12 * FLOWS as u64), "gapped {gapped}: {:?}", cx.stats());
        assert!(sink.records.iter().all(|record| record.response.as_ref().is_some_and(|it| it.body.len() == 400)));
    }
}
