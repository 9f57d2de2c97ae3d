//! Class CH: what a server says of itself (RFC 4892), if its operator wants that.

use super::asked::Asked;
use crate::message::compress::Case;
use crate::message::header::{AA, TC};
use crate::message::{Builder, Owner, Section};
use zones::Rcode;
use zones::rtype::{Class, Rtype};

/// The texts; none: the names do not exist. Each at most [`super::SELF_TEXT_SIZE_MAX`] bytes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Chaos {
    /// Which server this is: `id.server.`, and `hostname.bind.` as BIND calls it.
    pub id: Option<Box<str>>,
    /// Which software it runs: `version.server.` and `version.bind.`
    pub version: Option<Box<str>>,
}

/// Answers a question of class CH, or returns false if nothing is said.
pub(super) fn answer(asked: &Asked<'_, '_>, response: &mut Vec<u8>) -> bool {
    let (request, setup) = (asked.request, asked.setup);
    let question = &request.question;
    let is_one_of = |names: [&[u8]; 2]| {
        names
            .iter()
            .any(|name| question.qname.as_wire().eq_ignore_ascii_case(name))
    };
    let text = if is_one_of([b"\x02id\x06server\x00", b"\x08hostname\x04bind\x00"]) {
        &setup.chaos.id
    } else if is_one_of([b"\x07version\x06server\x00", b"\x07version\x04bind\x00"]) {
        &setup.chaos.version
    } else {
        &None
    };
    let (Some(text), Rtype::TXT | Rtype::ANY) = (text, question.qtype) else {
        return false;
    };
    let (size_max, opt) = (asked.size_max(), asked.opt());
    let mut builder = Builder::new(response, request, Case::Ignored, size_max, opt);
    let size = u8::try_from(text.len()).expect("the text is shorter than SELF_TEXT_SIZE_MAX");
    let rdata = [&[size], text.as_bytes()].concat();
    // Nobody shall keep it: behind an address that moves stands another server soon.
    let ttl = 0;
    let (section, owner) = (Section::Answer, Owner::Question(0));
    let put = builder.record_of(Class::CH, section, owner, Rtype::TXT, ttl, &rdata);
    let truncated = if put.is_err() { TC } else { 0 };
    builder.finish(request.header, AA | truncated, Rcode::NOERROR.0);
    true
}
