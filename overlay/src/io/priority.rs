//! Raises the priority of the link thread: a late heartbeat looks like a dead peer.
#![allow(unsafe_code, reason = "setpriority has no safe form in std")]

/// Below zero goes first; root or CAP_SYS_NICE may set it.
const NICE: libc::c_int = -10;

/// Raises the priority of the calling thread where that is permitted.
pub(super) fn raise() {
    // SAFETY: setpriority takes numbers only. On Linux, who = 0 is the calling thread alone.
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
    if result != 0 {
        tracing::debug!("the link thread keeps its normal priority: that is not permitted");
    }
}
