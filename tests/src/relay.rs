//! A relay between two peers on loopback, UDP and TCP of one port number each, that can be cut:
//! packets are lost then, and TCP connections stand still without an end.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "a test's own door to the network"
)]

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// Passes on what comes to its address to another; lives until the process ends.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    is_cut: Mutex<Cut>,
    changed: Condvar,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Cut {
    #[default]
    Whole,
    Cut,
}

impl Relay {
    /// Starts a relay to `target` on a port that is free for UDP and TCP.
    #[must_use]
    pub fn start(target: SocketAddr) -> Self {
        let (udp, tcp) = bind();
        let address = udp.local_addr().unwrap();
        let state = Arc::new(State::default());
        let for_udp = Arc::clone(&state);
        thread::spawn(move || pass_datagrams(&udp, target, &for_udp));
        let for_tcp = Arc::clone(&state);
        thread::spawn(move || {
            for client in tcp.incoming() {
                pass_connection(client.unwrap(), target, &for_tcp);
            }
        });
        Self { address, state }
    }

    /// Where to send what is meant for the target.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From here on nothing passes.
    pub fn cut(&self) {
        *self.state.is_cut.lock().unwrap() = Cut::Cut;
    }

    /// From here on everything passes again.
    pub fn heal(&self) {
        *self.state.is_cut.lock().unwrap() = Cut::Whole;
        self.state.changed.notify_all();
    }
}

impl State {
    fn is_cut(&self) -> bool {
        *self.is_cut.lock().unwrap() == Cut::Cut
    }

    fn wait_until_whole(&self) {
        let cut = self.is_cut.lock().unwrap();
        drop(
            self.changed
                .wait_while(cut, |cut| *cut == Cut::Cut)
                .unwrap(),
        );
    }
}

fn bind() -> (UdpSocket, TcpListener) {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        match TcpListener::bind(udp.local_addr().unwrap()) {
            Ok(tcp) => return (udp, tcp),
            Err(error) => assert_eq!(error.kind(), ErrorKind::AddrInUse),
        }
    }
}

/// Each client gets a socket of its own towards the target, as behind a NAT.
fn pass_datagrams(udp: &UdpSocket, target: SocketAddr, state: &Arc<State>) {
    let mut outer: BTreeMap<SocketAddr, UdpSocket> = BTreeMap::new();
    let mut buffer = [0; 65_536];
    loop {
        // Linux reports an ICMP error of an earlier packet here.
        let Ok((size, client)) = udp.recv_from(&mut buffer) else {
            continue;
        };
        if state.is_cut() {
            continue;
        }
        let socket = outer.entry(client).or_insert_with(|| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let (back, inner) = (socket.try_clone().unwrap(), udp.try_clone().unwrap());
            let state = Arc::clone(state);
            thread::spawn(move || {
                let mut buffer = [0; 65_536];
                loop {
                    if let Ok((size, _)) = back.recv_from(&mut buffer)
                        && !state.is_cut()
                    {
                        inner.send_to(&buffer[..size], client).ok();
                    }
                }
            });
            socket
        });
        socket.send_to(&buffer[..size], target).ok();
    }
}

fn pass_connection(client: TcpStream, target: SocketAddr, state: &Arc<State>) {
    let Ok(server) = TcpStream::connect_timeout(&target, Duration::from_secs(1)) else {
        return;
    };
    let (client_too, server_too) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    for (from, to) in [(client, server_too), (server, client_too)] {
        let state = Arc::clone(state);
        thread::spawn(move || pass_bytes(from, to, &state));
    }
}

fn pass_bytes(mut from: TcpStream, mut to: TcpStream, state: &State) {
    let mut buffer = [0; 4096];
    loop {
        let size = from.read(&mut buffer).unwrap_or(0);
        state.wait_until_whole();
        if size == 0 || to.write_all(&buffer[..size]).is_err() {
            to.shutdown(Shutdown::Both).ok();
            return;
        }
    }
}
