//! Network namespaces of the tests' own: made, entered, removed.

use crate::raw;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Once};
use std::thread;

/// Where `ip netns` keeps the names.
const NAMES: &str = "/run/netns";
/// What all names of the tests begin with; the id of the process that made it comes next.
const PREFIX: &str = "zonecast-";

/// A network namespace; removed when it is dropped. A process still in it keeps it alive, without
/// a name.
pub struct Namespace {
    name: String,
    file: Arc<File>,
}

impl Namespace {
    /// Makes one. `role` is unique in this process.
    ///
    /// # Panics
    ///
    /// Without the right to: tests that need a segment run as root.
    #[must_use]
    pub fn new(role: &str) -> Self {
        static SWEPT: Once = Once::new();
        SWEPT.call_once(remove_what_the_dead_left);
        let name = format!("{PREFIX}{}-{role}", std::process::id());
        succeed(Command::new("ip").args(["netns", "add", &name]));
        let file = Arc::new(File::open(Path::new(NAMES).join(&name)).unwrap());
        Self { name, file }
    }

    /// Its name, for `ip -n`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Does something on a thread that is inside. Sockets opened there stay inside.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                raw::enter(&self.file).unwrap();
                work()
            });
            inside.join().unwrap()
        })
    }

    /// Does something inside as another user.
    pub fn within_as<T: Send>(&self, user: u32, work: impl FnOnce() -> T + Send) -> T {
        self.within(|| {
            raw::act_as(user).unwrap();
            work()
        })
    }

    /// Has the program of `command` start inside.
    pub fn confine(&self, command: &mut Command) {
        raw::start_inside(command, Arc::clone(&self.file));
    }

    /// A command that runs inside.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        self.confine(&mut command);
        command
    }

    /// Runs commands of `ip`, one a line; all must succeed.
    pub fn ip(&self, lines: &str) {
        let mut command = Command::new("ip");
        succeed_with(command.args(["-n", &self.name, "-batch", "-"]), lines);
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip")
            .args(["netns", "delete", &self.name])
            .stderr(Stdio::null())
            .status();
    }
}

/// Runs a command that must succeed; returns what it prints.
pub(crate) fn succeed(command: &mut Command) -> String {
    command.stdin(Stdio::null());
    let output = command.output().unwrap();
    expect_success(command, &output);
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a command that reads `input` and must succeed.
pub(crate) fn succeed_with(command: &mut Command, input: &str) {
    command.stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    expect_success(command, &child.wait_with_output().unwrap());
}

fn expect_success(command: &Command, output: &Output) {
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A test that was killed could not remove its namespaces, nor end what runs in them.
fn remove_what_the_dead_left() {
    let Ok(names) = fs::read_dir(NAMES) else {
        return;
    };
    for name in names.flatten().map(|entry| entry.file_name()) {
        let Some(name) = name.to_str() else { continue };
        let maker = name.strip_prefix(PREFIX).and_then(|n| n.split('-').next());
        let is_left = maker.is_some_and(|maker| !Path::new("/proc").join(maker).exists());
        if is_left {
            // Another test may do the same: what it was faster with fails here.
            let inside = Command::new("ip").args(["netns", "pids", name]).output();
            let inside = String::from_utf8(inside.unwrap().stdout).unwrap();
            for process in inside.lines() {
                let _ = Command::new("kill").args(["-KILL", process]).output();
            }
            let _ = Command::new("ip").args(["netns", "delete", name]).output();
        }
    }
}
