//! Other authoritative servers, as ordinary processes on loopback: each with a folder and a port of
//! its own, ended by its handle.
//!
//! They are set up to be comparable: no recursion, transfers, cookies, rate limits or texts about
//! themselves, minimal responses, and datagrams as large as ours.

use crate::world::World;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tests::daemon::free_port;
use tests::deadline::until;
use zones::Name;

/// How long a server may take to end before it is killed.
const END_TIMEOUT: Duration = Duration::from_secs(5);
/// As `dnsd` has it (`Setup::udp_size`).
const UDP_SIZE: u16 = 1232;

/// Another server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Kind {
    Bind,
    Knot,
    Nsd,
}

/// All of them.
pub(crate) const KINDS: [Kind; 3] = [Kind::Bind, Kind::Knot, Kind::Nsd];

/// One that runs; it ends when this is dropped.
pub(crate) struct Oracle {
    pub(crate) kind: Kind,
    pub(crate) address: SocketAddr,
    child: Child,
    log: PathBuf,
}

impl Oracle {
    /// Starts all with all zones, each in a folder of its own. They do not answer yet.
    pub(crate) fn start_all(world: &World, folder: &Path) -> [Self; 3] {
        let mut ports = BTreeSet::new();
        // One that has not yet bound its port has none.
        while ports.len() < KINDS.len() {
            ports.insert(free_port());
        }
        KINDS.map(|kind| {
            let address = ([127, 0, 0, 1], ports.pop_first().expect("one for each"));
            Self::start(
                kind,
                world,
                address.into(),
                &folder.join(format!("{kind:?}")),
            )
        })
    }

    fn start(kind: Kind, world: &World, address: SocketAddr, folder: &Path) -> Self {
        fs::create_dir(folder).unwrap();
        let zones: Vec<(&Name, PathBuf)> = world
            .zones
            .iter()
            .enumerate()
            .map(|(number, zone)| {
                let path = folder.join(format!("{number}.zone"));
                fs::write(&path, &zone.text).unwrap();
                (&zone.origin, path)
            })
            .collect();
        let config = folder.join("config");
        let setup = Setup {
            folder,
            address,
            zones: &zones,
        };
        let (text, mut command) = match kind {
            Kind::Bind => (setup.bind(), bind_command(folder)),
            Kind::Knot => (setup.knot(), program("knotd", &[])),
            Kind::Nsd => (setup.nsd(), program("nsd", &["-d"])),
        };
        fs::write(&config, text).unwrap();
        let log = folder.join("log");
        let output = fs::File::create(&log).unwrap();
        command.arg("-c").arg(&config).current_dir(folder);
        command.stdin(Stdio::null());
        command.stdout(output.try_clone().unwrap()).stderr(output);
        let child = command.spawn();
        let child = child.unwrap_or_else(|error| {
            panic!("{kind:?} does not start ({error}); tests/run installs it")
        });
        Self {
            kind,
            address,
            child,
            log,
        }
    }

    /// Panics with its last words if it has ended.
    pub(crate) fn check_alive(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("{:?} ended with {status}\n{}", self.kind, self.log());
        }
    }

    /// What it has said.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        // SIGTERM, so that a server ends the processes that it has started.
        let process = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &process]).status();
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until(END_TIMEOUT, "it ends", || self.child.try_wait().unwrap());
        }));
        if ended.is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- {:?}\n{}", self.kind, self.log());
        }
    }
}

/// What a configuration is made of.
struct Setup<'s> {
    folder: &'s Path,
    address: SocketAddr,
    zones: &'s [(&'s Name, PathBuf)],
}

impl Setup<'_> {
    fn bind(&self) -> String {
        let (folder, ip, port) = (
            self.folder.display(),
            self.address.ip(),
            self.address.port(),
        );
        let mut text = format!(
            "options {{\n\
             directory \"{folder}\";\n\
             pid-file none;\n\
             session-keyfile none;\n\
             listen-on port {port} {{ {ip}; }};\n\
             listen-on-v6 {{ none; }};\n\
             recursion no;\n\
             allow-query {{ any; }};\n\
             allow-transfer {{ none; }};\n\
             notify no;\n\
             dnssec-validation no;\n\
             empty-zones-enable no;\n\
             minimal-responses yes;\n\
             minimal-any yes;\n\
             answer-cookie no;\n\
             edns-udp-size {UDP_SIZE};\n\
             max-udp-size {UDP_SIZE};\n\
             nocookie-udp-size {UDP_SIZE};\n\
             check-integrity no;\n\
             check-names primary ignore;\n\
             check-mx ignore;\n\
             check-mx-cname ignore;\n\
             check-srv-cname ignore;\n\
             check-sibling no;\n\
             check-wildcard no;\n\
             version none;\n\
             hostname none;\n\
             server-id none;\n\
             }};\n\
             controls {{ }};\n\
             logging {{ category lame-servers {{ null; }}; category update-security {{ null; }}; }};\n"
        );
        for (origin, path) in self.zones {
            let path = path.display();
            writeln!(
                text,
                "zone \"{origin}\" {{ type primary; file \"{path}\"; }};"
            )
            .unwrap();
        }
        text
    }

    fn knot(&self) -> String {
        let (folder, ip, port) = (
            self.folder.display(),
            self.address.ip(),
            self.address.port(),
        );
        let mut text = format!(
            "server:\n\
             \x20   rundir: \"{folder}\"\n\
             \x20   listen: {ip}@{port}\n\
             \x20   udp-workers: 1\n\
             \x20   tcp-workers: 1\n\
             \x20   background-workers: 1\n\
             \x20   udp-max-payload: {UDP_SIZE}\n\
             \x20   identity: \"\"\n\
             \x20   version: \"\"\n\
             \x20   nsid: \"\"\n\
             control:\n\
             \x20   listen: \"{folder}/knot.sock\"\n\
             log:\n\
             \x20 - target: stderr\n\
             \x20   any: warning\n\
             database:\n\
             \x20   storage: \"{folder}/db\"\n\
             template:\n\
             \x20 - id: default\n\
             \x20   journal-content: none\n\
             \x20   zonefile-sync: -1\n\
             zone:\n"
        );
        for (origin, path) in self.zones {
            let path = path.display();
            writeln!(text, "  - domain: \"{origin}\"\n    file: \"{path}\"").unwrap();
        }
        text
    }

    fn nsd(&self) -> String {
        let (folder, ip, port) = (
            self.folder.display(),
            self.address.ip(),
            self.address.port(),
        );
        let mut text = format!(
            "server:\n\
             \x20 ip-address: {ip}@{port}\n\
             \x20 server-count: 1\n\
             \x20 username: \"\"\n\
             \x20 rrl-ratelimit: 0\n\
             \x20 hide-version: yes\n\
             \x20 hide-identity: yes\n\
             \x20 minimal-responses: yes\n\
             \x20 refuse-any: no\n\
             \x20 round-robin: no\n\
             \x20 answer-cookie: no\n\
             \x20 ipv4-edns-size: {UDP_SIZE}\n\
             \x20 database: \"\"\n\
             \x20 zonesdir: \"{folder}\"\n\
             \x20 pidfile: \"{folder}/nsd.pid\"\n\
             \x20 xfrdfile: \"{folder}/xfrd.state\"\n\
             \x20 xfrdir: \"{folder}\"\n\
             \x20 zonelistfile: \"{folder}/zone.list\"\n\
             remote-control:\n\
             \x20 control-enable: no\n"
        );
        for (origin, path) in self.zones {
            let path = path.display();
            writeln!(text, "zone:\n  name: \"{origin}\"\n  zonefile: \"{path}\"").unwrap();
        }
        text
    }
}

/// A copy in the folder: where AppArmor is on, Debian's profile holds `/usr/sbin/named` to the
/// folders of the package.
fn bind_command(folder: &Path) -> Command {
    let copy = folder.join("named");
    let installed = SYSTEM_PATHS
        .iter()
        .map(|path| Path::new(path).join("named"));
    let installed = installed.into_iter().find(|path| path.is_file());
    let installed =
        installed.expect("named (Debian package bind9) is there; tests/run installs it");
    fs::copy(installed, &copy).unwrap();
    let mut command = Command::new(copy);
    command.args(["-f", "-g", "-n", "1"]);
    command
}

/// Where Debian keeps servers; not all have it in their PATH.
const SYSTEM_PATHS: [&str; 2] = ["/usr/sbin", "/sbin"];

fn program(name: &str, args: &[&str]) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(name);
    command.args(args);
    command.env("PATH", format!("{path}:{}", SYSTEM_PATHS.join(":")));
    command
}
