//! Processes on hosts: started, killed, stalled, woken, told.

use super::{CLUSTER, Happening, Host, Inbox, TICK, Trap, World};
use crate::cluster::Fault;
use crate::cluster::disk::Disk;
use crate::cluster::machine::{Clock, Joiner, Machine, Process};
use crate::cluster::met::Met;
use crate::fabric::{Delivery, address};
use dnsd::disk::Done;
use dnsd::sponsor::Signer;
use overlay::join::JoinRequest;
use overlay::link_event::DialFailed;
use overlay::{Admit, NeighborSpec, Node, PublicKey, Token};
use replication::Config;
use ring::signature::{Ed25519KeyPair, KeyPair};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

impl World {
    pub(crate) fn add_host(&mut self, token: Option<(usize, Token)>) -> usize {
        let number = self.hosts.len();
        let seed = [number as u8 + 1; 32];
        let key = public_key(&seed);
        self.fabric.add_host(key);
        let (sponsor, token) = token.unzip();
        self.hosts.push(Host {
            id: key.peer_id(),
            seed,
            disk: Disk::new(self.random.u64(..)),
            skew_millis: self.random.i64(-1_500..1_500),
            token,
            sponsor: sponsor.unwrap_or(number),
            has_joined: false,
            is_destroyed: false,
            process: None,
            life: 0,
            stalled_until: Duration::ZERO,
            inbox: VecDeque::new(),
            clients: BTreeMap::new(),
            imports: BTreeMap::new(),
            seen: None,
            checkpoint: replication::Stamp::ZERO,
            wake: None,
            woken: (Duration::ZERO, 0),
            is_pumped: false,
        });
        number
    }

    /// Starts what the host's command line says: a member if its store is one's, else a joiner.
    pub(crate) fn start_process(&mut self, number: usize) -> Result<(), String> {
        let clock = self.clock(number);
        let random = self.random.u64(..);
        let profile = self.profile;
        let fault = self.fault;
        self.tell(number, &|| "starts".into());
        let host = &mut self.hosts[number];
        assert!(host.process.is_none() && !host.is_destroyed);
        host.life += 1;
        host.wake = None;
        host.is_pumped = false;
        host.stalled_until = Duration::ZERO;
        let process = if host.has_joined {
            let config = overlay::Config {
                cluster: CLUSTER,
                name: name(number),
                addresses: vec![address(number)],
                profile,
                links: self.links.as_ref().map(|links| {
                    let neighbors = links[number].iter();
                    neighbors.map(|n| NeighborSpec::Name(name(*n))).collect()
                }),
                extra_addresses: Vec::new(),
                admit: None,
            };
            let signer = Signer {
                key: key_pair(&host.seed),
                me: host.id,
                cluster: CLUSTER,
            };
            let timing = profile.timing();
            let replica = |admit: &Admit| {
                let mut config = Config::new(
                    admit.peer(),
                    admit.cluster,
                    timing.deadline_max,
                    timing.agree_limit,
                );
                config.join_lag = 20;
                if let Fault::Replica(faults) = fault {
                    config.faults = faults;
                }
                config
            };
            let key = key_pair(&host.seed);
            let store = &mut host.disk.store;
            let machine = Machine::start(store, signer, key, config, replica, random, clock)?;
            Process::Member(Box::new(machine))
        } else {
            let request = JoinRequest {
                token: host.token.clone().expect("it was invited"),
                key: public_key(&host.seed),
                name: name(number),
                addresses: vec![address(number)],
            };
            Process::Joiner(Box::new(Joiner::new(request, random, clock)))
        };
        host.process = Some(process);
        let life = host.life;
        self.fabric.start(number);
        self.schedule(TICK, Happening::Tick(number, life));
        self.drain(number)
    }

    /// The process dies; what it had not flushed may be gone.
    pub(crate) fn kill(&mut self, number: usize) {
        if self.hosts[number].process.take().is_none() {
            return;
        }
        self.checks.summary.crashes += 1;
        self.tell(number, &|| "is killed".into());
        let host = &mut self.hosts[number];
        host.life += 1;
        host.inbox.clear();
        host.clients.clear();
        host.imports.clear();
        host.seen = None;
        host.disk.crash();
        self.fabric.kill(number, self.now);
    }

    /// The trap closes on this host.
    pub(super) fn spring(&mut self, victim: usize, met: Met) {
        self.trap = None;
        if self.hosts[victim].process.is_some() {
            self.checks.summary.meet(met);
            self.kill(victim);
        }
    }

    /// The process stands still, as under SIGSTOP.
    pub(crate) fn stall(&mut self, number: usize, lasts: Duration) {
        let host = &mut self.hosts[number];
        if host.process.is_none() || host.stalled_until > self.now {
            return;
        }
        self.checks.summary.stalls += 1;
        host.stalled_until = self.now + lasts;
        let life = host.life;
        self.fabric.set_stalled(number, true);
        self.schedule(lasts, Happening::Resume(number, life));
    }

    /// Calls the machines whose time has come.
    pub(super) fn wake(&mut self, number: usize) {
        let clock = self.clock(number);
        let is_due = |node: &Node| node.poll_timeout().is_some_and(|due| due <= clock.now);
        match &mut self.hosts[number].process {
            Some(Process::Joiner(joiner)) if is_due(&joiner.node) => {
                joiner.node.handle_timeout(clock.wall, clock.now);
            }
            Some(Process::Member(machine)) => {
                if let Some(node) = machine.node.as_mut().filter(|node| is_due(node)) {
                    node.handle_timeout(clock.wall, clock.now);
                }
                if machine
                    .poll_timeout(clock.now)
                    .is_some_and(|due| due <= clock.now)
                {
                    machine.handle_timeout(clock);
                }
            }
            Some(Process::Joiner(_)) | None => {}
        }
    }

    pub(super) fn deliver(&mut self, number: usize, input: Inbox) -> Result<(), String> {
        let clock = self.clock(number);
        let host = &mut self.hosts[number];
        if host.stalled_until > self.now {
            host.inbox.push_back(input);
            return Ok(());
        }
        match (&mut host.process, input) {
            (Some(Process::Joiner(joiner)), Inbox::Delivery(delivery)) => {
                hand_over(&mut joiner.node, delivery, clock);
            }
            (Some(Process::Member(machine)), Inbox::Delivery(delivery)) => {
                if let Some(node) = &mut machine.node {
                    hand_over(node, delivery, clock);
                }
            }
            (Some(Process::Member(machine)), Inbox::Disk(done)) => {
                if matches!(done, Done::Checkpoint) {
                    self.checks.summary.checkpoints += 1;
                }
                let is_own_import = match &done {
                    Done::Blob(blob) => Some(machine.wiring.is_storing(blob)),
                    _ => None,
                };
                if is_own_import == Some(true) && self.trap == Some(Trap::AuthorWithData) {
                    self.spring(number, Met::AuthorDiedBeforeOffer);
                    return Ok(());
                }
                machine.handle_disk(done, clock);
                if is_own_import == Some(false)
                    && let Some(Trap::AuthorOnceHeld(author)) = self.trap
                {
                    self.spring(author, Met::AuthorDiedBeforeCommit);
                }
            }
            (Some(Process::Member(machine)), Inbox::Fetched(origin, fetched)) => {
                machine.handle_fetched(origin, fetched, clock);
            }
            (Some(Process::Member(machine)), Inbox::Worked(worked)) => {
                machine.handle_worked(worked, clock);
            }
            (Some(Process::Joiner(_)) | None, _) => {}
        }
        self.drain(number)
    }

    pub(crate) fn member(&mut self, number: usize) -> Option<&mut Machine> {
        match &mut self.hosts[number].process {
            Some(Process::Member(machine)) => Some(machine),
            _ => None,
        }
    }

    /// A member's process that is not stalled and has links.
    pub(crate) fn ready(&mut self, number: usize) -> Option<&mut Machine> {
        if self.hosts[number].stalled_until > self.now {
            return None;
        }
        self.member(number).filter(|machine| machine.node.is_some())
    }
}

fn hand_over(node: &mut Node, delivery: Delivery, clock: Clock) {
    match delivery {
        Delivery::Link(link, event) => node.handle_link(link, event, clock.wall, clock.now),
        Delivery::DialFailed(dial) => {
            let reason = "no answer".into();
            node.handle_dial_failed(DialFailed { dial, reason }, clock.wall, clock.now);
        }
    }
}

pub(crate) fn name(number: usize) -> String {
    format!("peer{number}")
}

pub(super) fn key_pair(seed: &[u8; 32]) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(seed).expect("32 bytes are a seed")
}

pub(super) fn public_key(seed: &[u8; 32]) -> PublicKey {
    let pair = key_pair(seed);
    PublicKey(pair.public_key().as_ref().try_into().expect("32 bytes"))
}
