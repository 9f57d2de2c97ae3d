//! A store in memory that fails on demand: the disk of simulations and tests.
//!
//! It forgets what was not flushed. A crash keeps, of each database, the flushed rows and the
//! first few pieces written since; how many is chosen by the seed. Blobs are durable when put.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use crate::store::{BlobHash, Database, Row, Scan, Store, StoreError, assert_piece};

/// The store in memory.
pub struct MemoryStore {
    databases: BTreeMap<Database, Rows>,
    blobs: BTreeMap<BlobHash, Vec<u8>>,
    unfinished: BTreeMap<BlobHash, Vec<u8>>,
    fault: Option<Fault>,
    /// Rows that read as damaged.
    damaged: BTreeSet<(Database, RowKey)>,
    random: fastrand::Rng,
}

/// How every write and flush fails from now on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The disk is full.
    Full,
    /// The disk fails.
    Io,
}

/// Tree and key.
type RowKey = (String, Vec<u8>);

#[derive(Default)]
struct Rows {
    /// What a read sees.
    seen: BTreeMap<RowKey, Vec<u8>>,
    /// What a crash cannot take away.
    durable: BTreeMap<RowKey, Vec<u8>>,
    /// Pieces written since the last flush.
    unflushed: Vec<Vec<Row>>,
}

impl MemoryStore {
    /// An empty store; the seed chooses what crashes keep.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            databases: Database::ALL
                .map(|database| (database, Rows::default()))
                .into(),
            blobs: BTreeMap::new(),
            unfinished: BTreeMap::new(),
            fault: None,
            damaged: BTreeSet::new(),
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// The process dies and starts again, or the power fails: of each database any number of the
    /// pieces that were not flushed is lost, the last ones first.
    pub fn crash(&mut self) {
        self.unfinished.clear();
        for rows in self.databases.values_mut() {
            let kept = self.random.usize(..=rows.unflushed.len());
            for piece in rows.unflushed.drain(..).take(kept) {
                apply(&mut rows.durable, &piece);
            }
            rows.seen = rows.durable.clone();
        }
    }

    /// Lets every write, flush and blob fail, or (none) succeed again. What fails changes nothing.
    pub fn set_fault(&mut self, fault: Option<Fault>) {
        self.fault = fault;
    }

    /// Damages one row: reading it gives `Corrupt` until it is written again.
    pub fn damage(&mut self, database: Database, tree: &str, key: &[u8]) {
        self.damaged
            .insert((database, (tree.to_owned(), key.to_vec())));
    }

    /// How many pieces of a database a crash may lose now.
    #[must_use]
    pub fn unflushed(&self, database: Database) -> usize {
        self.rows(database).unflushed.len()
    }

    fn rows(&self, database: Database) -> &Rows {
        self.databases
            .get(&database)
            .expect("all databases are made at the start")
    }

    fn rows_mut(&mut self, database: Database) -> &mut Rows {
        self.databases
            .get_mut(&database)
            .expect("all databases are made at the start")
    }

    fn fail_on_demand(&self, doing: &str) -> Result<(), StoreError> {
        match self.fault {
            None => Ok(()),
            Some(Fault::Full) => Err(StoreError::Full),
            Some(Fault::Io) => Err(StoreError::Io {
                doing: doing.to_owned(),
                error: io::Error::other("injected fault"),
            }),
        }
    }

    fn check(&self, database: Database, key: &RowKey) -> Result<(), StoreError> {
        if self.damaged.contains(&(database, key.clone())) {
            return Err(StoreError::Corrupt {
                place: format!("{}, tree {}", database.name(), key.0),
                cause: "injected damage".to_owned(),
            });
        }
        Ok(())
    }
}

impl Store for MemoryStore {
    fn write(&mut self, database: Database, rows: &[Row]) -> Result<(), StoreError> {
        assert_piece(rows);
        self.fail_on_demand("write rows")?;
        for row in rows {
            self.damaged
                .remove(&(database, (row.tree.to_owned(), row.key.clone())));
        }
        let held = self.rows_mut(database);
        apply(&mut held.seen, rows);
        held.unflushed.push(rows.to_vec());
        Ok(())
    }

    fn flush(&mut self, database: Database) -> Result<(), StoreError> {
        self.fail_on_demand("flush")?;
        let rows = self.rows_mut(database);
        for piece in rows.unflushed.drain(..) {
            apply(&mut rows.durable, &piece);
        }
        Ok(())
    }

    fn get(
        &self,
        database: Database,
        tree: &str,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let key = (tree.to_owned(), key.to_vec());
        self.check(database, &key)?;
        Ok(self.rows(database).seen.get(&key).cloned())
    }

    fn scan<'s>(&'s self, database: Database, tree: &'s str, from: &[u8]) -> Scan<'s> {
        let rows = self
            .rows(database)
            .seen
            .range((tree.to_owned(), from.to_vec())..);
        Box::new(
            rows.take_while(move |((at, _), _)| at == tree)
                .map(move |(key, value)| {
                    self.check(database, key)?;
                    Ok((key.1.clone(), value.clone()))
                }),
        )
    }

    fn write_blob(&mut self, hash: &BlobHash, at: usize, part: &[u8]) -> Result<(), StoreError> {
        self.fail_on_demand("write a blob")?;
        let blob = self.unfinished.entry(*hash).or_default();
        blob.truncate(at);
        assert_eq!(blob.len(), at, "the parts of a blob come in order");
        blob.extend_from_slice(part);
        Ok(())
    }

    fn finish_blob(&mut self, hash: &BlobHash) -> Result<(), StoreError> {
        self.fail_on_demand("write a blob")?;
        let blob = self.unfinished.remove(hash);
        self.blobs.insert(*hash, blob.expect("it was written"));
        Ok(())
    }

    fn blob(&self, hash: &BlobHash) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.blobs.get(hash).cloned())
    }

    fn remove_blob(&mut self, hash: &BlobHash) -> Result<(), StoreError> {
        self.fail_on_demand("remove a blob")?;
        self.blobs.remove(hash);
        Ok(())
    }

    fn blobs(&self) -> Result<Vec<BlobHash>, StoreError> {
        Ok(self.blobs.keys().copied().collect())
    }

    fn size(&self, database: Database) -> Result<u64, StoreError> {
        let size = |((tree, key), value): (&RowKey, &Vec<u8>)| {
            (tree.len() + key.len() + value.len()) as u64
        };
        Ok(self.rows(database).seen.iter().map(size).sum())
    }
}

fn apply(rows: &mut BTreeMap<RowKey, Vec<u8>>, piece: &[Row]) {
    for row in piece {
        let key = (row.tree.to_owned(), row.key.clone());
        match &row.value {
            Some(value) => rows.insert(key, value.clone()),
            None => rows.remove(&key),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance;

    fn put(store: &mut MemoryStore, n: u8) {
        store
            .write(
                Database::Log,
                &[Row::put("t", [n], [n]), Row::put("u", [n], [n])],
            )
            .unwrap();
    }

    fn keys(store: &MemoryStore, tree: &str) -> Vec<u8> {
        store
            .scan(Database::Log, tree, &[])
            .map(|row| row.unwrap().0[0])
            .collect()
    }

    #[test]
    fn conforms() {
        conformance::check(&mut MemoryStore::new(0));
    }

    #[test]
    fn a_crash_keeps_what_was_flushed_and_a_prefix_of_the_rest() {
        let mut outcomes = BTreeSet::new();
        for seed in 0..50 {
            let mut store = MemoryStore::new(seed);
            put(&mut store, 0);
            store.flush(Database::Log).unwrap();
            (1..4).for_each(|n| put(&mut store, n));
            store.crash();
            let kept = keys(&store, "t");
            assert_eq!(kept, keys(&store, "u"), "pieces are atomic");
            assert_eq!(kept, (0..kept.len() as u8).collect::<Vec<_>>());
            assert!(!kept.is_empty(), "what was flushed stays");
            outcomes.insert(kept.len());
        }
        assert_eq!(outcomes, (1..=4).collect());
    }

    #[test]
    fn faults_change_nothing_and_heal() {
        let mut store = MemoryStore::new(1);
        put(&mut store, 0);
        store.set_fault(Some(Fault::Full));
        let row = [Row::put("t", *b"x", *b"x")];
        assert!(matches!(
            store.write(Database::Log, &row),
            Err(StoreError::Full)
        ));
        assert!(matches!(store.flush(Database::Log), Err(StoreError::Full)));
        assert!(matches!(
            store.put_blob(&[0; 32], b""),
            Err(StoreError::Full)
        ));
        assert_eq!(store.unflushed(Database::Log), 1);
        store.set_fault(Some(Fault::Io));
        assert!(matches!(
            store.flush(Database::Log),
            Err(StoreError::Io { .. })
        ));
        store.set_fault(None);
        store.flush(Database::Log).unwrap();
        assert_eq!(
            (keys(&store, "t"), store.unflushed(Database::Log)),
            (vec![0], 0)
        );
    }

    #[test]
    fn damage_is_reported_until_written_again() {
        let mut store = MemoryStore::new(1);
        put(&mut store, 0);
        store.damage(Database::Log, "t", &[0]);
        let found = store.get(Database::Log, "t", &[0]);
        assert!(matches!(found, Err(StoreError::Corrupt { .. })));
        assert!(store.scan(Database::Log, "t", &[]).any(|row| row.is_err()));
        put(&mut store, 0);
        assert_eq!(store.get(Database::Log, "t", &[0]).unwrap(), Some(vec![0]));
    }
}
