//! What is built for every processor, run with the instructions of this one.
//!
//! A build has to run on all machines of an architecture, so the compiler uses none but the instructions that all of them have:
//! on x86-64 vectors of 16 bytes whose operations overwrite an operand. [`at_best`] runs a function that was compiled a second time
//! for processors of the last decade. Nothing else is in this crate, so that those that read bytes from the wire can forbid
//! `unsafe_code`.

/// Runs `work`, with AVX2 and its kin where the processor has them. To be of use, `work` and all that it calls in loops are
/// `#[inline(always)]`; asking what there is takes a few instructions, so it should be long.
///
/// ```
/// let text = [7_u8; 1_000];
/// let sum = processor::at_best(
///     #[inline(always)]
///     || text.iter().map(|byte| u64::from(*byte)).sum::<u64>(),
/// );
/// assert_eq!(sum, 7_000);
/// ```
#[inline]
pub fn at_best<T>(work: impl FnOnce() -> T) -> T {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2")
        && std::arch::is_x86_feature_detected!("bmi1")
        && std::arch::is_x86_feature_detected!("bmi2")
        && std::arch::is_x86_feature_detected!("lzcnt")
        && std::arch::is_x86_feature_detected!("popcnt")
    {
        // SAFETY: the processor has all that the function is compiled for.
        return unsafe { with_avx2(work) };
    }
    work()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
#[inline]
fn with_avx2<T>(work: impl FnOnce() -> T) -> T {
    work()
}
