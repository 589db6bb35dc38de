//! Rules at work.
//!
//! Every rule has a bit, in the order of strength, so that the lowest bit of a set is the rule that counts. Each attribute of a
//! transaction is looked up once, which gives the set of rules whose condition on it holds; what is left of all rules after
//! the known attributes are those that match or still may. An attribute that no remaining rule asks about is not looked at.

use core::net::IpAddr;

use super::facts::{Facts, FlowFacts, RequestFacts, ResponseFacts};
use super::header_index::HeaderIndex;
use super::sampling::{Minutes, Sampler, Sighting};
use super::sets::Bits;
use super::settings::Kind;
use super::spans::{Addresses, Spans};
use super::text_index::TextIndex;
use super::verdict::{Attribute, Cause, Decision, Early, FlowVerdict, RuleIndex, Stage, Verdict};
use crate::normalize::hosts;

/// Rules, made ready. Shared by workers: nothing in them changes but the counts of sampling by the minute.
#[derive(Debug)]
pub struct Rules {
    pub(super) names: Vec<String>,
    pub(super) kinds: Vec<Kind>,
    pub(super) samplers: Vec<Option<Sampler>>,
    /// The rule of each bit.
    pub(super) by_bit: Vec<RuleIndex>,
    pub(super) all: Bits,
    pub(super) ignore: Bits,
    pub(super) allow: Bits,
    pub(super) exclude: Bits,
    pub(super) include: Bits,
    /// The rules that have a condition on each attribute.
    pub(super) asking: [Bits; Attribute::ALL.len()],
    /// The attributes that any rule asks about, as bits.
    pub(super) asked: u16,
    /// The rules that are told by the flow alone, once without and once with the client's address.
    pub(super) told_by_flow: [Bits; 2],
    pub(super) told_by_request: Bits,
    pub(super) peers: Addresses,
    pub(super) servers: Addresses,
    pub(super) clients: Addresses,
    pub(super) ports: Spans<u16>,
    pub(super) vnis: Spans<u32>,
    pub(super) vlans: Spans<u16>,
    pub(super) methods: TextIndex,
    pub(super) hosts: TextIndex,
    pub(super) paths: TextIndex,
    pub(super) request_headers: HeaderIndex,
    pub(super) statuses: Spans<u16>,
    pub(super) content_types: TextIndex,
    pub(super) response_headers: HeaderIndex,
    pub(super) minutes: Minutes,
}

impl Rules {
    /// The number of rules, those of built-in sets included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is no rule, so that everything is recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Every rule, in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = RuleIndex> + '_ {
        (0..self.names.len()).filter_map(|place| u16::try_from(place).ok()).map(RuleIndex)
    }

    /// A rule's name.
    #[must_use]
    pub fn name(&self, rule: RuleIndex) -> &str {
        self.names.get(rule.place()).map_or("", String::as_str)
    }

    /// A rule's kind.
    #[must_use]
    pub fn kind(&self, rule: RuleIndex) -> Kind {
        self.kinds.get(rule.place()).copied().unwrap_or(Kind::Include)
    }

    /// Whether a rule samples what it lets through.
    #[must_use]
    pub fn samples(&self, rule: RuleIndex) -> bool {
        self.sampler(rule).is_some()
    }

    /// The name that a cause is counted under.
    #[must_use]
    pub fn cause(&self, cause: Cause) -> &str {
        match cause {
            Cause::Rule(rule) => self.name(rule),
            Cause::NoIncludeRule => super::NO_INCLUDE_RULE,
        }
    }

    /// What is certain of a flow. To be asked once a flow, when its ends are known for client and server.
    #[must_use]
    pub fn flow(&self, flow: &FlowFacts<'_>) -> FlowVerdict {
        let mut left = self.all;
        match self.after_flow(&mut left, flow) {
            Some(Verdict::Out(cause)) => FlowVerdict::Out(cause),
            _ => FlowVerdict::Undecided,
        }
    }

    /// What is certain of a transaction when its request's head is known. Nothing of one that is out has to be kept.
    #[must_use]
    pub fn request(&self, flow: &FlowFacts<'_>, request: &RequestFacts<'_>) -> Early {
        if self.is_empty() {
            return Early::In(None);
        }
        let mut left = self.all;
        let verdict = self.after_flow(&mut left, flow).or_else(|| self.after_request(&mut left, flow, Some(request)));
        match verdict {
            Some(Verdict::Out(cause)) => Early::Out(cause),
            Some(Verdict::In(rule)) => Early::In(rule),
            None => Early::NeedsResponse,
        }
    }

    /// What the rules say of a transaction, sampling apart. All facts are known when the response's head is: what is out
    /// then needs no response body either.
    #[must_use]
    pub fn verdict(&self, facts: &Facts<'_>) -> Verdict {
        self.staged(facts).0
    }

    /// What becomes of a transaction. To be asked once for each, since sampling by the minute counts.
    #[must_use]
    pub fn exchange(&self, facts: &Facts<'_>, sighting: &Sighting<'_>) -> Decision {
        self.sample(self.verdict(facts), sighting)
    }

    /// What becomes of a transaction of which the rules say this. To be asked once for each.
    #[must_use]
    pub fn sample(&self, verdict: Verdict, sighting: &Sighting<'_>) -> Decision {
        match verdict {
            Verdict::Out(cause) => Decision::Filtered(cause),
            Verdict::In(None) => Decision::Record { rule: None, weight: 1 },
            Verdict::In(Some(rule)) => match self.sampler(rule) {
                None => Decision::Record { rule: Some(rule), weight: 1 },
                Some(sampler) => match sampler.weigh(rule.place(), sighting, &self.minutes) {
                    Some(weight) => Decision::Record { rule: Some(rule), weight },
                    None => Decision::SampledOut(rule),
                },
            },
        }
    }

    /// What becomes of a transaction of which the rules say this, where its id alone decides: before it is complete, and however
    /// often it is asked.
    #[must_use]
    pub fn sample_by_id(&self, verdict: Verdict, id: impl FnOnce() -> [u8; 16]) -> Option<Decision> {
        let Verdict::In(Some(rule)) = verdict else { return None };
        self.sampler(rule).filter(|sampler| sampler.is_by_id())?;
        Some(self.sample(verdict, &Sighting { id: &id(), template: &[], at: 0 }))
    }

    /// The verdict and when it is certain.
    pub(super) fn staged(&self, facts: &Facts<'_>) -> (Verdict, Stage) {
        if self.is_empty() {
            return (Verdict::In(None), Stage::Flow);
        }
        let mut left = self.all;
        if let Some(verdict) = self.after_flow(&mut left, &facts.flow) {
            return (verdict, Stage::Flow);
        }
        if let Some(verdict) = self.after_request(&mut left, &facts.flow, facts.request.as_ref()) {
            return (verdict, Stage::Request);
        }
        self.narrow_by_response(&mut left, facts.response.as_ref());
        (self.strongest(&left), Stage::Response)
    }

    pub(super) fn after_flow(&self, left: &mut Bits, flow: &FlowFacts<'_>) -> Option<Verdict> {
        self.narrow_by_flow(left, flow);
        let [without_client, with_client] = &self.told_by_flow;
        self.certain(left, if flow.client.is_some() { with_client } else { without_client })
    }

    fn after_request(
        &self,
        left: &mut Bits,
        flow: &FlowFacts<'_>,
        request: Option<&RequestFacts<'_>>,
    ) -> Option<Verdict> {
        self.narrow_by_request(left, flow, request);
        self.certain(left, &self.told_by_request)
    }

    /// The verdict if it cannot change any more: `left` are the rules that match or may, and those of them in `told` match.
    pub(super) fn certain(&self, left: &Bits, told: &Bits) -> Option<Verdict> {
        let matching = left.and(told);
        if matching.is_empty() && self.include.is_empty() {
            return left.is_empty().then_some(Verdict::In(None));
        }
        if let Some(bit) = matching.first().filter(|bit| self.ignore.contains(*bit)) {
            return Some(Verdict::Out(Cause::Rule(self.rule(bit))));
        }
        if !left.meets(&self.allow) {
            if let Some(bit) = matching.and(&self.exclude).first() {
                return Some(Verdict::Out(Cause::Rule(self.rule(bit))));
            }
            if !self.include.is_empty() && !left.meets(&self.include) {
                return Some(Verdict::Out(Cause::NoIncludeRule));
            }
        }
        // Let through only by the rule that counts in the end.
        match left.first() {
            Some(bit) => {
                let is_told = told.contains(bit) && (self.allow.contains(bit) || self.include.contains(bit));
                is_told.then(|| Verdict::In(Some(self.rule(bit))))
            }
            None => Some(self.strongest(left)),
        }
    }

    /// The verdict, when what is left is what matches.
    pub(super) fn strongest(&self, matching: &Bits) -> Verdict {
        match matching.first() {
            Some(bit) => {
                let rule = self.rule(bit);
                if self.kind(rule).records() { Verdict::In(Some(rule)) } else { Verdict::Out(Cause::Rule(rule)) }
            }
            None if self.include.is_empty() => Verdict::In(None),
            None => Verdict::Out(Cause::NoIncludeRule),
        }
    }

    fn narrow_by_flow(&self, left: &mut Bits, flow: &FlowFacts<'_>) {
        for attribute in [Attribute::Peer, Attribute::Server, Attribute::Port, Attribute::Vni, Attribute::Vlan] {
            self.narrow(left, attribute, |found| self.find_in_flow(attribute, flow, found));
        }
        if let Some(client) = flow.client {
            self.narrow_by_client(left, client);
        }
    }

    pub(super) fn find_in_flow(&self, attribute: Attribute, flow: &FlowFacts<'_>, found: &mut Bits) {
        match attribute {
            Attribute::Peer => add(found, self.peers.find(flow.peer.ip)),
            Attribute::Server => add(found, self.servers.find(flow.server.ip)),
            Attribute::Port => add(found, self.ports.find(flow.server.port)),
            Attribute::Vni => flow.vnis.iter().for_each(|vni| add(found, self.vnis.find(*vni))),
            Attribute::Vlan => flow.vlans.iter().for_each(|vlan| add(found, self.vlans.find(*vlan))),
            _ => {}
        }
    }

    fn narrow_by_client(&self, left: &mut Bits, client: IpAddr) {
        self.narrow(left, Attribute::Client, |found| self.find_client(client, found));
    }

    fn narrow_by_request(&self, left: &mut Bits, flow: &FlowFacts<'_>, request: Option<&RequestFacts<'_>>) {
        if flow.client.is_none() {
            // Without a request nobody can say otherwise.
            self.narrow_by_client(left, request.map_or(flow.peer.ip, |request| request.client));
        }
        for attribute in [Attribute::Method, Attribute::Host, Attribute::Path, Attribute::RequestHeaders] {
            let wanted = *left;
            self.narrow(left, attribute, |found| {
                if let Some(request) = request {
                    self.find_in_request(attribute, request, &wanted, found);
                }
            });
        }
    }

    pub(super) fn find_in_request(
        &self,
        attribute: Attribute,
        request: &RequestFacts<'_>,
        wanted: &Bits,
        found: &mut Bits,
    ) {
        match attribute {
            Attribute::Method => self.methods.find(request.method, found),
            Attribute::Host => request.host.into_iter().for_each(|host| self.find_hosts(host, found)),
            Attribute::Path => request.path.into_iter().for_each(|path| self.paths.find(path, found)),
            Attribute::RequestHeaders => self.request_headers.find(request.headers, wanted, found),
            _ => {}
        }
    }

    /// Adds the rules whose condition on the host holds. A field may be read as several ([`hosts`]), of which a server takes
    /// the one or the other: what leaves out does so for each of them, and what records wants all of them to be its own, so
    /// that none in a list gets another past what would leave it out.
    pub(super) fn find_hosts(&self, host: &[u8], found: &mut Bits) {
        let (mut any, mut all) = (Bits::NONE, self.all);
        hosts(host, |host, is_sure| {
            let mut of = Bits::NONE;
            self.hosts.find(host, &mut of);
            any.add(&of);
            if is_sure {
                all = all.and(&of);
            }
        });
        let mut recording = self.allow;
        recording.add(&self.include);
        found.add(&any.minus(&recording));
        found.add(&all.and(&recording));
    }

    pub(super) fn narrow_by_response(&self, left: &mut Bits, response: Option<&ResponseFacts<'_>>) {
        for attribute in [Attribute::Status, Attribute::ContentType, Attribute::ResponseHeaders] {
            let wanted = *left;
            self.narrow(left, attribute, |found| {
                if let Some(response) = response {
                    self.find_in_response(attribute, response, &wanted, found);
                }
            });
        }
    }

    pub(super) fn find_in_response(
        &self,
        attribute: Attribute,
        response: &ResponseFacts<'_>,
        wanted: &Bits,
        found: &mut Bits,
    ) {
        match attribute {
            Attribute::Status => add(found, self.statuses.find(response.status)),
            Attribute::ContentType => {
                response.headers.first("content-type", &mut |value| self.find_content_type(value, found));
            }
            Attribute::ResponseHeaders => self.response_headers.find(response.headers, wanted, found),
            _ => {}
        }
    }

    /// Adds the rules whose condition on the media type this Content-Type meets.
    pub(super) fn find_content_type(&self, value: &[u8], found: &mut Bits) {
        let mut room = [0; LONGEST_MEDIA_TYPE];
        if let Some(media_type) = media_type(value, &mut room) {
            self.content_types.find(media_type, found);
        }
    }

    /// Adds the rules whose condition on the client's address this one meets.
    pub(super) fn find_client(&self, client: IpAddr, found: &mut Bits) {
        add(found, self.clients.find(client));
    }

    /// The rules that have a condition on the attribute.
    #[inline]
    pub(super) fn asking(&self, attribute: Attribute) -> &Bits {
        self.asking.get(attribute as usize).unwrap_or(&Bits::NONE)
    }

    /// Takes the rules away whose condition on the attribute does not hold; `find` gives those whose does.
    #[inline]
    pub(super) fn narrow(&self, left: &mut Bits, attribute: Attribute, find: impl FnOnce(&mut Bits)) {
        if self.asked >> attribute as u16 & 1 == 0 {
            return;
        }
        let Some(asking) = self.asking.get(attribute as usize) else { return };
        if left.meets(asking) {
            let mut found = Bits::NONE;
            find(&mut found);
            *left = left.minus(&asking.minus(&found));
        }
    }

    fn rule(&self, bit: usize) -> RuleIndex {
        self.by_bit.get(bit).copied().unwrap_or(RuleIndex(u16::MAX))
    }

    fn sampler(&self, rule: RuleIndex) -> Option<&Sampler> {
        self.samplers.get(rule.place())?.as_ref()
    }
}

#[inline]
fn add(found: &mut Bits, rules: Option<&Bits>) {
    if let Some(rules) = rules {
        found.add(rules);
    }
}

/// Type and subtype have at most 127 characters each (RFC 6838, section 4.2).
const LONGEST_MEDIA_TYPE: usize = 256;

/// The media type of a Content-Type, in lower case and without parameters; `None`: it is too long for one.
fn media_type<'a>(value: &[u8], room: &'a mut [u8; LONGEST_MEDIA_TYPE]) -> Option<&'a [u8]> {
    let end = memchr::memchr2(b';', b',', value).unwrap_or(value.len());
    let media_type = value.get(..end)?.trim_ascii();
    let room = room.get_mut(..media_type.len())?;
    room.copy_from_slice(media_type);
    room.make_ascii_lowercase();
    Some(room)
}
