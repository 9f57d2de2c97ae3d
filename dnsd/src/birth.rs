//! What a cluster is born with: zones, who may update and transfer them, the first secret of
//! cookies.
//!
//! All of it stands in the first checkpoint, before anybody is a member. So a birth is all or
//! nothing, and costs one write of the zones, however many there are.

use crate::cookie::{Secret, Secrets};
use crate::policy::Policy;
use crate::state::{CookieSecrets, State, Zone};
use overlay::PeerId;
use replication::{Hybrid, Stamp};
use std::sync::Arc;
use std::time::Duration;
use zones::{Serial, Version};

/// What the command line gives to a new cluster.
#[derive(Default)]
pub struct Seeds {
    /// Zones, read and checked, with the serials that they are to have.
    pub zones: Vec<(Version, Serial)>,
    /// Who may update and transfer.
    pub policy: Policy,
    /// The first secret of cookies.
    pub cookies: Option<Secret>,
}

impl Seeds {
    /// The state of the first checkpoint.
    #[must_use]
    pub fn into_state(self, author: PeerId, wall: Duration) -> State {
        let mut state = State::empty();
        let zones = self.zones.into_iter().map(|(version, serial)| {
            let origin = version.origin().clone();
            let zone = Zone {
                version: Some(version),
                // As if one entry had brought it: its serial is E + 1.
                counted: 1,
                offset: Some(i64::from(serial.0) - 1),
                settings: None,
                fed: None,
            };
            (origin, zone)
        });
        state.put_zones(zones.collect());
        state.policy = Arc::new(self.policy);
        state.cookies = self.cookies.map(|secret| {
            Arc::new(CookieSecrets {
                secrets: Secrets::new(secret),
                since: Stamp {
                    hybrid: Hybrid::from_wall(wall),
                    author,
                },
            })
        });
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{WALL, key, public};
    use zones::Name;

    #[test]
    fn a_zone_has_the_serial_of_its_file() {
        for serial in [0, 1, 2_026_113_001, u32::MAX] {
            let origin: Name = "Example.".parse().unwrap();
            let version = Version::from_records(&origin, &[]).unwrap();
            let seeds = Seeds {
                zones: vec![(version, Serial(serial))],
                ..Seeds::default()
            };
            let state = seeds.into_state(public(&key(1)).peer_id(), WALL);
            assert_eq!(state.serial(&origin), Serial(serial));
            assert_eq!(state.zone_count(), 1);
        }
    }
}
