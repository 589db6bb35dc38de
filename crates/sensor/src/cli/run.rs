//! `sensor run`: what the configuration asks for, until a signal ends it.

use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use signal_hook::consts::SIGHUP;
use signal_hook::flag;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt, reload};

use uploader::{Control, DropReason, Prepared};
use url::{Host, Url};

use super::args::{ReplayArgs, RunArgs};
use super::plan::{UsageError, settings};
use super::{LAST_WORD, exit, say, say_that_it_is_cut_short, say_undelivered, watch_signals};
use crate::appliance::{
    Appliance, ApplianceError, Attended, ConfineError, DEADLINE, End, FileSystem, Log, Reach, Room, SourcesError,
    State, confine, give_back_large_buffers, sources,
};
use crate::config::{Change, Config, ConfigError, LedgerFormat, Loaded, LogFormat, LogLevel, Mask, NO_PROXY, Upload};
use crate::destination::{self, Destination};
use crate::dispatch::WhenFull;
use crate::filter::{RuleSwitch, Rules};
use crate::fitness::{self, Purpose, Ready, worker_count};
use crate::guard::quiet_panics;
use crate::ledger::Ledger;
use crate::live::{self, Opener, OwnTraffic, Pinning, PinningError, Renewal, Run, SourceError, Sources, give_up};
use crate::masker::MaskPolicy;
use crate::outlet::{Output, OutputFailure};
use crate::status::{StatusError, StatusServer};
use crate::upload::{Delivery, UploadOutlet};

/// Why it did not run.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Usage(#[from] UsageError),
    #[error(transparent)]
    Sources(#[from] SourcesError),
    #[error(transparent)]
    Pinning(#[from] PinningError),
    #[error(transparent)]
    Status(#[from] StatusError),
    #[error(transparent)]
    Appliance(#[from] ApplianceError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Confine(#[from] ConfineError),
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    #[error("cannot watch for signals: {0}")]
    Signals(io::Error),
}

impl Refusal {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(error) => error.exit_code(),
            Self::Sources(_) | Self::Pinning(_) | Self::Confine(ConfineError::Unknown { .. }) => exit::USAGE,
            Self::Source(_) | Self::Confine(_) | Self::Thread(_) | Self::Status(_) | Self::Signals(_) => exit::FAILED,
            Self::Appliance(ApplianceError::Worker(_)) => exit::DEFECT,
            Self::Appliance(_) => exit::FAILED,
        }
    }
}

/// How long what is to be said at the end may take to be written, where nobody reads it.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// The same, where the stop took all the time that it may take.
const LATE_WORDS: Duration = Duration::from_millis(150);

/// A log whose level can change.
type Level = reload::Handle<EnvFilter, Registry>;

/// Runs until a signal.
pub(super) fn run(args: &RunArgs) -> u8 {
    let (loaded, ready) = match fitness::read(Some(&args.config), Purpose::Run) {
        Ok(read) => read,
        Err(error) => {
            refuse(&error);
            return exit::USAGE;
        }
    };
    let config = &loaded.config;
    let log = Log::default();
    let level = start_logging(filter(config), config.log.format, &log);
    for note in &loaded.notes {
        tracing::warn!("{note}");
    }
    quiet_panics();
    give_back_large_buffers();
    // Where each line of the log is an object, the ledger is one more.
    let ledger = match config.ledger {
        Some(format) if is_text(config.log.format) => format,
        None if is_text(config.log.format) => LedgerFormat::Text,
        _ => LedgerFormat::Json,
    };
    let sending = Sending { has_spool: config.upload.spool.is_some(), is_to_file: config.upload.file.is_some() };
    let (code, patience) = match operate(args, loaded, ready, &level, &log) {
        Ok(end) => (conclude(&end, ledger, sending, &log), if end.is_late { LATE_WORDS } else { LAST_WORDS }),
        Err(refusal) => {
            tracing::error!("{refusal}");
            (refusal.exit_code(), LAST_WORDS)
        }
    };
    log.settle(patience);
    code
}

fn operate(args: &RunArgs, loaded: Loaded, ready: Ready, level: &Level, log: &Log) -> Result<End, Refusal> {
    let config = &loaded.config;
    // First of all: a signal during the start is none to be lost.
    let (stop, hangup) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let second_signal = watch_signals(&stop).map_err(Refusal::Signals)?;
    flag::register(SIGHUP, Arc::clone(&hangup)).map_err(Refusal::Signals)?;

    let pinning = Pinning::new(&config.cpus.capture, &config.cpus.workers)?;
    let workers = worker_count(config.workers.unwrap_or(0));
    let mut settings = settings(&ReplayArgs::upload_of(Vec::new()), config, ready)?
        .with_memory(config.memory.0, workers)
        .map_err(UsageError::from)?;
    let listed = live::interfaces().unwrap_or_else(|error| {
        tracing::warn!("the interfaces cannot be listed, so none matches a pattern now: {error}");
        Vec::new()
    });
    let present: Vec<String> = listed.into_iter().map(|listed| listed.name).collect();
    let sources = sources(config, &settings.decap, &present)?;

    // While there is the right to: then it is given up, before there is another thread that would keep it.
    let sources = Sources::open(sources, config.privileges.reopen)?;
    let delivery = Delivery::from_config(&config.upload, &settings.record.sensor);
    let mut output = match config.output.as_deref().filter(|path| path.as_os_str() != "-") {
        _ if delivery.is_some() => None,
        Some(path) => Some(Output::append(path).map_err(UsageError::from)?),
        None => Some(Output::stdout()),
    };
    if let Some(output) = &mut output {
        // As long as it is the user whom the pipe belongs to.
        output.heed(&stop);
    }
    let output_again = output.as_ref().and_then(Output::again);
    let opener = give_rights_up(config, &args.config)?;
    let lasting = log.clone();
    let last_words = move || {
        say_that_it_is_cut_short();
        lasting.settle(LAST_WORD);
    };
    second_signal.heed(last_words).map_err(Refusal::Signals)?;
    let tell = |lines| tracing::warn!(lines, "lines of the log were left out: nobody took them in time");
    log.start(io::stderr(), tell).map_err(Refusal::Thread)?;

    let mut upload = None;
    let outlet = match (delivery, output) {
        (Some(delivery), _) => {
            settings.record.shape = delivery.shape.clone();
            let outlet = UploadOutlet::new(delivery.start().map_err(UsageError::from)?, WhenFull::Drop);
            let spool = config.upload.spool.as_ref();
            let room = Room {
                is_spool: spool.is_some(),
                bytes: spool.map_or(config.upload.queue_bytes, |spool| spool.max_bytes).0,
                batch: config.upload.batch.bytes.0,
            };
            upload = Some((outlet.stats(), room, outlet.control()));
            Destination::Upload(Box::new(destination::Upload { outlet, patience: Duration::ZERO }))
        }
        (None, output) => Destination::Output(output.unwrap_or_else(Output::stdout)),
    };
    let (stats, room, control) = match upload {
        Some((stats, room, control)) => (Some(stats), room, control),
        None => (None, Room::default(), None),
    };
    // An upload takes what it is given at once, or drops it; a file or a pipe may keep whoever writes to it waiting.
    let may_stall = matches!(outlet, Destination::Output(_));
    let outlet = Attended::new(outlet, may_stall);
    let state = Arc::new(State::new(stats, room.bytes).with_room(room).with_turns(outlet.turns()));
    let _server = match config.status.enabled {
        true => Some(StatusServer::start(config.status.listen, Arc::clone(&state) as _)?),
        false => None,
    };
    let renewal = Arc::<Renewal>::default();
    let listens = config.status.enabled.then_some(config.status.listen);
    let own = Arc::new(OwnTraffic::new(peers(config), listens));
    own.keep_fresh().map_err(Refusal::Thread)?;
    let looked_up = Arc::downgrade(&own);
    let filters = Arc::clone(&settings.filters);
    if let Some(notice) = settings.mask.as_ref().and_then(MaskPolicy::notice) {
        tracing::info!("{notice}");
    }
    let run =
        Run { sources, opener, own: Some(own), settings, renewal: Arc::clone(&renewal), workers, pinning, outlet };
    let mut reloadable = Reloadable {
        filters,
        mask: loaded.config.mask.clone(),
        renewal,
        upload: loaded.config.upload.clone(),
        control,
        own: Weak::clone(&looked_up),
        state: Arc::clone(&state),
        stop: Arc::clone(&stop),
    };
    let at_once = move || {
        if let Some(own) = looked_up.upgrade() {
            own.look_again();
        }
        // Whoever moved the file away is not to wait for whoever mends the configuration.
        if let Some(again) = &output_again {
            again.store(true, Ordering::Relaxed);
        }
    };
    let (args, level) = (args.clone(), level.clone());
    let reload = move || reread(&args, &loaded, &level, &mut reloadable);
    Ok(Appliance { run, state, stop, reload: hangup }.run(at_once, reload)?)
}

/// Gives up what nobody needs once the sources are open, and starts the one thread that keeps something.
fn give_rights_up(config: &Config, path: &Path) -> Result<Opener, Refusal> {
    let reach = Reach::of(config, path);
    let file_system = confine(&config.privileges, &reach)?;
    let opener = Opener::start().map_err(Refusal::Thread)?;
    give_up(false).map_err(ConfineError::from)?;
    if matches!(file_system, FileSystem::Shut | FileSystem::Partly) {
        for link in reach.lasting_links() {
            tracing::warn!(
                "{} leads to something directly in a folder of the whole system, which is shut off: if it is led elsewhere, that is read after a restart (give it a folder of its own, or privileges.landlock = false)",
                link.display()
            );
        }
    }
    match file_system {
        FileSystem::Shut | FileSystem::LeftOpen => {}
        FileSystem::Partly => {
            tracing::info!("this kernel's landlock is an older one: the file system is shut off as far as it can");
        }
        FileSystem::Open => tracing::warn!(
            "this kernel has no landlock, or it is not switched on: the sensor can reach every file that its user can; privileges.landlock = false takes this line away"
        ),
    }
    Ok(opener)
}

/// Whom the sensor connects to: names or addresses, and ports.
fn peers(config: &Config) -> Vec<(String, u16)> {
    let upload = &config.upload;
    let environment = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"].map(|name| std::env::var(name).ok());
    let proxy = upload.proxy.clone().filter(|proxy| proxy != NO_PROXY);
    let named = [upload.url.clone(), proxy, upload.oauth.as_ref().map(|oauth| oauth.token_url.clone())];
    let peer = |url: String| {
        // A proxy may be named without a scheme.
        let url = Url::parse(&url).ok().filter(Url::has_host).or_else(|| Url::parse(&format!("http://{url}")).ok())?;
        let host = match url.host()? {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(ip) => ip.to_string(),
            Host::Ipv6(ip) => ip.to_string(),
        };
        Some((host, url.port_or_known_default()?))
    };
    if upload.url.is_none() {
        return Vec::new();
    }
    named.into_iter().chain(environment).flatten().filter_map(peer).collect()
}

/// What SIGHUP changes in a run.
struct Reloadable {
    filters: Arc<RuleSwitch>,
    /// As it is now, and how the lanes learn of another.
    mask: Mask,
    renewal: Arc<Renewal>,
    /// As it is now, and what changes it where records are sent.
    upload: Upload,
    control: Option<Control>,
    /// What tells own connections, by addresses that names may have no longer.
    own: Weak<OwnTraffic>,
    /// Which goes by the size of batches.
    state: Arc<State>,
    /// Set once it stops: then nothing is changed any more.
    stop: Arc<AtomicBool>,
}

/// All that a new configuration changes, ready to be changed.
struct Renewed {
    loaded: Loaded,
    rules: Rules,
    /// Another one, or none any more; outside: as it is.
    mask: Option<Option<MaskPolicy>>,
    upload: UploadChange,
}

/// What becomes of `[upload]`.
enum UploadChange {
    /// It is as it was.
    None,
    /// It goes on otherwise.
    Ready(Box<Prepared>),
    /// What has changed takes a restart, all of it.
    AtRestart,
}

impl Reloadable {
    /// All that can fail, before anything is changed.
    fn prepare(&self, args: &RunArgs, started: &Loaded) -> Result<Renewed, String> {
        let (loaded, mut ready) =
            fitness::read(Some(&args.config), Purpose::Reload(&started.config)).map_err(|error| error.to_string())?;
        // What networks are called takes effect at the next start, and rules go by their numbers.
        let rules = ready.rules(&loaded.config).map_err(|error| error.to_string())?;
        // Without a key of the operator's, a mask made again would have other tokens.
        let is_masked_otherwise = loaded.config.mask != self.mask || loaded.config.mask.key_file.is_some();
        let mask = is_masked_otherwise.then(|| ready.mask(&loaded.config)).transpose();
        let mask = mask.map_err(|error| error.to_string())?;
        let upload = self.prepare_upload(&loaded.config)?;
        Ok(Renewed { loaded, rules, mask, upload })
    }

    fn prepare_upload(&self, next: &Config) -> Result<UploadChange, String> {
        if next.upload == self.upload {
            return Ok(UploadChange::None);
        }
        let delivery = Delivery::from_config(&next.upload, &next.sensor);
        // Records of another shape are made from the next start on: until then they must not go where that one is taken.
        let (Some(control), Some(delivery), true) = (&self.control, delivery, next.upload.shape == self.upload.shape)
        else {
            return Ok(UploadChange::AtRestart);
        };
        match control.prepare(&delivery.settings, &delivery.destination) {
            Ok(Some(prepared)) => Ok(UploadChange::Ready(Box::new(prepared))),
            Ok(None) => Ok(UploadChange::AtRestart),
            Err(error) => {
                let error = error.to_string();
                let is_shut_off = next.privileges.landlock && error.contains("Permission denied");
                let advice =
                    if is_shut_off { " (a folder that no key named at the start is open after a restart)" } else { "" };
                Err(format!("[upload] cannot be used: {error}{advice}"))
            }
        }
    }
}

/// SIGHUP: a file with any fault changes nothing.
fn reread(args: &RunArgs, started: &Loaded, level: &Level, reloadable: &mut Reloadable) {
    let renewed = reloadable.prepare(args, started);
    if reloadable.stop.load(Ordering::Relaxed) {
        return;
    }
    let renewed = match renewed {
        Ok(renewed) => renewed,
        Err(error) => {
            tracing::error!("the configuration is refused, and the sensor goes on with what it has: {error}");
            // Whoever renewed a certificate is not to wait for whoever mends the file.
            reloadable.control.iter().for_each(Control::reload);
            return;
        }
    };
    let Renewed { loaded: next, rules, mask, upload } = renewed;
    for note in &next.notes {
        tracing::warn!("{note}");
    }
    reloadable.filters.replace(rules);
    if let Some(mask) = mask {
        reloadable.mask.clone_from(&next.config.mask);
        if let Some(notice) = mask.as_ref().and_then(MaskPolicy::notice) {
            tracing::info!("{notice}");
        }
        reloadable.renewal.mask(mask);
    }
    if level.reload(filter(&next.config)).is_err() {
        tracing::warn!("the level of the log could not be changed");
    }
    let is_upload_taken = !matches!(upload, UploadChange::AtRestart);
    match upload {
        UploadChange::Ready(prepared) => {
            // Before the first connection to a platform that has not been one yet.
            if let Some(own) = reloadable.own.upgrade() {
                own.connect_to(peers(&next.config), Instant::now());
            }
            prepared.apply();
            reloadable.state.resize_batches(next.config.upload.batch.bytes.0);
            reloadable.upload.clone_from(&next.config.upload);
        }
        // What the files are called is as it was; what is in them is read again.
        UploadChange::None | UploadChange::AtRestart => reloadable.control.iter().for_each(Control::reload),
    }
    let is_taken = |change: &Change| {
        let key = &change.key;
        let is_upload = key.starts_with("upload.") && change.is_live && is_upload_taken;
        is_upload || key == "log.level" || key.starts_with("filters") || key.starts_with("mask.")
    };
    let waiting: Vec<String> =
        started.changes(&next).into_iter().filter(|change| !is_taken(change)).map(|change| change.key).collect();
    if waiting.is_empty() {
        tracing::info!("the configuration was read again");
    } else {
        tracing::warn!("the configuration was read again; these take effect at the next start: {}", waiting.join(", "));
    }
}

/// What `[upload]` asks for, as far as the end goes by it.
#[derive(Clone, Copy)]
struct Sending {
    has_spool: bool,
    is_to_file: bool,
}

/// Records that waited in memory when the sensor ended, and are lost with it.
fn left_at_the_end(ledger: &Ledger) -> u64 {
    ledger.delivery.as_ref().map_or(0, |records| records.dropped(DropReason::Shutdown))
}

/// Says what is to be said at the end.
fn conclude(end: &End, format: LedgerFormat, sending: Sending, log: &Log) -> u8 {
    let ledger = &end.snapshot.ledger;
    match format {
        LedgerFormat::Text => log.say(format_args!("{ledger}")),
        LedgerFormat::Json => log.say(format_args!("{}\n", ledger.to_json())),
    }
    if let Some(records) = &ledger.delivery {
        let advice = match sending.has_spool {
            true => "",
            false => "; an [upload.spool] keeps what waits for the platform, up to its max_bytes",
        };
        say_undelivered(records, advice);
    }
    if end.is_late {
        tracing::error!(
            "the stop was not complete after {DEADLINE:?}: the disk or the output may stand still; what it held is lost, and the ledger, as of then, counts it as output_stalled where it was to be written, and as dropped by the shutdown where it waited in memory"
        );
        return exit::FAILED;
    }
    if let Err(imbalance) = ledger.check() {
        tracing::error!("{imbalance}; this is a defect of the program, please report it");
        return exit::DEFECT;
    }
    match &end.output_failure {
        Some(OutputFailure::Failed { name, source, .. }) => {
            tracing::error!(
                "cannot write to {name}: {source}; {} records are not in it, and its last line may be cut",
                ledger.unwritten
            );
            exit::FAILED
        }
        // A sensor that ends by itself is to be started again, whatever the reason.
        Some(OutputFailure::Closed(_)) if !end.is_asked_for => {
            tracing::error!(
                "whoever read the records from standard output has gone, and {} records were not read, so the sensor ends; `output` can name a file, and [upload] a platform",
                ledger.unwritten
            );
            exit::FAILED
        }
        Some(OutputFailure::Stalled { name, .. }) => {
            tracing::error!(
                "{name} took nothing further after the signal: {} records that were complete are not in it, and its last line may be cut",
                ledger.unwritten
            );
            exit::FAILED
        }
        // A platform may be away, and a stop does not wait for it; a file is here, and what it did not take is lost for good.
        None if sending.is_to_file && left_at_the_end(ledger) > 0 => {
            tracing::error!(
                "{} records could not be written to [upload.file] in time: see above what the disk says; an [upload.spool] elsewhere keeps them",
                left_at_the_end(ledger)
            );
            exit::FAILED
        }
        Some(OutputFailure::Closed(_)) | None => exit::OK,
    }
}

/// What is logged: the environment's word over the configuration's.
fn filter(config: &Config) -> EnvFilter {
    let level = match config.log.level {
        Some(LogLevel::Error) => "error",
        Some(LogLevel::Warn) => "warn",
        Some(LogLevel::Debug) => "debug",
        Some(LogLevel::Trace) => "trace",
        _ if config.quiet => "error",
        Some(LogLevel::Info) | None => "info",
    };
    EnvFilter::try_from_env("SENSOR_LOG").unwrap_or_else(|_| EnvFilter::new(level))
}

/// Says why nothing is begun, in the form of the log that there would have been.
fn refuse(error: &ConfigError) {
    let format = error.log_format();
    if is_text(format) {
        say(format_args!("error: {error}\n"));
    } else {
        start_logging(EnvFilter::new("error"), format, &Log::default());
        tracing::error!("{error}");
    }
}

/// Whether what goes to standard error is text: on a terminal, or where the configuration says so. Elsewhere each line is one
/// JSON object.
fn is_text(format: LogFormat) -> bool {
    match format {
        LogFormat::Text => true,
        LogFormat::Json => false,
        LogFormat::Auto => io::stderr().is_terminal(),
    }
}

/// To standard error.
fn start_logging(filter: EnvFilter, format: LogFormat, log: &Log) -> Level {
    let (filter, level) = reload::Layer::new(filter);
    // A closed standard error must not be reported on standard error: that panics.
    let lines = fmt::layer().with_writer(log.clone()).with_target(false).log_internal_errors(false);
    let lines = if is_text(format) {
        let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        lines.with_ansi(colours).boxed()
    } else {
        lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
    };
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
    level
}
