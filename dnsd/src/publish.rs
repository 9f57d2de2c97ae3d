//! What queries and the outside see: `now` with the serials of the published state.
//!
//! Replication protocol section 10: published is a settled state whose mark is durable, on a side
//! that holds the majority. Every SOA and every transfer speak of it alone; all other data is
//! `now`. A zone that was never published is not served yet. A signed zone is served as it was
//! published, whole: a signature binds its serial to the rest.
//!
//! ```text
//! a start, the first publication, an eviction ─▶ all zones are looked at, a slice a time ─┐
//! any other change ─▶ the zones that changed ─────────────────────────────────────────────┴▶ table
//! ```
//! While the table is filled for the first time nothing of it is served: without the zone below it,
//! a zone gives wrong answers.

use crate::history::Chains;
use crate::rebase::Carrier;
use crate::serve::served::Served;
use crate::state::{State, Zone};
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;
use zones::{Name, Serial, Shown, ZoneState, ZoneTable};

/// A zone that is served from now on, or no more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ZoneNews {
    /// It was imported, at whichever peer.
    Served {
        /// Its name.
        origin: Name,
        /// Its serial.
        serial: Serial,
        /// How many records it has.
        records: usize,
    },
    /// It was removed, at whichever peer.
    Removed(Name),
    /// So many more came or went at the same time.
    More(Counts),
}

/// Zones that came and went.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Those served from now on.
    pub served: usize,
    /// Their records.
    pub records: usize,
    /// Those removed.
    pub removed: usize,
}

/// Zones looked at in one slice when all are: less than a millisecond, as this thread may have to
/// share a core.
const SLICE_ZONES: usize = 200;
/// Zones of which each has a line of its own in the log, when so many come or go at once.
const NEWS_MAX: usize = 20;

/// Makes what is served, touching only zones that changed.
pub struct Publisher {
    published: Option<State>,
    table: ZoneTable,
    /// Zones that are still to be looked at.
    touched: BTreeSet<Name>,
    /// All zones are to be looked at.
    walk: Option<Walk>,
    filling: Filling,
    /// Zones that were looked at, whose serials may be others now.
    looked_at: Vec<Name>,
    news: Vec<ZoneNews>,
    /// What is too much for a line each.
    more_news: Counts,
    begun: u64,
    /// Up to which published state the table is to come, and has come.
    goal: u64,
    shown: u64,
    /// Whether what is served last is not all that is to be served by now.
    is_due: bool,
    /// What the table is made from.
    made_from: Option<MadeFrom>,
}

struct MadeFrom {
    now: State,
    published: Option<State>,
    begun: u64,
    goal: u64,
}

/// How far a look at all zones is.
enum Walk {
    Begun,
    /// Those up to this one have been looked at.
    At(Name),
}

/// Whether the table has held all zones before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Filling {
    /// Not since the start, which had published zones: they are no news.
    AtStart,
    /// Nothing was ever published here.
    AtFirst,
    Done,
}

impl Publisher {
    /// Starts with the state that was published last, if one was.
    #[must_use]
    pub fn new(published: Option<State>) -> Self {
        let (walk, filling) = match &published {
            Some(_) => (Some(Walk::Begun), Filling::AtStart),
            None => (None, Filling::AtFirst),
        };
        Self {
            published,
            table: ZoneTable::default(),
            touched: BTreeSet::new(),
            walk,
            filling,
            looked_at: Vec::new(),
            news: Vec::new(),
            more_news: Counts::default(),
            begun: 0,
            goal: 0,
            shown: 0,
            is_due: false,
            made_from: None,
        }
    }

    /// The mark of a settled state is on its way to the disk; returns the number of that state.
    pub fn begin(&mut self) -> u64 {
        self.begun += 1;
        self.begun
    }

    /// The mark of this settled state is durable: show it.
    pub fn publish(&mut self, number: u64, state: State) {
        let evictions = self.published.as_ref().map(State::evictions);
        // The first publication shows all zones, and an eviction raises every serial.
        if evictions != Some(state.evictions()) {
            self.walk = Some(Walk::Begun);
        }
        self.published = Some(state);
        self.goal = number;
    }

    /// Takes the published state of a zone over to its new base.
    pub fn carry(&mut self, carrier: &mut Carrier) {
        if let Some(published) = &mut self.published {
            carrier.carry(published);
        }
    }

    /// The published state.
    #[must_use]
    pub fn published(&self) -> Option<&State> {
        self.published.as_ref()
    }

    /// True if what was served last shows all that is published.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.walk.is_none() && self.touched.is_empty()
    }

    /// Which zones were looked at since this was asked last: what is shown of others is the same.
    pub fn take_looked_at(&mut self) -> Vec<Name> {
        std::mem::take(&mut self.looked_at)
    }

    /// The zones as they are shown, or will be when all have been looked at.
    #[must_use]
    pub fn table(&self) -> &ZoneTable {
        &self.table
    }

    /// Which zones came and went with what was last to be served. Those of a start are no news.
    pub fn take_news(&mut self) -> Vec<ZoneNews> {
        let more = std::mem::take(&mut self.more_news);
        let mut news = std::mem::take(&mut self.news);
        if more != Counts::default() {
            news.push(ZoneNews::More(more));
        }
        news
    }

    /// What is to be served with this `now`; none if nothing is different. It looks at a slice of
    /// the zones: call again until [`Self::is_complete`].
    pub fn update(&mut self, now: &State, history: &Chains) -> Option<Served> {
        self.look_for_changes(now);
        self.walk_on();
        self.is_due |= !self.touched.is_empty();
        for _ in 0..SLICE_ZONES {
            let Some(origin) = self.touched.pop_first() else {
                break;
            };
            self.look_at(&origin, now);
        }
        if self.is_complete() {
            self.shown = self.goal;
            if self.published.is_some() {
                self.filling = Filling::Done;
            }
        }
        let may_show = self.filling == Filling::Done || self.is_complete();
        if !(self.is_due && may_show) {
            return None;
        }
        self.is_due = false;
        Some(Served {
            zones: self.table.clone(),
            origins: now.zones().clone(),
            policy: Arc::clone(now.policy()),
            keys: Arc::clone(now.keys()),
            cookies: now.cookies().map(|cookies| cookies.secrets),
            remembered: now.remembered(),
            history: history.clone(),
            begun: self.begun,
            shown: self.shown,
        })
    }

    /// Notes what differs from what the table is made from.
    fn look_for_changes(&mut self, now: &State) {
        let made = self.made_from.as_ref();
        if let Some(made) = made {
            collect_changed(made.now.zones(), now.zones(), &mut self.touched);
            if let (Some(old), Some(new)) = (&made.published, &self.published) {
                collect_changed(old.zones(), new.zones(), &mut self.touched);
            }
        }
        let is_same = made.is_some_and(|made| {
            Arc::ptr_eq(made.now.policy(), now.policy())
                && Arc::ptr_eq(made.now.keys(), now.keys())
                && made.now.cookies() == now.cookies()
                && (made.begun, made.goal) == (self.begun, self.goal)
        });
        self.is_due |= !is_same;
        self.made_from = Some(MadeFrom {
            now: now.clone(),
            published: self.published.clone(),
            begun: self.begun,
            goal: self.goal,
        });
    }

    /// Takes the next zones of a look at all.
    fn walk_on(&mut self) {
        let (Some(walk), Some(published)) = (&self.walk, &self.published) else {
            return;
        };
        let from = match walk {
            Walk::Begun => Bound::Unbounded,
            Walk::At(origin) => Bound::Excluded(origin),
        };
        let zones = published.zones().range::<_, Name>((from, Bound::Unbounded));
        let next: Vec<&Name> = zones.map(|(origin, _)| origin).take(SLICE_ZONES).collect();
        self.touched.extend(next.iter().copied().cloned());
        self.walk = match next.last() {
            Some(last) if next.len() == SLICE_ZONES => Some(Walk::At((*last).clone())),
            _ => None,
        };
    }

    fn look_at(&mut self, origin: &Name, now: &State) {
        self.looked_at.push(origin.clone());
        let state = state_of(origin, now, self.published.as_ref());
        let had = self.table.get(origin).is_some();
        if self.filling != Filling::AtStart {
            self.note_news(origin, had, state.as_ref());
        }
        match state {
            Some(state) => self.table.put(state),
            None => self.table.remove(origin),
        }
    }

    fn note_news(&mut self, origin: &Name, had: bool, state: Option<&ZoneState>) {
        let Some(news) = news_of(origin, had, state) else {
            return;
        };
        if self.news.len() < NEWS_MAX {
            self.news.push(news);
            return;
        }
        match news {
            ZoneNews::Served { records, .. } => {
                self.more_news.served += 1;
                self.more_news.records += records;
            }
            ZoneNews::Removed(_) => self.more_news.removed += 1,
            ZoneNews::More(_) => unreachable!("one zone is one piece of news"),
        }
    }
}

fn news_of(origin: &Name, had: bool, state: Option<&ZoneState>) -> Option<ZoneNews> {
    match (had, state) {
        (false, Some(state)) => {
            let shown = state.shown.as_ref()?;
            Some(ZoneNews::Served {
                origin: state.origin().clone(),
                serial: shown.serial,
                records: shown.version.counts().records as usize,
            })
        }
        (true, None) => Some(ZoneNews::Removed(origin.clone())),
        _ => None,
    }
}

fn state_of(origin: &Name, now: &State, published: Option<&State>) -> Option<ZoneState> {
    let version = now.version(origin)?.clone();
    let published = published?;
    let shown = published.version(origin)?.clone();
    let serial = published.serial(origin);
    let is_signed = version.is_signed() || shown.is_signed();
    // RFC 1035 section 3.3.13: what has expired is no authoritative data any more.
    let is_expired = now.fed(origin).is_some_and(|fed| fed.is_expired);
    Some(ZoneState {
        now: if is_signed { shown.clone() } else { version },
        shown: (!is_expired).then_some(Shown {
            version: shown,
            serial,
        }),
    })
}

fn collect_changed(
    old: &OrdMap<Name, Zone>,
    new: &OrdMap<Name, Zone>,
    touched: &mut BTreeSet<Name>,
) {
    for item in old.diff(new) {
        let origin = match item {
            DiffItem::Add(origin, _) | DiffItem::Remove(origin, _) => origin,
            DiffItem::Update {
                new: (origin, _), ..
            } => origin,
        };
        touched.insert(origin.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::birth::Seeds;
    use crate::testing::{WALL, key, public};
    use zones::Version;

    const ZONES: usize = 10 * SLICE_ZONES;

    fn state(evictions: u64) -> State {
        let zones = (0..ZONES).map(|n| {
            let origin = format!("z{n}.test").parse().unwrap();
            (Version::from_records(&origin, &[]).unwrap(), Serial(7))
        });
        let seeds = Seeds {
            zones: zones.collect(),
            ..Seeds::default()
        };
        let mut state = seeds.into_state(public(&key(1)).peer_id(), WALL);
        state.evictions = evictions;
        state
    }

    /// Updates until all is shown: how many slices that takes, and what was served on the way.
    fn show(publisher: &mut Publisher, now: &State) -> (usize, Vec<Served>) {
        let mut served = Vec::from_iter(publisher.update(now, &Chains::default()));
        let mut slices = 1;
        while !publisher.is_complete() {
            slices += 1;
            served.extend(publisher.update(now, &Chains::default()));
        }
        assert!(
            publisher.update(now, &Chains::default()).is_none(),
            "nothing is different"
        );
        (slices, served)
    }

    #[test]
    fn zones_are_looked_at_in_slices_and_come_together() {
        let state = state(0);
        // A start, and a first publication.
        for is_start in [true, false] {
            let mut publisher = Publisher::new(is_start.then(|| state.clone()));
            if !is_start {
                let (slices, served) = show(&mut publisher, &state);
                assert_eq!((slices, served[0].zones.len()), (1, 0));
                let number = publisher.begin();
                publisher.publish(number, state.clone());
            }
            let (slices, served) = show(&mut publisher, &state);
            assert!((10..=11).contains(&slices), "{slices}");
            assert_eq!(served.len(), 1, "a part of the zones is never served");
            assert_eq!(served[0].zones.len(), ZONES);
            assert_eq!(served[0].shown, served[0].begun);
            let news = publisher.take_news();
            if is_start {
                assert_eq!(news, []);
                continue;
            }
            assert_eq!(news.len(), NEWS_MAX + 1);
            let more = Counts {
                served: ZONES - NEWS_MAX,
                ..Counts::default()
            };
            assert_eq!(news.last(), Some(&ZoneNews::More(more)));
        }
    }

    #[test]
    fn an_eviction_raises_every_serial_and_hides_no_zone() {
        let (before, after) = (state(0), state(1));
        let mut publisher = Publisher::new(Some(before.clone()));
        show(&mut publisher, &before);
        let number = publisher.begin();
        publisher.publish(number, after.clone());
        let (slices, served) = show(&mut publisher, &after);
        assert!(slices >= 10, "{slices}");
        for (n, served) in served.iter().enumerate() {
            assert_eq!(served.zones.len(), ZONES);
            let is_last = n + 1 == slices;
            assert_eq!(served.shown == number, is_last, "slice {n}");
        }
        let serials = served.last().unwrap().zones.iter();
        let mut serials = serials.map(|zone| zone.shown.as_ref().unwrap().serial);
        assert!(serials.all(|serial| serial == Serial(1_007)));
    }
}
