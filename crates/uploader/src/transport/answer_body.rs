//! What the JSON of an answer says, read as it goes: also of one whose end is missing.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// How deep records are looked for: `{"data":[{"status":…}]}` is the deepest that is known.
const DEPTH: u8 = 3;

/// How an answer's JSON ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Whole,
    /// It is JSON as far as it goes.
    Missing,
    /// It is no JSON.
    Broken,
}

/// What was found in an answer, up to where it ends.
#[derive(Debug, PartialEq)]
pub(super) struct Said {
    /// The `status` of the whole; the last, should there be several.
    pub(super) status: Option<Value>,
    /// How many of the things inside have a `status` that is a failure's.
    pub(super) failures: u64,
    pub(super) end: End,
}

impl Said {
    pub(super) fn read(body: &[u8]) -> Self {
        let mut said = Self { status: None, failures: 0, end: End::Whole };
        let mut reader = serde_json::Deserializer::from_slice(body);
        let read = Look { said: &mut said, depth: 0 }.deserialize(&mut reader).and_then(|()| reader.end());
        if let Err(error) = read {
            said.end = if error.is_eof() { End::Missing } else { End::Broken };
        }
        said
    }

    fn note(&mut self, status: Value, depth: u8) {
        if depth == 0 {
            self.status = Some(status);
        } else {
            self.failures += u64::from(is_failure(&status));
        }
    }
}

/// Whether a record's `status` says that it was not taken: a word for that, or an HTTP status of 400 and above.
fn is_failure(status: &Value) -> bool {
    const WORDS: [&str; 5] = ["err", "fail", "reject", "invalid", "denied"];
    match status {
        Value::Number(number) => number.as_u64().is_some_and(|number| (400..600).contains(&number)),
        Value::String(text) => {
            let begins = |word: &&str| text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
            WORDS.iter().any(begins) || text.parse().is_ok_and(|number: u16| (400..600).contains(&number))
        }
        _ => false,
    }
}

struct Look<'a> {
    said: &'a mut Said,
    depth: u8,
}

impl<'de> DeserializeSeed<'de> for Look<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        if self.depth == DEPTH {
            return reader.deserialize_ignored_any(IgnoredAny).map(drop);
        }
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Look<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            if key == "status" {
                let status = map.next_value()?;
                self.said.note(status, self.depth);
            } else {
                map.next_value_seed(Look { said: &mut *self.said, depth: self.depth + 1 })?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Look { said: &mut *self.said, depth: self.depth + 1 })?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn failures_inside_are_counted_and_nothing_else_is() {
        for (body, failures) in [
            (r#"[{"status":"ERROR"},{"status":"OK"},{"status":"failed"}]"#, 2),
            (r#"{"data":[{"status":"ERROR"}]}"#, 1),
            (r#"{"status":"OK","results":[{"status":400},{"status":"503"},{"status":201},{"status":"stored"}]}"#, 2),
            (r#"{"status":"ERROR"}"#, 0),
            (r#"{"a":{"b":{"c":{"status":"ERROR"}}}}"#, 0),
            (r#"[1,-1,0.5,null,true,"status","é"]"#, 0),
        ] {
            let said = Said::read(body.as_bytes());
            assert_eq!((said.failures, said.end), (failures, End::Whole), "{body}");
        }
    }

    proptest! {
        /// Wherever an answer is cut, what came before the cut is found, and it is not taken for something else.
        #[test]
        fn a_cut_hides_only_what_is_behind_it(cut in 0usize..1000, first: bool) {
            let records = r#"{"id":"é","status":"OK"},"#.repeat(30);
            let records = format!(r#""results":[{}]"#, records.trim_end_matches(','));
            let text = if first { format!(r#"{{"status":"OK",{records}}}"#) } else { format!(r#"{{{records},"status":"OK"}}"#) };
            let cut = cut.min(text.len() - 1);
            let said = Said::read(&text.as_bytes()[..cut]);
            prop_assert_eq!(said.end, End::Missing);
            let known = text.find(r#""OK""#).filter(|_| first).unwrap_or(text.len() - 5) + 4;
            prop_assert_eq!(said.status.is_some(), cut >= known);
            prop_assert_eq!(said.failures, 0);
        }
    }
}
