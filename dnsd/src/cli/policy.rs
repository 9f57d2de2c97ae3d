//! `dnsd policy` and `dnsd update`: who may do what, and what an update would do.

use super::output::{Output, table};
use super::{Failure, ask, unknown};
use crate::admin::{Carrier, Done, Request, SenderSpec, TestedAction};
use crate::io::file::read;
use crate::policy::rule::{Rule, SAYS_NOTHING_OUTSIDE};
use crate::policy::{Action, Realm};
use crate::status::RuleRow;
use crate::time_text::span;
use crate::trial::{Allowed, Trial, Verdict};
use crate::update_script::{self, Draft};
use clap::{Args, Subcommand};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use zones::Name;

/// `policy list`, `grant`, `revoke`, `test`.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// List the rules: who may update, transfer and notify. Whom no rule lets may not
    List {
        /// Of this zone, with those of all zones [default: all rules]
        origin: Option<Name>,
    },
    /// Make a rule
    #[command(after_help = RULES)]
    Grant(RuleArgs),
    /// Take a rule away: the words are those that `list` shows
    #[command(after_help = RULES)]
    Revoke(RuleArgs),
    /// Say whether somebody may, and by which rule; nothing is changed
    #[command(after_help = TEST_EXAMPLES)]
    Test {
        /// The zone
        origin: Name,
        /// Who asks
        #[command(flatten)]
        sender: Sender,
        /// transfer, notify, or one change as nsupdate reads it: add NAME TTL TYPE RDATA, delete NAME,
        /// delete NAME TYPE, delete NAME TYPE RDATA
        #[arg(required = true, value_name = "WORD")]
        words: Vec<String>,
    },
}

/// A rule and its zone.
#[derive(Debug, Args)]
pub struct RuleArgs {
    /// The zone, or '*' for all
    #[arg(value_name = "ORIGIN")]
    zone: Realm,
    /// The rule
    #[arg(required = true, value_name = "WORD")]
    words: Vec<String>,
}

/// Who would send a request.
#[derive(Debug, Args)]
pub struct Sender {
    /// The key that it is signed with
    #[arg(long, value_name = "NAME")]
    key: Option<Name>,
    /// The address that it comes from [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS")]
    from: Option<IpAddr>,
    /// It comes by a connection, as tcp-self wants it
    #[arg(long)]
    tcp: bool,
}

/// Arguments of `update`.
#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// Change nothing, and show what would be (nsupdate, or any other client, makes the update)
    #[arg(long, required = true)]
    dry_run: bool,
    /// As policy lets this sender; an operator may do all
    #[command(flatten)]
    sender: Sender,
    /// The commands of nsupdate or knsupdate
    file: PathBuf,
}

const RULES: &str = "\
Rules:
  [deny] update   [key NAME] [from PREFIX]... [NAMES] [TYPE|TYPE(MAX)]... [ttl-max TIME] [lease TIME]
  [deny] transfer [key NAME] [from PREFIX]...
  [deny] notify   [key NAME] [from PREFIX]...
NAMES, as in update-policy of BIND [default: zonesub]:
  name N          this name                   self       the name of the key
  subdomain N     this name and all below     selfsub    the name of the key and all below
  zonesub         all names of the zone       selfwild   all names below that of the key
  wildcard *.N    all names below             tcp-self   the name of the sender's address, by TCP
key is the name of one, *.NAME for all below it, or * for any. TYPE(MAX) is the most records that a name
may have of it. Without types all but NS, SOA, RRSIG, NSEC and NSEC3 are meant; ANY is all but the last
two. A TTL above ttl-max is lowered to it. What was added under a lease is taken away when it has ended.
Rules have no order: something may be done if one allows it and none denies it.
Examples:
  dnsd policy grant example.org update key ddns.example
  dnsd policy grant example.org update key acme name _acme-challenge.www.example.org 'TXT(4)' ttl-max 120 lease 1h
  dnsd policy grant '*' transfer key xfr from 192.0.2.0/24
  dnsd policy grant 2.0.192.in-addr.arpa update tcp-self 'PTR(1)'";

const TEST_EXAMPLES: &str = "\
Examples:
  dnsd policy test example.org --key acme add _acme-challenge.example.org. 60 TXT x
  dnsd policy test example.org --from 192.0.2.7 transfer";

pub(super) fn run(
    command: &PolicyCommand,
    socket: &Path,
    out: &mut Output<'_>,
) -> Result<(), Failure> {
    match command {
        PolicyCommand::List { origin } => {
            let zone = origin.clone();
            match ask(socket, &Request::PolicyList { zone })? {
                Done::Rules(rules) => out.data(&rules, |rules| list_text(rules)),
                other => Err(unknown(&other)),
            }
        }
        PolicyCommand::Grant(args) => {
            let row = row_of(args)?;
            if let Some(key) = row.rule.named_key() {
                warn_of_unknown(key, socket)?;
            }
            match ask(socket, &Request::PolicyGrant(Box::new(row)))? {
                Done::Granted(row) => out.data(&row, |row| format!("granted: {}\n", text(row))),
                other => Err(unknown(&other)),
            }
        }
        PolicyCommand::Revoke(args) => {
            match ask(socket, &Request::PolicyRevoke(Box::new(row_of(args)?)))? {
                Done::Revoked(row) => out.data(&row, |row| format!("revoked: {}\n", text(row))),
                other => Err(unknown(&other)),
            }
        }
        PolicyCommand::Test {
            origin,
            sender,
            words,
        } => test(origin, sender, words, socket, out),
    }
}

/// `update --dry-run`.
pub(super) fn update(
    args: &UpdateArgs,
    socket: &Path,
    out: &mut Output<'_>,
) -> Result<(), Failure> {
    let place = args.file.display();
    let text = String::from_utf8_lossy(&read(&args.file)?).into_owned();
    let drafts =
        update_script::parse(&text).map_err(|error| Failure::Faults(format!("{place}:{error}")))?;
    if drafts.is_empty() {
        return Err(Failure::Message(format!("{place} has no update")));
    }
    let sender = args.sender.is_named().then(|| args.sender.spec());
    let mut trials = Vec::new();
    for draft in &drafts {
        let zone = zone_of(draft, socket)?;
        trials.push(try_update(draft, &zone, sender.clone(), socket)?);
    }
    out.data(&trials, |trials| trials.iter().map(trial_text).collect())
}

impl Sender {
    fn is_named(&self) -> bool {
        self.key.is_some() || self.from.is_some() || self.tcp
    }

    fn spec(&self) -> SenderSpec {
        SenderSpec {
            key: self.key.clone(),
            address: self.from.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            by: match self.tcp {
                true => Carrier::Connection,
                false => Carrier::Udp,
            },
        }
    }
}

fn row_of(args: &RuleArgs) -> Result<RuleRow, Failure> {
    let rule: Rule = args
        .words
        .join(" ")
        .parse()
        .map_err(|error| Failure::Message(format!("no rule: {error}")))?;
    if let (Realm::Zone(origin), Action::Update(scope)) = (&args.zone, &rule.action)
        && !scope.may_have_names_in(origin)
    {
        return Err(Failure::Message(format!(
            "no rule: {SAYS_NOTHING_OUTSIDE} {origin}"
        )));
    }
    Ok(RuleRow::new(&args.zone, &rule))
}

/// A key may be made after its rule, but a slip of the pen is worth a word.
fn warn_of_unknown(key: &Name, socket: &Path) -> Result<(), Failure> {
    match ask(socket, &Request::KeyList)? {
        Done::Keys(keys) => {
            if !keys.iter().any(|row| row.name == *key) {
                eprintln!("warning: there is no key {key} yet; `dnsd key add {key}` makes it");
            }
            Ok(())
        }
        other => Err(unknown(&other)),
    }
}

fn test(
    origin: &Name,
    sender: &Sender,
    words: &[String],
    socket: &Path,
    out: &mut Output<'_>,
) -> Result<(), Failure> {
    let action = match words {
        [word] if word == "transfer" => TestedAction::Transfer,
        [word] if word == "notify" => TestedAction::Notify,
        _ => {
            let drafts = update_script::parse(&words.join(" "))
                .map_err(|error| Failure::Message(format!("no update: {}", error.problem)))?;
            let [draft] = &drafts[..] else {
                return Err(Failure::Message(
                    "expected transfer, notify, or a change such as: delete www.example.org. A"
                        .to_owned(),
                ));
            };
            let trial = try_update(draft, origin, Some(sender.spec()), socket)?;
            return out.data(&trial, trial_text);
        }
    };
    let request = Request::PolicyTest {
        zone: origin.clone(),
        sender: sender.spec(),
        action,
    };
    match ask(socket, &request)? {
        done @ Done::Permission { .. } => out.data(&done, |done| match done {
            Done::Permission { is_allowed, rules } => permission_text(*is_allowed, rules),
            _ => unreachable!("it is this one"),
        }),
        other => Err(unknown(&other)),
    }
}

fn zone_of(draft: &Draft, socket: &Path) -> Result<Name, Failure> {
    if let Some(zone) = &draft.zone {
        return Ok(zone.clone());
    }
    let name = draft.first_name().cloned().unwrap_or_else(Name::root);
    match ask(socket, &Request::ZoneOf { name })? {
        Done::ZoneOf { origin } => Ok(origin),
        other => Err(unknown(&other)),
    }
}

fn try_update(
    draft: &Draft,
    zone: &Name,
    sender: Option<SenderSpec>,
    socket: &Path,
) -> Result<Trial, Failure> {
    let message = draft.message(zone).ok_or_else(|| {
        Failure::Message("the update is larger than a message may be (65535 bytes)".to_owned())
    })?;
    let message = data_encoding::BASE64.encode(&message);
    match ask(socket, &Request::UpdateTry { message, sender })? {
        Done::Tried(trial) => Ok(*trial),
        other => Err(unknown(&other)),
    }
}

fn text(row: &RuleRow) -> String {
    format!("{} {}", row.zone, row.rule)
}

fn list_text(rules: &[RuleRow]) -> String {
    if rules.is_empty() {
        return "There are no rules: nobody may update or transfer. `dnsd policy grant` makes one.\n"
            .to_owned();
    }
    let row = |row: &RuleRow| vec![row.zone.to_string(), row.rule.to_string()];
    table(
        &["ZONE", "RULE"],
        &rules.iter().map(row).collect::<Vec<_>>(),
    )
}

fn permission_text(is_allowed: bool, rules: &[RuleRow]) -> String {
    let mut text = match (is_allowed, rules) {
        (true, _) => "allowed\n".to_owned(),
        (false, []) => "refused: no rule allows it\n".to_owned(),
        (false, _) => "refused: a rule denies it\n".to_owned(),
    };
    text.extend(rules.iter().map(|row| format!("  {}\n", self::text(row))));
    text
}

fn trial_text(trial: &Trial) -> String {
    let mut text = String::new();
    match &trial.policy {
        None => {}
        Some(Verdict::Allowed(changes)) => {
            text += "policy: allowed\n";
            text.extend(changes.iter().map(allowed_text));
        }
        Some(Verdict::Denied { change, rule }) => {
            let what = change.as_deref().unwrap_or("any change by this sender");
            let why = match rule {
                None => "no rule allows".to_owned(),
                Some(row) => format!("the rule \"{}\" denies", self::text(row)),
            };
            text += &format!("policy: {why} {what}\n");
        }
    }
    text += &match &trial.sent_on_to {
        None => format!("answer: {}\n", trial.rcode),
        Some(primaries) => format!(
            "{} comes from {primaries}: the update is sent on, and the answer is the primary's\n",
            trial.zone
        ),
    };
    match trial.serials {
        Some((before, after)) if before != after => {
            text += &format!("serial of {}: {before} to {after}\n", trial.zone);
        }
        Some((serial, _)) => text += &format!("serial of {}: {serial} stays\n", trial.zone),
        None => {}
    }
    text.extend(trial.lines.iter().map(String::as_str));
    text
}

fn allowed_text(allowed: &Allowed) -> String {
    let seconds = |seconds: u32| span(Duration::from_secs(seconds.into()));
    let mut text = format!("  {}", allowed.change);
    match &allowed.rule {
        Some(row) => text += &format!(": {}", self::text(row)),
        None => text += ": there is nothing to delete",
    }
    if let Some(types) = &allowed.deletes {
        text += &format!("; only of types {}", types.join(" "));
    }
    if let Some(max) = allowed.records_max {
        text += &format!("; {max} records at most");
    }
    if let Some(ttl) = allowed.ttl_max {
        text += &format!("; TTL {ttl} at most");
    }
    if let Some(lease) = allowed.lease {
        text += &format!("; goes after {}", seconds(lease));
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_says_why() {
        let row = RuleRow {
            zone: "*".parse().unwrap(),
            rule: "update key k TXT ttl-max 60 lease 1h".parse().unwrap(),
        };
        let trial = Trial {
            sent_on_to: None,
            zone: "example.".parse().unwrap(),
            rcode: "NOERROR".to_owned(),
            policy: Some(Verdict::Allowed(vec![Allowed {
                change: "add a.example. TXT".to_owned(),
                rule: Some(row.clone()),
                records_max: None,
                ttl_max: Some(60),
                lease: Some(3_600),
                deletes: None,
            }])),
            serials: Some((7, 8)),
            lines: vec!["+ a.example.\t60\tIN\tTXT\t\"x\"\n".to_owned()],
        };
        assert_eq!(
            trial_text(&trial),
            "policy: allowed\n  add a.example. TXT: * update key k. zonesub TXT ttl-max 60 lease \
             3600; TTL 60 at most; goes after 1 h 0 min\nanswer: NOERROR\nserial of example.: 7 to \
             8\n+ a.example.\t60\tIN\tTXT\t\"x\"\n"
        );
        let denied = Trial {
            rcode: "REFUSED".to_owned(),
            policy: Some(Verdict::Denied {
                change: Some("change 1, a.example. A".to_owned()),
                rule: None,
            }),
            serials: None,
            lines: Vec::new(),
            ..trial
        };
        assert_eq!(
            trial_text(&denied),
            "policy: no rule allows change 1, a.example. A\nanswer: REFUSED\n"
        );
    }
}
