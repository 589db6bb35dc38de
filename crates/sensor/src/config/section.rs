//! How a section is declared: one `section!` gives its checked struct, its description and its reading.
//!
//! A declaration is a struct whose fields say, behind `=`, how they are read: a kind of value ([`super::kind`]) with its
//! default, `table()` for a section within, `tables()` for a list of sections. Their documentation is the user's, too.

use std::marker::PhantomData;

use super::describe::{Content, Item, Leaf, Outline, join};
use super::effective::{Effective, EffectiveValue};
use super::kind::Kind;
use super::place::Place;
use super::problem::Problems;
use super::secret;
use super::suggest::nearest;
use super::tree::{Node, Table, Value};

/// The most sections of one kind that a list may hold.
const MOST_TABLES: usize = 10_000;

/// When a changed value counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reload {
    /// At a reload.
    Live,
    /// At the next start.
    Restart,
}

/// A section that can be described and read. Made by [`section!`].
pub(super) trait Section: Sized {
    /// Whether a running sensor takes changes of it.
    const RELOAD: Reload;
    /// Keys that are refused with advice of their own, and whose value is never shown.
    const REFUSED: &'static [(&'static str, &'static str)];

    fn outline() -> Outline;
    fn read(reader: &mut Reader<'_>) -> Self;
    /// What holds between the section's values.
    fn check(&self, reader: &mut Reader<'_>);

    /// As with nothing written.
    fn defaults() -> Self {
        let (mut problems, mut notes) = (Problems::default(), Vec::new());
        let mut reader = Reader {
            table: &Table::new(),
            place: Place::nowhere(),
            path: String::new(),
            problems: &mut problems,
            notes: &mut notes,
            known: Vec::new(),
            is_live: false,
            effective: Effective::default(),
        };
        Self::read(&mut reader)
    }
}

/// How one key of a section is described and read.
pub(super) trait Field: Sized {
    type Value;

    fn describe(&self, is_live: bool) -> Content;
    fn read(&self, reader: &mut Reader<'_>, name: &'static str) -> Self::Value;

    /// The key excludes another one that the example shows.
    fn alternative(self) -> Alternative<Self> {
        Alternative(self)
    }

    /// A change counts at the next start only, unlike those of the section's other keys.
    fn at_restart(self) -> AtRestart<Self> {
        AtRestart(self)
    }
}

/// A section while it is read.
pub(super) struct Reader<'a> {
    table: &'a Table,
    place: Place,
    path: String,
    problems: &'a mut Problems,
    notes: &'a mut Vec<String>,
    known: Vec<&'static str>,
    is_live: bool,
    effective: Effective,
}

impl Reader<'_> {
    /// Whether something stands at a key.
    pub(super) fn has(&self, name: &str) -> bool {
        self.table.contains_key(name)
    }

    /// Whether anything is said at a key: what is empty says nothing.
    pub(super) fn says(&self, name: &str) -> bool {
        self.table.get(name).is_some_and(|node| match &node.value {
            Value::List(items) => !items.is_empty(),
            Value::Table(table) => !table.is_empty(),
            _ => true,
        })
    }

    /// The path of a key of this section.
    pub(super) fn path(&self, name: &str) -> String {
        join(&self.path, name)
    }

    fn place_of(&self, name: &str) -> Place {
        self.table.get(name).map_or(&self.place, |node| &node.place).clone()
    }

    /// A problem with the value at a key.
    pub(super) fn fault(&mut self, name: &str, advice: impl Into<String>) {
        let found = self.table.get(name).map_or("nothing".to_owned(), |node| format!("found {}", node.shown()));
        self.fault_found(name, found, advice);
    }

    /// The same, with other words for what stands there.
    pub(super) fn fault_found(&mut self, name: &str, found: impl Into<String>, advice: impl Into<String>) {
        let (place, path) = (self.place_of(name), self.path(name));
        self.problems.at(&place, &path, found, advice);
    }

    /// A problem with the value of a section in the list at a key.
    pub(super) fn fault_in(&mut self, list: &str, index: usize, name: &str, advice: impl Into<String>) {
        let Some(Value::List(nodes)) = self.table.get(list).map(|node| &node.value) else { return };
        let Some(element) = nodes.get(index) else { return };
        let node = element.as_table().and_then(|table| table.get(name)).unwrap_or(element);
        self.problems.value(node, &join(&self.path(list), name), advice);
    }

    /// Where the value of a section in the list at a key stands.
    pub(super) fn place_in(&self, list: &str, index: usize, name: &str) -> Place {
        let place = match self.table.get(list).map(|node| &node.value) {
            Some(Value::List(nodes)) => nodes.get(index).map(|element| {
                element.as_table().and_then(|table| table.get(name)).map_or(&element.place, |n| &n.place)
            }),
            _ => None,
        };
        place.unwrap_or(&self.place).clone()
    }

    /// A key that has to be there is not.
    pub(super) fn absence(&mut self, name: &str, advice: impl Into<String>) {
        let (place, path) = (self.place.clone(), self.path(name));
        self.problems.absence(&place, &path, "nothing is set", advice);
    }

    /// A key that may not stand here is not shown as in force.
    pub(super) fn leave_out(&mut self, name: &str) {
        self.effective.values.retain(|value| value.name != name);
    }

    /// Something allowed that the operator should know of.
    pub(super) fn note(&mut self, name: &str, text: &str) {
        self.notes.push(format!("{}: {}: {text}", self.place_of(name), self.path(name)));
    }

    /// Reads a key.
    pub(super) fn field<F: Field>(&mut self, name: &'static str, field: &F) -> F::Value {
        self.known.push(name);
        field.read(self, name)
    }

    fn value<K: Kind>(&mut self, name: &'static str, kind: &K) -> Option<K::Value> {
        let node = self.table.get(name)?;
        let value = kind.read(node, &join(&self.path, name), self.problems)?;
        self.show(name, kind, &value, node.place.clone());
        Some(value)
    }

    fn show<K: Kind>(&mut self, name: &'static str, kind: &K, value: &K::Value, place: Place) {
        let (text, shown) = (kind.show(value), kind.show_openly(name, value));
        self.effective.values.push(EffectiveValue { name, text, shown, place, is_live: self.is_live });
    }

    /// Reads a section within this one.
    fn within<T: Section>(&mut self, name: &'static str, node: Option<&Node>) -> T {
        let empty = Table::new();
        let path = join(&self.path, name);
        let (table, place) = match node {
            None => (&empty, self.place.clone()),
            Some(node) => match node.as_table() {
                Some(table) => (table, node.place.clone()),
                None => {
                    self.problems.no_table(
                        node,
                        &path,
                        format!("this is a section: write [{path}] and its keys below it"),
                    );
                    (&empty, node.place.clone())
                }
            },
        };
        let (value, effective) = read_section(table, place, path, self.problems, self.notes);
        self.effective.sections.push(effective);
        value
    }
}

/// Reads a section's table: its fields, then what is refused or unknown, then what holds between the fields.
pub(super) fn read_section<T: Section>(
    table: &Table,
    place: Place,
    path: String,
    problems: &mut Problems,
    notes: &mut Vec<String>,
) -> (T, Effective) {
    let effective = Effective { path: path.clone(), ..Effective::default() };
    let is_live = T::RELOAD == Reload::Live;
    let mut reader = Reader { table, place, path, problems, notes, known: Vec::new(), is_live, effective };
    let value = T::read(&mut reader);
    for (name, node) in table {
        if let Some((_, advice)) = T::REFUSED.iter().find(|(refused, _)| refused == name) {
            reader.problems.unshown(node, &join(&reader.path, name), *advice);
        } else if !reader.known.contains(&name.as_str()) {
            unknown(&mut reader, name, node);
        }
    }
    value.check(&mut reader);
    (value, reader.effective)
}

fn unknown(reader: &mut Reader<'_>, name: &str, node: &Node) {
    // Beyond what is kept, looking for what was meant is for nothing.
    let advice = if reader.problems.is_full() { String::new() } else { meant_by(name, &reader.known) };
    let found = format!("unknown key `{}`", secret::word(name));
    reader.problems.at(&node.place, &reader.path.clone(), found, advice);
}

/// What to do about an unknown key.
fn meant_by(name: &str, known: &[&'static str]) -> String {
    if let Some(meant) = nearest(name, known.iter().copied()) {
        return format!("did you mean `{meant}`?");
    }
    let elsewhere = super::outline().sections_with(name);
    let known = format!("known here are {}", known.join(", "));
    if elsewhere.is_empty() { known } else { format!("it belongs to {}; {known}", elsewhere.join(" or ")) }
}

/// A value with a default.
pub(super) struct Defaulted<K: Kind>(pub(super) K, pub(super) K::Value);

impl<K: Kind> Field for Defaulted<K> {
    type Value = K::Value;

    fn describe(&self, is_live: bool) -> Content {
        let default = self.0.show(&self.1);
        let (example, shape) = (default.clone(), self.0.shape());
        Content::Value(Leaf {
            shape,
            default: Some(default),
            example,
            is_required: false,
            is_alternative: false,
            is_live,
        })
    }

    fn read(&self, reader: &mut Reader<'_>, name: &'static str) -> K::Value {
        if let Some(value) = reader.value(name, &self.0) {
            return value;
        }
        reader.show(name, &self.0, &self.1, Place::nowhere());
        self.1.clone()
    }
}

/// A value that may be left out, with an example.
pub(super) struct Optional<K: Kind>(pub(super) K, pub(super) K::Value);

impl<K: Kind> Field for Optional<K> {
    type Value = Option<K::Value>;

    fn describe(&self, is_live: bool) -> Content {
        let (example, shape) = (self.0.show(&self.1), self.0.shape());
        Content::Value(Leaf { shape, default: None, example, is_required: false, is_alternative: false, is_live })
    }

    fn read(&self, reader: &mut Reader<'_>, name: &'static str) -> Option<K::Value> {
        reader.value(name, &self.0)
    }
}

/// A value that its section cannot be without, with an example.
pub(super) struct Required<K: Kind>(pub(super) K, pub(super) K::Value);

impl<K: Kind> Field for Required<K> {
    type Value = K::Value;

    fn describe(&self, is_live: bool) -> Content {
        let (example, shape) = (self.0.show(&self.1), self.0.shape());
        Content::Value(Leaf { shape, default: None, example, is_required: true, is_alternative: false, is_live })
    }

    fn read(&self, reader: &mut Reader<'_>, name: &'static str) -> K::Value {
        if !reader.has(name) {
            let advice = format!("it is needed here, such as {name} = {}", self.0.show(&self.1));
            reader.absence(name, advice);
        }
        // What stands for a missing or wrong one is never seen: the problem keeps the whole from being used.
        reader.value(name, &self.0).unwrap_or_else(|| self.1.clone())
    }
}

/// See [`Field::alternative`].
pub(super) struct Alternative<F>(F);

impl<F: Field> Field for Alternative<F> {
    type Value = F::Value;

    fn describe(&self, is_live: bool) -> Content {
        match self.0.describe(is_live) {
            Content::Value(leaf) => Content::Value(Leaf { is_alternative: true, ..leaf }),
            other => other,
        }
    }

    fn read(&self, reader: &mut Reader<'_>, name: &'static str) -> F::Value {
        self.0.read(reader, name)
    }
}

/// See [`Field::at_restart`].
pub(super) struct AtRestart<F>(F);

impl<F: Field> Field for AtRestart<F> {
    type Value = F::Value;

    fn describe(&self, _is_live: bool) -> Content {
        self.0.describe(false)
    }

    fn read(&self, reader: &mut Reader<'_>, name: &'static str) -> F::Value {
        let section = std::mem::replace(&mut reader.is_live, false);
        let value = self.0.read(reader, name);
        reader.is_live = section;
        value
    }
}

/// A section within.
pub(super) struct OneTable<T>(PhantomData<T>);

/// A section within, with its defaults where it is left out.
pub(super) fn table<T: Section>() -> OneTable<T> {
    OneTable(PhantomData)
}

impl<T: Section> Field for OneTable<T> {
    type Value = T;

    fn describe(&self, _is_live: bool) -> Content {
        Content::Table { outline: T::outline(), is_optional: false }
    }

    fn read(&self, reader: &mut Reader<'_>, name: &'static str) -> T {
        let table = reader.table;
        reader.within(name, table.get(name))
    }
}

/// A section within that may be absent.
pub(super) struct OptionalTable<T>(PhantomData<T>);

/// A section within that is there when it is written.
pub(super) fn optional_table<T: Section>() -> OptionalTable<T> {
    OptionalTable(PhantomData)
}

impl<T: Section> Field for OptionalTable<T> {
    type Value = Option<T>;

    fn describe(&self, _is_live: bool) -> Content {
        Content::Table { outline: T::outline(), is_optional: true }
    }

    fn read(&self, reader: &mut Reader<'_>, name: &'static str) -> Option<T> {
        let table = reader.table;
        table.get(name).map(|node| reader.within(name, Some(node)))
    }
}

/// Any number of sections.
pub(super) struct ManyTables<T>(PhantomData<T>);

/// A list of sections, `[[name]]` each.
pub(super) fn tables<T: Section>() -> ManyTables<T> {
    ManyTables(PhantomData)
}

impl<T: Section> Field for ManyTables<T> {
    type Value = Vec<T>;

    fn describe(&self, _is_live: bool) -> Content {
        Content::Tables { outline: T::outline() }
    }

    fn read(&self, reader: &mut Reader<'_>, name: &'static str) -> Vec<T> {
        let table = reader.table;
        let Some(node) = table.get(name) else { return Vec::new() };
        let path = join(&reader.path, name);
        let Value::List(nodes) = &node.value else {
            let advice = format!("this is a list of sections, in files only: write [[{path}]] above the keys of each");
            reader.problems.value(node, &path, advice);
            return Vec::new();
        };
        if nodes.len() > MOST_TABLES {
            reader.problems.at(
                &node.place,
                &path,
                format!("{} sections", nodes.len()),
                format!("allowed: at most {MOST_TABLES}"),
            );
            return Vec::new();
        }
        let mut values = Vec::with_capacity(nodes.len());
        for node in nodes {
            let Some(table) = node.as_table() else {
                let advice = format!("this is a list of sections: write [[{path}]] above the keys of each");
                reader.problems.value(node, &path, advice);
                continue;
            };
            let (value, mut effective) =
                read_section(table, node.place.clone(), path.clone(), reader.problems, reader.notes);
            effective.is_element = true;
            reader.effective.sections.push(effective);
            values.push(value);
        }
        values
    }
}

/// The description of a field, for [`section!`].
pub(super) fn item<V, F: Field<Value = V>>(name: &'static str, doc: &[&str], field: &F, reload: Reload) -> Item {
    Item { name, doc: super::describe::text(doc), content: field.describe(reload == Reload::Live) }
}

/// Declares a section: see the module's documentation.
macro_rules! section {
    (
        $reload:ident;
        $(#[doc = $doc:literal])*
        pub struct $name:ident {
            $( $(#[doc = $field_doc:literal])* pub $field:ident: $type:ty = $how:expr, )*
        }
        $( refuse { $( $refused:literal => $advice:literal, )* } )?
        $( check($this:ident, $reader:ident) $body:block )?
    ) => {
        $(#[doc = $doc])*
        #[allow(rustdoc::broken_intra_doc_links, reason = "the texts are the user's too, and show TOML")]
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $( $(#[doc = $field_doc])* pub $field: $type, )*
        }

        impl $crate::config::section::Section for $name {
            const RELOAD: $crate::config::section::Reload = $crate::config::section::Reload::$reload;
            const REFUSED: &'static [(&'static str, &'static str)] = &[$($( ($refused, $advice), )*)?];

            fn outline() -> $crate::config::describe::Outline {
                $crate::config::describe::Outline {
                    doc: $crate::config::describe::text(&[$($doc),*]),
                    items: vec![$(
                        $crate::config::section::item::<$type, _>(
                            stringify!($field),
                            &[$($field_doc),*],
                            &$how,
                            Self::RELOAD,
                        ),
                    )*],
                }
            }

            fn read(reader: &mut $crate::config::section::Reader<'_>) -> Self {
                Self { $( $field: reader.field(stringify!($field), &$how), )* }
            }

            #[allow(unused_variables, reason = "not every section has something to check")]
            fn check(&self, reader: &mut $crate::config::section::Reader<'_>) {
                $( let ($this, $reader) = (self, reader); $body )?
            }
        }

        impl Default for $name {
            /// As with nothing written.
            fn default() -> Self {
                <Self as $crate::config::section::Section>::defaults()
            }
        }
    };
}
pub(super) use section;
