//! When the primaries of fed zones are asked for something newer (RFC 1035 section 3.3.13, RFC 1996
//! section 4), and by which peer.
//!
//! ```text
//! due ─▶ under way ─┬─ nothing newer, or it is stored ─▶ due after REFRESH
//!  ▲                ├─ no answer, or a bad one        ─▶ due after RETRY; after EXPIRE: expired
//!  │                └─ a NOTIFY came meanwhile        ─▶ due at once
//!  └── a NOTIFY, an operator, another view, other primaries
//! ```
//! Of each zone one peer of the settling view asks for all; others go on where it stops. What a side of a
//! partition fetches is content that the other side takes too, or passes over.
//!
//! A machine: no socket, no clock. What is asked for and what is made of it is in `peer/feeding.rs`.

use crate::body::Order;
use crate::duty::elect;
use crate::fed::Freshness;
use overlay::PeerId;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::Bound;
use std::time::{Duration, Instant};
use zones::{Name, Serial};

/// Zones that are asked for at the same time: each has a thread, and one whose primary is slow holds it
/// for long.
const UNDER_WAY_MAX: usize = 16;
/// Whatever an SOA says, a primary is not asked more often than this without a reason.
const INTERVAL_MIN: Duration = Duration::from_secs(2);
/// Nor more seldom: a NOTIFY may be lost.
const REFRESH_MAX: Duration = Duration::from_secs(24 * 3600);
/// When a zone without content is asked for again for the first time; then after twice as long each time.
const FIRST_RETRY_MIN: Duration = Duration::from_secs(5);
const FIRST_RETRY_MAX: Duration = Duration::from_secs(600);
/// A zone is asked for earlier than it is due, by a part of the time that is up to one in so many: not all
/// at once.
const SPREAD: u32 = 10;
/// An answer is written down for all when the one that all know of is so old, in parts of EXPIRE.
const WRITTEN_DOWN_AFTER: u32 = 8;
/// Zones looked at in one go after a change of the view.
const ZONES_MAX: usize = 500;

/// The machine.
pub struct Refresher {
    me: PeerId,
    /// The members of the settling view; none: nobody asks.
    members: Vec<PeerId>,
    zones: BTreeMap<Name, Watched>,
    due: BTreeSet<(Instant, Name)>,
    under_way: usize,
    /// Zones whose last attempt by this peer came to nothing.
    failing: BTreeSet<Name>,
    /// Zones up to this one have been looked at since the view changed.
    walk: Option<Bound<Name>>,
    random: fastrand::Rng,
}

/// What all peers know of a fed zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Known {
    /// The serial of its content; none while nothing has come yet.
    pub serial: Option<Serial>,
    /// What its SOA says; means nothing without content.
    pub timing: Timing,
    /// When a primary was last known to answer, since 1970.
    pub refreshed: Duration,
    /// Whether that is too long ago.
    pub is_expired: bool,
    /// What tells its primaries and their keys from others.
    pub primaries: u64,
}

/// How often primaries are asked (RFC 1035 section 3.3.13).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Timing {
    /// After an answer.
    pub refresh: Duration,
    /// After none.
    pub retry: Duration,
    /// For how long content is good without one.
    pub expire: Duration,
}

/// One fed zone.
struct Watched {
    known: Known,
    due: Option<Instant>,
    stage: Stage,
    /// When a primary last answered this peer, since 1970.
    answered: Option<Duration>,
    /// Attempts since, and why the last one came to nothing.
    failures: u32,
    failure: Option<String>,
    /// The next attempt is this peer's, whoever's the zone is.
    is_urged: bool,
    /// Who said that there is something newer.
    told_by: Option<IpAddr>,
    /// Whether only what is newer is asked for.
    order: Order,
}

/// A zone that is to be asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Due {
    /// Which.
    pub origin: Name,
    /// Who said that there is something newer.
    pub told_by: Option<IpAddr>,
    /// Whether only what is newer is asked for.
    pub order: Order,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Idle,
    UnderWay,
    /// A further attempt is called for.
    UnderWayAndAgain,
}

/// How an attempt ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Attempt {
    /// A primary answered; what it had that is newer is stored.
    Answered,
    /// None did, or something else went wrong.
    Failed(String),
}

/// Where a fed zone stands, as one peer knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// Which peer asks for it; none while nobody does.
    pub asker: Option<PeerId>,
    /// When a primary last answered, since 1970.
    pub answered: Duration,
    /// When this peer asks next, if it does.
    pub due: Option<Instant>,
    /// Why the last attempt of this peer came to nothing.
    pub failure: Option<String>,
}

impl Refresher {
    /// Starts with no zones; the seed spreads them over time.
    #[must_use]
    pub fn new(me: PeerId, seed: u64) -> Self {
        Self {
            me,
            members: Vec::new(),
            zones: BTreeMap::new(),
            due: BTreeSet::new(),
            under_way: 0,
            failing: BTreeSet::new(),
            walk: None,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// These peers settle together from now on, or nobody does.
    pub fn handle_view(&mut self, members: Vec<PeerId>) {
        if members != self.members {
            self.members = members;
            self.walk = Some(Bound::Unbounded);
        }
    }

    /// What all know of a fed zone.
    pub fn handle_known(&mut self, origin: &Name, known: Known, now: Instant) {
        let Some(watched) = self.zones.get_mut(origin) else {
            let watched = Watched {
                known,
                due: None,
                stage: Stage::Idle,
                answered: None,
                failures: 0,
                failure: None,
                is_urged: false,
                told_by: None,
                order: Order::Ahead,
            };
            self.zones.insert(origin.clone(), watched);
            self.look_at(origin, now);
            return;
        };
        let before = std::mem::replace(&mut watched.known, known);
        if before.primaries != known.primaries {
            watched.failures = 0;
            watched.failure = None;
            watched.answered = None;
            self.failing.remove(origin);
            self.look_at(origin, now);
        } else if before.serial != known.serial || before.refreshed < known.refreshed {
            // Some peer has had an answer.
            watched.failures = 0;
            watched.failure = None;
            self.failing.remove(origin);
            if watched.stage == Stage::Idle {
                let moment = self.after_answer(origin, now);
                self.set_due(origin, moment);
            }
        }
    }

    /// A zone is gone, or ours.
    pub fn handle_gone(&mut self, origin: &Name) {
        self.set_due(origin, None);
        self.failing.remove(origin);
        if let Some(watched) = self.zones.remove(origin)
            && watched.stage != Stage::Idle
        {
            self.under_way -= 1;
        }
    }

    /// There is something newer, as a primary says, or an operator wants to know: this peer asks at once.
    pub fn urge(&mut self, origin: &Name, told_by: Option<IpAddr>, order: Order, now: Instant) {
        let Some(watched) = self.zones.get_mut(origin) else {
            return;
        };
        watched.told_by = told_by.or(watched.told_by);
        if order == Order::Any {
            watched.order = order;
        }
        if watched.stage == Stage::Idle {
            watched.is_urged = true;
            self.set_due(origin, Some(now));
        } else {
            watched.stage = Stage::UnderWayAndAgain;
        }
    }

    /// The next zone to ask for, if one is due.
    pub fn poll_zone(&mut self, now: Instant) -> Option<Due> {
        self.walk_on(now);
        while self.under_way < UNDER_WAY_MAX {
            let (due, origin) = self.due.first()?.clone();
            if due > now {
                return None;
            }
            self.set_due(&origin, None);
            let is_mine = self.asker(&origin) == Some(self.me);
            let watched = self.zones.get_mut(&origin).expect("what is due is known");
            if std::mem::take(&mut watched.is_urged) || is_mine {
                watched.stage = Stage::UnderWay;
                self.under_way += 1;
                return Some(Due {
                    origin,
                    told_by: watched.told_by.take(),
                    order: std::mem::replace(&mut watched.order, Order::Ahead),
                });
            }
        }
        None
    }

    /// An attempt has ended. What all are to know of that, if anything.
    pub fn handle_attempt(
        &mut self,
        origin: &Name,
        attempt: Attempt,
        wall: Duration,
        now: Instant,
    ) -> Option<Freshness> {
        let watched = self.zones.get_mut(origin)?;
        if watched.stage == Stage::Idle {
            return None;
        }
        self.under_way -= 1;
        let again = std::mem::replace(&mut watched.stage, Stage::Idle) == Stage::UnderWayAndAgain;
        let expire = watched.known.timing.expire;
        let freshness = match attempt {
            Attempt::Answered => {
                self.failing.remove(origin);
                watched.answered = Some(wall);
                watched.failures = 0;
                watched.failure = None;
                let age = wall.saturating_sub(watched.known.refreshed);
                let is_due = watched.known.is_expired || age > expire / WRITTEN_DOWN_AFTER;
                (is_due && watched.known.serial.is_some()).then_some(Freshness::Refreshed)
            }
            Attempt::Failed(reason) => {
                watched.failures = watched.failures.saturating_add(1);
                watched.failure = Some(reason);
                self.failing.insert(origin.clone());
                let is_over = wall > watched.last_answer() + expire;
                let is_news = is_over && watched.known.serial.is_some();
                (is_news && !watched.known.is_expired).then_some(Freshness::Expired)
            }
        };
        let is_mine = self.asker(origin) == Some(self.me);
        let moment = if again {
            self.zones.get_mut(origin)?.is_urged = true;
            Some(now)
        } else if is_mine {
            match self.zones[origin].failures {
                0 => self.after_answer(origin, now),
                _ => Some(self.after_failure(origin, wall, now)),
            }
        } else {
            None
        };
        self.set_due(origin, moment);
        freshness
    }

    /// Where a zone stands; none if it is not fed.
    #[must_use]
    pub fn standing(&self, origin: &Name) -> Option<Standing> {
        let watched = self.zones.get(origin)?;
        Some(Standing {
            asker: self.asker(origin),
            answered: watched.last_answer(),
            due: watched.due,
            failure: watched.failure.clone(),
        })
    }

    /// Which peer asks for a zone.
    #[must_use]
    pub fn asker(&self, origin: &Name) -> Option<PeerId> {
        elect(&self.members, &origin.canonical_key())
    }

    /// How many zones this peer could not fetch when it last tried, and one of them with the reason.
    #[must_use]
    pub fn failing(&self) -> Option<(usize, &Name, &str)> {
        let origin = self.failing.first()?;
        let failure = self.zones.get(origin)?.failure.as_deref()?;
        Some((self.failing.len(), origin, failure))
    }

    /// True if any zone is fed.
    #[must_use]
    pub fn has_zones(&self) -> bool {
        !self.zones.is_empty()
    }

    /// When something is due.
    #[must_use]
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        if self.walk.is_some() {
            return Some(now);
        }
        let (due, _) = self.due.first()?;
        (self.under_way < UNDER_WAY_MAX).then_some(*due)
    }

    /// Goes on with the zones that others may be asked for by this peer since the view changed.
    fn walk_on(&mut self, now: Instant) {
        let Some(from) = self.walk.take() else { return };
        let next = self.zones.range((from, Bound::Unbounded));
        let next: Vec<Name> = next
            .map(|(origin, _)| origin.clone())
            .take(ZONES_MAX)
            .collect();
        for origin in &next {
            self.look_at(origin, now);
        }
        if next.len() == ZONES_MAX {
            self.walk = next.last().cloned().map(Bound::Excluded);
        }
    }

    /// Asks for a zone soon if it is for this peer: whether another one has missed a NOTIFY is not known.
    fn look_at(&mut self, origin: &Name, now: Instant) {
        let is_mine = self.asker(origin) == Some(self.me);
        let watched = &self.zones[origin];
        if watched.stage == Stage::Idle && !watched.is_urged {
            self.set_due(origin, is_mine.then_some(now));
        }
    }

    /// When a zone is asked for next after an answer, if that is for this peer.
    fn after_answer(&mut self, origin: &Name, now: Instant) -> Option<Instant> {
        if self.asker(origin) != Some(self.me) {
            return None;
        }
        let wait = self.zones[origin].known.timing.refresh;
        Some(now + self.spread(wait.clamp(INTERVAL_MIN, REFRESH_MAX)))
    }

    /// When a zone is asked for next after a failure: no later than when it expires.
    fn after_failure(&mut self, origin: &Name, wall: Duration, now: Instant) -> Instant {
        let watched = &self.zones[origin];
        let Timing { retry, expire, .. } = watched.known.timing;
        let wait = match watched.known.serial {
            Some(_) => {
                let expires = (watched.last_answer() + expire).saturating_sub(wall);
                let wait = retry.clamp(INTERVAL_MIN, REFRESH_MAX);
                match watched.known.is_expired {
                    true => wait,
                    false => wait.min(expires.max(INTERVAL_MIN)),
                }
            }
            None => {
                let doubled = FIRST_RETRY_MIN * (1 << (watched.failures - 1).min(10));
                doubled.min(FIRST_RETRY_MAX)
            }
        };
        now + self.spread(wait)
    }

    fn spread(&mut self, wait: Duration) -> Duration {
        wait - (wait / SPREAD).mul_f64(self.random.f64())
    }

    fn set_due(&mut self, origin: &Name, moment: Option<Instant>) {
        let Some(watched) = self.zones.get_mut(origin) else {
            return;
        };
        if let Some(before) = watched.due.take() {
            self.due.remove(&(before, origin.clone()));
        }
        watched.due = moment;
        if let Some(moment) = moment {
            self.due.insert((moment, origin.clone()));
        }
    }
}

impl Watched {
    fn last_answer(&self) -> Duration {
        self.answered.unwrap_or_default().max(self.known.refreshed)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any time will do to begin with")]
mod tests {
    use super::*;

    const ME: PeerId = PeerId([1; 8]);
    const OTHER: PeerId = PeerId([2; 8]);
    /// Since 1970, when a test begins.
    const WALL: Duration = Duration::from_secs(1_800_000_000);

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    struct World {
        refresher: Refresher,
        began: Instant,
        passed: Duration,
    }

    impl World {
        fn new(members: &[PeerId]) -> Self {
            let mut refresher = Refresher::new(ME, 7);
            refresher.handle_view(members.to_vec());
            Self {
                refresher,
                began: Instant::now(),
                passed: Duration::ZERO,
            }
        }

        fn now(&self) -> Instant {
            self.began + self.passed
        }

        fn know(&mut self, origin: &str, serial: Option<u32>, refreshed: Duration) {
            let known = Known {
                serial: serial.map(Serial),
                timing: Timing {
                    refresh: seconds(1_000),
                    retry: seconds(100),
                    expire: seconds(10_000),
                },
                refreshed,
                is_expired: false,
                primaries: 0,
            };
            let now = self.now();
            self.refresher.handle_known(&name(origin), known, now);
        }

        /// Lets so much time pass, and says which zones are asked for then.
        fn pass(&mut self, wait: Duration) -> Vec<String> {
            self.passed += wait;
            let now = self.now();
            let zones = std::iter::from_fn(|| self.refresher.poll_zone(now));
            zones.map(|due| due.origin.to_string()).collect()
        }

        fn end(&mut self, origin: &str, attempt: Attempt) -> Option<Freshness> {
            let (wall, now) = (WALL + self.passed, self.now());
            self.refresher
                .handle_attempt(&name(origin), attempt, wall, now)
        }
    }

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn failed() -> Attempt {
        Attempt::Failed("it is silent".to_owned())
    }

    #[test]
    fn a_zone_is_asked_for_as_its_soa_says() {
        let mut world = World::new(&[ME]);
        world.know("a.", Some(1), WALL);
        assert_eq!(world.pass(Duration::ZERO), ["a."]);
        assert_eq!(world.pass(seconds(5_000)), [""; 0], "it is under way");
        assert_eq!(
            world.end("a.", Attempt::Answered),
            Some(Freshness::Refreshed)
        );
        world.know("a.", Some(1), WALL + seconds(5_000));
        assert_eq!(world.pass(seconds(899)), [""; 0]);
        assert_eq!(world.pass(seconds(101)), ["a."]);
        assert_eq!(
            world.end("a.", Attempt::Answered),
            None,
            "all know of an answer of late"
        );
        assert_eq!(world.pass(seconds(1_000)), ["a."]);
        assert_eq!(world.end("a.", failed()), None);
        assert_eq!(world.pass(seconds(89)), [""; 0]);
        assert_eq!(world.pass(seconds(11)), ["a."]);
        // A NOTIFY while it is under way, and one after it.
        let now = world.now();
        world.refresher.urge(&name("a."), None, Order::Ahead, now);
        assert_eq!(world.end("a.", failed()), None);
        assert_eq!(world.pass(Duration::ZERO), ["a."]);
        let freshness = world.end("a.", Attempt::Answered);
        assert_eq!(
            freshness,
            Some(Freshness::Refreshed),
            "it is older than an eighth of EXPIRE"
        );
        world.refresher.urge(&name("a."), None, Order::Ahead, now);
        assert_eq!(world.pass(Duration::ZERO), ["a."]);
    }

    #[test]
    fn a_zone_expires_once_and_comes_back() {
        let mut world = World::new(&[ME]);
        world.know("a.", Some(1), WALL);
        let mut expired = Vec::new();
        while expired.is_empty() {
            if world.pass(seconds(1)) == ["a."]
                && let Some(freshness) = world.end("a.", failed())
            {
                expired.push(freshness);
            }
            assert!(world.passed < seconds(10_010), "in time");
        }
        assert_eq!(expired, [Freshness::Expired]);
        assert!(world.passed > seconds(10_000), "not too early");
        let now = world.now();
        let watched = world.refresher.zones.get_mut(&name("a.")).unwrap();
        watched.known.is_expired = true;
        world.refresher.urge(&name("a."), None, Order::Ahead, now);
        assert_eq!(world.pass(seconds(0)), ["a."]);
        assert_eq!(world.end("a.", failed()), None);
        assert_eq!(world.pass(seconds(100)), ["a."]);
        assert_eq!(
            world.end("a.", Attempt::Answered),
            Some(Freshness::Refreshed)
        );
    }

    #[test]
    fn one_peer_asks_and_others_go_on_where_it_stops() {
        let mut world = World::new(&[ME, OTHER]);
        let origins: Vec<String> = (0..40).map(|n| format!("z{n}.")).collect();
        for origin in &origins {
            world.know(origin, None, WALL);
        }
        let mut mine = Vec::new();
        loop {
            let asked = world.pass(Duration::ZERO);
            if asked.is_empty() {
                break;
            }
            assert!(asked.len() <= UNDER_WAY_MAX);
            for origin in &asked {
                world.end(origin, Attempt::Answered);
            }
            mine.extend(asked);
        }
        assert!((8..32).contains(&mine.len()), "{}", mine.len());
        // One that is not this peer's is asked for if somebody says so.
        let other = origins.iter().find(|origin| !mine.contains(origin));
        let other = other.unwrap();
        let now = world.now();
        world.refresher.urge(&name(other), None, Order::Ahead, now);
        assert_eq!(world.pass(Duration::ZERO), [other.as_str()]);
        world.end(other, failed());
        assert_eq!(world.pass(Duration::ZERO), [""; 0]);
        // What another peer then brings makes that good.
        assert!(world.refresher.failing().is_some());
        world.know(other, Some(1), WALL);
        assert!(world.refresher.failing().is_none());
        world.refresher.handle_view(vec![ME]);
        let asked = world.pass(Duration::ZERO);
        assert!(!asked.is_empty());
        world.refresher.handle_view(Vec::new());
        for origin in &asked {
            world.end(origin, Attempt::Answered);
        }
        assert_eq!(world.pass(seconds(100_000)), [""; 0], "nobody asks");
    }
}
