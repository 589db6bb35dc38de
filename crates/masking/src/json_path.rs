//! Paths into JSON values: `$.a.b[*].c`, `$['a b'][0]`, `$..name`, `..name`.

/// The most steps of a path.
const MAX_STEPS: usize = 32;

/// A parsed path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JsonPath {
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(Vec<u8>),
    Index(u32),
    /// `*` or `[*]`: any key and any index.
    Any,
    /// `..`: any number of keys and indices.
    Descend,
}

/// One level of the place of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level<'a> {
    Key(&'a [u8]),
    Index(u32),
}

impl JsonPath {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            |what: &str| format!("`{text}` is no path: {what}; write such as `$.a.b[*].c`, `$['a b'][0]` or `$..name`");
        let mut rest = text.strip_prefix('$').unwrap_or(text);
        if rest.len() == text.len() && !text.starts_with("..") {
            return Err(wrong("it starts with neither `$` nor `..`"));
        }
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if steps.len() >= MAX_STEPS {
                return Err(wrong("it has more than 32 steps"));
            }
            if let Some(after) = rest.strip_prefix("..") {
                steps.push(Step::Descend);
                rest = after;
                if rest.starts_with('[') {
                    continue;
                }
            } else if let Some(after) = rest.strip_prefix('.') {
                rest = after;
            } else if rest.starts_with('[') {
                let (step, after) =
                    bracket(rest).ok_or_else(|| wrong("a bracket holds no index, `*` or quoted key"))?;
                steps.push(step);
                rest = after;
                continue;
            } else {
                return Err(wrong("a step starts with neither `.` nor `[`"));
            }
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            let (name, after) = rest.split_at(end);
            rest = after;
            steps.push(match name {
                "" => return Err(wrong("a step has no name")),
                "*" => Step::Any,
                name => Step::Key(name.as_bytes().to_vec()),
            });
        }
        match steps.last() {
            None => Err(wrong("it has no steps")),
            Some(Step::Descend) => Err(wrong("`..` needs a name behind it")),
            Some(_) => Ok(Self { steps }),
        }
    }

    /// Whether a value whose innermost level is `last` can be meant at all: the quick test before [`Self::matches`].
    pub(crate) fn may_end(&self, last: Level<'_>) -> bool {
        self.steps.last().is_some_and(|step| step.admits(last))
    }

    /// Whether the place made of `count` levels is meant. Each `..` is tried at the last place that worked, as `*` is in
    /// a file name: no more than levels × steps comparisons.
    pub(crate) fn matches<'a>(&self, count: usize, level: impl Fn(usize) -> Level<'a>) -> bool {
        let (mut step, mut at) = (0, 0);
        let mut back: Option<(usize, usize)> = None;
        loop {
            match self.steps.get(step) {
                Some(Step::Descend) => {
                    step += 1;
                    back = Some((step, at));
                    continue;
                }
                Some(wanted) if at < count && wanted.admits(level(at)) => {
                    step += 1;
                    at += 1;
                    continue;
                }
                None if at == count => return true,
                _ => {}
            }
            match back {
                Some((after, from)) if from < count => {
                    back = Some((after, from + 1));
                    (step, at) = (after, from + 1);
                }
                _ => return false,
            }
        }
    }
}

impl Step {
    fn admits(&self, level: Level<'_>) -> bool {
        match (self, level) {
            (Self::Key(wanted), Level::Key(key)) => wanted == key,
            (Self::Index(wanted), Level::Index(index)) => *wanted == index,
            (Self::Any, _) => true,
            _ => false,
        }
    }
}

/// `[*]`, `[3]`, `['key']` or `["key"]`, and what is behind it.
fn bracket(text: &str) -> Option<(Step, &str)> {
    let inner = text.strip_prefix('[')?;
    for quote in ['\'', '"'] {
        if let Some(quoted) = inner.strip_prefix(quote) {
            let (key, after) = quoted.split_once(quote)?;
            return Some((Step::Key(key.as_bytes().to_vec()), after.strip_prefix(']')?));
        }
    }
    let (content, after) = inner.split_once(']')?;
    match content {
        "*" => Some((Step::Any, after)),
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some((Step::Index(digits.parse().ok()?), after)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(path: &str, place: &[Level<'_>]) -> bool {
        let path = JsonPath::parse(path).unwrap();
        let found = path.matches(place.len(), |i| place[i]);
        assert!(!found || path.may_end(*place.last().unwrap()));
        found
    }

    #[test]
    fn paths_match_their_places() {
        use Level::{Index, Key};
        let place = [Key(b"a"), Key(b"b"), Index(3), Key(b"c")];
        for path in [
            "$.a.b[*].c",
            "$.a.b[3].c",
            "$..c",
            "..c",
            "$.a..c",
            "$['a'][\"b\"][3].c",
            "$.*.b.*.*",
            "$..b..c",
            "$..[3].c",
            "$.a.b..c",
        ] {
            assert!(matches(path, &place), "{path}");
        }
        for path in ["$.a", "$.c", "$..b", "$.a.b[2].c", "$.a.b.c", "$.a.b[*].c.d", "$..d..c"] {
            assert!(!matches(path, &place), "{path}");
        }
        assert!(matches("$..a.b", &[Key(b"a"), Key(b"a"), Key(b"b")]));
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for bad in ["", "$", "a.b", "$.", "$..", "$.a[", "$.a[b]", "$.a['b]", "$a", "$.a[-1]", "$...a"] {
            assert!(JsonPath::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn many_descents_over_a_deep_place_stay_cheap() {
        let path = JsonPath::parse(&"..a".repeat(16)).unwrap();
        let calls = std::cell::Cell::new(0);
        let found = path.matches(10_000, |_| {
            calls.set(calls.get() + 1);
            Level::Key(b"b")
        });
        assert!(!found && calls.get() <= 20_000);
    }
}
