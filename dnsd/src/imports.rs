//! The zones that imports named by blobs make, built before their entries are folded.

use replication::BlobHash;
use std::collections::BTreeMap;
use zones::Version;

/// Blob → the zone in it. A peer says that it holds a blob only when the zone stands here.
#[derive(Clone, Default)]
pub struct Imports(BTreeMap<BlobHash, Version>);

impl Imports {
    /// The zone in a blob that some held entry names.
    #[must_use]
    pub fn get(&self, blob: &BlobHash) -> &Version {
        self.0
            .get(blob)
            .expect("holding an entry means holding its blobs")
    }

    /// True if the blob is here.
    #[must_use]
    pub fn contains(&self, blob: &BlobHash) -> bool {
        self.0.contains_key(blob)
    }

    /// All blobs that are here.
    pub fn hashes(&self) -> impl Iterator<Item = BlobHash> + '_ {
        self.0.keys().copied()
    }

    /// Adds the zone of a blob.
    pub fn insert(&mut self, blob: BlobHash, version: Version) {
        self.0.insert(blob, version);
    }

    /// Forgets a blob that no entry above the checkpoint names.
    pub fn remove(&mut self, blob: &BlobHash) {
        self.0.remove(blob);
    }
}
