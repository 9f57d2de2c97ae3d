//! Ties the layers: what arrived in, payloads and views out.
//!
//! ```text
//! connections ─▶ neighbor ─▶ repair ─▶ states ─▶ agreement ─▶ views
//!  (connect)      (beat)               multicast, unicast ──▶ payloads      (carry, agree)
//!                             outbox ◀─ what is passed on
//! ```
//! Before its outputs are read, [`Router::settle`] sends what has become possible: what came with
//! several inputs goes out together.

mod agree;
mod beat;
mod bulk;
mod carry;
mod companions;
mod connect;
mod hello;
mod joins;
mod wanted;

use crate::admit::ADDRESSES_MAX;
use crate::config::{Config, Faults};
use crate::dialing::Dialing;
use crate::edges::Edges;
use crate::event::{Class, Event, FetchId, Full, Last, Output, Standing, StateKind, Unheard};
use crate::fetch::Fetches;
use crate::health::Health;
use crate::link::Link;
use crate::link_event::{DialFailed, LinkEvent, LinkId, LinkOutput};
use crate::link_state::Stopping;
use crate::members::{MemberRow, MemberSet, Members};
use crate::multicast::Multicasts;
use crate::packet::Purpose;
use crate::peer_id::{Incarnation, PeerId};
use crate::signed::Signer;
use crate::source::Source;
use crate::states::States;
use crate::status::{Counters, NeighborStatus, Route, RouterStatus};
use crate::timing::Timing;
use crate::view::{Agreement, View};
use agree::Issue;
use bytes::Bytes;
use connect::Connection;
use ring::signature::Ed25519KeyPair;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// Largest piece of an answer to a fetch.
pub const CHUNK_SIZE_MAX: usize = 64 * 1024;
/// Largest payload of a multicast, a unicast or a state.
pub const PAYLOAD_SIZE_MAX: usize = 68 * 1024 - 256;

/// The overlay of one peer: a machine without sockets, clock or threads.
pub struct Router {
    config: Config,
    timing: Timing,
    signer: Signer,
    members: Members,
    dialing: Dialing,
    /// Whose links were closed as surplus, since members last changed: if one comes back, its peer
    /// needs it.
    pruned: BTreeSet<PeerId>,
    connections: BTreeMap<LinkId, Connection>,
    links: BTreeMap<PeerId, Link>,
    states: States,
    agreement: Agreement,
    /// When the agreement has something to judge; it moves with what is stated.
    agreement_due: Option<Instant>,
    routes: BTreeMap<PeerId, Route>,
    edges: Edges,
    /// Words of the layers above that are still to be signed: of a kind the last one.
    to_say: BTreeMap<StateKind, Bytes>,
    /// What the agreement rests on has changed since it was last evaluated.
    restate_due: Option<Issue>,
    multicasts: Multicasts,
    source: Source,
    fetches: Fetches,
    health: Health,
    random: fastrand::Rng,
    wall: Duration,
    refresh_next: Instant,
    stopping: Stopping,
    standing: Standing,
    unheard: Unheard,
    unicast_sequence: u64,
    counters: Counters,
    /// When something happened whose consequences nobody has asked for yet.
    called: Option<Instant>,
    outputs: VecDeque<Output>,
    faults: Faults,
}

impl Router {
    /// A router in a new life. `rows` are those that [`Output::Keep`] gave.
    #[must_use]
    pub fn resume(
        mut config: Config,
        key: Ed25519KeyPair,
        incarnation: Incarnation,
        rows: Vec<MemberRow>,
        seed: u64,
        wall: Duration,
        now: Instant,
    ) -> Self {
        config.addresses.truncate(ADDRESSES_MAX);
        let timing = config.profile.timing();
        let signer = Signer::new(key, config.cluster, incarnation);
        let me = signer.me();
        let mut router = Self {
            members: Members::new(me, config.cluster, rows),
            states: States::new(me, incarnation, timing.life),
            agreement: Agreement::new(me, timing.agree_limit, now),
            agreement_due: None,
            multicasts: Multicasts::new((me, incarnation)),
            source: Source::new((me, incarnation), timing.store_keep),
            health: Health::new(timing),
            random: fastrand::Rng::with_seed(seed),
            config,
            timing,
            signer,
            dialing: Dialing::new(),
            pruned: BTreeSet::new(),
            connections: BTreeMap::new(),
            links: BTreeMap::new(),
            routes: BTreeMap::new(),
            edges: Edges::default(),
            to_say: BTreeMap::new(),
            restate_due: None,
            fetches: Fetches::default(),
            wall,
            refresh_next: now,
            stopping: Stopping::No,
            standing: Standing::Yes,
            unheard: Unheard::No,
            unicast_sequence: 0,
            counters: Counters::default(),
            called: None,
            outputs: VecDeque::new(),
            faults: Faults::None,
        };
        router.want_links(now);
        router.restate(Issue::Always);
        router.settle(now);
        router
    }

    /// Sends to all members of the view, once each. A payload of class control that still waits
    /// for its number is replaced by the next one of the same `kind`.
    pub fn multicast(
        &mut self,
        class: Class,
        kind: Option<u8>,
        payload: Bytes,
        now: Instant,
    ) -> Result<(), Full> {
        assert!(
            payload.len() <= PAYLOAD_SIZE_MAX,
            "the caller cuts its batches"
        );
        let offered = self.source.offer(class, kind, payload);
        self.counters.refused += u64::from(offered.is_err());
        self.called = Some(now);
        offered
    }

    /// Sends to one peer over any hops. Lost when a link on the way goes down: repeat by a timer.
    pub fn send(&mut self, to: PeerId, class: Class, payload: Bytes, now: Instant) {
        assert!(
            payload.len() <= PAYLOAD_SIZE_MAX,
            "the caller cuts its batches"
        );
        self.send_unicast(to, class, Purpose::Payload, payload);
        self.called = Some(now);
    }

    /// Says a new word of a kind, 1 to 15: signed, flooded, told to every neighbor that comes up.
    pub fn state(&mut self, kind: StateKind, body: Bytes, now: Instant) {
        assert!(
            body.len() <= PAYLOAD_SIZE_MAX,
            "the caller keeps its words short"
        );
        self.to_say.insert(kind, body);
        self.called = Some(now);
    }

    /// A member's word is missing for too long.
    pub fn complain(&mut self, of: PeerId, now: Instant) {
        if self.agreement.complain(of, now) {
            self.restate(Issue::Always);
        }
        self.called = Some(now);
    }

    /// Tells the neighbors that this peer stops; afterwards it forms no view with others.
    pub fn stop(&mut self, now: Instant) {
        self.stopping = Stopping::Yes;
        self.restate(Issue::Always);
        self.called = Some(now);
    }

    /// What the next heartbeats say of this peer.
    pub fn set_standing(&mut self, standing: Standing) {
        self.standing = standing;
    }

    /// Takes the log's word on members; closes what no longer fits.
    pub fn set_members(&mut self, members: &MemberSet, now: Instant) {
        for peer in self.members.set(members) {
            self.drop_peer(peer, now);
        }
        self.close_unfit();
        self.pruned.clear();
        self.want_links(now);
        self.restate(Issue::IfDue);
        self.called = Some(now);
    }

    /// The peer's main loop goes on: if the tick stands still for a lease, this peer falls silent.
    pub fn set_tick(&mut self, tick: u64, now: Instant) {
        let was_hung = self.health.is_main_loop_hung(now);
        self.health.set_tick(tick, now);
        if was_hung {
            self.called = Some(now);
        }
    }

    /// Asks a neighbor for bulk data; ends in `FetchChunk` with `Last::Yes` or `FetchFailed`.
    pub fn fetch(&mut self, from: PeerId, request: Bytes, now: Instant) -> FetchId {
        assert!(
            request.len() <= CHUNK_SIZE_MAX,
            "a request names things by their hashes"
        );
        let fetch = self.begin_fetch(from, request);
        self.called = Some(now);
        fetch
    }

    /// Sends a piece of an answer, at most [`CHUNK_SIZE_MAX`]; the next after `FetchWritable`.
    #[allow(
        clippy::needless_pass_by_value,
        reason = "the caller has no more use for it"
    )]
    pub fn respond(&mut self, fetch: FetchId, data: Bytes, last: Last, now: Instant) {
        assert!(data.len() <= CHUNK_SIZE_MAX, "the caller cuts its answer");
        self.answer_fetch(fetch, &data, last);
        self.called = Some(now);
    }

    /// Ends a fetch, own or of a neighbor, without (the rest of) an answer.
    pub fn cancel(&mut self, fetch: FetchId, now: Instant) {
        self.cancel_fetch(fetch);
        self.called = Some(now);
    }

    /// What the machine `Join` asks of the driver.
    pub fn join_output(&mut self, output: LinkOutput) {
        self.pass_join_output(output);
    }

    /// Something happened on a connection.
    pub fn handle_link(&mut self, link: LinkId, event: LinkEvent, wall: Duration, now: Instant) {
        self.wake(wall, now);
        self.handle_link_event(link, event, now);
        self.called = Some(now);
    }

    /// A dial came to nothing.
    pub fn handle_dial_failed(&mut self, failed: DialFailed, wall: Duration, now: Instant) {
        self.wake(wall, now);
        self.fail_dial(failed, now);
        self.called = Some(now);
    }

    /// The time of [`Self::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, wall: Duration, now: Instant) {
        self.wake(wall, now);
        self.judge_neighbors(now);
        self.beat(now);
        self.dial_due(now);
        self.close_mute_connections(now);
        let has_expired = self.states.expire(now);
        let has_complained = self.judge_members(now);
        if has_complained || now >= self.refresh_next {
            self.close_surplus(now);
            self.restate(Issue::Always);
        } else if has_expired {
            self.restate(Issue::IfDue);
        } else {
            self.judge_next(now);
        }
        self.repair_multicasts(now);
        self.called = Some(now);
    }

    /// The next thing to do; none: wait.
    pub fn poll_output(&mut self) -> Option<Output> {
        if self.outputs.is_empty()
            && let Some(now) = self.called.take()
        {
            self.settle(now);
        }
        self.outputs.pop_front()
    }

    /// When to call [`Self::handle_timeout`], once [`Self::poll_output`] has no more to say.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.health.due()
    }

    /// Breaks a rule, right after [`Self::resume`].
    #[doc(hidden)]
    pub fn plant(&mut self, faults: Faults) {
        self.faults = faults;
        self.agreement.plant(faults);
    }

    /// The agreed view.
    #[must_use]
    pub fn view(&self) -> &View {
        self.agreement.view()
    }

    /// The links and routes of this moment.
    #[must_use]
    pub fn status(&self, now: Instant) -> RouterStatus {
        let neighbors = self.links.iter().map(|(peer, link)| {
            let neighbor = &link.neighbor;
            let (sent, resent) = link.figures();
            NeighborStatus {
                peer: *peer,
                name: self.members.name(*peer).to_owned(),
                incarnation: neighbor.incarnation(),
                state: neighbor.stage(),
                since: now.saturating_duration_since(neighbor.since()),
                remote: link.connection.as_ref().map(|triple| triple.remote),
                rtt: neighbor.rtt().measured(),
                loss_permille: neighbor.loss_permille(),
                resent,
                sent,
            }
        });
        RouterStatus {
            me: self.signer.me(),
            incarnation: self.signer.incarnation(),
            view: self.view().clone(),
            neighbors: neighbors.collect(),
            routes: self.routes.values().copied().collect(),
            counters: self.counters,
        }
    }

    /// First thing in every wake: was this peer itself late? Then it blames nobody.
    fn wake(&mut self, wall: Duration, now: Instant) {
        self.wall = wall;
        if let Some(late) = self.health.wake(now) {
            self.counters.overslept += 1;
            if late > self.timing.lease {
                self.event(Event::Overslept(late));
            }
            self.links
                .values_mut()
                .for_each(|link| link.excuse(late, now));
            self.states.excuse(late, now);
            self.source.excuse(late, now);
        }
    }

    /// What every input leads to: numbers what may be numbered, sends what there is room for.
    fn settle(&mut self, now: Instant) {
        self.list_links();
        self.follow_statements(now);
        while let Some((kind, body)) = self.to_say.pop_first() {
            self.say(kind, body, None, now);
        }
        self.number_ready(now);
        if let Some(pressure) = self.source.take_pressure() {
            self.event(Event::Pressure(pressure));
        }
        self.tell_gaps();
        self.judge_unheard(now);
        self.pump(now);
        while let Some(row) = self.members.take_changed() {
            self.outputs.push_back(Output::Keep(row));
        }
        let due = self.next_due(now);
        self.health.set_due(due);
    }

    fn next_due(&self, now: Instant) -> Option<Instant> {
        let layers = [
            self.states.poll_timeout(),
            self.agreement_due,
            self.multicasts.poll_timeout(),
            self.source.poll_timeout(),
            self.dialing.poll_timeout(),
            self.mute_connections_due(),
            Some(self.refresh_next),
        ];
        let is_silenced = self.health.is_main_loop_hung(now);
        let links = self.links.values();
        let links = links.filter_map(|link| link.poll_timeout(is_silenced));
        let deaf = self
            .links
            .values()
            .filter_map(|link| link.neighbor.deaf_due());
        let deaf = deaf.filter(|due| *due > now);
        layers.into_iter().flatten().chain(links).chain(deaf).min()
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn link_output(&mut self, output: LinkOutput) {
        self.outputs.push_back(Output::Link(output));
    }
}
