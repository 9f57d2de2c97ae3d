//! The zones that a cluster begins with, and their files: a list that may be very long and is needed
//! for a moment only.
//!
//! ```text
//! origin name | path u32 length + text | … of the next zone
//! ```
//! It is one piece of memory, which goes back to the system as a whole: strings would be in the way
//! of all that is made while they stand.

use crate::setting::ZoneFile;
use bytes::{Buf, BufMut};
use siphasher::sip::SipHasher24;
use std::hash::Hasher;
use zones::Name;

/// The list. Once it is read it is forgotten, and it is still known whether another one is the same.
#[derive(Clone, Debug)]
pub struct ZoneFiles {
    bytes: Vec<u8>,
    count: usize,
    digest: u64,
}

impl ZoneFiles {
    /// This list.
    #[must_use]
    pub fn new(files: &[ZoneFile]) -> Self {
        let mut bytes = Vec::new();
        for file in files {
            bytes.put_slice(file.origin.as_wire());
            bytes.put_u32(file.path.len() as u32);
            bytes.put_slice(file.path.as_bytes());
        }
        let mut hasher = SipHasher24::new();
        hasher.write(&bytes);
        Self {
            bytes,
            count: files.len(),
            digest: hasher.finish(),
        }
    }

    /// Forgets the list itself.
    pub fn forget(&mut self) {
        self.bytes = Vec::new();
        self.count = 0;
    }

    /// The zones and their files; none once they are forgotten.
    pub fn iter(&self) -> impl Iterator<Item = ZoneFile> {
        let mut rest = &self.bytes[..];
        (0..self.count).map(move |_| take(&mut rest).expect("it is whole"))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// True if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

fn take(rest: &mut &[u8]) -> Option<ZoneFile> {
    let origin = Name::take_wire(rest)?;
    let size = rest.try_get_u32().ok()? as usize;
    let (path, after) = rest.split_at_checked(size)?;
    *rest = after;
    Some(ZoneFile {
        origin,
        path: str::from_utf8(path).ok()?.to_owned(),
    })
}

impl PartialEq for ZoneFiles {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for ZoneFiles {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setting::Setting;

    #[test]
    fn a_list_reads_back_and_is_known_when_it_is_forgotten() {
        let lists = [
            &[][..],
            &["example.test=a.zone"],
            &["Example.test=a.zone", "example.test=a.zone"],
            &[".=\u{e4}=b\n", "z.test=/a/b"],
        ];
        let lists = lists.map(|list| {
            let files = list.iter().map(|text| ZoneFile::read(text).unwrap());
            Vec::from_iter(files)
        });
        for list in &lists {
            let files = ZoneFiles::new(list);
            assert_eq!(
                (files.len(), files.is_empty()),
                (list.len(), list.is_empty())
            );
            assert!(files.iter().eq(list.iter().cloned()));
            let mut forgotten = files.clone();
            forgotten.forget();
            assert_eq!(forgotten.iter().count(), 0);
            for other in &lists {
                assert_eq!(
                    forgotten == ZoneFiles::new(other),
                    std::ptr::eq(other, list)
                );
            }
        }
    }
}
