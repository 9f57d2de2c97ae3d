//! `dnsd check`: files, without a daemon.

use super::serve::read_config;
use super::zone::load;
use super::{Failure, Output, setting};
use crate::config::{ServeConfig, Settings};
use clap::Subcommand;
use std::path::PathBuf;
use zones::Name;

/// What is checked.
#[derive(Debug, Subcommand)]
pub enum Check {
    /// Check a configuration file
    #[command(after_help = "Example:\n  dnsd check config /etc/dnsd.toml")]
    Config {
        /// The TOML file
        file: PathBuf,
    },
    /// Check a zone file, as an import would
    #[command(after_help = "Example:\n  dnsd check zone example.test example.zone --strict")]
    Zone {
        /// The apex of the zone
        #[arg(value_parser = setting::<Name>)]
        origin: Name,
        /// The zone file
        file: PathBuf,
        /// Warnings are errors
        #[arg(long)]
        strict: bool,
    },
}

pub(super) fn run(check: &Check, out: &mut Output<'_>) -> Result<(), Failure> {
    match check {
        Check::Config { file } => {
            let settings = read_config(file)?;
            let path = file.display();
            ServeConfig::new(&Settings::default(), &settings)
                .map_err(|error| Failure::Message(format!("{path}: {error}")))?;
            out.line(&format!("{path}: good"))
        }
        Check::Zone {
            origin,
            file,
            strict,
        } => {
            let zone = load(origin, file)?;
            if *strict && !zone.warnings.is_empty() {
                return Err(Failure::Told);
            }
            let records = zone.records.len();
            out.line(&format!("{}: good, {records} records", file.display()))
        }
    }
}
