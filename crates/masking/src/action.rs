//! What is done to a secret that was found.

use std::fmt;
use std::str::FromStr;

/// What is done to a secret that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// The value becomes `REDACTED`.
    Redact,
    /// Letters and digits become `*` but for the last so many of them; separators stay. Never more than half of a value
    /// is kept, so that a short one does not stay whole.
    KeepLast(u8),
    /// The value becomes a token: `tok_` and 128 bits of its HMAC-SHA-256 under the policy's key. The same value gives
    /// the same token wherever it stands.
    Hash,
    /// Digits become other digits, letters and digits others of those (FF1 of NIST SP 800-38G under the policy's key);
    /// length and separators stay. A value too short or too long for FF1, or with characters outside of ASCII, is
    /// hashed.
    Fpe,
    /// A body in which it is found is dropped whole; elsewhere than in bodies as [`Action::Redact`].
    DropBody,
}

impl Action {
    /// The name as configuration and findings write it, without the number of [`Action::KeepLast`].
    pub fn name(self) -> &'static str {
        match self {
            Self::Redact => "redact",
            Self::KeepLast(_) => "keep_last",
            Self::Hash => "hash",
            Self::Fpe => "fpe",
            Self::DropBody => "drop_body",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeepLast(n) => write!(f, "keep_last={n}"),
            other => f.write_str(other.name()),
        }
    }
}

/// A text that names no action.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no action: write redact, keep_last=N (N from 1 to 255), hash, fpe or drop_body")]
pub struct UnknownAction(String);

impl FromStr for Action {
    type Err = UnknownAction;

    fn from_str(text: &str) -> Result<Self, UnknownAction> {
        let unknown = || UnknownAction(text.to_owned());
        match text.trim() {
            "redact" => Ok(Self::Redact),
            "hash" => Ok(Self::Hash),
            "fpe" => Ok(Self::Fpe),
            "drop_body" => Ok(Self::DropBody),
            other => {
                let number = other.strip_prefix("keep_last").and_then(|rest| rest.trim_start().strip_prefix('='));
                let number: u8 = number.ok_or_else(unknown)?.trim().parse().map_err(|_| unknown())?;
                if number == 0 { Err(unknown()) } else { Ok(Self::KeepLast(number)) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_displayed_parses() {
        for action in [Action::Redact, Action::KeepLast(4), Action::Hash, Action::Fpe, Action::DropBody] {
            assert_eq!(action.to_string().parse(), Ok(action));
        }
        assert_eq!("keep_last = 4".parse(), Ok(Action::KeepLast(4)));
        for bad in ["", "keep_last", "keep_last=0", "keep_last=300", "Redact", "mask"] {
            assert!(bad.parse::<Action>().is_err(), "{bad}");
        }
    }
}
