//! The ledger: nothing is lost unseen.
//!
//! Every unit has exactly one fate, and each line adds up:
//!
//! ```text
//! received       = frames + dropped{reason}                                     (live)
//! frames         = segments + joined + held + filtered + unsupported + skipped{reason}
//! segments       = reassembled + dropped{reason}
//! payload_bytes  = delivered + skipped + shunted + already_seen + out_of_window + held + dropped{reason}
//! opened_flows   = read + filtered{rule}
//! stream_bytes   = parsed + gaps + undecided + filtered{rule} + proxy_protocol + not_http{protocol}
//! messages       = paired (twice the exchanges) + unanswered + orphans + pending + unparsable{reason}
//! exchanges      = recorded + filtered{rule} + sampled_out{rule} + unsendable
//! records        = accepted + rejected + waiting{where} + dropped{reason}      (where records are sent)
//! ```
//!
//! Each stage counts its own line. What one stage gives and what the next one takes are counted on both sides, and the
//! [`Joint`]s say whether they agree. Where a defect of the program cost a flow or a frame, every line has one more fate,
//! `given_up`, for what is left of it. Names are stable: they are the labels of `--ledger json`.

use std::borrow::Cow;
use std::fmt;

use decap::SkipReason;
use http_parse::{Protocol, Unparsable};
use reassembly::DropReason;
use serde_json::{Map, Value, json};

use uploader::{DropReason as RecordDropReason, RecordsLine};

use crate::dispatch::Refused;
use crate::filter::{NO_INCLUDE_RULE, Outcome, Outcomes};
use crate::handler::ProxyCounts;
use crate::pipeline::LaneReport;

/// Counts of a whole run, over all workers.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// What was counted over the captures.
    pub captures: Captures,
    /// What decapsulation counted.
    pub decap: decap::Stats,
    /// Payload bytes that decapsulation gave.
    pub segment_payload_bytes: u64,
    /// What no worker could take; nothing where reading waits for the workers.
    pub refused: Refused,
    /// Of the sensor's own connections; nothing where files are read.
    pub own: Refused,
    /// What reassembly counted.
    pub reassembly: reassembly::Stats,
    /// What HTTP parsing counted.
    pub http: http_parse::Stats,
    /// Records written.
    pub recorded: u64,
    /// Exchanges of which no record was written, because the records' shape has no place for them.
    pub unsendable: u64,
    /// Flows whose streams were read.
    pub flows_read: u64,
    /// What filters left out, by rule.
    pub filtered: Outcomes,
    /// What was found of the PROXY protocol.
    pub proxy: ProxyCounts,
    /// Records that the sealing thread could not take, because it is never waited for in a live capture.
    pub unsealed: u64,
    /// Records that a file or pipe did not take, because it stood still when a signal ended the run.
    pub unwritten: u64,
    /// Of a sensor that runs, and writes to a file or pipe: records that this has not taken yet.
    pub unsettled: Option<u64>,
    /// Flows given up because of a defect of the program. What became of their units is what is left of each line.
    pub given_up: u64,
    /// Frames given up because of a defect of the program.
    pub frames_given_up: u64,
    /// What became of the records, where they are sent.
    pub delivery: Option<RecordsLine>,
}

/// What the reading side counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Captures {
    /// Captures that were opened.
    pub opened: u64,
    /// Frames that they gave.
    pub frames: u64,
    /// Of those: refused by the operator's filter.
    pub filtered: u64,
    /// Packets beside those frames: of an interface whose link type cannot be read.
    pub unsupported: u64,
    /// Live: frames that the kernel accepted for the sources, dropped ones included.
    pub received: u64,
    /// Live: frames that the kernel still held when a source was lost, or the end was due.
    pub abandoned: u64,
    /// Packets that never reached the captures: dropped by the capturing interfaces, as the captures say.
    pub interface_drops: u64,
    /// Packets that never reached the captures: dropped by the capturing system, as the captures say.
    pub system_drops: u64,
}

/// One line: a total and the fates it is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What is counted.
    pub name: &'static str,
    /// How many there were.
    pub total: u64,
    /// What became of them.
    pub fates: Vec<Fate>,
}

/// One fate of a line's units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fate {
    /// What became of them.
    pub name: &'static str,
    /// How many.
    pub count: u64,
    /// The same by reason, where there are reasons; all of them, zero or not.
    pub reasons: Vec<(Cow<'static, str>, u64)>,
    /// Whether there are reasons, even where none has a name yet.
    pub is_split: bool,
}

/// A number counted by two stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joint {
    /// What one stage counted.
    pub given: (&'static str, u64),
    /// What the other one counted.
    pub taken: (&'static str, u64),
}

/// What does not add up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imbalance {
    faults: Vec<String>,
}

impl fmt::Display for Imbalance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the ledger does not add up: {}", self.faults.join("; "))
    }
}

impl std::error::Error for Imbalance {}

impl Ledger {
    /// The ledger of a run: what decapsulation counted and what each worker did.
    #[must_use]
    pub fn gather<'a>(
        captures: Captures,
        decap: &decap::Stats,
        segment_payload_bytes: u64,
        lanes: impl IntoIterator<Item = &'a LaneReport>,
    ) -> Self {
        let mut ledger = Self { captures, decap: decap.clone(), segment_payload_bytes, ..Self::default() };
        for lane in lanes {
            ledger.reassembly += &lane.reassembly;
            ledger.http += &lane.http;
            ledger.recorded += lane.recorded;
            ledger.unsendable += lane.unsendable;
            ledger.unwritten += lane.unwritten;
            ledger.given_up += lane.given_up;
            ledger.flows_read += lane.flows_read;
            ledger.filtered.add(&lane.filtered);
            ledger.proxy.connections += lane.proxy.connections;
            ledger.proxy.bytes += lane.proxy.bytes;
        }
        ledger
    }

    /// Exchanges that HTTP parsing gave.
    #[must_use]
    pub fn exchanges(&self) -> u64 {
        self.http.paired + self.http.unanswered + self.http.orphans
    }

    /// Bytes of streams, whoever they were for.
    fn stream_bytes(&self) -> u64 {
        self.http.stream_bytes + self.filtered.sum(|rule| rule.flow_bytes) + self.proxy.bytes
    }

    /// What rules left out, by what `count` counts.
    fn filtered(&self, count: impl Fn(&Outcome) -> u64) -> Fate {
        let counts = self.filtered.each().iter().filter(|rule| rule.filters).map(|rule| (&rule.name, count(rule)));
        let mut reasons: Vec<_> = counts.map(|(name, count)| (Cow::Owned(name.to_string()), count)).collect();
        if reasons.is_empty() {
            reasons.push((Cow::Borrowed(NO_INCLUDE_RULE), 0));
        }
        Fate::split("filtered", reasons)
    }

    /// Every line, in the order of the stages.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        let Self { captures, decap, reassembly, http, refused, own, .. } = self;
        let mut lines = vec![
            Line {
                name: "frames",
                total: captures.frames + captures.unsupported,
                fates: vec![
                    Fate::new("segments", decap.segments),
                    Fate::new("joined", decap.joined),
                    Fate::new("held", decap.held),
                    Fate::new("filtered", captures.filtered),
                    Fate::new("unsupported", captures.unsupported),
                    Fate::by_reason("skipped", SkipReason::ALL.iter().map(|reason| reason.name()), &decap.skipped),
                ],
            },
            Line {
                name: "segments",
                total: decap.segments,
                fates: vec![
                    Fate::new("reassembled", reassembly.segments),
                    Fate::by_reason(
                        "dropped",
                        ["queue_full", "own_traffic"].into_iter(),
                        &[refused.segments, own.segments],
                    ),
                ],
            },
            Line {
                name: "payload_bytes",
                total: reassembly.payload_bytes,
                fates: vec![
                    Fate::new("delivered", reassembly.delivered_bytes),
                    Fate::new("skipped", reassembly.skipped_bytes),
                    Fate::new("shunted", reassembly.shunted_bytes),
                    Fate::new("already_seen", reassembly.already_seen_bytes),
                    Fate::new("out_of_window", reassembly.out_of_window_bytes),
                    Fate::new("held", reassembly.held_bytes),
                    Fate::by_reason(
                        "dropped",
                        DropReason::ALL.iter().map(|reason| reason.name()),
                        &reassembly.dropped_bytes,
                    ),
                ],
            },
            Line {
                name: "opened_flows",
                total: reassembly.opened,
                fates: vec![Fate::new("read", self.flows_read), self.filtered(|rule| rule.flows)],
            },
            Line {
                name: "stream_bytes",
                total: self.stream_bytes(),
                fates: vec![
                    Fate::new("parsed", http.parsed_bytes),
                    Fate::new("gaps", http.gap_bytes),
                    Fate::new("undecided", http.undecided_bytes),
                    self.filtered(|rule| rule.flow_bytes),
                    Fate::new("proxy_protocol", self.proxy.bytes),
                    Fate::by_reason("not_http", Protocol::ALL.iter().map(|kind| kind.name()), &http.not_http_bytes),
                ],
            },
            Line {
                name: "messages",
                total: http.messages,
                fates: vec![
                    Fate::new("paired", 2 * http.paired),
                    Fate::new("unanswered", http.unanswered),
                    Fate::new("orphans", http.orphans),
                    Fate::new("pending", http.pending_messages),
                    Fate::by_reason("unparsable", Unparsable::ALL.iter().map(|reason| reason.name()), &http.unparsable),
                ],
            },
            Line {
                name: "exchanges",
                total: self.exchanges(),
                fates: vec![
                    Fate::new("recorded", self.recorded),
                    self.filtered(|rule| rule.exchanges),
                    Fate::split(
                        "sampled_out",
                        self.filtered
                            .each()
                            .iter()
                            .filter(|rule| rule.samples)
                            .map(|rule| (Cow::Owned(rule.name.to_string()), rule.sampled_out))
                            .collect(),
                    ),
                    Fate::new("unsendable", self.unsendable),
                ],
            },
        ];
        // Live only: files do not say how many frames there were.
        if captures.received > 0 {
            lines.insert(
                0,
                Line {
                    name: "received",
                    total: captures.received,
                    fates: vec![
                        Fate::new("frames", captures.frames),
                        Fate::by_reason(
                            "dropped",
                            ["kernel", "abandoned"].into_iter(),
                            &[captures.system_drops, captures.abandoned],
                        ),
                    ],
                },
            );
        }
        if let Some(records) = &self.delivery {
            let waiting = [records.waiting_memory, records.waiting_spool];
            let mut dropped = vec![self.unsealed];
            dropped.extend_from_slice(&records.dropped);
            let reasons = RecordDropReason::ALL.iter().map(|reason| reason.name());
            lines.push(Line {
                name: "records",
                total: records.taken + records.recovered + self.unsealed,
                fates: vec![
                    Fate::new("accepted", records.accepted),
                    Fate::new("rejected", records.rejected),
                    Fate::by_reason("waiting", ["memory", "spool"].into_iter(), &waiting),
                    Fate::by_reason("dropped", ["sealing_full"].into_iter().chain(reasons), &dropped),
                ],
            });
        } else if self.unsealed + self.unwritten > 0 || self.unsettled.is_some() {
            // Into a file or a pipe that stood still, or may yet.
            let missing = self.unsealed + self.unwritten + self.unsettled.unwrap_or(0);
            lines.push(Line {
                name: "records",
                total: self.recorded,
                fates: vec![
                    Fate::new("written", self.recorded.saturating_sub(missing)),
                    Fate::by_reason(
                        "dropped",
                        ["sealing_full", "output_stalled"].into_iter(),
                        &[self.unsealed, self.unwritten],
                    ),
                ]
                .into_iter()
                .chain(self.unsettled.map(|unsettled| Fate::new("waiting", unsettled)))
                .collect(),
            });
        }
        if self.has_defects() {
            for line in &mut lines {
                let known: u64 = line.fates.iter().map(|fate| fate.count).sum();
                line.fates.push(Fate::new("given_up", line.total.saturating_sub(known)));
            }
        }
        lines
    }

    /// Whether anything was given up because of a defect of the program.
    #[must_use]
    pub const fn has_defects(&self) -> bool {
        self.given_up + self.frames_given_up > 0
    }

    /// Every number that two stages counted.
    #[must_use]
    pub fn joints(&self) -> Vec<Joint> {
        let Self { captures, decap, reassembly, .. } = self;
        let streamed =
            reassembly.delivered_bytes + reassembly.skipped_bytes + reassembly.gap_bytes + reassembly.shunted_bytes;
        let mut joints = vec![
            Joint {
                given: ("frames less those filtered", captures.frames.saturating_sub(captures.filtered)),
                taken: ("frames decapsulated", decap.frames),
            },
            Joint {
                given: (
                    "payload bytes from decapsulation, less those dropped",
                    self.segment_payload_bytes
                        .saturating_sub(self.refused.payload_bytes)
                        .saturating_sub(self.own.payload_bytes),
                ),
                taken: ("payload bytes reassembled", reassembly.payload_bytes),
            },
            Joint {
                given: ("bytes delivered, skipped, shunted and in gaps", streamed),
                taken: ("stream bytes", self.stream_bytes()),
            },
            Joint {
                given: ("flows opened", reassembly.opened),
                taken: ("flows closed", reassembly.closed.iter().sum()),
            },
        ];
        if let Some(records) = &self.delivery {
            joints.push(Joint {
                given: ("records written", self.recorded),
                taken: ("records handed to the uploader, or refused before it", records.taken + self.unsealed),
            });
        }
        joints
    }

    /// What lies beside the lines: conditions of the capture, no unit's fate.
    #[must_use]
    pub fn beside(&self) -> Vec<(&'static str, u64)> {
        let Self { captures, decap, reassembly, http, .. } = self;
        let mut beside = vec![
            ("captures", captures.opened),
            ("interface_drops", captures.interface_drops),
            ("system_drops", captures.system_drops),
            ("captured_bytes", decap.bytes),
            ("truncated_frames", decap.truncated_frames),
            ("truncated_payload_bytes", decap.missing_bytes),
            ("vlan_tagged_frames", decap.vlan_tagged),
            ("datagrams_joined", decap.datagrams),
            ("flows", reassembly.flows),
            ("proxy_protocol_connections", self.proxy.connections),
            ("mid_stream_flows", reassembly.mid_stream_flows),
            ("evicted_flows", reassembly.evicted_flows),
            ("gaps", reassembly.gaps),
            ("gap_bytes", reassembly.gap_bytes),
            ("waits_cut_by_memory", reassembly.forced_by_memory),
            ("waits_cut_by_limit", reassembly.forced_by_limit),
            ("duplicate_segments", reassembly.duplicate_segments),
            ("retransmitted_segments", reassembly.retransmitted_segments),
            ("out_of_order_segments", reassembly.out_of_order_segments),
            ("conflicting_overlap_bytes", reassembly.conflicting_overlaps),
            ("interim_responses", http.interim),
            ("flows_given_up", self.given_up),
            ("frames_given_up", self.frames_given_up),
        ];
        if let Some(records) = &self.delivery {
            // Accepted all the same: what it means is not laid down.
            beside.push(("records_reported_failed", records.reported_failed));
        }
        beside
    }

    /// Whether every line and every joint adds up, and nothing is left in flight: the check at the end of a run.
    ///
    /// # Errors
    /// With every line and joint that does not.
    pub fn check(&self) -> Result<(), Imbalance> {
        let mut faults = Vec::new();
        for line in self.lines() {
            let sum: u64 = line.fates.iter().map(|fate| fate.count).sum();
            if sum != line.total {
                faults.push(format!("{} {} have fates for {sum}", line.total, line.name));
            }
        }
        for Joint { given, taken } in self.joints() {
            // What a flow was given and given up with, nobody has taken.
            if given.1 != taken.1 && !(self.has_defects() && given.1 > taken.1) {
                faults.push(format!("{} {} against {} {}", given.1, given.0, taken.1, taken.0));
            }
        }
        let in_flight = [
            ("fragments held", self.decap.held),
            ("payload bytes held", self.reassembly.held_bytes),
            ("flows active", self.reassembly.active_flows),
            ("bytes undecided", self.http.undecided_bytes),
            ("messages pending", self.http.pending_messages),
        ];
        for (name, count) in in_flight {
            if count != 0 {
                faults.push(format!("{count} {name} after the end"));
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(Imbalance { faults }) }
    }

    /// For machines: every line, with every reason, zero or not.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut object = Map::new();
        for line in self.lines() {
            let mut fates = Map::new();
            fates.insert("total".to_owned(), json!(line.total));
            for fate in line.fates {
                let value = if fate.is_split {
                    fate.reasons.iter().map(|(name, count)| (name.to_string(), json!(count))).collect()
                } else {
                    json!(fate.count)
                };
                fates.insert(fate.name.to_owned(), value);
            }
            object.insert(line.name.to_owned(), Value::Object(fates));
        }
        let named = |entries: Vec<(&'static str, u64)>| -> Value {
            entries.into_iter().map(|(name, count)| (name.to_owned(), json!(count))).collect()
        };
        object.insert("beside".to_owned(), named(self.beside()));
        let kinds = decap::TunnelKind::ALL.iter().zip(self.decap.tunnels);
        object.insert("tunnels".to_owned(), named(kinds.map(|(kind, count)| (kind.name(), count)).collect()));
        let kinds = Protocol::ALL.iter().zip(self.http.recognized);
        object.insert("recognized".to_owned(), named(kinds.map(|(kind, count)| (kind.name(), count)).collect()));
        object.insert("balanced".to_owned(), json!(self.check().is_ok()));
        Value::Object(object)
    }
}

/// For people: every line as a sum; reasons and conditions where they are not zero.
impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.lines() {
            write!(f, "{:<14}{:>16} =", line.name, line.total)?;
            for (n, fate) in line.fates.iter().enumerate() {
                let plus = if n == 0 { "" } else { " +" };
                write!(f, "{plus} {} {}", fate.count, fate.name)?;
                let mut reasons = fate.reasons.iter().filter(|(_, count)| *count != 0).peekable();
                if reasons.peek().is_some() {
                    let reasons: Vec<_> = reasons.map(|(name, count)| format!("{name} {count}")).collect();
                    write!(f, " {{{}}}", reasons.join(", "))?;
                }
            }
            writeln!(f)?;
        }
        let beside: Vec<_> = self.beside().into_iter().filter(|(_, count)| *count != 0).collect();
        if !beside.is_empty() {
            let beside: Vec<_> = beside.into_iter().map(|(name, count)| format!("{name} {count}")).collect();
            writeln!(f, "{:<14}{}", "beside", beside.join(", "))?;
        }
        Ok(())
    }
}

impl Fate {
    fn new(name: &'static str, count: u64) -> Self {
        Self { name, count, reasons: Vec::new(), is_split: false }
    }

    fn split(name: &'static str, reasons: Vec<(Cow<'static, str>, u64)>) -> Self {
        Self { name, count: reasons.iter().map(|(_, count)| count).sum(), reasons, is_split: true }
    }

    fn by_reason(name: &'static str, names: impl Iterator<Item = &'static str>, counts: &[u64]) -> Self {
        Self::split(name, names.map(Cow::Borrowed).zip(counts.iter().copied()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run of two workers in which every line has something to add up.
    fn balanced() -> Ledger {
        let mut decap = decap::Stats { frames: 90, segments: 70, joined: 5, ..Default::default() };
        decap.skipped[SkipReason::Udp as usize] = 15;
        let mut lane = LaneReport { recorded: 3, unsendable: 1, flows_read: 3, ..Default::default() };
        lane.reassembly = reassembly::Stats {
            segments: 35,
            payload_bytes: 1_000,
            delivered_bytes: 700,
            skipped_bytes: 100,
            shunted_bytes: 50,
            already_seen_bytes: 100,
            out_of_window_bytes: 20,
            gap_bytes: 40,
            opened: 3,
            ..Default::default()
        };
        lane.reassembly.dropped_bytes[DropReason::AfterEnd as usize] = 30;
        lane.reassembly.closed[0] = 3;
        lane.http = http_parse::Stats {
            stream_bytes: 890,
            parsed_bytes: 800,
            gap_bytes: 40,
            messages: 7,
            paired: 2,
            unanswered: 1,
            orphans: 1,
            ..Default::default()
        };
        lane.http.not_http_bytes[Protocol::Tls as usize] = 50;
        lane.http.unparsable[Unparsable::HeadCut as usize] = 1;
        let captures = Captures { opened: 1, frames: 100, filtered: 10, unsupported: 3, ..Captures::default() };
        Ledger::gather(captures, &decap, 2_000, [&lane, &lane.clone()])
    }

    #[test]
    fn a_sound_run_balances() {
        let ledger = balanced();
        assert_eq!(ledger.check(), Ok(()));
        assert_eq!(ledger.exchanges(), 8);
        assert!(ledger.decap.is_balanced() && ledger.reassembly.is_balanced() && ledger.http.is_balanced());
    }

    #[test]
    fn every_line_and_joint_is_checked() {
        type Spoil = fn(&mut Ledger);
        let faults: [(Spoil, &str); 10] = [
            (|ledger| ledger.captures.frames += 1, "104 frames have fates for 103"),
            (|ledger| ledger.decap.skipped[3] += 1, "103 frames have fates for 104"),
            (|ledger| ledger.reassembly.already_seen_bytes += 1, "2000 payload_bytes have fates for 2001"),
            (|ledger| ledger.http.parsed_bytes -= 1, "1780 stream_bytes have fates for 1779"),
            (|ledger| ledger.http.messages += 1, "15 messages have fates for 14"),
            (|ledger| ledger.recorded -= 1, "8 exchanges have fates for 7"),
            (|ledger| ledger.reassembly.segments -= 1, "70 segments have fates for 69"),
            (
                |ledger| ledger.segment_payload_bytes += 1,
                "2001 payload bytes from decapsulation, less those dropped against 2000",
            ),
            (|ledger| ledger.reassembly.gap_bytes += 1, "in gaps against 1780 stream bytes"),
            (|ledger| ledger.reassembly.active_flows += 1, "1 flows active after the end"),
        ];
        for (spoil, message) in faults {
            let mut ledger = balanced();
            spoil(&mut ledger);
            let error = ledger.check().unwrap_err().to_string();
            assert!(error.contains(message), "{error} does not contain {message}");
            assert_eq!(ledger.to_json()["balanced"], json!(false));
        }
    }

    #[test]
    fn records_that_a_file_could_not_take_are_shown() {
        let mut ledger = balanced();
        assert!(ledger.to_json().get("records").is_none());
        ledger.unsealed = 2;
        assert_eq!(ledger.check(), Ok(()));
        let expected = json!({"total": 6, "written": 4, "dropped": {"sealing_full": 2, "output_stalled": 0}});
        assert_eq!(ledger.to_json()["records"], expected);
    }

    #[test]
    fn what_was_given_up_is_what_is_left_of_each_line() {
        let mut ledger = balanced();
        ledger.http.stream_bytes -= 10;
        ledger.http.parsed_bytes -= 30;
        ledger.recorded -= 1;
        assert!(ledger.check().is_err());
        ledger.given_up = 1;
        assert_eq!(ledger.check(), Ok(()));
        assert_eq!(ledger.to_json()["stream_bytes"]["given_up"], json!(20));
        assert_eq!(ledger.to_json()["exchanges"]["given_up"], json!(1));
        // More than there was is a fault all the same.
        ledger.recorded += 2;
        assert!(ledger.check().is_err());
    }

    #[test]
    fn text_shows_sums_and_reasons() {
        let text = balanced().to_string();
        let frames = text.lines().next().unwrap();
        assert_eq!(
            frames,
            "frames                     103 = 70 segments + 5 joined + 0 held + 10 filtered + 3 unsupported + 15 skipped {udp 15}"
        );
        assert!(
            text.contains("14 = 8 paired + 2 unanswered + 2 orphans + 0 pending + 2 unparsable {head_cut 2}"),
            "{text}"
        );
        assert!(text.contains("gap_bytes 80"), "{text}");
    }

    #[test]
    fn json_adds_up_for_whoever_reads_it() {
        let json = balanced().to_json();
        assert_eq!(json["frames"]["skipped"]["udp"], json!(15));
        assert_eq!(json["stream_bytes"]["not_http"]["tls"], json!(100));
        assert_eq!(json["balanced"], json!(true));
        for name in ["frames", "payload_bytes", "stream_bytes", "messages", "exchanges"] {
            let line = json[name].as_object().unwrap();
            let sum: u64 = line
                .iter()
                .filter(|(fate, _)| *fate != "total")
                .map(|(_, fate)| match fate {
                    Value::Object(reasons) => reasons.values().filter_map(Value::as_u64).sum(),
                    count => count.as_u64().unwrap(),
                })
                .sum();
            assert_eq!(line["total"], json!(sum), "{name}");
        }
    }
}
