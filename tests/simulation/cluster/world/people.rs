//! What operators and clients do.

use super::hosts::{key_pair, name, public_key};
use super::{CLUSTER, Standing, World};
use crate::cluster::Fault;
use crate::cluster::requests::{self, Kind, Request};
use crate::fabric::address;
use dnsd::durable;
use dnsd::policy::{PolicyChange, Realm, Rule};
use dnsd::requests::{Answer, Sender};
use dnsd::state::State;
use overlay::token::TokenSecret;
use overlay::{Admit, PeerId, Token};
use replication::{BlobHash, Majority};
use std::time::Duration;

const INVITATION: Duration = Duration::from_secs(3_600);

impl World {
    /// The first peer of the cluster, with its policy and first zone.
    pub(crate) fn birth(&mut self) -> Result<(), String> {
        let first = self.add_host(None);
        let key = key_pair(&self.hosts[first].seed);
        let wall = self.clock(first).wall;
        let me = self.hosts[first].id;
        let public = public_key(&self.hosts[first].seed);
        let addresses = vec![address(first)];
        let admit = Admit::sign(&key, CLUSTER, public, name(first), addresses, me, wall);
        let host = &mut self.hosts[first];
        durable::give_birth(&mut host.disk.store, &admit, State::empty(), wall).expect("no fault");
        host.has_joined = true;
        self.start_process(first)?;
        self.run_until(self.now + Duration::from_millis(500))?;
        let (client, leaseholder, lease) =
            (requests::CLIENT, requests::LEASEHOLDER, requests::LEASE);
        self.grant(first, &format!("update from {client} ANY"))?;
        let lease = lease.as_secs();
        self.grant(first, &format!("update from {leaseholder} lease {lease}"))?;
        let machine = self.member(first).expect("it has just started");
        machine.import(requests::origin(0), &requests::file(0, 3));
        self.drain(first)?;
        self.run_until(self.now + Duration::from_secs(1))
    }

    /// An operator makes a rule for all zones.
    fn grant(&mut self, number: usize, rule: &str) -> Result<(), String> {
        let rule: Rule = rule.parse().expect("a good rule");
        // A disk that hangs at once holds up even this.
        let limit = self.now + Duration::from_secs(20);
        loop {
            let clock = self.clock(number);
            let machine = self.member(number).expect("it has just started");
            let client = machine.wiring.new_client();
            let grant = PolicyChange::Grant(Realm::All, rule.clone());
            let peer = &mut machine.wiring.peer;
            match peer.handle_policy(client, grant, clock.wall, clock.now) {
                Ok(()) => return Ok(()),
                Err(refused) if self.now > limit => {
                    return Err(format!("the policy is refused: {refused:?}"));
                }
                Err(_) => self.run_until(self.now + Duration::from_millis(500))?,
            }
        }
    }

    /// True if the sponsor could be told to.
    pub(crate) fn invite(&mut self, sponsor: usize) -> Result<bool, String> {
        let clock = self.clock(sponsor);
        let fingerprint = public_key(&self.hosts[sponsor].seed).fingerprint();
        let secret = TokenSecret(self.random.u128(..).to_be_bytes());
        let token = Token {
            cluster: CLUSTER,
            fingerprint,
            secret,
            expires: Duration::from_secs((clock.wall + INVITATION).as_secs()),
            addresses: vec![address(sponsor)],
        };
        let Some(machine) = self.ready(sponsor) else {
            return Ok(false);
        };
        machine.wiring.invite(token, Majority::Needed);
        self.drain(sponsor)?;
        Ok(true)
    }

    /// The data, if the host could be told to.
    pub(crate) fn import(
        &mut self,
        number: usize,
        zone: u8,
        names: u32,
    ) -> Result<Option<BlobHash>, String> {
        self.tell(number, &|| {
            format!("is to import {}", requests::origin(zone))
        });
        let mut data = None;
        if let Some(machine) = self.ready(number) {
            let mut records = requests::file(zone, names);
            let origin = requests::origin(zone);
            let held = machine.wiring.peer.now().version(&origin);
            if let Some(held) = held {
                records = requests::edited(held, records);
            }
            let standing = match held {
                Some(_) => Standing::Served,
                None => Standing::New,
            };
            data = Some(requests::data_of(zone, &records));
            let client = machine.import(origin, &records);
            self.hosts[number].imports.insert(client, standing);
            self.checks.summary.imports += 1;
        }
        self.drain(number)?;
        Ok(data)
    }

    pub(crate) fn remove_zone(&mut self, number: usize, zone: u8) -> Result<(), String> {
        let clock = self.clock(number);
        if let Some(machine) = self.ready(number) {
            let client = machine.wiring.new_client();
            let origin = requests::origin(zone);
            let _ = machine
                .wiring
                .peer
                .handle_remove(client, origin, clock.wall, clock.now);
        }
        self.drain(number)
    }

    /// True if the eviction could be authored.
    pub(crate) fn evict(
        &mut self,
        number: usize,
        victim: PeerId,
        majority: Majority,
    ) -> Result<bool, String> {
        let clock = self.clock(number);
        let evicted = self.ready(number).is_some_and(|machine| {
            machine
                .wiring
                .peer
                .handle_evict(victim, majority, clock.wall, clock.now)
                .is_ok()
        });
        self.checks.summary.evictions += u64::from(evicted);
        self.tell(number, &|| format!("is to evict {victim}: {evicted}"));
        self.drain(number)?;
        Ok(evicted)
    }

    pub(crate) fn new_request(&mut self, zone: u8, kind: Kind) -> usize {
        let number = self.requests.len();
        let request = Request::new(number as u64, zone, kind, self.now);
        self.requests.push(request);
        number
    }

    /// A client sends a request to a peer.
    pub(crate) fn ask(&mut self, number: usize, request: usize) -> Result<(), String> {
        let clock = self.clock(number);
        let (message, source, zone) = {
            let request = &self.requests[request];
            (request.message.clone(), request.source, request.zone)
        };
        let (digest, kind) = (self.requests[request].digest, self.requests[request].kind);
        self.tell(number, &|| format!("is asked {request} {kind:?}"));
        let Some(machine) = self.ready(number) else {
            return Ok(());
        };
        // A listener answers NOTAUTH by itself where no such zone is served.
        if machine
            .wiring
            .peer
            .now()
            .version(&requests::origin(zone))
            .is_none()
        {
            return Ok(());
        }
        let client = machine.wiring.new_client();
        let sender = Sender::unsigned(source);
        machine
            .wiring
            .peer
            .handle_update(client, message, sender, clock.wall, clock.now);
        machine.drain(clock);
        let now = machine.wiring.peer.now();
        let tentative = now.answered(digest, now.at());
        self.checks.summary.requests += 1;
        self.hosts[number].clients.insert(client, request);
        self.requests[request].last_sent = self.now;
        if self.fault == Fault::TentativeAnswers
            && let Some(outcome) = tentative
        {
            self.answered(number, client, &Answer::Outcome(outcome))?;
        }
        self.drain(number)
    }
}
