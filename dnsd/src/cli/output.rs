//! What sub-commands print: text or JSON on standard output, progress on a terminal.

use super::{Failure, Format, Global};
use crate::admin::{Progress, Step};
use serde::Serialize;
use std::io::{self, ErrorKind, IsTerminal, Write};

/// Where a sub-command prints, and how.
pub struct Output<'w> {
    format: Format,
    writer: &'w mut dyn Write,
}

impl<'w> Output<'w> {
    /// Prints to `writer` as the command line asks.
    pub fn new(global: &Global, writer: &'w mut dyn Write) -> Self {
        Self {
            format: global.format,
            writer,
        }
    }

    /// Prints data: for programs as it is, for people as `text` tells it.
    pub(super) fn data<T: Serialize>(
        &mut self,
        data: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Text => self.raw(text(data).as_bytes()),
            Format::Json => {
                let json = serde_json::to_string_pretty(data).expect("all keys are strings");
                self.line(&json)
            }
        }
    }

    /// Prints a part of a text that comes in parts, for people at once; for programs it is kept for
    /// what is printed at the end.
    pub(super) fn part(&mut self, text: &str, kept: &mut String) -> Result<(), Failure> {
        match self.format {
            Format::Text => self.raw(text.as_bytes()),
            Format::Json => {
                kept.push_str(text);
                Ok(())
            }
        }
    }

    /// Prints one line, whatever the format.
    pub(super) fn line(&mut self, line: &str) -> Result<(), Failure> {
        self.raw(line.as_bytes())?;
        self.raw(b"\n")
    }

    /// Prints bytes as they are.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.writer
            .write_all(bytes)
            .map_err(|error| match error.kind() {
                // `dnsd zone export … | head` is no failure of ours to tell.
                ErrorKind::BrokenPipe => Failure::OutputClosed,
                _ => Failure::Message(format!("cannot print: {error}")),
            })
    }
}

/// Rows under a heading, each column as wide as its widest cell.
pub(super) fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let heading: Vec<String> = heading.iter().map(|cell| (*cell).to_owned()).collect();
    let lines = || std::iter::once(&heading).chain(rows);
    let width = |column: usize| {
        lines()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    let mut text = String::new();
    for row in lines() {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line += &format!("{cell:width$}  ");
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// How far an import has come, on one line of a terminal that is written again and again; nothing
/// where standard error is no terminal.
pub(super) struct ProgressLine {
    is_shown: bool,
    last: Option<(Step, u64)>,
}

impl ProgressLine {
    pub(super) fn new() -> Self {
        Self {
            is_shown: io::stderr().is_terminal(),
            last: None,
        }
    }

    pub(super) fn show(&mut self, progress: Progress) {
        let Progress { step, done, total } = progress;
        let percent = (done * 100).checked_div(total).unwrap_or(100);
        if !self.is_shown || self.last == Some((step, percent)) {
            return;
        }
        self.last = Some((step, percent));
        self.write(&progress_text(step, percent, done, total));
    }

    /// Leaves the line empty.
    pub(super) fn end(&mut self) {
        if self.last.take().is_some() {
            self.write("");
        }
    }

    fn write(&self, text: &str) {
        /// Erases the line and goes to its start (ECMA-48).
        const CLEAR_LINE: &str = "\x1b[2K\r";
        // A terminal that has gone away needs no progress.
        drop(write!(io::stderr(), "{CLEAR_LINE}{text}"));
    }
}

fn progress_text(step: Step, percent: u64, done: u64, total: u64) -> String {
    const WIDTH: u64 = 30;
    let filled = "#".repeat((percent.min(100) * WIDTH / 100) as usize);
    let (what, unit) = match step {
        Step::Uploading => ("sending", "records"),
        Step::Building => ("building", "records"),
        Step::Storing => ("storing", "bytes"),
        Step::Settling => ("settling", "peers"),
    };
    let width = WIDTH as usize;
    format!("{what:9} [{filled:width$}] {percent:3}%  {done} of {total} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_must() {
        let rows = [
            vec!["ns1".to_owned(), "settling".to_owned(), String::new()],
            vec!["ns-two".to_owned(), "é".to_owned(), "x".to_owned()],
        ];
        assert_eq!(
            table(&["NAME", "STATE", "A"], &rows),
            "NAME    STATE     A\nns1     settling\nns-two  é         x\n"
        );
    }

    #[test]
    fn progress_is_a_bar() {
        assert_eq!(
            progress_text(Step::Uploading, 50, 5, 10),
            format!(
                "sending   [{}{}]  50%  5 of 10 records",
                "#".repeat(15),
                " ".repeat(15)
            )
        );
    }
}
