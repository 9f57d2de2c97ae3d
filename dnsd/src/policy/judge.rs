//! What the rules say of one request.

use super::rule::{Action, Asker, Effect, Rule, Scope, strictness};
use super::{Policy, Realm};
use zones::{Name, Rtype, Terms, Touch, Update, Version};

/// What the rules say of the changes of an update, in their order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Judgement<'p> {
    /// Of each, by which rule it may be made, and what it is held to.
    pub changes: Vec<(Terms, Grant<'p>)>,
}

/// The rule that lets a change be made; none: it deletes what is not there, for which no type need
/// be allowed.
pub type Grant<'p> = Option<(&'p Realm, &'p Rule)>;

/// An update may not be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Denied<'p> {
    /// The change that may not; none: no rule lets its sender make any.
    pub change: Option<DeniedChange>,
    /// The rule that denies it; none: no rule allows it.
    pub rule: Grant<'p>,
}

/// The change that may not be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeniedChange {
    /// Which it is in the update section, from 0.
    pub at: usize,
    /// Its owner name.
    pub owner: Name,
    /// Its type; of the deletion of a name the type that it may not take away.
    pub rtype: Rtype,
}

impl Judgement<'_> {
    /// What each change is held to; empty if none is to anything.
    #[must_use]
    pub fn terms(&self) -> Vec<Terms> {
        let terms = self.changes.iter().map(|(terms, _)| terms);
        if !terms.clone().any(Terms::are_any) {
            return Vec::new();
        }
        terms.cloned().collect()
    }
}

impl Policy {
    /// Whether who asks may transfer the zone.
    #[must_use]
    pub fn allows_transfer(&self, origin: &Name, asker: &Asker<'_>) -> bool {
        self.allows(origin, asker, &Action::Transfer)
    }

    /// Whether the word of who asks is taken that the zone has changed.
    #[must_use]
    pub fn allows_notify(&self, origin: &Name, asker: &Asker<'_>) -> bool {
        self.allows(origin, asker, &Action::Notify)
    }

    /// Whether who asks may make any change of the zone at all. What may not is told before
    /// anything is said of its prerequisites, as these tell what the zone holds.
    #[must_use]
    pub fn allows_some_update(&self, origin: &Name, asker: &Asker<'_>) -> bool {
        let mut rules = self.about(origin, asker);
        rules.any(|(_, rule)| {
            rule.effect == Effect::Allow && matches!(rule.action, Action::Update(_))
        })
    }

    /// The rules about transfers, or about notifies, of who asks.
    pub fn about_action<'p>(
        &'p self,
        origin: &Name,
        asker: &'p Asker<'_>,
        action: &'p Action,
    ) -> impl Iterator<Item = (&'p Realm, &'p Rule)> {
        let rules = self.about(origin, asker);
        rules.filter(move |(_, rule)| rule.action == *action)
    }

    fn allows(&self, origin: &Name, asker: &Asker<'_>, action: &Action) -> bool {
        let mut is_allowed = false;
        for (_, rule) in self.about_action(origin, asker, action) {
            match rule.effect {
                Effect::Deny => return false,
                Effect::Allow => is_allowed = true,
            }
        }
        is_allowed
    }

    /// Whether who asks may make all changes of an update of this version, and on which terms.
    pub fn judge<'p>(
        &'p self,
        version: &Version,
        update: &Update,
        asker: &'p Asker<'_>,
    ) -> Result<Judgement<'p>, Denied<'p>> {
        let origin = update.zone();
        let scopes: Vec<(&Realm, &Rule, &Scope)> = self
            .about(origin, asker)
            .filter_map(|(realm, rule)| match &rule.action {
                Action::Update(scope) => Some((realm, rule, scope)),
                Action::Transfer | Action::Notify => None,
            })
            .collect();
        if !scopes
            .iter()
            .any(|(_, rule, _)| rule.effect == Effect::Allow)
        {
            return Err(Denied {
                change: None,
                rule: None,
            });
        }
        let mut changes = Vec::new();
        for (at, touch) in update.touched().enumerate() {
            let judged = match touch.rtype {
                Rtype::ANY => judge_name(&scopes, version, touch.owner, asker),
                rtype => {
                    judge_type(&scopes, touch.owner, rtype, asker).map_err(|rule| (rtype, rule))
                }
            };
            match judged {
                Ok((terms, grant)) => changes.push((bearing_on(touch, terms), grant)),
                Err((rtype, rule)) => {
                    let change = DeniedChange {
                        at,
                        owner: touch.owner.clone(),
                        rtype,
                    };
                    return Err(Denied {
                        change: Some(change),
                        rule,
                    });
                }
            }
        }
        Ok(Judgement { changes })
    }
}

/// Of the terms, those that bear on such a change.
fn bearing_on(touch: Touch<'_>, terms: Terms) -> Terms {
    match touch.is_addition {
        true => terms,
        false => Terms {
            deletes: terms.deletes,
            ..Terms::default()
        },
    }
}

/// Of records of one type at a name: the terms and the rule that allows them, or the one that
/// denies them.
fn judge_type<'p>(
    scopes: &[(&'p Realm, &'p Rule, &'p Scope)],
    owner: &Name,
    rtype: Rtype,
    asker: &Asker<'_>,
) -> Result<(Terms, Grant<'p>), Grant<'p>> {
    let mut allowed: Option<(Terms, Grant<'p>)> = None;
    for (realm, rule, scope) in scopes {
        if !scope.has_name(owner, asker) {
            continue;
        }
        let Some(terms) = scope.terms(rtype, rule.effect) else {
            continue;
        };
        let rule = Some((*realm, *rule));
        if rule.is_some_and(|(_, rule)| rule.effect == Effect::Deny) {
            return Err(rule);
        }
        let is_better = allowed
            .as_ref()
            .is_none_or(|(best, _)| strictness(&terms) < strictness(best));
        if is_better {
            allowed = Some((terms, rule));
        }
    }
    allowed.ok_or(None)
}

/// Of the deletion of a whole name: all types that it has must be allowed. What others add
/// meanwhile stays, unless all types are.
fn judge_name<'p>(
    scopes: &[(&'p Realm, &'p Rule, &'p Scope)],
    version: &Version,
    owner: &Name,
    asker: &Asker<'_>,
) -> Result<(Terms, Grant<'p>), (Rtype, Grant<'p>)> {
    let is_denied_in_part = scopes
        .iter()
        .any(|(_, rule, scope)| rule.effect == Effect::Deny && scope.has_name(owner, asker));
    if !is_denied_in_part && let Ok(allowed) = judge_type(scopes, owner, Rtype::ANY, asker) {
        return Ok(allowed);
    }
    let is_apex = owner == version.origin();
    let held = version
        .node(owner)
        .into_iter()
        .flat_map(|node| node.rrsets());
    let held = held.map(|rrset| rrset.rtype());
    // RFC 2136 section 3.4.2.3: these two stay anyway.
    let held = held.filter(|rtype| !(is_apex && matches!(*rtype, Rtype::SOA | Rtype::NS)));
    let mut types: Vec<Rtype> = held.collect();
    types.dedup();
    let mut grant = None;
    for rtype in &types {
        let (_, by) = judge_type(scopes, owner, *rtype, asker).map_err(|rule| (*rtype, rule))?;
        grant = by;
    }
    let has_name = |(_, rule, scope): &(_, &Rule, &Scope)| {
        rule.effect == Effect::Allow && scope.has_name(owner, asker)
    };
    if !scopes.iter().any(has_name) {
        return Err((Rtype::ANY, None));
    }
    let terms = Terms {
        deletes: Some(types.into()),
        ..Terms::default()
    };
    Ok((terms, grant))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{UpdateBuilder, UpdateRecord};
    use zones::rtype::Class;
    use zones::zonefile::rdata_from_text;
    use zones::{Rdata, Record};

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    /// A policy of rules, each after the name of its realm.
    fn policy(rules: &[&str]) -> Policy {
        let read = |line: &&str| {
            let (realm, rule) = line.split_once(' ').unwrap();
            (realm.parse().unwrap(), rule.parse().unwrap())
        };
        rules.iter().map(read).collect()
    }

    fn version() -> Version {
        let record = |owner: &str, rtype: Rtype, text: &str| Record {
            owner: name(owner),
            rtype,
            ttl: 60,
            rdata: rdata_from_text(rtype, text, Some(&Name::root())).unwrap(),
        };
        let records = [
            record("a.test", Rtype::SOA, "ns hostmaster 1 2 3 4 5"),
            record("a.test", Rtype::NS, "ns"),
            record("a.test", Rtype::TXT, "apex"),
            record("www.a.test", Rtype::A, "192.0.2.1"),
            record("www.a.test", Rtype::TXT, "text"),
        ];
        Version::from_records(&name("a.test"), &records).unwrap()
    }

    /// An update of a.test: changes such as `+ www TXT`, `- www TXT`, `- www ANY`.
    fn update(changes: &str) -> Update {
        let mut builder = UpdateBuilder::new(&name("a.test"));
        for change in changes.split(", ") {
            let words: Vec<&str> = change.split(' ').collect();
            let owner = match words[1] {
                "@" => name("a.test"),
                label => name(&format!("{label}.a.test")),
            };
            let rtype: Rtype = words[2].parse().unwrap();
            let is_addition = words[0] == "+";
            let text = match rtype {
                Rtype::A => "192.0.2.9",
                Rtype::NS | Rtype::PTR => "x.test.",
                _ => "x",
            };
            let rdata = match is_addition {
                true => rdata_from_text(rtype, text, None).unwrap(),
                false => Rdata::from_checked(Vec::new()),
            };
            builder.change(UpdateRecord {
                owner: &owner,
                rtype,
                class: if is_addition { Class::IN } else { Class::ANY },
                ttl: if is_addition { 60 } else { 0 },
                rdata: rdata.as_bytes(),
            });
        }
        Update::from_message(&builder.finish().unwrap()).unwrap()
    }

    fn judged(
        rules: &[&str],
        key: &str,
        changes: &str,
    ) -> Result<Vec<Terms>, Option<(usize, Rtype)>> {
        let key = (key != "-").then(|| name(key));
        let asker = Asker {
            key: key.as_ref(),
            address: "192.0.2.7".parse().unwrap(),
            is_address_proven: false,
        };
        let policy = policy(rules);
        let judged = policy.judge(&version(), &update(changes), &asker);
        let denied = |denied: Denied<'_>| denied.change.map(|change| (change.at, change.rtype));
        judged.map(|judgement| judgement.terms()).map_err(denied)
    }

    #[test]
    fn an_update_needs_a_rule_for_each_change() {
        let check = |rules: &[&str], key: &str, changes: &str, expected: Result<(), _>| {
            let found = judged(rules, key, changes).map(|_| ());
            assert_eq!(found, expected, "{rules:?} {key} {changes}");
        };
        let nobody = Err(None);
        let no = |at, rtype| Err(Some((at, rtype)));
        check(&[], "k", "+ www TXT", nobody);
        check(&["b.test update key k"], "k", "+ www TXT", nobody);
        check(&["* transfer key k"], "k", "+ www TXT", nobody);
        check(&["* update key k"], "-", "+ www TXT", nobody);
        check(&["* update key k"], "l", "+ www TXT", nobody);
        check(
            &["* update key k from 10.0.0.0/8"],
            "k",
            "+ www TXT",
            nobody,
        );
        check(
            &["* update key k from 192.0.2.0/24"],
            "k",
            "+ www TXT",
            Ok(()),
        );
        check(&["* update from 192.0.2.0/24"], "-", "+ www TXT", Ok(()));
        check(&["* update from 192.0.2.0/24"], "k", "+ www TXT", Ok(()));
        check(&["* update key *"], "k", "+ www TXT", Ok(()));
        check(&["* update key *.hosts"], "k.hosts", "+ www TXT", Ok(()));
        check(&["* update key *.hosts"], "hosts", "+ www TXT", nobody);
        // One change of two is not enough.
        let of_name: &[&str] = &["a.test update key k name www.a.test"];
        check(of_name, "k", "+ www TXT, + x TXT", no(1, Rtype::TXT));
        check(
            &[of_name[0], "* update key k name x.a.test"],
            "k",
            "+ www TXT, + x TXT",
            Ok(()),
        );
        // Types.
        let usual: &[&str] = &["a.test update key k"];
        check(usual, "k", "+ @ NS", no(0, Rtype::NS));
        check(usual, "k", "- sub NS", no(0, Rtype::NS));
        check(&["a.test update key k NS"], "k", "+ sub NS", Ok(()));
        check(&["a.test update key k ANY"], "k", "+ sub NS", Ok(()));
        check(
            &["a.test update key k TXT"],
            "k",
            "+ www A",
            no(0, Rtype::A),
        );
        // What is denied stays so, whatever allows it.
        let denied: &[&str] = &["* update key k", "* deny update key k name www.a.test A"];
        check(denied, "k", "+ www A", no(0, Rtype::A));
        check(denied, "k", "+ www TXT", Ok(()));
        check(
            &["* update key k", "* deny update key k"],
            "k",
            "+ sub NS",
            no(0, Rtype::NS),
        );
    }

    #[test]
    fn names_are_those_of_bind() {
        let check = |names: &str, key: &str, owner: &str, expected: bool| {
            let rule = format!("* update key {key} {names}");
            let found = judged(&[&rule], key, &format!("+ {owner} TXT"));
            assert_eq!(found.is_ok(), expected, "{names} {key} {owner}");
        };
        check("name www.a.test", "k", "www", true);
        check("name WWW.A.TEST", "k", "www", true);
        check("name www.a.test", "k", "x.www", false);
        check("subdomain www.a.test", "k", "www", true);
        check("subdomain www.a.test", "k", "x.www", true);
        check("subdomain www.a.test", "k", "xwww", false);
        check("wildcard *.www.a.test", "k", "www", false);
        check("wildcard *.www.a.test", "k", "x.y.www", true);
        check("zonesub", "k", "@", true);
        check("self", "www.a.test", "www", true);
        check("self", "www.a.test", "x.www", false);
        check("selfsub", "www.a.test", "x.www", true);
        check("selfwild", "www.a.test", "www", false);
        check("selfwild", "www.a.test", "x.www", true);
    }

    #[test]
    fn tcp_self_is_the_name_of_an_address_that_is_proven() {
        let policy = policy(&["* update tcp-self PTR(1)"]);
        let check = |address: &str, is_address_proven, origin: &str, expected: bool| {
            let asker = Asker {
                key: None,
                address: address.parse().unwrap(),
                is_address_proven,
            };
            let origin = name(origin);
            let soa = Record {
                owner: origin.clone(),
                rtype: Rtype::SOA,
                ttl: 60,
                rdata: rdata_from_text(Rtype::SOA, "a. b. 1 2 3 4 5", None).unwrap(),
            };
            let version = Version::from_records(&origin, &[soa]).unwrap();
            let mut builder = UpdateBuilder::new(&origin);
            let owner = name(match address.contains(':') {
                true => "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
                false => "7.2.0.192.in-addr.arpa",
            });
            builder.change(UpdateRecord {
                owner: &owner,
                rtype: Rtype::PTR,
                class: Class::IN,
                ttl: 60,
                rdata: b"\x01x\x00",
            });
            let update = Update::from_message(&builder.finish().unwrap()).unwrap();
            let judged = policy.judge(&version, &update, &asker);
            assert_eq!(judged.is_ok(), expected, "{address}");
        };
        check("192.0.2.7", true, "in-addr.arpa", true);
        check("::ffff:192.0.2.7", true, "ip6.arpa", false);
        check("192.0.2.7", false, "in-addr.arpa", false);
        check("192.0.2.8", true, "in-addr.arpa", false);
        check("2001:db8::1", true, "ip6.arpa", true);
        check("2001:db8::2", true, "ip6.arpa", false);
    }

    #[test]
    fn a_name_goes_with_the_types_that_may() {
        let check = |rules: &[&str], owner: &str, expected: Result<Option<&[Rtype]>, Rtype>| {
            let found = judged(rules, "k", &format!("- {owner} ANY"));
            let found = found.map(|terms| terms.into_iter().next().and_then(|terms| terms.deletes));
            let found = found.map_err(|denied| denied.unwrap().1);
            assert_eq!(
                found,
                expected.map(|types| types.map(Into::into)),
                "{rules:?} {owner}"
            );
        };
        check(&["* update key k ANY"], "www", Ok(None));
        check(
            &["* update key k"],
            "www",
            Ok(Some(&[Rtype::A, Rtype::TXT])),
        );
        check(&["* update key k TXT"], "www", Err(Rtype::A));
        check(
            &["* update key k TXT", "* update key k A"],
            "www",
            Ok(Some(&[Rtype::A, Rtype::TXT])),
        );
        check(
            &["* update key k ANY", "* deny update key k A"],
            "www",
            Err(Rtype::A),
        );
        // What is there only.
        check(&["* update key k TXT"], "none", Ok(Some(&[])));
        check(
            &["* update key k name x.a.test TXT"],
            "none",
            Err(Rtype::ANY),
        );
        // SOA and NS of the apex stay anyway.
        check(&["* update key k TXT"], "@", Ok(Some(&[Rtype::TXT])));
    }

    #[test]
    fn the_rule_that_holds_to_least_counts() {
        let terms = |rules: &[&str]| {
            let terms = judged(rules, "k", "+ www TXT, - www TXT").unwrap();
            terms
                .first()
                .map(|terms| (terms.records_max, terms.ttl_max, terms.lease))
        };
        let limited = "* update key k TXT(2) ttl-max 60 lease 1h";
        assert_eq!(terms(&[limited]), Some((Some(2), Some(60), Some(3_600))));
        assert_eq!(terms(&[limited, "* update key k"]), None);
        let longer = "a.test update key k TXT lease 2h";
        assert_eq!(terms(&[limited, longer]), Some((None, None, Some(7_200))));
        let judged = judged(&[limited], "k", "+ www TXT, - www TXT").unwrap();
        assert!(!judged[1].are_any(), "a deletion has no TTL and no lease");
    }

    #[test]
    fn transfers_and_notifies_have_rules_of_their_own() {
        let key = name("k");
        let asker = Asker {
            key: Some(&key),
            address: "192.0.2.7".parse().unwrap(),
            is_address_proven: false,
        };
        let check = |rules: &[&str], expected| {
            let (policy, zone) = (policy(rules), name("a.test"));
            let allowed = (
                policy.allows_transfer(&zone, &asker),
                policy.allows_notify(&zone, &asker),
                policy.allows_some_update(&zone, &asker),
            );
            assert_eq!(allowed, expected, "{rules:?}");
        };
        check(&[], (false, false, false));
        check(&["* transfer key k"], (true, false, false));
        check(&["a.test notify from 192.0.2.7"], (false, true, false));
        check(&["a.test update key k name x.a.test"], (false, false, true));
        check(
            &["* transfer key k", "a.test deny transfer from 192.0.2.0/24"],
            (false, false, false),
        );
        check(
            &["* transfer key k", "b.test deny transfer key k"],
            (true, false, false),
        );
    }
}
