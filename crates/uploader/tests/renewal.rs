//! A running uploader is told to go on otherwise: another address, other certificates, other limits; and what it refuses.

mod support;

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use support::{Authority, Platform, Reply, https, oauth, settings, submit, wait_until};
use uploader::{
    BatchLimits, Coding, Destination, Envelope, FileSettings, HttpsSettings, Outcome, RecordsLine, RetryReason,
    RetrySettings, SealedBatch, Settings, SpoolError, SpoolSettings, StartError, Transport, Uploader,
};

const PATIENCE: Duration = Duration::from_secs(20);

fn to(settings: &HttpsSettings) -> Destination {
    Destination::Https(Box::new(settings.clone()))
}

/// The platform has moved, while delivery waited for a minute: the new address is asked at once, with a token, and gets all.
#[test]
fn another_address_takes_effect_at_once_and_loses_nothing() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let (old, new) = (Platform::start(&authority), Platform::start(&authority));
    old.then(Reply::Status(503, "Retry-After: 600\r\n", "moved"));
    new.state.demand_token.store(true, Ordering::SeqCst);
    let slow = RetrySettings { backoff_base: Duration::from_secs(50), ..RetrySettings::default() };
    let settings = Settings { retry: slow, ..settings(folder.path()) };
    let uploader = Uploader::start_to(settings.clone(), &to(&https(&authority, &old)), None).unwrap();
    submit(&uploader, 0..100, 100);
    wait_until("an outage", || uploader.stats().platform_down() && uploader.stats().in_flight() == 0);
    assert!(!uploader.stats().was_reached());
    let mut moved = https(&authority, &new);
    moved.oauth = Some(oauth(&authority, &new));
    let start = Instant::now();
    uploader.control().prepare(&settings, &to(&moved)).unwrap().unwrap().apply();
    let report = uploader.drain(PATIENCE);
    assert_eq!(report.records, RecordsLine { taken: 100, accepted: 100, ..RecordsLine::default() });
    assert!(start.elapsed() < PATIENCE / 2 && old.stored().is_empty());
    assert!(new.stored().len() == 100 && new.stored().values().all(|&times| times == 1));
}

/// A reload away from a platform that hangs, or that answers only then: what it keeps under way does not hold up the next one,
/// and what it says at last is not held against that one.
#[test]
fn what_the_platform_before_keeps_or_says_late_does_not_hold_up_the_next_one() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    for (round, late) in [false, true].into_iter().enumerate() {
        let (old, new) = (Platform::start(&authority), Platform::start(&authority));
        old.then(if late {
            Reply::LateStatus(Duration::from_secs(1), 503, "Retry-After: 600\r\n")
        } else {
            Reply::Hang
        });
        let mut hung = https(&authority, &old);
        hung.timeout = Duration::from_secs(600);
        let settings = settings(&folder.path().join(round.to_string()));
        let uploader = Uploader::start_to(settings.clone(), &to(&hung), None).unwrap();
        submit(&uploader, 0..1000, 1000);
        wait_until("all that may be under way", || old.requests() == settings.retry.in_flight);
        let start = Instant::now();
        uploader.control().prepare(&settings, &to(&https(&authority, &new))).unwrap().unwrap().apply();
        let stuck = 10 * settings.retry.in_flight;
        wait_until("what is not under way there", || new.stored().len() >= 1000 - stuck);
        if late {
            wait_until("all of it", || new.stored().len() == 1000);
            wait_until("the end", || uploader.stats().records().accepted == 1000);
        }
        assert!(start.elapsed() < PATIENCE / 2 && !uploader.stats().platform_down());
        assert!(old.stored().is_empty() && new.stored().values().all(|&times| times == 1));
    }
}

/// Away from a platform that hangs, to another one that does: neither holds up the third, which gets everything.
#[test]
fn what_two_platforms_keep_does_not_hold_up_the_third() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let (one, two, third) = (Platform::start(&authority), Platform::start(&authority), Platform::start(&authority));
    let [to_one, to_two] = [&one, &two].map(|platform| {
        platform.then(Reply::Hang);
        HttpsSettings { timeout: Duration::from_secs(600), ..https(&authority, platform) }
    });
    let settings = settings(folder.path());
    let uploader = Uploader::start_to(settings.clone(), &to(&to_one), None).unwrap();
    submit(&uploader, 0..1000, 1000);
    wait_until("all that may be under way", || one.requests() == settings.retry.in_flight);
    uploader.control().prepare(&settings, &to(&to_two)).unwrap().unwrap().apply();
    wait_until("as much again", || two.requests() == settings.retry.in_flight);
    uploader.control().prepare(&settings, &to(&https(&authority, &third))).unwrap().unwrap().apply();
    // What is under way to the second one has its time.
    let stuck = 10 * settings.retry.in_flight;
    wait_until("what is not under way there", || third.stored().len() >= 1000 - stuck);
    assert!(uploader.stats().was_reached());
    let same = https(&authority, &third);
    uploader.control().prepare(&settings, &to(&same)).unwrap().unwrap().apply();
    wait_until("all of it", || third.stored().len() == 1000);
    wait_until("the end", || uploader.stats().records().accepted == 1000);
    assert!(third.stored().values().all(|&times| times == 1) && one.stored().is_empty() && two.stored().is_empty());
    // Of a platform that was asked nothing yet nothing is known.
    uploader.control().prepare(&settings, &to(&to_one)).unwrap().unwrap().apply();
    wait_until("a platform of which nothing is known", || !uploader.stats().was_reached());
}

/// Under load, again and again: what is under way ends where it began, and nothing is tried twice.
#[test]
fn nothing_is_lost_or_sent_twice_by_a_change() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let platforms = [Platform::start(&authority), Platform::start(&authority)];
    platforms.iter().for_each(|platform| platform.then(Reply::Late(Duration::from_millis(20))));
    let settings = settings(folder.path());
    let uploader = Uploader::start_to(settings.clone(), &to(&https(&authority, &platforms[0])), None).unwrap();
    let control = uploader.control();
    for round in 1..10usize {
        submit(&uploader, round as u64 * 100..round as u64 * 100 + 100, 1000);
        wait_until("some of it", || uploader.stats().records().accepted >= round as u64 * 100 - 80);
        let next = https(&authority, &platforms[round % 2]);
        control.prepare(&settings, &to(&next)).unwrap().unwrap().apply();
    }
    let stats = uploader.stats();
    let report = uploader.drain(PATIENCE);
    assert_eq!(report.records, RecordsLine { taken: 900, accepted: 900, ..RecordsLine::default() });
    RetryReason::ALL.iter().for_each(|&reason| assert_eq!(stats.retries(reason), 0, "{}", reason.name()));
    let stored = platforms.each_ref().map(Platform::stored);
    assert!(stored.iter().all(|stored| !stored.is_empty() && stored.values().all(|&times| times == 1)));
    assert_eq!(stored.iter().map(std::collections::BTreeMap::len).sum::<usize>(), 900);
}

#[test]
fn batches_are_made_as_is_wanted_from_the_next_one_on() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let platform = Platform::start(&authority);
    let destination = to(&https(&authority, &platform));
    let settings = settings(folder.path());
    let uploader = Uploader::start_to(settings.clone(), &destination, None).unwrap();
    let batch = BatchLimits { records: 50, ..settings.batch };
    let coding = Coding::Gzip;
    uploader.control().prepare(&Settings { batch, coding, ..settings }, &destination).unwrap().unwrap().apply();
    submit(&uploader, 0..100, 1000);
    let stats = uploader.stats();
    assert!(uploader.drain(PATIENCE).complete);
    assert_eq!((stats.batches_accepted(), platform.stored().len()), (2, 100));
    assert!(stats.bytes_sealed() < stats.bytes_plain() / 2);
}

#[test]
fn what_could_not_be_started_with_changes_nothing() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let platform = Platform::start(&authority);
    let good = https(&authority, &platform);
    let settings = settings(folder.path());
    let uploader = Uploader::start_to(settings.clone(), &to(&good), None).unwrap();
    let control = uploader.control();
    let refused = |change: &dyn Fn(&mut HttpsSettings)| {
        let mut bad = good.clone();
        change(&mut bad);
        control.prepare(&settings, &to(&bad)).unwrap_err()
    };
    let error = refused(&|https| https.tls.ca = Some("/no/such/file.pem".into()));
    assert!(error.to_string().contains("/no/such/file.pem"), "{error}");
    let expired = authority.files("expired", &["sensor.test"], -1);
    assert!(refused(&|https| https.tls.identity = Some(expired.clone())).to_string().contains("has expired"));
    let error = refused(&|https| https.url = "http://edge.example/".into());
    assert!(error.to_string().contains("is not encrypted"), "{error}");
    // More than any memory; more than the memory it has, which another one could have.
    let batch = BatchLimits { bytes: 64 << 20, ..settings.batch };
    let large = Settings { batch, ..settings.clone() };
    assert!(matches!(control.prepare(&large, &to(&good)).unwrap_err(), StartError::Settings(_)));
    let large = Settings { memory_bytes: 1 << 30, ..large };
    assert!(control.prepare(&large, &to(&good)).unwrap().is_none());
    // Another kind of destination is another uploader's; a change that is not made is none.
    let file = Destination::File(FileSettings::new(folder.path().join("out")));
    assert!(control.prepare(&settings, &file).unwrap().is_none());
    let elsewhere = HttpsSettings { url: "https://127.0.0.1:1/x".into(), ..good };
    drop(control.prepare(&settings, &to(&elsewhere)).unwrap());
    submit(&uploader, 0..100, 100);
    assert_eq!(uploader.drain(PATIENCE).records.accepted, 100);
    assert_eq!(platform.stored().len(), 100);
    // Whoever comes too late is not heard, and does not fail.
    control.prepare(&settings, &to(&elsewhere)).unwrap().unwrap().apply();
    control.reload();
}

#[test]
fn a_file_is_rotated_as_is_wanted_from_the_next_batch_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.ndjson");
    let settings = Settings { spool: None, ..settings(folder.path()) };
    let file = FileSettings::new(&path);
    let uploader = Uploader::start_to(settings.clone(), &Destination::File(file.clone()), None).unwrap();
    submit(&uploader, 0..100, 1000);
    wait_until("the first", || uploader.stats().records().accepted == 100);
    let files = || std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(files(), 1);
    let smaller = Destination::File(FileSettings { rotate_bytes: 20_000, ..file.clone() });
    uploader.control().prepare(&settings, &smaller).unwrap().unwrap().apply();
    submit(&uploader, 100..200, 1000);
    assert_eq!(uploader.stats().records().dropped_total(), 0);
    assert!(uploader.drain(PATIENCE).complete && files() >= 6);
    let elsewhere = Destination::File(FileSettings::new(folder.path().join("other")));
    let uploader = Uploader::start_to(settings.clone(), &Destination::File(file), None).unwrap();
    assert!(uploader.control().prepare(&settings, &elsewhere).unwrap().is_none());
}

/// What waits was made for another path than what is made now: it is not sent there to be refused.
#[test]
fn a_spool_of_another_shape_is_refused_with_advice() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let platform = Platform::start(&authority);
    platform.then(Reply::Status(503, "", ""));
    let spool = folder.path().join("spool");
    std::fs::create_dir(&spool).unwrap();
    assert_eq!(uploader::spooled_as(&spool).unwrap(), None);
    let edge = settings(folder.path());
    let destination = to(&https(&authority, &platform));
    let uploader = Uploader::start_to(edge.clone(), &destination, None).unwrap();
    submit(&uploader, 0..100, 100);
    assert_eq!(uploader.drain(Duration::ZERO).records.waiting_spool, 100);
    // One that cannot be read says nothing.
    let mut names: Vec<_> = std::fs::read_dir(&spool).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some_and(|extension| extension == "batch"));
    std::fs::write(names.iter().min().unwrap(), "no batch").unwrap();
    assert_eq!(uploader::spooled_as(&spool).unwrap().as_deref(), Some("application/json"));
    let native = Settings { envelope: Envelope::lines(), ..edge.clone() };
    let error = Uploader::start_to(native.clone(), &destination, None).unwrap_err();
    assert!(matches!(error, StartError::Spool(SpoolError::OtherShape { .. })), "{error}");
    let text = error.to_string();
    assert!(text.contains("application/json") && text.contains("another folder"), "{text}");
    // A file takes records one by one, and so takes them all.
    let file = Destination::File(FileSettings::new(folder.path().join("out.ndjson")));
    let line = Uploader::start_to(native.clone(), &file, None).unwrap().drain(PATIENCE).records;
    assert_eq!((line.recovered, line.accepted), (100, 90));
    assert!(Uploader::start_to(native, &destination, None).is_ok(), "nothing waits any more");
}

/// Blocks the thread that delivers, as nothing may.
struct Spinning;

impl Transport for Spinning {
    async fn send(&self, _: &SealedBatch) -> Outcome {
        std::thread::sleep(Duration::from_secs(4));
        Outcome::Accepted
    }
}

fn fifo(path: &Path) {
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Every thread moves whatever is away; one that does not is told from one that a disk holds up.
#[test]
fn a_thread_that_stands_still_can_be_told() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let moves = |uploader: &Uploader| {
        let before = uploader.stats().threads();
        std::thread::sleep(Duration::from_millis(2500));
        let after = uploader.stats().threads();
        assert_eq!(before.len(), after.len());
        before.iter().zip(after).map(|(old, new)| (old.name, new.beats > old.beats)).collect::<Vec<_>>()
    };
    // A platform that answers nothing.
    let platform = Platform::start(&authority);
    platform.then(Reply::Hang);
    let uploader = Uploader::start_to(settings(folder.path()), &to(&https(&authority, &platform)), None).unwrap();
    submit(&uploader, 0..100, 100);
    wait_until("a request", || platform.requests() > 0);
    assert_eq!(moves(&uploader), [("deliver", true), ("seal", true)]);
    assert_eq!(uploader.stats().disk_wait(Instant::now()), None);
    drop(uploader);
    let spool = Some(SpoolSettings::new(folder.path().join("other")));
    let uploader = Uploader::start(Settings { spool, ..settings(folder.path()) }, Spinning).unwrap();
    submit(&uploader, 0..10, 100);
    wait_until("a request", || uploader.stats().in_flight() > 0 || uploader.stats().batches_sent() > 0);
    assert_eq!(moves(&uploader), [("deliver", false), ("seal", true)]);
    assert_eq!(uploader.stats().disk_wait(Instant::now()), None, "it is not the disk");
    drop(uploader);
    // A disk that does not come back: whoever opens this pipe for writing waits for a reader.
    let spool = folder.path().join("stalled");
    std::fs::create_dir(&spool).unwrap();
    let at = spool.join("client.crt");
    let mut tls = https(&authority, &platform);
    tls.tls.reload_interval = Duration::from_millis(50);
    let identity = tls.tls.identity.clone().unwrap();
    std::fs::copy(&identity.certificate, &at).unwrap();
    tls.tls.identity.as_mut().unwrap().certificate = at.clone();
    let without = Settings { spool: None, ..settings(folder.path()) };
    let uploader = Uploader::start_to(without, &to(&tls), None).unwrap();
    std::fs::remove_file(&at).unwrap();
    fifo(&at);
    wait_until("the wait", || uploader.stats().disk_wait(Instant::now()) > Some(Duration::from_millis(500)));
    assert_eq!(moves(&uploader), [("deliver", false), ("seal", true)]);
    assert!(uploader.stats().disk_wait(Instant::now()) > Some(Duration::from_secs(2)));
    // It comes back.
    std::fs::write(&at, "").unwrap();
    wait_until("the end of it", || {
        let waits = uploader.stats().disk_wait(Instant::now());
        let _ = std::fs::OpenOptions::new().write(true).open(&at);
        waits.is_none_or(|waits| waits < Duration::from_secs(1))
    });
    std::fs::remove_file(&at).unwrap();
    std::fs::copy(&identity.certificate, &at).unwrap();
    drop(uploader);
}
