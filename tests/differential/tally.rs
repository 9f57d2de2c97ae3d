//! The account of a run: what was asked, what came back, who differed how often.

use crate::additional::find_fault;
use crate::allowed::ALLOWED;
use crate::reply::{Aspect, Reply};
use crate::verdict::{Case, Finding};
use std::collections::BTreeMap;
use std::fmt;

/// Cases that are shown of each group.
const SHOWN: usize = 4;

/// Counts, and the cases that nobody has accounted for.
#[derive(Default)]
pub(crate) struct Tally {
    requests: BTreeMap<String, u64>,
    kinds: BTreeMap<&'static str, u64>,
    dissents: BTreeMap<String, Group>,
    allowed: BTreeMap<&'static str, u64>,
    /// Cases in which we differ, or say something that is not in the zones, in groups alike.
    wrong: BTreeMap<String, Group>,
    undecided: BTreeMap<String, Group>,
}

#[derive(Default)]
struct Group {
    count: u64,
    shown: Vec<String>,
}

impl Tally {
    pub(crate) fn add(&mut self, seed: u64, case: &Case<'_>) {
        let request = case.request;
        let class = format!("{:?} {:?}", request.form, request.transport);
        *self.requests.entry(class).or_default() += 1;
        *self.kinds.entry(case.ours.kind()).or_default() += 1;
        for finding in case.judge() {
            match finding {
                Finding::Differs(aspect) => {
                    let group = group(case, aspect);
                    if !self.wrong.contains_key(&group) {
                        eprintln!("seed {seed}: {group}");
                    }
                    self.wrong.entry(group).or_default().add(seed, case);
                }
                Finding::Undecided(aspect) => {
                    self.undecided
                        .entry(group(case, aspect))
                        .or_default()
                        .add(seed, case);
                }
                Finding::Allowed(_, name) => *self.allowed.entry(name).or_default() += 1,
                Finding::Dissents(aspect, kind) => {
                    let who = format!("{kind:?} {aspect:?}");
                    self.dissents.entry(who).or_default().add(seed, case);
                }
            }
        }
        if let Some(fault) = find_fault(case.world, case.ours) {
            let group = self
                .wrong
                .entry("additional section".to_owned())
                .or_default();
            group.add(seed, case);
            group.shown.push(fault);
            group.shown.truncate(2 * SHOWN);
        }
    }

    /// Cases in which one of the others differs from all.
    pub(crate) fn dissents(&self) -> String {
        show(&self.dissents)
    }

    /// What has once been allowed, and is not met any more.
    pub(crate) fn unused(&self) -> Vec<&'static str> {
        let names = ALLOWED.iter().map(|allowed| allowed.name);
        names
            .filter(|name| !self.allowed.contains_key(name))
            .collect()
    }

    /// The cases to look at; nothing if there is none.
    pub(crate) fn wrong(&self) -> String {
        show(&self.wrong)
    }
}

/// Cases of one group have one cause, most of the time.
fn group(case: &Case<'_>, aspect: Aspect) -> String {
    let request = case.request;
    let kinds = case
        .theirs
        .iter()
        .map(|(kind, reply)| format!("{kind:?} {}", says(reply, aspect)));
    let kinds = kinds.collect::<Vec<_>>().join(", ");
    let ours = says(case.ours, aspect);
    format!(
        "{aspect:?}: {:?} {}: dnsd {ours}, {kinds}",
        request.form, request.change
    )
}

fn says(reply: &Reply, aspect: Aspect) -> String {
    match aspect {
        Aspect::Answer | Aspect::Authority | Aspect::Glue | Aspect::Question => {
            reply.kind().to_owned()
        }
        _ => reply.aspect(aspect).unwrap_or_else(|| "-".to_owned()),
    }
}

impl Group {
    fn add(&mut self, seed: u64, case: &Case<'_>) {
        self.count += 1;
        if self.shown.len() < SHOWN {
            self.shown.push(format!("seed {seed}: {case}"));
        }
    }
}

fn show(groups: &BTreeMap<String, Group>) -> String {
    let mut text = String::new();
    for (name, group) in groups {
        text += &format!("\n=== {} × {name}\n{}", group.count, group.shown.join("\n"));
    }
    text
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: u64 = self.requests.values().sum();
        writeln!(f, "{all} requests to each server")?;
        self.requests
            .iter()
            .try_for_each(|(class, n)| writeln!(f, "{n:8} {class}"))?;
        writeln!(f, "what dnsd said")?;
        self.kinds
            .iter()
            .try_for_each(|(kind, n)| writeln!(f, "{n:8} {kind}"))?;
        writeln!(f, "in what one of the others differs from all")?;
        for (who, group) in &self.dissents {
            writeln!(f, "{:8} {who}", group.count)?;
        }
        writeln!(f, "where dnsd differs as an RFC says")?;
        for allowed in ALLOWED {
            let n = self.allowed.get(allowed.name).copied().unwrap_or_default();
            writeln!(f, "{n:8} {}: {}", allowed.name, allowed.because)?;
        }
        writeln!(
            f,
            "where no two of the others agree, and dnsd with none{}",
            show(&self.undecided)
        )
    }
}
