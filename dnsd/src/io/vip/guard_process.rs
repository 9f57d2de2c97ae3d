//! The guard's own side: the process that removes addresses when the daemon is gone or hangs.
//!
//! ```text
//!  Hold ─▶ held ── the other end is closed ───────────▶ remove all, restore settings, end
//!            └──── no beat for a lease, or beats that say that one of the two threads stands still
//!                  for so long ─▶ remove all ── a beat ─▶ go on
//! ```
//!
//! It is one thread that waits on one socket. It asks nothing of the daemon's memory, log or disk.
//! Programs run beside it, all at once.

use super::guard::SUB_COMMAND;
use super::lock::Lock;
use super::program::command;
use super::rights::{self, kill_group};
use super::told::{self, Alone, Holding, KernelSetting, PACKET_SIZE_MAX, Say, Tell};
use crate::vip::ground::Place;
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

/// How often the lock is tried for.
const LOCK_PERIOD: Duration = Duration::from_millis(2);
/// How often it is looked for the end of programs when there is nothing else to wait for.
const PROGRAM_PERIOD: Duration = Duration::from_millis(2);
/// VIPs that are told to have failed; so many fit into a packet.
const FAILED_MAX: usize = 512;
/// Parts of a lease by which its end may be seen late.
const LEASE_PARTS: u32 = 10;
/// An address that cannot be: no interface has this index. Removing it readies the way.
const NOWHERE: u32 = i32::MAX as u32;
/// Netlink, linux/rtnetlink.h.
const RTM_DELADDR: u16 = 21;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLMSG_ERROR: u16 = 2;
const IFA_LOCAL: u16 = 2;
/// A kernel answers at once.
const NETLINK_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs the guard until the daemon is gone.
pub fn run() -> io::Result<()> {
    let socket = Socket::from(io::stdin().as_fd().try_clone_to_owned()?);
    let is_packets = socket
        .r#type()
        .is_ok_and(|kind| kind == Type::from(libc::SOCK_SEQPACKET));
    if !is_packets {
        let text = format!("{SUB_COMMAND} is started by `dnsd serve`, not by hand");
        return Err(io::Error::other(text));
    }
    rights::outlive_signals();
    rights::go_first();
    socket.set_nonblocking(false)?;
    let mut watch = Watch {
        socket,
        lease: Duration::MAX,
        alone: Alone::No,
        record: None,
        held: BTreeMap::new(),
        restore: Vec::new(),
        has_held: false,
        beat: None,
        has_removed: HasRemoved::No,
        releases: Vec::new(),
        failed: BTreeSet::new(),
        kernel: Removals::open(),
    };
    watch.run()
}

struct Watch {
    socket: Socket,
    lease: Duration,
    alone: Alone,
    record: Option<PathBuf>,
    held: BTreeMap<IpAddr, Holding>,
    restore: Vec<KernelSetting>,
    /// Whether it was ever told of something: if not, the record lists what an earlier run left.
    has_held: bool,
    /// When both threads had gone on by the last beat; until the first one, since when something is
    /// held.
    beat: Option<Instant>,
    has_removed: HasRemoved,
    /// Programs that run.
    releases: Vec<Release>,
    /// VIPs whose program has failed since the last of them was told.
    failed: BTreeSet<IpAddr>,
    kernel: io::Result<Removals>,
}

/// Whether all was removed since the last beat.
#[derive(Clone, Copy, PartialEq, Eq)]
enum HasRemoved {
    No,
    Yes,
}

/// A program that releases a VIP.
struct Release {
    vip: IpAddr,
    child: Child,
    until: Instant,
}

/// What came of waiting.
enum Came {
    Something,
    Nothing,
    End,
}

impl Watch {
    fn run(&mut self) -> io::Result<()> {
        let mut packet = vec![0; PACKET_SIZE_MAX];
        self.socket.set_read_timeout(None)?;
        let Came::Something = self.wait(&mut packet)? else {
            return Ok(());
        };
        let lock = match self.lock(&mut packet) {
            Ok(Some(lock)) => lock,
            Ok(None) => return Ok(()),
            Err(error) => {
                let why = format!("the guard of virtual addresses cannot be the only one: {error}");
                self.say(&Say::Stands(Some(why)))?;
                while !matches!(self.wait(&mut packet)?, Came::End) {}
                return Ok(());
            }
        };
        let why = match &mut self.kernel {
            Ok(kernel) => kernel.try_it().err(),
            Err(error) => Some(io::Error::other(error.to_string())),
        };
        self.say(&Say::Stands(why.map(|error| {
            format!("the guard of virtual addresses cannot remove one: {error}")
        })))?;
        let period = (self.lease / LEASE_PARTS).max(Duration::from_millis(1));
        self.socket.set_read_timeout(Some(period))?;
        loop {
            match self.wait(&mut packet)? {
                // A thread may stand still while the other one beats all the time.
                Came::Something if self.is_late() => {
                    // What else was said meanwhile may be a beat of both.
                    self.socket.set_nonblocking(true)?;
                    let mut came = Came::Something;
                    while self.is_late() && matches!(came, Came::Something) {
                        came = self.wait(&mut packet)?;
                    }
                    self.socket.set_nonblocking(false)?;
                    match came {
                        Came::End => break,
                        Came::Something | Came::Nothing => self.look(),
                    }
                }
                Came::Something => {}
                Came::End => break,
                // All that was said has been heard, so no beat is on its way.
                Came::Nothing => self.look(),
            }
            self.look_at_programs();
            lock.answer();
        }
        self.remove_all();
        while !self.releases.is_empty() {
            self.look_at_programs();
            std::thread::sleep(PROGRAM_PERIOD);
        }
        if let Some(record) = &self.record
            && self.has_held
            && let Err(error) = std::fs::remove_file(record)
            && error.kind() != io::ErrorKind::NotFound
        {
            // The next start finds it and removes what it lists, which is nothing.
            return Err(error);
        }
        drop(lock);
        Ok(())
    }

    /// Becomes the only guard; none if the daemon ended meanwhile.
    fn lock(&mut self, packet: &mut [u8]) -> io::Result<Option<Lock>> {
        if self.alone == Alone::No {
            return Ok(Some(Lock::default()));
        }
        let mut lock = Lock::default();
        self.socket.set_read_timeout(Some(LOCK_PERIOD))?;
        let mut has_said = false;
        while !lock.take(self.record.as_deref())? {
            if !has_said {
                self.say(&Say::Waits)?;
                has_said = true;
            }
            if let Came::End = self.wait(packet)? {
                return Ok(None);
            }
        }
        Ok(Some(lock))
    }

    fn wait(&mut self, packet: &mut [u8]) -> io::Result<Came> {
        match (&self.socket).read(packet) {
            Ok(0) => Ok(Came::End),
            Ok(size) => {
                self.hear(&packet[..size])?;
                Ok(Came::Something)
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Ok(Came::Nothing),
                io::ErrorKind::Interrupted => Ok(Came::Something),
                // The daemon was killed with something unread.
                _ => Ok(Came::End),
            },
        }
    }

    fn hear(&mut self, packet: &[u8]) -> io::Result<()> {
        if let Some(ago) = told::beaten(packet) {
            let now = Instant::now();
            // A clock that begins later than that has seen no beat of both, but for this one.
            let beat = now.checked_sub(ago).or(self.beat).unwrap_or(now);
            self.beat = Some(beat);
            if now - beat < self.lease {
                self.has_removed = HasRemoved::No;
            }
            return Ok(());
        }
        match serde_json::from_slice(packet)? {
            Tell::Begin {
                lease,
                alone,
                record,
            } => {
                self.lease = lease;
                self.alone = alone;
                self.record = record;
            }
            Tell::Hold(vip, holding) if holding.is_empty() => {
                self.held.remove(&vip);
            }
            Tell::Hold(vip, holding) => {
                self.has_held = true;
                self.beat.get_or_insert_with(Instant::now);
                self.held.insert(vip, holding);
            }
            Tell::Restore(settings) => self.restore = settings,
        }
        Ok(())
    }

    /// True if it is too long ago that both threads went on.
    fn is_late(&self) -> bool {
        self.beat.is_some_and(|beat| beat.elapsed() >= self.lease)
    }

    /// Nothing more is to be heard: is it too long ago that both threads went on?
    fn look(&mut self) {
        if !self.is_late() || self.held.is_empty() {
            return;
        }
        if self.has_removed == HasRemoved::No {
            self.has_removed = HasRemoved::Yes;
            // It may hang, or read what is said when it goes on.
            drop(self.say(&Say::Removing));
            self.remove_all();
            if self.releases.is_empty() {
                self.say_removed();
            }
        } else {
            // The driver may have been about to add one when it was stopped.
            self.remove_addresses();
        }
    }

    fn remove_all(&mut self) {
        self.remove_addresses();
        for setting in &self.restore {
            // The interface may be gone; nobody is there to be told.
            drop(std::fs::write(&setting.path, &setting.value));
        }
        for (vip, holding) in &self.held {
            let Some(run) = &holding.run else { continue };
            if self.releases.iter().any(|release| release.vip == *vip) {
                continue;
            }
            match command(run).spawn() {
                Ok(child) => self.releases.push(Release {
                    vip: *vip,
                    child,
                    until: Instant::now() + run.timeout,
                }),
                Err(_) => {
                    self.failed.insert(*vip);
                }
            }
        }
    }

    /// Takes note of programs that have ended, and ends those that take too long.
    fn look_at_programs(&mut self) {
        let had_some = !self.releases.is_empty();
        let failed = &mut self.failed;
        self.releases.retain_mut(|release| {
            let has_failed = match release.child.try_wait() {
                Ok(Some(status)) => !status.success(),
                Ok(None) if Instant::now() < release.until => return true,
                Ok(None) | Err(_) => {
                    kill_group(release.child.id());
                    true
                }
            };
            if has_failed {
                failed.insert(release.vip);
            }
            false
        });
        if had_some && self.releases.is_empty() {
            self.say_removed();
        }
    }

    fn say_removed(&mut self) {
        let failed = std::mem::take(&mut self.failed);
        let failed = failed.into_iter().take(FAILED_MAX).collect();
        // It may hang, or read what is said when it goes on.
        drop(self.say(&Say::Removed(failed)));
    }

    fn remove_addresses(&mut self) {
        let places: Vec<&Place> = self
            .held
            .values()
            .flat_map(|holding| &holding.places)
            .collect();
        if let Ok(kernel) = &mut self.kernel
            && !places.is_empty()
        {
            // What is not there cannot be removed, and that is as it should be.
            drop(kernel.remove(&places));
        }
    }

    fn say(&self, say: &Say) -> io::Result<()> {
        let packet = serde_json::to_vec(say).expect("all keys are strings");
        (&self.socket).write_all(&packet)
    }
}

/// Removes addresses by netlink, all in one system call.
struct Removals {
    socket: Socket,
    sequence: u32,
}

impl Removals {
    fn open() -> io::Result<Self> {
        let socket = Socket::new(
            Domain::from(libc::AF_NETLINK),
            Type::RAW,
            Some(Protocol::from(libc::NETLINK_ROUTE)),
        )?;
        socket.set_read_timeout(Some(NETLINK_TIMEOUT))?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// Goes the whole way once, so that all of it is in memory, and says whether it is open.
    fn try_it(&mut self) -> io::Result<()> {
        let nowhere = Place {
            index: NOWHERE,
            address: IpAddr::from([192, 0, 2, 1]),
        };
        match self.remove(&[&nowhere]) {
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Removes all that can be; the last error of those that cannot.
    fn remove(&mut self, places: &[&Place]) -> io::Result<()> {
        let mut request = Vec::with_capacity(places.len() * 48);
        for place in places {
            self.sequence = self.sequence.wrapping_add(1);
            request.extend(removal(place, self.sequence));
        }
        self.socket.send(&request)?;
        let mut result = Ok(());
        let mut answered = 0;
        let mut answer = vec![0; PACKET_SIZE_MAX];
        while answered < places.len() {
            let size = (&self.socket).read(&mut answer)?;
            let mut rest = &answer[..size];
            // nlmsghdr: size 4, type 2, flags 2, sequence 4, port 4; then the error.
            while let Some((header, body)) = rest.split_at_checked(16) {
                let at = |at: usize| [header[at], header[at + 1], header[at + 2], header[at + 3]];
                let size = u32::from_ne_bytes(at(0)) as usize;
                if u16::from_ne_bytes([header[4], header[5]]) == NLMSG_ERROR {
                    answered += 1;
                    let code = body
                        .get(..4)
                        .map(|code| [code[0], code[1], code[2], code[3]]);
                    let code = i32::from_ne_bytes(code.unwrap_or_default());
                    if code != 0 {
                        result = Err(io::Error::from_raw_os_error(-code));
                    }
                }
                rest = rest
                    .get(size.next_multiple_of(4).max(16)..)
                    .unwrap_or_default();
            }
        }
        result
    }
}

/// nlmsghdr, ifaddrmsg, and the address as its attribute.
fn removal(place: &Place, sequence: u32) -> Vec<u8> {
    let (family, bits, address) = match place.address {
        IpAddr::V4(address) => (libc::AF_INET, 32, address.octets().to_vec()),
        IpAddr::V6(address) => (libc::AF_INET6, 128, address.octets().to_vec()),
    };
    let size = 16 + 8 + 4 + address.len();
    let mut message = Vec::with_capacity(size);
    message.extend((size as u32).to_ne_bytes());
    message.extend(RTM_DELADDR.to_ne_bytes());
    message.extend((NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
    message.extend(sequence.to_ne_bytes());
    message.extend([0; 4]);
    message.extend([family as u8, bits, 0, 0]);
    message.extend(place.index.to_ne_bytes());
    message.extend((4 + address.len() as u16).to_ne_bytes());
    message.extend(IFA_LOCAL.to_ne_bytes());
    message.extend(address);
    message
}
