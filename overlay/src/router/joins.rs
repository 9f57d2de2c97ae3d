//! Connections of `zc-join/1`: passed on to the machine `Join` and back.

use super::Router;
use super::connect::ConnectionStage;
use crate::dialing::Target;
use crate::event::Event;
use crate::link_event::{LinkEvent, LinkId, LinkOutput};

impl Router {
    pub(super) fn pass_join_output(&mut self, output: LinkOutput) {
        let output = match output {
            LinkOutput::Dial {
                dial,
                address,
                protocol,
                expected,
            } => {
                // `Join` numbers its dials by itself; on the way they get numbers of their own.
                let Some(dial) = self.dialing.start(Target::Join(dial)) else {
                    return;
                };
                LinkOutput::Dial {
                    dial,
                    address,
                    protocol,
                    expected,
                }
            }
            LinkOutput::Close { link, code } => {
                self.connections.remove(&link);
                LinkOutput::Close { link, code }
            }
            other => other,
        };
        self.link_output(output);
    }

    pub(super) fn pass_join_opened(
        &mut self,
        link: LinkId,
        event: &LinkEvent,
        target: Option<Target>,
    ) {
        let LinkEvent::Opened {
            key,
            protocol,
            exporter,
            remote,
            ..
        } = *event
        else {
            return;
        };
        let dialed = match target {
            Some(Target::Join(dial)) => Some(dial),
            _ => None,
        };
        let peer = key.map(|key| key.peer_id());
        let known = ConnectionStage::Known;
        self.remember(link, protocol, peer, target, remote, known);
        let event = LinkEvent::Opened {
            key,
            protocol,
            dialed,
            exporter,
            remote,
        };
        self.event(Event::JoinLink { link, event });
    }
}
