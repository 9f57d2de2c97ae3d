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

#[cfg(test)]
mod tests {
    use super::*;
    use overlay::ClusterId;
    use overlay::token::TokenSecret;

    fn token(number: u8, expires: u64) -> Token {
        Token {
            cluster: ClusterId([1; 16]),
            addresses: Vec::new(),
            fingerprint: [2; 32],
            secret: TokenSecret([number; 16]),
            expires: Duration::from_secs(expires),
        }
    }

    #[test]
    fn only_an_invitation_that_was_forced_forces_and_only_until_it_ends() {
        let mut invitations = Invitations::default();
        for majority in [Majority::Forced, Majority::Needed, Majority::Forced] {
            invitations.ask(majority);
        }
        invitations.handle_refused();
        invitations.handle_made(&token(1, 50), Duration::from_secs(10));
        invitations.handle_made(&token(2, 20), Duration::from_secs(10));
        assert_eq!(invitations.majority_for(&token(1, 50)), Majority::Needed);
        assert_eq!(invitations.majority_for(&token(2, 20)), Majority::Forced);
        // Nobody asked for this one; the next that somebody asked for finds the others ended.
        invitations.handle_made(&token(3, 50), Duration::from_secs(10));
        assert_eq!(invitations.majority_for(&token(3, 50)), Majority::Needed);
        invitations.ask(Majority::Needed);
        invitations.handle_made(&token(4, 50), Duration::from_secs(30));
        assert_eq!(invitations.majority_for(&token(2, 20)), Majority::Needed);
    }
}
