//! Rules and normalization allocate nothing for a transaction once their buffers have found their size.

use decap::Endpoint;
use sensor::filter::{
    BuiltIn, Conditions, Facts, FlowFacts, Kind, Pattern, RequestFacts, ResponseFacts, RuleSettings, Rules, Settings,
    Sighting,
};
use sensor::normalize::{self, Normalizer, endpoint_template, normalize_path, parse_network};

#[test]
fn a_transaction_allocates_nothing() {
    let trusted_proxies = vec![parse_network("10.0.0.0/8").unwrap()];
    let normalizer = Normalizer::new(normalize::Settings { trusted_proxies, ..normalize::Settings::default() });
    let path = Pattern::Regex("^/v[0-9]+/(orders|carts)/".to_owned());
    let rule = RuleSettings {
        name: "orders".to_owned(),
        kind: Kind::Include,
        conditions: Conditions { path: vec![path, Pattern::Glob("*a*b?".to_owned())], ..Conditions::default() },
        sampling: None,
    };
    let settings = Settings { rules: vec![rule], built_in: BuiltIn::ALL.to_vec(), ..Settings::default() };
    let rules = Rules::compile(&settings).unwrap();
    let headers: Vec<(&[u8], &[u8])> = vec![
        (b"User-Agent", b"curl/8.5"),
        (b"X-Forwarded-For", b"6.6.6.6, 192.0.2.1"),
        (b"Forwarded", b"for=\"[2001:db8::1]:80\";proto=https, for=10.0.0.2"),
        (b"X-Forwarded-Proto", b"https"),
    ];
    let answer: Vec<(&[u8], &[u8])> = vec![(b"Content-Type", b"application/json")];
    let (mut host, mut path, mut template) = (Vec::new(), Vec::new(), Vec::new());
    let mut transaction = || {
        let peer = Endpoint { ip: "10.0.0.9".parse().unwrap(), port: 50_000 };
        let server = Endpoint { ip: "10.9.0.1".parse().unwrap(), port: 443 };
        let origin = normalizer.origin(peer.ip, None, headers.iter().copied());
        let host = normalize::host(None, None, Some(b"API.Shop.example:8080"), &mut host).unwrap();
        let path = normalize_path(b"/v1/./orders/%7e123456/4f2a9d1c77b04e7f", &mut path);
        let template = endpoint_template(path, &mut template);
        let flow = FlowFacts { peer, client: None, server, vnis: &[1], vlans: &[2] };
        let request = RequestFacts {
            client: origin.client.ip,
            method: b"GET",
            host: Some(host.host),
            path: Some(path),
            headers: &headers,
        };
        let response = ResponseFacts { status: 200, headers: &answer };
        let facts = Facts { flow, request: Some(request), response: Some(response) };
        rules.exchange(&facts, &Sighting { id: &[0; 16], template, at: 0 })
    };
    transaction();
    let counted = allocation_counter::measure(|| {
        for _ in 0..100 {
            transaction();
        }
    });
    assert_eq!(counted.count_total, 0, "{counted:?}");
}
