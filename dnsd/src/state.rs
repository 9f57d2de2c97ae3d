//! What all entries up to a stamp make: zones with their serials, policy, leases, VIPs, secrets of
//! cookies, keys, remembered requests.
//!
//! The outcome of an entry depends on earlier entries of its origin, and on the evictions before
//! it, only; counting never depends on outcomes (replication protocol section 9).

mod remembered;
mod serials;

pub(crate) use remembered::Answered;
pub use remembered::{DIGEST_SIGNED, DIGEST_UNSIGNED, Remembered, is_remembered};

use crate::body::{Body, Cause, Order, Replaces};
use crate::cookie::Secrets;
use crate::fed::{Fed, Freshness};
use crate::history::What;
use crate::imports::Imports;
use crate::leases::Leases;
use crate::policy::{NoPolicyChange, Policy, PolicyChange, Realm};
use crate::tsig::{Keys, NoKeyChange};
use crate::vip::map::{NoChange, VipMap};
use crate::zone_data::decode_records;
use crate::zone_settings::{CatalogRole, ZoneSettings};
use imbl::{OrdMap, OrdSet};
use replication::{Digest, Entry, Hybrid, Stamp};
use std::sync::Arc;
use zones::{Name, Rcode, Serial, Terms, Update, Version};

/// All zones of the cluster at one place of the log.
#[derive(Clone, Debug)]
pub struct State {
    pub(crate) at: Stamp,
    zones: OrdMap<Name, Zone>,
    /// How many of them exist.
    zone_count: usize,
    /// Those that are catalogs.
    catalogs: OrdSet<Name>,
    pub(crate) evictions: u64,
    pub(crate) policy: Arc<Policy>,
    pub(crate) vips: Arc<VipMap>,
    pub(crate) cookies: Option<Arc<CookieSecrets>>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) leases: Leases,
    pub(crate) answered: OrdMap<Digest, Answered>,
    /// The same, by the time at which each is forgotten.
    forgotten: OrdSet<(Hybrid, Digest)>,
}

/// One origin: its counters outlive the zone.
#[derive(Clone, Debug)]
pub struct Zone {
    /// The content; none if there is no such zone here.
    pub version: Option<Version>,
    /// N: updates, imports and removals of this origin, failed ones and duplicates included.
    pub counted: u64,
    /// E: the greatest offset that any of them carries.
    pub offset: Option<i64>,
    /// What operators set for it; most zones have none.
    pub settings: Option<Arc<ZoneSettings>>,
    /// Where it stands, if it is fed: its settings name a primary then. Most zones are not.
    pub fed: Option<Arc<Fed>>,
}

/// Equal zones need not be shown anew: same counters and settings, same content on the same base.
impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        let is_same_version = match (&self.version, &other.version) {
            (None, None) => true,
            (Some(mine), Some(theirs)) => mine.is_identical_to(theirs),
            _ => false,
        };
        is_same_version
            && self.counted == other.counted
            && self.offset == other.offset
            && self.settings == other.settings
            && self.fed == other.fed
    }
}

/// By what server cookies are made and known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CookieSecrets {
    /// The secrets.
    pub secrets: Secrets,
    /// Where they came to be these.
    pub since: Stamp,
}

/// The content of a zone and its serial, at one place of the log.
#[derive(Clone, Debug)]
pub struct Content {
    /// The content; none if there is no such zone.
    pub version: Option<Version>,
    /// The serial.
    pub serial: Serial,
}

/// What one entry that counts did to its zone.
#[derive(Clone, Debug)]
pub struct Counted {
    /// The zone.
    pub origin: Name,
    /// The zone before it.
    pub before: Content,
    /// The zone after it.
    pub after: Content,
    /// Its place.
    pub stamp: Stamp,
    /// What it was, and who asked for it.
    pub what: What,
}

/// What an entry came to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Outcome {
    /// It did what it says, or an UPDATE got this RCODE.
    Rcode(Rcode),
    /// An import of a zone that came into being after the command was given.
    ZoneExists,
    /// An import of a zone that changed after the command was given.
    ZoneChanged,
    /// Removal of a zone that does not exist.
    NoSuchZone,
    /// A change of a zone that comes from a primary.
    ZoneFed,
    /// Adoption of a zone that is ours.
    ZoneNotFed,
    /// A change of the VIPs that does nothing.
    Vip(NoChange),
    /// A change of the keys that does nothing.
    Key(NoKeyChange),
    /// A change of the policy that does nothing.
    Policy(NoPolicyChange),
}

/// What a request would do to a state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// It makes an entry with this offset.
    Changes(Option<i64>),
    /// It changes nothing and is answered with this.
    Nothing(Rcode),
}

impl State {
    /// No zones, nobody allowed anything.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            at: Stamp::ZERO,
            zones: OrdMap::new(),
            zone_count: 0,
            catalogs: OrdSet::new(),
            evictions: 0,
            policy: Arc::default(),
            vips: Arc::default(),
            cookies: None,
            keys: Arc::default(),
            leases: Leases::default(),
            answered: OrdMap::new(),
            forgotten: OrdSet::new(),
        }
    }

    /// Folds the next entry.
    pub fn apply(&mut self, entry: &Entry, imports: &Imports) -> Outcome {
        self.apply_read(entry, read(entry).as_ref(), imports)
    }

    /// Folds the next entry, and says what it did to its zone, if it counts in one.
    pub fn apply_counted(
        &mut self,
        entry: &Entry,
        imports: &Imports,
    ) -> (Outcome, Option<Box<Counted>>) {
        let body = read(entry);
        let before = body.as_ref().and_then(Body::origin).map(|origin| {
            let origin = origin.clone();
            let content = self.content(&origin);
            (origin, content)
        });
        let outcome = self.apply_read(entry, body.as_ref(), imports);
        let counted = before.zip(body).map(|((origin, before), body)| {
            Box::new(Counted {
                before,
                after: self.content(&origin),
                stamp: entry.stamp(),
                what: what_of(body),
                origin,
            })
        });
        (outcome, counted)
    }

    /// Folds the next entry, whose body is this one.
    fn apply_read(&mut self, entry: &Entry, body: Option<&Body>, imports: &Imports) -> Outcome {
        let stamp = entry.stamp();
        assert!(self.at < stamp, "entries are folded in stamp order");
        self.at = stamp;
        match &entry.body {
            replication::Body::Data(_) => {}
            replication::Body::Join(_) => return Outcome::Rcode(Rcode::NOERROR),
            replication::Body::Evict(_) => {
                self.evictions += 1;
                return Outcome::Rcode(Rcode::NOERROR);
            }
        }
        // A body that this version cannot read was refused by nobody: it counts for nothing here,
        // as it does at every other peer of this version.
        let Some(body) = body else {
            return Outcome::Rcode(Rcode::NOTIMP);
        };
        let earlier = entry.digest.and_then(|digest| self.answered(digest, stamp));
        match earlier {
            Some(first) => {
                self.count(body);
                first
            }
            None => {
                let outcome = self.apply_body(body, stamp, imports);
                self.count(body);
                if let Some(digest) = entry.digest {
                    self.remember(digest, stamp, outcome);
                }
                outcome
            }
        }
    }

    /// Raises the place up to which everything is folded.
    pub fn reach(&mut self, mark: Stamp) {
        self.at = self.at.max(mark);
    }

    /// The place up to which everything is folded.
    #[must_use]
    pub fn at(&self) -> Stamp {
        self.at
    }

    /// Who may update, transfer and notify.
    #[must_use]
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// Which virtual addresses there are.
    #[must_use]
    pub fn vips(&self) -> &Arc<VipMap> {
        &self.vips
    }

    /// By what server cookies are made and known; none before the first secret.
    #[must_use]
    pub fn cookies(&self) -> Option<CookieSecrets> {
        self.cookies.as_deref().copied()
    }

    /// Who may sign requests.
    #[must_use]
    pub fn keys(&self) -> &Arc<Keys> {
        &self.keys
    }

    /// Records that last for a time only.
    #[must_use]
    pub fn leases(&self) -> &Leases {
        &self.leases
    }

    /// Every origin that ever was, in canonical order.
    #[must_use]
    pub fn zones(&self) -> &OrdMap<Name, Zone> {
        &self.zones
    }

    /// How many zones exist.
    #[must_use]
    pub fn zone_count(&self) -> usize {
        self.zone_count
    }

    /// The zones that are catalogs.
    #[must_use]
    pub fn catalogs(&self) -> &OrdSet<Name> {
        &self.catalogs
    }

    /// Whether there is such a zone; one that is fed may have no content yet.
    #[must_use]
    pub fn has_zone(&self, origin: &Name) -> bool {
        self.version(origin).is_some() || self.fed(origin).is_some()
    }

    /// The content of a zone, if it exists.
    #[must_use]
    pub fn version(&self, origin: &Name) -> Option<&Version> {
        self.zones.get(origin)?.version.as_ref()
    }

    /// A version that is to take the place of what a zone is, sharing with that what is the same.
    #[must_use]
    pub fn onto_held(&self, version: Version) -> Version {
        match self.version(version.origin()) {
            Some(held) => version.onto(held),
            None => version,
        }
    }

    /// The content of a zone and its serial.
    #[must_use]
    pub fn content(&self, origin: &Name) -> Content {
        Content {
            serial: self.serial(origin),
            version: self.version(origin).cloned(),
        }
    }

    /// What operators set for a zone; none if it is as most are.
    #[must_use]
    pub fn settings(&self, origin: &Name) -> Option<&ZoneSettings> {
        self.zones.get(origin)?.settings.as_deref()
    }

    /// Where a fed zone stands; none if it is not fed.
    #[must_use]
    pub fn fed(&self, origin: &Name) -> Option<Fed> {
        self.zones.get(origin)?.fed.as_deref().copied()
    }

    /// Evictions so far (K).
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Whether an import may take the place of what stands at `origin`.
    pub fn admits(&self, origin: &Name, replaces: Replaces) -> Result<(), Outcome> {
        let held = self.version(origin);
        match (replaces, self.fed(origin)) {
            (Replaces::Fed { .. }, None) => Err(Outcome::ZoneNotFed),
            (Replaces::Fed { serial, order, .. }, Some(_)) => {
                let is_taken = order == Order::Any || self.takes_signed(origin, serial);
                is_taken.then_some(()).ok_or(Outcome::ZoneChanged)
            }
            (_, Some(_)) => Err(Outcome::ZoneFed),
            (Replaces::Whatever, None) => Ok(()),
            (Replaces::Unchanged(compared), None) if held.map(Version::digest) == compared => {
                Ok(())
            }
            (Replaces::Unchanged(None), None) => Err(Outcome::ZoneExists),
            (Replaces::Unchanged(Some(_)), None) => Err(Outcome::ZoneChanged),
        }
    }

    /// What the update would do here.
    #[must_use]
    pub fn consider(&self, origin: &Name, update: &Update) -> Effect {
        let Some(version) = self.version(origin) else {
            return Effect::Nothing(Rcode::NOTAUTH);
        };
        let serial = self.serial(origin);
        if let Err(rcode) = version.check(update, serial) {
            return Effect::Nothing(rcode);
        }
        if !self.leases.have_room_for(update) {
            return Effect::Nothing(Rcode::REFUSED);
        }
        let applied = match version.apply(update, serial) {
            Ok(applied) => applied,
            Err(rcode) => return Effect::Nothing(rcode),
        };
        if applied.changed() {
            Effect::Changes(
                update
                    .soa_serial()
                    .and_then(|wanted| self.offset(origin, wanted)),
            )
        } else {
            Effect::Nothing(Rcode::NOERROR)
        }
    }

    fn apply_body(&mut self, body: &Body, stamp: Stamp, imports: &Imports) -> Outcome {
        match body {
            Body::Update {
                origin,
                terms,
                message,
                ..
            } => self.apply_update(origin, terms, message, stamp),
            Body::Import {
                origin,
                replaces,
                blob,
                ..
            } => {
                if let Err(outcome) = self.admits(origin, *replaces) {
                    return outcome;
                }
                let version = imports.get(blob).clone();
                if version.origin() != origin {
                    return Outcome::Rcode(Rcode::FORMERR);
                }
                self.leases.forget(origin);
                match replaces {
                    Replaces::Fed { serial, .. } => self.feed(origin, version, *serial, stamp),
                    _ => self.set_version(origin, Some(version)),
                }
                Outcome::Rcode(Rcode::NOERROR)
            }
            Body::Difference {
                origin,
                before,
                after,
                removed,
                added,
                ..
            } => {
                let held = self.version(origin);
                let serial = self.fed(origin).and_then(|fed| fed.serial);
                // What another side of a partition has fetched meanwhile leads elsewhere: the zone
                // is asked for again.
                let Some(held) = held.filter(|_| serial == Some(*before)) else {
                    return Outcome::ZoneChanged;
                };
                if !self.takes_signed(origin, *after) {
                    return Outcome::ZoneChanged;
                }
                let records = decode_records(removed).zip(decode_records(added));
                let version =
                    records.and_then(|(gone, new)| held.with_difference(&gone, &new).ok());
                match version {
                    None => Outcome::ZoneChanged,
                    Some(version) => {
                        self.feed(origin, version, *after, stamp);
                        Outcome::Rcode(Rcode::NOERROR)
                    }
                }
            }
            Body::Freshness { origin, freshness } => {
                let mut zone = self.zone(origin);
                let Some(fed) = &mut zone.fed else {
                    return Outcome::ZoneNotFed;
                };
                let fed = Arc::make_mut(fed);
                match freshness {
                    Freshness::Refreshed => fed.refreshed = fed.refreshed.max(stamp.hybrid),
                    Freshness::Expired => {}
                }
                fed.is_expired = *freshness == Freshness::Expired;
                self.put_zone(origin.clone(), zone);
                Outcome::Rcode(Rcode::NOERROR)
            }
            Body::Adopt { origin } => {
                let mut zone = self.zone(origin);
                if zone.fed.take().is_none() {
                    return Outcome::ZoneNotFed;
                }
                let mut settings = zone.settings.as_deref().cloned().unwrap_or_default();
                settings.primaries.clear();
                settings.member_of = None;
                zone.settings = (!settings.is_default()).then(|| Arc::new(settings));
                self.put_zone(origin.clone(), zone);
                Outcome::Rcode(Rcode::NOERROR)
            }
            Body::Remove { origin } => {
                if !self.has_zone(origin) {
                    return Outcome::NoSuchZone;
                }
                self.leases.forget(origin);
                if self.policy.is_about(origin) {
                    Arc::make_mut(&mut self.policy).forget(origin);
                }
                self.set_version(origin, None);
                Outcome::Rcode(Rcode::NOERROR)
            }
            Body::Policy(change) => match self.apply_policy(change) {
                Ok(()) => Outcome::Rcode(Rcode::NOERROR),
                Err(no_change) => Outcome::Policy(no_change),
            },
            Body::Vip(change) => match Arc::make_mut(&mut self.vips).apply(change, stamp) {
                Ok(()) => Outcome::Rcode(Rcode::NOERROR),
                Err(no_change) => Outcome::Vip(no_change),
            },
            Body::Cookies(secrets) => {
                self.cookies = Some(Arc::new(CookieSecrets {
                    secrets: *secrets,
                    since: stamp,
                }));
                Outcome::Rcode(Rcode::NOERROR)
            }
            Body::Key(change) => match Arc::make_mut(&mut self.keys).apply(change) {
                Ok(()) => Outcome::Rcode(Rcode::NOERROR),
                Err(no_change) => Outcome::Key(no_change),
            },
            Body::ZoneSettings { origin, changes } => {
                let mut zone = self.zone(origin);
                let mut settings = zone.settings.as_deref().cloned().unwrap_or_default();
                changes.iter().for_each(|change| settings.apply(change));
                let is_fed = !settings.primaries.is_empty();
                // A zone that is to come from a primary has settings before it has content.
                if zone.version.is_none() && !is_fed {
                    return Outcome::NoSuchZone;
                }
                // Its serial must go on: that is an adoption.
                if zone.fed.is_some() && !is_fed {
                    return Outcome::ZoneFed;
                }
                if is_fed && zone.fed.is_none() {
                    self.leases.forget(origin);
                    zone.fed = Some(Arc::new(Fed {
                        // What is in it came from nobody: no difference leads on from there.
                        serial: None,
                        refreshed: stamp.hybrid,
                        is_expired: false,
                    }));
                }
                zone.settings = (!settings.is_default()).then(|| Arc::new(settings));
                self.put_zone(origin.clone(), zone);
                Outcome::Rcode(Rcode::NOERROR)
            }
            Body::Expire { origin, by } => {
                let ended = self.leases.take_ended(origin, *by);
                match self.version(origin) {
                    Some(_) if ended.is_empty() => {}
                    Some(version) => {
                        let deletion = Update::deletion(origin.clone(), ended);
                        let applied = version.apply(&deletion, self.serial(origin));
                        if let Ok(applied) = applied
                            && applied.changed()
                        {
                            self.set_version(origin, Some(applied.version));
                        }
                    }
                    None => return Outcome::NoSuchZone,
                }
                Outcome::Rcode(Rcode::NOERROR)
            }
        }
    }

    fn apply_policy(&mut self, change: &PolicyChange) -> Result<(), NoPolicyChange> {
        if let PolicyChange::Grant(Realm::Zone(origin), _) = change
            && !self.has_zone(origin)
        {
            return Err(NoPolicyChange::NoSuchZone);
        }
        Arc::make_mut(&mut self.policy).apply(change)
    }

    fn apply_update(
        &mut self,
        origin: &Name,
        terms: &[Terms],
        message: &[u8],
        stamp: Stamp,
    ) -> Outcome {
        let Some(version) = self.version(origin) else {
            return Outcome::Rcode(Rcode::NOTAUTH);
        };
        let mut update = match Update::from_message(message) {
            Ok(update) => update,
            Err(error) => return Outcome::Rcode(error.rcode()),
        };
        // The zone was ours when this was authored.
        if self.fed(origin).is_some() {
            return Outcome::Rcode(Rcode::REFUSED);
        }
        // What a peer that breaks the rules authors must not stop all others.
        if update.zone() != origin || update.hold_to(terms.to_vec()).is_err() {
            return Outcome::Rcode(Rcode::FORMERR);
        }
        // The serial before this entry in settled order: the one that every peer publishes for
        // this version, so that all of them come to the same outcome.
        let serial = self.serial(origin);
        if let Err(rcode) = version.check(&update, serial) {
            return Outcome::Rcode(rcode);
        }
        if !self.leases.have_room_for(&update) {
            return Outcome::Rcode(Rcode::REFUSED);
        }
        let applied = match version.apply(&update, serial) {
            Ok(applied) => applied,
            Err(rcode) => return Outcome::Rcode(rcode),
        };
        let before = version.clone();
        self.leases
            .follow(&update, &before, &applied.version, stamp.hybrid);
        if applied.changed() {
            self.set_version(origin, Some(applied.version));
        }
        Outcome::Rcode(Rcode::NOERROR)
    }

    /// A fed zone has this content, which its primary has with this serial.
    fn feed(&mut self, origin: &Name, version: Version, serial: Serial, stamp: Stamp) {
        self.set_version(origin, Some(version));
        let mut zone = self.zone(origin);
        zone.fed = Some(Arc::new(Fed {
            serial: Some(serial),
            refreshed: stamp.hybrid,
            is_expired: false,
        }));
        self.put_zone(origin.clone(), zone);
    }

    fn set_version(&mut self, origin: &Name, version: Option<Version>) {
        let mut zone = self.zone(origin);
        if version.is_none() {
            zone.settings = None;
            zone.fed = None;
        }
        zone.version = version;
        self.put_zone(origin.clone(), zone);
    }

    /// Puts in what is known of an origin.
    pub(crate) fn put_zone(&mut self, origin: Name, zone: Zone) {
        self.zone_count += usize::from(zone.version.is_some());
        let role = zone.settings.as_ref().map(|settings| settings.catalog);
        if role.is_some_and(|role| role != CatalogRole::None) {
            self.catalogs.insert(origin.clone());
        } else if !self.catalogs.is_empty() {
            self.catalogs.remove(&origin);
        }
        if let Some(before) = self.zones.insert(origin, zone) {
            self.zone_count -= usize::from(before.version.is_some());
        }
    }

    /// Puts in what is known of many origins. A tree that is filled in order is left with leaves that
    /// are half empty, which the second half of the zones then fills.
    pub(crate) fn put_zones(&mut self, mut zones: Vec<(Name, Zone)>) {
        zones.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut second = Vec::with_capacity(zones.len() / 2);
        for (number, (origin, zone)) in zones.into_iter().enumerate() {
            match number % 2 {
                0 => self.put_zone(origin, zone),
                _ => second.push((origin, zone)),
            }
        }
        for (origin, zone) in second {
            self.put_zone(origin, zone);
        }
    }

    fn zone(&self, origin: &Name) -> Zone {
        self.zones.get(origin).cloned().unwrap_or(Zone {
            version: None,
            counted: 0,
            offset: None,
            settings: None,
            fed: None,
        })
    }
}

/// The body of an entry that is not about membership; none of any other, or if it cannot be read.
fn read(entry: &Entry) -> Option<Body> {
    match &entry.body {
        replication::Body::Data(data) => Body::decode(data),
        replication::Body::Join(_) | replication::Body::Evict(_) => None,
    }
}

fn what_of(body: Body) -> What {
    match body {
        Body::Update { cause, key, .. } => match cause {
            Cause::Request(source) => What::Update { source, key },
            Cause::Import => What::Import,
            Cause::Rollback(serial) => What::Rollback(serial),
            Cause::Catalog => What::Catalog,
        },
        Body::Import {
            replaces: Replaces::Fed { primary, .. },
            ..
        }
        | Body::Difference { primary, .. } => What::Transfer(primary),
        Body::Import { rollback, .. } => rollback.map_or(What::Import, What::Rollback),
        Body::Adopt { .. } => What::Adopt,
        Body::Remove { .. } => What::Remove,
        Body::Expire { .. } => What::Expire,
        Body::Policy { .. }
        | Body::Vip(_)
        | Body::Cookies(_)
        | Body::Key(_)
        | Body::ZoneSettings { .. }
        | Body::Freshness { .. } => {
            unreachable!("no zone counts it")
        }
    }
}
