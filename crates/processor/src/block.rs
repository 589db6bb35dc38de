//! Blocks of bytes that are looked at together, in the vectors of a kind of processor.

use std::ops::{Add, BitAnd, BitOr, Sub};

use wide::u8x16;

/// Bytes of a block: as many as a word has bits, one of which can tell of each.
pub const BLOCK: usize = 64;

/// A block of bytes, and what vectors can do with each of them.
pub trait Block: Copy + Add<Output = Self> + BitAnd<Output = Self> + BitOr<Output = Self> + Sub<Output = Self> {
    /// These bytes.
    fn load(bytes: &[u8; BLOCK]) -> Self;

    /// The same byte everywhere.
    fn splat(byte: u8) -> Self;

    /// Where both have the same byte all bits of it are set, elsewhere none.
    #[must_use]
    fn equals(self, other: Self) -> Self;

    /// The lesser byte of both everywhere.
    #[must_use]
    fn least(self, other: Self) -> Self;

    /// The highest bit of each byte, the first byte's lowest.
    fn bits(self) -> u64;

    /// The same as [`Block::equals`] of bytes that are among the `count` from `first` on.
    #[inline(always)]
    #[must_use]
    fn is_from(self, first: u8, count: u8) -> Self {
        let above = self - Self::splat(first);
        above.least(Self::splat(count - 1)).equals(above)
    }
}

/// What every processor has.
#[derive(Clone, Copy)]
pub(crate) struct Narrow([u8x16; BLOCK / 16]);

impl Narrow {
    #[inline(always)]
    fn with(self, other: Self, both: impl Fn(u8x16, u8x16) -> u8x16) -> Self {
        let Self([a, b, c, d]) = self;
        let Self([e, f, g, h]) = other;
        Self([both(a, e), both(b, f), both(c, g), both(d, h)])
    }
}

impl Block for Narrow {
    #[inline(always)]
    fn load(bytes: &[u8; BLOCK]) -> Self {
        let lanes = bytes.as_chunks::<16>().0;
        Self([lanes[0].into(), lanes[1].into(), lanes[2].into(), lanes[3].into()])
    }

    #[inline(always)]
    fn splat(byte: u8) -> Self {
        Self([u8x16::splat(byte); BLOCK / 16])
    }

    #[inline(always)]
    fn equals(self, other: Self) -> Self {
        self.with(other, |a, b| a.simd_eq(b))
    }

    #[inline(always)]
    fn least(self, other: Self) -> Self {
        self.with(other, |a, b| a.min(b))
    }

    #[inline(always)]
    fn bits(self) -> u64 {
        let [a, b, c, d] = self.0.map(|lane| u64::from(lane.to_bitmask()));
        a | b << 16 | c << 32 | d << 48
    }
}

/// The operators of a block.
macro_rules! operators {
    ($block:ty, $($trait:ident $name:ident $with:expr;)*) => {$(
        impl $trait for $block {
            type Output = Self;

            #[inline(always)]
            fn $name(self, other: Self) -> Self {
                self.with(other, $with)
            }
        }
    )*};
}

operators! {
    Narrow,
    Add add |a, b| a + b;
    BitAnd bitand |a, b| a & b;
    BitOr bitor |a, b| a | b;
    Sub sub |a, b| a - b;
}

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Wide;

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        __m256i, _mm256_add_epi8, _mm256_and_si256, _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_min_epu8,
        _mm256_movemask_epi8, _mm256_or_si256, _mm256_set1_epi8, _mm256_sub_epi8,
    };
    use std::ops::{Add, BitAnd, BitOr, Sub};

    use super::{BLOCK, Block};

    /// What processors with AVX2 have. Nobody outside of this crate can name it, and in it only [`crate::at_best`] does, where
    /// it has asked: so all that is done with it is done on a processor that can.
    #[derive(Clone, Copy)]
    pub(crate) struct Wide([__m256i; BLOCK / 32]);

    impl Wide {
        #[inline(always)]
        fn with(self, other: Self, both: impl Fn(__m256i, __m256i) -> __m256i) -> Self {
            let (Self([a, b]), Self([c, d])) = (self, other);
            Self([both(a, c), both(b, d)])
        }
    }

    impl Block for Wide {
        #[inline(always)]
        fn load(bytes: &[u8; BLOCK]) -> Self {
            let [low, high] = [0, 32].map(|at| bytes[at..].as_ptr().cast::<__m256i>());
            // SAFETY: 32 bytes of the block start at either pointer, and need not be aligned; the processor has AVX2 (`Wide`).
            Self(unsafe { [_mm256_loadu_si256(low), _mm256_loadu_si256(high)] })
        }

        #[inline(always)]
        fn splat(byte: u8) -> Self {
            // SAFETY: the processor has AVX2 (`Wide`).
            Self([unsafe { _mm256_set1_epi8(byte.cast_signed()) }; BLOCK / 32])
        }

        #[inline(always)]
        fn equals(self, other: Self) -> Self {
            // SAFETY: as above.
            self.with(other, |a, b| unsafe { _mm256_cmpeq_epi8(a, b) })
        }

        #[inline(always)]
        fn least(self, other: Self) -> Self {
            // SAFETY: as above.
            self.with(other, |a, b| unsafe { _mm256_min_epu8(a, b) })
        }

        #[inline(always)]
        fn bits(self) -> u64 {
            // SAFETY: as above.
            let [low, high] = self.0.map(|lane| u64::from(unsafe { _mm256_movemask_epi8(lane) }.cast_unsigned()));
            low | high << 32
        }
    }

    operators! {
        Wide,
        // SAFETY: as above.
        Add add |a, b| unsafe { _mm256_add_epi8(a, b) };
        // SAFETY: as above.
        BitAnd bitand |a, b| unsafe { _mm256_and_si256(a, b) };
        // SAFETY: as above.
        BitOr bitor |a, b| unsafe { _mm256_or_si256(a, b) };
        // SAFETY: as above.
        Sub sub |a, b| unsafe { _mm256_sub_epi8(a, b) };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Work, at_best, at_least};

    /// What all operations make of two blocks.
    struct All<'a>(&'a [u8; BLOCK], &'a [u8; BLOCK]);

    impl Work for All<'_> {
        type Output = [[u64; 8]; 7];

        #[inline(always)]
        fn run<B: Block>(self) -> Self::Output {
            let (a, b) = (B::load(self.0), B::load(self.1));
            // Each bit of each byte, moved to the highest.
            let whole = |block: B| {
                let mut moved = block;
                std::array::from_fn(|_| {
                    let bits = moved.bits();
                    moved = moved + moved;
                    bits
                })
            };
            [a + b, a - b, a & b, a | b, a.equals(b), a.least(B::splat(self.1[0])), a.is_from(b'0', 10)].map(whole)
        }
    }

    proptest! {
        /// Both kinds do what the operators of a byte do.
        #[test]
        fn as_byte_by_byte(a: [[u8; 32]; 2], mut b: [[u8; 32]; 2], same in 0..BLOCK) {
            b.as_flattened_mut()[same] = a.as_flattened()[same];
            let a: &[u8; BLOCK] = a.as_flattened().first_chunk().unwrap();
            let b: &[u8; BLOCK] = b.as_flattened().first_chunk().unwrap();
            let each = |both: &dyn Fn(u8, u8) -> u8| -> [u64; 8] {
                std::array::from_fn(|bit| {
                    (0..BLOCK).fold(0, |bits, i| bits | u64::from(both(a[i], b[i]) << bit >> 7) << i)
                })
            };
            let wanted = [
                each(&u8::wrapping_add),
                each(&u8::wrapping_sub),
                each(&|a, b| a & b),
                each(&|a, b| a | b),
                each(&|a, b| if a == b { u8::MAX } else { 0 }),
                each(&|a, _| a.min(b[0])),
                each(&|a, _| if a.is_ascii_digit() { u8::MAX } else { 0 }),
            ];
            prop_assert_eq!(at_best(usize::MAX, All(a, b)), wanted);
            prop_assert_eq!(at_least(All(a, b)), wanted);
        }
    }
}
