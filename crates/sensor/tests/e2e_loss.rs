//! Lost packets: never a wrong pair, and hardly a transaction missing whose packets are all there.
//!
//! Precision: every request found was sent; every response found was sent; every pair is one that was exchanged. Recall:
//! of the exchanges none of whose packets were lost, those recorded as pairs, over all seeds. What a real capture holds is
//! known from a plain reader of the whole streams; simulated responses name their request.

mod e2e_support;

use std::collections::BTreeMap;

use e2e_support::{Replayed, Traced, brief, header, packets_of, replay, said, seeds};
use fixtures::conversation::Api;
use fixtures::faults::{self, Copied};
use fixtures::{Acks, Conversation, ExpectedExchange, Packet, Rng, Segmentation, Wire, captures};
use serde_json::Value;

/// What was found of what should have been.
#[derive(Clone, Debug, Default)]
struct Score {
    untouched: usize,
    found: usize,
    pairs: usize,
    /// What was recorded and never exchanged.
    wrong: Vec<String>,
}

impl Score {
    fn add(&mut self, other: Self) {
        self.untouched += other.untouched;
        self.found += other.found;
        self.pairs += other.pairs;
        self.wrong.extend(other.wrong);
    }

    fn recall(&self) -> f64 {
        if self.untouched == 0 { 1.0 } else { self.found as f64 / self.untouched as f64 }
    }
}

/// Scores by name and rate, shown when a test fails (or with `--nocapture`).
#[derive(Debug, Default)]
struct Table(BTreeMap<String, Score>);

impl Table {
    fn add(&mut self, name: String, score: Score) {
        self.0.entry(name).or_default().add(score);
    }

    /// No row has anything wrong; rows that are asked for have this much recall, each by itself.
    #[track_caller]
    fn assert_precision_and(&self, least: f64, rows: impl Fn(&str) -> bool) {
        let line = |(name, score): (&String, &Score)| {
            let Score { untouched, found, pairs, wrong } = score;
            let (recall, wrong) = (100.0 * score.recall(), wrong.len());
            format!("{recall:>8.3} %  {found} of {untouched} untouched, {pairs} pairs, {wrong} wrong: {name}\n")
        };
        let text: String = self.0.iter().map(line).collect();
        eprintln!("recall\n{text}");
        let wrong: Vec<_> = self.0.values().flat_map(|score| score.wrong.iter().map(String::as_str)).collect();
        let first: Vec<_> = wrong.iter().take(20).copied().collect();
        assert!(wrong.is_empty(), "{} wrong, such as\n{}\n{text}", wrong.len(), first.join("\n"));
        for (name, score) in self.0.iter().filter(|(name, _)| rows(name)) {
            assert!(score.recall() >= least, "{name}: too little recall\n{text}");
            assert!(score.pairs > 0, "{name}: nothing was compared\n{text}");
        }
    }
}

/// Which packets are lost.
#[derive(Clone, Copy, Debug)]
enum Loss {
    /// Each with this probability.
    Random(f64),
    /// Runs of up to so many, beginning with this probability.
    Bursts(f64, usize),
}

impl Loss {
    fn kept(self, packets: usize, seed: u64) -> Vec<bool> {
        let mut rng = Rng::new(seed);
        let mut left = 0_usize;
        let kept = (0..packets).map(|_| match self {
            Self::Random(p) => !rng.chance(p),
            Self::Bursts(p, longest) => {
                if left == 0 && rng.chance(p) {
                    left = rng.between(1, longest);
                }
                let keep = left == 0;
                left = left.saturating_sub(1);
                keep
            }
        });
        kept.collect()
    }
}

const LOSSES: &[Loss] = &[Loss::Random(0.01), Loss::Random(0.05), Loss::Bursts(0.005, 10)];
const HEAVY: &[Loss] = &[Loss::Random(0.3)];

fn without(packets: &[Packet], kept: &[bool]) -> Vec<Packet> {
    packets.iter().zip(kept).filter(|(_, kept)| **kept).map(|(packet, _)| packet.clone()).collect()
}

fn flags(record: &Value) -> Vec<&str> {
    record["flags"].as_array().unwrap().iter().map(|flag| flag.as_str().unwrap()).collect()
}

/// A record whose start was not seen whole names nothing for certain.
fn is_whole_head(record: &Value) -> bool {
    !flags(record).contains(&"head_gap")
}

/// Judges one run over a real capture.
fn judge(traced: &Traced, plain: &BTreeMap<usize, Value>, kept: &[bool], what: &str) -> Score {
    let replayed = replay(&without(&traced.packets, kept));
    let mut score = Score::default();
    let mut asked = BTreeMap::new();
    for record in &replayed.records {
        let mut fail = |why: &str| score.wrong.push(format!("{what}: {why}: {}", brief(&record.to_string(), 1500)));
        let request = (!record["request"].is_null() && is_whole_head(record)).then(|| traced.asked(record));
        if request == Some(None) {
            fail("nobody asked this");
        }
        let answered = (!record["response"].is_null()).then(|| traced.answered(record));
        if answered.as_ref().is_some_and(Vec::is_empty) {
            fail("nobody answered this");
        }
        if let Some(Some(number)) = request {
            if asked.insert(number, record).is_some() {
                fail("the request was found twice");
            }
            if answered.is_some_and(|answered| !answered.contains(&number)) {
                fail("a wrong pair");
            }
            if !names_itself(record) {
                fail("a wrong pair");
            }
        }
        score.pairs += usize::from(record["outcome"] == "paired");
    }
    for (number, untouched) in traced.untouched(kept).into_iter().enumerate() {
        if !untouched {
            continue;
        }
        score.untouched += 1;
        let Some(record) = asked.get(&number).filter(|record| record["outcome"] == "paired") else { continue };
        if content(record) == content(&plain[&number]) {
            score.found += 1;
        } else {
            score.wrong.push(format!("{what}: was whole and is not: {}", brief(&record.to_string(), 1500)));
        }
    }
    score
}

/// An answer that repeats the request's target stands beside that request.
fn names_itself(record: &Value) -> bool {
    let said = record["response"]["body"]["content"].as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
    said.as_ref().is_none_or(|said| said["path"].is_null() || said["path"] == record["request"]["target"])
}

/// What was said, without what a loss elsewhere may change: the position on the connection, how it began, flags.
fn content(record: &Value) -> String {
    let mut record = record.clone();
    record["flags"] = Value::Null;
    record["connection"] = Value::Object(serde_json::Map::new());
    said(&record)
}

/// Every real capture under these losses: a row for each capture and loss, and one of all captures whose clients wait
/// for each answer.
fn over_captures(losses: &[Loss], few: u64) -> Table {
    let mut table = Table::default();
    for capture in captures().iter().filter(|capture| !capture.truth.is_empty()) {
        let traced = Traced::new(packets_of(capture));
        let whole = replay(&traced.packets);
        let plain: BTreeMap<usize, Value> =
            whole.records.iter().map(|record| (traced.asked(record).unwrap(), record.clone())).collect();
        assert_eq!(plain.len(), traced.wanted.len(), "{}", capture.name);
        // Small captures lose little at a time: more seeds for them.
        let seeds = if traced.packets.len() < 1_000 { 4 * seeds(few) } else { seeds(few) };
        for loss in losses {
            for seed in 0..seeds {
                let kept = loss.kept(traced.packets.len(), seed);
                let what = format!("{} {loss:?} seed {seed}", capture.name);
                let score = judge(&traced, &plain, &kept, &what);
                if capture.name != "wrk-pipelined" {
                    table.add(format!("{WAITING} {loss:?}"), Score { wrong: Vec::new(), ..score.clone() });
                }
                table.add(format!("{} {loss:?}", capture.name), score);
            }
        }
    }
    table
}

/// The row of all captures whose clients do not pipeline.
const WAITING: &str = "every client that waits";

#[test]
fn real_captures_never_give_a_wrong_pair_and_hardly_miss_one() {
    over_captures(LOSSES, 3).assert_precision_and(0.99, |name| name.starts_with(WAITING));
}

/// A simulated talk, and the faults of its wire.
struct Talk {
    conversations: Vec<(Conversation, Vec<ExpectedExchange>)>,
    packets: Vec<Packet>,
}

impl Talk {
    fn new(seed: u64, depth: usize, wire: &Wire) -> Self {
        let conversations: Vec<_> = (0..3)
            .map(|n| Api { seed: seed * 16 + n, transactions: 40, depth, max_body: 3000, traps: false }.build())
            .collect();
        let packets = wire.run_all(conversations.iter().map(|(conversation, _)| conversation));
        Self { conversations, packets }
    }

    /// Judges a run of what is left of the packets.
    fn judge(&self, packets: &[Packet], dropped: &faults::Dropped, what: &str) -> Score {
        let replayed = replay(packets);
        let mut score = Score::default();
        let mut paired: BTreeMap<String, Value> = BTreeMap::new();
        for record in &replayed.records {
            if let Err(why) = self.was_sent(record) {
                score.wrong.push(format!("{what}: {why}: {}", brief(&record.to_string(), 1500)));
            }
            if record["outcome"] == "paired" && is_whole_head(record) {
                score.pairs += 1;
                let target = record["request"]["target"].as_str().unwrap().to_owned();
                if paired.insert(target, record.clone()).is_some() {
                    score.wrong.push(format!("{what}: found twice: {}", brief(&record.to_string(), 1500)));
                }
            }
        }
        for (connection, (conversation, expected)) in self.conversations.iter().enumerate() {
            let touched = dropped.touched(connection, conversation);
            for (number, expected) in expected.iter().enumerate().filter(|(number, _)| !touched.contains(number)) {
                let target = String::from_utf8_lossy(&expected.target).into_owned();
                score.untouched += 1;
                match paired.get(&target) {
                    Some(record) if is_whole(record, expected) => score.found += 1,
                    Some(record) => score.wrong.push(format!(
                        "{what}, exchange {number} of {connection}: was whole and is not: {}",
                        brief(&record.to_string(), 1500)
                    )),
                    None => {}
                }
            }
        }
        score
    }

    /// Every request and every response was sent, and pairs belong together.
    fn was_sent(&self, record: &Value) -> Result<(), &'static str> {
        if !is_whole_head(record) {
            return Ok(());
        }
        let is_one = |target: &str| {
            let mut expected = self.conversations.iter().flat_map(|(_, expected)| expected);
            expected.any(|expected| expected.target == target.as_bytes())
        };
        let asked = record["request"]["target"].as_str();
        let answered = if record["response"].is_null() { None } else { Some(header(&record["response"], "x-echo")) };
        match (asked, answered) {
            (Some(asked), _) if !is_one(asked) => Err("nobody asked this"),
            // Cut in its head, it may have lost its name.
            (_, Some(None)) if !flags(record).contains(&"cut_by_close") => Err("nobody answered this"),
            (_, Some(Some(answered))) if !is_one(answered) => Err("nobody answered this"),
            (Some(asked), Some(Some(answered))) if asked != answered => Err("a wrong pair"),
            _ => Ok(()),
        }
    }
}

/// Nothing of the exchange was lost, so nothing of it may be missing.
fn is_whole(record: &Value, expected: &ExpectedExchange) -> bool {
    let bodies = [("request", &expected.request_body), ("response", &expected.response_body)];
    record["response"]["status"] == expected.status.unwrap()
        && bodies.into_iter().all(|(message, body)| {
            let (found, body) = (&record[message]["body"], body.as_deref().unwrap());
            let content = found["content"].as_str().unwrap_or_default().as_bytes();
            content == body && (found.is_null() || (found["missing"] == 0 && found["truncated"] == false))
        })
}

fn wires(seed: u64) -> Vec<(&'static str, Wire)> {
    vec![
        ("plain", Wire::new(seed)),
        ("immediate acknowledgements", Wire::new(seed).acks(Acks::Immediate)),
        ("sparse acknowledgements", Wire::new(seed).acks(Acks::Sparse)),
        ("offloading", Wire::new(seed).segmentation(Segmentation::Turns)),
        ("small segments", Wire::new(seed).segmentation(Segmentation::Random { max: 300 })),
        ("repeating", Wire::new(seed).retransmission(0.05)),
        ("any", Wire::random(seed)),
    ]
}

/// The row of all kinds of wires.
const ALL_KINDS: &str = "every kind of wire";

fn over_wires(depth: usize, losses: &[Loss], tries: u64, kinds: impl Fn(&str) -> bool) -> Table {
    let mut table = Table::default();
    for seed in 0..tries {
        for (name, wire) in wires(seed).into_iter().filter(|(name, _)| kinds(name)) {
            let talk = Talk::new(seed, depth, &wire);
            for loss in losses {
                let mut packets = talk.packets.clone();
                let mut kept = loss.kept(packets.len(), seed ^ 0x1055).into_iter();
                let dropped = faults::lose_where(&mut packets, |_| !kept.next().unwrap());
                let what = format!("{name}, depth {depth}, {loss:?}, seed {seed}");
                let score = talk.judge(&packets, &dropped, &what);
                table.add(format!("{ALL_KINDS} {loss:?}"), Score { wrong: Vec::new(), ..score.clone() });
                table.add(format!("{name} {loss:?}"), score);
            }
        }
    }
    table
}

#[test]
fn simulated_traffic_never_gives_a_wrong_pair_and_hardly_misses_one() {
    over_wires(1, LOSSES, seeds(4), |_| true).assert_precision_and(0.99, |name| name.starts_with(ALL_KINDS));
}

/// How much is found of pipelined traffic is shown, not asserted: what answers what is often uncertain behind a loss.
#[test]
fn pipelined_traffic_never_gives_a_wrong_pair() {
    over_wires(8, LOSSES, seeds(3), |kind| kind != "any").assert_precision_and(0.0, |_| true);
}

#[test]
fn pipelined_traffic_on_any_wire_never_gives_a_wrong_pair() {
    over_wires(8, LOSSES, seeds(5), |kind| kind == "any").assert_precision_and(0.0, |_| true);
    disorder(8, seeds(8)).assert_precision_and(0.0, |_| true);
}

/// Far beyond what is promised; still nothing may be wrong.
#[test]
#[ignore = "wrong pairs where the SYN-ACK and the first response are lost, and behind retransmissions"]
fn heavy_loss_gives_no_wrong_pair_either() {
    over_wires(1, HEAVY, seeds(8), |_| true).assert_precision_and(0.0, |_| true);
    over_captures(HEAVY, 8).assert_precision_and(0.0, |_| false);
}

/// Two copies of everything, each lost on its own, in some disorder: what one copy lacks the other has.
#[test]
fn copies_that_are_lost_apart() {
    let mut table = Table::default();
    for seed in 0..seeds(8) {
        let talk = Talk::new(seed, 1, &Wire::new(seed));
        for loss in [0.01, 0.05] {
            let mut packets = talk.packets.clone();
            faults::duplicate(&mut packets, Copied::Routed, 1.0, seed);
            let dropped = faults::lose(&mut packets, loss, seed);
            faults::reorder(&mut packets, 3, 0.05, seed);
            let what = format!("copies, loss {loss}, seed {seed}");
            table.add(format!("copies {loss}"), talk.judge(&packets, &dropped, &what));
        }
    }
    table.assert_precision_and(0.99, |_| true);
}

/// Loss and disorder at once.
fn disorder(depth: usize, tries: u64) -> Table {
    let mut table = Table::default();
    for seed in 0..tries {
        let talk = Talk::new(seed, depth, &Wire::random(seed));
        for loss in [0.01, 0.05] {
            let mut packets = talk.packets.clone();
            let dropped = faults::lose(&mut packets, loss, seed);
            faults::reorder(&mut packets, 4, 0.1, seed);
            let what = format!("disorder, depth {depth}, loss {loss}, seed {seed}");
            table.add(format!("depth {depth} loss {loss}"), talk.judge(&packets, &dropped, &what));
        }
    }
    table
}

#[test]
fn loss_and_disorder() {
    disorder(1, seeds(8)).assert_precision_and(0.98, |_| true);
}

/// The seed decides, nothing else.
#[test]
fn the_same_loss_gives_the_same_bytes() {
    let talk = Talk::new(1, 8, &Wire::random(1));
    let kept = Loss::Random(0.05).kept(talk.packets.len(), 5);
    let packets = without(&talk.packets, &kept);
    let lines = |Replayed { lines, .. }| lines;
    assert_eq!(lines(replay(&packets)), lines(replay(&packets)));
}
