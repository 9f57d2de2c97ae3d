//! The text of `dnsd zone history`.

use crate::status::{HistoryStep, HistoryWhat};
use crate::time_text::utc;
use std::fmt::Write;

/// A line for each step, and one for each of its records.
pub(super) fn text(steps: &[HistoryStep]) -> String {
    let mut text = String::new();
    for step in steps {
        let (before, after) = (step.before, step.after);
        let what = what(step);
        let mut line = |line: std::fmt::Arguments<'_>| {
            writeln!(text, "{line}").expect("a string takes all text");
        };
        line(format_args!("{} {before} -> {after} {what}", utc(step.at)));
        for record in &step.removed {
            line(format_args!("  - {record}"));
        }
        for record in &step.added {
            line(format_args!("  + {record}"));
        }
        if step.unlisted > 0 {
            line(format_args!("  and {} records more", step.unlisted));
        }
        if !step.is_known && step.what != HistoryWhat::Remove {
            line(format_args!(
                "  its records are not kept: nothing before it can be gone back to"
            ));
        }
    }
    if steps.is_empty() {
        text.push_str("Nothing of it is remembered.\n");
    }
    text
}

fn what(step: &HistoryStep) -> String {
    let mut what = match step.what {
        HistoryWhat::Update => "update".to_owned(),
        HistoryWhat::Import => "import".to_owned(),
        HistoryWhat::Remove => "removal".to_owned(),
        HistoryWhat::Rollback => "rollback".to_owned(),
        HistoryWhat::Expire => "end of leases".to_owned(),
        HistoryWhat::Catalog => "zones that came or went".to_owned(),
        HistoryWhat::Transfer => "zone transfer".to_owned(),
        HistoryWhat::Adopt => "adoption".to_owned(),
        HistoryWhat::Several => "several changes, by peers that were out of reach".to_owned(),
    };
    let mut add = |word: &str, value: Option<String>| {
        if let Some(value) = value {
            what = format!("{what} {word} {value}");
        }
    };
    add("to", step.to.map(|to| to.to_string()));
    add("from", step.source.map(|source| source.to_string()));
    add("by key", step.key.as_ref().map(ToString::to_string));
    add("at", step.peer.clone());
    what
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_step_tells_who_changed_what() {
        let step = HistoryStep {
            before: 41,
            after: 42,
            at: Duration::from_secs(1_795_528_800),
            what: HistoryWhat::Update,
            source: Some([192, 0, 2, 7].into()),
            key: Some("ddns.test".parse().unwrap()),
            to: None,
            peer: Some("ns1".to_owned()),
            removed: vec!["a.test.\t60\tIN\tA\t192.0.2.1".to_owned()],
            added: Vec::new(),
            unlisted: 3,
            is_known: true,
        };
        let expected = "2026-11-24T14:00:00.000Z 41 -> 42 update from 192.0.2.7 by key ddns.test. \
                        at ns1\n  - a.test.\t60\tIN\tA\t192.0.2.1\n  and 3 records more\n";
        assert_eq!(text(&[step]), expected);
    }
}
