//! Invitations that this peer makes, and whom an operator has vouched for.

use overlay::Token;
use replication::Majority;
use std::collections::VecDeque;
use std::time::Duration;

/// Those that are being made, and those that force.
#[derive(Default)]
pub(super) struct Invitations {
    /// What was asked for with each that is not durable yet.
    asked: VecDeque<Majority>,
    /// Invitations for which an operator vouched: who redeems one needs no majority. As many as
    /// there are open invitations; after a restart the operator is asked again.
    forced: Vec<Token>,
}

impl Invitations {
    /// One is to be made.
    pub(super) fn ask(&mut self, majority: Majority) {
        self.asked.push_back(majority);
    }

    /// The one that was asked for first is durable.
    pub(super) fn handle_made(&mut self, token: &Token, wall: Duration) {
        if let Some(majority) = self.asked.pop_front() {
            self.forced.retain(|other| other.expires > wall);
            if majority == Majority::Forced {
                self.forced.push(token.clone());
            }
        }
    }

    /// The one that was asked for first is one too many.
    pub(super) fn handle_refused(&mut self) {
        self.asked.pop_front();
    }

    /// Whether a newcomer with this invitation needs a majority.
    pub(super) fn majority_for(&self, token: &Token) -> Majority {
        if self.forced.contains(token) {
            Majority::Forced
        } else {
            Majority::Needed
        }
    }
}
