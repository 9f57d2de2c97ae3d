//! Requests of which only the header, and perhaps an OPT record, can be read.

use super::asked::{Exchange, exchange};
use super::rate::{Kind, Subject};
use super::{Client, Handled, Outcome, Refusal, Served, Setup};
use crate::cookie::Standing;
use crate::message::build::of_unread;
use crate::message::edns::Opt;
use crate::message::header::HEADER_SIZE;
use crate::message::question::Question;
use crate::message::request::find_opt;
use crate::message::{Header, Opcode};
use zones::Rcode;

/// Such a request.
pub(super) struct Unread<'a> {
    header: Header<'a>,
    /// The bytes of its one question; none if that cannot be read either.
    question: &'a [u8],
    /// RFC 6891 section 6.1.1: an OPT record in the request means one in the response, in errors
    /// too.
    opt: Option<Opt<'a>>,
    cookie: Option<Exchange>,
}

impl<'a> Unread<'a> {
    pub(super) fn new(
        request: &'a [u8],
        header: Header<'a>,
        client: &Client,
        served: &Served,
        setup: &Setup,
    ) -> Self {
        let edns = find_opt(request, header);
        let cookie = edns.and_then(|edns| exchange(&edns, client, served));
        let opt = edns.map(|edns| Opt {
            cookie: cookie.map(|(_, cookie)| cookie),
            ..Opt::new(setup.udp_size, edns.dnssec_ok)
        });
        let question = Question::read(request).ok();
        let question = question.filter(|_| header.counts()[0] == 1);
        let question_size = question.map_or(0, |question| question.size());
        Self {
            header,
            question: &request[HEADER_SIZE..HEADER_SIZE + question_size],
            opt,
            cookie,
        }
    }

    /// Answers it: FORMERR, unless it needs no question.
    pub(super) fn handle(self, response: &mut Vec<u8>) -> Handled {
        let has_opt_alone = self.header.counts() == [0, 0, 0, 1];
        let rcode = match self.cookie {
            // RFC 7873 section 5.4: a QUERY without a question asks for a cookie, or whether one
            // is good.
            Some((standing, _)) if has_opt_alone && self.header.opcode() == Opcode::QUERY => {
                match standing {
                    Standing::Proven | Standing::New => Rcode::NOERROR,
                    Standing::Unproven => Rcode::BADCOOKIE,
                }
            }
            _ => Rcode::FORMERR,
        };
        self.respond(rcode.into(), response)
    }

    /// Writes a response without records: the question as far as it is one, and OPT if the request
    /// has it.
    pub(super) fn respond(self, refusal: Refusal, response: &mut Vec<u8>) -> Handled {
        // RFC 5452 section 9.1: resolvers know a response by its question too. What another opcode
        // has in its place may be anything.
        let question = match refusal.rcode {
            Rcode::NOTIMP => &[],
            _ => self.question,
        };
        let (opt, error) = (self.opt.as_ref(), refusal.error);
        of_unread(response, self.header, question, refusal.rcode.0, opt, error);
        Handled {
            outcome: Outcome::Respond(refusal.rcode),
            standing: self.cookie.map(|(standing, _)| standing),
            subject: Subject::of_qname(Kind::Malformed),
        }
    }
}
