//! How much may wait: whoever brings something takes its size from the budget, and gives it back
//! when that is worked out.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A bound that several threads share.
#[derive(Clone)]
pub struct Budget {
    taken: Arc<AtomicUsize>,
    most: usize,
}

/// A part of a budget, until it is dropped.
pub struct Share {
    taken: Arc<AtomicUsize>,
    size: usize,
}

impl Budget {
    /// Of so many bytes.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            taken: Arc::default(),
            most,
        }
    }

    /// Takes `size` bytes; none if they are not left.
    #[must_use]
    pub fn take(&self, size: usize) -> Option<Share> {
        let fits = |taken: usize| taken.checked_add(size).filter(|sum| *sum <= self.most);
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .ok()?;
        Some(Share {
            taken: Arc::clone(&self.taken),
            size,
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.taken.fetch_sub(self.size, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_missing_until_it_is_given_back() {
        let budget = Budget::new(10);
        let first = budget.take(6);
        assert!(first.is_some());
        assert!(budget.clone().take(5).is_none());
        assert!(budget.take(usize::MAX).is_none());
        drop(first);
        assert!(budget.take(10).is_some());
    }
}
