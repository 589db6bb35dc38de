//! `sensor collector`: the platform's stand-in, on its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use collector::{Arguments, Collector, Options};

use super::{exit, say, start_logging, watch_signals};
use crate::appliance::give_back_large_buffers;
use crate::secrecy::keep_memory_private_or_warn;

/// How often signals are looked for.
const LOOK: Duration = Duration::from_millis(100);

/// Runs until a signal ends it.
pub(super) fn collector(arguments: Arguments) -> u8 {
    start_logging(false);
    // It runs for long, too, and takes bodies of megabytes: left to itself the allocator kept five times what they need.
    give_back_large_buffers();
    // It has the clients' secret, the tokens it gave out, and a private key.
    keep_memory_private_or_warn();
    let started = Options::try_from(arguments).and_then(|options| {
        let has_tls = options.tls.is_some();
        Collector::start(options).map(|collector| (collector, has_tls))
    });
    let (collector, has_tls) = match started {
        Ok(started) => started,
        Err(error) => {
            say(format_args!("error: {error}\n\nFor more information, try 'sensor collector --help'.\n"));
            return exit::USAGE;
        }
    };
    let scheme = if has_tls { "https" } else { "http" };
    for address in collector.addresses() {
        say(format_args!("collecting on {scheme}://{address} (a stand-in for tests, not the platform)\n"));
    }
    if let Some(view) = collector.view() {
        say(format_args!("what is stored: http://{view}/\n"));
    }
    wait_for(&watched_flag());
    let stats = collector.shutdown();
    say(format_args!("{} batches, {} records, {} of them repeats\n", stats.batches, stats.records, stats.duplicates));
    exit::OK
}

/// A flag that is set once the process is asked to end.
pub(super) fn watched_flag() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    if let Err(error) = watch_signals(&stop).and_then(|second| second.heed(|| {})) {
        tracing::warn!("cannot watch for signals ({error}): they end the process without a word");
    }
    stop
}

/// Returns once the flag is set.
pub(super) fn wait_for(stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(LOOK);
    }
}
