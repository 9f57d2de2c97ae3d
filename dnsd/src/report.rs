//! What a peer says of itself, from what its machines know.

use crate::health::{Health, Phase};
use crate::message::Opcode;
use crate::metrics::{Family, Page};
use crate::peer::Peer;
use crate::policy::{Policy, Realm};
use crate::requests::REQUESTS_MAX;
use crate::serve::Tally;
use crate::serve::counters::COUNTS;
use crate::state::State;
use crate::status::{
    Addresses, Link, LinkStage, LogStatus, Marks, Member, MemberState, Queue, RuleRow, Status,
    ViewStatus, Zone, ZoneDetail, ZoneSource, publishing_warning,
};
use overlay::status::{Counters, RouterStatus};
use overlay::{ClusterId, PeerId};
use replication::Stamp;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use zones::rdata::with_soa_serial;
use zones::validity::earliest_expiration;
use zones::zonefile::print_rdata;
use zones::{Name, Rdata, Rtype, Serial, Version};

/// A clock that is off by less concerns nobody.
const CLOCK_OFF_MILLIS: i64 = 1_000;

/// What does not change in one life.
#[derive(Clone, Debug)]
pub struct Life {
    /// The peer's name.
    pub name: String,
    /// Its id.
    pub peer: PeerId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// Where it listens.
    pub addresses: Addresses,
}

/// Whether the peer serves current data, and why not.
#[must_use]
pub fn health(peer: &Peer) -> Health {
    let replica = peer.replica();
    let mut reasons = Vec::new();
    let phase = if peer.is_stopping() {
        Phase::Stopping
    } else if peer.is_evicted() {
        Phase::Evicted
    } else if replica.stands_apart() {
        reasons.push("more members agree on another settled past: join it anew".to_owned());
        Phase::Waiting
    } else if replica.phase() == replication::Phase::Withdrawn {
        reasons.push("the disk does not finish writing".to_owned());
        Phase::Waiting
    } else if !replica.is_settling() {
        let lag = replica.status().lag;
        if lag > 0 {
            reasons.push(format!("{lag} entries of others are still to come"));
            Phase::CatchingUp
        } else {
            reasons.push("it settles with nobody yet".to_owned());
            Phase::Waiting
        }
    } else {
        Phase::Serving
    };
    if phase == Phase::Serving && peer.settled().is_none() {
        reasons.push("the log is still being folded".to_owned());
    }
    if phase == Phase::Serving && peer.is_sick() {
        reasons.push("its own listener does not answer its own questions".to_owned());
    }
    if phase == Phase::Serving && peer.is_stale() {
        reasons.push("it does not come closer to what others have settled".to_owned());
    }
    if phase == Phase::Serving && !peer.shows_all() {
        reasons.push("not all zones are served yet".to_owned());
    }
    Health { phase, reasons }
}

/// Everything on one screen.
#[must_use]
pub fn status(
    life: &Life,
    peer: &Peer,
    links: &RouterStatus,
    uptime: Duration,
    wall: Duration,
) -> Status {
    let replica = peer.replica().status();
    let settled = replica.settled;
    let tentative = peer.replica().log_after(settled).count() as u64;
    let published = replica.published.unwrap_or(Stamp::ZERO);
    let oldest_unpublished = peer
        .replica()
        .log_after(published)
        .next()
        .map(|entry| entry.stamp());
    let published_lag = oldest_unpublished
        .filter(|stamp| *stamp <= settled)
        .map(|stamp| wall.saturating_sub(stamp.hybrid.wall()));
    let (waiting, refused) = peer.request_figures();
    let members = members(peer, links);
    let settling_count = members
        .iter()
        .filter(|m| m.state == MemberState::Settling)
        .count();
    let mut warnings: Vec<String> = Vec::new();
    if peer.replica().is_settling() && !peer.is_evicted() {
        warnings.extend(publishing_warning(members.len(), settling_count));
    }
    if let Some(off) = replica
        .clock_off_millis
        .filter(|off| off.abs() > CLOCK_OFF_MILLIS)
    {
        warnings.push(format!(
            "This machine's clock is {off} ms off the other members' median."
        ));
    }
    if let Some((count, origin, failure)) = peer.failing_feeds() {
        warnings.push(match count {
            1 => format!("{origin} cannot be fetched: {failure}."),
            _ => format!("{count} zones cannot be fetched; of one, {origin}: {failure}."),
        });
    }
    Status {
        name: life.name.clone(),
        peer: life.peer,
        cluster: life.cluster.to_string(),
        incarnation: replica.incarnation.0,
        uptime,
        health: health(peer),
        addresses: life.addresses.clone(),
        members,
        view: ViewStatus {
            id: links.view.id.0,
            number: links.view.number,
            members: links.view.members.iter().map(|(peer, _)| *peer).collect(),
        },
        settling_view: replica.view.map(|view| ViewStatus {
            id: u64::from_be_bytes(view.0[..8].try_into().expect("eight of sixteen bytes")),
            number: links.view.number,
            members: replica.view_members.iter().copied().collect(),
        }),
        marks: Marks {
            tentative,
            settled: settled.hybrid.wall(),
            stable: replica.stable.hybrid.wall(),
            published: published.hybrid.wall(),
            published_lag: published_lag.unwrap_or_default(),
        },
        zones: peer.now().zone_count() as u64,
        log: LogStatus {
            entries: replica.log_len as u64,
            size: peer.log_size() as u64,
        },
        queues: vec![Queue {
            name: "updates".to_owned(),
            length: waiting as u64,
            limit: REQUESTS_MAX as u64,
            refused,
        }],
        warnings,
    }
}

/// All members, by name.
#[must_use]
pub fn members(peer: &Peer, links: &RouterStatus) -> Vec<Member> {
    let replica = peer.replica();
    let status = replica.status();
    let mut members: Vec<Member> = replica
        .members()
        .admits()
        .map(|admit| {
            let id = admit.peer();
            let is_reachable = links.view.members.iter().any(|(peer, _)| *peer == id);
            let is_settling = status.view.is_some() && status.view_members.contains(&id);
            let state = match (is_reachable, is_settling) {
                (_, true) => MemberState::Settling,
                (true, false) => MemberState::Reachable,
                (false, false) => MemberState::Unreachable,
            };
            Member {
                peer: id,
                name: admit.name.clone(),
                addresses: admit.addresses.clone(),
                state,
            }
        })
        .collect();
    members.sort_by(|a, b| a.name.cmp(&b.name));
    members
}

/// All links.
#[must_use]
pub fn links(status: &RouterStatus) -> Vec<Link> {
    status
        .neighbors
        .iter()
        .map(|neighbor| Link {
            neighbor: neighbor.peer,
            name: neighbor.name.clone(),
            address: neighbor.remote,
            stage: match neighbor.state {
                overlay::status::LinkStage::Down => LinkStage::Down,
                overlay::status::LinkStage::Heard => LinkStage::Heard,
                overlay::status::LinkStage::Up => LinkStage::Up,
            },
            since: neighbor.since,
            rtt: neighbor.rtt,
            loss_permille: neighbor.loss_permille,
            sent: neighbor.sent,
            resent: neighbor.resent,
        })
        .collect()
}

/// Adds what the listeners and the overlay have counted.
pub fn count(page: &mut Page, tally: &Tally, overlay: &Counters) {
    for (opcode, count) in tally.opcodes() {
        page.put(Family::Requests, &[opcode_text(opcode)], count as f64);
    }
    for (rcode, count) in tally.rcodes() {
        page.put(Family::Responses, &[&rcode.to_string()], count as f64);
    }
    page.put_all(
        Family::DnsEvents,
        COUNTS
            .iter()
            .map(|(event, name)| (*name, tally.get(*event))),
    );
    page.put_all(
        Family::OverlayEvents,
        [
            ("malformed", overlay.malformed),
            ("bad_signature", overlay.bad_signature),
            ("unknown_peer", overlay.unknown_peer),
            ("bad_round", overlay.bad_round),
            ("unicast_dropped", overlay.unicast_dropped),
            ("refused", overlay.refused),
            ("duplicates", overlay.duplicates),
            ("pulled", overlay.pulled),
            ("overslept", overlay.overslept),
        ],
    );
}

/// Adds whom changes were told to, and what is remembered of them.
pub fn count_changes(page: &mut Page, peer: &Peer) {
    let figures = peer.notifier().figures();
    page.put_all(
        Family::NotifyEvents,
        [
            ("sent", figures.sent),
            ("repeated", figures.repeated),
            ("acknowledged", figures.acknowledged),
            ("refused", figures.refused),
        ],
    );
    page.put(Family::HistorySize, &[], peer.history().size() as f64);
}

/// Adds what became of the VIPs.
pub fn count_vips(page: &mut Page, peer: &Peer, now: Instant) {
    let failover = peer.failover();
    let counters = failover.counters();
    page.put(Family::VipsHeld, &[], failover.announced().count() as f64);
    page.put(Family::VipsUncovered, &[], failover.uncovered() as f64);
    let uncovered = failover.uncovered_time(now);
    page.put(Family::VipUncoveredTime, &[], uncovered.as_secs_f64());
    page.put_all(
        Family::VipEvents,
        [
            ("takeover", counters.takeovers),
            ("handover", counters.handovers),
            ("conflict", counters.conflicts),
            ("foreign", counters.foreign),
            ("failed", counters.failed),
        ],
    );
}

fn opcode_text(opcode: Opcode) -> &'static str {
    match opcode {
        Opcode::QUERY => "QUERY",
        Opcode::UPDATE => "UPDATE",
        _ => "other",
    }
}

/// All zones of a peer at one moment: made at once, and looked at aside.
pub struct Zones {
    now: State,
    published: Option<State>,
    settled: Option<State>,
}

impl Zones {
    /// Those of this moment.
    #[must_use]
    pub fn of(peer: &Peer) -> Self {
        Self {
            now: peer.now().clone(),
            published: peer.published().cloned(),
            settled: peer.settled().cloned(),
        }
    }

    /// All of them, in canonical order.
    pub fn iter(&self) -> impl Iterator<Item = Zone> + '_ {
        let origins = self.now.zones().keys();
        origins.filter_map(|origin| self.get(origin))
    }

    /// One zone; none if there is no such zone.
    #[must_use]
    pub fn get(&self, origin: &Name) -> Option<Zone> {
        let version = self.now.version(origin);
        let fed = self.now.fed(origin);
        if version.is_none() && fed.is_none() {
            return None;
        }
        let published = self.published.as_ref();
        let published = published.filter(|state| state.version(origin).is_some());
        Some(Zone {
            origin: version.map_or(origin, Version::origin).clone(),
            published: published.map(|state| state.serial(origin).0),
            settled: self.settled.as_ref().unwrap_or(&self.now).serial(origin).0,
            now: self.now.serial(origin).0,
            records: version.map_or(0, |version| version.counts().records as u64),
            source: match (version, fed) {
                (_, None) => ZoneSource::Ours,
                (None, Some(_)) => ZoneSource::Awaited,
                (Some(_), Some(fed)) if fed.is_expired => ZoneSource::Expired,
                (Some(_), Some(_)) => ZoneSource::Primary,
            },
        })
    }
}

/// One zone in detail, of the version that is asked for. It looks at all of it: to be done aside.
#[must_use]
pub fn zone_detail(
    zone: Zone,
    policy: &Policy,
    version: &Version,
    serial: u32,
    wall: Duration,
) -> ZoneDetail {
    let mut by_type: BTreeMap<Rtype, u64> = BTreeMap::new();
    let mut names = 0;
    let mut soa = String::new();
    for node in version.walk() {
        names += u64::from(!node.is_empty());
        for rrset in node.rrsets() {
            *by_type.entry(rrset.rtype()).or_default() += rrset.len() as u64;
        }
    }
    if let Some(rrset) = version.apex().rrset(Rtype::SOA)
        && let Some(rdata) = rrset.rdata().next()
    {
        let rdata = with_soa_serial(&Rdata::from_checked(rdata), Serial(serial));
        print_rdata(Rtype::SOA, rdata.as_bytes(), &mut soa);
    }
    ZoneDetail {
        zone,
        soa,
        signatures_expire: earliest_expiration(version, wall),
        names,
        records_by_type: by_type
            .into_iter()
            .map(|(t, count)| (t.to_string(), count))
            .collect(),
        rules: rules_of(policy, &Realm::All)
            .chain(rules_of(policy, &Realm::Zone(version.origin().clone())))
            .collect(),
        notified: Vec::new(),
        feed: None,
    }
}

/// The rules of a realm, in order.
pub fn rules_of<'p>(policy: &'p Policy, realm: &'p Realm) -> impl Iterator<Item = RuleRow> + 'p {
    policy.of(realm).map(|rule| RuleRow::new(realm, rule))
}
