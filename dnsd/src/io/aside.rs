//! Work that is done aside of the peer thread, by a few threads: a start may bring an import for each
//! of 100 000 zones.

use super::clock;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// So many pieces of work are under way at the same time. One that takes long, as a new base of a
/// large zone, leaves room for others.
const THREADS_MAX: usize = 4;

/// What is to be done; its result goes where it was told.
type Piece = Box<dyn FnOnce() + Send>;

/// The threads, which end when nothing waits.
#[derive(Clone, Default)]
pub(super) struct Aside(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    waiting: VecDeque<Piece>,
    threads: usize,
}

impl Aside {
    /// Does it, after what waits already.
    pub(super) fn run(&self, piece: impl FnOnce() + Send + 'static) {
        let mut state = self.state();
        state.waiting.push_back(Box::new(piece));
        if state.threads < THREADS_MAX {
            state.threads += 1;
            let aside = self.clone();
            clock::spawn("aside", move || {
                while let Some(piece) = aside.next() {
                    piece();
                }
            });
        }
    }

    /// The next piece; none: the thread that asks ends.
    fn next(&self) -> Option<Piece> {
        let mut state = self.state();
        let piece = state.waiting.pop_front();
        state.threads -= usize::from(piece.is_none());
        piece
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // It is whole after every change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;

    #[test]
    fn all_is_done_by_a_few_threads_that_end() {
        let aside = Aside::default();
        let (done, results) = channel();
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        for n in 0..1_000 {
            let (done, now, most) = (done.clone(), Arc::clone(&now), Arc::clone(&most));
            aside.run(move || {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::yield_now();
                now.fetch_sub(1, Ordering::SeqCst);
                done.send(n).unwrap();
            });
        }
        let mut numbers: Vec<usize> = (0..1_000).map(|_| results.recv().unwrap()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..1_000).collect::<Vec<_>>());
        assert!(most.load(Ordering::SeqCst) <= THREADS_MAX);
        while aside.state().threads > 0 {
            std::thread::yield_now();
        }
        // One more begins anew.
        let last = done.clone();
        aside.run(move || last.send(7).unwrap());
        assert_eq!(results.recv().unwrap(), 7);
    }
}
