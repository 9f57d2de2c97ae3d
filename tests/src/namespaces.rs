//! Network namespaces on one segment: a bridge, and hosts with a link to it each. They are gone
//! with the value that made them.
#![expect(unsafe_code, reason = "setns has no safe form in std")]

use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A segment, made of a namespace with a bridge and one for each host. Host `n` has `eth0` with
/// 192.0.2.`n`/24 and 2001:db8::`n`/64, and is connected to the bridge's port `p<n>`.
pub struct Segment {
    name: String,
    hosts: u8,
}

impl Segment {
    /// Makes one with hosts 1 to `hosts`.
    pub fn new(hosts: u8) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // SAFETY: geteuid takes nothing and cannot fail.
        let is_root = unsafe { libc::geteuid() } == 0;
        assert!(
            is_root,
            "these tests make network namespaces: run them as root"
        );
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let segment = Self {
            name: format!("zc{}-{count}", std::process::id()),
            hosts,
        };
        segment.make(&segment.bridge());
        segment.in_bridge("link add br0 type bridge forward_delay 0 mcast_snooping 0");
        segment.in_bridge("link set br0 up");
        for host in 1..=hosts {
            let name = segment.host(host);
            segment.make(&name);
            segment.in_bridge(&format!(
                "link add p{host} type veth peer name eth0 netns {name}"
            ));
            segment.in_bridge(&format!("link set p{host} master br0 up"));
            segment.ip(host, "link set lo up");
            segment.ip(host, "link set eth0 up");
            segment.ip(host, &format!("address add 192.0.2.{host}/24 dev eth0"));
            segment.ip(
                host,
                &format!("address add 2001:db8::{host}/64 dev eth0 nodad"),
            );
        }
        segment
    }

    /// Runs `ip` in the namespace of a host; what it prints.
    pub fn ip(&self, host: u8, args: &str) -> String {
        ip(&format!("-n {} {args}", self.host(host)))
    }

    /// Runs `ip` in the namespace of the bridge; what it prints.
    pub fn in_bridge(&self, args: &str) -> String {
        ip(&format!("-n {} {args}", self.bridge()))
    }

    /// Runs `work` in a thread that is in the namespace of a host, and so are the threads and
    /// processes that it starts.
    pub fn within<T: Send>(&self, host: u8, work: impl FnOnce() -> T + Send) -> T {
        let name = self.host(host);
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                enter(&name);
                work()
            });
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// The name of a host's namespace.
    pub fn host(&self, host: u8) -> String {
        format!("{}-{host}", self.name)
    }

    /// The Ethernet address of a host, as `ip` writes it.
    pub fn mac(&self, host: u8) -> String {
        let line = self.ip(host, "-o link show eth0");
        let mut words = line.split_whitespace();
        words.find(|word| *word == "link/ether").expect("Ethernet");
        words.next().expect("an address").to_owned()
    }

    fn bridge(&self) -> String {
        format!("{}-br", self.name)
    }

    fn make(&self, name: &str) {
        ip(&format!("netns add {name}"));
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        for name in (1..=self.hosts)
            .map(|host| self.host(host))
            .chain([self.bridge()])
        {
            let deleted = Command::new("ip").args(["netns", "delete", &name]).status();
            if !deleted.is_ok_and(|status| status.success()) {
                eprintln!("the namespace {name} is left behind");
            }
        }
    }
}

/// Moves the calling thread into a namespace.
///
/// # Panics
///
/// If there is none of that name.
pub fn enter(name: &str) {
    let file = File::open(format!("/run/netns/{name}")).expect(name);
    // SAFETY: setns takes numbers only, and the file is open.
    let result = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
    assert_eq!(result, 0, "{name}: {}", std::io::Error::last_os_error());
}

/// Sends a signal to a process that the test started.
pub fn signal(process: u32, signal: &str) {
    let sent = Command::new("kill")
        .args([signal, &process.to_string()])
        .status();
    assert!(sent.is_ok_and(|status| status.success()), "kill {process}");
}

fn ip(args: &str) -> String {
    let output = Command::new("ip").args(args.split_whitespace()).output();
    let output = output.expect("ip of iproute2");
    assert!(
        output.status.success(),
        "ip {args}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
