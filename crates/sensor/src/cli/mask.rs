//! `sensor mask verify`: replays captures as the configuration says, and looks for planted secrets in everything that would
//! leave or be stored.
//!
//! The records are looked at in both shapes, as they are handed on; then the files of a spool that cannot deliver, the log at
//! its most talkative, the summary and the ledger. Without masking the same search is made first: a secret that is not found
//! even then proves nothing: it is named, and the exit status says so. Secrets are told by their line in the list, never by what they are.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use masking::Leaks;
use serde_json::Value;
use tracing_subscriber::filter::LevelFilter;

use super::args::{MaskArgs, MaskCommand, ReplayArgs, VerifyArgs};
use super::filter::{capture_filter, feed};
use super::plan::{UsageError, check_sizes, settings};
use super::scratch::Cleaner;
use super::{exit, print, say};
use crate::config::{Config, ConfigError, Loaded};
use crate::destination::{Destination, Upload};
use crate::dispatch::WhenFull;
use crate::fitness::{self, Purpose, Ready, Sizes};
use crate::outlet::Outlet;
use crate::pipeline::{Pipeline, Settings};
use crate::progress::Progress;
use crate::record::{EdgeOptions, Sealed, Shape};
use crate::replay::{self, Replay, ReplayError};
use crate::source::{self, Input, ReadOptions};
use crate::summary::Summary;
use crate::upload::{Delivery, UploadOutlet};

/// The longest list of secrets, in bytes.
const MOST_LIST: u64 = 16 << 20;
/// Shorter secrets stand in most texts by chance.
const FEWEST: usize = 4;
/// Places that are shown of each secret and each sort of place; the rest is counted.
const SHOWN: usize = 2;
/// Nobody listens at the port of "discard" on this machine, so that the spool keeps what it is given.
const NOWHERE: &str = "https://127.0.0.1:9/";
/// What the folder of the spool is called, before what tells it from others.
const FOLDER: &str = "sensor-mask-verify-";
/// What a batch takes at most; a spool that drops nothing.
const SPOOL: u64 = 1 << 40;

/// Why nothing could be verified.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Usage(#[from] UsageError),
    #[error("cannot read the secrets {}: {source}\nhint: --secrets names a file with a secret on each line", .path.display())]
    List { path: PathBuf, source: io::Error },
    #[error("the secrets {} {wrong}\nhint: --secrets names a file with a secret on each line, each of at least {FEWEST} bytes", .path.display())]
    Secrets { path: PathBuf, wrong: String },
    #[error("a capture that is read several times cannot come from standard input\nhint: write it to a file first")]
    Stdin,
    #[error(transparent)]
    Capture(#[from] replay::Failure),
    #[error("cannot use a temporary folder: {0}\nhint: set TMPDIR to one that has room")]
    Folder(#[from] io::Error),
    #[error("cannot start the spool: {0}")]
    Spool(#[from] uploader::StartError),
    #[error(transparent)]
    Replay(#[from] ReplayError),
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(error) => error.exit_code(),
            Self::Config(_) | Self::List { .. } | Self::Secrets { .. } | Self::Stdin => exit::USAGE,
            Self::Capture(error) => error.exit_code(),
            Self::Folder(_) | Self::Spool(_) => exit::FAILED,
            Self::Replay(_) => exit::DEFECT,
        }
    }
}

/// Does what was asked for.
pub(super) fn mask(args: &MaskArgs) -> u8 {
    let MaskCommand::Verify(args) = &args.command;
    let cleaner = match Cleaner::start() {
        Ok(cleaner) => cleaner,
        Err(error) => {
            say(format_args!("error: cannot watch for signals: {error}\n"));
            return exit::FAILED;
        }
    };
    let verified = verify(args, &cleaner);
    cleaner.conclude();
    match verified {
        Ok(report) => {
            let written = print(report.to_string().as_bytes());
            match (report.leaks.is_empty(), report.unplanted.is_empty()) {
                (false, _) => exit::FAILED,
                // A list that was misspelled, or a capture of something else, is not to pass for a proof.
                (true, false) if written == exit::OK => exit::UNPROVEN,
                (true, _) => written,
            }
        }
        Err(error) => {
            say(format_args!("error: {error}\n"));
            error.exit_code()
        }
    }
}

fn verify(args: &VerifyArgs, cleaner: &Cleaner) -> Result<Report, Failure> {
    let (Loaded { config, .. }, ready) = fitness::read(Some(&args.config), Purpose::Replay { sizes: true })?;
    let list = List::read(&args.secrets)?;
    let search = Arc::new(Search { leaks: list.leaks, found: Mutex::default() });
    let _ = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer({
            let search = Arc::clone(&search);
            move || LogLines(Arc::clone(&search))
        })
        .log_internal_errors(false)
        .try_init();

    let inputs = source::expand_with(&args.files, &mut Vec::new()).map_err(UsageError::Input)?;
    if inputs.is_empty() {
        return Err(UsageError::NoInput.into());
    }
    if inputs.contains(&Input::Stdin) {
        return Err(Failure::Stdin);
    }
    let masked = replay_settings(&config, ready)?;
    let unmasked = Settings { mask: None, ..masked.clone() };
    let edge = match Delivery::from_config(&config.upload, &config.sensor).map(|delivery| delivery.shape) {
        Some(edge @ Shape::Edge(_)) => edge,
        _ => Shape::Edge(EdgeOptions::default()),
    };

    let (_, planted) = look(&inputs, &config, &unmasked, Shape::Native, &Arc::new(search.alike()), "")?;
    let (native, _) = look(&inputs, &config, &masked, Shape::Native, &search, "native record")?;
    let (in_edge, _) = look(&inputs, &config, &masked, edge.clone(), &search, "edge record")?;
    let files = look_at_spool(&inputs, &config, masked, edge, &search, cleaner)?;
    let unplanted = (0..list.lines.len()).filter(|secret| !planted.contains(secret)).collect();
    let leaks = search.take();
    Ok(Report { lines: list.lines, unplanted, native, edge: in_edge, files, leaks })
}

fn replay_settings(config: &Config, ready: Ready) -> Result<Settings, UsageError> {
    check_sizes(Sizes::of(config, 1))?;
    Ok(settings(&ReplayArgs::upload_of(Vec::new()), config, ready)?.with_memory(config.memory.0, 1)?)
}

/// Looks at all records of the captures in one shape: how many they are, and which secrets are in them.
fn look(
    inputs: &[Input],
    config: &Config,
    settings: &Settings,
    shape: Shape,
    search: &Arc<Search>,
    what: &'static str,
) -> Result<(u64, BTreeSet<usize>), Failure> {
    let mut settings = settings.clone();
    settings.record.shape = shape;
    let mut filter = capture_filter(config)?;
    let outlet = Records { search: Arc::clone(search), what, count: 0 };
    let mut pipeline = Pipeline::inline(&settings, outlet);
    for input in inputs {
        feed(input, filter.as_mut(), &mut pipeline, &mut 0)?;
    }
    pipeline.finish();
    let mut lane = pipeline.into_segments();
    lane.finish();
    let count = lane.records_mut().outlet_mut().count;
    Ok((count, search.seen()))
}

/// Spools all records for a platform that is not there, and looks at the files, the log, the summary and the ledger.
fn look_at_spool(
    inputs: &[Input],
    config: &Config,
    mut settings: Settings,
    shape: Shape,
    search: &Arc<Search>,
    cleaner: &Cleaner,
) -> Result<u64, Failure> {
    let scratch = cleaner.scratch(FOLDER)?;
    let folder = scratch.path();
    let mut upload = config.upload.clone();
    (upload.url, upload.file, upload.oauth) = (Some(NOWHERE.to_owned()), None, None);
    (upload.tls, upload.proxy) = Default::default();
    let Some(mut delivery) = Delivery::from_config(&upload, &config.sensor) else { return Ok(0) };
    delivery.shape = shape.clone();
    settings.record.shape = shape;
    delivery.settings.spool = Some(uploader::SpoolSettings {
        bytes: SPOOL,
        sync: uploader::SpoolSync::None,
        ..uploader::SpoolSettings::new(&folder)
    });
    // What other packings hold, the search does not see.
    delivery.settings.coding = uploader::Coding::Gzip;
    let outlet = UploadOutlet::new(delivery.start()?, WhenFull::Wait);
    let replay = Replay {
        inputs: inputs.to_vec(),
        read: ReadOptions::default(),
        filter: capture_filter(config)?,
        settings,
        workers: 1,
        output: Destination::Upload(Box::new(Upload { outlet, patience: Duration::ZERO })),
        interrupted: Arc::new(AtomicBool::new(false)),
    };
    let outcome = replay.run(&Progress::none())?;
    search.look("summary", String::new, Summary(&outcome).to_string().as_bytes());
    search.look("ledger", String::new, outcome.ledger.to_json().to_string().as_bytes());
    let mut files = 0;
    look_at_files(&folder, &folder, search, &mut files)?;
    Ok(files)
}

fn look_at_files(top: &Path, folder: &Path, search: &Search, files: &mut u64) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            look_at_files(top, &path, search, files)?;
        } else {
            *files += 1;
            let name = path.strip_prefix(top).unwrap_or(&path).display().to_string();
            search.look("spool file", || name, &std::fs::read(&path)?);
        }
    }
    Ok(())
}

/// The secrets, and where each stands in its file.
struct List {
    leaks: Leaks,
    lines: Vec<usize>,
}

impl List {
    fn read(path: &Path) -> Result<Self, Failure> {
        let mut bytes = Vec::new();
        let read = std::fs::File::open(path).and_then(|file| file.take(MOST_LIST + 1).read_to_end(&mut bytes));
        read.map_err(|source| Failure::List { path: path.to_owned(), source })?;
        let wrong = |wrong: String| Failure::Secrets { path: path.to_owned(), wrong };
        if bytes.len() as u64 > MOST_LIST {
            return Err(wrong(format!("have more than {MOST_LIST} bytes")));
        }
        let (mut lines, mut secrets) = (Vec::new(), Vec::new());
        for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            let secret = line.strip_suffix(b"\r").unwrap_or(line);
            if secret.is_empty() {
                continue;
            }
            if secret.len() < FEWEST {
                return Err(wrong(format!("have one of {} bytes in line {}", secret.len(), number + 1)));
            }
            lines.push(number + 1);
            secrets.push(secret);
        }
        if secrets.is_empty() {
            return Err(wrong("are none".to_owned()));
        }
        let leaks = Leaks::new(&secrets).map_err(|error| wrong(format!("cannot be searched for: {error}")))?;
        Ok(Self { leaks, lines })
    }
}

/// What is looked for, and what was found.
#[derive(Debug)]
struct Search {
    leaks: Leaks,
    found: Mutex<Found>,
}

/// For each secret, where it was found and how often.
type Found = BTreeMap<usize, (Vec<String>, u64)>;

impl Search {
    /// Another search for the same.
    fn alike(&self) -> Self {
        Self { leaks: self.leaks.clone(), found: Mutex::default() }
    }

    fn look(&self, what: &str, which: impl FnOnce() -> String, bytes: &[u8]) {
        let leaks = self.leaks.find(bytes);
        if leaks.is_empty() {
            return;
        }
        let which = which();
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        for leak in leaks {
            let (places, count) = found.entry(leak.secret).or_default();
            *count += 1;
            if places.iter().filter(|place| place.starts_with(what)).count() < SHOWN {
                let field = field(bytes, &self.leaks, leak.secret);
                let at = field.unwrap_or_else(|| format!("byte {}", leak.offset));
                let space = if which.is_empty() { "" } else { " " };
                places.push(format!("{what}{space}{which} at {at}, {}{}", leak.form, leak.carriers));
            }
        }
    }

    fn seen(&self) -> BTreeSet<usize> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    fn take(&self) -> Found {
        std::mem::take(&mut self.found.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Where in a record of JSON a secret stands: `request.headers[1][1]`.
fn field(record: &[u8], leaks: &Leaks, secret: usize) -> Option<String> {
    let record: Value = serde_json::from_slice(record).ok()?;
    let has = |text: &str| leaks.find(text.as_bytes()).iter().any(|leak| leak.secret == secret);
    let mut path = String::new();
    let mut at = &record;
    loop {
        // From the outermost inwards: always into the first member that has it.
        let next = match at {
            Value::Object(members) => members.iter().find_map(|(key, value)| {
                if has(key) {
                    return Some((".*".to_owned(), None));
                }
                has(&value.to_string()).then(|| (format!(".{key}"), Some(value)))
            }),
            Value::Array(items) => items
                .iter()
                .enumerate()
                .find_map(|(index, item)| has(&item.to_string()).then(|| (format!("[{index}]"), Some(item)))),
            _ => None,
        };
        match next {
            Some((step, value)) => {
                path.push_str(&step);
                let Some(value) = value else { break };
                at = value;
            }
            None => break,
        }
    }
    (!path.is_empty()).then(|| path.trim_start_matches('.').to_owned())
}

/// Looks at records as they are handed on.
#[derive(Debug)]
struct Records {
    search: Arc<Search>,
    what: &'static str,
    count: u64,
}

impl Outlet for Records {
    fn accept(&mut self, records: &Sealed<'_>) -> ControlFlow<()> {
        for (id, record) in records.iter() {
            self.count += 1;
            self.search.look(self.what, || id.to_string(), record);
        }
        ControlFlow::Continue(())
    }
}

/// Looks at lines of the log, each of which is written at once, instead of writing them.
struct LogLines(Arc<Search>);

impl Write for LogLines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.look("log", String::new, line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What came of it.
#[derive(Debug)]
struct Report {
    /// Where each secret stands in the list.
    lines: Vec<usize>,
    /// Those that are not in the records without masking either.
    unplanted: Vec<usize>,
    native: u64,
    edge: u64,
    files: u64,
    leaks: Found,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { lines, unplanted, native, edge, files, leaks } = self;
        let line = |secret: &usize| lines.get(*secret).copied().unwrap_or_default();
        writeln!(
            f,
            "looked at {native} native records, {edge} edge records, {files} files of a spool, the log, the summary and the ledger"
        )?;
        writeln!(
            f,
            "{} secrets, {} of them in the records without masking",
            lines.len(),
            lines.len() - unplanted.len()
        )?;
        for secret in unplanted {
            writeln!(f, "line {}: not in the records without masking either: nothing is proven of it", line(secret))?;
        }
        for (secret, (places, count)) in leaks {
            for place in places {
                writeln!(f, "line {}: found in {place}", line(secret))?;
            }
            if *count > places.len() as u64 {
                writeln!(f, "line {}: and {} times more", line(secret), count - places.len() as u64)?;
            }
        }
        match leaks.len() {
            0 => writeln!(f, "none found"),
            count => writeln!(f, "{count} secrets leave"),
        }
    }
}
