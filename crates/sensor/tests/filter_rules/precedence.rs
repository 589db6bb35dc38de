//! Random rules over random transactions, against the naive evaluator.

use std::collections::HashMap;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use sensor::config::Network;
use sensor::filter::{
    Attribute, Cause, Conditions, Counts, Decision, Early, FlowVerdict, HeaderCondition, HeaderTest, Judgement, Kind,
    Pattern, Recall, RuleSettings, Sighting, Stage, Verdict,
};
use sensor::normalize::parse_network;

use crate::naive;
use crate::transaction::{Request, Response, Transaction, compile};

const HOSTS: &[&str] = &["a.example", "b.example", "a.test"];
const PATHS: &[&str] = &["/", "/a", "/a/b", "/b/a.js"];

/// Mostly nothing, so that rules match now and then.
fn some<T: Clone + std::fmt::Debug + 'static>(
    values: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = Vec<T>> {
    prop_oneof![6 => Just(Vec::new()), 1 => vec(values, 1..3)]
}

fn globs(texts: &'static [&'static str]) -> impl Strategy<Value = Pattern> {
    select(texts).prop_map(|text| Pattern::Glob(text.to_owned()))
}

fn texts(texts: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(texts).prop_map(str::to_owned)
}

fn networks(texts: &'static [&'static str]) -> impl Strategy<Value = Network> {
    select(texts).prop_map(|text| parse_network(text).unwrap())
}

/// Of those that are looked for together, and those that are told by less than all of them.
const VALUES: &[&str] = &["(?i)BOT[a-z]*1", "[0-9]{1,9}2$", ".*3.*", "^1?(x*|2+)", "\\w+3", "(1|b.)+2", "^$"];

fn regexes(texts: &'static [&'static str]) -> impl Strategy<Value = Pattern> {
    select(texts).prop_map(|text| Pattern::Regex(text.to_owned()))
}

fn header_conditions() -> impl Strategy<Value = HeaderCondition> {
    let test = prop_oneof![
        Just(HeaderTest::Present),
        Just(HeaderTest::Absent),
        vec(globs(&["1", "1*", "*2"]), 1..3).prop_map(HeaderTest::Value),
        vec(globs(&["1", "1*", "*2"]), 1..3).prop_map(HeaderTest::Sole),
        vec(prop_oneof![globs(&["?2*", "*1*2", "*b*2*"]), regexes(VALUES)], 1..3).prop_map(HeaderTest::Value),
    ];
    (texts(&["x-a", "X-B", "x-long"]), test).prop_map(|(name, test)| HeaderCondition { name, test })
}

fn conditions() -> impl Strategy<Value = Conditions> {
    let addresses: &[&str] = &["10.0.0.0/8", "10.0.0.1", "192.0.2.0/24", "::/0"];
    let flow = (
        some(networks(addresses)),
        some(networks(addresses)),
        some(texts(&["80", "8000-8999"])),
        some(texts(&["1", "1-5"])),
        some(texts(&["7", "1-9"])),
        some(networks(addresses)),
    );
    let request = (
        some(prop_oneof![globs(&["a.example", "*.example", "A*", "?.test"]), regexes(&["test", "a.+e", "[a-z]*\\.t"])]),
        some(prop_oneof![globs(&["/", "/a*", "*.js", "/?/*", "*"]), regexes(&["a", "/.+b", "[a-z]*\\.js$"])]),
        some(globs(&["GET", "P*"])),
        some(header_conditions()),
    );
    let response =
        (some(texts(&["200", "5xx", "300-404"])), some(globs(&["text/*", "*/json"])), some(header_conditions()));
    (flow, request, response).prop_map(|((peer, server, port, vni, vlan, client), request, response)| {
        let (mut host, path, method, request_headers) = request;
        // The naive one knows nothing of case.
        for pattern in &mut host {
            if let Pattern::Glob(text) = pattern {
                text.make_ascii_lowercase();
            }
        }
        let (status, content_type, response_headers) = response;
        Conditions {
            host,
            path,
            method,
            status,
            content_type,
            client,
            peer,
            server,
            port,
            vni,
            vlan,
            request_headers,
            response_headers,
        }
    })
}

fn rules() -> impl Strategy<Value = Vec<RuleSettings>> {
    rules_up_to(6)
}

fn rules_up_to(most: usize) -> impl Strategy<Value = Vec<RuleSettings>> {
    vec((select(Kind::ALL.as_slice()), conditions()), 0..=most).prop_map(|rules| {
        let named =
            |(place, (kind, conditions))| RuleSettings { name: format!("r{place}"), kind, conditions, sampling: None };
        rules.into_iter().enumerate().map(named).collect()
    })
}

fn headers() -> impl Strategy<Value = Vec<(String, String)>> {
    let values = prop_oneof![
        texts(&["1", "12", "2", "", "3", "a bot1", "robots12", "x3"]),
        "[12bx]{0,6}",
        // Longer than what is remembered.
        "[12b]{250,260}",
    ];
    vec((texts(&["X-A", "x-b", "X-Long", "other"]), values), 0..3)
}

fn transactions() -> impl Strategy<Value = Transaction> {
    let ips: &[&str] = &["10.0.0.1", "10.1.2.3", "192.0.2.9", "2001:db8::1"];
    let ip = || select(ips).prop_map(|text| text.parse().unwrap());
    let request = (ip(), texts(&["GET", "POST", "PUT"]), option::of(texts(HOSTS)), option::of(texts(PATHS)), headers())
        .prop_map(|(client, method, host, path, headers)| Request { client, method, host, path, headers });
    let response =
        (select([200, 304, 404, 503].as_slice()), texts(&["text/html; charset=x", "Application/JSON", ""]), headers())
            .prop_map(|(status, media_type, mut headers)| {
                headers.push(("content-type".to_owned(), media_type));
                Response { status, headers }
            });
    (
        ip(),
        any::<bool>(),
        (ip(), select([80, 8080, 443].as_slice())),
        vec(0_u32..8, 0..3),
        vec(0_u16..12, 0..3),
        option::weighted(0.9, request),
        option::weighted(0.9, response),
    )
        .prop_map(|(peer, is_client_known, server, vnis, vlans, request, response)| {
            let mut transaction = Transaction { peer, is_client_known, server, vnis, vlans, request, response };
            if transaction.is_client_known && transaction.request.is_none() {
                transaction.is_client_known = false;
            }
            transaction
        })
}

const SIGHTING: Sighting<'_> = Sighting { id: &[7; 16], template: b"", at: 0 };

proptest! {
    #[test]
    fn the_outcome_is_that_of_the_five_steps(rules in rules(), transactions in vec(transactions(), 1..8)) {
        let compiled = compile(rules.clone());
        let mut counts = Counts::new(&compiled);
        for transaction in &transactions {
            let facts = transaction.facts();
            let expected = naive::verdict(&rules, transaction);
            let verdict = compiled.verdict(&facts);
            match verdict {
                // What is recorded is recorded by the rule that the steps name.
                Verdict::In(_) => prop_assert_eq!(naive::text(&compiled, verdict), expected),
                Verdict::Out(cause) => {
                    prop_assert!(expected.is_some_and(|text| text.starts_with("out ")));
                    if let Cause::Rule(rule) = cause {
                        let rule = &rules[rule.place()];
                        prop_assert!(!rule.kind.records());
                        prop_assert_eq!(naive::matches(rule, transaction, Stage::Response), Some(true));
                    }
                }
            }

            let decision = compiled.exchange(&facts, &SIGHTING);
            let expected = match verdict {
                Verdict::Out(cause) => Decision::Filtered(cause),
                Verdict::In(rule) => Decision::Record { rule, weight: 1 },
            };
            prop_assert_eq!(decision, expected);
            counts.count(decision);

            let explanation = compiled.explain(&facts);
            prop_assert_eq!(explanation.verdict, verdict);
            for (rule, judgement) in &explanation.judgements {
                let is_match = naive::matches(&rules[rule.place()], transaction, Stage::Response) == Some(true);
                prop_assert_eq!(*judgement == Judgement::Matches, is_match);
            }
        }
        prop_assert_eq!(counts.recorded() + counts.filtered() + counts.sampled_out(), transactions.len() as u64);
        prop_assert_eq!(counts.filtered_by(&compiled).map(|(_, count)| count).sum::<u64>(), counts.filtered());
    }

    /// What a worker remembers of facts that come again changes no answer: not on flows, hosts and media types that it
    /// knows, nor where others took their places.
    #[test]
    fn what_is_recalled_is_what_is_looked_up(
        rules in rules_up_to(60),
        transactions in vec((transactions(), option::weighted(0.2, "[a-z]{1,90}")), 1..24),
    ) {
        let compiled = compile(rules);
        let mut recall = Recall::default();
        let mut places = HashMap::new();
        for turn in 0..2 {
            for (number, (transaction, other_host)) in transactions.iter().enumerate() {
                let mut facts = transaction.facts();
                let Some(request) = facts.request.as_mut() else { continue };
                if let Some(host) = other_host {
                    request.host = Some(host.as_bytes());
                }
                let request = *request;
                let known = match places.get(&number) {
                    Some(place) => *place,
                    None => {
                        let place = recall.flow(&compiled, &facts.flow);
                        prop_assert!(place.is_lasting());
                        places.insert(number, place);
                        place
                    }
                };
                let early = recall.request(&compiled, known, &mut request.clone());
                prop_assert_eq!(early, compiled.request(&facts.flow, &request), "in turn {}", turn);
                let verdict = recall.verdict(&compiled, known, &mut request.clone(), facts.response.as_ref());
                prop_assert_eq!(verdict, compiled.verdict(&facts), "in turn {}", turn);
            }
        }
    }

    /// What is said early is said as soon as it is certain, and is never taken back.
    #[test]
    fn a_decision_is_early_and_final(rules in rules(), transaction in transactions()) {
        let compiled = compile(rules.clone());
        let verdict = compiled.verdict(&transaction.facts());
        let flow = compiled.flow(&transaction.flow());
        match flow {
            FlowVerdict::Out(cause) => prop_assert_eq!(verdict, Verdict::Out(cause)),
            FlowVerdict::Undecided => prop_assert_ne!(naive::is_certain(&rules, &transaction, Stage::Flow), Some(true)),
        }
        let Some(request) = transaction.request() else { return Ok(()) };
        match compiled.request(&transaction.flow(), &request) {
            Early::Out(cause) => {
                prop_assert_eq!(verdict, Verdict::Out(cause));
                // Named is the strongest rule that is known to match.
                if flow == FlowVerdict::Undecided {
                    let strongest = Kind::ALL.iter().find(|kind| rules.iter().any(|rule| {
                        rule.kind == **kind && naive::matches(rule, &transaction, Stage::Request) == Some(true)
                    }));
                    let kind = naive::cause_kind(&compiled, cause);
                    prop_assert!(kind.is_none() || kind == strongest.copied());
                }
            }
            Early::In(rule) => prop_assert_eq!(verdict, Verdict::In(rule)),
            Early::NeedsResponse => prop_assert_ne!(naive::is_certain(&rules, &transaction, Stage::Request), Some(true)),
        }
    }
}

fn rule(name: &str, kind: Kind, conditions: Conditions) -> RuleSettings {
    RuleSettings { name: name.to_owned(), kind, conditions, sampling: None }
}

#[test]
fn the_table_of_precedence() {
    let all = |kind: Kind| rule(kind.name(), kind, Conditions::default());
    let never = |kind: Kind| {
        rule(
            &format!("no_{}", kind.name()),
            kind,
            Conditions { status: vec!["999".to_owned()], ..Conditions::default() },
        )
    };
    use Kind::{Allow, Exclude, Ignore, Include};
    for (matching, others, expected) in [
        (&[][..], &[][..], None),
        (&[Ignore, Allow, Exclude, Include], &[], Some("out ignore")),
        (&[Include, Exclude, Allow], &[Ignore], Some("in allow")),
        (&[Include, Exclude], &[Ignore, Allow], Some("out exclude")),
        (&[Include], &[Ignore, Allow, Exclude], Some("in include")),
        (&[], &[Ignore, Allow, Exclude], None),
        (&[], &[Include], Some("out no_include_rule")),
        (&[Allow], &[Include], Some("in allow")),
        (&[Exclude], &[Include, Allow], Some("out exclude")),
    ] {
        let rules = matching.iter().copied().map(all).chain(others.iter().copied().map(never)).collect();
        let compiled = compile(rules);
        let verdict = compiled.verdict(&Transaction::new().facts());
        assert_eq!(naive::text(&compiled, verdict).as_deref(), expected, "{matching:?} {others:?}");
    }
    // The first of a kind counts.
    let first = rule("first", Exclude, Conditions::default());
    let compiled = compile(vec![first, all(Exclude)]);
    let verdict = compiled.verdict(&Transaction::new().facts());
    assert_eq!(naive::text(&compiled, verdict).as_deref(), Some("out first"));
}

#[test]
fn an_explanation_says_why() {
    let rules = compile(vec![
        rule(
            "probes",
            Kind::Exclude,
            Conditions { method: vec![Pattern::Glob("HEAD".to_owned())], ..Conditions::default() },
        ),
        rule(
            "orders",
            Kind::Include,
            Conditions { path: vec![Pattern::Glob("/v1/*".to_owned())], ..Conditions::default() },
        ),
        rule("errors", Kind::Include, Conditions { status: vec!["5xx".to_owned()], ..Conditions::default() }),
    ]);
    let mut transaction = Transaction::new();
    let facts = transaction.facts();
    let explanation = rules.explain(&facts);
    assert_eq!(explanation.to_string(), "recorded by include rule `orders` (certain with the request)");
    assert_eq!(explanation.rule(), Some("orders"));
    let judgements: Vec<_> = explanation.judgements.iter().map(|(_, judgement)| *judgement).collect();
    assert_eq!(
        judgements,
        [Judgement::Fails(Attribute::Method), Judgement::Matches, Judgement::Fails(Attribute::Status)]
    );
    transaction.response.as_mut().unwrap().status = 503;
    assert_eq!(
        rules.explain(&transaction.facts()).to_string(),
        "recorded by include rule `orders` (certain with the request); include rule `errors` would match, too"
    );
    transaction.request.as_mut().unwrap().path = Some("/v2".to_owned());
    transaction.response = None;
    assert_eq!(
        rules.explain(&transaction.facts()).to_string(),
        "filtered: no include rule matches (certain with the response)"
    );
}
