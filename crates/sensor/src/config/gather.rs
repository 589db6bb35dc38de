//! From files and variables to one tree: the file, the folder that it includes, the environment over both.
//!
//! Files never contradict one another: a value that two of them set is a problem that names both places. The environment
//! takes precedence over files, as it is how one machine of many differs.

use std::collections::btree_map::Entry;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use uploader::open_regular;

use super::describe::{Content, Outline, join};
use super::handed::open_named;
use super::place::{Origin, Place};
use super::problem::Problems;
use super::secret;
use super::suggest::nearest;
use super::tree::{self, Lines, Node, Table, Value};

/// The longest file that is read, and all files together.
const LONGEST_FILE: u64 = 4 << 20;
const LONGEST_SUM: u64 = 64 << 20;
/// The most files of a folder.
const MOST_FILES: usize = 4_096;
/// What variables that are settings begin with, and what stands between the parts of their names.
const PREFIX: &str = "SENSOR_";
const SEPARATOR: &str = "__";
/// Variables of the program that are no settings.
const NOT_SETTINGS: [&str; 2] = ["SENSOR_LOG", "SENSOR_CORPUS"];
/// The key of the folder.
pub(super) const INCLUDE: &str = "include";

/// Sources as they are gathered.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) table: Table,
    pub(super) problems: Problems,
    pub(super) notes: Vec<String>,
    /// Where the main file begins.
    pub(super) start: Option<Place>,
    /// The files of the folder that it includes.
    pub(super) included: Vec<PathBuf>,
    /// Where a source could not be read, and how far below that what was read cannot be judged.
    broken: Vec<Broken>,
    /// Whether something that was named could not be read, so that what is missing may be there.
    is_partial: bool,
    sources: u32,
    bytes: u64,
}

/// A line that could not be read.
struct Broken {
    place: Place,
    /// Whether the lines below it may belong elsewhere: it is a section's heading.
    is_heading: bool,
}

impl Gathered {
    /// Adds a file and the folder that it includes.
    pub(super) fn add_file(&mut self, path: &Path) {
        let place = self.source(Origin::File(path.to_owned()));
        self.start.get_or_insert_with(|| place.clone());
        match self.read(path, open_named) {
            Ok(text) => self.add_text(&text, &place, path.parent()),
            Err(fault) => self.unreadable(&place, &fault),
        }
    }

    fn unreadable(&mut self, place: &Place, fault: &io::Error) {
        self.is_partial = true;
        self.problems.at(place, "", format!("the file cannot be read: {fault}"), unreadable_advice(fault));
    }

    /// Adds the text of a file; what it includes is looked for in the folder.
    pub(super) fn add_text(&mut self, text: &str, place: &Place, folder: Option<&Path>) {
        let mut table = self.parse(text, place);
        let Some(include) = table.get(INCLUDE).cloned() else {
            self.merge(table);
            return;
        };
        let Some(folder) = folder else {
            self.problems.value(&include, INCLUDE, "only the file that is named to the program may include a folder");
            table.remove(INCLUDE);
            self.merge(table);
            return;
        };
        self.merge(table);
        // The kind of value is a matter of the section that the key is in.
        if let Some(name) = include.as_str().filter(|name| !name.is_empty()) {
            self.add_folder(&folder.join(name), &include);
        }
    }

    /// A place for a source that is about to be read.
    pub(super) fn source(&mut self, origin: Origin) -> Place {
        self.sources += 1;
        Place::whole(self.sources, origin)
    }

    fn add_folder(&mut self, folder: &Path, include: &Node) {
        let snippets = match snippets(folder) {
            Ok(snippets) if snippets.len() <= MOST_FILES => snippets,
            Ok(snippets) => {
                let found = format!("{} files in {}", snippets.len(), secret::folder(folder));
                self.problems.at(&include.place, INCLUDE, found, format!("allowed: at most {MOST_FILES}"));
                return;
            }
            Err(error) => {
                self.is_partial = true;
                let found = format!("the folder {} cannot be read: {error}", secret::folder(folder));
                let advice = "name a folder, which may be empty; it is looked for beside the file that includes it";
                self.problems.at(&include.place, INCLUDE, found, advice);
                return;
            }
        };
        for path in snippets {
            let place = self.source(Origin::File(path.clone()));
            match self.read(&path, open_regular) {
                Ok(text) => {
                    self.add_text(&text, &place, None);
                    self.included.push(path);
                }
                Err(fault) => self.unreadable(&place, &fault),
            }
        }
    }

    fn read(&mut self, path: &Path, open: fn(&Path) -> io::Result<File>) -> io::Result<String> {
        // A pipe or device could go on for ever, or never begin.
        let file = open(path)?;
        let most = LONGEST_FILE.min(LONGEST_SUM.saturating_sub(self.bytes));
        let mut bytes = Vec::new();
        file.take(most + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > most {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "it is longer than a configuration can be (4 MiB a file, 64 MiB in all)",
            ));
        }
        self.bytes += bytes.len() as u64;
        String::from_utf8(bytes).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            let line = error.as_bytes()[..valid].iter().filter(|b| **b == b'\n').count() + 1;
            io::Error::new(io::ErrorKind::InvalidData, format!("line {line} is not UTF-8"))
        })
    }

    fn parse(&mut self, text: &str, place: &Place) -> Table {
        let lines = Lines::of(text);
        let (parsed, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let at = error.span().map_or(text.len(), |span| span.start);
            let line = lines.line(at);
            let place = place.at_line(line);
            let source = text.lines().nth(line as usize - 1).unwrap_or_default();
            let (found, advice) = syntax(error.message(), source, error.span().and_then(|span| text.get(span)));
            self.problems.at(&place, "", found, advice);
            self.broken.push(Broken { place, is_heading: source.trim_start().starts_with('[') });
            if self.problems.is_full() {
                break;
            }
        }
        tree::table(parsed.into_inner(), place, &lines)
    }

    fn merge(&mut self, from: Table) {
        merge(&mut self.table, from, "", &mut self.problems);
    }

    /// Drops what was found amiss in values that only are so because a source could not be read whole.
    pub(super) fn drop_consequences(&mut self, from: usize) {
        let (broken, is_partial) = (&self.broken, self.is_partial || !self.broken.is_empty());
        self.problems.retain_from(from, |problem| {
            let is_consequence = |broken: &Broken| {
                broken.place.shares_source_with(&problem.place)
                    && if broken.is_heading {
                        problem.place.line() >= broken.place.line()
                    } else {
                        problem.place.line() == broken.place.line()
                    }
            };
            !(broken.iter().any(is_consequence) || problem.is_absence && is_partial)
        });
    }

    /// Sets what variables say.
    pub(super) fn add_environment(
        &mut self,
        outline: &Outline,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) {
        let mut settings: Vec<(String, OsString)> = variables
            .into_iter()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .filter(|(name, value)| {
                name.starts_with(PREFIX) && !NOT_SETTINGS.contains(&name.as_str()) && !value.is_empty()
            })
            .collect();
        settings.sort();
        for (name, value) in settings {
            let path: Vec<String> = name[PREFIX.len()..].split(SEPARATOR).map(str::to_ascii_lowercase).collect();
            // None of an orchestrator's has two underscores there.
            let meant = name[PREFIX.len()..].trim_start_matches('_');
            if name[PREFIX.len()..] != *meant {
                let place = self.source(Origin::Environment(name.clone()));
                let advice =
                    format!("the first part of a key stands behind one underscore: did you mean {PREFIX}{meant}?");
                self.problems.at(&place, "", "it is no setting", advice);
                continue;
            }
            if path.len() == 1 && !self.is_top_level(outline, &name, &path[0]) {
                continue;
            }
            let place = self.source(Origin::Environment(name));
            let Ok(value) = value.into_string() else {
                self.problems.at(&place, &path.join("."), "found bytes that are not UTF-8", "write it in UTF-8");
                continue;
            };
            if path[0] == INCLUDE {
                self.problems.at(
                    &place,
                    INCLUDE,
                    format!("found {}", secret::quoted(&value)),
                    "a folder is included by a file only",
                );
                continue;
            }
            self.set(&path, Node { place, value: Value::Raw(value) });
        }
    }

    /// Whether a variable with one part is a setting. Others of the kind are none of ours (an orchestrator sets such ones
    /// for its services), but a near miss is worth a word.
    fn is_top_level(&mut self, outline: &Outline, variable: &str, name: &str) -> bool {
        let values =
            outline.items.iter().filter(|item| matches!(item.content, Content::Value(_))).map(|item| item.name);
        if values.clone().any(|value| value == name) {
            return true;
        }
        let joined = outline.joined_by_underscores(name).map(|path| path.replace('.', SEPARATOR));
        if let Some(meant) = joined.as_deref().or_else(|| nearest(name, values)) {
            let meant = meant.to_ascii_uppercase();
            self.notes.push(format!(
                "environment variable {variable} is no setting and was ignored; did you mean {PREFIX}{meant}?"
            ));
        }
        false
    }

    fn set(&mut self, path: &[String], node: Node) {
        let mut table = &mut self.table;
        let (last, sections) = path.split_last().expect("a split gives one part at least");
        for section in sections {
            let entry = table
                .entry(section.clone())
                .or_insert_with(|| Node { place: node.place.clone(), value: Value::Table(Table::new()) });
            if entry.is_list_of_tables() {
                let advice = "lists of sections are set in files only";
                self.problems.at(&node.place, &path.join("."), format!("`{section}` is a list of sections"), advice);
                return;
            }
            if entry.as_table().is_none() {
                // What is wrong with that is said by whoever reads the value.
                *entry = Node { place: node.place.clone(), value: Value::Table(Table::new()) };
            }
            let Value::Table(inner) = &mut entry.value else { return };
            table = inner;
        }
        table.insert(last.clone(), node);
    }
}

/// Adds a file's values to those of others.
fn merge(into: &mut Table, from: Table, path: &str, problems: &mut Problems) {
    for (key, node) in from {
        let path = join(path, &key);
        match into.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(node);
            }
            Entry::Occupied(mut entry) => {
                let both_lists = entry.get().is_list_of_tables() && node.is_list_of_tables();
                match (&mut entry.get_mut().value, node.value) {
                    (Value::Table(into), Value::Table(from)) => merge(into, from, &path, problems),
                    (Value::List(into), Value::List(from)) if both_lists => into.extend(from),
                    _ => {
                        let found = format!("it is set in {}, too", entry.get().place);
                        problems.at(&node.place, &path, found, "set it in one place only");
                    }
                }
            }
        }
    }
}

/// The settings' files of a folder, in the order of their names. Hidden ones are those of editors and of mounts.
fn snippets(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut snippets = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if !is_hidden && path.extension().is_some_and(|extension| extension == "toml") {
            snippets.push(path);
        }
        if snippets.len() > MOST_FILES {
            break;
        }
    }
    snippets.sort();
    Ok(snippets)
}

fn unreadable_advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "name a file that exists; `sensor config --example` prints one to start from",
        io::ErrorKind::PermissionDenied => "let the user that the sensor runs as read it",
        io::ErrorKind::InvalidData => "save it as UTF-8",
        _ => "name a file of TOML",
    }
}

/// What the parser says, and what to do about it. Never what stands in the line: it may be a secret without its quotes.
fn syntax(message: &str, line: &str, at: Option<&str>) -> (String, String) {
    if message.contains("duplicate key") {
        let name = at
            .filter(|name| name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b)));
        let name = name.map_or_else(String::new, |name| format!(" `{name}`"));
        return (format!("the key{name} is set twice"), "keep one of the two".to_owned());
    }
    let advice = if line.trim_end().ends_with('=') {
        "write a value behind the =, or take the key out"
    } else if message.contains("string values must be quoted") {
        "write texts in quotes, as in key = \"text\""
    } else if line.trim_start().starts_with('[') {
        "write a section's name as [section], or [[section]] for one of a list"
    } else {
        "write key = value, texts in quotes, and comments behind #"
    };
    (format!("this is not TOML: {message}"), advice.to_owned())
}
