//! The daemon's side of the guard: a child process that takes the addresses away when the daemon
//! cannot.
//!
//! ```text
//!  peer thread ── beats ──▶ guard ── removes what is held: no beat for a lease, or the end
//!  driver ── what is held, before the kernel has it ──▶   of the daemon
//! ```
//!
//! A beat says how long ago both of the threads that keep this peer in its view went on: the peer
//! thread, which sends it, and the link thread. One of them alone may not keep the addresses here.

use super::backoff::Backoff;
use super::packet::register;
use super::rights::close_first;
use super::told::{self, Alone, Holding, KernelSetting, PACKET_SIZE_MAX, Say, Tell};
use crate::io::clock;
use crate::vip::address::VipId;
use arc_swap::ArcSwapOption;
use socket2::{Domain, Socket, Type};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The sub-command by which the program is the guard.
pub const SUB_COMMAND: &str = "vip-guard";
/// How long a start waits for the guard to stand; it goes on without, and can hold no VIP.
const STAND_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a guard may take to clean up.
const END_TIMEOUT: Duration = Duration::from_secs(2);
/// How long after the end of a guard another one is started; doubled each time, up to the longest.
const AGAIN: Duration = Duration::from_millis(10);
const AGAIN_MAX: Duration = Duration::from_secs(10);
/// A guard that stood for longer did not end for what it found at its start.
const LASTING: Duration = Duration::from_secs(10);
/// Packets of the guard that are taken before it stands.
const SAYS_MAX: usize = 4;

/// How a guard is started.
#[derive(Clone, Debug)]
pub struct GuardSettings {
    /// The program, this one: also after its file was replaced by an upgrade.
    pub program: OsString,
    /// After so long without a beat all is removed.
    pub lease: Duration,
    /// Whether another guard may be in this network namespace.
    pub alone: Alone,
    /// The file that lists what is held, which the guard removes at its end; beside it is the one
    /// by which it is the only guard.
    pub record: Option<PathBuf>,
}

impl GuardSettings {
    /// Those of this program.
    #[must_use]
    pub fn new(lease: Duration, alone: Alone) -> Self {
        Self {
            program: "/proc/self/exe".into(),
            lease,
            alone,
            record: None,
        }
    }
}

/// A guard, and the next one if it ends.
pub struct Guard {
    settings: GuardSettings,
    shared: Beats,
    child: Option<Child>,
    /// The one socket to it: once its last owner is gone, the guard sees the end.
    socket: Option<Arc<Socket>>,
    state: GuardState,
    /// Since when it stands, or does not.
    since: Instant,
    backoff: Backoff,
    held: BTreeMap<VipId, Holding>,
    restore: Vec<KernelSetting>,
}

/// How a guard does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum GuardState {
    /// It stands.
    Stands,
    /// It cannot do its work, and why.
    Unfit(String),
}

/// Tells the guard that the main loop goes on. It costs one system call and never waits.
#[derive(Clone, Default)]
pub struct Beats(Arc<ArcSwapOption<Socket>>);

impl Beats {
    /// One beat, and how long ago the thread that went on least lately did.
    pub fn beat(&self, ago: Duration) {
        if let Some(socket) = &*self.0.load() {
            // A guard that is gone or behind is seen by the driver.
            drop(socket.send(&told::beat(ago)));
        }
    }
}

impl Guard {
    /// Starts it and waits until it stands, some milliseconds. To be called before threads are
    /// started and privileges dropped.
    pub fn start(mut settings: GuardSettings) -> io::Result<Self> {
        // The guard stands in another working directory.
        settings.record = settings.record.map(std::path::absolute).transpose()?;
        let mut guard = Self {
            settings,
            shared: Beats::default(),
            child: None,
            socket: None,
            state: GuardState::Unfit("the guard of virtual addresses does not stand".to_owned()),
            since: clock::now(),
            backoff: Backoff::new(AGAIN, AGAIN_MAX),
            held: BTreeMap::new(),
            restore: Vec::new(),
        };
        guard.spawn()?;
        let socket = guard.socket.clone().expect("it was just spawned");
        socket.set_nonblocking(false)?;
        socket.set_read_timeout(Some(STAND_TIMEOUT))?;
        let mut says = Vec::new();
        for _ in 0..SAYS_MAX {
            match hear(&socket) {
                Ok(Some(say)) => {
                    says.push(say.clone());
                    if matches!(say, Say::Stands(_)) {
                        break;
                    }
                }
                // Late or gone: the driver goes on with it.
                Ok(None) | Err(_) => break,
            }
        }
        socket.set_nonblocking(true)?;
        for say in &says {
            guard.heard(say);
        }
        Ok(guard)
    }

    /// What the main loop tells the guard by.
    #[must_use]
    pub fn beats(&self) -> Beats {
        self.shared.clone()
    }

    /// Its process; 0 if there is none.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Whether it stands.
    pub(super) fn state(&self) -> &GuardState {
        &self.state
    }

    /// Since when nothing that is held is guarded.
    pub(super) fn unguarded(&self) -> Option<Instant> {
        (self.state != GuardState::Stands).then_some(self.since)
    }

    /// Says what a VIP has from here on.
    pub(super) fn hold(&mut self, vip: VipId, holding: Holding) -> io::Result<()> {
        let told = self.tell(&Tell::Hold(vip.0, holding.clone()));
        if holding.is_empty() {
            self.held.remove(&vip);
        } else {
            self.held.insert(vip, holding);
        }
        told
    }

    /// Says which settings are to be written at the end.
    pub(super) fn restore(&mut self, settings: Vec<KernelSetting>) -> io::Result<()> {
        self.restore = settings;
        self.tell(&Tell::Restore(self.restore.clone()))
    }

    /// Passes on what the guard says, and at last that it has ended. Called within a runtime.
    pub(super) fn listen(&self, pass: impl Fn(Option<Say>) + Send + 'static) -> io::Result<()> {
        let socket = self.socket.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let socket = register(Arc::clone(socket))?;
        tokio::spawn(async move {
            loop {
                let Ok(mut ready) = socket.readable().await else {
                    break pass(None);
                };
                match ready.try_io(|socket| hear(socket.get_ref())) {
                    Ok(Ok(Some(say))) => pass(Some(say)),
                    Ok(Ok(None) | Err(_)) => break pass(None),
                    Err(_would_block) => {}
                }
            }
        });
        Ok(())
    }

    /// Takes note of what it said.
    pub(super) fn heard(&mut self, say: &Say) {
        match say {
            Say::Stands(None) => {
                self.state = GuardState::Stands;
                self.since = clock::now();
            }
            Say::Stands(Some(why)) => self.set_unfit(why),
            Say::Waits => {
                self.set_unfit("another dnsd guards virtual addresses in this network namespace");
            }
            Say::Removing | Say::Removed(_) => {}
        }
    }

    /// It has ended: how long to wait before [`Self::start_again`].
    pub(super) fn ended(&mut self) -> Duration {
        if self.state == GuardState::Stands && self.since.elapsed() > LASTING {
            self.backoff = Backoff::new(AGAIN, AGAIN_MAX);
        }
        self.set_unfit("the guard of virtual addresses ended, and another one is being started");
        self.close();
        // It closes its side last of all, so it can only hang where nothing is left to do.
        self.give_up();
        self.backoff.fail()
    }

    /// Starts another one in the place of one that has ended, and tells it all. Without waiting.
    pub(super) fn start_again(&mut self) -> io::Result<()> {
        if let Some(child) = &mut self.child
            && child.try_wait()?.is_none()
        {
            return Err(io::Error::other("the last one has not ended yet"));
        }
        self.child = None;
        self.spawn()?;
        for (vip, holding) in self.held.clone() {
            self.tell(&Tell::Hold(vip.0, holding))?;
        }
        self.tell(&Tell::Restore(self.restore.clone()))
    }

    /// Ends one that does not read what it is told; the driver sees it end.
    pub(super) fn give_up(&mut self) {
        if let Some(child) = &mut self.child {
            drop(child.kill());
        }
    }

    fn set_unfit(&mut self, why: &str) {
        if self.state == GuardState::Stands {
            self.since = clock::now();
        }
        self.state = GuardState::Unfit(why.to_owned());
    }

    fn spawn(&mut self) -> io::Result<()> {
        // Packets: one is there whole or not at all, from whichever thread; and the end is seen.
        let (mine, its) = Socket::pair(Domain::UNIX, Type::from(libc::SOCK_SEQPACKET), None)?;
        mine.set_nonblocking(true)?;
        let child = Command::new(&self.settings.program)
            .arg0("dnsd")
            .arg(SUB_COMMAND)
            .stdin(Stdio::from(OwnedFd::from(its)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            // What a terminal or a supervisor sends to the daemon's group is not for it.
            .process_group(0)
            .spawn()?;
        self.child = Some(child);
        let mine = Arc::new(close_first(mine));
        self.socket = Some(Arc::clone(&mine));
        self.shared.0.store(Some(mine));
        let GuardSettings { lease, alone, .. } = self.settings;
        let record = self.settings.record.clone();
        self.tell(&Tell::Begin {
            lease,
            alone,
            record,
        })
    }

    fn tell(&self, tell: &Tell) -> io::Result<()> {
        let socket = self.socket.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let packet = serde_json::to_vec(tell).expect("all keys are strings");
        (&**socket).write_all(&packet)
    }

    /// Ends the connection.
    fn close(&mut self) {
        self.shared.0.store(None);
        if let Some(socket) = self.socket.take() {
            // Others may still hold the socket, to hear by it or for a beat under way. It fails
            // if the guard is gone.
            drop(socket.shutdown(Shutdown::Both));
        }
    }

    /// Ends the connection and waits, at the end of the driver: the guard cleans up and ends.
    fn end(&mut self) {
        self.close();
        let Some(mut child) = self.child.take() else {
            return;
        };
        let start = clock::now();
        while let Ok(None) = child.try_wait() {
            if start.elapsed() > END_TIMEOUT {
                // It hangs. What it holds stays in the record for the next start.
                drop(child.kill());
                drop(child.wait());
                return;
            }
            clock::pause();
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.end();
    }
}

/// Reads one packet; none if the other side is gone.
fn hear(mut socket: &Socket) -> io::Result<Option<Say>> {
    let mut packet = vec![0; PACKET_SIZE_MAX];
    let size = socket.read(&mut packet)?;
    if size == 0 {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&packet[..size])?))
}
