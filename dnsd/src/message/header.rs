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

/// The header of a message, which is read where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header<'m>(&'m [u8; HEADER_SIZE]);

impl<'m> Header<'m> {
    /// The header at the start of a message.
    #[inline]
    pub fn read(message: &'m [u8]) -> Result<Self, Malformed> {
        Ok(Self(message.first_chunk().ok_or(Malformed)?))
    }

    /// Chosen by the requestor, repeated in the response.
    #[must_use]
    #[inline]
    pub fn id(self) -> u16 {
        self.word(0)
    }

    /// The sixteen bits of QR, opcode, flags and RCODE.
    #[must_use]
    #[inline]
    pub fn flags(self) -> u16 {
        self.word(1)
    }

    /// How many entries the four sections hold.
    #[must_use]
    #[inline]
    pub fn counts(self) -> [u16; 4] {
        [self.word(2), self.word(3), self.word(4), self.word(5)]
    }

    #[inline]
    fn word(self, at: usize) -> u16 {
        u16::from_be_bytes([self.0[2 * at], self.0[2 * at + 1]])
    }

    /// True if QR says that this is a response.
    #[must_use]
    pub fn is_response(self) -> bool {
        self.flags() & QR != 0
    }

    /// What kind of request it is.
    #[must_use]
    pub fn opcode(self) -> Opcode {
        Opcode((self.flags() >> 11 & 15) as u8)
    }

    /// The flags with which every response to this request starts: QR set, the opcode and RD
    /// repeated (RFC 1035 section 4.1.1), the rest clear. CD too: only a recursive server repeats
    /// it (RFC 4035 sections 3.1.6 and 3.2.2).
    #[must_use]
    pub fn response_flags(self) -> u16 {
        QR | self.flags() & (0x7800 | RD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_opcode_and_rd_are_repeated() {
        let check = |flags: u16, expected: u16| {
            let mut message = [0; HEADER_SIZE];
            message[2..4].copy_from_slice(&flags.to_be_bytes());
            let header = Header::read(&message).unwrap();
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
        assert_eq!(header.id(), 7);
        assert_eq!(header.opcode(), Opcode::UPDATE);
        assert_eq!(header.counts(), [1, 2, 3, 4]);
    }
}
