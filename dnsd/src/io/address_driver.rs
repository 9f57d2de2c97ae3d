//! The driver of addresses and its guard, started when there is something to drive.
//!
//! Most clusters have no VIP: they run no further process, and touch no interface.

use super::clock;
use super::driver::Input;
use super::vip::{self, Alone, Beats, Guard, GuardSettings, Handle, Kind, Settings};
use crate::vip::kernel::{Order, Report};
use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::SyncSender;
use std::time::Duration;
use tracing::error;

/// What the peer thread drives addresses by.
pub struct AddressDriver {
    settings: Settings,
    lease: Duration,
    inputs: SyncSender<Input>,
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
    /// Starts at once only if an earlier run has left addresses.
    #[must_use]
    pub fn new(settings: Settings, lease: Duration, inputs: SyncSender<Input>) -> Self {
        let has_leftovers = settings.record.exists();
        let mut addresses = Self {
            settings,
            lease,
            inputs,
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
        match &mut self.stage {
            Stage::Idle | Stage::Failed => {}
            Stage::Starting(waiting) => waiting.push_back(order),
            Stage::Running(running) => running.handle.order(order),
        }
    }

    /// The main loop goes on.
    pub fn beat(&self) {
        if let Stage::Running(Running {
            beats: Some(beats), ..
        }) = &self.stage
        {
            beats.beat();
        }
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

    fn start(&mut self) {
        self.stage = Stage::Starting(VecDeque::new());
        let (settings, lease, inputs) = (self.settings.clone(), self.lease, self.inputs.clone());
        clock::spawn("vip-start", move || {
            let reports = inputs.clone();
            let report = Box::new(move |report: Report| drop(reports.send(Input::Address(report))));
            drop(inputs.send(Input::AddressesStarted(run(settings, lease, report))));
        });
    }
}

fn run(settings: Settings, lease: Duration, report: vip::ReportTo) -> io::Result<Running> {
    let guard = match settings.kind {
        Kind::Log => None,
        Kind::Netlink | Kind::Exec { .. } => {
            let alone = match settings.kind {
                Kind::Netlink => Alone::Yes,
                Kind::Log | Kind::Exec { .. } => Alone::No,
            };
            Some(Guard::start(GuardSettings {
                record: Some(settings.record.clone()),
                ..GuardSettings::new(lease, alone)
            })?)
        }
    };
    let beats = guard.as_ref().map(Guard::beats);
    // The guard wants to hear the main loop from now on; that knows of it only a little later.
    if let Some(beats) = &beats {
        beats.beat();
    }
    let handle = vip::start(settings, guard, report)?;
    Ok(Running { handle, beats })
}
