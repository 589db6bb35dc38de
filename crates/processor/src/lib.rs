//! What is built for every processor, run with the instructions of this one.
//!
//! A build has to run on all machines of an architecture, so the compiler uses none but the instructions that all of them have:
//! on x86-64 vectors of 16 bytes whose operations overwrite an operand. [`at_best`] runs work that was compiled a second time
//! for processors of the last decade, with vectors of 32 bytes. Nothing else is in this crate, so that those that read bytes
//! from the wire can forbid `unsafe_code`.

mod block;

use block::Narrow;
#[cfg(target_arch = "x86_64")]
use block::Wide;
pub use block::{BLOCK, Block};

/// What is compiled for more than one kind of processor.
pub trait Work {
    /// What comes out of it.
    type Output;

    /// Does it. To be of use, this and all that it calls in loops are `#[inline(always)]`.
    fn run<B: Block>(self) -> Self::Output;
}

/// Texts of so many bytes are worth asking what processor this is.
const LONG: usize = 2 * BLOCK;

/// Runs `work`, which goes over `len` bytes: with AVX2 and its kin where the processor has them, and the text is long enough to
/// ask.
///
/// ```
/// use processor::{BLOCK, Block, Work};
///
/// /// How often a byte is in a text.
/// struct Count<'a>(&'a [[u8; BLOCK]], u8);
///
/// impl Work for Count<'_> {
///     type Output = u32;
///
///     #[inline(always)]
///     fn run<B: Block>(self) -> u32 {
///         self.0.iter().map(|bytes| B::load(bytes).equals(B::splat(self.1)).bits().count_ones()).sum()
///     }
/// }
///
/// let text = [[7; BLOCK]; 3];
/// assert_eq!(processor::at_best(text.as_flattened().len(), Count(&text, 7)), 192);
/// ```
#[inline]
pub fn at_best<W: Work>(len: usize, work: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    if len >= LONG && has_avx2() {
        // SAFETY: the processor has all that the function is compiled for.
        return unsafe { with_avx2(work) };
    }
    at_least(work)
}

/// Runs `work` with what every processor has.
#[inline(always)]
pub fn at_least<W: Work>(work: W) -> W::Output {
    work.run::<Narrow>()
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn has_avx2() -> bool {
    std::arch::is_x86_feature_detected!("avx2")
        && std::arch::is_x86_feature_detected!("bmi1")
        && std::arch::is_x86_feature_detected!("bmi2")
        && std::arch::is_x86_feature_detected!("lzcnt")
        && std::arch::is_x86_feature_detected!("popcnt")
}

/// # Safety
///
/// The processor has what the function is compiled for, as [`has_avx2`] tells.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
#[inline]
fn with_avx2<W: Work>(work: W) -> W::Output {
    work.run::<Wide>()
}
