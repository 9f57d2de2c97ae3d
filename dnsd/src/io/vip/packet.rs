//! Sockets that send and take Ethernet frames of one link, each kind through a filter in the
//! kernel, so that the DNS traffic of the machine is not copied to us.
#![expect(
    unsafe_code,
    reason = "the address of a packet socket, and to wait for one, have no safe form"
)]

use crate::vip::frames::{ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use socket2::{Domain, SockAddr, SockFilter, Socket, Type};
use std::io;
use std::sync::Arc;
use tokio::io::unix::AsyncFd;

/// Longest frame that is looked at; all that the filters let through are shorter.
pub(super) const FRAME_SIZE_MAX: usize = 1536;
/// Some hundred frames.
const RECEIVE_BUFFER: usize = 256 << 10;

/// Instructions of classic BPF (linux/bpf_common.h).
const LOAD_BYTE: u16 = 0x30;
const LOAD_HALF: u16 = 0x28;
const LOAD_HALF_INDEXED: u16 = 0x48;
/// The size of the IPv4 header at this place, into the index.
const LOAD_HEADER_SIZE: u16 = 0xb1;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_ANY: u16 = 0x45;
const RETURN: u16 = 0x06;

/// Opens the sockets of a link: that for ARP, which also sends; IPv6 neighbor discovery, and
/// datagrams to `port`, by IPv6; datagrams to `port` by IPv4.
pub(super) fn open(index: u32, port: u16) -> io::Result<[Socket; 3]> {
    let port = u32::from(port);
    Ok([
        open_one(index, ETHERTYPE_ARP, &[instruction(RETURN, 0, 0, u32::MAX)])?,
        open_one(
            index,
            ETHERTYPE_IPV6,
            &[
                instruction(LOAD_BYTE, 0, 0, 20),  // next header
                instruction(JUMP_EQUAL, 0, 3, 58), // ICMPv6?
                instruction(LOAD_BYTE, 0, 0, 54),  // its type
                instruction(JUMP_EQUAL, 4, 0, 135),
                instruction(JUMP_EQUAL, 3, 4, 136),
                instruction(JUMP_EQUAL, 0, 3, 17), // UDP?
                instruction(LOAD_HALF, 0, 0, 56),  // its port
                instruction(JUMP_EQUAL, 0, 1, port),
                instruction(RETURN, 0, 0, u32::MAX),
                instruction(RETURN, 0, 0, 0),
            ],
        )?,
        open_one(
            index,
            ETHERTYPE_IPV4,
            &[
                instruction(LOAD_BYTE, 0, 0, 23),  // protocol
                instruction(JUMP_EQUAL, 0, 6, 17), // UDP?
                instruction(LOAD_HALF, 0, 0, 20),  // place of the fragment
                instruction(JUMP_ANY, 4, 0, 0x1fff),
                instruction(LOAD_HEADER_SIZE, 0, 0, 14),
                instruction(LOAD_HALF_INDEXED, 0, 0, 16), // its port
                instruction(JUMP_EQUAL, 0, 1, port),
                instruction(RETURN, 0, 0, u32::MAX),
                instruction(RETURN, 0, 0, 0),
            ],
        )?,
    ])
}

/// Has the runtime wait for a socket.
pub(super) fn register(socket: Arc<Socket>) -> io::Result<AsyncFd<Arc<Socket>>> {
    // SAFETY: a Socket owns one open descriptor, always the same, until the last Arc is dropped.
    Ok(unsafe { AsyncFd::register(socket) }?)
}

fn open_one(index: u32, ethertype: u16, filter: &[SockFilter]) -> io::Result<Socket> {
    // Of no protocol until it is bound: nothing comes before the filter stands.
    let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
    socket.set_nonblocking(true)?;
    socket.attach_filter(filter)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    let index = libc::c_int::try_from(index).map_err(io::Error::other)?;
    // SAFETY: the storage has room for every kind of address, and all-zero bytes are a valid
    // sockaddr_ll; its family and size are set.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, size| {
            let address = storage.cast::<libc::sockaddr_ll>();
            (*address).sll_family = libc::AF_PACKET as libc::sa_family_t;
            (*address).sll_protocol = ethertype.to_be();
            (*address).sll_ifindex = index;
            *size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            Ok(())
        })?
    };
    socket.bind(&address)?;
    Ok(socket)
}

fn instruction(code: u16, if_true: u8, if_false: u8, value: u32) -> SockFilter {
    SockFilter::new(code, if_true, if_false, value)
}
