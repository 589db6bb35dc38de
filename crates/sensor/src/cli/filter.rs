//! `sensor filter test`: which rule decides on each transaction of a capture.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use decap::{Segment, Timestamp};
use http_parse::{ClientHello, Exchange, Heads, Message, MessageKind};
use reassembly::Reassembler;
use serde_json::json;

use super::args::{FilterTestArgs, ListFormat, OutcomeName, ReplayArgs};
use super::plan::{UsageError, settings};
use super::{exit, say};
use crate::config::Config;
use crate::filter::{Cause, Decision, Slot, Verdict};
use crate::fitness::{self, Purpose};
use crate::gate::{Gate, Memo};
use crate::handler::{Finds, HttpHandler};
use crate::masker::{MaskPolicy, RecordMasker};
use crate::normalize::Normalizer;
use crate::pipeline::{Pipeline, Segments, Settings};
use crate::record::{ConnectionMeta, Masked, Masking as _, Target, TransactionId};
use crate::replay::Failure;
use crate::source::{self, CaptureReader, Filter, Input, ReadOptions};

/// Does it.
pub(super) fn test(args: &FilterTestArgs) -> u8 {
    let (settings, mut filter, inputs) = match resolve(args) {
        Ok(resolved) => resolved,
        Err(error) => {
            say(format_args!("error: {error}\n"));
            return error.exit_code();
        }
    };
    let judging = Judging::new(&settings, args);
    let mut pipeline = Pipeline::new(settings.decap.clone(), judging);
    let mut failed = exit::OK;
    let mut left_out = 0;
    for input in &inputs {
        if let Err(failure) = feed(input, filter.as_mut(), &mut pipeline, &mut left_out) {
            say(format_args!("error: {failure}\n"));
            failed = failed.max(failure.exit_code());
        }
    }
    pipeline.finish();
    if let Some(filter) = &filter {
        // Not a rule of those under test, but of the capture that they are asked of.
        say(format_args!("{left_out} frames left out by the capture filter '{}'\n", filter.expression()));
        if let Some(problem) = filter.problem() {
            say(format_args!("warning: {problem}; frames of this type were left out\n"));
        }
    }
    match pipeline.into_segments().finish() {
        Ok(summary) => {
            say(format_args!("{summary}"));
            failed
        }
        // Whoever reads has enough, as `head` does.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => failed,
        Err(error) => {
            say(format_args!("error: cannot write to standard output: {error}\n"));
            exit::FAILED
        }
    }
}

fn resolve(args: &FilterTestArgs) -> Result<(Settings, Option<Filter>, Vec<Input>), UsageError> {
    let (loaded, ready) = fitness::read(Some(&args.config), Purpose::Replay { sizes: true })?;
    for note in &loaded.notes {
        say(format_args!("warning: {note}\n"));
    }
    let mut settings =
        settings(&ReplayArgs::upload_of(Vec::new()), &loaded.config, ready)?.with_memory(loaded.config.memory.0, 1)?;
    // Bodies say nothing to rules.
    settings.http.body_limit = 0;
    let mut warnings = Vec::new();
    let inputs = source::expand_with(&args.files, &mut warnings).map_err(UsageError::Input)?;
    for warning in warnings {
        say(format_args!("warning: {warning}\n"));
    }
    if inputs.is_empty() {
        return Err(UsageError::NoInput);
    }
    Ok((settings, capture_filter(&loaded.config)?, inputs))
}

/// The BPF expression of a configuration, which a replay and a live capture under it leave frames out by.
pub(super) fn capture_filter(config: &Config) -> Result<Option<Filter>, UsageError> {
    let filter = config.filter.as_ref().filter(|filter| !filter.trim().is_empty());
    filter.map(|filter| Filter::new(filter)).transpose().map_err(UsageError::Filter)
}

/// Gives a capture's frames to a pipeline, and counts those that the filter leaves out.
pub(super) fn feed<S: Segments>(
    input: &Input,
    mut filter: Option<&mut Filter>,
    pipeline: &mut Pipeline<S>,
    left_out: &mut u64,
) -> Result<(), Failure> {
    let mut reader = CaptureReader::open(input, &ReadOptions::default()).map_err(Failure::Open)?;
    while let Some(captured) = reader.next().map_err(Failure::Read)? {
        if filter.as_mut().is_none_or(|filter| filter.matches(&captured)) {
            pipeline.push(captured.frame);
        } else {
            *left_out += 1;
        }
        if pipeline.segments().is_stopped() {
            break;
        }
    }
    Ok(())
}

/// What takes the segments.
#[derive(Debug)]
struct Judging {
    reassembler: Reassembler<HttpHandler<Judge>>,
}

impl Judging {
    fn new(settings: &Settings, args: &FilterTestArgs) -> Self {
        let judge = Judge {
            gate: Gate::new(Arc::clone(&settings.normalize), Arc::clone(&settings.filters)),
            mask: settings.mask.clone(),
            format: args.format,
            only: args.only,
            out: BufWriter::new(io::stdout()),
            failure: None,
            counts: BTreeMap::new(),
            has_heading: false,
        };
        let mut reassembler =
            Reassembler::new(settings.reassembly.clone(), HttpHandler::new(settings.http.clone(), judge));
        reassembler.tick(Timestamp::ZERO);
        Self { reassembler }
    }

    fn finish(mut self) -> io::Result<String> {
        self.reassembler.finish();
        let judge = self.reassembler.handler_mut().finds_mut();
        match judge.failure.take() {
            Some(failure) => Err(failure),
            None => judge.out.flush().map(|()| judge.summary()),
        }
    }
}

impl Segments for Judging {
    fn push(&mut self, segment: &Segment<'_>) {
        self.reassembler.push(segment);
    }

    fn tick(&mut self, now: Timestamp) {
        self.reassembler.tick(now);
    }

    fn is_stopped(&self) -> bool {
        self.reassembler.handler().finds().failure.is_some()
    }
}

/// Asks the rules of each transaction, and lists what they say.
#[derive(Debug)]
struct Judge {
    gate: Gate,
    mask: Option<MaskPolicy>,
    format: ListFormat,
    only: Option<OutcomeName>,
    out: BufWriter<io::Stdout>,
    failure: Option<io::Error>,
    /// How many by outcome and rule.
    counts: BTreeMap<(&'static str, String), u64>,
    has_heading: bool,
}

/// What is listed of a transaction.
#[derive(Debug)]
struct Listed {
    id: TransactionId,
    at: u64,
    client: String,
    server: String,
    method: Option<String>,
    host: Option<String>,
    path: Option<String>,
    status: Option<u16>,
    outcome: &'static str,
    rule: Option<String>,
    kind: Option<&'static str>,
    stage: &'static str,
    weight: u32,
    explanation: String,
}

/// The name of what has no rule.
const NO_RULE: &str = "-";

impl Judge {
    fn summary(&self) -> String {
        let mut text = String::new();
        let total: u64 = self.counts.values().sum();
        // Writing to a string does not fail.
        let _ = writeln!(text, "{total} transactions");
        for ((outcome, rule), count) in &self.counts {
            let _ = match rule.as_str() {
                NO_RULE => writeln!(text, "{count:>10} {outcome}, as no rule matches"),
                rule => writeln!(text, "{count:>10} {outcome} by {rule}"),
            };
        }
        text
    }

    fn list(&mut self, listed: &Listed) -> io::Result<()> {
        match self.format {
            ListFormat::Ndjson => {
                let Listed { id, at, client, server, method, host, path, status, .. } = listed;
                let Listed { outcome, rule, kind, stage, weight, explanation, .. } = listed;
                let line = json!({
                    "id": id.to_string(), "time": seconds(*at), "client": client, "server": server, "method": method,
                    "host": host, "path": path, "status": status, "outcome": outcome, "rule": rule, "kind": kind,
                    "stage": stage, "weight": weight, "explanation": explanation,
                });
                writeln!(self.out, "{line}")
            }
            ListFormat::Table => {
                if !std::mem::replace(&mut self.has_heading, true) {
                    row(&mut self.out, ["OUTCOME", "RULE", "CERTAIN", "STATUS", "CLIENT", "METHOD", "HOST AND PATH"])?;
                }
                let rule = match listed.weight {
                    0 | 1 => listed.rule.clone().unwrap_or_else(|| NO_RULE.to_owned()),
                    weight => format!("{} (1 of {weight})", listed.rule.as_deref().unwrap_or(NO_RULE)),
                };
                let status = listed.status.map_or_else(|| NO_RULE.to_owned(), |status| status.to_string());
                let method = listed.method.as_deref().unwrap_or(NO_RULE);
                let place =
                    [listed.host.as_deref().unwrap_or_default(), listed.path.as_deref().unwrap_or_default()].concat();
                let (method, place) = (printable(method), printable(&place));
                row(&mut self.out, [listed.outcome, &rule, listed.stage, &status, &listed.client, &method, &place])
            }
        }
    }

    /// What is shown of a part of a request: what `mask` leaves of it.
    fn masked(&self, part: &[u8], mask: impl for<'a> FnOnce(&'a mut RecordMasker, &'a [u8]) -> Masked<'a>) -> Vec<u8> {
        // One for each: what it has gathered is of no use here, and this is no place for speed.
        self.mask
            .as_ref()
            .map_or_else(|| part.to_vec(), |policy| mask(&mut RecordMasker::new(policy), part).or(part).to_vec())
    }
}

impl Finds for Judge {
    /// Every flow is read, so that each of its transactions is listed.
    fn open(&mut self, _: &ConnectionMeta) -> Option<Slot> {
        None
    }

    fn unread(&mut self, _: Slot, _: u64) {}

    fn wants_body(&mut self, _: &ConnectionMeta, _: &mut Memo, _: &Heads<'_>) -> bool {
        false
    }

    fn exchange(&mut self, meta: &ConnectionMeta, memo: &mut Memo, exchange: &Exchange<'_>) {
        if self.failure.is_some() {
            return;
        }
        let decision = self.gate.decide(meta, memo, exchange);
        let told = self.gate.with_facts(meta, exchange, |rules, facts| {
            let explanation = rules.explain(facts);
            let kind = match explanation.verdict {
                Verdict::Out(Cause::Rule(rule)) | Verdict::In(Some(rule)) => Some(rules.kind(rule).name()),
                _ => None,
            };
            let client = facts.request.map_or(facts.flow.peer.ip, |request| request.client);
            let host = facts.request.and_then(|request| request.host).map(<[u8]>::to_vec);
            (
                explanation.rule().map(str::to_owned),
                kind,
                explanation.stage.name(),
                explanation.to_string(),
                client,
                host,
            )
        });
        let (rule, kind, stage, explanation, client, host) = told;
        let (outcome, name, weight) = match decision {
            Decision::Record { weight, .. } => ("recorded", OutcomeName::Recorded, weight),
            Decision::Filtered(_) => ("filtered", OutcomeName::Filtered, 1),
            Decision::SampledOut(_) => ("sampled_out", OutcomeName::SampledOut, 1),
        };
        let counted = rule.clone().unwrap_or_else(|| NO_RULE.to_owned());
        *self.counts.entry((outcome, counted)).or_default() += 1;
        if self.only.is_some_and(|only| only != name) {
            return;
        }
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let host = host
            .map(|host| text(self.masked(&host, |masker, host| masker.header(MessageKind::Request, b"Host", host))));
        let method = exchange.request.map(|request| {
            text(self.masked(request.method(), |masker, method| masker.start_line(MessageKind::Request, method)))
        });
        let target = exchange.request.map(|request| (request, self.masked(request.target(), RecordMasker::target)));
        let path = target.as_ref().and_then(|(request, target)| {
            Target::new(request.method(), target).path.map(|path| String::from_utf8_lossy(path).into_owned())
        });
        let server = meta.endpoint(exchange.client.opposite());
        let first = exchange.request.or(exchange.response);
        let listed = Listed {
            id: TransactionId::of(meta, exchange),
            at: first.map_or(0, |message| message.start().at),
            client: client.to_string(),
            server: std::net::SocketAddr::new(server.ip, server.port).to_string(),
            method,
            host,
            path,
            status: exchange.response.map(Message::status),
            outcome,
            rule,
            kind,
            stage,
            weight,
            explanation,
        };
        if let Err(failure) = self.list(&listed) {
            self.failure = Some(failure);
        }
    }

    fn client_hello(&mut self, _: &ClientHello) {}

    fn normalizer(&self) -> &Normalizer {
        self.gate.normalizer()
    }
}

fn row(out: &mut impl Write, cells: [&str; 7]) -> io::Result<()> {
    let [outcome, rule, stage, status, client, method, place] = cells;
    writeln!(out, "{outcome:<11} {rule:<28} {stage:<8} {status:>6} {client:<15} {method:<7} {place}")
}

/// Without what a terminal would obey.
fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { char::REPLACEMENT_CHARACTER } else { character }).collect()
}

/// Seconds since 1970 with nine digits behind the point.
fn seconds(nanos: u64) -> String {
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}
