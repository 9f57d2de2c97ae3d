//! The store on disk: three sled databases, and blobs as files.
//!
//! ```text
//! DIR/lock                       held while the store is open
//! DIR/log/ zones/ history/       one sled database each: tree 00 key → payload, CRC-32
//! DIR/blobs/HASH                 a blob; HASH.new while it is written
//! DIR/as-found/                  copies of their files while it is not known whether they read
//! ```
//! A database keeps all its trees in one sled tree, because only there a batch is atomic.
//! A store that does not read back is reported, never emptied, and left as it was found: what sled
//! does to a damaged file when it opens it is taken back.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;

use crate::store::{BlobHash, Database, KeyValue, Row, Scan, Store, StoreError, assert_piece};

/// The store on disk.
pub struct SledStore {
    path: PathBuf,
    /// In the order of [`Database::ALL`]; none only while one is opened again.
    databases: [Option<OpenDatabase>; 3],
    blobs: PathBuf,
    as_found: AsFound,
    /// Released when the store is closed.
    _lock: File,
}

struct OpenDatabase {
    name: &'static str,
    sled: sled::Db,
    /// sled's file under a second descriptor, to sync it.
    file: File,
}

impl SledStore {
    /// Opens the store in this folder, or makes a new one where nothing is.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        make_folder(path)?;
        let lock = lock(path)?;
        let as_found = AsFound::keep(path)?;
        let databases = Database::ALL.map(|database| OpenDatabase::open(path, database));
        let databases = match databases {
            [Ok(log), Ok(zones), Ok(history)] => [log, zones, history].map(Some),
            databases => {
                let mut errors = databases.into_iter().filter_map(Result::err);
                let error = errors.next().expect("one of them has failed");
                as_found.restore()?;
                return Err(error);
            }
        };
        let store = Self {
            path: path.to_owned(),
            databases,
            blobs: path.join("blobs"),
            as_found,
            _lock: lock,
        };
        let checked = store
            .check_format(path)
            .and_then(|()| store.open_blobs())
            .and_then(|()| sync_folder(path))
            .and_then(|()| sync_folder(&parent(path)));
        match checked {
            Ok(()) => Ok(store),
            Err(error) => {
                store.give_back()?;
                Err(error)
            }
        }
    }

    /// Everything in it has been read and is whole: the copies of the files as they were found go.
    pub fn accept(&mut self) {
        self.as_found.discard();
    }

    /// It does not read: closes it, and leaves the files as they were found.
    pub fn give_back(self) -> Result<(), StoreError> {
        let Self {
            databases,
            as_found,
            _lock: lock,
            ..
        } = self;
        drop(databases);
        let restored = as_found.restore();
        drop(lock);
        restored
    }

    /// A database without its format row is about to be made; then none may hold anything yet.
    /// Otherwise one of them went missing, and an empty one must not take its place.
    fn check_format(&self, path: &Path) -> Result<(), StoreError> {
        let databases = Database::ALL.map(|database| self.database(database));
        let mut unmade = Vec::new();
        let mut holds_rows = false;
        for database in databases {
            match database.get(FORMAT_KEY)? {
                None => unmade.push(database),
                Some(row) => {
                    let found = row.as_slice().try_into().map(u32::from_be_bytes);
                    let found = found.map_err(|_| database.corrupt("its format row is damaged"))?;
                    if found != FORMAT {
                        return Err(StoreError::Format {
                            found,
                            expected: FORMAT,
                        });
                    }
                }
            }
            let mut rows = database.sled.iter().keys();
            holds_rows |= rows.any(|key| !key.is_ok_and(|key| key == FORMAT_KEY));
        }
        if let Some(missing) = unmade.first()
            && holds_rows
        {
            return Err(StoreError::Corrupt {
                place: path.join(missing.name).display().to_string(),
                cause: "the database is missing or empty while others hold rows".to_owned(),
            });
        }
        for database in unmade {
            let row = seal(FORMAT_KEY, &FORMAT.to_be_bytes());
            database
                .sled
                .insert(FORMAT_KEY, row)
                .map_err(|e| database.error("write", e))?;
            database.flush()?;
        }
        Ok(())
    }

    /// Makes the folder of blobs and removes those that a crash cut short.
    fn open_blobs(&self) -> Result<(), StoreError> {
        let path = &self.blobs;
        make_folder(path)?;
        for entry in fs::read_dir(path).map_err(|e| failed("read", path, e))? {
            let entry = entry.map_err(|e| failed("read", path, e))?.path();
            if entry
                .extension()
                .is_some_and(|extension| extension == UNFINISHED)
            {
                fs::remove_file(&entry).map_err(|e| failed("remove", &entry, e))?;
            }
        }
        sync_folder(path)
    }

    fn database(&self, database: Database) -> &OpenDatabase {
        let opened = &self.databases[database as usize];
        opened
            .as_ref()
            .expect("one that did not open again ended the store")
    }

    fn blob_path(&self, hash: &BlobHash) -> PathBuf {
        self.blobs.join(HEXLOWER.encode(hash))
    }
}

/// The files of the databases before sled opened them. sled truncates and rewrites a damaged file
/// without a word, and what it throws away may be what an operator needs to save the rest.
///
/// The copies are not synced: after a power cut in the middle of a start, what sled has made of
/// the files stands.
struct AsFound {
    path: PathBuf,
    files: Vec<PathBuf>,
}

impl AsFound {
    fn keep(store: &Path) -> Result<Self, StoreError> {
        let mut kept = Self {
            path: store.to_owned(),
            files: Vec::new(),
        };
        // One that a start left which came to no end is older than the files.
        kept.discard();
        for database in Database::ALL {
            let folder = store.join(database.name());
            let copies = kept.copies(database.name());
            if !folder.exists() {
                continue;
            }
            make_folder(&copies)?;
            for entry in fs::read_dir(&folder).map_err(|e| failed("read", &folder, e))? {
                let entry = entry.map_err(|e| failed("read", &folder, e))?;
                if !entry.path().is_file() {
                    continue;
                }
                let copy = copies.join(entry.file_name());
                // A file system that can share blocks does not copy at all.
                fs::copy(entry.path(), &copy).map_err(|e| failed("copy to", &copy, e))?;
                kept.files
                    .push(Path::new(database.name()).join(entry.file_name()));
            }
        }
        Ok(kept)
    }

    fn restore(mut self) -> Result<(), StoreError> {
        for file in &self.files {
            let copy = self.copies("").join(file);
            let place = self.path.join(file);
            fs::rename(&copy, &place).map_err(|e| failed("put back", &place, e))?;
        }
        self.discard();
        Ok(())
    }

    fn discard(&mut self) {
        self.files.clear();
        // What is left over goes with the next start.
        let _ = fs::remove_dir_all(self.copies(""));
    }

    fn copies(&self, of: &str) -> PathBuf {
        self.path.join("as-found").join(of)
    }
}

/// Renames the folder of a store that cannot be opened to its own name and `.suffix`, so that a
/// new one can be made. Returns where it is. Nothing in it is changed.
pub fn set_aside(path: &Path, suffix: &str) -> Result<PathBuf, StoreError> {
    let path = &fs::canonicalize(path).map_err(|e| failed("find", path, e))?;
    let _lock = lock(path)?;
    let mut target = path.clone().into_os_string();
    target.push(format!(".{suffix}"));
    let target = PathBuf::from(target);
    if target.exists() {
        return Err(failed(
            "rename to",
            &target,
            ErrorKind::AlreadyExists.into(),
        ));
    }
    fs::rename(path, &target).map_err(|e| failed("rename", path, e))?;
    sync_folder(&parent(path))?;
    Ok(target)
}

impl Store for SledStore {
    fn write(&mut self, database: Database, rows: &[Row]) -> Result<(), StoreError> {
        assert_piece(rows);
        let database = self.database(database);
        let mut batch = sled::Batch::default();
        for row in rows {
            let key = full_key(row.tree, &row.key);
            match &row.value {
                Some(value) => {
                    let value = seal(&key, value);
                    batch.insert(key, value);
                }
                None => batch.remove(key),
            }
        }
        database
            .sled
            .apply_batch(batch)
            .map_err(|e| database.error("write to", e))
    }

    fn flush(&mut self, database: Database) -> Result<(), StoreError> {
        self.database(database).flush()
    }

    fn get(
        &self,
        database: Database,
        tree: &str,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>, StoreError> {
        self.database(database).get(&full_key(tree, key))
    }

    fn scan<'s>(&'s self, database: Database, tree: &'s str, from: &[u8]) -> Scan<'s> {
        let database = self.database(database);
        let begin = full_key(tree, from);
        // The keys of a tree begin with its name and 00.
        let end = [tree.as_bytes(), &[1]].concat();
        let rows = database.sled.range(begin..end);
        Box::new(rows.map(move |row| database.open_row(row, tree.len() + 1)))
    }

    fn write_blob(&mut self, hash: &BlobHash, at: usize, part: &[u8]) -> Result<(), StoreError> {
        let path = self.blob_path(hash).with_extension(UNFINISHED);
        let write = || {
            let mut file = match at {
                0 => File::create(&path)?,
                _ => OpenOptions::new().append(true).open(&path)?,
            };
            file.write_all(part)?;
            file.sync_data()
        };
        write().map_err(|e| failed("write", &path, e))
    }

    fn finish_blob(&mut self, hash: &BlobHash) -> Result<(), StoreError> {
        let path = self.blob_path(hash);
        let unfinished = path.with_extension(UNFINISHED);
        let finish = || {
            File::open(&unfinished)?.sync_all()?;
            fs::rename(&unfinished, &path)
        };
        finish().map_err(|e| failed("write", &path, e))?;
        sync_folder(&self.blobs)
    }

    fn blob(&self, hash: &BlobHash) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.blob_path(hash);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(failed("read", &path, e)),
        }
    }

    fn remove_blob(&mut self, hash: &BlobHash) -> Result<(), StoreError> {
        let path = self.blob_path(hash);
        match fs::remove_file(&path) {
            Ok(()) => sync_folder(&self.blobs),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            Err(e) => Err(failed("remove", &path, e)),
        }
    }

    fn blobs(&self) -> Result<Vec<BlobHash>, StoreError> {
        let mut hashes = Vec::new();
        for entry in fs::read_dir(&self.blobs).map_err(|e| failed("read", &self.blobs, e))? {
            let entry = entry.map_err(|e| failed("read", &self.blobs, e))?;
            let hash = HEXLOWER.decode(entry.file_name().as_encoded_bytes()).ok();
            // Files that are no blobs are somebody else's.
            hashes.extend(hash.and_then(|hash| BlobHash::try_from(hash.as_slice()).ok()));
        }
        hashes.sort_unstable();
        Ok(hashes)
    }

    /// sled keeps pages in memory far beyond the size of its cache, and gives them back only when it
    /// is closed.
    fn shed(&mut self, database: Database) -> Result<(), StoreError> {
        self.database(database).flush()?;
        let place = &mut self.databases[database as usize];
        drop(place.take());
        *place = Some(OpenDatabase::open(&self.path, database)?);
        Ok(())
    }

    fn size(&self, database: Database) -> Result<u64, StoreError> {
        let database = self.database(database);
        database
            .sled
            .size_on_disk()
            .map_err(|e| database.error("measure", e))
    }
}

impl OpenDatabase {
    fn open(store: &Path, database: Database) -> Result<Self, StoreError> {
        let name = database.name();
        let path = store.join(name);
        make_folder(&path)?;
        remove_unfinished_snapshots(&path)?;
        let config = sled::Config::new()
            .path(&path)
            .mode(sled::Mode::LowSpace)
            .cache_capacity(CACHE_SIZE)
            .segment_size(SEGMENT_SIZE)
            .flush_every_ms(Some(FLUSH_EVERY_MS));
        let corrupt = |cause: String| StoreError::Corrupt {
            place: path.display().to_string(),
            cause,
        };
        // sled meets some kinds of damage with a panic; for us they are a corrupt store as well.
        let sled = catch_unwind(AssertUnwindSafe(|| open_sled(&config)))
            .map_err(|_| corrupt("sled cannot read it".to_owned()))?
            .map_err(|e| sled_error("open", &path.display().to_string(), e))?;
        let file_path = path.join("db");
        let file = File::open(&file_path).map_err(|e| failed("open", &file_path, e))?;
        file.sync_all().map_err(|e| failed("sync", &file_path, e))?;
        sync_folder(&path)?;
        Ok(Self { name, sled, file })
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.sled.flush().map_err(|e| self.error("flush", e))?;
        // sled's flush ends with `sync_file_range`, which a power cut undoes.
        self.file.sync_data().map_err(|error| match error.kind() {
            ErrorKind::StorageFull => StoreError::Full,
            _ => StoreError::Io {
                doing: format!("sync {}", self.name),
                error,
            },
        })
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let value = self.sled.get(key).map_err(|e| self.error("read", e))?;
        value.map(|value| self.unseal(key, &value)).transpose()
    }

    /// A row that sled found, its key without the name of the tree.
    fn open_row(
        &self,
        row: sled::Result<(sled::IVec, sled::IVec)>,
        tree_size: usize,
    ) -> Result<KeyValue, StoreError> {
        let (key, value) = row.map_err(|e| self.error("read", e))?;
        let payload = self.unseal(&key, &value)?;
        Ok((key[tree_size..].to_vec(), payload))
    }

    fn unseal(&self, key: &[u8], value: &[u8]) -> Result<Vec<u8>, StoreError> {
        match value.split_last_chunk() {
            Some((payload, sum)) if checksum(key, payload) == u32::from_be_bytes(*sum) => {
                Ok(payload.to_vec())
            }
            _ => Err(self.corrupt(&format!("row {}: wrong checksum", key.escape_ascii()))),
        }
    }

    fn corrupt(&self, cause: &str) -> StoreError {
        StoreError::Corrupt {
            place: format!("database {}", self.name),
            cause: cause.to_owned(),
        }
    }

    fn error(&self, doing: &str, error: sled::Error) -> StoreError {
        sled_error(doing, &format!("database {}", self.name), error)
    }
}

/// Takes the lock of the store, so that two processes never write to it.
fn lock(path: &Path) -> Result<File, StoreError> {
    let file_path = path.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&file_path)
        .map_err(|e| failed("open", &file_path, e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked {
            path: path.display().to_string(),
        }),
        Err(TryLockError::Error(e)) => Err(failed("lock", &file_path, e)),
    }
}

/// sled trusts the last file whose name begins with `snap.`, even one that it did not finish.
/// Removing it is safe: the snapshot before it goes only after the new one has its final name.
fn remove_unfinished_snapshots(path: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(path).map_err(|e| failed("read", path, e))? {
        let entry = entry.map_err(|e| failed("read", path, e))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path()).map_err(|e| failed("remove", &entry.path(), e))?;
        }
    }
    Ok(())
}

/// sled's threads let go of its own lock a moment after a handle was dropped, perhaps by an earlier
/// life of this peer in this process. Other processes are kept out by the lock of the store.
fn open_sled(config: &sled::Config) -> sled::Result<sled::Db> {
    let deadline = Instant::now() + LOCK_WAIT;
    loop {
        match config.open() {
            Err(sled::Error::Io(error))
                if error.to_string().contains("could not acquire lock")
                    && Instant::now() < deadline =>
            {
                sleep(LOCK_LOOK);
            }
            opened => return opened,
        }
    }
}

fn sled_error(doing: &str, place: &str, error: sled::Error) -> StoreError {
    use sled::Error::{CollectionNotFound, Corruption, Io, ReportableBug, Unsupported};
    match error {
        Io(error) => match error.kind() {
            ErrorKind::StorageFull => StoreError::Full,
            ErrorKind::UnexpectedEof | ErrorKind::InvalidData => StoreError::Corrupt {
                place: place.to_owned(),
                cause: error.to_string(),
            },
            _ => StoreError::Io {
                doing: format!("{doing} {place}"),
                error,
            },
        },
        Corruption { .. } => StoreError::Corrupt {
            place: place.to_owned(),
            cause: "wrong checksum".to_owned(),
        },
        CollectionNotFound(_) => StoreError::Corrupt {
            place: place.to_owned(),
            cause: "a tree is missing".to_owned(),
        },
        Unsupported(cause) | ReportableBug(cause) => StoreError::Corrupt {
            place: place.to_owned(),
            cause,
        },
    }
}

/// Makes a folder that nobody else reads, wherever it stands: the log holds secrets of the cluster.
fn make_folder(path: &Path) -> Result<(), StoreError> {
    let mut folder = DirBuilder::new();
    let made = folder.recursive(true).mode(0o700).create(path);
    made.map_err(|e| failed("create", path, e))
}

fn failed(doing: &str, path: &Path, error: io::Error) -> StoreError {
    match error.kind() {
        ErrorKind::StorageFull => StoreError::Full,
        _ => StoreError::Io {
            doing: format!("{doing} {}", path.display()),
            error,
        },
    }
}

/// Makes names in a folder durable.
fn sync_folder(path: &Path) -> Result<(), StoreError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(|e| failed("sync", path, e))
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
        Some(parent) => parent.to_owned(),
        None => PathBuf::from("/"),
    }
}

fn full_key(tree: &str, key: &[u8]) -> Vec<u8> {
    [tree.as_bytes(), &[0], key].concat()
}

fn seal(key: &[u8], payload: &[u8]) -> Vec<u8> {
    [payload, &checksum(key, payload).to_be_bytes()].concat()
}

/// Over the key as well, so that a value in the wrong place is noticed.
fn checksum(key: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(payload);
    hasher.finalize()
}

/// The format of all rows of all databases.
const FORMAT: u32 = 6;
/// No key of a tree is equal to it: those have a 00 after the name.
const FORMAT_KEY: &[u8] = b"format";
/// Zones are served from memory; the cache only has to hold what is being written.
const CACHE_SIZE: u64 = 16 * 1024 * 1024;
const SEGMENT_SIZE: usize = 512 * 1024;
/// How long the lock of a database that is being closed is waited for, and how often looked at.
const LOCK_WAIT: Duration = Duration::from_secs(5);
const LOCK_LOOK: Duration = Duration::from_millis(1);
/// A net below our own flushes; in it sled also collects its garbage.
const FLUSH_EVERY_MS: u64 = 200;
const UNFINISHED: &str = "new";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        (folder, path)
    }

    fn open_error(path: &Path) -> StoreError {
        SledStore::open(path)
            .err()
            .expect("the store must not open")
    }

    /// A closed store with one row in each database.
    fn filled(path: &Path) {
        let mut store = SledStore::open(path).unwrap();
        for database in Database::ALL {
            store
                .write(database, &[Row::put("t", *b"key", *b"value")])
                .unwrap();
            store.flush(database).unwrap();
        }
    }

    #[test]
    fn conforms() {
        let (_folder, path) = folder();
        conformance::check(&mut SledStore::open(&path).unwrap());
    }

    #[test]
    fn what_was_flushed_is_there_after_reopening() {
        let (_folder, path) = folder();
        filled(&path);
        let mut store = SledStore::open(&path).unwrap();
        for database in Database::ALL {
            assert_eq!(
                store.get(database, "t", b"key").unwrap(),
                Some(b"value".to_vec())
            );
        }
        store.put_blob(&[1; 32], b"blob").unwrap();
        drop(store);
        fs::write(path.join("blobs").join("00.new"), b"cut short").unwrap();
        let store = SledStore::open(&path).unwrap();
        assert_eq!(store.blobs().unwrap(), [[1; 32]]);
        assert!(!path.join("blobs").join("00.new").exists());
    }

    #[test]
    fn nobody_else_reads_it() {
        use std::os::unix::fs::PermissionsExt;
        let (_folder, path) = folder();
        // As another program may have made it.
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        filled(&path);
        for folder in ["log", "zones", "history", "blobs"] {
            let mode = fs::metadata(path.join(folder))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o700, "{folder}");
        }
    }

    #[test]
    fn a_second_opening_is_refused() {
        let (_folder, path) = folder();
        let store = SledStore::open(&path).unwrap();
        assert!(matches!(open_error(&path), StoreError::Locked { .. }));
        assert!(matches!(
            set_aside(&path, "aside"),
            Err(StoreError::Locked { .. })
        ));
        drop(store);
        SledStore::open(&path).unwrap();
    }

    #[test]
    fn an_unfinished_snapshot_is_removed() {
        let (_folder, path) = folder();
        filled(&path);
        let unfinished = path.join("log").join("snap.FFFFFFFFFFFFFFFF.generating");
        fs::write(&unfinished, b"half").unwrap();
        let store = SledStore::open(&path).unwrap();
        assert!(!unfinished.exists());
        assert_eq!(
            store.get(Database::Log, "t", b"key").unwrap(),
            Some(b"value".to_vec())
        );
    }

    #[test]
    fn a_missing_database_is_corruption_and_set_aside_on_demand() {
        let (_folder, path) = folder();
        filled(&path);
        fs::remove_dir_all(path.join("history")).unwrap();
        // Twice: the first attempt leaves an empty database behind.
        for _ in 0..2 {
            let error = open_error(&path);
            assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
        }
        let aside = set_aside(&path, "corrupt-2026").unwrap();
        assert_eq!(aside.file_name().unwrap(), "store.corrupt-2026");
        assert!(aside.join("log").join("db").exists() && !path.exists());
        let store = SledStore::open(&path).unwrap();
        assert_eq!(store.get(Database::Log, "t", b"key").unwrap(), None);
    }

    #[test]
    fn what_does_not_read_is_left_as_it_was_found() {
        let check = |damage: &dyn Fn(&mut Vec<u8>)| {
            let (_folder, path) = folder();
            filled(&path);
            let file = path.join("zones").join("db");
            let mut bytes = fs::read(&file).unwrap();
            damage(&mut bytes);
            fs::write(&file, &bytes).unwrap();
            match SledStore::open(&path) {
                Err(_) => {}
                // Only the reader of the rows can tell that they are too few.
                Ok(store) => store.give_back().unwrap(),
            }
            assert!(fs::read(&file).unwrap() == bytes);
            assert!(!path.join("as-found").exists());
        };
        check(&|bytes| bytes.fill(0));
        check(&|bytes| bytes.truncate(1_000));
        check(&|bytes| bytes.clear());
        check(&|bytes| bytes.iter_mut().step_by(97).for_each(|byte| *byte ^= 0x5a));
    }

    #[test]
    fn a_store_that_reads_keeps_what_is_written() {
        let (_folder, path) = folder();
        filled(&path);
        for n in 0..3u8 {
            let mut store = SledStore::open(&path).unwrap();
            store.shed(Database::Log).unwrap();
            assert!(path.join("as-found").exists());
            if n == 1 {
                store.accept();
                assert!(!path.join("as-found").exists());
            }
            store
                .write(Database::Log, &[Row::put("t", [n], *b"more")])
                .unwrap();
            store.shed(Database::Log).unwrap();
            assert_eq!(store.scan(Database::Log, "t", b"").count(), n as usize + 2);
        }
        let store = SledStore::open(&path).unwrap();
        assert_eq!(store.scan(Database::Log, "t", b"").count(), 4);
    }

    #[test]
    fn another_format_is_refused() {
        let (_folder, path) = folder();
        let store = SledStore::open(&path).unwrap();
        let row = seal(FORMAT_KEY, &1u32.to_be_bytes());
        store
            .database(Database::Zones)
            .sled
            .insert(FORMAT_KEY, row)
            .unwrap();
        drop(store);
        let error = open_error(&path);
        assert!(
            matches!(
                error,
                StoreError::Format {
                    found: 1,
                    expected: FORMAT
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn a_value_in_the_wrong_place_is_noticed() {
        let (_folder, path) = folder();
        let mut store = SledStore::open(&path).unwrap();
        store
            .write(Database::Log, &[Row::put("t", *b"a", *b"value")])
            .unwrap();
        let sealed = store
            .database(Database::Log)
            .sled
            .get(full_key("t", b"a"))
            .unwrap()
            .unwrap();
        store
            .database(Database::Log)
            .sled
            .insert(full_key("t", b"b"), sealed)
            .unwrap();
        store
            .database(Database::Log)
            .sled
            .insert(full_key("t", b"c"), b"x")
            .unwrap();
        for key in [b"b", b"c"] {
            let found = store.get(Database::Log, "t", key);
            assert!(matches!(found, Err(StoreError::Corrupt { .. })));
        }
        let rows: Vec<bool> = store
            .scan(Database::Log, "t", b"")
            .map(|row| row.is_ok())
            .collect();
        assert_eq!(rows, [true, false, false]);
    }

    #[test]
    fn damage_on_disk_is_never_read_as_data() {
        for seed in 0..12 {
            let (_folder, path) = folder();
            let mut store = SledStore::open(&path).unwrap();
            let value = |n: u32| n.to_be_bytes().repeat(100);
            let rows: Vec<Row> = (0..400u32)
                .map(|n| Row::put("t", n.to_be_bytes(), value(n)))
                .collect();
            store.write(Database::Log, &rows).unwrap();
            store.flush(Database::Log).unwrap();
            drop(store);

            let file = path.join("log").join("db");
            let mut bytes = fs::read(&file).unwrap();
            let mut random = fastrand::Rng::with_seed(seed);
            for _ in 0..20 {
                let at = random.usize(..200_000);
                bytes[at] ^= 1 << random.u8(..8);
            }
            fs::write(&file, &bytes).unwrap();
            match SledStore::open(&path) {
                Err(error) => {
                    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
                    assert!(
                        fs::read(&file).unwrap() == bytes,
                        "the file is as it was found"
                    );
                }
                Ok(store) => {
                    for (n, row) in store.scan(Database::Log, "t", b"").enumerate() {
                        match row {
                            Ok(row) => assert_eq!(row.1, value(n as u32)),
                            Err(error) => {
                                assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
                                break;
                            }
                        }
                    }
                }
            }
        }
    }
}
