//! The way of the log to standard error, by a thread of its own.
//!
//! Who reads standard error may stop to: a pipe to a program that hangs, a terminal that is held, a journal whose disk stands
//! still. Nobody who has something to say waits for that, least of all the thread that stops the sensor. What is too much
//! meanwhile is left out, and counted.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

/// Bytes of lines that may wait. A line that is longer goes if nothing else waits.
const WAITING_BYTES: usize = 256 << 10;

/// Where lines are put down. Until [`Log::start`], each is written where it is said. Clones are of the same log.
#[derive(Clone, Debug, Default)]
pub struct Log {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    lines: Mutex<Lines>,
    /// There is a line.
    more: Condvar,
    /// There is none any more, and none is being written.
    none: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    is_started: bool,
    waiting: VecDeque<Vec<u8>>,
    bytes: usize,
    is_writing: bool,
    left_out: u64,
}

impl Log {
    /// From now on a thread writes to `sink` what is said. When lines had to be left out and it moves again, it has
    /// `tell_left_out` say how many.
    ///
    /// # Errors
    /// When the thread cannot be started; then it goes on as before.
    pub fn start(
        &self,
        sink: impl Write + Send + 'static,
        tell_left_out: impl Fn(u64) + Send + 'static,
    ) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        thread::Builder::new().name("log".to_owned()).spawn(move || shared.write(sink, tell_left_out))?;
        self.shared.lines().is_started = true;
        Ok(())
    }

    /// Says something, as it is.
    pub fn say(&self, text: std::fmt::Arguments<'_>) {
        self.put(text.to_string().as_bytes());
    }

    /// Waits until everything is written, but no longer than `patience`. Says whether it is.
    pub fn settle(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut lines = self.shared.lines();
        loop {
            if lines.waiting.is_empty() && !lines.is_writing {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            lines = self.shared.none.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn put(&self, line: &[u8]) {
        let mut lines = self.shared.lines();
        if !lines.is_started {
            drop(lines);
            // When it is gone there is nobody to tell.
            let _ = io::stderr().write_all(line);
        } else if lines.waiting.is_empty() || lines.bytes + line.len() <= WAITING_BYTES {
            lines.bytes += line.len();
            lines.waiting.push_back(line.to_vec());
            self.shared.more.notify_one();
        } else {
            lines.left_out += 1;
        }
    }
}

impl Shared {
    /// Never held while anything is written.
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what is said, as long as the process lasts.
    fn write(&self, mut sink: impl Write, tell_left_out: impl Fn(u64)) {
        loop {
            let mut lines = self.lines();
            let line = loop {
                if let Some(line) = lines.waiting.pop_front() {
                    break line;
                }
                self.none.notify_all();
                lines = self.more.wait(lines).unwrap_or_else(PoisonError::into_inner);
            };
            lines.bytes -= line.len();
            lines.is_writing = true;
            drop(lines);
            let _ = sink.write_all(&line).and_then(|()| sink.flush());
            let mut lines = self.lines();
            // Only where there is room to say it.
            let left_out = if lines.bytes <= WAITING_BYTES / 2 { std::mem::take(&mut lines.left_out) } else { 0 };
            drop(lines);
            if left_out > 0 {
                tell_left_out(left_out);
            }
            self.lines().is_writing = false;
        }
    }
}

/// A call is a line: that is how the layer that formats them writes.
impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.put(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Takes a line when it is told to.
    struct Reader {
        go_on: Receiver<()>,
        taken: Sender<String>,
    }

    impl Write for Reader {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let _ = self.go_on.recv();
            let _ = self.taken.send(String::from_utf8_lossy(line).into_owned());
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_waits_for_a_reader_and_what_is_left_out_is_told_when_it_reads_again() {
        let log = Log::default();
        let ((go, go_on), (taken, lines)) = (channel(), channel());
        let tells = log.clone();
        log.start(Reader { go_on, taken }, move |left_out| tells.say(format_args!("{left_out} left out"))).unwrap();
        let kilobyte = "x".repeat(1024);
        let begun = Instant::now();
        for number in 0..1000 {
            log.clone().write_all(format!("{number:04}{}", &kilobyte[4..]).as_bytes()).unwrap();
        }
        assert!(!log.settle(Duration::from_millis(50)), "nobody reads");
        assert!(begun.elapsed() < Duration::from_secs(20));
        let held = {
            let held = log.shared.lines();
            assert!(held.bytes <= WAITING_BYTES && held.waiting.len() >= 255);
            1000 - held.left_out
        };
        drop(go); // It reads again.
        assert!(log.settle(Duration::from_secs(20)));
        let mut lines: Vec<String> = lines.try_iter().collect();
        let told = lines.iter().position(|line| line.contains("left out")).unwrap();
        assert_eq!(lines.remove(told), format!("{} left out", 1000 - held));
        assert_eq!(lines.len() as u64, held);
        // One more finds room where the first was taken meanwhile, be it behind some that found none.
        assert!(lines.is_sorted_by(|line, next| line[..4] < next[..4]), "in order");
        // A line longer than all the room there is.
        log.say(format_args!("{}", "y".repeat(2 * WAITING_BYTES)));
        assert!(log.settle(Duration::from_secs(20)) && log.shared.lines().left_out == 0);
    }
}
