//! `[mask]`

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use super::prelude::*;
use crate::config::value::{Actions, MaskAction, media_type, regex};

choices! {
    /// What can be found by its looks.
    pub enum Detector {
        /// Numbers of payment cards, by issuer and check digit.
        PaymentCard = "payment_card",
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
        /// Whether anything is masked at all. Turn it off only where records stay with whoever may read all of the traffic.
        pub enabled: bool = flag().or(true),
        /// Whether credentials become tokens: Authorization, Cookie, Set-Cookie, API keys, and fields that are called like
        /// passwords.
        pub credentials: bool = flag().or(true),
        /// The file with the key of tokens and of format-preserving encryption: at least 32 random bytes. Default: a key of
        /// this run, so that tokens differ between runs and between sensors.
        pub key_file: Option<PathBuf> = path().optional("/etc/sensor/mask.key"),
        /// What is found by its looks, and what is done to it: { payment_card = "keep_last=4" }. There are payment_card,
        /// iban, us_ssn, email, phone, ipv4, ipv6, jwt, aws_key, api_key and private_key.
        pub detectors: BTreeMap<Detector, MaskAction> = map("the name of a detector", detector, Actions).or([]),
        /// Fields by their names, in any case and anywhere (JSON, forms, queries, XML, multipart, cookies, headers), and what
        /// is done to their values: { date_of_birth = "redact" }.
        pub fields: BTreeMap<String, MaskAction> = map("the name of a field", field_name, Actions).or([]),
        /// Values in JSON bodies by their path, `*` for any key or index: { "$.customer.cards[*].number" = "fpe" }.
        pub json_paths: BTreeMap<String, MaskAction> = map("a JSON path", json_path, Actions).or([]),
        /// Media types whose bodies are left out, such as ["application/pdf"].
        pub drop_body: Vec<String> = list(media_type()).or([]),
        /// Expressions of your own, any number of them.
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
        let mut names: HashMap<&str, usize> = HashMap::new();
        for (index, pattern) in this.pattern.iter().enumerate() {
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
        pub name: String = text().required("customer_number"),
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

fn field_name(name: &str) -> Result<String, String> {
    if name.trim().is_empty() {
        return Err("it is empty: write the name of a field".to_owned());
    }
    Ok(name.to_lowercase())
}

/// `$`, then `.name`, `.*`, `[0]`, `[*]` or `["name"]`, any number of them.
fn json_path(path: &str) -> Result<String, String> {
    const ADVICE: &str = "allowed as key: a JSON path in quotes, as in \"$.customer.cards[*].number\"";
    let mut rest = path.strip_prefix('$').ok_or(ADVICE)?;
    while !rest.is_empty() {
        rest = if let Some(name) = rest.strip_prefix('.') {
            let end = name.find(['.', '[']).unwrap_or(name.len());
            let (name, rest) = name.split_at(end);
            if name.is_empty() || name.contains([']', '"', '\'', ' ']) {
                return Err(ADVICE.to_owned());
            }
            rest
        } else if let Some(quoted) = rest.strip_prefix("[\"") {
            let end = quoted.find("\"]").filter(|end| *end > 0).ok_or(ADVICE)?;
            &quoted[end + 2..]
        } else if let Some(index) = rest.strip_prefix('[') {
            let (index, rest) = index.split_once(']').ok_or(ADVICE)?;
            let is_index = !index.is_empty() && index.len() <= 9 && index.bytes().all(|b| b.is_ascii_digit());
            if index != "*" && !is_index {
                return Err(ADVICE.to_owned());
            }
            rest
        } else {
            return Err(ADVICE.to_owned());
        };
    }
    if path == "$" {
        return Err(ADVICE.to_owned());
    }
    Ok(path.to_owned())
}
