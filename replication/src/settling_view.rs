//! Agreeing on who settles together (replication protocol sections 4, 5).
//!
//! ```text
//!               all propose one set            all States here, base held
//!  Proposing ───────────────────────→ Formed ─────────────────────────────→ Installed
//!   ↑  ↑          a newer Propose of a member        │ │
//!   │  └─────────────────────────────────────────────┘ │ a flush takes too long
//!   └─── the flush has ended, hold-off over ─ Withdrawn ←┘ (from any phase)
//! ```
//!
//! This file decides; what follows for log, clock and disk is in `replica/agree.rs`.

use crate::entry::Stamp;
use crate::frontier::Frontier;
use crate::message::{Propose, State};
use crate::near::Set;
use overlay::{Incarnation, PeerId};
use std::collections::BTreeMap;
use std::time::Instant;

/// Names one installation of a settling view; no other installation ever has it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct SettlingViewId(pub [u8; 16]);

/// One peer's part in the agreement.
#[derive(Debug)]
pub(crate) struct SettlingView {
    pub(crate) stage: Stage,
    /// Rises whenever an installed view is left or the candidate changes.
    pub(crate) attempt: u64,
    pub(crate) candidate: Set,
    /// This peer's own, made once per attempt and repeated as it is.
    pub(crate) own: Option<Propose>,
    /// The latest of each other peer.
    pub(crate) proposals: BTreeMap<PeerId, (Incarnation, Propose)>,
    states: BTreeMap<PeerId, (Incarnation, State)>,
    /// The members of the view last formed.
    pub(crate) side: Set,
}

/// How far the agreement is.
#[derive(Debug)]
pub(crate) enum Stage {
    Proposing,
    Formed(Formed),
    Installed(InUse),
    Withdrawn,
}

/// All members have proposed the same set.
#[derive(Debug)]
pub(crate) struct Formed {
    pub(crate) id: SettlingViewId,
    pub(crate) members: Set,
    /// What this peer brings, repeated as it is, also after the install.
    pub(crate) state: State,
    pub(crate) since: Instant,
}

/// All members have brought what they had.
#[derive(Debug)]
pub(crate) struct InUse {
    pub(crate) id: SettlingViewId,
    pub(crate) members: Set,
    pub(crate) state: State,
    pub(crate) base: Frontier,
    pub(crate) since: Instant,
}

impl SettlingView {
    pub(crate) fn new() -> Self {
        Self {
            stage: Stage::Proposing,
            attempt: 0,
            candidate: Set::new(),
            own: None,
            proposals: BTreeMap::new(),
            states: BTreeMap::new(),
            side: Set::new(),
        }
    }

    /// Keeps the newest Propose of a peer; whether this one is it.
    pub(crate) fn hear_propose(
        &mut self,
        from: PeerId,
        incarnation: Incarnation,
        propose: Propose,
    ) -> Newer {
        let last = self.proposals.get(&from);
        let last = last.map(|(incarnation, propose)| (*incarnation, propose.attempt));
        if last >= Some((incarnation, propose.attempt)) {
            return Newer::No;
        }
        self.proposals.insert(from, (incarnation, propose));
        Newer::Yes
    }

    /// Keeps a State, which may arrive before this peer has formed its view.
    pub(crate) fn hear_state(&mut self, from: PeerId, incarnation: Incarnation, state: State) {
        self.states.insert(from, (incarnation, state));
    }

    /// The view that all of the candidate have proposed, with the greatest stable stamp among
    /// the proposals.
    pub(crate) fn agreed(&self, me: PeerId, id: IdRule) -> Option<(SettlingViewId, Stamp)> {
        let own = self.own.as_ref().filter(|own| own.set == self.candidate)?;
        let mut stable = own.stable.stamp;
        let mut attempts = Vec::new();
        for (peer, incarnation) in &self.candidate {
            if *peer == me {
                attempts.push((*peer, *incarnation, own.attempt));
                continue;
            }
            let (life, propose) = self.proposals.get(peer)?;
            if life != incarnation || propose.set != self.candidate {
                return None;
            }
            stable = stable.max(propose.stable.stamp);
            attempts.push((*peer, *incarnation, propose.attempt));
        }
        Some((view_id(&attempts, id), stable))
    }

    /// The closed base and the gate, when every member's State is known.
    pub(crate) fn base(&self, me: PeerId, formed: &Formed) -> Option<(Frontier, Stamp)> {
        let mut base = Frontier::default();
        let mut gate = Stamp::ZERO;
        for (peer, incarnation) in &formed.members {
            let state = if *peer == me {
                &formed.state
            } else {
                let (life, state) = self.states.get(peer)?;
                if life != incarnation || state.view != formed.id {
                    return None;
                }
                state
            };
            base.merge(&state.stated);
            gate = gate.max(state.greatest).max(Stamp::last_of(state.promised));
        }
        Some((base, gate))
    }

    /// Members of the formed view whose State is missing.
    pub(crate) fn missing_states(&self, me: PeerId, formed: &Formed) -> Vec<PeerId> {
        let known = |peer: &PeerId| {
            let state = self.states.get(peer);
            *peer == me || state.is_some_and(|(_, state)| state.view == formed.id)
        };
        formed
            .members
            .keys()
            .copied()
            .filter(|peer| !known(peer))
            .collect()
    }

    /// The members of the view that is formed or in use.
    pub(crate) fn members(&self) -> Option<&Set> {
        match &self.stage {
            Stage::Formed(formed) => Some(&formed.members),
            Stage::Installed(in_use) => Some(&in_use.members),
            Stage::Proposing | Stage::Withdrawn => None,
        }
    }

    pub(crate) fn in_use(&self) -> Option<&InUse> {
        match &self.stage {
            Stage::Installed(in_use) => Some(in_use),
            Stage::Proposing | Stage::Formed(_) | Stage::Withdrawn => None,
        }
    }
}

/// Whether a Propose is newer than the last of its sender.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Newer {
    Yes,
    No,
}

/// What goes into the id of a view.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum IdRule {
    /// Peers, lives and attempts: coming back to the same set gives another id.
    WithAttempts,
    /// A planted fault.
    WithoutAttempts,
}

fn view_id(attempts: &[(PeerId, Incarnation, u64)], rule: IdRule) -> SettlingViewId {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for (peer, incarnation, attempt) in attempts {
        context.update(&peer.0);
        context.update(&incarnation.0.to_be_bytes());
        if rule == IdRule::WithAttempts {
            context.update(&attempt.to_be_bytes());
        }
    }
    let mut id = [0; 16];
    id.copy_from_slice(&context.finish().as_ref()[..16]);
    SettlingViewId(id)
}
