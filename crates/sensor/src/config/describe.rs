//! What can be configured, as data: the one source of the checks' advice, the example, the page and the schema.

use std::time::Duration;

use crate::units::{ByteSize, TimeSpan};

/// A section's keys, in the order in which they are shown.
#[derive(Clone, Debug)]
pub(super) struct Outline {
    pub(super) doc: String,
    pub(super) items: Vec<Item>,
}

/// One key of a section.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) name: &'static str,
    pub(super) doc: String,
    pub(super) content: Content,
}

/// What a key stands for.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// A value.
    Value(Leaf),
    /// `[section]`; one that is optional means something else when it is left out than when it is empty.
    Table { outline: Outline, is_optional: bool },
    /// `[[section]]`, any number of them.
    Tables { outline: Outline },
}

/// A value that can be set.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    pub(super) shape: Shape,
    /// The default, as TOML; none where leaving it out has a meaning of its own.
    pub(super) default: Option<String>,
    /// A value that may stand there, as TOML: the default where there is one.
    pub(super) example: String,
    pub(super) is_required: bool,
    /// Whether it excludes another key that the example shows.
    pub(super) is_alternative: bool,
    /// Whether a running sensor takes a new value without a restart.
    pub(super) is_live: bool,
}

/// What a value may be.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    Flag,
    Whole {
        least: i64,
        most: i64,
    },
    Ratio,
    Size {
        least: ByteSize,
        most: ByteSize,
    },
    Time {
        least: Duration,
        most: Duration,
    },
    /// A text of some form, in words.
    Text(&'static str),
    Choice(&'static [&'static str]),
    List {
        of: Box<Shape>,
    },
    Map {
        keys: &'static str,
        of: Box<Shape>,
    },
    Either(Vec<Shape>),
}

impl Shape {
    /// In a few words, for a table.
    pub(super) fn brief(&self) -> String {
        match self {
            Self::Whole { .. } => self.words().replacen("a whole number", "number", 1),
            Self::Ratio => "share, above 0, up to 1".to_owned(),
            Self::Size { .. } | Self::Time { .. } => {
                let words = self.words();
                let end = words.find(':').unwrap_or(words.len());
                words[2..end].to_owned()
            }
            Self::List { of } => format!("list: {}", of.brief()),
            Self::Map { keys, of } => format!("table: {keys} = {}", of.brief()),
            Self::Flag | Self::Text(_) | Self::Choice(_) => self.words(),
            Self::Either(shapes) => match shapes.last() {
                // The last one says all of it, the ones before are other ways to write the same.
                Some(Self::Text(form)) if !matches!(shapes[0], Self::Flag) => (*form).to_owned(),
                _ => shapes.iter().map(Self::brief).collect::<Vec<_>>().join(", or "),
            },
        }
    }

    /// In words, as in "allowed: …".
    pub(super) fn words(&self) -> String {
        match self {
            Self::Flag => "true or false".to_owned(),
            Self::Whole { least, most: i64::MAX } => format!("a whole number from {least}"),
            Self::Whole { least, most } => format!("a whole number, {least} to {most}"),
            Self::Ratio => "a number above 0, up to 1".to_owned(),
            Self::Size { least: ByteSize(0), most: ByteSize(u64::MAX) } => {
                "a size: a whole number and a unit, as in \"32KiB\"".to_owned()
            }
            Self::Time { least: Duration::ZERO, most } if *most >= Duration::from_secs(366 * 24 * 3_600) => {
                "a time: a whole number and ms, s, min or h, as in \"5s\"".to_owned()
            }
            Self::Size { least, most } => {
                format!("a size, {} to {}: a whole number and a unit, as in \"32KiB\"", size(*least), size(*most))
            }
            Self::Time { least, most } => format!(
                "a time, {} to {}: a whole number and ms, s, min or h, as in \"5s\"",
                TimeSpan(*least),
                TimeSpan(*most)
            ),
            Self::Text(form) => (*form).to_owned(),
            Self::Choice(names) => {
                let names: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
                match names.split_last() {
                    Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
                    _ => names.concat(),
                }
            }
            Self::List { of } => format!("a list, each item {}", of.words()),
            Self::Map { keys, of } => format!("a table, each key {keys}, each value {}", of.words()),
            Self::Either(shapes) => shapes.iter().map(Self::words).collect::<Vec<_>>().join(", or "),
        }
    }
}

/// With a unit always, as it is then plain what the number counts.
fn size(size: ByteSize) -> String {
    let text = size.to_string();
    if text.ends_with(|last: char| last.is_ascii_digit()) { format!("{text}B") } else { text }
}

/// The lines of a documentation comment, as one text.
pub(super) fn text(lines: &[&str]) -> String {
    let lines: Vec<_> = lines.iter().map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
    lines.join("\n")
}

impl Outline {
    /// The setting whose path is this, but for a `_` where its parts are joined.
    pub(super) fn joined_by_underscores(&self, name: &str) -> Option<String> {
        self.items.iter().find_map(|item| match &item.content {
            Content::Value(_) => (item.name == name).then(|| item.name.to_owned()),
            Content::Table { outline, .. } => {
                let within = name.strip_prefix(item.name)?.strip_prefix('_')?;
                outline.joined_by_underscores(within).map(|path| join(item.name, &path))
            }
            Content::Tables { .. } => None,
        })
    }

    /// The sections that have a key of this name.
    pub(super) fn sections_with(&self, name: &str) -> Vec<String> {
        let mut sections = Vec::new();
        self.collect(name, "", &mut sections);
        sections
    }

    fn collect(&self, name: &str, path: &str, sections: &mut Vec<String>) {
        for item in &self.items {
            match &item.content {
                Content::Value(_) if item.name == name && path.is_empty() => {
                    sections.push("above all sections".to_owned())
                }
                Content::Value(_) if item.name == name => sections.push(format!("[{path}]")),
                Content::Value(_) => {}
                Content::Table { outline, .. } | Content::Tables { outline } => {
                    outline.collect(name, &join(path, item.name), sections);
                }
            }
        }
    }
}

/// What a section is, in the words of the key that it is at and in its own, once.
pub(super) fn section_text(at: &str, own: &str) -> String {
    let begins_with = |text: &str, other: &str| text.starts_with(other.strip_suffix('.').unwrap_or(other));
    if begins_with(own, at) {
        own.to_owned()
    } else if begins_with(at, own) {
        at.to_owned()
    } else {
        format!("{at}\n{own}")
    }
}

/// The path of a key in a section.
pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
