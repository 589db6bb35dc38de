//! The ledger as metrics, in the text form that Prometheus scrapes (OpenMetrics 1.0).
//!
//! Names are `sensor_<noun>_<unit>_total`; every line of the ledger is a counter with the labels `fate` and `reason`, so that
//! the sum over a line's fates is its total. What is under way goes up and down, and is a gauge of its own.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::meaning::meaning;
use crate::ledger::Ledger;
use crate::live::{SourceState, SourceStatus};

/// Whether a value only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It does, until the process ends.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// A value and its labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Name and value of each label.
    pub labels: Vec<(&'static str, String)>,
    /// The value.
    pub value: f64,
}

/// A family of samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// Without the `sensor_` in front and the `_total` behind.
    pub name: String,
    /// A sentence.
    pub help: &'static str,
    /// Counter or gauge.
    pub kind: Kind,
    /// One for each combination of labels.
    pub samples: Vec<Sample>,
}

impl Metric {
    /// A metric of one value without labels.
    #[must_use]
    pub fn plain(name: impl Into<String>, help: &'static str, kind: Kind, value: f64) -> Self {
        Self { name: name.into(), help, kind, samples: vec![Sample { labels: Vec::new(), value }] }
    }
}

/// Fates that are not final.
const UNDER_WAY: [&str; 4] = ["held", "pending", "undecided", "waiting"];

/// Every line of the ledger, and what lies beside it.
#[must_use]
pub fn ledger_metrics(ledger: &Ledger) -> Vec<Metric> {
    let mut metrics = Vec::new();
    for line in ledger.lines() {
        let mut samples = Vec::new();
        for fate in line.fates {
            if UNDER_WAY.contains(&fate.name) {
                let name = format!("{}_{}", line.name, fate.name);
                let help = meaning(&name).unwrap_or("Under way now");
                metrics.push(Metric::plain(name, help, Kind::Gauge, fate.count as f64));
            } else if fate.reasons.is_empty() {
                samples.push(Sample { labels: labels(fate.name, ""), value: fate.count as f64 });
            } else {
                samples.extend(
                    fate.reasons
                        .iter()
                        .map(|(reason, count)| Sample { labels: labels(fate.name, reason), value: *count as f64 }),
                );
            }
        }
        metrics.push(Metric {
            name: line.name.to_owned(),
            help: meaning(line.name).unwrap_or("A line of the ledger: units by what became of them"),
            kind: Kind::Counter,
            samples,
        });
    }
    for (name, count) in ledger.beside() {
        let help = meaning(name).unwrap_or("Beside the ledger");
        metrics.push(Metric::plain(name, help, Kind::Counter, count as f64));
    }
    metrics
}

fn labels(fate: &str, reason: &str) -> Vec<(&'static str, String)> {
    vec![("fate", fate.to_owned()), ("reason", reason.to_owned())]
}

/// What each source counts. Series go by the source's name, which stays the same whatever interface it has; which one that
/// is a series of its own tells.
#[must_use]
pub fn source_metrics(sources: &[SourceStatus]) -> Vec<Metric> {
    let family = |name: &str, help, kind, value: fn(&SourceStatus) -> f64| Metric {
        name: name.to_owned(),
        help,
        kind,
        samples: sources
            .iter()
            .map(|source| Sample { labels: vec![("source", source.name.clone())], value: value(source) })
            .collect(),
    };
    let is_up = |source: &SourceStatus| f64::from(u8::from(source.state == SourceState::Up));
    // One that a pattern has to spare, and that never had an interface, is not down.
    let meant = sources.iter().filter(|source| source.state != SourceState::Waiting || source.interface.is_some());
    let samples = meant.map(|source| Sample { labels: vec![("source", source.name.clone())], value: is_up(source) });
    let interface = |source: &SourceStatus| {
        let interface = source.interface.clone().filter(|_| source.state == SourceState::Up)?;
        Some(Sample { labels: vec![("source", source.name.clone()), ("interface", interface)], value: 1.0 })
    };
    vec![
        Metric {
            name: "source_up".to_owned(),
            help: "Whether the source gives frames",
            kind: Kind::Gauge,
            samples: samples.collect(),
        },
        Metric {
            name: "source_interface".to_owned(),
            help: "The interface that the source has now",
            kind: Kind::Gauge,
            samples: sources.iter().filter_map(interface).collect(),
        },
        family("source_frames", "Frames taken from the source", Kind::Counter, |source| source.report.frames as f64),
        family("source_received", "Frames the kernel had for the source, dropped or not", Kind::Counter, |source| {
            source.report.source.received as f64
        }),
        family(
            "source_kernel_drops",
            "Frames the kernel dropped: ring or socket buffer full",
            Kind::Counter,
            |source| source.report.source.kernel_drops as f64,
        ),
        family("source_interface_drops", "Frames the interface dropped", Kind::Counter, |source| {
            source.report.source.interface_drops as f64
        }),
        family(
            "source_abandoned",
            "Frames the kernel still held when the source was lost or the end was due",
            Kind::Counter,
            |source| source.report.abandoned as f64,
        ),
        family("source_reopened", "Times the source was lost and found again", Kind::Counter, |source| {
            source.report.reopened as f64
        }),
    ]
}

/// The metrics as text.
#[must_use]
pub fn render(metrics: Vec<Metric>) -> String {
    let mut registry = Registry::with_prefix("sensor");
    registry.register_collector(Box::new(Fixed(metrics)));
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = text::encode(&mut text, &registry);
    text
}

/// Metrics as they were when asked for.
#[derive(Debug)]
struct Fixed(Vec<Metric>);

impl Collector for Fixed {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for metric in &self.0 {
            let kind = match metric.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
            };
            let mut family = encoder.encode_descriptor(&metric.name, metric.help, None, kind)?;
            for sample in &metric.samples {
                if sample.labels.is_empty() {
                    encode_value(metric.kind, sample.value, &mut family)?;
                } else {
                    // The library writes values as they are.
                    let labels: Vec<_> = sample.labels.iter().map(|(name, value)| (*name, escape(value))).collect();
                    encode_value(metric.kind, sample.value, &mut family.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }
}

fn encode_value(kind: Kind, value: f64, encoder: &mut MetricEncoder<'_>) -> Result<(), fmt::Error> {
    match kind {
        Kind::Counter => encoder.encode_counter::<NoLabelSet, f64, f64>(&value, None),
        Kind::Gauge => encoder.encode_gauge(&value),
    }
}

/// A label's value as the text form wants it (OpenMetrics 1.0, section "Escaping").
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::CaptureReport;

    #[test]
    fn every_line_of_the_ledger_is_there_and_adds_up() {
        let mut ledger = Ledger::default();
        ledger.decap.segments = 7;
        ledger.reassembly.segments = 4;
        ledger.refused.segments = 3;
        ledger.reassembly.held_bytes = 12;
        let text = render(ledger_metrics(&ledger));
        for expected in [
            "# TYPE sensor_segments counter",
            "sensor_segments_total{fate=\"reassembled\",reason=\"\"} 4.0",
            "sensor_segments_total{fate=\"dropped\",reason=\"queue_full\"} 3.0",
            "# TYPE sensor_payload_bytes_held gauge",
            "sensor_payload_bytes_held 12.0",
            "# EOF",
        ] {
            assert!(text.contains(expected), "{text}\nlacks {expected}");
        }
        for line in ledger.lines() {
            assert!(text.contains(&format!("# TYPE sensor_{} counter", line.name)), "{}", line.name);
        }
    }

    #[test]
    fn each_says_what_it_counts() {
        let ledger = Ledger { delivery: Some(uploader::RecordsLine::default()), ..Ledger::default() };
        for metric in ledger_metrics(&ledger) {
            assert!(meaning(&metric.name) == Some(metric.help), "{}: {}", metric.name, metric.help);
        }
    }

    fn source(name: &str, interface: Option<&str>, state: SourceState) -> SourceStatus {
        let (name, interface) = (name.to_owned(), interface.map(str::to_owned));
        SourceStatus { name, interface, state, report: CaptureReport::default() }
    }

    #[test]
    fn names_of_sources_are_escaped() {
        let text = render(source_metrics(&[source("a\"b\\c", None, SourceState::Up)]));
        assert!(text.contains("sensor_source_up{source=\"a\\\"b\\\\c\"} 1.0"), "{text}");
    }

    #[test]
    fn a_source_to_spare_is_not_one_that_is_down() {
        let text = render(source_metrics(&[
            source("eth* #1", Some("eth4"), SourceState::Waiting),
            source("eth* #2", None, SourceState::Waiting),
            source("eth1", Some("eth1"), SourceState::Down),
        ]));
        assert!(text.contains("sensor_source_up{source=\"eth1\"} 0.0"), "{text}");
        assert!(text.contains("sensor_source_up{source=\"eth* #1\"} 0.0"), "it had one: {text}");
        assert!(!text.contains("sensor_source_up{source=\"eth* #2\"}"), "{text}");
        assert!(text.contains("sensor_source_frames_total{source=\"eth* #2\"} 0.0"), "{text}");
        assert!(!text.contains("sensor_source_interface{"), "none has one now: {text}");
    }

    #[test]
    fn series_stay_while_interfaces_change() {
        let series = |interface| {
            let text = render(source_metrics(&[source("tap #1", Some(interface), SourceState::Up)]));
            assert!(
                text.contains(&format!("sensor_source_interface{{source=\"tap #1\",interface=\"{interface}\"}} 1"))
            );
            text.lines().filter(|line| !line.contains("source_interface{")).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(series("eth1"), series("eth2"));
    }
}
