//! The node on the link thread.

use super::link::{Machine, MachineOutput};
use crate::link_event::{DialFailed, LinkEvent, LinkId};
use crate::node::{Command, Node, NodeEvent};
use std::time::{Duration, Instant};

impl Machine for Node {
    type Command = Command;
    type Event = NodeEvent;

    fn handle_link(&mut self, link: LinkId, event: LinkEvent, wall: Duration, now: Instant) {
        Self::handle_link(self, link, event, wall, now);
    }

    fn handle_dial_failed(&mut self, failed: DialFailed, wall: Duration, now: Instant) {
        Self::handle_dial_failed(self, failed, wall, now);
    }

    fn handle_command(&mut self, command: Command, wall: Duration, now: Instant) {
        Self::handle_command(self, command, wall, now);
    }

    fn handle_timeout(&mut self, wall: Duration, now: Instant) {
        Self::handle_timeout(self, wall, now);
    }

    fn poll_output(&mut self) -> Option<MachineOutput<NodeEvent>> {
        match self.poll_event() {
            Some(event) => Some(MachineOutput::Event(event)),
            None => self.poll_link().map(MachineOutput::Link),
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Self::poll_timeout(self)
    }
}
