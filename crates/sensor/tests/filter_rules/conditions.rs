//! Each condition by example, and the built-in sets.

use sensor::config::Network;
use sensor::filter::{
    BuiltIn, Conditions, Counts, Decision, Early, FlowVerdict, HeaderCondition, HeaderTest, Kind, Pattern,
    RuleSettings, Rules, Sampling, Settings, Sighting, Verdict,
};
use sensor::normalize::parse_network;

use crate::naive;
use crate::transaction::{Transaction, compile};

fn globs(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().map(|text| Pattern::Glob((*text).to_owned())).collect()
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn networks(texts: &[&str]) -> Vec<Network> {
    texts.iter().map(|text| parse_network(text).unwrap()).collect()
}

fn exclude(conditions: Conditions) -> RuleSettings {
    RuleSettings { name: "x".to_owned(), kind: Kind::Exclude, conditions, sampling: None }
}

#[test]
fn each_condition_by_example() {
    let none = Conditions::default;
    let header = |name: &str, test| vec![HeaderCondition { name: name.to_owned(), test }];
    for (yes, no) in [
        (
            Conditions { host: globs(&["other", "API.*.example"]), ..none() },
            Conditions { host: globs(&["shop.example", "api.shop.exampl"]), ..none() },
        ),
        (Conditions { path: globs(&["/v1/*"]), ..none() }, Conditions { path: globs(&["/v1/"]), ..none() }),
        (
            Conditions { path: vec![Pattern::Regex("^/v[0-9]+/orders$".to_owned())], ..none() },
            Conditions { path: vec![Pattern::Regex("^/V1".to_owned())], ..none() },
        ),
        (Conditions { method: globs(&["POST", "GET"]), ..none() }, Conditions { method: globs(&["GE"]), ..none() }),
        (Conditions { status: texts(&["500", "2xx"]), ..none() }, Conditions { status: texts(&["201-299"]), ..none() }),
        (
            Conditions { content_type: globs(&["application/JSON"]), ..none() },
            Conditions { content_type: globs(&["text/*"]), ..none() },
        ),
        (
            Conditions { client: networks(&["192.0.2.0/24"]), ..none() },
            Conditions { client: networks(&["10.0.0.1"]), ..none() },
        ),
        (
            Conditions { peer: networks(&["10.0.0.1"]), ..none() },
            Conditions { peer: networks(&["192.0.2.0/24"]), ..none() },
        ),
        (
            Conditions { server: networks(&["10.9.0.0/16"]), ..none() },
            Conditions { server: networks(&["10.8.0.0/16"]), ..none() },
        ),
        (
            Conditions { port: texts(&["8000-8080"]), ..none() },
            Conditions { port: texts(&["8081-8090", "80"]), ..none() },
        ),
        (Conditions { vni: texts(&["4711"]), ..none() }, Conditions { vni: texts(&["1-4710"]), ..none() }),
        (Conditions { vlan: texts(&["100"]), ..none() }, Conditions { vlan: texts(&["101"]), ..none() }),
        (
            Conditions { request_headers: header("user-agent", HeaderTest::Value(globs(&["curl/*"]))), ..none() },
            Conditions { request_headers: header("user-agent", HeaderTest::Value(globs(&["Curl/*"]))), ..none() },
        ),
        (
            Conditions { request_headers: header("x-debug", HeaderTest::Absent), ..none() },
            Conditions { request_headers: header("x-debug", HeaderTest::Present), ..none() },
        ),
        (
            Conditions { response_headers: header("Content-Type", HeaderTest::Present), ..none() },
            Conditions { response_headers: header("content-type", HeaderTest::Absent), ..none() },
        ),
    ] {
        let transaction = Transaction::new();
        let is_out = |conditions: &Conditions| {
            let rules = compile(vec![exclude(conditions.clone())]);
            matches!(rules.verdict(&transaction.facts()), Verdict::Out(_))
        };
        assert!(is_out(&yes), "{yes:?}");
        assert!(!is_out(&no), "{no:?}");
    }
}

#[test]
fn what_is_not_there_matches_nothing() {
    let absent = vec![HeaderCondition { name: "x".to_owned(), test: HeaderTest::Absent }];
    let mut transaction = Transaction::new();
    transaction.request = None;
    transaction.response = None;
    for conditions in [
        Conditions { request_headers: absent.clone(), ..Conditions::default() },
        Conditions { response_headers: absent, ..Conditions::default() },
        Conditions { path: globs(&["*"]), ..Conditions::default() },
        Conditions { status: texts(&["0-999"]), ..Conditions::default() },
    ] {
        let rules = compile(vec![exclude(conditions)]);
        assert_eq!(rules.verdict(&transaction.facts()), Verdict::In(None));
    }
    // A response that nobody asked for comes from the connection's peer, as far as anyone knows.
    let rules = compile(vec![exclude(Conditions { client: networks(&["10.0.0.1"]), ..Conditions::default() })]);
    assert!(matches!(rules.verdict(&transaction.facts()), Verdict::Out(_)));
}

#[test]
fn a_flow_is_out_by_its_addresses_alone() {
    let rules = compile(vec![exclude(Conditions { client: networks(&["192.0.2.1"]), ..Conditions::default() })]);
    let mut transaction = Transaction::new();
    assert_eq!(rules.flow(&transaction.flow()), FlowVerdict::Undecided, "a request may say who the client is");
    transaction.is_client_known = true;
    assert!(matches!(rules.flow(&transaction.flow()), FlowVerdict::Out(_)));

    let on_port = exclude(Conditions { port: texts(&["8080"]), ..Conditions::default() });
    assert!(matches!(compile(vec![on_port.clone()]).flow(&transaction.flow()), FlowVerdict::Out(_)));
    let allow = RuleSettings {
        name: "a".to_owned(),
        kind: Kind::Allow,
        conditions: Conditions { status: texts(&["5xx"]), ..Conditions::default() },
        sampling: None,
    };
    let rules = compile(vec![on_port, allow]);
    assert_eq!(rules.flow(&transaction.flow()), FlowVerdict::Undecided, "it may still be allowed");
    assert_eq!(rules.request(&transaction.flow(), &transaction.request().unwrap()), Early::NeedsResponse);
}

#[test]
fn networks_have_names() {
    let settings = Settings {
        rules: vec![exclude(Conditions { vni: texts(&["prod-eu-1"]), ..Conditions::default() })],
        vni_names: [(4711, "prod-eu-1".to_owned())].into(),
        ..Settings::default()
    };
    let rules = Rules::compile(&settings).unwrap();
    assert!(matches!(rules.flow(&Transaction::new().flow()), FlowVerdict::Out(_)));
}

#[test]
fn sampling_is_counted_by_rule() {
    let rules = compile(vec![RuleSettings {
        name: "tenth".to_owned(),
        kind: Kind::Include,
        conditions: Conditions::default(),
        sampling: Some(Sampling::Rate(0.1)),
    }]);
    let transaction = Transaction::new();
    let mut counts = Counts::new(&rules);
    let mut weights = 0;
    for n in 0..1000_u64 {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        let decision = rules.exchange(&transaction.facts(), &Sighting { id: &id, template: b"/v1/orders", at: 0 });
        counts.count(decision);
        if let Decision::Record { weight, .. } = decision {
            weights += u64::from(weight);
        }
    }
    assert_eq!(counts.recorded() + counts.sampled_out(), 1000);
    assert!((90..=110).contains(&counts.recorded()), "{counts:?}");
    assert_eq!(weights, counts.recorded() * 10);
    let mut total = Counts::default();
    total.add(&counts);
    total.add(&counts);
    let by_name: Vec<_> = total.sampled_out_by(&rules).collect();
    assert_eq!(by_name, [("tenth", counts.sampled_out() * 2)]);
    assert_eq!(total.filtered_by(&rules).collect::<Vec<_>>(), [("no_include_rule", 0)]);
}

#[test]
fn built_in_sets() {
    let decides = |set: BuiltIn, change: &dyn Fn(&mut Transaction)| {
        let rules = Rules::compile(&Settings { built_in: vec![set, set], ..Settings::default() }).unwrap();
        let mut transaction = Transaction::new();
        change(&mut transaction);
        naive::text(&rules, rules.verdict(&transaction.facts()))
    };
    let asked = |path: &'static str, agent: &'static str, status: u16, media_type: &'static str| {
        move |transaction: &mut Transaction| {
            let request = transaction.request.as_mut().unwrap();
            request.path = Some(path.to_owned());
            request.headers[0].1 = agent.to_owned();
            let response = transaction.response.as_mut().unwrap();
            response.status = status;
            response.headers[0].1 = media_type.to_owned();
        }
    };
    for (set, change, expected) in [
        (
            BuiltIn::StaticAssets,
            asked("/app/main.js", "x", 200, "text/javascript; charset=utf-8"),
            Some("out static_assets"),
        ),
        (BuiltIn::StaticAssets, asked("/logo.png", "x", 304, ""), Some("out static_assets.not_modified")),
        // An API that is asked under the name of a picture.
        (BuiltIn::StaticAssets, asked("/v1/account/x.png", "x", 200, "application/json"), None),
        (BuiltIn::StaticAssets, asked("/v1/orders", "x", 200, "image/png"), None),
        (BuiltIn::HealthChecks, asked("/healthz", "x", 200, "text/plain"), Some("out health_checks.paths")),
        (BuiltIn::HealthChecks, asked("/healthz", "x", 503, "text/plain"), None),
        (BuiltIn::HealthChecks, asked("/v1/health-records", "x", 200, ""), None),
        (BuiltIn::MeshProbes, asked("/app-health/shop/readyz", "x", 200, ""), Some("out mesh_probes.paths")),
        (BuiltIn::MeshProbes, asked("/healthz/ready", "x", 200, ""), None),
    ] {
        assert_eq!(decides(set, &change).as_deref(), expected, "{set:?}");
    }
    // Who takes a probe's name is seen all the same, but for what a probe asks for, and as briefly.
    let probed = |path: &'static str, request: &[(&str, &str)], response: &[(&str, &str)]| {
        let fields = |fields: &[(&str, &str)]| -> Vec<(String, String)> {
            fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let (request, response) = (fields(request), fields(response));
        move |transaction: &mut Transaction| {
            let asked = transaction.request.as_mut().unwrap();
            (asked.path, asked.headers) = (Some(path.to_owned()), request.clone());
            transaction.response.as_mut().unwrap().headers.clone_from(&response);
        }
    };
    let (kubelet, envoy, short) =
        (("User-Agent", "kube-probe/1.27"), ("user-agent", "Envoy/HC"), ("Content-Length", "2"));
    for (path, request, response, expected) in [
        ("/", &[kubelet][..], &[short][..], Some("out health_checks.agents")),
        ("/index.html", &[("User-Agent", "ELB-HealthChecker/2.0")], &[short], Some("out health_checks.agents")),
        ("/", &[envoy], &[short], Some("out mesh_probes.agents")),
        ("/stats/prometheus", &[envoy], &[("Content-Length", "999")], Some("out mesh_probes.agents")),
        ("/admin/delete", &[kubelet], &[short], None),
        ("/admin/delete", &[envoy], &[short], None),
        ("/", &[kubelet], &[], None),
        ("/", &[kubelet], &[("Content-Length", "1000")], None),
        ("/", &[kubelet], &[short, ("Content-Length", "70000")], None),
        ("/", &[("User-Agent", "evil"), kubelet], &[short], None),
        ("/", &[kubelet, ("User-Agent", "evil")], &[short], None),
        ("/", &[kubelet, ("Cookie", "a=b")], &[short], None),
        ("/", &[kubelet, ("Authorization", "Bearer x")], &[short], None),
        ("/", &[kubelet, ("Content-Length", "9")], &[short], None),
        ("/", &[kubelet, ("Transfer-Encoding", "chunked")], &[short], None),
        ("/healthz", &[("Content-Length", "9")], &[short], None),
        ("/healthz", &[("Cookie", "a=b")], &[], Some("out health_checks.paths")),
        ("/app-health/web/livez", &[("Transfer-Encoding", "chunked")], &[], None),
    ] {
        let found =
            [BuiltIn::HealthChecks, BuiltIn::MeshProbes].map(|set| decides(set, &probed(path, request, response)));
        assert_eq!(found.iter().flatten().next().map(String::as_str), expected, "{path} {request:?} {response:?}");
    }
    for body in [("Content-Length", "12"), ("Transfer-Encoding", "chunked")] {
        let script = probed("/app.js", &[body], &[("Content-Type", "text/javascript")]);
        assert_eq!(decides(BuiltIn::StaticAssets, &script), None, "{body:?}");
    }
    let on_port = |transaction: &mut Transaction| {
        transaction.server.1 = 15021;
        transaction.request.as_mut().unwrap().path = Some("/healthz/ready".to_owned());
    };
    assert_eq!(decides(BuiltIn::MeshProbes, &on_port).as_deref(), Some("out mesh_probes.ports"));
    for host in ["api.shop.example-shadow", "api.shop.example:80-shadow"] {
        let shadow = |transaction: &mut Transaction| transaction.request.as_mut().unwrap().host = Some(host.to_owned());
        assert_eq!(decides(BuiltIn::ShadowTraffic, &shadow).as_deref(), Some("out shadow_traffic"));
    }
    assert_eq!(decides(BuiltIn::ShadowTraffic, &|_| ()), None);
}

/// No spelling of a host, and no other in a list with it, gets it past a rule that leaves it out; nor does one that a rule
/// records.
#[test]
fn a_host_is_one_however_it_is_written() {
    let rule = |kind: Kind, host: &[&str]| RuleSettings {
        name: kind.name().to_owned(),
        kind,
        conditions: Conditions { host: globs(host), ..Conditions::default() },
        sampling: None,
    };
    let verdict = |rules: &Rules, host: &str| {
        let mut transaction = Transaction::new();
        transaction.request.as_mut().unwrap().host = Some(host.to_owned());
        naive::text(rules, rules.verdict(&transaction.facts()))
    };
    let secret = [
        "secret.example",
        "u:p@secret.example",
        "a, u:p@secret.example",
        "secret.example, a",
        "http://secret.example/",
        "//u@secret.example:8443/x",
        "\"secret.example\"",
        "u%3ap%40secret.example",
        "secret.example:99999",
        "b.example;secret.example",
    ];
    for kind in [Kind::Ignore, Kind::Exclude] {
        let rules = compile(vec![rule(kind, &["secret.example", "[::1]", "*-shadow"])]);
        for host in secret.iter().chain(&["u@[::1]", "[::1], a", "a.example:80-shadow", "a-shadow, b"]) {
            assert_eq!(verdict(&rules, host), Some(format!("out {}", kind.name())), "{host}");
        }
        for host in ["secret.example@a", "a.secret.example", "a", "http://a/secret.example"] {
            assert_eq!(verdict(&rules, host), None, "{host}");
        }
    }
    // What is allowed in a list with it does not allow it.
    let rules = compile(vec![rule(Kind::Allow, &["a", "b.example"]), rule(Kind::Exclude, &["secret.example"])]);
    for host in secret {
        assert_eq!(verdict(&rules, host).as_deref(), Some("out exclude"), "{host}");
    }
    for host in ["a", "u:p@b.example", "a, b.example", "http://a/", "a:99999"] {
        assert_eq!(verdict(&rules, host).as_deref(), Some("in allow"), "{host}");
    }
    let rules = compile(vec![rule(Kind::Include, &["*.example"])]);
    for (host, is_in) in [("u@a.example", true), ("a.example, b.example", true), ("a.example, b", false)] {
        assert_eq!(verdict(&rules, host).as_deref() == Some("in include"), is_in, "{host}");
    }
}

/// What is not ASCII is escaped by most clients and sent as it is by others; a rule means both, whichever it writes.
#[test]
fn paths_beyond_ascii_match_in_both_forms() {
    let sent: [&[u8]; 3] = [b"/caf\xc3\xa9/7", b"/caf%C3%A9/7", b"/cafe/7"];
    for (pattern, expected) in [
        ("/caf\u{e9}/7", [true, true, false]),
        ("/caf%C3%A9/7", [true, true, false]),
        ("/caf\u{e9}/*", [true, true, false]),
        ("*\u{e9}/7", [true, true, false]),
        ("/c*%C3%A9/?", [true, true, false]),
        ("/caf{\u{e9},e}/7", [true, true, true]),
        ("/caf\\\u{e9}/7", [true, true, false]),
        ("/caf%C3/7", [false; 3]),
        ("/%FF%C3%A9%", [false; 3]),
        ("/caf\u{e8}/7", [false; 3]),
    ] {
        let rules = compile(vec![exclude(Conditions { path: globs(&[pattern]), ..Conditions::default() })]);
        let found = sent.map(|path| {
            let mut transaction = Transaction::new();
            transaction.request.as_mut().unwrap().path = None;
            let mut facts = transaction.facts();
            facts.request.as_mut().unwrap().path = Some(path);
            matches!(rules.verdict(&facts), Verdict::Out(_))
        });
        assert_eq!(found, expected, "{pattern}");
    }
    let regex = Conditions { path: vec![Pattern::Regex("caf\u{e9}".to_owned())], ..Conditions::default() };
    let rules = compile(vec![exclude(regex)]);
    let mut transaction = Transaction::new();
    transaction.request.as_mut().unwrap().path = Some("/caf%C3%A9".to_owned());
    assert_eq!(rules.verdict(&transaction.facts()), Verdict::In(None), "an expression is about bytes");
}

/// Workers share rules.
const fn is_shared<T: Send + Sync>() {}
const _: () = is_shared::<Rules>();
const _: () = is_shared::<sensor::normalize::Normalizer>();
