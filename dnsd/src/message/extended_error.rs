//! Extended DNS errors (RFC 8914): what an RCODE does not say.

/// An INFO-CODE (RFC 8914 section 4), and what a person reads beside it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExtendedError {
    /// The INFO-CODE.
    pub code: u16,
    /// The EXTRA-TEXT; empty where the code says all.
    pub text: &'static str,
}

impl ExtendedError {
    /// The server cannot answer this yet.
    pub const NOT_READY: Self = Self::new(14);
    /// Whoever asks may not.
    pub const PROHIBITED: Self = Self::new(18);
    /// The zone is not held here.
    pub const NOT_AUTHORITATIVE: Self = Self::new(20);
    /// The kind of request is not known here.
    pub const NOT_SUPPORTED: Self = Self::new(21);
    /// An update of a zone that is signed elsewhere.
    pub const SIGNED_ELSEWHERE: Self = Self {
        text: "the zone is signed elsewhere: change it there, and import it again",
        ..Self::NOT_SUPPORTED
    };

    const fn new(code: u16) -> Self {
        Self { code, text: "" }
    }
}
