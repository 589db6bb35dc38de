//! Time of each stage and of the whole pipeline, with the bare readers as bounds beside it.
//!
//!     cargo bench -p benches --bench stages [-- FILTER]
//!     SENSOR_BENCH_CAPTURE=big.pcap cargo bench -p benches --bench stages -- capture
//!
//! Every group is measured twice, as packets a second and as bytes a second: the same runs of the same code, reported
//! under `…/packets` and `…/bytes`. The group `file` reads a capture file: libpcap's bare loop, our reader alone, and the
//! pipeline. The group `capture` does the same with a capture of one's own, once a sample, if the variable is set.

#![allow(missing_docs)] // What the macros make.

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use benches::stages::{self, Calls, Count, Segments, Written};
use benches::traffic;
use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use decap::Decapsulator;
use fixtures::Packet;
use http_parse::Context;
use reassembly::{Limits, Reassembler};
use sensor::outlet::Discard;
use sensor::record::RecordWriter;
use sensor::source::{CaptureReader, Input, ReadOptions};

/// 32 connections, 50 transactions each, bodies of up to 3,000 bytes: some 5 MB.
fn api() -> Vec<Packet> {
    traffic::api(32, 50, 3_000)
}

/// Runs `measure` in two groups, of packets and of bytes.
fn in_packets_and_bytes(
    c: &mut Criterion,
    name: &str,
    packets: u64,
    bytes: u64,
    mut measure: impl FnMut(&mut BenchmarkGroup<'_, WallTime>),
) {
    for (unit, throughput) in [("packets", Throughput::Elements(packets)), ("bytes", Throughput::Bytes(bytes))] {
        let mut group = c.benchmark_group(format!("{name}/{unit}"));
        group.throughput(throughput);
        measure(&mut group);
        group.finish();
    }
}

fn decapsulation(c: &mut Criterion) {
    let plain = api();
    let inputs = [
        ("plain", plain.clone()),
        ("vxlan", traffic::in_vxlan(plain.clone())),
        ("nested", traffic::nested(plain.clone())),
        ("fragments", traffic::in_fragments(plain)),
    ];
    for (name, packets) in inputs {
        in_packets_and_bytes(c, "decapsulation", packets.len() as u64, traffic::bytes(&packets), |group| {
            let mut decap = Decapsulator::new(decap::Config::default());
            group.bench_function(name, |b| b.iter(|| stages::take_apart(&mut decap, black_box(&packets))));
        });
    }
}

fn ordering(c: &mut Criterion) {
    for (name, packets) in [("in order", api()), ("bad mirror", traffic::through_a_bad_mirror(api()))] {
        let segments = Segments::of(&packets);
        in_packets_and_bytes(c, "ordering", segments.len() as u64, segments.bytes(), |group| {
            group.bench_function(name, |b| {
                let new = || Reassembler::new(Limits::default(), Count::default());
                b.iter_batched_ref(
                    new,
                    |reassembler| stages::put_in_order(reassembler, black_box(&segments)),
                    BatchSize::LargeInput,
                );
            });
        });
    }
}

fn parsing(c: &mut Criterion) {
    for (name, packets, body_limit) in
        [("keep-alive", api(), 0), ("bodies", api(), 32 << 10), ("heads", traffic::browser(2_000), 0)]
    {
        let calls = Calls::of(&Segments::of(&packets));
        in_packets_and_bytes(c, "parsing", packets.len() as u64, calls.bytes(), |group| {
            let mut context = Context::new(stages::settings(body_limit).http);
            group.bench_function(name, |b| b.iter(|| stages::parse(black_box(&calls), &mut context)));
        });
    }
}

fn recording(c: &mut Criterion) {
    for (name, body) in [("heads", 0), ("bodies", 2_000)] {
        let written = Written::new(500, body);
        let mut writer = RecordWriter::new(stages::settings(32 << 10).record);
        let mut out = Vec::new();
        let bytes = stages::write_records(&mut writer, &written, &mut out);
        // Here an element is a record.
        for (unit, throughput) in [("records", Throughput::Elements(500)), ("bytes", Throughput::Bytes(bytes))] {
            let mut group = c.benchmark_group(format!("recording/{unit}"));
            group.throughput(throughput);
            group.bench_function(name, |b| {
                b.iter(|| stages::write_records(&mut writer, black_box(&written), &mut out));
            });
            group.finish();
        }
    }
}

/// From a file: the bare readers, and the pipeline with and without bodies and in a tunnel.
fn file(c: &mut Criterion) {
    let folder = std::env::temp_dir().join(format!("sensor-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for a capture");
    for (tunnel, packets) in [("plain", api()), ("vxlan", traffic::in_vxlan(api()))] {
        let path = folder.join(format!("{tunnel}.pcap"));
        std::fs::write(&path, traffic::file(&packets)).expect("a capture");
        in_packets_and_bytes(c, &format!("file/{tunnel}"), packets.len() as u64, traffic::bytes(&packets), |group| {
            contenders(group, &path);
        });
    }
    _ = std::fs::remove_dir_all(&folder);
}

/// The same from a large capture.
fn capture(c: &mut Criterion) {
    let Some(path) = std::env::var_os("SENSOR_BENCH_CAPTURE") else {
        eprintln!("capture: skipped, SENSOR_BENCH_CAPTURE names no capture file");
        return;
    };
    let path = Path::new(&path);
    let (packets, bytes) = stages::read(&mut open(path));
    in_packets_and_bytes(c, "capture", packets, bytes, |group| {
        group.sampling_mode(SamplingMode::Flat).sample_size(10);
        contenders(group, path);
    });
}

fn contenders(group: &mut BenchmarkGroup<'_, WallTime>, path: &Path) {
    group.bench_function("libpcap loop", |b| b.iter(|| libpcap(path)));
    group.bench_function("our reader", |b| b.iter(|| stages::read(&mut open(path))));
    for (name, body_limit) in [("pipeline", 0), ("pipeline, 32 KiB bodies", 32 << 10)] {
        let settings = stages::settings(body_limit);
        group.bench_function(name, |b| b.iter(|| stages::replay(&mut open(path), &settings, Discard::default())));
    }
}

fn open(path: &Path) -> CaptureReader {
    CaptureReader::open(&Input::File(path.to_owned()), &ReadOptions::default()).expect("a capture file")
}

fn libpcap(path: &Path) -> (u64, u64) {
    let (mut packets, mut bytes) = (0, 0);
    let mut capture = pcap::Capture::from_file(path).expect("a capture file");
    let read = capture.for_each(None, |packet| {
        packets += 1;
        bytes += packet.data.len() as u64;
    });
    read.expect("a whole capture");
    (packets, bytes)
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(20);
    targets = decapsulation, ordering, parsing, recording, file, capture
}
criterion_main!(benches);
