//! Zones that were signed elsewhere, asked for through a validating resolver: all that they hold and
//! much that they do not is found to be true.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tests::answer::Answer;
use tests::client::nsupdate;
use tests::daemon::{Daemon, free_port};
use tests::deadline::until;
use tests::question::{AD, Question, RD};
use tests::signer::{Denial, Signer};
use tests::zone_text;
use zones::{Name, Rcode, Rtype};

/// The same content under each kind of denial. Its child `secure` is signed as it is, its child
/// `plain` is not signed, and nobody has the others.
const ZONE: &str = "$TTL 300
@ SOA ns hostmaster 7 3600 600 1209600 60
@ NS ns
@ MX 10 mail
ns A 127.0.0.1
mail A 192.0.2.1
mail AAAA 2001:db8::1
www CNAME mail
alias CNAME www.secure
broken CNAME gone.secure
to-plain CNAME www.plain
*.wild TXT \"any name below\"
*.wild MX 10 mail
b.wild A 192.0.2.2
*.alias-wild CNAME mail
*.far-wild CNAME gone.secure
sub.*.hollow A 192.0.2.3
x.y.deep A 192.0.2.4
d DNAME secure
secure NS ns.secure
ns.secure A 127.0.0.1
plain NS ns.plain
ns.plain A 127.0.0.1
away NS ns.invalid.
a.ent NS ns.invalid.
big TXT \"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\"
";
const CHILD: &str = "$TTL 300
@ SOA ns hostmaster 7 3600 600 1209600 60
@ NS ns
ns A 127.0.0.1
www A 192.0.2.5
*.wild A 192.0.2.6
";
/// What is asked for besides names of the zones.
const ABSENT: &[&str] = &[
    "aaa",
    "zzz",
    "mai",
    "mail0",
    "a.mail",
    "x.wild",
    "x.y.wild",
    "x.b.wild",
    "x.alias-wild",
    "x.far-wild",
    "x.hollow",
    "*.hollow",
    "y.deep",
    "z.y.deep",
    "x.x.y.deep",
    "x.d",
    "www.d",
    "secure.d",
    "secur",
    "zzz.secure",
    "x.wild.secure",
    "zzz.plain",
    "x.wild.plain",
    "ent",
    "b.ent",
    "\\000",
    "\\255",
];
/// Of these the zone knows no more than whether they have a DS record.
const AWAY: &[&[u8]] = &[b"away", b"a"];
const QTYPES: &[Rtype] = &[
    Rtype::A,
    Rtype::MX,
    Rtype::TXT,
    Rtype::CNAME,
    Rtype::NS,
    Rtype::SOA,
    Rtype::DS,
    Rtype::DNSKEY,
    Rtype(65280),
];

#[test]
fn a_validating_resolver_believes_every_answer() {
    let folder = tempfile::tempdir().unwrap();
    let signer = Signer::new(folder.path().join("keys"));
    let mut tree = Tree::default();
    tree.add(&signer, "nsec.", Denial::Nsec);
    tree.add(&signer, "nsec3.", Denial::Nsec3);
    tree.add(&signer, "optout.", Denial::Nsec3OptOut);
    // One whose key is not what the resolver was told: that it validates is not taken on trust.
    let signed = signer.sign(&name("wrong."), CHILD, Denial::Nsec);
    tree.zones.push((name("wrong."), signed.text));
    tree.anchors
        .push(tree.anchors[0].replace("nsec.", "wrong."));

    let arguments = tree.arguments(folder.path());
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    arguments.extend(["--allow-update", "127.0.0.0/8"]);
    let daemon = Daemon::start(&folder.path().join("dnsd"), &arguments);
    let resolver = Resolver::start(folder.path(), daemon.dns, &tree);

    let wrong = resolver.ask(&name("www.wrong."), Rtype::A);
    assert_eq!(wrong.rcode, Rcode::SERVFAIL, "an answer that is not true");
    let mut faults = String::new();
    let (mut secure, mut insecure) = (0, 0);
    for (qname, presence) in tree.qnames() {
        let first = qname.labels().next().unwrap_or_default();
        for qtype in QTYPES {
            // Nobody answers below what is away, or above the whole tree.
            let is_of_parent = *qtype == Rtype::DS;
            let is_unanswered = match is_of_parent {
                true => qname.label_count() == 1,
                false => AWAY.contains(&first),
            };
            if is_unanswered {
                continue;
            }
            if is_beyond_unbound(&qname, *qtype) {
                let said = delv(daemon.dns, &tree, folder.path(), &qname, *qtype);
                if !said.contains("fully validated") {
                    let _ = writeln!(faults, "{qname} {qtype}: {said}");
                }
                continue;
            }
            let answer = resolver.ask(&qname, *qtype);
            let is_secure = answer.flags & AD != 0;
            // RFC 5155 section 9.2: what a gap that opts out covers is not secure.
            let is_opted_out = tree.is_opted_out(&qname)
                && (presence == Presence::Absent
                    || answer.rcode == Rcode::NXDOMAIN
                    || is_of_parent && [AWAY, &[b"plain"]].concat().contains(&first));
            let expects_secure = !is_opted_out && !is_in_plain(&qname, *qtype, &answer);
            let is_right = matches!(answer.rcode, Rcode::NOERROR | Rcode::NXDOMAIN)
                && (is_secure || !expects_secure);
            if !is_right {
                let _ = writeln!(faults, "{qname} {qtype}: {answer}");
            }
            secure += usize::from(is_secure);
            insecure += usize::from(!is_secure);
        }
    }
    assert!(faults.is_empty(), "{faults}");
    assert!(secure > insecure, "{secure} secure, {insecure} not");

    let refused = nsupdate(
        daemon.dns,
        "zone nsec.\nupdate add new.nsec. 60 A 192.0.2.9",
    );
    assert!(refused.unwrap_err().contains("REFUSED"));
}

/// Whether an answer is, or ends, in a zone that is not signed.
fn is_in_plain(qname: &Name, qtype: Rtype, answer: &Answer) -> bool {
    let is_plain = |name: &Name| name.labels().any(|label| label == b"plain");
    // RFC 4035 section 3.1.4.1: the DS is the parent's.
    let is_of_parent = qtype == Rtype::DS && qname.labels().next() == Some(b"plain");
    let mut names = answer.sections.iter().flatten().map(|record| &record.owner);
    !is_of_parent && (is_plain(qname) || names.any(is_plain))
}

/// What Unbound does not believe of any server: that a wildcard is an empty non-terminal, by NSEC, and
/// that a CNAME which a DNAME means is the answer to QTYPE CNAME. BIND's validator is asked instead.
fn is_beyond_unbound(qname: &Name, qtype: Rtype) -> bool {
    let labels: Vec<&[u8]> = qname.labels().collect();
    labels.ends_with(&[b"hollow", b"nsec"]) && labels[0] == b"x"
        || qtype == Rtype::CNAME && labels.len() > 2 && labels[1] == b"d"
}

/// What `delv` says, with our keys as its trust anchors.
fn delv(server: SocketAddr, tree: &Tree, folder: &Path, qname: &Name, qtype: Rtype) -> String {
    let path = folder.join("anchors");
    let mut anchors = String::new();
    for anchor in &tree.anchors {
        let fields: Vec<&str> = anchor.split_whitespace().collect();
        let (zone, parameters, key) = (fields[0], fields[3..6].join(" "), fields[6..].concat());
        writeln!(
            anchors,
            "trust-anchors {{ \"{zone}\" static-key {parameters} \"{key}\"; }};"
        )
        .unwrap();
    }
    fs::write(&path, anchors).unwrap();
    let root = qname.labels().last().expect("no name is the root");
    let output = Command::new("delv")
        .arg(format!("@{}", server.ip()))
        .args(["-p", &server.port().to_string(), "-a"])
        .arg(&path)
        .arg(format!("+root={}", String::from_utf8_lossy(root)))
        .args([qname.to_string(), qtype.to_string()])
        .output()
        .expect("tests/run installs delv");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// All zones, and what the resolver is told of them.
#[derive(Default)]
struct Tree {
    zones: Vec<(Name, String)>,
    anchors: Vec<String>,
    opted_out: Vec<Name>,
}

impl Tree {
    /// A zone with its children.
    fn add(&mut self, signer: &Signer, origin: &str, denial: Denial) {
        let origin = name(origin);
        let child = |label: &[u8]| origin.child(label).unwrap();
        let (secure, plain) = (child(b"secure"), child(b"plain"));
        let signed = signer.sign(&secure, CHILD, denial);
        self.zones.push((secure, signed.text));
        self.zones.push((plain, CHILD.to_owned()));
        let signed = signer.sign(&origin, ZONE, denial);
        self.zones.push((origin.clone(), signed.text));
        self.anchors.push(signed.key);
        if denial == Denial::Nsec3OptOut {
            self.opted_out.push(origin);
        }
    }

    /// Those of `dnsd serve`.
    fn arguments(&self, folder: &Path) -> Vec<String> {
        let mut arguments = Vec::new();
        for (origin, text) in &self.zones {
            let path = folder.join(format!("{origin}zone"));
            fs::write(&path, text).unwrap();
            arguments.push("--zone".to_owned());
            arguments.push(format!("{origin}={}", path.display()));
        }
        arguments
    }

    /// What is asked for.
    fn qnames(&self) -> BTreeMap<Name, Presence> {
        let mut qnames = BTreeMap::new();
        for (origin, text) in self.zones.iter().filter(|(o, _)| *o != name("wrong.")) {
            if origin.label_count() == 1 {
                for text in ABSENT {
                    qnames.insert(name(&format!("{text}.{origin}")), Presence::Absent);
                }
            }
            for record in zone_text::read(origin, text) {
                // Hashes are the owners of NSEC3 records alone, and so absent.
                let presence = match record.rtype {
                    Rtype::NSEC3 => Presence::Absent,
                    Rtype::RRSIG => continue,
                    _ => Presence::Present,
                };
                qnames.insert(record.owner, presence);
            }
        }
        qnames
    }

    fn is_opted_out(&self, qname: &Name) -> bool {
        self.opted_out
            .iter()
            .any(|origin| qname.is_at_or_below(origin))
    }
}

/// Whether a zone has data at a name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Presence {
    Present,
    Absent,
}

/// An unbound that has our keys as trust anchors and nobody else to ask.
struct Resolver {
    address: SocketAddr,
    child: Child,
}

impl Resolver {
    fn start(folder: &Path, server: SocketAddr, tree: &Tree) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let folder = folder.join("unbound");
        fs::create_dir(&folder).unwrap();
        let mut config = format!(
            "server:\n\
             interface: {}@{}\n\
             directory: \"{directory}\"\nchroot: \"\"\nusername: \"\"\npidfile: \"\"\n\
             use-syslog: no\nlogfile: \"\"\nval-log-level: 2\n\
             do-not-query-localhost: no\ndo-ip6: no\nnum-threads: 1\n\
             module-config: \"validator iterator\"\n\
             aggressive-nsec: no\nqname-minimisation: no\n",
            address.ip(),
            address.port(),
            directory = folder.display(),
        );
        for anchor in &tree.anchors {
            writeln!(config, "trust-anchor: \"{anchor}\"").unwrap();
        }
        for (origin, _) in &tree.zones {
            let (ip, port) = (server.ip(), server.port());
            writeln!(
                config,
                "stub-zone:\nname: \"{origin}\"\nstub-addr: {ip}@{port}"
            )
            .unwrap();
        }
        config += "remote-control:\ncontrol-enable: no\n";
        fs::write(folder.join("config"), config).unwrap();
        // A copy: where AppArmor is on, Debian's profile holds the installed one to its folders. By a
        // process of its own: what others start meanwhile would hold the file open, and what is
        // written to cannot run.
        let program = folder.join("unbound");
        let copied = Command::new("cp")
            .arg("/usr/sbin/unbound")
            .arg(&program)
            .status();
        assert!(copied.unwrap().success(), "tests/run installs unbound");
        let log = fs::File::create(folder.join("log")).unwrap();
        let child = Command::new(program)
            .args(["-d", "-p", "-c"])
            .arg(folder.join("config"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut resolver = Self { address, child };
        until(PATIENCE, "the resolver answers", || {
            let ended = resolver.child.try_wait().unwrap();
            let log = || fs::read_to_string(folder.join("log")).unwrap_or_default();
            assert!(ended.is_none(), "{}", log());
            resolver.try_ask(&name("nsec."), Rtype::SOA)
        });
        resolver
    }

    fn ask(&self, qname: &Name, qtype: Rtype) -> Answer {
        until(PATIENCE, "the resolver answers", || {
            self.try_ask(qname, qtype)
        })
    }

    fn try_ask(&self, qname: &Name, qtype: Rtype) -> Option<Answer> {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(2)))
            .unwrap();
        socket.connect(self.address).unwrap();
        let question = Question {
            flags: RD,
            edns: Some((4096, 0, 0x8000)),
            ..Question::new(qname.clone(), qtype)
        };
        socket.send(&question.to_wire()).ok()?;
        let mut response = [0; 4096];
        let size = socket.recv(&mut response).ok()?;
        Some(Answer::read(&response[..size]).unwrap())
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

const PATIENCE: Duration = Duration::from_secs(20);
