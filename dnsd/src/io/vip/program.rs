//! A program that is run for a VIP: by whatever it leaves behind, its own end counts.

use super::rights::kill_group;
use super::told::Run;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStderr};

/// Longest reason that is passed on.
const REASON_MAX: usize = 200;
/// What is kept of what a program wrote last.
const TAIL_SIZE: usize = 4096;
/// So long what a program has written is read after its end. A daemon that it left behind may hold
/// its standard error open for ever.
const REST: Duration = Duration::from_millis(20);

/// The command of a run, apart from the daemon's log and terminal, in a process group of its own.
pub(super) fn command(run: &Run) -> Command {
    let mut command = Command::new(&run.program);
    command.args(&run.args).envs(&run.env).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(Stdio::null());
    command
}

/// Runs a program until it has ended. One that takes too long is killed, with all that is in its
/// process group.
pub(super) async fn execute(run: &Run) -> Result<(), String> {
    let name = run.program.display();
    let mut command = tokio::process::Command::from(command(run));
    command.stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command
        .spawn()
        .map_err(|error| format!("cannot run {name}: {error}"))?;
    let mut stderr = child.stderr.take().expect("it is piped");
    let mut tail = Vec::new();
    let ended = tokio::time::timeout(run.timeout, wait(&mut child, &mut stderr, &mut tail)).await;
    let Ok(ended) = ended else {
        if let Some(leader) = child.id() {
            kill_group(leader);
        }
        // It is dead, or will be once the kernel lets it.
        drop(tokio::time::timeout(REST, child.wait()).await);
        return Err(format!("{name} was killed after {:?}", run.timeout));
    };
    let status = ended.map_err(|error| format!("{name}: {error}"))?;
    if status.success() {
        return Ok(());
    }
    let rest = async { while read(&mut stderr, &mut tail).await {} };
    // Whoever still writes is not waited for.
    drop(tokio::time::timeout(REST, rest).await);
    Err(reason(&tail).unwrap_or_else(|| format!("{name}: {status}")))
}

/// Waits for its end, and reads meanwhile, or it might wait for that.
async fn wait(
    child: &mut Child,
    stderr: &mut ChildStderr,
    tail: &mut Vec<u8>,
) -> std::io::Result<ExitStatus> {
    let mut is_open = true;
    loop {
        tokio::select! {
            status = child.wait() => return status,
            more = read(stderr, tail), if is_open => is_open = more,
        }
    }
}

/// Reads what is there. False at the end.
async fn read(stderr: &mut ChildStderr, tail: &mut Vec<u8>) -> bool {
    let mut some = [0; 1024];
    // What cannot be read is no reason.
    let size = stderr.read(&mut some).await.unwrap_or_default();
    tail.extend(&some[..size]);
    let surplus = tail.len().saturating_sub(TAIL_SIZE);
    tail.drain(..surplus);
    size > 0
}

/// The last line in which something stands.
fn reason(tail: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(tail);
    let mut lines = text.lines().map(str::trim);
    let last = lines.rfind(|line| !line.is_empty())?;
    Some(last.chars().take(REASON_MAX).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_the_reason() {
        let check = |tail: &[u8], expected: Option<&str>| {
            assert_eq!(reason(tail).as_deref(), expected);
        };
        check(b"", None);
        check(b" \n\n", None);
        check(b"first\nno session\n \n", Some("no session"));
        check(b"no end of line", Some("no end of line"));
        check(b"\xff\n", Some("\u{fffd}"));
        check(&[b'x'; 300], Some("x".repeat(REASON_MAX).as_str()));
    }
}
