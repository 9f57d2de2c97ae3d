//! A name that is looked up: what finds its zone and its place there is made once.

use crate::key::{Key, WildcardKey};
use crate::name::{Name, NameRef};

/// A name to look up, whatever zone it turns out to belong to.
pub struct Sought<'n> {
    name: NameRef<'n>,
    /// From the root down, so that it begins with the key of every name above.
    key: Key,
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
    pub fn new(name: NameRef<'n>) -> Self {
        Self {
            name,
            // The wire of a name is its labels below the root.
            key: Key::of_labels(name.as_wire()),
        }
    }

    /// The name itself.
    #[must_use]
    pub fn name(&self) -> NameRef<'n> {
        self.name
    }

    /// How many labels it has, the root not counted.
    #[must_use]
    pub fn label_count(&self) -> usize {
        self.key.label_count()
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    /// What finds it in the zone of this origin; none if it lies elsewhere.
    pub(crate) fn below(&self, origin: &Name) -> Option<Below<'_>> {
        self.name.is_at_or_below(origin.borrowed()).then(|| Below {
            name: self.name,
            key: &self.key,
            above: origin.label_count(),
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

    /// The labels below the origin of the ancestor that has so many of them, one at least.
    pub(crate) fn labels(self, labels: usize) -> &'s [u8] {
        let (start, end) = (
            self.key.start(self.above + labels),
            match self.above {
                0 => self.name.as_wire().len() - 1,
                above => self.key.start(above),
            },
        );
        &self.name.as_wire()[start..end]
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
