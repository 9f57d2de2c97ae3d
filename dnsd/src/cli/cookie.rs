//! `dnsd cookie`: the secrets of DNS cookies, which are never shown.

use super::output::Output;
use super::{Failure, ask, unknown};
use crate::admin::{Done, Obstacles, Request};
use crate::cookie::Step;
use crate::status::Cookies;
use crate::time_text::span;
use clap::Subcommand;
use std::path::Path;
use std::time::Duration;

/// `cookie show`, `rollover`.
#[derive(Debug, Subcommand)]
pub enum Cookie {
    /// Show how far a rollover has come
    Show,
    /// Take the next step of replacing the secret by which cookies are made
    #[command(after_help = ROLLOVER_HELP)]
    Rollover {
        /// Do not wait for members that cannot be reached, nor for old cookies to end
        #[arg(long)]
        force: bool,
    },
}

const ROLLOVER_HELP: &str = "\
Three calls, at any peer, make a rollover:
  1. all peers accept cookies by the next secret
  2. all peers make cookies by it; those of the old one are still good
  3. after an hour and five minutes the old secret goes
Each says what comes next; one that comes too early says why it does nothing. No client notices.
If a secret has become known, use --force and make all three calls at once.";

pub(super) fn run(cookie: &Cookie, socket: &Path, out: &mut Output<'_>) -> Result<(), Failure> {
    let request = match cookie {
        Cookie::Show => Request::CookieShow,
        Cookie::Rollover { force } => Request::CookieRollover {
            obstacles: match force {
                true => Obstacles::Ignored,
                false => Obstacles::Heeded,
            },
        },
    };
    match ask(socket, &request)? {
        Done::Cookies(cookies) => out.data(&cookies, cookies_text),
        other => Err(unknown(&other)),
    }
}

fn cookies_text(cookies: &Cookies) -> String {
    let (stands, next) = match cookies.step {
        None => (
            "There is no secret yet: cookies are ignored.",
            "make the first one",
        ),
        Some(Step::Steady) => (
            "Cookies are made and accepted by one secret.",
            "begin to replace it",
        ),
        Some(Step::Staged) => (
            "Cookies by the next secret are accepted too.",
            "make cookies by it",
        ),
        Some(Step::Switched) => (
            "Cookies are made by the new secret; those by the old one are still accepted.",
            "end that",
        ),
    };
    let mut text = stands.to_owned();
    // A step that was taken by this very call needs no date.
    if let Some(since) = cookies
        .since
        .filter(|since| *since > Duration::from_secs(1))
    {
        text += &format!(" So it has been for {}.", span(since));
    }
    text += &format!("\nNext: `dnsd cookie rollover`, to {next}.");
    if let Some(waits_for) = &cookies.waits_for {
        text += &format!(" Not yet: {waits_for}.");
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_says_what_comes_next() {
        let check = |step, seconds: Option<u64>, waits_for: Option<&str>, expected: &str| {
            let cookies = Cookies {
                step,
                since: seconds.map(Duration::from_secs),
                waits_for: waits_for.map(str::to_owned),
            };
            assert_eq!(cookies_text(&cookies), expected);
        };
        check(
            None,
            None,
            None,
            "There is no secret yet: cookies are ignored.\n\
             Next: `dnsd cookie rollover`, to make the first one.\n",
        );
        check(
            Some(Step::Switched),
            Some(90),
            Some("wait for it"),
            "Cookies are made by the new secret; those by the old one are still accepted. \
             So it has been for 1 min 30 s.\n\
             Next: `dnsd cookie rollover`, to end that. Not yet: wait for it.\n",
        );
    }
}
