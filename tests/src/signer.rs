//! Zones signed by `dnssec-signzone`, as an operator signs them elsewhere.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use zones::Name;

/// How a zone says what does not exist.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Denial {
    /// By names.
    Nsec,
    /// By hashes of names.
    Nsec3,
    /// The same, and unsigned delegations have no record.
    Nsec3OptOut,
}

/// A signed zone.
pub struct Signed {
    /// Its zone file.
    pub text: String,
    /// Its key, as a line of a zone file.
    pub key: String,
}

/// Signs zones. What it signs later may be the parent of what it signed before, and then has its DS
/// records.
pub struct Signer {
    folder: PathBuf,
}

impl Signer {
    /// With its keys in this folder, which is made.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        fs::create_dir(&folder).unwrap();
        Self { folder }
    }

    /// Signs a zone with a key of its own.
    #[must_use]
    pub fn sign(&self, origin: &Name, text: &str, denial: Denial) -> Signed {
        let origin = origin.to_string();
        let algorithm = ["-q", "-a", "ECDSAP256SHA256", "-f", "KSK"];
        let key_name = self.run("dnssec-keygen", &[&algorithm[..], &[&origin]].concat());
        let key_name = key_name.trim();
        let key = fs::read_to_string(self.folder.join(format!("{key_name}.key"))).unwrap();
        let key = key.lines().find(|line| !line.starts_with(';')).unwrap();
        fs::write(self.folder.join("unsigned"), format!("{text}{key}\n")).unwrap();
        // RFC 9276: no salt, no further iterations.
        let chain: &[&str] = match denial {
            Denial::Nsec => &[],
            Denial::Nsec3 => &["-3", "-", "-H", "0"],
            Denial::Nsec3OptOut => &["-3", "-", "-H", "0", "-A"],
        };
        // One key signs all; DS records are those of children that were signed before.
        let rest = ["-q", "-P", "-z", "-g", "-f", "signed", "-o", &origin];
        let files = ["unsigned", key_name];
        self.run("dnssec-signzone", &[chain, &rest, &files].concat());
        Signed {
            text: fs::read_to_string(self.folder.join("signed")).unwrap(),
            key: key.to_owned(),
        }
    }

    fn run(&self, program: &str, args: &[&str]) -> String {
        let output = Command::new(program)
            .args(args)
            .current_dir(&self.folder)
            .output()
            .unwrap_or_else(|error| panic!("{program}: {error}; tests/run installs it"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {args:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }
}
