//! Real DNS clients as programs: dig, kdig and nsupdate.

use crate::deadline::until;
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long an update may take to all peers, on a machine that is busy with other tests.
const SPREAD_TIMEOUT: Duration = Duration::from_secs(20);

/// What `dig +short` prints for this question.
pub fn dig_short(server: SocketAddr, question: &[&str]) -> String {
    dig(server, &[question, &["+short"]].concat())
}

/// Waits until `dig +short` prints this: an update is answered when it is on the disks of all
/// peers, which may be a moment before the others serve it.
pub fn wait_short(server: SocketAddr, question: &[&str], expected: &str) {
    let what = format!("{server} answers {question:?} by {expected:?}");
    until(SPREAD_TIMEOUT, &what, || {
        (dig_short(server, question) == expected).then_some(())
    });
}

/// What `dig` prints.
pub fn dig(server: SocketAddr, args: &[&str]) -> String {
    let output = Command::new("dig")
        .arg(format!("@{}", server.ip()))
        .args(["-p", &server.port().to_string(), "+tries=1", "+time=5"])
        .args(args)
        .output()
        .expect("dig is installed");
    String::from_utf8(output.stdout).unwrap()
}

/// What `kdig` prints.
pub fn kdig(server: SocketAddr, args: &[&str]) -> String {
    let output = Command::new("kdig")
        .arg(format!("@{}", server.ip()))
        .args(["-p", &server.port().to_string(), "+retry=0", "+time=5"])
        .args(args)
        .output()
        .expect("kdig is installed");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs `nsupdate` with these commands (without `server` and `send`). The error text if it fails.
pub fn nsupdate(server: SocketAddr, commands: &str) -> Result<(), String> {
    update_by(
        "nsupdate",
        &["-t", "20", "-u", "20", "-r", "0"],
        server,
        commands,
    )
}

/// The same with `knsupdate`.
pub fn knsupdate(server: SocketAddr, commands: &str) -> Result<(), String> {
    update_by("knsupdate", &["-t", "20", "-r", "0"], server, commands)
}

fn update_by(
    program: &str,
    args: &[&str],
    server: SocketAddr,
    commands: &str,
) -> Result<(), String> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program} is installed: {error}"));
    let script = format!(
        "server {} {}\n{commands}\nsend\n",
        server.ip(),
        server.port()
    );
    child
        .stdin
        .take()
        .unwrap()
        .write_all(script.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}
