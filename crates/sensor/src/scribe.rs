//! Writes records and counts what was written: on a worker's thread, or on the one that seals.

use std::ops::ControlFlow;
use std::sync::Arc;

use http_parse::Exchange;

use crate::guard::{Faults, Trouble};
use crate::masker::{MaskPolicy, RecordMasker};
use crate::normalize::Normalizer;
use crate::outlet::{CHUNK, KEPT, Outlet, empty_buffer};
use crate::pipeline::{LaneReport, Settings};
use crate::record::{Admission, ConnectionMeta, Desk, Drafts, RecordOptions, RecordWriter, Unsealed, Written};
use crate::tally::Tally;

/// Writes records as the settings say.
#[derive(Debug)]
pub struct Scribe {
    writer: Writer,
    /// For another writer.
    options: RecordOptions,
    normalizer: Arc<Normalizer>,
    written: u64,
    unsendable: u64,
    /// Of what only writing shows: the oddities that records name.
    tally: Tally,
}

impl Scribe {
    /// A scribe who has written nothing. `mask`: what is taken out of records; `None` leaves all in.
    #[must_use]
    pub fn new(options: RecordOptions, mask: Option<&MaskPolicy>, normalizer: &Arc<Normalizer>) -> Self {
        Self {
            writer: Writer::new(options.clone(), mask, normalizer),
            options,
            normalizer: Arc::clone(normalizer),
            written: 0,
            unsendable: 0,
            tally: Tally::default(),
        }
    }

    /// From the next record on, `mask` is what is taken out.
    pub fn remask(&mut self, mask: Option<&MaskPolicy>) {
        self.writer = Writer::new(self.options.clone(), mask, &self.normalizer);
    }

    /// Appends the record of an exchange.
    #[inline]
    pub fn write(
        &mut self,
        meta: &ConnectionMeta,
        exchange: &Exchange<'_>,
        admission: Admission<'_>,
        out: &mut Unsealed,
    ) {
        // There is no other way to a defect on purpose. No program that is built for use has this.
        #[cfg(test)]
        if exchange.request.is_some_and(|request| request.target() == tests::DEFECT) {
            out.ends().0.extend_from_slice(b"{half a record");
            panic!("a defect");
        }
        let written = self.writer.append(meta, exchange, admission, out);
        self.written += u64::from(written.is_recorded);
        self.unsendable += u64::from(!written.is_recorded);
        self.tally.record(written.flags);
    }

    /// Counts a record that is not to be made, as it would be dropped: as if it had been, whatever would have come of it.
    pub fn leave_out(&mut self) {
        self.written += 1;
    }

    /// Records written.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Exchanges of which no record was written, because the records' shape has no place for them.
    #[must_use]
    pub fn unsendable(&self) -> u64 {
        self.unsendable
    }

    /// The oddities that records name.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }
}

/// Writes the records of exchanges that were copied for it, and hands them on sealed.
#[derive(Debug)]
pub struct Copyist {
    scribe: Scribe,
    desk: Desk,
    records: Unsealed,
    /// Records that were written and then not to be taken any more.
    unwritten: u64,
    faults: Faults,
}

impl Copyist {
    /// One who writes as `settings` say.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let Settings { record, mask, normalize, .. } = settings;
        Self {
            scribe: Scribe::new(record.clone(), mask.as_ref(), normalize),
            desk: Desk::default(),
            records: empty_buffer(),
            unwritten: 0,
            faults: Faults::default(),
        }
    }

    /// Writes the records of `drafts`, and gives them to `outlet`. `Break` says that nothing further is taken.
    ///
    /// A defect of the program costs the record in whose writing it shows.
    pub fn write(&mut self, drafts: &Drafts, outlet: &mut impl Outlet) -> ControlFlow<()> {
        let Self { scribe, desk, records, unwritten, faults } = self;
        let mut flow = ControlFlow::Continue(());
        let mut hand_on = |records: &mut Unsealed| {
            if flow.is_break() {
                *unwritten += records.count() as u64;
            } else if !records.is_empty() {
                flow = outlet.accept(&records.seal());
            }
            records.clear(KEPT);
        };
        drafts.for_each(desk, |meta, exchange, admission| {
            let written =
                faults.guard(Trouble::Flow(Some(meta.key)), || scribe.write(meta, exchange, admission, records));
            if written.is_none() {
                records.drop_unfinished();
            }
            if records.size() >= CHUNK {
                hand_on(records);
            }
        });
        hand_on(records);
        flow
    }

    /// What was counted.
    #[must_use]
    pub fn report(&self) -> LaneReport {
        LaneReport {
            recorded: self.scribe.written(),
            unsendable: self.scribe.unsendable(),
            unwritten: self.unwritten,
            given_up: self.faults.count(),
            tally: self.scribe.tally().clone(),
            ..LaneReport::default()
        }
    }
}

/// A writer with or without masking: two, each compiled for itself, so that one that does not mask pays nothing for what
/// it could.
#[derive(Debug)]
enum Writer {
    Plain(Box<RecordWriter>),
    Masking(Box<RecordWriter<RecordMasker>>),
}

impl Writer {
    fn new(options: RecordOptions, mask: Option<&MaskPolicy>, normalizer: &Arc<Normalizer>) -> Self {
        match mask {
            None => Self::Plain(Box::new(RecordWriter::new(options).normalizing(Arc::clone(normalizer)))),
            Some(policy) => {
                let writer = RecordWriter::with_masking(options, RecordMasker::new(policy));
                Self::Masking(Box::new(writer.normalizing(Arc::clone(normalizer))))
            }
        }
    }

    #[inline]
    fn append(
        &mut self,
        meta: &ConnectionMeta,
        exchange: &Exchange<'_>,
        admission: Admission<'_>,
        out: &mut Unsealed,
    ) -> Written {
        match self {
            Self::Plain(writer) => writer.append(meta, exchange, admission, out),
            Self::Masking(writer) => writer.append(meta, exchange, admission, out),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use decap::{Domain, Endpoint, FlowKey};
    use http_parse::testing::Parts;
    use http_parse::{Flag, Flags, MessageKind, Side};

    use super::*;
    use crate::record::Shape;

    /// The record of a request with this target makes the scribe panic, in the tests of this crate.
    pub(crate) const DEFECT: &[u8] = b"/defect/of/the/scribe";

    fn settings() -> Settings {
        Settings {
            decap: decap::Config::default(),
            reassembly: reassembly::Limits::default(),
            http: http_parse::Settings::default(),
            record: RecordOptions {
                sensor: "test".to_owned(),
                decode_limit: 1 << 20,
                content_limit: usize::MAX,
                shape: Shape::Native,
            },
            mask: None,
            normalize: Arc::default(),
            filters: Arc::default(),
        }
    }

    /// Drafts of requests for these targets, each with a flag.
    fn drafts<'a>(targets: impl IntoIterator<Item = &'a [u8]>) -> Drafts {
        let end = |last| Endpoint { ip: [10, 0, 0, last].into(), port: 80 };
        let (key, _) = FlowKey::new(end(1), end(2), Domain::default());
        let meta = ConnectionMeta { key, initiator: None, path: None, id: 7, proxied: None };
        let mut drafts = Drafts::default();
        for (n, target) in (0..).zip(targets) {
            let parts = Parts {
                kind: MessageKind::Request,
                method_or_reason: b"GET".to_vec(),
                target: target.to_vec(),
                headers: vec![(b"host".to_vec(), b"a.example".to_vec())],
                ..Parts::default()
            };
            let request = parts.build();
            let mut flags = Flags::NONE;
            flags.insert(Flag::Resynchronized);
            let exchange =
                Exchange { request: Some(&request), response: None, client: Side::Left, index: Some(n), flags };
            drafts.push(&meta, &exchange, Admission::UNFILTERED);
        }
        drafts
    }

    #[test]
    fn a_defect_costs_one_record_and_no_other() {
        let mut copyist = Copyist::new(&settings());
        let mut lines = Vec::new();
        let drafts = drafts([b"/one".as_slice(), DEFECT, b"/two", b"/three", DEFECT]);
        for _ in 0..2 {
            assert!(copyist.write(&drafts, &mut lines).is_continue());
        }
        let report = copyist.report();
        assert_eq!((report.recorded, report.unsendable, report.given_up), (6, 0, 4));
        assert_eq!(report.tally.flags[Flag::Resynchronized as usize], 6);
        let lines = String::from_utf8(lines).unwrap();
        let targets: Vec<_> = lines
            .lines()
            .map(|line| {
                let record: serde_json::Value = serde_json::from_str(line).unwrap();
                record["request"]["target"].as_str().unwrap().to_owned()
            })
            .collect();
        assert_eq!(targets, ["/one", "/two", "/three", "/one", "/two", "/three"]);
    }

    /// Drafts whose records are many chunks, to an outlet that takes one.
    #[test]
    fn nothing_is_given_to_an_outlet_that_takes_no_more() {
        struct One(usize);
        impl Outlet for One {
            fn accept(&mut self, records: &crate::record::Sealed<'_>) -> ControlFlow<()> {
                self.0 += records.records.len();
                ControlFlow::Break(())
            }
        }
        let long = vec![b'a'; CHUNK];
        let mut one = One(0);
        let drafts = drafts([long.as_slice(), b"/two", long.as_slice(), b"/four"]);
        assert!(Copyist::new(&settings()).write(&drafts, &mut one).is_break());
        assert_eq!(one.0, 1);
    }
}
