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

use super::guard::GuardState;
use super::program::execute;
use super::told::{Holding, Run, Say};
use super::{Cleaned, Guard, Orders, ReportTo};
use crate::vip::address::{VipAddress, VipId};
use crate::vip::kernel::{Heard, Kernel, Order, Report, Unfit};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tracing::{debug, warn};

/// Between two tries to start a guard.
const RETRY: Duration = Duration::from_secs(1);

/// Runs until no more orders can come.
pub(super) async fn run(
    program: PathBuf,
    timeout: Duration,
    guard: Option<Guard>,
    report: ReportTo,
    mut orders: Orders,
    cleaned: Cleaned,
) {
    let (says_in, mut says) = unbounded_channel();
    let mut exec = Exec {
        program,
        timeout,
        guard,
        report,
        vips: BTreeMap::new(),
        held: BTreeMap::new(),
        unfit: BTreeMap::new(),
        says: says_in,
    };
    exec.listen_to_guard();
    // Nobody waits if the daemon stops at once.
    drop(cleaned.send(Ok(())));
    loop {
        tokio::select! {
            biased;
            Some(say) = says.recv() => exec.handle_guard(say, &mut says).await,
            order = orders.recv() => match order {
                Some((_, order)) => exec.handle_order(order).await,
                None => break,
            },
        }
    }
    let held: Vec<VipId> = exec.held.keys().copied().collect();
    for vip in held {
        exec.change(vip, Kernel::Absent).await;
    }
}

struct Exec {
    program: PathBuf,
    timeout: Duration,
    guard: Option<Guard>,
    report: ReportTo,
    vips: BTreeMap<VipId, BTreeSet<VipAddress>>,
    /// Those that are not absent, with what is run to make them so.
    held: BTreeMap<VipId, (Kernel, Run)>,
    /// VIPs that could not be made absent at the start, and why.
    unfit: BTreeMap<VipId, String>,
    says: UnboundedSender<Option<Say>>,
}

impl Exec {
    async fn handle_order(&mut self, order: Order) {
        match order {
            Order::Vips(vips) => {
                let before = std::mem::replace(&mut self.vips, vips);
                let new: Vec<VipId> = self.vips.keys().copied().collect();
                for vip in new {
                    if before.contains_key(&vip) || self.held.contains_key(&vip) {
                        continue;
                    }
                    self.unfit.remove(&vip);
                    // An earlier run may have been killed together with its guard.
                    if let Some(run) = self.call(vip, Kernel::Absent)
                        && let Err(why) = execute(&run, self.timeout).await
                    {
                        self.unfit.insert(vip, why);
                    }
                }
                self.tell_can();
            }
            Order::Change(vip, state) => {
                let report = self.change(vip, state).await;
                (self.report)(report);
            }
            Order::Announce(vip) => {
                let is_announced = |(state, _): &(Kernel, Run)| *state == Kernel::Announced;
                if self.held.get(&vip).is_some_and(is_announced)
                    && let Some(run) = self.call(vip, Kernel::Announced)
                    && let Err(why) = execute(&run, self.timeout).await
                {
                    warn!(%vip, why, "a VIP was not announced again");
                }
            }
            // The program's segment is nothing that could be asked.
            Order::Ask(vip) => (self.report)(Report::Segment(vip, Heard::Nobody)),
        }
    }

    async fn change(&mut self, vip: VipId, state: Kernel) -> Report {
        let is = self.held.get(&vip).map_or(Kernel::Absent, |(is, _)| *is);
        let undo = match self.held.get(&vip) {
            Some((_, undo)) => Some(undo.clone()),
            None => self.call(vip, Kernel::Absent),
        };
        let Some(undo) = undo else {
            let why = "it is not a VIP of this daemon";
            return Report::Failed(vip, is, why.to_owned());
        };
        if state == Kernel::Absent {
            return match self.release(vip, &undo).await {
                Ok(()) => Report::Is(vip, Kernel::Absent),
                Err(why) => Report::Failed(vip, is, why),
            };
        }
        let Some(run) = self.call(vip, state) else {
            let why = "it is no longer a VIP of this daemon";
            return Report::Failed(vip, is, why.to_owned());
        };
        if let Err(why) = self.tell_guard(vip, Some(undo.clone())) {
            return Report::Failed(vip, is, why);
        }
        match execute(&run, self.timeout).await {
            Ok(()) => {
                self.held.insert(vip, (state, undo));
                Report::Is(vip, state)
            }
            // It may have done half of it.
            Err(why) => match self.release(vip, &undo).await {
                Ok(()) => Report::Failed(vip, Kernel::Absent, why),
                Err(_) => {
                    self.held.entry(vip).or_insert((state, undo));
                    Report::Failed(vip, self.held[&vip].0, why)
                }
            },
        }
    }

    async fn release(&mut self, vip: VipId, undo: &Run) -> Result<(), String> {
        execute(undo, self.timeout).await?;
        self.held.remove(&vip);
        if let Err(why) = self.tell_guard(vip, None) {
            // It does too much at worst, and a dead one is replaced.
            debug!(%vip, why, "the guard does not know that a VIP is absent");
        }
        Ok(())
    }

    fn tell_guard(&mut self, vip: VipId, run: Option<Run>) -> Result<(), String> {
        let guard = self.guard.as_mut().ok_or("there is no guard")?;
        let places = Vec::new();
        guard.hold(vip, Holding { places, run }).map_err(|error| {
            guard.give_up();
            format!("the guard of virtual addresses takes no word: {error}")
        })
    }

    async fn handle_guard(&mut self, say: Option<Say>, says: &mut UnboundedReceiver<Option<Say>>) {
        let Some(guard) = &mut self.guard else {
            return;
        };
        match say {
            Some(say) => {
                guard.heard(&say);
                if say == Say::Removed {
                    warn!("no beat came for a lease: the guard has released the VIPs");
                    for vip in std::mem::take(&mut self.held).into_keys() {
                        // A dead guard has nothing to forget.
                        drop(guard.hold(vip, Holding::default()));
                        (self.report)(Report::Lost(vip, Kernel::Absent));
                    }
                }
            }
            None => {
                warn!("the guard of virtual addresses ended: another one is started");
                if let Err(error) = guard.start_again() {
                    warn!(%error, "cannot start the guard of virtual addresses");
                    tokio::time::sleep(RETRY).await;
                    drop(self.says.send(None));
                } else {
                    while says.try_recv().is_ok() {}
                    self.listen_to_guard();
                }
            }
        }
        self.tell_can();
    }

    fn listen_to_guard(&self) {
        let says = self.says.clone();
        // The driver outlives its inputs.
        let pass = move |say| drop(says.send(say));
        if let Some(guard) = &self.guard
            && let Err(error) = guard.listen(pass)
        {
            warn!(%error, "cannot hear the guard of virtual addresses");
        }
    }

    fn tell_can(&self) {
        let guard = match self.guard.as_ref().map(Guard::state) {
            Some(GuardState::Stands) => None,
            Some(GuardState::Unfit(why)) => Some(why.clone()),
            None => Some("no guard of virtual addresses was started".to_owned()),
        };
        let can = self.vips.keys().map(|vip| {
            let why = guard.as_ref().or_else(|| self.unfit.get(vip));
            let can = why.map_or(Ok(()), |why| Err(Unfit::Driver(why.clone())));
            (*vip, can)
        });
        (self.report)(Report::Can(can.collect()));
    }

    fn call(&self, vip: VipId, state: Kernel) -> Option<Run> {
        let group = self.vips.get(&vip)?;
        Some(call(&self.program, vip, group, state))
    }
}

fn call(program: &Path, vip: VipId, group: &BTreeSet<VipAddress>, state: Kernel) -> Run {
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
        let run = call(Path::new("/x"), group_id(&group), &group, Kernel::Ready);
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
