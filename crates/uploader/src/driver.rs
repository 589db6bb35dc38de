//! Delivery at work: joins the pure [`Delivery`] state, the [`Store`] and a [`Transport`], on the runtime's thread.
//!
//! A batch under way is a task: load, send, settle. What a task touches is the batch's own; everything shared is decided
//! here, between tasks.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_blocking};

use crate::delivery::{Delivery, Next, Verdict};
use crate::outcome::{Answer, Outcome, RetryReason};
use crate::sealed::SealedBatch;
use crate::seldom::Seldom;
use crate::settings::RetrySettings;
use crate::spool::{Burial, Number};
use crate::stats::{Fate, Stats, add};
use crate::store::{LoadError, Store};
use crate::transport::Transport;

/// A record is made smaller at most so often before it is given up.
const SHRINK_TRIES: u8 = 8;

/// So often the loop turns at least, whatever it waits for: that is what a watchdog sees of it.
const TURN: Duration = Duration::from_secs(1);

/// What a receiver that has been left twice may still take to answer: what is called off may have arrived, and arrives again.
const LAST_CHANCE: Duration = Duration::from_secs(1);

/// The status that says so, for a record that is given up because it is too large.
const TOO_LARGE: u16 = 413;

/// Makes a record smaller that alone is too large for the platform; knows what records are.
pub trait Shrink: Send + Sync + 'static {
    /// A smaller record with the same id, or `None` if this one cannot be made smaller.
    fn shrink(&self, record: &[u8]) -> Option<Vec<u8>>;
}

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Running,
    /// Everything is in the store; deliver what is possible until then.
    Draining(Instant),
}

pub(crate) struct Driver<T> {
    pub(crate) store: Arc<Store>,
    pub(crate) transport: Arc<T>,
    pub(crate) shrink: Option<Arc<dyn Shrink>>,
    /// Changed where what is delivered to may be another receiver from then on.
    pub(crate) settings: watch::Receiver<RetrySettings>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) stage: watch::Receiver<Stage>,
}

/// Records `from..to` of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Part {
    number: Number,
    from: u32,
    to: u32,
}

/// How a task ended.
enum Done {
    /// The batch is not there any more.
    Gone,
    /// It was sent to a receiver that has been left twice since, and was not answered.
    CalledOff,
    /// The answer; what it means for the records has been done already where it is final.
    Answered(Outcome),
    /// A single record was too large and has been made smaller.
    Smaller(Box<SealedBatch>),
    /// It was refused for good, and kept or not.
    Refused(Outcome, Burial),
    /// A single record was too large, cannot be made smaller, and has been rejected.
    TooLarge(Burial),
}

/// The tasks of the parts under way.
#[derive(Default)]
struct Tasks {
    running: JoinSet<Done>,
    parts: HashMap<tokio::task::Id, Part>,
}

impl Tasks {
    fn spawn(&mut self, part: Part, work: impl Future<Output = Done> + Send + 'static) {
        let id = self.running.spawn(work).id();
        self.parts.insert(id, part);
    }

    /// The next task that ends; `None` if there is none. A transport that panics costs its part an attempt.
    async fn next(&mut self) -> Option<(Part, Done)> {
        let (id, done) = match self.running.join_next_with_id().await? {
            Ok(ended) => ended,
            Err(error) => (error.id(), Done::Answered(Outcome::retry(RetryReason::Local))),
        };
        self.parts.remove(&id).map(|part| (part, done))
    }
}

/// What a part's task works with.
struct Work<T> {
    store: Arc<Store>,
    transport: Arc<T>,
    shrink: Option<Arc<dyn Shrink>>,
    stats: Arc<Stats>,
    part: Part,
    /// The generation that it is of, and the one that there is.
    generation: u64,
    generations: watch::Receiver<u64>,
    /// What the part has been made into, if it has.
    smaller: Option<SealedBatch>,
    may_shrink: bool,
}

impl<T: Transport> Driver<T> {
    /// Delivers until the stage is draining and nothing is left, or its deadline has come.
    pub(crate) async fn run(mut self) {
        let transport = Arc::clone(&self.transport);
        let stats = Arc::clone(&self.stats);
        tokio::select! {
            () = self.deliver() => {}
            () = async { transport.attend(stats).await; std::future::pending::<()>().await } => {}
        }
    }

    async fn deliver(&mut self) {
        let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0u8);
        let settings = *self.settings.borrow_and_update();
        let mut delivery = Delivery::new(settings, seed);
        let mut smaller: HashMap<Part, (SealedBatch, u8)> = HashMap::new();
        let mut tasks = Tasks::default();
        let log = Logs::default();
        let mut was_down = false;
        let generations = watch::Sender::new(delivery.generation());
        loop {
            let now = Instant::now();
            add(&self.stats.delivering, 1);
            if self.settings.has_changed().unwrap_or(false) {
                let settings = *self.settings.borrow_and_update();
                delivery.renew(settings, now);
                generations.send_replace(delivery.generation());
                self.stats.set_quiet_until(None);
                // Of this one nothing is known yet.
                self.stats.set_reached(false);
            }
            let stage = *self.stage.borrow_and_update();
            if let Stage::Draining(deadline) = stage
                && (now >= deadline || (delivery.is_empty() && self.store.is_empty()))
            {
                return;
            }
            let until = self.start_due(&mut delivery, &mut tasks, &mut smaller, &generations, now);
            self.stats.in_flight.store(delivery.in_flight() as u64, Ordering::Relaxed);
            let deadline = if let Stage::Draining(deadline) = stage { Some(deadline) } else { None };
            let wake = [until, deadline].into_iter().flatten().fold(now + TURN, Instant::min);
            tokio::select! {
                Some((part, done)) = tasks.next() => {
                    self.store.release(part.number);
                    self.take(&mut delivery, &mut smaller, part, done, &log);
                    self.stats.set_quiet_until(delivery.quiet_until());
                    if delivery.is_down() != was_down {
                        was_down = !was_down;
                        self.stats.set_platform_down(was_down);
                        if !was_down {
                            tracing::info!("the platform takes batches again");
                        }
                    }
                }
                () = self.store.news.notified() => {}
                _ = self.stage.changed() => {}
                Ok(()) = self.settings.changed() => self.settings.mark_changed(),
                () = tokio::time::sleep_until(wake.into()) => {}
            }
        }
    }

    /// Starts whatever may be sent now. Returns when to look again.
    fn start_due(
        &self,
        delivery: &mut Delivery<Part>,
        tasks: &mut Tasks,
        smaller: &mut HashMap<Part, (SealedBatch, u8)>,
        generations: &watch::Sender<u64>,
        now: Instant,
    ) -> Option<Instant> {
        loop {
            // A part's end is not needed to order by age, so it is filled in when its batch is taken.
            let oldest = self.store.oldest().map(|number| Part { number, from: 0, to: 0 });
            match delivery.next(now, oldest) {
                Next::Wait(until) => return until,
                Next::Send(part) => {
                    let Some(records) = self.store.lease(part.number) else {
                        delivery.forget(part, now); // Dropped for room meanwhile.
                        smaller.remove(&part);
                        continue;
                    };
                    let mut part = part;
                    if part.to == 0 {
                        let unseen = part;
                        part.to = records;
                        delivery.rename(unseen, part);
                    }
                    let found = smaller.get(&part);
                    let work = Work {
                        store: Arc::clone(&self.store),
                        transport: Arc::clone(&self.transport),
                        shrink: self.shrink.clone(),
                        stats: Arc::clone(&self.stats),
                        part,
                        generation: delivery.generation(),
                        generations: generations.subscribe(),
                        smaller: found.map(|(batch, _)| batch.clone()),
                        may_shrink: found.is_none_or(|(_, tries)| *tries < SHRINK_TRIES),
                    };
                    tasks.spawn(part, work.run());
                }
            }
        }
    }

    fn take(
        &self,
        delivery: &mut Delivery<Part>,
        smaller: &mut HashMap<Part, (SealedBatch, u8)>,
        part: Part,
        done: Done,
        log: &Logs,
    ) {
        let now = Instant::now();
        if delivery.is_current(part)
            && !matches!(done, Done::Gone | Done::CalledOff | Done::Answered(Outcome::Retry { .. }))
        {
            self.stats.set_reached(true);
        }
        let outcome = match done {
            Done::Gone => {
                smaller.remove(&part);
                delivery.forget(part, now);
                return;
            }
            Done::CalledOff => {
                delivery.call_off(part, now);
                return;
            }
            Done::Smaller(batch) => {
                delivery.answer(part, &Outcome::Split, now);
                smaller
                    .entry(part)
                    .and_modify(|(held, tries)| (*held, *tries) = ((*batch).clone(), *tries + 1))
                    .or_insert((*batch, 1));
                delivery.add(part);
                return;
            }
            Done::TooLarge(burial) => {
                smaller.remove(&part);
                delivery.answer(part, &Outcome::Reject { status: TOO_LARGE, answer: Answer::default() }, now);
                log.refusal(part, TOO_LARGE, burial, now);
                return;
            }
            Done::Refused(outcome, burial) => {
                if let Outcome::Reject { status, .. } = outcome {
                    log.refusal(part, status, burial, now);
                }
                outcome
            }
            Done::Answered(outcome) => outcome,
        };
        let was_down = delivery.is_down();
        match delivery.answer(part, &outcome, now) {
            Verdict::Accepted | Verdict::Rejected => {
                smaller.remove(&part);
            }
            Verdict::Split => {
                add(&self.stats.batches_split, 1);
                let middle = part.from + (part.to - part.from) / 2;
                delivery.add(Part { to: middle, ..part });
                delivery.add(Part { from: middle, ..part });
                if let Some(left_out) = log.split.admit(now) {
                    tracing::warn!(
                        records = part.to - part.from,
                        left_out,
                        "a batch is too large for the platform and is sent in halves; make batches smaller"
                    );
                }
            }
            Verdict::Again(None) => {
                // Of a receiver before: it counts, and that is all.
                if let Outcome::Retry { reason, .. } = outcome {
                    self.stats.retry(reason);
                }
            }
            Verdict::Again(Some(reason)) => {
                self.stats.retry(reason);
                let admitted = if delivery.is_down() && !was_down { Some(0) } else { log.retries.admit(now) };
                if let Some(left_out) = admitted {
                    // Neither a disk that cannot be read now nor a destination that fails says anything of the batch: however
                    // often it happens, only what was read and found damaged is set aside.
                    let status = match (delivery.is_down(), reason) {
                        (true, RetryReason::Local) => "batches wait until it works again",
                        (true, _) => "batches wait until the platform answers",
                        (false, _) => "a batch is tried again",
                    };
                    tracing::warn!(
                        reason = reason.name(),
                        advice = reason.advice(),
                        left_out,
                        "delivery failed; {status}"
                    );
                }
            }
        }
    }
}

impl<T: Transport> Work<T> {
    async fn run(mut self) -> Done {
        let batch = match self.load().await {
            Ok(batch) => batch,
            Err(LoadError::Gone) => return Done::Gone,
            Err(LoadError::Disk) => return Done::Answered(Outcome::retry(RetryReason::Local)),
        };
        add(&self.stats.batches_sent, 1);
        add(&self.stats.bytes_sent, batch.body().len() as u64);
        let outcome = tokio::select! {
            outcome = self.transport.send(&batch) => outcome,
            () = left_twice(&mut self.generations, self.generation) => return Done::CalledOff,
        };
        match outcome {
            Outcome::Accepted => {
                add(&self.stats.batches_accepted, 1);
                add(&self.stats.bytes_accepted, batch.body().len() as u64);
                self.settle(Fate::Accepted, None).await;
            }
            Outcome::Reject { status, ref answer } => {
                let burial = self.reject(batch, status, answer.clone()).await;
                return Done::Refused(outcome, burial);
            }
            Outcome::Split if batch.records() == 1 => {
                if let Some(smaller) = self.shrink(&batch).await {
                    add(&self.stats.records_shrunk, 1);
                    return Done::Smaller(Box::new(smaller));
                }
                let answer = Answer(b"a single record is too large for the platform".to_vec());
                return Done::TooLarge(self.reject(batch, TOO_LARGE, answer).await);
            }
            Outcome::Split | Outcome::Retry { .. } | Outcome::Refresh => {}
        }
        Done::Answered(outcome)
    }

    async fn load(&self) -> Result<SealedBatch, LoadError> {
        if let Some(smaller) = &self.smaller {
            return Ok(smaller.clone());
        }
        let Part { number, from, to } = self.part;
        if let Some(batch) = self.store.held(number)
            && from == 0
            && to as usize == batch.records()
        {
            return Ok(batch);
        }
        let store = Arc::clone(&self.store);
        let loaded = spawn_blocking(move || {
            let batch = store.load(number)?;
            batch.part(from as usize, to as usize).map_err(|error| {
                // The checksum was right, so this is what was written: nothing will make it readable.
                tracing::error!(number = number.0, %error, "a batch cannot be divided; it is set aside");
                store.give_up(number);
                LoadError::Gone
            })
        });
        loaded.await.unwrap_or(Err(LoadError::Disk))
    }

    async fn shrink(&self, batch: &SealedBatch) -> Option<SealedBatch> {
        let shrink = self.shrink.clone().filter(|_| self.may_shrink)?;
        let batch = batch.clone();
        let smaller = spawn_blocking(move || {
            let plain = batch.plain().ok()?;
            let record = plain.get(batch.span(0)?)?;
            let smaller = shrink.shrink(record).filter(|smaller| smaller.len() < record.len())?;
            batch.replaced(&smaller).ok()
        });
        smaller.await.ok().flatten()
    }

    async fn reject(&self, batch: SealedBatch, status: u16, answer: Answer) -> Burial {
        add(&self.stats.batches_rejected, 1);
        // Without an answer it did not come to its end: then nothing is known to be kept.
        self.settle(Fate::Rejected, Some((batch, status, answer))).await.unwrap_or(Burial::Disk)
    }

    async fn settle(&self, fate: Fate, buried: Option<(SealedBatch, u16, Answer)>) -> Option<Burial> {
        let (store, Part { number, from, to }) = (Arc::clone(&self.store), self.part);
        let done = spawn_blocking(move || {
            let burial = buried.map(|(batch, status, answer)| store.bury(number, from, &batch, status, &answer));
            store.settle(number, to - from, fate);
            burial
        });
        // It cannot be taken back: it runs to its end even if nobody waits.
        done.await.ok().flatten()
    }
}

/// Returns a little after the receiver of `generation` has been left twice. One reload leaves what is under way all its time; a
/// receiver that hangs has had it when there is another.
async fn left_twice(generations: &mut watch::Receiver<u64>, generation: u64) {
    if generations.wait_for(|now| *now > generation + 1).await.is_err() {
        // There will be no other.
        return std::future::pending().await;
    }
    tokio::time::sleep(LAST_CHANCE).await;
}

struct Logs {
    retries: Seldom,
    rejected: Seldom,
    lost: Seldom,
    split: Seldom,
}

impl Default for Logs {
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Self {
            retries: Seldom::new(minute),
            rejected: Seldom::new(minute / 6),
            lost: Seldom::new(minute / 6),
            split: Seldom::new(minute),
        }
    }
}

impl Logs {
    /// Says that `part` was refused, and what became of it. What is lost is not left out for what was kept.
    fn refusal(&self, part: Part, status: u16, burial: Burial, now: Instant) {
        let log = if burial.is_kept() { &self.rejected } else { &self.lost };
        if let Some(left_out) = log.admit(now) {
            let (records, meaning) = (part.to - part.from, burial.meaning());
            tracing::warn!(status, records, left_out, "the platform refused a batch; {meaning}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::envelope::Envelope;
    use crate::sealed::tests::sealed;
    use crate::settings::{Coding, SpoolSettings};
    use crate::spool::Spool;
    use crate::spool::simulated::SimulatedDisk;
    use crate::stats::RecordsLine;

    const FAILURES: usize = 20;

    /// Fails, and then takes everything.
    struct Failing {
        left: AtomicUsize,
        panics: bool,
    }

    impl Transport for Failing {
        async fn send(&self, _: &SealedBatch) -> Outcome {
            let fails = self.left.try_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
            assert!(!(fails && self.panics), "as it was told");
            if fails { Outcome::retry(RetryReason::Local) } else { Outcome::Accepted }
        }
    }

    /// Delivers two batches that a restart finds, when the first `reads` reads and the first `sends` sends fail.
    async fn deliver_found(reads: usize, sends: usize, panics: bool) -> (RecordsLine, Arc<Stats>, SimulatedDisk) {
        let (disk, settings) = (SimulatedDisk::default(), SpoolSettings::new("/spool"));
        let (spool, _) = Spool::open(&settings, Arc::new(disk.clone())).unwrap();
        let batch = sealed(0, &[b"one".to_vec(), b"two".to_vec()], Coding::Identity, &Envelope::lines());
        assert!(spool.write(&[(Number(1), &batch), (Number(2), &batch)]).iter().all(Result::is_ok));
        drop(spool);
        let (spool, found) = Spool::open(&settings, Arc::new(disk.clone())).unwrap();
        let stats = Arc::new(Stats::default());
        let store = Arc::new(Store::new(Some((spool, found, 1 << 20)), 1 << 20, Arc::clone(&stats)));
        disk.fail(1, 1 + reads as u64, std::io::ErrorKind::PermissionDenied);
        let (_stage, stage) = watch::channel(Stage::Draining(Instant::now() + Duration::from_secs(20)));
        let retry = RetrySettings {
            backoff_base: Duration::from_millis(1),
            backoff_cap: Duration::from_millis(5),
            ..RetrySettings::default()
        };
        let transport = Arc::new(Failing { left: sends.into(), panics });
        let (_settings, settings) = watch::channel(retry);
        Driver { store, transport, shrink: None, settings, stats: Arc::clone(&stats), stage }.run().await;
        (stats.records(), stats, disk)
    }

    /// A batch found at the start was once taken for damaged when six attempts failed, for whatever reason.
    #[tokio::test]
    async fn a_sound_batch_outlasts_whatever_else_fails() {
        for (reads, sends, panics) in [(FAILURES, 0, false), (0, FAILURES, false), (0, FAILURES, true)] {
            let (line, stats, disk) = deliver_found(reads, sends, panics).await;
            assert_eq!((line.recovered, line.accepted, line.dropped_total()), (4, 4, 0), "{line:?}");
            assert_eq!(stats.retries(RetryReason::Local), FAILURES as u64);
            assert_eq!(stats.spool_errors(), reads as u64);
            assert_eq!(disk.files(), Vec::<std::path::PathBuf>::new(), "nothing is set aside");
        }
    }
}
