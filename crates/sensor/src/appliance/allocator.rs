//! Large buffers that go back to the system when they are freed.
//!
//! The C library's allocator maps large blocks one by one, and unmaps them; but each one freed teaches it to take the next
//! of that size from its arenas, which several threads then break up. Batches are such blocks: an outage of the platform
//! has up to `upload.queue_bytes` of them waiting, and each outage left the process some megabytes larger than the one before.

/// From which size on blocks are mapped one by one: where the allocator itself begins with it.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MAPPED_FROM: libc::c_int = 128 << 10;

/// Has the allocator keep to what it does at first. To be called before there are threads.
pub fn give_back_large_buffers() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: this sets a parameter of the allocator, under the allocator's own lock; no memory is touched.
    let is_set = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM) } == 1;
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    if !is_set {
        tracing::debug!("the allocator does not take a fixed threshold");
    }
}
