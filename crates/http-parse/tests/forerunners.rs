//! More responses captured ahead of their requests than may wait: those given up take their requests with them, all others
//! are paired, and nothing is paired wrongly.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod support;

use std::collections::VecDeque;

use http_parse::{Flag, Settings};
use support::bursts::{GET, Way, paired, request, response, settings};
use support::dialogue::{Dice, side_of};
use support::mirror::{Wrong, captured};
use support::{CLIENT, Op, SERVER, Talk, run};

fn talk(way: Way, dice: &mut Dice) -> Vec<Op> {
    let mut talk = Talk::default();
    let (mut number, mut under_way) = (0, VecDeque::new());
    while number < way.exchanges || !under_way.is_empty() {
        let mut texts = String::new();
        while number < way.exchanges
            && under_way.len() < way.window
            && (!way.in_turns || under_way.is_empty() || !texts.is_empty())
        {
            let asks = if dice.chance(way.heads) { dice.roll(3) } else { GET };
            under_way.push_back((number, asks));
            let text = request(number, asks);
            number += 1;
            if way.joined || way.in_turns {
                texts += &text;
            } else {
                talk = talk.client(text);
            }
        }
        if !texts.is_empty() {
            talk = talk.client(texts);
        }
        let mut answers = String::new();
        while let Some((number, asks)) = under_way.pop_front() {
            answers += &response(number, asks, way.nested);
            if !(way.joined && way.in_turns) {
                break;
            }
        }
        talk = talk.server(answers);
    }
    talk.ops
}

fn way(seed: u64) -> (Way, Dice) {
    let mut dice = Dice(seed * 91 + 3);
    let limit = [1, 2, 3, 8, 40][dice.roll(5) as usize];
    let window = [1, 2, limit, limit + 1 + dice.roll(2 * limit as u64 + 4) as usize][dice.roll(4) as usize];
    let exchanges = 2 * limit + window + dice.roll(40) as usize;
    let (heads, in_turns, joined) = ([0, 10, 50][dice.roll(3) as usize], dice.chance(50), dice.chance(30));
    (Way { window, in_turns, exchanges, heads, limit, joined, nested: dice.chance(20) }, dice)
}

/// The client's segments come `by` segments of the server later than they were sent, but the first `before`.
fn late(ops: &[Op], before: usize, by: usize) -> Vec<Op> {
    let (mut captured, mut waiting) = (Vec::new(), VecDeque::new());
    let mut server = 0;
    for (index, op) in ops.iter().enumerate() {
        if side_of(op) == CLIENT && index >= before {
            waiting.push_back((server, op.clone()));
            continue;
        }
        server += usize::from(side_of(op) == SERVER);
        captured.push(op.clone());
        while waiting.front().is_some_and(|(at, _)| server >= at + by) {
            captured.extend(waiting.pop_front().map(|(_, op)| op));
        }
    }
    captured.extend(waiting.into_iter().map(|(_, op)| op));
    captured
}

#[test]
fn a_server_that_is_captured_first_loses_only_the_oldest() {
    for seed in 0..400 {
        let (way, mut dice) = way(seed);
        let way = Way { nested: false, ..way };
        let ops = late(&talk(way, &mut dice), 0, usize::MAX / 2);
        let outcome = run(Some(CLIENT), &ops, &settings(way));
        let mut wrong = Wrong::default();
        wrong.look(&way, &ops, &outcome);
        wrong.assert_none();
        // A response that answers HEAD may be told from a body only with the next one.
        let expected: Vec<_> = (way.exchanges - way.limit..way.exchanges).collect();
        if way.heads == 0 {
            assert_eq!(paired(&outcome), expected, "{way:?} {:#?}", outcome.lines());
            assert_eq!(outcome.records.len(), 2 * way.exchanges - expected.len());
            assert!(outcome.records.iter().all(|record| !record.has(Flag::UncertainPairing)));
        }
    }
}

#[test]
fn nothing_is_paired_wrongly_however_late_the_client_is_captured() {
    let mut wrong = Wrong::default();
    let (mut pairs, mut exchanges) = (0, 0);
    for seed in 0..3000 {
        let (way, mut dice) = way(seed);
        let ops = talk(way, &mut dice);
        let before = dice.roll(ops.len() as u64) as usize;
        let mut ops = late(&ops, before, dice.roll(2 * way.exchanges as u64) as usize);
        if dice.chance(30) {
            let index = dice.roll(ops.len() as u64 - 1) as usize;
            if side_of(&ops[index]) != side_of(&ops[index + 1]) {
                ops.swap(index, index + 1);
            }
        }
        let outcome = run(Some(CLIENT), &ops, &settings(way));
        wrong.look(&way, &ops, &outcome);
        pairs += paired(&outcome).len();
        exchanges += way.exchanges;
    }
    wrong.assert_none();
    assert!(pairs * 3 > exchanges, "{pairs} pairs of {exchanges}");
}

#[test]
fn nothing_is_paired_wrongly_where_some_of_it_is_lost_besides() {
    let mut wrong = Wrong::default();
    for seed in 0..3000 {
        let (mut way, mut dice) = way(seed);
        if !way.in_turns {
            // Behind a loss, one that sends a request for each response may look like one that waits.
            way.window = 1;
        }
        let ops = talk(way, &mut dice);
        let ops = late(&ops, dice.roll(6) as usize, dice.roll(2 * way.exchanges as u64) as usize);
        let per_mille = [3, 10, 50, 200][dice.roll(4) as usize];
        let lost: Vec<_> = ops.iter().map(|_| dice.roll(1000) < per_mille).collect();
        let ops = captured(ops.iter().zip(lost), dice.chance(50));
        let outcome = run(Some(CLIENT), &ops, &settings(way));
        wrong.look(&way, &ops, &outcome);
    }
    wrong.assert_none();
}

#[test]
fn one_segment_of_responses_before_the_requests_shifts_nothing() {
    let way = Way { window: 12, in_turns: true, exchanges: 36, heads: 0, limit: 8, joined: true, nested: false };
    let mut ops = talk(way, &mut Dice(1));
    ops.swap(2, 3);
    let outcome = run(Some(CLIENT), &ops, &settings(way));
    let mut wrong = Wrong::default();
    wrong.look(&way, &ops, &outcome);
    wrong.assert_none();
    let (left, numbers) = (way.window - way.limit, paired(&outcome));
    // Of the first and the third turn the newest requests find no room, of the second the oldest responses.
    let expected: Vec<_> = (0..8).chain(12 + left..24).chain(24..32).collect();
    assert_eq!(numbers, expected, "{:#?}", outcome.lines());
}

#[test]
fn a_request_whose_answer_was_given_up_while_it_was_read_is_not_paired_with_the_next() {
    let settings = Settings { max_pending: 2, ..Settings::default() };
    let posted = "POST /0 HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\n";
    let mut ahead = Talk::default().client(posted).client("12345678");
    for number in 1..6 {
        ahead = ahead.client(request(number, GET));
    }
    for number in 0..6 {
        ahead = ahead.server(response(number, GET, false));
    }
    // The body comes behind everything the server said.
    let ops = late(&ahead.ops, 1, usize::MAX / 2);
    let outcome = run(Some(CLIENT), &ops, &settings);
    let mut wrong = Wrong::default();
    wrong.look(&"late body", &ops, &outcome);
    wrong.assert_none();
    assert_eq!(paired(&outcome), [4, 5], "{:#?}", outcome.lines());
}

#[test]
fn a_response_of_the_servers_own_accord_takes_no_request_with_it() {
    let settings = Settings { max_pending: 1, ..Settings::default() };
    let mut talk = Talk::default().client(request(0, GET)).server(response(0, GET, false));
    talk = talk.server("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
    for number in 1..4 {
        talk = talk.client(request(number, GET)).server(response(number, GET, false));
    }
    let outcome = run(Some(CLIENT), &late(&talk.ops, 1, usize::MAX / 2), &settings);
    assert_eq!(paired(&outcome), [0, 3], "{:#?}", outcome.lines());
    assert_eq!(outcome.stats.unanswered, 2);
}

#[test]
fn more_than_are_remembered_leave_nothing_wrong_behind() {
    for limit in [1, 8] {
        let way = Way { window: 6000, in_turns: true, exchanges: 6000, heads: 0, limit, joined: false, nested: false };
        let ops = late(&talk(way, &mut Dice(1)), 0, usize::MAX / 2);
        let outcome = run(Some(CLIENT), &ops, &settings(way));
        let mut wrong = Wrong::default();
        wrong.look(&way, &ops, &outcome);
        wrong.assert_none();
        assert_eq!(outcome.stats.messages, 12_000);
    }
}

#[test]
fn a_tunnel_is_seen_where_its_answer_was_given_up() {
    let settings = Settings { max_pending: 1, ..Settings::default() };
    let talk = Talk::default()
        .client(request(0, GET))
        .client("CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n")
        .server(response(0, GET, false))
        .server("HTTP/1.1 204 No Content\r\n\r\n");
    let mut ops = late(&talk.ops, 0, usize::MAX / 2);
    let more = Talk { ops: Vec::new(), ..talk }.client("\0\x01\x02\x03");
    ops.extend(more.ops);
    let outcome = run(Some(CLIENT), &ops, &settings);
    assert_eq!(outcome.protocols(), [http_parse::Protocol::Tunnel], "{:#?}", outcome.lines());
}
