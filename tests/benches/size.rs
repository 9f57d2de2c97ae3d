//! What zones cost: memory, and time until they are served, from text and from the store; beside
//! `knotd` if it is installed.
//!
//! ```text
//! cargo bench -p tests --bench size                        all cases, some minutes
//! cargo bench -p tests --bench size -- --only delegations  those with this in their names
//! cargo bench -p tests --bench size -- --smoke             a moment, to see that it works
//! ```
//! A server is started and asked every few milliseconds until it answers for the last zone. Memory
//! is what the process has in RAM then (`VmRSS`), the whole of it, and at most until then (`VmHWM`).
//! Where other programs share the machine, the CPU time says more than the time on the wall.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "a bench measures time and stops at what does not hold"
)]

use std::fmt::Write;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tests::answer::Answer;
use tests::daemon::{Daemon, dnsd, free_port};
use tests::deadline::until;
use tests::figures::{Extent, refuse_other_args, value_of};
use tests::question::Question;
use zones::rtype::Rtype;
use zones::{Name, Rcode};

/// A server that takes longer fails.
const PATIENCE: Duration = Duration::from_secs(300);
/// An answer that takes longer is asked for again.
const ANSWER: Duration = Duration::from_millis(20);

/// Zones to be served, and what is asked to know that they are.
struct Case {
    name: &'static str,
    /// Origins and zone files.
    zones: Vec<(String, String)>,
    records: usize,
    probe: String,
}

/// What a start took.
struct Cost {
    time: Duration,
    /// Of all threads.
    cpu: Duration,
    /// In KiB.
    now: usize,
    most: usize,
}

fn main() {
    refuse_other_args(&["--only"]);
    // Building it is no part of a start.
    dnsd();
    let extent = Extent::from_args();
    let only = value_of("--only").unwrap_or_default();
    let count = extent.choose(1_000, 1_000_000);
    let cases = [
        delegations(count),
        addresses(count),
        small_zones(count / 10),
    ];
    for case in cases {
        if case.name.contains(&only) {
            case.measure();
        }
    }
}

/// A zone like that of a large registry: `count` delegations of two name servers each, and glue for
/// one in five.
fn delegations(count: usize) -> Case {
    let mut text = apex();
    let mut records = 3;
    for n in 0..count {
        let in_domain = n % 5 == 0;
        let host = if in_domain {
            format!("ns.d{n}")
        } else {
            format!("ns{}.h{}", n % 7, n % 1_009)
        };
        writeln!(text, "d{n} NS {host}\nd{n} NS ns{}.other.test.", n % 13).unwrap();
        records += 2;
        if in_domain {
            writeln!(text, "{host} A 192.0.2.{}", n % 256).unwrap();
            records += 1;
        }
    }
    Case {
        name: "delegations",
        zones: vec![("tld.test".to_owned(), text)],
        records,
        probe: "tld.test".to_owned(),
    }
}

/// One zone of `count` addresses.
fn addresses(count: usize) -> Case {
    let mut text = apex();
    for n in 0..count {
        let [_, a, b, c] = (n as u32).to_be_bytes();
        writeln!(text, "host{n} A 10.{a}.{b}.{c}").unwrap();
    }
    Case {
        name: "addresses",
        zones: vec![("flat.test".to_owned(), text)],
        records: count + 3,
        probe: "flat.test".to_owned(),
    }
}

/// `count` zones of six records, as a hosting company has them.
fn small_zones(count: usize) -> Case {
    let text = apex() + "@ A 192.0.2.80\nwww CNAME @\n@ MX 10 mail.other.test.\n";
    let zones: Vec<_> = (0..count)
        .map(|n| (format!("z{n}.small.test"), text.clone()))
        .collect();
    Case {
        name: "small zones",
        records: 6 * count,
        probe: zones[count - 1].0.clone(),
        zones,
    }
}

fn apex() -> String {
    "$TTL 3600\n@ SOA ns h 1 7200 900 1209600 300\n@ NS ns\nns A 192.0.2.53\n".to_owned()
}

impl Case {
    fn measure(&self) {
        let folder = tempfile::tempdir().unwrap();
        let files = self.write(folder.path());
        println!(
            "{}: {} zones, {} records",
            self.name,
            self.zones.len(),
            self.records
        );
        let (text, store) = self.measure_dnsd(folder.path(), &files);
        self.print("dnsd, from text", &text);
        self.print("dnsd, from the store", &store);
        match self.measure_knot(folder.path(), &files) {
            Some(cost) => self.print("knotd, from text", &cost),
            None => println!("  knotd is not installed: there is nothing beside dnsd"),
        }
    }

    /// Zone files: equal ones are written once.
    fn write(&self, folder: &Path) -> Vec<String> {
        let mut last: Option<(&str, String)> = None;
        let paths = self.zones.iter().enumerate().map(|(n, (_, text))| {
            if last.as_ref().is_none_or(|(written, _)| written != text) {
                let path = folder.join(format!("{n}.zone")).display().to_string();
                fs::write(&path, text).unwrap();
                last = Some((text, path));
            }
            last.as_ref().unwrap().1.clone()
        });
        paths.collect()
    }

    fn measure_dnsd(&self, folder: &Path, files: &[String]) -> (Cost, Cost) {
        let config = folder.join("dnsd.toml");
        let zones = self.zones.iter().zip(files);
        let zones: Vec<String> = zones
            .map(|((origin, _), file)| format!("\"{origin}={file}\""))
            .collect();
        fs::write(&config, format!("zone = [{}]\n", zones.join(",\n"))).unwrap();
        let args = ["--config", config.to_str().unwrap()];
        let begun = Instant::now();
        let mut daemon = Daemon::spawn(&folder.join("dnsd"), &args);
        let text = self.await_served(begun, daemon.dns, daemon.id());
        daemon.stop();
        let begun = Instant::now();
        daemon.start_again();
        let store = self.await_served(begun, daemon.dns, daemon.id());
        (text, store)
    }

    fn measure_knot(&self, folder: &Path, files: &[String]) -> Option<Cost> {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let folder = folder.join("knot");
        fs::create_dir(&folder).unwrap();
        let show = folder.display();
        let mut text = format!(
            "server:\n  rundir: \"{show}\"\n  listen: 127.0.0.1@{}\n  udp-workers: 1\n  \
             tcp-workers: 1\nlog:\n- target: stderr\n  any: error\ndatabase:\n  storage: \
             \"{show}/db\"\ntemplate:\n- id: default\n  journal-content: none\n  zonefile-sync: \
             -1\nzone:\n",
            address.port()
        );
        for ((origin, _), file) in self.zones.iter().zip(files) {
            writeln!(text, "- domain: \"{origin}\"\n  file: \"{file}\"").unwrap();
        }
        let config = folder.join("knot.conf");
        fs::write(&config, text).unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        let begun = Instant::now();
        let child = Command::new("knotd")
            .env("PATH", format!("{path}:/usr/sbin:/sbin"))
            .arg("-c")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = Ended(child.ok()?);
        Some(self.await_served(begun, address, child.0.id()))
    }

    fn await_served(&self, begun: Instant, server: SocketAddr, process: u32) -> Cost {
        let origin: Name = self.probe.parse().unwrap();
        let question = Question::new(origin, Rtype::SOA).to_wire();
        // Without a connection it hears of no closed port.
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(ANSWER)).unwrap();
        until(PATIENCE, "the last zone is served", || {
            client.send_to(&question, server).unwrap();
            let mut response = [0; 512];
            let size = client.recv(&mut response).ok()?;
            let answer = Answer::read(&response[..size]).ok()?;
            (answer.rcode == Rcode::NOERROR && answer.sections[0].len() == 1).then_some(())
        });
        let time = begun.elapsed();
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        Cost {
            time,
            cpu: cpu_time_since_start(process),
            now: field("VmRSS:"),
            most: field("VmHWM:"),
        }
    }

    fn print(&self, what: &str, cost: &Cost) {
        let each = cost.now as f64 * 1024.0;
        println!(
            "  {what:<22} {:.2} s (CPU {:.2} s), {} MiB (most {}), {:.0} B a record, {:.0} B a zone",
            cost.time.as_secs_f64(),
            cost.cpu.as_secs_f64(),
            cost.now / 1024,
            cost.most / 1024,
            each / self.records as f64,
            each / self.zones.len() as f64
        );
    }
}

/// What a process has used of the cores, threads that have ended included: one of those reads the
/// zone files.
fn cpu_time_since_start(process: u32) -> Duration {
    /// The unit of the kernel's files.
    const TICK: Duration = Duration::from_millis(10);
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // The name of the program comes before, and may hold anything.
    let (_, rest) = stat.rsplit_once(')').unwrap();
    let ticks = rest.split_whitespace().skip(11).take(2);
    TICK * ticks
        .map(|ticks| ticks.parse::<u32>().unwrap())
        .sum::<u32>()
}

/// A process that ends with the measurement.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
