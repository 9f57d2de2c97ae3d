//! A bridge and hosts with a link to it each, in namespaces that are gone with the value.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use tests::namespace::Namespace;

/// A segment. Host `n` has `eth0` with 192.0.2.`n`/24 and 2001:db8::`n`/64, and is connected to the
/// bridge's port `p<n>`.
pub(crate) struct Segment {
    bridge: Namespace,
    hosts: Vec<Namespace>,
}

impl Segment {
    /// Makes one with hosts 1 to `hosts`.
    pub(crate) fn new(hosts: u8) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let namespace = |role: String| Namespace::new(&format!("d{count}-{role}"));
        let segment = Self {
            bridge: namespace("br".to_owned()),
            hosts: (1..=hosts)
                .map(|host| namespace(host.to_string()))
                .collect(),
        };
        segment.in_bridge("link add br0 type bridge forward_delay 0 mcast_snooping 0");
        segment.in_bridge("link set br0 up");
        for host in 1..=hosts {
            let name = segment.host(host).name();
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
    pub(crate) fn ip(&self, host: u8, args: &str) -> String {
        ip(self.host(host), args)
    }

    /// Runs `ip` in the namespace of the bridge; what it prints.
    pub(crate) fn in_bridge(&self, args: &str) -> String {
        ip(&self.bridge, args)
    }

    /// Runs `work` in a thread that is in the namespace of a host, and so are the threads and
    /// processes that it starts.
    pub(crate) fn within<T: Send>(&self, host: u8, work: impl FnOnce() -> T + Send) -> T {
        self.host(host).within(work)
    }

    /// The namespace of a host.
    pub(crate) fn host(&self, host: u8) -> &Namespace {
        &self.hosts[usize::from(host) - 1]
    }

    /// The Ethernet address of a host, as `ip` writes it.
    pub(crate) fn mac(&self, host: u8) -> String {
        let line = self.ip(host, "-o link show eth0");
        let mut words = line.split_whitespace();
        words.find(|word| *word == "link/ether").expect("Ethernet");
        words.next().expect("an address").to_owned()
    }
}

/// Sends a signal to a process that the test started.
pub(crate) fn signal(process: u32, signal: &str) {
    let sent = Command::new("kill")
        .args([signal, &process.to_string()])
        .status();
    assert!(sent.is_ok_and(|status| status.success()), "kill {process}");
}

fn ip(namespace: &Namespace, args: &str) -> String {
    let output = Command::new("ip")
        .args(["-n", namespace.name()])
        .args(args.split_whitespace())
        .output();
    let output = output.expect("ip of iproute2");
    assert!(
        output.status.success(),
        "ip {args}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
