//! `sensor run`: what the configuration asks for, until a signal ends it.

use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::SIGHUP;
use signal_hook::flag;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt, reload};

use super::args::{ReplayArgs, RunArgs};
use super::plan::{SizeLimits, UsageError, settings, worker_count};
use super::{exit, say, say_undelivered, watch_signals};
use crate::appliance::{Appliance, ApplianceError, End, SourcesError, State, sources};
use crate::config::{Config, LedgerFormat, Loaded, LogFormat, LogLevel};
use crate::destination::{Destination, Upload};
use crate::dispatch::WhenFull;
use crate::guard::quiet_panics;
use crate::live::{self, Run};
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
    Status(#[from] StatusError),
    #[error(transparent)]
    Appliance(#[from] ApplianceError),
    #[error(
        "privileges.user: this version does not change its user itself\nhint: take it out, and set User= and AmbientCapabilities=CAP_NET_RAW CAP_NET_ADMIN in the systemd unit"
    )]
    User,
    #[error("cannot watch for signals: {0}")]
    Signals(io::Error),
}

impl Refusal {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(error) => error.exit_code(),
            Self::Sources(_) | Self::User => exit::USAGE,
            Self::Status(_) | Self::Signals(_) => exit::FAILED,
            Self::Appliance(ApplianceError::Worker(_)) => exit::DEFECT,
            Self::Appliance(_) => exit::FAILED,
        }
    }
}

/// A log whose level can change.
type Level = reload::Handle<EnvFilter, Registry>;

/// Runs until a signal.
pub(super) fn run(args: &RunArgs) -> u8 {
    let loaded = match Loaded::read(Some(&args.config)) {
        Ok(loaded) => loaded,
        Err(error) => {
            say(format_args!("error: {error}\n"));
            return exit::USAGE;
        }
    };
    let level = start_logging(&loaded.config);
    for note in loaded.notes.iter().chain(&loaded.unapplied()) {
        tracing::warn!("{note}");
    }
    quiet_panics();
    let ledger = loaded.config.ledger.unwrap_or(LedgerFormat::Text);
    match operate(args, loaded, &level) {
        Ok(end) => conclude(&end, ledger),
        Err(refusal) => {
            tracing::error!("{refusal}");
            refusal.exit_code()
        }
    }
}

fn operate(args: &RunArgs, loaded: Loaded, level: &Level) -> Result<End, Refusal> {
    let config = &loaded.config;
    if config.privileges.user.is_some() {
        return Err(Refusal::User);
    }
    // First of all: a signal during the start is none to be lost.
    let (stop, hangup) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    watch_signals(&stop).map_err(Refusal::Signals)?;
    flag::register(SIGHUP, Arc::clone(&hangup)).map_err(Refusal::Signals)?;

    let workers = worker_count(config.workers.unwrap_or(0));
    SizeLimits::of(config, workers).check()?;
    let mut settings = settings(&ReplayArgs::upload_of(Vec::new()), config)?
        .with_memory(config.memory.0, workers)
        .map_err(UsageError::from)?;
    if let Some(notice) = settings.mask.as_ref().and_then(MaskPolicy::notice) {
        tracing::info!("{notice}");
    }
    let present: Vec<String> = live::interfaces().unwrap_or_default().into_iter().map(|listed| listed.name).collect();
    let sources = sources(config, &settings.decap, &present)?;

    let mut upload = None;
    let outlet = match Delivery::from_config(&config.upload, &settings.record.sensor) {
        Some(delivery) => {
            settings.record.shape = delivery.shape.clone();
            let outlet = UploadOutlet::new(delivery.start().map_err(UsageError::from)?, WhenFull::Drop);
            let room = config.upload.spool.as_ref().map_or(config.upload.queue_bytes, |spool| spool.max_bytes);
            upload = Some((outlet.stats(), room.0, outlet.reload_flag()));
            Destination::Upload(Box::new(Upload { outlet, patience: std::time::Duration::ZERO }))
        }
        None => Destination::Output(match config.output.as_deref().filter(|path| path.as_os_str() != "-") {
            Some(path) => Output::create(path).map_err(UsageError::from)?,
            None => Output::stdout(),
        }),
    };
    let (stats, room, certificates) = match upload {
        Some((stats, room, flag)) => (Some(stats), room, Some(flag)),
        None => (None, 0, None),
    };
    let state = Arc::new(State::new(stats, room));
    let _server = match config.status.enabled {
        true => Some(StatusServer::start(config.status.listen, Arc::clone(&state) as _)?),
        false => None,
    };
    let run = Run { sources, settings, workers, outlet };
    let appliance = Appliance { run, state, stop, reload: hangup };
    Ok(appliance.run(|| reread(args, &loaded, level, certificates.as_deref()))?)
}

/// SIGHUP: a file with any fault changes nothing.
fn reread(args: &RunArgs, started: &Loaded, level: &Level, certificates: Option<&AtomicBool>) {
    let next = match Loaded::read(Some(&args.config)) {
        Ok(next) => next,
        Err(error) => {
            tracing::error!("the configuration is refused, and the sensor goes on with what it has: {error}");
            return;
        }
    };
    for note in &next.notes {
        tracing::warn!("{note}");
    }
    if level.reload(filter(&next.config)).is_err() {
        tracing::warn!("the level of the log could not be changed");
    }
    // What they are called is fixed; what is in them is read again.
    if let Some(certificates) = certificates {
        certificates.store(true, Ordering::Relaxed);
    }
    let waiting: Vec<String> =
        started.changes(&next).into_iter().map(|change| change.key).filter(|key| key != "log.level").collect();
    if waiting.is_empty() {
        tracing::info!("the configuration was read again");
    } else {
        tracing::warn!("the configuration was read again; these take effect at the next start: {}", waiting.join(", "));
    }
}

/// Says what is to be said at the end.
fn conclude(end: &End, format: LedgerFormat) -> u8 {
    let ledger = &end.snapshot.ledger;
    match format {
        LedgerFormat::Text => say(format_args!("{ledger}")),
        LedgerFormat::Json => say(format_args!("{}\n", ledger.to_json())),
    }
    if let Some(records) = &ledger.delivery {
        say_undelivered(records);
    }
    if let Err(imbalance) = ledger.check() {
        tracing::error!("{imbalance}; this is a defect of the program, please report it");
        return exit::DEFECT;
    }
    match &end.output_failure {
        Some(OutputFailure::Failed { name, source }) => {
            tracing::error!("cannot write to {name}: {source}; what was written before is incomplete");
            exit::FAILED
        }
        Some(OutputFailure::Closed) | None => exit::OK,
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

/// To standard error: text on a terminal, JSON elsewhere, or as the configuration says.
fn start_logging(config: &Config) -> Level {
    let is_terminal = io::stderr().is_terminal();
    let is_text = match config.log.format {
        LogFormat::Text => true,
        LogFormat::Json => false,
        LogFormat::Auto => is_terminal,
    };
    let (filter, level) = reload::Layer::new(filter(config));
    // A closed standard error must not be reported on standard error: that panics.
    let lines = fmt::layer().with_writer(io::stderr).with_target(false).log_internal_errors(false);
    let lines = if is_text {
        let colours = is_terminal && std::env::var_os("NO_COLOR").is_none();
        lines.with_ansi(colours).boxed()
    } else {
        lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
    };
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
    level
}
