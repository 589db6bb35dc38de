//! Any text as a configuration: no panic; what is accepted is printed as a file that says the same; what is refused is
//! refused with a place in it, and never shows what looks like a secret.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use sensor::config::Loaded;

fuzz_target!(|text: &str| {
    let name = Path::new("sensor.toml");
    match Loaded::parse(text, name) {
        Ok(loaded) => {
            let printed = loaded.print();
            let again = Loaded::parse(&printed, name).unwrap_or_else(|error| panic!("{error}\n{printed}"));
            assert_eq!(again.config, loaded.config);
            assert!(loaded.changes(&again).is_empty());
        }
        Err(error) => {
            let lines = text.split('\n').count();
            assert!(!error.problems().is_empty());
            assert!(error.problems().iter().all(|problem| problem.place.line() as usize <= lines));
            let _ = error.to_string();
        }
    }
});
