//! How the process takes memory from the system, and gives it back.
//!
//! Other C libraries than glibc do as they see fit.

/// A piece of memory of this size is one of the system's own, and goes back to it when it is freed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const OWN_PIECE_SIZE: libc::c_int = 256 << 10;

/// To be called at the start. Else glibc comes to carve ever larger pieces out of one heap: those of
/// an import are then not given back, and memory that the store asks for and never touches is
/// made of what others have touched.
pub(super) fn set_up() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code, reason = "the C library has no other door to it")]
    // SAFETY: it takes two numbers, and changes nothing that is in use.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_PIECE_SIZE);
    }
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
