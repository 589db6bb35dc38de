//! What is meant: flags over the configuration file over defaults, checked before anything is opened for writing.

use std::io::{self, IsTerminal};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use std::{fmt, fs};

use crate::cli::ReplayArgs;
use crate::cli::args::OutputShape;
use crate::cli::{exit, start_logging};
use crate::config::{Config, ConfigError, LedgerFormat, Loaded, MediaTypes, Misfit};
use crate::destination::{Destination, Upload};
use crate::dispatch::WhenFull;
use crate::filter::RuleSwitch;
use crate::fitness::{self, Purpose, Ready, Sizes, worker_count};
use crate::masker::{MaskError, MaskPolicy};
use crate::memory::TooLittle;
use crate::outlet::{CreateError, Output};
use crate::pipeline::Settings;
use crate::policy::{self, FilterError};
use crate::record::{RecordOptions, Shape};
use crate::replay::Replay;
use crate::source::{self, Filter, FilterError as FrameFilterError, Input, OpenError, ReadOptions, Warning};
use crate::units::ByteSize;
use crate::upload::{Delivery, UploadOutlet, edge_shape};

/// How long the platform may take nothing before a replay stops waiting for it.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many times its captured length a body may decode to, where nobody said anything: text packs about that well.
const DECODED_FACTOR: usize = 4;

/// A replay that can begin.
#[derive(Debug)]
pub struct Plan {
    inputs: Vec<Input>,
    filter: Option<Filter>,
    settings: Settings,
    workers: usize,
    output: Destination,
    writes_to_stdout: bool,
    /// What was odd about the inputs, to be said once there is a log.
    pub(super) warnings: Vec<Warning>,
    /// What is odd about the configuration.
    pub(super) notes: Vec<String>,
    /// How to print the ledger.
    pub(super) ledger: Option<LedgerFormat>,
    /// Whether to print errors only.
    pub(super) quiet: bool,
}

/// Something is wrong with what was asked for. Nothing was read or written.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// The configuration file.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// `--body-types`.
    #[error("--body-types: {0}")]
    BodyTypes(String),
    /// `--memory`.
    #[error(transparent)]
    Memory(#[from] TooLittle),
    /// What is to be masked.
    #[error(transparent)]
    Mask(#[from] MaskError),
    /// What is to be recorded.
    #[error(transparent)]
    Rules(#[from] FilterError),
    /// Sizes that do not fit together.
    #[error("{} {}: {}", .0.key, .0.found.as_deref().unwrap_or_default(), .0.advice)]
    Sizes(Misfit),
    /// The filter.
    #[error("{0}\nhint: {hint}", hint = .0.hint())]
    Filter(FrameFilterError),
    /// An input.
    #[error("{0}{hint}", hint = HintLine(.0.hint()))]
    Input(OpenError),
    /// No capture in what was named.
    #[error("nothing to read: the directory is empty")]
    NoInput,
    /// A capture cannot be typed.
    #[error("standard input is a terminal\nhint: pipe a capture into it, as in: tcpdump -w - | sensor replay -")]
    Terminal,
    /// It would be destroyed.
    #[error("{} is both input and output: writing would destroy it\nhint: write to another file with -o", .0.display())]
    Overwrite(PathBuf),
    /// The output file.
    #[error(transparent)]
    Output(#[from] CreateError),
    /// `--upload` without a place to send to.
    #[error(
        "--upload: the configuration names no platform\nhint: write [upload] with url = \"https://…\" and give it with --config; 'sensor config --example' shows all of it, and 'sensor demo' needs nothing"
    )]
    NoUpload,
    /// The uploader.
    #[error("cannot start the upload: {0}\nhint: 'sensor check --config FILE' tries each step")]
    Upload(#[from] uploader::StartError),
}

/// A line with a hint, where there is one.
struct HintLine(Option<&'static str>);

impl fmt::Display for HintLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |hint| write!(f, "\nhint: {hint}"))
    }
}

impl UsageError {
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Input(error) => error.exit_code(),
            _ => exit::USAGE,
        }
    }
}

impl Plan {
    /// Finds out what is meant.
    ///
    /// # Errors
    /// With what is wrong.
    pub fn resolve(args: ReplayArgs) -> Result<Self, UsageError> {
        // What flags say is judged with what they leave to the file; what is the file's alone, with its place in it.
        let is_sized = args.workers.is_some() || args.memory.is_some() || args.body_limit.is_some();
        let purpose = Purpose::Replay { sizes: !is_sized };
        let (Loaded { config: file, notes, .. }, ready) = fitness::read(args.config.as_deref(), purpose)?;
        let workers = worker_count(args.workers.or(file.workers).unwrap_or(1));
        let memory = args.memory.unwrap_or(file.memory);
        let body = args.body_limit.unwrap_or(file.bodies.limit);
        check_sizes(Sizes { memory, body, ..Sizes::of(&file, workers) })?;
        let mut settings = settings(&args, &file, ready)?.with_memory(memory.0, workers)?;
        let filter = args.filter.or(file.filter).filter(|filter| !filter.trim().is_empty());
        let filter = filter.map(|filter| Filter::new(&filter)).transpose().map_err(UsageError::Filter)?;
        let mut warnings = Vec::new();
        let inputs = source::expand_with(&args.files, &mut warnings).map_err(UsageError::Input)?;
        if inputs.is_empty() {
            return Err(UsageError::NoInput);
        }
        if inputs.contains(&Input::Stdin) && io::stdin().is_terminal() {
            return Err(UsageError::Terminal);
        }
        let delivery = match (&args.output, args.shape) {
            (Some(_), _) | (_, Some(_)) => None,
            (None, None) => Delivery::from_config(&file.upload, &settings.record.sensor),
        };
        if args.upload && delivery.is_none() {
            return Err(UsageError::NoUpload);
        }
        if args.shape == Some(OutputShape::Edge) {
            settings.record.shape = edge_shape(&file.upload, &settings.record.sensor);
        }
        let path = args.output.or(file.output).filter(|path| path.as_os_str() != "-");
        let writes_to_stdout = delivery.is_none() && path.is_none();
        let quiet = args.quiet || file.quiet;
        // What is started now may have something to say at once: of a certificate's end, of a damaged spool.
        start_logging(quiet);
        // Last, since it takes the spool or empties the file.
        let output = match (delivery, path) {
            (Some(delivery), _) => {
                let outlet = UploadOutlet::new(delivery.start()?, WhenFull::Wait);
                settings.record.shape = delivery.shape;
                Destination::Upload(Box::new(Upload { outlet, patience: PATIENCE }))
            }
            (None, Some(path)) if reads_from(&inputs, &path) => return Err(UsageError::Overwrite(path)),
            // A shell may have led it into one of the inputs.
            (None, None) if reads_from(&inputs, Path::new("/dev/stdout")) => {
                return Err(UsageError::Overwrite(PathBuf::from("standard output")));
            }
            (None, Some(path)) => Destination::Output(Output::create(&path)?),
            (None, None) => Destination::Output(Output::stdout()),
        };
        Ok(Self {
            inputs,
            filter,
            settings,
            workers,
            output,
            writes_to_stdout,
            warnings,
            notes,
            ledger: args.ledger.or(file.ledger),
            quiet,
        })
    }

    /// Whether a progress bar has a terminal for itself.
    pub(super) fn shows_progress(&self) -> bool {
        let shares_terminal = self.writes_to_stdout && io::stdout().is_terminal();
        !self.quiet && io::stderr().is_terminal() && !shares_terminal
    }

    /// What is to be said of how secrets are masked.
    pub(super) fn mask_notice(&self) -> Option<&'static str> {
        self.settings.mask.as_ref().and_then(MaskPolicy::notice)
    }

    /// A flag that has certificates read again, where there are any to be read.
    pub(super) fn reload_flag(&self) -> Option<Arc<AtomicBool>> {
        match &self.output {
            Destination::Upload(upload) => Some(upload.outlet.reload_flag()),
            Destination::Output(_) => None,
        }
    }

    pub(super) fn into_replay(self, interrupted: Arc<AtomicBool>) -> Replay {
        let Self { inputs, filter, settings, workers, mut output, .. } = self;
        match &mut output {
            Destination::Upload(upload) => upload.outlet.heed(&interrupted),
            Destination::Output(output) => output.heed(&interrupted),
        }
        Replay { inputs, read: ReadOptions::default(), filter, settings, workers, output, interrupted }
    }
}

/// Whether sizes that flags and the file say together fit.
///
/// # Errors
/// With the first that does not.
pub(super) fn check_sizes(sizes: Sizes) -> Result<(), UsageError> {
    sizes.misfits().into_iter().next().map_or(Ok(()), |misfit| Err(UsageError::Sizes(misfit)))
}

pub(super) fn settings(args: &ReplayArgs, file: &Config, mut ready: Ready) -> Result<Settings, UsageError> {
    let types = args.body_types.as_ref().unwrap_or(&file.bodies.types);
    let http = http_parse::Settings {
        body_limit: args.body_limit.unwrap_or(file.bodies.limit).as_usize(),
        body_types: MediaTypes::try_from(types.clone()).map_err(UsageError::BodyTypes)?.0,
        max_head: file.http.max_head.as_usize(),
        max_headers: file.http.max_headers,
        max_pending: file.http.max_pending,
        max_detect: file.http.max_detect.as_usize(),
        max_resync: file.http.max_resync.0,
        ..http_parse::Settings::default()
    };
    let record = RecordOptions {
        sensor: args.sensor.as_ref().unwrap_or(&file.sensor).clone(),
        decode_limit: file
            .bodies
            .decoded_limit
            .map_or(http.body_limit.saturating_mul(DECODED_FACTOR), ByteSize::as_usize),
        content_limit: usize::MAX,
        shape: Shape::Native,
    };
    let (decap, reassembly) = (file.decap.tunnels(), limits(&file.reassembly));
    Ok(Settings {
        decap,
        reassembly,
        http,
        record,
        mask: ready.mask(file)?,
        normalize: Arc::new(policy::normalizer(&file.normalize)),
        filters: Arc::new(RuleSwitch::new(ready.rules(file)?)),
    })
}

fn limits(file: &crate::config::Reassembly) -> reassembly::Limits {
    reassembly::Limits {
        acknowledged_hole: file.acknowledged_hole,
        hole: file.hole,
        idle: file.idle,
        idle_without_payload: file.idle_without_payload,
        linger: file.linger,
        max_held_per_direction: file.max_held_per_direction.as_usize(),
        max_ranges_per_direction: file.max_ranges_per_direction,
        ..reassembly::Limits::default()
    }
}

/// Whether one of the inputs is the regular file that `path` leads to, by its name or as standard input.
fn reads_from(inputs: &[Input], path: &Path) -> bool {
    inputs.iter().any(|input| match input {
        Input::File(input) => is_same_file(input, path),
        Input::Stdin => is_same_file(Path::new("/dev/stdin"), path),
    })
}

/// Whether both names lead to one regular file, through whatever links.
fn is_same_file(one: &Path, other: &Path) -> bool {
    match (fs::metadata(one), fs::metadata(other)) {
        (Ok(one), Ok(other)) => one.is_file() && one.dev() == other.dev() && one.ino() == other.ino(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use http_parse::BodyTypes;

    use super::*;
    use crate::cli::{Cli, Command};

    fn plan(config: &str, flags: &[&str]) -> Result<Plan, UsageError> {
        let folder = tempfile::tempdir().unwrap();
        let (capture, file) = (folder.path().join("a.pcap"), folder.path().join("sensor.toml"));
        fs::write(&capture, b"").unwrap();
        fs::write(&file, config).unwrap();
        let line = ["sensor", "replay", capture.to_str().unwrap(), "--config", file.to_str().unwrap()];
        match Cli::try_parse_from(line.iter().chain(flags)).unwrap().command {
            Command::Replay(args) => Plan::resolve(*args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_override_the_file_and_the_file_the_defaults() {
        let plain = plan("", &[]).unwrap();
        assert_eq!(plain.settings.http.body_limit, 32 << 10);
        assert_eq!(plain.settings.record.decode_limit, 128 << 10);
        assert_eq!(plain.settings.record.sensor, "sensor");
        assert_eq!((plain.workers, plain.quiet, plain.ledger), (1, false, None));

        let config = "sensor = 'one'\nworkers = 2\nquiet = true\nledger = 'json'\n[bodies]\nlimit = '1KiB'\ntypes = ['text/*']\n[decap]\nmax_depth = 3\nvxlan_ports = [1]\n[reassembly]\nhole = '1s'\n[http]\nmax_pending = 9";
        let file = plan(config, &[]).unwrap();
        assert_eq!(file.settings.record.sensor, "one");
        assert_eq!((file.workers, file.quiet, file.ledger), (2, true, Some(LedgerFormat::Json)));
        assert_eq!(file.settings.http.body_limit, 1_024);
        assert_eq!(file.settings.http.body_types, BodyTypes::Only(vec!["text/*".to_owned()]));
        assert_eq!(file.settings.http.max_pending, 9);
        assert_eq!(file.settings.decap.max_depth, 3);
        assert_eq!(file.settings.decap.vxlan_ports, [1]);
        assert_eq!(file.settings.reassembly.hole.as_secs(), 1);

        let flags =
            ["--sensor", "two", "--workers", "3", "--ledger", "text", "--body-limit", "0", "--body-types", "all"];
        let both = plan(config, &flags).unwrap();
        assert_eq!(both.settings.record.sensor, "two");
        assert_eq!((both.workers, both.ledger), (3, Some(LedgerFormat::Text)));
        assert_eq!(both.settings.http.body_limit, 0);
        assert_eq!(both.settings.http.body_types, BodyTypes::All);
        assert!(both.settings.reassembly.max_flows < plain.settings.reassembly.max_flows, "memory is split");
    }

    #[test]
    fn body_limits_beyond_the_memory_are_refused() {
        for (config, flags, parts) in [
            ("", &["--body-limit", "64GiB"][..], ["64GiB", "1GiB"]),
            ("", &["--body-limit", "1GiB", "--memory", "64MiB"], ["1GiB", "64MiB"]),
            ("", &["--body-limit", "17179869184GiB"], ["bytes", "counted"]),
            ("[bodies]\ndecoded_limit = '1GiB'", &[], ["decoded", "1GiB"]),
        ] {
            let line = ["sensor", "replay", "x.pcap"].into_iter().chain(flags.iter().copied());
            let refusal = match Cli::try_parse_from(line) {
                Ok(_) => plan(config, flags).unwrap_err().to_string(),
                Err(error) => error.to_string(),
            };
            for part in parts {
                assert!(refusal.contains(part), "{refusal} does not contain {part}");
            }
        }
        let most = plan("", &["--body-limit", "300MiB"]).unwrap();
        assert!(most.settings.record.decode_limit < 300 << 20, "the default follows the memory");
        assert!(plan("[bodies]\ndecoded_limit = '16MiB'", &[]).is_ok());
    }

    #[test]
    fn no_worker_count_means_at_least_one() {
        assert!(plan("", &["--workers", "0"]).unwrap().workers >= 1);
    }

    #[test]
    fn an_input_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let (capture, link) = (folder.path().join("a.pcap"), folder.path().join("b.pcap"));
        fs::write(&capture, b"precious").unwrap();
        fs::hard_link(&capture, &link).unwrap();
        let line = ["sensor", "replay", capture.to_str().unwrap(), "-o", link.to_str().unwrap()];
        let Command::Replay(args) = Cli::try_parse_from(line).unwrap().command else { panic!() };
        assert!(matches!(Plan::resolve(*args), Err(UsageError::Overwrite(_))));
        assert_eq!(fs::read(&capture).unwrap(), b"precious");
    }
}
