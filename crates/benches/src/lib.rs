//! What the benches run on, and the stages cut out of the pipeline so that each can be measured alone.
//!
//! `benches/instructions.rs` counts instructions (callgrind), `benches/stages.rs` measures time (criterion); both run
//! the same inputs. `examples/` and `scripts/` compare whole processes; BENCHMARKS.md says how.

pub mod stages;
pub mod traffic;
