//! The driver that runs a program.

use crate::bridge::signal;
use crate::host::{Host, LEASE, SOON, settings};
use dnsd::io::vip::{Kind, Settings};
use dnsd::vip::kernel::{Heard, Kernel, Order, Report, Unfit};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::{TempDir, tempdir};
use tests::deadline::until;

const GROUP: [&str; 2] = ["192.0.2.53/24@eth0", "2001:db8::53/64"];

/// A program that writes down how it is called, and fails, waits, hangs or leaves another program
/// behind in states that are files beside it.
fn program(data: &TempDir) -> PathBuf {
    let path = data.path().join("zonecast-vip");
    let text = "#!/bin/sh\n\
        folder=${0%/*}\n\
        echo \"$* $ZONECAST_VIP $ZONECAST_STATE $ZONECAST_INTERFACE\" >>\"$folder/calls\"\n\
        if [ -e \"$folder/daemon-$1\" ]; then sleep 60 & echo $! >>\"$folder/daemons\"; fi\n\
        while [ -e \"$folder/wait-$1\" ]; do sleep 0.02; done\n\
        for hang in \"hang-$1\" \"hang-$1-$ZONECAST_VIP\"; do\n\
            if [ -e \"$folder/$hang\" ]; then exec sleep 60; fi\n\
        done\n\
        if [ -e \"$folder/fail-$1\" ]; then echo first >&2; echo no session >&2; exit 3; fi\n";
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    path
}

fn calls(data: &Path) -> Vec<String> {
    let text = fs::read_to_string(data.join("calls")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn states(data: &Path) -> Vec<String> {
    let first = |line: String| line.split(' ').next().unwrap().to_owned();
    calls(data).into_iter().map(first).collect()
}

fn start(data: &TempDir, command: PathBuf, timeout: Duration) -> Host {
    let kind = Kind::Exec { command, timeout };
    let settings = Settings {
        kind,
        ..settings(data.path())
    };
    Host::start_here(settings, LEASE)
}

#[test]
fn a_program_is_run_for_each_change() {
    let data = tempdir().unwrap();
    let mut host = start(&data, program(&data), SOON);
    let vip = host.vip(&GROUP);
    host.bring(vip, Kernel::Ready);
    host.bring(vip, Kernel::Announced);
    host.order(Order::Announce(vip));
    assert_eq!(host.ask(vip), Heard::Nobody);
    host.stop();
    let call = |state| format!("{state} 192.0.2.53/24 2001:db8::53/64 192.0.2.53 {state} eth0");
    let expected = ["absent", "ready", "announced", "announced", "absent"].map(call);
    assert_eq!(calls(data.path()), expected);
}

#[test]
fn a_program_that_fails_or_hangs_leaves_nothing() {
    let data = tempdir().unwrap();
    let mut host = start(&data, program(&data), Duration::from_secs(2));
    let vip = host.vip(&GROUP);
    fs::write(data.path().join("fail-ready"), "").unwrap();
    assert_eq!(
        host.fail(vip, Kernel::Ready),
        (Kernel::Absent, "no session".to_owned())
    );
    fs::write(data.path().join("hang-announced"), "").unwrap();
    let (is, why) = host.fail(vip, Kernel::Announced);
    assert_eq!(is, Kernel::Absent);
    assert!(why.ends_with("was killed after 2s"), "{why}");
    assert_eq!(
        states(data.path()),
        ["absent", "ready", "absent", "announced", "absent"]
    );
}

#[test]
fn of_changes_that_wait_for_a_program_only_the_last_is_made() {
    let data = tempdir().unwrap();
    let mut host = start(&data, program(&data), SOON);
    let vip = host.vip(&GROUP);
    let wait = data.path().join("wait-ready");
    fs::write(&wait, "").unwrap();
    host.order(Order::Change(vip, Kernel::Ready));
    until(SOON, "it runs", || {
        (states(data.path()) == ["absent", "ready"]).then_some(())
    });
    host.order(Order::Change(vip, Kernel::Announced));
    host.order(Order::Change(vip, Kernel::Absent));
    // Programs of others do not wait for it.
    let other = host.vips(&[&GROUP, &["192.0.2.60/24"]])[1];
    host.wait_can(other, &Ok(()));
    host.bring(other, Kernel::Announced);
    fs::remove_file(&wait).unwrap();
    for state in [Kernel::Ready, Kernel::Absent] {
        host.wait("a change is done", |report| {
            (*report == Report::Is(vip, state)).then_some(())
        });
    }
    let of_vip: Vec<String> = calls(data.path())
        .iter()
        .filter(|call| call.contains("192.0.2.53"))
        .map(|call| call.split(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(of_vip, ["absent", "ready", "absent"]);
}

#[test]
fn what_the_guard_releases_while_a_program_runs_is_released_after_it() {
    let data = tempdir().unwrap();
    let mut host = start(&data, program(&data), SOON);
    let vip = host.vip(&GROUP);
    host.bring(vip, Kernel::Ready);
    let wait = data.path().join("wait-announced");
    fs::write(&wait, "").unwrap();
    host.order(Order::Change(vip, Kernel::Announced));
    until(SOON, "it runs", || {
        (states(data.path()).last()? == "announced").then_some(())
    });
    host.stop_beats();
    until(SOON, "the guard has released it", || {
        (states(data.path()).last()? == "absent").then_some(())
    });
    // Nothing is said of it before its program has ended.
    host.wait_unfit(vip);
    assert_eq!(host.ask(vip), Heard::Nobody);
    fs::remove_file(&wait).unwrap();
    let is = host.wait("the change fails", |report| match report {
        Report::Failed(of, is, _) if *of == vip => Some(*is),
        Report::Lost(..) => panic!("it is not known to be lost yet"),
        _ => None,
    });
    assert_eq!(is, Kernel::Absent);
    assert_eq!(
        states(data.path()),
        ["absent", "ready", "announced", "absent", "absent"]
    );
}

#[test]
fn what_a_program_leaves_behind_is_not_waited_for() {
    let data = tempdir().unwrap();
    let mut host = start(&data, program(&data), SOON);
    let vip = host.vip(&GROUP);
    // It holds the standard error open for longer than the driver may wait.
    fs::write(data.path().join("daemon-ready"), "").unwrap();
    host.bring(vip, Kernel::Ready);
    fs::write(data.path().join("daemon-announced"), "").unwrap();
    fs::write(data.path().join("fail-announced"), "").unwrap();
    assert_eq!(
        host.fail(vip, Kernel::Announced),
        (Kernel::Absent, "no session".to_owned())
    );
    for pid in fs::read_to_string(data.path().join("daemons"))
        .unwrap()
        .lines()
    {
        signal(pid.parse().unwrap(), "-KILL");
    }
}

#[test]
fn a_program_that_hangs_is_killed_with_what_it_has_started() {
    let data = tempdir().unwrap();
    let mut host = start(&data, program(&data), Duration::from_secs(2));
    let vip = host.vip(&GROUP);
    fs::write(data.path().join("daemon-ready"), "").unwrap();
    fs::write(data.path().join("hang-ready"), "").unwrap();
    host.fail(vip, Kernel::Ready);
    let pid = fs::read_to_string(data.path().join("daemons")).unwrap();
    until(SOON, "it is gone", || {
        let status = fs::read_to_string(format!("/proc/{}/status", pid.trim()));
        let is_gone = status.map_or(true, |status| status.contains("State:\tZ"));
        is_gone.then_some(())
    });
}

#[test]
fn what_an_earlier_run_left_is_released_once_that_can_be() {
    let data = tempdir().unwrap();
    fs::write(data.path().join("fail-absent"), "").unwrap();
    let mut host = start(&data, program(&data), SOON);
    let vip = host.vips(&[&GROUP])[0];
    assert_eq!(host.wait_unfit(vip), Unfit::Driver("no session".to_owned()));
    until(SOON, "it is tried again", || {
        (states(data.path()).len() > 1).then_some(())
    });
    assert_eq!(
        host.fail(vip, Kernel::Ready).0,
        Kernel::Absent,
        "until then it is not held"
    );
    fs::remove_file(data.path().join("fail-absent")).unwrap();
    let mut unfit = 0;
    host.wait("it can be held", |report| match report {
        Report::Can(can) if can[&vip].is_ok() => Some(()),
        Report::Can(_) => {
            unfit += 1;
            None
        }
        _ => None,
    });
    assert_eq!(unfit, 0, "it is told once");
    host.bring(vip, Kernel::Ready);
}

#[test]
fn a_program_that_is_not_there_is_told_of() {
    let data = tempdir().unwrap();
    let mut host = start(&data, data.path().join("missing"), SOON);
    let vip = host.vips(&[&GROUP])[0];
    let unfit = host.wait_unfit(vip);
    assert!(
        matches!(&unfit, Unfit::Driver(why) if why.starts_with("cannot run ")),
        "{unfit}"
    );
}

#[test]
fn the_guard_runs_it_when_the_daemon_hangs() {
    let data = tempdir().unwrap();
    let mut host = start(&data, program(&data), SOON);
    let vip = host.vip(&GROUP);
    host.bring(vip, Kernel::Announced);
    host.stop_beats();
    host.wait_lost(vip);
    until(SOON, "the guard has run it", || {
        (states(data.path()) == ["absent", "announced", "absent"]).then_some(())
    });
}

#[test]
fn the_guard_runs_all_at_once_and_waits_for_none_that_hangs() {
    let data = tempdir().unwrap();
    let mut host = start(&data, program(&data), Duration::from_secs(3));
    let vips = host.vips(&[&["192.0.2.53/24"], &["192.0.2.60/24"]]);
    for vip in &vips {
        host.wait_can(*vip, &Ok(()));
        host.bring(*vip, Kernel::Announced);
    }
    let hang = data.path().join("hang-absent-192.0.2.53");
    fs::write(&hang, "").unwrap();
    let before = calls(data.path()).len();
    host.stop_beats();
    until(SOON, "the guard runs both", || {
        (calls(data.path()).len() == before + 2).then_some(())
    });
    fs::remove_file(&hang).unwrap();
    // That of the first is killed; then the driver runs it once more.
    let mut lost = Vec::new();
    host.wait("both are lost", |report| {
        if let Report::Lost(vip, Kernel::Absent) = report {
            lost.push(*vip);
        }
        (lost.len() == 2).then_some(())
    });
    assert_eq!(lost, [vips[1], vips[0]]);
    assert_eq!(calls(data.path()).len(), before + 3);
}
