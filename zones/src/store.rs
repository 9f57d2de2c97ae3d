//! The store: rows in order, written in atomic pieces, durable when flushed.
//!
//! ```text
//! database ── tree ── key → value        write: one piece, all or nothing, not yet durable
//! blobs    ── hash → bytes               flush: all pieces of that database are durable
//! ```
//! After a crash a database holds what was flushed and any number of the pieces after it, in
//! order. Databases are independent of each other: order across them is made by flushing.

use std::fmt;
use std::io;

/// Rows that live equally long share a database: sled frees space only where all rows around
/// went away too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Database {
    /// Entries, and what is written along with them: appended and trimmed.
    Log,
    /// Checkpoints of the zones and what belongs to the cluster.
    Zones,
    /// Deltas for IXFR and conflicts: appended and trimmed.
    History,
}

impl Database {
    /// All databases.
    pub const ALL: [Self; 3] = [Self::Log, Self::Zones, Self::History];

    /// The name of its folder.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Zones => "zones",
            Self::History => "history",
        }
    }
}

/// One row to write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// The tree within the database; a short word.
    pub tree: &'static str,
    /// The key; rows of a tree are in the order of their keys.
    pub key: Vec<u8>,
    /// The value, at most [`VALUE_SIZE_MAX`] bytes; none deletes the row.
    pub value: Option<Vec<u8>>,
}

/// A key with its value.
pub type KeyValue = (Vec<u8>, Vec<u8>);

/// Rows that a scan finds, in order.
pub type Scan<'s> = Box<dyn Iterator<Item = Result<KeyValue, StoreError>> + 's>;

/// The name of a blob: the SHA-256 of its bytes.
pub type BlobHash = [u8; 32];

/// Where rows and blobs are kept. One thread owns it and does all writing.
pub trait Store: Send {
    /// Writes one piece: all of its rows or, after a crash, none. Reads see it at once.
    ///
    /// # Panics
    /// If the piece is larger than [`PIECE_ROWS_MAX`], [`PIECE_SIZE_MAX`] or [`VALUE_SIZE_MAX`].
    fn write(&mut self, database: Database, rows: &[Row]) -> Result<(), StoreError>;

    /// Makes all pieces of this database durable. When it returns, a power cut loses none.
    fn flush(&mut self, database: Database) -> Result<(), StoreError>;

    /// The value of one row.
    fn get(
        &self,
        database: Database,
        tree: &str,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>, StoreError>;

    /// The rows of a tree from `from` on, in order of their keys.
    fn scan<'s>(&'s self, database: Database, tree: &'s str, from: &[u8]) -> Scan<'s>;

    /// Writes a part of a blob, and waits until the disk has it. The parts come in order, from 0;
    /// [`Self::finish_blob`] follows.
    fn write_blob(&mut self, hash: &BlobHash, at: usize, part: &[u8]) -> Result<(), StoreError>;

    /// All parts are written: the blob is held. When it returns, a power cut does not lose it.
    fn finish_blob(&mut self, hash: &BlobHash) -> Result<(), StoreError>;

    /// Keeps a blob. When it returns, a power cut does not lose it.
    fn put_blob(&mut self, hash: &BlobHash, bytes: &[u8]) -> Result<(), StoreError> {
        self.write_blob(hash, 0, bytes)?;
        self.finish_blob(hash)
    }

    /// The bytes of a blob, or none if it is not held.
    fn blob(&self, hash: &BlobHash) -> Result<Option<Vec<u8>>, StoreError>;

    /// Forgets a blob, if it is held.
    fn remove_blob(&mut self, hash: &BlobHash) -> Result<(), StoreError>;

    /// The blobs that are held, in order.
    fn blobs(&self) -> Result<Vec<BlobHash>, StoreError>;

    /// How many bytes a database takes on disk.
    fn size(&self, database: Database) -> Result<u64, StoreError>;

    /// Gives back memory that a database holds of what was read or written. Nothing else changes.
    fn shed(&mut self, database: Database) -> Result<(), StoreError> {
        let _ = database;
        Ok(())
    }

    /// Makes everything durable before the store goes away.
    fn close(&mut self) -> Result<(), StoreError> {
        Database::ALL
            .into_iter()
            .try_for_each(|database| self.flush(database))
    }
}

/// The rows of a tree whose keys begin with `prefix`, in order.
pub fn scan_prefix<'s>(
    store: &'s dyn Store,
    database: Database,
    tree: &'s str,
    prefix: &[u8],
) -> impl Iterator<Item = Result<KeyValue, StoreError>> + use<'s> {
    let begin = prefix.to_vec();
    store
        .scan(database, tree, prefix)
        .take_while(move |row| match row {
            Ok((key, _)) => key.starts_with(&begin),
            Err(_) => true,
        })
}

/// Cuts rows into pieces that `Store::write` takes, in order.
#[must_use]
pub fn pieces(rows: Vec<Row>, rows_max: usize) -> Vec<Vec<Row>> {
    let rows_max = rows_max.min(PIECE_ROWS_MAX);
    let mut pieces: Vec<Vec<Row>> = Vec::new();
    let mut size = 0;
    for row in rows {
        let row_size = row.size();
        match pieces.last_mut() {
            Some(piece) if piece.len() < rows_max && size + row_size <= PIECE_SIZE_MAX => {
                size += row_size;
                piece.push(row);
            }
            _ => {
                size = row_size;
                pieces.push(vec![row]);
            }
        }
    }
    pieces
}

impl Row {
    /// A row to put.
    #[must_use]
    pub fn put(tree: &'static str, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Self {
            tree,
            key: key.into(),
            value: Some(value.into()),
        }
    }

    /// A row to delete.
    #[must_use]
    pub fn delete(tree: &'static str, key: impl Into<Vec<u8>>) -> Self {
        Self {
            tree,
            key: key.into(),
            value: None,
        }
    }

    /// What the row counts for in the size of its piece.
    #[must_use]
    pub fn size(&self) -> usize {
        self.tree.len() + self.key.len() + self.value.as_ref().map_or(0, Vec::len)
    }
}

/// Why the store cannot do what was asked.
#[derive(Debug)]
pub enum StoreError {
    /// Bytes came back other than they were written.
    Corrupt {
        /// Which database or blob, and where in it.
        place: String,
        /// What is wrong with it.
        cause: String,
    },
    /// Another process has the store open.
    Locked {
        /// The folder of the store.
        path: String,
    },
    /// The store was written by another version of this program.
    Format {
        /// The format that the store has.
        found: u32,
        /// The format that this program reads.
        expected: u32,
    },
    /// The disk is full.
    Full,
    /// The disk or the file system fails.
    Io {
        /// What was done.
        doing: String,
        /// The cause.
        error: io::Error,
    },
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corrupt { place, cause } => {
                write!(f, "the store is corrupt at {place}: {cause}")
            }
            Self::Locked { path } => {
                write!(f, "the data directory {path} is in use by another dnsd")
            }
            Self::Format { found, expected } => write!(
                f,
                "the store has format {found}; this version reads format {expected} only"
            ),
            Self::Full => f.write_str("the disk is full"),
            Self::Io { doing, error } => write!(f, "cannot {doing}: {error}"),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// Holds the caller of `Store::write` to the limits.
pub(crate) fn assert_piece(rows: &[Row]) {
    assert!(
        rows.len() <= PIECE_ROWS_MAX,
        "a piece of {} rows",
        rows.len()
    );
    let size: usize = rows.iter().map(Row::size).sum();
    assert!(size <= PIECE_SIZE_MAX, "a piece of {size} bytes");
    for row in rows {
        let size = row.value.as_ref().map_or(0, Vec::len);
        assert!(
            size <= VALUE_SIZE_MAX,
            "a value of {size} bytes in {}",
            row.tree
        );
        assert!(
            row.key.len() <= KEY_SIZE_MAX,
            "a key of {} bytes in {}",
            row.key.len(),
            row.tree
        );
        assert!(
            !row.tree.is_empty() && !row.tree.contains('\0'),
            "a tree has a word as name"
        );
    }
}

/// Measured: sled holds 3.3 KB of memory for each row of a batch beyond this.
pub const PIECE_ROWS_MAX: usize = 500;
/// Where a group commit may have to wait behind a piece: 100 rows take 1 to 2 ms.
pub const PIECE_ROWS_POLITE: usize = 100;
/// Keeps the pause of other writers short.
pub const PIECE_SIZE_MAX: usize = 512 * 1024;
/// Larger values end in files of their own that sled never syncs.
pub const VALUE_SIZE_MAX: usize = 6_000;
/// The longest key of a name, with room for the numbers around it.
pub const KEY_SIZE_MAX: usize = 600;

#[cfg(test)]
pub(crate) mod conformance {
    //! What every backend must do.

    use super::*;

    /// Runs the suite on an empty store.
    pub(crate) fn check(store: &mut dyn Store) {
        rows_read_back_in_order(store);
        pieces_replace_and_delete(store);
        trees_and_databases_are_apart(store);
        large_pieces_are_taken(store);
        blobs_read_back(store);
    }

    fn all(store: &dyn Store, database: Database, tree: &str, from: &[u8]) -> Vec<KeyValue> {
        store
            .scan(database, tree, from)
            .map(Result::unwrap)
            .collect()
    }

    fn rows_read_back_in_order(store: &mut dyn Store) {
        let rows: Vec<Row> = [3u8, 1, 2]
            .iter()
            .map(|n| Row::put("t", [*n, 0], [*n; 9]))
            .collect();
        store.write(Database::Log, &rows).unwrap();
        store.flush(Database::Log).unwrap();
        assert_eq!(
            store.get(Database::Log, "t", &[2, 0]).unwrap(),
            Some(vec![2; 9])
        );
        assert_eq!(store.get(Database::Log, "t", &[2]).unwrap(), None);
        let keys = |from: &[u8]| -> Vec<u8> {
            all(store, Database::Log, "t", from)
                .iter()
                .map(|(key, _)| key[0])
                .collect()
        };
        assert_eq!(keys(&[]), [1, 2, 3]);
        assert_eq!(keys(&[2, 0]), [2, 3]);
        assert_eq!(keys(&[2, 0, 0]), [3]);
        assert_eq!(keys(&[4]), []);
        let prefix: Vec<_> = scan_prefix(store, Database::Log, "t", &[2])
            .map(Result::unwrap)
            .collect();
        assert_eq!(prefix, [(vec![2, 0], vec![2; 9])]);
    }

    fn pieces_replace_and_delete(store: &mut dyn Store) {
        store
            .write(
                Database::Log,
                &[
                    Row::put("t", [1, 0], Vec::new()),
                    Row::delete("t", [2, 0]),
                    Row::delete("t", [9, 9]),
                    Row::put("t", [4, 0], b"first".to_vec()),
                    Row::put("t", [4, 0], b"last".to_vec()),
                ],
            )
            .unwrap();
        let expected = [
            (vec![1, 0], Vec::new()),
            (vec![3, 0], vec![3; 9]),
            (vec![4, 0], b"last".to_vec()),
        ];
        assert_eq!(all(store, Database::Log, "t", &[]), expected);
    }

    fn trees_and_databases_are_apart(store: &mut dyn Store) {
        store
            .write(Database::Log, &[Row::put("tt", *b"k", *b"other")])
            .unwrap();
        store
            .write(Database::Zones, &[Row::put("t", *b"k", *b"zones")])
            .unwrap();
        assert_eq!(all(store, Database::Log, "t", &[]).len(), 3);
        assert_eq!(all(store, Database::Log, "tt", &[]).len(), 1);
        assert_eq!(
            store.get(Database::Zones, "t", b"k").unwrap(),
            Some(b"zones".to_vec())
        );
        assert_eq!(store.get(Database::History, "t", b"k").unwrap(), None);
        assert!(all(store, Database::Log, "none", &[]).is_empty());
    }

    fn large_pieces_are_taken(store: &mut dyn Store) {
        let rows: Vec<Row> = (0..1_200u32)
            .map(|n| {
                let size = if n % 15 == 0 {
                    VALUE_SIZE_MAX
                } else {
                    n as usize
                };
                Row::put("large", n.to_be_bytes(), vec![n as u8; size])
            })
            .collect();
        for piece in pieces(rows.clone(), PIECE_ROWS_MAX) {
            store.write(Database::History, &piece).unwrap();
        }
        store.flush(Database::History).unwrap();
        let found = all(store, Database::History, "large", &[]);
        let expected: Vec<KeyValue> = rows
            .into_iter()
            .map(|row| (row.key, row.value.unwrap()))
            .collect();
        assert!(found == expected, "all rows are read back");
        assert!(store.size(Database::History).unwrap() > 0);
    }

    fn blobs_read_back(store: &mut dyn Store) {
        let (first, second) = ([1; 32], [0xab; 32]);
        store.put_blob(&second, b"second").unwrap();
        store.put_blob(&first, &[7; 100_000]).unwrap();
        store.put_blob(&first, &[7; 100_000]).unwrap();
        // What is not finished is not held, and beginning again leaves nothing of the first try.
        store.write_blob(&[5; 32], 0, b"cut short").unwrap();
        assert_eq!(store.blob(&[5; 32]).unwrap(), None);
        assert_eq!(store.blobs().unwrap(), [first, second]);
        store.write_blob(&[5; 32], 0, b"one").unwrap();
        store.write_blob(&[5; 32], 3, b"two").unwrap();
        store.finish_blob(&[5; 32]).unwrap();
        assert_eq!(store.blob(&[5; 32]).unwrap(), Some(b"onetwo".to_vec()));
        store.remove_blob(&[5; 32]).unwrap();
        assert_eq!(store.blobs().unwrap(), [first, second]);
        assert_eq!(store.blob(&second).unwrap(), Some(b"second".to_vec()));
        assert_eq!(store.blob(&[9; 32]).unwrap(), None);
        store.remove_blob(&second).unwrap();
        store.remove_blob(&second).unwrap();
        assert_eq!(store.blobs().unwrap(), [first]);
        assert_eq!(
            store.blob(&first).unwrap().map(|bytes| bytes.len()),
            Some(100_000)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_into_pieces() {
        let check = |count: usize, size: usize, rows_max: usize, expected: &[usize]| {
            let rows = vec![Row::put("t", *b"k", vec![0; size]); count];
            let found = pieces(rows, rows_max);
            found.iter().for_each(|piece| assert_piece(piece));
            let sizes: Vec<usize> = found.iter().map(Vec::len).collect();
            assert_eq!(sizes, expected);
        };
        check(0, 1, 500, &[]);
        check(501, 1, 9_999, &[500, 1]);
        check(250, 1, 100, &[100, 100, 50]);
        check(100, VALUE_SIZE_MAX, 500, &[87, 13]);
    }

    #[test]
    #[should_panic(expected = "a value of 6001 bytes")]
    fn a_value_too_large_is_our_own_mistake() {
        assert_piece(&[Row::put("t", *b"k", vec![0; VALUE_SIZE_MAX + 1])]);
    }
}
