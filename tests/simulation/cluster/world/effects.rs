//! What a process wants is carried out, what it shows is looked at, and when it is due is noted.

use super::{HOSTS_MAX, Happening, Standing, Trap, World};
use crate::cluster::Fault;
use crate::cluster::machine::{Act, Machine, Process};
use crate::cluster::met::Met;
use dnsd::disk::Job;
use dnsd::requests::{Answer, ClientId, CommandRefused};
use dnsd::state::Outcome;
use dnsd::wiring::News;
use overlay::Node;
use std::time::{Duration, Instant};
use zones::Rcode;

impl World {
    /// Carries out all that a process wants, looks at what it shows, and sees when it is due again.
    pub(crate) fn drain(&mut self, number: usize) -> Result<(), String> {
        let clock = self.clock(number);
        let now = self.now;
        let host = &mut self.hosts[number];
        let life = host.life;
        match &mut host.process {
            None => return Ok(()),
            Some(Process::Joiner(joiner)) => {
                let has_joined = joiner.go_on(&mut host.disk.store, clock)?;
                if joiner.has_staged && self.trap == Some(Trap::NewcomerInStage) {
                    self.trap = None;
                    self.fabric.network.cut(number, host.sponsor);
                }
                while let Some(output) = joiner.node.poll_link() {
                    self.fabric.perform(number, output, now);
                }
                if has_joined {
                    // What the sponsor holds durably came with its stage and its snapshot.
                    let sponsor = host.sponsor;
                    let durable = self.hosts[sponsor].disk.durable.clone();
                    let disk = &mut self.hosts[number].disk;
                    disk.durable.extend(durable);
                    disk.count_durable();
                    let joined = Happening::Joined(number, life);
                    self.schedule(Duration::from_millis(5), joined);
                }
            }
            Some(Process::Member(machine)) => {
                machine.drain(clock);
                if let Some(node) = &mut machine.node {
                    while let Some(output) = node.poll_link() {
                        self.fabric.perform(number, output, now);
                    }
                    while let Some(event) = node.poll_event() {
                        machine.to_peer.push_back(event);
                    }
                }
                self.carry_out(number)?;
                self.look(number)?;
            }
        }
        self.begin_disk(number);
        self.schedule_pump(number);
        self.schedule_wake(number);
        Ok(())
    }

    fn carry_out(&mut self, number: usize) -> Result<(), String> {
        while let Some(act) = self
            .member(number)
            .and_then(|machine| machine.acts.pop_front())
        {
            match act {
                Act::Write(job) => {
                    let is_log = matches!(job, Job::Log(_));
                    self.hosts[number].disk.push(job);
                    if is_log && self.writes_trapped(number) {
                        self.begin_disk(number);
                        self.spring(number, Met::AuthorDiedWithEntry);
                        return Ok(());
                    }
                }
                Act::Answer(client, answer) => self.answered(number, client, &answer)?,
                Act::Serve(served) => {
                    let id = self.hosts[number].id;
                    for zone in served.zones.iter() {
                        let serial = zone.shown.as_ref().map_or(0, |shown| shown.serial.0);
                        self.note(number, &serial.to_be_bytes());
                        self.note(number, &zone.now.digest().to_be_bytes());
                    }
                    self.checks.served(id, &served)?;
                }
                // Several may have been asked for at once.
                Act::Invited(token) => {
                    if self.hosts.len() < HOSTS_MAX {
                        let newcomer = self.add_host(Some((number, token)));
                        self.start_process(newcomer)?;
                    }
                }
                Act::Aside(work) => {
                    let life = self.hosts[number].life;
                    let after = Duration::from_millis(self.random.u64(1..50));
                    self.schedule(after, Happening::Aside(number, life, work));
                }
                Act::Fetch(ask) => {
                    let life = self.hosts[number].life;
                    let after = Duration::from_millis(self.random.u64(1..80));
                    self.schedule(after, Happening::Asked(number, life, ask));
                }
                Act::TookPiece(holder) => {
                    let mut hosts = self.hosts.iter();
                    if self.trap == Some(Trap::HolderInFetch)
                        && let Some(holder) = hosts.position(|host| host.id == holder)
                    {
                        self.spring(holder, Met::HolderDiedInFetch);
                    }
                }
                Act::StageAgain => self.checks.summary.meet(Met::StagedAgain),
                Act::Said(News::ViewAgreed(_)) => self.checks.summary.views += 1,
                Act::Said(News::Replica(event)) => {
                    self.tell(number, &|| format!("{event:?}"));
                    let met = match event {
                        replication::Event::Withdrawn => Some(Met::Withdrawn),
                        replication::Event::Returned => Some(Met::Returned),
                        replication::Event::ClockOff(_) => Some(Met::ClockNoticed),
                        _ => None,
                    };
                    if let Some(met) = met {
                        self.checks.summary.meet(met);
                    }
                }
                Act::Said(_) => {}
            }
        }
        Ok(())
    }

    /// Whether the host is about to write the entry that a trap waits for.
    fn writes_trapped(&mut self, number: usize) -> bool {
        let Some(Trap::AuthorWithEntry(author, data)) = self.trap else {
            return false;
        };
        let names = |machine: &mut Machine| machine.wiring.peer.replica().needs_blob(data);
        author == number && self.member(number).is_some_and(names)
    }

    pub(super) fn answered(
        &mut self,
        number: usize,
        client: ClientId,
        answer: &Answer,
    ) -> Result<(), String> {
        self.note(number, format!("{client:?} {answer:?}").as_bytes());
        if let Some(standing) = self.hosts[number].imports.remove(&client) {
            self.tell(number, &|| format!("says of an import: {answer:?}"));
            let is_done = *answer == Answer::Outcome(Outcome::Rcode(Rcode::NOERROR));
            match standing {
                Standing::New if is_done && self.fabric.network.has_cuts() => {
                    self.checks.summary.meet(Met::ImportWhileCut);
                }
                Standing::Served if is_done => self.checks.summary.meet(Met::Reloaded),
                Standing::Served if is_changed(answer) => {
                    self.checks.summary.meet(Met::ReloadOutdated);
                }
                Standing::New | Standing::Served => {}
            }
        }
        let Some(request) = self.hosts[number].clients.remove(&client) else {
            return Ok(());
        };
        let kind = self.requests[request].kind;
        self.tell(number, &|| {
            format!("answers {request} {kind:?}: {answer:?}")
        });
        let Answer::Outcome(outcome) = answer else {
            return Ok(());
        };
        self.checks.summary.answers += 1;
        let digest = self.requests[request].digest;
        let machine = self.member(number).expect("it has just answered");
        let Some((view, members)) = machine.wiring.peer.replica().view() else {
            return Ok(());
        };
        let made_entry = machine
            .wiring
            .peer
            .settled()
            .is_some_and(|state| state.answered(digest, state.at()).is_some());
        // Promise 1: on the disk of every member of the settling view.
        if made_entry && *outcome == Outcome::Rcode(Rcode::NOERROR) {
            for host in self.hosts.iter().filter(|host| members.contains(&host.id)) {
                if !host.is_destroyed && !host.disk.durable.contains(&digest) {
                    return Err(format!(
                        "{number} told NOERROR and {} does not hold it durably",
                        host.id
                    ));
                }
            }
        }
        let request = &self.requests[request];
        let members = members.into_iter().collect();
        self.checks
            .answered(view, &members, request, *outcome, made_entry)
    }

    /// Looks at what a member shows.
    fn look(&mut self, number: usize) -> Result<(), String> {
        let host = &mut self.hosts[number];
        let Some(Process::Member(machine)) = &host.process else {
            return Ok(());
        };
        if let Some(state) = machine.wiring.peer.settled()
            && machine.wiring.peer.replica().is_settling()
        {
            self.checks
                .settled(&mut host.seen, machine.wiring.peer.replica(), state)?;
        }
        let checkpoint = machine.wiring.peer.replica().checkpoint();
        if checkpoint < host.checkpoint {
            return Err(format!("{number}: the checkpoint went back"));
        }
        host.checkpoint = checkpoint;
        Ok(())
    }

    fn begin_disk(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        let life = host.life;
        if let Some(takes) = host.disk.begin(self.disks, &mut self.random) {
            let begun = host.disk.begun_batch();
            if let Some(batch) = begun.filter(|_| self.fault == Fault::DurableBeforeFlush) {
                self.schedule(Duration::ZERO, Happening::Early(number, life, batch));
            }
            self.schedule(takes, Happening::Disk(number, life));
        }
    }

    fn schedule_pump(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        let Some(Process::Member(machine)) = &host.process else {
            return;
        };
        let has_words =
            !machine.to_peer.is_empty() || !machine.to_node.is_empty() && machine.node.is_some();
        if has_words && !host.is_pumped {
            host.is_pumped = true;
            let life = host.life;
            let after = Duration::from_micros(self.random.u64(10..400));
            self.schedule(after, Happening::Pump(number, life));
        }
    }

    fn schedule_wake(&mut self, number: usize) {
        let clock = self.clock(number);
        let host = &self.hosts[number];
        let due = match &host.process {
            None => None,
            Some(Process::Joiner(joiner)) => joiner.node.poll_timeout(),
            Some(Process::Member(machine)) => machine
                .node
                .as_ref()
                .and_then(Node::poll_timeout)
                .into_iter()
                .chain(machine.poll_timeout(clock.now))
                .min(),
        };
        let Some(due) = due else { return };
        let due = due.saturating_duration_since(self.start).max(self.now);
        if host.stalled_until > self.now || host.wake.is_some_and(|wake| wake <= due) {
            return;
        }
        let life = host.life;
        self.hosts[number].wake = Some(due);
        self.schedule(due - self.now, Happening::Wake(number, life));
    }
}

pub(super) fn who_is_due(process: &Option<Process>, now: Instant) -> String {
    let is_due = |due: Option<Instant>| due.is_some_and(|due| due <= now);
    match process {
        None => "nobody".into(),
        Some(Process::Joiner(_)) => "a joiner".into(),
        Some(Process::Member(machine)) => format!(
            "node {}, peer {}, its replica {} which is {:?}, folded {}",
            is_due(machine.node.as_ref().and_then(Node::poll_timeout)),
            is_due(machine.wiring.peer.poll_timeout(now)),
            is_due(machine.wiring.peer.replica().poll_timeout()),
            machine.wiring.peer.replica().phase(),
            machine.wiring.peer.is_folded(),
        ),
    }
}

/// Whether an import came to nothing as somebody else changed the zone meanwhile.
fn is_changed(answer: &Answer) -> bool {
    matches!(
        answer,
        Answer::Outcome(Outcome::ZoneChanged) | Answer::Refused(CommandRefused::ZoneChanged)
    )
}
