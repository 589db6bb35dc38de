//! What rules say of facts that come again and again: a flow's addresses, methods with hosts, media types.
//!
//! Rules are the same for all workers, and this is a worker's own. It holds no more than a few hundred entries, whatever comes
//! in, and what is not in it is looked up: it changes how long an answer takes, never the answer.

use core::hash::{BuildHasher as _, Hasher as _};
use core::net::IpAddr;

use foldhash::fast::FixedState;

use super::facts::{Fields, FlowFacts, RequestFacts, ResponseFacts};
use super::rules::Rules;
use super::sets::Bits;
use super::verdict::{Attribute, Early, Verdict};

/// What is remembered of each kind.
const MOST_FLOWS: usize = 256;
const HOSTS: usize = 64;
const MEDIA_TYPES: usize = 16;
/// The longest text that is remembered: method and host, or a Content-Type.
const LONGEST_TEXT: usize = 80;

/// A request of which nothing is worked out before a rule asks for it.
pub trait LazyRequest<'a> {
    /// The client's address, as normalization finds it.
    fn client(&mut self) -> IpAddr;
    /// The method, as sent.
    fn method(&self) -> &'a [u8];
    /// What alone says which host it is for, as sent: equal texts are of equal hosts. `None`: something else says it too.
    fn host_text(&self) -> Option<&'a [u8]>;
    /// The normalized host, without port.
    fn host(&mut self) -> Option<&[u8]>;
    /// The normalized path, without query.
    fn path(&mut self) -> Option<&[u8]>;
    /// Its header fields.
    fn headers(&self) -> &'a dyn Fields;
}

impl<'a> LazyRequest<'a> for RequestFacts<'a> {
    fn client(&mut self) -> IpAddr {
        self.client
    }

    fn method(&self) -> &'a [u8] {
        self.method
    }

    fn host_text(&self) -> Option<&'a [u8]> {
        self.host
    }

    fn host(&mut self) -> Option<&[u8]> {
        self.host
    }

    fn path(&mut self) -> Option<&[u8]> {
        self.path
    }

    fn headers(&self) -> &'a dyn Fields {
        self.headers
    }
}

/// What rules say of the facts of a flow: the same for every transaction on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownFlow {
    left: Bits,
    verdict: Option<Verdict>,
    is_client_known: bool,
}

/// Where a [`Recall`] keeps what is known of a flow. It holds for that one, and until it is given other rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowPlace(u16);

/// What was said of facts that come again, by one set of rules: with others, a new one is to be taken.
#[derive(Debug)]
pub struct Recall {
    /// Many flows, few entries: mostly no rule tells their addresses apart.
    flows: Vec<KnownFlow>,
    /// The rules that method and host rule out.
    hosts: Texts,
    /// The rules that a Content-Type rules out.
    media_types: Texts,
}

impl Default for Recall {
    fn default() -> Self {
        Self { flows: Vec::new(), hosts: Texts::new(HOSTS), media_types: Texts::new(MEDIA_TYPES) }
    }
}

impl Recall {
    /// What the rules say of a flow, and where that is kept; `None`: there is no more room.
    pub fn flow(&mut self, rules: &Rules, flow: &FlowFacts<'_>) -> (KnownFlow, Option<FlowPlace>) {
        let mut left = rules.all;
        let verdict = rules.after_flow(&mut left, flow);
        let known = KnownFlow { left, verdict, is_client_known: flow.client.is_some() };
        let place = self.flows.iter().position(|other| *other == known).or_else(|| {
            let has_room = self.flows.len() < MOST_FLOWS;
            has_room.then(|| {
                self.flows.push(known);
                self.flows.len() - 1
            })
        });
        (known, place.and_then(|place| u16::try_from(place).ok()).map(FlowPlace))
    }

    /// What is kept there.
    #[inline]
    #[must_use]
    pub fn flow_at(&self, place: FlowPlace) -> Option<KnownFlow> {
        self.flows.get(usize::from(place.0)).copied()
    }

    /// As [`Rules::request`], on a flow of which this is known.
    pub fn request<'a>(&mut self, rules: &Rules, flow: &KnownFlow, request: &mut impl LazyRequest<'a>) -> Early {
        let mut left = flow.left;
        match flow.verdict.or_else(|| self.after_request(rules, flow, &mut left, request)) {
            Some(Verdict::Out(cause)) => Early::Out(cause),
            Some(Verdict::In(rule)) => Early::In(rule),
            None => Early::NeedsResponse,
        }
    }

    /// As [`Rules::verdict`] of a transaction whose request was captured, on a flow of which this is known.
    pub fn verdict<'a>(
        &mut self,
        rules: &Rules,
        flow: &KnownFlow,
        request: &mut impl LazyRequest<'a>,
        response: Option<&ResponseFacts<'_>>,
    ) -> Verdict {
        let mut left = flow.left;
        if let Some(verdict) = flow.verdict.or_else(|| self.after_request(rules, flow, &mut left, request)) {
            return verdict;
        }
        let Some(response) = response else {
            rules.narrow_by_response(&mut left, None);
            return rules.strongest(&left);
        };
        rules.narrow(&mut left, Attribute::Status, |found| {
            rules.find_in_response(Attribute::Status, response, &Bits::NONE, found);
        });
        if left.meets(rules.asking(Attribute::ContentType)) {
            let mut out = *rules.asking(Attribute::ContentType);
            response.headers.first("content-type", &mut |value| {
                out = self.media_types.recall([value, &[]], || {
                    let mut found = Bits::NONE;
                    rules.find_content_type(value, &mut found);
                    rules.asking(Attribute::ContentType).minus(&found)
                });
            });
            left = left.minus(&out);
        }
        let wanted = left;
        rules.narrow(&mut left, Attribute::ResponseHeaders, |found| {
            rules.find_in_response(Attribute::ResponseHeaders, response, &wanted, found);
        });
        rules.strongest(&left)
    }

    fn after_request<'a>(
        &mut self,
        rules: &Rules,
        flow: &KnownFlow,
        left: &mut Bits,
        request: &mut impl LazyRequest<'a>,
    ) -> Option<Verdict> {
        if !flow.is_client_known {
            rules.narrow(left, Attribute::Client, |found| rules.find_client(request.client(), found));
        }
        self.narrow_by_host(rules, left, request);
        rules.narrow(left, Attribute::Path, |found| {
            if let Some(path) = request.path() {
                rules.paths.find(path, found);
            }
        });
        let wanted = *left;
        rules.narrow(left, Attribute::RequestHeaders, |found| {
            rules.request_headers.find(request.headers(), &wanted, found);
        });
        rules.certain(left, &rules.told_by_request)
    }

    fn narrow_by_host<'a>(&mut self, rules: &Rules, left: &mut Bits, request: &mut impl LazyRequest<'a>) {
        let (by_method, by_host) = (rules.asking(Attribute::Method), rules.asking(Attribute::Host));
        if !left.meets(by_method) && !left.meets(by_host) {
            return;
        }
        let method = request.method();
        let host_text = request.host_text();
        let mut look_up = || {
            let (mut methods, mut hosts) = (Bits::NONE, Bits::NONE);
            rules.methods.find(method, &mut methods);
            if let Some(host) = request.host() {
                rules.hosts.find(host, &mut hosts);
            }
            let mut out = by_method.minus(&methods);
            out.add(&by_host.minus(&hosts));
            out
        };
        let out = match host_text {
            Some(host) => self.hosts.recall([method, host], look_up),
            None => look_up(),
        };
        *left = left.minus(&out);
    }
}

/// The rules that texts rule out: a table in which the later of two with the same place stays.
#[derive(Debug)]
struct Texts {
    entries: Vec<Entry>,
    /// Where the last one was.
    last: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Of the two texts that follow each other; [`FREE`] where there are none.
    lens: [u8; 2],
    text: [u8; LONGEST_TEXT],
    out: Bits,
}

const FREE: [u8; 2] = [u8::MAX; 2];

impl Texts {
    fn new(count: usize) -> Self {
        Self { entries: vec![Entry { lens: FREE, text: [0; LONGEST_TEXT], out: Bits::NONE }; count], last: 0 }
    }

    /// The rules that two texts rule out, looked up if they are not known.
    #[inline]
    fn recall(&mut self, texts: [&[u8]; 2], look_up: impl FnOnce() -> Bits) -> Bits {
        // Most are as the one before.
        if let Some(entry) = self.entries.get(self.last).filter(|entry| entry.is_of(texts)) {
            return entry.out;
        }
        let [one, two] = texts;
        if one.len() + two.len() > LONGEST_TEXT || self.entries.is_empty() {
            return look_up();
        }
        let mut hasher = FixedState::default().build_hasher();
        hasher.write(two);
        hasher.write(one);
        // The remainder is below the number of entries.
        self.last = (hasher.finish() % self.entries.len() as u64) as usize;
        let Some(entry) = self.entries.get_mut(self.last) else { return look_up() };
        if entry.is_of(texts) {
            return entry.out;
        }
        let out = look_up();
        entry.put(texts, out);
        out
    }
}

impl Entry {
    #[inline]
    fn is_of(&self, [one, two]: [&[u8]; 2]) -> bool {
        let [first, second] = self.lens.map(usize::from);
        one.len() == first
            && two.len() == second
            && self.text.get(..first) == Some(one)
            && self.text.get(first..first + second) == Some(two)
    }

    fn put(&mut self, [one, two]: [&[u8]; 2], out: Bits) {
        let (Ok(first), Ok(second)) = (u8::try_from(one.len()), u8::try_from(two.len())) else { return };
        let Some((head, tail)) = self.text.split_at_mut_checked(one.len()) else { return };
        let Some(tail) = tail.get_mut(..two.len()) else { return };
        head.copy_from_slice(one);
        tail.copy_from_slice(two);
        self.lens = [first, second];
        self.out = out;
    }
}
