//! Extended DNS errors (RFC 8914): what an RCODE does not say.

/// An INFO-CODE (RFC 8914 section 4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExtendedError(pub u16);

impl ExtendedError {
    /// The server cannot answer this yet.
    pub const NOT_READY: Self = Self(14);
    /// Whoever asks may not.
    pub const PROHIBITED: Self = Self(18);
    /// The zone is not held here.
    pub const NOT_AUTHORITATIVE: Self = Self(20);
    /// The kind of request is not known here.
    pub const NOT_SUPPORTED: Self = Self(21);
}
