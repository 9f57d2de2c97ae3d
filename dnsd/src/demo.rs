//! The tour of `dnsd demo`: the zone, the DNS messages and the words. What runs them is in
//! `io/demo.rs`.

use hickory_proto::op::{Message, Query, ResponseCode, update_message};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::net::{Ipv4Addr, SocketAddr};

/// The zone that the peers serve.
pub const ORIGIN: &str = "example.test.";

/// Its file.
pub const ZONE: &str = "\
$TTL 300
@    SOA  ns1 hostmaster 1 3600 600 1209600 300
     NS   ns1
ns1  A    192.0.2.53
www  A    192.0.2.80
";

/// A name of the zone and its address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Host {
    /// The owner name, relative to the zone.
    pub label: &'static str,
    /// The address.
    pub address: Ipv4Addr,
}

/// In the zone from the start.
pub const WWW: Host = Host {
    label: "www",
    address: Ipv4Addr::new(192, 0, 2, 80),
};
/// Added at peer 2.
pub const HELLO: Host = Host {
    label: "hello",
    address: Ipv4Addr::new(192, 0, 2, 99),
};
/// Added at peer 3 while peer 1 is dead.
pub const MISSED: Host = Host {
    label: "missed",
    address: Ipv4Addr::new(192, 0, 2, 100),
};

impl Host {
    /// The owner name.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}.{ORIGIN}", self.label)
    }

    /// A query for the address, with a message id of its own.
    #[must_use]
    pub fn query(&self) -> Question {
        question(&self.name(), RecordType::A)
    }

    /// An update (RFC 2136) that adds it.
    #[must_use]
    pub fn update(&self) -> Question {
        let record = Record::from_rdata(read_name(&self.name()), 300, RData::A(A(self.address)));
        let zone = read_name(ORIGIN);
        Question::new(&update_message::append(record.into(), zone, false, false))
    }
}

/// A query for the SOA of the zone.
#[must_use]
pub fn serial_query() -> Question {
    question(ORIGIN, RecordType::SOA)
}

fn question(name: &str, rtype: RecordType) -> Question {
    let mut message = Message::query();
    message.add_query(Query::query(read_name(name), rtype));
    message.metadata.recursion_desired = false;
    Question::new(&message)
}

fn read_name(name: &str) -> Name {
    Name::from_ascii(name).expect("the names of the tour are names")
}

/// A request, and what to know its response by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    /// The message.
    pub bytes: Vec<u8>,
    id: u16,
}

/// What a response says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Told {
    /// Its RCODE.
    pub rcode: ResponseCode,
    /// The addresses in its answer section.
    pub addresses: Vec<Ipv4Addr>,
    /// The serial in its answer section.
    pub serial: Option<u32>,
}

impl Question {
    fn new(message: &Message) -> Self {
        Self {
            bytes: message
                .to_vec()
                .expect("the messages of the tour are small"),
            id: message.metadata.id,
        }
    }

    /// Reads a datagram; none if it is no response to this request.
    #[must_use]
    pub fn read(&self, datagram: &[u8]) -> Option<Told> {
        let message = Message::from_vec(datagram).ok()?;
        if message.metadata.id != self.id {
            return None;
        }
        let mut told = Told {
            rcode: message.metadata.response_code,
            addresses: Vec::new(),
            serial: None,
        };
        for record in &message.answers {
            match &record.data {
                RData::A(A(address)) => told.addresses.push(*address),
                RData::SOA(soa) => told.serial = Some(soa.serial),
                _ => {}
            }
        }
        Some(told)
    }
}

/// What to try by hand while the peers run.
#[must_use]
pub fn by_hand(dns: &[SocketAddr], folder: &str) -> String {
    let mut text = String::from("Try it by hand:\n");
    for address in dns {
        let (ip, port) = (address.ip(), address.port());
        text += &format!("  dig @{ip} -p {port} {} +short\n", HELLO.name());
    }
    let last = dns.last().expect("there are peers");
    let (ip, port) = (last.ip(), last.port());
    text += &format!(
        "  printf 'server {ip} {port}\\nzone {ORIGIN}\\nupdate add mine.{ORIGIN} 300 A 192.0.2.1\\n\
         send\\n' | nsupdate\n\
         \x20 dnsd status --data-dir {folder}/peer1\n"
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::OpCode;

    #[test]
    fn an_update_is_one_and_its_response_is_known_by_its_id() {
        let update = HELLO.update();
        let message = Message::from_vec(&update.bytes).unwrap();
        assert_eq!(message.metadata.op_code, OpCode::Update);
        assert_eq!(message.queries[0].name().to_string(), ORIGIN);
        assert_eq!(message.authorities[0].name.to_string(), HELLO.name());
        let mut response = message.into_response();
        response.metadata.response_code = ResponseCode::Refused;
        let told = update.read(&response.to_vec().unwrap()).unwrap();
        assert_eq!(told.rcode, ResponseCode::Refused);
        response.metadata.id ^= 1;
        assert_eq!(update.read(&response.to_vec().unwrap()), None);
        assert_eq!(update.read(b"x"), None);
    }

    #[test]
    fn the_zone_is_good() {
        let source = zones::zonefile::Source {
            name: "demo".to_owned(),
            text: ZONE.as_bytes().to_vec(),
        };
        let origin = ORIGIN.parse().unwrap();
        let parsed = zones::zonefile::parse(
            &source,
            &origin,
            &mut |_, _| Err("nothing is included".to_owned()),
            &mut |_| {},
        );
        let zone = zones::check::check(&origin, parsed.unwrap()).unwrap();
        assert_eq!(zone.warnings, []);
        assert_eq!(zone.records.len(), 4);
    }
}
