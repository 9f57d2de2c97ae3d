//! A request as far as every kind of request is alike: header, one question, and what the
//! additional section says about the message itself (OPT, TSIG).
//!
//! All records are walked, so that a message with missing bytes is known as such; their RDATA is
//! left to those who need it.

use super::edns::Edns;
use super::header::{HEADER_SIZE, Header, Opcode};
use super::question::Question;
use super::tsig::Tsig;
use super::{Malformed, read_u16, read_u32};
use std::num::NonZeroU16;
use zones::rtype::Rtype;

/// A request that is well formed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request<'m> {
    /// The whole message.
    pub message: &'m [u8],
    /// Its header.
    pub header: Header<'m>,
    /// Its one question.
    pub question: Question<'m>,
    /// Its OPT record.
    pub edns: Option<Edns<'m>>,
    /// Where its TSIG record starts; none if it is not signed.
    tsig_at: Option<NonZeroU16>,
}

/// One record of a request, its fields not interpreted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RawRecord<'m> {
    /// Where its owner name starts.
    pub owner_at: usize,
    /// Its type.
    pub rtype: Rtype,
    /// Its class.
    pub class: u16,
    /// Its TTL.
    pub ttl: u32,
    /// Its RDATA.
    pub rdata: &'m [u8],
    /// Where the RDATA starts.
    pub rdata_at: usize,
}

impl<'m> Request<'m> {
    /// Reads a message whose header has been read.
    #[inline]
    pub fn read(message: &'m [u8], header: Header<'m>) -> Result<Self, Malformed> {
        // RFC 9619 section 4: more than one question is malformed; without one there is nothing to
        // answer here: `unread` gives the cookie that may be asked for (RFC 7873 section 5.4).
        // RFC 2136 section 3.1.1: the zone section has one.
        if header.counts()[0] != 1 {
            return Err(Malformed);
        }
        let question = Question::read(message)?;
        let at = HEADER_SIZE + question.size();
        let ((edns, tsig_at), end) = match header.counts() {
            [_, 0, 0, 0] => ((None, None), at),
            _ => read_records(message, at, header)?,
        };
        // A query is understood without what follows it. An update changes zones: there the bytes
        // may be half of what was meant.
        if end != message.len() && header.opcode() != Opcode::QUERY {
            return Err(Malformed);
        }
        Ok(Self {
            message,
            header,
            question,
            edns,
            tsig_at,
        })
    }

    /// Its TSIG record, the last one: a signature over all before it.
    #[must_use]
    #[inline]
    pub fn tsig(&self) -> Option<Tsig<'m>> {
        self.tsig_at.map(|at| self.tsig_of(at))
    }

    fn tsig_of(&self, at: NonZeroU16) -> Tsig<'m> {
        let record = RawRecord::read(self.message, at.get().into());
        let tsig = record.and_then(|(record, _)| Tsig::read(&record));
        tsig.expect("it was read before")
    }

    /// The first record of the authority section, which in an IXFR request is the SOA that the
    /// requestor holds (RFC 1995 section 3).
    #[must_use]
    pub fn first_authority(&self) -> Option<RawRecord<'m>> {
        if self.header.counts()[1] != 0 || self.header.counts()[2] == 0 {
            return None;
        }
        let at = HEADER_SIZE + self.question.size();
        Some(RawRecord::read(self.message, at).ok()?.0)
    }
}

impl<'m> RawRecord<'m> {
    /// Reads the record at `at`. Returns it with the offset of what follows it.
    pub(super) fn read(message: &'m [u8], at: usize) -> Result<(Self, usize), Malformed> {
        let fixed = skip_name(message, at)?;
        let size = usize::from(read_u16(message, fixed + 8)?);
        let rdata_at = fixed + 10;
        let end = rdata_at + size;
        let record = Self {
            owner_at: at,
            rtype: Rtype(read_u16(message, fixed)?),
            class: read_u16(message, fixed + 2)?,
            ttl: read_u32(message, fixed + 4)?,
            rdata: message.get(rdata_at..end).ok_or(Malformed)?,
            rdata_at,
        };
        Ok((record, end))
    }
}

/// What the additional section says about a message itself: its OPT record, and where its TSIG record
/// starts.
type AboutMessage<'m> = (Option<Edns<'m>>, Option<NonZeroU16>);

/// Reads the records of all sections, which begin at `at`. Returns what they say about the message,
/// with the offset of what follows them.
fn read_records<'m>(
    message: &'m [u8],
    mut at: usize,
    header: Header<'_>,
) -> Result<(AboutMessage<'m>, usize), Malformed> {
    let (mut edns, mut tsig_at) = (None, None);
    let [_, answers, authorities, additionals] = header.counts();
    for _ in 0..u32::from(answers) + u32::from(authorities) {
        (_, at) = RawRecord::read(message, at)?;
    }
    for _ in 0..additionals {
        // RFC 8945 section 5.2: a TSIG record is the last one.
        if tsig_at.is_some() {
            return Err(Malformed);
        }
        let (record, end) = RawRecord::read(message, at)?;
        at = end;
        match record.rtype {
            Rtype::OPT => {
                // RFC 6891 section 6.1.1: one OPT record at most; section 6.1.2: owned by the
                // root.
                if edns.is_some() || message[record.owner_at] != 0 {
                    return Err(Malformed);
                }
                edns = Some(Edns::read(record.class, record.ttl, record.rdata)?);
            }
            Rtype::TSIG => {
                Tsig::read(&record)?;
                let at = u16::try_from(record.owner_at).map_err(|_| Malformed)?;
                tsig_at = NonZeroU16::new(at);
            }
            _ => {}
        }
    }
    Ok(((edns, tsig_at), at))
}

/// The OPT record of a message that is no request as it should be, as far as one can be found; without
/// its options if these cannot be read.
pub(crate) fn find_opt<'m>(message: &'m [u8], header: Header<'_>) -> Option<Edns<'m>> {
    let [questions, answers, authorities, additionals] = header.counts();
    let mut at = HEADER_SIZE;
    for _ in 0..questions {
        at = skip_name(message, at).ok()? + 4;
    }
    for _ in 0..u32::from(answers) + u32::from(authorities) {
        (_, at) = RawRecord::read(message, at).ok()?;
    }
    for _ in 0..additionals {
        let (record, end) = RawRecord::read(message, at).ok()?;
        if record.rtype == Rtype::OPT && message[record.owner_at] == 0 {
            let (class, ttl) = (record.class, record.ttl);
            let edns = Edns::read(class, ttl, record.rdata);
            return Some(edns.unwrap_or_else(|Malformed| Edns::fixed(class, ttl)));
        }
        at = end;
    }
    None
}

/// The offset of what follows the name at `at`, which may be compressed.
pub(crate) fn skip_name(message: &[u8], mut at: usize) -> Result<usize, Malformed> {
    loop {
        match *message.get(at).ok_or(Malformed)? {
            0 => return Ok(at + 1),
            length @ 1..=63 => at += usize::from(length) + 1,
            0xc0.. if at + 1 < message.len() => return Ok(at + 2),
            _ => return Err(Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: &[u8] = b"\x01a\x00\x00\x01\x00\x01";
    const OPT: &[u8] = b"\x00\x00\x29\x04\xd0\x00\x00\x80\x00\x00\x00";
    const TSIG: &[u8] = b"\x01k\x00\x00\xfa\x00\xff\x00\x00\x00\x00\x00\x14\x01a\x00\
        \0\0\0\0\0\0\x01\x2c\0\x01m\0\x07\0\0\0\0";
    const RECORD: &[u8] = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x7f\x00\x00\x01";

    fn read(counts: [u8; 4], parts: &[&[u8]]) -> Result<(bool, bool), Malformed> {
        let mut message = vec![0, 1, 0, 0];
        counts.iter().for_each(|count| message.extend([0, *count]));
        parts
            .iter()
            .for_each(|part| message.extend_from_slice(part));
        let header = Header::read(&message)?;
        Request::read(&message, header).map(|r| (r.edns.is_some(), r.tsig().is_some()))
    }

    #[test]
    fn whole_requests_are_read() {
        let check = |counts, parts: &[&[u8]], expected| {
            assert_eq!(read(counts, parts), expected, "{counts:?}");
        };
        check([1, 0, 0, 0], &[QUESTION], Ok((false, false)));
        check([1, 0, 0, 1], &[QUESTION, OPT], Ok((true, false)));
        check(
            [1, 1, 1, 2],
            &[QUESTION, RECORD, RECORD, OPT, TSIG],
            Ok((true, true)),
        );
    }

    #[test]
    fn an_opt_record_is_found_where_all_before_it_can_be_skipped() {
        let check = |counts: [u8; 4], parts: &[&[u8]], expected| {
            let mut message = vec![0, 1, 0, 0];
            counts.iter().for_each(|count| message.extend([0, *count]));
            message.extend(parts.concat());
            let header = Header::read(&message).unwrap();
            let found = find_opt(&message, header);
            assert_eq!(found.map(|edns| edns.dnssec_ok), expected, "{message:?}");
        };
        check([0, 0, 0, 1], &[OPT], Some(true));
        check(
            [2, 1, 0, 2],
            &[QUESTION, QUESTION, RECORD, OPT, b"x"],
            Some(true),
        );
        check([1, 0, 0, 1], &[QUESTION, TSIG, OPT], None);
        check([1, 0, 0, 1], &[OPT], None);
        check([0, 0, 0, 1], &[b"\x01a", OPT], None);
        // Options that cannot be read.
        let opt = [&OPT[..10], b"\x01x"].concat();
        check([0, 0, 0, 1], &[&opt], Some(true));
        check([0, 0, 0, 1], &[&OPT[..10]], None);
    }

    #[test]
    fn what_is_missing_or_too_much_is_malformed() {
        let check = |counts, parts: &[&[u8]]| {
            assert_eq!(read(counts, parts), Err(Malformed), "{counts:?}");
        };
        check([0, 0, 0, 0], &[]);
        check([2, 0, 0, 0], &[QUESTION, QUESTION]);
        check([1, 0, 0, 1], &[QUESTION]);
        check([1, 0, 0, 2], &[QUESTION, OPT, OPT]);
        check([1, 0, 0, 2], &[QUESTION, TSIG, OPT]);
        check([1, 0, 0, 2], &[QUESTION, TSIG, TSIG]);
        check(
            [1, 0, 0, 1],
            &[QUESTION, &[&TSIG[..11], b"\0\x01x"].concat()],
        );
        check([1, 1, 0, 0], &[QUESTION, &RECORD[..RECORD.len() - 1]]);
        check([1, 0, 0, 1], &[QUESTION, b"\x01", OPT]);
    }

    #[test]
    fn bytes_may_follow_a_query_but_no_update() {
        let read = |opcode: u8| {
            let header = [0, 1, opcode << 3, 0, 0, 1, 0, 0, 0, 0, 0, 0];
            let message = [&header[..], QUESTION, b"\x00"].concat();
            let header = Header::read(&message)?;
            Request::read(&message, header).map(|_| ())
        };
        assert_eq!(read(Opcode::QUERY.0), Ok(()));
        assert_eq!(read(Opcode::UPDATE.0), Err(Malformed));
    }
}
