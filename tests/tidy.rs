//! Rules that no lint sees: who imports whom, where the doors are, dead files, what the documents
//! promise. Prints the longest files as a mirror; that is no limit.
#![allow(clippy::unwrap_used, reason = "a test stops at what does not hold")]

use std::fs;
use std::path::{Path, PathBuf};

/// Crate, and which of our crates it may name (ARCHITECTURE.md, "Who may import whom").
const IMPORTS: &[(&str, &[&str])] = &[
    ("zones", &[]),
    ("overlay", &[]),
    ("replication", &["overlay"]),
    ("dnsd", &["zones", "overlay", "replication"]),
    ("tests", &["zones", "overlay", "replication", "dnsd"]),
];

/// What `replication` may take from `overlay`.
const REPLICATION_TAKES: &[&str] = &[
    "Admit",
    "ClusterId",
    "Incarnation",
    "PeerId",
    "PublicKey",
    "View",
    "ViewId",
];

/// Doors to the world: only under `src/io/` and in `main.rs`.
const DOORS: &[&str] = &[
    "Instant::now",
    "SystemTime::now",
    "UdpSocket",
    "TcpListener",
    "TcpStream",
    "UnixListener",
    "UnixStream",
    "sled::",
    "std::fs",
    "std::thread",
    "std::process",
    "thread::spawn",
    "tokio::",
    "libc::",
];

#[test]
fn imports_follow_the_table() {
    let mut faults = Vec::new();
    for (name, allowed) in IMPORTS.iter().filter(|(name, _)| *name != "tests") {
        for file in sources(&root().join(name).join("src")) {
            for (number, line) in code_lines(&file) {
                for (other, _) in IMPORTS {
                    let named = names_crate(&line, other);
                    if named && other != name && !allowed.contains(other) {
                        faults.push(format!("{}:{number}: names {other}", show(&file)));
                    }
                }
                if *name == "replication"
                    && let Some(taken) = after(&line, "overlay::")
                    && !taken.starts_with('{')
                    && !REPLICATION_TAKES.iter().any(|t| {
                        taken
                            .split(|c: char| !c.is_alphanumeric())
                            .any(|word| word == *t)
                    })
                {
                    faults.push(format!("{}:{number}: takes {taken}", show(&file)));
                }
            }
        }
    }
    none(&faults);
}

#[test]
fn doors_are_folders() {
    let mut faults = Vec::new();
    for (name, _) in IMPORTS.iter().filter(|(name, _)| *name != "tests") {
        for file in sources(&root().join(name).join("src")) {
            // A crate's `testing.rs` is compiled for its unit tests alone.
            let is_door = file.components().any(|c| c.as_os_str() == "io")
                || file
                    .file_name()
                    .is_some_and(|f| f == "main.rs" || f == "testing.rs");
            if is_door {
                continue;
            }
            for (number, line) in code_lines(&file) {
                for door in DOORS {
                    if line.contains(door) {
                        faults.push(format!("{}:{number}: {door}", show(&file)));
                    }
                }
            }
        }
    }
    none(&faults);
}

#[test]
fn every_file_says_what_it_is_for_and_is_reached() {
    let mut faults = Vec::new();
    for (name, _) in IMPORTS {
        for file in sources(&root().join(name)) {
            let text = fs::read_to_string(&file).unwrap();
            if !text.starts_with("//!") {
                faults.push(format!("{}: does not start with //!", show(&file)));
            }
            if file.starts_with(root().join(name).join("src")) && !is_reached(&file) {
                faults.push(format!("{}: no `mod` reaches it", show(&file)));
            }
        }
    }
    none(&faults);
}

#[test]
fn nothing_is_left_for_later_in_the_text() {
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("unim", "plemented!"),
    ];
    let mut faults = Vec::new();
    for file in all_files() {
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            if words.iter().any(|word| line.contains(word)) {
                faults.push(format!("{}:{}: {}", show(&file), number + 1, line.trim()));
            }
        }
    }
    none(&faults);
}

#[test]
fn documents_name_every_folder() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    assert!(
        text.lines().count() < 200,
        "ARCHITECTURE.md is to be read in one sitting"
    );
    let mut faults = Vec::new();
    for (name, _) in IMPORTS {
        let mut folders = Vec::new();
        for file in sources(&root().join(name)) {
            folders.push(
                file.parent()
                    .unwrap()
                    .strip_prefix(root())
                    .unwrap()
                    .to_owned(),
            );
        }
        folders.sort();
        folders.dedup();
        for folder in folders {
            let folder = format!("{}/", folder.display());
            if !text.contains(&folder) {
                faults.push(format!("ARCHITECTURE.md does not name {folder}"));
            }
        }
    }
    none(&faults);
}

#[test]
fn readme_commands_exist() {
    let text = fs::read_to_string(root().join("README.md")).unwrap();
    assert!(text.contains("cargo run --release -- demo"));
    assert!(text.contains("tests/run"));
    assert!(root().join("tests/run").is_file());
    assert!(root().join(".ci/run").is_file());
}

#[test]
fn the_longest_files_are_shown() {
    let mut sizes: Vec<(usize, String)> = IMPORTS
        .iter()
        .flat_map(|(name, _)| sources(&root().join(name)))
        .map(|file| {
            (
                fs::read_to_string(&file).unwrap().lines().count(),
                show(&file),
            )
        })
        .collect();
    sizes.sort();
    assert!(!sizes.is_empty());
    for (lines, file) in sizes.iter().rev().take(5) {
        println!("{lines:6} {file}");
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

fn show(file: &Path) -> String {
    file.strip_prefix(root())
        .unwrap_or(file)
        .display()
        .to_string()
}

fn none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// All Rust files below `folder`, the fuzz workspace and build results apart.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let is_workspace_of_its_own = path == root().join("tests/fuzz");
            if path.file_name().is_some_and(|f| f != "target") && !is_workspace_of_its_own {
                found.extend(sources(&path));
            }
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Everything that is in the repository, by suffix.
fn all_files() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = IMPORTS
        .iter()
        .flat_map(|(name, _)| sources(&root().join(name)))
        .collect();
    for entry in fs::read_dir(root()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "md" || e == "toml") {
            found.push(path);
        }
    }
    found
}

/// Lines of code with their numbers: comments and what stands in `mod tests` are left out.
fn code_lines(file: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(file).unwrap();
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.starts_with("mod tests {") {
            break;
        }
        let code = line.split("//").next().unwrap();
        lines.push((number + 1, code.to_owned()));
    }
    lines
}

fn names_crate(line: &str, name: &str) -> bool {
    let path = format!("{name}::");
    line.match_indices(&path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':')
    })
}

fn after<'l>(line: &'l str, path: &str) -> Option<&'l str> {
    line.find(path).map(|at| &line[at + path.len()..])
}

/// True if the file is a crate's root or its parent module declares it.
fn is_reached(file: &Path) -> bool {
    let stem = file.file_stem().unwrap().to_str().unwrap();
    let folder = file.parent().unwrap();
    if folder.ends_with("src") && (stem == "lib" || stem == "main") {
        return true;
    }
    let (declared, parents) = if stem == "mod" {
        let module = folder.file_name().unwrap().to_str().unwrap();
        let above = folder.parent().unwrap();
        (
            module,
            vec![
                above.join("lib.rs"),
                above.join("main.rs"),
                above.join("mod.rs"),
            ],
        )
    } else {
        let beside = folder.with_extension("rs");
        (
            stem,
            vec![
                folder.join("lib.rs"),
                folder.join("main.rs"),
                folder.join("mod.rs"),
                beside,
            ],
        )
    };
    parents
        .iter()
        .filter_map(|parent| fs::read_to_string(parent).ok())
        .any(|text| {
            text.lines().any(|line| {
                line.trim()
                    .trim_start_matches("pub(crate) ")
                    .trim_start_matches("pub ")
                    == format!("mod {declared};")
            })
        })
}

#[test]
fn the_rules_catch_what_they_are_for() {
    assert!(names_crate("use overlay::PeerId;", "overlay"));
    assert!(!names_crate("use my_overlay::PeerId;", "overlay"));
    assert!(!is_reached(&root().join("zones/src/no_such_file.rs")));
    assert!(is_reached(&root().join("zones/src/name.rs")));
}
