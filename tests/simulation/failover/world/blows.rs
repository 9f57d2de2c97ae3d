//! What befalls machines from outside: ends, stalls, cuts, operators.

use super::*;

impl World {
    /// kill -9: the guard sees the end of its pipe.
    pub(in crate::failover) fn kill(&mut self, number: usize) {
        self.tell(number, || "is killed".into());
        self.end(number);
        self.guard_after(number, Duration::ZERO);
    }

    /// The whole machine is gone from one moment to the next.
    pub(in crate::failover) fn crash(&mut self, number: usize) {
        self.tell(number, || "crashes".into());
        for other in 0..self.peers.len() {
            self.cut(number, other, Where::Everywhere);
            self.cut(other, number, Where::Everywhere);
        }
        self.end(number);
        self.clear(number);
    }

    /// A clean stop.
    pub(in crate::failover) fn stop(&mut self, number: usize) {
        self.tell(number, || "is told to stop".into());
        let life = self.peers[number].life;
        self.call(number, |failover, now| failover.stop(now));
        if let Some(process) = &mut self.peers[number].process {
            process.is_stopping = true;
            self.schedule(STOP_LIMIT, Happening::StopLimit(number, life));
            self.pump(number);
        }
    }

    pub(in crate::failover) fn stall(&mut self, number: usize, stall: Stall, lasts: Duration) {
        let (now, beat, lease) = (self.now, self.beat(), self.timing.lease);
        let peer = &mut self.peers[number];
        let (Some(process), life) = (&mut peer.process, peer.life) else {
            return;
        };
        if process.link.stalled_until > now || process.main.stalled_until > now {
            return;
        }
        let mut id = 0;
        for (which, thread) in [
            (Stall::Link, &mut process.link),
            (Stall::Main, &mut process.main),
        ] {
            if stall == Stall::Process || stall == which {
                thread.stalled_at = now;
                thread.stalled_until = now + lasts;
                thread.stall += 1;
                id = thread.stall;
            }
        }
        if stall != Stall::Main {
            self.fabric.set_stalled(number, true);
        }
        self.schedule(lasts, Happening::Resume(number, life, stall, id));
        // The guard's beats say that both threads go on; the last one came a little ago.
        let ago = self.random.u64(0..=beat.as_micros() as u64);
        let over = lease - Duration::from_micros(ago);
        self.tell(number, || format!("{stall:?} stalls for {lasts:?}"));
        self.guard_after(number, over);
    }

    /// Cuts the way from one machine to another.
    pub(in crate::failover) fn cut(&mut self, from: usize, to: usize, place: Where) {
        self.tell(from, || format!("is cut from {to} {place:?}"));
        if place != Where::Segment {
            self.fabric.network.cut(from, to);
        }
        if place != Where::Network {
            self.segment.cut(from, to);
        }
    }

    pub(in crate::failover) fn mend(&mut self, from: usize, to: usize) {
        self.fabric.network.mend(from, to);
        self.segment.mend(from, to);
    }

    pub(in crate::failover) fn join(&mut self) {
        self.tell(0, || "all is joined".into());
        self.fabric.network.join();
        self.segment.join();
    }

    pub(in crate::failover) fn set_card(&mut self, number: usize, card: Card) {
        if self.machines[number].card == card {
            return;
        }
        self.tell(number, || format!("card {card:?}"));
        self.machines[number].card = card;
        let after = match card {
            // Three questions stay unanswered after a lease without a frame.
            Card::Deaf => self.timing.lease + MS * 3,
            Card::Well | Card::Mute | Card::NoCarrier => self.micros(100, 5_000),
        };
        let life = self.peers[number].life;
        self.schedule(after, Happening::Fitness(number, life));
        self.seen.push_back(Seen::Called(number));
    }

    /// An operator changes the map at one peer; the others hear of it by the log.
    pub(in crate::failover) fn change_map(&mut self, number: usize, change: &MapChange) {
        self.tell(number, || format!("authors {change:?}"));
        self.numbers += 1;
        let at = self.now.as_micros() as u64 * 1_000 + self.numbers % 1_000;
        let peer = &mut self.peers[number];
        let stamp = peer.log.author(change.clone(), at, peer.id);
        self.fold(number);
        let Some(process) = &self.peers[number].process else {
            return;
        };
        let view = process.view.clone();
        let members = view.iter().flat_map(|view| &view.members);
        let others: Vec<usize> = members.map(|(peer, _)| self.number(*peer)).collect();
        for other in others.into_iter().filter(|other| *other != number) {
            let after = self.micros(500, 40_000);
            self.schedule(after, Happening::Entry(other, stamp, change.clone()));
        }
    }

    pub(in crate::failover) fn set_condition(&mut self, number: usize, condition: Condition) {
        self.tell(number, || format!("{condition:?}"));
        self.peers[number].condition = condition;
        self.call(number, |failover, now| {
            failover.set_condition(condition, now);
        });
    }

    /// Somebody takes a VIP away by hand.
    pub(in crate::failover) fn take_away(&mut self, number: usize, vip: VipId) {
        self.tell(number, || format!("loses {vip}"));
        self.set_kernel(number, vip, Kernel::Absent, self.now);
        let after = self.micros(100, 5_000);
        let lost = Report::Lost(vip, Kernel::Absent);
        self.report(number, after, lost);
    }
}
