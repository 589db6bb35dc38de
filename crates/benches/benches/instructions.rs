//! Instruction counts of each stage and of the whole pipeline, under callgrind: the same on a busy machine and an idle one.
//!
//! `scripts/instructions.sh` runs this and compares with the committed counts. Inputs are made up outside of what is
//! counted; a bench returns what it was given, so that freeing it is not counted either.

// What the macros make.
#![allow(missing_docs, unused_qualifications, unreachable_pub)]

use std::hint::black_box;

use benches::stages::{self, Calls, Count, Exchanges, Segments, Written};
use benches::traffic;
use decap::Decapsulator;
use fixtures::Packet;
use gungraun::prelude::*;
use http_parse::Context;
use reassembly::{Limits, Reassembler};
use sensor::config::Detector;
use sensor::outlet::Discard;
use sensor::pipeline::{LaneReport, Settings};
use sensor::record::RecordWriter;
use sensor::source::CaptureReader;

/// 8 connections, 25 transactions each, bodies of up to 3,000 bytes.
fn api() -> Vec<Packet> {
    traffic::api(8, 25, 3_000)
}

fn frames(packets: Vec<Packet>) -> (Decapsulator, Vec<Packet>) {
    (Decapsulator::new(decap::Config::default()), packets)
}

#[library_benchmark(setup = frames)]
#[bench::plain(api())]
#[bench::vxlan(traffic::in_vxlan(api()))]
#[bench::nested(traffic::nested(api()))]
#[bench::fragments(traffic::in_fragments(api()))]
fn decapsulation((mut decap, packets): (Decapsulator, Vec<Packet>)) -> (u64, Decapsulator, Vec<Packet>) {
    (stages::take_apart(&mut decap, black_box(&packets)), decap, packets)
}

fn segments(packets: Vec<Packet>) -> (Reassembler<Count>, Segments) {
    (Reassembler::new(Limits::default(), Count::default()), Segments::of(&packets))
}

#[library_benchmark(setup = segments)]
#[bench::in_order(api())]
#[bench::bad_mirror(traffic::through_a_bad_mirror(api()))]
fn ordering((mut reassembler, segments): (Reassembler<Count>, Segments)) -> (u64, Reassembler<Count>, Segments) {
    (stages::put_in_order(&mut reassembler, black_box(&segments)), reassembler, segments)
}

fn calls(packets: Vec<Packet>, body_limit: usize) -> (Context, Calls) {
    (Context::new(stages::settings(body_limit).http), Calls::of(&Segments::of(&packets)))
}

#[library_benchmark(setup = calls)]
#[bench::keep_alive(api(), 0)]
#[bench::bodies(api(), 32 << 10)]
#[bench::heads(traffic::browser(200), 0)]
#[bench::bad_mirror(traffic::through_a_bad_mirror(api()), 0)]
fn parsing((mut context, calls): (Context, Calls)) -> (Exchanges, Context, Calls) {
    (stages::parse(black_box(&calls), &mut context), context, calls)
}

fn exchanges(body: usize) -> (RecordWriter, Written, Vec<u8>) {
    (RecordWriter::new(stages::settings(32 << 10).record), Written::new(200, body), Vec::with_capacity(1 << 20))
}

type Recorded = (u64, RecordWriter, Written, Vec<u8>);

#[library_benchmark(setup = exchanges)]
#[bench::heads(0)]
#[bench::bodies(2_000)]
fn recording((mut writer, written, mut out): (RecordWriter, Written, Vec<u8>)) -> Recorded {
    (stages::write_records(&mut writer, black_box(&written), &mut out), writer, written, out)
}

fn capture(packets: Vec<Packet>, body_limit: usize) -> (CaptureReader, Settings) {
    (stages::reader(traffic::file(&packets)), stages::settings(body_limit))
}

#[library_benchmark(setup = capture)]
#[bench::plain(api(), 0)]
fn reading((mut reader, settings): (CaptureReader, Settings)) -> ((u64, u64), CaptureReader, Settings) {
    (stages::read(black_box(&mut reader)), reader, settings)
}

#[library_benchmark(setup = capture)]
#[bench::plain(api(), 0)]
#[bench::vxlan(traffic::in_vxlan(api()), 0)]
#[bench::bodies(api(), 32 << 10)]
#[bench::bad_mirror(traffic::through_a_bad_mirror(api()), 0)]
fn replaying((mut reader, settings): (CaptureReader, Settings)) -> (LaneReport, CaptureReader, Settings) {
    (stages::replay(black_box(&mut reader), &settings, Discard::default()), reader, settings)
}

fn masked(packets: Vec<Packet>, detectors: &[Detector]) -> (CaptureReader, Settings) {
    let settings = stages::masked(stages::settings(32 << 10), detectors);
    (stages::reader(traffic::file(&packets)), settings.expect("its key is written and read"))
}

#[library_benchmark(setup = masked)]
#[bench::credentials(api(), &[])]
#[bench::heads(traffic::browser(200), &[])]
#[bench::detectors(api(), Detector::ALL)]
fn masking((mut reader, settings): (CaptureReader, Settings)) -> (LaneReport, CaptureReader, Settings) {
    (stages::replay(black_box(&mut reader), &settings, Discard::default()), reader, settings)
}

library_benchmark_group!(
    name = instructions,
    benchmarks = [reading, decapsulation, ordering, parsing, recording, replaying, masking]
);

main!(library_benchmark_groups = instructions);
