//! DNS messages: the answer engine by both transports, transfers, and the whole path of an UPDATE
//! but its waiting.

use crate::answer::Answer;
use crate::question::{Question, RD, UPDATE};
use dnsd::cookie::{Secret, Secrets};
use dnsd::policy::{Policy, Realm};
use dnsd::serve::{
    Chaos, Client, Outcome, SELF_TEXT_SIZE_MAX, Served, Setup, Spaces, Transport, serve, transfer,
};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use zones::rtype::{Class, Rtype};
use zones::zone_set::{Shown, ZoneState, ZoneTable};
use zones::{Name, Serial, Update, Version};

const ZONE: &str = r#"
@ 3600 SOA ns.example. hostmaster.example. 1 7200 900 1209600 300
@ 3600 NS ns
@ 3600 NS ns.sub
@ 3600 MX 10 mail
ns 3600 A 192.0.2.53
mail 60 AAAA 2001:db8::25
mail 60 TXT "x" "y"
* 60 MX 10 mail
*.loop 60 CNAME a.loop
alias 60 CNAME www.alias2
alias2 60 DNAME target
www.target 60 A 192.0.2.1
chain 60 CNAME alias
sub 60 NS ns.sub
sub 60 NS ns.far.away.
ns.sub 60 A 192.0.2.54
svc 60 HTTPS 1 . alpn=h2
srv 60 SRV 0 0 1 mail
out 60 CNAME elsewhere.
$GENERATE 1-60 many 60 A 192.0.2.$
$GENERATE 1-40 wide 60 NS n$.wide
$GENERATE 1-40 n$.wide 60 A 192.0.2.$
"#;

/// Parts of chains, with signatures: what they prove is not looked at.
const NSEC: &str = "
@ 60 NSEC many SOA NS
@ 60 RRSIG NSEC 13 1 60 20360101000000 20260101000000 1 @ AA==
@ 60 RRSIG SOA 13 1 60 20360101000000 20260101000000 1 @ AA==
many 60 RRSIG A 13 2 60 20360101000000 20260101000000 1 @ AA==
many 60 NSEC @ A
";
const NSEC3: &str = "
@ 0 NSEC3PARAM 1 0 2 AB
00000000000000000000000000000000 60 NSEC3 1 1 2 AB vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv A
00000000000000000000000000000000 60 RRSIG NSEC3 13 2 60 20360101000000 20260101000000 1 @ AA==
g0000000000000000000000000000000 60 NSEC3 1 0 2 AC 00000000000000000000000000000000 A
vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv 60 NSEC3 1 0 2 AB 00000000000000000000000000000000 A
";

/// When all requests come.
const WALL: Duration = Duration::from_secs(1_800_000_000);
/// From where.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// In the middle of a rollover.
fn secrets() -> Secrets {
    Secrets::new(Secret([1; 16]))
        .stage(Secret([2; 16]))
        .switch()
}

/// The option COOKIE with a server cookie that is good.
pub fn good_cookie() -> Vec<u8> {
    let cookie = secrets().make(*b"clientco", CLIENT, WALL.as_secs() as u32);
    [&[0, 10, 0, 24], &cookie[..]].concat()
}

static SERVED: LazyLock<Served> = LazyLock::new(|| {
    // The lower zone is held too, with names of its own.
    let all = [
        ("example.", ""),
        ("sub.example.", ""),
        ("nsec.", NSEC),
        ("nsec3.", NSEC3),
    ];
    let zones = all
        .iter()
        .enumerate()
        .fold(ZoneTable::default(), |zones, (i, (origin, chain))| {
            let origin: Name = origin.parse().unwrap();
            let records = crate::zone_text::read(&origin, &[ZONE, *chain].concat());
            let version = Version::from_records(&origin, &records).unwrap();
            let serial = Serial(u32::MAX - i as u32);
            zones.with(ZoneState {
                now: version.clone(),
                shown: Some(Shown { version, serial }),
            })
        });
    let rules = ["update from 0.0.0.0/0", "transfer from 0.0.0.0/0"];
    let rules = rules.map(|rule| (Realm::All, rule.parse().unwrap()));
    let policy = Arc::new(Policy::from_iter(rules));
    Served {
        zones,
        policy,
        cookies: Some(secrets()),
        ..Served::default()
    }
});

/// A server that says of itself what it can, at full length.
static SETUP: LazyLock<Setup> = LazyLock::new(|| {
    let text = Some("x".repeat(SELF_TEXT_SIZE_MAX).into_boxed_str());
    Setup {
        nsid: text.clone(),
        chaos: Chaos {
            id: text.clone(),
            version: text,
        },
        ..Setup::default()
    }
});

/// Answers a request by both transports, and applies it if it is an UPDATE.
pub fn run(request: &[u8]) {
    check(request, Transport::Udp);
    check(request, Transport::Tcp);
    if let Ok(update) = Update::from_message(request)
        && let Some(zone) = SERVED.zones.get(update.zone())
    {
        let version = &zone.now;
        if version.check(&update, Serial(7)).is_ok() {
            let Ok(applied) = version.apply(&update, Serial(7)) else {
                return;
            };
            let rebuilt: Vec<_> = applied.version.records().collect();
            let rebuilt = Version::from_records(version.origin(), &rebuilt).unwrap();
            assert_eq!(rebuilt.digest(), applied.version.digest());
            assert_eq!(rebuilt.counts(), applied.version.counts());
        }
    }
}

/// The response, if there is one, is short enough and can be read.
pub fn check(request: &[u8], transport: Transport) {
    let client = Client {
        address: SocketAddr::new(CLIENT, 4000),
        transport,
        wall: WALL,
        timeout_idle: Duration::from_secs(10),
        identity: None,
    };
    let mut response = b"left over".to_vec();
    match serve(
        request,
        &client,
        &SERVED,
        &SETUP,
        &mut Spaces::default(),
        &mut response,
    )
    .outcome
    {
        Outcome::Drop | Outcome::Update => {}
        Outcome::Respond(rcode) => {
            let answer = Answer::read(&response)
                .unwrap_or_else(|error| panic!("{error}\n{request:02x?}\n{response:02x?}"));
            assert_eq!(answer.id.to_be_bytes(), request[..2]);
            assert_eq!(answer.flags & 0x8000, 0x8000);
            assert_eq!(answer.rcode, rcode);
            if transport == Transport::Udp {
                let size_max = answer.opt.map_or(512, |_| usize::from(SETUP.udp_size));
                assert!(
                    response.len() <= size_max.max(request.len() + 11),
                    "{}",
                    response.len()
                );
                assert!(response.len() <= 1232.max(request.len() + 11));
            }
        }
        Outcome::Transfer => {
            assert_eq!(transport, Transport::Tcp);
            let mut messages = transfer::messages(request, &client, &SERVED, &SETUP).unwrap();
            while let Some(message) = messages.next_message(WALL) {
                Answer::read(&message.unwrap()).unwrap();
            }
        }
    }
}

/// Questions of each kind, and updates.
pub fn samples() -> Vec<Vec<u8>> {
    let question = |qname: &str, qtype: u16, flags: u16, edns, serial| {
        let question = Question {
            id: 0xbeef,
            flags,
            qname: qname.parse().unwrap(),
            qtype: Rtype(qtype),
            qclass: Class::IN,
            serial,
            edns,
            options: Vec::new(),
        };
        question.to_wire()
    };
    let edns = Some((1232, 0, 0x8000));
    let mut samples = vec![
        question("www.alias.example.", 1, RD, None, None),
        question("many.example.", 1, RD, edns, None),
        question("x.wide.example.", 28, 0, edns, None),
        question("any.name.example.", 15, 0, None, None),
        question("deep.loop.example.", 255, 0, None, None),
        question("example.", 252, 0, None, None),
        question("example.", 251, 0, None, Some(5)),
        question("sub.example.", 43, 0, edns, None),
        question("deep.loop.nsec.", 1, 0, edns, None),
        question("x.www.target.nsec3.", 1, 0, edns, None),
        question("sub.nsec3.", 43, 0, edns, None),
    ];
    let mut asks_all = Question::new("id.server.".parse().unwrap(), Rtype::TXT);
    asks_all.edns = edns;
    // NSID, COOKIE, edns-tcp-keepalive.
    asks_all.options = b"\0\x03\0\0\0\x0a\0\x08clientco\0\x0b\0\0".to_vec();
    samples.push(asks_all.to_wire());
    asks_all.qclass = Class::CH;
    samples.push(asks_all.to_wire());
    asks_all.options = good_cookie();
    samples.push(asks_all.to_wire());
    // RFC 7873 section 5.4: no question.
    samples.push(
        [
            b"\xbe\xef\0\0\0\0\0\0\0\0\0\x01\0\0\x29\x04\xd0\0\0\0\0\0\x1c",
            &good_cookie()[..],
        ]
        .concat(),
    );
    let rr = |name: &[u8], rtype: u16, class: u16, ttl: u32, rdata: &[u8]| {
        let mut rr = [name, b"\xc0\x0c"].concat();
        rr.extend(rtype.to_be_bytes());
        rr.extend(class.to_be_bytes());
        rr.extend(ttl.to_be_bytes());
        rr.extend((rdata.len() as u16).to_be_bytes());
        rr.extend(rdata);
        rr
    };
    let update = |prerequisites: &[Vec<u8>], changes: &[Vec<u8>]| {
        let mut message = question("example.", 6, UPDATE, None, None);
        message[7] = prerequisites.len() as u8;
        message[9] = changes.len() as u8;
        message.extend(prerequisites.concat());
        message.extend(changes.concat());
        message
    };
    samples.extend([
        update(
            &[
                rr(b"\x04none", 255, 254, 0, b""),
                rr(b"\x04mail", 28, 255, 0, b""),
            ],
            &[rr(b"\x03new", 1, 1, 60, &[192, 0, 2, 9])],
        ),
        update(
            &[rr(b"\x02ns", 1, 1, 0, &[192, 0, 2, 53])],
            &[
                rr(b"\x03www\x06target", 255, 255, 0, b""),
                rr(b"\x02ns", 1, 254, 0, &[192, 0, 2, 53]),
                rr(b"\x05alias", 5, 1, 60, b"\x04mail\xc0\x0c"),
                rr(b"\x03svc", 65, 1, 60, b"\0\x01\0\0\x01\0\x03\x02h2"),
            ],
        ),
    ]);
    samples
}
