//! The admin protocol: JSON lines over a local socket, as types.
//!
//! A client writes one [`Request`] a line and reads [`Reply`] lines until one that ends it
//! ([`Reply::Done`] or [`Reply::Refused`]). After a [`Request::ZoneImport`] it writes
//! [`UploadLine`]s, the last of them [`UploadLine::Commit`], and reads only then.

use crate::setting::PeerRef;
use crate::status::{
    Cookies, HistoryStep, KeyDetail, KeyRow, Link, Member, Reload, RuleRow, Status, Zone,
    ZoneDetail,
};
use crate::text::{as_seconds, as_some_text, as_text, as_texts};
use crate::trial::Trial;
use crate::tsig::Method;
use crate::vip::address::VipAddress;
use crate::vip::status::{VipGoal, Vips};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;
use zones::Name;

/// Longest line of a client: a chunk in base64, and air.
pub const LINE_SIZE_MAX: usize = 128 * 1024;
/// Longest line of the daemon: a list of some hundred thousand zones.
pub const REPLY_SIZE_MAX: usize = 64 * 1024 * 1024;
/// Most bytes of records in one [`UploadLine::Chunk`], and of text in one [`Reply::Text`].
pub const CHUNK_SIZE_MAX: usize = 64 * 1024;
/// Largest upload: a zone of some ten million records, held in memory once.
pub const UPLOAD_SIZE_MAX: usize = 1 << 30;
/// How long a token is good if nothing else is asked for.
pub const INVITE_EXPIRES: Duration = Duration::from_secs(3600);

/// What a client asks.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Answered by [`Done::Status`].
    Status,
    /// Answered by [`Done::Peers`].
    Peers,
    /// Make a token; answered by [`Done::Invited`].
    Invite {
        /// How long it is good.
        #[serde(with = "as_seconds", rename = "expires_seconds")]
        expires: Duration,
        /// Whether the join may go without a majority.
        majority: Majority,
    },
    /// Remove a dead member; answered by [`Done::Evicted`].
    Evict {
        /// Which.
        #[serde(with = "as_text")]
        peer: PeerRef,
        /// Whether it may go without a majority.
        majority: Majority,
    },
    /// Answered by [`Done::Links`].
    OverlayLinks,
    /// Answered by [`Done::Zones`].
    ZoneList,
    /// Make a zone of the records that follow, or make them one that exists; answered by
    /// [`Reply::Progress`], and [`Done::Imported`] or [`Done::Reloaded`].
    ZoneImport {
        /// Its apex.
        #[serde(with = "as_text")]
        origin: Name,
        /// How many records follow.
        records: u64,
        /// How.
        manner: Manner,
    },
    /// Answered by [`Reply::Text`] and [`Done::Exported`].
    ZoneExport {
        /// Which zone.
        #[serde(with = "as_text")]
        origin: Name,
        /// Which version of it.
        version: Version,
    },
    /// Answered by [`Done::Zone`].
    ZoneShow {
        /// Which zone.
        #[serde(with = "as_text")]
        origin: Name,
        /// Which version of it.
        version: Version,
    },
    /// Answered by [`Done::Removed`].
    ZoneRemove {
        /// Which zone.
        #[serde(with = "as_text")]
        origin: Name,
    },
    /// Set what holds for one zone; answered by [`Done::Set`].
    ZoneSet {
        /// Which zone.
        #[serde(with = "as_text")]
        origin: Name,
        /// What is set: `KEY=VALUE` each.
        settings: Vec<String>,
    },
    /// A zone is to come from primaries; answered by [`Done::Fetched`] when its content is here.
    ZoneFeed {
        /// Its apex.
        #[serde(with = "as_text")]
        origin: Name,
        /// The servers, `ADDR[:PORT][%KEY]` each.
        primaries: Vec<String>,
        /// What becomes of a zone of ours with this name.
        ours: Ours,
    },
    /// Ask the primaries of a zone now; answered by [`Done::Fetched`].
    ZoneRefresh {
        /// Which zone.
        #[serde(with = "as_text")]
        origin: Name,
        /// Whether all of it is fetched, whatever its serial.
        content: Fetch,
    },
    /// Make a zone that comes from a primary ours; answered by [`Done::Adopted`].
    ZoneAdopt {
        /// Which zone.
        #[serde(with = "as_text")]
        origin: Name,
    },
    /// Who changed what in a zone, newest first; answered by [`Done::History`].
    ZoneHistory {
        /// Which zone.
        #[serde(with = "as_text")]
        origin: Name,
        /// Only what touched this owner name.
        #[serde(with = "as_some_text")]
        name: Option<Name>,
        /// So many steps at most.
        limit: u32,
    },
    /// Make a zone what it was at an earlier serial; answered as [`Request::ZoneImport`] is.
    ZoneRollback {
        /// Which zone.
        #[serde(with = "as_text")]
        origin: Name,
        /// The serial.
        to: u32,
        /// Whether it is done, or only shown.
        run: Run,
    },
    /// Answered by [`Done::Vips`].
    VipList,
    /// Make a VIP, or change one with these very addresses; answered by [`Done::Vips`].
    VipAdd {
        /// Its addresses; several move together.
        #[serde(with = "as_texts")]
        addresses: Vec<VipAddress>,
        /// The peer that is to hold it while it can.
        prefer: Option<String>,
        /// How much of a peer's capacity it takes.
        weight: u16,
    },
    /// Answered by [`Done::Vips`].
    VipRemove {
        /// Any address of the VIP.
        address: IpAddr,
    },
    /// Let a peer, or one VIP's holder, hand over; answered by [`Done::Vips`].
    VipDrain {
        /// Which.
        what: VipTarget,
    },
    /// Let a peer hold VIPs again, or let any peer hold a VIP again; answered by [`Done::Vips`].
    VipResume {
        /// Which.
        what: VipTarget,
    },
    /// Who would hold what if these peers failed; answered by [`Done::VipsIf`].
    VipSimulate {
        /// The peers, by name or id.
        #[serde(with = "as_texts")]
        failed: Vec<PeerRef>,
    },
    /// How far a rollover of the secrets of cookies has come; answered by [`Done::Cookies`].
    CookieShow,
    /// Take its next step; answered by [`Done::Cookies`].
    CookieRollover {
        /// What to do if it is too early.
        obstacles: Obstacles,
    },
    /// Answered by [`Done::Keys`].
    KeyList,
    /// Answered by [`Done::Key`].
    KeyShow {
        /// Which.
        #[serde(with = "as_text")]
        name: Name,
    },
    /// Make a key; answered by [`Done::Key`].
    KeyAdd {
        /// What it is.
        key: KeySpec,
        /// What becomes of another key with its name.
        in_use: KeyInUse,
    },
    /// Answered by [`Done::KeyRemoved`].
    KeyRemove {
        /// Which.
        #[serde(with = "as_text")]
        name: Name,
    },
    /// Answered by [`Done::Rules`].
    PolicyList {
        /// Of this zone, those of all zones with them; none: all.
        #[serde(with = "as_some_text")]
        zone: Option<Name>,
    },
    /// Make a rule; answered by [`Done::Granted`].
    PolicyGrant(Box<RuleRow>),
    /// Take a rule away; answered by [`Done::Revoked`].
    PolicyRevoke(Box<RuleRow>),
    /// Whether somebody may; answered by [`Done::Permission`].
    PolicyTest {
        /// The zone.
        #[serde(with = "as_text")]
        zone: Name,
        /// Who.
        sender: SenderSpec,
        /// May what.
        action: TestedAction,
    },
    /// What an update would do; answered by [`Done::Tried`].
    UpdateTry {
        /// The message in base64.
        message: String,
        /// Who would send it; none: an operator, whom policy does not hold to anything.
        sender: Option<SenderSpec>,
    },
    /// The zone that would answer for a name; answered by [`Done::ZoneOf`].
    ZoneOf {
        /// The name.
        #[serde(with = "as_text")]
        name: Name,
    },
    /// Stop the daemon cleanly; answered by [`Done::Stopping`].
    Stop,
}

/// What becomes of a zone of ours that is to come from a primary.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ours {
    /// It stays, and nothing is done.
    Stays,
    /// What the primary has takes its place.
    Goes,
}

/// What is fetched from a primary.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fetch {
    /// What is newer.
    Newer,
    /// The whole zone, even if its serial is behind.
    Whole,
}

/// Who would send a request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SenderSpec {
    /// The key that it is signed with.
    #[serde(with = "as_some_text")]
    pub key: Option<Name>,
    /// From where it comes.
    pub address: IpAddr,
    /// By what.
    pub by: Carrier,
}

/// By what a request comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Carrier {
    /// UDP, by which any address can be feigned.
    Udp,
    /// A connection.
    Connection,
}

/// What is tested that is no update.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TestedAction {
    /// Zone transfers.
    Transfer,
    /// Words that the zone has changed.
    Notify,
}

/// A key that is to be made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeySpec {
    /// Its name.
    #[serde(with = "as_text")]
    pub name: Name,
    /// By what it signs.
    #[serde(with = "as_text")]
    pub algorithm: Method,
    /// Its secret; none: the daemon makes one.
    pub secret: Option<SecretText>,
}

/// A secret in base64. Its debug text does not show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretText(pub String);

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText")
    }
}

/// What becomes of a key whose name another one is to have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyInUse {
    /// It stays, and nothing is done.
    Refused,
    /// The new one takes its place.
    Replaced,
}

/// Whether a command is carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Run {
    /// It is.
    Real,
    /// Nothing is changed; what would be is told as [`Reply::Text`], one line or more each.
    Dry,
}

/// What is drained or resumed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VipTarget {
    /// The peer that is asked.
    ThisPeer,
    /// A peer, by name or id.
    Peer(#[serde(with = "as_text")] PeerRef),
    /// A VIP, by any of its addresses.
    Address(IpAddr),
}

/// Whether a change of the membership may go without a majority of the members.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Majority {
    /// More than half of the members must settle it.
    Needed,
    /// The operator vouches that the missing members are off.
    Forced,
}

/// How a zone is imported.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manner {
    /// Whether it is done, or only shown.
    pub run: Run,
    /// What becomes of what others change in the zone before it is done.
    pub meanwhile: Meanwhile,
    /// What to do if the cluster has no majority, or the zone loses its signatures.
    pub obstacles: Obstacles,
}

impl Manner {
    /// That of an import without options.
    pub const PLAIN: Self = Self {
        run: Run::Real,
        meanwhile: Meanwhile::Stays,
        obstacles: Obstacles::Heeded,
    };
}

/// What becomes of what others change in a zone while it is imported.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Meanwhile {
    /// It stays, or the import is refused.
    Stays,
    /// The zone becomes what its file says, whatever came in between.
    Goes,
}

/// What to do about what a step should wait for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Obstacles {
    /// Do nothing, and say what it is.
    Heeded,
    /// Take the step all the same.
    Ignored,
}

/// Which version of a zone is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Version {
    /// What is in final order.
    Settled,
    /// What queries see.
    Now,
}

/// A line that follows a [`Request::ZoneImport`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UploadLine {
    /// At most [`CHUNK_SIZE_MAX`] bytes of records in base64: uncompressed wire format (owner
    /// name, type, class, TTL, length, RDATA; RFC 1035 section 3.2.1), one after the other. A
    /// chunk may end anywhere.
    Chunk(String),
    /// All records are here.
    Commit,
}

/// What the daemon says.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// How far a long command has come; more follows.
    Progress(Progress),
    /// A part of an export or of a difference; more follows.
    Text(String),
    /// The command is done.
    Done(Done),
    /// Nothing was done, and why: one sentence for the operator.
    Refused(String),
}

/// How far a long command has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Progress {
    /// What is being done.
    pub step: Step,
    /// How much of it is done.
    pub done: u64,
    /// How much there is.
    pub total: u64,
}

/// What a long command is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// The client reads and sends records; counted in records.
    Uploading,
    /// The records are checked and built into a version; counted in records.
    Building,
    /// The blob goes to the store; counted in bytes.
    Storing,
    /// The other members fetch it and settle the entry; counted in members.
    Settling,
}

/// Whether the members that settle together with a peer hold the majority.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// They do: what they settle is published.
    Publishes,
    /// They do not: serials and transfers stand still here.
    IsSilent,
}

/// The result of a command that was carried out.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Done {
    /// The state of the peer.
    Status(Box<Status>),
    /// The members.
    Peers(Vec<Member>),
    /// A token.
    Invited {
        /// One line of text for `--join`.
        token: String,
        /// How long it is good.
        #[serde(with = "as_seconds", rename = "expires_seconds")]
        expires: Duration,
    },
    /// The member that was evicted.
    Evicted(Member),
    /// The links.
    Links(Vec<Link>),
    /// The zones, in canonical order.
    Zones(Vec<Zone>),
    /// The zone is settled: every member of the settling view serves it.
    Imported(Zone),
    /// The zone is as its file says, and that is settled; or what would be changed, or that nothing
    /// differs.
    Reloaded(Reload),
    /// The settings of the zone are these, and that is settled.
    Set {
        /// Which zone.
        #[serde(with = "as_text")]
        origin: Name,
        /// Its settings: `KEY=VALUE` each.
        settings: Vec<String>,
    },
    /// A primary of the zone answered, and what it has is served, and settled.
    Fetched(Zone),
    /// The zone is ours, and that is settled.
    Adopted(Zone),
    /// What was published, newest first.
    History(Vec<HistoryStep>),
    /// The export is complete; its version had this serial.
    Exported {
        /// The serial.
        serial: u32,
        /// Whether secondaries may come to see it.
        side: Side,
    },
    /// The VIPs as they are now.
    Vips(Vips),
    /// Where the VIPs would be.
    VipsIf(Vec<VipGoal>),
    /// How far a rollover has come.
    Cookies(Cookies),
    /// The keys, in canonical order of their names.
    Keys(Vec<KeyRow>),
    /// A key, which is settled: every member of the settling view knows it.
    Key(KeyDetail),
    /// The key is gone, and that is settled.
    KeyRemoved {
        /// Which.
        #[serde(with = "as_text")]
        name: Name,
    },
    /// Rules, those of all zones first.
    Rules(Vec<RuleRow>),
    /// The rule is there, and that is settled.
    Granted(RuleRow),
    /// The rule is gone, and that is settled.
    Revoked(RuleRow),
    /// Whether somebody may.
    Permission {
        /// Whether.
        is_allowed: bool,
        /// The rules that say something of it.
        rules: Vec<RuleRow>,
    },
    /// What an update would do.
    Tried(Box<Trial>),
    /// The zone that would answer for a name.
    ZoneOf {
        /// Its apex.
        #[serde(with = "as_text")]
        origin: Name,
    },
    /// The zone in detail.
    Zone(Box<ZoneDetail>),
    /// The zone is gone, and that is settled.
    Removed {
        /// Which zone.
        #[serde(with = "as_text")]
        origin: Name,
    },
    /// The daemon stops.
    Stopping,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_plain_json() {
        let check = |request: Request, line: &str| {
            assert_eq!(serde_json::to_string(&request).unwrap(), line);
            assert_eq!(serde_json::from_str::<Request>(line).unwrap(), request);
        };
        check(Request::Status, r#"{"command":"status"}"#);
        check(
            Request::Invite {
                expires: INVITE_EXPIRES,
                majority: Majority::Needed,
            },
            r#"{"command":"invite","expires_seconds":3600.0,"majority":"needed"}"#,
        );
        check(
            Request::Evict {
                peer: "ns2".parse().unwrap(),
                majority: Majority::Forced,
            },
            r#"{"command":"evict","peer":"ns2","majority":"forced"}"#,
        );
        check(
            Request::ZoneExport {
                origin: "example.test".parse().unwrap(),
                version: Version::Now,
            },
            r#"{"command":"zone-export","origin":"example.test.","version":"now"}"#,
        );
        let row = RuleRow {
            zone: "*".parse().unwrap(),
            rule: "transfer key k".parse().unwrap(),
        };
        check(
            Request::PolicyGrant(Box::new(row)),
            r#"{"command":"policy-grant","zone":"*","rule":"transfer key k."}"#,
        );
        check(
            Request::CookieRollover {
                obstacles: Obstacles::Ignored,
            },
            r#"{"command":"cookie-rollover","obstacles":"ignored"}"#,
        );
    }

    #[test]
    fn what_is_no_request_is_an_error() {
        for line in [
            r#"{"command":"policy-grant","zone":"*","rule":"update"}"#,
            "",
            "{}",
            r#"{"command":"reboot"}"#,
            r#"{"command":"zone-remove"}"#,
            r#"{"command":"zone-remove","origin":"a..b"}"#,
            r#"{"command":"evict","peer":"","majority":"forced"}"#,
            r#"{"command":"invite","expires_seconds":-1.0,"majority":"needed"}"#,
        ] {
            assert!(serde_json::from_str::<Request>(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_full_chunk_fits_a_line() {
        let text = data_encoding::BASE64.encode(&[0xff; CHUNK_SIZE_MAX]);
        let line = serde_json::to_string(&UploadLine::Chunk(text)).unwrap();
        assert!(line.len() < LINE_SIZE_MAX);
    }
}
