//! What Prometheus reads: every family with its help, and the text form.
//!
//! The names are a promise to dashboards: they stand in one table, [`FAMILIES`].

use crate::status::{Link, LinkStage, MemberState, Status, Zone, ZoneSource};
use std::fmt::Write;

/// Version of the text form, as its content type.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A kind of number, with the name under which it is read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Family {
    /// See [`FAMILIES`], here and below.
    Current,
    /// Seconds of this life.
    Uptime,
    /// Members by state.
    Members,
    /// Zones served.
    Zones,
    /// Records served.
    ZoneRecords,
    /// Published serial.
    ZoneSerial,
    /// Whether the primaries of a zone have been silent for too long.
    ZoneExpired,
    /// Entries since the checkpoint.
    LogEntries,
    /// Bytes since the checkpoint.
    LogSize,
    /// Entries not settled.
    Tentative,
    /// Wall time of the settled mark.
    Settled,
    /// Wall time of the stable mark.
    Stable,
    /// Wall time of the published mark.
    Published,
    /// How long publishing lags.
    PublishedLag,
    /// Length of a queue.
    QueueLength,
    /// Limit of a queue.
    QueueLimit,
    /// Turned away by a queue.
    QueueRefused,
    /// Links by neighbor.
    LinkUp,
    /// Round-trip time.
    LinkRtt,
    /// Loss.
    LinkLoss,
    /// Packets sent.
    LinkSent,
    /// Packets sent again.
    LinkResent,
    /// Requests by opcode.
    Requests,
    /// Responses by RCODE.
    Responses,
    /// What listeners count beside.
    DnsEvents,
    /// What the overlay drops.
    OverlayEvents,
    /// What the replica counts.
    ReplicationEvents,
    /// VIPs announced here.
    VipsHeld,
    /// VIPs that nobody can hold.
    VipsUncovered,
    /// For how long, times how many.
    VipUncoveredTime,
    /// What happened to VIPs.
    VipEvents,
    /// Messages that tell servers outside of changes.
    NotifyEvents,
    /// Memory that steps of what was published take.
    HistorySize,
}

/// Whether a number only grows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Only grows during a life.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// A family's name, kind, labels and help.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Description {
    /// Which it is.
    pub family: Family,
    /// Its name.
    pub name: &'static str,
    /// Whether it only grows.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

/// All families, in the order of the page.
pub const FAMILIES: &[Description] = &[
    gauge(
        Family::Current,
        "zonecast_serving_current_data",
        &[],
        "1 if what others have settled is served here too.",
    ),
    gauge(
        Family::Uptime,
        "zonecast_uptime_seconds",
        &[],
        "Time since the start of the daemon.",
    ),
    gauge(
        Family::Members,
        "zonecast_members",
        &["state"],
        "Members of the cluster by state, this peer too.",
    ),
    gauge(
        Family::Zones,
        "zonecast_zones",
        &[],
        "Zones that are served.",
    ),
    gauge(
        Family::ZoneRecords,
        "zonecast_zone_records",
        &["zone"],
        "Records of the version that queries see.",
    ),
    gauge(
        Family::ZoneSerial,
        "zonecast_zone_serial",
        &["zone"],
        "The published serial.",
    ),
    gauge(
        Family::ZoneExpired,
        "zonecast_zone_expired",
        &["zone"],
        "1 if no primary of the zone has answered for as long as its SOA allows; zones of primaries only.",
    ),
    gauge(
        Family::LogEntries,
        "zonecast_log_entries",
        &[],
        "Entries since the checkpoint.",
    ),
    gauge(
        Family::LogSize,
        "zonecast_log_bytes",
        &[],
        "Size of the entries since the checkpoint.",
    ),
    gauge(
        Family::Tentative,
        "zonecast_tentative_entries",
        &[],
        "Entries that are served but not settled.",
    ),
    gauge(
        Family::Settled,
        "zonecast_settled_timestamp_seconds",
        &[],
        "Wall time of the settled mark.",
    ),
    gauge(
        Family::Stable,
        "zonecast_stable_timestamp_seconds",
        &[],
        "Wall time of the stable mark.",
    ),
    gauge(
        Family::Published,
        "zonecast_published_timestamp_seconds",
        &[],
        "Wall time of the published mark; it rests while nothing changes.",
    ),
    gauge(
        Family::PublishedLag,
        "zonecast_published_lag_seconds",
        &[],
        "How long the oldest settled entry has waited to be published.",
    ),
    gauge(
        Family::QueueLength,
        "zonecast_queue_length",
        &["queue"],
        "What waits in a queue.",
    ),
    gauge(
        Family::QueueLimit,
        "zonecast_queue_limit",
        &["queue"],
        "What may wait in a queue.",
    ),
    counter(
        Family::QueueRefused,
        "zonecast_queue_refused_total",
        &["queue"],
        "What was turned away by a full queue.",
    ),
    gauge(
        Family::LinkUp,
        "zonecast_link_up",
        &["neighbor"],
        "1 if packets pass over the link.",
    ),
    gauge(
        Family::LinkRtt,
        "zonecast_link_rtt_seconds",
        &["neighbor"],
        "Smoothed round-trip time.",
    ),
    gauge(
        Family::LinkLoss,
        "zonecast_link_loss_ratio",
        &["neighbor"],
        "Lost heartbeats of all.",
    ),
    counter(
        Family::LinkSent,
        "zonecast_link_packets_sent_total",
        &["neighbor"],
        "Packets sent over the link.",
    ),
    counter(
        Family::LinkResent,
        "zonecast_link_packets_resent_total",
        &["neighbor"],
        "Packets sent again over the link.",
    ),
    counter(
        Family::Requests,
        "zonecast_dns_requests_total",
        &["opcode"],
        "DNS requests by opcode.",
    ),
    counter(
        Family::Responses,
        "zonecast_dns_responses_total",
        &["rcode"],
        "DNS responses by RCODE.",
    ),
    counter(
        Family::DnsEvents,
        "zonecast_dns_events_total",
        &["event"],
        "What DNS listeners count beside.",
    ),
    counter(
        Family::OverlayEvents,
        "zonecast_overlay_events_total",
        &["event"],
        "What the overlay dropped or refused, and why.",
    ),
    counter(
        Family::ReplicationEvents,
        "zonecast_replication_events_total",
        &["event"],
        "What the replica dropped or refused, and why.",
    ),
    gauge(
        Family::VipsHeld,
        "zonecast_vips_held",
        &[],
        "Virtual addresses that this peer announces.",
    ),
    gauge(
        Family::VipsUncovered,
        "zonecast_vips_uncovered",
        &[],
        "Virtual addresses that no peer in reach can hold.",
    ),
    counter(
        Family::VipUncoveredTime,
        "zonecast_vip_uncovered_seconds_total",
        &[],
        "For how long there were such, times how many.",
    ),
    counter(
        Family::VipEvents,
        "zonecast_vip_events_total",
        &["event"],
        "What happened to virtual addresses, as this peer saw it.",
    ),
    counter(
        Family::NotifyEvents,
        "zonecast_notify_events_total",
        &["event"],
        "Messages that tell servers outside of changes of zones.",
    ),
    gauge(
        Family::HistorySize,
        "zonecast_history_bytes",
        &[],
        "Memory that steps of what was published take: what IXFR and history reach back to.",
    ),
];

const fn gauge(
    family: Family,
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Description {
    Description {
        family,
        name,
        kind: Kind::Gauge,
        labels,
        help,
    }
}

const fn counter(
    family: Family,
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Description {
    Description {
        family,
        name,
        kind: Kind::Counter,
        labels,
        help,
    }
}

/// The numbers of one moment, without those of each zone.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Page {
    samples: Vec<(Family, Vec<String>, f64)>,
}

impl Page {
    /// The numbers in what a peer says of itself.
    #[must_use]
    pub fn new(status: &Status, links: &[Link]) -> Self {
        let mut page = Self::default();
        let marks = &status.marks;
        for (family, value) in [
            (Family::Current, f64::from(status.health.is_current())),
            (Family::Uptime, status.uptime.as_secs_f64()),
            (Family::Zones, status.zones as f64),
            (Family::LogEntries, status.log.entries as f64),
            (Family::LogSize, status.log.size as f64),
            (Family::Tentative, marks.tentative as f64),
            (Family::Settled, marks.settled.as_secs_f64()),
            (Family::Stable, marks.stable.as_secs_f64()),
            (Family::Published, marks.published.as_secs_f64()),
            (Family::PublishedLag, marks.published_lag.as_secs_f64()),
        ] {
            page.put(family, &[], value);
        }
        for state in [
            MemberState::Settling,
            MemberState::Reachable,
            MemberState::Unreachable,
            MemberState::Excluded,
        ] {
            let count = status.members.iter().filter(|m| m.state == state).count();
            page.put(Family::Members, &[&state.to_string()], count as f64);
        }
        for queue in &status.queues {
            page.put(Family::QueueLength, &[&queue.name], queue.length as f64);
            page.put(Family::QueueLimit, &[&queue.name], queue.limit as f64);
            page.put(Family::QueueRefused, &[&queue.name], queue.refused as f64);
        }
        for link in links {
            let neighbor: &[&str] = &[&link.name];
            page.put(
                Family::LinkUp,
                neighbor,
                f64::from(link.stage == LinkStage::Up),
            );
            if let Some(rtt) = link.rtt {
                page.put(Family::LinkRtt, neighbor, rtt.as_secs_f64());
            }
            page.put(
                Family::LinkLoss,
                neighbor,
                f64::from(link.loss_permille) / 1e3,
            );
            page.put(Family::LinkSent, neighbor, link.sent as f64);
            page.put(Family::LinkResent, neighbor, link.resent as f64);
        }
        page
    }

    /// Adds a number.
    ///
    /// # Panics
    ///
    /// If there are not as many labels as the family has.
    pub fn put(&mut self, family: Family, labels: &[&str], value: f64) {
        assert_eq!(
            labels.len(),
            describe(family).labels.len(),
            "{family:?} has other labels"
        );
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        self.samples.push((family, labels, value));
    }

    /// Adds all numbers of a family that has one label.
    pub fn put_all<'l>(
        &mut self,
        family: Family,
        counts: impl IntoIterator<Item = (&'l str, u64)>,
    ) {
        for (label, count) in counts {
            self.put(family, &[label], count as f64);
        }
    }

    /// The text form, with the numbers of these zones. They are looked at once for each family of
    /// theirs, as there may be very many.
    #[must_use]
    pub fn text<Z: Iterator<Item = Zone>>(&self, zones: impl Fn() -> Z) -> String {
        let mut text = String::new();
        for description in FAMILIES {
            let samples = self.samples.iter();
            let samples = samples.filter(|(family, _, _)| *family == description.family);
            let head = text.len();
            let (name, help) = (description.name, description.help);
            let kind = match description.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
            };
            write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n").expect(INFALLIBLE);
            let body = text.len();
            for (_, values, value) in samples {
                text += name;
                for (i, (label, value)) in description.labels.iter().zip(values).enumerate() {
                    let before = if i == 0 { '{' } else { ',' };
                    write!(text, "{before}{label}=\"{}\"", escaped(value)).expect(INFALLIBLE);
                }
                if !values.is_empty() {
                    text.push('}');
                }
                writeln!(text, " {value}").expect(INFALLIBLE);
            }
            let mut put_zones = |value_of: fn(&Zone) -> Option<f64>| {
                for (value, zone) in zones().filter_map(|zone| Some((value_of(&zone)?, zone))) {
                    let origin = escaped(&zone.origin.to_string());
                    writeln!(text, "{name}{{zone=\"{origin}\"}} {value}").expect(INFALLIBLE);
                }
            };
            match description.family {
                Family::ZoneRecords => put_zones(|zone| Some(zone.records as f64)),
                Family::ZoneSerial => put_zones(|zone| zone.published.map(f64::from)),
                Family::ZoneExpired => put_zones(|zone| match zone.source {
                    ZoneSource::Ours | ZoneSource::Awaited => None,
                    ZoneSource::Primary => Some(0.0),
                    ZoneSource::Expired => Some(1.0),
                }),
                _ => {}
            }
            if text.len() == body {
                text.truncate(head);
            }
        }
        text
    }
}

const INFALLIBLE: &str = "a string takes all text";

fn describe(family: Family) -> &'static Description {
    FAMILIES
        .iter()
        .find(|description| description.family == family)
        .expect("every family has its line")
}

/// A label's value: names of zones hold backslashes.
fn escaped(value: &str) -> String {
    value
        .replace('\\', r"\\")
        .replace('"', "\\\"")
        .replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::status;

    #[test]
    fn names_follow_the_rules_of_prometheus() {
        for (i, description) in FAMILIES.iter().enumerate() {
            assert_eq!(description.family as usize, i, "{}", description.name);
            let name = description.name;
            assert!(name.starts_with("zonecast_"), "{name}");
            assert!(
                name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                "{name}"
            );
            assert_eq!(
                description.kind == Kind::Counter,
                name.ends_with("_total"),
                "{name}"
            );
        }
    }

    #[test]
    fn a_page_has_each_family_once() {
        let zone = Zone {
            origin: r"a\.b\\c.test".parse().unwrap(),
            published: Some(7),
            settled: 8,
            now: 9,
            records: 10,
            source: ZoneSource::Ours,
        };
        let mut page = Page::new(&status(), &[]);
        page.put_all(Family::Responses, [("NOERROR", 3), ("REFUSED", 1)]);
        let text = page.text(|| [zone.clone()].into_iter());
        for expected in [
            "# TYPE zonecast_serving_current_data gauge\nzonecast_serving_current_data 1\n",
            "zonecast_members{state=\"settling\"} 1\nzonecast_members{state=\"reachable\"} 0\n",
            "zonecast_zone_serial{zone=\"a\\\\.b\\\\\\\\c.test.\"} 7\n",
            "# TYPE zonecast_dns_responses_total counter\n\
             zonecast_dns_responses_total{rcode=\"NOERROR\"} 3\n\
             zonecast_dns_responses_total{rcode=\"REFUSED\"} 1\n",
            "zonecast_published_lag_seconds 0.25\n",
        ] {
            assert!(text.contains(expected), "{expected} in\n{text}");
        }
        assert!(!text.contains("zonecast_link_up"));
        let helps = text
            .lines()
            .filter(|line| line.starts_with("# HELP"))
            .count();
        let types = text
            .lines()
            .filter(|line| line.starts_with("# TYPE"))
            .count();
        assert_eq!(helps, types);
    }
}
