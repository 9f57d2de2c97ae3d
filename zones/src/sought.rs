//! A name that is looked up: what finds its zone and its place there is made once.

use crate::key::{Key, WildcardKey};
use crate::name::{Name, NameRef};

/// A name to look up, whatever zone it turns out to belong to.
#[derive(Clone, Copy)]
pub struct Sought<'n> {
    name: NameRef<'n>,
    /// From the root down, so that it begins with the key of every name above.
    key: &'n Key,
}

/// Where what is made of a sought name stands, so that it is made in its place.
pub struct Space(Key);

impl Default for Space {
    #[inline]
    fn default() -> Self {
        Self(Key::EMPTY)
    }
}

/// The key of a sought name below an origin.
#[derive(Clone, Copy)]
pub(crate) struct Below<'s> {
    name: NameRef<'s>,
    key: &'s Key,
    /// How many labels the origin has.
    above: usize,
}

impl<'n> Sought<'n> {
    /// Gets a name ready to be looked up.
    #[must_use]
    pub fn new(name: NameRef<'n>, Space(key): &'n mut Space) -> Self {
        // The wire of a name is its labels below the root.
        key.set(name.as_wire());
        Self { name, key }
    }

    /// The name itself.
    #[must_use]
    pub fn name(&self) -> NameRef<'n> {
        self.name
    }

    /// The name at or above it that has so many labels, in the case of this one.
    #[must_use]
    pub fn ancestor(&self, labels: usize) -> NameRef<'n> {
        let wire = self.name.as_wire();
        let start = match labels {
            0 => wire.len() - 1,
            labels => self.key.start(labels),
        };
        NameRef::from_checked(&wire[start..])
    }

    /// How many labels it has, the root not counted.
    #[must_use]
    pub fn label_count(&self) -> usize {
        self.key.label_count()
    }

    pub(crate) fn key(&self) -> &'n Key {
        self.key
    }

    /// What finds it in the zone of this origin; none if it lies elsewhere.
    pub(crate) fn below(&self, origin: &Name) -> Option<Below<'n>> {
        let above = origin.label_count();
        let is_above = above <= self.label_count() && self.ancestor(above) == origin.borrowed();
        is_above.then_some(Below {
            name: self.name,
            key: self.key,
            above,
        })
    }
}

impl<'s> Below<'s> {
    /// The whole key.
    pub(crate) fn as_bytes(self) -> &'s [u8] {
        self.ancestor(self.label_count())
    }

    /// How many labels the name has below the origin.
    pub(crate) fn label_count(self) -> usize {
        self.key.label_count() - self.above
    }

    /// The key of the ancestor that has `labels` labels below the origin.
    pub(crate) fn ancestor(self, labels: usize) -> &'s [u8] {
        let start = self.key.ancestor(self.above).len();
        &self.key.ancestor(self.above + labels)[start..]
    }

    /// The labels below the origin of the ancestor that has so many of them.
    pub(crate) fn labels(self, labels: usize) -> &'s [u8] {
        let wire = self.name.as_wire();
        let end = match self.above {
            0 => wire.len() - 1,
            above => self.key.start(above),
        };
        let start = match labels {
            0 => end,
            labels => self.key.start(self.above + labels),
        };
        &wire[start..end]
    }

    /// The key of the wildcard right below the ancestor that has `labels` labels.
    pub(crate) fn wildcard_below(self, labels: usize) -> WildcardKey {
        WildcardKey::below(self.ancestor(labels))
    }
}

impl std::fmt::Debug for Sought<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(&self.name, f)
    }
}
