//! The open TCP connections: how many there may be, and which of them gives way to a new one.
//!
//! ```text
//! admit ─ too many of one network ───────────────→ refused
//!   └ a place is free ───────────────────────────→ taken
//!   └ none is: the one idle for longest is closed → taken;  all are busy → refused
//! ```
//! So whoever only holds connections keeps nobody out: he loses them to those who come to ask
//! (RFC 7766 section 6.2.3 lets a server close idle connections when it needs to).

use crate::serve::Count;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

/// The least time between two looks at whether a connection is idle.
const IDLE_LOOK: Duration = Duration::from_millis(5);

/// All open connections.
#[derive(Debug)]
pub(super) struct Connections {
    total_max: usize,
    per_network_max: usize,
    /// What times of idleness count from.
    start: Instant,
    open: Mutex<Open>,
    /// How many are open, for readers that must not wait for the lock.
    count: AtomicUsize,
}

#[derive(Debug, Default)]
struct Open {
    places: BTreeMap<u64, Arc<Activity>>,
    networks: BTreeMap<IpAddr, usize>,
    next: u64,
}

/// What one connection is doing.
#[derive(Debug)]
struct Activity {
    network: IpAddr,
    start: Instant,
    /// Requests whose responses are not written yet.
    in_flight: AtomicUsize,
    /// Since when there are none, in microseconds from `start`.
    idle_since: AtomicU64,
    give_way: Notify,
}

/// Whose connection it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum From {
    /// That of whoever asks.
    Client,
    /// That of a proxy, which asks for others.
    Proxy,
}

/// A connection's place among the open ones, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    connections: Arc<Connections>,
    id: u64,
    activity: Arc<Activity>,
}

/// A request that is being answered: as long as it is there, its connection is not idle.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Activity>);

impl Connections {
    /// None are open yet.
    pub(super) fn new(total_max: usize, per_network_max: usize) -> Self {
        Self {
            total_max,
            per_network_max,
            start: Instant::now(),
            open: Mutex::default(),
            count: AtomicUsize::new(0),
        }
    }

    /// A place for a connection from this address; none if it would be one too many. One of a
    /// proxy is for any client.
    pub(super) fn admit(self: &Arc<Self>, ip: IpAddr, from: From) -> Result<Place, Count> {
        let network = network_of(ip);
        let mut open = self.open();
        let of_network = open.networks.get(&network).copied().unwrap_or(0);
        if from == From::Client && of_network >= self.per_network_max {
            return Err(Count::TcpRefusedAddress);
        }
        if open.places.len() >= self.total_max {
            let id = open.idle_for_longest().ok_or(Count::TcpRefusedTotal)?;
            if let Some(activity) = open.remove(id) {
                activity.give_way.notify_one();
            }
        }
        let activity = Arc::new(Activity {
            network,
            start: self.start,
            in_flight: AtomicUsize::new(0),
            idle_since: AtomicU64::new(micros_since(self.start)),
            give_way: Notify::new(),
        });
        let id = open.next;
        open.next += 1;
        open.places.insert(id, Arc::clone(&activity));
        *open.networks.entry(network).or_default() += 1;
        self.count.store(open.places.len(), Ordering::Relaxed);
        Ok(Place {
            connections: Arc::clone(self),
            id,
            activity,
        })
    }

    /// How many are open.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// True if so many are open that clients shall not keep theirs without need: seven of eight.
    pub(super) fn is_nearly_full(&self) -> bool {
        self.count() >= self.total_max - self.total_max / 8
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        // The maps are whole after every method that changes them.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Takes a connection out; nothing if it has given way before.
    fn remove(&mut self, id: u64) -> Option<Arc<Activity>> {
        let activity = self.places.remove(&id)?;
        match self.networks.get_mut(&activity.network) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                self.networks.remove(&activity.network);
            }
        }
        Some(activity)
    }

    /// Looks at all of them: it is asked only when there are as many as may be, and then costs
    /// less than the accept before it.
    fn idle_for_longest(&self) -> Option<u64> {
        let idle = self
            .places
            .iter()
            .filter(|(_, activity)| activity.is_idle());
        idle.min_by_key(|(_, activity)| activity.idle_since.load(Ordering::Relaxed))
            .map(|(id, _)| *id)
    }
}

impl Activity {
    fn is_idle(&self) -> bool {
        self.in_flight.load(Ordering::Acquire) == 0
    }

    /// For how long it has been idle, if it is.
    fn idle(&self) -> Option<Duration> {
        self.is_idle().then(|| {
            let since = Duration::from_micros(self.idle_since.load(Ordering::Relaxed));
            self.start.elapsed().saturating_sub(since)
        })
    }
}

impl Place {
    /// A request has come in whole.
    pub(super) fn begin(&self) -> InFlight {
        self.activity.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(&self.activity))
    }

    /// True if nothing is asked that is not answered.
    pub(super) fn is_idle(&self) -> bool {
        self.activity.is_idle()
    }

    /// Returns once nothing has been in flight for so long.
    pub(super) async fn idle_for(&self, limit: Duration) {
        loop {
            let idle = self.activity.idle();
            match idle {
                Some(idle) if idle >= limit => return,
                idle => sleep((limit - idle.unwrap_or_default()).max(IDLE_LOOK)).await,
            }
        }
    }

    /// Returns when the connection has to give way to another.
    pub(super) async fn give_way(&self) {
        self.activity.give_way.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.connections.open();
        open.remove(self.id);
        let count = open.places.len();
        self.connections.count.store(count, Ordering::Relaxed);
    }
}

impl Clone for InFlight {
    fn clone(&self) -> Self {
        self.0.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&self.0))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let now = micros_since(self.0.start);
        self.0.idle_since.store(now, Ordering::Relaxed);
        // Whoever sees that nothing is in flight sees since when, too.
        self.0.in_flight.fetch_sub(1, Ordering::Release);
    }
}

/// Whose connections count together: an IPv4 address; of IPv6 a /64, of which every host has as
/// many addresses as it likes (RFC 7934).
fn network_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
    }
}

fn micros_since(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn wait_a_microsecond() {
        let start = Instant::now();
        while start.elapsed().as_micros() < 2 {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn networks_are_addresses_of_ipv4_and_64s_of_ipv6() {
        let check = |address: &str, expected: &str| {
            assert_eq!(network_of(ip(address)), ip(expected), "{address}");
        };
        check("192.0.2.1", "192.0.2.1");
        check("::ffff:192.0.2.1", "192.0.2.1");
        check("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::");
        check("::1", "::");
    }

    #[test]
    fn addresses_of_one_64_count_together() {
        let connections = Arc::new(Connections::new(10, 2));
        let first = connections.admit(ip("2001:db8::1"), From::Client).unwrap();
        let _second = connections.admit(ip("2001:db8::2"), From::Client).unwrap();
        let refused = |ip| connections.admit(ip, From::Client).map(|_| ()).unwrap_err();
        assert_eq!(refused(ip("2001:db8::3")), Count::TcpRefusedAddress);
        assert!(
            connections
                .admit(ip("2001:db8:0:1::3"), From::Client)
                .is_ok()
        );
        drop(first);
        assert!(connections.admit(ip("2001:db8::3"), From::Client).is_ok());
        assert_eq!(connections.count(), 1);
    }

    #[test]
    fn the_clients_of_a_proxy_do_not_count_together() {
        let connections = Arc::new(Connections::new(4, 1));
        let admit = |from| connections.admit(ip("192.0.2.1"), from);
        let places: Vec<_> = (0..3).map(|_| admit(From::Proxy).unwrap()).collect();
        assert_eq!(
            admit(From::Client).map(|_| ()),
            Err(Count::TcpRefusedAddress)
        );
        drop(places);
        assert!(admit(From::Client).is_ok());
    }

    #[test]
    fn the_one_idle_for_longest_gives_way() {
        let connections = Arc::new(Connections::new(2, 2));
        let first = connections.admit(ip("192.0.2.1"), From::Client).unwrap();
        wait_a_microsecond();
        let second = connections.admit(ip("192.0.2.2"), From::Client).unwrap();
        wait_a_microsecond();
        // The first has asked since the second came.
        drop(first.begin());
        let third = connections.admit(ip("192.0.2.3"), From::Client).unwrap();
        let gone = |place: &Place| !connections.open().places.contains_key(&place.id);
        assert!(!gone(&first) && gone(&second));
        assert_eq!(connections.count(), 2);
        // Its place is given back once, not twice.
        drop(second);
        assert_eq!(connections.count(), 2);
        // Busy ones stay.
        let (one, other) = (first.begin(), third.begin());
        let another = other.clone();
        drop(other);
        let refused = connections
            .admit(ip("192.0.2.4"), From::Client)
            .map(|_| ())
            .unwrap_err();
        assert_eq!(refused, Count::TcpRefusedTotal);
        drop(another);
        let fourth = connections.admit(ip("192.0.2.4"), From::Client).unwrap();
        assert!(gone(&third) && !gone(&first) && !gone(&fourth));
        drop((one, first, third, fourth));
        assert_eq!(connections.count(), 0);
        assert!(connections.open().networks.is_empty());
    }

    #[test]
    fn seven_of_eight_are_nearly_all() {
        let connections = Arc::new(Connections::new(8, 8));
        let places: Vec<_> = (0..7)
            .map(|_| {
                assert!(!connections.is_nearly_full());
                connections.admit(ip("192.0.2.1"), From::Client).unwrap()
            })
            .collect();
        assert!(connections.is_nearly_full());
        drop(places);
        assert!(!connections.is_nearly_full());
    }
}
