//! What was typed.

use std::path::PathBuf;

use clap::builder::{PathBufValueParser, TypedValueParser as _};
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;

use crate::config::{LedgerFormat, MAX_WORKERS, check_name};
use crate::units::ByteSize;

/// A passive network sensor: mirrored frames in, paired HTTP transactions out.
#[derive(Clone, Debug, Parser)]
#[command(name = "sensor", version, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Read capture files and write the HTTP transactions in them, one JSON object a line.
    Replay(Box<ReplayArgs>),
    /// Capture live, and send or write the HTTP transactions, until SIGTERM or Ctrl-C.
    Run(RunArgs),
    /// List the interfaces that can be captured from.
    Interfaces,
    /// Show the whole way once, on this machine alone: captures, tunnels, mutual TLS, OAuth, and what a collector stored.
    Demo(DemoArgs),
    /// Try whether a configuration will work: files, names, connections, certificates, token, an empty batch.
    Check(CheckArgs),
    /// Prove that masking hides what it should.
    Mask(MaskArgs),
    /// Run the platform's stand-in: take what sensors deliver, store it once, show it. For tests and a first look.
    Collector(Box<collector::Arguments>),
    /// Check a configuration, show what is in force, print an example.
    Config(ConfigArgs),
    /// Try filters on a capture: which rule decides on each transaction.
    Filter(FilterArgs),
    /// Print the completion script of a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print the manual page, in roff.
    Man {
        /// The command whose page it is; none: the program's own.
        command: Option<String>,
    },
}

/// What a written record looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputShape {
    /// The sensor's own records.
    Native,
    /// The platform's transactions.
    Edge,
}

/// What `replay` was given.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ReplayArgs {
    /// Capture files (pcap or pcapng, also as .gz or .zst), directories of them, or `-` for standard input.
    ///
    /// Several are read in order, as one: a connection may go on from one file into the next.
    #[arg(value_name = "FILE", required = true, value_hint = ValueHint::AnyPath)]
    pub files: Vec<PathBuf>,

    /// Where to write records; `-` is standard output. [default: -]
    #[arg(short, long, value_name = "FILE", value_parser = PathBufValueParser::new().map(PathBuf::from))]
    pub output: Option<PathBuf>,

    /// What a record looks like there: the sensor's own, or as `[upload]` would have it sent to a platform. [default: native]
    ///
    /// Given, records are written and not sent, whatever the configuration says.
    #[arg(long, value_name = "SHAPE", conflicts_with = "upload")]
    pub shape: Option<OutputShape>,

    /// Send the records to where `[upload]` of the configuration says, and wait until they are there; nothing is printed.
    ///
    /// A configuration that has an `url` or `file` in `[upload]` does so without the flag, unless --output is given.
    #[arg(long, conflicts_with = "output")]
    pub upload: bool,

    /// Only look at frames that match this BPF expression, as they were captured (a tunnel's outer headers).
    #[arg(long, value_name = "BPF")]
    pub filter: Option<String>,

    /// Threads that work on flows: 1 works on the reading thread, 0 takes one fewer than there are cores. [default: 1]
    #[arg(long, value_name = "N", value_parser = workers)]
    pub workers: Option<usize>,

    /// Bytes to keep of each body, such as 64KiB; 0 keeps none. [default: 32KiB]
    #[arg(long, value_name = "BYTES")]
    pub body_limit: Option<ByteSize>,

    /// Only keep bodies of these media types: type/subtype, type/* or +suffix, separated by commas; `all` keeps all.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub body_types: Option<Vec<String>>,

    /// Print what became of every frame, byte and message, to standard error at the end.
    #[arg(long, value_name = "FORMAT")]
    pub ledger: Option<LedgerFormat>,

    /// Read settings from this file (TOML); flags take precedence. See docs/configuration.md.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,

    /// Memory for everything that grows with the traffic. [default: 1GiB]
    #[arg(long, value_name = "BYTES")]
    pub memory: Option<ByteSize>,

    /// The sensor's name in every record. [default: sensor]
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub sensor: Option<String>,

    /// No progress, summary or warnings; errors only.
    #[arg(short, long)]
    pub quiet: bool,
}

/// What `run` was given.
#[derive(Clone, Debug, Args)]
#[command(after_help = RUN_EXAMPLES)]
pub struct RunArgs {
    /// The configuration (TOML): `[[capture]]` says what to capture from. SIGHUP has it read again.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, default_value = "/etc/sensor/sensor.toml")]
    pub config: PathBuf,
}

/// What `demo` was given.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// Leave the collector up for a look, until Ctrl-C.
    #[arg(long)]
    pub keep: bool,
}

/// What `check` was given.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// The configuration (TOML).
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: PathBuf,
}

/// What `filter` was given.
#[derive(Clone, Debug, Args)]
pub struct FilterArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: FilterCommand,
}

/// What to do with filters.
#[derive(Clone, Debug, Subcommand)]
pub enum FilterCommand {
    /// Say of each transaction in a capture whether the configuration's `[filters]` record it, and which rule decided.
    ///
    /// Nothing is recorded or sent. Every transaction is listed, also those of connections that a replay would leave out
    /// whole; paths are shown as masking leaves them, without their query.
    Test(FilterTestArgs),
}

/// What `filter test` was given.
#[derive(Clone, Debug, Args)]
#[command(after_help = FILTER_TEST_EXAMPLES)]
pub struct FilterTestArgs {
    /// The configuration (TOML) whose `[filters]` and `[normalize]` are tried.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: PathBuf,

    /// How to list them.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: ListFormat,

    /// Only transactions with this outcome.
    #[arg(long, value_name = "OUTCOME")]
    pub only: Option<OutcomeName>,

    /// Capture files (pcap or pcapng, also as .gz or .zst), directories of them, or `-` for standard input.
    #[arg(value_name = "CAPTURE", required = true, value_hint = ValueHint::AnyPath)]
    pub files: Vec<PathBuf>,
}

/// How a list is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// In columns, for people.
    Table,
    /// One JSON object a line.
    Ndjson,
}

/// What becomes of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutcomeName {
    /// It is recorded.
    Recorded,
    /// A rule filters it.
    Filtered,
    /// A rule lets it through, and its sampling leaves it out.
    #[value(name = "sampled_out")]
    SampledOut,
}

/// What `mask` was given.
#[derive(Clone, Debug, Args)]
pub struct MaskArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: MaskCommand,
}

/// What to do about masking.
#[derive(Clone, Debug, Subcommand)]
pub enum MaskCommand {
    /// Replay captures with planted secrets, and look for these in everything that would leave or be stored.
    Verify(VerifyArgs),
}

/// What `mask verify` was given.
#[derive(Clone, Debug, Args)]
#[command(after_help = VERIFY_EXAMPLES)]
pub struct VerifyArgs {
    /// Capture files, or directories of them.
    #[arg(value_name = "CAPTURE", required = true, value_hint = ValueHint::AnyPath)]
    pub files: Vec<PathBuf>,

    /// The configuration (TOML) whose `[mask]` is to be proven.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: PathBuf,

    /// The secrets that were planted, one on each line, each of at least four bytes.
    ///
    /// They are looked for as they are and in base64, percent-encoded, JSON-escaped, HTML-escaped, hexadecimal and UTF-16 form,
    /// also within gzip, without regard to case. What is printed names their lines, never the secrets.
    #[arg(long, value_name = "LIST", value_hint = ValueHint::FilePath)]
    pub secrets: PathBuf,
}

impl ReplayArgs {
    /// The upload of `files`, with everything else left to the configuration.
    #[must_use]
    pub fn upload_of(files: Vec<PathBuf>) -> Self {
        Self {
            files,
            output: None,
            shape: None,
            upload: true,
            filter: None,
            workers: None,
            body_limit: None,
            body_types: None,
            ledger: None,
            config: None,
            memory: None,
            sensor: None,
            quiet: false,
        }
    }
}

/// What `config` was given: one thing to do.
#[derive(Clone, Debug, Args)]
#[command(after_help = CONFIG_EXAMPLES)]
#[group(skip)]
#[command(group = ArgGroup::new("action").required(true).args(["example", "schema", "print", "check", "page"]))]
pub struct ConfigArgs {
    /// Print a file to start from: every key, with its meaning and default.
    #[arg(long)]
    pub example: bool,

    /// Print the JSON Schema of the file.
    #[arg(long)]
    pub schema: bool,

    /// Print what is in force (--config FILE and the environment), and where each value came from.
    #[arg(long)]
    pub print: bool,

    /// Say all that is wrong with this file and what it includes, without the environment, and do nothing else.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub check: Option<PathBuf>,

    /// Print docs/configuration.md.
    #[arg(long, hide = true)]
    pub page: bool,

    /// The file that --print reads; none: the defaults and the environment.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with_all = ["example", "schema", "check", "page"])]
    pub config: Option<PathBuf>,
}

const RUN_EXAMPLES: &str = "\
Examples:
  See what can be captured from:
      sensor interfaces
  Capture as the configuration says:
      sensor run --config /etc/sensor/sensor.toml

Exit status:
  0   stopped by SIGTERM or Ctrl-C; everything is delivered, or waits in the spool
  1   a source, the status address or the output cannot be used, or the stop took too long
  2   the configuration is wrong
  70  the ledger does not add up, or a thread failed: a defect of the program";

const FILTER_TEST_EXAMPLES: &str = "\
Examples:
  See which rule decides on each transaction:
      sensor filter test --config sensor.toml capture.pcap
  Only what would be left out, for a program:
      sensor filter test --config sensor.toml --only filtered --format ndjson capture.pcap
  Count by rule:
      sensor filter test --config sensor.toml --format ndjson capture.pcap | jq -r .rule | sort | uniq -c

Exit status:
  0   everything was read
  1   a capture is damaged or is none, or the output could not be written
  2   wrong usage, configuration or file name";

const VERIFY_EXAMPLES: &str = "\
Examples:
  Send requests with known secrets past a tap, then prove that none of them leaves:
      sensor mask verify --config sensor.toml capture.pcap --secrets planted.txt

Exit status:
  0   none of the secrets was found, and each of them would have been without masking
  1   some were found, and it says where; or a capture could not be read
  2   wrong usage, configuration or list
  3   none was found, but some are not in the captures without masking either: nothing is proven of these";

const CONFIG_EXAMPLES: &str = "\
Examples:
  Write a file to start from:
      sensor config --example > sensor.toml
  Check it:
      sensor config --check sensor.toml
  See what is in force, from the file and the environment:
      SENSOR_MEMORY=2GiB sensor config --print --config sensor.toml

Exit status:
  0   done; the file is right
  1   the output could not be written
  2   the file is wrong, or cannot be read";

const EXAMPLES: &str = "\
Examples:
  Show the transactions of a capture:
      sensor replay capture.pcap
  Read from tcpdump, without bodies, into a file:
      tcpdump -i eth1 -w - | sensor replay - --body-limit 0 -o transactions.ndjson
  A directory of rotated captures, on all cores but one, keeping JSON bodies only:
      sensor replay captures/ --workers 0 --body-types application/json,+json
  What became of every frame and byte:
      sensor replay capture.pcapng.zst --ledger text -o /dev/null

Exit status:
  0   everything was read; a capture cut in its last packet is a warning
  1   a capture is damaged or is none (the others are read all the same), or the output could not be written;
      or, with --upload, not every record was accepted
  2   wrong usage, configuration or file name
  70  the ledger does not add up: a defect of the program
  130 stopped by Ctrl-C; what was complete has been written, as far as its reader took it within seconds";

fn name(text: &str) -> Result<String, String> {
    check_name(text).map(|()| text.to_owned())
}

fn workers(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if count <= MAX_WORKERS => Ok(count),
        _ => Err(format!("a number from 0 to {MAX_WORKERS} is needed")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }
}
