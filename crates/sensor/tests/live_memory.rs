//! What a running sensor's allocator gives back. A process of its own: the setting is the process's.

use std::thread;

use sensor::appliance::give_back_large_buffers;

/// Memory of the process that is no file's, in KiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// As an outage does: batches of all sizes wait, and go; beside each something small that stays.
fn outage(round: usize, kept: &mut Vec<Vec<u8>>) -> usize {
    let mut waiting = Vec::new();
    for number in 0..64 {
        waiting.push(vec![1_u8; 400_000 + (number * 7_919 + round * 104_729) % 800_000]);
        kept.push(vec![2; 64]);
    }
    let most = resident();
    drop(waiting);
    most
}

#[test]
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn batches_that_waited_leave_nothing_behind() {
    give_back_large_buffers();
    // Not the first thread: others have arenas of their own.
    let work = || {
        let mut kept = Vec::new();
        let before = resident();
        let most = (0..10).map(|round| outage(round, &mut kept)).max().unwrap_or(0);
        (before, most, resident(), kept.len())
    };
    let (before, most, after, kept) = thread::spawn(work).join().unwrap();
    assert_eq!(kept, 640);
    assert!(most > before + 32_000, "nothing was held: {before} and {most} KiB");
    assert!(after < before + 4_000, "{before} KiB before, {most} at most, {after} after");
}
