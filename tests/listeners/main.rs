//! The DNS listeners on real sockets, on ports that the system chooses.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests, at the other end of the sockets"
)]

mod client_certificates;
mod http3;
mod https;
mod proxy;
mod quic;
mod rate;
mod server;
mod tcp;
mod tls;
mod transfer;
mod udp;
