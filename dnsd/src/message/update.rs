//! UPDATE messages, written (RFC 2136 section 2).

use super::header::{HEADER_SIZE, Opcode};
use bytes::BufMut;
use zones::rtype::Class;
use zones::{Name, Rtype};

/// An UPDATE in the making: first its prerequisites, then its changes.
pub struct UpdateBuilder {
    origin: Name,
    message: Vec<u8>,
    prerequisites: usize,
    changes: usize,
}

/// One record of an UPDATE.
#[derive(Clone, Copy, Debug)]
pub struct UpdateRecord<'r> {
    /// Its owner name.
    pub owner: &'r Name,
    /// Its type.
    pub rtype: Rtype,
    /// Its class, which says what is meant.
    pub class: Class,
    /// Its TTL.
    pub ttl: u32,
    /// Its RDATA.
    pub rdata: &'r [u8],
}

/// A record takes at least so many bytes: a pointer, type, class, TTL, length.
pub const UPDATE_RECORD_SIZE_MIN: usize = 12;
/// Where in a message the name of the zone stands.
const ZONE_AT: u16 = HEADER_SIZE as u16;

impl UpdateBuilder {
    /// An UPDATE of this zone that changes nothing.
    #[must_use]
    pub fn new(origin: &Name) -> Self {
        let mut message = Vec::new();
        message.put_slice(&[0, 0, Opcode::UPDATE.0 << 3, 0, 0, 1]);
        message.resize(HEADER_SIZE, 0);
        message.put_slice(origin.as_wire());
        message.put_u16(Rtype::SOA.0);
        message.put_u16(Class::IN.0);
        Self {
            origin: origin.clone(),
            message,
            prerequisites: 0,
            changes: 0,
        }
    }

    /// Adds a prerequisite.
    ///
    /// # Panics
    ///
    /// After a change: the sections have their order.
    pub fn prerequisite(&mut self, record: UpdateRecord<'_>) {
        assert!(self.changes == 0, "prerequisites come first");
        self.put(record);
        self.prerequisites += 1;
    }

    /// Adds a change.
    pub fn change(&mut self, record: UpdateRecord<'_>) {
        self.put(record);
        self.changes += 1;
    }

    /// The message, its ID 0; none if it is larger than a message may be.
    #[must_use]
    pub fn finish(mut self) -> Option<Vec<u8>> {
        for (at, count) in [(6, self.prerequisites), (8, self.changes)] {
            let count = u16::try_from(count).ok()?;
            self.message[at..at + 2].copy_from_slice(&count.to_be_bytes());
        }
        let is_whole = self.message.len() <= super::MESSAGE_SIZE_MAX;
        is_whole.then_some(self.message)
    }

    fn put(&mut self, record: UpdateRecord<'_>) {
        // What no message holds takes no memory.
        if self.message.len() > super::MESSAGE_SIZE_MAX {
            return;
        }
        let UpdateRecord {
            owner,
            rtype,
            class,
            ttl,
            rdata,
        } = record;
        let wire = owner.as_wire();
        if owner.is_at_or_below(&self.origin) {
            let labels = &wire[..wire.len() - self.origin.as_wire().len()];
            self.message.put_slice(labels);
            self.message.put_u16(0xc000 | ZONE_AT);
        } else {
            self.message.put_slice(wire);
        }
        self.message.put_u16(rtype.0);
        self.message.put_u16(class.0);
        self.message.put_u32(ttl);
        self.message.put_u16(rdata.len() as u16);
        self.message.put_slice(rdata);
    }
}
