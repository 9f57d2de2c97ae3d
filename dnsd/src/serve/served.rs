//! What queries see: all zones, and who may update and transfer them.

use crate::cookie::Secrets;
use crate::history::Chains;
use crate::policy::Policy;
use crate::remote::Remote;
use crate::state::{Remembered, Zone};
use crate::tsig::Keys;
use imbl::OrdMap;
use std::sync::Arc;
use zones::{Name, ZoneTable};

/// One state of a peer towards its clients. It never changes; a newer one is put in its place by
/// one atomic pointer, and each request is answered from one of them.
#[derive(Clone, Default)]
pub struct Served {
    /// The zones.
    pub zones: ZoneTable,
    /// What is known of every origin: where fed zones come from.
    pub origins: OrdMap<Name, Zone>,
    /// Who may do more than ask.
    pub policy: Arc<Policy>,
    /// Who may sign requests.
    pub keys: Arc<Keys>,
    /// By what server cookies are made and known; none: the option COOKIE is ignored.
    pub cookies: Option<Secrets>,
    /// Requests that have an outcome: one that comes again goes to the peer whatever the policy
    /// says by now.
    pub remembered: Remembered,
    /// The way to the serials that are shown, from those that were shown before.
    pub history: Chains,
    /// How many settled states were on their way to be published, this side having the majority.
    pub begun: u64,
    /// Up to which of them what is shown has come.
    pub shown: u64,
}

impl Served {
    /// The servers that a zone comes from; none if it is ours.
    #[must_use]
    pub fn primaries(&self, origin: &Name) -> Option<&[Remote]> {
        let zone = self.origins.get(origin)?;
        let settings = zone.settings.as_deref().filter(|_| zone.fed.is_some())?;
        Some(&settings.primaries)
    }
}
