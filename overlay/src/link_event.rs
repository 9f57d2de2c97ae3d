//! What the link thread tells the router, and what the router asks of it.
//!
//! A *link id* names one connection of whatever protocol; the router alone knows which three of
//! them make up a link to a neighbor. The driver holds sockets and no meaning.

use crate::peer_id::PublicKey;
use bytes::Bytes;
use std::net::SocketAddr;
use std::time::Duration;

/// One connection, as the driver numbers it; never used again within a life of the driver.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkId(pub u64);

/// One attempt to open a connection, as the router numbers it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DialId(pub u64);

/// One stream of a connection, as QUIC numbers it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StreamId(pub u64);

/// What a connection is for (overlay protocol section 1); the text is its ALPN.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Protocol {
    /// `zc-link/1`: packets as datagrams, bulk data as streams.
    Link,
    /// `zc-beat/1`: heartbeats alone.
    Beat,
    /// `zc-join/1`: the handshake of an invitation.
    Join,
    /// `zc-evicted/1`: all that an excluded key may still say.
    Evicted,
    /// The TCP canary on the same port: no TLS, no data after its two nonces.
    Canary,
}

/// Which key a dialer expects at the other end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expected {
    /// A member's key.
    Key(PublicKey),
    /// SHA-256 of the inviter's SPKI, from a token.
    Fingerprint([u8; 32]),
    /// Nothing is proven: the canary carries no key.
    Nothing,
}

/// Why this side closes a connection; the number goes over the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u32)]
pub enum CloseCode {
    /// A clean stop or a connection that is not needed.
    Done = 0,
    /// The key is not known here (an Admit that is on its way will change that).
    Unknown = 1,
    /// An eviction of the key is held here but not settled: try again, and go on.
    Excluded = 2,
    /// An eviction of the key is settled: stop taking updates.
    Evicted = 3,
    /// The connection lost against another of the same pair.
    Superseded = 4,
    /// The other side broke the protocol.
    Protocol = 5,
    /// Too many connections that have not proven anything.
    Busy = 6,
    /// This peer's configuration links to others only.
    NotWanted = 7,
}

/// What happened to a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LinkEvent {
    /// The handshake is done; nothing says yet that the other side accepts.
    Opened {
        /// The key that the other side proved; none for a canary.
        key: Option<PublicKey>,
        /// What the connection is for.
        protocol: Protocol,
        /// The dial that opened it; none if the other side dialed.
        dialed: Option<DialId>,
        /// 32 bytes of TLS keying material of this connection; zero for a canary.
        exporter: [u8; 32],
        /// The other end.
        remote: SocketAddr,
    },
    /// The connection is gone.
    Closed {
        /// The code that the other side gave, if it closed it with one.
        code: Option<u32>,
    },
    /// A datagram of a `Link` or `Beat` connection.
    Datagram(Bytes),
    /// Bytes of a stream in order. The first event of an unknown id opens it.
    Stream {
        /// Which stream.
        stream: StreamId,
        /// The bytes.
        data: Bytes,
        /// True at the end of the stream.
        finished: bool,
    },
    /// The other side reset the stream, or wants no more of it.
    StreamReset(StreamId),
    /// A stream that was asked for is open: the number that the router chose got this id.
    StreamOpened {
        /// The router's number, from [`LinkOutput::OpenStream`].
        number: u64,
        /// What later events and outputs name it by.
        stream: StreamId,
    },
    /// All data of the stream handed over so far has been taken by the transport.
    StreamWritable(StreamId),
    /// Free space for datagrams has come back after [`LinkOutput::Datagram`] filled it.
    Writable,
    /// The largest datagram that fits has changed.
    Mtu(usize),
    /// The 16 bytes that a canary brought.
    CanaryNonce([u8; 16]),
}

/// What the router asks of the driver.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LinkOutput {
    /// Open a connection; comes back as `Opened{dialed}` or `DialFailed`.
    Dial {
        /// The router's number for it.
        dial: DialId,
        /// Where to.
        address: SocketAddr,
        /// What for.
        protocol: Protocol,
        /// Closed at once if the other side proves another key.
        expected: Expected,
    },
    /// Close a connection, or forget one that is gone.
    Close {
        /// Which.
        link: LinkId,
        /// Why.
        code: CloseCode,
    },
    /// The other side is accepted: lift the limits of a stranger (receive window, streams).
    Accept(LinkId),
    /// Send a datagram. The router sends one only while it believes in free space: two may be
    /// under way, then it waits for `Writable`.
    Datagram {
        /// On which connection.
        link: LinkId,
        /// What.
        data: Bytes,
    },
    /// Open a stream; answered by `StreamOpened` with the same number.
    OpenStream {
        /// On which connection.
        link: LinkId,
        /// The router's number for it.
        number: u64,
        /// Whether the other side may answer on it.
        direction: Direction,
    },
    /// Hand over bytes of a stream; more only after `StreamWritable`.
    StreamData {
        /// On which connection.
        link: LinkId,
        /// Which stream.
        stream: StreamId,
        /// What.
        data: Bytes,
        /// True if nothing follows.
        finish: bool,
    },
    /// Send the 16 bytes of a canary.
    CanaryNonce {
        /// Which canary.
        link: LinkId,
        /// The nonce.
        nonce: [u8; 16],
    },
}

/// Whether both ends may write to a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Only who opened it.
    One,
    /// Both ends.
    Both,
}

/// A dial that came to nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DialFailed {
    /// Which.
    pub dial: DialId,
    /// What the transport says, for the log.
    pub reason: String,
}

/// Round-trip time and loss as the transport measures them, for `overlay links`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LinkFigures {
    /// Smoothed round-trip time.
    pub rtt: Duration,
    /// Packets that the transport has called lost.
    pub lost: u64,
}
