//! A driver in a namespace, and what the tests ask of it.

use crate::bridge::Segment;
use dnsd::io::vip::{Alone, Beats, Guard, GuardSettings, Handle, Kind, RECORD, Settings, start};
use dnsd::vip::address::{VipAddress, VipId, group_id};
use dnsd::vip::kernel::{Heard, Kernel, Mac, Order, Report, Unfit};
use socket2::{Domain, Socket, Type};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tests::daemon::dnsd;

/// For what takes milliseconds, on a machine that is busy with other tests.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// Long, as the tests share few cores.
pub(crate) const LEASE: Duration = Duration::from_secs(1);
const BEAT_PERIOD: Duration = Duration::from_millis(20);
/// After so long without an answer none is on its way.
const SETTLED: Duration = Duration::from_millis(500);
/// For fake DNS servers.
pub(crate) const PORT: u16 = 53;

/// Which VIPs can be held.
pub(crate) type Can = BTreeMap<VipId, Result<(), Unfit>>;

/// A driver with its guard, and a thread that beats.
pub(crate) struct Host {
    pub(crate) handle: Option<Handle>,
    pub(crate) guard: u32,
    reports: Receiver<Report>,
    waiting: Vec<Report>,
    can: Can,
    is_beating: Arc<AtomicBool>,
    /// How many milliseconds ago another thread went on, as the beats say.
    ago: Arc<AtomicU64>,
    /// How many beats were sent.
    beaten: Arc<AtomicU64>,
    beater: Option<JoinHandle<()>>,
}

impl Host {
    pub(crate) fn start(segment: &Segment, host: u8, data: &Path) -> Self {
        Self::start_with(segment, host, settings(data))
    }

    pub(crate) fn start_with(segment: &Segment, host: u8, settings: Settings) -> Self {
        segment.within(host, || Self::start_here(settings, LEASE))
    }

    /// In the namespace of the calling thread.
    pub(crate) fn start_here(settings: Settings, lease: Duration) -> Self {
        Self::start_guarded(settings, lease, dnsd())
    }

    /// Guarded by another program than the daemon's own.
    pub(crate) fn start_guarded(settings: Settings, lease: Duration, program: &Path) -> Self {
        let alone = match settings.kind {
            Kind::Netlink => Alone::Yes,
            Kind::Log | Kind::Exec { .. } => Alone::No,
        };
        let guard = Guard::start(GuardSettings {
            program: program.into(),
            record: Some(settings.record.clone()),
            ..GuardSettings::new(lease, alone)
        });
        let guard = guard.unwrap();
        let process = guard.process_id();
        let is_beating = Arc::new(AtomicBool::new(true));
        let [ago, beaten] = [0, 0].map(|zero| Arc::new(AtomicU64::new(zero)));
        let beater = std::thread::spawn({
            let (beats, is_beating) = (guard.beats(), Arc::clone(&is_beating));
            let (ago, beaten) = (Arc::clone(&ago), Arc::clone(&beaten));
            move || beat(&beats, &is_beating, &ago, &beaten)
        });
        let (sender, reports) = channel();
        let report = Box::new(move |report| drop(sender.send(report)));
        Self {
            handle: Some(start(settings, Some(guard), report).unwrap()),
            guard: process,
            reports,
            waiting: Vec::new(),
            can: Can::new(),
            is_beating,
            ago,
            beaten,
            beater: Some(beater),
        }
    }

    pub(crate) fn order(&self, order: Order) {
        self.handle.as_ref().unwrap().order(order);
    }

    /// Hands over VIPs, each a group.
    pub(crate) fn vips(&self, groups: &[&[&str]]) -> Vec<VipId> {
        let groups: BTreeMap<VipId, BTreeSet<VipAddress>> = groups
            .iter()
            .map(|group| {
                let group = group.iter().map(|text| text.parse().unwrap()).collect();
                (group_id(&group), group)
            })
            .collect();
        let vips = groups.keys().copied().collect();
        self.order(Order::Vips(groups));
        vips
    }

    /// Hands over one VIP, and waits until it can be held.
    pub(crate) fn vip(&mut self, group: &[&str]) -> VipId {
        let vip = self.vips(&[group])[0];
        self.wait_can(vip, &Ok(()));
        vip
    }

    pub(crate) fn wait_can(&mut self, vip: VipId, expected: &Result<(), Unfit>) {
        let what = format!("{vip} can be held: {expected:?}");
        self.wait_of_can(&what, |can| (can.get(&vip) == Some(expected)).then_some(()));
    }

    pub(crate) fn wait_unfit(&mut self, vip: VipId) -> Unfit {
        self.wait_of_can("it cannot be held", |can| can.get(&vip)?.clone().err())
    }

    /// Waits until what was last said of all VIPs is as expected.
    pub(crate) fn wait_of_can<T>(&mut self, what: &str, find: impl Fn(&Can) -> Option<T>) -> T {
        if let Some(found) = find(&self.can) {
            return found;
        }
        self.wait(what, |report| match report {
            Report::Can(can) => find(can),
            _ => None,
        })
    }

    pub(crate) fn wait_macs(&mut self) -> BTreeSet<Mac> {
        self.wait("Ethernet addresses", |report| match report {
            Report::Macs(macs) if !macs.is_empty() => Some(macs.clone()),
            _ => None,
        })
    }

    /// Brings a VIP to a state.
    pub(crate) fn bring(&mut self, vip: VipId, state: Kernel) {
        self.order(Order::Change(vip, state));
        let is = self.wait("the change is done", |report| match report {
            Report::Is(of, is) if *of == vip => Some(Ok(*is)),
            Report::Failed(of, is, why) if *of == vip => Some(Err((*is, why.clone()))),
            _ => None,
        });
        assert_eq!(is, Ok(state), "{vip}");
    }

    /// Orders a change that fails; the state it is in then, and why.
    pub(crate) fn fail(&mut self, vip: VipId, state: Kernel) -> (Kernel, String) {
        self.order(Order::Change(vip, state));
        self.wait("the change fails", |report| match report {
            Report::Failed(of, is, why) if *of == vip => Some((*is, why.clone())),
            _ => None,
        })
    }

    pub(crate) fn ask(&mut self, vip: VipId) -> Heard {
        self.order(Order::Ask(vip));
        self.heard(vip)
    }

    /// What the segment answered to a question that was ordered.
    pub(crate) fn heard(&mut self, vip: VipId) -> Heard {
        self.wait("the segment answers", |report| match report {
            Report::Segment(of, heard) if *of == vip => Some(*heard),
            _ => None,
        })
    }

    pub(crate) fn wait_lost(&mut self, vip: VipId) {
        self.wait("the VIP is lost", |report| {
            (*report == Report::Lost(vip, Kernel::Absent)).then_some(())
        });
    }

    /// Waits for a report, and forgets it and those before it.
    pub(crate) fn wait<T>(&mut self, what: &str, mut find: impl FnMut(&Report) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            let left = SOON.saturating_sub(start.elapsed());
            match self.reports.recv_timeout(left) {
                Ok(report) => {
                    if let Report::Can(can) = &report {
                        self.can.clone_from(can);
                    }
                    let found = find(&report);
                    self.waiting.push(report);
                    if let Some(found) = found {
                        self.waiting.clear();
                        return found;
                    }
                }
                Err(_) => panic!("not reported: {what}; but: {:#?}", self.waiting),
            }
        }
    }

    /// Stops telling the guard that the main loop goes on.
    pub(crate) fn stop_beats(&mut self) {
        self.is_beating.store(false, Ordering::Relaxed);
        self.beater.take().unwrap().join().unwrap();
    }

    /// The beats say from now on that another thread stands still, or that it does no more.
    pub(crate) fn set_ago(&self, ago: Duration) {
        self.ago.store(ago.as_millis() as u64, Ordering::Relaxed);
        // The next beat may be under way with what was said before.
        let before = self.beaten.load(Ordering::Relaxed);
        let start = Instant::now();
        while self.beaten.load(Ordering::Relaxed) < before + 2 {
            assert!(start.elapsed() < SOON, "nobody beats");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn stop(&mut self) {
        self.handle = None;
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.handle = None;
        self.is_beating.store(false, Ordering::Relaxed);
    }
}

fn beat(beats: &Beats, is_beating: &AtomicBool, ago: &AtomicU64, beaten: &AtomicU64) {
    while is_beating.load(Ordering::Relaxed) {
        beats.beat(Duration::from_millis(ago.load(Ordering::Relaxed)));
        beaten.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(BEAT_PERIOD);
    }
}

pub(crate) fn settings(data: &Path) -> Settings {
    Settings {
        dns_port: PORT,
        lease: LEASE,
        // An answer takes some 0.2 ms, if nobody else wants the core.
        answer: Duration::from_millis(300),
        ..Settings::new(Kind::Netlink, data.join(RECORD))
    }
}

/// A DNS server on a host that answers at an address, also before it stands there: with what was
/// asked, and its number.
pub(crate) struct Server {
    is_stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(segment: &Segment, host: u8, address: &str) -> Self {
        let address: IpAddr = address.parse().unwrap();
        let is_stopping = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&is_stopping);
        let thread = segment.within(host, || {
            let socket = Socket::new(
                Domain::for_address(SocketAddr::new(address, PORT)),
                Type::DGRAM,
                None,
            );
            let socket = socket.unwrap();
            match address {
                IpAddr::V4(_) => socket.set_freebind_v4(true).unwrap(),
                IpAddr::V6(_) => socket.set_freebind_v6(true).unwrap(),
            }
            socket.bind(&SocketAddr::new(address, PORT).into()).unwrap();
            let socket = UdpSocket::from(socket);
            let period = Duration::from_millis(20);
            socket.set_read_timeout(Some(period)).unwrap();
            std::thread::spawn(move || serve(&socket, host, &stopping))
        });
        Self {
            is_stopping,
            thread: Some(thread),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(socket: &UdpSocket, host: u8, is_stopping: &AtomicBool) {
    let mut request = [0; 512];
    while !is_stopping.load(Ordering::Relaxed) {
        let Ok((size, from)) = socket.recv_from(&mut request) else {
            continue;
        };
        let mut response = request[..size].to_vec();
        if let Some(flags) = response.get_mut(2) {
            *flags |= 0x80;
        }
        response.push(host);
        // It may leave from an address that was just taken away.
        let _ = socket.send_to(&response, from);
    }
}

/// A client on a host that asks a VIP.
pub(crate) struct Client {
    socket: UdpSocket,
    sent: u16,
}

impl Client {
    pub(crate) fn new(segment: &Segment, host: u8, address: &str) -> Self {
        let address: IpAddr = address.parse().unwrap();
        let socket = segment.within(host, || {
            let any = if address.is_ipv4() {
                "0.0.0.0:0"
            } else {
                "[::]:0"
            };
            let socket = UdpSocket::bind(any).unwrap();
            socket.connect((address, PORT)).unwrap();
            socket
        });
        Self { socket, sent: 0 }
    }

    /// Asks once; the host that answers within the time.
    pub(crate) fn ask(&mut self, timeout: Duration) -> Option<u8> {
        self.send();
        let start = Instant::now();
        loop {
            let left = timeout.saturating_sub(start.elapsed());
            let left = left.max(Duration::from_millis(1));
            self.socket.set_read_timeout(Some(left)).unwrap();
            match self.receive() {
                Some((number, host)) if number == self.sent => return Some(host),
                Some(_) => {}
                None if start.elapsed() >= timeout => return None,
                None => {}
            }
        }
    }

    pub(crate) fn send(&mut self) {
        self.sent = self.sent.wrapping_add(1);
        let mut request = vec![0; 12];
        request[..2].copy_from_slice(&self.sent.to_be_bytes());
        // An ICMP error of an earlier one is told here.
        if self.socket.send(&request).is_err() {
            self.socket.send(&request).unwrap();
        }
    }

    /// The number of a response and the host that it came from.
    pub(crate) fn receive(&self) -> Option<(u16, u8)> {
        let mut response = [0; 64];
        let size = self.socket.recv(&mut response).ok()?;
        let number = u16::from_be_bytes([response[0], response[1]]);
        Some((number, response[size - 1]))
    }

    /// Asks at a steady rate while `work` goes on, then waits for the stragglers: how many were
    /// asked and not answered, of how many. `work` gets what waits until all is answered that was
    /// asked before.
    pub(crate) fn ask_while(self, work: impl FnOnce(&dyn Fn())) -> (usize, usize) {
        let is_over = AtomicBool::new(false);
        let sent = AtomicUsize::new(0);
        let answered = Mutex::new(BTreeSet::new());
        let missing = |sent: usize| {
            let first = self.sent;
            let answered = answered.lock().unwrap();
            (1..=sent as u16)
                .filter(|nth| !answered.contains(&(first + nth)))
                .count()
        };
        let socket = self.socket.try_clone().unwrap();
        let mut asker = Self {
            socket,
            sent: self.sent,
        };
        let timeout = Duration::from_millis(20);
        self.socket.set_read_timeout(Some(timeout)).unwrap();
        std::thread::scope(|scope| {
            let (is_over, sent, answered, receiver) = (&is_over, &sent, &answered, &self);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    asker.send();
                    sent.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
            let counter = scope.spawn(move || {
                let mut last = Instant::now();
                while !is_over.load(Ordering::Relaxed) || last.elapsed() < SETTLED {
                    if let Some((number, _)) = receiver.receive() {
                        answered.lock().unwrap().insert(number);
                        last = Instant::now();
                    }
                }
            });
            work(&|| {
                let before = sent.load(Ordering::Relaxed);
                let start = Instant::now();
                // One that is lost is counted at the end.
                while missing(before) > 0 && start.elapsed() < SETTLED {
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
            is_over.store(true, Ordering::Relaxed);
            counter.join().unwrap();
        });
        let sent = sent.into_inner();
        (missing(sent), sent)
    }
}

/// Makes a host ask quickly whom it does not know, and forget all it knows.
pub(crate) fn forget_neighbors(segment: &Segment, host: u8) {
    segment.ip(host, "neigh flush all");
}

/// The Ethernet address that a host has for an address.
pub(crate) fn neighbor(segment: &Segment, host: u8, address: &str) -> Option<String> {
    let line = segment.ip(host, &format!("neigh show {address} dev eth0"));
    let mut words = line.split_whitespace();
    words.find(|word| *word == "lladdr")?;
    words.next().map(str::to_owned)
}

/// True if an address stands on a link of a host.
pub(crate) fn stands(segment: &Segment, host: u8, address: &str, link: &str) -> bool {
    let shown = segment.ip(host, &format!("-o address show dev {link}"));
    shown.contains(&format!(" {address}/"))
}

pub(crate) fn mac(segment: &Segment, host: u8) -> Mac {
    let text = segment.mac(host);
    let bytes = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).unwrap());
    Mac(bytes.collect::<Vec<u8>>().try_into().unwrap())
}
