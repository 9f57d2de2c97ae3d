//! The driver of virtual addresses: a thread that does what the machine orders, and reports.
//!
//! ```text
//!  machine ─ Order ─▶ driver thread ─▶ kernel (netlink), a program (exec), or nothing (log)
//!     ▲                  │    ▲
//!     └──── Report ──────┘    └─ frames of the segment, news of links and addresses
//!                     guard: a process that takes all away when this one cannot
//! ```

mod asks;
mod backoff;
mod change;
mod exec;
mod guard;
mod guard_process;
mod guarded;
mod hearing;
mod lock;
mod log;
mod netlink;
mod packet;
mod program;
mod record;
mod rights;
mod segment;
mod tables;
mod told;

pub use guard::{Beats, Guard, GuardSettings, SUB_COMMAND};
pub use guard_process::run as run_guard;
pub use record::RECORD;
pub use told::Alone;

use super::clock;
use crate::vip::kernel::{Order, Report};
use overlay::io::priority;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Where reports go; called in the driver's thread, and must not wait.
pub type ReportTo = Box<dyn Fn(Report) + Send>;

/// How a driver works.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// By what.
    pub kind: Kind,
    /// The file that lists what is in the kernel: [`RECORD`] in the data directory.
    pub record: PathBuf,
    /// The port at which a DNS server is asked for.
    pub dns_port: u16,
    /// How long nothing may be heard on an interface. The guard's lease is its own setting.
    pub lease: Duration,
    /// How long an answer of the segment is waited for.
    pub answer: Duration,
}

/// What a driver works by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The addresses of this machine's interfaces.
    Netlink,
    /// Nothing: each change is a line in the log.
    Log,
    /// A program, called for each change.
    Exec {
        /// The program.
        command: PathBuf,
        /// How long it may take before it is killed.
        timeout: Duration,
    },
}

impl Settings {
    /// Those of a kind, with the times of the protocol.
    #[must_use]
    pub fn new(kind: Kind, record: PathBuf) -> Self {
        Self {
            kind,
            record,
            dns_port: 53,
            lease: Duration::from_millis(100),
            answer: Duration::from_millis(3),
        }
    }
}

/// A driver that runs. Dropped, it takes away all that it has put there, and ends.
pub struct Handle {
    orders: Option<UnboundedSender<(Instant, Order)>>,
    thread: Option<JoinHandle<()>>,
}

impl Handle {
    /// Hands an order over.
    pub fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            // It ends only after this handle, or with the process.
            drop(orders.send((clock::now(), order)));
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Starts a driver, and returns when what an earlier run left is gone. Without a guard only
/// [`Kind::Log`] can hold a VIP.
pub fn start(settings: Settings, guard: Option<Guard>, report: ReportTo) -> io::Result<Handle> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (orders, received) = unbounded_channel();
    let (cleaned, is_clean) = mpsc::channel();
    let thread = clock::spawn("vip", move || {
        priority::run_first();
        let kind = settings.kind.clone();
        let work = async move {
            match kind {
                Kind::Netlink => netlink::run(settings, guard, report, received, cleaned).await,
                Kind::Log => log::run(report, received, cleaned).await,
                Kind::Exec { command, timeout } => {
                    let program = (command, timeout);
                    exec::run(settings, program, guard, report, received, cleaned).await;
                }
            }
        };
        runtime.block_on(work);
    });
    let handle = Handle {
        orders: Some(orders),
        thread: Some(thread),
    };
    // An error is one of the start; the thread has ended then.
    is_clean
        .recv()
        .unwrap_or_else(|_| Err(io::Error::other("the driver of virtual addresses ended")))?;
    Ok(handle)
}

/// Removes the addresses that an earlier run left in the kernel, whatever driver there is now: a
/// driver that is not [`Kind::Netlink`] does not look for them.
pub fn remove_leftovers(settings: &Settings, guard: GuardSettings) -> io::Result<()> {
    if !settings.record.exists() {
        return Ok(());
    }
    let settings = Settings {
        kind: Kind::Netlink,
        ..settings.clone()
    };
    let nobody = Box::new(|_| {});
    // It has removed them once it has started, and has nothing else to do.
    drop(start(settings, Some(Guard::start(guard)?), nobody)?);
    Ok(())
}

/// Orders as they come, and when they were given: one that is older than a pause of the machine
/// must not be carried out after it.
type Orders = UnboundedReceiver<(Instant, Order)>;
/// Tells that the start is over.
type Cleaned = mpsc::Sender<io::Result<()>>;
