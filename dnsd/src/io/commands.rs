//! What operators ask of a running peer, from the call to its answer.

use super::admin::{Answer as CallAnswer, Call};
use super::clock;
use super::driver::{Client, Driver, Input};
use crate::admin::{self, Done, Progress, Request, Run, Step};
use crate::body::Order;
use crate::metrics::Page;
use crate::policy::{NoPolicyChange, RULES_MAX};
use crate::reload::Comparison;
use crate::report::{self, Life, Zones};
use crate::requests::{Answer, ClientId, CommandRefused, SERIAL_BEHIND};
use crate::serve::Tally;
use crate::setting::PeerRef;
use crate::sponsor::text_of;
use crate::state::Outcome;
use crate::status::{Member, MemberState, Reload};
use crate::tsig::NoKeyChange;
use crate::tsig::key::KEYS_MAX;
use crate::vip::map::{ADDRESSES_MAX, NoChange};
use crate::wiring::ImportStep;
use overlay::status::RouterStatus;
use overlay::token::TokenSecret;
use overlay::{Command, PeerId, Token};
use replication::{Event, Majority, Members, Refused};
use ring::rand::{SecureRandom, SystemRandom};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tracing::{error, info, warn};
use zones::rdata::with_soa_serial;
use zones::zonefile::print_record;
use zones::{Name, Rcode, Rtype, Serial, Version};

/// How often the progress of an import is told.
const PROGRESS_PERIOD: Duration = Duration::from_millis(200);

/// The newest numbers, for the HTTP server.
pub type Snapshot = watch::Sender<Arc<super::http::Snapshot>>;

/// What the DNS listeners have counted.
pub type TallyOf = Box<dyn Fn() -> Tally + Send>;

/// Commands under way.
pub struct Commands {
    life: Life,
    started: Instant,
    invitations: VecDeque<CallAnswer>,
    evictions: Vec<(Member, CallAnswer)>,
    /// Attempts to fetch zones whose end somebody waits for.
    pub(super) fetches: Vec<(Name, CallAnswer)>,
    /// When the progress of imports is to be told.
    due: Option<Instant>,
    snapshot: Snapshot,
    tally: TallyOf,
}

/// Who waits for a command's entry to settle.
pub(super) enum Waiter {
    /// An import; if the zone was served before, what it changes.
    Import(CallAnswer, Name, Option<Reload>),
    /// A removal.
    Remove(CallAnswer, Name),
    /// A change of the VIPs.
    Vip(CallAnswer),
    /// Other secrets of cookies.
    Cookies(CallAnswer),
    /// Settings of a zone.
    Set(CallAnswer, Name),
    /// A zone that is to come from a primary.
    Feed(CallAnswer, Name),
    /// A zone that comes from a primary and is to be ours.
    Adopt(CallAnswer, Name),
    /// A change of the keys, and what is told when it is made.
    Key(CallAnswer, Box<Done>),
    /// A change of the policy, and what is told when it is made.
    Policy(CallAnswer, Box<Done>),
}

impl Commands {
    /// Starts with none.
    #[must_use]
    pub fn new(life: Life, snapshot: Snapshot, tally: TallyOf) -> Self {
        Self {
            life,
            started: clock::now(),
            invitations: VecDeque::new(),
            evictions: Vec::new(),
            fetches: Vec::new(),
            due: None,
            snapshot,
            tally,
        }
    }

    /// When something is to be looked at again.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }
}

impl Driver {
    /// Begins what an operator asks.
    pub(super) fn handle_call(&mut self, call: Call, wall: Duration, now: Instant) {
        let is_change = matches!(
            call.request,
            Request::Evict { .. }
                | Request::Invite { .. }
                | Request::ZoneImport { .. }
                | Request::ZoneRemove { .. }
                | Request::ZoneRollback { run: Run::Real, .. }
                | Request::ZoneSet { .. }
                | Request::ZoneFeed { .. }
                | Request::ZoneRefresh { .. }
                | Request::ZoneAdopt { .. }
                | Request::VipAdd { .. }
                | Request::VipRemove { .. }
                | Request::VipDrain { .. }
                | Request::VipResume { .. }
                | Request::CookieRollover { .. }
                | Request::KeyAdd { .. }
                | Request::KeyRemove { .. }
                | Request::PolicyGrant(_)
                | Request::PolicyRevoke(_)
        );
        if is_change && self.wiring.peer.is_evicted() {
            call.answer.refuse(
                "this peer has been evicted: ask another member. To make it one again, stop it and \
                 join with a fresh data directory",
            );
            return;
        }
        match call.request.clone() {
            Request::Status | Request::Peers | Request::OverlayLinks => self.ask_links(call),
            Request::Evict { .. } => self.ask_links(call),
            Request::Invite { expires, majority } => {
                self.invite(call.answer, expires, majority, wall);
            }
            Request::ZoneList => {
                let zones = Zones::of(&self.wiring.peer);
                self.do_aside(move || call.answer.done(Done::Zones(zones.iter().collect())));
            }
            Request::ZoneImport { origin, manner, .. } => {
                let waiter = Waiter::Import(call.answer, origin.clone(), None);
                let client = self.add_client(Client::Command(waiter));
                self.wiring.import(client, origin, call.upload, manner);
            }
            Request::ZoneExport { origin, version } => self.export(call.answer, &origin, version),
            Request::ZoneShow { origin, version } => {
                let found = self
                    .version_of(&origin, version)
                    .zip(Zones::of(&self.wiring.peer).get(&origin));
                let Some(((content, serial), zone)) = found else {
                    call.answer.refuse(self.no_content(&origin));
                    return;
                };
                let policy = self.wiring.peer.now().policy().clone();
                let notified = self.notified(&origin);
                let feed = self.feed_row(&origin, wall, now);
                self.do_aside(move || {
                    let mut detail = report::zone_detail(zone, &policy, &content, serial.0, wall);
                    detail.notified = notified;
                    detail.feed = feed;
                    call.answer.done(Done::Zone(Box::new(detail)));
                });
            }
            Request::ZoneSet { .. } => self.handle_setting_call(call, wall, now),
            Request::ZoneFeed { .. } | Request::ZoneRefresh { .. } | Request::ZoneAdopt { .. } => {
                self.handle_feed_call(call, wall, now);
            }
            Request::ZoneHistory { .. } | Request::ZoneRollback { .. } => {
                self.handle_history_call(call);
            }
            Request::ZoneRemove { origin } => self.remove(call.answer, origin, wall, now),
            Request::VipList
            | Request::VipAdd { .. }
            | Request::VipRemove { .. }
            | Request::VipDrain { .. }
            | Request::VipResume { .. }
            | Request::VipSimulate { .. } => self.handle_vip_call(call, wall, now),
            Request::CookieShow | Request::CookieRollover { .. } => {
                self.handle_cookie_call(call, wall, now);
            }
            Request::KeyList
            | Request::KeyShow { .. }
            | Request::KeyAdd { .. }
            | Request::KeyRemove { .. } => self.handle_key_call(call, wall, now),
            Request::PolicyList { .. }
            | Request::PolicyGrant(_)
            | Request::PolicyRevoke(_)
            | Request::PolicyTest { .. }
            | Request::UpdateTry { .. }
            | Request::ZoneOf { .. } => self.handle_policy_call(call, wall, now),
            Request::Stop => {
                call.answer.done(Done::Stopping);
                self.begin_stop(wall, now);
            }
        }
    }

    /// Shows what needs the links' state.
    pub(super) fn show(&mut self, call: Call, links: &RouterStatus, wall: Duration, now: Instant) {
        let peer = &self.wiring.peer;
        match call.request {
            Request::Status => {
                let uptime = now.saturating_duration_since(self.commands.started);
                let status = report::status(&self.commands.life, peer, links, uptime, wall);
                call.answer.done(Done::Status(Box::new(status)));
            }
            Request::Peers => call.answer.done(Done::Peers(report::members(peer, links))),
            Request::OverlayLinks => call.answer.done(Done::Links(report::links(links))),
            Request::Evict {
                peer: victim,
                majority,
            } => {
                let members = report::members(peer, links);
                self.evict(call.answer, &members, &victim, majority, wall, now);
            }
            _ => unreachable!("only these ask for the links"),
        }
    }

    /// An import of this peer has come to another step.
    pub(super) fn import_goes_on(&mut self, client: ClientId, step: ImportStep) {
        match step {
            ImportStep::Storing(size) => self.tell_of_import(client, Step::Storing, 0, size),
            ImportStep::Stored(size) => {
                self.tell_of_import(client, Step::Storing, size, size);
                self.commands.due = Some(clock::now());
            }
            ImportStep::Refused(reason) => self.refuse_import(client, &reason),
            ImportStep::UnderWay => {
                self.refuse_import(client, "the same data is being imported already");
            }
            ImportStep::Compared(found) => match self.clients.get_mut(&client) {
                Some(Client::Command(Waiter::Import(_, _, reload))) => *reload = Some(found),
                _ => unreachable!("an import is a command"),
            },
            ImportStep::Shown(comparison) => {
                let answer = self.end_import(client);
                // Waits for a slow client.
                clock::spawn("difference", move || show(&comparison, answer));
            }
        }
    }

    pub(super) fn refuse_import(&mut self, client: ClientId, reason: &str) {
        self.end_import(client).refuse(reason);
    }

    fn end_import(&mut self, client: ClientId) -> CallAnswer {
        match self.clients.remove(&client) {
            Some(Client::Command(Waiter::Import(answer, ..))) => answer,
            _ => unreachable!("an import is a command"),
        }
    }

    /// Tells the operator what became of a command.
    pub(super) fn end_command(&mut self, waiter: Waiter, answer: &Answer) {
        let failure = match answer {
            Answer::Outcome(Outcome::Rcode(Rcode::NOERROR)) => None,
            // RFC 2136 section 3.2.3: an update that changes the SOA has it as a prerequisite.
            Answer::Outcome(
                Outcome::ZoneExists | Outcome::ZoneChanged | Outcome::Rcode(Rcode::NXRRSET),
            ) => Some(refusal(CommandRefused::ZoneChanged)),
            Answer::Outcome(Outcome::Rcode(rcode)) => Some(format!("the peers answer {rcode}")),
            Answer::Outcome(Outcome::NoSuchZone) => Some(refusal(CommandRefused::NoSuchZone)),
            Answer::Outcome(Outcome::ZoneFed) => Some(refusal(CommandRefused::ZoneFed)),
            Answer::Outcome(Outcome::ZoneNotFed) => Some(refusal(CommandRefused::ZoneNotFed)),
            Answer::Outcome(Outcome::Vip(no)) => Some(refusal(CommandRefused::Vip(*no))),
            Answer::Outcome(Outcome::Key(no)) => Some(no_key_change(*no)),
            Answer::Outcome(Outcome::Policy(no)) => Some(no_policy_change(*no)),
            Answer::Unavailable | Answer::Silence => {
                Some("this peer cannot do it now; try another".to_owned())
            }
            Answer::Refused(refused) => Some(refusal(*refused)),
        };
        match waiter {
            Waiter::Import(call, origin, reload) => {
                let zone = Zones::of(&self.wiring.peer).get(&origin);
                match (failure, zone, reload) {
                    (None, Some(zone), None) => call.done(Done::Imported(zone)),
                    (None, Some(zone), Some(reload)) => call.done(Done::Reloaded(Reload {
                        after: zone.settled,
                        ..reload
                    })),
                    (None, None, _) => call.refuse(no_such_zone(&origin)),
                    (Some(reason), ..) => call.refuse(reason),
                }
            }
            Waiter::Remove(call, origin) => match failure {
                None => call.done(Done::Removed { origin }),
                Some(reason) => call.refuse(reason),
            },
            Waiter::Vip(call) => match failure {
                None => call.done(Done::Vips(self.vips(clock::now()))),
                Some(reason) => call.refuse(reason),
            },
            Waiter::Cookies(call) => match failure {
                None => call.done(Done::Cookies(self.cookies(clock::wall()))),
                Some(reason) => call.refuse(reason),
            },
            Waiter::Set(call, origin) => match failure {
                None => {
                    let settings = self.wiring.peer.now().settings(&origin);
                    let settings = settings.cloned().unwrap_or_default();
                    let settings = settings.texts();
                    call.done(Done::Set { origin, settings });
                }
                Some(reason) => call.refuse(reason),
            },
            Waiter::Feed(call, origin) => match failure {
                None => self.fetch(call, origin, Order::Ahead, clock::wall(), clock::now()),
                Some(reason) => call.refuse(reason),
            },
            Waiter::Adopt(call, origin) => {
                match (failure, Zones::of(&self.wiring.peer).get(&origin)) {
                    (None, Some(zone)) => call.done(Done::Adopted(zone)),
                    (None, None) => call.refuse(no_such_zone(&origin)),
                    (Some(reason), _) => call.refuse(reason),
                }
            }
            Waiter::Key(call, done) | Waiter::Policy(call, done) => match failure {
                None => call.done(*done),
                Some(reason) => call.refuse(reason),
            },
        }
    }

    /// Looks at commands that wait for something that nobody reports.
    pub(super) fn go_on_with_commands(&mut self, now: Instant) {
        self.answer_evictions();
        if self.commands.due.is_some_and(|due| due <= now) {
            for (blob, client) in self.wiring.spreading() {
                let peer = &self.wiring.peer;
                let total = peer.replica().members().len() as u64;
                let lackers = peer.import_lackers(blob).len() as u64;
                let done = total.saturating_sub(lackers);
                self.tell_of_import(client, Step::Settling, done, total);
            }
            let is_spreading = self.wiring.spreading().next().is_some();
            self.commands.due = is_spreading.then(|| now + PROGRESS_PERIOD);
        }
    }

    /// The invitation is durable.
    pub(super) fn answer_invitation(&mut self, token: &Token, wall: Duration) {
        if let Some(answer) = self.commands.invitations.pop_front() {
            let expires = token.expires.saturating_sub(wall);
            answer.done(Done::Invited {
                token: token.to_string(),
                expires,
            });
        }
    }

    /// There are too many invitations.
    pub(super) fn refuse_invitation(&mut self) {
        if let Some(answer) = self.commands.invitations.pop_front() {
            answer.refuse("too many invitations are open; they end by themselves");
        }
    }

    /// What the HTTP server has asked for.
    pub(super) fn handle_snapshot(&mut self, links: &RouterStatus, wall: Duration, now: Instant) {
        let uptime = now.saturating_duration_since(self.commands.started);
        let peer = &self.wiring.peer;
        let status = report::status(&self.commands.life, peer, links, uptime, wall);
        let mut page = Page::new(&status, &report::links(links));
        report::count(&mut page, &(self.commands.tally)(), &links.counters);
        report::count_vips(&mut page, peer, now);
        report::count_changes(&mut page, peer);
        let snapshot = super::http::Snapshot {
            taken: now,
            health: status.health,
            page,
        };
        self.commands.snapshot.send_replace(Arc::new(snapshot));
    }

    /// The HTTP server wants to know how this peer is.
    pub(super) fn take_snapshot(&mut self) {
        let inputs = self.inputs.clone();
        self.say(Command::Status(Box::new(move |links| {
            // A peer that is so busy does not answer.
            drop(inputs.try_send(Input::Snapshot(links)));
        })));
    }

    fn ask_links(&mut self, call: Call) {
        let inputs = self.inputs.clone();
        self.say(Command::Status(Box::new(move |links| {
            if let Err(error) = inputs.try_send(Input::Links(call, links)) {
                let (std::sync::mpsc::TrySendError::Full(input)
                | std::sync::mpsc::TrySendError::Disconnected(input)) = error;
                if let Input::Links(call, _) = input {
                    call.answer.refuse("the peer is too busy; try again");
                }
            }
        })));
    }

    fn invite(
        &mut self,
        answer: CallAnswer,
        expires: Duration,
        majority: admin::Majority,
        wall: Duration,
    ) {
        if self.commands.life.addresses.advertised.is_empty() {
            answer.refuse(
                "this peer has no address that others could dial; restart it with --peer-advertise",
            );
            return;
        }
        let mut secret = [0; 16];
        if SystemRandom::new().fill(&mut secret).is_err() {
            answer.refuse("the system gives no randomness");
            return;
        }
        let majority = match majority {
            admin::Majority::Needed => Majority::Needed,
            admin::Majority::Forced => Majority::Forced,
        };
        let token = Token {
            cluster: self.commands.life.cluster,
            addresses: self.commands.life.addresses.advertised.clone(),
            fingerprint: self.wiring.public_key().fingerprint(),
            secret: TokenSecret(secret),
            // Whole seconds are what a token can say.
            expires: Duration::from_secs((wall + expires).as_secs()),
        };
        self.commands.invitations.push_back(answer);
        self.wiring.invite(token, majority);
    }

    fn evict(
        &mut self,
        answer: CallAnswer,
        members: &[Member],
        victim: &PeerRef,
        majority: admin::Majority,
        wall: Duration,
        now: Instant,
    ) {
        let Some(member) = members.iter().find(|member| is_named(member, victim)) else {
            answer.refuse(format!(
                "no member is called {victim}; `dnsd peers` lists them"
            ));
            return;
        };
        if member.peer == self.commands.life.peer {
            answer.refuse("a peer cannot evict itself; ask another one");
            return;
        }
        if member.state == MemberState::Settling && majority == admin::Majority::Needed {
            answer.refuse(format!(
                "{victim} is alive and settles together with this peer; stop it first, or use --force"
            ));
            return;
        }
        let majority = match majority {
            admin::Majority::Needed => Majority::Needed,
            admin::Majority::Forced => Majority::Forced,
        };
        match self
            .wiring
            .peer
            .handle_evict(member.peer, majority, wall, now)
        {
            Ok(()) => self.commands.evictions.push((member.clone(), answer)),
            Err(reason) => answer.refuse(text_of(reason)),
        }
    }

    fn answer_evictions(&mut self) {
        let members = self.wiring.peer.replica().members();
        let (done, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.commands.evictions)
            .into_iter()
            .partition(|(member, _)| !members.contains(member.peer));
        self.commands.evictions = if self.wiring.peer.is_evicted() {
            for (_, answer) in waiting {
                answer.refuse("this peer has been evicted itself; ask another one");
            }
            Vec::new()
        } else {
            waiting
        };
        for (member, answer) in done {
            info!(peer = %member.peer, name = member.name, "evicted");
            answer.done(Done::Evicted(member));
        }
    }

    fn remove(&mut self, answer: CallAnswer, origin: Name, wall: Duration, now: Instant) {
        let client = self.add_client(Client::Command(Waiter::Remove(answer, origin.clone())));
        let begun = self.wiring.peer.handle_remove(client, origin, wall, now);
        self.begun(client, begun);
    }

    /// A command was taken, or its end is that it was not.
    pub(super) fn begun(&mut self, client: ClientId, begun: Result<(), CommandRefused>) {
        if let Err(refused) = begun
            && let Some(Client::Command(waiter)) = self.clients.remove(&client)
        {
            self.end_command(waiter, &Answer::Refused(refused));
        }
    }

    fn tell_of_import(&self, client: ClientId, step: Step, done: u64, total: u64) {
        if let Some(Client::Command(Waiter::Import(answer, ..))) = self.clients.get(&client) {
            answer.progress(Progress { step, done, total });
        }
    }

    fn version_of(&self, origin: &Name, which: admin::Version) -> Option<(Version, Serial)> {
        let state = match which {
            admin::Version::Now => self.wiring.peer.now(),
            admin::Version::Settled => self
                .wiring
                .peer
                .settled()
                .or_else(|| self.wiring.peer.published())?,
        };
        Some((state.version(origin)?.clone(), state.serial(origin)))
    }

    fn export(&mut self, answer: CallAnswer, origin: &Name, which: admin::Version) {
        let Some((version, serial)) = self.version_of(origin, which) else {
            answer.refuse(no_such_zone(origin));
            return;
        };
        let side = match self.wiring.peer.replica().may_publish() {
            true => admin::Side::Publishes,
            false => admin::Side::IsSilent,
        };
        clock::spawn("export", move || {
            let mut text = String::new();
            let soa_first = version.apex().records().filter(|r| r.rtype == Rtype::SOA);
            let rest = version
                .records()
                .filter(|record| record.rtype != Rtype::SOA);
            for mut record in soa_first.chain(rest) {
                if record.rtype == Rtype::SOA {
                    record.rdata = with_soa_serial(&record.rdata, serial);
                }
                print_record(&record, &mut text);
                if text.len() >= admin::CHUNK_SIZE_MAX {
                    if answer.text_blocking(&text).is_err() {
                        return;
                    }
                    text.clear();
                }
            }
            if answer.text_blocking(&text).is_ok() {
                answer.done(Done::Exported {
                    serial: serial.0,
                    side,
                });
            }
        });
    }
}

pub(super) fn is_named(member: &Member, peer: &PeerRef) -> bool {
    match peer {
        PeerRef::Id(id) => member.peer == *id,
        PeerRef::Name(name) => member.name == name.as_str(),
    }
}

/// Tells an operator the difference between a file and what is served.
fn show(comparison: &Comparison, answer: CallAnswer) {
    let mut text = String::new();
    for line in comparison.lines() {
        text += &line;
        if text.len() >= admin::CHUNK_SIZE_MAX {
            if answer.text_blocking(&text).is_err() {
                return;
            }
            text.clear();
        }
    }
    if answer.text_blocking(&text).is_ok() {
        answer.done(Done::Reloaded(comparison.reload.clone()));
    }
}

pub(super) fn no_such_zone(origin: &Name) -> String {
    format!("there is no zone {origin}; `dnsd zone list` shows all")
}

fn no_key_change(no: NoKeyChange) -> String {
    match no {
        NoKeyChange::NameInUse => {
            "another key has this name; --replace puts this one in its place".to_owned()
        }
        NoKeyChange::NoSuchKey => "there is no such key; `dnsd key list` shows all".to_owned(),
        NoKeyChange::Full => format!("there may be {KEYS_MAX} keys"),
    }
}

fn no_policy_change(no: NoPolicyChange) -> String {
    match no {
        NoPolicyChange::NoSuchRule => {
            "there is no such rule; `dnsd policy list` shows all".to_owned()
        }
        NoPolicyChange::Full => format!("there may be {RULES_MAX} rules"),
        NoPolicyChange::NoSuchZone => refusal(CommandRefused::NoSuchZone),
    }
}

fn refusal(refused: CommandRefused) -> String {
    match refused {
        CommandRefused::NoSuchZone => {
            "there is no such zone; `dnsd zone list` shows all".to_owned()
        }
        CommandRefused::ZoneChanged => {
            "the zone changed while it was being imported; nothing was done: look at it, and \
             import again, or with --replace, which discards such changes"
                .to_owned()
        }
        CommandRefused::Vip(NoChange::Overlaps) => {
            "another VIP has one of these addresses; `dnsd vip list` shows all".to_owned()
        }
        CommandRefused::Vip(NoChange::NoSuchVip) => {
            "there is no such VIP; `dnsd vip list` shows all".to_owned()
        }
        CommandRefused::Vip(NoChange::Full) => {
            format!("all VIPs together may have {ADDRESSES_MAX} addresses")
        }
        CommandRefused::SerialBehind => SERIAL_BEHIND.to_owned(),
        CommandRefused::ZoneFed => {
            "the zone comes from a primary, where it is to be changed; `dnsd zone adopt` makes it ours"
                .to_owned()
        }
        CommandRefused::ZoneListed => {
            "a catalog of a primary brings the zone, where it is to be taken out; `dnsd zone set ZONE \
             member-of=` makes it independent of that"
                .to_owned()
        }
        CommandRefused::ZoneNotFed => "the zone is ours: it comes from no primary".to_owned(),
        CommandRefused::NoMajority => "an import needs more than half of the members, so that two \
             sides do not bring the same zone; if the others are off, --force imports without them, \
             and if they are off for good, evict them first"
            .to_owned(),
        CommandRefused::NotSpread => {
            "the other peers did not fetch the data in time; nothing was done".to_owned()
        }
        CommandRefused::Busy => "too many commands are under way; try again".to_owned(),
        CommandRefused::Replica(Refused::Full) => "too many entries wait; try again".to_owned(),
        CommandRefused::Replica(Refused::Withdrawn) => {
            "the disk does not finish writing; try again".to_owned()
        }
        CommandRefused::Replica(Refused::Evicted) => {
            "this peer takes no entries: it has been evicted, or its settled past is wrong"
                .to_owned()
        }
        CommandRefused::Replica(Refused::BlobMissing) => {
            "the data of the import is not on disk".to_owned()
        }
        CommandRefused::Replica(Refused::TooLarge) => "the command is too large".to_owned(),
    }
}

/// One line for what an operator may want to read.
pub(super) fn log(event: &Event, members: &Members) {
    let name = |peer: &PeerId| {
        let admit = members.admits().find(|admit| admit.peer() == *peer);
        admit.map_or_else(|| peer.to_string(), |admit| admit.name.clone())
    };
    match event {
        Event::ViewInstalled {
            members: view,
            holds_majority,
            ..
        } => {
            let names: Vec<String> = view.iter().map(name).collect();
            info!(
                members = names.join(" "),
                holds_majority, "settling together"
            );
        }
        Event::ViewLeft => info!("agreeing anew on who settles together"),
        Event::Withdrawn => warn!("the disk does not finish writing; settling without this peer"),
        Event::Returned => info!("the disk works again"),
        Event::Mute(peer) => warn!(peer = name(peer), "a member does not say what all wait for"),
        Event::ClockOff(millis) => {
            warn!(
                millis,
                "this machine's clock differs from the other members' median"
            );
        }
        Event::PrefixDiffers(peer) => warn!(
            peer = name(peer),
            "the settled past of this peer and another differ: the one with fewer members behind it \
             stops; between equals evict the wrong one, and join it again"
        ),
        Event::StandsApart => error!(
            "more members agree on another settled past than on this peer's: it takes no updates \
             any more. Evict it, and join with a fresh data directory"
        ),
    }
}
