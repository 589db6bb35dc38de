//! Random but well-formed conversations, and what a capture may do to them.

use http_parse::{Position, Side};

use super::{CLIENT, Op, SERVER, STARTS};

/// A small deterministic source of choices.
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.roll(100) < percent
    }
}

/// What a conversation is made of.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    pub exchanges: usize,
    /// Percent of the turns in which the client sends several requests at once.
    pub pipelined: u64,
    /// Whether the last response may end with the connection.
    pub may_close: bool,
    /// Percent of the bodies of known length that are a message themselves, as logs and debuggers carry them.
    pub recorded: u64,
}

/// A conversation: writes in causal order, and the methods and targets of its requests in order.
#[derive(Clone, Debug, Default)]
pub struct Dialogue {
    pub writes: Vec<(Side, Vec<u8>)>,
    pub methods: Vec<String>,
    pub targets: Vec<String>,
    /// Of each exchange, where its request and its response lie in their streams.
    pub spans: Vec<[(u64, u64); 2]>,
}

impl Dialogue {
    /// A conversation by chance. Each response names its request's target in `X-Target`.
    pub fn new(dice: &mut Dice, style: Style) -> Self {
        let mut dialogue = Self::default();
        let mut sent = STARTS;
        let mut number = 0;
        while number < style.exchanges {
            let burst = if dice.chance(style.pipelined) { 2 + dice.roll(3) as usize } else { 1 };
            let burst = burst.min(style.exchanges - number);
            let first = number;
            let mut requests = Vec::new();
            for _ in 0..burst {
                let (bytes, method, target) = request(dice, number, style);
                let start = sent[0] + requests.len() as u64;
                requests.extend_from_slice(&bytes);
                let end = start + bytes.len() as u64;
                dialogue.spans.push([(start, end), (0, 0)]);
                dialogue.methods.push(method);
                dialogue.targets.push(target);
                number += 1;
            }
            sent[0] += requests.len() as u64;
            if burst > 1 && dice.chance(50) {
                dialogue.writes.push((CLIENT, requests));
            } else {
                // One write each: a segment starts at each request.
                for [(start, end), _] in &dialogue.spans[first..] {
                    let at = |offset: u64| (offset - (sent[0] - requests.len() as u64)) as usize;
                    dialogue.writes.push((CLIENT, requests[at(*start)..at(*end)].to_vec()));
                }
            }
            for index in first..number {
                let last = style.may_close && index + 1 == style.exchanges;
                let (method, target) = (&dialogue.methods[index], &dialogue.targets[index]);
                let bytes = response(dice, (method, target), last, style);
                dialogue.spans[index][1] = (sent[1], sent[1] + bytes.len() as u64);
                sent[1] += bytes.len() as u64;
                dialogue.writes.push((SERVER, bytes));
            }
        }
        dialogue
    }

    pub fn stream(&self, side: Side) -> Vec<u8> {
        self.writes.iter().filter(|(by, _)| *by == side).flat_map(|(_, bytes)| bytes.clone()).collect()
    }

    /// The conversation cut into segments of at most `largest` bytes, each acknowledging what was sent before it.
    pub fn segments(&self, dice: &mut Dice, largest: u64) -> Vec<Op> {
        let mut ops = Vec::new();
        let mut next = STARTS;
        for (side, bytes) in &self.writes {
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let len = (1 + dice.roll(largest) as usize).min(rest.len());
                let offset = next[side.index()];
                let position =
                    Position { at: 1 + ops.len() as u64, offset, acked: Some(next[side.opposite().index()]) };
                ops.push(Op::Data(*side, position, rest[..len].to_vec()));
                next[side.index()] += len as u64;
                rest = &rest[len..];
            }
        }
        ops
    }
}

/// Another order of the same calls in which no segment comes before what it acknowledges.
pub fn interleave(ops: &[Op], dice: &mut Dice) -> Vec<Op> {
    let mut queues = [Vec::new(), Vec::new()];
    for op in ops.iter().rev() {
        queues[side_of(op).index()].push(op.clone());
    }
    let mut next = STARTS;
    let mut merged = Vec::new();
    while merged.len() < ops.len() {
        let side = if dice.chance(50) { CLIENT } else { SERVER };
        for side in [side, side.opposite()] {
            let fits = match queues[side.index()].last() {
                Some(Op::Data(_, position, _)) => position.acked.unwrap() <= next[side.opposite().index()],
                Some(_) => true,
                None => false,
            };
            if fits {
                let op = queues[side.index()].pop().unwrap();
                if let Op::Data(_, position, bytes) = &op {
                    next[side.index()] = position.offset + bytes.len() as u64;
                }
                merged.push(op);
                break;
            }
        }
    }
    merged
}

/// The same calls with neighbours of different sides swapped, as mirrors do.
pub fn swap_neighbours(ops: &[Op]) -> Vec<Op> {
    let mut swapped = ops.to_vec();
    let mut at = 0;
    while at + 1 < swapped.len() {
        if side_of(&swapped[at]) == side_of(&swapped[at + 1]) {
            at += 1;
        } else {
            swapped.swap(at, at + 1);
            at += 2;
        }
    }
    swapped
}

/// The same calls with some segments lost, and the stream ranges that were.
pub fn lose(ops: &[Op], dice: &mut Dice, per_mille: u64) -> (Vec<Op>, Vec<(Side, u64, u64)>) {
    let mut lost = Vec::new();
    let ops = ops
        .iter()
        .map(|op| match op {
            Op::Data(side, position, bytes) if dice.roll(1000) < per_mille => {
                lost.push((*side, position.offset, position.offset + bytes.len() as u64));
                Op::Gap(*side, Position { acked: None, ..*position }, bytes.len() as u64)
            }
            op => op.clone(),
        })
        .collect();
    (ops, lost)
}

pub fn side_of(op: &Op) -> Side {
    match op {
        Op::Data(side, ..) | Op::Gap(side, ..) | Op::Skipped(side, ..) | Op::End(side, ..) => *side,
    }
}

fn request(dice: &mut Dice, number: usize, style: Style) -> (Vec<u8>, String, String) {
    let method = ["GET", "GET", "GET", "HEAD", "POST", "PUT", "OPTIONS", "PATCH"][dice.roll(8) as usize];
    let target = format!("/{number}/{}", "t".repeat(dice.roll(30) as usize));
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: example\r\n");
    for _ in 0..dice.roll(4) {
        head += &format!("X-Fill: {}\r\n", "f".repeat(dice.roll(40) as usize));
    }
    let bytes = match method {
        "POST" | "PUT" | "PATCH" if dice.chance(50) => with_length(dice, head, style),
        "POST" | "PUT" | "PATCH" => with_chunks(dice, head),
        _ => (head + "\r\n").into_bytes(),
    };
    (bytes, method.to_owned(), target)
}

fn response(dice: &mut Dice, (method, target): (&str, &str), last: bool, style: Style) -> Vec<u8> {
    let mut bytes = Vec::new();
    if dice.chance(10) {
        bytes.extend_from_slice(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
    }
    let status =
        ["200 OK", "201 Created", "404 Not Found", "204 No Content", "304 Not Modified"][dice.roll(5) as usize];
    let mut head = format!("HTTP/1.1 {status}\r\nX-Target: {target}\r\n");
    for _ in 0..dice.roll(4) {
        head += &format!("X-Fill: {}\r\n", "f".repeat(dice.roll(40) as usize));
    }
    let bodyless = method == "HEAD" || matches!(&status[..3], "204" | "304");
    if bodyless {
        let field = ["", "Content-Length: 1000\r\n", "Transfer-Encoding: chunked\r\n"][dice.roll(3) as usize];
        bytes.extend_from_slice(format!("{head}{field}\r\n").as_bytes());
    } else if last && dice.chance(50) {
        bytes.extend_from_slice(format!("{head}\r\nuntil the end").as_bytes());
    } else if dice.chance(50) {
        bytes.extend(with_length(dice, head, style));
    } else {
        bytes.extend(with_chunks(dice, head));
    }
    bytes
}

fn with_length(dice: &mut Dice, head: String, style: Style) -> Vec<u8> {
    let body = if style.recorded > 0 && dice.chance(style.recorded) {
        let start = if head.starts_with("HTTP/") { "HTTP/1.1 200 OK" } else { "GET /other HTTP/1.1" };
        format!("{start}\r\nX-Target: /other\r\nContent-Length: 3\r\n\r\nabc")
    } else {
        "b".repeat(dice.roll(200) as usize)
    };
    format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn with_chunks(dice: &mut Dice, head: String) -> Vec<u8> {
    let mut text = head + "Transfer-Encoding: chunked\r\n\r\n";
    for _ in 0..dice.roll(4) {
        let chunk = "c".repeat(1 + dice.roll(60) as usize);
        let extension = if dice.chance(20) { ";name=value" } else { "" };
        text += &format!("{:x}{extension}\r\n{chunk}\r\n", chunk.len());
    }
    text += "0\r\n";
    if dice.chance(30) {
        text += "X-Sum: 1\r\n";
    }
    (text + "\r\n").into_bytes()
}
