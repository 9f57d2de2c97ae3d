//! Steps as an operator reads them.

use super::{Chain, Step, StepRecord, What};
use crate::status::{HistoryStep, HistoryWhat};
use overlay::PeerId;
use std::collections::BTreeMap;
use zones::Name;
use zones::zonefile::print_record;

/// Records of one step that are listed.
const LISTED_MAX: usize = 1_000;
/// And of all steps together, so that an answer stays within what a reply may hold.
const LISTED_MAX_IN_ALL: usize = 50_000;

/// The newest steps, newest first: at most `limit`, and only those that touch `name`, if one is
/// given.
#[must_use]
pub fn report(
    chain: &Chain,
    name: Option<&Name>,
    limit: usize,
    names: &BTreeMap<PeerId, String>,
) -> Vec<HistoryStep> {
    let mut room = LISTED_MAX_IN_ALL;
    let rows = chain.iter().rev().map(|step| row(step, name, names));
    let is_asked = |row: &HistoryStep| {
        name.is_none() || !row.removed.is_empty() || !row.added.is_empty() || !row.is_known
    };
    let fits = |row: &HistoryStep| {
        let records = row.removed.len() + row.added.len();
        let fits = records <= room;
        room = room.saturating_sub(records);
        fits
    };
    let rows = rows.filter(is_asked).take_while(fits);
    rows.take(limit).collect()
}

fn row(step: &Step, name: Option<&Name>, names: &BTreeMap<PeerId, String>) -> HistoryStep {
    let (mut removed, mut added, mut unlisted) = (Vec::new(), Vec::new(), 0);
    let mut list = |record: StepRecord<'_>, list: &mut Vec<String>| {
        let is_asked = |name: &Name| Name::from_wire(record.owner).as_ref() == Ok(name);
        if name.is_some_and(|name| !is_asked(name)) {
            return;
        }
        if list.len() >= LISTED_MAX {
            unlisted += 1;
            return;
        }
        let mut text = String::new();
        print_record(&record.to_record(), &mut text);
        list.push(text.trim_end().to_owned());
    };
    step.removed().for_each(|record| list(record, &mut removed));
    step.added().for_each(|record| list(record, &mut added));
    let (what, source, key, to) = match &step.what {
        What::Update { source, key } => (HistoryWhat::Update, Some(*source), key.clone(), None),
        What::Import => (HistoryWhat::Import, None, None, None),
        What::Remove => (HistoryWhat::Remove, None, None, None),
        What::Rollback(serial) => (HistoryWhat::Rollback, None, None, Some(serial.0)),
        What::Expire => (HistoryWhat::Expire, None, None, None),
        What::Catalog => (HistoryWhat::Catalog, None, None, None),
        What::Transfer(primary) => (HistoryWhat::Transfer, Some(*primary), None, None),
        What::Adopt => (HistoryWhat::Adopt, None, None, None),
        What::Several => (HistoryWhat::Several, None, None, None),
    };
    let author = step.stamp.author;
    let named = || {
        let name = names.get(&author).cloned();
        name.unwrap_or_else(|| author.to_string())
    };
    HistoryStep {
        before: step.before.0,
        after: step.after.0,
        at: step.stamp.hybrid.wall(),
        what,
        source,
        key,
        to,
        peer: (what != HistoryWhat::Several).then(named),
        removed,
        added,
        unlisted,
        is_known: step.has_delta(),
    }
}
