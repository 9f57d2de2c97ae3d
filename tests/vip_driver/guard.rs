//! What becomes of addresses when the daemon dies, hangs, or dies together with its guard.

use crate::bridge::{Segment, signal};
use crate::host::{Host, LEASE, SOON, settings, stands};
use dnsd::io::vip::{Alone, GuardSettings, Kind, Settings, remove_leftovers};
use dnsd::vip::kernel::{Kernel, Unfit};
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use tempfile::tempdir;
use tests::daemon::dnsd;
use tests::deadline::until;

const GROUP: [&str; 2] = ["192.0.2.53/24", "2001:db8::53/64"];
const ADDRESSES: [&str; 2] = ["192.0.2.53", "2001:db8::53"];
/// Says to the test below that it is a daemon: a directory, a lease in milliseconds.
const VICTIM: &str = "VIP_DRIVER_VICTIM";
/// Short, as nothing else than its end is waited for.
const LEASE_SHORT: Duration = Duration::from_millis(200);

/// Run by the others as a process of its own, which they stop and kill; else it has nothing to do.
#[test]
fn a_daemon_for_the_others() {
    let Ok(told) = std::env::var(VICTIM) else {
        return;
    };
    let words: Vec<&str> = told.split(' ').collect();
    let lease = Duration::from_millis(words[1].parse().unwrap());
    let mut host = Host::start_here(settings(Path::new(words[0])), lease);
    let vip = host.vip(&GROUP);
    host.bring(vip, Kernel::Ready);
    host.bring(vip, Kernel::Announced);
    // Before this the harness has written the test's name without an end of the line.
    println!("\nguard {}", host.guard);
    loop {
        host.wait_lost(vip);
        host.bring(vip, Kernel::Announced);
    }
}

/// The process of the test above.
struct Victim {
    child: Child,
    guard: u32,
}

impl Victim {
    fn start(segment: &Segment, data: &Path, lease: Duration) -> Self {
        let told = format!("{} {}", data.display(), lease.as_millis());
        let program = std::env::current_exe().unwrap();
        let mut child = segment
            .host(1)
            .command(program.to_str().unwrap())
            .args(["--exact", "guard::a_daemon_for_the_others", "--nocapture"])
            .env(VICTIM, told)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut lines = lines.map_while(Result::ok);
        let guard = lines.find_map(|line| line.strip_prefix("guard ")?.parse().ok());
        Self {
            child,
            guard: guard.expect("the daemon announces its VIP"),
        }
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn are_gone(segment: &Segment) -> bool {
    ADDRESSES.iter().all(|address| {
        ["eth0", "lo"]
            .iter()
            .all(|link| !stands(segment, 1, address, link))
    })
}

#[test]
fn a_killed_daemon_leaves_nothing() {
    let (segment, data) = (Segment::new(1), tempdir().unwrap());
    let mut victim = Victim::start(&segment, data.path(), LEASE);
    assert!(!are_gone(&segment));
    let gone = segment.within(1, || {
        victim.child.kill().unwrap();
        let start = Instant::now();
        while !fs::read_to_string("/proc/thread-self/net/fib_trie")
            .is_ok_and(|table| !table.contains(ADDRESSES[0]))
        {
            assert!(start.elapsed() < SOON, "the guard does nothing");
        }
        start.elapsed()
    });
    println!("the address was gone {gone:?} after the daemon was killed");
    until(SOON, "all is gone", || are_gone(&segment).then_some(()));
    until(SOON, "the record is gone", || {
        (!data.path().join(dnsd::io::vip::RECORD).exists()).then_some(())
    });
    for (name, value) in [("arp_ignore", "0"), ("arp_announce", "0")] {
        let path = format!("/proc/sys/net/ipv4/conf/eth0/{name}");
        let read = || fs::read_to_string(&path).unwrap().trim().to_owned();
        assert_eq!(segment.within(1, read), value, "{name} is as it was");
    }
}

#[test]
fn a_stopped_daemon_loses_its_vips_and_goes_on() {
    let (segment, data) = (Segment::new(1), tempdir().unwrap());
    let victim = Victim::start(&segment, data.path(), LEASE_SHORT);
    signal(victim.child.id(), "-STOP");
    until(SOON, "all is gone", || are_gone(&segment).then_some(()));
    signal(victim.child.id(), "-CONT");
    until(SOON, "they are back", || {
        (!are_gone(&segment)).then_some(())
    });
    // The guard is the same one, and still guards.
    signal(victim.child.id(), "-STOP");
    until(SOON, "all is gone again", || {
        are_gone(&segment).then_some(())
    });
    signal(victim.child.id(), "-CONT");
}

#[test]
fn a_loop_that_does_not_beat_loses_its_vips() {
    let (segment, data) = (Segment::new(1), tempdir().unwrap());
    let mut host = Host::start(&segment, 1, data.path());
    let vip = host.vip(&GROUP);
    host.bring(vip, Kernel::Announced);
    host.stop_beats();
    host.wait_lost(vip);
    assert!(are_gone(&segment));
}

#[test]
fn a_loop_that_beats_for_a_thread_that_hangs_loses_its_vips() {
    let (segment, data) = (Segment::new(1), tempdir().unwrap());
    let mut host = Host::start(&segment, 1, data.path());
    let vip = host.vip(&GROUP);
    host.bring(vip, Kernel::Announced);
    host.set_ago(LEASE);
    host.wait_lost(vip);
    assert!(are_gone(&segment));
    // It goes on, and so does the guard.
    host.set_ago(Duration::ZERO);
    host.bring(vip, Kernel::Announced);
    assert!(!are_gone(&segment));
    host.set_ago(LEASE);
    host.wait_lost(vip);
    assert!(are_gone(&segment));
}

#[test]
fn what_ends_a_daemon_leaves_its_guard_alone() {
    let (segment, data) = (Segment::new(1), tempdir().unwrap());
    let mut host = Host::start(&segment, 1, data.path());
    let vip = host.vip(&GROUP);
    host.bring(vip, Kernel::Announced);
    for name in ["-TERM", "-INT", "-HUP"] {
        signal(host.guard, name);
    }
    host.bring(vip, Kernel::Ready);
    host.stop();
    assert!(are_gone(&segment));
    let process = format!("/proc/{}", host.guard);
    until(SOON, "the guard has ended", || {
        (!Path::new(&process).exists()).then_some(())
    });
}

#[test]
fn a_guard_that_dies_is_replaced() {
    let (segment, data) = (Segment::new(1), tempdir().unwrap());
    let mut host = Host::start(&segment, 1, data.path());
    let vip = host.vip(&GROUP);
    host.bring(vip, Kernel::Announced);
    signal(host.guard, "-KILL");
    let unfit = host.wait_unfit(vip);
    assert!(
        matches!(&unfit, Unfit::Driver(why) if why.contains("guard")),
        "{unfit}"
    );
    host.wait_can(vip, &Ok(()));
    assert!(!are_gone(&segment));
    // The new one knows what the old one knew.
    host.stop_beats();
    host.wait_lost(vip);
    assert!(are_gone(&segment));
}

/// A guard that writes down that it was started, and ends at once while a file is there.
fn fickle(data: &Path) -> PathBuf {
    let path = data.join("guard");
    let text = format!(
        "#!/bin/sh\necho >>{folder}/starts\nif [ -e {folder}/die ]; then exit 1; fi\n\
        exec {} \"$@\"\n",
        dnsd().display(),
        folder = data.display(),
    );
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn while_no_guard_lives_nothing_is_held_for_long_and_starts_are_few() {
    let (segment, data) = (Segment::new(1), tempdir().unwrap());
    let program = fickle(data.path());
    let mut host = segment.within(1, || {
        Host::start_guarded(settings(data.path()), LEASE, &program)
    });
    let vip = host.vip(&GROUP);
    host.bring(vip, Kernel::Announced);
    fs::write(data.path().join("die"), "").unwrap();
    signal(host.guard, "-KILL");
    host.wait_unfit(vip);
    host.wait_lost(vip);
    assert!(are_gone(&segment));
    let starts = fs::read_to_string(data.path().join("starts")).unwrap();
    // The pauses are doubled: so many take more than the whole test may.
    assert!(starts.lines().count() < 15, "{}", starts.lines().count());
    fs::remove_file(data.path().join("die")).unwrap();
    host.wait_can(vip, &Ok(()));
    host.bring(vip, Kernel::Announced);
}

/// Returns once none of its threads runs any more.
fn stop(process: u32) {
    signal(process, "-STOP");
    until(SOON, "all its threads stand still", || {
        let mut threads = fs::read_dir(format!("/proc/{process}/task")).ok()?;
        let is_stopped = threads.all(|thread| {
            let stat = thread.and_then(|thread| fs::read_to_string(thread.path().join("stat")));
            stat.is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|s| s.starts_with('T')))
        });
        is_stopped.then_some(())
    });
}

#[test]
fn a_start_removes_what_the_last_run_left_and_nothing_else() {
    let (segment, data) = (Segment::new(1), tempdir().unwrap());
    let victim = Victim::start(&segment, data.path(), LEASE);
    stop(victim.guard);
    signal(victim.child.id(), "-KILL");
    signal(victim.guard, "-KILL");
    drop(victim);
    segment.ip(1, "address add 192.0.2.60/32 dev eth0");
    // Of this the kernel says and the record knows nothing but the label.
    segment.ip(1, "address add 192.0.2.61/32 dev eth0 label eth0:zc");
    assert!(!are_gone(&segment), "nobody removes them");
    let host = Host::start(&segment, 1, data.path());
    assert!(are_gone(&segment));
    assert!(stands(&segment, 1, "192.0.2.60", "eth0"));
    assert!(!stands(&segment, 1, "192.0.2.61", "eth0"));
    drop(host);
}

#[test]
fn what_the_last_run_left_is_removed_whatever_the_driver_is_now() {
    let (segment, data) = (Segment::new(1), tempdir().unwrap());
    let victim = Victim::start(&segment, data.path(), LEASE);
    stop(victim.guard);
    signal(victim.child.id(), "-KILL");
    signal(victim.guard, "-KILL");
    drop(victim);
    assert!(!are_gone(&segment), "nobody removes them");
    let settings = Settings {
        kind: Kind::Log,
        ..settings(data.path())
    };
    let guard = GuardSettings {
        program: dnsd().into(),
        record: Some(settings.record.clone()),
        ..GuardSettings::new(LEASE, Alone::Yes)
    };
    segment.within(1, || remove_leftovers(&settings, guard).unwrap());
    assert!(are_gone(&segment));
    assert!(!settings.record.exists());
}

#[test]
fn a_second_daemon_waits_for_the_first() {
    let (segment, data) = (Segment::new(1), [tempdir().unwrap(), tempdir().unwrap()]);
    let mut first = Host::start(&segment, 1, data[0].path());
    let vip = first.vip(&GROUP);
    first.bring(vip, Kernel::Announced);
    let mut second = Host::start(&segment, 1, data[1].path());
    second.vips(&[&GROUP]);
    let unfit = second.wait_unfit(vip);
    assert!(unfit.to_string().contains("another dnsd"), "{unfit}");
    assert!(!are_gone(&segment), "they are those of the first");
    first.stop();
    second.wait_can(vip, &Ok(()));
}

#[test]
fn a_stranger_who_has_the_name_of_the_guard_keeps_nobody_from_standing() {
    for does_listen in [true, false] {
        let (segment, data) = (Segment::new(1), tempdir().unwrap());
        let nobody = 65_534;
        let _name = segment.host(1).within_as(nobody, || take_name(does_listen));
        let mut host = Host::start(&segment, 1, data.path());
        let vip = host.vip(&GROUP);
        host.bring(vip, Kernel::Announced);
        assert!(!are_gone(&segment));
    }
}

fn take_name(does_listen: bool) -> Socket {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    let name = SockAddr::unix("\0zonecast-vip-guard").unwrap();
    socket.bind(&name).unwrap();
    if does_listen {
        socket.listen(1).unwrap();
    }
    socket
}

#[test]
fn a_guard_stands_for_a_data_directory_that_is_named_from_here() {
    let (segment, data) = (Segment::new(1), tempdir().unwrap());
    let here = std::env::current_dir().unwrap();
    let up: PathBuf = here.components().skip(1).map(|_| "..").collect();
    let mut host = Host::start(
        &segment,
        1,
        &up.join(data.path().strip_prefix("/").unwrap()),
    );
    let vip = host.vip(&GROUP);
    host.bring(vip, Kernel::Announced);
    drop(host);
    until(SOON, "the record is gone", || {
        (!data.path().join(dnsd::io::vip::RECORD).exists()).then_some(())
    });
}

#[test]
fn a_guard_waits_for_another_of_its_data_directory() {
    let (segment, data) = (Segment::new(1), tempdir().unwrap());
    let path = data.path().join("vips.lock");
    let lock = File::create(&path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    lock.lock().unwrap();
    let mut host = Host::start(&segment, 1, data.path());
    let vip = host.vips(&[&GROUP])[0];
    let unfit = host.wait_unfit(vip);
    assert!(unfit.to_string().contains("another dnsd"), "{unfit}");
    drop(lock);
    host.wait_can(vip, &Ok(()));
}
