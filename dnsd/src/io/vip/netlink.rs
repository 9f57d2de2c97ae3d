//! The driver of this machine's own interfaces: its loop, what it knows, and what it reports of
//! links and addresses.
//!
//! ```text
//!  absent    nothing
//!  ready     on lo: packets to it are taken, nobody is answered for it (arp_ignore=1)
//!  announced on the link: the segment is told, and who asks is answered
//! ```
//!
//! Whatever the kernel tells of a link or an address, all of them are read anew: news may be lost
//! and come late, what is read holds.

use super::asks::Ask;
use super::guarded::Guarded;
use super::hearing::Hearing;
use super::record::{Record, can_hush};
use super::rights;
use super::segment::{Announcing, Directed, FRAMES_MAX, Probe, Segment};
use super::tables::{News, Tables};
use super::told::Say;
use super::{Cleaned, Guard, Orders, ReportTo, Settings};
use crate::io::clock;
use crate::vip::address::{VipAddress, VipId};
use crate::vip::frames::Seen;
use crate::vip::ground::{By, Ground, Ours, Place};
use crate::vip::kernel::{Kernel, Mac, Order, Report, Unfit};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tracing::{info, warn};

/// News in a storm of them are gathered for so long; the first is acted on at once.
const REFRESH_PERIOD: Duration = Duration::from_millis(2);
/// After a table could not be read.
const RETRY: Duration = Duration::from_secs(1);
/// With nothing to wait for.
const IDLE: Duration = Duration::from_secs(3600);

/// The driver.
pub(super) struct Netlink {
    pub(super) settings: Settings,
    pub(super) guard: Guarded,
    pub(super) report: ReportTo,
    pub(super) tables: Tables,
    pub(super) ground: Ground,
    pub(super) record: Record,
    pub(super) vips: BTreeMap<VipId, BTreeSet<VipAddress>>,
    /// What the kernel does for VIPs; those that are absent are not in it.
    pub(super) held: BTreeMap<VipId, Held>,
    /// By the index of the link.
    pub(super) segments: BTreeMap<u32, io::Result<Segment>>,
    pub(super) probe: Probe,
    pub(super) announcing: BTreeMap<VipId, Announcing>,
    pub(super) directed: Directed,
    pub(super) asks: Vec<Ask>,
    pub(super) hearing: BTreeMap<u32, Hearing>,
    pub(super) foreign: BTreeMap<VipId, Instant>,
    /// When a station that asked for a VIP was told of.
    pub(super) probed: BTreeMap<(VipId, Mac), Instant>,
    /// What this process lacks for all of it.
    lacking: Option<String>,
    has_cleaned: bool,
    can: Option<BTreeMap<VipId, Result<(), Unfit>>>,
    /// Those of the segments.
    macs: BTreeSet<Mac>,
    /// Those of all links.
    pub(super) own_macs: BTreeSet<Mac>,
    /// When the tables are to be read.
    refresh_at: Option<Instant>,
    refreshed: Option<Instant>,
    frames: mpsc::Sender<(u32, Seen)>,
}

/// What the kernel does for a VIP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Held {
    pub(super) state: Kernel,
    pub(super) places: BTreeSet<Place>,
}

/// What comes to the driver beside orders.
struct Inputs {
    news: News,
    frames: mpsc::Receiver<(u32, Seen)>,
    says: UnboundedReceiver<Option<Say>>,
}

/// Runs until no more orders can come.
pub(super) async fn run(
    settings: Settings,
    guard: Option<Guard>,
    report: ReportTo,
    mut orders: Orders,
    cleaned: Cleaned,
) {
    let (mut driver, mut inputs) = match Netlink::open(settings, guard, report).await {
        Ok(opened) => opened,
        Err(error) => {
            // Nobody waits if the daemon stops at once; so below.
            drop(cleaned.send(Err(error)));
            return;
        }
    };
    drop(cleaned.send(Ok(())));
    loop {
        let next = driver.next_timer();
        tokio::select! {
            biased;
            order = orders.recv() => match order {
                Some((given, order)) => driver.handle_order(given, order).await,
                None => break,
            },
            Some(say) = inputs.says.recv() => driver.handle_guard(say.as_ref()).await,
            () = inputs.news.wait() => driver.refresh_soon(),
            Some((index, seen)) = inputs.frames.recv() => driver.handle_frame(index, seen),
            () = tokio::time::sleep_until(next.into()) => {}
        }
        driver.turn().await;
    }
    driver.stop().await;
}

impl Netlink {
    async fn open(
        settings: Settings,
        guard: Option<Guard>,
        report: ReportTo,
    ) -> io::Result<(Self, Inputs)> {
        let (tables, news) = Tables::open()?;
        let ground = tables.ground().await?;
        let record = Record::read(&settings.record)?;
        let (frames_in, frames) = mpsc::channel(FRAMES_MAX);
        let (guard, says) = Guarded::new(guard);
        let mut driver = Self {
            settings,
            guard,
            report,
            tables,
            ground,
            record,
            vips: BTreeMap::new(),
            held: BTreeMap::new(),
            segments: BTreeMap::new(),
            probe: Probe::open()?,
            announcing: BTreeMap::new(),
            directed: Directed::default(),
            asks: Vec::new(),
            hearing: BTreeMap::new(),
            foreign: BTreeMap::new(),
            probed: BTreeMap::new(),
            lacking: rights::lacking(),
            has_cleaned: false,
            can: None,
            macs: BTreeSet::new(),
            own_macs: BTreeSet::new(),
            refresh_at: None,
            refreshed: None,
            frames: frames_in,
        };
        driver.clean().await;
        Ok((driver, Inputs { news, frames, says }))
    }

    async fn handle_order(&mut self, given: Instant, order: Order) {
        match order {
            Order::Vips(vips) => {
                self.vips = vips;
                self.can = None;
                self.look_around();
            }
            Order::Change(vip, state) => self.change(vip, state, given).await,
            Order::Announce(vip) => {
                if self.held.get(&vip).is_some_and(Held::is_announced) {
                    self.announcing.insert(vip, Announcing::new(clock::now()));
                }
            }
            Order::Ask(vip) => self.ask(vip),
        }
    }

    async fn handle_guard(&mut self, said: Option<&Say>) {
        self.guard.hear(said);
        self.clean().await;
        self.tell_can();
    }

    /// When what is held has been unguarded for as long as a machine may hang.
    fn unguarded_until(&self) -> Option<Instant> {
        let since = self.guard.unguarded()?;
        (!self.held.is_empty()).then(|| since + self.settings.lease)
    }

    /// The machine lets go of its own when it hears that there is no guard; now it may hang too.
    async fn let_go_of_all(&mut self) {
        warn!("no guard of virtual addresses stands: the VIPs are removed");
        for (vip, held) in std::mem::take(&mut self.held) {
            self.lose(vip, &held).await;
        }
    }

    /// Removes what an earlier run left, once a guard stands: until then it may be what another
    /// daemon holds.
    async fn clean(&mut self) {
        if self.has_cleaned || self.guard.stands().is_err() || self.lacking.is_some() {
            return;
        }
        self.has_cleaned = true;
        for standing in &self.ground.addresses {
            let bits = if standing.place.address.is_ipv4() {
                32
            } else {
                128
            };
            let is_listed = self.record.places.contains(&standing.place);
            let is_left = standing.by == By::Us || (is_listed && standing.prefix_len == bits);
            if is_left {
                let address = standing.place.address;
                let interface = self.ground.name(standing.place.index);
                info!(%address, interface, "removing what an earlier run left");
                if let Err(error) = self.tables.remove(&standing.place).await {
                    warn!(%address, %error, "cannot remove it");
                }
            }
        }
        self.restore_settings();
        self.record.places.clear();
        self.forget_record();
        self.refresh().await;
    }

    /// What an interface's news change is worked out soon, once for all of them.
    fn refresh_soon(&mut self) {
        let now = clock::now();
        let at = self
            .refreshed
            .map_or(now, |last| now.max(last + REFRESH_PERIOD));
        self.refresh_at.get_or_insert(at);
    }

    /// Reads the tables and tells what has changed.
    pub(super) async fn refresh(&mut self) {
        self.refresh_at = None;
        match self.tables.ground().await {
            Ok(ground) => {
                let before = std::mem::replace(&mut self.ground, ground);
                self.announce_new_macs(&before);
                self.find_lost().await;
                self.look_around();
            }
            Err(error) => {
                warn!(%error, "cannot read the addresses of this machine");
                self.refresh_at = Some(clock::now() + RETRY);
            }
        }
        self.refreshed = Some(clock::now());
    }

    fn announce_new_macs(&mut self, before: &Ground) {
        for (vip, held) in &self.held {
            let is_new = |place: &Place| before.mac(place.index) != self.ground.mac(place.index);
            if held.is_announced() && held.places.iter().any(is_new) {
                self.announcing.insert(*vip, Announcing::new(clock::now()));
            }
        }
    }

    /// Opens the segments where VIPs may stand, closes the others, and tells what follows.
    fn look_around(&mut self) {
        let (addresses, placed) = self.ours();
        let ours = Ours {
            addresses: &addresses,
            placed: &placed,
        };
        let mut near = BTreeSet::new();
        for vip in self.vips.values().flatten() {
            near.extend(self.ground.near(vip, ours).into_iter().map(|(at, _)| at));
        }
        near.extend(placed.iter().map(|place| place.index));
        near.retain(|index| self.ground.mac(*index).is_some());
        self.segments
            .retain(|index, segment| near.contains(index) && segment.is_ok());
        self.hearing.retain(|index, _| near.contains(index));
        for index in near {
            self.segments
                .entry(index)
                .or_insert_with(|| Segment::open(index, self.probe.port(), &self.frames));
            self.hearing
                .entry(index)
                .or_insert_with(|| Hearing::new(clock::now()));
        }
        let links = self.ground.links.keys();
        self.own_macs = links.filter_map(|index| self.ground.mac(*index)).collect();
        let macs: BTreeSet<Mac> = self
            .segments
            .keys()
            .filter_map(|index| self.ground.mac(*index))
            .collect();
        if macs != self.macs {
            self.macs.clone_from(&macs);
            (self.report)(Report::Macs(macs));
        }
        self.tell_can();
    }

    /// Tells which VIPs can be held, if that has changed.
    pub(super) fn tell_can(&mut self) {
        let (addresses, placed) = self.ours();
        let ours = Ours {
            addresses: &addresses,
            placed: &placed,
        };
        let mut hushed = BTreeMap::new();
        let can = self
            .vips
            .iter()
            .map(|(vip, group)| (*vip, self.fit(group, ours, &mut hushed)))
            .collect();
        // Before any are known there is nothing to say.
        let is_early = self.vips.is_empty() && self.can.is_none();
        if self.can.as_ref() != Some(&can) && !is_early {
            self.can = Some(can.clone());
            (self.report)(Report::Can(can));
        }
    }

    fn fit(
        &self,
        group: &BTreeSet<VipAddress>,
        ours: Ours<'_>,
        hushed: &mut BTreeMap<u32, Result<(), String>>,
    ) -> Result<(), Unfit> {
        if let Some(lacking) = &self.lacking {
            return Err(Unfit::Driver(lacking.clone()));
        }
        let stands = self.guard.stands();
        stands.map_err(|why| Unfit::Driver(why.to_owned()))?;
        for vip in group {
            let index = self.ground.fit(vip, ours)?;
            let name = self.ground.name(index);
            if self.hearing.get(&index).is_some_and(Hearing::is_deaf) {
                return Err(Unfit::Deaf(name.to_owned()));
            }
            if let Some(Err(error)) = self.segments.get(&index) {
                return Err(Unfit::Driver(format!("cannot listen on {name}: {error}")));
            }
            if vip.address.is_ipv4() {
                let can = hushed.entry(index).or_insert_with(|| can_hush(name));
                can.clone().map_err(Unfit::Driver)?;
            }
        }
        Ok(())
    }

    /// The addresses of all VIPs, and what this process has put into the kernel.
    pub(super) fn ours(&self) -> (BTreeSet<IpAddr>, BTreeSet<Place>) {
        let configured = self.vips.values().flatten().map(|vip| vip.address);
        let held = self.held.values().flat_map(|held| &held.places);
        let placed: BTreeSet<Place> = held.cloned().collect();
        let addresses = configured
            .chain(placed.iter().map(|place| place.address))
            .collect();
        (addresses, placed)
    }

    fn next_timer(&self) -> Instant {
        let announcing = self.announcing.values().map(Announcing::next);
        let asks = self.asks.iter().map(Ask::next);
        let hearing = self.hearing.values().map(Hearing::next);
        let others = self.refresh_at.into_iter().chain(self.guard.next());
        let others = others.chain(self.unguarded_until());
        let directed = (!self.directed.is_empty()).then(clock::now);
        let others = others.chain(directed);
        let all = announcing.chain(asks).chain(hearing).chain(others);
        all.min().unwrap_or_else(|| clock::now() + IDLE)
    }

    /// Does what has come due.
    async fn turn(&mut self) {
        let now = clock::now();
        if self.refresh_at.is_some_and(|at| at <= now) {
            self.refresh().await;
        }
        if self.guard.next().is_some_and(|at| at <= now) {
            self.guard.turn(now);
            self.tell_can();
        }
        if self.unguarded_until().is_some_and(|until| until <= now) {
            self.let_go_of_all().await;
        }
        self.announce_due(now);
        self.announce_directed(now).await;
        self.turn_asks(now);
        self.hear_due(now).await;
    }

    /// Takes all away.
    async fn stop(&mut self) {
        let held: Vec<VipId> = self.held.keys().copied().collect();
        for vip in held {
            self.change(vip, Kernel::Absent, clock::now()).await;
        }
        // What an earlier run left and this one did not remove is still listed.
        if self.has_cleaned {
            self.restore_settings();
            self.forget_record();
        }
    }
}

impl Held {
    pub(super) fn is_announced(&self) -> bool {
        self.state == Kernel::Announced
    }
}
