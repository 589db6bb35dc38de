//! A document as it was written, each value with its place: what every source becomes before anything is checked.
//!
//! Nothing in here knows a key. Values of the environment are kept as their text ([`Value::Raw`]), since only the setting
//! that reads one knows what it should be.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::place::Place;
use super::secret;

/// Keys and what stands there.
pub(super) type Table = BTreeMap<String, Node>;

/// What stands at a path such as `capture[0].filter`, and the place of that or of what is nearest above it.
pub(super) fn find<'a>(table: &'a Table, path: &str) -> (Option<&'a Node>, Option<&'a Place>) {
    let (mut at, mut place): (Option<&Node>, Option<&Place>) = (None, None);
    for (depth, part) in path.split('.').enumerate() {
        let (name, index) = match part.strip_suffix(']').and_then(|part| part.split_once('[')) {
            Some((name, index)) => (name, index.parse::<usize>().ok()),
            None => (part, None),
        };
        let within = if depth == 0 { Some(table) } else { at.and_then(Node::as_table) };
        at = within.and_then(|table| table.get(name));
        if let (Some(index), Some(Node { value: Value::List(nodes), .. })) = (index, at) {
            at = nodes.get(index);
        }
        match at {
            Some(node) => place = Some(&node.place),
            None => break,
        }
    }
    (at, place)
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// What can stand in a document.
#[derive(Clone, Debug)]
pub(super) enum Value {
    String(String),
    /// A variable's text, whatever it is meant to be.
    Raw(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    /// A date or time, or a number that no setting can hold: only ever shown.
    Odd(String),
    List(Vec<Node>),
    Table(Table),
}

impl Node {
    pub(super) fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) | Value::Raw(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn as_integer(&self) -> Option<i64> {
        match &self.value {
            Value::Integer(number) => Some(*number),
            Value::Raw(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// A number with or without a fraction.
    pub(super) fn as_number(&self) -> Option<f64> {
        match &self.value {
            Value::Float(number) => Some(*number),
            #[allow(clippy::cast_precision_loss, reason = "settings with a fraction are small")]
            Value::Integer(number) => Some(*number as f64),
            Value::Raw(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    pub(super) fn as_bool(&self) -> Option<bool> {
        match &self.value {
            Value::Boolean(flag) => Some(*flag),
            Value::Raw(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    pub(super) fn as_table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    /// Whether it is a list of tables, as `[[section]]` makes one.
    pub(super) fn is_list_of_tables(&self) -> bool {
        matches!(&self.value, Value::List(list) if !list.is_empty() && list.iter().all(|node| node.as_table().is_some()))
    }

    /// The value in a message: short, on one line, and nothing that may be a secret.
    pub(super) fn shown(&self) -> String {
        match &self.value {
            Value::String(text) | Value::Raw(text) => secret::quoted(text),
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Boolean(flag) => flag.to_string(),
            Value::Odd(text) => secret::word(text),
            Value::List(list) if list.is_empty() => "an empty list".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Table(_) => "a table".to_owned(),
        }
    }

    /// The same of what stands where secrets are looked for: only what sort of value it is.
    pub(super) fn hidden(&self) -> String {
        match &self.value {
            Value::String(text) | Value::Raw(text) | Value::Odd(text) => format!("a text {}", secret::hidden(text)),
            Value::Integer(_) | Value::Float(_) => format!("a number {}", secret::hidden(&self.shown())),
            Value::Boolean(_) => "a value that is not shown".to_owned(),
            Value::List(_) | Value::Table(_) => self.shown(),
        }
    }
}

/// Where the lines of a text begin.
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub(super) fn of(text: &str) -> Self {
        Self(
            std::iter::once(0)
                .chain(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1))
                .collect(),
        )
    }

    /// The line, from 1, that the byte stands in.
    pub(super) fn line(&self, at: usize) -> u32 {
        u32::try_from(self.0.partition_point(|start| *start <= at)).unwrap_or(u32::MAX)
    }
}

/// The tree of a parsed document.
pub(super) fn table(parsed: DeTable<'_>, source: &Place, lines: &Lines) -> Table {
    parsed
        .into_iter()
        .map(|(key, value)| {
            let line = lines.line(key.span().start);
            (key.into_inner().into_owned(), node(value, source, lines, Some(line)))
        })
        .collect()
}

/// A value; what has a key stands on the key's line, whatever it goes on over.
fn node(parsed: Spanned<DeValue<'_>>, source: &Place, lines: &Lines, key_line: Option<u32>) -> Node {
    let line = key_line.unwrap_or_else(|| lines.line(parsed.span().start));
    let value = match parsed.into_inner() {
        DeValue::String(text) => Value::String(text.into_owned()),
        DeValue::Integer(number) => {
            let digits = number.to_string();
            i64::from_str_radix(number.as_str(), number.radix()).map_or(Value::Odd(digits), Value::Integer)
        }
        DeValue::Float(number) => {
            let digits = number.to_string();
            number.as_str().parse().map_or(Value::Odd(digits), Value::Float)
        }
        DeValue::Boolean(flag) => Value::Boolean(flag),
        DeValue::Datetime(time) => Value::Odd(time.to_string()),
        DeValue::Array(list) => Value::List(list.into_iter().map(|item| node(item, source, lines, None)).collect()),
        DeValue::Table(inner) => Value::Table(table(inner, source, lines)),
    };
    Node { place: source.at_line(line), value }
}
