//! Why a request is not done: an RCODE, and what RFC 8914 lets us add to it.

use crate::message::ExtendedError;
use zones::Rcode;

/// The RCODE of a response without records, and the extended error that explains it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Refusal {
    pub(crate) rcode: Rcode,
    pub(crate) error: Option<ExtendedError>,
}

impl Refusal {
    /// An update or a transfer of a zone that is not held.
    pub(super) const NOT_HELD: Self = Self::new(Rcode::NOTAUTH, ExtendedError::NOT_AUTHORITATIVE);
    /// Policy does not let the sender.
    pub(super) const PROHIBITED: Self = Self::new(Rcode::REFUSED, ExtendedError::PROHIBITED);
    /// The zone is not published yet, or too many wait.
    pub(super) const NOT_READY: Self = Self::new(Rcode::SERVFAIL, ExtendedError::NOT_READY);

    /// An update that would need signatures which nobody here makes.
    pub(super) const SIGNED_ELSEWHERE: Self =
        Self::new(Rcode::REFUSED, ExtendedError::SIGNED_ELSEWHERE);

    pub(super) const fn new(rcode: Rcode, error: ExtendedError) -> Self {
        Self {
            rcode,
            error: Some(error),
        }
    }
}

/// The RCODE says all.
impl From<Rcode> for Refusal {
    fn from(rcode: Rcode) -> Self {
        Self { rcode, error: None }
    }
}
