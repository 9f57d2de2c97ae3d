//! Zone files on disk.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::threads::TwoThreads;
use crate::check::{self, Built, Checked, check};
use crate::name::Name;
use crate::workers::OneWorker;
use crate::zonefile::{Parsed, Rejected, Source, ZonefileError, parse};

/// So many records are worth a second thread.
const RECORDS_MANY: usize = 10_000;

/// Reads, parses and checks the zone file at `path`; `wall` is the time since 1970 by which
/// signatures are good. `progress` hears how many bytes have been
/// read; [`size`] tells how many the first file has.
pub fn load(
    path: &Path,
    origin: &Name,
    wall: Duration,
    progress: &mut dyn FnMut(u64),
) -> Result<Checked, Rejected> {
    check(origin, read_records(path, origin, wall, progress)?)
}

/// As [`load`], and makes the zone.
pub fn build(path: &Path, origin: &Name, wall: Duration) -> Result<Built, Rejected> {
    let parsed = read_records(path, origin, wall, &mut |_| {})?;
    // A thread costs more than a small zone.
    if parsed.records.len() < RECORDS_MANY {
        return check::build(origin, parsed, &OneWorker);
    }
    check::build(origin, parsed, &TwoThreads)
}

fn read_records(
    path: &Path,
    origin: &Name,
    wall: Duration,
    progress: &mut dyn FnMut(u64),
) -> Result<Parsed, Rejected> {
    let source = read(path).map_err(|error| Rejected {
        errors: vec![ZonefileError {
            file: path.display().to_string(),
            line: 0,
            column: 0,
            message: format!("cannot be read: {error}, expected a zone file"),
        }],
        warnings: Vec::new(),
    })?;
    let mut parsed = parse(&source, origin, &mut include, progress)?;
    parsed.check_validity(wall);
    Ok(parsed)
}

/// How many bytes the file has.
pub fn size(path: &Path) -> io::Result<u64> {
    Ok(fs::metadata(path)?.len())
}

/// Reads one file whole.
pub fn read(path: &Path) -> io::Result<Source> {
    Ok(Source {
        name: path.display().to_string(),
        text: fs::read(path)?,
    })
}

/// Finds what an `$INCLUDE` names: beside the file that includes it, else from the current
/// directory, as BIND does. The first makes a directory of zone files work from anywhere.
pub fn include(name: &str, by: &str) -> Result<Source, String> {
    let beside: PathBuf = Path::new(by).with_file_name(name);
    match read(&beside) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            read(Path::new(name)).map_err(|error| error.to_string())
        }
        result => result.map_err(|error| error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_include_those_beside_them() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("parts")).unwrap();
        let zone = "$TTL 60\n@ SOA ns root 1 2 3 4 5\n@ NS ns\n$INCLUDE parts/hosts\n";
        fs::write(at("zone"), zone).unwrap();
        fs::write(at("parts/hosts"), "$INCLUDE more\nns A 192.0.2.1\n").unwrap();
        fs::write(at("parts/more"), "www A 192.0.2.2\n").unwrap();
        let origin = "example.test".parse().unwrap();
        let mut heard = 0;
        let wall = Duration::ZERO;
        let checked = load(&at("zone"), &origin, wall, &mut |bytes| heard = bytes).unwrap();
        assert_eq!(checked.records.len(), 4);
        assert_eq!(checked.warnings, []);
        let sizes = ["zone", "parts/hosts", "parts/more"].map(|name| size(&at(name)).unwrap());
        assert_eq!(heard, sizes.iter().sum());

        fs::write(at("parts/more"), "www A 192.0.2\n").unwrap();
        let rejected = load(&at("zone"), &origin, wall, &mut |_| {}).unwrap_err();
        let shown = rejected.to_string();
        assert!(
            shown.contains("parts/more:1:7: unexpected `192.0.2`"),
            "{shown}"
        );
        let rejected = load(&at("none"), &origin, wall, &mut |_| {}).unwrap_err();
        assert!(
            rejected.to_string().contains("none: cannot be read"),
            "{rejected}"
        );
    }
}
