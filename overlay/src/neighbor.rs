//! A neighbor's heartbeats and what follows from them (overlay protocol section 4).
//!
//! ```text
//!        heartbeat              hears me, hold over
//! Down ────────────▶ Heard ───────────────────────▶ Up
//!   ▲                  │                             │  deadline, unheard, unacknowledged,
//!   └──────────────────┴─────────────────────────────┘  probe, closed, restarted, stopping
//! ```
//! Good news waits for the hold, bad news does not. Connections and packets are not known here.

use crate::event::{Standing, Why};
use crate::packet::Heartbeat;
use crate::peer_id::Incarnation;
use crate::rtt::Rtt;
use crate::status::LinkStage;
use crate::timing::Timing;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Downs older than this lengthen no hold.
const FLAP_MEMORY: Duration = Duration::from_secs(60);
/// Losing as many heartbeats in a row as the deadline spans must be this unlikely.
const FALSE_ALARM: f64 = 1e-9;
/// The loss that the deadline reckons with lies in this range.
const LOSS_RANGE: (f64, f64) = (0.001, 0.5);
/// Weight of one heartbeat in the measured loss.
const LOSS_WEIGHT: f64 = 1.0 / 64.0;
/// Heartbeats whose send times are remembered for their echo.
const BEATS_REMEMBERED: usize = 64;
/// A probe sends its pings at these quarters of its time.
const PROBE_PINGS: u32 = 4;

/// A neighbor that is standing and has said for so many beats that it does not hear this peer has
/// dropped it.
const UNHEARD_BEATS: u32 = 3;

/// What is known of a neighbor by its heartbeats.
pub(crate) struct Neighbor {
    timing: Timing,
    stage: Stage,
    since: Instant,
    incarnation: Option<Incarnation>,
    last_heard: Instant,
    hears_me: bool,
    deaf: Option<Deaf>,
    is_connected: bool,
    last_beat: Option<(u64, Instant)>,
    gap_mean: f64,
    gap_deviation: f64,
    loss: f64,
    downs: VecDeque<Instant>,
    probe: Option<Probe>,
    beat_next: Instant,
    beat_sequence: u64,
    beats_sent: VecDeque<(u64, Instant)>,
    rtt: Rtt,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Down,
    Heard { hold_until: Instant },
    Up,
}

struct Probe {
    started: Instant,
    lasts: Duration,
    nonces: Vec<u64>,
}

/// What a neighbor says that does not hear this peer.
#[derive(Clone, Copy)]
struct Deaf {
    since: Instant,
    standing: Standing,
    view_size: u16,
}

/// What became of the link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    None,
    WentUp,
    WentDown(Why),
}

impl Neighbor {
    pub(crate) fn new(timing: Timing, now: Instant) -> Self {
        Self {
            timing,
            stage: Stage::Down,
            since: now,
            incarnation: None,
            last_heard: now,
            hears_me: false,
            deaf: None,
            is_connected: false,
            last_beat: None,
            gap_mean: timing.heartbeat.as_secs_f64(),
            gap_deviation: 0.0,
            loss: 0.0,
            downs: VecDeque::new(),
            probe: None,
            beat_next: now,
            beat_sequence: 0,
            beats_sent: VecDeque::new(),
            rtt: Rtt::default(),
        }
    }

    /// A LINK_HELLO or a heartbeat shows this life of the neighbor.
    pub(crate) fn note_incarnation(&mut self, incarnation: Incarnation, now: Instant) -> Change {
        if self.incarnation.is_some_and(|known| known >= incarnation) {
            return Change::None;
        }
        let change = self.go_down(Why::Restarted, now);
        self.incarnation = Some(incarnation);
        self.last_beat = None;
        self.deaf = None;
        change
    }

    pub(crate) fn handle_heartbeat(
        &mut self,
        beat: &Heartbeat,
        me: Incarnation,
        now: Instant,
    ) -> Change {
        let restarted = self.note_incarnation(beat.incarnation, now);
        if self.incarnation > Some(beat.incarnation) {
            return Change::None;
        }
        let is_newest = self.last_beat.is_none_or(|(last, _)| beat.sequence > last);
        if is_newest {
            self.measure(beat, now);
            self.hears_me = beat.hears == me;
            self.deaf = (beat.hears != me).then(|| Deaf {
                since: self.deaf.map_or(now, |deaf| deaf.since),
                standing: beat.standing,
                view_size: beat.view_size,
            });
        }
        self.last_heard = now;
        if self.stage == Stage::Down {
            let hold_until = now + self.hold(now);
            self.set_stage(Stage::Heard { hold_until }, now);
        }
        match restarted {
            Change::None => self.judge(now),
            change => change,
        }
    }

    /// Any packet of the neighbor counts.
    pub(crate) fn handle_packet(&mut self, now: Instant) {
        self.last_heard = now;
    }

    /// A pong to one of the pings of this probe clears it. A heartbeat does not: it may have been
    /// under way when the hint came.
    pub(crate) fn handle_pong(&mut self, nonce: u64, now: Instant) {
        self.last_heard = now;
        if self
            .probe
            .as_ref()
            .is_some_and(|p| p.nonces.contains(&nonce))
        {
            self.probe = None;
        }
    }

    /// Something says that the neighbor may be dead.
    pub(crate) fn hint(&mut self, now: Instant) {
        if self.stage == Stage::Up && self.probe.is_none() {
            self.probe = Some(Probe {
                started: now,
                lasts: self.timing.probe_min.max(self.rtt.smoothed() * 3),
                nonces: Vec::new(),
            });
        }
    }

    /// Whether a connection carries the link from here on; without one it does not come up. What
    /// led to a probe is explained by the change: the canary may have ended first.
    pub(crate) fn set_connected(&mut self, is_connected: bool) {
        self.is_connected = is_connected;
        self.probe = None;
    }

    /// Nothing can answer the probe any more.
    pub(crate) fn forget_probe(&mut self) {
        self.probe = None;
    }

    /// A hint that counts only if the neighbor is silent already: another's link to it is gone.
    pub(crate) fn hint_if_silent(&mut self, now: Instant) {
        if now.saturating_duration_since(self.last_heard) >= self.timing.heartbeat * 3 {
            self.hint(now);
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Change {
        self.judge(now)
    }

    pub(crate) fn go_down(&mut self, why: Why, now: Instant) -> Change {
        let was_up = self.stage == Stage::Up;
        if self.stage != Stage::Down {
            self.set_stage(Stage::Down, now);
        }
        self.probe = None;
        self.hears_me = false;
        if !was_up {
            return Change::None;
        }
        // A restart or a clean stop is no flap.
        if !matches!(why, Why::Restarted | Why::Stopping) {
            self.downs.push_back(now);
        }
        Change::WentDown(why)
    }

    /// This peer's own loop stood still: nobody else is to blame for the time.
    pub(crate) fn excuse(&mut self, late: Duration, now: Instant) {
        self.last_heard = (self.last_heard + late).min(now);
        if let Some((_, at)) = &mut self.last_beat {
            *at = (*at + late).min(now);
        }
        if let Some(deaf) = &mut self.deaf {
            deaf.since = (deaf.since + late).min(now);
        }
        self.probe = None;
    }

    /// The sequence of a heartbeat that is due.
    pub(crate) fn take_beat(&mut self, now: Instant) -> Option<u64> {
        if now < self.beat_next {
            return None;
        }
        self.beat_next = now + self.timing.heartbeat;
        self.beat_sequence += 1;
        if self.beats_sent.len() == BEATS_REMEMBERED {
            self.beats_sent.pop_front();
        }
        self.beats_sent.push_back((self.beat_sequence, now));
        Some(self.beat_sequence)
    }

    /// The nonce of a ping that is due.
    pub(crate) fn take_ping(&mut self, now: Instant, random: &mut fastrand::Rng) -> Option<u64> {
        let probe = self.probe.as_mut()?;
        if now < probe.ping_next()? {
            return None;
        }
        let nonce = random.u64(..);
        probe.nonces.push(nonce);
        Some(nonce)
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let deadline = self.last_heard + self.deadline();
        match self.stage {
            Stage::Down => None,
            Stage::Heard { hold_until } if self.may_go_up() => Some(hold_until.min(deadline)),
            Stage::Heard { .. } => Some(deadline),
            Stage::Up => {
                let end = self.probe.as_ref().map(|probe| probe.started + probe.lasts);
                Some(end.map_or(deadline, |end| end.min(deadline)))
            }
        }
    }

    /// When the next ping of a probe is due. It can only go out while the beat connection is
    /// open, so without that nobody may wait for it.
    pub(crate) fn ping_next(&self) -> Option<Instant> {
        self.probe.as_ref().and_then(Probe::ping_next)
    }

    pub(crate) fn beat_next(&self) -> Instant {
        self.beat_next
    }

    /// The life that is heard at present.
    pub(crate) fn hears(&self) -> Option<Incarnation> {
        match self.stage {
            Stage::Down => None,
            Stage::Heard { .. } | Stage::Up => self.incarnation,
        }
    }

    /// What the next heartbeat echoes: the newest that came, and how long ago.
    pub(crate) fn echo(&self, now: Instant) -> (u64, Duration) {
        self.last_beat
            .map_or((0, Duration::ZERO), |(sequence, at)| {
                (sequence, now.saturating_duration_since(at))
            })
    }

    /// True if it has been heard long enough to be standing, in a view of no fewer members than
    /// this, and not to hear this peer.
    pub(crate) fn is_deaf(&self, view_size: usize, now: Instant) -> bool {
        self.stage != Stage::Down
            && self.deaf.is_some_and(|deaf| {
                deaf.standing == Standing::Yes
                    && usize::from(deaf.view_size) >= view_size
                    && now >= self.unheard_at(deaf)
            })
    }

    /// When the neighbor will have said long enough that it does not hear this peer.
    pub(crate) fn deaf_due(&self) -> Option<Instant> {
        let deaf = self.deaf.filter(|_| self.stage != Stage::Down);
        deaf.map(|deaf| self.unheard_at(deaf))
    }

    pub(crate) fn is_up(&self) -> bool {
        self.stage == Stage::Up
    }

    /// True if a connection that carries the link since then has been silent past the deadline.
    pub(crate) fn is_silent(&self, since: Instant, now: Instant) -> bool {
        now >= self.last_heard.max(since) + self.deadline()
    }

    pub(crate) fn stage(&self) -> LinkStage {
        match self.stage {
            Stage::Down => LinkStage::Down,
            Stage::Heard { .. } => LinkStage::Heard,
            Stage::Up => LinkStage::Up,
        }
    }

    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    pub(crate) fn incarnation(&self) -> Option<Incarnation> {
        self.incarnation
    }

    pub(crate) fn rtt(&self) -> Rtt {
        self.rtt
    }

    pub(crate) fn loss_permille(&self) -> u16 {
        (self.loss * 1_000.0) as u16
    }

    /// Expected latency towards this peer in microseconds: a lost packet comes one round trip
    /// later. At least 1, so that fewer hops win where nothing is measurable.
    pub(crate) fn cost(&self) -> u32 {
        let rtt = self.rtt.smoothed().as_secs_f64() * 1e6;
        ((rtt / 2.0 + self.loss * rtt) as u32).max(1)
    }

    /// max(mean + max(4 deviations, 3 beats), (k + ½) beats), within the profile's range.
    pub(crate) fn deadline(&self) -> Duration {
        let beat = self.timing.heartbeat.as_secs_f64();
        let loss = self.loss.clamp(LOSS_RANGE.0, LOSS_RANGE.1);
        let beats = FALSE_ALARM.ln() / loss.ln() + 0.5;
        let by_gaps = self.gap_mean + (4.0 * self.gap_deviation).max(3.0 * beat);
        Duration::from_secs_f64(by_gaps.max(beats * beat))
            .clamp(self.timing.deadline_min, self.timing.deadline_max)
    }

    fn judge(&mut self, now: Instant) -> Change {
        let is_silent = now >= self.last_heard + self.deadline();
        match self.stage {
            Stage::Down => Change::None,
            Stage::Heard { .. } if is_silent => self.go_down(Why::Silent, now),
            Stage::Heard { hold_until } if self.may_go_up() && now >= hold_until => {
                self.set_stage(Stage::Up, now);
                Change::WentUp
            }
            Stage::Heard { .. } => Change::None,
            Stage::Up if is_silent => self.go_down(Why::Silent, now),
            Stage::Up if !self.hears_me => self.go_down(Why::Unheard, now),
            Stage::Up => match &self.probe {
                Some(probe) if now >= probe.started + probe.lasts => self.go_down(Why::NoPong, now),
                _ => Change::None,
            },
        }
    }

    fn unheard_at(&self, deaf: Deaf) -> Instant {
        deaf.since + self.timing.heartbeat * UNHEARD_BEATS
    }

    fn may_go_up(&self) -> bool {
        self.hears_me && self.is_connected
    }

    fn measure(&mut self, beat: &Heartbeat, now: Instant) {
        if let Some((last, at)) = self.last_beat
            && self.stage != Stage::Down
        {
            let gap = now.saturating_duration_since(at).as_secs_f64();
            self.gap_deviation += ((gap - self.gap_mean).abs() - self.gap_deviation) / 4.0;
            self.gap_mean += (gap - self.gap_mean) / 8.0;
            for _ in 0..(beat.sequence - last - 1).min(64) {
                self.loss += (1.0 - self.loss) * LOSS_WEIGHT;
            }
            self.loss -= self.loss * LOSS_WEIGHT;
        }
        self.last_beat = Some((beat.sequence, now));
        let echoed = self.beats_sent.iter().find(|(sent, _)| *sent == beat.echo);
        if let Some((_, sent_at)) = echoed {
            let sample = now.saturating_duration_since(*sent_at);
            self.rtt.sample(sample.saturating_sub(beat.waited));
        }
    }

    /// Doubled for each further down within a minute.
    fn hold(&mut self, now: Instant) -> Duration {
        while self.downs.front().is_some_and(|at| *at + FLAP_MEMORY < now) {
            self.downs.pop_front();
        }
        let doublings = self.downs.len().saturating_sub(1).min(10) as u32;
        (self.timing.hold * (1 << doublings)).min(self.timing.hold_max)
    }

    fn set_stage(&mut self, stage: Stage, now: Instant) {
        self.stage = stage;
        self.since = now;
    }
}

impl Probe {
    fn ping_next(&self) -> Option<Instant> {
        let sent = self.nonces.len() as u32;
        (sent < PROBE_PINGS).then(|| self.started + self.lasts * sent / PROBE_PINGS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timing::Profile;
    use crate::view::ViewId;

    const ME: Incarnation = Incarnation(1);
    const MS: Duration = Duration::from_millis(1);

    fn beat(sequence: u64, hears: Incarnation) -> Heartbeat {
        Heartbeat {
            nonce: [0; 16],
            incarnation: Incarnation(9),
            hears,
            sequence,
            echo: 0,
            waited: Duration::ZERO,
            view: ViewId(0),
            view_size: 1,
            tick: 0,
            standing: Standing::Yes,
        }
    }

    /// A neighbor after a second of heartbeats, every `lost`-th lost, and the time of the last.
    fn up(lost: u64) -> (Neighbor, Instant) {
        let start = crate::testing::start();
        let mut neighbor = Neighbor::new(Profile::Lan.timing(), start);
        neighbor.set_connected(true);
        let mut now = start;
        for sequence in 1..=400 {
            now = start + MS * 25 * sequence as u32;
            if sequence % lost != 0 {
                neighbor.handle_heartbeat(&beat(sequence, ME), ME, now);
            }
        }
        assert!(neighbor.is_up());
        (neighbor, now)
    }

    #[test]
    fn a_link_comes_up_after_the_hold_and_only_if_both_hear() {
        let start = crate::testing::start();
        let mut neighbor = Neighbor::new(Profile::Lan.timing(), start);
        neighbor.set_connected(true);
        let changes: Vec<_> = (0..5)
            .map(|n| neighbor.handle_heartbeat(&beat(n + 1, ME), ME, start + MS * 25 * n as u32))
            .collect();
        let up_at = changes.iter().position(|change| *change == Change::WentUp);
        assert_eq!(up_at, Some(3), "75 ms of hold");
        let unheard = beat(9, Incarnation(0));
        let change = neighbor.handle_heartbeat(&unheard, ME, start + MS * 120);
        assert_eq!(change, Change::WentDown(Why::Unheard));
    }

    #[test]
    fn silence_ends_it_later_on_a_lossy_path() {
        for (lost, least, most) in [(1_000, 150, 150), (5, 300, 400)] {
            let (mut neighbor, now) = up(lost);
            let deadline = neighbor.deadline();
            assert!((MS * least..=MS * most).contains(&deadline), "{deadline:?}");
            let early = now + deadline - MS * 30;
            assert_eq!(neighbor.handle_timeout(early), Change::None);
            let change = neighbor.handle_timeout(now + deadline);
            assert_eq!(change, Change::WentDown(Why::Silent));
        }
    }

    #[test]
    fn only_a_pong_clears_a_probe() {
        for is_answered in [true, false] {
            let (mut neighbor, now) = up(1_000);
            neighbor.hint(now);
            assert_eq!(neighbor.ping_next(), Some(now));
            assert!(
                neighbor.poll_timeout() > Some(now),
                "no ping may be possible"
            );
            let nonce = neighbor
                .take_ping(now, &mut fastrand::Rng::with_seed(1))
                .unwrap();
            neighbor.handle_heartbeat(&beat(500, ME), ME, now + MS);
            if is_answered {
                neighbor.handle_pong(nonce, now + MS);
            }
            let end = now + MS * 61;
            let change = neighbor.handle_timeout(end);
            let expected = match is_answered {
                true => Change::None,
                false => Change::WentDown(Why::NoPong),
            };
            assert_eq!(change, expected);
        }
    }

    #[test]
    fn a_probe_ends_nothing_once_another_connection_carries_the_link() {
        let (mut neighbor, now) = up(1_000);
        neighbor.hint(now);
        neighbor.set_connected(true);
        assert_eq!(neighbor.ping_next(), None);
        assert_eq!(neighbor.handle_timeout(now + MS * 61), Change::None);
    }

    #[test]
    fn a_higher_life_ends_the_link_without_a_longer_hold() {
        let (mut neighbor, now) = up(1_000);
        let reborn = Heartbeat {
            incarnation: Incarnation(10),
            ..beat(1, Incarnation(0))
        };
        let change = neighbor.handle_heartbeat(&reborn, ME, now);
        assert_eq!(change, Change::WentDown(Why::Restarted));
        assert_eq!(neighbor.hears(), Some(Incarnation(10)));
        let late = neighbor.handle_heartbeat(&beat(900, ME), ME, now);
        assert_eq!(
            (late, neighbor.hears()),
            (Change::None, Some(Incarnation(10)))
        );
    }

    #[test]
    fn an_overslept_peer_blames_nobody() {
        let (mut neighbor, now) = up(1_000);
        let woke = now + MS * 900;
        neighbor.excuse(MS * 875, woke);
        assert_eq!(neighbor.handle_timeout(woke), Change::None);
    }
}
