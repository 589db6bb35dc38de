//! Calls on one connection; every invariant is checked by the sink and after each step.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/http-parse/tests/support/calls.rs"]
mod calls;

fuzz_target!(|bytes: &[u8]| calls::check_bytes(bytes));
