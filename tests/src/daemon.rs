//! Real `dnsd` processes on loopback or on hosts of a segment, each ended by its handle.

use crate::deadline::until;
use crate::namespace::Namespace;
use crate::segment::Host;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long a daemon may take to become ready, on a machine that is busy with other tests.
pub const START_TIMEOUT: Duration = Duration::from_secs(30);

/// The program, built once per test run by the same cargo with the same profile.
pub fn dnsd() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        let profile = test.parent().and_then(Path::parent).unwrap();
        let mut build = Command::new(env!("CARGO"));
        // Just as `tests/run` has built it before: for the program alone other features of the
        // packages would be chosen, and all would be built a second time.
        build.args(["build", "--quiet", "--workspace"]);
        build.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap());
        if profile.ends_with("release") {
            build.arg("--release");
        }
        build.arg("--target-dir").arg(profile.parent().unwrap());
        assert!(build.status().unwrap().success(), "dnsd does not build");
        profile.join("dnsd")
    })
}

/// A port that is free for UDP and TCP on loopback now, and that no client is given by chance:
/// dig and nsupdate share the port they are given with who has it (SO_REUSEPORT), and would now
/// and then ask themselves if servers had ports of the same range.
pub fn free_port() -> u16 {
    static PORTS: LazyLock<Vec<u16>> = LazyLock::new(ports_not_given_to_clients);
    /// Where to look next, so that one process gets no port twice until it has had all.
    static NEXT: LazyLock<AtomicUsize> = LazyLock::new(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        AtomicUsize::new(now.subsec_micros() as usize)
    });
    (0..PORTS.len())
        .map(|_| PORTS[NEXT.fetch_add(1, Ordering::Relaxed) % PORTS.len()])
        .find(|port| {
            let address = (Ipv4Addr::LOCALHOST, *port);
            UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok()
        })
        .expect("a port is free")
}

fn ports_not_given_to_clients() -> Vec<u16> {
    let given = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let given: Vec<u16> = given
        .split_whitespace()
        .map(|bound| bound.parse().unwrap())
        .collect();
    let ports: Vec<u16> = (10_000..=u16::MAX)
        .filter(|port| !(given[0]..=given[1]).contains(port))
        .collect();
    assert!(!ports.is_empty(), "clients are given all ports: {given:?}");
    ports
}

/// One running peer; killed when it is dropped.
pub struct Daemon {
    /// Its data directory.
    pub data_dir: PathBuf,
    /// Where it answers DNS.
    pub dns: SocketAddr,
    args: Vec<String>,
    namespace: Option<Arc<Namespace>>,
    child: Option<Child>,
}

impl Daemon {
    /// Starts a peer with its data in `data_dir`, on a free port, and waits until it is ready.
    pub fn start(data_dir: &Path, args: &[&str]) -> Self {
        let mut daemon = Self::spawn(data_dir, args);
        daemon.wait_ready();
        daemon
    }

    /// Starts a peer and does not wait.
    pub fn spawn(data_dir: &Path, args: &[&str]) -> Self {
        let [dns, peers] = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
        let (dns_port, peer_port) = (dns.to_string(), peers.to_string());
        let mut listen = vec!["--listen", &dns_port];
        if !args.contains(&"--peer-listen") {
            listen.extend(["--peer-listen", &peer_port]);
        }
        Self::run_with(data_dir, dns, &[&listen, args].concat(), None)
    }

    /// Starts a peer on a host, where it answers at all addresses, and waits until it is ready.
    pub fn start_on(host: &Host, data_dir: &Path, args: &[&str]) -> Self {
        let dns = SocketAddr::from((host.ip(), 53));
        let listen = ["--listen", "0.0.0.0:53", "--listen", "[::]:53"];
        let namespace = Some(Arc::clone(&host.namespace));
        let mut daemon = Self::run_with(data_dir, dns, &[&listen, args].concat(), namespace);
        daemon.wait_ready();
        daemon
    }

    fn run_with(
        data_dir: &Path,
        dns: SocketAddr,
        args: &[&str],
        namespace: Option<Arc<Namespace>>,
    ) -> Self {
        let mut daemon = Self {
            data_dir: data_dir.to_owned(),
            dns,
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            namespace,
            child: None,
        };
        daemon.run();
        daemon
    }

    /// Starts it again with the same arguments, less those of its birth.
    pub fn restart(&mut self) {
        self.start_again();
        self.wait_ready();
    }

    /// The same, without waiting.
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "it runs");
        self.run();
    }

    /// Sends SIGKILL.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Sends SIGTERM and waits for the end; the exit must be clean.
    pub fn stop(&mut self) {
        self.signal("-TERM");
        let mut child = self.child.take().expect("it runs");
        let status = until(START_TIMEOUT, "the daemon ends", || {
            child.try_wait().unwrap()
        });
        assert!(status.success(), "{status}\n{}", self.log());
    }

    /// Sends it a signal: `-STOP` halts all its threads, `-CONT` lets them go on.
    pub fn signal(&self, signal: &str) {
        let process = self.id().to_string();
        let status = Command::new("kill").args([signal, &process]).status();
        assert!(status.unwrap().success());
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Runs a sub-command against this peer.
    pub fn command(&self, args: &[&str]) -> Output {
        Command::new(dnsd())
            .args(args)
            .arg("--data-dir")
            .arg(&self.data_dir)
            .output()
            .unwrap()
    }

    /// Runs a sub-command that must succeed; returns what it prints.
    pub fn ask(&self, args: &[&str]) -> String {
        let output = self.command(args);
        assert!(
            output.status.success(),
            "dnsd {args:?}: {}\n{}",
            String::from_utf8_lossy(&output.stderr),
            self.log()
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Waits until it says that it serves current data.
    pub fn wait_ready(&mut self) {
        until(START_TIMEOUT, "the daemon is ready", || {
            if let Some(status) = self
                .child
                .as_mut()
                .and_then(|child| child.try_wait().unwrap())
            {
                panic!("the daemon ended with {status}\n{}", self.log());
            }
            let output = self.command(&["status", "--format", "json"]);
            if !output.status.success() {
                return None;
            }
            let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            let health = &status["health"];
            (health["phase"] == "serving" && health["reasons"].as_array()?.is_empty()).then_some(())
        });
    }

    /// True if it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        let child = self.child.as_mut().expect("nobody waited for its end");
        child.try_wait().unwrap().is_some()
    }

    /// Waits for the end of a daemon that is to end by itself; its exit code and what it said.
    pub fn wait_end(&mut self) -> (Option<i32>, String) {
        let mut child = self.child.take().expect("it runs");
        let status = until(START_TIMEOUT, "the daemon ends", || {
            child.try_wait().unwrap()
        });
        (status.code(), self.log())
    }

    /// What it has written to its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.data_dir.with_extension("log")
    }

    fn run(&mut self) {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_path())
            .unwrap();
        let mut command = Command::new(dnsd());
        command.arg("serve").arg("--data-dir").arg(&self.data_dir);
        command.args(&self.args);
        command.stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(log);
        if let Some(namespace) = &self.namespace {
            namespace.confine(&mut command);
        }
        self.child = Some(command.spawn().unwrap());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.log_path().display(), self.log());
        }
    }
}
