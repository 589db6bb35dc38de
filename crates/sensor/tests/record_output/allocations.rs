//! No allocation in steady state.

use http_parse::Exchange;
use http_parse::testing::Parts;
use sensor::record::{RecordOptions, RecordWriter, Shape};

use super::support::shapes;

#[test]
fn a_second_round_of_records_allocates_nothing() {
    let prepared: Vec<_> = shapes()
        .into_iter()
        .map(|(_, sample)| {
            let (request, response) =
                (sample.request.as_ref().map(Parts::build), sample.response.as_ref().map(Parts::build));
            (sample.meta(), sample, request, response)
        })
        .collect();
    let mut writer = RecordWriter::new(RecordOptions {
        sensor: "edge-1".to_owned(),
        decode_limit: 1 << 20,
        content_limit: usize::MAX,
        shape: Shape::Native,
    });
    let mut out = Vec::new();
    let mut round = |out: &mut Vec<u8>| {
        out.clear();
        for (meta, sample, request, response) in &prepared {
            let exchange = Exchange {
                request: request.as_ref(),
                response: response.as_ref(),
                client: sample.key().1,
                index: sample.index,
                flags: sample.flags,
            };
            writer.write(meta, &exchange, out);
        }
    };
    round(&mut out);
    let first = out.clone();
    let counted = allocation_counter::measure(|| (0..10).for_each(|_| round(&mut out)));
    assert_eq!(counted.count_total, 0);
    assert_eq!(out, first);
    assert!(allocation_counter::measure(|| drop(vec![1_u8])).count_total > 0, "the counter counts");
}
