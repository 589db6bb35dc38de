//! What of a configuration may be a secret, although none belongs there. It is shown neither in a message nor by `--print`.
//!
//! Whatever an operator wrote comes into a message or onto the screen through [`word`], [`quoted`] or [`hidden`]. Names and
//! texts are judged by the rules that records are masked by, so that no second list of names is needed.

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use masking::{Action, Detector, Masked, MaskedBody, Masker, Policy, Settings, Side};

/// The most characters of a text that a message shows.
const SHOWN_CHARS: usize = 60;

/// The fewest characters that a key has, in hexadecimal digits or base64.
const SHORTEST_KEY: usize = 32;

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
    let bare = ["exact:", "glob:", "regex:"].iter().find_map(|form| text.strip_prefix(form)).unwrap_or(text);
    let quoted = [bare, bare.trim()].into_iter().filter(|quoted| !quoted.is_empty());
    let advice = quoted.fold(advice.to_owned(), |advice, quoted| advice.replace(quoted, "…"));
    let says_it = advice.to_lowercase().contains(&bare.trim().to_lowercase());
    if says_it && !bare.trim().is_empty() { otherwise() } else { advice }
}

/// Whether a text may hold a secret or be one: what is no name, path or number of anybody (several lines, or an armoured
/// key), what is like a key, and what would be masked in a record.
pub(super) fn may_be_in(text: &str) -> bool {
    text.contains('\n') || is_like_a_key(text) || is_in_text(text)
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

/// Whether the text is one word that a key is more likely to be than the name of a file is, perhaps behind the name of its
/// form, as in `base64:`, or written as a path of this folder.
pub(super) fn is_like_a_key(text: &str) -> bool {
    let text = match text.split_once(':') {
        Some((form, key)) if form.bytes().all(|b| b.is_ascii_alphanumeric()) => key.trim_start(),
        _ => text,
    };
    let text = text.trim_start_matches("./");
    // Of base64 there are two alphabets (RFC 4648, sections 4 and 5); what has signs of both is a path.
    let is_of = |signs: &[u8]| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'=' || signs.contains(&b));
    text.len() >= SHORTEST_KEY
        && (!text.starts_with('/') || text.ends_with('='))
        && (is_of(b"+/") || is_of(b"-_"))
        && text.bytes().any(|b| b.is_ascii_digit())
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
    fn keys_are_told_from_names_of_files() {
        for key in [
            "0123456789abcdef0123456789abcdef",
            "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=",
            "./q83vEjRW/JCrze8S+FZ4kKvN7xI0VniQq83vEjRWeJA",
            "base64:q83vEjRW_JCrze8S-FZ4kKvN7xI0VniQq83vEjRWeJA",
        ] {
            assert!(is_like_a_key(key), "{key}");
        }
        for path in [
            "/etc/sensor/mask-2026-11-21-0123456789abcdef",
            "mask.key",
            "keys/0123456789abcdef01234567.key",
            "environments/production-eu-west1/sensor-mask-key",
            "./environments/production_eu_west_1/sensor_mask_key2",
            "key",
        ] {
            assert!(!is_like_a_key(path), "{path}");
        }
    }
}
