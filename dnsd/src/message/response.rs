//! A response to a request of ours, read in place: header, question if it has one, its answer
//! section, and what the additional section says about the message itself (TSIG).
//!
//! All records are walked, so that a message with missing bytes is known as such; their RDATA is
//! left to those who need it.

use super::Malformed;
use super::header::{HEADER_SIZE, Header};
use super::question::Question;
use super::request::RawRecord;
use super::tsig::Tsig;
use std::num::NonZeroU16;
use zones::rtype::Rtype;

/// A response that is well formed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Response<'m> {
    /// The whole message.
    pub message: &'m [u8],
    /// Its header.
    pub header: Header<'m>,
    /// Its question; none in messages of a zone transfer after the first, and with some errors.
    pub question: Option<Question<'m>>,
    /// Where its TSIG record starts; none if it is not signed.
    tsig_at: Option<NonZeroU16>,
}

impl<'m> Response<'m> {
    /// Reads a message.
    pub fn read(message: &'m [u8]) -> Result<Self, Malformed> {
        let header = Header::read(message)?;
        let [questions, answers, authorities, additionals] = header.counts();
        let question = match questions {
            0 => None,
            1 => Some(Question::read(message)?),
            _ => return Err(Malformed),
        };
        let mut response = Self {
            message,
            header,
            question,
            tsig_at: None,
        };
        let mut at = response.answers_at();
        for _ in 0..u32::from(answers) + u32::from(authorities) {
            (_, at) = RawRecord::read(message, at)?;
        }
        for _ in 0..additionals {
            // RFC 8945 section 5.1: a TSIG record is the last one.
            if response.tsig_at.is_some() {
                return Err(Malformed);
            }
            let (record, end) = RawRecord::read(message, at)?;
            at = end;
            if record.rtype == Rtype::TSIG {
                Tsig::read(&record)?;
                let at = u16::try_from(record.owner_at).map_err(|_| Malformed)?;
                response.tsig_at = NonZeroU16::new(at);
            }
        }
        // What follows would be signed by nobody.
        if at != message.len() {
            return Err(Malformed);
        }
        Ok(response)
    }

    /// The records of its answer section.
    pub fn answers(&self) -> impl Iterator<Item = RawRecord<'m>> + use<'m> {
        let (message, mut at) = (self.message, self.answers_at());
        (0..self.header.counts()[1]).map(move |_| {
            let (record, end) = RawRecord::read(message, at).expect("it was read before");
            at = end;
            record
        })
    }

    /// Its TSIG record: a signature over all before it.
    #[must_use]
    pub fn tsig(&self) -> Option<Tsig<'m>> {
        let at = usize::from(self.tsig_at?.get());
        let record = RawRecord::read(self.message, at).and_then(|(record, _)| Tsig::read(&record));
        Some(record.expect("it was read before"))
    }

    fn answers_at(&self) -> usize {
        HEADER_SIZE + self.question.map_or(0, |question| question.size())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: &[u8] = b"\x01a\x00\x00\xfc\x00\x01";
    const RECORD: &[u8] = b"\x00\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x7f\x00\x00\x01";
    const TSIG: &[u8] = b"\x01k\x00\x00\xfa\x00\xff\x00\x00\x00\x00\x00\x14\x01a\x00\
        \0\0\0\0\0\0\x01\x2c\0\x01m\0\x07\0\0\0\0";

    #[test]
    fn responses_are_read_or_refused() {
        // Whether there is a question, answers, and whether it is signed.
        let check = |counts: [u8; 4], parts: &[&[u8]], expected: Option<(bool, usize, bool)>| {
            let mut message = vec![0, 1, 0x80, 0];
            counts.iter().for_each(|count| message.extend([0, *count]));
            message.extend(parts.concat());
            let read = Response::read(&message).ok().map(|read| {
                let answers = read.answers().filter(|it| it.rdata == [127, 0, 0, 1]);
                (
                    read.question.is_some(),
                    answers.count(),
                    read.tsig().is_some(),
                )
            });
            assert_eq!(read, expected, "{counts:?} {parts:?}");
        };
        check([0, 0, 0, 0], &[], Some((false, 0, false)));
        check([1, 0, 0, 0], &[QUESTION], Some((true, 0, false)));
        let all = [QUESTION, RECORD, RECORD, RECORD, TSIG];
        check([1, 2, 1, 1], &all, Some((true, 2, true)));
        check([0, 1, 0, 1], &[RECORD, TSIG], Some((false, 1, true)));
        check([2, 0, 0, 0], &[QUESTION, QUESTION], None);
        check([1, 0, 0, 0], &[], None);
        check([0, 1, 0, 0], &[&RECORD[1..]], None);
        check([0, 0, 0, 2], &[TSIG, RECORD], None);
        check([0, 0, 0, 2], &[TSIG, TSIG], None);
        check([0, 0, 0, 1], &[&TSIG[..TSIG.len() - 1]], None);
        check([0, 1, 0, 0], &[RECORD, b"\0"], None);
    }
}
