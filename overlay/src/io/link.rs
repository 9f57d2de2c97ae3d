//! The link thread: one UDP socket and one TCP listener, all connections on them, and the machine
//! that decides what they mean.
//!
//! ```text
//!   sockets ─▶ tasks ─▶ urgent │ bulk ─▶ loop ─ handle_* ─▶ machine ─ poll_output ─▶ sockets
//!   peer thread ─ commands ─▶──────────┘                            └─▶ events ─▶ peer thread
//! ```
//!
//! All that is ready is handled before the loop judges by time and sleeps. Packets and commands
//! that are ready together are answered together: fewer signatures, packets and acknowledgements.

use super::canary::{self, CanaryLink};
use super::connection::{Dialed, Input, Inputs, QuicLink};
use super::datagrams::Room;
use super::endpoint::{Listeners, Transport};
use super::key::Identity;
use super::pulse::Pulse;
use super::{priority, tls};
use crate::link_event::{CloseCode, DialFailed, Expected, LinkEvent, LinkId, LinkOutput, Protocol};
use crate::peer_id::PublicKey;
use bytes::Bytes;
use quinn::VarInt;
use rustls::pki_types::CertificateDer;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{self, Receiver, Sender, error::TrySendError};

/// What the link thread drives: a machine without sockets, clock or threads.
pub trait Machine: Send + 'static {
    /// What the peer thread says to it.
    type Command: Send + 'static;
    /// What it says to the peer thread.
    type Event: Send + 'static;

    /// Something happened to a connection.
    fn handle_link(&mut self, link: LinkId, event: LinkEvent, wall: Duration, now: Instant);
    /// A dial came to nothing.
    fn handle_dial_failed(&mut self, failed: DialFailed, wall: Duration, now: Instant);
    /// The peer thread says something.
    fn handle_command(&mut self, command: Self::Command, wall: Duration, now: Instant);
    /// The time of [`Self::poll_timeout`] has come.
    fn handle_timeout(&mut self, wall: Duration, now: Instant);
    /// The next thing to do; none: wait.
    fn poll_output(&mut self) -> Option<MachineOutput<Self::Event>>;
    /// When to call [`Self::handle_timeout`].
    fn poll_timeout(&self) -> Option<Instant>;
}

/// What a machine wants done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MachineOutput<E> {
    /// By the link thread.
    Link(LinkOutput),
    /// By the peer thread.
    Event(E),
}

/// The running link thread, as the peer thread sees it.
#[derive(Debug)]
pub struct LinkThread<C> {
    commands: Sender<Vec<C>>,
    thread: JoinHandle<()>,
    counters: Arc<LinkCounters>,
    pulse: Arc<Pulse>,
}

/// What was turned away or lost; they only rise.
#[derive(Debug, Default)]
pub struct LinkCounters {
    /// Handshakes refused because too many were under way.
    pub handshakes_refused: AtomicU64,
    /// Connections closed because too many had proven nothing, or for too long.
    pub strangers_closed: AtomicU64,
    /// Canaries closed for the same reasons, or not accepted by the system.
    pub canaries_closed: Arc<AtomicU64>,
    /// Datagrams that did not fit the path, or came while there was no room.
    pub datagrams_dropped: AtomicU64,
    /// Times at which the peer thread was so late that links had to wait for it.
    pub peer_late: AtomicU64,
}

/// Why there are no links.
#[derive(Debug)]
pub enum LinkError {
    /// Another program, or another peer, has the port.
    InUse {
        /// TCP or UDP.
        protocol: &'static str,
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// The address cannot be used.
    Bind {
        /// TCP or UDP.
        protocol: &'static str,
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The thread could not be started.
    Start(io::Error),
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse { protocol, address } => write!(
                f,
                "the {protocol} port of {address} is in use: another program, or another dnsd, \
                 listens there"
            ),
            Self::Bind {
                protocol,
                address,
                source,
            } => {
                write!(f, "cannot listen on {protocol} {address}: {source}")
            }
            Self::Start(source) => write!(f, "cannot start the link thread: {source}"),
        }
    }
}

impl std::error::Error for LinkError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::InUse { .. } => None,
            Self::Bind { source, .. } | Self::Start(source) => Some(source),
        }
    }
}

/// A command that was not taken.
#[derive(Debug)]
pub enum SendError<C> {
    /// The link thread is behind: wait and try again.
    Full(C),
    /// The link thread has ended.
    Ended(C),
}

impl<C: Send + 'static> LinkThread<C> {
    /// Serves the sockets on a thread of its own. `deliver` brings an event to the peer thread
    /// without waiting, or gives it back if there is no room.
    pub fn start<M: Machine<Command = C>>(
        listeners: Listeners,
        identity: &Identity,
        machine: M,
        deliver: impl FnMut(M::Event) -> Option<M::Event> + Send + 'static,
    ) -> Result<Self, LinkError> {
        let (commands, waiting) = mpsc::channel(BATCHES_MAX);
        let counters = Arc::new(LinkCounters::default());
        let pulse = Arc::new(Pulse::new());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(LinkError::Start)?;
        let driver = {
            let _guard = runtime.enter();
            let Listeners { udp, tcp, .. } = listeners;
            let transport = Transport::new(udp, identity).map_err(LinkError::Start)?;
            let tcp = tokio::net::TcpListener::from_std(tcp).map_err(LinkError::Start)?;
            Driver::start(
                machine,
                deliver,
                transport,
                tcp,
                waiting,
                Arc::clone(&counters),
                Arc::clone(&pulse),
            )
        };
        let thread = std::thread::Builder::new()
            .name("link".into())
            .spawn(move || {
                priority::run_first();
                runtime.block_on(driver.run());
            })
            .map_err(LinkError::Start)?;
        Ok(Self {
            commands,
            thread,
            counters,
            pulse,
        })
    }

    /// Hands a command to the machine, without waiting.
    pub fn send(&self, command: C) -> Result<(), SendError<C>> {
        let only = |mut batch: Vec<C>| batch.pop().expect("it is the one that was sent");
        self.send_together(vec![command])
            .map_err(|error| match error {
                SendError::Full(batch) => SendError::Full(only(batch)),
                SendError::Ended(batch) => SendError::Ended(only(batch)),
            })
    }

    /// Hands over at most [`TOGETHER_MAX`] commands, without waiting: what follows from them goes
    /// out together.
    pub fn send_together(&self, commands: Vec<C>) -> Result<(), SendError<Vec<C>>> {
        assert!(
            (1..=TOGETHER_MAX).contains(&commands.len()),
            "the caller cuts its batches"
        );
        self.commands
            .try_send(commands)
            .map_err(|error| match error {
                TrySendError::Full(commands) => SendError::Full(commands),
                TrySendError::Closed(commands) => SendError::Ended(commands),
            })
    }

    /// What was turned away or lost so far.
    #[must_use]
    pub fn counters(&self) -> &LinkCounters {
        &self.counters
    }

    /// How long ago the thread last went on. It does at least with each command.
    #[must_use]
    pub fn stands_still(&self) -> Duration {
        self.pulse.age()
    }

    /// Closes all connections after the commands that were sent, and waits for the thread.
    pub fn stop(self) {
        drop(self.commands);
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

/// The loop of the link thread and its table of connections.
struct Driver<M: Machine, D> {
    machine: M,
    deliver: D,
    transport: Transport,
    links: BTreeMap<LinkId, Link>,
    link_number: u64,
    /// What the loop itself has to say to the machine.
    ready: VecDeque<(LinkId, LinkEvent)>,
    /// Events for which the peer thread has no room.
    undelivered: VecDeque<M::Event>,
    urgent: Receiver<Input>,
    bulk: Receiver<Input>,
    commands: Receiver<Vec<M::Command>>,
    inputs_urgent: Inputs,
    inputs_bulk: Inputs,
    counters: Arc<LinkCounters>,
    pulse: Arc<Pulse>,
}

struct Link {
    kind: LinkKind,
    /// When it is closed unless it is accepted; only of connections that the other side dialed.
    stranger_until: Option<Instant>,
}

enum LinkKind {
    Quic(QuicLink),
    Canary(CanaryLink),
}

impl<M, D> Driver<M, D>
where
    M: Machine,
    D: FnMut(M::Event) -> Option<M::Event>,
{
    fn start(
        machine: M,
        deliver: D,
        transport: Transport,
        tcp: tokio::net::TcpListener,
        commands: Receiver<Vec<M::Command>>,
        counters: Arc<LinkCounters>,
        pulse: Arc<Pulse>,
    ) -> Self {
        let (inputs_urgent, urgent) = mpsc::channel(INPUTS_MAX);
        let (inputs_bulk, bulk) = mpsc::channel(INPUTS_MAX);
        let (inputs_urgent, inputs_bulk) = (Inputs(inputs_urgent), Inputs(inputs_bulk));
        tokio::spawn(accept_handshakes(
            transport.endpoint.clone(),
            inputs_bulk.clone(),
            Arc::clone(&counters),
        ));
        let closed = Arc::clone(&counters.canaries_closed);
        tokio::spawn(canary::accept(tcp, inputs_urgent.clone(), closed));
        Self {
            machine,
            deliver,
            transport,
            links: BTreeMap::new(),
            link_number: 0,
            ready: VecDeque::new(),
            undelivered: VecDeque::new(),
            urgent,
            bulk,
            commands,
            inputs_urgent,
            inputs_bulk,
            counters,
            pulse,
        }
    }

    async fn run(mut self) {
        self.perform();
        loop {
            let wake = self.next_wake();
            let is_held = self.is_held();
            tokio::select! {
                biased;
                Some(input) = self.urgent.recv() => self.handle_input(input),
                Some(input) = self.bulk.recv(), if !is_held => self.handle_input(input),
                command = self.commands.recv() => match command {
                    Some(commands) => self.handle_commands(commands),
                    None => break,
                },
                () = sleep_until(wake) => {
                    // What lies in the sockets comes before any judgement by time: after a long
                    // sleep it is this thread that was late, not a neighbor. A packet passes
                    // through the tasks of endpoint, connection and reader.
                    for _ in 0..TASKS_ON_THE_WAY {
                        tokio::task::yield_now().await;
                    }
                }
            }
            self.drain_ready_input();
            self.expire();
            // The tasks that move packets run on this thread too.
            tokio::task::yield_now().await;
        }
        for link in self.links.values() {
            if let LinkKind::Quic(quic) = &link.kind {
                quic.close(CloseCode::Done);
            }
        }
        self.transport
            .endpoint
            .close(VarInt::from_u32(CloseCode::Done as u32), b"");
        // If the other sides do not answer in time, they find out by themselves.
        tokio::time::timeout(GOODBYE_TIMEOUT, self.transport.endpoint.wait_idle())
            .await
            .ok();
    }

    fn drain_ready_input(&mut self) {
        let mut handled = 0;
        let mut together = 0;
        while handled < DRAIN_MAX {
            let is_held = self.is_held();
            let input = match self.urgent.try_recv() {
                Ok(input) => Some(input),
                Err(_) if is_held => None,
                Err(_) => self.bulk.try_recv().ok(),
            };
            let commands = self.commands.try_recv().unwrap_or_default();
            let count = usize::from(input.is_some()) + commands.len();
            if count == 0 {
                break;
            }
            if let Some(input) = input {
                self.handle_input(input);
            }
            self.handle_commands(commands);
            handled += count;
            together += count;
            if together >= TOGETHER_MAX {
                self.perform();
                together = 0;
            }
        }
        self.perform();
    }

    fn handle_input(&mut self, input: Input) {
        if matches!(input, Input::Event(_, LinkEvent::Datagram(_))) {
            self.take_input(input);
        } else {
            // Connections come and go in the order in which the machine hears of it.
            self.perform();
            self.take_input(input);
            self.perform();
        }
    }

    fn take_input(&mut self, input: Input) {
        match input {
            Input::Connected { connection, dialed } => self.handle_connected(&connection, dialed),
            Input::Canary {
                stream,
                remote,
                dialed,
            } => {
                let unnamed = self.links.values().filter(|link| link.is_unnamed_canary());
                if dialed.is_none() && unnamed.count() >= CANARIES_MAX {
                    self.counters
                        .canaries_closed
                        .fetch_add(1, Ordering::Relaxed);
                    return;
                }
                let link = self.next_link();
                let canary = CanaryLink::start(link, stream, self.inputs_urgent.clone());
                self.links.insert(
                    link,
                    Link {
                        kind: LinkKind::Canary(canary),
                        stranger_until: dialed
                            .is_none()
                            .then(|| Instant::now() + CANARY_NAME_TIMEOUT),
                    },
                );
                self.tell(
                    link,
                    LinkEvent::Opened {
                        key: None,
                        protocol: Protocol::Canary,
                        dialed,
                        exporter: [0; 32],
                        remote: canonical(remote),
                    },
                );
            }
            Input::DialFailed(failed) => self.fail_dial(failed),
            Input::Event(link, event) => {
                let Some(known) = self.links.get_mut(&link) else {
                    return;
                };
                if let (LinkKind::Quic(quic), LinkEvent::StreamReset(stream)) =
                    (&mut known.kind, &event)
                {
                    quic.forget_stream(*stream);
                }
                if let LinkEvent::Closed { .. } = event {
                    self.links.remove(&link);
                }
                self.tell(link, event);
            }
            Input::StreamAccepted {
                link,
                send,
                receive,
            } => {
                if let Some(quic) = self.quic(link) {
                    quic.add_stream(send, Some(receive));
                }
            }
            Input::StreamOpened {
                link,
                number,
                send,
                receive,
            } => {
                let stream = super::stream::stream_id(send.id());
                if let Some(quic) = self.quic(link) {
                    quic.add_stream(Some(send), receive);
                    self.tell(link, LinkEvent::StreamOpened { number, stream });
                }
            }
            Input::DatagramsTaken(link) => {
                let room = self.quic(link).map(QuicLink::datagrams_taken);
                if room == Some(Room::Back) {
                    self.tell(link, LinkEvent::Writable);
                }
            }
        }
    }

    fn handle_connected(&mut self, connection: &quinn::Connection, dialed: Option<Dialed>) {
        let Some((protocol, key, exporter)) = handshake_of(connection) else {
            // The handshake forces both, so this is a connection that has ended since.
            if let Some(Dialed { dial, .. }) = dialed {
                let reason = "the connection ended at once".into();
                self.fail_dial(DialFailed { dial, reason });
            }
            return;
        };
        if let Some(Dialed { dial, expected }) = dialed
            && !is_expected(&key, expected)
        {
            connection.close(VarInt::from_u32(CloseCode::NotWanted as u32), b"");
            let reason = format!("another peer answers there: {}", key.peer_id());
            self.fail_dial(DialFailed { dial, reason });
            return;
        }
        if dialed.is_none() && self.strangers() >= STRANGERS_MAX {
            self.counters
                .strangers_closed
                .fetch_add(1, Ordering::Relaxed);
            connection.close(VarInt::from_u32(CloseCode::Busy as u32), b"");
            return;
        }

        let link = self.next_link();
        let inputs = match protocol {
            Protocol::Beat => self.inputs_urgent.clone(),
            _ => self.inputs_bulk.clone(),
        };
        let mut quic = QuicLink::start(link, connection.clone(), protocol, inputs);
        let mtu = quic.changed_mtu();
        self.links.insert(
            link,
            Link {
                kind: LinkKind::Quic(quic),
                stranger_until: dialed.is_none().then(|| Instant::now() + STRANGER_TIMEOUT),
            },
        );
        self.tell(
            link,
            LinkEvent::Opened {
                key: Some(key),
                protocol,
                dialed: dialed.map(|dialed| dialed.dial),
                exporter,
                remote: canonical(connection.remote_address()),
            },
        );
        if let Some(mtu) = mtu {
            self.tell(link, LinkEvent::Mtu(mtu));
        }
    }

    fn handle_commands(&mut self, commands: Vec<M::Command>) {
        for command in commands {
            self.machine.handle_command(command, wall(), Instant::now());
        }
    }

    fn fail_dial(&mut self, failed: DialFailed) {
        self.machine
            .handle_dial_failed(failed, wall(), Instant::now());
    }

    /// Tells the machine, if the connection is still one of its own or has just ended.
    fn tell(&mut self, link: LinkId, event: LinkEvent) {
        let may_have_grown = matches!(event, LinkEvent::Datagram(_));
        self.machine
            .handle_link(link, event, wall(), Instant::now());
        if may_have_grown {
            self.check_mtu(link);
        }
    }

    /// Time has passed: for the machine, for strangers, for events that wait.
    fn expire(&mut self) {
        let now = Instant::now();
        if self
            .machine
            .poll_timeout()
            .is_some_and(|timeout| timeout <= now)
        {
            self.machine.handle_timeout(wall(), now);
            self.perform();
        }
        let late: Vec<_> = self
            .links
            .iter()
            .filter(|(_, link)| link.stranger_until.is_some_and(|until| until <= now))
            .map(|(link, _)| *link)
            .collect();
        for link in late {
            match self.links.remove(&link).map(|link| link.kind) {
                Some(LinkKind::Quic(quic)) => {
                    self.counters
                        .strangers_closed
                        .fetch_add(1, Ordering::Relaxed);
                    quic.close(CloseCode::Busy);
                }
                _ => {
                    self.counters
                        .canaries_closed
                        .fetch_add(1, Ordering::Relaxed);
                }
            }
            self.tell(link, LinkEvent::Closed { code: None });
            self.perform();
        }
        while let Some(event) = self.undelivered.pop_front() {
            if let Some(event) = (self.deliver)(event) {
                self.undelivered.push_front(event);
                break;
            }
        }
    }

    /// Does all that the machine asks for. All that the thread does comes by here every few inputs.
    fn perform(&mut self) {
        self.pulse.beat();
        loop {
            while let Some(output) = self.machine.poll_output() {
                match output {
                    MachineOutput::Link(output) => self.perform_link(output),
                    MachineOutput::Event(event) => self.deliver_event(event),
                }
            }
            let Some((link, event)) = self.ready.pop_front() else {
                return;
            };
            if self.links.contains_key(&link) {
                self.machine
                    .handle_link(link, event, wall(), Instant::now());
            }
        }
    }

    fn perform_link(&mut self, output: LinkOutput) {
        match output {
            LinkOutput::Dial {
                dial,
                address,
                protocol: Protocol::Canary,
                ..
            } => {
                tokio::spawn(dial_canary(dial, address, self.inputs_urgent.clone()));
            }
            LinkOutput::Dial {
                dial,
                address,
                protocol,
                expected,
            } => {
                let connecting = self.transport.connect(address, protocol);
                let dialed = Dialed { dial, expected };
                tokio::spawn(dial_quic(
                    dialed,
                    protocol,
                    connecting,
                    self.inputs_bulk.clone(),
                ));
            }
            LinkOutput::Close { link, code } => match self.links.remove(&link) {
                Some(Link {
                    kind: LinkKind::Quic(quic),
                    ..
                }) => quic.close(code),
                // A canary ends when it is dropped; one that has ended is only forgotten.
                Some(Link {
                    kind: LinkKind::Canary(_),
                    ..
                })
                | None => {}
            },
            LinkOutput::Accept(link) => {
                if let Some(known) = self.links.get_mut(&link) {
                    known.stranger_until = None;
                    if let LinkKind::Quic(quic) = &known.kind {
                        quic.accept();
                    }
                }
            }
            LinkOutput::Datagram { link, data } => self.send_datagram(link, data),
            LinkOutput::OpenStream {
                link,
                number,
                direction,
            } => {
                if let Some(quic) = self.quic(link) {
                    quic.open_stream(number, direction);
                }
            }
            LinkOutput::StreamData {
                link,
                stream,
                data,
                finish,
            } => {
                if let Some(quic) = self.quic(link) {
                    quic.send_on_stream(stream, data, finish);
                }
            }
            LinkOutput::CanaryNonce { link, nonce } => {
                if let Some(known) = self.links.get_mut(&link)
                    && let LinkKind::Canary(canary) = &mut known.kind
                {
                    // The machine has found the link that it belongs to.
                    known.stranger_until = None;
                    canary.send_nonce(nonce);
                }
            }
        }
    }

    fn send_datagram(&mut self, link: LinkId, data: Bytes) {
        let Some(quic) = self.quic(link) else {
            return;
        };
        let sent = quic.send_datagram(data);
        if sent.is_lost {
            self.counters
                .datagrams_dropped
                .fetch_add(1, Ordering::Relaxed);
            self.check_mtu(link);
        }
        if sent.room == Room::Back {
            self.ready.push_back((link, LinkEvent::Writable));
        }
    }

    fn check_mtu(&mut self, link: LinkId) {
        if let Some(mtu) = self.quic(link).and_then(QuicLink::changed_mtu) {
            self.ready.push_back((link, LinkEvent::Mtu(mtu)));
        }
    }

    fn deliver_event(&mut self, event: M::Event) {
        if !self.undelivered.is_empty() {
            self.undelivered.push_back(event);
        } else if let Some(event) = (self.deliver)(event) {
            self.counters.peer_late.fetch_add(1, Ordering::Relaxed);
            self.undelivered.push_back(event);
        }
    }

    /// While the peer thread is behind, packets and streams wait; heartbeats do not. One input
    /// leads to few events, so this bounds what is undelivered.
    fn is_held(&self) -> bool {
        self.undelivered.len() >= UNDELIVERED_MAX
    }

    fn next_wake(&self) -> Option<Instant> {
        let strangers = self.links.values().filter_map(|link| link.stranger_until);
        let retry = (!self.undelivered.is_empty()).then(|| Instant::now() + DELIVER_PAUSE);
        self.machine
            .poll_timeout()
            .into_iter()
            .chain(strangers)
            .chain(retry)
            .min()
    }

    fn next_link(&mut self) -> LinkId {
        self.link_number += 1;
        LinkId(self.link_number)
    }

    fn quic(&mut self, link: LinkId) -> Option<&mut QuicLink> {
        match &mut self.links.get_mut(&link)?.kind {
            LinkKind::Quic(quic) => Some(quic),
            LinkKind::Canary(_) => None,
        }
    }

    fn strangers(&self) -> usize {
        let links = self.links.values();
        links
            .filter(|link| link.stranger_until.is_some() && matches!(link.kind, LinkKind::Quic(_)))
            .count()
    }
}

impl Link {
    fn is_unnamed_canary(&self) -> bool {
        self.stranger_until.is_some() && matches!(self.kind, LinkKind::Canary(_))
    }
}

/// Takes handshakes of the other side for as long as the endpoint lives.
async fn accept_handshakes(endpoint: quinn::Endpoint, inputs: Inputs, counters: Arc<LinkCounters>) {
    let places = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    while let Some(incoming) = endpoint.accept().await {
        let is_proven = incoming.remote_address_validated();
        if places.available_permits() <= HANDSHAKES_PROVEN && !is_proven && incoming.may_retry() {
            // Places get scarce: the other side first has to show that it gets our packets.
            incoming.retry().ok();
            continue;
        }
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            counters.handshakes_refused.fetch_add(1, Ordering::Relaxed);
            incoming.refuse();
            continue;
        };
        let inputs = inputs.clone();
        tokio::spawn(async move {
            if let Ok(connecting) = incoming.accept()
                && let Ok(Ok(connection)) =
                    tokio::time::timeout(HANDSHAKE_TIMEOUT, connecting).await
            {
                inputs
                    .send(Input::Connected {
                        connection,
                        dialed: None,
                    })
                    .await;
            }
            drop(place);
        });
    }
}

async fn dial_quic(
    dialed: Dialed,
    protocol: Protocol,
    connecting: Result<quinn::Connecting, quinn::ConnectError>,
    inputs: Inputs,
) {
    let timeout = match protocol {
        Protocol::Join | Protocol::Evicted => HANDSHAKE_TIMEOUT,
        Protocol::Link | Protocol::Beat | Protocol::Canary => DIAL_TIMEOUT,
    };
    let reason = match connecting {
        Ok(connecting) => match tokio::time::timeout(timeout, connecting).await {
            Ok(Ok(connection)) => {
                inputs
                    .send(Input::Connected {
                        connection,
                        dialed: Some(dialed),
                    })
                    .await;
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {timeout:?}"),
        },
        Err(error) => error.to_string(),
    };
    inputs
        .send(Input::DialFailed(DialFailed {
            dial: dialed.dial,
            reason,
        }))
        .await;
}

async fn dial_canary(dial: crate::link_event::DialId, address: SocketAddr, inputs: Inputs) {
    let reason = match tokio::time::timeout(DIAL_TIMEOUT, canary::connect(address)).await {
        Ok(Ok(stream)) => {
            inputs
                .send(Input::Canary {
                    stream,
                    remote: address,
                    dialed: Some(dial),
                })
                .await;
            return;
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {DIAL_TIMEOUT:?}"),
    };
    inputs
        .send(Input::DialFailed(DialFailed { dial, reason }))
        .await;
}

/// What the handshake has proven; none if the connection has ended.
fn handshake_of(connection: &quinn::Connection) -> Option<(Protocol, PublicKey, [u8; 32])> {
    let data = connection.handshake_data()?;
    let data = data
        .downcast::<quinn::crypto::rustls::HandshakeData>()
        .ok()?;
    let protocol = tls::protocol_of(data.protocol.as_deref()?)?;
    let keys = connection
        .peer_identity()?
        .downcast::<Vec<CertificateDer<'static>>>()
        .ok()?;
    let key = PublicKey::from_spki(keys.first()?)?;
    let mut exporter = [0; 32];
    connection
        .export_keying_material(&mut exporter, EXPORTER_LABEL, b"")
        .ok()?;
    Some((protocol, key, exporter))
}

fn is_expected(key: &PublicKey, expected: Expected) -> bool {
    match expected {
        Expected::Key(other) => *key == other,
        Expected::Fingerprint(fingerprint) => key.fingerprint() == fingerprint,
        Expected::Nothing => true,
    }
}

/// An IPv4 address that came through an IPv6 socket is written as what it is.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn wall() -> Duration {
    // A clock before 1970 is one that nobody has set.
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake.into()).await,
        None => std::future::pending().await,
    }
}

const EXPORTER_LABEL: &[u8] = b"EXPORTER-zonecast";
/// What the peer thread may send before it has to wait, in batches of up to [`TOGETHER_MAX`]
/// commands: 4 096 of them, many updates.
const BATCHES_MAX: usize = 256;
/// What tasks may have read before they have to wait.
const INPUTS_MAX: usize = 512;
/// Events for which the peer thread has no room, before packets wait too.
const UNDELIVERED_MAX: usize = 512;
/// The peer thread works for at most 5 ms at a time.
const DELIVER_PAUSE: Duration = Duration::from_millis(1);
/// Inputs that are handled before time is looked at.
const DRAIN_MAX: usize = 512;
/// Inputs, or commands, that are answered together: each may be a signature to verify, and none
/// shall wait for more than two milliseconds of that.
pub const TOGETHER_MAX: usize = 16;
const TASKS_ON_THE_WAY: usize = 4;
/// Connections of others that the machine has not accepted.
const STRANGERS_MAX: usize = 64;
/// The machine has its own, shorter limits for each protocol; this one is for what it forgets.
const STRANGER_TIMEOUT: Duration = Duration::from_secs(10);
/// Overlay protocol section 1: canaries that have named no link.
const CANARIES_MAX: usize = 64;
const CANARY_NAME_TIMEOUT: Duration = Duration::from_secs(2);
/// Handshakes of others that are under way.
const HANDSHAKES_MAX: usize = 64;
/// The last places go only to addresses that have been proven.
const HANDSHAKES_PROVEN: usize = 48;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// A dial to a peer that is cut off resends with doubling gaps. Given up after 1 s, no gap is
/// longer than 0.5 s, so that a cut that heals is noticed by then.
const DIAL_TIMEOUT: Duration = Duration::from_secs(1);
/// For the close to reach the others at a stop.
const GOODBYE_TIMEOUT: Duration = Duration::from_millis(100);
