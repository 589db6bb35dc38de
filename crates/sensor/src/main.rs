//! The `sensor` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    sensor::cli::run(std::env::args_os()).into()
}
