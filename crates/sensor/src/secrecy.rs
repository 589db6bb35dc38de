//! What the memory of this process holds stays in it.
//!
//! Once the client's secret, a token, a private key or the key of masks is loaded, a core dump would hold it, and so would
//! whatever another process of the same user reads out of this one. Secrets that go are overwritten; this is for those that are
//! in use.

use std::io;

/// From now on the process leaves no core dump, neither as a file nor through a program that collects them
/// (core(5)), and only root may look into it (`PR_SET_DUMPABLE` in prctl(2)).
///
/// There is no way back within the process: whoever wants a dump of a crash tries it without `[upload]` and `mask.key_file`.
///
/// # Errors
/// When the system refuses; what it did not refuse is done.
pub fn keep_memory_private() -> io::Result<()> {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `none` is a valid `rlimit` and lives through the call, which only reads it.
    let limited = check(unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) });
    // SAFETY: this option takes numbers alone and touches no memory of ours.
    let undumpable = check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) });
    undumpable.and(limited)
}

/// The same, for those that go on without it, too: a refusal is logged.
pub fn keep_memory_private_or_warn() {
    if let Err(error) = keep_memory_private() {
        tracing::warn!("core dumps of this process cannot be turned off ({error}): they would hold secrets");
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_neither_a_file_nor_a_dump() {
        keep_memory_private().unwrap();
        // Again, as each upload of a process does.
        keep_memory_private().unwrap();
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"]);
        // SAFETY: this option takes numbers alone and touches no memory of ours.
        assert_eq!(unsafe { libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0) }, 0);
        // What the program needs of itself is still there.
        assert!(std::fs::read_dir("/proc/self/fd").unwrap().count() > 2);
        assert!(std::fs::metadata("/dev/stderr").is_ok());
    }
}
