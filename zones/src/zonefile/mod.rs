//! Zone files (RFC 1035 section 5) in and out.
//!
//! ```text
//! Source ──lexer──▶ tokens ──parser──▶ Records, each with its place ──check.rs──▶ a zone
//!                     └─field──▶ RDATA                    records ──printer──▶ text
//! ```
//! Nothing here opens a file: an `$INCLUDE` is handed to the caller.

pub(crate) mod field;
mod generate;
pub(crate) mod lexer;
mod parser;
mod printer;

use std::fmt;

pub use parser::{INCLUDE_DEPTH_MAX, Include, parse};
pub use printer::{print_rdata, print_record, print_zone, rdata_from_text};

use crate::records::Records;

/// The text of one zone file and the name it has in messages.
#[derive(Clone, Debug)]
pub struct Source {
    /// The path of the file, or what stands for it.
    pub name: String,
    /// All of its bytes.
    pub text: Vec<u8>,
}

/// A fault in a zone file, or, in a list of warnings, something odd. Shown as
/// `file:line:column: message`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ZonefileError {
    /// The file, as its [`Source`] is named.
    pub file: String,
    /// The line, from 1; 0 if the fault is that of the whole zone.
    pub line: u32,
    /// The column in bytes, from 1.
    pub column: u32,
    /// What is wrong, and what was expected.
    pub message: String,
}

/// What a zone file that cannot be used leaves behind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rejected {
    /// At least one, at most [`ERRORS_MAX`], in the order of their places.
    pub errors: Vec<ZonefileError>,
    /// What was odd besides.
    pub warnings: Vec<ZonefileError>,
}

/// The records of a zone file, in its order.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// Each with its place.
    pub records: Records,
    /// The files read, by the number that a [`Place`] has; the first is the one given.
    pub files: Vec<String>,
    /// What was odd.
    pub warnings: Vec<ZonefileError>,
}

/// A place in one of the files of a [`Parsed`]. There is one for each record, so it is small.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    pub(crate) file: u16,
    pub(crate) line: u32,
    pub(crate) column: u16,
}

/// After so many errors a file is not worth reading on.
pub const ERRORS_MAX: usize = 100;
/// As many warnings are kept; the last one says that there were more.
pub const WARNINGS_MAX: usize = 1000;

impl Place {
    /// The fault at this place, with the name of its file.
    pub(crate) fn fault(self, files: &[String], message: String) -> ZonefileError {
        ZonefileError {
            file: files
                .get(usize::from(self.file))
                .cloned()
                .unwrap_or_default(),
            line: self.line,
            column: u32::from(self.column),
            message,
        }
    }
}

impl fmt::Display for ZonefileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            return write!(f, "{}: {}", self.file, self.message);
        }
        write!(
            f,
            "{}:{}:{}: {}",
            self.file, self.line, self.column, self.message
        )
    }
}

impl std::error::Error for ZonefileError {}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.errors.iter().enumerate() {
            let line_end = if i == 0 { "" } else { "\n" };
            write!(f, "{line_end}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Rejected {}

/// Adds a warning, up to [`WARNINGS_MAX`].
pub(crate) fn warn(warnings: &mut Vec<ZonefileError>, warning: ZonefileError) {
    match (warnings.len() + 1).cmp(&WARNINGS_MAX) {
        std::cmp::Ordering::Less => warnings.push(warning),
        std::cmp::Ordering::Equal => warnings.push(ZonefileError {
            message: format!("{}; more warnings are left out", warning.message),
            ..warning
        }),
        std::cmp::Ordering::Greater => {}
    }
}
