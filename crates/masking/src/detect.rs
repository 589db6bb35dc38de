//! What secrets look like: the detectors, each a function from text to hits.
//!
//! Each starts from what its secrets cannot do without (a run of digits, an `@`, a literal) and looks around it within a
//! fixed distance, so that the time is linear in the text whatever it holds. None reads anything but the text: escapes
//! are decoded before ([`crate::layer`]).

pub(crate) mod email;
pub(crate) mod ipv6;
mod literal;
pub(crate) mod number;
mod phone;
pub(crate) mod runs;
pub(crate) mod tail;

use std::fmt;
use std::str::FromStr;

pub(crate) use literal::Literals;

use crate::policy::KindId;

/// A built-in detector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Detector {
    /// Payment card numbers: issuer range, its lengths, Luhn's check digit; plain or in groups.
    CreditCard,
    /// International bank account numbers: the country's length, ISO 7064 MOD 97-10.
    Iban,
    /// US social security numbers: with dashes, or nine digits in a field whose name says so.
    UsSsn,
    /// E-mail addresses.
    Email,
    /// Phone numbers of E.164, with `+` and an assigned country code.
    Phone,
    /// IPv4 addresses.
    Ipv4,
    /// IPv6 addresses.
    Ipv6,
    /// JSON Web Tokens, signed or encrypted.
    Jwt,
    /// AWS access key ids, and the secret keys near them.
    AwsKey,
    /// Keys and tokens of well-known vendors, by their prefixes.
    ApiKey,
    /// PEM blocks of private keys.
    PrivateKey,
}

impl Detector {
    /// All there are.
    pub const ALL: [Self; 11] = [
        Self::CreditCard,
        Self::Iban,
        Self::UsSsn,
        Self::Email,
        Self::Phone,
        Self::Ipv4,
        Self::Ipv6,
        Self::Jwt,
        Self::AwsKey,
        Self::ApiKey,
        Self::PrivateKey,
    ];

    /// As findings call it; configuration may write it in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::CreditCard => "CREDIT_CARD",
            Self::Iban => "IBAN",
            Self::UsSsn => "US_SSN",
            Self::Email => "EMAIL",
            Self::Phone => "PHONE",
            Self::Ipv4 => "IPV4",
            Self::Ipv6 => "IPV6",
            Self::Jwt => "JWT",
            Self::AwsKey => "AWS_KEY",
            Self::ApiKey => "API_KEY",
            Self::PrivateKey => "PRIVATE_KEY",
        }
    }
}

impl fmt::Display for Detector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no detector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no detector: write credit_card, iban, us_ssn, email, phone, ipv4, ipv6, jwt, aws_key, api_key or private_key"
)]
pub struct UnknownDetector(String);

impl FromStr for Detector {
    type Err = UnknownDetector;

    fn from_str(text: &str) -> Result<Self, UnknownDetector> {
        let found = Self::ALL.into_iter().find(|detector| detector.name().eq_ignore_ascii_case(text));
        found.ok_or_else(|| UnknownDetector(text.to_owned()))
    }
}

/// A secret found in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hit {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) kind: KindId,
    /// It runs over the cut that the text ends with.
    pub(crate) partial: bool,
    /// It may be the beginning of a secret, but nothing says so: masked, and told as what a cut left.
    pub(crate) quiet: bool,
    /// Only what is beside it tells what it is.
    pub(crate) beside: bool,
    /// A name is in front of it.
    pub(crate) is_named: bool,
}

impl Hit {
    pub(crate) fn new(start: usize, end: usize, kind: KindId) -> Self {
        Self { start, end, kind, partial: false, quiet: false, beside: false, is_named: false }
    }
}

/// Whether `text`, the whole value of a field whose name says so, is a social security number in any spelling.
pub(crate) fn is_ssn(text: &[u8]) -> bool {
    number::is_ssn(text)
}

/// Whether a word can start at `at`: no letter or digit is in front of it, unless that is the letter of an escape such as
/// `\n`. What is not ASCII separates, as ideographs do.
pub(crate) fn starts_word(text: &[u8], at: usize) -> bool {
    match at.checked_sub(1).map(|before| text[before]) {
        Some(byte) if byte.is_ascii_alphanumeric() => {
            matches!(byte, b'n' | b't' | b'r' | b'b' | b'f') && at >= 2 && text[at - 2] == b'\\'
        }
        _ => true,
    }
}

/// Whether a word can end at `at`.
pub(crate) fn ends_word(text: &[u8], at: usize) -> bool {
    !text.get(at).is_some_and(u8::is_ascii_alphanumeric)
}
