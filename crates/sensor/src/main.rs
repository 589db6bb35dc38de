//! The `sensor` program.

fn main() {}
