//! Clients that pipeline in every way, connections too short to show it, and captures that end anywhere: what is lost may
//! leave messages alone, and never joins two that do not belong together.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod support;

use http_parse::{Position, Settings, Side};
use support::dialogue::Dice;
use support::mirror::{Wrong, captured};
use support::{CLIENT, Op, SERVER, STARTS, run};

/// When a client sends its next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    /// When everything was answered, so many at once.
    Turns(usize),
    /// Whenever fewer than so many are unanswered.
    Window(usize),
    /// When everything was answered, one to so many at once.
    Bursts(usize),
}

/// A client's work.
#[derive(Clone, Copy, Debug)]
struct Work {
    client: Client,
    exchanges: usize,
    /// Percent of the messages that are cut into two segments.
    cut: u64,
    /// The connection is closed in order at the end.
    closes: bool,
}

/// One segment as it was sent.
#[derive(Clone, Debug)]
struct Sent {
    op: Op,
    lost: bool,
}

/// Both ends of a connection, with what is under way between them.
struct Wire<'a> {
    dice: &'a mut Dice,
    sent: Vec<Sent>,
    next: [u64; 2],
    /// How far each side has received the other.
    heard: [u64; 2],
}

impl Wire<'_> {
    fn send(&mut self, by: Side, bytes: &[u8]) {
        let position = Position {
            at: 1_000 + 10 * self.sent.len() as u64,
            offset: self.next[by.index()],
            acked: Some(self.heard[by.index()]),
        };
        self.next[by.index()] += bytes.len() as u64;
        self.sent.push(Sent { op: Op::Data(by, position, bytes.to_vec()), lost: false });
    }

    fn message(&mut self, by: Side, text: &str, cut: u64) {
        let bytes = text.as_bytes();
        let at = if self.dice.chance(cut) { 1 + self.dice.roll(bytes.len() as u64 - 1) as usize } else { 0 };
        if at > 0 {
            self.send(by, &bytes[..at]);
        }
        self.send(by, &bytes[at..]);
    }
}

/// What was sent, in the order in which it was.
fn talk(dice: &mut Dice, work: Work) -> Vec<Sent> {
    let mut wire = Wire { dice, sent: Vec::new(), next: STARTS, heard: [STARTS[1], STARTS[0]] };
    let (mut asked, mut answered, mut heard) = (0, 0, 0);
    // Where each request and each response ends, for what was received of it.
    let (mut requests, mut responses) = (Vec::new(), Vec::new());
    let mut burst = 0;
    while heard < work.exchanges {
        let under_way = asked - heard;
        let may_ask = asked < work.exchanges
            && match work.client {
                Client::Turns(_) | Client::Bursts(_) => under_way == 0 || burst > 0,
                Client::Window(most) => under_way < most,
            };
        let choice = wire.dice.roll(4);
        if may_ask && (choice < 2 || burst > 0 || under_way == 0) {
            burst = match work.client {
                _ if burst > 0 => burst - 1,
                Client::Turns(size) => size - 1,
                Client::Bursts(most) => wire.dice.roll(most as u64) as usize,
                Client::Window(_) => 0,
            };
            let filling = "f".repeat(wire.dice.roll(40) as usize);
            wire.message(CLIENT, &format!("GET /{asked} HTTP/1.1\r\nHost: h\r\nX-Fill: {filling}\r\n\r\n"), work.cut);
            requests.push(wire.next[0]);
            asked += 1;
            burst = burst.min(work.exchanges - asked);
        } else if answered < asked && choice < 3 {
            // It has received some of what was sent, but at least what it answers.
            let known = answered + wire.dice.roll((asked - answered) as u64) as usize;
            wire.heard[1] = wire.heard[1].max(requests[known]);
            let body = "b".repeat(wire.dice.roll(60) as usize);
            let text =
                format!("HTTP/1.1 200 OK\r\nX-Target: /{answered}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            wire.message(SERVER, &text, work.cut);
            responses.push(wire.next[1]);
            answered += 1;
        } else if heard < answered {
            heard += 1;
            wire.heard[0] = wire.heard[0].max(responses[heard - 1]);
        }
    }
    wire.sent
}

/// What became of all the talks of a kind of client.
#[derive(Debug, Default)]
struct Total {
    pairs: usize,
    exchanges: usize,
    wrong: Wrong,
}

fn judge(seed: u64, work: Work, per_mille: u64, mid_stream: bool, total: &mut Total) {
    let mut dice = Dice(seed);
    let mut sent = talk(&mut dice, work);
    for segment in &mut sent {
        segment.lost = dice.roll(1000) < per_mille;
    }
    if dice.chance(50) && !work.closes {
        let end = 1 + dice.roll(sent.len() as u64) as usize;
        sent.truncate(end);
    }
    let ops = captured(sent.iter().map(|sent| (&sent.op, sent.lost)), work.closes);
    let outcome = run((!mid_stream).then_some(CLIENT), &ops, &Settings::default());
    total.pairs += outcome.stats.paired as usize;
    total.exchanges += work.exchanges;
    total.wrong.look(&(work, seed, per_mille, mid_stream), &ops, &outcome);
}

fn total(client: Client, per_mille: u64, mid_stream: bool, rounds: u64) -> Total {
    let mut total = Total::default();
    for seed in 0..rounds {
        for (exchanges, cut, closes) in [(2, 0, false), (4, 30, true), (6, 0, true), (12, 20, false), (40, 10, true)] {
            let work = Work { client, exchanges, cut, closes };
            judge(seed * 7 + exchanges as u64, work, per_mille, mid_stream, &mut total);
        }
    }
    total
}

#[test]
fn no_client_is_given_a_wrong_pair() {
    let clients = [
        Client::Turns(1),
        Client::Turns(2),
        Client::Turns(3),
        Client::Window(2),
        Client::Window(3),
        Client::Bursts(2),
        Client::Bursts(4),
    ];
    for client in clients {
        for (per_mille, mid_stream) in [(10, false), (50, false), (100, false), (10, true), (50, true)] {
            // From the middle on, a client that keeps two requests under way looks like one that waits.
            if mid_stream && matches!(client, Client::Window(_)) {
                continue;
            }
            let total = total(client, per_mille, mid_stream, 40);
            total.wrong.assert_none();
            if !mid_stream || client == Client::Turns(1) {
                assert!(total.pairs > total.exchanges / 8, "{client:?} at {per_mille}: {total:?}");
            }
        }
    }
}

#[test]
fn a_client_that_waits_loses_little_more_than_what_was_lost() {
    for mid_stream in [false, true] {
        let whole = total(Client::Turns(1), 0, mid_stream, 40);
        let lossy = total(Client::Turns(1), 30, mid_stream, 40);
        // An exchange is a little over two segments, of which every 33rd is lost.
        assert!(lossy.pairs * 100 > whole.pairs * 92, "{lossy:?} of {whole:?}");
    }
}
