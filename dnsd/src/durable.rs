//! What of a peer is durable, as rows of its store: how a start reads them, and how an empty store
//! becomes that of a first peer or of a newcomer.

use crate::checkpoint;
use crate::history;
use crate::imports::Imports;
use crate::stage::Received;
use crate::state::State;
use crate::zone_data;
use bytes::Bytes;
use overlay::{Admit, MemberRow};
use replication::rows::{TREE_ENTRIES, TREE_START};
use replication::{BlobHash, Corrupt, Replica};
use ring::digest::{SHA256, digest};
use std::fmt;
use std::time::Duration;
use zones::store::{
    Database, KeyValue, PIECE_ROWS_MAX, Row, Store, StoreError, pieces, scan_prefix,
};

/// The tree of rows about this peer alone.
const PEER: &str = "peer";
const KEY_ADMIT: &[u8] = b"admit";
const KEY_PORT: &[u8] = b"port";
/// The tree of the overlay's member list.
const MEMBERS: &str = "members";
/// The tree of the join handshake: invitations and whom they bind.
const JOIN: &str = "join";

/// What a member finds in its store.
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
    /// What was published, step by step.
    pub history: history::Found,
}

/// Why a store cannot be used.
#[derive(Debug)]
pub enum LoadError {
    /// It does not work, or a row is damaged.
    Store(StoreError),
    /// Rows that do not fit together.
    Rows(Corrupt),
    /// A blob that the log names is missing, or not what its name says.
    Blob(BlobHash),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Rows(corrupt) => {
                write!(
                    f,
                    "the store is corrupt: its log does not fit together: {corrupt}"
                )
            }
            Self::Blob(hash) => write!(
                f,
                "the store is corrupt: blob {} is missing or not what its name says",
                data_encoding::HEXLOWER.encode(&hash.0)
            ),
        }
    }
}

impl std::error::Error for LoadError {}

impl From<StoreError> for LoadError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl LoadError {
    /// True if the content is damaged, which `--set-aside-corrupt-store` is for.
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        match self {
            Self::Store(error) => matches!(error, StoreError::Corrupt { .. }),
            Self::Rows(_) | Self::Blob(_) => true,
        }
    }
}

/// True if a birth or a join was completed here.
pub fn is_member(store: &dyn Store) -> Result<bool, StoreError> {
    Ok(store.get(Database::Zones, PEER, KEY_ADMIT)?.is_some())
}

/// What it holds; none if it is fresh.
pub fn member(store: &mut dyn Store) -> Result<Option<Member>, LoadError> {
    let Some((checkpoint, meta)) = checkpoint::read(store)? else {
        return Ok(None);
    };
    // Written last: without it, the birth was not completed and nobody relied on it.
    let Some(admit) = store.get(Database::Zones, PEER, KEY_ADMIT)? else {
        return Ok(None);
    };
    let admit = Admit::decode(&mut &admit[..]).ok_or_else(|| corrupt(PEER))?;
    member_at(store, admit, checkpoint, meta).map(Some)
}

/// The member that stands at this checkpoint.
fn member_at(
    store: &dyn Store,
    admit: Admit,
    checkpoint: State,
    meta: Bytes,
) -> Result<Member, LoadError> {
    let mut rows = Vec::new();
    for tree in [TREE_ENTRIES, TREE_START] {
        for row in scan_prefix(store, Database::Log, tree, &[]) {
            let (key, value) = row?;
            rows.push(replication::Row {
                tree,
                key,
                value: Some(value),
            });
        }
    }
    let mut imports = Imports::default();
    for hash in store.blobs()? {
        let bytes = store.blob(&hash)?.ok_or_else(|| corrupt("blobs"))?;
        let hash = BlobHash(hash);
        let version = (blob_hash(&bytes) == hash)
            .then(|| zone_data::decode_blob(&bytes))
            .flatten()
            .ok_or(LoadError::Blob(hash))?;
        imports.insert(hash, checkpoint.onto_held(version));
    }
    Ok(Member {
        admit,
        checkpoint,
        meta,
        rows,
        imports,
        history: history::read(store)?,
    })
}

/// Makes the first peer of a new cluster that begins with this state.
pub fn give_birth(
    store: &mut dyn Store,
    admit: &Admit,
    state: State,
    wall: Duration,
) -> Result<Member, LoadError> {
    let birth = Replica::birth(admit.clone(), wall);
    clear_unfinished(store)?;
    write_birth(store, &birth, state.clone(), admit)?;
    member_at(store, admit.clone(), state, birth.checkpoint_meta)
}

/// Makes a member of what a sponsor sent.
pub fn take_snapshot(
    store: &mut dyn Store,
    admit: &Admit,
    received: &Received,
    members: &[overlay::Member],
) -> Result<(), LoadError> {
    let birth =
        Replica::from_snapshot(&received.stage, &received.snapshot).map_err(LoadError::Rows)?;
    clear_unfinished(store)?;
    for (hash, bytes) in &received.blobs {
        if blob_hash(bytes) != *hash {
            return Err(LoadError::Blob(*hash));
        }
        store.put_blob(&hash.0, bytes)?;
    }
    // Replication protocol section 12: stored only when the blobs of the log's entries are, too.
    for hash in &birth.blobs {
        if store.blob(&hash.0)?.is_none() {
            return Err(LoadError::Blob(*hash));
        }
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
        .collect();
    for piece in pieces(rows, PIECE_ROWS_MAX) {
        store.write(Database::Zones, &piece)?;
    }
    write_birth(store, &birth, received.checkpoint.clone(), admit)
}

/// The rows of the overlay's member list.
pub fn member_rows(store: &dyn Store) -> Result<Vec<MemberRow>, LoadError> {
    scan_prefix(store, Database::Zones, MEMBERS, &[])
        .map(|row| Ok(MemberRow::decode(&row?.1).ok_or_else(|| corrupt(MEMBERS))?))
        .collect()
}

/// The rows of the join handshake.
pub fn join_rows(store: &dyn Store) -> Result<Vec<KeyValue>, LoadError> {
    scan_prefix(store, Database::Zones, JOIN, &[])
        .map(|row| row.map_err(LoadError::Store))
        .collect()
}

/// The port for links that was chosen once.
pub fn peer_port(store: &dyn Store) -> Result<Option<u16>, LoadError> {
    let row = store.get(Database::Zones, PEER, KEY_PORT)?;
    row.map(|row| {
        <[u8; 2]>::try_from(row)
            .map(u16::from_be_bytes)
            .map_err(|_| corrupt(PEER).into())
    })
    .transpose()
}

/// Keeps the port for links.
pub fn set_peer_port(store: &mut dyn Store, port: u16) -> Result<(), LoadError> {
    store.write(
        Database::Zones,
        &[Row::put(PEER, KEY_PORT, port.to_be_bytes())],
    )?;
    Ok(store.flush(Database::Zones)?)
}

fn write_birth(
    store: &mut dyn Store,
    birth: &replication::Birth,
    checkpoint: State,
    admit: &Admit,
) -> Result<(), LoadError> {
    for piece in &birth.pieces {
        let rows: Vec<Row> = piece
            .iter()
            .map(|row| Row {
                tree: row.tree,
                key: row.key.clone(),
                value: row.value.clone(),
            })
            .collect();
        store.write(Database::Log, &rows)?;
    }
    store.flush(Database::Log)?;
    for slice in checkpoint::first_slices(checkpoint, birth.checkpoint_meta.clone()) {
        match slice {
            checkpoint::Slice::Write(rows) => store.write(Database::Zones, &rows)?,
            checkpoint::Slice::Flush => store.flush(Database::Zones)?,
        }
    }
    let mut bytes = Vec::new();
    admit.encode(&mut bytes);
    store.write(Database::Zones, &[Row::put(PEER, KEY_ADMIT, bytes)])?;
    Ok(store.flush(Database::Zones)?)
}

/// Removes what a birth or a join left that did not come to its end: nobody relied on it.
fn clear_unfinished(store: &mut dyn Store) -> Result<(), LoadError> {
    let log = [TREE_ENTRIES, TREE_START].map(|tree| (Database::Log, tree));
    let zones = checkpoint::trees().map(|tree| (Database::Zones, tree));
    let history = history::trees().map(|tree| (Database::History, tree));
    for (database, tree) in log.into_iter().chain(zones).chain(history) {
        let rows = scan_prefix(store, database, tree, &[])
            .map(|row| row.map(|(key, _)| Row::delete(tree, key)))
            .collect::<Result<Vec<Row>, _>>()?;
        for piece in pieces(rows, PIECE_ROWS_MAX) {
            store.write(database, &piece)?;
        }
    }
    Ok(())
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
