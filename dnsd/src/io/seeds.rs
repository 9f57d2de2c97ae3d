//! What the command line says that a cluster is born with: zones read from their files, and policy.

use super::clock;
use super::cookie_commands::new_secret;
use super::run::ServeError;
use crate::birth::Seeds;
use crate::config::{Birth, ServeConfig, ZoneFiles};
use crate::policy::{Policy, RULES_MAX, Realm, Rule};
use crate::prefix::Prefix;
use crate::setting::ZoneFile;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;
use tracing::{info, warn};
use zones::io::files;
use zones::{Serial, Version};

/// How often a start that takes long says how far it is.
const PROGRESS_PERIOD: Duration = Duration::from_secs(1);

/// What the command line seeds, if it gives birth to a cluster.
pub(super) fn read(config: &ServeConfig) -> Result<Seeds, ServeError> {
    let Birth::Cluster {
        zones,
        allow_update,
        allow_transfer,
    } = &config.birth
    else {
        return Ok(Seeds::default());
    };
    Ok(Seeds {
        zones: read_zones(zones)?,
        policy: policy_of(allow_update, allow_transfer)?,
        cookies: Some(new_secret().ok_or(ServeError::Random)?),
    })
}

/// What the prefixes mean: for all zones, every change and every transfer.
fn policy_of(allow_update: &[Prefix], allow_transfer: &[Prefix]) -> Result<Policy, ServeError> {
    if allow_update.len() + allow_transfer.len() > RULES_MAX {
        return Err(ServeError::Rules);
    }
    let update = allow_update.iter().map(|prefix| Rule::update_from(*prefix));
    let transfer = allow_transfer
        .iter()
        .map(|prefix| Rule::transfer_from(*prefix));
    let rules = update.chain(transfer);
    Ok(rules.map(|rule| (Realm::All, rule)).collect())
}

/// Each is made compact before the next one is read: what a file holds takes several times as much.
fn read_zones(files: &ZoneFiles) -> Result<Vec<(Version, Serial)>, ServeError> {
    let named_twice = named_twice(files);
    let mut zones = Vec::with_capacity(files.len());
    let mut records = 0;
    let mut due = clock::now() + PROGRESS_PERIOD;
    for (number, file) in files.iter().enumerate() {
        if named_twice.contains(&number) {
            warn!(zone = %file.origin, "--zone names it twice: the first file is taken");
            continue;
        }
        let zone = read_zone(&file)?;
        records += u64::from(zone.0.counts().records);
        zones.push(zone);
        if clock::now() >= due {
            due = clock::now() + PROGRESS_PERIOD;
            info!(zones = number + 1, of = files.len(), "reading zones");
        }
    }
    if !zones.is_empty() {
        info!(zones = zones.len(), records, "zones are read");
    }
    Ok(zones)
}

/// The numbers of files whose zone an earlier one has. What it takes to know is free again before
/// the first zone is made: zones in between would keep that memory from being used.
fn named_twice(files: &ZoneFiles) -> BTreeSet<usize> {
    let mut origins = BTreeSet::new();
    let files = files.iter().enumerate();
    let twice = files.filter(|(_, file)| !origins.insert(file.origin.clone()));
    twice.map(|(number, _)| number).collect()
}

fn read_zone(zone: &ZoneFile) -> Result<(Version, Serial), ServeError> {
    let rejected = |rejected| ServeError::Zone(Box::new(rejected));
    let built =
        files::build(Path::new(&zone.path), &zone.origin, clock::wall()).map_err(rejected)?;
    for warning in &built.warnings {
        warn!("{warning}");
    }
    Ok((built.version, built.serial))
}
