//! Servers that take updates of the same zones: ours, BIND and Knot, each a real process.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::time::Duration;
use tests::daemon::{Daemon, free_port};
use tests::deadline::until;
use tests::program::{Program, named, program};
use tests::question::Question;
use zones::rdata::{from_message, soa_serial};
use zones::{Name, Rcode, Record, Rtype};

use crate::case::line_of;

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(30);
/// Who has not answered by then will not.
const SILENCE: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Kind {
    Ours,
    Bind,
    Knot,
}

/// By what an update goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Carrier {
    Udp,
    Tcp,
}

/// A server that runs; it ends when this is dropped.
pub(crate) struct Server {
    address: SocketAddr,
    _process: Process,
}

#[expect(dead_code, reason = "each ends when it is dropped")]
enum Process {
    Ours(Daemon),
    Theirs(Program),
}

/// What a zone holds: its records as lines, and its serial.
pub(crate) type Content = (BTreeSet<String>, u32);

impl Server {
    /// Starts one with these zones, each with this text.
    pub(crate) fn start(kind: Kind, zones: &[Name], text: &str, folder: &Path) -> Self {
        fs::create_dir(folder).unwrap();
        let files: Vec<(&Name, String)> = zones
            .iter()
            .enumerate()
            .map(|(number, origin)| {
                let path = folder.join(format!("{number}.zone"));
                fs::write(&path, text).unwrap();
                (origin, path.display().to_string())
            })
            .collect();
        let (address, process) = match kind {
            Kind::Ours => {
                let seeds = files
                    .iter()
                    .map(|(origin, path)| format!("{origin}={path}"));
                let mut args = vec!["--allow-update".to_owned(), "127.0.0.0/8".to_owned()];
                args.extend(["--allow-transfer".to_owned(), "127.0.0.0/8".to_owned()]);
                args.extend(seeds.flat_map(|seed| ["--zone".to_owned(), seed]));
                let args: Vec<&str> = args.iter().map(String::as_str).collect();
                let daemon = Daemon::start(&folder.join("data"), &args);
                (daemon.dns, Process::Ours(daemon))
            }
            Kind::Bind | Kind::Knot => {
                let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
                let (config, command) = match kind {
                    Kind::Bind => (bind(&files, folder, address), named(folder)),
                    _ => (knot(&files, folder, address), program("knotd", &[])),
                };
                let name = format!("{kind:?}");
                (
                    address,
                    Process::Theirs(Program::start(&name, command, &config, folder)),
                )
            }
        };
        let server = Self {
            address,
            _process: process,
        };
        let last = zones.last().expect("there are zones");
        until(PATIENCE, "all zones are there", || server.try_content(last));
        server
    }

    /// Sends a message; the RCODE of the response, if one comes.
    pub(crate) fn exchange(&self, message: &[u8], by: Carrier) -> Option<Rcode> {
        let response = match by {
            Carrier::Udp => {
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                socket.connect(self.address).unwrap();
                socket.set_read_timeout(Some(SILENCE)).unwrap();
                socket.send(message).unwrap();
                let mut buffer = [0; 4_096];
                let size = socket.recv(&mut buffer).ok()?;
                buffer[..size].to_vec()
            }
            Carrier::Tcp => {
                let mut stream = self.connect().unwrap();
                send(&mut stream, message).unwrap();
                stream.set_read_timeout(Some(SILENCE)).unwrap();
                receive(&mut stream)?
            }
        };
        assert_eq!(response[..2], message[..2], "the ID");
        assert_eq!(response[2] & 0xf8, 0x80 | message[2], "QR and opcode");
        Some(Rcode(u16::from(response[3] & 15)))
    }

    /// What a zone holds.
    pub(crate) fn content(&self, origin: &Name) -> Content {
        until(PATIENCE, "the zone is transferred", || {
            self.try_content(origin)
        })
    }

    fn try_content(&self, origin: &Name) -> Option<Content> {
        let mut stream = self.connect().ok()?;
        let question = Question::new(origin.clone(), Rtype::AXFR);
        send(&mut stream, &question.to_wire()).ok()?;
        let (mut lines, mut serials) = (BTreeSet::new(), Vec::new());
        while serials.len() < 2 {
            let records = answers(&receive(&mut stream)?);
            if records.is_empty() {
                return None;
            }
            for record in &records {
                if record.rtype == Rtype::SOA {
                    serials.extend(soa_serial(record.rdata.as_bytes()));
                }
                lines.insert(line_of(record));
            }
        }
        Some((lines, serials[0].0))
    }

    fn connect(&self) -> std::io::Result<TcpStream> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    }
}

/// The records of the answer section.
fn answers(message: &[u8]) -> Vec<Record> {
    let word = |at: usize| u16::from_be_bytes([message[at], message[at + 1]]);
    let mut at = 12;
    for _ in 0..word(4) {
        at = Name::from_message(message, at).unwrap().1 + 4;
    }
    let mut read = || {
        let (owner, fixed) = Name::from_message(message, at).unwrap();
        let rtype = Rtype(word(fixed));
        let start = fixed + 10;
        at = start + usize::from(word(fixed + 8));
        Record {
            owner,
            rtype,
            ttl: u32::from(word(fixed + 4)) << 16 | u32::from(word(fixed + 6)),
            rdata: from_message(rtype, message, start..at).unwrap(),
        }
    };
    (0..word(6)).map(|_| read()).collect()
}

fn send(stream: &mut TcpStream, message: &[u8]) -> std::io::Result<()> {
    let size = (message.len() as u16).to_be_bytes();
    stream.write_all(&[&size, message].concat())
}

fn receive(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut size = [0; 2];
    stream.read_exact(&mut size).ok()?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(size))];
    stream.read_exact(&mut message).ok()?;
    Some(message)
}

fn bind(files: &[(&Name, String)], folder: &Path, address: SocketAddr) -> String {
    let (folder, ip, port) = (folder.display(), address.ip(), address.port());
    let mut text = format!(
        "options {{\n\
         directory \"{folder}\"; pid-file none; session-keyfile none;\n\
         listen-on port {port} {{ {ip}; }}; listen-on-v6 {{ none; }};\n\
         recursion no; notify no; dnssec-validation no; empty-zones-enable no;\n\
         allow-transfer {{ 127.0.0.0/8; }};\n\
         check-integrity no; check-names primary ignore; check-mx ignore; check-sibling no;\n\
         }};\n\
         controls {{ }};\n"
    );
    for (origin, path) in files {
        writeln!(
            text,
            "zone \"{origin}\" {{ type primary; file \"{path}\"; allow-update {{ 127.0.0.0/8; }}; }};"
        )
        .unwrap();
    }
    text
}

fn knot(files: &[(&Name, String)], folder: &Path, address: SocketAddr) -> String {
    fs::create_dir(folder.join("db")).unwrap();
    let (folder, ip, port) = (folder.display(), address.ip(), address.port());
    let mut text = format!(
        "server:\n  rundir: \"{folder}\"\n  listen: {ip}@{port}\n  udp-workers: 1\n  tcp-workers: 1\n  \
         background-workers: 1\n\
         control:\n  listen: \"{folder}/knot.sock\"\n\
         log:\n  - target: stderr\n    any: error\n\
         database:\n  storage: \"{folder}/db\"\n\
         acl:\n  - id: local\n    address: 127.0.0.0/8\n    action: [update, transfer]\n\
         template:\n  - id: default\n    zonefile-sync: -1\n    acl: local\n\
         zone:\n"
    );
    for (origin, path) in files {
        writeln!(text, "  - domain: \"{origin}\"\n    file: \"{path}\"").unwrap();
    }
    text
}
