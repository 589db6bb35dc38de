//! The rules as they are told, one after the other and condition by condition: slow, and nothing shared with the real ones.

use sensor::filter::{Cause, Conditions, HeaderTest, Kind, Pattern, RuleSettings, Stage, Verdict};

use crate::transaction::Transaction;

/// What is known of a condition, or of a rule: it holds, it does not, or that is still open.
type Known = Option<bool>;

/// The verdict of the five steps in the filters' documentation, all facts known.
pub(crate) fn verdict(rules: &[RuleSettings], transaction: &Transaction) -> Option<String> {
    let matching = |kind: Kind| {
        rules.iter().find(|rule| rule.kind == kind && matches(rule, transaction, Stage::Response) == Some(true))
    };
    if let Some(rule) = matching(Kind::Ignore) {
        return Some(format!("out {}", rule.name));
    }
    if let Some(rule) = matching(Kind::Allow) {
        return Some(format!("in {}", rule.name));
    }
    if let Some(rule) = matching(Kind::Exclude) {
        return Some(format!("out {}", rule.name));
    }
    if let Some(rule) = matching(Kind::Include) {
        return Some(format!("in {}", rule.name));
    }
    rules.iter().any(|rule| rule.kind == Kind::Include).then(|| "out no_include_rule".to_owned())
}

/// Whether a rule matches, on the facts known at a stage.
pub(crate) fn matches(rule: &RuleSettings, transaction: &Transaction, stage: Stage) -> Known {
    let holding = conditions(&rule.conditions, transaction, stage);
    if holding.contains(&Some(false)) {
        Some(false)
    } else if holding.contains(&None) {
        None
    } else {
        Some(true)
    }
}

/// Whether a transaction is filtered in each way that the open conditions can still turn out.
pub(crate) fn is_certain(rules: &[RuleSettings], transaction: &Transaction, stage: Stage) -> Known {
    let open: Vec<usize> =
        (0..rules.len()).filter(|place| matches(&rules[*place], transaction, stage).is_none()).collect();
    let mut outcomes = (0..1_usize << open.len()).map(|turn| {
        let is_matching = |place: usize| match open.iter().position(|other| *other == place) {
            Some(bit) => turn >> bit & 1 == 1,
            None => matches(&rules[place], transaction, stage) == Some(true),
        };
        let of = |kind: Kind| (0..rules.len()).any(|place| rules[place].kind == kind && is_matching(place));
        let has_include = rules.iter().any(|rule| rule.kind == Kind::Include);
        of(Kind::Ignore) || !of(Kind::Allow) && (of(Kind::Exclude) || has_include && !of(Kind::Include))
    });
    let first = outcomes.next()?;
    outcomes.all(|outcome| outcome == first).then_some(first)
}

pub(crate) fn text(rules: &sensor::filter::Rules, verdict: Verdict) -> Option<String> {
    match verdict {
        Verdict::Out(cause) => Some(format!("out {}", rules.cause(cause))),
        Verdict::In(rule) => rule.map(|rule| format!("in {}", rules.name(rule))),
    }
}

pub(crate) fn cause_kind(rules: &sensor::filter::Rules, cause: Cause) -> Option<Kind> {
    match cause {
        Cause::Rule(rule) => Some(rules.kind(rule)),
        Cause::NoIncludeRule => None,
    }
}

fn conditions(conditions: &Conditions, transaction: &Transaction, stage: Stage) -> Vec<Known> {
    let mut all = Vec::new();
    let mut add = |is_asked: bool, is_known: bool, holds: &dyn Fn() -> bool| {
        if is_asked {
            all.push(is_known.then(holds));
        }
    };
    let in_network = |networks: &[sensor::config::Network], ip: std::net::IpAddr| {
        networks.iter().any(|network| network.contains(&ip))
    };
    let in_range = |texts: &[String], number: u32| {
        texts.iter().any(|text| match text.split_once('-') {
            Some((first, last)) => (first.parse().unwrap()..=last.parse().unwrap()).contains(&number),
            None if text.ends_with("xx") => text[..1] == (number / 100).to_string(),
            None => text.parse::<u32>().unwrap() == number,
        })
    };
    let (request, response) = (transaction.request.as_ref(), transaction.response.as_ref());
    let client = request.map_or(transaction.peer, |request| request.client);
    let Conditions { peer, server, port, vni, vlan, client: clients, .. } = conditions;
    add(!peer.is_empty(), true, &|| in_network(peer, transaction.peer));
    add(!server.is_empty(), true, &|| in_network(server, transaction.server.0));
    add(!port.is_empty(), true, &|| in_range(port, transaction.server.1.into()));
    add(!vni.is_empty(), true, &|| transaction.vnis.iter().any(|id| in_range(vni, *id)));
    add(!vlan.is_empty(), true, &|| transaction.vlans.iter().any(|id| in_range(vlan, (*id).into())));
    let has_request = stage >= Stage::Request;
    add(!clients.is_empty(), has_request || transaction.is_client_known, &|| in_network(clients, client));
    let Conditions { method, host, path, request_headers, .. } = conditions;
    add(!method.is_empty(), has_request, &|| request.is_some_and(|request| any(method, &request.method)));
    let host_holds = || request.is_some_and(|request| request.host.as_ref().is_some_and(|text| any(host, text)));
    add(!host.is_empty(), has_request, &host_holds);
    let path_holds = || request.is_some_and(|request| request.path.as_ref().is_some_and(|text| any(path, text)));
    add(!path.is_empty(), has_request, &path_holds);
    for condition in request_headers {
        add(true, has_request, &|| {
            request.is_some_and(|request| header(&request.headers, &condition.name, &condition.test))
        });
    }
    let Conditions { status, content_type, response_headers, .. } = conditions;
    let has_response = stage >= Stage::Response;
    add(!status.is_empty(), has_response, &|| {
        response.is_some_and(|response| in_range(status, response.status.into()))
    });
    add(!content_type.is_empty(), has_response, &|| {
        let value = response
            .and_then(|response| response.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type")));
        value.is_some_and(|(_, value)| {
            any(content_type, value.split(';').next().unwrap().trim().to_lowercase().as_str())
        })
    });
    for condition in response_headers {
        add(true, has_response, &|| {
            response.is_some_and(|response| header(&response.headers, &condition.name, &condition.test))
        });
    }
    all
}

fn header(headers: &[(String, String)], name: &str, test: &HeaderTest) -> bool {
    let mut values = headers.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    match test {
        HeaderTest::Present => values.next().is_some(),
        HeaderTest::Absent => values.next().is_none(),
        HeaderTest::Value(patterns) => values.any(|value| any(patterns, value)),
        HeaderTest::Sole(patterns) => {
            let values: Vec<_> = values.collect();
            values.len() == 1 && any(patterns, values[0])
        }
    }
}

fn any(patterns: &[Pattern], text: &str) -> bool {
    patterns.iter().any(|pattern| match pattern {
        Pattern::Glob(glob) => is_match(glob.as_bytes(), text.as_bytes()),
        // One by one, by other means.
        Pattern::Regex(expression) => {
            let mut builder = regex::bytes::RegexBuilder::new(expression);
            builder.unicode(false).dot_matches_new_line(true).build().unwrap().is_match(text.as_bytes())
        }
    })
}

fn is_match(glob: &[u8], text: &[u8]) -> bool {
    match (glob, text) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => is_match(rest, text) || (!text.is_empty() && is_match(glob, &text[1..])),
        ([b'?', glob @ ..], [_, text @ ..]) => is_match(glob, text),
        ([one, glob @ ..], [two, text @ ..]) => one == two && is_match(glob, text),
        _ => false,
    }
}
