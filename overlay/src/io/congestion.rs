//! A congestion window with a floor: NewReno above it.
//!
//! A link is seldom limited by its window but often by what there is to send; then the window
//! never grows, and one loss halves the little there is. The floor keeps a lossy link as fast as
//! if it had no window.

use quinn_proto::RttEstimator;
use quinn_proto::congestion::{Controller, ControllerFactory, NewReno, NewRenoConfig};
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Overlay protocol section 1: 16 packets of the largest size that path discovery finds.
const FLOOR: u64 = 16 * 1452;
/// Overlay protocol section 1: the window of heartbeats must never fill. With 16 packets a cut of
/// 8 s leaves only probes with doubling gaps, and the first beat comes 2 s after it has healed.
pub(super) const FLOOR_BEAT: u64 = 1024 * 1024;

/// Makes the controllers of an endpoint's connections.
#[derive(Debug)]
pub(super) struct FloorConfig;

impl ControllerFactory for FloorConfig {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        let inner = NewReno::new(Arc::new(NewRenoConfig::default()), now, current_mtu);
        Box::new(Floor {
            inner,
            floor: Arc::new(AtomicU64::new(FLOOR)),
        })
    }
}

/// The controller of one connection. Its clones share the floor, so that whoever holds one can
/// raise it: an endpoint does not know what a connection is for before the handshake.
#[derive(Clone)]
struct Floor {
    inner: NewReno,
    floor: Arc<AtomicU64>,
}

/// Raises the floor of a connection that carries heartbeats.
pub(super) fn raise_floor(connection: &quinn::Connection) {
    let controller = connection.congestion_state().into_any().downcast::<Floor>();
    let floor = controller
        .expect("every connection has a controller from `FloorConfig`")
        .floor;
    floor.store(FLOOR_BEAT, Ordering::Relaxed);
}

impl Controller for Floor {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.inner.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &RttEstimator,
    ) {
        self.inner.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        largest_packet_num_acked: Option<u64>,
    ) {
        self.inner
            .on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        self.inner
            .on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.inner.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        self.inner.window().max(self.floor.load(Ordering::Relaxed))
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        self.inner.initial_window().max(FLOOR)
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_never_take_the_window_below_a_floor_that_clones_share() {
        let now = Instant::now();
        let mut controller = Arc::new(FloorConfig).build(now, 1200);
        for _ in 0..20 {
            controller.on_congestion_event(now, now, true, 1200);
        }
        assert_eq!(controller.window(), FLOOR);
        let other = controller
            .clone_box()
            .into_any()
            .downcast::<Floor>()
            .ok()
            .unwrap();
        other.floor.store(FLOOR_BEAT, Ordering::Relaxed);
        assert_eq!(controller.window(), FLOOR_BEAT);
    }
}
