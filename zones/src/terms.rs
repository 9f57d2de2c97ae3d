//! What a server holds the changes of an UPDATE to, beyond RFC 2136.

use crate::rtype::Rtype;

/// What one change of an update is held to; by default nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Terms {
    /// Most records that the RRset may have when the update is done, if one was added to it. One
    /// that has more already may not grow.
    pub records_max: Option<u32>,
    /// Greatest TTL of a record that is added, in seconds: a greater one is lowered to it.
    pub ttl_max: Option<u32>,
    /// How long a record that is added lasts, in seconds.
    pub lease: Option<u32>,
    /// The only types that a deletion of a whole name takes away; none: all of them.
    pub deletes: Option<Box<[Rtype]>>,
}

impl Terms {
    /// True if they hold a change to anything.
    #[must_use]
    pub fn are_any(&self) -> bool {
        *self != Self::default()
    }
}
