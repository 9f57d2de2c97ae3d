//! The README's five minutes, run exactly as printed.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use tests::daemon::dnsd;

#[test]
fn the_tour_works_as_printed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let mut script = String::from("set -euo pipefail\nshopt -s expand_aliases\n");
    for block in readme.split("```sh\n").skip(1) {
        let commands = block.split("```").next().unwrap();
        // The build is the one that the tests run on.
        let commands = commands
            .replace("cargo build --release\n", "")
            .replace("$PWD/target/release/dnsd", &dnsd().display().to_string());
        writeln!(script, "echo '+++'\n{commands}").unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tour.sh");
    std::fs::write(&file, script).unwrap();
    // The tour's ports are its own in a network namespace of its own.
    let output = Command::new("unshare")
        .args(["--net", "--map-root-user", "bash", "-c"])
        .arg(format!("ip link set lo up && exec bash {}", file.display()))
        .current_dir(folder.path())
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}\n{errors}");
    let blocks: Vec<&str> = printed.split("+++\n").skip(1).collect();
    assert_eq!(blocks.len(), 6, "{printed}");
    assert!(blocks[1].ends_with("192.0.2.80\n"), "{printed}");
    assert!(blocks[2].ends_with("192.0.2.80\n"), "{printed}");
    assert!(blocks[3].starts_with("192.0.2.99\n"), "{printed}");
    assert!(blocks[4].ends_with("192.0.2.81\n"), "{printed}");
}
