//! Reads the messages of a zone transfer, one by one, whichever form it takes.
//!
//! ```text
//! First ─SOA─┬─ not newer: UpToDate                    (RFC 1995 section 2)
//!            ├─▶ Whole ─SOA─▶ done                     (RFC 5936 section 2.2)
//!            └─▶ Second ─┬─ no SOA ─▶ Whole            (RFC 1995 section 4)
//!                        └─SOA─▶ Removed ─SOA─▶ Added ─SOA─▶ done
//!                                    ▲───────────SOA──┘
//! ```

use super::{Asks, IsFirst, Request, Step, TransferError, Transferred, read_record, serial_of};
use crate::admin::UPLOAD_SIZE_MAX;
use crate::tsig::outgoing::{Flaw, Known};
use std::time::Duration;
use zones::records::Records;
use zones::{Record, Rtype, Serial};

/// A transfer while it comes.
#[derive(Debug)]
pub struct Reader<'r> {
    request: &'r Request<'r>,
    known: Option<Known<'r>>,
    is_first: IsFirst,
    state: State,
    /// The serial of the first SOA.
    newest: Serial,
    records: Records,
    steps: Vec<Step>,
    /// What the records take, names written out.
    size: usize,
}

/// How far a transfer has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// There is more to come.
    More,
    /// It is complete.
    Complete,
}

/// What the next record may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// The SOA of the newest version.
    First,
    /// What tells a whole zone from a difference.
    Second,
    /// One of the whole zone.
    Whole,
    /// One that goes.
    Removed,
    /// One that comes.
    Added,
    /// None: all is there, and this is it.
    Complete(Form),
}

/// What came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    Nothing,
    Whole,
    Steps,
}

impl<'r> Reader<'r> {
    /// Reads the answer to this request for a transfer.
    #[must_use]
    pub fn new(request: &'r Request<'r>) -> Self {
        Self {
            request,
            known: request.known(),
            is_first: IsFirst::Yes,
            state: State::First,
            newest: Serial(0),
            records: Records::default(),
            steps: Vec::new(),
            size: 0,
        }
    }

    /// Takes the next message. After an error nothing more is to be taken.
    pub fn take(&mut self, message: &[u8], wall: Duration) -> Result<Progress, TransferError> {
        let request = self.request;
        let response = request.read(message, &mut self.known, self.is_first, wall)?;
        self.is_first = IsFirst::No;
        // RFC 5936 section 2.2: each message holds records. So none goes on without end for nothing.
        if response.header.counts()[1] == 0 {
            return Err(TransferError::Empty);
        }
        for raw in response.answers() {
            let record = read_record(message, &raw)?;
            self.size += record.owner.as_wire().len() + FIXED_SIZE + record.rdata.as_bytes().len();
            self.put(record)?;
            self.check_bounds()?;
        }
        let State::Complete(_) = self.state else {
            return Ok(Progress::More);
        };
        match &self.known {
            Some(known) if !known.is_last_signed() => Err(TransferError::NotSigned(Flaw::Unsigned)),
            _ => Ok(Progress::Complete),
        }
    }

    /// What came.
    pub fn finish(self) -> Result<Transferred, TransferError> {
        let State::Complete(form) = self.state else {
            return Err(TransferError::Incomplete);
        };
        Ok(match form {
            Form::Nothing => Transferred::UpToDate(self.newest),
            Form::Whole => Transferred::Whole {
                records: self.records,
                serial: self.newest,
            },
            Form::Steps => Transferred::Steps(self.steps),
        })
    }

    fn put(&mut self, record: Record) -> Result<(), TransferError> {
        // An SOA that stands elsewhere is for the checks of the zone to find.
        let is_soa = record.rtype == Rtype::SOA && record.owner == self.request.origin;
        let soa = is_soa.then(|| serial_of(&record));
        self.state = match (self.state, soa) {
            (State::First, None) => return Err(TransferError::NoFirstSoa),
            (State::First, Some(serial)) => {
                self.newest = serial;
                self.records.append(record.borrowed());
                match self.request.asks {
                    // RFC 1995 section 2: the SOA alone, if the client has the newest version.
                    Asks::Ixfr(held) if serial > held => State::Second,
                    Asks::Ixfr(_) => State::Complete(Form::Nothing),
                    Asks::Axfr | Asks::Soa => State::Whole,
                }
            }
            (State::Second, Some(serial)) if serial != self.newest => {
                let Asks::Ixfr(held) = self.request.asks else {
                    unreachable!("only a difference has a second SOA at once");
                };
                self.begin_step(held, serial, record)?;
                State::Removed
            }
            (State::Second | State::Whole, None) => {
                self.records.append(record.borrowed());
                State::Whole
            }
            (State::Second | State::Whole, Some(serial)) if serial == self.newest => {
                State::Complete(Form::Whole)
            }
            (State::Second | State::Whole, Some(last)) => {
                let first = self.newest;
                return Err(TransferError::Changed { first, last });
            }
            (State::Removed, None) => {
                self.step().removed.push(record);
                State::Removed
            }
            (State::Removed, Some(serial)) => {
                let step = self.step();
                step.to = serial;
                step.added.push(record);
                State::Added
            }
            (State::Added, None) => {
                self.step().added.push(record);
                State::Added
            }
            (State::Added, Some(serial)) => {
                let (newest, reached) = (self.newest, self.step().to);
                if reached == newest && serial == newest {
                    State::Complete(Form::Steps)
                } else {
                    self.begin_step(reached, serial, record)?;
                    State::Removed
                }
            }
            (State::Complete(_), _) => return Err(TransferError::Trailing),
        };
        Ok(())
    }

    fn begin_step(
        &mut self,
        expected: Serial,
        found: Serial,
        soa: Record,
    ) -> Result<(), TransferError> {
        if found != expected {
            return Err(TransferError::Gap { expected, found });
        }
        self.steps.push(Step {
            from: found,
            to: found,
            removed: vec![soa],
            added: Vec::new(),
        });
        Ok(())
    }

    fn step(&mut self) -> &mut Step {
        self.steps.last_mut().expect("a step has begun")
    }

    fn check_bounds(&self) -> Result<(), TransferError> {
        let is_difference = !self.steps.is_empty();
        if is_difference && (self.size > DIFFERENCE_SIZE_MAX || self.steps.len() > STEPS_MAX) {
            return Err(TransferError::DifferenceTooLarge);
        }
        if self.size > ZONE_SIZE_MAX || self.records.len() > RECORDS_MAX {
            return Err(TransferError::ZoneTooLarge);
        }
        Ok(())
    }
}

/// What a record takes beside owner and RDATA (RFC 1035 section 3.2.1).
const FIXED_SIZE: usize = 10;
/// No larger zone is imported, or spread to other peers.
const ZONE_SIZE_MAX: usize = UPLOAD_SIZE_MAX;
/// What is kept of a record beside its bytes takes about as much again as the smallest ones.
const RECORDS_MAX: usize = 1 << 25;
/// Each record of a difference takes several times its size in memory; a larger difference is better
/// told by the whole zone.
const DIFFERENCE_SIZE_MAX: usize = 256 << 20;
/// A day of one change a second, and some; above it the whole zone is the shorter way.
const STEPS_MAX: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::header::HEADER_SIZE;
    use crate::tsig::outgoing::sign;
    use crate::tsig::{Key, Secret};
    use zones::{Name, Version};

    const WALL: Duration = Duration::from_secs(1_700_000_000);
    const ID: u16 = 0x1234;

    fn origin() -> Name {
        "Test.".parse().unwrap()
    }

    /// `S7` is the SOA with serial 7, `a1` the address 192.0.2.1 of `a.test.`.
    fn record(word: &str) -> Vec<u8> {
        let (letter, number) = word.split_at(1);
        let number: u32 = number.parse().unwrap();
        let (owner, rtype, rdata) = match letter {
            "S" => {
                let names = b"\x02ns\x04test\x00\x00";
                let rdata = [&names[..], &number.to_be_bytes(), &[0; 16]].concat();
                (b"\x04TEST\x00".to_vec(), 6, rdata)
            }
            letter => {
                let owner = [b"\x01", letter.as_bytes(), b"\x04test\x00"].concat();
                (owner, 1, vec![192, 0, 2, number as u8])
            }
        };
        let fixed = [0, rtype, 0, 1, 0, 0, 0, 60, 0, rdata.len() as u8];
        [owner, fixed.to_vec(), rdata].concat()
    }

    /// A message of an answer; the first has the question.
    fn message(request: &Request<'_>, words: &str, is_first: bool) -> Vec<u8> {
        let records: Vec<Vec<u8>> = words.split_whitespace().map(record).collect();
        let mut message = request.message[..HEADER_SIZE].to_vec();
        message[2] = 0x84;
        message[5] = u8::from(is_first);
        message[7] = records.len() as u8;
        message[8..].fill(0);
        if is_first {
            let question = HEADER_SIZE + origin().as_wire().len() + 4;
            message.extend_from_slice(&request.message[HEADER_SIZE..question]);
        }
        message.extend(records.concat());
        message
    }

    fn word(record: &Record) -> String {
        match record.rtype {
            Rtype::SOA => format!("S{}", serial_of(record)),
            _ => {
                let owner = record.owner.to_string();
                format!("{}{}", &owner[..1], record.rdata.as_bytes()[3])
            }
        }
    }

    fn words(records: &[Record]) -> String {
        let words: Vec<String> = records.iter().map(word).collect();
        words.join(" ")
    }

    fn text(transferred: Transferred) -> String {
        match transferred {
            Transferred::UpToDate(serial) => format!("nothing but {serial}"),
            Transferred::Whole { records, serial } => {
                let records: Vec<Record> = records.iter().map(|it| it.to_record()).collect();
                format!("whole {serial}: {}", words(&records))
            }
            Transferred::Steps(steps) => {
                let steps: Vec<String> = (steps.iter())
                    .map(|step| {
                        let Step { from, to, .. } = step;
                        let (removed, added) = (words(&step.removed), words(&step.added));
                        format!("{from} to {to}: -{removed} +{added}")
                    })
                    .collect();
                steps.join("; ")
            }
        }
    }

    /// What comes of messages, the last of which completes it.
    fn read(request: &Request<'_>, messages: &[Vec<u8>]) -> Result<Transferred, TransferError> {
        let mut reader = Reader::new(request);
        for (at, message) in messages.iter().enumerate() {
            let progress = reader.take(message, WALL)?;
            let is_last = at + 1 == messages.len();
            assert!(
                is_last || progress == Progress::More,
                "it goes on after {at}"
            );
        }
        reader.finish()
    }

    fn request(held: Option<u32>) -> Request<'static> {
        let Some(held) = held else {
            return Request::axfr(&origin(), ID);
        };
        let soa = record("S0");
        let soa = Record {
            owner: origin(),
            rtype: Rtype::SOA,
            ttl: 60,
            rdata: zones::Rdata::from_checked(&soa[16..]),
        };
        let version = Version::from_records(&origin(), &[soa]).unwrap();
        Request::ixfr(&version, Serial(held), ID).unwrap()
    }

    #[test]
    fn a_transfer_is_read_in_whichever_form_it_comes() {
        // The serial that is held, if a difference is asked for; the messages; what comes of them.
        let check = |held: Option<u32>, messages: &str, expected: &str| {
            let request = request(held);
            let parts = messages.split('|').enumerate();
            let messages: Vec<_> = parts
                .map(|(at, words)| message(&request, words, at == 0))
                .collect();
            let found = read(&request, &messages);
            let found = found.map_or_else(|error| error.to_string(), text);
            assert_eq!(found, expected, "{held:?} {messages:?}");
        };
        let incomplete = "the transfer ends without its last SOA";
        let trailing = "records follow the last SOA of the transfer";
        let no_first = "the transfer does not begin with the SOA of the zone";
        let empty = "a message of its answer has no records";

        check(None, "S7 a1 b2 S7", "whole 7: S7 a1 b2");
        check(None, "S7 | a1 | b2 a1 | S7", "whole 7: S7 a1 b2 a1");
        check(None, "S7 S7", "whole 7: S7");
        check(None, "S7", incomplete);
        check(None, "S7 a1 | b2", incomplete);
        check(None, "a1 S7", no_first);
        check(None, "", empty);
        check(None, "S7 a1 | | S7", empty);
        check(None, "S7 a1 S7 b2", trailing);
        let changed = "the transfer begins with serial 7 and ends with 8";
        check(None, "S7 a1 S8", changed);

        check(Some(7), "S7", "nothing but 7");
        check(Some(7), "S6", "nothing but 6");
        check(Some(7), "S7 a1", trailing);
        check(
            Some(u32::MAX),
            "S1 S4294967295 S1 a1 S1",
            "4294967295 to 1: -S4294967295 +S1 a1",
        );
        check(Some(0), "S2147483648", "nothing but 2147483648");
        check(Some(7), "S8 S7 a1 S8 a2 S8", "7 to 8: -S7 a1 +S8 a2");
        check(
            Some(7),
            "S9 | S7 a1 | S8 | a2 S8 | S9 b1 | S9",
            "7 to 8: -S7 a1 +S8 a2; 8 to 9: -S8 +S9 b1",
        );
        check(Some(7), "S9 S7 S8 a2 S8 S9 b1 S9 a1", trailing);
        check(Some(7), "S9 S7 S8 a2 S8 S9 b1", incomplete);
        check(
            Some(7),
            "S9 S7 S8 a2 | S9",
            "a sequence of the difference begins at serial 9, expected 8",
        );
        check(
            Some(7),
            "S9 S6 S9 S9",
            "a sequence of the difference begins at serial 6, expected 7",
        );
        check(
            Some(7),
            "S9 S7 S9 a1 S10",
            "a sequence of the difference begins at serial 10, expected 9",
        );

        // The whole zone where a difference was asked for.
        check(Some(7), "S9 a1 S9", "whole 9: S9 a1");
        check(Some(7), "S9 | a1 | S9", "whole 9: S9 a1");
        check(Some(7), "S9 S9", "whole 9: S9");
        check(
            Some(7),
            "S9 a1 S8",
            "the transfer begins with serial 9 and ends with 8",
        );
        check(Some(7), "S9", incomplete);
    }

    #[test]
    fn a_message_that_is_no_answer_is_an_error() {
        let check = |change: &dyn Fn(&mut Vec<u8>), expected: &str| {
            let request = request(None);
            let mut message = message(&request, "S7 a1 S7", true);
            change(&mut message);
            let found = read(&request, &[message]);
            let found = found.map_or_else(|error| error.to_string(), text);
            assert_eq!(found, expected);
        };
        let unasked = "its answer is one to another request";
        let malformed = "its answer cannot be read";
        check(&|_| {}, "whole 7: S7 a1");
        // RFC 5936 section 2.2.1: whether AA is set is not looked at.
        check(&|message| message[2] = 0x80, "whole 7: S7 a1");
        check(&|message| message[0] ^= 1, unasked);
        check(&|message| message[2] = 0x04, unasked);
        check(&|message| message[2] = 0xa4, unasked);
        check(&|message| message[13] ^= 1, unasked);
        check(&|message| message[19] ^= 1, unasked);
        check(&|message| message[2] |= 2, "its answer is cut short");
        check(&|message| message[3] = 5, "the primary answers REFUSED");
        check(&|message| message.truncate(HEADER_SIZE - 1), malformed);
        check(&|message| message.truncate(50), malformed);
        check(&|message| message.push(0), malformed);
        check(&|message| message[5] = 0, malformed);
        let class = |message: &mut Vec<u8>| message[22 + 6 + 3] = 3;
        check(&class, "it sends TEST. SOA: the class is not IN");
        let rtype = |message: &mut Vec<u8>| message[22 + 6 + 1] = 255;
        check(
            &rtype,
            "it sends TEST. ANY: no zone has records of this type",
        );
        let a = |message: &mut Vec<u8>| message[22 + 6 + 1] = 1;
        check(&a, "it sends TEST. A: bytes follow the last field");
        // An error without the question, as some answer what they do not understand.
        let bare = |message: &mut Vec<u8>| {
            message.truncate(HEADER_SIZE);
            message[3] = 1;
            message[4..].fill(0);
        };
        check(&bare, "the primary answers FORMERR");
    }

    #[test]
    fn an_answer_is_signed_from_its_first_message_to_its_last() {
        let key = Key {
            name: "key.test".parse().unwrap(),
            method: "hmac-sha256".parse().unwrap(),
            secret: Secret::new(b"secret".to_vec()).unwrap(),
        };
        let request = request(None).signed(&key, WALL);
        let unsigned = "its answer is not signed as it should be: its first or last message has no \
                        signature";
        let check = |messages: &[Vec<u8>], expected: &str| {
            let found = read(&request, messages);
            let found = found.map_or_else(|error| error.to_string(), text);
            assert_eq!(found, expected);
        };
        check(&[message(&request, "S7 a1 S7", true)], unsigned);
        // What is signed like a request is no answer to it.
        let mut other = message(&request, "S7 a1 S7", true);
        sign(&mut other, &key, WALL);
        let wrong = "its answer is not signed as it should be: the MAC is not that of the message; \
                     the secrets may differ";
        check(&[other], wrong);
        let mut refused = message(&request, "", true);
        sign(&mut refused, &key, WALL);
        refused[3] = 9;
        let error_at = refused.len() - 3;
        refused[error_at] = 17;
        let error = "the primary does not take our signature: BADKEY: it does not know the key, or \
                     not with this algorithm";
        check(&[refused], error);
    }

    #[test]
    fn what_is_endless_ends_at_a_bound() {
        let ends = |held: Option<u32>, first: &str, words: &str, size: usize| {
            let request = request(held);
            let mut reader = Reader::new(&request);
            reader.take(&message(&request, first, true), WALL).unwrap();
            // So that the test does not take what it is about.
            reader.size = size - 100_000;
            let mut more = message(&request, words, false);
            let record = more[HEADER_SIZE..].to_vec();
            (0..254).for_each(|_| more.extend_from_slice(&record));
            more[7] = 255;
            let mut taken = 0;
            loop {
                taken += 1;
                assert!(taken < 100);
                if let Err(error) = reader.take(&more, WALL) {
                    return error;
                }
            }
        };
        let zone = ends(None, "S7", "a1", ZONE_SIZE_MAX);
        assert_eq!(zone, TransferError::ZoneTooLarge);
        let difference = ends(Some(6), "S7 S6", "a1", DIFFERENCE_SIZE_MAX);
        assert_eq!(difference, TransferError::DifferenceTooLarge);
        let request = request(Some(0));
        let mut reader = Reader::new(&request);
        let newest = format!("S{}", STEPS_MAX + 9);
        reader
            .take(&message(&request, &newest, true), WALL)
            .unwrap();
        let error = (0..=STEPS_MAX).find_map(|at| {
            let words = format!("S{at} S{}", at + 1);
            reader.take(&message(&request, &words, false), WALL).err()
        });
        assert_eq!(error, Some(TransferError::DifferenceTooLarge));
    }
}
