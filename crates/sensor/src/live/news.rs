//! What capture threads have to say, said by another thread.
//!
//! Where the log goes to may stand still: a pipe that nobody reads, a journal that syncs its disk. A capture thread must not
//! stand still with it. So it puts down what there is to say, and whoever watches over it says it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded};

/// Lines that may wait to be said. Trouble that repeats itself is not told each time.
const WAITING: usize = 256;

/// A line of the log.
#[derive(Debug)]
struct Line {
    is_warning: bool,
    source: String,
    words: String,
}

/// A capture thread's end: never waits.
#[derive(Clone, Debug)]
pub(super) struct Teller {
    lines: Sender<Line>,
    left_out: Arc<AtomicU64>,
}

/// The end of whoever says it.
#[derive(Debug)]
pub(super) struct News {
    lines: Receiver<Line>,
    left_out: Arc<AtomicU64>,
}

impl News {
    /// Both ends.
    pub(super) fn new() -> (Teller, Self) {
        let (sender, receiver) = bounded(WAITING);
        let left_out = Arc::<AtomicU64>::default();
        (Teller { lines: sender, left_out: Arc::clone(&left_out) }, Self { lines: receiver, left_out })
    }

    /// Says what waits.
    pub(super) fn say(&self) {
        for Line { is_warning, source, words } in self.lines.try_iter().take(WAITING) {
            if is_warning {
                tracing::warn!(source, "{words}");
            } else {
                tracing::info!(source, "{words}");
            }
        }
        let left_out = self.left_out.swap(0, Ordering::Relaxed);
        if left_out > 0 {
            tracing::warn!(lines = left_out, "lines of the log were left out: nobody took them in time");
        }
    }
}

impl Teller {
    /// What somebody may have to look after.
    pub(super) fn warn(&self, source: &str, words: impl Into<String>) {
        self.tell(true, source, words.into());
    }

    /// What is good to know.
    pub(super) fn inform(&self, source: &str, words: impl Into<String>) {
        self.tell(false, source, words.into());
    }

    fn tell(&self, is_warning: bool, source: &str, words: String) {
        if self.lines.try_send(Line { is_warning, source: source.to_owned(), words }).is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_tells_does_not_wait_and_what_is_too_much_is_counted() {
        let (teller, news) = News::new();
        teller.inform("eth0", "capturing");
        for number in 0..WAITING {
            teller.warn("eth1", number.to_string());
        }
        assert_eq!((news.lines.len(), news.left_out.load(Ordering::Relaxed)), (WAITING, 1));
        news.say();
        assert_eq!((news.lines.len(), news.left_out.load(Ordering::Relaxed)), (0, 0));
        drop(news);
        teller.warn("eth1", "nobody is there");
    }
}
