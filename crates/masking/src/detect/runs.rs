//! Runs of digits that may be part of something, told for 64 bytes at once.
//!
//! Nearly all runs of digits in a text are of dates, prices and ids, and nothing that is looked for begins as they do. What is
//! said of each run in [`super::number`] is said here by bits, for all runs of a block, of what is around them: what is left
//! is looked at one by one. More may be left than is part of something, never less.

use processor::{BLOCK, Block};

/// Bits for the bytes of one block, the first byte's lowest.
#[derive(Clone, Copy, Default)]
struct Masks {
    digits: u64,
    /// A blank.
    blanks: u64,
    /// One of `-./`.
    joints: u64,
    /// One of `()*+`.
    signs: u64,
    /// Letters, and what else has the bit that they have.
    letters: u64,
    /// Not ASCII.
    foreign: u64,
}

/// What is known from the blocks in front of one.
#[derive(Default)]
pub(crate) struct Runs {
    before: Masks,
    /// The ends of two, four and twelve digits in a row.
    twos: u64,
    fours: u64,
    twelves: u64,
}

impl Masks {
    #[inline(always)]
    fn of<B: Block>(bytes: B, digits: u64) -> Self {
        Self {
            digits,
            blanks: bytes.equals(B::splat(b' ')).bits(),
            joints: bytes.is_from(b'-', 3).bits(),
            signs: (bytes & B::splat(!3)).equals(B::splat(b'(')).bits(),
            // Twice a byte tells of the bit below the highest.
            letters: (bytes + bytes).bits(),
            foreign: bytes.bits(),
        }
    }
}

/// The bits of a block moved up by `by`, those of the block in front of it after them.
#[inline(always)]
const fn up(mask: u64, before: u64, by: u32) -> u64 {
    mask << by | before >> (64 - by)
}

/// The bits of a block moved down by `by`. What is behind the block may be anything.
#[inline(always)]
const fn down(mask: u64, by: u32) -> u64 {
    mask >> by | u64::MAX << (64 - by)
}

impl Runs {
    /// A bit within, or directly behind, each run of digits that may be part of something, as far as blocks up to this one tell.
    /// A run may have up to three, and those in blocks behind the one it starts in. To be asked of each block in turn.
    #[inline(always)]
    pub(crate) fn in_block<B: Block>(&mut self, bytes: B) -> u64 {
        let digits = bytes.is_from(b'0', 10).bits();
        if digits | self.before.digits >> (BLOCK - 1) == 0 {
            // Anything may have been in front of what comes next.
            let before = Masks { letters: u64::MAX, signs: u64::MAX, ..Masks::default() };
            *self = Self { before, ..Self::default() };
            return 0;
        }
        let now = Masks::of(bytes, digits);
        let Self { before, .. } = *self;
        let joints = now.joints;
        let behind = |by| up(digits, before.digits, by);
        let [one, two, three, four, five] = [behind(1), behind(2), behind(3), behind(4), behind(5)];
        // Of twelve and more, the twelfth.
        let twos = digits & one;
        let fours = twos & up(twos, self.twos, 2);
        let twelves = fours & up(fours, self.fours, 4) & up(fours, self.fours, 8);
        let mut found = twelves & !up(twelves, self.twelves, 1);
        // Groups that go on with others: what is behind the run decides.
        let ends = one & !digits;
        let is_long = two & three & four;
        let is_four = ends & is_long & !five;
        found |= is_four & (now.blanks | joints) & down(digits, 3);
        found |= ends & !is_long & joints & (down(joints, 2) | down(joints, 3) | down(joints, 4));
        if now.foreign != 0 {
            found |= is_four & now.foreign & (down(digits, 5) | down(digits, 6));
        }
        // What is in front of the run decides.
        let starts = digits & !one;
        found |= starts & up(now.signs, before.signs, 1);
        let [letter, country] = [1, 2].map(|by| up(now.letters, before.letters, by));
        found |= starts & letter & country & down(digits, 1) & !three;
        *self = Self { before: now, twos, fours, twelves };
        found
    }
}

#[cfg(test)]
mod tests {
    use processor::Work;
    use proptest::prelude::*;

    use super::*;

    /// The runs of a text that a bit is set for, each by where it starts.
    struct Left<'a>(&'a [u8]);

    fn left(text: &[u8]) -> Vec<usize> {
        let left = processor::at_best(usize::MAX, Left(text));
        assert_eq!(left, processor::at_least(Left(text)));
        left
    }

    impl Work for Left<'_> {
        type Output = Vec<usize>;

        fn run<B: Block>(self) -> Vec<usize> {
            left_in::<B>(self.0)
        }
    }

    fn left_in<B: Block>(text: &[u8]) -> Vec<usize> {
        let mut runs = Runs::default();
        let mut left = Vec::new();
        for (i, bytes) in text.chunks(BLOCK).enumerate() {
            let mut block = [0; BLOCK];
            block[..bytes.len()].copy_from_slice(bytes);
            let mut found = runs.in_block(B::load(&block));
            while found != 0 {
                let at = BLOCK * i + found.trailing_zeros() as usize;
                let end = text[..at].len();
                left.push(end - text[..end].iter().rev().take_while(|byte| byte.is_ascii_digit()).count());
                found &= found - 1;
            }
        }
        left.dedup();
        left
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        /// No run that may be part of something is left out, wherever it stands.
        #[test]
        fn none_is_left_out(front in 0..140_usize, pieces in prop::collection::vec(prop_oneof![
            4 => "[0-9]{1,5}[ ./+(a-z\u{a0}\u{2009}-]{1,2}",
            2 => "[0-9]{10,20}",
            2 => "(DE|de|IBANGB|nMT|\\\\nFR|1FR)[0-9]{1,3}",
            1 => "[0-9]{1,3}[.-][0-9]{1,3}[.-][0-9]{1,4}",
            1 => "[ -~]{0,20}",
            1 => "[^ -~]{0,3}",
        ], 0..20)) {
            let text = ["x".repeat(front), pieces.concat()].concat().into_bytes();
            let left = left(&text);
            let mut at = 0;
            while at < text.len() {
                let len = text[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                if len > 0 && super::super::number::may_be(&text, (at, at + len)) {
                    prop_assert!(left.contains(&at), "{:?} at {}", String::from_utf8_lossy(&text), at);
                }
                at += len.max(1);
            }
        }
    }

    #[test]
    fn most_are_dismissed() {
        for text in [
            r#"{"id":653159,"created_at":"2026-06-26T22:53:47.667Z","amount":29.01,"qty":8,"price":"10.10"}"#,
            r#"{"sku":"A-6238","href":"/v1/orders/909596/lines?page=6&size=20","n":[1,22,333],"m":[10.25,20.75]}"#,
        ] {
            // At the end of a block what is behind it is not known.
            assert!(left(text.as_bytes()).len() <= 1, "{text}");
        }
    }
}
