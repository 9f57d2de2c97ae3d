//! Datagrams in batches, each with the address that it was sent to, so that what answers it
//! leaves from there.
//!
//! This is the one place with `unsafe` code of the daemon: neither std nor socket2 has recvmmsg,
//! sendmmsg or packet information.
#![expect(
    unsafe_code,
    reason = "recvmmsg, sendmmsg and packet information have no safe interface"
)]

use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr;

/// Datagrams per system call. Larger batches gain nothing measurable; smaller ones lose.
pub(super) const BATCH: usize = 64;
/// Longest request by UDP; a longer one comes cut, and is dropped. Updates that are larger than
/// what fits a few fragments come by TCP.
const REQUEST_SIZE_MAX: usize = 4096;
/// Room for one `in6_pktinfo` with its header.
const CONTROL_SIZE: usize = 64;

/// Asks the system to tell, for each datagram, the address that it was sent to.
pub(super) fn tell_destination(socket: &UdpSocket, is_ipv6: IsIpv6) -> io::Result<()> {
    let (level, option) = match is_ipv6 {
        IsIpv6::No => (libc::IPPROTO_IP, libc::IP_PKTINFO),
        IsIpv6::Yes => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
    };
    set_option(socket, level, option, 1)
}

/// Sends without path MTU discovery: responses are small enough for every path, and a forged
/// "fragmentation needed" cannot make them smaller.
pub(super) fn ignore_path_mtu(socket: &UdpSocket, is_ipv6: IsIpv6) -> io::Result<()> {
    match is_ipv6 {
        IsIpv6::No => set_option(
            socket,
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            libc::IP_PMTUDISC_OMIT,
        ),
        IsIpv6::Yes => set_option(
            socket,
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU_DISCOVER,
            libc::IPV6_PMTUDISC_OMIT,
        ),
    }
}

/// Asks for a receive buffer beyond the limit for everybody; fails without the right to.
pub(super) fn force_receive_buffer(socket: &UdpSocket, size: usize) -> io::Result<()> {
    let size = libc::c_int::try_from(size).unwrap_or(libc::c_int::MAX);
    set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, size)
}

/// Ends all waiting on a socket for good: a receiver wakes with nothing.
pub(super) fn wake(socket: &UdpSocket) {
    // SAFETY: shutdown takes no pointers, and the socket is open. On a UDP socket that is not
    // connected Linux reports ENOTCONN and wakes its receivers all the same.
    unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_RD) };
}

/// Keeps the calling thread on one of the cores that the process may use; `nth` goes round.
pub(super) fn pin_thread(nth: usize) -> io::Result<()> {
    // SAFETY: an all-zero cpu_set_t is the empty set, and the pointers live through the calls.
    // CPU_ISSET and CPU_SET get numbers below CPU_SETSIZE.
    unsafe {
        let mut allowed: libc::cpu_set_t = mem::zeroed();
        let size = size_of::<libc::cpu_set_t>();
        if libc::sched_getaffinity(0, size, &raw mut allowed) != 0 {
            return Err(io::Error::last_os_error());
        }
        let cores: Vec<usize> = (0..libc::CPU_SETSIZE as usize)
            .filter(|core| libc::CPU_ISSET(*core, &allowed))
            .collect();
        let Some(core) = cores.get(nth % cores.len().max(1)) else {
            return Ok(());
        };
        let mut chosen: libc::cpu_set_t = mem::zeroed();
        libc::CPU_SET(*core, &mut chosen);
        if libc::sched_setaffinity(0, size, &raw const chosen) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Which kind of address a socket has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum IsIpv6 {
    /// IPv4.
    No,
    /// IPv6.
    Yes,
}

impl From<IpAddr> for IsIpv6 {
    fn from(ip: IpAddr) -> Self {
        if ip.is_ipv6() { Self::Yes } else { Self::No }
    }
}

/// Ancillary data of one datagram, aligned as the system wants it.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_SIZE]);

/// Where an answer goes, and the address that it leaves from.
#[derive(Clone, Copy)]
pub(super) struct ReturnPath {
    peer: libc::sockaddr_storage,
    peer_size: libc::socklen_t,
    control: Control,
    control_size: usize,
}

/// Room for one batch in and one out. The pointers in the headers lead to the vectors beside
/// them, which never grow; only slots used before are set up again.
pub(super) struct Batch {
    requests: Vec<[u8; REQUEST_SIZE_MAX]>,
    peers: Vec<libc::sockaddr_storage>,
    controls: Vec<Control>,
    _pieces: Vec<libc::iovec>,
    received: Vec<libc::mmsghdr>,
    used: usize,
    responses: Vec<Vec<u8>>,
    answered: Vec<usize>,
    out_pieces: Vec<libc::iovec>,
    out: Vec<libc::mmsghdr>,
}

impl Batch {
    /// An empty one, with room for responses of `response_size`.
    pub(super) fn new(response_size: usize) -> Self {
        // SAFETY: all-zero bytes are valid for these plain C structures: no address, no data.
        let (peer, header, piece) = unsafe {
            (
                mem::zeroed::<libc::sockaddr_storage>(),
                mem::zeroed::<libc::mmsghdr>(),
                mem::zeroed::<libc::iovec>(),
            )
        };
        let mut requests = vec![[0; REQUEST_SIZE_MAX]; BATCH];
        let mut peers = vec![peer; BATCH];
        let mut controls = vec![Control([0; CONTROL_SIZE]); BATCH];
        let mut pieces = vec![piece; BATCH];
        let mut received = vec![header; BATCH];
        let (requests_at, peers_at) = (requests.as_mut_ptr(), peers.as_mut_ptr());
        let (controls_at, pieces_at) = (controls.as_mut_ptr(), pieces.as_mut_ptr());
        for (i, header) in received.iter_mut().enumerate() {
            // SAFETY: `i` is below BATCH, the length of all these vectors.
            unsafe {
                (*pieces_at.add(i)).iov_base = requests_at.add(i).cast();
                (*pieces_at.add(i)).iov_len = REQUEST_SIZE_MAX;
                header.msg_hdr.msg_name = peers_at.add(i).cast();
                header.msg_hdr.msg_iov = pieces_at.add(i);
                header.msg_hdr.msg_control = controls_at.add(i).cast();
            }
            header.msg_hdr.msg_iovlen = 1;
        }
        Self {
            requests,
            peers,
            controls,
            _pieces: pieces,
            received,
            used: BATCH,
            responses: std::iter::repeat_with(|| Vec::with_capacity(response_size))
                .take(BATCH)
                .collect(),
            answered: Vec::with_capacity(BATCH),
            out_pieces: Vec::with_capacity(BATCH),
            out: Vec::with_capacity(BATCH),
        }
    }

    /// Waits for a datagram, and takes with it what else has come. Returns how many.
    pub(super) fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        for header in &mut self.received[..self.used] {
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as u32;
            header.msg_hdr.msg_controllen = CONTROL_SIZE;
            header.msg_hdr.msg_flags = 0;
        }
        self.used = 0;
        // SAFETY: each header leads to a name, a buffer and control data of the sizes that it
        // states, which live as long as `self`.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.received.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_WAITFORONE,
                ptr::null_mut(),
            )
        };
        if count < 0 {
            return Err(io::Error::last_os_error());
        }
        self.used = count as usize;
        Ok(self.used)
    }

    /// A datagram, and room for the response to it; none if it was longer than the room for it.
    pub(super) fn request(&mut self, i: usize) -> Option<(&[u8], SocketAddr, &mut Vec<u8>)> {
        let header = &self.received[i];
        if header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
            return None;
        }
        let request = &self.requests[i][..header.msg_len as usize];
        Some((
            request,
            read_address(&self.peers[i])?,
            &mut self.responses[i],
        ))
    }

    /// Where answers to it go.
    pub(super) fn return_path(&mut self, i: usize) -> ReturnPath {
        self.turn_round(i);
        let header = &self.received[i].msg_hdr;
        ReturnPath {
            peer: self.peers[i],
            peer_size: header.msg_namelen,
            control: self.controls[i],
            control_size: header.msg_controllen,
        }
    }

    /// Has the response to datagram `i` sent with the next [`Self::send`].
    pub(super) fn respond(&mut self, i: usize) {
        self.turn_round(i);
        self.answered.push(i);
    }

    /// Sends all responses. Returns how many the system did not take.
    pub(super) fn send(&mut self, socket: &UdpSocket) -> usize {
        for i in self.answered.drain(..) {
            self.out_pieces.push(libc::iovec {
                iov_base: self.responses[i].as_mut_ptr().cast(),
                iov_len: self.responses[i].len(),
            });
            self.out.push(self.received[i]);
        }
        for (header, piece) in self.out.iter_mut().zip(&mut self.out_pieces) {
            header.msg_hdr.msg_flags = 0;
            header.msg_hdr.msg_iov = piece;
        }
        let mut failed = 0;
        let mut done = 0;
        while done < self.out.len() {
            let rest = &mut self.out[done..];
            // SAFETY: each header leads to a name, a response and control data of the sizes that
            // it states, all of them in vectors of `self` that stay as they are through the call.
            let count = unsafe {
                libc::sendmmsg(
                    socket.as_raw_fd(),
                    rest.as_mut_ptr(),
                    rest.len() as libc::c_uint,
                    0,
                )
            };
            match usize::try_from(count) {
                Ok(count) => done += count,
                Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
                // The first one cannot be sent, for instance to port 0; the others may.
                Err(_) => {
                    failed += 1;
                    done += 1;
                }
            }
        }
        self.out.clear();
        self.out_pieces.clear();
        failed
    }

    /// Makes of the packet information of a datagram that came in that of one to go out: the same
    /// local address, by whatever interface the route says.
    fn turn_round(&mut self, i: usize) {
        let message = &raw const self.received[i].msg_hdr;
        // SAFETY: the header describes control data that the system wrote, so the walk from
        // header to header stays inside of it, and data of these two kinds has these types; it
        // may be unaligned.
        unsafe {
            let mut header = libc::CMSG_FIRSTHDR(message);
            while !header.is_null() {
                match ((*header).cmsg_level, (*header).cmsg_type) {
                    (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                        let at = libc::CMSG_DATA(header).cast::<libc::in_pktinfo>();
                        let mut info = at.read_unaligned();
                        info.ipi_ifindex = 0;
                        at.write_unaligned(info);
                    }
                    (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                        let at = libc::CMSG_DATA(header).cast::<libc::in6_pktinfo>();
                        let mut info = at.read_unaligned();
                        // A link-local address means something on its interface only.
                        if info.ipi6_addr.s6_addr[..2] != [0xfe, 0x80] {
                            info.ipi6_ifindex = 0;
                        }
                        at.write_unaligned(info);
                    }
                    _ => {}
                }
                header = libc::CMSG_NXTHDR(message, header);
            }
        }
    }
}

impl ReturnPath {
    /// Sends one answer.
    pub(super) fn send(&self, socket: &UdpSocket, response: &[u8]) -> io::Result<()> {
        let mut path = *self;
        let mut piece = libc::iovec {
            iov_base: response.as_ptr().cast_mut().cast(),
            iov_len: response.len(),
        };
        // SAFETY: all-zero bytes are a valid msghdr, all its pointers lead to locals and
        // `response`, which live through the call, and sendmsg writes to none of them.
        let sent = unsafe {
            let mut header: libc::msghdr = mem::zeroed();
            header.msg_name = (&raw mut path.peer).cast();
            header.msg_namelen = path.peer_size;
            header.msg_iov = &raw mut piece;
            header.msg_iovlen = 1;
            if path.control_size > 0 {
                header.msg_control = (&raw mut path.control).cast();
                header.msg_controllen = path.control_size;
            }
            libc::sendmsg(socket.as_raw_fd(), &raw const header, 0)
        };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

fn set_option(
    socket: &UdpSocket,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the pointer leads to a c_int of the stated size that lives through the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn read_address(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match libc::c_int::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that this is what the system wrote; the storage is large
            // and aligned enough for each kind of address.
            let address = unsafe { &*ptr::from_ref(storage).cast::<libc::sockaddr_in>() };
            let ip = u32::from_be(address.sin_addr.s_addr).into();
            let port = u16::from_be(address.sin_port);
            Some(SocketAddr::V4(SocketAddrV4::new(ip, port)))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let address = unsafe { &*ptr::from_ref(storage).cast::<libc::sockaddr_in6>() };
            Some(SocketAddr::V6(SocketAddrV6::new(
                address.sin6_addr.s6_addr.into(),
                u16::from_be(address.sin6_port),
                address.sin6_flowinfo,
                address.sin6_scope_id,
            )))
        }
        _ => None,
    }
}
