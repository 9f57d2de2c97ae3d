//! `dnsd zone`: list, import, export, show, go back and remove.

mod history;

use super::output::{Output, ProgressLine, table};
use super::{Failure, ask, setting, unknown, version};
use crate::admin::{
    CHUNK_SIZE_MAX, Done, Fetch, Manner, Meanwhile, Obstacles, Ours, Progress, Reply, Request, Run,
    Side, Step,
};
use crate::catalog;
use crate::io::admin_client::{Client, ClientError};
use crate::io::clock;
use crate::io::file::NewFile;
use crate::remote::Remote;
use crate::status::{FeedRow, NotifyRow, Reload, Zone, ZoneDetail};
use crate::time_text::{span, utc};
use crate::zone_data::encode_record;
use crate::zone_settings::{CatalogRole, SettingChange};
use clap::Subcommand;
use serde::Serialize;
use std::cmp::Ordering;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use zones::check::Checked;
use zones::{Name, Record, Serial};

/// What is done with zones.
#[derive(Debug, Subcommand)]
pub enum ZoneCommand {
    /// List the zones that the cluster serves
    List,
    /// Make a zone of a zone file or of what a primary has, or make a zone what its file says: all
    /// peers serve it, from one moment on
    #[command(after_help = "\
The file is checked first; nothing changes if it is refused. Updates of other zones are not delayed.
Of a zone that is served only the difference is applied, and its serial goes on: it becomes that of
the file if that is ahead, else it rises by one. Records that came by updates and are not in the
file go. What others change while the file is on its way stays; where that cannot be, the import is
refused, and --replace does it all the same.

With --from in place of a file the zone follows a primary: one of the peers asks it, all serve what
it has, with its serial, and updates are sent on to it. `dnsd zone adopt` then makes the zone ours,
without a moment in which it is not served.

Examples:
  dnsd zone import example.test example.zone
  dnsd zone import example.test example.zone --dry-run
  dnsd zone import example.test --from 192.0.2.1%transfer.key")]
    Import {
        /// The apex of the zone
        #[arg(value_parser = setting::<Name>)]
        origin: Name,
        /// The zone file
        #[arg(required_unless_present = "from", conflicts_with = "from")]
        file: Option<PathBuf>,
        /// Follow this primary; several may be named
        #[arg(long, value_name = "ADDR[:PORT][%KEY]")]
        from: Vec<Remote>,
        /// Change nothing; print what would be, a line with - or + for each record
        #[arg(long, conflicts_with = "from")]
        dry_run: bool,
        /// Take the file whole: what others change in the zone before the import is done goes too. With
        /// --from: let the primary's zone take the place of one of ours
        #[arg(long)]
        replace: bool,
        /// Import while more than half of the members are out of reach, which vouches that nobody
        /// imports the zone there; or an unsigned file in the place of a signed zone
        #[arg(long, conflicts_with = "from")]
        force: bool,
    },
    /// Ask the primaries of a zone now whether they have something newer
    #[command(after_help = "\
The peers do so by themselves when they are told of a change, and as often as the SOA of the zone
says.

Example:
  dnsd zone refresh example.test")]
    Refresh {
        /// The apex of the zone
        #[arg(value_parser = setting::<Name>)]
        origin: Name,
        /// Fetch all of it, even if its serial goes back by that: secondaries are then to be told to
        /// fetch it anew
        #[arg(long)]
        whole: bool,
    },
    /// Make a zone that comes from a primary ours: it takes updates from now on, and its serial goes on
    #[command(after_help = "\
Let those who update it send to the peers first, which send their updates on to the primary until
then: nothing that the primary changes afterwards comes any more.

Example:
  dnsd zone adopt example.test")]
    Adopt {
        /// The apex of the zone
        #[arg(value_parser = setting::<Name>)]
        origin: Name,
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
    /// Set what holds for one zone: KEY=VALUE, several at once
    #[command(after_help = "\
Settings:
  also-notify=ADDR[:PORT][%KEY],...   servers that are told of every change; empty: none
  notify-ns=yes|no                    tell the zone's name servers too, where their addresses are in
                                      our zones; most often they are these very peers [default: no]
  catalog=none|all|listed|consumed    it is a catalog (RFC 9432) of all zones, of those that name
                                      it, or one of a primary, whose zones come from there too
  in-catalog=NAME                     the one catalog that lists it; empty: those that list all
  primaries=ADDR[:PORT][%KEY],...     the servers that it comes from, until `dnsd zone adopt`
  member-of=                          no catalog of a primary has a say in it any more

Example:
  dnsd zone set example.test also-notify=192.0.2.1,192.0.2.2:5353%transfer.key")]
    Set {
        /// The apex of the zone
        #[arg(value_parser = setting::<Name>)]
        origin: Name,
        /// What is set
        #[arg(required = true, value_name = "KEY=VALUE")]
        settings: Vec<SettingChange>,
    },
    /// Show who changed what in a zone, newest first
    #[command(after_help = "\
Each peer tells what it has published itself, as far back as it remembers.

Examples:
  dnsd zone history example.test
  dnsd zone history example.test www.example.test --format json")]
    History {
        /// The apex of the zone
        #[arg(value_parser = setting::<Name>)]
        origin: Name,
        /// Only what touched this owner name
        #[arg(value_parser = setting::<Name>)]
        name: Option<Name>,
        /// Show so many changes at most
        #[arg(long, value_name = "COUNT", default_value_t = 100)]
        limit: u32,
    },
    /// Make a zone what it was at an earlier serial; its serial goes on
    #[command(after_help = "\
`dnsd zone history` shows the serials. Secondaries get one difference, as of any other change.

Examples:
  dnsd zone rollback example.test --to 41 --dry-run
  dnsd zone rollback example.test --to 41")]
    Rollback {
        /// The apex of the zone
        #[arg(value_parser = setting::<Name>)]
        origin: Name,
        /// The serial whose content it is to have again
        #[arg(long, value_name = "SERIAL")]
        to: u32,
        /// Change nothing; print what would be, a line with - or + for each record
        #[arg(long)]
        dry_run: bool,
    },
    /// Make a catalog of all zones, by which secondaries take up new ones by themselves (RFC 9432), or
    /// follow one of a primary
    #[command(after_help = "\
Zones that come are listed, those that go are taken out. Secondaries need a rule that lets them
transfer the catalog and its members, and are told of changes by also-notify.

Example:
  dnsd zone catalog catalog.example
  dnsd policy grant '*' transfer key xfr
  dnsd zone set catalog.example also-notify=192.0.2.1%xfr

With --from the zones that a primary lists come from it too, and go when it takes them out; those
that are here already stay what they are.

Example:
  dnsd zone catalog catalog.example --from 192.0.2.1%transfer.key")]
    Catalog {
        /// The name of the catalog
        #[arg(value_parser = setting::<Name>)]
        origin: Name,
        /// Follow the catalog of this primary; several may be named
        #[arg(long, value_name = "ADDR[:PORT][%KEY]", conflicts_with = "listed")]
        from: Vec<Remote>,
        /// List only zones that name it (zone set ZONE in-catalog=NAME)
        #[arg(long)]
        listed: bool,
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
        ZoneCommand::Import {
            origin,
            file,
            from,
            dry_run,
            replace,
            force,
        } => {
            let Some(file) = file else {
                let ours = if *replace { Ours::Goes } else { Ours::Stays };
                let request = Request::ZoneFeed {
                    origin: origin.clone(),
                    primaries: from.iter().map(ToString::to_string).collect(),
                    ours,
                };
                return fetch(&request, socket, out);
            };
            let manner = Manner {
                run: if *dry_run { Run::Dry } else { Run::Real },
                meanwhile: match replace {
                    true => Meanwhile::Goes,
                    false => Meanwhile::Stays,
                },
                obstacles: match force {
                    true => Obstacles::Ignored,
                    false => Obstacles::Heeded,
                },
            };
            run_import(origin, file, manner, socket, out)
        }
        ZoneCommand::Refresh { origin, whole } => {
            let content = if *whole { Fetch::Whole } else { Fetch::Newer };
            let request = Request::ZoneRefresh {
                origin: origin.clone(),
                content,
            };
            fetch(&request, socket, out)
        }
        ZoneCommand::Adopt { origin } => {
            let request = Request::ZoneAdopt {
                origin: origin.clone(),
            };
            match ask(socket, &request)? {
                Done::Adopted(zone) => out.data(&zone, |zone| {
                    format!("{} is ours: serial {}\n", zone.origin, zone.settled)
                }),
                other => Err(unknown(&other)),
            }
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
                Done::Zone(zone) => out.data(&*zone, detail_text),
                other => Err(unknown(&other)),
            }
        }
        ZoneCommand::Set { origin, settings } => {
            let request = Request::ZoneSet {
                origin: origin.clone(),
                settings: settings.iter().map(ToString::to_string).collect(),
            };
            match ask(socket, &request)? {
                Done::Set { origin, settings } => {
                    let set =
                        serde_json::json!({ "origin": origin.to_string(), "settings": settings });
                    out.data(&set, |_| format!("{origin} {}\n", settings.join(" ")))
                }
                other => Err(unknown(&other)),
            }
        }
        ZoneCommand::History {
            origin,
            name,
            limit,
        } => {
            let request = Request::ZoneHistory {
                origin: origin.clone(),
                name: name.clone(),
                limit: *limit,
            };
            match ask(socket, &request)? {
                Done::History(steps) => out.data(&steps, |steps| history::text(steps)),
                other => Err(unknown(&other)),
            }
        }
        ZoneCommand::Rollback {
            origin,
            to,
            dry_run,
        } => {
            let run = if *dry_run { Run::Dry } else { Run::Real };
            run_rollback(origin, *to, run, socket, out)
        }
        ZoneCommand::Catalog { origin, from, .. } if !from.is_empty() => {
            let changes = [
                SettingChange::Primaries(from.clone()),
                SettingChange::Catalog(CatalogRole::Consumed),
            ];
            ask(
                socket,
                &Request::ZoneSet {
                    origin: origin.clone(),
                    settings: changes.iter().map(ToString::to_string).collect(),
                },
            )?;
            let request = Request::ZoneRefresh {
                origin: origin.clone(),
                content: Fetch::Newer,
            };
            fetch(&request, socket, out)
        }
        ZoneCommand::Catalog { origin, listed, .. } => {
            let role = if *listed {
                CatalogRole::Listed
            } else {
                CatalogRole::All
            };
            make_catalog(origin, role, socket, out)
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

/// Has a zone fetched from a primary, and waits until that is done.
fn fetch(request: &Request, socket: &Path, out: &mut Output<'_>) -> Result<(), Failure> {
    match ask(socket, request)? {
        Done::Fetched(zone) => out.data(&zone, |zone| {
            format!(
                "{} is served as its primary has it: {} records, serial {}\n",
                // Where another peer was faster, it has arrived here, and may not have settled.
                zone.origin,
                zone.records,
                zone.now
            )
        }),
        other => Err(unknown(&other)),
    }
}

fn make_catalog(
    origin: &Name,
    role: CatalogRole,
    socket: &Path,
    out: &mut Output<'_>,
) -> Result<(), Failure> {
    let records = catalog::new_records(origin)
        .ok_or_else(|| Failure::Message(format!("{origin} leaves no room for members")))?;
    let mut client = Client::connect(socket)?;
    let (done, _) = follow(out, |more| {
        import(&mut client, origin, &records, Manner::PLAIN, more)
    })?;
    let Done::Imported(_) = done else {
        return Err(Failure::Message(format!(
            "{origin} is a zone already; `dnsd zone set {origin} catalog=all` makes it a catalog"
        )));
    };
    let request = Request::ZoneSet {
        origin: origin.clone(),
        settings: vec![SettingChange::Catalog(role).to_string()],
    };
    match ask(socket, &request)? {
        Done::Set { origin, settings } => {
            let set = serde_json::json!({ "origin": origin.to_string(), "settings": settings });
            out.data(&set, |_| format!("{origin} is a catalog\n"))
        }
        other => Err(unknown(&other)),
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
    match zones::io::files::load(path, origin, clock::wall(), &mut |_| {}) {
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

fn run_import(
    origin: &Name,
    file: &Path,
    manner: Manner,
    socket: &Path,
    out: &mut Output<'_>,
) -> Result<(), Failure> {
    let zone = load(origin, file)?;
    let mut client = Client::connect(socket)?;
    let (done, difference) = follow(out, |more| {
        import(&mut client, origin, &zone.records, manner, more)
    })?;
    match done {
        Done::Imported(zone) => out.data(&zone, |zone| {
            format!(
                "{} is served: {} records, serial {}\n",
                zone.origin, zone.records, zone.now
            )
        }),
        Done::Reloaded(reload) if manner.run == Run::Real => out.data(&reload, reload_text),
        Done::Reloaded(reload) => {
            let difference = difference.lines().map(str::to_owned).collect();
            let dry_run = DryRun { reload, difference };
            out.data(&dry_run, |dry_run| dry_run_text(&dry_run.reload))
        }
        other => Err(unknown(&other)),
    }
}

fn run_rollback(
    origin: &Name,
    to: u32,
    run: Run,
    socket: &Path,
    out: &mut Output<'_>,
) -> Result<(), Failure> {
    let request = Request::ZoneRollback {
        origin: origin.clone(),
        to,
        run,
    };
    let mut client = Client::connect(socket)?;
    let (done, difference) = follow(out, |more| client.call(&request, more))?;
    match done {
        Done::Reloaded(reload) if run == Run::Real => {
            out.data(&reload, |reload| match reload.is_change() {
                true => format!("{origin} is as it was at {to}: {}", change_text(reload)),
                false => format!("{origin} is as it was at {to}: nothing is changed\n"),
            })
        }
        Done::Reloaded(reload) => {
            let difference = difference.lines().map(str::to_owned).collect();
            let dry_run = DryRun { reload, difference };
            out.data(&dry_run, |dry_run| {
                let reload = &dry_run.reload;
                format!(
                    "{origin} would be as it was at {to}: {}",
                    change_text(reload)
                )
            })
        }
        other => Err(unknown(&other)),
    }
}

/// Waits for the end of a call, shows its progress, and prints the difference that comes before it:
/// that is given back too where it is for programs.
fn follow(
    out: &mut Output<'_>,
    call: impl FnOnce(&mut dyn FnMut(Reply)) -> Result<Done, ClientError>,
) -> Result<(Done, String), Failure> {
    let mut progress = ProgressLine::new();
    let mut difference = String::new();
    let mut printed = Ok(());
    let done = call(&mut |reply| match reply {
        Reply::Progress(step) => progress.show(step),
        Reply::Text(text) => {
            progress.end();
            if printed.is_ok() {
                printed = out.part(&text, &mut difference);
            }
        }
        Reply::Done(_) | Reply::Refused(_) => unreachable!("these end a call"),
    });
    progress.end();
    printed?;
    Ok((done?, difference))
}

/// What an import would change, for programs.
#[derive(Serialize)]
struct DryRun {
    #[serde(flatten)]
    reload: Reload,
    /// Lines with - or + before a record.
    difference: Vec<String>,
}

/// Sends the records of a zone and waits until it is settled.
pub(crate) fn import(
    client: &mut Client,
    origin: &Name,
    records: &[Record],
    manner: Manner,
    more: &mut dyn FnMut(Reply),
) -> Result<Done, ClientError> {
    let total = records.len() as u64;
    client.begin(&Request::ZoneImport {
        origin: origin.clone(),
        records: total,
        manner,
    })?;
    let mut chunk = Vec::with_capacity(2 * CHUNK_SIZE_MAX);
    for (record, done) in records.iter().zip(1..) {
        encode_record(record, &mut chunk);
        while chunk.len() >= CHUNK_SIZE_MAX {
            client.chunk(&chunk[..CHUNK_SIZE_MAX])?;
            chunk.drain(..CHUNK_SIZE_MAX);
            more(Reply::Progress(Progress {
                step: Step::Uploading,
                done,
                total,
            }));
        }
    }
    client.chunk(&chunk)?;
    client.commit()?;
    client.finish(more)
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

fn reload_text(reload: &Reload) -> String {
    let origin = &reload.origin;
    if !reload.is_change() {
        return format!(
            "{origin} is as the file says: nothing is changed, serial {}\n",
            reload.after
        );
    }
    format!("{origin} is reloaded: {}", change_text(reload))
}

fn dry_run_text(reload: &Reload) -> String {
    let origin = &reload.origin;
    match reload.before {
        None => format!(
            "{origin} would be new: {} records, serial {}\n",
            reload.added, reload.after
        ),
        Some(_) if !reload.is_change() => reload_text(reload),
        Some(_) => format!("{origin} would be reloaded: {}", change_text(reload)),
    }
}

fn change_text(reload: &Reload) -> String {
    let before = reload.before.unwrap_or_default();
    let mut text = format!(
        "{} records added, {} removed, {} RRsets changed; serial {before} -> {}\n",
        reload.added, reload.removed, reload.rrsets, reload.after
    );
    let wanted = reload.wanted;
    let is_ahead = Serial(wanted).partial_cmp(&Serial(before)) == Some(Ordering::Greater);
    // Who has edited an export knows.
    if !is_ahead && wanted != before {
        text +=
            &format!("the serial of the file, {wanted}, is not ahead of {before}: it goes on\n");
    }
    text
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
                zone.source.to_string(),
            ]
        })
        .collect();
    table(
        &["ZONE", "RECORDS", "PUBLISHED", "SETTLED", "NOW", "SOURCE"],
        &rows,
    )
}

fn detail_text(detail: &ZoneDetail) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        writeln!(text, "{name:15} {value}").expect("a string takes all text");
    };
    let zone = &detail.zone;
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
    if let Some(at) = detail.signatures_expire {
        line("signatures", &format!("the first expires {}", utc(at)));
    }
    line("names", &detail.names.to_string());
    line("records", &zone.records.to_string());
    for (rtype, count) in &detail.records_by_type {
        line("", &format!("{rtype:10} {count}"));
    }
    let mut rules = detail
        .rules
        .iter()
        .map(|row| format!("{} {}", row.zone, row.rule));
    let none = "none: nobody may update or transfer".to_owned();
    line("policy", &rules.next().unwrap_or(none));
    rules.for_each(|rule| line("", &rule));
    for row in &detail.notified {
        line("notify", &notify_text(row));
    }
    for (number, said) in detail.feed.iter().flat_map(feed_text).enumerate() {
        line(if number == 0 { "primary" } else { "" }, &said);
    }
    text
}

fn feed_text(row: &FeedRow) -> Vec<String> {
    let asker = row.asker.as_deref();
    let asker = asker.map_or_else(
        || "asked by nobody now".to_owned(),
        |asker| format!("asked by {asker}"),
    );
    let mut text = vec![format!("{}, {asker}", row.primaries)];
    let ago = format!("answered {} ago", span(row.answered_ago));
    text.push(match (row.is_expired, row.expires_in) {
        (true, _) => format!("{ago}: EXPIRED, queries get SERVFAIL"),
        (false, Some(expires)) => format!("{ago}; good for {} more", span(expires)),
        (false, None) => ago,
    });
    if let Some(due) = row.asked_in {
        text.push(format!("asked next in {}", span(due)));
    }
    if let Some(failure) = &row.failure {
        text.push(format!("the last attempt failed: {failure}"));
    }
    text
}

fn notify_text(row: &NotifyRow) -> String {
    let mut text = row.target.clone();
    match &row.teller {
        Some(teller) => text += &format!(", told by {teller}"),
        None => text += ", told by nobody now",
    }
    if let Some(serial) = row.acknowledged {
        text += &format!(", knows of {serial}");
    }
    if let Some(rcode) = &row.refused {
        text += &format!(", answers {rcode}");
    }
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
