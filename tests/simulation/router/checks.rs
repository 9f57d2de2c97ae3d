//! What must hold always, and what must hold at the end (overlay protocol sections 5 and 7).

use overlay::event::Event;
use overlay::{Incarnation, PeerId, View, ViewId};
use std::collections::{BTreeMap, BTreeSet};

/// A peer in one of its lives.
type Life = (PeerId, Incarnation);

/// What waited while the one before was handed on goes in one message, up to so many bytes.
const PACK_SIZE_MAX: usize = 16 * 1024;

/// What was seen so far.
#[derive(Default)]
pub(super) struct Checks {
    views: BTreeMap<ViewId, Vec<Life>>,
    rounds: BTreeMap<u64, Vec<Vec<Life>>>,
    current: BTreeMap<Life, View>,
    agreed: BTreeSet<(Life, ViewId)>,
    /// (source, number) → who was in the source's view when it was sent.
    sent: BTreeMap<(Life, u64), BTreeSet<Life>>,
    sizes: BTreeMap<u64, usize>,
    delivered: BTreeSet<(Life, Life, u64)>,
    gapped: BTreeMap<(Life, Life), u64>,
    /// Pairs that were in each other's view, and were not at some later moment.
    together: BTreeSet<(Life, Life)>,
    separated: BTreeSet<(Life, Life)>,
    pub(super) gaps: u64,
}

impl Checks {
    /// A payload says which one it is of its source.
    pub(super) fn note_sent(&mut self, source: Life, number: u64, size: usize) {
        self.sizes.insert(number, size);
        let view = &self.current[&source];
        let members = view.members.iter().copied().filter(|life| *life != source);
        self.sent.insert((source, number), members.collect());
    }

    pub(super) fn handle(&mut self, at: Life, event: &Event) {
        match event {
            Event::ViewChanged(view) => self.view(at, view),
            Event::Delivered {
                from,
                incarnation,
                payload,
            } => {
                let source = (*from, *incarnation);
                let number = u64::from_be_bytes(payload[..8].try_into().unwrap());
                assert_ne!(at, source, "own messages do not come back");
                assert!(self.sent.contains_key(&(source, number)), "it was sent");
                let is_new = self.delivered.insert((at, source, number));
                assert!(is_new, "{at:?} got {number} of {source:?} twice");
            }
            Event::Gap {
                source,
                incarnation,
                from,
                to,
            } => {
                let source = (*source, *incarnation);
                assert!(from <= to);
                self.gaps += to - from + 1;
                let told = self.gapped.entry((at, source)).or_default();
                *told += to - from + 1;
                // What was sent while the receiver was not in the source's view may be gone.
                let sent = self.sent.range((source, 0)..=(source, u64::MAX));
                let not_meant = sent.filter(|(_, to)| !to.contains(&at)).count() as u64;
                assert!(
                    self.separated.contains(&(at, source)) || *told <= not_meant,
                    "{at:?} is denied {from}–{to} of {source:?}, whose view it never left"
                );
            }
            Event::OwnIncarnationSeen(_) => panic!("nobody lives twice here"),
            _ => {}
        }
    }

    /// At the end, after all has settled.
    pub(super) fn finish(&self, alive: &[Life]) {
        for receiver in alive {
            // A dead peer may still stand between two others.
            let view = &self.current[receiver];
            for source in alive.iter().filter(|life| view.holds(life.0, life.1)) {
                // Who was cut off before it had heard anything of a source starts, when it does,
                // at what is not gone; nothing before is told.
                let heard = (*receiver, *source, 0)..=(*receiver, *source, u64::MAX);
                let first = self
                    .delivered
                    .range(heard)
                    .next()
                    .map(|(_, _, number)| *number);
                let since = match self.separated.contains(&(*receiver, *source)) {
                    true => first.unwrap_or(u64::MAX),
                    false => 0,
                };
                let sent = self.sent.range((*source, since)..=(*source, u64::MAX));
                let meant = sent.filter(|(_, to)| to.contains(receiver));
                let missing = meant.filter(|((_, number), _)| {
                    !self.delivered.contains(&(*receiver, *source, *number))
                });
                let missing = self.packs(missing.map(|((_, number), _)| *number));
                let told = self.gapped.get(&(*receiver, *source)).copied().unwrap_or(0);
                assert!(
                    missing <= told,
                    "{receiver:?} lacks {missing} messages of {source:?} and was told {told}"
                );
            }
        }
    }

    pub(super) fn current(&self, life: Life) -> &View {
        &self.current[&life]
    }

    pub(super) fn delivered(&self) -> usize {
        self.delivered.len()
    }

    pub(super) fn views(&self) -> usize {
        self.agreed.len()
    }

    /// In how many messages at the least these payloads went out.
    fn packs(&self, payloads: impl Iterator<Item = u64>) -> u64 {
        let (mut packs, mut room) = (0, 0);
        for size in payloads.map(|number| self.sizes[&number]) {
            if packs == 0 || size > room {
                packs += 1;
                room = PACK_SIZE_MAX;
            }
            room = room.saturating_sub(size);
        }
        packs
    }

    fn view(&mut self, at: Life, view: &View) {
        assert!(view.holds(at.0, at.1), "a view holds its own peer");
        let known = self
            .views
            .entry(view.id)
            .or_insert_with(|| view.members.clone());
        assert_eq!(*known, view.members, "one id, one set");
        assert!(self.agreed.insert((at, view.id)), "a view never comes back");
        let rounds = self.rounds.entry(view.number).or_default();
        for other in rounds.iter().filter(|other| **other != view.members) {
            let overlap = other.iter().find(|life| view.members.contains(life));
            assert_eq!(overlap, None, "views of one round overlap");
        }
        rounds.push(view.members.clone());
        if let Some(before) = self.current.get(&at) {
            assert!(before.number < view.number, "view numbers rise");
        }
        self.current.insert(at, view.clone());
        let lives: Vec<Life> = self.current.keys().copied().collect();
        for other in lives {
            let is_together =
                view.holds(other.0, other.1) && self.current[&other].holds(at.0, at.1);
            for pair in [(at, other), (other, at)] {
                if is_together {
                    self.together.insert(pair);
                } else if self.together.contains(&pair) {
                    self.separated.insert(pair);
                }
            }
        }
    }
}
