//! Conversations, one behaviour each.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod support;

use http_parse::{BodyTypes, Connection, Context, Flag, Position, Protocol, Settings, Side, Unparsable, Want};
use support::{CLIENT, Op, Outcome, Record, SERVER, Talk, run};

const GET: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n")
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn body(outcome: &Outcome, index: usize) -> String {
    let response = outcome.records[index].response.as_ref().unwrap();
    response.body.escape_ascii().to_string()
}

// --- framing ---------------------------------------------------------------------------------------------------------

#[test]
fn one_exchange() {
    let outcome = Talk::default().client(GET).server(OK).run();
    assert_eq!(outcome.lines(), ["GET /a -> 200"]);
    let record = &outcome.records[0];
    assert_eq!((record.index, record.client, record.flags.as_slice()), (Some(1), CLIENT, &[][..]));
    let (request, response) = (record.request.as_ref().unwrap(), record.response.as_ref().unwrap());
    assert_eq!(request.head, &GET.as_bytes()[..GET.len() - 2]);
    assert_eq!(request.headers, [("Host".to_owned(), "h".to_owned())]);
    assert_eq!((response.body.as_slice(), response.bytes, response.complete), (&b"ok"[..], 2, true));
    assert_eq!(outcome.stats.parsed_bytes, (GET.len() + OK.len()) as u64);
}

#[test]
fn keep_alive_exchanges_are_numbered() {
    let outcome = Talk::default().client(get("/1")).server(ok("x")).client(get("/2")).server(ok("y")).run();
    assert_eq!(outcome.lines(), ["GET /1 -> 200", "GET /2 -> 200"]);
    assert_eq!(outcome.records.iter().map(|record| record.index).collect::<Vec<_>>(), [Some(1), Some(2)]);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let outcome = Talk::default()
        .client(get("/1") + &get("/2") + &get("/3"))
        .server("HTTP/1.1 201 A\r\nContent-Length: 0\r\n\r\nHTTP/1.1 202 B\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 2")
        .server("03 C\r\nContent-Length: 0\r\n\r\n")
        .run();
    assert_eq!(outcome.lines(), ["GET /1 -> 201", "GET /2 -> 202", "GET /3 -> 203"]);
}

#[test]
fn chunked_bodies_with_extensions_trailers_and_bare_lf() {
    let outcome = Talk::default()
        .client("POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\n\r\n")
        .server("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel")
        .server("lo\r\nA\n0123456789\n0\r\nSum: 1\r\nX: 2\r\n\r\n")
        .client(GET)
        .server(OK)
        .run();
    assert_eq!(outcome.lines(), ["POST /a -> 200", "GET /a -> 200"]);
    assert_eq!(body(&outcome, 0), "hello0123456789");
    let response = outcome.records[0].response.as_ref().unwrap();
    let trailers: Vec<_> = response.trailers.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(trailers, ["Sum=1", "X=2"]);
    assert!(!response.head.ends_with(b"X: 2\r\n"), "trailers are no part of the head");
    assert_eq!(outcome.records[0].request.as_ref().unwrap().bytes, 3);
}

#[test]
fn broken_chunks_are_flagged_and_the_next_message_is_found() {
    let outcome = Talk::default()
        .client(GET)
        .server("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nnonsense\r\n")
        .server("more nonsense")
        .client(get("/b"))
        .server(ok("b"))
        .run();
    assert_eq!(outcome.lines(), ["GET /a -> 200", "GET /b -> 200"]);
    assert!(outcome.records[0].has(Flag::InvalidChunk));
    assert_eq!(body(&outcome, 0), "abc");
    assert!(outcome.records[1].has(Flag::Resynchronized));
}

#[test]
fn a_forgotten_last_empty_line_does_not_swallow_the_next_response() {
    let outcome = Talk::default()
        .client(GET)
        .server("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n")
        .client(get("/b"))
        .server(ok("b"))
        .run();
    assert_eq!(outcome.lines(), ["GET /a -> 200", "GET /b -> 200"]);
    assert!(outcome.records[0].has(Flag::InvalidChunk));
}

#[test]
fn a_last_empty_line_that_comes_with_the_next_message_was_not_forgotten() {
    let outcome = Talk::default()
        .client(get("/a") + &get("/b"))
        .server("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n")
        .server(format!("\r\n{}", ok("b")))
        .run();
    assert_eq!(outcome.lines(), ["GET /a -> 200", "GET /b -> 200"]);
    assert!(outcome.records.iter().all(|record| record.flags.is_empty()), "{:?}", outcome.records);
}

#[test]
fn close_delimited_body_ends_with_its_side() {
    let talk = Talk::default().client(GET).server("HTTP/1.0 200 OK\r\n\r\nab").server("cd");
    for outcome in [talk.clone().end(SERVER).run(), talk.run()] {
        assert_eq!(outcome.lines(), ["GET /a -> 200"]);
        assert_eq!(body(&outcome, 0), "abcd");
        assert!(outcome.records[0].response.as_ref().unwrap().complete);
    }
}

#[test]
fn a_response_without_a_length_runs_to_the_close_whatever_else_is_asked() {
    let outcome = Talk::default()
        .client(GET)
        .server("HTTP/1.1 200 OK\r\nServer: broken\r\n\r\n")
        .client(get("/b"))
        .client(get("/c"))
        .server(ok("b"))
        .server(ok("c"))
        .run();
    // What looks like the answers may be a text that quotes them: nothing but the close tells.
    assert_eq!(outcome.lines(), ["GET /a -> 200", "GET /b -> -", "GET /c -> -"]);
}

#[test]
fn a_body_that_the_close_ends_may_hold_a_start_line() {
    let body = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let heads = [
        "HTTP/1.1 200 OK\r\nConnection: x, Close\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\n",
        "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n\r\n",
    ];
    for head in heads {
        let talk = Talk::default().client(GET).client(get("/b")).server(format!("{head}body"));
        let outcome = talk.clone().server(body).end(SERVER).run();
        assert_eq!(outcome.lines(), ["GET /a -> 200", "GET /b -> -"]);
        assert_eq!(outcome.records[0].response.as_ref().unwrap().bytes, 4 + body.len() as u64);
        // A loss in it changes nothing about its end.
        let outcome = talk.lost(SERVER, "lost").server(body).run();
        assert_eq!(outcome.lines(), ["GET /a -> 200", "GET /b -> -"]);
        assert_eq!(outcome.records[0].response.as_ref().unwrap().bytes, 8 + body.len() as u64);
    }
}

#[test]
fn one_side_of_pipelined_messages_is_all_found() {
    // The length in a response to HEAD says nothing, and nothing is known of the requests.
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
    let one = Talk::default().server(OK).server(format!("{head}{OK}{head}")).server(OK).server(format!("{head}{head}"));
    assert_eq!(one.run().stats.orphans, 7, "{:?}", one.run().lines());
    assert_eq!(one.run_mid_stream().stats.orphans, 7);
}

#[test]
fn bodyless_responses() {
    let outcome = Talk::default()
        .client("HEAD /1 HTTP/1.1\r\nHost: h\r\n\r\n")
        .server("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")
        .client(get("/2"))
        .server("HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n")
        .client(get("/3"))
        .server("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n")
        .client(get("/4"))
        .server(OK)
        .run();
    assert_eq!(outcome.lines(), ["HEAD /1 -> 200", "GET /2 -> 204", "GET /3 -> 304", "GET /4 -> 200"]);
}

#[test]
fn continue_and_other_interim_responses_belong_to_their_exchange() {
    let outcome = Talk::default()
        .client("POST /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        .server("HTTP/1.1 100 Continue\r\n\r\n")
        .client("body")
        .server("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n")
        .server(OK)
        .client(GET)
        .server(OK)
        .run();
    assert_eq!(outcome.lines(), ["POST /a -> 200", "GET /a -> 200"]);
    assert!(outcome.records[0].has(Flag::Interim) && !outcome.records[1].has(Flag::Interim));
    assert_eq!(outcome.stats.interim, 3);
    assert_eq!(outcome.stats.messages, 4);
    assert_eq!(outcome.records[0].request.as_ref().unwrap().body, b"body");
}

#[test]
fn a_request_sent_behind_an_interim_response_leaves_the_one_before_to_be_answered() {
    let expects = "POST /1 HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    let hint = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
    let hinted = Talk::default().client(get("/1")).server(hint);
    let continued = Talk::default().client(expects).server("HTTP/1.1 100 Continue\r\n\r\n").client("body");
    let empty_line = Talk::default().client(get("/1")).server("\r\n");
    for talk in [hinted.clone(), hinted.server(hint), continued.clone(), continued.server(hint), empty_line] {
        let talk = talk.client(get("/2")).server(numbered(1)).server(numbered(2)).client(get("/3")).server(numbered(3));
        let outcome = talk.run();
        assert_eq!(outcome.stats.paired, 3, "{:?}", outcome.lines());
        assert_no_wrong_pair(&outcome);
        // Such a client does not wait, and is not taken for one that does behind a loss.
        let lossy = talk.client(get("/4")).lost(CLIENT, get("/5")).lost(SERVER, numbered(4)).client(get("/6"));
        assert_no_wrong_pair(&lossy.server(numbered(5)).client(get("/7")).server(numbered(6)).run());
    }
}

#[test]
fn a_body_that_was_asked_for_may_look_like_a_request() {
    let inner = get("/9");
    let expects = |more: usize| {
        let length = inner.len() + more;
        format!("POST /1 HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n")
    };
    let asked = "HTTP/1.1 100 Continue\r\n\r\n";
    let rest = |more: usize| "x".repeat(more);
    for (talk, more) in [
        (Talk::default().client(expects(0)).server(asked).client(&inner), 0),
        (Talk::default().client(expects(7)).server(asked).client(&inner).client(rest(7)), 7),
        // The body overtakes what asks for it, and the request is overtaken by that.
        (Talk::default().client(expects(0)).server(asked).client(&inner).swap(), 0),
        (Talk::default().client(expects(0)).server(asked).swap().client(&inner), 0),
        // The client waits no longer.
        (Talk::default().client(expects(0)).client(&inner), 0),
        (Talk::default().client(expects(7)).client(&inner).client(rest(7)).server(asked), 7),
    ] {
        let outcome = talk.server(OK).client(GET).server(OK).run();
        assert_eq!(outcome.lines(), ["POST /1 -> 200", "GET /a -> 200"]);
        assert_eq!(outcome.records[0].request.as_ref().unwrap().bytes, (inner.len() + more) as u64);
    }
    // What asks for it may be lost: then it may have been the response, too, but there is no other request.
    let lost = Talk::default().client(expects(0)).lost(SERVER, asked).client(&inner).server(OK).run();
    assert_eq!(lost.lines(), ["- -> 200", "POST /1 -> -"]);
    // Of a client that was refused, the same bytes are a request.
    let refused = Talk::default().client(expects(0)).server("HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(refused.client(&inner).server(OK).run().lines(), ["POST /1 -> 417", "GET /9 -> 200"]);
}

#[test]
fn a_client_that_is_refused_may_never_send_its_body() {
    let outcome = Talk::default()
        .client("POST /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 400\r\n\r\n")
        .server("HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n")
        .client(get("/b"))
        .server(OK)
        .run();
    assert_eq!(outcome.lines(), ["POST /a -> 417", "GET /b -> 200"]);
}

#[test]
fn a_request_behind_a_refused_one_may_come_in_pieces() {
    let expects = "POST /1 HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 400\r\n\r\n";
    for refusal in [
        "HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 401 Who\r\nContent-Length: 3\r\n\r\nwho",
        "HTTP/1.1 302 There\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        for size in [1, 2, 3, 7, 20, 1000] {
            let mut talk = Talk::default().client(expects).server(refusal);
            for piece in get("/2").as_bytes().chunks(size) {
                talk = talk.client(piece);
            }
            let outcome = talk.server(OK).client(GET).server(OK).run();
            assert_eq!(outcome.lines()[1..], ["GET /2 -> 200", "GET /a -> 200"], "{size}");
            assert_eq!(outcome.records[0].request.as_ref().unwrap().bytes, 0);
        }
        // One that sends its body all the same, all of it or a piece that no request begins with.
        for body in ["word", "{\"a\": 1}"] {
            let short = expects.replace("400", &body.len().to_string());
            let outcome = Talk::default().client(short).server(refusal).client(body).client(GET).server(OK).run();
            assert_eq!(outcome.lines()[1..], ["GET /a -> 200"], "{body}");
            assert_eq!(outcome.records[0].request.as_ref().unwrap().body, body.as_bytes());
        }
    }
}

#[test]
fn framing_conflicts_are_flagged() {
    let outcome = Talk::default()
        .client("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 50\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n")
        .server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok")
        .run();
    assert_eq!(outcome.lines(), ["POST /a -> 200"]);
    assert!(outcome.records[0].has(Flag::ContentLengthWithTransferEncoding));
    assert!(outcome.records[0].has(Flag::ConflictingContentLength));
}

#[test]
fn empty_lines_between_messages_are_passed_over() {
    let outcome =
        Talk::default().client(GET).server(OK).client("\r\n\n").client(get("/b")).server("\r\n").server(OK).run();
    assert_eq!(outcome.lines(), ["GET /a -> 200", "GET /b -> 200"]);
    assert!(outcome.records[1].has(Flag::LeadingEmptyLines));
    assert_eq!(outcome.records[1].request.as_ref().unwrap().offset, support::STARTS[0] + GET.len() as u64 + 3);
}

#[test]
fn early_responses_are_flagged_and_wait_for_the_request() {
    let outcome = Talk::default()
        .client("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbo")
        .server("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        .client("dy")
        .client(GET)
        .server(OK)
        .run();
    assert_eq!(outcome.lines(), ["POST /a -> 413", "GET /a -> 200"]);
    assert!(outcome.records[0].has(Flag::EarlyResponse) && !outcome.records[1].has(Flag::EarlyResponse));
    assert_eq!(outcome.records[0].request.as_ref().unwrap().bytes, 4);
}

#[test]
fn a_response_without_a_request_is_an_orphan_and_shifts_nothing() {
    // The server times the idle connection out while the client's next request is on its way.
    let mut talk = Talk::default().client(GET).server(OK);
    let before = talk.next[CLIENT.index()];
    talk = talk.client(get("/b"));
    let offset = talk.next[SERVER.index()];
    let bytes = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n".to_vec();
    talk.next[SERVER.index()] += bytes.len() as u64;
    talk.ops.push(Op::Data(SERVER, Position { at: 5, offset, acked: Some(before) }, bytes));
    let outcome = talk.server(ok("b")).run();
    assert_eq!(outcome.lines(), ["GET /a -> 200", "- -> 408", "GET /b -> 200"]);
    assert_eq!(outcome.records[1].index, None);
}

// --- limits and capture ----------------------------------------------------------------------------------------------

#[test]
fn bodies_beyond_the_limit_are_counted_not_kept() {
    let settings = Settings { body_limit: 3, ..Settings::default() };
    let outcome = Talk::default()
        .client(GET)
        .server("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        .server("defg")
        .server("hij")
        .client(get("/b"))
        .server("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n8\r\ncdef")
        .server("ghij\r\n0\r\n\r\n")
        .run_with(&settings);
    assert_eq!(outcome.lines(), ["GET /a -> 200", "GET /b -> 200"]);
    for record in &outcome.records {
        let response = record.response.as_ref().unwrap();
        assert_eq!((response.body.as_slice(), response.bytes), (&b"abc"[..], 10));
    }
    assert_eq!(outcome.wants[1], Want::Skip(7));
    assert_eq!(outcome.wants[2], Want::Skip(3));
    assert_eq!(outcome.wants[3], Want::More);
    assert_eq!(outcome.wants[5], Want::Skip(4));
}

#[test]
fn skipped_bytes_are_body_bytes() {
    let settings = Settings { body_limit: 0, ..Settings::default() };
    let mut talk = Talk::default().client(GET).server("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
    assert_eq!(talk.run_with(&settings).wants[1], Want::Skip(7));
    let position = talk.position(SERVER);
    talk.ops.push(Op::Skipped(SERVER, position, 7));
    talk.next[SERVER.index()] += 7;
    let outcome = talk.client(get("/b")).server(OK).run_with(&settings);
    assert_eq!(outcome.lines(), ["GET /a -> 200", "GET /b -> 200"]);
    let response = outcome.records[0].response.as_ref().unwrap();
    assert_eq!((response.bytes, response.missing, response.complete), (10, 0, true));
}

#[test]
fn only_the_wanted_media_types_are_kept() {
    let settings = Settings { body_types: BodyTypes::Only(vec!["application/json".to_owned()]), ..Settings::default() };
    let outcome = Talk::default()
        .client(GET)
        .server("HTTP/1.1 200 OK\r\nContent-Type: Application/JSON; charset=utf-8\r\nContent-Length: 2\r\n\r\n{}")
        .client(GET)
        .server("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\n<>")
        .run_with(&settings);
    assert_eq!((body(&outcome, 0).as_str(), body(&outcome, 1).as_str()), ("{}", ""));
    assert_eq!(outcome.records[1].response.as_ref().unwrap().bytes, 2);
}

#[test]
fn heads_beyond_the_limit_are_counted_and_passed() {
    let settings = Settings { max_head: 200, ..Settings::default() };
    let long = format!("GET /{} HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "a".repeat(20), "b".repeat(300));
    for pieces in [1, 7, 100] {
        let mut talk = Talk::default().client(get("/1")).server(OK);
        for piece in long.as_bytes().chunks(long.len() / pieces) {
            talk = talk.client(piece);
        }
        let outcome = talk.server("HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n").client(get("/2")).server(OK);
        let outcome = outcome.run_with(&settings);
        assert_eq!(outcome.lines(), ["GET /1 -> 200", "- -> 400", "GET /2 -> 200"], "{pieces}");
        assert_eq!(outcome.stats.unparsable[Unparsable::HeadTooLong as usize], 1);
    }
}

#[test]
fn a_head_cut_by_the_end_is_recorded_as_far_as_it_goes() {
    let outcome = Talk::default().client("GET /a HTTP/1.1\r\nA: b\r\nHost: exam").end(CLIENT).run();
    assert_eq!(outcome.lines(), ["GET /a -> -"]);
    assert!(outcome.records[0].has(Flag::CutByClose) && !outcome.records[0].has(Flag::HeadGap));
    assert_eq!(outcome.records[0].request.as_ref().unwrap().headers, [("A".to_owned(), "b".to_owned())]);
    let outcome = Talk::default().client("GET /a HTT").end(CLIENT).run();
    assert_eq!(outcome.lines(), [""; 0]);
    let outcome = Talk::default().client(GET).server(OK).client("GE").run();
    assert_eq!(outcome.stats.unparsable[Unparsable::HeadCut as usize], 1);
}

#[test]
fn a_head_cut_by_the_end_behind_its_start_line_is_recorded() {
    for talk in [Talk::default().client("GET /a HTTP/1.1\r\nHost: h\r\nX: y"), Talk::default().client(&GET[..24])] {
        let outcome = talk.run();
        assert_eq!(outcome.lines(), ["GET /a -> -"]);
        assert!(outcome.records[0].has(Flag::CutByClose) && !outcome.records[0].has(Flag::MissingBytes));
        let headers = &outcome.records[0].request.as_ref().unwrap().headers;
        assert!(headers.iter().all(|header| *header == ("Host".to_owned(), "h".to_owned())), "{headers:?}");
    }
    let outcome = Talk::default().client(GET).server("HTTP/1.1 200 OK\r\nServer: x\r\nContent-").run();
    assert_eq!(outcome.lines(), ["GET /a -> 200"]);
}

#[test]
fn a_line_of_blanks_ends_a_head_that_has_no_other_end() {
    let response = "HTTP/1.1 200 OK\r\nContent-Length: 5\n\t\nhello";
    let outcome = Talk::default().client(GET).server(response).end(SERVER).run();
    assert_eq!(outcome.lines(), ["GET /a -> 200"]);
    assert_eq!(body(&outcome, 0), "hello");
    // With an end, it continues the line before it.
    let folded = "HTTP/1.1 200 OK\r\nX: y\r\n \r\n z\r\nContent-Length: 5\r\n\r\nhello";
    let outcome = Talk::default().client(GET).server(folded).run();
    assert_eq!((outcome.lines(), body(&outcome, 0)), (vec!["GET /a -> 200".to_owned()], "hello".to_owned()));
    assert!(outcome.records[0].has(Flag::ObsFold));
    let many = "GET /a HTTP/1.1\n \n".repeat(1000);
    let outcome = Talk::default().client(many).run();
    assert_eq!(outcome.records.len(), 1000);
}

#[test]
fn empty_lines_before_the_first_response_are_nothing_that_was_lost() {
    let requests = get("/1") + &get("/2") + &get("/3");
    let pairs = ["GET /1 -> 211", "GET /2 -> 212", "GET /3 -> 213"];
    let responses = || (1..4).map(numbered).collect::<String>();
    for lines in ["\r\n", "\n", "\r\n\r\n \r\n"] {
        let whole = Talk::default().client(&requests).server(lines.to_owned() + &responses());
        let apart = Talk::default().client(&requests).server(lines).server(responses());
        for talk in [whole, apart] {
            assert_eq!(talk.run().lines(), pairs, "{lines:?}");
        }
    }
    // What was lost together with the SYN may have held responses.
    let mut talk = Talk::default().client(&requests);
    talk.next[1] += 60;
    let outcome = talk.server(responses()).run();
    assert_eq!(outcome.stats.paired, 0, "{:?}", outcome.lines());
}

#[test]
fn what_stands_behind_a_head_is_what_its_late_request_says() {
    // A client that is known to pipeline; then the mirror puts responses before their requests, by one packet or by several.
    let inner = numbered(9);
    let begun = || Talk::default().client(get("/1") + &get("/2")).server(numbered(1) + &numbered(2));
    let head = |number: usize| format!("HTTP/1.1 {} X\r\nContent-Length: {}\r\n\r\n", 210 + number, inner.len());
    let requests = |method: &str| format!("{method} /3 HTTP/1.1\r\nHost: h\r\n\r\n") + &get("/4");
    let got = ["GET /3 -> 213", "GET /4 -> 214"];
    let asked = ["HEAD /3 -> 213", "GET /4 -> 219"];
    for (requests, responses, lines) in [
        (requests("GET"), vec![head(3) + &inner + &numbered(4)], got),
        (requests("GET"), vec![head(3), inner.clone() + &numbered(4)], got),
        (requests("GET"), vec![head(3) + &inner[..30], inner[30..].to_owned(), numbered(4)], got),
        (requests("GET"), vec![head(3) + &inner[..3], inner[3..].to_owned() + &numbered(4)], got),
        (requests("HEAD"), vec![head(3) + &inner], asked),
        (requests("HEAD"), vec![head(3), inner.clone()], asked),
        (requests("HEAD"), vec![head(3) + &inner[..5], inner[5..].to_owned()], asked),
    ] {
        let mut talk = begun();
        let (answered, acked) = (talk.next[1], talk.next[0] + requests.len() as u64);
        talk.next[0] = acked;
        for response in &responses {
            talk = talk.server(response);
        }
        let late = Position { at: talk.at + 10, offset: acked - requests.len() as u64, acked: Some(answered) };
        talk.ops.push(Op::Data(CLIENT, late, requests.into_bytes()));
        let outcome = talk.run();
        assert_eq!(outcome.lines()[2..], lines, "{responses:?}");
        assert_eq!(outcome.records[2].response.as_ref().unwrap().bytes > 0, lines == got);
        // And if the request never comes, nothing is stuck or lost count of.
        talk.ops.pop();
        for side in [CLIENT, SERVER] {
            talk.clone().end(side).run();
        }
        talk.clone().lost(SERVER, "x").run();
        talk.lost(CLIENT, "x").run();
    }
}

#[test]
fn what_stands_behind_a_head_waits_for_its_request_from_the_beginning_on() {
    let head = |number: usize| format!("HTTP/1.1 {} X\r\nContent-Length: 40\r\n\r\n", 210 + number);
    let ask = |number: usize| format!("HEAD /{number} HTTP/1.1\r\nHost: h\r\n\r\n");
    for joined in [false, true] {
        // All that was answered comes before all that was asked.
        let (asked, answered) = (vec![ask(1), ask(2), get("/3")], vec![head(1), head(2), numbered(3)]);
        let (asked, answered) =
            if joined { (vec![asked.concat()], vec![answered.concat()]) } else { (asked, answered) };
        let mut talk = Talk::default();
        let start = talk.next[0];
        talk.next[0] += asked.concat().len() as u64;
        talk = answered.iter().fold(talk, Talk::server);
        let heard = support::STARTS[1];
        talk.next[0] = start;
        talk = asked.iter().fold(talk, |talk, request| having_heard(talk, heard, request));
        let outcome = talk.client(get("/4")).server(numbered(4)).run();
        assert_eq!(outcome.lines(), ["HEAD /1 -> 211", "HEAD /2 -> 212", "GET /3 -> 213", "GET /4 -> 214"], "{joined}");
    }
    // Of a client that waits, a body that looks like a response is the body.
    let inner = numbered(9);
    let outer = format!("HTTP/1.1 211 X\r\nContent-Length: {}\r\n\r\n", inner.len());
    let mut talk = Talk::default().client(get("/1")).server(outer).swap().server(&inner);
    let len = talk.ops.len();
    talk.ops.swap(len - 1, len - 2);
    let outcome = talk.client(get("/2")).server(numbered(2)).run();
    assert_eq!(outcome.lines(), ["GET /1 -> 211", "GET /2 -> 212"]);
    assert_eq!(body(&outcome, 0), inner.escape_default().to_string());
}

#[test]
fn bodies_cut_by_the_end_are_flagged() {
    let outcome = Talk::default().client(GET).server("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc").run();
    assert_eq!(outcome.lines(), ["GET /a -> 200"]);
    assert!(outcome.records[0].has(Flag::CutByClose));
    assert!(!outcome.records[0].response.as_ref().unwrap().complete);
}

#[test]
fn full_memory_drops_bodies_first_and_messages_last() {
    let post = format!("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3000\r\n\r\n{}", "x".repeat(3000));
    let settings = Settings { memory: 20_000, ..Settings::default() };
    let mut cx = Context::new(settings);
    let mut sink = support::Recorder::default();
    let mut connections: Vec<_> = (0..100).map(|_| Connection::new(Some(CLIENT))).collect();
    for connection in &mut connections {
        let position = Position { at: 1, offset: 1, acked: Some(1) };
        connection.data(CLIENT, position, post.as_bytes(), &mut cx, &mut sink);
        assert!(cx.memory() < 22_500 + 3000 + 1000, "{}", cx.memory());
        assert!(cx.stats().is_balanced());
    }
    for connection in connections {
        connection.close(2, 0, &mut cx, &mut sink);
    }
    let kept = sink.records.iter().filter(|record| !record.has(Flag::BodyNotCaptured)).count();
    let bare = sink.records.len() - kept;
    assert!(kept >= 5 && bare > 1, "{kept} {bare}");
    let refused = cx.stats().unparsable[Unparsable::Memory as usize];
    assert_eq!(kept as u64 + bare as u64 + refused, 100);
    // What is held now is the pool's.
    assert!(cx.memory() <= 20_000);
}

#[test]
fn waiting_messages_are_bounded() {
    let settings = Settings { max_pending: 4, ..Settings::default() };
    let mut talk = Talk::default().server("");
    for index in 0..20 {
        talk = talk.client(get(&format!("/{index}")));
    }
    let outcome = talk.clone().run_with(&settings);
    assert_eq!(outcome.records.len(), 20);
    assert_eq!(outcome.stats.unanswered, 20);
    let mut talk = Talk::default();
    for _ in 0..20 {
        talk = talk.server(OK);
    }
    let outcome = talk.run_with(&settings);
    assert_eq!(outcome.stats.orphans, 20);
}

// --- detection -------------------------------------------------------------------------------------------------------

#[test]
fn other_protocols_are_named_at_once() {
    let cases: [(&[u8], Protocol); 3] = [
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", Protocol::Http2),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Protocol::Ssh),
        (b"\x17\x03\x03\0\x02ab", Protocol::Tls),
    ];
    for (bytes, protocol) in cases {
        let outcome = Talk::default().server("").client(bytes).client("more").server("more").run();
        let initiator_spoke_second = Talk::default().server("x").client(bytes).run();
        assert_eq!(outcome.protocols(), [protocol]);
        assert_eq!(outcome.wants.last(), Some(&Want::Nothing));
        assert_eq!(outcome.stats.not_http_bytes[protocol as usize], bytes.len() as u64 + 8);
        assert_eq!(initiator_spoke_second.protocols(), [protocol]);
        let one_by_one = bytes.iter().fold(Talk::default(), |talk, byte| talk.client([*byte]));
        if protocol != Protocol::Tls {
            assert_eq!(one_by_one.run().protocols(), [protocol]);
        }
    }
}

#[test]
fn what_only_resembles_http_gives_nothing() {
    for (client, server) in [
        ("OPTIONS rtsp://a/b RTSP/1.0\r\nCSeq: 1\r\n\r\n", "RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n"),
        ("INVITE sip:a@b SIP/2.0\r\nVia: x\r\n\r\n", "SIP/2.0 100 Trying\r\nVia: x\r\n\r\n"),
        ("CONNECT {\"verbose\":false}\r\nPING\r\n", "INFO {\"server_id\":\"x\"}\r\nPONG\r\n"),
        ("EHLO me\r\nMAIL FROM:<a@b>\r\n", "220 mail ESMTP\r\n250 OK\r\n"),
        ("\0\x01\x02\x03GET / HTTP/1.1\r\nHost: h\r\n\r\n", "\0\0\0\0"),
    ] {
        let outcome = Talk::default().client(client).server(server).client(client).server(server).run();
        assert_eq!(outcome.lines(), [""; 0], "{client}");
        assert_eq!(outcome.protocols(), [Protocol::Unknown]);
        assert_eq!(outcome.stats.parsed_bytes, 0);
    }
}

#[test]
fn an_unknown_protocol_is_given_up_after_its_budget() {
    let settings = Settings { max_detect: 1000, max_resync: 2000, ..Settings::default() };
    for (initiator, calls) in [(Some(CLIENT), 11), (None, 21)] {
        let mut talk = Talk::default();
        for _ in 0..40 {
            talk = talk.client([0u8; 100]);
        }
        let outcome = run(initiator, &talk.ops, &settings);
        assert_eq!(outcome.wants.iter().take_while(|want| **want == Want::More).count(), calls - 1);
        assert_eq!(outcome.protocols(), [Protocol::Unknown]);
        assert_eq!(outcome.stats.recognized[Protocol::Unknown as usize], 1);
    }
}

#[test]
fn http_behind_some_other_first_bytes_is_found() {
    let outcome = Talk::default().client("\x05\x01\0").server("\x05\0").client(GET).server(OK).run();
    assert_eq!(outcome.lines(), ["GET /a -> 200"]);
}

#[test]
fn the_side_that_sends_requests_is_the_client() {
    let swapped = [Op::Data(SERVER, Position { at: 1, offset: 10, acked: Some(5) }, GET.into())];
    let outcome = run(None, &swapped, &Settings::default());
    assert_eq!(outcome.records[0].client, SERVER);
    let response = [Op::Data(CLIENT, Position { at: 1, offset: 10, acked: Some(5) }, OK.into())];
    let outcome = run(None, &response, &Settings::default());
    assert_eq!((outcome.records[0].client, outcome.lines()), (SERVER, vec!["- -> 200".to_owned()]));
}

#[test]
fn the_handshake_decides_when_both_sides_send_requests() {
    let outcome = Talk::default().server(get("/wrong")).client(GET).server(OK).client(GET).server(OK).run();
    assert_eq!(outcome.lines(), ["GET /wrong -> -", "GET /a -> 200", "GET /a -> 200"]);
    assert_eq!(outcome.records[1].client, CLIENT);
    let outcome = Talk::default().client(GET).server(get("/wrong")).server(OK).run();
    assert_eq!(outcome.lines(), ["GET /a -> 200"]);
}

#[test]
fn what_ends_a_side_may_give_the_connection_up_and_then_no_message_starts() {
    // The client seems to be the server, by a head without an end; what starts on the other side turns the roles round. To
    // end the head is to read what stands behind its line of blanks, and that is another protocol.
    let head = "HTTP/1.1 101 X\r\n \r\n  /";
    for response in ["HTTP/1.1 101 Y\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbod"] {
        let whole = Talk::default().client(head).server(response);
        let cut = Talk::default().client(head).server(&response[..8]).server(&response[8..]);
        for outcome in [whole.run(), cut.run()] {
            assert_eq!((outcome.lines(), outcome.protocols()), (vec!["- -> 101".to_owned()], vec![Protocol::Upgraded]));
            assert_eq!(outcome.stats.not_http_bytes[Protocol::Upgraded as usize], 3 + response.len() as u64);
        }
    }
}

#[test]
fn a_connection_is_given_up_once() {
    let settings = Settings { max_resync: 100, max_detect: 100, ..Settings::default() };
    let mut talk = Talk::default().client("HTTP/1.1 101 X\r\n \r\n  /");
    for _ in 0..3 {
        talk = talk.server([0; 60]);
    }
    let outcome = talk.run_with(&settings);
    assert_eq!((outcome.lines(), outcome.protocols()), (vec!["- -> 101".to_owned()], vec![Protocol::Unknown]));
}

#[test]
fn tunnels_are_looked_into() {
    let connect = "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n";
    let established = "HTTP/1.1 200 Connection established\r\n\r\n";
    let talk = Talk::default().client(connect).server(established);
    let inner = talk.clone().client(GET).server(OK).run();
    assert_eq!(inner.lines(), ["CONNECT h:443 -> 200", "GET /a -> 200"]);
    assert!(inner.records[0].has(Flag::Upgraded));
    assert_eq!(inner.protocols(), []);
    let opaque = talk.clone().server("220 mail ESMTP\r\n").client("EHLO\r\n").run();
    assert_eq!(opaque.lines(), ["CONNECT h:443 -> 200"]);
    assert_eq!(opaque.protocols(), [Protocol::Tunnel]);
    assert_eq!(opaque.stats.not_http_bytes[Protocol::Tunnel as usize], 22);
    let tls = talk.clone().client(b"\x17\x03\x03\0\x02ab").run();
    assert_eq!(tls.protocols(), [Protocol::Tls]);
    assert_eq!(talk.run().protocols(), [Protocol::Tunnel]);
    let refused = Talk::default().client(connect).server("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n");
    let refused = refused.client(GET).server(OK).run();
    assert_eq!(refused.lines(), ["CONNECT h:443 -> 403", "GET /a -> 200"]);
}

#[test]
fn a_tunnel_whose_answer_overtook_its_request() {
    let talk = Talk::default()
        .client("CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n")
        .server("HTTP/1.1 200 Connection established\r\n\r\n")
        .swap()
        .client(b"\x17\x03\x03\0\x02ab");
    assert_eq!(talk.run().lines(), ["CONNECT h:443 -> 200"]);
    assert_eq!(talk.run().protocols(), [Protocol::Tls]);
}

#[test]
fn upgrades() {
    let request = "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let response = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
    let outcome = Talk::default().client(request).server(response).server(b"\x81\x05hello").client(b"\x81\x80").run();
    assert_eq!(outcome.lines(), ["GET /ws -> 101"]);
    assert!(outcome.records[0].has(Flag::Upgraded));
    assert_eq!(outcome.protocols(), [Protocol::Upgraded]);
    let h2c = Talk::default()
        .client(GET)
        .server("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .client("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .run();
    assert_eq!((h2c.lines(), h2c.protocols()), (vec!["GET /a -> 101".to_owned()], vec![Protocol::Http2]));
    let again = Talk::default().client(request).server(response).client(GET).server(OK).run();
    assert_eq!(again.lines(), ["GET /ws -> 101", "GET /a -> 200"]);
    assert_eq!(again.protocols(), []);
}

#[test]
fn shunted_bytes_are_counted_as_the_recognized_protocol() {
    let mut cx = Context::new(Settings::default());
    let mut sink = support::Recorder::default();
    let mut connection = Connection::new(Some(CLIENT));
    let position = Position { at: 1, offset: 1, acked: None };
    assert_eq!(connection.data(CLIENT, position, b"SSH-2.0-x\r\n", &mut cx, &mut sink), Want::Nothing);
    connection.close(2, 1000, &mut cx, &mut sink);
    assert_eq!(cx.stats().not_http_bytes[Protocol::Ssh as usize], 1011);
    assert_eq!(cx.stats().recognized[Protocol::Ssh as usize], 1);
    assert!(cx.stats().is_balanced());
}

// --- loss ------------------------------------------------------------------------------------------------------------

#[test]
fn a_gap_in_a_body_of_known_length_is_counted() {
    let outcome = Talk::default()
        .client(GET)
        .server("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab")
        .lost(SERVER, "cdef")
        .server("ghij")
        .client(get("/b"))
        .server(OK)
        .run();
    assert_eq!(outcome.lines(), ["GET /a -> 200", "GET /b -> 200"]);
    let response = outcome.records[0].response.as_ref().unwrap();
    assert_eq!((response.body.as_slice(), response.bytes, response.missing), (&b"ab"[..], 10, 4));
    assert!(outcome.records[0].has(Flag::MissingBytes));
    assert!(!outcome.records[1].has(Flag::Resynchronized));
}

#[test]
fn a_gap_within_a_chunk_is_counted_and_one_across_chunks_ends_the_message() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let within = Talk::default()
        .client(GET)
        .server(format!("{head}8\r\nab"))
        .lost(SERVER, "cdef")
        .server("gh\r\n0\r\n\r\n")
        .client(get("/b"))
        .server(OK)
        .run();
    assert_eq!(within.lines(), ["GET /a -> 200", "GET /b -> 200"]);
    assert_eq!(within.records[0].response.as_ref().unwrap().bytes, 8);
    assert!(within.records[0].response.as_ref().unwrap().complete);
    let across = Talk::default()
        .client(GET)
        .server(format!("{head}8\r\nab"))
        .lost(SERVER, "cdefgh\r\n3")
        .server("\r\nabc\r\n0\r\n\r\n")
        .client(get("/b"))
        .server(OK)
        .run();
    assert_eq!(across.lines(), ["GET /a -> 200", "GET /b -> 200"]);
    assert!(across.records[0].has(Flag::MissingBytes) && across.records[1].has(Flag::Resynchronized));
    assert!(!across.records[0].response.as_ref().unwrap().complete);
}

#[test]
fn a_gap_in_a_head() {
    let outcome = Talk::default()
        .client("GET /a HTTP/1.1\r\nHost: h\r\nX-")
        .lost(CLIENT, "Y: z\r\n")
        .client("A: b\r\n\r\n")
        .server(OK)
        .client(get("/b"))
        .server(OK)
        .run();
    assert_eq!(outcome.lines(), ["GET /a -> 200", "GET /b -> 200"]);
    assert!(outcome.records[0].has(Flag::HeadGap));
    let outcome = Talk::default().client("GET /a HT").lost(CLIENT, "TP/1.1\r\n").client("Host: h\r\n\r\n").server(OK);
    let outcome = outcome.client(get("/b")).server(OK).client(get("/c")).server(OK).run();
    assert_eq!(outcome.lines(), ["- -> 200", "GET /b -> 200", "GET /c -> 200"]);
}

#[test]
fn the_first_response_since_a_request_is_its_own_whatever_was_lost_behind_it() {
    let outcome = Talk::default()
        .client("POST /a HTTP/1.1\r\nHost: h\r\n")
        .lost(CLIENT, "Content-Length: 2\r\n\r\nhi")
        .server(OK)
        .run_mid_stream();
    assert_eq!(outcome.lines(), ["POST /a -> 200"]);
}

#[test]
fn a_lost_response_leaves_its_request_unanswered_and_shifts_nothing() {
    let mut talk = Talk::default();
    for index in 0..10 {
        talk = talk.client(get(&format!("/{index}")));
        talk = if index == 4 {
            talk.lost(SERVER, ok("4"))
        } else {
            talk.server(format!("HTTP/1.1 2{index:02} X\r\nContent-Length: 1\r\n\r\nx"))
        };
    }
    for outcome in [talk.run(), talk.run_mid_stream()] {
        let expected: Vec<_> = (0..10)
            .map(|index| if index == 4 { "GET /4 -> -".to_owned() } else { format!("GET /{index} -> 2{index:02}") })
            .collect();
        assert_eq!(outcome.lines(), expected);
    }
}

#[test]
fn a_lost_request_leaves_its_response_alone_and_shifts_nothing() {
    let mut talk = Talk::default();
    for index in 0..10 {
        let request = get(&format!("/{index}"));
        talk = if index == 4 { talk.lost(CLIENT, request) } else { talk.client(request) };
        talk = talk.server(format!("HTTP/1.1 2{index:02} X\r\nContent-Length: 1\r\n\r\nx"));
    }
    let expected: Vec<_> = (0..10)
        .map(|index| if index == 4 { "- -> 204".to_owned() } else { format!("GET /{index} -> 2{index:02}") })
        .collect();
    // 204 has no body: its byte is passed over.
    assert_eq!(talk.run().lines(), expected);
    assert_eq!(talk.run_mid_stream().lines(), expected);
}

#[test]
fn a_response_to_a_lost_head_request_does_not_swallow_the_next_one() {
    let outcome = Talk::default()
        .client(GET)
        .server(OK)
        .lost(CLIENT, "HEAD /h HTTP/1.1\r\nHost: h\r\n\r\n")
        .server("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")
        .client(get("/b"))
        .server("HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok")
        .client(get("/c"))
        .server(OK)
        .run();
    assert_eq!(outcome.lines(), ["GET /a -> 200", "- -> 200", "GET /b -> 201", "GET /c -> 200"]);
}

#[test]
fn pipelined_responses_behind_a_loss_are_not_guessed() {
    let outcome = Talk::default()
        .client(get("/1") + &get("/2") + &get("/3"))
        .lost(SERVER, ok("1"))
        .server("HTTP/1.1 202 B\r\nContent-Length: 0\r\n\r\n")
        .server("HTTP/1.1 203 C\r\nContent-Length: 0\r\n\r\n")
        .run();
    assert_eq!(outcome.stats.paired, 0);
    assert_eq!((outcome.stats.unanswered, outcome.stats.orphans), (3, 2));
    assert!(outcome.records.iter().any(|record| record.has(Flag::UncertainPairing)));
}

#[test]
fn a_pair_behind_a_loss_is_taken_back_when_the_next_message_speaks_against_it() {
    // Two requests were sent at once, the first was lost; nothing before showed that this client pipelines.
    let burst = |talk: Talk| {
        talk.lost(CLIENT, get("/1"))
            .client(get("/2"))
            .server("HTTP/1.1 201 A\r\nContent-Length: 0\r\n\r\n")
            .server("HTTP/1.1 202 B\r\nContent-Length: 0\r\n\r\n")
    };
    for outcome in [burst(Talk::default()).run(), burst(Talk::default()).run_mid_stream()] {
        assert_eq!(outcome.stats.paired, 0, "{:?}", outcome.lines());
    }
    // The same when the second response is lost as well, and the next request shows it.
    let outcome = Talk::default()
        .lost(CLIENT, get("/1"))
        .client(get("/2"))
        .server("HTTP/1.1 201 A\r\nContent-Length: 0\r\n\r\n")
        .lost(SERVER, "HTTP/1.1 202 B\r\nContent-Length: 0\r\n\r\n")
        .client(get("/3"))
        .server(OK)
        .run();
    // What it shows is that this client pipelines: a request may have been lost with `/3`, too.
    assert_eq!(outcome.stats.paired, 0, "{:?}", outcome.lines());
}

#[test]
fn a_response_due_for_a_lost_request_is_not_given_to_the_one_sent_with_it() {
    // Nothing comes behind it that would speak against the pair.
    let answer = "HTTP/1.1 201 A\r\nContent-Length: 0\r\n\r\n";
    let too_long = format!("GET /1 HTTP/1.1\r\nX-Long: {}\r\n\r\n", "x".repeat(70_000));
    let lost = [
        Talk::default().lost(CLIENT, get("/1")).client(get("/2")).server(answer),
        Talk::default().client(GET).server(OK).lost(CLIENT, get("/1")).client(get("/2")).server(answer),
        // The head of the second in two pieces; the first lost but for its first bytes, or but for its last.
        Talk::default().lost(CLIENT, get("/1")).client("GET /2 HTT").client("P/1.1\r\nHost: h\r\n\r\n").server(answer),
        Talk::default().client("GET /").lost(CLIENT, "1 HTTP/1.1\r\nHost: h\r\n\r\n").client(get("/2")).server(answer),
        Talk::default().lost(CLIENT, "GET").client(" /1 HTTP/1.1\r\nHost: h\r\n\r\n").client(get("/2")).server(answer),
        // Seen, but not read.
        Talk::default().client(too_long).client(get("/2")).server(answer),
    ];
    for (number, talk) in lost.into_iter().enumerate() {
        for outcome in [talk.clone().run(), talk.clone().end(CLIENT).end(SERVER).run()] {
            let lines = outcome.lines();
            assert!(lines.contains(&"GET /2 -> -".to_owned()), "{number}: {lines:?}");
            assert!(lines.contains(&"- -> 201".to_owned()), "{number}: {lines:?}");
            let parted = outcome.records.iter().filter(|record| record.has(Flag::UncertainPairing));
            assert_eq!(parted.count(), 2, "{number}: {:?}", outcome.records);
        }
    }
}

#[test]
fn a_response_and_a_request_sent_past_each_other_show_a_client_that_pipelines() {
    // Picked up between two requests sent together: what answers the first does not know of the second yet.
    let mut talk = Talk::default().client(get("/1"));
    let Some(Op::Data(_, Position { offset, .. }, _)) = talk.ops.last().cloned() else { panic!() };
    talk = talk.server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let Some(Op::Data(_, position, _)) = talk.ops.last_mut() else { panic!() };
    position.acked = Some(offset);
    let outcome = talk.client(get("/2")).server("HTTP/1.1 201 A\r\nContent-Length: 0\r\n\r\n").run_mid_stream();
    assert_eq!(outcome.stats.paired, 0, "{:?}", outcome.lines());
}

#[test]
fn behind_a_hole_the_last_pair_needs_a_client_that_is_known_to_wait() {
    // Of two requests sent together both were lost, and the answer to the first one was heard before `/3` was sent: what
    // comes then answers the second.
    let burst = |talk: Talk| {
        talk.lost(CLIENT, get("/1") + &get("/2"))
            .server("HTTP/1.1 201 A\r\nContent-Length: 0\r\n\r\n")
            .client(get("/3"))
            .server("HTTP/1.1 202 B\r\nContent-Length: 0\r\n\r\n")
    };
    for outcome in [burst(Talk::default()).run(), burst(Talk::default().client(GET).server(OK)).run()] {
        assert!(outcome.lines().contains(&"GET /3 -> -".to_owned()), "{:?}", outcome.lines());
        assert!(outcome.records.last().unwrap().has(Flag::UncertainPairing), "{:?}", outcome.records);
    }
    let mut waits = Talk::default();
    for _ in 0..4 {
        waits = waits.client(GET).server(OK);
    }
    let outcome = waits.lost(CLIENT, get("/1")).server(ok("1")).client(get("/2")).server(ok("2")).run();
    assert_eq!(outcome.lines()[4..], ["- -> 200", "GET /2 -> 200"]);
}

#[test]
fn a_client_that_waited_now_and_then_may_send_two_requests_at_once() {
    // Of `/3` and `/4`, the first is lost. What answers it is whole, what answers the other is lost, and so is the next
    // request: it looks as if `/4` had been sent alone.
    let number = |number: u32| format!("HTTP/1.1 20{number} X\r\nContent-Length: 0\r\n\r\n");
    for waits in 0..2 {
        let mut talk = Talk::default();
        for _ in 0..=waits {
            talk = talk.client(GET).server(OK);
        }
        let outcome = talk
            .lost(CLIENT, get("/3"))
            .client(get("/4"))
            .server(number(3))
            .lost(SERVER, number(4))
            .lost(CLIENT, get("/5"))
            .server(number(5))
            .client(get("/6"))
            .lost(SERVER, number(6))
            .run();
        assert!(!outcome.lines().contains(&"GET /4 -> 203".to_owned()), "{waits}: {:?}", outcome.lines());
    }
}

#[test]
fn a_loss_behind_the_last_pair_may_have_been_the_response_to_its_request() {
    // Two requests sent together, of which the first is lost; of their responses the second.
    let outcome = Talk::default()
        .lost(CLIENT, get("/1"))
        .client(get("/2"))
        .server("HTTP/1.1 201 A\r\nContent-Length: 0\r\n\r\n")
        .lost(SERVER, "HTTP/1.1 202 B\r\nContent-Length: 0\r\n\r\n")
        .end(SERVER)
        .run();
    assert_eq!(outcome.stats.paired, 0, "{:?}", outcome.lines());
}

#[test]
fn a_tentative_request_does_not_decide_whether_there_is_a_body() {
    // The response to a lost HEAD, held against the POST that was sent with it, would run to the end of the connection.
    let head = "HEAD /1 HTTP/1.1\r\nHost: h\r\n\r\n";
    let outcome = Talk::default()
        .client(GET)
        .server(OK)
        .lost(CLIENT, head)
        .client("POST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx")
        .server("HTTP/1.1 201 A\r\nServer: s\r\n\r\n")
        .swap()
        .server("HTTP/1.1 202 B\r\nContent-Length: 0\r\n\r\n")
        .client(get("/3"))
        .server(OK)
        .run();
    assert_eq!(outcome.records.iter().filter(|record| record.response.is_some()).count(), 4, "{:?}", outcome.lines());
    assert!(!outcome.lines().contains(&"POST /2 -> 201".to_owned()), "{:?}", outcome.lines());
}

#[test]
fn what_is_left_of_a_cut_start_line_is_no_request() {
    let outcome = Talk::default()
        .client(GET)
        .server(OK)
        .lost(CLIENT, "HE")
        .client("AD /b HTTP/1.1\r\nHost: h\r\n\r\n")
        .client("tail of something")
        .server(ok(""))
        .client(get("/c"))
        .server(OK)
        .client(get("/d"))
        .server(OK)
        .run();
    assert_eq!(outcome.lines(), ["GET /a -> 200", "- -> 200", "GET /c -> 200", "GET /d -> 200"]);
}

#[test]
fn crafted_packets_may_acknowledge_nothing() {
    let talk = |response: &str| {
        let mut talk = Talk::default().client(GET).server(response);
        for op in &mut talk.ops {
            let Op::Data(side, position, _) = op else { continue };
            position.acked = Some(support::STARTS[side.opposite().index()]);
        }
        talk
    };
    assert_eq!(talk(OK).run().lines(), ["GET /a -> 200"]);
    let timeout = talk("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(timeout.run().stats.paired, 0);
}

#[test]
fn hand_made_packets_without_numbers_pair() {
    let talk = |first: u64| {
        let mut talk = Talk { next: [first, 1 << 32], ..Talk::default() };
        talk = talk.client(GET).server("HTTP/1.0 200 ok\r\nContent-Length: 0\r\n\r\n");
        let Some(Op::Data(_, position, _)) = talk.ops.last_mut() else { panic!() };
        position.acked = Some(first);
        talk
    };
    assert_eq!(talk(1 << 32).run_mid_stream().stats.paired, 1);
    assert_eq!(talk((1 << 32) + 1).run_mid_stream().stats.paired, 0, "one side's at zero are chance");
}

#[test]
fn a_capture_that_starts_between_two_pipelined_requests_gives_the_second_nothing_of_the_first() {
    // The server had received the first request only, which the capture has not.
    let mut joined = Talk::default();
    joined.next[CLIENT.index()] += GET.len() as u64;
    let (first_end, heard) = (joined.next[CLIENT.index()], joined.next[SERVER.index()]);
    joined = joined.client(get("/2")).server(numbered(1));
    let Some(Op::Data(_, position, _)) = joined.ops.last_mut() else { panic!() };
    assert_eq!((position.offset, position.acked.replace(first_end)), (heard, Some(joined.next[CLIENT.index()])));
    for talk in [joined.clone(), joined.clone().end(SERVER), joined.clone().lost(SERVER, numbered(2)).end(CLIENT)] {
        assert_eq!(talk.run_mid_stream().stats.paired, 0, "{:?}", talk.run_mid_stream().lines());
    }
    // The same where the handshake was seen, and the first request was lost.
    let mut lost = joined;
    let before = Position { at: 1, offset: first_end - GET.len() as u64, acked: None };
    lost.ops.insert(0, Op::Gap(CLIENT, before, GET.len() as u64));
    assert_eq!(lost.run().stats.paired, 0, "{:?}", lost.run().lines());
}

#[test]
fn picked_up_in_the_middle() {
    let outcome = Talk::default()
        .server("tail of a body that began long ago")
        .client(get("/1"))
        .server(ok("1"))
        .client(get("/2"))
        .server(ok("2"))
        .run_mid_stream();
    assert_eq!(outcome.lines(), ["GET /1 -> 200", "GET /2 -> 200"]);
    assert!(outcome.records[0].has(Flag::Resynchronized) && !outcome.records[1].has(Flag::Resynchronized));
    assert_eq!(outcome.stats.not_http_bytes[Protocol::Unsynchronized as usize], 34);
}

#[test]
fn one_sided_captures() {
    let requests = Talk::default().client(get("/1")).client(get("/2")).run_mid_stream();
    assert_eq!(requests.lines(), ["GET /1 -> -", "GET /2 -> -"]);
    let responses = Talk::default().server(ok("1")).server(ok("2")).run_mid_stream();
    assert_eq!(responses.lines(), ["- -> 200", "- -> 200"]);
}

#[test]
fn responses_that_overtake_their_requests_wait() {
    let talk = Talk::default()
        .client(get("/1"))
        .server(ok("1"))
        .swap()
        .client("HEAD /2 HTTP/1.1\r\nHost: h\r\n\r\n")
        .server("HTTP/1.1 202 OK\r\nContent-Length: 100\r\n\r\n")
        .swap()
        .client(get("/3"))
        .server("HTTP/1.1 203 OK\r\nContent-Length: 1\r\n\r\nx")
        .swap();
    for outcome in [talk.run(), talk.run_mid_stream()] {
        assert_eq!(outcome.lines(), ["GET /1 -> 200", "HEAD /2 -> 202", "GET /3 -> 203"]);
    }
}

#[test]
fn without_acknowledgements_order_must_do_and_a_loss_ends_it() {
    let mut talk = Talk::default().client(get("/1")).server(ok("1")).client(get("/2")).server(ok("2"));
    let forget = |talk: &mut Talk| {
        for op in &mut talk.ops {
            let (Op::Data(_, position, _) | Op::Gap(_, position, _)) = op else { continue };
            position.acked = None;
        }
    };
    forget(&mut talk);
    assert_eq!(talk.run().lines(), ["GET /1 -> 200", "GET /2 -> 200"]);
    let mut talk = Talk::default().client(get("/1")).lost(SERVER, ok("1")).client(get("/2")).server(ok("2"));
    forget(&mut talk);
    assert_eq!(talk.run().stats.paired, 0);
}

#[test]
fn a_request_of_which_no_acknowledgement_is_known_may_be_the_one_answered() {
    let mut talk = Talk::default()
        .client(get("/1") + &get("/2"))
        .server(ok("1"))
        .server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-")
        .lost(SERVER, "Y: z\r\n\r\nok")
        .client(get("/3"))
        .client(get("/4"));
    let Some(Op::Data(_, position, _)) = talk.ops.iter_mut().rev().nth(1) else { panic!() };
    position.acked = None;
    let outcome = talk.server("HTTP/1.1 203 C\r\nContent-Length: 0\r\n\r\n").run();
    assert!(!outcome.lines().contains(&"GET /4 -> 203".to_owned()), "{:?}", outcome.lines());
}

#[test]
fn a_gap_over_the_whole_of_several_messages() {
    let outcome = Talk::default()
        .client(get("/1"))
        .server(ok("1"))
        .lost(CLIENT, get("/2"))
        .lost(SERVER, ok("2"))
        .client(get("/3"))
        .server(ok("3"))
        .client(get("/4"))
        .server(ok("4"))
        .run();
    assert_eq!(outcome.lines(), ["GET /1 -> 200", "GET /3 -> 200", "GET /4 -> 200"]);
    assert_eq!(outcome.records[1].index, Some(2));
    let side = Side::Left;
    assert_eq!(side.opposite().index(), 1);
}

/// A snap length cuts every segment: what is left are start lines.
#[test]
fn a_request_cut_by_a_loss_is_answered_by_what_comes_next_of_the_server() {
    let mut talk = Talk::default();
    for index in 0..3 {
        talk = talk.client(format!("GET /{index} HTTP/1.1\r\nHost: h\r\nX-")).cut_off(CLIENT, "Y: z and more\r\n\r\n");
        talk = talk.server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no").cut_off(SERVER, "k");
    }
    for outcome in [talk.run(), talk.run_mid_stream()] {
        assert_eq!(outcome.lines(), ["GET /0 -> 200", "GET /1 -> 200", "GET /2 -> 200"]);
    }
}

#[test]
fn any_request_that_was_cut_off_may_hide_another_one() {
    let begin = |method: &str, number: usize| format!("{method} /{number} HTTP/1.1\r\nHost: h\r\nX-");
    let rest = "Fill: some more that was not captured\r\n\r\n";
    // A client that was seen to wait more often than that has long requests, too.
    for (before, method) in [(0, "POST"), (1, "GET"), (2, "HEAD"), (2, "POST"), (1, "PUT")] {
        for exchanges in [1, 2, 5, 8, 12, 20] {
            let mut talk = Talk::default();
            for number in 1..=before {
                talk = talk.client(begin("GET", number)).cut_off(CLIENT, rest).server(numbered(number));
            }
            let two = before + 1;
            let hidden = rest.to_owned() + &begin("GET", two + 1) + rest;
            talk = talk.client(begin(method, two)).cut_off(CLIENT, hidden).server(numbered(two));
            for number in two + 2..two + 2 + exchanges {
                talk = talk.client(begin("GET", number)).cut_off(CLIENT, rest).server(numbered(number - 1));
                assert_no_wrong_pair(&talk.run());
            }
            talk = talk.server(numbered(two + 1 + exchanges));
            assert_no_wrong_pair(&talk.run());
            assert_no_wrong_pair(&talk.end(CLIENT).end(SERVER).run());
        }
    }
    // Seen to wait before the first long one.
    let mut talk = Talk::default();
    for number in 1..20 {
        let (method, body) = if number > 4 { ("POST", "body ".repeat(200)) } else { ("GET", String::new()) };
        talk = talk.client(begin(method, number)).cut_off(CLIENT, rest.to_owned() + &body).server(numbered(number));
    }
    assert_eq!(talk.run().stats.paired, 19, "{:?}", talk.run().lines());
}

#[test]
fn a_first_request_that_was_cut_off_may_hide_another_one() {
    // Every request is cut by a snap length; the server is always one behind.
    let begin = |number: usize| format!("GET /{number} HTTP/1.1\r\nHost: h\r\nX-");
    let rest = "Fill: some more that was not captured\r\n\r\n";
    for exchanges in [1, 2, 5, 8, 12, 20] {
        for orderly in [false, true] {
            let mut talk = Talk::default().client(begin(1)).cut_off(CLIENT, rest.to_owned() + &begin(2) + rest);
            talk = talk.server(numbered(1));
            for number in 3..3 + exchanges {
                talk = talk.client(begin(number)).cut_off(CLIENT, rest).server(numbered(number - 1));
            }
            if orderly {
                talk = talk.server(numbered(2 + exchanges)).end(CLIENT).end(SERVER);
            }
            let outcome = talk.run();
            assert_no_wrong_pair(&outcome);
            assert!(outcome.lines().contains(&"GET /1 -> 211".to_owned()), "{:?}", outcome.lines());
        }
        // One that waits, whose requests are not all of the same length.
        let mut talk = Talk::default();
        for number in 1..3 + exchanges {
            let more = if number == 1 { "Cookie: of the first one only\r\n" } else { "" };
            talk = talk.client(begin(number)).cut_off(CLIENT, rest.to_owned() + more).server(numbered(number));
        }
        assert_eq!(talk.run().stats.paired, 2 + exchanges as u64, "{:?}", talk.run().lines());
    }
}

/// A client that waits for so many responses, then keeps so many requests of these lengths under way, the first of them sent
/// together; every segment is cut.
fn windowed(lengths: &[usize], alone: usize, window: usize, exchanges: usize, captured: usize) -> Talk {
    let sent = |number: usize| {
        let mut text = format!("GET /{number} HTTP/1.1\r\nHost: h\r\nFill: ");
        text.push_str(&"x".repeat(lengths[number % lengths.len()] - text.len() - 4));
        text + "\r\n\r\n"
    };
    let cut = |mut talk: Talk, text: &str| {
        let position = talk.position(CLIENT);
        for segment in text.as_bytes().chunks(1448) {
            let (seen, rest) = segment.split_at(captured.min(segment.len()));
            let offset = talk.next[CLIENT.index()];
            talk.ops.push(Op::Data(CLIENT, Position { offset, ..position }, seen.to_vec()));
            if !rest.is_empty() {
                let offset = offset + seen.len() as u64;
                talk.ops.push(Op::Gap(CLIENT, Position { offset, ..position }, rest.len() as u64));
            }
            talk.next[CLIENT.index()] += segment.len() as u64;
        }
        talk
    };
    let mut talk = Talk::default();
    for number in 0..alone {
        talk = cut(talk, &sent(number)).server(numbered(number));
    }
    let first: String = (alone..alone + window).map(sent).collect();
    talk = cut(talk, &first);
    for number in alone + window..exchanges {
        talk = cut(talk.server(numbered(number - window)), &sent(number));
    }
    talk
}

#[test]
fn requests_that_share_cut_segments_shift_nothing() {
    for lengths in [&[900][..], &[1334], &[135, 134, 134, 94, 94], &[400, 70]] {
        for (window, exchanges, alone) in [2, 3, 4]
            .into_iter()
            .flat_map(|window| [6, 12, 20, 40].map(|all| (window, all)))
            .flat_map(|(window, all)| [0, 1, 4, 9].map(|alone| (window, all + alone, alone)))
        {
            let mut talk = windowed(lengths, alone, window, exchanges, 106);
            assert_no_wrong_pair(&talk.run());
            for number in exchanges - window..exchanges {
                talk = talk.server(numbered(number));
            }
            assert_no_wrong_pair(&talk.run());
            assert_no_wrong_pair(&talk.end(CLIENT).end(SERVER).run());
        }
    }
    // One that waits is paired, also where its requests take several segments.
    let mut talk = windowed(&[3000], 4, 1, 20, 106);
    talk = talk.server(numbered(19));
    assert_eq!(talk.run().stats.paired, 20, "{:#?}", talk.run().lines());
}

#[test]
fn a_request_known_from_a_late_copy_only_is_answered_in_its_turn() {
    // The mirror lost the request; it was sent again, for no reason, when its response had been heard.
    let mut talk = Talk::default().client(get("/1")).server(ok("1")).client(get("/2")).server(ok("2")).swap();
    let heard = talk.next[SERVER.index()];
    let Some(Op::Data(_, position, _)) = talk.ops.last_mut() else { panic!() };
    position.acked = Some(heard);
    let outcome = talk.client(get("/3")).server(ok("3")).client(get("/4")).server(ok("4")).run();
    assert_eq!(outcome.lines(), ["GET /1 -> 200", "GET /2 -> 200", "GET /3 -> 200", "GET /4 -> 200"]);
}

#[test]
fn a_first_response_lost_with_the_handshake_shifts_nothing() {
    let mut talk = Talk::default().client(get("/1"));
    talk.next[SERVER.index()] += 50;
    for index in 2..5 {
        talk =
            talk.client(get(&format!("/{index}"))).server(format!("HTTP/1.1 20{index} X\r\nContent-Length: 0\r\n\r\n"));
    }
    assert_eq!(talk.run().lines(), ["GET /1 -> -", "GET /2 -> 202", "GET /3 -> 203", "GET /4 -> 204"]);
}

#[test]
fn a_client_that_sends_in_turns_is_followed_again_behind_a_loss() {
    let mut talk = Talk::default();
    for turn in 0..5 {
        talk = talk.client((0..3).map(|index| get(&format!("/{turn}{index}"))).collect::<String>());
        for index in 0..3 {
            let response = format!("HTTP/1.1 2{turn}{index} X\r\nContent-Length: 1\r\n\r\nx");
            talk = if (turn, index) == (2, 0) { talk.lost(SERVER, response) } else { talk.server(response) };
        }
    }
    let outcome = talk.run();
    let lines = outcome.lines();
    for (turn, index) in (0..5).flat_map(|turn| (0..3).map(move |index| (turn, index))).filter(|at| *at != (2, 0)) {
        assert!(lines.contains(&format!("GET /{turn}{index} -> 2{turn}{index}")), "{lines:?}");
    }
    assert_eq!(outcome.stats.paired, 14);
    assert!(lines.contains(&"GET /20 -> -".to_owned()));
}

/// Turns of four; which messages of which turn are lost, and which pairs are found then.
fn turns_of_four(turns: usize, lost_requests: &[(usize, usize)], lost_responses: &[(usize, usize)]) -> Outcome {
    let mut talk = Talk::default();
    for turn in 0..turns {
        let heard = talk.next[SERVER.index()];
        for index in 0..4 {
            let request = get(&format!("/{turn}{index}"));
            talk =
                if lost_requests.contains(&(turn, index)) { talk.lost(CLIENT, request) } else { talk.client(request) };
        }
        assert_eq!(talk.next[SERVER.index()], heard);
        for index in 0..4 {
            let response = format!("HTTP/1.1 2{turn}{index} X\r\nContent-Length: 1\r\n\r\nx");
            let is_lost = lost_responses.contains(&(turn, index));
            talk = if is_lost { talk.lost(SERVER, response) } else { talk.server(response) };
        }
    }
    let outcome = talk.run();
    for record in &outcome.records {
        if let (Some(request), Some(response)) = (&record.request, &record.response) {
            assert_eq!(request.start.replace("GET /", "2"), response.start, "{:?}", outcome.lines());
        }
    }
    outcome
}

#[test]
fn a_turn_that_was_sent_before_all_was_answered_shows_by_one_response_too_many() {
    let turn = |from: usize| get(&format!("/{from}")) + &get(&format!("/{}", from + 1));
    for turns in [3, 4, 20] {
        let mut talk = Talk::default();
        for number in (0..turns).map(|turn| 2 * turn + 1) {
            talk = talk.client(turn(number)).server(numbered(number)).server(numbered(number + 1));
        }
        // The next two are sent when one of two is answered, and that answer is lost.
        let from = 2 * turns + 1;
        let mut talk = talk.client(turn(from)).lost(SERVER, numbered(from)).client(turn(from + 2));
        for number in from + 1..from + 4 {
            talk = talk.server(numbered(number));
            // The capture may end anywhere.
            assert_no_wrong_pair(&talk.run());
        }
        assert_no_wrong_pair(&talk.clone().client(turn(from + 4)).run());
        let outcome = talk.client(turn(from + 4)).server(numbered(from + 4)).server(numbered(from + 5)).run();
        assert_no_wrong_pair(&outcome);
    }
}

#[test]
fn nothing_is_counted_back_from_a_turn_that_was_sent_before_all_was_answered() {
    let turn = |from: usize| get(&format!("/{from}")) + &get(&format!("/{}", from + 1));
    for turns in [3, 4, 20] {
        let mut talk = Talk::default();
        for number in (0..turns).map(|turn| 2 * turn + 1) {
            talk = talk.client(turn(number)).server(numbered(number)).server(numbered(number + 1));
        }
        // The second request of a turn and the first answer are lost, behind which three are under way.
        let one = 2 * turns + 1;
        let talk = talk.client(get(&format!("/{one}"))).lost(CLIENT, get(&format!("/{}", one + 1)));
        let talk = talk.lost(SERVER, numbered(one)).client(get(&format!("/{}", one + 2))).server(numbered(one + 1));
        let mut talk = talk.client(turn(one + 3));
        for number in one + 2..one + 5 {
            talk = talk.server(numbered(number));
            assert_no_wrong_pair(&talk.run());
        }
        let outcome = talk.client(turn(one + 5)).server(numbered(one + 5)).server(numbered(one + 6)).run();
        assert_no_wrong_pair(&outcome);
        assert!(outcome.stats.paired >= 2 * turns as u64, "{:#?}", outcome.lines());
    }
}

#[test]
fn what_turns_out_to_be_a_body_answers_nothing() {
    // Of turns of two, with bodies that look like responses, so much is lost that nothing is sure when the body comes.
    for lost in [&[7_usize, 8][..], &[8, 9], &[6, 8, 11], &[7, 8, 11, 18]] {
        let mut talk = Talk::default();
        for number in (0..20).step_by(2) {
            talk = talk.client(get(&format!("/{number}")) + &get(&format!("/{}", number + 1)));
            for number in [number, number + 1] {
                let body = "HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n";
                let response = format!("HTTP/1.1 {} X\r\nContent-Length: {}\r\n\r\n{body}", 210 + number, body.len());
                talk = if lost.contains(&number) { talk.lost(SERVER, response) } else { talk.server(response) };
            }
        }
        for limit in [2, 3, 4, 256] {
            let outcome = talk.run_with(&Settings { max_pending: limit, ..Settings::default() });
            assert_no_wrong_pair(&outcome);
            assert!(outcome.stats.paired >= 6, "{:?}", outcome.lines());
        }
    }
}

#[test]
fn a_lost_response_costs_its_own_exchange_once_the_next_turn_has_come() {
    let one = turns_of_four(6, &[], &[(3, 1)]);
    assert_eq!(one.stats.paired, 23, "{:?}", one.lines());
    assert!(one.records.iter().all(|record| !record.has(Flag::UncertainPairing)));
    let neighbours = turns_of_four(6, &[], &[(3, 1), (3, 2)]);
    assert_eq!(neighbours.stats.paired, 22);
    // Before anything showed that this client sends in turns.
    assert_eq!(turns_of_four(6, &[], &[(0, 2)]).stats.paired, 23);
    assert_eq!(turns_of_four(6, &[], &[(0, 0), (1, 1), (1, 2)]).stats.paired, 21);
    // The first turn's size is what proves the others.
    assert_eq!(turns_of_four(6, &[(0, 0)], &[]).stats.paired, 0);
}

#[test]
fn between_two_losses_in_a_turn_nothing_tells_and_behind_them_the_next_turn_does() {
    // What stands between the two may answer the second request or the third.
    let two = turns_of_four(6, &[], &[(3, 0), (3, 2)]);
    assert_eq!(two.stats.paired, 21, "{:?}", two.lines());
    assert!(two.lines().contains(&"GET /33 -> 233".to_owned()));
    let unsure = two.records.iter().filter(|record| record.has(Flag::UncertainPairing)).map(Record::line);
    assert_eq!(unsure.collect::<Vec<_>>(), ["GET /30 -> -", "GET /31 -> -", "GET /32 -> -", "- -> 231"]);
}

#[test]
fn a_lost_request_ends_the_counting() {
    // Of the third turn, the second request: how many were lost there is not known.
    let outcome = turns_of_four(6, &[(3, 1)], &[(3, 0)]);
    for line in ["GET /32 -> 232", "GET /33 -> 233", "GET /40 -> 240", "GET /53 -> 253"] {
        assert!(outcome.lines().contains(&line.to_owned()), "{line} of {:?}", outcome.lines());
    }
    assert!(!outcome.lines().iter().any(|line| line.ends_with("-> 231") && !line.starts_with('-')));
}

#[test]
fn what_was_read_in_doubt_is_not_counted() {
    // The body of the second response is a response; whether its request was HEAD is not known when it comes.
    let mut talk = Talk::default();
    for turn in 0..6 {
        talk = talk.client((0..4).map(|index| get(&format!("/{turn}{index}"))).collect::<String>());
        for index in 0..4 {
            let response = if (turn, index) == (3, 2) {
                format!("HTTP/1.1 232 X\r\nContent-Length: {}\r\n\r\n{OK}", OK.len())
            } else {
                format!("HTTP/1.1 2{turn}{index} X\r\nContent-Length: 1\r\n\r\nx")
            };
            talk = if (turn, index) == (3, 1) { talk.lost(SERVER, response) } else { talk.server(response) };
        }
    }
    let outcome = talk.run();
    for line in outcome.lines().iter().filter(|line| line.starts_with("GET /3") && !line.ends_with('-')) {
        let (request, response) = line.split_once(" -> ").unwrap();
        assert_eq!(request.replace("GET /", "2"), response, "{:?}", outcome.lines());
    }
    assert!(outcome.lines().contains(&"GET /40 -> 240".to_owned()), "{:#?}", outcome.lines());
}

/// What a client sends when it had heard the server only up to `heard`.
fn having_heard(mut talk: Talk, heard: u64, request: &str) -> Talk {
    talk = talk.client(request);
    let Some(Op::Data(_, position, _)) = talk.ops.last_mut() else { panic!() };
    position.acked = Some(heard);
    talk
}

fn numbered(number: usize) -> String {
    format!("HTTP/1.1 {} X\r\nContent-Length: 2\r\n\r\nok", 210 + number)
}

/// No response is given to a request of another number.
fn assert_no_wrong_pair(outcome: &Outcome) {
    for line in outcome.lines() {
        let Some((target, status)) = line.strip_prefix("GET /").and_then(|line| line.split_once(" -> ")) else {
            continue;
        };
        let is_right = status == "-" || status.parse::<usize>().unwrap() == 210 + target.parse::<usize>().unwrap();
        assert!(is_right, "{:?}", outcome.lines());
    }
}

#[test]
fn a_request_sent_past_a_response_that_answers_none_shows_a_client_that_pipelines() {
    // Two under way, of which the second is lost. Both sides in their order, and the server's first.
    let mut talk = Talk::default().client(get("/1")).lost(CLIENT, get("/2")).server(numbered(1));
    let mut heard = talk.next[SERVER.index()];
    talk = talk.server(numbered(2));
    talk = having_heard(talk, heard, &get("/3"));
    for number in 3..12 {
        heard = talk.next[SERVER.index()];
        talk = having_heard(talk, heard, &get(&format!("/{}", number + 1)));
        talk = talk.server(numbered(number));
    }
    let outcome = talk.run();
    assert_no_wrong_pair(&outcome);
    assert!(outcome.lines().contains(&"GET /1 -> 211".to_owned()));
    talk.ops.sort_by_key(|op| matches!(op, Op::Data(CLIENT, ..) | Op::Gap(CLIENT, ..)));
    assert_no_wrong_pair(&talk.run());
}

#[test]
fn a_client_that_waited_is_looked_at_by_the_next_response_too() {
    // From the sixth request on two are under way; the sixth response and the seventh request are lost.
    let mut talk = Talk::default();
    for number in 1..6 {
        talk = talk.client(get(&format!("/{number}"))).server(numbered(number));
    }
    talk = talk.client(get("/6")).lost(SERVER, numbered(6)).lost(CLIENT, get("/7")).client(get("/8"));
    talk = talk.server(numbered(7));
    let offset = talk.next[CLIENT.index()];
    talk = talk.client(get("/9")).server(numbered(8));
    // It was sent before the ninth request was there.
    let Some(Op::Data(_, position, _)) = talk.ops.last_mut() else { panic!() };
    position.acked = Some(offset);
    assert_no_wrong_pair(&talk.run());
}

#[test]
fn requests_in_bytes_passed_over_are_not_the_only_ones_before_the_next() {
    // Four in one go, of which the first segment is lost; the second holds the lines of three.
    let four: String = (1..5).map(|number| get(&format!("/{number}"))).collect();
    let mut talk = Talk::default().lost(CLIENT, &four[..20]).client(&four[20..]).server(numbered(1));
    for number in 5..12 {
        talk = talk.client(get(&format!("/{number}"))).server(numbered(number - 3));
    }
    assert_no_wrong_pair(&talk.run());
    // The rest of a request, and the next in a segment of its own that acknowledges the same.
    let talk = Talk::default().client("est: of a head\r\n\r\n").client(get("/2")).server(numbered(1));
    assert_no_wrong_pair(&talk.run_mid_stream());
}

#[test]
fn a_status_line_in_a_body_whose_head_was_lost_answers_nothing() {
    for before in 0..5 {
        let mut talk = Talk::default();
        for number in 0..before {
            talk = talk.client(get(&format!("/{number}"))).server(numbered(number));
        }
        talk =
            talk.client(get("/77")).lost(SERVER, "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n").server(numbered(0));
        assert_no_wrong_pair(&talk.run());
    }
}

#[test]
fn a_shifted_chain_behind_a_loss_is_seen_where_it_breaks() {
    // Two under way; the second request is lost, and both responses come when the server has them: then each request is sent
    // when a response has come, as by a client that waits, until the server is quicker.
    for steps in 1..8 {
        let mut talk =
            Talk::default().client(get("/1")).lost(CLIENT, get("/2")).server(numbered(1)).server(numbered(2));
        talk = talk.lost(CLIENT, get("/3"));
        for number in 3..3 + steps {
            talk = talk.client(get(&format!("/{}", number + 1))).server(numbered(number));
        }
        let next = 3 + steps;
        talk =
            talk.server(numbered(next)).client(get(&format!("/{}", next + 1))).client(get(&format!("/{}", next + 2)));
        talk = talk.server(numbered(next + 1)).server(numbered(next + 2));
        let outcome = talk.run();
        assert_no_wrong_pair(&outcome);
        assert!(outcome.lines().contains(&"GET /1 -> 211".to_owned()), "{:?}", outcome.lines());
    }
}

#[test]
fn a_response_that_knows_of_more_than_its_request_shows_a_client_that_does_not_wait() {
    // Two are under way from the first moment on. The second request and the response to it are lost; whatever follows looks
    // like a client that waits, one off, but the first response was sent when more than the first request had come.
    let mut talk = Talk::default().client(get("/1")).lost(CLIENT, get("/2")).server(numbered(1));
    talk = talk.client(get("/3")).lost(SERVER, numbered(2));
    for number in 4..20 {
        talk = talk.client(get(&format!("/{number}"))).server(numbered(number - 1));
    }
    let outcome = talk.server(numbered(19)).end(CLIENT).end(SERVER).run();
    assert_no_wrong_pair(&outcome);
    assert_eq!(outcome.lines().first().map(String::as_str), Some("GET /1 -> 211"));
}

#[test]
fn a_client_that_waits_keeps_its_pairs_however_soon_the_capture_ends() {
    for behind in 1..12 {
        let mut talk =
            Talk::default().client(get("/1")).server(numbered(1)).lost(CLIENT, get("/2")).server(numbered(2));
        for number in 3..3 + behind {
            talk = talk.client(get(&format!("/{number}"))).server(numbered(number));
        }
        // The last one has nothing behind it that would tell.
        let outcome = talk.run();
        assert_no_wrong_pair(&outcome);
        assert!(outcome.stats.paired >= behind as u64, "{behind}: {:?}", outcome.lines());
    }
}

#[test]
fn a_slow_client_behind_a_loss_does_not_have_its_records_wait_for_eight_exchanges() {
    let second = 1_000_000_000;
    let mut talk = Talk::default().client(get("/1")).server(numbered(1)).lost(CLIENT, get("/2")).server(numbered(2));
    for number in 3..20 {
        talk = talk.client(get(&format!("/{number}"))).server(numbered(number));
    }
    // Of how many requests the records are out when the one of this number comes.
    let waiting = |pause: u64| {
        let (mut cx, mut sink) = (Context::new(Settings::default()), support::Recorder::default());
        let mut connection = Connection::new(Some(CLIENT));
        let (mut number, mut most) = (0, 0);
        for op in &talk.ops {
            match op {
                Op::Data(side, position, bytes) => {
                    number += usize::from(*side == CLIENT);
                    let at = position.at + number as u64 * pause;
                    connection.data(*side, Position { at, ..*position }, bytes, &mut cx, &mut sink);
                }
                Op::Gap(side, position, len) => {
                    number += usize::from(*side == CLIENT);
                    connection.gap(*side, *position, *len, &mut cx, &mut sink);
                }
                _ => unreachable!(),
            }
            most = most.max(number - sink.records.len().min(number));
        }
        connection.close(u64::MAX, 0, &mut cx, &mut sink);
        assert_eq!(sink.records.len(), 19);
        most
    };
    assert_eq!(waiting(0), 9);
    assert_eq!(waiting(second), 9);
    assert_eq!(waiting(6 * second), 3);
    assert_eq!(waiting(60 * second), 3);
}

#[test]
fn a_client_that_waited_may_have_sent_the_two_requests_that_a_hole_has_room_for_at_once() {
    let mut waited = Talk::default();
    for number in 1..5 {
        waited = waited.client(get(&format!("/{number}"))).server(numbered(number));
    }
    for exchanges in 1..7 {
        // Two under way from here on, of which both are lost with the first answer; then the capture ends.
        let mut talk = waited.clone().lost(CLIENT, get("/5").repeat(2)).lost(SERVER, numbered(5));
        for number in 7..7 + exchanges {
            talk = talk.client(get(&format!("/{number}"))).server(numbered(number - 1));
        }
        let outcome = talk.run();
        assert_eq!(outcome.stats.paired, 4, "{:?}", outcome.lines());
        assert_no_wrong_pair(&outcome);
        // One that waits is known by what it had heard, or by the room that there was.
        for lost in [&[5, 6][..], &[5]] {
            let mut talk = waited.clone();
            for number in lost {
                talk = talk.lost(CLIENT, get(&format!("/{number}"))).lost(SERVER, numbered(*number));
            }
            for number in 7..7 + exchanges {
                talk = talk.client(get(&format!("/{number}"))).server(numbered(number));
            }
            assert_eq!(talk.run().stats.paired, 4 + exchanges as u64, "{:?}", talk.run().lines());
        }
    }
}

#[test]
fn a_slow_client_that_may_have_begun_with_two_requests_is_looked_at_as_long_as_any() {
    for number in 5..8 {
        for idle in [0, 11_000_000_000] {
            // One request for each response, of which the next is late; in the end all that is left over is answered.
            let mut talk =
                Talk::default().lost(CLIENT, get("/1").repeat(2)).lost(SERVER, numbered(1)).client(get("/3"));
            for number in 2..number {
                talk = talk.server(numbered(number)).client(get(&format!("/{}", number + 2)));
            }
            talk.at += idle;
            let talk = talk.server(numbered(number)).server(numbered(number + 1));
            assert_no_wrong_pair(&talk.end(CLIENT).end(SERVER).run());
        }
    }
}

#[test]
fn a_connection_that_begins_with_a_hole_for_two_requests_may_have_begun_with_two() {
    // Then something is lost again, before the shift shows.
    let shifted = |lost: &str| {
        let mut talk = Talk::default().lost(CLIENT, lost).server(numbered(1));
        for number in 3..6 {
            talk = talk.client(get(&format!("/{number}"))).server(numbered(number - 1));
        }
        talk.lost(CLIENT, get("/6")).lost(SERVER, numbered(5)).client(get("/7")).run()
    };
    assert_no_wrong_pair(&shifted(&get("/1").repeat(2)));
    // Where there was room for one only, there was one.
    assert!(shifted(&get("/1")).stats.paired >= 3);
}

#[test]
fn a_body_of_a_response_to_head_shows_that_it_answers_another() {
    let head = |number: usize| format!("HEAD /{number} HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut talk = Talk::default().client(get("/1")).server(numbered(1)).lost(CLIENT, get("/2").repeat(2));
    talk = talk.server(numbered(2)).client(get("/4")).server(numbered(3)).client(head(5)).server(numbered(4));
    talk = talk.lost(SERVER, numbered(5)).client(get("/6")).server(numbered(6));
    assert_no_wrong_pair(&talk.run());
}

#[test]
fn a_client_that_heard_too_little_for_two_answers_did_not_wait_for_both() {
    // From the sixth request on two are under way. The seventh is lost and so is the sixth response, the only one heard in between.
    let mut talk = Talk::default();
    for number in 1..6 {
        talk = talk.client(get(&format!("/{number}"))).server(numbered(number));
    }
    talk = talk.client(get("/6")).lost(CLIENT, get("/7")).lost(SERVER, numbered(6));
    talk = talk.client(get("/8")).server(numbered(7));
    assert_no_wrong_pair(&talk.run());
    // One that waits has heard two.
    let mut waits = Talk::default();
    for number in 1..6 {
        waits = waits.client(get(&format!("/{number}"))).server(numbered(number));
    }
    waits = waits.client(get("/6")).lost(SERVER, numbered(6)).lost(CLIENT, get("/7")).lost(SERVER, numbered(7));
    waits = waits.client(get("/8")).server(numbered(8));
    assert!(waits.run().lines().contains(&"GET /8 -> 218".to_owned()), "{:?}", waits.run().lines());
}

#[test]
fn two_bursts_of_one_size_are_no_turns() {
    // Three, three, and then five of which three are seen, the last in part.
    let burst = |from: usize, to: usize| (from..=to).map(|number| get(&format!("/{number}"))).collect::<String>();
    let answers = |mut talk: Talk, from: usize, to: usize| {
        for number in from..=to {
            talk = talk.server(numbered(number));
        }
        talk
    };
    let mut talk = answers(Talk::default().client(burst(1, 3)), 1, 3);
    talk = answers(talk.client(burst(4, 6)), 4, 6);
    let five = burst(7, 11);
    let seen = burst(7, 9).len() - 4;
    talk = talk.client(&five[..seen]).lost(CLIENT, &five[seen..]);
    talk = answers(talk, 7, 9);
    talk = answers(talk.client(burst(12, 14)), 10, 14);
    assert_no_wrong_pair(&talk.run());
}

#[test]
fn an_answer_lost_at_the_end_with_no_request_to_it_shows_a_shift() {
    let talk = Talk::default().client(get("/2")).server(numbered(1)).lost(SERVER, numbered(2));
    assert_no_wrong_pair(&talk.run_mid_stream());
    let two = Talk::default().client(get("/2")).server(numbered(1)).client(get("/3")).server(numbered(2));
    assert_no_wrong_pair(&two.lost(SERVER, numbered(3)).run_mid_stream());
    let whole = Talk::default().client(get("/2")).server(numbered(2)).client(get("/3")).server(numbered(3));
    assert_eq!(whole.run_mid_stream().lines(), ["GET /2 -> 212", "GET /3 -> 213"]);
}

#[test]
fn a_request_to_switch_is_found_behind_the_frames_that_overtake_it() {
    let asks = "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let answers = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let (by_client, by_server) = ("\u{81}\u{5}hello", "P\u{5}hello");
    for late in 1..5 {
        let mut talk = Talk::default().client(asks).server(answers);
        for _ in 0..3 {
            talk = talk.client(by_client).server(by_server);
        }
        // Reassembly knows later where a joined connection's client begins than where its server does.
        let is_late = |op: &Op| matches!(op, Op::Data(CLIENT, ..));
        let (client, server): (Vec<_>, Vec<_>) = talk.ops.iter().cloned().partition(is_late);
        let (first, rest) = server.split_at(late);
        talk.ops = [first, &client, rest].concat();
        for outcome in [talk.run(), talk.run_mid_stream()] {
            assert_eq!(outcome.lines(), ["GET /ws -> 101"], "{late}");
            assert!(outcome.records[0].has(Flag::Upgraded));
            assert_eq!(outcome.protocols(), [Protocol::Upgraded], "{late}");
            let others = 3 * (by_client.len() + by_server.len());
            assert_eq!(outcome.stats.not_http_bytes[Protocol::Upgraded as usize], others as u64, "{late}");
        }
    }
    // Of a client that is not mirrored nothing comes, and it is not waited for without end.
    let mut alone = Talk::default().server(answers);
    for _ in 0..2000 {
        alone = alone.server(by_server.repeat(100));
    }
    for outcome in [alone.run(), alone.run_mid_stream()] {
        assert_eq!(outcome.lines(), ["- -> 101"]);
        assert_eq!(outcome.wants.last(), Some(&Want::Nothing));
    }
}

/// What was sent before the capture may be answered first: a switch says nothing of the requests that it does not answer.
#[test]
fn a_switch_does_not_vouch_for_the_request_before_it() {
    let asks = "GET /1 HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let answers = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let (by_client, by_server) = ("\u{81}\u{5}hello", "P\u{5}hello");
    for (frames, late) in [0, 3].into_iter().flat_map(|frames| [0, 1, 2].map(|late| (frames, late))) {
        let mut talk = Talk::default().client(asks).server(numbered(0)).server(answers);
        for _ in 0..frames {
            talk = talk.client(by_client).server(by_server);
        }
        talk.ops[..=late].rotate_left(1);
        let outcome = talk.run_mid_stream();
        assert!(!outcome.lines().contains(&"GET /1 -> 210".to_owned()), "{frames} {late}: {:?}", outcome.lines());
        assert_eq!(outcome.stats.messages, 3, "{frames} {late}");
        assert!(outcome.records.iter().all(|record| record.has(Flag::UncertainPairing)), "{:?}", outcome.records);
    }
}

/// The same behind a loss, where the switch was held back until then.
#[test]
fn a_switch_that_was_held_back_does_not_vouch_for_the_request_behind_a_hole() {
    let asks = "GET /5 HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let answers = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let nested = "HTTP/1.1 299 Nested\r\n\r\n";
    let second = format!("HTTP/1.1 212 OK\r\nContent-Length: {}\r\n\r\n{nested}", nested.len());
    let (begun, rest) = ("POST /2 HTTP/1.1\r\nHost: h\r\n", "Content-Length: 3\r\n\r\nabc");
    let hole = [rest, &get("/3"), &get("/4")].concat();
    let mut talk = Talk::default().client(get("/1")).server(numbered(1)).client(begun).lost(CLIENT, hole).client(asks);
    let behind = talk.ops.split_off(talk.ops.len() - 2);
    let mut talk = talk.server(second).server(numbered(3)).server(numbered(4)).server(answers);
    talk.ops.extend(behind);
    for outcome in [talk.run(), talk.run_mid_stream()] {
        for wrong in ["GET /5 -> 213", "GET /5 -> 214", "GET /5 -> 212"] {
            assert!(!outcome.lines().contains(&wrong.to_owned()), "{:?}", outcome.lines());
        }
        assert!(outcome.stats.is_balanced());
    }
}
