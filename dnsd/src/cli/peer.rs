//! `dnsd invite`, `peers` and `evict`: who is in the cluster.

use super::output::{Output, table};
use super::status::read_span;
use super::{Failure, ask, majority, setting, unknown};
use crate::admin::{Done, INVITE_EXPIRES, Request};
use crate::setting::PeerRef;
use crate::status::Member;
use clap::Args;
use serde::Serialize;
use std::path::Path;
use std::time::Duration;

/// Arguments of `invite`.
#[derive(Debug, Args)]
pub struct Invite {
    /// How long the token is good [default: 1h]
    #[arg(long, value_name = "TIME", value_parser = read_span)]
    expires: Option<Duration>,
    /// Let it join though less than a majority of the members can be reached
    #[arg(long)]
    force: bool,
}

pub(super) const INVITE_EXAMPLES: &str = "\
The token is a secret: who has it can join. It works once, and only while this peer runs.

Examples:
  dnsd serve --data-dir b --listen 127.0.0.1:5354 --join \"$(dnsd invite)\"
  dnsd invite --expires 15m";

/// Arguments of `evict`.
#[derive(Debug, Args)]
pub struct Evict {
    /// The member, by name or id
    #[arg(value_parser = setting::<PeerRef>)]
    peer: PeerRef,
    /// Do it though less than a majority of the members can be reached
    #[arg(long)]
    force: bool,
}

pub(super) const EVICT_EXAMPLES: &str = "\
For a member that is dead and does not come back: what it accepted and nobody else holds is lost.
With --force you vouch that all members that cannot be reached are off: if they are not, and take
updates, these may be lost.

Examples:
  dnsd evict ns3
  dnsd evict ns2 --force               the other one of a cluster of two is dead";

/// What `invite` prints for programs.
#[derive(Serialize)]
struct Invited {
    token: String,
    expires_seconds: f64,
}

pub(super) fn invite(invite: &Invite, socket: &Path, out: &mut Output<'_>) -> Result<(), Failure> {
    let request = Request::Invite {
        expires: invite.expires.unwrap_or(INVITE_EXPIRES),
        majority: majority(invite.force),
    };
    match ask(socket, &request)? {
        Done::Invited { token, expires } => {
            let invited = Invited {
                token,
                expires_seconds: expires.as_secs_f64(),
            };
            out.data(&invited, |invited| format!("{}\n", invited.token))
        }
        other => Err(unknown(&other)),
    }
}

pub(super) fn list(socket: &Path, out: &mut Output<'_>) -> Result<(), Failure> {
    match ask(socket, &Request::Peers)? {
        Done::Peers(members) => out.data(&members, |members| members_text(members)),
        other => Err(unknown(&other)),
    }
}

pub(super) fn evict(evict: &Evict, socket: &Path, out: &mut Output<'_>) -> Result<(), Failure> {
    let request = Request::Evict {
        peer: evict.peer.clone(),
        majority: majority(evict.force),
    };
    match ask(socket, &request)? {
        Done::Evicted(member) => out.data(&member, |member| {
            format!("{} ({}) is no member any more\n", member.name, member.peer)
        }),
        other => Err(unknown(&other)),
    }
}

pub(super) fn members_text(members: &[Member]) -> String {
    let rows: Vec<Vec<String>> = members
        .iter()
        .map(|member| {
            let addresses: Vec<String> = member.addresses.iter().map(ToString::to_string).collect();
            vec![
                member.name.clone(),
                member.state.to_string(),
                member.peer.to_string(),
                addresses.join(", "),
            ]
        })
        .collect();
    table(&["NAME", "STATE", "ID", "ADDRESSES"], &rows)
}
