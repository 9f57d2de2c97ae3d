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
        if response.header.counts[1] == 0 {
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
