//! The quick look: whether a text can be passed over because nothing in it names a secret.
//!
//! Where only names matter (no detector, no expression of one's own), a secret has a separator behind its name, or an escape
//! that may spell either. Nearly all texts have neither, or separators behind names that are dismissed by their last three
//! letters. What this look does not settle at once, [`crate::walk`] looks at in full.
//!
//! A member of JSON that holds what another names (`{"name":"password","value":"…"}`) is stopped at for the former's key, as
//! there are fewer of these; whether there is such a name, too, is for [`member::has_names`] to tell.
//!
//! Escapes that may hide a name are told in [`crate::escapes`].

use processor::{BLOCK, Block, Work};

use crate::escapes::Escapes;
use crate::names::Names;
use crate::policy::Policy;
use crate::{escapes, markup, member, pairs};

/// Bytes in front of a block that its first stop is judged by, and behind it that the last is; and of the block with those.
const FRONT: usize = 6;
const BEHIND: usize = 2;
const WINDOW: usize = FRONT + BLOCK + BEHIND;
/// What the quick look has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    /// A full look would find no secret and no name of one.
    pub(crate) is_quiet: bool,
    /// Of a quiet text: whether there are zeros in it.
    pub(crate) has_zeros: bool,
    /// Of a quiet text: whether a member of JSON may hold what another names.
    pub(crate) may_hold: bool,
}

/// Looks over `text`. To be asked only of a policy that looks for nothing but names.
pub(crate) fn look(policy: &Policy, text: &[u8], escapes: &mut Escapes) -> Look {
    escapes.start(false);
    let mut quick = Quick { policy, text, escapes, may_hold: false, has_zeros: false, authority_done: 0 };
    let (is_quiet, has_zeros) = processor::at_best(text.len(), &mut quick);
    Look { is_quiet, has_zeros, may_hold: quick.may_hold }
}

/// Whether the text is quiet, and has zeros in it.
impl Work for &mut Quick<'_> {
    type Output = (bool, bool);

    #[inline(always)]
    fn run<B: Block>(self) -> (bool, bool) {
        let mut least = B::splat(u8::MAX);
        let is_quiet = run(&self.policy.fields, self.text, &mut least, self);
        (is_quiet, self.has_zeros || least.equals(B::splat(0)).bits() != 0)
    }
}

#[inline(always)]
fn run<B: Block>(names: &Names, text: &[u8], least: &mut B, quick: &mut Quick<'_>) -> bool {
    if text.len() < WINDOW {
        return is_short_quiet(names, text, least, quick);
    }
    // What has less around it than windows show is looked at byte by byte.
    if !quick.bytes(0, FRONT) {
        return false;
    }
    let mut start = FRONT;
    while let Some(window) = text[start - FRONT..].first_chunk() {
        if !window_is_quiet(names, window, start, u64::MAX, least, quick) {
            return false;
        }
        start += BLOCK;
    }
    let end = text.len() - BEHIND;
    let (Some(last), true) = (text.last_chunk(), start < end) else {
        return quick.bytes(start, text.len());
    };
    // Its first bytes were looked at.
    let from = end - BLOCK;
    window_is_quiet(names, last, from, u64::MAX << (start - from), least, quick) && quick.bytes(end, text.len())
}

/// The same of a text that a window does not fit into.
#[inline(always)]
fn is_short_quiet<B: Block>(names: &Names, text: &[u8], least: &mut B, quick: &mut Quick<'_>) -> bool {
    let mut start = 0;
    // The values of most headers are not worth a block.
    while text.len() - start > BLOCK / 4 {
        let mut window = [b' '; WINDOW];
        fill(&mut window, text, start);
        let len = BLOCK.min(text.len() - start);
        if !window_is_quiet(names, &window, start, u64::MAX >> (BLOCK - len), least, quick) {
            return false;
        }
        start += len;
    }
    quick.bytes(start, text.len())
}

/// Copies what there is of the window of a block that the text does not reach around; the rest stays blank, so that nothing is
/// dismissed there.
#[inline]
fn fill(window: &mut [u8; WINDOW], text: &[u8], start: usize) {
    let from = start.saturating_sub(FRONT);
    let part = &text[from..text.len().min(start + WINDOW - FRONT)];
    window[FRONT + from - start..][..part.len()].copy_from_slice(part);
}

/// Looks at the stops of one block, which starts at `start` of the text.
#[inline(always)]
fn window_is_quiet<B: Block>(
    names: &Names,
    window: &[u8; WINDOW],
    start: usize,
    wanted: u64,
    least: &mut B,
    quick: &mut Quick<'_>,
) -> bool {
    let Stops { separators, signs, has_slashes } = stops_in(window, least);
    let (mut separators, signs) = (separators & wanted, signs & wanted);
    if has_slashes || signs != 0 {
        // In order, as escapes matter to what is behind them.
        let mut stops = separators | signs;
        while stops != 0 {
            let at = stops.trailing_zeros() as usize;
            let is_sign = signs >> at & 1 != 0;
            let is_settled = match is_sign {
                true => {
                    quick.escapes.is_letter([window[FRONT + at % BLOCK], window[FRONT + at % BLOCK + 1]], start + at)
                }
                false => is_dismissed(names, window, at),
            };
            if !is_settled && !quick.slowly(start + at) {
                return false;
            }
            stops &= stops - 1;
        }
        return true;
    }
    while separators != 0 {
        let at = separators.trailing_zeros() as usize;
        if !names_nothing(names, window, at) && !quick.slowly(start + at) {
            return false;
        }
        separators &= separators - 1;
    }
    true
}

/// [`pairs::is_dismissed`] of the separator at `at` of a block, and what else is no name for certain.
#[inline(always)]
fn is_dismissed(names: &Names, window: &[u8; WINDOW], at: usize) -> bool {
    !is_slash(window[FRONT + at % BLOCK + 1]) && names_nothing(names, window, at)
}

/// Whether no name that means something ends in front of the separator at `at` of a block.
#[inline(always)]
fn names_nothing(names: &Names, window: &[u8; WINDOW], at: usize) -> bool {
    let at = at % BLOCK;
    let Some(front) = window.get(at + FRONT - 4..).and_then(<[u8]>::first_chunk) else { return false };
    let front = u32::from_le_bytes(*front);
    let tail = if front >> 24 == u32::from(b'"') { front } else { front >> 8 };
    names.dismisses(tail) || is_dismissed_otherwise(names, window, at)
}

/// Whether the separator at `at` is dismissed by more than the last three letters in front of it, or is one of a time of the day.
#[inline(never)]
fn is_dismissed_otherwise(names: &Names, window: &[u8; WINDOW], at: usize) -> bool {
    let at = at % BLOCK + FRONT;
    let front = &window[..at];
    let may_be_time = window[at] == b':' && window[at + 1].is_ascii_digit();
    may_be_time && front.last_chunk().is_some_and(|front| pairs::is_behind_time(*front))
        || pairs::is_dismissed_by_more(names, front)
}

/// What is not settled at once.
struct Quick<'a> {
    policy: &'a Policy,
    text: &'a [u8],
    escapes: &'a mut Escapes,
    may_hold: bool,
    /// There are zeros among what was looked at byte by byte.
    has_zeros: bool,
    /// How far has been looked for what ends the authority of a URL.
    authority_done: usize,
}

impl Quick<'_> {
    /// Looks at each byte from one place to another.
    #[inline(never)]
    fn bytes(&mut self, start: usize, end: usize) -> bool {
        self.text[start..end].iter().enumerate().all(|(i, byte)| match STOPS[usize::from(*byte)] {
            Stop::None => true,
            Stop::Zero => {
                self.has_zeros = true;
                true
            }
            Stop::Sign => pairs::is_dismissed(&self.policy.fields, self.text, start + i) || self.slowly(start + i),
        })
    }

    #[cold]
    #[inline(never)]
    fn slowly(&mut self, at: usize) -> bool {
        let Self { policy, text, escapes: known, .. } = self;
        match text[at] {
            b':' | b'=' => self.separator(at),
            b'&' if !escapes::is_entity(&text[at + 1..]) => true,
            b'<' => !markup::may_name(policy, text, at) && !known.tag(policy, text, at),
            _ => !known.hides(policy, text, at),
        }
    }

    /// Whether a separator that is not dismissed by what is in front of it has no name of a secret there.
    fn separator(&mut self, at: usize) -> bool {
        let Self { policy, text, escapes, may_hold, authority_done, .. } = self;
        if text[at] == b':' {
            if pairs::is_time(text, at) {
                return true;
            }
            if matches!(text.get(at + 1), Some(b'/' | b'\\')) {
                if pairs::may_have_userinfo(text, at, authority_done) {
                    return false;
                }
                if !escapes.is_any() && pairs::is_plain_url(text, at) {
                    return true;
                }
            }
        }
        // Where there are no escapes, the full look is as quick.
        if escapes.is_any() && pairs::is_dismissed_afar(&policy.fields, text, at) {
            return true;
        }
        *may_hold = *may_hold || text[at] == b':' && member::may_hold(text, at);
        pairs::at(&policy.fields, policy.credentials, text, at, &mut 0).is_none() && !escapes.name(policy, text, at)
    }
}

/// What is looked at among the bytes of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    None,
    Zero,
    /// A separator, or what may start an escape.
    Sign,
}

const STOPS: [Stop; 256] = {
    let mut stops = [Stop::None; 256];
    stops[0] = Stop::Zero;
    let signs = b":=\\%&<";
    let mut i = 0;
    while i < signs.len() {
        stops[signs[i] as usize] = Stop::Sign;
        i += 1;
    }
    stops
};

/// What the authority of a URL starts with behind a colon, or an escape.
#[inline(always)]
const fn is_slash(byte: u8) -> bool {
    matches!(byte, b'/' | b'\\')
}

/// What there is in a block.
struct Stops {
    /// A bit for each byte that is a separator.
    separators: u64,
    /// The same of those that may start an escape.
    signs: u64,
    /// Whether there may be any that [`is_slash`], in it or just behind it.
    has_slashes: bool,
}

/// What there is in the window's block. `least` keeps the least of all bytes.
#[inline(always)]
fn stops_in<B: Block>(window: &[u8; WINDOW], least: &mut B) -> Stops {
    let Some(block) = window[FRONT..].first_chunk() else {
        return Stops { separators: 0, signs: 0, has_slashes: true };
    };
    let bytes = B::load(block);
    let is = |byte| bytes.equals(B::splat(byte));
    *least = least.least(bytes);
    let separators = (is(b':') | is(b'=')).bits();
    // `%` and `&` are two of four that differ in two bits, `<` and the backslash two of four that differ in two others.
    let any = (bytes | B::splat(b'\\' ^ b'<')).equals(B::splat(b'\\' | b'<'))
        | (bytes & B::splat(!3)).equals(B::splat(b'%' & !3))
        | is(b'/');
    if any.bits() == 0 {
        return Stops { separators, signs: 0, has_slashes: is_slash(window[FRONT + BLOCK]) };
    }
    let signs = (is(b'\\') | is(b'%') | is(b'&') | is(b'<')).bits();
    Stops { separators, signs, has_slashes: true }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::engine::Engine;
    use crate::escapes::{DECODED_EVERY, MAX_DECODED};
    use crate::finding::Side;
    use crate::masker::{MaskedBody, Masker};
    use crate::policy::{FieldRule, Settings};
    use crate::{Action, Masked, Pattern};

    fn policy() -> Policy {
        Policy::new(&Settings { key: vec![7; 32], ..Settings::default() }).unwrap()
    }

    fn is_quiet(policy: &Policy, text: &str) -> bool {
        look(policy, text.as_bytes(), &mut Escapes::default()).is_quiet
    }

    /// What a masker makes of a text, and what it says of it, with quick looks or without.
    fn masked(policy: &Arc<Policy>, text: &[u8], content_type: &str, at_cut: bool, is_thorough: bool) -> Vec<String> {
        let mut masker = Masker::new(Arc::clone(policy));
        masker.engine.is_thorough = is_thorough;
        masker.begin();
        let mut all = Vec::new();
        all.push(match masker.body(Side::Request, Some(content_type.as_bytes()), text, at_cut) {
            MaskedBody::Kept => "kept".to_owned(),
            MaskedBody::Replaced(text) => String::from_utf8_lossy(text).into_owned(),
            MaskedBody::Dropped => "dropped".to_owned(),
        });
        let told = |masked: Masked<'_>| match masked {
            Masked::Kept => "kept".to_owned(),
            Masked::Replaced(text) => String::from_utf8_lossy(text).into_owned(),
        };
        all.push(told(masker.target(text)));
        all.push(told(masker.header(Side::Request, b"X-Any", text)));
        all.push(told(masker.header(Side::Request, b"Referer", text)));
        all.extend(masker.findings().map(|finding| format!("{finding:?}")));
        all.push(masker.found().to_string());
        all
    }

    /// The same of a look that is held against a full one.
    fn looked(policy: &Arc<Policy>, text: &str, content_type: &str, at_cut: bool) -> Vec<String> {
        let quick = masked(policy, text.as_bytes(), content_type, at_cut, false);
        assert_eq!(quick, masked(policy, text.as_bytes(), content_type, at_cut, true), "{text}");
        quick
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// What it says it need not be looked at in full is not masked when it is: in bodies of every type, targets and headers,
        /// with names and separators in every escape.
        #[test]
        fn as_a_full_look(pieces in proptest::collection::vec(prop_oneof![
            4 => "[a-z]{0,9}[:=\"]{1,3}",
            4 => "[A-Za-z_\\[\\]. -]{0,3}(pass|word|tok|en|PIN|pin|pw|sid|secret|key|Key|q)[0-9_ \\]]{0,2}['\"` ]{0,2}[:=]",
            2 => "[a-zA-Z]{0,2}(\\\\n|\\\\u00e[0-9a-f]|[0-9.])?[_-](at|en|rd|wd|ss|al|ue|[a-z]{2})\"?[:=]",
            1 => "[0-9]{1,3}:[0-9]{2}",
            2 => "[a-z]{1,5}:\\\\?/\\\\?/[a-z]{0,4}(\\\\[nt\"])?[:@/]{0,2}",
            2 => "%[0-9a-g]{2}|&(quot|amp|lt|nbsp|#58|#x22|#10|#112);?",
            4 => "\\\\[ntrbf\"/'\\\\]",
            2 => "\\\\u00(0a|22|e9|3a|70|20|2f|5f|40)|\\\\u[0-9a-f]{4}|\\\\x[02][0-9a-f]",
            2 => "(\"|\\\\\")?(password|pin|pw|api key|x[a-f]pw|token)(\\\\n|\\\\t|\\\\\"|\"|\\\\/|%0[ad]|&quot;| ){0,3}[:=]",
            1 => "(\"|\\\\n|%0a|\\\\f|&#10;|\\\\u000a)(pin|pw|sid|_pw|q)(\\\\\")?[:=][a-z]{3}",
            1 => "<[a-z]{1,8}( name=\"[a-z&#;0-9]{1,8}\")?>|</[a-z]{1,8}>",
            1 => "\\{\"[a-z ]{1,6}\":|,\"[a-z]{1,4}\":|\\}|\\]|\\[",
            2 => "\\{\"(name|key|id)\" ?: ?\"(password|pin|page|x-auth)(\\\\n)?\" ?,\"([xé]_)?(v|va(l|lue)|text)\" ?: ?(\"[a-z]{4}\"|\\{|\\[|[0-9]{3})\\}?",
            2 => "\\{\"(v|(.{0,3}|(\\\\u00e9){5})value|text)\":(\"[a-z]{4}\"|[0-9]{4}|\\{\"a\":\"q\"\\}),\"(name|key|id|q)\": \"(password|q|page|x-auth)\"\\}?",
            2 => "[a-z]{1,3}(=|%3D|:|%253a)[a-z1]{0,3}\\+[a-z1]{1,4}(\\+|;|&|/|==)?",
            1 => "(password|api\\+key|pin|x)(=|%3D|%253D|:|%3A)(null|true|\\{\\}|\\{[a-z]{2}\\}|'|%27|\\+)?[a-z0-9]{0,3}\\+[a-z0-9/+]{1,4}(=|;|&|%20)?",
            1 => "[a-z]{1,3}:(//|%2F%2F|%252F%252F)[a-z]{1,2}:[a-z]\\+[a-z]@h|\\+",
            1 => "[&?#]?code=[a-z1]{5}|[&?#](state|iss|grant_type)=",
            2 => "[{,]{0,2}(“|”|»|«|‘|’|＂|\\\\u201c|\\\\u00ab|\\\\xbb|&ldquo;|&laquo;|%E2%80%9C|\"|\\\\\")(name|value|password|pin|x)(\u{a0}| )?(”|“|»|«|’|＂|\\\\u201d|\\\\u00bb|\\\\xbb|&rdquo;|&raquo;|%E2%80%9D|\"|\\\\\") ?[:=]?",
            2 => "(“|”|»|‘|&ldquo;|&raquo;|\\\\u201c|\\[“|\\{“)[a-z’ ,:]{0,5}(”|»|’|&rdquo;|&raquo;|\\\\u201d|”\\]|”\\})?[,}]?",
            1 => "&#0{0,20}(58|61|112|160|34|8220|8221);|&#x0{1,14}(3d|3A|70|a0|22|201d);",
            1 => "(\"|\\{\"| )?(api|x|p|pass|das)(\u{a0}|&nbsp;|\\\\u00a0|\\\\xa0|&#160;|&#xa0;|%C2%A0)(key|in|w|pin|word)\"?[:=]",
            1 => "\\PC{0,12}",
            1 => "[ -~]{0,70}",
        ], 0..16), at_cut: bool, is_own: bool) {
            let mut settings = Settings { key: vec![7; 32], ..Settings::default() };
            if is_own {
                settings.fields = ["q", "größe", "ab", "cat", "êat"].map(|name| FieldRule { name: "OWN".into(), fields: vec![name.into()], action: Action::Redact }).into();
            }
            let policy = Arc::new(Policy::new(&settings).unwrap());
            let text = pieces.concat();
            for content_type in ["application/json", "text/plain", "text/xml", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"] {
                prop_assert_eq!(
                    masked(&policy, text.as_bytes(), content_type, at_cut, false),
                    masked(&policy, text.as_bytes(), content_type, at_cut, true),
                    "{:?} {}", text, content_type
                );
            }
            // Without escapes it says so of every such text but where a URL has an empty name.
            let mut engine = Engine::new(Arc::clone(&policy));
            engine.start();
            if engine.survey_in_full(text.as_bytes(), false) && !text.contains("//") {
                prop_assert!(is_quiet(&policy, &text), "{}", text);
            }
        }
    }

    proptest! {
        /// In a long text as in a short one, wherever in a block it stands, and however many separators are in front.
        #[test]
        fn length_changes_nothing(
            filler in prop_oneof![Just("\"ab\":1,"), Just("a=:=:=:=:"), Just("::::::::"), Just("\"total_at\": \"12:30:01\", "), Just("no separators at all, ")],
            filled in 0_usize..2_500,
            name in prop_oneof![4 => "[a-z]{3,8}", 2 => "(x-|x_)?(password|token|secret)", 1 => "(pin|pw)"],
            joint in prop_oneof![Just("\":\""), Just("="), Just(": "), Just("\\u003d"), Just("%3D"), Just("://u:")],
            behind in 0_usize..300,
        ) {
            let policy = policy();
            let secret = format!("\"{name}{joint}4711abc@h\" ");
            let mut text = filler.repeat(filled / filler.len() + 1);
            text.truncate(filled);
            text.push_str(&secret);
            text.push_str(&filler.repeat(behind / filler.len() + 1)[..behind]);
            prop_assert_eq!(is_quiet(&policy, &text), is_quiet(&policy, &format!(" {secret} ")), "{}", text);
        }
    }

    /// A plus in a query or form is a blank in front of a secret, and part of one.
    #[test]
    fn a_secret_goes_on_behind_a_plus() {
        let default = Arc::new(policy());
        let pattern = Pattern { name: "NONE".into(), regex: "^zzzqqqzzz$".into(), action: Action::Redact };
        let own = Arc::new(
            Policy::new(&Settings { key: vec![7; 32], patterns: vec![pattern], ..Settings::default() }).unwrap(),
        );
        for text in [
            "AccountKey=ab+S3cr3t/xy==",
            "AccountKey%3Dab+S3cr3t/xy==",
            "AccountKey%253Dab+S3cr3t/xy==",
            "Server=x;Password=ab+S3cr3t;x=1",
            "x+password=ab1+2S3cr3t",
            "x+api+key:ab+S3cr3t",
            "x+api+key%253Aab+cd+S3cr3t",
            "password=null+S3cr3t",
            "password={}+S3cr3t",
            "password={noop}+S3cr3t",
            "{\"password\":ab+S3cr3t}",
            "http://me:ab+S3cr3t@h/",
            "http:%252F%252Fme:ab+S3cr3t@h/",
            "<a key=password value=ab+S3cr3t>",
        ] {
            let text = format!("a={text}&b=1");
            for policy in [&default, &own] {
                let body = looked(policy, &text, "application/x-www-form-urlencoded", false)[0].clone();
                let look = |is_thorough| {
                    let mut masker = Masker::new(Arc::clone(policy));
                    masker.engine.is_thorough = is_thorough;
                    masker.begin();
                    match masker.target(format!("/x?{text}").as_bytes()) {
                        Masked::Kept => panic!("{text}"),
                        Masked::Replaced(target) => String::from_utf8_lossy(target).into_owned(),
                    }
                };
                assert_eq!(look(false), look(true), "{text}");
                let target = look(false);
                assert!(!body.contains("S3cr3t") && body.ends_with("&b=1"), "{text} {body}");
                assert!(!target.contains("S3cr3t") && target.ends_with("&b=1"), "{text} {target}");
            }
        }
    }

    /// The segments of a path are not the container that all of them are.
    #[test]
    fn a_container_is_looked_at_in_parts() {
        let policy = Arc::new(policy());
        let text = "PIN=[pass'=a://PIN:\u{aa5c}/':";
        assert!(!looked(&policy, text, "text/plain", false)[1].contains('\u{aa5c}'));
    }

    /// The end of a name that begins with digits is not taken for the whole, as if they were a value of JSON.
    #[test]
    fn a_name_is_not_cut_at_its_digits() {
        let policy = Arc::new(policy());
        for name in ["000_PIN", "000$PIN", "000[PIN]", "000\u{e9}PIN"] {
            let text = format!(r#"{{"name":"password\n","v":{name}:a="#);
            looked(&policy, &text, "application/json", false);
        }
    }

    /// At its ampersand a form, or a query, ends what the entity is part of as text.
    #[test]
    fn an_entity_that_a_form_splits_joins_nothing() {
        let policy = Arc::new(policy());
        for joint in ["&#112;", "&#x112;", "&#274;"] {
            let text = format!("{joint}pin\\n:{{\"name\":\"password\\n\",\"v\":\"aaaa\"");
            for content_type in ["application/x-www-form-urlencoded", "text/plain"] {
                assert!(!looked(&policy, &text, content_type, false)[1].contains("aaaa"), "{text}");
            }
            // As a part of another body, too.
            let head = "--b\r\nContent-Disposition: form-data; name=x\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\n";
            let parts = format!("{head}{joint}&#274;pin\\n:w=hunter22\r\n--b--\r\n");
            looked(&policy, &parts, "multipart/form-data; boundary=b", false);
        }
    }

    /// Of a member that names, the first string is the name, and nothing that stands behind it.
    #[test]
    fn one_string_is_a_name() {
        let policy = Arc::new(policy());
        for text in [
            r#"{"v":"aaaa","name": "q""PIN"="#,
            r#"{"v":"aaaa","name": q "PIN"}"#,
            r#"{"v":"aaaa","name": ["q"] "PIN"}"#,
        ] {
            looked(&policy, text, "application/json", false);
        }
    }

    #[test]
    fn names_count_wherever_they_stand() {
        let policy = policy();
        for front in 0..130 {
            let front = "x".repeat(front);
            for text in [
                "{\"password\":1}",
                "?pin=1",
                "a=%41",
                "http://me:it@h/",
                "\\u0070in=1",
                "pi\\u006e=1",
                "pin\\u003d1",
                "pin\\n: 1",
                "\\npw=1",
                "\\nauth=1",
                "A=1\\thmac: 1",
                "\\r\\nAuth\\\": 1",
                "%0apw=1",
                "\\\"api key\\\":1",
                "http:\\/\\/me:it@h\\/",
                "token%0a\\\"=1",
                "token\\u000a\\\"=1",
                "token&#10;\\\"=1",
                "http://m\\u00e9:it@h/",
            ] {
                assert!(!is_quiet(&policy, &format!("{front} {text}")), "{front} {text}");
            }
            for text in [
                "{\"status\":\"shipped\"}",
                "?page=2",
                "12:30:45",
                "http://h/",
                "{\"text\":\"gr\\u00fcn \\\"a\\\": b\\n12:30:45 http:\\/\\/h\\/\\n\", \"created_at\":1}",
                "?q=%C3%A9%2C&x=1",
            ] {
                assert!(is_quiet(&policy, &format!("{front} {text}")), "{front} {text}");
            }
        }
    }

    /// Typeset quotes around names, values, containers and neighbours: as they are, in every escape, and in a string of JSON.
    #[test]
    fn typeset_quotes_are_quotes() {
        let policy = Arc::new(policy());
        for text in [
            "“password”: “hunter22, it’s hunter33”",
            "“password”: “«hunter22» ‘hunter33’ „hunter44“”",
            "“password”: “a “b” hunter22”",
            "“password”: “a\nhunter22”",
            "‘password’: ‘don’t hunter22’",
            "‘password’=‘l’été hunter22’",
            "„password“: „hunter 22“",
            "‚pin‘=‚hunter 22‘",
            "»password«: »hunter 22«",
            "»password»: »hunter 22»",
            "»password«: »«hunter 22»«",
            "”password”: ”hunter 22”",
            "’password’ = ’hunter 22’",
            "‹password›: ‹hunter 22›",
            "＂password＂: ＂hunter 22＂",
            "＇password＇=＇hunter 22＇",
            "«\u{a0}password\u{a0}»\u{a0}:\u{a0}«\u{a0}hunter 22\u{a0}»",
            "“ password ” : “hunter 22”",
            "“new password”: “hunter 22”",
            "“api key”: “hunter 22”",
            "password=“hunter 22”",
            "pin: “hunter 22”",
            "{“password”:[“hunter 22”]}",
            "{“password”:[“hunter”, “hunter: 22”, 5550122]}",
            "{“password”:{“a”:“hunter 22”, “b, c: d”: [«hunter»]}}",
            "{\"password\":{“a”:“hunter 22”}}",
            "{“password”:{\"a\":\"hunter 22\"}}",
            "{“name”:“password”,“value”:“hunter 22”}",
            "{“value”:“hunter 22, it’s hunter33”, “name”: “password”}",
            "{“name” : “password” , “value” : {“a”:[“hunter 22”]}}",
            "{\"name\":“password”,\"value\":“hunter 22”}",
            "{“name”:\"password\",“value”:\"hunter 22\"}",
            "{“name”:“password”,“value”:hunter}",
            "{»name«:»password«,»value«:»hunter 22«}",
            "{»name»:»password»,»value»:»hunter 22»}",
            "{“a”:“b “c” d”,“name”:“password”,“value”:“hunter 22”}",
        ] {
            let escaped = |escape: &dyn Fn(char) -> String| -> String {
                text.chars().map(|c| if c.is_ascii() { c.to_string() } else { escape(c) }).collect()
            };
            let html = |c: char| {
                let name = match c {
                    '“' => "ldquo",
                    '”' => "rdquo",
                    '„' => "bdquo",
                    '‘' => "lsquo",
                    '’' => "rsquo",
                    '‚' => "sbquo",
                    '«' => "laquo",
                    '»' => "raquo",
                    '‹' => "lsaquo",
                    '›' => "rsaquo",
                    '\u{a0}' => "nbsp",
                    _ => return format!("&#{};", c as u32),
                };
                format!("&{name};")
            };
            let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let json = escaped(&|c| format!("\\u{:04x}", c as u32));
            for (text, content_type) in [
                (text.to_owned(), "text/plain"),
                (text.to_owned(), "application/json"),
                (format!("so {text} end"), "text/plain"),
                (format!("<p>{text}</p>"), "text/html"),
                (format!("<p>{}</p>", escaped(&html)), "text/html"),
                (escaped(&html), "text/plain"),
                (escaped(&|c| format!("&#{};", c as u32)), "text/html"),
                (escaped(&|c| format!("&#x{:X};", c as u32)), "text/plain"),
                (json.clone(), "text/plain"),
                (format!("{{\"m\":\"{}\",\"n\":1}}", quoted(text)), "application/json"),
                (
                    format!("{{\"m\":\"{}\",\"n\":1}}", json.replace('"', "\\\"").replace('\n', "\\n")),
                    "application/json",
                ),
                (format!("{{\"m\":\"{{\\\"x\\\":\\\"{}\\\"}}\"}}", quoted(&quoted(text))), "application/json"),
                (
                    format!("m={}", text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>()),
                    "application/x-www-form-urlencoded",
                ),
                (
                    format!(
                        "m={}",
                        text.bytes()
                            .map(|byte| if byte.is_ascii_alphanumeric() {
                                char::from(byte).to_string()
                            } else {
                                format!("%{byte:02X}")
                            })
                            .collect::<String>()
                    ),
                    "application/x-www-form-urlencoded",
                ),
            ] {
                for at_cut in [false, true] {
                    let out = looked(&policy, &text, content_type, at_cut)[0].clone();
                    assert!(out.contains("tok_") && !out.contains("hunter"), "{content_type} {text}: {out}");
                }
            }
        }
    }

    /// What stands around them stays.
    #[test]
    fn typeset_quotes_end_where_they_do() {
        let policy = Arc::new(policy());
        for (text, before, behind) in [
            ("“password”: “a it’s b”, “x”: “y”", "“password”: “", "”, “x”: “y”"),
            ("‘password’: ‘don’t’, ‘x’: ‘y’", "‘password’: ‘", "’, ‘x’: ‘y’"),
            ("»password»: »a», »x»: »y»", "»password»: »", "», »x»: »y»"),
            ("{“password”:[“a”], “x”: “y”}", "{“password”:[“", "”], “x”: “y”}"),
            ("{“name”:“pin”,“value”:“a b”,“x”:“y”}", "{“name”:“pin”,“value”:“", "”,“x”:“y”}"),
            ("pin: › a\nx", "pin: ›", "\nx"),
        ] {
            let out = looked(&policy, text, "text/plain", false)[0].clone();
            assert!(out.starts_with(before) && out.ends_with(behind) && out.contains("tok_"), "{out}");
        }
        for text in
            ["“spin”: “a”", "the “password” is new", "{“name”:“page”,“value”:“a”}", "{“title”:“pin”,“value”:“a”}"]
        {
            assert_eq!(looked(&policy, text, "text/plain", false)[0], "kept", "{text}");
        }
    }

    /// Entities with zeros in front, and no-break blanks in names.
    #[test]
    fn zeros_and_blanks_hide_no_name() {
        let policy = Arc::new(policy());
        let zeros = "0".repeat(3000);
        for text in [
            "password&#0000000061;hunter22",
            "password&#x0000000000000000000000000000003D;hunter22",
            &format!("password&#{zeros}61;hunter22"),
            &format!("p&#x{zeros}61;ssword&#{zeros}58;hunter22"),
            &format!("p&#{zeros}97;ss{}=hunter22", "w&#00000000000111;rd"),
            "{&#000000000000034;name&#0000000000000034;:\"password\",\"value\":\"hunter22\"}",
            "api\u{a0}key: hunter22",
            "api\u{a0}key\u{a0}=\u{a0}hunter22",
            "das\u{a0}pin: hunter22",
            "my\u{a0}api key=hunter22",
            "api&nbsp;key: hunter22",
            "api&nbsp;key&nbsp;: hunter22",
            "api&#160;key=hunter22",
            "api&#xA0;key=hunter22",
            "api&#00000000000160;key=hunter22",
            "api\\u00a0key=hunter22",
            "api\\xa0key=hunter22",
            "api%C2%A0key=hunter22",
            "p\u{a0}w: hunter22",
            "\\u00a0pw: hunter22",
        ] {
            let string = format!("{{\"m\":\"{}\",\"n\":1}}", text.replace('"', "\\\""));
            for (text, content_type) in
                [(text.to_owned(), "text/plain"), (format!("<p>{text}</p>"), "text/html"), (string, "application/json")]
            {
                let out = looked(&policy, &text, content_type, false)[0].clone();
                assert!(out.contains("tok_") && !out.contains("hunter22"), "{content_type} {text}: {out}");
            }
        }
        for key in [
            "api\u{a0}key",
            "\u{a0}pin\u{a0}",
            "api&nbsp;key",
            "api&#160;key",
            "api\\u00a0key",
            "api&#x000000000000a0;key",
            "p&#00000000000097;ssword",
            "&nbsp;pin",
        ] {
            for (text, content_type) in [
                (format!("{{\"{key}\":\"hunter22\",\"n\":1}}"), "application/json"),
                (format!("{{\"{key}\":[\"hunter22\"]}}"), "text/plain"),
                (format!("{{\"m\":\"{{\\\"{key}\\\":\\\"hunter22\\\"}}\"}}"), "application/json"),
            ] {
                let out = looked(&policy, &text, content_type, false)[0].clone();
                assert!(out.contains("tok_") && !out.contains("hunter22"), "{content_type} {text}: {out}");
            }
        }
        for text in ["http://me:hunt&#000000000000000000000000003", "see http://me:hunt&#x0000000000000000000000000"] {
            assert!(looked(&policy, text, "text/plain", true)[0].contains("://tok_"), "{text}");
        }
    }

    /// Escapes do not make it slow: what would have to be decoded again and again is left to the full look.
    #[test]
    fn only_so_much_is_decoded() {
        let text = "\\n1:".repeat(10 * MAX_DECODED);
        let policy = policy();
        let mut escapes = Escapes::default();
        let mut quick = Quick {
            policy: &policy,
            text: text.as_bytes(),
            escapes: &mut escapes,
            may_hold: false,
            has_zeros: false,
            authority_done: 0,
        };
        assert!(!processor::at_best(text.len(), &mut quick).0);
        assert_eq!(quick.escapes.decoded(), MAX_DECODED + text.len() / DECODED_EVERY + 1);
    }

    /// A password in a URL that a cut goes through where a character of it is written as an entity.
    #[test]
    fn half_an_entity_is_part_of_a_password() {
        let policy = Arc::new(policy());
        for text in ["a://::&#58", "see http://me:hunt&#x32", "see http://me:hunt&#3", "http://me:a&#39;b&#"] {
            assert!(looked(&policy, text, "text/plain", true)[0].contains("://tok_"), "{text}");
        }
    }

    #[test]
    fn zeros_are_seen() {
        let policy = policy();
        for len in 0..200_usize {
            let mut text = vec![b'x'; len];
            let has_zeros = |text: &[u8]| look(&policy, text, &mut Escapes::default()).has_zeros;
            assert!(!has_zeros(&text), "{len}");
            for at in 0..len {
                text[at] = 0;
                assert!(has_zeros(&text), "{len} {at}");
                text[at] = b'x';
            }
        }
    }
}
