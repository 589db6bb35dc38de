//! Keyed-hash tokens: `tok_` and 128 bits of HMAC-SHA-256, in the alphabet of base32.
//!
//! The alphabet has six digits only, so that no token ever looks like a card, an IBAN or a phone number. Values that
//! were seen a moment ago (a session's cookie, a client's bearer token) are answered from a small cache of fixed size,
//! looked up by content, never by hash alone.

use std::hash::BuildHasher as _;

use foldhash::fast::RandomState;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::{Zeroize as _, Zeroizing};

/// Bytes of a token: `tok_` and 26 characters.
pub(crate) const TOKEN_BYTES: usize = 30;

pub(crate) type Token = [u8; TOKEN_BYTES];

/// Sets of two cached values; a power of two.
const SETS: usize = 512;
/// Longer values are hashed each time, so that the cache of a worker stays below 2 MiB.
const MAX_CACHED: usize = 2000;

/// HMAC-SHA-256 with its key's state computed once.
#[derive(Clone)]
pub(crate) struct TokenKey(Hmac<Sha256>);

impl TokenKey {
    /// The key for one `purpose`, derived from the operator's.
    pub(crate) fn derive(key: &[u8], purpose: &str) -> Self {
        Self(Self::keyed(&*Self::secret(key, purpose)))
    }

    /// 256 bits for one `purpose`, derived from the operator's key.
    pub(crate) fn secret(key: &[u8], purpose: &str) -> Zeroizing<[u8; 32]> {
        let mut mac = Self::keyed(key);
        mac.update(purpose.as_bytes());
        Zeroizing::new(mac.finalize().into_bytes().into())
    }

    fn keyed(key: &[u8]) -> Hmac<Sha256> {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        Hmac::<Sha256>::new_from_slice(key).expect("a key of any length")
    }

    pub(crate) fn token(&self, value: &[u8]) -> Token {
        const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let mut mac = self.0.clone();
        mac.update(value);
        let hash: [u8; 32] = mac.finalize().into_bytes().into();
        let mut token = *b"tok_00000000000000000000000000";
        let (mut bits, mut held, mut next) = (0_u32, 0_u32, 4);
        for byte in &hash[..16] {
            bits = bits << 8 | u32::from(*byte);
            held += 8;
            while held >= 5 {
                held -= 5;
                token[next] = ALPHABET[(bits >> held) as usize & 31];
                next += 1;
            }
        }
        token[next] = ALPHABET[(bits << (5 - held)) as usize & 31];
        token
    }
}

/// The tokens of the latest values.
pub(crate) struct TokenCache {
    /// Seeded by chance: nobody can choose values that drive out all others.
    hasher: RandomState,
    slots: Vec<Slot>,
}

#[derive(Clone)]
struct Slot {
    value: Vec<u8>,
    token: Token,
}

/// The secrets do not outlive the cache.
impl Drop for Slot {
    fn drop(&mut self) {
        self.value.zeroize();
    }
}

impl TokenCache {
    pub(crate) fn new() -> Self {
        Self {
            hasher: RandomState::default(),
            slots: vec![Slot { value: Vec::new(), token: [0; TOKEN_BYTES] }; 2 * SETS],
        }
    }

    /// The token of `value` under `key`, which must be the same at every call.
    pub(crate) fn token(&mut self, key: &TokenKey, value: &[u8]) -> Token {
        if value.is_empty() || value.len() > MAX_CACHED {
            return key.token(value);
        }
        let first = 2 * (self.hasher.hash_one(value) as usize & (SETS - 1));
        let Some([newest, older]) = self.slots.get_mut(first..first + 2) else { return key.token(value) };
        if newest.value != value {
            std::mem::swap(newest, older);
            if newest.value != value {
                newest.token = key.token(value);
                newest.value.clear();
                newest.value.extend_from_slice(value);
            }
        }
        newest.token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_follow_the_value_and_the_key() {
        let key = TokenKey::derive(b"a key of an operator", "token");
        let other = TokenKey::derive(b"a key of another one", "token");
        let mut cache = TokenCache::new();
        for len in [0, 1, 7, 8, 9, 300, MAX_CACHED, MAX_CACHED + 1] {
            let value = vec![b'v'; len];
            let token = key.token(&value);
            assert_eq!(cache.token(&key, &value), token);
            assert_eq!(cache.token(&key, &value), token, "from the cache");
            assert_ne!(other.token(&value), token);
            assert!(token.starts_with(b"tok_"));
            assert!(token[4..].iter().all(|byte| byte.is_ascii_lowercase() || (b'2'..=b'7').contains(byte)));
        }
        assert_ne!(key.token(b"one"), key.token(b"two"));
    }

    #[test]
    fn a_token_is_128_bits_of_hmac_sha_256() {
        // RFC 4231, test case 2, through the same code without derivation.
        let key = TokenKey(TokenKey::keyed(b"Jefe"));
        let token = key.token(b"what do ya want for nothing?");
        let mut bits = 0_u128;
        for (i, byte) in token[4..].iter().enumerate() {
            let five = u128::from(if byte.is_ascii_digit() { byte - b'2' + 26 } else { byte - b'a' });
            bits = if i == 25 { bits << 3 | five >> 2 } else { bits << 5 | five };
        }
        assert_eq!(bits, 0x5bdc_c146_bf60_754e_6a04_2426_0895_75c7);
    }

    #[test]
    fn values_that_share_a_slot_are_told_apart() {
        let key = TokenKey::derive(b"k", "token");
        let mut cache = TokenCache::new();
        for round in 0..2 {
            for i in 0..5000_u32 {
                let value = format!("session-{i:08}-of-someone");
                assert_eq!(cache.token(&key, value.as_bytes()), key.token(value.as_bytes()), "{round}");
            }
        }
    }
}
