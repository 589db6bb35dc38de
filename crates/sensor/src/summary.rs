//! The summary at the end: what a person wants to know at a glance.

use std::cmp::Reverse;
use std::fmt;

use decap::TunnelKind;
use http_parse::{Flag, Protocol, Unparsable};
use indicatif::HumanCount;
use reassembly::DropReason;

use crate::replay::Outcome;
use crate::tally::Tally;
use crate::top::TopList;

/// Names shown of each list.
const NAMES: usize = 5;

/// Shows an [`Outcome`], in lines of a label and what there is to say; lines with nothing to say are left out.
#[derive(Clone, Copy, Debug)]
pub struct Summary<'a>(pub &'a Outcome);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { ledger, tally, .. } = self.0;
        let mut line = |label: &str, parts: Vec<String>| -> fmt::Result {
            if parts.is_empty() { Ok(()) } else { writeln!(f, "{label:<15}{}", parts.join(" · ")) }
        };
        line("read", self.input())?;
        line("speed", self.speed())?;
        line("transactions", self.transactions())?;
        line("status", nonzero(Tally::CLASSES.into_iter().zip(tally.status_classes)))?;
        line("hosts", names(&tally.hosts))?;
        let tunnels = TunnelKind::ALL.iter().map(|kind| kind.name()).zip(ledger.decap.tunnels);
        line("oddities", frequent(Flag::ALL.iter().map(|flag| flag.name()).zip(tally.flags)))?;
        line("encapsulation", nonzero(tunnels.chain([("vlan", ledger.decap.vlan_tagged)])))?;
        line("not HTTP/1", self.other_protocols())?;
        line("TLS names", names(&tally.server_names))?;
        line("TLS offers", names(&tally.application_protocols))?;
        line("not TCP", nonzero(named_reasons(&ledger.decap.skipped, decap::SkipReason::ALL, |reason| reason.name())))?;
        line("lost", self.lost())?;
        line("unparsable", nonzero(named_reasons(&ledger.http.unparsable, Unparsable::ALL, |reason| reason.name())))?;
        line("seen again", self.repeated())?;
        for hint in self.hints() {
            line("note", vec![hint])?;
        }
        Ok(())
    }
}

impl Summary<'_> {
    fn input(&self) -> Vec<String> {
        let Outcome { ledger, was_interrupted, .. } = self.0;
        let captures = &ledger.captures;
        let mut parts = vec![
            plural(captures.opened, "capture", "captures"),
            plural(captures.frames, "packet", "packets"),
            amount(ledger.decap.bytes),
        ];
        if captures.filtered > 0 {
            parts.push(format!("{} left out by the filter", HumanCount(captures.filtered)));
        }
        if captures.unsupported > 0 {
            parts.push(format!("{} more of link types that cannot be read", HumanCount(captures.unsupported)));
        }
        if *was_interrupted {
            parts.push("stopped before the end".to_owned());
        }
        parts
    }

    fn speed(&self) -> Vec<String> {
        let Outcome { ledger, elapsed, .. } = self.0;
        let seconds = elapsed.as_secs_f64();
        if seconds <= 0.0 {
            return Vec::new();
        }
        let rate = |count: u64| count as f64 / seconds;
        vec![
            format!("{seconds:.2} s"),
            scaled(rate(ledger.captures.frames), "packets/s"),
            scaled(rate(ledger.recorded), "transactions/s"),
            format!("{:.2} Gbit/s", rate(ledger.decap.bytes) * 8.0 / 1e9),
        ]
    }

    fn transactions(&self) -> Vec<String> {
        let ledger = &self.0.ledger;
        let mut parts = vec![HumanCount(ledger.recorded).to_string()];
        let flows = ledger.filtered.sum(|rule| rule.flows);
        parts.extend(nonzero([
            ("paired", ledger.http.paired),
            ("unanswered requests", ledger.http.unanswered),
            ("orphan responses", ledger.http.orphans),
            ("filtered by rules", ledger.filtered.sum(|rule| rule.exchanges)),
            ("left out by sampling", ledger.filtered.sum(|rule| rule.sampled_out)),
            ("left out, as the platform cannot take them", ledger.unsendable),
        ]));
        if flows > 0 {
            parts.push(format!("{} filtered whole by rules", plural(flows, "connection", "connections")));
        }
        parts
    }

    fn other_protocols(&self) -> Vec<String> {
        let http = &self.0.ledger.http;
        let recognized = Protocol::ALL.iter().map(|kind| kind.name()).zip(http.recognized);
        let mut parts: Vec<_> = recognized
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| format!("{name} {}", plural(count, "connection", "connections")))
            .collect();
        let bytes: u64 = http.not_http_bytes.iter().sum();
        if bytes > 0 {
            parts.push(format!("{} in all", amount(bytes)));
        }
        parts
    }

    fn lost(&self) -> Vec<String> {
        let ledger = &self.0.ledger;
        let (decap, reassembly) = (&ledger.decap, &ledger.reassembly);
        let mut parts = Vec::new();
        let drops = ledger.captures.interface_drops + ledger.captures.system_drops;
        if drops > 0 {
            parts.push(format!("{} dropped while capturing", plural(drops, "packet", "packets")));
        }
        if reassembly.gaps > 0 {
            parts.push(format!("{} in {}", amount(reassembly.gap_bytes), plural(reassembly.gaps, "gap", "gaps")));
        }
        if reassembly.forced_by_memory > 0 {
            let waits = plural(reassembly.forced_by_memory, "wait", "waits");
            parts.push(format!("{waits} for late bytes cut short for want of memory"));
        }
        if decap.truncated_frames > 0 {
            let cut = plural(decap.truncated_frames, "packet", "packets");
            parts.push(format!("{cut} cut short, {} of payload not captured", amount(decap.missing_bytes)));
        }
        if reassembly.out_of_window_bytes > 0 {
            parts.push(format!("{} out of window", amount(reassembly.out_of_window_bytes)));
        }
        let dropped = named_reasons(&reassembly.dropped_bytes, DropReason::ALL, |reason| reason.name());
        parts.extend(
            dropped.filter(|(_, bytes)| *bytes > 0).map(|(name, bytes)| format!("{} dropped: {name}", amount(bytes))),
        );
        if reassembly.evicted_flows > 0 {
            parts.push(format!("{} evicted for memory", plural(reassembly.evicted_flows, "flow", "flows")));
        }
        parts
    }

    fn repeated(&self) -> Vec<String> {
        let reassembly = &self.0.ledger.reassembly;
        let mut parts = Vec::new();
        if reassembly.duplicate_segments > 0 {
            parts
                .push(format!("{} copied by the mirror", plural(reassembly.duplicate_segments, "segment", "segments")));
        }
        if reassembly.retransmitted_segments > 0 {
            parts.push(format!("{} retransmitted", plural(reassembly.retransmitted_segments, "segment", "segments")));
        }
        if reassembly.conflicting_overlaps > 0 {
            parts.push(format!("{} that contradict the first copy", amount(reassembly.conflicting_overlaps)));
        }
        parts
    }

    /// What the counts say about the mirror, in words.
    fn hints(&self) -> Vec<String> {
        let ledger = &self.0.ledger;
        let (decap, reassembly, http) = (&ledger.decap, &ledger.reassembly, &ledger.http);
        let mut hints = Vec::new();
        let tls = http.recognized[Protocol::Tls as usize];
        if ledger.recorded == 0 && ledger.captures.frames > 0 {
            let recognized: u64 = http.recognized.iter().sum();
            hints.push(if tls > 0 && tls * 2 > recognized {
                "no HTTP found: the mirror is TLS; capture where it is decrypted, behind the load balancer or proxy"
                    .to_owned()
            } else if http.recognized[Protocol::Http2 as usize] > 0 {
                "no HTTP/1 found, but HTTP/2, which is counted and not decoded yet".to_owned()
            } else if ledger.captures.filtered == ledger.captures.frames {
                "the filter left nothing; on tunnelled traffic it sees the outer headers".to_owned()
            } else if ledger.filtered.sum(|rule| rule.exchanges + rule.sampled_out + rule.flows) > 0 {
                "the rules of [filters] left nothing; 'sensor filter test' says which rule decides on what".to_owned()
            } else if decap.segments == 0 {
                "no TCP found".to_owned()
            } else if reassembly.opened == 0 {
                "no HTTP found: no TCP segment carried payload".to_owned()
            } else {
                "no HTTP found".to_owned()
            });
        } else if tls > 0 && tls > reassembly.opened / 10 * 9 {
            hints.push("almost every connection is TLS, which cannot be read here".to_owned());
        }
        if ledger.recorded >= 10 && http.paired == 0 {
            hints.push(match (http.unanswered, http.orphans) {
                (_, 0) => "only requests seen: the mirror seems to copy one direction".to_owned(),
                (0, _) => "only responses seen: the mirror seems to copy one direction".to_owned(),
                _ if decap.tunnels.iter().any(|count| *count > 0) => "requests and responses seen, but no pair: the \
                     mirror seems to bring the two directions under different virtual network ids; if so, name the ids \
                     that the records show in one group of decap.aliases"
                    .to_owned(),
                _ => "requests and responses seen, but no pair: the mirror seems to copy the requests of some \
                      connections and the responses of others"
                    .to_owned(),
            });
        }
        if reassembly.duplicate_segments > decap.segments / 4 && reassembly.duplicate_segments > 0 {
            hints.push("the mirror copies packets more than once; records are not doubled by it".to_owned());
        }
        if reassembly.forced_by_memory > 0 {
            hints.push(
                "memory for what is out of order was full: with more --memory, or fewer --workers to share it, more may \
                 be found"
                    .to_owned(),
            );
        }
        if decap.missing_bytes > 0 && decap.truncated_frames > ledger.captures.frames / 100 {
            hints.push("raise the snapshot length of the capture, or the mirror's MTU, to see whole bodies".to_owned());
        }
        hints
    }
}

fn nonzero<'a>(counts: impl IntoIterator<Item = (&'a str, u64)>) -> Vec<String> {
    counts.into_iter().filter(|(_, count)| *count > 0).map(|(name, n)| format!("{name} {}", HumanCount(n))).collect()
}

/// The most frequent of many counts.
fn frequent<'a>(counts: impl IntoIterator<Item = (&'a str, u64)>) -> Vec<String> {
    let mut counts: Vec<_> = counts.into_iter().filter(|(_, count)| *count > 0).collect();
    counts.sort_by_key(|(_, count)| Reverse(*count));
    let others = counts.len().saturating_sub(NAMES);
    counts.truncate(NAMES);
    let mut parts = nonzero(counts);
    if others > 0 {
        parts.push(plural(others as u64, "other kind", "other kinds"));
    }
    parts
}

fn named_reasons<'a, R: Copy>(
    counts: &'a [u64],
    reasons: &'a [R],
    name: fn(R) -> &'static str,
) -> impl Iterator<Item = (&'static str, u64)> + 'a {
    reasons.iter().map(move |reason| name(*reason)).zip(counts.iter().copied())
}

fn names(list: &TopList) -> Vec<String> {
    let mut parts: Vec<_> = list
        .top(NAMES)
        .into_iter()
        .map(|counted| {
            let about = if counted.surplus > 0 { "about " } else { "" };
            format!("{} {about}{}", counted.name, HumanCount(counted.count))
        })
        .collect();
    let others = list.len().saturating_sub(parts.len());
    if !list.is_exact() {
        parts.push("many others".to_owned());
    } else if others > 0 {
        parts.push(plural(others as u64, "other", "others"));
    }
    parts
}

fn plural(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", HumanCount(count), if count == 1 { one } else { many })
}

/// Bytes in decimal units, as line rates are given.
fn amount(bytes: u64) -> String {
    if bytes < 1_000 { plural(bytes, "byte", "bytes") } else { scaled(bytes as f64, "B") }
}

/// Three digits, a decimal prefix and a unit.
fn scaled(value: f64, unit: &str) -> String {
    // A prefix belongs to a symbol; before a word it stands apart.
    let gap = if unit.len() > 1 { " " } else { "" };
    for (scale, prefix) in [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")] {
        if value >= scale {
            let value = value / scale;
            let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
            return format!("{value:.decimals$} {prefix}{gap}{unit}");
        }
    }
    format!("{value:.0} {unit}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ledger::{Captures, Ledger};

    fn outcome() -> Outcome {
        let mut ledger = Ledger { recorded: 500_000, ..Ledger::default() };
        ledger.captures = Captures { opened: 1, frames: 1_234_567, ..Captures::default() };
        ledger.decap.frames = 1_234_567;
        ledger.decap.bytes = 1_500_000_000;
        ledger.decap.segments = 1_234_000;
        ledger.decap.skipped[decap::SkipReason::Udp as usize] = 567;
        ledger.decap.tunnels[TunnelKind::Vxlan as usize] = 1_234_000;
        ledger.http.paired = 499_990;
        ledger.http.unanswered = 10;
        ledger.reassembly.opened = 100;
        let mut tally = Tally { status_classes: [0, 499_000, 0, 990, 0, 0], ..Tally::default() };
        tally.flags[Flag::BareLf as usize] = 7;
        tally.flags[Flag::ObsFold as usize] = 9;
        for n in 0..8_u8 {
            for _ in 0..=n {
                tally.hosts.add(format!("host{n}.example").as_bytes());
            }
        }
        Outcome {
            ledger,
            tally,
            elapsed: Duration::from_secs(2),
            failures: Vec::new(),
            output_failure: None,
            delivery: None,
            was_interrupted: false,
        }
    }

    #[test]
    fn shows_what_there_is_and_nothing_else() {
        let text = Summary(&outcome()).to_string();
        assert_eq!(
            text,
            "\
read           1 capture · 1,234,567 packets · 1.50 GB
speed          2.00 s · 617 k packets/s · 250 k transactions/s · 6.00 Gbit/s
transactions   500,000 · paired 499,990 · unanswered requests 10
status         2xx 499,000 · 4xx 990
hosts          host7.example 8 · host6.example 7 · host5.example 6 · host4.example 5 · host3.example 4 · 3 others
oddities       obs_fold 9 · bare_lf 7
encapsulation  vxlan 1,234,000
not TCP        udp 567
"
        );
    }

    #[test]
    fn says_when_the_mirror_is_all_tls() {
        let mut outcome = outcome();
        outcome.ledger.recorded = 0;
        outcome.ledger.http = http_parse::Stats::default();
        outcome.ledger.http.recognized[Protocol::Tls as usize] = 98;
        outcome.ledger.http.recognized[Protocol::Ssh as usize] = 2;
        outcome.tally = Tally::default();
        outcome.tally.server_names.add(b"shop.example");
        outcome.tally.application_protocols.add(b"http/1.1");
        let text = Summary(&outcome).to_string();
        assert!(text.contains("tls 98 connections · ssh 2 connections"), "{text}");
        assert!(text.contains("TLS names      shop.example 1\nTLS offers     http/1.1 1\n"), "{text}");
        assert!(text.contains("note           no HTTP found: the mirror is TLS"), "{text}");
    }

    #[test]
    fn says_when_one_direction_is_missing() {
        let mut outcome = outcome();
        outcome.ledger.http.paired = 0;
        outcome.ledger.http.unanswered = 500_000;
        assert!(Summary(&outcome).to_string().contains("only requests seen"));
        (outcome.ledger.http.unanswered, outcome.ledger.http.orphans) = (0, 500_000);
        assert!(Summary(&outcome).to_string().contains("only responses seen"));
        outcome.ledger.unsendable = 500_000;
        let text = Summary(&outcome).to_string();
        assert!(
            text.contains("orphan responses 500,000 · left out, as the platform cannot take them 500,000\n"),
            "{text}"
        );
    }

    #[test]
    fn says_what_rules_left_out() {
        let rules = crate::filter::Rules::default();
        let mut outcome = outcome();
        let slot = outcome.ledger.filtered.admit(&rules)[0];
        let rule = outcome.ledger.filtered.at(slot).unwrap();
        (rule.exchanges, rule.sampled_out, rule.flows) = (7, 8, 1);
        let text = Summary(&outcome).to_string();
        assert!(
            text.contains("filtered by rules 7 · left out by sampling 8 · 1 connection filtered whole by rules"),
            "{text}"
        );
        outcome.ledger.recorded = 0;
        let text = Summary(&outcome).to_string();
        assert!(text.contains("note           the rules of [filters] left nothing"), "{text}");
    }

    #[test]
    fn says_when_directions_do_not_meet() {
        let mut outcome = outcome();
        outcome.ledger.http = http_parse::Stats { unanswered: 250_000, orphans: 250_000, ..Default::default() };
        let text = Summary(&outcome).to_string();
        assert!(text.contains("in one group of decap.aliases"), "{text}");
        outcome.ledger.decap.tunnels = Default::default();
        let text = Summary(&outcome).to_string();
        assert!(text.contains("no pair") && !text.contains("aliases"), "{text}");
    }

    #[test]
    fn says_what_was_lost_and_repeated() {
        let mut outcome = outcome();
        outcome.ledger.reassembly.gaps = 3;
        outcome.ledger.reassembly.gap_bytes = 4_380;
        outcome.ledger.reassembly.forced_by_memory = 2;
        outcome.ledger.reassembly.dropped_bytes[DropReason::PageMemory as usize] = 999;
        outcome.ledger.reassembly.duplicate_segments = 617_000;
        outcome.ledger.decap.truncated_frames = 20_000;
        outcome.ledger.decap.missing_bytes = 1;
        let text = Summary(&outcome).to_string();
        assert!(
            text.contains(
                "lost           4.38 kB in 3 gaps · 2 waits for late bytes cut short for want of memory · 20,000 packets cut short, 1 byte of payload not captured · 999 bytes dropped: page_memory\n"
            ),
            "{text}"
        );
        assert!(text.contains("note           memory for what is out of order was full: with more --memory"), "{text}");
        assert!(text.contains("617,000 segments copied by the mirror"), "{text}");
        assert!(text.contains("note           the mirror copies packets more than once"), "{text}");
        assert!(text.contains("note           raise the snapshot length"), "{text}");
    }
}
