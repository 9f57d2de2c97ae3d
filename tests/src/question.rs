//! DNS requests, byte by byte, also those that no library would write.

use zones::Name;
use zones::rtype::{Class, Rtype};

/// A request; its fields are put down as they stand.
#[derive(Clone, Debug)]
pub struct Question {
    /// Repeated in the response.
    pub id: u16,
    /// Opcode and flags.
    pub flags: u16,
    /// What is asked.
    pub qname: Name,
    /// Its type.
    pub qtype: Rtype,
    /// Its class.
    pub qclass: Class,
    /// The serial of the SOA in the authority section: an IXFR.
    pub serial: Option<u32>,
    /// Size, version and flags of an OPT record.
    pub edns: Option<(u16, u8, u16)>,
    /// The options in it.
    pub options: Vec<u8>,
}

/// The flags of an UPDATE.
pub const UPDATE: u16 = 5 << 11;
/// Recursion desired.
pub const RD: u16 = 0x0100;
/// Is the data authentic.
pub const AD: u16 = 0x0020;
/// Checking disabled.
pub const CD: u16 = 0x0010;

impl Question {
    /// An ordinary question.
    #[must_use]
    pub fn new(qname: Name, qtype: Rtype) -> Self {
        Self {
            id: 7,
            flags: 0,
            qname,
            qtype,
            qclass: Class::IN,
            serial: None,
            edns: None,
            options: Vec::new(),
        }
    }

    /// The message.
    #[must_use]
    pub fn to_wire(&self) -> Vec<u8> {
        let has = |there: bool| u16::from(there);
        let (authority, additional) = (has(self.serial.is_some()), has(self.edns.is_some()));
        let mut message = Vec::new();
        for word in [self.id, self.flags, 1, 0, authority, additional] {
            message.extend_from_slice(&word.to_be_bytes());
        }
        message.extend_from_slice(self.qname.as_wire());
        message.extend_from_slice(&self.qtype.0.to_be_bytes());
        message.extend_from_slice(&self.qclass.0.to_be_bytes());
        if let Some(serial) = self.serial {
            message.extend_from_slice(b"\xc0\x0c\x00\x06\x00\x01\x00\x00\x00\x00\x00\x16\x00\x00");
            message.extend_from_slice(&serial.to_be_bytes());
            message.extend_from_slice(&[0; 16]);
        }
        if let Some((size, version, flags)) = self.edns {
            message.extend_from_slice(b"\x00\x00\x29");
            message.extend_from_slice(&size.to_be_bytes());
            message.extend_from_slice(&[0, version]);
            message.extend_from_slice(&flags.to_be_bytes());
            message.extend_from_slice(&(self.options.len() as u16).to_be_bytes());
            message.extend_from_slice(&self.options);
        }
        message
    }
}
