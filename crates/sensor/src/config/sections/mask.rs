//! `[mask]`

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use super::prelude::*;
use crate::config::value::{Actions, MaskAction, media_type, regex};

choices! {
    /// What can be found by its looks.
    pub enum Detector {
        /// Numbers of payment cards, by issuer and check digit.
        CreditCard = "credit_card",
        /// International bank account numbers, by checksum.
        Iban = "iban",
        /// Social security numbers of the United States.
        UsSsn = "us_ssn",
        /// E-mail addresses.
        Email = "email",
        /// Telephone numbers (E.164).
        Phone = "phone",
        /// IPv4 addresses.
        Ipv4 = "ipv4",
        /// IPv6 addresses.
        Ipv6 = "ipv6",
        /// JSON web tokens.
        Jwt = "jwt",
        /// Access keys of AWS.
        AwsKey = "aws_key",
        /// Keys of other services that are known by their shape.
        ApiKey = "api_key",
        /// Blocks of private keys.
        PrivateKey = "private_key",
    }
}

impl std::fmt::Display for Detector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

section! {
    Live;
    /// What is made unreadable before a record is stored, logged or sent. Actions: "redact" (a fixed text), "keep_last=4"
    /// (all but the last characters), "hash" (a keyed token, the same for the same value), "fpe" (encrypted, its format
    /// preserved), "drop_body" (the whole body left out).
    pub struct Mask {
        /// Whether anything is masked. Off is for records that stay with whoever may read the traffic.
        pub enabled: bool = flag().or(true),
        /// Whether credentials become tokens: Authorization, Cookie, Set-Cookie, API keys, and fields that are called like
        /// passwords.
        pub credentials: bool = flag().or(true),
        /// What is done to credentials.
        pub credentials_action: MaskAction = Actions.or(MaskAction::Hash),
        /// Names of fields and headers that look like credentials and are none; "*name" for all that end so.
        pub not_credentials: Vec<String> = list(parsed("the name of a field", field_name)).or([]),
        /// The file with the key of tokens and of format-preserving encryption: at least 32 random bytes. Default: a key of
        /// this run, so that tokens differ between runs and between sensors; the same output byte for byte takes a key file,
        /// or masking turned off.
        pub key_file: Option<PathBuf> = secret_path().optional("/etc/sensor/mask.key"),
        /// What is found by its looks, and what is done to it: { credit_card = "keep_last=4" }. There are credit_card,
        /// iban, us_ssn, email, phone, ipv4, ipv6, jwt, aws_key, api_key and private_key.
        pub detectors: BTreeMap<Detector, MaskAction> = map("the name of a detector", detector, Actions).or([]),
        /// Fields by their names, in any case and anywhere (JSON, forms, queries, XML, multipart, cookies, headers), and what
        /// is done to their values: { date_of_birth = "redact" }; "*name" for all that end so.
        pub fields: BTreeMap<String, MaskAction> = map("the name of a field", field_name, Actions).or([]),
        /// Values in JSON bodies by their path, `*` for any key or index, `..` for any depth: { "$.customer.cards[*].number" = "fpe" }.
        /// Keys are compared exactly. JSON is what is called so or begins so, lines and sequences of it, and what stands in a script
        /// (each argument of a function: JSONP) or other text, from its outermost bracket on; not what is in XML, in a form or in a
        /// string of JSON: there `fields` does it.
        pub json_paths: BTreeMap<String, MaskAction> = map("a JSON path", json_path, Actions).private(compares).or([]),
        /// Media types whose bodies are left out, such as ["application/pdf"].
        pub drop_body: Vec<String> = list(media_type()).or([]),
        /// Expressions of your own, up to 256 of them.
        pub pattern: Vec<MaskPattern> = tables(),
    }
    refuse {
        "key" => "a key is never in the configuration: put it into a file and name that as `key_file`",
        "regexes" => "an expression of your own is a section: write [[mask.pattern]] with name, regex and action",
    }
    check(this, reader) {
        let actions = this.detectors.values().chain(this.fields.values()).chain(this.json_paths.values());
        let mut actions = actions.chain(this.pattern.iter().map(|pattern| &pattern.action));
        if this.enabled && this.key_file.is_none() && actions.any(|action| *action == MaskAction::Fpe) {
            reader.note("key_file", "\"fpe\" without a key file uses a key of this run: nobody can decrypt what it writes");
        }
        if !this.enabled {
            reader.note("enabled", "nothing is masked: records hold passwords, tokens and whatever else is in the traffic");
        }
        for (key, count) in [("fields", this.fields.len()), ("json_paths", this.json_paths.len()), ("pattern", this.pattern.len())] {
            if count > MOST_RULES {
                reader.fault_found(key, format!("{count} of them"), format!("allowed: at most {MOST_RULES}"));
            }
        }
        let mut names: HashMap<&str, usize> = HashMap::new();
        for (index, pattern) in this.pattern.iter().enumerate() {
            let is_taken = |name: &&str| pattern.name.eq_ignore_ascii_case(name);
            if Detector::NAMES.iter().chain(&OWN_NAMES).any(is_taken) {
                reader.fault_in("pattern", index, "name", "records call what is found otherwise by this name: give it another one");
            }
            match names.get(pattern.name.as_str()) {
                Some(first) => {
                    let place = reader.place_in("pattern", *first, "name");
                    reader.fault_in("pattern", index, "name", format!("{place} has a pattern of this name: give each its own"));
                }
                None => {
                    names.insert(&pattern.name, index);
                }
            }
        }
    }
}

section! {
    Live;
    /// An expression of your own.
    pub struct MaskPattern {
        /// What it is called in records that it was found in.
        pub name: String = label().required("customer_number"),
        /// The regular expression, of linear time: no look-around, no back references.
        pub regex: String = regex().required(r"\bC-[0-9]{8}\b"),
        /// What is done to what it finds.
        pub action: MaskAction = Actions.required(MaskAction::Hash),
    }
}

fn detector(name: &str) -> Result<Detector, String> {
    let found = Detector::ALL.iter().copied().find(|detector| detector.as_str() == name);
    found.ok_or_else(|| match crate::config::suggest::nearest(name, Detector::NAMES.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("known detectors are {}", Detector::NAMES.join(", ")),
    })
}

/// What records call secrets that are told by their names, and bodies that were left out.
const OWN_NAMES: [&str; 3] = ["credential", "media_type", "undecoded_body"];

/// The most fields, paths and patterns of one's own, each.
const MOST_RULES: usize = 256;
/// The longest path into a JSON body.
const MOST_STEPS: usize = 32;

/// A name by its letters and digits: fields are compared without regard to case and to what joins words.
fn field_name(name: &str) -> Result<String, String> {
    let letters = |text: &str| text.chars().filter(|c| !"-_. []$@".contains(*c)).collect::<String>();
    let name = name.trim().to_lowercase();
    let (is_ending, text) = name.strip_prefix('*').map_or((false, name.as_str()), |ending| (true, ending));
    let plain = letters(text);
    let plain = plain.trim_end_matches(|last: char| last.is_ascii_digit());
    if plain.is_empty() || plain.len() > 64 || plain.contains('*') || (is_ending && plain.len() < 3) {
        return Err("allowed: the name of a field, up to 64 letters, or *ending with at least three".to_owned());
    }
    Ok(name)
}

/// `$` or nothing before `..`, then `.name`, `.*`, `[0]`, `[*]`, `['name']` or `..name`, up to 32 of them.
fn json_path(path: &str) -> Result<String, String> {
    const ADVICE: &str = "allowed as key: a JSON path in quotes, as in \"$.customer.cards[*].number\" or \"$..iban\"";
    let mut rest = path.strip_prefix('$').or_else(|| path.starts_with("..").then_some(path)).ok_or(ADVICE)?;
    let mut steps = 0;
    while !rest.is_empty() {
        steps += if rest.starts_with("..") { 2 } else { 1 };
        rest = json_step(rest).ok_or(ADVICE)?;
    }
    if steps == 0 || steps > MOST_STEPS {
        return Err(ADVICE.to_owned());
    }
    Ok(path.to_owned())
}

/// Whether what is no path asks for a value, as paths of other programs can: `[?(@=='…')]`.
fn compares(path: &str) -> bool {
    path.contains(['=', '<', '>', '(', '~'])
}

/// What is behind the first step of a path.
fn json_step(path: &str) -> Option<&str> {
    let path = match path.strip_prefix("..") {
        Some(deep) if deep.starts_with('[') => deep,
        Some(_) => &path[1..],
        None => path,
    };
    if let Some(name) = path.strip_prefix('.') {
        let end = name.find(['.', '[']).unwrap_or(name.len());
        return (end > 0).then(|| &name[end..]);
    }
    let inner = path.strip_prefix('[')?;
    for quote in ['\'', '"'] {
        if let Some(quoted) = inner.strip_prefix(quote) {
            return quoted.split_once(quote)?.1.strip_prefix(']');
        }
    }
    let (index, rest) = inner.split_once(']')?;
    let is_index = !index.is_empty() && index.bytes().all(|b| b.is_ascii_digit()) && index.parse::<u32>().is_ok();
    (index == "*" || is_index).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_into_json() {
        for path in ["$.a", "$.a.b[*].c", "$['a b'][0]", "$[\"a\"]", "$.*.id", "$..name", "..name", "$..[0]"] {
            assert!(json_path(path).is_ok(), "{path}");
        }
        for path in [
            "",
            "$",
            "a.b",
            "$.",
            "$..",
            "$a",
            "$.a[",
            "$.a[x]",
            "$[']",
            "$.a]b.",
            "$[99999999999]",
            &format!("${}", ".a".repeat(33)),
        ] {
            assert!(json_path(path).is_err(), "{path}");
        }
    }

    #[test]
    fn names_of_fields() {
        for name in ["ssn", "Date_Of_Birth", "x-api-key", "*token", "äöü"] {
            assert!(field_name(name).is_ok(), "{name}");
        }
        for name in ["", " ", "-_.", "123", "*", "*ab", "a*b", &"a".repeat(65)] {
            assert!(field_name(name).is_err(), "{name}");
        }
    }
}
