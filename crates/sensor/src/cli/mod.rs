//! The command line: what was typed ([`Cli`]), what it means ([`plan::Plan`]), doing it.

mod args;
mod check;
mod collector;
mod demo;
mod filter;
mod interfaces;
mod mask;
mod plan;
mod run;
mod scratch;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use clap::{CommandFactory, Parser};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;
use tracing_subscriber::EnvFilter;

pub use args::{
    CheckArgs, Cli, Command, ConfigArgs, DemoArgs, FilterArgs, FilterCommand, FilterTestArgs, ListFormat, MaskArgs,
    MaskCommand, OutcomeName, ReplayArgs, RunArgs, VerifyArgs,
};
pub use plan::{Plan, UsageError};

use crate::config::{self, LedgerFormat, Loaded};
use crate::fitness::{Purpose, doubts, misfits};
use crate::outlet::OutputFailure;
use crate::progress::Progress;
use crate::replay::{Failure, Outcome, ReplayError};
use crate::summary::Summary;

/// What the process answers with.
pub mod exit {
    /// Everything was read and written.
    pub const OK: u8 = 0;
    /// An input is damaged or no capture, or the output could not be written.
    pub const FAILED: u8 = 1;
    /// The command line, the configuration or a file's name is wrong.
    pub const USAGE: u8 = 2;
    /// Nothing was found that is wrong, but not all was there that was to be looked for.
    pub const UNPROVEN: u8 = 3;
    /// The ledger does not add up, or a thread failed: a defect of the program.
    pub const DEFECT: u8 = 70;
    /// Stopped by a signal.
    pub const INTERRUPTED: u8 = 130;
}

/// Runs the program with these arguments and says what to exit with.
#[must_use]
pub fn run(args: impl IntoIterator<Item = OsString>) -> u8 {
    let _ = outlive_file_limits();
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are errors too, for clap; a closed pipe under them is none for us.
            let _ = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(exit::USAGE);
        }
    };
    match cli.command {
        Command::Replay(args) => replay(*args),
        Command::Run(args) => run::run(&args),
        Command::Interfaces => interfaces::interfaces(),
        Command::Demo(args) => demo::demo(&args),
        Command::Check(args) => check::check(&args),
        Command::Mask(args) => mask::mask(&args),
        Command::Collector(args) => collector::collector(*args),
        Command::Config(args) => configuration(&args),
        Command::Filter(FilterArgs { command: FilterCommand::Test(args) }) => filter::test(&args),
        Command::Completions { shell } => print(&{
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "sensor", &mut script);
            script
        }),
        Command::Man { command } => man(command.as_deref()),
    }
}

fn replay(args: ReplayArgs) -> u8 {
    let plan = match Plan::resolve(args) {
        Ok(plan) => plan,
        Err(error) => {
            say(format_args!("error: {error}\n\nFor more information, try 'sensor replay --help'.\n"));
            return error.exit_code();
        }
    };
    for note in &plan.notes {
        tracing::warn!("{note}");
    }
    if let Some(notice) = plan.mask_notice() {
        tracing::warn!("{notice}");
    }
    for warning in &plan.warnings {
        tracing::warn!("{warning}");
    }
    let interrupted = Arc::new(AtomicBool::new(false));
    if let Err(error) = watch_signals(&interrupted).and_then(|second| second.heed(say_that_it_is_cut_short)) {
        tracing::warn!("cannot watch for Ctrl-C ({error}): it will end the replay without a summary");
    }
    let hangup = match plan.reload_flag() {
        Some(reload) => flag::register(SIGHUP, reload).map(drop),
        None => end_on_hangup(&interrupted),
    };
    if let Err(error) = hangup {
        tracing::warn!("cannot watch for SIGHUP ({error}): it will end the replay without a summary");
    }
    let (quiet, ledger) = (plan.quiet, plan.ledger);
    let progress = if plan.shows_progress() { Progress::on_terminal() } else { Progress::none() };
    match plan.into_replay(interrupted).run(&progress) {
        Ok(outcome) => conclude(&outcome, quiet, ledger),
        Err(error) => {
            tracing::error!("{error}");
            match error {
                ReplayError::Threads { .. } => exit::FAILED,
                ReplayError::Worker(_) => exit::DEFECT,
            }
        }
    }
}

/// Says what is to be said at the end.
fn conclude(outcome: &Outcome, quiet: bool, ledger: Option<LedgerFormat>) -> u8 {
    let failed = outcome.failures.iter().map(Failure::exit_code).max().unwrap_or(0);
    match &outcome.output_failure {
        // Whoever reads has enough, as `head` does, and asks for no account.
        Some(OutputFailure::Closed(_)) => return failed,
        Some(OutputFailure::Failed { name, source, .. }) => {
            tracing::error!("cannot write to {name}: {source}; what was written before is incomplete");
            return exit::FAILED;
        }
        Some(OutputFailure::Stalled { name, .. }) => tracing::warn!(
            "{name} took nothing further after the signal: {} records that were complete are not in it, and its last line may be cut",
            outcome.ledger.unwritten
        ),
        None => {}
    }
    // What could not be opened has been said, and there is nothing else to say.
    if !quiet && outcome.ledger.captures.opened > 0 {
        say(format_args!("{}", Summary(outcome)));
    }
    match ledger {
        Some(LedgerFormat::Text) => say(format_args!("{}", outcome.ledger)),
        Some(LedgerFormat::Json) => say(format_args!("{}\n", outcome.ledger.to_json())),
        None => {}
    }
    if let Err(imbalance) = outcome.ledger.check() {
        tracing::error!("{imbalance}; this is a defect of the program, please report it");
        return exit::DEFECT;
    }
    let is_short = |delivery: &uploader::DrainReport| {
        !delivery.complete || delivery.records.rejected > 0 || delivery.records.dropped_total() > 0
    };
    if let Some(delivery) = &outcome.delivery {
        say_undelivered(
            &delivery.records,
            " (--ledger text prints it); an [upload.spool] keeps what waits for the platform, up to its max_bytes",
        );
    }
    if outcome.delivery.as_ref().is_some_and(is_short) {
        return if outcome.was_interrupted { exit::INTERRUPTED } else { exit::FAILED };
    }
    if outcome.was_interrupted { exit::INTERRUPTED } else { failed }
}

fn configuration(args: &ConfigArgs) -> u8 {
    if args.example {
        return print(config::example().as_bytes());
    }
    if args.schema {
        return print(format!("{:#}\n", config::schema()).as_bytes());
    }
    if args.page {
        return print(config::page().as_bytes());
    }
    let loaded = match &args.check {
        // The file alone, wherever it will be used.
        Some(file) => Loaded::read_for(Some(file), [], |config| misfits(config, Purpose::Anywhere)),
        None => Loaded::read(args.config.as_deref()),
    };
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            say(format_args!("error: {error}\n"));
            return exit::USAGE;
        }
    };
    for note in &loaded.notes {
        say(format_args!("warning: {note}\n"));
    }
    if args.check.is_some() {
        for doubt in doubts(&loaded.config) {
            say(format_args!("warning: {doubt}\n"));
        }
    }
    match &args.check {
        Some(file) => print(format!("{}: nothing is wrong\n", file.display()).as_bytes()),
        None => print(loaded.print().as_bytes()),
    }
}

/// Says which records did not get there, and what becomes of them; where the ledger is, and what would have kept them, as `advice`.
fn say_undelivered(records: &uploader::RecordsLine, advice: &str) {
    if records.reported_failed > 0 {
        tracing::warn!(
            "{} records were accepted with answers that report them as failed inside: see what the platform stored",
            records.reported_failed
        );
    }
    if records.waiting_spool > 0 {
        tracing::warn!(
            "{} records wait in the spool: they are sent first when the sensor runs again with this configuration",
            records.waiting_spool
        );
    }
    if records.rejected > 0 {
        tracing::error!(
            "{} records were refused by the platform: with a spool, its folder dead-letter holds them and the answers, as far as there was room: see above",
            records.rejected
        );
    }
    if records.dropped_total() > 0 {
        tracing::error!("{} records were dropped; the ledger says why{advice}", records.dropped_total());
    }
}

fn man(command: Option<&str>) -> u8 {
    let mut root = Cli::command();
    root.build();
    let page = match command {
        None => root,
        Some(name) => match root.find_subcommand(name) {
            Some(command) => command.clone(),
            None => {
                say(format_args!("error: no command `{name}`; try 'sensor --help'\n"));
                return exit::USAGE;
            }
        },
    };
    let mut text = Vec::new();
    match clap_mangen::Man::new(page).render(&mut text) {
        Ok(()) => print(&text),
        Err(_) => exit::FAILED,
    }
}

/// Sooner than this after the first signal another is the same once more: `timeout` sends its own to the process and to the
/// process's group.
const AGAIN: Duration = Duration::from_secs(1);
/// How often the first signal is looked for.
const LOOK: Duration = Duration::from_millis(100);
/// How long it may take to say that another one ends the process.
const LAST_WORD: Duration = Duration::from_millis(200);

/// Ctrl-C and SIGTERM set the flag; [`SecondSignal`] is what another one does.
fn watch_signals(interrupted: &Arc<AtomicBool>) -> io::Result<SecondSignal> {
    let second = SecondSignal { interrupted: Arc::clone(interrupted), came: Arc::default() };
    for signal in [SIGINT, SIGTERM] {
        flag::register(signal, Arc::clone(&second.came))?;
        flag::register(signal, Arc::clone(interrupted))?;
    }
    Ok(second)
}

/// SIGHUP sets the flag, too: a terminal that is closed ends what has nothing to read again, in order. Where it is ignored,
/// as `nohup` has it, it stays so.
fn end_on_hangup(interrupted: &Arc<AtomicBool>) -> io::Result<()> {
    if is_ignored(SIGHUP) { Ok(()) } else { flag::register(SIGHUP, Arc::clone(interrupted)).map(drop) }
}

/// A file that reaches the limit of its size (RLIMIT_FSIZE, `ulimit -f`) refuses what is written, as a full disk does; by itself the
/// system would end the process. A handler does, which takes no `unsafe` as ignoring the signal would.
fn outlive_file_limits() -> io::Result<()> {
    flag::register(SIGXFSZ, Arc::default()).map(drop)
}

/// Whether whoever started the process has it ignore a signal.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// A second signal ends the process at once, if it comes at least [`AGAIN`] after the first.
#[must_use = "without its thread a second signal does nothing"]
struct SecondSignal {
    interrupted: Arc<AtomicBool>,
    /// Whether a signal came.
    came: Arc<AtomicBool>,
}

impl SecondSignal {
    /// Starts the thread that sees time pass: a signal's handler cannot. It lasts as long as the process. `last_words`
    /// say what the second signal ends.
    fn heed(self, last_words: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let Self { interrupted, came } = self;
        let wait = move || {
            while !interrupted.load(Ordering::Relaxed) {
                thread::sleep(LOOK);
            }
            thread::sleep(AGAIN);
            came.store(false, Ordering::Relaxed);
            while !came.load(Ordering::Relaxed) {
                thread::sleep(LOOK);
            }
            // Who reads standard error may stand still, too.
            let (said, is_said) = mpsc::channel();
            let say = move || {
                last_words();
                let _ = said.send(());
            };
            if thread::Builder::new().name("last-words".to_owned()).spawn(say).is_ok() {
                let _ = is_said.recv_timeout(LAST_WORD);
            }
            signal_hook::low_level::exit(i32::from(exit::INTERRUPTED));
        };
        thread::Builder::new().name("signals".to_owned()).spawn(wait).map(drop)
    }
}

/// What a second signal leaves unsaid and undone.
fn say_that_it_is_cut_short() {
    tracing::error!(
        "a second signal ends it at once, without the ledger: what is not written, delivered or in a spool by now is lost"
    );
}

/// Warnings and errors to standard error; `SENSOR_LOG` asks for more. `quiet` leaves errors.
fn start_logging(quiet: bool) {
    let filter = match EnvFilter::try_from_env("SENSOR_LOG") {
        Ok(filter) if !quiet => filter,
        _ => EnvFilter::new(if quiet { "error" } else { "warn" }),
    };
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(colours)
        .with_target(false)
        .without_time()
        // It would report a closed standard error on standard error, and panic.
        .log_internal_errors(false)
        .try_init();
}

/// To standard error; when that is gone there is nobody to tell.
fn say(text: std::fmt::Arguments<'_>) {
    let _ = io::stderr().lock().write_fmt(text);
}

/// To standard output; a closed pipe is quiet.
fn print(bytes: &[u8]) -> u8 {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => exit::OK,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => exit::OK,
        Err(error) => {
            say(format_args!("error: cannot write to standard output: {error}\n"));
            exit::FAILED
        }
    }
}
