//! Work that takes longer than 5 ms: it is done aside, and comes back.

use super::import::{Built, Given, build};
use crate::blobs::{Checked, Unchecked};
use crate::rebase::{self, Rebased};
use crate::requests::ClientId;
use crate::sponsor::{self, Staged};
use crate::state::State;
use crate::zone_data::decode_blob;
use bytes::Bytes;
use overlay::LinkId;
use replication::BlobHash;
use zones::Version;

/// What is to be done.
pub enum Work {
    /// Read the zone in a blob that is durable, which comes to be in this state or a later one.
    Decode(BlobHash, Bytes, State),
    /// Compare what a neighbor gave with what it was asked for.
    Check(Unchecked),
    /// Encode what a newcomer is to be streamed.
    Stage(LinkId, sponsor::Work),
    /// Put zones on new bases.
    Rebase(Vec<Version>),
    /// Sort, check, compare and encode a zone that is to be imported.
    Build(ClientId, Given),
}

/// What came of it.
pub enum Worked {
    /// The zone in a blob; none if the blob is not a zone.
    Blob(BlobHash, Option<Box<Version>>),
    /// What a neighbor gave.
    Fetched(Checked),
    /// What a newcomer is to be streamed.
    Staged(LinkId, Staged),
    /// Zones on new bases.
    Rebased(Vec<Rebased>),
    /// The zone of an import, or why it cannot be.
    Built(ClientId, Result<Box<Built>, String>),
}

impl Work {
    /// Does it.
    #[must_use]
    pub fn run(self) -> Worked {
        match self {
            Self::Decode(hash, bytes, state) => {
                let version = decode_blob(&bytes).map(|version| state.onto_held(version));
                Worked::Blob(hash, version.map(Box::new))
            }
            Self::Check(unchecked) => Worked::Fetched(unchecked.check()),
            Self::Stage(link, work) => Worked::Staged(link, work.run()),
            Self::Rebase(due) => Worked::Rebased(rebase::run(due)),
            Self::Build(client, given) => Worked::Built(client, build(given).map(Box::new)),
        }
    }
}

impl Worked {
    /// What it is, for a log line.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Blob(..) => "zone of a blob",
            Self::Fetched(_) => "blob fetched",
            Self::Staged(..) => "stage",
            Self::Rebased(_) => "new bases",
            Self::Built(..) => "import",
        }
    }
}
