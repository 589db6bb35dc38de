//! What rules and normalization cost a transaction: `cargo run --profile quick -p sensor --example filter-cost`.

use std::hint::black_box;
use std::io::Write as _;
use std::time::Instant;

use decap::Endpoint;
use sensor::filter::{
    BuiltIn, Conditions, Facts, FlowFacts, HeaderCondition, HeaderTest, Kind, Pattern, RequestFacts, ResponseFacts,
    RuleSettings, Rules, Settings, Sighting,
};
use sensor::normalize::{self, Normalizer};

const BATCHES: usize = 500;
const ROUNDS: usize = 2_000;

fn main() {
    let headers: Vec<(&[u8], &[u8])> = [
        ("Host", "api.shop.example"),
        ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"),
        ("Accept", "application/json"),
        ("Accept-Encoding", "gzip, br"),
        ("Authorization", "Bearer 0123456789"),
        ("X-Request-Id", "4f2a9d1c77b04e7f"),
        ("X-Forwarded-For", "192.0.2.77, 10.0.0.9"),
        ("X-Forwarded-Proto", "https"),
        ("Content-Type", "application/json"),
        ("Cookie", "session=4f2a9d1c77b04e7f"),
    ]
    .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
    .to_vec();
    let answer: Vec<(&[u8], &[u8])> = vec![(b"Content-Type", b"application/json"), (b"Content-Length", b"512")];
    let (peer, server) = ("10.0.0.9".parse().unwrap(), "10.9.0.1".parse().unwrap());
    let paths =
        ["/v1/orders/123456/items", "/v2/customers/4f2a9d1c-77b0-4e7f-9a65-5c2aa0f0c015", "/search", "/assets/x.svg"];
    let client = "192.0.2.77".parse().unwrap();

    for (name, settings) in [
        ("no rules", Settings::default()),
        ("built-in sets", built_in()),
        ("200 rules", rules(false)),
        ("200 rules, 40 on headers", rules(true)),
    ] {
        let begin = Instant::now();
        let rules = Rules::compile(&settings).unwrap();
        let compiled_in = begin.elapsed();
        let mut turn = 0;
        measure(&format!("{name} (compiled in {compiled_in:.1?})"), || {
            turn += 1;
            let facts = Facts {
                flow: FlowFacts {
                    peer: Endpoint { ip: peer, port: 50_000 },
                    client: None,
                    server: Endpoint { ip: server, port: 8080 },
                    vnis: &[4711],
                    vlans: &[],
                },
                request: Some(RequestFacts {
                    client,
                    method: b"GET",
                    host: Some(b"api.shop.example"),
                    path: Some(paths[turn % paths.len()].as_bytes()),
                    headers: &headers,
                }),
                response: Some(ResponseFacts { status: 200, headers: &answer }),
            };
            black_box(rules.exchange(black_box(&facts), &Sighting { id: &[0; 16], template: b"", at: 0 }));
        });
    }

    let trusted_proxies = vec![normalize::parse_network("10.0.0.0/8").unwrap()];
    let trusting = Normalizer::new(normalize::Settings { trusted_proxies, ..normalize::Settings::default() });
    for (name, normalizer) in [("origin, no proxy trusted", Normalizer::default()), ("origin, peer trusted", trusting)]
    {
        measure(name, || {
            black_box(normalizer.origin(black_box(peer), None, headers.iter().copied()));
        });
    }
    let (mut one, mut two) = (Vec::new(), Vec::new());
    let mut turn = 0;
    measure("host, path and template", || {
        turn += 1;
        black_box(normalize::host(None, None, Some(black_box(b"api.shop.example:8080")), &mut one).is_some());
        let path = normalize::normalize_path(black_box(paths[turn % paths.len()].as_bytes()), &mut one);
        black_box(normalize::endpoint_template(path, &mut two).len());
    });
}

/// Two hundred rules as a fleet has them: hosts, paths, networks, a few expressions.
fn rules(with_headers: bool) -> Settings {
    let glob = |text: String| vec![Pattern::Glob(text)];
    let rule = |n: usize| {
        let mut conditions = Conditions::default();
        match n % 10 {
            0 | 1 => conditions.host = glob(format!("svc-{n}.internal.example")),
            2 => conditions.host = glob(format!("*.team-{n}.example")),
            3 | 4 => conditions.path = glob(format!("/internal/{n}/*")),
            5 => conditions.path = glob(format!("*.ext{n}")),
            6 => conditions.client = vec![normalize::parse_network(&format!("198.51.{n}.0/24")).unwrap()],
            7 => {
                conditions.path = vec![Pattern::Regex(format!("^/v[0-9]+/part{n}/[a-z]+$"))];
                conditions.method = glob("POST".to_owned());
            }
            8 => {
                conditions.host = glob("api.shop.example".to_owned());
                conditions.path = glob(format!("/v1/exact/{n}"));
            }
            _ if with_headers => {
                let test = HeaderTest::Value(glob(format!("agent-{n}/*")));
                conditions.request_headers = vec![HeaderCondition { name: "user-agent".to_owned(), test }];
            }
            _ => {
                conditions.port = vec![format!("{}", 9000 + n)];
                conditions.status = vec!["5xx".to_owned()];
            }
        }
        let kind = if n % 25 == 8 { Kind::Allow } else { Kind::Exclude };
        RuleSettings { name: format!("rule-{n}"), kind, conditions, sampling: None }
    };
    Settings { rules: (0..200).map(rule).collect(), ..Settings::default() }
}

fn built_in() -> Settings {
    Settings { built_in: BuiltIn::ALL.to_vec(), ..Settings::default() }
}

fn measure(name: &str, mut what: impl FnMut()) {
    // The best of many short batches: what else runs on the machine disturbs some of them only.
    let mut best = f64::INFINITY;
    for _ in 0..BATCHES {
        let begin = Instant::now();
        for _ in 0..ROUNDS {
            what();
        }
        best = best.min(begin.elapsed().as_nanos() as f64 / ROUNDS as f64);
    }
    // Nobody reads on when this fails.
    _ = writeln!(std::io::stdout(), "{best:7.1} ns  {name}");
}
