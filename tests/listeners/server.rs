//! Listeners with a zone behind them, and a test in the place of the peer.

use arc_swap::ArcSwap;
use dnsd::cookie::{Secret, Secrets};
use dnsd::io::encrypted::Encrypted;
use dnsd::io::listeners::{Bound, Config, ListenError, Listeners, Shared};
use dnsd::io::tcp;
use dnsd::policy::{Policy, Realm};
use dnsd::proxy::Proxies;
use dnsd::serve::rate::RateLimit;
use dnsd::serve::{Certified, Count, Served, Setup, UpdateQueue, UpdateRequest};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};
use tests::answer::Answer;
use tests::question::{Question, UPDATE};
use zones::rtype::Rtype;
use zones::zone_set::{Shown, ZoneState, ZoneTable};
use zones::{Name, Serial, Version};

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// What the server says of itself to those who ask.
pub(crate) const NSID: &str = "one";
/// Whose word on clients counts.
pub(crate) const PROXY: &str = "127.0.0.77";
/// Updates that wait for the test.
pub(crate) const QUEUE_SIZE: usize = 4;

pub(crate) struct Server {
    pub(crate) listeners: Listeners,
    pub(crate) address: SocketAddr,
    pub(crate) updates: Receiver<UpdateRequest>,
    _runtime: tokio::runtime::Runtime,
}

impl Server {
    pub(crate) fn start(listen: &str) -> Self {
        Self::try_start(listen, tcp::Limits::default(), "").unwrap()
    }

    pub(crate) fn with_limits(limits: tcp::Limits) -> Self {
        Self::try_start("127.0.0.1:0", limits, "").unwrap()
    }

    /// It listens for encrypted DNS too.
    pub(crate) fn encrypted(
        limits: tcp::Limits,
        encrypted: Encrypted,
        certified: Certified,
    ) -> Self {
        let encrypted = Some((encrypted, certified));
        Self::run("127.0.0.1:0", limits, None, "", encrypted).unwrap()
    }

    /// At all addresses of loopback.
    pub(crate) fn with_rate_limit(limit: RateLimit) -> Self {
        Self::run("0.0.0.0:0", tcp::Limits::default(), Some(limit), "", None).unwrap()
    }

    /// `records` are added to those of the zone `example.`
    pub(crate) fn try_start(
        listen: &str,
        limits: tcp::Limits,
        records: &str,
    ) -> Result<Self, ListenError> {
        Self::run(listen, limits, None, records, None)
    }

    fn run(
        listen: &str,
        limits: tcp::Limits,
        rate_limit: Option<RateLimit>,
        records: &str,
        encrypted: Option<(Encrypted, Certified)>,
    ) -> Result<Self, ListenError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (push, updates) = sync_channel(QUEUE_SIZE);
        let try_push = move |request| {
            push.try_send(request).map_err(|full| match full {
                std::sync::mpsc::TrySendError::Full(request)
                | std::sync::mpsc::TrySendError::Disconnected(request) => request,
            })
        };
        let shared = Shared {
            served: Arc::new(ArcSwap::from_pointee(served(records))),
            updates: UpdateQueue::new(try_push),
        };
        let (encrypted, certified) = encrypted.unzip();
        let config = Config {
            listen: vec![listen.parse().unwrap()],
            udp_workers: Some(2),
            setup: Setup {
                nsid: Some(NSID.into()),
                certified: certified.unwrap_or_default(),
                ..Setup::default()
            },
            rate_limit,
            tcp: limits,
            proxies: Proxies(vec![format!("{PROXY}/32").parse().unwrap()]),
            encrypted,
        };
        let listeners = Bound::new(config)?.start(&Arc::new(shared), runtime.handle())?;
        Ok(Self {
            address: listeners.addresses()[0],
            listeners,
            updates,
            _runtime: runtime,
        })
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// A connection from another address of loopback.
    pub(crate) fn connect_from(&self, ip: &str) -> TcpStream {
        use socket2::{Domain, Socket, Type};
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let from = SocketAddr::new(ip.parse().unwrap(), 0);
        socket.bind(&from.into()).unwrap();
        socket.connect(&self.address.into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Waits until something was counted so often: a worker counts after it has sent.
    pub(crate) fn await_count(&self, count: Count, expected: u64) {
        let start = Instant::now();
        while self.listeners.counts().get(count) != expected {
            assert!(
                start.elapsed() < PATIENCE,
                "{count:?} {:?}",
                self.listeners.counts()
            );
            std::thread::yield_now();
        }
    }
}

fn served(records: &str) -> Served {
    let origin: Name = "example.".parse().unwrap();
    let text = format!(
        "@ 3600 SOA ns.example. hostmaster.example. 1 7200 900 1209600 300\n\
         @ 3600 NS ns\nns 60 A 192.0.2.53\nwww 60 A 192.0.2.1\n{records}"
    );
    let version = Version::from_records(&origin, &tests::zone_text::read(&origin, &text)).unwrap();
    let zones = ZoneTable::default().with(ZoneState {
        now: version.clone(),
        shown: Some(Shown {
            version,
            serial: Serial(5),
        }),
    });
    let loopback = ["update", "transfer"].map(|action| {
        let rule = format!("{action} from 127.0.0.0/8 from ::1");
        (Realm::All, rule.parse().unwrap())
    });
    let policy = Arc::new(Policy::from_iter(loopback));
    Served {
        zones,
        policy,
        cookies: Some(secrets()),
        ..Served::default()
    }
}

/// By what the server makes cookies.
pub(crate) fn secrets() -> Secrets {
    Secrets::new(Secret([7; 16]))
}

pub(crate) fn question(id: u16) -> Vec<u8> {
    let mut question = Question::new("www.example.".parse().unwrap(), Rtype::A);
    question.id = id;
    question.to_wire()
}

pub(crate) fn update(id: u16) -> Vec<u8> {
    let mut update = Question::new("example.".parse().unwrap(), Rtype::SOA);
    update.id = id;
    update.flags = UPDATE;
    update.to_wire()
}

pub(crate) fn send(stream: &mut impl Write, message: &[u8]) {
    let size = u16::try_from(message.len()).unwrap();
    stream
        .write_all(&[&size.to_be_bytes(), message].concat())
        .unwrap();
}

/// The next message of a connection; none at its end.
pub(crate) fn receive(stream: &mut impl Read) -> Option<Vec<u8>> {
    let mut size = [0; 2];
    stream.read_exact(&mut size).ok()?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(size))];
    stream.read_exact(&mut message).unwrap();
    Some(message)
}

pub(crate) fn receive_answer(stream: &mut impl Read) -> Answer {
    Answer::read(&receive(stream).expect("the connection is open")).unwrap()
}

/// A client's socket on loopback.
pub(crate) fn udp_client(server: SocketAddr) -> UdpSocket {
    let any = if server.is_ipv6() {
        "[::1]:0"
    } else {
        "127.0.0.1:0"
    };
    let socket = UdpSocket::bind(any).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

pub(crate) fn receive_datagram(socket: &UdpSocket) -> (Answer, SocketAddr) {
    let mut buffer = [0; 2048];
    let (size, from) = socket.recv_from(&mut buffer).unwrap();
    (Answer::read(&buffer[..size]).unwrap(), from)
}
