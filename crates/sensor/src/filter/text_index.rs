//! Many patterns over one text, looked at once.
//!
//! What is a whole text goes into a hash map, what begins or ends one into a trie, and the rest into few automata that
//! are built when the rules are read, within a limit of size. No pattern can make matching worse than linear in the text.

use std::collections::HashMap;

use foldhash::fast::FixedState;
use regex_automata::dfa::Automaton;
use regex_automata::dfa::{StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::syntax;
use regex_automata::{Input, MatchKind, meta};
use regex_syntax::hir::Hir;

use super::existence::where_found;
use super::glob::{self, Shape};
use super::sets::Bits;
use super::settings::Pattern;
use super::trie::Trie;

/// The longest pattern.
const LONGEST_PATTERN: usize = 4096;
/// What an expression may take that is simulated.
const SIMULATION_SIZE: usize = 1 << 20;
/// What an automaton may take, and what building it may: some milliseconds.
const AUTOMATON_SIZE: usize = 512 << 10;
const BUILD_SIZE: usize = 128 << 10;
/// The steps of building one that turns out too large.
const MOST_STEPS: usize = 1 << 20;

/// Patterns, each of a rule.
#[derive(Debug, Default)]
pub(super) struct TextIndex {
    anything: Bits,
    exact: HashMap<Box<[u8]>, Bits, FixedState>,
    /// The lengths of the exact ones, as bits; the highest stands for 63 and more.
    exact_lengths: u64,
    prefixes: Trie,
    suffixes: Trie,
    automata: Vec<PatternAutomaton>,
    /// Those whose automaton would be too large: simulated, one by one.
    large: Vec<(meta::Regex, Bits)>,
}

/// The most expressions with gaps that are tried together: the time that it takes grows with the square.
const MOST_FLOATING: usize = 64;

/// What the patterns of all rules may take together, and the time that they may.
#[derive(Debug)]
pub(super) struct Budget {
    /// Steps of building automata.
    steps: usize,
    /// Bytes of automata.
    automata: usize,
    /// Bytes of expressions that are simulated: a measure of the steps that each byte of a text takes, if it comes to the worst.
    simulated: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { steps: 128 * MOST_STEPS, automata: 64 << 20, simulated: 4 << 20 }
    }
}

/// All patterns are too much together: this is of a rule with which they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMuch {
    /// The rule's number.
    pub(super) rule: usize,
}

/// Collects patterns.
#[derive(Debug, Default)]
pub(super) struct TextIndexBuilder {
    ignores_case: bool,
    anything: Bits,
    exact: HashMap<Box<[u8]>, Bits, FixedState>,
    prefixes: HashMap<Vec<u8>, Bits, FixedState>,
    suffixes: HashMap<Vec<u8>, Bits, FixedState>,
    expressions: Vec<(Hir, usize)>,
    /// Those with gaps that may begin anywhere.
    floating: Vec<(Hir, usize)>,
}

impl TextIndexBuilder {
    /// For texts that come in lower case, if `ignores_case`.
    pub(super) fn new(ignores_case: bool) -> Self {
        Self { ignores_case, ..Self::default() }
    }

    /// Adds a pattern of a rule.
    ///
    /// # Errors
    /// What is wrong with the pattern.
    pub(super) fn add(&mut self, pattern: &Pattern, rule: usize) -> Result<(), String> {
        let text = pattern.text();
        if text.len() > LONGEST_PATTERN {
            return Err(format!("a pattern of {} bytes: the most is {LONGEST_PATTERN}", text.len()));
        }
        let Pattern::Glob(text) = pattern else { return self.add_expression(text, rule) };
        for shape in glob::read(text, self.ignores_case)? {
            match shape {
                Shape::Anything => self.anything.insert(rule),
                Shape::Exact(text) => self.exact.entry(text.into()).or_default().insert(rule),
                Shape::Prefix(text) => self.prefixes.entry(text).or_default().insert(rule),
                Shape::Suffix(text) => self.suffixes.entry(text).or_default().insert(rule),
                Shape::Expression(text) => self.add_expression(&text, rule)?,
            }
        }
        Ok(())
    }

    fn add_expression(&mut self, text: &str, rule: usize) -> Result<(), String> {
        let parsed = parse(text, self.ignores_case)?;
        let expression = where_found(parsed);
        // What cannot be simulated within the limit cannot be used at all; better said now than when the index is built.
        steps_of(&[&expression], SIMULATION_SIZE)
            .map_err(|error| format!("`{text}` cannot be compiled: {error}; ask for less repetition"))?;
        if begins_anywhere(&expression) && has_gap(&expression) {
            self.floating.push((expression, rule));
        } else {
            self.expressions.push((expression, rule));
        }
        Ok(())
    }

    /// The index.
    ///
    /// # Errors
    /// When all patterns are too much together.
    pub(super) fn build(self, budget: &mut Budget) -> Result<TextIndex, TooMuch> {
        let Self { ignores_case: _, anything, exact, prefixes, suffixes, expressions, floating } = self;
        let mut index = TextIndex {
            anything,
            exact_lengths: exact.keys().fold(0, |lengths, text| lengths | length_bit(text.len())),
            exact,
            prefixes: Trie::new(prefixes),
            suffixes: Trie::new(suffixes.into_iter().map(|(mut text, rules)| {
                text.reverse();
                (text, rules)
            })),
            ..TextIndex::default()
        };
        index.add_expressions(&expressions, budget)?;
        // An automaton has to tell which of these have begun, in every combination: where they begin differently, only a few go
        // together.
        let (mut rest, mut size) = (floating.as_slice(), MOST_FLOATING);
        while !rest.is_empty() {
            let (some, behind) = rest.split_at(size.min(rest.len()));
            let before = index.automata.len() + index.large.len();
            index.add_expressions(some, budget)?;
            let added = index.automata.len() + index.large.len() - before;
            // The next are mostly like these: as many as fitted are tried, or more where all did.
            size = if added == 1 { 2 * some.len() } else { some.len() / added.max(1) };
            size = size.clamp(1, MOST_FLOATING);
            rest = behind;
        }
        Ok(index)
    }
}

impl TextIndex {
    /// Whether the whole of a text is gone through, maybe several times.
    pub(super) fn is_thorough(&self) -> bool {
        !self.automata.is_empty() || !self.large.is_empty()
    }

    /// Adds to `found` the rules of the patterns that the text matches.
    #[inline]
    pub(super) fn find(&self, text: &[u8], found: &mut Bits) {
        found.add(&self.anything);
        if self.exact_lengths & length_bit(text.len()) != 0
            && let Some(rules) = self.exact.get(text)
        {
            found.add(rules);
        }
        if let Some(rules) = self.prefixes.find(text.iter()) {
            found.add(rules);
        }
        if let Some(rules) = self.suffixes.find(text.iter().rev()) {
            found.add(rules);
        }
        for automaton in &self.automata {
            automaton.find(text, found);
        }
        for (regex, rules) in &self.large {
            if regex.is_match(Input::new(text).earliest(true)) {
                found.add(rules);
            }
        }
    }

    /// One automaton for all of them; where that would be too large, for each half.
    fn add_expressions(&mut self, expressions: &[(Hir, usize)], budget: &mut Budget) -> Result<(), TooMuch> {
        let [first, more @ ..] = expressions else { return Ok(()) };
        if let Some(automaton) = PatternAutomaton::within(budget, expressions) {
            self.automata.push(automaton);
            return Ok(());
        }
        if !more.is_empty() {
            let (one, two) = expressions.split_at(expressions.len() / 2);
            self.add_expressions(one, budget)?;
            return self.add_expressions(two, budget);
        }
        let (expression, rule) = first;
        let mut rules = Bits::NONE;
        rules.insert(*rule);
        let left = simulation(expression).ok().and_then(|regex| {
            budget.simulated = budget.simulated.checked_sub(regex.memory_usage())?;
            Some(regex)
        });
        self.large.push((left.ok_or(TooMuch { rule: *rule })?, rules));
        Ok(())
    }
}

/// Whether an expression can begin at any place of a text.
fn begins_anywhere(expression: &Hir) -> bool {
    !expression.properties().look_set_prefix().contains_anchor_haystack()
}

/// Whether what goes on behind a place can be of any length.
fn has_gap(expression: &Hir) -> bool {
    let properties = expression.properties();
    properties.maximum_len().is_none() || properties.maximum_len() != properties.minimum_len()
}

const fn length_bit(length: usize) -> u64 {
    1 << if length < 63 { length } else { 63 }
}

/// Whether a pattern is one, whatever it is asked of, and however much there is of it with others.
pub(super) fn check(pattern: &Pattern) -> Result<(), String> {
    match pattern {
        Pattern::Glob(glob) => glob::read(glob, false).map(drop),
        Pattern::Regex(expression) => parse(expression, false).map(drop),
    }
}

fn parse(expression: &str, ignores_case: bool) -> Result<Hir, String> {
    let syntax = syntax::Config::new()
        .unicode(false)
        .utf8(false)
        .dot_matches_new_line(true)
        .case_insensitive(ignores_case)
        .nest_limit(100);
    syntax::parse_with(expression, &syntax).map_err(|error| {
        // The error draws the expression over several lines; its last says what is wrong.
        let text = error.to_string();
        let reason = text.lines().last().unwrap_or_default().trim();
        let reason = reason.strip_prefix("error: ").unwrap_or(reason);
        format!("`{expression}` is no regular expression: {reason}; look-around and back references are not known")
    })
}

/// The steps that expressions take through a text.
fn steps_of(expressions: &[&Hir], most_bytes: usize) -> Result<thompson::NFA, Box<thompson::BuildError>> {
    let limits = thompson::Config::new()
        .utf8(false)
        .nfa_size_limit(Some(most_bytes))
        .which_captures(thompson::WhichCaptures::None);
    thompson::Compiler::new().configure(limits).build_many_from_hir(expressions).map_err(Box::new)
}

fn simulation(expression: &Hir) -> Result<meta::Regex, Box<meta::BuildError>> {
    // With what leads back to where a match begins it may be somewhat more.
    let limits = meta::Config::new().utf8_empty(false).nfa_size_limit(Some(4 * SIMULATION_SIZE)).onepass(false);
    meta::Builder::new().configure(limits).build_from_hir(expression).map_err(Box::new)
}

/// Several expressions as one automaton that finds all of them in one pass.
#[derive(Debug)]
struct PatternAutomaton {
    dfa: dense::DFA<Vec<u32>>,
    /// The rule of each pattern.
    rules: Vec<usize>,
}

impl PatternAutomaton {
    /// `None`: it would be too large, or would take too long to build with all others.
    fn within(budget: &mut Budget, expressions: &[(Hir, usize)]) -> Option<Self> {
        let left = budget.steps.checked_sub(MOST_STEPS)?;
        let Some((automaton, steps)) = Self::new(expressions) else {
            budget.steps = left;
            return None;
        };
        budget.steps -= steps.min(MOST_STEPS);
        budget.automata = budget.automata.checked_sub(automaton.dfa.memory_usage())?;
        Some(automaton)
    }

    /// With the steps that it took to build it.
    fn new(expressions: &[(Hir, usize)]) -> Option<(Self, usize)> {
        let patterns: Vec<&Hir> = expressions.iter().map(|(expression, _)| expression).collect();
        let nfa = steps_of(&patterns, AUTOMATON_SIZE).ok()?;
        // Every match counts, wherever it ends, so no state has to remember which patterns were found before.
        let config = dense::Config::new()
            .match_kind(MatchKind::All)
            .start_kind(StartKind::Unanchored)
            .dfa_size_limit(Some(AUTOMATON_SIZE))
            .determinize_size_limit(Some(BUILD_SIZE));
        let dfa = dense::Builder::new().configure(config).build_from_nfa(&nfa).ok()?;
        // Each state is made of states of the other automaton.
        let states = (dfa.memory_usage() >> dfa.stride2()) / size_of::<u32>();
        let steps = states.saturating_mul(nfa.states().len());
        Some((Self { dfa, rules: expressions.iter().map(|(_, rule)| *rule).collect() }, steps))
    }

    fn find(&self, text: &[u8], found: &mut Bits) {
        let Ok(mut state) = self.dfa.start_state_forward(&Input::new(text)) else { return };
        // States in which a match stands while the text goes on are most often followed by themselves.
        let mut seen = state;
        let mut rest = text;
        loop {
            // Where only few bytes lead out of a state, the next of them is looked for at once: most texts have none.
            if self.dfa.is_accel_state(state) {
                let leads_out = match *self.dfa.accelerator(state) {
                    [one] => memchr::memchr(one, rest),
                    [one, two] => memchr::memchr2(one, two, rest),
                    [one, two, three] => memchr::memchr3(one, two, three, rest),
                    _ => Some(0),
                };
                rest = leads_out.and_then(|at| rest.get(at..)).unwrap_or_default();
            }
            let Some((byte, behind)) = rest.split_first() else { break };
            rest = behind;
            state = self.dfa.next_state(state, *byte);
            if self.dfa.is_special_state(state) && state != seen {
                if self.dfa.is_dead_state(state) {
                    return;
                }
                seen = state;
                self.add_matches(state, found);
            }
        }
        let state = self.dfa.next_eoi_state(state);
        self.add_matches(state, found);
    }

    fn add_matches(&self, state: regex_automata::util::primitives::StateID, found: &mut Bits) {
        if self.dfa.is_match_state(state) {
            for place in 0..self.dfa.match_len(state) {
                if let Some(rule) = self.rules.get(self.dfa.match_pattern(state, place).as_usize()) {
                    found.insert(*rule);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn index(patterns: &[Pattern]) -> TextIndex {
        let mut builder = TextIndexBuilder::new(false);
        for (rule, pattern) in patterns.iter().enumerate() {
            builder.add(pattern, rule).unwrap();
        }
        builder.build(&mut Budget::default()).unwrap()
    }

    fn found(index: &TextIndex, text: &[u8], of: usize) -> Vec<usize> {
        let mut bits = Bits::NONE;
        index.find(text, &mut bits);
        (0..of).filter(|rule| bits.contains(*rule)).collect()
    }

    /// Recursion over the glob: slow, and as it is told.
    fn slow(glob: &[u8], text: &[u8]) -> bool {
        match (glob, text) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => slow(rest, text) || (!text.is_empty() && slow(glob, &text[1..])),
            ([b'?', glob @ ..], [_, text @ ..]) => slow(glob, text),
            ([b'\\', byte, glob @ ..], [first, text @ ..]) => byte == first && slow(glob, text),
            ([byte, glob @ ..], [first, text @ ..]) if !matches!(byte, b'*' | b'?' | b'\\') => {
                byte == first && slow(glob, text)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn globs_match_as_told(
            globs in prop::collection::vec("([ab/.]|[ab/.]|[*?]|\\\\[*a.]){0,8}", 1..12),
            texts in prop::collection::vec("[ab/.*]{0,10}", 1..6),
        ) {
            let patterns: Vec<Pattern> = globs.iter().cloned().map(Pattern::Glob).collect();
            let index = index(&patterns);
            for text in texts {
                let expected: Vec<usize> =
                    (0..globs.len()).filter(|rule| slow(globs[*rule].as_bytes(), text.as_bytes())).collect();
                prop_assert_eq!(found(&index, text.as_bytes(), globs.len()), expected, "{} in {:?}", text, globs);
            }
        }

        #[test]
        fn any_bytes_are_survived(text in prop::collection::vec(any::<u8>(), 0..100)) {
            let index = index(&[Pattern::Glob("a*b*c?".to_owned()), Pattern::Regex("(?i)x{2,5}|\\d+$".to_owned())]);
            let expected = slow(b"a*b*c?", &text);
            prop_assert_eq!(found(&index, &text, 1), if expected { vec![0] } else { vec![] });
        }
    }

    #[test]
    fn expressions_are_found_anywhere() {
        let patterns: Vec<Pattern> = ["^/v[0-9]+/", "admin", "\\.php$", "^$", "a|^b", "(?i)LOGIN", ".*", "\\bx\\b"]
            .iter()
            .map(|text| Pattern::Regex((*text).to_owned()))
            .collect();
        let index = index(&patterns);
        for (text, expected) in [
            ("/v12/x", &[0, 6, 7][..]),
            ("/x/admin/y.php", &[1, 2, 4, 6, 7]),
            ("", &[3, 6]),
            ("/login", &[5, 6]),
            ("b", &[4, 6]),
            ("/b", &[6]),
            ("/v/x1", &[6]),
        ] {
            assert_eq!(found(&index, text.as_bytes(), 8), expected, "{text}");
        }
        assert_eq!(found(&index, b"\xff\xfe\n/admin", 8), [1, 4, 6]);
    }

    #[test]
    fn a_pattern_over_the_limit_is_still_matched() {
        // 2^20 states as an automaton.
        let patterns = [Pattern::Regex("[ab]*a[ab]{19}$".to_owned()), Pattern::Glob("*b*a*".to_owned())];
        let index = index(&patterns);
        assert_eq!((index.large.len(), index.automata.len()), (1, 1));
        let text = b"ba".repeat(50_000);
        assert_eq!(found(&index, &text, 2), [1]);
        assert_eq!(found(&index, &text[1..text.len() - 1], 2), [0, 1]);
    }

    #[test]
    fn many_patterns_do_not_multiply() {
        let patterns: Vec<Pattern> = (0..200).map(|n| Pattern::Glob(format!("*part{n}x*end{n}*"))).collect();
        let index = index(&patterns);
        assert!(index.automata.len() <= 64 && index.large.is_empty(), "{}", index.automata.len());
        assert_eq!(found(&index, b"/part7x/part31x/end7/end31/end5", 200), [7, 31]);
    }

    #[test]
    fn patterns_that_begin_alike_are_one_automaton() {
        for (expression, text, expected) in [
            ("(?i)bot[a-z]*", "a roBOTic17", vec![17]),
            ("\\w{1,100}", "/x/ab117", vec![7, 17, 117]),
            (".*/(a|b)+/", "GET /ab/17", vec![17]),
        ] {
            let patterns: Vec<Pattern> = (0..200).map(|n| Pattern::Regex(format!("{expression}{n}$"))).collect();
            let index = index(&patterns);
            assert!(index.automata.len() <= 8 && index.large.is_empty(), "{expression}: {}", index.automata.len());
            assert_eq!(found(&index, text.as_bytes(), 200), expected, "{expression}");
        }
    }

    #[test]
    fn what_all_patterns_take_together_is_bounded() {
        // Each begins in two ways and goes on in many.
        let pattern = |n: usize| Pattern::Regex(format!("(a|b\\w{{1,90}})[a-f]{{1,90}}{n}"));
        let mut builder = TextIndexBuilder::new(false);
        for rule in 0..480 {
            builder.add(&pattern(rule), rule).unwrap();
        }
        let mut budget = Budget { steps: 4 * MOST_STEPS, ..Budget::default() };
        let refused = builder.build(&mut budget).unwrap_err();
        assert!((100..480).contains(&refused.rule) && budget.steps == 0, "{refused:?}");
        // Without the time to build an automaton, or the room for it, the answers are the same.
        for budget in [Budget { steps: 0, ..Budget::default() }, Budget { automata: 0, ..Budget::default() }] {
            let mut builder = TextIndexBuilder::new(false);
            for rule in 0..20 {
                builder.add(&pattern(rule), rule).unwrap();
            }
            let simulated = builder.build(&mut { budget }).unwrap();
            assert_eq!((simulated.automata.len(), simulated.large.len()), (0, 20));
            assert_eq!(found(&simulated, b"/bxxxabcdef11", 20), [1, 11]);
        }
    }

    #[test]
    fn slips_are_told() {
        let mut builder = TextIndexBuilder::new(false);
        for (pattern, part) in [
            (Pattern::Regex("(".to_owned()), "is no regular expression"),
            (Pattern::Regex("a{1000}{1000}{1000}".to_owned()), "cannot be compiled"),
            (Pattern::Regex("\\pL".to_owned()), "is no regular expression"),
            (Pattern::Regex("(".repeat(200) + &")".repeat(200)), "is no regular expression"),
            (Pattern::Regex("a".repeat(5000)), "the most is 4096"),
            (Pattern::Glob("{".to_owned()), "does not close"),
        ] {
            let error = builder.add(&pattern, 0).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
