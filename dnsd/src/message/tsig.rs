//! The TSIG record in messages (RFC 8945 section 4.2).

use super::Malformed;
use super::request::RawRecord;
use zones::Name;
use zones::rtype::{Class, Rtype};

/// Size of the owner's length-free fields: type, class, TTL and length of the RDATA.
const FIXED_SIZE: usize = 10;
/// Size of the RDATA without the algorithm, the MAC and the other data.
const RDATA_FIXED_SIZE: usize = 16;

/// A TSIG record; the name of its key is apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tsig<'m> {
    /// Where the record starts in the message: all before it is signed.
    pub at: usize,
    /// The name of its algorithm in wire format.
    pub algorithm: &'m [u8],
    /// When it was signed: seconds since 1970, 48 bits of them.
    pub time_signed: u64,
    /// By how many seconds clocks may differ.
    pub fudge: u16,
    /// The MAC.
    pub mac: &'m [u8],
    /// The ID with which the message was signed.
    pub original_id: u16,
    /// The error; none in requests.
    pub error: u16,
    /// What belongs to the error.
    pub other: &'m [u8],
}

impl<'m> Tsig<'m> {
    /// Reads a record of this type. One that cannot be interpreted makes the message malformed
    /// (RFC 8945 section 5.2).
    pub(super) fn read(record: &RawRecord<'m>) -> Result<Self, Malformed> {
        // RFC 8945 section 4.2: the class is ANY, and the TTL zero.
        if record.class != Class::ANY.0 || record.ttl != 0 {
            return Err(Malformed);
        }
        let rest = &mut &record.rdata[..];
        // RFC 8945 section 4.2: the name of the algorithm is not compressed.
        let algorithm = Name::from_wire(rest).map_err(|_| Malformed)?;
        let algorithm = take(rest, algorithm.as_wire().len())?;
        let time_signed = take_array::<6>(rest)?
            .iter()
            .fold(0, |time, byte| time << 8 | u64::from(*byte));
        let fudge = u16::from_be_bytes(take_array(rest)?);
        let mac_size = u16::from_be_bytes(take_array(rest)?);
        let mac = take(rest, usize::from(mac_size))?;
        let original_id = u16::from_be_bytes(take_array(rest)?);
        let error = u16::from_be_bytes(take_array(rest)?);
        let other_size = u16::from_be_bytes(take_array(rest)?);
        let other = take(rest, usize::from(other_size))?;
        if !rest.is_empty() {
            return Err(Malformed);
        }
        Ok(Self {
            at: record.owner_at,
            algorithm,
            time_signed,
            fudge,
            mac,
            original_id,
            error,
            other,
        })
    }

    /// Appends the record to a message, with this name in wire format as its owner, and counts it.
    pub(crate) fn write(&self, key_name: &[u8], message: &mut Vec<u8>) {
        message.extend_from_slice(key_name);
        message.extend_from_slice(&Rtype::TSIG.0.to_be_bytes());
        message.extend_from_slice(&Class::ANY.0.to_be_bytes());
        message.extend_from_slice(&[0; 4]);
        let rdata_size =
            RDATA_FIXED_SIZE + self.algorithm.len() + self.mac.len() + self.other.len();
        message.extend_from_slice(&(rdata_size as u16).to_be_bytes());
        message.extend_from_slice(self.algorithm);
        message.extend_from_slice(&self.timers());
        message.extend_from_slice(&(self.mac.len() as u16).to_be_bytes());
        message.extend_from_slice(self.mac);
        message.extend_from_slice(&self.original_id.to_be_bytes());
        message.extend_from_slice(&self.error.to_be_bytes());
        message.extend_from_slice(&(self.other.len() as u16).to_be_bytes());
        message.extend_from_slice(self.other);
        let additionals = u16::from_be_bytes([message[10], message[11]]) + 1;
        message[10..12].copy_from_slice(&additionals.to_be_bytes());
    }

    /// The bytes that such a record takes, with these sizes of its parts.
    pub(crate) fn size(key_name: usize, algorithm: usize, mac: usize, other: usize) -> usize {
        key_name + FIXED_SIZE + algorithm + RDATA_FIXED_SIZE + mac + other
    }

    /// What of the record is signed with a message: the variables of RFC 8945 section 4.3.3.
    pub(crate) fn variables(&self, key_name: &[u8]) -> Vec<u8> {
        let mut variables = Vec::with_capacity(key_name.len() + self.algorithm.len() + 24);
        // In canonical form; length bytes are below 64 and so never letters.
        variables.extend(key_name.iter().map(u8::to_ascii_lowercase));
        variables.extend_from_slice(&Class::ANY.0.to_be_bytes());
        variables.extend_from_slice(&[0; 4]);
        variables.extend(self.algorithm.iter().map(u8::to_ascii_lowercase));
        variables.extend_from_slice(&self.timers());
        variables.extend_from_slice(&self.error.to_be_bytes());
        variables.extend_from_slice(&(self.other.len() as u16).to_be_bytes());
        variables.extend_from_slice(self.other);
        variables
    }

    /// The two timers (RFC 8945 section 4.3.3.1).
    pub(crate) fn timers(&self) -> [u8; 8] {
        let [_, _, time @ ..] = self.time_signed.to_be_bytes();
        let mut timers = [0; 8];
        timers[..6].copy_from_slice(&time);
        timers[6..].copy_from_slice(&self.fudge.to_be_bytes());
        timers
    }
}

fn take<'m>(rest: &mut &'m [u8], size: usize) -> Result<&'m [u8], Malformed> {
    let (taken, after) = rest.split_at_checked(size).ok_or(Malformed)?;
    *rest = after;
    Ok(taken)
}

fn take_array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let (taken, after) = rest.split_first_chunk().ok_or(Malformed)?;
    *rest = after;
    Ok(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY_NAME: &[u8] = b"\x01k\x00";

    fn tsig() -> Tsig<'static> {
        Tsig {
            at: 12,
            algorithm: b"\x09hmac-sha1\x00",
            time_signed: 0x0102_0304_0506,
            fudge: 300,
            mac: b"0123456789",
            original_id: 7,
            error: 18,
            other: b"other!",
        }
    }

    fn written() -> Vec<u8> {
        let mut message = vec![0; 12];
        tsig().write(KEY_NAME, &mut message);
        message
    }

    fn raw(message: &[u8], rdata: std::ops::Range<usize>) -> RawRecord<'_> {
        RawRecord {
            owner_at: 12,
            rtype: Rtype::TSIG,
            class: Class::ANY.0,
            ttl: 0,
            rdata: &message[rdata.clone()],
            rdata_at: rdata.start,
        }
    }

    #[test]
    fn a_record_reads_back_and_is_counted() {
        let message = written();
        assert_eq!(message.len(), 12 + Tsig::size(3, 11, 10, 6));
        assert_eq!(message[10..12], [0, 1]);
        let rdata_at = 12 + KEY_NAME.len() + FIXED_SIZE;
        let read = Tsig::read(&raw(&message, rdata_at..message.len()));
        assert_eq!(read, Ok(tsig()));
        for end in rdata_at..message.len() {
            let read = Tsig::read(&raw(&message, rdata_at..end));
            assert_eq!(read, Err(Malformed), "cut at {end}");
        }
        let longer = [&message[..], b"x"].concat();
        let read = Tsig::read(&raw(&longer, rdata_at..longer.len()));
        assert_eq!(read, Err(Malformed));
    }

    #[test]
    fn another_class_or_ttl_is_malformed() {
        let message = written();
        let rdata_at = 12 + KEY_NAME.len() + FIXED_SIZE;
        let good = raw(&message, rdata_at..message.len());
        assert!(Tsig::read(&RawRecord { class: 1, ..good }).is_err());
        assert!(Tsig::read(&RawRecord { ttl: 1, ..good }).is_err());
    }
}
