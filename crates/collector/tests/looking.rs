//! What is shown: filters over HTTP, the page for people, the address for a browser.

mod support;

use collector::{Collector, Filter, Options, Page, StatusFilter};
use support::{JSON, batch, clients, edge, edge_at, fetch, post, send};

fn filled() -> Collector {
    let collector =
        Collector::start(Options { view: Some("127.0.0.1:0".parse().unwrap()), ..Options::default() }).unwrap();
    let records = [
        edge_at("1", "api.example", "/v1/orders?x=1", "GET", Some(200), 1_690_000_001),
        edge_at("2", "API.example:8080", "/v1/orders/7", "POST", Some(404), 1_690_000_002),
        edge_at("3", "other.example", "/v2/<script>alert(1)</script>", "GET", None, 1_690_000_003),
        edge_at("4/a b?c#d", "api.example", "/V1/", "GET", Some(204), 1_690_000_004),
    ];
    assert_eq!(post(collector.address(), "/api-transactions", &[JSON], batch(&records)).status, 200);
    collector
}

#[test]
fn filters_filter() {
    let collector = filled();
    for (query, expected) in [
        ("", "1 2 3 4/a b?c#d"),
        ("host=API.EXAMPLE", "1 2 4/a b?c#d"),
        ("host=api.example:8080", "2"),
        ("path=/v1/", "1 2"),
        ("path=%2Fv1%2Forders%3F", ""),
        ("method=POST&host=", "2"),
        ("status=2xx", "1 4/a b?c#d"),
        ("status=404", "2"),
        ("status=none", "3"),
        ("since=1690000002.123&until=1690000004.123", "2 3"),
        ("since=2023-07-22T04:26:43Z", "3 4/a b?c#d"),
        ("host=x'%20OR%201=1%20--", ""),
        ("order=newest&limit=2", "4/a b?c#d 3"),
    ] {
        let answer = fetch(collector.address(), &format!("/transactions?{query}")).json();
        let ids: Vec<&str> =
            answer["transactions"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
        assert_eq!(ids.join(" "), expected, "{query}");
    }
    for (query, field) in [
        ("hots=a", "hots"),
        ("status=abc", "status"),
        ("since=yesterday", "since"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("cursor=x", "cursor"),
        ("order=up", "order"),
        ("host=a&host=b", "host"),
    ] {
        let reply = fetch(collector.address(), &format!("/transactions?{query}"));
        assert_eq!((reply.status, reply.json()["field"].as_str()), (400, Some(field)), "{query}");
    }
    let first = &fetch(collector.address(), "/transactions?limit=1&records=true").json()["transactions"][0];
    assert_eq!(first["record"], fetch(collector.address(), "/transactions/1").json());
    assert_eq!(
        (first["client"].as_str(), first["server"].as_str()),
        (Some("192.0.2.7:51234"), Some("198.51.100.20:80"))
    );
    assert_eq!(
        (first["time"].as_str(), first["path"].as_str()),
        (Some("2023-07-22T04:26:41.123Z"), Some("/v1/orders"))
    );
    assert_eq!(fetch(collector.address(), "/transactions/none").status, 404);
    // The same from Rust.
    let filter = Filter { status: Some(StatusFilter::Class(2)), ..Filter::default() };
    assert_eq!(collector.store().unwrap().transactions(&filter, &Page::default()).unwrap().transactions.len(), 2);
}

#[test]
fn the_page_shows_what_is_stored_and_runs_nothing_of_it() {
    let collector = filled();
    let view = collector.view().unwrap();
    let page = fetch(view, "/?host=%22%3E%3Cscript%3E&limit=50");
    assert!(!page.text().contains("<script"), "{}", page.text());
    assert!(page.text().contains("&quot;&gt;&lt;script&gt;") && page.text().contains("Nothing that was stored"));
    let page = fetch(view, "/?limit=3");
    let text = page.text();
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
    assert!(text.contains("It is not the platform") && text.contains("4 transactions in 1 batches"));
    assert!(text.contains("/v2/&lt;script&gt;alert(1)&lt;/script&gt;") && !text.contains("<script"));
    assert!(
        !text.contains("http://") && !text.contains("https://") && !text.contains("src="),
        "nothing from elsewhere"
    );
    // Its links lead somewhere, whatever the id is made of.
    let link = text.split("href=\"").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(link, "/transactions/4%2Fa%20b%3Fc%23d");
    assert_eq!(fetch(view, link).json()["transaction-id"], "4/a b?c#d");
    let next = text.split("href=\"/?").nth(1).unwrap().split('"').next().unwrap().replace("&amp;", "&");
    let rest = fetch(view, &format!("/?{next}"));
    assert!(rest.text().contains("/v1/orders<") && !rest.text().contains("Further"), "{}", rest.text());
}

#[test]
fn the_browser_s_address_reads_only_and_knows_its_name() {
    let options =
        Options { view: Some("127.0.0.1:0".parse().unwrap()), clients: Some(clients()), ..Options::default() };
    let collector = Collector::start(options).unwrap();
    let view = collector.view().unwrap();
    assert_eq!(
        (fetch(view, "/").status, fetch(view, "/transactions").status, fetch(view, "/stats").status),
        (200, 200, 200)
    );
    assert_eq!(fetch(collector.address(), "/").status, 401, "elsewhere a token is asked for");
    assert_eq!(post(view, "/api-transaction", &[JSON], edge("a")).status, 404);
    let by_name = |name: &str| {
        use std::io::Write;
        let mut stream = std::net::TcpStream::connect(view).unwrap();
        write!(stream, "GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n").unwrap();
        support::reply(&mut stream).unwrap().status
    };
    assert_eq!([by_name("localhost:80"), by_name("[::1]:80"), by_name("127.0.0.1")], [200, 200, 200]);
    assert_eq!([by_name("evil.example"), by_name("localhost.evil.example:80"), by_name("")], [403, 403, 403]);
}

#[test]
fn numbers_are_told() {
    let collector = filled();
    assert_eq!(post(collector.address(), "/api-transaction", &[JSON], "{}").status, 400);
    let stats = send(collector.address(), "GET", "/stats", &[], b"").unwrap().json();
    assert_eq!((stats["store"]["stored"].as_u64(), stats["store"]["batches"].as_u64()), (Some(4), Some(1)));
    assert_eq!((stats["run"]["records"].as_u64(), stats["run"]["answers"]["400"].as_u64()), (Some(4), Some(1)));
}
