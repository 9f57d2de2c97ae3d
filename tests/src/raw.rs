//! Namespaces, packet sockets and rtnetlink: what no safe crate gives the tests.
//!
//! This is the one place with `unsafe` code of the tests. What comes out of the sockets is taken
//! apart elsewhere, as bytes.
#![expect(
    unsafe_code,
    reason = "setns, AF_PACKET and AF_NETLINK have no safe interface"
)]

use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What waits in a socket while its reader gets no core; a packet that finds no room is counted.
const RECEIVE_BUFFER: libc::c_int = 64 << 20;
/// After so long a reader looks whether it is to end.
const RECEIVE_TIMEOUT: libc::timeval = libc::timeval {
    tv_sec: 0,
    tv_usec: 20_000,
};
/// Room for a time stamp and a namespace id, each with its header.
const CONTROL_SIZE: usize = 128;

/// Moves the calling thread into a network namespace.
pub(crate) fn enter(namespace: &File) -> io::Result<()> {
    // SAFETY: setns takes a descriptor and a flag; the descriptor is open for as long as `File` is.
    check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) })
}

/// Has the calling thread act as another user, for good.
pub(crate) fn act_as(user: u32) -> io::Result<()> {
    // SAFETY: setresuid takes numbers only. Other than libc's, the system call is of one thread.
    let result = unsafe { libc::syscall(libc::SYS_setresuid, user, user, user) };
    check(result as libc::c_int)
}

/// Has the program of `command` start inside a network namespace.
pub(crate) fn start_inside(command: &mut Command, namespace: Arc<File>) {
    // SAFETY: between fork and exec the closure makes one system call, and allocates nothing.
    unsafe { command.pre_exec(move || enter(&namespace)) };
}

/// One datagram as a socket gave it.
pub(crate) struct Received {
    /// How many bytes of the buffer it takes.
    pub(crate) size: usize,
    /// When the kernel had it; when it was read, if the kernel did not say.
    pub(crate) at: Instant,
    /// The namespace that a message of rtnetlink speaks of; none: that of the socket.
    pub(crate) namespace: Option<i32>,
}

/// What comes in on one interface, all protocols, with the kernel's time.
pub(crate) struct PacketSocket(OwnedFd);

impl PacketSocket {
    /// Opens it in the namespace of the calling thread.
    pub(crate) fn open(interface: u32) -> io::Result<Self> {
        let socket = open(libc::AF_PACKET, libc::SOCK_RAW, 0)?;
        set(&socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &1)?;
        set(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &1)?;
        // SAFETY: all-zero bytes are a valid sockaddr_ll.
        let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = interface as i32;
        bind(&socket, &address)?;
        Ok(Self(socket))
    }

    /// Waits for a frame; none if none comes for a while.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Received>> {
        receive(&self.0, buffer)
    }

    /// How many frames found no room since the last call.
    pub(crate) fn dropped(&self) -> io::Result<u32> {
        // SAFETY: all-zero bytes are a valid tpacket_stats.
        let mut stats: libc::tpacket_stats = unsafe { mem::zeroed() };
        let mut size = size_of::<libc::tpacket_stats>() as libc::socklen_t;
        // SAFETY: both pointers lead to locals, and `size` is that of the first.
        check(unsafe {
            libc::getsockopt(
                self.0.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut stats).cast(),
                &raw mut size,
            )
        })?;
        Ok(stats.tp_drops)
    }
}

/// What the kernel says of addresses, in all namespaces that have an id in that of the socket.
pub(crate) struct AddressSocket(OwnedFd);

impl AddressSocket {
    /// Opens it in the namespace of the calling thread.
    pub(crate) fn open() -> io::Result<Self> {
        let socket = open(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)?;
        set(
            &socket,
            libc::SOL_NETLINK,
            libc::NETLINK_LISTEN_ALL_NSID,
            &1,
        )?;
        // SAFETY: all-zero bytes are a valid sockaddr_nl.
        let mut address: libc::sockaddr_nl = unsafe { mem::zeroed() };
        address.nl_family = libc::AF_NETLINK as u16;
        address.nl_groups = (libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR) as u32;
        bind(&socket, &address)?;
        Ok(Self(socket))
    }

    /// Waits for a message; none if none comes for a while. Fails when one found no room.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Received>> {
        receive(&self.0, buffer)
    }
}

fn open(family: libc::c_int, kind: libc::c_int, protocol: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: socket takes numbers only.
    let descriptor = unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) };
    check(descriptor)?;
    // SAFETY: the descriptor was opened just now, and nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
    set(
        &socket,
        libc::SOL_SOCKET,
        libc::SO_RCVBUFFORCE,
        &RECEIVE_BUFFER,
    )?;
    set(
        &socket,
        libc::SOL_SOCKET,
        libc::SO_RCVTIMEO,
        &RECEIVE_TIMEOUT,
    )?;
    Ok(socket)
}

/// `A` is a kind of socket address.
fn bind<A>(socket: &OwnedFd, address: &A) -> io::Result<()> {
    // SAFETY: the pointer leads to an address of the stated size that lives through the call.
    check(unsafe {
        libc::bind(
            socket.as_raw_fd(),
            std::ptr::from_ref(address).cast(),
            size_of::<A>() as libc::socklen_t,
        )
    })
}

/// `V` is what the option takes: an int or a timeval.
fn set<V>(socket: &OwnedFd, level: libc::c_int, option: libc::c_int, value: &V) -> io::Result<()> {
    // SAFETY: the pointer leads to a value of the stated size that lives through the call.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<V>() as libc::socklen_t,
        )
    })
}

fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<Option<Received>> {
    let mut piece = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let mut control = [0_u64; CONTROL_SIZE / 8];
    // SAFETY: all-zero bytes are a valid msghdr.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = &raw mut piece;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = CONTROL_SIZE;
    // SAFETY: the header leads to `buffer` and `control`, with their sizes; both live through the
    // call.
    let size = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, 0) };
    let (read_at, wall) = (Instant::now(), SystemTime::now());
    if size < 0 {
        let error = io::Error::last_os_error();
        return match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
            _ => Err(error),
        };
    }
    let mut received = Received {
        size: size as usize,
        at: read_at,
        namespace: None,
    };
    // SAFETY: the header describes control data that the system wrote, so the walk from header to
    // header stays inside of it, and data of these two kinds has these types; it may be unaligned.
    unsafe {
        let mut part = libc::CMSG_FIRSTHDR(&raw const header);
        while !part.is_null() {
            match ((*part).cmsg_level, (*part).cmsg_type) {
                (libc::SOL_SOCKET, libc::SO_TIMESTAMPNS) => {
                    let stamp = libc::CMSG_DATA(part).cast::<libc::timespec>();
                    received.at = read_at - age(&stamp.read_unaligned(), wall);
                }
                (libc::SOL_NETLINK, libc::NETLINK_LISTEN_ALL_NSID) => {
                    let id = libc::CMSG_DATA(part).cast::<libc::c_int>();
                    received.namespace = Some(id.read_unaligned());
                }
                _ => {}
            }
            part = libc::CMSG_NXTHDR(&raw const header, part);
        }
    }
    Ok(Some(received))
}

/// How long ago a stamp of the wall clock is.
fn age(stamp: &libc::timespec, wall: SystemTime) -> Duration {
    let stamp = UNIX_EPOCH + Duration::new(stamp.tv_sec as u64, stamp.tv_nsec as u32);
    wall.duration_since(stamp).unwrap_or_default()
}

fn check(result: libc::c_int) -> io::Result<()> {
    match result {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
