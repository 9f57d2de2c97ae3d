//! The twelve bytes that open a message (RFC 1035 section 4.1.1).
//!
//! ```text
//!  0      2      3      4        6        8        10       12
//!  | ID   | QR.. | RA.. | QDCOUNT| ANCOUNT| NSCOUNT| ARCOUNT|
//!           QR opcode(4) AA TC RD   RA Z AD CD rcode(4)
//! ```

use super::Malformed;

/// Size of the header.
pub const HEADER_SIZE: usize = 12;

/// This message is a response.
pub const QR: u16 = 0x8000;
/// The answer is from the zone itself.
pub const AA: u16 = 0x0400;
/// The message was cut to fit.
pub const TC: u16 = 0x0200;
/// Recursion desired.
pub const RD: u16 = 0x0100;

/// What kind of request a message is (RFC 1035 section 4.1.1, RFC 2136 section 1.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Opcode(pub u8);

impl Opcode {
    /// A question.
    pub const QUERY: Self = Self(0);
    /// A zone has changed (RFC 1996).
    pub const NOTIFY: Self = Self(4);
    /// A change (RFC 2136).
    pub const UPDATE: Self = Self(5);
}

/// The header, read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Chosen by the requestor, repeated in the response.
    pub id: u16,
    /// The sixteen bits of QR, opcode, flags and RCODE.
    pub flags: u16,
    /// How many entries the four sections hold.
    pub counts: [u16; 4],
}

impl Header {
    /// Reads the start of a message.
    #[inline]
    pub fn read(message: &[u8]) -> Result<Self, Malformed> {
        let header = message.get(..HEADER_SIZE).ok_or(Malformed)?;
        let word = |i: usize| u16::from_be_bytes([header[2 * i], header[2 * i + 1]]);
        Ok(Self {
            id: word(0),
            flags: word(1),
            counts: [word(2), word(3), word(4), word(5)],
        })
    }

    /// True if QR says that this is a response.
    #[must_use]
    pub fn is_response(&self) -> bool {
        self.flags & QR != 0
    }

    /// What kind of request it is.
    #[must_use]
    pub fn opcode(&self) -> Opcode {
        Opcode((self.flags >> 11 & 15) as u8)
    }

    /// The flags with which every response to this request starts: QR set, the opcode and RD
    /// repeated (RFC 1035 section 4.1.1), the rest clear. CD too: only a recursive server repeats
    /// it (RFC 4035 sections 3.1.6 and 3.2.2).
    #[must_use]
    pub fn response_flags(&self) -> u16 {
        QR | self.flags & (0x7800 | RD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_opcode_and_rd_are_repeated() {
        let check = |flags: u16, expected: u16| {
            let header = Header {
                id: 1,
                flags,
                counts: [0; 4],
            };
            assert_eq!(header.response_flags(), expected, "{flags:04x}");
        };
        check(0x0100, 0x8100);
        check(0x2800, 0xa800);
        check(0x7fff, 0xf900);
        check(0x0020, 0x8000);
    }

    #[test]
    fn a_header_is_twelve_bytes() {
        assert_eq!(Header::read(&[0; 11]), Err(Malformed));
        let header = Header::read(&[0, 7, 0x28, 0, 0, 1, 0, 2, 0, 3, 0, 4]).unwrap();
        assert_eq!(header.id, 7);
        assert_eq!(header.opcode(), Opcode::UPDATE);
        assert_eq!(header.counts, [1, 2, 3, 4]);
    }
}
