//! The same requests to several servers, and what each of them responds: a message, or silence.
//!
//! Silence takes no waiting. After the requests goes a question that every server answers, and a
//! server answers what comes from one socket in the order in which it came: when that answer is
//! here, all others are. As nothing promises the order, who was silent is asked again, twice.

use crate::request::{Request, Transport};
use socket2::SockRef;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::slice;
use std::time::{Duration, Instant};
use tests::deadline::until;
use tests::question::Question;
use zones::Name;
use zones::rtype::Rtype;

/// How long a server may leave a good question unanswered, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(20);
/// After so long without a datagram it is looked what else there is to do.
const TIMEOUT_READ: Duration = Duration::from_millis(20);
/// After so long a datagram counts as lost.
const TIMEOUT_RESEND: Duration = Duration::from_millis(500);
/// How often who is silent is asked.
const ROUNDS: usize = 3;
/// IDs below are those of questions that are asked until a server is there.
const FIRST_ID: u16 = 0x8000;
/// Most requests that are sent at a time: what they bring fits the buffer of a socket.
pub(crate) const TOGETHER: usize = 32;

/// All servers.
pub(crate) struct Exchange {
    channels: Vec<Channel>,
    /// No ID comes again before all others were used, so that what is late is known as such.
    next_id: u16,
}

impl Exchange {
    pub(crate) fn new(channels: Vec<Channel>) -> Self {
        Self {
            channels,
            next_id: FIRST_ID,
        }
    }

    /// What each channel has for each request: by request, then by channel.
    pub(crate) fn ask(&mut self, requests: &[Request]) -> Vec<Vec<Option<Vec<u8>>>> {
        assert!(requests.len() <= TOGETHER, "more might get lost");
        let mut responses = vec![vec![None; self.channels.len()]; requests.len()];
        self.ask_by_udp(requests, &mut responses);
        // NSD takes datagrams together, and what it drops takes others with it: so one at a time.
        for _ in 1..ROUNDS {
            for (request, responses) in requests.iter().zip(&mut responses) {
                let (request, responses) = (slice::from_ref(request), slice::from_mut(responses));
                self.ask_by_udp(request, responses);
            }
        }
        for (request, responses) in requests.iter().zip(&mut responses) {
            if request.transport == Transport::Tcp {
                for (channel, response) in self.channels.iter_mut().zip(responses) {
                    *response = channel.ask_by_tcp(&request.wire);
                }
            }
        }
        responses
    }

    /// What one channel has for one message, by TCP.
    pub(crate) fn ask_one(&mut self, channel: usize, message: &[u8]) -> Option<Vec<u8>> {
        self.channels[channel].ask_by_tcp(message)
    }

    /// Asks each who was silent so far. All servers work at the same time.
    fn ask_by_udp(&mut self, requests: &[Request], responses: &mut [Vec<Option<Vec<u8>>>]) {
        let first_id = self.next_id;
        let last_id = first_id.wrapping_add(requests.len() as u16);
        self.next_id = last_id.wrapping_add(1);
        let mut asked = Vec::new();
        for (number, channel) in self.channels.iter().enumerate() {
            let mut is_asked = false;
            for (place, request) in requests.iter().enumerate() {
                if request.transport == Transport::Udp && responses[place][number].is_none() {
                    let id = first_id.wrapping_add(place as u16);
                    channel.send(&with_id(&request.wire, id));
                    is_asked = true;
                }
            }
            if is_asked {
                channel.send(&with_id(&channel.last, last_id));
                asked.push(number);
            }
        }
        for number in asked {
            self.channels[number].receive_until(last_id, |id, message| {
                let place = usize::from(id.wrapping_sub(first_id));
                if let Some(responses) = responses.get_mut(place) {
                    responses[number].get_or_insert_with(|| message.to_vec());
                }
            });
        }
    }
}

/// One server.
pub(crate) struct Channel {
    name: String,
    address: SocketAddr,
    udp: UdpSocket,
    tcp: Option<TcpStream>,
    /// A question that it answers.
    last: Vec<u8>,
}

impl Channel {
    /// To a server that will answer for all `origins`, perhaps a moment from now; `check_alive`
    /// panics if there will be none.
    pub(crate) fn open(
        name: &str,
        address: SocketAddr,
        origins: &[&Name],
        mut check_alive: impl FnMut(),
    ) -> Self {
        // Not the address at which servers bind ports that were free a moment ago.
        let udp = UdpSocket::bind("127.0.53.1:0").unwrap();
        udp.connect(address).unwrap();
        udp.set_read_timeout(Some(TIMEOUT_READ)).unwrap();
        let mut channel = Self {
            name: name.to_owned(),
            address,
            udp,
            tcp: None,
            last: Vec::new(),
        };
        let mut ids = 0..FIRST_ID;
        for origin in origins {
            channel.last = Question::new((*origin).clone(), Rtype::SOA).to_wire();
            until(PATIENCE, &format!("{name} answers for {origin}"), || {
                check_alive();
                channel.answers_last(ids.next()?).then_some(())
            });
        }
        channel
    }

    /// True if the last question is answered: AA, NOERROR and one record.
    fn answers_last(&self, id: u16) -> bool {
        let mut response = [0; 4096];
        // Nobody listens yet, perhaps.
        if self.udp.send(&with_id(&self.last, id)).is_err() {
            return false;
        }
        while let Ok(size) = self.udp.recv(&mut response) {
            if size >= 12 && response[..2] == id.to_be_bytes() {
                return response[2] & 4 != 0 && response[3] & 15 == 0 && response[7] == 1;
            }
        }
        false
    }

    fn send(&self, message: &[u8]) {
        let sent = self.udp.send(message);
        sent.unwrap_or_else(|error| panic!("to {}: {error}", self.name));
    }

    /// Takes what comes until the last question is answered.
    fn receive_until(&self, last_id: u16, mut take: impl FnMut(u16, &[u8])) {
        let mut buffer = vec![0; 65_535];
        let start = Instant::now();
        let mut sent = start;
        loop {
            match self.udp.recv(&mut buffer) {
                Ok(size) if size >= 2 => {
                    let id = u16::from_be_bytes([buffer[0], buffer[1]]);
                    if id == last_id {
                        return;
                    }
                    take(id, &buffer[..size]);
                }
                Ok(_) => {}
                Err(_) if sent.elapsed() > TIMEOUT_RESEND => {
                    let name = &self.name;
                    assert!(
                        start.elapsed() < PATIENCE,
                        "{name} answers nothing more by UDP"
                    );
                    self.send(&with_id(&self.last, last_id));
                    sent = Instant::now();
                }
                Err(_) => {}
            }
        }
    }

    /// One request over the connection that is open, or a new one.
    fn ask_by_tcp(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        let message = with_id(message, 1);
        let both = [framed(&message), framed(&with_id(&self.last, LAST_ID))].concat();
        let stream = self.tcp.take().unwrap_or_else(|| self.connect());
        match self.converse(stream, &both, Ending::Open) {
            Conversation::Responded(response) => Some(response),
            Conversation::Passed => None,
            // Perhaps before it read the request, perhaps so that the response was lost: with
            // nothing behind the request it would not be.
            Conversation::Closed => {
                match self.converse(self.connect(), &framed(&message), Ending::Closed) {
                    Conversation::Responded(response) => Some(response),
                    Conversation::Passed | Conversation::Closed => None,
                }
            }
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address);
        let stream = stream.unwrap_or_else(|error| panic!("{}: {error}", self.name));
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Writes, and reads until the last question is answered or the connection is closed.
    fn converse(&mut self, stream: TcpStream, bytes: &[u8], ending: Ending) -> Conversation {
        let mut stream = stream;
        let mut response = None;
        let mut written = stream.write_all(bytes);
        if ending == Ending::Closed {
            written = written.and_then(|()| stream.shutdown(Shutdown::Write));
        }
        while written.is_ok() {
            match read_framed(&mut stream) {
                Ok(message) if message.starts_with(&LAST_ID.to_be_bytes()) => {
                    self.tcp = Some(stream);
                    return response.map_or(Conversation::Passed, Conversation::Responded);
                }
                Ok(message) => {
                    response.get_or_insert(message);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    panic!("{} neither answers by TCP nor closes", self.name);
                }
                Err(_) => break,
            }
        }
        response.map_or(Conversation::Closed, Conversation::Responded)
    }
}

/// The ID of the last question over TCP.
const LAST_ID: u16 = 2;

/// What a server did with a request over TCP.
enum Conversation {
    Responded(Vec<u8>),
    /// It went on to the next.
    Passed,
    /// It closed the connection.
    Closed,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// More may follow on the connection.
    Open,
    /// We say that nothing follows.
    Closed,
}

/// A message whose ID is not there in full stays as it is.
fn with_id(wire: &[u8], id: u16) -> Vec<u8> {
    let mut message = wire.to_vec();
    if let Some(place) = message.get_mut(..2) {
        place.copy_from_slice(&id.to_be_bytes());
    }
    message
}

/// RFC 1035 section 4.2.2.
fn framed(message: &[u8]) -> Vec<u8> {
    let size = message.len() as u16;
    [&size.to_be_bytes()[..], message].concat()
}

fn read_framed(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    // A server that gathers what it sends waits for the acknowledgement of what it sent before, and
    // that would wait for 40 ms. The kernel forgets the wish with every read.
    SockRef::from(&*stream).set_tcp_quickack(true)?;
    let mut size = [0; 2];
    stream.read_exact(&mut size)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(size))];
    stream.read_exact(&mut message)?;
    Ok(message)
}
