//! Beat and canary beside a link: dialed by its dialer, known by its nonces, gone with it
//! (overlay protocol section 1).

use super::Router;
use super::connect::ConnectionStage;
use crate::dialing::Target;
use crate::link::{Companion, Side};
use crate::link_event::{CloseCode, LinkId, LinkOutput, Protocol};
use crate::peer_id::PeerId;
use std::time::Instant;

impl Router {
    /// Dials the beats and canaries that are absent.
    pub(super) fn dial_companions(&mut self, now: Instant) {
        let mut companions = Vec::new();
        for (peer, link) in &mut self.links {
            let Some(triple) = &mut link.connection else {
                continue;
            };
            if triple.side == Side::Acceptor {
                continue;
            }
            let (link, remote) = (triple.link, triple.remote);
            for (protocol, companion) in [
                (Protocol::Beat, &mut triple.beat),
                (Protocol::Canary, &mut triple.canary),
            ] {
                if let Companion::Absent { dial_at } = *companion
                    && dial_at <= now
                {
                    *companion = Companion::Dialing;
                    companions.push((Target::Companion(*peer, link, protocol), protocol, remote));
                }
            }
        }
        for (target, protocol, address) in companions {
            if self.dial(target, protocol, address).is_none()
                && let Target::Companion(peer, link, protocol) = target
            {
                self.set_companion(peer, link, protocol, None, now);
            }
        }
    }

    /// A beat or canary of a link has opened, or come to nothing.
    pub(super) fn set_companion(
        &mut self,
        peer: PeerId,
        of: LinkId,
        protocol: Protocol,
        opened: Option<LinkId>,
        now: Instant,
    ) {
        let link = self.links.get_mut(&peer);
        let Some(triple) = link.and_then(|link| link.connection.as_mut()) else {
            return;
        };
        if triple.link != of {
            return;
        }
        let their_nonce = triple.their_nonce;
        match protocol {
            Protocol::Beat => {
                triple.beat = opened.map_or_else(|| Companion::beat_again(now), Companion::Open);
            }
            _ => {
                triple.canary =
                    opened.map_or_else(|| Companion::canary_again(now), Companion::Open);
                if let Some(link) = opened {
                    let nonce = their_nonce;
                    self.link_output(LinkOutput::CanaryNonce { link, nonce });
                }
            }
        }
        if let Some(connection) = opened.and_then(|id| self.connections.get_mut(&id)) {
            connection.stage = ConnectionStage::Known;
        }
    }

    /// The acceptor finds the link by the nonce that it gave in its LINK_HELLO, and answers with
    /// the one it got; the dialer checks that.
    pub(super) fn name_canary(&mut self, id: LinkId, nonce: [u8; 16]) {
        let links = self.links.values_mut();
        let mut triples = links.filter_map(|link| link.connection.as_mut());
        let Some(triple) = triples.find(|triple| triple.my_nonce == nonce) else {
            return self.claim_link(id, nonce);
        };
        match triple.side {
            Side::Dialer if triple.canary.id() == Some(id) => {}
            Side::Dialer => self.close(id, CloseCode::Protocol),
            Side::Acceptor => {
                let old = std::mem::replace(&mut triple.canary, Companion::Open(id)).id();
                let nonce = triple.their_nonce;
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.stage = ConnectionStage::Known;
                }
                self.link_output(LinkOutput::Accept(id));
                self.link_output(LinkOutput::CanaryNonce { link: id, nonce });
                if let Some(old) = old.filter(|old| *old != id) {
                    self.close(old, CloseCode::Superseded);
                }
            }
        }
    }

    /// The dialer opens its canary as soon as it has this end's LINK_HELLO: its own may come later
    /// than the canary, which is another connection. Until then the canary is as mute as the link.
    fn claim_link(&mut self, id: LinkId, nonce: [u8; 16]) {
        let mut connections = self.connections.values();
        let is_awaited = connections.any(|link| {
            let is_mute = link.stage != ConnectionStage::Known;
            link.protocol == Protocol::Link && is_mute && link.nonce == nonce
        });
        match self.connections.get_mut(&id) {
            Some(canary) if is_awaited => canary.claim = Some(nonce),
            _ => self.close(id, CloseCode::Protocol),
        }
    }
}
