//! The end of the pipeline, as a watchdog sees it: whether the thread that gives to it moves, and whether what it gives to
//! holds it up.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::outlet::Outlet;
use crate::record::Sealed;

/// What is known of the thread that seals.
#[derive(Debug, Default)]
pub struct Turns {
    beats: AtomicU64,
    /// Records that the output has taken, a buffer at a time.
    written: AtomicU64,
    /// Since when it waits for whoever reads the output, or for the disk that it is on.
    held_up: Mutex<Option<Instant>>,
}

impl Turns {
    /// Turns of its loop: several a second, with or without records.
    #[must_use]
    pub fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }

    /// Records that the output has taken. Of a buffer that it took in part only, none.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// For how long the output has taken nothing, at `now`.
    #[must_use]
    pub fn held_up(&self, now: Instant) -> Option<Duration> {
        let since = *self.held_up.lock().unwrap_or_else(PoisonError::into_inner);
        since.map(|since| now.saturating_duration_since(since))
    }

    fn note(&self, held_up: Option<Instant>) {
        *self.held_up.lock().unwrap_or_else(PoisonError::into_inner) = held_up;
    }
}

/// An outlet, and a witness of the thread that it is given to.
#[derive(Debug)]
pub struct Attended<O> {
    outlet: O,
    may_stall: bool,
    turns: Arc<Turns>,
}

impl<O> Attended<O> {
    /// Attends `outlet`. Where that `may_stall`, as a pipe does whose reader has stopped, a thread that waits for it is not at
    /// fault; of any other outlet nothing is expected but that it comes back.
    #[must_use]
    pub fn new(outlet: O, may_stall: bool) -> Self {
        Self { outlet, may_stall, turns: Arc::default() }
    }

    /// What is known of its thread.
    #[must_use]
    pub fn turns(&self) -> Arc<Turns> {
        Arc::clone(&self.turns)
    }

    /// The outlet.
    #[must_use]
    pub fn into_inner(self) -> O {
        self.outlet
    }

    fn attend<T>(&mut self, work: impl FnOnce(&mut O) -> T) -> T {
        if !self.may_stall {
            return work(&mut self.outlet);
        }
        self.turns.note(Some(Instant::now()));
        let done = work(&mut self.outlet);
        self.turns.note(None);
        done
    }
}

impl<O: Outlet> Outlet for Attended<O> {
    fn accept(&mut self, records: &Sealed<'_>) -> ControlFlow<()> {
        let flow = self.attend(|outlet| outlet.accept(records));
        if flow.is_continue() {
            self.turns.written.fetch_add(records.records.len() as u64, Ordering::Relaxed);
        }
        flow
    }

    fn pulse(&mut self) {
        self.turns.beats.fetch_add(1, Ordering::Relaxed);
        self.attend(Outlet::pulse);
    }

    fn flush(&mut self) {
        self.attend(Outlet::flush);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// A pipe whose reader takes its time.
    struct Slow {
        entered: Sender<()>,
        go_on: Receiver<()>,
    }

    impl Outlet for Slow {
        fn accept(&mut self, _: &Sealed<'_>) -> ControlFlow<()> {
            self.entered.send(()).unwrap();
            self.go_on.recv().unwrap();
            ControlFlow::Continue(())
        }
    }

    #[test]
    fn who_waits_for_a_reader_is_told_from_who_is_stuck() {
        for may_stall in [true, false] {
            let ((entered, is_in), (go, go_on)) = (channel(), channel());
            let mut attended = Attended::new(Slow { entered, go_on }, may_stall);
            let turns = attended.turns();
            let thread = std::thread::spawn(move || {
                attended.pulse();
                attended.accept(&Sealed { bytes: b"", records: &[] })
            });
            is_in.recv().unwrap();
            let later = Instant::now() + Duration::from_secs(60);
            assert_eq!(turns.held_up(later).is_some_and(|held_up| held_up >= Duration::from_secs(60)), may_stall);
            go.send(()).unwrap();
            assert!(thread.join().unwrap().is_continue());
            assert_eq!((turns.held_up(later), turns.beats()), (None, 1));
        }
    }
}
