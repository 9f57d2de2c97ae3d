//! `dnsd zone`: list, import, export, show and remove.

use super::output::{Output, ProgressLine, table};
use super::{Failure, ask, setting, unknown, version};
use crate::admin::{CHUNK_SIZE_MAX, Done, Progress, Reply, Request, Side, Step};
use crate::io::admin_client::{Client, ClientError};
use crate::io::file::NewFile;
use crate::status::{Zone, ZoneDetail};
use crate::zone_data::encode_record;
use clap::Subcommand;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use zones::check::Checked;
use zones::{Name, Record};

/// What is done with zones.
#[derive(Debug, Subcommand)]
pub enum ZoneCommand {
    /// List the zones that the cluster serves
    List,
    /// Make a zone of a zone file: all peers serve it, from one moment on
    #[command(after_help = "\
The file is checked first; nothing changes if it is refused. Updates of other zones are not delayed.

Example:
  dnsd zone import example.test example.zone")]
    Import {
        /// The apex of the zone
        #[arg(value_parser = setting::<Name>)]
        origin: Name,
        /// The zone file
        file: PathBuf,
    },
    /// Print a zone as a zone file that any name server loads
    #[command(after_help = "\
Example:
  dnsd zone export example.test > example.zone")]
    Export {
        /// The apex of the zone
        #[arg(value_parser = setting::<Name>)]
        origin: Name,
        /// Where to write it [default: standard output]
        file: Option<PathBuf>,
        /// What queries see, instead of what is settled
        #[arg(long)]
        now: bool,
    },
    /// Show a zone's serials, size and policy
    Show {
        /// The apex of the zone
        #[arg(value_parser = setting::<Name>)]
        origin: Name,
        /// What queries see, instead of what is settled
        #[arg(long)]
        now: bool,
    },
    /// Remove a zone from all peers
    Remove {
        /// The apex of the zone
        #[arg(value_parser = setting::<Name>)]
        origin: Name,
    },
}

pub(super) fn run(
    command: &ZoneCommand,
    socket: &Path,
    out: &mut Output<'_>,
) -> Result<(), Failure> {
    match command {
        ZoneCommand::List => match ask(socket, &Request::ZoneList)? {
            Done::Zones(zones) => out.data(&zones, |zones| zones_text(zones)),
            other => Err(unknown(&other)),
        },
        ZoneCommand::Import { origin, file } => {
            let zone = load(origin, file)?;
            let mut client = Client::connect(socket)?;
            let mut progress = ProgressLine::new();
            let imported = import(&mut client, origin, &zone.records, &mut |p| {
                progress.show(p);
            });
            progress.end();
            out.data(&imported?, |zone| {
                format!(
                    "{} is served: {} records, serial {}\n",
                    zone.origin, zone.records, zone.now
                )
            })
        }
        ZoneCommand::Export { origin, file, now } => {
            let request = Request::ZoneExport {
                origin: origin.clone(),
                version: version(*now),
            };
            match file {
                None => export(socket, &request, &mut |text| out.raw(text.as_bytes())),
                Some(path) => {
                    let mut file = NewFile::create(path)?;
                    export(socket, &request, &mut |text| {
                        Ok(file.write(text.as_bytes())?)
                    })?;
                    Ok(file.finish()?)
                }
            }
        }
        ZoneCommand::Show { origin, now } => {
            let request = Request::ZoneShow {
                origin: origin.clone(),
                version: version(*now),
            };
            match ask(socket, &request)? {
                Done::Zone(zone) => out.data(&zone, detail_text),
                other => Err(unknown(&other)),
            }
        }
        ZoneCommand::Remove { origin } => {
            let request = Request::ZoneRemove {
                origin: origin.clone(),
            };
            match ask(socket, &request)? {
                Done::Removed { origin } => {
                    let removed = serde_json::json!({ "origin": origin.to_string() });
                    out.data(&removed, |_| format!("{origin} is removed\n"))
                }
                other => Err(unknown(&other)),
            }
        }
    }
}

/// Reads and checks a zone file. What is wrong or odd is told on standard error, a line each.
pub(crate) fn load(origin: &Name, path: &Path) -> Result<Checked, Failure> {
    let warn = |warnings: &[zones::zonefile::ZonefileError]| {
        for warning in warnings {
            let (file, message) = (&warning.file, &warning.message);
            match warning.line {
                0 => eprintln!("{file}: warning: {message}"),
                line => eprintln!("{file}:{line}:{}: warning: {message}", warning.column),
            }
        }
    };
    match zones::io::files::load(path, origin, &mut |_| {}) {
        Ok(zone) => {
            warn(&zone.warnings);
            Ok(zone)
        }
        Err(rejected) => {
            warn(&rejected.warnings);
            Err(Failure::Faults(rejected.to_string()))
        }
    }
}

/// Sends the records of a zone and waits until it is settled.
pub(crate) fn import(
    client: &mut Client,
    origin: &Name,
    records: &[Record],
    progress: &mut dyn FnMut(Progress),
) -> Result<Zone, ClientError> {
    // Asked before, a refusal comes before a long upload; the daemon has the last word.
    if let Done::Zones(zones) = client.call(&Request::ZoneList, &mut |_| {})?
        && zones.iter().any(|zone| zone.origin == *origin)
    {
        let reason = format!(
            "{origin} exists: remove it first (`dnsd zone remove {origin}`), or change it by updates"
        );
        return Err(ClientError::Refused(reason));
    }
    let total = records.len() as u64;
    client.begin(&Request::ZoneImport {
        origin: origin.clone(),
        records: total,
    })?;
    let mut chunk = Vec::with_capacity(2 * CHUNK_SIZE_MAX);
    for (record, done) in records.iter().zip(1..) {
        encode_record(record, &mut chunk);
        while chunk.len() >= CHUNK_SIZE_MAX {
            client.chunk(&chunk[..CHUNK_SIZE_MAX])?;
            chunk.drain(..CHUNK_SIZE_MAX);
            progress(Progress {
                step: Step::Uploading,
                done,
                total,
            });
        }
    }
    client.chunk(&chunk)?;
    client.commit()?;
    let done = client.finish(&mut |reply| {
        if let Reply::Progress(step) = reply {
            progress(step);
        }
    })?;
    match done {
        Done::Imported(zone) => Ok(zone),
        other => Err(ClientError::Unknown(format!("{other:?}"))),
    }
}

fn export(
    socket: &Path,
    request: &Request,
    write: &mut dyn FnMut(&str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut written = Ok(());
    let done = Client::connect(socket)?.call(request, &mut |reply| {
        if let Reply::Text(text) = reply
            && written.is_ok()
        {
            written = write(&text);
        }
    })?;
    written?;
    match done {
        Done::Exported { serial, side } => {
            if side == Side::IsSilent {
                eprintln!(
                    "dnsd: this side does not publish, as it lacks the majority: its serial is \
                     {serial}, and secondaries see an earlier one"
                );
            }
            Ok(())
        }
        other => Err(unknown(&other)),
    }
}

fn zones_text(zones: &[Zone]) -> String {
    let rows: Vec<Vec<String>> = zones
        .iter()
        .map(|zone| {
            vec![
                zone.origin.to_string(),
                zone.records.to_string(),
                zone.published
                    .map_or_else(|| "-".to_owned(), |serial| serial.to_string()),
                zone.settled.to_string(),
                zone.now.to_string(),
            ]
        })
        .collect();
    table(&["ZONE", "RECORDS", "PUBLISHED", "SETTLED", "NOW"], &rows)
}

fn detail_text(detail: &ZoneDetail) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        writeln!(text, "{name:15} {value}").expect("a string takes all text");
    };
    let zone = &detail.zone;
    let or_nobody = |prefixes: &[String]| {
        if prefixes.is_empty() {
            "nobody".to_owned()
        } else {
            prefixes.join(", ")
        }
    };
    line("zone", &zone.origin.to_string());
    line("SOA", &detail.soa);
    let published = zone
        .published
        .map_or_else(|| "none".to_owned(), |serial| serial.to_string());
    line(
        "serials",
        &format!(
            "published {published}, settled {}, now {}",
            zone.settled, zone.now
        ),
    );
    line("names", &detail.names.to_string());
    line("records", &zone.records.to_string());
    for (rtype, count) in &detail.records_by_type {
        line("", &format!("{rtype:10} {count}"));
    }
    line("allow-update", &or_nobody(&detail.allow_update));
    line("allow-transfer", &or_nobody(&detail.allow_transfer));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_zone_file_is_an_error_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("zone");
        std::fs::write(
            &path,
            "@ 300 SOA ns hostmaster 1 2 3 4 5\n@ 300 A 192.0.2.256\n",
        )
        .unwrap();
        let Err(Failure::Faults(faults)) = load(&"example.test".parse().unwrap(), &path) else {
            panic!("the file is bad");
        };
        assert!(faults.contains("zone:2:"), "{faults}");
        let missing = folder.path().join("missing");
        assert!(load(&"example.test".parse().unwrap(), &missing).is_err());
    }
}
