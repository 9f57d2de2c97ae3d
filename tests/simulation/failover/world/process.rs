//! The two threads of a process: what they say to each other and ask of their machine.

use super::*;

impl World {
    /// Calls the machine that decides, as the main thread does.
    pub(super) fn call(&mut self, number: usize, call: impl FnOnce(&mut Failover, Instant)) {
        let now = self.instant();
        if let Some(process) = &mut self.peers[number].process {
            call(&mut process.failover, now);
            self.pump(number);
        }
    }

    /// Both threads go on until neither has anything to do.
    pub(super) fn pump(&mut self, number: usize) {
        loop {
            let was_quiet = self.pump_link(number) & self.pump_main(number);
            if was_quiet {
                break;
            }
        }
        self.schedule_wakes(number);
    }

    pub(super) fn pump_link(&mut self, number: usize) -> bool {
        let (now, time) = (self.instant(), self.now);
        let mut is_quiet = true;
        loop {
            let Some(process) = &mut self.peers[number].process else {
                return true;
            };
            if process.link.stalled_until > time {
                return true;
            }
            let router = &mut process.router;
            while let Some(said) = process.commands.pop_front() {
                is_quiet = false;
                match said {
                    Said::State(kind, body) => router.state(kind, body, now),
                    Said::Complain(of) => router.complain(of, now),
                    Said::Standing(standing) => router.set_standing(standing),
                    Said::Tick(tick) => router.set_tick(tick, now),
                    Said::Stop => router.stop(now),
                }
            }
            let Some(output) = router.poll_output() else {
                return is_quiet;
            };
            is_quiet = false;
            match output {
                Output::Link(output) => {
                    if let LinkOutput::Datagram { data, .. } = &output {
                        self.note(number, data);
                    }
                    self.fabric.perform(number, output, self.now);
                }
                Output::Event(event) => {
                    self.note(number, format!("{event:?}").as_bytes());
                    let process = self.peers[number].process.as_mut().unwrap();
                    process.events.push_back(event);
                }
                Output::Keep(row) => {
                    self.peers[number].rows.insert(row.key, row);
                }
            }
        }
    }

    pub(super) fn pump_main(&mut self, number: usize) -> bool {
        let (now, time) = (self.instant(), self.now);
        let Some(process) = &mut self.peers[number].process else {
            return true;
        };
        if process.main.stalled_until > time {
            return true;
        }
        let mut is_quiet = true;
        while let Some(event) = self.take_event(number) {
            is_quiet = false;
            self.handle_event(number, event);
        }
        let process = self.peers[number].process.as_mut().unwrap();
        while let Some(report) = process.reports.pop_front() {
            is_quiet = false;
            process.failover.handle_report(report, now);
        }
        while let Some(action) = self.take_action(number) {
            is_quiet = false;
            self.actions += 1;
            self.note(number, format!("{action:?}").as_bytes());
            self.perform(number, action);
        }
        if !is_quiet {
            self.seen.push_back(Seen::Called(number));
        }
        let process = self.peers[number].process.as_ref().unwrap();
        if process.is_stopping && !process.has_left && process.failover.is_closed() {
            self.leave(number);
            is_quiet = false;
        }
        is_quiet
    }

    pub(super) fn take_event(&mut self, number: usize) -> Option<Event> {
        self.peers[number].process.as_mut()?.events.pop_front()
    }

    pub(super) fn take_action(&mut self, number: usize) -> Option<Action> {
        self.peers[number].process.as_mut()?.failover.poll_action()
    }

    pub(super) fn handle_event(&mut self, number: usize, event: Event) {
        let now = self.instant();
        let process = self.peers[number].process.as_mut().unwrap();
        let failover = &mut process.failover;
        match event {
            Event::ViewChanged(view) => {
                failover.handle_view(&view, now);
                process.view = Some(view.clone());
                self.seen.push_back(Seen::View(number));
                self.tell(number, || {
                    let members = view.members.iter().map(|(peer, _)| self.number(*peer));
                    let members: Vec<usize> = members.collect();
                    format!("view {} {members:?}", view.number)
                });
            }
            Event::State {
                of,
                incarnation,
                kind,
                body,
            } => {
                if kind == CLAIM {
                    failover.handle_claim(of, incarnation, &body, now);
                } else if kind == CONFIG {
                    failover.handle_config(of, &body, now);
                }
            }
            Event::NeighborDown(peer, why) => {
                if why != Why::Stopping {
                    failover.handle_suspected(peer, now);
                }
                self.tell(number, || format!("loses {} {why:?}", self.number(peer)));
            }
            Event::Stopping { peer, incarnation } => failover.handle_stopping(peer, incarnation),
            Event::Overslept(late) => {
                failover.handle_stall(now);
                self.tell(number, || format!("link thread overslept {late:?}"));
            }
            Event::Unheard(unheard) => {
                failover.set_unheard(unheard == Unheard::Yes, now);
                self.tell(number, || format!("unheard: {unheard:?}"));
            }
            Event::OwnIncarnationSeen(_) => panic!("nobody lives twice here"),
            _ => {}
        }
    }

    pub(super) fn perform(&mut self, number: usize, action: Action) {
        let process = self.peers[number].process.as_mut().unwrap();
        match action {
            Action::Order(order) => self.order(number, order),
            Action::Claim(body) => {
                let claim = Claim::decode(&body).expect("it reads back");
                self.tell(number, || show(&claim));
                let process = self.peers[number].process.as_mut().unwrap();
                process.claim = Some(claim);
                process.commands.push_back(Said::State(CLAIM, body));
            }
            Action::Config(body) => process.commands.push_back(Said::State(CONFIG, body)),
            Action::Complain(of) => {
                process.commands.push_back(Said::Complain(of));
                self.tell(number, || format!("complains of {}", self.number(of)));
            }
            Action::Standing(standing) => process.commands.push_back(Said::Standing(standing)),
            Action::Notice(notice) => self.tell(number, || format!("{notice:?}")),
        }
    }
}
