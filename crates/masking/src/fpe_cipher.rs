//! Format-preserving encryption: FF1 of NIST SP 800-38G over the letters and digits of a value.
//!
//! Values of digits only stay digits; others stay within digits and the cases of letters they have. What is neither
//! letter nor digit stays where it is.

use aes::Aes256;
use fpe::ff1::{FF1, FlexibleNumeralString};

/// FF1's cost grows with the square of the length; longer values are hashed.
const MAX_NUMERALS: usize = 256;
/// How often a number is encrypted again while it starts with a zero.
const MAX_WALK: usize = 64;

const DIGITS: &[u8] = b"0123456789";
const UPPER: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const LOWER: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";
const MIXED: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// FF1 under one key, for each alphabet.
pub(crate) struct Fpe {
    ten: FF1<Aes256>,
    thirty_six: FF1<Aes256>,
    sixty_two: FF1<Aes256>,
}

impl Fpe {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        #[expect(clippy::expect_used, reason = "FF1 takes every radix from 2 to 65536, and these three are within")]
        let of = |alphabet: &[u8]| FF1::new(key, alphabet.len() as u32).expect("a radix in range");
        Self { ten: of(DIGITS), thirty_six: of(UPPER), sixty_two: of(MIXED) }
    }

    /// Appends the encrypted `value`, as long as it; false, with nothing appended, if FF1 is not defined for it. A
    /// `number` (of JSON) does not get a leading zero: it is encrypted again until it has none, which can be undone,
    /// because the original had none either.
    pub(crate) fn encrypt(&self, value: &[u8], number: bool, out: &mut Vec<u8>) -> bool {
        let numerals = value.iter().filter(|byte| byte.is_ascii_alphanumeric()).count();
        if !value.is_ascii() || numerals > MAX_NUMERALS {
            return false;
        }
        let upper = value.iter().any(u8::is_ascii_uppercase);
        let lower = value.iter().any(u8::is_ascii_lowercase);
        let (cipher, alphabet) = match (upper, lower) {
            (false, false) => (&self.ten, DIGITS),
            (true, false) => (&self.thirty_six, UPPER),
            (false, true) => (&self.thirty_six, LOWER),
            (true, true) => (&self.sixty_two, MIXED),
        };
        let numeral = |byte: &u8| alphabet.iter().position(|letter| letter == byte).map(|at| at as u16);
        let mut text: Vec<u16> = value.iter().filter_map(numeral).collect();
        for _ in 0..MAX_WALK {
            let Ok(encrypted) = cipher.encrypt(&[], &FlexibleNumeralString::from(text)) else { return false };
            text = encrypted.into();
            if !number || text.first() != Some(&0) {
                let mut next = text.iter().filter_map(|numeral| alphabet.get(usize::from(*numeral)));
                out.extend(value.iter().map(|byte| match byte.is_ascii_alphanumeric() {
                    true => *next.next().unwrap_or(&b'*'),
                    false => *byte,
                }));
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encrypted(value: &str, number: bool) -> Option<String> {
        let mut out = Vec::new();
        let done = Fpe::new(&[7; 32]).encrypt(value.as_bytes(), number, &mut out);
        done.then(|| String::from_utf8(out).unwrap())
    }

    #[test]
    fn format_and_length_stay() {
        for value in ["4111-1111 1111/1111", "123-45-6789", "a.b@example.org", "DE89 3704 0044", "Ab0-Cd1", "123456"] {
            let out = encrypted(value, false).unwrap();
            assert_ne!(out, value);
            assert_eq!(out.len(), value.len());
            for (a, b) in value.bytes().zip(out.bytes()) {
                assert_eq!(a.is_ascii_alphanumeric(), b.is_ascii_alphanumeric(), "{value} {out}");
                assert!(a.is_ascii_alphanumeric() || a == b);
            }
        }
    }

    #[test]
    fn what_ff1_is_not_defined_for_is_left_to_the_caller() {
        assert_eq!(encrypted("12345", false), None, "fewer than a million values");
        assert_eq!(encrypted("", false), None);
        assert_eq!(encrypted("grüße1234", false), None);
        assert_eq!(encrypted(&"1".repeat(MAX_NUMERALS + 1), false), None);
    }

    #[test]
    fn numbers_stay_numbers() {
        for number in 4_111_111_111_111_000_u64..4_111_111_111_111_050 {
            let out = encrypted(&number.to_string(), true).unwrap();
            assert!(!out.starts_with('0') && out.len() == 16, "{out}");
        }
    }

    /// NIST's published FF1 sample 7: AES-256, radix 10, without a tweak.
    #[test]
    fn the_cipher_is_that_of_the_standard() {
        let key: Vec<u8> = (0..32)
            .map(|i| {
                let hex = "2B7E151628AED2A6ABF7158809CF4F3CEF4359D8D580AA4F7F036D6F04FC6A94";
                u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()
            })
            .collect();
        let mut out = Vec::new();
        assert!(Fpe::new(key[..].try_into().unwrap()).encrypt(b"0123456789", false, &mut out));
        assert_eq!(out, b"6657667009");
    }
}
