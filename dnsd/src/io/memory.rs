//! How the process takes memory from the system, and gives it back.
//!
//! Other C libraries than glibc do as they see fit.

/// A piece of memory of this size is one of the system's own, and goes back to it when it is freed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const OWN_PIECE_SIZE: libc::c_int = 256 << 10;

/// To be called at the start. Else glibc comes to carve ever larger pieces out of one heap: those of
/// an import are then not given back, and memory that the store asks for and never touches is
/// made of what others have touched.
pub(crate) fn set_up() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code, reason = "the C library has no other door to it")]
    // SAFETY: it takes two numbers, and changes nothing that is in use.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_PIECE_SIZE);
    }
}

/// Does what needs much memory for a moment in a thread of its own, which has a heap of its own. In
/// the large gaps that it leaves behind, the store would get pieces that are cleared for it and that
/// it never touches.
pub(crate) fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let done = scope.spawn(work).join();
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Gives back what the allocator keeps for later. After the import of a large zone that is several
/// times what the zone takes. It looks at all that is free: some milliseconds, for threads that
/// nobody waits for.
pub(super) fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code, reason = "the C library has no other door to it")]
    // SAFETY: it takes a number, and changes nothing that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}
