//! What an update would do, and why, without doing it.

use crate::delta_text;
use crate::policy::{Asker, Denied};
use crate::remote::List;
use crate::state::{Effect, State};
use crate::status::RuleRow;
use crate::text::as_text;
use serde::{Deserialize, Serialize};
use zones::{Name, Rcode, Serial, Terms, Touch, Update};

/// What an update would do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Trial {
    /// The zone.
    #[serde(with = "as_text")]
    pub zone: Name,
    /// The RCODE of the response.
    pub rcode: String,
    /// The primaries that it is sent on to, as the zone comes from them: what they answer is not known.
    pub sent_on_to: Option<String>,
    /// What policy says, if it was asked.
    pub policy: Option<Verdict>,
    /// The serial before and after.
    pub serials: Option<(u32, u32)>,
    /// The records that go and come, as lines with `-` and `+` before them; the SOA apart.
    pub lines: Vec<String>,
}

/// What policy says of an update.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It may be made: of each change, why.
    Allowed(Vec<Allowed>),
    /// It may not.
    Denied {
        /// The change that may not; none: no rule lets the sender make any.
        change: Option<String>,
        /// The rule that denies it; none: no rule allows it.
        rule: Option<RuleRow>,
    },
}

/// A change that may be made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Allowed {
    /// The change.
    pub change: String,
    /// The rule that allows it; none: it takes away what is not there.
    pub rule: Option<RuleRow>,
    /// Most records that the RRset may then have.
    pub records_max: Option<u32>,
    /// The TTL to which a greater one is lowered, in seconds.
    pub ttl_max: Option<u32>,
    /// How long the record lasts, in seconds.
    pub lease: Option<u32>,
    /// Of the deletion of a name, the only types that go.
    pub deletes: Option<Vec<String>>,
}

/// Tries an update on the zones of `state`; none if the message is none that can be read. An operator
/// is not held to policy: there is no `asker`.
#[must_use]
pub fn run(state: &State, message: &[u8], asker: Option<&Asker<'_>>) -> Option<Trial> {
    let mut update = Update::from_message(message).ok()?;
    let zone = update.zone().clone();
    let mut trial = Trial {
        zone: zone.clone(),
        rcode: Rcode::NOTAUTH.to_string(),
        sent_on_to: None,
        policy: None,
        serials: None,
        lines: Vec::new(),
    };
    let Some(version) = state.version(&zone) else {
        return Some(trial);
    };
    if let Some(asker) = asker {
        match state.policy().judge(version, &update, asker) {
            Ok(judgement) => {
                let touched = update.touched().zip(&judgement.changes);
                let allowed = touched.map(|(touch, (terms, grant))| {
                    allowed(
                        touch,
                        terms,
                        grant.map(|(realm, rule)| RuleRow::new(realm, rule)),
                    )
                });
                trial.policy = Some(Verdict::Allowed(allowed.collect()));
                let terms = judgement.terms();
                if state.fed(&zone).is_some() && !terms.is_empty() {
                    trial.rcode = Rcode::REFUSED.to_string();
                    return Some(trial);
                }
                update.hold_to(terms).expect("each change is judged");
            }
            Err(denied) => {
                trial.policy = Some(verdict(&denied));
                trial.rcode = Rcode::REFUSED.to_string();
                return Some(trial);
            }
        }
    }
    if state.fed(&zone).is_some() {
        let settings = state.settings(&zone);
        trial.sent_on_to = settings.map(|settings| List(&settings.primaries).to_string());
        trial.rcode = Rcode::NOERROR.to_string();
        return Some(trial);
    }
    let serial = state.serial(&zone);
    let (rcode, after) = match state.consider(&zone, &update) {
        Effect::Nothing(rcode) => (rcode, serial),
        Effect::Changes(offset) => {
            let applied = version.apply(&update, serial).expect("it was considered");
            trial.lines = delta_text::lines(&applied.delta()).collect();
            let wanted = applied.wanted.filter(|_| offset.is_some());
            (Rcode::NOERROR, wanted.unwrap_or_else(|| serial.plus(1)))
        }
    };
    trial.rcode = rcode.to_string();
    let Serial(before) = serial;
    trial.serials = Some((before, after.0));
    Some(trial)
}

fn allowed(touch: Touch<'_>, terms: &Terms, rule: Option<RuleRow>) -> Allowed {
    let deletes = terms.deletes.as_ref();
    Allowed {
        change: change_text(touch),
        rule,
        records_max: terms.records_max,
        ttl_max: terms.ttl_max,
        lease: terms.lease,
        deletes: deletes.map(|types| types.iter().map(ToString::to_string).collect()),
    }
}

fn verdict(denied: &Denied<'_>) -> Verdict {
    let change = denied.change.as_ref();
    Verdict::Denied {
        change: change.map(|change| {
            let number = change.at + 1;
            format!("change {number}, {} {}", change.owner, change.rtype)
        }),
        rule: denied.rule.map(|(realm, rule)| RuleRow::new(realm, rule)),
    }
}

fn change_text(touch: Touch<'_>) -> String {
    let what = if touch.is_addition { "add" } else { "delete" };
    format!("{what} {} {}", touch.owner, touch.rtype)
}
