//! `dnsd status`.

use super::output::{Output, table};
use super::{Failure, ask, peer, unknown};
use crate::admin::{Done, Request};
use crate::io::admin_client::wait_until_current;
use crate::status::{Status, ViewStatus};
use crate::time_text::{parse_span, span, utc};
use clap::Args;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Wait until the peer serves current data, also if it has yet to start; exit 1 after this
    /// long [default: 60s]
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true,
          default_missing_value = "60s", value_parser = read_span)]
    wait: Option<Duration>,
}

pub(super) const EXAMPLES: &str = "\
Examples:
  dnsd status
  dnsd status --wait                   until it serves current data, a minute at most
  dnsd status --format json | jq .health";

pub(super) fn read_span(text: &str) -> Result<Duration, String> {
    parse_span(text).ok_or_else(|| {
        format!("found {text:?}, expected a length of time, such as 90s, 15m, 1h or 7d")
    })
}

pub(super) fn run(args: &StatusArgs, socket: &Path, out: &mut Output<'_>) -> Result<(), Failure> {
    let status = match args.wait {
        Some(patience) => wait_until_current(socket, patience)?,
        None => match ask(socket, &Request::Status)? {
            Done::Status(status) => *status,
            other => return Err(unknown(&other)),
        },
    };
    out.data(&status, text)
}

fn text(status: &Status) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        writeln!(text, "{name:12} {value}").expect("a string takes all text");
    };
    let health = &status.health;
    line("peer", &format!("{} ({})", status.name, status.peer));
    let current = if health.is_current() { "yes" } else { "NO" };
    line("current data", &format!("{current} ({})", health.phase));
    for reason in &health.reasons {
        line("", reason);
    }
    line("up", &span(status.uptime));
    line("cluster", &status.cluster);
    line("incarnation", &format!("{:016x}", status.incarnation));
    line(
        "DNS",
        &list(&status.addresses.dns, "none: this peer only holds the log"),
    );
    let encrypted = &status.addresses.encrypted;
    for (name, addresses) in [
        ("over TLS", &encrypted.tls),
        ("over HTTPS", &encrypted.https),
        ("over QUIC", &encrypted.quic),
    ] {
        if !addresses.is_empty() {
            line(name, &list(addresses, ""));
        }
    }
    if let Some(address) = status.addresses.peer {
        let advertised = &status.addresses.advertised;
        let as_others = if advertised.is_empty() || advertised[..] == [address] {
            String::new()
        } else {
            format!(", others dial {}", list(advertised, ""))
        };
        line("links", &format!("{address}{as_others}"));
    }
    if let Some(address) = status.addresses.metrics {
        line("metrics", &format!("http://{address}/metrics"));
    }
    line("view", &view_text(&status.view, status));
    match &status.settling_view {
        Some(view) => line("settling", &view_text(view, status)),
        None => line("settling", "with nobody"),
    }
    let marks = &status.marks;
    let mark = |wall: Duration| {
        if wall.is_zero() {
            "nothing yet".to_owned()
        } else {
            utc(wall)
        }
    };
    line(
        "settled",
        &format!(
            "{}, {} entries behind it",
            mark(marks.settled),
            marks.tentative
        ),
    );
    line("stable", &mark(marks.stable));
    // The published mark rests while nothing changes: alone it would look late.
    let published = if !marks.published_lag.is_zero() {
        let lag = span(marks.published_lag);
        format!("{}, lags {lag}", mark(marks.published))
    } else if marks.published < marks.settled && !marks.published.is_zero() {
        format!("{}, nothing has changed since", mark(marks.published))
    } else {
        mark(marks.published)
    };
    line("published", &published);
    line("zones", &status.zones.to_string());
    line(
        "log",
        &format!("{} entries, {} bytes", status.log.entries, status.log.size),
    );
    for warning in &status.warnings {
        line("WARNING", warning);
    }
    text.push('\n');
    text += &peer::members_text(&status.members);
    if !status.queues.is_empty() {
        let rows: Vec<Vec<String>> = status
            .queues
            .iter()
            .map(|queue| {
                vec![
                    queue.name.clone(),
                    queue.length.to_string(),
                    queue.limit.to_string(),
                    queue.refused.to_string(),
                ]
            })
            .collect();
        text.push('\n');
        text += &table(&["QUEUE", "LENGTH", "LIMIT", "REFUSED"], &rows);
    }
    text
}

fn view_text(view: &ViewStatus, status: &Status) -> String {
    let names: Vec<&str> = view
        .members
        .iter()
        .map(|id| {
            let member = status.members.iter().find(|member| member.peer == *id);
            member.map_or("a peer that is no member yet", |member| &member.name)
        })
        .collect();
    format!(
        "{} (number {}, {:016x})",
        names.join(", "),
        view.number,
        view.id
    )
}

fn list(addresses: &[std::net::SocketAddr], none: &str) -> String {
    if addresses.is_empty() {
        return none.to_owned();
    }
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::status;

    #[test]
    fn the_screen_says_what_matters() {
        let screen = text(&status());
        for expected in [
            "peer         ns1 (0101010101010101)\n",
            "current data yes (serving)\n",
            "up           1 min 1 s\n",
            "settling     ns1 (number 1, ffffffffffffffff)\n",
            "settled      2026-11-24T14:00:00.000Z, 0 entries behind it\n",
            "stable       nothing yet\n",
            "published    nothing yet, lags 250.0 ms\n",
            "WARNING      Publishing stands still: 1 of 2 members",
            "ns1   settling  0101010101010101  127.0.0.1:5353\n",
            "QUEUE    LENGTH  LIMIT  REFUSED\nupdates  0       1000   5\n",
        ] {
            assert!(screen.contains(expected), "{expected} in\n{screen}");
        }
        let mut idle = status();
        idle.marks.published_lag = Duration::ZERO;
        assert!(text(&idle).contains("published    nothing yet\n"));
        idle.marks.published = idle.marks.settled - Duration::from_secs(90);
        let expected = "published    2026-11-24T13:58:30.000Z, nothing has changed since\n";
        assert!(text(&idle).contains(expected), "{}", text(&idle));
        idle.marks.published = idle.marks.settled;
        assert!(text(&idle).contains("published    2026-11-24T14:00:00.000Z\n"));
        let mut ill = status();
        ill.health.reasons.push("no settling view".to_owned());
        assert!(text(&ill).contains("current data NO (serving)\n             no settling view\n"));
    }
}
