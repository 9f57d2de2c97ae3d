//! What queries and the outside see: `now` with the serials of the published state.
//!
//! Replication protocol section 10: published is a settled state whose mark is durable, on a side
//! that holds the majority. Every SOA and every transfer speak of it alone; all other data is
//! `now`. A zone that was never published is not served yet. A signed zone is served as it was
//! published, whole: a signature binds its serial to the rest.

use crate::rebase::Carrier;
use crate::serve::served::Served;
use crate::state::{State, Zone};
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use std::collections::BTreeSet;
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
}

/// Makes what is served, touching only zones that changed.
pub struct Publisher {
    published: Option<State>,
    table: ZoneTable,
    news: Vec<ZoneNews>,
    begun: u64,
    shown: u64,
    /// What the table is made from.
    made_from: Option<MadeFrom>,
}

struct MadeFrom {
    now: State,
    published: Option<State>,
    begun: u64,
    shown: u64,
}

impl Publisher {
    /// Starts with the state that was published last, if one was.
    #[must_use]
    pub fn new(published: Option<State>) -> Self {
        Self {
            published,
            table: ZoneTable::default(),
            news: Vec::new(),
            begun: 0,
            shown: 0,
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
        self.published = Some(state);
        self.shown = number;
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

    /// Which zones came and went with what was last to be served. Those of a start are no news.
    pub fn take_news(&mut self) -> Vec<ZoneNews> {
        std::mem::take(&mut self.news)
    }

    /// What is to be served with this `now`; none if nothing is different.
    pub fn update(&mut self, now: &State) -> Option<Served> {
        let zones_of =
            |state: Option<&State>| state.map_or_else(OrdMap::new, |s| s.zones().clone());
        let (old_now, old_published) = match &self.made_from {
            Some(made) => (made.now.zones().clone(), zones_of(made.published.as_ref())),
            None => (OrdMap::new(), OrdMap::new()),
        };
        let published = self.published.as_ref();
        let new_published = zones_of(published);
        let mut touched = BTreeSet::new();
        collect_changed(&old_now, now.zones(), &mut touched);
        collect_changed(&old_published, &new_published, &mut touched);
        let is_same_policy = self.made_from.as_ref().is_some_and(|made| {
            Arc::ptr_eq(made.now.policy(), now.policy()) && made.now.cookies() == now.cookies()
        });
        let old_evictions = self
            .made_from
            .as_ref()
            .and_then(|made| made.published.as_ref())
            .map_or(0, State::evictions);
        if published.map_or(0, State::evictions) != old_evictions {
            // An eviction raises every serial.
            touched.extend(new_published.keys().cloned());
        }
        let is_same_stand = self
            .made_from
            .as_ref()
            .is_some_and(|made| (made.begun, made.shown) == (self.begun, self.shown));
        if touched.is_empty() && is_same_policy && is_same_stand {
            return None;
        }
        let is_start = self.made_from.is_none();
        for origin in &touched {
            let state = state_of(origin, now, published);
            let had = self.table.get(origin).is_some();
            if !is_start {
                self.news.extend(news_of(origin, had, state.as_ref()));
            }
            self.table = match state {
                Some(state) => self.table.with(state),
                None => self.table.without(origin),
            };
        }
        self.made_from = Some(MadeFrom {
            now: now.clone(),
            published: self.published.clone(),
            begun: self.begun,
            shown: self.shown,
        });
        Some(Served {
            zones: self.table.clone(),
            policy: (**now.policy()).clone(),
            cookies: now.cookies().map(|cookies| cookies.secrets),
            remembered: now.remembered(),
            begun: self.begun,
            shown: self.shown,
        })
    }
}

fn news_of(origin: &Name, had: bool, state: Option<&ZoneState>) -> Option<ZoneNews> {
    match (had, state) {
        (false, Some(state)) => {
            let shown = state.shown.as_ref()?;
            Some(ZoneNews::Served {
                origin: state.origin.clone(),
                serial: shown.serial,
                records: shown.version.counts().records,
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
    Some(ZoneState {
        origin: version.origin().clone(),
        now: if is_signed { shown.clone() } else { version },
        shown: Some(Shown {
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
