//! Arbitrary segments and ticks through the reassembler; every invariant is checked by the handler and after each step.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/reassembly/tests/common/mod.rs"]
mod common;

fuzz_target!(|bytes: &[u8]| common::ops::check_bytes(bytes));
