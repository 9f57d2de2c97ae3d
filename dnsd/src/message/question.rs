//! The one entry of the question section; in an UPDATE, of the zone section.

use super::header::HEADER_SIZE;
use super::{Malformed, read_u16};
use zones::name::NameRef;
use zones::rtype::{Class, Rtype};

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Question<'m> {
    /// The name, in the case in which it was asked.
    pub qname: NameRef<'m>,
    /// The type, which may be a QTYPE such as ANY.
    pub qtype: Rtype,
    /// The class.
    pub qclass: Class,
}

impl<'m> Question<'m> {
    /// Reads the first question of a message. Nothing precedes it to which its name could point,
    /// so a compressed name is malformed here.
    #[inline]
    pub fn read(message: &'m [u8]) -> Result<Self, Malformed> {
        let rest = message.get(HEADER_SIZE..).ok_or(Malformed)?;
        let qname = NameRef::from_wire(rest).map_err(|_| Malformed)?;
        let size = qname.as_wire().len();
        Ok(Self {
            qname,
            qtype: Rtype(read_u16(rest, size)?),
            qclass: Class(read_u16(rest, size + 2)?),
        })
    }

    /// Size in the message.
    #[must_use]
    pub fn size(&self) -> usize {
        self.qname.as_wire().len() + 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_read_or_refused() {
        let check = |tail: &[u8], expected: Result<(&[u8], u16, u16), Malformed>| {
            let message = [&[0; HEADER_SIZE], tail].concat();
            let read = Question::read(&message);
            assert_eq!(
                read.map(|q| (q.qname.as_wire(), q.qtype.0, q.qclass.0)),
                expected,
                "{tail:?}"
            );
        };
        check(b"\x01A\x00\x00\x01\x00\x01", Ok((b"\x01A\x00", 1, 1)));
        check(b"\x00\x00\xff\x00\x03", Ok((b"\x00", 255, 3)));
        check(b"\x01A\x00\x00\x01\x00", Err(Malformed));
        check(b"\xc0\x00\x00\x01\x00\x01", Err(Malformed));
        check(b"\x05A", Err(Malformed));
        check(b"", Err(Malformed));
    }
}
