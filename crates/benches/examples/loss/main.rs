//! Loses packets of a real capture at random, and counts what the pipeline then finds: no pair may be wrong, and no
//! transaction may be missing of which nothing was lost.
//!
//!     loss CAPTURE [--percent 1,5] [--seeds 1,2,3] [--header X-Request-Id] [--examples N] [--write FILE]
//!
//! The truth is read from the whole capture without the product (see `truth`), so the capture must be plain keep-alive
//! traffic, nothing pipelined, with targets that occur once, as `make-captures.sh` makes it. A response is known by a
//! header that is unique to it and by the time of its first byte. `--write` keeps the last lossy capture, to look at an example with other tools; frame
//! numbers in the report are those of the whole capture. Exit code 1: a pair was wrong, or the recall is under 99 %.

#![allow(clippy::print_stdout)] // The report is the output.

mod judge;
mod truth;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use decap::Frame;
use fixtures::Rng;
use judge::Judge;
use sensor::pipeline::{Lane, Pipeline, Settings};
use sensor::record::{RecordOptions, Shape};
use sensor::source::{CaptureReader, Input, ReadOptions};
use truth::Truth;

struct Options {
    capture: String,
    percent: Vec<f64>,
    seeds: Vec<u64>,
    header: String,
    examples: usize,
    write: Option<String>,
}

fn main() -> ExitCode {
    match options().and_then(|options| run(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("loss: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn options() -> Result<Options> {
    let mut options = Options {
        capture: String::new(),
        percent: vec![1.0, 5.0],
        seeds: vec![1, 2, 3],
        header: "X-Request-Id".to_owned(),
        examples: 3,
        write: None,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        if !arg.starts_with("--") {
            options.capture = arg;
            continue;
        }
        let value = args.next().with_context(|| format!("{arg} needs a value"))?;
        match arg.as_str() {
            "--percent" => options.percent = value.split(',').map(str::parse).collect::<Result<_, _>>()?,
            "--seeds" => options.seeds = value.split(',').map(str::parse).collect::<Result<_, _>>()?,
            "--header" => options.header = value,
            "--examples" => options.examples = value.parse()?,
            "--write" => options.write = Some(value),
            _ => bail!("{arg} is not known"),
        }
    }
    if options.capture.is_empty() {
        bail!("usage: loss CAPTURE [--percent 1,5] [--seeds 1,2,3] [--header NAME] [--examples N] [--write FILE]");
    }
    Ok(options)
}

fn run(options: &Options) -> Result<bool> {
    let truth = Truth::read(&options.capture, &options.header)?;
    let answered = truth.transactions.iter().filter(|transaction| transaction.answer.is_some()).count();
    println!(
        "{}: {} frames, {} transactions, {answered} answered, {} targets not unique",
        options.capture,
        truth.places.len(),
        truth.transactions.len(),
        truth.ambiguous
    );
    if answered == 0 {
        bail!("no transactions found: not plain HTTP over Ethernet?");
    }
    println!("{}", Report::HEADER);
    let mut is_good = true;
    for percent in std::iter::once(&0.0).chain(&options.percent) {
        for seed in &options.seeds {
            let report = lose(options, &truth, *percent, *seed)?;
            println!("{report}");
            is_good &= report.wrong == 0 && report.recall() >= 0.99;
            if *percent == 0.0 {
                break; // Nothing is left to chance.
            }
        }
    }
    Ok(is_good)
}

/// A run's figures.
struct Report {
    percent: f64,
    seed: u64,
    lost: usize,
    pairs: usize,
    wrong: usize,
    twice: usize,
    /// Transactions of which no packet with payload was lost, and how many of them were found.
    whole: [usize; 2],
    /// Transactions of which no packet at all was lost, bare acknowledgements included, and how many were found.
    untouched: [usize; 2],
    unanswered: usize,
    orphans: usize,
}

impl Report {
    const HEADER: &'static str = "   loss seed  packets lost     pairs  wrong  twice   \
        whole transactions     found    recall   untouched   found    recall   unanswered  orphans";

    fn recall(&self) -> f64 {
        ratio(self.whole).min(ratio(self.untouched))
    }
}

fn ratio([all, found]: [usize; 2]) -> f64 {
    if all == 0 { 1.0 } else { found as f64 / all as f64 }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:6.1}% {:4} {:13} {:9} {:6} {:6} {:20} {:9} {:8.3}% {:11} {:7} {:8.3}% {:12} {:8}",
            self.percent,
            self.seed,
            self.lost,
            self.pairs,
            self.wrong,
            self.twice,
            self.whole[0],
            self.whole[1],
            100.0 * ratio(self.whole),
            self.untouched[0],
            self.untouched[1],
            100.0 * ratio(self.untouched),
            self.unanswered,
            self.orphans
        )
    }
}

fn lose(options: &Options, truth: &Truth, percent: f64, seed: u64) -> Result<Report> {
    let settings = Settings {
        decap: decap::Config::default(),
        reassembly: reassembly::Limits::default(),
        http: http_parse::Settings { body_limit: 0, ..http_parse::Settings::default() },
        record: RecordOptions {
            sensor: "sensor".to_owned(),
            decode_limit: 0,
            content_limit: usize::MAX,
            shape: Shape::Native,
        },
        mask: None,
        normalize: Arc::default(),
        filters: Arc::default(),
    }
    .with_memory(1 << 30, 1)?;
    let mut pipeline: Pipeline<Lane<Judge<'_>>> = Pipeline::inline(&settings, Judge::new(truth, &options.header));
    let mut copy = options.write.as_deref().map(Copy::create).transpose()?;
    let mut reader = CaptureReader::open(&Input::File(options.capture.clone().into()), &ReadOptions::default())?;
    let mut rng = Rng::new(seed);
    let mut lost = vec![false; truth.places.len()];
    for lost in &mut lost {
        let Some(captured) = reader.next()? else { break };
        *lost = rng.chance(percent / 100.0);
        if !*lost {
            if let Some(copy) = &mut copy {
                copy.write(&captured.frame)?;
            }
            pipeline.push(captured.frame);
        }
    }
    pipeline.finish();
    let mut lane = pipeline.into_segments();
    lane.finish();
    if let Some(mut copy) = copy {
        copy.out.flush()?;
    }
    let judge = lane.records_mut().outlet_mut();

    let mut damage = vec![[false; 2]; truth.transactions.len()];
    for (place, _) in truth.places.iter().zip(&lost).filter(|(_, lost)| **lost) {
        if let Some(transaction) = place.transaction() {
            damage[transaction][0] |= place.has_payload;
            damage[transaction][1] = true;
        }
    }
    let mut report = Report {
        percent,
        seed,
        lost: lost.iter().filter(|lost| **lost).count(),
        pairs: judge.found.iter().map(|found| usize::from(*found)).sum::<usize>() + judge.wrong.len(),
        wrong: judge.wrong.len(),
        twice: judge.found.iter().filter(|found| **found > 1).count(),
        whole: [0; 2],
        untouched: [0; 2],
        unanswered: judge.unpaired.len(),
        orphans: judge.orphans.len(),
    };
    let mut missed = Vec::new();
    for (index, transaction) in truth.transactions.iter().enumerate() {
        if transaction.answer.is_none() || !truth.by_target.contains_key(&transaction.target) {
            continue;
        }
        let [payload, any] = damage[index];
        let found = usize::from(judge.found[index] > 0);
        if !payload {
            report.whole = [report.whole[0] + 1, report.whole[1] + found];
            if found == 0 {
                missed.push(index);
            }
        }
        if !any {
            report.untouched = [report.untouched[0] + 1, report.untouched[1] + found];
        }
    }
    for wrong in judge.wrong.iter().take(options.examples) {
        println!("WRONG: {} was given {}", wrong.target, wrong.answer);
        let of = |index: Option<usize>| index.map_or_else(Vec::new, |index| vec![index]);
        let answerer = truth.transactions.iter().position(|t| t.answer.as_ref() == Some(&wrong.answer));
        let named: Vec<_> = of(truth.by_target.get(&wrong.target).copied()).into_iter().chain(of(answerer)).collect();
        for index in named {
            explain(truth, judge, &lost, index);
        }
    }
    for index in missed.into_iter().take(options.examples) {
        println!("MISSED: {}", truth.transactions[index].target);
        explain(truth, judge, &lost, index);
    }
    Ok(report)
}

/// Prints a transaction and its neighbours on the connection: frames (lost ones marked) and records.
fn explain(truth: &Truth, judge: &Judge<'_>, lost: &[bool], index: usize) {
    let connection = truth.transactions[index].connection;
    let on_connection: Vec<_> =
        truth.transactions.iter().enumerate().filter(|(_, t)| t.connection == connection).map(|(n, _)| n).collect();
    let Some(place) = on_connection.iter().position(|n| *n == index) else { return };
    for other in &on_connection[place.saturating_sub(2)..on_connection.len().min(place + 2)] {
        let transaction = &truth.transactions[*other];
        let frames = truth.places.iter().enumerate().filter(|(_, place)| place.transaction() == Some(*other));
        let frames: Vec<_> = frames
            .map(|(n, place)| {
                let kind = if place.has_payload { "" } else { "a" };
                if lost[n] { format!("[lost {}{kind}]", n + 1) } else { format!("{}{kind}", n + 1) }
            })
            .collect();
        let request = judge.unpaired.get(&transaction.target);
        let response = transaction.answer.as_ref().and_then(|answer| judge.orphans.get(answer));
        println!(
            "  {} connection {connection}, {}: frames {}; found {}, request {:?}, response {:?}",
            if *other == index { "->" } else { "  " },
            transaction.target,
            frames.join(" "),
            judge.found[*other],
            request,
            response
        );
    }
}

/// A capture file in the making: classic, nanoseconds, Ethernet.
struct Copy {
    out: BufWriter<File>,
}

impl Copy {
    fn create(path: &str) -> Result<Self> {
        let mut out = BufWriter::with_capacity(1 << 20, File::create(path).with_context(|| path.to_owned())?);
        for word in [0xa1b2_3c4d_u32, 0x0004_0002, 0, 0, 65535, 1] {
            out.write_all(&word.to_le_bytes())?;
        }
        Ok(Self { out })
    }

    fn write(&mut self, frame: &Frame<'_>) -> Result<()> {
        let (seconds, nanos) = (frame.at.as_nanos() / 1_000_000_000, frame.at.as_nanos() % 1_000_000_000);
        for word in [seconds, nanos, frame.data.len() as u64, u64::from(frame.wire_len)] {
            self.out.write_all(&u32::try_from(word)?.to_le_bytes())?;
        }
        Ok(self.out.write_all(frame.data)?)
    }
}
