//! The filters of one worker: what becomes of its flows and transactions, asked as early as it can be known, and counted.
//!
//! A flow that is out by its addresses is given up before its first byte is read. Of a transaction that is out by its
//! request, no body is kept; nor is a response's where its head settles it. What was decided then is remembered for when
//! the exchange is complete, so that rules are asked once for most exchanges.

use core::net::IpAddr;
use std::sync::Arc;

use decap::{TunnelId, TunnelPath};
use http_parse::{Exchange, Flag, Heads, Message, Side};

use crate::filter::{
    Cause, Decision, Early, Facts, Fields, FlowFacts, FlowPlace, FlowVerdict, LazyRequest, Outcomes, Recall,
    RequestFacts, ResponseFacts, RuleSwitch, Rules, Sighting, Slot, Verdict,
};
use crate::normalize::{Normalizer, endpoint_template, host, normalize_path};
use crate::record::{Admission, ConnectionMeta, Target, TransactionId, side};

/// The rules that a worker goes by, and what it counted by them.
#[derive(Debug)]
pub struct Gate {
    normalizer: Arc<Normalizer>,
    switch: Arc<RuleSwitch>,
    rules: Arc<Rules>,
    generation: u64,
    /// Of each rule, and of having none that includes.
    slots: Vec<Slot>,
    outcomes: Outcomes,
    /// What these rules said of what comes again.
    recall: Recall,
    scratch: Scratch,
}

#[derive(Debug, Default)]
struct Scratch {
    host: HostScratch,
    path: Vec<u8>,
    template: Vec<u8>,
}

#[derive(Debug, Default)]
struct HostScratch {
    host: Vec<u8>,
    fields: Vec<u8>,
}

/// What is known of a connection: what its addresses say, and what was decided on its latest transaction before it was
/// complete.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memo {
    decided: Option<Decided>,
    flow: Option<FlowMemo>,
}

/// What a connection's addresses say.
#[derive(Clone, Copy, Debug)]
struct FlowMemo {
    generation: u64,
    client: Side,
    place: FlowPlace,
}

#[derive(Clone, Copy, Debug)]
struct Decided {
    generation: u64,
    /// Where the request begins.
    request: u64,
    /// Where the response begins; `None`: it holds whatever the response is.
    response: Option<u64>,
    verdict: Verdict,
    /// What sampling by the transaction's id says, where the verdict's rule samples so.
    by_id: Option<Decision>,
}

impl Decided {
    fn is_in(&self) -> bool {
        matches!(self.verdict, Verdict::In(_)) && !matches!(self.by_id, Some(Decision::SampledOut(_)))
    }
}

impl Gate {
    /// A gate that has counted nothing.
    #[must_use]
    pub fn new(normalizer: Arc<Normalizer>, switch: Arc<RuleSwitch>) -> Self {
        let (rules, generation) = switch.current();
        let mut outcomes = Outcomes::default();
        let slots = outcomes.admit(&rules);
        Self {
            normalizer,
            switch,
            rules,
            generation,
            slots,
            outcomes,
            recall: Recall::default(),
            scratch: Scratch::default(),
        }
    }

    /// Takes other rules, if there are any. What was decided by the earlier ones stays so.
    #[inline]
    pub fn refresh(&mut self) {
        if self.switch.generation() != self.generation {
            self.exchange_rules();
        }
    }

    #[cold]
    fn exchange_rules(&mut self) {
        (self.rules, self.generation) = self.switch.current();
        self.slots = self.outcomes.admit(&self.rules);
        self.recall = Recall::default();
    }

    /// What was counted.
    #[must_use]
    pub fn outcomes(&self) -> &Outcomes {
        &self.outcomes
    }

    /// The rules in force.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// How transactions are called.
    #[must_use]
    pub fn normalizer(&self) -> &Arc<Normalizer> {
        &self.normalizer
    }

    /// Whether a flow is out, and by which rule. Asked once, when it is about to deliver its first byte. Where it is not known
    /// which end is the client, the flow is out if it is so either way.
    pub fn flow(&mut self, meta: &ConnectionMeta) -> Option<Slot> {
        if self.rules.is_empty() {
            return None;
        }
        let mut vnis = [0; MOST_VNIS];
        let ask = |client: Side, vnis: &mut [u32; MOST_VNIS]| match self.rules.flow(&flow_facts(
            &self.normalizer,
            meta,
            client,
            vnis,
        )) {
            FlowVerdict::Out(cause) => Some(cause),
            FlowVerdict::Undecided => None,
        };
        let cause = match meta.initiator {
            Some(initiator) => ask(side(initiator), &mut vnis)?,
            None => {
                let (left, right) = (ask(Side::Left, &mut vnis)?, ask(Side::Right, &mut vnis)?);
                // Servers have the lower ports.
                if meta.endpoint(Side::Left).port >= meta.endpoint(Side::Right).port { left } else { right }
            }
        };
        let slot = self.slot(cause)?;
        if let Some(outcome) = self.outcomes.at(slot) {
            outcome.flows += 1;
        }
        Some(slot)
    }

    /// Counts stream bytes of a flow that is out.
    pub fn count_flow_bytes(&mut self, slot: Slot, len: u64) {
        if let Some(outcome) = self.outcomes.at(slot) {
            outcome.flow_bytes += len;
        }
    }

    /// Whether the body that begins is of use.
    #[inline]
    pub fn wants_body(&mut self, meta: &ConnectionMeta, memo: &mut Memo, heads: &Heads<'_>) -> bool {
        self.rules.is_empty() || self.wants_body_by_rules(meta, memo, heads)
    }

    fn wants_body_by_rules(&mut self, meta: &ConnectionMeta, memo: &mut Memo, heads: &Heads<'_>) -> bool {
        // Without its request a response may still be anything's.
        let Some(request) = heads.request else { return true };
        if let Some(decided) = memo.decided(self.generation, request, heads.response) {
            return decided.is_in();
        }
        let flow = self.known_flow(meta, heads.client, memo);
        let Self { normalizer, rules, recall, scratch, .. } = self;
        let mut facts = Sent::new(normalizer, meta, heads.client, request, scratch);
        let verdict = match heads.response {
            None => match recall.request(rules, flow, &mut facts) {
                Early::Out(cause) => Verdict::Out(cause),
                Early::In(rule) => Verdict::In(rule),
                Early::NeedsResponse => return true,
            },
            Some(response) => recall.verdict(rules, flow, &mut facts, Some(&response_facts(response))),
        };
        self.debug_check(verdict, meta, heads.client, request, heads.response);
        let response = heads.response.map(|response| response.start().offset);
        let by_id =
            self.rules.sample_by_id(verdict, || *TransactionId::of_request(meta, heads.client, request).as_bytes());
        let (generation, request) = (self.generation, request.start().offset);
        let decided = Decided { generation, request, response, verdict, by_id };
        memo.decided = Some(decided);
        decided.is_in()
    }

    /// What becomes of a complete exchange; `None`: it is out, and counted. Asked once for each.
    #[inline]
    pub fn admit<'a>(
        &'a mut self,
        meta: &ConnectionMeta,
        memo: &mut Memo,
        exchange: &Exchange<'_>,
    ) -> Option<Admission<'a>> {
        if self.rules.is_empty() {
            return Some(Admission::UNFILTERED);
        }
        let decision = self.decide(meta, memo, exchange);
        match decision {
            Decision::Record { rule, weight } => {
                Some(Admission { rule: rule.map(|rule| self.rules.name(rule)), weight })
            }
            Decision::Filtered(cause) => {
                let slot = self.slot(cause)?;
                self.outcomes.at(slot)?.exchanges += 1;
                None
            }
            Decision::SampledOut(rule) => {
                let slot = self.slot(Cause::Rule(rule))?;
                self.outcomes.at(slot)?.sampled_out += 1;
                None
            }
        }
    }

    /// What becomes of an exchange, not counted but for sampling by the minute.
    pub fn decide(&mut self, meta: &ConnectionMeta, memo: &mut Memo, exchange: &Exchange<'_>) -> Decision {
        let known = exchange.request.and_then(|request| memo.decided(self.generation, request, exchange.response));
        if let Some(decision) = known.and_then(|known| known.by_id) {
            return decision;
        }
        let verdict = match known {
            Some(known) => known.verdict,
            None => self.verdict(meta, memo, exchange),
        };
        let Verdict::In(Some(rule)) = verdict else {
            return self.rules.sample(verdict, &Sighting { id: &[0; 16], template: &[], at: 0 });
        };
        if !self.rules.samples(rule) {
            return Decision::Record { rule: Some(rule), weight: 1 };
        }
        let id = TransactionId::of(meta, exchange);
        let Self { rules, scratch, .. } = self;
        let message = exchange.request.or(exchange.response);
        let template = match exchange.request.and_then(path) {
            Some(path) => endpoint_template(normalize_path(path, &mut scratch.path), &mut scratch.template),
            None => &[],
        };
        let at = message.map_or(0, |message| message.start().at);
        rules.sample(verdict, &Sighting { id: id.as_bytes(), template, at })
    }

    fn verdict(&mut self, meta: &ConnectionMeta, memo: &mut Memo, exchange: &Exchange<'_>) -> Verdict {
        let Some(request) = exchange.request else { return self.with_facts(meta, exchange, Rules::verdict) };
        let flow = self.known_flow(meta, exchange.client, memo);
        let Self { normalizer, rules, recall, scratch, .. } = self;
        let mut facts = Sent::new(normalizer, meta, exchange.client, request, scratch);
        let verdict = recall.verdict(rules, flow, &mut facts, exchange.response.map(response_facts).as_ref());
        self.debug_check(verdict, meta, exchange.client, request, exchange.response);
        verdict
    }

    /// Every test that runs rules checks each verdict against that with nothing recalled.
    fn debug_check(
        &mut self,
        verdict: Verdict,
        meta: &ConnectionMeta,
        client: Side,
        request: &Message,
        response: Option<&Message>,
    ) {
        debug_assert_eq!(
            verdict,
            self.looked_up(meta, client, request, response),
            "what is recalled is what is looked up"
        );
    }

    /// The verdict with nothing recalled.
    fn looked_up(
        &mut self,
        meta: &ConnectionMeta,
        client: Side,
        request: &Message,
        response: Option<&Message>,
    ) -> Verdict {
        let Self { normalizer, rules, scratch, .. } = self;
        let mut vnis = [0; MOST_VNIS];
        let flow = flow_facts(normalizer, meta, client, &mut vnis);
        let request = Some(request_facts(normalizer, meta, client, request, scratch));
        rules.verdict(&Facts { flow, request, response: response.map(response_facts) })
    }

    /// What the rules say of the connection's addresses, noted for its next transaction.
    fn known_flow(&mut self, meta: &ConnectionMeta, client: Side, memo: &mut Memo) -> FlowPlace {
        if let Some(noted) = memo.flow.filter(|flow| flow.generation == self.generation && flow.client == client) {
            return noted.place;
        }
        let mut vnis = [0; MOST_VNIS];
        let facts = flow_facts(&self.normalizer, meta, client, &mut vnis);
        let place = self.recall.flow(&self.rules, &facts);
        memo.flow = place.is_lasting().then_some(FlowMemo { generation: self.generation, client, place });
        place
    }

    /// Has `ask` answer on the facts of an exchange.
    pub fn with_facts<T>(
        &mut self,
        meta: &ConnectionMeta,
        exchange: &Exchange<'_>,
        ask: impl FnOnce(&Rules, &Facts<'_>) -> T,
    ) -> T {
        let Self { normalizer, rules, scratch, .. } = self;
        let mut vnis = [0; MOST_VNIS];
        let flow = flow_facts(normalizer, meta, exchange.client, &mut vnis);
        let request = exchange.request.map(|it| request_facts(normalizer, meta, exchange.client, it, scratch));
        ask(rules, &Facts { flow, request, response: exchange.response.map(response_facts) })
    }

    fn slot(&self, cause: Cause) -> Option<Slot> {
        self.slots.get(self.rules.place_of(cause)).copied()
    }
}

impl Memo {
    /// What was decided, if it was by these rules and on this transaction.
    fn decided(&self, generation: u64, request: &Message, response: Option<&Message>) -> Option<Decided> {
        let decided = self.decided.filter(|it| it.generation == generation && it.request == request.start().offset)?;
        let holds = decided.response.is_none_or(|begin| response.is_some_and(|it| it.start().offset == begin));
        holds.then_some(decided)
    }
}

/// As many as a path can have hops.
const MOST_VNIS: usize = decap::MAX_HOPS;

fn flow_facts<'a>(
    normalizer: &Normalizer,
    meta: &'a ConnectionMeta,
    client: Side,
    vnis: &'a mut [u32; MOST_VNIS],
) -> FlowFacts<'a> {
    let (peer, server) = (meta.endpoint(client), meta.endpoint(client.opposite()));
    let mut count = 0;
    let path: Option<&TunnelPath> = meta.path.as_deref();
    for hop in path.iter().flat_map(|path| &path.hops) {
        if let (TunnelId::Vni(id) | TunnelId::Key(id), Some(place)) = (hop.id, vnis.get_mut(count)) {
            *place = id;
            count += 1;
        }
    }
    FlowFacts {
        peer,
        client: (!normalizer.may_forward(peer.ip)).then_some(peer.ip),
        server,
        vnis: vnis.get(..count).unwrap_or_default(),
        vlans: path.map_or(&[], |path| &path.vlans),
    }
}

/// A request as it was sent, of which nothing is normalized unless a rule asks for it.
struct Sent<'a, 's> {
    normalizer: &'a Normalizer,
    meta: &'a ConnectionMeta,
    client: Side,
    request: &'a Message,
    target: Target<'a>,
    scratch: &'s mut Scratch,
}

impl<'a, 's> Sent<'a, 's> {
    fn new(
        normalizer: &'a Normalizer,
        meta: &'a ConnectionMeta,
        client: Side,
        request: &'a Message,
        scratch: &'s mut Scratch,
    ) -> Self {
        let target = Target::new(request.method(), request.target());
        Self { normalizer, meta, client, request, target, scratch }
    }
}

impl<'a> LazyRequest<'a> for Sent<'a, '_> {
    fn client(&mut self) -> IpAddr {
        client_address(self.normalizer, self.meta, self.client, self.request)
    }

    fn method(&self) -> &'a [u8] {
        self.request.method()
    }

    fn host_text(&self) -> Option<&'a [u8]> {
        let is_alone = self.target.host.is_none() && !self.request.flags().contains(Flag::DuplicateHost);
        if is_alone { self.request.header("host") } else { None }
    }

    fn host(&mut self) -> Option<&[u8]> {
        request_host(&self.target, self.request, &mut self.scratch.host)
    }

    fn path(&mut self) -> Option<&[u8]> {
        request_path(&self.target, &mut self.scratch.path)
    }

    fn headers(&self) -> &'a dyn Fields {
        self.request
    }
}

/// The path that rules are held against: the record's normalized one, without a fragment. None belongs into a request (RFC 9112,
/// section 3.2), but servers that get one answer for what is in front of it.
fn request_path<'a>(target: &Target<'a>, scratch: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    let path = target.path?;
    let path = match memchr::memchr(b'#', path) {
        Some(0) => b"/",
        Some(end) => path.get(..end).unwrap_or(path),
        None => path,
    };
    Some(normalize_path(path, scratch))
}

/// The host that rules are held against: the record's, but of several Host fields all. A server may take any of them, and
/// they are one list (RFC 9110, section 5.3).
fn request_host<'a>(target: &Target<'a>, request: &'a Message, scratch: &'a mut HostScratch) -> Option<&'a [u8]> {
    let HostScratch { host: normalized, fields } = scratch;
    let mut field = request.header("host");
    if request.flags().contains(Flag::DuplicateHost) {
        fields.clear();
        for header in request.headers().filter(|header| header.name.eq_ignore_ascii_case(b"host")) {
            fields.extend_from_slice(header.value);
            fields.extend_from_slice(b", ");
        }
        field = Some(fields);
    }
    host(target.host, None, field, normalized).map(|authority| authority.host)
}

fn client_address(normalizer: &Normalizer, meta: &ConnectionMeta, client: Side, request: &Message) -> IpAddr {
    let headers = request.headers().map(|header| (header.name, header.value));
    normalizer.origin(meta.endpoint(client).ip, meta.proxied(client).map(|it| it.ip), headers).client.ip
}

fn request_facts<'a>(
    normalizer: &Normalizer,
    meta: &ConnectionMeta,
    client: Side,
    request: &'a Message,
    scratch: &'a mut Scratch,
) -> RequestFacts<'a> {
    let target = Target::new(request.method(), request.target());
    RequestFacts {
        client: client_address(normalizer, meta, client, request),
        method: request.method(),
        host: request_host(&target, request, &mut scratch.host),
        path: request_path(&target, &mut scratch.path),
        headers: request,
    }
}

fn response_facts(response: &Message) -> ResponseFacts<'_> {
    ResponseFacts { status: response.status(), headers: response }
}

fn path(request: &Message) -> Option<&[u8]> {
    Target::new(request.method(), request.target()).path
}
