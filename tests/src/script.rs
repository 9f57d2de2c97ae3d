//! Runs golden scripts: commands with their recorded output.
//!
//! ```text
//! # Comments stay as they are.
//! command word word
//! lines of input, if the command has any
//! ----
//! the output that was recorded
//! ```
//! Blocks are parted by blank lines. With `UPDATE=1` in the environment the file is rewritten
//! with the output of this run; review reads the difference.

use std::fs;
use std::path::{Path, PathBuf};

const SEPARATOR: &str = "----";

/// One command of a script.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Command {
    /// Its first word.
    pub name: String,
    /// The words after it without `=`.
    pub words: Vec<String>,
    /// The words `key=value` after it.
    pub options: Vec<(String, String)>,
    /// The lines of input.
    pub input: String,
}

impl Command {
    fn parse(line: &str, input: &[&str]) -> Self {
        let mut words = Vec::new();
        let mut options = Vec::new();
        for word in line.split_whitespace() {
            match word.split_once('=') {
                Some((key, value)) => options.push((key.to_owned(), value.to_owned())),
                None => words.push(word.to_owned()),
            }
        }
        let name = words.remove(0);
        let input = input.iter().flat_map(|line| [line, "\n"]).collect();
        Self {
            name,
            words,
            options,
            input,
        }
    }

    /// The value of an option.
    #[must_use]
    pub fn option(&self, key: &str) -> Option<&str> {
        let option = self.options.iter().find(|(k, _)| k == key)?;
        Some(&option.1)
    }

    /// True if this word is among those after the name.
    #[must_use]
    pub fn has(&self, word: &str) -> bool {
        self.words.iter().any(|w| w == word)
    }
}

/// Runs the script of a file: `run` gives the output of each command. Returns what differs, or
/// with `UPDATE=1` rewrites the file.
pub fn check(path: &Path, run: impl FnMut(&Command) -> String) -> Result<(), String> {
    let name = path.display();
    let text = fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
    let replayed = replay(&text, run);
    if std::env::var_os("UPDATE").is_none() {
        return match replayed.differences.as_str() {
            "" => Ok(()),
            differences => Err(format!("{name}\n{differences}")),
        };
    }
    if replayed.text != text {
        fs::write(path, replayed.text).map_err(|error| format!("{name}: {error}"))?;
    }
    Ok(())
}

/// A script after it ran.
struct Replayed {
    /// With the output of this run.
    text: String,
    /// How that differs from what was recorded.
    differences: String,
}

fn replay(text: &str, mut run: impl FnMut(&Command) -> String) -> Replayed {
    let mut rewritten = String::new();
    let mut differences = String::new();
    for block in text.trim_end().split("\n\n") {
        let lines: Vec<&str> = block.trim_matches('\n').lines().collect();
        let comments = lines
            .iter()
            .take_while(|line| line.starts_with('#'))
            .count();
        let end = lines.iter().position(|line| *line == SEPARATOR);
        let end = end.unwrap_or(lines.len());
        for line in &lines[..end] {
            rewritten.push_str(line);
            rewritten.push('\n');
        }
        if comments < end {
            let command = Command::parse(lines[comments], &lines[comments + 1..end]);
            let recorded: Vec<&str> = lines.iter().skip(end + 1).copied().collect();
            let recorded = recorded.join("\n");
            let output = run(&command);
            let output = output.trim_end();
            if output != recorded {
                let command = lines[comments];
                differences += &format!("{command}\n recorded:\n{recorded}\n now:\n{output}\n");
            }
            rewritten.push_str(SEPARATOR);
            rewritten.push('\n');
            if !output.is_empty() {
                rewritten.push_str(output);
                rewritten.push('\n');
            }
        }
        rewritten.push('\n');
    }
    rewritten.truncate(rewritten.trim_end().len());
    rewritten.push('\n');
    Replayed {
        text: rewritten,
        differences,
    }
}

/// All scripts of a folder below `tests/scripts`, in order.
#[must_use]
pub fn scripts(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("scripts")
        .join(folder);
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("the folder can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} has no scripts", folder.display());
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_that_says_something_else_is_told() {
        let script = "# Why.\necho x=1 word\ninput\n----\nword 1 input\n\necho x=2\n----\n";
        let run = |command: &Command| {
            let words = command.words.concat();
            format!("{words} {} {}", command.option("x").unwrap(), command.input)
        };
        let replayed = replay(script, run);
        assert_eq!(replayed.differences, "echo x=2\n recorded:\n\n now:\n 2\n");
        let recorded = script.trim_end().to_owned() + "\n 2\n";
        assert_eq!(replayed.text, recorded);
        assert_eq!(replay(&recorded, run).differences, "");
    }
}
