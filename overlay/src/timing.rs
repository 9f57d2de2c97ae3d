//! The profiles lan, wan and fast: every timer and its reason (overlay protocol section 3).

use std::str::FromStr;
use std::time::Duration;

/// Which set of timers; all peers of a cluster use one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Profile {
    /// One site.
    #[default]
    Lan,
    /// Several sites.
    Wan,
    /// One quiet site whose addresses must move fast.
    Fast,
}

impl Profile {
    /// The timers of the profile.
    #[must_use]
    pub fn timing(self) -> Timing {
        let ms = Duration::from_millis;
        let lan = Timing {
            heartbeat: ms(25),
            deadline_min: ms(150),
            deadline_max: ms(400),
            probe_min: ms(6),
            hold: ms(75),
            hold_max: ms(2_000),
            refresh: ms(1_000),
            life: ms(3_500),
            agree_limit: ms(500),
            lease: ms(100),
            ack_delay: ms(2),
            summary: ms(20),
            store_keep: ms(2_000),
        };
        match self {
            Self::Lan => lan,
            Self::Wan => Timing {
                heartbeat: ms(100),
                deadline_min: ms(1_000),
                deadline_max: ms(3_000),
                probe_min: ms(100),
                hold: ms(300),
                hold_max: ms(5_000),
                refresh: ms(5_000),
                life: ms(17_500),
                agree_limit: ms(4_000),
                lease: ms(700),
                summary: ms(100),
                store_keep: ms(10_000),
                ..lan
            },
            Self::Fast => Timing {
                heartbeat: ms(10),
                deadline_min: ms(40),
                deadline_max: ms(150),
                probe_min: ms(4),
                hold: ms(30),
                agree_limit: ms(300),
                lease: ms(25),
                ack_delay: ms(1),
                summary: ms(10),
                ..lan
            },
        }
    }
}

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(text: &str) -> Result<Self, UnknownProfile> {
        match text {
            "lan" => Ok(Self::Lan),
            "wan" => Ok(Self::Wan),
            "fast" => Ok(Self::Fast),
            _ => Err(UnknownProfile),
        }
    }
}

/// The text is none of `lan`, `wan` and `fast`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnknownProfile;

/// The timers of one profile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// Between two heartbeats; any packet of the neighbor counts as one.
    pub heartbeat: Duration,
    /// The shortest silence that ends a link.
    pub deadline_min: Duration,
    /// The longest silence that a link survives.
    pub deadline_max: Duration,
    /// How long a probe waits after a hint, unless three round trips take longer.
    pub probe_min: Duration,
    /// How long good news waits: heard for this long before the link is up.
    pub hold: Duration,
    /// The hold is doubled with each further down, up to this. It stays below half of maturity:
    /// a peer that only restarts often must not mature alone.
    pub hold_max: Duration,
    /// How often a link state is said again.
    pub refresh: Duration,
    /// How long a link state counts after it came: a mute peer must not stay in the view.
    pub life: Duration,
    /// How long members may differ about the view before they are complained of.
    pub agree_limit: Duration,
    /// A main loop that stands still this long must not look alive; less than `deadline_min`.
    pub lease: Duration,
    /// How long an acknowledgement may wait for another.
    pub ack_delay: Duration,
    /// Between two summaries on a link, if something changed.
    pub summary: Duration,
    /// How long a message is kept after all members have it: detection lags differ.
    pub store_keep: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_late_lets_go_before_others_take() {
        for profile in [Profile::Lan, Profile::Wan, Profile::Fast] {
            let timing = profile.timing();
            assert!(timing.lease + timing.heartbeat < timing.deadline_min);
            assert!(timing.refresh * 3 < timing.life);
            assert!(timing.hold < timing.deadline_min);
        }
        assert_eq!("wan".parse(), Ok(Profile::Wan));
        assert_eq!("moon".parse::<Profile>(), Err(UnknownProfile));
    }
}
