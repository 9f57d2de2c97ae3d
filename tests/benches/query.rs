//! What a UDP query costs: time on a core in `dnsd`, beside that in `nsd` if it is installed.
//!
//! ```text
//! cargo bench -p tests --bench query                 seven pairs of rounds
//! cargo bench -p tests --bench query -- --smoke      a moment, to see that it works
//! ```
//! Both serve one zone of four records, one server process each, held to one core by `taskset`; the
//! client is on another. It sends 64 questions, waits for their answers in `recv`, and sends the
//! next 64. The rounds of the two servers alternate, so that what else the machine does meets both;
//! only the time of the server's own threads counts, not that of the client.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a bench measures time and stops at what does not hold"
)]

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tests::daemon::{Daemon, START_TIMEOUT, free_port};
use tests::deadline::until;
use tests::figures::{Extent, cpu_time, percentile, spread};
use tests::requestor::{Requestor, ask_address, name_in_zone};
use zones::Rcode;

/// An answer that takes longer is lost: the bench fails.
const PATIENCE: Duration = Duration::from_secs(5);
/// Questions that are sent at a time: with fewer the server sleeps between two of them, and what is
/// measured is the kernel.
const TOGETHER: u16 = 64;

fn main() {
    let extent = Extent::from_args();
    let folder = tempfile::tempdir().unwrap();
    let zone = folder.path().join("zone");
    let text = "$TTL 300\n\
                @ SOA ns1 hostmaster 1 3600 600 1209600 60\n\
                @ NS ns1\n\
                ns1 A 192.0.2.53\n\
                www A 192.0.2.80\n";
    fs::write(&zone, text).unwrap();
    let dnsd = Daemon::start(
        &folder.path().join("dnsd"),
        &["--zone", &format!("example.test={}", zone.display())],
    );
    let nsd = Nsd::start(folder.path());
    if nsd.is_none() {
        println!("nsd is not installed: there is nothing beside dnsd");
    }
    hold_to_core(0, dnsd.id());
    hold_to_core(1, std::process::id());

    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..extent.choose(1, 7) {
        ours.push(measure(dnsd.id(), dnsd.dns, extent));
        if let Some(nsd) = &nsd {
            theirs.push(measure(nsd.child.id(), nsd.address, extent));
        }
    }
    println!("CPU µs/query  dnsd {}", spread(&ours, 2));
    if !theirs.is_empty() {
        println!("              nsd  {}", spread(&theirs, 2));
        let pairs = ours.iter().zip(&theirs);
        let ratios: Vec<f64> = pairs.map(|(ours, theirs)| ours / theirs).collect();
        println!("              ratio of pairs {}", spread(&ratios, 2));
    }
}

/// The server's microseconds on a core for one query: the median of some slices of a round.
fn measure(process: u32, server: SocketAddr, extent: Extent) -> f64 {
    let client = Requestor::new(server, PATIENCE);
    let owner = name_in_zone("www");
    let questions: Vec<Vec<u8>> = (0..TOGETHER).map(|id| ask_address(id, &owner)).collect();
    let slice = extent.choose(Duration::from_millis(50), Duration::from_millis(500));
    let mut costs = Vec::new();
    for _ in 0..4 {
        let (start, before) = (Instant::now(), cpu_time(process));
        let mut count = 0;
        while start.elapsed() < slice {
            questions.iter().for_each(|question| client.send(question));
            for _ in &questions {
                let response = client.receive().expect("every query is answered");
                assert_eq!((response.rcode, response.answers), (Rcode::NOERROR, 1));
            }
            count += questions.len();
        }
        let taken = cpu_time(process) - before;
        assert!(taken > Duration::ZERO, "a server that answers takes time");
        costs.push(taken.as_secs_f64() * 1e6 / count as f64);
    }
    costs.sort_by(f64::total_cmp);
    percentile(&costs, 0.5)
}

/// Keeps all threads of a process on one core, as far as the machine has so many.
fn hold_to_core(core: usize, process: u32) {
    let cores = std::thread::available_parallelism().unwrap().get();
    let status = Command::new("taskset")
        .args([
            "--all-tasks",
            "--cpu-list",
            "--pid",
            &(core % cores).to_string(),
        ])
        .arg(process.to_string())
        .stdout(Stdio::null())
        .status()
        .expect("taskset is installed");
    assert!(status.success(), "a process is held to a core");
}

/// A running nsd with the same zone; ended when it is dropped.
struct Nsd {
    child: Child,
    address: SocketAddr,
}

impl Nsd {
    /// None if it is not installed.
    fn start(folder: &Path) -> Option<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let config = folder.join("nsd.conf");
        let show = |name: &str| folder.join(name).display().to_string();
        let text = format!(
            "server:\n\
             \x20 ip-address: {}@{}\n\
             \x20 server-count: 1\n\
             \x20 username: \"\"\n\
             \x20 rrl-ratelimit: 0\n\
             \x20 zonesdir: \"{}\"\n\
             \x20 pidfile: \"{}\"\n\
             \x20 xfrdfile: \"{}\"\n\
             \x20 xfrdir: \"{}\"\n\
             \x20 zonelistfile: \"{}\"\n\
             \x20 logfile: \"{}\"\n\
             remote-control:\n\
             \x20 control-enable: no\n\
             zone:\n\
             \x20 name: example.test\n\
             \x20 zonefile: zone\n",
            address.ip(),
            address.port(),
            folder.display(),
            show("nsd.pid"),
            show("xfrd.state"),
            folder.display(),
            show("zone.list"),
            show("nsd.log"),
        );
        fs::write(&config, text).unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        let child = Command::new("taskset")
            .args(["--cpu-list", "0", "nsd", "-d", "-c"])
            .arg(&config)
            .env("PATH", format!("{path}:/usr/sbin:/sbin"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("taskset is installed");
        let mut nsd = Self { child, address };
        let client = Requestor::new(address, Duration::from_millis(100));
        let question = ask_address(1, &name_in_zone("www"));
        until(START_TIMEOUT, "nsd answers", || {
            let ended = nsd.child.try_wait().unwrap();
            match ended.and_then(|status| status.code()) {
                // What taskset says of a program that is not there.
                Some(127) => return Some(None),
                Some(code) => panic!("nsd ended with {code}: {}", read_log(folder)),
                None => {}
            }
            client.try_ask(&question).map(Some)
        })?;
        Some(nsd)
    }
}

fn read_log(folder: &Path) -> String {
    fs::read_to_string(folder.join("nsd.log")).unwrap_or_default()
}

impl Drop for Nsd {
    fn drop(&mut self) {
        // SIGTERM, so that nsd ends the processes that it has started.
        let process = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &process]).status();
        let _ = self.child.wait();
    }
}
