//! One change of a VIP in the kernel: the guard is told, the record written, addresses added
//! before others are removed, and all undone if one of them fails.

use super::netlink::{Held, Netlink};
use super::record::hush;
use super::segment::Announcing;
use super::tables::TableError;
use super::told::{Holding, KernelSetting};
use crate::io::clock;
use crate::vip::address::VipId;
use crate::vip::ground::{By, Ours, Place};
use crate::vip::kernel::{Kernel, Report};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::time::{Duration, Instant};
use tracing::{debug, warn};

/// How often it is looked whether the kernel takes packets to an address that it has.
const TAKES_PERIOD: Duration = Duration::from_millis(1);

/// One step in the kernel, to be undone in turn.
enum Step {
    Added(Place),
    Removed(Place),
}

impl Netlink {
    /// Brings a VIP to a state, as it was ordered then, and reports.
    pub(super) async fn change(&mut self, vip: VipId, state: Kernel, given: Instant) {
        let done = self.bring(vip, state, given).await;
        let is = self
            .held
            .get(&vip)
            .map_or(Kernel::Absent, |held| held.state);
        // The guard and the record knew both; here they learn which of the two it is.
        let told = self.tell_guard(vip, &BTreeSet::new());
        let result = done.and_then(|()| if is == Kernel::Absent { Ok(()) } else { told });
        match result {
            Ok(()) => {
                match state {
                    Kernel::Announced => {
                        self.announcing.insert(vip, Announcing::new(clock::now()));
                        self.announce_due(clock::now());
                    }
                    Kernel::Ready | Kernel::Absent => {
                        self.announcing.remove(&vip);
                    }
                }
                (self.report)(Report::Is(vip, is));
            }
            Err(why) => {
                // The machine says so to the operator; so below.
                debug!(%vip, %state, %is, why, "a VIP could not be changed");
                if is != Kernel::Announced {
                    self.announcing.remove(&vip);
                }
                (self.report)(Report::Failed(vip, is, why));
            }
        }
        self.tell_can();
    }

    async fn bring(&mut self, vip: VipId, state: Kernel, given: Instant) -> Result<(), String> {
        let before = self.held.get(&vip).cloned();
        let has = before.as_ref().map(|held| held.places.clone());
        let has = has.unwrap_or_default();
        let wants = self.places(vip, state)?;
        let comes: Vec<&Place> = wants.difference(&has).collect();
        let goes: Vec<&Place> = has.difference(&wants).collect();
        if !comes.is_empty() {
            self.tell_guard(vip, &wants)?;
        }
        if state == Kernel::Ready {
            self.hush_near(vip)?;
        }
        let mut steps = Vec::new();
        let mut result = Ok(());
        for place in comes {
            result = self.add(place, given).await;
            if result.is_err() {
                break;
            }
            steps.push(Step::Added(place.clone()));
        }
        if result.is_ok() {
            for place in goes {
                match self.tables.remove(place).await {
                    Ok(()) | Err(TableError::Missing) => steps.push(Step::Removed(place.clone())),
                    Err(error) => {
                        result = Err(format!("cannot remove {}: {error}", place.address));
                        break;
                    }
                }
            }
        }
        if result.is_ok() {
            if wants.is_empty() {
                self.held.remove(&vip);
            } else {
                let places = wants;
                self.held.insert(vip, Held { state, places });
            }
        } else if !self.undo(steps).await {
            // Neither what it was nor what it should be: then nothing of it.
            self.remove_places(has.union(&wants)).await;
            self.held.remove(&vip);
        }
        result
    }

    /// Where the addresses of a VIP stand in a state.
    fn places(&self, vip: VipId, state: Kernel) -> Result<BTreeSet<Place>, String> {
        let group = match state {
            Kernel::Absent => return Ok(BTreeSet::new()),
            Kernel::Ready | Kernel::Announced => self.vips.get(&vip),
        };
        let group = group.ok_or("it is not a VIP of this daemon")?;
        let (addresses, placed) = self.ours();
        let ours = Ours {
            addresses: &addresses,
            placed: &placed,
        };
        let place = |address| {
            let index = match state {
                Kernel::Announced => self
                    .ground
                    .fit(address, ours)
                    .map_err(|unfit| unfit.to_string())?,
                Kernel::Ready | Kernel::Absent => self.ground.loopback().ok_or("no lo")?.0,
            };
            let address = address.address;
            Ok(Place { index, address })
        };
        group.iter().map(place).collect()
    }

    async fn add(&mut self, place: &Place, given: Instant) -> Result<(), String> {
        let address = place.address;
        let link = self.ground.links.get(&place.index).cloned();
        let link = link.ok_or_else(|| format!("no interface for {address}"))?;
        // The guard may have removed it all by now, and another peer may hold it.
        self.check_awake(given)?;
        match self.tables.add(place, &link).await {
            Ok(()) => {}
            Err(TableError::Exists) => {
                let ground = self
                    .tables
                    .ground()
                    .await
                    .map_err(|error| error.to_string())?;
                let is_ours = ground
                    .addresses
                    .iter()
                    .any(|standing| standing.place == *place && standing.by == By::Us);
                if !is_ours {
                    return Err(format!("{address} stands on {} already", link.name));
                }
            }
            Err(error) => return Err(format!("cannot add {address} to {}: {error}", link.name)),
        }
        // What stands elsewhere is removed next: no packet may fall between the two.
        while !self.tables.takes(place).await && self.check_awake(given).is_ok() {
            tokio::time::sleep(TAKES_PERIOD).await;
        }
        if let Err(late) = self.check_awake(given) {
            self.remove_places([place]).await;
            return Err(late);
        }
        Ok(())
    }

    fn check_awake(&self, given: Instant) -> Result<(), String> {
        if given.elapsed() > self.settings.lease {
            return Err("this machine was paused, or too slow".to_owned());
        }
        Ok(())
    }

    /// Takes the steps back. True if that worked.
    async fn undo(&mut self, steps: Vec<Step>) -> bool {
        for step in steps.into_iter().rev() {
            let undone = match step {
                Step::Added(place) => self.tables.remove(&place).await,
                Step::Removed(place) => match self.ground.links.get(&place.index) {
                    Some(link) => self.tables.add(&place, link).await,
                    None => return false,
                },
            };
            if !matches!(undone, Ok(()) | Err(TableError::Missing)) {
                return false;
            }
        }
        true
    }

    async fn remove_places<'p>(&self, places: impl IntoIterator<Item = &'p Place>) {
        for place in places {
            match self.tables.remove(place).await {
                Ok(()) | Err(TableError::Missing) => {}
                Err(error) => {
                    let address = place.address;
                    warn!(%address, %error, "a virtual address cannot be removed");
                }
            }
        }
    }

    /// Finds the VIPs of which something is gone that nobody here took. They are one: what is
    /// left of them goes too.
    pub(super) async fn find_lost(&mut self) {
        let is_gone = |place: &Place| !self.ground.has(place);
        let lost: Vec<VipId> = self
            .held
            .iter()
            .filter(|(_, held)| held.places.iter().any(is_gone))
            .map(|(vip, _)| *vip)
            .collect();
        for vip in lost {
            let held = self.held.remove(&vip).expect("it was just found there");
            debug!(%vip, was = %held.state, "a VIP was taken away, not by its machine");
            self.lose(vip, &held).await;
        }
    }

    /// Removes what is left of a VIP that is held no more, and tells of it.
    pub(super) async fn lose(&mut self, vip: VipId, held: &Held) {
        self.remove_places(&held.places).await;
        self.announcing.remove(&vip);
        if let Err(error) = self.tell_guard(vip, &BTreeSet::new()) {
            debug!(%vip, error, "the guard does not know that a VIP is absent");
        }
        (self.report)(Report::Lost(vip, Kernel::Absent));
    }

    /// Tells guard and record that a VIP has what it has, and these.
    fn tell_guard(&mut self, vip: VipId, more: &BTreeSet<Place>) -> Result<(), String> {
        let has = self.held.get(&vip).map(|held| &held.places);
        let places: BTreeSet<Place> = has.into_iter().flatten().chain(more).cloned().collect();
        let holding = Holding {
            places: places.iter().cloned().collect(),
            run: None,
        };
        let told = self.guard.hold(vip, holding);
        let others = self.held.iter().filter(|(other, _)| **other != vip);
        let others = others.flat_map(|(_, held)| &held.places);
        self.record.places = others.cloned().chain(places).collect();
        self.write_record()?;
        told
    }

    fn write_record(&self) -> Result<(), String> {
        let path = &self.settings.record;
        let written = self.record.write(path);
        written.map_err(|error| format!("cannot write {}: {error}", path.display()))
    }

    /// Removes the record: nothing is in the kernel.
    pub(super) fn forget_record(&mut self) {
        match fs::remove_file(&self.settings.record) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let path = self.settings.record.display();
                warn!(%path, %error, "cannot remove the record of virtual addresses");
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// Makes the links where a VIP may stand silent about what stands on lo.
    fn hush_near(&mut self, vip: VipId) -> Result<(), String> {
        let (addresses, placed) = self.ours();
        let ours = Ours {
            addresses: &addresses,
            placed: &placed,
        };
        // Another link in the same network would answer as well, also if the VIP is bound to one.
        let group = self.vips.get(&vip).into_iter().flatten();
        let mut interfaces = BTreeSet::new();
        for address in group.filter(|address| address.address.is_ipv4()) {
            let mut anywhere = address.clone();
            anywhere.interface = None;
            for place in [address, &anywhere] {
                let near = self.ground.near(place, ours).into_iter();
                interfaces.extend(near.map(|(_, link)| link.name.clone()));
            }
        }
        for (path, value) in interfaces.iter().flat_map(|name| hush(name)) {
            let cannot = |error: io::Error| format!("cannot set {}: {error}", path.display());
            let is = fs::read_to_string(&path).map_err(cannot)?;
            if is.trim() == value {
                continue;
            }
            if !self.record.settings.iter().any(|each| each.path == path) {
                let value = is.trim().to_owned();
                let path = path.clone();
                self.record.settings.push(KernelSetting { path, value });
                self.write_record()?;
                let settings = self.record.settings.clone();
                self.guard.restore(settings)?;
            }
            fs::write(&path, value).map_err(cannot)?;
        }
        Ok(())
    }

    /// Writes the settings as they were.
    pub(super) fn restore_settings(&mut self) {
        for setting in std::mem::take(&mut self.record.settings) {
            if !setting.is_ours() {
                warn!(path = %setting.path.display(), "no setting that this daemon changes: left");
                continue;
            }
            match fs::write(&setting.path, &setting.value) {
                // The interface is gone.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    warn!(path = %setting.path.display(), %error, "cannot restore a setting");
                }
                Ok(()) => {}
            }
        }
        if let Err(error) = self.guard.restore(Vec::new()) {
            warn!(error, "settings are left to the guard to restore once more");
        }
    }
}
