//! The guard as a driver has it: heard, replaced when it ends, and asked before anything is held.

use super::Guard;
use super::guard::GuardState;
use super::told::{Holding, KernelSetting, Say};
use crate::io::clock;
use crate::vip::address::VipId;
use std::time::Instant;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tracing::{debug, info, warn};

/// Why nothing can be held or told.
const NONE: &str = "no guard of virtual addresses was started";

/// The guard of a driver, if there is one.
pub(super) struct Guarded {
    guard: Option<Guard>,
    /// When another one is to be started in its place.
    again: Option<Instant>,
    says: UnboundedSender<Option<Say>>,
}

impl Guarded {
    /// Begins to listen; what is heard goes through [`Self::hear`]. Called within a runtime.
    pub(super) fn new(guard: Option<Guard>) -> (Self, UnboundedReceiver<Option<Say>>) {
        let (says, heard) = unbounded_channel();
        let again = None;
        let mut guarded = Self { guard, again, says };
        guarded.listen();
        (guarded, heard)
    }

    fn listen(&mut self) {
        let says = self.says.clone();
        // The driver outlives its inputs.
        let pass = move |say| drop(says.send(say));
        if let Some(guard) = &mut self.guard
            && let Err(error) = guard.listen(pass)
        {
            warn!(%error, "cannot hear the guard of virtual addresses");
            self.again = Some(clock::now() + guard.ended());
        }
    }

    /// Takes note of what the guard said, or that it has ended.
    pub(super) fn hear(&mut self, said: Option<&Say>) {
        let Some(guard) = &mut self.guard else {
            return;
        };
        let Some(say) = said else {
            if *guard.state() == GuardState::Stands {
                warn!("the guard of virtual addresses ended: another one is started");
            }
            self.again = Some(clock::now() + guard.ended());
            return;
        };
        guard.heard(say);
        match say {
            Say::Stands(_) | Say::Waits => info!(guard = ?guard.state(), "guard of VIPs"),
            Say::Removing => {
                warn!(
                    "the threads of this peer stood still for a lease: the guard releases the VIPs"
                );
            }
            Say::Removed(_) => {}
        }
    }

    /// When [`Self::turn`] has something to do.
    pub(super) fn next(&self) -> Option<Instant> {
        self.again
    }

    /// Starts another guard once it is time to.
    pub(super) fn turn(&mut self, now: Instant) {
        if self.again.is_none_or(|again| now < again) {
            return;
        }
        self.again = None;
        match self.guard.as_mut().map(Guard::start_again) {
            Some(Err(error)) => {
                debug!(%error, "cannot start the guard of virtual addresses");
                let pause = self.guard.as_mut().map(Guard::ended);
                self.again = pause.map(|pause| clock::now() + pause);
            }
            Some(Ok(())) => self.listen(),
            None => {}
        }
    }

    /// Whether VIPs can be held, or why not.
    pub(super) fn stands(&self) -> Result<(), &str> {
        match self.guard.as_ref().map(Guard::state) {
            Some(GuardState::Stands) => Ok(()),
            Some(GuardState::Unfit(why)) => Err(why),
            None => Err(NONE),
        }
    }

    /// Since when nothing that is held is guarded.
    pub(super) fn unguarded(&self) -> Option<Instant> {
        self.guard.as_ref().and_then(Guard::unguarded)
    }

    /// Says what a VIP has from here on. A guard that cannot be told is ended, to be replaced.
    pub(super) fn hold(&mut self, vip: VipId, holding: Holding) -> Result<(), String> {
        let guard = self.guard.as_mut().ok_or(NONE)?;
        guard.hold(vip, holding).map_err(|error| {
            guard.give_up();
            format!("the guard of virtual addresses takes no word: {error}")
        })
    }

    /// Says which settings are to be written at the end.
    pub(super) fn restore(&mut self, settings: Vec<KernelSetting>) -> Result<(), String> {
        let guard = self.guard.as_mut().ok_or(NONE)?;
        let told = guard.restore(settings);
        told.map_err(|error| format!("the guard of virtual addresses takes no word: {error}"))
    }
}
