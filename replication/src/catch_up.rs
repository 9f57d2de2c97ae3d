//! Fetching what others state to have (replication protocol section 3: Fetch, Offer).
//!
//! A small gap is fetched chain by chain; who lacks much pulls it in runs by Offer, outside any
//! view, while the others go on settling.

use crate::entry::{Chain, Entry};
use crate::frontier::Frontier;
use crate::log::Log;
use crate::message::{Known, Message, RUN_MESSAGE_SIZE, RunEnd};
use overlay::{Incarnation, PeerId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What others have, and what is being fetched.
#[derive(Debug, Default)]
pub(crate) struct CatchUp {
    /// The three frontiers that each peer sent last.
    known: BTreeMap<PeerId, (Incarnation, Known)>,
    /// What each peer has said to hold, in whatever message.
    has: BTreeMap<PeerId, Frontier>,
    /// Chains of which somebody has more than this peer.
    behind: BTreeMap<Chain, Fetching>,
    offered: BTreeMap<PeerId, Instant>,
    /// The last peer that was offered something out of turn.
    turn: Option<PeerId>,
}

#[derive(Clone, Copy, Debug)]
struct Fetching {
    due: Instant,
    tries: usize,
}

impl CatchUp {
    /// A peer sent its frontiers.
    pub(crate) fn hear_known(&mut self, of: PeerId, incarnation: Incarnation, known: Known) {
        self.known.insert(of, (incarnation, known));
    }

    /// A peer said that it holds this.
    pub(crate) fn hear(&mut self, of: PeerId, frontier: &Frontier, log: &Log, now: Instant) {
        let has = self.has.entry(of).or_default();
        for (chain, sequence) in frontier.iter() {
            has.raise(chain, sequence);
            if sequence > log.held().get(chain) {
                let fetching = Fetching {
                    due: now + FETCH_GRACE,
                    tries: 0,
                };
                self.behind.entry(chain).or_insert(fetching);
            }
        }
    }

    /// Entries of this chain have arrived: what is left may be on its way.
    pub(crate) fn progress(&mut self, chain: Chain, now: Instant) {
        if let Some(fetching) = self.behind.get_mut(&chain) {
            fetching.due = now + FETCH_REPEAT;
        }
    }

    /// The base of a view is waited for: no grace.
    pub(crate) fn hurry(&mut self, now: Instant) {
        for fetching in self.behind.values_mut() {
            if fetching.tries == 0 {
                fetching.due = now;
            }
        }
    }

    /// A run was cut: the next is asked for at once.
    pub(crate) fn hurry_after_cut(&mut self, now: Instant) {
        for fetching in self.behind.values_mut() {
            fetching.due = now;
        }
    }

    /// What to ask for, and whom.
    pub(crate) fn fetches(
        &mut self,
        log: &Log,
        is_reachable: impl Fn(PeerId) -> bool,
        now: Instant,
    ) -> Vec<(PeerId, Message)> {
        let mut fetches = Vec::new();
        let has = &self.has;
        self.behind.retain(|chain, fetching| {
            let from = log.held().get(*chain) + 1;
            let holds = |peer: &PeerId| has[peer].get(*chain) >= from;
            let holders: Vec<PeerId> = has.keys().copied().filter(holds).collect();
            // What was refused once, being stable without it, would be refused again.
            if holders.is_empty() || from >= log.refused_from(*chain) {
                return false;
            }
            if fetching.due > now {
                return true;
            }
            fetching.due = now + FETCH_REPEAT;
            let reachable: Vec<PeerId> = holders
                .into_iter()
                .filter(|peer| is_reachable(*peer))
                .collect();
            if !reachable.is_empty() && fetches.len() < FETCHES_AT_ONCE_MAX {
                let holder = reachable[fetching.tries % reachable.len()];
                fetching.tries += 1;
                let to = has[&holder].get(*chain);
                let message = Message::Fetch {
                    chain: *chain,
                    from,
                    to,
                };
                fetches.push((holder, message));
            }
            true
        });
        fetches
    }

    /// Whether an Offer to this peer is due, at most one in `every`; if so it counts as sent.
    pub(crate) fn offer_is_due(&mut self, to: PeerId, every: Duration, now: Instant) -> bool {
        let due = self
            .offered
            .get(&to)
            .is_none_or(|last| now >= *last + every);
        if due {
            self.offered.insert(to, now);
        }
        due
    }

    /// The next of these peers in turn.
    pub(crate) fn next_in_turn(&mut self, peers: &BTreeSet<PeerId>) -> Option<PeerId> {
        let after = |last: PeerId| peers.iter().copied().find(|peer| *peer > last);
        self.turn = self.turn.and_then(after).or_else(|| peers.first().copied());
        self.turn
    }

    /// The frontiers of a peer in this life, if it has sent them.
    pub(crate) fn known_of(&self, peer: PeerId, incarnation: Incarnation) -> Option<&Known> {
        let (life, known) = self.known.get(&peer)?;
        (*life == incarnation).then_some(known)
    }

    /// How many entries somebody has that this peer lacks.
    pub(crate) fn lag(&self, log: &Log) -> u64 {
        let mut all = Frontier::default();
        for chain in self.behind.keys() {
            let most = self.has.values().map(|has| has.get(*chain)).max();
            all.raise(*chain, most.unwrap_or(0).min(log.refused_from(*chain) - 1));
        }
        log.held().lacks(&all)
    }

    /// When the next fetch is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.behind.values().map(|fetching| fetching.due).min()
    }
}

/// Packs entries into messages, up to a budget.
pub(crate) fn runs<'a>(
    entries: impl Iterator<Item = &'a Arc<Entry>>,
    budget: usize,
) -> Vec<Message> {
    let mut messages = Vec::new();
    let (mut run, mut run_size, mut size) = (Vec::new(), 0, 0);
    let mut last_end = RunEnd::Complete;
    for entry in entries {
        let entry_size = entry.encoded_size();
        if size + entry_size > budget && size > 0 {
            last_end = RunEnd::Cut;
            break;
        }
        if run_size + entry_size > RUN_MESSAGE_SIZE && !run.is_empty() {
            messages.push(Message::Entries {
                entries: std::mem::take(&mut run),
                end: RunEnd::Complete,
            });
            run_size = 0;
        }
        size += entry_size;
        run_size += entry_size;
        run.push(entry.clone());
    }
    if !run.is_empty() {
        messages.push(Message::Entries {
            entries: run,
            end: last_end,
        });
    }
    messages
}

/// An entry that is missing may be on its way behind the announcement that named it.
const FETCH_GRACE: Duration = Duration::from_millis(20);
/// A fetch is repeated, to another holder, until the gap is filled.
const FETCH_REPEAT: Duration = Duration::from_millis(200);
/// Chains that are fetched by one look: the rest follows with the next.
const FETCHES_AT_ONCE_MAX: usize = 64;
/// Bytes that one Offer or Fetch is answered with before it must be repeated.
pub(crate) const RUN_BUDGET: usize = 512 * 1024;
/// Between two Offers to a peer that is stated near and does not state this one near.
pub(crate) const OFFER_TO_NEAR: Duration = Duration::from_millis(250);
/// Between two Offers to reachable peers that are not in the view.
pub(crate) const OFFER_TO_OTHER: Duration = Duration::from_secs(1);
