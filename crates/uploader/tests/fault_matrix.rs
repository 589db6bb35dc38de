//! Every class of answer and of silence: nothing is lost, nothing is stored twice without need, the records line adds up.

mod support;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use support::{Authority, Platform, Reply, https, oauth, settings, submit, wait_until};
use uploader::{
    Coding, DropReason, HttpsTransport, RecordsLine, RetryReason, RetrySettings, Settings, Shrink, Stats, Uploader,
};

const PATIENCE: Duration = Duration::from_secs(20);

struct Run {
    line: RecordsLine,
    stats: Arc<Stats>,
    platform: Platform,
    folder: tempfile::TempDir,
}

/// Sends a hundred records in ten batches to a platform that answers as told, and then takes everything.
fn run(script: impl IntoIterator<Item = Reply>) -> Run {
    run_with(script, |settings| settings)
}

fn run_with(script: impl IntoIterator<Item = Reply>, change: impl FnOnce(Settings) -> Settings) -> Run {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let platform = Platform::start(&authority);
    platform.script(script);
    let transport = HttpsTransport::new(&https(&authority, &platform)).unwrap();
    let uploader = Uploader::start(change(settings(folder.path())), transport).unwrap();
    let stats = uploader.stats();
    submit(&uploader, 0..100, 100);
    let report = uploader.drain(PATIENCE);
    assert!(report.records.adds_up(), "{:?}", report.records);
    assert_eq!(report.records.taken, 100);
    Run { line: report.records, stats, platform, folder }
}

impl Run {
    /// All is stored, once.
    fn all_stored_once(self) -> Self {
        assert_eq!(self.line, RecordsLine { taken: 100, accepted: 100, ..RecordsLine::default() });
        let stored = self.platform.stored();
        assert_eq!(stored.len(), 100);
        assert!(stored.values().all(|&times| times == 1), "{stored:?}");
        assert_eq!(spooled(&self.folder), 0);
        self
    }

    fn retried(self, reason: RetryReason, times: u64) -> Self {
        assert_eq!(self.stats.retries(reason), times, "{}", reason.name());
        self
    }
}

fn spooled(folder: &tempfile::TempDir) -> usize {
    files(folder, "spool").iter().filter(|name| name.ends_with(".batch")).count()
}

fn files(folder: &tempfile::TempDir, inside: &str) -> Vec<String> {
    let entries = std::fs::read_dir(folder.path().join(inside)).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn status(status: u16) -> Reply {
    Reply::Status(status, "", "no")
}

#[test]
fn accepted() {
    let run = run([]).all_stored_once();
    assert_eq!(run.platform.requests(), 10);
    assert!(run.platform.state.most_concurrent.load(Ordering::SeqCst) <= 4);
    let heads = run.platform.state.heads.lock().unwrap();
    assert!(heads[0].to_ascii_lowercase().contains("\r\nuser-agent: sensor/"), "{}", heads[0]);
    assert!(heads[0].to_ascii_lowercase().contains("\r\ncontent-type: application/json\r\n"));
    // Keep-alive: no more connections than batches at once.
    assert!(run.platform.state.connections.load(Ordering::SeqCst) <= 4);
}

#[test]
fn compressed() {
    for coding in [Coding::Gzip, Coding::Zstd] {
        let run = run_with([status(503)], |settings| Settings { coding, ..settings }).all_stored_once();
        assert!(run.stats.bytes_sealed() < run.stats.bytes_plain() / 2);
    }
}

#[test]
fn success_that_says_otherwise_is_rejected_and_kept() {
    let run = run([Reply::Status(200, "", "{\"status\":\"ERROR\",\"why\":\"quota\"}")]);
    assert_eq!((run.line.accepted, run.line.rejected), (90, 10));
    assert_eq!(run.stats.batches_rejected(), 1);
    let kept = files(&run.folder, "spool/dead-letter");
    let answer = kept.iter().find(|name| name.ends_with(".answer")).unwrap();
    let answer = std::fs::read_to_string(run.folder.path().join("spool/dead-letter").join(answer)).unwrap();
    assert_eq!(answer, "status 200\n\n{\"status\":\"ERROR\",\"why\":\"quota\"}");
    let batch = kept.iter().find(|name| name.ends_with(".batch")).unwrap();
    let batch = std::fs::read(run.folder.path().join("spool/dead-letter").join(batch)).unwrap();
    assert_eq!(uploader::decode_spool_file(&batch.into()).unwrap().records(), 10);
    assert_eq!(spooled(&run.folder), 0);
}

#[test]
fn a_login_page_is_no_success() {
    run([
        Reply::Status(200, "Content-Type: text/html\r\n", "<html>log in</html>"),
        Reply::Status(302, "Location: /x\r\n", ""),
    ])
    .all_stored_once()
    .retried(RetryReason::UnexpectedAnswer, 2);
}

#[test]
fn statuses_that_pass_are_tried_again() {
    for (code, reason) in [
        (408, RetryReason::RequestTimeout),
        (429, RetryReason::TooManyRequests),
        (500, RetryReason::ServerError),
        (502, RetryReason::Unavailable),
        (503, RetryReason::Unavailable),
        (504, RetryReason::Unavailable),
    ] {
        run([status(code), Reply::Take, status(code)]).all_stored_once().retried(reason, 2);
    }
}

#[test]
fn other_refusals_are_rejected_and_kept() {
    let run = run([status(400), status(403), status(404), status(422)]);
    assert_eq!((run.line.accepted, run.line.rejected), (60, 40));
    assert_eq!(run.platform.requests(), 10);
    assert_eq!(files(&run.folder, "spool/dead-letter").len(), 8);
    assert_eq!(run.platform.stored().len(), 60);
}

#[test]
fn patience_that_was_asked_for_is_had() {
    let start = Instant::now();
    let run = run_with([Reply::Status(429, "Retry-After: 1\r\n", "")], |settings| Settings {
        retry: RetrySettings { in_flight: 1, ..settings.retry },
        ..settings
    })
    .all_stored_once();
    assert!(start.elapsed() >= Duration::from_secs(1));
    let arrivals = run.platform.state.arrivals.lock().unwrap();
    assert!(arrivals[1].0 - arrivals[0].0 >= Duration::from_millis(990));
}

/// Those that were under way together with it are accepted, and still nothing comes before the time.
#[test]
fn patience_that_one_of_several_was_asked_for_is_had_by_all() {
    let run = run_with([Reply::Status(429, "Retry-After: 1\r\n", "")], |settings| Settings {
        retry: RetrySettings { in_flight: 4, ..settings.retry },
        ..settings
    })
    .all_stored_once();
    let arrivals = run.platform.state.arrivals.lock().unwrap();
    // Until the answer is read, those under way bring on others; how many depends on who is quicker. `delivery` tests the rule.
    let since = |arrival: Instant| (arrival - arrivals[0].0).as_millis();
    let early = arrivals.iter().filter(|arrival| (400..990).contains(&since(arrival.0))).count();
    assert_eq!(early, 0, "requests within the time that was asked for");
    assert!(arrivals.len() >= 11);
}

#[test]
fn too_large_is_halved_until_it_fits() {
    // 10 records of about 120 bytes; 2 fit.
    for coding in [Coding::Identity, Coding::Gzip] {
        let limit = if coding == Coding::Identity { 300 } else { 75 };
        let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
        let platform = Platform::start(&authority);
        platform.then(Reply::Limit(limit));
        let transport = HttpsTransport::new(&https(&authority, &platform)).unwrap();
        let uploader = Uploader::start(Settings { coding, ..settings(folder.path()) }, transport).unwrap();
        let stats = uploader.stats();
        submit(&uploader, 0..100, 100);
        let report = uploader.drain(PATIENCE);
        let run = Run { line: report.records, stats, platform, folder }.all_stored_once();
        assert!(run.stats.batches_split() >= 10, "{}", run.stats.batches_split());
    }
}

struct Cut;

impl Shrink for Cut {
    fn shrink(&self, record: &[u8]) -> Option<Vec<u8>> {
        let mut value: serde_json::Value = serde_json::from_slice(record).ok()?;
        let pad = value["pad"].as_str()?.to_owned();
        // Odd ones cannot be made smaller.
        if value["id"].as_u64()? % 2 == 1 || pad.is_empty() {
            return None;
        }
        value["pad"] = pad[..pad.len() / 2].into();
        serde_json::to_vec(&value).ok()
    }
}

#[test]
fn a_single_record_that_is_too_large_is_made_smaller_or_rejected() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let platform = Platform::start(&authority);
    platform.then(Reply::Limit(150));
    let transport = HttpsTransport::new(&https(&authority, &platform)).unwrap();
    let uploader = Uploader::start_with(settings(folder.path()), transport, Some(Arc::new(Cut))).unwrap();
    let stats = uploader.stats();
    submit(&uploader, 0..20, 1000);
    let line = uploader.drain(PATIENCE).records;
    assert!(line.adds_up());
    assert_eq!(line, RecordsLine { taken: 20, accepted: 10, rejected: 10, ..RecordsLine::default() });
    assert!(platform.stored().keys().all(|id| id % 2 == 0));
    assert_eq!(stats.records_shrunk(), 40, "ten records, 1000 to 62 in four halvings");
    assert_eq!(files(&folder, "spool/dead-letter").len(), 20);
}

#[test]
fn a_refused_connection_costs_nothing() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let identity = authority.files("server", &["127.0.0.1"], 365);
    let port = {
        let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        taken.local_addr().unwrap().port()
    };
    let mut https_settings = uploader::HttpsSettings::new(format!("https://127.0.0.1:{port}/api-transactions"));
    https_settings.tls = authority.client_tls();
    https_settings.proxy = uploader::ProxySettings::None;
    let uploader = Uploader::start(settings(folder.path()), HttpsTransport::new(&https_settings).unwrap()).unwrap();
    let stats = uploader.stats();
    submit(&uploader, 0..100, 100);
    wait_until("failures", || stats.retries(RetryReason::Connect) >= 4);
    assert!(stats.platform_down());
    wait_until("the spool", || stats.records().waiting_spool == 100);
    assert!(stats.records().adds_up());
    assert!(stats.oldest_age(std::time::SystemTime::now()).is_some());
    let versions = [&rustls::version::TLS13];
    let platform = Platform::start_with(&authority, &identity, (Ipv4Addr::LOCALHOST, port).into(), &versions);
    let line = uploader.drain(PATIENCE).records;
    Run { line, stats, platform, folder }.all_stored_once();
}

#[test]
fn silence_and_cut_connections_are_survived() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let platform = Platform::start(&authority);
    platform.script([Reply::Hang, Reply::CutMidBody, Reply::CutBeforeHead, Reply::Hang]);
    let mut settings_https = https(&authority, &platform);
    settings_https.timeout = Duration::from_millis(1500);
    let uploader = Uploader::start(settings(folder.path()), HttpsTransport::new(&settings_https).unwrap()).unwrap();
    let stats = uploader.stats();
    submit(&uploader, 0..100, 100);
    let line = uploader.drain(PATIENCE).records;
    let run = Run { line, stats, platform, folder }.all_stored_once();
    assert_eq!(run.stats.retries(RetryReason::Timeout), 2);
    assert_eq!(run.stats.retries(RetryReason::Broken), 2);
}

#[test]
fn an_answer_that_comes_too_late_makes_a_repeat_and_no_loss() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let platform = Platform::start(&authority);
    platform.script([Reply::Late(Duration::from_millis(3000)), Reply::Late(Duration::from_millis(50))]);
    let mut settings_https = https(&authority, &platform);
    settings_https.timeout = Duration::from_millis(1500);
    let uploader = Uploader::start(settings(folder.path()), HttpsTransport::new(&settings_https).unwrap()).unwrap();
    let stats = uploader.stats();
    submit(&uploader, 0..100, 100);
    let line = uploader.drain(PATIENCE).records;
    assert_eq!(line, RecordsLine { taken: 100, accepted: 100, ..RecordsLine::default() });
    assert_eq!(stats.retries(RetryReason::Timeout), 1);
    assert_eq!(platform.stored().len(), 100);
}

#[test]
fn a_black_hole_is_left_alone_and_the_records_wait() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    // Accepts connections into its backlog and never says a word.
    let hole = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("https://127.0.0.1:{}/api-transactions", hole.local_addr().unwrap().port());
    let mut settings_https = uploader::HttpsSettings::new(url);
    settings_https.tls = authority.client_tls();
    settings_https.proxy = uploader::ProxySettings::None;
    settings_https.connect_timeout = Duration::from_millis(200);
    let uploader = Uploader::start(settings(folder.path()), HttpsTransport::new(&settings_https).unwrap()).unwrap();
    let stats = uploader.stats();
    submit(&uploader, 0..100, 100);
    wait_until("time-outs", || stats.retries(RetryReason::Timeout) >= 5);
    let report = uploader.drain(Duration::from_millis(100));
    assert!(report.records.adds_up() && !report.complete);
    assert_eq!((report.records.waiting_spool, report.records.dropped_total()), (100, 0));
    drop(hole);
    // The next start finds them, and sends the oldest first.
    let platform = Platform::start(&authority);
    let transport = HttpsTransport::new(&https(&authority, &platform)).unwrap();
    let settings = settings(folder.path());
    let retry = RetrySettings { in_flight: 1, ..settings.retry };
    let uploader = Uploader::start(Settings { retry, ..settings }, transport).unwrap();
    let stats = uploader.stats();
    assert_eq!(stats.records().recovered, 100);
    let line = uploader.drain(PATIENCE).records;
    assert_eq!(line, RecordsLine { recovered: 100, accepted: 100, ..RecordsLine::default() });
    assert!(platform.state.arrivals.lock().unwrap().iter().map(|(_, id)| *id).is_sorted());
    assert_eq!(platform.stored().len(), 100);
}

#[test]
fn certificates_that_are_not_good_are_no_reason_to_lose_anything() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let platform = Platform::start(&authority);
    let expired_server = Platform::start_with(
        &authority,
        &authority.files("old", &["127.0.0.1"], -1),
        support::ANY_PORT,
        &[&rustls::version::TLS13],
    );
    let wrong_name = Platform::start_with(
        &authority,
        &authority.files("other", &["other.test"], 30),
        support::ANY_PORT,
        &[&rustls::version::TLS13],
    );
    // (what, whom we talk to, our settings)
    let mut wrong_authority = https(&authority, &platform);
    wrong_authority.tls.ca = Some(stranger.certificate.clone());
    let mut expired_client = https(&authority, &platform);
    expired_client.tls.identity = Some(authority.files("expired", &["sensor.test"], -1));
    let mut unknown_client = https(&authority, &platform);
    unknown_client.tls.identity = Some(stranger.files("client", &["sensor.test"], 30));
    let mut no_client = https(&authority, &platform);
    no_client.tls.identity = None;
    for (what, settings_https) in [
        ("wrong authority", wrong_authority),
        ("expired server", https(&authority, &expired_server)),
        ("wrong name", https(&authority, &wrong_name)),
        ("expired client", expired_client),
        ("unknown client", unknown_client),
        ("no client certificate", no_client),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let transport = HttpsTransport::new(&settings_https).unwrap();
        let uploader = Uploader::start(settings(folder.path()), transport).unwrap();
        let stats = uploader.stats();
        submit(&uploader, 0..20, 100);
        wait_until(what, || {
            let others = RetryReason::ALL.iter().filter(|&&reason| reason != RetryReason::Tls);
            others.for_each(|&reason| assert_eq!(stats.retries(reason), 0, "{what}: {}", reason.name()));
            stats.retries(RetryReason::Tls) >= 3
        });
        wait_until("the spool", || stats.records().waiting_spool == 20);
        let report = uploader.drain(Duration::ZERO);
        assert!(report.records.adds_up());
        assert_eq!(report.records.waiting_spool, 20, "{what}");
        assert_eq!(platform.stored().len(), 0, "{what}");
    }
}

#[test]
fn an_expired_token_is_renewed_once_and_the_batch_sent_again() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let platform = Platform::start(&authority);
    platform.state.demand_token.store(true, Ordering::SeqCst);
    let mut settings_https = https(&authority, &platform);
    settings_https.oauth = Some(oauth(&authority, &platform));
    let uploader = Uploader::start(settings(folder.path()), HttpsTransport::new(&settings_https).unwrap()).unwrap();
    let stats = uploader.stats();
    submit(&uploader, 0..50, 100);
    wait_until("the first half", || stats.records().accepted == 50);
    assert_eq!(stats.tokens_fetched(), 1, "one request for however many batches");
    platform.state.revoked.store(1, Ordering::SeqCst);
    submit(&uploader, 50..100, 100);
    let line = uploader.drain(PATIENCE).records;
    let run = Run { line, stats, platform, folder }.all_stored_once().retried(RetryReason::Unauthorized, 0);
    assert_eq!(run.stats.tokens_fetched(), 2);
}

#[test]
fn the_token_endpoint_may_have_certificates_of_its_own() {
    let (authority, other, folder) = (Authority::new(), Authority::new(), tempfile::tempdir().unwrap());
    let (platform, endpoint) = (Platform::start(&authority), Platform::start(&other));
    platform.state.demand_token.store(true, Ordering::SeqCst);
    let mut settings_https = https(&authority, &platform);
    settings_https.oauth = Some(oauth(&other, &endpoint));
    let uploader = Uploader::start(settings(folder.path()), HttpsTransport::new(&settings_https).unwrap()).unwrap();
    let stats = uploader.stats();
    submit(&uploader, 0..100, 100);
    let line = uploader.drain(PATIENCE).records;
    Run { line, stats, platform, folder }.all_stored_once().retried(RetryReason::Token, 0);
    assert_eq!(endpoint.state.token_requests.load(Ordering::SeqCst), 1);
}

#[test]
fn tokens_are_renewed_ahead_of_their_end() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let platform = Platform::start(&authority);
    platform.state.demand_token.store(true, Ordering::SeqCst);
    platform.state.token_life.store(1, Ordering::SeqCst);
    let mut settings_https = https(&authority, &platform);
    settings_https.oauth = Some(oauth(&authority, &platform));
    let uploader = Uploader::start(settings(folder.path()), HttpsTransport::new(&settings_https).unwrap()).unwrap();
    let stats = uploader.stats();
    let start = Instant::now();
    let mut sent = 0;
    while start.elapsed() < Duration::from_millis(2500) {
        submit(&uploader, sent..sent + 10, 100);
        sent += 10;
        std::thread::sleep(Duration::from_millis(20));
    }
    let line = uploader.drain(PATIENCE).records;
    assert_eq!(line, RecordsLine { taken: sent, accepted: sent, ..RecordsLine::default() });
    assert!((3..=5).contains(&stats.tokens_fetched()), "{} tokens in 2.5 s, for 0.8 s each", stats.tokens_fetched());
}

#[test]
fn unauthorized_for_ever_loses_nothing_and_makes_no_storm() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let platform = Platform::start(&authority);
    platform.state.demand_token.store(true, Ordering::SeqCst);
    platform.state.revoked.store(u64::MAX, Ordering::SeqCst);
    let mut settings_https = https(&authority, &platform);
    settings_https.oauth = Some(oauth(&authority, &platform));
    let uploader = Uploader::start(settings(folder.path()), HttpsTransport::new(&settings_https).unwrap()).unwrap();
    let stats = uploader.stats();
    submit(&uploader, 0..100, 100);
    wait_until("failures", || stats.retries(RetryReason::Unauthorized) >= 6);
    let (requests, failures) = (platform.requests() as u64, stats.retries(RetryReason::Unauthorized));
    assert!(requests <= 2 * failures + 8, "{requests} requests for {failures} failures");
    assert!(stats.platform_down());
    wait_until("all of it in the spool", || stats.records().waiting_spool == 100);
    let line = stats.records();
    assert!(line.adds_up() && line.rejected == 0);
    platform.state.revoked.store(0, Ordering::SeqCst);
    let line = uploader.drain(PATIENCE).records;
    Run { line, stats, platform, folder }.all_stored_once();
}

#[test]
fn a_token_endpoint_in_trouble_is_left_alone_for_a_while() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let platform = Platform::start(&authority);
    platform.state.demand_token.store(true, Ordering::SeqCst);
    platform.state.token_failures.store(3, Ordering::SeqCst);
    let mut settings_https = https(&authority, &platform);
    settings_https.oauth = Some(oauth(&authority, &platform));
    let uploader = Uploader::start(settings(folder.path()), HttpsTransport::new(&settings_https).unwrap()).unwrap();
    let stats = uploader.stats();
    submit(&uploader, 0..100, 100);
    let line = uploader.drain(PATIENCE).records;
    let run = Run { line, stats, platform, folder }.all_stored_once();
    assert_eq!((run.stats.tokens_fetched(), run.stats.token_errors()), (1, 3));
    assert_eq!(run.platform.state.token_requests.load(Ordering::SeqCst), 4);
    assert!(run.stats.retries(RetryReason::Token) >= 3);
}

#[test]
fn an_outage_drains_in_order_of_age_without_a_storm() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let platform = Platform::start(&authority);
    platform.then(status(503));
    let transport = HttpsTransport::new(&https(&authority, &platform)).unwrap();
    // So little memory that most batches are read back.
    let settings = Settings {
        memory_bytes: 4 << 20,
        batch: uploader::BatchLimits { records: 250, ..Default::default() },
        ..settings(folder.path())
    };
    let uploader = Uploader::start(settings, transport).unwrap();
    let stats = uploader.stats();
    submit(&uploader, 0..10_000, 1500);
    wait_until("an outage", || stats.platform_down() && stats.retries(RetryReason::Unavailable) >= 8);
    wait_until("the disk", || stats.records().waiting_memory == 0);
    assert!(stats.memory_bytes() <= 4 << 20);
    assert!(stats.spool_bytes() > 12 << 20);
    let during = platform.requests();
    assert!(during < 40, "{during} requests");
    *platform.state.then.lock().unwrap() = None;
    let line = uploader.drain(PATIENCE).records;
    assert_eq!(line, RecordsLine { taken: 10_000, accepted: 10_000, ..RecordsLine::default() });
    assert!(platform.stored().values().all(|&times| times == 1));
    let arrivals = platform.state.arrivals.lock().unwrap();
    let after: Vec<u64> = arrivals[during..].iter().map(|(_, id)| id / 250).collect();
    // With four under way, one may overtake its neighbours, not more; probes come from among the oldest.
    for (place, batch) in after.iter().enumerate() {
        assert!(batch.abs_diff(place as u64) <= 20, "batch {batch} at place {place} of {after:?}");
    }
    assert!(platform.state.most_concurrent.load(Ordering::SeqCst) <= 4);
}

#[test]
fn a_live_source_never_waits_and_its_loss_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path());
    settings.spool = None;
    settings.memory_bytes = 2 << 20;
    let authority = Authority::new();
    let platform = Platform::start(&authority);
    platform.then(Reply::Hang);
    let uploader = Uploader::start(settings, HttpsTransport::new(&https(&authority, &platform)).unwrap()).unwrap();
    let stats = uploader.stats();
    let (mut batcher, intake) = (uploader.batcher(), uploader.intake());
    let start = Instant::now();
    let mut refused = 0;
    for id in 0..20_000u64 {
        let record = support::record(id, 1000);
        if let Some(batch) = batcher.push(uploader::RecordId(u128::from(id).to_be_bytes()), &record, start)
            && let Err(batch) = intake.offer(batch)
        {
            refused += batch.records().len() as u64;
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(stats.memory_bytes() <= 2 << 20);
    }
    assert!(start.elapsed() < Duration::from_secs(10));
    let report = uploader.drain(Duration::ZERO);
    let line = report.records;
    assert!(line.adds_up());
    assert_eq!(line.taken, 20_000);
    assert_eq!(line.dropped(DropReason::QueueFull), refused);
    assert!(line.dropped(DropReason::MemoryFull) > 0);
    assert!(line.dropped(DropReason::Shutdown) > 0);
    assert_eq!(line.waiting(), 0);
}

/// An answer that says something of each record, and more than fits into what is kept of a refusal.
#[test]
fn a_long_answer_is_an_answer() {
    let item = r#"{"id":"0123456789abcdef0123456789abcdef","status":"OK","message":"stored"}"#;
    for items in [250, 20_000] {
        let body: &'static str =
            Box::leak(format!(r#"{{"status":"OK","results":[{}]}}"#, vec![item; items].join(",")).into_boxed_str());
        let Run { line, stats, platform, .. } = run(vec![Reply::Status(200, "", body); 10]);
        assert_eq!(line, RecordsLine { taken: 100, accepted: 100, ..RecordsLine::default() }, "{items}");
        RetryReason::ALL.iter().for_each(|&reason| assert_eq!(stats.retries(reason), 0, "{}", reason.name()));
        assert_eq!(platform.requests(), 10);
    }
}

/// What an answer reports as failed inside is counted beside the line: nothing says that it is so, nor that it is not.
#[test]
fn failures_inside_an_accepted_answer_are_counted() {
    let inside = r#"{"status":"OK","results":[{"status":"ERROR"},{"status":400},{"status":"OK"}]}"#;
    let many: &'static str = Box::leak(format!("[{}]", vec![r#"{"status":"failed"}"#; 300].join(",")).into_boxed_str());
    let run = run([
        Reply::Status(200, "", inside),
        Reply::Status(207, "", "{}"),
        // More than were sent.
        Reply::Status(200, "", many),
    ]);
    let expected = RecordsLine { taken: 100, accepted: 100, reported_failed: 2 + 10, ..RecordsLine::default() };
    assert_eq!(run.line, expected);
    assert_eq!(run.stats.batches_doubted(), 3);
    assert_eq!(run.platform.stored().len(), 70);
}
