//! Zones fetched from servers outside, over sockets that block: for a thread that may wait.
//!
//! ```text
//! fetch ─ SOA by UDP, or TCP ─▶ not newer: UpToDate, Behind
//!       └─ newer ─ IXFR ─▶ it fits what is held: Newer
//!                    └─ an error, or it does not fit ─ AXFR ─▶ Newer
//! ```

use super::clock;
use crate::message::MESSAGE_SIZE_MAX;
use crate::transfer_in::{Made, Progress, Reader, Request, TransferError, Transferred};
use crate::tsig::Key;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};
use tracing::info;
use zones::{Name, Serial, Version};

/// What is asked of one primary.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The zone.
    pub origin: Name,
    /// Who is asked.
    pub primary: SocketAddr,
    /// The key that requests and answers are signed with.
    pub key: Option<Key>,
    /// What we hold of the zone, and its serial.
    pub held: Option<(Version, Serial)>,
    /// What is wanted.
    pub wants: Wants,
}

/// What is wanted of a primary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wants {
    /// What is newer than what is held, by a difference if there is one.
    Newer,
    /// The whole zone, whatever its serial.
    Whole,
}

/// What a primary gave.
#[derive(Clone, Debug)]
pub enum Fetched {
    /// Nothing: it has this serial, which we hold.
    UpToDate(Serial),
    /// Nothing: its serial is behind ours.
    Behind(Serial),
    /// The zone.
    Newer {
        /// The zone, which can be served.
        version: Version,
        /// Its serial.
        serial: Serial,
        /// How it came.
        means: Means,
        /// How many bytes came.
        size: u64,
    },
}

/// How a zone came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Means {
    /// All of it.
    Whole,
    /// As what differs from what was held.
    Differences,
}

/// Why a zone did not come.
#[derive(Debug)]
pub enum FetchError {
    /// No connection comes about.
    Connect(io::Error),
    /// A connection fails.
    Connection(io::Error),
    /// The primary ends the connection before the transfer.
    Closed,
    /// It is silent for too long.
    Silent,
    /// The whole takes too long.
    TooLong,
    /// What it says makes no zone.
    Transfer(TransferError),
}

/// How long a primary may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// To answer by UDP.
    pub datagram: Duration,
    /// How often it is asked by UDP.
    pub datagrams: u32,
    /// To take a connection.
    pub connect: Duration,
    /// From one message of an answer to the next.
    pub idle: Duration,
    /// To send a whole zone.
    pub whole: Duration,
}

impl Patience {
    /// What is granted where nothing else is said: as BIND does, by and large.
    pub const DEFAULT: Self = Self {
        datagram: Duration::from_secs(2),
        datagrams: 3,
        connect: Duration::from_secs(10),
        idle: Duration::from_secs(60),
        whole: Duration::from_secs(2 * 60 * 60),
    };
}

/// Asks a primary, and waits until all is said.
pub fn fetch(ask: &Ask, patience: &Patience) -> Result<Fetched, FetchError> {
    let fetching = Fetching {
        ask,
        patience,
        end: clock::now() + patience.whole,
    };
    let held = ask.held.as_ref().filter(|_| ask.wants == Wants::Newer);
    let Some((version, serial)) = held else {
        return fetching.whole();
    };
    let theirs = fetching.serial()?;
    if let Some(nothing) = nothing_newer(theirs, *serial) {
        return Ok(nothing);
    }
    fetching.newer(version, *serial)
}

/// Sends one message over a connection of its own, and waits for one.
pub(super) fn exchange(
    primary: SocketAddr,
    message: &[u8],
    patience: &Patience,
) -> Result<Vec<u8>, FetchError> {
    let mut connection = Connection::open(primary, patience, clock::now() + patience.whole)?;
    connection.send(message)?;
    connection.receive().map(<[u8]>::to_vec)
}

/// What comes of a serial that is not newer than ours.
fn nothing_newer(theirs: Serial, ours: Serial) -> Option<Fetched> {
    if theirs == ours {
        return Some(Fetched::UpToDate(theirs));
    }
    // RFC 1982 section 3.2: of two that are as far apart as can be neither is newer.
    let is_newer = theirs > ours;
    (!is_newer).then_some(Fetched::Behind(theirs))
}

/// One call of [`fetch`].
struct Fetching<'a> {
    ask: &'a Ask,
    patience: &'a Patience,
    /// When it is given up.
    end: Instant,
}

impl<'a> Fetching<'a> {
    fn whole(&self) -> Result<Fetched, FetchError> {
        let request = Request::axfr(&self.ask.origin, fastrand::u16(..));
        let (transferred, size) = self.transfer(request)?;
        if let (Transferred::Whole { serial, .. }, Wants::Newer) = (&transferred, self.ask.wants)
            && let Some((_, held)) = &self.ask.held
            && let Some(nothing) = nothing_newer(*serial, *held)
        {
            return Ok(nothing);
        }
        self.fetched(transferred, Means::Whole, size)
    }

    /// By a difference, or whole where none comes or none that fits.
    fn newer(&self, held: &Version, serial: Serial) -> Result<Fetched, FetchError> {
        let request = Request::ixfr(held, serial, fastrand::u16(..));
        let transferred = match request {
            Some(request) => self.transfer(request),
            None => Err(TransferError::NoSoa.into()),
        };
        let error = match transferred {
            Ok((Transferred::UpToDate(theirs), _)) => {
                // It is another server than the one that said its serial, or went back meanwhile.
                return Ok(nothing_newer(theirs, serial).expect("the reader has compared them"));
            }
            Ok((whole @ Transferred::Whole { .. }, size)) => {
                return self.fetched(whole, Means::Whole, size);
            }
            Ok((steps @ Transferred::Steps(_), size)) => {
                match self.fetched(steps, Means::Differences, size) {
                    Err(error) => error,
                    fetched => return fetched,
                }
            }
            Err(error) if error.is_worth_another_way() => error,
            Err(error) => return Err(error),
        };
        let (zone, primary) = (&self.ask.origin, self.ask.primary);
        info!(%zone, %primary, %error, "no difference can be used; the whole zone is asked for");
        self.whole()
    }

    /// What a transfer makes that brought something.
    fn fetched(
        &self,
        transferred: Transferred,
        means: Means,
        size: u64,
    ) -> Result<Fetched, FetchError> {
        let held = self.ask.held.as_ref().map(|(version, _)| version);
        let made = transferred.make(&self.ask.origin, held)?;
        let Made { version, serial } = made.expect("something came");
        Ok(Fetched::Newer {
            version,
            serial,
            means,
            size,
        })
    }

    /// A transfer over a connection of its own, and how many bytes came.
    fn transfer(&self, request: Request<'a>) -> Result<(Transferred, u64), FetchError> {
        let request = self.signed(request);
        let mut connection = self.connect()?;
        connection.send(&request.message)?;
        let mut reader = Reader::new(&request);
        loop {
            let message = connection.receive()?;
            if reader.take(message, clock::wall())? == Progress::Complete {
                return Ok((reader.finish()?, connection.size));
            }
        }
    }

    /// The serial that the primary has.
    fn serial(&self) -> Result<Serial, FetchError> {
        let request = self.signed(Request::soa(&self.ask.origin, fastrand::u16(..)));
        if let Some(serial) = self.serial_by_datagram(&request) {
            return Ok(serial);
        }
        let mut connection = self.connect()?;
        connection.send(&request.message)?;
        let message = connection.receive()?;
        Ok(request.read_soa(message, clock::wall())?)
    }

    /// None if nothing came that tells it: anybody can send a datagram, so an error does not count
    /// before it is said over a connection too.
    fn serial_by_datagram(&self, request: &Request<'_>) -> Option<Serial> {
        let any: SocketAddr = match self.ask.primary {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any).ok()?;
        socket.connect(self.ask.primary).ok()?;
        let mut buffer = vec![0; MESSAGE_SIZE_MAX];
        for _ in 0..self.patience.datagrams {
            socket.send(&request.message).ok()?;
            let deadline = clock::now() + self.patience.datagram;
            while let Some(left) = time_until(deadline) {
                socket.set_read_timeout(Some(left)).ok()?;
                let size = match socket.recv(&mut buffer) {
                    Ok(size) => size,
                    Err(error) if is_timeout(&error) => break,
                    Err(_) => return None,
                };
                match request.read_soa(&buffer[..size], clock::wall()) {
                    Ok(serial) => return Some(serial),
                    // Somebody else's: the answer may still come.
                    Err(TransferError::Unasked | TransferError::Malformed) => {}
                    Err(_) => return None,
                }
            }
        }
        None
    }

    fn signed(&self, request: Request<'a>) -> Request<'a> {
        match &self.ask.key {
            Some(key) => request.signed(key, clock::wall()),
            None => request,
        }
    }

    fn connect(&self) -> Result<Connection, FetchError> {
        Connection::open(self.ask.primary, self.patience, self.end)
    }
}

/// A connection to a primary.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// How long the next message may take.
    idle: Duration,
    /// When it is given up.
    end: Instant,
    /// How many bytes came.
    size: u64,
}

impl Connection {
    fn open(primary: SocketAddr, patience: &Patience, end: Instant) -> Result<Self, FetchError> {
        let left = time_until(end).ok_or(FetchError::TooLong)?;
        let stream = TcpStream::connect_timeout(&primary, left.min(patience.connect));
        Ok(Self {
            stream: stream.map_err(FetchError::Connect)?,
            buffer: vec![0; MESSAGE_SIZE_MAX],
            idle: patience.idle,
            end,
            size: 0,
        })
    }

    fn send(&mut self, message: &[u8]) -> Result<(), FetchError> {
        let left = time_until(self.end).ok_or(FetchError::TooLong)?;
        let timeout = Some(left.min(self.idle));
        let size = (message.len() as u16).to_be_bytes();
        let framed = [&size[..], message].concat();
        let sent =
            (self.stream.set_write_timeout(timeout)).and_then(|()| self.stream.write_all(&framed));
        sent.map_err(|error| match is_timeout(&error) {
            true => FetchError::Silent,
            false => FetchError::Connection(error),
        })
    }

    /// The next message.
    fn receive(&mut self) -> Result<&[u8], FetchError> {
        let deadline = (clock::now() + self.idle).min(self.end);
        self.fill(2, deadline)?;
        let size = usize::from(u16::from_be_bytes([self.buffer[0], self.buffer[1]]));
        self.fill(size, deadline)?;
        self.size += 2 + size as u64;
        Ok(&self.buffer[..size])
    }

    /// Reads so many bytes. One that sends a byte at a time gets no more time for it.
    fn fill(&mut self, size: usize, deadline: Instant) -> Result<(), FetchError> {
        let mut filled = 0;
        while filled < size {
            let Some(left) = time_until(deadline) else {
                return Err(self.timeout());
            };
            let read = (self.stream.set_read_timeout(Some(left)))
                .and_then(|()| self.stream.read(&mut self.buffer[filled..size]));
            match read {
                Ok(0) => return Err(FetchError::Closed),
                Ok(more) => filled += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) => return Err(self.timeout()),
                Err(error) => return Err(FetchError::Connection(error)),
            }
        }
        Ok(())
    }

    fn timeout(&self) -> FetchError {
        match time_until(self.end) {
            Some(_) => FetchError::Silent,
            None => FetchError::TooLong,
        }
    }
}

/// How long it is until then; none if it is past.
fn time_until(due: Instant) -> Option<Duration> {
    let left = due.saturating_duration_since(clock::now());
    (!left.is_zero()).then_some(left)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

impl FetchError {
    /// True if the whole zone may come where a difference did not.
    fn is_worth_another_way(&self) -> bool {
        match self {
            // RFC 1995 section 4: a server need not know how; one may close the connection at it.
            Self::Connection(_) | Self::Closed => true,
            Self::Transfer(error) => !matches!(error, TransferError::KeyRefused(_)),
            Self::Connect(_) | Self::Silent | Self::TooLong => false,
        }
    }
}

impl From<TransferError> for FetchError {
    fn from(error: TransferError) -> Self {
        Self::Transfer(error)
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => write!(f, "cannot connect to the primary: {error}"),
            Self::Connection(error) => write!(f, "the connection to the primary fails: {error}"),
            Self::Closed => f.write_str("the primary closes the connection before all is sent"),
            Self::Silent => f.write_str("the primary does not answer in time"),
            Self::TooLong => f.write_str("the transfer takes too long"),
            Self::Transfer(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for FetchError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connect(error) | Self::Connection(error) => Some(error),
            Self::Transfer(error) => Some(error),
            Self::Closed | Self::Silent | Self::TooLong => None,
        }
    }
}
