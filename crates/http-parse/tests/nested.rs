//! Bodies that look like messages: nothing of them is one while it is known that there is a body, however the stream was cut.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may fail")]

mod support;

use support::{CLIENT, Op, Talk};

const STATUS_LINE: &str = "HTTP/1.1 299 Nested\r\nContent-Length: 0\r\n\r\n";

fn get(number: usize) -> String {
    format!("GET /{number} HTTP/1.1\r\nHost: h\r\n\r\n")
}

fn response(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// The same calls, each with at most so many bytes.
fn cut(talk: &Talk, most: usize) -> Talk {
    let mut pieces = Vec::new();
    for op in &talk.ops {
        let Op::Data(side, position, bytes) = op else {
            pieces.push(op.clone());
            continue;
        };
        let mut position = *position;
        for piece in bytes.chunks(most) {
            pieces.push(Op::Data(*side, position, piece.to_vec()));
            position.offset += piece.len() as u64;
        }
    }
    Talk { ops: pieces, ..talk.clone() }
}

const BODIES: [&str; 6] = [STATUS_LINE, "HTTP/1.1 200", "HTTP/1.", "H", "Hello", "GET / HTTP/1.1\r\nHost: h\r\n\r\n"];

/// A client that waits; the response with this number has this body.
fn conversation(exchanges: usize, nested: usize, body: &str, swapped: bool) -> Talk {
    let mut talk = Talk::default();
    for number in 0..exchanges {
        talk = talk.client(get(number)).server(response(if number == nested { body } else { "abc" }));
        if number == 0 && swapped {
            // Reassembly of a joined connection knows where the server's side begins before the client's.
            talk = talk.swap();
        }
    }
    talk
}

/// What the response with this number has for a body.
fn body_of(number: usize, nested: usize, body: &str) -> &[u8] {
    if number == nested { body.as_bytes() } else { b"abc" }
}

#[test]
fn a_body_that_begins_like_a_response_is_a_body_in_any_segments() {
    let ways = [3, 10].into_iter().flat_map(|exchanges| [false, true].map(|swapped| (exchanges, swapped)));
    for ((exchanges, swapped), body) in ways.flat_map(|way| BODIES.map(|body| (way, body))) {
        for nested in 0..exchanges {
            let talk = conversation(exchanges, nested, body, swapped);
            for most in [1448, 1, 2, 7, 30] {
                let talk = cut(&talk, most);
                // The first pairs of a joined connection are not certain: what begins like a response may be one, to a
                // request sent before.
                let is_told = nested > 1 || body != STATUS_LINE;
                for outcome in [Some(talk.run()), is_told.then(|| talk.run_mid_stream())].into_iter().flatten() {
                    let what =
                        format!("{nested} of {exchanges}, {body:?}, swapped {swapped}, cut to {most}: {outcome:#?}");
                    assert_eq!(outcome.stats.paired as usize, exchanges, "{what}");
                    let record = &outcome.records[nested];
                    assert_eq!(record.response.as_ref().unwrap().body, body_of(nested, nested, body), "{what}");
                }
            }
        }
    }
}

#[test]
fn where_a_request_may_be_hidden_a_body_that_begins_like_a_response_makes_no_wrong_pair() {
    for (nested, swapped) in [0, 1].into_iter().flat_map(|nested| [false, true].map(|swapped| (nested, swapped))) {
        let talk = conversation(10, nested, STATUS_LINE, swapped);
        let whole = talk.run_mid_stream();
        for most in [1448, 1, 2, 7, 30] {
            let outcome = cut(&talk, most).run_mid_stream();
            let what = format!("{nested}, swapped {swapped}, cut to {most}: {:#?}", outcome.records);
            assert_eq!(outcome.lines(), whole.lines(), "{what}");
            assert!(outcome.stats.is_balanced() && outcome.stats.messages == 21, "{what}");
            for record in &outcome.records {
                let (Some(request), Some(response)) = (&record.request, &record.response) else { continue };
                let number: usize = request.start.trim_start_matches("GET /").parse().expect("a number");
                assert_eq!(response.body, body_of(number, nested, STATUS_LINE), "{what}");
            }
        }
    }
}

/// The response to HEAD has a length and no body: what stands behind it is the next response, of which no byte may be taken
/// for a body while such a request may be hidden.
#[test]
fn responses_behind_one_to_a_hidden_head_are_not_its_body() {
    let numbered = |number: usize, len: usize, body: &str| {
        format!("HTTP/1.1 {} OK\r\nContent-Length: {len}\r\n\r\n{body}", 200 + number)
    };
    for (len, more) in [3, 20, 100, 5000].into_iter().flat_map(|len| [0, 1, 20].map(|more| (len, more))) {
        for (ends, late) in [(false, 0), (true, 0), (false, 1), (true, 1), (false, 2), (true, 2)] {
            // HEAD was sent with the first request.
            let hidden = "HEAD /1 HTTP/1.1\r\nHost: h\r\n\r\n";
            for is_joined in [true, false] {
                let mut talk = Talk::default();
                talk = if is_joined { talk } else { talk.lost(CLIENT, hidden) };
                talk = talk.client(get(2)).server(numbered(1, len, "")).server(numbered(2, 3, "abc"));
                let first = usize::from(!is_joined);
                // Reassembly of a joined connection knows where the server's side begins before the client's.
                talk.ops[first..=first + late].rotate_left(1);
                for number in 3..3 + more {
                    talk = talk.client(get(number)).server(numbered(number, 3, "abc"));
                }
                if ends {
                    talk = talk.end(CLIENT).end(support::SERVER);
                }
                for most in [1448, 1, 7, 30] {
                    let talk = cut(&talk, most);
                    let outcome = if is_joined { talk.run_mid_stream() } else { talk.run() };
                    let what =
                        format!("{len}, {more} more, ends {ends}, late by {late}, joined {is_joined}, cut to {most}");
                    assert_eq!(outcome.stats.messages as usize, 3 + 2 * more, "{what}: {:?}", outcome.lines());
                    assert!(outcome.stats.is_balanced(), "{what}");
                    for line in outcome.lines() {
                        let (request, response) = line.split_once(" -> ").expect("a line");
                        if let (Some(request), Ok(status)) = (request.strip_prefix("GET /"), response.parse::<usize>())
                        {
                            assert_eq!(request.parse(), Ok(status - 200), "{what}: {line}");
                        }
                    }
                }
            }
        }
    }
}

/// The same where the loss is not known yet: the client's bytes behind a hole come when the server has ended.
#[test]
fn responses_to_requests_that_are_late_behind_a_hole_are_not_a_body() {
    for (before, len) in [0, 2, 5].into_iter().flat_map(|before| [20, 5000].map(|len| (before, len))) {
        let mut talk = Talk::default();
        for number in 0..before {
            talk = talk.client(get(number)).server(response("abc"));
        }
        let exchanged = talk.ops.len();
        talk = talk.lost(CLIENT, "HEAD /8 HTTP/1.1\r\nHost: h\r\n\r\n").client(get(9)).end(CLIENT);
        let late = talk.ops.split_off(exchanged);
        let head = format!("HTTP/1.1 208 OK\r\nContent-Length: {len}\r\n\r\n");
        talk = talk.server(head).server("HTTP/1.1 209 OK\r\nContent-Length: 2\r\n\r\nok").end(support::SERVER);
        talk.ops.extend(late);
        for most in [1448, 1, 7, 30] {
            let outcome = cut(&talk, most).run();
            let what = format!("{before} before, {len}, cut to {most}: {:?}", outcome.lines());
            assert_eq!(outcome.stats.messages as usize, 2 * before + 3, "{what}");
            assert!(outcome.stats.is_balanced() && !outcome.lines().contains(&"GET /9 -> 208".to_owned()), "{what}");
        }
    }
}

#[test]
fn cuts_do_not_matter_where_it_is_not_known_whether_there_is_a_body() {
    let begins = ["HTTP/1.1 299 Nested\r\nX: y\r\n\r\n", "HTTP/1.1 299 N", "HTTP/1.", "H", "Hello", "HTTP/2 2"];
    for (lost, begin) in [0, 1, 2].into_iter().flat_map(|lost| begins.map(|begin| (lost, begin))) {
        for method in ["GET", "HEAD"] {
            let mut talk = Talk::default();
            for number in 0..6 {
                let request = get(number).replacen("GET", method, 1);
                let answer = response(begin);
                // To HEAD, the next response stands where the body would.
                let answer = if method == "HEAD" { answer.split_at(answer.len() - begin.len()).0 } else { &answer };
                talk = if number == lost { talk.lost(CLIENT, request) } else { talk.client(request) };
                talk = talk.server(answer);
            }
            for run in [Talk::run, Talk::run_mid_stream] {
                let whole = run(&talk);
                for most in [1, 2, 7, 30] {
                    let cut = run(&cut(&talk, most));
                    assert_eq!(cut.lines(), whole.lines(), "{lost} {begin:?} {method} cut to {most}");
                    assert!(cut.records == whole.records, "{lost} {begin:?} {method} cut to {most}");
                }
            }
        }
    }
}

/// Behind what cannot be read, the next message is found at the start of a segment: also of one that begins in the middle of
/// what might have become a start line.
#[test]
fn odd_messages_are_read_alike_in_any_segments() {
    let requests = [
        "GET /a HTTP/1.1\r\nHost: h\r\n\r\n",
        "HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 0x5\r\n\r\nhello",
        "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "GET /a\r\n\r\n",
        "get  /a http/1.10\n\n",
    ];
    let lines =
        ["HTTP/1.1 200", "HTTP/1.1 2000 OK", "HTTP/1.1 20 OK", "HTTP/1.1 abc", "http/1.1  200 OK", "HTTP/1.1 100 C"];
    let fields = [
        "",
        "Content-Length: 5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: -1\r\nContent-Length : 6\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked\r\n",
        " folded\r\nno colon\r\n",
    ];
    let bodies = ["", "hello", "HTTP/", "5\r\nhello\r\n0\r\n\r\n", "5;x\r\nhello\r\n\r\n"];
    for (request, line) in requests.iter().flat_map(|request| lines.map(|line| (request, line))) {
        for (field, body) in fields.iter().flat_map(|field| bodies.map(|body| (field, body))) {
            let talk = Talk::default().client(request).server(format!("{line}\r\n{field}\r\n{body}"));
            let talk = [1, 2].into_iter().fold(talk, |talk, number| talk.client(get(number)).server(response("abc")));
            let whole = talk.run();
            for most in [1, 2, 7, 30] {
                let cut = cut(&talk, most).run();
                assert_eq!(cut.lines(), whole.lines(), "{request:?} {line:?} {field:?} {body:?} cut to {most}");
                assert!(cut.records == whole.records, "{request:?} {line:?} {field:?} {body:?} cut to {most}");
            }
        }
    }
}
