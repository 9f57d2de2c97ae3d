//! What a kernel, its driver, its guard and the segment do about VIPs.

use super::*;

impl World {
    pub(super) fn order(&mut self, number: usize, order: Order) {
        let life = self.peers[number].life;
        match order {
            Order::Vips(vips) => {
                self.peers[number].process.as_mut().unwrap().vips = vips;
                let after = self.micros(100, 5_000);
                self.schedule(after, Happening::Fitness(number, life));
            }
            Order::Change(vip, to) => {
                self.tell(number, || format!("changes {vip} to {to}"));
                assert_eq!(self.machines[number].change, None, "one change at a time");
                let (least, most) = self.driver.takes;
                let after = self.micros(least.as_micros() as u64, most.as_micros() as u64);
                let after = after * self.machines[number].slowness;
                let is_gain = to > self.machines[number].state(vip);
                let fails = is_gain && self.random.u32(0..1_000) < self.driver.failing;
                self.numbers += 1;
                self.machines[number].change = Some(Change {
                    vip,
                    to,
                    fails,
                    is_late: false,
                    began: self.now,
                    number: self.numbers,
                });
                self.schedule(after, Happening::Change(number, life, self.numbers));
            }
            Order::Announce(vip) => {
                if let Some(announcement) = self.machines[number].announcement(vip) {
                    for at in TOLD_AT {
                        let tell = Happening::Tell(number, vip, announcement);
                        self.schedule(MS * at as u32, tell);
                    }
                }
            }
            Order::Ask(vip) => {
                self.tell(number, || format!("asks for {vip}"));
                for copy in 0..2 {
                    let after = self.timing.ask / 2 * copy;
                    self.schedule(after, Happening::Probe(number, life, vip));
                }
                self.schedule(self.timing.ask, Happening::Answer(number, life, vip));
            }
        }
    }

    pub(super) fn finish_change(&mut self, number: usize, id: u64) {
        let is_stopped = !self.is_serving(number);
        let Some(change) = self.machines[number].change.filter(|c| c.number == id) else {
            return;
        };
        if is_stopped {
            // The driver's thread stands still too.
            return;
        }
        self.machines[number].change = None;
        let is_late = change.is_late || self.machines[number].is_guard_raised;
        let report = if is_late && change.to == Kernel::Announced {
            // The driver announces nothing that it was asked for before the lease was over.
            let state = self.machines[number].state(change.vip);
            Report::Is(change.vip, state)
        } else if change.fails {
            let state = self.machines[number].state(change.vip);
            Report::Failed(change.vip, state, "made to fail".into())
        } else {
            self.set_kernel(number, change.vip, change.to, change.began);
            Report::Is(change.vip, change.to)
        };
        if self.machines[number].is_guard_raised {
            self.guard_after(number, Duration::ZERO);
        }
        let after = self.micros(0, 300);
        self.report(number, after, report);
    }

    pub(super) fn report(&mut self, number: usize, after: Duration, report: Report) {
        let life = self.peers[number].life;
        self.schedule(after, Happening::Report(number, life, report));
    }

    pub(super) fn set_kernel(&mut self, number: usize, vip: VipId, state: Kernel, began: Duration) {
        if self.machines[number].state(vip) == state {
            return;
        }
        self.machines[number].set(vip, state);
        self.tell(number, || format!("{vip} is {state}"));
        self.note(number, format!("{vip}{state}").as_bytes());
        self.seen.push_back(Seen::Kernel(number, vip, state, began));
        if let Some(announcement) = self.machines[number].announcement(vip) {
            for at in TOLD_AT {
                let tell = Happening::Tell(number, vip, announcement);
                self.schedule(MS * at as u32, tell);
            }
        }
    }

    pub(super) fn clear(&mut self, number: usize) -> Vec<(VipId, Kernel)> {
        self.machines[number].guard_round += 1;
        self.machines[number].is_guard_raised = false;
        self.machines[number].change = None;
        self.take_all(number)
    }

    pub(super) fn take_all(&mut self, number: usize) -> Vec<(VipId, Kernel)> {
        let taken = self.machines[number].clear();
        for (vip, _) in &taken {
            self.tell(number, || format!("{vip} is absent"));
            self.seen
                .push_back(Seen::Kernel(number, *vip, Kernel::Absent, self.now));
        }
        taken
    }

    /// The guard acts a little after its lease is over, or its pipe closed.
    pub(super) fn guard_after(&mut self, number: usize, lease: Duration) {
        let acts = self.micros(1_000, 5_000);
        let machine = &mut self.machines[number];
        machine.guard_round += 1;
        let round = machine.guard_round;
        self.schedule(lease + acts, Happening::Guard(number, round));
    }

    pub(super) fn guard(&mut self, number: usize) {
        self.tell(number, || "the guard acts".into());
        self.machines[number].is_guard_raised = true;
        let taken = self.take_all(number);
        // The driver sees it, though nobody may be there to be told.
        for (vip, _) in taken {
            let after = self.micros(0, 1_000);
            self.report(number, after, Report::Lost(vip, Kernel::Absent));
        }
    }

    pub(super) fn end(&mut self, number: usize) {
        let peer = &mut self.peers[number];
        peer.process = None;
        peer.life += 1;
        self.machines[number].change = None;
        self.fabric.kill(number, self.now);
        self.seen.push_back(Seen::Called(number));
    }

    pub(super) fn leave(&mut self, number: usize) {
        self.tell(number, || "leaves".into());
        let life = self.peers[number].life;
        let process = self.peers[number].process.as_mut().unwrap();
        process.has_left = true;
        process.commands.push_back(Said::Stop);
        self.schedule(MS * 20, Happening::Exit(number, life));
        self.pump(number);
    }

    /// What the segment answers to the question who has the VIP.
    pub(super) fn ask(&self, number: usize, vip: VipId) -> Heard {
        let others = (0..self.machines.len()).filter(|other| *other != number);
        let holders = others.filter(|other| {
            self.segment.is_two_way(&self.machines, number, *other)
                && self.machines[*other].state(vip) == Kernel::Announced
        });
        let heard = holders.map(|other| {
            let mac = self.machines[other].mac;
            match self.is_serving(other) {
                true => Heard::Server(mac),
                false => Heard::Station(mac),
            }
        });
        heard.max().unwrap_or(Heard::Nobody)
    }

    pub(super) fn fitness(&self, number: usize) -> BTreeMap<VipId, Result<(), Unfit>> {
        let fit = match self.machines[number].card {
            Card::Well | Card::Mute => Ok(()),
            Card::Deaf => Err(Unfit::Deaf("eth0".into())),
            Card::NoCarrier => Err(Unfit::NoCarrier("eth0".into())),
        };
        let vips = &self.peers[number].process.as_ref().unwrap().vips;
        vips.keys().map(|vip| (*vip, fit.clone())).collect()
    }

    /// All of the segment hears who asks for a VIP.
    pub(super) fn probe(&mut self, number: usize, vip: VipId) {
        let theirs = self.machines[number].mac;
        for other in 0..self.machines.len() {
            let is_heard = other != number
                && self.segment.reaches(&self.machines, number, other)
                && self.is_alive(other);
            if is_heard {
                let mine = self.machines[other].mac;
                let after = self.micros(50, 1_000);
                self.report(other, after, Report::Probed { vip, theirs, mine });
            }
        }
    }

    /// Unsolicited ARP: who announces the same VIP hears of it.
    pub(super) fn tell_segment(&mut self, number: usize, vip: VipId, announcement: u64) {
        if self.machines[number].announcement(vip) != Some(announcement) || !self.is_serving(number)
        {
            return;
        }
        self.seen.push_back(Seen::Told(number, vip));
        let theirs = self.machines[number].mac;
        for other in 0..self.machines.len() {
            let is_heard = other != number
                && self.segment.reaches(&self.machines, number, other)
                && self.machines[other].state(vip) == Kernel::Announced
                && self.is_alive(other);
            if is_heard {
                let mine = self.machines[other].mac;
                let after = self.micros(50, 1_000);
                self.report(other, after, Report::Foreign { vip, theirs, mine });
            }
        }
    }
}
