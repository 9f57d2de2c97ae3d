//! What the command line says that a cluster is born with: zones read from their files, and policy.

use super::clock;
use super::cookie_commands::new_secret;
use super::run::ServeError;
use crate::birth::Seeds;
use crate::config::{Birth, ServeConfig};
use crate::policy::{Policy, RULES_MAX, Realm, Rule};
use crate::prefix::Prefix;
use crate::setting::ZoneFile;
use std::collections::BTreeSet;
use std::time::Duration;
use tracing::{info, warn};
use zones::io::files;
use zones::{Serial, Version};

/// How often a start that takes long says how far it is.
const PROGRESS_PERIOD: Duration = Duration::from_secs(1);

/// Reads them in a thread of its own, which has a heap of its own. In the one that large zone files
/// leave behind, the store would get pieces that are cleared for it and that it never touches.
pub(super) fn read_apart(config: &ServeConfig) -> Result<Seeds, ServeError> {
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| read(config)).join();
        reading.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// What the command line seeds, if it gives birth to a cluster.
fn read(config: &ServeConfig) -> Result<Seeds, ServeError> {
    let Birth::Cluster {
        zones,
        allow_update,
        allow_transfer,
    } = &config.birth
    else {
        return Ok(Seeds::default());
    };
    Ok(Seeds {
        zones: read_zones(zones.files())?,
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
fn read_zones(files: &[ZoneFile]) -> Result<Vec<(Version, Serial)>, ServeError> {
    let files = one_of_each(files);
    let count = files.len();
    let mut zones = Vec::with_capacity(count);
    let mut records = 0;
    let mut due = clock::now() + PROGRESS_PERIOD;
    for (number, file) in files.into_iter().enumerate() {
        let zone = read_zone(file)?;
        records += u64::from(zone.0.counts().records);
        zones.push(zone);
        if clock::now() >= due {
            due = clock::now() + PROGRESS_PERIOD;
            info!(zones = number + 1, of = count, "reading zones");
        }
    }
    if !zones.is_empty() {
        info!(zones = zones.len(), records, "zones are read");
    }
    Ok(zones)
}

/// What it takes to know them is free again before the first zone is made: zones that were made in
/// between would keep that memory from being used again.
fn one_of_each(files: &[ZoneFile]) -> Vec<&ZoneFile> {
    let mut origins = BTreeSet::new();
    let mut first = Vec::with_capacity(files.len());
    for file in files {
        if origins.insert(&file.origin) {
            first.push(file);
        } else {
            warn!(zone = %file.origin, "--zone names it twice: the first file is taken");
        }
    }
    first
}

fn read_zone(zone: &ZoneFile) -> Result<(Version, Serial), ServeError> {
    let rejected = |rejected| ServeError::Zone(Box::new(rejected));
    // The name gets memory of its own: that of the configuration shall go back as a whole.
    let origin = zone.origin.borrowed().to_name();
    let built = files::build(&zone.path, &origin, clock::wall()).map_err(rejected)?;
    for warning in &built.warnings {
        warn!("{warning}");
    }
    Ok((built.version, built.serial))
}
