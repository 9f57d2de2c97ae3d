//! keepalived: VRRP version 3, one instance a VIP, beside a DNS server on each host.
//!
//! Each VIP has another host as its first, so that they are spread. Priorities are far enough apart
//! that two backups do not become master together; the first backup has 230, whose take-over is
//! due after 3.1 adverts. All else is as keepalived has it, which includes that the first host takes
//! its VIP back. A script asks the DNS server once a second, the shortest that keepalived has.

use crate::contender::{Contender, Event};
use std::fmt::{self, Display, Formatter, Write as _};
use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tests::cluster::{ORIGIN, zone_argument};
use tests::daemon::{Daemon, START_TIMEOUT};
use tests::deadline::until;
use tests::figures::Extent;
use tests::segment::{HOSTS_MAX, Host, Segment, with_prefix};

/// Priority of a VIP's first host.
const PRIORITY_MAX: usize = 250;
/// Between two hosts.
const PRIORITY_STEP: usize = PRIORITY_MAX / (HOSTS_MAX + 1);

/// keepalived on all hosts of a segment.
pub(crate) struct Keepalived {
    advert: Duration,
    instances: Vec<Instance>,
    servers: Vec<Daemon>,
    folder: TempDir,
}

impl Keepalived {
    /// With this time between two adverts; nothing runs yet.
    pub(crate) fn new(advert: Duration) -> Self {
        Self {
            advert,
            folder: tempfile::tempdir().unwrap(),
            instances: Vec::new(),
            servers: Vec::new(),
        }
    }

    /// What the instance of a host is told.
    fn config(&self, host: usize, hosts: usize, vips: &[IpAddr]) -> String {
        let mut text = format!(
            "global_defs {{\n\
             router_id h{host}\n\
             vrrp_version 3\n\
             script_user root\n\
             }}\n\
             vrrp_script server {{\n\
             script \"/usr/bin/dig +time=1 +tries=1 +short @127.0.0.1 {ORIGIN} SOA\"\n\
             interval 1\n\
             fall 1\n\
             rise 1\n\
             }}\n"
        );
        for (number, vip) in vips.iter().enumerate() {
            let rank = (host + hosts - number % hosts) % hosts;
            write!(
                text,
                "vrrp_instance v{number} {{\n\
                 state BACKUP\n\
                 interface eth0\n\
                 virtual_router_id {}\n\
                 priority {}\n\
                 advert_int {}\n\
                 virtual_ipaddress {{\n{} dev eth0\n}}\n\
                 track_script {{\nserver\n}}\n\
                 }}\n",
                number + 1,
                PRIORITY_MAX - rank * PRIORITY_STEP,
                self.advert.as_secs_f64(),
                with_prefix(*vip),
            )
            .unwrap();
        }
        text
    }
}

impl Contender for Keepalived {
    fn start(&mut self, segment: &Segment, vips: &[IpAddr]) {
        let zone = zone_argument(self.folder.path());
        for host in &segment.hosts {
            let place = |name: &str| self.folder.path().join(format!("{name}{}", host.number));
            let server = Daemon::start_on(host, &place("dnsd"), &["--zone", &zone]);
            self.servers.push(server);
            let config = self.config(host.number, segment.hosts.len(), vips);
            self.instances
                .push(Instance::start(host, place("keepalived"), &config));
        }
    }

    fn strike(&mut self, event: Event, host: usize) {
        match event {
            Event::Killed => self.instances[host].kill(),
            Event::ServerKilled => self.servers[host].kill(),
            Event::Stopped => self.instances[host].stop(),
            Event::Frozen => self.instances[host].signal("-STOP"),
            Event::Drained => unreachable!("it has no word for that"),
            Event::Silent | Event::Cable => unreachable!("a matter of the segment"),
        }
    }

    fn make_good(&mut self, event: Event, host: usize) {
        match event {
            Event::Killed | Event::Stopped => self.instances[host].run(),
            Event::ServerKilled => self.servers[host].restart(),
            Event::Frozen => self.instances[host].signal("-CONT"),
            Event::Drained => unreachable!("it has no word for that"),
            Event::Silent | Event::Cable => unreachable!("a matter of the segment"),
        }
    }

    fn events(&self, extent: Extent) -> Vec<Event> {
        let all = [
            Event::Silent,
            Event::Stopped,
            Event::Cable,
            Event::Killed,
            Event::ServerKilled,
            Event::Frozen,
        ];
        all[..extent.choose(2, all.len())].to_vec()
    }

    fn calm(&self) -> Duration {
        // Four adverts until a VIP is taken back, and two runs of the script.
        4 * self.advert + Duration::from_secs(2)
    }
}

impl Display for Keepalived {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "keepalived {:?}", self.advert)
    }
}

/// keepalived on one host; killed when it is dropped.
struct Instance {
    host: Host,
    files: PathBuf,
    child: Option<Child>,
}

impl Instance {
    fn start(host: &Host, files: PathBuf, config: &str) -> Self {
        fs::write(files.with_extension("conf"), config).unwrap();
        let host = host.clone();
        let child = None;
        let mut instance = Self { host, files, child };
        instance.run();
        instance
    }

    fn run(&mut self) {
        let file = |extension| self.files.with_extension(extension);
        // With init slow to bury the killed child, its number counts as that of one that runs.
        for pid in ["pid", "vrrp_pid"] {
            if let Err(error) = fs::remove_file(file(pid)) {
                assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
            }
        }
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(file("log"))
            .unwrap();
        let mut command = Command::new("/usr/sbin/keepalived");
        command
            .args([
                "--dont-fork",
                "--vrrp",
                "--no-syslog",
                "--log-console",
                "--log-detail",
            ])
            .arg("--use-file")
            .arg(file("conf"))
            .arg("--pid")
            .arg(file("pid"))
            .arg("--vrrp_pid")
            .arg(file("vrrp_pid"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        self.host.namespace.confine(&mut command);
        self.child = Some(command.spawn().expect("keepalived is installed"));
        until(START_TIMEOUT, "keepalived has started its child", || {
            let ended = self.child.as_mut()?.try_wait().unwrap();
            assert!(
                ended.is_none(),
                "keepalived ended: {ended:?}\n{}",
                self.log()
            );
            (!self.children().is_empty()).then_some(())
        });
    }

    /// SIGKILL to it and to those it has started, none of which can act upon the end of another.
    fn kill(&mut self) {
        self.signal("-STOP");
        self.signal("-KILL");
        let mut child = self.child.take().expect("it runs");
        child.wait().unwrap();
    }

    /// SIGTERM, and waits for the end.
    fn stop(&mut self) {
        let mut child = self.child.take().expect("it runs");
        send("-TERM", child.id());
        until(START_TIMEOUT, "keepalived ends", || {
            child.try_wait().unwrap()
        });
    }

    /// To the process and its children: the parent first.
    fn signal(&self, signal: &str) {
        let parent = self.child.as_ref().expect("it runs").id();
        let children = self.children();
        send(signal, parent);
        for child in children {
            send(signal, child);
        }
    }

    fn children(&self) -> Vec<u32> {
        let parent = self.child.as_ref().expect("it runs").id();
        let children = format!("/proc/{parent}/task/{parent}/children");
        let children = fs::read_to_string(children).unwrap_or_default();
        let children = children.split_whitespace();
        children.map(|child| child.parse().unwrap()).collect()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.files.with_extension("log")).unwrap_or_default()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.files.display(), self.log());
        }
    }
}

/// A process may have ended by itself.
fn send(signal: &str, process: u32) {
    let mut kill = Command::new("kill");
    kill.args([signal, &process.to_string()]);
    kill.stderr(Stdio::null()).status().unwrap();
}
