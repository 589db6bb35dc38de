//! Small worlds, every one of them: each order in which a client that keeps a few requests under way and its server may
//! come to hear each other at the beginning of a connection, with each one to three of the first messages lost.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod support;

use std::collections::HashSet;

use http_parse::{Position, Settings};
use support::mirror::{Wrong, captured, is_wrong};
use support::{CLIENT, Op, SERVER, STARTS, run};

/// What a world is made of.
#[derive(Clone, Copy, Debug)]
struct World {
    /// Requests that the client keeps under way.
    window: usize,
    /// The client may let a response pass before its next request.
    lazy: bool,
    /// Exchanges of which every order of events is tried.
    free: usize,
    /// Exchanges in all: those behind the free ones go on in one way.
    exchanges: usize,
    /// Behind the free ones the server answers when everything has arrived; else as soon as it can.
    slow: bool,
    /// What makes messages of different lengths: a factor of their filling.
    filling: usize,
}

/// A message on the wire: who sent it, what its sender had heard, and which one it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Sent {
    side: usize,
    heard: usize,
    number: usize,
}

/// Takes every way through a tree of choices, one after the other.
#[derive(Debug, Default)]
struct Ways {
    path: Vec<(usize, usize)>,
    at: usize,
}

impl Ways {
    fn choose(&mut self, of: usize) -> usize {
        if self.at == self.path.len() {
            self.path.push((0, of));
        }
        self.at += 1;
        self.path[self.at - 1].0
    }

    /// Goes on to the next way; false: there is none.
    fn advance(&mut self) -> bool {
        self.at = 0;
        while let Some((chosen, of)) = self.path.pop() {
            if chosen + 1 < of {
                self.path.push((chosen + 1, of));
                return true;
            }
        }
        false
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// A request arrives.
    Arrives,
    /// The server answers the next one.
    Answers,
    /// A response is heard.
    Heard,
    /// The client sends its next request.
    Asks,
}

/// One conversation: the messages in the order in which they were sent.
fn talk(world: World, ways: &mut Ways) -> Vec<Sent> {
    let mut sent = Vec::new();
    let (mut asked, mut arrived, mut answered, mut heard) = (0, 0, 0, 0);
    while heard < world.exchanges {
        let may_ask = asked < world.exchanges && asked - heard < world.window;
        let events = [
            (Event::Asks, may_ask),
            (Event::Arrives, arrived < asked),
            (Event::Answers, answered < arrived),
            (Event::Heard, heard < answered),
        ];
        let mut enabled: Vec<Event> = events.into_iter().filter(|(_, may)| *may).map(|(event, _)| event).collect();
        let event = if answered < world.free {
            if may_ask && (!world.lazy || asked == heard) { Event::Asks } else { enabled[ways.choose(enabled.len())] }
        } else {
            // The first that is enabled of: what the client does, what the line does, what the server does.
            let order = if world.slow {
                [Event::Heard, Event::Asks, Event::Arrives, Event::Answers]
            } else {
                [Event::Answers, Event::Arrives, Event::Heard, Event::Asks]
            };
            enabled.sort_by_key(|event| order.iter().position(|other| other == event));
            enabled[0]
        };
        match event {
            Event::Asks => {
                sent.push(Sent { side: 0, heard, number: asked });
                asked += 1;
            }
            Event::Arrives => arrived += 1,
            Event::Answers => {
                sent.push(Sent { side: 1, heard: arrived, number: answered });
                answered += 1;
            }
            Event::Heard => heard += 1,
        }
    }
    sent
}

/// The same in segments.
fn segments(world: World, sent: &[Sent]) -> Vec<Op> {
    let mut ends = [vec![STARTS[0]], vec![STARTS[1]]];
    let texts: Vec<String> = sent.iter().map(|sent| text(world, sent)).collect();
    for (sent, text) in sent.iter().zip(&texts) {
        let end = ends[sent.side].last().unwrap() + text.len() as u64;
        ends[sent.side].push(end);
    }
    let op = |(index, (sent, text)): (usize, (&Sent, &String))| {
        let side = if sent.side == 0 { CLIENT } else { SERVER };
        let offset = ends[sent.side][sent.number];
        let position = Position { at: 1_000 + 10 * index as u64, offset, acked: Some(ends[1 - sent.side][sent.heard]) };
        Op::Data(side, position, text.clone().into_bytes())
    };
    sent.iter().zip(&texts).enumerate().map(op).collect()
}

fn text(world: World, sent: &Sent) -> String {
    let number = sent.number;
    let filling = "f".repeat(world.filling * (number * 7 % 5));
    if sent.side == 0 {
        format!("GET /{number:02} HTTP/1.1\r\nHost: h\r\nX-Fill: {filling}\r\n\r\n")
    } else {
        let body = "b".repeat(world.filling * (number * 3 % 4));
        format!("HTTP/1.1 200 OK\r\nX-Target: /{number:02}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    }
}

/// What became of a world.
#[derive(Debug, Default)]
struct Total {
    captures: usize,
    untouched: usize,
    recalled: usize,
    wrong: Wrong,
    /// The same where nothing seen tells it from a client that waits.
    like_one: Wrong,
}

fn explore(world: World, among: usize, losses: usize, handshake: bool, total: &mut Total) {
    let mut ways = Ways::default();
    let mut known = HashSet::new();
    loop {
        let sent = talk(world, &mut ways);
        if known.insert(sent.clone()) {
            let ops = segments(world, &sent);
            for lost in subsets(among.min(ops.len()), losses) {
                for closes in [false, true] {
                    judge(world, &sent, &ops, lost, handshake, closes, total);
                }
            }
        }
        if !ways.advance() {
            return;
        }
    }
}

/// Sets of one to `most` of the first `among`, as bits.
fn subsets(among: usize, most: usize) -> impl Iterator<Item = u32> {
    (1..1u32 << among).filter(move |set| set.count_ones() as usize <= most)
}

fn judge(world: World, sent: &[Sent], ops: &[Op], lost: u32, handshake: bool, closes: bool, total: &mut Total) {
    let is_lost = |index: usize| index < 32 && lost & (1 << index) != 0;
    let captured = captured(ops.iter().enumerate().map(|(index, op)| (op, is_lost(index))), closes);
    let outcome = run(handshake.then_some(CLIENT), &captured, &Settings::default());
    let mut touched = vec![false; world.exchanges];
    for (_, sent) in sent.iter().enumerate().filter(|(index, _)| is_lost(*index)) {
        touched[sent.number] = true;
    }
    total.captures += 1;
    total.untouched += touched.iter().filter(|touched| !**touched).count();
    total.recalled += outcome
        .records
        .iter()
        .filter(|record| record.response.is_some() && record.request.is_some() && !is_wrong(record))
        .count();
    let wrong = if is_like_one(sent, lost) { &mut total.like_one } else { &mut total.wrong };
    wrong.look(&(world, format!("{lost:b}"), handshake, closes), &captured, &outcome);
}

/// Whether two requests were lost right behind each other: the hole might as well be a longer one, and what follows be of
/// a client that waits.
fn is_like_one(sent: &[Sent], lost: u32) -> bool {
    let lost = |(index, sent): &(usize, &Sent)| sent.side == 0 && *index < 32 && lost & (1 << index) != 0;
    let lost: Vec<usize> = sent.iter().enumerate().filter(lost).map(|(_, sent)| sent.number).collect();
    lost.windows(2).any(|two| two[0] + 1 == two[1])
}

#[test]
fn no_order_of_events_and_no_two_losses_give_a_wrong_pair() {
    for (window, lazy, slow) in [(2, false, true), (2, false, false), (2, true, true), (3, false, true)] {
        let world = World { window, lazy, free: 3, exchanges: 14, slow, filling: 0 };
        let mut total = Total::default();
        explore(world, 10, 2, true, &mut total);
        assert!(total.captures > 1900, "{world:?}");
        total.wrong.assert_none();
        assert!(total.like_one.count * 200 <= total.captures, "{world:?}: {}", total.like_one.count);
    }
}

#[test]
fn a_client_that_waits_loses_nothing_but_what_was_lost() {
    for handshake in [true, false] {
        let world = World { window: 1, lazy: false, free: 3, exchanges: 14, slow: true, filling: 9 };
        let mut total = Total::default();
        explore(world, 12, 3, handshake, &mut total);
        total.wrong.assert_none();
        // Hardly one is given up for what was lost around it.
        assert!(total.recalled * 1000 >= total.untouched * 996, "{} of {}", total.recalled, total.untouched);
    }
}

#[test]
#[ignore = "prints figures"]
#[expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a person asks and reads")]
fn figures() {
    let story = std::env::var("STORY").is_ok();
    let number = |name: &str, other: usize| std::env::var(name).map_or(other, |value| value.parse().unwrap());
    let (free, exchanges, losses, among) =
        (number("FREE", 3), number("EXCHANGES", 16), number("LOSSES", 2), number("AMONG", 10));
    let mut wrongs = 0;
    let either = [true, false];
    let worlds =
        (1..=3).flat_map(|window| either.map(|lazy| (window, lazy))).filter(|(window, lazy)| *window > 1 || !lazy);
    let worlds =
        worlds.flat_map(|kind| either.map(|slow| (kind, slow))).flat_map(|kind| [0, 9].map(|filling| (kind, filling)));
    for ((((window, lazy), slow), filling), handshake) in
        worlds.flat_map(|kind| either.map(|handshake| (kind, handshake)))
    {
        let world = World { window, lazy, free, exchanges, slow, filling };
        let mut total = Total::default();
        explore(world, among, losses, handshake, &mut total);
        let (wrong, recall) =
            (total.wrong.count + total.like_one.count, 100.0 * total.recalled as f64 / total.untouched as f64);
        println!(
            "handshake {handshake} {world:?}: {} captures, {wrong} wrong, {} of them like one, recall {recall:.2} %",
            total.captures, total.like_one.count
        );
        wrongs += wrong;
        if story && let Some(wrong) = total.wrong.shortest.or(total.like_one.shortest) {
            println!("{wrong}");
        }
    }
    println!("wrong in all: {wrongs}");
}
