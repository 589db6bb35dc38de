//! Kinds of values: how each is read, what it may be, and how it is written.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::describe::{Shape, join};
use super::problem::Problems;
use super::secret;
use super::section::{Defaulted, Optional, Required};
use super::suggest::nearest;
use super::tree::{Lines, Node, Value};
use crate::units::{ByteSize, TimeSpan};

/// A kind of value.
pub(super) trait Kind: Sized {
    type Value: Clone;

    fn shape(&self) -> Shape;
    /// The value, or nothing and at least one problem.
    fn read(&self, node: &Node, key: &str, problems: &mut Problems) -> Option<Self::Value>;
    /// As TOML that is read back as the same.
    fn show(&self, value: &Self::Value) -> String;

    /// The same for who may not see secrets. `name` is the key that it stands at.
    fn show_openly(&self, _name: &str, value: &Self::Value) -> String {
        self.show(value)
    }

    /// With a default.
    fn or(self, default: impl Into<Self::Value>) -> Defaulted<Self> {
        Defaulted(self, default.into())
    }

    /// May be left out; the example is shown where the user looks.
    fn optional(self, example: impl Into<Self::Value>) -> Optional<Self> {
        Optional(self, example.into())
    }

    /// Has to be there where its section is.
    fn required(self, example: impl Into<Self::Value>) -> Required<Self> {
        Required(self, example.into())
    }
}

fn refuse(kind: &impl Kind, node: &Node, key: &str, problems: &mut Problems) {
    problems.value(node, key, format!("allowed: {}", kind.shape().words()));
}

/// A text as TOML, on one line.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Yes or no.
pub(super) struct Flag;

pub(super) fn flag() -> Flag {
    Flag
}

impl Kind for Flag {
    type Value = bool;

    fn shape(&self) -> Shape {
        Shape::Flag
    }

    fn read(&self, node: &Node, key: &str, problems: &mut Problems) -> Option<bool> {
        let value = node.as_bool();
        if value.is_none() {
            refuse(self, node, key, problems);
        }
        value
    }

    fn show(&self, value: &bool) -> String {
        value.to_string()
    }
}

/// A whole number.
pub(super) struct Whole<T> {
    least: i64,
    most: i64,
    convert: fn(i64) -> Option<T>,
}

/// A whole number in a range, which must lie within the type's.
pub(super) fn whole<T: TryFrom<i64>>(range: RangeInclusive<i64>) -> Whole<T> {
    Whole { least: *range.start(), most: *range.end(), convert: |number| T::try_from(number).ok() }
}

impl<T: Copy + Display> Kind for Whole<T> {
    type Value = T;

    fn shape(&self) -> Shape {
        Shape::Whole { least: self.least, most: self.most }
    }

    fn read(&self, node: &Node, key: &str, problems: &mut Problems) -> Option<T> {
        let number = node.as_integer().filter(|number| (self.least..=self.most).contains(number));
        let value = number.and_then(self.convert);
        if value.is_none() {
            refuse(self, node, key, problems);
        }
        value
    }

    fn show(&self, value: &T) -> String {
        value.to_string()
    }
}

/// A share: above 0, up to 1.
pub(super) struct Ratio;

pub(super) fn ratio() -> Ratio {
    Ratio
}

impl Kind for Ratio {
    type Value = f64;

    fn shape(&self) -> Shape {
        Shape::Ratio
    }

    fn read(&self, node: &Node, key: &str, problems: &mut Problems) -> Option<f64> {
        let value = node.as_number().filter(|number| *number > 0.0 && *number <= 1.0);
        if value.is_none() {
            refuse(self, node, key, problems);
        }
        value
    }

    fn show(&self, value: &f64) -> String {
        toml::Value::Float(*value).to_string()
    }
}

/// A number of bytes.
pub(super) struct Size {
    least: ByteSize,
    most: ByteSize,
}

pub(super) fn size(range: RangeInclusive<ByteSize>) -> Size {
    Size { least: *range.start(), most: *range.end() }
}

impl Kind for Size {
    type Value = ByteSize;

    fn shape(&self) -> Shape {
        Shape::Size { least: self.least, most: self.most }
    }

    fn read(&self, node: &Node, key: &str, problems: &mut Problems) -> Option<ByteSize> {
        let size = match &node.value {
            Value::Integer(bytes) => u64::try_from(*bytes).ok().map(ByteSize),
            Value::String(text) | Value::Raw(text) => text.parse().ok(),
            _ => None,
        };
        let size = size.filter(|size| (self.least..=self.most).contains(size));
        if size.is_none() {
            refuse(self, node, key, problems);
        }
        size
    }

    fn show(&self, value: &ByteSize) -> String {
        if value.0 < 1_024 && value.0 > 0 { value.to_string() } else { quoted(&value.to_string()) }
    }
}

/// A stretch of time.
pub(super) struct Time {
    least: Duration,
    most: Duration,
}

pub(super) fn time(range: RangeInclusive<Duration>) -> Time {
    Time { least: *range.start(), most: *range.end() }
}

impl Kind for Time {
    type Value = Duration;

    fn shape(&self) -> Shape {
        Shape::Time { least: self.least, most: self.most }
    }

    fn read(&self, node: &Node, key: &str, problems: &mut Problems) -> Option<Duration> {
        let span = node.as_str().and_then(|text| text.parse().ok()).map(|TimeSpan(span)| span);
        let span = span.filter(|span| (self.least..=self.most).contains(span));
        if span.is_none() {
            refuse(self, node, key, problems);
        }
        span
    }

    fn show(&self, value: &Duration) -> String {
        quoted(&TimeSpan(*value).to_string())
    }
}

/// What becomes of a text in which secrets may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Secrets {
    /// It is refused where it holds credentials: it would go on into records, logs or names of files.
    Refused,
    /// The same, and wherever it may be a secret itself, in whose place it should name one.
    Named,
    /// It may stand here, since it is only compared with, or for another to judge. It is not shown.
    Hidden,
}

/// A text that stands for something.
pub(super) struct Parsed<T> {
    form: &'static str,
    pub(super) parse: fn(&str) -> Result<T, String>,
    show: fn(&T) -> String,
    /// Whether a text that is refused may be a secret, beside what always may.
    is_private: fn(&str) -> bool,
    secrets: Secrets,
    /// Whether a text is no secret, whatever it looks like.
    is_harmless: fn(&str) -> bool,
    /// The advice where there is no text at all.
    otherwise: Option<&'static str>,
}

impl<T> Parsed<T> {
    /// With advice of its own for what is no text.
    pub(super) fn otherwise(mut self, advice: &'static str) -> Self {
        self.otherwise = Some(advice);
        self
    }

    /// It may hold credentials, and is not shown where it does.
    pub(super) fn hidden(mut self) -> Self {
        self.secrets = Secrets::Hidden;
        self
    }

    /// It names a secret, and is none. The secret in place of its name is the commonest mistake there is, so what is refused is
    /// never shown.
    pub(super) fn names_secret(mut self) -> Self {
        self.secrets = Secrets::Named;
        self
    }

    /// Of which this is true is no secret, whatever it looks like: the name of what is there, or a description of many texts.
    pub(super) fn unless(mut self, is_harmless: fn(&str) -> bool) -> Self {
        self.is_harmless = is_harmless;
        self
    }

    /// Whether a text may be a secret, or hold one.
    fn may_hold_one(&self, text: &str) -> bool {
        match self.secrets {
            Secrets::Refused | Secrets::Hidden => secret::may_be_in(text) && !(self.is_harmless)(text),
            Secrets::Named => secret::may_be_instead(text) && !(self.is_harmless)(text),
        }
    }

    /// What speaks against a text that may be a secret.
    fn refusal(&self, text: &str) -> Option<&'static str> {
        match self.secrets {
            Secrets::Refused if secret::is_in_text(text) => Some(secret::ADVICE),
            Secrets::Named => Some(secret::ADVICE_ON_NAMES),
            _ => None,
        }
    }

    /// What is refused is not shown where this says so, too: it may be the secret itself.
    pub(super) fn private(mut self, is_private: fn(&str) -> bool) -> Self {
        self.is_private = is_private;
        self
    }
}

/// A text of a form, in words; what `parse` refuses comes with its advice.
pub(super) fn parsed<T: Display>(form: &'static str, parse: fn(&str) -> Result<T, String>) -> Parsed<T> {
    Parsed {
        form,
        parse,
        show: |value| quoted(&value.to_string()),
        is_private: |_| false,
        secrets: Secrets::Refused,
        is_harmless: |_| false,
        otherwise: None,
    }
}

impl<T: Clone> Kind for Parsed<T> {
    type Value = T;

    fn shape(&self) -> Shape {
        Shape::Text(self.form)
    }

    fn read(&self, node: &Node, key: &str, problems: &mut Problems) -> Option<T> {
        let Some(text) = node.as_str() else {
            match self.otherwise {
                Some(advice) => problems.value(node, key, advice),
                None if self.secrets == Secrets::Named => {
                    problems.unshown(node, key, format!("allowed: {}", self.shape().words()));
                }
                None => refuse(self, node, key, problems),
            }
            return None;
        };
        let may_hold_one = self.may_hold_one(text);
        if may_hold_one {
            problems.keep_unsaid(text);
        }
        let read = (self.parse)(text);
        // What is wrong with it in itself comes first, unless it is like a key: then that is what is wrong.
        if let Some(advice) =
            self.refusal(text).filter(|_| may_hold_one && (read.is_ok() || secret::is_like_a_key(text)))
        {
            problems.unshown(node, key, advice);
            return None;
        }
        match read {
            Ok(value) => return Some(value),
            Err(advice) if (self.is_private)(text) || may_hold_one || self.secrets == Secrets::Named => {
                let advice = secret::advice(text, &advice, || format!("allowed: {}", self.shape().words()));
                problems.unshown(node, key, advice);
            }
            Err(advice) => problems.at(&node.place, key, format!("found \"{}\"", secret::escaped(text)), advice),
        }
        None
    }

    fn show(&self, value: &T) -> String {
        (self.show)(value)
    }

    fn show_openly(&self, _name: &str, value: &T) -> String {
        let shown = self.show(value);
        let text = shown.trim_matches('"');
        let is_hidden = self.may_hold_one(text) || self.secrets == Secrets::Hidden && (self.is_private)(text);
        if is_hidden { quoted(&secret::hidden(text)) } else { shown }
    }
}

/// Any text that says something.
pub(super) fn text() -> Parsed<String> {
    parsed("a text that is not empty", |text| match text.trim() {
        "" => Err("it is empty: say something, or leave the key out".to_owned()),
        _ if text.contains(char::is_control) => {
            Err("control characters are not allowed: write it on one line".to_owned())
        }
        _ => Ok(text.to_owned()),
    })
}

/// A name in ledgers and metrics.
pub(super) fn label() -> Parsed<String> {
    parsed("a name of letters, digits, _, - and .", |text| {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
        if text.is_empty() || text.len() > 64 || !text.bytes().all(is_plain) {
            return Err("allowed: 1 to 64 letters, digits, _, - and .".to_owned());
        }
        Ok(text.to_owned())
    })
}

/// Any text at all.
pub(super) fn free_text() -> Parsed<String> {
    parsed("a text", |text| Ok(text.to_owned()))
}

/// The name of a file or folder. One that is there is its name, whatever it looks like.
pub(super) fn path() -> Parsed<PathBuf> {
    Parsed {
        form: "the path of a file or folder",
        parse: |text| match text {
            "" => Err("it is empty: write a path, or leave the key out".to_owned()),
            _ if text.contains("-----BEGIN") || text.contains(['\n', '\0']) => {
                Err("allowed: the path of a file, not what is in it".to_owned())
            }
            _ => Ok(PathBuf::from(text)),
        },
        // A path from a document is UTF-8, as the document is.
        show: |path| quoted(&path.to_string_lossy()),
        is_private: |_| false,
        secrets: Secrets::Refused,
        is_harmless: |text| Path::new(text).exists(),
        otherwise: None,
    }
}

/// The name of a file that holds a secret, which is not the secret itself.
pub(super) fn secret_path() -> Parsed<PathBuf> {
    let mut path = path();
    path.form = "the path of a file, with its folder";
    path.parse = |text| {
        let file = (self::path().parse)(text)?;
        // A word alone could be the secret as well as the name of its file, and nobody could tell.
        if !text.contains('/') {
            return Err("name the file with its folder, as in \"/etc/sensor/key\", or \"./key\" for one of this folder, so that no secret is taken for a name".to_owned());
        }
        Ok(file)
    };
    path.names_secret()
}

/// An address to listen on.
pub(super) fn socket_address() -> Parsed<SocketAddr> {
    parsed("an IP address and a port, as in \"127.0.0.1:9600\" or \"[::1]:9600\"", |text| {
        text.parse().map_err(|_| {
            "allowed: an IP address and a port, as in \"127.0.0.1:9600\", \"0.0.0.0:4789\" or \"[::1]:9600\"".to_owned()
        })
    })
}

/// Something that is one of a few names.
pub(super) trait Choices: Copy + PartialEq + 'static {
    /// Each with its name.
    const ALL: &'static [Self];
    const NAMES: &'static [&'static str];

    fn name(self) -> &'static str;
}

/// One of a few names.
pub(super) struct Choice<T>(std::marker::PhantomData<T>);

pub(super) fn choice<T: Choices>() -> Choice<T> {
    Choice(std::marker::PhantomData)
}

impl<T: Choices> Kind for Choice<T> {
    type Value = T;

    fn shape(&self) -> Shape {
        Shape::Choice(T::NAMES)
    }

    fn read(&self, node: &Node, key: &str, problems: &mut Problems) -> Option<T> {
        let found = node.as_str().and_then(|text| T::ALL.iter().copied().find(|choice| choice.name() == text));
        if found.is_none() {
            let meant = node.as_str().and_then(|text| nearest(text, T::NAMES.iter().copied()));
            let meant = meant.map_or_else(String::new, |meant| format!("; did you mean \"{meant}\"?"));
            problems.value(node, key, format!("allowed: {}{meant}", self.shape().words()));
        }
        found
    }

    fn show(&self, value: &T) -> String {
        quoted(value.name())
    }
}

/// Declares an enum whose variants are chosen by name.
macro_rules! choices {
    (
        $(#[$meta:meta])*
        pub enum $name:ident { $( $(#[$variant_meta:meta])* $variant:ident = $text:literal, )* }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $( $(#[$variant_meta])* $variant, )* }

        impl $name {
            /// All there are.
            pub const ALL: &'static [Self] = &[$( Self::$variant, )*];

            /// The name, as it is written.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $text, )* }
            }
        }

        impl $crate::config::kind::Choices for $name {
            const ALL: &'static [Self] = $name::ALL;
            const NAMES: &'static [&'static str] = &[$( $text, )*];

            fn name(self) -> &'static str {
                self.as_str()
            }
        }
    };
}
pub(super) use choices;

/// Any number of one kind.
pub(super) struct List<K> {
    of: K,
}

pub(super) fn list<K: Kind>(of: K) -> List<K> {
    List { of }
}

impl<K: Kind> Kind for List<K> {
    type Value = Vec<K::Value>;

    fn shape(&self) -> Shape {
        Shape::List { of: Box::new(self.of.shape()) }
    }

    fn read(&self, node: &Node, key: &str, problems: &mut Problems) -> Option<Self::Value> {
        let parsed;
        let items = match &node.value {
            Value::List(items) => items,
            Value::Raw(text) => {
                parsed = listed(text, node);
                &parsed
            }
            _ => {
                refuse(self, node, key, problems);
                return None;
            }
        };
        // Every item is looked at, whatever is wrong with those before it.
        let values: Vec<_> = items.iter().map(|item| self.of.read(item, key, problems)).collect();
        values.into_iter().collect()
    }

    fn show(&self, value: &Self::Value) -> String {
        listed_as(value.iter().map(|item| self.of.show(item)))
    }

    fn show_openly(&self, name: &str, value: &Self::Value) -> String {
        listed_as(value.iter().map(|item| self.of.show_openly(name, item)))
    }
}

fn listed_as(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

/// The items of a variable's text: a TOML list, or texts with commas between them.
fn listed(text: &str, node: &Node) -> Vec<Node> {
    if text.trim_start().starts_with('[') {
        let document = format!("list = {text}");
        if let Ok(table) = toml::de::DeTable::parse(&document) {
            let lines = Lines::of(&document);
            let mut table = super::tree::table(table.into_inner(), &node.place, &lines);
            if let Some(Node { value: Value::List(mut items), .. }) = table.remove("list") {
                items.iter_mut().for_each(|item| item.place = node.place.clone());
                return items;
            }
        }
    }
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    items.map(|item| Node { place: node.place.clone(), value: Value::Raw(item.to_owned()) }).collect()
}

/// Names of the writer's own, each with a value.
pub(super) struct Map<K, V> {
    keys: &'static str,
    parse_key: fn(&str) -> Result<K, String>,
    show_key: fn(&K) -> String,
    /// Whether a key that is refused may hold a secret, beside what always may.
    is_private: fn(&str) -> bool,
    of: V,
}

impl<K, V> Map<K, V> {
    /// A key that is refused is not shown where this says so, too.
    pub(super) fn private(mut self, is_private: fn(&str) -> bool) -> Self {
        self.is_private = is_private;
        self
    }
}

pub(super) fn map<K: Ord + Display, V: Kind>(
    keys: &'static str,
    parse_key: fn(&str) -> Result<K, String>,
    of: V,
) -> Map<K, V> {
    Map { keys, parse_key, show_key: |key| quoted_key(&key.to_string()), is_private: |_| false, of }
}

/// A key as TOML.
fn quoted_key(key: &str) -> String {
    let is_bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    if is_bare { key.to_owned() } else { quoted(key) }
}

impl<K: Ord + Clone, V: Kind> Kind for Map<K, V> {
    type Value = BTreeMap<K, V::Value>;

    fn shape(&self) -> Shape {
        Shape::Map { keys: self.keys, of: Box::new(self.of.shape()) }
    }

    fn read(&self, node: &Node, key: &str, problems: &mut Problems) -> Option<Self::Value> {
        let Some(table) = node.as_table() else {
            problems.no_table(node, key, format!("allowed: {}", self.shape().words()));
            return None;
        };
        let before = problems.count();
        let (mut values, mut places) = (BTreeMap::new(), BTreeMap::new());
        for (written, node) in table {
            let read = (self.parse_key)(written);
            let may_hold_one = secret::may_be_in(written);
            let word = match may_hold_one || read.is_err() && (self.is_private)(written) {
                true => secret::hidden(written),
                false => secret::escaped(written),
            };
            let path = join(key, &word);
            let value = self.of.read(node, &path, problems);
            match read {
                Ok(_) if may_hold_one => {
                    problems.keep_unsaid(written);
                    problems.at(&node.place, &path, format!("found the key `{word}`"), secret::ADVICE);
                }
                Ok(name) if places.contains_key(&name) => {
                    let found = format!("the key `{word}` means another one, which is set in {}", places[&name]);
                    problems.at(&node.place, &path, found, "keep one of the two");
                }
                Ok(name) => {
                    places.insert(name.clone(), &node.place);
                    values.extend(value.map(|value| (name, value)));
                }
                Err(advice) => problems.at(&node.place, &path, format!("found the key `{word}`"), advice),
            }
        }
        (problems.count() == before).then_some(values)
    }

    fn show(&self, value: &Self::Value) -> String {
        self.entries(value, |_, value| self.of.show(value))
    }

    fn show_openly(&self, _name: &str, value: &Self::Value) -> String {
        self.entries(value, |key, value| self.of.show_openly(&(self.show_key)(key), value))
    }
}

impl<K: Ord + Clone, V: Kind> Map<K, V> {
    fn entries(&self, values: &BTreeMap<K, V::Value>, show: impl Fn(&K, &V::Value) -> String) -> String {
        if values.is_empty() {
            return "{}".to_owned();
        }
        let entries = values.iter().map(|(key, value)| format!("{} = {}", (self.show_key)(key), show(key, value)));
        format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
    }
}

/// Sizes and times for the declarations of sections.
pub(super) const fn bytes(count: u64) -> ByteSize {
    ByteSize(count)
}

pub(super) const fn kib(count: u64) -> ByteSize {
    ByteSize(count << 10)
}

pub(super) const fn mib(count: u64) -> ByteSize {
    ByteSize(count << 20)
}

pub(super) const fn gib(count: u64) -> ByteSize {
    ByteSize(count << 30)
}

pub(super) const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

pub(super) const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

pub(super) const fn hours(count: u64) -> Duration {
    Duration::from_secs(count * 3_600)
}

/// Any size, and any time that can be written.
pub(super) fn any_size() -> Size {
    size(bytes(0)..=bytes(u64::MAX))
}

pub(super) fn any_time() -> Time {
    time(Duration::ZERO..=hours(366 * 24))
}
