//! `dnsd vip`: virtual addresses, and who holds them.

use super::output::{Output, table};
use super::{Failure, ask, setting, unknown};
use crate::admin::{Done, Request, VipTarget};
use crate::setting::{PeerName, PeerRef, Weight};
use crate::time_text::span;
use crate::vip::address::{GROUP_MAX, VipAddress};
use crate::vip::status::{VipGoal, VipPhase, VipRow, Vips};
use clap::{Args, Subcommand};
use std::net::IpAddr;
use std::path::Path;

/// `vip list`, `add`, `remove`, `drain`, `resume`, `simulate`.
#[derive(Debug, Subcommand)]
pub enum Vip {
    /// Show each virtual address: who holds it, since when, why
    List,
    /// Let an address float over the peers; several move together
    #[command(after_help = ADD_EXAMPLES)]
    Add(Add),
    /// Take a virtual address away everywhere
    Remove {
        /// Any address of the VIP
        #[arg(value_name = "ADDRESS")]
        address: IpAddr,
    },
    /// Let a peer hand over all that it holds, or one address leave its holder
    #[command(after_help = DRAIN_EXAMPLES)]
    Drain {
        /// A peer, by name or id, or an address [default: the peer that is asked]
        #[arg(value_name = "PEER|ADDRESS", value_parser = target)]
        what: Option<VipTarget>,
    },
    /// Let a drained peer hold addresses again, or a drained address go anywhere
    Resume {
        /// A peer, by name or id, or an address [default: the peer that is asked]
        #[arg(value_name = "PEER|ADDRESS", value_parser = target)]
        what: Option<VipTarget>,
    },
    /// Show who would hold what if some peers failed; changes nothing
    Simulate {
        /// A peer that fails, by name or id; may be repeated
        #[arg(long, value_name = "PEER", required = true, num_args = 1.., value_parser = setting::<PeerRef>)]
        failed: Vec<PeerRef>,
    },
}

/// Arguments of `vip add`.
#[derive(Debug, Args)]
pub struct Add {
    /// The address and the length of its network's prefix; @IFACE: only on this interface
    #[arg(value_name = "ADDRESS/LEN[@IFACE]", required = true, value_parser = address)]
    addresses: Vec<VipAddress>,
    /// The peer that is to hold it while it can [default: whoever carries least]
    #[arg(long, value_name = "PEER", value_parser = setting::<PeerName>)]
    prefer: Option<PeerName>,
    /// How much of a peer's capacity it takes [default: 1]
    #[arg(long, value_name = "W", value_parser = setting::<Weight>)]
    weight: Option<Weight>,
}

const ADD_EXAMPLES: &str = "\
A peer can hold an address if one of its interfaces has an address in the same network. The daemon
must listen on it: on 0.0.0.0:53 and [::]:53, say. With the same addresses again, the preference and
the weight are set anew.

Examples:
  dnsd vip add 192.0.2.53/24
  dnsd vip add 192.0.2.54/24@eth1 --prefer ns2
  dnsd vip add 192.0.2.1/24@eth0 198.51.100.1/24@eth1      both sides of a router, always together";

const DRAIN_EXAMPLES: &str = "\
Others take over first: no query is lost. It holds until `dnsd vip resume`, over restarts too. If
nobody else can hold an address it stays.

Examples:
  dnsd vip drain                 before maintenance of this machine
  dnsd vip drain ns2
  dnsd vip drain 192.0.2.53      away from the peer that holds it now";

fn address(text: &str) -> Result<VipAddress, String> {
    text.parse::<VipAddress>()
        .map_err(|error| error.to_string())
}

pub(super) fn run(vip: &Vip, socket: &Path, out: &mut Output<'_>) -> Result<(), Failure> {
    let request = match vip {
        Vip::List => Request::VipList,
        Vip::Add(add) => {
            if add.addresses.len() > GROUP_MAX {
                return Err(Failure::Message(format!(
                    "at most {GROUP_MAX} addresses move together"
                )));
            }
            Request::VipAdd {
                addresses: add.addresses.clone(),
                prefer: add.prefer.as_ref().map(|name| name.as_str().to_owned()),
                weight: add.weight.map_or(1, |Weight(weight)| weight),
            }
        }
        Vip::Remove { address } => Request::VipRemove { address: *address },
        Vip::Drain { what } => Request::VipDrain {
            what: what.clone().unwrap_or(VipTarget::ThisPeer),
        },
        Vip::Resume { what } => Request::VipResume {
            what: what.clone().unwrap_or(VipTarget::ThisPeer),
        },
        Vip::Simulate { failed } => Request::VipSimulate {
            failed: failed.clone(),
        },
    };
    match ask(socket, &request)? {
        Done::Vips(vips) => out.data(&vips, vips_text),
        Done::VipsIf(goals) => out.data(&goals, |goals| goals_text(goals)),
        other => Err(unknown(&other)),
    }
}

fn target(text: &str) -> Result<VipTarget, String> {
    match text.parse() {
        Ok(address) => Ok(VipTarget::Address(address)),
        Err(_) => setting::<PeerRef>(text).map(VipTarget::Peer),
    }
}

fn vips_text(vips: &Vips) -> String {
    let rows: Vec<Vec<String>> = vips.vips.iter().map(row).collect();
    let mut text = table(&["ADDRESS", "HOLDER", "SINCE", "WHY"], &rows);
    let peers: Vec<Vec<String>> = vips
        .peers
        .iter()
        .map(|peer| {
            vec![
                peer.name.clone(),
                peer.rank.clone(),
                peer.holds.to_string(),
                peer.can.to_string(),
                peer.capacity.to_string(),
            ]
        })
        .collect();
    text.push('\n');
    text.push_str(&table(
        &["PEER", "RANK", "HOLDS", "CAN", "CAPACITY"],
        &peers,
    ));
    if vips.phase == VipPhase::Gather {
        text.push_str("\nThe peers are agreeing on who holds what.\n");
    }
    let unfit = vips.vips.iter().filter_map(|vip| {
        let why = vip.unfit.as_ref()?;
        Some(format!(
            "This peer cannot hold {}: {why}.\n",
            vip.addresses.join(" ")
        ))
    });
    let unfit: Vec<String> = unfit.collect();
    if !unfit.is_empty() {
        text.push('\n');
        text.extend(unfit);
    }
    text
}

fn row(vip: &VipRow) -> Vec<String> {
    let mut why = vip.why.clone();
    if let Some(next) = &vip.next {
        why = format!("moving to {next}: {why}");
    }
    if let Some(from) = &vip.drained_from {
        why = format!("{why}, drained from {from}");
    }
    vec![
        vip.addresses.join(" "),
        vip.holder.clone().unwrap_or_else(|| "nobody".to_owned()),
        vip.since.map_or_else(|| "-".to_owned(), span),
        why,
    ]
}

fn goals_text(goals: &[VipGoal]) -> String {
    let nobody = || "nobody".to_owned();
    let rows: Vec<Vec<String>> = goals
        .iter()
        .map(|goal| {
            vec![
                goal.addresses.join(" "),
                goal.now.clone().unwrap_or_else(nobody),
                goal.then.clone().unwrap_or_else(nobody),
                goal.why.clone(),
            ]
        })
        .collect();
    table(&["ADDRESS", "NOW", "THEN", "WHY"], &rows)
}
