//! Whether this peer serves current data, and why not: what `/health`, `/ready` and `status` say.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Health means "serving current data": what others have settled is served here too.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Health {
    /// Where this life of the peer stands.
    pub phase: Phase,
    /// Why the data that it serves may be old; empty if nothing speaks against it.
    pub reasons: Vec<String>,
}

impl Health {
    /// True if queries are answered from current data.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.phase == Phase::Serving && self.reasons.is_empty()
    }
}

/// Where a life of a peer stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Reading the store; no query is answered.
    Starting,
    /// Redeeming a token and fetching the cluster's data; no query is answered.
    Joining,
    /// Restarted as a member: answers from its store until it settles with others again.
    Waiting,
    /// Reachable, with much to fetch: answers from what it holds.
    CatchingUp,
    /// Settles with the others, or alone in a cluster of one.
    Serving,
    /// An eviction of this peer is settled: takes no updates any more.
    Evicted,
    /// Was asked to stop.
    Stopping,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Joining => "joining",
            Self::Waiting => "waiting",
            Self::CatchingUp => "catching-up",
            Self::Serving => "serving",
            Self::Evicted => "evicted",
            Self::Stopping => "stopping",
        })
    }
}
