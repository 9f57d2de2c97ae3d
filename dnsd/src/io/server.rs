//! What all connections share, whatever they speak: limits, counters, and what a request becomes.

use super::client_authorities::ClientAuthorities;
use super::clock;
use super::connections::{Connections, Place};
use super::listeners::Shared;
use super::tcp::Limits;
use crate::proxy::Proxies;
use crate::serve::transfer;
use crate::serve::update::{self, ReplyTo, UpdateRequest};
use crate::serve::{
    Client, Count, Counters, Identity, Outcome, Served, Setup, Spaces, Tally, Transport, respond,
    serve,
};
use bytes::Bytes;
use rustls::pki_types::CertificateDer;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};
use zones::Rcode;

/// A transfer waits no longer for what is settled to be published.
const PUBLISH_WAIT: Duration = Duration::from_secs(1);
/// How often it looks: a mark takes some milliseconds to the disk, and transfers are few.
const PUBLISH_LOOK: Duration = Duration::from_millis(2);

/// An update that the peer does not take by then is not answered: its client has long sent it again.
const PUSH_PATIENCE: Duration = Duration::from_secs(10);
/// How often room for it is looked for.
const PUSH_PERIOD: Duration = Duration::from_millis(10);

/// What all connections share.
pub(super) struct Server {
    pub(super) limits: Limits,
    pub(super) setup: Arc<Setup>,
    pub(super) proxies: Arc<Proxies>,
    /// By whom clients prove who they are, if they are asked.
    authorities: Option<Arc<ClientAuthorities>>,
    pub(super) shared: Arc<Shared>,
    pub(super) counters: Counters,
    pub(super) connections: Arc<Connections>,
    transfers: Arc<Semaphore>,
}

/// One connection.
pub(super) struct Connection {
    pub(super) server: Arc<Server>,
    pub(super) place: Place,
    /// The client's; a proxy says it.
    pub(super) address: SocketAddr,
    pub(super) transport: Transport,
    /// Whom the client's certificate names, if it has shown one.
    pub(super) identity: Option<Arc<Identity>>,
}

/// Why a connection is to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// Nothing was asked for too long.
    Idle,
    /// Another takes its place.
    GaveWay,
    /// The daemon stops.
    Stopped,
}

/// What a request gets that has a stream of its own.
pub(super) enum Reply {
    /// This response.
    Response(Vec<u8>),
    /// None.
    Nothing,
    /// The messages of a zone transfer, from this state of the zones.
    Transfer(Arc<Served>),
}

/// Leave for a zone transfer.
pub(super) struct TransferPermit {
    _on_connection: OwnedSemaphorePermit,
    _in_all: OwnedSemaphorePermit,
}

impl Server {
    /// No connection is open yet.
    pub(super) fn new(
        limits: Limits,
        setup: Arc<Setup>,
        proxies: Arc<Proxies>,
        authorities: Option<Arc<ClientAuthorities>>,
        shared: Arc<Shared>,
    ) -> Self {
        let connections =
            Connections::new(limits.connections_max, limits.connections_per_address_max);
        Self {
            limits,
            setup,
            proxies,
            authorities,
            shared,
            counters: Counters::default(),
            connections: Arc::new(connections),
            transfers: Arc::new(Semaphore::new(limits.transfers_max)),
        }
    }

    /// What clients are told of how long they may keep a connection idle (RFC 7828 section 3.4:
    /// zero asks them to close it soon).
    fn timeout_told(&self) -> Duration {
        if self.connections.is_nearly_full() {
            Duration::ZERO
        } else {
            self.limits.timeout_idle
        }
    }

    /// Leave for one more zone transfer, on this connection and in all.
    pub(super) fn admit_transfer(&self, on_connection: &Arc<Semaphore>) -> Option<TransferPermit> {
        Some(TransferPermit {
            _on_connection: Arc::clone(on_connection).try_acquire_owned().ok()?,
            _in_all: Arc::clone(&self.transfers).try_acquire_owned().ok()?,
        })
    }

    /// The response to a request that cannot be answered now.
    pub(super) fn servfail(&self, request: &[u8], client: &Client) -> Vec<u8> {
        let mut response = Vec::new();
        let (served, setup) = (self.shared.served.load(), &*self.setup);
        let refusal = Rcode::SERVFAIL.into();
        respond(request, client, refusal, &served, setup, &mut response);
        response
    }

    /// Replication protocol section 10: a transfer waits for what was settled when it was asked
    /// for. Who reads by AXFR what he has just written finds it.
    pub(super) async fn when_published(&self, request: &[u8], asked: Arc<Served>) -> Arc<Served> {
        let deadline = Instant::now() + PUBLISH_WAIT;
        let mut newest = Arc::clone(&asked);
        while newest.shown < asked.begun && Instant::now() < deadline {
            sleep(PUBLISH_LOOK).await;
            newest = self.shared.served.load_full();
        }
        match transfer::is_there(request, &newest) {
            true => newest,
            false => asked,
        }
    }
}

impl Connection {
    /// One that has just been taken.
    pub(super) fn new(
        server: &Arc<Server>,
        place: Place,
        address: SocketAddr,
        transport: Transport,
    ) -> Self {
        Self {
            server: Arc::clone(server),
            place,
            address,
            transport,
            identity: None,
        }
    }

    /// Who asks, now.
    pub(super) fn client(&self) -> Client {
        Client {
            address: self.address,
            transport: self.transport,
            wall: clock::wall(),
            timeout_idle: self.server.timeout_told(),
            identity: self.identity.clone(),
        }
    }

    /// The client has shown these certificates in its handshake.
    pub(super) fn identify(&mut self, shown: &[CertificateDer<'_>]) {
        let authorities = self.server.authorities.as_ref();
        self.identity = authorities.and_then(|authorities| authorities.identity(shown));
    }

    /// Returns once the connection is to end, and counts it.
    pub(super) async fn ended(&self, stop: &mut watch::Receiver<bool>) -> End {
        let counters = &self.server.counters;
        tokio::select! {
            () = self.place.idle_for(self.server.limits.timeout_idle) => {
                counters.add(Count::TcpIdle);
                End::Idle
            }
            () = self.place.give_way() => {
                counters.add(Count::TcpGaveWay);
                End::GaveWay
            }
            _ = stop.wait_for(|stopped| *stopped) => End::Stopped,
        }
    }

    /// Returns once what is under way is answered, or takes too long.
    pub(super) async fn finish(&self) {
        let done = self.place.idle_for(Duration::ZERO);
        drop(timeout(self.server.limits.timeout_write, done).await);
    }

    /// What is to be done with a request, and the response as far as there is one by now.
    pub(super) fn take(
        &self,
        message: &[u8],
        client: &Client,
        served: &Served,
    ) -> (Outcome, Vec<u8>) {
        let mut response = Vec::new();
        let setup = &*self.server.setup;
        let mut spaces = Spaces::default();
        let handled = serve(message, client, served, setup, &mut spaces, &mut response);
        let mut tally = Tally::default();
        tally.add_request(self.transport, message, handled, &response);
        self.server.counters.take(&mut tally);
        (handled.outcome, response)
    }

    /// Gives an update to the peer, as soon as it takes one: while too many wait, nothing more of this
    /// connection is read. `answered` gets the response, from any thread, and must not wait; none
    /// comes if the peer does not get to it.
    pub(super) async fn hand_on(
        &self,
        message: Bytes,
        client: Client,
        answered: impl FnOnce(Vec<u8>) + Send + 'static,
    ) {
        let server = Arc::clone(&self.server);
        let sender = {
            let served = server.shared.served.load();
            update::sender(&message, &client, &served, &server.setup)
        };
        let reply = {
            let message = message.clone();
            ReplyTo::new(move |rcode| {
                let mut response = Vec::new();
                let (served, setup) = (server.shared.served.load(), &*server.setup);
                update::respond(&message, &client, rcode, &served, setup, &mut response);
                let mut tally = Tally::default();
                tally.add_response(rcode, &response);
                server.counters.take(&mut tally);
                answered(response);
            })
        };
        let mut request = UpdateRequest {
            message,
            sender,
            reply,
        };
        let server = &self.server;
        let give_up_at = Instant::now() + PUSH_PATIENCE;
        loop {
            request = match server.shared.updates.try_push(request) {
                Ok(()) => return server.counters.add(Count::UpdatesTaken),
                Err(request) => request,
            };
            if Instant::now() >= give_up_at {
                return server.counters.add(Count::UpdatesOverflowed);
            }
            sleep(PUSH_PERIOD).await;
        }
    }

    /// What a request gets that has a stream of its own, once it is known.
    pub(super) async fn answer(&self, message: &Bytes) -> Reply {
        let client = self.client();
        let served = self.server.shared.served.load_full();
        let (outcome, response) = self.take(message, &client, &served);
        match outcome {
            Outcome::Respond(_) => Reply::Response(response),
            Outcome::Drop => Reply::Nothing,
            Outcome::Update => {
                let (answered, answer) = oneshot::channel();
                let handed_on = self.hand_on(message.clone(), client, move |response| {
                    // A client that is gone has no use for it.
                    drop(answered.send(response));
                });
                handed_on.await;
                // Without an answer the client asks again.
                answer.await.map_or(Reply::Nothing, Reply::Response)
            }
            Outcome::Transfer => Reply::Transfer(self.server.when_published(message, served).await),
        }
    }
}
