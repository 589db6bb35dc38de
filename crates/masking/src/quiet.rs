//! The quick look: whether a text can be passed over because nothing in it names a secret.
//!
//! Where only names matter (no detector, no expression of one's own), a secret has a separator behind its name, or an escape
//! that may spell either. Nearly all texts have neither, or separators behind names that are dismissed by their last three
//! letters. What this look does not settle at once, [`crate::walk`] looks at in full.

use wide::u8x16;

use crate::layer::Layer;
use crate::pairs;
use crate::policy::Policy;

/// Bytes that are looked at together.
const BLOCK: usize = 64;

/// Whether a survey of `text` would see nothing: no name of a secret, no escape. To be asked only of a policy that looks for
/// nothing else.
pub(crate) fn is_quiet(policy: &Policy, text: &[u8]) -> bool {
    let (blocks, rest) = text.as_chunks::<BLOCK>();
    for (i, block) in blocks.iter().enumerate() {
        if !block_is_quiet(policy, text, BLOCK * i, stops_in(block)) {
            return false;
        }
    }
    let done = text.len() - rest.len();
    if rest.len() <= BLOCK / 4 {
        // The values of most headers: not worth a block.
        return rest.iter().enumerate().all(|(i, byte)| !is_stop(*byte) || stop_is_quiet(policy, text, done + i));
    }
    if let Some(last) = text.last_chunk::<BLOCK>() {
        // Some of it has been looked at.
        let known = BLOCK - rest.len();
        return block_is_quiet(policy, text, done - known, stops_in(last) >> known << known);
    }
    let mut last = [0; BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    block_is_quiet(policy, text, done, stops_in(&last))
}

#[inline(always)]
fn block_is_quiet(policy: &Policy, text: &[u8], start: usize, mut stops: u64) -> bool {
    while stops != 0 {
        if !stop_is_quiet(policy, text, start + stops.trailing_zeros() as usize) {
            return false;
        }
        stops &= stops - 1;
    }
    true
}

fn is_stop(byte: u8) -> bool {
    matches!(byte, b':' | b'=' | b'\\' | b'%' | b'&')
}

/// A bit for each byte that is a separator or may start an escape.
#[inline(always)]
fn stops_in(block: &[u8; BLOCK]) -> u64 {
    let mut stops = 0;
    for (i, lane) in block.as_chunks::<16>().0.iter().enumerate() {
        let bytes = u8x16::from(*lane);
        let is = |byte| bytes.simd_eq(u8x16::splat(byte));
        let found = is(b':') | is(b'=') | is(b'\\') | is(b'%') | is(b'&');
        stops |= u64::from(found.to_bitmask()) << (16 * i);
    }
    stops
}

#[inline(always)]
fn stop_is_quiet(policy: &Policy, text: &[u8], at: usize) -> bool {
    pairs::is_dismissed(&policy.fields, text, at) || slowly(policy, text, at)
}

#[cold]
fn slowly(policy: &Policy, text: &[u8], at: usize) -> bool {
    match text[at] {
        b':' | b'=' => pairs::at(&policy.fields, policy.credentials, text, at, &mut 0).is_none(),
        _ => Layer::Any.escape(&text[at..]).is_none(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::Engine;
    use crate::policy::Settings;

    fn policy() -> Policy {
        Policy::new(&Settings { key: vec![7; 32], ..Settings::default() }).unwrap()
    }

    proptest! {
        /// It never says that nothing is there where the walk sees something, nor the other way round.
        #[test]
        fn as_the_walk_sees_it(pieces in proptest::collection::vec(prop_oneof![
            "[a-z]{0,9}[:=\"]{1,3}",
            "[A-Za-z_\\[\\]. -]{0,3}(pass|word|tok|en|PIN|secret|key|Key)[0-9_ \\]]{0,2}['\"` ]{0,2}[:=]",
            "[0-9]{1,3}:[0-9]{2}",
            "[a-z]{1,5}://[a-z]{0,4}[:@/]{0,2}",
            "%[0-9a-g]{2}|&[a-z]{2,4};?|\\\\[nu\"x][0-9]{0,4}",
            "\\PC{0,12}",
            "[ -~]{0,70}",
        ], 0..24)) {
            let policy = std::sync::Arc::new(policy());
            let text = pieces.concat();
            let mut engine = Engine::new(std::sync::Arc::clone(&policy));
            engine.start();
            prop_assert_eq!(is_quiet(&policy, text.as_bytes()), engine.survey_in_full(text.as_bytes(), false), "{}", text);
        }
    }

    #[test]
    fn names_count_wherever_they_stand() {
        let policy = policy();
        for front in 0..130 {
            let front = "x".repeat(front);
            for text in ["{\"password\":1}", "?pin=1", "a=%41", "http://me:it@h/"] {
                assert!(!is_quiet(&policy, format!("{front} {text}").as_bytes()), "{front} {text}");
            }
            for text in ["{\"status\":\"shipped\"}", "?page=2", "12:30:45", "http://h/"] {
                assert!(is_quiet(&policy, format!("{front} {text}").as_bytes()), "{front} {text}");
            }
        }
    }
}
