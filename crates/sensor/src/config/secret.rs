//! What of a configuration may be a secret, although none belongs there. It is shown neither in a message nor by `--print`.
//!
//! Names and texts are judged by the rules that records are masked by, so that no second list of names is needed.

use std::sync::{Arc, OnceLock};

use masking::{Masked, Masker, Policy, Settings, Side};

/// What stands for a value that is not shown.
pub(super) const HIDDEN: &str = "(not shown)";

/// The fewest characters that a key has, in hexadecimal digits or base64.
const SHORTEST_KEY: usize = 32;

/// Whether a header of this name holds credentials, or this text of one does.
pub(super) fn is_in_header(name: &str, text: &str) -> bool {
    // A value that is a secret wherever values of the field are.
    const ANY: &[u8] = b"x=Zq7Xw9LkPq4v";
    let Some(mut masker) = masker() else { return true };
    let mut is_secret = |value: &[u8]| masker.header(Side::Request, name.as_bytes(), value) != Masked::Kept;
    is_secret(ANY) || is_secret(text.as_bytes())
}

/// Whether a URL, or its path and query, holds credentials.
pub(super) fn is_in_url(url: &str) -> bool {
    masker().is_none_or(|mut masker| masker.target(url.as_bytes()) != Masked::Kept)
}

/// Whether the text is one word that a key is more likely to be than the name of a file is.
pub(super) fn is_like_a_key(text: &str) -> bool {
    let is_of_key = |b: u8| b.is_ascii_alphanumeric() || b"+/=_-".contains(&b);
    text.len() >= SHORTEST_KEY
        && !text.starts_with('/')
        && text.bytes().all(is_of_key)
        && text.bytes().any(|b| b.is_ascii_digit())
}

/// One that knows credentials and nothing else; whatever it makes of them is thrown away, so its key is of no account.
fn masker() -> Option<Masker> {
    static POLICY: OnceLock<Option<Arc<Policy>>> = OnceLock::new();
    let policy = POLICY.get_or_init(|| {
        let settings = Settings { key: vec![1; 32], ..Settings::default() };
        Policy::new(&settings).ok().map(Arc::new)
    });
    policy.clone().map(Masker::new)
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
        for key in ["0123456789abcdef0123456789abcdef", "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA="] {
            assert!(is_like_a_key(key), "{key}");
        }
        for path in
            ["/etc/sensor/mask-2026-11-21-0123456789abcdef", "mask.key", "keys/0123456789abcdef01234567.key", "key"]
        {
            assert!(!is_like_a_key(path), "{path}");
        }
    }
}
