//! What live sources have in common.

use std::os::fd::AsFd;
use std::time::Duration;

use decap::Frame;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Gives frames as they arrive.
pub trait LiveSource {
    /// Waits up to `patience` for the first frame and hands on what has arrived; gives how many frames that were.
    ///
    /// # Errors
    /// When the source is gone: it has to be opened again. Nothing was handed on by that call.
    fn poll(&mut self, patience: Duration, take: &mut impl FnMut(Frame<'_>)) -> Result<usize, Lost>
    where
        Self: Sized;

    /// What was counted since the source was opened.
    fn counts(&mut self) -> SourceCounts;
}

/// What a live source counts of itself.
///
/// `received` is what the kernel gave this source, what it had to drop included: once everything waiting is handed on,
/// frames handed on = `received` − `kernel_drops`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceCounts {
    /// Frames that came in and passed the kernel's filter, dropped or not.
    pub received: u64,
    /// Of those: dropped because the ring or the socket's buffer was full.
    pub kernel_drops: u64,
    /// Dropped by the interface or its driver before anybody saw them.
    pub interface_drops: u64,
}

/// A source that gives nothing further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} is gone: {reason}")]
pub struct Lost {
    /// Which source.
    pub name: String,
    /// What the system said.
    pub reason: String,
}

/// Waits until there is something to read, an error included, and gives what; nothing when there was nothing in time.
pub(super) fn wait(fd: &impl AsFd, patience: Duration) -> Result<PollFlags, Errno> {
    let timeout = Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: patience.subsec_nanos().into() };
    let mut waiting = [PollFd::new(fd, PollFlags::IN)];
    match poll(&mut waiting, Some(&timeout)) {
        Ok(_) => Ok(waiting[0].revents()),
        Err(Errno::INTR) => Ok(PollFlags::empty()),
        Err(error) => Err(error),
    }
}

/// A counter of 32 bits that wraps, followed in 64.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wrapping {
    last: u32,
    total: u64,
}

impl Wrapping {
    /// The total after the counter has been read as `now`. Must be called at least once per 2^32 events.
    pub(super) const fn follow(&mut self, now: u32) -> u64 {
        self.total += now.wrapping_sub(self.last) as u64;
        self.last = now;
        self.total
    }

    /// What it stood at when it was last read.
    pub(super) const fn last(&self) -> u32 {
        self.last
    }

    /// The total when the counter was last read.
    pub(super) const fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_followed_over_its_wrap() {
        let mut counter = Wrapping::default();
        assert_eq!(counter.follow(u32::MAX - 1), u64::from(u32::MAX - 1));
        assert_eq!(counter.follow(3), u64::from(u32::MAX) + 4);
        assert_eq!(counter.follow(3), u64::from(u32::MAX) + 4);
    }
}
