//! Made-up requests about made-up zones: every kind of name, type, flag and EDNS record, and
//! messages that are no requests as they should be.

use crate::malformed;
use crate::world::{World, label};
use fastrand::Rng;
use std::fmt;
use tests::question::{Question, RD};
use zones::Name;
use zones::rtype::{Class, Rtype};

/// What is odd about a request.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Form {
    /// Nothing: a question as resolvers ask it, with or without EDNS.
    Plain,
    /// Flags that mean nothing in a request.
    Flags,
    /// An EDNS version that does not exist, or options.
    Edns,
    /// Another class than IN.
    Class,
    /// A QTYPE that no record has, ANY and zone transfers among them.
    Meta,
    /// Another opcode than QUERY.
    Opcode,
    /// Records where a query has none.
    Records,
    /// No message as RFC 1035 describes it.
    Malformed,
}

/// How a request is sent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

/// One request.
pub(crate) struct Request {
    pub(crate) form: Form,
    pub(crate) transport: Transport,
    /// The question; if the message is malformed, what it was before.
    pub(crate) question: Question,
    /// How the message was damaged, or what was added to it.
    pub(crate) change: &'static str,
    /// The message. Whoever sends it puts an ID in.
    pub(crate) wire: Vec<u8>,
}

const HEADER_SIZE: usize = 12;

/// What the zones hold and resolvers ask for.
const QTYPES: &[Rtype] = &[
    Rtype::A,
    Rtype::A,
    Rtype::AAAA,
    Rtype::NS,
    Rtype::SOA,
    Rtype::MX,
    Rtype::TXT,
    Rtype::CNAME,
    Rtype::DNAME,
    Rtype::DS,
    Rtype::DS,
    Rtype::SRV,
    Rtype::SVCB,
    Rtype::HTTPS,
    Rtype::PTR,
    Rtype::CAA,
    Rtype::DNSKEY,
    Rtype::NSEC,
    Rtype::NSEC3,
    Rtype::RRSIG,
    Rtype::KEY,
    Rtype::SIG,
    Rtype::NXT,
    Rtype::NULL,
    Rtype::MD,
    Rtype(1234),
    Rtype(65280),
    Rtype(65534),
];

const META_QTYPES: &[Rtype] = &[
    Rtype::ANY,
    Rtype::ANY,
    Rtype::ANY,
    Rtype::AXFR,
    Rtype::IXFR,
    Rtype::MAILA,
    Rtype::MAILB,
    Rtype::OPT,
    Rtype::TSIG,
    Rtype::TKEY,
    Rtype(0),
    Rtype(128),
    Rtype(200),
    Rtype(65535),
];

const FORMS: &[(Form, u8)] = &[
    (Form::Plain, 66),
    (Form::Flags, 5),
    (Form::Edns, 6),
    (Form::Class, 3),
    (Form::Meta, 6),
    (Form::Opcode, 3),
    (Form::Records, 3),
    (Form::Malformed, 8),
];

impl Request {
    /// Makes one up.
    pub(crate) fn generate(world: &World, random: &mut Rng) -> Self {
        let form = any_form(random);
        let transport = match random.u8(..5) {
            0 => Transport::Tcp,
            _ => Transport::Udp,
        };
        let mut question = any_question(world, random);
        match form {
            Form::Plain | Form::Records | Form::Malformed => {}
            // AA, TC, RA and Z in a request; RFC 1035 section 4.1.1 gives them no meaning there.
            Form::Flags => question.flags |= random.u16(..) & 0x06f0 | 0x0400,
            Form::Edns => {
                let version = *random.choice(&[0, 0, 0, 1, 2, 255]).unwrap();
                let flags = *random.choice(&[0, 0x8000, 0x4000, 0xffff]).unwrap();
                question.edns = Some((random.u16(..), version, flags));
                question.options = any_options(random);
            }
            Form::Class => {
                question.qclass = *random
                    .choice(&[
                        Class::CH,
                        Class::CH,
                        Class::NONE,
                        Class::ANY,
                        Class(4),
                        Class(0),
                    ])
                    .unwrap();
                if random.bool() {
                    let names = [
                        "version.bind.",
                        "id.server.",
                        "hostname.bind.",
                        "authors.bind.",
                    ];
                    question.qname = random.choice(&names).unwrap().parse().unwrap();
                    question.qtype = *random.choice(&[Rtype::TXT, Rtype::ANY, Rtype::A]).unwrap();
                }
            }
            Form::Meta => question.qtype = *random.choice(META_QTYPES).unwrap(),
            Form::Opcode => question.flags |= random.u16(1..16) << 11,
        }
        let mut wire = question.to_wire();
        let change = match form {
            Form::Malformed => malformed::damage(&mut wire, &question, random),
            Form::Records => malformed::add_records(&mut wire, &question, random),
            _ => "",
        };
        Self {
            form,
            transport,
            question,
            change,
            wire,
        }
    }

    /// The opcode that stands in the message.
    pub(crate) fn opcode(&self) -> u8 {
        self.wire.get(2).map_or(0, |byte| byte >> 3 & 15)
    }

    /// QNAME and QTYPE as they stand in the message, if they do.
    pub(crate) fn asked(&self) -> Option<(Name, Rtype)> {
        let (qname, end) = Name::from_message(&self.wire, HEADER_SIZE).ok()?;
        let qtype = self.wire.get(end..end + 2)?;
        Some((qname, Rtype(u16::from_be_bytes([qtype[0], qtype[1]]))))
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Question {
            qname,
            qtype,
            qclass,
            flags,
            edns,
            options,
            ..
        } = &self.question;
        write!(
            f,
            "{:?} {:?} {qname} {qclass} {qtype}",
            self.transport, self.form
        )?;
        if *flags != 0 {
            write!(f, " flags={flags:04x}")?;
        }
        if let Some((size, version, flags)) = edns {
            write!(f, " edns={size},{version},{flags:04x}")?;
        }
        if !options.is_empty() {
            write!(f, " options={}", hex(options))?;
        }
        if !self.change.is_empty() {
            write!(f, " ({})", self.change)?;
        }
        write!(f, "\n  {}", hex(&self.wire))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn any_form(random: &mut Rng) -> Form {
    let all: u8 = FORMS.iter().map(|(_, weight)| weight).sum();
    let mut left = random.u8(..all);
    for (form, weight) in FORMS {
        match left.checked_sub(*weight) {
            Some(rest) => left = rest,
            None => return *form,
        }
    }
    unreachable!("the number is below the sum")
}

fn any_question(world: &World, random: &mut Rng) -> Question {
    let zone = &world.zones[random.usize(..world.zones.len())];
    let record = &zone.records[random.usize(..zone.records.len())];
    let qname = any_qname(world, &record.owner, random);
    let qtype = match random.u8(..4) {
        0 => record.rtype,
        _ => QTYPES[random.usize(..QTYPES.len())],
    };
    let mut question = Question::new(qname, qtype);
    question.flags = match random.u8(..4) {
        0 => 0,
        1 => RD,
        // RD, AD and CD in all combinations.
        _ => random.u16(..) & 0x0130,
    };
    question.edns = match random.u8(..10) {
        0..5 => None,
        5..8 => Some((1232, 0, 0x8000 * random.u16(..2))),
        _ => {
            let sizes = [0, 512, 513, 600, 800, 1232, 1400, 4096, 65_535];
            Some((*random.choice(&sizes).unwrap(), 0, 0x8000 * random.u16(..2)))
        }
    };
    question
}

/// A name that has to do with `owner`, or one to which something points.
fn any_qname(world: &World, owner: &Name, random: &mut Rng) -> Name {
    let mut name = match random.u8(..8) {
        0 => world.targets[random.usize(..world.targets.len())].clone(),
        // Perhaps an empty non-terminal, a cut or a DNAME.
        1 => owner.parent().unwrap_or_else(Name::root),
        2 => owner
            .parent()
            .and_then(|above| above.child(label(random)).ok())
            .unwrap_or_else(Name::root),
        3 if owner.is_wildcard() => owner.parent().expect("`*` is a label"),
        _ => owner.clone(),
    };
    let below = match random.u8(..10) {
        0..6 => 0,
        6..8 => 1,
        8 => 2,
        _ => 4,
    };
    for _ in 0..below {
        name = name.child(label(random)).unwrap_or(name);
    }
    if random.u8(..4) == 0 {
        name = mix_case(&name, random);
    }
    name
}

/// The same name to a resolver that checks whether its case comes back.
fn mix_case(name: &Name, random: &mut Rng) -> Name {
    let mut wire = name.as_wire().to_vec();
    for byte in wire.iter_mut().filter(|byte| byte.is_ascii_alphabetic()) {
        if random.bool() {
            *byte ^= 0x20;
        }
    }
    Name::from_wire(&wire).expect("length bytes are below 64 and so never letters")
}

/// Options that mean nothing to a server, or that it may leave out of account; each well formed.
fn any_options(random: &mut Rng) -> Vec<u8> {
    let mut options = Vec::new();
    for _ in 0..random.u8(..4) {
        let (code, size): (u16, u16) = match random.u8(..4) {
            0 => (3, 0),
            1 => (12, random.u16(..40)),
            2 => (65_001, random.u16(..40)),
            _ => (random.u16(20..), random.u16(..4)),
        };
        options.extend(code.to_be_bytes());
        options.extend(size.to_be_bytes());
        options.extend((0..size).map(|_| 0));
    }
    options
}
