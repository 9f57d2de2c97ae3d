//! A name that is looked up: what finds its zone and its place there is made once.

use std::cell::{Cell, RefCell};

use crate::key::{Key, LABELS_MAX, LabelStarts, WildcardKey, put_label_starts};
use crate::name::{NAME_SIZE_MAX, Name, NameRef};

/// A name to look up, whatever zone it turns out to belong to.
#[derive(Clone, Copy)]
pub struct Sought<'n> {
    name: NameRef<'n>,
    made: &'n Space,
}

/// Where what is made of a sought name stands, so that it is made in its place.
pub struct Space {
    starts: LabelStarts,
    labels: usize,
    /// From the root down, so that it begins with the key of every name above. Most names are found
    /// without it, by their hash.
    key: RefCell<Key>,
    has_key: Cell<bool>,
}

impl Default for Space {
    fn default() -> Self {
        Self {
            starts: [0; LABELS_MAX + 1],
            labels: 0,
            key: RefCell::new(Key::EMPTY),
            has_key: Cell::new(false),
        }
    }
}

/// A sought name at or below the origin of a zone.
#[derive(Clone, Copy, Debug)]
pub struct Below<'n> {
    sought: Sought<'n>,
    /// How many labels the origin has.
    above: usize,
}

/// The labels of a wildcard below an origin, in wire format.
pub(crate) struct WildcardLabels {
    wire: [u8; NAME_SIZE_MAX + WILDCARD.len()],
    size: usize,
}

const WILDCARD: &[u8] = b"\x01*";

impl<'n> Sought<'n> {
    /// Gets a name ready to be looked up.
    #[must_use]
    #[inline]
    pub fn new(name: NameRef<'n>, made: &'n mut Space) -> Self {
        made.labels = put_label_starts(name.as_wire(), &mut made.starts);
        made.has_key.set(false);
        Self { name, made }
    }

    /// The name itself.
    #[must_use]
    pub fn name(self) -> NameRef<'n> {
        self.name
    }

    /// The name at or above it that has so many labels, in the case of this one.
    #[must_use]
    pub fn ancestor(self, labels: usize) -> NameRef<'n> {
        NameRef::from_checked(&self.name.as_wire()[self.start(labels)..])
    }

    /// How many labels it has, the root not counted.
    #[must_use]
    pub fn label_count(self) -> usize {
        self.made.labels
    }

    /// The name within the zone of this origin; none if it lies elsewhere.
    #[must_use]
    pub fn below(self, origin: &Name) -> Option<Below<'n>> {
        let above = origin.label_count();
        let is_above = above <= self.label_count() && self.ancestor(above) == origin.borrowed();
        is_above.then(|| self.below_ancestor(above))
    }

    /// The name within the zone whose origin is its ancestor of so many labels.
    pub(crate) fn below_ancestor(self, labels: usize) -> Below<'n> {
        Below {
            sought: self,
            above: labels,
        }
    }

    /// Where the ancestor that has so many labels begins.
    fn start(self, labels: usize) -> usize {
        usize::from(self.made.starts[self.made.labels - labels])
    }
}

impl<'n> Below<'n> {
    /// The name, whatever zone it is in.
    #[must_use]
    pub fn sought(self) -> Sought<'n> {
        self.sought
    }

    /// True if the name is the origin itself.
    #[must_use]
    pub fn is_apex(self) -> bool {
        self.label_count() == 0
    }

    /// How many labels the name has below the origin.
    pub(crate) fn label_count(self) -> usize {
        self.sought.label_count() - self.above
    }

    /// The ancestor that has `labels` labels below the origin, in the case of the name.
    pub(crate) fn ancestor(self, labels: usize) -> NameRef<'n> {
        self.sought.ancestor(self.above + labels)
    }

    /// The labels below the origin of the ancestor that has so many of them.
    pub(crate) fn labels(self, labels: usize) -> &'n [u8] {
        let (start, end) = (
            self.sought.start(self.above + labels),
            self.sought.start(self.above),
        );
        &self.sought.name.as_wire()[start..end]
    }

    /// The labels of the wildcard right below the ancestor that has `labels` labels.
    pub(crate) fn wildcard_labels(self, labels: usize) -> WildcardLabels {
        let above = self.labels(labels);
        let mut wildcard = WildcardLabels {
            wire: [0; NAME_SIZE_MAX + WILDCARD.len()],
            size: WILDCARD.len() + above.len(),
        };
        let (first, rest) = wildcard.wire.split_at_mut(WILDCARD.len());
        first.copy_from_slice(WILDCARD);
        rest[..above.len()].copy_from_slice(above);
        wildcard
    }

    /// What `look` makes of the key, relative to the origin, of the ancestor that has `labels` labels
    /// below it.
    pub(crate) fn with_key<R>(self, labels: usize, look: impl FnOnce(&[u8]) -> R) -> R {
        let made = self.sought.made;
        if !made.has_key.replace(true) {
            // The wire of a name is its labels below the root.
            made.key.borrow_mut().set(self.sought.name.as_wire());
        }
        let key = made.key.borrow();
        let start = key.ancestor(self.above).len();
        look(&key.ancestor(self.above + labels)[start..])
    }

    /// The key of the wildcard right below the ancestor that has `labels` labels.
    pub(crate) fn wildcard_key(self, labels: usize) -> WildcardKey {
        self.with_key(labels, WildcardKey::below)
    }
}

impl WildcardLabels {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.wire[..self.size]
    }
}

impl std::fmt::Debug for Sought<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(&self.name, f)
    }
}
