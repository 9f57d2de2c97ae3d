//! What is due at its time: wakes, deliveries, ends of stalls, meetings of logs.

use super::*;

impl World {
    pub(super) fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::WakeLink(number, life) if self.lives(number, life) => {
                let now = self.now;
                let process = self.peers[number].process.as_mut().unwrap();
                if process.link.wake_at == Some(now) {
                    process.link.wake_at = None;
                }
                self.wake_link(number);
                self.pump(number);
            }
            Happening::WakeMain(number, life) if self.lives(number, life) => {
                let now = self.now;
                let process = self.peers[number].process.as_mut().unwrap();
                if process.main.wake_at == Some(now) {
                    process.main.wake_at = None;
                }
                self.wake_main(number);
                self.pump(number);
            }
            Happening::Tick(number, life) if self.lives(number, life) => {
                let process = self.peers[number].process.as_mut().unwrap();
                if process.main.stalled_until <= self.now {
                    process.tick += 1;
                    process.ticked = self.now;
                    let is_link_hung = process.link.stalled_until > self.now
                        && process.link.stalled_at + self.timing.lease < self.now;
                    if is_link_hung {
                        process.failover.set_barred(true, self.start + self.now);
                    }
                    process.commands.push_back(Said::Tick(process.tick));
                    self.pump(number);
                }
                self.schedule(self.beat(), Happening::Tick(number, life));
            }
            Happening::Resume(number, life, stall, id) if self.lives(number, life) => {
                self.resume(number, stall, id);
            }
            Happening::Change(number, life, change) if self.lives(number, life) => {
                self.finish_change(number, change);
            }
            Happening::Report(number, life, report) if self.lives(number, life) => {
                let process = self.peers[number].process.as_mut().unwrap();
                process.reports.push_back(report);
                self.pump(number);
            }
            Happening::Probe(number, life, vip) if self.lives(number, life) => {
                self.probe(number, vip);
            }
            Happening::Answer(number, life, vip) if self.lives(number, life) => {
                let heard = self.ask(number, vip);
                self.tell(number, || format!("hears {heard:?} of {vip}"));
                let report = Report::Segment(vip, heard);
                let process = self.peers[number].process.as_mut().unwrap();
                process.reports.push_back(report);
                self.pump(number);
            }
            Happening::Fitness(number, life) if self.lives(number, life) => {
                let fitness = self.fitness(number);
                let process = self.peers[number].process.as_mut().unwrap();
                process.reports.push_back(Report::Can(fitness));
                self.pump(number);
            }
            Happening::Guard(number, round) => {
                if self.machines[number].guard_round == round {
                    self.guard(number);
                }
            }
            Happening::Tell(number, vip, announcement) => {
                self.tell_segment(number, vip, announcement);
            }
            Happening::Entry(number, stamp, change) => {
                // A cut on the way: logs that meet later bring it.
                let author = self.number(stamp.author);
                let is_news = !self.fabric.network.is_cut(author, number)
                    && self.is_alive(number)
                    && self.peers[number].log.learn_one(stamp, &change);
                if is_news {
                    self.fold(number);
                }
            }
            Happening::Meet => {
                self.meet();
                self.schedule(MEETING, Happening::Meet);
            }
            Happening::Exit(number, life) if self.lives(number, life) => {
                self.tell(number, || "has ended".into());
                self.end(number);
                self.guard_after(number, Duration::ZERO);
            }
            Happening::StopLimit(number, life) if self.lives(number, life) => {
                let process = self.peers[number].process.as_mut().unwrap();
                if !process.has_left {
                    self.tell(number, || "has not closed in time".into());
                    self.leave(number);
                }
            }
            Happening::Look => {
                self.seen.push_back(Seen::Called(usize::MAX));
                self.schedule(MS * 2, Happening::Look);
            }
            Happening::WakeLink(..)
            | Happening::WakeMain(..)
            | Happening::Tick(..)
            | Happening::Resume(..)
            | Happening::Change(..)
            | Happening::Report(..)
            | Happening::Probe(..)
            | Happening::Answer(..)
            | Happening::Fitness(..)
            | Happening::Exit(..)
            | Happening::StopLimit(..) => {}
        }
    }

    pub(super) fn lives(&self, number: usize, life: u64) -> bool {
        self.peers[number].life == life && self.is_alive(number)
    }

    pub(super) fn wake_link(&mut self, number: usize) {
        let (now, wall, time) = (self.instant(), WALL_START + self.now, self.now);
        let process = self.peers[number].process.as_mut().unwrap();
        let is_due = process.router.poll_timeout().is_some_and(|due| due <= now);
        if process.link.stalled_until <= time && is_due {
            process.router.handle_timeout(wall, now);
        }
    }

    pub(super) fn wake_main(&mut self, number: usize) {
        let (now, time) = (self.instant(), self.now);
        let process = self.peers[number].process.as_mut().unwrap();
        if process.main.stalled_until <= time {
            process.failover.handle_timeout(now);
        }
    }

    pub(super) fn resume(&mut self, number: usize, stall: Stall, id: u64) {
        let (now, lease, time) = (self.instant(), self.timing.lease, self.now);
        let beat = self.beat();
        let process = self.peers[number].process.as_ref().unwrap();
        let thread = match stall {
            Stall::Link => &process.link,
            Stall::Main | Stall::Process => &process.main,
        };
        if thread.stall != id {
            return;
        }
        self.tell(number, || format!("{stall:?} goes on"));
        if stall != Stall::Main {
            self.fabric.set_stalled(number, false);
        }
        let machine = &mut self.machines[number];
        machine.guard_round += 1;
        let was_raised = std::mem::take(&mut machine.is_guard_raised);
        if let Some(change) = &mut machine.change {
            change.is_late |= was_raised;
        }
        if stall == Stall::Process {
            // The driver's thread goes on where it was.
            if let Some(change) = machine.change {
                let life = self.peers[number].life;
                self.schedule(
                    Duration::ZERO,
                    Happening::Change(number, life, change.number),
                );
            }
        }
        let main_first = self.random.bool();
        let mut steps = [Stall::Link, Stall::Main];
        if main_first {
            steps.reverse();
        }
        for step in steps {
            if stall != Stall::Process && stall != step {
                continue;
            }
            match step {
                Stall::Link => {
                    // The driver reads what lies in its sockets before it judges by time.
                    let process = self.peers[number].process.as_mut().unwrap();
                    let waiting = std::mem::take(&mut process.deliveries);
                    for delivery in waiting {
                        self.deliver(number, delivery);
                    }
                    self.wake_link(number);
                    let process = self.peers[number].process.as_mut().unwrap();
                    process.failover.set_barred(false, now);
                }
                Stall::Main | Stall::Process => {
                    let process = self.peers[number].process.as_mut().unwrap();
                    // The tick that was due in the stall.
                    let late = time.saturating_sub(process.ticked + beat);
                    if late > lease {
                        process.failover.handle_stall(now);
                    }
                    self.wake_main(number);
                }
            }
            self.pump(number);
        }
    }

    pub(super) fn deliver(&mut self, number: usize, delivery: Delivery) {
        let (now, wall, time) = (self.instant(), WALL_START + self.now, self.now);
        let Some(process) = &mut self.peers[number].process else {
            return;
        };
        if process.link.stalled_until > time {
            process.deliveries.push_back(delivery);
            return;
        }
        match delivery {
            Delivery::Link(link, event) => process.router.handle_link(link, event, wall, now),
            Delivery::DialFailed(dial) => {
                let reason = "no answer".into();
                let failed = DialFailed { dial, reason };
                process.router.handle_dial_failed(failed, wall, now);
            }
        }
        self.pump(number);
    }

    /// Of two members of one view that reach each other one learns what the other has.
    pub(super) fn meet(&mut self) {
        for number in 0..self.peers.len() {
            let Some(process) = self.process(number) else {
                continue;
            };
            let view = process.view.as_ref();
            let members: Vec<usize> = view
                .iter()
                .flat_map(|view| &view.members)
                .map(|(peer, _)| self.number(*peer))
                .filter(|other| *other != number && self.is_running(*other))
                .filter(|other| !self.fabric.network.is_cut(*other, number))
                .collect();
            if members.is_empty() {
                continue;
            }
            let other = members[self.random.usize(0..members.len())];
            let log = self.peers[other].log.clone();
            if self.peers[number].log.learn(&log) {
                self.fold(number);
            }
        }
    }

    pub(super) fn fold(&mut self, number: usize) {
        let map = self.peers[number].log.map();
        self.call(number, |failover, now| failover.set_map(map, now));
    }

    pub(super) fn schedule_wakes(&mut self, number: usize) {
        let (now, instant) = (self.now, self.instant());
        let peer = &mut self.peers[number];
        let life = peer.life;
        let Some(process) = &mut peer.process else {
            return;
        };
        let link = process.router.poll_timeout();
        let main = process.failover.poll_timeout();
        let mut wakes = Vec::new();
        for (thread, due, happening) in [
            (&mut process.link, link, Happening::WakeLink(number, life)),
            (&mut process.main, main, Happening::WakeMain(number, life)),
        ] {
            let Some(due) = due.filter(|_| thread.stalled_until <= now) else {
                continue;
            };
            let after = due.saturating_duration_since(instant);
            if thread.wake_at.is_none_or(|at| now + after < at) {
                thread.wake_at = Some(now + after);
                wakes.push((after, happening));
            }
        }
        for (after, happening) in wakes {
            self.schedule(after, happening);
        }
    }
}
