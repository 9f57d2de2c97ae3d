//! What the clients of a run ask, as RFC 2136 messages, and what each was told.

use bytes::{BufMut, Bytes};
use dnsd::durable::blob_hash;
use dnsd::requests::Sender;
use dnsd::zone_data::encode_blob;
use replication::{BlobHash, Digest};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tests::zone_text;
use zones::{Name, Record, Version};

/// Zones that may exist in a run; the first is there from the birth on.
pub(crate) const ZONES: u8 = 2;
/// Where those are who may do all.
pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// Where those are whose records have a lease.
pub(crate) const LEASEHOLDER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// How long it is.
pub(crate) const LEASE: Duration = Duration::from_secs(5);
/// Names that are changed by pairs in one update.
pub(crate) const PAIRS: u8 = 3;

/// One UPDATE and all that became of it.
pub(crate) struct Request {
    pub(crate) zone: u8,
    pub(crate) kind: Kind,
    pub(crate) message: Bytes,
    pub(crate) source: SocketAddr,
    pub(crate) digest: Digest,
    pub(crate) first_sent: Duration,
    pub(crate) last_sent: Duration,
}

/// What it asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// "Name not in use", then an address. Names are claimed by two clients at once and never freed.
    Claim { name: u64 },
    /// The same new address for both names of a pair.
    Pair { pair: u8 },
    /// A name that nobody else uses comes into being.
    Create { name: u64 },
    /// It goes.
    Delete { name: u64 },
    /// An address is added to a name of few, or is there already.
    Add { name: u8 },
    /// All addresses of a name of few go.
    Clear { name: u8 },
    /// A name comes into being for [`LEASE`].
    Lease { name: u64 },
}

impl Request {
    /// `number` makes the message and its source differ from all others.
    pub(crate) fn new(number: u64, zone: u8, kind: Kind, now: Duration) -> Self {
        let address = (number as u32).to_be_bytes();
        let address = [10, address[1], address[2], address[3]];
        let mut prerequisites = Vec::new();
        let mut updates = Vec::new();
        match kind {
            Kind::Claim { name } => {
                let name = owner(zone, &format!("claim{name}"));
                prerequisites.push(record(&name, ANY, NONE, 0, &[]));
                updates.push(record(&name, A, IN, 60, &address));
            }
            Kind::Pair { pair } => {
                for half in ["a", "b"] {
                    let name = owner(zone, &format!("pair{pair}{half}"));
                    updates.push(record(&name, A, ANY, 0, &[]));
                    updates.push(record(&name, A, IN, 60, &address));
                }
            }
            Kind::Create { name } => {
                let name = owner(zone, &format!("made{name}"));
                updates.push(record(&name, A, IN, 60, &address));
            }
            Kind::Delete { name } => {
                let name = owner(zone, &format!("made{name}"));
                updates.push(record(&name, ANY, ANY, 0, &[]));
            }
            Kind::Add { name } => {
                let name = owner(zone, &format!("few{name}"));
                updates.push(record(&name, A, IN, 60, &[10, 0, 0, address[3] % 3]));
            }
            Kind::Clear { name } => {
                let name = owner(zone, &format!("few{name}"));
                updates.push(record(&name, A, ANY, 0, &[]));
            }
            Kind::Lease { name } => {
                let name = owner(zone, &format!("lease{name}"));
                updates.push(record(&name, A, IN, 60, &address));
            }
        }
        let mut message = Vec::new();
        message.put_u16(number as u16);
        message.put_u16(5 << 11);
        for count in [1, prerequisites.len(), updates.len(), 0] {
            message.put_u16(count as u16);
        }
        message.put_slice(origin(zone).as_wire());
        message.put_u16(6);
        message.put_u16(IN);
        for record in prerequisites.into_iter().chain(updates) {
            message.put_slice(&record);
        }
        let message = Bytes::from(message);
        let port = 1_024 + (number % 60_000) as u16;
        let ip = match kind {
            Kind::Lease { .. } => LEASEHOLDER,
            _ => CLIENT,
        };
        let source = SocketAddr::from((ip, port));
        Self {
            zone,
            kind,
            digest: Sender::unsigned(source).digest(&message),
            message,
            source,
            first_sent: now,
            last_sent: now,
        }
    }
}

pub(crate) fn origin(zone: u8) -> Name {
    format!("zone{zone}.test.").parse().expect("a good name")
}

pub(crate) fn owner(zone: u8, label: &str) -> Name {
    origin(zone).child(label.as_bytes()).expect("a short label")
}

/// A zone as an operator imports it; `names` makes it larger than one chunk of a stream.
pub(crate) fn file(zone: u8, names: u32) -> Vec<Record> {
    let mut text =
        "@ 60 SOA ns hostmaster 1 3600 600 86400 60\n@ 60 NS ns\nns 60 A 192.0.2.1\n".to_owned();
    for name in 0..names {
        text += &format!("host{name} 60 A 10.1.{}.{}\n", name / 256 % 256, name % 256);
    }
    zone_text::read(&origin(zone), &text)
}

/// The file of a zone that is served, exported and edited: its hosts are those of `file`.
pub(crate) fn edited(held: &Version, mut file: Vec<Record>) -> Vec<Record> {
    let is_host = |record: &Record| {
        let first = record.owner.labels().next();
        first.is_some_and(|label| label.starts_with(b"host"))
    };
    file.retain(is_host);
    file.extend(held.records().filter(|record| !is_host(record)));
    file
}

/// The data that an import of these records is spread as.
pub(crate) fn data_of(zone: u8, records: &[Record]) -> BlobHash {
    let origin = origin(zone);
    let version = Version::from_records(&origin, records).expect("all lie in the zone");
    let records: Vec<Record> = version.records().collect();
    blob_hash(&encode_blob(&origin, &records))
}

fn record(owner: &Name, rtype: u16, class: u16, ttl: u32, rdata: &[u8]) -> Vec<u8> {
    let mut out = owner.as_wire().to_vec();
    out.put_u16(rtype);
    out.put_u16(class);
    out.put_u32(ttl);
    out.put_u16(rdata.len() as u16);
    out.put_slice(rdata);
    out
}

const A: u16 = 1;
const IN: u16 = 1;
const NONE: u16 = 254;
const ANY: u16 = 255;
