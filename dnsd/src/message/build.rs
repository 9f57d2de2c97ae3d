//! Writes a response: header, the question as it was asked, then RRsets section by section.
//!
//! An RRset goes in whole or not at all (RFC 2181 section 9), and the OPT record has its place
//! kept from the start, so that it always fits.

use super::ExtendedError;
use super::compress::{Case, Compressor, POINTER};
use super::edns::{Opt, error_size};
use super::header::{HEADER_SIZE, Header};
use super::request::Request;
use zones::rdata::{self, Part};
use zones::rtype::{Class, Rtype};

/// A response being written. It is cut short by [`Builder::rollback`] and completed by
/// [`Builder::finish`].
#[derive(Debug)]
pub struct Builder<'b> {
    message: &'b mut Vec<u8>,
    size_max: usize,
    /// Most answers hold no name beside the question's, so that is learned only with the next.
    names: Option<Compressor>,
    case: Case,
    question_size: usize,
    counts: [u16; 4],
    opt: Option<&'b Opt<'b>>,
    /// What the OPT record says beside the RCODE; none without one.
    error: Option<ExtendedError>,
}

/// A section that holds records.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Section {
    /// What was asked for.
    Answer = 1,
    /// Who is asked next, or why there is no answer.
    Authority = 2,
    /// What will be asked next.
    Additional = 3,
}

/// The owner of a record in a response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner<'n> {
    /// What is left of the QNAME without so many bytes, whole labels, in the case in which it was
    /// asked.
    Question(usize),
    /// A name in wire format.
    Name(&'n [u8]),
}

/// It does not fit; the message is as it was before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

/// A state of a builder to which it can go back.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    size: usize,
    counts: [u16; 4],
}

impl<'b> Builder<'b> {
    /// Starts the response to `request`, which may become `size_max` bytes long; `opt` if it
    /// has an OPT record.
    #[inline]
    pub fn new(
        message: &'b mut Vec<u8>,
        request: &Request<'_>,
        case: Case,
        size_max: usize,
        opt: Option<&'b Opt<'b>>,
    ) -> Self {
        let question_size = request.question.size();
        message.clear();
        message.extend_from_slice(&request.message[..HEADER_SIZE + question_size]);
        Self::over(message, opt, case, size_max, [1, 0, 0, 0], question_size)
    }

    /// Starts a message of a zone transfer after the first, which may be without a question
    /// (RFC 5936 section 2.2.1).
    pub fn without_question(
        message: &'b mut Vec<u8>,
        request: &Request<'_>,
        case: Case,
        size_max: usize,
    ) -> Self {
        message.clear();
        message.extend_from_slice(&request.message[..HEADER_SIZE]);
        Self::over(message, None, case, size_max, [0; 4], 0)
    }

    #[inline]
    fn over(
        message: &'b mut Vec<u8>,
        opt: Option<&'b Opt<'b>>,
        case: Case,
        size_max: usize,
        counts: [u16; 4],
        question_size: usize,
    ) -> Self {
        Self {
            message,
            size_max: size_max - opt.map_or(0, Opt::size),
            names: None,
            case,
            question_size,
            counts,
            opt,
            error: None,
        }
    }

    /// Appends one record of class IN.
    #[inline(always)]
    pub fn record(
        &mut self,
        section: Section,
        owner: Owner<'_>,
        rtype: Rtype,
        ttl: u32,
        rdata: &[u8],
    ) -> Result<(), Full> {
        self.record_of(Class::IN, section, owner, rtype, ttl, rdata)
    }

    /// Appends one record of any class.
    #[inline(always)]
    pub fn record_of(
        &mut self,
        class: Class,
        section: Section,
        owner: Owner<'_>,
        rtype: Rtype,
        ttl: u32,
        rdata: &[u8],
    ) -> Result<(), Full> {
        let mark = self.mark();
        debug_assert!(
            self.counts[section as usize + 1..].iter().all(|n| *n == 0),
            "sections are written in order"
        );
        let Ok(size) = u16::try_from(rdata.len()) else {
            return Err(Full);
        };
        let pointer = self.pointer_to(owner);
        // What stands between owner and RDATA, and a pointer before it: two numbers are written sooner
        // than twelve bytes.
        let first = u64::from(pointer.unwrap_or(0)) << 48
            | u64::from(rtype.0) << 32
            | u64::from(class.0) << 16
            | u64::from(ttl >> 16);
        let last = ttl << 16 | u32::from(size);
        let mut fixed = [0; 12];
        fixed[..8].copy_from_slice(&first.to_be_bytes());
        fixed[8..].copy_from_slice(&last.to_be_bytes());
        if pointer.is_some() {
            self.message.extend_from_slice(&fixed);
        } else {
            match owner {
                // The root of the question is the root, and shorter than a pointer.
                Owner::Question(_) => self.message.push(0),
                Owner::Name(wire) => self.name(wire),
            }
            self.message.extend_from_slice(&fixed[2..]);
        }
        if rdata::has_names(rtype) {
            self.rdata_with_names(rtype, rdata);
        } else {
            self.message.extend_from_slice(rdata);
        }
        if self.message.len() > self.size_max || self.counts[section as usize] == u16::MAX {
            self.rollback(mark);
            return Err(Full);
        }
        self.counts[section as usize] += 1;
        Ok(())
    }

    /// Appends RDATA whose names may become shorter, and corrects its size, which stands before it.
    fn rdata_with_names(&mut self, rtype: Rtype, rdata: &[u8]) {
        let start = self.message.len();
        for part in rdata::parts(rtype, rdata) {
            match part {
                Part::Name {
                    wire,
                    compressible: true,
                } => self.name(wire),
                Part::Name {
                    wire,
                    compressible: false,
                } => self.message.extend_from_slice(wire),
                Part::Bytes(bytes) => self.message.extend_from_slice(bytes),
            }
        }
        let size = self.message.len() - start;
        let size = u16::try_from(size).expect("compression does not lengthen RDATA");
        self.message[start - 2..start].copy_from_slice(&size.to_be_bytes());
    }

    /// Writes over the bytes that begin so far before the end of the last record.
    pub fn rewrite_last(&mut self, before_end: usize, bytes: &[u8]) {
        let at = self.message.len() - before_end;
        self.message[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Appends an RRset, whole or not at all.
    #[inline(always)]
    pub fn rrset<'r>(
        &mut self,
        section: Section,
        owner: Owner<'_>,
        rtype: Rtype,
        ttl: u32,
        rdatas: impl IntoIterator<Item = &'r [u8]>,
    ) -> Result<(), Full> {
        let mark = self.mark();
        for rdata in rdatas {
            if let Err(full) = self.record(section, owner, rtype, ttl, rdata) {
                self.rollback(mark);
                return Err(full);
            }
        }
        Ok(())
    }

    /// Adds why there is no better answer, if the request has an OPT record and there is room: it
    /// never takes the place of anything else.
    pub fn explain(&mut self, error: ExtendedError) {
        if self.opt.is_some()
            && self.error.is_none()
            && self.message.len() + error_size(error) <= self.size_max
        {
            self.error = Some(error);
            self.size_max -= error_size(error);
        }
    }

    /// Completes the message: flags, counts and, if the request has one, the OPT record. `flags`
    /// are added to those that every response has; `rcode` may have twelve bits if there is an
    /// OPT record.
    #[inline]
    pub fn finish(&mut self, header: Header<'_>, flags: u16, rcode: u16) {
        let mut counts = self.counts;
        if let Some(opt) = self.opt {
            opt.write(self.message, rcode, self.error);
            counts[3] += 1;
        }
        let flags = header.response_flags() | flags | rcode & 15;
        let [questions, answers, authorities, additionals] = counts;
        let words = [flags, questions, answers, authorities, additionals];
        let (behind_id, _) = self.message[2..HEADER_SIZE].as_chunks_mut();
        for (place, word) in behind_id.iter_mut().zip(words) {
            *place = word.to_be_bytes();
        }
    }

    /// The state to which [`Self::rollback`] can return.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark {
            size: self.message.len(),
            counts: self.counts,
        }
    }

    /// Takes back what was written since.
    pub fn rollback(&mut self, mark: Mark) {
        self.message.truncate(mark.size);
        self.counts = mark.counts;
        if let Some(names) = &mut self.names {
            names.forget_from(mark.size);
        }
    }

    /// Takes back all records.
    pub fn clear(&mut self) {
        let size = HEADER_SIZE + self.question_size;
        let counts = [self.counts[0], 0, 0, 0];
        self.rollback(Mark { size, counts });
    }

    /// How many records a section holds.
    #[must_use]
    pub fn count(&self, section: Section) -> u16 {
        self.counts[section as usize]
    }

    /// What is written so far.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        self.message
    }

    /// The pointer to an owner that is in the question; none if there is none.
    #[inline]
    fn pointer_to(&self, owner: Owner<'_>) -> Option<u16> {
        let Owner::Question(skipped) = owner else {
            return None;
        };
        // The question follows the header.
        let at = HEADER_SIZE + skipped;
        (self.message[at] != 0).then_some(POINTER | at as u16)
    }

    fn name(&mut self, wire: &[u8]) {
        let names = self.names.get_or_insert_with(|| {
            let mut names = Compressor::new(self.case);
            if self.question_size > 0 {
                let end = HEADER_SIZE + self.question_size - 4;
                names.learn(HEADER_SIZE, &self.message[HEADER_SIZE..end]);
            }
            names
        });
        names.write(self.message, wire);
    }
}

/// Writes a response to a request that cannot be read as a whole: a header, the bytes of its
/// question if that can be read, and an OPT record if the request has one.
pub fn of_unread(
    message: &mut Vec<u8>,
    header: Header<'_>,
    question: &[u8],
    rcode: u16,
    opt: Option<&Opt<'_>>,
    error: Option<ExtendedError>,
) {
    message.clear();
    message.extend_from_slice(&header.id().to_be_bytes());
    message.extend_from_slice(&(header.response_flags() | rcode & 15).to_be_bytes());
    message.extend_from_slice(&[0; 8]);
    if !question.is_empty() {
        message[5] = 1;
        message.extend_from_slice(question);
    }
    if let Some(opt) = opt {
        message[HEADER_SIZE - 1] = 1;
        opt.write(message, rcode, error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &[u8] = b"\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01\
        \x03wWw\x01a\x00\x00\x01\x00\x01\x00\x00\x29\x04\xd0\x00\x00\x80\x00\x00\x00";

    fn request() -> Request<'static> {
        Request::read(REQUEST, Header::read(REQUEST).unwrap()).unwrap()
    }

    #[test]
    fn rdata_that_no_record_can_have_does_not_fit() {
        let request = request();
        for size in [65_535, 65_536] {
            let (mut message, rdata) = (Vec::new(), vec![7; size]);
            let mut builder = Builder::new(&mut message, &request, Case::Kept, 70_000, None);
            let before = builder.message().to_vec();
            let owner = Owner::Question(0);
            let put = builder.record(Section::Answer, owner, Rtype::NULL, 60, &rdata);
            assert_eq!(put.is_ok(), size == 65_535);
            assert_eq!(builder.message() == before, put.is_err());
            assert_eq!(builder.count(Section::Answer), u16::from(put.is_ok()));
        }
    }

    #[test]
    fn a_response_repeats_the_question_and_ends_with_opt() {
        let request = request();
        let mut message = Vec::new();
        let opt = Some(&Opt::new(1232, true));
        let mut builder = Builder::new(&mut message, &request, Case::Ignored, 512, opt);
        let owner = Owner::Question(0);
        builder
            .record(Section::Answer, owner, Rtype::A, 60, &[192, 0, 2, 1])
            .unwrap();
        builder
            .record(
                Section::Authority,
                Owner::Name(b"\x01A\x00"),
                Rtype::A,
                60,
                &[192, 0, 2, 2],
            )
            .unwrap();
        builder.finish(request.header, super::super::header::AA, 0);
        let mut expected = b"\x00\x07\x85\x00\x00\x01\x00\x01\x00\x01\x00\x01".to_vec();
        expected.extend_from_slice(b"\x03wWw\x01a\x00\x00\x01\x00\x01");
        expected
            .extend_from_slice(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x01");
        expected
            .extend_from_slice(b"\xc0\x10\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x02");
        expected.extend_from_slice(b"\x00\x00\x29\x04\xd0\x00\x00\x80\x00\x00\x00");
        assert_eq!(message, expected);
    }

    #[test]
    fn a_reason_is_given_only_where_there_is_room() {
        let check = |size_max: usize, opt, expected: usize| {
            let request = request();
            let mut message = Vec::new();
            let mut builder = Builder::new(&mut message, &request, Case::Ignored, size_max, opt);
            builder.explain(ExtendedError::NOT_READY);
            builder.explain(ExtendedError::PROHIBITED);
            builder.finish(request.header, 0, 2);
            assert_eq!(message.len(), expected, "{size_max}");
        };
        // Header 12, question 11, OPT 11, the reason 6.
        let opt = Some(&Opt::new(1232, false));
        check(40, opt, 40);
        check(39, opt, 34);
        check(40, None, 23);
    }

    #[test]
    fn an_rrset_goes_in_whole_or_not_at_all() {
        let request = request();
        let mut message = Vec::new();
        // Header 12, question 11, OPT 11, two records of 16.
        let opt = Some(&Opt::new(1232, true));
        let mut builder = Builder::new(&mut message, &request, Case::Ignored, 66, opt);
        let set = |n: u8| (0..n).map(|_| [192, 0, 2, 1]).collect::<Vec<_>>();
        let mut put = |n| {
            let rdatas = set(n);
            let rdatas = rdatas.iter().map(|rdata| &rdata[..]);
            builder.rrset(Section::Answer, Owner::Question(0), Rtype::A, 60, rdatas)
        };
        assert_eq!(put(3), Err(Full));
        assert_eq!(put(2), Ok(()));
        assert_eq!(put(1), Err(Full));
        assert_eq!(builder.count(Section::Answer), 2);
        builder.finish(request.header, 0, 16);
        assert_eq!(message.len(), 66);
        assert_eq!(message[3] & 15, 0);
        assert_eq!(message[66 - 11 + 5], 1);
    }
}
