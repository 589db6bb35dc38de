//! The platform goes away in each way that it can, and comes back: nothing is lost, what waited arrives in order of age,
//! and while it was away nobody stormed it.

mod upload_support;

use std::collections::HashMap;
use std::net::TcpListener;
use std::process::{Child, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use collector::{Collector, Fault};
use upload_support::{Site, arrived, closed_records, ledger, text, upload, wait_until};

/// How long it is away. Longer than the spooling of the capture takes, and several of the first delays between attempts.
const AWAY: Duration = Duration::from_secs(4);
/// The most attempts in that time with one batch in flight: delays double from half a second, with jitter down to none, so
/// that a few come quickly; without a delay there would be thousands.
const MOST_ATTEMPTS: u64 = 40;
/// From so many failures on another batch than the oldest may be tried, to see whether it is the cause.
const SUSPICIOUS: u64 = 8;

/// Records in a batch, as the configuration says.
const BATCH: usize = 50;

struct Outage {
    site: Site,
    port: u16,
    ids: Vec<String>,
}

impl Outage {
    fn new() -> Self {
        let site = Site::new();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let ids = site.ids(&site.capture(2));
        Self { site, port, ids }
    }

    /// One batch in flight, so that the order of arrival is the order of sending.
    fn sensor(&self) -> Child {
        let config =
            self.site.configuration("sensor", self.port, |text| text.replace("in_flight = 4", "in_flight = 1"));
        upload(&config, &self.site.at("capture.pcap")).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Waits until all is in the spool that is not delivered: the platform was away all along.
    fn spools(&self, batches: usize) {
        let is_batch = |name: &str| name.ends_with(".batch");
        wait_until("the spool", || {
            let files = std::fs::read_dir(self.site.at("spool")).into_iter().flatten();
            files.filter(|entry| is_batch(&entry.as_ref().unwrap().file_name().to_string_lossy())).count() >= batches
        });
    }

    fn batches(&self) -> usize {
        self.ids.len() / BATCH
    }

    /// Everything arrived, in order, and the ledger knows.
    fn holds(&self, run: &Output, collector: Collector, order: Order) {
        assert_eq!(run.status.code(), Some(0), "{}", text(&run.stderr));
        let count = self.ids.len() as u64;
        assert_eq!(closed_records(&ledger(run)), (count, count));
        let arrived = arrived(&collector);
        assert_eq!(arrived.len(), self.ids.len());
        let from = match order {
            Order::Age => 0,
            Order::AgeAfterOne => BATCH,
            Order::Any => arrived.len(),
        };
        let place: HashMap<&String, usize> = self.ids.iter().zip(0..).collect();
        let places: Vec<usize> = arrived.iter().map(|id| place[id]).collect();
        assert!(places[from..].is_sorted(), "the order of arrival is not that of age: {places:?}");
        collector.store().unwrap().verify().unwrap();
        let left = std::fs::read_dir(self.site.at("spool")).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        assert!(!left.iter().any(|name| name.ends_with(".batch") || name.ends_with(".tmp")), "{left:?}");
        collector.shutdown();
    }

    /// Away by misbehaviour that the collector is told.
    fn by_fault(&self, fault: &str, order: Order) {
        let collector = self.site.collector_at(self.port);
        collector.faults().add(fault.parse::<Fault>().unwrap()).unwrap();
        let child = self.sensor();
        wait_until("an attempt", || collector.stats().faults.values().sum::<u64>() > 0);
        std::thread::sleep(AWAY);
        self.spools(self.batches() / 2);
        let attempts = collector.stats().faults.values().sum::<u64>();
        collector.faults().clear();
        let run = child.wait_with_output().unwrap();
        assert!((1..=MOST_ATTEMPTS).contains(&attempts), "{fault}: {attempts} attempts in {AWAY:?}");
        let order = match order {
            Order::Age if attempts >= SUSPICIOUS => Order::AgeAfterOne,
            order => order,
        };
        self.holds(&run, collector, order);
    }
}

/// In which order records arrive once the platform is back.
#[derive(Clone, Copy)]
enum Order {
    /// The oldest first.
    Age,
    /// The same, but for the batch that found it to be back, in a long outage.
    AgeAfterOne,
    /// Some were taken while the platform seemed to be away.
    Any,
}

#[test]
fn refused() {
    let outage = Outage::new();
    let child = outage.sensor();
    outage.spools(outage.batches());
    std::thread::sleep(AWAY);
    let collector = outage.site.collector_at(outage.port);
    let run = child.wait_with_output().unwrap();
    outage.holds(&run, collector, Order::Age);
}

#[test]
fn stopped_in_the_midst_and_started_again() {
    let outage = Outage::new();
    let collector = outage.site.collector_at(outage.port);
    collector.faults().add(Fault::delay(Duration::from_millis(50))).unwrap();
    let child = outage.sensor();
    let store = collector.store().unwrap();
    wait_until("the first batches", || store.count().unwrap() >= 200);
    collector.kill();
    outage.spools(1);
    std::thread::sleep(AWAY);
    let collector = outage.site.collector_at(outage.port);
    let run = child.wait_with_output().unwrap();
    assert!(store.count().unwrap() >= 200);
    outage.holds(&run, collector, Order::Age);
}

#[test]
fn black_holed() {
    let outage = Outage::new();
    // Connections are made, and nothing ever answers on them.
    let hole = TcpListener::bind(("127.0.0.1", outage.port)).unwrap();
    hole.set_nonblocking(true).unwrap();
    let (attempts, open) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(true)));
    let swallowing = {
        let (attempts, open) = (Arc::clone(&attempts), Arc::clone(&open));
        std::thread::spawn(move || {
            let mut held = Vec::new();
            while *open.lock().unwrap() {
                if let Ok((stream, _)) = hole.accept() {
                    held.push(stream);
                    attempts.fetch_add(1, Ordering::Relaxed);
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        })
    };
    let child = outage.sensor();
    outage.spools(outage.batches());
    std::thread::sleep(AWAY);
    *open.lock().unwrap() = false;
    swallowing.join().unwrap();
    let collector = outage.site.collector_at(outage.port);
    let run = child.wait_with_output().unwrap();
    let attempts = attempts.load(Ordering::Relaxed);
    assert!((1..=MOST_ATTEMPTS).contains(&attempts), "{attempts} attempts");
    outage.holds(&run, collector, Order::Age);
}

#[test]
fn bad_certificate() {
    let outage = Outage::new();
    let mut options = outage.site.options(outage.port);
    let tls = options.tls.as_mut().unwrap();
    (tls.certificate, tls.key) = (outage.site.at("other-server.pem"), outage.site.at("other-server.key"));
    let strange = Collector::start(options).unwrap();
    let child = outage.sensor();
    outage.spools(outage.batches());
    std::thread::sleep(AWAY);
    let stats = strange.kill();
    assert_eq!(stats.requests, 0, "something was sent to a server that nobody vouches for");
    assert!((1..=MOST_ATTEMPTS).contains(&stats.connections), "{} attempts", stats.connections);
    let collector = outage.site.collector_at(outage.port);
    let run = child.wait_with_output().unwrap();
    outage.holds(&run, collector, Order::Age);
}

#[test]
fn unavailable() {
    Outage::new().by_fault("status=503,count=all", Order::Age);
}

#[test]
fn without_tokens() {
    Outage::new().by_fault("status=503,on=token,count=all", Order::Age);
}

#[test]
fn reset_within_the_request() {
    Outage::new().by_fault("cut=request,count=all", Order::Age);
}

#[test]
fn slow_beyond_the_time_out() {
    Outage::new().by_fault("hang,count=all", Order::Age);
}

/// Each is taken, and its answer cut: the sensor cannot know, sends again, and the ids tell.
#[test]
fn reset_within_the_answer() {
    Outage::new().by_fault("cut=reply,count=all", Order::Any);
}
