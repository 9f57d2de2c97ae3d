//! Other servers as secondaries of a zone that our peers serve: ordinary processes on loopback, each
//! with a folder and a port of its own, ended by its handle.

use crate::daemon::free_port;
use crate::program::{Program, named, program};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

/// The key by which Knot wants to be told of changes.
pub const NOTIFY_KEY: &str = "notify.test";
/// Its secret.
pub const NOTIFY_SECRET: &str = "c2VjcmV0c2VjcmV0c2VjcmV0";

/// How a database of PowerDNS begins.
const POWERDNS_SCHEMA: &str = "/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql";

/// Which program.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    Bind,
    Knot,
    Nsd,
    PowerDns,
}

/// All of them.
pub const KINDS: [Kind; 4] = [Kind::Bind, Kind::Knot, Kind::Nsd, Kind::PowerDns];

/// One that runs; it ends when this is dropped.
pub struct Secondary {
    pub kind: Kind,
    pub address: SocketAddr,
    program: Program,
}

impl Secondary {
    /// Starts it with one zone, which it transfers from these servers, in this order.
    pub fn start(kind: Kind, origin: &str, primaries: &[SocketAddr], folder: &Path) -> Self {
        let folder = folder.join(format!("{kind:?}"));
        fs::create_dir(&folder).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let setup = Setup {
            origin,
            primaries,
            folder: &folder,
            address,
        };
        let name = format!("{kind:?}");
        let (config, command) = match kind {
            Kind::Bind => (setup.bind(), named(&folder)),
            Kind::Knot => (setup.knot(), program("knotd", &[])),
            Kind::Nsd => (setup.nsd(), program("nsd", &["-d"])),
            Kind::PowerDns => {
                let mut command = setup.powerdns("pdns_server");
                command.arg("--daemon=no");
                return Self {
                    kind,
                    address,
                    program: Program::run(&name, command, &folder),
                };
            }
        };
        Self {
            kind,
            address,
            program: Program::start(&name, command, &config, &folder),
        }
    }

    /// What it has said.
    #[must_use]
    pub fn log(&self) -> String {
        self.program.log()
    }
}

fn texts(all: &[String]) -> Vec<&str> {
    all.iter().map(String::as_str).collect()
}

/// What a configuration is made of.
struct Setup<'s> {
    origin: &'s str,
    primaries: &'s [SocketAddr],
    folder: &'s Path,
    address: SocketAddr,
}

impl Setup<'_> {
    fn each_primary(&self, line: impl Fn(usize, &SocketAddr) -> String) -> String {
        let primaries = self.primaries.iter().enumerate();
        primaries
            .map(|(number, address)| line(number, address))
            .collect()
    }

    fn bind(&self) -> String {
        let (folder, ip, port) = (
            self.folder.display(),
            self.address.ip(),
            self.address.port(),
        );
        let origin = self.origin;
        let primaries =
            self.each_primary(|_, primary| format!("{} port {}; ", primary.ip(), primary.port()));
        format!(
            "options {{\n\
             directory \"{folder}\";\n\
             pid-file none;\n\
             session-keyfile none;\n\
             listen-on port {port} {{ {ip}; }};\n\
             listen-on-v6 {{ none; }};\n\
             recursion no;\n\
             allow-transfer {{ any; }};\n\
             notify no;\n\
             dnssec-validation no;\n\
             empty-zones-enable no;\n\
             min-refresh-time 1; max-refresh-time 2;\n\
             min-retry-time 1; max-retry-time 1;\n\
             serial-query-rate 1000;\n\
             }};\n\
             controls {{ }};\n\
             zone \"{origin}\" {{ type secondary; file \"zone\"; primaries {{ {primaries}}}; }};\n"
        )
    }

    fn knot(&self) -> String {
        let (folder, ip, port) = (
            self.folder.display(),
            self.address.ip(),
            self.address.port(),
        );
        let origin = self.origin;
        let remotes = self.each_primary(|number, primary| {
            let (ip, port) = (primary.ip(), primary.port());
            format!("  - id: p{number}\n    address: {ip}@{port}\n")
        });
        let names: Vec<String> = (0..self.primaries.len()).map(|n| format!("p{n}")).collect();
        let names = names.join(", ");
        format!(
            "server:\n\
             \x20   rundir: \"{folder}\"\n\
             \x20   listen: {ip}@{port}\n\
             \x20   udp-workers: 1\n\
             \x20   tcp-workers: 1\n\
             \x20   background-workers: 1\n\
             control:\n\
             \x20   listen: \"{folder}/knot.sock\"\n\
             log:\n\
             \x20 - target: stderr\n\
             \x20   any: info\n\
             database:\n\
             \x20   storage: \"{folder}\"\n\
             remote:\n{remotes}\
             key:\n\
             \x20 - id: {NOTIFY_KEY}\n\
             \x20   algorithm: hmac-sha256\n\
             \x20   secret: {NOTIFY_SECRET}\n\
             acl:\n\
             \x20 - id: read\n\
             \x20   address: 127.0.0.0/8\n\
             \x20   action: transfer\n\
             \x20 - id: told\n\
             \x20   key: {NOTIFY_KEY}\n\
             \x20   action: notify\n\
             zone:\n\
             \x20 - domain: \"{origin}\"\n\
             \x20   storage: \"{folder}\"\n\
             \x20   master: [{names}]\n\
             \x20   acl: [read, told]\n\
             \x20   refresh-max-interval: 2\n\
             \x20   retry-max-interval: 1\n"
        )
    }

    /// A program of PowerDNS with its configuration, and a database in which the zone is a secondary one.
    fn powerdns(&self, server: &str) -> Command {
        let (folder, ip, port) = (
            self.folder.display(),
            self.address.ip(),
            self.address.port(),
        );
        let config = format!(
            "launch=gsqlite3\n\
             gsqlite3-database={folder}/zones.sqlite3\n\
             local-address={ip}\n\
             local-port={port}\n\
             secondary=yes\n\
             allow-axfr-ips=127.0.0.0/8\n\
             allow-notify-from=127.0.0.0/8\n\
             xfr-cycle-interval=1\n\
             socket-dir={folder}\n\
             guardian=no\n\
             disable-syslog=yes\n\
             loglevel=6\n\
             cache-ttl=0\n\
             query-cache-ttl=0\n\
             negquery-cache-ttl=0\n\
             zone-cache-refresh-interval=0\n\
             security-poll-suffix=\n"
        );
        fs::write(self.folder.join("pdns.conf"), config).unwrap();
        let schema = fs::File::open(POWERDNS_SCHEMA).unwrap();
        let made = Command::new("sqlite3")
            .arg(self.folder.join("zones.sqlite3"))
            .stdin(schema)
            .status();
        assert!(
            made.is_ok_and(|status| status.success()),
            "the database is made"
        );
        let of_folder = |name: &str| program(name, &[&format!("--config-dir={folder}")]);
        let primaries: Vec<String> = self.primaries.iter().map(ToString::to_string).collect();
        let steps = [
            [
                &["create-secondary-zone", self.origin][..],
                &texts(&primaries),
            ]
            .concat(),
            vec!["set-meta", self.origin, "IXFR", "1"],
        ];
        for step in steps {
            let output = of_folder("pdnsutil").args(&step).output().unwrap();
            assert!(output.status.success(), "{step:?}: {output:?}");
        }
        of_folder(server)
    }

    fn nsd(&self) -> String {
        let (folder, ip, port) = (
            self.folder.display(),
            self.address.ip(),
            self.address.port(),
        );
        let origin = self.origin;
        let primaries = self.each_primary(|_, primary| {
            let (ip, port) = (primary.ip(), primary.port());
            format!("  request-xfr: {ip}@{port} NOKEY\n")
        });
        format!(
            "server:\n\
             \x20 ip-address: {ip}@{port}\n\
             \x20 server-count: 1\n\
             \x20 username: \"\"\n\
             \x20 verbosity: 2\n\
             \x20 database: \"\"\n\
             \x20 zonesdir: \"{folder}\"\n\
             \x20 pidfile: \"{folder}/nsd.pid\"\n\
             \x20 xfrdfile: \"{folder}/xfrd.state\"\n\
             \x20 xfrdir: \"{folder}\"\n\
             \x20 zonelistfile: \"{folder}/zone.list\"\n\
             remote-control:\n\
             \x20 control-enable: no\n\
             zone:\n\
             \x20 name: \"{origin}\"\n\
             \x20 zonefile: \"zone\"\n\
             {primaries}\
             \x20 allow-notify: 127.0.0.1 NOKEY\n\
             \x20 provide-xfr: 127.0.0.1 NOKEY\n\
             \x20 max-refresh-time: 2\n\
             \x20 max-retry-time: 1\n"
        )
    }
}
