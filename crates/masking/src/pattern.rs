//! The operator's own regular expressions: compiled within limits, searched in linear time.

use regex_automata::hybrid::dfa::DFA;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, meta};

use crate::detect::Hit;
use crate::policy::KindId;

/// The most memory an expression may take, compiled; and its search's cache.
const REGEX_BYTES: usize = 1 << 20;
/// Matches in one value that are searched for without bound.
const FREE_MATCHES: usize = 128;
/// Further matches, each searched for within so many bytes; then the rest of the value counts as one. So an expression
/// that is made to look far for each short match costs linear time, too.
const MORE_MATCHES: usize = 8192;
const WINDOW: usize = 4096;
/// How far in front of a cut a match that the cut goes through may have begun.
const CUT_WINDOW: usize = 256;

/// A compiled expression.
pub(crate) struct CompiledPattern {
    pub(crate) regex: meta::Regex,
    /// Tells whether what a text ends with could go on to match. `None` if that cannot be told.
    prefix: Option<DFA>,
    pub(crate) kind: KindId,
    /// Whether it says where a value (or line) starts or ends, so that each value has to be looked at on its own.
    pub(crate) is_whole: bool,
}

impl CompiledPattern {
    pub(crate) fn new(regex: &str, kind: KindId) -> Result<Self, String> {
        let tree = syntax::parse(regex).map_err(|error| format!("not a regular expression: {error}"))?;
        let is_whole = tree.properties().look_set().contains_anchor();
        // A lazy DFA that starves falls back to slower engines, all of linear time in the text.
        let config = meta::Config::new()
            .nfa_size_limit(Some(REGEX_BYTES))
            .onepass_size_limit(Some(REGEX_BYTES))
            .hybrid_cache_capacity(REGEX_BYTES)
            .dfa_size_limit(Some(REGEX_BYTES / 8));
        let compiled =
            meta::Builder::new().configure(config).build(regex).map_err(|error| match error.size_limit() {
                Some(limit) => {
                    format!("the expression takes more than {limit} bytes compiled; use smaller repetitions")
                }
                None => format!("not a regular expression: {error}"),
            })?;
        if compiled.is_match("") {
            return Err(
                "the expression matches the empty text, so it would match everywhere; make it require a character"
                    .into(),
            );
        }
        let prefix = DFA::builder()
            .configure(DFA::config().unicode_word_boundary(true).cache_capacity(REGEX_BYTES))
            .thompson(regex_automata::nfa::thompson::Config::new().nfa_size_limit(Some(REGEX_BYTES)))
            .build(regex)
            .ok();
        Ok(Self { regex: compiled, prefix, kind, is_whole })
    }

    /// Appends all matches in `text`.
    pub(crate) fn find(&self, text: &[u8], cache: &mut meta::Cache, hits: &mut Vec<Hit>) {
        let mut at = 0;
        let mut matches = 0;
        while at < text.len() {
            if matches > FREE_MATCHES + MORE_MATCHES {
                hits.push(Hit::new(at, text.len(), self.kind));
                return;
            }
            let end = if matches < FREE_MATCHES { text.len() } else { text.len().min(at + 2 * WINDOW) };
            let found = self.regex.search_with(cache, &Input::new(text).range(at..end));
            match found {
                // One that starts late in a window may be cut by it: the next window shows it whole.
                Some(found) if end == text.len() || found.start() < at + WINDOW => {
                    matches += 1;
                    if found.end() > found.start() {
                        hits.push(Hit::new(found.start(), found.end(), self.kind));
                    }
                    at = found.end().max(found.start() + 1);
                }
                _ if end == text.len() => return,
                _ => at += WINDOW,
            }
        }
    }

    /// Where a match may have begun that the end of `text` cuts.
    pub(crate) fn tail(&self, text: &[u8]) -> Option<usize> {
        let from = text.len().saturating_sub(CUT_WINDOW);
        let Some(dfa) = &self.prefix else { return (from < text.len()).then_some(from) };
        let mut cache = dfa.create_cache();
        (from..text.len()).find(|start| {
            let input = Input::new(text).range(*start..).anchored(Anchored::Yes);
            let Ok(mut state) = dfa.start_state_forward(&mut cache, &input) else { return true };
            for byte in &text[*start..] {
                state = match dfa.next_state(&mut cache, state, *byte) {
                    Ok(next) if next.is_dead() => return false,
                    Ok(next) if next.is_quit() => return true,
                    Ok(next) => next,
                    Err(_) => return true,
                };
            }
            true
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(regex: &str) -> CompiledPattern {
        CompiledPattern::new(regex, KindId(0)).unwrap()
    }

    #[test]
    fn a_match_that_a_cut_goes_through_is_found() {
        assert_eq!(pattern(r"EMP-\d{6}").tail(b"is EMP-12"), Some(3));
        assert_eq!(pattern(r"\bEMP-\d{6}\b").tail(b"is EMP-12"), Some(3));
        assert_eq!(pattern(r"EMP-\d{6}").tail(b"is EMP-12x"), None);
        assert_eq!(pattern(r"EMP-\d{6}").tail(b"is E"), Some(3));
        assert_eq!(pattern(r"EMP-\d{6}").tail(b""), None);
    }

    #[test]
    fn expressions_that_cannot_be_are_refused() {
        for (bad, why) in [
            ("(", "not a regular"),
            ("a*", "empty text"),
            (r"(?:\w{100}){1000}", "compiled"),
            (r"(a)\1", "not a regular"),
        ] {
            let message = CompiledPattern::new(bad, KindId(0)).err().unwrap();
            assert!(message.contains(why), "{message}");
        }
    }

    /// An expression that reads to the end for each of its one-letter matches.
    #[test]
    fn a_bomb_costs_linear_time_and_hides_all() {
        let bomb = pattern(".*[^A-Z]|[A-Z]");
        let text = vec![b'A'; 1 << 18];
        let mut hits = Vec::new();
        bomb.find(&text, &mut bomb.regex.create_cache(), &mut hits);
        let hidden: usize = hits.iter().map(|hit| hit.end - hit.start).sum();
        assert_eq!(hidden, text.len());
        assert!(hits.len() <= FREE_MATCHES + MORE_MATCHES + 2);
    }

    #[test]
    fn windows_find_what_one_search_finds() {
        let number = pattern(r"\d{5}");
        let text: Vec<u8> = (0..30_000).flat_map(|i| if i % 7 == 0 { *b"12345 " } else { *b"1234  " }).collect();
        let mut hits = Vec::new();
        number.find(&text, &mut number.regex.create_cache(), &mut hits);
        assert_eq!(hits.len(), 30_000_usize.div_ceil(7));
    }
}
