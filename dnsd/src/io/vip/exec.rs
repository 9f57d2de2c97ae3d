//! The driver that runs a program for each change, for BGP daemons and the interfaces of clouds.
//!
//! ```text
//!  COMMAND absent|ready|announced ADDRESS/LEN...
//!     ZONECAST_VIP        the lowest of the addresses, which names the group
//!     ZONECAST_STATE      the first argument once more
//!     ZONECAST_INTERFACE  the interfaces that the VIP is bound to, with spaces between
//!  exit 0: it is so. Else the last line that it wrote to its standard error says why.
//! ```
//!
//! It must be able to do the same again: `absent` is run at the start for each VIP, after another
//! one has failed or took too long, and by the guard; `announced` also when the VIP is to be
//! announced once more.
//!
//! Programs of different VIPs run at once, those of one VIP one after another: what is ordered while
//! one runs waits for its end, and of several changes that wait only the last one is made.

use super::backoff::Backoff;
use super::guarded::Guarded;
use super::program::execute;
use super::told::{Holding, Run, Say};
use super::{Cleaned, Guard, Orders, ReportTo, Settings};
use crate::io::clock;
use crate::vip::address::{VipAddress, VipId};
use crate::vip::kernel::{Heard, Kernel, Order, Report, Unfit};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tracing::{debug, warn};

/// Between two tries to make a VIP absent of which it is not known what an earlier run left.
const CLEAN_AGAIN: Duration = Duration::from_secs(1);
/// The longest such pause.
const CLEAN_AGAIN_MAX: Duration = Duration::from_secs(60);
/// Programs that run at once; a start runs one for each VIP.
const PROGRAMS_MAX: usize = 32;
/// Why nothing can be held while the guard runs programs.
const GUARD_RELEASES: &str = "the guard of virtual addresses releases all";
/// With nothing to wait for.
const IDLE: Duration = Duration::from_secs(3600);

/// Runs until no more orders can come.
pub(super) async fn run(
    settings: Settings,
    (program, timeout): (PathBuf, Duration),
    guard: Option<Guard>,
    report: ReportTo,
    mut orders: Orders,
    cleaned: Cleaned,
) {
    let (guard, mut says) = Guarded::new(guard);
    let (ended_in, mut ended) = unbounded_channel();
    let mut exec = Exec {
        program,
        timeout,
        lease: settings.lease,
        guard,
        report,
        vips: BTreeMap::new(),
        courses: BTreeMap::new(),
        can: None,
        guard_releases: false,
        let_go_for: None,
        places: Arc::new(Semaphore::new(PROGRAMS_MAX)),
        ended: ended_in,
    };
    // Nobody waits if the daemon stops at once.
    drop(cleaned.send(Ok(())));
    loop {
        let next = exec.next_timer();
        tokio::select! {
            biased;
            Some(say) = says.recv() => exec.handle_guard(say.as_ref()),
            Some((vip, result)) = ended.recv() => exec.handle_ended(vip, result),
            order = orders.recv() => match order {
                Some((given, order)) => exec.handle_order(given, order),
                None => break,
            },
            () = tokio::time::sleep_until(next.into()) => {}
        }
        exec.turn();
        exec.tell_can();
    }
    exec.stop(&mut ended).await;
}

struct Exec {
    program: PathBuf,
    timeout: Duration,
    lease: Duration,
    guard: Guarded,
    report: ReportTo,
    vips: BTreeMap<VipId, BTreeSet<VipAddress>>,
    /// What becomes of each VIP; also of one that is no more, until it is absent.
    courses: BTreeMap<VipId, Course>,
    can: Option<BTreeMap<VipId, Result<(), Unfit>>>,
    /// The guard runs programs: none of this driver may make it other than those do.
    guard_releases: bool,
    /// The time without a guard for which all was released.
    let_go_for: Option<Instant>,
    places: Arc<Semaphore>,
    ended: UnboundedSender<(VipId, Result<(), String>)>,
}

/// One VIP.
struct Course {
    is: Kernel,
    /// What makes it absent.
    undo: Run,
    /// Why a program runs for it; none does if there is no reason.
    runs: Option<Purpose>,
    /// The change to make once that has ended.
    next: Option<Kernel>,
    announce_again: bool,
    /// What an earlier run left of it; none once it has been absent.
    left: Option<Left>,
    /// When the last program that it was gained by had ended.
    gained: Option<Instant>,
    /// Whether the guard was at work while a program ran, of which nobody knows the later one.
    with_guard: WithGuard,
}

/// Why a program runs.
enum Purpose {
    /// To be rid of what an earlier run left.
    Clean,
    /// It was ordered.
    Change(Kernel),
    /// What should have brought it to this state has failed, and may have done half of it; why.
    Undo(Kernel, String),
    /// The segment is to be told again.
    Announce,
    /// The guard has released it, but failed, or perhaps before another program had ended; or there
    /// is no guard.
    Release,
}

/// What is known of what an earlier run left, which may have been killed together with its guard.
struct Left {
    /// Why it could not be made absent, if that was tried.
    why: Option<String>,
    backoff: Backoff,
    again: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum WithGuard {
    No,
    Yes,
}

impl Exec {
    fn handle_order(&mut self, given: Instant, order: Order) {
        match order {
            Order::Vips(vips) => self.set_vips(vips),
            Order::Change(vip, state) => {
                let is = self.state(vip);
                if state > is && given.elapsed() > self.lease {
                    // The guard may have released all by now, and another peer may hold it.
                    let why = "this machine was paused, or too slow".to_owned();
                    return (self.report)(Report::Failed(vip, is, why));
                }
                match self.courses.get_mut(&vip) {
                    Some(course) if course.runs.is_some() && course.left.is_none() => {
                        course.next = Some(state);
                    }
                    Some(_) => self.change(vip, state),
                    None => {
                        let why = "it is not a VIP of this daemon".to_owned();
                        (self.report)(Report::Failed(vip, is, why));
                    }
                }
            }
            Order::Announce(vip) => {
                if let Some(course) = self.courses.get_mut(&vip) {
                    course.announce_again = true;
                    self.go_on(vip);
                }
            }
            // The program's segment is nothing that could be asked.
            Order::Ask(vip) => (self.report)(Report::Segment(vip, Heard::Nobody)),
        }
    }

    fn set_vips(&mut self, vips: BTreeMap<VipId, BTreeSet<VipAddress>>) {
        self.vips = vips;
        let known: Vec<VipId> = self.courses.keys().copied().collect();
        for vip in known {
            self.forget_if_over(vip);
        }
        let program = (&*self.program, self.timeout);
        for (vip, group) in &self.vips {
            self.courses.entry(*vip).or_insert_with(|| Course {
                is: Kernel::Absent,
                undo: call(program, *vip, group, Kernel::Absent),
                runs: None,
                next: None,
                announce_again: false,
                left: Some(Left {
                    why: None,
                    backoff: Backoff::new(CLEAN_AGAIN, CLEAN_AGAIN_MAX),
                    again: Some(clock::now()),
                }),
                gained: None,
                with_guard: WithGuard::No,
            });
        }
        self.clean_due(clock::now());
    }

    /// Tries to be rid of what an earlier run left.
    fn clean_due(&mut self, now: Instant) {
        let is_due = |course: &Course| {
            let again = course.left.as_ref().and_then(|left| left.again);
            course.runs.is_none() && again.is_some_and(|again| again <= now)
        };
        let due = self.courses.iter().filter(|(_, course)| is_due(course));
        let due: Vec<VipId> = due.map(|(vip, _)| *vip).collect();
        for vip in due {
            let run = self.courses[&vip].undo.clone();
            self.begin(vip, Purpose::Clean, run);
        }
    }

    fn next_timer(&self) -> Instant {
        let waiting = self.courses.values().filter(|course| course.runs.is_none());
        let again = waiting.filter_map(|course| course.left.as_ref()?.again);
        let others = self.guard.next().into_iter().chain(self.unguarded_until());
        again
            .chain(others)
            .min()
            .unwrap_or_else(|| clock::now() + IDLE)
    }

    /// Begins a change. No program runs for the VIP, but for one that cleans up.
    fn change(&mut self, vip: VipId, state: Kernel) {
        let course = &self.courses[&vip];
        let (is, undo) = (course.is, course.undo.clone());
        if course.left.is_some() {
            let why = match state {
                // That is what the driver is about.
                Kernel::Absent => return (self.report)(Report::Is(vip, is)),
                Kernel::Ready | Kernel::Announced => "it has not been absent yet".to_owned(),
            };
            return (self.report)(Report::Failed(vip, is, why));
        }
        if state == Kernel::Absent {
            return self.begin(vip, Purpose::Change(state), undo);
        }
        if self.guard_releases {
            return (self.report)(Report::Failed(vip, is, GUARD_RELEASES.to_owned()));
        }
        let Some(group) = self.vips.get(&vip) else {
            let why = "it is no longer a VIP of this daemon".to_owned();
            return (self.report)(Report::Failed(vip, is, why));
        };
        let run = self.call(vip, group, state);
        let undo = match is {
            Kernel::Absent => self.call(vip, group, Kernel::Absent),
            // Its addresses may be others by now.
            Kernel::Ready | Kernel::Announced => undo,
        };
        self.course(vip).undo.clone_from(&undo);
        if let Err(why) = self.tell_guard(vip, Some(undo)) {
            return (self.report)(Report::Failed(vip, is, why));
        }
        self.begin(vip, Purpose::Change(state), run);
    }

    fn begin(&mut self, vip: VipId, purpose: Purpose, run: Run) {
        let course = self.course(vip);
        assert!(course.runs.is_none(), "one program of a VIP at a time");
        course.runs = Some(purpose);
        let (places, ended) = (Arc::clone(&self.places), self.ended.clone());
        tokio::spawn(async move {
            let place = places.acquire().await;
            let result = execute(&run).await;
            drop(place);
            // The driver outlives its programs, but for those that its end cuts off.
            drop(ended.send((vip, result)));
        });
    }

    /// A program has ended: what it was run for is done, or is not.
    fn handle_ended(&mut self, vip: VipId, result: Result<(), String>) {
        let course = self.course(vip);
        let purpose = course.runs.take().expect("what has ended had begun");
        let is = course.is;
        let by_guard = || "the guard of virtual addresses has released it meanwhile".to_owned();
        match (purpose, result) {
            (Purpose::Clean, Ok(())) => course.left = None,
            (Purpose::Clean, Err(why)) => {
                if let Some(left) = &mut course.left {
                    // The machine tells of it, once for each reason.
                    debug!(%vip, why, "an earlier run's VIP could not be made absent");
                    left.why = Some(why);
                    left.again = Some(clock::now() + left.backoff.fail());
                }
            }
            (Purpose::Change(Kernel::Absent), Ok(())) => {
                self.note_absent(vip);
                (self.report)(Report::Is(vip, Kernel::Absent));
            }
            (Purpose::Change(Kernel::Absent), Err(why)) => {
                (self.report)(Report::Failed(vip, is, why));
            }
            (Purpose::Change(state), result) => {
                course.gained = Some(clock::now());
                let failed = match (result, course.with_guard) {
                    (Err(why), _) => Some(why),
                    (Ok(()), WithGuard::Yes) => Some(by_guard()),
                    (Ok(()), WithGuard::No) => None,
                };
                match failed {
                    None => {
                        course.is = state;
                        (self.report)(Report::Is(vip, state));
                    }
                    Some(why) => {
                        let run = course.undo.clone();
                        self.begin(vip, Purpose::Undo(state, why), run);
                    }
                }
            }
            (Purpose::Undo(_, why), Ok(())) => {
                self.note_absent(vip);
                (self.report)(Report::Failed(vip, Kernel::Absent, why));
            }
            (Purpose::Undo(state, why), Err(_)) => {
                course.with_guard = WithGuard::No;
                if is == Kernel::Absent {
                    course.is = state;
                }
                let is = course.is;
                (self.report)(Report::Failed(vip, is, why));
            }
            (Purpose::Announce, result) => {
                course.gained = Some(clock::now());
                if let Err(why) = result {
                    warn!(%vip, why, "a VIP was not announced again");
                }
                if course.with_guard == WithGuard::Yes {
                    let run = course.undo.clone();
                    self.begin(vip, Purpose::Release, run);
                }
            }
            (Purpose::Release, result) => {
                let next = course.next.take();
                course.with_guard = WithGuard::No;
                let report = match (result, next) {
                    (Ok(()), None) => Report::Lost(vip, Kernel::Absent),
                    (Ok(()), Some(Kernel::Absent)) => Report::Is(vip, Kernel::Absent),
                    // It was ordered before this peer knew that it had been away.
                    (Ok(()), Some(_)) => Report::Failed(vip, Kernel::Absent, by_guard()),
                    (Err(why), _) => Report::Failed(vip, is, why),
                };
                if matches!(report, Report::Failed(_, is, _) if is != Kernel::Absent) {
                    debug!(%vip, "what the guard has released is not known to be absent");
                } else {
                    self.note_absent(vip);
                }
                (self.report)(report);
            }
        }
        self.go_on(vip);
    }

    /// Begins what waits for the end of a program.
    fn go_on(&mut self, vip: VipId) {
        let course = self.course(vip);
        if course.runs.is_some() {
            return;
        }
        if let Some(state) = course.next.take() {
            return self.change(vip, state);
        }
        let again = std::mem::take(&mut course.announce_again);
        let is = course.is;
        if again && is == Kernel::Announced && !self.guard_releases {
            match self.vips.get(&vip) {
                Some(group) => {
                    let run = self.call(vip, group, Kernel::Announced);
                    self.begin(vip, Purpose::Announce, run);
                }
                None => debug!(%vip, "what is no VIP any more is not announced again"),
            }
        }
        self.forget_if_over(vip);
    }

    fn note_absent(&mut self, vip: VipId) {
        let course = self.course(vip);
        course.is = Kernel::Absent;
        course.with_guard = WithGuard::No;
        course.gained = None;
        if let Err(why) = self.tell_guard(vip, None) {
            // It does too much at worst, and a dead one is replaced.
            debug!(%vip, why, "the guard does not know that a VIP is absent");
        }
    }

    fn forget_if_over(&mut self, vip: VipId) {
        let is_over = self
            .courses
            .get(&vip)
            .is_some_and(|course| course.is == Kernel::Absent && course.runs.is_none());
        if is_over && !self.vips.contains_key(&vip) {
            self.courses.remove(&vip);
        }
    }

    /// Makes all absent.
    async fn stop(&mut self, ended: &mut UnboundedReceiver<(VipId, Result<(), String>)>) {
        let mut left: BTreeSet<VipId> = self.courses.keys().copied().collect();
        // Nothing more is ordered or known to be wrong.
        self.vips.clear();
        loop {
            for vip in std::mem::take(&mut left) {
                match self.courses.get_mut(&vip) {
                    Some(course) if course.runs.is_some() => {
                        course.next = None;
                        course.announce_again = false;
                        left.insert(vip);
                    }
                    // What fails is left to the guard, which knows of it still.
                    Some(course) if course.is != Kernel::Absent => {
                        let undo = course.undo.clone();
                        self.begin(vip, Purpose::Change(Kernel::Absent), undo);
                    }
                    Some(_) | None => {}
                }
            }
            if self.courses.values().all(|course| course.runs.is_none()) {
                return;
            }
            if let Some((vip, result)) = ended.recv().await {
                self.handle_ended(vip, result);
            }
        }
    }

    fn call(&self, vip: VipId, group: &BTreeSet<VipAddress>, state: Kernel) -> Run {
        call((&self.program, self.timeout), vip, group, state)
    }

    fn course(&mut self, vip: VipId) -> &mut Course {
        let course = self.courses.get_mut(&vip);
        course.expect("it is forgotten only when nothing is left to do for it")
    }

    fn state(&self, vip: VipId) -> Kernel {
        let course = self.courses.get(&vip);
        course.map_or(Kernel::Absent, |course| course.is)
    }

    fn tell_guard(&mut self, vip: VipId, run: Option<Run>) -> Result<(), String> {
        let places = Vec::new();
        self.guard.hold(vip, Holding { places, run })
    }

    fn handle_guard(&mut self, said: Option<&Say>) {
        self.guard.hear(said);
        match said {
            Some(Say::Removing) => self.handle_removing(),
            Some(Say::Removed(failed)) => self.handle_removed(failed),
            Some(Say::Stands(_) | Say::Waits) => {}
            None => self.guard_releases = false,
        }
    }

    /// When what is held has been unguarded for as long as a machine may hang.
    fn unguarded_until(&self) -> Option<Instant> {
        let since = self.guard.unguarded()?;
        let mut held = self.courses.values();
        let is_held = held.any(|course| course.is != Kernel::Absent && course.runs.is_none());
        (is_held && self.let_go_for != Some(since)).then(|| since + self.lease)
    }

    /// The machine lets go of its own when it hears that there is no guard; now it may hang too.
    fn let_go_of_all(&mut self) {
        warn!("no guard of virtual addresses stands: the VIPs are released");
        self.let_go_for = self.guard.unguarded();
        let vips: Vec<VipId> = self.courses.keys().copied().collect();
        for vip in vips {
            let course = self.course(vip);
            match course.runs {
                Some(Purpose::Change(_) | Purpose::Announce) => course.with_guard = WithGuard::Yes,
                Some(Purpose::Clean | Purpose::Undo(..) | Purpose::Release) => {}
                None if course.is == Kernel::Absent => {}
                None => {
                    let run = course.undo.clone();
                    self.begin(vip, Purpose::Release, run);
                }
            }
        }
    }

    /// Does what has come due.
    fn turn(&mut self) {
        let now = clock::now();
        self.guard.turn(now);
        if self.unguarded_until().is_some_and(|until| until <= now) {
            self.let_go_of_all();
        }
        self.clean_due(now);
    }

    /// The guard runs programs too. If one of this driver runs meanwhile, or had ended when this
    /// thread was stopped, nobody knows which of the two was the later one.
    fn handle_removing(&mut self) {
        self.guard_releases = true;
        for course in self.courses.values_mut() {
            let gains = match &course.runs {
                Some(Purpose::Change(state)) => *state != Kernel::Absent,
                Some(Purpose::Announce) => true,
                Some(Purpose::Clean | Purpose::Undo(..) | Purpose::Release) => false,
                // Of a thread that was stopped both come when it goes on.
                None => course
                    .gained
                    .is_some_and(|at| at.elapsed() < self.lease / 2),
            };
            if gains {
                course.with_guard = WithGuard::Yes;
            }
        }
    }

    fn handle_removed(&mut self, failed: &BTreeSet<IpAddr>) {
        self.guard_releases = false;
        let vips: Vec<VipId> = self.courses.keys().copied().collect();
        for vip in vips {
            let course = self.course(vip);
            if course.runs.is_some() || course.is == Kernel::Absent {
                // What runs has been noted, or makes it absent.
                continue;
            }
            if course.with_guard == WithGuard::Yes || failed.contains(&vip.0) {
                let run = course.undo.clone();
                self.begin(vip, Purpose::Release, run);
            } else {
                self.note_absent(vip);
                (self.report)(Report::Lost(vip, Kernel::Absent));
                self.forget_if_over(vip);
            }
        }
    }

    /// Tells which VIPs can be held, if that has changed.
    fn tell_can(&mut self) {
        let guard = match self.guard.stands() {
            Ok(()) => self.guard_releases.then_some(GUARD_RELEASES),
            Err(why) => Some(why),
        };
        let can = self.vips.keys().filter_map(|vip| {
            let left = self.courses.get(vip)?.left.as_ref();
            let why = match (guard, left) {
                (Some(why), _) => Some(why),
                // Whether its program works is not known yet.
                (None, Some(left)) => Some(left.why.as_deref()?),
                (None, None) => None,
            };
            let can = why.map_or(Ok(()), |why| Err(Unfit::Driver(why.to_owned())));
            Some((*vip, can))
        });
        let can: BTreeMap<VipId, Result<(), Unfit>> = can.collect();
        // Before any are known there is nothing to say.
        let is_early = can.is_empty() && self.can.is_none();
        if self.can.as_ref() != Some(&can) && !is_early {
            self.can = Some(can.clone());
            (self.report)(Report::Can(can));
        }
    }
}

fn call(
    (program, timeout): (&Path, Duration),
    vip: VipId,
    group: &BTreeSet<VipAddress>,
    state: Kernel,
) -> Run {
    let addresses = group
        .iter()
        .map(|address| format!("{}/{}", address.address, address.prefix_len));
    let interfaces: BTreeSet<&str> = group
        .iter()
        .filter_map(|address| address.interface.as_deref())
        .collect();
    let interfaces: Vec<&str> = interfaces.into_iter().collect();
    Run {
        program: program.to_owned(),
        args: std::iter::once(state.to_string())
            .chain(addresses)
            .collect(),
        env: BTreeMap::from([
            ("ZONECAST_VIP".to_owned(), vip.to_string()),
            ("ZONECAST_STATE".to_owned(), state.to_string()),
            ("ZONECAST_INTERFACE".to_owned(), interfaces.join(" ")),
        ]),
        timeout,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vip::address::group_id;

    #[test]
    fn a_program_is_called_as_documented() {
        let group: BTreeSet<VipAddress> = ["192.0.2.53/24@eth0", "2001:db8::53/64"]
            .map(|text| text.parse().unwrap())
            .into();
        let run = call(
            (Path::new("/x"), Duration::ZERO),
            group_id(&group),
            &group,
            Kernel::Ready,
        );
        assert_eq!(run.args, ["ready", "192.0.2.53/24", "2001:db8::53/64"]);
        let env: Vec<(&str, &str)> = run
            .env
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        assert_eq!(
            env,
            [
                ("ZONECAST_INTERFACE", "eth0"),
                ("ZONECAST_STATE", "ready"),
                ("ZONECAST_VIP", "192.0.2.53"),
            ]
        );
    }
}
