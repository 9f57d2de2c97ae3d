//! Other servers as ordinary processes: each with a folder of its own, ended by its handle.

use crate::deadline::until;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long one may take to end before it is killed.
const END_TIMEOUT: Duration = Duration::from_secs(5);
/// Where Debian keeps servers; not all have it in their PATH.
const SYSTEM_PATHS: [&str; 2] = ["/usr/sbin", "/sbin"];

/// One that runs; it ends when this is dropped.
pub struct Program {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts a command with `-c` and a file of this configuration.
    #[must_use]
    pub fn start(name: &str, mut command: Command, config: &str, folder: &Path) -> Self {
        let path = folder.join("config");
        fs::write(&path, config).unwrap();
        command.arg("-c").arg(&path);
        Self::run(name, command, folder)
    }

    /// Starts a command in this folder.
    #[must_use]
    pub fn run(name: &str, mut command: Command, folder: &Path) -> Self {
        let log = folder.join("log");
        let output = fs::File::create(&log).unwrap();
        command.current_dir(folder);
        command.stdin(Stdio::null());
        command.stdout(output.try_clone().unwrap()).stderr(output);
        let child = command.spawn();
        let child = child.unwrap_or_else(|error| {
            panic!("{name} does not start ({error}); tests/run installs it")
        });
        Self {
            name: name.to_owned(),
            child,
            log,
        }
    }

    /// Panics with its last words if it has ended.
    pub fn check_alive(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("{} ended with {status}\n{}", self.name, self.log());
        }
    }

    /// Tells it to read its files again.
    pub fn hang_up(&self) {
        let process = self.child.id().to_string();
        let status = Command::new("kill").args(["-HUP", &process]).status();
        assert!(status.is_ok_and(|status| status.success()));
    }

    /// What it has said.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SIGTERM, so that a server ends the processes that it has started.
        let process = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &process]).status();
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until(END_TIMEOUT, "it ends", || self.child.try_wait().unwrap());
        }));
        if ended.is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.name, self.log());
        }
    }
}

/// `named`, in the foreground.
#[must_use]
pub fn named(folder: &Path) -> Command {
    let mut command = copied(folder, "named", "bind9");
    command.args(["-f", "-g", "-n", "1"]);
    command
}

/// A server as a copy in the folder: where AppArmor is on, Debian's profiles hold those that are
/// installed to the folders of their packages.
#[must_use]
pub fn copied(folder: &Path, name: &str, package: &str) -> Command {
    let copy = folder.join(name);
    let installed = SYSTEM_PATHS.map(|path| Path::new(path).join(name));
    let installed = installed.into_iter().find(|path| path.is_file());
    let installed = installed.unwrap_or_else(|| {
        panic!("{name} (Debian package {package}) is there; tests/run installs it")
    });
    // By `cp`: a file that another thread's fork holds open for writing cannot be run.
    let status = Command::new("cp").arg(installed).arg(&copy).status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "{name} is copied"
    );
    Command::new(copy)
}

/// A server of a Debian package.
#[must_use]
pub fn program(name: &str, args: &[&str]) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(name);
    command.args(args);
    command.env("PATH", format!("{path}:{}", SYSTEM_PATHS.join(":")));
    command
}
