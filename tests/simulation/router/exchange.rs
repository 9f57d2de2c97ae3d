//! What peers say to single others and of themselves: unicast payloads, words of several kinds,
//! fetches. Each comes from whom it says, at most once or newest only, and nothing hangs.

use super::world::World;
use bytes::{Buf, BufMut, Bytes};
use overlay::event::{Class, Event, FetchId, Last, StateKind};
use overlay::{Incarnation, PeerId};
use std::collections::{BTreeMap, BTreeSet};

type Life = (PeerId, Incarnation);

/// Pieces of an answer are of this size.
const PIECE_SIZE: u64 = 20_000;
/// Kinds of words that the layer above may use.
const KINDS: u8 = 15;

/// What was said and what of it has come.
#[derive(Default)]
pub(super) struct Exchange {
    numbers: u64,
    unicasts: BTreeMap<u64, Unicast>,
    /// The last word of each life and kind.
    said: BTreeMap<(Life, u8), u64>,
    /// (hearer, speaker, kind) → the newest word that has come.
    heard: BTreeMap<(Life, Life, u8), u64>,
    asked: BTreeMap<(Life, FetchId), Asked>,
    served: BTreeMap<(Life, FetchId), Served>,
    pub(super) fetched: u64,
    pub(super) failed: u64,
}

struct Unicast {
    from: Life,
    to: PeerId,
    size: usize,
    has_come: bool,
}

struct Asked {
    size: u64,
    come: u64,
    outcome: Outcome,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    Awaited,
    Complete,
    Failed,
}

struct Served {
    size: u64,
    sent: u64,
}

impl Exchange {
    /// A random peer sends to a random other one; how it is named later.
    pub(super) fn send(&mut self, world: &mut World, from: usize, to: usize, size: usize) -> u64 {
        self.numbers += 1;
        let payload = numbered(self.numbers, size);
        let unicast = Unicast {
            from: world.life(from),
            to: world.peers[to].id,
            size: payload.len(),
            has_come: false,
        };
        self.unicasts.insert(self.numbers, unicast);
        let to = world.peers[to].id;
        world.call(from, |router, now| {
            router.send(to, Class::Control, payload, now);
        });
        self.numbers
    }

    pub(super) fn has_come(&self, unicast: u64) -> bool {
        self.unicasts[&unicast].has_come
    }

    /// A peer says a new word of a kind.
    pub(super) fn say(&mut self, world: &mut World, number: usize, random: &mut fastrand::Rng) {
        self.numbers += 1;
        let kind = random.u8(1..=KINDS);
        let body = numbered(self.numbers, random.usize(8..3_000));
        self.said.insert((world.life(number), kind), self.numbers);
        world.call(number, |router, now| {
            router.state(StateKind(kind), body, now);
        });
    }

    /// A peer asks another for bulk data.
    pub(super) fn fetch(&mut self, world: &mut World, from: usize, of: usize, size: u64) {
        let of = world.peers[of].id;
        let mut request = Vec::new();
        request.put_u64(size);
        let asked = world.call(from, |router, now| router.fetch(of, request.into(), now));
        if let Some(fetch) = asked {
            let asked = Asked {
                size,
                come: 0,
                outcome: Outcome::Awaited,
            };
            self.asked.insert((world.life(from), fetch), asked);
        }
    }

    /// Takes what is about this; answers fetches.
    pub(super) fn handle(&mut self, world: &mut World, number: usize, event: &Event) {
        let at = world.life(number);
        match event {
            Event::Unicast {
                from,
                incarnation,
                payload,
            } => {
                let unicast = payload.clone().get_u64();
                let unicast = self.unicasts.get_mut(&unicast).expect("it was sent");
                assert_eq!(unicast.from, (*from, *incarnation), "its source");
                assert_eq!((unicast.to, unicast.size), (at.0, payload.len()));
                assert!(!unicast.has_come, "{at:?} got a unicast payload twice");
                unicast.has_come = true;
            }
            Event::State {
                of,
                incarnation,
                kind,
                body,
            } => {
                let word = body.clone().get_u64();
                let speaker = (*of, *incarnation);
                let last = self.said.get(&(speaker, kind.0));
                assert!(last >= Some(&word), "it was said in that life");
                let before = self.heard.insert((at, speaker, kind.0), word);
                assert!(before < Some(word), "an old word replaces a newer one");
            }
            Event::FetchRequested { fetch, request, .. } => {
                let size = request.clone().get_u64();
                self.served.insert((at, *fetch), Served { size, sent: 0 });
                self.serve(world, number, *fetch);
            }
            Event::FetchWritable(fetch) => self.serve(world, number, *fetch),
            Event::FetchChunk { fetch, data, last } => {
                let Some(asked) = self.asked.get_mut(&(at, *fetch)) else {
                    panic!("nobody asked");
                };
                assert_eq!(asked.outcome, Outcome::Awaited, "it goes on after its end");
                assert!(data.iter().all(|byte| *byte == asked.size as u8));
                asked.come += data.len() as u64;
                if *last == Last::Yes {
                    assert_eq!(asked.come, asked.size, "all has come");
                    asked.outcome = Outcome::Complete;
                    self.fetched += 1;
                }
            }
            Event::FetchFailed(fetch) => {
                self.served.remove(&(at, *fetch));
                if let Some(asked) = self.asked.get_mut(&(at, *fetch)) {
                    assert_eq!(asked.outcome, Outcome::Awaited, "it ends twice");
                    asked.outcome = Outcome::Failed;
                    self.failed += 1;
                }
            }
            _ => {}
        }
    }

    /// At the end: who is in one view knows all words of the other; no fetch hangs.
    pub(super) fn finish(&self, alive: &[Life], in_one_view: impl Fn(Life, Life) -> bool) {
        for ((speaker, kind), word) in &self.said {
            for at in alive {
                if at != speaker && alive.contains(speaker) && in_one_view(*at, *speaker) {
                    let heard = self.heard.get(&(*at, *speaker, *kind));
                    assert_eq!(heard, Some(word), "{at:?} lacks a word of {speaker:?}");
                }
            }
        }
        let alive: BTreeSet<&Life> = alive.iter().collect();
        for ((at, fetch), asked) in &self.asked {
            let is_over = asked.outcome != Outcome::Awaited || !alive.contains(at);
            assert!(is_over, "{at:?} waits for {fetch:?} for ever");
        }
    }

    /// Sends the next piece of an answer; some answers are given up on the way.
    fn serve(&mut self, world: &mut World, number: usize, fetch: FetchId) {
        let at = world.life(number);
        let Some(served) = self.served.get_mut(&(at, fetch)) else {
            return;
        };
        let size = (served.size - served.sent).min(PIECE_SIZE);
        served.sent += size;
        let data = Bytes::from(vec![served.size as u8; size as usize]);
        let is_last = served.sent == served.size;
        let is_given_up = served.size % 7 == 0 && served.sent > served.size / 2;
        if is_last || is_given_up {
            self.served.remove(&(at, fetch));
        }
        world.call(number, |router, now| match (is_given_up, is_last) {
            (true, _) => router.cancel(fetch, now),
            (false, true) => router.respond(fetch, data, Last::Yes, now),
            (false, false) => router.respond(fetch, data, Last::No, now),
        });
    }
}

/// A payload of this size that begins with its number.
pub(super) fn numbered(number: u64, size: usize) -> Bytes {
    let mut payload = vec![0; size.max(8)];
    payload[..8].copy_from_slice(&number.to_be_bytes());
    payload.into()
}
