//! A rollover of the secrets of DNS cookies: which step is next, and what it waits for (RFC 9018
//! section 5). An operator takes each step at any peer; it is an entry of the log.
//!
//! ```text
//! none ─ first ─→ steady ─ stage ─→ staged ─── switch ──→ switched ── retire ──→ steady
//!                                  when all members       and no cookie of the
//!                                  have heard of it       old secret is good any more
//! ```
//! What is done too early costs clients a request, no answer: a cookie that a peer does not know is
//! replaced by one that it does.

use crate::cookie::{LIFETIME, Secret, Secrets, Step};
use crate::state::CookieSecrets;
use crate::time_text::span;
use std::fmt;
use std::time::Duration;

/// Where the cluster stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rollover {
    /// The secrets; none before the first.
    pub cookies: Option<CookieSecrets>,
    /// Whether the entry that made them these is settled.
    pub settled: Settled,
    /// Members that do not settle with this peer, by name.
    pub missing: Vec<String>,
}

/// Whether the last step is settled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Settled {
    /// All members that settle with this peer hold it.
    Yes,
    /// It may still vanish.
    No,
}

/// What the next step waits for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotYet {
    /// The step before is not settled.
    Unsettled,
    /// These members may not have heard of the step before.
    Unheard(Vec<String>),
    /// Cookies of the old secret are good for so long.
    Good(Duration),
}

impl Rollover {
    /// The secrets after the next step; it takes the fresh one if it needs one.
    #[must_use]
    pub fn next(&self, fresh: Secret) -> Secrets {
        let Some(CookieSecrets { secrets, .. }) = self.cookies else {
            return Secrets::new(fresh);
        };
        match secrets.step() {
            Step::Steady => secrets.stage(fresh),
            Step::Staged => secrets.switch(),
            Step::Switched => secrets.retire(),
        }
    }

    /// What the next step should wait for.
    #[must_use]
    pub fn obstacle(&self, wall: Duration) -> Option<NotYet> {
        let CookieSecrets { secrets, since } = self.cookies?;
        let good_until = match secrets.step() {
            Step::Steady => return None,
            Step::Staged => Duration::ZERO,
            Step::Switched => since.hybrid.wall() + LIFETIME,
        };
        if self.settled == Settled::No {
            return Some(NotYet::Unsettled);
        }
        if !self.missing.is_empty() {
            return Some(NotYet::Unheard(self.missing.clone()));
        }
        (wall < good_until).then(|| NotYet::Good(good_until - wall))
    }
}

impl fmt::Display for NotYet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsettled => f.write_str("the last step is not settled yet"),
            Self::Unheard(names) => write!(
                f,
                "members that cannot be reached may not have heard of the last step: {}",
                names.join(", ")
            ),
            Self::Good(rest) => write!(
                f,
                "cookies that were made by the old secret may be good for another {}",
                span(*rest)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use overlay::PeerId;
    use replication::{Hybrid, Stamp};

    const SINCE: Duration = Duration::from_secs(1_700_000_000);

    fn rollover(secrets: Option<Secrets>) -> Rollover {
        let since = Stamp {
            hybrid: Hybrid::from_wall(SINCE),
            author: PeerId([1; 8]),
        };
        Rollover {
            cookies: secrets.map(|secrets| CookieSecrets { secrets, since }),
            settled: Settled::Yes,
            missing: Vec::new(),
        }
    }

    #[test]
    fn four_steps_lead_from_nothing_to_a_second_secret() {
        let (first, second) = (Secret([1; 16]), Secret([2; 16]));
        let steady = Secrets::new(first);
        let check = |before, fresh, expected| {
            assert_eq!(rollover(before).next(fresh), expected, "{before:?}");
        };
        check(None, first, steady);
        check(Some(steady), second, steady.stage(second));
        let staged = steady.stage(second);
        check(Some(staged), first, staged.switch());
        check(Some(staged.switch()), first, Secrets::new(second));
    }

    #[test]
    fn a_step_waits_for_all_members_and_for_old_cookies_to_end() {
        let steady = Secrets::new(Secret([1; 16]));
        let staged = steady.stage(Secret([2; 16]));
        let check = |secrets, settled, missing: &[&str], age: u64, expected: Option<NotYet>| {
            let rollover = Rollover {
                settled,
                missing: missing.iter().map(|name| (*name).to_owned()).collect(),
                ..rollover(secrets)
            };
            let wall = SINCE + Duration::from_secs(age);
            assert_eq!(rollover.obstacle(wall), expected, "{rollover:?} {age}");
        };
        let unheard = || Some(NotYet::Unheard(vec!["ns3".to_owned()]));
        let good = |seconds| Some(NotYet::Good(Duration::from_secs(seconds)));
        check(None, Settled::No, &["ns3"], 0, None);
        check(Some(steady), Settled::No, &["ns3"], 0, None);
        check(Some(staged), Settled::Yes, &[], 0, None);
        check(Some(staged), Settled::Yes, &["ns3"], 9_999, unheard());
        check(Some(staged), Settled::No, &[], 9, Some(NotYet::Unsettled));
        let switched = Some(staged.switch());
        check(switched, Settled::Yes, &[], 0, good(3_900));
        check(switched, Settled::Yes, &[], 3_899, good(1));
        check(switched, Settled::Yes, &[], 3_900, None);
        check(switched, Settled::Yes, &["ns3"], 3_900, unheard());
    }
}
