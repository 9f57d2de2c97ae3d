//! The command line: its words, and the sub-commands that talk to a daemon. One file a noun.

mod check;
mod cookie;
mod key;
mod output;
mod overlay;
mod peer;
mod policy;
mod serve;
mod status;
mod vip;
pub(crate) mod zone;

use crate::admin::{Done, Majority, Reply, Request, Version};
use crate::config::{DATA_DIR, admin_socket};
use crate::io::admin_client::{Client, ClientError};
use crate::io::file::FileError;
use crate::setting::Setting;
use clap::{Args, Parser, Subcommand, ValueEnum};
pub use output::Output;
pub use serve::{Serve, serve};
use std::fmt;
use std::path::PathBuf;

/// Zonecast, a replicated peer DNS server
///
/// Every peer serves the same zones, any peer takes an RFC 2136 update, and all peers answer it at
/// once. `dnsd serve` runs a peer; all other sub-commands talk to a peer that runs.
#[derive(Debug, Parser)]
#[command(name = "dnsd", version, arg_required_else_help = true, after_help = EXAMPLES)]
pub struct Cli {
    /// Options of every sub-command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  dnsd demo                                      see three peers do the job
  dnsd serve --zone example.test=example.zone --allow-update 127.0.0.0/8
                                                 a cluster of one, data in ./data
  dnsd invite                                    a token for a second peer
  dnsd serve --data-dir b --join TOKEN --listen 127.0.0.1:5354
                                                 the second peer
  dnsd status --format json                      how it goes, for programs";

/// Options of every sub-command, anywhere in the line.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// The admin socket of the daemon [env: DNSD_ADMIN] [default: DIR/admin.sock]
    #[arg(long, global = true, value_name = "SOCKET")]
    admin: Option<PathBuf>,
    /// The data directory of the daemon [default: ./data]
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// How data is printed
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        hide_possible_values = true,
        value_name = "text|json"
    )]
    format: Format,
}

/// How data is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

impl Global {
    /// The socket of the daemon that is meant. What stands in the line wins over the environment,
    /// also where it is only the data directory.
    fn socket(&self) -> PathBuf {
        self.named_socket().unwrap_or_else(|| {
            let data_dir = self.data_dir.as_deref();
            admin_socket(data_dir.unwrap_or_else(|| DATA_DIR.as_ref()))
        })
    }

    fn named_socket(&self) -> Option<PathBuf> {
        match (&self.admin, &self.data_dir) {
            (Some(admin), _) => Some(admin.clone()),
            (None, Some(_)) => None,
            (None, None) => std::env::var_os("DNSD_ADMIN").map(PathBuf::from),
        }
    }
}

/// The sub-commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a peer
    #[command(after_help = serve::EXAMPLES)]
    Serve(Box<Serve>),
    /// See a cluster work: real peers on this machine, one updated, one killed, all equal again
    #[command(after_help = "\
Examples:
  dnsd demo                          three peers, some seconds
  dnsd demo --stay                   and leave them running, to try dig and nsupdate
  dnsd demo --peers 5 --base-port 5301")]
    Demo(Demo),
    /// Check a file without a daemon; errors with file:line:column, exit 1
    #[command(subcommand)]
    Check(check::Check),
    /// Print a one-line token with which one new peer may join
    #[command(after_help = peer::INVITE_EXAMPLES)]
    Invite(peer::Invite),
    /// Show how a peer does: health, members, views, marks, queues, warnings
    #[command(after_help = status::EXAMPLES)]
    Status(status::StatusArgs),
    /// List the members of the cluster
    #[command(after_help = "\
States:
  settling      holds and settles everything
  reachable     serves queries, but catches up or has trouble with its disk
  unreachable   not heard of
  excluded      an eviction of it is under way")]
    Peers,
    /// Remove a dead member for good
    #[command(after_help = peer::EVICT_EXAMPLES)]
    Evict(peer::Evict),
    /// Look at the links between peers
    #[command(subcommand)]
    Overlay(overlay::Overlay),
    /// List, import, export, show and remove zones
    #[command(subcommand)]
    Zone(zone::ZoneCommand),
    /// Let addresses float over the peers, so that clients never see one die
    #[command(subcommand)]
    Vip(vip::Vip),
    /// Replace the secret by which DNS cookies are made
    #[command(subcommand)]
    Cookie(cookie::Cookie),
    /// Make and remove the keys by which clients sign their requests (TSIG)
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Say who may update, transfer and notify which zone
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Show what the updates of an nsupdate script would do
    Update(policy::UpdateArgs),
    /// The process that takes virtual addresses away when its daemon cannot; started by it
    #[command(hide = true)]
    VipGuard,
}

/// Arguments of `demo`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Args)]
pub struct Demo {
    /// How many peers
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(3..=8))]
    pub peers: u8,
    /// The DNS port of the first peer, the next ones follow [default: free ports]
    #[arg(long, value_name = "PORT")]
    pub base_port: Option<u16>,
    /// Leave the peers running until Ctrl-C
    #[arg(long)]
    pub stay: bool,
}

/// Whether a change of the membership may go without a majority.
fn majority(force: bool) -> Majority {
    if force {
        Majority::Forced
    } else {
        Majority::Needed
    }
}

/// The version of a zone that `--now` speaks of.
fn version(now: bool) -> Version {
    if now { Version::Now } else { Version::Settled }
}

/// Runs a sub-command that is no daemon; `serve` and `demo` are not.
///
/// # Panics
///
/// If it is one of these: the caller runs them.
pub fn run(cli: &Cli, out: &mut Output<'_>) -> Result<(), Failure> {
    let socket = cli.global.socket();
    match &cli.command {
        Command::Serve(_) | Command::Demo(_) => panic!("the caller runs daemons"),
        Command::Check(check) => check::run(check, out),
        Command::Invite(invite) => peer::invite(invite, &socket, out),
        Command::Status(args) => status::run(args, &socket, out),
        Command::Peers => peer::list(&socket, out),
        Command::Evict(evict) => peer::evict(evict, &socket, out),
        Command::Overlay(overlay) => overlay::run(overlay, &socket, out),
        Command::Zone(zone) => zone::run(zone, &socket, out),
        Command::Vip(vip) => vip::run(vip, &socket, out),
        Command::Cookie(cookie) => cookie::run(cookie, &socket, out),
        Command::Key(command) => key::run(command, &socket, out),
        Command::Policy(command) => policy::run(command, &socket, out),
        Command::Update(args) => policy::update(args, &socket, out),
        Command::VipGuard => {
            crate::io::vip::run_guard().map_err(|error| Failure::Message(error.to_string()))
        }
    }
}

/// Asks a daemon what has one answer.
fn ask(socket: &std::path::Path, request: &Request) -> Result<Done, Failure> {
    let mut client = Client::connect(socket)?;
    let mut unasked = None;
    let done = client.call(request, &mut |reply| unasked = Some(reply))?;
    match unasked {
        None | Some(Reply::Progress(_)) => Ok(done),
        Some(reply) => Err(unknown(&reply)),
    }
}

/// The daemon answered something else than was asked: it has another version.
fn unknown(reply: &impl fmt::Debug) -> Failure {
    ClientError::Unknown(format!("{reply:?}")).into()
}

/// Why a sub-command failed: told on standard error, exit 1.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// One line.
    Message(String),
    /// A line for each fault of a file, beginning with its place, as editors read it.
    Faults(String),
    /// All has been told.
    Told,
    /// Nobody reads what is printed.
    OutputClosed,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(message) => write!(f, "dnsd: {message}"),
            Self::Faults(faults) => f.write_str(faults),
            Self::Told | Self::OutputClosed => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Message(error.to_string())
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        Self::Message(error.to_string())
    }
}

/// The parser of an argument that is a setting too.
fn setting<T: Setting>(text: &str) -> Result<T, String> {
    T::read(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use clap::error::ErrorKind;
    use std::path::Path;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("dnsd").chain(line.split_whitespace()))
    }

    #[test]
    fn the_command_line_is_sound_and_every_word_of_it_has_a_help() {
        Cli::command().debug_assert();
        let mut open = vec![Cli::command()];
        while let Some(command) = open.pop() {
            let name = command.get_name();
            assert!(command.get_about().is_some(), "{name}");
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{name} {argument}");
            }
            open.extend(command.get_subcommands().cloned());
        }
    }

    #[test]
    fn global_options_stand_anywhere() {
        for line in [
            "--data-dir b --format json zone list",
            "zone --data-dir b list --format json",
            "zone list --format json --data-dir b",
        ] {
            let cli = parse(line).unwrap();
            assert_eq!(cli.global.socket(), Path::new("b/admin.sock"), "{line}");
            assert_eq!(cli.global.format, Format::Json, "{line}");
        }
        let cli = parse("status --admin x --data-dir b").unwrap();
        assert_eq!(cli.global.socket(), Path::new("x"));
    }

    #[test]
    fn the_contract_is_accepted() {
        for line in [
            "serve",
            "serve --config f --data-dir d --name n --admin s --log-format json \
             --listen 127.0.0.1:53 --listen [::1]:53 --peer-listen 192.0.2.1:1 \
             --peer-advertise 192.0.2.1:1 --peer 192.0.2.2:1 --link ns2 --link 0123456789abcdef \
             --overlay-profile wan --metrics 127.0.0.1:9 --zone a.test=f --zone b.test=g \
             --allow-update 127.0.0.0/8 --allow-transfer ::/0",
            "serve --listen none",
            "demo --peers 4 --base-port 5301 --stay",
            "check config f",
            "check zone example.test f --strict",
            "invite --expires 1h --force",
            "status --wait",
            "status --wait=5s",
            "status --data-dir a --wait",
            "peers",
            "evict ns2 --force",
            "overlay links",
            "zone list",
            "zone import example.test f",
            "zone export example.test f --now",
            "zone export example.test",
            "zone show example.test --now",
            "zone remove example.test",
            "policy list",
            "policy list example.test",
            "policy grant example.test update key k name a.example.test TXT(2) ttl-max 60 lease 1h",
            "policy grant * transfer from 192.0.2.0/24",
            "policy revoke example.test update key k",
            "policy test example.test --key k --from 192.0.2.1 --tcp add a.example.test. 60 TXT x",
            "policy test example.test transfer",
            "update --dry-run f",
            "update --dry-run --key k f",
            "serve --vip-driver log --vip-capacity 2",
            "serve --vip-driver exec --vip-command /bin/x",
            "vip list",
            "vip add 192.0.2.53/24",
            "vip add 192.0.2.1/24@eth0 2001:db8::1/64@eth1 --prefer ns2 --weight 3",
            "vip remove 192.0.2.53",
            "vip drain",
            "vip drain ns2",
            "vip drain 192.0.2.53",
            "vip resume ns2",
            "vip simulate --failed ns1 --failed ns2",
            "vip simulate --failed ns1 ns2",
            "vip-guard",
            "cookie show",
            "cookie rollover --force",
            "key list",
            "key add k.example",
            "key add k --algorithm hmac-sha512-256 --secret c2VjcmV0 --replace",
            "key import f --replace",
            "key show k",
            "key remove k",
            "serve --require-server-cookie",
            "serve --tls-client-ca ca.pem --tls-client-name ns2.example --tls-client-name *",
            "zone import example.test zone --dry-run",
            "serve --tcp-connections 5000 --tcp-connections-per-address 50 --tcp-idle-timeout 30s",
            "serve --rate-limit-responses-per-second 20 --rate-limit-slip 1 \
             --rate-limit-exempt-clients 127.0.0.0/8 --rate-limit-exempt-clients ::1",
        ] {
            if let Err(error) = parse(line) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let check = |line: &str, kind, expected: &str| {
            let error = parse(line).unwrap_err();
            assert_eq!(error.kind(), kind, "{line}");
            assert_eq!(error.exit_code(), 2, "{line}");
            let text = error.to_string();
            assert!(text.contains(expected), "{line}: {text}");
        };
        let value = ErrorKind::ValueValidation;
        check("serve --listen 53", value, "expected none or ADDR:PORT");
        check(
            "serve --overlay-profile x",
            value,
            "expected lan, wan or fast",
        );
        check("serve --join hello", value, "a token begins with");
        check("serve --zone a.test", value, "expected ORIGIN=FILE");
        check(
            "serve --allow-update 10.0.0.1/8",
            value,
            "bits are set after the prefix",
        );
        check("invite --expires soon", value, "expected a length of time");
        check("evict a/b", value, "expected a peer's name");
        check("zone show a..b", value, "a label is empty");
        check("key add k --algorithm x", value, "expected hmac-sha256");
        check("vip add 192.0.2.53", value, "ADDRESS/LEN");
        check("vip add 192.0.2.53/24 --weight 0", value, "from 1 to 1000");
        check("vip remove here", value, "here");
        check("demo --peers 2", value, "2 is not in 3..=8");
        check("frobnicate", ErrorKind::InvalidSubcommand, "frobnicate");
        check(
            "zone import example.test",
            ErrorKind::MissingRequiredArgument,
            "FILE",
        );
    }
}
