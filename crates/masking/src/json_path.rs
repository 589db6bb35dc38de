//! Paths into JSON values: `$.a.b[*].c`, `$['a b'][0]`, `$..name`, `..name`.

use std::collections::VecDeque;

use crate::policy::KindId;

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

    /// How much is matched where a value begins that paths are judged from: a bit for each number of steps.
    fn start(&self) -> u64 {
        self.descend(1)
    }

    /// How much is matched a level further in.
    fn step(&self, matched: u64, level: Level<'_>) -> u64 {
        let (mut rest, mut next) = (matched, 0);
        while rest != 0 {
            let at = rest.trailing_zeros();
            rest &= rest - 1;
            next |= match self.steps.get(at as usize) {
                Some(Step::Descend) => 1 << at,
                Some(wanted) if wanted.admits(level) => 2 << at,
                _ => 0,
            };
        }
        self.descend(next)
    }

    /// Adds what is matched without a further level.
    fn descend(&self, mut matched: u64) -> u64 {
        let mut rest = matched;
        while rest != 0 {
            let at = rest.trailing_zeros();
            rest &= rest - 1;
            if self.steps.get(at as usize) == Some(&Step::Descend) {
                matched |= 2 << at;
                rest |= 2 << at;
            }
        }
        matched
    }

    fn is_whole(&self, matched: u64) -> bool {
        matched >> self.steps.len() != 0
    }

    /// Whether the place made of `count` levels is meant, as it is told without a [`Trail`]: each `..` is tried at the last place
    /// that worked, as `*` is in a file name.
    #[cfg(test)]
    fn matches<'a>(&self, count: usize, level: impl Fn(usize) -> Level<'a>) -> bool {
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

/// Where a value stands that a bracket opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// In the innermost level, at what was entered of it.
    Inner,
    /// Paths are judged from it.
    Root,
    /// Either may be.
    Both,
}

/// What is matched of each path at each level that is open: no level is asked twice, nor a key read twice, however many values
/// there are below it.
#[derive(Default)]
pub(crate) struct Trail {
    /// By levels, for each path: what is matched in front of the level, and at what was entered of it.
    levels: VecDeque<[u64; 2]>,
}

impl Trail {
    pub(crate) fn clear(&mut self) {
        self.levels.clear();
    }

    /// Opens a level.
    pub(crate) fn push(&mut self, paths: &[(JsonPath, KindId)], origin: Origin) {
        for (path, _) in paths {
            // In the level outside of this one, the same path.
            let inner = self.levels.len().checked_sub(paths.len()).map_or(0, |at| self.levels[at][1]);
            let matched = match origin {
                Origin::Inner => inner,
                Origin::Root => path.start(),
                Origin::Both => inner | path.start(),
            };
            self.levels.push_back([matched, 0]);
        }
    }

    /// Closes the innermost level.
    pub(crate) fn pop(&mut self, paths: &[(JsonPath, KindId)]) {
        self.levels.truncate(self.levels.len().saturating_sub(paths.len()));
    }

    /// The innermost level alone.
    pub(crate) fn innermost(&self, paths: &[(JsonPath, KindId)]) -> Self {
        Self { levels: self.levels.range(self.levels.len().saturating_sub(paths.len())..).copied().collect() }
    }

    /// Forgets the outermost level.
    pub(crate) fn forget(&mut self, paths: &[(JsonPath, KindId)]) {
        self.levels.drain(..paths.len().min(self.levels.len()));
    }

    /// Enters what is at `level` of the innermost one; and says what the paths say of it.
    pub(crate) fn enter(&mut self, paths: &[(JsonPath, KindId)], level: Level<'_>) -> Option<KindId> {
        let from = self.levels.len().checked_sub(paths.len())?;
        let mut rule = None;
        for ((path, kind), [before, entered]) in paths.iter().zip(self.levels.range_mut(from..)) {
            *entered = if *before == 0 { 0 } else { path.step(*before, level) };
            if rule.is_none() && path.is_whole(*entered) {
                rule = Some(*kind);
            }
        }
        rule
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
    use proptest::prelude::*;

    use super::*;

    fn matches(path: &str, place: &[Level<'_>]) -> bool {
        let path = JsonPath::parse(path).unwrap();
        let found = path.matches(place.len(), |i| place[i]);
        let paths = [(path, KindId(3))];
        let mut trail = Trail::default();
        let mut rule = None;
        for (i, level) in place.iter().enumerate() {
            trail.push(&paths, if i == 0 { Origin::Root } else { Origin::Inner });
            // Whatever was entered before.
            trail.enter(&paths, Level::Key(b"x"));
            rule = trail.enter(&paths, *level);
        }
        assert_eq!(rule, found.then_some(KindId(3)));
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

    proptest! {
        /// A trail tells what the whole place does.
        #[test]
        fn a_trail_tells_the_same(
            steps in proptest::collection::vec(proptest::sample::select(vec![".a", ".b", "..a", "..b", ".*", "[0]", "[*]", "..[1]", "..*"]), 1..9),
            place in proptest::collection::vec(0..4u32, 1..12),
        ) {
            let place: Vec<_> = place.iter().map(|i| if *i < 2 { Level::Index(*i) } else { Level::Key(if *i == 2 { b"a" } else { b"b" }) }).collect();
            matches(&format!("${}", steps.concat()), &place);
        }
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
