//! `[cpus]`

use super::prelude::*;

section! {
    Restart;
    /// Which processors the busy threads of a live sensor stay on, by the kernel's numbers; those that it may not use are
    /// refused.
    pub struct Cpus {
        /// For threads that capture: the first for the first source, and so on, and over again. Where one thread captures
        /// and works on flows (one source, one worker) it is that one's. Default: any.
        pub capture: Vec<u16> = list(whole(0..=1_023)).or(Vec::<u16>::new()),
        /// For workers, likewise. Default: any.
        pub workers: Vec<u16> = list(whole(0..=1_023)).or(Vec::<u16>::new()),
    }
}
