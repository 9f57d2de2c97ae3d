//! What a server responded, taken apart into what can be compared.
//!
//! ```text
//! response │ silent, unreadable, or there
//! rcode    │ all twelve bits                    question │ to the byte
//! flags    │ all, AA, TC and CD each apart      opt      │ is there one, does it repeat DO
//! answer   │ RRsets in their order              authority│ RRsets
//! glue     │ of a referral: what a client cannot go on without
//! ```
//! The order of records in an RRset and the case of names mean nothing, nor does what else is in
//! the additional section: RFC 1034 section 4.3.2 step 6 says "attempt to add". That ours is true
//! and has all glue is checked apart, in `additional.rs`.

use std::fmt;
use tests::answer::Answer;
use tests::question::CD;
use tests::zone_text;
use zones::rdata::{self, Part};
use zones::rtype::Rtype;
use zones::{Name, Rcode, Rdata, Record};

/// What a server said.
#[derive(Clone)]
pub(crate) enum Reply {
    Silent,
    /// What could not be read, and why.
    Unreadable(String),
    Read(Box<Answer>),
    /// Several, of which each goes on where the one before leaves a zone: see `chain.rs`.
    Joined(Box<Answer>),
}

/// One side of a reply.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Aspect {
    Response,
    Rcode,
    Aa,
    Tc,
    Cd,
    Flags,
    Question,
    Opt,
    Answer,
    Authority,
    Glue,
}

/// All of them, those first on which others hang.
pub(crate) const ASPECTS: [Aspect; 11] = [
    Aspect::Response,
    Aspect::Rcode,
    Aspect::Aa,
    Aspect::Tc,
    Aspect::Cd,
    Aspect::Flags,
    Aspect::Question,
    Aspect::Opt,
    Aspect::Answer,
    Aspect::Authority,
    Aspect::Glue,
];

/// The answer is from the zone itself.
pub(crate) const AA: u16 = 0x0400;
/// The message was cut to fit.
pub(crate) const TC: u16 = 0x0200;

impl Reply {
    pub(crate) fn new(response: Option<&[u8]>) -> Self {
        match response.map(Answer::read) {
            None => Self::Silent,
            Some(Err(error)) => Self::Unreadable(error),
            Some(Ok(answer)) => Self::Read(Box::new(answer)),
        }
    }

    /// Something that is equal for replies that say the same; none if there is nothing to say.
    pub(crate) fn aspect(&self, aspect: Aspect) -> Option<String> {
        let answer = match (self, aspect) {
            (Self::Silent, Aspect::Response) => return Some("silence".to_owned()),
            (Self::Unreadable(why), Aspect::Response) => return Some(format!("unreadable: {why}")),
            (Self::Silent | Self::Unreadable(_), _) => return None,
            // As one message they might have been cut.
            (Self::Joined(_), Aspect::Tc) => return None,
            (Self::Read(answer) | Self::Joined(answer), _) => answer,
        };
        let flag = |flag| Some((answer.flags & flag != 0).to_string());
        // RFC 2181 section 9: a client ignores what is in a truncated response.
        let is_whole = answer.flags & TC == 0;
        let [answers, authority, additional] = &answer.sections;
        match aspect {
            Aspect::Response => Some("a response".to_owned()),
            Aspect::Rcode => Some(answer.rcode.to_string()),
            Aspect::Aa => flag(AA),
            Aspect::Tc => flag(TC),
            Aspect::Cd => flag(CD),
            Aspect::Flags => Some(flags(answer.flags)),
            Aspect::Question => Some(answer.question.clone().unwrap_or_default()),
            Aspect::Opt => Some(match &answer.opt {
                None => "no OPT".to_owned(),
                Some(opt) if opt.contains(" DO") => "OPT DO".to_owned(),
                Some(_) => "OPT".to_owned(),
            }),
            Aspect::Answer => is_whole.then(|| rrsets(answers).concat()),
            Aspect::Authority => is_whole.then(|| {
                let mut rrsets = rrsets(authority);
                rrsets.sort();
                rrsets.concat()
            }),
            Aspect::Glue => is_whole.then(|| glue(authority, additional)),
        }
    }

    pub(crate) fn answer(&self) -> Option<&Answer> {
        match self {
            Self::Read(answer) | Self::Joined(answer) => Some(answer),
            Self::Silent | Self::Unreadable(_) => None,
        }
    }

    pub(crate) fn rcode(&self) -> Option<Rcode> {
        self.answer().map(|answer| answer.rcode)
    }

    pub(crate) fn is_truncated(&self) -> bool {
        self.answer().is_some_and(|answer| answer.flags & TC != 0)
    }

    /// What kind of an answer it is, in the words of RFC 9499.
    pub(crate) fn kind(&self) -> &'static str {
        let Some(answer) = self.answer() else {
            return "no response";
        };
        let [answers, authority, _] = &answer.sections;
        let is_alias = answers.iter().any(|record| record.rtype == Rtype::CNAME);
        let is_referral = authority.iter().any(|record| record.rtype == Rtype::NS);
        match answer.rcode {
            _ if self.is_truncated() => "truncated",
            Rcode::NXDOMAIN if is_alias => "alias to NXDOMAIN",
            Rcode::NXDOMAIN => "NXDOMAIN",
            Rcode::NOERROR if is_alias && is_referral => "alias to referral",
            Rcode::NOERROR if is_referral => "referral",
            Rcode::NOERROR if is_alias => "alias",
            Rcode::NOERROR if answers.is_empty() => "NODATA",
            Rcode::NOERROR => "answer",
            _ => "error",
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => writeln!(f, "silence"),
            Self::Unreadable(why) => writeln!(f, "unreadable: {why}"),
            Self::Read(answer) => write!(f, "{answer}"),
            Self::Joined(answer) => write!(f, "joined: {answer}"),
        }
    }
}

/// Those that are no aspect of their own.
fn flags(flags: u16) -> String {
    let mut text = format!("opcode {}", flags >> 11 & 15);
    for (flag, name) in [
        (0x0100, "RD"),
        (0x0080, "RA"),
        (0x0040, "Z"),
        (0x0020, "AD"),
    ] {
        if flags & flag != 0 {
            text = text + " " + name;
        }
    }
    text
}

/// The RRsets of a section as text, in the order in which they begin.
fn rrsets(records: &[Record]) -> Vec<String> {
    let mut sets: Vec<(Name, Rtype, Vec<String>)> = Vec::new();
    for record in records {
        let line = canonical_line(record);
        let is_same = |set: &&mut (Name, Rtype, _)| set.0 == record.owner && set.1 == record.rtype;
        match sets.iter_mut().find(is_same) {
            Some((.., lines)) => lines.push(line),
            None => sets.push((record.owner.clone(), record.rtype, vec![line])),
        }
    }
    let texts = sets.into_iter().map(|(.., mut lines)| {
        lines.sort();
        lines.concat()
    });
    texts.collect()
}

/// Without the case of names (RFC 4343 section 3): a server may have them from elsewhere in the
/// message by compression, or keep none.
pub(crate) fn canonical_line(record: &Record) -> String {
    let mut lowered = record.clone();
    lowered.owner = record.owner.to_lowercase();
    let parts = rdata::parts(record.rtype, record.rdata.as_bytes());
    let parts = parts.map(|part| match part {
        Part::Name { wire, .. } => wire.to_ascii_lowercase(),
        Part::Bytes(bytes) => bytes.to_vec(),
    });
    lowered.rdata = Rdata::from_checked(parts.collect::<Vec<_>>().concat());
    zone_text::line(&lowered) + "\n"
}

/// The same, without the TTL of a signature: some servers have it from the file, some from what is
/// covered.
pub(crate) fn unlevelled_line(record: &Record) -> String {
    match record.rtype {
        Rtype::RRSIG => canonical_line(&Record {
            ttl: 0,
            ..record.clone()
        }),
        _ => canonical_line(record),
    }
}

/// RFC 9471 section 3.1: the addresses of servers whose names are in the delegated zone.
pub(crate) fn glue(authority: &[Record], additional: &[Record]) -> String {
    let delegation = || authority.iter().filter(|record| record.rtype == Rtype::NS);
    let is_host = |name: &Name| {
        delegation().any(|record| {
            let target = rdata::target(Rtype::NS, record.rdata.as_bytes());
            let host = target.and_then(|target| Name::from_wire(target).ok());
            host.is_some_and(|host| host == *name && host.is_at_or_below(&record.owner))
        })
    };
    let mut lines: Vec<String> = additional
        .iter()
        .filter(|record| matches!(record.rtype, Rtype::A | Rtype::AAAA) && is_host(&record.owner))
        .map(canonical_line)
        .collect();
    lines.sort();
    lines.concat()
}
