//! What the process may do, and how it is ranked among others.
#![expect(
    unsafe_code,
    reason = "locked memory, signals and users have no safe form"
)]

use overlay::io::{descriptor, priority};
use socket2::Socket;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;

/// linux/capability.h
const CAP_NET_ADMIN: u32 = 12;
const CAP_NET_RAW: u32 = 13;

/// Signals that end a daemon leave its guard alone: it ends when the daemon has.
pub(super) fn outlive_signals() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGPIPE] {
        // SAFETY: the signal is a valid one, and to ignore it runs no code.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Runs before others and stays in memory, as far as that is permitted.
pub(super) fn go_first() {
    priority::run_first();
    // What is touched once stays; the rest of the program does not take memory.
    // SAFETY: mlockall takes numbers only.
    unsafe {
        libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT);
    }
    // Without memory the kernel shall end the daemon, not what cleans up after it.
    drop(fs::write("/proc/self/oom_score_adj", "-1000"));
}

/// Kills a process and all that it has started, but for what has left its group. The process must
/// lead its group, and must not have been waited for.
pub(super) fn kill_group(leader: u32) {
    let Ok(group @ 2..) = libc::pid_t::try_from(leader) else {
        return;
    };
    // SAFETY: killpg takes numbers only. Until it is waited for, the leader keeps the number of its
    // group from others.
    unsafe { libc::killpg(group, libc::SIGKILL) };
}

/// The user that this process acts as.
pub(super) fn user() -> u32 {
    // SAFETY: geteuid takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

/// The user that the listener acted as to which a socket is connected.
pub(super) fn user_of_peer(socket: &Socket) -> io::Result<u32> {
    let mut credentials = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let mut size = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `size` bytes, and any bytes are a valid ucred.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut credentials).cast(),
            &raw mut size,
        )
    };
    if result == 0 {
        Ok(credentials.uid)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Gives a socket a descriptor that is closed first when the process is killed: with a low one the
/// guard sees the end of its daemon 40 ms late, and with that of a canary later than the neighbors.
pub(super) fn close_first(socket: Socket) -> Socket {
    descriptor::closed_first(socket.into()).into()
}

/// What the thread lacks to hold addresses, and what to do about it; none if nothing.
pub(super) fn lacking() -> Option<String> {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or_default();
    let lacking: Vec<&str> = [
        (CAP_NET_ADMIN, "CAP_NET_ADMIN"),
        (CAP_NET_RAW, "CAP_NET_RAW"),
    ]
    .into_iter()
    .filter(|(bit, _)| effective >> bit & 1 == 0)
    .map(|(_, name)| name)
    .collect();
    (!lacking.is_empty()).then(|| {
        format!(
            "dnsd lacks {}: run it as root, or give it AmbientCapabilities=CAP_NET_ADMIN \
             CAP_NET_RAW in its unit",
            lacking.join(" and ")
        )
    })
}
