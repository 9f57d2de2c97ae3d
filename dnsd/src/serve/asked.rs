//! A request, and all that its response is made from.
//!
//! What a cookie and a signature say is worked out once, here; what follows from it is said in
//! `mod.rs`.

use super::{Client, Refusal, Served, Setup, Transport};
use crate::cookie::{COOKIE_SIZE, Standing};
use crate::message::compress::Case;
use crate::message::edns::{Edns, Opt, UDP_SIZE_MIN};
use crate::message::header::{HEADER_SIZE, TC};
use crate::message::{Builder, Header, MESSAGE_SIZE_MAX, Request};
use crate::policy::Asker;
use crate::requests::{Sender, Signature};
use crate::tsig::{self, Key, Signed, Verdict};
use std::cell::OnceCell;
use std::time::Duration;
use zones::Rcode;

/// A request that was read.
pub(crate) struct Asked<'r, 'a> {
    pub(crate) request: &'r Request<'a>,
    pub(crate) client: &'a Client,
    pub(crate) served: &'a Served,
    pub(crate) setup: &'a Setup,
    cookie: Option<Exchange>,
    verdict: Option<Verdict<'a>>,
    /// What the OPT record of the response says, once it was asked for.
    opt: OnceCell<Opt<'a>>,
}

/// What the cookie of a request says of its sender, and the one that the response has.
pub(super) type Exchange = (Standing, [u8; COOKIE_SIZE]);

impl<'r, 'a> Asked<'r, 'a> {
    #[inline]
    pub(super) fn new(
        request: &'r Request<'a>,
        client: &'a Client,
        served: &'a Served,
        setup: &'a Setup,
    ) -> Self {
        Self {
            cookie: request
                .edns
                .as_ref()
                .and_then(|edns| exchange(edns, client, served)),
            verdict: request
                .tsig()
                .map(|tsig| tsig::verify(request.message, &tsig, &served.keys, client.wall)),
            request,
            client,
            served,
            setup,
            opt: OnceCell::new(),
        }
    }

    /// What the cookie says of the sender; none if there is none.
    pub(super) fn standing(&self) -> Option<Standing> {
        self.cookie.map(|(standing, _)| standing)
    }

    /// The signature; none if there is none.
    pub(super) fn signed(&self) -> Option<Signed<'a>> {
        Some(Signed {
            message: self.request.message,
            tsig: self.request.tsig()?,
            verdict: self.verdict?,
        })
    }

    /// What the signature came to; none if there is none.
    pub(super) fn verdict(&self) -> Option<Verdict<'a>> {
        self.verdict
    }

    /// The key that the request is signed with, and well.
    pub(super) fn key(&self) -> Option<&'a Key> {
        self.verdict?.key()
    }

    /// Who sent it, to policy.
    pub(super) fn asker(&self) -> Asker<'a> {
        Asker {
            key: self.key().map(|key| &key.name),
            address: self.client.address.ip(),
            is_address_proven: self.client.transport.proves_address(),
        }
    }

    /// Who sent it.
    pub(super) fn sender(&self) -> Sender {
        let signature = self.key().zip(self.request.tsig());
        Sender {
            address: self.client.address,
            is_address_proven: self.client.transport.proves_address(),
            signature: signature.map(|(key, tsig)| {
                Box::new(Signature {
                    key: key.name.clone(),
                    mac: tsig.mac.into(),
                })
            }),
        }
    }

    /// Signs the response to a request that is signed. Nothing is added to it after that.
    #[inline]
    pub(super) fn seal(&self, response: &mut Vec<u8>) {
        if let Some(signed) = self.signed() {
            signed.seal(response, self.client.wall);
        }
    }

    /// True if the sender has the certificate that updates and zone transfers need, if they need
    /// one.
    pub(super) fn is_certified(&self) -> bool {
        let identity = self.client.identity.as_deref();
        self.setup.certified.admits(identity)
    }

    /// What the OPT record of the response says, if the request has one.
    #[inline]
    pub(super) fn opt(&self) -> Option<&Opt<'a>> {
        let edns = self.request.edns.as_ref()?;
        Some(self.opt.get_or_init(|| self.opt_for(edns)))
    }

    fn opt_for(&self, edns: &Edns<'_>) -> Opt<'a> {
        // RFC 7828 section 3.3.1: over UDP the option is ignored; so it is by HTTP.
        let keepalive = (edns.wants_keepalive && self.client.transport.has_keepalive())
            .then(|| keepalive_timeout(self.client.timeout_idle));
        Opt {
            keepalive,
            // RFC 7830 section 6: padding without encryption hides nothing.
            is_padded: edns.wants_padding && self.client.transport.is_encrypted(),
            nsid: match &self.setup.nsid {
                Some(nsid) if edns.wants_nsid => Some(nsid.as_bytes()),
                _ => None,
            },
            cookie: self.cookie.map(|(_, cookie)| cookie),
            followed_by: self.signature_size(),
            ..Opt::new(self.setup.udp_size, edns.dnssec_ok)
        }
    }

    /// How long the response may be before it is signed.
    #[inline(always)]
    pub(super) fn size_max(&self) -> usize {
        let size = match self.client.transport {
            Transport::Tcp | Transport::Tls | Transport::Https | Transport::Quic => {
                MESSAGE_SIZE_MAX
            }
            // RFC 6891 section 6.2.3: what the client takes, 512 at least; and no more than this
            // server is set to send.
            Transport::Udp => match &self.request.edns {
                Some(edns) => usize::from(edns.size.min(self.setup.udp_size).max(UDP_SIZE_MIN)),
                None => usize::from(UDP_SIZE_MIN),
            },
        };
        match self.verdict {
            Some(_) => self.size_max_signed(size),
            None => size,
        }
    }

    /// How much of that many bytes a signed response may take before it is signed.
    fn size_max_signed(&self, size: usize) -> usize {
        // RFC 8945 section 5.3: what is cut short to make room for the signature still has its
        // question, however small a message the client takes.
        let least = HEADER_SIZE + self.request.question.size();
        let least = least + self.opt().map_or(0, |opt| opt.size());
        size.saturating_sub(self.signature_size()).max(least)
    }

    fn signature_size(&self) -> usize {
        self.signed().map_or(0, |signed| signed.size())
    }

    /// Writes a response that says nothing but that it is cut short.
    pub(super) fn respond_truncated(&self, response: &mut Vec<u8>) {
        let size_max = self.size_max();
        let mut builder = Builder::new(response, self.request, Case::Ignored, size_max, self.opt());
        builder.finish(self.request.header, TC, Rcode::NOERROR.0);
    }

    /// Writes a response without records: the question, and OPT if the request has it.
    pub(super) fn respond_empty(&self, refusal: Refusal, response: &mut Vec<u8>) {
        let size_max = MESSAGE_SIZE_MAX - self.signature_size();
        let mut builder = Builder::new(response, self.request, Case::Ignored, size_max, self.opt());
        if let Some(error) = refusal.error {
            builder.explain(error);
        }
        builder.finish(self.request.header, 0, refusal.rcode.0);
    }
}

/// Reads a request that was read before.
pub(super) fn read_again(request: &[u8]) -> Request<'_> {
    let read = Header::read(request).and_then(|header| Request::read(request, header));
    read.expect("it was read before")
}

/// Looks at the cookie of a request, if it has one and the cluster has a secret.
pub(super) fn exchange(edns: &Edns<'_>, client: &Client, served: &Served) -> Option<Exchange> {
    let (cookie, secrets) = (edns.cookie?, served.cookies?);
    // RFC 9018 section 4.3: seconds since 1970 modulo 2³².
    let wall = client.wall.as_secs() as u32;
    Some(secrets.answer(&cookie, client.address.ip(), wall))
}

/// RFC 7828 section 3.1: in units of 100 milliseconds.
fn keepalive_timeout(timeout: Duration) -> u16 {
    u16::try_from(timeout.as_millis() / 100).unwrap_or(u16::MAX)
}
