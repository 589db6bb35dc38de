//! What of a configuration may be a secret, although none belongs there. It is shown neither in a message nor by `--print`.
//!
//! Whatever an operator wrote comes into a message or onto the screen through [`word`], [`quoted`] or [`hidden`], by one
//! judgement, [`may_be_in`]; what others say of it passes [`discreet`]. All that is said of a configuration passes [`Unsaid`]
//! last, which strikes out what was quoted all the same. Where a text that holds credentials is of no use it is refused, so
//! that nobody behind the configuration can show it. Names and texts are judged by the rules that records are masked by, so
//! that no second list of names is needed.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use masking::{Action, Detector, Masked, MaskedBody, Masker, Policy, Settings, Side};

/// The most characters of a text that a message shows.
const SHOWN_CHARS: usize = 60;

/// The fewest characters that a key has, in hexadecimal digits or base64.
const SHORTEST_KEY: usize = 32;

/// The fewest of a key that are in no word: chance makes few words of its letters.
const LEAST_IN_NO_WORD: usize = 16;

/// The most letters, and digits before or behind them, that a word of a name has.
const LONGEST_WORD: usize = 20;
const LONGEST_NUMBER: usize = 14;

/// The fewest characters of a text that are worth striking out: fewer are in anything that is said.
const SHORTEST_STRUCK: usize = 4;

/// What is done with what holds credentials, where that has no business.
pub(super) const ADVICE: &str = "it looks like a password, a token or a key, and a secret is never in the configuration: take it out; and change it, as it was readable here";

/// What is done with what may be a secret in place of its name.
pub(super) const ADVICE_ON_NAMES: &str = "it looks like a key, and a key is never in the configuration: put it where it belongs and name that here, a file as in \"/etc/sensor/key\"; and change the key, as it was readable here";

/// What stands for a text that is not shown.
pub(super) fn hidden(text: &str) -> String {
    format!("({} characters, not shown)", text.chars().count())
}

/// A text in a message: escaped, cut where it is long, and not shown where it may hold a secret.
pub(super) fn word(text: &str) -> String {
    if may_be_in(text) { hidden(text) } else { escaped(text) }
}

/// The same of a text that was judged.
pub(super) fn escaped(text: &str) -> String {
    let mut short: String = text.chars().take(SHOWN_CHARS).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN_CHARS).is_some() {
        short.push('…');
    }
    short
}

/// The same in quotes, where it is shown.
pub(super) fn quoted(text: &str) -> String {
    if may_be_in(text) { format!("a text {}", hidden(text)) } else { format!("\"{}\"", escaped(text)) }
}

/// The name of a folder.
pub(super) fn folder(folder: &Path) -> String {
    word(&folder.to_string_lossy())
}

/// The advice about a text that is not shown, without the text where it quotes that; another one where it says it otherwise.
pub(super) fn advice(text: &str, advice: &str, otherwise: impl FnOnce() -> String) -> String {
    let bare = without_form(text);
    let quoted = [bare, bare.trim()].into_iter().filter(|quoted| !quoted.is_empty());
    let advice = quoted.fold(advice.to_owned(), |advice, quoted| advice.replace(quoted, "…"));
    let says_it = advice.to_lowercase().contains(&bare.trim().to_lowercase());
    if says_it && !bare.trim().is_empty() { otherwise() } else { advice }
}

/// A pattern without the name of its form.
fn without_form(text: &str) -> &str {
    ["exact:", "glob:", "regex:"].iter().find_map(|form| text.strip_prefix(form)).unwrap_or(text)
}

/// What somebody else says of a text. Of one that may hold a secret no part is said, as who quotes it may have taken it apart.
pub(super) fn discreet(text: &str, said: &str, otherwise: impl FnOnce() -> String) -> String {
    if !may_be_in(text) {
        return said.to_owned();
    }
    let said = strike(text, said);
    let is_part = |part: &str| part.len() >= SHORTEST_STRUCK && said.to_lowercase().contains(&part.to_lowercase());
    if text.split(|c: char| !c.is_alphanumeric()).any(is_part) { otherwise() } else { said }
}

/// What is said, without a text that may be a secret where it is quoted as a whole.
fn strike(text: &str, said: &str) -> String {
    let cut = escaped(text);
    let quotes = [text, text.trim(), cut.trim_end_matches('…')];
    let quotes = quotes.into_iter().filter(|quote| quote.chars().count() >= SHORTEST_STRUCK);
    quotes.fold(said.to_owned(), |said, quote| said.replace(quote, &hidden(text)))
}

/// What nothing that is said of a configuration may quote, whoever says it.
#[derive(Debug, Default)]
pub(super) struct Unsaid(BTreeSet<String>);

impl Unsaid {
    /// Keeps a text, which may be a secret, out of all that is said.
    pub(super) fn add(&mut self, text: &str) {
        if !self.0.contains(text) {
            self.0.insert(text.to_owned());
        }
    }

    /// What is said, without these texts.
    pub(super) fn strike_from(&self, said: &mut String) {
        for text in &self.0 {
            let struck = strike(text, said);
            *said = struck;
        }
    }
}

/// Whether a text may hold a secret or be one: what is no name, path or number of anybody (several lines, or an armoured
/// key), what is like a key, and what would be masked in a record. A UUID is an id by far more often than a secret.
pub(super) fn may_be_in(text: &str) -> bool {
    // What stands between signs that no key has.
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric() && !"+/-_=".contains(c));
    text.contains('\n') || words.any(|word| is_like_a_key(word) && !is_uuid(word)) || is_in_text(without_form(text))
}

/// Whether a text that should only name a secret may be one.
pub(super) fn may_be_instead(text: &str) -> bool {
    may_be_in(text) || is_like_a_key(text)
}

/// Whether a name of few letters may be a password: some of each kind, and numbers in the midst of them, more than one as names
/// have (`OAuth2ClientSecret`).
pub(super) fn is_like_a_password(text: &str) -> bool {
    const SHORTEST: usize = 8;
    text.split(|c: char| !c.is_ascii_alphanumeric()).any(|part| {
        let letters = part.trim_matches(|c: char| c.is_ascii_digit());
        let runs = letters.split(|c: char| c.is_ascii_digit()).filter(|run| !run.is_empty()).count();
        let has = |kind: fn(&u8) -> bool| letters.bytes().any(|b| kind(&b));
        // Of words with digits between them (`K8sOidc2Client`) the runs are longer.
        let is_broken = letters.bytes().filter(u8::is_ascii_alphabetic).count() < 4 * runs;
        part.len() >= SHORTEST && runs > 2 && is_broken && has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase)
    })
}

fn is_uuid(text: &str) -> bool {
    let lengths = text.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12]) && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
}

/// Whether credentials are in a text, by their names or by what they look like.
pub(super) fn is_in_text(text: &str) -> bool {
    text.contains("-----BEGIN")
        || judged(|masker| {
            masker.body(Side::Request, Some(b"text/plain"), text.as_bytes(), false) != MaskedBody::Kept
                || masker.target(text.as_bytes()) != Masked::Kept
        })
}

/// Whether a header of this name holds credentials, or this text of one does.
pub(super) fn is_in_header(name: &str, text: &str) -> bool {
    // A value that is a secret wherever values of the field are.
    const ANY: &[u8] = b"x=Zq7Xw9LkPq4v";
    judged(|masker| {
        let mut is_secret = |value: &[u8]| masker.header(Side::Request, name.as_bytes(), value) != Masked::Kept;
        is_secret(ANY) || is_secret(text.as_bytes())
    })
}

/// Whether a URL, or its path and query, holds credentials.
pub(super) fn is_in_url(url: &str) -> bool {
    judged(|masker| masker.target(url.as_bytes()) != Masked::Kept)
}

/// Whether a key is more likely to be the text than a name is, perhaps behind the name of its form, as in `base64:`, or written
/// as a path of this folder: it has the signs of one, and much of it is in no word.
pub(super) fn is_like_a_key(text: &str) -> bool {
    let text = match text.split_once(':') {
        Some((form, key)) if form.bytes().all(|b| b.is_ascii_alphanumeric()) => key.trim_start(),
        _ => text,
    };
    let text = text.trim_start_matches("./");
    // Of base64 there are two alphabets (RFC 4648, sections 4 and 5); what has signs of both is a path.
    let is_of = |signs: &[u8]| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'=' || signs.contains(&b));
    let is_in_no_word =
        || text.split(['/', '+', '-', '_', '=']).filter(|part| !is_word(part)).map(str::len).sum::<usize>();
    text.len() >= SHORTEST_KEY
        && (is_of(b"+/") || is_of(b"-_"))
        && text.bytes().any(|b| b.is_ascii_digit())
        && !is_absolute_path(text)
        && is_in_no_word() >= LEAST_IN_NO_WORD
}

/// Whether a text is the path of something in a folder of the root that has a name, as in `/nix/store/…`.
fn is_absolute_path(text: &str) -> bool {
    let first = text.strip_prefix('/').and_then(|path| path.split_once('/')).map(|(first, _)| first);
    first.is_some_and(|first| first.len() > 2 && first.bytes().all(|b| b.is_ascii_lowercase()))
}

/// Whether it is a word of names, or a number: letters in the order of `word`, `Word`, `WORD` or `someWords`, perhaps with a
/// number at one end.
fn is_word(part: &str) -> bool {
    let letters = part.trim_matches(|c: char| c.is_ascii_digit());
    let most_digits = |digits: usize| digits <= LONGEST_NUMBER;
    if letters.is_empty() {
        return most_digits(part.len());
    }
    let begin = part.find(letters).unwrap_or(0);
    // Letters that are humps of fewer than three are nobody's words.
    let humps = letters.bytes().skip(1).filter(u8::is_ascii_uppercase).count();
    let is_plain = letters.bytes().all(|b| b.is_ascii_alphabetic());
    let is_upper = letters.bytes().all(|b| b.is_ascii_uppercase());
    is_plain
        && letters.len() <= LONGEST_WORD
        && (is_upper || humps * 3 < letters.len())
        && most_digits(begin)
        && most_digits(part.len() - begin - letters.len())
        && (begin == 0 || begin + letters.len() == part.len())
}

/// What a masker says that knows credentials and nothing else. Whatever it makes of them is thrown away, so its key is of no
/// account. Without one, everything may be a secret.
fn judged(judge: impl FnOnce(&mut Masker) -> bool) -> bool {
    static MASKER: OnceLock<Option<Mutex<Masker>>> = OnceLock::new();
    let masker = MASKER.get_or_init(|| {
        let looks = [Detector::Jwt, Detector::AwsKey, Detector::ApiKey, Detector::PrivateKey];
        let settings = Settings {
            key: vec![1; 32],
            detectors: looks.into_iter().map(|detector| (detector, Action::Redact)).collect(),
            ..Settings::default()
        };
        Policy::new(&settings).ok().map(|policy| Mutex::new(Masker::new(Arc::new(policy))))
    });
    let Some(mut masker) = masker.as_ref().and_then(|masker| masker.lock().ok()) else { return true };
    masker.begin();
    judge(&mut masker)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_and_urls_are_judged_as_in_records() {
        for (name, text) in [
            ("authorization", "Bearer *"),
            ("Cookie", "glob:*"),
            ("x-api-key", "a"),
            ("referer", "https://a.example/?token=Zq7Xw9LkPq"),
        ] {
            assert!(is_in_header(name, text), "{name}");
        }
        for (name, text) in [("user-agent", "glob:kube-probe/*"), ("x-debug", "1"), ("host", "a.example")] {
            assert!(!is_in_header(name, text), "{name}");
        }
        for url in ["https://a.example/t?client_secret=hunter2", "https://me:hunter2@a.example/t"] {
            assert!(is_in_url(url), "{url}");
        }
        for url in
            ["https://a.example/auth/realms/cequence/protocol/openid-connect/token", "https://a.example/t?p=signin"]
        {
            assert!(!is_in_url(url), "{url}");
        }
    }

    #[test]
    fn keys_are_told_from_names() {
        for key in [
            "0123456789abcdef0123456789abcdef",
            "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=",
            "./q83vEjRW/JCrze8S+FZ4kKvN7xI0VniQq83vEjRWeJA",
            "base64:q83vEjRW_JCrze8S-FZ4kKvN7xI0VniQq83vEjRWeJA",
            "/q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=",
            "72f988bf-86f1-41af-91ab-2d7cd011db47",
            "12345678901234567890123456789012",
        ] {
            assert!(is_like_a_key(key), "{key}");
        }
        for name in [
            "/etc/sensor/mask-2026-11-21-0123456789abcdef",
            "/var/lib/sensor/keys/mask20241121key32bytes=",
            "mask.key",
            "keys/0123456789abcdef01234567.key",
            "environments/production-eu-west1/sensor-mask-key",
            "./environments/production_eu_west_1/sensor_mask_key2",
            "environments/k8s-production/20261121103000/sensorMaskKey",
            "PLATFORM_CLIENT_SECRET_FOR_PRODUCTION_EU_WEST_1",
            "key",
        ] {
            assert!(!is_like_a_key(name), "{name}");
        }
        assert!(!may_be_in("72f988bf-86f1-41af-91ab-2d7cd011db47") && may_be_in("1,0123456789abcdef0123456789abcdef"));
        assert!(is_like_a_password("S3cr3tHunter22Zq") && is_like_a_password("a-S3cr3tHunter"));
        for name in [
            "K8sOAuth2Secret",
            "K8sOidc2ClientSecret",
            "x509Sha256ClientKey",
            "PLATFORM_SECRET_2",
            "SensorSecret2",
            "client-secret",
            "OAuth2ClientSecret",
            "MyAPIKeyV2",
            "hunter2x",
        ] {
            assert!(!is_like_a_password(name), "{name}");
        }
    }

    #[test]
    fn what_is_quoted_of_a_secret_is_struck_out_or_not_said() {
        let text = "password=hunterzwei";
        let say = |said: &str| discreet(text, said, || "otherwise".to_owned());
        assert_eq!(say("the filter 'password=hunterzwei' is none"), "the filter '(19 characters, not shown)' is none");
        assert_eq!(say("near 'HunterZwei'"), "otherwise");
        assert_eq!(discreet("tcp prot 80", "near 'prot'", || "otherwise".to_owned()), "near 'prot'");
        let mut unsaid = Unsaid::default();
        let long = format!("token=\"{}", "x".repeat(80));
        [text, "abc", &long].into_iter().for_each(|text| unsaid.add(text));
        let mut said = format!("abc and {text} and {}", escaped(&long));
        unsaid.strike_from(&mut said);
        assert_eq!(said, "abc and (19 characters, not shown) and (87 characters, not shown)…");
    }

    /// A quick generator of bytes, the same at each run.
    fn bytes(seed: u64, count: usize) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn keys_of_chance_are_keys_in_any_alphabet() {
        const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        for seed in 1..2_000 {
            let key = bytes(seed, 44);
            let hex: String = key.iter().take(16).map(|b| format!("{b:02x}")).collect();
            assert!(is_like_a_key(&hex), "{hex}");
            for signs in [b"+/", b"-_"] {
                let alphabet = [LETTERS, signs].concat();
                let mut text: String = key.iter().map(|b| char::from(alphabet[usize::from(b % 64)])).collect();
                // By chance there may be none.
                text.replace_range(20..21, "7");
                assert!(is_like_a_key(&text) || is_absolute_path(&text), "{text}");
            }
        }
    }
}
