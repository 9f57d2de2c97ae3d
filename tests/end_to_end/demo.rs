//! The README's first command.

use std::process::Command;
use tests::daemon::dnsd;

#[test]
fn the_demo_shows_every_step_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(dnsd())
        .arg("demo")
        .env("TMPDIR", folder.path())
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}\n{errors}");
    assert!(printed.contains("Every step worked"), "{printed}");
    assert!(printed.contains("has caught up"), "{printed}");
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);
}
