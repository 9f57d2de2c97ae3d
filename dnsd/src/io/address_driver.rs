//! The driver of addresses, its guard and the peer's own questions, started with the first VIP.
//!
//! Most clusters have no VIP: they run no further process, and touch no interface.

use super::clock;
use super::driver::Input;
use super::self_check::SelfChecks;
use super::vip::{self, Alone, Beats, Guard, GuardSettings, Handle, Kind, Settings};
use crate::serve::Served;
use crate::vip::address::{VipAddress, VipId};
use crate::vip::kernel::{Order, Report, Unfit};
use arc_swap::ArcSwap;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, channel};
use std::time::Duration;
use tracing::{error, warn};

/// What the peer thread drives addresses by.
pub struct AddressDriver {
    settings: Settings,
    lease: Duration,
    listen: Vec<SocketAddr>,
    served: Arc<ArcSwap<Served>>,
    inputs: SyncSender<Input>,
    /// The VIPs that no listener here takes packets for.
    deaf: BTreeSet<VipId>,
    /// Whether an earlier run has left addresses that may stand still.
    has_leftovers: bool,
    self_checks: Option<SelfChecks>,
    stage: Stage,
}

enum Stage {
    /// There was nothing to do yet.
    Idle,
    /// It starts, on a thread of its own, as a guard may have to wait for another's end.
    Starting(VecDeque<Order>),
    Running(Running),
    /// It could not start.
    Failed,
}

/// A driver and a guard that run.
pub struct Running {
    handle: Handle,
    beats: Option<Beats>,
}

impl AddressDriver {
    /// Starts at once only if an earlier run has left addresses. `listen` is where DNS is served.
    #[must_use]
    pub fn new(
        settings: Settings,
        lease: Duration,
        listen: Vec<SocketAddr>,
        served: Arc<ArcSwap<Served>>,
        inputs: SyncSender<Input>,
    ) -> Self {
        let has_leftovers = settings.record.exists();
        let mut addresses = Self {
            settings,
            lease,
            listen,
            served,
            inputs,
            deaf: BTreeSet::new(),
            has_leftovers,
            self_checks: None,
            stage: Stage::Idle,
        };
        if has_leftovers {
            addresses.start();
        }
        addresses
    }

    /// Hands an order of the machine over.
    pub fn order(&mut self, order: Order) {
        let is_needed = !matches!(&order, Order::Vips(vips) if vips.is_empty());
        if matches!(self.stage, Stage::Idle) && is_needed {
            self.start();
        }
        if let Order::Vips(vips) = &order {
            self.note_deaf(vips);
        }
        match &mut self.stage {
            Stage::Idle | Stage::Failed => {}
            Stage::Starting(waiting) => waiting.push_back(order),
            Stage::Running(running) => running.handle.order(order),
        }
    }

    /// True while what an earlier run left is being removed. Others must not hear this peer before:
    /// they take by what it says that it announces, and it says nothing.
    #[must_use]
    pub fn is_cleaning(&self) -> bool {
        self.has_leftovers && matches!(self.stage, Stage::Starting(_))
    }

    /// What the driver says, with what it cannot know: where DNS is served.
    #[must_use]
    pub fn complete(&self, report: Report) -> Report {
        let Report::Can(mut fitness) = report else {
            return report;
        };
        for vip in &self.deaf {
            if let Some(fit @ Ok(())) = fitness.get_mut(vip) {
                *fit = Err(Unfit::Driver(
                    "no listener here takes its packets: serve DNS on 0.0.0.0 and [::]".to_owned(),
                ));
            }
        }
        Report::Can(fitness)
    }

    /// The main loop goes on, and the link thread did so long ago.
    pub fn beat(&self, ago: Duration) {
        if let Stage::Running(Running {
            beats: Some(beats), ..
        }) = &self.stage
        {
            beats.beat(ago);
        }
    }

    /// Takes everything away, and drives nothing any more.
    pub fn stop(&mut self) {
        self.self_checks = None;
        self.stage = Stage::Failed;
    }

    /// The start has come to its end.
    pub fn handle_started(&mut self, started: io::Result<Running>) {
        let running = match started {
            Ok(running) => running,
            Err(error) => {
                error!(%error, "the driver of virtual addresses does not start");
                self.stage = Stage::Failed;
                return;
            }
        };
        if let Stage::Starting(waiting) = &mut self.stage {
            for order in waiting.drain(..) {
                running.handle.order(order);
            }
        }
        self.stage = Stage::Running(running);
    }

    fn note_deaf(&mut self, vips: &BTreeMap<VipId, BTreeSet<VipAddress>>) {
        let is_served = |vip: &VipAddress| {
            let mut listen = self.listen.iter().map(SocketAddr::ip);
            listen.any(|ip| ip == vip.address || takes_all(ip, vip.address))
        };
        let deaf = vips
            .iter()
            .filter(|(_, group)| !group.iter().all(is_served));
        self.deaf = deaf.map(|(vip, _)| *vip).collect();
    }

    fn start(&mut self) {
        self.stage = Stage::Starting(VecDeque::new());
        let told = self.inputs.clone();
        let tell = move |is_sick| drop(told.send(Input::SelfCheck(is_sick)));
        let served = Arc::clone(&self.served);
        self.self_checks = Some(SelfChecks::start(&self.listen, served, tell));
        let (settings, lease, inputs) = (self.settings.clone(), self.lease, self.inputs.clone());
        clock::spawn("vip-start", move || {
            let report = pass_on(inputs.clone());
            drop(inputs.send(Input::AddressesStarted(run(settings, lease, report))));
        });
    }
}

/// Brings reports to the peer thread without letting the driver wait: that may have to take VIPs
/// away just because the peer thread is behind. None is lost, and none overtakes another. They are
/// few, as the driver does what it is ordered to and tells of what changes.
fn pass_on(inputs: SyncSender<Input>) -> vip::ReportTo {
    let (reports, waiting) = channel();
    clock::spawn("vip-reports", move || {
        for report in waiting {
            if inputs.send(Input::Address(report)).is_err() {
                // The peer thread has ended.
                break;
            }
        }
    });
    Box::new(move |report| drop(reports.send(report)))
}

/// True if what listens on `listen` takes packets to any address of the family.
fn takes_all(listen: IpAddr, address: IpAddr) -> bool {
    listen.is_unspecified() && listen.is_ipv4() == address.is_ipv4()
}

fn run(settings: Settings, lease: Duration, report: vip::ReportTo) -> io::Result<Running> {
    let of_netlink = GuardSettings {
        record: Some(settings.record.clone()),
        ..GuardSettings::new(lease, Alone::Yes)
    };
    let guard = match settings.kind {
        Kind::Netlink => Some(of_netlink),
        Kind::Log | Kind::Exec { .. } => {
            // The last run may have had another driver.
            if let Err(error) = vip::remove_leftovers(&settings, of_netlink) {
                warn!(%error, "the virtual addresses of an earlier run cannot be removed");
            }
            let of_exec = GuardSettings::new(lease, Alone::No);
            (settings.kind != Kind::Log).then_some(of_exec)
        }
    };
    let guard = guard.map(Guard::start).transpose()?;
    let beats = guard.as_ref().map(Guard::beats);
    // The guard wants to hear the main loop from now on; that knows of it only a little later.
    if let Some(beats) = &beats {
        beats.beat(Duration::ZERO);
    }
    let handle = vip::start(settings, guard, report)?;
    Ok(Running { handle, beats })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vip::kernel::Kernel;
    use std::sync::mpsc::sync_channel;

    #[test]
    fn reports_do_not_wait_for_a_peer_thread_that_is_behind() {
        let (inputs, received) = sync_channel(1);
        let report = pass_on(inputs);
        let vip = VipId(IpAddr::from([192, 0, 2, 53]));
        let states = [Kernel::Ready, Kernel::Announced, Kernel::Absent];
        for state in states {
            report(Report::Is(vip, state));
        }
        drop(report);
        let passed: Vec<Kernel> = received
            .iter()
            .map(|input| match input {
                Input::Address(Report::Is(_, state)) => state,
                other => panic!("{} is no report", other.name()),
            })
            .collect();
        assert_eq!(passed, states);
    }
}
