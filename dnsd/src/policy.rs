//! Who may update, transfer and notify which zone: nobody, unless a rule lets them.
//!
//! Rules are cluster data. They have no order: something may be done if a rule allows it and none
//! denies it. So peers that have heard of the same rules decide alike, however they came.

pub mod judge;
pub mod rule;
pub mod text;

pub use judge::{Denied, Judgement};
pub use rule::{Action, Asker, Effect, Rule, Scope};
pub use text::RuleError;

use bytes::{Buf, BufMut};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use zones::Name;

/// Most rules of a cluster.
pub const RULES_MAX: usize = 20_000;

/// Which zones a rule is for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Realm {
    /// All of them.
    All,
    /// One.
    Zone(Name),
}

/// All rules of a cluster.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Policy {
    /// By realm, and by the one key that they are about, if they are about one: what is looked
    /// through for a request is what may be about its sender.
    rules: BTreeMap<(Realm, Option<Name>), BTreeSet<Rule>>,
    count: usize,
}

/// A change of the rules.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PolicyChange {
    /// There is this rule.
    Grant(Realm, Rule),
    /// There is not.
    Revoke(Realm, Rule),
}

/// Why a change comes to nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum NoPolicyChange {
    /// There is no such rule.
    NoSuchRule,
    /// There are [`RULES_MAX`].
    Full,
    /// There is no such zone.
    NoSuchZone,
}

impl Policy {
    /// Makes a change, or says why it comes to nothing. A rule that is there already is granted.
    pub fn apply(&mut self, change: &PolicyChange) -> Result<(), NoPolicyChange> {
        match change {
            PolicyChange::Grant(realm, rule) => {
                let place = (realm.clone(), rule.named_key().cloned());
                let is_held = |rules: &BTreeSet<Rule>| rules.contains(rule);
                if self.rules.get(&place).is_some_and(is_held) {
                    return Ok(());
                }
                if self.count >= RULES_MAX {
                    return Err(NoPolicyChange::Full);
                }
                self.count += 1;
                self.rules.entry(place).or_default().insert(rule.clone());
                Ok(())
            }
            PolicyChange::Revoke(realm, rule) => {
                let place = (realm.clone(), rule.named_key().cloned());
                let rules = self.rules.get_mut(&place);
                let rules = rules.ok_or(NoPolicyChange::NoSuchRule)?;
                if !rules.remove(rule) {
                    return Err(NoPolicyChange::NoSuchRule);
                }
                self.count -= 1;
                if rules.is_empty() {
                    self.rules.remove(&place);
                }
                Ok(())
            }
        }
    }

    /// Forgets the rules of a zone that goes: another one of its name starts with none.
    pub fn forget(&mut self, origin: &Name) {
        let realm = Realm::Zone(origin.clone());
        let of_zone = self.rules.range((realm.clone(), None)..);
        let of_zone = of_zone.take_while(|((of, _), _)| *of == realm);
        let places: Vec<_> = of_zone.map(|(place, _)| place.clone()).collect();
        for place in places {
            let gone = self.rules.remove(&place);
            self.count -= gone.map_or(0, |rules| rules.len());
        }
    }

    /// True if a zone has rules of its own.
    #[must_use]
    pub fn is_about(&self, origin: &Name) -> bool {
        let realm = Realm::Zone(origin.clone());
        let mut of_zone = self.rules.range((realm.clone(), None)..);
        of_zone.next().is_some_and(|((of, _), _)| *of == realm)
    }

    /// The rules of one realm, in order.
    pub fn of(&self, realm: &Realm) -> impl Iterator<Item = &Rule> {
        let of_realm = self.rules.range((realm.clone(), None)..);
        of_realm
            .take_while(move |((of, _), _)| of == realm)
            .flat_map(|(_, rules)| rules)
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Realm, &Rule)> {
        let rules = self.rules.iter();
        rules.flat_map(|((realm, _), rules)| rules.iter().map(move |rule| (realm, rule)))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The rules that are about who asks, and this zone.
    fn about<'p>(
        &'p self,
        origin: &Name,
        asker: &'p Asker<'_>,
    ) -> impl Iterator<Item = (&'p Realm, &'p Rule)> {
        let realms = [Realm::All, Realm::Zone(origin.clone())];
        let places = realms.into_iter().flat_map(|realm| {
            let by_key = asker.key.map(|key| (realm.clone(), Some(key.clone())));
            [Some((realm, None)), by_key]
        });
        let found = places
            .flatten()
            .filter_map(|place| self.rules.get_key_value(&place));
        let rules =
            found.flat_map(|((realm, _), rules)| rules.iter().map(move |rule| (realm, rule)));
        rules.filter(|(_, rule)| rule.is_about(asker))
    }

    /// Appends their bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32(self.count as u32);
        for (realm, rule) in self.iter() {
            realm.encode(out);
            rule.encode(out);
        }
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(rest: &mut &[u8]) -> Option<Self> {
        let count = rest.try_get_u32().ok()? as usize;
        if count > RULES_MAX {
            return None;
        }
        let mut policy = Self::default();
        for _ in 0..count {
            let grant = PolicyChange::Grant(Realm::decode(rest)?, Rule::decode(rest)?);
            policy.apply(&grant).ok()?;
        }
        (policy.count == count).then_some(policy)
    }
}

impl FromIterator<(Realm, Rule)> for Policy {
    /// Takes as many as there may be.
    fn from_iter<I: IntoIterator<Item = (Realm, Rule)>>(rules: I) -> Self {
        let mut policy = Self::default();
        for (realm, rule) in rules.into_iter().take(RULES_MAX) {
            policy
                .apply(&PolicyChange::Grant(realm, rule))
                .expect("there is room");
        }
        policy
    }
}

impl Realm {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::All => out.put_u8(0),
            Self::Zone(origin) => {
                out.put_u8(1);
                out.put_slice(origin.as_wire());
            }
        }
    }

    fn decode(rest: &mut &[u8]) -> Option<Self> {
        match rest.try_get_u8().ok()? {
            0 => Some(Self::All),
            1 => Name::take_wire(rest).map(Self::Zone),
            _ => None,
        }
    }
}

/// `*`, or the zone's name.
impl FromStr for Realm {
    type Err = zones::name::NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "*" => Ok(Self::All),
            _ => text.parse().map(Self::Zone),
        }
    }
}

impl fmt::Display for Realm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Zone(origin) => fmt::Display::fmt(origin, f),
        }
    }
}

impl PolicyChange {
    /// Appends its bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (kind, realm, rule) = match self {
            Self::Grant(realm, rule) => (1, realm, rule),
            Self::Revoke(realm, rule) => (2, realm, rule),
        };
        out.put_u8(kind);
        realm.encode(out);
        rule.encode(out);
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(rest: &mut &[u8]) -> Option<Self> {
        let kind = rest.try_get_u8().ok()?;
        let (realm, rule) = (Realm::decode(rest)?, Rule::decode(rest)?);
        match kind {
            1 => Some(Self::Grant(realm, rule)),
            2 => Some(Self::Revoke(realm, rule)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_come_and_go_and_read_back() {
        let (all, zone): (Realm, Realm) = ("*".parse().unwrap(), "a.test".parse().unwrap());
        let rule = |text: &str| text.parse::<Rule>().unwrap();
        let mut policy = Policy::default();
        let grants = [
            (&all, rule("transfer from ::/0")),
            (&zone, rule("update key k")),
            (&zone, rule("update key l name x.a.test")),
            (&zone, rule("update from 10.0.0.0/8")),
            (&"b.test".parse().unwrap(), rule("update key k")),
        ];
        for (realm, rule) in &grants {
            let grant = PolicyChange::Grant((*realm).clone(), rule.clone());
            assert_eq!(policy.apply(&grant), Ok(()));
            assert_eq!(policy.apply(&grant), Ok(()), "it is there");
            let mut bytes = Vec::new();
            grant.encode(&mut bytes);
            assert_eq!(PolicyChange::decode(&mut &bytes[..]), Some(grant));
        }
        assert_eq!(policy.len(), 5);
        assert_eq!(policy.of(&zone).count(), 3);
        let mut bytes = Vec::new();
        policy.encode(&mut bytes);
        assert_eq!(Policy::decode(&mut &bytes[..]), Some(policy.clone()));
        for cut in 0..bytes.len() {
            assert_eq!(Policy::decode(&mut &bytes[..cut]), None, "cut at {cut}");
        }
        let revoke = PolicyChange::Revoke(zone.clone(), rule("update key k"));
        assert_eq!(policy.apply(&revoke), Ok(()));
        assert_eq!(policy.apply(&revoke), Err(NoPolicyChange::NoSuchRule));
        policy.forget(&"a.test".parse().unwrap());
        assert_eq!(policy.of(&zone).count(), 0);
        assert_eq!((policy.len(), policy.iter().count()), (2, 2));
    }
}
