//! The uploader at large: an intake, sealing threads, and a thread that delivers.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, TrySendError};
use tokio::sync::watch;

use crate::batch::Batch;
use crate::batcher::Batcher;
use crate::driver::{Driver, Shrink, Stage};
use crate::operations::count_beats;
use crate::sealed::SealedBatch;
use crate::seldom::Seldom;
use crate::settings::{BatchLimits, Coding, Destination, FileSettings, RetrySettings, Settings, SpoolSync};
use crate::spool::disk::{RealDisk, WatchedDisk};
use crate::spool::{Spool, SpoolError};
use crate::stats::{DropReason, Fate, Place, RecordsLine, Stats, add};
use crate::store::{Arrival, Store};
use crate::transport::{
    Apply, FileTransport, HttpsTransport, NullTransport, StdoutTransport, Transport, TransportError,
};

/// Batches that are made durable together at most: one sync of the folder for all of them.
const GROUP_BATCHES: usize = 8;

/// Bytes of such a group: what is on its way to the disk is in memory twice over.
const GROUP_BYTES: usize = 8 << 20;

/// How often a sealing thread that has nothing to do looks after what could not be written.
const TEND_INTERVAL: Duration = Duration::from_secs(1);

/// How long the end waits for what blocks: a file being read or removed. A name that is looked up without an answer, or a disk that
/// stands still, would take longer than whoever stops the sensor may have.
const LAST_BLOCKING: Duration = Duration::from_millis(500);

/// How often whoever waits for the uploader is asked whether to go on.
const ASK_INTERVAL: Duration = Duration::from_millis(100);

/// A running uploader. Dropping it drains it without waiting for the platform.
pub struct Uploader {
    gate: Arc<Gate>,
    store: Arc<Store>,
    control: Control,
    stage: watch::Sender<Stage>,
    sealing: Vec<JoinHandle<()>>,
    delivery: Option<JoinHandle<()>>,
}

/// Changes a running uploader. Clones are for the same one; one that has ended takes no notice.
#[derive(Clone)]
pub struct Control {
    shared: Arc<Shared>,
}

struct Shared {
    /// As it was started.
    settings: Settings,
    stats: Arc<Stats>,
    batch: Arc<ArcSwap<BatchLimits>>,
    coding: Arc<ArcSwap<Coding>>,
    retry: watch::Sender<RetrySettings>,
    reload: Box<dyn Fn() + Send + Sync>,
    prepare: Box<Prepare>,
}

type Prepare = dyn Fn(&Destination) -> Result<Option<Apply>, TransportError> + Send + Sync;

/// A change that cannot fail any more; dropped, it is not made.
pub struct Prepared {
    shared: Arc<Shared>,
    settings: Settings,
    destination: Apply,
}

impl Control {
    /// Reads certificates and authorities again, as on SIGHUP. Returns at once; the log says what came of it.
    pub fn reload(&self) {
        (self.shared.reload)();
    }

    /// Makes ready to go on as `settings` and `destination` say: another client with all that belongs to it, how it tries again,
    /// and how batches are made from the next one on. Spool, memory, queue and envelope stay as they are, whatever `settings` say.
    /// `None`: it takes another uploader, since the destination is of another kind, or such batches fit only with the memory or the
    /// spool of these `settings`.
    ///
    /// # Errors
    ///
    /// If an uploader could not be started so. Then, and until [`Prepared::apply`], nothing changes.
    pub fn prepare(&self, settings: &Settings, destination: &Destination) -> Result<Option<Prepared>, StartError> {
        let shared = Arc::clone(&self.shared);
        let problems = settings.problems();
        if !problems.is_empty() {
            return Err(StartError::Settings(problems));
        }
        let settings = Settings {
            batch: settings.batch,
            coding: settings.coding,
            retry: settings.retry,
            ..shared.settings.clone()
        };
        if !settings.problems().is_empty() {
            return Ok(None);
        }
        let destination = (shared.prepare)(destination)?;
        Ok(destination.map(|destination| Prepared { shared, settings, destination }))
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").finish_non_exhaustive()
    }
}

impl Prepared {
    /// Makes the change. What is under way ends as it began; what waits is tried at once.
    pub fn apply(self) {
        (self.destination)();
        self.shared.batch.store(Arc::new(self.settings.batch));
        self.shared.coding.store(Arc::new(self.settings.coding));
        self.shared.retry.send_replace(self.settings.retry);
    }
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared").finish_non_exhaustive()
    }
}

/// Why an uploader could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The settings cannot be used; all problems at once.
    #[error("{}", .0.join("; "))]
    Settings(Vec<String>),
    /// The spool cannot be used.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The transport cannot be set up.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// A thread or the runtime could not be started.
    #[error("the uploader's threads cannot be started: {0}; check the limits on processes and open files")]
    Thread(std::io::Error),
}

/// How an uploader ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainReport {
    /// The records line at the end. What still waits is in the spool and will be sent after the next start.
    pub records: RecordsLine,
    /// Whether nothing waits any more.
    pub complete: bool,
}

impl Uploader {
    /// Starts an uploader with a transport of the caller's choice.
    ///
    /// # Errors
    ///
    /// If the settings contradict themselves, or the spool or the threads cannot be had.
    pub fn start(settings: Settings, transport: impl Transport) -> Result<Self, StartError> {
        Self::start_with(settings, transport, None)
    }

    /// As [`Uploader::start`], with a way to make records smaller that alone are too large for the platform.
    ///
    /// # Errors
    ///
    /// As [`Uploader::start`].
    pub fn start_with<T: Transport>(
        settings: Settings,
        transport: T,
        shrink: Option<Arc<dyn Shrink>>,
    ) -> Result<Self, StartError> {
        let problems = settings.problems();
        if !problems.is_empty() {
            return Err(StartError::Settings(problems));
        }
        let stats = Arc::new(Stats::default());
        let spool = match &settings.spool {
            None => None,
            Some(spool) => {
                let disk = WatchedDisk { disk: RealDisk, stats: Arc::clone(&stats) };
                let (open, found) = Spool::open(spool, Arc::new(disk))?;
                let wanted = settings.envelope.content_type();
                if !transport.takes_any_envelope()
                    && let Some(holds) = open.content_type_of(&found).filter(|holds| holds != wanted)
                {
                    let (folder, wanted) = (spool.folder.clone(), wanted.to_owned());
                    return Err(SpoolError::OtherShape { folder, holds, wanted }.into());
                }
                if !found.is_empty() {
                    let records: u64 = found.iter().map(|found| u64::from(found.records)).sum();
                    tracing::info!(batches = found.len(), records, "found batches in the spool; they are sent first");
                }
                Some((open, found, spool.bytes))
            }
        };
        let grace = settings.spool.as_ref().map_or(Duration::ZERO, |spool| spool.grace);
        let store = Arc::new(Store::new(spool, settings.memory_bytes, Arc::clone(&stats)).with_grace(grace));
        let (sender, receiver) = crossbeam_channel::bounded(settings.queue_batches);
        let gate = Arc::new(Gate {
            sender: RwLock::new(Some(sender)),
            stats: Arc::clone(&stats),
            log: Seldom::new(Duration::from_secs(10)),
        });
        let (stage, stage_receiver) = watch::channel(Stage::Running);
        let transport = Arc::new(transport);
        let (reloading, preparing) = (Arc::clone(&transport), Arc::clone(&transport));
        let (retry, retry_receiver) = watch::channel(settings.retry);
        let sealing_threads = settings.sealing_threads;
        let _ = stats.sealing.set((0..sealing_threads).map(|_| Arc::new(AtomicU64::new(0))).collect());
        let driver = Driver {
            store: Arc::clone(&store),
            transport,
            shrink,
            settings: retry_receiver,
            stats: Arc::clone(&stats),
            stage: stage_receiver,
        };
        let shared = Shared {
            batch: Arc::new(ArcSwap::from_pointee(settings.batch)),
            coding: Arc::new(ArcSwap::from_pointee(settings.coding)),
            settings,
            stats,
            retry,
            reload: Box::new(move || reloading.reload()),
            prepare: Box::new(move |destination| preparing.prepare(destination)),
        };
        let control = Control { shared: Arc::new(shared) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)?;
        // From here on a failure drops `uploader`, which ends what has been started.
        let mut uploader = Self { gate, store, control, stage, sealing: Vec::new(), delivery: None };
        uploader.delivery = Some(
            thread("deliver", move || {
                runtime.block_on(driver.run());
                runtime.shutdown_timeout(LAST_BLOCKING);
            })
            .map_err(StartError::Thread)?,
        );
        for number in 0..sealing_threads {
            let sealing = Sealing {
                number,
                receiver: receiver.clone(),
                store: Arc::clone(&uploader.store),
                coding: Arc::clone(&uploader.control.shared.coding),
                stats: uploader.stats(),
            };
            uploader.sealing.push(thread("seal", move || sealing.run()).map_err(StartError::Thread)?);
        }
        Ok(uploader)
    }

    /// Starts an uploader to one of the transports of this crate.
    ///
    /// # Errors
    ///
    /// As [`Uploader::start`], or if the transport cannot be set up.
    pub fn start_to(
        settings: Settings,
        destination: &Destination,
        shrink: Option<Arc<dyn Shrink>>,
    ) -> Result<Self, StartError> {
        match destination {
            Destination::Https(https) => Self::start_with(settings, HttpsTransport::new(https)?, shrink),
            Destination::File(file) => {
                let transport = FileTransport::open(no_weaker_than_spool(file, &settings))?;
                Self::start_with(settings, transport, shrink)
            }
            Destination::Stdout => Self::start_with(settings, StdoutTransport, shrink),
            Destination::Null => Self::start_with(settings, NullTransport, shrink),
        }
    }

    /// A batcher as the settings want it; each worker has its own.
    #[must_use]
    pub fn batcher(&self) -> Batcher {
        let shared = &self.control.shared;
        Batcher::following(Arc::clone(&shared.batch), &shared.settings.envelope)
    }

    /// A way in for batches; each worker has its own.
    #[must_use]
    pub fn intake(&self) -> Intake {
        Intake { gate: Arc::clone(&self.gate) }
    }

    /// What it counts.
    #[must_use]
    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.control.shared.stats)
    }

    /// What changes it while it runs.
    #[must_use]
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// As [`Control::reload`].
    pub fn reload(&self) {
        self.control.reload();
    }

    /// Ends: takes no more batches, seals and stores what was taken, and delivers what is possible within `patience`.
    /// What is left stays in the spool; without one it is dropped, and counted.
    pub fn drain(mut self, patience: Duration) -> DrainReport {
        self.end(patience);
        let records = self.stats().records();
        DrainReport { records, complete: records.waiting() == 0 }
    }

    fn end(&mut self, patience: Duration) {
        let Some(delivery) = self.delivery.take() else { return };
        let deadline = Instant::now() + patience.min(Duration::from_secs(86_400 * 365));
        self.store.close(deadline);
        self.gate.close();
        for thread in self.sealing.drain(..) {
            let _ = thread.join();
        }
        let _ = self.stage.send(Stage::Draining(deadline));
        let _ = delivery.join();
        self.store.finish();
    }
}

impl Drop for Uploader {
    fn drop(&mut self) {
        self.end(Duration::ZERO);
    }
}

impl std::fmt::Debug for Uploader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uploader").field("records", &self.stats().records()).finish_non_exhaustive()
    }
}

/// The way in. Clones lead to the same uploader.
#[derive(Clone)]
pub struct Intake {
    gate: Arc<Gate>,
}

impl Intake {
    /// Hands a batch over, and waits while the uploader is behind: for sources that can wait. With a spool, or memory,
    /// that is full, it waits for the platform rather than drop what is older.
    ///
    /// # Errors
    ///
    /// The batch, if the uploader has ended; its records are counted as dropped.
    pub fn submit(&self, batch: Batch) -> Result<(), Batch> {
        self.submit_while(batch, || true)
    }

    /// As [`Intake::submit`], but waits only while `may_wait` says so, which is asked ten times a second.
    ///
    /// # Errors
    ///
    /// The batch, if there was no room or the uploader has ended; its records are counted as dropped.
    pub fn submit_while(&self, batch: Batch, mut may_wait: impl FnMut() -> bool) -> Result<(), Batch> {
        self.gate.pass(batch, Some(&mut may_wait))
    }

    /// Hands a batch over if there is room, and never waits: for live capture.
    ///
    /// # Errors
    ///
    /// The batch, if there is no room or the uploader has ended; its records are counted as dropped.
    pub fn offer(&self, batch: Batch) -> Result<(), Batch> {
        self.gate.pass(batch, None)
    }
}

impl std::fmt::Debug for Intake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Intake").finish_non_exhaustive()
    }
}

struct Gate {
    sender: RwLock<Option<Sender<Taken>>>,
    stats: Arc<Stats>,
    log: Seldom,
}

struct Taken {
    batch: Batch,
    patient: bool,
}

impl Gate {
    /// `may_wait` is there for a patient sender, and says how long it is one.
    fn pass(&self, batch: Batch, mut may_wait: Option<&mut dyn FnMut() -> bool>) -> Result<(), Batch> {
        let records = batch.records.len() as u64;
        let sender = self.sender.read().unwrap_or_else(PoisonError::into_inner);
        let Some(sender) = &*sender else {
            self.stats.refuse(records, DropReason::Shutdown);
            return Err(batch);
        };
        // Counted before it can be settled on the other side.
        self.stats.take(records);
        let mut taken = Taken { batch, patient: may_wait.is_some() };
        let (reason, refused) = loop {
            if may_wait.as_mut().is_some_and(|may_wait| may_wait()) {
                match sender.send_timeout(taken, ASK_INTERVAL) {
                    Ok(()) => return Ok(()),
                    Err(SendTimeoutError::Timeout(back)) => taken = back,
                    Err(SendTimeoutError::Disconnected(back)) => break (DropReason::Shutdown, back),
                }
            } else {
                match sender.try_send(taken) {
                    Ok(()) => return Ok(()),
                    Err(TrySendError::Full(back)) => break (DropReason::QueueFull, back),
                    Err(TrySendError::Disconnected(back)) => break (DropReason::Shutdown, back),
                }
            }
        };
        self.stats.settle(records, Place::Memory, Fate::Dropped(reason));
        if let Some(left_out) = self.log.admit(Instant::now()) {
            tracing::warn!(reason = reason.name(), records, left_out, "a batch was refused; sealing is behind");
        }
        Err(refused.batch)
    }

    /// Nothing passes any more; what has passed is still taken.
    fn close(&self) {
        self.sender.write().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// One sealing thread.
struct Sealing {
    /// Its place among them.
    number: usize,
    receiver: Receiver<Taken>,
    store: Arc<Store>,
    coding: Arc<ArcSwap<Coding>>,
    stats: Arc<Stats>,
}

impl Sealing {
    /// Seals until the gate is closed and everything that passed it is in the store.
    fn run(self) {
        let beats = self.stats.sealing.get().and_then(|all| all.get(self.number)).cloned().unwrap_or_default();
        count_beats(Arc::clone(&beats));
        loop {
            add(&beats, 1);
            let due = self.store.next_due().map(|due| due.saturating_duration_since(Instant::now()));
            let first = match self.receiver.recv_timeout(due.unwrap_or(TEND_INTERVAL).min(TEND_INTERVAL)) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => {
                    self.store.end_grace(false);
                    self.store.tend();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return self.store.await_grace(),
            };
            let mut bytes = first.batch.buffer.bytes.len();
            let mut group = vec![first];
            while group.len() < GROUP_BATCHES && bytes < GROUP_BYTES {
                let Ok(next) = self.receiver.try_recv() else { break };
                bytes += next.batch.buffer.bytes.len();
                group.push(next);
            }
            let arrivals = group.into_iter().filter_map(|taken| self.seal(taken)).collect();
            self.store.put(arrivals);
            self.store.end_grace(false);
            self.store.tend();
        }
    }

    fn seal(&self, Taken { batch, patient }: Taken) -> Option<Arrival> {
        let (records, plain) = (batch.records.len() as u64, batch.buffer.bytes.len() as u64);
        match SealedBatch::seal(batch, **self.coding.load()) {
            Ok(batch) => {
                add(&self.stats.batches_sealed, 1);
                add(&self.stats.bytes_plain, plain);
                add(&self.stats.bytes_sealed, batch.body().len() as u64);
                Some(Arrival { batch, patient })
            }
            Err(error) => {
                tracing::warn!(records, bytes = plain, %error, "a batch cannot be sealed; its records are dropped");
                self.stats.settle(records, Place::Memory, Fate::Dropped(DropReason::TooLarge));
                None
            }
        }
    }
}

/// What is taken out of a synced spool is on the disk where it went.
fn no_weaker_than_spool(file: &FileSettings, settings: &Settings) -> FileSettings {
    let is_synced = settings.spool.as_ref().is_some_and(|spool| spool.sync == SpoolSync::Batch);
    FileSettings { sync: file.sync || is_synced, ..file.clone() }
}

fn thread(name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::SpoolSettings;

    #[test]
    fn a_file_is_synced_where_the_spool_is() {
        let spool = |sync| Some(SpoolSettings { sync, ..SpoolSettings::new("/spool") });
        for (own, spool, synced) in [
            (false, spool(SpoolSync::Batch), true),
            (false, spool(SpoolSync::None), false),
            (false, None, false),
            (true, None, true),
        ] {
            let file = FileSettings { sync: own, ..FileSettings::new("/out") };
            let settings = Settings { spool, ..Settings::default() };
            assert_eq!(no_weaker_than_spool(&file, &settings), FileSettings { sync: synced, ..file });
        }
    }
}
