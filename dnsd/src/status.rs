//! What a peer says of itself: the data behind `status`, `peers`, `overlay links`, `zone` and `cookie`.

use crate::admin::SecretText;
use crate::config::EncryptedAddresses;
use crate::cookie::Step;
use crate::health::Health;
use crate::policy::{Realm, Rule};
use crate::text::{as_hex, as_seconds, as_some_seconds, as_some_text, as_text, as_texts};
use crate::tsig::{Key, Method, clause};
use data_encoding::BASE64;
use overlay::PeerId;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use zones::Name;

/// The whole state of a peer on one screen.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// The peer's name.
    pub name: String,
    /// Its id.
    #[serde(with = "as_text")]
    pub peer: PeerId,
    /// The cluster's id, in hexadecimal.
    pub cluster: String,
    /// This life of the peer.
    #[serde(with = "as_hex")]
    pub incarnation: u64,
    /// Time since the start of this life.
    #[serde(with = "as_seconds", rename = "uptime_seconds")]
    pub uptime: Duration,
    /// Whether it serves current data, and why not.
    pub health: Health,
    /// Where it listens.
    pub addresses: Addresses,
    /// All members of the cluster, this peer too, by name.
    pub members: Vec<Member>,
    /// Who can be reached.
    pub view: ViewStatus,
    /// Who settles together; none while this peer settles with nobody.
    pub settling_view: Option<ViewStatus>,
    /// How far the log has come.
    pub marks: Marks,
    /// How many zones are served.
    pub zones: u64,
    /// What the log holds.
    pub log: LogStatus,
    /// Every bounded queue.
    pub queues: Vec<Queue>,
    /// What an operator should look at, in whole sentences.
    pub warnings: Vec<String>,
}

/// The secrets of DNS cookies, which are not told.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Cookies {
    /// How far a rollover has come; none: there is no secret.
    pub step: Option<Step>,
    /// How long ago that step was taken.
    #[serde(with = "as_some_seconds", rename = "since_seconds")]
    pub since: Option<Duration>,
    /// What the next step waits for.
    pub waits_for: Option<String>,
}

/// A key, without its secret.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeyRow {
    /// Its name.
    #[serde(with = "as_text")]
    pub name: Name,
    /// By what it signs.
    #[serde(with = "as_text")]
    pub algorithm: Method,
}

/// A key with its secret.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeyDetail {
    /// Its name.
    #[serde(with = "as_text")]
    pub name: Name,
    /// By what it signs.
    #[serde(with = "as_text")]
    pub algorithm: Method,
    /// The secret.
    pub secret: SecretText,
}

impl KeyDetail {
    /// All of a key.
    #[must_use]
    pub fn of(key: &Key) -> Self {
        Self {
            name: key.name.clone(),
            algorithm: key.method,
            secret: SecretText(BASE64.encode(key.secret.as_bytes())),
        }
    }

    /// What may be seen by all.
    #[must_use]
    pub fn without_secret(&self) -> KeyRow {
        KeyRow {
            name: self.name.clone(),
            algorithm: self.algorithm,
        }
    }

    /// The clause that nsupdate and others read.
    #[must_use]
    pub fn clause(&self) -> String {
        self.key()
            .map_or_else(String::new, |key| clause::print(&key))
    }

    /// Whether the secret is too short for its method.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.key().is_some_and(|key| key.is_short())
    }

    fn key(&self) -> Option<Key> {
        Some(Key {
            name: self.name.clone(),
            method: self.algorithm,
            secret: clause::secret_of(&self.secret.0)?,
        })
    }
}

/// Where a peer listens.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Addresses {
    /// DNS over UDP and TCP.
    pub dns: Vec<SocketAddr>,
    /// DNS over TLS, HTTPS and QUIC.
    #[serde(flatten)]
    pub encrypted: EncryptedAddresses,
    /// Links to other peers.
    pub peer: Option<SocketAddr>,
    /// What other peers are told to dial.
    pub advertised: Vec<SocketAddr>,
    /// Metrics and health.
    pub metrics: Option<SocketAddr>,
}

/// A view's id, number and members.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ViewStatus {
    /// Its id.
    #[serde(with = "as_hex")]
    pub id: u64,
    /// The round or attempt in which it was agreed.
    pub number: u64,
    /// Its members, in order of their ids.
    #[serde(with = "as_texts")]
    pub members: Vec<PeerId>,
}

/// One member of the cluster, as the peer that is asked sees it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Member {
    /// Its id.
    #[serde(with = "as_text")]
    pub peer: PeerId,
    /// Its name.
    pub name: String,
    /// Where it can be dialed.
    pub addresses: Vec<SocketAddr>,
    /// What it takes part in now.
    pub state: MemberState,
}

/// What a member takes part in now.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemberState {
    /// In the settling view: holds and settles everything.
    Settling,
    /// In the view only: serves queries, catches up or has trouble with its disk.
    Reachable,
    /// Not in the view.
    Unreachable,
    /// An eviction of it is held but not settled.
    Excluded,
}

impl fmt::Display for MemberState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Settling => "settling",
            Self::Reachable => "reachable",
            Self::Unreachable => "unreachable",
            Self::Excluded => "excluded",
        })
    }
}

/// How far the log has come; wall times since the Unix epoch, none before the first entry.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Marks {
    /// Entries that are served but not settled.
    pub tentative: u64,
    /// Durable at every member of the settling view, in final order there.
    #[serde(with = "as_seconds", rename = "settled_seconds")]
    pub settled: Duration,
    /// Settled in a view that holds every member.
    #[serde(with = "as_seconds", rename = "stable_seconds")]
    pub stable: Duration,
    /// What zone transfers and SOA serials speak of. It rests while nothing changes: whether it is
    /// late, the next field says.
    #[serde(with = "as_seconds", rename = "published_seconds")]
    pub published: Duration,
    /// How long the oldest settled entry that is not published has waited; zero if there is none.
    #[serde(with = "as_seconds", rename = "published_lag_seconds")]
    pub published_lag: Duration,
}

/// What the log holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LogStatus {
    /// Entries since the checkpoint.
    pub entries: u64,
    /// Their size in bytes.
    pub size: u64,
}

/// One bounded queue.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Queue {
    /// What waits in it.
    pub name: String,
    /// How many wait now.
    pub length: u64,
    /// How many may wait.
    pub limit: u64,
    /// How many were turned away because it was full.
    pub refused: u64,
}

/// One link to a neighbor.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Link {
    /// The neighbor's id.
    #[serde(with = "as_text")]
    pub neighbor: PeerId,
    /// Its name.
    pub name: String,
    /// The address at the other end.
    pub address: Option<SocketAddr>,
    /// How far the link has come.
    pub stage: LinkStage,
    /// For how long it has been at this stage.
    #[serde(with = "as_seconds", rename = "since_seconds")]
    pub since: Duration,
    /// Smoothed round-trip time; none before the first measurement.
    #[serde(with = "as_some_seconds", rename = "rtt_seconds")]
    pub rtt: Option<Duration>,
    /// Lost heartbeats of a thousand.
    pub loss_permille: u16,
    /// Packets sent.
    pub sent: u64,
    /// Packets sent again.
    pub resent: u64,
}

/// How far a link has come (overlay protocol section 4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkStage {
    /// Nothing is heard.
    Down,
    /// Heartbeats are heard.
    Heard,
    /// Packets pass.
    Up,
}

impl fmt::Display for LinkStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Down => "down",
            Self::Heard => "heard",
            Self::Up => "up",
        })
    }
}

/// One zone in a list.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Zone {
    /// Its apex.
    #[serde(with = "as_text")]
    pub origin: Name,
    /// The serial that zone transfers and SOA responses show; none before the first publishing.
    pub published: Option<u32>,
    /// The serial of the settled version.
    pub settled: u32,
    /// The serial of the version that queries see.
    pub now: u32,
    /// Records in the version that queries see.
    pub records: u64,
    /// Where its content comes from.
    pub source: ZoneSource,
}

/// Where the content of a zone comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ZoneSource {
    /// From updates and imports at the peers.
    Ours,
    /// From a primary.
    Primary,
    /// From a primary that has not answered for too long: queries get SERVFAIL.
    Expired,
    /// From a primary that has not given any yet.
    Awaited,
}

impl fmt::Display for ZoneSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ours => "ours",
            Self::Primary => "primary",
            Self::Expired => "expired",
            Self::Awaited => "awaited",
        })
    }
}

/// What another import of a zone changes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reload {
    /// The zone's apex.
    #[serde(with = "as_text")]
    pub origin: Name,
    /// Its serial before; none if there is no such zone.
    pub before: Option<u32>,
    /// Its serial after; the same if there is no difference.
    pub after: u32,
    /// The serial in the file.
    pub wanted: u32,
    /// Records that come, one with another TTL too.
    pub added: u64,
    /// Records that go, one with another TTL too.
    pub removed: u64,
    /// RRsets that differ, or come or go as a whole.
    pub rrsets: u64,
}

impl Reload {
    /// True if anything changes, if only the serial.
    #[must_use]
    pub fn is_change(&self) -> bool {
        self.rrsets > 0 || self.before != Some(self.after)
    }
}

/// One zone in detail.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ZoneDetail {
    /// What the list says of it.
    pub zone: Zone,
    /// The RDATA of its SOA in zone file text.
    pub soa: String,
    /// When the first of its signatures expires, since 1970; none if there are none.
    #[serde(with = "as_some_seconds", rename = "signatures_expire_seconds")]
    pub signatures_expire: Option<Duration>,
    /// Owner names.
    pub names: u64,
    /// Records by type, by mnemonic.
    pub records_by_type: Vec<(String, u64)>,
    /// Who may update, transfer and notify: the rules of all zones, and those of this one.
    pub rules: Vec<RuleRow>,
    /// Who is told of its changes.
    pub notified: Vec<NotifyRow>,
    /// Where it stands, if it comes from a primary.
    pub feed: Option<FeedRow>,
}

/// Where a zone that comes from a primary stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FeedRow {
    /// The servers that it comes from, with commas between.
    pub primaries: String,
    /// The peer that asks them; none while nobody does.
    pub asker: Option<String>,
    /// How long ago one of them answered, as far as the peer that is asked knows.
    #[serde(with = "as_seconds", rename = "answered_ago_seconds")]
    pub answered_ago: Duration,
    /// For how long the content is good if none answers any more.
    #[serde(with = "as_some_seconds", rename = "expires_in_seconds")]
    pub expires_in: Option<Duration>,
    /// When the peer that is asked asks them, if it does.
    #[serde(with = "as_some_seconds", rename = "asked_in_seconds")]
    pub asked_in: Option<Duration>,
    /// Whether its content is not good any more.
    pub is_expired: bool,
    /// Why the last attempt of the peer that is asked came to nothing.
    pub failure: Option<String>,
}

/// One rule of the policy.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RuleRow {
    /// The zone that it is for, or `*` for all.
    #[serde(with = "as_text")]
    pub zone: Realm,
    /// What it says, in the words of `dnsd policy grant`.
    #[serde(with = "as_text")]
    pub rule: Rule,
}

impl RuleRow {
    /// The row of a rule.
    #[must_use]
    pub fn new(zone: &Realm, rule: &Rule) -> Self {
        Self {
            zone: zone.clone(),
            rule: rule.clone(),
        }
    }
}

/// A server that is told of the changes of a zone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NotifyRow {
    /// Where, and by which key.
    pub target: String,
    /// The peer that tells it; none while nobody does.
    pub teller: Option<String>,
    /// The last serial that it has acknowledged to the peer that is asked: the teller knows more.
    pub acknowledged: Option<u32>,
    /// The error with which it answered instead.
    pub refused: Option<String>,
}

/// One step of what was published of a zone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HistoryStep {
    /// The serial before.
    pub before: u32,
    /// The serial after.
    pub after: u32,
    /// When its author took it, since 1970.
    #[serde(with = "as_seconds", rename = "at_seconds")]
    pub at: Duration,
    /// What it was.
    pub what: HistoryWhat,
    /// Who sent it, if it was an update.
    pub source: Option<IpAddr>,
    /// The key that it was signed with.
    #[serde(with = "as_some_text")]
    pub key: Option<Name>,
    /// The serial that was gone back to, if it was a rollback.
    pub to: Option<u32>,
    /// The peer that took it: its name, or its id if it is no member any more. None if it is several
    /// entries.
    pub peer: Option<String>,
    /// Records that went, in zone file text.
    pub removed: Vec<String>,
    /// Records that came.
    pub added: Vec<String>,
    /// Records that went or came and are not listed, because there are too many.
    pub unlisted: u64,
    /// Whether its records are known at all, so that it can be undone.
    pub is_known: bool,
}

/// What a step was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HistoryWhat {
    /// An RFC 2136 UPDATE.
    Update,
    /// An import.
    Import,
    /// The zone was removed.
    Remove,
    /// A rollback.
    Rollback,
    /// Leases of records had ended.
    Expire,
    /// Zones came or went: the zone is a catalog.
    Catalog,
    /// The zone is fed: its primary had something newer.
    Transfer,
    /// A fed zone became ours.
    Adopt,
    /// Several entries that came together when other peers came back into reach.
    Several,
}

/// The warning of a cluster whose settling view is no majority; none if there is one.
///
/// Replication protocol section 10: a peer publishes only while its settling view holds more than
/// half of the members.
#[must_use]
pub fn publishing_warning(members: usize, settling: usize) -> Option<String> {
    if settling * 2 > members {
        return None;
    }
    let ways_out = if members == 2 {
        "Bring the other one back, or add a third peer (any small machine; `--listen none` if it \
         shall only hold the log), or remove the dead one for good with `dnsd evict PEER --force`."
    } else {
        "Bring the others back, or remove those that are dead for good with \
         `dnsd evict PEER --force`."
    };
    Some(format!(
        "Publishing stands still: {settling} of {members} members settle together, and more than \
         half is needed. Queries and updates go on; zone transfers and serials wait. {ways_out}"
    ))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::health::Phase;

    /// A healthy cluster of one.
    pub(crate) fn status() -> Status {
        let peer = PeerId([1; 8]);
        let address = "127.0.0.1:5353".parse().unwrap();
        let view = ViewStatus {
            id: u64::MAX,
            number: 1,
            members: vec![peer],
        };
        Status {
            name: "ns1".to_owned(),
            peer,
            cluster: "00".repeat(16),
            incarnation: 1 << 63,
            uptime: Duration::from_millis(61_500),
            health: Health {
                phase: Phase::Serving,
                reasons: Vec::new(),
            },
            addresses: Addresses {
                dns: vec![address],
                ..Addresses::default()
            },
            members: vec![Member {
                peer,
                name: "ns1".to_owned(),
                addresses: vec![address],
                state: MemberState::Settling,
            }],
            settling_view: Some(view.clone()),
            view,
            marks: Marks {
                settled: Duration::from_secs(1_795_528_800),
                published_lag: Duration::from_millis(250),
                ..Marks::default()
            },
            zones: 2,
            log: LogStatus {
                entries: 3,
                size: 4_096,
            },
            queues: vec![Queue {
                name: "updates".to_owned(),
                length: 0,
                limit: 1_000,
                refused: 5,
            }],
            warnings: publishing_warning(2, 1).into_iter().collect(),
        }
    }

    #[test]
    fn a_status_reads_back_and_keeps_its_ids_exact() {
        let text = serde_json::to_string(&status()).unwrap();
        assert_eq!(serde_json::from_str::<Status>(&text).unwrap(), status());
        assert!(
            text.contains(r#""incarnation":"8000000000000000""#),
            "{text}"
        );
        assert!(text.contains(r#""uptime_seconds":61.5"#), "{text}");
    }

    #[test]
    fn publishing_needs_more_than_half() {
        let check = |members, settling, expected| {
            assert_eq!(
                publishing_warning(members, settling).is_none(),
                expected,
                "{settling} of {members}"
            );
        };
        check(1, 1, true);
        check(2, 2, true);
        check(2, 1, false);
        check(3, 2, true);
        check(3, 1, false);
        check(4, 2, false);
        assert!(publishing_warning(2, 1).unwrap().contains("--listen none"));
    }
}
