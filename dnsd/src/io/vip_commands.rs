//! What operators ask about virtual addresses.

use super::admin::{Answer as CallAnswer, Call};
use super::commands::Waiter;
use super::driver::{Client, Driver};
use crate::admin::{Done, Request, VipTarget};
use crate::setting::PeerRef;
use crate::vip::address::{GROUP_MAX, VipAddress, VipId};
use crate::vip::map::{Drained, MapChange, VipMap, WEIGHT_MAX};
use crate::vip::status::Vips;
use overlay::PeerId;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

impl Driver {
    /// Begins what an operator asks.
    pub(super) fn handle_vip_call(&mut self, call: Call, wall: Duration, now: Instant) {
        let change = match call.request {
            Request::VipList => {
                call.answer.done(Done::Vips(self.vips(now)));
                return;
            }
            Request::VipSimulate { failed } => {
                self.simulate(call.answer, &failed, now);
                return;
            }
            Request::VipAdd {
                addresses,
                prefer,
                weight,
            } => self.checked_add(addresses, prefer, weight),
            Request::VipRemove { address } => Ok(MapChange::Remove(VipId(address))),
            Request::VipDrain { what } => self.drain_of(&what),
            Request::VipResume { what } => self.resume_of(&what),
            _ => unreachable!("the caller looked"),
        };
        match change {
            Ok(change) => self.change_vips(call.answer, change, wall, now),
            Err(reason) => call.answer.refuse(reason),
        }
    }

    /// The VIPs and who holds them.
    pub(super) fn vips(&self, now: Instant) -> Vips {
        let peer = &self.wiring.peer;
        let mut vips = peer.failover().report(&|id| self.name_of(id), now);
        vips.peers.sort_by(|a, b| a.name.cmp(&b.name));
        vips
    }

    fn change_vips(&mut self, answer: CallAnswer, change: MapChange, wall: Duration, now: Instant) {
        let client = self.add_client(Client::Command(Waiter::Vip(answer)));
        let peer = &mut self.wiring.peer;
        let begun = peer.handle_vip_change(client, change, wall, now);
        self.begun(client, begun);
    }

    fn simulate(&self, answer: CallAnswer, failed: &[PeerRef], now: Instant) {
        let failed: Result<BTreeSet<PeerId>, String> =
            failed.iter().map(|peer| self.member_of(peer)).collect();
        let failed = match failed {
            Ok(failed) => failed,
            Err(reason) => return answer.refuse(reason),
        };
        let failover = self.wiring.peer.failover();
        match failover.simulate(&failed, &|id| self.name_of(id), now) {
            Some(goals) => answer.done(Done::VipsIf(goals)),
            None => answer.refuse("the peers are agreeing on who holds what; try again"),
        }
    }

    fn checked_add(
        &self,
        addresses: Vec<VipAddress>,
        prefer: Option<String>,
        weight: u16,
    ) -> Result<MapChange, String> {
        if addresses.is_empty() || addresses.len() > GROUP_MAX {
            return Err(format!("a VIP has 1 to {GROUP_MAX} addresses"));
        }
        if !(1..=WEIGHT_MAX).contains(&weight) {
            return Err(format!("a weight is a number from 1 to {WEIGHT_MAX}"));
        }
        let distinct: BTreeSet<IpAddr> = addresses.iter().map(|vip| vip.address).collect();
        if distinct.len() != addresses.len() {
            return Err("an address is named twice".to_owned());
        }
        if let Some(name) = &prefer {
            let mut members = self.wiring.peer.replica().members().admits();
            if !members.any(|admit| admit.name == *name) {
                return Err(no_member(name));
            }
        }
        Ok(MapChange::Add {
            addresses: addresses.into_iter().collect(),
            prefer,
            weight,
        })
    }

    fn drain_of(&self, what: &VipTarget) -> Result<MapChange, String> {
        match what {
            VipTarget::Address(address) => {
                let vip = find(self.map(), *address)?;
                let holder = self.wiring.peer.failover().holder(vip);
                let holder =
                    holder.ok_or("no peer holds it now: there is nobody to drain it from")?;
                Ok(MapChange::Away(vip, Some(holder)))
            }
            peer => Ok(MapChange::Drain(self.peer_of(peer)?, Drained::Yes)),
        }
    }

    fn resume_of(&self, what: &VipTarget) -> Result<MapChange, String> {
        match what {
            VipTarget::Address(address) => Ok(MapChange::Away(find(self.map(), *address)?, None)),
            peer => Ok(MapChange::Drain(self.peer_of(peer)?, Drained::No)),
        }
    }

    fn map(&self) -> &VipMap {
        self.wiring.peer.now().vips()
    }

    fn peer_of(&self, what: &VipTarget) -> Result<PeerId, String> {
        match what {
            VipTarget::Peer(peer) => self.member_of(peer),
            VipTarget::ThisPeer | VipTarget::Address(_) => Ok(self.wiring.public_key().peer_id()),
        }
    }

    fn member_of(&self, peer: &PeerRef) -> Result<PeerId, String> {
        let mut members = self.wiring.peer.replica().members().admits();
        let found = members.find(|admit| match peer {
            PeerRef::Id(id) => admit.peer() == *id,
            PeerRef::Name(name) => admit.name == name.as_str(),
        });
        found
            .map(overlay::Admit::peer)
            .ok_or_else(|| no_member(peer))
    }

    /// A member's name; of one that is no member any more, its id.
    fn name_of(&self, peer: PeerId) -> String {
        let mut members = self.wiring.peer.replica().members().admits();
        let found = members.find(|admit| admit.peer() == peer);
        found.map_or_else(|| peer.to_string(), |admit| admit.name.clone())
    }
}

fn find(map: &VipMap, address: IpAddr) -> Result<VipId, String> {
    map.find(VipId(address))
        .map_err(|_| "there is no such VIP; `dnsd vip list` shows all".to_owned())
}

fn no_member(peer: impl std::fmt::Display) -> String {
    format!("no member is called {peer}; `dnsd peers` lists them")
}
