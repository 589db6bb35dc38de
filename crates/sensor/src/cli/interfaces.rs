//! `sensor interfaces`: what can be captured from.

use std::fmt::Write as _;

use super::{exit, print, say};
use crate::live;

/// Lists them.
pub(super) fn interfaces() -> u8 {
    match live::interfaces() {
        Ok(found) => {
            let mut text = format!("{}\n", live::heading());
            for interface in found {
                let _ = writeln!(text, "{interface}");
            }
            print(text.as_bytes())
        }
        Err(error) => {
            say(format_args!("error: cannot list the interfaces: {error}\n"));
            exit::FAILED
        }
    }
}
