//! The configuration: one TOML file for every command, the folder it may include, and the environment.
//!
//! Each section is declared once, in `sections`, and the declaration is what checks, describes, documents and prints it.
//! Sources become a tree in which every value keeps its place (`tree`), the tree becomes a checked [`Config`], and every
//! problem on the way is collected: there is a [`Config`] only where there is none.
//!
//! No secret is ever a value of it: files, variables and credentials are named, and read by whoever needs them.

mod describe;
mod effective;
mod example;
mod gather;
mod handed;
mod kind;
mod page;
mod place;
mod problem;
mod schema;
mod secret;
mod section;
mod sections;
mod suggest;
mod tree;
mod value;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub use handed::is_handed_pipe;
pub use place::{Origin, Place};
pub use problem::{ConfigError, Misfit, Problem};
pub use sections::*;
pub use value::{HeaderTest, MaskAction, MediaTypes, Network, NumberRange, Pattern};

use describe::Outline;
use effective::Effective;
use gather::Gathered;
use section::{Section as _, read_section};

/// A configuration that was read and checked, and what there is to say about it.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// What is allowed and yet worth a warning.
    pub notes: Vec<String>,
    effective: Effective,
    /// The files that came from a folder.
    included: Vec<PathBuf>,
}

impl Loaded {
    /// Reads a file, what it includes, and this process's environment over both; without a file, the environment alone.
    ///
    /// # Errors
    /// With all that is wrong, by file and line.
    pub fn read(file: Option<&Path>) -> Result<Self, ConfigError> {
        Self::read_with(file, std::env::vars_os())
    }

    /// The same with another environment.
    ///
    /// # Errors
    /// As [`Loaded::read`].
    pub fn read_with(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        Self::read_for(file, environment, |_| Vec::new())
    }

    /// The same for some purpose: `judge` says what speaks against the configuration beside what is wrong with it in itself.
    /// It may be shown one in which what could not be understood is as by default.
    ///
    /// # Errors
    /// As [`Loaded::read`]; what the judge says is among it, each with its place.
    pub fn read_for(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        judge: impl FnOnce(&Config) -> Vec<Misfit>,
    ) -> Result<Self, ConfigError> {
        let mut gathered = Gathered::default();
        if let Some(file) = file {
            gathered.add_file(file);
        }
        Self::check(gathered, environment, judge)
    }

    /// Reads the text of a file that goes by this name. It can include nothing.
    ///
    /// # Errors
    /// As [`Loaded::read`].
    pub fn parse(text: &str, name: &Path) -> Result<Self, ConfigError> {
        let mut gathered = Gathered::default();
        let place = gathered.source(Origin::File(name.to_owned()));
        gathered.start = Some(place.clone());
        gathered.add_text(text, &place, None);
        Self::check(gathered, [], |_| Vec::new())
    }

    fn check(
        mut gathered: Gathered,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        judge: impl FnOnce(&Config) -> Vec<Misfit>,
    ) -> Result<Self, ConfigError> {
        let outline = outline();
        gathered.add_environment(&outline, environment);
        let unread = gathered.problems.len();
        let place = gathered.start.clone().unwrap_or_else(Place::nowhere);
        let table = std::mem::take(&mut gathered.table);
        let (config, effective) =
            read_section::<Config>(&table, place.clone(), String::new(), &mut gathered.problems, &mut gathered.notes);
        let known = gathered.problems.len();
        for misfit in judge(&config) {
            gathered.problems.misfit(misfit, known, &table, &place);
        }
        gathered.drop_consequences(unread);
        gathered.problems.clean(&mut gathered.notes);
        if gathered.problems.is_empty() {
            return Ok(Self { config, notes: gathered.notes, effective, included: gathered.included });
        }
        Err(gathered.problems.into_error(config.log.format))
    }

    /// What is in force, as TOML, each value with where it came from. It stands for itself: what was included is in it.
    #[must_use]
    pub fn print(&self) -> String {
        let included = self.included.iter().map(|path| effective::in_a_comment(&path.display().to_string()));
        let included: String = included.map(|path| format!("# included: {path}\n")).collect();
        format!("{included}{}", self.effective)
    }

    /// What differs between this configuration, which is in force, and another one.
    #[must_use]
    pub fn changes(&self, next: &Self) -> Vec<Change> {
        let (old, new) = (self.effective.flat(), next.effective.flat());
        let mut changes: Vec<_> = new
            .iter()
            .filter(|(key, (text, _))| old.get(*key).is_none_or(|(before, _)| before != text))
            .chain(old.iter().filter(|(key, _)| !new.contains_key(*key)))
            .map(|(key, (_, is_live))| Change { key: key.clone(), is_live: *is_live })
            .collect();
        changes.sort();
        changes
    }
}

/// A setting with a new value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// Its path, as in `upload.batch.records` or `capture[0].interface`.
    pub key: String,
    /// Whether a running sensor takes it; else it waits for the next start.
    pub is_live: bool,
}

/// What a problem says of a text that stands in a configuration; without the text, where that may hold a secret.
#[must_use]
pub fn discreet(text: &str, said: &str) -> String {
    secret::discreet(text, said, || format!("a text {} cannot stand here", secret::hidden(text)))
}

fn outline() -> Outline {
    Config::outline()
}

/// A file to start from: every key with what it means, set to its default, or commented out where it has none.
#[must_use]
pub fn example() -> String {
    example::text(&outline())
}

/// The JSON Schema of a file.
#[must_use]
pub fn schema() -> serde_json::Value {
    schema::document(&outline())
}

/// The page that documents the file: docs/configuration.md.
#[must_use]
pub fn page() -> String {
    page::text(&outline())
}
