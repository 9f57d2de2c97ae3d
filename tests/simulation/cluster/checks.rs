//! The promises: what must hold always, each broken one an error with its reason.

use super::met::Met;
use super::requests::{self, Kind, PAIRS};
use dnsd::history::{Chain, content_at};
use dnsd::serve::Served;
use dnsd::state::{Outcome, State};
use overlay::PeerId;
use replication::{Digest, Entry, EntryId, Replica, SettlingViewId, Stamp};
use std::collections::{BTreeMap, BTreeSet};
use zones::zone_set::Shown;
use zones::{Name, Rcode, Rtype, Version};

type View = SettlingViewId;

/// All that any peer has ever shown.
#[derive(Default)]
pub(crate) struct Checks {
    /// In one settling view, one entry at each stamp, and one that follows it.
    places: BTreeMap<(View, Stamp), EntryId>,
    follows: BTreeMap<(View, EntryId), EntryId>,
    /// In one settling view, one outcome of each request that made an entry.
    outcomes: BTreeMap<(View, Digest), Outcome>,
    /// In one settling view, one content for each serial.
    settled: BTreeMap<(View, Name, u32), u128>,
    /// In everything that is published, one content for each serial.
    published: BTreeMap<(Name, u32), u128>,
    /// Up to which serial the steps of each peer have been looked at.
    stepped: BTreeMap<(PeerId, Name), u32>,
    /// What each peer published last.
    last_published: BTreeMap<(PeerId, Name), u32>,
    /// Zones that operators have go back.
    pub(crate) goes_back: BTreeSet<Name>,
    /// In one settling view, one answer to one request that made an entry.
    answers: BTreeMap<(View, Digest), Outcome>,
    /// Who was told NOERROR for a claimed name, and who was not, in one settling view.
    claims: BTreeMap<(View, u8, u64), BTreeMap<Digest, Rcode>>,
    /// Requests that were told NOERROR and made an entry, and who settled together then.
    pub(crate) told: BTreeMap<Digest, BTreeSet<PeerId>>,
    pub(crate) summary: Summary,
}

/// Where one peer's settled mark was seen last.
#[derive(Clone, Copy)]
pub(crate) struct Seen {
    view: View,
    at: Stamp,
    last: Option<EntryId>,
}

/// What a run did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Summary {
    pub(crate) requests: u64,
    pub(crate) answers: u64,
    pub(crate) conflicts: u64,
    pub(crate) crashes: u64,
    pub(crate) settling_views: u64,
    pub(crate) views: u64,
    pub(crate) joins: u64,
    pub(crate) evictions: u64,
    pub(crate) settled: u64,
    pub(crate) published: u64,
    pub(crate) steps: u64,
    pub(crate) checkpoints: u64,
    pub(crate) imports: u64,
    pub(crate) stalls: u64,
    pub(crate) met: BTreeMap<Met, u64>,
    pub(crate) trace: u64,
}

impl Summary {
    pub(crate) fn meet(&mut self, met: Met) {
        *self.met.entry(met).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.answers += other.answers;
        self.conflicts += other.conflicts;
        self.crashes += other.crashes;
        self.settling_views += other.settling_views;
        self.views += other.views;
        self.joins += other.joins;
        self.evictions += other.evictions;
        self.settled += other.settled;
        self.published += other.published;
        self.steps += other.steps;
        self.checkpoints += other.checkpoints;
        self.imports += other.imports;
        self.stalls += other.stalls;
        for (met, count) in &other.met {
            *self.met.entry(*met).or_default() += count;
        }
    }
}

impl Checks {
    /// Looks at what has settled at a peer since `seen` (promises 2, 3, 4).
    pub(crate) fn settled(
        &mut self,
        seen: &mut Option<Seen>,
        replica: &Replica,
        state: &State,
    ) -> Result<(), String> {
        let Some((view, _)) = replica.view() else {
            return Ok(());
        };
        if seen.is_some_and(|seen| seen.view == view && seen.at == state.at()) {
            return Ok(());
        }
        let (from, mut last) = match seen {
            Some(seen) if seen.view == view => (seen.at, seen.last),
            _ => {
                self.summary.settling_views += 1;
                (replica.checkpoint(), None)
            }
        };
        // What lies below a checkpoint that was taken meanwhile has been looked at, or is stable.
        let mut authors: BTreeMap<PeerId, (overlay::Incarnation, u64)> = BTreeMap::new();
        for entry in replica.log_after(from.max(replica.checkpoint())) {
            if entry.stamp() > state.at() {
                break;
            }
            self.place(view, entry, state, last)?;
            let id = entry.id();
            let place = (id.chain.incarnation, id.sequence);
            let before = authors.insert(id.chain.author, place);
            if before.is_some_and(|before| before >= place) {
                return Err(format!("{id:?} comes after {before:?} of its author"));
            }
            last = Some(id);
        }
        for (origin, zone) in state.zones() {
            if let Some(version) = &zone.version {
                let serial = state.serial(origin).0;
                let content = version.digest();
                let key = (view, origin.clone(), serial);
                let first = *self.settled.entry(key).or_insert(content);
                if first != content {
                    return Err(format!(
                        "serial {serial} of {origin} has two contents in one settling view"
                    ));
                }
            }
        }
        *seen = Some(Seen {
            view,
            at: state.at(),
            last,
        });
        Ok(())
    }

    fn place(
        &mut self,
        view: View,
        entry: &Entry,
        state: &State,
        last: Option<EntryId>,
    ) -> Result<(), String> {
        let id = entry.id();
        self.summary.settled += 1;
        let first = *self.places.entry((view, entry.stamp())).or_insert(id);
        if first != id {
            return Err(format!("{first:?} and {id:?} have one stamp"));
        }
        if let Some(last) = last {
            let first = *self.follows.entry((view, last)).or_insert(id);
            if first != id {
                return Err(format!("{last:?} is followed by {first:?} and {id:?}"));
            }
        }
        if let Some(digest) = entry.digest
            && let Some(outcome) = state.answered(digest, state.at())
        {
            let first = *self.outcomes.entry((view, digest)).or_insert(outcome);
            if first != outcome {
                return Err(format!("{id:?} came to {first:?} and {outcome:?}"));
            }
        }
        Ok(())
    }

    /// A peer serves this from now on (promises 3 and 6).
    pub(crate) fn served(&mut self, peer: PeerId, served: &Served) -> Result<(), String> {
        for zone in served.zones.iter() {
            let shown = zone.shown.as_ref().ok_or("a zone is served unpublished")?;
            let (serial, content) = (shown.serial.0, shown.version.digest());
            self.summary.published += 1;
            let key = (zone.origin().clone(), serial);
            let first = *self.published.entry(key).or_insert(content);
            if first != content {
                return Err(format!(
                    "serial {serial} of {} was published with two contents",
                    zone.origin()
                ));
            }
            let key = (peer, zone.origin().clone());
            let last = self.last_published.entry(key).or_insert(serial);
            if *last > serial && !self.goes_back.contains(zone.origin()) {
                return Err(format!(
                    "{peer}: the serial of {} went back from {last} to {serial}",
                    zone.origin()
                ));
            }
            *last = serial;
            if let Some(chain) = served.history.get(zone.origin()) {
                self.steps(peer, shown, chain)?;
            }
            for pair in 0..PAIRS {
                let rdata = |half| {
                    let name = zone.origin().child(format!("pair{pair}{half}").as_bytes());
                    let node = zone.now.node(&name.expect("a short label"))?;
                    let rrset = node.rrset(Rtype(1))?;
                    Some(rrset.rdata().map(<[u8]>::to_vec).collect::<Vec<_>>())
                };
                if rdata("a") != rdata("b") {
                    return Err(format!("{peer} serves half of an update of pair {pair}"));
                }
            }
        }
        Ok(())
    }

    /// Every serial that the steps lead back to had just the content to which they lead back.
    fn steps(&mut self, peer: PeerId, shown: &Shown, chain: &Chain) -> Result<(), String> {
        let origin = shown.version.origin();
        let key = (peer, origin.clone());
        if self.stepped.insert(key, shown.serial.0) == Some(shown.serial.0) {
            return Ok(());
        }
        let mut at = shown.serial;
        for step in chain.iter().rev() {
            if step.after != at || !step.has_delta() {
                continue;
            }
            at = step.before;
            let Some(content) = self.published.get(&(origin.clone(), at.0)) else {
                continue;
            };
            let records = content_at(chain, shown, at).ok_or("there is no way back")?;
            let version = Version::from_records(origin, &records)
                .map_err(|error| format!("a step leaves the zone: {error}"))?;
            if version.digest() != *content {
                return Err(format!(
                    "{peer} leads from serial {} of {origin} to another content of {}",
                    shown.serial.0, at.0
                ));
            }
            self.summary.steps += 1;
            // It takes a while: most often the next serial is enough.
            if !self.summary.steps.is_multiple_of(8) {
                break;
            }
        }
        Ok(())
    }

    /// A client was told something while its peer settled in `view` (promise 5).
    pub(crate) fn answered(
        &mut self,
        view: View,
        members: &BTreeSet<PeerId>,
        request: &requests::Request,
        outcome: Outcome,
        made_entry: bool,
    ) -> Result<(), String> {
        let Outcome::Rcode(rcode) = outcome else {
            return Err(format!("an UPDATE was told {outcome:?}"));
        };
        let key = (view, request.digest);
        // Also where the second peer knows of no entry any more: it is asked again soon enough.
        let first = self.answers.get(&key).copied();
        if first.is_some_and(|first| first != outcome) {
            return Err(format!(
                "one request was told {first:?} and {outcome:?} in one settling view"
            ));
        }
        if made_entry {
            self.answers.insert(key, outcome);
            if rcode == Rcode::NOERROR {
                let told = self.told.entry(request.digest);
                told.or_insert_with(|| members.clone());
            }
        }
        if let Kind::Claim { name } = request.kind {
            let claim = self.claims.entry((view, request.zone, name)).or_default();
            // Asked again beyond the window in which it is remembered, it is another request.
            claim.entry(request.digest).or_insert(rcode);
            let winners = claim
                .values()
                .filter(|rcode| **rcode == Rcode::NOERROR)
                .count();
            let losers = claim
                .values()
                .filter(|rcode| **rcode == Rcode::YXDOMAIN)
                .count();
            if winners > 1 || losers > 1 {
                return Err(format!(
                    "of two claims for one name, {winners} won and {losers} lost"
                ));
            }
            self.summary.conflicts += losers as u64;
        }
        Ok(())
    }
}
