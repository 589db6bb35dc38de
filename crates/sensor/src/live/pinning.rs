//! Threads that stay on a processor.
//!
//! A thread pins itself before it does anything else, so that what it allocates is near it. The others, which are started
//! by threads that are not pinned, go where the kernel puts them.

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The calling thread.
const SELF: Pid = Pid::from_raw(0);

/// Which processors capture threads and workers stay on; any where none is named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pinning {
    capture: Vec<u16>,
    workers: Vec<u16>,
}

/// Processors that this process cannot have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PinningError {
    /// One that is not there, or not for this process.
    #[error(
        "cpus.{key} names CPU {cpu}, which this process may not use: it may use {allowed}; name one of those, or see to the limits (taskset, CPUAffinity= or AllowedCPUs= in systemd, cpuset of the container)"
    )]
    NotAllowed {
        /// `capture` or `workers`.
        key: &'static str,
        /// Its number.
        cpu: u16,
        /// Those that it may use, as ranges.
        allowed: String,
    },
    /// The system does not say which there are.
    #[error("cannot find out which CPUs this process may use: {0}; leave [cpus] out")]
    Unknown(#[from] Errno),
}

impl Pinning {
    /// Capture threads on `capture`, workers on `workers`, by the kernel's numbers.
    ///
    /// # Errors
    /// When this process may not use one of them.
    pub fn new(capture: &[u16], workers: &[u16]) -> Result<Self, PinningError> {
        if capture.is_empty() && workers.is_empty() {
            return Ok(Self::default());
        }
        let allowed = sched_getaffinity(SELF)?;
        for (key, cpus) in [("capture", capture), ("workers", workers)] {
            if let Some(&cpu) = cpus.iter().find(|&&cpu| !allowed.is_set(cpu.into()).unwrap_or(false)) {
                return Err(PinningError::NotAllowed { key, cpu, allowed: ranges(&allowed) });
            }
        }
        Ok(Self { capture: capture.to_vec(), workers: workers.to_vec() })
    }

    /// Where the capture thread of this number stays.
    pub(super) fn of_capture(&self, number: usize) -> Option<u16> {
        nth(&self.capture, number)
    }

    /// Where the worker of this number stays.
    pub(super) fn of_worker(&self, number: usize) -> Option<u16> {
        nth(&self.workers, number)
    }

    /// Where the thread stays that captures and works on flows.
    pub(super) fn of_both(&self) -> Option<u16> {
        self.of_capture(0).or_else(|| self.of_worker(0))
    }
}

/// Those of `cpus` that this process may not use, and those that it may, as ranges.
///
/// # Errors
/// When the system does not say.
pub fn barred(cpus: &[u16]) -> Result<(Vec<u16>, String), PinningError> {
    let allowed = sched_getaffinity(SELF)?;
    let is_allowed = |cpu: &u16| allowed.is_set((*cpu).into()).unwrap_or(false);
    Ok((cpus.iter().copied().filter(|cpu| !is_allowed(cpu)).collect(), ranges(&allowed)))
}

/// The list over and over again.
fn nth(cpus: &[u16], number: usize) -> Option<u16> {
    cpus.get(number.checked_rem(cpus.len())?).copied()
}

/// Keeps the calling thread where it is to stay.
pub(super) fn pin(cpu: Option<u16>) {
    let Some(cpu) = cpu else { return };
    let mut only = CpuSet::new();
    if let Err(error) = only.set(cpu.into()).and_then(|()| sched_setaffinity(SELF, &only)) {
        // It was there at the start. To go on elsewhere is better than not to.
        let thread = std::thread::current();
        tracing::warn!(thread = thread.name().unwrap_or("?"), cpu, "cannot keep a thread on its CPU: {error}");
    }
}

/// As in `0-3,6`.
fn ranges(set: &CpuSet) -> String {
    let mut words = Vec::new();
    let mut cpus = (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).peekable();
    while let Some(first) = cpus.next() {
        let mut last = first;
        while let Some(next) = cpus.next_if_eq(&(last + 1)) {
            last = next;
        }
        words.push(if first == last { first.to_string() } else { format!("{first}-{last}") });
    }
    words.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed() -> Vec<u16> {
        let set = sched_getaffinity(SELF).unwrap();
        (0..1_024).filter(|cpu| set.is_set(usize::from(*cpu)).unwrap()).collect()
    }

    #[test]
    fn threads_take_the_list_over_and_over() {
        let pinning = Pinning { capture: vec![4, 2], workers: vec![7] };
        let captures: Vec<_> = (0..4).map(|number| pinning.of_capture(number).unwrap()).collect();
        assert_eq!(captures, [4, 2, 4, 2]);
        assert_eq!((pinning.of_worker(5), pinning.of_both()), (Some(7), Some(4)));
        assert_eq!(Pinning::default().of_capture(0), None);
        assert_eq!(Pinning { capture: vec![], workers: vec![3] }.of_both(), Some(3));
    }

    #[test]
    fn a_cpu_that_is_not_there_is_refused_and_those_there_are_named() {
        let error = Pinning::new(&[1_023], &[]).unwrap_err().to_string();
        let set = sched_getaffinity(SELF).unwrap();
        assert!(error.contains("cpus.capture names CPU 1023") && error.contains(&ranges(&set)), "{error}");
        assert!(Pinning::new(&allowed(), &allowed()).is_ok());
        let mut some = CpuSet::new();
        for cpu in [0, 1, 2, 3, 6] {
            some.set(cpu).unwrap();
        }
        assert_eq!(ranges(&some), "0-3,6");
    }

    #[test]
    fn a_pinned_thread_may_run_nowhere_else() {
        let cpu = *allowed().last().unwrap();
        let seen = std::thread::spawn(move || {
            pin(Some(cpu));
            ranges(&sched_getaffinity(SELF).unwrap())
        });
        assert_eq!(seen.join().unwrap(), cpu.to_string());
    }
}
