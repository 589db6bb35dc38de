//! The fuzz target `http1` on the seeds that it found worth keeping.

#![allow(clippy::indexing_slicing, reason = "a test may fail")]

#[path = "support/calls.rs"]
mod calls;

#[test]
#[allow(clippy::disallowed_methods, reason = "the test reads files, not what is tested")]
fn the_seeds_of_the_fuzz_target_keep_every_invariant() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/http1");
    let seeds: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(seeds.len() > 10, "{seeds:?}");
    for seed in seeds {
        calls::check_bytes(&std::fs::read(&seed).unwrap());
    }
}
