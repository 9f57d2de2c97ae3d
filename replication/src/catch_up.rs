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
            let is_news = sequence > has.get(chain);
            has.raise(chain, sequence);
            if sequence > log.held().get(chain) {
                let fetching = Fetching {
                    due: now + FETCH_GRACE,
                    tries: 0,
                };
                let standing = self.behind.entry(chain).or_insert(fetching);
                if is_news && standing.is_in_doubt() {
                    *standing = fetching;
                }
            }
        }
    }

    /// A peer said just now what it holds, and that is all: what it said before may be gone.
    pub(crate) fn hear_all(&mut self, of: PeerId, stated: &Frontier, log: &Log, now: Instant) {
        self.hear(of, stated, log, now);
        self.has.insert(of, stated.clone());
    }

    /// What the peer held in an earlier life counts no more: what was not durable is gone.
    pub(crate) fn forget(&mut self, peer: PeerId) {
        self.has.remove(&peer);
    }

    /// Who cannot be asked has nothing to give; one that comes back says anew what it holds.
    pub(crate) fn retain_peers(&mut self, can_be_asked: impl Fn(PeerId) -> bool) {
        self.has.retain(|peer, _| can_be_asked(*peer));
    }

    /// Entries of this chain have arrived: what is left may be on its way.
    pub(crate) fn progress(&mut self, chain: Chain, now: Instant) {
        if let Some(fetching) = self.behind.get_mut(&chain) {
            fetching.due = now + FETCH_REPEAT;
            fetching.tries = 0;
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
    ) -> Fetches {
        let mut fetches = Fetches::default();
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
            fetching.due = now + fetching.repeat();
            let reachable: Vec<PeerId> = holders
                .into_iter()
                .filter(|peer| is_reachable(*peer))
                .collect();
            if fetches.messages.len() < FETCHES_AT_ONCE_MAX {
                fetching.tries += 1;
                if !reachable.is_empty() {
                    let holder = reachable[fetching.tries % reachable.len()];
                    if fetching.is_in_doubt() {
                        fetches.doubted.insert(holder);
                    }
                    let to = has[&holder].get(*chain);
                    let message = Message::Fetch {
                        chain: *chain,
                        from,
                        to,
                    };
                    fetches.messages.push((holder, message));
                }
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

/// What one look asks for.
#[derive(Debug, Default)]
pub(crate) struct Fetches {
    /// Whom, and for what.
    pub(crate) messages: Vec<(PeerId, Message)>,
    /// Who may not have any more what it stated: it is to be asked what it holds.
    pub(crate) doubted: BTreeSet<PeerId>,
}

impl Fetching {
    /// It has been asked for in vain too often for messages to be lost.
    fn is_in_doubt(&self) -> bool {
        self.tries > TRIES_MAX
    }

    fn repeat(&self) -> Duration {
        let doublings = self.tries.saturating_sub(TRIES_MAX).min(4);
        FETCH_REPEAT * (1 << doublings)
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
/// After so many fetches in vain the holder is asked what it holds, and the fetches become rarer:
/// an author that has lost its last entries with its power stated them before.
const TRIES_MAX: usize = 5;
/// Chains that are fetched by one look: the rest follows with the next.
const FETCHES_AT_ONCE_MAX: usize = 64;
/// Bytes that one Offer or Fetch is answered with before it must be repeated.
pub(crate) const RUN_BUDGET: usize = 512 * 1024;
/// Between two Offers to a peer that is stated near and does not state this one near.
pub(crate) const OFFER_TO_NEAR: Duration = Duration::from_millis(250);
/// Between two Offers to reachable peers that are not in the view.
pub(crate) const OFFER_TO_OTHER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Stamp;
    use crate::log::Bounds;
    use overlay::Incarnation;

    const HOLDER: PeerId = PeerId([2; 8]);

    fn chain(author: u8) -> Chain {
        Chain {
            author: PeerId([author; 8]),
            incarnation: Incarnation(1),
        }
    }

    fn log() -> Log {
        let none = Frontier::default();
        Log::resume(chain(1), Bounds::default(), &none, Stamp::ZERO, vec![])
    }

    /// The milliseconds at which fetches go out within ten seconds, and those at which the holder
    /// is doubted.
    fn run(catch_up: &mut CatchUp, log: &Log) -> (Vec<u64>, Vec<u64>) {
        let start = crate::testing::start();
        let (mut fetched, mut doubted) = (Vec::new(), Vec::new());
        for millis in (0..10_000).step_by(10) {
            let now = start + Duration::from_millis(millis);
            let fetches = catch_up.fetches(log, |_| true, now);
            if !fetches.messages.is_empty() {
                fetched.push(millis);
            }
            if !fetches.doubted.is_empty() {
                doubted.push(millis);
            }
        }
        (fetched, doubted)
    }

    #[test]
    fn what_nobody_gives_is_asked_for_ever_more_rarely_and_its_holder_is_doubted() {
        let (log, mut catch_up) = (log(), CatchUp::default());
        let stated = [(chain(3), 4)].into_iter().collect();
        catch_up.hear(HOLDER, &stated, &log, crate::testing::start());
        let (fetched, doubted) = run(&mut catch_up, &log);
        assert_eq!(
            fetched,
            [
                20, 220, 420, 620, 820, 1_020, 1_220, 1_620, 2_420, 4_020, 7_220
            ]
        );
        assert_eq!(doubted, fetched[5..]);
        assert_eq!(catch_up.lag(&log), 4);
    }

    #[test]
    fn what_its_holder_no_longer_states_is_not_fetched() {
        let (log, mut catch_up) = (log(), CatchUp::default());
        let start = crate::testing::start();
        let stated = [(chain(3), 4)].into_iter().collect();
        catch_up.hear(HOLDER, &stated, &log, start);
        // It says anew what it holds: the chain has been dropped there.
        catch_up.hear_all(HOLDER, &Frontier::default(), &log, start);
        assert_eq!(run(&mut catch_up, &log).0, []);
        assert_eq!((catch_up.lag(&log), catch_up.due()), (0, None));
        // Another life, or out of reach.
        let gone: [fn(&mut CatchUp); 2] = [
            |catch_up| catch_up.forget(HOLDER),
            |catch_up| catch_up.retain_peers(|peer| peer != HOLDER),
        ];
        for gone in gone {
            catch_up.hear(HOLDER, &stated, &log, start);
            gone(&mut catch_up);
            assert_eq!(run(&mut catch_up, &log).0, []);
            assert_eq!(catch_up.due(), None);
        }
    }
}
