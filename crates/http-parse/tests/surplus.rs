//! More requests under way than may wait: those beyond are given up, all others find their responses, and nothing else does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod support;

use std::collections::VecDeque;

use http_parse::{Flag, Settings};
use support::bursts::{GET, HEAD, Way, paired, request, response, settings};
use support::dialogue::Dice;
use support::mirror::{Wrong, captured, is_wrong};
use support::{CLIENT, Op, SERVER, Talk, run};

fn asks(is_head: bool) -> u64 {
    if is_head { HEAD } else { GET }
}

/// What was said, and which requests found room.
fn talk(way: Way, dice: &mut Dice) -> (Vec<Op>, Vec<bool>) {
    let mut talk = Talk::default();
    let mut kept = Vec::new();
    let (mut under_way, mut waiting) = (VecDeque::new(), 0);
    while kept.len() < way.exchanges || !under_way.is_empty() {
        let may_ask = if way.in_turns { under_way.is_empty() } else { under_way.len() < way.window };
        if may_ask {
            let mut texts = String::new();
            for _ in under_way.len()..way.window.min(way.exchanges - kept.len() + under_way.len()) {
                let is_head = dice.chance(way.heads);
                let has_room = waiting < way.limit;
                waiting += usize::from(has_room);
                under_way.push_back((kept.len(), is_head, has_room));
                let text = request(kept.len(), asks(is_head));
                kept.push(has_room);
                if way.joined {
                    texts += &text;
                } else {
                    talk = talk.client(text);
                }
            }
            if !texts.is_empty() {
                talk = talk.client(texts);
            }
        }
        let (number, is_head, has_room) = under_way.pop_front().unwrap();
        waiting -= usize::from(has_room);
        talk = talk.server(response(number, asks(is_head), way.nested));
    }
    (talk.ops, kept)
}

fn way(seed: u64) -> (Way, Dice) {
    let mut dice = Dice(seed * 77 + 5);
    let limit = [1, 2, 3, 8, 40][dice.roll(5) as usize];
    let window = limit + dice.roll(2 * limit as u64 + 4) as usize;
    let exchanges = 3 * window + dice.roll(40) as usize;
    let (heads, in_turns, joined) = ([0, 10, 50][dice.roll(3) as usize], dice.chance(50), dice.chance(30));
    (Way { window, in_turns, exchanges, heads, limit, joined, nested: true }, dice)
}

#[test]
fn who_keeps_too_many_requests_under_way_loses_only_those() {
    for seed in 0..400 {
        let (way, mut dice) = way(seed);
        let (ops, kept) = talk(way, &mut dice);
        let outcome = run(Some(CLIENT), &ops, &settings(way));
        let mut wrong = Wrong::default();
        wrong.look(&way, &ops, &outcome);
        wrong.assert_none();
        let mut paired = paired(&outcome);
        paired.sort_unstable();
        let expected: Vec<_> = (0..way.exchanges).filter(|index| kept[*index]).collect();
        assert_eq!(paired, expected, "{way:?} {:#?}", outcome.lines());
        assert_eq!(outcome.records.len(), 2 * way.exchanges - expected.len());
        assert!(outcome.records.iter().all(|record| !record.has(Flag::UncertainPairing)));
    }
}

#[test]
fn nothing_is_paired_wrongly_where_some_of_it_is_lost() {
    let mut wrong = Wrong::default();
    for seed in 0..1000 {
        let (way, mut dice) = way(seed);
        let (ops, _) = talk(way, &mut dice);
        let per_mille = [3, 10, 50, 200][dice.roll(4) as usize];
        let lost: Vec<_> = ops.iter().map(|_| dice.roll(1000) < per_mille).collect();
        let ops = captured(ops.iter().zip(lost), dice.chance(50));
        let outcome = run(Some(CLIENT), &ops, &settings(way));
        wrong.look(&way, &ops, &outcome);
    }
    wrong.assert_none();
}

#[test]
fn a_tunnel_is_seen_where_its_request_was_given_up() {
    let settings = Settings { max_pending: 2, ..Settings::default() };
    let mut talk = Talk::default();
    for number in 0..3 {
        talk = talk.client(request(number, GET));
    }
    talk = talk.client("CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n");
    for number in 0..3 {
        talk = talk.server(response(number, GET, true));
    }
    let outcome = talk.server("HTTP/1.1 200 OK\r\n\r\n").segment(SERVER, "\0\x01\x02\x03").run_with(&settings);
    assert_eq!(outcome.stats.paired, 2, "{:#?}", outcome.lines());
    assert_eq!(outcome.protocols(), [http_parse::Protocol::Tunnel]);
}

#[test]
fn a_burst_of_mixed_methods_loses_only_what_finds_no_room() {
    let (limit, exchanges) = (256, 3000);
    let settings = Settings { max_pending: limit, ..Settings::default() };
    let mut talk = Talk::default();
    for number in 0..exchanges {
        talk = talk.client(request(number, asks(number % 3 == 0)));
    }
    for number in 0..exchanges {
        talk = talk.server(response(number, asks(number % 3 == 0), true));
    }
    for number in exchanges..exchanges + 10 {
        talk =
            talk.client(request(number, asks(number % 3 == 0))).server(response(number, asks(number % 3 == 0), true));
    }
    let outcome = talk.run_with(&settings);
    assert_eq!(outcome.stats.paired as usize, limit + 10);
    assert_eq!(outcome.stats.orphans as usize, exchanges - limit);
    assert!(outcome.records.iter().all(|record| !is_wrong(record) && !record.has(Flag::UncertainPairing)));
}
