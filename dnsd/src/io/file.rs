//! Files that an operator names: read whole, written whole or not at all.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often files are looked at that are read again when they change.
pub(super) const LOOK: Duration = Duration::from_secs(5);

/// What tells one content of a file from another without reading it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Stamp {
    /// That of a file, if there is one.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            inode: metadata.ino(),
            size: metadata.size(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// A file that cannot be read or written.
#[derive(Debug)]
pub struct FileError {
    path: PathBuf,
    cause: io::Error,
}

impl std::fmt::Display for FileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.cause)
    }
}

impl std::error::Error for FileError {}

impl FileError {
    pub(super) fn new(path: &Path, cause: io::Error) -> Self {
        Self {
            path: path.to_owned(),
            cause,
        }
    }
}

/// Reads a file.
pub fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(|cause| FileError::new(path, cause))
}

/// Reads a file of text.
pub fn read_text(path: &Path) -> Result<String, FileError> {
    fs::read_to_string(path).map_err(|cause| FileError::new(path, cause))
}

/// A file that takes its name when it is complete: who reads it meanwhile sees the old one, and a
/// failure leaves no half of a file.
#[derive(Debug)]
pub struct NewFile {
    file: io::BufWriter<fs::File>,
    unready: PathBuf,
    path: PathBuf,
}

impl NewFile {
    /// Begins to write what will be the file at `path`.
    pub fn create(path: &Path) -> Result<Self, FileError> {
        let mut unready = path.as_os_str().to_owned();
        unready.push(".new");
        let unready = PathBuf::from(unready);
        match fs::File::create(&unready) {
            Ok(file) => Ok(Self {
                file: io::BufWriter::new(file),
                unready,
                path: path.to_owned(),
            }),
            Err(cause) => Err(FileError {
                path: unready,
                cause,
            }),
        }
    }

    /// Writes a part of it.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.file
            .write_all(bytes)
            .map_err(|cause| self.error(cause))
    }

    /// Gives the complete file its name.
    pub fn finish(mut self) -> Result<(), FileError> {
        self.file
            .flush()
            .and_then(|()| self.file.get_ref().sync_all())
            .and_then(|()| fs::rename(&self.unready, &self.path))
            .map_err(|cause| self.error(cause))
    }

    fn error(&self, cause: io::Error) -> FileError {
        FileError {
            path: self.path.clone(),
            cause,
        }
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // After `finish` there is nothing under this name any more.
        drop(fs::remove_file(&self.unready));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("zone");
        let mut file = NewFile::create(&path).unwrap();
        file.write(b"half").unwrap();
        drop(file);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let mut file = NewFile::create(&path).unwrap();
        file.write(b"whole").unwrap();
        file.finish().unwrap();
        assert_eq!(read_text(&path).unwrap(), "whole");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let error = read_text(&folder.path().join("none"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("none: No such file"), "{error}");
    }
}
