//! The writer of records.

use std::sync::Arc;

use http_parse::{Exchange, Flag, Flags};

use super::body::Bodies;
use super::connection::ConnectionMeta;
use super::edge::Edge;
use super::id::{TransactionId, append_input};
use super::masking::{FindingForm, Masking, Unmasked};
use super::names::Names;
use super::native::Native;
use super::options::{RecordOptions, Shape};
use super::seal::Unsealed;
use super::time::TimeWriter;
use crate::normalize::Normalizer;

/// Whether request and response found each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Request and response.
    Paired,
    /// A request without a response.
    Unanswered,
    /// A response without a request.
    Orphan,
}

impl Outcome {
    /// Every outcome, in declaration order.
    pub const ALL: &'static [Self] = &[Self::Paired, Self::Unanswered, Self::Orphan];

    /// The stable `snake_case` name used in records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Paired => "paired",
            Self::Unanswered => "unanswered",
            Self::Orphan => "orphan",
        }
    }

    /// The outcome of an exchange.
    #[must_use]
    pub const fn of(exchange: &Exchange<'_>) -> Self {
        match (exchange.request, exchange.response) {
            (Some(_), Some(_)) => Self::Paired,
            (Some(_), None) => Self::Unanswered,
            (None, _) => Self::Orphan,
        }
    }
}

/// How an exchange came to be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission<'a> {
    /// The rule that let it through; `None`: no rule said otherwise.
    pub rule: Option<&'a str>,
    /// For how many transactions the record stands.
    pub weight: u32,
}

impl Admission<'_> {
    /// By no rule, for itself.
    pub const UNFILTERED: Self = Self { rule: None, weight: 1 };
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Whether it is a pair.
    pub outcome: Outcome,
    /// The flags on the record: the exchange's and those of content decoding.
    pub flags: Flags,
    /// False: nothing was written, because the shape has no place for such an exchange.
    pub is_recorded: bool,
}

/// Writes exchanges as records (docs/output-format.md): one JSON object a line.
///
/// A record is written once, where it is wanted: no value tree, no string between the parser's buffers and `out`, and no
/// allocation once the buffers have found their size. The same exchange always gives the same bytes.
#[derive(Debug)]
pub struct RecordWriter<M = Unmasked> {
    form: Form,
    tools: Tools<M>,
    id_input: Vec<u8>,
}

/// What all records of a shape have in common.
#[derive(Debug)]
enum Form {
    Native(Native),
    Edge(Edge),
}

/// What writing takes, whatever the shape.
#[derive(Debug)]
pub(super) struct Tools<M> {
    pub(super) time: TimeWriter,
    pub(super) bodies: Bodies,
    pub(super) masking: M,
    pub(super) names: Names,
    pub(super) scratch: Vec<u8>,
}

impl RecordWriter {
    /// A writer with empty buffers that leaves every value as it is.
    #[must_use]
    pub fn new(options: RecordOptions) -> Self {
        Self::with_masking(options, Unmasked)
    }
}

impl<M: Masking> RecordWriter<M> {
    /// A writer with empty buffers that writes what `masking` leaves.
    #[must_use]
    pub fn with_masking(options: RecordOptions, masking: M) -> Self {
        let RecordOptions { sensor, decode_limit, content_limit, shape } = options;
        let form = match shape {
            Shape::Native => Form::Native(Native::new(&sensor)),
            Shape::Edge(edge) => Form::Edge(Edge::new(&sensor, &edge)),
        };
        let bodies = Bodies::new(decode_limit, content_limit);
        let tools = Tools { time: TimeWriter::new(), bodies, masking, names: Names::default(), scratch: Vec::new() };
        Self { form, tools, id_input: Vec::new() }
    }

    /// The same writer with clients, hosts, paths and networks called as `normalizer` says; without one, as the defaults do.
    #[must_use]
    pub fn normalizing(mut self, normalizer: Arc<Normalizer>) -> Self {
        self.tools.names = Names::new(normalizer);
        self
    }

    /// Appends the record of an exchange, its id still open.
    #[inline]
    pub fn append(
        &mut self,
        meta: &ConnectionMeta,
        exchange: &Exchange<'_>,
        admission: Admission<'_>,
        out: &mut Unsealed,
    ) -> Written {
        let (bytes, inputs) = out.ends();
        let (id, written) = self.compose(meta, exchange, admission, bytes);
        if let Some(id) = id {
            append_input(meta, exchange, inputs);
            out.note(id);
        }
        written
    }

    /// Appends the record of an exchange that no rule speaks of and a line feed to `out`, and computes its id at once.
    pub fn write(
        &mut self,
        meta: &ConnectionMeta,
        exchange: &Exchange<'_>,
        out: &mut Vec<u8>,
    ) -> (TransactionId, Written) {
        self.id_input.clear();
        append_input(meta, exchange, &mut self.id_input);
        let id = TransactionId::hash(&self.id_input);
        let (place, written) = self.compose(meta, exchange, Admission::UNFILTERED, out);
        if let Some(digits) = place.and_then(|place| out.get_mut(place..)).and_then(<[u8]>::first_chunk_mut) {
            *digits = id.digits();
        }
        (id, written)
    }

    /// Appends the record of an exchange and a line feed to `out`, but for its id; and says where in `out` that belongs.
    #[inline]
    fn compose(
        &mut self,
        meta: &ConnectionMeta,
        exchange: &Exchange<'_>,
        admission: Admission<'_>,
        out: &mut Vec<u8>,
    ) -> (Option<usize>, Written) {
        self.tools.bodies.begin_record();
        self.tools.masking.begin(match self.form {
            Form::Native(_) => FindingForm::Native,
            Form::Edge(_) => FindingForm::Edge,
        });
        self.tools.masking.folds(exchange.flags.contains(Flag::ObsFold) || exchange.flags.contains(Flag::BareCr));
        let outcome = Outcome::of(exchange);
        let composed = match &self.form {
            Form::Native(native) => Some(native.compose(&mut self.tools, meta, exchange, admission, out)),
            Form::Edge(edge) => edge.compose(&mut self.tools, meta, exchange, admission, out),
        };
        match composed {
            Some((id, flags)) => (Some(id), Written { outcome, flags, is_recorded: true }),
            None => (None, Written { outcome, flags: exchange.flags, is_recorded: false }),
        }
    }
}
