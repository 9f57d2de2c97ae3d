//! Whatever bytes come in: no panic, no response over its limit, and each response can be read.
#![allow(clippy::unwrap_used, reason = "tests")]

use dnsd::prefix::Policy;
use dnsd::serve::{Client, Limits, Outcome, Served, Transport, serve, transfer};
use proptest::prelude::*;
use std::sync::LazyLock;
use tests::answer::Answer;
use tests::question::{Question, RD, UPDATE};
use zones::rtype::{Class, Rtype};
use zones::zone_set::{Shown, ZoneState, ZoneTable};
use zones::{Name, Serial, Version};

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

static SERVED: LazyLock<Served> = LazyLock::new(|| {
    let zones = ["example.", "sub.example."].iter().enumerate().fold(
        ZoneTable::default(),
        |zones, (i, origin)| {
            let origin: Name = origin.parse().unwrap();
            // The lower zone is not always held: it has its own names only once it is.
            let records = tests::zone_text::read(&origin, ZONE);
            let version = Version::from_records(&origin, &records).unwrap();
            let serial = Serial(u32::MAX - i as u32);
            zones.with(ZoneState {
                origin,
                now: version.clone(),
                shown: Some(Shown { version, serial }),
            })
        },
    );
    let anyone = vec!["0.0.0.0/0".parse().unwrap()];
    let policy = Policy {
        update: anyone.clone(),
        transfer: anyone,
    };
    Served {
        zones,
        policy,
        ..Served::default()
    }
});

fn check(request: &[u8], transport: Transport) {
    let client = Client {
        address: "192.0.2.1:4000".parse().unwrap(),
        transport,
    };
    let limits = Limits::default();
    let mut response = b"left over".to_vec();
    match serve(request, &client, &SERVED, &limits, &mut response) {
        Outcome::Drop | Outcome::Update => {}
        Outcome::Respond(rcode) => {
            let answer = Answer::read(&response)
                .unwrap_or_else(|error| panic!("{error}\n{request:02x?}\n{response:02x?}"));
            assert_eq!(answer.id.to_be_bytes(), request[..2]);
            assert_eq!(answer.flags & 0x8000, 0x8000);
            assert_eq!(answer.rcode, rcode);
            if transport == Transport::Udp {
                let size_max = answer.opt.map_or(512, |_| usize::from(limits.udp_size));
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
            for message in transfer::messages(request, &SERVED, &limits).unwrap() {
                Answer::read(&message.unwrap()).unwrap();
            }
        }
    }
}

fn any_label() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "www", "mail", "alias", "alias2", "chain", "loop", "a", "sub", "ns", "wide", "n1", "many",
        "svc", "srv", "out", "*", "WWW", "target", "x",
    ])
}

fn any_question() -> impl Strategy<Value = Question> {
    let qtypes = vec![
        1, 2, 5, 6, 12, 15, 16, 28, 33, 39, 43, 48, 64, 65, 250, 251, 252, 255, 65280, 0, 41,
    ];
    (
        prop::collection::vec(any_label(), 0..5),
        prop::sample::select(vec!["example.", "sub.example.", "example.com."]),
        prop::sample::select(qtypes),
        prop::option::of((
            any::<u16>(),
            0u8..2,
            prop::sample::select(vec![0u16, 0x8000]),
        )),
        prop::option::of(any::<u32>()),
        prop::sample::select(vec![0, RD, UPDATE, 4 << 11]),
        prop::sample::select(vec![Class::IN, Class::IN, Class::IN, Class::CH, Class::ANY]),
    )
        .prop_map(|(labels, origin, qtype, edns, serial, flags, qclass)| {
            let qname: Name = labels
                .iter()
                .fold(origin.parse().unwrap(), |name: Name, label| {
                    name.child(label.as_bytes()).unwrap()
                });
            Question {
                id: 0xbeef,
                flags,
                qname,
                qtype: Rtype(qtype),
                qclass,
                serial,
                edns,
            }
        })
}

fn any_transport() -> impl Strategy<Value = Transport> {
    prop::sample::select(vec![Transport::Udp, Transport::Tcp])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600), transport in any_transport()) {
        check(&bytes, transport);
    }

    #[test]
    fn any_question_is_answered(question in any_question(), transport in any_transport()) {
        check(&question.to_wire(), transport);
    }

    #[test]
    fn changed_questions(
        question in any_question(),
        transport in any_transport(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = question.to_wire();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        check(&bytes, transport);
    }
}
