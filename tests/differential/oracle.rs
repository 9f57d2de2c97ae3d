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
use tests::daemon::free_port;
use tests::program::{Program, named, program};
use zones::Name;

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
    program: Program,
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
        let setup = Setup {
            folder,
            address,
            zones: &zones,
        };
        let (config, command) = match kind {
            Kind::Bind => (setup.bind(), named(folder)),
            Kind::Knot => (setup.knot(), program("knotd", &[])),
            Kind::Nsd => (setup.nsd(), program("nsd", &["-d"])),
        };
        let name = format!("{kind:?}");
        Self {
            kind,
            address,
            program: Program::start(&name, command, &config, folder),
        }
    }

    /// Panics with its last words if it has ended.
    pub(crate) fn check_alive(&mut self) {
        self.program.check_alive();
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
