//! Which threads run first: a late heartbeat looks like a dead peer.
//!
//! A nice value ranks a thread only within its control group or session, so under load from
//! elsewhere it does nothing. A real-time thread runs before all that is not.
#![allow(
    unsafe_code,
    reason = "policies and priorities of threads have no safe form in std"
)]

/// Below zero goes first; root or CAP_SYS_NICE may set it.
const NICE: libc::c_int = -10;
/// The lowest one of real time: below all that the kernel or others run by it.
const PRIORITY: libc::c_int = 1;

/// Lets the calling thread run before all ordinary work where that is permitted. Only for threads
/// that do little and wait: one that is busy takes its core away from the rest of the machine, but
/// for the part that the kernel keeps from real time (a twentieth).
pub fn run_first() {
    // What it starts is ordinary work.
    let policy = libc::SCHED_RR | libc::SCHED_RESET_ON_FORK;
    // SAFETY: every field is a number, and those that Linux does not have are zero.
    let mut parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    parameters.sched_priority = PRIORITY;
    // SAFETY: the kernel reads the parameters, and 0 is the calling thread.
    let result = unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) };
    if result != 0 {
        tracing::debug!("no real-time priority for this thread: that is not permitted");
        run_sooner();
    }
}

/// Ranks the calling thread before others of its kind where that is permitted.
pub fn run_sooner() {
    // SAFETY: setpriority takes numbers only. On Linux, who = 0 is the calling thread alone.
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
    if result != 0 {
        tracing::debug!("this thread keeps its normal priority: that is not permitted");
    }
}
