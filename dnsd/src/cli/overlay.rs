//! `dnsd overlay`: the links between peers.

use super::output::{Output, table};
use super::{Failure, ask, unknown};
use crate::admin::{Done, Request};
use crate::status::Link;
use crate::time_text::span;
use clap::Subcommand;
use std::path::Path;

/// What is looked at.
#[derive(Debug, Subcommand)]
pub enum Overlay {
    /// List the links of this peer to its neighbors
    #[command(after_help = "\
Stages:
  up       packets pass
  heard    heartbeats are heard, packets do not pass yet
  down     nothing is heard")]
    Links,
}

pub(super) fn run(overlay: &Overlay, socket: &Path, out: &mut Output<'_>) -> Result<(), Failure> {
    match overlay {
        Overlay::Links => match ask(socket, &Request::OverlayLinks)? {
            Done::Links(links) => out.data(&links, |links| links_text(links)),
            other => Err(unknown(&other)),
        },
    }
}

fn links_text(links: &[Link]) -> String {
    let rows: Vec<Vec<String>> = links
        .iter()
        .map(|link| {
            vec![
                link.name.clone(),
                link.stage.to_string(),
                span(link.since),
                link.rtt.map_or_else(|| "-".to_owned(), span),
                format!("{:.1} %", f64::from(link.loss_permille) / 10.0),
                link.sent.to_string(),
                link.resent.to_string(),
                link.address
                    .map_or_else(|| "-".to_owned(), |address| address.to_string()),
            ]
        })
        .collect();
    table(
        &[
            "NEIGHBOR", "STAGE", "SINCE", "RTT", "LOSS", "SENT", "RESENT", "ADDRESS",
        ],
        &rows,
    )
}
