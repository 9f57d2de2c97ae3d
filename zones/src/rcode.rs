//! Response codes (RFC 1035 section 4.1.1, RFC 2136 section 2.2, RFC 6891 section 9).

use std::fmt;

/// A response code; above 15 it needs EDNS.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rcode(pub u16);

impl Rcode {
    /// No error.
    pub const NOERROR: Self = Self(0);
    /// The request cannot be understood.
    pub const FORMERR: Self = Self(1);
    /// The server fails.
    pub const SERVFAIL: Self = Self(2);
    /// The name does not exist.
    pub const NXDOMAIN: Self = Self(3);
    /// This kind of request is not implemented.
    pub const NOTIMP: Self = Self(4);
    /// Policy refuses.
    pub const REFUSED: Self = Self(5);
    /// A name exists that should not.
    pub const YXDOMAIN: Self = Self(6);
    /// An RRset exists that should not.
    pub const YXRRSET: Self = Self(7);
    /// An RRset that should exist does not.
    pub const NXRRSET: Self = Self(8);
    /// The server is not authoritative for the zone.
    pub const NOTAUTH: Self = Self(9);
    /// A name is not within the zone.
    pub const NOTZONE: Self = Self(10);
    /// The EDNS version is not implemented.
    pub const BADVERS: Self = Self(16);
    /// The server cookie is missing or wrong (RFC 7873 section 8).
    pub const BADCOOKIE: Self = Self(23);
}

impl fmt::Display for Rcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::NOERROR => "NOERROR",
            Self::FORMERR => "FORMERR",
            Self::SERVFAIL => "SERVFAIL",
            Self::NXDOMAIN => "NXDOMAIN",
            Self::NOTIMP => "NOTIMP",
            Self::REFUSED => "REFUSED",
            Self::YXDOMAIN => "YXDOMAIN",
            Self::YXRRSET => "YXRRSET",
            Self::NXRRSET => "NXRRSET",
            Self::NOTAUTH => "NOTAUTH",
            Self::NOTZONE => "NOTZONE",
            Self::BADVERS => "BADVERS",
            Self::BADCOOKIE => "BADCOOKIE",
            Self(n) => return write!(f, "RCODE{n}"),
        })
    }
}

impl fmt::Debug for Rcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
