//! The timers of VIPs (overlay protocol section 3).

use overlay::Profile;
use std::time::Duration;

/// The timers of one profile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VipTiming {
    /// How long a member's claim may be missing before it is complained of.
    pub gather_limit: Duration,
    /// How long a move may take before all is gathered anew.
    pub handover_limit: Duration,
    /// A peer that overslept this long, or hears nothing for it, lets go before others take.
    pub lease: Duration,
    /// A peer that starts takes nothing for this long, unless it meets one that is mature.
    pub maturity: Duration,
    /// A peer that overslept takes nothing for this long, unless it meets one that is mature.
    pub convalescence: Duration,
    /// How long what was given away still takes packets: clients learn a little late.
    pub linger: Duration,
    /// How long a move for the sake of balance waits.
    pub balance_delay: Duration,
    /// Between two such moves.
    pub pace: Duration,
    /// How long the segment is asked.
    pub ask: Duration,
    /// How long until an address that another DNS server answers at is asked for again.
    pub ask_again: Duration,
    /// Whether all peers of a VIP are on one segment, so that it is worth asking.
    pub asks: Asks,
}

/// Whether the segment is asked before a takeover in doubt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asks {
    /// It is.
    Yes,
    /// It is not.
    No,
}

impl VipTiming {
    /// The timers of a profile.
    #[must_use]
    pub fn of(profile: Profile) -> Self {
        let ms = Duration::from_millis;
        let lan = Self {
            gather_limit: ms(300),
            handover_limit: ms(1_000),
            lease: ms(100),
            maturity: ms(5_000),
            convalescence: ms(1_000),
            linger: ms(200),
            balance_delay: ms(1_000),
            pace: ms(20),
            ask: ms(3),
            ask_again: ms(200),
            asks: Asks::Yes,
        };
        match profile {
            Profile::Lan => lan,
            Profile::Wan => Self {
                gather_limit: ms(3_000),
                handover_limit: ms(5_000),
                lease: ms(700),
                maturity: ms(10_000),
                convalescence: ms(10_000),
                asks: Asks::No,
                ..lan
            },
            Profile::Fast => Self {
                lease: ms(25),
                ..lan
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nobody_asks_a_convalescent_waits_until_held_links_are_up() {
        for profile in [Profile::Lan, Profile::Wan, Profile::Fast] {
            let timing = VipTiming::of(profile);
            let hold_max = profile.timing().hold_max;
            let is_enough = timing.asks == Asks::Yes || timing.convalescence >= 2 * hold_max;
            assert!(is_enough, "{profile:?}");
        }
    }
}
