//! A secondary in the test itself: it follows a zone by IXFR, from whichever server it is told to
//! ask, and keeps count of how it came to what it holds.

use crate::answer::Answer;
use crate::question::Question;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use zones::rdata::{canonical, soa_serial};
use zones::rtype::Rtype;
use zones::{Name, Rcode, Record, Serial};

/// How long a server may take for each message.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A record without its TTL: owner in lower case, type, RDATA in canonical form.
type Identity = (Vec<u8>, u16, Vec<u8>);

/// What a secondary holds of a zone.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Follower {
    serial: Option<Serial>,
    records: BTreeMap<Identity, u32>,
    soa: Vec<u8>,
    /// How many transfers brought the whole zone.
    pub whole: u32,
    /// How many brought a difference.
    pub differences: u32,
}

/// What a transfer came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Came {
    /// There is nothing newer.
    Nothing,
    /// The whole zone.
    Whole,
    /// A difference.
    Difference,
}

impl Follower {
    /// Asks a server for what is newer.
    pub fn follow(&mut self, server: SocketAddr, origin: &Name) -> Came {
        let mut question = Question::new(origin.clone(), Rtype::AXFR);
        if let Some(serial) = self.serial {
            question.qtype = Rtype::IXFR;
            question.serial = Some(serial.0);
        }
        let records = transfer(server, &question);
        let newest = serial_of(&records[0]).expect("a transfer begins with the SOA");
        let came = match records.get(1) {
            None => Came::Nothing,
            Some(second) if question.qtype == Rtype::IXFR && second.rtype == Rtype::SOA => {
                self.apply(&records);
                self.differences += 1;
                Came::Difference
            }
            Some(_) => {
                self.records.clear();
                for record in &records[1..records.len() - 1] {
                    self.add(record);
                }
                self.whole += 1;
                Came::Whole
            }
        };
        if came != Came::Nothing {
            self.serial = Some(newest);
            self.soa = records[0].rdata.as_bytes().to_vec();
        }
        came
    }

    /// The serial that it holds.
    #[must_use]
    pub fn serial(&self) -> Option<u32> {
        self.serial.map(|serial| serial.0)
    }

    /// What it holds, for comparison.
    #[must_use]
    pub fn content(&self) -> (&[u8], &BTreeMap<Identity, u32>) {
        (&self.soa, &self.records)
    }

    /// RFC 1995 section 4: sequences of what goes, framed by the SOA before, and what comes, by the
    /// SOA after.
    fn apply(&mut self, records: &[Record]) {
        let body = &records[1..records.len() - 1];
        let mut at = 0;
        while at < body.len() {
            let before = serial_of(&body[at]);
            assert_eq!(
                before, self.serial,
                "a sequence begins where the one before it ended"
            );
            let part = |from: usize| {
                let rest = &body[from + 1..];
                let size = rest.iter().take_while(|record| record.rtype != Rtype::SOA);
                from + 1 + size.count()
            };
            let after_at = part(at);
            let end = part(after_at);
            for record in &body[at + 1..after_at] {
                let ttl = self.records.remove(&identity(record));
                assert_eq!(ttl, Some(record.ttl), "what goes was there: {record:?}");
            }
            for record in &body[after_at + 1..end] {
                self.add(record);
            }
            self.serial = serial_of(&body[after_at]);
            at = end;
        }
        assert_eq!(
            self.serial,
            serial_of(&records[0]),
            "the last one leads to the newest"
        );
    }

    fn add(&mut self, record: &Record) {
        let before = self.records.insert(identity(record), record.ttl);
        assert_eq!(before, None, "what comes was not there: {record:?}");
    }
}

/// All records of a transfer.
fn transfer(server: SocketAddr, question: &Question) -> Vec<Record> {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    let message = question.to_wire();
    let framed = [&(message.len() as u16).to_be_bytes()[..], &message].concat();
    stream.write_all(&framed).unwrap();
    let mut records: Vec<Record> = Vec::new();
    loop {
        let mut size = [0; 2];
        stream.read_exact(&mut size).unwrap();
        let mut message = vec![0; usize::from(u16::from_be_bytes(size))];
        stream.read_exact(&mut message).unwrap();
        let answer = Answer::read(&message).unwrap();
        assert_eq!(answer.rcode, Rcode::NOERROR, "{answer}");
        records.extend(answer.sections.into_iter().next().unwrap());
        if is_complete(&records, question) {
            return records;
        }
    }
}

/// The newest SOA stands at both ends, and in a difference before what comes last.
fn is_complete(records: &[Record], question: &Question) -> bool {
    let newest = serial_of(&records[0]);
    if question.serial.is_some() && newest.map(|serial| serial.0) == question.serial {
        return true;
    }
    let count = records.iter().filter(|record| serial_of(record) == newest);
    let is_difference = records
        .get(1)
        .is_some_and(|record| record.rtype == Rtype::SOA);
    count.count() == if is_difference { 3 } else { 2 }
}

fn serial_of(record: &Record) -> Option<Serial> {
    let soa = Some(record).filter(|record| record.rtype == Rtype::SOA)?;
    soa_serial(soa.rdata.as_bytes())
}

fn identity(record: &Record) -> Identity {
    let rdata = canonical(record.rtype, record.rdata.as_bytes());
    let owner = record.owner.to_lowercase();
    (owner.as_wire().to_vec(), record.rtype.0, rdata.into_owned())
}
