//! What rules say of facts that come again and again: a flow's addresses, methods with hosts, media types.
//!
//! Rules are the same for all workers, and this is a worker's own. It holds no more than some dozens of entries, whatever comes
//! in, and what is not in it is looked up: it changes how long an answer takes, never the answer.

use core::hash::{BuildHasher as _, Hasher as _};
use core::net::IpAddr;

use foldhash::fast::FixedState;

use super::facts::{Fields, FlowFacts, RequestFacts, ResponseFacts};
use super::header_index::HeaderIndex;
use super::rules::Rules;
use super::sets::Bits;
use super::verdict::{Attribute, Early, Verdict};

/// What is remembered of each kind.
const MOST_FLOWS: usize = 64;
const HOSTS: usize = 64;
const MEDIA_TYPES: usize = 16;
const VALUES: usize = 64;
/// The longest text that is remembered: method and host, or a Content-Type.
const LONGEST_TEXT: usize = 80;
/// The same of a header field: a User-Agent seldom has more.
const LONGEST_FIELD: usize = 256;

/// A request of which nothing is worked out before a rule asks for it.
pub trait LazyRequest<'a> {
    /// The client's address, as normalization finds it.
    fn client(&mut self) -> IpAddr;
    /// The method, as sent.
    fn method(&self) -> &'a [u8];
    /// What alone says which host it is for, as sent: equal texts are of equal hosts. `None`: something else says it too.
    fn host_text(&self) -> Option<&'a [u8]>;
    /// The normalized host, without port; of a request with several Host fields, all of them as one list.
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
#[derive(Debug, PartialEq, Eq)]
struct KnownFlow {
    left: Bits,
    verdict: Option<Verdict>,
    is_client_known: bool,
}

/// Where a [`Recall`] keeps what is known of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowPlace(u16);

impl FlowPlace {
    /// Whether it stays that of the flow. Else there was no more room: it is good for one question.
    #[must_use]
    pub const fn is_lasting(self) -> bool {
        (self.0 as usize) < MOST_FLOWS - 1
    }
}

/// What was said of facts that come again, by one set of rules: with others, a new one is to be taken.
#[derive(Debug)]
pub struct Recall {
    /// Many flows, few entries: mostly no rule tells their addresses apart. The last of [`MOST_FLOWS`] changes with each flow
    /// that there is no room for.
    flows: Vec<KnownFlow>,
    /// The rules that method and host rule out.
    hosts: Texts<LONGEST_TEXT>,
    /// The rules that a Content-Type rules out.
    media_types: Texts<LONGEST_TEXT>,
    /// The conditions that a field's value meets, of requests and of responses.
    request_values: Texts<LONGEST_FIELD>,
    response_values: Texts<LONGEST_FIELD>,
}

impl Default for Recall {
    fn default() -> Self {
        Self {
            flows: Vec::new(),
            hosts: Texts::new(HOSTS),
            media_types: Texts::new(MEDIA_TYPES),
            request_values: Texts::new(VALUES),
            response_values: Texts::new(VALUES),
        }
    }
}

impl Recall {
    /// Where it is kept what the rules say of a flow.
    pub fn flow(&mut self, rules: &Rules, flow: &FlowFacts<'_>) -> FlowPlace {
        let mut left = rules.all;
        let verdict = rules.after_flow(&mut left, flow);
        let known = KnownFlow { left, verdict, is_client_known: flow.client.is_some() };
        let place = match self.flows.iter().take(MOST_FLOWS - 1).position(|other| *other == known) {
            Some(place) => place,
            None => {
                self.flows.truncate(MOST_FLOWS - 1);
                self.flows.push(known);
                self.flows.len() - 1
            }
        };
        FlowPlace(u16::try_from(place).unwrap_or(u16::MAX))
    }

    /// As [`Rules::request`], on a flow of which this is known: the rules are those that it was asked of.
    pub fn request<'a>(&mut self, rules: &Rules, flow: FlowPlace, request: &mut impl LazyRequest<'a>) -> Early {
        let mut left = Bits::NONE;
        match self.after_request(rules, flow, &mut left, request) {
            Some(Verdict::Out(cause)) => Early::Out(cause),
            Some(Verdict::In(rule)) => Early::In(rule),
            None => Early::NeedsResponse,
        }
    }

    /// As [`Rules::verdict`] of a transaction whose request was captured, on a flow of which this is known.
    pub fn verdict<'a>(
        &mut self,
        rules: &Rules,
        flow: FlowPlace,
        request: &mut impl LazyRequest<'a>,
        response: Option<&ResponseFacts<'_>>,
    ) -> Verdict {
        let mut left = Bits::NONE;
        if let Some(verdict) = self.after_request(rules, flow, &mut left, request) {
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
            let mut is_there = false;
            response.headers.first("content-type", &mut |value| {
                is_there = true;
                let out = self.media_types.recall([value, &[]], || {
                    let mut found = Bits::NONE;
                    rules.find_content_type(value, &mut found);
                    rules.asking(Attribute::ContentType).minus(&found)
                });
                left = left.minus(out);
            });
            if !is_there {
                left = left.minus(rules.asking(Attribute::ContentType));
            }
        }
        let wanted = left;
        rules.narrow(&mut left, Attribute::ResponseHeaders, |found| {
            self.response_values.find(&rules.response_headers, response.headers, &wanted, found);
        });
        rules.strongest(&left)
    }

    /// `left` becomes what is left of the rules, where the verdict is not certain.
    fn after_request<'a>(
        &mut self,
        rules: &Rules,
        flow: FlowPlace,
        left: &mut Bits,
        request: &mut impl LazyRequest<'a>,
    ) -> Option<Verdict> {
        *left = rules.all;
        let known = self.flows.get(usize::from(flow.0));
        if let Some(known) = known {
            if known.verdict.is_some() {
                return known.verdict;
            }
            *left = known.left;
        }
        if known.is_none_or(|known| !known.is_client_known) {
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
            self.request_values.find(&rules.request_headers, request.headers(), &wanted, found);
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
                rules.find_hosts(host, &mut hosts);
            }
            let mut out = by_method.minus(&methods);
            out.add(&by_host.minus(&hosts));
            out
        };
        match host_text {
            Some(host) => *left = left.minus(self.hosts.recall([method, host], look_up)),
            None => *left = left.minus(&look_up()),
        }
    }
}

/// What rules say of texts: a table in which the later of two with the same place stays.
#[derive(Debug)]
struct Texts<const LONGEST: usize> {
    /// Made with the first text: many rules ask of none.
    entries: Vec<Entry<LONGEST>>,
    count: usize,
    /// Of a text that is too long to be kept.
    long: Bits,
    /// Where the last one was.
    last: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry<const LONGEST: usize> {
    /// Of the two texts that follow each other; [`FREE`] where there are none.
    lens: [u16; 2],
    text: [u8; LONGEST],
    said: Bits,
}

const FREE: [u16; 2] = [u16::MAX; 2];

impl Texts<LONGEST_FIELD> {
    /// As [`HeaderIndex::find`].
    fn find(&mut self, index: &HeaderIndex, fields: &dyn Fields, wanted: &Bits, found: &mut Bits) {
        index.find_by(fields, wanted, found, |name, patterns, value, holding| {
            // What is told by the ends of a text is told as soon as it is recalled.
            if patterns.is_thorough() {
                holding.add(self.recall([name, value], || {
                    let mut met = Bits::NONE;
                    patterns.find(value, &mut met);
                    met
                }));
            } else {
                patterns.find(value, holding);
            }
        });
    }
}

impl<const LONGEST: usize> Texts<LONGEST> {
    fn new(count: usize) -> Self {
        Self { entries: Vec::new(), count, long: Bits::NONE, last: 0 }
    }

    /// What is said of two texts, looked up if it is not known.
    #[inline]
    fn recall(&mut self, texts: [&[u8]; 2], look_up: impl FnOnce() -> Bits) -> &Bits {
        // Most are as the one before.
        if self.entries.get(self.last).is_none_or(|entry| !entry.is_of(texts)) && !self.go_to(texts) {
            let said = look_up();
            let entry = self.entries.get_mut(self.last).filter(|_| Self::keeps(texts));
            let Some(entry) = entry else {
                self.long = said;
                return &self.long;
            };
            entry.put(texts, said);
        }
        self.entries.get(self.last).map_or(&self.long, |entry| &entry.said)
    }

    /// Goes to the place of these texts; whether they are there.
    fn go_to(&mut self, texts: [&[u8]; 2]) -> bool {
        if !Self::keeps(texts) || self.count == 0 {
            return false;
        }
        if self.entries.is_empty() {
            self.entries = vec![Entry { lens: FREE, text: [0; LONGEST], said: Bits::NONE }; self.count];
        }
        let mut hasher = FixedState::default().build_hasher();
        texts.iter().for_each(|text| hasher.write(text));
        // The remainder is below the number of entries.
        self.last = (hasher.finish() % self.entries.len() as u64) as usize;
        self.entries.get(self.last).is_some_and(|entry| entry.is_of(texts))
    }

    fn keeps(texts: [&[u8]; 2]) -> bool {
        texts.iter().map(|text| text.len()).sum::<usize>() <= LONGEST
    }
}

impl<const LONGEST: usize> Entry<LONGEST> {
    #[inline]
    fn is_of(&self, [one, two]: [&[u8]; 2]) -> bool {
        let [first, second] = self.lens.map(usize::from);
        one.len() == first
            && two.len() == second
            && self.text.get(..first) == Some(one)
            && self.text.get(first..first + second) == Some(two)
    }

    fn put(&mut self, [one, two]: [&[u8]; 2], said: Bits) {
        let (Ok(first), Ok(second)) = (u16::try_from(one.len()), u16::try_from(two.len())) else { return };
        let Some((head, tail)) = self.text.split_at_mut_checked(one.len()) else { return };
        let Some(tail) = tail.get_mut(..two.len()) else { return };
        head.copy_from_slice(one);
        tail.copy_from_slice(two);
        self.lens = [first, second];
        self.said = said;
    }
}

#[cfg(test)]
mod tests {
    use decap::Endpoint;

    use super::*;
    use crate::filter::{Conditions, Kind, RuleSettings, Settings};

    #[test]
    fn flows_beyond_the_room_are_answered_too() {
        let rule = |bit: u32| RuleSettings {
            name: format!("r{bit}"),
            kind: Kind::Exclude,
            conditions: Conditions {
                vni: vec![bit.to_string()],
                method: vec![super::super::Pattern::Glob("GET".to_owned())],
                ..Conditions::default()
            },
            sampling: None,
        };
        let settings = Settings { rules: (0..7).map(rule).collect(), ..Settings::default() };
        let rules = Rules::compile(&settings).unwrap();
        let mut recall = Recall::default();
        let end = Endpoint { ip: [10, 0, 0, 1].into(), port: 80 };
        let mut lasting = Vec::new();
        // Each of these networks leaves other rules, twice as many as there is room for.
        for number in (0_u32..128).chain(0..128) {
            let vnis: Vec<u32> = (0..7).filter(|bit| number >> bit & 1 == 1).collect();
            let flow = FlowFacts { peer: end, client: Some(end.ip), server: end, vnis: &vnis, vlans: &[] };
            let headers: [(&str, &str); 0] = [];
            let mut request =
                RequestFacts { client: end.ip, method: b"GET", host: None, path: Some(b"/"), headers: &headers };
            let expected = rules.request(&flow, &request);
            let place = recall.flow(&rules, &flow);
            assert_eq!(recall.request(&rules, place, &mut request), expected, "network {number}");
            lasting.extend(place.is_lasting().then_some((place, expected)));
            for (place, expected) in &lasting {
                assert_eq!(recall.request(&rules, *place, &mut request), *expected);
            }
        }
        assert_eq!(lasting.len(), 2 * (MOST_FLOWS - 1));
        assert!(recall.flows.len() <= MOST_FLOWS);
    }

    #[test]
    fn a_table_of_texts_says_what_was_looked_up() {
        let bits = |number: usize| {
            let mut bits = Bits::NONE;
            bits.insert(number);
            bits
        };
        let mut texts = Texts::<LONGEST_TEXT>::new(4);
        for turn in 0..3 {
            for number in 0..100 {
                // Too long for the table from 81 on; all lengths twice, taken apart differently.
                let text = "x".repeat(number);
                let (one, two) = text.as_bytes().split_at(number / 2);
                assert_eq!(*texts.recall([one, two], || bits(number)), bits(number), "turn {turn}");
                assert_eq!(
                    *texts.recall([two, one], || bits(number + 100 * (number % 2))),
                    bits(number + 100 * (number % 2))
                );
            }
        }
        let known = *texts.recall([b"GET", b"a.example"], || bits(1));
        let again = *texts.recall([b"GET", b"a.example"], || unreachable!("it was the one before"));
        assert_eq!(known, again);
        assert_eq!(*texts.recall([b"GETa", b".example"], || bits(2)), bits(2), "another pair of texts");
    }
}
