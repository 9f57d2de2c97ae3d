//! Zone transfers that we ask servers outside for: the SOA (RFC 1034 section 4.3.5), the whole zone
//! (AXFR, RFC 5936) or a difference (IXFR, RFC 1995), signed if there is a key (RFC 8945).
//!
//! ```text
//! Request ─▶ primary ─messages─▶ Reader ─▶ Transferred ─ make ─▶ the zone: a version and its serial
//!     └─ read_soa ◀─ one message                 UpToDate, Whole, Steps
//! ```
//! All of it is pure. Which primary is asked when, and what becomes of the zone, is decided
//! elsewhere.

mod reader;

pub use reader::{Progress, Reader};

use crate::message::header::{AA, HEADER_SIZE, TC};
use crate::message::request::RawRecord;
use crate::message::{Opcode, Response};
use crate::tsig::Key;
use crate::tsig::outgoing::{Flaw, Known, sign};
use std::fmt;
use std::time::Duration;
use zones::check::{build_unplaced, check_difference};
use zones::rdata::{soa_serial, soa_serial_offset};
use zones::record::TTL_MAX;
use zones::records::Records;
use zones::rtype::Class;
use zones::workers::OneWorker;
use zones::{DifferenceError, Name, Rcode, Record, Rtype, Serial, Version, rdata};

/// A request, and by what its answer is known.
#[derive(Clone, Debug)]
pub struct Request<'k> {
    /// What is sent.
    pub message: Vec<u8>,
    origin: Name,
    asks: Asks,
    key: Option<&'k Key>,
    /// The MAC that it was signed with; empty if it was not.
    mac: Box<[u8]>,
}

/// What a request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asks {
    Soa,
    Axfr,
    /// From what we hold.
    Ixfr(Serial),
}

/// What a transfer came to.
#[derive(Clone, Debug)]
pub enum Transferred {
    /// The primary has nothing newer than what we hold: this serial.
    UpToDate(Serial),
    /// The whole zone.
    Whole {
        /// Its records as they came, the SOA once.
        records: Records,
        /// Its serial.
        serial: Serial,
    },
    /// What led from what we hold to what there is, at least one step, each beginning where the one
    /// before it ended.
    Steps(Vec<Step>),
}

/// One sequence of a difference, the SOA that goes and the one that comes first among the records.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// The serial before.
    pub from: Serial,
    /// The serial after.
    pub to: Serial,
    /// What goes.
    pub removed: Vec<Record>,
    /// What comes.
    pub added: Vec<Record>,
}

/// A zone that was transferred.
#[derive(Clone, Debug)]
pub struct Made {
    /// The zone.
    pub version: Version,
    /// Its serial.
    pub serial: Serial,
}

/// Why a transfer makes no zone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TransferError {
    /// A message cannot be read.
    Malformed,
    /// A message is no response, or one to another request.
    Unasked,
    /// The message was cut to fit.
    Truncated,
    /// The primary answers with an error.
    Refused(Rcode),
    /// It does not take our signature: this error (RFC 8945 section 3).
    KeyRefused(u16),
    /// Its answer is not signed as it should be.
    NotSigned(Flaw),
    /// It is not authoritative for the zone.
    NotAuthoritative,
    /// It knows no SOA of the zone.
    NoSoa,
    /// A record cannot be one of a zone, for this reason.
    Record(Name, Rtype, String),
    /// A message has no records.
    Empty,
    /// The first record is not the SOA of the zone.
    NoFirstSoa,
    /// It ends before its last record.
    Incomplete,
    /// The SOA at the end is not the one at the beginning: the zone has changed meanwhile.
    Changed {
        /// The serial at the beginning.
        first: Serial,
        /// That at the end.
        last: Serial,
    },
    /// A sequence of a difference does not begin where the one before it ended.
    Gap {
        /// Where it should begin.
        expected: Serial,
        /// Where it does.
        found: Serial,
    },
    /// Records follow the last one.
    Trailing,
    /// The zone is larger than any that is imported.
    ZoneTooLarge,
    /// The difference is larger than is worth it.
    DifferenceTooLarge,
    /// It is a difference, and what we hold is not what the primary believes.
    DoesNotFit(DifferenceError),
    /// The zone cannot be served, for this reason.
    Rejected(String),
}

impl<'k> Request<'k> {
    /// Asks for the SOA.
    #[must_use]
    pub fn soa(origin: &Name, id: u16) -> Self {
        Self::new(origin, id, Asks::Soa)
    }

    /// Asks for the whole zone.
    #[must_use]
    pub fn axfr(origin: &Name, id: u16) -> Self {
        Self::new(origin, id, Asks::Axfr)
    }

    /// Asks for the difference from what we hold; none if that has no SOA.
    #[must_use]
    pub fn ixfr(held: &Version, serial: Serial, id: u16) -> Option<Self> {
        let soa = held.apex().rrset(Rtype::SOA)?;
        let mut rdata = soa.rdata().next()?.to_vec();
        let at = soa_serial_offset(&rdata)?;
        rdata[at..at + 4].copy_from_slice(&serial.0.to_be_bytes());
        let mut request = Self::new(held.origin(), id, Asks::Ixfr(serial));
        // RFC 1995 section 3: the SOA that we hold is in the authority section.
        let message = &mut request.message;
        message[9] = 1;
        message.extend_from_slice(&[0xc0, HEADER_SIZE as u8]);
        message.extend_from_slice(&Rtype::SOA.0.to_be_bytes());
        message.extend_from_slice(&Class::IN.0.to_be_bytes());
        message.extend_from_slice(&soa.ttl().to_be_bytes());
        message.extend_from_slice(&(rdata.len() as u16).to_be_bytes());
        message.extend_from_slice(&rdata);
        Some(request)
    }

    fn new(origin: &Name, id: u16, asks: Asks) -> Self {
        let [id, id_low] = id.to_be_bytes();
        let mut message = vec![id, id_low, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        message.extend_from_slice(origin.as_wire());
        message.extend_from_slice(&asks.qtype().0.to_be_bytes());
        message.extend_from_slice(&Class::IN.0.to_be_bytes());
        Self {
            message,
            origin: origin.clone(),
            asks,
            key: None,
            mac: Box::default(),
        }
    }

    /// The same, signed.
    #[must_use]
    pub fn signed(mut self, key: &'k Key, wall: Duration) -> Self {
        self.mac = sign(&mut self.message, key, wall);
        self.key = Some(key);
        self
    }

    /// The serial that the answer to a request for the SOA says.
    pub fn read_soa(&self, message: &[u8], wall: Duration) -> Result<Serial, TransferError> {
        let response = self.read(message, &mut self.known(), IsFirst::Yes, wall)?;
        // A server that has the SOA from elsewhere may have an old one.
        if response.header.flags() & AA == 0 {
            return Err(TransferError::NotAuthoritative);
        }
        for raw in response.answers() {
            if raw.rtype == Rtype::SOA {
                let record = read_record(message, &raw)?;
                if record.owner == self.origin {
                    return Ok(serial_of(&record));
                }
            }
        }
        Err(TransferError::NoSoa)
    }

    /// By what the messages of its answer are known.
    fn known(&self) -> Option<Known<'k>> {
        self.key.map(|key| Known::new(key, self.mac.clone()))
    }

    /// Reads a message of the answer as far as all messages are alike.
    fn read<'m>(
        &self,
        message: &'m [u8],
        known: &mut Option<Known<'_>>,
        is_first: IsFirst,
        wall: Duration,
    ) -> Result<Response<'m>, TransferError> {
        let malformed = |_| TransferError::Malformed;
        let response = Response::read(message).map_err(malformed)?;
        let header = response.header;
        if header.id().to_be_bytes() != self.message[..2]
            || !header.is_response()
            || header.opcode() != Opcode::QUERY
        {
            return Err(TransferError::Unasked);
        }
        // An error ends the transfer, whoever says so: what it says needs no proof.
        let rcode = Rcode(header.flags() & 15);
        let error = response.tsig().map_or(0, |tsig| tsig.error);
        if rcode == Rcode::NOTAUTH && error != 0 {
            return Err(TransferError::KeyRefused(error));
        }
        if rcode != Rcode::NOERROR {
            return Err(TransferError::Refused(rcode));
        }
        if let Some(known) = known {
            let taken = known.take(&response, wall);
            taken.map_err(TransferError::NotSigned)?;
        }
        match response.question {
            Some(question)
                if question.qname != self.origin.borrowed()
                    || question.qtype != self.asks.qtype()
                    || question.qclass != Class::IN =>
            {
                return Err(TransferError::Unasked);
            }
            Some(_) => {}
            // RFC 5936 section 2.2.1: the first message has it, later ones may.
            None if is_first == IsFirst::Yes => return Err(TransferError::Malformed),
            None => {}
        }
        if header.flags() & TC != 0 {
            return Err(TransferError::Truncated);
        }
        Ok(response)
    }
}

/// Whether a message is the first one of its answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum IsFirst {
    Yes,
    No,
}

impl Asks {
    fn qtype(self) -> Rtype {
        match self {
            Self::Soa => Rtype::SOA,
            Self::Axfr => Rtype::AXFR,
            Self::Ixfr(_) => Rtype::IXFR,
        }
    }
}

impl Transferred {
    /// The zone as it is after the transfer, checked as one that is imported; none if nothing came.
    /// `held` is what a difference was asked from.
    pub fn make(
        self,
        origin: &Name,
        held: Option<&Version>,
    ) -> Result<Option<Made>, TransferError> {
        let rejected = |rejected: zones::zonefile::Rejected| {
            let first = rejected.errors.into_iter().next();
            TransferError::Rejected(first.map_or_else(String::new, |error| error.message))
        };
        match self {
            Self::UpToDate(_) => Ok(None),
            Self::Whole { records, serial } => {
                let built = build_unplaced(origin, records, &OneWorker).map_err(rejected)?;
                let version = match held {
                    Some(held) => built.version.onto(held),
                    None => built.version,
                };
                Ok(Some(Made { version, serial }))
            }
            Self::Steps(steps) => {
                let held = held.expect("a difference is asked from what is held");
                let mut version = held.clone();
                let mut serial = None;
                for step in steps {
                    version = version
                        .with_difference(&step.removed, &step.added)
                        .map_err(TransferError::DoesNotFit)?;
                    serial = Some(step.to);
                }
                check_difference(held, &version).map_err(rejected)?;
                Ok(serial.map(|serial| Made { version, serial }))
            }
        }
    }
}

/// Reads a record with its names written out.
fn read_record(message: &[u8], raw: &RawRecord<'_>) -> Result<Record, TransferError> {
    let (owner, _) =
        Name::from_message(message, raw.owner_at).map_err(|_| TransferError::Malformed)?;
    let rtype = raw.rtype;
    let fault = |cause: String| TransferError::Record(owner.clone(), rtype, cause);
    if raw.class != Class::IN.0 {
        return Err(fault("the class is not IN".to_owned()));
    }
    if rtype.is_meta() {
        return Err(fault("no zone has records of this type".to_owned()));
    }
    let range = raw.rdata_at..raw.rdata_at + raw.rdata.len();
    let rdata = rdata::from_message(rtype, message, range);
    let rdata = rdata.map_err(|error| fault(error.to_string()))?;
    Ok(Record {
        owner,
        rtype,
        // RFC 2181 section 8: a TTL with the top bit set is 0.
        ttl: if raw.ttl > TTL_MAX { 0 } else { raw.ttl },
        rdata,
    })
}

/// The serial of a record that is an SOA.
fn serial_of(soa: &Record) -> Serial {
    soa_serial(soa.rdata.as_bytes()).expect("the RDATA is checked")
}

impl fmt::Display for TransferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("its answer cannot be read"),
            Self::Unasked => f.write_str("its answer is one to another request"),
            Self::Truncated => f.write_str("its answer is cut short"),
            Self::Refused(rcode) => write!(f, "the primary answers {rcode}"),
            Self::KeyRefused(error) => {
                let cause = match *error {
                    16 => "BADSIG: the secrets of the key differ",
                    17 => "BADKEY: it does not know the key, or not with this algorithm",
                    18 => "BADTIME: its clock differs from ours",
                    22 => "BADTRUNC: it wants more of the MAC",
                    _ => {
                        return write!(f, "the primary does not take our signature: error {error}");
                    }
                };
                write!(f, "the primary does not take our signature: {cause}")
            }
            Self::NotSigned(flaw) => write!(f, "its answer is not signed as it should be: {flaw}"),
            Self::NotAuthoritative => f.write_str("the primary is not authoritative for the zone"),
            Self::NoSoa => f.write_str("the primary knows no SOA of the zone"),
            Self::Record(owner, rtype, cause) => write!(f, "it sends {owner} {rtype}: {cause}"),
            Self::Empty => f.write_str("a message of its answer has no records"),
            Self::NoFirstSoa => f.write_str("the transfer does not begin with the SOA of the zone"),
            Self::Incomplete => f.write_str("the transfer ends without its last SOA"),
            Self::Changed { first, last } => write!(
                f,
                "the transfer begins with serial {first} and ends with {last}"
            ),
            Self::Gap { expected, found } => write!(
                f,
                "a sequence of the difference begins at serial {found}, expected {expected}"
            ),
            Self::Trailing => f.write_str("records follow the last SOA of the transfer"),
            Self::ZoneTooLarge => f.write_str("the zone is too large"),
            Self::DifferenceTooLarge => f.write_str("the difference is too large"),
            Self::DoesNotFit(error) => write!(f, "the difference does not fit: {error}"),
            Self::Rejected(cause) => write!(f, "the zone cannot be served: {cause}"),
        }
    }
}

impl std::error::Error for TransferError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Header, Request as Read};
    use crate::tsig::{Keys, Secret, Verdict, verify};
    use zones::Rdata;

    const WALL: Duration = Duration::from_secs(1_700_000_000);

    fn origin() -> Name {
        "Test.".parse().unwrap()
    }

    fn soa(serial: u8) -> Record {
        let rdata = [&b"\x02ns\x00\x00\0\0\0"[..], &[serial], &[0; 16]];
        Record {
            owner: origin(),
            rtype: Rtype::SOA,
            ttl: 60,
            rdata: Rdata::from_checked(rdata.concat()),
        }
    }

    #[test]
    fn requests_ask_for_what_they_are_named_after() {
        let key = Key {
            name: "key.test".parse().unwrap(),
            method: "hmac-sha256".parse().unwrap(),
            secret: Secret::new(b"secret".to_vec()).unwrap(),
        };
        let keys: Keys = [key.clone()].into_iter().collect();
        let held = Version::from_records(&origin(), &[soa(7)]).unwrap();
        let ixfr = Request::ixfr(&held, Serial(9), 3).unwrap();
        let all = [
            (Request::soa(&origin(), 1), Rtype::SOA, None),
            (Request::axfr(&origin(), 2), Rtype::AXFR, None),
            (ixfr, Rtype::IXFR, Some(soa(9))),
        ];
        for ((request, qtype, expected), id) in all.into_iter().zip(1..) {
            let request = request.signed(&key, WALL);
            let message = &request.message;
            let read = Read::read(message, Header::read(message).unwrap()).unwrap();
            assert_eq!((read.header.id(), read.header.flags()), (id, 0));
            assert_eq!(read.question.qname, origin().borrowed());
            assert_eq!(read.question.qtype, qtype);
            let soa = read.first_authority();
            let soa = soa.map(|raw| read_record(message, &raw).unwrap());
            assert_eq!(soa, expected);
            let verdict = verify(message, &read.tsig().unwrap(), &keys, WALL);
            assert!(matches!(verdict, Verdict::Good(_)), "{verdict:?}");
        }
        let empty = Version::from_records(&origin(), &[]).unwrap();
        assert!(Request::ixfr(&empty, Serial(9), 3).is_none());
    }

    #[test]
    fn a_serial_is_told_by_who_is_authoritative() {
        let request = Request::soa(&origin(), 1);
        // Flags, RCODE, the records of the answer section.
        let check = |flags: u8, rcode: u8, records: &[&Record], expected: Result<u32, &str>| {
            let mut message = request.message.clone();
            (message[2], message[3]) = (flags, rcode);
            message[7] = records.len() as u8;
            for record in records {
                crate::zone_data::encode_record(record, &mut message);
            }
            let found = request.read_soa(&message, WALL);
            let found = found.map(|serial| serial.0).map_err(|it| it.to_string());
            assert_eq!(found, expected.map_err(str::to_owned));
        };
        let other = Record {
            owner: "other.".parse().unwrap(),
            ..soa(8)
        };
        check(0x84, 0, &[&soa(7)], Ok(7));
        check(0x84, 0, &[&other, &soa(7)], Ok(7));
        check(
            0x84,
            0,
            &[&other],
            Err("the primary knows no SOA of the zone"),
        );
        check(0x84, 0, &[], Err("the primary knows no SOA of the zone"));
        let not = Err("the primary is not authoritative for the zone");
        check(0x80, 0, &[&soa(7)], not);
        check(0x86, 0, &[&soa(7)], Err("its answer is cut short"));
        check(0x84, 2, &[], Err("the primary answers SERVFAIL"));
    }
}
