//! Which links this peer has: it dials those that the topology asks for, and closes those that
//! nobody needs any more.

use super::Router;
use crate::event::Why;
use crate::link::Link;
use crate::link_event::CloseCode;
use crate::peer_id::PeerId;
use crate::status::LinkStage;
use crate::topology::neighbors;
use std::collections::BTreeSet;
use std::time::Instant;

/// A link is surplus only when it and the view have stood for so many times that in which link
/// states are said again: good news waits.
const SURPLUS_AFTER: u32 = 3;

impl Router {
    /// Dials the links that are wanted as things stand, and no others.
    pub(super) fn want_links(&mut self, now: Instant) {
        self.dialing.want(&self.wanted(), now);
    }

    /// The neighbors that this peer links to: those of the topology, or of its configuration.
    fn wanted(&self) -> BTreeSet<PeerId> {
        if self.config.links.is_some() {
            let peers = self.members.peers();
            return peers.filter(|peer| self.may_link(*peer)).collect();
        }
        neighbors(self.signer.me(), &self.all_members(), |peer| {
            self.dialing.is_in_vain(peer) && !self.is_up(peer)
        })
    }

    fn all_members(&self) -> BTreeSet<PeerId> {
        let me = self.signer.me();
        self.members.peers().chain([me]).collect()
    }

    fn is_up(&self, peer: PeerId) -> bool {
        let link = self.links.get(&peer);
        link.is_some_and(|link| link.neighbor.stage() == LinkStage::Up)
    }

    /// Closes one link that neither end has in its topology: links of a mesh are left over when a
    /// cluster grows beyond one, and those around a peer that was away. Members of one view see
    /// the same one, and the lower id of a pair acts. One in a turn: others see each fall.
    pub(super) fn close_surplus(&mut self, now: Instant) {
        let stands_since =
            |since| now.saturating_duration_since(since) >= self.timing.refresh * SURPLUS_AFTER;
        if self.config.links.is_some() || !stands_since(self.agreement.set_since()) {
            return;
        }
        let (me, members) = (self.signer.me(), self.all_members());
        let view: BTreeSet<PeerId> = self.view().members.iter().map(|(peer, _)| *peer).collect();
        let is_away = |peer: PeerId| !view.contains(&peer);
        let mut wanted = self.wanted();
        wanted.extend(neighbors(me, &members, is_away));
        let surplus = self.links.iter().find(|(peer, link)| {
            me < **peer
                && link.neighbor.stage() == LinkStage::Up
                && stands_since(link.neighbor.since())
                && !wanted.contains(peer)
                && !self.pruned.contains(peer)
                && !neighbors(**peer, &members, is_away).contains(&me)
        });
        let Some((peer, _)) = surplus else {
            return;
        };
        let peer = *peer;
        self.pruned.insert(peer);
        let triple = self.links.get_mut(&peer).and_then(Link::disconnect);
        if let Some(triple) = triple {
            self.close_triple(&triple, CloseCode::NotWanted);
        }
        self.take_down(peer, Why::NotWanted, now);
    }
}
