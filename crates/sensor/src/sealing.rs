//! Sealing off the workers' threads: a thread that takes records from one worker or several, computes their ids and gives
//! them to an outlet.
//!
//! Records of one worker come out in the order in which they were written; those of several are interleaved by the buffer.
//! A full queue blocks the worker, as a file can wait; or, live, the buffer is dropped and counted, and no other record made
//! while there is no room for it.
//!
//! Where it is started for one worker, the thread also writes records: the worker hands on copies of exchanges
//! ([`Drafts`](crate::record::Drafts)) as long as few buffers wait, and writes records itself while more do. So both are
//! busy to the end, whatever writing costs beside reading. Which of the two wrote a record cannot be seen in it.
//!
//! Memory: for each worker the buffer it fills, two that wait (eight where the thread writes), and beside those one in work,
//! each of [`CHUNK`] and its last record, and the heads of the records in it, or of [`CHUNK`] and its last draft, which is
//! small; all of them are reused, but for what is beyond [`KEPT`]. A last record can be as large as the memory allows for one,
//! so the bytes under way are counted, too: a worker that has handed on a buffer waits, before it makes another record, until
//! there are at most as many as it was told; live, a buffer that would make them more is dropped and counted.
//!
//! [`CHUNK`]: crate::outlet::CHUNK

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};

use crate::dispatch::WhenFull;
use crate::outlet::{Handoff, KEPT, Outlet, empty_buffer};
use crate::pipeline::{LaneReport, Settings};
use crate::record::Unsealed;
use crate::scribe::Copyist;
use crate::workers::WorkerFailed;

/// Buffers that may wait, for each worker.
const QUEUED: usize = 2;
/// The same where the thread also writes: enough that it has work for as long as it may wait for a processor.
const QUEUED_WRITING: usize = 8;
/// Of those, how many may wait when the worker leaves writing to the thread; when there are more, it writes itself.
const MOST_AHEAD: usize = 6;
/// The same where a full queue drops: this thread may have to wait for the disk or a processor for as long as the ring of an
/// interface bridges, for 16 MiB of records a worker.
const QUEUED_LIVE: usize = 64;
/// What may be under way for each worker beside the bodies of a large record: the buffers of usual ones, nearly always all of
/// them. It is part of [`PER_WORKER_BATCHES`](crate::memory::PER_WORKER_BATCHES).
const QUEUE_BYTES: usize = 4 << 20;
/// How often an outlet is told that time has passed.
const PULSE: Duration = Duration::from_millis(200);

/// The thread, as whoever started it holds it.
#[derive(Debug)]
pub struct Sealing<O> {
    thread: JoinHandle<(O, LaneReport)>,
    is_stopped: Arc<AtomicBool>,
}

impl<O: Outlet + Send + 'static> Sealing<O> {
    /// Starts a thread for `workers` workers that gives to `outlet`; each worker takes a clone of the queue. `most_waiting`
    /// are the bytes under way beyond which nothing further is made, or taken: [`most_waiting`] says how many.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        outlet: O,
        workers: usize,
        when_full: WhenFull,
        most_waiting: usize,
    ) -> std::io::Result<(Self, Queue)> {
        Self::start_with(outlet, workers, when_full, most_waiting, None)
    }

    /// Starts a thread for one worker, which waits when the queue is full. The thread also writes records, as the worker
    /// would by `settings`: whenever it would have nothing to do, so that both are busy to the end.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start_writing(outlet: O, settings: &Settings) -> std::io::Result<(Self, Queue)> {
        Self::start_with(outlet, 1, WhenFull::Wait, most_waiting(settings, 1), Some(Copyist::new(settings)))
    }

    fn start_with(
        outlet: O,
        workers: usize,
        when_full: WhenFull,
        most_waiting: usize,
        copyist: Option<Copyist>,
    ) -> std::io::Result<(Self, Queue)> {
        let workers = workers.max(1);
        let queued = match when_full {
            WhenFull::Wait if copyist.is_some() => QUEUED_WRITING,
            WhenFull::Wait => QUEUED,
            WhenFull::Drop => QUEUED_LIVE,
        };
        let (sender, waiting) = bounded(workers * queued);
        let (give_back, reusable) = bounded(workers * (queued + 1) + 1);
        let is_stopped = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&is_stopped);
        let writes = copyist.is_some();
        let backlog = Arc::new(Backlog { most: most_waiting, state: Mutex::default(), eased: Condvar::new() });
        let end = End(Arc::clone(&backlog));
        let thread = thread::Builder::new()
            .name("sealing".to_owned())
            .spawn(move || seal(outlet, copyist, &waiting, &give_back, &stop, &end))?;
        Ok((
            Self { thread, is_stopped: Arc::clone(&is_stopped) },
            Queue {
                sender,
                reusable,
                backlog,
                when_full,
                writes,
                refused: Arc::default(),
                is_stopped,
                is_ending: Arc::default(),
            },
        ))
    }

    /// Waits until everything handed on is sealed and taken. Every [`Queue`] must be gone by then.
    ///
    /// # Errors
    /// When the thread failed.
    pub fn finish(self) -> Result<O, WorkerFailed> {
        self.finish_counted().map(|(outlet, _)| outlet)
    }

    /// The same, and what the thread counted: over the records that it wrote, and over those that were not to be taken any more. It is
    /// one more lane's report.
    ///
    /// # Errors
    /// When the thread failed.
    pub fn finish_counted(self) -> Result<(O, LaneReport), WorkerFailed> {
        self.thread.join().map_err(|_| WorkerFailed)
    }
}

impl<O> Sealing<O> {
    /// Whether nothing further is taken.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    /// The flag that says that nothing further is taken.
    #[must_use]
    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_stopped)
    }

    /// Takes nothing further; what is handed on from now on is dropped.
    pub fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }
}

fn seal<O: Outlet>(
    mut outlet: O,
    mut copyist: Option<Copyist>,
    waiting: &Receiver<Waiting>,
    give_back: &Sender<Unsealed>,
    stop: &AtomicBool,
    End(backlog): &End,
) -> (O, LaneReport) {
    let mut report = LaneReport::default();
    loop {
        let Waiting { mut records, size } = match waiting.recv_timeout(PULSE) {
            Ok(records) => records,
            Err(RecvTimeoutError::Timeout) => {
                outlet.pulse();
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => break,
        };
        // Once the outlet takes no more, nothing is worth the work; but workers must find the queue empty to get on.
        if stop.load(Ordering::Relaxed) {
            report.unwritten += records.count() as u64;
            // What nobody writes any more was to be written all the same.
            report.recorded += records.drafts().count() as u64;
        } else {
            let flow = match &mut copyist {
                Some(copyist) if !records.drafts().is_empty() => copyist.write(records.drafts(), &mut outlet),
                _ => outlet.accept(&records.seal()),
            };
            if flow.is_break() {
                stop.store(true, Ordering::Relaxed);
            }
        }
        // Drafts are left to their worker: what they share with flows is then counted by one thread only.
        if records.drafts().is_empty() {
            records.clear(KEPT);
        }
        // There is room for every buffer that was ever made; a buffer that finds none is freed.
        let _ = give_back.try_send(records);
        backlog.take(size);
        outlet.pulse();
    }
    outlet.flush();
    if let Some(copyist) = &copyist {
        let LaneReport { recorded, unwritten, .. } = report;
        report = copyist.report();
        report.recorded += recorded;
        report.unwritten += unwritten;
    }
    (outlet, report)
}

/// Bytes of records, or of drafts, that may be under way beside the one that each of `workers` workers makes, so that all is
/// within the memory that `settings` were made for: as much as the bodies of a record, and what lies around them.
#[must_use]
pub fn most_waiting(settings: &Settings, workers: usize) -> usize {
    settings.record.content_limit.saturating_add(QUEUE_BYTES).saturating_mul(workers.max(1))
}

/// A buffer on its way.
#[derive(Debug)]
struct Waiting {
    records: Unsealed,
    /// As it was counted.
    size: usize,
}

/// The bytes under way: a lock for each buffer, and none for a record.
#[derive(Debug)]
struct Backlog {
    most: usize,
    state: Mutex<State>,
    /// There are at most `most` again, or nobody takes any.
    eased: Condvar,
}

#[derive(Debug, Default)]
struct State {
    bytes: usize,
    /// The sealing thread has ended.
    is_over: bool,
}

impl Backlog {
    /// Nothing that is done with the lock held can panic.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, size: usize) {
        self.state().bytes += size;
    }

    /// Adds them unless there are too many then. What alone is too large is taken where there is nothing else.
    fn try_add(&self, size: usize) -> bool {
        let mut state = self.state();
        let is_taken = state.bytes == 0 || state.bytes.saturating_add(size) <= self.most;
        if is_taken {
            state.bytes += size;
        }
        is_taken
    }

    fn take(&self, size: usize) {
        let mut state = self.state();
        let was_full = state.bytes > self.most;
        state.bytes = state.bytes.saturating_sub(size);
        let is_eased = was_full && state.bytes <= self.most;
        drop(state);
        if is_eased {
            self.eased.notify_all();
        }
    }

    /// Waits until there are few enough for another record to be made.
    fn wait(&self) {
        let mut state = self.state();
        while state.bytes > self.most && !state.is_over {
            state = self.eased.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The sealing thread's hold on the backlog: with it, by a panic or not, all waiting ends.
struct End(Arc<Backlog>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.state().is_over = true;
        self.0.eased.notify_all();
    }
}

/// A worker's way to the sealing thread.
#[derive(Clone, Debug)]
pub struct Queue {
    sender: Sender<Waiting>,
    reusable: Receiver<Unsealed>,
    backlog: Arc<Backlog>,
    when_full: WhenFull,
    /// Whether the thread also writes records.
    writes: bool,
    /// Records dropped because the queue was full, over all clones.
    refused: Arc<AtomicU64>,
    is_stopped: Arc<AtomicBool>,
    /// A full queue is waited for now, by all clones.
    is_ending: Arc<AtomicBool>,
}

impl Queue {
    /// Records dropped because the queue was full: of this queue and its clones.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// The same count, for whoever must not keep the queue open.
    #[must_use]
    pub fn refusals(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.refused)
    }

    /// From now on this queue and its clones are waited for where they are full: capture is over, and what is left is to get out.
    pub fn wait_when_full(&self) {
        self.is_ending.store(true, Ordering::Relaxed);
    }

    /// Drops the records of a buffer, which stands in for the one that was to be filled next.
    fn refuse(&self, mut full: Unsealed, next: &mut Unsealed) {
        self.refused.fetch_add(full.count() as u64, Ordering::Relaxed);
        full.clear(KEPT);
        *next = full;
    }
}

impl Handoff for Queue {
    fn hand_on(&mut self, records: &mut Unsealed) -> ControlFlow<()> {
        let mut next = self.reusable.try_recv().unwrap_or_else(|_| empty_buffer());
        next.clear(KEPT);
        let full = std::mem::replace(records, next);
        let size = full.held();
        let when_full = if self.is_ending.load(Ordering::Relaxed) { WhenFull::Wait } else { self.when_full };
        let is_gone = match when_full {
            WhenFull::Wait => {
                self.backlog.add(size);
                let is_gone = self.sender.send(Waiting { records: full, size }).is_err();
                // Here, where there is no record in the making.
                self.backlog.wait();
                is_gone
            }
            WhenFull::Drop if !self.backlog.try_add(size) => {
                self.refuse(full, records);
                false
            }
            WhenFull::Drop => match self.sender.try_send(Waiting { records: full, size }) {
                Ok(()) => false,
                Err(TrySendError::Full(Waiting { records: full, size })) => {
                    self.backlog.take(size);
                    self.refuse(full, records);
                    false
                }
                Err(TrySendError::Disconnected(_)) => true,
            },
        };
        if is_gone || self.is_stopped.load(Ordering::Relaxed) {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn refuses(&mut self) -> bool {
        let drops = matches!(self.when_full, WhenFull::Drop) && !self.is_ending.load(Ordering::Relaxed);
        let refuses = drops && self.sender.is_full();
        if refuses {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        refuses
    }

    /// Where the thread writes, unless so much waits that it will not be idle soon.
    fn takes_drafts(&self) -> bool {
        self.writes && self.sender.len() < MOST_AHEAD
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::outlet::{Output, OutputFailure};
    use crate::record::Sealed;

    /// A buffer of one record that is `number` and whose id is made of it.
    fn buffer(number: u32) -> Unsealed {
        let mut records = Unsealed::default();
        let (bytes, inputs) = records.ends();
        bytes.extend_from_slice(&[b'0'; 32]);
        bytes.extend_from_slice(format!(" {number}\n").as_bytes());
        inputs.extend_from_slice(&number.to_be_bytes());
        records.note(0);
        records
    }

    /// Takes so many buffers and no more.
    #[derive(Debug)]
    struct Few {
        left: usize,
        taken: Vec<String>,
        is_flushed: bool,
    }

    impl Outlet for Few {
        fn accept(&mut self, records: &Sealed<'_>) -> ControlFlow<()> {
            assert!(self.left > 0, "nothing is offered to an outlet that takes no more");
            self.left -= 1;
            self.taken.extend(records.iter().map(|(_, record)| String::from_utf8(record.to_vec()).unwrap()));
            if self.left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }

        fn flush(&mut self) {
            self.is_flushed = true;
        }
    }

    #[test]
    fn records_come_out_sealed_and_in_order() {
        let (sealing, mut queue) = Sealing::start(
            Few { left: usize::MAX, taken: Vec::new(), is_flushed: false },
            1,
            WhenFull::Wait,
            usize::MAX,
        )
        .unwrap();
        for number in 0..500 {
            let mut records = buffer(number);
            assert!(queue.hand_on(&mut records).is_continue());
            assert!(records.is_empty());
        }
        drop(queue);
        let outlet = sealing.finish().unwrap();
        let expected: Vec<_> = (0..500)
            .map(|number| {
                let mut records = buffer(number);
                String::from_utf8(records.seal().bytes.trim_ascii_end().to_vec()).unwrap()
            })
            .collect();
        assert_eq!(outlet.taken, expected);
        assert!(outlet.is_flushed);
    }

    /// They were written by the capture thread, which frames then had no time of.
    #[test]
    fn records_that_would_be_dropped_need_not_be_made() {
        struct Held(Receiver<()>);
        impl Outlet for Held {
            fn accept(&mut self, _: &Sealed<'_>) -> ControlFlow<()> {
                let _ = self.0.recv();
                ControlFlow::Continue(())
            }
        }
        let (go, held) = bounded(0);
        let (sealing, mut queue) = Sealing::start(Held(held), 1, WhenFull::Drop, usize::MAX).unwrap();
        assert!(!queue.refuses());
        // One more fits when the thread has taken the first.
        while !queue.refuses() {
            assert!(queue.hand_on(&mut buffer(1)).is_continue());
        }
        let refused = queue.refused();
        assert!(queue.refuses() && queue.refused() == refused + 1);
        queue.wait_when_full();
        assert!(!queue.refuses(), "at the end it is waited for");
        drop((go, queue));
        sealing.finish().unwrap();
    }

    /// What is parsed while the ring is emptied at the end was dropped as under load.
    #[test]
    fn at_the_end_every_worker_waits_for_a_full_queue() {
        struct Held(Receiver<()>, usize);
        impl Outlet for Held {
            fn accept(&mut self, records: &Sealed<'_>) -> ControlFlow<()> {
                let _ = self.0.recv();
                self.1 += records.records.len();
                ControlFlow::Continue(())
            }
        }
        let (go, held) = bounded(0);
        let (sealing, queue) = Sealing::start(Held(held, 0), 1, WhenFull::Drop, usize::MAX).unwrap();
        let mut worker = queue.clone();
        let mut hand_on = |count: u32| {
            for number in 0..count {
                assert!(worker.hand_on(&mut buffer(number)).is_continue());
            }
        };
        hand_on(QUEUED_LIVE as u32 + 10);
        let refused = queue.refused();
        assert!(refused > 0, "while it captures it waits for nobody");
        queue.wait_when_full();
        let releasing = thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            drop(go);
        });
        hand_on(100);
        releasing.join().unwrap();
        assert_eq!(queue.refused(), refused);
        drop((worker, queue));
        let Held(_, taken) = sealing.finish().unwrap();
        assert_eq!(taken as u64 + refused, QUEUED_LIVE as u64 + 110);
    }

    #[test]
    fn an_outlet_that_takes_no_more_stops_the_workers_and_blocks_none() {
        let (sealing, queue) =
            Sealing::start(Few { left: 3, taken: Vec::new(), is_flushed: false }, 2, WhenFull::Wait, usize::MAX)
                .unwrap();
        let workers: Vec<_> = (0..2)
            .map(|_| {
                let mut queue = queue.clone();
                thread::spawn(move || {
                    (0..10_000).filter(|number| queue.hand_on(&mut buffer(*number)).is_break()).count()
                })
            })
            .collect();
        drop(queue);
        for worker in workers {
            assert!(worker.join().unwrap() > 0);
        }
        assert!(sealing.is_stopped());
        assert_eq!(sealing.finish().unwrap().taken.len(), 3);
    }

    /// Takes one buffer at a time, when told to.
    struct Slow(Receiver<()>);

    impl Outlet for Slow {
        fn accept(&mut self, _: &Sealed<'_>) -> ControlFlow<()> {
            let _ = self.0.recv();
            ControlFlow::Continue(())
        }
    }

    /// A buffer of one record of so many bytes.
    fn large(bytes: usize) -> Unsealed {
        let mut records = Unsealed::default();
        records.ends().0.resize(bytes, b' ');
        records.note(0);
        records
    }

    /// Bytes of one buffer, and how many may be under way.
    const SIZE: usize = 1 << 20;
    const MOST: usize = 3 << 20;

    #[test]
    fn nothing_is_made_while_too_many_bytes_are_under_way() {
        let (take, slow) = bounded(100);
        let (sealing, queue) = Sealing::start(Slow(slow), 2, WhenFull::Wait, MOST).unwrap();
        let workers: Vec<_> = (0..2)
            .map(|_| {
                let mut queue = queue.clone();
                thread::spawn(move || {
                    for _ in 0..20 {
                        // It is beside what is under way by now, with another worker's.
                        assert!(queue.backlog.state().bytes <= MOST + SIZE);
                        let _ = queue.hand_on(&mut large(SIZE));
                    }
                })
            })
            .collect();
        thread::sleep(Duration::from_millis(200));
        let held = queue.backlog.state().bytes;
        assert!(held > MOST && held <= MOST + 2 * SIZE, "{held}");
        (0..40).for_each(|_| take.send(()).unwrap());
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        let backlog = Arc::clone(&queue.backlog);
        drop(queue);
        sealing.finish().unwrap();
        assert_eq!(backlog.state().bytes, 0);
    }

    #[test]
    fn live_what_is_too_much_is_dropped_and_counted() {
        let (take, slow) = bounded(100);
        let (sealing, mut queue) = Sealing::start(Slow(slow), 1, WhenFull::Drop, MOST).unwrap();
        for _ in 0..10 {
            assert!(queue.hand_on(&mut large(SIZE)).is_continue());
            assert!(queue.backlog.state().bytes <= MOST);
        }
        assert_eq!(queue.refused(), 7);
        // What alone is too much has its chance where there is nothing else.
        (0..3).for_each(|_| take.send(()).unwrap());
        while queue.backlog.state().bytes > 0 {
            thread::yield_now();
        }
        assert!(queue.hand_on(&mut large(2 * MOST)).is_continue());
        assert_eq!(queue.refused(), 7);
        assert!(queue.hand_on(&mut large(1)).is_continue());
        assert_eq!(queue.refused(), 8);
        drop((take, queue));
        sealing.finish().unwrap();
    }

    /// The thread is gone while a worker waits for it.
    #[test]
    fn a_panic_ends_the_wait_for_room() {
        let (sealing, mut queue) =
            Sealing::start(Few { left: 0, taken: Vec::new(), is_flushed: false }, 1, WhenFull::Wait, 0).unwrap();
        while queue.hand_on(&mut large(SIZE)).is_continue() {}
        drop(queue);
        assert_eq!(sealing.finish().unwrap_err(), WorkerFailed);
    }

    #[test]
    fn what_is_not_taken_any_more_is_counted() {
        let (sealing, mut queue) =
            Sealing::start(Few { left: 2, taken: Vec::new(), is_flushed: false }, 1, WhenFull::Wait, usize::MAX)
                .unwrap();
        let mut handed = 0;
        while queue.hand_on(&mut buffer(1)).is_continue() {
            handed += 1;
        }
        drop(queue);
        let (outlet, report) = sealing.finish_counted().unwrap();
        assert_eq!(report.unwritten, handed + 1 - outlet.taken.len() as u64);
    }

    #[test]
    fn a_full_disk_is_told() {
        let (sealing, mut queue) =
            Sealing::start(Output::create(Path::new("/dev/full")).unwrap(), 1, WhenFull::Wait, usize::MAX).unwrap();
        while queue.hand_on(&mut buffer(1)).is_continue() {}
        drop(queue);
        assert!(matches!(sealing.finish().unwrap().take_failure(), Some(OutputFailure::Failed { .. })));
    }

    #[test]
    fn an_outlet_that_panics_is_a_failure_and_not_a_hang() {
        let (sealing, mut queue) =
            Sealing::start(Few { left: 0, taken: Vec::new(), is_flushed: false }, 1, WhenFull::Wait, usize::MAX)
                .unwrap();
        while queue.hand_on(&mut buffer(1)).is_continue() {}
        drop(queue);
        assert_eq!(sealing.finish().unwrap_err(), WorkerFailed);
    }
}
