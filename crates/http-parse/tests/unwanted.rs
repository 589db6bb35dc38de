//! Bodies that the sink has no use for are framed and counted, and not kept.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

use http_parse::{
    ClientHello, Connection, Context, Exchange, ExchangeSink, Flag, Heads, Position, Protocol, Settings, Side,
};

/// What was asked for, and what each exchange held: target, and captured and counted bytes of either body.
#[derive(Default)]
struct Choosy {
    asked: Vec<String>,
    seen: Vec<(String, [(usize, u64); 2])>,
    flagged: Vec<[bool; 2]>,
}

impl ExchangeSink for Choosy {
    fn exchange(&mut self, exchange: &Exchange<'_>) {
        let (request, response) = (exchange.request.unwrap(), exchange.response.unwrap());
        let held = [request, response].map(|message| (message.body().captured.len(), message.body().bytes));
        self.seen.push((String::from_utf8(request.target().to_vec()).unwrap(), held));
        self.flagged.push([request, response].map(|message| message.flags().contains(Flag::BodyNotCaptured)));
    }

    fn wants_body(&mut self, heads: &Heads<'_>) -> bool {
        let target = String::from_utf8_lossy(heads.request.unwrap().target()).into_owned();
        let status = heads.response.map_or(0, |response| response.status());
        self.asked.push(format!("{target} {status} {:?}", heads.client));
        !target.contains("never") && status != 404
    }

    fn recognized(&mut self, _: Protocol, _: Option<&ClientHello>) {}
}

#[test]
fn a_body_is_asked_for_once_with_what_is_known() {
    let (mut cx, mut sink) = (Context::new(Settings::default()), Choosy::default());
    let mut connection = Connection::new(Some(Side::Left));
    let mut next = [1_u64, 1];
    let mut send = |side: Side, bytes: &[u8]| {
        let position = Position { at: 1, offset: next[side.index()], acked: Some(next[side.opposite().index()]) };
        next[side.index()] += bytes.len() as u64;
        connection.data(side, position, bytes, &mut cx, &mut sink);
    };
    for (target, status) in [("/a", 200), ("/never", 200), ("/b", 404)] {
        send(Side::Left, format!("POST {target} HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n01234").as_bytes());
        send(Side::Left, b"56789");
        send(Side::Right, format!("HTTP/1.1 {status} X\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").as_bytes());
        send(Side::Right, b"0\r\n\r\n");
    }
    // Without a body nothing is asked.
    send(Side::Left, b"GET /never HTTP/1.1\r\nHost: h\r\n\r\n");
    send(Side::Right, b"HTTP/1.1 204 X\r\n\r\n");
    connection.close(2, 0, &mut cx, &mut sink);
    let asked = ["/a 0", "/a 200", "/never 0", "/never 200", "/b 0", "/b 404"].map(|text| format!("{text} Left"));
    assert_eq!(sink.asked, asked);
    let row = |target: &str, request, response| (target.to_owned(), [request, response]);
    assert_eq!(
        sink.seen,
        [
            row("/a", (10, 10), (3, 3)),
            row("/never", (0, 10), (0, 3)),
            row("/b", (10, 10), (0, 3)),
            row("/never", (0, 0), (0, 0)),
        ]
    );
    assert_eq!(sink.flagged, [[false, false], [true, true], [false, true], [false, false]]);
    assert!(cx.stats().is_balanced());
}
