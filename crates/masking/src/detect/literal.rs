//! Secrets that a literal announces: JSON Web Tokens, AWS keys, vendors' keys, PEM blocks of private keys.
//!
//! Most literals are words with a sign between them (`ghp_`, `sk-`, `hvs.`), and few texts have these two letters in front of
//! that sign. One vectorized look goes from sign to sign for these, another searches for the other literals, which are few
//! enough for it to stop at little else; then a look at what follows.

use std::iter::Peekable;

use aho_corasick::packed;
use aho_corasick::{AhoCorasick, MatchKind};
use processor::{BLOCK, Block, Work};

use super::{Detector, Hit, starts_word};
use crate::layer::Layer;
use crate::policy::KindId;

/// What has to follow a literal.
#[derive(Debug, Clone, Copy)]
enum Shape {
    /// `eyJ`: two to five parts of base64url.
    Jwt,
    /// The same of a header in lines or with blanks, with no fewer than three parts.
    SpacedJwt,
    /// Exactly so many upper-case letters and digits; secret keys may stand near.
    AwsId(usize),
    /// At least so many letters, digits, `_` and `-`.
    Word(usize),
    /// The same, with letters of both cases and digits among them.
    Mixed(usize),
    /// As [`Shape::Word`], with `.`, `/`, `+`, `=`, `:` too.
    Wide(usize),
    /// At least so many hexadecimal digits.
    Hex(usize),
    /// `-----BEGIN`: a PEM block, if of a private key.
    Pem,
}

const LITERALS: &[(Detector, &str, Shape)] = &[
    (Detector::Jwt, "eyJ", Shape::Jwt),
    // Where a blank or a line's end is behind the brace.
    (Detector::Jwt, "eyAi", Shape::SpacedJwt),
    (Detector::Jwt, "ewog", Shape::SpacedJwt),
    (Detector::Jwt, "ewoi", Shape::SpacedJwt),
    (Detector::Jwt, "ew0K", Shape::SpacedJwt),
    (Detector::PrivateKey, "-----BEGIN", Shape::Pem),
    (Detector::AwsKey, "AKIA", Shape::AwsId(16)),
    (Detector::AwsKey, "ASIA", Shape::AwsId(16)),
    (Detector::AwsKey, "ABIA", Shape::AwsId(16)),
    (Detector::AwsKey, "ACCA", Shape::AwsId(16)),
    (Detector::AwsKey, "AROA", Shape::AwsId(16)),
    (Detector::AwsKey, "AIDA", Shape::AwsId(16)),
    // GitHub, GitLab.
    (Detector::ApiKey, "ghp_", Shape::Word(36)),
    (Detector::ApiKey, "gho_", Shape::Word(36)),
    (Detector::ApiKey, "ghu_", Shape::Word(36)),
    (Detector::ApiKey, "ghs_", Shape::Word(36)),
    (Detector::ApiKey, "ghr_", Shape::Word(36)),
    (Detector::ApiKey, "github_pat_", Shape::Word(22)),
    (Detector::ApiKey, "glpat-", Shape::Word(20)),
    (Detector::ApiKey, "glptt-", Shape::Word(20)),
    (Detector::ApiKey, "gldt-", Shape::Word(20)),
    (Detector::ApiKey, "glcbt-", Shape::Word(20)),
    // Slack.
    (Detector::ApiKey, "xoxb-", Shape::Word(10)),
    (Detector::ApiKey, "xoxp-", Shape::Word(10)),
    (Detector::ApiKey, "xoxa-", Shape::Word(10)),
    (Detector::ApiKey, "xoxr-", Shape::Word(10)),
    (Detector::ApiKey, "xoxs-", Shape::Word(10)),
    (Detector::ApiKey, "xapp-", Shape::Word(10)),
    (Detector::ApiKey, "hooks.slack.com/services/", Shape::Wide(20)),
    // Stripe, Square, PayPal's Braintree.
    (Detector::ApiKey, "sk_live_", Shape::Word(16)),
    (Detector::ApiKey, "sk_test_", Shape::Word(16)),
    (Detector::ApiKey, "rk_live_", Shape::Word(16)),
    (Detector::ApiKey, "rk_test_", Shape::Word(16)),
    (Detector::ApiKey, "whsec_", Shape::Wide(20)),
    (Detector::ApiKey, "sq0atp-", Shape::Word(22)),
    (Detector::ApiKey, "sq0csp-", Shape::Word(22)),
    (Detector::ApiKey, "access_token$production$", Shape::Word(16)),
    // Google.
    (Detector::ApiKey, "AIza", Shape::Word(35)),
    (Detector::ApiKey, "ya29.", Shape::Wide(20)),
    (Detector::ApiKey, "GOCSPX-", Shape::Word(20)),
    // Model vendors.
    (Detector::ApiKey, "sk-ant-", Shape::Word(20)),
    (Detector::ApiKey, "sk-proj-", Shape::Word(20)),
    (Detector::ApiKey, "sk-svcacct-", Shape::Word(20)),
    (Detector::ApiKey, "sk-", Shape::Mixed(40)),
    (Detector::ApiKey, "hf_", Shape::Word(30)),
    // Registries and hosts.
    (Detector::ApiKey, "npm_", Shape::Word(36)),
    (Detector::ApiKey, "pypi-", Shape::Word(50)),
    (Detector::ApiKey, "dckr_pat_", Shape::Word(20)),
    (Detector::ApiKey, "dop_v1_", Shape::Hex(64)),
    (Detector::ApiKey, "doo_v1_", Shape::Hex(64)),
    (Detector::ApiKey, "shpat_", Shape::Hex(32)),
    (Detector::ApiKey, "shpss_", Shape::Hex(32)),
    (Detector::ApiKey, "shpca_", Shape::Hex(32)),
    (Detector::ApiKey, "SG.", Shape::Wide(40)),
    (Detector::ApiKey, "hvs.", Shape::Word(24)),
    (Detector::ApiKey, "glsa_", Shape::Word(32)),
    (Detector::ApiKey, "lin_api_", Shape::Word(32)),
    (Detector::ApiKey, "dapi", Shape::Hex(32)),
    (Detector::ApiKey, "AccountKey=", Shape::Wide(40)),
    (Detector::ApiKey, "AGE-SECRET-KEY-1", Shape::Word(50)),
];

/// No secret of these is shorter.
const SHORTEST: usize = 12;
/// How far from an access key id its secret key is looked for.
const AWS_NEAR: usize = 256;
/// Characters of an AWS secret key.
const AWS_SECRET: usize = 40;
/// How far behind `-----BEGIN` the label of a PEM block ends.
const PEM_LABEL: usize = 64;

/// The literals of the detectors that are on.
pub(crate) struct Literals {
    rules: Vec<Rule>,
    search: Search,
    /// The rules that the search's patterns stand for.
    searched: Vec<usize>,
    signs: Signs,
}

/// A literal and what has to follow it.
#[derive(Clone, Copy)]
struct Rule {
    kind: KindId,
    literal: &'static [u8],
    shape: Shape,
}

enum Search {
    Nothing,
    Packed(packed::Searcher),
    /// Where the processor has no vectors to search with.
    Automaton(AhoCorasick),
}

/// The literals in which a sign is behind two letters.
#[derive(Default)]
struct Signs {
    /// By the two letters, five bits of each: a bit for each sign that they are in front of.
    fronts: Box<[u8]>,
    /// What is in front of a sign, where that is in the literal, and its rule; in the order of rules for the same front.
    rules: Vec<(u16, usize, usize)>,
}

/// What the letters and the sign of a literal are told by, a number for each three.
fn front_of([first, second, sign]: [u8; 3]) -> (usize, u16) {
    let letters = usize::from(first & 31) << 5 | usize::from(second & 31);
    (letters, (letters << 2) as u16 | u16::from(sign & 3))
}

impl Signs {
    /// Where the sign is that a literal can be told by.
    fn sign_of(literal: &[u8]) -> Option<usize> {
        (2..literal.len()).find(|at| {
            matches!(literal[*at], b'_' | b'-' | b'.') && literal[at - 2..*at].iter().all(u8::is_ascii_alphabetic)
        })
    }

    fn add(&mut self, at: usize, literal: &[u8], rule: usize) {
        if let Some(Some(front)) = literal.get(at - 2..).map(<[u8]>::first_chunk) {
            let (letters, front) = front_of(*front);
            if self.fronts.is_empty() {
                self.fronts = vec![0; 1 << 10].into();
            }
            self.fronts[letters] |= 1 << (front & 3);
            self.rules.push((front, at, rule));
            self.rules.sort_unstable_by_key(|(front, _, rule)| (*front, *rule));
        }
    }
}

impl Literals {
    pub(crate) fn new(detectors: &[Option<KindId>; Detector::ALL.len()]) -> Self {
        let (mut rules, mut texts, mut searched, mut signs) = (Vec::new(), Vec::new(), Vec::new(), Signs::default());
        for (detector, text, shape) in LITERALS {
            let Some(kind) = detectors[*detector as usize] else { continue };
            let literal = text.as_bytes();
            if let Some(at) = Signs::sign_of(literal) {
                signs.add(at, literal, rules.len());
            } else {
                texts.push(*text);
                searched.push(rules.len());
            }
            rules.push(Rule { kind, literal, shape: *shape });
        }
        let automaton = |texts: &[&str]| {
            AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostFirst)
                .build(texts)
                .map_or(Search::Nothing, Search::Automaton)
        };
        let search = if texts.is_empty() {
            Search::Nothing
        } else {
            packed::Config::new()
                .match_kind(packed::MatchKind::LeftmostFirst)
                .builder()
                .extend(&texts)
                .build()
                .map_or_else(|| automaton(&texts), Search::Packed)
        };
        Self { rules, search, searched, signs }
    }

    /// Appends what is found. `seen` takes places at which an escape may hide more of what a literal announces.
    pub(crate) fn find(&self, text: &[u8], at_cut: bool, hits: &mut Vec<Hit>, seen: Option<&mut Vec<(usize, usize)>>) {
        if text.len() < SHORTEST && !at_cut {
            return;
        }
        let look = Look { literals: self, text, at_cut, hits, seen, done: 0, pem_done: 0, in_vain: [0; 3] };
        match &self.search {
            Search::Nothing => look.over(std::iter::empty()),
            Search::Packed(search) => {
                look.over(search.find_iter(text).map(|found| (found.start(), found.pattern().as_usize())));
            }
            Search::Automaton(search) => {
                look.over(search.find_iter(text).map(|found| (found.start(), found.pattern().as_usize())));
            }
        }
    }
}

/// One look over a text.
struct Look<'a> {
    literals: &'a Literals,
    text: &'a [u8],
    at_cut: bool,
    hits: &'a mut Vec<Hit>,
    /// Places at which an escape may hide more.
    seen: Option<&'a mut Vec<(usize, usize)>>,
    /// Up to where words were found, in which others are not looked for; and blocks of PEM, which begin wherever their dashes do.
    done: usize,
    pem_done: usize,
    /// Up to where words were looked at in vain, by shape: from a literal within such a word on there is no more than from one
    /// in front of it, and to look again from each would take quadratic time.
    in_vain: [usize; 3],
}

/// A look that goes from sign to sign, and takes what the search has found on the way.
struct Walk<'a, I: Iterator> {
    look: Look<'a>,
    /// Where literals start, and as which pattern.
    searched: Peekable<I>,
}

impl<I: Iterator<Item = (usize, usize)>> Work for &mut Walk<'_, I> {
    type Output = ();

    #[inline(always)]
    fn run<B: Block>(self) {
        let (blocks, rest) = self.look.text.as_chunks::<BLOCK>();
        let mut last = [0; BLOCK];
        last[..rest.len()].copy_from_slice(rest);
        let mut was_letter = 0;
        for (i, block) in blocks.iter().chain((!rest.is_empty()).then_some(&last)).enumerate() {
            let bytes = B::load(block);
            let letters = (bytes | B::splat(0x20)).is_from(b'a', 26).bits();
            let signs = bytes.is_from(b'-', 2) | bytes.equals(B::splat(b'_'));
            let mut signs = signs.bits() & (letters << 1 | was_letter);
            was_letter = letters >> (BLOCK - 1);
            while signs != 0 {
                self.sign(BLOCK * i + signs.trailing_zeros() as usize);
                signs &= signs - 1;
            }
        }
    }
}

impl<I: Iterator<Item = (usize, usize)>> Walk<'_, I> {
    /// A sign behind a letter.
    #[inline(always)]
    fn sign(&mut self, at: usize) {
        let Some(Some(front)) = at.checked_sub(2).map(|from| self.look.text[from..].first_chunk()) else { return };
        let (letters, front) = front_of(*front);
        if self.look.literals.signs.fronts[letters] >> (front & 3) & 1 != 0 {
            self.announced(at, front);
        }
    }

    /// A sign that is behind two letters as in a literal.
    #[inline(never)]
    fn announced(&mut self, at: usize, front: u16) {
        let Look { literals: Literals { signs, rules, .. }, text, .. } = self.look;
        let first = signs.rules.partition_point(|rule| rule.0 < front);
        let fits = |(_, sign, rule): &&(u16, usize, usize)| {
            at.checked_sub(*sign).is_some_and(|start| text[start..].starts_with(rules[*rule].literal))
        };
        let rule = signs.rules[first..].iter().take_while(|rule| rule.0 == front).find(fits);
        if let Some((_, sign, rule)) = rule {
            self.searched_to(at - sign);
            self.look.check(*rule, at - sign);
        }
    }

    /// Takes what the search has found in front of a place.
    fn searched_to(&mut self, to: usize) {
        while let Some((start, pattern)) = self.searched.next_if(|found| found.0 < to) {
            if let Some(rule) = self.look.literals.searched.get(pattern) {
                self.look.check(*rule, start);
            }
        }
    }
}

impl Look<'_> {
    /// `searched`: where literals start that the search has found, and as which pattern.
    fn over(self, searched: impl Iterator<Item = (usize, usize)>) {
        let text = self.text;
        let mut walk = Walk { look: self, searched: searched.peekable() };
        if !walk.look.literals.signs.rules.is_empty() {
            processor::at_best(text.len(), &mut walk);
        }
        walk.searched_to(text.len());
    }

    /// Looks at what follows the literal of a rule, which starts at `start`. Literals come in order.
    fn check(&mut self, rule: usize, start: usize) {
        let Self { literals, text, at_cut, .. } = *self;
        let Rule { kind, literal, shape } = literals.rules[rule];
        let from = start + literal.len();
        let is_new = match shape {
            // The dashes that a block starts with are a border by themselves.
            Shape::Pem => start >= self.pem_done,
            _ => start >= self.done && starts_word(text, start),
        };
        if !is_new {
            return;
        }
        let slot = shape.slot();
        if slot.is_some_and(|slot| start < self.in_vain[slot]) {
            return;
        }
        if let Some(end) = shape.end(text, start, from, at_cut) {
            match shape {
                Shape::Pem => self.pem_done = end,
                _ => self.done = end,
            }
            self.hits.push(Hit { partial: at_cut && end == text.len(), ..Hit::new(start, end, kind) });
            if let Shape::AwsId(_) = shape {
                // One that comes first may be far in front of it in words, as members are in any order.
                secrets_near(text, (start.saturating_sub(AWS_NEAR), start), kind, self.hits);
                secrets_near(text, (end, end + AWS_NEAR), kind, self.hits);
            }
        } else if let Some(slot) = slot {
            self.in_vain[slot] = start + text[start..].iter().take_while(|byte| is_word(**byte)).count();
        } else if let (Shape::Wide(_), Some(seen)) = (shape, &mut self.seen) {
            // `\/` may go on with it.
            let end = from + text[from..].iter().take_while(|byte| is_wide(**byte)).count();
            seen.extend((text.get(end) == Some(&b'\\')).then_some((start, end + 1)));
        }
    }
}

impl Shape {
    /// A number for each shape that may end in vain however long the word is.
    fn slot(self) -> Option<usize> {
        match self {
            Self::Jwt => Some(0),
            Self::SpacedJwt => Some(1),
            Self::Mixed(_) => Some(2),
            _ => None,
        }
    }

    /// Where the secret ends that starts at `start` and whose literal ends at `from`. What reaches a cut may be too
    /// short.
    fn end(self, text: &[u8], start: usize, from: usize, at_cut: bool) -> Option<usize> {
        let run = |is: fn(u8) -> bool| from + text[from..].iter().take_while(|byte| is(**byte)).count();
        let cut = |end: usize| at_cut && end == text.len();
        let at_least = |end: usize, len: usize| (end - from >= len || cut(end)).then_some(end);
        match self {
            Self::Jwt => jwt_end(text, start, 2, at_cut),
            Self::SpacedJwt => jwt_end(text, start, 3, at_cut),
            Self::AwsId(len) => {
                let end = run(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
                let exact = end - from == len && !text.get(end).is_some_and(|byte| byte.is_ascii_alphanumeric());
                (exact || end - from < len && cut(end)).then_some(end)
            }
            Self::Word(len) => at_least(run(is_word), len),
            Self::Mixed(len) => {
                let end = run(is_word);
                let has = |is: fn(&u8) -> bool| text[from..end].iter().any(is);
                let mixed = has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_digit);
                at_least(end, len).filter(|end| mixed || cut(*end))
            }
            Self::Wide(len) => at_least(run(is_wide), len),
            Self::Hex(len) => at_least(run(|byte| byte.is_ascii_hexdigit()), len),
            Self::Pem => pem_end(text, from, at_cut),
        }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

fn is_wide(byte: u8) -> bool {
    is_word(byte) || matches!(byte, b'.' | b'/' | b'+' | b'=' | b':')
}

fn jwt_end(text: &[u8], start: usize, fewest: usize, at_cut: bool) -> Option<usize> {
    let part = |from: usize| text[from..].iter().take_while(|byte| is_word(**byte)).count();
    let head = part(start);
    let mut end = start + head;
    let mut parts = 1;
    while parts < 5 && text.get(end) == Some(&b'.') {
        let len = part(end + 1);
        // An unsigned token ends with a dot, an encrypted one may lack the key.
        if len == 0 && parts == 1 && end + 1 < text.len() {
            break;
        }
        parts += 1;
        end += 1 + len;
    }
    let cut = at_cut && end == text.len();
    (cut || head >= 10 && parts >= fewest).then_some(end)
}

fn pem_end(text: &[u8], from: usize, at_cut: bool) -> Option<usize> {
    let label = text[from..].get(..PEM_LABEL).unwrap_or(&text[from..]);
    let Some(label_end) = memchr::memmem::find(label, b"-----") else {
        return (at_cut && from + label.len() == text.len()).then_some(text.len());
    };
    memchr::memmem::find(&label[..label_end], b"PRIVATE KEY")?;
    let body = from + label_end + 5;
    // Without its end the block reaches to the end of the text.
    let Some(footer) = memchr::memmem::find(&text[body..], b"-----END") else { return Some(text.len()) };
    let footer = body + footer + 8;
    let tail = text[footer..].get(..PEM_LABEL).unwrap_or(&text[footer..]);
    Some(memchr::memmem::find(tail, b"-----").map_or(footer + tail.len().min(PEM_LABEL), |at| footer + at + 5))
}

/// Secret keys near an access key id: runs of exactly forty characters of base64 with letters of both cases and digits, whose
/// slashes may be written as escapes.
fn secrets_near(text: &[u8], (from, to): (usize, usize), kind: KindId, hits: &mut Vec<Hit>) {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'+');
    let limit = text.len().min(to);
    let sign = |at: usize| Layer::sign(&text[at..]).unwrap_or((1, 0));
    // Not within a run, of which the end is none by itself.
    let mut at = from + text[from..limit].iter().take_while(|byte| from > 0 && is_part(**byte)).count();
    while at < limit {
        let (start, mut count) = (at, 0);
        let (mut has_upper, mut has_lower, mut has_digit) = (false, false, false);
        while at < text.len() && count <= AWS_SECRET {
            let (len, byte) = sign(at);
            if !is_part(byte) {
                break;
            }
            has_upper |= byte.is_ascii_uppercase();
            has_lower |= byte.is_ascii_lowercase();
            has_digit |= byte.is_ascii_digit();
            (at, count) = (at + len, count + 1);
        }
        if count == AWS_SECRET && has_upper && has_lower && has_digit {
            let partial = at - start > count;
            hits.push(Hit { beside: true, partial, ..Hit::new(start, at, kind) });
        }
        if count > AWS_SECRET {
            at += text[at..limit.max(at)].iter().take_while(|byte| is_part(**byte)).count();
        }
        if count == 0 {
            at += sign(at).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(literals: &Literals, text: &str) -> Vec<(usize, usize)> {
        let mut hits = Vec::new();
        literals.find(text.as_bytes(), false, &mut hits, None);
        hits.iter().map(|hit| (hit.start, hit.end)).collect()
    }

    /// A secret that the literal announces, with nothing around it.
    fn secret((_, literal, shape): &(Detector, &str, Shape)) -> String {
        let more = match shape {
            Shape::Jwt => "hbGciOiJIUzI1NiJ9.eyJhIjoxfQ.c2ln".to_owned(),
            Shape::SpacedJwt => "YWxnIjogIkhTMjU2In0.e30.c2ln".to_owned(),
            Shape::AwsId(len) => "Q7".repeat(len / 2),
            Shape::Word(len) | Shape::Mixed(len) | Shape::Wide(len) => "aB3".repeat(len / 2),
            Shape::Hex(len) => "0f".repeat(*len),
            Shape::Pem => " PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----".to_owned(),
        };
        format!("{literal}{more}")
    }

    /// Each is found wherever it stands, by itself and with all others on, and what other detectors announce is not.
    #[test]
    fn every_literal_is_found_everywhere() {
        let all = Literals::new(&[Some(KindId(0)); Detector::ALL.len()]);
        for literal in LITERALS {
            let secret = secret(literal);
            let mut detectors = [None; Detector::ALL.len()];
            detectors[literal.0 as usize] = Some(KindId(0));
            let own = Literals::new(&detectors);
            let others = Literals::new(&detectors.map(|kind| if kind.is_none() { Some(KindId(0)) } else { None }));
            for (front, behind) in (0..140).flat_map(|front| [0, 1, 70, 140].map(|behind| (front, behind))) {
                let text = format!("{} {secret} {}", ".".repeat(front), "-".repeat(behind));
                let wanted = [(front + 1, front + 1 + secret.len())];
                assert_eq!(found(&all, &text), wanted, "{text}");
                assert_eq!(found(&own, &text), wanted, "{text}");
                assert_eq!(found(&others, &text), [], "{text}");
            }
            let within_word = found(&all, &format!("x{secret}"));
            assert_eq!(within_word.iter().any(|hit| hit.0 == 1), secret.starts_with('-'), "{secret}");
        }
        assert!(all.searched.len() <= 16 && all.rules.len() == LITERALS.len());
    }
    /// Secrets that are glued together: what is within a word is of that word, and a block of PEM is one wherever it begins.
    #[test]
    fn secrets_that_touch_are_found_in_order() {
        let all = Literals::new(&[Some(KindId(0)); Detector::ALL.len()]);
        let pem = "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----";
        let key = "sk_test_gk14r0tgPcnnUs6A";
        let account = "AccountKey=7B2pCxj5ZwtuTxy4hGSzCwX0XcqiY4hE4sN9SGSJKRb4A";
        let jwt = "eyJhbGciOiJI.eyJhIjoxfQ.sig";
        for text in [format!("{key}-{account}{pem}"), format!("{jwt}{pem}"), format!("{pem}{pem}{pem}")] {
            let hits = found(&all, &format!("k {text} y"));
            let end = hits.iter().map(|hit| hit.1).max();
            assert_eq!(end, Some(2 + text.len()), "{text} {hits:?}");
            assert!(hits.is_sorted() && hits.len() < 5, "{text} {hits:?}");
        }
        // The first token is of the word that it ends, the second is another.
        let text = "xoxb-1234567890_eyJhbGciOiJI.eyJhIjoxfQabc.sig";
        assert_eq!(found(&all, text), [(0, 28), (29, text.len())]);
        assert!(found(&all, &"-----BEGIN PRIVATE KEY-----\n".repeat(1000)).len() == 1);
    }
}
