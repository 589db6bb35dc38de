//! The progress bar on standard error.

use std::time::Duration;

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::source;

/// A progress bar, or nothing.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    /// No progress bar.
    #[must_use]
    pub fn none() -> Self {
        Self { bar: None }
    }

    /// A progress bar on standard error.
    #[must_use]
    pub fn on_terminal() -> Self {
        Self { bar: Some(ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10))) }
    }

    /// A capture begins: the `n`th of `count`.
    pub(crate) fn start(&self, name: &str, n: usize, count: usize, at: source::Progress) {
        let Some(bar) = &self.bar else { return };
        let (template, of) = match at.total_bytes {
            Some(_) => ("{prefix} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} eta {eta} {msg}", at.total_bytes),
            None => ("{prefix} {spinner} {bytes} {bytes_per_sec} {msg}", None),
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        match of {
            Some(total) => bar.set_length(total),
            None => bar.unset_length(),
        }
        bar.reset();
        bar.set_prefix(if count > 1 { format!("{name} ({n}/{count})") } else { name.to_owned() });
        bar.set_position(at.read_bytes);
        bar.enable_steady_tick(Duration::from_millis(200));
    }

    /// How far the capture has been read.
    pub(crate) fn update(&self, at: source::Progress, frames: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(at.read_bytes);
            bar.set_message(format!("{} packets", HumanCount(frames)));
        }
    }

    /// Runs `say`, which writes to the terminal, with the bar out of the way.
    pub(crate) fn suspend(&self, say: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(say),
            None => say(),
        }
    }

    /// The last capture has been read.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
