//! Whatever bytes come in: no panic, no response over its limit, and each response can be read.
#![allow(clippy::unwrap_used, reason = "tests")]

mod ixfr;

use dnsd::serve::Transport;
use proptest::prelude::*;
use tests::fuzz::message::{check, good_cookie};
use tests::question::{Question, RD, UPDATE};
use zones::Name;
use zones::rtype::{Class, Rtype};

fn any_label() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "www", "mail", "alias", "alias2", "chain", "loop", "a", "sub", "ns", "wide", "n1", "many",
        "svc", "srv", "out", "*", "WWW", "target", "x",
    ])
}

/// An EDNS option: its code, its length, and data of that length.
fn any_option() -> impl Strategy<Value = Vec<u8>> {
    let any = (
        prop::sample::select(vec![3u16, 10, 11, 65001]),
        prop::collection::vec(any::<u8>(), 0..42),
    )
        .prop_map(|(code, data)| {
            let size = data.len() as u16;
            [&code.to_be_bytes()[..], &size.to_be_bytes(), &data].concat()
        });
    prop_oneof![4 => any, 1 => Just(good_cookie())]
}

fn any_question() -> impl Strategy<Value = Question> {
    let qtypes = vec![
        1, 2, 5, 6, 12, 15, 16, 28, 33, 39, 43, 46, 47, 48, 50, 51, 64, 65, 250, 251, 252, 255,
        65280, 0, 41,
    ];
    (
        prop::collection::vec(any_label(), 0..5),
        prop::sample::select(vec![
            "example.",
            "sub.example.",
            "nsec.",
            "nsec3.",
            "example.com.",
            "id.server.",
        ]),
        prop::sample::select(qtypes),
        prop::option::of((
            any::<u16>(),
            0u8..2,
            prop::sample::select(vec![0u16, 0x8000]),
        )),
        prop::collection::vec(any_option(), 0..4).prop_map(|options| options.concat()),
        prop::option::of(any::<u32>()),
        prop::sample::select(vec![0, RD, UPDATE, 4 << 11]),
        prop::sample::select(vec![Class::IN, Class::IN, Class::IN, Class::CH, Class::ANY]),
    )
        .prop_map(
            |(labels, origin, qtype, edns, options, serial, flags, qclass)| {
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
                    options,
                }
            },
        )
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
