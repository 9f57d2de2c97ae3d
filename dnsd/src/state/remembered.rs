//! Requests that were answered: one that comes again within its window does nothing, and gets the same
//! answer.

use super::{Outcome, State};
use imbl::OrdMap;
use replication::{Digest, Stamp};
use std::time::Duration;
use zones::Rcode;

/// How long a signed request is remembered.
const WINDOW_SIGNED: Duration = Duration::from_secs(600);
/// How long an unsigned request is remembered: identical bytes may be meant twice.
const WINDOW_UNSIGNED: Duration = Duration::from_secs(15);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Answered {
    pub(crate) stamp: Stamp,
    pub(crate) outcome: Outcome,
}

/// The digests of all requests that are remembered. A clone costs one reference count.
#[derive(Clone, Default)]
pub struct Remembered(OrdMap<Digest, Answered>);

impl Remembered {
    /// True if an entry carries this digest. Whether it is still in its window is for
    /// [`State::answered`] to say.
    #[must_use]
    pub fn contains(&self, digest: &Digest) -> bool {
        self.0.contains_key(digest)
    }
}

impl FromIterator<Digest> for Remembered {
    fn from_iter<I: IntoIterator<Item = Digest>>(digests: I) -> Self {
        let answered = Answered {
            stamp: Stamp::ZERO,
            outcome: Outcome::Rcode(Rcode::NOERROR),
        };
        Self(
            digests
                .into_iter()
                .map(|digest| (digest, answered))
                .collect(),
        )
    }
}

impl State {
    /// The digests of all requests that are remembered.
    #[must_use]
    pub fn remembered(&self) -> Remembered {
        Remembered(self.answered.clone())
    }

    /// The outcome of the request with this digest, if it is remembered at `stamp`.
    #[must_use]
    pub fn answered(&self, digest: Digest, stamp: Stamp) -> Option<Outcome> {
        let answered = self.answered.get(&digest)?;
        is_remembered(digest, answered.stamp, stamp).then_some(answered.outcome)
    }

    pub(super) fn remember(&mut self, digest: Digest, stamp: Stamp, outcome: Outcome) {
        self.remember_answered(digest, Answered { stamp, outcome });
        while let Some((until, digest)) = self.forgotten.get_min().copied() {
            if until >= stamp.hybrid {
                break;
            }
            self.forgotten.remove(&(until, digest));
            self.answered.remove(&digest);
        }
    }

    pub(crate) fn remember_answered(&mut self, digest: Digest, answered: Answered) {
        if let Some(earlier) = self.answered.insert(digest, answered) {
            self.forgotten
                .remove(&(earlier.stamp.hybrid.after(window(digest)), digest));
        }
        self.forgotten
            .insert((answered.stamp.hybrid.after(window(digest)), digest));
    }
}

/// Whether a request with this digest, compared at `stamp`, is the one that made the entry at
/// `answered`, sent again.
#[must_use]
pub fn is_remembered(digest: Digest, answered: Stamp, stamp: Stamp) -> bool {
    stamp.hybrid <= answered.hybrid.after(window(digest))
}

/// Marks the digest of a request that carried a MAC.
pub const DIGEST_SIGNED: u8 = 1;
/// Marks the digest of a request known by its bytes and its source.
pub const DIGEST_UNSIGNED: u8 = 0;

fn window(digest: Digest) -> Duration {
    if digest.0[0] == DIGEST_SIGNED {
        WINDOW_SIGNED
    } else {
        WINDOW_UNSIGNED
    }
}
