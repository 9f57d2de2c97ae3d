//! What a data directory holds, and how an empty one begins.
//!
//! ```text
//! key            the identity           blobs/HASH     data of imports
//! log/ zones/ history/                  the databases  (zones/peer: who this peer is)
//! admin.sock     while it runs
//! ```

use crate::checkpoint;
use crate::imports::Imports;
use crate::peer::Checkpoint;
use crate::stage::Received;
use crate::state::State;
use crate::zone_data;
use bytes::Bytes;
use overlay::io::key::{Identity, KeyError};
use overlay::{Admit, MemberRow};
use replication::rows::{TREE_ENTRIES, TREE_START};
use replication::{BlobHash, Corrupt, Replica};
use ring::digest::{SHA256, digest};
use std::fmt;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use zones::io::store::SledStore;
use zones::store::{
    Database, KeyValue, PIECE_ROWS_MAX, Row, Store, StoreError, pieces, scan_prefix,
};

/// The tree of rows about this peer alone.
const PEER: &str = "peer";
const KEY_ADMIT: &[u8] = b"admit";
const KEY_PORT: &[u8] = b"port";
const KEY_SEEDED: &[u8] = b"seeded";
/// The tree of the overlay's member list.
const MEMBERS: &str = "members";
/// The tree of the join handshake: invitations and whom they bind.
const JOIN: &str = "join";

/// An open data directory.
pub struct DataDir {
    /// Who this peer is.
    pub identity: Identity,
    /// The store.
    pub store: SledStore,
}

/// What a member finds in its data directory.
pub struct Member {
    /// This peer's admission: its cluster, its name.
    pub admit: Admit,
    /// The state of the last checkpoint.
    pub checkpoint: State,
    /// The replica's part of it.
    pub meta: Bytes,
    /// The replica's rows.
    pub rows: Vec<replication::Row>,
    /// The zones in the blobs that the log names.
    pub imports: Imports,
    /// Whether what the command line seeds is in.
    pub is_seeded: bool,
}

/// Why a data directory cannot be used.
#[derive(Debug)]
pub enum StartError {
    /// The directory itself.
    Folder(PathBuf, io::Error),
    /// The key in it.
    Key(KeyError),
    /// The store in it.
    Store(StoreError),
    /// Rows that do not fit together.
    Rows(Corrupt),
    /// A blob is not what its name says.
    Blob(BlobHash),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path, error) => write!(f, "cannot use {}: {error}", path.display()),
            Self::Key(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
            Self::Rows(corrupt) => {
                write!(
                    f,
                    "the store is corrupt: its log does not fit together ({corrupt:?})"
                )
            }
            Self::Blob(hash) => write!(
                f,
                "the store is corrupt: blob {} is not what its name says",
                data_encoding::HEXLOWER.encode(&hash.0)
            ),
        }
    }
}

impl std::error::Error for StartError {}

impl From<StoreError> for StartError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl StartError {
    /// True if the store's content is damaged, which `--set-aside-corrupt-store` is for.
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        match self {
            Self::Store(error) => matches!(error, StoreError::Corrupt { .. }),
            Self::Rows(_) | Self::Blob(_) => true,
            Self::Folder(..) | Self::Key(_) => false,
        }
    }
}

impl DataDir {
    /// Opens the directory, or makes it.
    pub fn open(path: &Path) -> Result<Self, StartError> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| StartError::Folder(path.to_owned(), error))?;
        let store = SledStore::open(path)?;
        let identity = Identity::load_or_make(path).map_err(StartError::Key)?;
        Ok(Self { identity, store })
    }

    /// What it holds; none if it is fresh.
    pub fn member(&mut self) -> Result<Option<Member>, StartError> {
        let Some((checkpoint, meta)) = checkpoint::read(&mut self.store)? else {
            return Ok(None);
        };
        // Written last: without it, the birth was not completed and nobody relied on it.
        let Some(admit) = self.store.get(Database::Zones, PEER, KEY_ADMIT)? else {
            return Ok(None);
        };
        let admit = Admit::decode(&mut &admit[..]).ok_or_else(|| corrupt(PEER))?;
        let mut rows = Vec::new();
        for tree in [TREE_ENTRIES, TREE_START] {
            for row in scan_prefix(&self.store, Database::Log, tree, &[]) {
                let (key, value) = row?;
                rows.push(replication::Row {
                    tree,
                    key,
                    value: Some(value),
                });
            }
        }
        let mut imports = Imports::default();
        for hash in self.store.blobs()? {
            let bytes = self.store.blob(&hash)?.ok_or_else(|| corrupt("blobs"))?;
            let hash = BlobHash(hash);
            let version = (blob_hash(&bytes) == hash)
                .then(|| zone_data::decode_blob(&bytes))
                .flatten()
                .ok_or(StartError::Blob(hash))?;
            imports.insert(hash, version);
        }
        let is_seeded = self.store.get(Database::Zones, PEER, KEY_SEEDED)?.is_some();
        Ok(Some(Member {
            admit,
            checkpoint,
            meta,
            rows,
            imports,
            is_seeded,
        }))
    }

    /// Makes the first peer of a new cluster.
    pub fn give_birth(&mut self, admit: &Admit, wall: Duration) -> Result<(), StartError> {
        let birth = Replica::birth(admit.clone(), wall);
        self.clear_unfinished()?;
        self.write_birth(&birth, State::empty(), admit)
    }

    /// Makes a member of what a sponsor sent.
    pub fn take_snapshot(
        &mut self,
        admit: &Admit,
        received: &Received,
        snapshot: &Bytes,
        members: &[overlay::Member],
        wall: Duration,
    ) -> Result<(), StartError> {
        let birth =
            Replica::from_snapshot(&received.stage, snapshot, wall).map_err(StartError::Rows)?;
        self.clear_unfinished()?;
        for (hash, bytes) in &received.blobs {
            if blob_hash(bytes) != *hash {
                return Err(StartError::Blob(*hash));
            }
            self.store.put_blob(&hash.0, bytes)?;
        }
        let rows = members
            .iter()
            .filter(|member| member.key != admit.key)
            .map(|member| {
                member_row(&MemberRow {
                    key: member.key,
                    name: member.name.clone(),
                    addresses: member.addresses.clone(),
                    last_good: None,
                })
            })
            .chain([Row::put(PEER, KEY_SEEDED, Vec::new())])
            .collect();
        for piece in pieces(rows, PIECE_ROWS_MAX) {
            self.store.write(Database::Zones, &piece)?;
        }
        self.write_birth(&birth, received.checkpoint.clone(), admit)
    }

    /// The rows of the overlay's member list.
    pub fn member_rows(&self) -> Result<Vec<MemberRow>, StartError> {
        scan_prefix(&self.store, Database::Zones, MEMBERS, &[])
            .map(|row| Ok(MemberRow::decode(&row?.1).ok_or_else(|| corrupt(MEMBERS))?))
            .collect()
    }

    /// The rows of the join handshake.
    pub fn join_rows(&self) -> Result<Vec<KeyValue>, StartError> {
        scan_prefix(&self.store, Database::Zones, JOIN, &[])
            .map(|row| row.map_err(StartError::Store))
            .collect()
    }

    /// The port for links that was chosen once.
    pub fn peer_port(&self) -> Result<Option<u16>, StartError> {
        let row = self.store.get(Database::Zones, PEER, KEY_PORT)?;
        row.map(|row| {
            <[u8; 2]>::try_from(row)
                .map(u16::from_be_bytes)
                .map_err(|_| corrupt(PEER).into())
        })
        .transpose()
    }

    /// Keeps the port for links.
    pub fn set_peer_port(&mut self, port: u16) -> Result<(), StartError> {
        self.store.write(
            Database::Zones,
            &[Row::put(PEER, KEY_PORT, port.to_be_bytes())],
        )?;
        Ok(self.store.flush(Database::Zones)?)
    }

    fn write_birth(
        &mut self,
        birth: &replication::Birth,
        checkpoint: State,
        admit: &Admit,
    ) -> Result<(), StartError> {
        for piece in &birth.pieces {
            let rows: Vec<Row> = piece
                .iter()
                .map(|row| Row {
                    tree: row.tree,
                    key: row.key.clone(),
                    value: row.value.clone(),
                })
                .collect();
            self.store.write(Database::Log, &rows)?;
        }
        self.store.flush(Database::Log)?;
        let checkpoint = Checkpoint {
            previous: State::empty(),
            state: checkpoint,
            meta: birth.checkpoint_meta.clone(),
        };
        for slice in checkpoint::slices(&checkpoint) {
            match slice {
                checkpoint::Slice::Write(rows) => self.store.write(Database::Zones, &rows)?,
                checkpoint::Slice::Flush => self.store.flush(Database::Zones)?,
            }
        }
        let mut bytes = Vec::new();
        admit.encode(&mut bytes);
        self.store
            .write(Database::Zones, &[Row::put(PEER, KEY_ADMIT, bytes)])?;
        Ok(self.store.flush(Database::Zones)?)
    }

    /// Removes what a birth or a join left that did not come to its end: nobody relied on it.
    fn clear_unfinished(&mut self) -> Result<(), StartError> {
        for tree in [TREE_ENTRIES, TREE_START] {
            let rows = scan_prefix(&self.store, Database::Log, tree, &[])
                .map(|row| row.map(|(key, _)| Row::delete(tree, key)))
                .collect::<Result<Vec<Row>, _>>()?;
            for piece in pieces(rows, PIECE_ROWS_MAX) {
                self.store.write(Database::Log, &piece)?;
            }
        }
        Ok(())
    }
}

/// The row of the overlay's member list.
#[must_use]
pub fn member_row(row: &MemberRow) -> Row {
    Row::put(MEMBERS, row.key.0, row.encode())
}

/// A row of the join handshake.
#[must_use]
pub fn join_row(key: Vec<u8>, value: Option<Vec<u8>>) -> Row {
    Row {
        tree: JOIN,
        key,
        value,
    }
}

/// The row that says that what the command line seeds is in.
#[must_use]
pub fn seeded_row() -> Row {
    Row::put(PEER, KEY_SEEDED, Vec::new())
}

/// The name of a blob.
#[must_use]
pub fn blob_hash(bytes: &[u8]) -> BlobHash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    BlobHash(hash)
}

fn corrupt(tree: &str) -> StoreError {
    StoreError::Corrupt {
        place: format!("database {}, tree {tree}", Database::Zones.name()),
        cause: "a row does not decode".to_owned(),
    }
}
